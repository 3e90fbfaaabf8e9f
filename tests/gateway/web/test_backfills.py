"""REST of readings of the past: what is asked, what is refused, how they are shown."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import aiohttp

from gateway.backfill import Status
from gateway.core.backfills import BadWindow
from gateway.core.records import Backfill
from tests.gateway.web.serving import gateway

READING = Backfill(id="main:1:9", account="main", at=7, since=1, until=9, done=5, records=3)


class Desk:
    """Knows one account, whose past begins at 0."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int, int]] = []

    def want(self, account: str, since: int, until: int) -> Status:
        if account != "main":
            raise KeyError(account)
        if since >= until:
            raise BadWindow("the end does not lie after the beginning")
        self.asked.append((account, since, until))
        return Status(key="main:1:9", state="waiting", backfill=READING)

    def statuses(self) -> Iterator[Status]:
        yield Status(key="main:1:9", state="reading", backfill=READING)


async def test_a_reading_is_begun_and_shown_and_a_bad_one_refused() -> None:
    desk = Desk()
    async with gateway(backfills=desk) as running, aiohttp.ClientSession() as session:

        async def post(body: object, status: int = 200, **headers: str) -> Any:
            async with session.post(running.http + "/internal/backfill", json=body, headers=headers) as answer:
                assert answer.status == status, await answer.text()
                return await answer.json(content_type=None)

        told = {"id": "main:1:9", "key": "main:1:9", "account": "main", "since": 1, "until": 9, "done": 5, "records": 3}
        assert await post({"account": "main", "from": 1, "to": 9}) == {**told, "at": 7, "state": "waiting"}
        unknown = await post({"account": "nobody", "from": 1, "to": 9}, 400)
        assert unknown["code"] == "unknown_account"
        assert "there are: main, other" in unknown["detail"]
        bad = await post({"account": "main", "from": 9, "to": 1}, 400)
        assert (bad["code"], bad["detail"]) == ("bad_command", "the end does not lie after the beginning")
        assert (await post({"account": "main", "since": 1, "until": 9}, 400))["code"] == "bad_command"
        refused = await post({"account": "main", "from": 1, "to": 9}, 403, Origin="https://elsewhere.example")
        assert refused["code"] == "forbidden_origin"
        assert desk.asked == [("main", 1, 9)]
        async with session.get(running.http + "/internal/backfills") as answer:
            assert (await answer.json())["backfills"] == [{**told, "at": 7, "state": "reading"}]
