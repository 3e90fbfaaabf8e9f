"""Delivery: who is told, in which order, tried again with patience, bounded, and without a word of secrets."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import threading
import types
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import structlog
from yarl import URL

from gateway.config import Channel, ChannelSettings
from gateway.core.alerts.records import Notice
from gateway.core.alerts.rules import Severity
from gateway.notify.failure import DeliveryFailed
from gateway.notify.notifier import LONGEST_MS, MOST_WAITING, Notifier
from gateway.notify.others import Others, Thread
from tests.exchanges.doubles import StillClock
from tests.gateway.notify.receiver import receiver


def channel(name: str = "desk", min_severity: Severity = "info", **given: Any) -> Channel:
    settings = ChannelSettings("webhook", "env:URL", "env:SECRET", allow_private=True, min_severity=min_severity)
    return Channel(name, settings, URL(given.get("url", "http://nowhere.invalid/token")), b"a-secret-of-the-desk")


def notice(
    key: str = "1", severity: Severity = "warning", at: int = 0, channels: tuple[str, ...] | None = None
) -> Notice:
    return Notice(key, "firing", severity, f"message {key}", at, {"id": key}, channels)


class Sender:
    """Takes notices, or fails as told."""

    def __init__(self) -> None:
        self.taken: list[str] = []
        self.failures: list[DeliveryFailed] = []

    async def send(self, one: Notice) -> str:
        if self.failures:
            raise self.failures.pop(0)
        self.taken.append(one.key)
        return "ok"

    async def close(self) -> None:
        pass


@contextlib.asynccontextmanager
async def working(
    *channels: Channel, clock: StillClock, make: Callable[[Channel], Any] | None = None
) -> AsyncIterator[Notifier]:
    """A notifier whose workers run."""
    notifier = Notifier(channels, clock, lambda: 0.5, make)
    tasks = [asyncio.create_task(work) for _, work in notifier.coroutines()]
    try:
        yield notifier
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await notifier.close()


async def passed(count: int = 20) -> None:
    """Return after some passes of the loop."""
    for _ in range(count):
        await asyncio.sleep(0)


async def test_a_channel_gets_what_is_for_it_in_order() -> None:
    senders = {"desk": Sender(), "night": Sender()}
    clock = StillClock()
    async with working(
        channel(), channel("night", "error"), clock=clock, make=lambda one: senders[one.name]
    ) as notifier:
        notifier.take([notice("1"), notice("2", "critical"), notice("3", "critical", channels=("desk",))])
        await passed()
    assert senders["desk"].taken == ["1", "2", "3"]
    assert senders["night"].taken == ["2"]


async def test_what_failed_is_tried_again_first_and_with_patience() -> None:
    sender, clock = Sender(), StillClock()
    sender.failures = [DeliveryFailed("HTTP 500", again=True), DeliveryFailed("HTTP 429", again=True, after_s=30.0)]
    async with working(channel(), clock=clock, make=lambda _: sender) as notifier:
        (line,) = notifier.lines
        notifier.take([notice("1"), notice("2")])
        await passed()
        assert (line.failed, sender.taken) == (1, [])
        clock.advance(499)
        await passed()
        assert line.failed == 1
        clock.advance(1)
        await passed()
        assert line.failed == 2, "half of the first back-off second"
        clock.advance(29_999)
        await passed()
        assert sender.taken == []
        clock.advance(1)
        await passed()
    assert (sender.taken, line.sent, line.dropped, line.failures) == (["1", "2"], 2, 0, 0)


async def test_what_is_refused_for_good_or_too_old_is_given_up_and_counted() -> None:
    sender, clock = Sender(), StillClock()
    async with working(channel(), clock=clock, make=lambda _: sender) as notifier:
        (line,) = notifier.lines
        sender.failures = [DeliveryFailed("HTTP 404", again=False)]
        notifier.take([notice("1"), notice("2")])
        await passed()
        assert (sender.taken, line.dropped) == (["2"], 1)
        sender.failures = [DeliveryFailed("HTTP 500", again=True)]
        notifier.take([notice("3", at=clock.now_ms() - LONGEST_MS - 1), notice("4", at=clock.now_ms())])
        await passed()
        assert line.dropped == 2
        clock.advance(60_000)
        await passed()
    assert sender.taken == ["2", "4"]


async def test_the_queue_is_bounded_and_the_oldest_goes_first() -> None:
    sender, clock = Sender(), StillClock()
    notifier = Notifier((channel(),), clock, lambda: 0.5, lambda _: sender)
    (line,) = notifier.lines
    notifier.take([notice(str(number)) for number in range(MOST_WAITING + 3)])
    assert (len(line.waiting), line.dropped, line.waiting[0].key) == (MOST_WAITING, 3, "3")


async def test_it_says_where_a_notice_is_wanted_and_when_it_is_settled_there() -> None:
    sender, clock, settled = Sender(), StillClock(), list[tuple[str, str]]()
    sender.failures = [DeliveryFailed("HTTP 500", again=True), DeliveryFailed("HTTP 404", again=False)]
    make = {"desk": sender, "night": Sender()}
    async with working(channel(), channel("night", "error"), clock=clock, make=lambda one: make[one.name]) as notifier:
        notifier.settled = lambda one, name: settled.append((one.key, name))
        both = notice("1"), notice("2", "critical")
        assert list(map(notifier.wanted, both)) == [["desk"], ["desk", "night"]]
        assert notifier.wanted(notice("3", channels=())) == []
        notifier.take(both)
        await passed()
        assert settled == [("2", "night")]
        clock.advance(60_000)
        await passed()
    assert settled == [("2", "night"), ("1", "desk"), ("2", "desk")], "given up, and delivered"
    full = Notifier((channel(),), clock, lambda: 0.5, lambda _: sender)
    full.settled = lambda one, name: settled.append((one.key, name))
    full.take(notice(str(number)) for number in range(MOST_WAITING + 1))
    assert (len(full.lines[0].waiting), settled[-1]) == (MOST_WAITING, ("0", "desk"))


async def test_one_channel_that_fails_holds_up_no_other() -> None:
    bad, good, clock = Sender(), Sender(), StillClock()
    bad.failures = [DeliveryFailed("away", again=True)] * 5
    senders = {"bad": bad, "good": good}
    async with working(channel("bad"), channel("good"), clock=clock, make=lambda one: senders[one.name]) as notifier:
        notifier.take([notice("1"), notice("2")])
        await passed()
        assert (bad.taken, good.taken) == ([], ["1", "2"])


async def test_a_test_is_sent_at_once_and_says_what_each_channel_answered() -> None:
    bad, good = Sender(), Sender()
    bad.failures = [DeliveryFailed("HTTP 500", again=True)]
    senders = {"bad": bad, "good": good}
    notifier = Notifier(
        (channel("bad"), channel("good", "critical")), StillClock(), lambda: 0.5, lambda one: senders[one.name]
    )
    assert await notifier.test(notice("t", "info")) == {
        "bad": {"ok": False, "answer": "HTTP 500"}, "good": {"ok": True, "answer": "ok"},
    }  # fmt: skip
    assert await notifier.test(notice("t", channels=())) == {}


async def test_nothing_that_is_said_holds_an_address_or_a_secret(capsys: pytest.CaptureFixture[str]) -> None:
    async with receiver() as running:
        running.answers = [(500, {})]
        clock = StillClock()
        with structlog.testing.capture_logs() as logged:
            async with working(channel(url=running.url), clock=clock) as notifier:
                notifier.take([notice("1")])
                async with asyncio.timeout(5):
                    while not notifier.lines[0].failed:  # noqa: ASYNC110  (a condition of foreign code)
                        await asyncio.sleep(0.005)
                figures = [sample.labels for metric in notifier.figures() for sample in metric.samples]
        said = f"{logged} {figures} {channel(url=running.url)!r} {capsys.readouterr()}"
    assert "an alert was not delivered" in said
    for secret in ("token-of-the-desk", "a-secret-of-the-desk", running.url):
        assert secret not in said


# --- apprise ---------------------------------------------------------------------------------------------------------------


class Service:
    """Stands for the apprise module: keeps what it was asked, in which thread."""

    def __init__(self) -> None:
        self.sent: list[dict[str, str]] = []
        self.threads: set[str] = set()
        self.understands = self.delivers = True
        self.fails = False
        self.free = threading.Event()
        self.free.set()

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        module = types.ModuleType("apprise")
        service = self

        class Apprise:
            def add(self, _url: str) -> bool:
                return service.understands

            def notify(self, **given: str) -> bool:
                service.free.wait(10)
                if service.fails:
                    raise ValueError("https://hooks.example/token")
                service.threads.add(threading.current_thread().name)
                service.sent.append(given)
                return service.delivers

        module.Apprise = Apprise  # type: ignore[attr-defined]  # a module made by hand
        monkeypatch.setitem(sys.modules, "apprise", module)


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Service:
    made = Service()
    made.install(monkeypatch)
    return made


async def test_apprise_speaks_in_a_thread_of_its_own(service: Service) -> None:
    others = Others("tgram://token", Thread())
    assert await others.send(notice("1", "critical")) == "sent"
    await others.close()
    assert service.sent == [{"title": "Perpwire: firing (critical)", "body": "message 1", "notify_type": "failure"}]
    assert service.threads == {"apprise"}


@pytest.mark.parametrize(("field", "value", "said"), [
    ("understands", False, "apprise does not understand its address"),
    ("delivers", False, "the service did not take it"),
    ("fails", True, "apprise failed (ValueError)"),
])  # fmt: skip
async def test_what_goes_wrong_is_said_without_the_address(
    service: Service, field: str, value: bool, said: str
) -> None:
    setattr(service, field, value)
    with pytest.raises(DeliveryFailed) as caught:
        await Others("tgram://token", Thread()).send(notice())
    assert caught.value.reason == said


async def test_a_service_that_hangs_blocks_neither_the_loop_nor_for_ever(service: Service) -> None:
    service.free.clear()
    thread = Thread()
    with pytest.raises(DeliveryFailed, match="did not come back"):
        await thread.run(lambda: str(service.free.wait(10)), wait_s=0.01)
    waiting = [asyncio.ensure_future(thread.run(lambda: None)) for _ in range(64)]
    await passed()
    with pytest.raises(DeliveryFailed, match="busy"):
        await thread.run(lambda: None)
    service.free.set()
    assert await asyncio.gather(*waiting) == [None] * 64
    thread.stop()
