"""The servers that ``tests.bench.fanout`` compares, one process each, on core 0:

    python -m tests.bench.fanout_servers hub|broadcast|starlette|raw

Prints the ports of its clients and of its control connection. On the control connection ``go S`` publishes one message after
another for S seconds; after each it says how many bytes all clients are to have by now and waits for the word that they do,
so that every message reaches every subscriber and none is merged with the next. ``rss`` answers the resident memory.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import os
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

FRAME_BYTES = 233
PAYLOAD = b"x" * (FRAME_BYTES - 4)  # a 4-byte header: 126 to 65,535 bytes
Publish = Callable[[], int]  # publishes one message; returns all bytes that the clients are to have by now

_SEND_LOOP = """
#include <sys/socket.h>
long burst(const int *fds, int count, const char *data, unsigned long size) {
    long sent = 0;
    for (int i = 0; i < count; i++) sent += send(fds[i], data, size, MSG_NOSIGNAL);
    return sent;
}
"""


def rss_bytes() -> int:
    """Return the resident memory of this process."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


async def control(publish: Publish, ports: list[int]) -> None:
    """Obey the control connection until it ends."""
    ended = asyncio.Event()

    async def obey(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := (await reader.readline()).split():
            if line[0] == b"rss":
                writer.write(b"%d\n" % rss_bytes())
            else:
                cpu, end, messages = time.process_time(), time.monotonic() + float(line[1]), 0
                while time.monotonic() < end:
                    writer.write(b"%d\n" % publish())
                    await reader.readline()
                    messages += 1
                writer.write(b"done %d %f\n" % (messages, time.process_time() - cpu))
        writer.close()
        ended.set()

    server = await asyncio.start_server(obey, "127.0.0.1", 0)
    print(*ports, server.sockets[0].getsockname()[1], flush=True)
    await ended.wait()


async def hub() -> None:
    """Ours: a table, the hub, the one-port server."""
    from gateway.core.protocol import Limits
    from gateway.core.tables import RowKey, Table, Tables
    from gateway.hub import Hub
    from gateway.web.server import Server
    from gateway.web.state import ServerState

    row: dict[str, object] = {"symbol": "BTC-USDT-SWAP", "size": "12.5", "entry_price": "61000.1"}
    table = Table("positions", lambda slot, id_: dict(row), ("accounts", "symbols"))
    tables = Tables("bench", table)
    served = Hub.on(asyncio.get_running_loop(), tables, Limits(heartbeat_ms=10**8, dead_after_ms=10**9))
    slot = table.add("main:BTC-USDT-SWAP:net:cross", RowKey("main", "joe", "okx", "BTC-USDT-SWAP"))
    tables.commit(0)
    server, number, start = Server(), 0, -1
    await server.start("127.0.0.1", 0, ServerState(hub=served, version="bench", accounts=lambda: ("main",)))

    def publish() -> int:
        nonlocal number, start
        if start < 0:
            start = served.statistics().delivered_bytes  # the snapshots are behind us
        number += 1
        row.update(mark_price=61_000 + number, unrealized_pnl=number * 0.25, mark_at=1_763_683_200_000 + number)
        table.touch([slot], tables.begin())
        tables.commit(1_763_683_200_000 + number)
        served.flush()
        return served.statistics().delivered_bytes - start

    await control(publish, [server.port])
    await server.stop()


async def broadcast() -> None:
    """``websockets.broadcast`` to all connections of a ``websockets`` server."""
    from websockets.asyncio.server import ServerConnection, serve
    from websockets.asyncio.server import broadcast as send_all

    connections: set[ServerConnection] = set()
    sent = 0
    text = PAYLOAD.decode()

    async def handler(connection: ServerConnection) -> None:
        connections.add(connection)
        with suppress(Exception):  # clients go without a goodbye when the benchmark ends
            await connection.wait_closed()

    def publish() -> int:
        nonlocal sent
        send_all(connections, text)
        sent += FRAME_BYTES * len(connections)
        return sent

    async with serve(handler, "127.0.0.1", 0, compression=None, ping_interval=None, backlog=4096) as server:
        await control(publish, [next(iter(server.sockets)).getsockname()[1]])


async def starlette() -> None:
    """A Starlette WebSocket endpoint on uvicorn with a queue per client."""
    import uvicorn
    from starlette.applications import Starlette
    from starlette.routing import WebSocketRoute
    from starlette.websockets import WebSocket

    queues: set[asyncio.Queue[str]] = set()
    sent = 0
    text = PAYLOAD.decode()

    async def endpoint(websocket: WebSocket) -> None:
        await websocket.accept()
        queue: asyncio.Queue[str] = asyncio.Queue(1_000)
        queues.add(queue)
        while True:
            await websocket.send_text(await queue.get())

    def publish() -> int:
        nonlocal sent
        for queue in queues:
            queue.put_nowait(text)
        sent += FRAME_BYTES * len(queues)
        return sent

    listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
    app = Starlette(routes=[WebSocketRoute("/v1/stream", endpoint)])
    config = uvicorn.Config(
        app, ws_per_message_deflate=False, ws_ping_interval=None, lifespan="off", log_config=None, backlog=4096
    )
    serving = asyncio.create_task(uvicorn.Server(config).serve(sockets=[listener]))
    await control(publish, [listener.getsockname()[1]])
    serving.cancel()
    os._exit(0)  # thousands of endpoints that wait for their queue are of no further interest


async def raw() -> None:
    """A loop over ``send``: in C where there is a compiler, else over Python's ``socket.send``."""
    import websockets.server

    listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
    listener.setblocking(False)
    sockets: list[socket.socket] = []
    frame = b"\x81\x7e" + len(PAYLOAD).to_bytes(2, "big") + PAYLOAD
    loop = asyncio.get_running_loop()
    sent, burst, fds = 0, _compiled(), ctypes.c_int * 0
    array: Any = fds()

    async def accept() -> None:
        while True:
            one, _ = await loop.sock_accept(listener)
            protocol = websockets.server.ServerProtocol()
            protocol.receive_data(await loop.sock_recv(one, 4096))
            (request,) = protocol.events_received()
            protocol.send_response(protocol.accept(request))  # type: ignore[arg-type]  # the first event is the request
            await loop.sock_sendall(one, b"".join(protocol.data_to_send()))
            sockets.append(one)

    def publish() -> int:
        nonlocal sent, array
        if burst is None:
            for one in sockets:
                one.send(frame)
        else:
            if len(array) != len(sockets):
                array = (ctypes.c_int * len(sockets))(*(one.fileno() for one in sockets))
            burst(array, len(sockets), frame, len(frame))
        sent += len(frame) * len(sockets)
        return sent

    accepting = asyncio.create_task(accept())
    await control(publish, [listener.getsockname()[1]])
    accepting.cancel()


def _compiled() -> Any:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "send.so"
        command = [compiler, "-O2", "-shared", "-fPIC", "-x", "c", "-", "-o", str(library)]
        if subprocess.run(command, input=_SEND_LOOP.encode(), check=False, capture_output=True).returncode:
            return None
        function = ctypes.CDLL(str(library)).burst
    function.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_ulong]
    function.restype = ctypes.c_long
    return function


KINDS = {"hub": hub, "broadcast": broadcast, "starlette": starlette, "raw": raw}


def main() -> None:
    """Serve as the kind that was asked for."""
    import uvloop

    from gateway.web.server import raise_open_files

    raise_open_files()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {0})
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(KINDS[sys.argv[1]]())


if __name__ == "__main__":
    main()
