"""``perpwire demo`` as a process of its own, as a user starts it: started, killed, started again."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from pathlib import Path

import aiohttp

_START_S = 60.0
_READY_S = 60.0
_STOP_S = 20.0
_LOOK_EVERY_S = 0.05


class Demo:
    """One run of the demo. ``start`` first; ``kill`` or ``stop`` last.

    Attributes:
        url: The gateway's address, http://127.0.0.1:PORT.
        control: The simulator's control address.
    """

    def __init__(self, process: asyncio.subprocess.Process, url: str, control: str, log: Path) -> None:
        self._process, self.url, self.control, self._log = process, url, control, log

    @classmethod
    async def start(cls, data: Path, *, port: int = 0, seed: int = 7) -> Demo:
        """Start it over a data folder; returns when every feed is live."""
        running = await cls.launch(data, port=port, seed=seed)
        await running.until("/readyz?feeds=1", r'"feeds_live":\s*true')
        return running

    @classmethod
    async def launch(cls, data: Path, *, port: int = 0, seed: int = 7) -> Demo:
        """Start it over a data folder; returns when it listens."""
        log = data.with_suffix(".log")
        with log.open("ab") as errors:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "gateway", "demo",
                "--port", str(port), "--seed", str(seed), "--data", str(data), "--json",
                stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=errors,
            )  # fmt: skip
        assert process.stdout is not None
        line = await asyncio.wait_for(process.stdout.readline(), _START_S)
        assert line, f"the demo ended before it listened:\n{log.read_text()[-2000:]}"
        addresses = json.loads(line)
        return cls(process, addresses["url"], addresses["control"], log)

    @property
    def port(self) -> int:
        """The gateway's port."""
        return int(self.url.rsplit(":", 1)[1])

    async def until(self, path: str, pattern: str) -> None:
        """Ask for ``path`` until the answer is 200 and contains ``pattern``, or the process ends, or it takes too long."""
        ended = asyncio.create_task(self._process.wait())
        text = "nothing yet"
        try:
            async with asyncio.timeout(_READY_S), aiohttp.ClientSession(self.url) as session:
                while not ended.done():
                    async with session.get(path) as answer:
                        text = await answer.text()
                        if answer.status == 200 and re.search(pattern, text):
                            return
                    await asyncio.wait({ended}, timeout=_LOOK_EVERY_S)
        except TimeoutError:
            raise AssertionError(f"{path} never said {pattern!r}; last: {text[-500:]}\n{self.log()}") from None
        finally:
            ended.cancel()
        raise AssertionError(f"the demo ended:\n{self.log()}")

    async def kill(self) -> None:
        """End it as a crash would: nothing is said to anybody."""
        self._process.kill()
        await asyncio.wait_for(self._process.wait(), _STOP_S)

    async def stop(self) -> None:
        """End it in order; does nothing when it has ended."""
        if self._process.returncode is None:
            self._process.terminate()
        await asyncio.wait_for(self._process.wait(), _STOP_S)

    def log(self) -> str:
        """Return the end of what it logged."""
        return self._log.read_text()[-2000:]
