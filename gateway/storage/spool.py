"""Batches on the local disk while Postgres is away: in order, each as it would have been written. Knows no database but its own.

Owns one SQLite file (WAL, ``synchronous=FULL``: what ``append`` returned from survives kill -9 and a power cut), a thread of its
own that alone touches it, and the folder by ``flock``. Whatever keeps a batch from being stored, the limit (``max_page_count``), a
full or a read-only disk, a folder that is none, is one error, ``SpoolFull``; the file is tried again by the next ``append``. A file
that SQLite cannot read is set aside under another name, never deleted.

Layout of the folder: ``lock``, ``spool.sqlite`` (with ``-wal`` and ``-shm``), ``spool.sqlite.unreadable-…``: files set aside.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, TypeVar

from gateway.storage.batch import Written
from gateway.storage.errors import SpoolFull, SpoolInUse, SpoolUnreadable

_T = TypeVar("_T")

_PAGE_BYTES = 4096
# The file is ours when it says so: "Pwsp".
_APPLICATION = 0x50777370
_SCHEMA = """
    CREATE TABLE IF NOT EXISTS batches (
        number   INTEGER PRIMARY KEY AUTOINCREMENT,  -- a number never comes back, also where the file is set aside
        epoch    TEXT NOT NULL,
        revision INTEGER NOT NULL,
        journal  INTEGER NOT NULL,
        state    BLOB NOT NULL,  -- before the entries: what is read of a row ends with what is asked for
        entries  BLOB NOT NULL
    )
"""
_BYTES = "coalesce(sum(length(state) + length(entries)), 0)"
_STATES_BYTES = 4 << 20  # in one answer
_UNREADABLE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


class Spooled(NamedTuple):
    """One batch in the spool: its place there, its name, and what ``gateway.storage.batch.encode`` made of it (of its rows and
    records, then of its part of the journal)."""

    number: int
    name: Written
    journal: int
    state: bytes
    entries: bytes

    @property
    def body(self) -> bytes:
        """The whole of it."""
        return self.state + self.entries


class SpoolFigures(NamedTuple):
    """What lies in the spool: how many batches, their bytes, and the last place of the journal among them."""

    batches: int = 0
    bytes: int = 0
    journal: int = 0


class Spool:
    """One spool: ``open`` first, ``close`` last; one caller at a time.

    Attributes:
        figures: What lies in it.
        error: Why the last use of the file failed; None: it did not.
        set_aside: Files that could not be read, as they are called now.
    """

    def __init__(self, folder: Path | str, max_bytes: int, *, now_ns: Callable[[], int] = time.time_ns) -> None:
        """Nothing is touched yet. ``max_bytes``: of the file; a few megabytes of its write-ahead log come on top."""
        self.folder = Path(folder).absolute()
        self.file = self.folder / "spool.sqlite"
        self.figures = SpoolFigures()
        self.error: str | None = None
        self.set_aside: tuple[str, ...] = ()
        self._pages = max(max_bytes // _PAGE_BYTES, 1)
        self._now_ns = now_ns
        self._db: sqlite3.Connection | None = None
        self._lock: int | None = None
        self._last: int | None = None  # the last number that was given out; None: no file was looked at yet
        self._checked = False  # what an earlier life left, once: it reads the whole file
        # One thread, one call at a time: whoever asks waits for the answer, so nothing queues up before it.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="spool")

    # --- what is asked from the loop ---------------------------------------------------------------------------------

    async def open(self) -> None:
        """Take the folder and look at what an earlier life left. A folder or file that cannot be used is told by ``error``.

        Raises:
            SpoolInUse: Another process owns the folder.
        """
        with contextlib.suppress(SpoolFull):
            await self._do(self._open)

    async def append(
        self, name: Written, journal: int, state: bytes | bytearray, entries: bytes | bytearray = b""
    ) -> None:
        """Add a batch behind all others; it is on the disk when this returns. ``journal``: the last place that was given out.

        Raises:
            SpoolFull: It is not; nothing was changed.
        """
        await self._do(lambda: self._append(name, journal, state, entries))

    async def probe(self, size: int) -> None:
        """Try by a small write whether a batch of so many bytes could be added.

        Raises:
            SpoolFull: It could not.
        """
        await self._do(lambda: self._probe(size))

    async def after(self, number: int) -> Spooled | None:
        """Return the first batch behind a place (0: of all), or None.

        Raises:
            SpoolUnreadable: The file was set aside just now: what was in it is in no database.
            SpoolFull: The file cannot be read now.
        """
        return await self._do(lambda: self._after(number))

    async def states(self, number: int) -> list[tuple[int, bytes]]:
        """Return place and state of the next batches behind a place, some megabytes of them; nothing: there are no more.

        Raises:
            SpoolUnreadable | SpoolFull: See ``after``.
        """
        return await self._do(lambda: self._states(number))

    async def drop_through(self, number: int) -> None:
        """Forget the batches up to a place: they are in Postgres. A failure is told by ``error``; they are forgotten later."""
        with contextlib.suppress(SpoolFull):
            await self._do(lambda: self._drop(number))

    async def find(self, name: Written) -> int:
        """Return the place of the last batch that was written no later than ``name``, 0: there is none.

        Raises:
            SpoolFull: The file cannot be read now.
        """
        return await self._do(lambda: self._find(name))

    async def keep_aside(self, one: Spooled) -> str:
        """Copy a batch that nobody understands into a file of its own; return its name.

        Raises:
            SpoolFull: That cannot be done now.
        """
        return await self._do(lambda: self._keep_aside(one))

    async def close(self) -> None:
        """Let go of the file and the folder. Harmless when repeated."""
        await asyncio.get_running_loop().run_in_executor(None, self._thread.shutdown)
        self._close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    # --- the thread --------------------------------------------------------------------------------------------------

    async def _do(self, work: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._guarded, work)

    def _guarded(self, work: Callable[[], _T]) -> _T:
        try:
            found = work()
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the primary one
            self.error = str(error)
            if code != sqlite3.SQLITE_FULL:
                self._close()  # looked at anew by the next call
            if code in _UNREADABLE:
                raise self._put_aside() from error
            raise SpoolFull(self.folder, str(error)) from error
        except OSError as error:
            self._close()
            self.error = error.strerror or str(error)
            raise SpoolFull(self.folder, self.error) from error
        self.error = None
        return found

    def _open(self) -> sqlite3.Connection:
        if self._db is not None:
            return self._db
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._take_folder()
        db = sqlite3.connect(self.file, isolation_level=None, check_same_thread=False)
        try:
            self._prepare(db)
        except sqlite3.DatabaseError:
            db.close()
            raise
        self._db = db
        return db

    def _prepare(self, db: sqlite3.Connection) -> None:
        fresh = db.execute("PRAGMA page_count").fetchone()[0] == 0
        if fresh:  # before the first table: pages of an emptied spool go back to the disk
            db.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
            db.execute("PRAGMA auto_vacuum = INCREMENTAL")
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute(f"PRAGMA max_page_count = {self._pages}")
        db.execute(_SCHEMA)
        if fresh:
            db.execute(f"PRAGMA application_id = {_APPLICATION}")
        found = "ok" if self._checked else db.execute("PRAGMA quick_check(1)").fetchone()[0]
        self._checked = True
        if found != "ok":
            error = sqlite3.DatabaseError(found)
            error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
            raise error
        batches, size, journal = db.execute(
            f"SELECT count(*), {_BYTES}, coalesce(max(journal), 0) FROM batches"
        ).fetchone()
        given = int(db.execute("SELECT coalesce(max(seq), 0) FROM sqlite_sequence").fetchone()[0])
        if (
            self._last is not None and given < self._last
        ):  # another file: whoever drains the old one must not mean this one's
            db.execute("DELETE FROM sqlite_sequence")
            db.execute("INSERT INTO sqlite_sequence (name, seq) VALUES ('batches', ?)", (self._last,))
        self._last = max(given, self._last or 0)
        self.figures = SpoolFigures(batches, size, journal)

    def _append(self, name: Written, journal: int, state: bytes | bytearray, entries: bytes | bytearray) -> None:
        added = self._open().execute(
            "INSERT INTO batches (epoch, revision, journal, state, entries) VALUES (?, ?, ?, ?, ?)",
            (*name, journal, state, entries),
        )
        self._last = added.lastrowid
        known, size = self.figures, len(state) + len(entries)
        self.figures = SpoolFigures(known.batches + 1, known.bytes + size, max(known.journal, journal))

    def _probe(self, size: int) -> None:
        db = self._open()
        used, free, tried = (
            int(db.execute(f"PRAGMA {name}").fetchone()[0]) for name in ("page_count", "freelist_count", "user_version")
        )
        if size > min((self._pages - used + free) * _PAGE_BYTES, self._room()):
            raise SpoolFull(self.folder, f"there is no room for {size} bytes")
        db.execute(f"PRAGMA user_version = {1 - tried}")  # another one, or nothing would be written

    def _room(self) -> int:
        """Return how many bytes the disk has for the write-ahead log, which takes everything first."""
        disk = os.statvfs(self.folder)
        return disk.f_bavail * disk.f_frsize + Path(f"{self.file}-wal").stat().st_size

    def _after(self, number: int) -> Spooled | None:
        row = (
            self._open()
            .execute(
                "SELECT number, epoch, revision, journal, state, entries FROM batches WHERE number > ? "
                "ORDER BY number LIMIT 1",
                (number,),
            )
            .fetchone()
        )
        return Spooled(row[0], (row[1], row[2]), *row[3:]) if row else None

    def _states(self, number: int) -> list[tuple[int, bytes]]:
        found, size = list[tuple[int, bytes]](), 0
        rows = self._open().execute("SELECT number, state FROM batches WHERE number > ? ORDER BY number", (number,))
        with contextlib.closing(rows):
            for one in rows:
                found.append(one)
                size += len(one[1])
                if size > _STATES_BYTES:
                    break
        return found

    def _find(self, name: Written) -> int:
        found = (
            self._open().execute("SELECT max(number) FROM batches WHERE epoch = ? AND revision <= ?", name).fetchone()
        )
        return int(found[0] or 0)

    def _drop(self, number: int) -> None:
        db = self._open()
        gone = "FROM batches WHERE number <= ?"
        batches, size = db.execute(f"SELECT count(*), {_BYTES} {gone}", (number,)).fetchone()
        db.execute(f"DELETE {gone}", (number,))
        known = self.figures
        self.figures = SpoolFigures(known.batches - batches, known.bytes - size, known.journal)
        if not self.figures.batches:
            db.executescript("PRAGMA incremental_vacuum")  # a step a page: execute would make one
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def _take_folder(self) -> None:
        if self._lock is not None:
            return
        lock = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(lock, 32, 0).decode(errors="replace").strip()
            os.close(lock)
            raise SpoolInUse(self.folder, int(holder) if holder.isdigit() else None) from None
        except OSError:
            os.close(lock)
            raise
        os.ftruncate(lock, 0)
        os.pwrite(lock, str(os.getpid()).encode(), 0)
        self._lock = lock

    def _keep_aside(self, one: Spooled) -> str:
        name = self.folder / f"batch.unreadable-{one.name[0]}-{one.name[1]}"
        name.write_bytes(one.body)
        self.set_aside = (*self.set_aside, str(name))
        return name.name

    def _put_aside(self) -> SpoolUnreadable:
        """Give an unreadable file another name, with what belongs to it; return the error that says so."""
        aside = self.file.with_name(f"{self.file.name}.unreadable-{self._now_ns() // 1_000_000}")
        for suffix in ("", "-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                Path(f"{self.file}{suffix}").rename(f"{aside}{suffix}")
        self.set_aside = (*self.set_aside, str(aside))
        known, self.figures = self.figures, SpoolFigures()
        return SpoolUnreadable(self.file, aside, known.journal, self._last)

    def _close(self) -> None:
        db, self._db = self._db, None
        if db is not None:
            with contextlib.suppress(sqlite3.Error):
                db.close()
