"""A fact that a venue tells more than once, each time with more or less of it: what is known stays known.

Owns how two tellings of one fact become one, wherever they meet: while both wait (``Mirror``), or where one is stored already
(``against``), be it that the other comes directly or out of the spool.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from exchanges.events import Cause, Fill, Transfer
from gateway.storage.batch import FACTS, RECORDS, Batch, Record, RecordRow
from gateway.storage.postgres import Connection

_ROWS = 500  # a statement


def completed(former: Record, record: Record) -> Record:
    """Return a fact by its newer telling, with what that leaves open (None, "") as it was told before.

    Of why a fill happened, and of what kind a transfer is, the newer telling stands where it is no poorer: a feed that does not
    know calls it a plain trade, or "other". The venue's word for the cause belongs to the cause: the first one stays with it.
    """
    names = (name for name in record.__struct_fields__ if getattr(record, name) in (None, ""))
    known = {name: getattr(former, name) for name in names}
    match former, record:
        case Fill(), Fill():
            known["cause"], known["category"] = _why(former, record)
        case Transfer(), Transfer() if record.kind == "other" and former.kind != "other":
            known |= {"kind": former.kind, "what": former.what or record.what}
    return msgspec.structs.replace(record, **known)


def _why(former: Fill, newer: Fill) -> tuple[Cause, str]:
    if newer.cause in (former.cause, "trade"):
        return former.cause, former.category or newer.category
    return newer.cause, newer.category or former.category


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
        return completed(msgspec.json.decode(stored, type=RECORDS[kind]), record)  # type: ignore[arg-type]
    except msgspec.ValidationError:  # of another version of this program: the newer telling stands alone
        return record


def _is_text(value: str) -> bool:
    """Say whether the database can hold a text; one that it cannot is no id of a stored row."""
    return "\0" not in value and value == value.encode(errors="ignore").decode()
