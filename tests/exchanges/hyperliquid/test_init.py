"""The venue: hosts, factories, which questions are public, and what each status means."""

from __future__ import annotations

import pytest

from exchanges.errors import AuthFailed, Rejected, Retryable
from exchanges.hyperliquid import VENUE, build
from exchanges.venue import AccountSpec, Venue
from tests.exchanges.hyperliquid.samples import USER

LIVE = VENUE.endpoints("live", None)


def test_it_is_a_venue() -> None:
    venue: Venue = VENUE
    assert venue.name == "hyperliquid"
    assert not venue.capabilities.needs_credentials
    assert venue.capabilities.position_snapshot_on_subscribe
    assert not venue.capabilities.hedge_mode
    assert not venue.capabilities.mark_time


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
