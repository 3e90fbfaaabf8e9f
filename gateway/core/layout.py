"""Where in the columns things are: segments of pool, underlying and symbol, and the rows that are not like the others.

Built whenever rows come, change or go; read at every tick. Rare rows (inverse, tiered, hedged, rounded) are index arrays, so that
they cost nothing where there are none. Pure.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from gateway.core.arrays import Flags, Floats, Ints
from gateway.core.columns import Columns
from gateway.core.margin.solver import Tables

_FEWER = 0.95  # prices of one underlying that part from each other by more than this have the layout made again


class Units(NamedTuple):
    """Rows that are solved together: the rows of one underlying, or symbol, in one pool. They stand next to each other.

    Attributes:
        of: (n,) the unit of each row.
        starts, sizes: (n_units,) the first row, and how many there are.
        shared, shared_starts, shared_of: Rows of units of several, where in them each unit starts, and (m,) which one each is of.
        curved: Units that may have a second root: tiers, and exposures both ways, or tiers that jump.
    """

    of: Ints
    starts: Ints
    sizes: Ints
    shared: Ints
    shared_starts: Ints
    shared_of: Ints
    curved: Ints

    def members(self, numbers: Ints) -> tuple[Ints, Ints]:
        """Return the rows of some units, and the place in ``numbers`` of each row's unit."""
        sizes = self.sizes[numbers]
        owner = np.repeat(np.arange(len(numbers)), sizes)
        return np.arange(len(owner)) + (self.starts[numbers] - np.cumsum(sizes) + sizes)[owner], owner

    def crossing(self, rows: Ints) -> Ints:
        """Return the units of some rows, without those that may have a second root."""
        numbers = np.unique(self.of[rows])
        return np.setdiff1d(numbers, self.curved, assume_unique=True) if len(self.curved) else numbers


class Mixed(NamedTuple):
    """Rows whose groups have one root alone as long as their prices, of several symbols, do not part.

    Attributes:
        rows, starts: The rows, and where among them each group starts.
        scale: What each row's exposure was in proportion to when the layout was made.
    """

    rows: Ints
    starts: Ints
    scale: Floats

    def parted(self, c: Columns) -> bool:
        """Say whether prices have parted by so much that there may be a second root."""
        if not len(self.rows):
            return False
        with np.errstate(divide="ignore", invalid="ignore"):
            moved = _scale(c, c.x)[self.rows] / self.scale
        least, most = np.minimum.reduceat(moved, self.starts), np.maximum.reduceat(moved, self.starts)
        return bool((least < _FEWER * most).any())


class Layout(NamedTuple):
    """Index arrays into rows sorted by (pool, base, symbol).

    Attributes:
        pool_starts, pools: The first row and the number of each pool that has rows.
        groups: The rows of one underlying in one pool: they share a trigger. A group's coordinate is that of its rows with a size.
        priced: The rows of one symbol in one pool where the published price moves them together; else single rows.
        mixed: What of the groups holds only while their prices do not part.
        in_coin: Rows of groups in a pool of their coin: their price is 1/y of the present one.
        unlike: Rows of groups whose rows have no coordinate in common: they have no trigger.
        tiered: Rows with tiers; ``stepped``: (n,) those tiers jump.
        inert: Rows without a quantity: what was stated of them stands, whatever their mark, and without one.
        inverse, scaled, held, plain, cut, shifted: Rows by trait (see the columns).
        quiet: Rows whose distance is to the venue's price, whatever is known; ``unmodelled``: those without a model.
    """

    pool_starts: Ints
    pools: Ints | slice
    groups: Units
    priced: Units
    mixed: Mixed
    in_coin: Ints
    unlike: Ints
    tiered: Ints
    stepped: Flags
    inert: Ints
    inverse: Ints
    scaled: Ints
    held: Ints
    plain: Ints
    cut: Ints
    shifted: Ints
    quiet: Ints
    unmodelled: Ints


def layout_of(c: Columns, x: Floats, tables: Tables) -> Layout:
    """Return the layout of sorted rows; ``x``: (n,) their present price coordinates."""
    new_pool = np.diff(c.pool, prepend=-1) != 0
    new_group = new_pool | (np.diff(c.base, prepend=-1) != 0)
    new_symbol = new_group | (np.diff(c.symbol, prepend=-1) != 0)
    pool_starts = np.flatnonzero(new_pool)
    scaled, tiered = c.scale == 1.0, c.table >= 0
    stepped = np.zeros(len(c), dtype=np.bool_)
    stepped[tiered] = tables.stepped[c.table[tiered]]
    in_coin, inert = (c.orientation < 0.0) & ~scaled & (c.quantity != 0.0), c.quantity == 0.0
    x = np.where(inert, 0.0, x)
    coins = _spread(in_coin, new_group)
    unlike = coins & _spread(~in_coin & ~inert, new_group)
    exposure, rate = np.where(scaled, c.backs * c.offset, c.backs * c.quantity * x), c.rate.copy()
    rate[tiered] = tables.highest[c.table[tiered]]
    most = c.weight * rate * np.abs(c.quantity * x)
    joint = _spread(c.both_legs == 1.0, new_symbol)
    follows = tiered & (c.follows == 1.0)
    groups = _units(new_group, exposure, most, tiered & ~unlike, stepped | scaled)
    quiet = np.flatnonzero((c.model == 0.0) | (c.speaks == 0.0))
    return Layout(
        pool_starts=pool_starts,
        pools=_span(c.pool[pool_starts]),
        groups=groups,
        priced=_units(new_symbol | ~joint, exposure, most, follows, stepped),
        mixed=_mixed(
            groups, _spread(new_symbol & ~new_group, new_group) & _spread(tiered, new_group) & ~inert, _scale(c, x)
        ),
        in_coin=np.flatnonzero(coins),
        unlike=np.flatnonzero(unlike),
        tiered=np.flatnonzero(tiered),
        stepped=stepped,
        inert=np.flatnonzero(inert),
        inverse=np.flatnonzero(c.orientation < 0.0),
        scaled=np.flatnonzero(scaled),
        held=np.flatnonzero(c.replace == 0.0),
        plain=np.flatnonzero(c.plain == 1.0),
        cut=np.flatnonzero(c.counts != 1.0),
        shifted=np.flatnonzero(((c.shift != 0.0) | (c.floor_to > 0.0)) & (c.model == 1.0)),
        quiet=quiet,
        unmodelled=np.flatnonzero(c.model == 0.0),
    )


def _units(new: Flags, exposure: Floats, most: Floats, tiered: Flags, unsure: Flags) -> Units:
    """Return units.

    A second root is possible where the slope may change its sign with the tiers, or is unsure: unless the exposures of one side
    outweigh those of the other, and the most that can be kept for them.

    Args:
        new: (n,) a unit starts here.
        exposure, most: (n,) what a row's equity changes per unit of y, and its maintenance at most, in the pool's currency.
    """
    starts = np.flatnonzero(new)
    sizes = np.diff(starts, append=len(new))
    shared = np.flatnonzero(np.repeat(sizes > 1, sizes))
    first = new[shared]
    curved = np.zeros(0, dtype=np.bool_)
    if len(starts):
        up, down = (
            np.add.reduceat(np.maximum(exposure, 0.0), starts),
            np.add.reduceat(np.maximum(-exposure, 0.0), starts),
        )
        one_way = (_FEWER * up > down + np.add.reduceat(most, starts)) | (_FEWER * down > up)
        curved = _any(tiered, starts) & ~(one_way & ~_any(tiered & unsure, starts))
    return Units(
        of=np.cumsum(new) - 1,
        starts=starts,
        sizes=sizes,
        shared=shared,
        shared_starts=np.flatnonzero(first),
        shared_of=np.cumsum(first) - 1,
        curved=np.flatnonzero(curved),
    )


def _mixed(groups: Units, several: Flags, scale: Floats) -> Mixed:
    """Return the rows to watch, of groups of several symbols with tiers that are taken to have one root."""
    rows = np.flatnonzero(several & ~np.isin(groups.of, groups.curved))
    return Mixed(rows, np.flatnonzero(np.diff(groups.of[rows], prepend=-1)), scale[rows])


def _scale(c: Columns, x: Floats) -> Floats:
    """Return, (n,), what of a row's exposure prices move."""
    return np.where(c.scale == 1.0, c.weight, c.weight * x)


def _any(flags: Flags, starts: Ints) -> Flags:
    """Return which segments have a row with a flag."""
    found: Flags = np.logical_or.reduceat(flags, starts) if len(starts) else np.zeros(0, dtype=np.bool_)
    return found


def _spread(flags: Flags, new: Flags) -> Flags:
    """Return, (n,), whether a row's segment has a row with a flag."""
    found: Flags = _any(flags, np.flatnonzero(new))[np.cumsum(new) - 1]
    return found


def _span(numbers: Ints) -> Ints | slice:
    """Return ascending numbers, as a slice where none is left out: it is read several times faster."""
    whole = len(numbers) > 0 and int(numbers[-1] - numbers[0]) == len(numbers) - 1
    return slice(int(numbers[0]), int(numbers[-1]) + 1) if whole else numbers
