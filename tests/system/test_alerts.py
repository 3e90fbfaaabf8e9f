"""Alerts of a running gateway: told once, through restarts; on the stream, over REST, to a real receiver, by the command."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import asyncpg
import msgspec

from exchanges.sim.server import Simulator
from exchanges.venue import AccountSpec
from gateway.config import AlertSettings, ChannelSettings, Config
from gateway.core.alerts.rules import RuleSettings, Select
from tests.gateway.notify.receiver import Receiver, receiver
from tests.system.changes import only, replace
from tests.system.desk import Change, Desk, desk, eventually, stored_at
from tests.system.programs import ended

ACCOUNT = "okx-isolated"
SECRET = "a-secret-that-only-the-desk-knows"
TABLES = ("positions", "accounts", "feeds", "alerts")


def alerting(running: Receiver, folder: Path, for_s: float = 0.0) -> Change:
    """Return the change by which every position of the account is an alert, told to the receiver once it lasted so long."""
    (folder / "url").write_text(running.url)
    (folder / "secret").write_text(SECRET)
    selected = Select(accounts=(ACCOUNT,), dust=True)
    rule = RuleSettings("unrealized_pnl", steps={"warning": 1e12}, for_s=for_s, select=selected)
    channel = ChannelSettings("webhook", f"file:{folder / 'url'}", f"file:{folder / 'secret'}", allow_private=True)

    def change(config: Config, specs: list[AccountSpec]) -> tuple[Config, list[AccountSpec]]:
        alerts = AlertSettings(builtin=False, rules={"always": rule}, channels={"desk": channel})
        return replace(config, alerts=alerts), specs

    return change


def alerts(running: Desk) -> dict[str, dict[str, Any]]:
    return running.client.tables["alerts"]


def told(running: Receiver) -> dict[str, list[str]]:
    """Return what was told of each alert; every signature has to be right."""
    found: dict[str, list[str]] = {}
    for headers, body in running.got:
        signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
        expected = base64.b64encode(hmac.new(SECRET.encode(), signed, hashlib.sha256).digest()).decode()
        assert hmac.compare_digest(headers["webhook-signature"], f"v1,{expected}")
        said = msgspec.json.decode(body)
        found.setdefault(said["alert"].get("id", said["type"]), []).append(said["type"])
    return found


async def test_alerts_are_told_once_and_survive_a_restart(simulator: Simulator, dsn: str, folder: Path) -> None:
    async with receiver() as running:
        changes = (only(ACCOUNT), alerting(running, folder), stored_at(dsn))
        async with desk(simulator, folder, changes=changes, tables=TABLES) as first:
            await first.live()
            simulator.control.pause()
            await first.settled()
            firing = {f"always:{id_}" for id_ in first.positions}
            await eventually(lambda: alerts(first).keys() == firing, "every position is an alert")
            await eventually(lambda: told(running).keys() == firing, "all are told")
            acknowledged = sorted(firing)[0]
            async with (
                aiohttp.ClientSession() as http,
                http.post(f"{first.gateway.url}/v1/alerts/{quote(acknowledged, safe='')}/ack") as answer,
            ):
                assert (answer.status, (await answer.json())["acknowledged"]) == (200, True)
            await eventually(lambda: alerts(first)[acknowledged]["acknowledged"], "the stream says it")
            before = {id_: (row["state"], row["since"]) for id_, row in alerts(first).items()}
            assert before == {id_: ("firing", since) for id_, (_, since) in before.items()}
        async with desk(simulator, folder, changes=changes, tables=TABLES) as second:
            assert {id_: (row["state"], row["since"]) for id_, row in alerts(second).items()} == before
            await second.live()
            await second.settled()
            sampled = second.gateway.engine.tables.at
            await eventually(lambda: second.gateway.engine.tables.at > sampled + 2_500, "clock turns passed")
            assert {id_: (row["state"], row["since"]) for id_, row in alerts(second).items()} == before
            assert alerts(second)[acknowledged]["acknowledged"] is True
            assert told(running) == {id_: ["alert.firing"] for id_ in firing}
            simulator.control.resume()
            second.fault("close_position", account=ACCOUNT, symbol=alerts(second)[acknowledged]["symbol"])
            await eventually(
                lambda: told(running)[acknowledged] == ["alert.firing", "alert.resolved"], "its end is told"
            )
    assert await stored_equity(dsn) == {ACCOUNT}


async def test_what_was_not_delivered_is_told_by_the_next_start(simulator: Simulator, dsn: str, folder: Path) -> None:
    async with receiver() as running:
        changes = (only(ACCOUNT), alerting(running, folder), stored_at(dsn))
        running.answers = [(500, {})] * 1_000
        async with desk(simulator, folder, changes=changes, tables=TABLES) as first:
            await first.live()
            simulator.control.pause()
            await first.settled()
            firing = {f"always:{id_}" for id_ in first.positions}
            await eventually(lambda: alerts(first).keys() == firing, "every position is an alert")
            await eventually(lambda: running.got, "one is tried")
        tried = running.got[0][0]["webhook-id"]
        running.answers, running.got = [], []
        async with desk(simulator, folder, changes=changes, tables=TABLES):
            await eventually(lambda: told(running).keys() == firing, "all are told")
        assert tried in {headers["webhook-id"] for headers, _ in running.got}
        assert all(words == ["alert.firing"] for words in told(running).values())
        running.got.clear()
        async with desk(simulator, folder, changes=changes, tables=TABLES) as third:
            await third.live()
            await third.settled()
            assert running.got == [], "nothing is owed any more"
        simulator.control.resume()


async def stored_equity(dsn: str) -> set[str]:
    connection = await asyncpg.connect(dsn)
    try:
        rows = await connection.fetch("SELECT account, equity_usd FROM equity_samples")
        assert all(row["equity_usd"] > 0 for row in rows)
        return {row["account"] for row in rows}
    finally:
        await connection.close()


async def test_the_command_lists_and_tests_for_real(simulator: Simulator, dsn: str, folder: Path) -> None:
    async with receiver() as running:
        changes = (only(ACCOUNT), alerting(running, folder), stored_at(dsn))
        async with desk(simulator, folder, changes=changes, tables=TABLES) as first:
            await first.live()
            await eventually(lambda: first.positions and len(alerts(first)) == len(first.positions), "there are alerts")
            await eventually(lambda: len(told(running)) >= len(first.positions), "all are told")
            url = first.gateway.url
            listed = await ended("alerts", "list", "--url", url)
            assert listed.status == 0
            assert all(f"always:{id_}" in listed.out for id_ in first.positions)
            tested = await ended("alerts", "test", "always", "--url", url)
            assert (tested.status, tested.out) == (0, "desk: delivered: HTTP 200\n")
            assert told(running)["alert.test"] == ["alert.test"]
            running.answers = [(500, {})] * 3
            failed = await ended("alerts", "test", "always", "--url", url)
            assert (failed.status, failed.out) == (1, "desk: failed: HTTP 500\n")
            unknown = await ended("alerts", "test", "nothing", "--url", url)
            assert (unknown.status, "there is no rule 'nothing'; there are: always" in unknown.err) == (1, True)
            figures = await first.text("/metrics")
            assert 'perpwire_notify_sent_total{channel="desk"}' in figures
            assert 'perpwire_alerts_firing{severity="warning"}' in figures
            shown = await first.text("/v1/config")
            for place in (listed, tested, failed):
                assert SECRET not in place.out + place.err
            assert SECRET not in shown + figures
            assert "token-of-the-desk" not in shown + figures


async def test_a_silence_over_rest_keeps_what_comes_quiet(simulator: Simulator, dsn: str, folder: Path) -> None:
    async with receiver() as running, aiohttp.ClientSession() as http:
        # Nothing fires before it is silenced.
        changes = (only(ACCOUNT), alerting(running, folder, for_s=3.0), stored_at(dsn))
        async with desk(simulator, folder, changes=changes, tables=TABLES) as first:
            url = f"{first.gateway.url}/v1/alerts/silences"
            for body, said in (
                ({}, "needs its end"),
                ({"for_s": -1}, "must lie ahead"),
                ({"for_s": 60, "rules": ["x"]}, "no rule"),
            ):
                async with http.post(url, json=body) as answer:
                    assert (answer.status, said in (await answer.json())["detail"]) == (400, True)
            async with http.post(url, json={"for_s": 600, "rules": ["always"], "reason": "drill"}) as answer:
                made = await answer.json()
                assert (answer.status, made["by"], made["reason"]) == (200, "local", "drill")
            await first.live()
            await eventually(
                lambda: {row["state"] for row in alerts(first).values()} == {"firing"}, "there are alerts that fire"
            )
            assert alerts(first).keys() == {f"always:{id_}" for id_ in first.positions}
            assert {row["silenced_until"] for row in alerts(first).values()} == {made["until"]}
            assert (await first.get("/v1/alerts/silences"))["silences"] == [made]
            assert running.got == []
            async with http.delete(f"{url}/{made['id']}") as answer:
                assert answer.status == 200
            async with http.delete(f"{url}/{made['id']}") as answer:
                assert answer.status == 404
            await eventually(lambda: len(told(running)) == len(first.positions), "what still holds is told now")
            assert (
                json.loads(await first.text("/v1/alerts?state=firing&rule=always"))["alerts"].keys()
                == alerts(first).keys()
            )
