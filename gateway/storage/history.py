"""Position history, kept beside the fills: what a batch adds to it, in the batch's own transaction.

Owns when chains are folded, and how far. The next record of a symbol is all that is read where it comes in order. One that is late
takes its symbol back to how it stood before, and everything since is folded again from the stored rows, in pieces: what is not done
by the end of one batch goes on with the next. While an account's past is being read, late records are noted and folded at its end.
What cannot be worked out, for a record or a defect, is marked and left out, and tried again from its beginning after a growing
pause.
"""

from __future__ import annotations

import asyncio
import logging
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import asyncpg

from exchanges.events import ClosedPnl, Fill, FundingPayment, Transfer
from gateway.core.chains import Chain, Item, Seen, at_of
from gateway.core.evidence import SLACK_MS
from gateway.core.folding import fold
from gateway.core.records import ClosedCycle, Covered, PositionChange
from gateway.core.timelines import tells
from gateway.storage import chain_rows, closings
from gateway.storage.batch import Batch, RecordRow
from gateway.storage.chain_rows import Group, Key, Told
from gateway.storage.postgres import Connection
from gateway.storage.tables import ROW_FAULTS

_log = logging.getLogger(__name__)

_RECENT_MS = 600_000  # going back so far costs little
_PAGES = 50  # of stored records that are folded in one transaction: under a second
_PAUSE_MS, _LONGEST_PAUSE_MS = 60_000, 6 * 3_600_000  # until what failed is tried again: doubled each time


class _Touched:
    """What a batch says of one account and symbol."""

    def __init__(self) -> None:
        self.told: list[Told] = []
        self.positions: set[str] = set()  # of which the venue said something
        self.pnl: list[int] = []  # moments of the venue's own records
        self.again: int | None = None  # from here on it is to be judged anew
        self.user: str | None = None


class Derived(NamedTuple):
    """What became of the history of a batch: what could not be worked out, and why; and what now is again."""

    failed: dict[Key, str]
    mended: set[Key]


async def derive(connection: Connection, batch: Batch) -> Derived:
    """Bring the open → close cycles to the fills and payments of a batch, inside the caller's transaction, after its rows.

    An account and symbol that cannot be worked out is undone, marked and left out: the others go on.
    """
    touched = _touched(batch)
    for covered in batch.records.get("coverage", ()):
        await _doubtful(connection, touched, covered.state)
    for row in batch.records.get("backfills", ()):
        if row.state.done >= row.state.until:
            await rebuild(connection, row.account)
    for key in await chain_rows.owing(connection, batch.at):
        touched.setdefault(key, _Touched())
    if not touched:
        return Derived({}, set())
    rows = [one for one in await chain_rows.rows(connection, list(touched), batch.at) if not one.waits]
    try:
        async with connection.transaction():  # a savepoint
            return Derived({}, await _derive(connection, rows, touched, batch.at))
    except Exception as error:
        if not at_fault(connection, error):
            raise
    return await _one_by_one(connection, rows, touched, batch.at)


async def _one_by_one(
    connection: Connection, rows: Sequence[chain_rows.Row], touched: dict[Key, _Touched], at: int
) -> Derived:
    """Do the same, each account and symbol in a savepoint of its own."""
    derived = Derived({}, set())
    for row in rows:
        try:
            async with connection.transaction():
                derived.mended.update(await _derive(connection, [row], touched, at))
        except Exception as error:
            if not at_fault(connection, error):
                raise
            said = repr(error)
            if row.error != said:
                _log.exception("history: %s of %s cannot be worked out, tried again later", row.key[1], row.key[0])
            await chain_rows.failed(connection, row, said, at + pause_ms(row.failures + 1))
            derived.failed[row.key] = said
    return derived


async def _derive(
    connection: Connection, rows: Sequence[chain_rows.Row], touched: dict[Key, _Touched], at: int
) -> set[Key]:
    """Work out accounts and symbols; return those that had failed and are whole again."""
    changed, pages = [], _PAGES
    for row in rows:
        group = chain_rows.group(row)
        used = await _bring(connection, group, touched[group.key], pages, at)
        if used is not None:
            changed.append(group)
            pages -= used
    await chain_rows.put(connection, changed)
    for group in changed:
        moments = [one.closed_at for ended, _ in group.cycles for one in ended.cycles]
        await closings.compare(connection, group.key, [*moments, *touched[group.key].pnl])
    for key in {row.key for row in rows} - {group.key for group in changed}:
        await closings.compare(connection, key, touched[key].pnl)
    return {group.key for group in changed if group.failed and group.late is None and not group.behind}


async def rebuild(connection: Connection, account: str | None = None) -> None:
    """Let what could not be worked out be so anew with the next batches, whatever its pause; None: of all accounts."""
    await chain_rows.again(connection, account)


def pause_ms(failures: int) -> int:
    """Return after how long what failed so often in a row is tried again."""
    return min(_PAUSE_MS << min(failures - 1, 30), _LONGEST_PAUSE_MS)


def at_fault(connection: Connection, error: BaseException) -> bool:
    """Say whether a record or a defect of ours is at fault, not the server or the way to it."""
    if connection.is_closed():
        return False
    return not isinstance(error, asyncpg.PostgresError) or isinstance(error, ROW_FAULTS)


def _touched(batch: Batch) -> dict[Key, _Touched]:
    found: dict[Key, _Touched] = defaultdict(_Touched)
    for kind in ("fills", "funding", "transfers", "closed_cycles", "position_changes", "pnl_records"):
        for row in batch.records.get(kind, ()):
            record = row.state
            if isinstance(record, Transfer) and not tells(record):
                continue
            one = found[record.account, record.symbol]
            one.user = one.user or row.user_name
            _take(one, record, row)
    return found


def _take(touched: _Touched, record: Item | PositionChange | ClosedPnl, row: RecordRow) -> None:
    match record:
        case PositionChange():
            if record.state is not None:
                touched.positions.add(record.position)
        case ClosedPnl():
            touched.pnl.append(record.at)
            if record.opened_at is not None:
                touched.again = min(touched.again or record.opened_at, record.opened_at)
        case _:
            touched.told.append(Told(record, row.journal))


async def _doubtful(connection: Connection, touched: dict[Key, _Touched], covered: Covered) -> None:
    """Judge beginnings anew that were in doubt: more of the account's records is known to be whole."""
    for key, doubt in (await chain_rows.doubtful(connection, covered.account, covered.since)).items():
        one = touched.setdefault(key, _Touched())
        one.again = min(one.again or doubt, doubt)


async def _bring(connection: Connection, group: Group, touched: _Touched, pages: int, at: int) -> int | None:
    """Bring a group on; return how many pages of stored records were folded; None: nothing changed."""
    group.user = group.user or touched.user
    told = [one for one in touched.told if _counts(group, one.item) and not group.chain.tells_nothing(one.item)]
    unseen = {one for one in touched.positions if not _seen(group.chain, one)}
    words = await _words(connection, group, told, unseen)
    late = [at_of(item) for item in (*(one.item for one in told), *words) if group.chain.late(item)]
    doubt = group.chain.doubt
    if touched.again is not None and doubt is not None and touched.again - SLACK_MS <= doubt:
        late.append(doubt)
    await _go_back(connection, group, late, at)
    if group.behind:
        return await _go_on(connection, group, pages)
    fresh = [one for one in told if not group.chain.late(one.item)]
    fresh += [Told(item, None) for item in words if not group.chain.late(item)]
    await _fold(connection, group, fresh)
    return 0 if fresh or late else None


async def _go_back(connection: Connection, group: Group, late: list[int], at: int) -> None:
    """Take a group back to before its late records. While its past is being read, what is far back waits for the end of that."""
    old = [moment for moment in late if group.running and moment < at - _RECENT_MS]
    recent = [moment for moment in late if moment not in old]
    waiting = min((*old, *([] if group.late is None else [group.late])), default=None)
    if waiting is not None and not group.running:
        recent, waiting = [*recent, waiting], None
    if recent:
        await chain_rows.go_back(connection, group, min(recent))
    group.late = waiting


async def _go_on(connection: Connection, group: Group, pages: int) -> int:
    """Fold what is stored behind a group's chain, at most so many pages; return how many."""
    known = await chain_rows.positions(connection, group)  # fills may name none of them
    for number in range(pages):
        page = await chain_rows.page(connection, group)
        told = [one for one in page.told if _counts(group, one.item)]
        words = await _words(connection, group, told, _held(group) | known)
        await _fold(
            connection, group, [*told, *(Told(item, None) for item in words if page.last or at_of(item) <= page.until)]
        )
        if page.last:
            group.behind = False
            return number + 1
        group.chain.last_at = max(group.chain.last_at, page.until)
    return pages


async def _fold(connection: Connection, group: Group, told: Sequence[Told]) -> None:
    if not told:
        return
    items, chain = [one.item for one in told], group.chain
    # Where the account's mode does not say it (Bybit: each symbol has its own), two positions of one symbol are two legs.
    named = {one for one in _held(group) | _positions(items) if not one.startswith(chain.id)}
    if group.evidence.hedge is None and len(named) > 1:
        group.evidence = group.evidence._replace(hedge=True)
    journals = {at_of(one.item): one.journal for one in told if one.journal is not None}
    group.journal = max(journals.values(), default=group.journal)
    unsure = not chain.legs or any(not leg.known for leg in chain.legs) or _new_legs(chain, items)
    if unsure and any(isinstance(item, Fill) and item.start_position is None for item in items):
        named = _held(group) | _positions(items)
        group.evidence = await chain_rows.opened(connection, group, named, min(map(at_of, items)))
    ordered = sorted(items, key=at_of)
    while ordered:
        cut = bisect_right(ordered, at_of(ordered[: chain_rows.CHUNK][-1]), key=at_of)
        group.cycles += [(ended, journals) for ended in fold(chain, ordered[:cut], group.evidence)]
        ordered = ordered[cut:]
        await asyncio.sleep(0)  # the loop has others to serve


async def _words(connection: Connection, group: Group, told: Sequence[Told], positions: set[str]) -> list[Seen]:
    """Return what the venue said first of the legs of which that was not taken into account yet."""
    stated = {one.item.position for one in told if isinstance(one.item, Fill) and one.item.start_position is not None}
    wanted = (positions | _positions(one.item for one in told)) - stated
    wanted = {one for one in wanted if not _seen(group.chain, one)}
    return await chain_rows.first_words(connection, wanted) if wanted else []


def _positions(items: Iterable[Item]) -> set[str]:
    return {item.position for item in items if not isinstance(item, ClosedCycle) and item.position is not None}


def _held(group: Group) -> set[str]:
    return {leg.position for leg in group.chain.legs}


def _new_legs(chain: Chain, items: Iterable[Item]) -> bool:
    return any(chain.leg(position) is None for position in _positions(items))


def _seen(chain: Chain, position: str) -> bool:
    leg = chain.leg(position)
    return leg is not None and leg.seen


def _counts(group: Group, item: Item) -> bool:
    """Say whether a record is of a position. What is traded on the spot is none, nor what nobody knows and no venue names."""
    return item.position is not None or group.derivative is True or isinstance(item, FundingPayment)
