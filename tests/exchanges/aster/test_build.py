"""Questions and frames as they are sent."""

from __future__ import annotations

import json

import pytest

from exchanges.aster import build, tables
from exchanges.venue import HttpRequest


def test_a_question_has_a_path_for_each_style_and_its_weight() -> None:
    assert build.question("v3", "account") == HttpRequest(path="/fapi/v3/accountWithJoinMargin", weight=5, signed=True)
    assert build.question("v1", "account") == HttpRequest(path="/fapi/v4/account", weight=5, signed=True)


def test_parameters_are_encoded_and_found_again() -> None:
    request = build.question("v3", "trades", symbol="币安人生USDT", startTime=5)
    assert request.path.isascii()
    assert build.asked(request) == ("trades", {"symbol": "币安人生USDT", "startTime": "5"})
    assert build.asked(HttpRequest(path="/fapi/v3/ping")) == (None, {})


def test_listen_keys() -> None:
    assert build.listen("v3", "PUT") == HttpRequest(path="/fapi/v3/listenKey", method="PUT", signed=True)


def test_the_chain_is_asked_at_its_own_host_without_signature() -> None:
    request = build.chain("aster_getBalance", "0xabc", "latest", host="https://tapi.asterdex.com")
    assert json.loads(request.body or "")["params"] == ["0xabc", "latest"]
    assert (request.path, request.method, request.host) == ("/info", "POST", "https://tapi.asterdex.com")
    assert not request.signed


def test_topics_are_lower_case_or_they_would_be_silent() -> None:
    assert build.mark_topic("1000PEPEUSDT") == "1000pepeusdt@markPrice@1s"


def test_frames() -> None:
    assert json.loads(build.frame("SUBSCRIBE", ["btcusdt@markPrice@1s"], 1)) == {
        "method": "SUBSCRIBE", "params": ["btcusdt@markPrice@1s"], "id": 1,
    }  # fmt: skip
    assert json.loads(build.ping(7)) == {"method": "GET_PROPERTY", "params": ["combined"], "id": 7}


@pytest.mark.parametrize("count", [0, 1, tables.TOPICS_PER_FRAME, tables.TOPICS_PER_CONNECTION])
def test_a_full_connection_takes_fewer_frames_than_a_second_allows(count: int) -> None:
    topics = [f"t{number}" for number in range(count)]
    batches = list(build.batches(topics))
    assert [topic for batch in batches for topic in batch] == topics
    assert len(batches) < 10
