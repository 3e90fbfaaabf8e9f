"""What a replay is given of the journal: from the newest whole base on, with every gap that reaches into its time."""

from __future__ import annotations

import asyncpg
import msgspec
import pytest

from gateway.core.journal import Entry, Kind, Lost, day, place
from gateway.storage import entries, partitions, payloads, tables
from gateway.storage.batch import Batch

_AT = 1_763_700_000_000
_FIRST = place(_AT)


def _entry(number: int, kind: Kind, turn: int, seq: int = 0, body: str = "") -> Entry:
    return Entry(id=_FIRST + number, at=_AT, kind=kind, epoch="e", turn=turn, seq=seq, body=body)


@pytest.mark.parametrize(
    ("until", "found"),
    [
        (4, ["base", "turn"]),
        (5, ["base", "turn", "lost"]),
        (8, ["base", "turn", "lost"]),
        (9, ["base", "turn", "lost"]),
        (10, ["base", "turn", "lost", "turn"]),
        (12, ["base", "turn"]),
    ],
)
async def test_a_gap_is_told_also_where_a_replay_ends_within_it(
    sql: asyncpg.Connection, until: int, found: list[str]
) -> None:
    await sql.execute("TRUNCATE journal")
    await partitions.make(sql, "journal", day(_FIRST))
    gap = msgspec.json.encode(Lost(since=_FIRST + 4, until=_FIRST + 8, entries=5)).decode()
    rows = [
        _entry(1, "base", 1, 1, "{}"),
        _entry(2, "turn", 2),
        _entry(8, "lost", 0, 0, gap),
        _entry(9, "turn", 4),
        _entry(10, "base", 5, 1, "{}"),
        _entry(11, "turn", 6),
    ]
    assert await tables.write(sql, Batch(entries=payloads.rows(rows)), row_by_row=False) == []
    assert [row.kind async for row in entries.life(sql, _FIRST + until)] == found
