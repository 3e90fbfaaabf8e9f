"""The public connection: marks, contracts, and the questions that wanted symbols raise."""

from __future__ import annotations

import json

import pytest

from exchanges.errors import ProtocolViolation
from exchanges.events import CollateralTier, CollateralTiers, FundingRate, Instrument, MarginTiers, Price
from exchanges.okx import build, tables
from exchanges.okx.public import PublicLink
from exchanges.venue import Ask, Heard, HttpRequest, Malformed, Notice, Output
from tests.exchanges.okx.samples import T0, envelope, frame, instrument, only, public, said

FUTURE = instrument("BTC-USDT-261225", instType="FUTURES")


def loaded(*rows: dict[str, str]) -> PublicLink:
    """Return a link that has its contracts."""
    link = public()
    for request in link.bootstrap():
        inst_type = request.path.rpartition("=")[2]
        link.answer(request, envelope(*(row for row in rows if row["instType"] == inst_type)), T0, T0)
    return link


def mark(symbol: str = "BTC-USDT-SWAP", price: str = "60000.5") -> str:
    row = {"instType": "SWAP", "instId": symbol, "markPx": price, "ts": str(T0)}
    return frame("mark-price", row, event=None, instId=symbol)


def paths(outputs: list[Output]) -> list[str]:
    return [each.request.path for each in only(Ask, outputs)]


def tiers_paths(inst_type: str, family: str) -> list[str]:
    return [request.path for request in build.tiers_requests(inst_type, [family])]


def test_a_mark() -> None:
    assert public().receive(mark(), 0) == [
        Price(venue="okx", env="live", symbol="BTC-USDT-SWAP", value="60000.5", at=T0),
        Heard(topics=("mark-price:BTC-USDT-SWAP",)),
    ]


@pytest.mark.parametrize("price", ["", "x", None, 5, "0", "0.00", "0e5", "-1"])
def test_a_mark_that_is_none_is_told(price: str) -> None:
    (output,) = said(public().receive(mark(price=price), 0))
    assert isinstance(output, Malformed)
    assert "markPx" in output.what


def test_a_mark_that_is_none_costs_its_row_alone() -> None:
    request = HttpRequest(path="/api/v5/public/mark-price?instType=SWAP")
    rows = [{"instId": name, "markPx": price, "ts": "5"} for name, price in (("A", "0"), ("B", "1e-3"))]
    bad, price = public().answer(request, envelope(*rows), T0, T0)
    assert isinstance(bad, Malformed)
    assert isinstance(price, Price)
    assert (price.symbol, price.value) == ("B", "1e-3")


def test_one_topic_keeps_the_connection_open() -> None:
    link = public()
    assert link.topics() == ("mark-price:BTC-USDT-SWAP",)
    (sent,) = link.unsubscribe(["mark-price:BTC-USDT-SWAP", "mark-price:ETH-USDT-SWAP"])
    assert json.loads(sent)["args"] == [{"channel": "mark-price", "instId": "ETH-USDT-SWAP"}]


def test_contracts_of_both_types_make_it_ready() -> None:
    link = public()
    swap, future = link.bootstrap()
    assert (swap.path, future.path) == (
        "/api/v5/public/instruments?instType=SWAP",
        "/api/v5/public/instruments?instType=FUTURES",
    )
    out = link.answer(swap, envelope(instrument()), T0, T0)
    assert [each.symbol for each in only(Instrument, out)] == ["BTC-USDT-SWAP"]
    assert not link.ready
    link.answer(future, envelope(FUTURE), T0, T0)
    assert link.ready


def test_markets_without_a_contract_are_told() -> None:
    link = public()
    bare = instrument("NEW-USDT-SWAP", ctVal="", ctValCcy="")
    opening = bare | {"instId": "SOON-USDT-SWAP", "state": "preopen"}
    out = link.answer(link.bootstrap()[0], envelope(instrument(), bare, opening), T0, T0)
    assert len(only(Instrument, out)) == 1
    (told,) = only(Notice, out)
    assert "NEW-USDT-SWAP" in told.what
    assert "SOON" not in told.what


def test_an_unreadable_contract_is_told_and_the_rest_stands() -> None:
    link = public()
    out = link.answer(link.bootstrap()[0], envelope(instrument(), {"instId": 5}), T0, T0)
    assert (len(only(Instrument, out)), len(only(Malformed, out))) == (1, 1)
    with pytest.raises(ProtocolViolation):
        public().answer(link.bootstrap()[0], envelope({"instId": 5}), T0, T0)


def test_tiers_are_asked_when_a_family_is_first_wanted() -> None:
    link = loaded(instrument(), instrument("ETH-USDT-SWAP"), FUTURE)
    link.price_topics(["BTC-USDT-SWAP", "BTC-USDT-261225"])
    assert paths(link.receive(mark(), 0)) == tiers_paths("FUTURES", "BTC-USDT") + tiers_paths("SWAP", "BTC-USDT")
    link.price_topics(["BTC-USDT-SWAP", "ETH-USDT-SWAP"])
    assert paths(link.receive("pong", 0)) == tiers_paths("SWAP", "ETH-USDT")
    assert paths(link.receive(mark(), 0)) == []


def test_nothing_is_asked_before_the_contracts_are_known() -> None:
    link = public()
    link.price_topics(["BTC-USDT-SWAP"])
    assert paths(link.receive(mark(), 0)) == []
    swap, future = link.bootstrap()
    link.answer(swap, envelope(instrument()), T0, T0)
    assert paths(link.answer(future, envelope(), T0, T0)) == tiers_paths("SWAP", "BTC-USDT")


def test_a_symbol_listed_later_has_contracts_asked_again_once() -> None:
    link = loaded(instrument())
    link.price_topics(["NEW-USDT-SWAP", "NEW-USDT-261225", "BTC-USD-261225-90000-C", "BTC-USDT"])
    asked = link.receive(mark(), 0)
    assert paths(asked) == [build.instruments_request(each).path for each in ("FUTURES", "SWAP")]
    swap = only(Ask, asked)[1].request
    out = link.answer(swap, envelope(instrument(), instrument("NEW-USDT-SWAP")), T0, T0)
    assert paths(out) == tiers_paths("SWAP", "NEW-USDT")
    assert paths(link.receive(mark(), 0)) == []


def test_tiers_of_each_margin_mode() -> None:
    cross, isolated = build.tiers_requests("SWAP", ["BTC-USDT"])
    row = {"tier": "1", "minSz": "0", "maxSz": "1000", "mmr": "0.004", "maxLever": "100", "instFamily": "BTC-USDT"}
    for request, mode in ((cross, "cross"), (isolated, "isolated")):
        (found,) = public().answer(request, envelope(row), T0, T0)
        assert isinstance(found, MarginTiers)
        assert (found.key, found.margin_mode, found.tiers[0].rate) == ("SWAP:BTC-USDT", mode, "0.004")
    request = cross
    with pytest.raises(ProtocolViolation, match="mmr"):
        public().answer(request, envelope(row | {"mmr": ""}), T0, T0)


def test_tiers_are_asked_again_after_some_hours() -> None:
    link = loaded(instrument())
    link.price_topics(["BTC-USDT-SWAP"])
    assert paths(link.receive(mark(), T0)) == tiers_paths("SWAP", "BTC-USDT")
    assert paths(link.receive(mark(), T0 + tables.TABLES_EVERY_MS - 1)) == []
    assert paths(link.receive(mark(), T0 + tables.TABLES_EVERY_MS)) == tiers_paths("SWAP", "BTC-USDT")
    assert paths(link.receive(mark(), T0 + tables.TABLES_EVERY_MS)) == []


def discount(ccy: str = "BTC", *tiers: tuple[str, str, str], least: str = "0") -> dict[str, object]:
    rows = [
        {"tier": str(number), "minAmt": low, "maxAmt": high, "discountRate": rate, "liqPenaltyRate": "0.02"}
        for number, (low, high, rate) in enumerate(tiers or (("0", "20", "0.98"), ("20", "25", "0.9775")), 1)
    ]
    return {"ccy": ccy, "amt": "0", "colRes": "0", "minDiscountRate": least, "details": rows}


def test_discount_rates_are_asked_once_a_currency_is_wanted_and_told_for_those_alone() -> None:
    link = loaded(instrument())
    assert paths(link.receive(mark(), T0)) == []
    link.price_topics([], ["BTC"])
    asked = link.receive(mark(), T0)
    assert paths(asked) == [tables.DISCOUNTS_PATH]
    request = only(Ask, asked)[0].request
    table = envelope(discount(), discount("USDT", ("0", "", "1")), {"ccy": "OLD", "discountInfo": []})
    out = link.answer(request, table, T0, T0)
    assert only(CollateralTiers, out) == [
        CollateralTiers(
            venue="okx",
            env="live",
            ccy="BTC",
            tiers=(
                CollateralTier(lower="0", rate="0.98"),
                CollateralTier(lower="20", rate="0.9775"),
                CollateralTier(lower="25", rate="0"),  # beyond the last tier minDiscountRate counts
            ),
        )
    ]
    assert len(only(Malformed, out)) == 1
    link.price_topics([], ["BTC", "USDT", "OLD"])
    (usdt,) = only(CollateralTiers, link.receive(mark(), T0 + 1))
    assert (usdt.ccy, usdt.tiers) == ("USDT", (CollateralTier(lower="0", rate="1"),))
    assert only(CollateralTiers, link.receive(mark(), T0 + 2)) == []


def test_discount_rates_are_asked_again_and_told_where_they_changed() -> None:
    link = loaded(instrument())
    link.price_topics([], ["BTC", "USDT"])
    request = only(Ask, link.receive(mark(), T0))[0].request
    link.answer(request, envelope(discount(), discount("USDT", ("0", "", "1"))), T0, T0)
    later = T0 + tables.TABLES_EVERY_MS
    assert paths(link.receive(mark(), later)) == [tables.DISCOUNTS_PATH]
    changed = discount("BTC", ("0", "10", "0.9"), least="0.5")
    (told,) = only(CollateralTiers, link.answer(request, envelope(changed), later, later))
    assert [(tier.lower, tier.rate) for tier in told.tiers] == [("0", "0.9"), ("10", "0.5")]
    with pytest.raises(ProtocolViolation):
        link.answer(request, envelope({"ccy": "BTC"}), later, later)


def test_marks_by_rest() -> None:
    request = HttpRequest(path="/api/v5/public/mark-price?instType=SWAP")
    (price,) = public("demo").answer(request, envelope({"instId": "A-USDT-SWAP", "markPx": "2", "ts": "5"}), T0, T0)
    assert price == Price(venue="okx", env="demo", symbol="A-USDT-SWAP", value="2", at=5)


def test_a_changed_contract_is_taken_from_the_stream() -> None:
    (found,) = said(public().receive(frame("instruments", instrument(ctVal="0.1"), event=None, instType="SWAP"), 0))
    assert isinstance(found, Instrument)
    assert found.contract_size == "0.1"


# --- which topics, and how long they can be quiet ----------------------------------------------------------------------


def test_perpetuals_pay_funding_and_expiry_futures_do_not() -> None:
    link = loaded(
        instrument(),
        FUTURE | {"instId": "BTC-USDT-261225"},
        FUTURE | {"instId": "SPX-USDT-301231", "ruleType": "xperp"},
    )
    topics = link.price_topics(["BTC-USDT-SWAP", "BTC-USDT-261225", "SPX-USDT-301231"])
    assert topics == (
        "mark-price:BTC-USDT-SWAP",
        "mark-price:BTC-USDT-261225",
        "mark-price:SPX-USDT-301231",
        "funding-rate:BTC-USDT-SWAP",
        "funding-rate:SPX-USDT-301231",
        "instruments:SWAP",
        "instruments:FUTURES",
    )


def test_the_arguments_of_topics() -> None:
    (sent,) = public().subscribe(["funding-rate:BTC-USDT-SWAP", "index-tickers:BTC-USD", "instruments:SWAP"])
    assert json.loads(sent)["args"] == [
        {"channel": "funding-rate", "instId": "BTC-USDT-SWAP"},
        {"channel": "index-tickers", "instId": "BTC-USD"},
        {"channel": "instruments", "instType": "SWAP"},
    ]


def test_funding_rates() -> None:
    row = {
        "instId": "BTC-USDT-SWAP",
        "fundingRate": "-0.00012",
        "fundingTime": str(T0 + 9),
        "nextFundingRate": "",
        "ts": str(T0),
    }
    out = public().receive(frame("funding-rate", row, event=None, instId="BTC-USDT-SWAP"), 0)
    assert out == [
        FundingRate(venue="okx", env="live", symbol="BTC-USDT-SWAP", rate="-0.00012", next_at=T0 + 9, at=T0),
        Heard(topics=("funding-rate:BTC-USDT-SWAP",)),
    ]


def test_prices_are_watched_and_those_that_rest_are_not() -> None:
    link = loaded(instrument(), instrument("ETH-USDT-SWAP"), FUTURE)
    link.price_topics(["ETH-USDT-SWAP"], ["USDT"])
    assert link.watch() == {
        "mark-price:BTC-USDT-SWAP": tables.MARK_SILENT_S,
        "mark-price:ETH-USDT-SWAP": tables.MARK_SILENT_S,
        "funding-rate:ETH-USDT-SWAP": tables.FUNDING_SILENT_S,
        "index-tickers:USDT-USD": tables.INDEX_SILENT_S,
    }
    # Documented: a mark comes every 10 s when it does not change, an index once a minute, a rate every 30 to 90 s.
    assert (tables.MARK_SILENT_S > 20, tables.INDEX_SILENT_S > 120, tables.FUNDING_SILENT_S > 180) == (True, True, True)
    halted = instrument("ETH-USDT-SWAP", state="suspend")
    link.receive(frame("instruments", halted, event=None, instType="SWAP"), 0)
    assert set(link.watch()) == {"mark-price:BTC-USDT-SWAP", "index-tickers:USDT-USD"}
    link.receive(frame("instruments", halted | {"state": "live"}, event=None, instType="SWAP"), 0)
    assert "mark-price:ETH-USDT-SWAP" in link.watch()


def test_a_symbol_that_is_wanted_no_more_is_asked_about_again_when_it_returns() -> None:
    link = loaded(instrument(), FUTURE)
    link.price_topics(["BTC-USDT-SWAP"])
    link.unsubscribe(["funding-rate:BTC-USDT-SWAP", "instruments:SWAP"])
    assert "BTC-USDT-SWAP" in link._wanted
    link.unsubscribe(["mark-price:BTC-USDT-SWAP"])
    assert "BTC-USDT-SWAP" not in link._wanted


def test_a_public_link_is_asked_nothing_about_accounts() -> None:
    link = public()
    assert [link.audit(), link.state(), link.history(0, []), link.find_order("X", "1"), link.prepare()] == [[]] * 5
    assert link.free("USDT") == []
    assert not link.polled
