"""One feed's socket: connect, pump, obey the feed, back off.

Owns the connection and every task that belongs to it; none outlives it. Decides nothing: what to send, when to ask, when to
leave and when to come back are the feed's decisions. Never parses.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Protocol
from urllib.parse import urlsplit

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, InvalidURI, WebSocketException

from exchanges.actions import Action, Disconnect, Emit, Fetch, Open, Send, Statistics, Succeed
from exchanges.clock import Clock, Timer, sleep_until
from exchanges.errors import VenueError
from exchanges.events import Event, FeedStatus
from exchanges.feed import Feed
from exchanges.venue import Data, HttpRequest

Sink = Callable[[Sequence[Event]], None]
# via ("ws-private", "ws-public" or "rest"), what was asked (REST only), the payload as it came, time of receipt; returns the name
# under which it is kept, None where it is not
Record = Callable[[str, object, Data, int], int | None]

_MAX_FRAME_BYTES = 16 * 2**20
_OPEN_TIMEOUT_S = 10
_CLOSE_TIMEOUT_S = 0.5
_MOST_FETCHES = 4  # questions of one connection under way at once
_MOST_UNSENT = 4096  # frames that a venue has not taken yet

# The library logs whole frames at level DEBUG, and login frames hold a key and its signature: never below INFO.
_wire_log = logging.getLogger("exchanges.wire")
_wire_log.setLevel(logging.INFO)


class Fetcher(Protocol):
    """What a supervisor needs of a REST client."""

    @property
    def clock_offset_ms(self) -> int:
        """How far the venue's clock is ahead of ours; added to the times of signatures."""

    async def fetch(self, request: HttpRequest, sign: Callable[[HttpRequest], HttpRequest]) -> bytes:
        """Return the body of a successful answer; ``sign`` is called at the moment of sending. Raises VenueError."""


class Supervisor:
    """Runs one feed until it is stopped.

    Args:
        feed: The feed; nothing else may drive it.
        rest: Answers the feed's questions.
        sink: Called on the loop with all events of one input, in order. It may call ``want``, ``reconnect`` and ``stop``.
        clock: Gives times and timers.
        record: Sees every raw frame and successful REST answer before it is parsed.
        succeed: Called with the reason when the venue will end the connection; for feeds made with ``succeeds``.
    """

    def __init__(
        self,
        feed: Feed,
        rest: Fetcher,
        sink: Sink,
        clock: Clock,
        record: Record | None = None,
        succeed: Callable[[str], None] | None = None,
    ) -> None:
        self.feed = feed
        self._succeed = succeed
        self._rest, self._sink, self._clock, self._record = rest, sink, clock, record
        self._via = "ws-public" if feed.name.account is None else "ws-private"
        self._wake = asyncio.Event()  # the feed's deadline, or one of the three wishes below
        self._wanted: tuple[tuple[str, ...], tuple[str, ...]] | None = None
        self._leave_why: str | None = None
        self._stopping, self._stop_why = False, "stopped"
        self._ending: tuple[int | None, str] = (None, "")  # the venue's close code and reason
        self._prepared = asyncio.Event()  # the feed lets us connect
        self._over = asyncio.Event()  # the present connection has ended, or has to
        self._tasks: set[asyncio.Task[None]] = set()
        self._retry_at: int | None = None
        self._opening: asyncio.Timeout | None = None
        self._timer: Timer | None = None
        self._armed_at: int | None = None

    # --- Wishes: noted now, obeyed in the next turn of the loop, so that a sink may call them ------------------------

    def want(self, symbols: Iterable[str], currencies: Iterable[str] = ()) -> None:
        """State the symbols and currencies whose prices are wanted from now on."""
        self._wanted = (tuple(symbols), tuple(currencies))
        self._wake.set()

    def reconnect(self, why: str) -> None:
        """Leave the present connection, or the wait for the next one, and connect at once."""
        self._leave_why = why
        self._wake.set()

    def stop(self, why: str = "stopped") -> None:
        """Ask ``run`` to close the connection and return; it does within a second. The last status says why."""
        self._stopping, self._stop_why = True, why
        self._wake.set()

    def status(self) -> FeedStatus:
        """Return the feed's status as it is now."""
        return self.feed.status(self._clock.now_ms())

    def statistics(self) -> Statistics:
        return self.feed.statistics()

    # --- The loop ----------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Keep the feed connected until ``stop`` (which ends with the status "down") or cancellation (which says nothing more).

        Raises:
            Exception: What the sink or ``record`` raised, in an ``ExceptionGroup`` where a task of the connection met it.
        """
        try:
            while not self._stopping:
                await self._connection()
                await self._pause()
        finally:
            self._disarm()

    async def _connection(self) -> None:
        """Live through one connection, from the preparation to the close; every task of it has ended on return."""
        self._over.clear()
        self._prepared.clear()
        self._ending = (None, "")
        self._leave_why = self._retry_at = None
        self._slots = asyncio.Semaphore(_MOST_FETCHES)
        async with asyncio.TaskGroup() as self._group:
            self._tell_wanted()
            self._apply(self.feed.connecting(self._clock.now_ms()))
            self._start(self._attend())
            await self._first(self._prepared, self._over)
            if not self._over.is_set():
                await self._connected()
            for task in self._tasks:
                task.cancel()
        self._apply(self.feed.closed(*self._ending, self._clock.now_ms()))

    async def _connected(self) -> None:
        """Connect and pump until the connection is over."""
        try:
            connection = await self._open()
        except (OSError, WebSocketException) as error:
            self._ending = (None, self._stop_why if self._stopping else _why_not(self.feed.url, error))
            return
        try:
            self._outbox: asyncio.Queue[str] = asyncio.Queue(_MOST_UNSENT)
            self._start(self._read(connection))
            self._start(self._write(connection))
            self._apply(self.feed.opened(self._clock.now_ms(), self._wall_ms()))
            await self._over.wait()
        finally:
            await connection.close()  # bounded by the close timeout; harmless when it is closed already

    async def _open(self) -> ClientConnection:
        """Connect; the connection's being over ends the attempt like a timeout. Raises OSError or WebSocketException."""
        try:
            async with asyncio.timeout(0 if self._over.is_set() else None) as self._opening:
                # ping_interval: venues want heartbeats of their own, which the feed sends; a protocol ping would be answered
                # by a front server whose application is dead.
                return await connect(
                    self.feed.url,
                    max_size=_MAX_FRAME_BYTES,
                    open_timeout=_OPEN_TIMEOUT_S,
                    close_timeout=_CLOSE_TIMEOUT_S,
                    ping_interval=None,
                    logger=_wire_log,
                )
        finally:
            self._opening = None

    async def _first(self, *events: asyncio.Event) -> None:
        """Return when one of the events is set."""
        waiting = [asyncio.ensure_future(event.wait()) for event in events]
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waiting:
                task.cancel()

    async def _pause(self) -> None:
        """Wait until it is time to connect again, as the feed decided or somebody wishes."""
        while not self._stopping and self._leave_why is None:
            if self._retry_at is not None:
                if self._clock.now_ms() >= self._retry_at:
                    return
                self._arm(self._retry_at)
            await self._wake.wait()
            self._wake.clear()

    # --- The tasks of one connection ---------------------------------------------------------------------------------

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = self._group.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _read(self, connection: ClientConnection) -> None:
        try:
            while not self._over.is_set():
                data = await connection.recv()
                at = self._clock.now_ms()
                if self._record is not None:
                    self._record(self._via, None, data, at)
                self._apply(self.feed.received(data, at))
        except ConnectionClosed as end:
            self._ending = _ending(end)
            self._over.set()

    async def _write(self, connection: ClientConnection) -> None:
        try:
            while True:
                await connection.send(await self._outbox.get())
        except ConnectionClosed:
            return  # the reader ends the connection, after the frames that came before the close

    async def _attend(self) -> None:
        """Obey the wishes and the feed's deadlines."""
        while True:
            if self._stopping:
                self._apply(self.feed.abandon(self._stop_why, self._clock.now_ms()))
            elif self._leave_why is not None:
                why, self._leave_why = self._leave_why, None
                self._apply(self.feed.abandon(why, self._clock.now_ms()))
            self._tell_wanted()
            self._apply(self.feed.tick(self._clock.now_ms()))
            await self._wake.wait()
            self._wake.clear()

    async def _fetch(self, fetch: Fetch) -> None:
        await sleep_until(self._clock, self._clock.now_ms() + round(fetch.after_s * 1000))
        async with self._slots:
            asked_at = self._clock.now_ms()

            def sign(request: HttpRequest) -> HttpRequest:
                # Called when the request leaves: what the venue changed before that moment is in the answer.
                nonlocal asked_at
                asked_at = self._clock.now_ms()
                return self.feed.sign(request, self._wall_ms())

            try:
                body = await self._rest.fetch(fetch.request, sign)
            except VenueError as error:
                self._apply(self.feed.ask_failed(fetch, error, self._clock.now_ms()))
                return
        at = self._clock.now_ms()
        # What is asked before connecting is the way to the account's stream (a listen key): a secret.
        if self._record is not None and self.feed.state != "connecting":
            self._record("rest", asked(fetch.request), body, at)
        self._apply(self.feed.answered(fetch, body, asked_at, at))

    # --- Obeying -----------------------------------------------------------------------------------------------------

    def _apply(self, actions: Sequence[Action]) -> None:
        """Execute the actions of one input; the sink comes last, so that what it wishes comes after what the feed said."""
        events: list[Event] = []
        for action in actions:
            match action:
                case Emit():
                    events.append(action.event)
                case Send():
                    self._send(action.text)
                case Fetch():
                    self._start(self._fetch(action))
                case Open():
                    self._prepared.set()
                case Succeed():
                    if self._succeed is not None:
                        self._succeed(action.why)
                case Disconnect(_, retry_in_s):
                    self._retry_at = None if retry_in_s is None else self._clock.now_ms() + round(retry_in_s * 1000)
                    self._end_connection()
        self._arm(self.feed.deadline())
        if events:
            self._sink(events)

    def _end_connection(self) -> None:
        self._over.set()
        if self._opening is not None:
            self._opening.reschedule(asyncio.get_running_loop().time())

    def _wall_ms(self) -> int:
        """Return the time that the venue believes it is, as far as it was measured."""
        return self._clock.wall_ms() + self._rest.clock_offset_ms

    def _send(self, text: str) -> None:
        try:
            self._outbox.put_nowait(text)
        except asyncio.QueueFull:
            self.reconnect(f"the venue has not taken {_MOST_UNSENT} frames that were sent to it")

    def _tell_wanted(self) -> None:
        if self._wanted is not None:
            wanted, self._wanted = self._wanted, None
            symbols, currencies = wanted
            self._apply(self.feed.want(symbols, self._clock.now_ms(), currencies))

    # --- The one timer -----------------------------------------------------------------------------------------------

    def _arm(self, at_ms: int | None) -> None:
        """Wake at ``at_ms`` at the latest. Waking early is harmless and saves a new timer for every frame received."""
        if at_ms is None or (self._armed_at is not None and self._armed_at <= at_ms):
            return
        self._disarm()
        self._timer, self._armed_at = self._clock.call_at(at_ms, self._due), at_ms

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._armed_at = None

    def _due(self) -> None:
        self._timer = self._armed_at = None
        self._wake.set()


def asked(request: HttpRequest) -> object:
    """Return what a recording says was asked: the path with its query, or the body of a POST."""
    return request.path if request.body is None else msgspec.json.decode(request.body)


def _ending(end: ConnectionClosed) -> tuple[int | None, str]:
    """Return the venue's close code and reason; no code where it sent none, and our own reason where we broke it off."""
    if end.sent is not None and not end.rcvd_then_sent:
        return None, f"broken off with code {end.sent.code}: {end.sent.reason or 'protocol error'}"
    return (None, "") if end.rcvd is None else (end.rcvd.code, end.rcvd.reason)


def _why_not(url: str, error: OSError | WebSocketException) -> str:
    """Say why no connection was made, naming the host and nothing else of the address (a path may hold a listen key)."""
    where = urlsplit(url).netloc
    match error:
        case InvalidStatus():
            return f"{where}: HTTP status {error.response.status_code} instead of a WebSocket"
        case InvalidURI():
            return f"{where or 'the configured address'}: not a WebSocket address. Check the venue's hosts in the configuration"
        case TimeoutError():
            return f"{where}: no WebSocket handshake within {_OPEN_TIMEOUT_S} s"
        case ConnectionRefusedError():
            return f"{where}: connection refused"
        case socket.gaierror():
            return f"{where}: the host name cannot be resolved. Check the network and the name"
        case ssl.SSLCertVerificationError():
            return f"{where}: the certificate is not accepted: {error.verify_message}"
    return f"{where}: {type(error).__name__}: {error}"
