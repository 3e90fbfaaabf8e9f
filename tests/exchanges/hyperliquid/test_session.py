"""What both connections share: acks by subset, errors in prose, heartbeats, and that nothing a venue sends ever raises."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exchanges.errors import AuthFailed, ProtocolViolation, Rejected
from exchanges.events import Event, Fill, PositionsSnapshot, Price
from exchanges.hyperliquid import build, tables
from exchanges.hyperliquid.private import PrivateLink
from exchanges.hyperliquid.public import PublicLink
from exchanges.hyperliquid.session import Session
from exchanges.venue import HttpRequest, Malformed, Notice, Pong, Signal, Subscribed, SubscribeRefused
from tests.exchanges.hyperliquid.samples import (
    OTHER,
    USER,
    all_dexs,
    every_message,
    fill,
    frame,
    meta,
    order,
    row,
    spot,
    state,
    update,
)
from tests.recordings import needs_recordings

STATES = build.topic("allDexsClearinghouseState", user=USER)
SPOT = build.topic("spotState", user=USER)
FAST = build.topic("fastAssetCtxs")


def private(*, subscribed: bool = True) -> PrivateLink:
    link = PrivateLink("wss://host/ws", "main", "live", USER)
    if subscribed:
        link.subscribe(link.topics())
    return link


def public(*, subscribed: bool = True) -> PublicLink:
    link = PublicLink("wss://host/ws", "live")
    if subscribed:
        link.subscribe(link.topics())
    return link


def ack(subscription: dict[str, Any], method: str = "subscribe") -> str:
    return frame("subscriptionResponse", {"method": method, "subscription": subscription})


@pytest.mark.parametrize("link", [private(), public()], ids=["private", "public"])
def test_heartbeats_and_the_absence_of_a_login(link: Session) -> None:
    assert (link.needs_login, link.ping_every_s, link.silent_after_s) == (False, 25.0, 60.0)
    assert link.receive('{"channel":"pong"}', 1) == [Pong()]
    assert json.loads(link.ping()) == {"method": "ping"}
    assert link.closed(1000, "") is link.closed(None, "gone") is None
    request = build.info("meta", dex="")
    assert link.sign(request, 1) is request
    assert link.price_topics(["BTC"]) == ()


def test_an_ack_is_matched_by_what_it_echoes() -> None:
    link = private()
    assert link.receive(ack(json.loads(STATES) | {"dex": None, "fast": False}), 1) == [Subscribed(topics=(STATES,))]
    assert link.receive(ack({"type": "spotState", "user": USER, "ignorePortfolioMargin": False}), 1) == [
        Subscribed(topics=(SPOT,))
    ]


def test_an_ack_of_something_else_is_said_aloud() -> None:
    (notice,) = private().receive(ack({"type": "spotState", "user": OTHER}), 1)
    assert isinstance(notice, Notice)
    assert notice.code == "unasked_ack"


def test_unsubscribing_is_confirmed_quietly() -> None:
    link = private()
    (sent,) = link.unsubscribe([SPOT])
    assert json.loads(sent) == {"method": "unsubscribe", "subscription": json.loads(SPOT)}
    assert link.receive(ack(json.loads(SPOT), "unsubscribe"), 1) == []
    assert link.receive(frame("error", f"Already unsubscribed: {SPOT}"), 1) == []


def test_already_subscribed_is_as_good_as_an_ack() -> None:
    text = f"Already subscribed: {json.dumps(json.loads(SPOT) | {'added': None})}"
    assert private().receive(frame("error", text), 1) == [Subscribed(topics=(SPOT,))]


@pytest.mark.parametrize(
    "text",
    [
        f"Invalid subscription {SPOT}",
        f"Error parsing JSON into valid websocket request: {build.subscribe(SPOT)}",
    ],
)
def test_a_refused_subscription_is_permanent(text: str) -> None:
    (refused,) = private().receive(frame("error", text), 1)
    assert isinstance(refused, SubscribeRefused)
    assert (refused.topics, refused.permanent) == ((SPOT,), True)
    assert "spotState" in refused.what


def test_too_many_users_refuses_what_is_still_open_and_says_what_to_do() -> None:
    link = private()
    link.receive(ack(json.loads(SPOT)), 1)
    (refused,) = link.receive(frame("error", "Cannot track more than 15 total users."), 1)
    assert isinstance(refused, SubscribeRefused)
    assert (refused.permanent, refused.code) == (False, "too_many_users")
    assert set(refused.topics) == set(link.topics()) - {SPOT}
    for word in ("15", "polled", "fewer"):
        assert word in refused.what


def test_a_refused_topic_may_be_asked_again() -> None:
    link = private()
    link.receive(frame("error", "Cannot track more than 15 total users."), 1)
    link.subscribe([STATES])
    assert link.receive(ack(json.loads(STATES)), 2) == [Subscribed(topics=(STATES,))]


def test_too_many_users_is_no_topic_of_a_public_connection() -> None:
    (notice,) = public().receive(frame("error", "Cannot track more than 10 total users."), 1)
    assert isinstance(notice, Notice)


@pytest.mark.parametrize(
    "text",
    [
        "too many pending post requests id=1234",
        'Invalid subscription {"type":"activeAssetCtx","coin":"NOPE"}',
        "Invalid subscription {",
        "Already subscribed: [1]",
        "Error parsing JSON into valid websocket request: " + "[" * 5000 + "{",
        "",
    ],
)
def test_errors_about_nothing_of_ours_are_notices(text: str) -> None:
    (notice,) = private().receive(frame("error", text), 1)
    assert isinstance(notice, Notice)
    assert len(notice.what) <= 300


def test_the_greeting_that_is_no_json_is_tolerated() -> None:
    assert private().receive(tables.GREETING, 1) == []
    assert private().receive(tables.GREETING.encode(), 1) == []


@pytest.mark.parametrize(
    "data",
    ["", "hello", b"\xff\xfe", "[]", "{}", '{"channel":1}', "[" * 100_000, frame("newChannel", {}), frame("error", 5)],
)
def test_what_cannot_be_understood_is_malformed(data: str | bytes) -> None:
    for link in (private(), public()):
        (found,) = link.receive(data, 1)
        assert isinstance(found, Malformed)
        assert found.what.startswith("hyperliquid: ")


def test_answers_to_questions_of_others_are_refused() -> None:
    with pytest.raises(ProtocolViolation, match="userRole"):
        public().answer(build.info("userRole", user=USER), b"{}", 1, 2)
    with pytest.raises(ProtocolViolation, match="meta"):
        private().answer(build.info("meta", dex=""), b"{}", 1, 2)
    with pytest.raises(Rejected):
        private().answer(HttpRequest(path="/info"), b"{}", 1, 2)


@needs_recordings
def test_no_captured_message_raises() -> None:
    seen = 0
    for source, found in every_message():
        for link in (private(), public(), private(subscribed=False)):
            outputs = link.receive(json.dumps(found), 1)
            # What has no channel is no frame; every real frame belongs to one of the two connections or to neither's reading.
            if not (isinstance(found, dict) and "channel" in found):
                assert [type(each) for each in outputs] == [Malformed], source.path.name
        seen += 1
    print(f"{seen} recorded messages")
    assert seen >= 55


@needs_recordings
def test_captured_errors_and_pongs_are_understood() -> None:
    user = "0xbeccae9ffcb69e9d42a1d4e744abf8056149562d"
    link = PrivateLink("wss://host/ws", "main", "live", user)
    link.subscribe(link.topics())
    outputs = [
        output
        for source, found in every_message()
        if source.kind == "ws-sequence"
        for output in link.receive(json.dumps(found), 1)
    ]
    kinds = [type(each) for each in outputs]
    assert kinds.count(Pong) == kinds.count(Subscribed) == kinds.count(SubscribeRefused) == 1
    assert kinds.count(Fill) == 2
    # The excerpt begins with another user's fills: on this connection they are a defect, not ours.
    (foreign,) = [each for each in outputs if isinstance(each, Malformed)]
    assert "0xf84d8d" in foreign.what


SAMPLES = [
    all_dexs(main=state(row("BTC", "1.0", "2.0"), row("ETH", "-1.0", "9.0", cross=False)), xyz=state()),
    frame("clearinghouseState", {"dex": "", "user": USER, "clearinghouseState": state(row("BTC", "1.0", "2.0"))}),
    spot({"coin": "USDC", "token": 0, "total": "1.0", "hold": "0.0"}),
    frame("webData3", {"userState": {"user": USER, "abstraction": "unifiedAccount"}}),
    frame("fastAssetCtxs", "q1ZyCnFWsqpWyk0syg6oULJSsjQ3NTDQM1Wq1VFyDfFAkTI2MzXQMwJLVVRWWfmFuTiiyBuamOoZKdXWAgA="),
    frame("activeAssetCtx", {"coin": "BTC", "ctx": {"markPx": "5.0", "midPx": None}}),
    frame("allDexsAssetCtxs", {"ctxs": [["", [{"markPx": "5.0"}]], ["xyz", []]]}),
    frame("assetCtxs", {"dex": "xyz", "ctxs": [{"markPx": "5.0"}]}),
    frame("userFills", {"user": USER, "fills": [fill("BTC", "B", "1.0", "5.0", fee="-0.1")]}),
    frame(
        "userTwapSliceFills", {"user": USER, "twapSliceFills": [{"fill": fill("BTC", "A", "1.0", "5.0"), "twapId": 1}]}
    ),
    frame("userFundings", {"user": USER, "fundings": [{"time": 1, "coin": "BTC", "usdc": "-1.0", "szi": "1.0"}]}),
    frame("user", {"liquidation": {"lid": 1, "liquidator": OTHER, "liquidated_user": USER}}),
    frame("userNonFundingLedgerUpdates", {"user": USER, "nonFundingLedgerUpdates": [update("deposit", usdc="5.0")]}),
    frame("orderUpdates", [{"order": order("BTC", 1), "status": "filled", "statusTimestamp": 5}]),
    frame("openOrders", {"dex": "", "user": USER, "orders": [order("BTC", 1)]}),
    frame("activeSpotAssetCtx", {"coin": "@107", "ctx": {"midPx": "5.0", "markPx": "4.0"}}),
    frame("error", f"Invalid subscription {SPOT}"),
    ack(json.loads(STATES)),
]
JUNK: st.SearchStrategy[Any] = st.sampled_from(
    [None, True, -1, 1.5, 10**30, "", "NaN", "-Infinity", "1e9999", "x" * 500, [], {}, [[]], {"a": None}]
)


def mutate(found: Any, draw: st.DataObject) -> Any:
    """Replace, drop or add something somewhere in a JSON value."""
    if isinstance(found, dict) and found and draw.draw(st.booleans()):
        key = draw.draw(st.sampled_from(sorted(found)))
        if draw.draw(st.booleans()):
            return {name: value for name, value in found.items() if name != key}
        return found | {key: mutate(found[key], draw)}
    if isinstance(found, list) and found and draw.draw(st.booleans()):
        at = draw.draw(st.integers(0, len(found) - 1))
        return [*found[:at], mutate(found[at], draw), *found[at + draw.draw(st.integers(0, 1)) :]]
    return draw.draw(JUNK)


def sound(outputs: Sequence[object]) -> None:
    """Whatever came in: what comes out are events and signals, and every position and price in them is an amount."""
    assert all(isinstance(each, Event | Signal) for each in outputs)
    for each in outputs:
        if isinstance(each, PositionsSnapshot):
            assert all(Decimal(position.size) > 0 for position in each.positions)
            assert len({position.id for position in each.positions}) == len(each.positions)
        if isinstance(each, Price):
            assert Decimal(each.value) > 0


@settings(max_examples=1000, deadline=None)
@given(st.sampled_from(SAMPLES), st.data())
def test_no_mutated_frame_raises(sample: str, data: st.DataObject) -> None:
    mutated = json.dumps(mutate(json.loads(sample), data))
    for link in (private(), public()):
        sound(link.receive(mutated, 1))


@settings(max_examples=1000, deadline=None)
@given(st.sampled_from(SAMPLES), st.integers(0, 2000), st.binary(max_size=4))
def test_no_damaged_bytes_raise(sample: str, at: int, noise: bytes) -> None:
    raw = sample.encode()
    damaged = raw[: at % len(raw)] + noise + raw[at % len(raw) + 1 :]
    for link in (private(), public()):
        sound(link.receive(damaged, 1))


BODIES: list[tuple[PrivateLink | PublicLink, str, object]] = [
    (private(), "clearinghouseState", state(row("BTC", "1.0", "2.0"))),
    (private(), "spotClearinghouseState", {"balances": [{"coin": "USDC", "token": 0, "total": "1.0"}]}),
    (private(), "userRole", {"role": "agent", "data": {"user": OTHER}}),
    (private(), "userFillsByTime", [fill("BTC", "B", "1.0", "5.0")]),
    (private(), "userFunding", [{"time": 1, "hash": "0x0", "delta": {"coin": "BTC", "usdc": "-1.0", "szi": "1.0"}}]),
    (
        private(),
        "userNonFundingLedgerUpdates",
        [update("send", token="USDC", amount="5.0", user=USER, destination=USER)],
    ),
    (private(), "frontendOpenOrders", [order("BTC", 1)]),
    (
        private(),
        "orderStatus",
        {"status": "order", "order": {"order": order("BTC", 1), "status": "open", "statusTimestamp": 5}},
    ),
    (private(), "userAbstraction", "default"),
    (private(), "allPerpMetas", [meta("BTC"), meta("xyz:GOLD")]),
    (public(), "allPerpMetas", [meta("BTC"), meta("xyz:GOLD", token=360)]),
    (public(), "metaAndAssetCtxs", [meta("BTC"), [{"markPx": "1.0"}]]),
    (public(), "spotMeta", {"tokens": [{"name": "USDH", "index": 360}]}),
]


@settings(max_examples=1000, deadline=None)
@given(st.sampled_from(BODIES), st.data())
def test_a_mutated_answer_is_read_or_refused(
    sample: tuple[PrivateLink | PublicLink, str, object], data: st.DataObject
) -> None:
    link, kind, body = sample
    mutated = json.dumps(mutate(body, data)).encode()
    with suppress(ProtocolViolation, AuthFailed):
        sound(link.answer(build.info(kind, user=USER, dex=""), mutated, 1, 2))
