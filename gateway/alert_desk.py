"""What people do with alerts, as turns of the engine: acknowledge, silence, test; and the way from the engine to the channels.

Owns nothing but the order: the engine decides, the notifier delivers.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Mapping

import msgspec

from exchanges.clock import Clock
from gateway.core.alerts.records import Notice, Silence
from gateway.engine import Engine
from gateway.notify.notifier import Notifier
from gateway.web.state import SilenceRequest

# Runs a change of the engine as a turn of its own; returns False where it failed.
Act = Callable[[Callable[[], bool], str], bool]


class AlertDesk:
    """The gateway's answers to ``/v1/alerts`` and to ``perpwire alerts``."""

    def __init__(self, engine: Engine, notifier: Notifier, clock: Clock, act: Act) -> None:
        self._engine, self._notifier, self._clock, self._act = engine, notifier, clock, act
        notifier.settled = lambda notice, channel: engine.alerts.board.settled(notice, channel, clock.now_ms())

    def tell(self) -> None:
        """Hand over what the engine wants to be told, and tell it where that waits."""
        board = self._engine.alerts.board
        if board.outbox:
            notices = [board.outbox.popleft() for _ in range(len(board.outbox))]
            waiting, now = self._notifier.take(notices), self._clock.now_ms()
            for notice in notices:
                board.owe(notice, waiting.get(notice.key, ()), now)

    def rules(self) -> Collection[str]:
        """Return the names of the rules that hold."""
        return self._engine.alerts.board.rules.keys()

    def acknowledge(self, alert: str) -> None:
        """Take note of a firing alert. Raises KeyError."""
        if not self._engine.alerts.board.fires(alert):
            raise KeyError(alert)
        self._act(lambda: self._engine.acknowledge(alert, self._clock.now_ms()), "acknowledging")

    def silences(self) -> list[Silence]:
        """Return the silences that are not over."""
        return sorted(self._engine.alerts.board.silences.values(), key=lambda one: (one.until, one.id))

    def silence(self, asked: SilenceRequest, until: int, by: str) -> Silence:
        """Keep alerts quiet."""
        now = self._clock.now_ms()
        return self._put(
            Silence(
                id=secrets.token_hex(6), at=now, until=until, by=by, reason=asked.reason, rules=asked.rules,
                accounts=asked.accounts, venues=asked.venues, symbols=asked.symbols,
            )
        )  # fmt: skip

    def unsilence(self, silence: str) -> Silence:
        """End a silence. Raises KeyError."""
        return self._put(
            msgspec.structs.replace(self._engine.alerts.board.silences[silence], until=self._clock.now_ms())
        )

    def _put(self, silence: Silence) -> Silence:
        self._act(lambda: self._engine.silence(silence, self._clock.now_ms()), "silencing")
        return silence

    async def test(self, rule: str) -> Mapping[str, Mapping[str, object]]:
        """Send a test of a rule and return what each channel said. Raises KeyError."""
        held, now = self._engine.alerts.board.rules[rule], self._clock.now_ms()
        severity = held.steps[-1].severity
        message = f"Test of the rule {rule} ({held.spec.what}): nothing is wrong"
        row = {"rule": rule, "kind": held.kind, "state": "test", "severity": severity, "message": message, "since": now}
        return await self._notifier.test(
            Notice(f"test_{secrets.token_hex(16)}", "test", severity, message, now, row, held.notify)
        )
