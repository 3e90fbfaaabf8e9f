"""What currencies are worth: any pair of a coin will do, and USDT has one too."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exchanges.bybit import VENUE, build, tables
from exchanges.bybit.currencies import CurrencyLink
from exchanges.errors import ProtocolViolation
from exchanges.events import CollateralTiers, CurrencyPrice, Price
from exchanges.venue import Ask, Malformed
from tests.exchanges.bybit.samples import ENDPOINTS, answer, linear
from tests.recordings import needs_recordings, recordings

PAIRS = build.instruments_info("spot")


def _pair(base: str, quote: str, status: str = "Trading") -> dict[str, Any]:
    return {"symbol": base + quote, "baseCoin": base, "quoteCoin": quote, "status": status}


TABLE = [
    _pair("BTC", "EUR"),
    _pair("BTC", "USDT"),
    _pair("BTC", "USDC"),
    _pair("USDC", "USDT"),
    _pair("USDT", "PLN"),
    _pair("USDT", "EUR"),
    _pair("XYZ", "USDT", "PreLaunch"),
    _pair("XYZ", "BRL"),
]


def spot() -> CurrencyLink:
    """Return a link that knows the pairs."""
    link = VENUE.public_links("live", ENDPOINTS)["spot"]()
    assert isinstance(link, CurrencyLink)
    assert not link.ready
    assert link.price_topics([], ["BTC"]) == ()
    link.price_topics([])
    assert link.bootstrap() == [PAIRS]
    assert link.answer(PAIRS, answer({"category": "spot", "list": TABLE}), 0, 1) == []
    assert link.ready
    return link


def _ticker(symbol: str, usd: str, ts: int) -> str:
    data = {"symbol": symbol, "lastPrice": "1", "usdIndexPrice": usd}
    return json.dumps({"topic": f"tickers.{symbol}", "ts": ts, "type": "snapshot", "cs": 1, "data": data})


def test_each_currency_is_priced_by_its_best_pair() -> None:
    link = spot()
    assert link.url == "wss://stream.bybit.com/v5/public/spot"
    assert (link.topics(), link.watch()) == ((), {})
    assert link.price_topics(["BTCUSDT"], ["USDT", "BTC", "USDC", "XYZ", "NOPE"]) == (
        "tickers.USDTEUR",
        "tickers.BTCUSDT",
        "tickers.USDCUSDT",
        "tickers.XYZBRL",
    )


def test_prices_change_at_once_and_are_confirmed_now_and_then() -> None:
    link = spot()
    (price,) = link.receive(_ticker("USDTEUR", "0.9998", 1000), 0)
    assert price == CurrencyPrice(venue="bybit", env="live", ccy="USDT", usd="0.9998", at=1000)
    assert link.receive(_ticker("USDTEUR", "0.9998", 1050), 0) == []
    assert len(link.receive(_ticker("USDTEUR", "0.9997", 1100), 0)) == 1
    assert link.receive(_ticker("USDTEUR", "0.9990", 1050), 0) == [], "out of order"
    assert len(link.receive(_ticker("USDTEUR", "0.9997", 2100), 0)) == 1


@pytest.mark.parametrize("usd", ["", "0", "-1"])
def test_a_coin_without_an_index_has_no_price(usd: str) -> None:
    assert spot().receive(_ticker("BTCUSDT", usd, 1), 0) == []


def test_pairs_that_are_not_understood_leave_their_neighbours() -> None:
    link = spot()
    (malformed,) = link.answer(PAIRS, answer({"list": [{"symbol": 1}, _pair("SOL", "USDT")]}), 0, 1)
    assert isinstance(malformed, Malformed)
    assert link.price_topics([], ["SOL"]) == ("tickers.SOLUSDT",)


def test_what_is_not_its_own_is_refused_or_left_alone() -> None:
    link = spot()
    (malformed,) = link.receive(_ticker("NOPEUSDT", "1", 1), 0)
    assert isinstance(malformed, Malformed)
    assert link.answer(build.instruments_info("linear"), answer({"list": []}), 0, 1) == []
    with pytest.raises(ProtocolViolation):
        link.answer(build.server_time(), answer({}), 0, 1)
    with pytest.raises(ProtocolViolation):
        link.answer(PAIRS, answer({}), 0, 1)


def test_requests_hold_ten_topics_at_most() -> None:
    link = spot()
    frames = link.subscribe([f"tickers.{number}USDT" for number in range(25)])
    assert [len(json.loads(frame)["args"]) for frame in frames] == [10, 10, 5]
    assert tables.TOPICS_PER_SPOT_FRAME == 10


def test_a_ticker_that_was_given_back_is_forgotten() -> None:
    link = spot()
    link.receive(_ticker("USDTEUR", "0.9998", 1000), 0)
    link.unsubscribe(["tickers.USDTEUR"])
    assert len(link.receive(_ticker("USDTEUR", "0.9998", 900), 0)) == 1


@needs_recordings
def test_the_recorded_spot_ticker_is_a_dollar_index_and_no_mark() -> None:
    (recording,) = (one for one in recordings("bybit", "ws-tickers") if "Spot_Ticker" in one.path.name)
    frame = json.dumps(recording.messages()[0][1])
    (price,) = spot().receive(frame, 0)
    assert isinstance(price, CurrencyPrice)
    assert (price.ccy, price.usd) == ("BTC", "21120.2400136")
    (malformed,) = linear().receive(frame, 0)
    assert isinstance(malformed, Malformed), "in a recording the connection that understands a frame is looked for"


@given(
    st.lists(
        st.fixed_dictionaries(
            {"topic": st.sampled_from(["tickers.BTCUSDT", "tickers.", "x"])},
            optional={
                "type": st.sampled_from(["snapshot", "delta"]),
                "ts": st.integers(),
                "data": st.fixed_dictionaries(
                    {"symbol": st.sampled_from(["BTCUSDT", "", 5])},
                    optional={"usdIndexPrice": st.sampled_from(["1", "0", "", "-1", "1e9", "nan", None, 7])},
                ),
            },
        ),
        max_size=4,
    )
)
@settings(deadline=None)
def test_no_frame_raises(frames: list[dict[str, Any]]) -> None:
    link = spot()
    for frame in frames:
        for output in link.receive(json.dumps(frame), 0):
            assert not isinstance(output, Price)


# --- What they count as collateral ------------------------------------------------------------------------------------

RATIOS = build.collateral_ratios()


def _ratios(coin: str, *tiers: tuple[str, str, str]) -> dict[str, Any]:
    rows = [{"minQty": low, "maxQty": high, "collateralRatio": ratio} for low, high, ratio in tiers]
    return {"currency": coin, "collateralRatioList": rows}


def _told(outputs: list[Any]) -> list[tuple[str, list[tuple[str, str]]]]:
    found = [each for each in outputs if isinstance(each, CollateralTiers)]
    return [(each.ccy, [(tier.lower, tier.rate) for tier in each.tiers]) for each in found]


def test_ratios_are_asked_once_a_coin_is_held_and_told_of_it_alone() -> None:
    link = spot()
    assert VENUE.is_public(RATIOS)
    assert link.receive(_ticker("BTCUSDT", "", 1), 5) == []
    link.price_topics([], ["BTC", "NONE"])
    assert link.receive(_ticker("BTCUSDT", "", 2), 6) == [Ask(request=RATIOS)]
    btc = _ratios("BTC", ("10", "20", "0.95"), ("0", "10", "0.98"))
    table = [btc, _ratios("USDT", ("0", "", "1")), _ratios("NONE"), {"currency": "ODD"}]
    out = link.answer(RATIOS, answer({"list": table}), 6, 7)
    assert _told(out) == [("BTC", [("0", "0.98"), ("10", "0.95"), ("20", "0")])]
    assert len([each for each in out if isinstance(each, Malformed)]) == 1
    link.price_topics([], ["BTC", "USDT"])
    assert _told(link.receive(_ticker("BTCUSDT", "", 3), 8)) == [("USDT", [("0", "1")])]
    assert link.receive(_ticker("BTCUSDT", "", 4), 6 + tables.TABLES_EVERY_MS) == [Ask(request=RATIOS)]
    with pytest.raises(ProtocolViolation, match="no row"):
        link.answer(RATIOS, answer({"list": [{"currency": "ODD"}]}), 6, 7)


@needs_recordings
def test_a_captured_wallet_counts_its_coins_by_the_ratios() -> None:
    """totalWalletBalance = sum of wallet balance * price * ratio: BTC at 0.98, dollars at 1, coins that are switched off at 0."""
    (captured,) = recordings("bybit", "rest-wallet-balance", "captured")
    (row,) = captured.messages()[0]["list"]
    ratios = {"BTC": Decimal("0.98"), "USDT": Decimal(1), "USDC": Decimal(1)}
    total = Decimal(0)
    for coin in row["coin"]:
        price = Decimal(coin["usdValue"]) / Decimal(coin["equity"])
        counted = coin["collateralSwitch"] and coin["marginCollateral"]
        total += Decimal(coin["walletBalance"]) * price * (ratios[coin["coin"]] if counted else 0)
    assert abs(total - Decimal(row["totalWalletBalance"])) < Decimal("1e-4")
    margin = Decimal(row["totalWalletBalance"]) + Decimal(row["totalPerpUPL"])
    assert abs(margin - Decimal(row["totalMarginBalance"])) < Decimal("1e-6"), "profit has no haircut"
