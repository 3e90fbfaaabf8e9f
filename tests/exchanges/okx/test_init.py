"""The venue behind the seam: hosts by env and region, links, whose questions are whose."""

from __future__ import annotations

import pytest

from exchanges.errors import AuthFailed, ProtocolViolation, Rejected
from exchanges.okx import VENUE, build, tables
from exchanges.sim.okx_rest import LIMITS
from exchanges.venue import AccountSpec, Credentials, Link, Venue
from tests.exchanges.okx.samples import SPEC


def test_it_is_a_venue() -> None:
    venue: Venue = VENUE
    live = venue.endpoints("live", None)
    links: list[Link] = [
        make() for make in (*venue.private_links(SPEC, live).values(), *venue.public_links("live", live).values())
    ]
    assert [link.connection for link in links] == ["private", "public"]
    assert [link.needs_login for link in links] == [True, False]
    assert [link.url for link in links] == [
        "wss://ws.okx.com:8443/ws/v5/private",
        "wss://ws.okx.com:8443/ws/v5/public",
    ]


@pytest.mark.parametrize(
    ("env", "region", "private"),
    [
        ("live", "global", "wss://ws.okx.com:8443"),
        ("demo", None, "wss://wspap.okx.com:8443"),
        ("live", "eea", "wss://wseea.okx.com:8443"),
        ("demo", "eea", "wss://wseeapap.okx.com:8443"),
        ("live", "us", "wss://wsus.okx.com:8443"),
        ("live", "tr", "wss://ws.okx.com:8443"),
    ],
)
def test_hosts(env: str, region: str | None, private: str) -> None:
    assert VENUE.endpoints(env, region).ws_private == private


@pytest.mark.parametrize(
    ("env", "region", "named"), [("testnet", None, "live, demo"), ("demo", "tr", "live"), ("live", "moon", "eea")]
)
def test_an_unknown_place_names_the_known_ones(env: str, region: str | None, named: str) -> None:
    with pytest.raises(Rejected, match=named):
        VENUE.endpoints(env, region)


@pytest.mark.parametrize(
    ("credentials", "word"),
    [
        (None, "no key"),
        (Credentials("", "s", "p"), "no key"),
        (Credentials("k", "", "p"), "no secret"),
        (Credentials("k", "s"), "no passphrase"),
        (Credentials("k", "s\n", "p"), "the secret is malformed"),
        (Credentials("k", "s", " p"), "the passphrase is malformed"),
        (Credentials("k\N{EN DASH}", "s", "p"), "the key holds"),
    ],
)
def test_a_bad_credential_is_named_and_never_shown(credentials: Credentials | None, word: str) -> None:
    spec = AccountSpec(name="desk", venue="okx", credentials=credentials)
    with pytest.raises(AuthFailed, match=word) as caught:
        VENUE.private_links(spec, VENUE.endpoints("live", None))
    assert "desk" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_each_factory_call_makes_a_new_link() -> None:
    make = VENUE.private_links(SPEC, VENUE.endpoints("live", None))["private"]
    assert make() is not make()


def test_demo_links_mark_their_questions() -> None:
    demo = VENUE.endpoints("demo", None)
    spec = AccountSpec(name="main", venue="okx", env="demo", credentials=SPEC.credentials)
    for link in (VENUE.private_links(spec, demo)["private"](), VENUE.public_links("demo", demo)["public"]()):
        assert tables.DEMO_HEADER in link.sign(build.config_request(), 0).headers


def test_whose_question_it_is() -> None:
    assert VENUE.is_public(build.instruments_request("SWAP"))
    assert not VENUE.is_public(build.positions_request())


def test_every_site_has_its_hosts() -> None:
    sites = VENUE.sites()
    assert len(set(sites)) == len(sites) == 7
    assert ("live", "global") in sites
    assert ("demo", "eea") in sites
    for env, region in sites:
        assert VENUE.endpoints(env, region).rest.startswith("https://")


def test_the_venues_clock() -> None:
    request = VENUE.time_request()
    assert VENUE.is_public(request)
    assert VENUE.read_time(b'{"code":"0","msg":"","data":[{"ts":"1597026383085"}]}') == 1597026383085
    for body in (
        b"",
        b"{}",
        b'{"code":"0","data":[]}',
        b'{"code":"0","data":[{"ts":""}]}',
        b'{"code":"0","data":[{"ts":5}]}',
    ):
        with pytest.raises(ProtocolViolation):
            VENUE.read_time(body)


def test_capabilities_and_help() -> None:
    can = VENUE.capabilities
    assert can.verify_every_s == 10
    assert {"liquidation_cause", "adl_cause", "settlement", "key_permissions", "currency_prices"} <= can.features
    assert "start_position" not in can.features
    assert "Read" in VENUE.read_only_help


def test_no_question_is_heavier_than_what_may_be_asked_at_once() -> None:
    link = VENUE.private_links(SPEC, VENUE.endpoints("live", None))["private"]()
    market = VENUE.public_links("live", VENUE.endpoints("live", None))["public"]()
    can = VENUE.capabilities
    assert can.key_weight is not None
    private = [*link.audit(), *link.state(), *link.history(0, []), *link.find_order("X", "1"), *link.bootstrap()]
    assert all(each.signed and each.weight <= can.key_weight // 2 for each in private)
    for each in (*private, *market.bootstrap(), *build.tiers_requests("SWAP", ["A-B"]), VENUE.time_request()):
        assert each.weight <= can.rest_burst
    assert can.key_weight // build.config_request().weight <= 5, "the strictest limit of a user, in 2 s"


def test_every_public_question_is_held_to_the_limit_of_its_endpoint() -> None:
    market = VENUE.public_links("live", VENUE.endpoints("live", None))["public"]()
    questions = [
        *market.bootstrap(),
        *build.tiers_requests("SWAP", ["A-B"]),
        build.discounts_request(),
        build.index_request("A-B"),
        VENUE.time_request(),
    ]
    paths = {each.path.partition("?")[0] for each in questions}
    assert paths == VENUE.capabilities.path_limits.keys()
    for path, most in VENUE.capabilities.path_limits.items():
        assert LIMITS[path] == (most, round(1000 * VENUE.capabilities.rest_period_s))
