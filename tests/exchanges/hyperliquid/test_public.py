"""The public connection: marks and their universes, contexts of coins that are held, prices of tokens, contracts."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest

from exchanges.errors import ProtocolViolation
from exchanges.events import CurrencyPrice, FundingRate, Instrument, MarginTiers, Price
from exchanges.hyperliquid import build, tables
from exchanges.hyperliquid.public import PublicLink
from exchanges.hyperliquid.session import Known
from exchanges.venue import Ask, Heard, HttpRequest, Malformed, Notice
from tests.exchanges.hyperliquid.samples import (
    answer,
    frame,
    meta,
    only,
    public,
    questions,
    row,
)
from tests.recordings import needs_recordings, recordings

VECTOR = "q1ZyCnFWsqpWyk0syg6oULJSsjQ3NTDQM1Wq1VFyDfFAkTI2MzXQMwJLVVRWWfmFuTiiyBuamOoZKdXWAgA="
BTC = row("BTC", "1.0", "100.0")
GOLD = row("xyz:GOLD", "-2.0", "10.0")


# --- Public --------------------------------------------------------------------------------------------------------------


def marks(outputs: Sequence[object]) -> dict[str, str]:
    return {each.symbol: each.value for each in only(Price, outputs) if each.kind == "mark"}


def test_public_is_ready_with_its_first_marks_and_its_contracts() -> None:
    link = public()
    assert [json.loads(topic) for topic in link.topics()] == [{"type": "fastAssetCtxs"}]
    assert [build.question(request) for request in link.bootstrap()] == [{"type": "allPerpMetas"}, {"type": "spotMeta"}]
    answer(link, "allPerpMetas", [meta("BTC")])
    assert not link.ready
    assert marks(link.receive(frame("fastAssetCtxs", VECTOR), 1)) == {
        "BTC": "97500.5",
        "ETH": "3650.25",
        "xyz:NVDA": "145.2",
    }
    assert link.ready


def test_a_later_public_connection_waits_for_marks_alone() -> None:
    known = Known()
    answer(PublicLink("wss://host/ws", "live", known), "allPerpMetas", [meta("BTC")])
    link = PublicLink("wss://host/ws", "live", known)
    assert [build.question(request)["type"] for request in link.bootstrap()] == ["allPerpMetas", "spotMeta"]
    link.subscribe(link.topics())
    link.receive(frame("fastAssetCtxs", VECTOR), 1)
    assert link.ready


def test_an_unreadable_first_frame_does_not_make_ready() -> None:
    link = public()
    answer(link, "allPerpMetas", [meta("BTC")])
    (bad,) = link.receive(frame("fastAssetCtxs", "####"), 1)
    assert isinstance(bad, Malformed)
    assert not link.ready


def test_contracts_of_all_dexes_at_once() -> None:
    outputs = answer(public(), "allPerpMetas", [meta("BTC", "kPEPE"), meta("xyz:GOLD", token=360)])
    found = {each.symbol: each.unified_symbol for each in only(Instrument, outputs)}
    assert found == {"BTC": "BTC/USDC:USDC", "kPEPE": "KPEPE/USDC:USDC", "xyz:GOLD": "XYZ-GOLD/USDH:USDH"}
    assert [each.key for each in only(MarginTiers, outputs)] == [":20", "xyz:20"]


def test_a_collateral_token_without_a_name_is_looked_up_before_its_contracts_are_shown() -> None:
    link = public("testnet")
    first = answer(link, "allPerpMetas", [meta("BTC"), meta("xyz:GOLD", token=360)])
    assert [each.symbol for each in only(Instrument, first)] == ["BTC"]
    assert questions(first) == [{"type": "spotMeta"}]
    then = answer(link, "spotMeta", {"tokens": [{"name": "USDH", "index": 360, "szDecimals": 2}], "universe": []})
    assert [each.unified_symbol for each in only(Instrument, then)] == ["XYZ-GOLD/USDH:USDH"]


def test_one_coins_context() -> None:
    link = public()
    assert marks(link.receive(frame("activeAssetCtx", {"coin": "BTC", "ctx": {"markPx": "85814.0"}}), 1)) == {
        "BTC": "85814.0"
    }
    assert link.receive(frame("activeAssetCtx", {"coin": "BTC", "ctx": {"markPx": None, "midPx": "5"}}), 2) == []
    assert link.receive(frame("activeSpotAssetCtx", {"coin": "@107", "ctx": {"markPx": "1"}}), 3) == []


def test_mids_are_no_marks() -> None:
    assert public().receive(frame("allMids", {"mids": {"BTC": "85801.5"}}), 1) == []


@pytest.mark.parametrize("channel", ["assetCtxs", "allDexsAssetCtxs"])
def test_positional_marks_need_a_universe_that_fits(channel: str) -> None:
    def ctxs(*values: str) -> str:
        rows = [{"markPx": value} for value in values]
        return frame(channel, {"dex": "xyz", "ctxs": rows} if channel == "assetCtxs" else {"ctxs": [["xyz", rows]]})

    link = public()
    notice, ask = link.receive(ctxs("1.5", "2.5"), 1)
    assert isinstance(notice, Notice)
    assert notice.code == "universe_unknown"
    assert questions([ask]) == [{"type": "meta", "dex": "xyz"}]
    answer(link, "meta", meta("xyz:A", "xyz:B"), dex="xyz")
    assert marks(link.receive(ctxs("1.5", "2.5"), 2)) == {"xyz:A": "1.5", "xyz:B": "2.5"}
    # A new listing: three contexts for two coins. None is used, or every coin behind it could get another's mark.
    outputs = link.receive(ctxs("1.5", "2.5", "3.5"), 20_000)
    assert marks(outputs) == {}
    assert questions(outputs) == [{"type": "meta", "dex": "xyz"}]
    assert only(Ask, link.receive(ctxs("1.5", "2.5", "3.5"), 21_000)) == []


def test_meta_with_contexts_gives_both() -> None:
    outputs = answer(public(), "metaAndAssetCtxs", [meta("BTC", "ETH"), [{"markPx": "1.0"}, {"markPx": None}]])
    assert [each.symbol for each in only(Instrument, outputs)] == ["BTC", "ETH"]
    assert marks(outputs) == {"BTC": "1.0"}


def test_public_answers_that_nothing_reads_are_passed_over() -> None:
    assert answer(public(), "perpDexs", [None, {"name": "xyz"}]) == []
    assert answer(public(), "exchangeStatus", {"time": 1}) == []


@pytest.mark.parametrize("body", ["null", "[null]", '[{"universe":[{}]}]', '{"universe":[]}', "x"])
def test_contracts_that_cannot_be_read_are_refused(body: str) -> None:
    with pytest.raises(ProtocolViolation):
        public().answer(HttpRequest(path='{"type":"allPerpMetas"}', method="POST"), body.encode(), 1, 2)


@needs_recordings
def test_captured_positional_marks_of_all_dexs() -> None:
    (source,) = recordings("hyperliquid", "ws-allDexsAssetCtxs")
    (found,) = source.messages()
    dexes = found["data"]["ctxs"]
    link = public()
    assert len(only(Ask, link.receive(json.dumps(found), 1))) == len(dexes) == 9
    for dex, ctxs in dexes:
        prefix = f"{dex}:" if dex else ""
        answer(link, "meta", meta(*(f"{prefix}C{at}" for at in range(len(ctxs)))), dex=dex)
    outputs = link.receive(json.dumps(found), 2)
    assert len(marks(outputs)) == sum(len(ctxs) for _, ctxs in dexes) == 412
    assert not only(Malformed, outputs)
    assert marks(outputs)["C0"] == "77562.0"


# --- Contexts of what is held ----------------------------------------------------------------------------------------------

SPOT_META = {
    "tokens": [{"name": name, "index": at} for name, at in (("USDC", 0), ("HYPE", 150), ("USDH", 360), ("ODD", 7))],
    "universe": [
        {"name": "@107", "tokens": [150, 0], "index": 107},
        {"name": "@230", "tokens": [360, 0], "index": 230},
        {"name": "@231", "tokens": [360, 0], "index": 231},
        {"name": "@9", "tokens": [7, 360], "index": 9},
    ],
}  # fmt: skip
HOUR = 3_600_000


def coins(topics: Sequence[str]) -> list[str]:
    assert all(json.loads(topic)["type"] == "activeAssetCtx" for topic in topics)
    return [json.loads(topic)["coin"] for topic in topics]


def test_prices_are_subscribed_for_coins_and_tokens_once_they_are_known() -> None:
    link = public()
    assert link.price_topics(["BTC"], ["HYPE"]) == ()
    answer(link, "allPerpMetas", [meta("BTC"), meta("xyz:GOLD")])
    answer(link, "spotMeta", SPOT_META)
    assert coins(link.price_topics(["BTC", "xyz:GOLD", "GONE", "BTC"], ["HYPE", "USDH", "USDC", "ODD"])) == [
        "@107", "@230", "BTC", "xyz:GOLD",
    ]  # fmt: skip


def test_contexts_are_bounded_and_the_tokens_come_first() -> None:
    many = [f"C{at}" for at in range(tables.MAX_CONTEXTS + 5)]
    link = public()
    answer(link, "allPerpMetas", [meta(*many)])
    answer(link, "spotMeta", SPOT_META)
    found = coins(link.price_topics(many, ["HYPE"]))
    assert (len(found), found[0]) == (tables.MAX_CONTEXTS, "@107")


def test_a_context_brings_mark_index_and_the_rate_of_the_next_full_hour() -> None:
    ctx = {"markPx": "85814.0", "oraclePx": "85828.0", "funding": "-0.0000125", "midPx": None, "premium": None}
    mark, index, rate = public().receive(frame("activeAssetCtx", {"coin": "BTC", "ctx": ctx}), 5 * HOUR + 1)
    assert mark == Price(venue="hyperliquid", env="live", symbol="BTC", value="85814.0")
    assert index == Price(venue="hyperliquid", env="live", symbol="BTC", value="85828.0", kind="index")
    assert rate == FundingRate(
        venue="hyperliquid", env="live", symbol="BTC", rate="-0.0000125", next_at=6 * HOUR, paid_on="index"
    )


def test_a_token_is_priced_by_its_mid_against_usdc_and_by_its_mark_without_a_book() -> None:
    link = public()
    ctx = {"coin": "@107", "ctx": {"midPx": "41.3315", "markPx": "41.328"}}
    assert link.receive(frame("activeSpotAssetCtx", ctx), 1) == []  # nothing says yet which token that is
    answer(link, "spotMeta", SPOT_META)
    assert link.receive(frame("activeSpotAssetCtx", ctx), 1) == [
        CurrencyPrice(venue="hyperliquid", env="live", ccy="HYPE", usd="41.3315", quote="USDC")
    ]
    (priced,) = link.receive(
        frame("activeSpotAssetCtx", {"coin": "@107", "ctx": {"midPx": None, "markPx": "41.328"}}), 2
    )
    assert priced == CurrencyPrice(venue="hyperliquid", env="live", ccy="HYPE", usd="41.328", quote="USDC")
    assert link.receive(frame("activeSpotAssetCtx", {"coin": "@107", "ctx": {"midPx": None, "markPx": "0.0"}}), 3) == []


def test_a_coin_that_is_newly_listed_makes_the_contracts_be_asked_once() -> None:
    link = public()
    answer(link, "allPerpMetas", [meta("BTC", "ETH")], at=1)
    first = link.receive(frame("fastAssetCtxs", VECTOR), 20_000)
    assert questions(first) == [{"type": "allPerpMetas"}]
    answer(link, "allPerpMetas", [meta("BTC", "ETH")], at=30_000)
    assert questions(link.receive(frame("fastAssetCtxs", VECTOR), 60_000)) == []


def test_marks_are_watched() -> None:
    link = public()
    assert list(link.watch()) == list(link.topics())
    assert only(Heard, link.receive(frame("fastAssetCtxs", VECTOR), 1)) == [Heard(topics=link.topics())]


@needs_recordings
def test_captured_spot_markets_price_their_tokens() -> None:
    (source,) = recordings("hyperliquid", "rest-spotMetaAndAssetCtxs", "captured")
    (spot_meta, ctxs) = source.messages()[0]
    link = public()
    answer(link, "spotMeta", spot_meta)
    (hype,) = coins(link.price_topics([], ["HYPE"]))
    ctx = next(each for each in ctxs if each["coin"] == hype)
    assert link.receive(frame("activeSpotAssetCtx", {"coin": hype, "ctx": ctx}), 1) == [
        CurrencyPrice(venue="hyperliquid", env="live", ccy="HYPE", usd=ctx["midPx"], quote="USDC")
    ]
    assert hype == "@107"
