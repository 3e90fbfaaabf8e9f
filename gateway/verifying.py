"""Verification as a daily job of the gateway, and ``perpwire verify``, which works it out from the database alone.

Owns when an account is verified: every UTC day, a while after its end that differs from account to account, once the venue's
records of it were read.
"""

from __future__ import annotations

import asyncio
import zlib
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

import asyncpg
import structlog
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from exchanges.choice import keeps_records
from exchanges.clock import Clock, sleep_until
from gateway.config import StorageSettings
from gateway.core.journal import DAY_MS
from gateway.core.records import Verification
from gateway.core.verified import unexplained, verify, words, worst
from gateway.metrics import labelled
from gateway.storage import verification
from gateway.storage.embedded import EmbeddedPostgres, running_dsn
from gateway.storage.errors import PostgresAway, StorageError
from gateway.storage.postgres import Database
from gateway.storage.queries import Reader

if TYPE_CHECKING:
    from rich.table import Table

log = structlog.get_logger("perpwire")

_AFTER_MS = 10 * 60_000  # a venue's books are written a little late
_JITTER_MS = 50 * 60_000
_SETTLE_MS = 10 * 60_000  # after a start, which reads the past itself
_AGAIN_MS = 15 * 60_000  # where the database or the venue was away
_ATTEMPTS = 8
_LOOK_MS = 60 * 60_000  # what is unexplained is looked at again
_REMEMBERED_MS = 31 * DAY_MS

# Reads the venue's records of an account from one moment to another; returns whether it got to the end.
ReadRecords = Callable[[str, int, int], Awaitable[bool]]
# Waits until everything that was handed to storage is durable; returns whether it is.
Stored = Callable[[], Awaitable[bool]]
# Takes how many lines of an account's verifications nothing explains, and words.
Tell = Callable[[str, int, str], None]


class Sink(Protocol):
    """Where rows go; returns at once and never raises. A row put again replaces the former one."""

    def put_verification(self, verification: Verification) -> None: ...


class Verifier:
    """The daily verifications of one gateway.

    A day with something unexplained is verified again every hour for a month: what is read by ``perpwire backfill`` meanwhile may
    explain it.

    Args:
        reader: Returns how storage is read; None: not now, or not all is in there that is durable.
        sink: Takes the rows.
        read: Reads the venue's records of a day first.
    """

    def __init__(
        self, accounts: Iterable[str], reader: Callable[[], Reader | None], sink: Sink, read: ReadRecords, clock: Clock, *,
        stored: Stored, tell: Tell,
    ) -> None:  # fmt: skip
        self._accounts = list(accounts)
        self._reader, self._sink, self._read, self._clock = reader, sink, read, clock
        self._stored, self._tell = stored, tell
        self._left: dict[str, dict[int, list[Verification]]] = {}  # by account and day: rows with something unexplained
        self.lines: Counter[str] = Counter()  # by class, since the start; of each day once

    def coroutines(self) -> Iterator[tuple[str, Coroutine[None, None, None]]]:
        """Yield what has to run, with names."""
        for account in self._accounts:
            yield f"verify {account}", self._daily(account)

    async def verify(self, account: str, day: int) -> list[Verification]:
        """Verify a UTC day of an account (its beginning, ms), and store what came of it.

        Raises:
            StorageError: The database is away, or may not be read, or some of what is to be verified is not in it yet.
            asyncpg.PostgresError: Likewise.
        """
        now = self._clock.now_ms()
        await self._recall(account)
        if not await self._stored():
            raise PostgresAway("storage", "what was read is not stored yet")
        async with self._storage().connection() as connection:
            material = await verification.material(connection, account, day, day + DAY_MS, now, keeps_records)
        rows = await asyncio.to_thread(verify, material, now)
        for row in rows:
            self._sink.put_verification(row)
        self._note(account, day, rows)
        return rows

    async def _daily(self, account: str) -> None:
        wait = _AFTER_MS + zlib.crc32(account.encode()) % _JITTER_MS
        started = self._clock.now_ms()
        day = (started - wait) // DAY_MS * DAY_MS - DAY_MS  # the last that could have been verified
        while True:
            due = max(day + DAY_MS + wait, started + _SETTLE_MS)
            while self._clock.now_ms() < due:
                await sleep_until(self._clock, min(due, self._clock.now_ms() + _LOOK_MS))
                await self._attempt(account, self._again(account))
            for _ in range(_ATTEMPTS):
                if await self._attempt(account, self._once(account, day)):
                    break
                await sleep_until(self._clock, self._clock.now_ms() + _AGAIN_MS)
            day += DAY_MS

    @staticmethod
    async def _attempt(account: str, work: Coroutine[None, None, bool]) -> bool:
        """Do something with storage; return False where it has to be tried again."""
        try:
            return await work
        except (StorageError, asyncpg.PostgresError) as error:
            log.warning("a day could not be verified", account=account, error=str(error))
            return False

    async def _once(self, account: str, day: int) -> bool:
        """Verify one day; return False where it has to be tried again."""
        await self._recall(account)
        async with self._storage().connection() as connection:
            if await verification.is_verified(connection, account, day):
                return True
        if not await self._read(account, day, day + DAY_MS):
            log.warning("the venue's records of a day could not be read", account=account)
            return False
        rows = await self.verify(account, day)
        self.lines.update(finding.cls for row in rows for finding in row.findings)
        found = len(unexplained(rows))
        (log.error if found else log.info)("a day was verified", account=account, unexplained=found, rows=len(rows))
        return True

    async def _again(self, account: str) -> bool:
        """Look at the days of which something is unexplained once more."""
        now = self._clock.now_ms()
        await self._recall(account)
        for day in list(self._left[account]):
            if day < now - _REMEMBERED_MS:
                self._note(account, day, [])
            else:
                await self.verify(account, day)
        return True

    async def _recall(self, account: str) -> None:
        """After a start: remember the stored days of which something is unexplained, before any day is noted."""
        if account in self._left:
            return
        async with self._storage().connection() as connection:
            stored = await verification.unexplained(connection, account, self._clock.now_ms() - _REMEMBERED_MS)
        left: dict[int, list[Verification]] = {}
        for row in stored:
            left.setdefault(row.day, []).append(row)
        self._left[account] = left
        self._tell(account, *self._standing(account))

    def _storage(self) -> Reader:
        reader = self._reader()
        if reader is None:
            raise PostgresAway("storage", "it has not started, or something lies in the spool yet")
        return reader

    def _note(self, account: str, day: int, rows: Sequence[Verification]) -> None:
        left = self._left[account]
        left.pop(day, None)
        if unexplained(rows):
            left[day] = list(rows)
        self._tell(account, *self._standing(account))

    def _standing(self, account: str) -> tuple[int, str]:
        """Return how many lines of an account nothing explains, the newest day first, and words."""
        days = self._left.get(account, {})
        rows = [row for day in sorted(days, reverse=True) for row in days[day]]
        return len(unexplained(rows)), words(rows)

    @property
    def unexplained(self) -> dict[str, int]:
        """How many lines nothing explains, by account that was verified."""
        return {account: self._standing(account)[0] for account in sorted(self._left)}

    def figures(self) -> Iterator[Metric]:
        """Yield what Prometheus sees."""
        text = "Lines of verifications of the last month that nothing explains"
        yield labelled(GaugeMetricFamily, "verification_unexplained", text, "account", sorted(self.unexplained.items()))
        text = "Differences that verifications found"
        yield labelled(CounterMetricFamily, "verification_lines", text, "class", sorted(self.lines.items()))


async def once(
    settings: StorageSettings, account: str | None, since: int, until: int, now: int
) -> dict[str, list[Verification]]:
    """Verify one stored account, or all of them, from what is stored; beside a running gateway too. Nothing is written.

    Raises:
        StorageError: The database is away, or may not be read.
    """
    address = settings.dsn or running_dsn(settings.data_dir)
    if address is not None:
        try:
            return await _once(address, account, since, until, now)
        except PostgresAway:
            if settings.dsn:
                raise  # of the embedded one it is what a killed server left behind
    postgres = EmbeddedPostgres(settings.data_dir)
    try:
        return await _once(await postgres.start(), account, since, until, now)
    finally:
        await postgres.stop()


async def _once(dsn: str, account: str | None, since: int, until: int, now: int) -> dict[str, list[Verification]]:
    database, found = Database(dsn), {}
    connection = await database.connect()
    try:
        with database.failures():
            names = await verification.accounts(connection) if account is None else [account]
            for name in names:
                material = await verification.material(connection, name, since, until, now, keeps_records)
                found[name] = verify(material, now)
    finally:
        await connection.close()
    return found


def table(rows: Sequence[Verification]) -> Table:
    """Return rows as people read them."""
    from rich.table import Table

    found = Table("day", "account", "symbol", "compared", "equal", "class", "difference", "what")
    for row in rows:
        lines = [finding for finding in row.findings if finding.cls != "rounding"]
        head = (row.id.rpartition(":")[2], row.account, row.symbol or "balance", str(row.compared), str(row.equal))
        first = "" if lines else (worst(row.findings) or ("equal" if row.compared else "nothing to compare"))
        if not lines:
            found.add_row(*head, first, "", row.note)
        for number, line in enumerate(lines):
            differences = ", ".join(f"{name} {value}" for name, value in line.differences.items())
            found.add_row(*(head if number == 0 else ("",) * 5), line.cls, f"{differences} {line.ccy or ''}", line.what)
    return found
