"""The Python client of the stream: a replica of the selections that one wants, kept complete over gaps and reconnects.

``Replica`` is pure: frames in, commands out. ``Client`` is the connection around it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Literal, Never

import msgspec
import orjson
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidURI

from exchanges.backoff import Backoff
from gateway.core.patch import merge
from gateway.core.protocol import may_return

Row = dict[str, Any]
Rows = dict[str, Row]
Frame = dict[str, Any]

_MAX_FRAME_BYTES = 4 * 1024 * 1024
_BACKOFF = Backoff(base_s=0.2, cap_s=10.0)


class Want(msgspec.Struct, frozen=True):
    """A selection that is wanted."""

    table: str
    accounts: tuple[str, ...] | None = None
    symbols: tuple[str, ...] | None = None
    min_interval_ms: int = 0

    def command(self, id_: int, since: dict[str, object] | None) -> Frame:
        """Return the subscribe command."""
        command: Frame = {"op": "subscribe", "id": id_, "table": self.table}
        optional = {"accounts": self.accounts, "symbols": self.symbols, "since": since}
        command |= {name: value for name, value in optional.items() if value is not None}
        return command | ({"min_interval_ms": self.min_interval_ms} if self.min_interval_ms else {})


class Refused(Exception):
    """The gateway refuses what is wanted; asking again changes nothing."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code, message)
        self.code, self.message = code, message

    def __str__(self) -> str:
        return f"{self.message} ({self.code})"


class View:
    """The replica of one selection.

    Attributes:
        rows: By id; exactly the gateway's as of ``cursor`` while ``complete``.
        cursor: None before the first snapshot.
        complete: False between the pieces of a frame that came in several.
    """

    def __init__(self, want: Want) -> None:
        self.want = want
        self.rows: Rows = {}
        self.epoch: str | None = None
        self.cursor: int | None = None
        self.sub: str | None = None
        self.complete = False
        self.snapshots = self.deltas = self.gaps = 0

    def since(self) -> dict[str, object] | None:
        """Return where this replica stands, None where only a snapshot helps."""
        if self.cursor is None or not self.complete:
            return None
        return {"epoch": self.epoch, "seq": self.cursor, "sub": self.sub}

    def apply(self, frame: Frame) -> bool:
        """Apply a snapshot or delta; False where frames are missing before it, and nothing was changed."""
        if frame["type"] == "snapshot":
            self.rows, self.epoch = dict(frame["rows"]), frame["epoch"]
            self.snapshots += 1
        elif self.cursor is None or frame["prev"] > self.cursor:
            self.gaps += 1
            return False
        else:
            self.rows.update(frame.get("rows", {}))
            for id_, patch in frame.get("patch", {}).items():
                self._patch(id_, patch)
            self.deltas += 1
        self.cursor = frame["seq"]
        self.complete = not frame.get("more", False)
        return True

    def _patch(self, id_: str, patch: Row | None) -> None:
        if patch is None:
            self.rows.pop(id_, None)
            return
        row = merge(self.rows.get(id_), patch)
        assert isinstance(row, dict)
        self.rows[id_] = row


class Replica:
    """The replicas of all wanted selections, over one connection after another. Pure: no socket, no time.

    ``connected`` at each new connection, then ``receive`` for each frame; both return commands to be sent.
    """

    def __init__(self, *wants: Want) -> None:
        self.views = [View(want) for want in wants]
        self.hello: Frame | None = None
        self.refusals: list[Refused] = []
        self.recovered = 0  # subscriptions that went on from their cursor
        self._by_sub: dict[str, View] = {}
        self._commands = 0
        self._asked: dict[int, View] = {}

    def connected(self) -> list[Frame]:
        """Forget what was of the connection before; returns nothing to send: the gateway speaks first."""
        self._by_sub.clear()
        self._asked.clear()
        self.hello = None
        return []

    def receive(self, frame: Frame) -> list[Frame]:
        """Apply one frame. Unknown types and unknown fields are ignored: newer gateways may send them."""
        match frame["type"]:
            case "hello":
                self.hello = frame
                return [self._subscribe(view) for view in self.views]
            case "subscribed":
                self._subscribed(frame)
            case "snapshot" | "delta":
                view = self._by_sub.get(frame["sub"])
                if view is not None and not view.apply(frame):
                    return [self._subscribe(view)]
            case "heartbeat":
                for view in self._by_sub.values():
                    if view.complete:
                        view.cursor = frame["seq"]
            case "error":
                return self._error(frame)
        return []

    def _subscribe(self, view: View) -> Frame:
        self._commands += 1
        self._asked[self._commands] = view
        return view.want.command(self._commands, view.since())

    def _subscribed(self, frame: Frame) -> None:
        moved = "was" in frame  # what this client may see changed
        view = self._by_sub.pop(frame["was"], None) if moved else self._asked.pop(frame["id"], None)
        if view is None:
            return
        self._by_sub[frame["sub"]] = view
        view.sub = frame["sub"]
        if frame["recovered"]:
            self.recovered += 1
        else:
            view.cursor, view.complete = None, False  # the rows stay to be shown until the snapshot replaces them

    def _error(self, frame: Frame) -> list[Frame]:
        view = self._asked.pop(frame["id"], None) if "id" in frame else None
        if not frame["retry"]:
            self.refusals.append(Refused(frame["code"], frame["message"]))
        elif view is not None:
            return [self._subscribe(view)]
        return []

    @property
    def complete(self) -> bool:
        """True when every view is complete as of its cursor, on this connection."""
        return len(self._by_sub) == len(self.views) and all(view.complete for view in self.views)

    @property
    def tables(self) -> dict[str, Rows]:
        """The rows by table; where two views are of one table, of both together."""
        tables: dict[str, Rows] = {}
        for view in self.views:
            tables.setdefault(view.want.table, {}).update(view.rows)
        return tables


class Client:
    """A connection that keeps a replica: ``async with Client(url, Want("positions")) as client``.

    Reconnects by itself and goes on from its cursors. ``wait_for`` raises when it cannot.

    Args:
        url: Such as ``ws://127.0.0.1:8080/v1/stream``.
        wants: Selections.
        backoff: The waiting times between attempts, with ``fraction`` (uniform in [0, 1)) as its chance.
    """

    def __init__(
        self,
        url: str,
        *wants: Want,
        backoff: Backoff = _BACKOFF,
        fraction: Callable[[], float] = random.random,
        proxy: str | Literal[True] | None = True,
    ) -> None:
        self.url, self.replica = url, Replica(*wants)
        self.connections = 0
        self._backoff, self._fraction, self._proxy = backoff, fraction, proxy
        self._changed = asyncio.Condition()
        self._task: asyncio.Task[None] | None = None
        self._socket: ClientConnection | None = None

    @property
    def tables(self) -> dict[str, Rows]:
        """The replica's rows by table and id."""
        return self.replica.tables

    @property
    def cursor(self) -> int | None:
        """The seq that every selection is complete up to; None before all are."""
        cursors = [view.cursor for view in self.replica.views if view.cursor is not None]
        return min(cursors) if cursors and len(cursors) == len(self.replica.views) else None

    async def __aenter__(self) -> Client:
        self._task = asyncio.create_task(self._run(), name=f"client of {self.url}")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._task is not None
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError, Refused):
            await self._task

    async def wait_for(self, predicate: Callable[[Client], bool], timeout_s: float = 10.0) -> None:
        """Return when ``predicate(self)`` holds; it is asked after every frame.

        Raises:
            TimeoutError: It did not hold in time.
            Refused: The gateway refuses this client.
        """
        assert self._task is not None, "use the client as a context manager"
        async with asyncio.timeout(timeout_s), self._changed:
            while not predicate(self):
                if self._task.done():
                    self._task.result()
                if self.replica.refusals:
                    raise self.replica.refusals[0]
                await self._changed.wait()

    async def send(self, command: Frame) -> None:
        """Send a command of one's own on the present connection. Raises RuntimeError where there is none."""
        if self._socket is None:
            raise RuntimeError(f"not connected to {self.url}")
        await self._socket.send(json.dumps(command))

    async def _run(self) -> None:
        try:
            await self._stay_connected()
        finally:
            await self._notify()

    async def _stay_connected(self) -> None:
        attempt = 0
        while True:
            greeted = self.connections
            code = await self._connection()
            if not may_return(code):
                raise Refused(str(code), f"{self.url} closed the stream and says not to come back")
            attempt = 0 if self.connections > greeted else attempt + 1
            await asyncio.sleep(self._backoff.delay_s(attempt, self._fraction()))

    async def _connection(self) -> int | None:
        """Serve one connection to its end and return the close code, None where it broke or never came about."""
        self.replica.connected()
        try:
            async with connect(
                self.url, compression=None, max_size=_MAX_FRAME_BYTES, ping_interval=None, proxy=self._proxy
            ) as socket:
                self._socket = socket
                await self._pump(socket)
        except ConnectionClosed as closed:
            return closed.rcvd.code if closed.rcvd is not None else None
        except (OSError, InvalidHandshake, TimeoutError, EOFError):
            return None
        except InvalidURI as error:
            raise Refused("bad_url", str(error)) from None
        finally:
            self._socket = None
            await self._notify()

    async def _pump(self, socket: ClientConnection) -> Never:
        silent_after_s: float | None = 10.0  # until the hello says
        while True:
            async with asyncio.timeout(silent_after_s):
                frame = orjson.loads(await socket.recv())
            if frame["type"] == "hello":
                silent_after_s = 2 * frame["heartbeat_ms"] / 1000
                self.connections += 1
            await self._send_all(socket, self.replica.receive(frame))
            await self._notify()

    async def _send_all(self, socket: ClientConnection, commands: Sequence[Frame]) -> None:
        for command in commands:
            await socket.send(json.dumps(command))

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()
