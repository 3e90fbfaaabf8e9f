"""Telegram, Slack, e-mail and a hundred others through apprise (extra ``notify``), in a thread of its own.

apprise blocks, for as long as the service behind it takes: the loop never waits for it, only for the answer and only for so long.
One thread serves all channels; what it cannot take is refused, and tried again by whoever asked.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import logging
import queue
import threading
from collections.abc import Callable
from typing import Any, NamedTuple

from gateway.core.alerts.records import Notice
from gateway.notify.failure import DeliveryFailed

_WAIT_S = 60.0
_MOST_WAITING = 64
_TYPES = {"info": "info", "warning": "warning", "error": "failure", "critical": "failure"}


class _Job(NamedTuple):
    work: Callable[[], str | None]
    loop: asyncio.AbstractEventLoop
    done: asyncio.Future[str | None]


class Thread:
    """The one thread; started with its first job. A daemon: a service that hangs does not hold up the end of the program."""

    def __init__(self) -> None:
        self._jobs: queue.Queue[_Job | None] = queue.Queue(_MOST_WAITING)
        self._thread: threading.Thread | None = None

    async def run(self, work: Callable[[], str | None], wait_s: float = _WAIT_S) -> str | None:
        """Run something in the thread and return its result.

        Raises:
            DeliveryFailed: The thread is busy, or did not come back in time.
        """
        loop = asyncio.get_running_loop()
        job = _Job(work, loop, loop.create_future())
        if self._thread is None:
            self._thread = threading.Thread(target=self._serve, name="apprise", daemon=True)
            self._thread.start()
        try:
            self._jobs.put_nowait(job)
            async with asyncio.timeout(wait_s):
                return await job.done
        except queue.Full:
            raise DeliveryFailed("apprise is busy with what came before", again=True) from None
        except TimeoutError:
            raise DeliveryFailed(f"apprise did not come back within {wait_s:.0f} s", again=True) from None

    def stop(self) -> None:
        """Let the thread end after what it is at."""
        with contextlib.suppress(queue.Full):
            self._jobs.put_nowait(None)

    def _serve(self) -> None:
        while (job := self._jobs.get()) is not None:
            if job.done.done():  # nobody waits for it any more: whoever asked tries again, and would have it sent twice
                continue
            try:
                found = job.work()
            except Exception as error:  # noqa: BLE001  a plugin of apprise's may raise anything; its text may hold the address
                found = f"apprise failed ({type(error).__name__})"
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                job.loop.call_soon_threadsafe(_settle, job.done, found)


def _settle(done: asyncio.Future[str | None], found: str | None) -> None:
    if not done.done():
        done.set_result(found)


class Others:
    """One channel through apprise. ``url``: one or more of its addresses, separated by spaces; never shown."""

    def __init__(self, url: str, thread: Thread) -> None:
        self._url, self._thread = url, thread

    async def send(self, notice: Notice) -> str:
        """Deliver a notice once. Raises DeliveryFailed."""
        title = f"Perpwire: {notice.state} ({notice.severity})"
        kind = "success" if notice.state == "resolved" else _TYPES[notice.severity]
        refused = await self._thread.run(lambda: self._notify(title, notice.message, kind))
        if refused is not None:
            raise DeliveryFailed(refused, again=True)
        return "sent"

    async def close(self) -> None:
        """Let the thread end."""
        self._thread.stop()

    def _notify(self, title: str, body: str, kind: str) -> str | None:
        """Speak to the service, in the thread; return why it did not work."""
        # What it logs, and what it connects with, may hold addresses, which hold tokens.
        for name in ("apprise", "urllib3"):
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)
        apprise: Any = importlib.import_module("apprise")
        service = apprise.Apprise()
        if not service.add(self._url):
            return "apprise does not understand its address"
        return None if service.notify(title=title, body=body, notify_type=kind) else "the service did not take it"
