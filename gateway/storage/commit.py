"""One batch into Postgres, in one transaction: its rows, what follows from them, and the checkpoint row.

Owns the writer's session and what is known of the database at its other end: which batch it holds as the last one. Never decides
when, nor what becomes of a batch that failed.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from exchanges.events import position_id
from gateway.storage import facts, history, tables
from gateway.storage.batch import Batch, RefusedRow, Written
from gateway.storage.history import Derived
from gateway.storage.migrate import migrate
from gateway.storage.partitions import Partitions
from gateway.storage.postgres import Connection, Database, Writer

_log = logging.getLogger(__name__)
_Read = TypeVar("_Read")


class Committer:
    """The writer's session.

    Attributes:
        last: The batch that the database holds as its last one; None: none, or not known yet.
        stored: The last place of the journal that it is known to have.
        underived: How often the history of an account and symbol could not be worked out.
        unfolded: Those of which it could not the last time, with why. They are tried again: see ``history``.
    """

    def __init__(
        self,
        database: Database,
        *,
        on_lost: Callable[[], None],
        on_other: Callable[[Written | None], None],
        on_stored: Callable[[int], None],
    ) -> None:
        """Args:
        on_lost: Called when the connection breaks.
        on_other: Called where a new session finds another batch than one of ours as the last one: another gateway wrote
            meanwhile, a standby without our last writes took over, or the database was made anew.
        on_stored: Called by each new session with the last place of the journal that the database has.
        """
        self._database, self._on_other, self._on_stored = database, on_other, on_stored
        self._writer = Writer(database, on_lost=on_lost)
        self._partitions = Partitions()
        self._expected: set[Written | None] | None = None  # what the checkpoint row may say; None: anything
        self.last: Written | None = None
        self.stored = 0
        self.underived = 0
        self.unfolded: dict[str, str] = {}
        self._again = True  # what failed in an earlier life is to be tried again

    async def session(self) -> Connection:
        """Return the connection that holds the lock; on a new one the schema and the last batch are looked at first.

        Raises:
            StorageError: See ``Writer.session`` and ``migrate``.
        """
        connection, new = await self._writer.session()
        if not new:
            return connection
        try:
            with self._database.failures():
                # A batch that was said to be stored is: whatever the server's own setting is, for this session alone.
                await connection.execute("SET synchronous_commit = on")
                if applied := await migrate(connection, self._database.where):
                    _log.info("checkpoint: migrated by %s", ", ".join(applied))
                last = await tables.read_checkpoint(connection)
        except BaseException:  # also cancelled: the next session must look again
            self._writer.drop()
            raise
        self._partitions.forget()
        found = (last.epoch, last.revision) if last else None
        if self._expected is not None and found not in self._expected:
            self._on_other(found)
        self._expected, self.last = {found}, found
        self.stored = last.journal if last else 0
        self._on_stored(self.stored)
        return connection

    async def commit(self, batch: Batch) -> list[RefusedRow]:
        """Write a batch and return the rows that the database cannot hold.

        Raises:
            StorageError | asyncpg.PostgresError: Whether it was written is not known; the next ``session`` tells by ``last``.
        """
        connection = await self.session()
        # Should the connection break during the commit, nobody can tell whether it happened: both are right afterwards.
        self._expected = {*(self._expected or ()), batch.name}
        try:
            with self._database.failures():
                await self._partitions.need(connection, batch)
                refused, derived = await self._write(connection, batch, again=self._again)
        except BaseException:  # also cancelled: the state of the connection is unknown
            self._writer.drop()
            raise
        self._again = False
        self._note(derived)
        self._expected, self.last = {batch.name}, batch.name
        self.stored = max(self.stored, batch.journal)
        return refused

    async def read(self, ahead: Sequence[Batch], read: Callable[[Connection], Awaitable[_Read]]) -> _Read:
        """Return what is read of the database as it would be with some batches more.

        They are written for this look alone, one after the other as they will be: each chain is folded with what is known by then.

        Raises:
            StorageError | asyncpg.PostgresError: It cannot be read.
        """
        connection = await self.session()
        try:
            with self._database.failures():
                look = connection.transaction(isolation="repeatable_read")
                await look.start()
                await connection.execute("SET LOCAL perpwire.looks = 'yes'")  # sums are not read
                for number, batch in enumerate(ahead):
                    await self._write(connection, batch, again=self._again and not number)
                found = await read(connection)
                await look.rollback()
        except BaseException:  # also cancelled: the state of the connection is unknown
            self._writer.drop()
            raise
        return found

    def drop(self) -> None:
        """Cut the connection; the next ``session`` makes another."""
        self._writer.drop()

    async def close(self) -> None:
        """Give the writer lock back for good."""
        await self._writer.close()

    async def _write(
        self, connection: Connection, batch: Batch, *, again: bool
    ) -> tuple[list[RefusedRow], Derived | None]:
        """Write a batch in a transaction, or in a savepoint of the caller's. ``again``: what failed is to be tried again."""
        try:
            async with connection.transaction():
                return await self._rows(connection, batch, again=again, row_by_row=False)
        except Exception as error:  # a row: the rest must not wait for it
            if not history.at_fault(connection, error):
                raise
            _log.warning("checkpoint: batch %s is written row by row: %r", batch.name, error)
        async with connection.transaction():
            return await self._rows(connection, batch, again=again, row_by_row=True)

    async def _rows(
        self, connection: Connection, batch: Batch, *, again: bool, row_by_row: bool
    ) -> tuple[list[RefusedRow], Derived | None]:
        whole = await facts.against(connection, batch)
        refused = await tables.write(connection, whole, row_by_row=row_by_row)
        derived = await self._derive(connection, whole, again=again)
        await tables.write_checkpoint(connection, batch)
        return refused, derived

    async def _derive(self, connection: Connection, batch: Batch, *, again: bool) -> Derived | None:
        """Bring the history on; None: nothing of it could be, by a defect that is of no single account and symbol."""
        try:
            async with connection.transaction():  # a savepoint
                if again:
                    await history.rebuild(connection)
                return await history.derive(connection, batch)
        except Exception as error:
            if not history.at_fault(connection, error):
                raise
            _log.exception("checkpoint: the history of batch %s could not be worked out", batch.name)
            return None

    def _note(self, derived: Derived | None) -> None:
        """Count what could not be worked out, once that is written."""
        if derived is None:
            self.underived += 1
            return
        self.underived += len(derived.failed)
        for account, symbol in derived.mended:
            self.unfolded.pop(position_id(account, symbol), None)
        self.unfolded |= {position_id(*key): error for key, error in derived.failed.items()}
