"""OKX's public rows over the world: instruments, tiers, mark and index prices, funding rates, collateral discounts.

Pure. Every value is text as on the wire; ``""`` is OKX's "not applicable". Sources: OKX v5 docs (Get instruments, Get position
tiers, mark-price, index-tickers and funding-rate channels, Get discount rate and interest-free quota).
"""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

from exchanges.sim.catalog import FUNDING_EVERY_MS, Contract, Mode
from exchanges.sim.exact import plain
from exchanges.sim.haircuts import counted, steps_of
from exchanges.sim.revalue import tiers_for
from exchanges.sim.world import World

Row = dict[str, Any]

INST_TYPES = {"perp": "SWAP", "future": "FUTURES", "option": "OPTION"}
_QUOTES = ("USD", "USDT", "USDC")
# OKX prints up to sixteen decimals and does not round to the currency's precision.
_FINEST = Decimal("1e-16")
_INDEX_STEP = Decimal("1e-9")
_FIRST_CODE = 10_459


def figure(value: Decimal) -> str:
    """Return a computed figure with at most sixteen decimals."""
    exponent = value.as_tuple().exponent
    if isinstance(exponent, int) and exponent < -16:
        value = value.quantize(_FINEST, ROUND_HALF_EVEN)
    return plain(value)


def inst_type(contract: Contract) -> str:
    """Return SWAP, FUTURES or OPTION."""
    return INST_TYPES[contract.kind]


def family(contract: Contract) -> str:
    """Return the instrument family: BTC-USDT of BTC-USDT-SWAP, BTC-USD of BTC-USD-261225-90000-C."""
    return "-".join(contract.symbol.split("-")[:2])


def state_of(contract: Contract, now_ms: int) -> str:
    """Return the state of an instrument: ``expired`` from its expiry on."""
    return "live" if contract.expires_at is None or now_ms < contract.expires_at else "expired"


def rule_of(contract: Contract) -> str:
    """Return the rule of trading: a contract that was split has been rebased."""
    return "normal" if contract.multiplier == 1 else "rebase_contract"


def numbered(world: World) -> list[tuple[int, Contract]]:
    """Return everything that is listed, with its instIdCode."""
    return list(enumerate(world.listed("okx"), _FIRST_CODE))


def instrument_row(contract: Contract, code: int, now_ms: int) -> Row:
    """Return a row of Get instruments."""
    empty = ("alias", "auctionEndTime", "baseCcy", "quoteCcy", "preMktSwTime", "method", "seriesId")
    option = contract.kind == "option"
    return {
        **dict.fromkeys(empty, ""),
        "category": "1",
        "contTdSwTime": "1611916860000",
        "ctMult": plain(contract.contract_size) if option else "1",
        "ctType": "" if option else "inverse" if contract.inverse else "linear",
        "ctVal": "1" if option else plain(contract.contract_size),
        "ctValCcy": "USD" if contract.inverse else contract.base,
        "expTime": "" if contract.expires_at is None else str(contract.expires_at),
        "futureSettlement": False,
        "groupId": "4",
        "instFamily": family(contract),
        "instId": contract.symbol,
        "instIdCode": code,
        "instType": inst_type(contract),
        "lever": "" if option else plain(contract.max_leverage),
        "listTime": "1573557408000",
        "lotSz": plain(contract.lot),
        "maxLmtSz": "100000000",
        "maxMktSz": "35000",
        "minSz": plain(contract.lot),
        "openType": "call_auction",
        "optType": ("C" if contract.call else "P") if option else "",
        "ruleType": rule_of(contract),
        "settleCcy": contract.settle,
        "state": state_of(contract, now_ms),
        "stk": "" if contract.strike is None else plain(contract.strike),
        "tickSz": plain(contract.tick),
        "tradeQuoteCcyList": [],
        "uly": family(contract),
        "upcChg": [],
    }


def tier_rows(contract: Contract, mode: Mode = "cross") -> list[Row]:
    """Return the rows of Get position tiers of a ``tdMode``; sizes in contracts."""
    tiers = tiers_for(contract, mode)
    last = max(tiers[-1].lower * 10, Decimal(1_000_000))
    ends = [*(tier.lower for tier in tiers[1:]), last]
    return [
        {
            "baseMaxLoan": "", "quoteMaxLoan": "", "optMgnFactor": "0", "instId": "", "uly": family(contract),
            "instFamily": family(contract), "tier": str(number), "minSz": plain(tier.lower), "maxSz": plain(end),
            "mmr": plain(tier.rate), "imr": figure(1 / tier.max_leverage), "maxLever": plain(tier.max_leverage),
        }
        for number, (tier, end) in enumerate(zip(tiers, ends, strict=True), 1)
    ]  # fmt: skip


def mark_row(world: World, contract: Contract, at: int) -> Row:
    """Return a row of the mark-price channel."""
    return {
        "instType": inst_type(contract), "instId": contract.symbol, "markPx": plain(world.mark("okx", contract.symbol)),
        "ts": str(at),
    }  # fmt: skip


def index_price(world: World, pair: str) -> Decimal | None:
    """Return the index of a pair such as BTC-USD or USDT-USD; None where there is none."""
    base, _, quote = pair.partition("-")
    if quote not in _QUOTES or base == quote:
        return None
    try:
        return (world.usd(base) / world.usd(quote)).quantize(_INDEX_STEP, ROUND_HALF_EVEN)
    except KeyError:
        return None


def index_row(pair: str, price: Decimal, at: int) -> Row:
    """Return a row of the index-tickers channel."""
    shown = plain(price)
    daily = dict.fromkeys(("high24h", "low24h", "open24h", "sodUtc0", "sodUtc8"), shown)
    return {"instId": pair, "idxPx": shown, **daily, "ts": str(at)}


def index_pairs(world: World) -> list[str]:
    """Return the indices that an instrument or a collateral currency of this world needs."""
    coins = {contract.base for contract in world.listed("okx")} | {"USDT", "USDC"}
    coins |= {ccy for account in world.accounts_of("okx") for ccy in account.cash}
    return [f"{coin}-{quote}" for coin in sorted(coins) for quote in _QUOTES if index_price(world, f"{coin}-{quote}")]


def funding_row(world: World, contract: Contract, at: int) -> Row:
    """Return a row of the funding-rate channel; a positive rate is paid by longs at ``fundingTime``."""
    rate, next_at = world.funding("okx", contract.symbol)
    return {
        "formulaType": "withRate",
        "fundingRate": plain(rate),
        "fundingTime": str(next_at),
        "impactValue": "20000",
        "instId": contract.symbol,
        "instType": inst_type(contract),
        "interestRate": "0.0001",
        "maxFundingRate": "0.00375",
        "method": "current_period",
        "minFundingRate": "-0.00375",
        "nextFundingRate": "",
        "nextFundingTime": str(next_at + FUNDING_EVERY_MS["okx"]),
        "premium": "0.0001",
        "settFundingRate": plain(rate),
        "settState": "settled",
        "ts": str(at),
    }


def discount_row(ccy: str) -> Row:
    """Return a row of Get discount rate; what counts for nothing beyond the last tier is ``minDiscountRate``."""
    steps = steps_of("okx", ccy)
    ends = [lower for lower, _ in steps[1:]]
    tiers = [
        {
            "tier": str(number), "minAmt": plain(lower), "maxAmt": plain(end) if end is not None else "",
            "discountRate": plain(rate), "liqPenaltyRate": "0.02",
            "disCcyEq": plain(counted("okx", ccy, end)) if end is not None else "",
        }
        for number, ((lower, rate), end) in enumerate(zip(steps, [*ends, None], strict=True), 1)
        if rate
    ]  # fmt: skip
    return {
        "amt": "0", "ccy": ccy, "colRes": "0", "collateralRestrict": False, "discountLv": "1", "minDiscountRate": "0",
        "details": tiers,
    }  # fmt: skip
