from __future__ import annotations

import asyncio
import csv
import io
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from typer.testing import CliRunner

from gateway import exporting
from gateway.asking import NoAnswer, NoGateway
from gateway.cli import app as command_line
from gateway.config import AccountSettings, Config, StorageSettings
from gateway.core.protocol import Limits, Refusal
from gateway.history_desk import HistoryDesk
from gateway.hub import Hub
from gateway.storage.errors import StorageError
from gateway.storage.queries import Reader
from gateway.web.state import ServerState
from tests.gateway.events_of import engine
from tests.gateway.past_rows import EMPTY, MAIN, OTHER, T0, cycle, fill, write
from tests.gateway.storage.conftest import cluster, dsn
from tests.gateway.web.serving import served

__all__ = ["cluster", "dsn"]
NOBODY = "http://127.0.0.1:1"


@pytest.fixture
async def config(dsn: str) -> Config:
    sql = await asyncpg.connect(dsn)
    await sql.execute(EMPTY)
    await write(
        sql, *(cycle(n, T0 + n) for n in range(3)), fill(1, T0), cycle(7, T0 + 7, "other"), accounts=(MAIN, OTHER)
    )
    await sql.close()
    accounts = {"main": AccountSettings(venue="okx"), "other": AccountSettings(venue="bybit")}
    return Config(storage=StorageSettings(dsn=dsn), accounts=accounts)


async def exported(config: Config, url: str, table: str, form: str = "jsonl", **query: Any) -> str:
    data = bytearray()
    asked = {name: str(value) for name, value in query.items()}
    alone = asked.pop("alone", "True") == "True"
    await exporting.export(config, url, table, form, asked, data.extend, alone=alone)
    return data.decode()


async def test_a_file_is_the_same_from_a_gateway_and_from_its_database(config: Config) -> None:
    one, reader = engine(MAIN, OTHER), Reader(config.storage.dsn or "")
    state = ServerState(
        hub=Hub.on(asyncio.get_running_loop(), one.tables, Limits()), version="9", accounts=one.accounts.keys,
        history=HistoryDesk(one, lambda: reader, lambda: T0),
    )  # fmt: skip
    async with served(state) as server:
        url = f"http://127.0.0.1:{server.port}"
        for form in exporting.FORMS:
            for table in ("history", "fills", "pnl_records"):
                assert await exported(config, url, table, form) == await exported(config, NOBODY, table, form)
    await reader.close()
    lines = (await exported(config, NOBODY, "history", account="main", **{"from": T0 + 1})).splitlines()
    assert [json.loads(line)["closed_at"] for line in lines] == [T0 + 1, T0 + 2]
    rows = list(csv.DictReader(io.StringIO(await exported(config, NOBODY, "pnl", "csv", **{"from": T0, "to": T0 + 9}))))
    assert [row["records"] for row in rows if row["ccy"]] == ["1"]


async def test_a_gateway_that_is_named_has_to_answer(config: Config) -> None:
    with pytest.raises(NoGateway):
        await exported(config, NOBODY, "history", alone=False)


async def test_what_is_refused_is_said(config: Config) -> None:
    with pytest.raises(NoAnswer, match="no account 'nobody'"):
        await exported(config, NOBODY, "history", account="nobody")
    away = Config(storage=StorageSettings(dsn="postgresql://nobody@127.0.0.1:1/none"))
    with pytest.raises((NoAnswer, StorageError), match=r"127\.0\.0\.1:1"):
        await exported(away, NOBODY, "history")


async def test_what_breaks_off_is_no_file(config: Config, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    async def breaking(self: HistoryDesk, asked: Any) -> AsyncIterator[list[str]]:
        yield ["{}"]
        raise Refusal("storage_unreachable", "gone")

    monkeypatch.setattr(HistoryDesk, "chunks", breaking)
    path = tmp_path / "history.jsonl"

    async def save() -> None:
        with exporting.target(path) as file:
            await exporting.export(config, NOBODY, "history", "jsonl", {}, file.write, alone=True)

    with pytest.raises(NoAnswer, match="broke off"):
        await save()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["nothing"], "there is no table 'nothing'; there are: history"),
        (["history", "--format", "xml"], "--format is 'xml'"),
        (["history", "--from", "yesterday"], "is no moment"),
        (["history", "--config", "nowhere.yaml"], "nowhere.yaml"),
    ],
)
def test_the_command_says_what_is_wrong(options: list[str], words: str, tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("{}")
    given = options if "--config" in options else [*options, "--config", str(file)]
    found = CliRunner().invoke(command_line, ["export", *given])
    assert found.exit_code == 1
    assert words in found.output
