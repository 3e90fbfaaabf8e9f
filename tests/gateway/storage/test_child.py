"""A child process: its death is told once, its last words are kept, it cannot outlive us by accident."""

from __future__ import annotations

import asyncio
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest

from gateway.storage.child import Child
from tests.gateway.storage.conftest import eventually


async def test_status_and_last_words() -> None:
    child = Child(["/bin/sh", "-c", "echo one; echo two >&2; exit 3"], user=None)
    assert await child.wait(10)
    assert child.died.result() == 3
    await eventually(lambda: len(child.log) == 2, "both lines are there")
    assert list(child.log) == ["one", "two"]
    child.signal(signal.SIGTERM)  # ended already: nothing happens
    child.close()
    child.close()


async def test_log_is_bounded_and_the_newest_lines_stay() -> None:
    child = Child(["/bin/sh", "-c", "i=0; while [ $i -lt 9999 ]; do i=$((i+1)); echo line $i; done"], user=None)
    assert await child.wait(30)
    await eventually(lambda: child.log and child.log[-1] == "line 9999", "everything was read")
    assert len(child.log) <= 100
    child.close()


async def test_signal_ends_it_and_waiting_is_bounded() -> None:
    child = Child(["/bin/sh", "-c", "exec tail -f /dev/null"], user=None)
    assert not await child.wait(0.01)
    child.signal(signal.SIGKILL)
    assert await child.wait(10)
    assert child.died.result() == -signal.SIGKILL
    child.close()


async def test_program_that_does_not_exist_is_an_error_at_once() -> None:
    with pytest.raises(FileNotFoundError):
        Child(["/nonexistent/program"], user=None)


async def test_not_from_another_thread() -> None:
    """The kernel ends the child with the thread that forked it, not with the process."""

    async def start() -> None:
        Child(["/bin/true"], user=None)

    with ThreadPoolExecutor(1) as pool, pytest.raises(RuntimeError, match="main thread"):
        await asyncio.get_running_loop().run_in_executor(pool, asyncio.run, start())
