"""Margin ratios: ours, and the venues' own. Pure.

A ratio is maintenance / equity of a pool: from 1 on it is liquidated. Venues state theirs in directions of their own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from gateway.core.accounts import Account, Pool
from gateway.core.state import Position

# A ratio is at most this: the pool's equity is gone.
WORST = 1_000.0
# OKX states equity / maintenance, the others maintenance / equity, as here.
_IS_INVERSE = {"okx": True, "bybit": False, "hyperliquid": False}


class Stated(NamedTuple):
    """What the venue itself says of a pool, in its currency, and of when (ms); NaN: nothing."""

    equity: float
    maintenance: float
    initial: float
    ratio: float
    at: int | None


def margin_ratio(equity: float, maintenance: float) -> float:
    """Return maintenance / equity: from 1 on a pool is liquidated; at most 1,000, also where its equity is gone. NaN: unknown."""
    if maintenance > 0.0 and equity <= maintenance / WORST:
        return WORST
    return maintenance / equity if equity > 0.0 else math.nan


def stated_ratio(venue: str, stated: str | None, liquidated_at: str = "1") -> float:
    """Return a venue's ratio turned to our direction, 1 where it liquidates; NaN without one.

    Args:
        liquidated_at: What the venue's figure is where it liquidates.
    """
    if stated is None or venue not in _IS_INVERSE:
        return math.nan
    whole, part = float(stated), float(liquidated_at)
    return margin_ratio(whole / part, 1.0) if _IS_INVERSE[venue] else min(whole / part, WORST)


def stated(account: Account, pool: Pool, members: Sequence[Position]) -> Stated:
    """Return what the venue says of a pool; of an isolated one its position does.

    Where it states no ratio, its own maintenance over its own equity is one.
    """
    venue, state = account.info.venue, pool.state
    if pool.isolated and members:
        own = members[0].state
        ratio = stated_ratio(venue, own.venue_margin_ratio)
        return Stated(math.nan, _number(own.venue_maintenance_margin), math.nan, ratio, members[0].anchored_at)
    if state is None:
        return Stated(math.nan, math.nan, math.nan, math.nan, None)
    ratio = stated_ratio(venue, state.venue_ratio, state.liquidated_at)
    maintenance = _number(state.venue_maintenance_margin)
    if math.isnan(ratio):
        ratio = margin_ratio(account.stated_equity(pool), maintenance)
    return Stated(_number(state.venue_equity), maintenance, _number(state.venue_initial_margin), ratio, pool.as_of)


def _number(stated: str | None) -> float:
    return float(stated) if stated is not None else math.nan
