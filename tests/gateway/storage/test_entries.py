"""What a replay is given of the journal: from the newest whole base on, with every gap that reaches into its time."""

from __future__ import annotations

import asyncpg
import msgspec
import pytest

from gateway import rewinding
from gateway.config import StorageSettings
from gateway.core.journal import Entry, Kind, Lost, day, place
from gateway.rewind import GapInJournal, Rewind
from gateway.storage import entries, partitions, payloads, tables
from gateway.storage.batch import Batch
from tests.gateway.events_of import OKX, position
from tests.gateway.life import Life

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


@pytest.mark.parametrize(
    ("until", "found"),
    [(3, ["base", "turn"]), (4, ["base", "turn"]), (5, ["base", "turn", "lost"]), (8, ["base", "turn", "lost"])],
)
async def test_what_lay_in_an_unreadable_spool_began_behind_what_is_stored(
    sql: asyncpg.Connection, until: int, found: list[str]
) -> None:
    """A start finds it so before it has seen the database: it cannot say since when."""
    await sql.execute("TRUNCATE journal, mark_samples")
    await partitions.make(sql, "journal", day(_FIRST))
    await partitions.make(sql, "mark_samples", day(_FIRST))
    gap = msgspec.json.encode(Lost(since=1, until=_FIRST + 8, file="spool.sqlite.unreadable-7")).decode()
    rows = [_entry(1, "base", 1, 1, "{}"), _entry(2, "turn", 2), _entry(3, "ws", 2), _entry(8, "lost", 0, 0, gap)]
    assert await tables.write(sql, Batch(entries=payloads.rows(rows)), row_by_row=False) == []
    assert [row.kind async for row in entries.life(sql, _FIRST + until) if isinstance(row, Entry)] == found


async def test_the_command_says_which_span_is_missing_and_until_when_it_can_say(
    dsn: str, sql: asyncpg.Connection
) -> None:
    await sql.execute("TRUNCATE journal")
    await partitions.make(sql, "journal", day(_FIRST))
    life = Life(OKX, at=_AT)
    for number in range(1, 6):
        life.turn(position(fence=(number,), size=str(number)), at=_AT + 1_000 * number)
    before, gone, behind = life.rows[:-3], life.rows[-3:-1], life.rows[-1:]
    gap = Lost(since=gone[0].id, until=gone[-1].id, entries=2)
    missing = Entry(id=gap.until, at=_AT + 4_000, kind="lost", epoch="lived", body=msgspec.json.encode(gap).decode())
    rows = payloads.rows([row for row in [*before, missing, *behind] if isinstance(row, Entry)])
    assert await tables.write(sql, Batch(entries=rows), row_by_row=False) == []
    storage = StorageSettings(dsn=dsn)
    for until in (None, _AT + 5_000, _AT + 4_500, _AT + 3_500, _AT + 3_000):
        with pytest.raises(GapInJournal, match=f"2 entries and 0 samples could not be kept.*--until {_AT + 2_999}"):
            await rewinding.rewound(storage, until)
    found = await rewinding.rewound(storage, _AT + 2_999)
    assert [one.state.size for one in found.finish().positions.values()] == ["2"]


def test_a_moment_of_which_nothing_is_stored_is_not_taken_for_the_last_that_is() -> None:
    found = Rewind()
    found.at = 1_763_700_000_000
    assert rewinding.silence(found, None) is None
    assert rewinding.silence(found, found.at + 4_999) is None
    said = rewinding.silence(found, found.at + 5_000)
    assert said == (
        "the last entry before that moment is of 2025-11-21T04:40:00.000+00:00: no gateway ran then, or it was killed "
        "before it could store more"
    )
