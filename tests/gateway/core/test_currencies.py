"""What a currency is worth, and who says so."""

from __future__ import annotations

from exchanges.events import CurrencyPrice
from gateway.core.currencies import Currencies


def test_an_index_that_counts_in_a_stablecoin_is_worth_what_that_is() -> None:
    prices = Currencies()
    prices.put(CurrencyPrice(venue="aster", env="live", ccy="BTC", usd="50000", quote="USDT"))
    prices.put(CurrencyPrice(venue="okx", env="live", ccy="USDT", usd="0.999"))
    assert prices.moved() == {"BTC", "USDT"}
    assert prices.price("aster", "live", "BTC", None).usd == 49_950
    prices.put(CurrencyPrice(venue="okx", env="live", ccy="USDT", usd="0.998"))
    assert prices.moved() == {"BTC", "USDT"}
    assert prices.price("aster", "live", "BTC", None).usd == 49_900
    assert prices.price("bybit", "live", "BTC", None).usd == 49_900


def test_what_a_currency_was_worth_just_before_is_in_dollars_whatever_its_index_counts_in() -> None:
    prices = Currencies()
    for usd, at in (("50000", 1_000), ("51000", 1_500)):
        prices.put(CurrencyPrice(venue="aster", env="live", ccy="BTC", usd=usd, quote="USDT"), at)
    prices.put(CurrencyPrice(venue="okx", env="live", ccy="USDT", usd="0.5"), 1_500)
    prices.moved()
    assert prices.then("aster", "live", "BTC", None, 2_000) == (25_500, 25_000, 25_500)
    assert prices.then("aster", "live", "BTC", None, 20_000) == (25_500, 25_500, 25_500)
    prices.put(CurrencyPrice(venue="aster", env="live", ccy="BTC", usd="52000", quote="USDT"), 20_000)
    assert prices.then("aster", "live", "BTC", None, 20_000) == (25_500, 25_500, 26_000), (
        "it came, and counts from the turn's end on"
    )
    assert prices.then("aster", "live", "ETH", 7.0, 20_000) == (7.0, 7.0, 7.0)
