"""The HTTP shell against a real server on 127.0.0.1, and the budget as pure arithmetic."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import cast

import aiohttp
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from exchanges import rest as module
from exchanges.errors import AuthFailed, ProtocolViolation, Rejected, Retryable, VenueError
from exchanges.rest import Budget, Limits, RestClient
from exchanges.venue import HttpRequest, Venue
from tests.exchanges.doubles import StillClock, Watch

# --- The budget ---------------------------------------------------------------------------------------------------------

shapes = st.integers(1, 100).flatmap(
    lambda weight: st.tuples(st.just(weight), st.integers(1, 5000), st.integers(1, weight))
)
questions = st.lists(st.tuples(st.integers(0, 3000), st.integers(1, 100)), max_size=60)


@given(shapes, questions)
def test_no_window_is_ever_granted_more_than_the_limit(
    shape: tuple[int, int, int], script: list[tuple[int, int]]
) -> None:
    weight, period, burst = shape
    budget, now = Budget(weight, period, burst), 0
    granted: list[tuple[int, int]] = []
    for later, wished in script:
        cost = min(wished, burst)
        now += later
        now += budget.wait_ms(cost, now)
        budget.take(cost, now)
        granted.append((now, cost))
    for begin, _ in granted:
        assert sum(cost for at, cost in granted if begin <= at < begin + period) <= weight


@given(shapes, questions)
def test_the_stated_wait_is_exact(shape: tuple[int, int, int], script: list[tuple[int, int]]) -> None:
    budget, now = Budget(*shape), 0
    for later, wished in script:
        cost = min(wished, budget.burst)
        now += later
        wait = budget.wait_ms(cost, now)
        if wait:
            assert budget.wait_ms(cost, now + wait - 1) == 1
        now += wait
        assert budget.wait_ms(cost, now) == 0
        budget.take(cost, now)


@given(shapes, st.lists(st.integers(0, 5000), min_size=1, max_size=5))
def test_a_pause_grants_nothing_before_its_end_and_only_grows(shape: tuple[int, int, int], ends: list[int]) -> None:
    budget = Budget(*shape)
    for end in ends:
        budget.pause(end)
    assert budget.wait_ms(1, 0) == max(ends)
    assert budget.wait_ms(1, max(ends)) == 0


def test_a_quiet_spell_gives_no_more_than_the_burst() -> None:
    budget = Budget(20, 2000, 10)
    assert budget.wait_ms(10, 10**9) == 0
    budget.take(10, 10**9)
    assert budget.wait_ms(1, 10**9) == 100  # 2000 / 20


def test_who_asks_all_the_time_is_granted_eight_ninths_of_the_limit_however_large_the_burst() -> None:
    for burst in (100, 600, 1000):
        budget, now, granted = Budget(1000, 60_000, burst), 0, 0
        while (now := now + budget.wait_ms(20, now)) < 3_600_000:
            budget.take(20, now)
            granted += 20
        assert granted >= 60 * 1000 * 8 // 9, burst


def test_the_patient_never_spend_what_others_need_until_a_burst_has_left_the_window() -> None:
    budget, longest = Budget(1000, 60_000, 600), 0
    budget.take(450, 0)
    for now in range(1_000, 3_600_000, 1_000):
        while not budget.wait_ms(45, now, patient=True):
            budget.take(45, now)
        longest = max(longest, budget.wait_ms(6, now))
        budget.take(6, now + budget.wait_ms(6, now))
    assert longest == 0


@pytest.mark.parametrize(("weight", "period", "burst"), [(0, 1, 0), (5, 1000, 6), (5, 1000, 0), (5, 0, 3)])
def test_a_budget_that_cannot_be_is_refused(weight: int, period: int, burst: int) -> None:
    with pytest.raises(ValueError, match="budget"):
        Budget(weight, period, burst)


# --- The client ---------------------------------------------------------------------------------------------------------

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class CheckingVenue:
    """The one method of ``Venue`` that a client needs."""

    def check(self, request: HttpRequest, status: int, headers: Mapping[str, str], body: bytes) -> None:
        if status == 429:
            after = headers.get("retry-after")
            raise Retryable("test", "too many visits", code="429", after_s=None if after is None else float(after))
        if status == 401:
            raise AuthFailed("test", "bad key", do="Make one")
        if status >= 500:
            raise Retryable("test", "busy", code=str(status))
        if status != 200:
            raise Rejected("test", "no", code=str(status))


class Bench:
    """A client, its clock, and what its server heard."""

    def __init__(self, url: str, session: aiohttp.ClientSession, limits: Limits) -> None:
        self.watch = Watch()
        self.clock = StillClock(watch=self.watch)
        self.session = session
        self.client = RestClient(url, cast(Venue, CheckingVenue()), session, self.clock, limits)
        self.host = url.removeprefix("http://")
        self.signed_at: list[int] = []

    def sign(self, request: HttpRequest) -> HttpRequest:
        self.signed_at.append(self.clock.now)
        self.watch.poke()
        headers = (*request.headers, ("X-Sign", "s3cret"))
        return HttpRequest(path=request.path, method=request.method, body=request.body, headers=headers, signed=True)

    async def get(self, path: str = "/x", weight: int = 1, *, patient: bool = False) -> bytes:
        return await self.client.fetch(HttpRequest(path=path, weight=weight, patient=patient), self.sign)

    async def fails(self, path: str = "/x?signature=s3cret") -> VenueError:
        with pytest.raises(VenueError) as raised:
            await self.get(path)
        assert "s3cret" not in f"{raised.value!s} {raised.value!r}"
        return raised.value


@contextlib.asynccontextmanager
async def bench(handler: Handler, limits: Limits | None = None) -> AsyncIterator[Bench]:
    app = web.Application(client_max_size=2**26)
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    try:
        async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
            yield Bench(f"http://127.0.0.1:{port}", session, limits or Limits(weight=1000, burst=500))
    finally:
        await runner.cleanup()


def always(status: int, body: bytes = b"", **headers: str) -> Handler:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=status, body=body, headers={k.replace("_", "-"): v for k, v in headers.items()})

    return answer


async def test_it_returns_the_body_as_it_came() -> None:
    async with bench(always(200, b'{"a": "1.0"}')) as b:
        assert await b.get() == b'{"a": "1.0"}'


async def test_what_was_signed_is_what_is_sent() -> None:
    heard: list[tuple[str, str, str | None, str]] = []

    async def echo(request: web.Request) -> web.Response:
        heard.append((request.method, request.raw_path, request.headers.get("X-Sign"), await request.text()))
        return web.Response(text=request.headers.get("Content-Type", ""))

    async with bench(echo) as b:
        path = "/v5/list?cursor=a%2Cb%3D%253A&symbol=1000PEPE+x&q=%e4"
        await b.get(path)
        body = '{"type":"meta", "dex":""}'
        answer = await b.client.fetch(HttpRequest(path="/info", method="POST", body=body), b.sign)
        assert heard == [("GET", path, "s3cret", ""), ("POST", "/info", "s3cret", body)]
        assert answer == b"application/json"


async def test_a_stated_content_type_stays() -> None:
    async def echo(request: web.Request) -> web.Response:
        return web.Response(text=request.headers["Content-Type"])

    async with bench(echo) as b:
        request = HttpRequest(path="/", method="POST", body="a=1", headers=(("content-type", "text/x"),))
        assert await b.client.fetch(request, b.sign) == b"text/x"


async def test_compressed_answers_are_unpacked() -> None:
    async with bench(always(200, gzip.compress(b"{}" * 1000), Content_Encoding="gzip")) as b:
        assert await b.get() == b"{}" * 1000


@pytest.mark.parametrize(
    ("status", "kind"),
    [(401, AuthFailed), (404, Rejected), (302, Rejected), (500, Retryable), (503, Retryable), (429, Retryable)],
)
async def test_the_venue_decides_what_a_status_means(status: int, kind: type[VenueError]) -> None:
    async with bench(always(status, b"", Location="/elsewhere")) as b:
        assert type(await b.fails()) is kind
        assert len(b.signed_at) == 1  # never repeated, never redirected


async def test_a_stated_waiting_time_pauses_the_whole_host_and_says_so() -> None:
    async with bench(always(429, b"", Retry_After="7")) as b:
        error = await b.fails()
        assert isinstance(error, Retryable)
        assert error.after_s == 7
        began = b.clock.now
        b.clock.advance(5_000)
        told = await b.fails("/other")
        assert isinstance(told, Retryable)
        assert told.after_s == 2
        assert "2 s" in str(told)
        b.clock.advance(1_500)  # a short rest of it is simply waited for
        later = asyncio.ensure_future(b.get("/other"))
        await b.watch.until(lambda: b.clock.alarms() == [began + 7_000])
        b.clock.advance(500)
        with pytest.raises(Retryable):
            await later
        assert b.signed_at == [began, began + 7_000]


async def test_a_host_that_keeps_failing_is_left_alone_until_a_trial_succeeds() -> None:
    answers = iter([500] * 6 + [200] * 3)

    async def serve(request: web.Request) -> web.Response:
        return web.Response(status=next(answers), text="{}")

    async with bench(serve) as b:
        for _ in range(5):
            await b.fails()
        told = await b.fails()
        assert isinstance(told, Retryable)
        assert told.after_s is not None
        assert 1 <= told.after_s <= 2
        assert len(b.signed_at) == 5
        b.clock.advance(2_000)
        await b.fails()  # the trial
        assert len(b.signed_at) == 6
        assert b.client.open_circuit
        b.clock.advance(4_000)
        assert await b.get() == b"{}"
        assert not b.client.open_circuit
        assert await b.get() == b"{}"


async def test_each_key_has_a_budget_of_its_own_within_that_of_the_host() -> None:
    async with bench(always(200, b"{}"), Limits(key_weight=2, key_period_s=1.0)) as b:
        one, other = b.client.for_key("one"), b.client.for_key("other")
        signed = HttpRequest(path="/x", signed=True)
        await one.fetch(signed, b.sign)
        second = asyncio.ensure_future(one.fetch(signed, b.sign))
        await b.watch.until(b.clock.alarms)
        await other.fetch(signed, b.sign)
        await one.fetch(HttpRequest(path="/public"), b.sign)  # what is not signed counts for no key
        assert not second.done()
        b.clock.advance(1_000)
        await second


async def test_a_path_that_is_counted_for_itself_keeps_nobody_else_waiting() -> None:
    async with bench(always(200, b"{}"), Limits(paths={"/table": 2}, period_s=2.0)) as b:
        await b.client.fetch(HttpRequest(path="/table?of=all"), b.sign)
        second = asyncio.ensure_future(b.client.fetch(HttpRequest(path="/table"), b.sign))
        await b.watch.until(b.clock.alarms)
        await b.client.fetch(HttpRequest(path="/table/other"), b.sign)
        await b.client.for_key("one").fetch(HttpRequest(path="/state", signed=True), b.sign)
        assert not second.done()
        b.clock.advance(1_000)
        await second


class Ticking(CheckingVenue):
    """A venue whose clock is off."""

    def __init__(self, clock: StillClock, ahead: int) -> None:
        self.clock, self.ahead = clock, ahead

    def time_request(self) -> HttpRequest:
        return HttpRequest(path="/time")

    def read_time(self, body: bytes) -> int:
        return self.clock.wall_ms() + self.ahead


@pytest.mark.parametrize(("ahead", "corrected"), [(5000, 5000), (-5000, -5000), (20, 0)])
async def test_the_venues_clock_is_measured_and_a_wrong_one_of_ours_is_corrected(ahead: int, corrected: int) -> None:
    async with bench(always(200, b"{}")) as b:
        client = RestClient(f"http://{b.host}", cast(Venue, Ticking(b.clock, ahead)), b.session, b.clock)
        assert await client.measure_clock() == ahead
        assert client.clock_offset_ms == corrected
        assert client.for_key("k").clock_offset_ms == corrected


async def test_a_429_without_a_time_pauses_nobody() -> None:
    async with bench(always(429)) as b:
        await b.fails()
        await b.fails()
        assert b.signed_at == [b.clock.now] * 2


async def test_questions_wait_for_their_weight_in_order_and_are_signed_when_they_leave() -> None:
    async with bench(always(200), Limits(weight=10, period_s=1.0, burst=5)) as b:
        began = b.clock.now
        tasks = [asyncio.ensure_future(b.get(weight=weight)) for weight in (5, 3, 1)]
        await b.watch.until(lambda: b.signed_at == [began] and b.clock.alarms() == [began + 300])
        b.clock.advance(300)
        await b.watch.until(lambda: len(b.signed_at) == 2 and b.clock.alarms() == [began + 400])
        b.clock.advance(100)
        await asyncio.gather(*tasks)
        assert b.signed_at == [began, began + 300, began + 400]


async def test_the_patient_leave_a_part_of_the_burst_to_others_and_pass_nobody() -> None:
    async with bench(always(200), Limits(weight=8, period_s=1.0, burst=4)) as b:
        began = b.clock.now
        await b.get(weight=3)  # 1 is left, which is what is spared
        patient = asyncio.ensure_future(b.get(weight=1, patient=True))
        await b.watch.until(lambda: b.clock.alarms() == [began + 125])
        await b.get(weight=1)  # who cannot wait takes it
        assert b.signed_at == [began, began]
        b.clock.advance(125)
        await b.watch.until(lambda: b.clock.alarms() == [began + 1125])  # until the burst has left the window
        b.clock.advance(1000)
        await patient
        assert b.signed_at == [began, began, began + 1125]


async def test_the_patient_have_their_turn_though_others_ask_all_the_time() -> None:
    """Hyperliquid's limits, a start that took most of the burst, and looks at the states of three accounts ever since."""
    async with bench(always(200), Limits(weight=1_000, period_s=60.0, burst=600)) as b:
        for _ in range(9):
            await b.get(weight=50)
        patient = asyncio.ensure_future(b.get(weight=45, patient=True))
        await b.watch.until(b.clock.alarms)
        asked = 0
        while not patient.done() and asked < 20:
            b.clock.advance(4_000)
            await b.get(weight=24)
            asked += 1
        assert asked < 20
        await patient


async def test_a_question_that_gives_up_waiting_costs_nothing() -> None:
    async with bench(always(200), Limits(weight=10, period_s=1.0, burst=5)) as b:
        await b.get(weight=5)
        waiting = asyncio.ensure_future(b.get(weight=5))
        await b.watch.until(b.clock.alarms)
        waiting.cancel()
        await asyncio.wait([waiting])
        b.clock.advance(500)  # 5 weights at 10 a second
        await b.get(weight=5)
        assert b.clock.alarms() == []


async def test_a_weight_that_never_fits_is_told_at_once() -> None:
    async with bench(always(200), Limits(weight=10, burst=5)) as b:
        with pytest.raises(Rejected, match="weight 6 never fits into a burst of 5"):
            await b.get(weight=6)


async def test_an_answer_that_does_not_come_in_time_is_retryable() -> None:
    never = asyncio.Event()

    async def hang(request: web.Request) -> web.Response:
        await never.wait()
        return web.Response()

    async with bench(hang, Limits(timeout_s=0.05)) as b:
        error = await b.fails()
        never.set()
        assert isinstance(error, Retryable)
        assert str(error) == f"{b.host}/x: no answer within 0.05 s"


async def test_a_body_that_stops_half_way_is_retryable() -> None:
    async def cut(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        await response.prepare(request)
        await response.write(b"{")
        assert request.transport is not None
        request.transport.abort()
        return response

    async with bench(cut) as b:
        error = await b.fails()
        assert isinstance(error, Retryable)
        assert str(error) == f"{b.host}/x: the answer was cut off or garbled"


async def test_a_connection_that_closes_without_an_answer_is_retryable() -> None:
    async def slam(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.close()
        return web.Response()

    async with bench(slam) as b:
        error = await b.fails()
        assert isinstance(error, Retryable)
        assert str(error) == f"{b.host}/x: the connection was closed before an answer came"


async def test_an_answer_beyond_all_bounds_is_not_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MAX_BODY_BYTES", 2**20)
    async with bench(always(200, bytes(2**20 + 1))) as b:
        error = await b.fails()
        assert isinstance(error, ProtocolViolation)
        assert str(error) == f"{b.host}/x: an answer of more than 1 MiB"
    async with bench(always(200, bytes(2**20))) as b:
        assert len(await b.get()) == 2**20


async def test_a_refused_connection_is_retryable_and_names_host_and_cause() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    async with aiohttp.ClientSession() as session:
        b = Bench(f"http://127.0.0.1:{port}", session, Limits())
        error = await b.fails()
        assert isinstance(error, Retryable)
        assert str(error).startswith(f"127.0.0.1:{port}/x: cannot connect: ")


async def test_a_server_that_speaks_something_else_is_retryable() -> None:
    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"220 smtp.test s3cret\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(babble, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, aiohttp.ClientSession() as session:
        error = await Bench(f"http://127.0.0.1:{port}", session, Limits()).fails()
        assert isinstance(error, Retryable)
        assert str(error).startswith(f"127.0.0.1:{port}/x: the exchange failed: ")


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (ConnectionResetError(104, "Connection reset by peer"), "the connection broke: Connection reset by peer"),
        (ConnectionResetError(), "the connection broke: ConnectionResetError"),
        (aiohttp.ClientError("http://h/?s3cret"), "the exchange failed: ClientError"),
    ],
)
def test_causes_are_named_by_their_kind(error: OSError | aiohttp.ClientError, cause: str) -> None:
    assert module._cause(error) == cause
