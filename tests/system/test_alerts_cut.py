"""Alerts through a bad night: the gateway is killed, Postgres stops, the receiver is slow or away, the venues are gone."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import asyncpg
import msgspec
import pytest

from exchanges.sim.server import Simulator
from exchanges.venue import AccountSpec
from gateway.config import AlertSettings, ChannelSettings, Config
from gateway.core.alerts.records import AlertRecord
from gateway.core.alerts.rules import RuleSettings, Select
from gateway.notify import notifier
from tests.gateway.notify.receiver import Receiver, at_once, receiver
from tests.system.changes import only, replace
from tests.system.clusters import Cluster
from tests.system.conftest import SEED
from tests.system.desk import Change, Desk, desk, eventually, stored_at
from tests.system.programs import ROOT, ended, get, live, post, program, until
from tests.system.test_alerts import ACCOUNT, SECRET, TABLES, alerts, told
from tests.system.test_restart import configuration, written

# Every position is an alert; and another one, which waits for longer than anybody would.
RULES = {
    "always": RuleSettings("unrealized_pnl", steps={"warning": 1e12}, select=Select(accounts=(ACCOUNT,), dust=True)),
    "later": RuleSettings("unrealized_pnl", steps={"warning": 1e12}, select=Select(accounts=(ACCOUNT,), dust=True), for_s=3_600),
}  # fmt: skip


def settings(running: Receiver, folder: Path, rules: dict[str, RuleSettings]) -> AlertSettings:
    """Return rules that are told to a receiver."""
    (folder / "url").write_text(running.url)
    (folder / "secret").write_text(SECRET)
    channel = ChannelSettings("webhook", f"file:{folder / 'url'}", f"file:{folder / 'secret'}", allow_private=True)
    return AlertSettings(builtin=False, rules=rules, channels={"desk": channel})


def alerting(running: Receiver, folder: Path, rules: dict[str, RuleSettings]) -> Change:
    """Return the change by which these rules hold, told to the receiver."""

    def change(config: Config, specs: list[AccountSpec]) -> tuple[Config, list[AccountSpec]]:
        return replace(config, alerts=settings(running, folder, rules)), specs

    return change


def served(folder: Path, described: dict[str, Any], stated: AlertSettings, dsn: str, flush_interval_s: float) -> Path:
    """Write a configuration for ``perpwire serve`` with one account, a database and alerts."""
    path = configuration(folder / "config.yaml", described, folder, reachable=True)
    config = json.loads(path.read_text())
    config["accounts"] = {ACCOUNT: config["accounts"][ACCOUNT]}
    config["storage"] = {"dsn": dsn, "flush_interval_s": flush_interval_s}
    config["alerts"] = msgspec.to_builtins(stated)
    path.write_text(json.dumps(config))
    return path


async def shown(url: str) -> dict[str, dict[str, Any]]:
    """Return the alerts of a running gateway."""
    found: dict[str, dict[str, Any]] = (await get(f"{url}/v1/alerts?limit=5000"))["alerts"]
    return found


async def eventually_shown(url: str, condition: Any, what: str) -> dict[str, dict[str, Any]]:
    """Ask for the alerts of a running gateway until ``condition`` holds, and return them."""
    answer: dict[str, Any] = await until(f"{url}/v1/alerts?limit=5000", lambda it: condition(it["alerts"]), what)
    return answer["alerts"]


def keys(running: Receiver) -> dict[tuple[str, str], set[str]]:
    """Return by which ids each alert's news was told."""
    found: dict[tuple[str, str], set[str]] = {}
    for headers, body in running.got:
        said = msgspec.json.decode(body)
        found.setdefault((said["alert"]["id"], said["type"]), set()).add(headers["webhook-id"])
    return found


# --- The gateway ----------------------------------------------------------------------------------------------------------


async def test_after_kill_9_everything_stands_where_it_stood_and_nothing_is_told_twice(
    simulator: Simulator, dsn: str, folder: Path
) -> None:
    async with receiver() as running:
        config = served(folder, simulator.describe(), settings(running, folder, RULES), dsn, 0.1)
        async with program(folder, "serve", "--config", config) as first:
            url = first.first.split()[-1]
            await live(url)
            simulator.control.pause()
            held = set((await get(f"{url}/v1/positions"))["positions"])
            firing, pending = {f"always:{id_}" for id_ in held}, {f"later:{id_}" for id_ in held}
            await eventually_shown(url, lambda it: it.keys() == firing | pending, "each position is two alerts")
            await eventually(lambda: told(running).keys() == firing, "all are told")
            over, acknowledged, silenced = sorted(firing)[:3]
            rows = await shown(url)
            await post(f"{url}/v1/alerts/{quote(acknowledged, safe='')}/ack")
            await post(f"{url}/v1/alerts/silences", {"for_s": 600, "symbols": [rows[silenced]["symbol"]]})
            before = await eventually_shown(url, lambda it: "silenced_until" in it[silenced], "it is silenced")
            await written(url)
            await first.stop(signal.SIGKILL)
        simulator.control.fault({"kind": "silent", "account": ACCOUNT, "symbol": rows[over]["symbol"]})
        async with program(folder, "serve", "--config", config) as second:
            url = second.first.split()[-1]
            await live(url)
            after = await eventually_shown(url, lambda it: it[over]["state"] == "resolved", "what ended is over")
            await eventually(lambda: told(running)[over] == ["alert.firing", "alert.resolved"], "its end is told")
            await second.stop()
    gone = over.replace("always:", "later:")
    assert after.keys() == before.keys() - {gone}
    for id_ in after.keys() - {over}:
        for name in ("state", "severity", "since", "acknowledged", "acknowledged_at", "silenced_until"):
            assert after[id_].get(name) == before[id_].get(name), (id_, name)
    assert {after[id_]["state"] for id_ in pending - {gone}} == {"pending"}
    assert (after[acknowledged]["acknowledged"], before[silenced]["acknowledged"]) == (True, False)
    assert told(running) == {id_: ["alert.firing"] for id_ in firing} | {over: ["alert.firing", "alert.resolved"]}


async def test_a_kill_in_the_moment_of_delivery_tells_the_same_again_under_the_same_id(
    simulator: Simulator, dsn: str, folder: Path
) -> None:
    """Nothing else is written for a minute: what is told has to be stored before."""
    one = {"always": replace(RULES["always"], select=Select(accounts=(ACCOUNT,), symbols=("BTC-USDT-SWAP",)))}
    async with receiver() as running:
        config = served(folder, simulator.describe(), settings(running, folder, one), dsn, 60.0)
        async with program(folder, "serve", "--config", config) as first:

            async def kill() -> None:
                await first.stop(signal.SIGKILL)

            running.before = kill
            await eventually(lambda: first.process.returncode is not None, "it is killed as it tells", 20)
        running.before = at_once
        async with program(folder, "serve", "--config", config) as second:
            url = second.first.split()[-1]
            await live(url)
            await eventually(lambda: len(running.got) == 2, "it is told again")
            ((id_, row),) = (await shown(url)).items()
            await second.stop()
    said, again = (msgspec.json.decode(body) for _, body in running.got)
    assert again == said
    assert len({headers["webhook-id"] for headers, _ in running.got}) == 1
    assert row["since"] == said["alert"]["since"]
    assert told(running) == {id_: ["alert.firing", "alert.firing"]}


# --- Postgres -------------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def postgres(folder: Path) -> AsyncIterator[tuple[Cluster, str]]:
    """A running server and its DSN."""
    cluster = Cluster(folder)
    try:
        yield cluster, await cluster.start()
    finally:
        await cluster.stop()


async def stored(dsn: str) -> dict[str, AlertRecord]:
    connection = await asyncpg.connect(dsn)
    try:
        rows = await connection.fetch("SELECT state FROM alerts")
    finally:
        await connection.close()
    records = [msgspec.json.decode(row["state"], type=AlertRecord) for row in rows]
    return {record.id: record for record in records if record.state != "ok"}


def remembered(running: Desk) -> dict[str, AlertRecord]:
    board = running.gateway.engine.alerts.board
    return {entry.id: entry.record(0) for rule in board.rules.values() for entry in board.of(rule).values()}


async def test_postgres_stopped_holds_up_nothing_and_has_everything_once_it_is_back(
    simulator: Simulator, folder: Path
) -> None:
    async with receiver() as running, postgres(folder) as (cluster, dsn):
        changes = (only(ACCOUNT), alerting(running, folder, RULES), stored_at(dsn))
        (opened,) = simulator.control.fault({"kind": "close_position", "account": ACCOUNT, "symbol": "LTC-USDT-SWAP"})[
            "affected"
        ]
        async with desk(simulator, folder, changes=changes, tables=TABLES) as first:
            await first.live()
            simulator.control.pause()
            await first.settled()
            firing = {f"always:{id_}" for id_ in first.positions}
            await eventually(lambda: told(running).keys() == firing, "all are told")
            checkpoint = first.gateway.store.checkpoint
            await cluster.stop()
            await eventually(lambda: checkpoint.status.state == "away", "it is missed")
            symbols = {row["symbol"]: id_ for id_, row in alerts(first).items() if id_ in firing}
            over, acknowledged = symbols["ETH-USDT-SWAP"], symbols["BTC-USDT-SWAP"]
            first.fault("close_position", account=ACCOUNT, symbol="ETH-USDT-SWAP")
            first.fault("open_position", account=ACCOUNT, symbol=opened["symbol"])
            await post(f"{first.gateway.url}/v1/alerts/{quote(acknowledged, safe='')}/ack")
            await eventually(lambda: alerts(first)[acknowledged]["acknowledged"], "the stream says it")
            await eventually(lambda: told(running)[over] == ["alert.firing", "alert.resolved"], "its end is told")
            await eventually(lambda: len(told(running)) == len(firing) + 1, "what is new is told")
            (new,) = told(running).keys() - firing
            await eventually(lambda: alerts(first)[new]["state"] == "firing", "the stream says it")
            await goes_on(first)
            assert checkpoint.status.state == "away"
            assert await cluster.start() == dsn
            await eventually(lambda: checkpoint.status.state == "ok", "it is found", 20)
            await eventually(
                lambda: not (checkpoint.status.waiting or checkpoint.status.spool_batches), "all is written"
            )
            kept, memory = await stored(dsn), remembered(first)
            assert kept.keys() == memory.keys()
            for id_, record in memory.items():
                for name in ("status", "state", "severity", "told_severity", "acknowledged_severity", "name", "owed"):
                    assert getattr(kept[id_], name) == getattr(record, name), (id_, name)
            before = {id_: (row["state"], row["since"]) for id_, row in alerts(first).items()}
        async with desk(simulator, folder, changes=changes, tables=TABLES) as second:
            await second.live()
            await second.settled()
            assert {id_: (row["state"], row["since"]) for id_, row in alerts(second).items()} == before
            assert alerts(second)[acknowledged]["acknowledged"]
        simulator.control.resume()
    every = firing | {new}
    assert told(running) == {id_: ["alert.firing"] for id_ in every} | {over: ["alert.firing", "alert.resolved"]}


async def goes_on(running: Desk) -> None:
    """Let the world run until some more ticks arrived at the client."""
    view = running.client.replica.views[0]
    deltas = view.deltas
    running.simulator.control.resume()
    await running.client.wait_for(lambda _: view.deltas >= deltas + 20)
    running.simulator.control.pause()


# --- The receiver ---------------------------------------------------------------------------------------------------------


async def test_a_receiver_that_is_slow_and_then_away_costs_a_bounded_queue_and_no_tick(
    simulator: Simulator, dsn: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    most = 3
    monkeypatch.setattr(notifier, "MOST_WAITING", most)
    answering = asyncio.Event()
    async with receiver() as running:
        running.before = lambda: told_to(answering)
        changes = (only(ACCOUNT), alerting(running, folder, RULES), stored_at(dsn))
        async with desk(simulator, folder, changes=changes, tables=TABLES) as first:
            await first.live()
            simulator.control.pause()
            await first.settled()
            (line,) = first.gateway.notifier.lines
            firing = {f"always:{id_}" for id_ in first.positions}
            await eventually(lambda: line.dropped == len(firing) - most, "the oldest are given up")
            await eventually(lambda: len(running.got) == 1, "one is under way")
            await goes_on(first)
            assert (len(line.waiting), len(running.got), line.sent) == (most, 1, 0)
            assert first.gaps() == []
            running.answers = [(503, {"retry-after": "1"})]  # away, once it answers at all
            answering.set()
            await eventually(lambda: line.sent == most, "what was kept is told")
            assert (line.failed, line.dropped, len(line.waiting)) == (1, len(firing) - most, 0)
            assert first.gaps() == []
            owed = [entry for entry in remembered(first).values() if entry.owed]
            assert owed == [], "what was given up is not owed either"
        simulator.control.resume()
    assert len(running.got) == 1 + most
    assert all(len(ids) == 1 for ids in keys(running).values())


async def told_to(answer: asyncio.Event) -> None:
    await answer.wait()


# --- The venues -----------------------------------------------------------------------------------------------------------

VENUES_ALONE = """
import asyncio, json, sys
from exchanges.sim.server import start

async def main():
    simulator = await start(int(sys.argv[1]), ports=json.loads(sys.argv[2]))
    print(json.dumps(simulator.describe()), flush=True)
    await simulator.failed()

asyncio.run(main())
"""


@asynccontextmanager
async def venues(ports: dict[str, int]) -> AsyncIterator[tuple[asyncio.subprocess.Process, dict[str, Any]]]:
    """A simulator in a process of its own, at these ports; killed in the end."""
    command = (sys.executable, "-c", VENUES_ALONE, str(SEED), json.dumps(ports))
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, env=os.environ, stdout=asyncio.subprocess.PIPE)
    try:
        assert process.stdout is not None
        yield process, json.loads(await process.stdout.readline())
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_venues_that_are_gone_are_told_first_and_resolve_when_they_are_back(dsn: str, folder: Path) -> None:
    rules = {"always": RULES["always"], "blind": RuleSettings("blind", steps={"warning": 1.0, "critical": 2.0})}
    async with receiver() as running, venues({}) as (process, described):
        ports = {name: urlsplit(part["rest"]).port or 0 for name, part in described.items() if isinstance(part, dict)}
        config = served(folder, described, settings(running, folder, rules), dsn, 0.1)
        async with program(folder, "serve", "--config", config) as serving:
            url = serving.first.split()[-1]
            await live(url)
            await until(f"{url}/v1/positions", lambda it: it["positions"], "there are positions")
            await eventually(lambda: "always" in kinds(running), "positions are alerts")
            known = await eventually_shown(url, lambda it: it, "they are shown")
            process.kill()
            await process.wait()
            blind = f"blind:{ACCOUNT}"
            rows = await eventually_shown(url, lambda it: it.get(blind, {}).get("severity") == "critical", "blind")
            assert rows[blind]["state"] == "firing"
            assert {row["held"] for id_, row in rows.items() if id_ in known} <= {
                "private_feed",
                "mark_feed",
                "venue_unreachable",
            }
            await eventually(lambda: told(running)[blind] == ["alert.firing"] * 2, "it is told, and told as worse")
            listed = await ended("alerts", "list", "--url", url)
            assert listed.out.startswith("firing critical  blind:"), listed.out
            async with venues(ports):
                await live(url)
                gone = [id_ for id_ in rows if id_.startswith("blind:")]
                over = dict.fromkeys(gone, "resolved")
                await eventually_shown(
                    url, lambda it: {id_: it[id_]["state"] for id_ in gone} == over, "nobody is blind any more"
                )
                await eventually(lambda: told(running)[blind][-1] == "alert.resolved", "the end is told")
                await serving.stop()
    said = Counter((id_, word) for id_, words in told(running).items() for word in words if id_ == blind)
    assert said == {(blind, "alert.firing"): 2, (blind, "alert.resolved"): 1}


def kinds(running: Receiver) -> set[str]:
    return {id_.partition(":")[0] for id_ in told(running)}
