"""How a command runs, is stopped, and fails.

Owns signals, the event loop and exit statuses: 0 done, 1 the operator has to act, 3 a recording had lines that could not be
used, or some of the past cannot be had. What a command does is its own.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable, Coroutine
from typing import Any, NoReturn, TypeVar

import typer

from exchanges.errors import VenueError
from gateway.asking import NoAnswer
from gateway.demo import SimulatorFailed
from gateway.loading import ConfigError
from gateway.rewind import NothingKept
from gateway.storage.errors import StorageError
from gateway.web.auth import BindRefused
from gateway.web.server import CannotListen

# What an operator can mend: shown as one line. Anything else is a defect and shows its traceback.
OPERATOR = (ConfigError, VenueError, StorageError, BindRefused, CannotListen, SimulatorFailed, NothingKept, NoAnswer)

Stop = asyncio.Event
T = TypeVar("T")


def fail(text: str, status: int = 1) -> NoReturn:
    """Say what is wrong on stderr and end."""
    print(f"perpwire: {text}", file=sys.stderr)
    raise typer.Exit(status)


def run(main: Callable[[Stop], Coroutine[Any, Any, T]]) -> T:
    """Run a program until it returns, and return that; SIGTERM and Ctrl-C set its stop event, in this order and once."""

    async def guarded() -> T:
        stop = Stop()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        return await main(stop)

    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            return runner.run(guarded())
    except OPERATOR as error:
        fail(str(error))


async def unless_stopped(work: Coroutine[Any, Any, T], stop: Stop, said: str) -> T:
    """Return what a piece of work comes to; where ``stop`` is set first, break it off and end the command with ``said``."""
    working, stopping = asyncio.ensure_future(work), asyncio.ensure_future(stop.wait())
    await asyncio.wait((working, stopping), return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if not working.done():
        working.cancel()
        await asyncio.wait((working,))
        fail(said)
    return working.result()


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return uvloop's loop where it exists; plain asyncio works too."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop
