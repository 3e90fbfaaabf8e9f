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
from gateway.core.access import LOCAL, Principal
from gateway.core.accounts import AccountInfo
from gateway.core.protocol import Limits
from gateway.engine import Engine
from gateway.hub import Hub
from gateway.model_desk import ModelDesk
from gateway.notify.notifier import Notifier
from gateway.turns import Turns
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
    return WHO.get(headers["x-who"])


async def at_once() -> None:
    """Store nothing."""


class Room:
    """An engine whose alerts fire, behind a server."""

    def __init__(self, clock: StillClock, one: Engine, http: aiohttp.ClientSession) -> None:
        self.clock, self.engine, self._http, self.url = clock, one, http, ""

    async def ask(self, method: str, path: str, status: int = 200, body: str | None = None, by: str = "all") -> Any:
        """Ask, and return the answer; ``path`` is percent-encoded already."""
        url = URL(self.url + path, encoded=True)
        async with self._http.request(method, url, data=body, headers={"x-who": by}) as answer:
            assert answer.status == status, await answer.text()
            return await answer.json(content_type=None)

    async def acknowledge(self, alert: str, status: int = 200, by: str = "all") -> Any:
        return await self.ask("POST", f"/v1/alerts/{quote(alert, safe='')}/ack", status, by=by)

    async def silence(self, body: str) -> Any:
        return await self.ask("POST", "/v1/alerts/silences", body=body)

    def silences(self) -> set[str]:
        return set(self.engine.alerts.board.silences)

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
        alerts=AlertDesk(one, Notifier((), clock, lambda: 0.5), clock, turns.order, at_once), models=ModelDesk(one),
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


# --- who may ---------------------------------------------------------------------------------------------------------------


async def test_only_alerts_that_may_be_seen_can_be_acknowledged(room: Room) -> None:
    for alert in (OKX_ALERT, "liquidation:nobody"):
        refused = await room.acknowledge(alert, 404, by="joe")
        assert refused["code"] == "not_found"
    assert not room.engine.tables["alerts"].get(OKX_ALERT).row["acknowledged"]  # type: ignore[union-attr]  # it is there
    assert (await room.acknowledge(KRAKEN_ALERT, by="joe"))["acknowledged"] is True


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/v1/alerts/silences", None),
        ("POST", "/v1/alerts/silences", '{"for_s": 60, "accounts": ["kraken-main"]}'),
        ("DELETE", "/v1/alerts/silences/{silence}", None),
        ("POST", "/internal/alerts/test", '{"rule": "blind"}'),
        ("GET", "/internal/models/pairs", None),
    ],
)
async def test_what_concerns_everybody_is_for_whoever_sees_everything(
    room: Room, method: str, path: str, body: str | None
) -> None:
    made = await room.silence('{"for_s": 60}')
    path = path.format(silence=made["id"])
    refused = await room.ask(method, path, 401, body, by="joe")
    assert (refused["code"], "who may see every account" in refused["detail"]) == ("unauthorized", True)
    assert room.silences() == {made["id"]}
    await room.ask(method, path, 200, body)


@pytest.mark.parametrize("path", ["/v1/positions/{okx}/explain", "/v1/accounts/okx-main/explain"])
async def test_figures_of_others_are_not_explained(room: Room, path: str) -> None:
    path = path.format(okx=quote(NEAR.id, safe=""))
    assert (await room.ask("GET", path, 404, by="joe"))["code"] == "not_found"
    await room.ask("GET", path)


# --- silences --------------------------------------------------------------------------------------------------------------


YEAR_S = 366 * 86_400


@pytest.mark.parametrize(
    ("body", "code", "said"),
    [
        ("{}", "bad_command", "needs its end"),
        ('{"for_s": 60, "until": 1}', "bad_command", "needs its end"),
        ('{"for_s": 0}', "bad_command", "must lie ahead"),
        ('{"for_s": -1e308}', "bad_command", "must lie ahead"),
        ('{"for_s": 1e308}', "bad_command", "must lie ahead"),
        (f'{{"for_s": {YEAR_S + 1}}}', "bad_command", "by a year at most"),
        (f'{{"until": {T0 + 3_000}}}', "bad_command", "must lie ahead"),
        (f'{{"until": {T0 + 3_001 + 1_000 * YEAR_S}}}', "bad_command", "by a year at most"),
        ('{"until": 99999999999999999999999}', "bad_command", ""),
        ('{"for_s": 60, "rules": ["blnd"]}', "bad_command", "there is no rule 'blnd'; there are: blind, "),
        ('{"for_s": 60, "venues": ["okxx"]}', "bad_command", "no account is at a venue 'okxx'; there are: kraken, okx"),
        ('{"for_s": 60, "accounts": ["nobody"]}', "unknown_account", "there is no account 'nobody'"),
        ('{"for_s": 60, "rules": []}', "bad_command", "rules is an empty list, which matches nothing"),
        ('{"for_s": 60, "accounts": []}', "bad_command", "accounts is an empty list, which matches nothing"),
        ('{"for_s": 60, "venues": []}', "bad_command", "venues is an empty list, which matches nothing"),
        ('{"for_s": 60, "symbols": []}', "bad_command", "symbols is an empty list, which matches nothing"),
    ],
)
async def test_a_silence_that_cannot_be_meant_is_refused(room: Room, body: str, code: str, said: str) -> None:
    refused = await room.ask("POST", "/v1/alerts/silences", 400, body)
    assert (refused["code"], said in refused["detail"]) == (code, True), refused
    assert room.silences() == set()


@pytest.mark.parametrize("body", [f'{{"for_s": {YEAR_S}}}', f'{{"until": {T0 + 3_000 + 1_000 * YEAR_S}}}'])
async def test_a_silence_lasts_a_year_at_most(room: Room, body: str) -> None:
    assert (await room.silence(body))["until"] == T0 + 3_000 + 1_000 * YEAR_S


async def test_a_silence_is_made_listed_and_ended(room: Room) -> None:
    made = await room.silence('{"for_s": 60, "venues": ["kraken"], "symbols": ["X"], "reason": "drill"}')
    assert (made["by"], made["venues"], made["until"]) == ("local", ["kraken"], T0 + 63_000)
    assert (await room.ask("GET", "/v1/alerts/silences"))["silences"] == [made]
    await room.ask("DELETE", f"/v1/alerts/silences/{made['id']}")
    assert (await room.ask("DELETE", f"/v1/alerts/silences/{made['id']}", 404))["code"] == "not_found"


# --- defects ---------------------------------------------------------------------------------------------------------------


async def test_what_could_not_be_done_is_not_answered_as_done(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> bool:
        raise RuntimeError("a defect")

    made = await room.silence('{"for_s": 60}')
    for turn in ("acknowledge", "silence"):
        monkeypatch.setattr(room.engine, turn, broken)
    assert (await room.acknowledge(OKX_ALERT, 500))["code"] == "internal"
    await room.ask("POST", "/v1/alerts/silences", 500, '{"for_s": 60}')
    await room.ask("DELETE", f"/v1/alerts/silences/{made['id']}", 500)
