"""What an operator, a venue or a client gets wrong: one message each that says what, where and what to do, and no secret."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from exchanges.clock import SystemClock
from exchanges.sim.server import Simulator
from exchanges.venue import AccountSpec, Credentials
from gateway.config import Config
from tests.system.desk import Change, Desk, desk, eventually, stored_at
from tests.system.programs import COMMAND, Ended, all_gone, descendants, ended, program

ADDRESS = "0x" + "1" * 40
WRONG = "Wrong0Wrong1Wrong2Wrong3"
Alter = Callable[[Credentials], Credentials]


# --- Credentials and clocks -------------------------------------------------------------------------------------------


def with_credentials(alter: Alter) -> Change:
    """Return the change that alters the credentials of every account at OKX and Bybit."""

    def change(config: Config, specs: list[AccountSpec]) -> tuple[Config, list[AccountSpec]]:
        return config, [
            msgspec.structs.replace(spec, credentials=alter(spec.credentials))
            if spec.credentials is not None and spec.venue in ("okx", "bybit")
            else spec
            for spec in specs
        ]

    return change


def wrong(field: str) -> Alter:
    """Return what puts a wrong value into a field that the venue has."""
    return lambda c: c if getattr(c, field) is None else msgspec.structs.replace(c, **{field: WRONG})


class OffBy(SystemClock):
    """A machine whose wall clock is wrong."""

    def __init__(self, ms: int) -> None:
        super().__init__()
        self._ms = ms

    def wall_ms(self) -> int:
        return super().wall_ms() + self._ms


HOUR_MS = 3_600_000


@pytest.mark.parametrize(
    ("alter", "said"),
    [
        (
            wrong("key"),
            {
                "okx-main": ("the key is not valid", "Check the key"),
                "bybit-main": ("the API key is not valid here", "Check the key"),
            },
        ),
        (
            wrong("secret"),
            {
                "okx-main": ("the signature is wrong", "Check the secret"),
                "bybit-main": ("the signature is wrong", "Check the secret"),
            },
        ),
        (wrong("passphrase"), {"okx-main": ("the passphrase is wrong", "Check the passphrase")}),
    ],
    ids=["wrong key", "wrong secret", "wrong passphrase"],
)
async def test_a_login_that_cannot_succeed_says_why_and_what_to_do(
    simulator: Simulator, dsn: str, folder: Path, alter: Alter, said: dict[str, tuple[str, str]]
) -> None:
    changes = (stored_at(dsn), with_credentials(alter))
    async with desk(simulator, folder, changes=changes) as running:
        for account, (what, do) in said.items():
            name = f"{account}:private"
            await running.client.wait_for(
                lambda c, n=name, w=what: w in c.tables["feeds"].get(n, {}).get("last_error", "")
            )
            text = running.feeds[name]["last_error"]
            assert do in text
            account_now = simulator.world.account(account)
            for secret in (WRONG, account_now.secret, account_now.passphrase, account_now.key):
                assert secret not in text
            assert not any(row["account"] == account for row in running.positions.values())
        # Nobody else is concerned: what needs no login is live.
        healthy = ("hl-main:private", "hyperliquid:public", "okx:public", "bybit:linear")
        await running.client.wait_for(
            lambda client: all(client.tables["feeds"].get(name, {}).get("state") == "live" for name in healthy)
        )


@pytest.mark.parametrize("off_ms", [-HOUR_MS, HOUR_MS], ids=["behind", "ahead"])
async def test_a_clock_that_is_an_hour_off_is_corrected_by_the_venues(
    simulator: Simulator, dsn: str, folder: Path, off_ms: int
) -> None:
    async with desk(simulator, folder, changes=(stored_at(dsn),), clock=OffBy(off_ms)) as running:
        await running.live()
        assert running.positions


async def test_an_agents_address_is_refused_with_the_address_to_use(
    simulator: Simulator, dsn: str, folder: Path
) -> None:
    agents = {account["name"]: account for account in simulator.describe()["hyperliquid"]["accounts"]}

    def change(config: Config, specs: list[AccountSpec]) -> tuple[Config, list[AccountSpec]]:
        return config, [
            msgspec.structs.replace(s, address=agents[s.name]["agent"]) if s.name in agents else s for s in specs
        ]

    async with desk(simulator, folder, changes=(stored_at(dsn), change)) as running:
        await running.client.wait_for(
            lambda client: "is an agent" in client.tables["feeds"].get("hl-main:private", {}).get("last_error", "")
        )
        text = running.feeds["hl-main:private"]["last_error"]
        assert f"Put the master's address: {agents['hl-main']['address']}" in text


# --- What a venue refuses, what a client sends --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("feed", "symbol"), [("okx:public", "NOPE-USDT-SWAP"), ("bybit:linear", "NOPEUSDT")], ids=["okx", "bybit"]
)
async def test_an_unknown_symbol_is_named_and_costs_no_other(running: Desk, feed: str, symbol: str) -> None:
    running.simulator.control.pause()
    supervisor = running.gateway.feeds.supervisors[feed]
    wanted = running.gateway.engine.market.wanted()[supervisor.feed.name.venue, "live"]
    supervisor.want([*sorted(wanted), symbol])
    await running.client.wait_for(lambda client: symbol in client.tables["feeds"][feed].get("last_error", ""))
    text = running.feeds[feed]["last_error"]
    assert "doesn't exist" in text or "not found" in text
    running.simulator.control.resume()
    seen = {id_: row["mark_at"] for id_, row in running.positions.items() if row["venue"] == supervisor.feed.name.venue}
    await running.client.wait_for(
        lambda client: any(client.tables["positions"][id_]["mark_at"] != at for id_, at in seen.items())
    )
    assert running.reconnects()[feed] == 0
    running.simulator.control.pause()
    await running.settled()


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ({"op": "subscribe", "id": 1, "table": "position"}, "unknown_table"),
        ({"op": "subscribe", "id": 1, "table": "positions", "accounts": ["okx-mian"]}, "unknown_account"),
        ({"op": "subscribe", "id": 1, "table": "summary", "symbols": ["X"]}, "bad_filter"),
        ({"op": "subscribe", "id": 1, "table": "positions", "min_interval_ms": -5}, "bad_interval"),
        ({"op": "unsubscribe", "id": 1, "sub": "nope"}, "unknown_sub"),
        ({"op": "sing", "id": 1}, "bad_command"),
    ],
)
async def test_a_wrong_command_is_answered_with_its_id_and_the_connection_lives(
    running: Desk, command: dict[str, Any], code: str
) -> None:
    async with aiohttp.ClientSession() as http, http.ws_connect(running.gateway.url + "/v1/stream") as stream:
        await answered(stream)  # hello
        await stream.send_json(command)
        answer = await answered(stream)
        assert (answer["type"], answer["id"], answer["retry"]) == ("error", 1, False)
        assert answer["code"] == code
        assert len(answer["message"]) > 10
        await stream.send_json({"op": "ping", "id": 2})
        assert (await answered(stream))["type"] == "pong"


async def answered(stream: aiohttp.ClientWebSocketResponse) -> dict[str, Any]:
    """Return the next frame that is no heartbeat, which comes at any moment."""
    while (frame := await stream.receive_json(timeout=5))["type"] == "heartbeat":
        pass
    return dict(frame)


async def test_what_is_no_command_closes_that_connection_alone(running: Desk) -> None:
    async with aiohttp.ClientSession() as http, http.ws_connect(running.gateway.url + "/v1/stream") as stream:
        await stream.receive_json(timeout=5)
        await stream.send_str('{"op": "subscribe"')
        end = await stream.receive(timeout=5)
        assert (end.type, stream.close_code) == (aiohttp.WSMsgType.CLOSE, 4102)
    deltas = running.client.replica.views[0].deltas
    await running.client.wait_for(lambda client: client.replica.views[0].deltas > deltas)
    assert running.gaps() == []


# --- The command line ---------------------------------------------------------------------------------------------------


def written(folder: Path, settings: dict[str, Any]) -> Path:
    """Write a configuration (JSON is YAML) that keeps to the folder and to any free port, where it says nothing else."""
    path = folder / "config.yaml"
    defaults = {
        "server": {"port": 0},
        "storage": {"data_dir": str(folder / "data")},
        "accounts": {"whale": {"venue": "hyperliquid", "address": ADDRESS}},
    }
    path.write_text(json.dumps(defaults | settings))
    return path


def refused(end: Ended, *said: str) -> None:
    """Check that a program ended for the operator to act: one line on stderr that says all of this, nothing on stdout."""
    assert (end.status, end.out) == (1, ""), end.err
    last = end.err.strip().splitlines()[-1]
    assert last.startswith("perpwire: "), end.err
    assert "Traceback" not in end.err
    for part in said:
        assert part in last


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"sever": {}}, ("config.yaml", "unknown key `sever`", "did you mean `server`?")),
        ({"server": {"prot": 1}}, ("config.yaml: server", "unknown key `prot`", "did you mean `port`?")),
        ({"server": {"port": 99999}}, ("config.yaml: server", "<= 65535", "$.port")),
        ({"server": {"host": "0.0.0.0", "port": 0}}, ("0.0.0.0", "other machines", "Listen on 127.0.0.1")),
        ({"accounts": {"a": {"venue": "okxx"}}}, ("accounts.a.venue", "okxx", "did you mean `okx`?")),
        ({"accounts": {"a": {"venue": "okx"}}}, ("okx account a", "no key, no secret, no passphrase", "Set it")),
        (
            {"accounts": {"a": {"venue": "okx", "credentials": "env:NO_SUCH"}}},
            ("accounts.a.credentials", "NO_SUCH_KEY", "is not set"),
        ),
        ({"accounts": {"a": {"venue": "okx", "secret": WRONG}}}, ("accounts.a", "`secret`", "env:PREFIX")),
        (
            {"accounts": {"a": {"venue": "hyperliquid", "address": WRONG}}},
            ("hyperliquid account a", "40 hexadecimal digits", "Copy the public address"),
        ),
        ({"accounts": {}}, ("config.yaml", "no accounts are configured", "add one under `accounts:`")),
        (
            {"storage": {"dsn": f"mysql://u:{WRONG}@h/x"}},
            ("database DSN", "not a postgresql:// address", "Write postgresql://"),
        ),
        ({"storage": {"data_dir": "/proc/nowhere"}}, ("/proc/nowhere", "cannot be used", "storage.data_dir")),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
async def test_a_configuration_that_cannot_be_used(
    folder: Path, settings: dict[str, Any], said: tuple[str, ...]
) -> None:
    end = await ended("serve", "--config", written(folder, settings))
    refused(end, *said)
    assert WRONG not in end.err


async def test_a_file_that_is_not_there(folder: Path) -> None:
    missing = folder / "none.yaml"
    refused(await ended("serve", "--config", missing), str(missing), "cannot be read", "--config")
    refused(await ended("replay", missing), str(missing), "cannot be read")


async def test_a_recording_that_cannot_be_written(folder: Path) -> None:
    record = folder / "no" / "such" / "folder"
    refused(
        await ended("serve", "--config", written(folder, {}), "--record", record), f"--record {record}", "cannot be"
    )


async def test_a_port_in_use(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        end = await ended("demo", "--port", str(port), "--data", folder / "data")
        refused(end, f"127.0.0.1:{port} is in use", "choose another port")


async def test_a_data_folder_in_use(folder: Path) -> None:
    """The first gateway's venues need not answer: it serves what it has."""
    config = written(
        folder, {"venues": {"hyperliquid": {"rest": "http://127.0.0.1:9", "ws_public": "ws://127.0.0.1:9"}}}
    )
    async with program(folder, "serve", "--config", config) as first:
        end = await ended("serve", "--config", config)
        refused(end, str(folder / "data"), f"in use by process {first.pid}", "another data folder")
        assert await first.stop() < 5
        assert first.process.returncode == 0


async def test_a_second_writer_of_one_database(running: Desk, folder: Path) -> None:
    dsn = running.gateway.config.storage.dsn
    end = await ended("serve", "--config", written(folder, {"storage": {"dsn": dsn}}))
    refused(end, "another gateway", "perpwire")


async def test_a_folder_of_another_postgres(folder: Path) -> None:
    cluster = folder / "data" / "cluster"
    cluster.mkdir(parents=True)
    (cluster / "PG_VERSION").write_text("12\n")
    end = await ended("demo", "--port", "0", "--data", folder / "data")
    refused(end, str(cluster), "Postgres 12", "Start with another data folder")


async def test_told_to_stop_while_a_database_does_not_answer(folder: Path) -> None:
    """The address accepts connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as mute:
        mute.setblocking(False)
        dsn = f"postgresql://somebody:{WRONG}@127.0.0.1:{mute.getsockname()[1]}/x"
        config = written(folder, {"storage": {"dsn": dsn}})
        errors = folder / "stderr"
        with errors.open("wb") as file:
            process = await asyncio.create_subprocess_exec(
                *COMMAND, "serve", "--config", str(config), stdout=asyncio.subprocess.PIPE, stderr=file
            )
        heard: list[socket.socket] = []

        def asked() -> bool:
            try:
                heard.append(mute.accept()[0])
            except BlockingIOError:
                return False
            return True

        try:
            await eventually(asked, "the database is asked", 20)
            family = descendants(process.pid)
            process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(5):
                await process.wait()
            await all_gone(family)
        finally:
            for connection in heard:
                connection.close()
            if process.returncode is None:
                process.kill()
                await process.wait()
        assert process.returncode == 0, errors.read_text()
        assert WRONG not in errors.read_text()
