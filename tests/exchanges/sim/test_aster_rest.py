"""The simulated Aster's REST: market answers, history and its windows, weights, bans, errors that are no JSON."""

from __future__ import annotations

from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import aiohttp
import pytest

from exchanges.sim.server import start
from tests.exchanges.sim.aster_client import BEGIN, HEDGE, MAIN, Venue

WEEK_MS = 7 * 86_400_000


@pytest.fixture
async def venue() -> AsyncIterator[Venue]:
    it = Venue()
    it.sim = await start(5, clock=it)
    it.sim.control.pause()
    yield it
    await it.sim.stop()


@pytest.mark.parametrize("version", ["v1", "v3"])
async def test_the_market_in_both_versions(venue: Venue, version: str) -> None:
    truth = venue.sim.control.truth()["marks"]["aster"]
    info = await venue.public(f"/fapi/{version}/exchangeInfo")
    assert {row["symbol"] for row in info["symbols"]} == set(truth)
    bitcoin = next(row for row in info["symbols"] if row["symbol"] == "BTCUSDT")
    filters = {row["filterType"]: row for row in bitcoin["filters"]}
    assert (bitcoin["baseAsset"], bitcoin["marginAsset"], filters["LOT_SIZE"]["stepSize"]) == ("BTC", "USDT", "0.001")
    marks = await venue.public(f"/fapi/{version}/premiumIndex")
    assert {row["symbol"]: Decimal(row["markPrice"]) for row in marks} == {s: Decimal(m) for s, m in truth.items()}
    one = await venue.public(f"/fapi/{version}/premiumIndex?symbol=BTCUSDT")
    assert one in marks
    assert one["nextFundingTime"] > BEGIN
    (funding,) = await venue.public(f"/fapi/{version}/fundingInfo?symbol=BTCUSDT")
    assert funding["fundingIntervalHours"] == 8
    assert await venue.public(f"/fapi/{version}/time") == {"serverTime": BEGIN}
    assert await venue.public(f"/fapi/{version}/ping") == {}


async def error(venue: Venue, name: str, question: str, **params: Any) -> Any:
    status, answer, _ = await venue.send("GET", f"/fapi/v3/{question}?{venue.v3(name, params)}")
    assert status == 400
    return answer["code"]


async def test_errors_by_code(venue: Venue) -> None:
    assert (await venue.send("GET", "/fapi/v1/premiumIndex?symbol=NOPE"))[1] == {
        "code": -1121,
        "msg": "Invalid symbol.",
    }
    assert await error(venue, MAIN, "userTrades") == -1102
    assert await error(venue, MAIN, "userTrades", symbol="NOPE") == -1121
    assert await error(venue, MAIN, "userTrades", symbol="BTCUSDT", fromId=1, startTime=1) == -1128
    assert await error(venue, MAIN, "userTrades", symbol="BTCUSDT", startTime=2, endTime=1) == -1023
    assert (
        await error(venue, MAIN, "userTrades", symbol="BTCUSDT", startTime=BEGIN - WEEK_MS - 1, endTime=BEGIN) == -1127
    )
    assert await error(venue, MAIN, "userTrades", symbol="BTCUSDT", limit=1001) == -1130
    assert await error(venue, MAIN, "order", symbol="BTCUSDT") == -1102
    assert await error(venue, MAIN, "order", symbol="BTCUSDT", orderId=1) == -2013
    assert await error(venue, MAIN, "forceOrders", autoCloseType="MAYBE") == -1130


async def test_trades_page_by_time_and_by_id(venue: Venue) -> None:
    for _ in range(5):
        venue.now += 1_000
        venue.act("open_position", account=MAIN, symbol="BTCUSDT", size="0.01")
    everything = await venue.ask(MAIN, "userTrades", symbol="BTCUSDT")
    assert [row["time"] for row in everything] == [BEGIN + 1_000 * n for n in range(1, 6)], "oldest first"
    assert await venue.ask(MAIN, "userTrades", symbol="BTCUSDT", limit=2) == everything[-2:], "the newest"
    window = {"startTime": BEGIN + 2_000, "endTime": BEGIN + 4_000}
    assert await venue.ask(MAIN, "userTrades", symbol="BTCUSDT", **window) == everything[1:4], "both ends included"
    assert await venue.ask(MAIN, "userTrades", symbol="BTCUSDT", startTime=BEGIN, limit=2) == everything[:2]
    assert await venue.ask(MAIN, "userTrades", symbol="BTCUSDT", fromId=everything[3]["id"]) == everything[3:]
    assert await venue.ask(MAIN, "userTrades", symbol="ETHUSDT") == []
    orders = await venue.ask(MAIN, "allOrders", symbol="BTCUSDT")
    assert [row["orderId"] for row in orders] == [row["orderId"] for row in everything]
    assert await venue.ask(MAIN, "allOrders", symbol="BTCUSDT", orderId=orders[2]["orderId"]) == orders[2:]
    venue.now += WEEK_MS + 10_000
    assert await venue.ask(MAIN, "userTrades", symbol="BTCUSDT") == [], "a week is what is told unasked"


async def test_a_taker_pays_and_a_maker_is_rebated(venue: Venue) -> None:
    venue.act("trade", buyer=MAIN, seller=HEDGE, symbol="BTCUSDT", size="0.01")
    (bought,) = await venue.ask(MAIN, "userTrades", symbol="BTCUSDT")
    (sold,) = await venue.ask(HEDGE, "userTrades", symbol="BTCUSDT")
    assert bought["id"] == sold["id"], "both sides share the trade's id"
    paid = {row["maker"]: Decimal(row["commission"]) for row in (bought, sold)}
    assert set(paid) == {True, False}
    assert paid[False] > 0
    for name, row in ((MAIN, bought), (HEDGE, sold)):
        (income,) = await venue.ask(name, "income", incomeType="COMMISSION")
        assert Decimal(income["income"]) == -Decimal(row["commission"])
        assert income["tradeId"] == str(row["id"])
    assert (Decimal(sold["commission"]) < 0) == sold["maker"], "this account's makers are rebated"


async def test_income_of_every_kind_adds_up_to_the_wallet(venue: Venue) -> None:
    before = Decimal((await venue.ask(MAIN, "balance"))[0]["balance"])
    venue.act("close_position", account=MAIN, symbol="ETHUSDT")
    venue.act("pay_funding", venue="aster")
    venue.act("transfer", account=MAIN, amount="-120")
    venue.act("liquidate", account=MAIN, symbol="SOLUSDT")
    rows = await venue.ask(MAIN, "income", limit=1000)
    assert {row["incomeType"] for row in rows} >= {
        "REALIZED_PNL",
        "COMMISSION",
        "FUNDING_FEE",
        "TRANSFER",
        "INSURANCE_CLEAR",
    }
    assert len({(row["incomeType"], row["tranId"]) for row in rows}) == len(rows)
    after = Decimal((await venue.ask(MAIN, "balance"))[0]["balance"])
    assert before + sum(Decimal(row["income"]) for row in rows) == after
    assert await venue.ask(MAIN, "income", limit=2) == rows[-2:]


async def test_weights_limits_and_bans(venue: Venue) -> None:
    _, _, headers = await venue.send("GET", f"/fapi/v3/positionSide/dual?{venue.v3(MAIN)}")
    assert headers["X-MBX-USED-WEIGHT-1M"] == "30"
    _, _, headers = await venue.send("GET", f"/fapi/v3/openOrders?{venue.v3(MAIN, {'symbol': 'BTCUSDT'})}")
    assert headers["X-MBX-USED-WEIGHT-1M"] == "31"
    for _ in range(59):
        await venue.send("GET", f"/fapi/v3/openOrders?{venue.v3(MAIN)}")
    status, answer, headers = await venue.send("GET", f"/fapi/v3/income?{venue.v3(MAIN)}")
    assert (status, answer["code"], int(headers["Retry-After"]) > 0) == (429, -1003, True)
    for _ in range(10):
        status, answer, headers = await venue.send("GET", "/fapi/v3/time")
    assert (status, "IP banned until" in answer["msg"]) == (418, True)
    venue.now += 60_000
    assert (await venue.send("GET", "/fapi/v3/time"))[0] == 418, "a ban outlives the minute"
    venue.now += 60_000
    assert (await venue.send("GET", "/fapi/v3/time"))[0] == 200


async def test_refusals_on_demand(venue: Venue) -> None:
    venue.act("429", venue="aster", count=1)
    assert (await venue.send("GET", "/fapi/v3/time"))[0] == 429
    venue.act("server_error", venue="aster", count=1)
    async with aiohttp.ClientSession() as session, session.get(venue.url + "/fapi/v3/time") as answer:
        assert (answer.status >= 500, "<html" in (await answer.text()).lower()) == (True, True)
    assert (await venue.send("GET", "/fapi/v3/time"))[0] == 200
