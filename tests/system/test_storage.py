"""Postgres away at start, killed while streaming, and after an orderly stop: the stream goes on, and nothing is lost."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import asyncpg
import msgspec

from exchanges.sim.server import Simulator
from gateway.config import Config
from gateway.storage.embedded import EmbeddedPostgres
from tests.system.desk import Change, Desk, desk, eventually, stored_at

# What of a position's row is stored exactly as the venue sent it.
STORED = ("side", "size", "entry_price", "leverage", "margin_mode", "venue_unrealized_pnl", "opened_at")


async def stored_positions(dsn: str) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """Return what the database holds: positions by id (their exact state), and the checkpoint row."""
    connection = await asyncpg.connect(dsn)
    try:
        rows = await connection.fetch("SELECT id, state FROM current_positions")
        checkpoint = await connection.fetchrow("SELECT * FROM checkpoint")
    finally:
        await connection.close()
    assert checkpoint is not None
    return {row["id"]: msgspec.json.decode(row["state"]) for row in rows}, dict(checkpoint)


def assert_holds(stored: dict[str, dict[str, Any]], shown: dict[str, dict[str, Any]]) -> None:
    """Check that the stored positions are those of a snapshot, digit for digit."""
    assert stored.keys() == shown.keys()
    for id_, row in shown.items():
        assert {name: stored[id_].get(name) for name in STORED} == {name: row.get(name) for name in STORED}, id_


def writes(running: Desk) -> Callable[[], int]:
    return lambda: running.gateway.store.checkpoint.status.writes


def flushing(seconds: float) -> Change:
    """Return the change that writes that often."""

    def change(config: Config, specs: list[Any]) -> tuple[Config, list[Any]]:
        storage = msgspec.structs.replace(config.storage, flush_interval_s=seconds)
        return msgspec.structs.replace(config, storage=storage), specs

    return change


async def test_postgres_killed_while_streaming_is_noticed_by_nobody(simulator: Simulator, folder: Path) -> None:
    async with desk(simulator, folder, changes=(flushing(0.05),)) as running:
        await running.live()
        store, count = running.gateway.store, writes(running)
        await eventually(lambda: count() > 0, "something is written")
        assert store._postgres is not None
        killed = store._postgres.pid
        assert killed is not None
        os.kill(killed, signal.SIGKILL)
        await eventually(lambda: store.checkpoint.status.state == "away", "the death is noticed")
        view = running.client.replica.views[0]
        assert view.want.table == "positions"
        deltas, before = view.deltas, count()
        await running.client.wait_for(lambda _: view.deltas > deltas)
        await eventually(lambda: count() > before, "it is written again", 20)
        assert store.checkpoint.status.state == "ok"
        assert store._postgres.pid not in (None, killed)
        assert (running.all_live(), set(running.reconnects().values())) == (True, {0})
        simulator.control.pause()
        await running.get("/v1/positions?max_age_ms=0")  # what a later look at the venue says is the same
        last = await running.settled()
        assert running.gaps() == []
    server = EmbeddedPostgres(folder)
    try:
        stored, checkpoint = await stored_positions(await server.start())
    finally:
        await server.stop()
    assert checkpoint["clean"] is True
    assert_holds(stored, last["positions"])


async def test_an_orderly_stop_leaves_exactly_what_was_shown_last(simulator: Simulator, dsn: str, folder: Path) -> None:
    async with desk(simulator, folder, changes=(stored_at(dsn), flushing(60))) as running:
        await running.live()
        simulator.control.pause()
        await running.get("/v1/positions?max_age_ms=0")  # what a later look at the venue says is the same
        last = await running.settled()
        epoch = last["epoch"]
    stored, checkpoint = await stored_positions(dsn)
    assert (checkpoint["epoch"], checkpoint["clean"]) == (epoch, True)
    assert_holds(stored, last["positions"])


async def test_postgres_away_at_start_is_written_to_when_it_comes(simulator: Simulator, dsn: str, folder: Path) -> None:
    """The address leads nowhere at first: a name for the socket's folder that does not exist yet."""
    sockets = Path(parse_qs(urlsplit(dsn).query)["host"][0])
    name = folder / "sockets"
    away = dsn.replace(quote(str(sockets), safe=""), quote(str(name), safe=""))
    assert away != dsn
    async with desk(simulator, folder, changes=(stored_at(away),)) as running:
        await running.live()
        status = running.gateway.store.checkpoint.status
        assert (status.state, status.writes) == ("away", 0)
        assert status.waiting > 0
        assert "perpwire_checkpoint_ok 0.0" in await running.text("/metrics")
        assert (await running.get("/readyz"))["status"] == "ready"
        assert len((await running.snapshot())["positions"]) > 30
        name.symlink_to(sockets)
        await eventually(lambda: running.gateway.store.checkpoint.status.state == "ok", "it is found", 20)
        assert "perpwire_checkpoint_ok 1.0" in await running.text("/metrics")
        simulator.control.pause()
        await running.get("/v1/positions?max_age_ms=0")  # what a later look at the venue says is the same
        last = await running.settled()
        assert running.gaps() == []
    stored, checkpoint = await stored_positions(dsn)
    assert checkpoint["clean"] is True
    assert_holds(stored, last["positions"])
