"""The checkpoint's tables as SQL: rows in, rows out. Owns every statement that reads or writes them, and no connection.

Rows go in column-wise (``unnest``), a few hundred a statement, so that neither our loop nor the server is held up.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

import asyncpg
import msgspec

from gateway.storage.mirror import RECORD_KINDS, Batch, Row, Value
from gateway.storage.postgres import Connection

_ROWS = 100  # a statement: well under a millisecond of our loop

# A row is at fault, not the server: a NUL in a text, a number out of range, half a surrogate pair, a key too long to index.
ROW_FAULTS = (
    asyncpg.DataError,
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.ProgramLimitExceededError,
    UnicodeError,
)


class Table(NamedTuple):
    """A table's writable columns with their types; the first ``keys`` of them are the primary key."""

    name: str
    keys: int
    columns: tuple[tuple[str, str], ...]

    @property
    def upsert(self) -> str:
        names = [name for name, _ in self.columns]
        arrays = ", ".join(f"${i}::{kind}[]" for i, (_, kind) in enumerate(self.columns, 1))
        changes = ", ".join(f"{name} = excluded.{name}" for name in names[self.keys :])
        # Names of our own, below: nothing here comes from outside.
        return (
            f"INSERT INTO {self.name} ({', '.join(names)}) SELECT * FROM unnest({arrays}) "
            f"ON CONFLICT ({', '.join(names[: self.keys])}) DO UPDATE SET {changes}"
        )


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
    ),
)
BALANCES = Table("balances", 2, (("account", "text"), ("scope", "text"), ("state", "jsonb"), ("updated_at", "bigint")))
RECORDS = {
    kind: Table(kind, 1, (("id", "text"), ("account", "text"), ("at", "bigint"), ("state", "jsonb")))
    for kind in RECORD_KINDS
}

_REMOVE = "DELETE FROM current_positions WHERE id = ANY($1::text[])"
_PRUNE = "DELETE FROM current_positions WHERE account = ANY($1::text[]) AND NOT (id = ANY($2::text[]))"
_CHECKPOINT = """
    INSERT INTO checkpoint (epoch, seq, revision, at, clean) VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT (one) DO UPDATE SET epoch = excluded.epoch, seq = excluded.seq, revision = excluded.revision,
                                    at = excluded.at, clean = excluded.clean
"""


class LastCheckpoint(NamedTuple):
    """The checkpoint row: which life wrote last (``epoch``), how far (``seq``), how often, when, and whether it stopped
    in order."""

    epoch: str
    seq: int
    revision: int
    at: int
    clean: bool


class RefusedRow(NamedTuple):
    """A row that the database cannot hold."""

    table: str
    key: tuple[Value, ...]
    reason: str


async def read_checkpoint(connection: Connection) -> LastCheckpoint | None:
    """Return the checkpoint row, or None in a database that nobody wrote into."""
    row = await connection.fetchrow("SELECT epoch, seq, revision, at, clean FROM checkpoint")
    return LastCheckpoint(*row) if row else None


async def write_checkpoint(connection: Connection, checkpoint: LastCheckpoint) -> None:
    """Replace the checkpoint row."""
    await connection.execute(_CHECKPOINT, *checkpoint)


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
    return refused


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


def _cell(value: Value) -> str | int | None:
    return msgspec.json.encode(value).decode() if isinstance(value, msgspec.Struct | tuple) else value
