"""Facts that are told again, held against what is stored of them: be it that they come directly or out of the spool."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from gateway.core.facts import completed
from gateway.storage.batch import FACTS, RECORDS, Batch, Record, RecordRow
from gateway.storage.postgres import Connection

_ROWS = 500  # a statement


async def against(connection: Connection, batch: Batch) -> Batch:
    """Return a batch whose facts are whole by what is stored of them. Reads alone."""
    records = dict(batch.records)
    for kind in FACTS & records.keys():
        rows = records[kind]
        records[kind] = [
            row
            for start in range(0, len(rows), _ROWS)
            for row in await _whole(connection, kind, rows[start : start + _ROWS])
        ]
    return msgspec.structs.replace(batch, records=records)


async def _whole(connection: Connection, kind: str, rows: Sequence[RecordRow]) -> list[RecordRow]:
    ids = [row.id for row in rows if _is_text(row.id)]
    stored = {
        row["id"]: row["state"]
        for row in await connection.fetch(f"SELECT id, state::text FROM {kind} WHERE id = ANY($1::text[])", ids)
    }
    return [row._replace(state=_laid(kind, stored[row.id], row.state)) if row.id in stored else row for row in rows]


def _laid(kind: str, stored: str, record: Record) -> Record:
    try:
        former: Record = msgspec.json.decode(stored, type=RECORDS[kind])  # type: ignore[assignment]
    except msgspec.ValidationError:  # of another version of this program: the newer telling stands alone
        return record
    return completed(former, record)


def _is_text(value: str) -> bool:
    """Say whether the database can hold a text; one that it cannot is no id of a stored row."""
    return "\0" not in value and value == value.encode(errors="ignore").decode()
