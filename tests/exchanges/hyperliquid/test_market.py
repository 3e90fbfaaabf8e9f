"""Instruments, tiers and marks: names, rates, deductions, and the compressed feed."""

from __future__ import annotations

import base64
import json
import zlib
from contextlib import suppress
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchanges.errors import ProtocolViolation
from exchanges.events import Instrument, MarginTiers, Price
from exchanges.hyperliquid import market, tables, wire
from exchanges.venue import Malformed
from tests.exchanges.hyperliquid.samples import meta
from tests.recordings import needs_recordings, recordings

# The venue's documentation of fastAssetCtxs: base64 of raw DEFLATE.
VECTOR = "q1ZyCnFWsqpWyk0syg6oULJSsjQ3NTDQM1Wq1VFyDfFAkTI2MzXQMwJLVVRWWfmFuTiiyBuamOoZKdXWAgA="


def deflate(text: str) -> str:
    squeezer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return base64.b64encode(squeezer.compress(text.encode()) + squeezer.flush()).decode()


def prices(found: list[Price | Malformed]) -> dict[str, str]:
    return {each.symbol: each.value for each in found if isinstance(each, Price)}


def decoded(found: object) -> market.Meta:
    return wire.decode(market.Meta, json.dumps(found), "meta")


def tiers(*table: tuple[str, int]) -> MarginTiers:
    return market.margin_tiers(
        "live", ":56", [market.Tier(lower_bound=Decimal(lower), max_leverage=Decimal(top)) for lower, top in table]
    )


def test_the_documented_vector_of_the_compressed_feed() -> None:
    found = market.parse_fast("live", VECTOR)
    assert prices(found) == {"BTC": "97500.5", "ETH": "3650.25", "xyz:NVDA": "145.2"}
    assert {(each.kind, each.at, each.venue, each.env) for each in found if isinstance(each, Price)} == {
        ("mark", None, "hyperliquid", "live")
    }


def test_only_changed_keys_are_there_and_only_perpetuals_count() -> None:
    text = '{"BTC":{"midPx":"1"},"ETH":{"markPx":"2.50","midPx":null},"SOL":{},"XRP":{"markPx":null},"kBONK":{"markPx":0.5},'
    text += '"@107":{"markPx":"9"},"PURR/USDC":{"markPx":"9"},"#5":{"markPx":"9"},"+5":{"markPx":"9"}}'
    assert prices(market.parse_fast("live", deflate(text))) == {"ETH": "2.50", "kBONK": "0.5"}


@pytest.mark.parametrize("bad", ['"0"', '"0.00"', '"-1"', '"NaN"', '"1e5"', '""', '"x"', "[]", "true"])
def test_a_mark_that_is_no_price_costs_that_coin_alone(bad: str) -> None:
    found = market.parse_fast("live", deflate(f'{{"BTC":{{"markPx":"5"}},"BAD":{{"markPx":{bad}}}}}'))
    assert prices(found) == {"BTC": "5"}
    assert next(each.what for each in found if isinstance(each, Malformed)).startswith(
        "hyperliquid: 1 marks are no prices: BAD"
    )


def test_a_mark_that_is_no_text_is_no_price() -> None:
    ctxs = wire.decode(dict[str, market.AssetCtx], b'{"BTC":{"markPx":"\x80"}}', "ctxs")
    (bad,) = market.marks("live", ctxs)
    assert isinstance(bad, Malformed)


def test_a_frame_that_inflates_without_end_is_refused() -> None:
    bomb = deflate(" " * (tables.MAX_INFLATED_BYTES + 1) + "{}")
    assert len(bomb) < 20_000
    with pytest.raises(ProtocolViolation, match="more than"):
        market.inflate(bomb)


@pytest.mark.parametrize("text", ["", "not base64!", base64.b64encode(b"plain").decode(), VECTOR[:40]])
def test_what_is_not_the_compressed_form_is_refused(text: str) -> None:
    with pytest.raises(ProtocolViolation, match="fastAssetCtxs"):
        market.inflate(text)


@given(st.binary(max_size=200))
def test_no_bytes_at_all_do_more_than_be_refused(noise: bytes) -> None:
    with suppress(ProtocolViolation):
        assert not prices(market.parse_fast("live", base64.b64encode(noise).decode()))


def test_deductions_of_the_published_btc_table() -> None:
    low, high = tiers(("0.0", 40), ("150000000.0", 20)).tiers
    assert (low.lower, low.rate, low.deduction, low.max_leverage) == ("0.0", "0.0125", "0", "40")
    assert (high.lower, high.rate, high.deduction, high.max_leverage) == ("150000000.0", "0.025", "1875000", "20")


def test_deductions_where_the_rate_has_no_end() -> None:
    _, high = tiers(("0.0", 25), ("100000000.0", 15)).tiers
    assert high.rate == "0.03333333333333333333333333333"
    assert Decimal(high.deduction) == pytest.approx(
        Decimal(100_000_000) * (Decimal(1) / 30 - Decimal(1) / 50), rel=Decimal("1e-24")
    )


@given(st.lists(st.integers(1, 100), min_size=2, max_size=6, unique=True))
def test_maintenance_is_continuous_where_tiers_meet(tops: list[int]) -> None:
    table = tiers(*((f"{at * 1000}.0", top) for at, top in enumerate(sorted(tops, reverse=True))))
    for below, above in zip(table.tiers, table.tiers[1:], strict=False):
        edge = Decimal(above.lower)
        left = edge * Decimal(below.rate) - Decimal(below.deduction)
        right = edge * Decimal(above.rate) - Decimal(above.deduction)
        assert abs(left - right) < Decimal("1e-18")


@pytest.mark.parametrize(
    "table", [[], [("1.0", 5)], [("0.0", 5), ("0.0", 3)], [("0.0", 0)], [("0", 5), ("9", 4), ("8", 3)]]
)
def test_a_table_that_does_not_ascend_from_zero_is_refused(table: list[tuple[str, int]]) -> None:
    with pytest.raises(ProtocolViolation, match="ascending"):
        tiers(*table)


@pytest.mark.parametrize(
    ("dex", "coin", "unified", "base", "multiplier"),
    [
        ("", "BTC", "BTC/USDC:USDC", "BTC", "1"),
        ("", "kPEPE", "KPEPE/USDC:USDC", "PEPE", "1000"),
        ("", "KAS", "KAS/USDC:USDC", "KAS", "1"),
        ("xyz", "xyz:XYZ100", "XYZ-XYZ100/USDC:USDC", "XYZ-XYZ100", "1"),
    ],
)
def test_names(dex: str, coin: str, unified: str, base: str, multiplier: str) -> None:
    *_, found = market.parse_meta("live", dex, "USDC", decoded(meta(coin)))
    assert isinstance(found, Instrument)
    assert (found.symbol, found.unified_symbol, found.base, found.base_multiplier) == (coin, unified, base, multiplier)
    assert (found.contract_size, found.contract_ccy, found.kind, found.contract_type) == ("1", base, "perp", "linear")
    assert (found.max_leverage, found.tiers_key, found.status) == ("20", f"{dex}:20", "live")


def test_tables_below_fifty_are_implied_by_their_id() -> None:
    found = meta("SOL", "BTC", "NEW")
    found["universe"][1]["marginTableId"] = 56
    found["universe"][2]["marginTableId"] = 77
    tiered = [{"lowerBound": "0.0", "maxLeverage": 40}, {"lowerBound": "150000000.0", "maxLeverage": 20}]
    found["marginTables"] = [[56, {"description": "tiered 40x", "marginTiers": tiered}]]
    events = market.parse_meta("live", "", "USDC", decoded(found))
    tables_found = {each.key: each for each in events if isinstance(each, MarginTiers)}
    assert {key: len(each.tiers) for key, each in tables_found.items()} == {":20": 1, ":56": 2}
    assert tables_found[":20"].tiers[0].rate == "0.025"
    keys = {each.symbol: each.tiers_key for each in events if isinstance(each, Instrument)}
    assert keys == {"SOL": ":20", "BTC": ":56", "NEW": None}
    assert "77" in next(each.what for each in events if isinstance(each, Malformed))


def test_delisted_coins_keep_their_place_and_say_so() -> None:
    found = meta("OLD")
    found["universe"][0]["isDelisted"] = True
    *_, old = market.parse_meta("live", "", "USDC", decoded(found))
    assert isinstance(old, Instrument)
    assert old.status == "delisted"


def test_dexes_of_all_metas_are_named_by_their_coins() -> None:
    metas = [decoded(meta("BTC")), decoded(meta("xyz:GOLD")), decoded(meta()), decoded(meta("flx:OIL"))]
    assert [dex for dex, _ in market.by_dex(metas)] == ["", "xyz", "flx"]


@needs_recordings
def test_captured_metas_become_instruments() -> None:
    coins = 0
    for source in recordings("hyperliquid", "rest-meta"):
        for found in source.messages():
            events = market.parse_meta("live", "", "USDC", decoded(found))
            assert [each.symbol for each in events if isinstance(each, Instrument)] == [
                coin["name"] for coin in found["universe"]
            ]
            coins += len(found["universe"])
    print(f"{coins} captured and documented coins")
    assert coins >= 50


@needs_recordings
def test_captured_margin_tables_give_the_published_rates() -> None:
    checked = 0
    for source in recordings("hyperliquid", "live-selection", "captured"):
        for selection in (found["selection"] for found in source.messages()):
            universe = [coin for coin in selection.get("perpUniverse", []) if coin.get("marginTable")]
            listed = [[coin["marginTableId"], coin["marginTable"]] for coin in universe]
            events = market.parse_meta("live", "", "USDC", decoded({"universe": universe, "marginTables": listed}))
            for each in events:
                if isinstance(each, MarginTiers):
                    assert all(
                        abs(Decimal(t.rate) * 2 * int(str(t.max_leverage)) - 1) < Decimal("1e-26") for t in each.tiers
                    )
                    checked += 1
    print(f"{checked} captured margin tables")
    assert checked >= 4
