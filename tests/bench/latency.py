"""Mark received → first and last of N frames at the clients: the whole path but the venue's socket.

    python -m tests.bench.latency [--subscribers 1000] [--marks 20] [--seconds 20]

The gateway's parts in one process on one core: OKX public link (parsing), engine, hub, one-port server; N clients that
subscribe all positions in another process on the other core. Times are CLOCK_MONOTONIC, which both processes share.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import selectors
import socket
import subprocess
import sys
import time
from typing import Any

from exchanges.okx import VENUE as OKX
from gateway.config import EngineSettings
from gateway.core.accounts import AccountInfo
from gateway.core.protocol import Limits
from gateway.engine import Engine
from gateway.hub import Hub
from gateway.turns import Turns
from gateway.web.server import Server
from gateway.web.state import ServerState
from tests.gateway.events_of import balance, position

AIM_FIRST_P99_MS = 1.0
SYMBOLS = [f"C{number}-USDT-SWAP" for number in range(30)]
_KEY = "dGhlIHNhbXBsZSBub25jZQ=="


def crowd(port: int, count: int) -> None:
    """The clients: connect, subscribe, note for each seq when its first and last frame arrived; print them as JSON."""
    pin(1)
    selector = selectors.EpollSelector()
    subscribe = client_frame(b'{"op":"subscribe","table":"positions"}')
    request = (
        f"GET /v1/stream HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {_KEY}\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    for _ in range(count):
        one = socket.create_connection(("127.0.0.1", port))
        one.sendall(request.encode())
        head = b""
        while b"\r\n\r\n" not in head:
            head += one.recv(4096)
        one.sendall(subscribe)
        one.setblocking(False)
        selector.register(one, selectors.EVENT_READ)
    seen: dict[int, list[int]] = {}
    buffer = memoryview(bytearray(1 << 18))  # one for all: a fresh one for each read would be measured too
    greeted = left = count
    while left:
        for key, _ in selector.select(60.0):
            size = key.fileobj.recv_into(buffer)  # type: ignore[union-attr]
            now = time.monotonic_ns()
            data = bytes(buffer[:size])
            if not data:  # the server stopped: all is said
                selector.unregister(key.fileobj)
                left -= 1
            greeted -= data.count(b'"type":"snapshot"')
            note(seen, data, now)
        if greeted == 0:
            greeted = -1
            print("ready", flush=True)
    print(json.dumps({str(seq): entry for seq, entry in seen.items()}), flush=True)


def note(seen: dict[int, list[int]], data: bytes, now: int) -> None:
    """Note the arrival of every delta in ``data``: seq → [first, last, how many]."""
    start = data.find(b'"type":"delta"')
    while start >= 0:
        at = data.index(b'"seq":', start) + 6
        entry = seen.setdefault(int(data[at : data.index(b",", at)]), [now, now, 0])
        entry[1] = now
        entry[2] += 1
        start = data.find(b'"type":"delta"', at)


def client_frame(payload: bytes) -> bytes:
    """Return a masked text frame (mask 0: allowed, and it keeps the bytes readable)."""
    return bytes([0x81, 0x80 | len(payload)]) + b"\0\0\0\0" + payload


def pin(core: int) -> None:
    """Stay on one core, so that server and clients do not meet."""
    if hasattr(os, "sched_setaffinity") and (os.cpu_count() or 1) > core:
        os.sched_setaffinity(0, {core})
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def serve(subscribers: int, marks_per_s: int, seconds: int) -> dict[str, Any]:
    """Run the gateway's parts, feed marks at a fixed rate, and return the latencies of all frames."""
    account = AccountInfo(name="okx-main", venue="okx", env="live")
    engine = Engine("bench", [account], EngineSettings())
    states = [position(symbol, mark_price="100", entry_price="90") for symbol in SYMBOLS]
    engine.turn([balance("100000"), *states], 1)
    hub = Hub.on(asyncio.get_running_loop(), engine.tables, Limits())
    received: dict[int, int] = {}
    turns = Turns(engine, hub, _Clock(), lambda: None)
    endpoints = OKX.endpoints("live", None)
    link = OKX.public_links("live", endpoints)["public"]()
    server = Server()
    await server.start("127.0.0.1", 0, ServerState(hub=hub, version="bench", accounts=engine.accounts.keys))
    frames = marks_per_s * seconds
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.bench.latency", "--crowd", str(server.port), str(subscribers),
        stdout=subprocess.PIPE, limit=1 << 26,
    )  # fmt: skip
    assert child.stdout is not None
    await child.stdout.readline()
    await asyncio.sleep(1.0)  # the crowd's snapshots are behind it
    cpu, start = time.process_time(), time.monotonic()
    for number in range(frames):
        due = start + number / marks_per_s
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        symbol = SYMBOLS[number % len(SYMBOLS)]
        mark = f"{101 + (number * 7 % 1000) / 100:.2f}"  # never the one before
        raw = json.dumps(
            {
                "arg": {"channel": "mark-price", "instId": symbol},
                "data": [{"instType": "SWAP", "instId": symbol, "markPx": mark, "ts": str(1_700_000_000_000 + number)}],
            }
        ).encode()
        received[engine.tables.seq + 1] = time.monotonic_ns()
        turns.take(link.receive(raw, number))  # type: ignore[arg-type]  # a mark frame yields events alone
    cpu = time.process_time() - cpu
    await asyncio.sleep(1.0)  # the last frame has been read
    await server.stop()
    arrived = json.loads(await child.stdout.readline())
    await child.wait()
    first = sorted((entry[0] - received[int(seq)]) / 1e6 for seq, entry in arrived.items() if int(seq) in received)
    last = sorted((entry[1] - received[int(seq)]) / 1e6 for seq, entry in arrived.items() if int(seq) in received)
    return {
        "bench": "latency",
        "subscribers": subscribers,
        "marks_per_s": marks_per_s,
        "frames": len(first),
        "first_ms": {"p50": percentile(first, 0.5), "p99": percentile(first, 0.99), "max": round(first[-1], 3)},
        "last_ms": {"p50": percentile(last, 0.5), "p99": percentile(last, 0.99), "max": round(last[-1], 3)},
        "server_cpu_share": round(cpu / seconds, 3),
        "aim_first_p99_ms": AIM_FIRST_P99_MS,
        "met": percentile(first, 0.99) < AIM_FIRST_P99_MS,
    }


class _Clock:
    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    wall_ms = now_ms

    def call_at(self, at_ms: int, callback: object) -> Any:
        raise NotImplementedError("the benchmark sets no timers")


def percentile(ordered: list[float], share: float) -> float:
    """Return a percentile (ms, three decimals) of an ordered list."""
    return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 3)


def main() -> None:
    """Print what is done, and one line of JSON."""
    if sys.argv[1:2] == ["--crowd"]:
        crowd(*map(int, sys.argv[2:4]))
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--subscribers", type=int, default=1000)
    parser.add_argument("--marks", type=int, default=20)
    parser.add_argument("--seconds", type=int, default=20)
    options = parser.parse_args()
    pin(0)
    try:
        import uvloop

        runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
    except ImportError:
        runner = asyncio.Runner()
    print(
        f"{options.subscribers} clients of all {len(SYMBOLS)} positions, {options.marks} marks/s for {options.seconds} s"
    )
    with runner:
        figures = runner.run(serve(options.subscribers, options.marks, options.seconds))
    first, last = figures["first_ms"], figures["last_ms"]
    print(f"first frame p50 {first['p50']} ms, p99 {first['p99']} ms; last p50 {last['p50']} ms, p99 {last['p99']} ms")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
