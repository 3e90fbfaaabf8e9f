"""``perpwire replay --from-db``: the tables as they stood at a moment, from the journal alone; beside a running gateway too.

Owns the way to the database and the moment that is meant.
"""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

from gateway.config import StorageSettings
from gateway.rewind import NothingKept, Rewind
from gateway.storage import entries
from gateway.storage.embedded import EmbeddedPostgres, running_dsn
from gateway.storage.errors import PostgresAway
from gateway.storage.postgres import Database

_END = (1 << 63) - 1  # beyond every place
_SILENT_MS = 5_000  # a gateway that runs puts something down every second


def moment(text: str) -> int:
    """Return a moment (ms): ``2026-11-20T02:58:00Z`` (without a zone: UTC), or ms since the epoch. Raises ValueError."""
    if text.isdecimal():
        return int(text)
    found = datetime.fromisoformat(text)
    return round(1000 * (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp())


def silence(found: Rewind, until: int | None) -> str | None:
    """Return in words that nothing was put down for a while before the moment that was asked for (ms); None: something was."""
    if until is None or until - found.at < _SILENT_MS:
        return None
    last = datetime.fromtimestamp(found.at / 1000, UTC).isoformat(timespec="milliseconds")
    return f"the last entry before that moment is of {last}: no gateway ran then, or it was killed before it could store more"


async def rewound(settings: StorageSettings, until: int | None) -> Rewind:
    """Go through the journal up to a moment (ms, inclusive; None: to its end) and return how everything stood.

    Raises:
        NothingKept: Nothing of that time is kept, or another version of this program wrote it.
        StorageError: The database is away, or may not be read.
    """
    before = _END if until is None else entries.before(until)
    address = settings.dsn or running_dsn(settings.data_dir)
    if address is not None:
        try:
            return await _read(address, before)
        except PostgresAway:
            if settings.dsn:
                raise  # of the embedded one it is what a killed server left behind
    postgres = EmbeddedPostgres(settings.data_dir)
    try:
        return await _read(await postgres.start(), before)
    finally:
        await postgres.stop()


async def _read(dsn: str, before: int) -> Rewind:
    database, found = Database(dsn), Rewind()
    connection = await database.connect()
    try:
        with database.failures():
            async for row in entries.life(connection, before):
                found.feed(row)
        found.finish()
    except msgspec.MsgspecError as error:
        raise NothingKept(
            f"{database.where}: entry {found.last} of the journal cannot be read ({error}): another version of perpwire "
            "wrote it. Replay it with that version"
        ) from None
    finally:
        await connection.close()
    return found
