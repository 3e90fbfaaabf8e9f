"""The simulated Bybit's markets: contracts and risk limits over REST, tickers on the public sockets, by category."""

from __future__ import annotations

from collections.abc import AsyncIterator
from decimal import Decimal

import pytest

from tests.exchanges.sim.bybit_venue import BEGIN, Venue, pages, running
from tests.exchanges.sim.raw import dial


@pytest.fixture
async def venue() -> AsyncIterator[Venue]:
    async with running() as it:
        yield it


# --- REST: market ------------------------------------------------------------------------------------------------------


async def test_instruments_by_cursor(venue: Venue) -> None:
    whole = await pages(venue, "/v5/market/instruments-info?category=linear&limit=1000")
    small = await pages(venue, "/v5/market/instruments-info?category=linear&limit=7")
    assert len(whole) == 1
    assert [len(page) for page in small[:-1]] == [7] * (len(small) - 1)
    assert [row for page in small for row in page] == whole[0]
    pepe = next(row for row in whole[0] if row["symbol"] == "1000PEPEUSDT")
    assert (pepe["baseCoin"], pepe["settleCoin"], pepe["contractType"]) == ("1000PEPE", "USDT", "LinearPerpetual")
    assert next(row for row in whole[0] if row["symbol"] == "BTCPERP")["settleCoin"] == "USDC"


async def test_risk_limits_come_15_symbols_a_page(venue: Venue) -> None:
    found = await pages(venue, "/v5/market/risk-limit?category=linear")
    assert [len({row["symbol"] for row in page}) for page in found] == [15, 8]
    rows = [row for page in found for row in page]
    assert all(abs(Decimal(row["initialMargin"]) * Decimal(row["maxLeverage"]) - 1) < Decimal("0.01") for row in rows)
    assert len({row["id"] for row in rows}) == len(rows)


@pytest.mark.parametrize(
    "path",
    [
        "/v5/market/instruments-info",
        "/v5/market/tickers?category=linear&symbol=NOPEUSDT",
        "/v5/market/instruments-info?category=linear&limit=1001",
        "/v5/position/list?settleCoin=USDT",
        "/v5/position/list?category=linear",
        "/v5/position/list?category=linear&settleCoin=USDT&limit=201",
        "/v5/account/wallet-balance?accountType=SPOT",
    ],
)
async def test_wrong_arguments(venue: Venue, path: str) -> None:
    assert (await venue.ask(path))[1]["retCode"] == 10001


async def test_time(venue: Venue) -> None:
    assert await venue.result("/v5/market/time") == {"timeSecond": str(BEGIN // 1000), "timeNano": f"{BEGIN}000000"}


# --- Public stream -----------------------------------------------------------------------------------------------------


async def test_tickers_are_a_snapshot_and_then_what_changed(venue: Venue) -> None:
    async with dial(venue.socket("/v5/public/linear")) as peer:
        await peer.say({"op": "subscribe", "args": ["tickers.BTCUSDT"], "req_id": "x"})
        ack, first = await peer.next(), await peer.next()
        assert (ack["success"], ack["req_id"], ack["op"]) == (True, "x", "subscribe")
        assert first["type"] == "snapshot"
        merged = dict(first["data"])
        for turn in range(20):
            venue.now += 100
            if turn % 5 == 0:
                venue.sim.world.shift("BTC", Decimal("0.0001"))
                frame = await peer.until(lambda f: f.get("type") == "delta")
                assert set(frame["data"]) < set(first["data"])
        venue.sim.control.pause()
        target = str(venue.sim.control.truth()["marks"]["bybit"]["BTCUSDT"]).rstrip("0").rstrip(".")
        venue.now += 100
        for frame in peer.frames[2:]:
            merged |= frame["data"]
        while merged["markPrice"] != target:
            merged |= (await peer.next())["data"]
        assert merged["symbol"] == "BTCUSDT"
        assert merged["fundingIntervalHour"] == "8"


async def test_one_unknown_symbol_fails_the_batch(venue: Venue) -> None:
    async with dial(venue.socket("/v5/public/linear")) as peer:
        for topic in ("tickers.NOPEUSDT", "position", "orderbook.50.BTCUSDT"):
            await peer.say({"op": "subscribe", "args": ["tickers.BTCUSDT", topic], "req_id": "e"})
            answer = await peer.next()
            assert (answer["success"], answer["ret_msg"]) == (False, f"error:handler not found,topic:{topic}")
        await peer.say({"op": "subscribe", "args": ["tickers.BTCUSDT"]})
        assert (await peer.next())["success"] is True
        assert (await peer.next())["type"] == "snapshot"
        await peer.say({"op": "subscribe", "args": ["tickers.BTCUSDT"]})
        answer = await peer.until(lambda frame: "success" in frame)
        assert answer["ret_msg"] == "error:already subscribed,topic:tickers.BTCUSDT"
        await peer.say({"op": "unsubscribe", "args": ["tickers.BTCUSDT"]})
        assert (await peer.until(lambda frame: frame.get("op") == "unsubscribe"))["success"] is True


async def test_the_same_symbol_on_spot_is_another_ticker(venue: Venue) -> None:
    async with dial(venue.socket("/v5/public/spot")) as peer:
        await peer.say({"op": "subscribe", "args": ["tickers.BTCUSDT", "tickers.USDCUSDT"], "req_id": "s"})
        ack, first, second = [await peer.next() for _ in range(3)]
        assert (ack["ret_msg"], ack["req_id"]) == ("subscribe", "s")
        assert {"markPrice", "fundingRate"} & set(first["data"]) == set()
        assert (first["data"]["symbol"], second["data"]["usdIndexPrice"]) == ("BTCUSDT", "1")
        usd = venue.sim.world.usd("BTC")
        assert abs(Decimal(first["data"]["usdIndexPrice"]) - usd) < Decimal("1e-8")
        assert Decimal(first["data"]["lastPrice"]) > usd  # a tether is worth a little less than a dollar
        venue.sim.world.shift("BTC", Decimal("0.001"))
        venue.now += 100
        later = await peer.next()
        assert (later["type"], set(later["data"])) == ("snapshot", set(first["data"]))
        await peer.say({"op": "subscribe", "args": [f"tickers.{n}USDT" for n in range(11)]})
        assert (await peer.next())["ret_msg"] == "args size >10"


async def test_options_tell_which_topics_failed(venue: Venue) -> None:
    symbol = next(c.symbol for c in venue.sim.world.listed("bybit") if c.kind == "option")
    async with dial(venue.socket("/v5/public/option")) as peer:
        await peer.say({"op": "subscribe", "args": [f"tickers.{symbol}", "tickers.NOPE"]})
        ack, ticker = await peer.next(), await peer.next()
        assert (ack["type"], ack["success"]) == ("COMMAND_RESP", True)
        assert ack["data"] == {"failTopics": ["tickers.NOPE"], "successTopics": [f"tickers.{symbol}"]}
        assert ticker["type"] == "snapshot"
        assert Decimal(ticker["data"]["markPrice"]) == venue.sim.world.mark("bybit", symbol)
        await peer.say({"op": "ping"})
        assert await peer.next() == {"args": [str(BEGIN)], "op": "pong"}


async def test_coin_margined_contracts_have_a_socket_of_their_own(venue: Venue) -> None:
    dated = next(c for c in venue.sim.world.listed("bybit") if c.kind == "future" and c.inverse)
    async with dial(venue.socket("/v5/public/inverse")) as peer:
        await peer.say({"op": "subscribe", "args": ["tickers.BTCUSD", f"tickers.{dated.symbol}"]})
        _, perpetual, future = [(await peer.next()).get("data", {}) for _ in range(3)]
        rate, due = venue.sim.world.funding("bybit", "BTCUSD")
        assert (Decimal(perpetual["fundingRate"]), perpetual["nextFundingTime"]) == (rate, str(due))
        assert (future["fundingRate"], future["deliveryTime"][-1]) == ("", "Z")
        await peer.say({"op": "subscribe", "args": ["tickers.BTCUSDT"]})
        assert (await peer.next())["ret_msg"] == "error:handler not found,topic:tickers.BTCUSDT"


async def test_contracts_of_every_category(venue: Venue) -> None:
    found = {
        category: (await venue.result(f"/v5/market/instruments-info?category={category}"))["list"]
        for category in ("linear", "inverse", "option", "spot")
    }
    types = {row["contractType"] for category in ("linear", "inverse") for row in found[category]}
    assert types == {"LinearPerpetual", "LinearFutures", "InversePerpetual", "InverseFutures"}
    assert {row["settleCoin"] for row in found["inverse"]} == {"BTC", "ETH"}
    (option,) = found["option"]
    assert (option["optionsType"], int(option["deliveryTime"]) > BEGIN) == ("Call", True)
    assert {"BTCUSDT", "USDCUSDT"} <= {row["symbol"] for row in found["spot"]}
    expired = next(row for row in found["linear"] if row["contractType"] == "LinearFutures")["symbol"]
    venue.sim.world.hands.expire("bybit", expired)
    (closed,) = (await venue.result(f"/v5/market/instruments-info?category=linear&symbol={expired}"))["list"]
    assert closed["status"] == "Closed"
    limits = (await venue.result("/v5/market/risk-limit?category=inverse"))["list"]
    assert {row["symbol"] for row in limits} == {row["symbol"] for row in found["inverse"]}
    assert (await venue.ask("/v5/market/risk-limit?category=option"))[1]["retCode"] == 10001


async def test_positions_of_every_category(venue: Venue) -> None:
    inverse = (await venue.result("/v5/position/list?category=inverse"))["list"]
    assert {row["symbol"][:6] for row in inverse} == {"BTCUSD"}
    assert len((await venue.result("/v5/position/list?category=inverse&symbol=BTCUSD"))["list"]) == 1
    (option,) = (await venue.result("/v5/position/list?category=option&baseCoin=BTC"))["list"]
    assert (option["leverage"], option["liqPrice"], option["side"], option["delta"]) == ("", "", "Buy", option["size"])
    assert (await venue.result("/v5/position/list?category=option&baseCoin=ETH"))["list"] == []
    for path in ("category=spot", "category=inverse&symbol=BTCUSDT", "category=option&symbol=NOPE"):
        assert (await venue.ask(f"/v5/position/list?{path}"))[1]["retCode"] == 10001
