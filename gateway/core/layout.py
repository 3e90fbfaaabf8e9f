"""Where in the columns things are: segments of pool, underlying and symbol, and the rows that are not like the others.

Built whenever rows come, change or go; read at every tick. Rare rows (inverse, tiered, hedged, rounded) are index arrays, so that
they cost nothing where there are none. Pure.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from gateway.core.columns import Columns, Flags, Floats, Ints
from gateway.core.margin.solver import Tables


class Layout(NamedTuple):
    """Index arrays into rows sorted by (pool, base, symbol), and buffers of the right length.

    Attributes:
        pool_starts, pools: The first row and the number of each pool that has rows.
        group_starts, group_pool: The first row and the pool of each group: the rows of one underlying in one pool.
        group_of: (n,) the group of each row.
        inverse_groups: Groups of inverse contracts in a pool of their coin: their price is 1/y of the present one.
        unlike_groups: Groups whose rows have no coordinate in common; they have no root.
        curved: Groups that may have a second root: tiers, and exposures both ways, or tiers that jump.
        tiered: Rows with tiers; ``stepped``: (n,) those tiers jump.
        legs, leg_starts, leg_of: Rows whose published price moves all rows of their symbol, their segments, and whose they are.
        curved_legs, stepped_rows: Segments of these, and single rows, that may have a second root.
        inverse, scaled, held, skewed, cut, shifted: Rows by trait (see the columns).
        quiet: Rows whose distance is to the venue's price; ``unmodelled``: those without a model.
        venue_side: (len(quiet),) +1: the venue's price is met falling, -1: rising.
        slope, factor, far: (n_groups,) buffers: of equity - maintenance per y, the factor on the present price, the distance.
    """

    pool_starts: Ints
    pools: Ints
    group_starts: Ints
    group_pool: Ints
    group_of: Ints
    inverse_groups: Ints
    unlike_groups: Ints
    curved: Ints
    tiered: Ints
    stepped: Flags
    legs: Ints
    leg_starts: Ints
    leg_of: Ints
    curved_legs: Ints
    stepped_rows: Ints
    inverse: Ints
    scaled: Ints
    held: Ints
    skewed: Ints
    cut: Ints
    shifted: Ints
    quiet: Ints
    unmodelled: Ints
    venue_side: Floats
    slope: Floats
    factor: Floats
    far: Floats


def layout_of(c: Columns, tables: Tables) -> Layout:
    """Return the layout of sorted rows."""
    n = len(c)
    new_pool = np.diff(c.pool, prepend=-1) != 0
    new_group = new_pool | (np.diff(c.base, prepend=-1) != 0)
    new_symbol = new_group | (np.diff(c.symbol, prepend=-1) != 0)
    pool_starts, group_starts = np.flatnonzero(new_pool), np.flatnonzero(new_group)
    inverse = c.orientation < 0.0
    has_tiers = c.table >= 0
    stepped = np.zeros(n, dtype=np.bool_)
    stepped[has_tiers] = tables.stepped[c.table[has_tiers]]
    group_of = np.cumsum(new_group) - 1
    in_coin = inverse & (c.scale == 0.0)
    downwards = np.where(in_coin, -1.0, 1.0)
    direction = np.sign(np.where(c.scale == 1.0, c.backs * c.offset - c.weight * c.constant, c.slope * downwards))
    count = len(group_starts)
    coins_only = _per_group(np.minimum, in_coin, group_starts)
    coins_any = _per_group(np.maximum, in_coin, group_starts)
    legs, leg_starts, leg_of, curved_legs = _legs(c, new_symbol, has_tiers, stepped)
    alone = np.ones(n, dtype=np.bool_)
    alone[legs] = False
    quiet = np.flatnonzero((c.model == 0.0) | (c.speaks == 0.0))
    return Layout(
        pool_starts=pool_starts,
        pools=c.pool[pool_starts],
        group_starts=group_starts,
        group_pool=c.pool[group_starts],
        group_of=group_of,
        inverse_groups=np.flatnonzero(coins_any),
        unlike_groups=np.flatnonzero(coins_any & ~coins_only),
        curved=_curved(direction, has_tiers, stepped | (has_tiers & (c.scale == 1.0)), group_starts),
        tiered=np.flatnonzero(has_tiers),
        stepped=stepped,
        legs=legs,
        leg_starts=leg_starts,
        leg_of=leg_of,
        curved_legs=curved_legs,
        stepped_rows=np.flatnonzero(stepped & alone & (c.follows == 1.0)),
        inverse=np.flatnonzero(inverse),
        scaled=np.flatnonzero(c.scale == 1.0),
        held=np.flatnonzero(c.replace == 0.0),
        skewed=np.flatnonzero(c.plain == 1.0),
        cut=np.flatnonzero(c.counts != 1.0),
        shifted=np.flatnonzero(((c.shift != 0.0) | (c.floor_to > 0.0)) & (c.model == 1.0)),
        quiet=quiet,
        unmodelled=np.flatnonzero(c.model == 0.0),
        venue_side=_net_side(c, new_symbol)[quiet],
        slope=np.empty(count),
        factor=np.empty(count),
        far=np.empty(count),
    )


def _per_group(operation: np.ufunc, flags: Flags, starts: Ints) -> Flags:
    found: Flags = operation.reduceat(flags, starts) if len(starts) else np.zeros(0, dtype=np.bool_)
    return found


def _curved(direction: Floats, tiered: Flags, unsure: Flags, starts: Ints) -> Ints:
    """Return the segments with tiers whose slope may change its sign with the tier: exposures both ways, or unsure ones."""
    up = _per_group(np.maximum, direction > 0.0, starts)
    down = _per_group(np.maximum, direction < 0.0, starts)
    some = _per_group(np.maximum, tiered, starts)
    return np.flatnonzero(some & ((up & down) | _per_group(np.maximum, unsure, starts)))


def _legs(c: Columns, new_symbol: Flags, tiered: Flags, stepped: Flags) -> tuple[Ints, Ints, Ints, Ints]:
    """Return rows that share their symbol with others of their pool and say so, their segments' starts, and whose they are."""
    starts = np.flatnonzero(new_symbol)
    lengths = np.diff(starts, append=len(c))
    joint = np.repeat((lengths > 1) & _per_group(np.maximum, c.both_legs == 1.0, starts), lengths)
    rows = np.flatnonzero(joint)
    first = new_symbol[rows]
    leg_starts, owner = np.flatnonzero(first), np.cumsum(first) - 1
    follows = tiered & (c.follows == 1.0)
    curved = _curved(np.sign(c.quantity[rows]), follows[rows], (stepped & follows)[rows], leg_starts)
    return rows, leg_starts, owner, curved


def _net_side(c: Columns, new_symbol: Flags) -> Floats:
    """Return +1 where the rows of a row's symbol in its pool are long together, else -1; a row's own side where they are even."""
    if not len(c):
        return np.zeros(0)
    net = np.sign(np.add.reduceat(c.quantity, np.flatnonzero(new_symbol)))[np.cumsum(new_symbol) - 1]
    side: Floats = np.where(np.abs(net) == 1.0, net, c.sign)
    return side
