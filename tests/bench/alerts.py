"""What alerts cost once a second: CPU time of their part of a clock turn, every mark and so every figure moved before it.

    python -m tests.bench.alerts [--rounds 21]

10,000 cross positions in 1,000 accounts and 400 symbols under the built-in rules. ``ordinary``: nothing is wrong. ``unknown``:
nobody can say where any position is liquidated, and every one is an alert that fires. ``blind``: the same while no stream is live.
``near``: every position is near its liquidation, fires, and its value moves each time.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time
from collections.abc import Callable
from typing import Any

from exchanges.events import Event
from gateway.config import EngineSettings
from gateway.core.accounts import AccountInfo
from gateway.engine import Engine
from tests.gateway.events_of import balance, feed, instrument, mark, position

ACCOUNTS, PER_ACCOUNT, SYMBOLS = 1_000, 10, 400
CASES: dict[str, dict[str, Any]] = {
    "ordinary": {"liquidation_known": "none"},
    "unknown": {"liquidation_known": "unknown"},
    "near": {"liquidation_known": "price", "venue_liquidation_price": "93"},
    "blind": {"liquidation_known": "unknown"},
}
AIMS_MS = {"ordinary": 10.0, "unknown": 20.0, "blind": 20.0}


def make(case: str, generator: random.Random) -> tuple[Engine, list[str]]:
    """Return an engine of so many positions whose alerts are where they stay, and the symbols."""
    infos = [AccountInfo(name=f"a{n}", venue="okx", env="live", user=f"u{n % 10}") for n in range(ACCOUNTS)]
    engine = Engine("bench", infos, EngineSettings())
    symbols = [f"C{n}-USDT-SWAP" for n in range(SYMBOLS)]
    engine.turn([instrument(symbol, base=symbol.partition("-")[0]) for symbol in symbols], 1_000)
    events: list[Event] = [feed("live", account=None)]
    for info in infos:
        events += [balance("3000", account=info.name), feed("live", account=info.name)]
        for symbol in generator.sample(symbols, PER_ACCOUNT):
            size = str(generator.randint(1, 20))
            events.append(position(symbol, info.name, size=size, **CASES[case]))
    engine.turn(events, 2_000)
    for now in range(3_000, 16_000, 1_000):
        engine.clock(now)
    if case == "blind":
        engine.turn([feed("down", account=info.name) for info in infos], 16_000)
    engine.clock(16_500)
    return engine, symbols


def timed(work: Callable[[int], None], spent: list[float]) -> Callable[[int], None]:
    """Return work that notes its CPU milliseconds."""

    def run(now: int) -> None:
        start = time.process_time()
        work(now)
        spent.append(1e3 * (time.process_time() - start))

    return run


def measure(case: str, rounds: int) -> dict[str, float]:
    """Return median and worst CPU milliseconds of the alerts' part of a clock turn, and how many fire."""
    generator, spent = random.Random(1), []
    engine, symbols = make(case, generator)
    engine.alerts.clock = timed(engine.alerts.clock, spent)  # type: ignore[method-assign]
    for now in range(17_000, 17_000 + 1_000 * rounds, 1_000):
        engine.turn([mark(f"{generator.uniform(104.0, 106.0):.3f}", symbol, at=now) for symbol in symbols], now)
        engine.clock(now + 1)
    firing = engine.alerts.board.firing().total()
    return {"ms": round(statistics.median(spent), 1), "ms_max": round(max(spent), 1), "firing": firing}


def main() -> None:
    """Print all, and one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=21)
    options = parser.parse_args()
    figures: dict[str, object] = {"bench": "alerts", "positions": ACCOUNTS * PER_ACCOUNT, "accounts": ACCOUNTS}
    for case in CASES:
        found = measure(case, options.rounds)
        print(f"{case:>9}: {found['ms']:>6.1f} ms (worst {found['ms_max']:.1f}), {found['firing']} firing", flush=True)
        figures[case] = found | ({"met": found["ms"] <= AIMS_MS[case]} if case in AIMS_MS else {})
    print(json.dumps(figures | {"aims_ms": AIMS_MS}))


if __name__ == "__main__":
    main()
