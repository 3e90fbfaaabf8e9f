"""The day partitions of ``journal`` and ``mark_samples``, made by the writer before a batch that needs them.

A partition is the range of places of one UTC day, named by it: ``journal_20261121``. It is made as a table of its own and then
attached, which waits for no reader; a ``CREATE … PARTITION OF`` would wait for every export that is under way, and all readers
behind it.
"""

from __future__ import annotations

import datetime
import re

from gateway.core.journal import DAY_MS, day, place
from gateway.storage.batch import Batch
from gateway.storage.postgres import Connection

PARTITIONED = ("journal", "mark_samples")
_NAME = re.compile(r"(?:journal|mark_samples)_(\d{8})")


def partition(table: str, day_ms: int) -> str:
    """Return the name of a day's partition."""
    return f"{table}_{_date(day_ms):%Y%m%d}"


def day_of(name: str) -> int | None:
    """Return the beginning (ms) of a partition's day; None: the name is no partition's."""
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    moment = datetime.datetime.strptime(match[1], "%Y%m%d").replace(tzinfo=datetime.UTC)
    return int(moment.timestamp() * 1000)


def _date(day_ms: int) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(day_ms / 1000, datetime.UTC)


class Partitions:
    """What the database at the end of the writer's session is known to have."""

    def __init__(self) -> None:
        self._known: set[tuple[str, int]] = set()

    def forget(self) -> None:
        """It may be another database."""
        self._known.clear()

    async def need(self, connection: Connection, batch: Batch) -> None:
        """Make the partitions that a batch goes into, outside of any transaction."""
        days = {("journal", day(one.id)) for one in batch.entries} | {
            ("mark_samples", day(one.id)) for one in batch.samples
        }
        for table, of in sorted(days - self._known):
            await make(connection, table, of)
            self._known.add((table, of))


async def make(connection: Connection, table: str, day_ms: int) -> None:
    """Make a day's partition where it is not there."""
    name = partition(table, day_ms)
    first, end = place(day_ms), place(day_ms + DAY_MS)
    async with connection.transaction():
        attached = await connection.fetchval(
            "SELECT inhparent::regclass::text FROM pg_inherits WHERE inhrelid = to_regclass($1)", name
        )
        if attached is not None:
            return
        # Names and numbers of our own. The check is what spares ATTACH the look at every row.
        await connection.execute(
            f"CREATE TABLE IF NOT EXISTS {name} (LIKE {table} INCLUDING DEFAULTS INCLUDING STORAGE INCLUDING COMPRESSION "
            f"INCLUDING INDEXES, CHECK (id >= {first} AND id < {end}))"
        )
        await connection.execute(f"ALTER TABLE {table} ATTACH PARTITION {name} FOR VALUES FROM ({first}) TO ({end})")


async def present(connection: Connection, table: str) -> list[tuple[str, int]]:
    """Return the partitions of a table with the beginning of their day (ms), the oldest first."""
    rows = await connection.fetch(
        "SELECT inhrelid::regclass::text AS name FROM pg_inherits WHERE inhparent = to_regclass($1)", table
    )
    found = [(row["name"], of) for row in rows if (of := day_of(row["name"])) is not None]
    return sorted(found, key=lambda one: one[1])
