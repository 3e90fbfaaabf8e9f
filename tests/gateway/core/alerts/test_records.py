"""Silences: which alerts they are for, and when."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.core.alerts.records import Silence
from gateway.core.alerts.rules import Scope

SCOPE = Scope("okx-main", "ann", "okx", "live", "live", "BTC-USDT-SWAP")
RULE, AT, UNTIL = "liquidation", 1_000, 2_000


def silence(**given: Any) -> Silence:
    return Silence(id="s", at=AT, until=UNTIL, by="ann", **given)


@pytest.mark.parametrize(
    ("given", "matches"),
    [
        ({}, True),
        ({"rules": ("blind", RULE)}, True),
        ({"rules": ("blind",)}, False),
        ({"accounts": ("okx-main", "x")}, True),
        ({"accounts": ("x",)}, False),
        ({"venues": ("okx",)}, True),
        ({"venues": ("bybit",)}, False),
        ({"symbols": ("BTC-USDT-SWAP",)}, True),
        ({"symbols": ("ETH-USDT-SWAP",)}, False),
        ({"rules": (RULE,), "accounts": ("okx-main",), "venues": ("okx",), "symbols": ("ETH-USDT-SWAP",)}, False),
    ],
)
def test_a_silence_is_for_what_all_its_lists_name(given: dict[str, Any], matches: bool) -> None:
    assert silence(**given).matches(RULE, SCOPE, AT) is matches


def test_a_silence_of_an_account_or_a_symbol_is_not_for_what_has_none() -> None:
    of_marks = SCOPE._replace(account=None, symbol=None)
    assert silence(venues=("okx",)).matches(RULE, of_marks, AT)
    for given in ({"accounts": ("okx-main",)}, {"symbols": ("BTC-USDT-SWAP",)}):
        assert not silence(**given).matches(RULE, of_marks, AT)


def test_a_silence_holds_from_its_beginning_until_its_end() -> None:
    held = {now: silence().matches(RULE, SCOPE, now) for now in (AT - 1, AT, UNTIL - 1, UNTIL)}
    assert held == {AT - 1: False, AT: True, UNTIL - 1: True, UNTIL: False}
