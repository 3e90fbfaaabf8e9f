"""The last state of everything, written behind: what a restarted gateway shows before the venues have spoken again.

Owns when to write, and what to do when that fails. Putting is synchronous and never fails or waits: the stream to clients
goes on whatever the database does. What changed waits in a ``Mirror`` (one entry a row) and is written about once a second,
in one transaction with the checkpoint row; when the database is away it keeps waiting, and is tried again.

A gateway does this, in this order: ``load`` → ``put_…`` while ``run`` runs as a task → ``drain``.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Callable, Iterable
from typing import Literal

import asyncpg
import msgspec

from exchanges.backoff import Backoff
from exchanges.events import (
    AccountMode,
    BalanceState,
    CollateralTiers,
    Fill,
    FundingPayment,
    Instrument,
    MarginTiers,
    PositionState,
    Transfer,
)
from gateway.core.alerts.records import AlertRecord, EquitySample, Silence
from gateway.core.records import ClosedCycle, Correction, Covered
from gateway.storage import restore, tables
from gateway.storage.errors import PostgresAway, PostgresRefused, StorageError
from gateway.storage.migrate import migrate
from gateway.storage.mirror import Batch, Mirror, Record, StoredAccount
from gateway.storage.postgres import Connection, Database, Writer
from gateway.storage.restore import Restored
from gateway.storage.tables import LastCheckpoint, RefusedRow

_log = logging.getLogger(__name__)

_RETRY = Backoff(base_s=0.2, cap_s=10.0)
_REFUSED_SHOWN = 20

State = Literal["starting", "ok", "away", "refused"]
Written = tuple[str, int]  # epoch and revision: the name of one write


class CheckpointStatus(msgspec.Struct, frozen=True, kw_only=True):
    """For /readyz and metrics.

    Attributes:
        state: ``starting`` (nothing tried yet), ``ok``, ``away`` (tried again by itself), ``refused`` (the operator has
            to act: another writer, a wrong password, a newer schema; tried again as well).
        since_at: When this state began, ms.
        reason: Why it is not ``ok``: what, where, what to do.
        waiting: Rows that are not written yet, those under way among them.
        writes: Transactions written in this life.
        written_at: When the last one was, ms.
        write_ms: How long the last one took.
        rows_refused: Rows that the database cannot hold, with ``rows_refused_last`` the newest of them.
        rewrites: How often everything was written anew, because the database was not the one that we wrote into.
        records_lost: Append-only records that were given up because the database was away for too long.
    """

    state: State
    since_at: int
    reason: str | None = None
    waiting: int = 0
    writes: int = 0
    written_at: int | None = None
    write_ms: float | None = None
    rows_refused: int = 0
    rows_refused_last: tuple[RefusedRow, ...] = ()
    rewrites: int = 0
    records_lost: int = 0


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000


class Checkpoint:
    """The write-behind of one gateway; the engine's sink."""

    def __init__(
        self,
        database: Database,
        epoch: str,
        *,
        flush_interval_s: float = 1.0,
        now_ms: Callable[[], int] = _wall_ms,
        jitter: Callable[[], float] = random.random,
        on_refused: Callable[[StorageError], None] | None = None,
    ) -> None:
        """Args:
        epoch: The name of this life of the gateway.
        flush_interval_s: How long changes are collected before they are written together.
        now_ms: Wall-clock time, ms.
        jitter: Uniform random in [0, 1), for the delays between attempts.
        on_refused: Called once whenever the state becomes ``refused``, for example because another gateway took the
            writer lock while our connection was lost. Must not raise.
        """
        self._database, self._epoch, self._interval_s = database, epoch, flush_interval_s
        self._now_ms, self._jitter, self._on_refused = now_ms, jitter, on_refused
        self._mirror = Mirror()
        self._writer = Writer(database, on_lost=self._lost)
        self._loaded = False
        self._complete: set[str] = set()  # accounts of which the mirror holds every position
        self._revision = 0
        self._expected: set[Written | None] | None = None  # what the checkpoint row may say; None: anything
        self._status = CheckpointStatus(state="starting", since_at=now_ms())
        self._due = asyncio.Event()  # something is to be done: rows, or a connection to be made
        self._due.set()
        self._hurry = asyncio.Event()  # do not wait for the interval or the back-off
        self._busy = asyncio.Lock()  # one user of the writer's connection
        self._under_way = 0  # rows of the write in progress
        self._waiters: list[asyncio.Future[bool]] = []  # who waits for the next write to end
        self._closing = False

    @property
    def status(self) -> CheckpointStatus:
        return msgspec.structs.replace(
            self._status, waiting=len(self._mirror.dirty) + self._under_way, records_lost=self._mirror.given_up
        )

    # --- What changes: synchronous, never failing -----------------------------------------------------------------------

    def put_account(self, account: StoredAccount) -> None:
        self._mirror.put_account(account, self._now_ms())
        if self._loaded:
            self._complete.add(account.name)
        self._due.set()

    def put_mode(self, mode: AccountMode) -> None:
        self._mirror.put_mode(mode)
        self._due.set()

    def put_instrument(self, instrument: Instrument) -> None:
        self._mirror.put_instrument(instrument, self._now_ms())
        self._due.set()

    def put_tiers(self, tiers: MarginTiers) -> None:
        self._mirror.put_tiers(tiers)
        self._due.set()

    def put_collateral(self, tiers: CollateralTiers) -> None:
        self._mirror.put_collateral(tiers, self._now_ms())
        self._due.set()

    def put_balance(self, balance: BalanceState) -> None:
        """Keep a balance; a partial one (not ``full``) is laid over what is known of its account and scope."""
        self._mirror.put_balance(balance, self._now_ms())
        self._due.set()

    def put_position(self, state: PositionState, seq: int) -> None:
        """Keep a position's newest state; one of size zero is removed. ``seq``: the change set that it belongs to."""
        self._mirror.put_position(state, seq, self._now_ms())
        self._due.set()

    def remove_position(self, row_id: str, seq: int) -> None:
        self._mirror.remove_position(row_id, seq)
        self._due.set()

    def put_fill(self, fill: Fill) -> None:
        self._put_record("fills", fill)

    def put_funding(self, payment: FundingPayment) -> None:
        self._put_record("funding", payment)

    def put_transfer(self, transfer: Transfer) -> None:
        self._put_record("transfers", transfer)

    def put_closed(self, cycle: ClosedCycle) -> None:
        self._put_record("closed_cycles", cycle)

    def put_covered(self, covered: Covered) -> None:
        self._put_record("coverage", covered)

    def put_correction(self, correction: Correction) -> None:
        self._put_record("reconciliations", correction)

    def put_alert(self, alert: AlertRecord) -> None:
        self._mirror.put_alert(alert)
        self._due.set()

    def put_silence(self, silence: Silence) -> None:
        self._mirror.put_silence(silence, self._now_ms())
        self._due.set()

    def put_equity(self, sample: EquitySample) -> None:
        self._put_record("equity_samples", sample)

    def _put_record(self, kind: str, record: Record) -> None:
        self._mirror.put_record(kind, record)
        self._due.set()

    def reconcile_rows(self, live_ids: Iterable[str], accounts: Iterable[str]) -> None:
        """Delete the stored positions of ``accounts`` that are not in ``live_ids``.

        To be called once all of those accounts are live, when ``load`` had found no database: rows of an earlier life may
        lie there. Every live position must have been put before.
        """
        named = set(accounts)
        self._mirror.prune(live_ids, named)
        self._complete |= named
        self._due.set()

    # --- The database ---------------------------------------------------------------------------------------------------

    async def load(self) -> Restored | None:
        """Take the writer lock, bring the schema up to date and return what was stored; None: the database is away.

        Raises:
            WriterLockHeld | ServerTooOld | MigrationError | PostgresRefused | BadDsn: A start should not go on.
        """
        async with self._busy:
            try:
                connection = await self._session()
                with self._database.failures():
                    restored = await restore.read(connection, self._mirror, self._now_ms())
            except PostgresAway as error:
                self._writer.drop()
                self._set_status("away", str(error))
                return None
            except asyncpg.PostgresError as error:  # applied migrations, and yet other tables than theirs
                self._writer.drop()
                do = "Restore the tables, or use an empty database"
                raise PostgresRefused(self._database.where, f"the stored state cannot be read: {error}", do) from error
        self._loaded = True
        self._complete |= {row.state.account for row in self._mirror.positions.values()} | self._mirror.accounts.keys()
        self._set_status("ok")
        return restored

    async def run(self) -> None:
        """Write what changed, about once an interval, until ``drain``. Never raises because of the database."""
        attempt = 0
        while True:
            await self._due.wait()
            await self._pause(_RETRY.delay_s(attempt - 1, self._jitter()) if attempt else self._interval_s)
            if self._closing:
                return
            self._due.clear()
            if await self._try_flush():
                attempt = 0
            else:
                attempt += 1
                self._due.set()

    async def written(self, patience_s: float) -> bool:
        """Write all that was put so far, now; return whether that was done, at once where the database is known to be away.

        What waits for the interval is written along: whoever has to know that something is stored before going on asks here.
        """
        if not self._mirror.dirty and not self._under_way:
            return True
        if self._status.state != "ok":
            return False
        waiter: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        self.retry_now()
        try:
            async with asyncio.timeout(patience_s):
                return await waiter
        except TimeoutError:
            return False

    def retry_now(self) -> None:
        """Try again at once: the server is known to be back."""
        self._due.set()
        self._hurry.set()

    async def drain(self, timeout_s: float) -> bool:
        """Write the rest, mark the stop as orderly and give the writer lock back. ``run`` ends by itself.

        Returns:
            True when everything is written; False when ``timeout_s`` passed first (``status`` has reason and count).
        """
        self._closing = True
        self.retry_now()
        try:
            async with asyncio.timeout(timeout_s):
                attempt = 0
                while not await self._try_flush(clean=True):
                    await asyncio.sleep(_RETRY.delay_s(attempt, self._jitter()))
                    attempt += 1
            return True
        except TimeoutError:
            _log.error("checkpoint: %d rows were not written: %s", len(self._mirror.dirty), self._status.reason)
            return False
        finally:
            await self._writer.close()

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._hurry.wait(), seconds)
        self._hurry.clear()

    async def _try_flush(self, *, clean: bool = False) -> bool:
        done, waiters = False, list[asyncio.Future[bool]]()
        try:
            async with self._busy:
                waiters, self._waiters = self._waiters, waiters
                await self._flush(clean=clean)
            done = True
        except PostgresAway as error:
            self._set_status("away", str(error))
        except StorageError as error:
            if self._set_status("refused", str(error)) and self._on_refused is not None:
                self._on_refused(error)
        except asyncpg.PostgresError as error:  # the schema is not what we made: the next session looks at it again
            self._set_status("away", f"{self._database.where}: {error}")
        else:
            self._set_status("ok")
        finally:
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(done)
        return done

    async def _flush(self, *, clean: bool) -> None:
        connection = await self._session()
        if not self._mirror.dirty and not clean:
            return
        batch, taken = self._mirror.take()
        self._under_way = len(taken)
        now = self._now_ms()
        checkpoint = LastCheckpoint(self._epoch, self._mirror.seq, self._revision + 1, now, clean)
        # Should the connection break during the commit, nobody can tell whether it happened: both are right afterwards.
        self._expected = {*(self._expected or ()), (checkpoint.epoch, checkpoint.revision)}
        started = time.perf_counter()
        try:
            with self._database.failures():
                refused = await self._write(connection, batch, checkpoint)
        except BaseException:  # also cancelled: what was taken is not written
            self._mirror.give_back(taken)
            self._writer.drop()
            raise
        finally:
            self._under_way = 0
        self._revision += 1
        self._expected = {(self._epoch, self._revision)}
        self._note_write(now, (time.perf_counter() - started) * 1000, refused)

    async def _write(self, connection: Connection, batch: Batch, checkpoint: LastCheckpoint) -> list[RefusedRow]:
        for row_by_row in (False, True):
            try:
                async with connection.transaction():
                    refused = await tables.write(connection, batch, row_by_row=row_by_row)
                    await tables.write_checkpoint(connection, checkpoint)
                    return refused
            except tables.ROW_FAULTS:
                if row_by_row:
                    raise
        raise AssertionError("unreachable")

    async def _session(self) -> Connection:
        """Return the connection that holds the lock; on a new one the schema and the last write are looked at first."""
        connection, new = await self._writer.session()
        if not new:
            return connection
        try:
            with self._database.failures():
                if applied := await migrate(connection, self._database.where):
                    _log.info("checkpoint: migrated by %s", ", ".join(applied))
                last = await tables.read_checkpoint(connection)
        except BaseException:  # also cancelled: the next session must look again
            self._writer.drop()
            raise
        found = (last.epoch, last.revision) if last else None
        if self._expected is not None and found not in self._expected:
            self._rewrite(found)
        self._expected = {found}
        return connection

    def _rewrite(self, found: Written | None) -> None:
        """Another gateway wrote meanwhile, a standby without our last writes took over, or the database was made anew."""
        _log.warning("checkpoint: the database holds write %s instead of ours: writing everything", found)
        self._mirror.everything(self._complete)
        self._status = msgspec.structs.replace(self._status, rewrites=self._status.rewrites + 1)

    def _lost(self) -> None:
        self._set_status("away", f"{self._database.where}: the server closed the writer's connection")
        self._due.set()

    def _note_write(self, at: int, took_ms: float, refused: list[RefusedRow]) -> None:
        for row in refused:
            _log.error("checkpoint: %s %s cannot be stored: %s", row.table, row.key, row.reason)
        status = self._status
        self._status = msgspec.structs.replace(
            status,
            writes=status.writes + 1,
            written_at=at,
            write_ms=took_ms,
            rows_refused=status.rows_refused + len(refused),
            rows_refused_last=(*status.rows_refused_last, *refused)[-_REFUSED_SHOWN:],
        )

    def _set_status(self, state: State, reason: str | None = None) -> bool:
        """Note a state; return whether it is another one than before."""
        if state == self._status.state:
            self._status = msgspec.structs.replace(self._status, reason=reason)
            return False
        _log.log(logging.INFO if state == "ok" else logging.WARNING, "checkpoint: %s %s", state, reason or "")
        self._status = msgspec.structs.replace(self._status, state=state, since_at=self._now_ms(), reason=reason)
        return True
