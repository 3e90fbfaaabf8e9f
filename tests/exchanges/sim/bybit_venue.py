"""The simulated Bybit for tests: hand-made signatures and frames, a clock that the test moves."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from yarl import URL

from exchanges.sim.server import Simulator, start
from tests.exchanges.sim.raw import Peer, dial

BEGIN = 1_763_683_200_000


class Venue:
    """A running simulator with a clock that only the test moves."""

    def __init__(self) -> None:
        self.now = BEGIN
        self.sim: Simulator

    def __call__(self) -> int:
        return self.now

    def keys(self, name: str) -> tuple[str, str]:
        account = self.sim.world.account(name)
        return account.key, account.secret

    async def ask(
        self, path: str, name: str = "bybit-main", *, key: str = "", secret: str = "", late_ms: int = 0, **headers: str
    ) -> tuple[int, dict[str, Any], dict[str, str]]:
        """Ask a signed question; return status, body and headers. ``late_ms`` sets the timestamp back."""
        right_key, right_secret = self.keys(name)
        key, stamp = key or right_key, str(self.now - late_ms)
        text = f"{stamp}{key}5000{path.partition('?')[2]}"
        signed = {
            "X-BAPI-API-KEY": key,
            "X-BAPI-TIMESTAMP": stamp,
            "X-BAPI-RECV-WINDOW": "5000",
            "X-BAPI-SIGN": sign(secret or right_secret, text),
            **headers,
        }
        url = URL(self.sim.urls["bybit"] + path, encoded=True)  # sent as it was signed
        async with aiohttp.ClientSession() as session, session.get(url, headers=signed) as answer:
            json_ = answer.content_type == "application/json"
            return answer.status, await answer.json() if json_ else {}, dict(answer.headers)

    async def result(self, path: str, name: str = "bybit-main") -> dict[str, Any]:
        """Ask, and expect an answer."""
        _, body, _ = await self.ask(path, name)
        assert body["retCode"] == 0, body
        return dict(body["result"])

    @asynccontextmanager
    async def private(self, name: str = "bybit-main", *topics: str) -> AsyncIterator[Peer]:
        """Log in and subscribe."""
        async with dial(self.socket("/v5/private")) as peer:
            await peer.say(self.login(name))
            assert (await peer.next())["success"] is True
            if topics:
                await peer.say({"op": "subscribe", "args": list(topics)})
                assert (await peer.next())["success"] is True
            yield peer

    def login(self, name: str, *, key: str = "", secret: str = "", ahead_ms: int = 5000) -> dict[str, Any]:
        right_key, right_secret = self.keys(name)
        expires = self.now + ahead_ms
        return {
            "op": "auth",
            "args": [key or right_key, expires, sign(secret or right_secret, f"GET/realtime{expires}")],
        }

    def socket(self, path: str) -> str:
        return "ws" + self.sim.urls["bybit"].removeprefix("http") + path


def sign(secret: str, text: str) -> str:
    return hmac.new(secret.encode(), text.encode(), hashlib.sha256).hexdigest()


@asynccontextmanager
async def running() -> AsyncIterator[Venue]:
    """Run a simulator for the time of a ``with`` block."""
    it = Venue()
    it.sim = await start(11, clock=it)
    try:
        yield it
    finally:
        await it.sim.stop()


async def pages(venue: Venue, path: str, name: str = "bybit-main") -> list[list[dict[str, Any]]]:
    """Follow the cursor to its end."""
    found, cursor = [], ""
    while True:
        result = await venue.result(path + (f"&cursor={cursor}" if cursor else ""), name)
        found.append(result["list"])
        cursor = result["nextPageCursor"]
        if not cursor:
            return found
