"""Bodies of requests are read no further than they may be long."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from starlette.requests import Request
from starlette.types import Message

from gateway.core.protocol import Limits, Refusal
from gateway.hub import Hub
from gateway.web.alerts import AlertRoutes
from gateway.web.rest import Rest
from gateway.web.route import Handler
from gateway.web.state import ServerState
from gateway.web.stress import StressRoutes
from tests.gateway.toy import ACCOUNTS, Toy

CHUNK, MOST = 400, 1_000


@pytest.fixture
async def state() -> ServerState:
    hub = Hub.on(asyncio.get_running_loop(), Toy().tables, Limits(max_message_bytes=MOST))
    return ServerState(hub=hub, version="9.9.9", accounts=lambda: ACCOUNTS)


class Sender:
    """A client that sends as much as it is let."""

    def __init__(self, *headers: tuple[bytes, bytes]) -> None:
        self.chunks = 0
        self.scope = {"type": "http", "method": "POST", "path": "/", "query_string": b"", "headers": headers}

    def request(self) -> Request:
        return Request(self.scope, self._receive)

    async def _receive(self) -> Message:
        assert self.chunks < 100, "read without end"
        self.chunks += 1
        return {"type": "http.request", "body": b" " * CHUNK, "more_body": True}


def posts(state: ServerState) -> Iterator[tuple[Handler, str]]:
    routes = [*Rest(state).operations, *AlertRoutes(state).operations, *StressRoutes(state).operations]
    for operation in {one.path: one for one in routes if one.body is not None}.values():
        yield operation.handler, "bad_scenario" if operation.path == "/v1/stress" else "bad_command"


async def test_every_body_is_read_up_to_its_bound_and_refused_beyond(state: ServerState) -> None:
    asked = list(posts(state))
    assert len(asked) == 5
    for handler, code in asked:
        sender = Sender()
        with pytest.raises(Refusal, match=f"the body has more than {MOST} bytes") as caught:
            await handler(sender.request())
        assert caught.value.code == code
        assert sender.chunks == MOST // CHUNK + 1


async def test_a_body_that_says_it_is_too_long_is_not_read_at_all(state: ServerState) -> None:
    for handler, _ in posts(state):
        sender = Sender((b"content-length", b"1001"))
        with pytest.raises(Refusal, match=r"limits\.max_message_bytes"):
            await handler(sender.request())
        assert sender.chunks == 0
