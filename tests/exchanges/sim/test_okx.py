"""The simulated OKX through real sockets: signatures, snapshots, faults, and a client that ends equal to the truth."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from decimal import Decimal
from typing import Any

import pytest

from exchanges.sim.server import Simulator, start
from tests.exchanges.sim.raw import Clock, Peer, ask, dial, okx_headers, okx_login


@pytest.fixture
async def clock() -> Clock:
    return Clock()


@pytest.fixture
async def sim(clock: Clock) -> AsyncIterator[Simulator]:
    simulator = await start(11, clock=clock)
    yield simulator
    await simulator.stop()


def account_of(sim: Simulator, name: str) -> dict[str, str]:
    return next(a for a in sim.describe()["okx"]["accounts"] if a["name"] == name)


async def logged_in(stack: AsyncExitStack, sim: Simulator, name: str, clock: Clock) -> Peer:
    peer = await stack.enter_async_context(dial(sim.describe()["okx"]["ws_private"] + "/ws/v5/private"))
    await peer.say(okx_login(account_of(sim, name), clock()))
    assert (await peer.next())["event"] == "login"
    return peer


async def get(sim: Simulator, path: str, headers: dict[str, str] | None = None) -> tuple[int, Any]:
    return await ask(sim.describe()["okx"]["rest"] + path, headers=headers or {})


async def fault(sim: Simulator, **wanted: Any) -> list[Any]:
    status, answer = await ask(sim.describe()["control"] + "/faults", "POST", json=wanted)
    assert status == 200, answer
    affected: list[Any] = answer["affected"]
    return affected


class Replica:
    """What a client of the positions channel holds: pages replace, events merge."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[str, Any]] = {}
        self._pages: list[dict[str, Any]] = []
        self.snapshots = 0

    def take(self, frame: Any) -> None:
        if not isinstance(frame, dict) or frame.get("arg", {}).get("channel") != "positions" or "data" not in frame:
            return
        if frame["eventType"] == "event_update":
            for row in frame["data"]:
                self.rows[row["posId"]] = row
        else:
            self._pages += frame["data"]
            if frame["lastPage"]:
                self.rows = {row["posId"]: row for row in self._pages}
                self._pages = []
                self.snapshots += 1
        self.rows = {key: row for key, row in self.rows.items() if row["pos"] != "0"}

    def told(self) -> set[tuple[str, str, str]]:
        """Return (symbol, side, size) of what is open."""
        out = set()
        for row in self.rows.values():
            net = "short" if row["pos"].startswith("-") else "long"
            out.add((row["instId"], net if row["posSide"] == "net" else row["posSide"], row["pos"].lstrip("-")))
        return out


async def test_a_client_that_drains_a_paused_world_equals_the_truth(sim: Simulator, clock: Clock) -> None:
    async with AsyncExitStack() as stack:
        private = await logged_in(stack, sim, "okx-main", clock)
        public = await stack.enter_async_context(dial(sim.describe()["okx"]["ws_public"] + "/ws/v5/public"))
        await private.say({"op": "subscribe", "args": [{"channel": "positions", "instType": "ANY"}]})
        symbols = sorted({p.symbol for p in sim.world.positions("okx-main")})
        await public.say({"op": "subscribe", "args": [{"channel": "mark-price", "instId": s} for s in symbols]})
        for size in ("4", "6"):
            sim.world.open_position("okx-main", "ETH-USDT-SWAP", "short", Decimal(size))
            await private.until(lambda f: f.get("eventType") == "event_update")
        sim.world.close_position("okx-main", "XRP-USDT-SWAP")
        await ask(sim.describe()["control"] + "/pause", "POST")
        _, truth = await ask(sim.describe()["control"] + "/truth")
        mine = [p for p in truth["positions"] if p["account"] == "okx-main" and not p["liquidated"]]
        wanted = {(p["symbol"], p["side"], p["size"]) for p in mine}
        replica = Replica()
        for frame in private.frames:
            replica.take(frame)
        marks: dict[str, str] = {}
        async with asyncio.timeout(10):
            while replica.told() != wanted:
                replica.take(await private.next())
            while any(marks.get(s) != truth["marks"]["okx"][s] for s in symbols):
                frame = await public.next()
                if "data" in frame:
                    marks[frame["data"][0]["instId"]] = frame["data"][0]["markPx"]
            clock.skew_ms += 5_000  # the next repetition, with unchanged figures
            before = replica.snapshots
            while replica.snapshots == before:
                replica.take(await private.next())
        assert replica.told() == wanted
        assert ("XRP-USDT-SWAP", "short", "100") not in wanted
        upl = {(row["instId"], row["mgnMode"]): Decimal(row["upl"]) for row in replica.rows.values()}
        for position in mine:
            told = upl[position["symbol"], position["margin_mode"]]
            assert abs(told - Decimal(position["unrealized_pnl"])) < Decimal("1e-12")


async def test_a_new_connection_to_a_paused_world_gets_snapshot_and_pong(sim: Simulator, clock: Clock) -> None:
    sim.control.pause()
    async with AsyncExitStack() as stack:
        peer = await logged_in(stack, sim, "okx-hedge", clock)
        await peer.say(
            {"op": "subscribe", "args": [{"channel": "positions", "instType": "ANY"}, {"channel": "account"}]}
        )
        frame = await peer.until(lambda f: f.get("eventType") == "snapshot" and f["arg"]["channel"] == "positions")
        assert len(frame["data"]) == 4
        await peer.until(lambda f: f.get("eventType") == "snapshot" and f["arg"]["channel"] == "account")
        await peer.say("ping")
        await peer.until(lambda f: f == "pong")


async def test_a_wrong_secret_is_refused_and_the_connection_closed(sim: Simulator, clock: Clock) -> None:
    wrong = {**account_of(sim, "okx-main"), "secret": "not this one"}
    async with dial(sim.describe()["okx"]["ws_private"] + "/ws/v5/private") as peer:
        await peer.say(okx_login(wrong, clock()))
        assert (await peer.next())["code"] == "60007"
        assert await peer.closed() == (4001, "Login Failed")
    path = "/api/v5/account/positions"
    status, answer = await get(sim, path, okx_headers(wrong, path, clock()))
    assert (status, answer["code"]) == (401, "50113")


async def test_signed_questions_are_answered(sim: Simulator, clock: Clock) -> None:
    sim.control.pause()
    account = account_of(sim, "okx-main")

    async def private(path: str) -> Any:
        status, answer = await get(sim, path, okx_headers(account, path, clock()))
        assert (status, answer["code"]) == (200, "0")
        return answer["data"]

    (config,) = await private("/api/v5/account/config")
    assert (config["acctLv"], config["posMode"], config["perm"]) == ("2", "net_mode", "read_only")
    positions = await private("/api/v5/account/positions?instType=SWAP")
    futures = await private("/api/v5/account/positions?instType=FUTURES")
    (option,) = await private("/api/v5/account/positions?instType=OPTION")
    assert len(positions) + len(futures) + 1 == len(sim.world.positions("okx-main"))
    assert {row["instType"] for row in futures} == {"FUTURES"}
    assert (option["instType"], option["liqPx"], option["lever"], option["ccy"]) == ("OPTION", "", "", "BTC")
    assert [row["cTime"] for row in positions] == sorted((row["cTime"] for row in positions), reverse=True)
    wanted = positions[-1]
    (one,) = await private(f"/api/v5/account/positions?instId={wanted['instId']}&posId={wanted['posId']},1")
    assert one == wanted
    (balance,) = await private("/api/v5/account/balance?ccy=BTC,ETH")
    assert [row["ccy"] for row in balance["details"]] == ["BTC"]


@pytest.mark.parametrize(
    ("headers", "late_ms", "code"),
    [
        ({"OK_ACCESS_SIGN": "bm8="}, 0, "50113"),
        ({"OK_ACCESS_KEY": "nobody"}, 0, "50111"),
        ({"OK_ACCESS_PASSPHRASE": "open sesame"}, 0, "50105"),
        ({"OK_ACCESS_TIMESTAMP": "yesterday"}, 0, "50112"),
        ({}, 31_000, "50102"),
        ({"OK_ACCESS_KEY": ""}, 0, "50103"),
        ({"OK_ACCESS_PASSPHRASE": ""}, 0, "50104"),
        ({"OK_ACCESS_SIGN": ""}, 0, "50106"),
        ({"OK_ACCESS_TIMESTAMP": ""}, 0, "50107"),
    ],
)
async def test_unsigned_questions_are_refused(
    sim: Simulator, clock: Clock, headers: dict[str, str], late_ms: int, code: str
) -> None:
    path = "/api/v5/account/balance"
    status, answer = await get(sim, path, okx_headers(account_of(sim, "okx-main"), path, clock() - late_ms, **headers))
    assert (status, answer["code"], answer["data"]) == (401, code, [])


async def test_public_questions(sim: Simulator, clock: Clock) -> None:
    _, time = await get(sim, "/api/v5/public/time")
    assert abs(int(time["data"][0]["ts"]) - clock()) < 5_000
    _, listed = await get(sim, "/api/v5/public/instruments?instType=SWAP")
    sizes = {row["instId"]: (row["ctVal"], row["ctType"], row["settleCcy"]) for row in listed["data"]}
    assert sizes["BTC-USDT-SWAP"] == ("0.01", "linear", "USDT")
    assert sizes["BTC-USD-SWAP"] == ("100", "inverse", "BTC")
    _, tiers = await get(sim, "/api/v5/public/position-tiers?instType=SWAP&tdMode=cross&instFamily=BTC-USDT,BTC-USD")
    assert {row["instFamily"] for row in tiers["data"]} == {"BTC-USDT", "BTC-USD"}
    _, marks = await get(sim, "/api/v5/public/mark-price?instType=SWAP&instId=ETH-USDT-SWAP")
    assert [row["instId"] for row in marks["data"]] == ["ETH-USDT-SWAP"]
    assert await get(sim, "/api/v5/system/status") == (200, {"code": "0", "msg": "", "data": []})


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/api/v5/public/instruments", "50014"),
        ("/api/v5/public/instruments?instType=SWAP&instId=NOPE", "51001"),
        ("/api/v5/public/position-tiers?instType=SWAP&tdMode=cross", "50014"),
        ("/api/v5/public/position-tiers?instType=SWAP&tdMode=cross&instFamily=NOPE", "51001"),
        ("/api/v5/public/position-tiers?instType=SWAP&tdMode=cross&instFamily=A,B,C,D,E,F", "51000"),
        ("/api/v5/public/position-tiers?instType=SWAP&tdMode=both&instFamily=BTC-USDT", "51000"),
    ],
)
async def test_public_questions_that_are_wrong(sim: Simulator, path: str, code: str) -> None:
    _, answer = await get(sim, path)
    assert (answer["code"], answer["data"]) == (code, [])


async def test_a_frame_beyond_64_kib_closes_with_1009(sim: Simulator) -> None:
    async with dial(sim.describe()["okx"]["ws_public"] + "/ws/v5/public") as peer:
        await peer.say("x" * 70_000)
        assert (await peer.closed())[0] == 1009


# --- Faults ------------------------------------------------------------------------------------------------------------


async def test_fault_drop_with_and_without_a_close_frame(sim: Simulator, clock: Clock) -> None:
    async with AsyncExitStack() as stack:
        main = await logged_in(stack, sim, "okx-main", clock)
        hedge = await logged_in(stack, sim, "okx-hedge", clock)
        (hit,) = await fault(sim, kind="drop", venue="okx", account="okx-main")
        assert (hit["connection"], hit["accounts"]) == ("private", ["okx-main"])
        assert await main.closed() == (1001, "going away")
        await fault(sim, kind="drop", abort=True)
        assert await hedge.closed() == (None, "")


async def test_fault_stall_holds_everything_even_pongs_until_it_is_over(sim: Simulator, clock: Clock) -> None:
    async with AsyncExitStack() as stack:
        peer = await logged_in(stack, sim, "okx-main", clock)
        other = await logged_in(stack, sim, "okx-hedge", clock)
        await fault(sim, kind="stall", account="okx-main", seconds=60)
        for each in (peer, other):
            await each.say("ping")
        await other.until(lambda f: f == "pong")
        (stalled,) = [socket for socket in sim.fronts["okx"].sockets if socket.stalled]
        async with asyncio.timeout(10):
            while stalled.waiting == 0:  # noqa: ASYNC110 - the far end of a silent socket has no event to wait for
                await asyncio.sleep(0)
        assert stalled.waiting == 1
        clock.skew_ms += 60_000
        await peer.until(lambda f: f == "pong")


async def test_resume_ends_a_stall_without_end(sim: Simulator, clock: Clock) -> None:
    async with AsyncExitStack() as stack:
        peer = await logged_in(stack, sim, "okx-main", clock)
        await fault(sim, kind="stall", venue="okx")
        await peer.say("ping")
        await ask(sim.describe()["control"] + "/resume", "POST")
        await peer.until(lambda f: f == "pong")


async def test_fault_429_by_count_and_by_seconds(sim: Simulator, clock: Clock) -> None:
    path = "/api/v5/public/time"
    limited = (429, {"code": "50011", "msg": "Too Many Requests", "data": []})
    assert await fault(sim, kind="429", venue="okx", count=2) == ["okx"]
    assert [await get(sim, path) for _ in range(2)] == [limited] * 2
    assert (await get(sim, path))[0] == 200
    await fault(sim, kind="429", venue="okx", seconds=30)
    assert await get(sim, path) == limited
    clock.skew_ms += 30_001
    assert (await get(sim, path))[0] == 200


async def test_fault_wrong_login_with_a_given_code_then_right_again(sim: Simulator, clock: Clock) -> None:
    await fault(sim, kind="wrong_login", venue="okx", code="60006")
    async with dial(sim.describe()["okx"]["ws_private"] + "/ws/v5/private") as peer:
        await peer.say(okx_login(account_of(sim, "okx-main"), clock()))
        assert (await peer.next())["code"] == "60006"
        assert (await peer.closed())[0] == 4001
    async with AsyncExitStack() as stack:
        await logged_in(stack, sim, "okx-main", clock)


async def test_fault_close_and_open_by_hand_are_pushed_while_paused(sim: Simulator, clock: Clock) -> None:
    sim.control.pause()
    async with AsyncExitStack() as stack:
        peer = await logged_in(stack, sim, "okx-isolated", clock)
        await peer.say({"op": "subscribe", "args": [{"channel": "positions", "instType": "ANY"}]})
        (closed,) = await fault(sim, kind="close_position", account="okx-isolated", symbol="LTC-USDT-SWAP")
        assert closed == {"account": "okx-isolated", "symbol": "LTC-USDT-SWAP", "side": "long", "size": "140"}
        frame = await peer.until(lambda f: f.get("eventType") == "event_update")
        assert [(row["instId"], row["pos"]) for row in frame["data"]] == [("LTC-USDT-SWAP", "0")]
        await fault(
            sim, kind="open_position", account="okx-isolated", symbol="LTC-USDT-SWAP", side="short", size="12.5"
        )
        frame = await peer.until(lambda f: f.get("eventType") == "event_update")
        assert [(row["instId"], row["pos"], row["mgnMode"]) for row in frame["data"]] == [
            ("LTC-USDT-SWAP", "-12.5", "isolated")
        ]


async def test_fault_malformed_sends_one_frame_that_is_not_json(sim: Simulator, clock: Clock) -> None:
    async with AsyncExitStack() as stack:
        peer = await logged_in(stack, sim, "okx-main", clock)
        await fault(sim, kind="malformed", venue="okx", connection="private")
        frame = await peer.until(lambda f: isinstance(f, str))
        assert frame.startswith('{"arg":{"channel":"positions"')
        await peer.say("ping")
        await peer.until(lambda f: f == "pong")


async def test_fault_notice_then_the_close(sim: Simulator, clock: Clock) -> None:
    async with AsyncExitStack() as stack:
        peer = await logged_in(stack, sim, "okx-main", clock)
        await fault(sim, kind="notice", account="okx-main", seconds=20)
        frame = await peer.until(lambda f: f.get("event") == "notice")
        assert frame["code"] == "64008"
        clock.skew_ms += 20_000
        assert (await peer.closed())[0] == 1001
