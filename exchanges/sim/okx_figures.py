"""OKX's rows over the world: positions, balances, instruments, tiers, with the figures that OKX itself would report.

Pure. Every value is text as on the wire; ``""`` is OKX's "not applicable". Sources: OKX v5 docs (positions, account and
balance_and_position channels, Get balance, Get positions, Get instruments, Get position tiers), help centre "Isolated margin
mode" and "Single-currency margin mode: cross margin trading".
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

from exchanges.sim import revalue
from exchanges.sim.catalog import COLLATERAL_RATE, TAKER_FEE, Contract
from exchanges.sim.exact import plain
from exchanges.sim.revalue import Pool, Position
from exchanges.sim.world import Account, World

Row = dict[str, Any]

_ZERO = Decimal(0)
# OKX prints up to sixteen decimals and does not round to the currency's precision.
_FINEST = Decimal("1e-16")
_FEE = TAKER_FEE["okx"]
# Fields of options, margin and portfolio margin: always there, never filled for swaps.
_NEVER = (
    "liab", "liabCcy", "posCcy", "optVal", "deltaBS", "deltaPA", "gammaBS", "gammaPA", "thetaBS", "thetaPA", "vegaBS", "vegaPA",
    "baseBal", "baseBorrowed", "baseInterest", "quoteBal", "quoteBorrowed", "quoteInterest", "pendingCloseOrdLiabVal",
    "spotInUseAmt", "clSpotInUseAmt", "maxSpotInUseAmt", "spotInUseCcy", "bizRefId", "bizRefType", "hedgedPos",
    "nonSettleAvgPx", "settledPnl",
)  # fmt: skip


def figure(value: Decimal) -> str:
    """Return a computed figure with at most sixteen decimals."""
    exponent = value.as_tuple().exponent
    if isinstance(exponent, int) and exponent < -16:
        value = value.quantize(_FINEST, ROUND_HALF_EVEN)
    return plain(value)


def family(contract: Contract) -> str:
    """Return the instrument family: BTC-USDT of BTC-USDT-SWAP."""
    return contract.symbol.removesuffix("-SWAP")


# --- Positions ---------------------------------------------------------------------------------------------------------


def position_row(world: World, account: Account, position: Position, now_ms: int) -> Row:
    """Return a row of the positions channel (and of Get positions); a closed one has size 0 and hardly any figure."""
    if not position.size:
        return _closed_row(account, position, now_ms)
    contract = world.contract("okx", position.symbol)
    mark = world.mark("okx", position.symbol)
    upl, notional = world.unrealized_pnl(position), world.notional(position)
    pool = pool_of(world, account, position)
    isolated = position.margin is not None
    basis = position.margin or revalue.initial_margin(contract, position, position.entry_price)
    return {
        **_identity(account, position, now_ms),
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
        "lever": plain(position.leverage),
        "margin": figure(position.margin) if position.margin is not None else "",
        "imr": "" if isolated else figure(revalue.initial_margin(contract, position, mark)),
        "mmr": figure(world.maintenance(position)),
        "mgnRatio": figure(pool.equity / pool.requirement),
        "liqPx": _price_text(liquidation_price(world, account, position, pool)),
        "notionalUsd": figure(notional * world.usd(contract.settle)),
        "usdPx": plain(world.usd(contract.settle)),
        "bePx": figure(_break_even(contract, position)),
        "adl": "1",
        "interest": "",
    }


def pool_of(world: World, account: Account, position: Position) -> Pool:
    """Return the pool that a position is liquidated with."""
    return next(pool for pool in world.pools(account) if position in pool.positions)


def liquidation_price(world: World, account: Account, position: Position, pool: Pool) -> Decimal | None:
    """Return OKX's estimate: the mark at which the pool is spent if nothing but this position moves; None where there is none.

    Isolated prices come one tick early (observed on live rows, not documented).
    """
    contract = world.contract("okx", position.symbol)
    mark = world.mark("okx", position.symbol)
    units = position.size * contract.contract_size
    rate = revalue.tier_of(contract, position.size, mark).rate + _FEE
    sign = position.sign
    if position.margin is not None:
        spare, basis, tick = position.margin, position.entry_price, sign * contract.tick
    else:
        own = world.maintenance(position) + world.closing_fee(position)
        dollars = world.usd(contract.settle) if account.mode == "multi" else Decimal(1)
        spare, basis, tick = pool.equity / dollars - (pool.requirement / dollars - own), mark, _ZERO
    # Equity at P: spare + s·q·(P - basis) linear, spare + s·q·(1/basis - 1/P) inverse; it must equal rate·N(P).
    if contract.inverse:
        divisor = sign * spare + units / basis
        price = units * (1 + sign * rate) / divisor if divisor > 0 else _ZERO
    else:
        price = (basis * units - sign * spare) / (units * (1 - sign * rate))
    return price + tick if price > 0 else None


def _price_text(price: Decimal | None) -> str:
    return "" if price is None or price <= 0 else figure(price)


def _break_even(contract: Contract, position: Position) -> Decimal:
    """Return the mark at which closing pays for both fees."""
    sign = position.sign
    if contract.inverse:
        return position.entry_price * (1 + sign * _FEE) / (1 - sign * _FEE)
    return position.entry_price * (1 + sign * _FEE) / (1 - sign * _FEE)


def _identity(account: Account, position: Position, now_ms: int) -> Row:
    contract_ccy = position.symbol.split("-")
    settle = contract_ccy[0] if contract_ccy[1] == "USD" else contract_ccy[1]
    return {
        **dict.fromkeys(_NEVER, ""),
        "instType": "SWAP",
        "instId": position.symbol,
        "mgnMode": position.mode,
        "posId": str(position.id),
        "posSide": position.leg if account.hedge else "net",
        "ccy": settle,
        "tradeId": str(position.trade_id),
        "realizedPnl": figure(position.realized + position.fees),
        "pnl": figure(position.realized),
        "fee": figure(position.fees),
        "fundingFee": "0",
        "liqPenalty": "0",
        "closeOrderAlgo": [],
        "cTime": str(position.opened_at),
        "uTime": str(position.updated_at),
        "pTime": str(now_ms),
    }


def _closed_row(account: Account, position: Position, now_ms: int) -> Row:
    empty = (
        "availPos", "avgPx", "markPx", "idxPx", "last", "upl", "uplRatio", "uplLastPx", "uplRatioLastPx", "lever", "margin",
        "imr", "mgnRatio", "liqPx", "notionalUsd", "usdPx", "bePx", "interest", "adl",
    )  # fmt: skip
    return {**_identity(account, position, now_ms), **dict.fromkeys(empty, ""), "pos": "0", "mmr": "0"}


def brief_position(account: Account, position: Position) -> Row:
    """Return a row of ``posData`` in the balance_and_position channel."""
    full = _identity(account, position, 0)
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
        mine = [p for p in world.positions(account.name) if world.contract("okx", p.symbol).settle == ccy]
        self.ccy = ccy
        self.cross = [p for p in mine if p.margin is None]
        self.cash = world.cross_cash(account, ccy)
        self.cross_upl = sum((world.unrealized_pnl(p) for p in self.cross), _ZERO)
        self.isolated_upl = sum((world.unrealized_pnl(p) for p in mine if p.margin is not None), _ZERO)
        self.isolated_equity = sum((p.margin for p in mine if p.margin is not None), _ZERO) + self.isolated_upl
        self.cross_equity = self.cash + self.cross_upl
        self.equity = self.cross_equity + self.isolated_equity
        self.maintenance = sum((world.maintenance(p) for p in self.cross), _ZERO)
        self.fees = sum((world.closing_fee(p) for p in self.cross), _ZERO)
        self.notional = sum((world.notional(p) for p in self.cross), _ZERO)
        self.initial = sum((world.notional(p) / p.leverage for p in self.cross), _ZERO)


def _detail(world: World, account: Account, ccy: str) -> Row:
    coin, usd = _Coin(world, account, ccy), world.usd(ccy)
    free = max(_ZERO, coin.cross_equity - coin.initial)
    discount = COLLATERAL_RATE.get(ccy, Decimal(1)) if coin.equity > 0 else Decimal(1)
    futures = account.mode == "futures"
    risk = futures and bool(coin.cross)
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
        "disEq": figure(coin.cross_equity * usd * discount),
        "isoEq": figure(coin.isolated_equity),
        "upl": figure(coin.cross_upl + coin.isolated_upl),
        "isoUpl": figure(coin.isolated_upl),
        "availEq": figure(free),
        "availBal": figure(min(free, max(_ZERO, coin.cash))),
        "frozenBal": figure(coin.initial + coin.isolated_equity),
        "imr": figure(coin.initial) if futures else "",
        "mmr": figure(coin.maintenance) if futures else "",
        "mgnRatio": figure(coin.cross_equity / (coin.maintenance + coin.fees)) if risk else "",
        "notionalLever": figure(coin.notional / coin.cross_equity) if risk else "0" if futures else "",
        "coinUsdPrice": plain(usd),
        "collateralEnabled": not futures,
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
    if account.mode != "multi":
        return blank
    pool = world.pools(account)[-1]
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
        "mgnRatio": figure(pool.equity / pool.requirement) if pool.requirement else "",
        "notionalUsd": figure(notional),
        "notionalUsdForSwap": figure(notional),
        "upl": figure(dollars(*((coin.ccy, coin.cross_upl + coin.isolated_upl) for coin in coins))),
    }


# --- Public data -------------------------------------------------------------------------------------------------------


def instrument_row(contract: Contract, code: int) -> Row:
    """Return a row of Get instruments."""
    empty = (
        "alias",
        "auctionEndTime",
        "baseCcy",
        "quoteCcy",
        "expTime",
        "optType",
        "stk",
        "preMktSwTime",
        "method",
        "seriesId",
    )
    return {
        **dict.fromkeys(empty, ""),
        "category": "1",
        "contTdSwTime": "1611916860000",
        "ctMult": "1",
        "ctType": "inverse" if contract.inverse else "linear",
        "ctVal": plain(contract.contract_size),
        "ctValCcy": "USD" if contract.inverse else contract.base,
        "futureSettlement": False,
        "groupId": "4",
        "instFamily": family(contract),
        "instId": contract.symbol,
        "instIdCode": code,
        "instType": "SWAP",
        "lever": plain(contract.max_leverage),
        "listTime": "1573557408000",
        "lotSz": plain(contract.lot),
        "maxLmtSz": "100000000",
        "maxMktSz": "35000",
        "minSz": plain(contract.lot),
        "openType": "call_auction",
        "ruleType": "normal",
        "settleCcy": contract.settle,
        "state": "live",
        "tickSz": plain(contract.tick),
        "tradeQuoteCcyList": [],
        "uly": family(contract),
        "upcChg": [],
    }


def tier_rows(contract: Contract) -> list[Row]:
    """Return the rows of Get position tiers; sizes in contracts."""
    last = contract.tiers[-1].lower * 10
    ends = [*(tier.lower for tier in contract.tiers[1:]), last]
    return [
        {
            "baseMaxLoan": "", "quoteMaxLoan": "", "optMgnFactor": "0", "instId": "", "uly": family(contract),
            "instFamily": family(contract), "tier": str(number), "minSz": plain(tier.lower), "maxSz": plain(end),
            "mmr": plain(tier.rate), "imr": figure(1 / tier.max_leverage), "maxLever": plain(tier.max_leverage),
        }
        for number, (tier, end) in enumerate(zip(contract.tiers, ends, strict=True), 1)
    ]  # fmt: skip


def mark_row(world: World, contract: Contract, at: int) -> Row:
    """Return a row of the mark-price channel."""
    return {
        "instType": "SWAP", "instId": contract.symbol, "markPx": plain(world.mark("okx", contract.symbol)), "ts": str(at),
    }  # fmt: skip


def config_row(account: Account) -> Row:
    """Return the row of Get account configuration; the key may only read."""
    return {
        "acctLv": "3" if account.mode == "multi" else "2",
        "acctStpMode": "cancel_maker",
        "autoLoan": False,
        "ctIsoMode": "automatic",
        "mgnIsoMode": "automatic",
        "greeksType": "PA",
        "level": "Lv1",
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
        "perm": "read_only",
        "liquidationGear": "-1",
        "settleCcy": "",
        "settleCcyList": [],
        "type": "0",
        "enableSpotBorrow": False,
    }
