"""The venue: hosts, factories, its clock, which questions are public."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from exchanges import VENUES
from exchanges.aster import VENUE, build, tables
from exchanges.aster.address import AddressLink
from exchanges.errors import AuthFailed, ProtocolViolation, Rejected
from exchanges.venue import AccountSpec, Endpoints, HttpRequest
from tests.exchanges.aster.samples import ENDPOINTS, LEGACY, SPEC, USER


def test_it_is_one_of_the_venues() -> None:
    assert VENUES["aster"] is VENUE
    assert VENUE.name == "aster"
    assert not VENUE.capabilities.needs_credentials
    assert {"position_stream", "fill_stream", "liquidation_cause", "key_permissions"} <= VENUE.capabilities.features
    assert "withdrawals" in VENUE.read_only_help


def test_every_question_fits_into_the_budget() -> None:
    heaviest = max(question.weight for question in tables.QUESTIONS.values())
    assert heaviest <= VENUE.capabilities.rest_burst <= VENUE.capabilities.rest_weight < 2_400


def test_sites() -> None:
    assert VENUE.sites() == (("live", None), ("testnet", None))
    assert all(VENUE.endpoints(env, region).rest.startswith("https://") for env, region in VENUE.sites())
    with pytest.raises(Rejected, match="live or testnet"):
        VENUE.endpoints("demo", None)
    with pytest.raises(Rejected, match="Leave region out"):
        VENUE.endpoints("live", "eu")


def test_the_clock() -> None:
    request = VENUE.time_request()
    assert request is not None
    assert VENUE.is_public(request)
    assert VENUE.read_time(b'{"serverTime":1499827319559}') == 1499827319559
    with pytest.raises(ProtocolViolation):
        VENUE.read_time(b'{"serverTime":"soon"}')


def test_the_networks_signatures_differ() -> None:
    testnet = msgspec.structs.replace(SPEC, env="testnet")
    question = build.question("v3", "positions")
    live_link, test_link = (
        VENUE.private_links(spec, ENDPOINTS)["private"]().sign(question, 5).path.rpartition("&signature=")
        for spec in (SPEC, testnet)
    )
    assert live_link[0] == test_link[0]
    assert live_link[2] != test_link[2]


def test_links_of_an_account_never_use_a_nonce_twice() -> None:
    make = VENUE.private_links(SPEC, ENDPOINTS)["private"]
    question = build.question("v3", "positions")
    signed = [link.sign(question, 5).path for link in (make(), make(), make())]
    assert len({path.partition("nonce=")[2].partition("&")[0] for path in signed}) == 3


def test_an_address_alone_is_polled() -> None:
    link = VENUE.private_links(AccountSpec(name="whale", venue="aster", address=USER), ENDPOINTS)["private"]()
    assert isinstance(link, AddressLink)


def test_where_rest_is_somewhere_else_the_chain_is_asked_there_too() -> None:
    elsewhere = Endpoints("http://127.0.0.1:1", "ws://127.0.0.1:1", "ws://127.0.0.1:1")
    link = VENUE.private_links(AccountSpec(name="whale", venue="aster", address=USER), elsewhere)["private"]()
    assert [request.host for request in link.state()] == [None, None]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, "address is missing"),
        ({"address": "0x1"}, "is not an address"),
        ({"address": USER, "env": "testnet"}, "live venue alone"),
    ],
)
def test_an_account_without_enough_is_refused(fields: Any, said: str) -> None:
    with pytest.raises(AuthFailed, match=said):
        VENUE.private_links(AccountSpec(name="whale", venue="aster", **fields), ENDPOINTS)


@pytest.mark.parametrize(
    ("path", "public"), [(tables.INSTRUMENTS, True), (tables.TIME, True), ("/fapi/v3/account", False)]
)
def test_which_questions_are_public(path: str, public: bool) -> None:
    assert VENUE.is_public(HttpRequest(path=f"{path}?x=1")) is public


def test_older_keys_need_no_address() -> None:
    assert VENUE.private_links(LEGACY, ENDPOINTS)["private"]().url == "wss://fstream.asterdex.com/ws"
