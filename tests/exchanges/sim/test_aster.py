"""The simulated Aster's sockets as a client meets them: streams, listen keys, account events; a clock that the test moves."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import pytest

from exchanges.sim.aster import LIFE_MS, LISTEN_KEY_MS, MAX_STREAMS, PING_EVERY_MS, PONG_WITHIN_MS
from exchanges.sim.server import start
from tests.exchanges.sim.aster_client import HEDGE, MAIN, MULTI, Venue
from tests.exchanges.sim.raw import Peer, dial


@pytest.fixture
async def venue() -> AsyncIterator[Venue]:
    it = Venue()
    it.sim = await start(5, clock=it)
    it.sim.control.pause()
    yield it
    await it.sim.stop()


async def private(venue: Venue, name: str) -> str:
    """Return the address of an account's stream."""
    return venue.socket("/ws/" + (await venue.listen(name))["listenKey"])


async def pair(peer: Peer) -> dict[str, Any]:
    """Return the next two frames by their event, whichever came first."""
    frames = [await peer.next(), await peer.next()]
    return {frame["e"]: frame for frame in frames}


# --- Market streams ----------------------------------------------------------------------------------------------------


async def test_raw_and_combined_streams(venue: Venue) -> None:
    async with (
        dial(venue.socket("/ws/btcusdt@markPrice@1s")) as raw,
        dial(venue.socket("/stream?streams=btcusdt@markPrice@1s/!markPrice@arr@1s")) as combined,
    ):
        for peer in (raw, combined):
            await peer.say({"method": "LIST_SUBSCRIPTIONS", "id": 1})
            await peer.next()
        venue.now += 1_000
        frame = await raw.next()
        both = {told["stream"]: told["data"] for told in (await combined.next(), await combined.next())}
    assert set(frame) == {"e", "E", "s", "p", "i", "P", "r", "T"}
    assert (frame["e"], frame["s"]) == ("markPriceUpdate", "BTCUSDT")
    assert Decimal(frame["p"]) == Decimal(venue.sim.control.truth()["marks"]["aster"]["BTCUSDT"])
    assert both["btcusdt@markPrice@1s"] == frame
    assert frame in both["!markPrice@arr@1s"]
    assert {row["s"] for row in both["!markPrice@arr@1s"]} == set(venue.sim.control.truth()["marks"]["aster"])


async def test_the_slow_stream_speaks_every_three_seconds(venue: Venue) -> None:
    async with dial(venue.socket("/stream?streams=ethusdt@markPrice/ethusdt@markPrice@1s")) as peer:
        await peer.say({"method": "LIST_SUBSCRIPTIONS", "id": 1})
        await peer.next()
        seen: Counter[str] = Counter()
        for _ in range(6):
            venue.now += 1_000
            await peer.until(lambda frame: frame["stream"] == "ethusdt@markPrice@1s")
        await asyncio.sleep(0)
        seen.update(frame.get("stream", "") for frame in peer.frames)
    assert seen["ethusdt@markPrice@1s"] == 6
    assert 1 <= seen["ethusdt@markPrice"] <= 2


async def test_live_subscribing(venue: Venue) -> None:
    async with dial(venue.socket("/ws")) as peer:
        await peer.say({"method": "SUBSCRIBE", "params": ["btcusdt@markPrice@1s", "BTCUSDT@nonsense"], "id": 1})
        assert await peer.next() == {"result": None, "id": 1}, "a wrong name is acknowledged too"
        venue.now += 1_000
        assert (await peer.next())["s"] == "BTCUSDT"
        await peer.say({"method": "SET_PROPERTY", "params": ["combined", True], "id": 5})
        assert await peer.next() == {"result": None, "id": 5}
        await peer.say({"method": "GET_PROPERTY", "params": ["combined"], "id": 6})
        assert await peer.next() == {"result": True, "id": 6}
        venue.now += 1_000
        assert (await peer.next())["stream"] == "btcusdt@markPrice@1s"
        await peer.say({"method": "UNSUBSCRIBE", "params": ["btcusdt@markPrice@1s"], "id": 7})
        assert await peer.next() == {"result": None, "id": 7}
        venue.now += 1_000
        await peer.say({"method": "LIST_SUBSCRIPTIONS", "id": 8})
        assert await peer.next() == {"result": ["BTCUSDT@nonsense"], "id": 8}


@pytest.mark.parametrize(
    ("frame", "code", "text"),
    [
        ("{nonsense", 3, "Invalid JSON"),
        ({"params": [], "id": 1}, 2, "missing field `method`"),
        ({"method": "DANCE", "id": 1}, 2, "unknown variant DANCE"),
        ({"method": "SUBSCRIBE", "params": ["x"], "id": "1"}, 2, "request ID must be an unsigned integer"),
        ({"method": "SET_PROPERTY", "params": [1], "id": 1}, 2, "property name must be a string"),
        ({"method": "GET_PROPERTY", "params": ["colour"], "id": 1}, 0, "Unknown property"),
        ({"method": "SET_PROPERTY", "params": ["combined", 1], "id": 1}, 1, "expected Boolean"),
        ({"method": "GET_PROPERTY", "params": ["combined", 1], "id": 1}, 2, "too many parameters"),
    ],
)
async def test_errors_leave_the_connection_open(venue: Venue, frame: Any, code: int, text: str) -> None:
    async with dial(venue.socket("/ws")) as peer:
        await peer.say(frame)
        told = await peer.next()
        assert told["code"] == code
        assert text in told["msg"]
        await peer.say({"method": "LIST_SUBSCRIPTIONS", "id": 2})
        assert await peer.next() == {"result": [], "id": 2}


async def test_limits_of_a_connection(venue: Venue) -> None:
    async with dial(venue.socket("/ws")) as busy, dial(venue.socket("/ws")) as greedy:
        for number in range(11):
            await busy.say({"method": "LIST_SUBSCRIPTIONS", "id": number})
        assert await busy.closed() == (1008, "Too many requests")
        names = [f"s{number}@markPrice" for number in range(MAX_STREAMS + 1)]
        await greedy.say({"method": "SUBSCRIBE", "params": names, "id": 1})
        assert (await greedy.closed())[0] == 1008


async def test_pings_are_sent_and_a_connection_lives_a_day(venue: Venue) -> None:
    async with dial(venue.socket("/ws")) as peer:
        await peer.say({"method": "LIST_SUBSCRIPTIONS", "id": 1})
        await peer.next()
        (socket,) = venue.sim.fronts["aster"].sockets
        for number in range(1, 5):  # four pings, answered: longer than silence would be suffered
            venue.now += PING_EVERY_MS
            deadline = asyncio.get_running_loop().time() + 5
            while socket.pongs < number:
                assert asyncio.get_running_loop().time() < deadline, f"ping {number} was not sent or not answered"
                await asyncio.sleep(0.005)
        assert 4 * PING_EVERY_MS > PONG_WITHIN_MS
        venue.now += LIFE_MS
        assert await peer.closed() == (1001, "connection is 24 hours old")


# --- Listen keys -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [MAIN, HEDGE])
async def test_one_listen_key_an_account(venue: Venue, name: str) -> None:
    assert await venue.listen(name, "PUT") == {"code": -1125, "msg": "This listenKey does not exist."}
    first = await venue.listen(name)
    venue.now += LISTEN_KEY_MS - 1
    assert await venue.listen(name) == first
    venue.now += LISTEN_KEY_MS - 1
    assert await venue.listen(name, "PUT") == {}
    venue.now += LISTEN_KEY_MS
    assert (await venue.listen(name, "PUT"))["code"] == -1125
    assert await venue.listen(name) != first
    assert await venue.listen(MULTI) != first


async def test_a_listen_key_expires_and_its_socket_goes_mute(venue: Venue) -> None:
    async with dial(await private(venue, MAIN)) as peer:
        venue.now += LISTEN_KEY_MS
        assert await peer.until(lambda f: f["e"] != "announcement") == {"e": "listenKeyExpired", "E": venue.now}
        venue.act("open_position", account=MAIN, symbol="BTCUSDT", size="0.1")
        await peer.say({"method": "LIST_SUBSCRIPTIONS", "id": 1})
        assert "result" in await peer.next(), "nothing came of the fill, and the connection lives"


async def test_ending_a_listen_key_ends_every_socket_of_it(venue: Venue) -> None:
    async with dial(await private(venue, MAIN)) as one, dial(await private(venue, MAIN)) as two:
        assert await venue.listen(MAIN, "DELETE") == {}
        for peer in (one, two):
            assert (await peer.closed())[0] == 1000


async def test_a_bogus_listen_key_connects_and_stays_silent(venue: Venue) -> None:
    async with dial(venue.socket("/ws/" + "a" * 64)) as peer:
        venue.act("open_position", account=MAIN, symbol="BTCUSDT", size="0.1")
        await peer.say({"method": "LIST_SUBSCRIPTIONS", "id": 1})
        assert (await peer.next())["id"] == 1


# --- Account events ----------------------------------------------------------------------------------------------------


async def test_a_fill_is_two_frames_of_one_time_in_either_order(venue: Venue) -> None:
    orders: set[str] = set()
    async with dial(await private(venue, MAIN)) as peer:
        for _ in range(12):
            venue.act("open_position", account=MAIN, symbol="BTCUSDT", size="0.01")
            frames = await pair(peer)
            orders.add(peer.frames[-2]["e"])
            order, account = frames["ORDER_TRADE_UPDATE"], frames["ACCOUNT_UPDATE"]
            assert order["T"] == account["T"]
    assert orders == {"ORDER_TRADE_UPDATE", "ACCOUNT_UPDATE"}
    told = order["o"]
    assert (told["x"], told["X"], told["S"], told["l"], told["ps"], told["N"]) == (
        "TRADE", "FILLED", "BUY", "0.01", "BOTH", "USDT",
    )  # fmt: skip
    (row,) = account["a"]["P"]
    risk = next(r for r in await venue.ask(MAIN, "positionRisk") if r["symbol"] == "BTCUSDT")
    assert (row["pa"], row["ep"], row["up"]) == (risk["positionAmt"], risk["entryPrice"], risk["unRealizedProfit"])
    (money,) = account["a"]["B"]
    balance = (await venue.ask(MAIN, "balance"))[0]
    assert (money["wb"], money["cw"], money["bc"]) == (balance["balance"], balance["crossWalletBalance"], "0")
    (trade,) = await venue.ask(MAIN, "userTrades", symbol="BTCUSDT", fromId=told["t"])
    assert (trade["id"], trade["orderId"], trade["commission"]) == (told["t"], told["i"], told["n"])


async def test_a_closed_isolated_position(venue: Venue) -> None:
    async with dial(await private(venue, MAIN)) as peer:
        venue.act("close_position", account=MAIN, symbol="SOLUSDT")
        frames = await pair(peer)
    (row,) = frames["ACCOUNT_UPDATE"]["a"]["P"]
    assert (row["pa"], row["ep"], row["mt"], row["iw"]) == ("0", "0.00000000", "isolated", "0")
    (money,) = frames["ACCOUNT_UPDATE"]["a"]["B"]
    assert money["wb"] == money["cw"], "nothing is isolated any more"
    assert Decimal(row["cr"]) == Decimal(frames["ORDER_TRADE_UPDATE"]["o"]["rp"])


async def test_hedge_mode_tells_all_three_legs(venue: Venue) -> None:
    async with dial(await private(venue, HEDGE)) as peer:
        venue.act("open_position", account=HEDGE, symbol="BTCUSDT", side="short", size="0.01")
        frames = await pair(peer)
    rows = {row["ps"]: row for row in frames["ACCOUNT_UPDATE"]["a"]["P"]}
    assert (rows["BOTH"]["pa"], rows["LONG"]["pa"], rows["SHORT"]["pa"]) == ("0", "0.2", "-0.13")


async def test_funding_names_isolated_positions_alone(venue: Venue) -> None:
    async with dial(await private(venue, MAIN)) as peer:
        venue.act("pay_funding", venue="aster", symbol="BTCUSDT", rate="0.0001")
        cross = await peer.next()
        venue.act("pay_funding", venue="aster", symbol="SOLUSDT", rate="0.0001")
        isolated = await peer.next()
    for frame in (cross, isolated):
        assert (frame["e"], frame["a"]["m"]) == ("ACCOUNT_UPDATE", "FUNDING_FEE")
        assert Decimal(frame["a"]["B"][0]["bc"]) < 0, "a long pays a positive rate"
    assert cross["a"]["P"] == []
    (row,) = isolated["a"]["P"]
    income = await venue.ask(MAIN, "income", incomeType="FUNDING_FEE")
    assert [r["income"] for r in income] == [f["a"]["B"][0]["bc"] for f in (cross, isolated)] or [
        Decimal(r["income"]) for r in income
    ] == [Decimal(f["a"]["B"][0]["bc"]) for f in (cross, isolated)]
    risk = next(r for r in await venue.ask(MAIN, "positionRisk") if r["symbol"] == "SOLUSDT")
    assert (row["s"], row["iw"]) == ("SOLUSDT", risk["isolatedWallet"])


async def test_orders_that_rest_move_no_position(venue: Venue) -> None:
    async with dial(await private(venue, MAIN)) as peer:
        venue.act("order", account=MAIN, symbol="ETHUSDT", side="buy", price="2000", size="1")
        placed = await peer.next()
        (open_,) = await venue.ask(MAIN, "openOrders")
        venue.act("cancel", account=MAIN)
        gone = await peer.next()
    assert [(f["o"]["x"], f["o"]["X"], f["o"]["i"]) for f in (placed, gone)] == [
        ("NEW", "NEW", open_["orderId"]), ("CANCELED", "CANCELED", open_["orderId"]),
    ]  # fmt: skip
    assert (open_["status"], open_["type"], open_["price"]) == ("NEW", "LIMIT", "2000")
    assert (await venue.ask(MAIN, "order", symbol="ETHUSDT", orderId=open_["orderId"]))["status"] == "CANCELED"
    assert await venue.ask(MAIN, "openOrders") == []


async def test_money_margin_and_modes(venue: Venue) -> None:
    async with dial(await private(venue, MAIN)) as peer:
        venue.act("transfer", account=MAIN, amount="250.5")
        deposit = await peer.next()
        venue.act("margin", account=MAIN, symbol="SOLUSDT", amount="10")
        margin = await peer.next()
    assert (deposit["a"]["m"], deposit["a"]["B"][0]["bc"], deposit["a"]["P"]) == ("DEPOSIT", "250.5", [])
    before, after = deposit["a"]["B"][0], margin["a"]["B"][0]
    assert margin["a"]["m"] == "MARGIN_TRANSFER"
    assert (after["wb"], Decimal(after["cw"])) == (before["wb"], Decimal(before["cw"]) - 10)
    assert margin["a"]["P"][0]["s"] == "SOLUSDT"
    async with dial(await private(venue, MULTI)) as peer:
        venue.act("mode", account=MULTI, mode="single")
        frame = await peer.next()
    assert (frame["e"], frame["ai"]) == ("ACCOUNT_CONFIG_UPDATE", {"j": False, "f": False, "d": False})


async def test_another_leverage_is_told_before_the_fill(venue: Venue) -> None:
    async with dial(await private(venue, MAIN)) as peer:
        venue.act("open_position", account=MAIN, symbol="XRPUSDT", size="100")
        frame = await peer.next()
    assert (frame["e"], frame["ac"]["s"]) == ("ACCOUNT_CONFIG_UPDATE", "XRPUSDT")
    assert frame["ac"]["l"] != 20


async def test_a_liquidation_and_what_it_takes(venue: Venue) -> None:
    async with dial(await private(venue, MAIN)) as peer, dial(venue.socket("/ws/solusdt@forceOrder")) as public:
        await public.say({"method": "LIST_SUBSCRIPTIONS", "id": 1})
        await public.next()
        venue.act("liquidate", account=MAIN, symbol="SOLUSDT")
        cleared = await peer.until(lambda f: f.get("a", {}).get("m") == "INSURANCE_CLEAR")
        forced = await public.next()
    orders = [f["o"] for f in peer.frames if f["e"] == "ORDER_TRADE_UPDATE"]
    assert all(order["c"].startswith("autoclose-") for order in orders)
    assert (orders[0]["x"], orders[-1]["X"], orders[-1]["x"] in {"TRADE", "CALCULATED"}) == ("NEW", "FILLED", True)
    assert "n" not in orders[-1]
    closed = next(f for f in peer.frames if f.get("a", {}).get("m") == "ORDER")
    assert closed["a"]["P"][0]["pa"] == "0"
    assert Decimal(cleared["a"]["B"][0]["bc"]) < 0
    assert cleared["a"]["B"][0]["wb"] == (await venue.ask(MAIN, "balance"))[0]["balance"]
    assert (forced["e"], forced["o"]["s"]) == ("forceOrder", "SOLUSDT")
    (row,) = await venue.ask(MAIN, "forceOrders")
    assert (row["clientOrderId"], row["symbol"]) == (orders[-1]["c"], "SOLUSDT")
    assert await venue.ask(MAIN, "forceOrders", autoCloseType="ADL") == []
    (income,) = await venue.ask(MAIN, "income", incomeType="INSURANCE_CLEAR")
    assert Decimal(income["income"]) == Decimal(cleared["a"]["B"][0]["bc"])


async def test_deleveraging_names_itself(venue: Venue) -> None:
    async with dial(await private(venue, MAIN)) as peer:
        venue.act("adl", account=MAIN, symbol="BTCUSDT")
        await peer.until(lambda f: f["e"] == "ACCOUNT_UPDATE")
        await peer.say({"method": "LIST_SUBSCRIPTIONS", "id": 1})
        await peer.until(lambda f: "result" in f)
    orders = [f["o"] for f in peer.frames if f.get("e") == "ORDER_TRADE_UPDATE"]
    assert {order["c"] for order in orders} == {"adl_autoclose"}
    assert (orders[0]["X"], orders[-1]["x"]) == ("NEW_ADL", "TRADE")
    (row,) = await venue.ask(MAIN, "forceOrders", autoCloseType="ADL")
    assert row["clientOrderId"] == "adl_autoclose"


async def test_a_margin_call_comes_once(venue: Venue) -> None:
    async with dial(await private(venue, MAIN)) as peer:
        position = next(p for p in venue.sim.world.positions(MAIN) if p.symbol == "SOLUSDT")
        assert position.margin is not None
        # Nine tenths of the way to liquidation: equity = maintenance / 0.9, maintenance 1 % of the value.
        price = (position.entry_price - position.margin / position.size) / (1 - Decimal("0.01") / Decimal("0.9"))
        fraction = price / venue.sim.world.mark("aster", "SOLUSDT") - 1
        venue.act("shock", underlying="SOL", fraction=f"{fraction:.6f}")
        venue.now += 1_000
        frame = await peer.next()
        venue.now += 1_000
        await peer.say({"method": "LIST_SUBSCRIPTIONS", "id": 1})
        assert "result" in await peer.next()
    (row,) = frame["p"]
    assert (frame["e"], row["s"], row["mt"], "cw" in frame) == ("MARGIN_CALL", "SOLUSDT", "ISOLATED", False)


async def test_announcements_have_no_time(venue: Venue) -> None:
    async with dial(await private(venue, MAIN)) as peer:
        venue.now += 600_000
        frame = await peer.next()
    assert frame["e"] == "announcement"
    assert not {"E", "T"} & set(frame)


async def test_a_silent_change_is_told_nobody(venue: Venue) -> None:
    async with dial(await private(venue, MAIN)) as peer:
        venue.act("silent", account=MAIN, symbol="BTCUSDT")
        await peer.say({"method": "LIST_SUBSCRIPTIONS", "id": 1})
        assert "result" in await peer.next()
    assert all(r["symbol"] != "BTCUSDT" or r["positionAmt"] == "0" for r in await venue.ask(MAIN, "positionRisk"))


async def test_faults_of_private_frames(venue: Venue) -> None:
    faults = venue.sim.fronts["aster"].faults
    async with dial(await private(venue, MAIN)) as peer:
        faults.suppressed.add(MAIN)
        venue.act("transfer", account=MAIN, amount="1")
        venue.now += 100
        await peer.say({"method": "LIST_SUBSCRIPTIONS", "id": 1})
        assert "result" in await peer.next()
        faults.suppressed.clear()
        faults.duplicate = 1
        venue.act("transfer", account=MAIN, amount="2")
        assert await peer.next() == await peer.next()
        faults.half_frame = 1
        venue.act("transfer", account=MAIN, amount="3")
        assert isinstance(await peer.next(), str), "no JSON"


async def test_a_stream_of_an_account_beside_market_streams(venue: Venue) -> None:
    key = (await venue.listen(MAIN))["listenKey"]
    async with dial(venue.socket(f"/stream?streams={key}/btcusdt@markPrice@1s")) as peer:
        venue.act("transfer", account=MAIN, amount="1")
        frame = await peer.next()
    assert (frame["stream"], frame["data"]["a"]["m"]) == (key, "DEPOSIT")
