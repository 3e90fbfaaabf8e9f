"""The public link: marks, funding rates, currencies, and a contract table that is asked rarely."""

from __future__ import annotations

import json
from typing import Any

import pytest

from exchanges.aster import VENUE, tables
from exchanges.aster.public import PublicLink
from exchanges.errors import ProtocolViolation
from exchanges.events import CurrencyPrice, FundingRate, Instrument, Price
from exchanges.venue import Ask, Heard, Malformed, Output, Pong, Subscribed, SubscribeRefused
from tests.exchanges.aster.samples import ENDPOINTS, RECORDED_MARK, answer, events, public
from tests.recordings import needs_recordings, recordings


def table(*symbols: str) -> dict[str, Any]:
    rows = [
        {"symbol": symbol, "contractType": "PERPETUAL", "baseAsset": symbol[:-4], "quoteAsset": "USDT", "marginAsset": "USDT",
         "status": "TRADING", "filters": []}
        for symbol in symbols
    ]  # fmt: skip
    return {"symbols": rows}


def ready(*symbols: str, at: int = 100) -> PublicLink:
    link = public()
    answer(link, link.bootstrap()[0], table(*symbols or ("BTCUSDT", "ETHUSDT")), at)
    return link


def mark(symbol: str = "BTCUSDT", at: int = 1754660466000, **fields: Any) -> str:
    return json.dumps({**json.loads(RECORDED_MARK), "s": symbol, "E": at, **fields})


def test_a_recorded_mark_is_a_price_and_a_funding_rate() -> None:
    heard, price, rate = public().receive(RECORDED_MARK, 1)
    assert heard == Heard(topics=("btcusdt@markPrice@1s",))
    assert isinstance(price, Price)
    assert isinstance(rate, FundingRate)
    assert (price.symbol, price.value, price.at, price.kind) == ("BTCUSDT", "116809.60000000", 1754660466000, "mark")
    assert (rate.rate, rate.next_at) == ("0.00010000", 1754668800000), "+: longs pay"


def test_a_funding_rate_is_told_where_it_changed() -> None:
    link = public()
    counts = [
        sum(isinstance(output, FundingRate) for output in link.receive(frame, 1))
        for frame in (
            mark(),
            mark(p="116810"),
            mark(r="0.0002"),
            mark(r="0.0002", T=1754697600000),
            mark("ETHUSDT", r="0.0002"),
        )
    ]
    assert counts == [1, 0, 1, 1, 1]


def test_combined_frames_are_read_too() -> None:
    combined = json.dumps({"stream": "btcusdt@markPrice@1s", "data": json.loads(RECORDED_MARK)})
    assert public().receive(combined, 1) == public().receive(RECORDED_MARK, 1)


@needs_recordings
def test_recorded_frames() -> None:
    (recording,) = recordings("aster", "ws-markPrice")
    outputs = [each for frame in recording.messages()[0] for each in public().receive(json.dumps(frame), 1)]
    assert [type(event) for event in events(outputs)] == [Price, FundingRate]


def test_topics_are_one_stream_a_symbol_whatever_wants_it() -> None:
    link = ready()
    assert link.price_topics(["BTCUSDT", "ETHUSDT"]) == ("btcusdt@markPrice@1s", "ethusdt@markPrice@1s")
    assert link.price_topics(["BTCUSDT"], ["BTC", "USDT", "EUR"]) == ("btcusdt@markPrice@1s",)


def test_a_currency_is_priced_by_the_index_of_its_contract() -> None:
    link = ready()
    link.price_topics([], ["BTC", "USDT"])
    (price,) = [output for output in link.receive(mark(), 1) if isinstance(output, CurrencyPrice)]
    assert (price.ccy, price.usd) == ("BTC", "116836.93534884")


def test_a_subscription_is_confirmed_and_watched() -> None:
    link = ready()
    (frame,) = link.subscribe(["btcusdt@markPrice@1s"])
    sent = json.loads(frame)
    assert sent["params"] == ["btcusdt@markPrice@1s"]
    assert link.watch() == {"btcusdt@markPrice@1s": tables.MARK_SILENT_S}
    confirmed = link.receive(json.dumps({"result": None, "id": sent["id"]}), 200)
    assert confirmed == [Subscribed(topics=("btcusdt@markPrice@1s",))]
    link.unsubscribe(["btcusdt@markPrice@1s"])
    assert link.watch() == {}


@pytest.mark.parametrize(
    "form", [{"code": 2, "msg": "Invalid request"}, {"error": {"code": 2, "msg": "Invalid request"}}]
)
def test_a_refused_subscription(form: dict[str, Any]) -> None:
    link = ready()
    sent = json.loads(link.subscribe(["btcusdt@markPrice@1s"])[0])
    (refused,) = link.receive(json.dumps({**form, "id": sent["id"]}), 200)
    assert isinstance(refused, SubscribeRefused)
    assert (refused.topics, refused.permanent, link.watch()) == (("btcusdt@markPrice@1s",), False, {})


def test_topics_beyond_what_a_connection_holds_are_refused_and_not_sent() -> None:
    link = ready()
    topics = [f"s{number}usdt@markPrice@1s" for number in range(tables.TOPICS_PER_CONNECTION + 2)]
    frames = link.subscribe(topics)
    assert sum(len(json.loads(frame)["params"]) for frame in frames) == tables.TOPICS_PER_CONNECTION
    refused = [output for output in link.receive(mark(), 200) if isinstance(output, SubscribeRefused)]
    assert [each.topics for each in refused] == [(topic,) for topic in topics[-2:]]
    link.unsubscribe(topics[:1])
    assert len(link.subscribe(topics[-1:])) == 1


def test_the_contract_table_is_asked_once_for_all_connections() -> None:
    make = VENUE.public_links("live", ENDPOINTS)["public"]
    first = make()
    assert not first.ready
    (question,) = first.bootstrap()
    assert VENUE.is_public(question)
    assert not question.signed
    found = first.answer(question, json.dumps(table("BTCUSDT")).encode(), 1, 2)
    assert [type(each) for each in found] == [Instrument]
    second = make()
    assert second.ready
    assert second.bootstrap() == []


def asks(outputs: list[Output]) -> int:
    return sum(isinstance(output, Ask) for output in outputs)


def test_the_contract_table_is_refreshed_after_hours_and_sooner_for_a_new_symbol() -> None:
    link = ready("BTCUSDT", at=100)
    link.price_topics(["BTCUSDT"])
    assert [asks(link.receive(mark(), at)) for at in (200, tables.INSTRUMENTS_MS, 100 + tables.INSTRUMENTS_MS)] == [
        0,
        0,
        1,
    ]
    link = ready("BTCUSDT", at=100)
    link.price_topics(["NEWUSDT"])
    times = (200, 100 + tables.NEW_SYMBOL_MS, 200 + tables.NEW_SYMBOL_MS)
    assert [asks(link.receive(mark(), at)) for at in times] == [0, 1, 0]


@pytest.mark.parametrize("body", [{"symbols": []}, {}, {"symbols": [{"symbol": "X"}]}, b"<html>"])
def test_a_table_without_contracts_is_no_answer(body: Any) -> None:
    link = public()
    with pytest.raises(ProtocolViolation):
        answer(link, link.bootstrap()[0], body)
    assert not link.ready


@pytest.mark.parametrize("price", ["0", "-1", "NaN", "", "1e400"])
def test_a_mark_that_is_no_price_is_not_one(price: str) -> None:
    outputs = public().receive(mark(p=price), 1)
    (told,) = outputs
    assert isinstance(told, Malformed), "nor is the mark heard of"


def test_heartbeats_and_errors_without_a_question() -> None:
    link = public()
    number = json.loads(link.ping())["id"]
    assert link.receive(json.dumps({"result": False, "id": number}), 1) == [Pong()]
    (output,) = link.receive('{"code":3,"msg":"Invalid JSON: expected value at line 1 column 1"}', 2)
    assert output.code == "3"  # type: ignore[union-attr]


@pytest.mark.parametrize("frame", ["", "{}", "[1]", '{"e":"depthUpdate"}', '{"stream":"x","data":[]}', b"\xff"])
def test_nonsense_is_malformed(frame: Any) -> None:
    (output,) = public().receive(frame, 1)
    assert isinstance(output, Malformed)


def test_the_market_is_no_account() -> None:
    link = public()
    assert link.audit() == link.state() == link.history(1, []) == link.find_order("BTCUSDT", "1") == []
    assert link.free("USDT") == []
    with pytest.raises(ProtocolViolation):
        link.login(1)
