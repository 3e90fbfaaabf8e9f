"""How long a start takes with a full spool: until clients could be served, and until the database has everything.

    python -m tests.bench.bad_night [--mb 200] [--events 10000]

A gateway without a database fills its spool, in batches of so many events of 600 bytes; each tenth changes a position, each
fiftieth comes with a fill. It is killed, and the next one starts beside the database.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import shutil
import tempfile
import time
from pathlib import Path

from exchanges.events import PositionState
from gateway.storage.checkpoint import Checkpoint
from gateway.storage.embedded import EmbeddedPostgres
from gateway.storage.mirror import StoredAccount
from gateway.storage.postgres import Database
from gateway.storage.spool import Spool
from tests.bench.journal import Load, messages
from tests.gateway.storage.conftest import eventually

AIM_S = 10.0  # of a start with 1 GB in the spool
_ACCOUNTS, _SYMBOLS = 20, 10
_CHANGES = 0.1


def state(number: int) -> PositionState:
    """Return a report of one of two hundred positions."""
    account, symbol = f"a{number % _ACCOUNTS}", f"C{number // _ACCOUNTS % _SYMBOLS}-USDT-SWAP"
    return PositionState(
        account=account,
        id=f"{account}:{symbol}:net:cross:USDT",
        symbol=symbol,
        side="long",
        size=f"{number}.50",
        pool="USDT",
        margin_mode="cross",
        settle="USDT",
        entry_price="64000.10",
        scope="SWAP",
        mark_price="64012.5",
        venue_unrealized_pnl="12.3456789",
        leverage="10",
        opened_at=1_763_683_200_000,
        fence=(number,),
    )


async def fill(folder: Path, megabytes: int, events: int) -> tuple[int, int]:
    """Fill a spool in batches of so many events; return how many batches and bytes lie in it."""
    spool = Spool(folder, (megabytes + 100) << 20)
    checkpoint = Checkpoint(Database(f"postgresql:///none?host={folder}"), "bench", spool=spool)
    assert await checkpoint.load() is None
    for number in range(_ACCOUNTS):
        checkpoint.put_account(StoredAccount(name=f"a{number}", venue="okx", env="live", user="ann"))
    running = asyncio.create_task(checkpoint.run())
    load, changes = Load(checkpoint, messages(5_000, random.Random(1))), 0
    while spool.figures.bytes < megabytes << 20:
        load.put(events)
        for _ in range(max(round(events * _CHANGES), 1)):
            changes += 1
            checkpoint.put_position(state(changes), changes)
        assert await checkpoint.written(60)
    assert await checkpoint.drain(60)
    await running
    return spool.figures.batches, spool.figures.bytes


async def measure(folder: Path, megabytes: int, events: int) -> dict[str, object]:
    """Return all figures."""
    server = EmbeddedPostgres(folder / "data")
    dsn = await server.start()
    first = Checkpoint(Database(dsn), "first")
    await first.load()
    assert await first.drain(60)
    batches, size = await fill(folder / "spool", megabytes, events)
    print(f"{size >> 20} MB in {batches} batches", flush=True)
    checkpoint = Checkpoint(Database(dsn), "next", spool=Spool(folder / "spool", 2 << 30))
    began = time.perf_counter()
    restored = await checkpoint.load()
    served = time.perf_counter() - began
    assert restored is not None
    assert len(restored.positions) == min(_ACCOUNTS * _SYMBOLS, round(batches * events * _CHANGES))
    running = asyncio.create_task(checkpoint.run())
    await eventually(lambda: not checkpoint.status.spool_batches, "the spool is empty", 600)
    drained = time.perf_counter() - began
    print(f"a start could serve after {served:.1f} s; everything was in the database after {drained:.1f} s", flush=True)
    assert await checkpoint.drain(60)
    await running
    await server.stop()
    return {
        "bench": "bad_night",
        "spool_mb": size >> 20,
        "batches": batches,
        "served_s": round(served, 2),
        "drained_s": round(drained, 2),
        "aim_served_s": AIM_S,
        "met": served <= AIM_S,
    }


def main() -> None:
    """Print the figures, and one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mb", type=int, default=200, help="in the spool")
    parser.add_argument("--events", type=int, default=10_000, help="of a batch")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="perpwire-bench-"))
    folder.chmod(0o755)
    try:
        print(json.dumps(asyncio.run(measure(folder, options.mb, options.events))))
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
