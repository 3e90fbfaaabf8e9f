"""A gateway as a process of its own over a database of its own: killed, starved of disk, and started again at the same place.

Two kinds: one brings up its Postgres itself (``embedded``), one is given the address of a server (``dsn``).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Collection, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

import asyncpg

from gateway import config as configuration_of
from gateway.app import Gateway
from gateway.storage.embedded import EmbeddedPostgres
from tests.system.clusters import Cluster
from tests.system.desk import eventually
from tests.system.programs import Program, alive, all_gone, descendants, program, text, until
from tests.system.test_restart import configuration

StorageKind = Literal["embedded", "dsn"]
COMMAND = (sys.executable, "-m", "tests.system.roomy")
DISK_MB = 32  # of the spool, where this machine lets us give it a disk of its own
SMALL_BYTES = 128 << 10
RETURN_S = 60.0  # a gateway or a database that was killed is back
_UNLIMITED = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)


class Station:
    """One gateway with its storage.

    Attributes:
        url: Where it serves, the same through all its lives.
        running: None: it does not.
        lives: How often it was started.
    """

    def __init__(
        self, kind: StorageKind, folder: Path, described: Mapping[str, Any], accounts: Collection[str]
    ) -> None:
        self.kind, self.folder = kind, folder
        folder.mkdir(mode=0o700)
        self.data, self.spool = folder / "data", folder / "spool"
        self.cluster = Cluster(folder) if kind == "dsn" else None
        self.running: Program | None = None
        self.lives = 0
        self._described, self._accounts = dict(described), accounts
        self._port = _free_port()
        self._dsn: str | None = None
        self._life, self._mounts = AsyncExitStack(), contextlib.ExitStack()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def stream(self) -> str:
        """The address of its stream."""
        return f"ws://127.0.0.1:{self._port}/v1/stream"

    # --- Lives -----------------------------------------------------------------------------------------------------

    async def set_up(self) -> None:
        """Start what has to run before the gateway does."""
        if self.cluster is not None:
            self._dsn = await self.cluster.start()
        self.spool.mkdir(mode=0o700)
        self._mounts.enter_context(_disk(self.spool))
        path = configuration(self.folder / "config.yaml", self._described, self.data, reachable=True)
        config = json.loads(path.read_text())
        config["accounts"] = {name: config["accounts"][name] for name in self._accounts}
        config["server"] = {"port": self._port}
        config["storage"] |= {"flush_interval_s": 0.2, "spool_dir": str(self.spool)}
        config["history"] = {"backfill_days": 1}  # the world is younger
        if self._dsn is not None:
            config["storage"] |= {"dsn": self._dsn}
        path.write_text(json.dumps(config))

    async def tear_down(self) -> None:
        """End everything, in whatever state it is."""
        self.thaw()
        await self.kill()
        if self.cluster is not None:
            await self.cluster.stop()
        self._mounts.close()

    async def start(self, *, narrow: bool = False) -> None:
        """Start the gateway; it serves, and its feeds are coming up. ``narrow``: with hardly any memory for its journal."""
        assert self.running is None, "one at a time"
        command = (*COMMAND, "--narrow") if narrow else COMMAND
        self.running = await self._life.enter_async_context(
            program(self.folder, "serve", "--config", self.folder / "config.yaml", command=command)
        )
        self.lives += 1

    @asynccontextmanager
    async def within(self) -> AsyncIterator[Gateway]:
        """Run the same gateway within this process, where it can be looked into; it has stopped in good order afterwards."""
        settings = configuration_of.load(self.folder / "config.yaml")
        gateway = Gateway(settings, configuration_of.account_specs(settings))
        await gateway.start()
        try:
            yield gateway
        finally:
            await gateway.stop()

    async def live(self) -> None:
        """Wait until every feed is live."""
        await until(f"{self.url}/readyz", lambda answer: answer["feeds_live"], "every feed is live", RETURN_S)

    async def kill(self, *more: int) -> None:
        """Kill -9 the gateway, and at the same moment other processes; nothing of its family is left then."""
        if self.running is None:
            return
        family = descendants(self.running.pid)
        for pid in (self.running.pid, *more):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        await self._ended(family)

    async def stop(self) -> None:
        """Stop the gateway in order."""
        assert self.running is not None, "it runs"
        family = descendants(self.running.pid)
        await self.running.stop(timeout_s=30)
        assert self.running.process.returncode == 0, f"it ended with {self.running.process.returncode}: {self.errors()}"
        await self._ended(family)

    async def _ended(self, family: set[int]) -> None:
        assert self.running is not None, "it ran"
        await self.running.process.wait()
        self.running = None
        for pid in family:  # what was frozen ends too
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        await self._life.aclose()
        await all_gone(family, RETURN_S)

    def errors(self) -> str:
        """Return the end of what the gateway wrote to stderr."""
        return "" if self.running is None else self.running.errors[-2_000:]

    # --- Faults ----------------------------------------------------------------------------------------------------

    def postgres(self) -> list[int]:
        """Return the pids of the database's processes, the first of them first."""
        if self.cluster is not None:
            return [self.cluster.pid, *sorted(descendants(self.cluster.pid))]
        assert self.running is not None, "its Postgres runs with it"
        return sorted(pid for pid, name in alive(descendants(self.running.pid)).items() if name == "postgres")

    async def kill_postgres(self) -> None:
        """Kill -9 the database's first process; somebody starts it again at once."""
        first = self.postgres()[0]
        os.kill(first, signal.SIGKILL)
        await eventually(lambda: not alive([first]), "Postgres is gone", RETURN_S)

    @asynccontextmanager
    async def without_postgres(self) -> AsyncIterator[None]:
        """Have no database meanwhile: a server of its own is stopped, the embedded one does not answer."""
        if self.cluster is not None:
            await self.cluster.stop()
            yield
            assert await self.cluster.start() == self._dsn
            return
        for pid in self.postgres():
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            self.thaw()

    def thaw(self) -> None:
        """Let an embedded Postgres that was frozen go on."""
        if self.cluster is None and self.running is not None:
            for pid in self.postgres():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    @contextlib.contextmanager
    def full_disk(self) -> Iterator[str]:
        """Let the spool find no room meanwhile; yields how: its disk is full, or no file of the gateway may grow."""
        assert self.running is not None, "it runs"
        pid = self.running.pid
        if self.spool.is_mount():
            with _filled(self.spool / "ballast"):
                yield "ENOSPC"
            return
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (SMALL_BYTES, resource.RLIM_INFINITY))
        try:
            yield "EFBIG"
        finally:
            if self.running is not None and self.running.pid == pid:
                resource.prlimit(pid, resource.RLIMIT_FSIZE, _UNLIMITED)

    # --- Looks -----------------------------------------------------------------------------------------------------

    async def figures(self) -> dict[str, float]:
        """Return the gateway's own figures by name, without ``perpwire_``."""
        lines = (
            line.split() for line in (await text(f"{self.url}/metrics")).splitlines() if line.startswith("perpwire_")
        )
        return {line[0].removeprefix("perpwire_"): float(line[1]) for line in lines if len(line) == 2}

    @asynccontextmanager
    async def database(self) -> AsyncIterator[asyncpg.Connection[Any]]:
        """Connect to the database beside the gateway; where that is gone with its Postgres, that one is started for the while."""
        if self.cluster is None and self.running is None:
            server = EmbeddedPostgres(self.data)
            try:
                async with _connected(await server.start()) as connection:
                    yield connection
            finally:
                await server.stop()
            return
        async with _connected(self._dsn or self._embedded()) as connection:
            yield connection

    def _embedded(self) -> str:
        sockets = Path((self.data / "runtime").read_text().strip()) / "socket"
        return f"postgresql:///postgres?host={quote(str(sockets), safe='')}&user=perpwire"


@contextlib.contextmanager
def _disk(folder: Path) -> Iterator[None]:
    """Give a folder a small disk of its own, where this machine lets us; else it is like any other."""
    mount = ("mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m,mode=0700", "tmpfs", str(folder))
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        yield
        return
    try:
        yield
    finally:
        subprocess.run(("umount", str(folder)), capture_output=True, check=True)


@contextlib.contextmanager
def _filled(ballast: Path) -> Iterator[None]:
    """Fill a disk to its last byte."""
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
        while file.write(bytes(1 << 16)):
            pass
    try:
        yield
    finally:
        ballast.unlink()


@asynccontextmanager
async def _connected(dsn: str) -> AsyncIterator[asyncpg.Connection[Any]]:
    connection = await _accepted(dsn)
    try:
        yield connection
    finally:
        await connection.close(timeout=5)


async def _accepted(dsn: str) -> asyncpg.Connection[Any]:
    """Connect; a server that was killed and started again takes nobody until it has recovered."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + RETURN_S
    while True:
        try:
            return await asyncpg.connect(dsn, timeout=RETURN_S)
        except (OSError, asyncpg.CannotConnectNowError):
            if loop.time() > deadline:
                raise
        await asyncio.sleep(0.05)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@asynccontextmanager
async def station(
    kind: StorageKind, folder: Path, described: Mapping[str, Any], accounts: Collection[str]
) -> AsyncIterator[Station]:
    """Set up a station; its gateway is not started."""
    made = Station(kind, folder, described, accounts)
    try:
        await made.set_up()
        yield made
    finally:
        await made.tear_down()
