"""``perpwire reconcile`` as an operator runs it: compare, correct, and close by hand what nobody can ask for any more."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import asyncpg
import msgspec
from typer.testing import CliRunner

from exchanges.sim.exact import plain
from exchanges.sim.server import Simulator
from exchanges.venue import AccountSpec
from gateway.cli import app
from gateway.config import Config, VerifySettings
from tests.system.changes import only, replace
from tests.system.desk import Desk, desk, eventually, stored_at
from tests.system.programs import Ended, ended
from tests.system.written import written

ACCOUNT, OTHER = "okx-isolated", "bybit-isolated"
TABLES = ("positions", "accounts", "feeds", "reconciliations", "closed")
NOWHERE = "127.0.0.1:9"  # nobody listens on the discard port


def seldom(config: Config, specs: list[AccountSpec]) -> tuple[Config, list[AccountSpec]]:
    """Leave the timer out: what differs stays so until the command is run."""
    return replace(config, verify=VerifySettings(every_s=600)), specs


def okx_is_gone(config: Config, specs: list[AccountSpec]) -> tuple[Config, list[AccountSpec]]:
    """Put OKX where nobody answers."""
    gone = replace(
        config.venues["okx"], rest=f"http://{NOWHERE}", ws_public=f"ws://{NOWHERE}", ws_private=f"ws://{NOWHERE}"
    )
    return replace(config, venues={**config.venues, "okx": gone}), specs


def configuration(running: Desk, folder: Path, dsn: str) -> Path:
    """Write what the gateway runs on into a file."""
    path = written(running.gateway.config, running.gateway.specs, folder)
    path.write_text(json.dumps({**json.loads(path.read_text()), "storage": {"dsn": dsn}}))
    return path


async def command(*arguments: str | Path) -> Ended:
    return await ended("reconcile", *arguments)


def rows(running: Desk, account: str) -> list[dict[str, Any]]:
    return [row for row in running.positions.values() if row["account"] == account]


def corrections(running: Desk) -> list[dict[str, Any]]:
    return list(running.client.tables["reconciliations"].values())


async def stored(dsn: str) -> dict[str, list[dict[str, Any]]]:
    """Return the stored positions and corrections by account."""
    connection = await asyncpg.connect(dsn)
    try:
        found: dict[str, list[dict[str, Any]]] = {}
        for table in ("current_positions", "reconciliations"):
            states = [msgspec.json.decode(row["state"]) for row in await connection.fetch(f"SELECT state FROM {table}")]
            for state in states:
                found.setdefault(f"{table} {state['account']}", []).append(state)
        return found
    finally:
        await connection.close()


async def test_dry_run_shows_both_sides_and_apply_corrects(simulator: Simulator, dsn: str, folder: Path) -> None:
    changes = (seldom, only(OTHER, ACCOUNT), stored_at(dsn))
    async with desk(simulator, folder, changes=changes, tables=TABLES) as running:
        await running.live()
        simulator.control.pause()
        await running.settled()
        await eventually(
            lambda: all("verified_at" in row for row in running.client.tables["accounts"].values()),
            "all are asked once",
        )
        # What is asked of the past some seconds after the start would find the fills, and ask for the state.
        books = running.gateway.engine.books
        await eventually(lambda: all(books[name].coverage.whole for name in (OTHER, ACCOUNT)), "their past is known")
        running.fault("close_position", account=OTHER, symbol="ETHUSDT", quiet=True, seconds=60)
        running.fault("close_position", account=OTHER, symbol="DOGEUSDT", share="0.4", quiet=True, seconds=60)
        size, gone = (
            next(row["size"] for row in rows(running, OTHER) if row["symbol"] == symbol)
            for symbol in ("DOGEUSDT", "ETHUSDT")
        )
        left = next(plain(one.size) for one in simulator.world.positions(OTHER) if one.symbol == "DOGEUSDT")
        before = {row_id: row["size"] for row_id, row in running.positions.items()}
        path = configuration(running, folder, dsn)
        url = running.gateway.url

        reason = ("--reason", "no reason", "--yes")
        dry, refused = await asyncio.gather(
            command("--url", url, "--dry-run", "--account", OTHER, "--account", ACCOUNT),
            command("--url", url, "--config", path, "--force", "--account", OTHER, *reason),
        )
        assert (dry.status, dry.err) == (0, "")
        lines = dry.out.splitlines()
        held = len(rows(running, OTHER))
        assert f"{OTHER}: {held} rows" in lines
        assert any("DOGEUSDT" in line and f"size: store {size} | venue {left}" in line for line in lines), dry.out
        assert any("ETHUSDT" in line and f"size: store {gone} | venue 0" in line for line in lines), dry.out
        assert lines[lines.index(f"{ACCOUNT}: {len(rows(running, ACCOUNT))} rows") + 1] == "  store and venue agree"
        assert {row_id: row["size"] for row_id, row in running.positions.items()} == before
        assert corrections(running) == []

        assert refused.status == 0
        assert "the venue answers: nothing has to be forced. Use --apply" in refused.out
        assert {row_id: row["size"] for row_id, row in running.positions.items()} == before

        applied = await command("--url", url, "--apply", "--account", OTHER)
        assert (applied.status, applied.err) == (0, "")
        assert "the store was corrected" in applied.out
        await eventually(lambda: len(rows(running, OTHER)) == held - 1, "what is closed is gone")
        await running.settled()
        await eventually(
            lambda: len(corrections(running)) == 2 and all("class" in row for row in corrections(running)),
            lambda: f"both are on record: {corrections(running)}",
        )
        assert {row["trigger"] for row in corrections(running)} == {"demand"}
        again, nobody, locked = await asyncio.gather(
            command("--url", url, "--account", OTHER),
            command("--url", url, "--account", "no-such-account"),
            command("--url", f"http://{NOWHERE}", "--config", path, "--force", "--account", OTHER, *reason),
        )
        assert "store and venue agree" in again.out
        assert nobody.status == 1
        assert f"there is no account no-such-account; there are: {OTHER}, {ACCOUNT}" in nobody.err
        # Beside a running gateway nobody else writes, whatever address is named.
        assert locked.status == 1
        assert "another" in locked.err
        assert len(rows(running, OTHER)) == held - 1


async def test_force_closes_the_rows_of_an_account_whose_venue_is_gone(
    simulator: Simulator, dsn: str, folder: Path
) -> None:
    changes = (seldom, only(ACCOUNT, OTHER), stored_at(dsn))
    async with desk(simulator, folder, changes=changes, tables=TABLES) as running:
        await running.live()
        simulator.control.pause()
        await running.settled()
        mine, others = len(rows(running, ACCOUNT)), len(rows(running, OTHER))
        assert min(mine, others) > 1
    async with desk(simulator, folder, changes=(*changes, okx_is_gone), tables=TABLES) as running:
        assert (len(rows(running, ACCOUNT)), len(rows(running, OTHER))) == (mine, others)
        path, url = configuration(running, folder, dsn), running.gateway.url
        for told in await asyncio.gather(
            command("--url", url, "--dry-run", "--account", ACCOUNT),
            command("--url", url, "--apply", "--account", ACCOUNT),
        ):
            assert f"{ACCOUNT}: {mine} rows" in told.out
            assert "the venue could not be asked" in told.out
            assert len(rows(running, ACCOUNT)) == mine

        force = ["reconcile", "--url", url, "--config", str(path), "--force", "--yes"]
        unnamed = CliRunner().invoke(app, [*force, "--reason", "x"])
        assert (unnamed.exit_code, "name the accounts" in unnamed.stderr) == (1, True)
        silent = CliRunner().invoke(app, [*force, "--account", ACCOUNT])
        assert (silent.exit_code, "--reason" in silent.stderr) == (1, True)
        assert len(rows(running, ACCOUNT)) == mine

        forced = await command(
            "--url", url, "--config", path, "--force", "--account", ACCOUNT, "--reason", "the venue shut down", "--yes"
        )
        assert forced.status == 0
        assert f"closed {mine} rows" in forced.out
        await eventually(lambda: not rows(running, ACCOUNT), "its rows are gone")
        assert len(rows(running, OTHER)) == others
        found = [row for row in corrections(running) if row["account"] == ACCOUNT]
        assert len(found) == mine
        assert {(row["class"], *row["evidence"]) for row in found} == {("unknown", "forced: the venue shut down")}
        assert all(row["after"] == {"size": "0"} for row in found)
        ends = [row for row in running.client.tables["closed"].values() if row["account"] == ACCOUNT]
        assert [row["reason"] for row in ends] == ["reconciled"] * mine
    assert len((await stored(dsn))[f"reconciliations {ACCOUNT}"]) == mine
    assert f"current_positions {ACCOUNT}" not in await stored(dsn)
    assert len((await stored(dsn))[f"current_positions {OTHER}"]) == others


async def test_without_a_gateway_force_works_on_the_database_and_nothing_else_does(
    simulator: Simulator, dsn: str, folder: Path
) -> None:
    async with desk(simulator, folder, changes=(only(ACCOUNT, OTHER), stored_at(dsn))) as running:
        await running.live()
        simulator.control.pause()
        await running.settled()
        path = configuration(running, folder, dsn)
        mine, others = len(rows(running, ACCOUNT)), len(rows(running, OTHER))
    url = f"http://{NOWHERE}"
    for told in await asyncio.gather(
        command("--url", url, "--config", path, "--dry-run"), command("--url", url, "--config", path, "--apply")
    ):
        assert told.status == 1
        assert f"no gateway answers at {url}" in told.err
        assert "Start it, or name it with --url" in told.err
        assert "Traceback" not in told.err
    forced = await command("--url", url, "--config", path, "--force", "--account", ACCOUNT, "--reason", "sold", "--yes")
    assert (forced.status, forced.err) == (0, "")
    assert f"closed {mine} rows" in forced.out
    found = await stored(dsn)
    assert f"current_positions {ACCOUNT}" not in found
    assert len(found[f"current_positions {OTHER}"]) == others
    assert {tuple(row["evidence"]) for row in found[f"reconciliations {ACCOUNT}"]} == {("forced: sold",)}
    assert len(found[f"reconciliations {ACCOUNT}"]) == mine
