"""What both connections share: acknowledgements, errors, heartbeats, notices, close codes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from exchanges.errors import ProtocolViolation
from exchanges.okx import build, tables
from exchanges.venue import (
    ConnectionCount,
    HttpRequest,
    LoggedIn,
    LoginRefused,
    Malformed,
    Notice,
    Output,
    Pong,
    Refresh,
    Subscribed,
    SubscribeRefused,
)
from tests.exchanges.okx.samples import CREDENTIALS, private, public


def event(name: str, **fields: Any) -> str:
    return json.dumps({"event": name, "connId": "a4d3ae55"} | fields)


def error(code: str, msg: str = "no", **fields: Any) -> str:
    return event("error", code=code, msg=msg, **fields)


def wanting(*symbols: str) -> tuple[Any, str]:
    """Return a public link that has asked for marks with one request, and the request's id."""
    link = public()
    (frame,) = link.subscribe([build.mark_topic(symbol) for symbol in symbols])
    return link, json.loads(frame)["id"]


def refused(outputs: list[Output]) -> SubscribeRefused:
    (output,) = outputs
    assert isinstance(output, SubscribeRefused)
    return output


# --- heartbeat ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", ["pong", b"pong", "pong\n"])
def test_pong_is_a_bare_word(data: str | bytes) -> None:
    assert private().receive(data, 0) == [Pong()]
    assert private().ping() == "ping"


def test_a_bare_ping_is_no_malformed_frame() -> None:
    assert private().receive("ping", 0) == []


# --- login -------------------------------------------------------------------------------------------------------------


def test_login_accepted() -> None:
    link = private()
    assert json.loads(link.login(1000))["op"] == "login"
    assert link.receive(event("login", code="0", msg=""), 0) == [LoggedIn()]


@pytest.mark.parametrize(
    ("code", "word", "retry"),
    [
        ("60004", "NTP", False),
        ("60006", "NTP", False),
        ("60005", "region", False),
        ("60032", "region", False),
        ("60007", "secret", False),
        ("60024", "passphrase", False),
        ("50101", "env", False),
        ("60009", "passphrase", False),
        ("60023", "again", True),
        ("63999", "again", True),
        ("60031", "again", True),
    ],
)
def test_login_refused_says_what_to_do(code: str, word: str, retry: bool) -> None:
    link = private()
    link.login(1000)
    (output,) = link.receive(error(code), 0)
    assert isinstance(output, LoginRefused)
    assert (output.code, output.retry) == (code, retry)
    assert word in output.do
    # The venue closes such a connection with 4001: the reason stays the one that it gave.
    assert link.closed(4001, "Login Failed") == output


def test_an_unlisted_refusal_of_a_login_is_one_too() -> None:
    link = private()
    link.login(1000)
    (output,) = link.receive(error("69999", "odd"), 0)
    assert isinstance(output, LoginRefused)
    assert "odd" in output.what


def test_subscribing_without_login_needs_a_new_connection() -> None:
    (output,) = private().receive(error("60011", "Please log in"), 0)
    assert isinstance(output, Refresh)


def test_a_public_link_has_no_login() -> None:
    with pytest.raises(NotImplementedError):
        public().login(0)


# --- acknowledgements --------------------------------------------------------------------------------------------------


def test_one_acknowledgement_an_argument() -> None:
    link = private()
    first = link.receive(event("subscribe", id="r1", arg={"channel": "positions", "instType": "ANY"}), 0)
    second = link.receive(event("subscribe", id="r1", arg={"channel": "account"}), 0)
    assert (first, second) == ([Subscribed(topics=("positions",))], [Subscribed(topics=("account",))])


def test_an_acknowledgement_may_say_more_than_was_asked() -> None:
    link, _ = wanting("BTC-USDT-SWAP", "ETH-USDT-SWAP")
    arg = {"channel": "mark-price", "instId": "ETH-USDT-SWAP", "instType": "SWAP"}
    assert link.receive(event("subscribe", arg=arg), 0) == [Subscribed(topics=("mark-price:ETH-USDT-SWAP",))]


def test_what_was_not_asked_is_told() -> None:
    (output,) = private().receive(event("subscribe", arg={"channel": "tickers", "instId": "X"}), 0)
    assert isinstance(output, Notice)
    (output,) = private().receive(event("subscribe"), 0)
    assert isinstance(output, Malformed)


def test_the_number_of_connections_is_no_error() -> None:
    told = private().receive(event("channel-conn-count", channel="positions", connCount="1"), 0)
    assert told == [ConnectionCount(channel="positions", count=1, limit=30)]
    (unread,) = private().receive(event("channel-conn-count", channel="positions", connCount="many"), 0)
    assert isinstance(unread, Malformed)
    assert private().receive(event("unsubscribe", arg={"channel": "account"}), 0) == []


def test_too_many_connections_kill_an_acknowledged_subscription() -> None:
    link = private()
    link.receive(event("subscribe", arg={"channel": "positions", "instType": "ANY"}), 0)
    found = refused(link.receive(event("channel-conn-count-error", channel="positions", connCount="30"), 0))
    assert (found.topics, found.permanent) == (("positions",), False)
    assert "30 connections" in found.what


# --- refusals ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("start", ["Wrong URL or ", "Subscribe failed, wrong URL or "])
@pytest.mark.parametrize("with_id", [True, False])
def test_an_unknown_symbol_is_the_only_one_refused(start: str, with_id: bool) -> None:
    link, request_id = wanting("BTC-USDT-SWAP", "GONE-USDT-SWAP", "ETH-USDT-SWAP")
    text = f"{start}channel:mark-price,instId:GONE-USDT-SWAP doesn't exist. Please use the correct URL."
    found = refused(link.receive(error("60018", text, **({"id": request_id} if with_id else {})), 0))
    assert (found.topics, found.permanent) == (("mark-price:GONE-USDT-SWAP",), True)
    arg = {"channel": "mark-price", "instId": "ETH-USDT-SWAP"}
    assert link.receive(event("subscribe", arg=arg), 0) == [Subscribed(topics=("mark-price:ETH-USDT-SWAP",))]


def test_an_unnamed_culprit_condemns_none_for_good() -> None:
    link, request_id = wanting("A-USDT-SWAP", "B-USDT-SWAP")
    found = refused(link.receive(error("60018", "something is wrong", id=request_id), 0))
    assert (len(found.topics), found.permanent) == (2, False)


@pytest.mark.parametrize(("code", "permanent"), [("60012", True), ("60013", True), ("60014", False), ("64007", False)])
def test_a_refused_request_refuses_its_topics(code: str, permanent: bool) -> None:
    link, request_id = wanting("A-USDT-SWAP", "B-USDT-SWAP")
    found = refused(link.receive(error(code, id=request_id), 0))
    assert (found.topics, found.permanent) == (("mark-price:A-USDT-SWAP", "mark-price:B-USDT-SWAP"), permanent)


def test_an_error_of_nothing_known_is_passed_on() -> None:
    (output,) = public().receive(error("60014", "Requests too frequent"), 0)
    assert output == Notice(code="60014", what="public: Requests too frequent")


# --- notices, close codes, the unknown ---------------------------------------------------------------------------------


def test_an_upgrade_asks_for_a_new_connection() -> None:
    (output,) = public().receive(event("notice", code="64008", msg="The connection will soon be closed"), 0)
    assert output == Notice(code="64008", what="The connection will soon be closed", reconnect=True)
    (output,) = public().receive(event("notice", code="64099", msg="hello"), 0)
    assert isinstance(output, Notice)
    assert not output.reconnect


@pytest.mark.parametrize(
    ("code", "operator"), [(4007, True), (4003, True), (4001, False), (4004, False), (1006, False), (None, False)]
)
def test_close_codes(code: int | None, operator: bool) -> None:
    assert (private().closed(code, "") is not None) == operator


@pytest.mark.parametrize(
    "data",
    [
        "",
        "{",
        "[]",
        "1",
        "null",
        "{}",
        b"\xff\xfe",
        "\ud800",
        '{"event":5}',
        '{"event":"surprise"}',
        '{"arg":{}}',
        '{"arg":{"channel":"positions"}}',
        '{"data":[]}',
        '{"arg":{"channel":"x"},"data":{}}',
        "[" * 100_000,
    ],
    ids=range(15),
)
def test_what_cannot_be_understood_is_malformed_and_no_more(data: str | bytes) -> None:
    for link in (private(), public()):
        (output,) = link.receive(data, 0)
        assert isinstance(output, Malformed)
        assert link.receive("pong", 0) == [Pong()]


def test_a_channel_that_is_not_read_is_told() -> None:
    for link in (private(), public()):
        (output,) = link.receive('{"arg":{"channel":"fills"},"data":[{}]}', 0)
        assert isinstance(output, Notice)


# --- requests ----------------------------------------------------------------------------------------------------------


def test_subscriptions_are_split_and_numbered() -> None:
    link = public()
    topics = [build.mark_topic(f"C{n}-USDT-SWAP") for n in range(tables.ARGS_PER_REQUEST + 1)]
    frames = [json.loads(frame) for frame in link.subscribe(topics)]
    assert [len(frame["args"]) for frame in frames] == [tables.ARGS_PER_REQUEST, 1]
    assert len({frame["id"] for frame in frames}) == 2


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b'{"code":"50013","msg":"busy"}', b'{"code":"0","data":{}}', b"[" * 9999]
)
def test_an_answer_that_is_none_is_a_violation(body: bytes) -> None:
    for link, request in ((private(), build.positions_request()), (public(), build.instruments_request("SWAP"))):
        with pytest.raises(ProtocolViolation, match="okx"):
            link.answer(request, body, 0, 0)


def test_a_question_of_somebody_else_is_a_violation() -> None:
    for link in (private(), public()):
        with pytest.raises(ProtocolViolation):
            link.answer(HttpRequest(path="/api/v5/trade/other"), b'{"code":"0","data":[]}', 0, 0)


def test_nothing_shows_a_secret() -> None:
    link = private()
    assert CREDENTIALS.secret not in link.login(0)
    assert CREDENTIALS.secret not in repr(vars(link))
