"""The way of a batch to where it is durable: straight into Postgres, or into the spool and from there into Postgres in its order.

Owns the order of batches and who uses the writer's session. Never makes a batch, and decides nothing about when.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import msgspec

from gateway.core.journal import Lost, place
from gateway.storage.batch import Batch, RefusedRow, Written, encode, joined, pieces
from gateway.storage.commit import Committer
from gateway.storage.errors import PostgresAway, SpoolFull, SpoolUnreadable, StorageError
from gateway.storage.fold import Thinned
from gateway.storage.postgres import Connection, Database
from gateway.storage.spool import Spool, Spooled
from gateway.storage.status import TROUBLE, Standing

_log = logging.getLogger(__name__)
_Read = TypeVar("_Read")

# Forgetting is an fsync too, and needs no hurry: the database says which batches it has.
_FORGET_EVERY = 8
_LITTLE_BYTES = 1 << 16  # what a spool takes that can be used


class Outlet:
    """Where batches go. ``open`` first; one ``write`` at a time, under ``order``; ``close`` last.

    Attributes:
        direct: Nothing lies in the spool: batches go straight into the database.
        spooled: Set while that is not so: the spool is to be drained.
        order: One batch after the other finds its way.
        patience_s: How long the database may take for a batch before it is spooled, where there is a spool.
        underived, unfolded: See ``Committer``.
    """

    def __init__(
        self,
        database: Database,
        epoch: str,
        spool: Spool | None,
        standing: Standing,
        *,
        patience_s: float,
        now_ms: Callable[[], int],
        on_change: Callable[[], None],
        on_other: Callable[[Written | None], None],
        on_stored: Callable[[int], None],
        on_gap: Callable[[Lost], None],
    ) -> None:
        """Args:
        on_change: Called when there is something to do though nobody put anything: the connection was lost, or is back.
        on_other, on_stored: See ``Committer``.
        on_gap: Called with what lay in the spool and cannot be read.
        """
        self._database, self._epoch, self._spool, self._standing = database, epoch, spool, standing
        self.patience_s, self._now_ms = patience_s, now_ms
        self._on_change, self._on_other, self._on_gap = on_change, on_other, on_gap
        self._committer = Committer(database, on_lost=self._cut, on_other=on_other, on_stored=on_stored)
        self.direct = True
        self.spooled = asyncio.Event()
        self.order = asyncio.Lock()
        self._wrote = False  # directly, in this life
        self._drained = 0  # place in the spool up to which batches are in the database
        self._busy = asyncio.Lock()  # one user of the writer's connection

    @property
    def stored(self) -> int:
        """The last place of the journal that the database is known to have."""
        return self._committer.stored

    @property
    def underived(self) -> int:
        return self._committer.underived

    @property
    def unfolded(self) -> dict[str, str]:
        return self._committer.unfolded

    def drop(self) -> None:
        """Cut the session."""
        self._committer.drop()

    async def close(self) -> None:
        """Give back the writer lock and the folder of the spool."""
        await self._committer.close()
        if self._spool is not None:
            await self._spool.close()

    def _cut(self) -> None:
        self._standing.set("away", f"{self._database.where}: the server closed the writer's connection")
        self._on_change()

    async def open(self) -> None:
        """Take the folder of the spool, and see whether an earlier life left something in it.

        Raises:
            SpoolInUse: Another process owns it.
        """
        spool = self._spool
        if spool is None:
            return
        try:
            await spool.open()
        except SpoolUnreadable as error:
            self._lost_file(error)
        self._look_for_batches(spool)

    def _look_for_batches(self, spool: Spool) -> None:
        self.direct = not spool.figures.batches
        if not self.direct:
            _log.warning("checkpoint: %d batches of an earlier life lie in %s", spool.figures.batches, spool.file)
            self.spooled.set()

    async def connect(self) -> None:
        """Have the session, also where nothing waits; without it batches go to the spool, where there is one.

        Raises:
            StorageError | asyncpg.PostgresError: There is no session, and no spool.
        """
        if not self.direct:
            return
        try:
            async with self._busy, asyncio.timeout(self._patience_s):
                await self._committer.session()
        except TROUBLE as error:
            if self._spool is None:
                raise
            self._go_around(error)
        else:
            self._standing.set("ok")

    async def ready(self, least_bytes: int) -> None:
        """Try by little whether anything would be taken, where the last batch was not: one is costly to make.

        Raises:
            StorageError: It would not. ``least_bytes``: what the batch has at least.
        """
        if self.direct or self._spool is None or self._spool.error is None:
            return
        await self._probe(self._spool, least_bytes)

    async def look_at_spool(self) -> None:
        """Try the spool where it could not be used, and the database takes everything by now: its status says when it can.

        What an earlier life left in it is drained then, and what follows goes behind it. To be called under ``order``.
        """
        spool = self._spool
        if self.direct and spool is not None and spool.error is not None:
            with contextlib.suppress(StorageError):  # as before
                await self._probe(spool, _LITTLE_BYTES)
            self._look_for_batches(spool)

    async def _probe(self, spool: Spool, size: int) -> None:
        try:
            await spool.probe(size)
        except SpoolUnreadable as error:
            self._lost_file(error)

    async def write(self, batch: Batch) -> None:
        """Make a batch durable.

        Raises:
            StorageError | asyncpg.PostgresError: It is neither in the spool nor, as far as anybody can tell, in the database.
        """
        if not (self.direct and await self._directly(batch)):
            await self._append(batch)

    @property
    def _patience_s(self) -> float | None:
        return self.patience_s if self._spool is not None else None

    async def _directly(self, batch: Batch) -> bool:
        """Write a batch into the database; False: nobody can tell whether that happened, and the spool is to have it."""
        try:
            async with self._busy, asyncio.timeout(self._patience_s):
                await self._commit(batch)
        except TROUBLE as error:
            if self._spool is None:
                raise
            self._go_around(error)
            return False
        self._wrote = True
        return True

    def _go_around(self, error: Exception) -> None:
        """Leave the database to the one who drains the spool."""
        if isinstance(error, TimeoutError):
            error = PostgresAway(self._database.where, f"it did not answer within {self.patience_s:g} s")
        self._standing.note(error)
        self.direct = False
        self.spooled.set()

    async def _append(self, batch: Batch) -> None:
        if self._spool is None:
            raise PostgresAway(self._database.where, self._standing.now.reason or "there is no spool")
        state, entries, refused = bytearray(), bytearray(), list[RefusedRow]()
        for part in encode(batch):
            (entries if part.journal else state).extend(part.body)
            refused += part.refused
            await asyncio.sleep(0)  # the loop has others to serve
        try:
            await self._spool.append(batch.name, batch.journal, state, entries)
        except SpoolUnreadable as error:
            self._lost_file(error)
            await self._spool.append(batch.name, batch.journal, state, entries)
        self._standing.refuse(refused)

    async def _commit(self, batch: Batch) -> None:
        started = time.perf_counter()
        refused = await self._committer.commit(batch)
        self._standing.refuse(refused)
        self._standing.change(
            writes=self._standing.now.writes + 1,
            written_at=self._now_ms(),
            write_ms=(time.perf_counter() - started) * 1000,
        )
        self._standing.set("ok")

    # --- the spool's way into the database ---------------------------------------------------------------------------

    async def drain(self) -> None:
        """Write what lies in the spool, each batch once, and let the next ones go directly again.

        Raises:
            StorageError | asyncpg.PostgresError: It is not empty yet.
        """
        async with self._busy:
            try:
                await self._drain()
            except SpoolUnreadable as error:
                self._lost_file(error)
                await self._drain()

    async def read(self, read: Callable[[Connection], Awaitable[_Read]]) -> _Read:
        """Return what is read of the database as it will be once the spool is empty; nothing is written by it.

        Raises:
            StorageError | asyncpg.PostgresError: It cannot be read.
        """
        async with self._busy:
            await self._committer.session()
            try:
                ahead = await self._ahead()
            except SpoolUnreadable as error:
                self._lost_file(error)
                ahead = []
            return await self._committer.read(ahead, read)

    async def _ahead(self) -> list[Batch]:
        """Return what lies in the spool and not in the database, without its part of the journal."""
        spool, ahead = self._spool, Thinned()
        if spool is None or self.direct:
            return []
        await self._drop(spool, await self._already(spool))
        done = self._drained
        while found := await spool.states(done):
            done = found[-1][0]
            for _, state in found:
                with contextlib.suppress(msgspec.MsgspecError):  # said when it is drained
                    ahead.take(joined(list(pieces(state))))
                await asyncio.sleep(0)
        ahead.end()
        return ahead.batches

    async def _already(self, spool: Spool) -> int:
        """Return the place in the spool up to which the database has it: its last batch, and all before it, were written."""
        if self._committer.last is not None and spool.figures.batches:
            return await spool.find(self._committer.last)
        return 0

    async def _drain(self) -> None:
        """Bring the spool into the database.

        What a kill left in the spool though it was written is known by the name of the database's last batch: that one, and all
        before it, are dropped.
        """
        await self._committer.session()
        spool = self._spool
        if spool is None or self.direct:
            return
        await self._drop(spool, await self._already(spool))
        while True:
            one = await self._next(spool)
            if one is None:
                async with self.order:  # nobody is appending: what is seen as empty is
                    one = await self._next(spool)
                    if one is None:
                        await self._drop(spool, self._drained)
                        self.direct = True
                        self.spooled.clear()
                        self._standing.set("ok")
                        self._on_change()
                        return
            await self._bring(spool, one)

    async def _next(self, spool: Spool) -> Spooled | None:
        try:
            return await spool.after(self._drained)
        except SpoolFull as error:
            if spool.figures.batches:
                raise
            _log.error("checkpoint: %s", error)  # nothing of ours lies in it: the database can be written into
        return None

    async def _bring(self, spool: Spool, one: Spooled) -> None:
        try:
            found = []
            for piece in pieces(one.body):
                found.append(piece)
                await asyncio.sleep(0)  # the loop has others to serve
            batch = joined(found)
        except msgspec.MsgspecError as error:
            aside = await spool.keep_aside(one)
            _log.error(
                "checkpoint: batch %s of the spool cannot be read (%s) and was set aside as %s", one.name, error, aside
            )
            self._on_gap(self._gap(one.journal, aside))
        else:
            await self._commit(batch)
            if (
                self._wrote and batch.epoch != self._epoch
            ):  # the spool could not be read before: newer rows were there already
                self._on_other(batch.name)
        self._drained = one.number
        if one.number % _FORGET_EVERY == 0:
            await self._drop(spool, one.number)

    async def _drop(self, spool: Spool, number: int) -> None:
        self._drained = max(self._drained, number)
        await spool.drop_through(self._drained)

    def _lost_file(self, error: SpoolUnreadable) -> None:
        """The spool's file was set aside, and with it what nobody else has; nothing where all of it is in the database."""
        if error.last is not None and error.last <= self._drained:
            _log.error("checkpoint: %s was set aside as %s: all of it is in the database", error.file, error.aside.name)
            return
        _log.error("checkpoint: %s", error)
        self._drained = max(self._drained, error.last or 0)
        self._on_gap(self._gap(error.journal or place(self._now_ms()) - 1, error.aside.name))

    def _gap(self, until: int, file: str) -> Lost:
        return Lost(since=min(self.stored + 1, until), until=until, file=file)
