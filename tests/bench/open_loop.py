"""Open-loop HTTP clients: requests are due at fixed moments, and are timed from then, whatever the answers before them do.

    python -m tests.bench.open_loop PORT RATE SECONDS CONNECTIONS < paths.json

Keep-alive connections, each asked in turn; one that still waits for an answer is asked when it came. All of them are open, and were
answered once, before the first request is due: a thousand that connect at one moment are another figure. Prints one line of JSON:
milliseconds; `busy`: the client's own share of its core.
"""

from __future__ import annotations

import collections
import contextlib
import gc
import json
import random
import select
import selectors
import socket
import sys
import time

from tests.bench.latency import pin


class Client:
    """One connection."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.due: collections.deque[tuple[float, bytes]] = collections.deque()
        self.waiting = False
        self.buffer = bytearray()
        self.need = 0

    def go(self) -> None:
        """Send what is due next, unless an answer is awaited."""
        if self.due and not self.waiting:
            self.waiting = True
            self.socket.sendall(self.due[0][1])

    def ask(self, request: bytes) -> None:
        """Ask and wait for the answer."""
        self.due.append((time.monotonic(), request))
        self.go()
        while self.take() is None:
            pass

    def take(self) -> tuple[float, int] | None:
        """Read; return when a whole answer was due and its status."""
        data = self.socket.recv(1 << 16)
        if not data:
            raise ConnectionError("the server closed a connection")
        self.buffer += data
        if not self.need:
            end = self.buffer.find(b"\r\n\r\n")
            if end < 0:
                return None
            head = bytes(self.buffer[:end]).lower()
            at = head.index(b"content-length:") + 15
            self.need = end + 4 + int(head[at:].split(b"\r\n", 1)[0])
        if len(self.buffer) < self.need:
            return None
        status = int(self.buffer[9:12])
        self.buffer.clear()
        self.need, self.waiting = 0, False
        return self.due.popleft()[0], status


def run(port: int, rate: int, seconds: float, count: int, paths: list[str]) -> dict[str, float]:
    """Ask; return the figures."""
    requests = [f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode() for path in paths]
    random.Random(3).shuffle(requests)
    selector = selectors.EpollSelector()
    clients = [Client(port) for _ in range(count)]
    for one in clients:
        one.ask(requests[0])
        selector.register(one.socket, selectors.EVENT_READ, one)
    total, sent, taken, failed = int(rate * seconds), 0, list[float](), 0
    gc.collect()
    gc.disable()
    busy, begun = time.thread_time(), time.monotonic() + 0.2
    while len(taken) < total:
        now = time.monotonic()
        while sent < total and begun + sent / rate <= now:
            one = clients[sent % count]
            one.due.append((begun + sent / rate, requests[sent % len(requests)]))
            one.go()
            sent += 1
        pause = max(0.0, begun + sent / rate - time.monotonic()) if sent < total else 5.0
        select.select([selector], [], [], pause)  # to the microsecond; epoll alone waits whole milliseconds
        for key, _ in selector.select(0):
            found = key.data.take()
            if found is not None:
                taken.append(1e3 * (time.monotonic() - found[0]))
                failed += found[1] != 200
                key.data.go()
    busy = (time.thread_time() - busy) / (time.monotonic() - begun)
    gc.enable()
    for one in clients:
        with contextlib.suppress(OSError):
            one.socket.close()
    taken.sort()
    return {
        "n": total, "p50": round(taken[total // 2], 3), "p99": round(taken[min(total - 1, int(total * 0.99))], 3),
        "worst": round(taken[-1], 3), "failed": failed, "busy": round(busy, 3),
    }  # fmt: skip


def main() -> None:
    """Read the paths and run."""
    pin(1)
    port, rate, seconds, count = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])
    print(json.dumps(run(port, rate, seconds, count, json.load(sys.stdin))))


if __name__ == "__main__":
    main()
