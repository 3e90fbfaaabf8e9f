"""Roots of a margin pool whose maintenance follows tiers: where equity meets maintenance, nearest to the present price.

Owns the tier tables as padded matrices, and two solvers over them: Newton's method from both sides, for all segments at
once, where maintenance is convex (tiers with deductions); and a scalar walk over the edges where it jumps (tiers without). Pure.

In the coordinate ``y`` (1 now; see ``gateway.core.margin.pool``) a segment's equity less maintenance is

    g(y) = level + slope * y - sum over its tiered rows of (alpha_j + beta_j * y)

with the row's line ``j`` of the tier that it is in at ``y``. With deductions that is the largest of the row's lines, so that
g is concave and piecewise linear: two roots at most. A tangent lies above g, so Newton's steps from outside never cross a
root and end on its own line, exactly.
"""

from __future__ import annotations

import itertools
import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gateway.core.arrays import Flags, Floats, Ints
from gateway.core.margin.pool import Bracket

_CONTINUOUS = 1e-6  # of the maintenance at an edge: venues round their deductions


class Tables:
    """Distinct tier tables, by number; equal ones share a number.

    ``lower`` (settle currency, +inf beyond the last tier), ``rate`` and ``deduction`` (0 and +inf there): (n_tables, n_tiers).
    (n_tables,): ``highest`` rate; ``stepped``: maintenance jumps at an edge, or rates fall.
    """

    def __init__(self) -> None:
        self._numbers: dict[tuple[Bracket, ...], int] = {}
        self._keys: list[tuple[Bracket, ...]] = []
        self._users: list[int] = []
        self._free: list[int] = []
        self.lower: Floats = np.zeros((0, 2))
        self.rate: Floats = np.zeros((0, 2))
        self.deduction: Floats = np.zeros((0, 2))
        self.highest: Floats = np.zeros(0)
        self.stepped: Flags = np.zeros(0, dtype=np.bool_)

    def hold(self, brackets: tuple[Bracket, ...]) -> int:
        """Return the number of a table that a row now needs; to be given back with ``release``."""
        number = self._numbers.get(brackets)
        if number is None:
            number = self._numbers[brackets] = self._room(len(brackets))
            self._write(number, brackets)
        self._users[number] += 1
        return number

    def release(self, number: int) -> None:
        """Give a table back; one that nobody holds is forgotten."""
        self._users[number] -= 1
        if not self._users[number]:
            self._free.append(number)
            del self._numbers[self._keys[number]]

    def _room(self, tiers: int) -> int:
        rows, columns = self.lower.shape
        if not self._free:
            self._free = list(range(max(2 * rows, 8)))[rows:]
            self._users += [0] * len(self._free)
            self._keys += [()] * len(self._free)
        grown = len(self._users), max(tiers, columns)
        if grown != (rows, columns):
            self.lower = _padded(self.lower, grown, math.inf)
            self.rate = _padded(self.rate, grown, 0.0)
            self.deduction = _padded(self.deduction, grown, math.inf)
            self.highest = np.append(self.highest, np.zeros(grown[0] - rows))
            self.stepped = np.append(self.stepped, np.zeros(grown[0] - rows, dtype=np.bool_))
        return self._free.pop()

    def _write(self, number: int, brackets: tuple[Bracket, ...]) -> None:
        count, self._keys[number] = len(brackets), brackets
        self.lower[number], self.rate[number], self.deduction[number] = math.inf, 0.0, math.inf
        self.lower[number, :count] = [bracket.lower for bracket in brackets]
        self.rate[number, :count] = [bracket.rate for bracket in brackets]
        self.deduction[number, :count] = [bracket.deduction for bracket in brackets]
        self.highest[number] = self.rate[number].max()
        self.stepped[number] = any(
            after.rate < before.rate or abs(_gap(before, after)) > _CONTINUOUS * after.lower * after.rate
            for before, after in itertools.pairwise(brackets)
        )

    def tier(self, table: Ints, notional: Floats) -> Ints:
        """Return the tier of each notional, (m,); the first for one below all, or unknown."""
        found = np.count_nonzero(self.lower[table] <= notional[:, None], axis=1) - 1
        tier: Ints = np.maximum(found, 0)
        return tier

    def bounds(self, table: Ints, tier: Ints) -> tuple[Floats, Floats]:
        """Return [lower, upper) of tiers in notional; the first reaches down to 0."""
        edges = np.pad(self.lower[table], ((0, 0), (0, 1)), constant_values=math.inf)
        each = np.arange(len(table))
        return np.where(tier == 0, 0.0, edges[each, tier]), edges[each, tier + 1]


def sums(owner: Ints, values: NDArray[Any], count: int) -> Floats:
    """Return the sum of the values, (m,), of each of ``count`` owners; of none it is 0, and NaN spreads."""
    return np.bincount(owner, values, count).astype(np.float64, copy=False)


def _gap(before: Bracket, after: Bracket) -> float:
    """Return by how much maintenance rises in one step where one tier ends and the next begins."""
    return after.lower * (after.rate - before.rate) - (after.deduction - before.deduction)


def _padded(matrix: Floats, shape: tuple[int, int], value: float) -> Floats:
    grown = np.full(shape, value)
    grown[: matrix.shape[0], : matrix.shape[1]] = matrix
    return grown


class Problem(NamedTuple):
    """Segments to solve (see the module): ``level`` and ``slope`` (s,), and the lines of their tiered rows.

    Attributes:
        owner: (m,) the segment of each row, ascending; every segment has one.
        alpha, beta: (m, n_tiers), -inf and 0 beyond a row's last tier.
        rising: (s,) g rises with y in the present tiers, so that its root there is met coming down.
        inverse: (s,) the price is 1/y of the present one, else y.
    """

    level: Floats
    slope: Floats
    owner: Ints
    alpha: Floats
    beta: Floats
    rising: Flags
    inverse: Flags


def concave_roots(problem: Problem, *, both_ways: bool) -> Floats:
    """Return each segment's root as a factor of the present price, (s,): the one nearest to 1; NaN where none is above zero.

    Divides by zero where a segment does not move: the caller has said ``np.errstate``.

    Args:
        both_ways: g may rise and fall, so that there may be a second root; else ``rising`` says where the only one is.
    """
    if not both_ways:
        single = len(problem.owner) == len(problem.level)
        found = _straight(problem) if single else _newton(problem)
        return np.where(problem.inverse, 1.0 / found, found)
    count = len(problem.level)
    level, slope, owner, alpha, beta, _, inverse = (np.concatenate([each, each]) for each in problem)
    owner[len(problem.owner) :] += count
    y = _newton(Problem(level, slope, owner, alpha, beta, np.arange(2 * count) < count, inverse))
    low, high = np.split(np.where(inverse, 1.0 / y, y), 2)
    return np.where(np.isnan(low) | (np.abs(high - 1.0) < np.abs(low - 1.0)), high, low)


def _straight(problem: Problem) -> Floats:
    """Return the root of segments of one tiered row each: of its lines' roots the highest where g rises, else the lowest."""
    lines = (problem.alpha - problem.level[:, None]) / (problem.slope[:, None] - problem.beta)
    y = np.where(problem.rising, lines.max(axis=1), lines.min(axis=1))
    return np.where(y > 0.0, y, np.nan)


def _newton(problem: Problem) -> Floats:
    """Return the root where g comes up through zero (from y = 0 on), or goes down for good; NaN where there is none."""
    level, slope, owner, alpha, beta, rising, _ = problem
    count, each = len(level), np.arange(len(owner))
    line = np.where(rising[owner], np.argmax(alpha, axis=1), np.argmax(beta, axis=1))  # at y = 0, or infinity
    none = np.zeros(count, dtype=np.bool_)
    while True:  # ends: a root only moves inwards, over at most all the edges of its segment
        above = level - sums(owner, alpha[each, line], count)
        tilt = slope - sums(owner, beta[each, line], count)
        y = -above / tilt
        none |= ~np.where(rising, tilt > 0.0, tilt < 0.0) | ~(y > 0.0)
        y[none] = np.nan
        there = np.argmax(alpha + beta * y[owner][:, None], axis=1)
        there = np.where(none[owner], line, there)
        if np.array_equal(there, line):
            return y
        line = there


class Walk(NamedTuple):
    """One segment with tiers that jump. Matrices are (m, n_tiers) over its tiered rows, as in ``Problem``.

    Attributes:
        lower: Where tiers begin, as multiples of the row's present notional; +inf beyond the last.
        reversed: (m,) the notional moves with 1/y (an inverse contract in a pool of dollars), else with y.
    """

    level: float
    slope: float
    lower: Floats
    alpha: Floats
    beta: Floats
    reversed: Flags
    inverse: bool


def stepped_root(walk: Walk) -> float:
    """Return one segment's root as a factor of the present price, nearest to 1; a jump over zero is one. NaN: none.

    Between two edges g is a line; at an edge its two sides may have different signs.
    """
    lower = np.where(walk.reversed[:, None], 1.0 / np.maximum(walk.lower, 1e-300), walk.lower)
    edges = np.unique(lower[np.isfinite(walk.lower) & (walk.lower > 0.0)])
    ends = [0.0, *edges.tolist(), math.inf]
    found: list[float] = []
    before = math.nan  # g at the end of the interval before
    for start, end in itertools.pairwise(ends):
        level, slope = _line(walk, (start + end) / 2 if end < math.inf else 2.0 * start + 1.0)
        first = level + slope * start
        if before * first < 0.0 or (before == 0.0) != (first == 0.0):
            found.append(start)
        root = -level / slope if slope else math.nan
        if start <= root <= end:
            found.append(root)
        before = level + slope * end
    factors = [1.0 / y if walk.inverse else y for y in found if 0.0 < y < math.inf]
    return min(factors, key=lambda factor: abs(factor - 1.0), default=math.nan)


def _line(walk: Walk, y: float) -> tuple[float, float]:
    """Return level and slope of g at ``y``, which is no edge."""
    notional = np.where(walk.reversed, 1.0 / y, y)
    tier = np.maximum(np.count_nonzero(walk.lower <= notional[:, None], axis=1) - 1, 0)
    each = np.arange(len(tier))
    return (
        walk.level - float(walk.alpha[each, tier].sum()),
        walk.slope - float(walk.beta[each, tier].sum()),
    )
