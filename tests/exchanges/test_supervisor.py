"""The WebSocket shell against a real server on 127.0.0.1; time stands still, so that nothing waits."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from http import HTTPStatus

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response

from exchanges import supervisor as module
from exchanges.actions import FeedName
from exchanges.errors import Retryable
from exchanges.events import Event, FeedStatus, Price
from exchanges.feed import Feed
from exchanges.supervisor import Supervisor
from exchanges.venue import HttpRequest
from tests.exchanges.doubles import ScriptedLink, StillClock, Watch

# A loop of its own: what servers of the whole run do on theirs is none of these tests' business.
pytestmark = pytest.mark.asyncio(loop_scope="module")

NAME = FeedName(id="main:private", venue="test", env="live", account="main", connection="private")


class LocalVenue:
    """A server that answers like the venue of ``ScriptedLink``, unless ``silent``; it keeps what it heard."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self.silent = False
        self.connections: list[ServerConnection] = []
        self.heard: list[str] = []

    @property
    def newest(self) -> ServerConnection:
        return self.connections[-1]

    async def serve(self, connection: ServerConnection) -> None:
        self.connections.append(connection)
        self._watch.poke()
        async for text in connection:
            assert isinstance(text, str)
            self.heard.append(text)
            if not self.silent:
                await self._answer(connection, text)
            self._watch.poke()

    async def _answer(self, connection: ServerConnection, text: str) -> None:
        word, _, rest = text.partition(" ")
        match word:
            case "login":
                await connection.send("welcome")
            case "sub":
                await connection.send(f"ok {rest}")
                if "positions" in rest:
                    await connection.send("snapshot")
            case "ping":
                await connection.send("pong")


class LocalRest:
    """Answers questions when the test says so."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self.under_way: dict[str, asyncio.Future[bytes]] = {}
        self.signed: list[HttpRequest] = []

    clock_offset_ms = 0

    async def fetch(self, request: HttpRequest, sign: Callable[[HttpRequest], HttpRequest]) -> bytes:
        future = self.under_way[request.path] = asyncio.get_running_loop().create_future()
        self._watch.poke()
        try:
            body = await future
            self.signed.append(sign(request))
            return body
        finally:
            del self.under_way[request.path]
            self._watch.poke()


class Bench:
    """A supervisor, its venue, and everything that came out."""

    def __init__(self) -> None:
        self.watch = Watch()
        self.clock = StillClock(watch=self.watch)
        self.venue, self.rest = LocalVenue(self.watch), LocalRest(self.watch)
        self.batches: list[list[Event]] = []
        self.taped: list[tuple[str, object, object, int]] = []
        self.order: list[str] = []
        self.links: list[ScriptedLink] = []
        self.on_events: Callable[[Sequence[Event]], None] = lambda events: None
        self.url = ""

    def build(self, **link: object) -> Supervisor:
        def make_link() -> ScriptedLink:
            self.links.append(ScriptedLink(self.url, **link))  # type: ignore[arg-type]
            return self.links[-1]

        self.feed = Feed(make_link, NAME, random=lambda: 0.5)
        self.supervisor = Supervisor(self.feed, self.rest, self._sink, self.clock, self._tape)
        return self.supervisor

    def _sink(self, events: Sequence[Event]) -> None:
        self.order.append("events")
        self.batches.append(list(events))
        self.on_events(events)
        self.watch.poke()

    def _tape(self, via: str, request: object, data: object, at: int) -> None:
        self.order.append("tape")
        self.taped.append((via, request, data, at))
        self.watch.poke()

    @property
    def statuses(self) -> list[FeedStatus]:
        return [event for batch in self.batches for event in batch if isinstance(event, FeedStatus)]

    @property
    def prices(self) -> list[str]:
        return [event.value for batch in self.batches for event in batch if isinstance(event, Price)]

    async def until(self, condition: Callable[[], object]) -> None:
        await self.watch.until(condition)

    async def state(self, state: str) -> FeedStatus:
        """Wait until the newest status has this state."""
        await self.until(lambda: self.statuses and self.statuses[-1].state == state)
        return self.statuses[-1]

    async def come_back(self) -> None:
        """Let the back-off pass, and wait for the next connection to be live."""
        await self.state("down")
        await self.until(self.clock.alarms)
        self.clock.advance(30_000)
        await self.state("live")


@contextlib.asynccontextmanager
async def bench(**link: object) -> AsyncIterator[Bench]:
    """Serve a venue and run a supervisor against it; afterwards nothing of either is left."""
    before = asyncio.all_tasks()
    made = Bench()
    async with serve(made.venue.serve, "127.0.0.1", 0, ping_interval=None, close_timeout=0.2) as server:
        port = server.sockets[0].getsockname()[1]
        made.url = f"ws://127.0.0.1:{port}/ws?listenKey=s3cret"
        supervisor = made.build(**link)
        async with running(supervisor):
            yield made
    assert asyncio.all_tasks() == before
    assert made.clock.alarms() == []


@contextlib.asynccontextmanager
async def running(supervisor: Supervisor) -> AsyncIterator[asyncio.Task[None]]:
    """Run a supervisor until the block ends; stopping takes less than a second."""
    task = asyncio.ensure_future(supervisor.run())
    try:
        yield task
    finally:
        supervisor.stop()
        async with asyncio.timeout(1.0):
            await asyncio.wait([task])
    assert task.cancelled() or task.exception() is None


# --- Pumping ------------------------------------------------------------------------------------------------------------


async def test_it_goes_live_and_hands_over_each_frame_once_with_all_its_events() -> None:
    async with bench() as b:
        await b.state("live")
        assert b.venue.heard == [f"login {b.clock.wall_ms()}", "sub positions,account"]
        await b.venue.newest.send("price BTC 1; price ETH 2; price BTC 3")
        await b.until(lambda: b.prices)
        assert b.prices == ["1", "2", "3"]
        assert len(b.batches[-1]) == 3
        assert [status.state for status in b.statuses] == ["connecting", "authenticating", "subscribing", "live"]
        assert b.supervisor.status().last_message_at == b.clock.now
        assert b.supervisor.statistics().received == 4


async def test_binary_frames_and_bursts_come_in_order() -> None:
    async with bench() as b:
        await b.state("live")
        for n in range(200):
            await b.venue.newest.send(f"price BTC {n}".encode())
        await b.until(lambda: len(b.prices) == 200)
        assert b.prices == [str(n) for n in range(200)]


async def test_the_tape_sees_every_frame_before_it_is_parsed() -> None:
    async with bench() as b:
        await b.state("live")
        await b.venue.newest.send("<html>")
        await b.until(lambda: b.taped and b.taped[-1][2] == "<html>")
        assert b.taped[0] == ("ws-private", None, "welcome", b.clock.now)
        assert b.order[-2:] == ["tape", "events"]


async def test_wishes_are_sent_once_a_turn_and_may_come_from_the_sink() -> None:
    async with bench() as b:
        await b.state("live")
        b.supervisor.want(["BTC"])
        b.supervisor.want(["BTC", "ETH"])
        await b.until(lambda: "mark:ETH" in b.feed.confirmed or "sub mark:BTC,mark:ETH" in b.venue.heard)
        assert b.venue.heard[-1] == "sub mark:BTC,mark:ETH"
        b.on_events = lambda events: b.supervisor.want(["SOL"])
        await b.venue.newest.send("price BTC 1")
        await b.until(lambda: b.venue.heard[-1] == "sub mark:SOL")
        assert b.venue.heard[-2] == "unsub mark:BTC,mark:ETH"


async def test_malformed_frames_do_not_end_the_connection() -> None:
    async with bench() as b:
        await b.state("live")
        await b.venue.newest.send("<html>")
        await b.venue.newest.send("bug")
        await b.venue.newest.send("price BTC 1")
        await b.until(lambda: b.prices)
        assert b.supervisor.statistics().malformed == 2
        assert len(b.venue.connections) == 1


# --- Losing and coming back ---------------------------------------------------------------------------------------------


async def test_a_cut_cable_is_noticed_and_mended_again_and_again() -> None:
    async with bench() as b:
        for n in range(5):
            await b.state("live")
            b.supervisor.want([f"S{n}"])
            await b.until(lambda n=n: f"mark:S{n}" in "".join(b.venue.heard[-1:]))
            b.venue.newest.transport.abort()
            status = await b.state("down")
            assert status.error == "connection lost without a close frame"
            await b.come_back()
            assert b.venue.heard[-1] == f"sub positions,account,mark:S{n}"
        assert b.supervisor.status().reconnects == 5
        assert len(b.links) == 6


async def test_a_close_code_is_told_and_survived() -> None:
    async with bench() as b:
        await b.state("live")
        await b.venue.newest.send("price BTC 1")
        await b.venue.newest.close(4004, "No data received in 30s")
        status = await b.state("down")
        assert status.error == "connection closed with code 4004: No data received in 30s"
        assert b.prices == ["1"]
        await b.come_back()


async def test_a_close_code_that_only_the_operator_can_mend_is_final_until_he_says_so() -> None:
    async with bench() as b:
        await b.state("live")
        await b.venue.newest.close(4001, "key deleted")
        status = await b.state("down")
        assert status.error == "login refused: key deleted (4001). Make a new key"
        b.clock.advance(3_600_000)
        b.supervisor.reconnect("the operator made a new key")
        await b.state("live")
        assert len(b.venue.connections) == 2


async def test_silence_is_asked_about_and_then_left() -> None:
    async with bench() as b:
        await b.state("live")
        b.venue.silent = True
        b.clock.advance(20_000)
        await b.until(lambda: b.venue.heard[-1] == "ping")
        b.clock.advance(10_000)
        status = await b.state("down")
        assert [s.state for s in b.statuses[-2:]] == ["stale", "down"]
        assert status.error == "nothing received for 30 s"
        b.venue.silent = False
        await b.come_back()


async def test_an_answered_ping_keeps_the_connection() -> None:
    async with bench() as b:
        await b.state("live")
        for n in range(1, 4):
            b.clock.advance(20_000)
            await b.until(lambda n=n: [d for _, _, d, _ in b.taped].count("pong") == n)
        assert b.statuses[-1].state == "live"
        assert len(b.venue.connections) == 1


@pytest.mark.parametrize("frame", ["gap", "upgrade"])
async def test_what_the_feed_decides_is_done(frame: str) -> None:
    async with bench() as b:
        await b.state("live")
        await b.venue.newest.send(f"{frame}; price BTC 1")
        await b.come_back()
        assert b.prices == []
        assert len(b.venue.connections) == 2


async def test_text_that_is_no_utf8_ends_one_connection() -> None:
    async with bench() as b:
        await b.state("live")
        b.venue.newest.protocol.send_text(b"\xff\xfe")
        b.venue.newest.transport.write(b"".join(b.venue.newest.protocol.data_to_send()))
        status = await b.state("down")
        assert str(status.error).startswith("broken off with code 1007: ")
        await b.come_back()


async def test_a_frame_beyond_all_bounds_ends_one_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MAX_FRAME_BYTES", 1000)
    async with bench() as b:
        await b.state("live")
        await b.venue.newest.send("price BTC 1" + " " * 990)
        status = await b.state("down")
        assert str(status.error).startswith("broken off with code 1009: ")
        await b.come_back()


async def test_a_wish_for_a_new_connection_is_obeyed_at_once() -> None:
    async with bench() as b:
        await b.state("live")
        b.supervisor.reconnect("asked by the operator")
        await b.until(lambda: len(b.venue.connections) == 2)
        await b.state("live")
        assert "asked by the operator" in {status.error for status in b.statuses}


async def test_a_venue_that_takes_nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_UNSENT", 2)
    async with bench() as b:
        await b.state("live")
        monkeypatch.setattr(ScriptedLink, "subscribe", lambda self, topics: [f"sub {topic}" for topic in topics])
        b.supervisor.want(["A", "B", "C"])
        await b.until(lambda: len(b.venue.connections) == 2)
        told = {status.error for status in b.statuses}
        assert "the venue has not taken 2 frames that were sent to it" in told


# --- Connecting ---------------------------------------------------------------------------------------------------------


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def test_a_refused_port_is_told_and_tried_with_growing_delays() -> None:
    b = Bench()
    port = free_port()
    b.url = f"ws://127.0.0.1:{port}/ws?listenKey=s3cret"
    async with running(b.build()):
        delays = []
        for n in range(1, 9):
            await b.until(lambda n=n: [s.state for s in b.statuses].count("down") == n and b.clock.alarms())
            assert b.statuses[-1].error == f"127.0.0.1:{port}: connection refused"
            delays.append(b.clock.alarms()[0] - b.clock.now)
            b.clock.advance(delays[-1])
        assert delays == [250, 500, 1000, 2000, 4000, 8000, 15000, 15000]


async def test_a_server_that_refuses_the_upgrade_is_named_with_its_status() -> None:
    def refuse(connection: ServerConnection, request: Request) -> Response:
        return connection.respond(HTTPStatus.FORBIDDEN, "not here\n")

    b = Bench()
    async with serve(b.venue.serve, "127.0.0.1", 0, process_request=refuse) as server:
        port = server.sockets[0].getsockname()[1]
        b.url = f"ws://127.0.0.1:{port}/ws?listenKey=s3cret"
        async with running(b.build()):
            status = await b.state("down")
        assert status.error == f"127.0.0.1:{port}: HTTP status 403 instead of a WebSocket"


async def test_a_server_without_tls_is_told() -> None:
    b = Bench()
    async with serve(b.venue.serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        b.url = f"wss://127.0.0.1:{port}/ws"
        async with running(b.build()):
            status = await b.state("down")
        assert str(status.error).startswith(f"127.0.0.1:{port}: ")


# --- Questions ----------------------------------------------------------------------------------------------------------


async def test_questions_are_asked_signed_taped_and_answered() -> None:
    async with bench(asks=["/a?x=1"]) as b:
        await b.until(lambda: b.rest.under_way)
        assert b.statuses[-1].state == "subscribing"
        b.clock.now += 500
        b.rest.under_way["/a?x=1"].set_result(b"price BTC 1")
        await b.state("live")
        (signed,) = b.rest.signed
        assert signed.headers == (("X-Sign", f"signed at {b.clock.wall_ms()}"),)
        assert b.taped[-1] == ("rest", "/a?x=1", b"price BTC 1", b.clock.now)
        # The answer counts from the moment of signing, not from when the question began to wait for its turn.
        assert b.links[0].answers == [("/a?x=1", b"price BTC 1", b.clock.now, b.clock.now)]


async def test_a_failed_question_is_asked_again_when_its_time_has_come() -> None:
    async with bench(asks=["/a"]) as b:
        await b.until(lambda: b.rest.under_way)
        b.rest.under_way["/a"].set_exception(Retryable("v.test", "busy", after_s=3.0))
        await b.until(lambda: b.clock.now + 3_000 in b.clock.alarms())
        assert b.statuses[-1].error == "v.test: busy"
        b.clock.advance(2_999)
        assert not b.rest.under_way
        b.clock.advance(1)
        await b.until(lambda: b.rest.under_way)
        b.rest.under_way["/a"].set_result(b"")
        assert (await b.state("live")).error is None


async def test_at_most_four_questions_are_under_way() -> None:
    paths = [f"/{n}" for n in range(10)]
    async with bench(asks=paths) as b:
        most = 0
        for n, path in enumerate(paths):
            await b.until(lambda n=n, path=path: path in b.rest.under_way and len(b.rest.under_way) == min(4, 10 - n))
            most = max(most, len(b.rest.under_way))
            b.rest.under_way[path].set_result(b"")
        await b.state("live")
        assert most == 4


async def test_questions_end_with_their_connection() -> None:
    async with bench(asks=["/a", "/b"]) as b:
        await b.until(lambda: len(b.rest.under_way) == 2)
        old = list(b.rest.under_way.values())
        b.venue.newest.transport.abort()
        await b.state("down")
        assert all(future.cancelled() for future in old)
        assert b.rest.under_way == {}


# --- The end ------------------------------------------------------------------------------------------------------------


async def test_stopping_says_down_and_closes_properly() -> None:
    async with bench() as b:
        await b.state("live")
    assert (b.statuses[-1].state, b.statuses[-1].error) == ("down", "stopped")
    assert b.venue.newest.close_code == 1000


@contextlib.asynccontextmanager
async def mute_server() -> AsyncIterator[tuple[int, asyncio.Event]]:
    """Accept TCP connections and say nothing."""
    accepted, done = asyncio.Event(), asyncio.Event()

    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted.set()
        await done.wait()
        writer.close()

    server = await asyncio.start_server(hold, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1], accepted
    finally:
        done.set()
        server.close()
        await server.wait_closed()


async def test_it_stops_in_the_middle_of_connecting() -> None:
    b = Bench()
    async with mute_server() as (port, accepted):
        b.url = f"ws://127.0.0.1:{port}/"
        async with running(b.build()):
            await asyncio.wait_for(accepted.wait(), 5)
    assert (b.statuses[-1].state, b.statuses[-1].error) == ("down", "stopped")


async def test_it_stops_in_the_middle_of_a_pause_and_before_it_began() -> None:
    b = Bench()
    b.url = f"ws://127.0.0.1:{free_port()}/"
    async with running(b.build()) as task:
        await b.state("down")
        assert not task.done()
    b.build().stop()
    await asyncio.wait_for(b.supervisor.run(), 1)
    assert len(b.links) == 1


async def test_a_sink_may_stop_it_before_the_attempt() -> None:
    b = Bench()
    async with mute_server() as (port, _):
        b.url = f"ws://127.0.0.1:{port}/"
        b.build()
        b.on_events = lambda events: b.supervisor.stop()
        await asyncio.wait_for(b.supervisor.run(), 1)
    assert [status.state for status in b.statuses] == ["connecting", "down"]


async def test_it_stops_in_time_when_the_venue_does_not_answer_the_close() -> None:
    async with bench() as b:
        await b.state("live")
        b.venue.newest.transport.pause_reading()
    assert b.statuses[-1].state == "down"


async def test_cancellation_leaves_nothing_behind() -> None:
    async with bench(asks=["/a"]) as b:
        await b.until(lambda: b.rest.under_way)
        task = asyncio.ensure_future(Supervisor(b.feed, b.rest, lambda events: None, b.clock).run())
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()


async def test_cancelled_while_live_it_closes_the_socket() -> None:
    b = Bench()
    async with serve(b.venue.serve, "127.0.0.1", 0) as server:
        b.url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        task = asyncio.ensure_future(b.build().run())
        await b.state("live")
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        await asyncio.wait_for(b.venue.newest.wait_closed(), 5)
        assert b.clock.alarms() == []


async def test_an_error_of_the_sink_is_not_swallowed() -> None:
    b = Bench()
    async with serve(b.venue.serve, "127.0.0.1", 0) as server:
        b.url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/"

        def burst(events: Sequence[Event]) -> None:
            if any(isinstance(event, Price) for event in events):
                raise ZeroDivisionError

        b.on_events = burst
        task = asyncio.ensure_future(b.build().run())
        await b.state("live")
        await b.venue.newest.send("price BTC 1")
        await asyncio.wait([task], timeout=5)
        assert isinstance(task.exception(), ExceptionGroup)
        await asyncio.wait_for(b.venue.newest.wait_closed(), 5)


async def test_no_frame_and_no_address_reaches_a_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with bench() as b:
        await b.state("live")
    ours = [record.getMessage() for record in caplog.records if record.name.startswith("exchanges")]
    assert not [line for line in ours if "login" in line or "s3cret" in line]
    assert b.venue.heard[0].startswith("login")
