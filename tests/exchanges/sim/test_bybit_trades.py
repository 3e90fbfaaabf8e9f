"""Bybit's orders, executions and transaction log: what a stream told is what REST tells, and the books add up."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from decimal import Decimal
from typing import Any

import pytest

from exchanges.bybit import build
from exchanges.events import Fill
from exchanges.sim import bybit_trades as trades
from exchanges.sim.bybit_pages import DAY_MS, LONGEST_WINDOW_MS
from exchanges.sim.world import World
from tests.exchanges.bybit.samples import answer, private
from tests.exchanges.sim.bybit_venue import BEGIN, Venue, pages, running

NAME = "bybit-main"


@pytest.fixture
async def venue() -> AsyncIterator[Venue]:
    async with running() as it:
        it.sim.control.pause()
        yield it


def future(world: World, *, inverse: bool) -> str:
    return next(c.symbol for c in world.listed("bybit") if c.kind == "future" and c.inverse == inverse)


def option(world: World) -> str:
    return next(c.symbol for c in world.listed("bybit") if c.kind == "option")


# --- Executions ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("act", "category", "told"),
    [
        (lambda w: w.hands.open_position(NAME, "BTCUSDT"), "linear", ("Trade", "CreateByUser")),
        (lambda w: w.hands.liquidate(NAME, "SOLUSDT"), "linear", ("BustTrade", "CreateByTakeOver_PassThrough")),
        (lambda w: w.hands.liquidate(NAME, "SOLUSDT", share=Decimal("0.5")), "linear", ("Trade", "CreateByLiq")),
        (lambda w: w.hands.deleverage(NAME, "BTCUSD"), "inverse", ("AdlTrade", "CreateByAdl_PassThrough")),
        (lambda w: w.hands.expire("bybit", future(w, inverse=False)), "linear", ("Delivery", "CreateBySettle")),
        (lambda w: w.hands.expire("bybit", future(w, inverse=True)), "inverse", ("Settle", "CreateBySettle")),
        (lambda w: w.hands.pay_funding("bybit", "BTCUSD"), "inverse", ("Funding", "")),
        (lambda w: w.hands.split("bybit", "SOLUSDT", Decimal(10)), "linear", ("CorporateAction", "")),
    ],
)
async def test_an_execution_says_why_and_is_the_same_over_rest(
    venue: Venue, act: Callable[[World], object], category: str, told: tuple[str, str]
) -> None:
    async with venue.private(NAME, f"execution.{category}", f"position.{category}") as peer:
        act(venue.sim.world)
        (row,) = (await peer.until(lambda f: f.get("topic", "").startswith("execution")))["data"]
        assert (row["execType"], row["createType"], row["category"]) == (*told, category)
        (position,) = (await peer.until(lambda f: f.get("topic", "").startswith("position")))["data"]
        assert (position["symbol"], position["seq"], position["category"]) == (row["symbol"], row["seq"], category)
        listed = await venue.result(f"/v5/execution/list?category={category}&symbol={row['symbol']}")
        assert listed["list"] == [{name: value for name, value in row.items() if name != "execPnl"}]


async def test_of_a_positive_rate_a_long_pays_and_a_short_receives(venue: Venue) -> None:
    for symbol in ("BTCUSDT", "ETHUSDT"):
        venue.sim.world.hands.pay_funding("bybit", symbol, Decimal("0.0001"))
    rows = (await venue.result("/v5/execution/list?category=linear&execType=Funding"))["list"]
    fees = {row["symbol"]: Decimal(row["execFee"]) for row in rows}
    assert fees["ETHUSDT"] < 0 < fees["BTCUSDT"]
    log = (await venue.result("/v5/account/transaction-log?accountType=UNIFIED&type=SETTLEMENT"))["list"]
    assert {row["symbol"]: (Decimal(row["funding"]), row["tradeId"]) for row in log} == {
        row["symbol"]: (-Decimal(row["execFee"]), row["execId"]) for row in rows
    }


async def test_a_taker_pays_and_a_maker_is_rebated(venue: Venue) -> None:
    venue.sim.world.hands.trade_between("bybit-hedge", NAME, "BTCUSDT", Decimal("0.01"))
    (maker,) = (await venue.result("/v5/execution/list?category=linear"))["list"]
    (taker,) = (await venue.result("/v5/execution/list?category=linear", "bybit-hedge"))["list"]
    assert (taker["isMaker"], maker["isMaker"]) == (False, True)
    assert Decimal(maker["execFee"]) < 0 < Decimal(taker["execFee"])
    assert maker["execId"] != taker["execId"]
    (entry,) = (await venue.result("/v5/account/transaction-log?type=TRADE"))["list"]
    assert (entry["fee"], entry["tradeId"]) == (maker["execFee"], maker["execId"])
    assert Decimal(entry["change"]) == Decimal(entry["cashFlow"]) - Decimal(entry["fee"])


async def test_the_log_says_what_is_held_of_a_leg_after_each_trade(venue: Venue) -> None:
    hands, hedged, symbol = venue.sim.world.hands, "bybit-hedge", "XRPUSDT"
    for one in [one for one in venue.sim.world.positions(hedged) if one.symbol == symbol]:
        hands.close_position(hedged, symbol, one.leg)
    hands.open_position(hedged, symbol, "long", Decimal(20))
    hands.open_position(hedged, symbol, "short", Decimal(50))
    hands.close_position(hedged, symbol, "long", Decimal(5))
    hands.close_position(hedged, symbol, "short")
    hands.close_position(hedged, symbol, "long")
    log = (await venue.result("/v5/account/transaction-log?accountType=UNIFIED&type=TRADE", hedged))["list"]
    told = {(row["side"], row["qty"], row["size"]) for row in log if row["symbol"] == symbol}
    assert told >= {
        ("Buy", "20", "20"),
        ("Sell", "50", "-50"),
        ("Sell", "5", "15"),
        ("Buy", "50", "0"),
        ("Sell", "15", "0"),
    }
    link, listed = private(), await venue.result(f"/v5/execution/list?category=linear&symbol={symbol}", hedged)
    link.history(BEGIN, [])
    link.answer(build.transactions(BEGIN), answer({"list": log}), 0, 1)
    fills = [
        one for one in link.answer(build.executions("linear", BEGIN), answer(listed), 0, 1) if isinstance(one, Fill)
    ]
    assert {(one.side, one.size, one.held_before) for one in fills} >= {
        ("buy", "20", "0"),
        ("sell", "50", "0"),
        ("sell", "5", "20"),
        ("buy", "50", "-50"),
        ("sell", "15", "15"),
    }
    assert None not in {one.held_before for one in fills}


async def test_executions_by_page_and_by_weeks(venue: Venue) -> None:
    for _ in range(5):
        venue.sim.world.hands.open_position(NAME, "BTCUSDT", size=Decimal("0.001"))
    whole = (await venue.result("/v5/execution/list?category=linear"))["list"]
    small = await pages(venue, "/v5/execution/list?category=linear&limit=2")
    assert [len(page) for page in small] == [2, 2, 1]
    assert [row for page in small for row in page] == whole
    assert len({row["execId"] for row in whole}) == 5
    week = f"startTime={BEGIN - DAY_MS}&endTime={BEGIN - DAY_MS + LONGEST_WINDOW_MS}"
    assert len((await venue.result(f"/v5/execution/list?category=linear&{week}"))["list"]) == 5
    assert (await venue.ask(f"/v5/execution/list?category=linear&{week}0"))[1]["retCode"] == 10001
    before = f"endTime={BEGIN - 1}"
    assert (await venue.result(f"/v5/execution/list?category=linear&{before}"))["list"] == []
    assert (await venue.ask("/v5/execution/list?category=linear&limit=101"))[1]["retCode"] == 10001
    order = f"/v5/execution/list?category=linear&orderId={whole[0]['orderId']}"
    assert (await venue.result(order))["list"] == whole[:1]


# --- Transaction log -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("account", ["bybit-main", "bybit-isolated", "bybit-hedge"])
def test_the_log_explains_every_change_of_money(account: str) -> None:
    world = World(8, BEGIN)
    before = dict(world.account(account).cash)
    world.step(BEGIN + 9_000)
    for symbol in {p.symbol for p in world.positions(account) if world.contract("bybit", p.symbol).kind == "perp"}:
        world.hands.pay_funding("bybit", symbol)
    world.hands.settle("bybit", "BTCPERP")
    world.hands.transfer(account, "USDT", "bonus", Decimal(3))
    for symbol in [c.symbol for c in world.listed("bybit") if c.kind == "future"]:
        world.hands.expire("bybit", symbol)
    world.hands.liquidate(account, "ETHUSDT" if account != "bybit-hedge" else "BTCUSDT", share=Decimal("0.3"))
    rows = trades.log_rows(world, world.account(account))
    changed: dict[str, Decimal] = {}
    for row in rows:
        parts = Decimal(row["cashFlow"]) + Decimal(row["funding"] or 0) - Decimal(row["fee"])
        assert abs(Decimal(row["change"]) - parts) <= Decimal("2e-8")
        changed[row["currency"]] = changed.get(row["currency"], Decimal(0)) + Decimal(row["change"])
    now = world.account(account).cash
    for ccy, amount in changed.items():
        assert abs(now[ccy] - before[ccy] - amount) <= Decimal("1e-8") * len(rows)
    assert {ccy for ccy in now if now[ccy] != before[ccy]} == set(changed)
    assert len({row["id"] for row in rows}) == len(rows)


@pytest.mark.parametrize(
    ("kind", "amount", "told"),
    [
        ("deposit", "5", "TRANSFER_IN"),
        ("withdrawal", "-5", "TRANSFER_OUT"),
        ("rebate", "5", "FEE_REFUND"),
        ("bonus", "5", "BONUS"),
        ("interest", "-5", "INTEREST"),
        ("conversion", "-5", "CURRENCY_SELL"),
    ],
)
async def test_money_that_came_or_went(venue: Venue, kind: Any, amount: str, told: str) -> None:
    async with venue.private(NAME, "wallet", "execution") as peer:
        venue.sim.world.hands.transfer(NAME, "USDT", kind, Decimal(amount))
        frame = await peer.next()
        assert frame["topic"] == "wallet"
    (row,) = (await venue.result("/v5/account/transaction-log?accountType=UNIFIED"))["list"]
    assert (row["type"], row["change"], row["currency"], row["symbol"]) == (told, amount, "USDT", "")
    (wallet,) = (await venue.result("/v5/account/wallet-balance?accountType=UNIFIED&coin=USDT"))["list"]
    assert row["cashBalance"] == wallet["coin"][0]["walletBalance"]


async def test_the_log_has_a_limit_of_its_own(venue: Venue) -> None:
    path = "/v5/account/transaction-log"
    answers = [await venue.ask(path) for _ in range(26)]
    assert [body["retCode"] for _, body, _ in answers] == [0] * 25 + [10006]
    assert (answers[0][2]["X-Bapi-Limit"], answers[-1][2]["X-Bapi-Limit-Status"]) == ("25", "0")


# --- Orders --------------------------------------------------------------------------------------------------------------


async def test_the_life_of_an_order(venue: Venue) -> None:
    world = venue.sim.world
    order = world.hands.place_order(NAME, "SOLUSDT", True, Decimal(90), Decimal(4))
    realtime = "/v5/order/realtime?category=linear"
    (row,) = (await venue.result(f"{realtime}&settleCoin=USDT"))["list"]
    assert (row["orderStatus"], row["leavesQty"], row["orderType"], row["positionIdx"]) == ("New", "4", "Limit", 0)
    world.hands.fill_order(order, Decimal(3))
    (row,) = (await venue.result(f"{realtime}&symbol=SOLUSDT"))["list"]
    assert (row["orderStatus"], row["cumExecQty"], row["avgPrice"]) == ("PartiallyFilled", "3", "90")
    world.hands.cancel_orders(NAME)
    assert (await venue.result(f"{realtime}&baseCoin=SOL"))["list"] == []
    by_id = (await venue.result(f"{realtime}&orderId={row['orderId']}"))["list"]
    assert [r["orderStatus"] for r in by_id] == ["Cancelled"]
    history = (await venue.result(f"/v5/order/history?category=linear&orderId={row['orderId']}"))["list"]
    assert history == by_id
    assert by_id[0] in (await venue.result("/v5/order/history?category=linear"))["list"]
    assert by_id[0] in (await venue.result(f"{realtime}&settleCoin=USDT&openOnly=1"))["list"]
    assert (await venue.result("/v5/order/history?category=inverse"))["list"] == []


@pytest.mark.parametrize("text", ["nonsense", "00000000-0000-4000-8000-000000000001", ""])
async def test_an_order_that_is_not_there_is_an_empty_list(venue: Venue, text: str) -> None:
    path = f"/v5/order/realtime?category=linear&settleCoin=USDT&orderId={text}"
    assert (await venue.result(path))["list"] == []


async def test_somebody_elses_order_is_not_there(venue: Venue) -> None:
    order = venue.sim.world.hands.place_order("bybit-hedge", "BTCUSDT", True, Decimal(50_000), Decimal("0.1"))
    number = trades.order_id(venue.sim.world, "bybit-hedge", order.id)
    path = f"/v5/order/realtime?category=linear&orderId={number}"
    assert len((await venue.result(path, "bybit-hedge"))["list"]) == 1
    assert (await venue.result(path))["list"] == []


async def test_what_order_questions_need(venue: Venue) -> None:
    assert (await venue.ask("/v5/order/realtime?category=linear"))[1]["retCode"] == 10001
    assert (await venue.ask("/v5/order/realtime?category=linear&symbol=BTCUSDT&limit=51"))[1]["retCode"] == 10001
    assert (await venue.ask("/v5/order/history"))[1]["retCode"] == 10001


# --- What leaves no trace ------------------------------------------------------------------------------------------------


async def test_a_silent_change_is_told_to_nobody_but_who_asks(venue: Venue) -> None:
    async with venue.private(NAME, "position", "wallet", "execution", "order") as peer:
        venue.sim.world.hands.silent(NAME, "SOLUSDT", size=Decimal(17))
        (row,) = (await venue.result("/v5/position/list?category=linear&symbol=SOLUSDT"))["list"]
        assert row["size"] == "17"
        venue.sim.world.hands.transfer(NAME, "USDT", "deposit", Decimal(1))
        assert (await peer.next())["topic"] == "wallet"


async def test_a_suppressed_account_is_told_nothing(venue: Venue) -> None:
    async with venue.private(NAME, "position", "wallet", "execution", "order") as peer:
        venue.sim.control.fault({"kind": "gap", "account": NAME, "seconds": 60})
        venue.sim.world.close_position(NAME, "SOLUSDT")
        (row,) = (await venue.result("/v5/position/list?category=linear&symbol=SOLUSDT"))["list"]
        assert row["size"] == "0"
        await peer.say({"op": "ping"})
        assert (await peer.next())["op"] == "pong"


async def test_an_option_that_expires_is_told_as_closed_alone(venue: Venue) -> None:
    symbol = option(venue.sim.world)
    async with venue.private(NAME, "position", "execution", "order", "wallet") as peer:
        venue.sim.world.hands.expire("bybit", symbol)
        frame = await peer.next()
        assert (frame["topic"], frame["data"][0]["symbol"], frame["data"][0]["size"]) == ("position", symbol, "0")
        venue.sim.world.hands.transfer(NAME, "USDT", "deposit", Decimal(1))
        assert (await peer.next())["topic"] == "wallet"
    assert (await venue.result("/v5/position/list?category=option"))["list"] == []


# --- Modes ---------------------------------------------------------------------------------------------------------------


async def test_a_switch_of_legs_closes_one_row_and_opens_another(venue: Venue) -> None:
    async with venue.private("bybit-isolated", "position") as peer:
        venue.sim.world.modes.switch_legs("bybit-isolated", hedge=True)
        held = len(venue.sim.world.positions("bybit-isolated"))
        rows = [(await peer.next())["data"][0] for _ in range(2 * held)]
        assert {(r["positionIdx"], r["size"] == "0") for r in rows} <= {(0, True), (1, False), (2, False)}
    rows = (await venue.result("/v5/position/list?category=linear&settleCoin=USDT", "bybit-isolated"))["list"]
    assert {row["positionIdx"] for row in rows} == {1, 2}


async def test_portfolio_margin_has_no_figures_of_a_position(venue: Venue) -> None:
    venue.sim.world.modes.switch_account(NAME, "portfolio")
    assert (await venue.result("/v5/account/info"))["marginMode"] == "PORTFOLIO_MARGIN"
    (row,) = (await venue.result("/v5/position/list?category=linear&symbol=BTCUSDT"))["list"]
    names = ("positionIM", "positionMM", "liqPrice", "leverage", "riskId", "riskLimitValue")
    assert [row[name] for name in names] == ["", "", "", "", 0, "0"]
    (wallet,) = (await venue.result("/v5/account/wallet-balance?accountType=UNIFIED&coin=USDT"))["list"]
    assert wallet["accountMMRate"]
    assert wallet["coin"][0]["totalPositionMM"] == ""


async def test_a_session_settlement_is_pushed_and_logged_without_an_execution(venue: Venue) -> None:
    async with venue.private(NAME, "position", "execution", "wallet") as peer:
        (before,) = (await venue.result("/v5/position/list?category=linear&symbol=BTCPERP"))["list"]
        venue.sim.world.hands.settle("bybit", "BTCPERP")
        position, wallet = [await peer.next() for _ in range(2)]
        assert [position["topic"], wallet["topic"]] == ["position", "wallet"]
        (row,) = position["data"]
        assert row["entryPrice"] == before["avgPrice"]
        assert Decimal(row["sessionAvgPrice"]) == venue.sim.world.mark("bybit", "BTCPERP")
    (entry,) = (await venue.result("/v5/account/transaction-log?type=SETTLEMENT"))["list"]
    assert (entry["symbol"], entry["funding"], entry["change"]) == ("BTCPERP", "", before["unrealisedPnl"])


async def test_a_switch_of_margin_mode_is_the_accounts_and_seen_when_asked(venue: Venue) -> None:
    name = "bybit-hedge"
    venue.sim.world.modes.switch_account(name, "isolated")
    assert (await venue.result("/v5/account/info", name))["marginMode"] == "ISOLATED_MARGIN"
    rows = (await venue.result("/v5/position/list?category=linear&symbol=BTCUSDT", name))["list"]
    assert ["0" not in {row["positionBalance"], row["size"]} for row in rows] == [True, True]


async def test_a_fee_of_another_coin_is_told_in_it_and_has_an_entry_of_its_own_in_the_log(venue: Venue) -> None:
    world = venue.sim.world
    world.account(NAME).fee_ccy = "BTC"
    async with venue.private(NAME, "execution.linear") as peer:
        world.hands.open_position(NAME, "BTCUSDT")
        (row,) = (await peer.until(lambda f: f.get("topic", "").startswith("execution")))["data"]
    account = world.account(NAME)
    mine = [one for one in trades.log_rows(world, account) if one["tradeId"] == row["execId"]]
    paid = Decimal(row["execFee"])
    assert row["feeCurrency"] == "BTC"
    assert {one["currency"]: (Decimal(one["fee"]), Decimal(one["change"])) for one in mine} == {
        "USDT": (0, 0), "BTC": (paid, -paid),
    }  # fmt: skip
