"""REST refusals: who has to act, when, and what the message says."""

from __future__ import annotations

import json

import pytest

from exchanges.bybit import tables
from exchanges.bybit.check import check, clock_text
from exchanges.errors import AuthFailed, NotFound, Rejected, Retryable, VenueError
from exchanges.venue import HttpRequest

ASK = HttpRequest(path="/v5/position/list?category=linear", signed=True)


def _refused(body: object, status: int = 200, headers: dict[str, str] | None = None) -> VenueError:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    with pytest.raises(VenueError) as caught:
        check(ASK, status, headers or {}, raw)
    assert caught.value.where == "bybit /v5/position/list"
    return caught.value


@pytest.mark.parametrize("message", ["OK", "success", "SUCCESS", ""])
def test_every_spelling_of_success(message: str) -> None:
    check(ASK, 200, {}, json.dumps({"retCode": 0, "retMsg": message, "result": {}}).encode())


def test_a_clock_that_is_ahead_is_told_with_both_times() -> None:
    text = (
        "invalid request, please check your server timestamp or recv_window param. "
        "req_timestamp[1700000003002],server_timestamp[1700000002000],recv_window[5000]"
    )
    error = _refused({"retCode": 10002, "retMsg": text})
    assert isinstance(error, AuthFailed)
    assert "1700000003002 is 1002 ms ahead of the server's 1700000002000" in str(error)
    assert "NTP" in str(error)


def test_a_request_that_is_late_may_be_the_networks_fault() -> None:
    error = _refused({"retCode": 10002, "retMsg": "req_timestamp[1000],server_timestamp[9000],recv_window[5000]"})
    assert isinstance(error, Retryable)
    assert "1000 is 8000 ms behind the server's 9000" in str(error)
    assert "NTP" in str(error)


def test_a_time_window_without_times() -> None:
    assert clock_text("no times here") is None
    error = _refused({"retCode": 10002, "retMsg": "no times here"})
    assert isinstance(error, AuthFailed)
    assert "no times here" in str(error)


@pytest.mark.parametrize("code", [10003, 10004, 10005, 10007, 10009, 10010, 10024, 10028, 33004, -2015, 500011])
def test_faults_of_the_operator(code: int) -> None:
    error = _refused({"retCode": code, "retMsg": "because"})
    assert isinstance(error, AuthFailed)
    assert (error.code, error.do) == (str(code), tables.RETCODES[code].do)
    assert "because" in str(error)


@pytest.mark.parametrize("code", [10001, 10017, 10029, 10032, 999999])
def test_faults_of_the_question(code: int) -> None:
    error = _refused({"retCode": code, "retMsg": "no"})
    assert isinstance(error, Rejected)
    assert not isinstance(error, NotFound)


@pytest.mark.parametrize("code", [110001, 170143, 170213])
def test_an_order_that_does_not_exist_is_an_answer(code: int) -> None:
    assert isinstance(_refused({"retCode": code, "retMsg": "Order does not exist"}), NotFound)


@pytest.mark.parametrize("code", [-1, 429, 10000, 10016, 10018, 10429, 3100197])
def test_faults_of_the_venue_pass(code: int) -> None:
    assert isinstance(_refused({"retCode": code, "retMsg": "later"}), Retryable)


@pytest.mark.parametrize(
    ("code", "message", "what", "do"),
    [
        (10003, "API key is invalid.", "the API key is not valid here", "keys of live, demo and testnet"),
        (33004, "Your api key has expired", "the API key has expired", "Make a new key"),
        (10004, "error sign!", "the signature is wrong", "copy it again from Bybit"),
        (10010, "Unmatched IP", "this IP address is not bound to the key", "Add this machine's public IP"),
        (10005, "Permission denied", "the key lacks a permission", "read permission for orders, positions"),
        (
            10002,
            "req_timestamp[1700000007000],server_timestamp[1700000002000],recv_window[5000]",
            "5000 ms ahead of the server's",
            "Synchronise this machine's clock",
        ),
    ],
)
def test_messages_that_a_trader_understands(code: int, message: str, what: str, do: str) -> None:
    error = _refused({"retCode": code, "retMsg": message})
    assert isinstance(error, AuthFailed)
    assert what in str(error)
    assert do in str(error)


@pytest.mark.parametrize(
    "said",
    [
        "error sign! origin_string[1700000002000KEYOFSOMEBODY5000category=linear]",
        "error sign! origin_string[1700000002000KEYOFSOMEBODY5000category=lin",
    ],
)
def test_the_signed_text_that_bybit_repeats_is_not_shown(said: str) -> None:
    error = _refused({"retCode": 10004, "retMsg": said})
    assert "KEYOFSOMEBODY" not in str(error)
    assert "error sign!" in str(error)


@pytest.mark.parametrize(
    ("headers", "time", "after_s"),
    [
        ({"X-Bapi-Limit-Reset-Timestamp": "1700000000750"}, 1700000000500, 0.25),
        ({"X-Bapi-Limit-Reset-Timestamp": "1700000999999"}, 1700000000500, 60.0),
        ({"X-Bapi-Limit-Reset-Timestamp": "x"}, 1700000000500, 1.0),
        ({}, 1700000000500, 1.0),
        ({"X-Bapi-Limit-Reset-Timestamp": "1700000000750"}, None, 1.0),
    ],
)
def test_a_rate_limit_says_when_to_come_back(headers: dict[str, str], time: int | None, after_s: float) -> None:
    error = _refused({"retCode": 10006, "retMsg": "Too many visits!", "time": time}, headers=headers)
    assert isinstance(error, Retryable)
    assert error.after_s == after_s


@pytest.mark.parametrize(
    ("status", "body", "kind", "after_s"),
    [
        (403, b"access too frequent", Retryable, 600.0),
        (403, b"", AuthFailed, None),
        (401, b"", AuthFailed, None),
        (404, b"", Rejected, None),
        (429, b"", Retryable, 3.0),
        (500, b"", Retryable, 3.0),
        (503, b"<html>", Retryable, 3.0),
    ],
)
def test_http_errors(status: int, body: bytes, kind: type[VenueError], after_s: float | None) -> None:
    error = _refused(body, status, {"Retry-After": "3"})
    assert type(error) is kind
    assert error.code == f"HTTP {status}"
    if isinstance(error, Retryable):
        assert error.after_s == after_s


@pytest.mark.parametrize("body", [b"<html>captive portal</html>", b"", b"{}", b'{"retCode":"0"}'])
def test_what_is_not_an_answer_of_bybit_is_asked_again(body: bytes) -> None:
    assert isinstance(_refused(body), Retryable)
