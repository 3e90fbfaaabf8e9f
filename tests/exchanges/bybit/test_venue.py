"""The venue as its callers see it: hosts, links, credentials."""

from __future__ import annotations

import json

import msgspec
import pytest

from exchanges.actions import Action, Disconnect, Emit, FeedName, Fetch, Send
from exchanges.bybit import VENUE, build, tables
from exchanges.errors import AuthFailed, ProtocolViolation, Rejected
from exchanges.events import Event, FeedStatus, MarginTiers, PositionState
from exchanges.feed import Feed
from exchanges.venue import Endpoints, Link, LinkFactory, Venue
from tests.exchanges.bybit.samples import ACCOUNT, ENDPOINTS, answer, balance, info, listed, position, push, wallet


def test_what_it_declares() -> None:
    venue: Venue = VENUE
    assert venue.name == "bybit"
    assert venue.capabilities.needs_credentials
    assert venue.capabilities.hedge_mode
    assert venue.capabilities.mark_time
    assert not venue.capabilities.position_snapshot_on_subscribe
    assert "start_position" not in venue.capabilities.features
    assert {"login", "options", "inverse", "key_permissions", "currency_prices"} <= venue.capabilities.features
    assert venue.capabilities.key_weight is not None
    assert venue.capabilities.key_weight <= 25, "the transaction log's limit a second"
    assert "Read-Only" in venue.read_only_help


def test_every_site_has_hosts() -> None:
    assert {("live", None), ("live", "jp"), ("demo", None), ("testnet", None)} <= set(VENUE.sites())
    assert all(VENUE.endpoints(env, region).rest for env, region in VENUE.sites())


def test_the_venues_clock() -> None:
    request = VENUE.time_request()
    assert request is not None
    assert VENUE.is_public(request)
    # The documentation's sample.
    body = answer({"timeSecond": "1688639403", "timeNano": "1688639403423213947"}, 1688639403423)
    assert VENUE.read_time(body) == 1688639403423
    for rubbish in (b"{}", b"", answer({"timeNano": ""}), answer({"timeNano": 5})):
        with pytest.raises(ProtocolViolation):
            VENUE.read_time(rubbish)


def test_a_demo_accounts_key_cannot_be_asked_about() -> None:
    demo = msgspec.structs.replace(ACCOUNT, env="demo")
    link = VENUE.private_links(demo, VENUE.endpoints("demo", None))["private"]()
    assert link.audit() == [build.account_info()]


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
    categories = ["linear", "inverse", "option", "spot"]
    assert [link.url for link in links] == [
        "ws://127.0.0.1:3/v5/private",
        *(f"ws://127.0.0.1:2/v5/public/{category}" for category in categories),
    ]
    assert [link.connection for link in links] == ["private", *categories] == [*private, *public]
    assert private["private"]() is not private["private"]()


def test_an_account_without_credentials_is_refused_before_anything_is_connected() -> None:
    with pytest.raises(AuthFailed, match="account main"):
        VENUE.private_links(msgspec.structs.replace(ACCOUNT, credentials=None), ENDPOINTS)


def test_market_data_is_asked_by_the_public_link() -> None:
    assert VENUE.is_public(build.instruments_info("linear"))
    assert VENUE.is_public(build.risk_limit("linear", "BTCUSDT"))
    assert not VENUE.is_public(build.account_info())


def test_answers_are_checked() -> None:
    VENUE.check(build.account_info(), 200, {}, b'{"retCode":0,"result":{}}')
    with pytest.raises(AuthFailed):
        VENUE.check(build.account_info(), 200, {}, b'{"retCode":10003,"retMsg":"API key is invalid."}')


def _obey(feed: Feed, actions: list[Action], bodies: dict[str, bytes]) -> list[Event]:
    """Play the venue for a feed: confirm what it sends, answer what it asks; return the events it emits."""
    events: list[Event] = []
    todo = list(actions)
    while todo:
        action = todo.pop(0)
        if isinstance(action, Emit):
            events.append(action.event)
        elif isinstance(action, Send):
            sent = json.loads(action.text)
            reply = {"success": True, "ret_msg": "", "op": sent["op"], "req_id": sent["req_id"]}
            todo += feed.received(json.dumps(reply), 10)
        elif isinstance(action, Fetch):
            path = action.request.path.partition("?")[0]
            VENUE.check(action.request, 200, {}, bodies[path])
            todo += feed.answered(action, bodies[path], 10, 20)
    return events


def _feed(factory: LinkFactory, connection: str) -> Feed:
    name = FeedName(id=f"main:{connection}", venue="bybit", env="live", connection=connection, account="main")
    return Feed(factory, name, random=lambda: 0.5)


def test_a_feed_brings_the_private_link_to_life() -> None:
    feed = _feed(VENUE.private_links(ACCOUNT, ENDPOINTS)["private"], "private")
    bodies = {tables.ACCOUNT_INFO: info(), tables.POSITION_LIST: listed(), tables.WALLET_BALANCE: balance(wallet())}
    events = _obey(feed, [*feed.connecting(0), *feed.opened(0, 1_700_000_000_000)], bodies)
    assert feed.state == "live"
    kinds = [type(event).__name__ for event in events if not isinstance(event, FeedStatus)]
    assert kinds == ["AccountMode", *["PositionsSnapshot"] * 4, "BalanceState"]
    (state,) = _obey(feed, feed.received(push("position", [position()]), 30), bodies)
    assert isinstance(state, PositionState)


def test_a_feed_brings_the_public_link_to_life_and_fetches_the_tiers_of_what_it_wants() -> None:
    feed = _feed(VENUE.public_links("live", ENDPOINTS)["linear"], "linear")
    tier = {"symbol": "BTCUSDT", "riskLimitValue": "1", "maintenanceMargin": "0.005", "initialMargin": "0.01"}
    bodies = {
        tables.INSTRUMENTS_INFO: answer({"list": [], "nextPageCursor": ""}),
        tables.RISK_LIMIT: answer({"list": [{**tier, "maxLeverage": "100"}], "nextPageCursor": ""}),
    }
    feed.want(["BTCUSDT"], 0)
    events = _obey(feed, [*feed.connecting(0), *feed.opened(0, 0)], bodies)
    assert feed.state == "live"
    assert feed.confirmed == {"tickers.BTCUSDT"}
    assert [event.key for event in events if isinstance(event, MarginTiers)] == ["BTCUSDT"]


def test_a_refused_login_ends_the_feed_with_words_for_the_operator() -> None:
    feed = _feed(VENUE.private_links(ACCOUNT, ENDPOINTS)["private"], "private")
    feed.connecting(0)
    feed.opened(0, 0)
    reply = '{"op":"auth","success":false,"retCode":10003,"retMsg":"Invalid apikey"}'
    (gone,) = [action for action in feed.received(reply, 5) if isinstance(action, Disconnect)]
    assert gone.retry_in_s is None
    assert "environment matches `env`" in gone.why
