"""Contracts, tiers and marks."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from exchanges.events import Instrument, MarginTier, Price
from exchanges.okx import contracts, wire
from tests.exchanges.okx.samples import T0, instrument


def parsed(*names: str, **changes: Any) -> Instrument | None:
    return contracts.parse_instrument(msgspec.convert(instrument(*names, **changes), wire.InstrumentRow), "live")


def test_a_linear_swap() -> None:
    assert parsed() == Instrument(
        venue="okx",
        env="live",
        symbol="BTC-USDT-SWAP",
        unified_symbol="BTC/USDT:USDT",
        base="BTC",
        quote="USDT",
        settle="USDT",
        kind="perp",
        contract_type="linear",
        contract_size="0.01",
        contract_ccy="BTC",
        tick_size="0.1",
        max_leverage="100",
        tiers_key="SWAP:BTC-USDT",
    )


def test_an_inverse_swap_counts_dollars() -> None:
    found = parsed("BTC-USD-SWAP", settleCcy="BTC", ctVal="100", ctValCcy="USD", ctType="inverse")
    assert found is not None
    assert (found.unified_symbol, found.contract_type) == ("BTC/USD:BTC", "inverse")
    assert (found.contract_size, found.contract_ccy) == ("100", "USD")


def test_a_future_carries_its_day() -> None:
    found = parsed("BTC-USDT-261225", instType="FUTURES", expTime="1798185600000")
    assert found is not None
    assert (found.unified_symbol, found.kind, found.expires_at) == ("BTC/USDT:USDT-261225", "future", 1_798_185_600_000)
    assert found.tiers_key == "FUTURES:BTC-USDT"


@pytest.mark.parametrize(
    ("value", "multiplier", "size"),
    [("0.01", "1", "0.01"), ("0.01", "", "0.01"), ("0.01", "10", "0.10"), ("0.001", "0.001", "0.000001")],
)
def test_the_contract_size_is_exact(value: str, multiplier: str, size: str) -> None:
    found = parsed(ctVal=value, ctMult=multiplier)
    assert found is not None
    assert found.contract_size == size


@pytest.mark.parametrize(
    ("base", "folded"),
    [
        ("1000PEPE", ("PEPE", "1000")),
        ("1000000MOG", ("MOG", "1000000")),
        ("1INCH", ("1INCH", "1")),
        ("BTC", ("BTC", "1")),
        ("1000", ("1000", "1")),
    ],
)
def test_bundled_bases_fold(base: str, folded: tuple[str, str]) -> None:
    assert contracts.fold_base(base) == folded


@pytest.mark.parametrize("field", ["ctVal", "settleCcy", "ctValCcy", "ctType"])
@pytest.mark.parametrize("value", ["", None])
def test_a_market_before_its_opening_is_no_contract(field: str, value: str | None) -> None:
    assert parsed(**{field: value}) is None


def test_older_answers_lack_the_family() -> None:
    found = parsed(instFamily=None)
    assert found is not None
    assert found.tiers_key == "SWAP:BTC-USDT"


def test_tiers_are_ascending_and_by_family() -> None:
    rows = [
        wire.TierRow(min_sz="1000", mmr="0.006", inst_family="BTC-USDT", max_lever="50"),
        wire.TierRow(min_sz="0", mmr="0.004", inst_family="BTC-USDT", max_lever="100"),
        wire.TierRow(min_sz="0", mmr="0.01", inst_family="ETH-USDT"),
    ]
    btc, eth = contracts.parse_tiers(rows, "SWAP", "live")
    assert (btc.key, btc.unit, eth.key) == ("SWAP:BTC-USDT", "contracts", "SWAP:ETH-USDT")
    assert btc.tiers == (
        MarginTier(lower="0", rate="0.004", max_leverage="100"),
        MarginTier(lower="1000", rate="0.006", max_leverage="50"),
    )


def test_a_mark() -> None:
    row = wire.MarkRow(inst_id="BTC-USDT-SWAP", mark_px="60000.1", ts=str(T0))
    assert contracts.parse_mark(row, "demo") == Price(
        venue="okx", env="demo", symbol="BTC-USDT-SWAP", value="60000.1", at=T0
    )
    assert contracts.parse_mark(wire.MarkRow(inst_id="X", mark_px="1"), "live").at is None
