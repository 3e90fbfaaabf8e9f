"""How storage stands: for /readyz, metrics and alerts. Owns the status and how failures change it; decides nothing."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Literal

import asyncpg
import msgspec

from gateway.storage.batch import RefusedRow
from gateway.storage.errors import PostgresAway, SpoolFull, StorageError

_log = logging.getLogger(__name__)

_REFUSED_SHOWN = 20
# What a database or a spool can do to us; everything else is a defect of ours.
TROUBLE = (StorageError, asyncpg.PostgresError, TimeoutError)

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
        spool_set_aside: Files of it that could not be read.
        underived: How often the history of an account and symbol could not be worked out. ``unfolded``: of which it is behind
            now, and why.
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
    spool_set_aside: int = 0
    underived: int = 0
    unfolded: dict[str, str] = {}


class Standing:
    """The status as it changes. ``on_refused``: see ``Checkpoint``."""

    def __init__(self, where: str, now_ms: Callable[[], int], on_refused: Callable[[StorageError], None]) -> None:
        self.now = CheckpointStatus(state="starting", since_at=now_ms())
        self._where, self._now_ms, self._on_refused = where, now_ms, on_refused

    def change(self, **fields: object) -> None:
        """Set fields."""
        self.now = msgspec.structs.replace(self.now, **fields)

    def refuse(self, refused: Sequence[RefusedRow]) -> None:
        """Count rows that the database cannot hold."""
        for row in refused:
            _log.error("checkpoint: %s %s cannot be stored: %s", row.table, row.key, row.reason)
        self.change(
            rows_refused=self.now.rows_refused + len(refused),
            rows_refused_last=(*self.now.rows_refused_last, *refused)[-_REFUSED_SHOWN:],
        )

    def note(self, error: Exception) -> None:
        """Let the status say what went wrong."""
        if isinstance(error, SpoolFull):
            _log.error("checkpoint: %s", error)
        elif isinstance(error, StorageError) and not isinstance(error, PostgresAway):
            if self.set("refused", str(error)):
                self._on_refused(error)
        else:  # what the server says of a statement too: the schema is not what we made, and the next session looks at it again
            where = "" if isinstance(error, PostgresAway) else f"{self._where}: "
            self.set("away", f"{where}{error}")

    def set(self, state: State, reason: str | None = None) -> bool:
        """Note a state; return whether it is another one than before."""
        if state == self.now.state:
            self.change(reason=reason)
            return False
        _log.log(logging.INFO if state == "ok" else logging.WARNING, "checkpoint: %s %s", state, reason or "")
        self.change(state=state, since_at=self._now_ms(), reason=reason)
        return True
