"""Frames and questions as the venue documents them."""

from __future__ import annotations

import json
import re

from exchanges.okx import build
from tests.exchanges.okx.samples import CREDENTIALS


def test_subscribe_frame() -> None:
    frame = json.loads(build.operation("subscribe", ["positions", "account", "mark-price:BTC-USD-SWAP"], "r1"))
    assert frame == {
        "id": "r1",
        "op": "subscribe",
        "args": [
            {"channel": "positions", "instType": "ANY"},
            {"channel": "account"},
            {"channel": "mark-price", "instId": "BTC-USD-SWAP"},
        ],
    }
    assert re.fullmatch(r"[A-Za-z0-9]{1,32}", frame["id"])


def test_login_frame_is_fresh() -> None:
    first, second = (json.loads(build.login(CREDENTIALS, now)) for now in (1_000_000, 2_000_000))
    assert first["op"] == "login"
    assert first["args"][0]["timestamp"] == "1000"
    assert first["args"][0]["sign"] != second["args"][0]["sign"]


def test_private_questions_are_signed_and_public_ones_are_not() -> None:
    assert build.config_request().signed
    assert build.balance_request().signed
    assert build.positions_request("SWAP").signed
    assert build.positions_request("SWAP").path == "/api/v5/account/positions?instType=SWAP"
    assert build.positions_request().path == "/api/v5/account/positions"
    assert not build.instruments_request("SWAP").signed


def test_tiers_are_asked_five_families_at_a_time_for_each_margin_mode() -> None:
    families = [f"C{n}-USDT" for n in range(12)]
    requests = build.tiers_requests("SWAP", families)
    assert [request.path.count(",") + 1 for request in requests] == [5, 5, 5, 5, 2, 2]
    assert [request.path.replace("isolated", "cross") for request in requests[1::2]] == [
        request.path for request in requests[::2]
    ]
    assert requests[0].path == (
        "/api/v5/public/position-tiers?instType=SWAP&tdMode=cross&instFamily=C0-USDT,C1-USDT,C2-USDT,C3-USDT,C4-USDT"
    )


def test_batches() -> None:
    assert list(build.batches("abcde", 2)) == [("a", "b"), ("c", "d"), ("e",)]
    assert list(build.batches([], 2)) == []
