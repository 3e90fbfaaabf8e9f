"""Questions about what is stored: sessions that can only read, and records in pages and chunks by (at, id).

Owns a pool of its own (the writer's connection is never asked) and the statements of lists. A list of some accounts is read
account by account along its index and merged, so that a page costs as much in a full table as in a small one. Sums are in
``gateway.storage.sums``, single positions in ``gateway.storage.past``.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import asyncpg

from gateway.core.lookup import KINDS, Asked, Page, cursor_of
from gateway.storage.errors import PostgresAway, ReadRefused
from gateway.storage.postgres import Connection, Database

POOL_SIZE = 8
STATEMENT_MS = 10_000
CHUNK = 1_000

_SESSION = {
    "default_transaction_read_only": "on",
    "statement_timeout": str(STATEMENT_MS),
    "idle_in_transaction_session_timeout": "30000",
    # A plan for every accounts and times at once would be wrong for most; compiling costs more than it saves here.
    "plan_cache_mode": "force_custom_plan",
    "jit": "off",
    # Partitions are chosen by their bounds; their checks, which say the same, would be proved again for each of them.
    "constraint_exclusion": "off",
}


class Reader:
    """Reads what is stored; made without connecting. ``close`` ends it."""

    def __init__(self, dsn: str, *, pool_size: int = POOL_SIZE) -> None:
        """Raises BadDsn."""
        self._database = Database(dsn, name="perpwire reads", pool_size=pool_size, settings=_SESSION, reset=False)

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """Lend a session that can only read; to be given back soon.

        Raises:
            PostgresAway | PostgresRefused | BadDsn: See there.
            ReadRefused: The question takes too long, or the schema is older than it.
        """
        try:
            async with self._database.connection() as lent:
                yield lent
        except PostgresAway as away:
            if isinstance(away.__cause__, asyncpg.QueryCanceledError):
                raise _too_long(self._database.where) from None
            if isinstance(away.__cause__, TimeoutError):
                raise ReadRefused(
                    self._database.where, f"all {POOL_SIZE} connections for questions are in use", "Ask again later"
                ) from None
            raise
        except (asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError) as error:
            do = "Let a gateway of this version start with it, or run `perpwire migrate`"
            raise ReadRefused(self._database.where, f"the schema is older than this version ({error})", do) from None

    async def close(self) -> None:
        """Let go of the connections."""
        await self._database.close()

    async def page(self, asked: Asked) -> Page:
        """Return the records behind a cursor, the newest first. Raises as ``connection``."""
        async with self.connection() as connection:
            rows = await _read(connection, asked, asked.limit + 1, newest_first=True)
        if len(rows) <= asked.limit:
            return Page([(row["id"], row["record"]) for row in rows])
        rows = rows[: asked.limit]
        return Page([(row["id"], row["record"]) for row in rows], cursor_of(asked.kind, rows[-1]["at"], rows[-1]["id"]))

    async def chunks(self, asked: Asked) -> AsyncIterator[list[str]]:
        """Yield all records, the oldest first, some at a time.

        Each chunk is a question of its own and nothing is held between them: however slowly somebody takes them, no connection
        waits for him and no old row version is kept for him. ``limit`` and ``cursor`` do not count.
        """
        place = (asked.since, "")
        while True:
            async with self.connection() as connection:
                rows = await _read(connection, asked, CHUNK, newest_first=False, place=place)
            if rows:
                yield [row["record"] for row in rows]
            if len(rows) < CHUNK:
                return
            place = rows[-1]["at"], rows[-1]["id"]


def _too_long(where: str) -> ReadRefused:
    what = f"the question takes longer than {STATEMENT_MS // 1000} s"
    return ReadRefused(where, what, "Ask for a shorter time, or fewer accounts")


async def _read(
    connection: Connection, asked: Asked, limit: int, *, newest_first: bool, place: tuple[int, str] | None = None
) -> list[asyncpg.Record]:
    place = place or asked.cursor or (asked.until, "")
    sql = statement(asked, newest_first=newest_first)
    classes = asked.classes if "class" in KINDS[asked.kind].filters else asked.sides
    return await connection.fetch(sql, asked.accounts, asked.symbols, classes, asked.since, asked.until, *place, limit)


def statement(asked: Asked, *, newest_first: bool) -> str:
    """Return the statement of a list: $1 accounts, $2 symbols, $3 sides or classes, $4 since, $5 until, $6 and $7 the place to go
    on from, $8 how many.

    First the ids, along the indices, then the records themselves, of those alone.
    """
    kind = KINDS[asked.kind]
    # Names of our own, in gateway.core.lookup: nothing here comes from outside.
    order = "DESC" if newest_first else "ASC"
    beyond = "(at, id) < ($6, $7)" if newest_first else "(at, id) > ($6, $7)"
    word = "class" if "class" in kind.filters else "side" if "side" in kind.filters else None
    only = f"AND {word} = ANY($3)" if word is not None and (asked.sides or asked.classes) else "AND $3::text[] IS NULL"
    inside = f"at >= $4 AND at < $5 AND {beyond} {only}"
    first = f"ORDER BY at {order}, id {order} LIMIT $8"
    if asked.accounts is None and asked.symbols is None:
        keys = f"SELECT id, at FROM {kind.table} WHERE $1::text[] IS NULL AND $2::text[] IS NULL AND {inside} {first}"
    else:
        symbols = "CROSS JOIN unnest($2::text[]) AS symbols (symbol)" if asked.symbols else ""
        of = "account = name AND " + (
            f"{kind.table}.symbol = symbols.symbol" if asked.symbols else "$2::text[] IS NULL"
        )
        keys = (
            f"SELECT id, at FROM (SELECT name FROM accounts WHERE $1::text[] IS NULL OR name = ANY($1)) AS whose {symbols} "
            f"CROSS JOIN LATERAL (SELECT id, at FROM {kind.table} WHERE {of} AND {inside} {first}) AS own {first}"
        )
    return (
        f"SELECT k.id, k.at, ({_record(asked.kind)})::text AS record FROM ({keys}) AS k "
        f"JOIN {kind.table} AS r ON r.id = k.id LEFT JOIN accounts AS a ON a.name = r.account ORDER BY k.at {order}, k.id {order}"
    )


def _record(kind: str) -> str:
    """Return a record as clients see it: its state, digits unchanged, whose it is, and the place of its origin as text."""
    more = [f"'{name}', nullif(r.state ->> '{name}', '')" for name in KINDS[kind].blank]
    if kind == "history":
        more.append("'duration_ms', r.at - (r.state ->> 'opened_at')::bigint")
    if kind == "reconciliations":
        more.append("'pending', CASE WHEN r.state ->> 'class' IS NULL THEN true END")
    whose = "'id', r.id, 'user', coalesce(r.user_name, a.user_name), 'venue', a.venue, 'env', a.env, 'journal', r.journal::text"
    return f"jsonb_strip_nulls(r.state || jsonb_build_object({', '.join((whose, *more))}))"
