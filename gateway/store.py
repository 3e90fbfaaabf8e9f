"""Durable state behind the engine: an embedded Postgres or one by DSN, what it remembers, and the write-behind.

Owns the order of these parts. A database that is away, at start or later, never stops the gateway; one that may not be used
(another writer, another version, a folder in use) ends the start with its reason.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence

import asyncpg
import msgspec
from prometheus_client.core import Metric

from exchanges.events import Event, PositionState
from gateway.config import StorageSettings
from gateway.core.accounts import AccountInfo
from gateway.core.backfills import Past
from gateway.core.journal import place
from gateway.core.records import Correction
from gateway.metrics import counter, gauge
from gateway.storage import retention
from gateway.storage.beside import beside
from gateway.storage.checkpoint import Checkpoint
from gateway.storage.embedded import EmbeddedPostgres, running_dsn
from gateway.storage.errors import ExecutionSwitched, PostgresAway, PostgresRefused, StorageError
from gateway.storage.migrate import upgrade
from gateway.storage.mirror import StoredAccount
from gateway.storage.postgres import Database
from gateway.storage.queries import Reader
from gateway.storage.readings import past_of
from gateway.storage.restore import Restored
from gateway.storage.sizes import lines, sizes
from gateway.storage.spool import Spool

_log = logging.getLogger(__name__)

_PATIENCE_S = 2.0
_FIRST_TIDY_S, _TIDY_S = 60.0, 3_600.0
_TIDIED_MS = 60 * 86_400_000  # further back than anything that comes of age between two passes
_DRAIN_S = 1.2
_POSTGRES_STOP_S = 1.0  # all steps of a stop together stay below five seconds


def _machine_ms() -> int:
    return time.time_ns() // 1_000_000


class Store:
    """The storage of one gateway: ``start`` → ``run`` as a task → ``stop``.

    ``wall_ms``: the gateway's wall clock, which says when anything was stored.
    """

    checkpoint: Checkpoint  # after ``start``; the engine's sink

    def __init__(self, settings: StorageSettings, wall_ms: Callable[[], int] = _machine_ms) -> None:
        self._settings, self._wall_ms = settings, wall_ms
        self._postgres: EmbeddedPostgres | None = None
        self._database: Database | None = None
        self.reader: Reader | None = None  # for questions about what is stored; after ``start``
        self._to_prune = False  # the database was away at start: rows of an earlier life may lie in it
        self.remembers = False  # what earlier lives stored was there at start
        self._begins = 0  # the place of the journal that this life begins behind

    async def start(
        self, epoch: str, accounts: Iterable[AccountInfo], *, whole: bool = False
    ) -> tuple[list[Event], int | None]:
        """Bring the database up and return what it and the spool remember, and as of when; nothing where it is away.

        ``whole``: the spool is empty before this returns.

        Raises:
            StorageError: The operator has to act.
        """
        dsn = await self._dsn()
        self._database, self.reader = Database(dsn), Reader(dsn)
        self.checkpoint = Checkpoint(
            self._database,
            epoch,
            spool=Spool(self._settings.spool_folder, self._settings.spool_max_mb << 20),
            flush_interval_s=self._settings.flush_interval_s,
            now_ms=self._wall_ms,
        )
        if self._postgres is not None:
            self._postgres.on_restart = self.checkpoint.retry_now
        self._begins = place(self._wall_ms())
        restored = await self.checkpoint.load(whole=whole)
        self.remembers, self._to_prune = restored is not None, restored is None
        accounts = list(accounts)
        if restored is not None:
            _check_executions(restored, accounts)
        for info in accounts:
            self.checkpoint.put_account(
                StoredAccount(
                    name=info.name,
                    venue=info.venue,
                    env=info.env,
                    region=info.region,
                    user=info.user,
                    execution=info.execution,
                )
            )
        if restored is None:
            return [], None
        return restored.events(), restored.checkpoint.at if restored.checkpoint else None

    async def _dsn(self) -> str:
        if self._settings.dsn is not None:
            return self._settings.dsn
        self._postgres = EmbeddedPostgres(self._settings.data_dir)
        return await self._postgres.start()

    async def run(self) -> None:
        """Write what changes until ``stop``, and once an hour let go of what is old."""
        async with beside(self._tidy_on(), "retention"):
            await self.checkpoint.run()

    async def _tidy_on(self) -> None:
        since, pause_s = 0, _FIRST_TIDY_S
        while True:
            await asyncio.sleep(pause_s)
            pause_s = _TIDY_S
            now = self._wall_ms()
            if self.state == "ok" and await self._tidy(now, since):
                since = now - _TIDIED_MS

    async def _tidy(self, now: int, since: int) -> bool:
        assert self._database is not None
        kept = self._settings.retention
        try:
            async with self._database.connection() as connection:
                done = await retention.tidy(
                    connection,
                    now,
                    tables_kept(self._settings),
                    minute_after=kept.minute_after,
                    hour_after=kept.hour_after,
                    since=since,
                )
        except (StorageError, asyncpg.PostgresError) as error:
            _log.warning("storage: what is old stays for now: %s", error)
            return False
        if any(done):
            _log.info("storage: %d partitions dropped, %d rows deleted, %d samples thinned out", *done)
        return True

    @property
    def whole(self) -> bool:
        """True while the database can be read and has whatever earlier lives left in the spool."""
        return self.state == "ok" and not self.checkpoint.status.spool_batches

    async def past(self, account: str) -> Past | None:
        """Return what is stored of an account's past; None where the database is away."""
        if self._database is not None:
            with contextlib.suppress(StorageError, asyncpg.PostgresError):
                async with self._database.connection() as connection:
                    return await past_of(connection, account, self._begins)
        return None

    async def stored(self) -> bool:
        """Wait until all that was handed over is durable, a moment at most; return whether it is."""
        return await self.checkpoint.written(_PATIENCE_S)

    def all_live(self, row_ids: Iterable[str], accounts: Iterable[str]) -> None:
        """Note that every account is live: rows that an absent database could not tell about are deleted, once."""
        if self._to_prune:
            self._to_prune = False
            self.checkpoint.reconcile_rows(row_ids, accounts)

    async def stop(self) -> None:
        """Write the rest and let go of the database; bounded."""
        if self._database is not None:
            if hasattr(self, "checkpoint"):
                await self.checkpoint.drain(_DRAIN_S)
            await self._database.close()
        if self.reader is not None:
            await self.reader.close()
        if self._postgres is not None:
            await self._postgres.stop(_POSTGRES_STOP_S)

    @property
    def state(self) -> str:
        """Return the checkpoint's state for /readyz: ok, away (tried again) or refused (the operator has to act)."""
        return self.checkpoint.status.state

    def trouble(self) -> tuple[float, str]:
        """Return how storage stands, in the unit of the alert ``storage``.

        0: well, 1: nowhere to spool to, or a position history that is behind, 2: entries were lost.
        """
        status = self.checkpoint.status
        if status.losing:
            rows = f"{status.journal_lost} entries and prices of the journal were given up so far"
            return 2.0, f"{rows}; {status.spool_error or status.reason or 'the spool was unreadable'}"
        if status.spool_error is not None:
            return 1.0, f"the spool cannot be used ({status.spool_error})"
        if status.unfolded:
            name, error = next(iter(status.unfolded.items()))
            return 1.0, f"the history of {len(status.unfolded)} symbols cannot be worked out, first {name} ({error})"
        return 0.0, ""

    def figures(self) -> Sequence[Metric]:
        """Return what Prometheus sees of storage."""
        status = self.checkpoint.status
        return (
            gauge("checkpoint_ok", "1 while the database takes what is written", float(status.state == "ok")),
            gauge("checkpoint_waiting_rows", "Rows that wait to be written", status.waiting),
            counter("checkpoint_writes", "Transactions written", status.writes),
            counter("checkpoint_refused_rows", "Rows that the database cannot hold", status.rows_refused),
            counter("checkpoint_lost_records", "Records given up while the database was away", status.records_lost),
            counter("journal_lost", "Entries and samples of the journal given up", status.journal_lost),
            gauge("durable_seq", "The change set up to which everything survives a kill", status.durable_seq),
            gauge("spool_batches", "Batches that wait in the spool", status.spool_batches),
            gauge("spool_bytes", "Bytes of them", status.spool_bytes),
            gauge("spool_ok", "1 while the spool can take a batch", float(status.spool_error is None)),
            counter("spool_set_aside", "Files of the spool that could not be read", status.spool_set_aside),
            counter("history_underived", "Failures to work out the history of a symbol", status.underived),
            gauge("history_unfolded", "Accounts' symbols whose history is behind for a failure", len(status.unfolded)),
        )


def _check_executions(restored: Restored, accounts: Iterable[AccountInfo]) -> None:
    """Raise ExecutionSwitched where rows of another execution mode of an account are open: they must never mix."""
    before = {account.name: account.execution for account in restored.accounts}
    for info in accounts:
        was = before.get(info.name, info.execution)
        rows = sum(position.account == info.name for position in restored.positions)
        if was != info.execution and rows:
            raise ExecutionSwitched(info.name, was, info.execution, rows)


async def forget_rows(settings: StorageSettings, accounts: Sequence[str], reason: str) -> dict[str, int]:
    """Close the stored rows of accounts by an operator's word, while no gateway runs; return how many of each.

    Raises:
        StorageError: The database is away, or a gateway writes into it.
    """
    now = time.time_ns() // 1_000_000
    store = Store(settings)
    try:
        restored, _ = await store.start(f"forced-{now}", (), whole=True)
        if store.state != "ok":
            raise PostgresRefused("storage", "the database is away", "Start it, and ask again")
        rows = [event for event in restored if isinstance(event, PositionState) and event.account in accounts]
        for number, row in enumerate(rows):
            store.checkpoint.put_correction(_forced(row, f"{row.account}:forced:{now}:{number}", reason, now))
            store.checkpoint.remove_position(row.id, 0)
    finally:
        await store.stop()
    return {account: sum(row.account == account for row in rows) for account in accounts}


def _forced(row: PositionState, record_id: str, reason: str, now: int) -> Correction:
    return Correction(
        id=record_id,
        account=row.account,
        position=row.id,
        symbol=row.symbol,
        cls="unknown",
        before={"size": row.size, **({"side": row.side} if row.side else {})},
        after={"size": "0"},
        evidence=(f"forced: {reason}",),
        found_at=now,
        since=now,
        trigger="demand",
    )


def tables_kept(settings: StorageSettings) -> dict[str, float | None]:
    """Return by table after how many days its rows go; None: never."""
    kept = msgspec.structs.asdict(settings.retention)
    return {name: days for name, days in kept.items() if not name.endswith("_after")}


async def size_report(settings: StorageSettings) -> list[str]:
    """Return what is stored, table by table, for humans; of the embedded database also beside the gateway that runs it.

    Raises:
        StorageError: The database is away, or its folder cannot be used.
    """
    address = settings.dsn or running_dsn(settings.data_dir)
    if address is not None:
        with contextlib.suppress(*(() if settings.dsn else (PostgresAway,))):  # what a killed server left behind
            return await _sizes(address, settings)
    postgres = EmbeddedPostgres(settings.data_dir)
    try:
        return await _sizes(await postgres.start(), settings)
    finally:
        await postgres.stop()


async def _sizes(dsn: str, settings: StorageSettings) -> list[str]:
    database = Database(dsn)
    connection = await database.connect()
    try:
        with database.failures():
            return list(lines(await sizes(connection), tables_kept(settings)))
    finally:
        await connection.close()


@contextlib.asynccontextmanager
async def reading(settings: StorageSettings) -> AsyncIterator[Reader]:
    """Lend a reader of what is stored; of the embedded database also beside the gateway that runs it.

    Raises:
        StorageError: The database's folder cannot be used. Where the database is away, questions say so.
    """
    postgres, dsn = None, settings.dsn or running_dsn(settings.data_dir)
    if dsn is None:
        postgres = EmbeddedPostgres(settings.data_dir)
    try:
        reader = Reader(dsn if postgres is None else await postgres.start())  # type: ignore[arg-type]  # one of both is there
        try:
            yield reader
        finally:
            await reader.close()
    finally:
        if postgres is not None:
            await postgres.stop()


async def migrate_once(settings: StorageSettings) -> list[str]:
    """Bring the schema up to date and return what was applied. Raises StorageError."""
    if settings.dsn is not None:
        return await upgrade(settings.dsn)
    postgres = EmbeddedPostgres(settings.data_dir)
    try:
        return await upgrade(await postgres.start())
    finally:
        await postgres.stop()
