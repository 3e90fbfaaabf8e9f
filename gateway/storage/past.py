"""Single positions in the past: how they stood at a moment, what changed them, and the raw entries that told of it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import msgspec

from exchanges.events import Instrument, MarginTiers, PositionState
from gateway.core.journal import place
from gateway.core.lookup import Asked, Page, cursor_of
from gateway.storage import payloads
from gateway.storage.postgres import Connection
from gateway.storage.sums import RATE_AGE_MS


class Mark(NamedTuple):
    """A sampled mark: its exact text, when it came (our clock), and the venue's own time of it."""

    value: str
    at: int
    venue_at: int | None


class Stood(NamedTuple):
    """What is known of positions at a moment.

    Attributes:
        states: The last that the venue said of each, and when that came. ``unreadable``: how many could not be read.
        marks: (venue, env, symbol) → the last one before.
    """

    states: list[tuple[PositionState, int]]
    marks: dict[tuple[str, str, str], Mark]
    instruments: list[Instrument]
    tiers: list[MarginTiers]
    unreadable: int


# From position to position along the index: what was closed long ago costs one step, however often it changed.
_LAST = """
    WITH RECURSIVE steps AS (
        SELECT w.name AS account, (SELECT min(position) FROM position_changes WHERE account = w.name) AS position
        FROM unnest($1::text[]) AS w (name)
        UNION ALL
        SELECT account, (SELECT min(c.position) FROM position_changes AS c
                         WHERE c.account = steps.account AND c.position > steps.position)
        FROM steps WHERE position IS NOT NULL
    )
    SELECT s.account, own.at, (own.state -> 'state')::text AS state, a.venue, a.env FROM steps AS s
    CROSS JOIN LATERAL (
        SELECT at, state FROM position_changes WHERE account = s.account AND position = s.position AND at <= $2
        ORDER BY at DESC, id DESC LIMIT 1  -- ids begin with the journal's place
    ) AS own
    JOIN accounts AS a ON a.name = s.account
    WHERE jsonb_typeof(own.state -> 'state') = 'object'
"""

_MARKS = """
    SELECT w.venue, w.env, w.symbol, s.value, s.at, s.venue_at
    FROM unnest($1::text[], $2::text[], $3::text[]) AS w (venue, env, symbol)
    CROSS JOIN LATERAL (
        SELECT value, at, venue_at FROM mark_samples
        WHERE venue = w.venue AND env = w.env AND symbol = w.symbol AND kind = 'mark' AND id >= $4 AND id < $5
        ORDER BY id DESC LIMIT 1
    ) AS s
"""

_CONTRACTS = """
    SELECT c.state::text, c.tiers::text FROM unnest($1::text[], $2::text[], $3::text[]) AS w (venue, env, symbol)
    JOIN contracts AS c ON (c.venue, c.env, c.symbol) = (w.venue, w.env, w.symbol)
"""


async def stood(connection: Connection, accounts: Collection[str], at: int) -> Stood:
    """Return the positions that were open at a moment (ms, with all that came in it), and what their figures need."""
    states, unreadable = [], 0
    places: set[tuple[str, str, str]] = set()
    for row in await connection.fetch(_LAST, sorted(accounts), at):
        try:
            state = msgspec.json.decode(row["state"], type=PositionState)
        except msgspec.ValidationError:
            unreadable += 1
            continue
        states.append((state, row["at"]))
        places.add((row["venue"], row["env"], state.symbol))
    venues, envs, symbols = zip(*sorted(places), strict=True) if places else ((), (), ())
    until = place(at + 1)
    marks = {
        (row["venue"], row["env"], row["symbol"]): Mark(row["value"], row["at"], row["venue_at"])
        for row in await connection.fetch(_MARKS, venues, envs, symbols, place(max(0, at - RATE_AGE_MS)), until)
    }
    instruments, tiers = [], list[MarginTiers]()
    for row in await connection.fetch(_CONTRACTS, venues, envs, symbols):
        try:
            instruments.append(msgspec.json.decode(row["state"], type=Instrument))
            tiers += msgspec.json.decode(row["tiers"] or "[]", type=list[MarginTiers])
        except msgspec.ValidationError:
            unreadable += 1
    return Stood(states, marks, instruments, tiers, unreadable)


# --- what changed a position -------------------------------------------------------------------------------------------

# One branch a table, each along an index and cut to a page. A record that does not say which leg it is of is of all legs of its
# symbol. $1 position, $2 account, $3 symbol, $4 since, $5 until, $6 and $7 the place to go on from, $8 how many, $9 currencies
# of its pool (null: every one).
_BRANCH = """
    (SELECT '{kind}:' || id AS id, at, '{kind}' AS what, {why} AS why, journal, {record} AS record
     FROM {table} WHERE {of} AND at >= $4 AND at < $5 AND at <= $6 AND (at, '{kind}:' || id) < ($6, $7)
     ORDER BY at DESC, id DESC LIMIT $8)
"""
_OF_SYMBOL = "account = $2 AND symbol = $3 AND (position IS NULL OR position = $1)"
_MARGIN = "'{isolated_margin,isolated_cash,leverage,margin_mode,max_leverage}'::text[]"
_BRANCHES = (
    _BRANCH.format(
        kind="change",
        table="(SELECT c.*, (SELECT b.state FROM position_changes AS b WHERE b.account = c.account AND b.position = c.position "
        "AND (b.at, b.id) < (c.at, c.id) ORDER BY b.at DESC, b.id DESC LIMIT 1) AS former FROM position_changes AS c) AS c",
        of="account = $2 AND position = $1",
        why="CASE WHEN jsonb_typeof(state -> 'state') IS DISTINCT FROM 'object' THEN 'closed' "
        "WHEN jsonb_typeof(former -> 'state') IS DISTINCT FROM 'object' THEN 'opened' "
        "WHEN state -> 'changed' ?| '{size,side}' THEN 'size' "
        f"WHEN state -> 'changed' ?| {_MARGIN} THEN 'margin' ELSE 'venue' END",
        record="jsonb_build_object('changed', coalesce((SELECT jsonb_object_agg(f.name, jsonb_build_object("
        "'from', former -> 'state' -> f.name, 'to', state -> 'state' -> f.name)) "
        "FROM jsonb_array_elements_text(state -> 'changed') AS f (name)), '{}'::jsonb))",
    ),
    _BRANCH.format(kind="fill", table="fills", of=_OF_SYMBOL, why="coalesce(cause, 'trade')", record="state"),
    _BRANCH.format(kind="funding", table="funding", of=_OF_SYMBOL, why="'funding'", record="state"),
    _BRANCH.format(
        kind="transfer",
        table="transfers",
        of="account = $2 AND CASE WHEN state ->> 'position' IS NOT NULL THEN state ->> 'position' = $1 "
        "WHEN state ->> 'symbol' IS NOT NULL THEN state ->> 'symbol' = $3 ELSE $9::text[] IS NULL OR ccy = ANY($9) END",
        why="kind",
        record="state",
    ),
    _BRANCH.format(
        kind="correction",
        table="reconciliations",
        of=_OF_SYMBOL,
        why="coalesce(class, 'pending')",
        record="state",
    ),
)
_TIMELINE = (
    f"SELECT id, at, jsonb_strip_nulls(record || jsonb_build_object('at', at, 'what', what, 'why', why, 'journal', journal::text, "
    f"'id', substr(id, strpos(id, ':') + 1)))::text AS record FROM ({' UNION ALL '.join(_BRANCHES)}) AS all_kinds "
    f"ORDER BY at DESC, id DESC LIMIT $8"
)


class Which(NamedTuple):
    """A position that was there at some time: its symbol, and the currencies of its pool (None: every one of the account)."""

    symbol: str
    currencies: tuple[str, ...] | None


async def which(connection: Connection, account: str, position: str) -> Which | None:
    """Return what position it is; None where none of this id was ever seen."""
    row = await connection.fetchrow(
        "SELECT symbol, state -> 'state' ->> 'pool' AS pool, state -> 'state' ->> 'settle' AS settle FROM position_changes "
        "WHERE account = $1 AND position = $2 AND jsonb_typeof(state -> 'state') = 'object' ORDER BY at DESC LIMIT 1",
        account,
        position,
    )
    if row is not None:
        return Which(row["symbol"], _currencies(row["pool"], row["settle"]))
    for table in ("fills", "position_history", "funding", "reconciliations"):
        row = await connection.fetchrow(
            f"SELECT symbol FROM {table} WHERE account = $1 AND position = $2 LIMIT 1", account, position
        )
        if row is not None:
            return Which(row["symbol"], ())
    return None


def _currencies(pool: str | None, settle: str | None) -> tuple[str, ...] | None:
    """Return what money of an account backs a pool: an isolated one's is its own, and no transfer of the account concerns it."""
    if pool is None or pool.startswith("iso:"):
        return ()
    return (settle,) if settle is not None and pool == settle else None


async def timeline(connection: Connection, account: str, position: str, found: Which, asked: Asked) -> Page:
    """Return what changed a position, the newest first: each with ``what`` it was, ``why``, and its origin's place."""
    at, row_id = asked.cursor or (asked.until, "")
    rows = await connection.fetch(
        _TIMELINE,
        position,
        account,
        found.symbol,
        asked.since,
        asked.until,
        at,
        row_id,
        asked.limit + 1,
        found.currencies,
    )
    more, rows = len(rows) > asked.limit, rows[: asked.limit]
    cursor = cursor_of("timeline", rows[-1]["at"], rows[-1]["id"]) if more else ""
    return Page([(row["id"], row["record"]) for row in rows], cursor)


# --- the journal ----------------------------------------------------------------------------------------------------------


async def entry(connection: Connection, place_: int) -> dict[str, Any] | None:
    """Return an entry of the journal as it came; None where none is kept of that place."""
    row = await connection.fetchrow("SELECT * FROM journal WHERE id = $1", place_)
    if row is None:
        return None
    return {name: value for name, value in row.items() if value is not None} | {
        "body": payloads.unpack(row["body"], place_)
    }


async def names(connection: Connection, accounts: Sequence[str] | None) -> list[str]:
    """Return the accounts that are asked for; None: all that are stored."""
    if accounts is not None:
        return sorted(set(accounts))
    return [row["name"] for row in await connection.fetch("SELECT name FROM accounts ORDER BY name")]
