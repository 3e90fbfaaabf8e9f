"""Chains and their records as SQL: what is stored of an account and symbol in, cycles out. Owns the statements alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import asyncpg
import msgspec

from exchanges.events import AccountMode, Fill, FundingPayment, Instrument, PositionState, Transfer
from gateway.core.chains import Chain, Ended, Evidence, Item, Seen, at_of, decode, first_seen
from gateway.core.evidence import SLACK_MS
from gateway.core.records import ClosedCycle
from gateway.core.round_trips import contract_of
from gateway.storage.postgres import Connection

CHUNK = 200  # fills read, and folded, at once: some milliseconds of our loop
_DERIVATIVES = ("perp", "future", "option")
_FOREVER = 1 << 62
_RUNNING_MS = 600_000  # a backfill that has not got on for this long is none any more

Key = tuple[str, str]  # account, symbol

_GROUPS = """
    SELECT t.account, t.symbol, a.user_name, a.mode, c.state AS contract, v.since, v.until,
           o.state AS chain, o.late, o.behind, o.error, o.failures, o.retry_at,
           EXISTS (SELECT FROM backfills AS b WHERE b.account = t.account AND b.done < b.until
                   AND b.state ->> 'error' IS NULL AND b.at > $3) AS running
    FROM unnest($1::text[], $2::text[]) AS t (account, symbol)
    LEFT JOIN accounts AS a ON a.name = t.account
    LEFT JOIN contracts AS c ON c.venue = a.venue AND c.env = a.env AND c.symbol = t.symbol
    LEFT JOIN coverage AS v ON v.id = t.account
    LEFT JOIN open_cycles AS o ON o.account = t.account AND o.symbol = t.symbol
"""
_OWING = """
    SELECT account, symbol FROM open_cycles AS o
    WHERE (late IS NOT NULL OR behind) AND (retry_at IS NULL OR retry_at <= $2)
      AND NOT EXISTS (SELECT FROM backfills AS b WHERE b.account = o.account AND b.done < b.until
                      AND b.state ->> 'error' IS NULL AND b.at > $1)
    ORDER BY id LIMIT 50
"""
_DOUBTFUL = "SELECT account, symbol, doubt FROM open_cycles WHERE account = $1 AND doubt >= $2"
_BEFORE = """
    SELECT chain, number, folded FROM position_history WHERE account = $1 AND symbol = $2 AND folded < $3
    ORDER BY number DESC LIMIT 1
"""
_ENDED = "SELECT min(at) FROM position_history WHERE account = $1 AND symbol = $2 AND number > $3"
_DROP = "DELETE FROM position_history WHERE account = $1 AND symbol = $2 AND number > $3"
_FILLS = """
    SELECT state, journal FROM fills WHERE account = $1 AND symbol = $2 AND at > $3 ORDER BY at LIMIT $4
"""
_FILLS_OF = "SELECT state, journal FROM fills WHERE account = $1 AND symbol = $2 AND at = $3"
_PAYMENTS = "SELECT state, journal FROM funding WHERE account = $1 AND symbol = $2 AND at > $3 AND at <= $4"
_TRANSFERS = """
    SELECT state, journal FROM transfers WHERE account = $1 AND state ->> 'symbol' = $2 AND at > $3 AND at <= $4
    AND kind IN ('settlement', 'liquidation')
"""
_CLOSED = "SELECT state, journal FROM closed_cycles WHERE account = $1 AND symbol = $2 AND at > $3 AND at <= $4"
_Decoder = msgspec.json.Decoder[FundingPayment] | msgspec.json.Decoder[Transfer] | msgspec.json.Decoder[ClosedCycle]
_OTHERS: tuple[tuple[str, _Decoder, int], ...] = (  # with how much later than stored they take effect
    (_PAYMENTS, msgspec.json.Decoder(FundingPayment), 0),
    (_TRANSFERS, msgspec.json.Decoder(Transfer), 0),
    (_CLOSED, msgspec.json.Decoder(ClosedCycle), SLACK_MS),
)
_FIRST_CHANGES = """
    SELECT p.position, f.state, f.at FROM unnest($1::text[]) AS p (position)
    CROSS JOIN LATERAL (SELECT state, at FROM position_changes WHERE position = p.position AND state -> 'state' <> 'null'
                        ORDER BY at, id LIMIT 1) AS f
"""
_POSITIONS = """
    SELECT id FROM current_positions WHERE account = $1 AND symbol = $2
    UNION SELECT state ->> 'position' FROM closed_cycles WHERE account = $1 AND symbol = $2
"""
_OPENED = """
    SELECT DISTINCT moment, position FROM (
        SELECT opened_at AS moment, id AS position FROM current_positions WHERE account = $1 AND symbol = $2
        UNION ALL SELECT opened_at, state ->> 'position' FROM closed_cycles WHERE account = $1 AND symbol = $2
        UNION ALL SELECT (state ->> 'opened_at')::bigint, state ->> 'position' FROM pnl_records WHERE account = $1 AND symbol = $2
        UNION ALL SELECT (state -> 'state' ->> 'opened_at')::bigint, position FROM position_changes
                  WHERE position = ANY($3::text[]) AND at >= $4
    ) AS told WHERE moment IS NOT NULL ORDER BY moment
"""
_PUT_CYCLES = """
    INSERT INTO position_history (id, account, user_name, at, journal, state, number, folded, chain)
    SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::jsonb[], $7::bigint[], $8::bigint[],
                         $9::jsonb[])
    ON CONFLICT (id) DO UPDATE SET at = excluded.at, user_name = excluded.user_name, state = excluded.state,
        journal = coalesce(position_history.journal, excluded.journal),
        number = excluded.number, folded = excluded.folded, chain = excluded.chain
"""
_PUT_CHAINS = """
    INSERT INTO open_cycles (id, account, symbol, user_name, at, journal, state, late, behind, doubt)
    SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::jsonb[], $8::bigint[],
                         $9::boolean[], $10::bigint[])
    ON CONFLICT (id) DO UPDATE SET user_name = excluded.user_name, at = excluded.at,
        journal = coalesce(excluded.journal, open_cycles.journal), state = excluded.state, late = excluded.late,
        behind = excluded.behind, doubt = excluded.doubt,
        error = CASE WHEN excluded.late IS NULL AND NOT excluded.behind THEN NULL ELSE open_cycles.error END,
        failures = CASE WHEN excluded.late IS NULL AND NOT excluded.behind THEN 0 ELSE open_cycles.failures END,
        retry_at = NULL
"""
_FAILED = """
    INSERT INTO open_cycles (id, account, symbol, at, state, late, behind, error, failures, retry_at)
    VALUES ($1, $2, $3, -1, $4, -1, true, $5, $6, $7)
    ON CONFLICT (id) DO UPDATE SET late = -1, behind = true, error = excluded.error, failures = excluded.failures,
        retry_at = excluded.retry_at
"""
_AGAIN = "UPDATE open_cycles SET retry_at = NULL WHERE retry_at IS NOT NULL AND account = coalesce($1, account)"


class Told(NamedTuple):
    """A record, and the raw journal entry that it came by."""

    item: Item
    journal: int | None


class Page(NamedTuple):
    """The stored records up to a moment, all of them; ``last``: there are no more behind it."""

    told: list[Told]
    until: int
    last: bool


class Group:
    """One account and symbol, as it is stored and as it becomes.

    Attributes:
        late: A record of this moment is not in the chain. ``behind``: what is stored behind it is not either.
        running: Its account's past is being read: late records come by the thousand.
        failed: It could not be worked out the last time, or is not yet again.
        derivative: It is a contract that can be held; None: not known.
    """

    def __init__(self, key: Key) -> None:
        self.account, self.symbol = key
        self.chain = Chain(account=key[0], symbol=key[1])
        self.user: str | None = None
        self.late: int | None = None
        self.behind = self.running = self.failed = False
        self.derivative: bool | None = None
        self.evidence = Evidence()
        self.journal: int | None = None
        self.cycles: list[tuple[Ended, dict[int, int]]] = []  # with journal entries by moment

    @property
    def key(self) -> Key:
        """Account and symbol."""
        return self.account, self.symbol


class Row(NamedTuple):
    """What is stored of an account and symbol, not read yet.

    Attributes:
        failures: How often in a row it could not be worked out, the last time for this ``error``.
        waits: It is not to be tried now: its pause is not over, or it has to begin anew while its account's past is being read.
    """

    key: Key
    fields: asyncpg.Record
    failures: int
    error: str | None
    waits: bool


async def rows(connection: Connection, keys: Sequence[Key], at: int) -> list[Row]:
    """Return what is stored of accounts and symbols, and what is known of them besides."""
    found = await connection.fetch(_GROUPS, [key[0] for key in keys], [key[1] for key in keys], at - _RUNNING_MS)
    return [
        Row(
            (row["account"], row["symbol"]),
            row,
            row["failures"] or 0,
            row["error"],
            (row["retry_at"] or 0) > at or (_anew(row) and row["running"]),
        )
        for row in found
    ]


def _anew(row: asyncpg.Record) -> bool:
    return row["late"] is not None and int(row["late"]) < 0


def group(row: Row) -> Group:
    """Read what is stored of an account and symbol. Raises msgspec.MsgspecError where that is damaged."""
    fields, found = row.fields, Group(row.key)
    if fields["chain"] is not None and not _anew(fields):
        found.chain = decode(fields["chain"])
    found.user, found.late, found.running = fields["user_name"], fields["late"], fields["running"]
    found.behind, found.failed = bool(fields["behind"]), row.error is not None
    instrument = msgspec.json.decode(fields["contract"], type=Instrument) if fields["contract"] else None
    mode = msgspec.json.decode(fields["mode"], type=AccountMode) if fields["mode"] else None
    found.derivative = None if instrument is None else instrument.kind in _DERIVATIVES
    found.evidence = Evidence(
        contract=contract_of(instrument) if instrument else None,
        covered=fields["since"],
        until=fields["until"],
        hedge=mode.hedge if mode else None,
    )
    return found


async def groups(connection: Connection, keys: Sequence[Key], at: int) -> list[Group]:
    """Return accounts and symbols as they are stored. Raises msgspec.MsgspecError where one is damaged."""
    return [group(row) for row in await rows(connection, keys, at)]


async def failed(connection: Connection, row: Row, error: str, retry_at: int) -> None:
    """Note that an account and symbol could not be worked out: from its beginning again, not before a moment."""
    chain = Chain(account=row.key[0], symbol=row.key[1])
    await connection.execute(_FAILED, chain.id, *row.key, chain.encode().decode(), error, row.failures + 1, retry_at)


async def again(connection: Connection, account: str | None) -> None:
    """Let what failed be tried again at once; None: of all accounts."""
    await connection.execute(_AGAIN, account)


async def owing(connection: Connection, at: int) -> list[Key]:
    """Return accounts and symbols whose stored records are not all folded, but can be."""
    return [(row["account"], row["symbol"]) for row in await connection.fetch(_OWING, at - _RUNNING_MS, at)]


async def doubtful(connection: Connection, account: str, since: int) -> dict[Key, int]:
    """Return the chains of an account with a beginning in doubt that came after a moment, and that beginning."""
    return {(row["account"], row["symbol"]): row["doubt"] for row in await connection.fetch(_DOUBTFUL, account, since)}


async def go_back(connection: Connection, group: Group, to: int) -> None:
    """Put a group back to how it stood before a moment, and forget the cycles that ended, or were amended, since.

    One that was amended since had ended before: it is as far back as that.
    """
    while True:
        row = await connection.fetchrow(_BEFORE, *group.key, to)
        number = row["number"] if row else -1
        ended = await connection.fetchval(_ENDED, *group.key, number)
        if row is None or ended is None or ended > row["folded"]:
            break
        to = ended
    group.chain = decode(row["chain"]) if row else Chain(account=group.account, symbol=group.symbol)
    await connection.execute(_DROP, *group.key, number)
    group.behind = True


async def page(connection: Connection, group: Group) -> Page:
    """Return the stored records that come next, whole moments of them; the venue's words of positions are not among them."""
    after = group.chain.last_at
    rows = list(await connection.fetch(_FILLS, *group.key, after, CHUNK))
    until = _FOREVER
    fills = [Told(msgspec.json.decode(row["state"], type=Fill), row["journal"]) for row in rows]
    if len(rows) == CHUNK:
        until = at_of(fills[-1].item)
        fills = [one for one in fills if at_of(one.item) < until]
        same = await connection.fetch(_FILLS_OF, *group.key, until)
        fills += [Told(msgspec.json.decode(row["state"], type=Fill), row["journal"]) for row in same]
    found = fills
    for statement, decoder, slack in _OTHERS:
        more = await connection.fetch(statement, *group.key, after - slack, until - slack)
        found += [Told(decoder.decode(row["state"]), row["journal"]) for row in more]
    return Page(found, until, until == _FOREVER)


async def positions(connection: Connection, group: Group) -> set[str]:
    """Return the positions that the venue ever spoke of in a group: those that stand, and those that were found closed."""
    return {row[0] for row in await connection.fetch(_POSITIONS, *group.key)}


async def first_words(connection: Connection, positions: Iterable[str]) -> list[Seen]:
    """Return what the venue said first of each position."""
    found = []
    for row in await connection.fetch(_FIRST_CHANGES, sorted(positions)):
        change = msgspec.json.decode(row["state"], type=_Changed)
        if change.state is not None:
            found.append(first_seen(change.state, row["at"]))
    return found


class _Changed(msgspec.Struct):
    state: PositionState | None = None


async def opened(connection: Connection, group: Group, positions: Iterable[str], since: int) -> Evidence:
    """Return what is known of a group with the moments at which the venue says that positions of it were opened."""
    rows = await connection.fetch(_OPENED, *group.key, sorted(positions), since - SLACK_MS)
    return group.evidence.of_opened((row["moment"], row["position"]) for row in rows)


async def put(connection: Connection, changed: Sequence[Group]) -> None:
    """Store chains and the cycles that ended in them."""
    cycles = [
        (one.id, group.account, group.user, one.closed_at, journals.get(one.closed_at, journals.get(ended.last_at)),
         msgspec.json.encode(one).decode(), ended.number, ended.last_at, ended.chain.decode())
        for group in changed for ended, journals in group.cycles for one in ended.cycles
    ]  # fmt: skip
    newest = {row[0]: row for row in cycles}  # one that was amended stands as it was told last
    for start in range(0, len(newest), 500):
        await connection.execute(_PUT_CYCLES, *zip(*list(newest.values())[start : start + 500], strict=True))
    rows = [
        (group.chain.id, group.account, group.symbol, group.user, group.chain.last_at, group.journal,
         group.chain.encode().decode(), group.late, group.behind, group.chain.doubt)
        for group in changed
    ]  # fmt: skip
    if rows:
        await connection.execute(_PUT_CHAINS, *zip(*rows, strict=True))
