"""What is old goes: whole days of the journal, records in steps, samples thinned out; and the report of what is there."""

from __future__ import annotations

from pathlib import Path

import asyncpg
import msgspec
import pytest

from gateway.config import StorageSettings
from gateway.core.alerts.records import EquitySample
from gateway.core.journal import DAY_MS, Entry, MarkSample, day, place
from gateway.storage import partitions, payloads, retention, tables
from gateway.storage.batch import Batch, EntryRow, RecordRow
from gateway.storage.embedded import EmbeddedPostgres
from gateway.storage.migrate import upgrade
from gateway.storage.partitions import Partitions, day_of, partition
from gateway.storage.sizes import lines, sizes
from gateway.store import size_report

_NOW = 1_763_683_200_000 + DAY_MS // 2  # noon
_TODAY = _NOW - DAY_MS // 2


@pytest.fixture
async def stored(sql: asyncpg.Connection) -> asyncpg.Connection:
    """The module's database without any partition or record."""
    for table in partitions.PARTITIONED:
        for name, _ in await partitions.present(sql, table):
            await sql.execute(f"DROP TABLE {name}")
    await sql.execute("TRUNCATE fills, equity_samples")
    return sql


def _entry(at: int, number: int = 0) -> EntryRow:
    (row,) = payloads.rows([Entry(id=place(at) + number, at=at, kind="ws", epoch="e", account="main", body="{}")])
    return row


def _sample(at: int, symbol: str = "BTC", value: str = "1") -> MarkSample:
    key = {"venue": "okx", "env": "live", "symbol": symbol, "kind": "mark"}
    return MarkSample(id=place(at) + len(symbol), at=at, epoch="e", turn=1, value=value, **key)  # type: ignore[arg-type]


async def _store(sql: asyncpg.Connection, **rows: object) -> None:
    batch = Batch(**rows)  # type: ignore[arg-type]
    await Partitions().need(sql, batch)
    assert await tables.write(sql, batch, row_by_row=False) == []


def test_partitions_are_named_by_their_day() -> None:
    assert partition("journal", _TODAY) == "journal_20251121"
    assert day_of("journal_20251121") == day_of("mark_samples_20251121") == day(place(_NOW)) == _TODAY
    assert day_of("journal_account_id") is None


async def test_days_get_partitions_of_their_own_once(stored: asyncpg.Connection) -> None:
    moments = (_TODAY - 1, _TODAY, _TODAY + DAY_MS - 1, _TODAY + DAY_MS)
    for _ in range(2):  # another writer's session
        await _store(stored, entries=[_entry(at) for at in moments], samples=[_sample(_NOW)])
    rows = await stored.fetch("SELECT tableoid::regclass::text AS name, at FROM journal ORDER BY id")
    assert [(row["name"], row["at"]) for row in rows] == [
        ("journal_20251120", moments[0]),
        ("journal_20251121", moments[1]),
        ("journal_20251121", moments[2]),
        ("journal_20251122", moments[3]),
    ]
    plan = await stored.fetch(
        "EXPLAIN SELECT * FROM journal WHERE account = 'main' AND id >= $1", place(_TODAY + DAY_MS)
    )
    assert "journal_20251121" not in str(plan), "other days are not looked at"
    storage = await stored.fetchval(
        "SELECT attstorage::text FROM pg_attribute WHERE attrelid = 'journal_20251121'::regclass AND attname = 'body'"
    )
    assert storage == "e", "compressed already"


async def test_a_partition_is_made_while_somebody_reads(dsn: str, stored: asyncpg.Connection) -> None:
    await _store(stored, entries=[_entry(_TODAY)])
    reader = await asyncpg.connect(dsn)
    async with reader.transaction():
        assert await reader.fetchval("SELECT count(*) FROM journal") == 1
        await stored.execute("SET lock_timeout = 2000")
        await _store(stored, entries=[_entry(_TODAY + DAY_MS)])
    assert await reader.fetchval("SELECT count(*) FROM journal") == 2
    await reader.close()


async def test_old_days_are_dropped_whole_and_tomorrow_is_prepared(stored: asyncpg.Connection) -> None:
    await _store(stored, entries=[_entry(_TODAY - age * DAY_MS) for age in range(5)])
    done = await retention.tidy(stored, _NOW, {"journal": 2.0, "mark_samples": None})
    assert done.dropped == 2, "two days are over by more than two days"
    assert [of for _, of in await partitions.present(stored, "journal")] == [
        _TODAY + days * DAY_MS for days in (-2, -1, 0, 1)
    ]
    assert (await retention.tidy(stored, _NOW, {"journal": 2.0})).dropped == 0


async def test_a_partition_in_use_is_left_for_the_next_time(dsn: str, stored: asyncpg.Connection) -> None:
    await _store(stored, entries=[_entry(_TODAY - 9 * DAY_MS)])
    reader = await asyncpg.connect(dsn)
    async with reader.transaction():
        await reader.fetchval("SELECT count(*) FROM journal")
        assert (await retention.tidy(stored, _NOW, {"journal": 1.0})).dropped == 0
    await reader.close()
    assert (await retention.tidy(stored, _NOW, {"journal": 1.0})).dropped == 1


async def test_old_records_are_deleted_in_steps(stored: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "_STEP", 3)
    rows = [RecordRow(f"f{age}", "main", _NOW - age * DAY_MS, {}, None, None) for age in range(12)]
    await stored.executemany(
        "INSERT INTO fills (id, account, at, state) VALUES ($1, $2, $3, '{}')", [row[:3] for row in rows]
    )
    assert (await retention.tidy(stored, _NOW, {"fills": 3.0, "funding": None})).deleted == 8
    left = [row["id"] for row in await stored.fetch("SELECT id FROM fills ORDER BY at DESC")]
    assert left == ["f0", "f1", "f2", "f3"]


async def test_prices_are_thinned_out_with_age(stored: asyncpg.Connection) -> None:
    def of_day(of: int) -> list[MarkSample]:
        return [
            _sample(of + second * 1000, symbol, str(second))
            for second in range(0, 7_200, 20)
            for symbol in ("BTC", "ETHER")
        ]

    days = {0: 720, 2: 240, 40: 4}  # age → what is left: all, the last of each minute, of each hour
    for age in days:
        await _store(stored, samples=of_day(_TODAY - age * DAY_MS))
    done = await retention.tidy(stored, _NOW, {}, minute_after=1.0, hour_after=30.0)
    assert done.thinned == 3 * 720 - sum(days.values())
    for age, left in days.items():
        name = partition("mark_samples", _TODAY - age * DAY_MS)
        assert await stored.fetchval(f"SELECT count(*) FROM {name}") == left
    found = await stored.fetch(
        "SELECT value FROM mark_samples WHERE symbol = 'BTC' AND id < $1 ORDER BY id", place(_TODAY - 39 * DAY_MS)
    )
    assert [row["value"] for row in found] == ["3580", "7180"], "the last ones"
    assert (await retention.tidy(stored, _NOW, {}, minute_after=1.0, hour_after=30.0)).thinned == 0
    assert (await retention.tidy(stored, _NOW + 40 * DAY_MS, {}, minute_after=1.0, hour_after=30.0)).thinned > 0


async def test_equity_keeps_the_peak_of_what_is_thinned_out(stored: asyncpg.Connection) -> None:
    begin = _TODAY - 40 * DAY_MS
    samples = [
        EquitySample(
            account="main",
            at=begin + minute * 60_000 + 59_000,
            equity_usd=float(minute),
            high_usd=500.0 if minute == 17 else float(minute),
            high_at=begin + minute * 60_000,
            equity={"USDT": float(minute)},
        )
        for minute in range(120)
    ]
    rows = [RecordRow(one.id, one.account, one.at, one, "ann", None) for one in samples]
    await _store(stored, records={"equity_samples": rows})
    assert (await retention.tidy(stored, _NOW, {}, hour_after=30.0, minute_after=1.0)).thinned == 118
    left = await stored.fetch("SELECT state, high_usd FROM equity_samples ORDER BY at")
    first, second = (msgspec.json.decode(row["state"], type=EquitySample) for row in left)
    assert (first.equity_usd, first.high_usd, first.high_at) == (59.0, 500.0, begin + 17 * 60_000)
    assert second == samples[-1]
    assert left[0]["high_usd"] == 500.0
    assert (await retention.tidy(stored, _NOW, {}, hour_after=30.0)).thinned == 0


async def test_report_says_what_is_there(stored: asyncpg.Connection) -> None:
    await _store(stored, entries=[_entry(_TODAY - DAY_MS + hour * 3_600_000) for hour in range(36)])
    found = {one.table: one for one in await sizes(stored)}
    journal = found["journal"]
    assert (journal.rows, journal.oldest, journal.newest) == (36, _TODAY - DAY_MS, _TODAY + 11 * 3_600_000)
    assert journal.partitions == 2
    assert journal.per_day == pytest.approx(journal.bytes * 24 / 35)
    assert found["fills"].rows == 0
    assert "journal_20251121" not in found, "partitions are in their table"
    text = list(lines(list(found.values()), {"journal": 30.0, "fills": None}))
    (line,) = (line for line in text if line.startswith("journal "))
    assert "2025-11-20 00:00" in line
    assert line.endswith("30 days")
    (line,) = (line for line in text if line.startswith("fills "))
    assert line.endswith("for ever")


async def test_embedded_database_is_reported_beside_the_gateway_and_alone(folder: Path) -> None:
    settings = StorageSettings(data_dir=str(folder))
    server = EmbeddedPostgres(folder)
    await upgrade(await server.start())
    beside = await size_report(settings)
    await server.stop()
    alone = await size_report(settings)
    for report in (beside, alone):
        assert any(line.startswith("journal ") for line in report)
