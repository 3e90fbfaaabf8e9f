"""Questions outside any stream: order, pages, retries, and that a failure is never an empty answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import pytest

from exchanges.errors import AuthFailed, NotFound, ProtocolViolation, Rejected, Retryable, VenueError
from exchanges.events import PositionsSnapshot, Price
from exchanges.inquiry import Inquirer
from exchanges.venue import HttpRequest
from tests.exchanges.doubles import ScriptedLink, StillClock, Watch


class Scripted:
    """A REST client that answers by path, from a list of answers a path."""

    def __init__(self, clock: StillClock, answers: dict[str, list[bytes | VenueError]]) -> None:
        self.clock, self.answers = clock, answers
        self.asked: list[str] = []
        self.patient: set[str] = set()
        self.clock_offset_ms = 5000
        self.headers: list[tuple[tuple[str, str], ...]] = []

    async def fetch(self, request: HttpRequest, sign: Callable[[HttpRequest], HttpRequest]) -> bytes:
        self.asked.append(request.path)
        self.patient |= {request.path} if request.patient else set()
        self.headers.append(sign(request).headers)
        self.clock.watch.poke()
        await asyncio.sleep(0)
        found = self.answers[request.path]
        answer = found.pop(0) if len(found) > 1 else found[0]
        if isinstance(answer, VenueError):
            raise answer
        return answer


def inquirer(answers: dict[str, list[bytes | VenueError]], **link: object) -> tuple[Inquirer, Scripted, StillClock]:
    clock = StillClock(watch=Watch())
    rest = Scripted(clock, answers)
    return Inquirer(ScriptedLink(**link), rest, clock, lambda: 0.5), rest, clock  # type: ignore[arg-type]


async def test_pages_of_an_answer_come_before_the_next_answer() -> None:
    asked, rest, clock = inquirer(
        {
            "/mode": [b""],
            "/a": [b"price A 1; ask /a2"],
            "/a2": [b"price A 2; ask /a3"],
            "/a3": [b"price A 3"],
            "/b": [b"price B 1; snapshot"],
        },
        asks=["/mode", "/a", "/b"],
    )
    found = await asked.state()
    prices = [event.value for event in found.events if isinstance(event, Price)]
    assert prices == ["1", "2", "3", "1"]
    assert isinstance(found.events[-1], PositionsSnapshot)
    assert rest.asked[0] == "/mode"
    assert found.asked_at == clock.now
    assert found.flaws == ()
    assert found.whole


async def test_what_is_free_is_asked_for_where_a_link_has_that_question() -> None:
    asked, rest, _ = inquirer({"/free?ccy=USDT": [b"price A 1"]}, asks=["/x"])
    assert len((await asked.free("USDT")).events) == 1
    asked.link.free = lambda ccy: []  # type: ignore[method-assign]
    assert (await asked.free("USDT")).events == ()
    assert rest.asked == ["/free?ccy=USDT"]


async def test_signatures_carry_the_venues_time() -> None:
    asked, rest, clock = inquirer({"/x": [b""]}, asks=["/x"])
    await asked.state()
    assert rest.headers == [(("X-Sign", f"signed at {clock.wall_ms() + 5000}"),)]


async def test_what_may_pass_is_asked_again_and_then_it_is_an_error() -> None:
    asked, rest, clock = inquirer({"/x": [Retryable("h", "busy"), b"price A 1"]}, asks=["/x"])
    task = asyncio.ensure_future(asked.state())
    await clock.watch.until(clock.alarms)
    clock.advance(1000)
    assert len((await task).events) == 1

    asked, rest, clock = inquirer({"/x": [Retryable("h", "busy", after_s=60)]}, asks=["/x"])
    with pytest.raises(Retryable):
        await asked.state()
    assert rest.asked == ["/x"]  # a minute is for the caller to decide


@pytest.mark.parametrize("error", [AuthFailed("h", "bad key"), NotFound("h", "no such order")])
async def test_other_errors_are_told_at_once_as_they_are(error: VenueError) -> None:
    asked, _, _ = inquirer({"/mode": [b""], "/x": [error], "/y": [b""]}, asks=["/mode", "/x", "/y"])
    with pytest.raises(type(error), match=error.what):
        await asked.state()


async def test_an_answer_that_cannot_be_understood_is_an_error_and_a_row_of_one_is_told() -> None:
    asked, _, _ = inquirer({"/x": [b"garbage"]}, asks=["/x"])
    with pytest.raises(ProtocolViolation):
        await asked.state()
    asked, _, _ = inquirer({"/x": [b"price A 1; nonsense"]}, asks=["/x"])
    found = await asked.state()
    assert len(found.events) == 1
    assert found.flaws == ("what is 'nonsense'",)
    assert not found.whole
    asked, _, _ = inquirer({}, asks=[])  # an account that cannot be asked
    assert not (await asked.state()).whole


async def test_a_circle_of_pages_ends() -> None:
    asked, rest, _ = inquirer({"/x": [b"ask /x"]}, asks=["/x"])
    with pytest.raises(Retryable, match="pages"):
        await asked.state()
    assert len(rest.asked) < 300


async def test_two_rounds_never_mix() -> None:
    asked, rest, _ = inquirer({"/x": [b"ask /x2"], "/x2": [b"price A 1"]}, asks=["/x"])
    await asyncio.gather(asked.state(), asked.state())
    assert rest.asked == ["/x", "/x2", "/x", "/x2"]


class LongPast(ScriptedLink):
    def history(self, since_ms: int, symbols: Sequence[str]) -> list[HttpRequest]:
        return [HttpRequest(path=f"/past{number}") for number in range(3)]


@pytest.mark.parametrize("symbols", [(), ("A",)])
async def test_the_state_does_not_wait_for_a_history(symbols: Sequence[str]) -> None:
    clock = StillClock(watch=Watch())
    past: dict[str, list[bytes | VenueError]] = {f"/past{number}": [b"price A 1"] for number in range(3)}
    rest = Scripted(clock, {"/x": [b"price B 1"], **past})
    asked = Inquirer(LongPast(asks=["/x"]), rest, clock, lambda: 0.5)
    history, state = await asyncio.gather(asked.history(0, symbols), asked.state())
    assert rest.asked.index("/x") < rest.asked.index("/past1")
    assert [event.symbol for event in history.events if isinstance(event, Price)] == ["A"] * 3
    assert [event.symbol for event in state.events if isinstance(event, Price)] == ["B"]
    assert not asked.busy


async def test_tape_holds_questions_and_answers() -> None:
    clock = StillClock()
    taped: list[object] = []
    rest = Scripted(clock, {"/x": [b'{"a":1}']})
    asked = Inquirer(
        ScriptedLink(asks=["/x"]), rest, clock, lambda: 0.5, lambda via, what, data, at: taped.append((via, what, data))
    )
    await asked.state()
    assert taped == [("rest", "/x", b'{"a":1}')]


async def test_what_says_whose_key_it_is_is_not_recorded() -> None:
    recorded: list[object] = []
    clock = StillClock(watch=Watch())
    link = ScriptedLink(asks=["/mode"])
    link.audit = lambda: [HttpRequest(path="/key", signed=True)]  # type: ignore[method-assign]
    rest = Scripted(clock, {"/key": [b""], "/mode": [b""]})
    asked = Inquirer(link, rest, clock, lambda: 0.5, lambda _via, request, _data, _at: recorded.append(request))
    await asked.audit()
    await asked.state()
    assert rest.asked == ["/key", "/mode"]
    assert recorded == ["/mode"]


async def test_whoever_is_patient_asks_all_of_it_patiently_and_one_by_one() -> None:
    clock = StillClock(watch=Watch())
    link = ScriptedLink(asks=[])
    link.audit = lambda: [HttpRequest(path="/mode"), HttpRequest(path="/a"), HttpRequest(path="/b")]  # type: ignore[method-assign]
    rest = Scripted(clock, {"/mode": [b""], "/a": [b"ask /a2"], "/a2": [b""], "/b": [b""]})
    await Inquirer(link, rest, clock, lambda: 0.5, patient=True).audit()
    assert rest.asked == ["/mode", "/a", "/a2", "/b"]
    assert rest.patient == set(rest.asked)


# --- Books of a window --------------------------------------------------------------------------------------------------


async def test_books_are_asked_one_by_one_patiently_and_come_page_by_page() -> None:
    asked, rest, _ = inquirer(
        {"/a": [b"price A 1; ask /a2"], "/a2": [b"price A 2"], "/b": [b"price B 1; nonsense"]}, asks=["/a", "/b"]
    )
    found = [page async for page in asked.records(1, 2, [])]
    assert rest.asked == ["/a", "/a2", "/b"]
    assert rest.patient == {"/a", "/a2", "/b"}
    assert [[event.value for event in page.events if isinstance(event, Price)] for page in found] == [
        ["1"],
        ["2"],
        ["1"],
    ]
    assert [page.whole for page in found] == [True, True, False]
    assert not asked.busy


async def test_books_that_are_refused_in_part_are_a_flaw_and_all_else_stands() -> None:
    asked, _, _ = inquirer({"/a": [Rejected("h", "no such symbol")], "/b": [b"price B 1; beyond"]}, asks=["/a", "/b"])
    first, second = [page async for page in asked.records(1, 2, [])]
    assert (first.flaws, first.whole) == (("h: no such symbol",), False)
    assert (len(second.events), second.whole) == (1, False)
    asked, _, _ = inquirer({"/a": [Rejected("h", "no such symbol")]}, asks=["/a"])
    with pytest.raises(Rejected, match="no such symbol"):
        [page async for page in asked.records(1, 2, [])]


async def test_books_in_a_circle_or_of_an_account_that_has_none_are_an_error() -> None:
    asked, _, _ = inquirer({"/a": [b"ask /a"]}, asks=["/a"])
    with pytest.raises(Retryable, match="read already"):
        [page async for page in asked.records(1, 2, [])]
    asked, _, _ = inquirer({}, asks=[])
    with pytest.raises(Rejected, match="cannot be asked for its past"):
        [page async for page in asked.records(1, 2, [])]
