from __future__ import annotations

from pathlib import Path

import aiohttp
import pytest

from gateway.web.app import SECURITY_HEADERS
from tests.gateway.web.serving import gateway


@pytest.mark.parametrize("path", ["/healthz", "/nonsense", "/v1/positions?nonsense=1", "/"])
async def test_every_answer_carries_the_security_headers(path: str, tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("<title>desk</title>")
    async with (
        gateway(static=tmp_path) as running,
        aiohttp.ClientSession() as session,
        session.get(running.http + path) as answer,
    ):
        assert SECURITY_HEADERS.items() <= {name.lower(): value for name, value in answer.headers.items()}.items()
        assert answer.headers["cache-control"] == ("no-cache" if path == "/" else "no-store")
        assert "server" not in answer.headers


async def test_the_dashboard_is_served_beside_the_api(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("<title>desk</title>")
    (tmp_path / "app.js").write_text("export {}")
    async with gateway(static=tmp_path) as running, aiohttp.ClientSession() as session:
        async with session.get(running.http + "/") as answer:
            assert "desk" in await answer.text()
        async with session.get(running.http + "/app.js") as answer:
            assert "javascript" in answer.content_type
        async with session.get(running.http + "/../pyproject.toml") as answer:
            assert answer.status == 404
        async with session.get(running.http + "/missing.js") as answer:
            assert answer.content_type == "application/problem+json"
        async with session.get(running.http + "/healthz") as answer:
            assert answer.status == 200


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (403, {"Host": "evil.example"}),
        (403, {"Host": "127.0.0.1.evil.example:80"}),
        (403, {"Host": "user@127.0.0.1:bad"}),
        (403, {"Origin": "http://evil.example"}),
        (403, {"Origin": "null"}),
        (200, {"Host": "localhost"}),
        (200, {"Host": "[::1]:8080"}),
        (200, {"Host": "desk.example"}),
        (200, {"Host": "desk.example", "Origin": "https://desk.example"}),
    ],
)
async def test_requests_for_others_and_from_others_are_refused(status: int, headers: dict[str, str]) -> None:
    async with (
        gateway(allowed_hosts=("desk.example",)) as running,
        aiohttp.ClientSession() as session,
        session.get(running.http + "/v1/snapshot", headers=headers) as answer,
    ):
        assert answer.status == status
        if status == 403:
            assert (await answer.json(content_type=None))["code"] in ("forbidden_host", "forbidden_origin")
