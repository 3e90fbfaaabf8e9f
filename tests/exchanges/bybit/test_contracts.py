"""Contracts and margin tiers."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from exchanges.bybit import contracts
from exchanges.bybit.wire import InstrumentRow, Page, TierRow, decode, result
from exchanges.errors import ProtocolViolation
from exchanges.events import Instrument, MarginTiers
from exchanges.venue import Malformed
from tests.recordings import needs_recordings, recordings


def _row(**fields: Any) -> InstrumentRow:
    row = {
        "symbol": "BTCUSDT",
        "contractType": "LinearPerpetual",
        "status": "Trading",
        "baseCoin": "BTC",
        "quoteCoin": "USDT",
        "settleCoin": "USDT",
        "deliveryTime": "0",
        "leverageFilter": {"maxLeverage": "100.00"},
        "priceFilter": {"minPrice": "0.10", "maxPrice": "1999999.80", "tickSize": "0.10"},
    }
    return decode(json.dumps({**row, **fields}), InstrumentRow, "a contract")


def _tier(**fields: Any) -> TierRow:
    row = {
        "symbol": "BTCUSDT",
        "riskLimitValue": "2000000",
        "maintenanceMargin": "0.005",
        "initialMargin": "0.01",
        "maxLeverage": "100.00",
        "mmDeduction": "",
    }
    return decode(json.dumps({**row, **fields}), TierRow, "a tier")


def test_a_linear_perpetual() -> None:
    assert contracts.parse_instrument(_row(), "demo") == Instrument(
        venue="bybit",
        env="demo",
        symbol="BTCUSDT",
        unified_symbol="BTC/USDT:USDT",
        base="BTC",
        quote="USDT",
        settle="USDT",
        kind="perp",
        contract_type="linear",
        contract_size="1",
        contract_ccy="BTC",
        tick_size="0.10",
        min_price="0.10",
        max_price="1999999.80",
        max_leverage="100.00",
        tiers_key="BTCUSDT",
    )


@pytest.mark.parametrize(
    ("fields", "unified", "kind"),
    [
        ({"symbol": "BTCPERP", "quoteCoin": "USDC", "settleCoin": "USDC"}, "BTC/USDC:USDC", "perp"),
        (
            {"symbol": "BTCUSDT-26DEC25", "contractType": "LinearFutures", "deliveryTime": "1766736000000"},
            "BTC/USDT:USDT-251226",
            "future",
        ),
        (
            {"symbol": "BTCUSD", "contractType": "InversePerpetual", "quoteCoin": "USD", "settleCoin": "BTC"},
            "BTC/USD:BTC",
            "perp",
        ),
    ],
)
def test_names_in_ccxt_form(fields: dict[str, Any], unified: str, kind: str) -> None:
    parsed = contracts.parse_instrument(_row(**fields), "live")
    assert (parsed.unified_symbol, parsed.kind) == (unified, kind)
    assert (parsed.expires_at is not None) == (kind == "future")


def test_an_inverse_contract_is_sized_in_dollars() -> None:
    fields = {"symbol": "BTCUSD", "contractType": "InversePerpetual", "quoteCoin": "USD", "settleCoin": "BTC"}
    parsed = contracts.parse_instrument(_row(**fields), "live")
    assert (parsed.contract_type, parsed.contract_size, parsed.contract_ccy) == ("inverse", "1", "USD")


@pytest.mark.parametrize(
    ("coin", "base", "multiplier"),
    [
        ("BTC", "BTC", "1"),
        ("1000PEPE", "PEPE", "1000"),
        ("10000LADYS", "LADYS", "10000"),
        ("1000000BABYDOGE", "BABYDOGE", "1000000"),
        ("SHIB1000", "SHIB", "1000"),
        ("1INCH", "1INCH", "1"),
        ("C98", "C98", "1"),
        ("100X", "100X", "1"),
    ],
)
def test_multiplied_coins_fold(coin: str, base: str, multiplier: str) -> None:
    assert contracts.unfold(coin) == (base, multiplier)


def test_status_and_type_never_pass_silently() -> None:
    assert contracts.parse_instrument(_row(status="Delivering"), "live").status == "delivering"
    with pytest.raises(ProtocolViolation, match="unknown contract type 'Perp3000'"):
        contracts.parse_instrument(_row(contractType="Perp3000"), "live")


@pytest.mark.parametrize(
    ("limits", "least", "most"),
    [
        ({"minPrice": "0.10", "maxPrice": "1999999.80"}, "0.10", "1999999.80"),
        ({"minPrice": "", "maxPrice": ""}, None, None),
        ({"minPrice": "0", "maxPrice": "0"}, None, None),
        ({}, None, None),
    ],
)
def test_a_contract_has_its_range_of_prices(limits: dict[str, str], least: str | None, most: str | None) -> None:
    option = {"optionsType": "Call", "symbol": "BTC-27MAR26-70000-C", "deliveryTime": "1774598400000"}
    for kind in ({}, option):
        found = contracts.parse_instrument(_row(priceFilter={"tickSize": "0.1", **limits}, **kind), "live")
        assert (found.min_price, found.max_price) == (least, most)


def test_price_bounds() -> None:
    assert contracts.price_bounds(_row()) == (Decimal("0.10"), Decimal("1999999.80"))
    assert contracts.price_bounds(_row(priceFilter={"tickSize": "1"})) is None


def test_a_tier_starts_where_the_one_below_ends() -> None:
    high = _tier(riskLimitValue="5000000", maintenanceMargin="0.01", initialMargin="0.02", maxLeverage="50.00")
    tiers = contracts.parse_tiers([high, _tier()], "live")
    assert [(tier.lower, tier.rate, tier.deduction) for tier in tiers.tiers] == [
        ("0", "0.005", "0"),
        ("2000000", "0.01", "0"),
    ]


def test_a_missing_deduction_keeps_maintenance_continuous() -> None:
    rows = [
        decode(json.dumps({k: v for k, v in row.items() if k != "mmDeduction"}), TierRow, "")
        for row in (
            {
                "symbol": "X",
                "riskLimitValue": "100",
                "maintenanceMargin": "0.01",
                "initialMargin": "0.02",
                "maxLeverage": "50",
            },
            {
                "symbol": "X",
                "riskLimitValue": "900",
                "maintenanceMargin": "0.05",
                "initialMargin": "0.1",
                "maxLeverage": "10",
            },
        )
    ]
    low, high = contracts.parse_tiers(rows, "live").tiers
    edge = Decimal(high.lower)
    assert edge * Decimal(low.rate) - Decimal(low.deduction) == edge * Decimal(high.rate) - Decimal(high.deduction)


def test_percent_and_fraction_are_told_apart_by_leverage() -> None:
    percent = contracts.parse_tiers([_tier(maintenanceMargin="0.5", initialMargin="1")], "live")
    fraction = contracts.parse_tiers([_tier()], "live")
    last = contracts.parse_tiers([_tier(maintenanceMargin="0.6", initialMargin="1", maxLeverage="1.00")], "live")
    assert [tiers.tiers[0].rate for tiers in (percent, fraction, last)] == ["0.005", "0.005", "0.6"]
    with pytest.raises(ProtocolViolation, match="does not go with leverage"):
        contracts.parse_tiers([_tier(initialMargin="0.1")], "live")


def test_a_row_that_is_not_understood_leaves_its_neighbours() -> None:
    good = {
        "symbol": "A",
        "contractType": "LinearPerpetual",
        "baseCoin": "A",
        "quoteCoin": "USDT",
        "settleCoin": "USDT",
    }
    page = decode(json.dumps({"list": [good, {"symbol": "B"}, {**good, "contractType": "?"}]}), Page, "")
    assert [type(output) for output in contracts.instruments(page, "live")] == [Instrument, Malformed, Malformed]
    rows = [_tier(), _tier(symbol="ETHUSDT", initialMargin="7")]
    assert [type(output) for output in contracts.margin_tiers(rows, "live")] == [MarginTiers, Malformed]


@needs_recordings
def test_recorded_contracts_and_tiers() -> None:
    seen = {"contracts": 0, "tiers": 0}
    for recording in recordings("bybit", "rest-instruments-info"):
        page = decode(result(json.dumps(recording.messages()[0]).encode())[0], Page, "")
        parsed = [type(output) for output in contracts.instruments(page, "live")]
        assert parsed == [Malformed if "spot" in recording.path.name else Instrument] * len(page.rows)
        seen["contracts"] += len(parsed)
    for recording in recordings("bybit", "rest-risk-limit"):
        page = decode(result(json.dumps(recording.messages()[0]).encode())[0], Page, "")
        (tiers,) = contracts.margin_tiers([decode(raw, TierRow, "") for raw in page.rows], "live")
        assert isinstance(tiers, MarginTiers)
        assert all(0 < Decimal(tier.rate) <= 1 for tier in tiers.tiers)
        lowers = [Decimal(tier.lower) for tier in tiers.tiers]
        assert lowers == sorted(set(lowers))
        seen["tiers"] += len(tiers.tiers)
    assert seen["contracts"] >= 6
    assert seen["tiers"] >= 5
