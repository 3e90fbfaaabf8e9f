"""What is asked of live tables again and again is answered at once, and as a server would that was never asked before."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from typing import Any

import pytest
from starlette.types import Message

from gateway.core.access import LOCAL, Principal
from gateway.core.protocol import Limits
from gateway.hub import Hub
from gateway.web import live
from gateway.web.app import Guard, build_app
from gateway.web.state import ServerState
from tests.gateway.toy import ACCOUNTS, Toy

JOE = Principal("joe", user="joe", accounts=frozenset({"other"}))
QUERIES = (
    "/v1/positions",
    "/v1/positions?account=main",
    "/v1/positions?account=main&side=long",
    "/v1/positions?side=short&limit=2",
    "/v1/positions?symbol=A,B&account=main,other",
    "/v1/positions?limit=2&cursor=main:B",
    "/v1/positions?account=nobody",
    "/v1/positions?nonsense=1",
    "/v1/summary?user=joe",
    "/v1/feeds",
)


def known(headers: Mapping[str, str]) -> Principal | None:
    return {"joe": JOE, "me": LOCAL}.get(headers.get("x-who", "me"))


@pytest.fixture
async def toy() -> Toy:
    toy = Toy()
    for id_ in ("main:A", "main:B", "other:A"):
        toy.put(id_, x=1, side="long")
    toy.put_summary("joe", total=3)
    toy.put_feed("okx:public", None, state="live")
    toy.commit()
    return toy


@pytest.fixture
async def state(toy: Toy) -> ServerState:
    hub = Hub.on(asyncio.get_running_loop(), toy.tables, Limits())
    return ServerState(hub=hub, version="9.9.9", accounts=lambda: ACCOUNTS, principal=known)


async def asked(app: Guard, url: str, who: str = "me", method: str = "GET") -> tuple[Any, ...]:
    """Return status, headers and body of an answer, as the server asks for it: what can be answered at once is no task."""
    path, _, query = url.partition("?")
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    headers = [(b"host", b"localhost:1"), (b"x-who", who.encode())]
    scope = {"type": "http", "method": method, "path": path, "query_string": query.encode(), "headers": headers}
    if (found := app.at_once(scope)) is not None:
        return 200, sorted(found[0]), found[1]
    await app(scope, receive, send)
    return sent[0]["status"], sorted(sent[0]["headers"]), b"".join(one.get("body", b"") for one in sent)


def changed(toy: Toy, chance: random.Random) -> None:
    """Change something: rows that are asked for or others, or which rows there are."""
    id_ = f"{chance.choice(ACCOUNTS)}:{chance.choice('ABCD')}"
    if chance.random() < 0.2 and id_ in toy.positions:
        toy.drop(id_)
    elif chance.random() < 0.2:
        toy.put_summary("joe", total=chance.randrange(9))
    else:
        toy.put(id_, x=chance.randrange(3), side=chance.choice(("long", "short")))


async def test_a_server_that_was_asked_before_answers_like_one_that_was_not(toy: Toy, state: ServerState) -> None:
    chance, served = random.Random(1), build_app(state)
    for _ in range(120):
        for _ in range(chance.choice((1, 2))):
            changed(toy, chance)
        toy.commit()
        for url in chance.sample(QUERIES, 4):
            who, method = chance.choice(("me", "joe", "nobody")), chance.choice(("GET", "GET", "HEAD", "POST"))
            assert await asked(served, url, who, method) == await asked(build_app(state), url, who, method)


async def test_a_page_is_made_again_only_when_a_row_that_it_is_chosen_from_changes(
    toy: Toy, state: ServerState, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    matching = live._matching
    monkeypatch.setattr(live, "_matching", lambda table, *given: made.append(table.name) or matching(table, *given))
    served, url = build_app(state), "/v1/positions?account=main&side=long"

    async def again() -> list[str]:
        made.clear()
        await asked(served, url)
        return made

    assert await again() == ["positions"]
    assert await again() == []
    toy.put("other:A", x=2, side="long")
    toy.put_summary("joe", total=4)
    toy.commit()
    assert await again() == []
    toy.put("main:A", x=2, side="long")
    toy.commit()
    assert await again() == ["positions"]
    toy.put("main:C", x=2, side="long")
    toy.commit()
    assert await again() == ["positions"]
    toy.drop("main:C")
    toy.commit()
    assert await again() == ["positions"]
    assert await again() == []


async def test_what_is_kept_is_bounded(toy: Toy, state: ServerState, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "_MOST_BYTES", 100)
    monkeypatch.setattr(live, "_MOST_PAGES", 3)
    monkeypatch.setattr(live, "_MOST_QUESTIONS", 5)
    routes = live.LiveRoutes(state)
    handler = next(one.handler for one in routes.operations if one.path == "/v1/positions")
    for number in range(1, 30):
        scope = {"type": "http", "path": "/v1/positions", "query_string": b"limit=%d" % number, "headers": []}
        await handler(live.Request(scope))
        kept = sum(len(page.rows) for page in routes._pages.values())
        assert routes._bytes == kept
        assert len(routes._pages) <= 3
        assert len(routes._questions) <= 5
        assert kept <= 100 or len(routes._pages) == 1
    before = set(routes._questions)
    scope = {"type": "http", "path": "/v1/positions", "query_string": b"symbol=" + b"A," * 2_000, "headers": []}
    await handler(live.Request(scope))
    assert set(routes._questions) == before
