"""What ``serve --record`` writes is what ``replay`` reads: the same codecs and the same engine end at the same figures."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import msgspec

from exchanges.sim.server import Simulator
from exchanges.venue import AccountSpec
from gateway.config import Config, VerifySettings
from gateway.replay import Recorder
from tests.system.desk import Desk, desk, eventually, stored_at
from tests.system.programs import Ended, ended, get, live, post, program
from tests.system.test_restart import configuration, equal_to_truth

# A recording knows accounts by name alone; shares of the gross notional are published once a second; a mark without a time
# of the venue's is as old as the turn that took it, a moment after its receipt; the desk has lost its feeds since; and audits,
# whose answers may repeat a key, are not recorded: they are also what tells the two names of Hyperliquid's standard mode apart.
NOT_COMPARED = {"user", "weight", "mark_at", "stale", "verified_at", "permissions", "mode"}
# Funding since a position was opened is theirs to state, or follows from records that are whole since then: raw lines do not tell.
STATE_FUNDING = {"okx", "hyperliquid"}
# What follows from the equity of a pool that is anchored on the venue's.
ANCHORED = ("margin_ratio", "worst_pool", "equity_usd", "gross_leverage")
# What a pool's calibration moves: within the venue's rounding it depends on what was compared at which moments, and raw lines do
# not tell when the engine took them: what a stream says first once that is live, the answers of a round when all are there.
CALIBRATED = ("liquidation_price", "trigger_price", "liquidation_distance", "anchor_at")
OF_ACCOUNT = ("liquidation_shock", "nearest_liquidation")


def figures(rows: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the comparable part of rows. A pool that is anchored on the venue's own equity takes the marks of that turn for
    the venue's: what came in one turn and is replayed in several may differ until the venue says its equity again."""
    found = {id_: {k: v for k, v in row.items() if k not in NOT_COMPARED} for id_, row in rows.items()}
    for row in found.values():
        if row["venue"] not in STATE_FUNDING:
            row.pop("funding", None)
        pools = row.get("pools", {})
        if any(pool["source"] == "venue" for pool in pools.values()):
            row["pools"] = {name: pool for name, pool in pools.items() if pool["source"] != "venue"}
            for name in ANCHORED:
                row.pop(name, None)
    return found


def calibrated(tables: dict[str, Any]) -> set[tuple[str, str]]:
    """Return the pools, by account, whose prices a calibration moves."""
    rows = tables["accounts"].items()
    return {
        (name, pool)
        for name, row in rows
        for pool, it in row["pools"].items()
        if it.get("calibration", {}).get("delta")
    }


def uncalibrated(tables: dict[str, Any], pools: set[tuple[str, str]]) -> dict[str, Any]:
    """Return positions and accounts without what a calibration of these pools moves; whose figures are shown stays."""
    found = {name: {id_: dict(row) for id_, row in tables[name].items()} for name in ("positions", "accounts")}
    for row in found["positions"].values():
        if row.get("liquidation_source") == "calibrated":
            row["liquidation_source"] = "model"  # moved by nothing
        for name in CALIBRATED if (row["account"], row["pool"]) in pools else ():
            row.pop(name, None)
    for account, row in found["accounts"].items():
        row["pools"] = {name: {k: v for k, v in it.items() if k != "calibration"} for name, it in row["pools"].items()}
        for pool in row["pools"].values():
            pool["source"] = "model" if pool["source"] == "calibrated" else pool["source"]
        for name in OF_ACCOUNT if any(owner == account for owner, _ in pools) else ():
            row.pop(name, None)
    return found


def unlike(path: str, found: Any, expected: Any) -> list[str]:
    """Return where two JSON values differ; sums of floats may do so in their last digits, by the order of summing."""
    if isinstance(found, dict) and isinstance(expected, dict):
        missing = [f"{path}.{key}: only once" for key in found.keys() ^ expected.keys()]
        return missing + [
            what
            for key in found.keys() & expected.keys()
            for what in unlike(f"{path}.{key}", found[key], expected[key])
        ]
    if isinstance(found, float) and isinstance(expected, float):
        close = math.isclose(found, expected, rel_tol=1e-9, abs_tol=1e-9)
        return [] if close else [f"{path}: {found}, {expected}"]
    return [] if found == expected else [f"{path}: {found}, {expected}"]


def replayed(end: Ended) -> dict[str, Any]:
    """Return the tables that a replay printed; nothing else may be on its stdout."""
    found: dict[str, Any] = json.loads(end.out)
    return found


def break_line(recording: Path, number: int) -> None:
    """Cut a line of a recording in half."""
    lines = recording.read_bytes().splitlines(keepends=True)
    lines[number - 1] = lines[number - 1][: len(lines[number - 1]) // 2] + b"\n"
    recording.write_bytes(b"".join(lines))


def seldom_verified(config: Config, specs: list[AccountSpec]) -> tuple[Config, list[AccountSpec]]:
    """Let no round be cut off by the end: what was recorded but not applied would be a difference."""
    return msgspec.structs.replace(config, verify=VerifySettings(every_s=3600)), specs


async def recorded(simulator: Simulator, dsn: str, folder: Path, recording: Path) -> dict[str, Any]:
    """Record a desk that loses its connections once, and return its tables as they were after the last recorded line."""

    async def moved(running: Desk) -> None:
        view = running.client.replica.views[0]
        deltas = view.deltas
        await running.client.wait_for(lambda _: view.deltas >= deltas + 20)

    changes = (stored_at(dsn), seldom_verified)
    async with desk(simulator, folder, changes=changes, recorder=Recorder(recording.open("wb"))) as running:
        await running.live()
        await moved(running)
        running.fault("drop", abort=True)
        await eventually(lambda: not running.all_live(), "connections break")
        await running.live()
        await moved(running)
        await eventually(running.quiet, "every question is answered", 60)
        simulator.control.pause()
        await running.get("/v1/positions?max_age_ms=0")  # an option's figures are as old as the last look at it
        await running.settled()
        await eventually(running.quiet, "every question is answered", 60)
    tables = running.gateway.engine.tables
    return {
        table.name: {id_: table.version(slot).row for id_ in table.ids() if (slot := table.slot(id_)) is not None}
        for table in tables
    }


async def test_a_recording_replays_to_the_figures_that_were_shown(simulator: Simulator, dsn: str, folder: Path) -> None:
    recording = folder / "recording.jsonl"
    last = await recorded(simulator, dsn, folder, recording)
    lines = [json.loads(line) for line in recording.read_bytes().splitlines()]
    assert [line["via"] for line in lines].index("settings") == 0
    assert {line["via"] for line in lines[1:]} == {"ws-private", "ws-public", "rest"}
    assert all((line["request"] is not None) == (line["via"] == "rest") for line in lines[1:])
    end = await ended("replay", recording, "--json")
    assert end.status == 0, end.err
    found = replayed(end)
    moved = calibrated(found) | calibrated(last)
    ours, theirs = uncalibrated(found, moved), uncalibrated(last, moved)
    for table in ("positions", "accounts"):
        assert unlike(table, figures(ours[table]), figures(theirs[table])) == []
    promoted = [row for row in theirs["positions"].values() if row["liquidation_source"] == "model"]
    assert len(promoted) > len(theirs["positions"]) / 2, "the demo shows the models' own prices"
    assert any("liquidation_price" in row for row in promoted), "and some are moved by no calibration"
    # A line that cannot be read is reported with its number, counted and skipped; stdout stays JSON.
    number = next(at for at, line in enumerate(lines, 1) if at > len(lines) // 2 and line["via"] == "ws-public")
    break_line(recording, number)
    end = await ended("replay", recording, "--json", "--explain")
    assert end.status == 3
    assert f"{recording}:{number}: not a recorded input" in end.err
    assert f"1 of {len(lines)} lines" in end.err
    found = replayed(end)
    assert found["positions"].keys() == last["positions"].keys()
    assert all({"unrealized_pnl", "liquidation_price"} <= row["explain"].keys() for row in found["positions"].values())


async def test_serve_records_what_replay_reads(folder: Path) -> None:
    recording = folder / "recording.jsonl"
    async with program(folder, "sim", "--json", "--seed", "5") as venues:
        described = venues.told()
        config = configuration(folder / "config.yaml", described, folder / "data", reachable=True)
        async with program(folder, "serve", "--config", config, "--record", recording) as running:
            url = running.first.split()[-1]
            await live(url)
            await post(f"{described['control']}/pause")
            await get(f"{url}/v1/positions?max_age_ms=0")  # what a later look at the venue says is the same
            last = await equal_to_truth(url, described["control"])
            assert (await get(f"{url}/readyz"))["feeds_live"]
            await running.stop()
            assert running.process.returncode == 0
    end = await ended("replay", recording)
    assert end.status == 0, end.err
    names = ("size", "side", "entry_price", "leverage", "margin_mode", "venue_unrealized_pnl", "unrealized_pnl")
    found = replayed(end)["positions"]
    assert found.keys() == last["positions"].keys()
    for id_, row in found.items():
        shown = last["positions"][id_]
        assert unlike(id_, {name: row.get(name) for name in names}, {name: shown.get(name) for name in names}) == []
