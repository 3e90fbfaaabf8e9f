"""Migrations: once, in order, all or nothing, with a clear word where code and database do not fit."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from unittest.mock import Mock

import asyncpg
import pytest

from gateway.storage import migrate as module
from gateway.storage.errors import MigrationError, ServerTooOld, WriterLockHeld
from gateway.storage.migrate import Migration, migrate, shipped, upgrade
from gateway.storage.postgres import Database, Writer

_FIRST = Migration(1, "0001_first.sql", "CREATE TABLE first (one int)")
_SECOND = Migration(2, "0002_second.sql", "CREATE TABLE second (two int)")


@pytest.fixture
async def connection(empty_dsn: str):
    connection = await asyncpg.connect(empty_dsn)
    yield connection
    await connection.close()


async def _tables(connection: asyncpg.Connection) -> set[str]:
    rows = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    return {row["tablename"] for row in rows}


async def test_shipped_files_make_the_tables_that_the_issue_names(connection: asyncpg.Connection) -> None:
    names = [file.name for file in shipped()]
    assert names[0] == "0001_checkpoint.sql"
    assert await migrate(connection, "here") == names
    assert await _tables(connection) >= {"accounts", "contracts", "current_positions", "checkpoint"}
    assert await migrate(connection, "here") == []


async def test_only_what_is_missing_is_applied(connection: asyncpg.Connection) -> None:
    assert await migrate(connection, "here", [_FIRST]) == ["0001_first.sql"]
    assert await migrate(connection, "here", [_FIRST, _SECOND]) == ["0002_second.sql"]


async def test_four_at_once_apply_each_file_once(empty_dsn: str) -> None:
    connections = [await asyncpg.connect(empty_dsn) for _ in range(4)]
    try:
        applied = await asyncio.gather(*(migrate(each, "here") for each in connections))
    finally:
        for each in connections:
            await each.close()
    assert sorted(map(len, applied)) == [0, 0, 0, len(shipped())]


async def test_edited_file_is_named(connection: asyncpg.Connection) -> None:
    await migrate(connection, "here", [_FIRST])
    with pytest.raises(MigrationError, match=r"here: migration 0001_first\.sql was applied with other contents"):
        await migrate(connection, "here", [_FIRST._replace(sql=_FIRST.sql + " -- edited"), _SECOND])
    assert "second" not in await _tables(connection)


async def test_newer_database_is_refused(connection: asyncpg.Connection) -> None:
    await migrate(connection, "here", [_FIRST, _SECOND])
    with pytest.raises(MigrationError, match=r"newer than this version .* 0002_second\.sql"):
        await migrate(connection, "here", [_FIRST])


async def test_failing_file_changes_nothing(connection: asyncpg.Connection) -> None:
    broken = _SECOND._replace(sql="CREATE TABLE half (one int); CREATE TABLE half (one int)")
    with pytest.raises(MigrationError, match=r"0002_second\.sql failed"):
        await migrate(connection, "here", [_FIRST, broken])
    assert await _tables(connection) == set()


async def test_old_server_is_refused_with_its_version() -> None:
    old = Mock(get_server_version=Mock(return_value=SimpleNamespace(major=13, minor=4)))
    with pytest.raises(ServerTooOld, match=r"the server is Postgres 13\.4, and Perpwire needs 14"):
        await migrate(old, "here")


async def test_hanging_run_of_another_process_is_not_waited_for_for_ever(
    connection: asyncpg.Connection, empty_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_LOCK_WAIT_S", 0.05)
    other = await asyncpg.connect(empty_dsn)
    try:
        await other.execute("SELECT pg_advisory_lock($1)", module._LOCK)
        with pytest.raises(MigrationError, match="another process has been migrating"):
            await migrate(connection, "here", [_FIRST])
    finally:
        await other.close()


async def test_upgrade_of_a_dsn_does_not_go_below_a_running_gateway(empty_dsn: str) -> None:
    writer = Writer(Database(empty_dsn))
    await writer.session()
    with pytest.raises(WriterLockHeld):
        await upgrade(empty_dsn)
    await writer.close()
    assert await upgrade(empty_dsn) == [file.name for file in shipped()]


def test_line_ends_of_a_checkout_do_not_change_a_checksum() -> None:
    assert all("\r" not in file.sql for file in shipped())


def test_numbers_must_be_whole(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    (tmp_path / "migrations").mkdir()
    for name in ("0001_a.sql", "0003_b.sql", "notes.txt"):
        (tmp_path / "migrations" / name).write_text("SELECT 1")
    monkeypatch.setattr(module.resources, "files", lambda _package: tmp_path)
    with pytest.raises(MigrationError, match=r"0001_a\.sql, 0003_b\.sql"):
        shipped()
