"""Time as the shells of ``exchanges`` see it: an interface that tests replace, and the real one.

Owns the two clocks and the timer. Pure modules never import it: they are given times as arguments.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol


class Timer(Protocol):
    """A callback that is due later."""

    def cancel(self) -> None:
        """Forget the callback; harmless when it has already run."""


class Clock(Protocol):
    """Both clocks in milliseconds since the Unix epoch, and a timer on the first."""

    def now_ms(self) -> int:
        """Return the monotone time: never steps back, orders receipts and questions, is due for deadlines."""

    def wall_ms(self) -> int:
        """Return true wall-clock time, for signatures alone: it may step when the system clock is set."""

    def call_at(self, at_ms: int, callback: Callable[[], None]) -> Timer:
        """Call back once ``now_ms`` reached ``at_ms``, on the running loop; a past moment is due at once."""


class SystemClock:
    """The machine's clocks; the monotone one starts at the wall clock's reading so that its moments can be shown."""

    def __init__(self) -> None:
        self._zero_ns = time.time_ns() - time.monotonic_ns()

    def now_ms(self) -> int:
        return (self._zero_ns + time.monotonic_ns()) // 1_000_000

    def wall_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def call_at(self, at_ms: int, callback: Callable[[], None]) -> Timer:
        # Whole milliseconds, at least one: a timer of the loop may fire a fraction early, and an early caller re-arms.
        return asyncio.get_running_loop().call_later(max(at_ms - self.now_ms(), 1) / 1000, callback)


async def sleep_until(clock: Clock, at_ms: int) -> None:
    """Return when the monotone clock has reached ``at_ms``."""
    while clock.now_ms() < at_ms:
        due = asyncio.Event()
        timer = clock.call_at(at_ms, due.set)
        try:
            await due.wait()
        finally:
            timer.cancel()
