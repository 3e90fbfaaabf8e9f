"""The assembly: the order in which a gateway stops."""

from __future__ import annotations

import asyncio

import pytest

from exchanges.clock import SystemClock
from gateway.app import Gateway
from gateway.config import Config
from gateway.core.protocol import Limits
from gateway.hub import Hub
from gateway.turns import Turns
from tests.gateway.events_of import engine


@pytest.mark.parametrize("what", ["settle", "close"])
async def test_the_last_write_happens_whatever_fails_before_it(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    gateway, stopped = Gateway(Config(), ()), list[str]()

    def broken(*_: object) -> None:
        raise RuntimeError("a defect")

    async def stop() -> None:
        stopped.append("store")

    gateway.engine = engine()
    hub = Hub.on(asyncio.get_running_loop(), gateway.engine.tables, Limits())
    gateway.turns = Turns(gateway.engine, hub, SystemClock(), lambda: None)
    monkeypatch.setattr(gateway.store, "stop", stop)
    monkeypatch.setattr(gateway.turns if what == "settle" else gateway.journal, what, broken, raising=False)
    await gateway.stop()
    assert stopped == ["store"]
