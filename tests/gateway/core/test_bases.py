"""Underlyings by name."""

from __future__ import annotations

from gateway.core.bases import base_of, fold, is_money
from tests.gateway.events_of import instrument


def test_names_are_folded_by_the_map_and_otherwise_stay() -> None:
    assert fold("XBT", {"XBT": "BTC"}) == "BTC"
    assert fold("ETH", {"XBT": "BTC"}) == "ETH"


def test_a_contract_that_is_not_known_is_an_underlying_of_its_own() -> None:
    known = instrument()
    assert base_of(known, known.symbol, {known.base: "COIN"}) == "COIN"
    assert base_of(None, "BTC-USDT-SWAP", {"BTC": "COIN"}) == "BTC-USDT-SWAP"


def test_money_is_no_underlying() -> None:
    assert all(map(is_money, ("USD", "USDT", "USDC", "EUR")))
    assert not any(map(is_money, ("BTC", "ETH", "PAXG", "")))
