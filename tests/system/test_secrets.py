"""No secret leaves: a whole scenario with everything logged, and every place looked at where one could appear."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg
import pytest

from exchanges.feed import Feed
from exchanges.sim.server import Simulator
from exchanges.supervisor import Supervisor
from exchanges.venue import HttpRequest
from gateway.client import Client
from gateway.replay import Recorder
from tests.system.desk import desk, eventually, stored_at


class Everything(logging.Handler):
    """Keeps every record as its whole text, arguments and traceback included."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.setFormatter(logging.Formatter("%(name)s %(levelname)s %(message)s"))
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


@contextmanager
def everything_logged() -> Iterator[list[str]]:
    """Log at DEBUG everywhere, into a list."""
    handler, root = Everything(), logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        yield handler.lines
    finally:
        root.removeHandler(handler)
        root.setLevel(level)


def secrets_of(simulator: Simulator) -> set[str]:
    """Return what must never be seen: keys, secrets, passphrases."""
    described = simulator.describe()
    accounts = [account for venue in ("okx", "bybit") for account in described[venue]["accounts"]]
    return {account[name] for account in accounts for name in ("key", "secret", "passphrase") if name in account}


async def everything_stored(dsn: str) -> str:
    """Return all rows of all tables as text."""
    connection = await asyncpg.connect(dsn)
    try:
        tables = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        assert {"accounts", "contracts", "current_positions", "checkpoint"} <= {table[0] for table in tables}
        rows = [await connection.fetch(f'SELECT t::text FROM "{table[0]}" AS t') for table in tables]
        return "\n".join(row[0] for found in rows for row in found)
    finally:
        await connection.close()


async def test_no_secret_is_logged_served_stored_or_recorded(
    simulator: Simulator, dsn: str, folder: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    signatures: set[str] = set()
    # Signatures are different every time: they are noted where they are made.
    send, sign = Supervisor._send, Feed.sign

    def noting(self: Supervisor, text: str) -> None:
        frame = json.loads(text) if text.startswith("{") else {}
        if frame.get("op") == "login":
            signatures.update(one["sign"] for one in frame["args"])
        elif frame.get("op") == "auth":
            signatures.add(frame["args"][-1])
        send(self, text)

    def noting_headers(self: Feed, request: HttpRequest, wall_ms: int) -> HttpRequest:
        signed = sign(self, request, wall_ms)
        signatures.update(value for name, value in signed.headers if name.upper().endswith("SIGN"))
        return signed

    monkeypatch.setattr(Supervisor, "_send", noting)
    monkeypatch.setattr(Feed, "sign", noting_headers)
    recording = folder / "recording.jsonl"
    with everything_logged() as logged:
        changes, recorder = (stored_at(dsn),), Recorder(recording.open("wb"))
        async with desk(simulator, folder, changes=changes, recorder=recorder) as running:
            await running.live()
            for fault in ({"kind": "malformed"}, {"kind": "drop", "abort": True}):
                running.fault(**fault)  # type: ignore[arg-type]  # kind by name
            await eventually(lambda: min(running.reconnects().values()) == 1, "all are made again")
            await running.live()
            running.fault("wrong_login", venue="okx", count=1)
            running.fault("drop", account="okx-main")

            def refused(client: Client) -> bool:
                return "login refused" in client.tables["feeds"]["okx-main:private"].get("last_error", "")

            await running.client.wait_for(refused)
            paths = ("snapshot", "positions", "accounts", "summary", "feeds", "config", "instruments")
            served = [await running.text(f"/v1/{path}") for path in paths]
            served += [await running.text(path) for path in ("/metrics", "/healthz", "/readyz", "/openapi.json")]
            told = repr((running.gateway.specs, running.gateway.config))
            streamed = json.dumps(running.client.tables)
        stored = await everything_stored(dsn)
    captured = capfd.readouterr()
    places = {
        "logs": "\n".join(logged) + captured.out + captured.err,
        "answers": "\n".join(served),
        "stream": streamed,
        "database": stored,
        "recording": recording.read_text(),
        "repr": told,
    }
    secrets = secrets_of(simulator) | signatures
    assert len(secrets) > 20
    assert len(signatures) > 20
    assert len(logged) > 10, "logging was on"
    for place, text in places.items():
        assert text, place
        assert not [secret for secret in secrets if secret in text], f"in {place}"
