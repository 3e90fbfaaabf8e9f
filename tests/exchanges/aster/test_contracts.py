"""Contracts and margin brackets."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from exchanges.aster import contracts
from exchanges.errors import ProtocolViolation
from exchanges.events import Instrument, MarginTiers
from exchanges.venue import Malformed
from tests.recordings import needs_recordings, recordings

PEPE = {
    "symbol": "1000PEPEUSDT", "pair": "1000PEPEUSDT", "contractType": "PERPETUAL", "status": "TRADING", "baseAsset": "1000PEPE",
    "quoteAsset": "USDT", "marginAsset": "USDT", "pricePrecision": 7,
    "filters": [{"filterType": "LOT_SIZE", "stepSize": "1"}, {"filterType": "PRICE_FILTER", "tickSize": "0.0000010"}],
}  # fmt: skip
BRACKETS = (
    b'{"symbol":"ETHUSDT","brackets":[{"bracket":2,"initialLeverage":50,"notionalCap":50000,"notionalFloor":10000,'
    b'"maintMarginRatio":0.0100,"cum":35.0},{"bracket":1,"initialLeverage":75,"notionalCap":10000,"notionalFloor":0,'
    b'"maintMarginRatio":0.0065,"cum":0}]}'
)


def listed(*rows: dict[str, Any]) -> list[Any]:
    return contracts.instruments(json.dumps({"symbols": rows}).encode(), "live")


def test_a_contract() -> None:
    (found,) = listed(PEPE)
    assert isinstance(found, Instrument)
    assert (found.unified_symbol, found.base, found.base_multiplier) == ("1000PEPE/USDT:USDT", "PEPE", "1000")
    assert (found.contract_size, found.contract_type, found.tick_size) == ("1", "linear", "0.0000010")
    assert (found.tiers_key, found.status, found.settle) == ("1000PEPEUSDT", "live", "USDT")


def test_a_contract_that_does_not_trade_says_so_in_the_venues_word() -> None:
    assert [each.status for each in listed({**PEPE, "status": "SETTLING"}, {**PEPE, "status": ""})] == [
        "settling",
        "unknown",
    ]


def test_a_contract_that_is_not_understood_costs_no_other() -> None:
    outputs = listed({**PEPE, "contractType": "CURRENT_QUARTER"}, {"symbol": "X"}, PEPE)
    assert [type(each) for each in outputs] == [Malformed, Malformed, Instrument]


def test_brackets_keep_their_digits_and_ascend() -> None:
    (tiers,) = contracts.brackets(BRACKETS, "live", "main")
    assert isinstance(tiers, MarginTiers)
    assert [(tier.lower, tier.rate, tier.deduction, tier.max_leverage) for tier in tiers.tiers] == [
        ("0", "0.0065", "0", "75"), ("10000", "0.0100", "35.0", "50"),
    ]  # fmt: skip
    assert contracts.brackets(b"[" + BRACKETS + b"]", "live", "main") == [tiers], "an array where no symbol was asked"


@pytest.mark.parametrize("figure", [b'"abc"', b"null", b"{}", b"1e999"])
def test_a_bracket_without_figures_is_malformed(figure: bytes) -> None:
    (output,) = contracts.brackets(BRACKETS.replace(b"35.0", figure), "live", "main")
    assert isinstance(output, Malformed)


def test_a_symbol_without_brackets_is_malformed() -> None:
    (output,) = contracts.brackets(b'[{"symbol":"ETHUSDT","brackets":[]}]', "live", "main")
    assert isinstance(output, Malformed)
    with pytest.raises(ProtocolViolation):
        contracts.brackets(b"<html>", "live", "main")


@needs_recordings
def test_recorded_contract_tables() -> None:
    found = [
        output
        for venue in ("aster", "binance")
        for recording in recordings(venue, "rest-exchangeInfo")
        for output in contracts.instruments(json.dumps(recording.messages()[0]).encode(), "live")
        if isinstance(output, Instrument)
    ]
    assert len(found) > 50
    assert all(each.tick_size and Decimal(each.tick_size) > 0 for each in found)


@needs_recordings
def test_recorded_brackets_are_continuous() -> None:
    """cum is what makes maintenance continuous where one bracket meets the next: our reading of it is right."""
    (recording,) = recordings("binance", "rest-leverageBracket")
    checked = 0
    for symbol, tiers in recording.messages()[0].items():
        rows = [tier["info"] for tier in tiers if "cum" in tier["info"]]
        if not rows:
            continue
        body = json.dumps([{"symbol": symbol[:20], "brackets": rows}]).encode()
        (found,) = contracts.brackets(body, "live", "main")
        assert isinstance(found, MarginTiers)
        for below, above in zip(found.tiers, found.tiers[1:], strict=False):
            edge = Decimal(above.lower)
            charged = [edge * Decimal(tier.rate) - Decimal(tier.deduction) for tier in (below, above)]
            assert abs(charged[0] - charged[1]) <= edge * Decimal("1e-6")
            checked += 1
    assert checked > 500
