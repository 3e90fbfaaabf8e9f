"""The pool equation of one moment in plain scalars: what a pool has left if one position's price were another, and where that is 0.

The same equation as the columns' (``gateway.core.positions``), without state: positions at the marks of one message, for whoever
asks. Slow and direct: every bracket is evaluated as it stands, so that jumps and hedge legs need no case of their own. Pure.

    surplus(x) = equity(x) - maintenance(x)        x: the mark (linear) or -1/mark (inverse) of what moves alone
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

from gateway.core.margin.pool import FAR, Maintenance

_LEAST = 1e-12  # of the mark: a root below is what float64 leaves of 0


class Leg(NamedTuple):
    """One row of a pool at one moment.

    Attributes:
        symbol: Its number; legs of one symbol move together where the published definition says so.
        quantity: Signed, contract currency.
        offset: Adds to equity with the value: equity = offset + quantity * x (settle currency).
        weight: Settle currency in the pool's currency.
        x: Price coordinate of that moment.
        counts: The fraction of profit that counts in the pool; maintenance is not cut.
    """

    symbol: int
    quantity: float
    offset: float
    weight: float
    x: float
    inverse: bool
    maintenance: Maintenance
    counts: float = 1.0

    @property
    def mark(self) -> float:
        """The price at ``x``, quote currency."""
        return price_of(self.x, inverse=self.inverse)

    @property
    def notional(self) -> float:
        """Settle currency."""
        return abs(self.quantity * self.x)

    @property
    def equity(self) -> float:
        """What it adds to equity, pool currency."""
        return self.weight * self.counts * (self.offset + self.quantity * self.x)

    @property
    def kept(self) -> float:
        """Its maintenance at ``x``, pool currency."""
        now = self.maintenance.at_notional(self.notional)
        return self.weight * (self.notional * now.rate + now.constant)

    def published(self, x: float) -> float:
        """Return the price at a root as the venue's definition rounds it; NaN where it is none (see ``Maintenance``)."""
        price, tick = price_of(x, inverse=self.inverse) + self.maintenance.shift, self.maintenance.floor_to
        if tick > 0.0 and not math.isnan(price):
            price = math.floor(price / tick + 1e-9) * tick
        return price if self.maintenance.lowest < price < self.maintenance.highest else math.nan

    def moved(self, x: float) -> float:
        """Return what its pool's surplus gains with it at ``x`` (pool currency), by the published definition."""
        notional = abs(self.quantity * x)
        then = self.maintenance.at_notional(notional)
        backs, weight = (1.0, 1.0) if then.plain else (self.weight * self.counts, self.weight)
        equity = backs * self.quantity * (x - self.x)
        kept = weight * then.rate_at_liquidation * notional + self.weight * then.constant_at_liquidation
        return equity - (kept - (self.kept if then.replaces else 0.0))


@dataclass(frozen=True)
class Snapshot:
    """A pool at one moment: what no price here moves, and its legs. Amounts in pool currency; NaN where anything is unknown."""

    cash: float
    extra: float
    legs: tuple[Leg, ...]

    @cached_property
    def equity(self) -> float:
        """Cash and what the legs add."""
        return self.cash + sum(leg.equity for leg in self.legs)

    @cached_property
    def maintenance(self) -> float:
        """What all legs must keep."""
        return self.extra + sum(leg.kept for leg in self.legs)

    def moving(self, leg: Leg) -> list[Leg]:
        """Return the legs that the published definition moves to find this leg's price."""
        return [one for one in self.legs if one.symbol == leg.symbol] if leg.maintenance.both_legs else [leg]

    def surplus(self, leg: Leg, x: float) -> float:
        """Return equity - maintenance with this leg at ``x`` and all else as it is."""
        return self.equity - self.maintenance + sum(one.moved(x) for one in self.moving(leg))

    def root(self, leg: Leg, delta: float = 0.0) -> float:
        """Return the ``x`` nearest to the leg's own at which surplus + ``delta`` changes its sign; NaN where no price is one."""
        edges = {
            bracket.lower / abs(one.quantity) * (-1.0 if one.inverse else 1.0)
            for one in self.moving(leg)
            for bracket in one.maintenance.brackets[1:]
            if one.quantity and bracket.lower
        }
        bounds = [-math.inf if leg.inverse else 0.0, *sorted(edges), 0.0 if leg.inverse else math.inf]
        found: list[float] = []
        for low, high in pairwise(bounds):
            found += self._roots(leg, delta, low, high)
        found = [x for x in found if price_of(x, inverse=leg.inverse) > _LEAST * leg.mark]
        return min(found, key=lambda x: abs(x - leg.x), default=math.nan)

    def _roots(self, leg: Leg, delta: float, low: float, high: float) -> list[float]:
        """Return the root within a stretch without tier edges, and its lower edge where the surplus jumps over 0 there."""
        one, other = _inside(low, high, abs(leg.x))
        at_one = self.surplus(leg, one) + delta
        slope = (self.surplus(leg, other) + delta - at_one) / (other - one)
        found = []
        if slope and low <= (root := one - at_one / slope) < high:
            found.append(root)
        if low not in (0.0, -math.inf):
            before, after = (
                self.surplus(leg, low * (1.0 - math.copysign(1e-12, low))) + delta,
                at_one + slope * (low - one),
            )
            if before * after < 0.0 and abs(before - after) > 1e-9 * abs(slope * low):
                found.append(low)
        return found


def _inside(low: float, high: float, scale: float) -> tuple[float, float]:
    """Return two points of a stretch, far enough from each other for a slope at prices of this scale."""
    if math.isinf(high):
        return low + max(low, scale), low + 2.0 * max(low, scale)
    if math.isinf(low):
        return high - max(-high, scale), high - 2.0 * max(-high, scale)
    return low + (high - low) / 3.0, low + (high - low) * 2.0 / 3.0


def x_of(price: float, *, inverse: bool) -> float:
    """Return the coordinate of a price."""
    return -1.0 / price if inverse else price


def price_of(x: float, *, inverse: bool) -> float:
    """Return the price at a coordinate; NaN where it is none (at or below 0, or beyond 1e15)."""
    price = (-1.0 / x if x else math.nan) if inverse else x
    return price if 0.0 < price <= FAR else math.nan
