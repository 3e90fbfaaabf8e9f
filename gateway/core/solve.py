"""The arithmetic of the columns: figures of every row in one pass, and the prices at which pools are liquidated.

Owns the vectorised formulas; where rows lie is ``gateway.core.layout``'s, what they mean ``gateway.core.columns``'. Pure.

A group is the rows of one underlying in one pool, coins held as collateral with them. Where its price is multiplied, the pool's
equity and maintenance are linear in the coordinate ``y`` (the factor itself; 1/factor in a pool that is kept in that coin), by
S and T per unit, so that

    y = 1 - (equity - maintenance) / (S - T)

    linear, or inverse in its own coin's pool   S = backs * value     T = weight * rate * notional
    inverse in a pool of dollars                S = backs * offset    T = weight * constant
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from gateway.core.arrays import Flags, Floats, Ints
from gateway.core.columns import Columns
from gateway.core.layout import Layout
from gateway.core.margin.solver import Problem, Tables, Walk, concave_roots, stepped_root, sums

_NEAR = 1e-15  # as good as 0
_LEAST = 1e-12  # of the mark: a root below is what float64 leaves of 0


def derive(c: Columns, rows: Ints | int) -> None:
    """Bring what follows from quantity, weight, rates and offset up to date: backs, slope, bends, denominator."""
    size = np.abs(c.quantity[rows]) * c.orientation[rows]
    weight = np.where(c.plain[rows] == 1.0, 1.0, c.weight[rows])
    c.backs[rows] = c.weight[rows] * c.counts[rows]
    backs = np.where(c.plain[rows] == 1.0, 1.0, c.backs[rows])
    c.slope[rows] = c.backs[rows] * c.quantity[rows] - c.weight[rows] * c.rate_trigger[rows] * size
    c.bend[rows] = c.weight[rows] * (c.rate_trigger[rows] - c.rate[rows])
    c.bend_constant[rows] = c.weight[rows] * (c.constant_trigger[rows] - c.constant[rows])
    c.denominator[rows] = backs * c.quantity[rows] - weight * c.rate_liq[rows] * size


def retier(c: Columns, rows: Ints, tables: Tables) -> None:
    """Give rows with tiers the rate and constant of the tier that their notional at the mark is in."""
    tier = _Tier.at(c, rows, c.mark[rows], tables)
    c.rate[rows], c.constant[rows], c.tier_low[rows], c.tier_high[rows] = tier
    derive(c, rows)


class _Tier(NamedTuple):
    """Rate and constant of rows, (m,), and the prices that they hold for: from ``low``, up to ``high``."""

    rate: Floats
    constant: Floats
    low: Floats
    high: Floats

    @classmethod
    def at(cls, c: Columns, rows: Ints, price: Floats, tables: Tables) -> _Tier:
        """Return the tiers that rows are in at a price; without one (NaN), where no price is left.

        The end that is next to no price is open, so that a root below zero counts as found in it: in no tier is there another.
        """
        size, inverse, table = np.abs(c.quantity[rows]), c.orientation[rows] < 0.0, c.table[rows]
        with np.errstate(divide="ignore", invalid="ignore"):
            price = np.where(price > 0.0, price, _NEAR)
            tier = tables.tier(table, np.where(inverse, size / price, size * price))
            lower, upper = tables.bounds(table, tier)
            low = np.where(inverse, size / upper, lower / size)
            high = np.where(inverse, size / lower, upper / size)
        low[np.where(inverse, np.isinf(upper), tier == 0)] = -np.inf
        return cls(tables.rate[table, tier], c.beyond[rows] - tables.deduction[table, tier], low, high)


def revalue(c: Columns, where: Layout, tables: Tables) -> None:
    """Bring value, notional, unrealised PnL and maintenance of every row, and its least price, to its mark."""
    np.multiply(c.quantity, c.x, out=c.value)
    np.abs(c.value, out=c.notional)
    np.subtract(c.x, c.x0, out=c.upnl)
    np.multiply(c.upnl, c.quantity, out=c.upnl)
    np.add(c.upnl, c.upnl0, out=c.upnl)
    if len(where.tiered):
        left = _outside(c.mark, c.tier_low, c.tier_high)
        if len(left):
            retier(c, left, tables)
    np.multiply(c.notional, c.rate, out=c.mm)
    np.add(c.mm, c.constant, out=c.mm)
    np.multiply(c.mark, _LEAST, out=c.least)
    np.maximum(c.least, c.lowest, out=c.least)


def pool_sums(c: Columns, where: Layout, equity: Floats, maintenance: Floats) -> None:
    """Add the rows' contributions to their pools' equity and maintenance, (n_pools,) in pool currency."""
    if len(c):
        np.add(c.offset, c.value, out=c.scratch)
        np.multiply(c.scratch, c.backs, out=c.scratch)
        equity[where.pools] += np.add.reduceat(c.scratch, where.pool_starts)
        np.multiply(c.mm, c.weight, out=c.scratch)
        maintenance[where.pools] += np.add.reduceat(c.scratch, where.pool_starts)


def _missing(c: Columns, solved: Floats) -> Floats:
    """Return 0 for what is a price, (n,), and NaN else, in ``scratch``: added, it is several times faster than a mask.

    A solved price is one above nothing, and within its contract's range (see ``Maintenance``).
    """
    is_price: Flags = (solved > c.least) & (solved < c.highest)
    return np.divide(0.0, is_price, out=c.scratch)


def _outside(price: Floats, low: Floats, high: Floats) -> Ints:
    """Return the rows that are in another tier at a price, all (n,)."""
    return np.flatnonzero((price < low) | (price >= high))


# --- liquidation prices: one symbol moves ----------------------------------------------------------------------------------


def liquidation_prices(c: Columns, where: Layout, tables: Tables) -> None:
    """Solve every row's liquidation price by its venue's published definition.

    x' = (maintenance that stays - equity + backs * value) / (backs * quantity - weight * rate * |quantity| * orientation)

    with numerators and denominators of all rows of the symbol added where the definition moves them together.
    """
    _straight_prices(c, where)
    if len(where.tiered):
        crossing = where.priced.crossing(_outside(c.liq, c.liq_low, c.liq_high))
        if len(crossing):
            rows = _resolve_prices(c, where, tables, crossing, both_ways=False)
            c.rate_liq[rows], c.constant_liq[rows], c.liq_low[rows], c.liq_high[rows] = _Tier.at(
                c, rows, c.liq[rows], tables
            )
            derive(c, rows)
            _straight_prices(c, where)
        if len(where.priced.curved):
            _resolve_prices(c, where, tables, where.priced.curved, both_ways=True)
    if len(where.shifted):
        _round(c, where.shifted)
    np.add(c.liq, _missing(c, c.liq), out=c.liq)
    if len(where.unmodelled):
        c.liq[where.unmodelled] = c.venue_liq[where.unmodelled]


def _straight_prices(c: Columns, where: Layout) -> None:
    """Solve all rows in the tiers that their prices were in last; ``scratch`` holds the numerators without the pool's part."""
    scratch, liq = c.scratch, c.liq
    np.subtract(c.constant_liq, c.mm, out=scratch)
    if len(where.held):
        scratch[where.held] = c.constant_liq[where.held]
    np.add(scratch, c.value, out=scratch)
    np.multiply(scratch, c.weight, out=scratch)
    if len(where.cut):
        scratch[where.cut] += (c.backs[where.cut] - c.weight[where.cut]) * c.value[where.cut]
    if len(where.plain):
        scratch[where.plain] += (1.0 - c.backs[where.plain]) * c.value[where.plain]
    np.add(scratch, c.lack, out=liq)
    np.divide(liq, c.denominator, out=liq)
    if len(where.priced.shared):
        _, _, _, rows, starts, owner, _ = where.priced
        above = np.add.reduceat(scratch[rows], starts) + c.lack[rows[starts]]
        liq[rows] = (above / np.add.reduceat(c.denominator[rows], starts))[owner]
    if len(where.inverse):
        liq[where.inverse] = -1.0 / liq[where.inverse]


def _resolve_prices(c: Columns, where: Layout, tables: Tables, units: Ints, *, both_ways: bool) -> Ints:
    """Solve the price of some units in the tiers that it falls in; return their rows that follow tiers."""
    rows, owner = where.priced.members(units)
    first, count = where.priced.starts[units], len(units)
    weight = np.where(c.plain[rows] == 1.0, 1.0, c.weight[rows])
    tiered = (c.table[rows] >= 0) & (c.follows[rows] == 1.0)
    resting = np.where(tiered, weight * c.constant_liq[rows], 0.0)
    moving = np.where(tiered, weight * c.rate_liq[rows] * c.notional[rows], 0.0)
    now = sums(owner, c.x[rows] * c.denominator[rows], count)
    level = sums(owner, resting - c.scratch[rows], count) - c.lack[first]
    picked: Ints = rows[tiered]
    alpha, beta = _lines(c, picked, tables, weight[tiered])
    inverse = c.orientation[first] < 0.0
    problem = Problem(level, now + sums(owner, moving, count), owner[tiered], alpha, beta, now > 0.0, inverse)
    factor = _roots(c, where, tables, picked, problem, np.zeros(len(picked), dtype=np.bool_), both_ways=both_ways)
    c.liq[rows] = c.mark[rows] * factor[owner]
    return picked


def _lines(c: Columns, rows: Ints, tables: Tables, weight: Floats) -> tuple[Floats, Floats]:
    """Return maintenance = alpha + beta * y of rows in each of their tiers, (m, n_tiers), in pool currency."""
    table = c.table[rows]
    alpha = weight[:, None] * (c.beyond[rows][:, None] - tables.deduction[table])
    return alpha, tables.rate[table] * (weight * c.notional[rows])[:, None]


def _roots(
    c: Columns, where: Layout, tables: Tables, rows: Ints, problem: Problem, scaled: Flags, *, both_ways: bool
) -> Floats:
    """Return the factors on the present price, by the solver that each segment needs."""
    factor = concave_roots(problem, both_ways=both_ways)
    jumping = where.stepped[rows]
    for segment in np.unique(problem.owner[jumping]).tolist() if jumping.any() else ():
        own = problem.owner == segment
        walk = Walk(
            float(problem.level[segment]),
            float(problem.slope[segment]),
            tables.lower[c.table[rows[own]]] / c.notional[rows[own]][:, None],
            problem.alpha[own],
            problem.beta[own],
            scaled[own],
            bool(problem.inverse[segment]),
        )
        factor[segment] = stepped_root(walk)
    return factor


def _round(c: Columns, rows: Ints) -> None:
    """Apply the venues' published rounding to solved prices (a one-tick shift, or down to the tick); no price stays none."""
    root, tick = c.liq[rows], c.floor_to[rows]
    price = root + c.shift[rows]
    floored = tick > 0.0
    # 1e-9 of a tick: a price that is a whole number of ticks must not fall to the tick below through float noise
    price[floored] = np.floor(price[floored] / tick[floored] + 1e-9) * tick[floored]
    c.liq[rows] = np.where(root > _LEAST * c.mark[rows], price, np.nan)


# --- triggers: one underlying moves ----------------------------------------------------------------------------------------


def triggers(c: Columns, where: Layout, tables: Tables) -> None:
    """Solve the price of every row at which its pool is spent if its underlying alone moves, and the distance to it."""
    _straight_triggers(c, where)
    if len(where.tiered):
        crossing = where.groups.crossing(_outside(c.trigger, c.trigger_low, c.trigger_high))
        if len(crossing):
            rows = _resolve_triggers(c, where, tables, crossing, both_ways=False)
            found = _Tier.at(c, rows, c.trigger[rows], tables)
            c.rate_trigger[rows], c.constant_trigger[rows], c.trigger_low[rows], c.trigger_high[rows] = found
            derive(c, rows)
            _straight_triggers(c, where)
        if len(where.groups.curved):
            _resolve_triggers(c, where, tables, where.groups.curved, both_ways=True)
    _conclude(c, where)


def _straight_triggers(c: Columns, where: Layout) -> None:
    """Solve all rows in the tiers that their triggers were in last; ``scratch`` holds the slopes, ``distance`` the factors."""
    factor, trigger = c.distance, c.trigger
    _slopes(c, where)
    np.multiply(c.notional, c.bend, out=trigger)
    np.add(trigger, c.bend_constant, out=trigger)
    if len(where.groups.shared):
        _, _, _, rows, starts, owner, _ = where.groups
        c.scratch[rows] = np.add.reduceat(c.scratch[rows], starts)[owner]
        trigger[rows] = np.add.reduceat(trigger[rows], starts)[owner]
    np.add(trigger, c.lack, out=trigger)
    np.divide(trigger, c.scratch, out=factor)
    np.add(factor, 1.0, out=factor)
    if len(where.in_coin):
        factor[where.in_coin] = 1.0 / factor[where.in_coin]
        factor[where.unlike] = np.nan
    np.multiply(factor, c.mark, out=trigger)


def _slopes(c: Columns, where: Layout) -> None:
    """Write into ``scratch`` what each row adds to equity - maintenance per unit of y."""
    np.multiply(c.slope, c.x, out=c.scratch)
    if len(where.scaled):
        rows = where.scaled
        c.scratch[rows] = c.backs[rows] * c.offset[rows] - c.weight[rows] * c.constant_trigger[rows]


def _resolve_triggers(c: Columns, where: Layout, tables: Tables, groups: Ints, *, both_ways: bool) -> Ints:
    """Solve the trigger of some groups in the tiers that it falls in; return their rows with tiers."""
    rows, owner = where.groups.members(groups)
    first, tiered = where.groups.starts[groups], c.table[rows] >= 0
    picked: Ints = rows[tiered]
    inverse = np.zeros(len(c), dtype=np.bool_)
    inverse[where.in_coin] = True
    factor = _moved_roots(
        c, where, tables, picked, owner[tiered], -c.lack[first], c.scratch[first], inverse[first], both_ways=both_ways
    )  # fmt: skip
    c.distance[rows] = factor[owner]
    c.trigger[rows] = c.distance[rows] * c.mark[rows]
    return picked


def _moved_roots(
    c: Columns,
    where: Layout,
    tables: Tables,
    rows: Ints,
    owner: Ints,
    free: Floats,
    slope: Floats,
    inverse: Flags,
    *,
    both_ways: bool,
) -> Floats:
    """Return, (s,), the factor on the present prices that brings each segment to equity = maintenance, over all tiers.

    Args:
        rows, owner: (m,) the tiered rows, and the segment of each.
        free: (s,) equity - maintenance, now; ``slope``: (s,) of it per unit of y, in the tiers of the triggers.
        inverse: (s,) the price is 1/y of the present one.
    """
    weight = c.weight[rows]
    alpha, beta = _lines(c, rows, tables, weight)
    kept = weight * (c.rate[rows] * c.notional[rows] + c.constant[rows])
    moving = weight * c.rate_trigger[rows] * c.notional[rows]
    scaled = c.scale[rows] == 1.0
    if scaled.any():  # in dollars it is the notional that rests, and the deduction that moves with the coin's price
        turned = scaled[:, None]
        alpha, beta = np.where(turned, beta, alpha), np.where(turned, alpha, beta)
        beyond = turned & np.isinf(tables.lower[c.table[rows]])
        alpha[beyond], beta[beyond] = -np.inf, 0.0
        moving = np.where(scaled, weight * c.constant_trigger[rows], moving)
    count = len(free)
    tilt = slope + sums(owner, moving, count)
    level = free + sums(owner, kept, count) - tilt
    problem = Problem(level, tilt, owner, alpha, beta, slope > 0.0, inverse)
    return _roots(c, where, tables, rows, problem, scaled, both_ways=both_ways)


def spent_distance(trigger: Floats, away: Floats) -> Floats:
    """Return the distances of rows whose pool is spent, (n,): they are through their trigger, so that it is 0 or less.

    -1 where no price would save the pool.

    Args:
        trigger: (n,), NaN: none; ``away``: (n,) the size of the move to it, as a fraction of the mark.
    """
    found: Floats = np.where(np.isnan(trigger), -1.0, -away)
    return found


def _conclude(c: Columns, where: Layout) -> None:
    """Take out triggers that are no prices, and turn the factors in ``distance`` into how far the others are."""
    rows = where.shifted
    if len(rows):  # where the published price rounds down to nothing, a trigger below one tick is none either
        c.trigger[rows[np.isnan(c.liq[rows]) & (c.trigger[rows] < c.floor_to[rows])]] = np.nan
    missing = _missing(c, c.trigger)
    np.add(c.trigger, missing, out=c.trigger)
    np.subtract(1.0, c.distance, out=c.distance)
    np.abs(c.distance, out=c.distance)
    np.add(c.distance, missing, out=c.distance)
    spent = c.lack > 0.0
    if spent.any():
        rows = np.flatnonzero(spent)
        c.distance[rows] = spent_distance(c.trigger[rows], c.distance[rows])
    c.trigger[where.unmodelled] = np.nan
    rows = where.quiet
    if np.isnan(c.lack).any():
        rows = np.flatnonzero(~c.heard(slice(None)))
    c.distance[rows] = (1.0 - c.venue_liq[rows] / c.mark[rows]) * c.venue_side[rows]


# --- what if: several underlyings move -------------------------------------------------------------------------------------


def uniform_moves(c: Columns, where: Layout, tables: Tables, short: Floats, fixed: Flags) -> Floats:
    """Return, (n_pools,), the move of all underlyings (signed fraction, nearest 0) that brings a pool to maintenance = equity.

    0: it is there already; inf: no move above -1 does; NaN: unknown.

    Args:
        short: (n_pools,) maintenance - equity.
        fixed: (n,) rows whose underlying does not move.
    """
    count = len(short)
    _slopes(c, where)
    moving = np.where(fixed, 0.0, c.scratch)
    inverse = (c.orientation < 0.0) & (c.scale == 0.0) & (c.quantity != 0.0) & ~fixed
    coins = sums(c.pool, inverse, count) > 0.0
    unlike = coins & (sums(c.pool, ~inverse & (moving != 0.0), count) > 0.0)
    rows = where.tiered[~fixed[where.tiered]]
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = sums(c.pool, moving, count)
        factor = _moved_roots(c, where, tables, rows, c.pool[rows], -short, slope, coins, both_ways=True)
    found = np.where(np.isnan(factor), np.inf, factor - 1.0)
    found[short >= 0.0] = 0.0
    found[np.isnan(short) | np.isnan(slope) | unlike] = np.nan
    found[np.bincount(c.pool, minlength=count) == 0] = np.inf
    return found


def revalued(c: Columns, where: Layout, tables: Tables, factors: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """Return unrealised PnL, notional, contribution to equity and to maintenance of every row, (n,), at shocked prices.

    Args:
        factors: (n,) what each row's present price is multiplied with.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        x = np.where(c.orientation < 0.0, c.x / factors, c.x * factors)
    weight = np.where(c.scale == 1.0, c.weight * factors, c.weight)
    value = c.quantity * x
    notional = np.abs(value)
    rate, constant = c.rate.copy(), c.constant.copy()
    rows = where.tiered
    tier = tables.tier(c.table[rows], notional[rows])
    rate[rows] = tables.rate[c.table[rows], tier]
    constant[rows] = c.beyond[rows] - tables.deduction[c.table[rows], tier]
    upnl = c.upnl0 + c.quantity * (x - c.x0)
    return upnl, notional, weight * c.counts * (c.offset + value), weight * (notional * rate + constant)
