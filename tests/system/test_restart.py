"""Programs that are stopped, killed and started again: nothing is left behind, and the last positions are there at once."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path
from typing import Any

import pytest

from gateway.storage.embedded import EmbeddedPostgres
from tests.system.programs import alive, all_gone, descendants, get, live, post, program, text, until
from tests.system.test_storage import assert_holds, stored_positions
from tests.system.truth import differences

STOP_S = 5.0
NOWHERE = "http://127.0.0.1:9"  # nobody listens on the discard port


def configuration(path: Path, described: dict[str, Any], data: Path, *, reachable: bool) -> Path:
    """Write a configuration for a simulator's accounts, or for the same accounts at hosts where nobody answers."""
    venues = {name: part for name, part in described.items() if isinstance(part, dict)}
    accounts: dict[str, dict[str, str]] = {}
    for venue, part in venues.items():
        for account in part["accounts"]:
            name = account["name"]
            accounts[name] = {"venue": venue, "user": "demo"}
            if "key" in account:
                secrets = path.with_name(f"{name}.json")
                parts = ("key", "secret", "passphrase")
                secrets.write_text(json.dumps({k: v for k, v in account.items() if k in parts}))
                accounts[name]["credentials"] = f"file:{secrets}"
            if "address" in account:
                accounts[name]["address"] = account["address"]
    hosts = {
        name: {
            "rest": part["rest"] if reachable else NOWHERE,
            "ws_public": part["ws_public"] if reachable else NOWHERE.replace("http", "ws"),
            "ws_private": part["ws_private"] if reachable else NOWHERE.replace("http", "ws"),
        }
        for name, part in venues.items()
    }
    settings = {"server": {"port": 0}, "storage": {"data_dir": str(data)}, "venues": hosts, "accounts": accounts}
    path.write_text(json.dumps(settings))  # JSON is YAML
    return path


async def written(url: str) -> None:
    """Wait until the database has taken everything that a standing world gave it."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + 15
    while True:
        lines = [line.split() for line in (await text(f"{url}/metrics")).splitlines() if not line.startswith("#")]
        figures = {name: float(value) for name, value in lines if name.startswith("perpwire_checkpoint")}
        if figures["perpwire_checkpoint_writes_total"] and not figures["perpwire_checkpoint_waiting_rows"]:
            return
        assert loop.time() < deadline, f"not everything is written: {figures}"
        await asyncio.sleep(0.05)


async def equal_to_truth(url: str, control: str) -> dict[str, Any]:
    """Wait until a gateway's snapshot equals its simulator's truth, and return the snapshot."""
    # The figures of an option are as old as the last look at its account: one is asked for, its next turn is too far away.
    rows = (await get(f"{url}/v1/snapshot?tables=positions"))["positions"].values()
    if holders := sorted({row["account"] for row in rows if row["kind"] == "option"}):
        await get(f"{url}/v1/positions?account={','.join(holders)}&max_age_ms=0")
    loop = asyncio.get_running_loop()
    deadline = loop.time() + 12
    while True:
        snapshot = await get(f"{url}/v1/snapshot?tables=positions,accounts")
        left = differences(await get(f"{control}/truth"), snapshot)
        if not left:
            found: dict[str, Any] = snapshot
            return found
        assert loop.time() < deadline, "\n".join(left[:20])
        await asyncio.sleep(0.05)


async def test_after_kill_9_the_last_positions_are_served_at_once_and_then_live(folder: Path) -> None:
    data = folder / "data"
    async with program(folder, "sim", "--json", "--seed", "5") as venues:
        described = venues.told()
        control = described["control"]
        live_config = configuration(folder / "live.yaml", described, data, reachable=True)
        async with program(folder, "serve", "--config", live_config) as first:
            url = first.first.split()[-1]
            await live(url)
            await post(f"{control}/pause")
            last = await equal_to_truth(url, control)
            await written(url)
            family = descendants(first.pid)
            assert "postgres" in alive(family).values()
            await first.stop(signal.SIGKILL)
            await all_gone(family)
        # The venues cannot be reached: what is shown can only be remembered.
        dead_config = configuration(folder / "dead.yaml", described, data, reachable=False)
        async with program(folder, "serve", "--config", dead_config) as second:
            url = second.first.split()[-1]
            restored = await get(f"{url}/v1/snapshot?tables=positions,accounts,feeds")
            assert restored["epoch"] != last["epoch"]
            assert restored["positions"].keys() == last["positions"].keys()
            for id_, row in restored["positions"].items():
                assert row["stale"]["reason"] == "restored"
                for name in ("size", "entry_price", "side", "leverage", "margin_mode"):
                    assert row.get(name) == last["positions"][id_].get(name), (id_, name)
            assert {row["stale"]["reason"] for row in restored["accounts"].values()} == {"restored"}
            assert not any(row["state"] == "live" for row in restored["feeds"].values())
            await second.stop()
        async with program(folder, "serve", "--config", live_config) as third:
            url = third.first.split()[-1]
            await live(url)
            await equal_to_truth(url, control)  # a stale row would differ
            assert await third.stop() < STOP_S
            assert third.process.returncode == 0
        await venues.stop()


async def test_kill_9_of_the_demo_leaves_no_process_behind_and_its_data_usable(folder: Path) -> None:
    data = folder / "data"
    async with program(folder, "demo", "--port", "0", "--json", "--seed", "5", "--data", data) as first:
        await live(first.told()["url"])
        await written(first.told()["url"])
        family = descendants(first.pid)
        assert len(alive(family)) >= 2
        await first.stop(signal.SIGKILL)
        await all_gone(family)
    async with program(folder, "demo", "--port", "0", "--json", "--seed", "5", "--data", data) as second:
        url, control = second.told()["url"], second.told()["control"]
        await live(url)
        await post(f"{control}/pause")
        await equal_to_truth(url, control)
        family = descendants(second.pid)
        assert await second.stop() < STOP_S
        await all_gone(family)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "Ctrl-C"])
async def test_a_signal_stops_in_order_within_five_seconds(folder: Path, number: signal.Signals) -> None:
    data = folder / "data"
    async with program(folder, "demo", "--port", "0", "--json", "--seed", "5", "--data", data) as running:
        url, control = running.told()["url"], running.told()["control"]
        await live(url)
        await post(f"{control}/pause")
        last = await equal_to_truth(url, control)
        family = descendants(running.pid)
        took_s = await running.stop(number)
        assert (running.process.returncode, took_s < STOP_S) == (0, True)
        await all_gone(family, 1.0)
        assert "Traceback" not in running.errors
    server = EmbeddedPostgres(data)
    try:
        stored, checkpoint = await stored_positions(await server.start())
    finally:
        await server.stop()
    assert (checkpoint["epoch"], checkpoint["clean"]) == (last["epoch"], True)
    assert_holds(stored, last["positions"])


async def test_the_simulator_alone_says_where_it_is_and_stops(folder: Path) -> None:
    async with program(folder, "sim", "--json", "--seed", "9") as venues:
        described = venues.told()
        assert set(described) >= {"okx", "bybit", "hyperliquid", "control"}
        for venue in ("okx", "bybit", "hyperliquid"):
            assert {"rest", "ws_public", "ws_private", "accounts"} <= described[venue].keys()
        assert {"key", "secret", "passphrase", "name"} <= described["okx"]["accounts"][0].keys()
        assert {"key", "secret", "name"} <= described["bybit"]["accounts"][0].keys()
        assert {"address", "name"} <= described["hyperliquid"]["accounts"][0].keys()
        assert (await until(f"{described['control']}/truth", bool, "truth"))["seed"] == 9
        assert await venues.stop() < STOP_S
        assert venues.process.returncode == 0
