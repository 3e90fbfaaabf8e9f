"""Reads a life back from the journal: entries and samples in the order of their places, a few at a time.

Owns where a replay begins. Raw input is left out: no replay needs it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import msgspec

from gateway.core.journal import Entry, Lost, MarkSample, narrowed, place
from gateway.storage import payloads
from gateway.storage.postgres import Connection

_AT_ONCE = 2_000
_TURNS = ("base", "turn", "clock", "operator", "lost")
_ENTRIES = (
    "SELECT id, at, kind, epoch, turn, seq, user_name, account, venue, causes, body FROM journal "
    "WHERE id >= $1 AND id < $2 AND kind = ANY($3) ORDER BY id"
)
_GAP = (
    "SELECT id, at, kind, epoch, turn, seq, user_name, account, venue, causes, body FROM journal "
    "WHERE id >= $1 AND kind = 'lost' ORDER BY id LIMIT 1"
)
_KEPT = (
    "SELECT greatest((SELECT max(id) FROM journal WHERE id < $1), (SELECT max(id) FROM mark_samples WHERE id < $1), 0)"
)
_BEGINS = (
    "SELECT min(id) FROM journal WHERE id < $1 AND kind = 'base' GROUP BY epoch, turn HAVING count(*) = max(seq) "
    "ORDER BY 1 DESC LIMIT 1"
)
_SAMPLES = (
    "SELECT id, at, epoch, turn, venue, env, symbol, kind, value, venue_at FROM mark_samples "
    "WHERE id >= $1 AND id < $2 ORDER BY id"
)


async def begins(connection: Connection, until: int) -> int | None:
    """Return where the newest base begins that is there in whole before a place; None: there is none."""
    found: int | None = await connection.fetchval(_BEGINS, until)
    return found


async def life(connection: Connection, until: int) -> AsyncIterator[Entry | MarkSample]:
    """Yield what a replay up to a place (exclusive) needs, from the newest base before it on, in one snapshot of the database.

    An entry ``lost`` stands at the end of its gap: one that the place lies in is the last row.

    Raises:
        PayloadUnreadable: Of an entry on the way.
    """
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        since = await begins(connection, until)
        if since is None:
            return
        entries = connection.cursor(_ENTRIES, since, until, list(_TURNS), prefetch=_AT_ONCE)
        samples = connection.cursor(_SAMPLES, since, until, prefetch=_AT_ONCE)
        async for row in _merged(aiter(entries), aiter(samples)):
            yield row
        torn = await connection.fetchrow(_GAP, until)
        if torn is not None:
            entry = _entry(torn)
            gap = msgspec.json.decode(entry.body, type=Lost)
            if narrowed(gap, await connection.fetchval(_KEPT, entry.id)).since < until:
                yield entry


async def _merged(
    entries: AsyncIterator[asyncpg.Record], samples: AsyncIterator[asyncpg.Record]
) -> AsyncIterator[Entry | MarkSample]:
    entry, sample = await anext(entries, None), await anext(samples, None)
    while entry is not None or sample is not None:
        if sample is None or (entry is not None and entry["id"] < sample["id"]):
            assert entry is not None, "one of them is there"
            yield _entry(entry)
            entry = await anext(entries, None)
        else:
            yield _sample(sample)
            sample = await anext(samples, None)


def _entry(row: asyncpg.Record) -> Entry:
    return Entry(
        id=row["id"],
        at=row["at"],
        kind=row["kind"],
        epoch=row["epoch"],
        turn=row["turn"],
        seq=row["seq"],
        user=row["user_name"],
        account=row["account"],
        venue=row["venue"],
        causes=tuple(row["causes"] or ()),
        body=payloads.unpack(row["body"], row["id"]),
    )


def _sample(row: asyncpg.Record) -> MarkSample:
    return MarkSample(**row)


def before(at: int) -> int:
    """Return the place before which everything up to a moment (ms) lies, that millisecond included."""
    return place(at + 1)
