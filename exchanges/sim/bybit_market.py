"""Bybit's market rows over the world: contracts, risk limits, tickers, by category.

Pure. Values are text as on the wire. Sources: Bybit v5 docs (Get Instruments Info, Get Risk Limit, ticker stream); risk limits
as fractions, as the live venue sends them.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from zlib import crc32

from exchanges.sim.catalog import CONTRACTS, FUNDING_EVERY_MS, Contract
from exchanges.sim.exact import plain, round_to
from exchanges.sim.haircuts import steps_of
from exchanges.sim.revalue import notional
from exchanges.sim.world import World

Row = dict[str, Any]

CATEGORIES = ("linear", "inverse", "option", "spot")
# Coins with a market against USDT on spot: what collateral is valued with.
_COINS = ("BTC", "ETH", "SOL", "XRP", "DOGE", "LINK", "AVAX", "LTC", "HYPE", "USDC")
_SPOT_STEP = Decimal("0.0001")
# Contracts that Bybit lists and nobody here trades: symbol, base, price. With them the risk limits fill a second page
# of 15 symbols, and a client meets instruments that it never asked for.
_IDLE = (
    ("ADAUSDT", "ADA", "0.4121"), ("APTUSDT", "APT", "2.531"), ("ARBUSDT", "ARB", "0.2043"), ("ATOMUSDT", "ATOM", "2.412"),
    ("BCHUSDT", "BCH", "531.2"), ("BNBUSDT", "BNB", "832.6"), ("DOTUSDT", "DOT", "2.241"), ("NEARUSDT", "NEAR", "1.742"),
    ("SUIUSDT", "SUI", "1.3852"), ("TONUSDT", "TON", "1.513"), ("TRXUSDT", "TRX", "0.2764"), ("UNIUSDT", "UNI", "6.018"),
)  # fmt: skip
_LIKE = next(contract for contract in CONTRACTS if (contract.venue, contract.symbol) == ("bybit", "LINKUSDT"))
IDLE_MARKS: dict[str, Decimal] = {symbol: Decimal(price) for symbol, _, price in _IDLE}
IDLE_CONTRACTS: tuple[Contract, ...] = tuple(
    replace(_LIKE, symbol=symbol, base=base, tick=Decimal(1).scaleb(-len(price.partition(".")[2])))
    for symbol, base, price in _IDLE
)


def contracts(world: World) -> dict[str, Contract]:
    """Return everything that is listed, by symbol in alphabetical order."""
    listed = [*world.listed("bybit"), *IDLE_CONTRACTS]
    return {contract.symbol: contract for contract in sorted(listed, key=lambda c: c.symbol)}


def find(world: World, symbol: str) -> Contract | None:
    """Return a listed contract as it stands (a split or an expiry changes it), or None."""
    return world.contracts.get(("bybit", symbol)) or next((c for c in IDLE_CONTRACTS if c.symbol == symbol), None)


def category(contract: Contract) -> str:
    """Return linear, inverse or option."""
    return "option" if contract.kind == "option" else "inverse" if contract.inverse else "linear"


def spot_pairs() -> dict[str, str]:
    """Return the coin of each spot symbol; USDT's own price is that of its pair against a fiat currency."""
    return {**{f"{coin}USDT": coin for coin in _COINS}, "USDTEUR": "USDT"}


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


def instrument_row(world: World, contract: Contract) -> Row:
    """Return a contract as Get Instruments Info describes it; what has expired is closed."""
    lowest, highest = price_limits(contract)
    expiry, option = contract.expires_at, contract.kind == "option"
    base = f"{contract.multiplier if contract.multiplier != 1 else ''}{contract.base}"
    kept: Row = {
        "symbol": contract.symbol,
        "status": "Closed" if world.expired(contract) else "Trading",
        "baseCoin": base,
        "quoteCoin": "USDT" if contract.settle == "USDT" else "USD",
        "settleCoin": contract.settle,
        "launchTime": "1585526400000",
        "deliveryTime": "0" if expiry is None else str(expiry),
        "deliveryFeeRate": "" if expiry is None else "0.0005",
        "priceFilter": {"minPrice": plain(lowest), "maxPrice": plain(highest), "tickSize": plain(contract.tick)},
    }
    lots = {
        "maxOrderQty": plain(contract.lot * 1_000_000),
        "minOrderQty": plain(contract.lot),
        "qtyStep": plain(contract.lot),
    }
    if option:
        return {
            **kept,
            "optionsType": "Call" if contract.call else "Put",
            "lotSizeFilter": lots,
            "displayName": contract.symbol,
        }
    return {
        **kept,
        "contractType": f"{'Inverse' if contract.inverse else 'Linear'}{'Perpetual' if expiry is None else 'Futures'}",
        "priceScale": str(max(0, -int(contract.tick.normalize().as_tuple().exponent))),
        "leverageFilter": {"minLeverage": "1", "maxLeverage": f"{contract.max_leverage:.2f}", "leverageStep": "0.01"},
        "lotSizeFilter": {
            **lots,
            "postOnlyMaxOrderQty": plain(contract.lot * 1_000_000),
            "maxMktOrderQty": plain(contract.lot * 200_000),
            "minNotionalValue": "5",
        },
        "unifiedMarginTrade": True,
        "fundingInterval": 480 if expiry is None else 0,
        "copyTrading": "both" if expiry is None else "none",
        "isPreListing": False,
    }


def spot_instrument_row(symbol: str, coin: str) -> Row:
    """Return a spot market as Get Instruments Info describes it."""
    return {
        "symbol": symbol,
        "baseCoin": coin,
        "quoteCoin": symbol.removeprefix(coin),
        "innovation": "0",
        "status": "Trading",
        "marginTrading": "both",
        "lotSizeFilter": {"basePrecision": "0.000001", "quotePrecision": "0.00000001", "minOrderQty": "0.000001"},
        "priceFilter": {"tickSize": plain(_SPOT_STEP)},
    }


def ticker(world: World, contract: Contract, now_ms: int) -> dict[str, str]:
    """Return every field of a contract's ticker as the world stands; only what follows the price or the clock ever changes."""
    idle = IDLE_MARKS.get(contract.symbol)
    mark = world.mark("bybit", contract.symbol) if idle is None else idle
    index = world.index("bybit", contract.symbol) if idle is None else idle
    last, held = round_to(mark, contract.tick), contract.lot * 9_000_000
    if contract.kind == "option":
        return _option_ticker(contract, mark, index)
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
        "openInterestValue": plain(round_to(notional(contract, held, mark), Decimal("0.01"))),
        "turnover24h": "0",
        "volume24h": "0",
        "bid1Price": plain(last),
        "bid1Size": plain(contract.lot * 1200),
        "ask1Price": plain(last + contract.tick),
        "ask1Size": plain(contract.lot * 900),
        "preOpenPrice": "",
        "preQty": "",
        "curPreListingPhase": "",
        **(_funding(world, contract, now_ms) if contract.expires_at is None else _delivery(contract)),
    }


def _funding(world: World, contract: Contract, now_ms: int) -> dict[str, str]:
    every = FUNDING_EVERY_MS["bybit"]
    rate, due = Decimal("0.0001"), (now_ms // every + 1) * every
    if contract.symbol not in IDLE_MARKS:
        rate, due = world.funding("bybit", contract.symbol)
    return {
        "fundingIntervalHour": "8", "fundingCap": "0.005", "nextFundingTime": str(due), "fundingRate": plain(rate),
    }  # fmt: skip


def _delivery(contract: Contract) -> dict[str, str]:
    assert contract.expires_at is not None
    at = datetime.fromtimestamp(contract.expires_at / 1000, UTC)
    return {
        "fundingRate": "", "nextFundingTime": "", "deliveryTime": f"{at:%Y-%m-%dT%H:%M:%SZ}", "basisRate": "0.004",
        "deliveryFeeRate": "0.0005", "predictedDeliveryPrice": "",
    }  # fmt: skip


def _option_ticker(contract: Contract, mark: Decimal, index: Decimal) -> dict[str, str]:
    zero = (
        "bidSize",
        "askSize",
        "bidIv",
        "askIv",
        "turnover24h",
        "volume24h",
        "totalVolume",
        "totalTurnover",
        "change24h",
    )
    return {
        **dict.fromkeys(zero, "0"), "symbol": contract.symbol, "bidPrice": plain(mark), "askPrice": plain(mark),
        "lastPrice": plain(mark), "markPrice": plain(mark), "indexPrice": plain(index), "underlyingPrice": plain(index),
        "markPriceIv": "0.6", "openInterest": "900", "delta": "0.1", "gamma": "0", "vega": "0", "theta": "0",
        "predictedDeliveryPrice": "0",
    }  # fmt: skip


def spot_ticker(world: World, symbol: str, coin: str) -> dict[str, str]:
    """Return a spot market's ticker: no mark price, but what its coin is worth in dollars."""
    usd = world.usd(coin)
    last = plain(round_to(usd / world.usd("USDT"), _SPOT_STEP))
    daily = dict.fromkeys(("highPrice24h", "lowPrice24h", "prevPrice24h"), last)
    return {
        "symbol": symbol, "lastPrice": last, **daily, "volume24h": "0", "turnover24h": "0", "price24hPcnt": "0",
        "usdIndexPrice": plain(round_to(usd, Decimal("1e-8"))),
    }  # fmt: skip


def collateral_row(coin: str) -> Row:
    """Return a row of Get Tiered Collateral Ratio; the last tier has no end."""
    steps = steps_of("bybit", coin)
    ends = [*(plain(lower) for lower, _ in steps[1:]), ""]
    return {
        "currency": coin,
        "collateralRatioList": [
            {"minQty": plain(lower), "maxQty": end, "collateralRatio": plain(rate)}
            for (lower, rate), end in zip(steps, ends, strict=True)
        ],
    }


def collateral_coins() -> list[str]:
    """Return the coins that can be collateral."""
    return ["USDT", *_COINS]
