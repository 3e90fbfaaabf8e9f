"""A small writer of tables, a clock that is turned by hand, and a connection in memory, for the tests of serving."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from typing import Any

import orjson
from websockets.frames import Frame, Opcode
from websockets.streams import StreamReader

from gateway.client import Replica
from gateway.core.access import LOCAL, Principal
from gateway.core.protocol import Close, Limits
from gateway.core.tables import Row, RowKey, Selection, Table, Tables
from gateway.hub import Hub
from gateway.session import Session

ACCOUNTS = ("main", "other")


def key_of(id_: str) -> RowKey:
    """``account:symbol`` belongs to that account and has that symbol."""
    account, _, symbol = id_.partition(":")
    return RowKey(account, "joe", "okx", symbol)


class Toy:
    """Tables whose rows are dictionaries kept here."""

    def __init__(self, epoch: str = "e1", *, max_tombstones: int = 10_000) -> None:
        self.rows: dict[str, Row] = {}
        self.positions = Table(
            "positions", lambda _, id_: dict(self.rows[id_]), ("accounts", "symbols"), max_tombstones
        )
        self.users: dict[str, Row] = {}
        self.summary = Table("summary", lambda _, id_: dict(self.users[id_]))
        self.feed_rows: dict[str, Row] = {}
        self.feeds = Table("feeds", lambda _, id_: dict(self.feed_rows[id_]), ("accounts",))
        self.tables = Tables(epoch, self.positions, self.summary, self.feeds)
        self.at = 1_000

    def put(self, id_: str, **fields: object) -> None:
        """Add a position or replace its fields."""
        self.rows[id_] = fields
        slot = self.positions.slot(id_)
        if slot is None:
            slot = self.positions.add(id_, key_of(id_))
        self.positions.touch([slot], self.tables.begin())

    def put_summary(self, user: str, **fields: object) -> None:
        """Add a summary or replace its fields."""
        self.users[user] = fields
        slot = self.summary.slot(user)
        if slot is None:
            slot = self.summary.add(user, RowKey(user=user))
        self.summary.touch([slot], self.tables.begin())

    def put_feed(self, id_: str, account: str | None, **fields: object) -> None:
        """Add a feed."""
        self.feed_rows[id_] = fields
        self.feeds.add(id_, RowKey(account, None, "okx"))

    def drop(self, id_: str) -> None:
        """Remove a position."""
        self.positions.remove(id_, self.tables.begin())
        del self.rows[id_]

    def commit(self) -> bool:
        """Publish."""
        self.at += 1
        return self.tables.commit(self.at)

    def chosen(self, selection: Selection) -> dict[str, Row]:
        """The rows of a selection of positions, as JSON would carry them."""
        return {
            id_: orjson.loads(orjson.dumps(row)) for id_, row in self.rows.items() if selection.matches(key_of(id_))
        }


class HandTurnedClock:
    """A loop's time: nothing happens until ``advance``."""

    def __init__(self) -> None:
        self.now = 0.0
        self._calls: list[tuple[float, int, Handle]] = []
        self._count = itertools.count()

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, callback: Callable[[], None]) -> Handle:
        handle = Handle(callback)
        heapq.heappush(self._calls, (self.now + delay, next(self._count), handle))
        return handle

    def advance(self, seconds: float) -> None:
        end = self.now + seconds
        while self._calls and self._calls[0][0] <= end:
            self.now, _, handle = heapq.heappop(self._calls)
            handle.run()
        self.now = end


class Handle:
    def __init__(self, callback: Callable[[], None]) -> None:
        self._callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        self._callback = None

    def run(self) -> None:
        if self._callback is not None:
            self._callback()


def make_hub(toy: Toy, clock: HandTurnedClock, **limits: int) -> Hub:
    return Hub(toy.tables, Limits(**limits), call_later=clock.call_later, clock=clock.time)


class Pipe:
    """A connection in memory: what the session writes waits until ``take``; over ``high`` bytes it is full."""

    def __init__(self, hub: Hub, principal: Principal = LOCAL, high: int = 1 << 20) -> None:
        self.high = high
        self.chunks: list[bytes] = []
        self.closed: Close | None = None
        self.reading_held = False
        self.pings = 0
        self._full = False
        self._reader = StreamReader()
        self.session = Session(hub, self, principal, lambda: ACCOUNTS, server="perpwire/test")
        self.session.open()

    # The outlet of the session

    def write(self, data: bytes) -> None:
        assert self.closed is None, "nothing is written after a close"
        self.chunks.append(data)
        if not self._full and self.waiting() > self.high:
            self._full = True
            self.session.pause()

    def waiting(self) -> int:
        return sum(map(len, self.chunks))

    def close(self, why: Close) -> None:
        self.closed = why

    def hold_reading(self, hold: bool) -> None:
        self.reading_held = hold

    # The client's side

    def send(self, **command: object) -> None:
        self.session.receive(orjson.dumps(command))

    def take(self) -> list[dict[str, Any]]:
        """Read everything that waits; the session is told that its socket drained."""
        frames: list[dict[str, Any]] = []
        while self.chunks:
            chunks, self.chunks = self.chunks, []
            frames += self._decoded(b"".join(chunks))
            if self._full:
                self._full = False
                self.session.resume()
        return frames

    def _decoded(self, data: bytes) -> list[dict[str, Any]]:
        self._reader.feed_data(data)
        frames = []
        while self._reader.buffer:
            frame = _run(Frame.parse(self._reader.read_exact, mask=False))
            if frame.opcode is Opcode.TEXT:
                frames.append(orjson.loads(frame.data))
            else:
                assert frame.opcode is Opcode.PING
                self.pings += 1
        return frames

    def ask(self, **command: object) -> list[dict[str, Any]]:
        """Send a command and return all frames that wait then."""
        self.send(**command)
        return self.take()


def _run(parsing: Any) -> Frame:
    try:
        while True:
            next(parsing)
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]


def drain_into(pipe: Pipe, replica: Replica) -> None:
    """Let a replica read and answer until nothing waits."""
    while frames := pipe.take():
        for frame in frames:
            for command in replica.receive(frame):
                pipe.send(**command)
