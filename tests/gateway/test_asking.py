"""How the commands ask the running gateway: an answer, its refusal, or nobody there that is a gateway."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from gateway.asking import NoAnswer, NoGateway, ask


@asynccontextmanager
async def answering(status: int, body: str) -> AsyncIterator[str]:
    """A server that answers everything alike; yields its address."""

    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=status, text=body)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def test_an_answer_is_decoded() -> None:
    async with answering(200, '{"alerts": {}}') as url:
        assert await ask(url, "/v1/alerts") == {"alerts": {}}


@pytest.mark.parametrize("body", ['{"detail": "there is no rule"}', '"there is no rule"'])
async def test_a_refusal_is_told_in_the_gateways_words(body: str) -> None:
    async with answering(400, body) as url:
        with pytest.raises(NoAnswer, match=r"^there is no rule$") as caught:
            await ask(url, "/internal/alerts/test", method="POST", json={"rule": "x"})
    assert not isinstance(caught.value, NoGateway)


async def test_what_does_not_speak_json_is_no_gateway() -> None:
    async with answering(200, "<html>") as url:
        with pytest.raises(NoGateway, match=r"no gateway answers at .*Start it, or name it with --url"):
            await ask(url, "/v1/alerts")


async def test_nobody_is_no_gateway_and_is_not_waited_for_longer_than_said() -> None:
    with pytest.raises(NoGateway, match="no gateway answers"):
        await ask("http://127.0.0.1:9", "/v1/alerts")
    taken: list[asyncio.StreamWriter] = []
    silent = await asyncio.start_server(lambda _, writer: taken.append(writer), "127.0.0.1", 0)
    async with silent:
        port = silent.sockets[0].getsockname()[1]
        with pytest.raises(NoGateway, match="TimeoutError"):
            await ask(f"http://127.0.0.1:{port}", "/v1/alerts", timeout_s=0.05)
        for writer in taken:
            writer.close()
            await writer.wait_closed()
