"""The venue: hosts, factories, which questions are public, and what each status means."""

from __future__ import annotations

import json

import pytest

from exchanges.errors import AuthFailed, ProtocolViolation, Rejected, Retryable
from exchanges.hyperliquid import VENUE, build, tables
from exchanges.hyperliquid.private import PrivateLink
from exchanges.hyperliquid.session import Known
from exchanges.venue import AccountSpec, Venue
from tests.exchanges.hyperliquid.samples import USER, row, state

LIVE = VENUE.endpoints("live", None)


def test_it_is_a_venue() -> None:
    venue: Venue = VENUE
    assert venue.name == "hyperliquid"
    assert not venue.capabilities.needs_credentials
    assert venue.capabilities.position_snapshot_on_subscribe
    assert not venue.capabilities.hedge_mode
    assert not venue.capabilities.mark_time


def test_what_it_declares_holds_the_documented_limits_of_one_address() -> None:
    able = VENUE.capabilities
    assert able.stream_users is not None
    assert able.stream_users <= 10 - 2  # users, and connections beside those for prices
    account = PrivateLink("", "main", "live", USER, dexes=("xyz", "flx"))
    assert able.stream_users * len(account.topics()) + tables.MAX_CONTEXTS < 1_000
    # A round of verification with ten dexes, of which others than the main one hold something.
    held = PrivateLink("", "main", "live", USER, Known(dexes=tuple(f"d{at}" for at in range(9))), dexes=None)
    held.answer(build.info("userAbstraction", user=USER), b'"default"', 1, 2)
    body = json.dumps(state(row("d1:A", "1.0", "5.0"))).encode()
    held.answer(build.info("clearinghouseState", user=USER, dex="d1"), body, 1, 2)
    cost = sum(request.weight for request in held.state())
    assert cost == 62
    assert able.stream_users * cost * 60 / able.verify_every_s <= able.rest_weight < 1_200
    assert able.features >= {"fill_stream", "order_stream", "funding_stream", "start_position", "liquidation_cause"}
    assert not able.features & {"login", "position_stream", "inverse", "options", "key_permissions"}


def test_the_venues_clock_is_a_cheap_question() -> None:
    request = VENUE.time_request()
    assert (build.question(request), request.weight) == ({"type": "exchangeStatus"}, 2)
    assert VENUE.read_time(b'{"specialStatuses":null,"time":1787195273903}') == 1_787_195_273_903
    with pytest.raises(ProtocolViolation):
        VENUE.read_time(b"null")


def test_sites_are_those_that_have_hosts() -> None:
    assert VENUE.sites() == (("live", None), ("testnet", None))
    for env, region in VENUE.sites():
        assert VENUE.endpoints(env, region).rest


def test_live_and_testnet_are_different_hosts() -> None:
    assert LIVE.rest == "https://api.hyperliquid.xyz"
    assert VENUE.endpoints("testnet", None).ws_private == "wss://api.hyperliquid-testnet.xyz"


def test_unknown_environments_and_regions_are_refused_naming_the_known() -> None:
    with pytest.raises(Rejected, match="live or testnet"):
        VENUE.endpoints("demo", None)
    with pytest.raises(Rejected, match="Leave region out"):
        VENUE.endpoints("live", "eu")


def test_an_address_is_a_complete_account() -> None:
    spec = AccountSpec(name="whale", venue="hyperliquid", address=USER.upper().replace("X", "x"))
    links = VENUE.private_links(spec, LIVE)
    assert list(links) == ["private"]
    link = links["private"]()
    assert (link.url, link.connection) == ("wss://api.hyperliquid.xyz/ws", "private")
    assert USER in link.topics()[0]
    assert links["private"]() is not link


def test_an_account_without_an_address_is_refused() -> None:
    with pytest.raises(AuthFailed, match="whale"):
        VENUE.private_links(AccountSpec(name="whale", venue="hyperliquid"), LIVE)


def test_one_public_connection() -> None:
    links = VENUE.public_links("testnet", VENUE.endpoints("testnet", None))
    assert list(links) == ["public"]
    assert links["public"]().url == "wss://api.hyperliquid-testnet.xyz/ws"


@pytest.mark.parametrize(("kind", "public"), [("meta", True), ("allPerpMetas", True), ("clearinghouseState", False)])
def test_questions_about_users_are_private(kind: str, public: bool) -> None:
    assert VENUE.is_public(build.info(kind)) is public


REQUEST = build.info("clearinghouseState", user=USER, dex="")


def test_success_is_silent() -> None:
    VENUE.check(REQUEST, 200, {}, b"{}")


@pytest.mark.parametrize(
    ("headers", "after_s"), [({}, None), ({"Retry-After": "7"}, 7.0), ({"retry-after": "soon"}, None)]
)
def test_too_many_requests_wait(headers: dict[str, str], after_s: float | None) -> None:
    with pytest.raises(Retryable) as failed:
        VENUE.check(REQUEST, 429, headers, b"null")
    assert failed.value.after_s == after_s
    assert failed.value.code == "429"


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_the_venues_own_troubles_pass(status: int) -> None:
    with pytest.raises(Retryable):
        VENUE.check(REQUEST, status, {}, b"<html>")


@pytest.mark.parametrize("status", [422, 400, 403, 404, 302])
def test_what_the_venue_refuses_is_not_repeated(status: int) -> None:
    with pytest.raises(Rejected, match="clearinghouseState"):
        VENUE.check(REQUEST, status, {}, b"Failed to deserialize the JSON body into the target type")
