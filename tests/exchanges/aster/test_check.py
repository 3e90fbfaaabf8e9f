"""Whose fault a refused answer is, by code, text and status; bodies are read whatever the status says."""

from __future__ import annotations

import json
from typing import Any

import pytest

from exchanges.aster import build, tables
from exchanges.aster.check import check
from exchanges.errors import AuthFailed, NotFound, Rejected, Retryable
from exchanges.venue import HttpRequest

ASKED = build.question("v3", "positions")
HTML = b"<!DOCTYPE html><html><head><title>We're sorry, but something went wrong (500)</title></head></html>"


def refused(code: Any, text: str = "", status: int = 400, headers: Any = None, request: HttpRequest = ASKED) -> None:
    check(request, status, headers or {}, json.dumps({"code": code, "msg": text}).encode())


@pytest.mark.parametrize(
    "body", [b"[]", b'{"dualSidePosition":true}', b'{"code":200,"msg":"success"}', b'{"code":"200"}']
)
def test_a_success(body: bytes) -> None:
    check(ASKED, 200, {}, body)


@pytest.mark.parametrize(
    ("code", "text", "fault", "said"),
    [
        (-1021, "Timestamp for this request was 1000ms ahead of the server's time.", AuthFailed, "NTP"),
        (-1022, "Signature for this request is not valid.", AuthFailed, "live and testnet differ"),
        (-1000, "Signature check failed", AuthFailed, "signature is wrong"),
        (-1000, "No agent found", AuthFailed, "not approved"),
        (-2014, "API-key format invalid.", AuthFailed, "malformed"),
        (-2015, "Invalid API-key, IP, or permissions for action.", AuthFailed, "do not work on the testnet"),
        (-5050, "This function can only be used after deposit", AuthFailed, "Deposit once"),
        (-1011, "This IP cannot access this route.", AuthFailed, "public IP address"),
        (-2013, "Order does not exist.", NotFound, "does not exist"),
        (-1121, "Invalid symbol.", Rejected, "symbol"),
        (-4999, "Something new.", Rejected, "Something new"),
        (-4225, "Nonce Expired", Retryable, "API wallet of its own"),
        (-1021, "Timestamp for this request is outside of the recvWindow.", Retryable, "time window"),
        (-1000, "An unknown error occured while processing the request.", Retryable, "unknown reason"),
        (-1001, "Internal error; unable to process your request. Please try again.", Retryable, "disconnected"),
        (-1007, "Timeout waiting for response from backend server.", Retryable, "timed out"),
        (-2023, "User in liquidation mode now.", Retryable, "liquidated"),
        ("-1121", "Invalid symbol.", Rejected, "symbol"),
    ],
)
@pytest.mark.parametrize("status", [200, 400, 401, 500])
def test_codes_decide_whatever_the_status(code: Any, text: str, fault: type[Exception], said: str, status: int) -> None:
    with pytest.raises(fault, match=said) as raised:
        refused(code, text, status)
    assert type(raised.value) is fault
    assert "/fapi/v3/positionRisk" in str(raised.value)


@pytest.mark.parametrize(
    ("status", "headers", "text", "after_s"),
    [
        (429, {"Retry-After": "7"}, "Too many requests", 7.0),
        (429, {}, "Too many requests", tables.LIMITED_S),
        (418, {"retry-after": "180"}, "Way too many requests; IP banned until 1768551627710.", 180.0),
        (418, {}, "Way too many requests; IP banned until 1768551627710.", tables.BAN_S),
        (418, {"retry-after": "9999999"}, "Way too many requests", tables.LONGEST_S),
        (400, {}, "Way too many requests; IP banned until 1768551627710.", tables.BAN_S),
        (400, {}, "Too many requests; current limit is 2400 requests per minute.", tables.LIMITED_S),
        (403, {}, "", tables.BAN_S),
    ],
)
def test_limits_are_honoured_with_their_times(status: int, headers: Any, text: str, after_s: float) -> None:
    with pytest.raises(Retryable) as raised:
        refused(-1003, text, status, headers)
    assert raised.value.after_s == after_s
    if "until" in text:
        assert "1768551627710" in str(raised.value)


@pytest.mark.parametrize("status", [200, 500, 502, 503])
def test_a_page_instead_of_an_answer_is_asked_again(status: int) -> None:
    with pytest.raises(Retryable):
        check(ASKED, status, {}, HTML)


@pytest.mark.parametrize(("status", "fault"), [(401, AuthFailed), (404, Rejected), (302, Rejected)])
def test_a_status_without_a_code(status: int, fault: type[Exception]) -> None:
    with pytest.raises(fault):
        check(ASKED, status, {}, b"")


def test_an_ended_listen_key_is_the_links_business_when_it_is_extended_and_a_failure_elsewhere() -> None:
    refused(-1125, "This listenKey does not exist.", request=build.listen("v3", "PUT"))
    refused(-1125, "This listenKey does not exist.", request=build.listen("v1", "PUT"))
    with pytest.raises(Retryable):
        refused(-1125, "This listenKey does not exist.", request=build.listen("v3", "POST"))


def test_no_parameter_stands_in_an_error() -> None:
    signed = HttpRequest(path="/fapi/v3/income?nonce=1&signature=0xabc", signed=True)
    with pytest.raises(Rejected) as raised:
        refused(-1121, "Invalid symbol.", request=signed)
    assert "0xabc" not in str(raised.value)
