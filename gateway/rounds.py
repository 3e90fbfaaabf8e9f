"""When an account's venue is asked for the whole truth: at start, after a reconnect, on a timer, on demand, for missing evidence.

Owns the moments, and who waits for an answer. Never interprets one: events go to the engine, followed by ``Verified`` or
``VerificationFailed`` in the same turn. One round at a time, at most one a second; who asks meanwhile shares the next. What is
asked of the past goes beside them, since it may be long; each such question ends with ``HistoryRead`` or ``HistoryFailed``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Protocol

import msgspec
import structlog

from exchanges.clock import Clock, sleep_until
from exchanges.errors import AuthFailed, KeyTooPowerful, VenueError
from exchanges.events import (
    Event,
    FeedState,
    FeedStatus,
    HistoryFailed,
    HistoryRead,
    KeyInfo,
    VerificationFailed,
    Verified,
)
from exchanges.inquiry import Findings

log = structlog.get_logger("perpwire")

AUDIT_EVERY_MS = 3_600_000
_LEAST_PAUSE_MS = 1_000  # between two rounds for whatever reason
Wish = tuple[int, frozenset[str]]  # what happened since (ms), to which symbols
_MOST_POWERS = 6  # of a key that are named


class Inquiry(Protocol):
    """What can be asked about one account; each raises VenueError where there is no answer."""

    async def audit(self) -> Findings: ...
    async def state(self) -> Findings: ...
    async def history(self, since_ms: int, symbols: Sequence[str]) -> Findings: ...
    async def order(self, symbol: str, order_id: str) -> Findings: ...


def refusal(account: str, venue: str, error: VenueError) -> str:
    """Return why an account is not read, for whoever has to act: account and venue, what is wrong, what to do."""
    return str(error) if account in error.where else f"account {account} ({venue}): {error}"


def only_reads(account: str, venue: str, help: str, events: Sequence[Event]) -> None:
    """Raise KeyTooPowerful where an audit says that a key may do more than read. ``help``: how to make one that may not."""
    for event in events:
        if isinstance(event, KeyInfo) and event.powers:
            powers = ", ".join(event.powers[:_MOST_POWERS])
            more = len(event.powers) - _MOST_POWERS
            raise KeyTooPowerful(
                f"account {account} ({venue})",
                f"its key may do more than read: {powers}" + (f" and {more} more" if more > 0 else ""),
                do=f"{help.removesuffix('.')}. Or say `allow_trading_keys: true` at this account",
            )


class Rounds:
    """The rounds of one account.

    Args:
        account, venue, inquiry: Whom to ask for, where, and how.
        deliver: Takes the events of one round, for one turn of the engine.
        came: Told before that under which names the answers are kept that they came by.
        audited: Called after each audit that found nothing against the account, before its events are delivered.
        refuse: Called once with the reason where only the operator can help: the account's connections have to end.
        may_trade: Keys that can do more than read are accepted, as the operator said in so many words.
        help: How to make a read-only key at this venue.
        every_ms: How often the state is asked without any reason.
        polled: The constant part of the status of an account without a stream; None where there is one.
        random: Returns uniform fractions in [0, 1), for jitter.
    """

    def __init__(
        self,
        account: str,
        venue: str,
        inquiry: Inquiry,
        *,
        deliver: Callable[[Sequence[Event]], None],
        refuse: Callable[[VenueError], None],
        clock: Clock,
        random: Callable[[], float],
        every_ms: int,
        help: str,
        audited: Callable[[], None] = lambda: None,
        came: Callable[[Findings], None] = lambda _: None,
        may_trade: bool = False,
        polled: FeedStatus | None = None,
    ) -> None:
        self._audited, self._came = audited, came
        self.account, self.venue, self.inquiry = account, venue, inquiry
        self.refused: VenueError | None = None
        self.unaudited: VenueError | None = None  # why the last audit brought nothing
        self.failed: VenueError | None = None  # the last state round, while it is the last word
        self._deliver, self._refuse, self._clock, self._random = deliver, refuse, clock, random
        self._every_ms, self._help, self._may_trade, self._polled = every_ms, help, may_trade, polled
        self._verified_at: int | None = None
        self._waiters: list[tuple[int, asyncio.Future[None]]] = []  # (asked not before, whom to tell)
        self._wanted_history: Wish | None = None
        self._patiently: tuple[Wish, asyncio.Task[None]] | None = None  # what is being asked so
        self._wake, self._wake_history = asyncio.Event(), asyncio.Event()
        self._audit_due = self._clock.now_ms()
        self._state_due = self._clock.now_ms() + (0 if polled else self._spread(every_ms))
        self._began_at: int | None = None

    # --- Wishes --------------------------------------------------------------------------------------------------------

    def soon(self, after_ms: int = 0) -> None:
        """Ask for the state as soon as the pace allows, in ``after_ms`` at the earliest."""
        self._state_due = min(self._state_due, self._clock.now_ms() + after_ms)
        self._wake.set()

    def want_history(self, since_ms: int, symbols: Sequence[str]) -> None:
        """Ask for what happened since then; wishes that meet are asked together.

        One without symbols is asked patiently, and may take minutes: one with symbols that comes meanwhile takes it over.
        """
        wishes: list[Wish] = [(since_ms, frozenset(symbols))]
        if self._wanted_history is not None:
            wishes.append(self._wanted_history)
        if symbols and self._patiently is not None:
            wish, reading = self._patiently
            wishes.append(wish)
            reading.cancel()
            self._patiently = None
        since, known = zip(*wishes, strict=True)
        self._wanted_history = min(since), frozenset().union(*known)
        self._wake_history.set()

    def refuse(self, error: VenueError) -> None:
        """Ask no more from now on, for a reason that only the operator can mend."""
        if self.refused is None:
            self._stop(error)

    def is_fresh(self, max_age_ms: int) -> bool:
        """Say whether the state was asked not longer ago than that."""
        return self._verified_at is not None and self._verified_at >= self._clock.now_ms() - max_age_ms

    async def verified(self, max_age_ms: int) -> int:
        """Return when the state was asked last, not longer ago than that; asked now where it is older.

        Raises:
            VenueError: The venue cannot be asked.
        """
        if self.refused is not None:
            raise self.refused
        if not self.is_fresh(max_age_ms):
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters.append((self._clock.now_ms() - max_age_ms, waiter))
            self.soon()
            await waiter
        assert self._verified_at is not None
        return self._verified_at

    # --- The loop ------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Ask whenever it is due, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._ask_when_due())
            group.create_task(self._ask_history())

    async def _ask_when_due(self) -> None:
        while True:
            due, work = self._next()
            if work is not None and due <= self._clock.now_ms():
                await work()
                continue
            timer = self._clock.call_at(due, self._wake.set) if work is not None else None
            await self._wake.wait()
            self._wake.clear()
            if timer is not None:
                timer.cancel()

    async def _ask_history(self) -> None:
        while True:
            await self._wake_history.wait()
            self._wake_history.clear()
            if self.refused is None and self._wanted_history is not None:
                began_at, wish, self._wanted_history = self._clock.now_ms(), self._wanted_history, None
                async with asyncio.TaskGroup() as group:
                    reading = group.create_task(self._history(*wish))
                    self._patiently = None if wish[1] else (wish, reading)
                await sleep_until(self._clock, began_at + _LEAST_PAUSE_MS)

    def _next(self) -> tuple[int, Callable[[], Awaitable[None]] | None]:
        """Return what is to be done next, and when."""
        if self.refused is not None:
            return 0, None
        paced = 0 if self._began_at is None else self._began_at + _LEAST_PAUSE_MS
        plans = [
            (self._audit_due, 0, self._audit),
            (max(0 if self._waiters else self._state_due, paced), 1, self._state),
        ]
        due, _, work = min(plans, key=lambda plan: plan[:2])
        return due, work

    # --- Rounds --------------------------------------------------------------------------------------------------------

    async def _audit(self) -> None:
        self._audit_due = self._clock.now_ms() + self._spread(AUDIT_EVERY_MS)
        try:
            found = await self.inquiry.audit()
            self._judge(found.events)
        except AuthFailed as error:
            self._stop(error)
        except VenueError as error:
            self.unaudited = error
            self._audit_due = self._clock.now_ms() + self._spread(max(self._every_ms, 10_000))
            log.warning("an account could not be audited", account=self.account, error=str(error))
        else:
            self.unaudited = None
            self._audited()
            self._tell(found, ())

    def _judge(self, events: Sequence[Event]) -> None:
        if not self._may_trade:
            only_reads(self.account, self.venue, self._help, events)

    async def _state(self) -> None:
        self._began_at = self._clock.now_ms()
        self._state_due = self._began_at + self._spread(self._every_ms)
        try:
            found = await self.inquiry.state()
        except VenueError as error:
            self._fail(error)
            return
        self.failed, self._verified_at = None, found.asked_at
        status = self._status("live", None)
        self._tell(found, (*status, Verified(account=self.account, asked_at=found.asked_at)))
        self._answer(None, lambda oldest: oldest <= found.asked_at)

    async def _history(self, since: int, symbols: Collection[str]) -> None:
        asked_at = self._clock.now_ms()
        try:
            found = await self.inquiry.history(since, sorted(symbols))
        except VenueError as error:
            log.warning("what happened could not be asked", account=self.account, error=str(error))
            self._deliver([HistoryFailed(account=self.account, since=since, asked_at=asked_at)])
            return
        finally:
            self._patiently = None  # whatever comes now cannot take it over: it is over
        self._tell(found, (HistoryRead(account=self.account, since=since, asked_at=found.asked_at, whole=found.whole),))

    def _tell(self, found: Findings, last: Sequence[Event]) -> None:
        for flaw in found.flaws:
            log.warning("an answer is not whole", account=self.account, what=flaw)
        self._came(found)
        self._deliver([*found.events, *last])

    def _fail(self, error: VenueError) -> None:
        self.failed = error
        if isinstance(error, AuthFailed):
            self._stop(error)
            return
        self._tell_failure(str(error), refused=False)
        self._answer(error)

    def _stop(self, error: VenueError) -> None:
        """Ask no more: only the operator can help."""
        self.refused = error
        self._tell_failure(refusal(self.account, self.venue, error), refused=True)
        self._answer(error)
        self._refuse(error)

    def _tell_failure(self, why: str, *, refused: bool) -> None:
        failure = VerificationFailed(account=self.account, at=self._clock.now_ms(), error=why, refused=refused)
        self._deliver([*self._status("down", why), failure])

    def _answer(self, error: VenueError | None, concerned: Callable[[int], bool] = lambda oldest: True) -> None:
        """Tell those who wait, as far as the round was asked late enough for them."""
        told = [waiter for oldest, waiter in self._waiters if concerned(oldest)]
        self._waiters = [(oldest, waiter) for oldest, waiter in self._waiters if not concerned(oldest)]
        for waiter in told:
            if waiter.done():  # whoever waited has gone
                continue
            if error is None:
                waiter.set_result(None)
            else:
                waiter.set_exception(error)

    def _status(self, state: FeedState, error: str | None) -> tuple[Event, ...]:
        if self._polled is None:
            return ()
        at, heard = self._clock.now_ms(), self._verified_at
        return (msgspec.structs.replace(self._polled, state=state, at=at, last_message_at=heard, error=error),)

    def _spread(self, every_ms: int) -> int:
        """Return the time to the next round: jittered, so that accounts do not ask together for ever."""
        return round(every_ms * (0.75 + 0.5 * self._random()))
