"""The simulated Hyperliquid as a client meets it: questions and frames by hand, a clock that the test moves."""

from __future__ import annotations

import asyncio
import base64
import json
import zlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from decimal import Decimal
from typing import Any

import aiohttp
import pytest
from websockets.exceptions import InvalidStatus

from exchanges.sim.hyperliquid import IDLE_MS, deflated
from exchanges.sim.server import Simulator, start
from tests.exchanges.sim.raw import Peer, dial

BEGIN = 1_763_683_200_000


class Venue:
    """A running simulator with a clock that only the test moves."""

    def __init__(self) -> None:
        self.now = BEGIN
        self.sim: Simulator

    def __call__(self) -> int:
        return self.now

    def address(self, name: str) -> str:
        return self.sim.world.account(name).address

    def socket(self) -> str:
        return "ws" + self.sim.urls["hyperliquid"].removeprefix("http") + "/ws"

    async def post(self, body: str) -> tuple[int, str]:
        url = self.sim.urls["hyperliquid"] + "/info"
        async with aiohttp.ClientSession() as session, session.post(url, data=body) as answer:
            return answer.status, await answer.text()

    async def ask(self, kind: str, **more: Any) -> Any:
        status, text = await self.post(json.dumps({"type": kind, **more}))
        assert status == 200, text
        return json.loads(text)

    async def state(self, name: str, dex: str = "") -> dict[str, Any]:
        return dict(await self.ask("clearinghouseState", user=self.address(name), dex=dex))


async def subscribe(peer: Peer, kind: str, **more: Any) -> tuple[Any, Any]:
    """Subscribe; return acknowledgement and first frame."""
    await peer.say({"method": "subscribe", "subscription": {"type": kind, **more}})
    return await peer.next(), await peer.next()


@pytest.fixture
async def venue() -> AsyncIterator[Venue]:
    it = Venue()
    it.sim = await start(11, clock=it)
    yield it
    await it.sim.stop()


# --- States ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "dex"), [("hl-main", ""), ("hl-single", ""), ("hl-dex", ""), ("hl-dex", "xyz")])
async def test_identities_of_a_state(venue: Venue, name: str, dex: str) -> None:
    state = await venue.state(name, dex)
    rows = [row["position"] for row in state["assetPositions"]]
    assert rows
    truth = {p["symbol"]: p for p in venue.sim.control.truth()["positions"] if p["account"] == name}
    for block, chosen in (
        ("marginSummary", rows),
        ("crossMarginSummary", [row for row in rows if row["leverage"]["type"] == "cross"]),
    ):
        summary = {key: Decimal(value) for key, value in state[block].items()}
        signed = sum(Decimal(r["positionValue"]) * (1 if Decimal(r["szi"]) > 0 else -1) for r in chosen)
        assert summary["accountValue"] == summary["totalRawUsd"] + signed
        assert summary["totalNtlPos"] == sum(Decimal(r["positionValue"]) for r in chosen)
        assert summary["totalMarginUsed"] == sum(Decimal(r["marginUsed"]) for r in chosen)
    needed = sum(Decimal(r["positionValue"]) / (2 * r["maxLeverage"]) for r in rows if r["leverage"]["type"] == "cross")
    assert Decimal(state["crossMaintenanceMarginUsed"]) == needed
    for row in rows:
        true, szi, value = truth[row["coin"]], Decimal(row["szi"]), Decimal(row["positionValue"])
        assert value / abs(szi) == Decimal(true["mark_price"])
        assert Decimal(row["unrealizedPnl"]) == Decimal(true["unrealized_pnl"])
        assert len(row["entryPx"].replace(".", "").strip("0")) <= 5
        assert abs(Decimal(row["entryPx"]) / Decimal(true["entry_price"]) - 1) < Decimal("5e-5")
        if row["leverage"]["type"] == "isolated":
            assert Decimal(row["marginUsed"]) == Decimal(row["leverage"]["rawUsd"]) + szi * Decimal(true["mark_price"])


@pytest.mark.parametrize(("name", "dex"), [("hl-main", ""), ("hl-single", ""), ("hl-dex", "xyz")])
async def test_liquidation_by_the_documented_formula(venue: Venue, name: str, dex: str) -> None:
    state = await venue.state(name, dex)
    free = Decimal(state["crossMarginSummary"]["accountValue"]) - Decimal(state["crossMaintenanceMarginUsed"])
    for row in (row["position"] for row in state["assetPositions"]):
        szi, value, share = Decimal(row["szi"]), Decimal(row["positionValue"]), 1 / Decimal(2 * row["maxLeverage"])
        side, mark = (1 if szi > 0 else -1), value / abs(szi)
        available = free if row["leverage"]["type"] == "cross" else Decimal(row["marginUsed"]) - share * value
        expected = mark - side * available / abs(szi) / (1 - share * side)
        if row["liquidationPx"] is None:
            assert expected <= 0
        else:
            assert abs(Decimal(row["liquidationPx"]) / expected - 1) < Decimal("1e-9")


async def test_some_liquidation_prices_are_null_and_some_are_not(venue: Venue) -> None:
    states = [await venue.state(name) for name in ("hl-main", "hl-single", "hl-dex")]
    prices = [row["position"]["liquidationPx"] for state in states for row in state["assetPositions"]]
    assert None in prices
    assert any(prices)


@pytest.mark.parametrize("user", ["0x" + "ab" * 20, None])
async def test_strangers_and_api_wallets_are_valid_and_empty(venue: Venue, user: str | None) -> None:
    user = user or str(venue.sim.fronts["hyperliquid"].credentials()[0]["agent"])
    state = await venue.ask("clearinghouseState", user=user)
    assert (state["assetPositions"], state["marginSummary"]["accountValue"]) == ([], "0.0")
    assert await venue.ask("spotClearinghouseState", user=user) == {"balances": []}


async def test_roles(venue: Venue) -> None:
    mine = venue.sim.fronts["hyperliquid"].credentials()[0]
    assert await venue.ask("userRole", user=mine["address"].upper().replace("0X", "0x")) == {"role": "user"}
    assert await venue.ask("userRole", user=mine["agent"]) == {"role": "agent", "data": {"user": mine["address"]}}
    assert await venue.ask("userRole", user="0x" + "0" * 40) == {"role": "missing"}
    assert await venue.ask("userAbstraction", user=mine["address"]) == "disabled"


# --- Questions ---------------------------------------------------------------------------------------------------------


async def test_meta_of_each_dex(venue: Venue) -> None:
    assert [dex and dex["name"] for dex in await venue.ask("perpDexs")] == [None, "xyz"]
    main, contexts = await venue.ask("metaAndAssetCtxs")
    assert len(main["universe"]) == len(contexts)
    coins = {row["name"]: row for row in main["universe"]}
    assert (coins["BTC"]["szDecimals"], coins["BTC"]["maxLeverage"], coins["BTC"]["marginTableId"]) == (5, 40, 56)
    assert coins["DOGE"]["marginTableId"] == coins["DOGE"]["maxLeverage"] == 10
    tables = dict(main["marginTables"])
    assert tables[56]["marginTiers"][1] == {"lowerBound": "150000000.0", "maxLeverage": 20}
    assert 10 not in tables
    assert await venue.ask("marginTable", id=10) == {
        "description": "",
        "marginTiers": [{"lowerBound": "0.0", "maxLeverage": 10}],
    }
    other = await venue.ask("meta", dex="xyz")
    assert [row["name"] for row in other["universe"]] == ["xyz:XYZ100", "xyz:NVDA", "xyz:GOLD"]
    assert await venue.ask("allPerpMetas") == [main, other]
    marks = venue.sim.control.truth()["marks"]["hyperliquid"]
    assert {c["name"]: Decimal(x["markPx"]) for c, x in zip(main["universe"], contexts, strict=True)} == {
        coin: Decimal(mark) for coin, mark in marks.items() if ":" not in coin
    }


async def test_small_questions(venue: Venue) -> None:
    assert await venue.ask("exchangeStatus") == {"specialStatuses": None, "time": BEGIN}
    assert (await venue.ask("spotMeta"))["tokens"][0]["name"] == "USDC"
    spot = await venue.ask("spotClearinghouseState", user=venue.address("hl-main"))
    assert [(b["coin"], b["token"], b["total"]) for b in spot["balances"]] == [
        ("USDC", 0, "1204.55"),
        ("HYPE", 150, "42.1"),
    ]
    assert set(await venue.ask("allMids", dex="xyz")) == {"xyz:XYZ100", "xyz:NVDA", "xyz:GOLD"}


@pytest.mark.parametrize(
    "body",
    [
        "{nonsense",
        "[]",
        '{"type":"dance"}',
        '{"type":"clearinghouseState","user":"0x1"}',
        '{"type":"meta","dex":"nope"}',
    ],
)
async def test_what_cannot_be_deserialized(venue: Venue, body: str) -> None:
    status, text = await venue.post(body)
    assert (status, text) == (422, "Failed to deserialize the JSON body into the target type")


async def test_fault_429(venue: Venue) -> None:
    venue.sim.control.fault({"kind": "429", "venue": "hyperliquid", "count": 1})
    assert (await venue.post('{"type":"meta"}'))[0] == 429
    assert (await venue.post('{"type":"meta"}'))[0] == 200


# --- Subscriptions -----------------------------------------------------------------------------------------------------


async def test_subscriptions_are_normalised(venue: Venue) -> None:
    user = venue.address("hl-dex")
    async with dial(venue.socket()) as peer:
        ack, first = await subscribe(peer, "clearinghouseState", user=user.upper().replace("0X", "0x"), nonsense=1)
        wanted = {"type": "clearinghouseState", "user": user, "dex": ""}
        assert ack == {"channel": "subscriptionResponse", "data": {"method": "subscribe", "subscription": wanted}}
        assert (first["channel"], first["data"]["dex"], first["data"]["user"]) == ("clearinghouseState", "", user)
        ack, first = await subscribe(peer, "userFills", user=user)
        assert ack["data"]["subscription"]["aggregateByTime"] is False
        assert first["data"]["isSnapshot"] is True
        ack, first = await subscribe(peer, "spotState", user=user)
        assert ack["data"]["subscription"]["ignorePortfolioMargin"] is False
        assert first["data"]["spotState"]["balances"][0]["coin"] == "USDC"
        _, first = await subscribe(peer, "webData3", user=user)
        assert (first["data"]["userState"]["user"], "abstraction" in first["data"]["userState"]) == (user, False)
        _, first = await subscribe(peer, "allDexsClearinghouseState", user=user)
        assert [dex for dex, _ in first["data"]["clearinghouseStates"]] == ["", "xyz"]
        _, first = await subscribe(peer, "activeAssetCtx", coin="xyz:NVDA")
        assert first["data"]["coin"] == "xyz:NVDA"
        _, first = await subscribe(peer, "allMids")
        assert "BTC" in first["data"]["mids"]


@pytest.mark.parametrize(
    ("frame", "error"),
    [
        ("hello", "Error parsing JSON into valid websocket request: hello"),
        (
            '{"method":"subscribe","subscription":{"type":"webData2"}}',
            'Error parsing JSON into valid websocket request: {"method":"subscribe","subscription":{"type":"webData2"}}',
        ),
        (
            '{"method":"subscribe","subscription":{"type":"activeAssetCtx","coin":"NOPE"}}',
            'Invalid subscription {"type":"activeAssetCtx","coin":"NOPE"}',
        ),
        (
            '{"method":"unsubscribe","subscription":{"type":"fastAssetCtxs"}}',
            'Already unsubscribed: {"type":"fastAssetCtxs"}',
        ),
    ],
)
async def test_errors_are_bare_strings_and_leave_the_connection_open(venue: Venue, frame: str, error: str) -> None:
    async with dial(venue.socket()) as peer:
        await peer.say(frame)
        assert await peer.next() == {"channel": "error", "data": error}
        await peer.say({"method": "ping"})
        assert await peer.next() == {"channel": "pong"}


async def test_subscribing_twice_is_an_error_and_harmless(venue: Venue) -> None:
    async with dial(venue.socket()) as peer:
        await subscribe(peer, "activeAssetCtx", coin="BTC")
        await peer.say({"method": "subscribe", "subscription": {"type": "activeAssetCtx", "coin": "BTC"}})
        assert (await peer.next())["data"] == 'Already subscribed: {"type":"activeAssetCtx","coin":"BTC"}'
        venue.now += 1000
        assert (await peer.next())["channel"] == "activeAssetCtx"
        await peer.say({"method": "unsubscribe", "subscription": {"type": "activeAssetCtx", "coin": "BTC"}})
        answer = await peer.until(lambda frame: frame["channel"] == "subscriptionResponse")
        assert answer["data"]["method"] == "unsubscribe"


async def test_at_most_10_users_although_the_error_speaks_of_15(venue: Venue) -> None:
    async with dial(venue.socket()) as one, dial(venue.socket()) as two:
        for number in range(10):
            await subscribe(one, "userFills", user=f"0x{number:040x}")
        await two.say({"method": "subscribe", "subscription": {"type": "userFills", "user": "0x" + "f" * 40}})
        assert await two.next() == {"channel": "error", "data": "Cannot track more than 15 total users."}
        ack, _ = await subscribe(two, "spotState", user=f"0x{3:040x}")
        assert ack["channel"] == "subscriptionResponse"


async def test_at_most_10_connections(venue: Venue) -> None:
    async with AsyncExitStack() as stack:
        for _ in range(10):
            await stack.enter_async_context(dial(venue.socket()))
        with pytest.raises(InvalidStatus):
            await stack.enter_async_context(dial(venue.socket()))


async def test_info_over_the_socket(venue: Venue) -> None:
    async with dial(venue.socket()) as peer:
        await peer.say({"method": "post", "id": 7, "request": {"type": "info", "payload": {"type": "exchangeStatus"}}})
        answer = await peer.next()
        assert (answer["channel"], answer["data"]["id"]) == ("post", 7)
        assert answer["data"]["response"]["payload"]["data"] == {"specialStatuses": None, "time": BEGIN}


async def test_a_connection_that_nothing_is_sent_to_is_closed(venue: Venue) -> None:
    async with dial(venue.socket()) as quiet, dial(venue.socket()) as busy:
        for peer in (quiet, busy):
            await peer.say({"method": "ping"})
            await peer.next()
        venue.now += IDLE_MS
        await busy.say({"method": "ping"})
        await busy.next()
        venue.now += 1
        assert (await quiet.closed())[0] == 1000
        await busy.say({"method": "ping"})
        assert await busy.next() == {"channel": "pong"}


# --- What is pushed ----------------------------------------------------------------------------------------------------


async def test_a_fill_comes_at_once_and_the_state_later(venue: Venue) -> None:
    venue.sim.control.pause()
    user = venue.address("hl-single")
    async with dial(venue.socket()) as peer:
        _, first = await subscribe(peer, "clearinghouseState", user=user)
        await subscribe(peer, "userFills", user=user)
        held = Decimal(first["data"]["clearinghouseState"]["assetPositions"][0]["position"]["szi"])
        venue.sim.control.fault({"kind": "open_position", "account": "hl-single", "symbol": "HYPE", "size": "20"})
        frame = await peer.next()
        fill = frame["data"]["fills"][0]
        assert (frame["channel"], "isSnapshot" in frame["data"]) == ("userFills", False)
        assert (fill["side"], fill["dir"], fill["sz"], Decimal(fill["startPosition"])) == (
            "A",
            "Open Short",
            "20.0",
            held,
        )
        venue.now += 5_000
        frame = await peer.next()
        assert frame["channel"] == "clearinghouseState"
        position = frame["data"]["clearinghouseState"]["assetPositions"][0]["position"]
        assert Decimal(position["szi"]) == held - 20
        assert frame["data"]["clearinghouseState"]["time"] == venue.now


async def test_states_come_every_4_to_5_seconds_while_the_world_stands_still(venue: Venue) -> None:
    venue.sim.control.pause()
    async with dial(venue.socket()) as peer:
        for kind in ("clearinghouseState", "allDexsClearinghouseState", "spotState", "webData3"):
            await subscribe(peer, kind, user=venue.address("hl-main"))
        venue.now += 3_999
        await peer.say({"method": "ping"})
        assert await peer.next() == {"channel": "pong"}
        venue.now += 1_001
        frames = [(await peer.next())["channel"] for _ in range(4)]
        assert sorted(frames) == ["allDexsClearinghouseState", "clearinghouseState", "spotState", "webData3"]


async def test_a_closed_position_vanishes(venue: Venue) -> None:
    user = venue.address("hl-single")
    async with dial(venue.socket()) as peer:
        await subscribe(peer, "userFills", user=user)
        venue.sim.control.fault({"kind": "close_position", "account": "hl-single", "symbol": "HYPE"})
        fill = (await peer.next())["data"]["fills"][0]
        assert (fill["side"], fill["dir"]) == ("B", "Close Short")
        assert Decimal(fill["startPosition"]) + Decimal(fill["sz"]) == 0
    assert (await venue.state("hl-single"))["assetPositions"] == []


async def test_a_liquidation_names_the_user(venue: Venue) -> None:
    user = venue.address("hl-single")
    async with dial(venue.socket()) as peer:
        await subscribe(peer, "userFills", user=user)
        venue.sim.control.fault({"kind": "shock", "underlying": "HYPE", "fraction": "0.9"})
        fill = (await peer.next())["data"]["fills"][0]
        assert (fill["dir"], fill["liquidation"]["liquidatedUser"]) == ("Liquidated Cross Short", user)


def inflated(data: str) -> Any:
    """Decode a frame of ``fastAssetCtxs`` as a client does."""
    return json.loads(zlib.decompress(base64.b64decode(data), -15))


def test_published_vector_of_compressed_contexts() -> None:
    published = "q1ZyCnFWsqpWyk0syg6oULJSsjQ3NTDQM1Wq1VFyDfFAkTI2MzXQMwJLVVRWWfmFuTiiyBuamOoZKdXWAgA="
    assert inflated(deflated(inflated(published))) == inflated(published)


async def test_compressed_contexts_are_deltas(venue: Venue) -> None:
    async with dial(venue.socket()) as peer:
        _, first = await subscribe(peer, "fastAssetCtxs")
        prices = inflated(first["data"])
        assert set(prices) == set(venue.sim.control.truth()["marks"]["hyperliquid"])
        for _ in range(8):
            venue.now += 1000
            before = len(peer.frames)
            frame = await asyncio.wait_for(peer.until(lambda f: f["channel"] == "fastAssetCtxs"), 5)
            assert len(peer.frames) == before + 1
            for coin, changed in inflated(frame["data"]).items():
                assert changed.items().isdisjoint(prices[coin].items())
                prices[coin] |= changed
        truth = venue.sim.control.truth()["marks"]["hyperliquid"]
        assert {coin: Decimal(pair["markPx"]) for coin, pair in prices.items()} == {
            c: Decimal(m) for c, m in truth.items()
        }


async def test_faults_reach_the_sockets_of_an_account(venue: Venue) -> None:
    async with dial(venue.socket()) as mine, dial(venue.socket()) as other:
        await subscribe(mine, "spotState", user=venue.address("hl-main"))
        await subscribe(other, "fastAssetCtxs")
        venue.sim.control.fault({"kind": "malformed", "venue": "hyperliquid", "account": "hl-main"})
        assert isinstance(await mine.next(), str)
        hit = venue.sim.control.fault({"kind": "drop", "venue": "hyperliquid", "account": "hl-main", "abort": True})
        assert [told["connection"] for told in hit["affected"]] == ["private"]
        assert (await mine.closed())[0] is None
        await other.say({"method": "ping"})
        assert (await other.until(lambda frame: frame["channel"] == "pong")) == {"channel": "pong"}
