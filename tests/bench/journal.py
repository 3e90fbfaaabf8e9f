"""How fast the journal is written, and how fast it grows: 600-byte messages into the embedded Postgres, and into the spool.

    python -m tests.bench.journal [--seconds 10] [--events 200000]

The whole way of an event is measured: put into the write-behind, taken as part of a batch once a second, written in one transaction
with the checkpoint row (fsync and all), the loop's time included. First as fast as it goes, then 10,000 a second, open-loop.
Figures in the messages are random to the last digit, more than any venue's: what a real desk sends is compressed further.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import random
import shutil
import tempfile
import time
from pathlib import Path

import asyncpg

from exchanges.events import Fill
from gateway.core.journal import Entry, Places
from gateway.storage.checkpoint import Checkpoint
from gateway.storage.embedded import EmbeddedPostgres
from gateway.storage.mirror import StoredAccount
from gateway.storage.postgres import Database
from gateway.storage.spool import Spool

BYTES, RATE, AIM = 600, 10_000, 10_000
_ACCOUNTS = 20
_FILLS = 0.02  # of the events come with a fill


def messages(count: int, generator: random.Random) -> list[str]:
    """Return messages as a venue pushes positions, 600 bytes each."""
    found = []
    for _ in range(count):
        data = {
            "instId": f"C{generator.randrange(400)}-USDT-SWAP",
            "posId": str(generator.getrandbits(60)),
            **{
                name: f"{generator.uniform(0, 90_000):.10f}"
                for name in ("avgPx", "markPx", "liqPx", "bePx", "last", "idxPx")
            },
            **{
                name: f"{generator.uniform(-9, 9):.16f}"
                for name in ("upl", "uplRatio", "mmr", "imr", "fee", "pnl", "margin")
            },
            "uTime": str(1_763_683_200_000 + generator.getrandbits(30)),
            "pad": "",
        }
        text = json.dumps({"arg": {"channel": "positions", "instType": "SWAP"}, "data": [data]})
        found.append(text.replace('"pad": ""', f'"pad": "{"x" * (BYTES - len(text))}"')[:BYTES])
    return found


class Load:
    """Puts events into a write-behind."""

    def __init__(self, checkpoint: Checkpoint, bodies: list[str]) -> None:
        self._checkpoint, self._bodies = checkpoint, itertools.cycle(bodies)
        self._places = Places()
        self.count = 0

    def put(self, count: int) -> None:
        """Put so many events, each 50th with a fill."""
        now = time.time_ns() // 1_000_000
        for _ in range(count):
            self.count += 1
            account = f"a{self.count % _ACCOUNTS}"
            entry = Entry(
                id=self._places.next(now), at=now, kind="ws", epoch="bench", user="ann", account=account, venue="okx",
                source=f"{account}:private", venue_at=now - 5, body=next(self._bodies),
            )  # fmt: skip
            self._checkpoint.put_entry(entry)
            if self.count % round(1 / _FILLS) == 0:
                self._checkpoint.put_fill(
                    Fill(
                        account=account,
                        id=f"{account}:{self.count}",
                        symbol="C1-USDT-SWAP",
                        order_id=str(self.count),
                        side="buy",
                        price="64000.10",
                        size="1.50",
                        at=now,
                        fee="-0.01",
                        fee_ccy="USDT",
                    )
                )


async def saturated(checkpoint: Checkpoint, load: Load, events: int) -> float:
    """Write so many events in batches of a second at the aimed rate, one after the other; return events a second."""
    start = time.perf_counter()
    done = 0
    while done < events:
        load.put(RATE)
        done += RATE
        assert await checkpoint.written(60)
    return done / (time.perf_counter() - start)


async def paced(checkpoint: Checkpoint, load: Load, seconds: int) -> dict[str, float]:
    """Put events at the aimed rate whatever is done of them; return the longest a batch took and what was left behind."""
    start, longest, behind = time.perf_counter(), 0.0, 0
    for tick in itertools.count(1):
        load.put(RATE // 100)
        await asyncio.sleep(max(start + tick / 100 - time.perf_counter(), 0))
        longest = max(longest, checkpoint.status.write_ms or 0.0)
        behind = max(behind, checkpoint.status.waiting)
        if tick == seconds * 100:
            break
    spent = time.perf_counter() - start
    assert await checkpoint.written(60)
    return {
        "events_per_s": round(seconds * RATE / spent),
        "write_ms_max": round(longest, 1),
        "waiting_max": behind,
        "spooled": checkpoint.status.spool_batches,
    }


async def measure(folder: Path, seconds: int, events: int) -> dict[str, object]:
    """Return all figures."""
    bodies = messages(5_000, random.Random(1))
    server = EmbeddedPostgres(folder / "data")
    dsn = await server.start()
    checkpoint = Checkpoint(Database(dsn), "bench", spool=Spool(folder / "spool", 1 << 30))
    await checkpoint.load()
    for number in range(_ACCOUNTS):
        checkpoint.put_account(StoredAccount(name=f"a{number}", venue="okx", env="live", user="ann"))
    running = asyncio.create_task(checkpoint.run())
    load = Load(checkpoint, bodies)
    await saturated(checkpoint, load, RATE)  # the first one makes the partition
    top = await saturated(checkpoint, load, events)
    print(f"as fast as it goes: {top:>9,.0f} events/s of {BYTES} bytes", flush=True)
    steady = await paced(checkpoint, load, seconds)
    print(f"open-loop at {RATE:,}/s: {steady}", flush=True)
    assert await checkpoint.drain(60)
    await running
    sql = await asyncpg.connect(dsn)
    stored = await sql.fetchval("SELECT count(*) FROM journal")
    assert stored == load.count
    size = await sql.fetchval(
        "SELECT sum(pg_total_relation_size(inhrelid))::bigint FROM pg_inherits WHERE inhparent = 'journal'::regclass"
    )
    bodies_size = int(await sql.fetchval("SELECT sum(length(body)) FROM journal"))
    plain_size = await _plainly(sql, bodies)
    await sql.close()
    spooled = await _spooled(folder / "other", bodies, events)
    drained = await _drained(folder / "other", dsn, events)
    await server.stop()
    ratio = bodies_size / stored / BYTES
    print(f"into the spool: {spooled:,.0f} events/s, and out of it {drained:,.0f}")
    print(
        f"on disk: {size / stored:.0f} MB a million events, {plain_size:.0f} MB were they plain: {size / stored / plain_size:.0%}; "
        f"of the bodies {ratio:.0%} are left",
        flush=True,
    )
    return {
        "bench": "journal",
        "bytes": BYTES,
        "events_per_s": round(top),
        "open_loop": steady,
        "spool_events_per_s": round(spooled),
        "drained_events_per_s": round(drained),
        "mb_per_million": round(size / stored),
        "mb_per_million_plain": round(plain_size),
        "body_ratio": round(ratio, 3),
        "aim_per_s": AIM,
        "met": top >= AIM and steady["spooled"] == 0,
    }


async def _plainly(sql: asyncpg.Connection, bodies: list[str]) -> float:
    """Return how many bytes an event took, were its body stored as text."""
    await sql.execute("CREATE TABLE plain (LIKE journal)")
    await sql.execute(
        "ALTER TABLE plain ALTER body TYPE text USING '', ALTER body SET STORAGE MAIN, ADD PRIMARY KEY (id)"
    )
    await sql.execute("CREATE INDEX ON plain (account, id)")
    await sql.execute(
        "INSERT INTO plain SELECT id, at, kind, epoch, turn, seq, user_name, account, venue, source, request, request_id, "
        "venue_at, causes, ($1::text[])[1 + id % cardinality($1::text[])] FROM journal ORDER BY id",
        bodies,
    )
    return float(await sql.fetchval("SELECT pg_total_relation_size('plain')::float / count(*) FROM plain"))


async def _spooled(folder: Path, bodies: list[str], events: int) -> float:
    """Return how many events a second the spool takes while there is no database."""
    spool = Spool(folder, 1 << 30)
    checkpoint = Checkpoint(Database(f"postgresql:///none?host={folder}"), "bench", spool=spool)
    assert await checkpoint.load() is None
    running = asyncio.create_task(checkpoint.run())
    found = await saturated(checkpoint, Load(checkpoint, bodies), events)
    await checkpoint.drain(60)
    await running
    return found


async def _drained(folder: Path, dsn: str, events: int) -> float:
    """Return how many events a second the next start brings from the spool into the database."""
    checkpoint = Checkpoint(Database(dsn), "next", spool=Spool(folder, 1 << 30))
    start = time.perf_counter()
    assert await checkpoint.load() is not None
    spent = time.perf_counter() - start
    assert checkpoint.status.spool_batches == 0
    await checkpoint.drain(60)
    return events / spent


def main() -> None:
    """Print the figures, and one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=10, help="of the open-loop run")
    parser.add_argument("--events", type=int, default=200_000, help="of the runs that go as fast as they can")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="perpwire-bench-"))
    folder.chmod(0o755)
    try:
        print(json.dumps(asyncio.run(measure(folder, options.seconds, options.events))))
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
