"""When an account's venue is asked, and what becomes of the answer."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence

import pytest

from exchanges.errors import AuthFailed, KeyTooPowerful, Retryable, VenueError
from exchanges.events import Event, FeedStatus, HistoryFailed, HistoryRead, KeyInfo, VerificationFailed, Verified
from exchanges.inquiry import Findings
from gateway.rounds import AUDIT_EVERY_MS, Rounds
from tests.exchanges.doubles import StillClock, Watch

_POLL = FeedStatus(
    id="a:poll", venue="v", env="live", account="a", connection="poll", state="connecting", at=0, polled=True
)


class Asked:
    """A venue that answers what it is told to, and counts."""

    def __init__(self, clock: StillClock) -> None:
        self.clock = clock
        self.calls: list[object] = []
        self.key = KeyInfo(account="a", powers=())
        self.error: VenueError | None = None
        self.gate: asyncio.Event | None = None
        self.past = asyncio.Event()  # where unset, no history is answered
        self.past.set()
        self.lost: VenueError | None = None  # in place of any history

    async def audit(self) -> Findings:
        return await self._answer("audit", (self.key,))

    async def state(self) -> Findings:
        return await self._answer("state", ())

    async def history(self, since_ms: int, symbols: Sequence[str]) -> Findings:
        answer = await self._answer(("history", since_ms, *symbols), ())
        await self.past.wait()
        if self.lost is not None:
            raise self.lost
        return answer

    async def order(self, symbol: str, order_id: str) -> Findings:
        raise NotImplementedError

    async def _answer(self, call: object, events: tuple[Event, ...]) -> Findings:
        asked_at = self.clock.now
        self.calls.append(call)
        self.clock.watch.poke()
        if self.gate is not None:
            await self.gate.wait()
        if self.error is not None and call != "audit":
            raise self.error
        return Findings(events=events, asked_at=asked_at)

    def count(self, call: object) -> int:
        return self.calls.count(call)


class Desk:
    def __init__(self, **options: object) -> None:
        self.clock = StillClock(watch=Watch())
        self.asked = Asked(self.clock)
        self.told: list[Event] = []
        self.then: Callable[[], None] | None = None  # what the next history leads to
        self.refused: list[VenueError] = []
        self.rounds = Rounds(
            "a",
            "v",
            self.asked,
            deliver=self._deliver,
            refuse=self.refused.append,
            clock=self.clock,
            random=lambda: 0.5,
            every_ms=10_000,
            help="Make a key that can only read.",
            **options,  # type: ignore[arg-type]
        )

    def _deliver(self, events: Sequence[Event]) -> None:
        self.told += events
        if self.then is not None and any(isinstance(event, HistoryRead) for event in events):
            then, self.then = self.then, None
            then()
        self.clock.watch.poke()

    async def until(self, condition: Callable[[], object]) -> None:
        await self.clock.watch.until(condition)

    def seen(self, kind: type[Event]) -> int:
        return sum(isinstance(event, kind) for event in self.told)


@contextlib.asynccontextmanager
async def desk(**options: object) -> AsyncIterator[Desk]:
    made = Desk(**options)
    task = asyncio.ensure_future(made.rounds.run())
    try:
        await made.until(lambda: made.asked.count("audit"))
        yield made
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_the_state_is_asked_on_a_timer_and_verified_stands_last_in_the_same_turn() -> None:
    async with desk() as d:
        await d.until(lambda: d.clock.alarms() == [d.clock.now + 10_000])
        for round_ in range(1, 4):
            d.clock.advance(10_000)
            await d.until(lambda n=round_: d.seen(Verified) == n)
        assert d.told[-1] == Verified(account="a", asked_at=d.clock.now)
        assert d.asked.count("state") == 3


async def test_whoever_wants_fresher_figures_shares_a_round_and_nobody_asks_twice_a_second() -> None:
    async with desk() as d:
        first = [asyncio.ensure_future(d.rounds.verified(1000)) for _ in range(20)]
        assert await asyncio.gather(*first) == [d.clock.now] * 20
        assert d.asked.count("state") == 1
        assert await d.rounds.verified(1000) == d.clock.now  # fresh enough
        assert d.asked.count("state") == 1
        d.clock.advance(400)
        later = asyncio.ensure_future(d.rounds.verified(100))
        await d.until(lambda: d.clock.now + 600 in d.clock.alarms())
        assert d.asked.count("state") == 1
        d.clock.advance(600)
        assert await later == d.clock.now


async def test_an_answer_that_was_asked_too_early_satisfies_nobody() -> None:
    async with desk() as d:
        d.asked.gate = asyncio.Event()
        early = asyncio.ensure_future(d.rounds.verified(0))
        await d.until(lambda: d.asked.count("state") == 1)
        d.clock.advance(2_000)
        late = asyncio.ensure_future(d.rounds.verified(500))
        await asyncio.sleep(0)
        d.asked.gate.set()
        assert await late == d.clock.now
        assert d.asked.count("state") == 2
        await early


async def test_a_venue_that_cannot_be_asked_is_an_error_for_all_who_wait_and_the_next_round_heals() -> None:
    async with desk() as d:
        d.asked.error = Retryable("venue", "busy")
        with pytest.raises(Retryable):
            await d.rounds.verified(0)
        assert d.seen(VerificationFailed) == 1
        assert d.seen(Verified) == 0
        d.asked.error = None
        d.clock.advance(10_000)
        await d.until(lambda: d.seen(Verified) == 1)
        assert d.rounds.failed is None


async def test_history_wishes_that_meet_are_one_question() -> None:
    async with desk() as d:
        d.rounds.want_history(500, ["BTC"])
        d.rounds.want_history(300, ["ETH"])
        await d.until(lambda: d.seen(HistoryRead))
        assert ("history", 300, "BTC", "ETH") in d.asked.calls
        assert d.told[-1] == HistoryRead(account="a", since=300, asked_at=d.clock.now)


async def test_the_state_is_asked_while_a_long_history_is_read() -> None:
    async with desk() as d:
        d.asked.past.clear()
        d.rounds.want_history(500, ["BTC"])
        await d.until(lambda: ("history", 500, "BTC") in d.asked.calls)
        d.rounds.want_history(400, ["ETH"])  # meets no answer yet: it is asked after it
        assert await d.rounds.verified(0) == d.clock.now
        assert not d.seen(HistoryRead)
        d.asked.past.set()
        await d.until(lambda: d.seen(HistoryRead))
        assert ("history", 400, "ETH") not in d.asked.calls
        d.clock.advance(1_000)
        await d.until(lambda: ("history", 400, "ETH") in d.asked.calls)


async def test_who_needs_evidence_takes_over_what_is_asked_patiently() -> None:
    async with desk() as d:
        d.asked.past.clear()
        d.rounds.want_history(300, ())
        await d.until(lambda: ("history", 300) in d.asked.calls)
        d.rounds.want_history(500, ["BTC"])
        d.clock.advance(1_000)
        await d.until(lambda: ("history", 300, "BTC") in d.asked.calls)
        d.asked.past.set()
        await d.until(lambda: d.seen(HistoryRead))
        assert d.seen(HistoryRead) == 1
        assert HistoryRead(account="a", since=300, asked_at=d.clock.now) in d.told


async def test_who_needs_evidence_waits_for_no_patient_question_though_another_waits_behind_it() -> None:
    async with desk() as d:
        d.asked.past.clear()
        d.rounds.want_history(300, ())
        await d.until(lambda: ("history", 300) in d.asked.calls)
        d.rounds.want_history(400, ())
        d.rounds.want_history(500, ["BTC"])
        d.clock.advance(1_000)
        await d.until(lambda: ("history", 300, "BTC") in d.asked.calls)


async def test_what_has_just_been_answered_is_not_taken_over() -> None:
    async with desk() as d:
        d.then = lambda: d.rounds.want_history(500, ["BTC"])  # what the answer tells needs evidence
        d.rounds.want_history(300, ())
        await d.until(lambda: d.seen(HistoryRead))
        d.clock.advance(1_000)
        await d.until(lambda: d.seen(HistoryRead) == 2)
        assert [call for call in d.asked.calls if isinstance(call, tuple)] == [
            ("history", 300),
            ("history", 500, "BTC"),
        ]


async def test_a_history_that_cannot_be_asked_says_so_once_it_has_failed() -> None:
    async with desk() as d:
        d.asked.past.clear()
        began_at = d.clock.now
        d.rounds.want_history(300, ())
        await d.until(lambda: ("history", 300) in d.asked.calls)
        d.clock.advance(120_000)
        assert not d.seen(HistoryFailed)
        d.asked.lost = Retryable("venue", "busy")
        d.asked.past.set()
        await d.until(lambda: d.seen(HistoryFailed))
        assert HistoryFailed(account="a", since=300, asked_at=began_at) in d.told
        assert not d.seen(HistoryRead)


async def test_a_key_that_can_trade_is_refused_with_what_to_do_and_not_asked_with_again() -> None:
    async with desk() as d:
        await d.until(lambda: d.seen(KeyInfo))
        d.asked.key = KeyInfo(account="a", powers=("trade", "withdraw"))
        d.clock.advance(AUDIT_EVERY_MS)
        await d.until(lambda: d.refused)
        (error,) = d.refused
        assert isinstance(error, KeyTooPowerful)
        assert "trade, withdraw" in str(error)
        assert "Make a key that can only read" in str(error)
        assert "allow_trading_keys" in str(error)
        before = len(d.asked.calls)
        d.clock.advance(10 * AUDIT_EVERY_MS)
        with pytest.raises(KeyTooPowerful):
            await d.rounds.verified(0)
        assert len(d.asked.calls) == before


async def test_a_key_that_can_trade_is_accepted_where_the_operator_says_so() -> None:
    async with desk(may_trade=True) as d:
        d.asked.key = KeyInfo(account="a", powers=("trade",))
        d.clock.advance(AUDIT_EVERY_MS)
        await d.until(lambda: d.asked.count("audit") == 2)
        await d.rounds.verified(0)
        assert d.refused == []


async def test_a_refused_key_ends_the_rounds() -> None:
    async with desk() as d:
        d.asked.error = AuthFailed("venue", "the key has expired", do="Make a new one")
        with pytest.raises(AuthFailed):
            await d.rounds.verified(0)
        assert d.refused == [d.asked.error]
        before = len(d.asked.calls)
        d.clock.advance(60_000)
        await asyncio.sleep(0)
        assert len(d.asked.calls) == before


async def test_an_account_without_a_stream_is_asked_at_once_and_says_so() -> None:
    async with desk(polled=_POLL) as d:
        await d.until(lambda: d.seen(Verified) == 1)
        states = [event for event in d.told if isinstance(event, FeedStatus)]
        assert [(one.state, one.polled, one.last_message_at) for one in states] == [("live", True, d.clock.now)]
        d.asked.error = Retryable("venue", "busy")
        d.clock.advance(10_000)
        await d.until(lambda: d.seen(VerificationFailed))
        newest = [event for event in d.told if isinstance(event, FeedStatus)][-1]
        assert (newest.state, newest.error) == ("down", "venue: busy")
