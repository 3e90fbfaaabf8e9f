"""One process of ours: started to die with us, its death is a future, its last words are kept.

Owns one child process each. Never decides what a death means.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_LOG_LINES = 50


class User(NamedTuple):
    """Numeric ids to run as."""

    uid: int
    gid: int


def _die_with_parent() -> Callable[[], None]:
    """Return what the child calls between fork and exec: ask the kernel for SIGINT when the forking thread dies.

    It has to run in the child, after setuid (which clears the setting): ``subprocess`` calls it exactly there. Other
    threads may hold locks at the moment of the fork, so everything is looked up before it, and the child makes two
    system calls and nothing else.
    """
    prctl = ctypes.CDLL(None).prctl
    prctl.argtypes = [ctypes.c_int, ctypes.c_ulong]
    parent, getppid, exit_now, wanted = os.getpid(), os.getppid, os._exit, int(signal.SIGINT)

    def set_death_signal() -> None:
        prctl(_PR_SET_PDEATHSIG, wanted)
        if getppid() != parent:  # it died between the fork and the line above: no signal would ever come
            exit_now(1)

    return set_death_signal


class Child:
    """A running program.

    Attributes:
        died: Done when the process has ended and was reaped; its result is the exit status (negative: the signal).
        log: The last lines that it wrote to stdout and stderr.
    """

    def __init__(self, args: Sequence[str | Path], *, user: User | None, pass_fds: Sequence[int] = ()) -> None:
        """Start ``args`` in a session of its own, with an empty environment (ours may hold secrets).

        Args:
            user: Whom to run as; None: as ourselves.
            pass_fds: Descriptors that stay open in it.

        Raises:
            RuntimeError: Not called from the main thread: the child would be stopped when that thread ends.
            OSError: The program cannot be run.
        """
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError("a child that dies with its parent must be started from the main thread")
        self._loop = asyncio.get_running_loop()
        self.died: asyncio.Future[int] = self._loop.create_future()
        self.log: deque[str] = deque(maxlen=_LOG_LINES)
        self._rest = b""
        as_user = {"user": user.uid, "group": user.gid, "extra_groups": []} if user else {}
        self._process: subprocess.Popen[bytes] = subprocess.Popen(  # type: ignore[call-overload]
            args,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"},
            cwd="/",
            start_new_session=True,  # or Ctrl-C reaches it before us
            preexec_fn=_die_with_parent(),  # noqa: PLW1509 - see there
            pass_fds=pass_fds,
            **as_user,
        )
        self.pid = self._process.pid
        self._watch_output()
        # Observes only (WNOWAIT): the loop's thread reaps, so a signal is never sent to a pid that was given away. A
        # thread, because pidfd_open is refused under older container runtimes.
        threading.Thread(target=self._watch_death, name=f"wait-{self.pid}", daemon=True).start()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal; nothing happens when the process has ended."""
        if not self.died.done():
            self._process.send_signal(number)

    async def wait(self, timeout_s: float) -> bool:
        """Wait for the end, at most ``timeout_s``; True when it came."""
        await asyncio.wait({self.died}, timeout=timeout_s)
        return self.died.done()

    def _watch_death(self) -> None:
        with contextlib.suppress(ChildProcessError):  # send_signal noticed the end first and reaped it
            os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left to tell
            self._loop.call_soon_threadsafe(self._reap)

    def _reap(self) -> None:
        status = self._process.wait()
        self._read_output()
        if not self.died.done():
            self.died.set_result(status)

    def _watch_output(self) -> None:
        assert self._process.stdout is not None
        os.set_blocking(self._process.stdout.fileno(), False)
        self._loop.add_reader(self._process.stdout.fileno(), self._read_output)

    def _read_output(self) -> None:
        """Take what there is. The pipe ends when the last process of the family ended, not with the first one."""
        pipe = self._process.stdout
        if pipe is None or pipe.closed:
            return
        try:
            data = os.read(pipe.fileno(), 65536)
        except BlockingIOError:
            return
        *lines, self._rest = (self._rest + data[-65536:]).split(b"\n")
        self._rest = self._rest[-4096:]
        self.log.extend(line.decode("utf-8", "replace") for line in lines if line.strip())
        if not data:
            self.close()

    def close(self) -> None:
        """Stop reading what it says. Harmless when repeated."""
        pipe = self._process.stdout
        if pipe is not None and not pipe.closed:
            self._loop.remove_reader(pipe.fileno())
            pipe.close()
