"""Position history, kept beside the fills: what a batch adds to it, in the batch's own transaction."""

from __future__ import annotations

from gateway.storage.batch import Batch
from gateway.storage.postgres import Connection


async def derive(connection: Connection, batch: Batch) -> None:
    """Bring the open → close cycles to the fills and payments of a batch, inside the caller's transaction, after its rows."""
