"""Where in the columns things are: segments of pool, underlying and symbol, and the rows that are not like the others.

Built whenever rows come, change or go; read at every tick. Rare rows (inverse, tiered, hedged, rounded) are index arrays, so that
they cost nothing where there are none. Pure.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from gateway.core.columns import Columns, Flags, Floats, Ints
from gateway.core.margin.solver import Tables


class Segments(NamedTuple):
    """Rows that are solved together: ``rows`` (m,), where in them each segment starts, and (m,) the segment of each."""

    rows: Ints
    starts: Ints
    owner: Ints


class Layout(NamedTuple):
    """Index arrays into rows sorted by (pool, base, symbol).

    A group is the rows of one underlying in one pool. Its coordinate is that of its rows with a size; groups whose rows have
    none in common have no trigger.

    Attributes:
        pool_starts, pools: The first row and the number of each pool that has rows.
        group_starts, group_sizes, group_of: The first row of each group and their number; (n,) the group of each row.
        shared: The groups of several rows.
        in_coin: Rows of groups in a pool of their coin: their price is 1/y of the present one.
        unlike: Rows of groups without a trigger.
        curved: Groups that may have a second root: tiers, and exposures both ways, or tiers that jump.
        tiered: Rows with tiers; ``stepped``: (n,) those tiers jump.
        legs: Rows whose published price moves all rows of their symbol in the pool.
        curved_legs, stepped_rows: Segments of these, and single rows, that may have a second root.
        inverse, scaled, held, skewed, cut, shifted: Rows by trait (see the columns).
        quiet: Rows whose distance is to the venue's price; ``unmodelled``: those without a model.
        venue_side: (len(quiet),) +1: the venue's price is met falling, -1: rising.
    """

    pool_starts: Ints
    pools: Ints | slice
    group_starts: Ints
    group_sizes: Ints
    group_of: Ints
    shared: Segments
    in_coin: Ints
    unlike: Ints
    curved: Ints
    tiered: Ints
    stepped: Flags
    legs: Segments
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


def layout_of(c: Columns, tables: Tables) -> Layout:
    """Return the layout of sorted rows."""
    new_pool = np.diff(c.pool, prepend=-1) != 0
    new_group = new_pool | (np.diff(c.base, prepend=-1) != 0)
    new_symbol = new_group | (np.diff(c.symbol, prepend=-1) != 0)
    pool_starts, group_starts = np.flatnonzero(new_pool), np.flatnonzero(new_group)
    group_of = np.cumsum(new_group) - 1
    scaled, tiered, follows = c.scale == 1.0, c.table >= 0, c.follows == 1.0
    stepped = np.zeros(len(c), dtype=np.bool_)
    stepped[tiered] = tables.stepped[c.table[tiered]]
    in_coin, inert = (c.orientation < 0.0) & ~scaled & (c.quantity != 0.0), c.quantity == 0.0
    coins = _any(in_coin, group_starts)
    unlike = coins & _any(~in_coin & ~inert, group_starts)
    rising = np.where(scaled, c.backs * c.offset - c.weight * c.constant, np.where(in_coin, -c.slope, c.slope))
    legs = _several(new_symbol, c.both_legs == 1.0)
    alone = np.ones(len(c), dtype=np.bool_)
    alone[legs.rows] = False
    quiet = np.flatnonzero((c.model == 0.0) | (c.speaks == 0.0))
    leg_tiers = (tiered & follows)[legs.rows]
    return Layout(
        pool_starts=pool_starts,
        pools=_span(c.pool[pool_starts]),
        group_starts=group_starts,
        group_sizes=np.diff(group_starts, append=len(c)),
        group_of=group_of,
        shared=_several(new_group, np.ones(len(c), dtype=np.bool_)),
        in_coin=np.flatnonzero(coins[group_of]),
        unlike=np.flatnonzero(unlike[group_of]),
        curved=np.flatnonzero(~unlike & _curved(rising, tiered, stepped | (tiered & scaled), group_starts)),
        tiered=np.flatnonzero(tiered),
        stepped=stepped,
        legs=legs,
        curved_legs=np.flatnonzero(
            _curved(c.quantity[legs.rows], leg_tiers, stepped[legs.rows] & leg_tiers, legs.starts)
        ),
        stepped_rows=np.flatnonzero(stepped & alone & follows),
        inverse=np.flatnonzero(c.orientation < 0.0),
        scaled=np.flatnonzero(scaled),
        held=np.flatnonzero(c.replace == 0.0),
        skewed=np.flatnonzero(c.plain == 1.0),
        cut=np.flatnonzero(c.counts != 1.0),
        shifted=np.flatnonzero(((c.shift != 0.0) | (c.floor_to > 0.0)) & (c.model == 1.0)),
        quiet=quiet,
        unmodelled=np.flatnonzero(c.model == 0.0),
        venue_side=_net_side(c, new_symbol)[quiet],
    )


def _span(numbers: Ints) -> Ints | slice:
    """Return ascending numbers, as a slice where none is left out: it is read several times faster."""
    whole = len(numbers) > 0 and int(numbers[-1] - numbers[0]) == len(numbers) - 1
    return slice(int(numbers[0]), int(numbers[-1]) + 1) if whole else numbers


def _any(flags: Flags, starts: Ints) -> Flags:
    """Return which segments have a row with a flag."""
    found: Flags = np.logical_or.reduceat(flags, starts) if len(starts) else np.zeros(0, dtype=np.bool_)
    return found


def _curved(slope: Floats, tiered: Flags, unsure: Flags, starts: Ints) -> Flags:
    """Return which segments with tiers may change the sign of their slope with the tier: exposures both ways, or unsure ones."""
    both = _any(slope > 0.0, starts) & _any(slope < 0.0, starts)
    return _any(tiered, starts) & (both | _any(unsure, starts))


def _several(new: Flags, wanted: Flags) -> Segments:
    """Return the segments of more than one row in which some row is wanted; ``new``: (n,) a segment starts here."""
    starts = np.flatnonzero(new)
    lengths = np.diff(starts, append=len(new))
    rows = np.flatnonzero(np.repeat((lengths > 1) & _any(wanted, starts), lengths))
    first = new[rows]
    return Segments(rows, np.flatnonzero(first), np.cumsum(first) - 1)


def _net_side(c: Columns, new_symbol: Flags) -> Floats:
    """Return +1 where the rows of a row's symbol in its pool are long together, else -1; a row's own side where they are even."""
    if not len(c):
        return np.zeros(0)
    net = np.sign(np.add.reduceat(c.quantity, np.flatnonzero(new_symbol)))[np.cumsum(new_symbol) - 1]
    side: Floats = np.where(np.abs(net) == 1.0, net, c.sign)
    return side
