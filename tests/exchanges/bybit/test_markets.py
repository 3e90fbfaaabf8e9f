"""The public link: merged tickers, contracts, tiers of the symbols that matter."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exchanges.bybit import VENUE, build, tables
from exchanges.bybit.markets import MarketLink
from exchanges.errors import ProtocolViolation
from exchanges.events import FundingRate, Instrument, MarginTiers, Price
from exchanges.venue import Ask, HttpRequest, Malformed, Output, Pong, Subscribed, SubscribeRefused
from tests.exchanges.bybit.samples import ENDPOINTS, answer, linear
from tests.recordings import needs_recordings, recordings

CONTRACTS = build.instruments_info("linear")


def _ticker(kind: str, ts: int, symbol: str = "BTCUSDT", **fields: Any) -> str:
    data = {"symbol": symbol, **fields}
    return json.dumps({"topic": f"tickers.{symbol}", "type": kind, "data": data, "cs": ts, "ts": ts})


def _prices(output: list[Output]) -> list[tuple[str, int | None]]:
    return [(one.value, one.at) for one in output if isinstance(one, Price)]


def _ack(frame: str, **fields: Any) -> str:
    return json.dumps({"success": True, "op": "subscribe", "req_id": json.loads(frame)["req_id"], **fields})


def _contract(symbol: str) -> dict[str, Any]:
    coin = symbol.removesuffix("USDT")
    return {
        "symbol": symbol,
        "contractType": "LinearPerpetual",
        "baseCoin": coin,
        "quoteCoin": "USDT",
        "settleCoin": "USDT",
    }


# --- Contract with the feed -----------------------------------------------------------------------------------------


def test_what_the_feed_is_told() -> None:
    link = linear()
    assert link.url == "wss://stream.bybit.com/v5/public/linear"
    assert (link.needs_login, link.ping_every_s, link.connection, link.ready) == (False, 20.0, "linear", False)
    assert (link.topics(), link.bootstrap(), link.closed(1006, "")) == ((), [CONTRACTS], None)
    assert link.sign(CONTRACTS, 5) is CONTRACTS
    with pytest.raises(ProtocolViolation):
        link.login(0)
    link.ping()
    assert link.receive('{"success":true,"ret_msg":"pong","req_id":"","op":"ping"}', 0) == [Pong()]


def test_only_linear_symbols_have_a_ticker_here() -> None:
    symbols = ["BTCUSDT", "BTCPERP", "BTC-26DEC25", "BTCUSDT-26DEC25", "BTCUSD", "BTCUSDH25", "BTC-6JAN23-17500-C"]
    assert linear().price_topics(symbols) == tuple(f"tickers.{symbol}" for symbol in symbols[:4])


# --- Tickers --------------------------------------------------------------------------------------------------------


def test_deltas_carry_only_what_changed() -> None:
    link = linear()
    assert _prices(link.receive(_ticker("snapshot", 1000, markPrice="61875.25", lastPrice="1"), 0)) == [
        ("61875.25", 1000)
    ]
    assert link.receive(_ticker("delta", 1100, bid1Price="61873.9"), 0) == []
    assert _prices(link.receive(_ticker("delta", 1200, markPrice="61875.06"), 0)) == [("61875.06", 1200)]
    assert link.receive(_ticker("delta", 1300, markPrice="61875.06"), 0) == []
    assert link.receive(_ticker("delta", 1400, markPrice=""), 0) == []


def test_an_unchanged_mark_is_confirmed_now_and_then() -> None:
    link = linear()
    link.receive(_ticker("snapshot", 1000, markPrice="5"), 0)
    told = [_prices(link.receive(_ticker("delta", ts, bid1Price="4"), 0)) for ts in range(1100, 4200, 100)]
    assert [one for prices in told for one in prices] == [("5", 2000), ("5", 3000), ("5", 4000)]


def test_a_delta_out_of_order_changes_nothing_and_a_snapshot_replaces() -> None:
    link = linear()
    link.receive(_ticker("snapshot", 2000, markPrice="5"), 0)
    assert link.receive(_ticker("delta", 1999, markPrice="4"), 0) == []
    assert _prices(link.receive(_ticker("snapshot", 1500, markPrice="3"), 0)) == [("3", 1500)]


def test_a_ticker_without_a_mark_gives_no_price() -> None:
    link = linear()
    assert link.receive(_ticker("snapshot", 1, indexPrice="21120.24"), 0) == []
    assert link.receive(_ticker("delta", 2, lastPrice="7"), 0) == []


@pytest.mark.parametrize("price", ["0", "0.00", "-1"])
@pytest.mark.parametrize("kind", ["snapshot", "delta"])
def test_a_mark_that_is_none_is_told(kind: str, price: str) -> None:
    link = linear()
    link.receive(_ticker("snapshot", 1000, markPrice="5"), 0)
    (told,) = link.receive(_ticker(kind, 2500, markPrice=price), 0)
    assert told == Malformed(what=f"bybit: the mark {price} of BTCUSDT is no price")
    later = _prices(link.receive(_ticker("delta", 3000, lastPrice="7"), 0))
    assert later == ([("5", 3000)] if kind == "delta" else []), "a snapshot replaces everything"


def test_prices_name_their_environment() -> None:
    link = MarketLink("linear", "demo", "wss://x/v5/public/linear")
    (price,) = link.receive(_ticker("snapshot", 1, "1000PEPEUSDT", markPrice="0.0071"), 9)
    assert price == Price(venue="bybit", env="demo", symbol="1000PEPEUSDT", value="0.0071", kind="mark", at=1)


@pytest.mark.parametrize(
    "frame",
    [
        '{"topic":"tickers.BTC","type":"snapshot","ts":1,"data":{"symbol":"BTC-6JAN23-17500-C","markPrice":"7"}}',
        '{"topic":"tickers.BTCUSDT","type":"update","ts":1,"data":{"symbol":"BTCUSDT","markPrice":"7"}}',
        '{"topic":"tickers.BTCUSDT","type":"delta","data":{"symbol":"BTCUSDT","markPrice":"7"}}',
        '{"topic":"tickers.BTCUSDT","type":"delta","ts":1,"data":[]}',
        '{"topic":"tickers.BTCUSDT","type":"delta","ts":1}',
        '{"topic":"orderbook.1.BTCUSDT","type":"delta","ts":1,"data":{}}',
        "not json",
    ],
)
def test_what_is_not_understood_is_reported(frame: str) -> None:
    (malformed,) = linear().receive(frame, 0)
    assert isinstance(malformed, Malformed)


def test_merged_tickers_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "MAX_BUFFERED", 2)
    link = linear()
    for symbol in ("AUSDT", "BUSDT", "CUSDT"):
        link.receive(_ticker("snapshot", 1, symbol, markPrice="1"), 0)
    assert link.receive(_ticker("delta", 2, "CUSDT", bid1Price="1"), 0) == []
    assert link.receive(_ticker("delta", 2000, "AUSDT", bid1Price="1"), 0) == []  # forgotten: nothing to merge with


def _rates(output: list[Output]) -> list[tuple[str, str, int | None]]:
    return [(one.symbol, one.rate, one.next_at) for one in output if isinstance(one, FundingRate)]


def test_funding_rates_are_told_when_they_change() -> None:
    link = linear()
    first = link.receive(
        _ticker("snapshot", 1, markPrice="5", fundingRate="-0.005", nextFundingTime="1760342400000"), 0
    )
    assert _rates(first) == [("BTCUSDT", "-0.005", 1760342400000)]
    assert _rates(link.receive(_ticker("delta", 2, markPrice="6"), 0)) == []
    assert _rates(link.receive(_ticker("delta", 3, fundingRate="0.0001"), 0)) == [("BTCUSDT", "0.0001", 1760342400000)]
    assert _rates(link.receive(_ticker("delta", 4, nextFundingTime="1760371200000"), 0)) == [
        ("BTCUSDT", "0.0001", 1760371200000)
    ]
    assert _rates(link.receive(_ticker("snapshot", 5, markPrice="6", fundingRate="", nextFundingTime=""), 0)) == []


def test_dated_futures_have_marks_and_no_funding() -> None:
    frame = _ticker("snapshot", 7, "BTC-26DEC25", markPrice="121144.63", fundingRate="", nextFundingTime="")
    (price,) = linear().receive(frame, 0)
    assert price == Price(venue="bybit", env="live", symbol="BTC-26DEC25", value="121144.63", at=7)


def _of(category: str) -> MarketLink:
    link = VENUE.public_links("live", ENDPOINTS)[category]()
    assert isinstance(link, MarketLink)
    return link


def test_inverse_contracts_have_a_connection_a_table_and_tiers_of_their_own() -> None:
    link = _of("inverse")
    assert link.price_topics(["BTCUSDT", "BTCUSD", "BTCUSDH25", "BTC-27MAR26-70000-P"], ["BTC"]) == (
        "tickers.BTCUSD",
        "tickers.BTCUSDH25",
    )
    assert link.bootstrap() == [build.instruments_info("inverse")]
    (frame,) = link.subscribe(["tickers.BTCUSD"])
    assert [one.request for one in link.receive(_ack(frame), 0) if isinstance(one, Ask)] == [
        build.risk_limit("inverse", "BTCUSD")
    ]
    # The documentation's sample, whose rates are in percent.
    tier = {"id": 1, "symbol": "BTCUSD", "riskLimitValue": "150", "maintenanceMargin": "0.5", "initialMargin": "1"}
    page = answer({"category": "inverse", "list": [{**tier, "maxLeverage": "100.00"}], "nextPageCursor": ""})
    (tiers,) = link.answer(build.risk_limit("inverse", "BTCUSD"), page, 0, 1)
    assert isinstance(tiers, MarginTiers)
    assert (tiers.key, tiers.tiers[0].rate) == ("BTCUSD", "0.005")


def test_tiers_are_asked_again_after_some_hours_where_they_are_still_wanted() -> None:
    link = _of("inverse")
    link.bootstrap()
    (frame,) = link.subscribe(["tickers.BTCUSD", "tickers.ETHUSD"])
    link.receive(_ack(frame), 5)
    link.unsubscribe(["tickers.ETHUSD"])
    pong = json.dumps({"op": "pong", "ret_msg": "pong", "success": True})
    later = 5 + tables.TABLES_EVERY_MS
    assert [one for one in link.receive(pong, later - 1) if isinstance(one, Ask)] == []
    assert [one for one in link.receive(pong, later) if isinstance(one, Ask)] == [
        Ask(request=build.risk_limit("inverse", "BTCUSD"))
    ]
    assert [one for one in link.receive(pong, later + 1) if isinstance(one, Ask)] == []


def test_options_are_looked_up_one_by_one_as_they_are_wanted() -> None:
    link = _of("option")
    symbol = "BTC-27MAR26-70000-P-USDT"
    assert link.ready
    assert link.bootstrap() == []
    assert link.price_topics(["BTCUSD", symbol]) == (f"tickers.{symbol}",)
    link.subscribe([f"tickers.{symbol}"])
    ack = {"success": True, "conn_id": "c", "type": "COMMAND_RESP"}
    lists = {"failTopics": [], "successTopics": [f"tickers.{symbol}"]}
    confirmed, ask = link.receive(json.dumps({**ack, "data": lists}), 0)
    assert confirmed == Subscribed(topics=(f"tickers.{symbol}",))
    assert ask == Ask(request=build.instruments_info("option", symbol))
    row = {
        "symbol": symbol, "status": "Trading", "baseCoin": "BTC", "quoteCoin": "USDT", "settleCoin": "USDT",
        "optionsType": "Put", "launchTime": "1758700800000", "deliveryTime": "1774598400000",
        "priceFilter": {"minPrice": "5", "maxPrice": "1110000", "tickSize": "5"},
    }  # fmt: skip
    (instrument,) = link.answer(ask.request, answer({"category": "option", "list": [row]}), 0, 1)
    assert isinstance(instrument, Instrument)
    assert (instrument.kind, instrument.settle, instrument.contract_size, instrument.contract_ccy) == (
        "option",
        "USDT",
        "1",
        "BTC",
    )
    assert instrument.unified_symbol == "BTC/USDT:USDT-260327-70000-P"
    assert (instrument.expires_at, instrument.tick_size, instrument.tiers_key) == (1774598400000, "5", None)
    (price,) = link.receive(_ticker("snapshot", 9, symbol, markPrice="7.86976724"), 0)
    assert isinstance(price, Price)


def test_answers_about_another_category_are_another_connections() -> None:
    page = answer({"list": [_contract("BTCUSDT")], "nextPageCursor": ""})
    for category in ("inverse", "option"):
        link = _of(category)
        assert link.answer(CONTRACTS, page, 0, 1) == []
        assert link.ready is (category == "option")


def test_a_public_connection_knows_no_account() -> None:
    link = linear()
    assert [
        link.prepare(),
        link.audit(),
        link.state(),
        link.history(0, []),
        link.records(0, 1, []),
        link.find_order("X", "1"),
    ] == [[]] * 6
    assert link.free("USDT") == []
    assert (link.watch(), link.polled) == ({}, False)


# --- Subscriptions --------------------------------------------------------------------------------------------------


def test_the_tiers_of_a_symbol_are_asked_for_once_when_its_ticker_is_confirmed() -> None:
    link = linear()
    (frame,) = link.subscribe(["tickers.BTCUSDT", "tickers.ETHUSDT"])
    confirmed, *asks = link.receive(_ack(frame), 0)
    assert confirmed == Subscribed(topics=("tickers.BTCUSDT", "tickers.ETHUSDT"))
    assert asks == [
        Ask(request=build.risk_limit("linear", "BTCUSDT")),
        Ask(request=build.risk_limit("linear", "ETHUSDT")),
    ]
    link.unsubscribe(["tickers.BTCUSDT"])
    (frame,) = link.subscribe(["tickers.BTCUSDT"])
    assert link.receive(_ack(frame), 0) == [Subscribed(topics=("tickers.BTCUSDT",))]


def test_unsubscribing_forgets_the_merged_ticker() -> None:
    link = linear()
    link.receive(_ticker("snapshot", 1, markPrice="5"), 0)
    (frame,) = link.unsubscribe(["tickers.BTCUSDT"])
    assert json.loads(frame)["args"] == ["tickers.BTCUSDT"]
    assert link.receive(_ticker("delta", 5000, bid1Price="1"), 0) == []


def test_one_connection_holds_so_many_characters_and_not_more() -> None:
    link = linear()
    topics = [f"tickers.{'X' * 20}{number:04}USDT" for number in range(700)]
    args = [topic for frame in link.subscribe(topics) for topic in json.loads(frame)["args"]]
    assert args == topics[: len(args)]
    assert 0 <= tables.MAX_ARGS_CHARS - build.args_chars(args) < build.args_chars(topics[:1])
    refused = link.receive("{}", 0)[:-1]
    assert [one.topics[0] for one in refused if isinstance(one, SubscribeRefused)] == topics[len(args) :]
    link.unsubscribe(topics[:1])
    (frame,) = link.subscribe(topics[-1:])
    assert json.loads(frame)["args"] == topics[-1:]
    assert link.subscribe(topics[-1:]) != []  # again: costs nothing more


def test_a_refused_ticker_gives_its_room_back() -> None:
    link = linear()
    (frame,) = link.subscribe(["tickers.NOPEUSDT", "tickers.BTCUSDT"])
    text = "error:handler not found,topic:tickers.NOPEUSDT"
    refused = link.receive(_ack(frame, success=False, ret_msg=text), 0)
    assert [(one.topics, one.permanent) for one in refused if isinstance(one, SubscribeRefused)] == [
        (("tickers.NOPEUSDT",), True),
        (("tickers.BTCUSDT",), False),
    ]
    assert [json.loads(one)["args"] for one in link.subscribe(["tickers.BTCUSDT"])] == [["tickers.BTCUSDT"]]


# --- REST -----------------------------------------------------------------------------------------------------------


def test_the_contract_table_is_complete_after_its_last_page() -> None:
    link = linear()
    assert link.bootstrap() == [CONTRACTS]
    first, ask = link.answer(CONTRACTS, answer({"list": [_contract("BTCUSDT")], "nextPageCursor": "p2"}), 0, 1)
    assert isinstance(first, Instrument)
    assert ask == Ask(request=build.page(CONTRACTS, "p2"))
    assert not link.ready
    (second,) = link.answer(build.page(CONTRACTS, "p2"), answer({"list": [_contract("ETHUSDT")]}), 2, 3)
    assert isinstance(second, Instrument)
    assert link.ready


def test_tiers_over_several_pages_are_one_event() -> None:
    link = linear()
    link.subscribe([])
    request = build.risk_limit("linear", "BTCUSDT")
    low = {"symbol": "BTCUSDT", "riskLimitValue": "100", "maintenanceMargin": "0.005", "initialMargin": "0.01"}
    high = {**low, "riskLimitValue": "900", "maintenanceMargin": "0.01", "initialMargin": "0.02", "maxLeverage": "50"}
    page = answer({"list": [{**low, "maxLeverage": "100"}], "nextPageCursor": "p2"})
    assert link.answer(request, page, 0, 1) == [Ask(request=build.page(request, "p2"))]
    (tiers,) = link.answer(build.page(request, "p2"), answer({"list": [high]}), 2, 3)
    assert isinstance(tiers, MarginTiers)
    assert [(tier.lower, tier.rate) for tier in tiers.tiers] == [("0", "0.005"), ("100", "0.01")]


@pytest.mark.parametrize(
    ("request_", "body"),
    [
        (CONTRACTS, b"{}"),
        (CONTRACTS, b"<html>"),
        (build.risk_limit("linear", "BTCUSDT"), b'{"result":{"list":[{}]}}'),
        (HttpRequest(path="/v5/market/time"), b'{"result":{}}'),
    ],
)
def test_an_answer_that_is_not_understood_is_a_violation(request_: HttpRequest, body: bytes) -> None:
    with pytest.raises(ProtocolViolation):
        linear().answer(request_, body, 0, 1)


# --- Mutations and recordings ---------------------------------------------------------------------------------------


@given(
    st.lists(
        st.fixed_dictionaries(
            {},
            optional={
                "topic": st.sampled_from(["tickers.BTCUSDT", "tickers.", "x", 5, None]),
                "type": st.sampled_from(["snapshot", "delta", "COMMAND_RESP", 5]),
                "op": st.sampled_from(["subscribe", "auth", "ping", "pong", "unsubscribe", "x"]),
                "success": st.booleans() | st.none(),
                "ts": st.integers() | st.text(max_size=3),
                "data": st.none()
                | st.lists(st.integers(), max_size=2)
                | st.fixed_dictionaries(
                    {"symbol": st.sampled_from(["BTCUSDT", "", 5])},
                    optional={"markPrice": st.sampled_from(["1", "0", "", "-1", "1e9", "nan", None, 7])},
                ),
            },
        ),
        max_size=6,
    )
)
@settings(deadline=None)
def test_no_frame_raises(frames: list[dict[str, Any]]) -> None:
    link = linear()
    link.subscribe(["tickers.BTCUSDT"])
    for frame in frames:
        for output in link.receive(json.dumps(frame), 0):
            assert output is not None


def _frames(messages: list[Any]) -> list[str]:
    flat = [one for message in messages for one in (message if isinstance(message, list) else [message])]
    return [json.dumps(one) for one in flat]


@needs_recordings
def test_recorded_tickers() -> None:
    marks = {}
    for recording in recordings("bybit", "ws-tickers"):
        link = linear()
        output = [one for frame in _frames(recording.messages()) for one in link.receive(frame, 0)]
        marks[recording.path.stem.rpartition("__")[2]] = [value for value, _ in _prices(output)]
    assert marks == {
        "Subscriptions_V5_Linear_Ticker": ["17217.33"],
        "Subscriptions_V5_Option_Ticker": [],
        "Subscriptions_V5_Spot_Ticker": [],
        "ws_ticker_linear": ["17217.33"],
        # an option, BTCUSDT with its delta, BTCPERP and BTCUSD, whose deltas leave the mark as it was
        "wsTicker": ["3502.0715721", "61875.25", "61875.06", "61943.58", "61894.00"],
    }


@needs_recordings
def test_no_recording_raises() -> None:
    seen = 0
    for recording in recordings("bybit"):
        link = linear()
        for frame in _frames(recording.messages()):
            link.receive(frame, 0)
            seen += 1
    assert seen >= 60
