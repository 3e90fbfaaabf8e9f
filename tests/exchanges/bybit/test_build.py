"""What is said to Bybit."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from exchanges.bybit import build, tables
from exchanges.bybit.sign import signer_of
from tests.exchanges.bybit.samples import ACCOUNT


def test_the_login_frame() -> None:
    frame = json.loads(build.login(signer_of(ACCOUNT), 1662350390000, "auth-1"))
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
    assert all(len(batch) == 1 for batch in build.batches(topics, per_frame=1))


def test_the_length_of_topics_is_that_of_their_json() -> None:
    topics = [f"tickers.{symbol}" for symbol in ("BTCUSDT", "1000PEPEUSDT", "ETHPERP")]
    sent = json.dumps(topics, separators=(",", ":"))
    assert build.args_chars(topics) >= len(sent) - 2


def test_questions_about_the_account() -> None:
    assert [build.position_list(scope).path for scope in tables.SCOPES] == [
        "/v5/position/list?category=linear&settleCoin=USDT&limit=200",
        "/v5/position/list?category=linear&settleCoin=USDC&limit=200",
        "/v5/position/list?category=inverse&limit=200",
        "/v5/position/list?category=option&limit=200",
    ]
    assert build.open_orders("linear:USDC").path == "/v5/order/realtime?category=linear&settleCoin=USDC&limit=50"
    assert build.wallet_balance().path == "/v5/account/wallet-balance?accountType=UNIFIED"
    found = build.find_order(tables.ORDER_HISTORY, "linear", "BTCUSDT", "a&b")
    assert found.path == "/v5/order/history?category=linear&symbol=BTCUSDT&orderId=a%26b"
    free = build.transferable("A&B")
    assert free.path == "/v5/account/withdrawal?coinName=A%26B"
    asked = [*build.present(), build.open_orders("option"), found, free, build.account_info(), build.key_info()]
    assert all(request.signed for request in asked)


def test_history_is_asked_by_the_week() -> None:
    window = "startTime=5&endTime=604800005"
    assert build.executions("linear", 5).path == f"/v5/execution/list?category=linear&{window}&limit=100"
    assert build.executions("option", 5, "ETH").path.startswith("/v5/execution/list?category=option&baseCoin=ETH&")
    assert build.transactions(5).path == f"/v5/account/transaction-log?accountType=UNIFIED&{window}&limit=50"
    assert build.executions("inverse", 5).signed
    assert build.transactions(5).signed


def test_questions_about_the_market() -> None:
    assert build.instruments_info("linear").path == "/v5/market/instruments-info?category=linear&limit=1000"
    one = build.instruments_info("option", "BTC-27MAR26-70000-P-USDT")
    assert one.path == "/v5/market/instruments-info?category=option&symbol=BTC-27MAR26-70000-P-USDT"
    assert build.risk_limit("inverse", "BTCUSD").path == "/v5/market/risk-limit?category=inverse&symbol=BTCUSD"
    assert build.server_time().path == "/v5/market/time"
    assert not any(request.signed for request in (one, build.risk_limit("linear", "X"), build.server_time()))


def test_a_cursor_goes_back_as_it_came() -> None:
    first = build.position_list("linear:USDT")
    assert build.page(first, "BTCUSDT%2C1719444330678%2C0").path.endswith("&cursor=BTCUSDT%2C1719444330678%2C0")
    assert "&evil=1" not in build.page(first, "a&evil=1 b").path
