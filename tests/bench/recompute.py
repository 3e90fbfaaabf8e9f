"""Rows recomputed by the columns, beside plain Decimal, in interleaved rounds; one tick; and growth up to a million positions.

    python -m tests.bench.recompute [--positions 1000,10000,100000,1000000] [--rounds 7] [--ticks 3000]

Pools of ten cross positions, 400 symbols of 400 underlyings, two tiers each. Every symbol's mark moves before every full
recompute, so every figure of every row changes: unrealised PnL, notional, maintenance, pool equity, liquidation price, trigger and
distance. The Decimal loop computes the same figures of the same rows; both have to agree before anything is measured.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import statistics
import time
from collections import defaultdict
from decimal import Decimal
from typing import NamedTuple

import numpy as np

from gateway.core.margin.pool import Bracket, Maintenance
from gateway.core.positions import Book, Row

SYMBOLS = 400
PER_POOL = 10
AIM_ROWS_PER_S = 50e6
AIM_FULL_US, AIM_TICK_P99_US, AIM_RATIO = 300.0, 1_000.0, 100.0
AIM_AT = 10_000  # positions
DECIMAL_AT_MOST = 10_000  # rows; larger books are scaled from that
BRACKETS = (Bracket(0.0, 0.0125, 0.0), Bracket(20_000.0, 0.025, 250.0))


class Tier(NamedTuple):
    """A bracket in Decimal."""

    lower: Decimal
    rate: Decimal
    deduction: Decimal


TIERS = tuple(Tier(*(Decimal(repr(figure)) for figure in bracket)) for bracket in BRACKETS)


class Position(NamedTuple):
    """One position: the numbers of its symbol and pool, its signed size and its entry price."""

    symbol: int
    pool: int
    size: str
    entry: str


def positions_of(n: int, *, hedged: bool = False) -> list[Position]:
    """Return ``n`` positions of 10 to 1,000 dollars, and one in a hundred of 100 times as much: near the edge of its tier.

    Args:
        hedged: In one pool of a hundred the last position is the other leg of the first: there may be two prices that spend it.
    """
    generator = random.Random(1)
    found: list[Position] = []
    for pool in range(-(-n // PER_POOL)):
        for symbol in generator.sample(range(SYMBOLS), min(PER_POOL, n - len(found))):
            size = generator.choice((-1, 1)) * generator.uniform(0.1, 10.0) * (100 if generator.random() < 0.01 else 1)
            found.append(Position(symbol, pool, f"{size:.4f}", f"{generator.uniform(95, 105):.2f}"))
        if hedged and pool % 100 == 0:
            first = found[pool * PER_POOL]
            found[-1] = first._replace(size=f"{-0.99 * float(first.size):.4f}")
    return found


def cash_of(pool: int) -> str:
    """Return what a pool holds, dollars: 500 to 3,500."""
    return str(500 + pool * 7919 % 3_000)


def make(n: int, *, hedged: bool = False) -> Book:
    """Return a book of ``n`` positions."""
    book, model = Book(), Maintenance("bench", brackets=BRACKETS)
    symbols = [(book.symbols.add(), book.bases.number(str(number))) for number in range(SYMBOLS)]
    for _ in range(-(-n // PER_POOL)):
        pool = book.add_pool()
        book.cash[pool] = float(cash_of(pool))
    for slot, (number, pool, size, entry) in enumerate(positions_of(n, hedged=hedged)):
        symbol, base = symbols[number]
        row = Row(float(size), 0.0, float(entry), False, 1.0, float(size) > 0, math.nan, model)
        book.put(book.add(symbol, pool, slot, base), row)
    return book


class Columns:
    """The book, to be recomputed with marks of its own; it measures seconds."""

    def __init__(self, n: int, *, hedged: bool = False) -> None:
        self.book, self._n, self._generator = make(n, hedged=hedged), n, np.random.default_rng(1)
        self._marks = self._generator.uniform(95.0, 105.0, SYMBOLS)
        self.move()
        self.book.recompute()

    def move(self) -> list[str]:
        """Move every mark by up to 0.1 %; return them."""
        self._marks = np.clip(self._marks * self._generator.uniform(0.999, 1.001, SYMBOLS), 90.0, 110.0)
        marks = [f"{mark:.4f}" for mark in self._marks]
        self.book.symbols.mark[:SYMBOLS] = self.book.symbols.x[:SYMBOLS] = [float(mark) for mark in marks]
        return marks

    def full(self) -> float:
        """Return the median of full recomputes."""
        spent = []
        for _ in range(max(3, min(200, 2_000_000 // self._n))):
            self.move()
            start = time.perf_counter()
            self.book.recompute()
            spent.append(time.perf_counter() - start)
        return statistics.median(spent)

    def ticks(self, count: int) -> tuple[list[float], list[float]]:
        """Return how long ``count`` ticks of one symbol took, from new mark to recomputed columns: by the clock, and of the CPU.

        Both sorted. Where they differ much, somebody else had the CPU.
        """
        spent, used = [], []
        for _ in range(count):
            symbol = int(self._generator.integers(SYMBOLS))
            mark = float(self._marks[symbol] * self._generator.uniform(0.999, 1.001))
            start, busy = time.perf_counter(), time.thread_time()
            self.book.symbols.set(symbol, mark)
            self.book.recompute()
            used.append(time.thread_time() - busy)
            spent.append(time.perf_counter() - start)
        return sorted(spent), sorted(used)


class Leg(NamedTuple):
    """One position in Decimal, at the present mark."""

    size: Decimal
    gross: Decimal
    mark: Decimal
    kept: Decimal
    tier: Tier


class Figures(NamedTuple):
    """What the Decimal loop finds of one position; no price: None."""

    upnl: Decimal
    kept: Decimal
    liquidation: Decimal | None
    trigger: Decimal | None
    distance: Decimal | None


class Plain:
    """The same in Decimal, one position after the other."""

    def __init__(self, n: int) -> None:
        self._scale = n / min(n, DECIMAL_AT_MOST)
        self._rows = [
            (one.symbol, one.pool, Decimal(one.size), abs(Decimal(one.size)), Decimal(one.entry))
            for one in positions_of(min(n, DECIMAL_AT_MOST))
        ]
        self._cash = [Decimal(cash_of(pool)) for pool in range(self._rows[-1][1] + 1)]

    def full(self, marks: list[str]) -> float:
        """Return the seconds of one recompute of all rows."""
        prices = [Decimal(mark) for mark in marks]
        start = time.perf_counter()
        self.recompute(prices)
        return (time.perf_counter() - start) * self._scale

    def recompute(self, marks: list[Decimal]) -> list[Figures]:
        """Return the figures of every row."""
        free = list(self._cash)
        groups: dict[tuple[int, int], list[Leg]] = defaultdict(list)
        now = []
        for symbol, pool, size, gross, entry in self._rows:
            mark = marks[symbol]
            tier = _tier(gross * mark)
            kept = gross * mark * tier.rate - tier.deduction
            upnl = size * (mark - entry)
            free[pool] += upnl - kept
            leg = Leg(size, gross, mark, kept, tier)
            groups[pool, symbol].append(leg)
            now.append((upnl, leg))
        shared = {
            key: _root(legs, free[key[0]]) if len(legs) > 1 else _own_root(legs[0], free[key[0]])
            for key, legs in groups.items()
        }
        found = []
        for (symbol, pool, *_), (upnl, leg) in zip(self._rows, now, strict=True):
            trigger = shared[pool, symbol]
            own = trigger if len(groups[pool, symbol]) == 1 else _own_root(leg, free[pool])
            away = abs(leg.mark - trigger) / leg.mark if trigger is not None else Decimal(1)
            distance = away.copy_sign(free[pool]) if trigger is not None or free[pool] < 0 else None
            found.append(Figures(upnl, leg.kept, own, trigger, distance))
        return found


def _tier(notional: Decimal) -> Tier:
    return TIERS[0] if notional < TIERS[1].lower else TIERS[1]


def _own_root(leg: Leg, free: Decimal) -> Decimal | None:
    """Return the price of one position at which its pool is spent, in the tier that it falls in."""
    size, gross, mark, kept, tier = leg
    start = size * mark - free - kept
    while True:
        price = (start - tier.deduction) / (size - gross * tier.rate)
        if price <= 0:
            return None
        there = _tier(gross * price)
        if there is tier:
            return price
        tier = there


def _root(legs: list[Leg], free: Decimal) -> Decimal | None:
    """Return the price of one symbol at which its pool is spent, in the tiers that its legs are in there."""
    tiers = [leg.tier for leg in legs]
    while True:
        level, slope = free, Decimal(0)
        for leg, tier in zip(legs, tiers, strict=True):
            level += leg.kept - leg.size * leg.mark + tier.deduction
            slope += leg.size - leg.gross * tier.rate
        price = -level / slope if slope else Decimal(-1)
        there = [_tier(leg.gross * price) for leg in legs]
        if price <= 0 or there == tiers:
            return price if price > 0 else None
        tiers = there


def agree(columns: Columns, plain: Plain) -> int:
    """Hold the figures of both against each other, row by row, at the same marks; return how many rows that were."""
    found = plain.recompute([Decimal(mark) for mark in columns.move()])
    columns.book.recompute()
    for handle, one in enumerate(found):
        ours = columns.book.figures(handle)
        theirs = {
            "upnl": one.upnl,
            "mm": one.kept,
            "liq": one.liquidation,
            "trigger": one.trigger,
            "distance": one.distance,
        }
        for name, value in theirs.items():
            same = name not in ours if value is None else math.isclose(ours[name], value, rel_tol=1e-9, abs_tol=1e-9)
            if not same:
                raise AssertionError(f"row {handle}: {name} is {ours.get(name)}, by Decimal {value}")
    return len(found)


def growth(medians: dict[int, float]) -> None:
    """Plot time per recompute against positions, both logarithmic: a straight line at 45 degrees is linear growth."""
    print("\nGrowth (µs per full recompute, each # a factor of 1.5)")
    for n, seconds in medians.items():
        bar = "#" * max(1, round(math.log(seconds * 1e6 / 10.0, 1.5)))
        print(f"{n:>10,} {bar} {seconds * 1e6:,.0f} ({seconds * 1e9 / n:.1f} ns a row)")


def measure(n: int, rounds: int, ticks: int) -> tuple[dict[str, object], float]:
    """Measure one size; print its line; return its figures, and the median seconds of a full recompute."""
    columns, plain = Columns(n), Plain(n)
    agree(columns, plain)
    fast, slow = [], []
    for _ in range(rounds):
        fast.append(columns.full())
        slow.append(plain.full(columns.move()))
    spent, used = columns.ticks(max(200, min(ticks, ticks * AIM_AT // n)))
    median, other = statistics.median(fast), statistics.median(slow)
    p50, p99, busy = spent[len(spent) // 2], spent[len(spent) * 99 // 100], used[len(used) * 99 // 100]
    spread = f"{min(fast) * 1e6:.0f}–{max(fast) * 1e6:.0f}"
    print(
        f"{n:>10,} {median * 1e6:>10.0f} {spread:>15} {n / median / 1e6:>8.1f} {p50 * 1e6:>9.0f} {p99 * 1e6:>9.0f} "
        f"{busy * 1e6:>9.0f} {other * 1e6:>12,.0f} {other / median:>6.0f}",
        flush=True,
    )
    figures: dict[str, object] = {
        "us": round(median * 1e6, 1),
        "us_min": round(min(fast) * 1e6, 1),
        "us_max": round(max(fast) * 1e6, 1),
        "rows_per_s": round(n / median),
        "tick_p50_us": round(p50 * 1e6, 1),
        "tick_p99_us": round(p99 * 1e6, 1),
        "tick_p99_cpu_us": round(busy * 1e6, 1),
        "decimal_us": round(other * 1e6),
        "ratio": round(other / median, 1),
    }
    if n == AIM_AT:
        hedges = Columns(n, hedged=True)
        figures["hedged_us"] = round(statistics.median(hedges.full() for _ in range(rounds)) * 1e6, 1)
        print(f"{'':>10} {figures['hedged_us']:>10.0f} with both legs of one symbol in one pool of a hundred")
        figures["aims"] = {
            "full_us": [AIM_FULL_US, median * 1e6 < AIM_FULL_US],
            "tick_p99_us": [AIM_TICK_P99_US, p99 * 1e6 < AIM_TICK_P99_US],
            "ratio": [AIM_RATIO, other / median >= AIM_RATIO],
            "rows_per_s": [AIM_ROWS_PER_S, n / median >= AIM_ROWS_PER_S],
        }
    return figures, median


def main() -> None:
    """Print a table, a plot, and one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--positions", default="1000,10000,100000,1000000")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--ticks", type=int, default=3_000, help="ticks of one symbol, fewer in larger books")
    options = parser.parse_args()
    print(
        f"{'positions':>10} {'full µs':>10} {'spread':>15} {'M rows/s':>8} {'tick p50':>9} {'tick p99':>9} {'p99 CPU':>9} "
        f"{'Decimal µs':>12} {'ratio':>6}"
    )
    figures, medians = {}, {}
    for n in map(int, options.positions.split(",")):
        figures[str(n)], medians[n] = measure(n, options.rounds, options.ticks)
    growth(medians)
    print(json.dumps({"bench": "recompute", "rounds": options.rounds, "positions": figures}))


if __name__ == "__main__":
    main()
