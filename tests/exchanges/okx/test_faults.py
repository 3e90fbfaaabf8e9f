"""REST answers that are no success: who has to act, and what the message says."""

from __future__ import annotations

import json

import pytest

from exchanges.errors import AuthFailed, NotFound, Rejected, Retryable, VenueError
from exchanges.okx import VENUE, build, tables
from tests.exchanges.okx.samples import CREDENTIALS, envelope, private

REQUEST = build.balance_request()


def failure(status: int, body: bytes, headers: dict[str, str] | None = None) -> VenueError:
    with pytest.raises(VenueError) as caught:
        VENUE.check(REQUEST, status, headers or {}, body)
    return caught.value


def coded(code: str, msg: str = "said by the venue", status: int = 200) -> VenueError:
    return failure(status, json.dumps({"code": code, "msg": msg, "data": []}).encode())


def test_success_passes() -> None:
    assert VENUE.check(REQUEST, 200, {}, envelope()) is None


@pytest.mark.parametrize(
    ("code", "status"), [("50011", 200), ("50011", 429), ("50013", 429), ("50001", 503), ("50040", 200)]
)
def test_busy_and_limited_is_asked_again(code: str, status: int) -> None:
    error = coded(code, status=status)
    assert isinstance(error, Retryable)
    assert error.after_s is not None


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("50101", "env"),
        ("50102", "NTP"),
        ("50105", "passphrase"),
        ("50110", "IP address"),
        ("50111", "key"),
        ("50112", "NTP"),
        ("50113", "secret"),
        ("50119", "key"),
        ("50120", "permission"),
    ],
)
def test_wrong_credentials_say_what_to_do(code: str, words: str) -> None:
    error = coded(code, status=401)
    assert isinstance(error, AuthFailed)
    assert error.code == code
    assert words in (error.do or "")


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("50119", "expired"),  # a key that does not exist any more, or that another site made
        ("50111", "region"),
        ("50101", "demo"),
        ("50067", "region"),
        ("50051", "region"),
        ("50100", "support"),
        ("50007", "support"),
        ("50121", "IP address"),
        ("50059", "site"),
    ],
)
def test_a_trader_can_act_on_it(code: str, words: str) -> None:
    error = coded(code)
    assert isinstance(error, AuthFailed)
    assert words in str(error)


def test_maintenance_is_waited_for() -> None:
    for code in ("50001", "50046"):
        error = coded(code)
        assert isinstance(error, Retryable)
        assert "maintenance" in str(error)


def test_what_does_not_exist_is_an_answer() -> None:
    error = coded("51603", "Order does not exist")
    assert isinstance(error, NotFound)
    assert "Order does not exist" in str(error)
    assert not isinstance(coded("51001"), NotFound)


def test_a_wrong_question_is_rejected_with_the_venues_words() -> None:
    error = coded("51001", "Instrument ID does not exist")
    assert isinstance(error, Rejected)
    assert "Instrument ID does not exist" in str(error)


def test_an_unlisted_code_goes_by_the_status() -> None:
    assert isinstance(coded("59999"), Rejected)
    assert isinstance(coded("59999", status=500), Retryable)
    assert isinstance(coded("59999", status=429), Retryable)


@pytest.mark.parametrize(
    ("status", "kind"), [(200, Retryable), (502, Retryable), (429, Retryable), (403, AuthFailed), (404, Rejected)]
)
@pytest.mark.parametrize("body", [b"<html>", b"", b"\xff", b"[" * 5000])
def test_a_page_instead_of_an_answer(status: int, kind: type[VenueError], body: bytes) -> None:
    assert isinstance(failure(status, body), kind)


def test_the_waiting_time_of_a_proxy_counts() -> None:
    error = failure(429, b"slow down", {"Retry-After": "7"})
    assert isinstance(error, Retryable)
    assert error.after_s == 7.0


def test_no_error_shows_a_secret() -> None:
    request = private().sign(REQUEST, 0)
    for code in tables.REST_FAULTS:
        with pytest.raises(VenueError) as caught:
            VENUE.check(request, 401, {}, json.dumps({"code": code, "msg": "no"}).encode())
        assert CREDENTIALS.secret not in str(caught.value)
        assert str(CREDENTIALS.passphrase) not in repr(caught.value)
