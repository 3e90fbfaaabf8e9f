"""Questions about a year that is stored, live reads beside them, and files of a million rows.

    python -m tests.bench.queries [--journal 10000000] [--fills 1000000] [--seconds 20] [--connections 1000] [--rate 1000]
                                  [--keep FOLDER]

The gateway's parts in one process (engine with ticking marks, one-port server, read pool, embedded Postgres), on one core;
open-loop clients in another process on the other core: requests are due at fixed moments whatever the answers do, and each is
timed from the moment that it was due. First of a server that only writes: what of a figure is the clients' and the machine's own.
20 accounts of 30 positions; the year is generated in SQL, with ``--keep`` once: later runs ask the same. Memory: the peak of this
process while a file is streamed, from before it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import asyncpg
import msgspec
import uvloop

from exchanges.events import Event
from gateway.core.journal import DAY_MS
from gateway.core.protocol import Limits
from gateway.engine import Engine
from gateway.history_desk import HistoryDesk
from gateway.hub import Hub
from gateway.storage import partitions, payloads
from gateway.storage.embedded import EmbeddedPostgres
from gateway.storage.migrate import upgrade
from gateway.storage.postgres import Connection
from gateway.storage.queries import Reader
from gateway.web.server import BACKLOG, Server
from gateway.web.state import ServerState
from tests.bench.journal import messages
from tests.bench.latency import pin
from tests.gateway.events_of import AccountInfo, balance, engine, instrument, mark, position

AIM_HISTORY_MS, AIM_LIVE_MS, AIM_SHARE = 50.0, 10.0, 0.95
ACCOUNTS, SYMBOLS, DAYS, JOURNAL_DAYS = 20, 30, 365, 30
NAMES = [f"C{n}-USDT-SWAP" for n in range(SYMBOLS)]
INFOS = [AccountInfo(name=f"a{n}", venue="okx", env="live", user="ann", strategy=f"s{n % 4}") for n in range(ACCOUNTS)]
_TICK_S = 0.1

# Records are spread over the year; account and symbol follow from the number.
_WHOSE = """'a' || n % 20 AS account, 'C' || n / 20 % 30 || '-USDT-SWAP' AS symbol,
    $1::bigint + n * ($2::bigint - $1) / $3::bigint AS at"""
_FILLS = f"""
    INSERT INTO fills (id, account, at, state, user_name, journal)
    SELECT account || ':' || n, account, at, jsonb_build_object('account', account, 'id', account || ':' || n,
        'symbol', symbol, 'order_id', 'o' || n / 3, 'trade_id', n::text, 'side', CASE WHEN n % 2 = 0 THEN 'sell' ELSE 'buy' END,
        'size', (n % 97)::text,
        'price', (100 + n % 1000 * 0.01)::text, 'at', at, 'fee', (-0.01 * (n % 7))::text, 'fee_ccy', 'USDT',
        'realized_pnl', ((n % 2001 - 1000) * 0.0123)::text, 'cause', 'trade', 'category', 'normal', 'role', 'taker'),
        'ann', at << 20
    FROM (SELECT n, {_WHOSE} FROM generate_series(1, $3::bigint) AS n) AS given
"""
_HISTORY = f"""
    INSERT INTO position_history (id, account, at, state, user_name, journal, number, folded, chain)
    SELECT account || ':' || symbol || ':net@' || n, account, at, jsonb_build_object('account', account, 'id',
        account || ':' || symbol || ':net@' || n, 'position', account || ':' || symbol || ':net', 'symbol', symbol,
        'side', CASE WHEN n % 2 = 0 THEN 'long' ELSE 'short' END, 'settle', 'USDT', 'size', (n % 97)::text,
        'entry_price', '100.10', 'exit_price', '101.2', 'status', 'closed', 'reason', 'trade', 'realized_pnl', '1.234',
        'fees', '-0.1', 'funding', '-0.02', 'liquidation_fee', '0', 'realized_net', '1.114', 'opened_at', at - 7200000,
        'closed_at', at, 'fills', 4, 'partial_closes', 1,
        'complete', true, 'other_fees', jsonb_build_object(), 'differs', jsonb_build_object()), 'ann', at << 20, n, at,
        jsonb_build_object('legs', repeat('x', 300))
    FROM (SELECT n, {_WHOSE} FROM generate_series(1, $3::bigint) AS n) AS given
"""
_BODIES = 1_000  # different ones
_JOURNAL = """
    INSERT INTO journal (id, at, kind, epoch, turn, seq, user_name, account, venue, source, body)
    SELECT (at << 20) + n % 1048576, at, 'ws', 'bench', 0, 0, 'ann', 'a' || n % 20, 'okx', 'private',
        ($6::bytea[])[1 + n % cardinality($6::bytea[])]
    FROM (SELECT n, $1::bigint + n * ($2::bigint - $1) / $3::bigint AS at FROM generate_series($4::bigint, $5::bigint) AS n) AS x
"""
_EQUITY = """
    INSERT INTO equity_samples (id, account, at, state, user_name)
    SELECT 'a' || a || ':' || at, 'a' || a, at, jsonb_build_object('account', 'a' || a, 'at', at, 'equity_usd', 1000 + at % 977,
        'high_usd', 1000 + at % 977, 'high_at', at, 'equity', jsonb_build_object('USDT', 1000 + at % 977)), 'ann'
    FROM generate_series(0, 19) AS a, generate_series($1::bigint, $2::bigint, 3600000) AS at
"""


# --- the year ------------------------------------------------------------------------------------------------------------


async def generate(dsn: str, journal: int, fills: int, now: int) -> dict[str, float]:
    """Fill a database; return how long each part took, seconds, and its size."""
    sql = await asyncpg.connect(dsn)
    spent: dict[str, float] = {}

    async def part(name: str, statement: str, *given: object) -> None:
        begun = time.monotonic()
        await sql.execute(statement, *given)
        spent[name] = round(time.monotonic() - begun, 1)

    await sql.execute("SET synchronous_commit = off")
    for info in INFOS:
        await sql.execute(
            "INSERT INTO accounts (name, user_name, venue, env, updated_at) VALUES ($1, 'ann', 'okx', 'live', 1)",
            info.name,
        )
    for name in NAMES:
        state = msgspec.json.encode(instrument(name, base=name[:-10])).decode()
        await sql.execute(
            "INSERT INTO contracts (venue, env, symbol, state, last_sync) VALUES ('okx', 'live', $1, $2, 1)",
            name,
            state,
        )
    since = now - DAYS * DAY_MS
    await part("fills", _FILLS, since, now, fills)
    await part("history", _HISTORY, since, now, fills // 5)
    await part("equity", _EQUITY, since, now)
    first = now - JOURNAL_DAYS * DAY_MS

    def number(at: int) -> int:
        """Return the first entry that is not before a moment."""
        return min(max(-(-(at - first) * journal // (now - first)), 0), journal)

    begun = time.monotonic()
    bodies = [payloads.pack("ws", "okx", text) for text in messages(_BODIES, random.Random(1))]
    for day in range(first // DAY_MS * DAY_MS, now + 1, DAY_MS):
        async with sql.transaction():  # what is written into a table that the same transaction made needs no log
            for table in partitions.PARTITIONED:
                await partitions.make(sql, table, day)
            await sql.execute(_JOURNAL, first, now, journal, number(day), number(day + DAY_MS) - 1, bodies)
    spent["journal"] = round(time.monotonic() - begun, 1)
    await sql.execute(
        "INSERT INTO mark_samples (id, venue, env, symbol, kind, at, value, turn, epoch) "
        "SELECT at << 20, 'okx', 'live', 'USDT', 'usd', at, '0.9998', 1, 'bench' "
        "FROM generate_series($1::bigint, $2::bigint, 60000) AS at",
        first,
        now,
    )
    await part("vacuum", "VACUUM ANALYZE")
    await part("checkpoint", "CHECKPOINT")  # a year that is written: nothing is measured while its pages go to the disk
    spent["gigabytes"] = round(await sql.fetchval("SELECT pg_database_size(current_database())") / 1e9, 2)
    await sql.close()
    return spent


# --- the gateway ---------------------------------------------------------------------------------------------------------


class CountingReader(Reader):
    """Says how often the database was asked."""

    asked = 0

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """Lend a session."""
        self.asked += 1
        async with super().connection() as lent:
            yield lent


def live() -> Engine:
    """Return an engine of 20 accounts with 30 positions each."""
    one = engine(*INFOS)
    one.turn([instrument(name, base=name[:-10]) for name in NAMES], 1_000)
    events: list[Event] = []
    for info in INFOS:
        events += [balance("3000", account=info.name), *(position(name, info.name) for name in NAMES)]
    one.turn(events, 2_000)
    one.clock(3_000)
    return one


async def ticking(one: Engine, hub: Hub) -> None:
    """Move every mark, ten times a second, and work out once a second what is worked out then."""
    generator, now = random.Random(1), 4_000
    while True:
        now += 100
        one.turn([mark(f"{generator.uniform(105, 115):.2f}", name, at=now) for name in NAMES], now)
        if now % 1_000 == 0:
            one.clock(now)
        hub.flush()
        await asyncio.sleep(_TICK_S)


# --- clients -------------------------------------------------------------------------------------------------------------


async def ask(port: int, name: str, paths: list[str], rate: int, seconds: float, connections: int) -> dict[str, Any]:
    """Let clients of another process ask; return their figures."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.bench.open_loop", str(port), str(rate), str(seconds), str(connections),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    begun = time.process_time()
    out, _ = await process.communicate(json.dumps(paths).encode())
    found: dict[str, Any] = json.loads(out)
    found["cpu_us"] = round(1e6 * (time.process_time() - begun) / found["n"])  # of the gateway, ticking marks and all
    times = "  ".join(f"{one} {found[one]:>7.2f} ms" for one in ("p50", "p99", "worst"))
    print(
        f"{name:<34} n {found['n']:>6}  {times}  CPU {found['cpu_us']:>5} µs  other than 200: {found['failed']}  "
        f"clients busy: {found['busy']:.0%}",
        flush=True,
    )
    return found


class OnlyWrites(asyncio.Protocol):
    """Answers everything with as many bytes as 30 rows have."""

    _ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 25000\r\n\r\n" + bytes(25_000)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Answer."""
        self._transport.write(self._ANSWER)


async def floor(rate: int, seconds: float, connections: int) -> dict[str, Any]:
    """Return the figures of a server that only writes."""
    server = await asyncio.get_running_loop().create_server(OnlyWrites, "127.0.0.1", 0, backlog=BACKLOG)
    port: int = server.sockets[0].getsockname()[1]
    found = await ask(port, f"a server that only writes, {rate}/s", ["/"], rate, seconds, connections)
    server.close()
    return found


def history_paths(now: int) -> dict[str, list[str]]:
    """Return what is asked of the past: of one account and of all, the newest, further back, and a month of sums."""
    generator = random.Random(2)
    lists, sums = [], []
    for _ in range(200):
        account, symbol = f"a{generator.randrange(ACCOUNTS)}", generator.choice(NAMES)
        until = now - generator.randrange(DAYS * DAY_MS)
        base = "/v1/positions/history?limit=100"
        lists += [
            base,
            f"{base}&account={account}",
            f"{base}&account={account}&symbol={symbol}",
            f"{base}&to={until}",
            f"{base}&strategy=s1",
        ]
        month = until - 30 * DAY_MS
        sums += [f"/v1/pnl?account={account}", "/v1/pnl", f"/v1/pnl?from={month}&to={until}",
                 f"/v1/pnl?bucket=month&account={account}",
                 f"/v1/pnl?bucket=hour&account={account}"]  # fmt: skip
    return {"/v1/positions/history": lists, "/v1/pnl": sums}


# --- memory --------------------------------------------------------------------------------------------------------------


def _kib(field: str) -> int:
    return next(
        int(line.split()[1]) for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field)
    )


async def stream(port: int, path: str) -> dict[str, float]:
    """Stream a file to a client of another process; return its rows, how much this process grew at most, and for how long."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before, begun = _kib("VmRSS"), time.monotonic()
    script = (
        "import sys, urllib.request as u; "
        "r = u.urlopen(u.Request(sys.argv[1], headers={'accept': 'text/csv'})); n = 0\n"
        "while part := r.read(1 << 16): n += part.count(b'\\n')\n"
        "print(n - 1)"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, f"http://127.0.0.1:{port}{path}", stdout=subprocess.PIPE
    )
    out, _ = await process.communicate()
    seconds = time.monotonic() - begun
    found = {
        "rows": int(out),
        "grew_mib": round((_kib("VmHWM") - before) / 1024, 1),
        "peak_mib": round(_kib("VmHWM") / 1024),
        "seconds": round(seconds, 1),
    }
    print(
        f"{'file of ' + format(found['rows'], ',') + ' rows':<34} {found['grew_mib']:.1f} MiB more than before, "
        f"{found['peak_mib']} in all, {seconds:.1f} s"
    )
    return found


async def year(dsn: str, folder: Path, options: argparse.Namespace) -> tuple[int, dict[str, float]]:
    """Generate, unless an earlier run did; return when the year ends (ms), and what it took."""
    await upgrade(dsn)
    note, size = folder / "made.json", [options.journal, options.fills]
    if note.exists():
        made = json.loads(note.read_text())
        if made["size"] != size:
            raise SystemExit(f"{folder} has {made['size']} journal rows and fills, not {size}: choose another folder")
        return made["now"], made["generated_s"]
    now = time.time_ns() // 1_000_000
    spent = await generate(dsn, *size, now)
    note.write_text(json.dumps({"size": size, "now": now, "generated_s": spent}))
    return now, spent


async def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Generate, serve, ask."""
    postgres = EmbeddedPostgres(folder / "data")
    dsn = await postgres.start()
    pin(0)  # Postgres may use both
    figures: dict[str, Any] = {"bench": "queries", "journal": options.journal, "fills": options.fills}
    now, figures["generated_s"] = await year(dsn, folder, options)
    print(f"generated: {figures['generated_s']}")
    one, reader, server = live(), CountingReader(dsn), Server()
    hub = Hub.on(asyncio.get_running_loop(), one.tables, Limits())
    desk = HistoryDesk(one, lambda: reader, lambda: now)
    await server.start(
        "127.0.0.1",
        0,
        ServerState(hub=hub, version="bench", accounts=one.accounts.keys, history=desk, now_ms=lambda: now),
    )
    gc.collect()
    gc.freeze()  # as a gateway does that serves
    figures["floor"] = await floor(options.rate, min(options.seconds, 5.0), options.connections)
    ticks = asyncio.create_task(ticking(one, hub))
    paths = history_paths(now)
    rows = [f"/v1/positions?account={info.name}" for info in INFOS]
    try:
        step = DAYS * DAY_MS // options.fills
        figures["files"] = [
            await stream(server.port, f"/v1/fills?{query}") for query in (f"from={now - 10 * step}", f"to={now}")
        ]
        for name, asked in paths.items():
            await ask(server.port, f"{name}, warm up", asked, 50, 2, 8)
            found = await ask(server.port, f"{name}, 50/s", asked, 50, options.seconds, 8)
            figures[name] = found | {
                "aim_ms": AIM_HISTORY_MS,
                "met": found["p99"] < AIM_HISTORY_MS and not found["failed"],
            }
        before = reader.asked
        many = await ask(
            server.port, f"live reads, {options.rate}/s", rows, options.rate, options.seconds, options.connections
        )
        figures["live"] = many | {"aim_ms": AIM_LIVE_MS, "met": many["p99"] < AIM_LIVE_MS and not many["failed"]}
        share = 1 - (reader.asked - before) / many["n"]
        figures["live_without_database"] = {"share": share, "met": share > AIM_SHARE}
        print(f"{'live reads without the database':<34} {share:.1%}")
        both = (
            ask(server.port, "live reads, beside history", rows, options.rate, options.seconds, options.connections),
            ask(server.port, "history beside them, 50/s", paths["/v1/positions/history"], 50, options.seconds, 8),
        )
        figures["live_beside_history"], figures["history_beside_live"] = await asyncio.gather(*both)
    finally:
        ticks.cancel()
        await server.stop()
        await reader.close()
        await postgres.stop()
    return figures


def main() -> None:
    """Print figures, and one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--journal", type=int, default=10_000_000)
    parser.add_argument("--fills", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--connections", type=int, default=1_000)
    parser.add_argument("--rate", type=int, default=1_000)
    parser.add_argument("--keep", type=Path, help="the folder that the year is in, or will be")
    options = parser.parse_args()
    with contextlib.ExitStack() as held:
        folder = options.keep or Path(held.enter_context(tempfile.TemporaryDirectory(prefix="perpwire-bench-")))
        folder.mkdir(exist_ok=True)
        folder.chmod(0o755)  # Postgres may run as another user
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            figures = runner.run(measure(options, folder))
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
