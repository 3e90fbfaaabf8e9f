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
_UNFINISHED = "SELECT state FROM backfills WHERE account = $1 AND done < until ORDER BY at"


async def past_of(connection: Connection, account: str) -> Past:
    """Return the symbols that an account held, and the readings that were broken off. Raises asyncpg.PostgresError."""
    symbols = [row["symbol"] for row in await connection.fetch(_SYMBOLS, account) if row["symbol"]]
    rows = await connection.fetch(_UNFINISHED, account)
    return Past(
        symbols=tuple(sorted(symbols)),
        unfinished=tuple(msgspec.json.decode(row["state"], type=Backfill) for row in rows),
    )
