"""From OKX's account rows to events: positions, balances, mode. Keeps no state and never guesses a missing figure.

Units: derivatives count contracts (``Instrument.contract_size`` says how much one is), MARGIN counts coins; amounts are in
the settle currency unless named ``*Usd``. Source: OKX v5 docs, channels and endpoints of the same names.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Context, Decimal

import msgspec

from exchanges.errors import Rejected
from exchanges.events import (
    AccountMode,
    BalanceState,
    CoinBalance,
    KeyInfo,
    LiquidationKnown,
    PoolState,
    PositionState,
    Side,
    known,
    position_id,
)
from exchanges.okx import tables
from exchanges.okx.equity import cash, cross_equity, held
from exchanges.okx.wire import AccountRow, CoinRow, ConfigRow, PositionRow

# A quotient has no last digit: twelve significant ones, more than any dollar price is published with.
_QUOTIENT = Context(prec=12)

BALANCE_SCOPE = "account"


class Mode(msgspec.Struct, frozen=True):
    """An account's mode: ``level`` is the venue's acctLv; ``inferred`` when no configuration said so."""

    level: str
    inferred: bool = False

    @property
    def words(self) -> str:
        """The mode in the venue's words."""
        return f"{tables.MODES[self.level]} (acctLv {self.level}{', inferred' if self.inferred else ''})"

    @property
    def per_currency(self) -> bool:
        """True where each currency is liquidated by itself, False where the account is one pool in dollars."""
        return self.level == "2"

    @property
    def portfolio(self) -> bool:
        """True in portfolio margin, where margins come from stress tests of whole risk units."""
        return self.level == "4"

    def pool(self, ccy: str) -> str:
        """Return the pool of a cross position with this margin currency."""
        return ccy if self.per_currency else "USD"


DEFAULT_MODE = Mode("2", inferred=True)


_HEDGE = {"long_short_mode": True, "net_mode": False}


def account_mode(account: str, mode: Mode, hedge: bool | None = None) -> AccountMode:
    """Translate a mode."""
    return AccountMode(account=account, mode=mode.words, computable=not mode.portfolio, hedge=hedge)


def parse_hedge(row: ConfigRow) -> bool | None:
    """Say whether long and short legs are positions of their own; None where the answer does not say."""
    return _HEDGE.get(row.pos_mode or "")


def parse_key(row: ConfigRow, account: str) -> KeyInfo | None:
    """Translate what the key may do; None where the answer does not say, which is not "nothing"."""
    powers = [power.strip() for power in (row.perm or "").split(",") if power.strip()]
    if not powers:
        return None
    return KeyInfo(
        account=account,
        powers=tuple(power for power in powers if power != "read_only"),
        owner=known(row.uid),
        label=known(row.label),
        ip_bound=None if row.ip is None else bool(row.ip),
    )


def infer_mode(row: AccountRow) -> Mode:
    """Infer the mode from an account row: figures of the whole account exist where it is one pool in dollars."""
    return Mode("3" if known(row.adj_eq) or known(row.mgn_ratio) else "2", inferred=True)


# --- positions ---------------------------------------------------------------------------------------------------------


def position_scope(inst_type: str) -> str:
    """Return the scope of rows of one type: a question about one type must not close the rows of another."""
    return f"positions:{inst_type}"


def type_of(symbol: str) -> str:
    """Return the type that a symbol's name says: BTC-USDT-SWAP, BTC-USDT-261225, BTC-USD-261225-100000-C, BTC-USDT.

    Raises:
        Rejected: It is of another form (event contracts are): the name alone does not say it.
    """
    parts = symbol.split("-")
    dated = len(parts) > 2 and parts[2].isdigit()
    if len(parts) == 3 and (dated or parts[2] == "SWAP"):
        return "FUTURES" if dated else "SWAP"
    if (len(parts) == 5 and dated) or (len(parts) == 2 and all(parts)):
        return "OPTION" if dated else "MARGIN"
    raise Rejected("okx", f"the name {symbol} does not say what kind of instrument it is")


def row_key(row: PositionRow) -> tuple[str, str, str, str]:
    """Return what tells positions apart; posId is a function of the same four, but expires."""
    return row.inst_id, row.pos_side, row.mgn_mode, row.ccy


def row_order(row: PositionRow) -> tuple[int, int, int]:
    """Return the order of a position's versions: uTime, tradeId, pTime.

    uTime comes first because a liquidation moves it and not tradeId; pTime last, because regular snapshots repeat an
    unchanged position with a newer pTime and fresh marks.
    """
    return int(row.u_time), int(row.trade_id or 0), int(row.p_time or 0)


def snapshot_fence(rows: Iterable[PositionRow]) -> tuple[int, ...]:
    """Return the order of a whole snapshot: its earliest pTime, comparable with the uTime that a row's fence begins with.

    A row that changed later than a snapshot was made is not closed by its absence there. Nothing is known of a snapshot
    that is empty, or of rows without pTime.
    """
    pushed = [int(row.p_time or 0) for row in rows]
    return (min(pushed),) if pushed and all(pushed) else ()


def parse_position(row: PositionRow, account: str, mode: Mode) -> PositionState:
    """Translate one row.

    The fence is (uTime, tradeId). pTime stays out: REST rows have none, and a repeated position with the same two is
    not older, it brings fresh marks. REST rows have no ``venue_at`` either: their marks are as fresh as the answer,
    their uTime may be days old.

    Args:
        row: The row; its type is one of ``tables.KINDS``.
        account: Our name of the account.
        mode: Decides the pool of cross positions.
    """
    key = position_id(account, *row_key(row))
    isolated = row.mgn_mode == "isolated"
    modelled = row.inst_type in tables.MODELLED
    updated, trade, pushed = row_order(row)
    closed = not Decimal(row.pos)
    liquidation, told = _liquidation(row, mode, closed)
    entry, settled_at = _price(row.avg_px), _price(row.non_settle_avg_px)
    # The margins of a risk unit stand on each of its rows: as figures of one row they would be counted many times.
    margins = not (mode.portfolio and not isolated)
    return PositionState(
        account=account,
        id=key,
        scope=position_scope(row.inst_type),
        symbol=row.inst_id,
        kind=tables.KINDS[row.inst_type],
        side=_side(row, closed),
        size="0" if closed else row.pos.removeprefix("-"),
        margin_mode=row.mgn_mode,
        pool=f"iso:{key}" if isolated else mode.pool(row.ccy),
        fence=(updated, trade),
        venue_at=pushed or None,
        settle=known(row.ccy),
        # Self-transferred isolated margin without a position behind it: not a close, though the size is zero.
        status="margin_only" if holds_margin_only(row) else "open",
        # Daily settlement of cross expiry futures resets avgPx; the entry that users know is kept beside it.
        entry_price=settled_at or entry,
        pnl_price=entry if settled_at and settled_at != entry else None,
        break_even_price=known(row.be_px),
        leverage=known(row.lever),
        isolated_margin=known(row.margin) if isolated else None,
        isolated_cash=known(row.margin) if isolated and modelled else None,
        adl=int(row.adl) if row.adl else None,
        take_profit=_only(order.tp_trigger_px for order in row.close_order_algo or ()),
        stop_loss=_only(order.sl_trigger_px for order in row.close_order_algo or ()),
        opened_at=int(row.c_time) if row.c_time else None,
        mark_price=_price(row.mark_px),
        venue_unrealized_pnl=known(row.upl),
        venue_value=known(row.opt_val),
        venue_initial_margin=known(row.imr) if margins else None,
        venue_maintenance_margin=known(row.mmr) if margins else None,
        venue_margin_ratio=known(row.mgn_ratio),
        venue_liquidation_price=liquidation,
        liquidation_known=told,
        funding=known(
            row.funding_fee
        ),  # an effect on the balance already: realizedPnl is the sum of it and pnl and fees
    )


def is_zero(row: PositionRow) -> bool:
    """Say whether the row holds no position."""
    return not Decimal(row.pos)


def holds_margin_only(row: PositionRow) -> bool:
    """Say whether isolated margin was transferred in (ctIsoMode autonomy) without a position behind it."""
    return is_zero(row) and row.mgn_mode == "isolated" and bool(Decimal(row.margin or 0))


def side_is_known(row: PositionRow) -> bool:
    """Say whether an open row tells its direction; MARGIN rows tell it by which currency of the pair they hold."""
    return is_zero(row) or _side(row, False) is not None


def _side(row: PositionRow, closed: bool) -> Side | None:
    if row.pos_side != "net":
        return row.pos_side
    if closed:
        return None
    if row.inst_type == "MARGIN":
        base, _, quote = row.inst_id.partition("-")
        return "long" if row.pos_ccy == base else "short" if row.pos_ccy == quote else None
    return "short" if row.pos.startswith("-") else "long"


def _liquidation(row: PositionRow, mode: Mode, closed: bool) -> tuple[str | None, LiquidationKnown]:
    price = _price(row.liq_px)
    if price and not closed:
        return price, "price"
    # An empty price says "none" only where the venue would compute one; a field that was not sent says nothing.
    says_none = row.liq_px is not None and row.inst_type in tables.MODELLED and not mode.portfolio
    return None, "none" if closed or says_none else "unknown"


def _price(text: str | None) -> str | None:
    """Return a price as it was sent; what is not above zero is none."""
    return text if text and Decimal(text) > 0 else None


def _only(prices: Iterable[str | None]) -> str | None:
    """Return the one price that is named; several different ones are no single figure."""
    named = {price for price in prices if price}
    return named.pop() if len(named) == 1 else None


# --- balances ----------------------------------------------------------------------------------------------------------


def coin_key(row: CoinRow) -> str:
    """Return what tells balances apart."""
    return row.ccy


def coin_order(row: CoinRow) -> tuple[int]:
    """Return the order of a balance's versions."""
    return (int(row.u_time or 0),)


def parse_balance(
    header: AccountRow,
    coins: Iterable[CoinRow],
    account: str,
    mode: Mode,
    full: bool,
    asked_at: int | None = None,
) -> BalanceState:
    """Translate an account row.

    Identity, exact on a captured futures-mode answer: ``eq = cashBal + cross upl + isoEq (+ stgyEq + copy-trading)``.
    Margin of isolated positions has left ``cashBal``. So the equity of a currency's cross pool is its cash plus the
    unrealised PnL of its cross positions.

    Args:
        header: Figures of the whole account and its time.
        coins: The currencies (of an event: the changed ones).
        account: Our name of the account.
        mode: Futures mode has a pool per currency; the others one in dollars whose collateral is discounted by tiers,
            so that its cash cannot be rebuilt from these figures: the venue's equity stands.
        full: Whether every currency is here.
        asked_at: Our clock when a REST answer was asked.
    """
    coins = tuple(coins)
    updated = int(header.u_time or 0) or max((order for coin in coins for order in coin_order(coin)), default=0)
    pools = tuple(_coin_pool(coin) for coin in coins) if mode.per_currency else _account_pool(header, mode)
    return BalanceState(
        account=account,
        scope=BALANCE_SCOPE,
        full=full,
        coins=tuple(_coin(coin, mode) for coin in coins),
        pools=pools,
        available=known(header.avail_eq),
        fence=(updated,) if updated else (),
        venue_at=updated or None,
        asked_at=asked_at,
    )


def _coin(row: CoinRow, mode: Mode) -> CoinBalance:
    # Where the account is one pool in dollars each currency counts with a discount: disEq says what is left of eqUsd, of one that
    # is switched off the equity of its isolated positions (both on captured answers).
    collateral = row.collateral_enabled if mode.level == "3" else None
    pooled = mode.level in ("3", "4") and collateral is not False
    return CoinBalance(
        ccy=row.ccy,
        total=row.cash_bal,
        cash=cash(row),
        isolated_apart=True,
        equity=known(row.eq),
        available=known(row.avail_eq) or known(row.avail_bal),
        usd_price=known(row.coin_usd_price) or _ratio(row.eq_usd, row.eq),
        collateral=collateral,
        discount=_discount(row) if pooled else None,
    )


def _coin_pool(row: CoinRow) -> PoolState:
    return PoolState(
        pool=row.ccy,
        ccy=row.ccy,
        cash=cash(row),
        held=held(row),
        venue_equity=cross_equity(row),
        venue_maintenance_margin=known(row.mmr),
        venue_initial_margin=known(row.imr),
        venue_ratio=known(row.mgn_ratio),
        order_margin=known(row.ord_frozen),
        available=known(row.avail_eq),
    )


def _account_pool(row: AccountRow, mode: Mode) -> tuple[PoolState, ...]:
    if known(row.adj_eq) is None and known(row.mgn_ratio) is None:
        return ()
    return (
        PoolState(
            pool="USD",
            ccy="USD",
            from_coins=mode.level == "3",
            pnl_discounted=mode.level == "3",  # disEq is a share of the currency's equity
            # What open orders take of ``adjEq`` is no field; where their margin is 0 there are none.
            held="0" if row.ord_froz and not Decimal(row.ord_froz) else None,
            equity_after_held=True,
            venue_equity=known(row.adj_eq),
            venue_maintenance_margin=known(row.mmr),
            venue_initial_margin=known(row.imr),
            venue_ratio=known(row.mgn_ratio),
            order_margin=known(row.ord_froz),
            available=known(row.avail_eq),
        ),
    )


def _ratio(dollars: str | None, amount: str | None) -> str | None:
    if not known(dollars) or not Decimal(amount or 0):
        return None
    price = _QUOTIENT.divide(Decimal(dollars or 0), Decimal(amount or 0))
    return format(price, "f") if price > 0 else None


def _discount(row: CoinRow) -> str | None:
    """Return the fraction of a currency's value that counts; a debt counts whole and says nothing of it."""
    whole, counted = Decimal(row.eq_usd or 0), known(row.dis_eq)
    if counted is None or whole <= 0:
        return None
    return format(_QUOTIENT.divide(Decimal(counted), whole).normalize(_QUOTIENT), "f")
