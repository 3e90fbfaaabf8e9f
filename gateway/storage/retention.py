"""What is old goes: partitions are dropped, records deleted in steps, samples thinned out. Never in the way of who writes.

Owns a pass over all tables, on a connection that is not the writer's. What needs a lock that a reader or the writer holds is left
for the next pass after a moment; no statement works on more than a few thousand rows, except on partitions of days that are over.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Mapping
from typing import NamedTuple

import asyncpg

from gateway.core.journal import DAY_MS, day, place
from gateway.storage.partitions import PARTITIONED, make, present
from gateway.storage.postgres import Connection

_log = logging.getLogger(__name__)

_STEP = 5_000
_LONG_S = 600.0  # a whole cold partition is rewritten
_LOCK_MS = 200  # all others queue up behind who waits for a whole table
_BREATH_S = 0.02  # between two steps: others have the disk too
_MINUTE_MS, _HOUR_MS = 60_000, 3_600_000

# Keeps of each price the last one of its minute, or hour.
_THIN_PRICES = """
    DELETE FROM {name} WHERE id = ANY(ARRAY(
        SELECT id FROM (
            SELECT id, row_number() OVER (PARTITION BY venue, env, symbol, kind, at / $1 ORDER BY id DESC) AS place
            FROM {name} WHERE id >= $2 AND id < $3
        ) AS ranked WHERE place > 1
    ))
"""
# Keeps of each account the last one of its hour, with the hour's peak and the balances at it.
_THIN_EQUITY = """
    WITH old AS (
        SELECT id, row_number() OVER (slot ORDER BY at DESC) AS place, count(*) OVER slot AS rows,
               first_value(state) OVER (slot ORDER BY high_usd DESC NULLS LAST) AS peak
        FROM equity_samples WHERE at >= $2 AND at < $3 WINDOW slot AS (PARTITION BY account, at / $1)
    ), kept AS (
        UPDATE equity_samples AS e
        SET state = e.state || jsonb_build_object('high_usd', old.peak -> 'high_usd', 'high_at', old.peak -> 'high_at')
        FROM old WHERE e.id = old.id AND old.place = 1 AND old.rows > 1
    )
    DELETE FROM equity_samples AS e USING old WHERE e.id = old.id AND old.place > 1
"""


class Done(NamedTuple):
    """What a pass did: partitions dropped, rows deleted, rows thinned out."""

    dropped: int = 0
    deleted: int = 0
    thinned: int = 0


async def tidy(
    connection: Connection,
    now: int,
    days: Mapping[str, float | None],
    *,
    minute_after: float | None = None,
    hour_after: float | None = None,
    since: int = 0,
) -> Done:
    """Make one pass.

    Args:
        days: By table, after how many days its rows go; None: never.
        minute_after, hour_after: After how many days one sample a minute, then an hour, is left; None: never.
        since: Equity of days before this moment (ms) was thinned out by an earlier pass.

    Raises:
        asyncpg.PostgresError | OSError: The database is away, or does not fit; what was done stays done.
    """
    await connection.execute(f"SET lock_timeout = {_LOCK_MS}")
    dropped = deleted = 0
    for table, age in days.items():
        if age is None:
            continue
        before = now - int(age * DAY_MS)
        if table in PARTITIONED:
            dropped += await _drop(connection, table, before)
        else:
            deleted += await _delete(connection, table, before)
    thinned = 0
    for age, width in ((hour_after, _HOUR_MS), (minute_after, _MINUTE_MS)):
        if age is not None:
            before = day(place(now - int(age * DAY_MS)))
            thinned += await _thin_prices(connection, before, width)
            thinned += await _thin_equity(connection, since, before, width)
    for table in PARTITIONED:  # so that midnight costs the writer nothing
        await _quietly(make(connection, table, day(place(now)) + DAY_MS), f"the next partition of {table}")
    return Done(dropped, deleted, thinned)


async def _quietly(work: Awaitable[object], what: str) -> bool:
    try:
        await work
    except asyncpg.LockNotAvailableError:
        _log.info("storage: %s is left for the next time: it is in use", what)
        return False
    return True


async def _drop(connection: Connection, table: str, before: int) -> int:
    count = 0
    for name, of in await present(connection, table):
        if of + DAY_MS <= before and await _quietly(connection.execute(f"DROP TABLE {name}"), name):
            count += 1
    return count


async def _delete(connection: Connection, table: str, before: int) -> int:
    count = 0
    while True:
        found = await connection.execute(
            f"DELETE FROM {table} WHERE ctid = ANY(ARRAY(SELECT ctid FROM {table} WHERE at < $1 LIMIT {_STEP}))",
            before,
            timeout=_LONG_S,
        )
        count += (rows := _rows(found))
        if rows < _STEP:
            return count
        await asyncio.sleep(_BREATH_S)


async def _thin_prices(connection: Connection, before: int, width: int) -> int:
    """Thin the partitions out whose day is over; each says in its comment how far that went."""
    count = 0
    for name, of in await present(connection, "mark_samples"):
        known = int(await connection.fetchval("SELECT obj_description($1::regclass)", name) or 0)
        if of + DAY_MS > before or known >= width:
            continue
        for hour in range(of, of + DAY_MS, _HOUR_MS):
            sql = _THIN_PRICES.format(name=name)
            count += _rows(await connection.execute(sql, width, place(hour), place(hour + _HOUR_MS), timeout=_LONG_S))
            await asyncio.sleep(_BREATH_S)
        # Nobody writes here any more: the space goes back to the disk, and the lock is this partition's alone.
        if await _quietly(connection.execute(f"VACUUM FULL {name}", timeout=_LONG_S), name):
            await connection.execute(f"COMMENT ON TABLE {name} IS '{width}'")
    return count


async def _thin_equity(connection: Connection, since: int, before: int, width: int) -> int:
    first = await connection.fetchval("SELECT min(at) FROM equity_samples WHERE at >= $1", since)
    count = 0
    for of in range(first - first % DAY_MS, before, DAY_MS) if first is not None else ():
        count += _rows(await connection.execute(_THIN_EQUITY, width, of, of + DAY_MS, timeout=_LONG_S))
        await asyncio.sleep(_BREATH_S)
    return count


def _rows(status: str) -> int:
    return int(status.rpartition(" ")[2])
