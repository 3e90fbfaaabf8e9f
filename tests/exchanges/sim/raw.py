"""A raw client for the simulator's tests: plain WebSocket frames and hand-made signatures, no codec of the project."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import aiohttp
from websockets.asyncio.client import ClientConnection, connect

WAIT_S = 10.0


class Clock:
    """The time of day, moved by ``skew_ms``: what takes half a minute at a venue takes no time here."""

    def __init__(self) -> None:
        self.skew_ms = 0

    def __call__(self) -> int:
        return time.time_ns() // 1_000_000 + self.skew_ms


class Peer:
    """One connection: sends JSON, keeps everything received, waits for what is looked for."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection
        self.frames: list[Any] = []

    async def say(self, frame: Any) -> None:
        await self.connection.send(frame if isinstance(frame, str) else json.dumps(frame))

    async def next(self) -> Any:
        """Return the next frame, decoded where it is JSON."""
        text = await asyncio.wait_for(self.connection.recv(), WAIT_S)
        try:
            frame = json.loads(text)
        except ValueError:
            frame = text
        self.frames.append(frame)
        return frame

    async def until(self, wanted: Callable[[Any], bool]) -> Any:
        """Read on to the first frame that is wanted and return it."""
        async with asyncio.timeout(WAIT_S):
            while not wanted(frame := await self.next()):
                pass
        return frame

    async def closed(self) -> tuple[int | None, str]:
        """Read to the end and return close code and reason (None: cut without a close frame)."""
        async with asyncio.timeout(WAIT_S):
            await self.connection.wait_closed()
        received = self.connection.protocol.close_rcvd
        return (received.code, received.reason) if received else (None, "")


@asynccontextmanager
async def dial(url: str) -> AsyncIterator[Peer]:
    async with connect(url, proxy=None, ping_interval=None, close_timeout=1, max_queue=None) as connection:
        yield Peer(connection)


def okx_sign(secret: str, text: str) -> str:
    return base64.b64encode(hmac.new(secret.encode(), text.encode(), hashlib.sha256).digest()).decode()


def okx_login(account: dict[str, str], now_ms: int, **wrong: str) -> dict[str, Any]:
    stamp = str(now_ms // 1000)
    arg = {
        "apiKey": account["key"],
        "passphrase": account["passphrase"],
        "timestamp": stamp,
        "sign": okx_sign(account["secret"], f"{stamp}GET/users/self/verify"),
    }
    return {"op": "login", "args": [{**arg, **wrong}]}


def okx_headers(account: dict[str, str], path: str, now_ms: int, **wrong: str) -> dict[str, str]:
    stamp = datetime.fromtimestamp(now_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    right = {
        "OK-ACCESS-KEY": account["key"],
        "OK-ACCESS-PASSPHRASE": account["passphrase"],
        "OK-ACCESS-TIMESTAMP": stamp,
        "OK-ACCESS-SIGN": okx_sign(account["secret"], f"{stamp}GET{path}"),
    }
    return {**right, **{name.replace("_", "-"): value for name, value in wrong.items()}}


async def ask(url: str, method: str = "GET", **options: Any) -> tuple[int, Any]:
    """Ask one HTTP question; return status and decoded JSON."""
    async with aiohttp.ClientSession() as session, session.request(method, url, **options) as answer:
        return answer.status, json.loads(await answer.text())
