"""The control port: truth in its documented shape, standing still, and refusals that name what is known."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from exchanges.sim.catalog import VENUES
from exchanges.sim.server import Simulator, start
from tests.exchanges.sim.raw import Clock, ask


@pytest.fixture
async def sim() -> AsyncIterator[Simulator]:
    simulator = await start(5, clock=Clock())
    yield simulator
    await simulator.stop()


async def test_truth_has_its_documented_shape(sim: Simulator) -> None:
    status, truth = await ask(sim.describe()["control"] + "/truth")
    assert status == 200
    for position in truth["positions"]:
        assert {
            "account",
            "venue",
            "symbol",
            "side",
            "size",
            "mark_price",
            "unrealized_pnl",
            "liquidated",
        } <= position.keys()
        assert not position["size"].startswith("-")
        assert position["mark_price"] == truth["marks"][position["venue"]][position["symbol"]]
    assert {"account", "venue", "ccy", "total"} <= truth["balances"][0].keys()
    assert set(truth["marks"]) == set(VENUES)
    named = {a["name"] for v in VENUES for a in sim.describe()[v]["accounts"]}
    assert {position["account"] for position in truth["positions"]} == named


async def test_a_paused_world_tells_the_same_truth_until_it_is_resumed(sim: Simulator) -> None:
    control = sim.describe()["control"]
    assert await ask(control + "/pause", "POST") == (200, {"paused": True})
    first = (await ask(control + "/truth"))[1]
    sim.world.step(sim.world.now_ms + 5_000)
    second = (await ask(control + "/truth"))[1]
    assert {**first, "at": 0} == {**second, "at": 0}
    assert await ask(control + "/resume", "POST") == (200, {"paused": False})
    sim.world.step(sim.world.now_ms + 5_000)
    assert (await ask(control + "/truth"))[1]["marks"] != first["marks"]


async def test_a_shock_liquidates(sim: Simulator) -> None:
    sim.control.pause()
    sim.control.fault({"kind": "shock", "underlying": "LTC", "fraction": "-0.2"})
    gone = [p for p in sim.control.truth()["positions"] if p["liquidated"]]
    assert [(p["account"], p["symbol"], p["size"]) for p in gone] == [("okx-isolated", "LTC-USDT-SWAP", "0")]


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        ({"kind": "earthquake"}, "there are drop, stall, 429"),
        ({}, "there are drop, stall, 429"),
        ({"kind": "drop", "venu": "okx"}, "it takes venue, account, connection, abort, code"),
        ({"kind": "drop", "venue": "mtgox"}, "it may be okx, bybit, hyperliquid, aster"),
        ({"kind": "drop", "account": "nobody"}, "there are okx-main"),
        ({"kind": "drop", "connection": "secret"}, "it may be public, private"),
        ({"kind": "stall", "seconds": -1}, "a number, 0 or more"),
        ({"kind": "wrong_login", "venue": "hyperliquid"}, "has no login"),
        ({"kind": "close_position", "account": "okx-main"}, "needs symbol"),
        ({"kind": "close_position", "account": "nobody", "symbol": "X"}, "there are okx-main"),
        ({"kind": "close_position", "account": "okx-main", "symbol": "X"}, "open are BTC-USD-"),
        ({"kind": "open_position", "account": "okx-main", "symbol": "X"}, "okx lists no 'X'"),
        ({"kind": "open_position", "account": "hl-main", "symbol": "BTC", "size": "a lot"}, "as a decimal"),
        ({"kind": "open_position", "account": "hl-main", "symbol": "BTC", "size": "NaN"}, "finite"),
        ({"kind": "open_position", "account": "hl-main", "symbol": "BTC", "size": "0"}, "positive multiples"),
        ({"kind": "shock", "underlying": "TULIP", "fraction": "1"}, "there are BTC"),
        (["drop"], "a fault is a JSON object"),
    ],
)
async def test_a_fault_that_cannot_be_is_a_problem_that_names_what_can(sim: Simulator, wanted: Any, says: str) -> None:
    status, problem = await ask(sim.describe()["control"] + "/faults", "POST", json=wanted)
    assert status == 400
    assert problem["status"] == 400
    assert says in problem["detail"]


async def test_a_body_that_is_not_json_is_a_problem(sim: Simulator) -> None:
    status, problem = await ask(sim.describe()["control"] + "/faults", "POST", data="{")
    assert (status, "not JSON" in problem["detail"]) == (400, True)
