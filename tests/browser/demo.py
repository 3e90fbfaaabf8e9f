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
        options = ("--port", str(port), "--seed", str(seed), "--data", str(data), "--json")
        process, line, log = await _spawn(data, "demo", *options)
        addresses = json.loads(line)
        return cls(process, addresses["url"], addresses["control"], log)

    @classmethod
    async def launch_blind(cls, data: Path, *, port: int) -> Demo:
        """Serve the demo's Hyperliquid accounts over its data folder, with venues that cannot be reached.

        What is shown then is what was stored, for as long as one likes to look.
        """
        nowhere = {"rest": "http://127.0.0.1:9", "ws_public": "ws://127.0.0.1:9", "ws_private": "ws://127.0.0.1:9"}
        account = {"venue": "hyperliquid", "user": "demo", "address": "0x" + "ab" * 20}
        config = {
            "server": {"port": port},
            "storage": {"data_dir": str(data)},
            "venues": {"hyperliquid": nowhere},
            "accounts": dict.fromkeys(("hl-main", "hl-single", "hl-dex"), account),
        }
        file = data.with_suffix(".yaml")
        file.write_text(json.dumps(config))  # JSON is YAML
        process, line, log = await _spawn(data, "serve", "--config", str(file))
        return cls(process, line.partition(": ")[2].strip(), "", log)

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


async def _spawn(data: Path, *command: str) -> tuple[asyncio.subprocess.Process, str, Path]:
    """Start the command; return its process, the first line that it printed, and its log."""
    log = data.with_suffix(".log")
    with log.open("ab") as errors:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "gateway", *command,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=errors,
        )  # fmt: skip
    assert process.stdout is not None
    line = await asyncio.wait_for(process.stdout.readline(), _START_S)
    assert line, f"{command[0]} ended before it listened:\n{log.read_text()[-2000:]}"
    return process, line.decode(), log
