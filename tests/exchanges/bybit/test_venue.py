"""The venue as its callers see it: hosts, links, credentials."""

from __future__ import annotations

import msgspec
import pytest

from exchanges.bybit import VENUE, build
from exchanges.errors import AuthFailed, Rejected
from exchanges.venue import Endpoints, Link, Venue
from tests.exchanges.bybit.samples import ACCOUNT, ENDPOINTS


def test_what_it_declares() -> None:
    venue: Venue = VENUE
    assert venue.name == "bybit"
    assert venue.capabilities.needs_credentials
    assert venue.capabilities.hedge_mode
    assert venue.capabilities.mark_time
    assert not venue.capabilities.position_snapshot_on_subscribe


@pytest.mark.parametrize(
    ("env", "region", "rest"),
    [
        ("live", None, "https://api.bybit.com"),
        ("live", "jp", "https://api.manepa.jp"),
        ("testnet", None, "https://api-testnet.bybit.com"),
        ("demo", None, "https://api-demo.bybit.com"),
    ],
)
def test_hosts(env: str, region: str | None, rest: str) -> None:
    assert VENUE.endpoints(env, region).rest == rest


@pytest.mark.parametrize(
    ("env", "region", "named"),
    [
        ("paper", None, "live, testnet, demo"),
        ("live", "mars", "bytick, nl, tr, kz, ge, ae, eu, id, jp"),
        ("demo", "jp", "Leave region out"),
    ],
)
def test_unknown_hosts_name_the_known_ones(env: str, region: str | None, named: str) -> None:
    with pytest.raises(Rejected) as caught:
        VENUE.endpoints(env, region)
    assert named in str(caught.value)


def test_every_connection_is_a_new_link_at_the_given_host() -> None:
    endpoints = Endpoints("http://127.0.0.1:1", "ws://127.0.0.1:2", "ws://127.0.0.1:3")
    private = VENUE.private_links(ACCOUNT, endpoints)
    public = VENUE.public_links("demo", endpoints)
    links: list[Link] = [factory() for factory in (*private.values(), *public.values())]
    assert [link.url for link in links] == ["ws://127.0.0.1:3/v5/private", "ws://127.0.0.1:2/v5/public/linear"]
    assert [link.connection for link in links] == [*private, *public]
    assert private["private"]() is not private["private"]()


def test_an_account_without_credentials_is_refused_before_anything_is_connected() -> None:
    with pytest.raises(AuthFailed, match="account main"):
        VENUE.private_links(msgspec.structs.replace(ACCOUNT, credentials=None), ENDPOINTS)


def test_market_data_is_asked_by_the_public_link() -> None:
    assert VENUE.is_public(build.instruments_info())
    assert VENUE.is_public(build.risk_limit("BTCUSDT"))
    assert not VENUE.is_public(build.account_info())


def test_answers_are_checked() -> None:
    VENUE.check(build.account_info(), 200, {}, b'{"retCode":0,"result":{}}')
    with pytest.raises(AuthFailed):
        VENUE.check(build.account_info(), 200, {}, b'{"retCode":10003,"retMsg":"API key is invalid."}')
