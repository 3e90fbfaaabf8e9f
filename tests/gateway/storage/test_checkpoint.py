"""The write-behind: whatever happens to the database, the last state gets there, and comes back digit for digit."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exchanges.events import AccountMode, PositionState
from gateway.core.records import OpenCycle
from gateway.storage.checkpoint import Checkpoint
from gateway.storage.embedded import EmbeddedPostgres
from gateway.storage.errors import MigrationError, PostgresRefused, StorageError, WriterLockHeld
from gateway.storage.mirror import StoredAccount
from gateway.storage.postgres import Database
from tests.gateway.storage.conftest import at_database, eventually
from tests.gateway.storage.states import balance, collateral, instrument, position, tiers

_ACCOUNT = StoredAccount(name="main", venue="okx", env="live", region="eea", user="ann")


def _checkpoint(dsn: str, epoch: str = "e1", on_refused: Callable[[StorageError], None] | None = None) -> Checkpoint:
    return Checkpoint(Database(dsn), epoch, flush_interval_s=0.01, jitter=lambda: 0.05, on_refused=on_refused)


@asynccontextmanager
async def _running(checkpoint: Checkpoint) -> AsyncIterator[None]:
    task = asyncio.create_task(checkpoint.run())
    try:
        yield
    finally:
        await checkpoint.drain(10)
        await asyncio.wait_for(task, 10)


async def _written(checkpoint: Checkpoint) -> None:
    await eventually(
        lambda: checkpoint.status.waiting == 0 and checkpoint.status.state == "ok", f"written: {checkpoint.status}"
    )


async def _stored(sql: asyncpg.Connection) -> dict[str, PositionState]:
    rows = await sql.fetch("SELECT id, state FROM current_positions")
    return {row["id"]: msgspec.json.decode(row["state"], type=PositionState) for row in rows}


async def _cut(sql: asyncpg.Connection) -> None:
    """End every other session of this database, as a failing network or an administrator does."""
    await sql.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid() AND application_name LIKE 'perpwire%'"
    )


async def test_restore_is_exact(dsn: str, sql: asyncpg.Connection) -> None:
    first = _checkpoint(dsn)
    assert await first.load() is not None
    mode = AccountMode(account="main", mode="multi-currency", computable=False)
    first.put_account(_ACCOUNT)
    first.put_mode(mode)
    first.put_instrument(instrument())
    first.put_tiers(tiers())
    isolated = msgspec.structs.replace(tiers("0.0050"), margin_mode="isolated", account="main")
    first.put_tiers(isolated)
    first.put_collateral(collateral())
    first.put_balance(balance())
    first.put_position(position("A"), 41)
    first.put_position(position("B", size="-0.10000000000000000000000000001", entry_price=None), 42)
    assert await first.drain(10)

    restored = await _load(dsn)
    assert restored.accounts == (_ACCOUNT,)
    chains = [one for one in restored.events() if isinstance(one, OpenCycle)]
    assert [one.symbol for one in chains] == ["A", "B"], "each has a cycle under way"
    assert [one for one in restored.events() if one not in chains] == [
        instrument(),
        tiers(),
        isolated,
        collateral(),
        mode,
        balance(),
        position("A"),
        position("B", size="-0.10000000000000000000000000001", entry_price=None),
    ]
    assert restored.checkpoint is not None
    assert (restored.checkpoint.epoch, restored.checkpoint.seq, restored.checkpoint.clean) == ("e1", 42, True)
    assert restored.unreadable == 0


async def _load(dsn: str):
    checkpoint = _checkpoint(dsn, "reader")
    restored = await checkpoint.load()
    assert restored is not None
    await checkpoint._outlet.close()
    return restored


async def test_running_gateway_is_not_clean_until_it_has_drained(dsn: str, sql: asyncpg.Connection) -> None:
    checkpoint = _checkpoint(dsn)
    async with _running(checkpoint):
        checkpoint.put_position(position(), 1)
        await _written(checkpoint)
        assert await sql.fetchval("SELECT clean FROM checkpoint") is False
    row = await sql.fetchrow("SELECT clean, seq FROM checkpoint")
    assert (row["clean"], row["seq"]) == (True, 1)


async def test_unreadable_record_is_counted_and_the_rest_comes_back(dsn: str, sql: asyncpg.Connection) -> None:
    checkpoint = _checkpoint(dsn)
    checkpoint.put_position(position("A"), 1)
    checkpoint.put_position(position("B"), 1)
    assert await checkpoint.drain(10)
    await sql.execute("UPDATE current_positions SET state = state - 'size' WHERE symbol = 'A'")
    restored = await _load(dsn)
    assert [state.symbol for state in restored.positions] == ["B"]
    assert restored.unreadable == 1


async def test_second_gateway_is_refused_at_start_and_the_first_goes_on(dsn: str, sql: asyncpg.Connection) -> None:
    first = _checkpoint(dsn)
    await first.load()
    async with _running(first):
        with pytest.raises(WriterLockHeld, match="another gateway writes into this database"):
            await _checkpoint(dsn, "e2").load()
        first.put_position(position(), 1)
        await _written(first)
    assert set(await _stored(sql)) == {position().id}


async def test_lock_that_another_gateway_took_is_told_once_and_won_back(dsn: str, sql: asyncpg.Connection) -> None:
    told: list[StorageError] = []
    first, second = _checkpoint(dsn, "e1", told.append), _checkpoint(dsn, "e2")
    await first.load()
    first.put_account(_ACCOUNT)
    first.put_position(position("A"), 1)
    assert await first._try_flush()
    first._outlet.drop()
    assert await second.load() is not None
    async with _running(first):
        first.put_position(position("B"), 2)
        await eventually(lambda: first.status.state == "refused", "the lock is seen to be another's")
        assert "Stop that one" in (first.status.reason or "")
        second.put_position(position("A", size="99"), 1)
        second.put_position(position("FOREIGN"), 1)
        assert await second.drain(10)
        await eventually(lambda: first.status.state == "ok", "the lock is ours again", 30)
        await _written(first)
        assert first.status.rewrites == 1, "the other's rows were noticed"
    assert len(told) == 1
    assert isinstance(told[0], WriterLockHeld)
    assert await _stored(sql) == {state.id: state for state in (position("A"), position("B"))}


async def test_rows_of_an_emptied_database_are_written_again(dsn: str, sql: asyncpg.Connection) -> None:
    checkpoint = _checkpoint(dsn)
    await checkpoint.load()
    async with _running(checkpoint):
        checkpoint.put_account(_ACCOUNT)
        checkpoint.put_instrument(instrument())
        checkpoint.put_position(position("A"), 1)
        await _written(checkpoint)
        await sql.execute("TRUNCATE accounts, contracts, current_positions, checkpoint")
        await _cut(sql)
        await eventually(lambda: checkpoint.status.rewrites == 1, "the loss is noticed without any further change")
        await _written(checkpoint)
    assert set(await _stored(sql)) == {position("A").id}
    assert await sql.fetchval("SELECT count(*) FROM accounts, contracts") == 1


async def test_faulty_row_is_left_out_and_shown(dsn: str, sql: asyncpg.Connection) -> None:
    checkpoint = _checkpoint(dsn)
    async with _running(checkpoint):
        checkpoint.put_position(position("GOOD"), 1)
        checkpoint.put_position(position("BAD", entry_price="1\0"), 1)
        await _written(checkpoint)
        assert checkpoint.status.rows_refused == 2
        row, change = checkpoint.status.rows_refused_last
        assert row.key == (position("BAD").id,)
        assert change.table == "position_changes"
    assert set(await _stored(sql)) == {position("GOOD").id}


async def test_database_that_does_not_fit_ends_a_start(empty_dsn: str) -> None:
    checkpoint = _checkpoint(empty_dsn)
    assert await checkpoint.load() is not None
    assert await checkpoint.drain(10)
    connection = await asyncpg.connect(empty_dsn)
    await connection.execute("INSERT INTO schema_migrations VALUES (9999, '9999_future.sql', '')")
    with pytest.raises(MigrationError, match=r"newer than this version of Perpwire: it knows 9999_future\.sql"):
        await _checkpoint(empty_dsn).load()
    await connection.execute("DELETE FROM schema_migrations WHERE version = 9999; DROP TABLE balances CASCADE")
    with pytest.raises(PostgresRefused, match="balances"):
        await _checkpoint(empty_dsn).load()
    await connection.close()


async def test_wrong_database_name_ends_a_start(cluster: str) -> None:
    with pytest.raises(PostgresRefused):
        await _checkpoint(at_database(cluster, "absent")).load()


async def test_drain_gives_up_in_time_and_says_what_is_left(tmp_path: Path) -> None:
    checkpoint = _checkpoint(f"postgresql:///risk?host={tmp_path}&user=bob")
    assert await checkpoint.load() is None
    task = asyncio.create_task(checkpoint.run())
    checkpoint.put_position(position(), 1)
    assert not await asyncio.wait_for(checkpoint.drain(0.2), 5)
    await asyncio.wait_for(task, 10)
    status = checkpoint.status
    assert (status.state, status.waiting) == ("away", 2), "the row, and that it changed"
    assert str(tmp_path) in (status.reason or "")


async def test_what_has_to_be_stored_now_does_not_wait_for_the_interval(dsn: str, sql: asyncpg.Connection) -> None:
    checkpoint = Checkpoint(Database(dsn), "e1", flush_interval_s=3_600)
    await checkpoint.load()
    async with _running(checkpoint):
        assert await checkpoint.written(10), "there is nothing to wait for"
        checkpoint.put_position(position("A"), 1)
        assert await checkpoint.written(10)
        assert (await _stored(sql)).keys() == {position("A").id}
        transaction = sql.transaction()
        await transaction.start()
        await sql.execute("LOCK TABLE current_positions IN ACCESS EXCLUSIVE MODE")
        checkpoint.put_position(position("B"), 2)
        assert not await checkpoint.written(0.05), "a database that hangs is not waited for"
        both = asyncio.gather(checkpoint.written(10), checkpoint.written(10))
        await transaction.rollback()
        assert await both == [True, True]
        assert (await _stored(sql)).keys() == {position("A").id, position("B").id}


async def test_nothing_waits_for_a_database_that_is_away(tmp_path: Path) -> None:
    checkpoint = _checkpoint(f"postgresql:///risk?host={tmp_path}&user=bob")
    assert await checkpoint.load() is None
    checkpoint.put_position(position(), 1)
    assert not await asyncio.wait_for(checkpoint.written(60), 5)


async def test_away_at_start_then_there(folder: Path) -> None:
    """Rows of an earlier life lie in the database that appears later: they go once all accounts are live."""
    server = EmbeddedPostgres(folder)
    earlier = _checkpoint(await server.start(), "e0")
    for state in (position("LIVES", size="7"), position("DEAD"), position("X", account="unknown")):
        earlier.put_position(state, 1)
    assert await earlier.drain(10)
    dsn = server.dsn
    sockets = Path(dsn.partition("host=")[2].partition("&")[0].replace("%2F", "/"))
    hidden = sockets.with_name("hidden")
    sockets.rename(hidden)

    checkpoint = _checkpoint(dsn, "e1")
    assert await checkpoint.load() is None
    assert checkpoint.status.state == "away"
    async with _running(checkpoint):
        checkpoint.put_account(_ACCOUNT)
        checkpoint.put_position(position("LIVES", size="8"), 5)
        hidden.rename(sockets)
        checkpoint.retry_now()
        await _written(checkpoint)
        sql = await asyncpg.connect(dsn)
        assert {state.symbol for state in (await _stored(sql)).values()} == {"LIVES", "DEAD", "X"}
        checkpoint.reconcile_rows([position("LIVES").id], ["main"])
        await _written(checkpoint)
        assert {state.symbol: state.size for state in (await _stored(sql)).values()} == {"LIVES": "8", "X": "1.50"}
        await sql.close()
    await server.stop()


async def test_postmaster_killed_under_writes_loses_nothing(folder: Path) -> None:
    """Three kill -9 of the server while a writer keeps going: the writer never notices, the table ends complete."""
    server = EmbeddedPostgres(folder)
    dsn = await server.start()
    checkpoint = _checkpoint(dsn)
    await checkpoint.load()
    last: dict[str, PositionState] = {}
    seq = 0
    async with _running(checkpoint):
        for kill in (1, 2, 3):
            writes = checkpoint.status.writes
            os.kill(server.pid or 0, signal.SIGKILL)
            while server.restarts < kill or checkpoint.status.writes == writes:
                seq += 1
                state = position(f"S-{seq % 50}", size=f"{seq}.0")
                last[state.id] = state
                checkpoint.put_position(state, seq)
                if seq % 7 == 0:
                    last.pop(state.id)
                    checkpoint.remove_position(state.id, seq)
                await asyncio.sleep(0)
    assert checkpoint.status.waiting == 0
    sql = await asyncpg.connect(dsn)
    assert await _stored(sql) == last
    assert await sql.fetchval("SELECT seq FROM checkpoint WHERE clean") == seq
    await sql.close()
    await server.stop()


_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.integers(0, 4), st.integers(0, 3)),
        st.tuples(st.just("remove"), st.integers(0, 4), st.just(0)),
        st.tuples(st.sampled_from(["flush", "cut", "cut while flushing", "empty"]), st.just(0), st.just(0)),
    ),
    max_size=25,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=_STEPS)
async def test_after_drain_the_table_equals_the_last_state(
    dsn: str, sql: asyncpg.Connection, steps: list[tuple[str, int, int]]
) -> None:
    """Whatever puts, removals, cut connections and lost rows are interleaved."""
    await sql.execute("TRUNCATE accounts, contracts, current_positions, balances, checkpoint")
    checkpoint = _checkpoint(dsn)
    await checkpoint.load()
    checkpoint.put_account(_ACCOUNT)
    last: dict[str, PositionState] = {}

    async def empty() -> None:
        await sql.execute("TRUNCATE current_positions, checkpoint")
        await _cut(sql)  # a database is never exchanged under a living connection

    async def cut_while_flushing() -> None:
        flush = asyncio.create_task(checkpoint._try_flush())
        await _cut(sql)
        await flush

    actions: dict[str, Callable[[], Awaitable[object]]] = {
        "flush": checkpoint._try_flush,
        "cut": lambda: _cut(sql),
        "cut while flushing": cut_while_flushing,
        "empty": empty,
    }
    for seq, (what, symbol, size) in enumerate(steps, 1):
        state = position(f"S-{symbol}", size=f"{size}.00", venue_at=seq)
        if what == "put" and size:
            last[state.id] = state
            checkpoint.put_position(state, seq)
        elif what in ("put", "remove"):
            last.pop(state.id, None)
            if what == "put":
                checkpoint.put_position(state, seq)  # closed, as a venue says it
            else:
                checkpoint.remove_position(state.id, seq)
        else:
            await actions[what]()
    assert await checkpoint.drain(10)
    assert await _stored(sql) == last
    assert await sql.fetchval("SELECT clean FROM checkpoint")
