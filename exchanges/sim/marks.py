"""Prices that move: a seeded, mean-reverting walk per underlying, and each venue's marks derived from it.

Pure: randomness is handed in, time passes by calling ``walk``. A price strays at most two standard deviations from where
it started, so that nobody is liquidated by accident; ``shift`` moves that start on purpose.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Mapping
from decimal import Decimal
from math import erf, log, sqrt

from exchanges.sim.catalog import LEAN_BPS, STABLE_USD, UNDERLYINGS, Contract
from exchanges.sim.exact import round_to

# The time in which a walk forgets where it was.
_MEMORY_S = 90.0
# A dated future stands this much above its underlying.
_CARRY = Decimal("1.004")
_VOLATILITY = 0.6
_YEAR_MS = 365 * 86_400_000


class Prices:
    """The common price of every underlying, in dollars."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._start = {underlying.name: underlying.price for underlying in UNDERLYINGS}
        self._stray = {underlying.name: underlying.stray for underlying in UNDERLYINGS}
        self._offset = dict.fromkeys(self._start, 0.0)

    def walk(self, elapsed_ms: int) -> None:
        """Let ``elapsed_ms`` pass (an Ornstein-Uhlenbeck step, clipped)."""
        share = elapsed_ms / 1000 / _MEMORY_S
        for name, stray in self._stray.items():
            moved = self._offset[name] * (1 - share) + stray * sqrt(2 * share) * self._rng.gauss(0.0, 1.0)
            self._offset[name] = max(-2 * stray, min(2 * stray, moved))

    def shift(self, name: str, fraction: Decimal) -> None:
        """Move an underlying for good: -0.1 is ten percent down. Raises KeyError for an unknown one."""
        self._start[name] *= 1 + fraction

    def scaled(self, factors: Mapping[str, Decimal]) -> Prices:
        """Return these prices with some underlyings at a multiple of theirs; it does not walk on by itself."""
        moved = copy.copy(self)
        moved._start = {name: price * factors.get(name, Decimal(1)) for name, price in self._start.items()}
        return moved

    def usd(self, ccy: str) -> Decimal:
        """Return the dollar price of a coin. Raises KeyError for an unknown one."""
        if ccy in STABLE_USD:
            return STABLE_USD[ccy]
        return self._start[ccy] * Decimal(f"{1 + self._offset[ccy]:.9f}")

    def index(self, contract: Contract) -> Decimal:
        """Return the contract's index price, rounded like its marks."""
        return round_to(self.usd(contract.base) * contract.multiplier, contract.mark_step)

    def mark(self, contract: Contract, at: int) -> Decimal:
        """Return what the contract's venue calls its mark at that time (only options grow old)."""
        lean = 1 + LEAN_BPS[contract.venue] / 10_000
        price = self.usd(contract.base) * contract.multiplier * lean
        if contract.kind == "option":
            price = _option(contract, price, at)
        elif contract.kind == "future":
            price *= _CARRY
        return max(contract.mark_step, round_to(price, contract.mark_step))

    @property
    def names(self) -> tuple[str, ...]:
        """The underlyings."""
        return tuple(self._start)


def _option(contract: Contract, price: Decimal, at: int) -> Decimal:
    """Return Black's price of an option without interest, in coins where it settles in its coin, else in dollars."""
    assert contract.strike is not None
    assert contract.expires_at is not None
    years = max(contract.expires_at - at, 1) / _YEAR_MS
    width = _VOLATILITY * sqrt(years)
    above = log(price / contract.strike) / width + width / 2
    call = float(price) * _normal(above) - float(contract.strike) * _normal(above - width)
    dollars = call if contract.call else call - float(price - contract.strike)
    return Decimal(f"{dollars / (float(price) if contract.settle == contract.base else 1.0):.9f}")


def _normal(x: float) -> float:
    return (1 + erf(x / sqrt(2))) / 2
