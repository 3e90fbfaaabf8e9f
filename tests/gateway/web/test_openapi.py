from __future__ import annotations

import asyncio
import re
from typing import Any

import aiohttp

from gateway.core.protocol import ERRORS, Close, Limits
from gateway.hub import Hub
from gateway.web.openapi import describe
from gateway.web.rest import Rest
from gateway.web.state import ServerState
from tests.gateway.events_of import engine
from tests.gateway.web.serving import gateway

PARAMETER = {"name", "in", "required", "description", "schema"}


def references(node: Any) -> set[str]:
    if isinstance(node, dict):
        return {node["$ref"]} if "$ref" in node else set().union(*map(references, node.values()), set())
    return set().union(*map(references, node), set()) if isinstance(node, list) else set()


async def test_the_description_is_whole_and_every_route_in_it_answers() -> None:
    async with gateway() as running, aiohttp.ClientSession() as session:
        async with session.get(running.http + "/openapi.json") as answer:
            described = await answer.json()
        assert re.fullmatch(r"3\.1\.\d+", described["openapi"])
        assert {"title", "version"} <= described["info"].keys()
        names = {f"#/components/schemas/{name}" for name in described["components"]["schemas"]}
        assert references(described) <= names
        operations = [operation for item in described["paths"].values() for operation in item.values()]
        assert len({operation["operationId"] for operation in operations}) == len(operations)
        for path, item in described["paths"].items():
            if "get" not in item:
                assert item["post"]["requestBody"]["content"].keys() == {"application/json"}
                continue
            assert item["get"]["responses"].keys() >= {"200", "default"}
            assert all(parameter.keys() == PARAMETER for parameter in item["get"]["parameters"])
            if "{" in path:
                continue
            async with session.get(running.http + path) as answer:
                assert answer.status == 200
                assert answer.content_type in item["get"]["responses"]["200"]["content"]


async def test_every_route_of_the_contract_is_described() -> None:
    async with (
        gateway() as running,
        aiohttp.ClientSession() as session,
        session.get(running.http + "/openapi.json") as answer,
    ):
        paths = (await answer.json())["paths"]
    toy_tables = ("positions", "summary", "feeds")
    fixed = (
        "/v1/snapshot",
        "/v1/instruments",
        "/v1/config",
        "/healthz",
        "/readyz",
        "/v1/models",
        "/v1/stress",
        "/v1/positions/{id}/explain",
        "/v1/positions/{id}/timeline",
        "/v1/positions/history",
        "/v1/positions/at",
        "/v1/pnl",
        "/v1/pnl/records",
        "/v1/equity",
        "/v1/funding",
        "/v1/transfers",
        "/v1/verifications",
        "/v1/journal/{place}",
        "/internal/positions/{user_id}",
        "/profit/{inst_id}",
        "/v1/accounts/{id}/explain",
        "/internal/models/pairs",
        "/internal/reconcile",
        "/internal/backfill",
        "/internal/backfills",
        "/metrics",
        "/openapi.json",
        "/docs",
    )
    assert set(paths) == {*fixed, *(f"/v1/{table}" for table in toy_tables)}


async def test_the_page_for_humans_loads_nothing_and_lists_every_code() -> None:
    async with gateway() as running, aiohttp.ClientSession() as session, session.get(running.http + "/docs") as answer:
        page = await answer.text()
    assert not re.search(r"src=|<script|@import|https?://", page)
    assert all(code in page for code in ERRORS)
    assert all(str(close.code) in page for close in Close)


async def test_operations_that_share_a_path_and_parts_of_a_path_are_described() -> None:
    hub = Hub.on(asyncio.get_running_loop(), engine().tables, Limits())
    state = ServerState(hub=hub, version="0", accounts=tuple)
    described = describe(Rest(state).operations, state.tables.names, "0")
    assert described["paths"]["/v1/alerts/silences"].keys() == {"get", "post"}
    schema = described["paths"]["/v1/alerts/silences"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert schema == {"$ref": "#/components/schemas/SilenceRequest"}
    (id_,) = described["paths"]["/v1/alerts/{id}/ack"]["post"]["parameters"]
    assert (id_["in"], id_["required"]) == ("path", True)
    assert "requestBody" not in described["paths"]["/v1/alerts/{id}/ack"]["post"]
    assert described["paths"]["/v1/alerts/silences/{id}"].keys() == {"delete"}
    names = [operation["operationId"] for item in described["paths"].values() for operation in item.values()]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"\w+(\.\w+)?", name) for name in names)
