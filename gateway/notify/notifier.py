"""Delivery of what alerts tell: a bounded queue and one worker a channel, tried again until it is taken or too old.

Owns counts of what was sent, failed and given up. Never waits for a channel anywhere but in that channel's worker. No address and
no secret appears in a log, a metric or an answer.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from typing import Any, Protocol

import structlog
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from exchanges.backoff import Backoff
from exchanges.clock import Clock, sleep_until
from gateway.config import Channel
from gateway.core.alerts.records import Notice
from gateway.core.alerts.rules import SEVERITIES
from gateway.metrics import labelled
from gateway.notify.failure import DeliveryFailed
from gateway.notify.others import Others, Thread
from gateway.notify.webhook import Webhook

log = structlog.get_logger("perpwire.notify")

RETRY = Backoff(base_s=1.0, cap_s=60.0)
MOST_WAITING = 1_000
# Older news is none: the alert has been in its table all the while.
LONGEST_MS = 3_600_000


class Sender(Protocol):
    """Delivers a notice once, and says what was answered; raises DeliveryFailed."""

    async def send(self, notice: Notice) -> str: ...
    async def close(self) -> None: ...


class Line:
    """One channel at work.

    Attributes:
        sent, failed, dropped: Notices taken, attempts that failed, notices given up (too old, too many, refused for good).
    """

    def __init__(self, channel: Channel, sender: Sender) -> None:
        self.name, self.settings, self.sender = channel.name, channel.settings, sender
        self.waiting: deque[Notice] = deque()
        self.sent = self.failed = self.dropped = self.failures = 0
        self.wake = asyncio.Event()

    def wants(self, notice: Notice) -> bool:
        """Say whether a notice is for this channel."""
        named = notice.channels is None or self.name in notice.channels
        return named and SEVERITIES.index(notice.severity) >= SEVERITIES.index(self.settings.min_severity)

    def put(self, notice: Notice) -> Notice | None:
        """Queue a notice; return the oldest, which is given up where there are too many."""
        given_up = self.waiting.popleft() if len(self.waiting) == MOST_WAITING else None
        self.dropped += given_up is not None
        self.waiting.append(notice)
        self.wake.set()
        return given_up


class Notifier:
    """All channels.

    Args:
        channels: With their secrets.
        random: Returns uniform fractions in [0, 1), for jitter.
        make: Makes what delivers to a channel; None: by its type.

    Attributes:
        settled: Called with a notice and the channel that took it, or gave it up.
    """

    def __init__(
        self,
        channels: Iterable[Channel],
        clock: Clock,
        random: Callable[[], float],
        make: Callable[[Channel], Sender] | None = None,
    ) -> None:
        self._clock, self._random = clock, random
        self._thread = Thread()
        self.settled: Callable[[Notice, str], None] = lambda _notice, _channel: None
        self.lines = [Line(channel, (make or self._sender)(channel)) for channel in channels]

    def _sender(self, channel: Channel) -> Sender:
        if isinstance(channel.address, str):
            return Others(channel.address, self._thread)
        allow = channel.settings.allow_private
        return Webhook(channel.address, channel.key, allow_private=allow, wall_ms=self._clock.wall_ms)

    def wanted(self, notice: Notice) -> list[str]:
        """Return the channels that a notice is for."""
        return [line.name for line in self.lines if line.wants(notice)]

    def take(self, notices: Iterable[Notice]) -> None:
        """Queue notices where they are wanted; return at once."""
        for notice in notices:
            for line in self.lines:
                given_up = line.put(notice) if line.wants(notice) else None
                if given_up is not None:
                    self.settled(given_up, line.name)

    def coroutines(self) -> Iterator[tuple[str, Coroutine[Any, Any, None]]]:
        """Yield the work of each channel, by name; it never ends by itself."""
        for line in self.lines:
            yield f"channel {line.name}", self._work(line)

    async def _work(self, line: Line) -> None:
        while True:
            while not line.waiting:
                line.wake.clear()
                await line.wake.wait()
            await self._attempt(line, line.waiting[0])

    async def _attempt(self, line: Line, notice: Notice) -> None:
        """Try to deliver the oldest notice; what failed stays the first, and everything behind it waits for the same delay."""
        try:
            await line.sender.send(notice)
        except DeliveryFailed as error:
            line.failed += 1
            given_up = not error.again or self._clock.now_ms() - notice.at > LONGEST_MS
            log.warning("an alert was not delivered", channel=line.name, reason=error.reason, given_up=given_up)
            if given_up:
                line.dropped += 1
                self._done(line, notice)
            if error.again:
                delay_s = max(RETRY.delay_s(line.failures, self._random()), error.after_s or 0.0)
                line.failures += 1
                await sleep_until(self._clock, self._clock.now_ms() + round(1000 * delay_s))
        else:
            line.sent += 1
            line.failures = 0
            self._done(line, notice)

    def _done(self, line: Line, notice: Notice) -> None:
        if line.waiting and line.waiting[0] is notice:  # else it was given up meanwhile: there were too many
            line.waiting.popleft()
            self.settled(notice, line.name)

    async def test(self, notice: Notice) -> dict[str, dict[str, object]]:
        """Deliver a notice once to every channel that it is for, now; return what each answered."""
        lines = [line for line in self.lines if notice.channels is None or line.name in notice.channels]
        answers = await asyncio.gather(*(_tried(line, notice) for line in lines))
        return {line.name: answer for line, answer in zip(lines, answers, strict=True)}

    async def settle(self, patience_s: float) -> None:
        """Wait a moment for what is being delivered; a channel that failed last is not waited for."""
        deadline = self._clock.now_ms() + round(1000 * patience_s)
        while any(line.waiting and not line.failures for line in self.lines) and self._clock.now_ms() < deadline:
            await sleep_until(self._clock, self._clock.now_ms() + 20)

    async def close(self) -> None:
        """Let go of the channels; their workers have ended."""
        for line in self.lines:
            await line.sender.close()

    def figures(self) -> Sequence[Metric]:
        """Return what Prometheus sees of the channels."""
        lines = self.lines
        return (
            labelled(GaugeMetricFamily, "notify_waiting", "Notices that wait for a channel", "channel",
                     ((line.name, len(line.waiting)) for line in lines)),
            labelled(CounterMetricFamily, "notify_sent", "Notices that a channel took", "channel",
                     ((line.name, line.sent) for line in lines)),
            labelled(CounterMetricFamily, "notify_failed", "Attempts that failed", "channel",
                     ((line.name, line.failed) for line in lines)),
            labelled(CounterMetricFamily, "notify_dropped", "Notices that were given up", "channel",
                     ((line.name, line.dropped) for line in lines)),
        )  # fmt: skip


async def _tried(line: Line, notice: Notice) -> dict[str, object]:
    try:
        return {"ok": True, "answer": await line.sender.send(notice)}
    except DeliveryFailed as error:
        return {"ok": False, "answer": error.reason}
