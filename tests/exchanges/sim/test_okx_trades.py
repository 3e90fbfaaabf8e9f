"""OKX's orders, fills and bills: the same ids everywhere, amounts as effects on the balance, and books that add up."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from exchanges.sim import okx_trades as trades
from exchanges.sim.world import Account, World
from tests.exchanges.sim.okx_talk import BEGIN

NAME = "okx-main"


@pytest.fixture
def world() -> World:
    made = World(3, BEGIN)
    made.pause()
    return made


def fills(world: World, name: str = NAME) -> list[dict[str, Any]]:
    return [trades.fill_row(world, world.account(name), fill) for fill in world.fills(name)]


def bills(world: World, name: str = NAME) -> list[dict[str, Any]]:
    return trades.bills(world, world.account(name))


@pytest.mark.parametrize("account", ["okx-main", "okx-isolated", "okx-hedge"])
def test_the_bills_explain_every_change_of_money(account: str) -> None:
    world = World(8, BEGIN)
    before = dict(world.account(account).cash)
    world.step(BEGIN + 9_000)
    world.hands.pay_funding("okx", "BTC-USDT-SWAP")
    world.hands.transfer(account, "USDT", "bonus", Decimal(3))
    world.hands.liquidate(account, "BTC-USDT-SWAP", share=Decimal("0.3"))
    world.hands.deleverage(account, "BTC-USDT-SWAP")
    for symbol in [c.symbol for c in world.listed("okx") if c.kind == "future"]:
        world.hands.settle("okx", symbol)
        world.hands.expire("okx", symbol)
    rows = bills(world, account)
    changed: dict[str, Decimal] = {}
    for row in rows:
        changed[row["ccy"]] = changed.get(row["ccy"], Decimal(0)) + Decimal(row["balChg"])
    now = world.account(account).cash
    assert {ccy: now[ccy] - before[ccy] for ccy in now if now[ccy] != before[ccy]} == changed
    assert [int(row["billId"]) for row in rows] == sorted((int(row["billId"]) for row in rows), reverse=True)
    assert len({row["billId"] for row in rows}) == len(rows)
    latest = {row["ccy"]: row["bal"] for row in reversed(rows)}
    for ccy, balance in latest.items():
        assert Decimal(balance) == world.cross_cash(world.account(account), ccy)


def paid(world: World, owner: Account, side: str) -> list[dict[str, Any]]:
    mine = {p.symbol for p in world.positions(owner.name) if p.side == side}
    return [row for row in trades.bills(world, owner) if row["type"] == "8" and row["instId"] in mine]


def test_of_a_positive_rate_a_long_pays_and_a_short_receives(world: World) -> None:
    for symbol in ("BTC-USDT-SWAP", "XRP-USDT-SWAP"):
        world.hands.pay_funding("okx", symbol, Decimal("0.0001"))
    owner = world.account(NAME)
    (long,), (short,) = paid(world, owner, "long"), paid(world, owner, "short")
    assert (long["subType"], long["pnl"].startswith("-"), long["balChg"]) == ("173", True, long["pnl"])
    assert (short["subType"], short["pnl"].startswith("-"), short["balChg"]) == ("174", False, short["pnl"])


def test_a_taker_pays_and_a_maker_is_rebated(world: World) -> None:
    world.hands.trade_between("okx-main", "okx-hedge", "BTC-USDT-SWAP", Decimal(2))
    (taker,), (maker,) = fills(world, "okx-main"), fills(world, "okx-hedge")
    assert (taker["execType"], maker["execType"]) == ("T", "M")
    assert Decimal(taker["fee"]) < 0 < Decimal(maker["fee"])
    assert taker["tradeId"] == maker["tradeId"]
    assert taker["ordId"] != maker["ordId"]


@pytest.mark.parametrize(
    ("share", "category", "sub"), [("1", "full_liquidation", "104"), ("0.5", "partial_liquidation", "100")]
)
def test_a_liquidation_has_a_negative_trade_id_and_an_order_without_one(
    world: World, share: str, category: str, sub: str
) -> None:
    world.hands.liquidate(NAME, "SOL-USDT-SWAP", share=Decimal(share))
    (fill,) = [row for row in fills(world) if row["instId"] == "SOL-USDT-SWAP"]
    (bill,) = [row for row in bills(world) if row["type"] == "5"]
    order = world.order(NAME, trades.order_number(fill["ordId"]) or 0)
    assert order is not None
    row = trades.order_row(world, world.account(NAME), order)
    assert fill["tradeId"].startswith("-")
    assert (row["category"], row["tradeId"], row["state"], row["px"]) == (category, "0", "filled", "")
    assert (bill["subType"], bill["billId"], bill["tradeId"]) == (sub, fill["billId"], fill["tradeId"])


@pytest.mark.parametrize(("symbol", "sub"), [("SOL-USDT-SWAP", "125"), ("XRP-USDT-SWAP", "126")])
def test_adl_tells_which_side_was_closed(world: World, symbol: str, sub: str) -> None:
    world.hands.deleverage(NAME, symbol)
    (bill,) = [row for row in bills(world) if row["type"] == "9"]
    assert (bill["subType"], bill["instId"]) == (sub, symbol)


def test_a_future_is_delivered(world: World) -> None:
    futures = {p.symbol: p.side for p in world.positions(NAME) if world.contract("okx", p.symbol).kind == "future"}
    for symbol in futures:
        world.hands.expire("okx", symbol)
    delivered = {row["instId"]: row["subType"] for row in bills(world) if row["type"] == "3"}
    assert delivered == {symbol: "112" if side == "long" else "113" for symbol, side in futures.items()}


def test_a_daily_settlement_has_a_bill_of_its_own(world: World) -> None:
    future = next(p for p in world.positions(NAME) if world.contract("okx", p.symbol).kind == "future")
    world.hands.settle("okx", future.symbol)
    (bill,) = bills(world)
    (position,) = [p for p in world.positions(NAME) if p.id == future.id]
    assert (bill["type"], bill["subType"], bill["instId"]) == ("34", "355", future.symbol)
    assert (Decimal(bill["pnl"]), bill["balChg"]) == (position.settled, bill["pnl"])


@pytest.mark.parametrize(
    ("kind", "amount", "told"),
    [
        ("deposit", "5", ("1", "11", "6", "18")),
        ("withdrawal", "-5", ("1", "12", "18", "6")),
        ("bonus", "5", ("1", "200", "6", "18")),
        ("interest", "-5", ("7", "9", "", "")),
        ("conversion", "-5", ("11", "119", "", "")),
    ],
)
def test_money_that_came_or_went(world: World, kind: Any, amount: str, told: tuple[str, ...]) -> None:
    world.hands.transfer(NAME, "USDT", kind, Decimal(amount))
    (bill,) = bills(world)
    assert tuple(bill[name] for name in ("type", "subType", "from", "to")) == told
    assert (bill["balChg"], bill["ccy"], bill["instId"]) == (amount, "USDT", "")


def test_an_order_keeps_its_average_over_several_fills(world: World) -> None:
    order = world.hands.place_order(NAME, "SOL-USDT-SWAP", True, Decimal(100), Decimal(4))
    world.hands.fill_order(order, Decimal(1))
    half = world.order(NAME, order.id)
    assert half is not None
    row = trades.order_row(world, world.account(NAME), half)
    assert (row["state"], row["accFillSz"], row["avgPx"], row["reduceOnly"]) == (
        "partially_filled",
        "1",
        "100",
        "false",
    )
    world.hands.fill_order(half, Decimal(3))
    earlier = trades.order_row(world, world.account(NAME), half)
    assert earlier == row  # as it stood then, though more was filled since
    done = world.order(NAME, order.id)
    assert done is not None
    row = trades.order_row(world, world.account(NAME), done)
    assert (row["state"], row["accFillSz"], row["fillSz"]) == ("filled", "4", "3")
    assert Decimal(row["fee"]) == sum(Decimal(fill["fee"]) for fill in fills(world))


def test_a_fill_that_opens_and_one_that_closes(world: World) -> None:
    world.hands.open_position(NAME, "SOL-USDT-SWAP", "long", Decimal(1))
    world.hands.close_position(NAME, "SOL-USDT-SWAP", size=Decimal(1))
    world.hands.open_position(NAME, "XRP-USDT-SWAP", "short", Decimal(1))
    world.hands.close_position(NAME, "XRP-USDT-SWAP", size=Decimal(1))
    assert [row["subType"] for row in fills(world)] == ["3", "5", "4", "6"]


def test_pages_go_back_from_a_number_and_forward_to_one() -> None:
    rows = [{"billId": str(n)} for n in range(9, 0, -1)]

    def page(after: str, before: str, limit: int) -> list[str]:
        return [r["billId"] for r in trades.page(rows, lambda row: int(row["billId"]), after, before, limit)]

    assert page("", "", 3) == ["9", "8", "7"]
    assert page("7", "", 3) == ["6", "5", "4"]
    assert page("", "7", 3) == ["9", "8"]
    assert page("7", "4", 3) == ["6", "5"]


@pytest.mark.parametrize("text", ["", "x", "-1"])
def test_what_cannot_be_an_order_id(text: str) -> None:
    assert trades.order_number(text) is None


@pytest.mark.parametrize(("amount", "sub"), [("10", "160"), ("-10", "161")])
def test_margin_that_is_moved_by_hand_has_a_bill(world: World, amount: str, sub: str) -> None:
    owner = world.account("okx-isolated")
    world.hands.margin("okx-isolated", "LTC-USDT-SWAP", Decimal(amount))
    bill = bills(world, owner.name)[0]
    assert (bill["type"], bill["subType"], bill["instId"], bill["mgnMode"]) == ("6", sub, "LTC-USDT-SWAP", "isolated")
    assert Decimal(bill["posBalChg"]) == Decimal(amount) == -Decimal(bill["balChg"])
    assert Decimal(bill["bal"]) == world.cross_cash(owner, "USDT")
