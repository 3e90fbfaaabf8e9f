"""Bybit's published arithmetic for linear contracts of a unified account, in Decimal.

Owns formulas only: no account, no message, no clock. Written from the venue's documentation and recorded rows, sharing
nothing with the gateway's margin models, so that the two cannot share one misreading.

Sources: Bybit v5 docs "Position Info"; help centre "The New Margin Calculation" (2025-09): maintenance follows the mark
price and contains the estimated fee of closing. Amounts in the settle coin.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import ROUND_DOWN, Decimal
from typing import NamedTuple

TAKER_FEE = Decimal("0.00055")
_PLACES = Decimal("1e-8")


class RiskLimit(NamedTuple):
    """One risk limit: it holds up to ``limit`` (value of the position, quote currency).

    Maintenance = value × maintenance_rate − deduction + closing fee.
    """

    id: int
    limit: Decimal
    maintenance_rate: Decimal
    max_leverage: Decimal
    deduction: Decimal

    @property
    def initial_rate(self) -> Decimal:
        """Fraction of value, the inverse of the maximum leverage to four places."""
        return round(1 / self.max_leverage, 4)


def risk_limit_at(limits: Sequence[RiskLimit], value: Decimal) -> RiskLimit:
    """Return the risk limit that a value falls in; the last one beyond all."""
    return next((limit for limit in limits if value <= limit.limit), limits[-1])


class Leg(NamedTuple):
    """What the formulas read of a position: side (+1 long, -1 short), size in base coin, entry price, leverage."""

    side: int
    size: Decimal
    entry: Decimal
    leverage: Decimal


def unrealised(leg: Leg, mark: Decimal) -> Decimal:
    """Return ``side × size × (mark − entry)``."""
    return leg.side * leg.size * (mark - leg.entry)


def close_fee(leg: Leg) -> Decimal:
    """Return the estimated fee of closing at the bankruptcy price: ``size × entry × (1 ∓ 1/leverage) × taker fee``."""
    return leg.size * leg.entry * (1 - leg.side / leg.leverage) * TAKER_FEE


def initial_margin(leg: Leg, mark: Decimal, isolated: bool) -> Decimal:
    """Return initial margin: cross counts the value at the mark, isolated at the entry price."""
    price = leg.entry if isolated else mark
    return leg.size * price / leg.leverage + close_fee(leg)


def maintenance_margin(leg: Leg, mark: Decimal, limits: Sequence[RiskLimit]) -> Decimal:
    """Return maintenance margin at the mark, in the risk limit that the mark value falls in."""
    value = leg.size * mark
    limit = risk_limit_at(limits, value)
    return value * limit.maintenance_rate - limit.deduction + close_fee(leg)


def isolated_liquidation(leg: Leg, maintenance_rate: Decimal, tick: Decimal) -> Decimal:
    """Return ``entry × (1 − side/leverage + side × mmr)`` rounded down to the tick."""
    price = leg.entry * (1 - leg.side / leg.leverage + leg.side * maintenance_rate)
    return (price / tick).to_integral_value(ROUND_DOWN) * tick


def cross_liquidation(leg: Leg, wallet: Decimal, other_upl: Decimal, maintenance: Decimal) -> Decimal:
    """Return the venue's estimate: the price at which this position alone uses up what is above maintenance.

    ``entry − side × (totalWalletBalance + upl of the other positions − totalMaintenanceMargin) / size``: maintenance
    and everything else are held at their present values (measured on recorded rows of single positions).
    """
    return leg.entry - leg.side * (wallet + other_upl - maintenance) / leg.size


def plain(value: Decimal) -> str:
    """Return a figure as the venue writes it: at most eight places, rounded half even, no exponent, no trailing zeros."""
    return format(value.quantize(_PLACES).normalize() + 0, "f")
