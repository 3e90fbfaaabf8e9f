"""Every entry once, in order, whatever happens to Postgres, process and spool; what could not be kept is counted and said."""

from __future__ import annotations

import asyncio
import errno
import itertools
import os
import random
import signal
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NoReturn

import asyncpg
import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from exchanges.events import ClosedPnl, Fill
from gateway.core.journal import Entry, Lost, MarkSample, place
from gateway.core.records import Backfill, PositionChange
from gateway.storage import batch as batches
from gateway.storage import payloads
from gateway.storage.checkpoint import Checkpoint
from gateway.storage.embedded import EmbeddedPostgres
from gateway.storage.errors import PostgresAway, SpoolFull, SpoolInUse, WriterLockHeld
from gateway.storage.mirror import StoredAccount
from gateway.storage.postgres import Database
from gateway.storage.queue import Queue
from gateway.storage.spool import Spool, Spooled
from tests.gateway.storage.conftest import eventually
from tests.gateway.storage.states import balance, collateral, instrument, position, tiers

_ACCOUNT = StoredAccount(name="main", venue="okx", env="live", user="ann")
_AT = 1_763_683_200_000
_numbers = itertools.count(1)


def _fill(number: int) -> Fill:
    return Fill(
        account="main",
        id=f"main:{number}",
        symbol="BTC-USDT-SWAP",
        order_id="o",
        side="buy",
        price="64000.10",
        size="1.50",
        at=_AT + number,
    )


def _entry(number: int, body: str = "{}") -> Entry:
    return Entry(
        id=place(_AT) + number,
        at=_AT,
        kind="turn",
        epoch="e",
        turn=number,
        seq=number,
        user="ann",
        account="main",
        causes=(1, 2) if number % 2 else (),
        body=body,
    )


class Harness:
    """One gateway's storage over several lives, and a database that can be away, with faults at each step of a batch."""

    def __init__(self, dsn: str, folder: Path, *, max_bytes: int = 1 << 20, queue: Callable[[], Queue] = Queue) -> None:
        self.dsn, self.folder, self.max_bytes, self.queue = dsn, folder, max_bytes, queue
        self.away = False
        self.lives = 0
        self.told: list[Lost] = []
        self.checkpoint: Checkpoint

    async def start(self) -> None:
        self.lives += 1
        self.spool = Spool(self.folder, self.max_bytes)
        self.checkpoint = Checkpoint(
            Database(self.dsn),
            f"life-{self.lives}",
            spool=self.spool,
            now_ms=lambda: _AT,
            jitter=lambda: 0.0,
            queue=self.queue,
        )
        self.checkpoint.on_lost = self.told.append
        connect = self.checkpoint._outlet._committer._writer.session

        async def session() -> tuple[object, bool]:
            if self.away:
                self.checkpoint._outlet.drop()
                raise PostgresAway("postgres", "it is stopped")
            return await connect()

        self.checkpoint._outlet._committer._writer.session = session  # type: ignore[method-assign, assignment]
        await self.checkpoint.load()
        self.checkpoint.put_account(_ACCOUNT)

    async def crash(self) -> None:
        """End without a word: what is in memory alone is gone."""
        self.checkpoint._outlet.drop()
        await self.spool.close()

    async def flush(self) -> bool:
        return await self.checkpoint._try_flush()

    async def settle(self) -> None:
        """Postgres is there: everything finds its way."""
        self.away = False
        outlet = self.checkpoint._outlet
        for _ in range(20):  # a connection that was cut is noticed by its next use
            await self.checkpoint._try(outlet.drain)
            if await self.flush() and outlet.direct:
                break
        assert outlet.direct, self.checkpoint.status
        assert self.checkpoint.status.waiting == 0


@pytest.fixture
async def bare(sql: asyncpg.Connection) -> asyncpg.Connection:
    """The module's database without any row."""
    await _empty(sql)
    return sql


async def _empty(sql: asyncpg.Connection) -> None:
    await sql.execute(
        "TRUNCATE accounts, contracts, current_positions, balances, collateral, checkpoint, journal, mark_samples, fills, "
        "position_changes, pnl_records, backfills"
    )


@asynccontextmanager
async def _life(harness: Harness) -> AsyncIterator[Harness]:
    await harness.start()
    try:
        yield harness
    finally:
        await harness.crash()


async def _numbers_of(sql: asyncpg.Connection) -> list[int]:
    return [row["turn"] for row in await sql.fetch("SELECT turn FROM journal WHERE kind = 'turn' ORDER BY id")]


def _everything(checkpoint: Checkpoint) -> None:
    """Put one of each kind."""
    checkpoint.put_account(_ACCOUNT)
    checkpoint.put_instrument(instrument())
    checkpoint.put_tiers(tiers())
    checkpoint.put_collateral(collateral())
    checkpoint.put_balance(balance())
    checkpoint.put_position(position(), 7)
    checkpoint.put_fill(_fill(1))
    checkpoint.put_pnl(
        ClosedPnl(account="main", id="p1", source="closed-pnl", symbol="X", at=_AT, realized_net="-0.10")
    )
    checkpoint.put_backfill(Backfill(id="main:1:2", account="main", at=_AT, since=1, until=2, done=2))
    checkpoint.put_entry(_entry(1, 'Ä "quoted" \\ \n'))
    checkpoint.put_entry(_entry(2))
    checkpoint.put_sample(
        MarkSample(
            id=place(_AT) + 3, at=_AT, epoch="e", turn=2, venue="okx", env="live", symbol="X", kind="mark", value="1.10"
        )
    )


def _taken(checkpoint: Checkpoint, *, clean: bool) -> batches.Batch:
    batch, taken = checkpoint._take(clean=clean)
    return msgspec.structs.replace(batch, entries=payloads.rows(taken.queue.entries()))


def _noise(size: int) -> str:
    """Return a text of which so many bytes are left, at least."""
    return random.Random(size).randbytes(size).hex()


def test_batch_is_the_same_out_of_the_spool() -> None:
    checkpoint = Checkpoint(Database("postgresql:///x"), "e1")
    _everything(checkpoint)
    batch = _taken(checkpoint, clean=True)
    parts = list(batches.encode(batch))
    assert [(part.refused, part.journal) for part in parts] == [([], False), ([], True), ([], True)]
    assert batches.joined(list(batches.pieces(b"".join(part.body for part in parts)))) == batch
    rest = msgspec.structs.replace(batch, entries=[], samples=[])
    assert batches.joined(list(batches.pieces(parts[0].body))) == rest, "read by a start alone"


def test_a_big_batch_is_encoded_in_pieces_of_some_rows_and_read_as_one() -> None:
    checkpoint = Checkpoint(Database("postgresql:///x"), "e1")
    _everything(checkpoint)
    for number in range(10, 3_000):
        checkpoint.put_entry(_entry(number))
        checkpoint.put_fill(_fill(number))
    batch = _taken(checkpoint, clean=True)
    parts = list(batches.encode(batch))
    assert len(parts) > 10
    assert max(len(part.body) for part in parts) < 400_000, "none of them holds the loop up"
    assert batches.joined(list(batches.pieces(b"".join(part.body for part in parts)))) == batch
    for damage in (parts[0].body[:-1], b"\xff" * 100, b"\0", b""):
        with pytest.raises(msgspec.MsgspecError):
            list(batches.pieces(damage))


def test_row_of_which_no_text_can_be_made_is_left_out_and_the_rest_is_spooled() -> None:
    checkpoint = Checkpoint(Database("postgresql:///x"), "e1")
    _everything(checkpoint)
    checkpoint.put_position(position("BAD", entry_price="\ud800"), 8)
    checkpoint.put_entry(msgspec.structs.replace(_entry(9), request="\ud800"))
    batch = _taken(checkpoint, clean=False)
    parts = list(batches.encode(batch))
    assert {row.table for part in parts for row in part.refused} == {"positions", "position_changes", "entries"}
    read = batches.joined(list(batches.pieces(b"".join(part.body for part in parts))))
    assert [one.turn for one in read.entries] == [1, 2]
    assert [row.id for row in read.positions] == [position().id]


async def test_batch_is_stored_with_its_users_places_and_partitions(
    dsn: str, bare: asyncpg.Connection, tmp_path: Path
) -> None:
    checkpoint = Checkpoint(Database(dsn), "e1", now_ms=lambda: _AT)
    checkpoint.origin = lambda kind, record_id, account: (
        place(_AT) + 1 if kind in ("fills", "current_positions") else None
    )
    await checkpoint.load()
    _everything(checkpoint)
    assert await checkpoint.drain(10)
    row = await bare.fetchrow("SELECT * FROM journal ORDER BY id LIMIT 1")
    assert (row["user_name"], row["account"], row["causes"]) == ("ann", "main", [1, 2])
    assert payloads.unpack(row["body"], row["id"]) == 'Ä "quoted" \\ \n'
    assert (await bare.fetchrow("SELECT * FROM journal ORDER BY id DESC LIMIT 1"))["causes"] is None
    assert (await bare.fetchrow("SELECT * FROM mark_samples"))["value"] == "1.10"
    for table, origin in (
        ("fills", place(_AT) + 1),
        ("current_positions", place(_AT) + 1),
        ("balances", None),
        ("pnl_records", None),
        ("backfills", None),
    ):
        row = await bare.fetchrow(f"SELECT user_name, journal FROM {table}")
        assert (row["user_name"], row["journal"]) == ("ann", origin), table
    change = await bare.fetchrow("SELECT * FROM position_changes")
    own, _, of = change["id"].partition(":")
    assert (of, change["journal"]) == (position().id, place(_AT) + 1)
    assert place(_AT) <= int(own) <= checkpoint.places.last
    found = msgspec.json.decode(change["state"], type=PositionChange)
    assert found.state == position()
    assert "size" in found.changed
    last = await bare.fetchrow("SELECT * FROM checkpoint")
    assert (last["journal"], last["clean"], last["seq"]) == (checkpoint.places.last, True, 7)
    assert checkpoint.places.last >= place(_AT) + 3
    names = await bare.fetch("SELECT tableoid::regclass::text AS name FROM journal GROUP BY 1")
    assert [row["name"] for row in names] == ["journal_20251121"]


async def test_durable_says_who_keeps_it_first_and_by_which_entry(dsn: str, bare: asyncpg.Connection) -> None:
    checkpoint = Checkpoint(Database(dsn), "e1")
    origin = iter((5, 6))
    checkpoint.origin = lambda kind, record_id, account: next(origin) if kind == "fills" else None
    checkpoint.put_fill(_fill(1))
    assert await checkpoint._try_flush()
    checkpoint.put_fill(_fill(1))
    checkpoint.put_position(position(), 1)
    assert await checkpoint._try_flush()
    await bare.execute("UPDATE current_positions SET journal = 9")
    checkpoint.put_position(position(size="7"), 2)
    assert await checkpoint.drain(10)
    assert await checkpoint.drain(10), "harmless when repeated"
    assert await bare.fetchval("SELECT journal FROM fills") == 5, "the entry that first told it"
    assert await bare.fetchval("SELECT journal FROM current_positions") == 9, "what is known is not forgotten"


async def test_outage_is_spooled_and_drained_in_order(dsn: str, bare: asyncpg.Connection, tmp_path: Path) -> None:
    async with _life(Harness(dsn, tmp_path)) as harness:
        checkpoint = harness.checkpoint
        for number in range(1, 10):
            harness.away = 3 <= number < 7
            checkpoint.put_entry(_entry(number))
            checkpoint.put_position(position(size=str(number)), number)
            assert await harness.flush(), "durable one way or the other"
            assert checkpoint.status.durable_seq == number
            assert await _numbers_of(bare) == list(range(1, min(number, 2) + 1))
        assert checkpoint.status.spool_batches == 7
        await harness.settle()
        assert checkpoint.status.spool_batches == 0
        assert await _numbers_of(bare) == list(range(1, 10))
        assert str(await bare.fetchval("SELECT size FROM current_positions")) == "9"
        assert await bare.fetchval("SELECT count(*) FROM position_changes") == 9


async def test_drainer_works_beside_the_writer(dsn: str, bare: asyncpg.Connection, tmp_path: Path) -> None:
    harness = Harness(dsn, tmp_path)
    await harness.start()
    checkpoint = harness.checkpoint
    checkpoint._interval_s = 0.001
    task = asyncio.create_task(checkpoint.run())
    harness.away = True
    for number in range(1, 200):
        checkpoint.put_entry(_entry(number))
        if number == 100:
            await eventually(lambda: checkpoint.status.spool_batches > 0, "batches are spooled")
            harness.away = False
            checkpoint.retry_now()
        await asyncio.sleep(0)
    await eventually(
        lambda: checkpoint.status.waiting == 0 and checkpoint.status.spool_batches == 0,
        f"all is written {checkpoint.status}",
    )
    assert await checkpoint.drain(10)
    await task
    assert await _numbers_of(bare) == list(range(1, 200))
    assert await bare.fetchval("SELECT clean FROM checkpoint")


async def test_stop_without_a_database_is_orderly_and_the_next_start_writes_it_first(
    dsn: str, bare: asyncpg.Connection, tmp_path: Path
) -> None:
    harness = Harness(dsn, tmp_path)
    await harness.start()
    harness.away = True
    harness.checkpoint.put_position(position(size="5"), 3)
    harness.checkpoint.put_entry(_entry(3))
    assert await harness.checkpoint.drain(10), "durable in the spool"
    assert await bare.fetchval("SELECT count(*) FROM current_positions") == 0
    harness.away = False
    second = Checkpoint(Database(dsn), "second", spool=Spool(tmp_path, 1 << 20))
    restored = await second.load()
    assert restored is not None
    assert restored.checkpoint is not None
    assert (restored.checkpoint.epoch, restored.checkpoint.clean, restored.checkpoint.seq) == ("life-1", True, 3)
    assert [state.size for state in restored.positions] == ["5"]
    assert second.places.last == place(_AT) + 3
    assert await second.drain(10)


async def test_stop_while_the_drainer_waits_for_its_next_attempt(tmp_path: Path) -> None:
    """What wakes it and what ends it come in the same pass of the loop."""
    spool = Spool(tmp_path / "spool", 1 << 20)
    away = Database(f"postgresql:///none?host={tmp_path}")
    checkpoint = Checkpoint(away, "e", spool=spool, flush_interval_s=0.001, jitter=lambda: 1.0)
    assert await checkpoint.load() is None
    task = asyncio.create_task(checkpoint.run())
    checkpoint.put_entry(_entry(1))
    await eventually(lambda: spool.figures.batches == 1, "it is spooled")
    assert await asyncio.wait_for(checkpoint.drain(5), 10)
    await asyncio.wait_for(task, 10)


async def test_a_defect_in_draining_ends_the_writing_with_it(
    dsn: str, bare: asyncpg.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else batches would pile up behind it, unseen until the spool is full."""
    async with _life(Harness(dsn, tmp_path)) as harness:
        harness.away = True
        harness.checkpoint.put_entry(_entry(1))
        assert await harness.flush()

        async def drain() -> None:
            raise ValueError("a defect")

        monkeypatch.setattr(harness.checkpoint._outlet, "drain", drain)
        running = asyncio.create_task(harness.checkpoint.run())
        await eventually(running.done, "it ends by itself", 5)
        assert repr(running.exception()) == "ValueError('a defect')"


async def test_start_that_was_refused_leaves_nothing_behind(dsn: str, bare: asyncpg.Connection, tmp_path: Path) -> None:
    """Not in the spool either: it would be written later, as the word of a gateway that never ran."""
    first = Checkpoint(Database(dsn), "first")
    assert await first.load() is not None
    spool = Spool(tmp_path, 1 << 20)
    second = Checkpoint(Database(dsn), "second", spool=spool)
    with pytest.raises(WriterLockHeld):
        await second.load()
    second.put_account(_ACCOUNT)
    assert not await second.drain(5)
    assert spool.figures.batches == 0
    assert await first.drain(5)
    third = Spool(tmp_path, 1 << 20)
    await third.open()
    assert third.figures.batches == 0
    await third.close()


async def test_kill_between_commit_and_forgetting_writes_nothing_twice(
    dsn: str, bare: asyncpg.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Statements are idempotent besides: that a batch is not written again is seen by what its rows became meanwhile."""
    harness = Harness(dsn, tmp_path)
    async with _life(harness):
        harness.away = True
        harness.checkpoint.put_position(position(size="1"), 1)
        harness.checkpoint.put_entry(_entry(1))
        assert await harness.flush()

        async def nothing(number: int) -> None:
            return None

        monkeypatch.setattr(harness.spool, "drop_through", nothing)
        harness.away = False
        assert await harness.checkpoint._try(harness.checkpoint._outlet.drain)
    await bare.execute("UPDATE current_positions SET updated_seq = 99")
    async with _life(harness):
        assert harness.spool.figures.batches == 0
        assert await bare.fetchval("SELECT updated_seq FROM current_positions") == 99
        assert await _numbers_of(bare) == [1]


async def test_full_spool_loses_the_oldest_of_the_journal_says_so_and_keeps_the_records(
    dsn: str, bare: asyncpg.Connection, tmp_path: Path
) -> None:
    harness = Harness(dsn, tmp_path, max_bytes=120_000, queue=lambda: Queue(most_rows=5))
    async with _life(harness):
        checkpoint = harness.checkpoint
        harness.away = True
        for number in range(1, 31):
            checkpoint.put_entry(_entry(number, _noise(10_000)))
            checkpoint.put_fill(_fill(number))
            await harness.flush()
        status = checkpoint.status
        assert status.losing
        assert status.spool_error is not None
        kept = status.spool_batches
        assert status.journal_lost == 30 - kept - 5
        assert status.durable_seq == kept
        await harness.settle()
        turns = [*range(1, kept + 1), *range(26, 31)]
        assert await _numbers_of(bare) == turns
        (row,) = await bare.fetch("SELECT * FROM journal WHERE kind = 'lost'")
        gap = msgspec.json.decode(payloads.unpack(row["body"], row["id"]), type=Lost)
        assert (gap.since, gap.until) == (place(_AT) + kept + 1, place(_AT) + 25)
        assert gap.entries == 25 - kept
        assert (row["id"], row["epoch"]) == (gap.until, "e")
        assert harness.told == [gap], "a base is asked for once it can be written"
        assert not checkpoint.status.losing
        assert await bare.fetchval("SELECT count(*) FROM fills") == 30


async def test_a_spool_that_nobody_needs_any_more_is_looked_at_until_it_can_be_used(
    dsn: str, bare: asyncpg.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness, full = Harness(dsn, tmp_path), True
    async with _life(harness):
        checkpoint, opened = harness.checkpoint, harness.spool._open

        def open_() -> sqlite3.Connection:
            if full:
                raise OSError(errno.ENOSPC, "No space left on device")
            return opened()

        monkeypatch.setattr(harness.spool, "_open", open_)
        harness.away = True
        checkpoint.put_entry(_entry(1))
        assert not await harness.flush()
        await harness.settle()
        for number, error in ((2, True), (3, True), (4, False)):
            full = error
            checkpoint.put_entry(_entry(number))
            assert await harness.flush()
            assert (checkpoint.status.spool_error is not None) == error
        assert await _numbers_of(bare) == [1, 2, 3, 4]


async def test_a_spool_of_an_earlier_life_whose_folder_comes_back_is_drained(
    dsn: str, bare: asyncpg.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness = Harness(dsn, tmp_path)
    async with _life(harness):
        harness.away = True
        harness.checkpoint.put_entry(_entry(1))
        assert await harness.flush()
    harness.away, gone, opened = False, True, Spool._open

    def open_(spool: Spool) -> sqlite3.Connection:
        if gone:
            raise OSError(errno.EIO, "Input/output error")
        return opened(spool)

    monkeypatch.setattr(Spool, "_open", open_)
    async with _life(harness):
        checkpoint = harness.checkpoint
        for number, error in ((2, True), (3, False)):
            gone = error
            checkpoint.put_entry(_entry(number))
            assert await harness.flush()
        assert checkpoint._outlet.spooled.is_set()
        await harness.settle()
        assert checkpoint.status.spool_batches == 0
        assert await _numbers_of(bare) == [1, 2, 3]


async def test_a_folder_that_comes_back_as_anothers_makes_no_batch_undone(
    dsn: str, bare: asyncpg.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with _life(Harness(dsn, tmp_path)) as harness:

        async def probe(_size: int) -> None:
            raise SpoolInUse(tmp_path, 7)

        monkeypatch.setattr(harness.spool, "probe", probe)
        harness.spool.error = "Input/output error"
        harness.checkpoint.put_entry(_entry(1))
        assert await harness.flush()


async def test_what_certainly_finds_no_room_is_not_made_ready_again_and_again(
    dsn: str, bare: asyncpg.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness = Harness(dsn, tmp_path, max_bytes=120_000)
    made = 0

    def encode(batch: batches.Batch) -> Iterator[batches.Part]:
        nonlocal made
        made += 1
        yield from batches.encode(batch)

    monkeypatch.setattr("gateway.storage.outlet.encode", encode)
    async with _life(harness):
        checkpoint = harness.checkpoint
        harness.away = True
        checkpoint.put_entry(_entry(1, _noise(200_000)))
        for _ in range(5):
            assert not await harness.flush()
        assert made == 1, "the first time alone"
        assert checkpoint.status.spool_error is not None
        harness.spool._close()
        harness.spool._pages = 1_000  # as much as there is now
        assert await harness.flush()
        assert (made, checkpoint.status.spool_error) == (2, None)
        await harness.settle()
        assert await _numbers_of(bare) == [1]


async def test_unreadable_spool_is_said_in_the_journal_and_state_is_written_anew(
    dsn: str, bare: asyncpg.Connection, tmp_path: Path
) -> None:
    harness = Harness(dsn, tmp_path)
    async with _life(harness):
        harness.checkpoint.put_position(position(size="1"), 1)
        harness.checkpoint.put_entry(_entry(1))
        assert await harness.flush()
        harness.away = True
        harness.checkpoint.put_position(position(size="2"), 2)
        harness.checkpoint.put_entry(_entry(2))
        assert await harness.flush()
        assert harness.spool._db is not None
        harness.spool._close()
        harness.spool.file.write_bytes(b"rubbish" * 2_000)
        await harness.settle()
        assert harness.checkpoint.status.spool_set_aside == 1
        assert str(await bare.fetchval("SELECT size FROM current_positions")) == "2"
        row = await bare.fetchrow("SELECT id, body FROM journal WHERE kind = 'lost'")
        gap = msgspec.json.decode(payloads.unpack(row["body"], row["id"]), type=Lost)
        assert (gap.since, gap.until) == (place(_AT) + 2, place(_AT) + 2)
        assert gap.file is not None
        assert (tmp_path / gap.file).exists()


def _ruin(spool: Spool) -> None:
    """Damage the spool's file so that nothing of it can be read any more."""
    spool._close()
    spool.file.write_bytes(b"rubbish" * 2_000)


async def test_what_is_spooled_into_a_new_file_while_the_old_one_is_drained_is_not_forgotten_with_it(
    dsn: str, bare: asyncpg.Connection, tmp_path: Path
) -> None:
    """The old file turns out to be unreadable while its last batch is being committed."""
    async with _life(Harness(dsn, tmp_path)) as harness:
        checkpoint, outlet = harness.checkpoint, harness.checkpoint._outlet
        harness.away = True
        for number in (1, 2):
            checkpoint.put_entry(_entry(number))
            assert await harness.flush()
        plain = outlet._committer.commit

        async def commit(batch: batches.Batch) -> list[batches.RefusedRow]:
            refused = await plain(batch)
            if [row.turn for row in batch.entries] == [2]:
                _ruin(harness.spool)
                checkpoint.put_entry(_entry(3))
                assert await harness.flush(), "durable, in the new file"
            return refused

        outlet._committer.commit = commit  # type: ignore[method-assign]
        await harness.settle()
        assert await _numbers_of(bare) == [1, 2, 3]


async def test_an_unreadable_file_of_which_all_is_stored_leaves_no_gap(
    dsn: str,
    bare: asyncpg.Connection,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with _life(Harness(dsn, tmp_path)) as harness:
        checkpoint, outlet = harness.checkpoint, harness.checkpoint._outlet
        harness.away = True
        for number in (1, 2):
            checkpoint.put_entry(_entry(number))
            assert await harness.flush()
        harness.away = False
        plain = outlet._bring

        async def bring(spool: Spool, one: Spooled) -> None:
            await plain(spool, one)
            if one.number == 2:
                _ruin(spool)

        monkeypatch.setattr(outlet, "_bring", bring)
        await outlet.drain()
        assert (checkpoint.status.spool_set_aside, checkpoint.status.losing) == (1, False)
        assert "set aside as" in caplog.text
        assert checkpoint.status.waiting == 0, "nothing is written anew"
        _ruin(harness.spool)
        harness.away = True
        checkpoint.put_entry(_entry(3))
        assert await harness.flush(), "in a third file"
        assert (checkpoint.status.spool_set_aside, checkpoint.status.losing) == (2, False)
        await harness.settle()
        assert await _numbers_of(bare) == [1, 2, 3]
        assert await bare.fetchval("SELECT count(*) FROM journal WHERE kind = 'lost'") == 0


async def test_slow_database_is_not_waited_for(dsn: str, bare: asyncpg.Connection, tmp_path: Path) -> None:
    async with _life(Harness(dsn, tmp_path)) as harness:
        assert await harness.flush()
        checkpoint = harness.checkpoint
        checkpoint._outlet.patience_s = 0.05
        transaction = bare.transaction()
        await transaction.start()
        await bare.execute("LOCK TABLE journal IN ACCESS EXCLUSIVE MODE")
        checkpoint.put_entry(_entry(1))
        assert await harness.flush()
        assert (checkpoint.status.state, checkpoint.status.spool_batches) == ("away", 1)
        await transaction.rollback()
        await harness.settle()
        assert await _numbers_of(bare) == [1]


async def test_postmaster_killed_under_the_journal_loses_nothing(folder: Path) -> None:
    """Three kill -9 of the server while entries keep coming: all of them once, though nobody waited."""
    server = EmbeddedPostgres(folder / "data")
    dsn = await server.start()
    spool = Spool(folder / "spool", 1 << 24)
    checkpoint = Checkpoint(Database(dsn), "e", spool=spool, flush_interval_s=0.1, jitter=lambda: 0.05)
    server.on_restart = checkpoint.retry_now
    await checkpoint.load()
    task = asyncio.create_task(checkpoint.run())
    number = 0

    def caught_up(kill: int, writes: int) -> bool:
        nonlocal number
        number += 1
        checkpoint.put_entry(_entry(number))  # they keep coming
        status = checkpoint.status
        return server.restarts >= kill and status.writes > writes and not status.spool_batches

    for kill in (1, 2, 3):
        writes = checkpoint.status.writes
        os.kill(server.pid or 0, signal.SIGKILL)
        await eventually(lambda kill=kill, writes=writes: caught_up(kill, writes), "all is in the database again", 30)  # type: ignore[misc]
    assert await checkpoint.drain(10)
    await task
    sql = await asyncpg.connect(dsn)
    assert await _numbers_of(sql) == list(range(1, number + 1))
    assert checkpoint.status.journal_lost == 0
    assert await sql.fetchval("SELECT clean AND journal = $1 FROM checkpoint", place(_AT) + number)
    await sql.close()
    await server.stop()


_STEPS = st.lists(
    st.sampled_from(
        [
            "write",
            "write",
            "write",
            "away",
            "back",
            "drain",
            "crash",
            "cut",
            "full",
            "space",
            "no forgetting",
            "lost answer",
        ]
    ),
    max_size=30,
)


@example(steps=["write", "away", "crash", "back"])  # a life that began without the database, and had nothing to spool
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=_STEPS)
async def test_every_durable_entry_is_stored_once_and_in_order(
    dsn: str, bare: asyncpg.Connection, tmp_path: Path, steps: list[str]
) -> None:
    """Whatever outages, kills, lost answers and full disks come between."""
    await _empty(bare)
    harness = Harness(dsn, tmp_path / str(next(_numbers)))
    await harness.start()
    number = 0
    durable: set[int] = set()
    waiting: set[int] = set()
    size = 0
    refuse = False

    def rig() -> None:
        plain = harness.spool.append

        async def append(name: tuple[str, int], journal: int, *parts: bytes | bytearray) -> None:
            if refuse:
                raise SpoolFull(harness.folder, "database or disk is full")
            await plain(name, journal, *parts)

        harness.spool.append = append  # type: ignore[method-assign]

    async def crash() -> None:
        await harness.crash()
        waiting.clear()
        await harness.start()
        rig()

    async def forgetless() -> None:
        """The process ends after the commit, before the spool forgets the batch."""

        async def nothing(_number: int) -> None:
            return None

        harness.spool.drop_through = nothing  # type: ignore[method-assign]
        await harness.checkpoint._try(harness.checkpoint._outlet.drain)
        await crash()

    async def unanswered() -> None:
        """The batch is committed, and the connection breaks before anybody hears of it."""
        committer = harness.checkpoint._outlet._committer
        plain = committer._write

        async def write(*args: Any, **named: Any) -> NoReturn:
            await plain(*args, **named)
            raise ConnectionResetError("the answer never came")

        committer._write = write  # type: ignore[method-assign]
        await flush()
        committer._write = plain  # type: ignore[method-assign]

    async def flush() -> None:
        if await harness.flush():
            durable.update(waiting)
            waiting.clear()

    async def cut() -> None:
        await bare.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid() AND application_name LIKE 'perpwire%'"
        )

    rig()
    actions: dict[str, Callable[[], Awaitable[object]]] = {
        "drain": lambda: harness.checkpoint._try(harness.checkpoint._outlet.drain),
        "crash": crash,
        "cut": cut,
        "no forgetting": forgetless,
        "lost answer": unanswered,
    }
    for step in steps:
        if step == "write":
            number += 1
            harness.checkpoint.put_entry(_entry(number))
            harness.checkpoint.put_position(position(size=str(number)), number)
            waiting.add(number)
            await flush()
        elif step in ("away", "back"):
            harness.away = step == "away"
        elif step in ("full", "space"):
            refuse = step == "full"
        else:
            await actions[step]()
    size = max(durable | waiting, default=0)
    refuse = False
    durable |= waiting
    await harness.settle()
    stored = await _numbers_of(bare)
    assert stored == sorted(set(stored)), "once, in order"
    assert durable <= set(stored)
    if size:
        assert await bare.fetchval("SELECT size FROM current_positions") >= size
        journal = await bare.fetchval("SELECT journal FROM checkpoint")
        assert journal == harness.checkpoint.places.last >= place(_AT) + max(stored)
    await harness.crash()
