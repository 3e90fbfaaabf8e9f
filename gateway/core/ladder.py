"""The stress ladder of every summary: what moves of the market, step by step, would do to the whole and to its accounts. Pure.

Worked out once a second for everybody together; a row is made only when somebody wants it.
"""

from __future__ import annotations

import numpy as np

from gateway.core.arrays import Floats, Ints
from gateway.core.columns import Bases
from gateway.core.margin.solver import sums
from gateway.core.register import differs
from gateway.core.rows import Row, present
from gateway.core.stress import NEVER, Ground, Outcome, StressSettings, Way, moves, walk

_CENTS, _RATIO = 2, 4  # decimals


class Ladder:
    """All summaries' ladders; written by ``turn`` alone.

    Attributes:
        steps: Signed fractions, ascending, 0 among them: the same sum at present prices.
        unmoved: Underlyings that are meant to move and do not: nobody holds any (a typo, another's name), or they are money.
    """

    def __init__(self, settings: StressSettings) -> None:
        self._settings = settings
        self.steps = tuple(sorted({0.0, *(step / 100.0 for step in settings.steps)}))
        self.unmoved: list[str] = []
        self._equity: Floats = np.zeros((len(self.steps), 0))
        self._ratio: Floats = np.zeros((len(self.steps), 0))
        self._crossed: Floats = np.zeros((2, 0))  # by account, falling and rising: the shock that liquidates it
        self._reasons: dict[int, str] = {}
        self._members: dict[int, list[int]] = {}
        self._names: list[str] = []

    def turn(self, ground: Ground) -> set[int]:
        """Bring all ladders to now; return the summaries of which something that is shown changed."""
        register = ground.register
        of = np.array(register.summary_of, dtype=np.int64)
        count = len(register.summaries)
        move = moves(ground.book.bases, self._settings.bases, self._settings.betas)
        falling = walk(ground, [step for step in reversed(self.steps) if step < 0.0], move)
        rising = walk(ground, [step for step in self.steps if step >= 0.0], move)
        outcomes = [*reversed(falling.outcomes), *rising.outcomes]
        equity = np.array([_by_summary(one, ground, of, count) for one in outcomes])
        ratio = np.array([_worst(one, ground, of, count) for one in outcomes])
        crossed = np.array([first_crossings(ground, way) for way in (falling, rising)])
        changed = self._changed(equity, ratio, crossed, of, ground.reasons)
        unmoved = self._unmoved(ground.book.bases)
        if unmoved != self.unmoved:
            self.unmoved, changed = unmoved, set(range(count))
        self._equity, self._ratio, self._crossed, self._reasons = equity, ratio, crossed, ground.reasons
        self._names = [account.info.name for account in register.accounts]
        if sum(map(len, self._members.values())) != len(of):
            self._members = {one: np.flatnonzero(of == one).tolist() for one in range(count)}
        return changed

    def row(self, summary: int) -> Row:
        """Return a summary's ladder: one entry a step, by its percentage."""
        if summary >= self._equity.shape[1]:
            return {}
        members = self._members[summary]
        uncovered = sorted(self._names[one] for one in members if one in self._reasons)
        found: Row = {}
        for index, step in enumerate(self.steps):
            crossed = self._crossed[0 if step < 0.0 else 1]
            within = [one for one in members if abs(crossed[one]) <= abs(step) and one not in self._reasons]
            liquidated = [self._names[one] for one in sorted(within, key=lambda one: (abs(crossed[one]), one))]
            figures = {
                "equity_usd": float(self._equity[index, summary]),
                "margin_ratio": float(self._ratio[index, summary]),
            }
            found[format(round(100.0 * step, 9), "g")] = present(figures) | {
                "liquidated": liquidated,
                "not_covered": uncovered,
            }
        return found

    def _unmoved(self, bases: Bases) -> list[str]:
        named = set(self._settings.bases or ())
        return sorted(named.difference(map(bases.name, np.flatnonzero(~bases.fixed).tolist()))) if named else []

    def _changed(self, equity: Floats, ratio: Floats, crossed: Floats, of: Ints, reasons: dict[int, str]) -> set[int]:
        if equity.shape != self._equity.shape or crossed.shape != self._crossed.shape:
            return set(range(equity.shape[1]))
        moved = differs(equity, self._equity).any(axis=0) | differs(ratio, self._ratio).any(axis=0)
        found = set(np.flatnonzero(moved).tolist())
        steps = np.array(self.steps)
        before, now = (np.searchsorted(steps, table) for table in (self._crossed, crossed))
        found |= set(of[(before != now).any(axis=0)].tolist())
        return found | {int(of[one]) for one in reasons.keys() ^ self._reasons.keys()}


def first_crossings(ground: Ground, way: Way) -> Floats:
    """Return, (n_accounts,), the shock on this way at which the first pool of an account is liquidated; ``NEVER``: none is."""
    found = np.full(len(ground.register.accounts), NEVER)
    pools = np.flatnonzero(way.crossed < NEVER)
    farthest_first = pools[np.argsort(-np.abs(way.crossed[pools]), kind="stable")]
    found[ground.owner[farthest_first]] = way.crossed[farthest_first]
    return found


def _by_summary(outcome: Outcome, ground: Ground, of: Ints, count: int) -> Floats:
    """Return the equity of the accounts that are covered, by summary in US dollars; NaN where none is."""
    covered = ground.covered
    found = sums(of[covered], outcome.equity[covered], count)
    found[np.bincount(of[covered], minlength=count) == 0] = np.nan
    rounded: Floats = np.round(found, _CENTS)
    return rounded


def _worst(outcome: Outcome, ground: Ground, of: Ints, count: int) -> Floats:
    known = ground.covered & ~np.isnan(outcome.ratio)
    found = np.full(count, -np.inf)
    np.maximum.at(found, of[known], outcome.ratio[known])
    found[np.isinf(found)] = np.nan
    rounded: Floats = np.round(found, _RATIO)
    return rounded
