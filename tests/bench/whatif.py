"""What-if answers: how long the largest safe size takes, and for how long the event loop stands still meanwhile.

    python -m tests.bench.whatif [--rounds 5]

One account with 300 cross positions in one pool, and with 2,000. ``read_ms`` is spent on the loop, ``whole_ms`` until the answer is
there, ``gap_ms`` the longest that a task on the loop waited which does nothing but give way.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import time

from exchanges.events import Event, MarginTier, MarginTiers
from gateway.core.scenario import parse
from gateway.engine import Engine
from gateway.whatif import prepare
from tests.gateway.events_of import OKX, balance, engine, instrument, position

AIM_MS = 50.0


def make(positions: int) -> Engine:
    """Return an engine with one account of so many positions."""
    one = engine(OKX)
    events: list[Event] = [balance(str(300 * positions))]
    for number in range(positions):
        symbol, key = f"C{number}-USDT-SWAP", f"C{number}"
        tiers = (MarginTier(lower="0", rate="0.01"), MarginTier(lower="5000", rate="0.02"))
        events.append(instrument(symbol, base=key, tiers_key=key))
        events.append(MarginTiers(venue="okx", env="live", key=key, unit="contracts", tiers=tiers))
        events.append(position(symbol, size="10"))
    one.turn(events, 1_000)
    one.clock(2_000)
    return one


async def measure(positions: int, rounds: int) -> dict[str, float]:
    """Return milliseconds: medians, and the longest wait of all rounds."""
    one = make(positions)
    asked = b'{"question": {"max_size": {"account": "okx-main", "symbol": "C0-USDT-SWAP", "side": "long", "distance": 0.2}}}'
    scenario, read, whole, gap = parse(asked), list[float](), list[float](), 0.0
    for _ in range(rounds):
        start = time.perf_counter()
        finish = prepare(one, scenario, {"okx-main"}, 9_000)
        read.append(time.perf_counter() - start)
        answer = asyncio.create_task(asyncio.to_thread(finish))
        last = time.perf_counter()
        while not answer.done():
            await asyncio.sleep(0.001)
            now = time.perf_counter()
            gap, last = max(gap, now - last), now
        assert (await answer)["max_size"]
        whole.append(time.perf_counter() - start)
    spent = {"read_ms": statistics.median(read), "whole_ms": statistics.median(whole), "gap_ms": gap}
    return {name: round(1e3 * value, 1) for name, value in spent.items()}


def main() -> None:
    """Print both, and one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    figures: dict[str, object] = {"bench": "whatif", "aim_ms": AIM_MS}
    for positions in (300, 2_000):
        found = asyncio.run(measure(positions, rounds))
        print(
            f"{positions:5} positions: {found['read_ms']} ms on the loop, {found['whole_ms']} ms whole, gap {found['gap_ms']} ms"
        )
        figures[f"positions_{positions}"] = found | {"met": found["read_ms"] <= AIM_MS and found["gap_ms"] <= AIM_MS}
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
