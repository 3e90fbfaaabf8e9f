"""Server CPU per delivery and memory per subscriber: this hub beside three others, in interleaved rounds.

    python -m tests.bench.fanout [--subscribers 100,1000,2000] [--seconds 1] [--rounds 7]

Each server is a process of its own on core 0 (fanout_servers.py); the clients are bare sockets in this process on core 1.
One message of about 233 bytes goes to every subscriber, is read by all, then comes the next. CPU is the server process's
own (user and system, so the kernel's sending is in it). Prints a table and, last, one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import socket
import statistics
import subprocess
import sys
import time
from typing import Any

from gateway.web.server import raise_open_files
from tests.bench.fanout_servers import KINDS

SUBSCRIBE = b'{"op":"subscribe","table":"positions"}'
HANDSHAKE = (
    "GET /v1/stream HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


class Crowd:
    """One server process and its subscribers."""

    def __init__(self, kind: str, subscribers: int) -> None:
        self.kind, self.subscribers = kind, subscribers
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.fanout_servers", kind], stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        self._port, control = map(int, self._process.stdout.readline().split())
        self._control = socket.create_connection(("127.0.0.1", control))
        self._control.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._answers = self._control.makefile("rb")
        self._poll = select.epoll()
        self._sockets: dict[int, socket.socket] = {}
        self._received = 0
        # The first hundred connections pay for what is made once (buffers, caches); the others show what each one costs.
        for number in range(min(100, subscribers // 2)):
            self._connect(number)
        self._settle()
        before, counted = self._ask("rss"), len(self._sockets)
        for number in range(counted, subscribers):
            self._connect(number)
        self._settle()
        self.bytes_per_subscriber = (self._ask("rss") - before) / (subscribers - counted)
        self._received = 0

    def _connect(self, number: int) -> None:
        one = socket.create_connection(("127.0.0.1", self._port))
        one.sendall(HANDSHAKE.format(port=self._port).encode())
        head = b""
        while b"\r\n\r\n" not in head:
            head += one.recv(1024)
        if self.kind == "hub":
            one.sendall(bytes((0x81, 0x80 | len(SUBSCRIBE))) + b"\0\0\0\0" + SUBSCRIBE)
        one.setblocking(False)
        self._sockets[one.fileno()] = one
        self._poll.register(one, select.EPOLLIN)

    def _settle(self) -> None:
        """Read greetings and snapshots until it is quiet."""
        quiet = time.monotonic()
        while time.monotonic() - quiet < 0.3:
            if self._read(0.1):
                quiet = time.monotonic()

    def _read(self, timeout_s: float) -> int:
        got = 0
        for number, _ in self._poll.poll(timeout_s):
            data = self._sockets[number].recv(65_536)
            if not data:
                raise RuntimeError(f"the {self.kind} server closed a connection")
            got += len(data)
        self._received += got
        return got

    def _ask(self, question: str) -> int:
        self._control.sendall(question.encode() + b"\n")
        return int(self._answers.readline())

    def measure(self, seconds: float) -> float:
        """Publish for some seconds; return the server's CPU per delivery in µs."""
        self._control.sendall(b"go %f\n" % seconds)
        while True:
            line = self._answers.readline().split()
            if line[0] == b"done":
                return float(line[2]) * 1e6 / (int(line[1]) * self.subscribers)
            deadline = time.monotonic() + 30
            while self._received < int(line[0]):
                if time.monotonic() > deadline:
                    raise RuntimeError(f"the {self.kind} server delivered {self._received} of {line[0]!r} bytes")
                self._read(1.0)
            self._control.sendall(b"ok\n")

    def close(self) -> None:
        """End the server."""
        self._answers.close()
        self._control.close()
        for one in self._sockets.values():
            one.close()
        self._process.wait(30)
        assert self._process.stdout is not None
        self._process.stdout.close()


def compare(subscribers: int, seconds: float, rounds: int) -> dict[str, dict[str, Any]]:
    """Return the figures of each kind with this many subscribers."""
    crowds: list[Crowd] = []
    try:
        crowds += (Crowd(kind, subscribers) for kind in KINDS)
        for crowd in crowds:
            crowd.measure(0.3)  # warm
        times: dict[str, list[float]] = {kind: [] for kind in KINDS}
        for _ in range(rounds):
            for crowd in crowds:
                times[crowd.kind].append(crowd.measure(seconds))
        return {
            crowd.kind: {
                "cpu_us": round(statistics.median(times[crowd.kind]), 2),
                "spread_us": [round(min(times[crowd.kind]), 2), round(max(times[crowd.kind]), 2)],
                "kib_per_subscriber": round(crowd.bytes_per_subscriber / 1024, 1),
            }
            for crowd in crowds
        }
    finally:
        for crowd in crowds:
            crowd.close()


def aims(figures: dict[int, dict[str, dict[str, Any]]]) -> list[dict[str, Any]]:
    """Return each aim with its figure, at 1,000 subscribers where they were measured."""
    at = 1_000 if 1_000 in figures else max(figures)
    cpu = {kind: figure["cpu_us"] for kind, figure in figures[at].items()}
    found = [
        (f"CPU per delivery at {at} over raw send", cpu["hub"] / cpu["raw"], 1.6),
        (f"CPU per delivery at {at} over broadcast", cpu["hub"] / cpu["broadcast"], 1 / 1.5),
        (f"CPU per delivery at {at} over Starlette", cpu["hub"] / cpu["starlette"], 1 / 3.5),
        (f"KiB a subscriber at {at}", figures[at]["hub"]["kib_per_subscriber"], 8.0),
    ]
    return [
        {"name": name, "figure": round(figure, 3), "aim": round(aim, 3), "met": figure <= aim}
        for name, figure, aim in found
    ]


def main() -> None:
    """Print the table, the aims, and one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--subscribers", default="100,1000,2000", help="numbers of subscribers, separated by commas")
    parser.add_argument("--seconds", type=float, default=1.0, help="length of one measurement")
    parser.add_argument("--rounds", type=int, default=7, help="interleaved rounds")
    options = parser.parse_args()
    raise_open_files()
    if hasattr(os, "sched_setaffinity") and (os.cpu_count() or 1) > 1:
        os.sched_setaffinity(0, {1})
    print(
        f"one message to every subscriber, {options.rounds} interleaved rounds of {options.seconds} s; CPU of the server"
    )
    print(f"{'subscribers':>11}  {'server':<10} {'µs/delivery':>11}  {'min-max':>13}  {'KiB/subscriber':>14}")
    figures: dict[int, dict[str, dict[str, Any]]] = {}
    for subscribers in map(int, options.subscribers.split(",")):
        figures[subscribers] = compare(subscribers, options.seconds, options.rounds)
        for kind, figure in figures[subscribers].items():
            spread = "{:.2f}-{:.2f}".format(*figure["spread_us"])
            memory = figure["kib_per_subscriber"]
            print(f"{subscribers:>11}  {kind:<10} {figure['cpu_us']:>11.2f}  {spread:>13}  {memory:>14.1f}", flush=True)
    checks = aims(figures)
    for check in checks:
        print(f"{check['name']}: {check['figure']} (aim {check['aim']}): {'met' if check['met'] else 'not met'}")
    print(json.dumps({"bench": "fanout", "rounds": options.rounds, "subscribers": figures, "aims": checks}))


if __name__ == "__main__":
    main()
