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
