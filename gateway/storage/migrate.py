"""Brings a database's schema up to date: numbered SQL files, in order, each once.

Owns the table ``schema_migrations`` and the folder ``migrations``. A run is one transaction under an advisory lock: either
all that was missing is there afterwards or nothing changed, also with several gateways starting at once.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from importlib import resources
from typing import NamedTuple

import asyncpg

from gateway.storage.errors import MigrationError, ServerTooOld
from gateway.storage.postgres import Connection, Database, Writer

OLDEST_SERVER = 14  # SQL function bodies parsed at creation (RETURN …), which the schema uses
_LOCK = 0x7065727077697201  # "perpwir" and 1: the writer's lock is 2
_LOCK_WAIT_S = 60
_NAME = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql")


class Migration(NamedTuple):
    """One file: ``checksum`` is over its text with newlines as ``\\n``, so that a checkout's line ends do not matter."""

    version: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()


def shipped() -> tuple[Migration, ...]:
    """Return the migrations of this version of the code, in order.

    Raises:
        MigrationError: The numbers are not 1, 2, 3, …
    """
    found = []
    for file in resources.files("gateway.storage").joinpath("migrations").iterdir():
        if match := _NAME.fullmatch(file.name):
            found.append(Migration(int(match[1]), file.name, file.read_text(encoding="utf-8")))
    found.sort()
    if [migration.version for migration in found] != list(range(1, len(found) + 1)):
        names = ", ".join(migration.name for migration in found)
        raise MigrationError(
            "gateway/storage/migrations", f"numbers are missing or double ({names})", "Renumber the files"
        )
    return tuple(found)


async def migrate(connection: Connection, where: str, migrations: Sequence[Migration] | None = None) -> list[str]:
    """Apply what is missing and return the names of the files that were applied now.

    Args:
        connection: Outside of any transaction, of a role that may create tables.
        where: The database, for messages.
        migrations: Other files than the shipped ones.

    Raises:
        ServerTooOld: Below PostgreSQL 14.
        MigrationError: An applied file was edited, the database is newer than the code, or another run does not end.
    """
    files = shipped() if migrations is None else migrations
    server = connection.get_server_version()
    if server.major < OLDEST_SERVER:
        raise ServerTooOld(where, f"{server.major}.{server.minor}", OLDEST_SERVER)
    async with connection.transaction():
        await _lock(connection, where)
        applied = await _applied(connection)
        _compare(files, applied, where)
        missing = [file for file in files if file.version not in applied]
        for file in missing:
            await _apply(connection, file, where)
    return [file.name for file in missing]


async def upgrade(dsn: str) -> list[str]:
    """Migrate the database of a DSN as the command line does, with the writer lock held: never below a running gateway.

    Raises:
        StorageError: As ``migrate``, and WriterLockHeld, PostgresAway, PostgresRefused, BadDsn.
    """
    database = Database(dsn, name="perpwire-migrate")
    writer = Writer(database)
    try:
        connection, _ = await writer.session()
        with database.failures():
            return await migrate(connection, database.where)
    finally:
        await writer.close()


async def _lock(connection: Connection, where: str) -> None:
    """Wait for our turn; the lock is given back with the transaction's end."""
    await connection.execute(f"SET LOCAL lock_timeout = '{_LOCK_WAIT_S}s'")
    try:
        await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
    except asyncpg.LockNotAvailableError as error:
        raise MigrationError(
            where,
            f"another process has been migrating this database for {_LOCK_WAIT_S} s",
            "Wait for it, or look for a hanging session in pg_stat_activity",
        ) from error


async def _applied(connection: Connection) -> dict[int, tuple[str, str]]:
    await connection.execute(
        "CREATE TABLE IF NOT EXISTS schema_migrations (version int PRIMARY KEY, name text NOT NULL, "
        "checksum text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())"
    )
    rows = await connection.fetch("SELECT version, name, checksum FROM schema_migrations")
    return {row["version"]: (row["name"], row["checksum"]) for row in rows}


def _compare(files: Sequence[Migration], applied: dict[int, tuple[str, str]], where: str) -> None:
    newest = max((file.version for file in files), default=0)
    if ahead := [name for version, (name, _) in sorted(applied.items()) if version > newest]:
        raise MigrationError(
            where,
            f"the database is newer than this version of Perpwire: it knows {', '.join(ahead)}",
            "Start the newer version again, or use another database",
        )
    for file in files:
        if file.version in applied and applied[file.version][1] != file.checksum:
            raise MigrationError(
                where,
                f"migration {file.name} was applied with other contents (as {applied[file.version][0]})",
                "Restore the file as it was released, and put the change into a new file with the next number",
            )


async def _apply(connection: Connection, file: Migration, where: str) -> None:
    try:
        await connection.execute(file.sql)
    except asyncpg.PostgresError as error:
        raise MigrationError(
            where,
            f"migration {file.name} failed: {error}",
            "Nothing was changed. Give the role the right to create tables, or use an empty database",
        ) from error
    await connection.execute(
        "INSERT INTO schema_migrations (version, name, checksum) VALUES ($1, $2, $3)",
        file.version,
        file.name,
        file.checksum,
    )
