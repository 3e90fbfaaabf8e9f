"""The last state of everything, its records and the journal, written behind: what a restarted gateway shows before the venues
have spoken again, and what everybody asks for later.

Owns when to write, and where to. Putting is synchronous and never fails or waits: the stream to clients goes on whatever the
database does. What changed waits in a ``Mirror`` and is taken about once a second as one ``Batch``, which is written

- *directly* into Postgres, in one transaction with the checkpoint row, as long as that goes well;
- else into the ``Spool``, the very same batch under the same name, and all that follow behind it, while ``_drain_on`` brings them
  into Postgres in their order. Once the spool is empty, batches are written directly again.

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
from typing import Literal

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
from gateway.core.journal import Entry, MarkSample, place
from gateway.core.records import Backfill, ClosedCycle, Correction, Covered
from gateway.storage import restore
from gateway.storage.batch import Batch, Record, RefusedRow, Written, decode, encode
from gateway.storage.commit import Committer
from gateway.storage.errors import PostgresAway, PostgresRefused, SpoolFull, SpoolUnreadable, StorageError
from gateway.storage.mirror import Dirty, Mirror, Origin, StoredAccount
from gateway.storage.postgres import Database
from gateway.storage.queue import Lost, Queue, together
from gateway.storage.restore import Restored
from gateway.storage.spool import Spool, Spooled

_log = logging.getLogger(__name__)

_RETRY = Backoff(base_s=0.2, cap_s=10.0)
_REFUSED_SHOWN = 20
# A database that takes longer for one batch is not waited for any more: the batch goes to the spool, and from there patiently.
_DIRECT_S = 3.0

# What a database or a spool can do to us; everything else is a defect of ours.
_TROUBLE = (StorageError, asyncpg.PostgresError, TimeoutError)

State = Literal["starting", "ok", "away", "refused"]


class CheckpointStatus(msgspec.Struct, frozen=True, kw_only=True):
    """For /readyz and metrics.

    Attributes:
        state: ``starting`` (nothing tried yet), ``ok``, ``away`` (tried again by itself), ``refused`` (the operator has
            to act: another writer, a wrong password, a newer schema; tried again as well).
        since_at: When this state began, ms.
        reason: Why it is not ``ok``: what, where, what to do.
        waiting: Rows that are in memory alone, those under way among them.
        writes: Transactions written in this life.
        written_at: When the last one was, ms.
        write_ms: How long the last one took.
        rows_refused: Rows that the database cannot hold, with ``rows_refused_last`` the newest of them.
        rewrites: How often everything was written anew, because the database was not the one that we wrote into.
        records_lost: Append-only records that were given up because they could be written nowhere for too long.
        journal_lost: The same of the journal: entries and samples.
        losing: The journal has a gap now that was not written down yet.
        durable_seq: The change set up to which everything survives a kill of gateway and database.
        spool_batches, spool_bytes: What waits in the spool. ``spool_error``: why it cannot be used now.
        underived: Batches whose history could not be worked out.
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
    journal_lost: int = 0
    losing: bool = False
    durable_seq: int = 0
    spool_batches: int = 0
    spool_bytes: int = 0
    spool_error: str | None = None
    underived: int = 0


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
        self._database, self._epoch, self._interval_s, self._direct_s = database, epoch, flush_interval_s, direct_s
        self._now_ms, self._jitter, self._on_refused = now_ms, jitter, on_refused
        self._spool = spool
        self.origin: Origin | None = None
        self.on_lost: Callable[[Lost], None] = _nothing
        self.on_durable: Callable[[int], None] = _nothing
        self._mirror = Mirror(self._origin_of, queue)
        self._committer = Committer(database, on_lost=self._lost_connection, on_other=self._rewrite)
        self._loaded = False
        self._complete: set[str] = set()  # accounts of which the mirror holds every position
        self._revision = 0
        self._status = CheckpointStatus(state="starting", since_at=now_ms())
        self._due = asyncio.Event()  # something is to be done: rows, or a connection to be made
        self._due.set()
        self._hurry = asyncio.Event()  # do not wait for the interval or the back-off
        self._direct = True  # nothing lies in the spool: batches go straight into the database
        self._wrote = False  # ... as one did in this life
        self._spooled = asyncio.Event()  # not direct: the spool is to be drained
        self._retry = asyncio.Event()  # do not wait for the back-off of draining
        self._draining: asyncio.Task[None] | None = None
        self._stored = 0  # the last place of the journal that the database is known to have
        self._drained = 0  # place in the spool up to which batches are in the database
        self._order = asyncio.Lock()  # one batch after the other finds its way
        self._busy = asyncio.Lock()  # one user of the writer's connection
        self._under_way = 0  # rows of the batch that is neither in the mirror nor durable
        self._waiters: list[asyncio.Future[bool]] = []  # who waits for the next batch to be durable
        self._closing = False

    @property
    def status(self) -> CheckpointStatus:
        figures = self._spool.figures if self._spool is not None else None
        queue = self._mirror.dirty.queue
        return msgspec.structs.replace(
            self._status,
            waiting=len(self._mirror.dirty) + self._under_way,
            records_lost=self._mirror.given_up,
            journal_lost=queue.given_up,
            losing=queue.lost is not None,
            spool_batches=figures.batches if figures is not None else 0,
            spool_bytes=figures.bytes if figures is not None else 0,
            spool_error=self._spool.error if self._spool is not None else None,
            underived=self._committer.underived,
        )

    @property
    def last_place(self) -> int:
        """The last place of the journal that is known, of this life and of those before, after ``load``."""
        return max(self._mirror.journal, self._spool.figures.journal if self._spool is not None else 0)

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

    async def load(self) -> Restored | None:
        """Take the writer lock, bring the schema up to date, write what lies in the spool, and return what is stored then; None:
        the database is away (the spool stays as it is).

        Raises:
            WriterLockHeld | SpoolInUse | ServerTooOld | MigrationError | PostgresRefused | BadDsn: A start should not go on.
        """
        if self._spool is not None:
            await self._open_spool(self._spool)
        async with self._busy:
            try:
                await self._drain_spool()
                connection = await self._committer.session()
                with self._database.failures():
                    restored = await restore.read(connection, self._mirror, self._now_ms())
            except PostgresAway as error:
                self._committer.drop()
                self._set_status("away", str(error))
                return None
            except asyncpg.PostgresError as error:  # applied migrations, and yet other tables than theirs
                self._committer.drop()
                do = "Restore the tables, or use an empty database"
                raise PostgresRefused(self._database.where, f"the stored state cannot be read: {error}", do) from error
        if restored.checkpoint is not None:
            self._stored = restored.checkpoint.journal
            self._mirror.journal = max(self._mirror.journal, self._stored)
        self._loaded = True
        self._complete |= {row.state.account for row in self._mirror.positions.values()} | self._mirror.accounts.keys()
        self._set_status("ok")
        return restored

    async def _open_spool(self, spool: Spool) -> None:
        try:
            await spool.open()
        except SpoolUnreadable as error:
            self._lost_file(error)
        self._direct = not spool.figures.batches
        if not self._direct:
            _log.warning("checkpoint: %d batches of an earlier life lie in %s", spool.figures.batches, spool.file)
            self._spooled.set()

    async def run(self) -> None:
        """Write what changed, about once an interval, until ``drain``. Never raises because of the database."""
        if self._spool is not None:
            self._draining = asyncio.create_task(self._drain_on(), name="spool")
        try:
            await self._write_on()
        finally:
            await self._stop_draining()

    async def _stop_draining(self) -> None:
        draining, self._draining = self._draining, None
        if draining is not None:
            draining.cancel()
            await asyncio.wait((draining,))
            if not draining.cancelled():
                draining.result()

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
            await self._spooled.wait()
            if attempt:
                await self._pause(self._retry, _RETRY.delay_s(attempt - 1, self._jitter()))
            attempt = 0 if await self._try(self._drain_locked) else attempt + 1

    async def written(self, patience_s: float) -> bool:
        """Make all that was put so far durable, now; return whether that was done, at once where it is known that it cannot be.

        What waits for the interval is written along: whoever has to know that something is stored before going on asks here.
        """
        if not self._mirror.dirty and not self._under_way:
            return True
        if self._status.state != "ok" and self._spool is None:
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
        self.retry_now()
        await self._stop_draining()  # what lies in the spool is as durable there
        try:
            async with asyncio.timeout(timeout_s):
                attempt = 0
                while not await self._try_flush(clean=True):
                    if not self._direct:
                        await self._try(self._drain_locked)
                    await asyncio.sleep(_RETRY.delay_s(attempt, self._jitter()))
                    attempt += 1
            return True
        except TimeoutError:
            _log.error("checkpoint: %d rows were not written: %s", len(self._mirror.dirty), self._status.reason)
            return False
        finally:
            await self._committer.close()
            if self._spool is not None:
                await self._spool.close()

    @staticmethod
    async def _pause(until: asyncio.Event, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(until.wait(), seconds)
        until.clear()

    async def _try_flush(self, *, clean: bool = False) -> bool:
        done, waiters = False, list[asyncio.Future[bool]]()

        async def flush() -> None:
            nonlocal waiters
            async with self._order:
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
        except _TROUBLE as error:
            self._note(error)
            return False
        return True

    async def _flush(self, *, clean: bool) -> None:
        """Make durable what waits. Raises where it is neither in the database nor in the spool: it waits on."""
        if self._direct:
            await self._connected()
        if not self._mirror.dirty and not clean:
            return
        batch, taken = self._take(clean)
        try:
            if not (self._direct and await self._directly(batch)):
                await self._append(batch)
        except BaseException:  # also cancelled: what was taken is durable nowhere, as far as anybody can tell
            self._mirror.give_back(taken)
            raise
        finally:
            self._under_way = 0
        self._status = msgspec.structs.replace(self._status, durable_seq=max(self._status.durable_seq, batch.seq))
        self.on_durable(self._status.durable_seq)
        if taken.queue.lost is not None:
            self.on_lost(taken.queue.lost)

    def _take(self, clean: bool) -> tuple[Batch, Dirty]:
        batch, taken = self._mirror.take()
        self._under_way = len(taken)
        self._revision += 1  # a name of its own, whatever becomes of it
        name = {"epoch": self._epoch, "revision": self._revision}
        return msgspec.structs.replace(batch, **name, at=self._now_ms(), clean=clean), taken

    async def _connected(self) -> None:
        """Have the session, also where nothing waits; without it batches go to the spool, where there is one."""
        try:
            async with self._busy:
                await self._committer.session()
        except _TROUBLE as error:
            if self._spool is None:
                raise
            self._go_around(error)
        else:
            self._set_status("ok")

    async def _directly(self, batch: Batch) -> bool:
        """Write a batch into the database; False: nobody can tell whether that happened, and the spool is to have it."""
        patience = self._direct_s if self._spool is not None and not self._closing else None
        try:
            async with self._busy, asyncio.timeout(patience):
                await self._commit(batch)
        except _TROUBLE as error:
            if self._spool is None:
                raise
            self._go_around(error)
            return False
        self._wrote = True
        return True

    def _go_around(self, error: Exception) -> None:
        """Leave the database to the one who drains the spool."""
        if isinstance(error, TimeoutError):
            error = PostgresAway(self._database.where, f"a batch was not written within {self._direct_s:g} s")
        self._note(error)
        self._direct = False
        self._spooled.set()

    async def _append(self, batch: Batch) -> None:
        if self._spool is None:
            raise PostgresAway(self._database.where, self._status.reason or "there is no spool")
        body, refused = encode(batch)
        try:
            await self._spool.append(batch.name, batch.journal, body)
        except SpoolUnreadable as error:
            self._lost_file(error)
            await self._spool.append(batch.name, batch.journal, body)
        self._refuse(refused)

    async def _commit(self, batch: Batch) -> None:
        started = time.perf_counter()
        refused = await self._committer.commit(batch)
        self._stored = max(self._stored, batch.journal)
        self._refuse(refused)
        self._status = msgspec.structs.replace(
            self._status,
            writes=self._status.writes + 1,
            written_at=self._now_ms(),
            write_ms=(time.perf_counter() - started) * 1000,
        )
        self._set_status("ok")

    # --- the spool's way into the database ---------------------------------------------------------------------------

    async def _drain_locked(self) -> None:
        async with self._busy:
            await self._drain_spool()

    async def _drain_spool(self) -> None:
        """Write what lies in the spool, each batch once, and let the next ones go directly again.

        What a kill left in the spool though it was written is known by the name of the database's last batch: that one, and all
        before it, are dropped.
        """
        await self._committer.session()
        spool = self._spool
        if spool is None or self._direct:
            return
        if self._committer.last is not None and spool.figures.batches:
            await self._drop(spool, await spool.find(self._committer.last))
        while True:
            one = await self._next(spool)
            if one is None:
                async with self._order:  # nobody is appending: what is seen as empty is
                    one = await self._next(spool)
                    if one is None:
                        self._direct = True
                        self._spooled.clear()
                        self._set_status("ok")
                        self._due.set()
                        return
            await self._bring(spool, one)

    async def _next(self, spool: Spool) -> Spooled | None:
        try:
            return await spool.after(self._drained)
        except SpoolUnreadable as error:
            self._lost_file(error)
        except SpoolFull as error:
            if spool.figures.batches:
                raise
            _log.error("checkpoint: %s", error)  # nothing of ours lies in it: the database can be written into
        return None

    async def _bring(self, spool: Spool, one: Spooled) -> None:
        try:
            batch = decode(one.body)
        except msgspec.MsgspecError as error:
            aside = await spool.keep_aside(one)
            _log.error(
                "checkpoint: batch %s of the spool cannot be read (%s) and was set aside as %s", one.name, error, aside
            )
            self._lose(one.journal, aside)
        else:
            await self._commit(batch)
            if (
                self._wrote and batch.epoch != self._epoch
            ):  # the spool could not be read before: newer rows were there already
                self._rewrite(batch.name)
        await self._drop(spool, one.number)

    async def _drop(self, spool: Spool, number: int) -> None:
        self._drained = max(self._drained, number)
        await spool.drop_through(self._drained)

    def _lost_file(self, error: SpoolUnreadable) -> None:
        """The spool's file was set aside, and with it what nobody else has."""
        _log.error("checkpoint: %s", error)
        self._drained = 0
        self._lose(error.journal or place(self._now_ms()) - 1, error.aside.name)

    def _lose(self, until: int, file: str) -> None:
        gap = Lost(since=min(self._stored + 1, until), until=until, file=file)
        queue = self._mirror.dirty.queue
        queue.lost = together(gap, queue.lost)
        self._mirror.everything(self._complete)
        self._due.set()

    # --- what is known of it -------------------------------------------------------------------------------------------

    def _rewrite(self, found: Written | None) -> None:
        """Another gateway wrote meanwhile, a standby without our last writes took over, or the database was made anew."""
        _log.warning("checkpoint: the database holds batch %s instead of ours: writing everything", found)
        self._mirror.everything(self._complete)
        self._status = msgspec.structs.replace(self._status, rewrites=self._status.rewrites + 1)
        self._due.set()

    def _lost_connection(self) -> None:
        self._set_status("away", f"{self._database.where}: the server closed the writer's connection")
        self._due.set()

    def _refuse(self, refused: list[RefusedRow]) -> None:
        for row in refused:
            _log.error("checkpoint: %s %s cannot be stored: %s", row.table, row.key, row.reason)
        status = self._status
        self._status = msgspec.structs.replace(
            status,
            rows_refused=status.rows_refused + len(refused),
            rows_refused_last=(*status.rows_refused_last, *refused)[-_REFUSED_SHOWN:],
        )

    def _note(self, error: Exception) -> None:
        """Let the status say what went wrong."""
        if isinstance(error, SpoolFull):
            _log.error("checkpoint: %s", error)
        elif isinstance(error, StorageError) and not isinstance(error, PostgresAway):
            if self._set_status("refused", str(error)):
                self._on_refused(error)
        else:  # what the server says of a statement too: the schema is not what we made, and the next session looks at it again
            where = "" if isinstance(error, PostgresAway) else f"{self._database.where}: "
            self._set_status("away", f"{where}{error}")

    def _set_status(self, state: State, reason: str | None = None) -> bool:
        """Note a state; return whether it is another one than before."""
        if state == self._status.state:
            self._status = msgspec.structs.replace(self._status, reason=reason)
            return False
        _log.log(logging.INFO if state == "ok" else logging.WARNING, "checkpoint: %s %s", state, reason or "")
        self._status = msgspec.structs.replace(self._status, state=state, since_at=self._now_ms(), reason=reason)
        return True
