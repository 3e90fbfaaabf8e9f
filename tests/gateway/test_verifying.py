"""When the days of accounts are verified, what is told of them, and what is tried again. The clock is turned by hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from gateway import verifying
from gateway.core.journal import DAY_MS
from gateway.core.records import Finding, Verification
from gateway.storage.errors import PostgresAway
from gateway.verifying import Verifier
from tests.exchanges.doubles import StillClock, Watch

TODAY = 1_763_683_200_000  # 00:00 UTC
YESTERDAY = TODAY - DAY_MS
MINUTE, HOUR = 60_000, 3_600_000
FAULT = Finding(cls="unexplained", what="trade 7", since=1, at=2, ccy="USDT", differences={"fees": "-1"}, fills=("f7",))


class Bench:
    """A verifier over storage and venues that do what the test says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, now: int) -> None:
        self.watch = Watch()
        self.clock = StillClock(now, self.watch)
        self.read: list[tuple[str, int, int]] = []
        self.whole, self.reads, self.durable = True, True, True
        self.verified: set[int] = set()  # days that storage has already
        self.stored: list[Verification] = []  # that earlier lives left with something unexplained
        self.put: list[Verification] = []
        self.told: list[tuple[str, int, str]] = []
        self.faults: dict[int, tuple[Finding, ...]] = {}
        self.looks: list[int] = []  # days that were worked out
        for name in ("is_verified", "unexplained", "material"):
            monkeypatch.setattr(verifying.verification, name, getattr(self, f"_{name}"))
        monkeypatch.setattr(verifying, "verify", self._verify)
        self.verifier = Verifier(
            ["main"], lambda: self if self.whole else None, self, self._read, self.clock,  # type: ignore[arg-type, return-value]
            stored=self._durable, tell=self._tell,
        )  # fmt: skip

    def put_verification(self, verification: Verification) -> None:
        self.put.append(verification)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[None]:
        yield None

    async def _is_verified(self, _connection: Any, _account: str, day: int) -> bool:
        return day in self.verified

    async def _unexplained(self, _connection: Any, _account: str, since: int) -> list[Verification]:
        return [row for row in self.stored if row.day >= since]

    async def _material(self, _connection: Any, account: str, since: int, until: int, *_: object) -> tuple[str, int]:
        assert until == since + DAY_MS
        return account, since

    def _verify(self, material: tuple[str, int], now: int) -> list[Verification]:
        account, day = material
        self.looks.append(day)
        return [row(account, day, now, *self.faults.get(day, ()))]

    async def _read(self, account: str, since: int, until: int) -> bool:
        self.read.append((account, since, until))
        self.watch.poke()
        return self.reads

    async def _durable(self) -> bool:
        return self.durable

    def _tell(self, account: str, lines: int, words: str) -> None:
        self.told.append((account, lines, words))
        self.watch.poke()

    async def until(self, ms: int) -> None:
        """Turn the clock on alarm by alarm, and let what wakes come to its next wait."""
        end = self.clock.now + ms
        while True:
            await self.watch.until(lambda: bool(self.clock.alarms()))
            due = self.clock.alarms()[0]
            if due > end:
                self.clock.advance(end - self.clock.now)
                return
            self.clock.advance(due - self.clock.now)


def row(account: str, day: int, now: int, *findings: Finding) -> Verification:
    cls = findings[0].cls if findings else None
    return Verification(
        id=f"{account}:books:{day}", account=account, day=day, at=day, worked_at=now, findings=findings, cls=cls
    )


@asynccontextmanager
async def bench(monkeypatch: pytest.MonkeyPatch, now: int, **stands: Any) -> AsyncIterator[Bench]:
    one = Bench(monkeypatch, now)
    for name, value in stands.items():
        setattr(one, name, value)
    ((name, work),) = one.verifier.coroutines()
    task = asyncio.create_task(work, name=name)
    yield one
    task.cancel()
    await asyncio.wait((task,))


async def test_each_day_is_verified_once_some_minutes_after_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    async with bench(monkeypatch, TODAY - 2 * HOUR, verified={YESTERDAY - DAY_MS}) as one:
        await one.until(2 * HOUR + 9 * MINUTE)
        assert not one.looks
        await one.until(52 * MINUTE)
        assert (one.looks, one.read) == ([YESTERDAY], [("main", YESTERDAY, TODAY)])
        await one.until(DAY_MS)
        assert one.looks == [YESTERDAY, TODAY]
        assert [one.day for one in one.put] == [YESTERDAY, TODAY]


async def test_a_start_verifies_the_last_day_unless_that_was_done(monkeypatch: pytest.MonkeyPatch) -> None:
    async with bench(monkeypatch, TODAY + 5 * HOUR) as one:
        await one.until(9 * MINUTE)
        assert not one.looks  # a start reads the past itself
        await one.until(2 * MINUTE)
        assert one.looks == [YESTERDAY]
    async with bench(monkeypatch, TODAY + 5 * HOUR, verified={YESTERDAY}) as other:
        await other.until(12 * HOUR)
        assert not other.looks


@pytest.mark.parametrize("trouble", ["whole", "reads", "durable"])
async def test_a_day_is_not_verified_before_everything_is_in_the_database(
    monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    """A fill that lies in the spool would be missed."""
    async with bench(monkeypatch, TODAY + 5 * HOUR, **{trouble: False}) as one:
        await one.until(HOUR)
        assert not one.looks
        setattr(one, trouble, True)
        await one.until(HOUR)
        assert one.looks == [YESTERDAY]


async def test_what_nothing_explains_is_told_with_day_amount_and_ids_until_a_later_look_explains_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with bench(monkeypatch, TODAY + 5 * HOUR, faults={YESTERDAY: (FAULT,)}) as one:
        await one.until(HOUR)
        account, lines, words = one.told[-1]
        assert (account, lines) == ("main", 1)
        assert words == "2025-11-20 trade 7: fees -1 USDT (f7)"
        assert one.verifier.unexplained == {"main": 1}
        one.faults.clear()  # the day was read again
        await one.until(2 * HOUR)
        assert one.told[-1] == ("main", 0, "")
        looks = list(one.looks)
        await one.until(10 * HOUR)
        assert one.looks == looks  # nothing is left to look at


async def test_a_restart_goes_on_with_what_earlier_lives_left_unexplained(monkeypatch: pytest.MonkeyPatch) -> None:
    old = row("main", TODAY - 9 * DAY_MS, 1, FAULT)
    stands = {"stored": [old], "verified": {YESTERDAY}, "faults": {old.day: (FAULT,)}}
    async with bench(monkeypatch, TODAY + 5 * HOUR, **stands) as one:
        await one.until(3 * HOUR)
        assert {lines for _, lines, _ in one.told} == {1}
        assert set(one.looks) == {old.day}
        assert not one.read  # of what is stored


@pytest.mark.parametrize("trouble", ["whole", "durable"])
async def test_what_earlier_lives_left_is_remembered_though_nothing_could_be_looked_at_first(
    monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    """A start serves before its spool is drained: its first looks fail, and a day may be verified before the next one."""
    old = row("main", TODAY - 9 * DAY_MS, 1, FAULT)
    stands = {"stored": [old], "faults": {old.day: (FAULT,)}, trouble: False}
    async with bench(monkeypatch, TODAY + 5 * HOUR, **stands) as one:
        await one.until(11 * MINUTE)  # the first look, and the first attempt at yesterday
        assert not one.looks
        setattr(one, trouble, True)
        await one.until(20 * MINUTE)
        assert one.looks == [YESTERDAY]
        assert one.verifier.unexplained == {"main": 1}
        assert {lines for _, lines, _ in one.told} == {1}


async def test_what_is_looked_at_again_is_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async with bench(monkeypatch, TODAY + 5 * HOUR, faults={YESTERDAY: (FAULT,)}) as one:
        await one.until(5 * HOUR)
        assert one.looks.count(YESTERDAY) > 2
        assert one.verifier.lines == {"unexplained": 1}


async def test_a_database_that_is_away_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async with bench(monkeypatch, TODAY + 5 * HOUR, whole=False) as one:
        with pytest.raises(PostgresAway):
            await one.verifier.verify("main", YESTERDAY)
        await one.until(HOUR)
        one.whole = True
        await one.until(HOUR)
        assert one.looks == [YESTERDAY]
