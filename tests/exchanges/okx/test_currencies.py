"""Dollar prices of currencies: by their own index, else by way of USDT at its own price."""

from __future__ import annotations

import json
from typing import Any

import pytest

from exchanges.events import CurrencyPrice
from exchanges.okx import build
from exchanges.venue import Ask, Malformed, Output, SubscribeRefused
from tests.exchanges.okx.samples import T0, envelope, frame, only, public


def index(pair: str, price: str, at: int = T0) -> str:
    return frame("index-tickers", {"instId": pair, "idxPx": price, "ts": str(at)}, event=None, instId=pair)


def gone(link: Any, pair: str) -> list[Output]:
    (sent,) = link.subscribe([f"index-tickers:{pair}"])
    text = f"Wrong URL or channel:index-tickers,instId:{pair} doesn't exist."
    error = {"event": "error", "code": "60018", "msg": text, "id": json.loads(sent)["id"]}
    out: list[Output] = link.receive(json.dumps(error), 0)
    return out


def price(ccy: str, usd: str, at: int = T0) -> CurrencyPrice:
    return CurrencyPrice(venue="okx", env="live", ccy=ccy, usd=usd, at=at)


def indices(link: Any, *currencies: str) -> list[str]:
    return [topic for topic in link.price_topics([], currencies) if topic.startswith("index")]


def test_stablecoins_have_a_price_and_a_dollar_needs_none() -> None:
    assert indices(public(), "USDT", "USDC", "BTC", "USD", "BTC") == [
        "index-tickers:USDT-USD",
        "index-tickers:USDC-USD",
        "index-tickers:BTC-USD",
    ]
    assert only(CurrencyPrice, public().receive(index("USDT-USD", "0.99910"), 0)) == [price("USDT", "0.99910")]


@pytest.mark.parametrize("usd", ["0", "0.0", "-1", ""])
def test_an_index_that_is_no_price_is_told(usd: str) -> None:
    outputs = public().receive(index("BTC-USD", usd), T0)
    assert not only(CurrencyPrice, outputs)
    (bad,) = only(Malformed, outputs)
    assert "idxPx" in bad.what


@pytest.mark.parametrize("ccy", ["USDⓈ", "", "A B", "-"])
def test_a_name_that_no_index_can_have_is_not_asked_for(ccy: str) -> None:
    """One malformed argument has its whole request refused for good: forty marks with it."""
    assert indices(public(), ccy) == []


def test_a_currency_without_a_dollar_index_goes_by_usdt() -> None:
    link = public()
    refused, ask = gone(link, "PEPE-USD")
    assert isinstance(refused, SubscribeRefused)
    assert isinstance(ask, Ask)
    assert ask.request.path == "/api/v5/market/index-tickers?instId=PEPE-USDT"
    assert indices(link, "PEPE") == ["index-tickers:PEPE-USDT", "index-tickers:USDT-USD"]
    row = {"instId": "PEPE-USDT", "idxPx": "0.00001", "ts": str(T0)}
    assert (
        only(CurrencyPrice, link.answer(ask.request, envelope(row), T0, T0)) == []
    )  # the price of USDT is not known yet
    found = only(CurrencyPrice, link.receive(index("USDT-USD", "0.9991", T0 + 5), 0))
    assert found == [price("USDT", "0.9991", T0 + 5), price("PEPE", "0.000009991")]
    (later,) = only(CurrencyPrice, link.receive(index("PEPE-USDT", "0.00002", T0 + 9), 0))
    assert later == price("PEPE", "0.000019982", T0 + 5)  # as old as the older of the two


def test_it_is_asked_once() -> None:
    link = public()
    assert len(only(Ask, gone(link, "PEPE-USD"))) == 1
    assert only(Ask, gone(link, "PEPE-USD")) == []
    assert only(Ask, gone(link, "PEPE-USDT")) == []
    assert only(Ask, gone(link, "USDT-USD")) == []


def test_other_refusals_change_nothing() -> None:
    link = public()
    (sent,) = link.subscribe([build.mark_topic("GONE-USDT-SWAP")])
    error = {
        "event": "error",
        "code": "60018",
        "msg": "channel:mark-price,instId:GONE-USDT-SWAP",
        "id": json.loads(sent)["id"],
    }
    assert only(Ask, link.receive(json.dumps(error), 0)) == []


def test_an_index_in_another_coin_is_no_dollar_price() -> None:
    link = public()
    assert only(CurrencyPrice, link.receive(index("ETH-BTC", "0.05"), 0)) == []
    assert only(CurrencyPrice, link.receive(index("ETH-USDT", "3000"), 0)) == []
