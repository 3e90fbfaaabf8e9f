"""Hyperliquid's published arithmetic, in Decimal: margin tiers, rounding of what is shown, liquidation prices.

Owns formulas only: no account, no message, no clock. Written from the venue's documentation alone and sharing nothing
with the gateway's margin models, so that the two cannot share one misreading. Amounts are in the dex's collateral (USD).

Sources: Hyperliquid docs "Margining", "Margin tiers", "Liquidations"; identities checked on recorded states.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import NamedTuple

IMPLICIT_TABLES_BELOW = 50  # margin table ids below this are one tier whose maximum leverage is the id itself
ZERO = Decimal(0)
_NO_LIQUIDATION_ABOVE = Decimal("1e15")  # the venue answers null beyond it


class Tier(NamedTuple):
    """One bracket of a margin table: maintenance = notional × rate − deduction while notional ≥ lower."""

    lower: Decimal
    max_leverage: int
    rate: Decimal
    deduction: Decimal


def tiers(brackets: Sequence[tuple[Decimal, int]]) -> tuple[Tier, ...]:
    """Return the tiers of a margin table given as ascending (lower bound, maximum leverage).

    ``rate_n = 1 / (2 × maxLeverage_n)``; ``ded_n = ded_(n-1) + lower_n × (rate_n − rate_(n-1))`` keeps maintenance continuous.
    """
    found: list[Tier] = []
    for lower, max_leverage in brackets:
        rate = 1 / Decimal(2 * max_leverage)
        deduction = found[-1].deduction + lower * (rate - found[-1].rate) if found else ZERO
        found.append(Tier(lower, max_leverage, rate, deduction))
    return tuple(found)


def tier_at(table: Sequence[Tier], notional: Decimal) -> Tier:
    """Return the bracket that a notional falls in."""
    return next(tier for tier in reversed(table) if notional >= tier.lower)


def maintenance(table: Sequence[Tier], notional: Decimal) -> Decimal:
    """Return the maintenance margin of one position."""
    tier = tier_at(table, notional)
    return notional * tier.rate - tier.deduction


def liquidation_price(table: Sequence[Tier], szi: Decimal, cash: Decimal, other_maintenance: Decimal) -> Decimal | None:
    """Return the price of one coin at which equity meets maintenance, everything else held; None where there is none.

    Args:
        table: Tiers of the position.
        szi: Signed size.
        cash: Equity without this position's own value: isolated ``rawUsd``; cross ``accountValue − szi × mark``.
        other_maintenance: Maintenance of the other cross positions; 0 for isolated.

    Solves ``cash + szi·x = other + |szi|·x·rate − ded`` in each bracket and keeps the root that lies in that bracket.
    """
    for index, tier in enumerate(table):
        slope = szi - abs(szi) * tier.rate
        root = (other_maintenance - tier.deduction - cash) / slope
        upper = table[index + 1].lower if index + 1 < len(table) else None
        notional = abs(szi) * root
        if ZERO < root <= _NO_LIQUIDATION_ABOVE and tier.lower <= notional and (upper is None or notional < upper):
            return root
    return None


def shown(value: Decimal, places: int | None = None) -> str:
    """Return a figure as the venue writes it: no exponent, at least one digit after the point, optionally rounded."""
    if places is not None:
        value = round(value, places)
    text = format(value.normalize() + 0, "f")  # + 0 turns -0 into 0
    return text if "." in text else f"{text}.0"


def shown_entry(entry: Decimal) -> str:
    """Return an entry price rounded to five significant figures, as the venue shows it (its PnL uses the exact one)."""
    return shown(round(entry, 4 - entry.adjusted())) if entry else "0.0"
