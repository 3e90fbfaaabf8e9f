"""A start with a full spool: what it is given is what lies in the spool too, and nothing of that is written before it serves."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path

import asyncpg
import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from exchanges.events import ClosedPnl, Fill, FundingPayment
from gateway.core.journal import Entry, place
from gateway.core.records import ClosedCycle, Covered
from gateway.storage.checkpoint import Checkpoint
from gateway.storage.mirror import StoredAccount
from gateway.storage.postgres import Database
from gateway.storage.restore import Restored
from gateway.storage.spool import Spool
from tests.gateway.storage.conftest import eventually
from tests.gateway.storage.states import balance, instrument, position

_AT = 1_763_683_200_000
_TABLES = (
    "accounts, contracts, current_positions, balances, collateral, checkpoint, journal, mark_samples, fills, funding, transfers, "
    "position_changes, position_history, open_cycles, closed_cycles, coverage, pnl_records"
)
_numbers = itertools.count(1)


def _fill(number: int, told: str | None = None) -> Fill:
    return Fill(
        account="main",
        id=f"main:{number}",
        symbol="BTC-USDT-SWAP",
        order_id=str(number),
        side="buy" if number % 3 else "sell",
        price="64000.10",
        size="1.50",
        at=_AT + 1_000 * number,
        fee=told,
        position=position().id,
    )


def _payment(number: int) -> FundingPayment:
    moment = _AT + 1_000 * number
    return FundingPayment(
        account="main", id=f"main:{number}", symbol="BTC-USDT-SWAP", amount="-0.25", ccy="USDT", at=moment
    )


def _closed(number: int) -> ClosedCycle:
    moment = _AT + 1_000 * number
    return ClosedCycle(
        id=f"{position().id}@c{moment}",
        account="main",
        position=position().id,
        symbol="BTC-USDT-SWAP",
        side="long",
        size="1.50",
        opened_at=_AT if number % 2 else None,
        closed_at=moment,
        since=moment - 500,
    )


def _pnl(number: int) -> ClosedPnl:
    return ClosedPnl(
        account="main",
        id=f"main:{number}",
        source="positions-history",
        symbol="BTC-USDT-SWAP",
        at=_AT + 1_000 * number,
        opened_at=_AT + 1_000,
        realized_net="1.5",
    )


def _entry(number: int) -> Entry:
    return Entry(id=place(_AT) + number, at=_AT, kind="turn", epoch="e", turn=number, seq=number)


def _checkpoint(dsn: str, epoch: str, folder: Path) -> Checkpoint:
    return Checkpoint(Database(dsn), epoch, spool=Spool(folder, 1 << 24), now_ms=lambda: _AT, jitter=lambda: 0.0)


@pytest.fixture
async def bare(sql: asyncpg.Connection) -> asyncpg.Connection:
    """The module's database without any row."""
    await sql.execute(f"TRUNCATE {_TABLES}")
    return sql


async def _end(checkpoint: Checkpoint) -> None:
    """End without a word."""
    checkpoint._outlet.drop()
    await checkpoint._outlet.close()


async def _load(dsn: str, epoch: str, folder: Path, *, whole: bool) -> Restored:
    checkpoint = _checkpoint(dsn, epoch, folder)
    restored = await checkpoint.load(whole=whole)
    assert restored is not None
    await _end(checkpoint)
    return restored


async def test_start_serves_before_the_spool_is_empty_and_what_follows_goes_behind_it(
    dsn: str, bare: asyncpg.Connection, tmp_path: Path
) -> None:
    first = _checkpoint("postgresql:///none?host=/nowhere", "first", tmp_path)
    assert await first.load() is None
    first.put_account(StoredAccount(name="main", venue="okx", env="live"))
    for number in range(1, 5):
        first.put_entry(_entry(number))
        first.put_position(position(size=str(number)), number)
        assert await first._try_flush()
    await _end(first)
    second = _checkpoint(dsn, "second", tmp_path)
    restored = await second.load()
    assert restored is not None
    assert restored.checkpoint is not None
    assert (restored.checkpoint.epoch, restored.checkpoint.seq) == ("first", 4)
    assert [state.size for state in restored.positions] == ["4"]
    assert second.places.last == first.places.last
    assert (second.status.state, second.status.spool_batches) == ("ok", 4)
    for table in ("current_positions", "journal", "checkpoint", "accounts"):
        assert await bare.fetchval(f"SELECT count(*) FROM {table}") == 0, "it was looked at alone"
    second.put_entry(_entry(5))
    second.put_position(position(size="5"), 1)
    assert await second._try_flush()
    assert second.status.spool_batches == 5
    running = asyncio.create_task(second.run())
    await eventually(lambda: not second.status.spool_batches, "the spool is empty")
    assert await second.drain(10)
    await running
    assert [row["turn"] for row in await bare.fetch("SELECT turn FROM journal ORDER BY id")] == [1, 2, 3, 4, 5]
    assert [row["state"] for row in await bare.fetch("SELECT state ->> 'size' AS state FROM current_positions")] == [
        "5"
    ]
    assert await bare.fetchval("SELECT count(*) FROM position_changes") == 5


Step = str | tuple[str, int]
_KINDS = ["position", "fill", "again", "funding", "closed", "pnl", "covered"]
_STEPS: st.SearchStrategy[list[Step]] = st.lists(
    st.one_of(
        st.sampled_from(["batch", "life", "remove", "prune", "balance", "contract", "entry"]),
        st.tuples(st.sampled_from(_KINDS), st.integers(1, 6)),
    ),
    max_size=25,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(before=_STEPS, steps=_STEPS)
@example(before=[], steps=[("fill", 1), "batch", ("position", 3)])
@example(before=[("position", 1)], steps=[("fill", 1), "batch", ("position", 3), ("fill", 1)])
@example(before=[("fill", 2)], steps=["contract", ("fill", 3), "batch", ("covered", 1), "batch", ("closed", 4)])
async def test_start_is_given_what_it_would_be_once_everything_was_drained(
    dsn: str, bare: asyncpg.Connection, tmp_path: Path, before: list[Step], steps: list[Step]
) -> None:
    """Whatever was stored before, by however many lives and batches, and whatever was known when each of them was folded."""
    await bare.execute(f"TRUNCATE {_TABLES}")
    folder = tmp_path / str(next(_numbers))
    stored = _checkpoint(dsn, "stored", folder)
    assert await stored.load() is not None
    stored = await _go(stored, before, folder, dsn)
    assert await stored.drain(10)
    absent = await _absent(folder, "away")
    absent = await _go(absent, steps, folder, "")
    await absent._try_flush()
    await _end(absent)
    early = await _load(dsn, "early", folder, whole=False)
    late = await _load(dsn, "late", folder, whole=True)
    assert _comparable(early) == _comparable(late)


async def _absent(folder: Path, epoch: str) -> Checkpoint:
    made = _checkpoint("postgresql:///none?host=/nowhere", epoch, folder)
    assert await made.load() is None
    return made


async def _go(checkpoint: Checkpoint, steps: list[Step], folder: Path, dsn: str) -> Checkpoint:
    checkpoint.put_account(StoredAccount(name="main", venue="okx", env="live"))
    for seq, step in enumerate(steps, 1):
        match step:
            case "batch":
                assert await checkpoint._try_flush()
            case "life" if not dsn:
                await _end(checkpoint)
                checkpoint = await _absent(folder, f"away-{next(_numbers)}")
                checkpoint.put_account(StoredAccount(name="main", venue="okx", env="live"))
            case "remove":
                checkpoint.remove_position(position().id, seq)
            case "prune":
                checkpoint.reconcile_rows([position("C2").id], ["main"])
            case "balance":
                checkpoint.put_balance(balance())
            case "contract":
                checkpoint.put_instrument(instrument())
            case "entry":
                checkpoint.put_entry(_entry(seq))
            case ("position", number):
                symbol = "BTC-USDT-SWAP" if number % 2 else "C2"
                moment = _AT + 1_000 * number
                opened = moment if number > 3 else None
                checkpoint.put_position(position(symbol, size=f"{number}.50", opened_at=opened, venue_at=moment), seq)
            case ("fill", number):
                checkpoint.put_fill(_fill(number))
            case ("again", number):
                checkpoint.put_fill(_fill(number, "-0.5"))
            case ("funding", number):
                checkpoint.put_funding(_payment(number))
            case ("closed", number):
                checkpoint.put_closed(_closed(number))
            case ("pnl", number):
                checkpoint.put_pnl(_pnl(number))
            case ("covered", number):
                checkpoint.put_covered(Covered(id="main", account="main", since=_AT + 1_000 * number, at=_AT + seq))
    return checkpoint


def _comparable(restored: Restored) -> dict[str, object]:
    found = msgspec.structs.asdict(restored)
    return found | {"cycles": [msgspec.json.decode(msgspec.json.encode(one)) for one in restored.cycles]}
