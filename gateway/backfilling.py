"""``perpwire backfill``: a stretch of an account's past, through the running gateway or, where none runs, by itself.

Owns how the readings of a gateway are put together, and what the command says. One writer per database: without a gateway the
command takes the writer lock that a gateway would hold.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from exchanges.actions import FeedName
from exchanges.choice import resolve
from exchanges.clock import Clock, SystemClock
from exchanges.errors import AuthFailed
from exchanges.events import Event
from exchanges.venue import AccountSpec, Data
from gateway import asking
from gateway.backfill import AtOnce, Backfiller, Backfills, Beginning, Status
from gateway.config import Config
from gateway.core import backfills
from gateway.core.accounts import Account, AccountInfo
from gateway.core.backfills import Past
from gateway.core.books import Books
from gateway.core.journal import Entry
from gateway.core.records import Backfill, Covered
from gateway.feeds import Feeds, Group
from gateway.rounds import only_reads
from gateway.storage.errors import PostgresRefused
from gateway.store import Store

_LOOK_S = 0.25

# Told how a reading stands, again and again.
Tell = Callable[[Status], None]


def reach_ms(venue: str) -> int | None:
    """Return how far back a venue tells of the past; None: to the beginning."""
    reach_s = resolve(venue).capabilities.records_reach_s
    return None if reach_s is None else round(1000 * reach_s)


def desk(
    config: Config, specs: Sequence[AccountSpec], feeds: Feeds, store: Store, clock: Clock, beginning: Beginning
) -> Backfills:
    """Return the readings of these accounts: asked by ``feeds``, stored by ``store``, which has started."""

    def made(spec: AccountSpec) -> Backfiller:
        venue, settings = resolve(spec.venue), config.accounts.get(spec.name)
        can = venue.capabilities

        def judge(events: Sequence[Event]) -> None:
            if spec.name in feeds.refusals:
                raise AuthFailed(f"account {spec.name} ({spec.venue})", "it is not read any more")
            if not (settings and settings.allow_trading_keys):
                only_reads(spec.name, spec.venue, venue.read_only_help, events)

        return Backfiller(
            spec.name,
            feeds.pasts[spec.name],
            store.checkpoint,
            clock,
            window_s=can.records_window_s,
            reach_ms=reach_ms(spec.venue),
            judge=judge,
            settled=store.stored,
        )

    readers = {spec.name: made(spec) for spec in specs}
    venues = {spec.name: spec.venue for spec in specs}
    return Backfills(readers, venues, store.past, clock, random.random, beginning)


class Start:
    """What a gateway's start has to read: since an account's records were whole, or of a new one as much as is configured.

    Args:
        accounts, books: The engine's.
        restored, stored_at: What ``Store.start`` returned. Where the database was away then, the journal says up to when an
            earlier life heard of an account.
    """

    def __init__(
        self,
        config: Config,
        accounts: Mapping[str, Account],
        books: Books,
        store: Store,
        clock: Clock,
        restored: Iterable[Event],
        stored_at: int | None,
    ) -> None:
        self._config, self._accounts, self._books, self._store, self._clock = config, accounts, books, store, clock
        self._covered = {event.account: event for event in restored if isinstance(event, Covered)}
        self._stored_at = stored_at

    def settled(self, account: str) -> bool:
        """Say whether an account was verified, and its records are whole or known not to be; one that is refused is done with."""
        known = self._accounts[account]
        return known.refused is not None or (known.verified_at is not None and self._books.settled(account))

    def stored(self) -> bool:
        """Say whether what earlier lives stored can be read, in whole."""
        return self._store.whole

    def missing(self, account: str, past: Past) -> tuple[int, int] | None:
        """Return what has to be read of an account; None: nothing. What the engine asked for itself is not read again."""
        last = past.heard
        if self._store.remembers:
            last = backfills.whole_until(self._covered.get(account), self._stored_at)
        days, reach = self._config.history.backfill_days, reach_ms(self._config.accounts[account].venue)
        whole_since = self._books.whole_since(account)
        return backfills.missing(last, whole_since, self._clock.now_ms(), days, reach)


# --- The command --------------------------------------------------------------------------------------------------------


async def through_gateway(url: str, account: str, since: int, until: int, tell: Tell) -> Status:
    """Have a running gateway read it, and wait for its end. Raises NoAnswer, NoGateway where none runs."""
    body = {"account": account, "from": since, "to": until}
    told = await asking.ask(url, "/internal/backfill", method="POST", json=body)
    while True:
        status = _status(told)
        tell(status)
        if status.state in ("done", "broken"):
            return status
        await asyncio.sleep(_LOOK_S)
        rows = (await asking.ask(url, "/internal/backfills"))["backfills"]
        found = [row for row in rows if row["account"] == account and row["key"] == told["key"]]
        if not found:
            raise asking.NoAnswer("the gateway was started anew: it goes on by itself where the reading was broken off")
        told = found[0]


def _status(told: Mapping[str, Any]) -> Status:
    return Status(state=told["state"], key=told["key"], backfill=msgspec.convert(told, Backfill))


async def alone(config: Config, spec: AccountSpec, since: int, until: int, tell: Tell) -> Status:
    """Read it while no gateway runs, and wait for its end.

    Raises:
        StorageError: The database is away, or a gateway writes into it.
        BadWindow | VenueError: It cannot be read.
    """
    clock, store = SystemClock(), Store(config.storage)
    settings = config.accounts[spec.name]
    info = AccountInfo(
        name=spec.name,
        venue=spec.venue,
        env=spec.env,
        region=spec.region,
        user=settings.user,
        execution=settings.execution,
    )
    feeds: Feeds | None = None
    tasks: list[asyncio.Task[None]] = []
    try:
        restored, stored_at = await store.start(f"backfill-{clock.now_ms()}", [info], whole=True)
        if store.state != "ok":
            raise PostgresRefused("storage", "the database is away", "Start it, and ask again")
        _keep_coverage(store, restored, stored_at, clock.now_ms())
        tape = _Tape(store, info, clock)
        feeds = Feeds(config, [spec], clock, _nowhere, tape=tape.keep)
        await feeds.measure_clocks()
        readings = desk(config, [spec], feeds, store, clock, AtOnce())
        tasks = [asyncio.create_task(work, name=name) for name, work in readings.coroutines()]
        tasks.append(asyncio.create_task(store.run(), name="checkpoint"))
        reading = asyncio.ensure_future(readings.read(spec.name, since, until))
        while not reading.done():
            await asyncio.wait((reading, *tasks), timeout=_LOOK_S, return_when=asyncio.FIRST_COMPLETED)
            for status in readings.statuses():
                tell(status)
            for task in tasks:
                if task.done():
                    task.result()
        return reading.result()
    finally:
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        await store.stop()
        if feeds is not None:
            await feeds.close()


def _nowhere(_groups: Sequence[Group]) -> None:
    return None


def _keep_coverage(store: Store, restored: Iterable[Event], stored_at: int | None, now: int) -> None:
    """Let an open coverage end with the last write of the gateway: it would reach to ours else, and nobody listened meanwhile."""
    for event in restored:
        if isinstance(event, Covered) and event.until is None and stored_at is not None:
            store.checkpoint.put_covered(msgspec.structs.replace(event, until=stored_at, at=now))


class _Tape:
    """Keeps the answers in the journal, and says which of them a record came by."""

    def __init__(self, store: Store, info: AccountInfo, clock: Clock) -> None:
        self._checkpoint, self._info = store.checkpoint, info
        self._epoch, self._places = f"backfill-{clock.now_ms()}", store.checkpoint.places
        store.checkpoint.origin = lambda kind, record_id, account: self._last
        self._last: int | None = None

    def keep(self, name: FeedName, via: str, request: object, data: Data, at: int) -> int:
        """Put an answer down; return its place."""
        text = data if isinstance(data, str) else data.decode(errors="replace")
        self._last = self._places.next(at)
        self._checkpoint.put_entry(
            Entry(
                id=self._last,
                at=at,
                kind="rest",
                epoch=self._epoch,
                user=self._info.user,
                account=self._info.name,
                venue=self._info.venue,
                source="rest",
                request=request if isinstance(request, str) else msgspec.json.encode(request).decode(),
                body=text.replace("\0", "�"),
            )
        )
        return self._last


def report(status: Status) -> Iterable[str]:
    """Yield what a reading that is over has to say."""
    found = status.backfill
    if found.since < found.done:
        yield f"{found.account}: everything from {backfills.shown(found.since)} to {backfills.shown(found.done)} is stored"
    else:
        yield f"{found.account}: nothing of it is certain to be whole"
    yield f"  {found.records:,} records came: fills, funding, transfers, and what the venue says was realised"
    if status.state == "broken":
        yield f"  it ended before its end ({backfills.shown(found.until)}): {found.error}"
        yield "  the same command goes on where it was broken off"
    elif found.error:
        yield f"  not to be had: {found.error}"
