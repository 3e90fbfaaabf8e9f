"""What is sent: topics, frames, info requests, and which addresses are accepted."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchanges.errors import AuthFailed, KeyTooPowerful, Rejected
from exchanges.hyperliquid import build
from exchanges.venue import AccountSpec, Credentials, HttpRequest
from tests.exchanges.hyperliquid.samples import OTHER, USER


def account(address: str | None, credentials: Credentials | None = None) -> AccountSpec:
    return AccountSpec(name="whale", venue="hyperliquid", address=address, credentials=credentials)


def test_a_topic_has_one_text_whatever_the_order() -> None:
    assert build.topic("clearinghouseState", user=USER, dex="") == build.topic("clearinghouseState", dex="", user=USER)


def test_frames_carry_the_subscription() -> None:
    topic = build.topic("spotState", user=USER)
    wanted = {"type": "spotState", "user": USER}
    assert json.loads(build.subscribe(topic)) == {"method": "subscribe", "subscription": wanted}
    assert json.loads(build.unsubscribe(topic)) == {"method": "unsubscribe", "subscription": wanted}
    assert json.loads(build.ping()) == {"method": "ping"}


@pytest.mark.parametrize(
    ("echo", "same"),
    [
        ({"type": "clearinghouseState", "user": USER, "dex": ""}, True),
        ({"type": "clearinghouseState", "user": USER.upper().replace("X", "x"), "dex": None, "added": False}, True),
        ({"type": "clearinghouseState", "user": USER}, True),
        ({"type": "clearinghouseState", "user": USER, "dex": "xyz"}, False),
        ({"type": "clearinghouseState", "user": OTHER, "dex": ""}, False),
        ({"type": "spotState", "user": USER, "dex": ""}, False),
        ({}, False),
    ],
)
def test_an_echo_is_compared_by_subset(echo: dict[str, object], same: bool) -> None:
    assert build.echoes(build.topic("clearinghouseState", user=USER, dex=""), echo) is same


@pytest.mark.parametrize(("kind", "weight"), [("clearinghouseState", 2), ("userRole", 60), ("meta", 20)])
def test_info_requests_know_their_weight(kind: str, weight: int) -> None:
    request = build.info(kind, user=USER)
    assert (request.method, request.path, request.weight, request.signed) == ("POST", "/info", weight, False)
    assert build.question(request) == {"type": kind, "user": USER}


def test_a_recorded_question_may_stand_in_the_path() -> None:
    assert build.question(HttpRequest(path='{"type":"meta","dex":""}'))["type"] == "meta"


@given(st.text(max_size=40))
def test_what_is_no_question_is_rejected(text: str) -> None:
    with pytest.raises(Rejected, match="type"):
        build.question(HttpRequest(path="/info", body=f"[{text}"))


@pytest.mark.parametrize("body", ["null", "{}", '{"type":3}', "[" * 100_000])
def test_json_that_is_no_question_is_rejected(body: str) -> None:
    with pytest.raises(Rejected, match="type"):
        build.question(HttpRequest(path="/info", body=body))


def test_addresses_are_lower_cased() -> None:
    assert (
        build.address(account("0xABCDEF0123456789abcdef0123456789ABCDEF01"))
        == "0x" + "abcdef0123456789" * 2 + "abcdef01"
    )


@pytest.mark.parametrize("address", [None, "", "0x12", "abcdef0123456789abcdef0123456789abcdef0123", "0x" + "g" * 40])
def test_a_missing_or_malformed_address_is_refused_with_what_to_do(address: str | None) -> None:
    with pytest.raises(AuthFailed, match="40 hexadecimal digits"):
        build.address(account(address))


def test_a_private_key_in_the_address_field_is_never_shown() -> None:
    secret = "0x" + "5ec2e7" * 10 + "beef"
    with pytest.raises(AuthFailed) as failed:
        build.address(account(secret))
    assert "5ec2e7" not in str(failed.value)
    assert "5ec2e7" not in repr(failed.value)


def test_a_configured_key_is_refused_because_it_can_trade() -> None:
    with pytest.raises(KeyTooPowerful, match="Remove it"):
        build.address(account(USER, Credentials(key="agent", secret="not shown")))
