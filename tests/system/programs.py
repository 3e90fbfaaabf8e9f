"""``perpwire`` as an operator runs it: a process with a command line, two streams and an exit status."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp

from tests import secrecy
from tests.system.desk import eventually

ROOT = Path(__file__).parents[2]
COMMAND = (sys.executable, "-m", "gateway")
START_S = 30.0


class Ended(NamedTuple):
    """What a program said, and how it ended."""

    status: int
    out: str
    err: str


class Program:
    """A running ``perpwire``; ``first`` is what the first line of its stdout said."""

    def __init__(self, process: asyncio.subprocess.Process, errors: Path) -> None:
        self.process, self._errors = process, errors
        self.first = ""

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def errors(self) -> str:
        """What it wrote to stderr so far."""
        return self._errors.read_text()

    def told(self) -> Any:
        """Return its first line as JSON."""
        return json.loads(self.first)

    async def stop(self, number: signal.Signals = signal.SIGTERM, timeout_s: float = 10.0) -> float:
        """Send a signal and return how many seconds it took to end; its status is then in ``process.returncode``."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        self.process.send_signal(number)
        async with asyncio.timeout(timeout_s):
            await self.process.wait()
        return loop.time() - began


@asynccontextmanager
async def program(
    folder: Path, *arguments: str | Path, environ: Mapping[str, str] | None = None, command: Sequence[str] = COMMAND
) -> AsyncIterator[Program]:
    """Start ``perpwire`` and yield it once its first line came; whatever happens, it has ended afterwards."""
    errors = folder / f"stderr-{os.urandom(4).hex()}"
    with errors.open("wb") as file:
        process = await asyncio.create_subprocess_exec(
            *command,
            *map(str, arguments),
            cwd=ROOT,
            stdout=asyncio.subprocess.PIPE,
            stderr=file,
            env={**os.environ, **(environ or {})},
        )
    running = Program(process, errors)
    try:
        assert process.stdout is not None
        async with asyncio.timeout(START_S):
            running.first = (await process.stdout.readline()).decode()
        assert running.first, f"it ended before it served: {running.errors}"
        yield running
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        secrecy.program(f"perpwire {' '.join(map(str, arguments[:1]))}", arguments, running.first, running.errors)


async def ended(*arguments: str | Path, environ: Mapping[str, str] | None = None, timeout_s: float = START_S) -> Ended:
    """Run ``perpwire`` until it ends by itself."""
    process = await asyncio.create_subprocess_exec(
        *COMMAND,
        *map(str, arguments),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **(environ or {})},
    )
    try:
        async with asyncio.timeout(timeout_s):
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    secrecy.program(f"perpwire {' '.join(map(str, arguments[:1]))}", arguments, out.decode(), err.decode())
    return Ended(process.returncode, out.decode(), err.decode())


# --- Processes ----------------------------------------------------------------------------------------------------------


def descendants(pid: int) -> set[int]:
    """Return the pids of all children of a process, and theirs."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):  # it ended meanwhile
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(entry.name))
    found, todo = set[int](), [pid]
    while todo:
        for child in children.get(todo.pop(), ()):
            found.add(child)
            todo.append(child)
    return found


def alive(pids: Sequence[int] | set[int]) -> dict[int, str]:
    """Return those of the processes that still run, with their names; one that only waits to be reaped does not."""
    found = {}
    for pid in pids:
        with contextlib.suppress(OSError):
            name, _, rest = Path(f"/proc/{pid}/stat").read_text().partition("(")[2].rpartition(")")
            if rest.split()[0] != "Z":
                found[pid] = name
    return found


async def all_gone(pids: set[int], timeout_s: float = 10.0) -> float:
    """Return how many seconds it took until none of the processes ran."""
    return await eventually(lambda: not alive(pids), lambda: f"all have ended: {alive(pids)}", timeout_s)


# --- What a program serves ----------------------------------------------------------------------------------------------


async def get(url: str) -> Any:
    """Return the JSON of an answer, whatever its status."""
    async with aiohttp.ClientSession() as http, http.get(url) as answer:
        return await answer.json(content_type=None)


async def text(url: str) -> str:
    """Return the body of an answer."""
    async with aiohttp.ClientSession() as http, http.get(url) as answer:
        return await answer.text()


async def post(url: str, body: Mapping[str, Any] | None = None) -> Any:
    """Send JSON and return the JSON of the answer."""
    async with aiohttp.ClientSession() as http, http.post(url, json=body) as answer:
        return await answer.json(content_type=None)


async def until(url: str, condition: Any, what: str, timeout_s: float = 20.0) -> Any:
    """Ask until ``condition(answer)`` holds and return that answer."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout_s
    while not condition(answer := await get(url)):
        assert loop.time() < deadline, f"not in {timeout_s} s: {what}; last: {str(answer)[:500]}"
        await asyncio.sleep(0.02)
    return answer


async def live(url: str) -> None:
    """Wait until every feed of a gateway is live."""
    await until(f"{url}/readyz", lambda answer: answer["feeds_live"], "every feed is live")
