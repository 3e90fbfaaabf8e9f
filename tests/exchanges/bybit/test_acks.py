"""Requests and the replies to them."""

from __future__ import annotations

import json

import pytest

from exchanges.bybit import tables
from exchanges.bybit.acks import Requests, login_reply
from exchanges.bybit.wire import Frame, decode
from exchanges.errors import ProtocolViolation
from exchanges.venue import LoggedIn, LoginRefused, Pong, Signal, Subscribed, SubscribeRefused


def _frame(**fields: object) -> Frame:
    return decode(json.dumps(fields), Frame, "a frame")


def _id(frame: str) -> str:
    found = json.loads(frame)["req_id"]
    assert isinstance(found, str)
    return found


def _reply(requests: Requests, **fields: object) -> list[Signal]:
    return requests.reply(_frame(**{"op": "subscribe", **fields}))


def test_an_acknowledgement_confirms_its_request() -> None:
    requests = Requests()
    (first,) = requests.subscribe(["tickers.A", "tickers.B"])
    (second,) = requests.subscribe(["tickers.C"])
    assert _reply(requests, success=True, req_id=_id(second)) == [Subscribed(topics=("tickers.C",))]
    assert _reply(requests, success=True, req_id=_id(first)) == [Subscribed(topics=("tickers.A", "tickers.B"))]


@pytest.mark.parametrize("without", [{}, {"req_id": ""}])
def test_without_an_id_replies_answer_in_order(without: dict[str, object]) -> None:
    requests = Requests()
    requests.subscribe(["position"])
    requests.unsubscribe(["wallet"])
    requests.subscribe(["execution"])
    assert _reply(requests, success=True, **without) == [Subscribed(topics=("position",))]
    assert _reply(requests, success=True, **without) == [Subscribed(topics=("execution",))]
    assert _reply(requests, success=True, op="unsubscribe", **without) == []
    assert _reply(requests, success=True, **without) == []


def test_an_unknown_topic_is_refused_for_good_and_its_company_asked_again() -> None:
    requests = Requests()
    (frame,) = requests.subscribe(["tickers.A", "tickers.NOPE", "tickers.B"])
    text = "error:handler not found,topic:tickers.NOPE"
    refused = _reply(requests, success=False, ret_msg=text, req_id=_id(frame))
    assert refused == [
        SubscribeRefused(topics=("tickers.NOPE",), code="unknown_topic", what=text, permanent=True),
        SubscribeRefused(topics=("tickers.A", "tickers.B"), code="batch_failed", what=text, permanent=False),
    ]


def test_already_subscribed_is_harmless_and_its_company_asked_again() -> None:
    requests = Requests()
    (frame,) = requests.subscribe(["tickers.A", "tickers.B"])
    text = "error:already subscribed,topic:tickers.A"
    told = _reply(requests, success=False, ret_msg=text, req_id=_id(frame))
    assert told == [
        Subscribed(topics=("tickers.A",)),
        SubscribeRefused(topics=("tickers.B",), code="batch_failed", what=text, permanent=False),
    ]


def test_a_failure_that_names_no_topic_has_them_asked_singly() -> None:
    requests = Requests()
    (frame,) = requests.subscribe(["tickers.A", "tickers.B"])
    told = _reply(requests, success=False, ret_msg="args size >10", req_id=_id(frame))
    assert told == [
        SubscribeRefused(topics=("tickers.A", "tickers.B"), code="refused", what="args size >10", permanent=False)
    ]
    again = requests.subscribe(["tickers.A", "tickers.B", "tickers.C"])
    assert sorted(json.loads(one)["args"] for one in again) == [["tickers.A"], ["tickers.B"], ["tickers.C"]]


def test_acknowledgements_per_topic() -> None:
    requests = Requests()
    requests.subscribe(["tickers.A", "tickers.B"])
    told = requests.reply(_frame(success=True, type="COMMAND_RESP", data={"failTopics": ["B"], "successTopics": ["A"]}))
    assert told == [
        Subscribed(topics=("A",)),
        SubscribeRefused(topics=("B",), code="refused", what="not accepted", permanent=True),
    ]


def test_refusals_of_nothing_are_reported() -> None:
    with pytest.raises(ProtocolViolation, match="nothing that was asked"):
        _reply(Requests(), success=False, ret_msg="error:invalid op")
    with pytest.raises(ProtocolViolation, match="unknown reply"):
        _reply(Requests(), op="order.create", retCode=0)


def test_what_is_remembered_is_bounded() -> None:
    requests = Requests()
    for number in range(tables.MAX_PENDING + 5):
        requests.subscribe([f"tickers.{number}"])
    assert _reply(requests, success=True) == [Subscribed(topics=("tickers.5",))]


@pytest.mark.parametrize(
    "pong",
    [
        {"success": True, "ret_msg": "pong", "conn_id": "c", "req_id": "", "op": "ping"},
        {"args": ["1672916271846"], "op": "pong"},
        {"req_id": "ping-1", "op": "pong", "args": ["1675418560633"], "conn_id": "c"},
    ],
)
def test_pongs_of_every_socket(pong: dict[str, object]) -> None:
    requests = Requests()
    assert requests.reply(_frame(**pong)) == []  # nothing was asked: no proof of anything
    requests = Requests()
    assert json.loads(requests.ping()) == {"req_id": "ping-1", "op": "ping"}
    assert requests.reply(_frame(**pong)) == [Pong()]
    assert requests.reply(_frame(**pong)) == []


def test_an_answer_to_somebody_else_is_no_pong() -> None:
    requests = Requests()
    requests.ping()
    assert requests.reply(_frame(op="pong", req_id="other")) == []
    with pytest.raises(ProtocolViolation, match="refused"):
        requests.reply(_frame(op="ping", success=False, ret_msg="no"))


@pytest.mark.parametrize(
    "reply",
    [
        {"success": True, "ret_msg": "", "op": "auth", "conn_id": "c"},
        {"retCode": 0, "retMsg": "OK", "op": "auth", "connId": "c"},
        {"retCode": 20001, "retMsg": "Repeat auth", "op": "auth"},
    ],
)
def test_logins_that_are_accepted(reply: dict[str, object]) -> None:
    assert Requests().reply(_frame(**reply)) == [LoggedIn()]


@pytest.mark.parametrize(
    ("reply", "code", "retry", "do"),
    [
        ({"success": False, "ret_msg": "Params Error", "op": "auth"}, "params_error", True, tables.CLOCK_DO),
        ({"op": "auth", "success": False, "retCode": 10003, "retMsg": "Invalid apikey"}, "10003", False, tables.KEY_DO),
        ({"op": "auth", "success": False, "retCode": 10004, "retMsg": "no"}, "10004", False, tables.SECRET_DO),
        ({"op": "auth", "retCode": 33004, "retMsg": "expired"}, "33004", False, tables.RETCODES[33004].do),
        ({"op": "auth", "retCode": 10010, "retMsg": "ip"}, "10010", False, tables.RETCODES[10010].do),
        ({"op": "auth", "retCode": 10016, "retMsg": "down"}, "10016", True, "Wait; the login is tried again"),
        ({"op": "auth", "retCode": 10003, "retMsg": "Too many sessions"}, "10003", True, "Close other sessions"),
        ({"success": False, "ret_msg": "error:USVC1111", "request": {"op": "auth"}}, "10003", False, tables.KEY_DO),
        ({"success": False, "ret_msg": "API key is invalid.", "op": "auth"}, "10003", False, tables.KEY_DO),
        ({"success": False, "ret_msg": "error sign", "op": "auth"}, "10004", False, tables.SECRET_DO),
        ({"success": False, "ret_msg": "Your api key has expired", "op": "auth"}, "33004", False, tables.EXPIRED.do),
        ({"success": False, "ret_msg": "Unmatched IP", "op": "auth"}, "10010", False, tables.RETCODES[10010].do),
        ({"success": False, "ret_msg": "Permission denied", "op": "auth"}, "10005", False, tables.RETCODES[10005].do),
        ({"success": False, "ret_msg": "what?", "op": "auth"}, "refused", True, "See Bybit's error codes"),
    ],
)
def test_logins_that_are_refused(reply: dict[str, object], code: str, retry: bool, do: str) -> None:
    (refused,) = Requests().reply(_frame(**reply))
    assert isinstance(refused, LoginRefused)
    assert (refused.code, refused.retry, refused.do) == (code, retry, do)
    assert "login refused" not in refused.what, "the feed says that already"


def test_a_refusal_quotes_the_venue() -> None:
    refused = login_reply(_frame(op="auth", success=False, ret_msg="Params Error"))
    assert isinstance(refused, LoginRefused)
    assert "Params Error" in refused.what
    refused = login_reply(_frame(op="auth", success=False, ret_msg="error sign! origin_string[GET/realtimeKEY]"))
    assert isinstance(refused, LoginRefused)
    assert "realtimeKEY" not in refused.what
