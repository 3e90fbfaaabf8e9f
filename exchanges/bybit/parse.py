"""Bybit's account messages to normalized events: positions, wallets, marks. Pure.

Owns the meaning of position and wallet fields. Sizes of linear contracts are in base coin, of inverse ones in US dollars.
Source: Bybit v5 documentation, position, wallet and ticker topics; closing fee and margins: Bybit help center, "The New
Margin Calculation: Adjustments and Implications".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Context, Decimal
from typing import NamedTuple

import msgspec

from exchanges.bybit import tables
from exchanges.bybit.wire import CoinRow, PositionRow, WalletRow, millis, sequence
from exchanges.errors import ProtocolViolation
from exchanges.events import (
    BalanceState,
    CoinBalance,
    ContractType,
    Evidence,
    Kind,
    LiquidationKnown,
    MarginMode,
    PoolState,
    PositionState,
    Side,
    known,
    position_id,
)
from exchanges.venue import Malformed, Output

_EXACT = Context(prec=40)  # sums and products of published figures
_ROUNDED = Decimal("0.000001")  # what a difference of several totals of eight decimals can show of rounding
_DIVISION = Context(prec=20)  # derived quotients: far below any published digit
_FUTURE_MONTHS = frozenset("FGHJKMNQUVXZ")  # inverse futures: BTCUSDH25

Bounds = tuple[Decimal, Decimal]


class Origin(NamedTuple):
    """Where rows come from, and what is known around them.

    Attributes:
        order: Third part of the fence: a push's ``creationTime``, or the server's clock when a REST answer was asked.
        venue_at: The venue's time of the message (ms), None where it states none.
        mode: The account's margin mode in Bybit's words, None where nothing has told it.
        bounds: Lowest and highest price of symbols, where known.
        inverse_apart: Inverse contracts are margined in an account of their own (unified 1.0).
        settles: Settle coins of symbols whose names do not tell them, where a list did.
    """

    account: str
    category: str = ""
    order: int = 0
    venue_at: int | None = None
    mode: str | None = None
    bounds: Mapping[str, Bounds] = {}
    inverse_apart: bool = False
    settles: Mapping[str, str] = {}

    def contract(self, category: str, symbol: str) -> tuple[Kind, ContractType | None, str]:
        """Return kind, contract type and settle coin of a symbol. Raises ProtocolViolation, as ``contract_of``."""
        kind, contract_type, settle = contract_of(category, symbol)
        return kind, contract_type, self.settles.get(symbol, settle) if category == "linear" else settle


# --- Positions ------------------------------------------------------------------------------------------------------


def leg_id(account: str, category: str, row: PositionRow) -> str:
    """Return the id of a leg: a close has no side, so legs of hedge mode are told apart by ``positionIdx`` alone."""
    return position_id(account, category, row.symbol, str(row.position_idx))


def fence_of(row: PositionRow, order: int) -> tuple[int, int, int]:
    """Return Bybit's order of a leg: sequence, then times (leverage, risk and order changes keep the sequence)."""
    return sequence(row.seq), millis(row.updated_time) or 0, order


def parse_position(row: PositionRow, origin: Origin) -> PositionState:
    """Translate one leg; a closed one has size "0", no side, and nothing else but its place in the order.

    Raises:
        ProtocolViolation: The side is unknown, or the size does not go with it.
    """
    category = row.category or origin.category
    side = _side(row)
    kind, contract_type, settle = origin.contract(category, row.symbol)
    row_id = leg_id(origin.account, category, row)
    mode, pool = _margining(row, origin, category, settle)
    state = PositionState(
        account=origin.account,
        id=row_id,
        scope=scope_of(category, settle),
        symbol=row.symbol,
        kind=kind,
        side=side,
        size="0" if side is None else row.size,
        margin_mode=mode,
        pool=f"iso:{row_id}" if mode == "isolated" else pool,
        fence=fence_of(row, origin.order),
        venue_at=origin.venue_at or millis(row.updated_time),
        settle=settle,
        contract_size="1" if contract_type else None,
        contract_type=contract_type,
        hedged=row.position_idx != 0,
    )
    if side is None:
        return state
    return _with_figures(state, row, origin)


def _margining(row: PositionRow, origin: Origin, category: str, settle: str) -> tuple[MarginMode | None, str]:
    """Return a position's margin mode, and the pool it belongs to unless it is isolated."""
    if category == "inverse" and origin.inverse_apart:
        return "isolated" if row.trade_mode == 1 else "cross", f"inverse:{settle}"
    return margin_mode(origin.mode), tables.POOL


def _with_figures(state: PositionState, row: PositionRow, origin: Origin) -> PositionState:
    inverse = state.contract_type == "inverse"
    entry = nonzero(row.entry_price) or nonzero(row.avg_price)
    price, told = liquidation(row, origin.mode, origin.bounds.get(row.symbol))
    collateral = isolated_collateral(row, entry, inverse) if state.margin_mode == "isolated" else None
    return msgspec.structs.replace(
        state,
        entry_price=entry,
        pnl_price=_session_price(row, entry),
        break_even_price=nonzero(row.break_even_price),
        leverage=nonzero(row.leverage),
        isolated_margin=collateral,
        isolated_cash=collateral,
        adl=row.adl_rank_indicator,
        take_profit=nonzero(row.take_profit),
        stop_loss=nonzero(row.stop_loss),
        opened_at=millis(row.open_time),
        mark_price=nonzero(row.mark_price),
        venue_unrealized_pnl=known(row.unrealised_pnl),
        # positionValue is not a notional: it is counted from the entry price.
        venue_initial_margin=known(row.position_im),
        venue_maintenance_margin=known(row.position_mm),
        venue_liquidation_price=price,
        liquidation_known=told,
        trading_fee=closing_fee(row, entry, inverse, isolated=state.margin_mode == "isolated"),
    )


def _side(row: PositionRow) -> Side | None:
    if row.side not in tables.SIDES:
        raise ProtocolViolation("bybit", f"{row.symbol}: unknown side {row.side!r}")
    size = Decimal(row.size)
    if size < 0 or (size > 0 and tables.SIDES[row.side] is None):
        raise ProtocolViolation("bybit", f"{row.symbol}: side {row.side!r} with size {row.size}")
    return tables.SIDES[row.side] if size else None


def status_notes(row: PositionRow, state: PositionState) -> list[Output]:
    """Return what a position's status says beside the position: that it is being liquidated or deleveraged."""
    if row.position_status not in tables.POSITION_STATUSES:
        return [
            Malformed(what=f"bybit: {row.symbol}: unknown position status {row.position_status!r}; the row is kept")
        ]
    cause = tables.POSITION_STATUSES[row.position_status]
    if cause is None or state.side is None:
        return []
    what = f"position status: {row.position_status}"
    at = state.venue_at or 0
    return [Evidence(account=state.account, symbol=row.symbol, cause=cause, what=what, at=at, position=state.id)]


def contract_of(category: str, symbol: str) -> tuple[Kind, ContractType | None, str]:
    """Return kind, contract type and settle coin that category and name imply.

    Names: BTCUSDT, BTCPERP (USDC), BTCUSDT-26DEC25, BTC-26DEC25 (USDC), BTCUSD, BTCUSDH25, BTC-6JAN23-17500-C(-USDT).

    Raises:
        ProtocolViolation: The category is not one that holds positions.
    """
    root, _, expiry = symbol.partition("-")
    if category == "linear":
        settle = "USDT" if root.endswith("USDT") else "USDC"
        return "future" if expiry else "perp", "linear", settle
    if category == "inverse":
        coin, _, month = symbol.rpartition("USD")
        dated = len(month) == 3 and month[0] in _FUTURE_MONTHS
        return "future" if dated else "perp", "inverse", coin or symbol
    if category == "option":
        return "option", None, "USDT" if symbol.endswith("-USDT") else "USDC"
    raise ProtocolViolation("bybit", f"{symbol}: unknown position category {category!r}")


def category_of(symbol: str) -> str:
    """Return the category of derivatives that a symbol belongs to, by its name; see ``contract_of``."""
    parts = symbol.split("-")
    if len(parts) > 2:
        return "option"
    if len(parts) == 2 or symbol.endswith(("USDT", "PERP")):
        return "linear"
    return "inverse"


def scope_of(category: str, settle: str) -> str:
    """Return the scope whose full list covers a row: linear positions are listed per settle coin."""
    return f"linear:{settle}" if category == "linear" else category


def margin_mode(mode: str | None) -> MarginMode | None:
    """Return the margin mode of every position of an account (Bybit's mode is account-wide; tradeMode is always 0)."""
    if mode is None or mode not in tables.MARGIN_MODES:
        return None
    return "isolated" if mode == tables.ISOLATED else "cross"


def liquidation(row: PositionRow, mode: str | None, bounds: Bounds | None) -> tuple[str | None, LiquidationKnown]:
    """Return the venue's liquidation price and what is known of it.

    ``""``, "0" and prices outside the contract's range mean that there is none; in portfolio margin (which also blanks the
    leverage) the venue tells nothing.
    """
    if mode == tables.PORTFOLIO or row.leverage == "" or row.liq_price is None:
        return None, "unknown"
    price = nonzero(row.liq_price)
    if price is None or Decimal(price) < 0:
        return None, "none"
    if bounds is not None and not bounds[0] < Decimal(price) < bounds[1]:
        return None, "none"
    return price, "price"


def isolated_collateral(row: PositionRow, entry: str | None, inverse: bool) -> str | None:
    """Return what an isolated position was given, in settle currency, unrealised PnL excluded.

    ``positionBalance`` where Bybit fills it (it then holds margin that was added by hand), else the initial margin that
    size, entry and leverage imply: value at entry / leverage.
    """
    if balance := nonzero(row.position_balance):
        return balance
    leverage = nonzero(row.leverage)
    if entry is None or leverage is None:
        return None
    return text(_DIVISION.divide(value_at(row.size, entry, inverse), Decimal(leverage)))


def closing_fee(row: PositionRow, entry: str | None, inverse: bool, *, isolated: bool = False) -> str | None:
    """Return the estimated closing fee that Bybit keeps inside initial and maintenance margin, in settle currency.

    Cross: ``positionIMByMp = value at mark / leverage + fee``. Isolated, and messages from before that field:
    ``positionIM`` with the value at entry. None where it cannot be derived, or where the result is no plausible fee (above
    0, up to 1 % of the value).
    """
    leverage = nonzero(row.leverage)
    by_mark = None if isolated else known(row.position_im_by_mp)
    margin, price = (by_mark, nonzero(row.mark_price)) if by_mark else (known(row.position_im), entry)
    if leverage is None or margin is None or price is None:
        return None
    value = value_at(row.size, price, inverse)
    fee = _EXACT.subtract(Decimal(margin), _DIVISION.divide(value, Decimal(leverage)))
    return text(fee) if 0 < fee <= value / 100 else None


def value_at(size: str, price: str, inverse: bool) -> Decimal:
    """Return the value of a size at a price in settle currency."""
    if inverse:
        return _DIVISION.divide(Decimal(size), Decimal(price))
    return _EXACT.multiply(Decimal(size), Decimal(price))


def _session_price(row: PositionRow, entry: str | None) -> str | None:
    # After a periodic settlement (USDC contracts) profit counts from the session's price; the shown entry stays.
    session = nonzero(row.session_avg_price)
    return session if session and entry and Decimal(session) != Decimal(entry) else None


# --- Wallet ---------------------------------------------------------------------------------------------------------


def parse_wallet(row: WalletRow, origin: Origin, full: bool, asked_at: int | None = None) -> BalanceState:
    """Translate a wallet. A push lists changed coins (``full`` False: merge), a REST answer all non-zero ones."""
    isolated = origin.mode == tables.ISOLATED
    return BalanceState(
        account=origin.account,
        scope="unified",
        full=full,
        coins=tuple(_coin(coin) for coin in row.coin),
        pools=tuple(_pools(row, origin.mode)),
        available=None if isolated else known(row.total_available_balance),
        fence=(origin.order,),
        venue_at=origin.venue_at,
        asked_at=asked_at,
    )


def inferred_mode(row: WalletRow) -> str | None:
    """Return the mode that a wallet alone betrays, for recordings without ``/v5/account/info``; None: cannot be told.

    Account-wide figures exist outside isolated mode only; portfolio margin blanks the coins' margins.
    """
    margins_blank = bool(row.coin) and all(coin.total_position_im == "" for coin in row.coin)
    return tables.CROSS if _has_account_figures(row) and not margins_blank else None


def lacks_account_figures(row: WalletRow) -> bool:
    """Say whether a wallet that holds something shows no account-wide figures: so it is in isolated mode alone."""
    return not _has_account_figures(row) and any(nonzero(coin.usd_value) for coin in row.coin)


def _has_account_figures(row: WalletRow) -> bool:
    return any(nonzero(value) for value in (row.total_margin_balance, row.total_wallet_balance))


def _pools(row: WalletRow, mode: str | None) -> Iterator[PoolState]:
    # In isolated mode the account-wide figures are "" or "0" and mean nothing; without a known mode zeros tell nothing.
    stated = known(row.total_margin_balance) is not None or known(row.total_wallet_balance) is not None
    if mode == tables.ISOLATED or not (_has_account_figures(row) or (mode in tables.MARGIN_MODES and stated)):
        return
    yield PoolState(
        pool=tables.POOL,
        ccy="USD",
        cash=known(row.total_wallet_balance) if mode == tables.CROSS else None,
        from_coins=mode == tables.CROSS,
        held=_held(row) if mode == tables.CROSS else None,
        options_count=False,  # the margin balance is wallet and perpetuals' PnL
        venue_equity=known(row.total_margin_balance),
        venue_maintenance_margin=known(row.total_maintenance_margin),
        venue_initial_margin=known(row.total_initial_margin),
        venue_ratio=known(row.account_mm_rate),
        available=known(row.total_available_balance),
    )


def _held(row: WalletRow) -> str | None:
    """Return the haircut that spot orders take of the margin balance: account MM rate = maintenance / (margin balance - it).

    "totalAvailableBalance = totalMarginBalance - haircut - totalInitialMargin" gives it, as far as that is not floored at 0.
    Source: Bybit v5 documentation, "Get Wallet Balance"; help centre, "Key Terms and Formulas in Unified Trading Account".
    """
    margin, free, bound = (
        known(figure) for figure in (row.total_margin_balance, row.total_available_balance, row.total_initial_margin)
    )
    if margin is None or free is None or bound is None or Decimal(free) <= 0:
        return None
    held = _EXACT.subtract(_EXACT.subtract(Decimal(margin), Decimal(free)), Decimal(bound))
    if abs(held) <= _ROUNDED:
        return "0"
    return text(held) if held > 0 else None


def _coin(row: CoinRow) -> CoinBalance:
    return CoinBalance(
        ccy=row.coin,
        total=row.wallet_balance,
        cash=_cash(row),
        equity=known(row.equity),
        available=known(row.available_to_withdraw),
        usd_price=_usd_price(row),
        collateral=_collateral(row),
        locked=known(row.locked),
    )


def _collateral(row: CoinRow) -> bool | None:
    # Bybit must allow the coin and the user must have switched it on; how much of it counts is told in tiers, not here.
    if row.margin_collateral is False or row.collateral_switch is False:
        return False
    return True if row.margin_collateral and row.collateral_switch else None


def _cash(row: CoinRow) -> str | None:
    # equity = walletBalance - spotBorrow + unrealisedPnl + option value; messages from before spotBorrow have no debt in it.
    if row.spot_borrow is None:
        return row.wallet_balance
    if row.spot_borrow == "":
        return None
    borrowed = Decimal(row.spot_borrow)
    return text(_EXACT.subtract(Decimal(row.wallet_balance), borrowed)) if borrowed else row.wallet_balance


def _usd_price(row: CoinRow) -> str | None:
    equity, value = nonzero(row.equity), known(row.usd_value)
    if equity is None or value is None:
        return None
    price = _DIVISION.divide(Decimal(value), Decimal(equity))
    return text(price) if price >= 0 else None


# --- Figures --------------------------------------------------------------------------------------------------------


def nonzero(value: str | None) -> str | None:
    """Return a figure for which Bybit writes "0" (or "0.00") when there is none; unknown and zero become None."""
    return value if value and Decimal(value) else None


def text(value: Decimal) -> str:
    """Return a derived figure as a plain decimal string."""
    return f"{value.normalize(_EXACT):f}" if value else "0"
