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

import numpy as np

from gateway.core.columns import Columns, Flags, Floats, Ints
from gateway.core.layout import Layout
from gateway.core.margin.solver import Problem, Tables, Walk, concave_roots, stepped_root, sums

_FAR = 1e15  # a root beyond this is no price (Hyperliquid's own bound for a null liquidation price)


def derive(c: Columns, rows: Ints | int) -> None:
    """Bring what follows from quantity, weight, rates and offset up to date: backs, slope, denominator, skew."""
    orientation = c.orientation[rows]
    size = np.abs(c.quantity[rows]) * orientation
    weight = np.where(c.plain[rows] == 1.0, 1.0, c.weight[rows])
    c.backs[rows] = c.weight[rows] * c.counts[rows]
    backs = np.where(c.plain[rows] == 1.0, 1.0, c.backs[rows])
    c.slope[rows] = c.backs[rows] * c.quantity[rows] - c.weight[rows] * c.rate[rows] * size
    c.denominator[rows] = backs * c.quantity[rows] - weight * c.rate_liq[rows] * size
    c.skew[rows] = (c.backs[rows] - backs) * c.offset[rows]


def retier(c: Columns, rows: Ints, notional: Floats, tables: Tables) -> None:
    """Give rows with tiers the rate and constant of the tier that their notional (settle currency) falls in."""
    table = c.table[rows]
    tier = tables.tier(table, notional)
    rate, constant = tables.rate[table, tier], c.beyond[rows] - tables.deduction[table, tier]
    c.rate[rows], c.constant[rows] = rate, constant
    follows = c.follows[rows] == 1.0
    c.rate_liq[rows] = np.where(follows, rate, c.rate_liq[rows])
    c.constant_liq[rows] = np.where(follows, constant, c.constant_liq[rows])
    lower, upper = tables.bounds(table, tier)
    size, inverse = np.abs(c.quantity[rows]), c.orientation[rows] < 0.0
    with np.errstate(divide="ignore", invalid="ignore"):
        # a price below zero is no tier's: rows of the first are not solved again for it
        c.tier_low[rows] = np.where(inverse, size / upper, np.where(tier == 0, -np.inf, lower / size))
        c.tier_high[rows] = np.where(inverse, size / lower, upper / size)
    derive(c, rows)


def revalue(c: Columns, where: Layout, tables: Tables) -> None:
    """Bring value, notional, unrealised PnL and maintenance of every row to its mark."""
    np.multiply(c.quantity, c.x, out=c.value)
    np.abs(c.value, out=c.notional)
    np.subtract(c.x, c.x0, out=c.upnl)
    np.multiply(c.upnl, c.quantity, out=c.upnl)
    np.add(c.upnl, c.upnl0, out=c.upnl)
    if len(where.tiered):
        left = _outside(c, c.mark)
        if len(left):
            retier(c, left, c.notional[left], tables)
    np.multiply(c.notional, c.rate, out=c.mm)
    np.add(c.mm, c.constant, out=c.mm)


def pool_sums(c: Columns, where: Layout, equity: Floats, maintenance: Floats) -> None:
    """Add the rows' contributions to their pools' equity and maintenance, (n_pools,) in pool currency."""
    if len(c):
        np.add(c.offset, c.value, out=c.scratch)
        np.multiply(c.scratch, c.backs, out=c.scratch)
        equity[where.pools] += np.add.reduceat(c.scratch, where.pool_starts)
        np.multiply(c.mm, c.weight, out=c.scratch)
        maintenance[where.pools] += np.add.reduceat(c.scratch, where.pool_starts)


def _missing(c: Columns, price: Floats) -> Floats:
    """Return 0 for what is a price, (n,), and NaN else, in ``scratch``: added, it is several times faster than a mask."""
    return np.divide(0.0, (price > 0.0) & (price <= _FAR), out=c.scratch)


def _outside(c: Columns, price: Floats) -> Ints:
    """Return the rows that would be in another tier than now at a price, (n,)."""
    return np.flatnonzero((price < c.tier_low) | (price >= c.tier_high))


# --- liquidation prices: one symbol moves ----------------------------------------------------------------------------------


def liquidation_prices(c: Columns, where: Layout, tables: Tables) -> None:
    """Solve every row's liquidation price by its venue's published definition.

    x' = (maintenance that stays - equity + backs * value) / (backs * quantity - weight * rate * |quantity| * orientation)

    with numerators and denominators of all rows of the symbol added where the definition moves them together.
    """
    scratch, liq = c.scratch, c.liq
    np.subtract(c.constant_liq, c.mm, out=scratch)
    if len(where.held):
        scratch[where.held] = c.constant_liq[where.held]
    np.add(scratch, c.value, out=scratch)
    np.multiply(scratch, c.weight, out=scratch)
    if len(where.cut):
        scratch[where.cut] += (c.backs[where.cut] - c.weight[where.cut]) * c.value[where.cut]
    if len(where.skewed):
        scratch[where.skewed] += c.skew[where.skewed]
    np.add(scratch, c.lack, out=liq)
    np.divide(liq, c.denominator, out=liq)
    if len(where.legs.rows):
        _joint(c, where)
    if len(where.inverse):
        liq[where.inverse] = -1.0 / liq[where.inverse]
    if len(where.tiered):
        _price_across_tiers(c, where, tables)
    np.add(liq, _missing(c, liq), out=liq)
    if len(where.unmodelled):
        liq[where.unmodelled] = c.venue_liq[where.unmodelled]
    if len(where.shifted):
        _round(c, where.shifted)


def _joint(c: Columns, where: Layout) -> None:
    """Solve rows whose symbol moves with other rows of their pool; ``scratch`` holds the numerators."""
    rows, starts, owner = where.legs
    above = np.add.reduceat(c.scratch[rows], starts) + c.lack[rows[starts]]
    c.liq[rows] = (above / np.add.reduceat(c.denominator[rows], starts))[owner]


def _price_across_tiers(c: Columns, where: Layout, tables: Tables) -> None:
    """Solve again where the price lies in another tier than the present one, or where there may be a second root."""
    left = _outside(c, c.liq)
    left = np.concatenate([left[c.follows[left] == 1.0], where.stepped_rows])
    if len(where.legs.rows):
        rows, starts, owner = where.legs
        place = np.searchsorted(rows, left)
        joint = rows[np.minimum(place, len(rows) - 1)] == left
        chosen = np.zeros(len(starts), dtype=np.bool_)
        chosen[owner[place[joint]]] = chosen[where.curved_legs] = True
        left, picked = left[~joint], chosen[owner]
        if picked.any():
            curved = np.zeros(len(starts), dtype=np.bool_)
            curved[where.curved_legs] = True
            _resolve(c, where, tables, rows[picked], (np.cumsum(chosen) - 1)[owner[picked]], curved[chosen])
    if len(left):
        _resolve(c, where, tables, left, np.arange(len(left)), np.zeros(len(left), dtype=np.bool_))


def _resolve(c: Columns, where: Layout, tables: Tables, rows: Ints, segment: Ints, curved: Flags) -> None:
    """Solve the price of segments of rows (``segment``: (len(rows),), counted from 0) in the tiers that it falls in."""
    count = len(curved)
    first = rows[np.searchsorted(segment, np.arange(count))] if len(rows) > count else rows
    weight = np.where(c.plain[rows] == 1.0, 1.0, c.weight[rows])
    tiered = (c.table[rows] >= 0) & (c.follows[rows] == 1.0)
    resting = np.where(tiered, weight * c.constant_liq[rows], 0.0)
    moving = np.where(tiered, weight * c.rate_liq[rows] * c.notional[rows], 0.0)
    now = sums(segment, c.x[rows] * c.denominator[rows], count)
    level = sums(segment, resting - c.scratch[rows], count) - c.lack[first]
    slope = now + sums(segment, moving, count)
    picked = rows[tiered]
    alpha, beta = _lines(c, picked, tables, weight[tiered])
    problem = Problem(level, slope, segment[tiered], alpha, beta, now > 0.0, curved, c.orientation[first] < 0.0)
    factor = _roots(c, where, tables, picked, problem, np.zeros(len(picked), dtype=np.bool_))
    c.liq[rows] = c.mark[rows] * factor[segment]


def _lines(c: Columns, rows: Ints, tables: Tables, weight: Floats) -> tuple[Floats, Floats]:
    """Return maintenance = alpha + beta * y of rows in each of their tiers, (m, n_tiers), in pool currency."""
    table = c.table[rows]
    alpha = weight[:, None] * (c.beyond[rows][:, None] - tables.deduction[table])
    return alpha, tables.rate[table] * (weight * c.notional[rows])[:, None]


def _roots(c: Columns, where: Layout, tables: Tables, rows: Ints, problem: Problem, scaled: Flags) -> Floats:
    """Return the factors on the present price, by the solver that each segment needs."""
    factor = concave_roots(problem)
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
    """Apply the venues' published rounding to solved prices (a one-tick shift, or down to the tick)."""
    price, tick = c.liq[rows] + c.shift[rows], c.floor_to[rows]
    floored = tick > 0.0
    # 1e-9 of a tick: a price that is a whole number of ticks must not fall to the tick below through float noise
    price[floored] = np.floor(price[floored] / tick[floored] + 1e-9) * tick[floored]
    c.liq[rows] = price


# --- triggers: one underlying moves ----------------------------------------------------------------------------------------


def triggers(c: Columns, where: Layout, tables: Tables) -> None:
    """Solve the price of every row at which its pool is spent if its underlying alone moves, and the distance to it."""
    factor, trigger = c.distance, c.trigger
    _slopes(c, where)
    if len(where.shared.rows):
        rows, starts, owner = where.shared
        c.scratch[rows] = np.add.reduceat(c.scratch[rows], starts)[owner]
    np.divide(c.lack, c.scratch, out=factor)
    np.add(factor, 1.0, out=factor)
    if len(where.in_coin):
        factor[where.in_coin] = 1.0 / factor[where.in_coin]
        factor[where.unlike] = np.nan
    np.multiply(factor, c.mark, out=trigger)
    if len(where.tiered):
        _trigger_across_tiers(c, where, tables)
    np.subtract(1.0, factor, out=c.distance)
    np.abs(c.distance, out=c.distance)
    _conclude(c, where)


def _slopes(c: Columns, where: Layout) -> None:
    """Write into ``scratch`` what each row adds to equity - maintenance per unit of y."""
    np.multiply(c.slope, c.x, out=c.scratch)
    if len(where.scaled):
        rows = where.scaled
        c.scratch[rows] = c.backs[rows] * c.offset[rows] - c.weight[rows] * c.constant[rows]


def _trigger_across_tiers(c: Columns, where: Layout, tables: Tables) -> None:
    """Solve again the groups in which a row leaves its tier on the way, or which may have a second root."""
    left = _outside(c, c.trigger)
    if not (len(left) or len(where.curved)):
        return
    groups = np.unique(np.concatenate([where.group_of[left], where.curved]))
    curved = np.zeros(len(groups), dtype=np.bool_)
    curved[np.searchsorted(groups, where.curved)] = True
    first, sizes = where.group_starts[groups], where.group_sizes[groups]
    owner = np.repeat(np.arange(len(groups)), sizes)
    rows = np.arange(len(owner)) + (first - np.cumsum(sizes) + sizes)[owner]
    tiered = c.table[rows] >= 0
    inverse = sums(owner, (c.orientation[rows] < 0.0) & (c.scale[rows] == 0.0), len(groups)) > 0.0
    factor = _moved_roots(
        c, where, tables, rows[tiered], owner[tiered], -c.lack[first], c.scratch[first], curved, inverse
    )  # fmt: skip
    c.distance[rows] = factor[owner]
    c.trigger[rows] = c.distance[rows] * c.mark[rows]


def _moved_roots(
    c: Columns,
    where: Layout,
    tables: Tables,
    rows: Ints,
    owner: Ints,
    free: Floats,
    slope: Floats,
    curved: Flags,
    inverse: Flags,
) -> Floats:
    """Return, (s,), the factor on the present prices that brings each segment to equity = maintenance, over all tiers.

    Args:
        rows, owner: (m,) the tiered rows, and the segment of each.
        free: (s,) equity - maintenance, now; ``slope``: (s,) of it, now, per unit of y.
        curved: (s,) there may be a second root.
        inverse: (s,) the price is 1/y of the present one.
    """
    weight = c.weight[rows]
    alpha, beta = _lines(c, rows, tables, weight)
    resting, moving = weight * c.constant[rows], weight * c.rate[rows] * c.notional[rows]
    scaled = c.scale[rows] == 1.0
    if scaled.any():  # in dollars it is the notional that rests, and the deduction that moves with the coin's price
        turned = scaled[:, None]
        alpha, beta = np.where(turned, beta, alpha), np.where(turned, alpha, beta)
        beyond = turned & np.isinf(tables.lower[c.table[rows]])
        alpha[beyond], beta[beyond] = -np.inf, 0.0
        resting, moving = np.where(scaled, moving, resting), np.where(scaled, resting, moving)
    count = len(free)
    level = free - slope + sums(owner, resting, count)
    tilt = slope + sums(owner, moving, count)
    problem = Problem(level, tilt, owner, alpha, beta, slope > 0.0, curved, inverse)
    return _roots(c, where, tables, rows, problem, scaled)


def _conclude(c: Columns, where: Layout) -> None:
    """Take out triggers that are no prices, and say how far the others are.

    A pool that is spent already is through its trigger: the distance is 0 or less, -1 where no price would save it.
    """
    missing = _missing(c, c.trigger)
    np.add(c.trigger, missing, out=c.trigger)
    np.add(c.distance, missing, out=c.distance)
    spent = c.lack > 0.0
    if spent.any():
        rows = np.flatnonzero(spent)
        c.distance[rows] = np.where(np.isnan(c.trigger[rows]), -1.0, -c.distance[rows])
    if len(where.quiet):
        rows = where.quiet
        c.trigger[where.unmodelled] = np.nan
        c.distance[rows] = (1.0 - c.venue_liq[rows] / c.mark[rows]) * where.venue_side


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
    in_coin = (c.orientation < 0.0) & (c.scale == 0.0) & ~fixed
    coins = sums(c.pool, in_coin, count) > 0.0
    unlike = coins & (sums(c.pool, ~in_coin & (moving != 0.0), count) > 0.0)
    rows = where.tiered[~fixed[where.tiered]]
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = sums(c.pool, moving, count)
        everywhere = np.ones(count, dtype=np.bool_)
        factor = _moved_roots(c, where, tables, rows, c.pool[rows], -short, slope, everywhere, coins)
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
