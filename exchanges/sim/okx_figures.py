"""OKX's rows of an account over the world: configuration, positions, balances, with the figures that OKX would report.

Pure. Every value is text as on the wire; ``""`` is OKX's "not applicable". Sources: OKX v5 docs (positions, account and
balance_and_position channels, Get account configuration, Get balance, Get positions), help centre "Isolated margin mode" and
"Single-currency margin mode: cross margin trading".
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

from exchanges.sim import revalue
from exchanges.sim.catalog import TAKER_FEE, Contract
from exchanges.sim.exact import plain
from exchanges.sim.haircuts import counted
from exchanges.sim.okx_market import Row, figure, inst_type
from exchanges.sim.quoted import quoted_price, quoted_ratio
from exchanges.sim.revalue import Pool, Position
from exchanges.sim.world import Account, World

_ZERO = Decimal(0)
_FEE = TAKER_FEE["okx"]
# acctLv by the world's word for it.
ACCOUNT_LEVELS = {"spot": "1", "futures": "2", "multi": "3", "portfolio": "4"}
# Fields of options, margin and portfolio margin: always there, never filled for swaps.
_NEVER = (
    "liab", "liabCcy", "posCcy", "optVal", "deltaBS", "deltaPA", "gammaBS", "gammaPA", "thetaBS", "thetaPA", "vegaBS", "vegaPA",
    "baseBal", "baseBorrowed", "baseInterest", "quoteBal", "quoteBorrowed", "quoteInterest", "pendingCloseOrdLiabVal",
    "spotInUseAmt", "clSpotInUseAmt", "maxSpotInUseAmt", "spotInUseCcy", "bizRefId", "bizRefType", "hedgedPos",
    "nonSettleAvgPx", "settledPnl",
)  # fmt: skip


# --- Positions ---------------------------------------------------------------------------------------------------------


def position_row(world: World, account: Account, position: Position, now_ms: int) -> Row:
    """Return a row of the positions channel (and of Get positions); a closed one has size 0 and hardly any figure."""
    if not position.size:
        return _closed_row(world, account, position, now_ms)
    contract = world.contract("okx", position.symbol)
    mark = world.mark("okx", position.symbol)
    upl, notional = world.unrealized_pnl(position), world.notional(position)
    pool = pool_of(world, account, position)
    isolated, option = position.margin is not None, contract.kind == "option"
    portfolio = account.mode == "portfolio" and not isolated
    basis = position.margin or revalue.initial_margin(contract, position, position.entry_price)
    initial = _ZERO if option else revalue.initial_margin(contract, position, mark)
    return {
        **_identity(world, account, position, now_ms),
        "pos": plain(position.size if account.hedge else position.sign * position.size),
        "availPos": plain(position.size) if account.hedge else "",
        "avgPx": plain(position.entry_price),
        "markPx": plain(mark),
        "idxPx": plain(world.index("okx", position.symbol)),
        "last": plain(mark),
        "upl": figure(upl),
        "uplRatio": figure(upl / basis),
        "uplLastPx": figure(upl),
        "uplRatioLastPx": figure(upl / basis),
        "lever": "" if option or portfolio else plain(position.leverage),
        "margin": figure(position.margin) if position.margin is not None else "",
        "imr": "" if isolated else figure(initial),
        "mmr": figure(world.maintenance(position)),
        "mgnRatio": _ratio(world, pool.equity, pool.requirement),
        "liqPx": "" if option or portfolio else _liquidation_text(world, account, position, pool),
        "notionalUsd": figure(notional * world.usd(contract.settle)),
        "usdPx": plain(world.usd(contract.settle)),
        "bePx": figure(_break_even(contract, position)),
        "adl": "1",
        "interest": "",
        **(_greeks(contract, position, notional) if option else {}),
    }


def _greeks(contract: Contract, position: Position, value: Decimal) -> Row:
    """Return what an option adds: its value in the settle currency, and greeks that stand still here."""
    units = plain(position.sign * position.size * contract.contract_size)
    flat = dict.fromkeys(("gammaBS", "gammaPA", "thetaBS", "thetaPA", "vegaBS", "vegaPA"), "0")
    return {"optVal": figure(value), "deltaBS": units, "deltaPA": units, **flat}


def pool_of(world: World, account: Account, position: Position) -> Pool:
    """Return the pool that an open position is liquidated with."""
    return next(pool for pool in world.pools(account) if any(p.key == position.key for p in pool.positions))


def liquidation_price(world: World, account: Account, position: Position, pool: Pool) -> Decimal | None:
    """Return OKX's estimate: the mark at which the pool is spent if nothing but this position moves; None where there is none.

    Isolated prices come one tick early (observed on live rows, not documented).
    """
    contract = world.contract("okx", position.symbol)
    mark = world.mark("okx", position.symbol)
    units = position.size * contract.contract_size
    rate = revalue.tier_of(contract, position.size, mark, position.mode).rate + _FEE
    sign = position.sign
    if position.margin is not None:
        spare, basis, tick = position.margin, position.entry_price, sign * contract.tick
    else:
        own = world.maintenance(position) + world.closing_fee(position)
        dollars = world.usd(contract.settle) if pool.ccy == "USD" else Decimal(1)
        spare, basis, tick = pool.equity / dollars - (pool.requirement / dollars - own), mark, _ZERO
    # Equity at P: spare + s·q·(P - basis) linear, spare + s·q·(1/basis - 1/P) inverse; it must equal rate·N(P).
    if contract.inverse:
        divisor = sign * spare + units / basis
        price = units * (1 + sign * rate) / divisor if divisor > 0 else _ZERO
    else:
        price = (basis * units - sign * spare) / (units * (1 - sign * rate))
    return price + tick if price > 0 else None


def _liquidation_text(world: World, account: Account, position: Position, pool: Pool) -> str:
    price = quoted_price(world.liquidation_fields, liquidation_price(world, account, position, pool))
    return "" if price is None or price <= 0 else figure(price)


def _ratio(world: World, equity: Decimal, requirement: Decimal) -> str:
    return quoted_ratio(world.liquidation_fields, figure(equity / requirement)) if requirement else ""


def _break_even(contract: Contract, position: Position) -> Decimal:
    """Return the mark at which closing pays for both fees."""
    sign = position.sign
    return position.entry_price * (1 + sign * _FEE) / (1 - sign * _FEE)


def _identity(world: World, account: Account, position: Position, now_ms: int) -> Row:
    contract = world.contract("okx", position.symbol)
    return {
        **dict.fromkeys(_NEVER, ""),
        "instType": inst_type(contract),
        "instId": position.symbol,
        "mgnMode": position.mode,
        "posId": str(position.id),
        "posSide": position.leg if account.hedge else "net",
        "ccy": contract.settle,
        "tradeId": str(position.trade_id),
        "realizedPnl": figure(position.realized + position.fees + position.funding),
        "pnl": figure(position.realized - position.settled),
        "fee": figure(position.fees),
        "fundingFee": figure(position.funding),
        "liqPenalty": "0",
        **(_settlement(position) if contract.kind == "future" and position.mode == "cross" else {}),
        "closeOrderAlgo": [],
        "cTime": str(position.opened_at),
        "uTime": str(position.updated_at),
        "pTime": str(now_ms),
    }


def _settlement(position: Position) -> Row:
    """Return what daily settlement adds to a cross future: ``avgPx`` restarts with each, these two remember."""
    first = position.first_entry or position.entry_price
    return {"nonSettleAvgPx": plain(first) if position.size else "", "settledPnl": figure(position.settled)}


def _closed_row(world: World, account: Account, position: Position, now_ms: int) -> Row:
    empty = (
        "availPos", "avgPx", "markPx", "idxPx", "last", "upl", "uplRatio", "uplLastPx", "uplRatioLastPx", "lever", "margin",
        "imr", "mgnRatio", "liqPx", "notionalUsd", "usdPx", "bePx", "interest", "adl",
    )  # fmt: skip
    return {**_identity(world, account, position, now_ms), **dict.fromkeys(empty, ""), "pos": "0", "mmr": "0"}


def brief_position(world: World, account: Account, position: Position) -> Row:
    """Return a row of ``posData`` in the balance_and_position channel."""
    full = _identity(world, account, position, 0)
    names = (
        "posId", "tradeId", "instId", "instType", "mgnMode", "posSide", "ccy", "posCcy", "nonSettleAvgPx", "settledPnl", "uTime",
    )  # fmt: skip
    signed = position.size if account.hedge else position.sign * position.size
    return {
        **{name: full[name] for name in names},
        "pos": plain(signed),
        "avgPx": plain(position.entry_price) if position.size else "",
    }


# --- Balances ----------------------------------------------------------------------------------------------------------


def account_row(world: World, account: Account, ccys: Iterable[str] | None = None) -> Row:
    """Return the account row with the details of ``ccys`` (default: every currency that holds something)."""
    wanted = account.cash if ccys is None else [ccy for ccy in ccys if ccy in account.cash]
    details = [_detail(world, account, ccy) for ccy in wanted]
    everything = [_Coin(world, account, ccy) for ccy in account.cash]
    return {
        **_account_level(world, account),
        "totalEq": figure(sum((coin.equity * world.usd(coin.ccy) for coin in everything), _ZERO)),
        "isoEq": figure(sum((coin.isolated_equity * world.usd(coin.ccy) for coin in everything), _ZERO)),
        "uTime": str(world.now_ms),
        "details": details,
    }


def brief_balance(world: World, account: Account, ccy: str) -> Row:
    """Return a row of ``balData`` in the balance_and_position channel."""
    return {"ccy": ccy, "cashBal": plain(world.cross_cash(account, ccy)), "uTime": str(account.cash_at[ccy])}


class _Coin:
    """One currency of an account, revalued: isolated margins have left the cash balance (seen on a live answer)."""

    def __init__(self, world: World, account: Account, ccy: str) -> None:
        mine = [(p, world.contract("okx", p.symbol)) for p in world.positions(account.name)]
        held = [(p, c.kind == "option") for p, c in mine if c.settle == ccy]
        cross = [p for p, option in held if p.margin is None and not option]
        isolated = [p for p, _ in held if p.margin is not None]
        self.ccy = ccy
        self.cash = world.cross_cash(account, ccy)
        self.cross_upl = sum((world.unrealized_pnl(p) for p in cross), _ZERO)
        self.options = sum((world.worth(p) for p, option in held if option), _ZERO)
        self.isolated_upl = sum((world.unrealized_pnl(p) for p in isolated), _ZERO)
        self.isolated_equity = sum((p.margin for p in isolated if p.margin is not None), _ZERO) + self.isolated_upl
        self.cross_equity = self.cash + self.cross_upl + self.options
        self.equity = self.cross_equity + self.isolated_equity
        self.maintenance = sum((world.maintenance(p) for p in cross), _ZERO)
        self.fees = sum((world.closing_fee(p) for p in cross), _ZERO)
        self.notional = sum((world.notional(p) for p in cross), _ZERO)
        self.initial = sum((world.notional(p) / p.leverage for p in cross), _ZERO)


def _detail(world: World, account: Account, ccy: str) -> Row:
    coin, usd = _Coin(world, account, ccy), world.usd(ccy)
    free = max(_ZERO, coin.cross_equity - coin.initial)
    futures = account.mode == "futures"
    backs = not futures and ccy not in account.idle
    # Seen on live answers: a share of the whole equity, of the isolated positions' alone where the currency is switched off.
    counts = counted(account.venue, ccy, coin.equity if backs else coin.isolated_equity)
    risk = futures and bool(coin.maintenance)
    zeroes = (
        "ordFrozen", "fixedBal", "spotIsoBal", "stgyEq", "spotCopyTradingEq", "smtSyncEq", "rewardBal", "twap", "colRes",
        "colBorrAutoConversion", "frpType",
    )  # fmt: skip
    debts = ("liab", "uplLiab", "crossLiab", "isoLiab", "interest", "borrowFroz", "maxLoan")
    empty = (
        "spotInUseAmt", "clSpotInUseAmt", "maxSpotInUseAmt", "spotBal", "openAvgPx", "accAvgPx", "spotUpl", "spotUplRatio",
        "totalPnl", "totalPnlRatio",
    )  # fmt: skip
    return {
        **dict.fromkeys(zeroes, "0"),
        **dict.fromkeys(debts, "" if futures else "0"),
        **dict.fromkeys(empty, ""),
        "ccy": ccy,
        "cashBal": plain(coin.cash),
        "eq": figure(coin.equity),
        "eqUsd": figure(coin.equity * usd),
        "disEq": figure(counts * usd),
        "isoEq": figure(coin.isolated_equity),
        "upl": figure(coin.cross_upl + coin.isolated_upl),
        "isoUpl": figure(coin.isolated_upl),
        "availEq": figure(free),
        "availBal": figure(min(free, max(_ZERO, coin.cash))),
        "frozenBal": figure(coin.initial + coin.isolated_equity),
        "imr": figure(coin.initial) if futures else "",
        "mmr": figure(coin.maintenance) if futures else "",
        "mgnRatio": _ratio(world, coin.cross_equity, coin.maintenance + coin.fees) if risk else "",
        "notionalLever": figure(coin.notional / coin.cross_equity) if risk else "0" if futures else "",
        "coinUsdPrice": plain(usd),
        "collateralEnabled": backs and account.mode == "multi",
        "collateralRestrict": False,
        "uTime": str(account.cash_at[ccy]),
    }


def _account_level(world: World, account: Account) -> Row:
    """Return the figures of the whole account: filled where it is one pool in dollars, empty in futures mode."""
    names = (
        "adjEq", "availEq", "imr", "mmr", "mgnRatio", "notionalUsd", "notionalUsdForSwap", "notionalUsdForFutures",
        "notionalUsdForOption", "notionalUsdForBorrow", "ordFroz", "borrowFroz", "upl", "delta", "deltaLever",
        "deltaNeutralStatus",
    )  # fmt: skip
    blank: Row = dict.fromkeys(names, "")
    pool = next((pool for pool in world.pools(account) if pool.ccy == "USD"), None)
    if pool is None:
        return blank
    coins = [_Coin(world, account, ccy) for ccy in account.cash]

    def dollars(*amounts: tuple[str, Decimal]) -> Decimal:
        return sum((amount * world.usd(ccy) for ccy, amount in amounts), _ZERO)

    initial = dollars(*((coin.ccy, coin.initial) for coin in coins))
    notional = dollars(*((coin.ccy, coin.notional) for coin in coins))
    return {
        **dict.fromkeys(blank, "0"),
        "adjEq": figure(pool.equity),
        "availEq": figure(max(_ZERO, pool.equity - initial)),
        "imr": figure(initial),
        "mmr": figure(dollars(*((coin.ccy, coin.maintenance) for coin in coins))),
        "mgnRatio": _ratio(world, pool.equity, pool.requirement),
        "notionalUsd": figure(notional),
        "notionalUsdForSwap": figure(notional),
        "upl": figure(dollars(*((coin.ccy, coin.cross_upl + coin.isolated_upl) for coin in coins))),
    }


# --- Configuration -----------------------------------------------------------------------------------------------------


def level(account: Account) -> str:
    """Return the fee tier: an account whose makers are rebated trades enough for VIP5, the others not for any."""
    return "VIP5" if account.maker_fee is not None and account.maker_fee < 0 else "Lv1"


def config_row(account: Account, powers: str) -> Row:
    """Return the row of Get account configuration; ``powers`` is what the key may do."""
    return {
        "acctLv": ACCOUNT_LEVELS[account.mode],
        "acctStpMode": "cancel_maker",
        "autoLoan": False,
        "ctIsoMode": "automatic",
        "mgnIsoMode": "automatic",
        "greeksType": "PA",
        "level": level(account),
        "levelTmp": "",
        "posMode": "long_short_mode" if account.hedge else "net_mode",
        "spotOffsetType": "",
        "uid": str(account.uid),
        "mainUid": str(account.uid),
        "label": account.name,
        "roleType": "0",
        "traderInsts": [],
        "spotRoleType": "0",
        "spotTraderInsts": [],
        "opAuth": "0",
        "kycLv": "3",
        "ip": "",
        "perm": powers,
        "liquidationGear": "-1",
        "settleCcy": "",
        "settleCcyList": [],
        "type": "0",
        "enableSpotBorrow": False,
    }
