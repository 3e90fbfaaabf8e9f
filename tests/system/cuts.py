"""Cut the connections to the venues again and again; after each cut the tables must equal the truth, without a gap.

``python -m tests.system.cuts --seed 1 --count 20``: prints each round, ends with one line of JSON, and exits with 1 where a
round left the tables other than the truth, the replica other than the snapshot, or a client with a gap.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from exchanges.actions import Policy
from gateway.config import LogSettings
from gateway.log import configure
from tests.system.desk import Desk, desk, eventually, running_simulator

# The gateway's own back-off; each cut counts as the first, since each connection was live before it.
AS_SHIPPED = Policy(stable_s=0)
RUN_S = (0.05, 1.2)  # how long the world runs before a cut


@dataclass
class Figures:
    """What a run of cuts found; ``failures`` in words."""

    cuts: int = 0
    connections: int = 0
    recovered_s: list[float] = field(default_factory=list)
    settled_s: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    deltas: int = 0

    def summary(self) -> dict[str, Any]:
        """Return the figures for one line of JSON, times in seconds."""
        told: dict[str, Any] = {"cuts": self.cuts, "connections_cut": self.connections, "deltas": self.deltas}
        for name, times in (("recovered_s", self.recovered_s), ("settled_s", self.settled_s)):
            if times:
                told[name] = {"median": round(statistics.median(times), 3), "worst": round(max(times), 3)}
        return {**told, "failures": self.failures, "ok": not self.failures}


Way = dict[str, object]


def everything(chosen: random.Random) -> Way:
    """Return a way in which all connections break at once: closed, closed with a code, or cut off."""
    return chosen.choice([{}, {"code": chosen.choice([1000, 1001, 1011, 1012])}, {"abort": True}, {"abort": True}])


def some(chosen: random.Random) -> Way:
    """Return a way in which some connections break: one venue's, one account's, one kind."""
    part: Way = chosen.choice([
        {"venue": chosen.choice(["okx", "bybit", "hyperliquid"])},
        {"account": chosen.choice(["okx-main", "okx-hedge", "bybit-main", "bybit-isolated", "hl-main", "hl-dex"])},
        {"connection": chosen.choice(["public", "private"])},
    ])  # fmt: skip
    return {**part, "abort": chosen.random() < 0.5}


async def one_round(
    running: Desk, way: Way, chosen: random.Random, figures: Figures, run_s: tuple[float, float]
) -> str:
    """Let the world run, cut, stand still, recover, compare; returns one line about it."""
    control, loop = running.simulator.control, asyncio.get_running_loop()
    control.resume()
    await asyncio.sleep(chosen.uniform(*run_s))  # the subject of the test: the cut comes at any moment
    before = running.reconnects()
    hit = running.fault("drop", **way)
    began = loop.time()
    figures.connections += len(hit)
    figures.cuts += 1
    number, told = figures.cuts, ", ".join(f"{name} {value}" for name, value in way.items()) or "closed"
    if chosen.random() < 0.5:
        await asyncio.sleep(chosen.uniform(0, 0.5))  # the world goes on while nobody listens
    control.pause()
    try:
        await eventually(lambda: _lost(running, before) >= len(hit), "the cut connections are made again", 30)
        await running.live(60)
        figures.recovered_s.append(loop.time() - began)
        await running.settled()
        figures.settled_s.append(loop.time() - began)
    except AssertionError as error:
        figures.failures.append(f"cut {number} ({told}): {error}")
        return f"cut {number:>3}: FAILED, {told}: {error}"
    return f"cut {number:>3}: {len(hit):>2} connections ({told}), live after {figures.recovered_s[-1]:.3f} s, equal"


def _lost(running: Desk, before: dict[str, int]) -> int:
    return sum(now > before[name] for name, now in running.reconnects().items())


async def cuts(
    seed: int, count: int, data: Path, policy: Policy = AS_SHIPPED, run_s: tuple[float, float] = RUN_S
) -> Figures:
    """Cut every connection ``count`` times, and some of them a quarter as often in between; return what that found."""
    chosen, figures = random.Random(seed), Figures()
    async with running_simulator(seed) as simulator, desk(simulator, data, policy=policy) as running:
        await running.live()
        ways = [everything(chosen) for _ in range(count)] + [some(chosen) for _ in range(count // 4)]
        chosen.shuffle(ways)
        for way in ways:
            print(await one_round(running, way, chosen, figures, run_s), flush=True)
        figures.failures += [f"gap: {gap}" for gap in running.gaps()]
        figures.deltas = sum(view.deltas for view in running.client.replica.views)
        simulator.control.resume()
    return figures


def main() -> int:
    """Parse the command line, run, print, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.system.cuts", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="of the world and of the moments")
    parser.add_argument("--count", type=int, default=20, help="how often every connection is cut")
    options = parser.parse_args()
    configure(LogSettings(level="warning"))
    print(f"Every connection is cut {options.count} times at random moments, some in between (seed {options.seed}).")
    print("After each cut, with the world paused: the client's replica, GET /v1/snapshot and the truth are equal.")
    with tempfile.TemporaryDirectory(prefix="perpwire-cuts-") as folder:
        figures = asyncio.run(cuts(options.seed, options.count, Path(folder)))
    print(json.dumps({"seed": options.seed, **figures.summary()}))
    return 1 if figures.failures or figures.cuts == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
