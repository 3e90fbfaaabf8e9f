"""One embedded cluster a session, with one migrated template; a database of its own for every module that wants one."""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from gateway.storage.embedded import EmbeddedPostgres
from gateway.storage.migrate import upgrade

_numbers = itertools.count(1)


async def eventually(condition: Callable[[], object], what: str, timeout_s: float = 15.0) -> None:
    """Return when ``condition`` holds; fail with ``what`` when it does not come true in time."""
    deadline = asyncio.get_running_loop().time() + timeout_s
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, f"not in {timeout_s} s: {what}"
        await asyncio.sleep(0.005)


def at_database(dsn: str, name: str) -> str:
    """Return the DSN of another database of the same server."""
    return urlunsplit(urlsplit(dsn)._replace(path=f"/{name}"))


@contextmanager
def _folder() -> Iterator[Path]:
    """Lend an empty folder, in memory where there is room: a cluster is a thousand files, made and deleted here often."""
    memory = Path("/dev/shm")
    roomy = memory.is_dir() and os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > 1 << 30
    folder = Path(tempfile.mkdtemp(prefix="perpwire-test-", dir=memory if roomy else None))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def folder() -> Iterator[Path]:
    """An empty folder that is closed to others, for one test."""
    with _folder() as path:
        yield path


@pytest.fixture(scope="session")
async def cluster() -> AsyncIterator[str]:
    """The DSN of a running server; its database ``pristine`` is migrated and never written."""
    with _folder() as path:
        server = EmbeddedPostgres(path)
        dsn = await server.start()
        await _execute(dsn, "CREATE DATABASE pristine")
        await upgrade(at_database(dsn, "pristine"))
        yield dsn
        await server.stop()


async def _execute(dsn: str, sql: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(sql)
    finally:
        await connection.close()


async def _database(cluster: str, template: str) -> AsyncIterator[str]:
    name = f"test_{next(_numbers)}"
    await _execute(cluster, f"CREATE DATABASE {name} TEMPLATE {template}")
    yield at_database(cluster, name)
    await _execute(cluster, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="module")
async def dsn(cluster: str) -> AsyncIterator[str]:
    """A migrated database for the module."""
    async for address in _database(cluster, "pristine"):
        yield address


@pytest.fixture
async def empty_dsn(cluster: str) -> AsyncIterator[str]:
    """A database without any table, for one test."""
    async for address in _database(cluster, "template1"):
        yield address


@pytest.fixture
async def sql(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection to the module's database, which starts without rows."""
    connection = await asyncpg.connect(dsn)
    await connection.execute("TRUNCATE accounts, contracts, current_positions, balances, checkpoint")
    yield connection
    await connection.close()
