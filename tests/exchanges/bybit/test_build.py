"""What is said to Bybit."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from exchanges.bybit import build, tables
from tests.exchanges.bybit.samples import ACCOUNT


def test_the_login_frame() -> None:
    assert ACCOUNT.credentials is not None
    frame = json.loads(build.login(ACCOUNT.credentials, 1662350390000, "auth-1"))
    assert frame["op"] == "auth"
    assert frame["args"][:2] == ["XXXXXXXXXX", 1662350400000]
    assert len(frame["args"][2]) == 64


def test_the_other_frames() -> None:
    assert json.loads(build.ping("p1")) == {"req_id": "p1", "op": "ping"}
    assert json.loads(build.subscribe(["position"], "s1")) == {"req_id": "s1", "op": "subscribe", "args": ["position"]}
    assert json.loads(build.unsubscribe(["wallet"], "u1")) == {"req_id": "u1", "op": "unsubscribe", "args": ["wallet"]}


@given(st.lists(st.sampled_from(["position", "wallet", "position.linear", "tickers.BTCUSDT", "tickers.ETHUSDT"])))
def test_requests_hold_every_topic_once_and_never_mix_the_two_kinds(topics: list[str]) -> None:
    batches = list(build.batches(topics))
    assert sorted(topic for batch in batches for topic in batch) == sorted(topics)
    for batch in batches:
        assert 0 < len(batch) <= tables.TOPICS_PER_FRAME
        assert len({"." in topic for topic in batch}) == 1


def test_the_length_of_topics_is_that_of_their_json() -> None:
    topics = [f"tickers.{symbol}" for symbol in ("BTCUSDT", "1000PEPEUSDT", "ETHPERP")]
    sent = json.dumps(topics, separators=(",", ":"))
    assert build.args_chars(topics) >= len(sent) - 2


def test_questions() -> None:
    first = build.position_list("USDC")
    assert first.path == "/v5/position/list?category=linear&settleCoin=USDC&limit=200"
    assert first.signed
    assert build.account_info().signed
    assert build.wallet_balance().path == "/v5/account/wallet-balance?accountType=UNIFIED"
    assert build.instruments_info().path == "/v5/market/instruments-info?category=linear&limit=1000"
    assert not build.instruments_info().signed
    assert build.risk_limit("BTCUSDT").path == "/v5/market/risk-limit?category=linear&symbol=BTCUSDT"


def test_a_cursor_goes_back_as_it_came() -> None:
    path = build.position_list("USDT", "BTCUSDT%2C1719444330678%2C0").path
    assert path.endswith("&cursor=BTCUSDT%2C1719444330678%2C0")
    assert "&evil=1" not in build.position_list("USDT", "a&evil=1 b").path
