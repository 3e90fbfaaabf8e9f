"""The past of accounts, read from their venues' books: window after window, the oldest first, straight into storage.

Owns the readings that were asked for, one at a time for each venue, since all its accounts share its limits; one that fails goes
behind the others. What is read passes by the engine, whose tables hold the newest alone. Progress is put on record after every
window, behind its records: a reading that was broken off goes on there, and one that is done twice changes nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from typing import Literal, Protocol

import msgspec
import structlog

from exchanges.backoff import Backoff
from exchanges.clock import Clock, sleep_until
from exchanges.errors import ProtocolViolation, Rejected, Retryable, VenueError
from exchanges.events import ClosedPnl, Event, Fill, FundingPayment, Transfer
from exchanges.inquiry import Findings
from gateway.core import backfills
from gateway.core.backfills import Past
from gateway.core.records import Backfill

log = structlog.get_logger("perpwire")

_ATTEMPTS = 20
_BACKOFF = Backoff(base_s=1.0, cap_s=60.0)
_LONGEST_WAIT_S = 600.0
# So many records are handed over before storage is waited for.
_AHEAD = 5_000
_KEPT = 100  # readings that are over and can still be asked about
_LOOK_MS = 1_000
# What was read and cannot be stored for so long lets the readings of others go first, and is looked at again after a while.
_UNSTORED_MS, _UNSTORED_AGAIN_MS = 300_000, 60_000
# An audit tells for so long what an account is.
_AUDIT_MS = 3_600_000
# An account that does not come up holds the past of the others at its venue up for so long.
_LONGEST_HOLD_MS = 900_000

State = Literal["waiting", "reading", "done", "broken"]


class NotStored(Exception):
    """Neither the database nor the spool takes what was read: to be read on later, from where it was told to stand."""


class Inquiry(Protocol):
    """What is asked about one account; raises VenueError. Nobody else asks it meanwhile."""

    async def audit(self) -> Findings: ...
    def records(self, since_ms: int, until_ms: int, symbols: Sequence[str]) -> AsyncIterator[Findings]: ...


class Books(Protocol):
    """Where records go; every call returns at once and never raises. A record put again replaces the former one."""

    def put_fill(self, fill: Fill) -> None: ...
    def put_funding(self, payment: FundingPayment) -> None: ...
    def put_transfer(self, transfer: Transfer) -> None: ...
    def put_pnl(self, record: ClosedPnl) -> None: ...
    def put_backfill(self, backfill: Backfill) -> None: ...


class Backfiller:
    """Reads the past of one account.

    Args:
        account: Its name.
        inquiry: Asks for it.
        books: Takes what is read.
        window_s: See ``exchanges.venue.Capabilities``. ``reach_ms``: how far back it can be asked for.
        judge: Takes what an audit brought; raises VenueError where the account may not be read.
        settled: Waits until what was handed over is stored, a moment at most; returns whether it is.
    """

    def __init__(
        self,
        account: str,
        inquiry: Inquiry,
        books: Books,
        clock: Clock,
        *,
        window_s: float,
        reach_ms: int | None,
        judge: Callable[[Sequence[Event]], None],
        settled: Callable[[], Awaitable[bool]],
    ) -> None:
        self.account = account
        self.reach_ms = reach_ms
        self._inquiry, self._books, self._clock = inquiry, books, clock
        self._audit: Findings | None = None
        self._window_ms, self._judge, self._settled = round(1000 * window_s), judge, settled

    def begin(self, since: int, until: int) -> Backfill:
        """Return the record of a reading that has not begun. Raises BadWindow."""
        return backfills.begin(self.account, since, until, self._clock.now_ms(), self.reach_ms)

    async def read(
        self, backfill: Backfill, symbols: Sequence[str], tell: Callable[[Backfill], None] = lambda progress: None
    ) -> Backfill:
        """Read on where a reading stands, to its end; return how it stands then. Each step is put on record and told.

        Raises:
            Retryable | NotStored: It may be read on later, from where it was told to stand.
            VenueError: It cannot be read to its end; the record says so too.
        """

        def put(progress: Backfill) -> Backfill:
            self._books.put_backfill(progress)
            tell(progress)
            return progress

        put(backfill)
        try:
            await self._audited()
            while (window := backfills.window(backfill, self._window_ms)) is not None:
                await self._stored()
                records, flaws = await self._window(*window, symbols)
                backfill = put(backfills.after(backfill, window[1], self._clock.now_ms(), records, flaws))
            await self._stored()
        except Retryable:
            raise
        except VenueError as error:
            tell(self.broken(backfill, str(error)))
            raise
        return backfill

    async def _stored(self) -> None:
        """Go on only once what was put is durable: what can be written nowhere would pile up, and be given up at last."""
        until = self._clock.now_ms() + _UNSTORED_MS
        while not await self._settled():
            if self._clock.now_ms() >= until:
                raise NotStored(f"neither the database nor the spool took anything for {_UNSTORED_MS // 1000} s")
            await sleep_until(self._clock, self._clock.now_ms() + _LOOK_MS)

    def broken(self, backfill: Backfill, why: str) -> Backfill:
        """Put on record that a reading ended before its end; return that record."""
        found = backfills.broken(backfill, self._clock.now_ms(), why)
        self._books.put_backfill(found)
        return found

    async def _audited(self) -> None:
        """Let the account's link learn its modes, once in a while, and see that it is the one that was meant."""
        if self._audit is None or self._clock.now_ms() >= self._audit.asked_at + _AUDIT_MS:
            self._audit = await self._inquiry.audit()
        self._judge(self._audit.events)

    async def _window(self, since: int, until: int, symbols: Sequence[str]) -> tuple[int, list[str]]:
        """Read one window; return how many records it brought and what of it could not be had."""
        seen, flaws, ahead = set[str](), dict[str, None](), 0
        try:
            async for found in self._inquiry.records(since, until, symbols):
                ahead += self._put(found.events, seen)
                flaws |= dict.fromkeys(found.flaws if not found.whole else ())
                for flaw in found.flaws:
                    log.warning("an answer about the past is not whole", account=self.account, what=flaw)
                if ahead >= _AHEAD:
                    ahead = 0
                    await self._stored()
        except (ProtocolViolation, Rejected) as error:  # asked again, it would be the same
            flaws[str(error)] = None
            log.warning("a part of the past cannot be had", account=self.account, error=str(error))
        return len(seen), list(flaws)

    def _put(self, events: Iterable[Event], seen: set[str]) -> int:
        """Hand over the records that are new in this window; pages overlap."""
        count = len(seen)
        for event in events:
            match event:
                case Fill() | FundingPayment() | Transfer() | ClosedPnl() if event.id in seen:
                    continue
                case Fill():
                    self._books.put_fill(event)
                case FundingPayment():
                    self._books.put_funding(event)
                case Transfer():
                    self._books.put_transfer(event)
                case ClosedPnl():
                    self._books.put_pnl(event)
                case _:
                    continue
            seen.add(event.id)
        return len(seen) - count


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """How a reading stands; ``state`` broken: it ended before its end, and ``backfill.error`` says why.

    ``key`` names what was asked; the record of a reading that goes on where another one was broken off is that one's.
    """

    key: str
    state: State
    backfill: Backfill


class Reading:
    """One reading that was asked for; ``over`` is set at its end, however that came."""

    def __init__(self, backfill: Backfill) -> None:
        self.status = Status(key=backfill.id, state="waiting", backfill=backfill)
        self.over = asyncio.Event()
        self.tries = 0  # in vain, since it last came further
        self._stood = backfill.done

    def tell(self, backfill: Backfill, state: State = "reading") -> None:
        """Take how it stands."""
        if backfill.done > self._stood:
            self.tries, self._stood = 0, backfill.done
        self.status = Status(key=self.status.key, state=state, backfill=backfill)


class _Queue:
    """The readings of one venue that wait: the first that came goes first, of those that need not wait any longer."""

    def __init__(self, clock: Clock) -> None:
        self._clock, self._woken = clock, asyncio.Event()
        self._waiting: list[tuple[int, Reading]] = []

    def put(self, reading: Reading, due: int = 0) -> None:
        """Add a reading that begins at this moment (ms) at the earliest."""
        self._waiting.append((due, reading))
        self._woken.set()

    async def next(self) -> Reading:
        """Wait for a reading and take it out."""
        while True:
            now = self._clock.now_ms()
            for place, (due, reading) in enumerate(self._waiting):
                if due <= now:
                    del self._waiting[place]
                    return reading
            self._woken.clear()
            alarm = (
                self._clock.call_at(min(due for due, _ in self._waiting), self._woken.set) if self._waiting else None
            )
            try:
                await self._woken.wait()
            finally:
                if alarm is not None:
                    alarm.cancel()


class Beginning(Protocol):
    """What a start knows of an account, and what it has to read of its past."""

    def settled(self, account: str) -> bool:
        """Say whether what is live of it is known: nothing of the past may hold that up."""
        ...

    def stored(self) -> bool:
        """Say whether what earlier lives stored can be read, in whole."""
        ...

    def missing(self, account: str, past: Past) -> tuple[int, int] | None:
        """Return what has to be read (ms, the end not in it); None: nothing."""
        ...


class AtOnce:
    """Where no gateway starts: nothing is waited for, and nothing is read that nobody asks for."""

    def settled(self, account: str) -> bool:
        return True

    def stored(self) -> bool:
        return True

    def missing(self, account: str, past: Past) -> tuple[int, int] | None:
        return None


class Backfills:
    """The readings of one gateway.

    Args:
        readers: Of every account. ``venues``: whose limits each account shares.
        past: Returns what is stored of an account's past; None: the database is away.
        random: Returns uniform fractions in [0, 1), for jitter.
    """

    def __init__(
        self,
        readers: Mapping[str, Backfiller],
        venues: Mapping[str, str],
        past: Callable[[str], Awaitable[Past | None]],
        clock: Clock,
        random: Callable[[], float],
        beginning: Beginning,
    ) -> None:
        self._readers, self._venues, self._past = readers, venues, past
        self._clock, self._random, self._beginning = clock, random, beginning
        self._queues = {venue: _Queue(clock) for venue in venues.values()}
        self._readings: dict[str, Reading] = {}

    def want(self, account: str, since: int, until: int) -> Status:
        """Ask for a reading and return how it stands; one that waits or is under way is not asked for twice.

        Raises:
            KeyError: There is no such account.
            BadWindow: See ``backfills.begin``.
        """
        return self._wanted(account, since, until).status

    async def read(self, account: str, since: int, until: int) -> Status:
        """The same, and wait for its end."""
        reading = self._wanted(account, since, until)
        await reading.over.wait()
        return reading.status

    def status(self, name: str) -> Status:
        """Return how a reading stands. Raises KeyError."""
        return self._readings[name].status

    def statuses(self) -> Iterator[Status]:
        """Yield how all readings of this life stand, the newest of those that are over."""
        for reading in self._readings.values():
            yield reading.status

    def coroutines(self) -> Iterator[tuple[str, Coroutine[None, None, None]]]:
        """Yield what has to run, with names."""
        for venue, queue in self._queues.items():
            yield f"backfill {venue}", self._work(queue)
            yield f"beginning {venue}", self._begin([name for name, its in self._venues.items() if its == venue])

    def _wanted(self, account: str, since: int, until: int) -> Reading:
        reading = Reading(self._readers[account].begin(since, until))
        name = reading.status.key
        known = self._readings.get(name)
        if known is not None and not known.over.is_set():
            return known
        self._add(reading)
        return reading

    def _add(self, reading: Reading) -> None:
        over = [name for name, known in self._readings.items() if known.over.is_set()]
        for name in over[: max(0, len(over) - _KEPT)]:
            del self._readings[name]
        key = reading.status.key
        if self._readings.setdefault(key, reading) is not reading and key not in over:
            return  # it was asked for again before what is stored was read
        self._readings[key] = reading
        self._queue(reading).put(reading)

    def _queue(self, reading: Reading) -> _Queue:
        return self._queues[self._venues[reading.status.backfill.account]]

    # --- a start -----------------------------------------------------------------------------------------------------------

    async def _begin(self, names: Sequence[str]) -> None:
        """Ask for what is missing of a venue's accounts, and go on with what was broken off, once what is live is known."""
        held_until = self._clock.now_ms() + _LONGEST_HOLD_MS
        while not (self._clock.now_ms() >= held_until or all(map(self._beginning.settled, names))):
            await self._look_again()
        for account in names:
            while not self._beginning.stored() or (past := await self._past(account)) is None:
                await self._look_again()
            for one in past.unfinished:
                self._add(Reading(one))
            missing = self._beginning.missing(account, past)
            if missing is not None:
                self._wanted(account, *missing)

    async def _look_again(self) -> None:
        await sleep_until(self._clock, self._clock.now_ms() + _LOOK_MS)

    # --- reading -----------------------------------------------------------------------------------------------------------

    async def _work(self, queue: _Queue) -> None:
        while True:
            reading = await queue.next()
            try:
                await self._read(reading)
            except Retryable as error:
                self._fail(reading, error)
            except NotStored as error:
                self._put_off(reading, error)
            except Exception as error:  # a defect that an old record uncovers must not end the gateway: told, and shown
                if not isinstance(error, VenueError):
                    log.exception("reading the past failed", account=reading.status.backfill.account)
                self._end(reading, error)

    async def _read(self, reading: Reading) -> None:
        asked = reading.status.backfill
        past = await self._past(asked.account) or Past()
        found = backfills.resumed(asked, past.unfinished) if asked.done == asked.since else asked
        done = await self._readers[asked.account].read(found, past.symbols, reading.tell)
        log.info("the past of an account was read", account=asked.account, records=done.records, flaws=done.error)
        reading.tell(done, "done")
        reading.over.set()

    def _fail(self, reading: Reading, error: Retryable) -> None:
        """Let the others of its venue go first; what may still be answered is asked again, a bounded number of times."""
        reading.tries += 1
        stood = reading.status.backfill
        if reading.tries >= _ATTEMPTS:
            reading.tell(self._readers[stood.account].broken(stood, str(error)))
            self._end(reading, error)
            return
        wait_s = max(_BACKOFF.delay_s(reading.tries - 1, self._random()), error.after_s or 0.0)
        log.warning("the past could not be asked", account=stood.account, error=str(error), again_in_s=wait_s)
        reading.tell(stood, "waiting")
        self._queue(reading).put(reading, self._clock.now_ms() + round(1000 * min(wait_s, _LONGEST_WAIT_S)))

    def _put_off(self, reading: Reading, error: NotStored) -> None:
        """Let the others of its venue go first; no number of tries ends it: the venue is not at fault."""
        stood = reading.status.backfill
        again_s = _UNSTORED_AGAIN_MS // 1000
        log.warning("the past of an account is put off", account=stood.account, error=str(error), again_in_s=again_s)
        reading.tell(stood, "waiting")
        self._queue(reading).put(reading, self._clock.now_ms() + _UNSTORED_AGAIN_MS)

    def _end(self, reading: Reading, error: Exception) -> None:
        """Show that a reading ended before its end."""
        stood = reading.status.backfill
        log.warning("the past of an account was not read to its end", account=stood.account, error=str(error))
        why = stood.error or str(error) or type(error).__name__
        reading.tell(msgspec.structs.replace(stood, error=why), "broken")
        reading.over.set()
