from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from typing import Any

import aiohttp
import orjson
import pytest
from websockets.asyncio.client import connect

from gateway.core.access import LOCAL, Principal
from gateway.core.protocol import Refusal
from gateway.core.scenario import Scenario
from gateway.web.state import ReconcileRequest, Verification
from tests.gateway.toy import ACCOUNTS, Toy
from tests.gateway.web.serving import Gateway, gateway


class Rest:
    def __init__(self, running: Gateway, session: aiohttp.ClientSession) -> None:
        self.running, self._session = running, session

    async def get(self, path: str, status: int = 200, method: str = "GET", **headers: str) -> Any:
        async with self._session.request(method, self.running.http + path, headers=headers) as answer:
            assert answer.status == status, await answer.text()
            self.headers = answer.headers
            if answer.content_type.endswith("json"):
                body = await answer.json(content_type=None)
                assert (answer.content_type == "application/problem+json") == (status >= 400)
                return body
            return await answer.text()


@pytest.fixture
async def rest() -> AsyncIterator[Rest]:
    toy = Toy()
    for id_ in ("main:A", "main:B", "other:A"):
        toy.put(id_, x=1, side="long" if id_.endswith("A") else "short")
    toy.put_summary("joe", total=3)
    toy.put_feed("okx:public", None, state="live")
    toy.put_feed("main:private", "main", state="down")
    toy.commit()
    async with gateway(toy=toy) as running, aiohttp.ClientSession() as session:
        yield Rest(running, session)


async def test_a_snapshot_has_a_member_per_table(rest: Rest) -> None:
    body = await rest.get("/v1/snapshot")
    assert (body["epoch"], body["seq"], body["at"]) == ("e1", 1, rest.running.toy.at)
    assert set(body["positions"]) == {"main:A", "main:B", "other:A"}
    assert body["summary"] == {"joe": {"total": 3}}
    assert set(body["feeds"]) == {"okx:public", "main:private"}
    assert "delta" not in body


async def test_a_snapshot_is_filtered_by_what_its_tables_have(rest: Rest) -> None:
    body = await rest.get("/v1/snapshot?tables=positions&accounts=main&symbols=A,C")
    assert set(body["positions"]) == {"main:A"}
    assert "summary" not in body
    body = await rest.get("/v1/snapshot?accounts=main")
    assert set(body) == {"epoch", "seq", "durable_seq", "at", "sub", "positions", "feeds"}


async def test_since_gives_what_changed_where_that_is_certain(rest: Rest) -> None:
    first = await rest.get("/v1/snapshot?tables=positions")
    rest.running.toy.put("main:A", x=2)
    rest.running.toy.drop("main:B")
    rest.running.turn()
    since = f"since={first['seq']}&epoch={first['epoch']}&sub={first['sub']}"
    body = await rest.get(f"/v1/snapshot?tables=positions&{since}")
    assert (body["delta"], body["seq"], body["sub"]) == (True, 2, first["sub"])
    assert body["positions"] == {"rows": {"main:A": {"x": 2}}, "patch": {"main:B": None}}
    nothing = await rest.get(f"/v1/snapshot?tables=positions&since=2&epoch=e1&sub={first['sub']}")
    assert nothing["positions"] == {"rows": {}, "patch": {}}


@pytest.mark.parametrize(
    "query",
    ["since=1&epoch=e0&sub={sub}", "since=1&epoch=e1&sub=other", "since=9&epoch=e1&sub={sub}", "since=1&sub={sub}"],
)
async def test_since_that_is_not_certain_gives_everything(rest: Rest, query: str) -> None:
    sub = (await rest.get("/v1/snapshot?tables=positions"))["sub"]
    body = await rest.get("/v1/snapshot?tables=positions&" + query.format(sub=sub))
    assert "delta" not in body
    assert len(body["positions"]) == 3


async def test_since_below_the_floor_gives_everything() -> None:
    toy = Toy(max_tombstones=1)
    async with gateway(toy=toy) as running, aiohttp.ClientSession() as session:
        rest = Rest(running, session)
        for id_ in ("main:A", "main:B"):
            toy.drop(id_)
            running.turn()
        assert "delta" not in await rest.get("/v1/snapshot?tables=positions&since=1&epoch=e1")
        assert (await rest.get("/v1/snapshot?tables=positions&since=2&epoch=e1"))["positions"]["patch"] == {
            "main:B": None
        }


async def test_one_table_has_the_same_sub_here_as_on_the_stream(rest: Rest) -> None:
    body = await rest.get("/v1/snapshot?tables=positions&accounts=main")
    async with connect(rest.running.stream, proxy=None) as ws:
        await ws.recv()
        await ws.send(orjson.dumps({"op": "subscribe", "table": "positions", "accounts": ["main"]}).decode())
        assert orjson.loads(await ws.recv())["sub"] == body["sub"]


@pytest.mark.parametrize(
    ("path", "ids"),
    [
        ("/v1/positions", ["main:A", "main:B", "other:A"]),
        ("/v1/positions?account=main", ["main:A", "main:B"]),
        ("/v1/positions?account=main,other&symbol=A", ["main:A", "other:A"]),
        ("/v1/positions?side=short", ["main:B"]),
        ("/v1/positions?venue=bybit", []),
        ("/v1/feeds?state=down", ["main:private"]),
        ("/v1/feeds?account=main", ["main:private"]),
        ("/v1/summary?user=joe", ["joe"]),
        ("/v1/summary?user=ann", []),
    ],
)
async def test_live_rows_are_filtered(rest: Rest, path: str, ids: list[str]) -> None:
    body = await rest.get(path)
    table = path.split("/")[2].partition("?")[0]
    assert list(body[table]) == ids
    assert "next_cursor" not in body


async def test_live_rows_are_paged(rest: Rest) -> None:
    first = await rest.get("/v1/positions?limit=2")
    assert list(first["positions"]) == ["main:A", "main:B"]
    second = await rest.get(f"/v1/positions?limit=2&cursor={first['next_cursor']}")
    assert list(second["positions"]) == ["other:A"]
    assert "next_cursor" not in second


@pytest.mark.parametrize(
    ("status", "code", "path"),
    [
        (400, "unknown_table", "/v1/snapshot?tables=nonsense"),
        (400, "unknown_account", "/v1/snapshot?accounts=nobody"),
        (400, "unknown_account", "/v1/positions?account=nobody"),
        (400, "bad_filter", "/v1/snapshot?tables=summary&accounts=main"),
        (400, "bad_filter", "/v1/snapshot?accounts="),
        (400, "bad_filter", "/v1/snapshot?since=yesterday"),
        (400, "bad_filter", "/v1/positions?side=sideways"),
        (400, "bad_filter", "/v1/feeds?state=livly"),
        (400, "bad_filter", "/v1/snapshot?since=-1"),
        (400, "bad_filter", "/v1/positions?limit=0"),
        (400, "bad_filter", "/v1/positions?limit=99999999999999999999999999"),
        (400, "bad_filter", "/v1/positions?nonsense=1"),
        (400, "bad_filter", "/v1/summary?max_age_ms=1000"),
        (400, "bad_filter", "/v1/positions?max_age_ms=soon"),
        (503, "venue_unreachable", "/v1/positions?max_age_ms=1000"),
        (404, "not_found", "/v1/nonsense"),
        (404, "not_found", "/"),
        (426, "upgrade_required", "/v1/stream"),
    ],
)
async def test_what_cannot_be_had_is_a_problem(rest: Rest, status: int, code: str, path: str) -> None:
    body = await rest.get(path, status)
    assert (body["status"], body["code"]) == (status, code)
    assert body["title"]
    assert body["detail"]
    assert body["type"] == f"/docs#{code}"
    assert f"id='{code}'" in await rest.get("/docs")


async def test_other_methods_are_not_allowed(rest: Rest) -> None:
    body = await rest.get("/v1/snapshot", 405, method="POST")
    assert body["code"] == "method_not_allowed"
    assert "GET" in rest.headers["allow"]


async def test_a_bug_is_a_problem_that_tells_nothing_of_the_inside(
    rest: Rest, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> list[dict[str, object]]:
        raise RuntimeError("the secret is hush")

    rest.running.state.instruments = broken
    body = await rest.get("/v1/instruments", 500)
    assert body["code"] == "internal"
    assert "hush" not in str(body)
    caplog.clear()


async def test_a_principal_sees_only_its_own() -> None:
    joe = Principal("joe", user="joe", accounts=frozenset({"other"}))
    async with gateway(principal=lambda headers: joe if headers.get("x-who") == "joe" else None) as running:
        running.toy.put_summary("ann", total=1)
        running.turn()
        async with aiohttp.ClientSession() as session:
            rest = Rest(running, session)
            body = await rest.get("/v1/snapshot", **{"X-Who": "joe"})
            assert (list(body["positions"]), body["summary"]) == (["other:A"], {})
            assert (await rest.get("/v1/snapshot", 401))["code"] == "unauthorized"
            assert (await rest.get("/v1/positions", 401))["code"] == "unauthorized"
            # Without the sub, that what may be seen is still the same would be a guess.
            assert "delta" not in await rest.get("/v1/snapshot?since=1&epoch=e1", **{"X-Who": "joe"})


async def test_alive_and_ready(rest: Rest) -> None:
    assert await rest.get("/healthz") == {"status": "ok", "version": "9.9.9"}
    assert (await rest.get("/readyz?feeds=1"))["feeds_live"] is True
    rest.running.state.ready = lambda: (False, {"okx:public": "down"})
    rest.running.toy.tables.durable_seq = 1
    reach = {"epoch": "e1", "seq": 1, "durable_seq": 1}
    assert await rest.get("/readyz") == {
        "status": "ready",
        "feeds_live": False,
        "feeds": {"okx:public": "down"},
        **reach,
    }
    body = await rest.get("/readyz?feeds=1", 503)
    assert (body["code"], body["feeds"]) == ("not_ready", {"okx:public": "down"})


async def test_hooks_and_metrics(rest: Rest) -> None:
    rest.running.state.instruments = lambda: [{"symbol": "A"}]
    rest.running.state.config_view = lambda: {"dust_usd": 1}
    assert await rest.get("/v1/instruments") == {"instruments": [{"symbol": "A"}]}
    assert await rest.get("/v1/config") == {"dust_usd": 1}
    text = await rest.get("/metrics")
    assert 'perpwire_rows{table="positions"} 3.0' in text
    assert "perpwire_stream_connections 0.0" in text


# --- Asking the venue first ---------------------------------------------------------------------------------------------


async def test_a_service_that_is_about_to_trade_gets_verified_figures_and_is_told_what_is_flat() -> None:
    asked: list[tuple[list[str], int, object]] = []

    async def verify(accounts: Collection[str], max_age_ms: int, venues: Collection[str] | None) -> Verification:
        asked.append((sorted(accounts), max_age_ms, venues))
        toy.put("main:B", x=2, side="short")
        toy.commit()
        return Verification({"main": 7_000}, {})

    toy = Toy()
    toy.put("main:A", x=1, side="long", symbol="A")
    toy.commit()
    listed = [{"symbol": "A"}, {"symbol": "C"}]
    async with (
        gateway(toy=toy, verify=verify, instruments=lambda: listed) as running,
        aiohttp.ClientSession() as session,
    ):
        rest = Rest(running, session)
        body = await rest.get("/v1/positions?account=main&symbol=A,C,D&side=short&max_age_ms=1000&venue=okx")
        assert set(body["positions"]) == set()
        assert (body["flat"], body["unknown_symbols"]) == (["C"], ["D"])  # A is held, on the other side
        asked.clear()
        body = await rest.get("/v1/positions?account=main&symbol=A,C&max_age_ms=1000&venue=okx")
        assert asked == [(["main"], 1000, ["okx"])]
        assert body["verified_at"] == {"main": 7_000}
        assert body["flat"] == ["C"]
        assert set(body["positions"]) == {"main:A"}
        assert set((await rest.get("/v1/positions?max_age_ms=0"))["positions"]) == {"main:A", "main:B"}
        assert "verified_at" not in await rest.get("/v1/positions")
        assert len(asked) == 2


async def test_a_venue_that_cannot_be_asked_is_a_503_with_what_was_known_and_nothing_is_called_flat() -> None:
    async def verify(accounts: Collection[str], max_age_ms: int, venues: Collection[str] | None) -> Verification:
        return Verification({"main": 5_000}, {"main": "okx: no answer within 10 s"})

    toy = Toy()
    toy.put("main:A", x=1, side="long", symbol="A")
    toy.commit()
    async with gateway(toy=toy, verify=verify) as running, aiohttp.ClientSession() as session:
        body = await Rest(running, session).get("/v1/positions?symbol=A,C&max_age_ms=1000", 503)
        assert (body["code"], body["retry"], body["verified_at"]) == ("venue_unreachable", True, {"main": 5_000})
        assert "no answer within 10 s" in body["detail"]
        assert set(body["positions"]) == {"main:A"}
        assert "flat" not in body


async def test_a_reconciliation_is_asked_with_everything_it_needs() -> None:
    seen: list[ReconcileRequest] = []

    async def reconcile(asked: ReconcileRequest) -> dict[str, object]:
        seen.append(asked)
        return {"main": {"rows": 1, "differences": []}}

    async with gateway(reconcile=reconcile) as running, aiohttp.ClientSession() as session:

        async def post(body: object, status: int = 200, **headers: str) -> Any:
            async with session.post(running.http + "/internal/reconcile", json=body, headers=headers) as answer:
                assert answer.status == status, await answer.text()
                return await answer.json(content_type=None)

        assert await post({"mode": "dry-run"}) == {
            "mode": "dry-run",
            "accounts": {"main": {"rows": 1, "differences": []}},
        }
        assert (await post({"mode": "apply", "accounts": ["nobody"]}, 400))["code"] == "unknown_account"
        assert (await post({"mode": "erase"}, 400))["code"] == "bad_command"
        assert (await post({"mode": "force", "accounts": ["main"]}, 400))["code"] == "bad_command"
        await post({"mode": "force", "accounts": ["main"], "reason": "the exchange is gone"})
        refused = await post({"mode": "dry-run"}, 403, Origin="https://elsewhere.example")
        assert refused["code"] == "forbidden_origin"
        assert [asked.mode for asked in seen] == ["dry-run", "force"]


async def test_a_scenario_is_answered_for_the_accounts_that_may_be_seen() -> None:
    seen: list[tuple[Scenario, set[str]]] = []

    async def stress(scenario: Scenario, accounts: Collection[str]) -> dict[str, object]:
        seen.append((scenario, set(accounts)))
        if scenario.changes:
            raise Refusal("bad_scenario", "there is no position 'x'")
        side: dict[str, object] = {"summary": {}, "accounts": {}, "positions": {}}
        return {"before": side, "after": side}

    joe = Principal("joe", user="joe", accounts=frozenset({"other", "gone"}))
    async with (
        gateway(stress=stress, principal=lambda headers: joe if headers.get("x-who") == "joe" else LOCAL) as running,
        aiohttp.ClientSession() as session,
    ):

        async def post(body: bytes, status: int = 200, who: str = "") -> Any:
            async with session.post(running.http + "/v1/stress", data=body, headers={"x-who": who}) as answer:
                assert answer.status == status, await answer.text()
                assert answer.content_type == ("application/json" if status == 200 else "application/problem+json")
                return await answer.json(content_type=None)

        assert (await post(b'{"shocks": {"BTC": -0.2}}')).keys() == {"before", "after"}
        ((scenario, accounts),) = seen
        assert scenario.shocks == {"BTC": -0.2}
        assert accounts == set(ACCOUNTS)
        await post(b"{}", who="joe")
        assert seen.pop()[1] == {"other"}
        refused = await post(b'{"changes": [{"close": "x"}]}', 400)
        assert (refused["code"], refused["detail"]) == ("bad_scenario", "there is no position 'x'")
        for body in (b"", b"[]", b"{", b'{"shocks": "half"}', b'{"x": 1}', b'{"shocks": 0' + b" " * 70_000 + b"}"):
            assert (await post(body, 400))["code"] == "bad_scenario"
        assert len(seen) == 2
        async with session.get(running.http + "/v1/stress") as answer:
            assert answer.status == 405
