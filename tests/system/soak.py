"""A bad night: all venues, twelve accounts, random faults from a seed; at every quiet point the tables equal the truth.

``python -m tests.system.soak --seed 1 --seconds 1800``: prints each quiet point, ends with one line of JSON, and exits with 1
where a ghost, a missed close, a wrong row, a wrongly classified correction or growth without end was found.

A stretch of random faults is followed by a quiet point: every fault is lifted, the world stands still, and the gateway has a
bounded time to become what the truth is. While the world runs, each change that no fault hides is timed from the simulator's
event to the client's replica.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from exchanges.sim.changes import ModeChanged
from exchanges.sim.plan import PlannedFault, random_plan
from exchanges.sim.server import Simulator
from exchanges.sim.state import Impossible, UnknownName
from exchanges.sim.wanted import BadRequest
from gateway.config import LogSettings
from gateway.log import configure
from tests.system.desk import PATIENCE, Desk, desk, eventually, running_simulator

STRETCH_S = (10.0, 20.0)  # of faults, before a quiet point
CALM_S = 8.0  # without faults, before the world stands still: what is timed is timed here too
QUIET_LIMIT_S = 45.0
SYNC_LIMIT_MS = 5_000
# An injected outage may still be felt for this long after its end: back-off, watchdog, resubscription.
AFTER_FAULT_S = 12.0
LOOK_EVERY_S = 0.02
SLACK_MS = 3_000  # between the simulator's moment of a change and the gateway's
MODE_MS = 60_000  # a row may be told anew in the words of a mode whose switch nobody was told of

# What may truly have happened where a correction of a class was made. A switch of legs closes and opens by trades ("mode").
TRUE_CAUSES: Mapping[str, frozenset[str]] = {
    "missed_event": frozenset({"opened", "trade", "closed", "funding", "margin", "mode"}),
    "closed_on_venue": frozenset({"trade", "closed", "mode"}),
    "opened_on_venue": frozenset({"opened", "trade", "mode"}),
    "size": frozenset({"opened", "trade", "closed", "mode"}),
    "entry": frozenset({"trade", "opened", "settled"}),
    "margin": frozenset({"margin", "funding", "trade", "fee"}),
    "liquidated": frozenset({"liquidated"}),
    "adl": frozenset({"adl"}),
    "settled": frozenset({"settled", "expired"}),
    "adjusted": frozenset({"split"}),
    "mode_leftover": frozenset({"mode"}),
}  # "unknown": whatever leaves no trace


@dataclass
class Figures:
    """What a soak found."""

    seed: int
    faults: Counter[str] = field(default_factory=Counter)
    refused_faults: int = 0
    quiet_points: int = 0
    ghosts: list[str] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)
    wrong_rows: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    settled_s: list[float] = field(default_factory=list)
    sync_ms: list[int] = field(default_factory=list)
    late: list[str] = field(default_factory=list)
    matrix: Counter[tuple[str, str]] = field(default_factory=Counter)
    wrong_class: list[str] = field(default_factory=list)
    tasks: list[int] = field(default_factory=list)
    rss_mb: list[float] = field(default_factory=list)

    def summary(self) -> dict[str, Any]:
        """Return the figures for one line of JSON."""
        matrix: dict[str, dict[str, int]] = {}
        for (cls, cause), count in sorted(self.matrix.items()):
            matrix.setdefault(cls, {})[cause] = count
        return {
            "seed": self.seed,
            "faults": dict(sorted(self.faults.items())),
            "quiet_points": self.quiet_points,
            "ghosts": len(self.ghosts),
            "missed": len(self.missed),
            "wrong_rows": len(self.wrong_rows),
            "synced_changes": len(self.sync_ms),
            "median_sync_ms": sorted(self.sync_ms)[len(self.sync_ms) // 2] if self.sync_ms else None,
            "worst_sync_ms": max(self.sync_ms, default=None),
            "late": self.late[:10],
            "corrections": matrix,
            "wrong_class": len(self.wrong_class),
            "settled_s_worst": round(max(self.settled_s, default=0.0), 2),
            "tasks": [self.tasks[0], max(self.tasks)] if self.tasks else [],
            "rss_mb": [round(self.rss_mb[0], 1), round(self.rss_mb[-1], 1)] if self.rss_mb else [],
            "failures": self.problems()[:20],
            "ok": not self.problems(),
        }

    def problems(self) -> list[str]:
        """Return everything that must not be, in words."""
        found = [*self.failures]
        found += [f"ghost: {one}" for one in self.ghosts]
        found += [f"missed: {one}" for one in self.missed]
        found += [f"wrong row: {one}" for one in self.wrong_rows]
        found += [f"wrong class: {one}" for one in self.wrong_class]
        found += [f"late: {one}" for one in self.late]
        if max(self.sync_ms, default=0) > SYNC_LIMIT_MS:
            found.append(f"a change took {max(self.sync_ms)} ms to the client")
        if len(self.tasks) > 4 and max(self.tasks[len(self.tasks) // 2 :]) > 1.5 * max(self.tasks[:2]):
            found.append(f"tasks grow: {self.tasks[:3]} … {self.tasks[-3:]}")
        # The first quarter fills caches and bounded tables; after it memory must stay where it is.
        quarter = len(self.rss_mb) // 4
        if quarter >= 2 and self.rss_mb[-1] > 1.25 * self.rss_mb[quarter] + 20:
            found.append(
                f"memory grows: {self.rss_mb[quarter]:.0f} MB after a quarter, {self.rss_mb[-1]:.0f} MB at the end"
            )
        return found


Key = tuple[str, str, str, str]  # account, symbol, side, margin mode


class Timer:
    """Times each change of a position from the simulator's event to the client's replica.

    A change counts where no fault was in force between it and its arrival, and not while another change of the same position
    overtakes it: then the newer one is timed.
    """

    def __init__(self, running: Desk, figures: Figures) -> None:
        self._running, self._figures = running, figures
        newest = running.simulator.world.changes()[-1:]
        self._number: int = newest[0]["n"] if newest else 0
        self._waiting: dict[Key, tuple[int, str | None, str]] = {}  # (at, size after; None: gone, cause)
        self.faulty_until = 0.0  # loop time

    def skip(self) -> None:
        """Forget what happened while nobody looked."""
        for change in self._running.simulator.world.changes(self._number):
            self._number = change["n"]
        self._waiting.clear()

    def look(self) -> None:
        """Take new changes, and note those that have arrived."""
        loop, now_ms = asyncio.get_running_loop(), time.time_ns() // 1_000_000
        faulty = loop.time() < self.faulty_until
        changes = self._running.simulator.world.changes(self._number)
        for change in changes:
            self._number = change["n"]
            key = (change["account"], change["symbol"], change["side"], change["margin_mode"])
            after = change["after"]
            self._waiting[key] = (change["at"], None if after is None else after["size"], change["cause"])
        if faulty:
            self._waiting.clear()
            return
        shown = {
            (row["account"], row["symbol"], row["side"], row["margin_mode"]): row["size"]
            for row in self._running.positions.values()
        }
        for key, (at, size, cause) in list(self._waiting.items()):
            told = shown.get(key)
            if (told is None) == (size is None) and (size is None or Decimal(told or "0") == Decimal(size)):
                del self._waiting[key]
                self._figures.sync_ms.append(now_ms - at)
            elif now_ms - at > SYNC_LIMIT_MS:
                del self._waiting[key]
                self._figures.late.append(f"{' '.join(key)} ({cause}) not within {SYNC_LIMIT_MS} ms")


async def _stretch(running: Desk, plan: Iterator[PlannedFault], timer: Timer, figures: Figures, seconds: float) -> None:
    """Let the world run for a while, carrying out what is planned when its time comes."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    planned = next(plan, None)
    while (passed := loop.time() - began) < seconds:
        while planned is not None and planned.at_s <= passed:
            _carry_out(running, planned.wanted, figures)
            # Whatever it was, it may be felt until it has ended and a while after.
            timer.faulty_until = loop.time() + float(planned.wanted.get("seconds", 0)) + AFTER_FAULT_S
            planned = next(plan, None)
        timer.look()
        await asyncio.sleep(LOOK_EVERY_S)


def _carry_out(running: Desk, wanted: Mapping[str, Any], figures: Figures) -> None:
    try:
        running.simulator.control.fault(wanted)
    except (BadRequest, UnknownName, Impossible):  # what the world cannot do now: a plan knows no future
        figures.refused_faults += 1
    else:
        figures.faults[str(wanted["kind"])] += 1


async def _calm(running: Desk, timer: Timer) -> None:
    """Lift every fault and let the world run undisturbed for a while."""
    loop = asyncio.get_running_loop()
    running.simulator.control.fault({"kind": "lift"})
    timer.faulty_until = loop.time() + AFTER_FAULT_S
    until = loop.time() + AFTER_FAULT_S + CALM_S
    while loop.time() < until:
        timer.look()
        await asyncio.sleep(LOOK_EVERY_S)


async def _quiet(running: Desk, figures: Figures) -> str:
    """Stand still, and compare once the gateway has had its time."""
    loop, began = asyncio.get_running_loop(), asyncio.get_running_loop().time()
    running.simulator.control.pause()
    figures.quiet_points += 1
    told = f"quiet point {figures.quiet_points:>3}"
    try:
        await running.live(QUIET_LIMIT_S)
        await running.settled(QUIET_LIMIT_S)
        await eventually(lambda: not _pending(running), "corrections classified", QUIET_LIMIT_S)
    except AssertionError as error:
        _blame(running.differences(await running.snapshot()), figures, str(error))
        told += f": FAILED: {error}"
    else:
        figures.settled_s.append(loop.time() - began)
        told += f": equal after {figures.settled_s[-1]:.2f} s"
    figures.tasks.append(len(asyncio.all_tasks()))
    figures.rss_mb.append(_rss_mb())
    running.simulator.control.resume()
    return told


def _blame(left: list[str], figures: Figures, why: str) -> None:
    for difference in left:
        if difference.startswith("missing:"):
            figures.missed.append(difference)
        elif difference.startswith("not there:"):
            figures.ghosts.append(difference)
        else:
            figures.wrong_rows.append(difference)
    if not left:
        figures.failures.append(why)


def _pending(running: Desk) -> list[str]:
    return [row_id for row_id, row in corrections(running).items() if row.get("pending")]


def corrections(running: Desk) -> dict[str, dict[str, Any]]:
    """Return the rows of the corrections that the client was told of."""
    return running.client.tables["reconciliations"]


class Judge:
    """Compares each correction once with what truly happened in its time."""

    def __init__(self, running: Desk, figures: Figures) -> None:
        self._running, self._figures = running, figures
        self._judged: set[str] = set()
        self._changes: list[dict[str, Any]] = []
        self._number: int = 0

    def look(self) -> None:
        """Judge what was classified since."""
        changes = self._running.simulator.world.changes(self._number)
        self._number = changes[-1]["n"] if changes else self._number
        self._changes = [*self._changes, *changes][-50_000:]
        for row_id, row in corrections(self._running).items():
            if "class" in row and row["class"] != "allocation" and row_id not in self._judged:
                self._judged.add(row_id)
                self._judge(row_id, row)

    def _judge(self, row_id: str, row: Mapping[str, Any]) -> None:
        cls, back_ms = row["class"], MODE_MS if row["class"] == "mode_leftover" else SLACK_MS
        first, last = row["since"] - back_ms, row["found_at"] + SLACK_MS
        changes = [
            change
            for change in self._changes
            if (change["account"], change["symbol"]) == (row["account"], row["symbol"])
            and first <= change["at"] <= last
        ]
        causes = [change["cause"] for change in changes]
        if cls == "unknown":
            fitting = [change["cause"] for change in changes if not change["trace"]]
        else:
            fitting = [cause for cause in causes if cause in TRUE_CAUSES[cls]]
        if cls == "mode_leftover" and not fitting:
            opened = [change["at"] for change in changes if change["cause"] == "opened"]
            switches = [switch for switch in self._running.simulator.world.switches() if first <= switch.at <= last]
            fitting = ["switch" for switch in switches if reworded(row, switch, opened)]
        told = fitting[-1] if fitting else (causes[-1] if causes else "nothing")
        self._figures.matrix[cls, told] += 1
        if not fitting:
            what = f"{row_id} {row['symbol']} {cls} {row['before']} → {row['after']}, evidence {row.get('evidence')}"
            self._figures.wrong_class.append(f"{what}; truly {causes or 'nothing'}")


def reworded(row: Mapping[str, Any], switch: ModeChanged, opened: Iterable[int]) -> bool:
    """Say whether a correction tells anew, in the words of an account's new margin mode, what was opened after its switch.

    A venue whose pushes do not name the mode is read in the mode last heard of, until the switch is heard of.
    """
    told = row["before"].get("margin_mode"), row["after"].get("margin_mode")
    same = not {"size", "entry_price", "side"} & (row["before"].keys() | row["after"].keys())
    late = any(at >= switch.at for at in opened)
    return same and late and switch.account == row["account"] and None not in told and told == switch.margins


def _desk(simulator: Simulator, data: Path) -> AbstractAsyncContextManager[Desk]:
    return desk(simulator, data, policy=PATIENCE, tables=("positions", "accounts", "feeds", "reconciliations"))


def _rss_mb() -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return 0.0


async def soak(seed: int, seconds: float, data: Path) -> Figures:
    """Run a bad night of so many seconds and return what was found."""
    figures, chosen = Figures(seed), random.Random(f"{seed}:soak")
    loop = asyncio.get_running_loop()
    async with running_simulator(seed) as simulator, _desk(simulator, data) as running:
        await running.live(30)
        accounts = {account.name: account.venue for account in simulator.world.accounts.values()}
        timer, judge = Timer(running, figures), Judge(running, figures)
        ends, stretch = loop.time() + seconds, 0
        while stretch == 0 or loop.time() < ends:
            stretch += 1
            lasting = min(chosen.uniform(*STRETCH_S), max(5.0, ends - loop.time()))
            plan = random_plan(seed * 1000 + stretch, lasting, accounts, mean_pause_s=1.5)
            await _stretch(running, iter(plan), timer, figures, lasting)
            await _calm(running, timer)
            print(await _quiet(running, figures), flush=True)
            timer.skip()
            judge.look()
        figures.failures += [f"gap: {gap}" for gap in running.gaps()]
    return figures


def main() -> int:
    """Parse the command line, run, print, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.system.soak", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="of the world and of the faults")
    parser.add_argument("--seconds", type=float, default=60, help="how long the night is")
    options = parser.parse_args()
    configure(LogSettings(level="error"))
    print(f"Four venues, twelve accounts, random faults for {options.seconds:.0f} s (seed {options.seed}).")
    with tempfile.TemporaryDirectory(prefix="perpwire-soak-") as folder, contextlib.suppress(KeyboardInterrupt):
        figures = asyncio.run(soak(options.seed, options.seconds, Path(folder)))
    for problem in figures.problems():
        print(problem)
    print(json.dumps(figures.summary()))
    return 1 if figures.problems() else 0


if __name__ == "__main__":
    sys.exit(main())
