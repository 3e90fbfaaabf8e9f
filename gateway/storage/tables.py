"""The checkpoint's tables as SQL: rows in, rows out. Owns every statement that reads or writes them, and no connection.

Rows go in column-wise (``unnest``), a few hundred a statement, so that neither our loop nor the server is held up.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

import asyncpg
import msgspec

from gateway.core.journal import MarkSample
from gateway.storage.batch import RECORDS as RECORD_TYPES
from gateway.storage.batch import Batch, RefusedRow, Row, Value
from gateway.storage.postgres import Connection

_ROWS = 100  # a statement: well under a millisecond of our loop
_PLAIN_ROWS = 500  # of plain cells

# A row is at fault, not the server: a NUL in a text, a number out of range, half a surrogate pair, a key too long to index.
ROW_FAULTS = (
    asyncpg.DataError,
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.ProgramLimitExceededError,
    UnicodeError,
)


class Table(NamedTuple):
    """A table's writable columns with their types; the first ``keys`` of them are the primary key.

    Attributes:
        first: Columns that keep what they were first given. ``known``: those that keep what they have where nothing is given.
        replaced: A row that is told again replaces the former one; else it is dropped.
    """

    name: str
    keys: int
    columns: tuple[tuple[str, str], ...]
    first: tuple[str, ...] = ()
    known: tuple[str, ...] = ()
    replaced: bool = True

    @property
    def upsert(self) -> str:
        # Names of our own, below: nothing here comes from outside.
        names = [name for name, _ in self.columns]
        arrays = ", ".join(f"${i}::{_ARRAY_OF.get(kind, kind)}[]" for i, (_, kind) in enumerate(self.columns, 1))
        cells = ", ".join(f"{name}::{kind}" if kind in _ARRAY_OF else name for name, kind in self.columns)
        return (
            f"INSERT INTO {self.name} ({', '.join(names)}) SELECT {cells} FROM unnest({arrays}) AS given ({', '.join(names)}) "
            f"ON CONFLICT ({', '.join(names[: self.keys])}) DO {self._change(names[self.keys :])}"
        )

    def _change(self, names: Sequence[str]) -> str:
        if not self.replaced:
            return "NOTHING"
        return f"UPDATE SET {', '.join(f'{name} = {self._value(name)}' for name in names)}"

    def _value(self, name: str) -> str:
        old, new = f"{self.name}.{name}", f"excluded.{name}"
        if name in self.first:
            return f"coalesce({old}, {new})"
        return f"coalesce({new}, {old})" if name in self.known else new


_ARRAY_OF = {"bigint[]": "text"}  # arrays of arrays are rectangular: a cell that is one goes in as text

ACCOUNTS = Table(
    "accounts",
    1,
    (
        ("name", "text"),
        ("user_name", "text"),
        ("venue", "text"),
        ("env", "text"),
        ("region", "text"),
        ("execution", "text"),
        ("mode", "jsonb"),
        ("updated_at", "bigint"),
    ),
)
CONTRACTS = Table(
    "contracts",
    3,
    (
        ("venue", "text"),
        ("env", "text"),
        ("symbol", "text"),
        ("state", "jsonb"),
        ("tiers", "jsonb"),
        ("last_sync", "bigint"),
    ),
)
COLLATERAL = Table(
    "collateral",
    3,
    (("venue", "text"), ("env", "text"), ("ccy", "text"), ("state", "jsonb"), ("last_sync", "bigint")),
)
_WHOSE = ("user_name", "journal")
POSITIONS = Table(
    "current_positions",
    1,
    (
        ("id", "text"),
        ("account", "text"),
        ("venue", "text"),
        ("env", "text"),
        ("state", "jsonb"),
        ("updated_seq", "bigint"),
        ("updated_at", "bigint"),
        ("user_name", "text"),
        ("journal", "bigint"),
    ),
    known=_WHOSE,
)
BALANCES = Table(
    "balances",
    2,
    (
        ("account", "text"),
        ("scope", "text"),
        ("state", "jsonb"),
        ("updated_at", "bigint"),
        ("user_name", "text"),
        ("journal", "bigint"),
    ),
    known=_WHOSE,
)
_RECORD = (
    ("id", "text"),
    ("account", "text"),
    ("at", "bigint"),
    ("state", "jsonb"),
    ("user_name", "text"),
    ("journal", "bigint"),
)
# A fill that is told again came by the entry that first told it; an alert stands where its newest entry put it.
_STANDING = ("alerts", "silences", "coverage", "backfills")
RECORDS = {
    kind: Table(kind, 1, _RECORD, first=() if kind in _STANDING else ("journal",), known=_WHOSE)
    for kind in RECORD_TYPES
}
JOURNAL = Table(
    "journal",
    1,
    (
        ("id", "bigint"),
        ("at", "bigint"),
        ("kind", "text"),
        ("epoch", "text"),
        ("turn", "bigint"),
        ("seq", "bigint"),
        ("user_name", "text"),
        ("account", "text"),
        ("venue", "text"),
        ("source", "text"),
        ("request", "text"),
        ("request_id", "text"),
        ("venue_at", "bigint"),
        ("causes", "bigint[]"),
        ("body", "bytea"),
    ),
    replaced=False,
)
SAMPLES = Table(
    "mark_samples",
    1,
    (
        ("id", "bigint"),
        ("at", "bigint"),
        ("epoch", "text"),
        ("turn", "bigint"),
        ("venue", "text"),
        ("env", "text"),
        ("symbol", "text"),
        ("kind", "text"),
        ("value", "text"),
        ("venue_at", "bigint"),
    ),
    replaced=False,
)

_REMOVE = "DELETE FROM current_positions WHERE id = ANY($1::text[])"
_PRUNE = "DELETE FROM current_positions WHERE account = ANY($1::text[]) AND NOT (id = ANY($2::text[]))"
_CHECKPOINT = """
    INSERT INTO checkpoint (epoch, seq, revision, at, clean, journal) VALUES ($1, $2, $3, $4, $5, $6)
    ON CONFLICT (one) DO UPDATE SET epoch = excluded.epoch, seq = excluded.seq, revision = excluded.revision,
                                    at = excluded.at, clean = excluded.clean,
                                    journal = greatest(checkpoint.journal, excluded.journal)
"""


class LastCheckpoint(NamedTuple):
    """The checkpoint row: which life wrote last (``epoch``), how far (``seq``), how often, when, whether it stopped
    in order, and up to which place of the journal."""

    epoch: str
    seq: int
    revision: int
    at: int
    clean: bool
    journal: int = 0


async def read_checkpoint(connection: Connection) -> LastCheckpoint | None:
    """Return the checkpoint row, or None in a database that nobody wrote into."""
    row = await connection.fetchrow("SELECT epoch, seq, revision, at, clean, journal FROM checkpoint")
    return LastCheckpoint(*row) if row else None


async def write_checkpoint(connection: Connection, batch: Batch) -> None:
    """Replace the checkpoint row by that of a batch; its place in the journal never falls."""
    await connection.execute(_CHECKPOINT, batch.epoch, batch.seq, batch.revision, batch.at, batch.clean, batch.journal)


async def write(connection: Connection, batch: Batch, *, row_by_row: bool) -> list[RefusedRow]:
    """Write a batch inside the caller's transaction.

    Args:
        row_by_row: False: a row at fault fails the whole transaction (the usual, fast way). True: faulty rows are found
            by halving, left out and returned.

    Raises:
        ROW_FAULTS: With ``row_by_row`` False.
    """
    if batch.prune:
        await connection.execute(_PRUNE, batch.prune, batch.keep)
    if batch.removed:
        await connection.execute(_REMOVE, batch.removed)
    refused: list[RefusedRow] = []
    insert = _halving(connection, refused) if row_by_row else _plainly(connection)
    for table, rows in (
        (ACCOUNTS, batch.accounts),
        (CONTRACTS, batch.contracts),
        (COLLATERAL, batch.collateral),
        (POSITIONS, batch.positions),
        (BALANCES, batch.balances),
        *((RECORDS[kind], rows) for kind, rows in batch.records.items()),
    ):
        for start in range(0, len(rows), _ROWS):
            await insert(table, rows[start : start + _ROWS])
    for start in range(0, len(batch.entries), _PLAIN_ROWS):
        await insert(JOURNAL, batch.entries[start : start + _PLAIN_ROWS])
    for start in range(0, len(batch.samples), _PLAIN_ROWS):
        await insert(SAMPLES, [_sample(one) for one in batch.samples[start : start + _PLAIN_ROWS]])
    return refused


def _sample(one: MarkSample) -> Row:
    whose = (one.venue, one.env, one.symbol, one.kind, one.value, one.venue_at)
    return one.id, one.at, one.epoch, one.turn, *whose


_Insert = Callable[[Table, Sequence[Row]], Awaitable[None]]


def _plainly(connection: Connection) -> _Insert:
    async def insert(table: Table, rows: Sequence[Row]) -> None:
        cells = [[_cell(value) for value in row] for row in rows]
        await connection.execute(table.upsert, *zip(*cells, strict=True))

    return insert


def _halving(connection: Connection, refused: list[RefusedRow]) -> _Insert:
    plainly = _plainly(connection)

    async def insert(table: Table, rows: Sequence[Row]) -> None:
        try:
            async with connection.transaction():  # a savepoint: what failed in it is undone, the rest stays
                await plainly(table, rows)
        except ROW_FAULTS as error:
            if connection.is_closed():
                raise
            if len(rows) == 1:
                refused.append(RefusedRow(table.name, rows[0][: table.keys], str(error)))
                return
            middle = len(rows) // 2
            await insert(table, rows[:middle])
            await insert(table, rows[middle:])

    return insert


def _cell(value: Value) -> str | bytes | int | float | None:
    return msgspec.json.encode(value).decode() if isinstance(value, msgspec.Struct | tuple) else value
