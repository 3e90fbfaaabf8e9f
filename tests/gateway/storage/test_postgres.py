"""Connections and the writer lock: one writer a database, told apart by name, never a password in a message."""

from __future__ import annotations

import asyncio
import os

import asyncpg
import pytest

from gateway.storage.errors import BadDsn, PostgresAway, PostgresRefused, WriterLockHeld
from gateway.storage.postgres import Database, Writer, place
from tests.gateway.storage.conftest import at_database, eventually


async def _terminate(sql: asyncpg.Connection, application_name: str) -> int:
    return await sql.fetchval(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = $1", application_name
    )


@pytest.mark.parametrize(
    ("dsn", "shown"),
    [
        ("postgresql://bob:hunter2@db.example:6432/risk?sslmode=require", "postgres db.example:6432/risk"),
        ("postgres://db/risk", "postgres db/risk"),
        ("postgresql:///risk?host=%2Ftmp%2Fx&password=hunter2", "postgres /tmp/x/risk"),
    ],
)
def test_place_shows_no_secret(dsn: str, shown: str) -> None:
    assert place(dsn) == shown


@pytest.mark.parametrize("dsn", ["", "risk", "mysql://bob:hunter2@db/risk", "postgresql://bob:hunter2@db:port/risk"])
def test_malformed_dsn_is_refused_without_repeating_it(dsn: str) -> None:
    with pytest.raises(BadDsn) as refused:
        Database(dsn)
    assert "hunter2" not in str(refused.value)
    assert "postgresql://user@host:5432/name" in str(refused.value)


async def test_server_away_is_said_with_its_place() -> None:
    with pytest.raises(PostgresAway, match="nowhere/risk"):
        await Database("postgresql:///risk?host=/tmp/nowhere&user=bob").connect()


async def test_unknown_database_is_the_operators_matter(cluster: str) -> None:
    with pytest.raises(PostgresRefused, match=r"absent.*config\.yaml"):
        await Database(at_database(cluster, "absent")).connect()


async def test_pool_is_made_when_needed_and_comes_back_after_a_cut(dsn: str, sql: asyncpg.Connection) -> None:
    database = Database(dsn)
    async with database.connection() as connection:
        assert await connection.fetchval("SELECT 1") == 1
        first = connection._con  # what the pool lent us
    assert await _terminate(sql, database.application_name) == 1
    await eventually(first.is_closed, "the cut is noticed")
    async with database.connection() as connection:
        assert await connection.fetchval("SELECT 2") == 2
    await database.close()
    await database.close()


async def test_wrong_statement_is_not_called_trouble_of_the_server(dsn: str) -> None:
    database = Database(dsn)
    with pytest.raises(asyncpg.UndefinedTableError):
        async with database.connection() as connection:
            await connection.execute("SELECT * FROM never_made")
    await database.close()


async def test_more_readers_than_connections_wait_for_their_turn(dsn: str) -> None:
    database = Database(dsn)

    async def read(number: int) -> int:
        async with database.connection() as connection:
            return await connection.fetchval("SELECT $1::int", number)

    assert await asyncio.gather(*(read(number) for number in range(12))) == list(range(12))
    assert database._pool is not None
    assert database._pool.get_size() <= 4
    await database.close()


async def test_second_writer_is_refused_and_told_who_it_is(dsn: str) -> None:
    first = Writer(Database(dsn))
    connection, new = await first.session()
    assert new
    assert await first.session() == (connection, False)
    with pytest.raises(WriterLockHeld) as refused:
        await Writer(Database(dsn)).session()
    assert refused.value.pid == connection.get_server_pid()
    assert f":{os.getpid()} " in refused.value.application_name
    assert "this machine" in str(refused.value)
    assert "Stop that one" in str(refused.value)
    await first.close()
    second = Writer(Database(dsn))
    assert (await second.session())[1]
    await second.close()


async def test_lost_lock_is_noticed_and_taken_again(dsn: str, sql: asyncpg.Connection) -> None:
    lost: list[int] = []
    database = Database(dsn)
    writer = Writer(database, on_lost=lambda: lost.append(1))
    await writer.session()
    await _terminate(sql, database.application_name)
    await eventually(lambda: lost, "the loss is told")
    assert not writer.held
    assert (await writer.session())[1]
    assert writer.held
    await writer.close()
    assert lost == [1], "our own close is no loss"


async def test_ghost_of_our_own_cut_connection_is_ended(dsn: str) -> None:
    """After a cut network the server may still believe in the old connection: its lock is ours, not another gateway's."""
    database = Database(dsn)
    ghost = await database.connect()
    await ghost.execute("SELECT pg_advisory_lock($1)", 0x7065727077697202)
    writer = Writer(database)
    connection, _ = await asyncio.wait_for(writer.session(), 10)
    assert connection.get_server_pid() != ghost.get_server_pid()
    await writer.close()
    ghost.terminate()


async def test_closed_writer_never_takes_the_lock_again(dsn: str) -> None:
    writer = Writer(Database(dsn))
    await writer.close()
    with pytest.raises(PostgresAway):
        await writer.session()
    other = Writer(Database(dsn))
    assert (await other.session())[1]
    await other.close()
