"""What Aster says of its market: symbols, marks, funding. Pure; needs no login.

Sources: Aster docs "Exchange Information", "Mark Price", "Get Funding Rate Config", "Symbol Order Book Ticker"; shapes as in
recorded answers.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from exchanges.sim.aster_figures import amount
from exchanges.sim.catalog import Contract
from exchanges.sim.exact import plain
from exchanges.sim.world import World

Row = dict[str, Any]

WEIGHT_PER_MINUTE, ORDERS_PER_MINUTE = 2400, 1200
FUNDING_HOURS = 8
_NEVER_DELIVERED = 4_133_404_800_000
_LISTED_AT = 1_598_252_400_000
_INTEREST = "0.00010000"


def exchange_info(contracts: Iterable[Contract], now_ms: int) -> Row:
    """Return limits, assets and every symbol with its filters."""
    return {
        "exchangeFilters": [],
        "rateLimits": [
            {"interval": "MINUTE", "intervalNum": 1, "limit": WEIGHT_PER_MINUTE, "rateLimitType": "REQUEST_WEIGHT"},
            {"interval": "MINUTE", "intervalNum": 1, "limit": ORDERS_PER_MINUTE, "rateLimitType": "ORDERS"},
        ],
        "serverTime": now_ms,
        "assets": [
            {"asset": "USDT", "marginAvailable": True, "autoAssetExchange": "-10000"},
            {"asset": "BTC", "marginAvailable": True, "autoAssetExchange": "-0.10000000"},
        ],
        "symbols": [_symbol(contract) for contract in contracts],
        "timezone": "UTC",
    }


def _symbol(contract: Contract) -> Row:
    base = contract.symbol.removesuffix(contract.settle)
    lot = plain(contract.lot)
    return {
        "symbol": contract.symbol,
        "pair": contract.symbol,
        "contractType": "PERPETUAL",
        "deliveryDate": _NEVER_DELIVERED,
        "onboardDate": _LISTED_AT,
        "status": "TRADING",
        "maintMarginPercent": "2.5000",  # to be ignored, like the next one, and like the precisions
        "requiredMarginPercent": "5.0000",
        "baseAsset": base,
        "quoteAsset": contract.quote,
        "marginAsset": contract.settle,
        "pricePrecision": 8,
        "quantityPrecision": max(0, -int(contract.lot.normalize().as_tuple().exponent)),
        "baseAssetPrecision": 8,
        "quotePrecision": 8,
        "underlyingType": "COIN",
        "underlyingSubType": [],
        "settlePlan": 0,
        "triggerProtect": "0.1500",
        "filters": [
            {
                "filterType": "PRICE_FILTER",
                "minPrice": plain(contract.tick),
                "maxPrice": "1000000",
                "tickSize": plain(contract.tick),
            },
            {"filterType": "LOT_SIZE", "stepSize": lot, "minQty": lot, "maxQty": "10000000"},
            {"filterType": "MARKET_LOT_SIZE", "stepSize": lot, "minQty": lot, "maxQty": "1000000"},
            {"filterType": "MAX_NUM_ORDERS", "limit": 200},
            {"filterType": "MAX_NUM_ALGO_ORDERS", "limit": 100},
            {"filterType": "MIN_NOTIONAL", "notional": "5"},
            {
                "filterType": "PERCENT_PRICE",
                "multiplierUp": "1.1500",
                "multiplierDown": "0.8500",
                "multiplierDecimal": "4",
            },
        ],
        "orderTypes": ["LIMIT", "MARKET", "STOP", "STOP_MARKET", "TAKE_PROFIT", "TAKE_PROFIT_MARKET"],
        "timeInForce": ["GTC", "IOC", "FOK", "GTX"],
        "liquidationFee": "0.010000",
        "marketTakeBound": "0.30",
    }


def premium_index(world: World, contract: Contract, now_ms: int) -> Row:
    """Return mark, index and funding of one symbol."""
    rate, due = world.funding("aster", contract.symbol)
    return {
        "symbol": contract.symbol,
        "markPrice": amount(world.mark("aster", contract.symbol)),
        "indexPrice": amount(world.index("aster", contract.symbol)),
        "estimatedSettlePrice": amount(world.index("aster", contract.symbol)),
        "lastFundingRate": amount(rate),
        "nextFundingTime": due,
        "interestRate": _INTEREST,
        "time": now_ms,
    }


def mark_price(world: World, contract: Contract, now_ms: int) -> Row:
    """Return the frame of the mark price streams."""
    rate, due = world.funding("aster", contract.symbol)
    return {
        "e": "markPriceUpdate",
        "E": now_ms,
        "s": contract.symbol,
        "p": amount(world.mark("aster", contract.symbol)),
        "i": amount(world.index("aster", contract.symbol)),
        "P": amount(world.index("aster", contract.symbol)),
        "r": amount(rate),
        "T": due,
    }


def funding_info(contract: Contract, now_ms: int) -> Row:
    """Return a symbol's funding interval; cap and floor are null where the venue has the usual ones."""
    return {
        "symbol": contract.symbol,
        "interestRate": _INTEREST,
        "time": now_ms,
        "fundingIntervalHours": FUNDING_HOURS,
        "fundingFeeCap": None,
        "fundingFeeFloor": None,
    }


def funding_rate(world: World, contract: Contract) -> Row:
    """Return the last funding as history shows it: the present rate at the last due time."""
    rate, due = world.funding("aster", contract.symbol)
    return {
        "symbol": contract.symbol,
        "fundingRate": amount(rate),
        "fundingTime": due - FUNDING_HOURS * 3_600_000,
    }


def book_ticker(world: World, contract: Contract, now_ms: int) -> Row:
    """Return the best prices: one tick around the index."""
    price = world.index("aster", contract.symbol)
    return {
        "symbol": contract.symbol,
        "bidPrice": plain(price - contract.tick),
        "bidQty": plain(contract.lot * 1000),
        "askPrice": plain(price + contract.tick),
        "askQty": plain(contract.lot * 1000),
        "time": now_ms,
    }
