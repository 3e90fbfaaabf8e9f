"""Turns of the engine: what arrived together is given to it as one, and what that moved is sent.

Owns when a turn is taken, and what becomes of one that fails. What is done after a turn is its user's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

import structlog

from exchanges.clock import Clock
from gateway.core.records import Order
from gateway.core.scribe import Group
from gateway.engine import Engine
from gateway.hub import Hub
from gateway.journalling import Journal

log = structlog.get_logger("perpwire")

_SOON_S = 0.001  # while turns wait


class Turns:
    """Collects what arrived in one pass of the event loop and gives it to the engine as one turn."""

    def __init__(
        self, engine: Engine, hub: Hub, clock: Clock, after: Callable[[], None], journal: Journal | None = None
    ) -> None:
        """``after``: called after every turn; ``journal``: puts turns down, None: nobody does."""
        self._engine, self._hub, self._clock, self._after = engine, hub, clock, after
        self._journal = journal or Journal()
        self._inbox: list[Group] = []  # emptied in the next pass of the loop
        self._over = False
        self.failures = 0

    def take(self, groups: Sequence[Group]) -> None:
        """Take the events of one frame or answer; the turn runs once this pass of the loop has read every ready socket."""
        groups = [group for group in groups if group[1]]
        if self._over:
            return
        if not self._inbox and groups:
            asyncio.get_running_loop().call_soon(self._turn)
        self._inbox += groups

    def settle(self) -> None:
        """Take the turn of what waits for one, at once, and none of what still arrives: the journal ends now."""
        self._over = True
        self._empty()

    def clock(self, last_messages: Mapping[str, int]) -> None:
        """Take a clock turn: ages, shares and summaries."""
        now = self._clock.now_ms()
        self._publish(lambda: self._journal.clock(self._engine, now, last_messages), "clock")
        self._after()

    def order(self, order: Order, what: str) -> bool:
        """Do what somebody orders, as a turn of its own; False where a defect came to light."""
        now = self._clock.now_ms()
        done = self._publish(lambda: self._journal.order(self._engine, order, now), what)
        self._after()
        return done

    def _turn(self) -> None:
        if self._journal.copying:  # in steps, between which everybody else has his turn
            asyncio.get_running_loop().call_later(_SOON_S, self._turn)
            return
        self._empty()

    def _empty(self) -> None:
        groups, self._inbox = self._inbox, []
        if not groups:
            return
        if not self._apply(groups):
            single = [(name, (event,)) for name, events in groups for event in events]
            for one in (
                single if len(single) > 1 else ()
            ):  # the others must not be lost with it; nothing is applied twice
                self._apply([one])
        self._after()

    def _apply(self, groups: Sequence[Group]) -> bool:
        now = self._clock.now_ms()
        names = ", ".join(sorted({type(event).__name__ for _, events in groups for event in events}))
        return self._publish(lambda: self._journal.turn(self._engine, groups, now), names)

    def _publish(self, change: Callable[[], bool], what: str) -> bool:
        """Make a change and send what it moved; return False where a defect came to light."""
        try:
            if change():
                self._hub.flush()
        except Exception:  # a defect that one message uncovers must not blind a desk to all others: told and counted
            self.failures += 1
            log.exception("a turn failed", of=what)
            self._hub.flush()  # what was committed before the defect
            return False
        return True
