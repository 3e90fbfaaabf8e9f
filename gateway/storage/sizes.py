"""What is stored, table by table: rows, bytes, how far it reaches, how fast it grows. Reads, never writes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from gateway.core.journal import DAY_MS, moment
from gateway.storage.partitions import PARTITIONED
from gateway.storage.postgres import Connection

_TABLES = """
    SELECT c.relname AS name, c.relkind = 'p' AS partitioned, EXISTS (
               SELECT FROM pg_attribute WHERE attrelid = c.oid AND attname = 'at' AND NOT attisdropped
           ) AS dated,
           (SELECT count(*) FROM pg_inherits WHERE inhparent = c.oid) AS partitions,
           (SELECT sum(pg_total_relation_size(leaf.oid)) FROM pg_class AS leaf WHERE leaf.oid = c.oid OR leaf.oid IN (
               SELECT inhrelid FROM pg_inherits WHERE inhparent = c.oid)) AS bytes,
           (SELECT sum(greatest(leaf.reltuples, 0)) FROM pg_class AS leaf WHERE leaf.oid = c.oid OR leaf.oid IN (
               SELECT inhrelid FROM pg_inherits WHERE inhparent = c.oid)) AS rows
    FROM pg_class AS c
    WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
    ORDER BY bytes DESC, name
"""


class Size(NamedTuple):
    """One table.

    Attributes:
        rows: An estimate, as of the last time that Postgres looked; exact where that never happened.
        bytes: With indexes, and of all partitions.
        oldest, newest: Of its rows (ms); None: it is empty, or has no times.
    """

    table: str
    rows: int
    bytes: int
    partitions: int
    oldest: int | None = None
    newest: int | None = None

    @property
    def per_day(self) -> float | None:
        """Bytes a day, over the time that it reaches; None: less than an hour."""
        if self.oldest is None or self.newest is None or self.newest - self.oldest < DAY_MS / 24:
            return None
        return self.bytes * DAY_MS / (self.newest - self.oldest)


async def sizes(connection: Connection) -> list[Size]:
    """Return every table, the largest first."""
    found = []
    for row in await connection.fetch(_TABLES):
        name, rows = row["name"], int(row["rows"])
        if not rows and row["bytes"] < 1 << 24:  # never looked at: small enough to count
            rows = await connection.fetchval(f'SELECT count(*) FROM "{name}"')
        oldest, newest = await _reach(connection, name) if row["dated"] else (None, None)
        found.append(Size(name, rows, int(row["bytes"]), row["partitions"], oldest, newest))
    return found


async def _reach(connection: Connection, table: str) -> tuple[int | None, int | None]:
    if table in PARTITIONED:  # by the key: at is not indexed
        first, last = await connection.fetchrow(f"SELECT min(id), max(id) FROM {table}") or (None, None)
        return (moment(first), moment(last)) if first is not None and last is not None else (None, None)
    first, last = await connection.fetchrow(f'SELECT min(at), max(at) FROM "{table}"') or (None, None)
    return first, last


def lines(found: Sequence[Size], retention: Mapping[str, float | None]) -> Iterator[str]:
    """Yield the report."""
    yield f"{'table':<20} {'rows':>12} {'size':>10} {'a day':>10}  {'oldest':<16}  {'newest':<16}  kept"
    for one in found:
        days = retention.get(one.table)
        kept = f"{days:g} days" if days is not None else "for ever" if one.table in retention else ""
        grows = _bytes(one.per_day) if one.per_day is not None else "-"
        yield (
            f"{one.table:<20} {one.rows:>12,} {_bytes(one.bytes):>10} {grows:>10}  {_time(one.oldest):<16}  "
            f"{_time(one.newest):<16}  {kept}"
        ).rstrip()
    yield f"{'all':<20} {sum(one.rows for one in found):>12,} {_bytes(sum(one.bytes for one in found)):>10}"


def _bytes(count: float) -> str:
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def _time(at: int | None) -> str:
    return "-" if at is None else f"{datetime.fromtimestamp(at / 1000, UTC):%Y-%m-%d %H:%M}"
