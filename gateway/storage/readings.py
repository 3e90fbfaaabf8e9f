"""What is stored of an account's past, for whoever reads more of it from its venue."""

from __future__ import annotations

import msgspec

from gateway.core.backfills import Past
from gateway.core.records import Backfill
from gateway.storage.postgres import Connection

_SYMBOLS = """
    SELECT symbol FROM current_positions WHERE account = $1
    UNION SELECT symbol FROM fills WHERE account = $1
    UNION SELECT symbol FROM funding WHERE account = $1
"""
_HEARD = "SELECT at FROM journal WHERE account = $1 AND id < $2 ORDER BY id DESC LIMIT 1"
_UNFINISHED = "SELECT state FROM backfills WHERE account = $1 AND done < until ORDER BY at"


async def past_of(connection: Connection, account: str, before: int) -> Past:
    """Return what is stored of an account's past. ``before``: where this life begins (``journal.place``).

    Raises:
        asyncpg.PostgresError: It cannot be read.
    """
    symbols = [row["symbol"] for row in await connection.fetch(_SYMBOLS, account) if row["symbol"]]
    rows = await connection.fetch(_UNFINISHED, account)
    return Past(
        symbols=tuple(sorted(symbols)),
        unfinished=tuple(msgspec.json.decode(row["state"], type=Backfill) for row in rows),
        heard=await connection.fetchval(_HEARD, account, before),
    )
