"""Bybit's market rows over the world: contracts, risk limits, tickers.

Pure. Values are text as on the wire. Sources: Bybit v5 docs (Get Instruments Info, Get Risk Limit, ticker stream); risk limits
as fractions, as the live venue sends them.
"""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any
from zlib import crc32

from exchanges.sim.catalog import CONTRACTS, Contract
from exchanges.sim.exact import plain, round_to
from exchanges.sim.world import World

Row = dict[str, Any]

_FUNDING_EVERY_MS = 8 * 3_600_000
# Contracts that Bybit lists and nobody here trades: symbol, base, price. With them the risk limits fill a second page
# of 15 symbols, and a client meets instruments that it never asked for.
_IDLE = (
    ("ADAUSDT", "ADA", "0.4121"), ("APTUSDT", "APT", "2.531"), ("ARBUSDT", "ARB", "0.2043"), ("ATOMUSDT", "ATOM", "2.412"),
    ("BCHUSDT", "BCH", "531.2"), ("BNBUSDT", "BNB", "832.6"), ("DOTUSDT", "DOT", "2.241"), ("NEARUSDT", "NEAR", "1.742"),
    ("SUIUSDT", "SUI", "1.3852"), ("TONUSDT", "TON", "1.513"), ("TRXUSDT", "TRX", "0.2764"), ("UNIUSDT", "UNI", "6.018"),
)  # fmt: skip
_LIKE = next(contract for contract in CONTRACTS if contract.symbol == "LINKUSDT")
IDLE_MARKS: dict[str, Decimal] = {symbol: Decimal(price) for symbol, _, price in _IDLE}
IDLE_CONTRACTS: tuple[Contract, ...] = tuple(
    replace(_LIKE, symbol=symbol, base=base, tick=Decimal(1).scaleb(-len(price.partition(".")[2])))
    for symbol, base, price in _IDLE
)


def contracts(world: World) -> dict[str, Contract]:
    """Return everything that is listed, by symbol in alphabetical order."""
    listed = [*world.listed("bybit"), *IDLE_CONTRACTS]
    return {contract.symbol: contract for contract in sorted(listed, key=lambda c: c.symbol)}


def price_limits(contract: Contract) -> tuple[Decimal, Decimal]:
    """Return the lowest and highest price an order may have."""
    return contract.tick, contract.tick * 19_999_999


def risk_id(contract: Contract, tier: int) -> int:
    """Return the number of a contract's risk limit; limits of different symbols have different numbers."""
    return crc32(contract.symbol.encode()) % 100_000 * 10 + tier + 1


def risk_limit_value(contract: Contract, tier: int) -> Decimal:
    """Return up to which value a risk limit holds: where the next begins; the last is twice where it begins."""
    if tier + 1 < len(contract.tiers):
        return contract.tiers[tier + 1].lower
    return contract.tiers[tier].lower * 2


def risk_limit_rows(contract: Contract) -> list[Row]:
    """Return a contract's risk limits; rates are fractions, a deduction of nothing is ``""``."""
    return [
        {
            "id": risk_id(contract, number),
            "symbol": contract.symbol,
            "riskLimitValue": plain(risk_limit_value(contract, number)),
            "maintenanceMargin": plain(tier.rate),
            "initialMargin": plain(round_to(1 / tier.max_leverage, Decimal("0.0001"))),
            "isLowestRisk": int(number == 0),
            "maxLeverage": f"{tier.max_leverage:.2f}",
            "mmDeduction": plain(tier.deduction) if tier.deduction else "",
        }
        for number, tier in enumerate(contract.tiers)
    ]


def instrument_row(contract: Contract) -> Row:
    """Return a contract as Get Instruments Info describes it."""
    lowest, highest = price_limits(contract)
    return {
        "symbol": contract.symbol,
        "contractType": "LinearPerpetual",
        "status": "Trading",
        "baseCoin": f"{contract.multiplier if contract.multiplier != 1 else ''}{contract.base}",
        "quoteCoin": "USDT" if contract.settle == "USDT" else "USD",
        "settleCoin": contract.settle,
        "launchTime": "1585526400000",
        "deliveryTime": "0",
        "deliveryFeeRate": "",
        "priceScale": str(max(0, -int(contract.tick.normalize().as_tuple().exponent))),
        "leverageFilter": {"minLeverage": "1", "maxLeverage": f"{contract.max_leverage:.2f}", "leverageStep": "0.01"},
        "priceFilter": {"minPrice": plain(lowest), "maxPrice": plain(highest), "tickSize": plain(contract.tick)},
        "lotSizeFilter": {
            "maxOrderQty": plain(contract.lot * 1_000_000),
            "minOrderQty": plain(contract.lot),
            "qtyStep": plain(contract.lot),
            "postOnlyMaxOrderQty": plain(contract.lot * 1_000_000),
            "maxMktOrderQty": plain(contract.lot * 200_000),
            "minNotionalValue": "5",
        },
        "unifiedMarginTrade": True,
        "fundingInterval": 480,
        "copyTrading": "both",
        "isPreListing": False,
    }


def ticker(world: World, contract: Contract, now_ms: int) -> dict[str, str]:
    """Return every field of a contract's ticker as the world stands; only what follows the price ever changes."""
    idle = IDLE_MARKS.get(contract.symbol)
    mark = world.mark("bybit", contract.symbol) if idle is None else idle
    index = world.index("bybit", contract.symbol) if idle is None else idle
    last, held = round_to(mark, contract.tick), contract.lot * 9_000_000
    return {
        "symbol": contract.symbol,
        "tickDirection": "PlusTick",
        "price24hPcnt": "0.0112",
        "lastPrice": plain(last),
        "prevPrice24h": "",
        "highPrice24h": "",
        "lowPrice24h": "",
        "prevPrice1h": "",
        "markPrice": plain(mark),
        "indexPrice": plain(index),
        "openInterest": plain(held),
        "openInterestValue": plain(round_to(held * mark, Decimal("0.01"))),
        "turnover24h": "0",
        "volume24h": "0",
        "fundingIntervalHour": "8",
        "fundingCap": "0.005",
        "nextFundingTime": str((now_ms // _FUNDING_EVERY_MS + 1) * _FUNDING_EVERY_MS),
        "fundingRate": "0.0001",
        "bid1Price": plain(last),
        "bid1Size": plain(contract.lot * 1200),
        "ask1Price": plain(last + contract.tick),
        "ask1Size": plain(contract.lot * 900),
        "preOpenPrice": "",
        "preQty": "",
        "curPreListingPhase": "",
    }
