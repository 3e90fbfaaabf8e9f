"""Alerts, silences and equity in the database: what is not over comes back, what stands is written again where it was lost."""

from __future__ import annotations

import asyncio
import time

import asyncpg
import msgspec

from exchanges.events import Transfer
from gateway.core.alerts.machine import State, Status
from gateway.core.alerts.records import AlertRecord, EquitySample, Silence
from gateway.storage.checkpoint import Checkpoint
from gateway.storage.postgres import Database
from gateway.storage.restore import Restored
from tests.gateway.storage.conftest import eventually

DAY_MS = 86_400_000


def checkpoint_at(dsn: str, epoch: str = "e1") -> Checkpoint:
    return Checkpoint(Database(dsn), epoch, flush_interval_s=0.01, jitter=lambda: 0.05)


async def loaded(dsn: str) -> Restored:
    reader = checkpoint_at(dsn, "reader")
    restored = await reader.load()
    assert restored is not None
    await reader.drain(10)
    return restored


def alert(subject: str, state: State, at: int) -> AlertRecord:
    status = Status(state=state, step=0 if state in ("pending", "firing") else -1, since=at, told_at=at, told_step=0)
    return AlertRecord(
        id=f"liquidation:{subject}", rule="liquidation", subject=subject, account="main", venue="okx", env="live",
        name=subject, state=state, severity="warning", told_severity="warning", value=0.12, message="near", status=status,
        at=at,
    )  # fmt: skip


async def test_alerts_silences_and_todays_equity_come_back_and_what_is_over_does_not(
    dsn: str, sql: asyncpg.Connection
) -> None:
    now = time.time_ns() // 1_000_000
    today = now // DAY_MS * DAY_MS
    first = checkpoint_at(dsn)
    assert await first.load() is not None
    blind = msgspec.structs.replace(alert("okx@live", "firing", now), id="blind:okx@live", rule="blind", account=None)
    kept = [blind, alert("a", "firing", now), alert("b", "pending", now), alert("c", "resolved", now - 1)]
    for one in (*kept, alert("d", "ok", now), alert("e", "resolved", now - 2 * DAY_MS)):
        first.put_alert(one)
    until = Silence(id="s1", at=now, until=now + 600_000, by="ann", rules=("blind",))
    first.put_silence(until)
    first.put_silence(Silence(id="s2", at=now - 2, until=now - 1, by="ann"))
    sample = EquitySample(
        account="main", at=today, equity_usd=10.5, high_usd=11.0, high_at=today, equity={"USDT": 10.5}
    )
    first.put_equity(sample)
    first.put_equity(msgspec.structs.replace(sample, at=today - 60_000))
    moved = Transfer(account="main", id="t", kind="deposit", ccy="USDT", amount="5", at=today)
    first.put_transfer(moved)
    assert await first.drain(10)
    restored = await loaded(dsn)
    assert restored.alerts == tuple(sorted(kept, key=lambda one: one.id))
    assert (restored.silences, restored.equity, restored.transfers) == ((until,), (sample,), (moved,))
    assert await sql.fetchval("SELECT count(*) FROM alerts WHERE standing = 'ok'") == 1
    assert await sql.fetchval("SELECT equity_usd FROM equity_samples WHERE at = $1", today) == 10.5


async def test_a_database_that_was_made_anew_gets_the_standing_alerts_again(dsn: str, sql: asyncpg.Connection) -> None:
    await sql.execute("TRUNCATE alerts")
    checkpoint = checkpoint_at(dsn)
    await checkpoint.load()
    running = asyncio.create_task(checkpoint.run())
    checkpoint.put_alert(alert("a", "firing", 1))
    checkpoint.put_alert(alert("b", "firing", 1))
    checkpoint.put_alert(alert("b", "ok", 2))
    await eventually(lambda: checkpoint.status.waiting == 0 and checkpoint.status.writes, "written")
    await sql.execute("TRUNCATE alerts; UPDATE checkpoint SET epoch = 'another'")
    await sql.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid() AND application_name LIKE 'perpwire%'"
    )
    await eventually(lambda: checkpoint.status.rewrites == 1, "the other database is noticed")
    checkpoint.put_alert(alert("c", "pending", 3))
    await checkpoint.drain(10)
    await asyncio.wait_for(running, 10)
    stored = await sql.fetch("SELECT subject, standing FROM alerts ORDER BY subject")
    assert [tuple(row) for row in stored] == [("a", "firing"), ("c", "pending")]
