"""A connection of the simulated OKX without a socket: frames and times handed in, what is said taken out."""

from __future__ import annotations

import json
from typing import Any

from exchanges.sim.front import Faults
from exchanges.sim.okx_session import Session
from exchanges.sim.world import MarkChanged, World
from tests.exchanges.sim.raw import okx_login

BEGIN = 1_763_683_200_000


class Wire:
    """Stands in for a socket: keeps what is sent."""

    def __init__(self, connection: str, faults: Faults) -> None:
        self.id = 1
        self.faults = faults
        self.held: str | None = None
        self.connection = connection
        self.accounts: set[str] = set()
        self.stalled = False
        self.sent: list[Any] = []
        self.ended: tuple[int, str] | None = None

    def send(self, frame: str) -> None:
        try:
            self.sent.append(json.loads(frame))
        except ValueError:
            self.sent.append(frame)

    def release(self) -> None:
        if self.held is not None:
            frame, self.held = self.held, None
            self.send(frame)

    def close(self, code: int, reason: str = "") -> None:
        self.ended = self.ended or (code, reason)


class Talk:
    """A session over a world of its own, with one clock."""

    def __init__(self, connection: str = "private", account: str | None = None) -> None:
        self.world = World(1, BEGIN)
        self.world.pause()
        self.faults = Faults()
        self.wire = Wire(connection, self.faults)
        self.peers: list[Session] = []
        self.session = Session(self.world, self.wire, self.faults, self.peers, BEGIN)  # type: ignore[arg-type]
        self.peers.append(self.session)
        self.cursor = self.world.cursor()
        self.now = BEGIN
        if account:
            self.say(self.login(account))
            self.take()

    def login(self, account: str, **wrong: str) -> dict[str, Any]:
        it = self.world.account(account)
        keys = {"key": it.key, "secret": it.secret, "passphrase": it.passphrase}
        return okx_login(keys, self.now, **wrong)

    def say(self, frame: Any) -> list[Any]:
        self.session.handle(frame if isinstance(frame, str) else json.dumps(frame), self.now)
        return self.take()

    def take(self) -> list[Any]:
        sent, self.wire.sent = self.wire.sent, []
        return sent

    def wait(self, ms: int, step: int = 10) -> list[tuple[int, Any]]:
        """Let time pass; return (ms waited, frame)."""
        out = []
        for waited in range(step, ms + 1, step):
            self.now += step
            self.world.step(self.now)
            self.session.now_ms = self.now
            events, self.cursor = self.world.events_since(self.cursor)
            account = self.session.account
            for event in events:
                if account is not None and not isinstance(event, MarkChanged) and event.account == account.name:
                    self.session.note(event)
            self.session.tick(self.now)
            out += [(waited, frame) for frame in self.take()]
        return out
