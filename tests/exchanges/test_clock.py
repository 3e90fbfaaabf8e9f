"""The machine's clocks, and waiting on a clock that stands still."""

from __future__ import annotations

import asyncio
import time

from exchanges.clock import SystemClock, sleep_until
from tests.exchanges.doubles import StillClock


def test_both_clocks_tell_milliseconds_since_the_epoch() -> None:
    clock = SystemClock()
    before = time.time_ns() // 1_000_000
    readings = [clock.now_ms(), clock.wall_ms(), clock.now_ms()]
    assert all(abs(reading - before) < 5_000 for reading in readings)
    assert readings[0] <= readings[2]


async def test_a_callback_comes_when_the_moment_has_come_and_a_past_moment_is_due() -> None:
    clock, due = SystemClock(), asyncio.Event()
    moment = clock.now_ms() - 1000
    clock.call_at(moment, due.set)
    async with asyncio.timeout(5):
        await due.wait()
        await sleep_until(clock, moment := clock.now_ms() + 3)
    assert clock.now_ms() >= moment


async def test_a_cancelled_callback_does_not_come() -> None:
    clock, due, other = SystemClock(), asyncio.Event(), asyncio.Event()
    timer = clock.call_at(clock.now_ms(), due.set)
    timer.cancel()
    clock.call_at(clock.now_ms() + 2, other.set)
    async with asyncio.timeout(5):
        await other.wait()
    assert not due.is_set()


async def test_sleep_ends_with_the_moment_and_leaves_no_alarm() -> None:
    clock = StillClock()
    task = asyncio.ensure_future(sleep_until(clock, clock.now + 100))
    await clock.watch.until(clock.alarms)
    clock.advance(100)
    await task
    cut = asyncio.ensure_future(sleep_until(clock, clock.now + 100))
    await clock.watch.until(clock.alarms)
    cut.cancel()
    await asyncio.wait([cut])
    assert clock.alarms() == []
