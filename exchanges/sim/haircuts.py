"""How much of a coin counts as collateral where several coins back one pool: steps by the amount held. Pure tables and one sum.

Shaped as the venues' own (OKX "discount rate" of a currency's equity, Bybit "collateral value ratio" of a wallet balance, Aster
"collateral value ratio"), with invented figures whose steps are small enough for the accounts here to reach: each rate counts for
the part of the amount within its step, debts count whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from itertools import pairwise

from exchanges.sim.catalog import STABLE_USD, VenueName

Steps = tuple[tuple[Decimal, Decimal], ...]  # from this amount on, this fraction


def _steps(*rows: tuple[str, str]) -> Steps:
    return tuple((Decimal(lower), Decimal(rate)) for lower, rate in rows)


_WHOLE = _steps(("0", "1"))
_OTHER = _steps(("0", "0.8"))
HAIRCUTS: Mapping[VenueName, Mapping[str, Steps]] = {
    "okx": {
        "BTC": _steps(("0", "0.98"), ("0.1", "0.95"), ("5", "0.9"), ("100", "0")),
        "ETH": _steps(("0", "0.975"), ("4", "0.95"), ("100", "0.85"), ("2000", "0")),
    },
    "bybit": {
        "BTC": _steps(("0", "0.95"), ("0.05", "0.9"), ("5", "0.85"), ("100", "0")),
        "ETH": _steps(("0", "0.95"), ("3", "0.9"), ("100", "0.8"), ("2000", "0")),
    },
    "aster": {"BTC": _steps(("0", "0.95")), "ETH": _steps(("0", "0.95"))},
    "hyperliquid": {},
}


def steps_of(venue: VenueName, ccy: str) -> Steps:
    """Return how much of a coin counts at a venue; dollars count whole."""
    return HAIRCUTS[venue].get(ccy, _WHOLE if ccy in STABLE_USD else _OTHER)


def counted(venue: VenueName, ccy: str, amount: Decimal) -> Decimal:
    """Return what of an amount counts, in the coin; a debt counts whole."""
    if amount <= 0:
        return amount
    steps = steps_of(venue, ccy)
    total = Decimal(0)
    for (lower, rate), (upper, _) in pairwise((*steps, (Decimal("Infinity"), Decimal(0)))):
        if amount > lower:
            total += (min(amount, upper) - lower) * rate
    return total


def amount_for(venue: VenueName, ccy: str, value: Decimal) -> Decimal:
    """Return the least amount of which so much counts; infinite where no amount does."""
    if value <= 0:
        return value
    left = value
    for (lower, rate), (upper, _) in pairwise((*steps_of(venue, ccy), (Decimal("Infinity"), Decimal(0)))):
        room = (upper - lower) * rate if rate else Decimal(0)
        if left <= room:
            return lower + left / rate
        left -= room
    return Decimal("Infinity")
