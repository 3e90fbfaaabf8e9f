"""What cannot be folded holds up its own account and symbol alone: the others go on, and it is worked out anew later."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator

import asyncpg
import msgspec
import pytest

from exchanges.events import Fill, Instrument
from gateway.core.records import Backfill
from gateway.storage import chain_rows, history, tables
from gateway.storage.checkpoint import Checkpoint
from gateway.storage.mirror import StoredAccount
from gateway.storage.postgres import Database
from tests.gateway.core.chain_worlds import SYMBOL, T0, fill
from tests.gateway.storage.conftest import eventually
from tests.gateway.storage.states import instrument

HOUR = 3_600_000
GOOD, BAD = "good", "bad"
# Without a price an inverse contract's value cannot be had.
INVERSE: Instrument = msgspec.structs.replace(
    instrument(SYMBOL), contract_type="inverse", contract_size="100", settle="BTC"
)


class Life:
    """One life of a gateway's storage, by a clock of ours."""

    def __init__(self, dsn: str, name: str, at: int) -> None:
        self.at = at
        self.database = Database(dsn)
        self.checkpoint = Checkpoint(self.database, name, now_ms=lambda: self.at, flush_interval_s=60.0)

    async def __aenter__(self) -> Life:
        assert await self.checkpoint.load() is not None
        self._task = asyncio.create_task(self.checkpoint.run())
        for name in (GOOD, BAD):
            self.checkpoint.put_account(StoredAccount(name=name, venue="okx", env="live"))
        self.checkpoint.put_instrument(INVERSE)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.checkpoint.drain(5.0)
        await self._task
        await self.database.close()

    async def write(self, *fills: Fill) -> None:
        for one in fills:
            self.checkpoint.put_fill(one)
        assert await self.checkpoint.written(5.0)


@pytest.fixture
async def db(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection to a database without any row of ours."""
    connection = await asyncpg.connect(dsn)
    names = [*tables.RECORDS, "position_history", "open_cycles", "accounts", "contracts", "checkpoint"]
    await connection.execute(f"TRUNCATE {', '.join(names)}")
    yield connection
    await connection.close()


def of(account: str, number: int, size: int, at: int, price: str = "50000") -> Fill:
    one = fill(number, size, price, at, realized="0" if size > 0 else "1", fee_ccy="BTC")
    position = f"{account}:{SYMBOL}"
    return msgspec.structs.replace(one, account=account, id=f"{account}:{number}", position=position)


async def cycles(db: asyncpg.Connection, account: str) -> int:
    return int(await db.fetchval("SELECT count(*) FROM position_history WHERE account = $1", account))


async def test_what_cannot_be_folded_holds_up_nobody_else(
    dsn: str, db: asyncpg.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    async with Life(dsn, "one", T0) as life:
        await life.write(of(BAD, 1, 1, T0), of(GOOD, 1, 1, T0))
        await life.write(of(BAD, 2, -1, T0 + 1, price="0"), of(GOOD, 2, -1, T0 + 1))
        assert (await cycles(db, GOOD), await cycles(db, BAD)) == (1, 0)
        for number in range(3, 43):
            life.at += 10_000
            await life.write(of(GOOD, number, 1 if number % 2 else -1, life.at), of(BAD, number, 1, life.at))
        assert await cycles(db, GOOD) == 21
        status = life.checkpoint.status
        # Tried anew with a growing pause: a few times in these minutes, not with every batch.
        assert 2 <= status.underived <= 5
        assert status.writes == 42
        assert list(status.unfolded) == [f"{BAD}:{SYMBOL}"]
    said = [one for one in caplog.records if "history" in one.getMessage()]
    assert len(said) == 1
    assert SYMBOL in said[0].getMessage()
    assert not [one for one in caplog.records if "row by row" in one.getMessage()]


@pytest.mark.parametrize("how", ["in time", "the end of a backfill", "the next start"])
async def test_what_could_not_be_folded_is_worked_out_anew(dsn: str, db: asyncpg.Connection, how: str) -> None:
    async with Life(dsn, "one", T0) as life:
        await life.write(of(BAD, 1, 1, T0))
        await life.write(of(BAD, 2, -1, T0 + 1, price="0"))
        await life.write(of(BAD, 3, 1, T0 + 2), of(BAD, 4, -1, T0 + 3))
        await db.execute("UPDATE fills SET state = jsonb_set(state, '{price}', '\"50000\"') WHERE account = $1", BAD)
        life.at += 1_000
        await life.write(of(GOOD, 1, 1, life.at))
        assert await cycles(db, BAD) == 0
        if how == "in time":
            life.at += HOUR
        elif how == "the end of a backfill":
            read = Backfill(id="b", account=BAD, at=life.at, since=T0, until=T0 + 9, done=T0 + 9)
            life.checkpoint.put_backfill(read)
        await life.write(of(GOOD, 2, -1, life.at + 1))
        if how != "the next start":
            assert (await cycles(db, BAD), life.checkpoint.status.unfolded) == (2, {})
    async with Life(dsn, "two", T0 + 2_000) as life:
        await life.write(of(GOOD, 3, 1, life.at))
        assert (await cycles(db, BAD), life.checkpoint.status.unfolded) == (2, {})
    row = await db.fetchrow("SELECT late, behind, error, failures FROM open_cycles WHERE account = $1", BAD)
    assert row is not None
    assert tuple(row) == (None, False, None, 0)


async def test_a_chain_that_cannot_be_read_is_worked_out_anew(dsn: str, db: asyncpg.Connection) -> None:
    async with Life(dsn, "one", T0) as life:
        await life.write(of(BAD, 1, 1, T0), of(GOOD, 1, 1, T0))
        await db.execute("UPDATE open_cycles SET state = '{\"account\": 7}' WHERE account = $1", BAD)
        await life.write(of(BAD, 2, -1, T0 + 1), of(GOOD, 2, -1, T0 + 1))
        assert (await cycles(db, GOOD), await cycles(db, BAD)) == (1, 0)
        life.at += HOUR
        await life.write(of(GOOD, 3, 1, life.at))
        assert await cycles(db, BAD) == 1


async def test_a_server_that_went_away_is_no_fault_of_a_history(
    dsn: str, db: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def gone(*_: object) -> None:
        raise asyncpg.AdminShutdownError("terminating connection")

    async with Life(dsn, "one", T0) as life:
        await life.write(of(GOOD, 1, 1, T0))
        with monkeypatch.context() as patched:
            patched.setattr(chain_rows, "put", gone)
            life.checkpoint.put_fill(of(GOOD, 2, -1, T0 + 1))
            assert not await life.checkpoint.written(0.5)
        life.checkpoint.retry_now()
        await eventually(lambda: not life.checkpoint.status.waiting, "written in the next session")
        assert (await cycles(db, GOOD), life.checkpoint.status.underived) == (1, 0)


def test_the_pause_grows() -> None:
    pauses = [history.pause_ms(failures) for failures in range(1, 40)]
    assert pauses == sorted(pauses)
    assert (pauses[0], pauses[-1]) == (60_000, 6 * HOUR)
