"""What people do with alerts, as turns of the engine: acknowledge, silence, test; and the way from the engine to the channels.

Owns nothing but the order: the engine decides, the store keeps, the notifier delivers. A notice is stored with the alert that it is
of before it is delivered, and what people did before they are answered: a kill forgets nothing that anybody was told. A database
that is away holds nothing up.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Collection, Mapping

import msgspec

from exchanges.clock import Clock
from gateway.core.alerts.records import Notice, Silence
from gateway.core.protocol import Refusal
from gateway.core.records import Acknowledged, Order
from gateway.engine import Engine
from gateway.notify.notifier import Notifier
from gateway.web.state import SilenceRequest

# Does what somebody orders as a turn of its own; returns False where a defect kept it from being done.
Act = Callable[[Order, str], bool]


class AlertDesk:
    """The gateway's answers to ``/v1/alerts`` and to ``perpwire alerts``."""

    def __init__(
        self, engine: Engine, notifier: Notifier, clock: Clock, act: Act, stored: Callable[[], Awaitable[object]]
    ) -> None:
        """Args:
        act: Does what people order.
        stored: Waits until what that changed is stored.
        """
        self._engine, self._notifier, self._clock, self._act, self._stored = engine, notifier, clock, act, stored
        self._to_deliver: list[Notice] = []
        self._wake = asyncio.Event()
        notifier.settled = lambda notice, channel: engine.alerts.board.settled(notice, channel, clock.now_ms())

    def tell(self) -> None:
        """Take what the engine wants to be told, and say where that has yet to arrive, which is stored with it."""
        board = self._engine.alerts.board
        while board.outbox:
            notice = board.outbox.popleft()
            board.owe(notice, self._notifier.wanted(notice), self._clock.now_ms())
            self._to_deliver.append(notice)
            self._wake.set()

    async def deliver(self) -> None:
        """Hand over to the channels what is stored, until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            notices, self._to_deliver = self._to_deliver, []
            await self._stored()
            self._notifier.take(notices)

    def rules(self) -> Collection[str]:
        """Return the names of the rules that hold."""
        return self._engine.alerts.board.rules.keys()

    def venues(self) -> Collection[str]:
        """Return the venues that accounts are at."""
        return sorted({account.info.venue for account in self._engine.accounts.values()})

    async def acknowledge(self, alert: str) -> None:
        """Take note of a firing alert. Raises KeyError."""
        if not self._engine.alerts.board.fires(alert):
            raise KeyError(alert)
        await self._do(Acknowledged(alert=alert), "acknowledging")

    def silences(self) -> list[Silence]:
        """Return the silences that are not over."""
        return sorted(self._engine.alerts.board.silences.values(), key=lambda one: (one.until, one.id))

    async def silence(self, asked: SilenceRequest, until: int, by: str) -> Silence:
        """Keep alerts quiet."""
        now = self._clock.now_ms()
        return await self._put(
            Silence(
                id=secrets.token_hex(6), at=now, until=until, by=by, reason=asked.reason, rules=asked.rules,
                accounts=asked.accounts, venues=asked.venues, symbols=asked.symbols,
            )
        )  # fmt: skip

    async def unsilence(self, silence: str) -> Silence:
        """End a silence. Raises KeyError."""
        return await self._put(
            msgspec.structs.replace(self._engine.alerts.board.silences[silence], until=self._clock.now_ms())
        )

    async def _put(self, silence: Silence) -> Silence:
        await self._do(silence, "silencing")
        return silence

    async def _do(self, order: Order, what: str) -> None:
        """Do it, and wait until it is stored. Raises Refusal where a defect kept it from being done, which is logged."""
        if not self._act(order, what):
            raise Refusal("internal", f"{what} failed; the gateway's log says why")
        await self._stored()

    async def test(self, rule: str) -> Mapping[str, Mapping[str, object]]:
        """Send a test of a rule and return what each channel said. Raises KeyError."""
        held, now = self._engine.alerts.board.rules[rule], self._clock.now_ms()
        severity = held.steps[-1].severity
        message = f"Test of the rule {rule} ({held.spec.what}): nothing is wrong"
        row = {"rule": rule, "kind": held.kind, "state": "test", "severity": severity, "message": message, "since": now}
        return await self._notifier.test(
            Notice(f"test_{secrets.token_hex(16)}", "test", severity, message, now, row, held.notify)
        )
