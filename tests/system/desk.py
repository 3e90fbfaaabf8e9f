"""A whole desk in one process: simulated venues, a gateway over them, and a client that keeps a replica.

Owns starting and stopping these, and waiting for them: always for a condition, always bounded.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from exchanges.actions import Policy
from exchanges.backoff import Backoff
from exchanges.clock import Clock
from exchanges.inquiry import Inquirer
from exchanges.sim import server as simulation
from exchanges.sim.server import Simulator
from exchanges.venue import AccountSpec
from gateway.app import Gateway
from gateway.client import Client, Want
from gateway.config import Config, StorageSettings, alert_channels
from gateway.demo import configure
from gateway.replay import Recorder
from tests.system.truth import differences

Rows = dict[str, dict[str, Any]]
Change = Callable[[Config, list[AccountSpec]], tuple[Config, list[AccountSpec]]]

# Quick to come back, so that a test that cuts does not mostly wait; the shape of the back-off is tested on its own.
PATIENCE = Policy(backoff=Backoff(base_s=0.05, cap_s=0.2), stable_s=0)
SETTLE_S = (
    25.0  # Hyperliquid repeats a state every 4 to 5 s, and an option's figures are as old as the last look at it (10 s)
)
_LOOK_EVERY_S = 0.01


async def eventually(condition: Callable[[], object], what: str | Callable[[], str], timeout_s: float = 10.0) -> float:
    """Return how many seconds it took until ``condition`` held; fail with ``what`` where it does not in time."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    while not condition():
        waited = loop.time() - began
        assert waited < timeout_s, f"not in {timeout_s} s: {what if isinstance(what, str) else what()}"
        await asyncio.sleep(_LOOK_EVERY_S)
    return loop.time() - began


class Desk:
    """Simulator, gateway and client, running.

    Attributes:
        simulator: Its ``control`` carries out faults, its ``world`` is the truth.
        gateway: Its engine and supervisors may be looked at, not driven.
        client: Subscribed to positions, accounts and feeds.
    """

    def __init__(self, simulator: Simulator, gateway: Gateway, client: Client, http: aiohttp.ClientSession) -> None:
        self.simulator, self.gateway, self.client, self._http = simulator, gateway, client, http

    # --- Acts ------------------------------------------------------------------------------------------------------

    def fault(self, kind: str, **fields: object) -> list[Any]:
        """Carry out one fault of the simulator and return what it affected."""
        affected: list[Any] = self.simulator.control.fault({"kind": kind, **fields})["affected"]
        return affected

    # --- Looks -----------------------------------------------------------------------------------------------------

    @property
    def feeds(self) -> Rows:
        """The client's replica of the feeds table."""
        return self.client.tables["feeds"]

    @property
    def positions(self) -> Rows:
        """The client's replica of the positions table."""
        return self.client.tables["positions"]

    def reconnects(self) -> dict[str, int]:
        """Return each feed's count of reconnects, as the gateway says."""
        return {name: supervisor.status().reconnects for name, supervisor in self.gateway.feeds.supervisors.items()}

    def all_live(self) -> bool:
        """Say whether every connection to a venue is live."""
        return all(state == "live" for state in self.gateway.feeds.states().values())

    def quiet(self, venue: str | None = None) -> bool:
        """Say whether nobody (at this venue) has a REST question under way; of twelve accounts somebody often has."""
        feeds, accounts = self.gateway.feeds, self.gateway.engine.accounts

        def meant(name: str) -> bool:
            owner = name.partition(":")[0]
            return venue in (None, accounts[owner].info.venue if owner in accounts else owner)

        rounds = (one.inquiry for name, one in feeds.rounds.items() if meant(name))
        if any(isinstance(inquiry, Inquirer) and inquiry.busy for inquiry in rounds):
            return False
        return not any(one.feed._questions for name, one in feeds.supervisors.items() if meant(name))

    async def get(self, path: str) -> Any:
        """Return the JSON of a REST answer, whatever its status."""
        async with self._http.get(self.gateway.url + path) as answer:
            return await answer.json(content_type=None)

    async def text(self, path: str) -> str:
        """Return the body of a REST answer."""
        async with self._http.get(self.gateway.url + path) as answer:
            return await answer.text()

    async def snapshot(self) -> dict[str, Any]:
        """Return ``GET /v1/snapshot`` of positions and accounts."""
        found: dict[str, Any] = await self.get("/v1/snapshot?tables=positions,accounts")
        return found

    # --- Waits -----------------------------------------------------------------------------------------------------

    async def live(self, timeout_s: float = 15.0) -> float:
        """Wait until every feed is live; return how many seconds it took."""
        return await eventually(self.all_live, lambda: f"feeds live: {self._troubles()}", timeout_s)

    async def settled(self, timeout_s: float = SETTLE_S) -> dict[str, Any]:
        """With the world paused: wait until snapshot, replica and truth are one, and return the snapshot.

        Fails with what differs where that does not come about.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        while True:
            snapshot = await self.snapshot()
            left = self.differences(snapshot)
            if not left:
                return snapshot
            assert loop.time() < deadline, "still different:\n" + "\n".join(left[:20])
            await asyncio.sleep(_LOOK_EVERY_S)

    def differences(self, snapshot: Mapping[str, Any]) -> list[str]:
        """Return where the snapshot differs from the truth of the accounts that are read, and the replica from the snapshot."""
        truth, read = self.simulator.control.truth(), self.gateway.config.accounts
        mine = {part: [row for row in truth[part] if row["account"] in read] for part in ("positions", "balances")}
        found = differences({**truth, **mine}, snapshot)
        for table in ("positions", "accounts"):
            theirs, ours = snapshot[table], self.client.tables[table]
            found += [f"replica: {table} {id_}" for id_ in theirs.keys() ^ ours.keys()]
            found += [f"replica: {table} {id_}" for id_ in theirs.keys() & ours.keys() if theirs[id_] != ours[id_]]
        return found

    def gaps(self) -> list[str]:
        """Return what an uninterrupted client must not have met: gaps, refusals, a second connection or snapshot."""
        replica = self.client.replica
        found = [f"refused: {refusal}" for refusal in replica.refusals]
        found += [f"{view.want.table}: {view.gaps} gaps" for view in replica.views if view.gaps]
        found += [f"{view.want.table}: {view.snapshots} snapshots" for view in replica.views if view.snapshots != 1]
        return found + ([f"{self.client.connections} connections"] if self.client.connections != 1 else [])

    def _troubles(self) -> str:
        rows = self.gateway.feeds.supervisors.items()
        return "; ".join(f"{name} {s.feed.state}: {s.status().error}" for name, s in rows if s.feed.state != "live")


def stored_at(dsn: str) -> Change:
    """Return the change that puts the desk's storage at a DSN rather than embedded in its folder."""

    def change(config: Config, specs: list[AccountSpec]) -> tuple[Config, list[AccountSpec]]:
        storage = StorageSettings(dsn=dsn, data_dir=config.storage.data_dir, flush_interval_s=0.1)
        return msgspec.structs.replace(config, storage=storage), specs

    return change


@asynccontextmanager
async def running_simulator(seed: int) -> AsyncIterator[Simulator]:
    """Run a simulator."""
    simulator = await simulation.start(seed)
    try:
        yield simulator
    finally:
        await simulator.stop()


@asynccontextmanager
async def desk(
    simulator: Simulator,
    data: Path,
    *,
    changes: Sequence[Change] = (),
    policy: Policy = PATIENCE,
    clock: Clock | None = None,
    recorder: Recorder | None = None,
    tables: Sequence[str] = ("positions", "accounts", "feeds"),
) -> AsyncIterator[Desk]:
    """Run a gateway and a client over a simulator; returns when clients are served, which is before the feeds are live.

    Args:
        data: Folder of the embedded database, where no change names another.
        changes: Made to configuration and accounts, in this order.
        policy: How patient the feeds are.
        clock: The gateway's; None: the machine's.
    """
    config, specs = configure(simulator.describe(), 0, data)
    for change in changes:
        config, specs = change(config, specs)
    channels = alert_channels(config)
    gateway = Gateway(config, specs, clock=clock, recorder=recorder, policy=policy, channels=channels)
    await gateway.start()
    try:
        address = f"ws{gateway.url.removeprefix('http')}/v1/stream"
        async with (
            aiohttp.ClientSession() as http,
            Client(address, *(Want(table) for table in tables), proxy=None) as client,
        ):
            await client.wait_for(lambda client: client.replica.complete)
            yield Desk(simulator, gateway, client, http)
    finally:
        await gateway.stop()
