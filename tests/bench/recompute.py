"""Rows recomputed per second by the columns, beside plain Decimal, in interleaved rounds.

    python -m tests.bench.recompute [--positions 1000,10000,100000] [--rounds 7]

Every symbol's mark moves before every call, so every figure of every row changes: unrealised PnL, notional, maintenance, pool
equity, liquidation price and distance. Accounts of ten cross positions, 400 symbols, two brackets each.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time
from collections.abc import Callable
from decimal import Decimal

import numpy as np

from gateway.core.margin.pool import Bracket, Maintenance
from gateway.core.positions import Book, Row

SYMBOLS = 400
PER_POOL = 10
AIM_ROWS_PER_S = 50e6
AIM_FROM = 10_000
BRACKETS = (Bracket(0.0, 0.0125, 0.0), Bracket(150e6, 0.025, 1_875_000.0))


def make(n: int) -> Book:
    """Return a book of ``n`` positions."""
    book, generator = Book(), random.Random(1)
    symbols = [book.symbols.add() for _ in range(SYMBOLS)]
    pools = [book.add_pool() for _ in range(-(-n // PER_POOL))]
    for pool in pools:
        book.cash[pool] = 1e5
    for index in range(n):
        quantity = generator.choice((-1, 1)) * generator.uniform(0.1, 10.0)
        model = Maintenance("bench", brackets=BRACKETS)
        symbol = generator.randrange(SYMBOLS)
        row = Row(quantity, 0.0, 100.0, True, 1.0, quantity > 0, float("nan"), model)
        base = book.bases.number(str(symbol))
        book.put(book.add(symbols[symbol], pools[index // PER_POOL], index, base), row)
    return book


def columns(n: int) -> Callable[[], float]:
    """Return a function that measures seconds per full recompute."""
    book, generator = make(n), np.random.default_rng(1)
    calls = max(3, 2_000_000 // n)

    def measure() -> float:
        spent = 0.0
        for _ in range(calls):
            moved = generator.uniform(90.0, 110.0, SYMBOLS)
            book.symbols.mark[:SYMBOLS] = book.symbols.x[:SYMBOLS] = moved
            start = time.perf_counter()
            book.recompute()
            spent += time.perf_counter() - start
        return spent / calls

    book.recompute()
    return measure


def decimals(n: int) -> Callable[[], float]:
    """Return a function that measures seconds per full recompute by plain Decimal, on at most 10,000 rows, scaled."""
    generator = random.Random(1)
    count = min(n, 10_000)
    rate, keep = Decimal("0.0125"), Decimal(1) - Decimal("0.0125")
    rows = [
        (
            Decimal(repr(round(generator.uniform(-10.0, 10.0), 4))) or Decimal(1),
            generator.randrange(SYMBOLS),
            index // PER_POOL,
        )
        for index in range(count)
    ]

    def measure() -> float:
        marks = [Decimal(repr(round(generator.uniform(90.0, 110.0), 4))) for _ in range(SYMBOLS)]
        start = time.perf_counter()
        equity = [Decimal(100_000)] * (count // PER_POOL + 1)
        need = [Decimal(0)] * len(equity)
        for quantity, symbol, pool in rows:
            value = quantity * marks[symbol]
            equity[pool] += value
            need[pool] += abs(value) * rate
        for quantity, symbol, pool in rows:
            mark = marks[symbol]
            free = equity[pool] - need[pool]
            upnl = quantity * (mark - 100)
            price = mark - free / abs(quantity) / keep if quantity > 0 else mark + free / abs(quantity) / (1 + rate)
            _ = upnl, 1 - price / mark
        return (time.perf_counter() - start) * n / count

    return measure


def main() -> None:
    """Print a table, and one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--positions", default="1000,10000,100000")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    sizes = [int(size) for size in options.positions.split(",")]
    print(f"{'positions':>10} {'columns µs':>12} {'spread':>16} {'M rows/s':>10} {'Decimal µs':>12} {'ratio':>8}")
    figures = {}
    for n in sizes:
        ours, plain = columns(n), decimals(n)
        fast, slow = [], []
        for _ in range(options.rounds):
            fast.append(ours())
            slow.append(plain())
        median, other = statistics.median(fast), statistics.median(slow)
        rate = n / median
        spread = f"{min(fast) * 1e6:.0f}–{max(fast) * 1e6:.0f}"
        print(
            f"{n:>10,} {median * 1e6:>12.1f} {spread:>16} {rate / 1e6:>10.1f} {other * 1e6:>12.0f} {other / median:>8.0f}"
        )
        figures[str(n)] = {
            "us": round(median * 1e6, 1),
            "us_min": round(min(fast) * 1e6, 1),
            "us_max": round(max(fast) * 1e6, 1),
            "rows_per_s": round(rate),
            "decimal_us": round(other * 1e6),
            "ratio": round(other / median, 1),
            "aim_rows_per_s": AIM_ROWS_PER_S if n >= AIM_FROM else None,
            "met": rate >= AIM_ROWS_PER_S if n >= AIM_FROM else None,
        }
    print(json.dumps({"bench": "recompute", "rounds": options.rounds, "positions": figures}))


if __name__ == "__main__":
    main()
