"""The way from the engine to the channels: stored first, then delivered; and what people do is stored before they are answered."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from gateway.alert_desk import AlertDesk
from gateway.core.records import Order
from gateway.engine import Engine
from gateway.notify.notifier import Notifier
from gateway.web.state import SilenceRequest
from tests.exchanges.doubles import StillClock
from tests.gateway.core.alerts.test_alerts import LIVE, NEAR, SUBJECT, T0, Sink, desk, ticks
from tests.gateway.notify.test_notifier import Sender, channel, passed

ALERT = f"liquidation:{SUBJECT}"


class Store:
    """A store that is done when it is told to."""

    def __init__(self) -> None:
        self.done = asyncio.Event()
        self.asked = 0

    async def stored(self) -> None:
        self.asked += 1
        await self.done.wait()


class Room:
    """An engine whose alert fires, a channel, a store, and the desk between them."""

    def __init__(self) -> None:
        self.sink, self.sender, self.store = Sink(), Sender(), Store()
        self.engine: Engine = desk(sink=self.sink)
        self.notifier = Notifier(
            (channel(), channel("night", "critical")), StillClock(), lambda: 0.5, lambda _: self.sender
        )
        self.desk = AlertDesk(self.engine, self.notifier, StillClock(), self._act, self.store.stored)

    def _act(self, order: Order, _what: str) -> bool:
        self.engine.obey(order, StillClock().now_ms())
        self.desk.tell()
        return True

    def fire(self) -> None:
        self.engine.turn([*LIVE, NEAR], T0)
        ticks(self.engine, "60")
        self.desk.tell()


@asynccontextmanager
async def working() -> AsyncIterator[Room]:
    room = Room()
    tasks = [asyncio.create_task(work) for _, work in room.notifier.coroutines()]
    tasks.append(asyncio.create_task(room.desk.deliver()))
    try:
        yield room
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await room.notifier.close()


async def test_a_notice_is_owed_to_its_channels_in_the_store_before_it_is_delivered() -> None:
    async with working() as room:
        room.fire()
        await passed()
        (owed,) = room.sink.alerts[ALERT].owed
        assert (owed.channels, room.sink.alerts[ALERT].status.told_at) == (("desk",), owed.at)
        assert (room.store.asked, room.sender.taken) == (1, [])
        room.store.done.set()
        await passed()
        assert room.sender.taken == [owed.key]
        assert room.sink.alerts[ALERT].owed == (), "and no longer owed"


async def test_what_comes_while_something_is_being_stored_is_stored_next_and_told_after_it() -> None:
    async with working() as room:
        room.fire()
        await passed()
        ticks(room.engine, "55", at=T0 + 4_000)
        room.desk.tell()
        await passed()
        assert room.store.asked == 1
        room.store.done.set()
        await passed()
        assert (room.store.asked, len(room.sender.taken)) == (2, 2)


async def test_what_people_do_is_stored_before_they_are_answered() -> None:
    async with working() as room:
        room.fire()
        acknowledging = asyncio.ensure_future(room.desk.acknowledge(ALERT))
        silencing = asyncio.ensure_future(room.desk.silence(SilenceRequest(), T0 + 60_000, "somebody"))
        await passed()
        assert (acknowledging.done(), silencing.done()) == (False, False)
        assert room.sink.alerts[ALERT].status.acknowledged_at is not None
        assert room.sink.silences.keys() == room.engine.alerts.board.silences.keys()
        room.store.done.set()
        await acknowledging
        silence = await silencing
        assert await room.desk.unsilence(silence.id) == room.sink.silences[silence.id]
        with pytest.raises(KeyError):
            await room.desk.acknowledge("liquidation:nobody")
