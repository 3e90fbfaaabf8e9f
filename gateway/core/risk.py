"""The risk score of a position: how much rests on it, how leveraged it is, how near liquidation: one figure from 0 to 1. Pure.

    concentration  the position's share of its user's gross notional
    leverage       leverage / full_leverage, at most 1
    liquidation    1 - distance / calm_distance, from 0 to 1

The score is their weighted mean. A part that is unknown is left out and the other weights are rescaled; a part that cannot hurt
(no price liquidates it, nothing is borrowed) counts 0. What could not be determined is not safe: with liquidation unknown the score
is at least ``unknown_floor``.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
import numpy as np

from gateway.core.arrays import Floats

# The parts, in the order of the columns that are passed, by the names of the fields that they read.
PARTS = ("weight", "leverage", "liquidation_distance")
_DECIMALS = 3

Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Positive = Annotated[float, msgspec.Meta(gt=0)]


class RiskWeights(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How much each part counts; only their proportions matter."""

    concentration: Annotated[float, msgspec.Meta(ge=0)] = 0.4
    leverage: Annotated[float, msgspec.Meta(ge=0)] = 0.3
    liquidation: Annotated[float, msgspec.Meta(ge=0)] = 0.3


class RiskSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Scales of the score.

    Attributes:
        full_leverage: From this leverage on its part is 1.
        calm_distance: From this distance to liquidation on (fraction of the mark) its part is 0.
        unknown_floor: The score is at least this where liquidation could not be determined.
        high: Scores from here on are counted as high in the summary.
    """

    weights: RiskWeights = RiskWeights()
    full_leverage: Positive = 10.0
    calm_distance: Positive = 0.1
    unknown_floor: Share = 0.5
    high: Share = 0.7


def scores(weight: Floats, leverage: Floats, distance: Floats, settings: RiskSettings) -> Floats:
    """Return scores, rounded as they are published.

    Args:
        weight, leverage, distance: (n,) float64, NaN: unknown. A distance of inf: no price liquidates it; a leverage of 0:
            nothing is borrowed.

    Returns:
        (n,) float64 from 0 to 1; NaN where nothing at all that counts is known and the floor is 0.
    """
    w = settings.weights
    total, counted = np.zeros(len(weight)), np.zeros(len(weight))
    for share, part in (
        (w.concentration, weight),
        (w.leverage, leverage / settings.full_leverage),
        (w.liquidation, 1.0 - distance / settings.calm_distance),
    ):
        known = ~np.isnan(part)
        total += np.where(known, share * np.clip(part, 0.0, 1.0), 0.0)
        counted += np.where(known, share, 0.0)
    with np.errstate(invalid="ignore"):
        found = np.clip(total / counted, 0.0, 1.0)
    unknown = np.isnan(distance)
    if settings.unknown_floor > 0.0:
        found[unknown] = np.fmax(found[unknown], settings.unknown_floor)
    return np.round(found, _DECIMALS)


def unknown_parts(weight: float, leverage: float, distance: float) -> list[str]:
    """Return the fields that a score was made without."""
    values = (weight, leverage, distance)
    return [name for name, value in zip(PARTS, values, strict=True) if value != value]  # noqa: PLR0124  NaN only
