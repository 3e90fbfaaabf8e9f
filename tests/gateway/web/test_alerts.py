"""What people do with alerts over REST, on a real engine: who may, what is refused and how, and what comes of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest
from yarl import URL

from exchanges.events import Event, Price
from gateway.alert_desk import AlertDesk
from gateway.app import Turns
from gateway.core.access import LOCAL, Principal
from gateway.core.accounts import AccountInfo
from gateway.core.protocol import Limits
from gateway.engine import Engine
from gateway.hub import Hub
from gateway.model_desk import ModelDesk
from gateway.notify.notifier import Notifier
from gateway.web.state import ServerState
from tests.exchanges.doubles import StillClock
from tests.gateway.core.alerts.test_alerts import LIVE, NEAR, T0, desk, states, ticks
from tests.gateway.events_of import OKX, balance, feed, instrument, position
from tests.gateway.web.serving import served

KRAKEN = AccountInfo(name="kraken-main", venue="kraken", env="live", user="joe")
SYMBOL = "BTC/USDT:USDT"  # ccxt's own names have a slash
THERE: list[Event] = [
    instrument(SYMBOL, venue="kraken"),
    balance("1000", account="kraken-main"),
    feed("live", account="kraken-main", venue="kraken"),
    feed("live", account=None, venue="kraken"),
    position(SYMBOL, account="kraken-main", venue_liquidation_price="50", liquidation_known="price"),
]
OKX_ALERT, KRAKEN_ALERT = f"liquidation:{NEAR.id}", f"liquidation:{THERE[-1].id}"  # type: ignore[attr-defined]
WHO = {"joe": Principal("joe", user="joe", accounts=frozenset({"kraken-main"})), "all": LOCAL}


def who(headers: Mapping[str, str]) -> Principal | None:
    return WHO.get(headers.get("x-who", "all"))


async def at_once() -> None:
    """Store nothing."""


class Room:
    """An engine whose alerts fire, behind a server."""

    def __init__(self, clock: StillClock, one: Engine, http: aiohttp.ClientSession) -> None:
        self.clock, self.engine, self._http, self.url = clock, one, http, ""

    async def ask(self, method: str, path: str, status: int = 200, body: str | None = None, **headers: str) -> Any:
        """Ask, and return the answer; ``path`` is percent-encoded already."""
        url = URL(self.url + path, encoded=True)
        async with self._http.request(method, url, data=body, headers=headers) as answer:
            assert answer.status == status, await answer.text()
            return await answer.json(content_type=None)

    async def acknowledge(self, alert: str, status: int = 200, **headers: str) -> Any:
        return await self.ask("POST", f"/v1/alerts/{quote(alert, safe='')}/ack", status, **headers)

    def pass_time(self, seconds: int) -> None:
        """Let marks come no more."""
        self.clock.advance(1_000 * seconds)
        self.engine.clock(self.clock.now)


@pytest.fixture
async def room() -> AsyncIterator[Room]:
    one, clock = desk(OKX, KRAKEN), StillClock(T0 + 3_000)
    one.turn([*LIVE, NEAR, *THERE], T0)
    ticks(one, "60")
    one.turn([Price(venue="kraken", env="live", symbol=SYMBOL, value="60", at=T0 + 2_000)], T0 + 2_000)
    hub = Hub.on(asyncio.get_running_loop(), one.tables, Limits())
    turns = Turns(one, hub, clock, lambda: None)
    state = ServerState(
        hub=hub, version="9.9.9", accounts=one.accounts.keys, now_ms=clock.now_ms, principal=who,
        alerts=AlertDesk(one, Notifier((), clock, lambda: 0.5), clock, turns.act, at_once), models=ModelDesk(one),
    )  # fmt: skip
    async with served(state) as server, aiohttp.ClientSession() as http:
        room = Room(clock, one, http)
        room.url = f"http://127.0.0.1:{server.port}"
        yield room


async def test_every_alert_can_be_acknowledged_whatever_its_symbol_is_called(room: Room) -> None:
    for _ in range(2):
        room.pass_time(200)
    firing = {id_ for id_, state in states(room.engine).items() if state == "firing"}
    assert {OKX_ALERT, KRAKEN_ALERT, "blind:kraken@live:BTC%2FUSDT%3AUSDT"} <= firing
    for id_ in firing:
        assert (await room.acknowledge(id_))["acknowledged"] is True
