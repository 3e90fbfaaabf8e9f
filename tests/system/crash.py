"""The crash matrix: gateway and Postgres killed, stopped and starved of disk under load; afterwards nothing is missing.

``python -m tests.system.crash --seed 1 --rounds 100 --outage-s 120``: prints each round and what it found, ends with one line of
JSON, and exits with 1 where a fill, an amount or a position's history is missing, there twice or other than the simulator's, where
a client saw ``seq`` go back or holds other rows than the gateway, or where the journal does not lead to what is stored.

A round: the world runs under load, at a random moment a fault strikes, the gateway is started again where that ended it, and the
world stands still until everything is told and stored. Where the gateway is dead its database is read before it is started again.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import msgspec

from exchanges.sim.server import Simulator
from gateway.app import Gateway
from gateway.client import Client
from gateway.config import LogSettings
from gateway.core.journal import Lost
from gateway.log import configure
from gateway.storage import entries, payloads
from tests.system import rewound, stored
from tests.system.burden import Burden
from tests.system.desk import eventually, running_simulator
from tests.system.expected import Books
from tests.system.programs import get, until
from tests.system.roomy import roomy
from tests.system.stations import Station, StorageKind, station
from tests.system.truth import differences
from tests.system.watching import TABLES, Watching, client, unequal

# One-way and hedged, on all venues.
ACCOUNTS = ("okx-main", "okx-hedge", "bybit-main", "bybit-hedge", "hl-main", "aster-main", "aster-hedge")
FAULTS = ("gateway", "postgres", "both", "outage", "full_disk", "lost")
KINDS: tuple[StorageKind, ...] = get_args(StorageKind)
BEFORE_S, AFTER_S = (0.3, 4.0), (0.0, 1.5)  # how long the world runs under load around a fault
SETTLE_S = 60.0
TOLD = 8  # of what one check found


@dataclass
class Figures:
    """What the matrix found; ``failures`` in words, by check."""

    faults: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    failed: Counter[str] = field(default_factory=Counter)
    settled_s: list[float] = field(default_factory=list)
    took_s: dict[str, float] = field(default_factory=dict)  # until a check found nothing more, the worst
    replayed_rows: list[int] = field(default_factory=list)
    gaps: int = 0  # replays that a gap made impossible, which they said
    clean_stops: int = 0
    lost_entries: int = 0
    books: dict[str, int] = field(default_factory=dict)

    def blame(self, round_: str, found: Sequence[str]) -> None:
        """Note and print what a check found in a round."""
        if found:
            self.failed[round_.partition(": ")[2]] += 1
            more = [f"{round_}: … and {len(found) - TOLD} more"] if len(found) > TOLD else []
            told = [f"{round_}: {one}" for one in found[:TOLD]] + more
            self.failures += told
            print(*told, sep="\n", flush=True)

    def summary(self) -> dict[str, Any]:
        """Return the figures for one line of JSON, times in seconds."""
        settled = {"median": round(statistics.median(self.settled_s), 2), "worst": round(max(self.settled_s), 2)}
        return {
            "rounds": sum(self.faults.values()),
            "faults": dict(sorted(self.faults.items())),
            **self.books,
            "replays": len(self.replayed_rows),
            "replayed_rows": sum(self.replayed_rows),
            "replays_refused_for_a_gap": self.gaps,
            "clean_stops": self.clean_stops,
            "lost_entries": self.lost_entries,
            "settled_s": settled if self.settled_s else {},
            "checks_s_worst": self.took_s,
            "failed_checks": dict(sorted(self.failed.items())),
            "ok": not self.failures,
        }


class Matrix:
    """One run over one simulator: stations, their clients, and what was found."""

    def __init__(self, simulator: Simulator, seed: int, outage_s: float) -> None:
        self.figures, self.books = Figures(), Books(ACCOUNTS)
        self._simulator, self._outage_s = simulator, outage_s
        self._burden = Burden(simulator, seed, ACCOUNTS, self.books)
        self._chosen = random.Random(f"{seed}:crash")
        self._watched: dict[StorageKind, list[tuple[Client, Watching]]] = {}
        self._told_back: set[str] = set()

    # --- Rounds ----------------------------------------------------------------------------------------------------

    def plan(self, rounds: int, chosen: Sequence[str], kinds: Sequence[StorageKind]) -> list[tuple[str, StorageKind]]:
        """Return the faults of so many rounds, each as often as the others, one storage after the other."""
        faults = [chosen[n % len(chosen)] for n in range(rounds)]
        self._chosen.shuffle(faults)
        order = self._chosen.sample(kinds, len(kinds))
        return [(fault, order[n * len(order) // rounds]) for n, fault in enumerate(faults)]

    async def rounds(self, where: Station, plan: Sequence[tuple[int, str]]) -> None:
        """Go through some rounds at one station, and stop its gateway in good order after the last."""
        async with self._clients(where):
            await where.start()
            await self._settled(where, f"{where.kind}, start")
            for number, fault in plan:
                name = f"round {number} {where.kind} {fault}"
                loop = asyncio.get_running_loop()
                began = loop.time()
                try:
                    how = await self._strike(where, fault, name)
                    struck = loop.time()
                    await self._settled(where, name)
                except (AssertionError, TimeoutError) as error:
                    self.figures.blame(f"{name}: not settled", [str(error) or type(error).__name__, where.errors()])
                    await where.kill()
                    await where.start()
                    print(f"{name}: FAILED: {str(error)[:300]}", flush=True)
                else:
                    self.figures.settled_s.append(loop.time() - struck)
                    print(
                        f"{name} ({how}): {struck - began:.1f} s, settled after {loop.time() - struck:.1f} s",
                        flush=True,
                    )
                self.figures.faults[fault] += 1
            await self._clean_stop(where)

    async def _strike(self, where: Station, fault: str, name: str) -> str:
        """Let the world run under load, and a fault strike at a random moment; return what was done. The gateway runs then."""
        strikes: dict[str, Callable[[Station, str], Awaitable[str]]] = {
            "gateway": self._gateway,
            "postgres": self._postgres,
            "both": self._both,
            "outage": self._outage,
            "full_disk": self._full_disk,
            "lost": self._lost,
        }
        async with self._burden.running():
            await self._pause(BEFORE_S)
            how = await strikes[fault](where, name)
            await self._pause(AFTER_S)
        return how

    async def _pause(self, between: tuple[float, float]) -> None:
        await asyncio.sleep(self._chosen.uniform(*between))  # the subject of the test: a fault strikes at any moment

    async def _gateway(self, where: Station, name: str) -> str:
        await where.kill()
        await self._pause(AFTER_S)
        await self._again(where, name)
        return "killed"

    async def _postgres(self, where: Station, name: str) -> str:
        await where.kill_postgres()
        await self._pause(AFTER_S)
        if self._chosen.random() < 0.5:
            return "killed alone"
        await where.kill()
        await self._again(where, name)
        return "killed, the gateway later"

    async def _both(self, where: Station, name: str) -> str:
        await where.kill(where.postgres()[0])
        await self._pause(AFTER_S)
        await self._again(where, name)
        return "killed in the same moment"

    async def _outage(self, where: Station, name: str) -> str:
        way = self._chosen.choice(["survived", "killed meanwhile", "killed and started meanwhile"])
        if where.kind == "embedded" and way != "survived":
            way = "killed meanwhile"  # its Postgres ends with it
        async with where.without_postgres():
            await until_figure(where, "checkpoint_ok", lambda value: value == 0, "its absence is noticed")
            await asyncio.sleep(self._outage_s)  # as long as the user of this tool says
            if way != "survived":
                await where.kill()
            if way == "killed and started meanwhile":
                await where.start()
                await self._pause(AFTER_S)
        if way == "killed meanwhile":
            await self._again(where, name)
        return way

    async def _full_disk(self, where: Station, name: str) -> str:
        way = self._chosen.choice(["room first", "database first", "killed meanwhile"])
        async with AsyncExitStack() as away:
            await away.enter_async_context(where.without_postgres())
            with where.full_disk() as how:
                await until_figure(where, "spool_ok", lambda value: value == 0, "there is no room left")
                await self._alert(where, "firing", ("warning", "critical"))
                await self._pause(BEFORE_S)
                if way == "killed meanwhile":
                    await where.kill()
                elif way == "database first":
                    await away.aclose()
                    await until_figure(where, "checkpoint_ok", lambda value: value == 1, "the database has everything")
        if way == "killed meanwhile":
            await self._again(where, name)
        else:
            await self._alert(where, "resolved", ("warning", "critical"))
        return f"{how}, {way}"

    async def _lost(self, where: Station, name: str) -> str:
        """Nowhere to write to, and memory for few entries: some are given up, in a life of its own."""
        await where.kill()
        await where.start(narrow=True)
        await where.live()
        way = self._chosen.choice(["room first", "database first"])
        async with AsyncExitStack() as away:
            await away.enter_async_context(where.without_postgres())
            with where.full_disk() as how:
                await until_figure(where, "journal_lost_total", lambda value: value > 0, "entries are given up")
                await self._alert(where, "firing", ("critical",))
                await self._pause(BEFORE_S)
                if way == "database first":
                    await away.aclose()
                    await until_figure(where, "checkpoint_ok", lambda value: value == 1, "the database has everything")
        # A warning for a while, where the database has everything before the disk has room.
        await self._alert(where, "resolved", ("warning", "critical"))
        await self._blame_lasting(f"{name}: lost", lambda: self._gaps(where))
        await self._waiting(where)
        await where.kill()
        await self._again(where, name)
        return f"{how}, {way}"

    async def _again(self, where: Station, name: str) -> None:
        """Read what the dead gateway left, hold it against the journal, and start it again."""
        await self._replayed(where, name)
        await where.start()

    # --- Checks ----------------------------------------------------------------------------------------------------

    async def _settled(self, where: Station, name: str) -> None:
        """With the world at a stand: wait until everything is told and stored, and note what is not."""
        self._simulator.control.pause()
        self.books.take(self._simulator.world)
        await self._blame_lasting(f"{name}: live", lambda: self._not_live(where))
        # The figures of an option are as old as the last look at its account, and the next one is too far away.
        await get(f"{where.url}/v1/positions?max_age_ms=0")
        for what, look in (
            ("truth", self._untrue),
            ("waiting", self._waiting),
            ("past", self._past),
            ("books", self._books),
        ):
            await self._blame_lasting(f"{name}: {what}", lambda look=look: look(where))  # type: ignore[misc]  # bound now
        for _, replica in self._watched[where.kind]:
            await self._blame_lasting(f"{name}: replica", lambda replica=replica: self._unequal(where, replica))  # type: ignore[misc]
            back = [one for one in replica.went_back if one not in self._told_back]
            self._told_back.update(back)
            self.figures.blame(f"{name}: seq", back)

    async def _blame_lasting(self, name: str, look: Callable[[], Awaitable[list[str]]]) -> None:
        began = asyncio.get_running_loop().time()
        self.figures.blame(name, await lasting(look))
        took_s, what = asyncio.get_running_loop().time() - began, name.rpartition(": ")[2]
        self.figures.took_s[what] = max(self.figures.took_s.get(what, 0.0), round(took_s, 2))

    async def _not_live(self, where: Station) -> list[str]:
        answer = await get(f"{where.url}/readyz")
        return (
            [] if answer["feeds_live"] else [f"{name} {row}" for name, row in answer["feeds"].items() if row != "live"]
        )

    @staticmethod
    async def _alert(where: Station, state: str, severities: Sequence[str]) -> None:
        """Wait until the alert that storage has is told like this by the API."""

        def told(answer: Any) -> bool:
            return [row for row in answer["alerts"].values() if row["severity"] in severities] != []

        await until(f"{where.url}/v1/alerts?rule=storage&state={state}", told, f"the alert is {state}", SETTLE_S)

    async def _gaps(self, where: Station) -> list[str]:
        """Return where what this life gave up is other than what its journal says, or no replay can begin behind it."""
        epoch, given_up = (await get(f"{where.url}/readyz"))["epoch"], (await where.figures())["journal_lost_total"]
        async with where.database() as connection:
            rows = await connection.fetch("SELECT id, body FROM journal WHERE kind = 'lost' AND epoch = $1", epoch)
            base = await entries.begins(connection, 1 << 62)
        gaps = [msgspec.json.decode(payloads.unpack(row["body"], row["id"]), type=Lost) for row in rows]
        said = sum(gap.entries + gap.samples for gap in gaps)
        found = [f"{given_up:.0f} were given up, {said} are said to be"] if said != given_up else []
        behind = max((gap.until for gap in gaps), default=0)
        return found + (
            [f"no whole base follows the gap that ends at {behind}"] if base is None or base < behind else []
        )

    async def _untrue(self, where: Station) -> list[str]:
        snapshot = await get(f"{where.url}/v1/snapshot?tables=positions,accounts")
        truth = self._simulator.control.truth()
        mine = {part: [row for row in truth[part] if row["account"] in ACCOUNTS] for part in ("positions", "balances")}
        return differences({**truth, **mine}, snapshot)

    async def _waiting(self, where: Station) -> list[str]:
        figures = await where.figures()
        self.figures.lost_entries = max(self.figures.lost_entries, int(figures.get("journal_lost_total", 0)))
        wanted = {"checkpoint_ok": 1.0, "checkpoint_waiting_rows": 0.0, "spool_batches": 0.0, "spool_ok": 1.0}
        never = ("checkpoint_refused_rows_total", "spool_set_aside_total", "history_underived_total")
        found = [
            f"{key} is {figures.get(key)}, not {value}" for key, value in wanted.items() if figures.get(key) != value
        ]
        found += [f"{key} is {figures[key]}" for key in never if figures[key]]
        firing = (await get(f"{where.url}/v1/alerts?rule=storage&state=firing"))["alerts"]
        return found + [f"the alert {name} fires: {row.get('note')}" for name, row in firing.items()]

    async def _past(self, where: Station) -> list[str]:
        """Return which accounts' past is being read still: what is late is folded at its end."""
        async with where.database() as connection:
            found = await stored.states(connection, "backfills")
        return [f"{id_}: {row}" for id_, row in found.items() if row["done"] < row["until"]]

    async def _books(self, where: Station) -> list[str]:
        async with where.database() as connection:
            return await stored.differences(connection, self.books)

    async def _unequal(self, where: Station, replica: Watching) -> list[str]:
        return unequal(replica, await get(f"{where.url}/v1/snapshot?tables={','.join(TABLES)}"))

    async def _replayed(self, where: Station, name: str) -> None:
        kept = await self._kept(where)
        if kept is not None and (until := rewound.gap(kept)) is not None:
            self.figures.gaps += 1
            print(f"{name}: the gap that ends at {until} has no whole base behind it yet", flush=True)
            self.figures.blame(f"{name}: gap", await asyncio.to_thread(rewound.unsaid, kept, until))
            return
        found = await asyncio.to_thread(rewound.differences, kept)
        self.figures.blame(f"{name}: replay", found)
        self.figures.replayed_rows.append(len(kept.rows) if kept is not None else 0)

    async def _clean_stop(self, where: Station) -> None:
        """Stop a gateway in good order, and one within this process: its tables are held against the replay whole.

        The latter has a base in the middle of its life, as behind a gap or at a new day.
        """
        last = await self._sampled(where)
        await where.stop()
        kept = await self._kept(where)
        self.figures.blame(f"{where.kind}: clean stop", await asyncio.to_thread(rewound.unlike_snapshot, kept, last))
        async with where.within() as gateway:
            await eventually(lambda: "live" in gateway.feeds.states().values(), "a feed is live", SETTLE_S)
            gateway.journal.renew(gateway.clock.now_ms())  # the replay begins in the middle of this life
            await self.all_live(gateway)
        kept = await self._kept(where)
        self.figures.blame(
            f"{where.kind}: clean stop, whole", await asyncio.to_thread(rewound.unlike_live, kept, gateway.engine)
        )
        self.figures.clean_stops += 2

    @staticmethod
    async def _sampled(where: Station) -> Any:
        """Return a snapshot of which every price is in the journal: a clock turn that changed nothing, or made it, has its number.

        The world stands still; prices that a venue is asked for now and then may come at any moment yet.
        """
        deadline = asyncio.get_running_loop().time() + SETTLE_S
        while True:
            last = await get(f"{where.url}/v1/snapshot?tables={','.join(TABLES)}")
            wanted = "SELECT max(seq) FROM journal WHERE epoch = $1 AND kind = 'clock'"
            while True:
                async with where.database() as connection:
                    seq = await connection.fetchval(wanted, last["epoch"]) or 0
                if seq == last["seq"]:
                    return last
                assert asyncio.get_running_loop().time() < deadline, f"no clock turn stands at {last['seq']}"
                if seq > last["seq"]:
                    break
                await asyncio.sleep(0.05)

    @staticmethod
    async def all_live(gateway: Gateway) -> None:
        """Wait until a gateway within this process reads everything."""
        await eventually(lambda: set(gateway.feeds.states().values()) == {"live"}, "every feed is live", SETTLE_S)

    @staticmethod
    async def _kept(where: Station) -> rewound.Kept | None:
        async with where.database() as connection:
            return await rewound.read(connection)

    @asynccontextmanager
    async def _clients(self, where: Station) -> AsyncIterator[None]:
        """Have clients that stay through all lives of a gateway: one that is told at once, one that is told now and then."""
        made = [client(where.stream), client(where.stream, min_interval_ms=250)]
        async with AsyncExitStack() as connected:
            for one, _ in made:
                await connected.enter_async_context(one)
            self._watched[where.kind] = made
            yield


async def until_figure(where: Station, name: str, condition: Callable[[float], bool], what: str) -> None:
    """Wait until one of the gateway's figures is as it is to be."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + SETTLE_S
    while not condition(value := (await where.figures())[name]):
        assert loop.time() < deadline, f"not in {SETTLE_S} s: {what} ({name} is {value})"
        await asyncio.sleep(0.02)


async def lasting(look: Callable[[], Awaitable[list[str]]]) -> list[str]:
    """Return what a look still finds once it had its time to come right; nothing as soon as it finds nothing."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + SETTLE_S
    while found := await look():
        if loop.time() > deadline:
            break
        await asyncio.sleep(0.2)
    return found


async def crash(
    seed: int,
    rounds: int,
    outage_s: float,
    folder: Path,
    faults: Sequence[str] = FAULTS,
    kinds: Sequence[StorageKind] = KINDS,
) -> Figures:
    """Go through the matrix, or a part of it, and return what was found."""
    async with AsyncExitStack() as stations:
        stations.enter_context(roomy())
        simulator = await stations.enter_async_context(running_simulator(seed))
        simulator.control.pause()
        matrix = Matrix(simulator, seed, outage_s)
        plan = matrix.plan(rounds, faults, kinds)
        described = simulator.describe()
        order = list(dict.fromkeys(kind for _, kind in plan))
        places = [await stations.enter_async_context(station(one, folder / one, described, ACCOUNTS)) for one in order]
        for where in places[1:]:  # what is held at the world's beginning nobody could know later
            async with where.within() as gateway:
                await matrix.all_live(gateway)
        for kind, where in zip(order, places, strict=True):
            await matrix.rounds(where, [(n, fault) for n, (fault, at) in enumerate(plan, 1) if at == kind])
        figures = matrix.figures
        figures.books = {"fills": len(matrix.books.fills), "cycles": len(matrix.books.cycles())}
        figures.books["payments"] = len(matrix.books.payments)
    return figures


def main() -> int:
    """Parse the command line, run, print, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.system.crash", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="of the world, its load and the moments")
    parser.add_argument("--rounds", type=int, default=100, help="how many faults strike")
    parser.add_argument("--outage-s", type=float, default=120, help="how long Postgres is stopped")
    parser.add_argument("--faults", nargs="+", choices=FAULTS, default=FAULTS, help="only these")
    parser.add_argument("--storage", nargs="+", choices=KINDS, default=KINDS, help="only with these")
    options = parser.parse_args()
    configure(LogSettings(level="error"))
    print(
        f"{options.rounds} rounds under load (seed {options.seed}); an outage lasts {options.outage_s:g} s.", flush=True
    )
    with tempfile.TemporaryDirectory(prefix="perpwire-crash-") as folder:
        wanted = options.seed, options.rounds, options.outage_s, Path(folder), options.faults, options.storage
        figures = asyncio.run(crash(*wanted))
    print(json.dumps({"seed": options.seed, **figures.summary()}))
    return 1 if figures.failures else 0


if __name__ == "__main__":
    sys.exit(main())
