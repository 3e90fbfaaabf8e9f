"""A clock that can be made to leap: virtual time for programs that run on a real loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from exchanges.clock import Timer


class LeapingClock:
    """The machine's clocks from a moment of one's own, which can be made to leap; timers leap with them. A ``Clock``."""

    def __init__(self, begins_ms: int) -> None:
        self._zero_ms = begins_ms - time.monotonic_ns() // 1_000_000
        self._waiting: dict[_Waiting, asyncio.TimerHandle] = {}

    def now_ms(self) -> int:
        return self._zero_ms + time.monotonic_ns() // 1_000_000

    def wall_ms(self) -> int:
        return self.now_ms()

    def call_at(self, at_ms: int, callback: Callable[[], None]) -> Timer:
        waiting = _Waiting(self, at_ms, callback)
        self._arm(waiting)
        return waiting

    def leap(self, ms: int) -> None:
        """Let so much time have passed."""
        self._zero_ms += ms
        for waiting in list(self._waiting):
            self.forget(waiting)
            self._arm(waiting)

    def forget(self, waiting: _Waiting) -> None:
        handle = self._waiting.pop(waiting, None)
        if handle is not None:
            handle.cancel()

    def _arm(self, waiting: _Waiting) -> None:
        delay_s = max(waiting.at_ms - self.now_ms(), 1) / 1000
        self._waiting[waiting] = asyncio.get_running_loop().call_later(delay_s, self._fire, waiting)

    def _fire(self, waiting: _Waiting) -> None:
        del self._waiting[waiting]
        waiting.callback()


@dataclass(frozen=True, eq=False)
class _Waiting:
    clock: LeapingClock
    at_ms: int
    callback: Callable[[], None]

    def cancel(self) -> None:
        self.clock.forget(self)
