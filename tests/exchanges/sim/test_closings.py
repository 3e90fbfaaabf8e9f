"""The venues' own records of what was closed: every closing is in them once, in each venue's arithmetic, on every page."""

from __future__ import annotations

from collections import defaultdict
from decimal import Decimal
from typing import Any

import pytest

from exchanges.sim import bybit_closed, bybit_trades, okx_closed
from exchanges.sim.bybit_pages import DAY_MS, OLDEST_MS
from exchanges.sim.changes import Filled
from exchanges.sim.server import Simulator, start
from exchanges.sim.world import World
from tests.exchanges.sim.bybit_venue import BEGIN, Venue, pages, running
from tests.exchanges.sim.raw import Clock, ask, okx_headers

OKX, BYBIT = "okx-main", "bybit-main"
HISTORY = "/api/v5/account/positions-history"


def busy(accounts: tuple[str, ...]) -> World:
    """Return a world that traded for a while, with everything that can happen to a position."""
    world = World(8, BEGIN)
    world.step(BEGIN + 9_000)
    for account in accounts:
        world.hands.liquidate(account, world.positions(account)[0].symbol, share=Decimal("0.3"))
        world.hands.deleverage(account, world.positions(account)[1].symbol)
        world.hands.close_position(account, world.positions(account)[-1].symbol)
    for position in [p for account in accounts for p in world.positions(account)]:
        contract = world.contract(position.venue, position.symbol)
        if contract.kind == "perp":
            world.hands.pay_funding(position.venue, position.symbol)
        elif contract.kind == "future" and position.venue == "okx":
            world.hands.settle("okx", position.symbol)
    if BYBIT in accounts:
        world.hands.settle("bybit", "BTCPERP")
    world.step(BEGIN + 200_000)
    for future in [c for c in world.listed(world.account(accounts[0]).venue) if c.kind == "future"]:
        world.hands.expire(future.venue, future.symbol)
    return world


def closes(fill: Filled) -> bool:
    return bool(fill.trade.before) and fill.trade.buy != (fill.trade.before > 0)


def figure(row: dict[str, Any], name: str) -> Decimal:
    return Decimal(row[name] or 0)


# --- OKX -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("account", ["okx-main", "okx-isolated", "okx-hedge"])
def test_okx_keeps_one_row_a_position_whose_amounts_add_up(account: str) -> None:
    world = busy(("okx-main", "okx-isolated", "okx-hedge"))
    rows = okx_closed.history_rows(world, world.account(account))
    closed: defaultdict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for fill in filter(closes, world.fills(account)):
        closed[str(fill.position.id), str(fill.position.opened_at)] += fill.trade.size
    assert {(row["posId"], row["cTime"]): Decimal(row["closeTotalPos"]) for row in rows} == closed
    assert [int(row["uTime"]) for row in rows] == sorted((int(row["uTime"]) for row in rows), reverse=True)
    for row in rows:
        parts = ("pnl", "fee", "fundingFee", "liqPenalty", "settledPnl")
        assert figure(row, "realizedPnl") == sum((figure(row, name) for name in parts), Decimal(0))
        assert figure(row, "liqPenalty") <= 0
        assert bool(row["triggerPx"]) == (row["type"] in ("3", "4", "5"))
        assert Decimal(row["closeTotalPos"]) > 0 < Decimal(row["openMaxPos"])
    assert {"1", "2", "3", "4", "5", "6"} >= {row["type"] for row in rows} > {"2"}


def test_okx_says_what_the_fills_of_a_position_brought() -> None:
    world = World(3, BEGIN)
    world.pause()
    (held,) = [p for p in world.positions(OKX) if p.symbol == "SOL-USDT-SWAP"]
    world.hands.close_position(OKX, held.symbol)
    world.shift("SOL", Decimal("0.01"))
    world.step(BEGIN + 5)
    (opened,) = world.hands.open_position(OKX, held.symbol, "long", Decimal(30))
    world.shift("SOL", Decimal("0.02"))
    world.hands.pay_funding("okx", held.symbol, Decimal("0.0001"))
    for share in ("0.5", "1"):
        world.hands.liquidate(OKX, held.symbol, share=Decimal(share))
    first, second = reversed(okx_closed.history_rows(world, world.account(OKX)))
    own = [f.trade for f in world.fills(OKX) if f.position.opened_at == opened.opened_at and f.symbol == held.symbol]
    assert (first["posId"], first["cTime"], first["type"]) == (second["posId"], str(held.opened_at), "2")
    assert (second["cTime"], second["type"], second["openMaxPos"], second["closeTotalPos"]) == (
        str(opened.opened_at), "3", "30", "30",
    )  # fmt: skip
    assert Decimal(second["pnl"]) == sum(trade.pnl for trade in own)
    assert Decimal(second["fee"]) == own[0].fee
    assert Decimal(second["liqPenalty"]) == own[1].fee + own[2].fee
    assert Decimal(second["fundingFee"]) == world.payments(OKX)[-1].amount < 0
    assert Decimal(second["triggerPx"]) == Decimal(second["closeAvgPx"]) == world.mark("okx", held.symbol)


@pytest.fixture
async def okx() -> Any:
    clock = Clock()
    sim = await start(11, clock=clock)
    sim.control.pause()
    yield sim, clock
    await sim.stop()


async def _rows(sim: Simulator, clock: Clock, query: str = "") -> list[dict[str, Any]]:
    (account,) = [a for a in sim.describe()["okx"]["accounts"] if a["name"] == OKX]
    path = HISTORY + query
    status, answer = await ask(sim.urls["okx"] + path, headers=okx_headers(account, path, clock()))
    assert (status, answer["code"]) == (200, "0"), answer
    return list(answer["data"])


async def test_okx_gives_all_rows_of_a_pages_last_millisecond(okx: tuple[Simulator, Clock]) -> None:
    sim, clock = okx
    at = sim.world.now_ms
    for position in sim.world.positions(OKX)[:3]:
        sim.world.hands.close_position(OKX, position.symbol, size=sim.world.contract("okx", position.symbol).lot)
    sim.world.step(at + 1)
    sim.world.hands.deleverage(OKX, sim.world.positions(OKX)[-1].symbol)
    whole = await _rows(sim, clock)
    assert [row["uTime"] for row in whole] == [str(at + 1), *[str(at)] * (len(whole) - 1)]
    assert len(whole) > 3
    assert await _rows(sim, clock, "?limit=1") == whole[:1]
    assert await _rows(sim, clock, "?limit=2") == whole
    assert await _rows(sim, clock, f"?limit=1&after={at + 1}") == whole[1:]
    assert await _rows(sim, clock, f"?after={at}") == []
    assert await _rows(sim, clock, f"?before={at}") == whole[:1]
    assert await _rows(sim, clock, f"?posId={whole[1]['posId']}") == whole[1:2]


# --- Bybit ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("account", ["bybit-main", "bybit-isolated", "bybit-hedge"])
def test_bybit_keeps_one_row_a_closing_order_net_of_both_fees(account: str) -> None:
    world = busy(("bybit-main", "bybit-isolated", "bybit-hedge"))
    owner = world.account(account)
    rows = [row for category in ("linear", "inverse") for row in bybit_closed.closed_rows(world, owner, category)]
    closed: defaultdict[str, Decimal] = defaultdict(Decimal)
    brought: defaultdict[str, Decimal] = defaultdict(Decimal)
    for fill in filter(closes, world.fills(account)):
        if world.contract("bybit", fill.symbol).kind != "option":
            number = bybit_trades.order_id(world, account, fill.trade.order_id)
            closed[number] += fill.trade.size
            brought[number] += fill.trade.pnl
    orders = [row for row in rows if row["execType"] != "SessionSettlePnL"]
    assert {row["orderId"]: Decimal(row["closedSize"]) for row in orders} == closed
    assert len(orders) == len(closed)
    for row in orders:
        assert Decimal(row["closedPnl"]) == brought[row["orderId"]] - Decimal(row["openFee"]) - Decimal(row["closeFee"])
        inverse = world.contract("bybit", row["symbol"]).inverse
        long = (row["side"] == "Sell") != inverse
        gain = (Decimal(row["cumExitValue"]) - Decimal(row["cumEntryValue"])) * (1 if long else -1)
        # Every fill was rounded by itself to eight decimals.
        assert abs(gain - brought[row["orderId"]]) <= Decimal("1e-8") * (int(row["fillCount"]) + 1)
    settled = [row for row in rows if row["execType"] == "SessionSettlePnL"]
    assert sum((Decimal(row["closedPnl"]) for row in settled), Decimal(0)) == sum(
        (total.settled for (name, _), total in world.totals().items() if name == account), Decimal(0)
    )


def test_bybit_spreads_what_opening_cost_over_what_closes() -> None:
    world = World(3, BEGIN)
    world.pause()
    held = next(p for p in world.positions(BYBIT) if p.symbol == "SOLUSDT")
    world.hands.close_position(BYBIT, held.symbol)
    world.hands.open_position(BYBIT, held.symbol, "long", Decimal(9))
    for size in ("3", "1", "5"):
        world.hands.close_position(BYBIT, held.symbol, size=Decimal(size))
    rows = bybit_closed.closed_rows(world, world.account(BYBIT), "linear")[1:]
    opening = next(f.trade for f in world.fills(BYBIT) if f.symbol == held.symbol and not closes(f))
    assert [row["closedSize"] for row in rows] == ["3", "1", "5"]
    assert sum(Decimal(row["openFee"]) for row in rows) == -opening.fee
    assert abs(Decimal(rows[0]["openFee"]) + opening.fee / 3) <= Decimal("1e-8")


async def test_bybit_pages_rows_of_one_millisecond_and_refuses_long_or_old_windows() -> None:
    async with running() as venue:
        venue.sim.control.pause()
        await _bybit_pages(venue)


async def _bybit_pages(venue: Venue) -> None:
    hands = venue.sim.world.hands
    for _ in range(4):
        hands.close_position(BYBIT, "BTCUSDT", size=Decimal("0.001"))
    hands.settle("bybit", "BTCPERP")
    path = "/v5/position/closed-pnl?category=linear"
    whole = (await venue.result(path))["list"]
    assert {row["createdTime"] for row in whole} == {str(venue.sim.world.now_ms)}
    assert len(whole) == 4 + sum(1 for p in venue.sim.world.positions(BYBIT) if p.symbol == "BTCPERP") > 4
    for most in (1, 2, 3):
        small = await pages(venue, f"{path}&limit={most}")
        assert [row for page in small for row in page] == whole
    asked = {
        "a window of more than a week": f"{path}&startTime={BEGIN - 8 * DAY_MS}&endTime={BEGIN}",
        "options": "/v5/position/closed-pnl?category=option",
        "a page of 101": f"{path}&limit=101",
        "older than two years": f"{path}&startTime={BEGIN - OLDEST_MS - 1}&endTime={BEGIN - OLDEST_MS + 1}",
    }
    for what, question in asked.items():
        assert (await venue.ask(question))[1]["retCode"] == 10001, what
    assert (await venue.result(f"{path}&symbol=BTCPERP"))["list"] == [r for r in whole if r["symbol"] == "BTCPERP"]
    assert (await venue.result("/v5/position/closed-pnl?category=inverse"))["list"] == []


# --- The truth about them ------------------------------------------------------------------------------------------------


async def test_the_truth_counts_every_fill_and_what_it_brought(okx: tuple[Simulator, Clock]) -> None:
    sim, _ = okx
    for account in sim.world.accounts.values():
        for symbol in sorted({p.symbol for p in sim.world.positions(account.name)}):
            if sim.world.contract(account.venue, symbol).kind != "option":
                sim.world.hands.deleverage(account.name, symbol, share=Decimal("0.4"))
                sim.world.hands.close_position(account.name, symbol)
    url = sim.describe()["control"] + "/truth"
    assert not {"fills", "realized"} & (await ask(url))[1].keys()
    told = (await ask(url + "?books=1"))[1]
    fills, realized = told["fills"], told["realized"]
    assert len({(f["account"], f["symbol"], f["trade_id"], f["order_id"]) for f in fills}) == len(fills) > 20
    assert {f["account"] for f in fills} == set(sim.world.accounts)
    for row in realized:
        mine = [f for f in fills if (f["account"], f["symbol"]) == (row["account"], row["symbol"])]
        assert row["fills"] == len(mine)
        assert Decimal(row["realized_pnl"]) == sum((Decimal(f["realized_pnl"]) for f in mine), Decimal(0))
        assert Decimal(row["fees"]) == sum((Decimal(f["fee"]) for f in mine), Decimal(0))
