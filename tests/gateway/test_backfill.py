"""Readings of the past: what goes where, what is said of gaps, and that none is lost or done twice at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import pytest

from exchanges.errors import AuthFailed, ProtocolViolation, Rejected, Retryable, VenueError
from exchanges.events import ClosedPnl, Event, Fill, FundingPayment, KeyInfo, Transfer, Verified
from exchanges.inquiry import Findings
from gateway.backfill import AtOnce, Backfiller, Backfills, Beginning
from gateway.core.backfills import BadWindow, Past
from gateway.core.records import Backfill
from tests.exchanges.doubles import StillClock, Watch

DAY = 86_400_000
BEGAN = 1_790_000_000_000


def fill(name: str, at: int) -> Fill:
    return Fill(account="main", id=name, symbol="BTC", order_id="1", side="buy", size="1", price="2", at=at)


def every_kind(at: int) -> list[Event]:
    return [
        fill(f"f{at}", at),
        FundingPayment(account="main", id=f"p{at}", symbol="BTC", amount="-1", ccy="USDC", at=at),
        Transfer(account="main", id=f"t{at}", kind="deposit", ccy="USDC", amount="5", at=at),
        ClosedPnl(account="main", id=f"c{at}", source="fills", symbol="BTC", at=at, realized_pnl="3"),
        Verified(account="main", asked_at=at),
    ]


class Asked:
    """An inquiry whose windows are answered by a function: pages, or errors to be raised."""

    def __init__(self, pages: Callable[[int, int], Sequence[Findings | VenueError]]) -> None:
        self.windows: list[tuple[int, int]] = []
        self.symbols: list[Sequence[str]] = []
        self.audits = 0
        self.refused: VenueError | None = None
        self.hold: asyncio.Event | None = None
        self._pages = pages

    async def audit(self) -> Findings:
        self.audits += 1
        if self.refused is not None:
            raise self.refused
        return Findings(events=(KeyInfo(account="main", powers=()),), asked_at=BEGAN)

    async def records(self, since_ms: int, until_ms: int, symbols: Sequence[str]) -> AsyncIterator[Findings]:
        self.windows.append((since_ms, until_ms))
        self.symbols.append(symbols)
        if self.hold is not None:
            await self.hold.wait()
        for page in self._pages(since_ms, until_ms):
            if isinstance(page, VenueError):
                raise page
            yield page


class Kept:
    """Takes records, in order, and progress."""

    def __init__(self) -> None:
        self.records: list[str] = []
        self.progress: list[Backfill] = []
        self.put_fill = self.put_funding = self.put_transfer = self.put_pnl = self._put

    def _put(self, record: Fill | FundingPayment | Transfer | ClosedPnl) -> None:
        self.records.append(record.id)

    def put_backfill(self, backfill: Backfill) -> None:
        self.progress.append(backfill)
        self.records.append(f"until {backfill.done}")


def page(*events: Event, flaws: Sequence[str] = (), whole: bool = True) -> Findings:
    return Findings(events=events, asked_at=0, flaws=tuple(flaws), whole=whole)


class Scene:
    def __init__(self, pages: Callable[[int, int], Sequence[Findings | VenueError]], account: str = "main") -> None:
        self.clock, self.asked, self.kept = StillClock(BEGAN, watch=Watch()), Asked(pages), Kept()
        self.settled, self.durable = 0, True
        self.now = self.clock.now_ms()
        self.reader = Backfiller(
            account, self.asked, self.kept, self.clock, window_s=86_400, reach_ms=90 * DAY, judge=self._judge,
            settled=self._settle,
        )  # fmt: skip
        self.judged: list[Event] = []

    def _judge(self, events: Sequence[Event]) -> None:
        self.judged += events

    async def _settle(self) -> bool:
        self.settled += 1
        return self.durable

    async def read(self, days: int = 1) -> Backfill:
        return await self.reader.read(self.reader.begin(self.now - days * DAY, self.now), ["BTC"])


async def test_windows_are_read_oldest_first_and_progress_follows_what_came() -> None:
    scene = Scene(lambda since, until: [page(*every_kind(since)), page(*every_kind(since), fill("last", until - 1))])
    begin = scene.now - 2 * DAY
    found = await scene.read(2)
    middle = begin + DAY
    assert scene.asked.windows == [(begin, middle), (middle, scene.now)]
    assert scene.asked.symbols == [["BTC"], ["BTC"]]
    kinds = ["f{}", "p{}", "t{}", "c{}"]
    first, second = ([kind.format(at) for kind in kinds] for at in (begin, middle))
    assert scene.kept.records == [
        f"until {begin}", *first, "last", f"until {middle}", *second, "last", f"until {scene.now}",
    ]  # fmt: skip
    assert (found.since, found.done, found.records, found.error) == (begin, scene.now, 10, None)
    assert scene.settled == 3
    assert (scene.asked.audits, len(scene.judged)) == (1, 1)


async def test_a_reading_goes_on_only_once_what_it_brought_is_durable() -> None:
    def pages(since: int, _until: int) -> list[Findings | VenueError]:
        scene.durable = False
        return [page(fill(f"f{since}", since))]

    scene = Scene(pages)
    reading = asyncio.create_task(scene.read(2))
    for asked in (1, 2, 3):
        await scene.clock.watch.until(scene.clock.alarms)
        assert (len(scene.asked.windows), scene.settled) == (1, 1 + asked)
        scene.durable = asked == 3
        scene.clock.advance(1_000)
    await scene.clock.watch.until(scene.clock.alarms)
    assert len(scene.asked.windows) == 2
    scene.durable = True
    scene.clock.advance(1_000)
    assert (await reading).done == scene.now


async def test_what_can_be_stored_nowhere_is_put_off_and_read_on_once_it_can() -> None:
    scene = Scene(lambda since, until: [page(fill(f"f{since}", since))])
    scene.durable = False
    other = Scene(lambda since, until: [page()], account="other")
    async with running(scene, other) as readings:
        reading = asyncio.ensure_future(readings.read("main", scene.now - DAY, scene.now))
        name = f"main:{scene.now - DAY}:{scene.now}"
        for times in (1, 2, 3):
            for _ in range(300):
                await scene.clock.watch.until(scene.clock.alarms)
                scene.clock.advance(1_000)
            await scene.clock.watch.until(lambda: readings.status(name).state == "waiting")
            assert (scene.settled, scene.asked.windows) == (301 * times, []), "nothing more is read meanwhile"
            if times < 3:
                scene.clock.advance(60_000)
        assert (await readings.read("other", other.now - DAY, other.now)).state == "done", "others go first"
        scene.durable = True
        scene.clock.advance(60_000)
        assert (await reading).state == "done"


async def test_what_cannot_be_had_is_said_and_not_claimed_and_a_remark_changes_nothing() -> None:
    flawed = scene_start = 0

    def pages(since: int, _until: int) -> list[Findings | VenueError]:
        if since == flawed:
            return [page(fill("known", since)), page(flaws=["older ones are forgotten"], whole=False)]
        return [page(flaws=["a word is not known"])]

    scene = Scene(pages)
    scene_start = scene.now - 3 * DAY
    flawed = scene_start + DAY
    found = await scene.read(3)
    assert (found.since, found.done, found.error) == (scene_start + 2 * DAY, scene.now, "older ones are forgotten")
    assert "known" in scene.kept.records


@pytest.mark.parametrize("error", [ProtocolViolation("venue", "garbage"), Rejected("venue", "cannot be asked")])
async def test_what_would_be_the_same_if_asked_again_costs_its_window_alone(error: VenueError) -> None:
    scene = Scene(lambda since, until: [page(), error] if until != scene.now else [page()])
    found = await scene.read(2)
    assert (found.since, found.done) == (scene.now - DAY, scene.now)
    assert error.what in (found.error or "")


async def test_what_only_the_operator_can_mend_ends_it_and_stands_in_the_record() -> None:
    error = AuthFailed("venue", "bad key")
    scene = Scene(lambda since, until: [error] if until == scene.now else [page(fill("a", since))])
    with pytest.raises(AuthFailed):
        await scene.read(2)
    last = scene.kept.progress[-1]
    assert (last.done, last.until) == (scene.now - DAY, scene.now)
    assert error.what in (last.error or "")


async def test_an_account_that_may_not_be_read_is_not_asked_for_its_past() -> None:
    scene = Scene(lambda since, until: [page()])
    scene.asked.refused = AuthFailed("venue", "an agent's address")
    with pytest.raises(AuthFailed):
        await scene.read()
    assert scene.asked.windows == []


# --- All readings of a gateway ------------------------------------------------------------------------------------------


class Starting:
    """A start whose accounts settle, and whose database comes, when it is said."""

    def __init__(self, missing: tuple[int, int] | None = None) -> None:
        self.unsettled: set[str] = set()
        self.there, self.span = True, missing

    def settled(self, account: str) -> bool:
        return account not in self.unsettled

    def stored(self) -> bool:
        return self.there

    def missing(self, account: str, past: Past) -> tuple[int, int] | None:
        return self.span


@asynccontextmanager
async def running(
    *scenes: Scene, past: Past | None = None, beginning: Beginning | None = None
) -> AsyncIterator[Backfills]:
    """Run the readings of accounts of one venue, on the clock of the first."""

    async def stored(account: str) -> Past:
        return past if past is not None and account == "main" else Past(symbols=("ETH",))

    readings = Backfills(
        {scene.reader.account: scene.reader for scene in scenes},
        dict.fromkeys((scene.reader.account for scene in scenes), "venue"),
        stored, scenes[0].clock, lambda: 0.5, beginning or AtOnce(),
    )  # fmt: skip
    tasks = [asyncio.create_task(work) for _, work in readings.coroutines()]
    yield readings
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


async def test_a_reading_under_way_is_not_begun_twice_and_one_that_is_over_can_be_done_again() -> None:
    scene = Scene(lambda since, until: [page(fill(f"f{since}", since))])
    scene.asked.hold = asyncio.Event()
    stretch = (scene.now - DAY, scene.now)
    async with running(scene) as readings:
        first = asyncio.ensure_future(readings.read("main", *stretch))
        again = asyncio.ensure_future(readings.read("main", *stretch))
        await asyncio.sleep(0)
        assert readings.want("main", *stretch).state == "waiting"
        scene.asked.hold.set()
        assert (await first).state == (await again).state == "done"
        assert len(scene.asked.windows) == 1
        assert scene.asked.symbols == [("ETH",)]
        assert (await readings.read("main", *stretch)).state == "done"
        assert len(scene.asked.windows) == 2
        assert [status.backfill.done for status in readings.statuses()] == [scene.now]
    assert len(set(scene.kept.records)) == 3


async def test_a_start_goes_on_where_readings_were_broken_off() -> None:
    scene = Scene(lambda since, until: [page()])
    begin = scene.now - 5 * DAY
    broken = Backfill(
        id=f"main:{begin}:{scene.now}", account="main", at=1, since=begin, until=scene.now, done=scene.now - 2 * DAY
    )
    scene.asked.hold = asyncio.Event()
    async with running(scene, past=Past(unfinished=(broken,))) as readings:
        await asyncio.sleep(0)  # it is under way by itself
        reading = asyncio.ensure_future(readings.read("main", begin, scene.now))
        await asyncio.sleep(0)
        scene.asked.hold.set()
        assert (await reading).state == "done"
        assert scene.asked.windows == [(scene.now - 2 * DAY, scene.now - DAY), (scene.now - DAY, scene.now)]


async def test_a_reading_that_fails_is_shown_and_the_next_one_is_read() -> None:
    bad: list[Findings | VenueError] = [AuthFailed("venue", "not here")]
    scene = Scene(lambda since, until: [bad.pop()] if bad else [page()])
    async with running(scene) as readings:
        status = await readings.read("main", scene.now - DAY, scene.now)
        assert (status.state, status.backfill.error) == ("broken", "venue: not here")
        assert (await readings.read("main", scene.now - 2 * DAY, scene.now)).state == "done"


async def test_what_may_pass_is_asked_again_and_the_window_is_read_anew() -> None:
    tries: list[Findings | VenueError] = [Retryable("venue", "busy"), Retryable("venue", "limits", after_s=30)]

    def pages(since: int, _until: int) -> list[Findings | VenueError]:
        return [page(fill("a", since)), tries.pop(0)] if tries else [page(fill("a", since), fill("b", since))]

    scene = Scene(pages)
    async with running(scene) as readings:
        reading = asyncio.ensure_future(readings.read("main", scene.now - DAY, scene.now))
        for wait_ms in (1_000, 30_000):
            await scene.clock.watch.until(scene.clock.alarms)
            assert [one.state for one in readings.statuses()] == ["waiting"]
            scene.clock.advance(wait_ms)
        found = await reading
    assert (found.state, found.backfill.records, found.backfill.error) == ("done", 2, None)
    assert len(scene.asked.windows) == 3
    assert scene.asked.audits == 1


async def test_a_reading_that_keeps_failing_lets_the_others_of_its_venue_go_first_and_ends_in_time() -> None:
    failing = Scene(lambda since, until: [Retryable("venue", "busy", after_s=600)])
    other = Scene(lambda since, until: [page()], account="other")
    async with running(failing, other) as readings:
        reading = asyncio.ensure_future(readings.read("main", failing.now - DAY, failing.now))
        assert (await readings.read("other", other.now - DAY, other.now)).state == "done"
        for _ in range(19):
            await failing.clock.watch.until(failing.clock.alarms)
            failing.clock.advance(600_000)
        found = await reading
    assert (found.state, found.backfill.error) == ("broken", str(Retryable("venue", "busy")))
    assert len(failing.asked.windows) == 20
    assert failing.kept.progress[-1].error == found.backfill.error


async def test_tries_count_since_a_reading_last_came_further() -> None:
    scene = Scene(lambda since, until: [Retryable("venue", "busy") if len(scene.asked.windows) % 15 else page()])
    async with running(scene) as readings:
        reading = asyncio.ensure_future(readings.read("main", scene.now - 3 * DAY, scene.now))
        for _ in range(3 * 14):
            await scene.clock.watch.until(scene.clock.alarms)
            scene.clock.advance(60_000)
        assert (await reading).state == "done"
    assert len(scene.asked.windows) == 45


@pytest.mark.parametrize("late", ["database", "account"])
async def test_a_start_reads_once_every_account_is_known_and_what_is_stored_was_read(late: str) -> None:
    scene, other = Scene(lambda since, until: [page()]), Scene(lambda since, until: [page()], account="other")
    begin = scene.now - 5 * DAY
    broken = Backfill(
        id=f"main:{begin}:{scene.now}", account="main", at=1, since=begin, until=scene.now, done=scene.now - DAY
    )
    start = Starting((scene.now - 2 * DAY, scene.now))
    if late == "database":
        start.there = False
    else:
        start.unsettled.add("other")
    async with running(scene, other, past=Past(unfinished=(broken,)), beginning=start) as readings:
        for _ in range(3):
            await scene.clock.watch.until(scene.clock.alarms)
            scene.clock.advance(1_000)
        assert list(readings.statuses()) == []
        assert (await readings.read("other", other.now - DAY, other.now)).state == "done"  # whoever asks is answered
        start.there = True
        start.unsettled.clear()
        await scene.clock.watch.until(scene.clock.alarms)
        scene.clock.advance(1_000)
        assert (await readings.read("main", scene.now - 2 * DAY, scene.now)).state == "done"
    days = [(scene.now - 2 * DAY, scene.now - DAY), (scene.now - DAY, scene.now)]
    assert sorted(scene.asked.windows) == [*days, days[1]]  # what was missing, and what was broken off


async def test_an_account_that_does_not_come_up_holds_the_others_up_for_a_bounded_time() -> None:
    scene = Scene(lambda since, until: [page()])
    start = Starting((scene.now - DAY, scene.now))
    start.unsettled.add("main")
    async with running(scene, beginning=start) as readings:
        await scene.clock.watch.until(scene.clock.alarms)
        scene.clock.advance(899_999)
        await scene.clock.watch.until(scene.clock.alarms)
        assert list(readings.statuses()) == []
        scene.clock.advance(1_000)
        assert (await readings.read("main", scene.now - DAY, scene.now)).state == "done"
    assert len(scene.asked.windows) == 1


async def test_a_defect_ends_its_reading_alone() -> None:
    def pages(_since: int, _until: int) -> list[Findings | VenueError]:
        if len(scene.asked.windows) == 1:
            raise KeyError("size")
        return [page()]

    scene = Scene(pages)
    async with running(scene) as readings:
        assert (await readings.read("main", scene.now - DAY, scene.now)).state == "broken"
        assert (await readings.read("main", scene.now - DAY, scene.now)).state == "done"


async def test_a_stretch_or_an_account_that_is_not_there_is_refused_at_once() -> None:
    scene = Scene(lambda since, until: [page()])
    async with running(scene) as readings:
        with pytest.raises(KeyError):
            readings.want("other", scene.now - DAY, scene.now)
        with pytest.raises(BadWindow):
            readings.want("main", scene.now - 91 * DAY, scene.now)
