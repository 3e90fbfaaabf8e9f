"""Which table of tiers a position is held to, and how much of a currency counts: the most specific that is known, or nothing."""

from __future__ import annotations

import msgspec
import pytest

from exchanges.events import CollateralTier, CollateralTiers, MarginMode, MarginTier, MarginTiers
from gateway.core.market import Market
from gateway.core.positions import Symbols
from tests.gateway.storage.states import instrument


def table(rate: str, mode: MarginMode | None = None, account: str | None = None) -> MarginTiers:
    tier = MarginTier(lower="0", rate=rate)
    return MarginTiers(
        venue="okx", env="live", key="BTC-USDT", unit="contracts", tiers=(tier,), margin_mode=mode, account=account
    )


def rate_of(market: Market, mode: MarginMode | None, account: str) -> str | None:
    found = market.tiers_of(instrument(), mode, account)
    return found.tiers[0].rate if found else None


@pytest.fixture
def market() -> Market:
    return Market(Symbols())


def test_each_margin_mode_has_its_own_table(market: Market) -> None:
    market.put_tiers(table("0.004", "cross"))
    market.put_tiers(table("0.006", "isolated"))
    assert [rate_of(market, mode, "a") for mode in ("cross", "isolated", None)] == ["0.004", "0.006", None]


def test_a_table_of_another_mode_or_account_is_no_answer(market: Market) -> None:
    market.put_tiers(table("0.004", "cross"))
    market.put_tiers(table("0.01", account="b"))
    assert rate_of(market, "isolated", "a") is None
    assert rate_of(market, "cross", "b") == "0.01", "an account's own table goes before one of all accounts"


def test_accounts_do_not_overwrite_each_other(market: Market) -> None:
    assert market.put_tiers(table("0.004", account="a")) is not None
    assert market.put_tiers(table("0.005", account="b")) is not None
    assert market.put_tiers(table("0.004", account="a")) is None, "nothing new"
    assert [rate_of(market, "cross", name) for name in ("a", "b", "c")] == ["0.004", "0.005", None]


def test_collateral_of_an_unknown_currency_is_unknown(market: Market) -> None:
    tiers = CollateralTiers(venue="okx", env="live", ccy="BTC", tiers=(CollateralTier(lower="0", rate="0.98"),))
    assert market.put_collateral_tiers(tiers)
    assert not market.put_collateral_tiers(tiers)
    assert market.put_collateral_tiers(msgspec.structs.replace(tiers, tiers=(CollateralTier(lower="0", rate="0.95"),)))
    found = market.collateral_of("okx", "live", "BTC")
    assert found is not None
    assert found.tiers[0].rate == "0.95"
    assert market.collateral_of("okx", "demo", "BTC") is None
    assert market.collateral_of("okx", "live", "SHIB") is None
