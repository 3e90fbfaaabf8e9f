"""Signatures against vectors computed independently (HMAC-SHA256 of the documented texts), and where headers go."""

from __future__ import annotations

import pytest

from exchanges.okx import sign
from exchanges.venue import HttpRequest
from tests.exchanges.okx.samples import CREDENTIALS

STAMP = "2020-12-08T09:08:57.715Z"
STAMP_MS = 1_607_418_537_715


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"{STAMP}GET/api/v5/account/balance?ccy=BTC", "HiZhvSfMtWJA3uUIVXV3a/bSXNPCWvYFXoGCVS8V4zY="),
        (
            f'{STAMP}POST/api/v5/account/set-leverage{{"instId":"BTC-USDT","lever":"5","mgnMode":"isolated"}}',
            "eCnnCgWLjlQ9XnpUkrcny3qNq3WW/81KNrDr/XR6Xv8=",
        ),
        ("1704876947GET/users/self/verify", "5/36BgGV6m/6pmdc20zdqk0mzF5ZalmzzPD2fo3wavU="),
    ],
)
def test_signature_vectors(text: str, expected: str) -> None:
    assert sign.signature(CREDENTIALS.secret, text) == expected


def test_timestamp_is_iso_with_milliseconds() -> None:
    assert sign.timestamp(STAMP_MS) == STAMP
    assert sign.timestamp(1_607_418_537_005) == "2020-12-08T09:08:57.005Z"


def test_a_signed_request_carries_the_four_headers() -> None:
    request = HttpRequest(path="/api/v5/account/balance?ccy=BTC", signed=True)
    headers = dict(sign.sign_request(request, STAMP_MS, CREDENTIALS, demo=False).headers)
    assert headers == {
        "OK-ACCESS-KEY": CREDENTIALS.key,
        "OK-ACCESS-SIGN": "HiZhvSfMtWJA3uUIVXV3a/bSXNPCWvYFXoGCVS8V4zY=",
        "OK-ACCESS-TIMESTAMP": STAMP,
        "OK-ACCESS-PASSPHRASE": CREDENTIALS.passphrase,
        "Content-Type": "application/json",
    }


def test_a_body_is_signed_too() -> None:
    body = '{"instId":"BTC-USDT","lever":"5","mgnMode":"isolated"}'
    request = HttpRequest(path="/api/v5/account/set-leverage", method="POST", body=body, signed=True)
    headers = dict(sign.sign_request(request, STAMP_MS, CREDENTIALS, demo=False).headers)
    assert headers["OK-ACCESS-SIGN"] == "eCnnCgWLjlQ9XnpUkrcny3qNq3WW/81KNrDr/XR6Xv8="


def test_demo_is_a_header_on_every_question() -> None:
    public = sign.sign_request(HttpRequest(path="/api/v5/public/time"), STAMP_MS, None, demo=True)
    private = sign.sign_request(HttpRequest(path="/x", signed=True), STAMP_MS, CREDENTIALS, demo=True)
    assert public.headers == (("x-simulated-trading", "1"),)
    assert ("x-simulated-trading", "1") in private.headers
    assert sign.sign_request(HttpRequest(path="/x"), STAMP_MS, CREDENTIALS, demo=False).headers == ()


def test_login_counts_seconds() -> None:
    assert sign.login_args(CREDENTIALS, 1_704_876_947_999) == {
        "apiKey": CREDENTIALS.key,
        "passphrase": CREDENTIALS.passphrase,
        "timestamp": "1704876947",
        "sign": "5/36BgGV6m/6pmdc20zdqk0mzF5ZalmzzPD2fo3wavU=",
    }
