"""What is stored of an account for a verification: its rows, from the opening of whatever the stretch of time compares."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from functools import partial
from typing import TypeVar

import msgspec

from exchanges.events import ClosedPnl, Event, Fill, FundingPayment, PositionState, Transfer
from gateway.core.alerts.records import EquitySample
from gateway.core.balancing import QUIET_MS, Flows, price_range
from gateway.core.chains import AFTERWARDS_MS, Evidence, Seen, first_seen
from gateway.core.evidence import SLACK_MS
from gateway.core.records import Backfill, Verification
from gateway.core.verified import Material
from gateway.core.verify import UNITS, Book, RecordUnit
from gateway.storage.chain_rows import Group, first_words, groups
from gateway.storage.postgres import Connection

E = TypeVar("E", bound=Event)
# Takes a venue and a symbol; says whether the venue's records of realised PnL name what is closed of it.
KeepsRecords = Callable[[str, str], bool]
# A sample may lie so far beyond an end of the stretch.
_AROUND_MS = 15 * 60_000
_THINNED_MS = 2 * 3_600_000  # so far apart may old ones be, of which one an hour is kept

_SYMBOLS = """
    SELECT symbol FROM fills WHERE account = $1 AND at >= $2 AND at < $3
    UNION SELECT symbol FROM pnl_records WHERE account = $1 AND at >= $2 AND at < $3
    UNION SELECT symbol FROM funding WHERE account = $1 AND at >= $2 AND at < $3
"""
# When the earliest of the positions was opened that were held at a moment or later.
_BEGAN = """
    SELECT min(opened) FROM (
        SELECT opened_at AS opened FROM position_history WHERE account = $1 AND symbol = $2 AND at >= $3
        UNION ALL SELECT (state ->> 'opened_at')::bigint FROM pnl_records WHERE account = $1 AND symbol = $2 AND at >= $3
        UNION ALL SELECT (leg -> 'trip' ->> 'opened_at')::bigint FROM open_cycles, jsonb_array_elements(state -> 'legs') AS leg
                  WHERE account = $1 AND symbol = $2
    ) AS known
"""
_ENTRIES = """
    SELECT DISTINCT state -> 'state' ->> 'entry_price' AS price FROM position_changes
    WHERE account = $1 AND symbol = $2 AND coalesce((state -> 'state' ->> 'entry_exact')::boolean, true)
      AND state -> 'state' ->> 'entry_price' IS NOT NULL LIMIT 1000
"""
# Of contracts that are not known, such as options: what the positions say of themselves.
_SETTLES = """
    SELECT DISTINCT symbol, state -> 'state' ->> 'settle' AS settle FROM position_changes
    WHERE account = $1 AND symbol = ANY($2::text[]) AND state -> 'state' ->> 'settle' IS NOT NULL
"""
_POSITIONS = "SELECT DISTINCT position FROM position_changes WHERE account = $1 AND symbol = $2"
_STOOD = """
    SELECT DISTINCT ON (position) position, nullif(state -> 'state', 'null')::text AS state FROM position_changes
    WHERE position = ANY($1::text[]) AND at <= $2 ORDER BY position, at DESC, id DESC
"""
# The last that the venue said of any of the positions: of what kind they are is a matter of the whole symbol.
_SAID = """
    SELECT state -> 'state' AS state FROM position_changes WHERE position = ANY($1::text[]) AND at <= $2
    AND state -> 'state' <> 'null' ORDER BY at DESC, id DESC LIMIT 1
"""
_SOURCES = "SELECT DISTINCT source FROM pnl_records WHERE account = $1"
_READ = "SELECT state FROM backfills WHERE account = $1"
_VERIFIED = "SELECT EXISTS (SELECT FROM verifications WHERE account = $1 AND day = $2 AND symbol IS NULL)"
_UNEXPLAINED = (
    "SELECT state FROM verifications WHERE account = $1 AND day >= $2 AND class = 'unexplained' ORDER BY day, id"
)
_ACCOUNTS = "SELECT name FROM accounts ORDER BY name"
_VENUE = "SELECT venue FROM accounts WHERE name = $1"
# Names of our own: nothing in a statement comes from outside.
_ROWS = "SELECT id, state FROM {table} WHERE account = $1 AND at >= $2 AND at < $3 {more} ORDER BY at, id"


async def accounts(connection: Connection) -> list[str]:
    """Return the stored accounts."""
    return [row["name"] for row in await connection.fetch(_ACCOUNTS)]


async def is_verified(connection: Connection, account: str, day: int) -> bool:
    """Say whether the balance of a day was worked out already. Raises asyncpg.PostgresError."""
    return bool(await connection.fetchval(_VERIFIED, account, day))


async def unexplained(connection: Connection, account: str, since: int) -> list[Verification]:
    """Return the days since a moment that were verified with something unexplained, oldest first. Raises asyncpg.PostgresError."""
    rows = await connection.fetch(_UNEXPLAINED, account, since)
    return [msgspec.json.decode(row["state"], type=Verification) for row in rows]


async def material(
    connection: Connection, account: str, since: int, until: int, now: int, keeps_records: KeepsRecords
) -> Material:
    """Return what a verification of an account needs. Raises asyncpg.PostgresError."""
    venue = await connection.fetchval(_VENUE, account)
    names = [row["symbol"] for row in await connection.fetch(_SYMBOLS, account, since, until) if row["symbol"]]
    known = {
        group.symbol: group for group in await groups(connection, [(account, name) for name in sorted(names)], now)
    }
    contracts = {name: group for name, group in known.items() if group.derivative is not False}
    sources = [row["source"] for row in await connection.fetch(_SOURCES, account)]
    unit = next((UNITS[source] for source in sources if source in UNITS), None)
    stretches = await _stretches(connection, account)
    samples = await _rows(connection, "equity_samples", EquitySample, account, since - _AROUND_MS, until + _AROUND_MS)
    books = [await _book(connection, group, since, until, unit, stretches) for group in contracts.values()]
    prices = partial(price_range, await _priced(connection, account, books, until))
    books = [
        book._replace(prices=prices, read=book.read if keeps_records(venue or "", book.symbol) else None)
        for book in books
    ]
    around = since - _AROUND_MS - QUIET_MS, until + _AROUND_MS + QUIET_MS
    flows = Flows(
        await _rows(connection, "fills", Fill, account, *around),
        await _rows(connection, "funding", FundingPayment, account, *around),
        await _rows(connection, "transfers", Transfer, account, *around),
    )
    records = await _rows(connection, "pnl_records", ClosedPnl, account, since, until)

    settles = {row["symbol"]: row["settle"] for row in await connection.fetch(_SETTLES, account, sorted(contracts))}
    settles |= {one.symbol: one.settle for one in books if one.settle is not None}
    return Material(account, since, until, books, flows, samples, records, settles.get)


async def _priced(connection: Connection, account: str, books: Sequence[Book], until: int) -> list[EquitySample]:
    """Return the samples that tell what fees in other currencies were worth, from the opening of what paid them on."""
    foreign = (one for one in books if any(fill.fee_ccy not in (None, one.settle) for fill in one.fills))
    began = min((fill.at for one in foreign for fill in one.fills), default=None)
    if began is None:
        return []
    return await _rows(connection, "equity_samples", EquitySample, account, began - _THINNED_MS, until + _THINNED_MS)


async def _book(
    connection: Connection,
    group: Group,
    since: int,
    until: int,
    unit: RecordUnit | None,
    read: Sequence[tuple[int, int]],
) -> Book:
    began = await _began(connection, group, since)
    of, end = group.account, until + AFTERWARDS_MS
    more = "AND symbol = $4"
    fills = await _rows(connection, "fills", Fill, of, began, end, group.symbol, more=more)
    payments = await _rows(connection, "funding", FundingPayment, of, began, end, group.symbol, more=more)
    more = "AND state ->> 'symbol' = $4 AND kind IN ('settlement', 'liquidation', 'rebate')"
    transfers = await _rows(connection, "transfers", Transfer, of, began, end, group.symbol, more=more)
    records = await _rows(connection, "pnl_records", ClosedPnl, of, since, until, group.symbol, more="AND symbol = $4")
    seen, hedged = await _seen(connection, group, began)
    entries = [row["price"] for row in await connection.fetch(_ENTRIES, of, group.symbol)]
    covered, known_until = group.evidence.covered, group.evidence.until
    for first, last in read:
        if covered is None or first < covered <= last:
            covered = first if covered is None else min(first, covered)
        if known_until is not None and first <= known_until < last:
            known_until = last
    overlap = max(((max(a, since), min(b, until)) for a, b in read), key=lambda one: one[1] - one[0], default=(0, 0))
    evidence = Evidence(
        contract=group.evidence.contract, covered=covered, until=known_until, hedge=hedged or group.evidence.hedge
    )
    return Book(
        of, group.symbol, evidence, fills, payments, transfers, records, unit, overlap if overlap[0] < overlap[1] else None,
        seen, entries,
    )  # fmt: skip


async def _seen(connection: Connection, group: Group, began: int) -> tuple[list[Seen], bool]:
    """Return what the venue said of positions as the fold begins: what was held then, else the first that it ever said.

    With it whether it said that they are legs of a hedge, whatever is held of them then.
    """
    before = began - SLACK_MS - 1  # in effect before the first fill
    positions = {row["position"] for row in await connection.fetch(_POSITIONS, group.account, group.symbol)}
    first = await first_words(connection, positions)
    said = await connection.fetchval(_SAID, sorted(positions), before)
    hedged = msgspec.json.decode(said, type=PositionState).hedged if said else any(one.hedged for one in first)
    known = {}
    for row in await connection.fetch(_STOOD, sorted(positions), before):
        state = msgspec.json.decode(row["state"], type=PositionState) if row["state"] is not None else None
        size = Decimal(0) if state is None else first_seen(state, before).size
        opened, entry = (None, None) if state is None else (state.opened_at, state.entry_price)
        known[row["position"]] = Seen(before, row["position"], size, opened, entry, hedged)
    later = (one for one in first if one.position not in known)
    return [*known.values(), *(one._replace(at=max(one.at, before)) for one in later)], hedged


async def _began(connection: Connection, group: Group, since: int) -> int:
    """Return a moment at which nothing was held, or the earliest that is known: from there on everything is folded."""
    began = since
    while True:
        earlier = await connection.fetchval(_BEGAN, group.account, group.symbol, began)
        if earlier is None or earlier >= began:
            return began
        began = earlier


async def _stretches(connection: Connection, account: str) -> list[tuple[int, int]]:
    """Return from when to when the venue's records were read without a flaw, joined where they touch."""
    found: list[tuple[int, int]] = []
    read = [msgspec.json.decode(row["state"], type=Backfill) for row in await connection.fetch(_READ, account)]
    for first, last in sorted((one.since, one.done) for one in read if one.error is None and one.done > one.since):
        if found and first <= found[-1][1]:
            found[-1] = found[-1][0], max(last, found[-1][1])
        else:
            found.append((first, last))
    return found


async def _rows(
    connection: Connection,
    table: str,
    kind: type[E],
    account: str,
    since: int,
    until: int,
    *others: object,
    more: str = "",
) -> list[E]:
    """Return stored events under the ids of their rows: two rows are two, whatever they say of themselves."""
    rows = await connection.fetch(_ROWS.format(table=table, more=more), account, since, until, *others)
    decode = msgspec.json.Decoder(kind).decode
    named = "id" in kind.__struct_fields__
    found = ((row["id"], decode(row["state"])) for row in rows)
    return [msgspec.structs.replace(one, id=row_id) if named else one for row_id, one in found]
