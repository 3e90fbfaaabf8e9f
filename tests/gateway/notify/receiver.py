"""A real HTTP receiver on this machine: keeps what it got, answers as told, when it is told to."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

from aiohttp import web


async def at_once() -> None:
    """Keep nobody waiting."""


class Receiver:
    """Answers each request with the next of ``answers`` (status, headers), then with 200, each after ``before``."""

    def __init__(self) -> None:
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.answers: list[tuple[int, dict[str, str]]] = []
        self.before: Callable[[], Awaitable[None]] = at_once
        self.url = ""

    async def handle(self, request: web.Request) -> web.Response:
        self.got.append(({name.lower(): value for name, value in request.headers.items()}, await request.read()))
        await self.before()
        status, headers = self.answers.pop(0) if self.answers else (200, {})
        return web.Response(status=status, headers=headers)


@contextlib.asynccontextmanager
async def receiver() -> AsyncIterator[Receiver]:
    """A running receiver."""
    running = Receiver()
    app = web.Application()
    app.router.add_post("/hook/{token}", running.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    running.url = f"http://127.0.0.1:{port}/hook/token-of-the-desk"
    try:
        yield running
    finally:
        await runner.cleanup()
