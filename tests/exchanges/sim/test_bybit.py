"""The simulated Bybit as a client meets it: hand-made signatures and frames, a clock that the test moves."""

from __future__ import annotations

from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import aiohttp
import pytest

from exchanges.sim import bybit_rest
from exchanges.sim.bybit import IDLE_MS, idle_time
from exchanges.sim.haircuts import counted
from tests.exchanges.sim.bybit_venue import BEGIN, Venue, pages, running
from tests.exchanges.sim.raw import dial


@pytest.fixture
async def venue() -> AsyncIterator[Venue]:
    async with running() as it:
        yield it


# --- REST: who may ask -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"key": "nobody"}, 10003),
        ({"secret": "not the secret"}, 10004),
        ({"late_ms": 5001}, 10002),
        ({"late_ms": -1000}, 10002),
        ({"late_ms": 5000}, 0),
        ({"late_ms": -999}, 0),
    ],
)
async def test_signature_and_time_are_checked(venue: Venue, wrong: dict[str, Any], code: int) -> None:
    status, body, _ = await venue.ask("/v5/account/info", **wrong)
    assert (status, body["retCode"]) == (200, code)


async def test_the_signature_covers_the_query_as_sent(venue: Venue) -> None:
    _, body, _ = await venue.ask("/v5/position/list?settleCoin=USDT&category=linear&limit=5")
    assert body["retCode"] == 0


async def test_a_request_without_a_key_is_unauthorized(venue: Venue) -> None:
    async with aiohttp.ClientSession() as session, session.get(venue.sim.urls["bybit"] + "/v5/account/info") as answer:
        assert answer.status == 401


async def test_limit_of_a_user_and_its_headers(venue: Venue) -> None:
    _, first, headers = await venue.ask("/v5/account/info")
    assert (first["retCode"], headers["X-Bapi-Limit"], headers["X-Bapi-Limit-Status"]) == (0, "50", "49")
    codes = [(await venue.ask("/v5/account/info"))[1]["retCode"] for _ in range(50)]
    assert codes == [0] * 49 + [10006]
    assert (await venue.ask("/v5/account/info", "bybit-hedge"))[1]["retCode"] == 0
    venue.now += 1000
    assert (await venue.ask("/v5/account/info"))[1]["retCode"] == 0


async def test_fault_429(venue: Venue) -> None:
    venue.sim.control.fault({"kind": "429", "venue": "bybit", "seconds": 3})
    status, body, headers = await venue.ask("/v5/account/info")
    assert (status, body["retCode"], body["retMsg"]) == (200, 10006, "Too many visits!")
    assert headers["X-Bapi-Limit-Reset-Timestamp"] == str(venue.now + 3000)
    venue.now += 3000
    assert (await venue.ask("/v5/account/info"))[1]["retCode"] == 0


async def test_flood_is_forbidden(venue: Venue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bybit_rest, "FLOOD", 3)
    venue.sim.fronts["bybit"]._rest._arrivals.clear()  # type: ignore[attr-defined]
    statuses = [(await venue.ask("/v5/market/time"))[0] for _ in range(4)]
    assert statuses == [200, 200, 200, 403]


async def test_key_is_read_only(venue: Venue) -> None:
    found = await venue.result("/v5/user/query-api")
    assert (found["readOnly"], found["apiKey"]) == (1, venue.keys("bybit-main")[0])
    assert isinstance(found["permissions"]["ContractTrade"], list)


@pytest.mark.parametrize(
    ("name", "mode"),
    [("bybit-main", "REGULAR_MARGIN"), ("bybit-isolated", "ISOLATED_MARGIN"), ("bybit-hedge", "REGULAR_MARGIN")],
)
async def test_margin_mode_is_the_accounts(venue: Venue, name: str, mode: str) -> None:
    assert (await venue.result("/v5/account/info", name))["marginMode"] == mode


# --- REST: positions and wallet ----------------------------------------------------------------------------------------


async def test_positions_by_cursor(venue: Venue) -> None:
    whole = await venue.result("/v5/position/list?category=linear&settleCoin=USDT&limit=200")
    small = await pages(venue, "/v5/position/list?category=linear&settleCoin=USDT&limit=2")
    assert [len(page) for page in small] == [2, 2, 1, 0]
    assert [row for page in small for row in page] == whole["list"]
    names = [row["symbol"] for row in whole["list"]]
    assert [name for name in names if "-" not in name] == ["BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT"]
    assert len(names) == 5
    usdc = await venue.result("/v5/position/list?category=linear&settleCoin=USDC&limit=200")
    assert [row["symbol"] for row in usdc["list"]] == ["BTCPERP"]


async def test_a_symbol_shows_its_empty_legs(venue: Venue) -> None:
    flat = await venue.result("/v5/position/list?category=linear&symbol=LINKUSDT")
    assert [(r["positionIdx"], r["side"], r["size"], r["seq"]) for r in flat["list"]] == [(0, "", "0", -1)]
    venue.sim.control.fault({"kind": "close_position", "account": "bybit-hedge", "symbol": "BTCUSDT", "side": "long"})
    legs = await venue.result("/v5/position/list?category=linear&symbol=BTCUSDT", "bybit-hedge")
    assert [(r["positionIdx"], r["side"], r["size"]) for r in legs["list"]] == [(1, "", "0"), (2, "Sell", "0.2")]
    left = await venue.result("/v5/position/list?category=linear&settleCoin=USDT", "bybit-hedge")
    assert all(Decimal(row["size"]) for row in left["list"])


@pytest.mark.parametrize("name", ["bybit-main", "bybit-isolated", "bybit-hedge"])
async def test_figures_of_positions_and_wallet_agree(venue: Venue, name: str) -> None:
    asked = ("linear&settleCoin=USDT", "linear&settleCoin=USDC", "inverse", "option")
    rows = [r for q in asked for r in (await venue.result(f"/v5/position/list?category={q}", name))["list"]]
    wallet = (await venue.result("/v5/account/wallet-balance?accountType=UNIFIED", name))["list"][0]
    coins = {row["coin"]: row for row in wallet["coin"]}
    truth = {(p["symbol"], p["side"]): p for p in venue.sim.control.truth()["positions"] if p["account"] == name}
    assert len(rows) == len(truth)
    for row in rows:
        sign_ = 1 if row["side"] == "Buy" else -1
        size, mark, entry = (Decimal(row[key]) for key in ("size", "markPrice", "avgPrice"))
        inverse = venue.sim.world.contract("bybit", row["symbol"]).inverse
        pnl = sign_ * size * ((1 / entry - 1 / mark) if inverse else (mark - entry))
        assert abs(pnl - Decimal(row["unrealisedPnl"])) <= Decimal("1e-8")
        assert abs(pnl - Decimal(truth[row["symbol"], "long" if sign_ > 0 else "short"]["unrealized_pnl"])) < Decimal(
            "1e-20"
        )
        assert row["positionIdx"] == (0 if name != "bybit-hedge" else 1 if sign_ > 0 else 2)
    usdt_settled = {c.symbol for c in venue.sim.world.listed("bybit") if c.settle == "USDT" and c.kind != "option"}
    upl = sum(Decimal(r["unrealisedPnl"]) for r in rows if r["symbol"] in usdt_settled)
    assert abs(Decimal(coins["USDT"]["unrealisedPnl"]) - upl) < Decimal("1e-6")
    assert abs(sum(Decimal(c["usdValue"]) for c in coins.values()) - Decimal(wallet["totalEquity"])) < Decimal("1e-6")
    usdt = Decimal(coins["USDT"]["usdValue"]) / Decimal(coins["USDT"]["equity"])
    assert usdt != 1
    assert abs(usdt - 1) < Decimal("0.001")


@pytest.mark.parametrize("name", ["bybit-main", "bybit-hedge"])
async def test_cross_liquidation_is_the_documented_estimate(venue: Venue, name: str) -> None:
    wallet = (await venue.result("/v5/account/wallet-balance?accountType=UNIFIED", name))["list"][0]
    balance, upl, needed = (
        Decimal(wallet[key]) for key in ("totalWalletBalance", "totalPerpUPL", "totalMaintenanceMargin")
    )
    assert Decimal(wallet["totalMarginBalance"]) == balance + upl
    rows = (await venue.result("/v5/position/list?category=linear&settleCoin=USDT", name))["list"]
    prices = [row for row in rows if row["liqPrice"]]
    assert prices
    for row in prices:
        sign_, size, mark = (1 if row["side"] == "Buy" else -1), Decimal(row["size"]), Decimal(row["markPrice"])
        expected = mark - sign_ * (balance + upl - needed) / size
        assert abs(Decimal(row["liqPrice"]) / expected - 1) < Decimal("1e-7")


async def test_isolated_liquidation_and_absent_account_figures(venue: Venue) -> None:
    wallet = (await venue.result("/v5/account/wallet-balance?accountType=UNIFIED", "bybit-isolated"))["list"][0]
    names = ("accountIMRate", "accountMMRate", "totalMarginBalance", "totalAvailableBalance", "totalMaintenanceMargin")
    assert [wallet[name] for name in names] == [""] * len(names)
    rows = (await venue.result("/v5/position/list?category=linear&settleCoin=USDT", "bybit-isolated"))["list"]
    eth = next(row for row in rows if row["symbol"] == "ETHUSDT")
    exact = Decimal(eth["avgPrice"]) * (1 - 1 / Decimal(eth["leverage"])) / (1 - Decimal("0.005"))
    assert Decimal(0) <= exact - Decimal(eth["liqPrice"]) < Decimal("0.01")
    assert {row["tradeMode"] for row in rows} == {0}


async def test_margin_added_by_hand_is_in_the_balance_and_moves_the_liquidation_price(venue: Venue) -> None:
    asked = "/v5/position/list?category=linear&symbol=ETHUSDT"
    (before,) = (await venue.result(asked, "bybit-isolated"))["list"]
    venue.sim.world.hands.margin("bybit-isolated", "ETHUSDT", Decimal(25))
    (after,) = (await venue.result(asked, "bybit-isolated"))["list"]
    assert Decimal(after["positionBalance"]) - Decimal(before["positionBalance"]) == 25
    assert after["positionIM"] == before["positionIM"]
    moved = Decimal(before["liqPrice"]) - Decimal(after["liqPrice"])
    wanted = 25 / (1 - Decimal("0.00055")) / Decimal(after["size"]) / (1 - Decimal("0.005"))
    assert abs(moved - wanted) <= Decimal("0.01")


TRANSFERABLE = "/v5/account/withdrawal?coinName="


async def test_what_could_leave_a_cross_account(venue: Venue) -> None:
    (wallet,) = (await venue.result("/v5/account/wallet-balance?accountType=UNIFIED"))["list"]
    coins = {row["coin"]: row for row in wallet["coin"]}
    told = await venue.result(f"{TRANSFERABLE}{','.join(coins)},XAUT")
    amounts = {ccy: Decimal(amount) for ccy, amount in told["availableWithdrawalMap"].items()}
    assert told["availableWithdrawal"] == told["availableWithdrawalMap"][next(iter(coins))]
    assert list(amounts) == [*coins, "XAUT"]
    assert amounts["XAUT"] == 0
    assert amounts["USDT"] > 0
    for ccy, row in coins.items():
        own = max(Decimal(0), Decimal(row["walletBalance"]) + min(Decimal(row["unrealisedPnl"]), Decimal(0)))
        free, held = Decimal(wallet["totalAvailableBalance"]) / venue.sim.world.usd(ccy), Decimal(row["walletBalance"])
        # All that is the account's own, or as much as counts for what is free.
        lost = counted("bybit", ccy, held) - counted("bybit", ccy, held - amounts[ccy])
        assert abs(amounts[ccy] - own) < Decimal("1e-6") or abs(lost - free) < Decimal("1e-6")
        assert lost <= free + Decimal("1e-6")


async def test_an_account_that_uses_all_its_margin_lets_nothing_leave(venue: Venue) -> None:
    before = await venue.result(f"{TRANSFERABLE}USDT")
    account = venue.sim.world.account("bybit-main")
    account.cash = {ccy: Decimal(1) for ccy in account.cash}
    after = await venue.result(f"{TRANSFERABLE}USDT")
    assert (Decimal(before["availableWithdrawal"]) > 0, after["availableWithdrawal"]) == (True, "0")


async def test_isolated_margins_do_not_leave(venue: Venue) -> None:
    rows = (await venue.result("/v5/position/list?category=linear&settleCoin=USDT", "bybit-isolated"))["list"]
    assert any(Decimal(row["size"]) for row in rows)
    (wallet,) = (await venue.result("/v5/account/wallet-balance?accountType=UNIFIED", "bybit-isolated"))["list"]
    cash = next(Decimal(coin["walletBalance"]) for coin in wallet["coin"] if coin["coin"] == "USDT")
    given = sum(p.margin or 0 for p in venue.sim.world.positions("bybit-isolated") if p.symbol.endswith("USDT"))
    told = await venue.result(f"{TRANSFERABLE}USDT", "bybit-isolated")
    assert given > 0
    assert abs(Decimal(told["availableWithdrawal"]) - (cash - given)) < Decimal("1e-7")


@pytest.mark.parametrize("coins", ["", "USDT,", ",".join(["USDT"] * 21)])
async def test_what_is_transferable_is_asked_by_one_to_twenty_coins(venue: Venue, coins: str) -> None:
    assert (await venue.ask(TRANSFERABLE + coins))[1]["retCode"] == 10001


# --- Private stream ----------------------------------------------------------------------------------------------------


async def test_both_shapes_of_a_login(venue: Venue) -> None:
    shapes = []
    for _ in range(2):
        async with dial(venue.socket("/v5/private")) as peer:
            await peer.say(venue.login("bybit-main"))
            shapes.append(await peer.next())
    assert [shape["success"] for shape in shapes] == [True, True]
    assert sorted("retCode" in shape for shape in shapes) == [False, True]


@pytest.mark.parametrize("wrong", [{"key": "nobody"}, {"secret": "wrong"}])
async def test_wrong_logins_are_refused(venue: Venue, wrong: dict[str, str]) -> None:
    async with dial(venue.socket("/v5/private")) as peer:
        await peer.say(venue.login("bybit-main", **wrong))
        answer = await peer.next()
        assert (answer["op"], answer["success"]) == ("auth", False)
        await peer.say({"op": "subscribe", "args": ["position"]})
        assert (await peer.next())["success"] is False


@pytest.mark.parametrize("ahead_ms", [0, -1])
async def test_an_expired_login_is_a_params_error(venue: Venue, ahead_ms: int) -> None:
    async with dial(venue.socket("/v5/private")) as peer:
        await peer.say(venue.login("bybit-main", ahead_ms=ahead_ms))
        assert (await peer.next())["ret_msg"] == "Params Error"


async def test_fault_wrong_login(venue: Venue) -> None:
    venue.sim.control.fault({"kind": "wrong_login", "venue": "bybit", "count": 1, "code": "33004"})
    async with dial(venue.socket("/v5/private")) as peer:
        await peer.say(venue.login("bybit-main"))
        assert (await peer.next())["success"] is False
        await peer.say(venue.login("bybit-main"))
        assert (await peer.next())["success"] is True


async def test_subscribing_before_login_is_refused(venue: Venue) -> None:
    async with dial(venue.socket("/v5/private")) as peer:
        await peer.say({"op": "subscribe", "args": ["position"], "req_id": "a"})
        answer = await peer.next()
        assert (answer["success"], answer["req_id"]) == (False, "a")


@pytest.mark.parametrize(
    ("topics", "why"),
    [
        (["wallet", "nonsense"], "error:handler not found,topic:nonsense"),
        (["wallet", "position"], "error:already subscribed,topic:position"),
        (["order", "order.linear"], "error:all-in-one and categorised topics cannot be mixed"),
    ],
)
async def test_one_wrong_topic_fails_the_whole_request(venue: Venue, topics: list[str], why: str) -> None:
    async with venue.private("bybit-main", "position") as peer:
        await peer.say({"op": "subscribe", "args": topics})
        answer = await peer.next()
        assert (answer["success"], answer["ret_msg"]) == (False, why)
        venue.sim.world.open_position("bybit-main", "BTCUSDT")
        assert (await peer.next())["topic"] == "position"


async def test_a_fill_pushes_execution_order_position_and_wallet(venue: Venue) -> None:
    async with venue.private("bybit-main", "position.linear", "wallet", "order", "execution") as peer:
        before = venue.sim.world.positions("bybit-main")[0]
        venue.sim.control.fault({"kind": "open_position", "account": "bybit-main", "symbol": "BTCUSDT", "size": "0.1"})
        frames = [await peer.next() for _ in range(4)]
        assert [frame["topic"] for frame in frames] == ["order", "execution", "position.linear", "wallet"]
        order, fill, position, wallet = (frame["data"][0] for frame in frames)
        assert (fill["execQty"], fill["side"], fill["execType"]) == ("0.1", "Buy", "Trade")
        assert (order["orderId"], order["orderStatus"]) == (fill["orderId"], "Filled")
        assert Decimal(position["size"]) == before.size + Decimal("0.1")
        assert position["seq"] == fill["seq"]
        assert position["entryPrice"] == str(venue.sim.world.positions("bybit-main")[0].entry_price)
        assert [coin["coin"] for coin in wallet["coin"]] == ["USDT"]
        row = (await venue.result("/v5/position/list?category=linear&symbol=BTCUSDT"))["list"][0]
        assert (row["seq"], row["size"], row["avgPrice"]) == (position["seq"], position["size"], position["entryPrice"])


async def test_a_close_has_no_side(venue: Venue) -> None:
    async with venue.private("bybit-hedge", "position") as peer:
        venue.sim.control.fault(
            {"kind": "close_position", "account": "bybit-hedge", "symbol": "BTCUSDT", "side": "short"}
        )
        row = (await peer.next())["data"][0]
        assert (row["positionIdx"], row["side"], row["size"], row["entryPrice"], row["liqPrice"]) == (
            2,
            "",
            "0",
            "0",
            "",
        )


async def test_the_wallet_does_not_follow_the_mark(venue: Venue) -> None:
    async with (
        venue.private("bybit-isolated", "position", "wallet", "execution") as peer,
        dial(venue.socket("/v5/public/linear")) as public,
    ):
        await public.say({"op": "subscribe", "args": ["tickers.ETHUSDT"]})
        venue.sim.world.shift("ETH", Decimal("0.001"))
        venue.now += 100
        await public.until(lambda frame: frame.get("type") == "delta")
        await peer.say({"op": "ping"})
        assert (await peer.next())["op"] == "pong"
        assert [frame.get("topic") for frame in peer.frames if "topic" in frame] == []


async def test_an_order_edit_repeats_the_position_with_the_same_seq(venue: Venue) -> None:
    venue.sim.control.pause()
    (row,) = (await venue.result("/v5/position/list?category=linear&symbol=BTCUSDT"))["list"]
    async with venue.private("bybit-main", "position", "order") as peer:
        venue.sim.world.hands.place_order("bybit-main", "BTCUSDT", True, Decimal(50_000), Decimal("0.1"))
        order, position = [(await peer.next())["data"][0] for _ in range(2)]
        assert (order["orderStatus"], order["cumExecQty"], order["leavesQty"]) == ("New", "0", "0.1")
        assert (position["seq"], position["size"]) == (row["seq"], row["size"])
        venue.sim.world.hands.cancel_orders("bybit-main")
        ended, position = [(await peer.next())["data"][0] for _ in range(2)]
        assert (ended["orderId"], ended["orderStatus"], ended["leavesQty"]) == (order["orderId"], "Cancelled", "0")
        assert position["seq"] == row["seq"]


async def test_a_liquidation_is_a_takeover(venue: Venue) -> None:
    async with venue.private("bybit-isolated", "position", "execution") as peer:
        venue.sim.control.fault({"kind": "shock", "underlying": "ETH", "fraction": "-0.3"})
        fill = await peer.until(lambda f: f.get("topic") == "execution" and f["data"][0]["symbol"] == "ETHUSDT")
        assert (fill["data"][0]["execType"], fill["data"][0]["side"]) == ("BustTrade", "Sell")
        row = await peer.until(lambda f: f.get("topic") == "position" and f["data"][0]["symbol"] == "ETHUSDT")
        assert (row["data"][0]["side"], row["data"][0]["size"]) == ("", "0")


# --- Heartbeats and refusals -------------------------------------------------------------------------------------------


async def test_pongs_differ_by_socket(venue: Venue) -> None:
    async with dial(venue.socket("/v5/public/linear")) as public, venue.private() as private:
        for peer in (public, private):
            await peer.say({"req_id": "7", "op": "ping"})
        answer = await public.next()
        assert (answer["op"], answer["ret_msg"], answer["success"], answer["req_id"]) == ("ping", "pong", True, "7")
        answer = await private.next()
        assert (answer["op"], answer["args"], answer["req_id"]) == ("pong", [str(BEGIN)], "7")


@pytest.mark.parametrize(
    ("frame", "why"),
    [("{nonsense", "Failed to decode incoming data:{nonsense"), ('{"op":"dance"}', "error:invalid op")],
)
async def test_what_cannot_be_understood_leaves_the_connection_open(venue: Venue, frame: str, why: str) -> None:
    async with dial(venue.socket("/v5/public/linear")) as peer:
        await peer.say(frame)
        assert (await peer.next())["ret_msg"] == why
        await peer.say({"op": "ping"})
        assert (await peer.next())["ret_msg"] == "pong"


async def test_an_idle_connection_is_cut(venue: Venue) -> None:
    async with (
        dial(venue.socket("/v5/private?max_active_time=30s")) as short,
        dial(venue.socket("/v5/private")) as long,
    ):
        for peer in (short, long):
            await peer.say({"op": "ping"})
            await peer.next()
        venue.now += 30_001
        assert (await short.closed())[0] is None
        await long.say({"op": "ping"})
        assert (await long.next())["op"] == "pong"


@pytest.mark.parametrize(
    ("text", "expected"),
    [("30s", 30_000), ("1m", 60_000), ("600s", 600_000), ("29s", IDLE_MS), ("nonsense", IDLE_MS), (None, IDLE_MS)],
)
def test_idle_time(text: str | None, expected: int) -> None:
    assert idle_time(text) == expected


# --- Faults of connections ---------------------------------------------------------------------------------------------


async def test_faults_reach_the_right_sockets(venue: Venue) -> None:
    async with venue.private("bybit-main") as main, venue.private("bybit-hedge") as hedge:
        venue.sim.control.fault({"kind": "malformed", "venue": "bybit", "account": "bybit-main"})
        assert isinstance(await main.next(), str)
        hit = venue.sim.control.fault({"kind": "drop", "venue": "bybit", "account": "bybit-main", "code": 1001})
        assert len(hit["affected"]) == 1
        assert (await main.closed())[0] == 1001
        await hedge.say({"op": "ping"})
        assert (await hedge.next())["op"] == "pong"
