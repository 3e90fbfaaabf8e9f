"""The last state of everything, its records and the journal, written behind: what a restarted gateway shows before the venues
have spoken again, and what everybody asks for later.

Owns when to write, and where to. Putting is synchronous and never fails or waits: the stream to clients goes on whatever the
database does. What changed waits in a ``Mirror`` and is taken about once a second as one ``Batch``, which is written

- *directly* into Postgres, in one transaction with the checkpoint row, as long as that goes well;
- else into the ``Spool``, the very same batch under the same name, and all that follow behind it, while ``Outlet.drain`` brings
  them into Postgres in their order. Once the spool is empty, batches are written directly again.

Without a spool, or where it can take nothing, what was taken goes back to the mirror: state rows and records wait there (one entry
a row), and of the journal as much as its queue holds; what is given up is counted, and said in the journal itself. A batch counts
as durable when Postgres or the spool has it: both survive a kill of every process.

A gateway does this, in this order: ``load`` → ``put_…`` while ``run`` runs as a task → ``drain``.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Awaitable, Callable, Iterable

import asyncpg
import msgspec

from exchanges.backoff import Backoff
from exchanges.events import (
    AccountMode,
    BalanceState,
    ClosedPnl,
    CollateralTiers,
    Fill,
    FundingPayment,
    Instrument,
    MarginTiers,
    PositionState,
    Transfer,
)
from gateway.core.alerts.records import AlertRecord, EquitySample, Silence
from gateway.core.journal import Entry, Lost, MarkSample, Places, together
from gateway.core.records import Backfill, ClosedCycle, Correction, Covered, Verification
from gateway.storage import payloads, restore
from gateway.storage.batch import Batch, EntryRow, Record, Written
from gateway.storage.beside import beside
from gateway.storage.dirty import Dirty
from gateway.storage.errors import PostgresAway, PostgresRefused, SpoolFull, StorageError
from gateway.storage.mirror import Mirror, Origin, StoredAccount
from gateway.storage.outlet import Outlet
from gateway.storage.postgres import Database
from gateway.storage.queue import Queue
from gateway.storage.restore import Restored
from gateway.storage.spool import Spool
from gateway.storage.status import TROUBLE, CheckpointStatus, Standing

_log = logging.getLogger(__name__)

_RETRY = Backoff(base_s=0.2, cap_s=10.0)
# A database that takes longer for one batch is not waited for any more: the batch goes to the spool, and from there patiently.
_DIRECT_S = 3.0


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000


def _nothing(_what: object) -> None:
    return None


class Checkpoint:
    """The write-behind of one gateway; the engine's sink."""

    def __init__(
        self,
        database: Database,
        epoch: str,
        *,
        spool: Spool | None = None,
        flush_interval_s: float = 1.0,
        direct_s: float = _DIRECT_S,
        now_ms: Callable[[], int] = _wall_ms,
        jitter: Callable[[], float] = random.random,
        queue: Callable[[], Queue] = Queue,
        on_refused: Callable[[StorageError], None] = _nothing,
    ) -> None:
        """Args:
        epoch: The name of this life of the gateway.
        spool: Where batches go while the database is away; not opened yet.
        flush_interval_s: How long changes are collected before they are written together.
        direct_s: How long a batch may take before it is spooled, where there is a spool.
        now_ms: Wall-clock time, ms.
        jitter: Uniform random in [0, 1), for the delays between attempts.
        queue: Makes the bounded queue of what waits for the journal.
        on_refused: Called once whenever the state becomes ``refused``, for example because another gateway took the
            writer lock while our connection was lost. Must not raise.
        """
        self._database, self._epoch, self._interval_s = database, epoch, flush_interval_s
        self._now_ms, self._jitter, self._spool = now_ms, jitter, spool
        self.origin: Origin | None = None
        self.on_lost: Callable[[Lost], None] = _nothing
        self.on_durable: Callable[[int], None] = _nothing
        self._mirror = Mirror(self._origin_of, queue)
        self._standing = Standing(database.where, now_ms, on_refused)
        self._outlet = Outlet(
            database,
            epoch,
            spool,
            self._standing,
            patience_s=direct_s,
            now_ms=now_ms,
            on_change=self._on_change,
            on_other=self._rewrite,
            on_stored=self.places.reach,
            on_gap=self._on_gap,
        )
        self._loaded = False
        self._started = True
        self._complete: set[str] = set()  # accounts of which the mirror holds every position
        self._revision = 0
        self._due = asyncio.Event()  # something is to be done: rows, or a connection to be made
        self._due.set()
        self._hurry = asyncio.Event()  # do not wait for the interval or the back-off
        self._retry = asyncio.Event()  # do not wait for the back-off of draining
        self._draining: asyncio.Task[None] | None = None
        self._under_way = 0  # rows of the batch that is neither in the mirror nor durable
        self._waiters: list[asyncio.Future[bool]] = []  # who waits for the next batch to be durable
        self._closing = False

    @property
    def status(self) -> CheckpointStatus:
        figures = self._spool.figures if self._spool is not None else None
        queue = self._mirror.dirty.queue
        return msgspec.structs.replace(
            self._standing.now,
            waiting=len(self._mirror.dirty) + self._under_way,
            records_lost=self._mirror.given_up,
            journal_lost=queue.given_up,
            losing=queue.lost is not None,
            spool_batches=figures.batches if figures is not None else 0,
            spool_bytes=figures.bytes if figures is not None else 0,
            spool_error=self._spool.error if self._spool is not None else None,
            spool_set_aside=len(self._spool.set_aside) if self._spool is not None else 0,
            underived=self._outlet.underived,
            unfolded=dict(self._outlet.unfolded),
        )

    @property
    def places(self) -> Places:
        """Gives out the places of whatever is kept: behind all that are known, of this life and of those before. A life that begins
        without the database goes by the clock until it knows them."""
        return self._mirror.places

    def _origin_of(self, kind: str, record_id: str, account: str | None) -> int | None:
        return self.origin(kind, record_id, account) if self.origin is not None else None

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
        self._mirror.remove_position(row_id, seq, self._now_ms())
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

    def put_pnl(self, record: ClosedPnl) -> None:
        self._put_record("pnl_records", record)

    def put_verification(self, verification: Verification) -> None:
        self._put_record("verifications", verification)

    def put_backfill(self, backfill: Backfill) -> None:
        self._put_record("backfills", backfill)

    def put_entry(self, entry: Entry) -> None:
        """Keep an entry of the journal; its place is behind all that were put."""
        self._mirror.put_entry(entry)
        self._due.set()

    def put_sample(self, sample: MarkSample) -> None:
        """Keep a price of the journal; its place is behind all that were put."""
        self._mirror.put_sample(sample)
        self._due.set()

    def _put_record(self, kind: str, record: Record) -> None:
        self._mirror.put_record(kind, record)
        self._due.set()

    def reconcile_rows(self, live_ids: Iterable[str], accounts: Iterable[str]) -> None:
        """Delete the stored positions of ``accounts`` that are not in ``live_ids``.

        To be called once all of those accounts are live, when ``load`` had found no database: rows of an earlier life may
        lie there. Every live position must have been put before.
        """
        named = set(accounts)
        self._mirror.prune(live_ids, named, self._now_ms())
        self._complete |= named
        self._due.set()

    # --- The database and the spool -------------------------------------------------------------------------------------

    async def load(self, *, whole: bool = False) -> Restored | None:
        """Take the writer lock, bring the schema up to date, and return what is stored, in the database and in the spool; None:
        the database is away.

        What lies in the spool is written while ``run`` runs; ``whole``: before this returns, for whoever keeps nobody waiting.

        Raises:
            WriterLockHeld | SpoolInUse | ServerTooOld | MigrationError | PostgresRefused | BadDsn | DictionaryChanged: A start
                should not go on.
        """
        self._started = False  # until it is known that this life may write
        payloads.known()
        await self._outlet.open()
        if self._spool is not None:
            self.places.reach(self._spool.figures.journal)
        try:
            if whole:
                await self._outlet.drain()
            restored = await self._outlet.read(
                lambda connection: restore.read(connection, self._mirror, self._now_ms())
            )
        except (PostgresAway, SpoolFull) as error:  # what lies in the spool comes first, when it can be read
            self._outlet.drop()
            self._standing.note(error)
            self._started = True
            return None
        except asyncpg.PostgresError as error:  # applied migrations, and yet other tables than theirs
            self._outlet.drop()
            do = "Restore the tables, or use an empty database"
            raise PostgresRefused(self._database.where, f"the stored state cannot be read: {error}", do) from error
        self._started = self._loaded = True
        self._complete |= {row.state.account for row in self._mirror.positions.values()} | self._mirror.accounts.keys()
        self._standing.set("ok")
        return restored

    async def run(self) -> None:
        """Write what changed, about once an interval, until ``drain``. Never raises because of the database."""
        if self._spool is None:
            await self._write_on()
            return
        async with beside(self._drain_on(), "spool") as self._draining:
            await self._write_on()

    async def _stop_draining(self) -> None:
        draining, self._draining = self._draining, None
        if draining is not None:
            draining.cancel()
            await asyncio.wait((draining,))  # an error of it is raised by ``run``

    async def _write_on(self) -> None:
        attempt = 0
        while True:
            await self._due.wait()
            await self._pause(self._hurry, _RETRY.delay_s(attempt - 1, self._jitter()) if attempt else self._interval_s)
            if self._closing:
                return
            self._due.clear()
            if await self._try_flush():
                attempt = 0
            else:
                attempt += 1
                self._due.set()

    async def _drain_on(self) -> None:
        """Bring the spool into the database whenever something lies in it."""
        attempt = 0
        while True:
            await self._outlet.spooled.wait()
            if attempt:
                await self._pause(self._retry, _RETRY.delay_s(attempt - 1, self._jitter()))
            attempt = 0 if await self._try(self._outlet.drain) else attempt + 1

    async def written(self, patience_s: float) -> bool:
        """Make all that was put so far durable, now; return whether that was done, at once where it is known that it cannot be.

        What waits for the interval is written along: whoever has to know that something is stored before going on asks here.
        """
        if not self._mirror.dirty and not self._under_way:
            return True
        if self._standing.now.state != "ok" and self._spool is None:
            return False
        waiter: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        self._due.set()
        self._hurry.set()
        try:
            async with asyncio.timeout(patience_s):
                return await waiter
        except TimeoutError:
            return False

    def retry_now(self) -> None:
        """Try again at once: the server is known to be back."""
        self._due.set()
        self._hurry.set()
        self._retry.set()

    async def drain(self, timeout_s: float) -> bool:
        """Make the rest durable, mark the stop as orderly and give the writer lock back. ``run`` ends by itself.

        Returns:
            True when everything is durable; False when ``timeout_s`` passed first (``status`` has reason and count).
        """
        self._closing = True
        self._outlet.patience_s = min(self._outlet.patience_s, timeout_s / 2)
        self.retry_now()
        await self._stop_draining()
        if not self._started:  # the start was refused: what was put is nobody's word
            await self._outlet.close()
            return not self.status.waiting
        durable = False
        try:
            async with asyncio.timeout(timeout_s):
                attempt = 0
                while not await self._try_flush(clean=True):
                    await asyncio.sleep(_RETRY.delay_s(attempt, self._jitter()))
                    attempt += 1
                    if not self._outlet.direct:
                        await self._try(self._outlet.drain)
                durable = True
                if not self._outlet.direct:  # a start that finds an empty spool is a quick one
                    await self._try(self._outlet.drain)
        except TimeoutError:
            if not durable:
                _log.error("checkpoint: %d rows were not written: %s", self.status.waiting, self._standing.now.reason)
        finally:
            self._started = False
            await self._outlet.close()
        return durable

    @staticmethod
    async def _pause(until: asyncio.Event, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):  # wait_for would forget a cancellation that comes with the event
                await until.wait()
        until.clear()

    async def _try_flush(self, *, clean: bool = False) -> bool:
        done, waiters = False, list[asyncio.Future[bool]]()

        async def flush() -> None:
            nonlocal waiters
            async with self._outlet.order:
                waiters, self._waiters = self._waiters, waiters
                await self._flush(clean=clean)

        try:
            done = await self._try(flush)
        finally:
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(done)
        return done

    async def _try(self, work: Callable[[], Awaitable[None]]) -> bool:
        """Do something with the database; return whether that went well, which the status says too."""
        try:
            await work()
        except TROUBLE as error:
            self._standing.note(error)
            return False
        return True

    async def _flush(self, *, clean: bool) -> None:
        """Make durable what waits. Raises where it is neither in the database nor in the spool: it waits on."""
        await self._outlet.connect()
        if not self._mirror.dirty and not clean:
            return
        await self._outlet.ready(self._mirror.dirty.least_bytes)
        batch, taken = self._take(clean)
        rows: list[EntryRow] | None = None
        try:
            rows = await payloads.rows_beside(taken.queue.entries())
            await self._outlet.write(msgspec.structs.replace(batch, entries=rows))
        except BaseException:  # also cancelled: what was taken is durable nowhere, as far as anybody can tell
            if rows is not None:
                taken.queue.ready(rows)
            self._mirror.give_back(taken)
            raise
        finally:
            self._under_way = 0
        self._standing.change(durable_seq=max(self._standing.now.durable_seq, batch.seq))
        self.on_durable(self._standing.now.durable_seq)
        if taken.queue.lost is not None:
            self.on_lost(taken.queue.lost)
        await self._outlet.look_at_spool()

    def _take(self, clean: bool) -> tuple[Batch, Dirty]:
        batch, taken = self._mirror.take()
        self._under_way = len(taken)
        self._revision += 1  # a name of its own, whatever becomes of it
        name = {"epoch": self._epoch, "revision": self._revision}
        return msgspec.structs.replace(batch, **name, at=self._now_ms(), clean=clean), taken

    def _on_change(self) -> None:
        self._due.set()

    def _on_gap(self, gap: Lost) -> None:
        """What lay in the spool is lost: state rows are written again, and the journal says that it has a gap."""
        queue = self._mirror.dirty.queue
        queue.lost = together(gap, queue.lost)
        self._mirror.everything(self._complete)
        self._due.set()

    def _rewrite(self, found: Written | None) -> None:
        """Another gateway wrote meanwhile, a standby without our last writes took over, or the database was made anew."""
        _log.warning("checkpoint: the database holds batch %s instead of ours: writing everything", found)
        self._mirror.everything(self._complete)
        self._standing.change(rewrites=self._standing.now.rewrites + 1)
        self._due.set()
