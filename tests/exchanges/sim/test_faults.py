"""What the venues do wrong: frames swallowed, doubled, swapped and cut; answers late or broken; keys; and the end of it all."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from exchanges.sim.faults import Faults
from exchanges.sim.server import Simulator, start
from exchanges.sim.sockets import Socket, send_private
from tests.exchanges.sim.raw import Clock, ask

PATHS = {"okx": "/api/v5/public/time", "bybit": "/v5/market/time", "aster": "/fapi/v1/time"}


@pytest.fixture
async def sim() -> AsyncIterator[Simulator]:
    simulator = await start(5, clock=Clock())
    yield simulator
    await simulator.stop()


@pytest.fixture
async def socket() -> Socket:
    made = Socket(1, "private", 1008, 1 << 20, Faults())
    made.accounts.add("okx-main")
    return made


def sent(socket: Socket) -> list[str]:
    return [str(data) for _, data in socket._queue]


# --- Frames --------------------------------------------------------------------------------------------------------------


async def test_a_gap_swallows_events_and_leaves_snapshots(socket: Socket) -> None:
    socket.faults.suppressed.add("okx-main")
    send_private(socket, "event")
    send_private(socket, "state", snapshot=True)
    socket.faults.suppressed.clear()
    send_private(socket, "later")
    assert sent(socket) == ["state", "later"]


async def test_of_a_socket_with_several_accounts_only_the_one_that_is_meant_goes_silent(socket: Socket) -> None:
    socket.accounts.add("hl-main")
    socket.faults.suppressed.add("hl-main")
    for account in ("okx-main", "hl-main"):
        send_private(socket, account, account)
    assert sent(socket) == ["okx-main"]


async def test_frames_come_twice_swapped_or_in_half_as_often_as_ordered(socket: Socket) -> None:
    socket.faults.duplicate = 1
    for text in ("first", "second"):
        send_private(socket, text)
    assert sent(socket) == ["first", "first", "second"]
    socket._queue.clear()
    socket.faults.reorder = 2
    for text in ("a", "b", "c", "d", "e"):
        send_private(socket, text)
    assert sent(socket) == ["b", "a", "d", "c", "e"]
    socket._queue.clear()
    socket.faults.half_frame = 1
    frame = json.dumps({"data": [1, 2, 3]})
    send_private(socket, frame)
    send_private(socket, frame)
    cut, whole = sent(socket)
    assert whole == frame
    with pytest.raises(ValueError, match=r"^(Expecting|Unterminated)"):
        json.loads(cut)


async def test_a_frame_that_nothing_overtakes_is_let_go(sim: Simulator, socket: Socket) -> None:
    front = sim.fronts["okx"]
    front.sockets._open[socket.id] = socket
    try:
        socket.faults.reorder = 1
        send_private(socket, "alone")
        now = sim.world.now_ms
        sim.control._disturbances._let_go(now)
        assert sent(socket) == []
        sim.control._disturbances._let_go(now + 500)
        assert sent(socket) == ["alone"]
    finally:
        del front.sockets._open[socket.id]


# --- Answers -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("venue", list(PATHS))
async def test_a_broken_answer_is_a_gateways_page_and_the_next_one_is_right(sim: Simulator, venue: str) -> None:
    sim.control.fault({"kind": "server_error", "venue": venue, "count": 2})
    url = sim.urls[venue] + PATHS[venue]
    async with aiohttp.ClientSession() as session:
        for status in (500, 502):
            async with session.get(url) as answer:
                assert (answer.status, answer.content_type) == (status, "text/html")
        async with session.get(url) as answer:
            assert (answer.status, answer.content_type) == (200, "application/json")


async def test_a_late_answer_says_what_was_true_when_it_was_asked(sim: Simulator) -> None:
    clock = sim.control._clock
    assert isinstance(clock, Clock)
    asked = clock()
    sim.control.fault({"kind": "late_rest", "venue": "bybit", "ms": 300})
    began = asyncio.get_running_loop().time()
    waiting = asyncio.create_task(ask(sim.urls["bybit"] + PATHS["bybit"]))
    async with asyncio.timeout(5):
        _, answer = await waiting
    assert asyncio.get_running_loop().time() - began >= 0.3
    assert answer["time"] - asked < 300
    sim.control.fault({"kind": "late_rest", "venue": "bybit", "ms": 0})
    assert sim.fronts["bybit"].faults.late_rest_ms == 0


# --- What is ordered, and for how long -----------------------------------------------------------------------------------


async def test_gaps_and_late_answers_end_with_their_time(sim: Simulator) -> None:
    faults = sim.fronts["okx"].faults
    assert sim.control.fault({"kind": "gap", "account": "okx-main", "seconds": 5})["affected"] == ["okx-main"]
    now = sim.control.done[0]["at"]
    sim.control.fault({"kind": "gap", "account": "okx-main", "seconds": 1})
    sim.control.fault({"kind": "gap", "account": "okx-hedge"})
    sim.control.fault({"kind": "late_rest", "venue": "okx", "ms": 100, "seconds": 2})
    assert faults.suppressed == {"okx-main", "okx-hedge"}
    sim.control.tick(now + 3_000)
    assert (faults.suppressed, faults.late_rest_ms) == ({"okx-main", "okx-hedge"}, 0)
    sim.control.tick(now + 5_500)
    assert faults.suppressed == {"okx-hedge"}
    sim.control.fault({"kind": "gap", "account": "okx-hedge", "seconds": 0})
    assert faults.suppressed == set()


async def test_a_gap_of_a_venue_is_one_of_all_its_accounts(sim: Simulator) -> None:
    sim.control.fault({"kind": "gap", "venue": "bybit"})
    assert sim.fronts["bybit"].faults.suppressed == {"bybit-main", "bybit-isolated", "bybit-hedge"}
    assert sim.fronts["okx"].faults.suppressed == set()


async def test_a_quiet_act_hushes_those_it_concerns_for_a_while(sim: Simulator) -> None:
    sim.control.pause()
    act: dict[str, Any] = {"kind": "pay_funding", "venue": "aster", "symbol": "BTCUSDT", "quiet": True, "seconds": 3}
    assert len(sim.control.fault(act)["affected"]) == 3
    faults = sim.fronts["aster"].faults
    assert faults.suppressed == {"aster-main", "aster-hedge"}
    sim.control.tick(sim.world.now_ms + 3_001)
    assert faults.suppressed == set()


async def test_keys_may_do_too_much_or_end(sim: Simulator) -> None:
    sim.control.fault({"kind": "key_powers", "account": "okx-main", "powers": ["read", "trade", "withdraw"]})
    sim.control.fault({"kind": "expired_key", "account": "aster-main"})
    assert sim.fronts["okx"].faults.key_powers == {"okx-main": ("read", "trade", "withdraw")}
    assert sim.fronts["aster"].faults.expired_keys == {"aster-main"}


async def test_lifting_ends_everything(sim: Simulator) -> None:
    for fault in (
        {"kind": "gap", "venue": "okx"},
        {"kind": "late_rest", "ms": 5_000},
        {"kind": "clock_skew", "ms": -5_000},
        {"kind": "server_error", "count": 9},
        {"kind": "429", "seconds": 60},
        {"kind": "duplicate", "count": 9},
        {"kind": "reorder", "count": 9},
        {"kind": "half_frame", "count": 9},
        {"kind": "expired_key", "account": "bybit-main"},
    ):
        sim.control.fault(fault)
    assert sim.fronts["aster"].faults.clock_skew_ms == -5_000
    sim.control.fault({"kind": "lift"})
    assert [front.faults for front in sim.fronts.values()] == [Faults()] * 4


async def test_what_was_ordered_is_told_with_what_came_of_it(sim: Simulator) -> None:
    sim.control.pause()
    control = sim.urls["control"]
    await ask(control + "/faults", "POST", json={"kind": "close_position", "account": "hl-single", "symbol": "HYPE"})
    await ask(control + "/faults", "POST", json={"kind": "close_position", "account": "hl-single", "symbol": "HYPE"})
    _, done = await ask(control + "/faults")
    assert [set(entry) for entry in done] == [{"at", "wanted", "affected"}, {"at", "wanted", "refused"}]
    assert done[0]["affected"] == [{"account": "hl-single", "symbol": "HYPE", "side": "short", "size": "420"}]
    assert "open are none" in done[1]["refused"]


@pytest.mark.parametrize(
    ("wanted", "affected"),
    [
        ({"kind": "close_position", "account": "hl-single", "nth": 7, "share": "0.5"}, "HYPE"),
        ({"kind": "liquidate", "account": "hl-single", "nth": 0, "share": "0.5"}, "HYPE"),
        ({"kind": "adl", "account": "hl-single", "symbol": "HYPE"}, "HYPE"),
        ({"kind": "silent", "account": "hl-single", "nth": 0, "share": "0.5"}, "HYPE"),
        ({"kind": "margin", "account": "hl-main", "nth": 3}, "LINK"),
        ({"kind": "mode", "account": "hl-main", "symbol": "LINK", "margin": "other"}, "LINK"),
        ({"kind": "mode", "account": "okx-hedge", "hedge": "other"}, "BTC-USDT-SWAP"),
        ({"kind": "mode", "account": "bybit-isolated", "mode": "other"}, "ETHUSDT"),
        ({"kind": "split", "account": "hl-main", "symbol": "kPEPE", "factor": "2"}, "kPEPE"),
        ({"kind": "pay_funding", "account": "hl-single", "nth": 0}, "HYPE"),
        (
            {"kind": "trade", "buyer": "bybit-main", "seller": "bybit-hedge", "symbol": "BTCUSDT", "size": "0.1"},
            "BTCUSDT",
        ),
        (
            {"kind": "order", "account": "hl-single", "symbol": "HYPE", "side": "buy", "price": "20", "size": "5"},
            "HYPE",
        ),
    ],
)
async def test_every_act_names_what_it_affected(sim: Simulator, wanted: dict[str, Any], affected: str) -> None:
    sim.control.pause()
    rows = sim.control.fault(wanted)["affected"]
    assert affected in {row["symbol"] for row in rows}
    after = sim.control.truth(0)
    assert after["changes"] or after["orders"]


async def test_what_an_nth_does_not_find_is_no_fault(sim: Simulator) -> None:
    sim.control.pause()
    sim.control.fault({"kind": "close_position", "account": "hl-single", "symbol": "HYPE"})
    for kind in ("close_position", "liquidate", "adl", "silent", "margin", "pay_funding"):
        assert sim.control.fault({"kind": kind, "account": "hl-single", "nth": 3})["affected"] == []
    assert sim.control.fault({"kind": "open_position", "account": "hl-single"})["affected"][0]["symbol"] == "HYPE"
    assert sim.control.fault({"kind": "open_position", "account": "hl-single"})["affected"] == []


async def test_the_truth_tells_the_changes_after_a_number(sim: Simulator) -> None:
    sim.control.pause()
    control = sim.urls["control"]
    for symbol in ("BTC", "ETH", "SOL"):
        sim.control.fault({"kind": "silent", "account": "hl-main", "symbol": symbol})
    changes = (await ask(control + "/truth?since=0"))[1]["changes"]
    since = changes[-2]["n"]
    (last,) = (await ask(f"{control}/truth?since={since}"))[1]["changes"]
    assert (last["n"], last["symbol"], last["cause"], last["trace"]) == (since + 1, "SOL", "silent", False)
    assert (last["before"]["size"], last["after"]) == ("150", None)
    assert (await ask(f"{control}/truth?since={since + 1}"))[1]["changes"] == []
    status, problem = await ask(control + "/truth?since=now")
    assert (status, "since is 'now'" in problem["detail"]) == (400, True)
