"""What a row needs for the pool equation: how much margin it keeps, by which tier.

Owns the parameters that a margin model gives to a position. The roots of all rows stand in ``gateway.core.solve`` and
``gateway.core.margin.solver``. Pure.

A pool is liquidated where its equity meets its maintenance margin. In the price coordinate ``x`` (the mark for linear
contracts, ``-1/mark`` for inverse ones) a position's PnL, value and notional are all linear:

    pnl(x) - pnl(x0) = quantity * (x - x0)        notional(x) = |quantity * x|

so that the price at which one position, all else held, brings its pool to liquidation is one division (see ``Maintenance``).
"""

from __future__ import annotations

import math
from typing import NamedTuple

from exchanges.events import MarginTiers

FAR = 1e15  # from here on it is no price (Hyperliquid's own bound for a null liquidation price)


class Bracket(NamedTuple):
    """Maintenance = notional * rate - deduction for notionals from ``lower`` up to the next bracket's (settle currency)."""

    lower: float
    rate: float
    deduction: float


class Maintenance(NamedTuple):
    """How much margin a position must keep, and what of it moves on the way to liquidation.

    Now: ``notional * rate + constant``. At the solved price: ``notional(x) * rate_at_liquidation +
    constant_at_liquidation`` replaces the present amount where ``replaces``, else the present amount is held and the
    constant is added (Bybit's published cross definition holds maintenance at its present value).

    Attributes:
        model: Name shown to users, e.g. "hyperliquid_cross"; None: no formula applies, the venue's figure is shown.
        plain: The published price counts the pool's currency (US dollars) as the settle currency, unconverted (Bybit cross).
        shift: Added to the solved price (OKX isolated: one tick towards the mark's side), in quote currency.
        floor_to: Solved prices are rounded down to this tick (Bybit isolated); 0: not rounded.
        lowest, highest: A solved price, published or trigger, is one between these alone: the contract's range, else any price.
        brackets: For models whose rate depends on notional; empty: one rate. They hold for the present maintenance and for the
            trigger; for the published price only where ``tiered`` (Bybit's holds maintenance, or knows its tier from the start).
        beyond: Part of ``constant`` that no bracket changes (Bybit's closing fee).
        both_legs: The published price moves every row of the symbol in the pool (Aster's hedge); else the row alone.
    """

    model: str | None = None
    rate: float = math.nan
    constant: float = 0.0
    rate_at_liquidation: float = math.nan
    constant_at_liquidation: float = 0.0
    replaces: bool = True
    plain: bool = False
    shift: float = 0.0
    floor_to: float = 0.0
    lowest: float = 0.0
    highest: float = FAR
    brackets: tuple[Bracket, ...] = ()
    tiered: bool = True
    beyond: float = 0.0
    both_legs: bool = False

    @classmethod
    def of_brackets(
        cls, model: str | None, brackets: tuple[Bracket, ...], notional: float, *, both_legs: bool = False
    ) -> Maintenance:
        """Return parameters that follow brackets alone, now and at the published price, in the one that a notional falls in."""
        known = cls(model=model, brackets=brackets, both_legs=both_legs)
        return known._in(bracket_of(brackets, notional))

    def at_notional(self, notional: float) -> Maintenance:
        """Return these parameters with rate and constant of the bracket that ``notional`` falls in."""
        if len(self.brackets) < 2 or math.isnan(notional):
            return self
        return self._in(bracket_of(self.brackets, notional))

    def _in(self, bracket: Bracket) -> Maintenance:
        now = self._replace(rate=bracket.rate, constant=self.beyond - bracket.deduction)
        if not self.tiered:
            return now
        return now._replace(
            rate_at_liquidation=bracket.rate,
            constant_at_liquidation=-bracket.deduction,
        )


def bracket_of(brackets: tuple[Bracket, ...], notional: float) -> Bracket:
    """Return the bracket that a notional falls in; the first for one that is not known, as in the columns."""
    found = brackets[0]
    for bracket in brackets:
        if not notional >= bracket.lower:
            break
        found = bracket
    return found


def from_tiers(tiers: MarginTiers | None) -> tuple[Bracket, ...]:
    """Convert a venue's notional tiers to brackets; contract-sized or missing tiers give none."""
    if tiers is None or tiers.unit != "notional":
        return ()
    return tuple(Bracket(float(t.lower), float(t.rate), float(t.deduction)) for t in tiers.tiers)
