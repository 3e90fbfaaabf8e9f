"""Simulators, gateways and programs for the system tests: started quickly, stopped for certain."""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest

from exchanges.sim.server import Simulator
from gateway.storage.embedded import EmbeddedPostgres
from gateway.storage.migrate import upgrade
from tests.system.desk import Desk, desk, running_simulator, stored_at

_numbers = itertools.count(1)
SEED = 7


@pytest.fixture(scope="session")
def memory() -> Iterator[Path]:
    """A folder in memory where there is room: clusters are a thousand files each."""
    shared = Path("/dev/shm")
    roomy = shared.is_dir() and os.access(shared, os.W_OK) and shutil.disk_usage(shared).free > 2 << 30
    folder = Path(tempfile.mkdtemp(prefix="perpwire-system-", dir=shared if roomy else None))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def folder(memory: Path) -> Path:
    """An empty folder for one test, closed to others."""
    made = memory / f"{next(_numbers)}"
    made.mkdir(mode=0o700)
    return made


@pytest.fixture(scope="session")
async def cluster(memory: Path) -> AsyncIterator[str]:
    """The DSN of a running server, shared by the session; its database ``pristine`` is migrated and never written."""
    server = EmbeddedPostgres(memory / "cluster")
    dsn = await server.start()
    await execute(dsn, "CREATE DATABASE pristine")
    await upgrade(at_database(dsn, "pristine"))
    yield dsn
    await server.stop()


@pytest.fixture
async def dsn(cluster: str) -> AsyncIterator[str]:
    """A migrated database for one test."""
    async with fresh_database(cluster) as made:
        yield made


@asynccontextmanager
async def fresh_database(cluster: str) -> AsyncIterator[str]:
    """Make a migrated database and drop it afterwards."""
    name = f"system_{next(_numbers)}"
    await execute(cluster, f"CREATE DATABASE {name} TEMPLATE pristine")
    yield at_database(cluster, name)
    await execute(cluster, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    """A simulator of its own for one test."""
    async with running_simulator(SEED) as running:
        yield running


@pytest.fixture
async def running(simulator: Simulator, dsn: str, folder: Path) -> AsyncIterator[Desk]:
    """A desk whose feeds are all live."""
    async with desk(simulator, folder, changes=(stored_at(dsn),)) as started:
        await started.live()
        yield started


def at_database(dsn: str, name: str) -> str:
    """Return the DSN of another database of the embedded server."""
    return dsn.replace("postgresql:///postgres?", f"postgresql:///{name}?")


async def execute(dsn: str, sql: str) -> None:
    """Run one statement."""
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(sql)
    finally:
        await connection.close()
