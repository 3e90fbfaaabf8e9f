"""The suite: every case at every venue, against what was captured and against the simulator; and its table."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from decimal import Decimal

import pytest

from exchanges import VENUES
from exchanges.events import FeedStatus
from tests.conformance import captured
from tests.conformance.acts import symbols
from tests.conformance.case import Case, Material
from tests.conformance.stage import Scene, stage
from tests.conformance.table import CASES, PAGE, written
from tests.conformance.tape import Tape
from tests.conformance.through_ccxt import THROUGH
from tests.exchanges.aster.samples import PRIVATE_KEY
from tests.exchanges.bybit.samples import ACCOUNT as BYBIT
from tests.exchanges.okx.samples import CREDENTIALS as OKX
from tests.recordings import needs_recordings

CALM_SPEED, CALM_MS, CALM_MOVE = 30, 90_000, Decimal("0.0002")


def _cases(*, on_messages: bool) -> list[object]:
    chosen = [case for case in CASES.values() if (case.on_messages is not None) == on_messages]
    return [pytest.param(case, venue, id=f"{case.name}-{venue}") for case in chosen for venue in VENUES]


def _declared(case: Case, venue: str) -> None:
    """Skip what a venue does not claim to have; nothing else skips."""
    missing = case.missing(venue)
    if missing is not None:
        pytest.skip(f"{venue} does not declare {missing}")


def _secrets() -> list[str]:
    keys = [OKX.secret, OKX.passphrase, BYBIT.credentials and BYBIT.credentials.secret, PRIVATE_KEY]
    return [key for key in keys if key]


@needs_recordings
@pytest.mark.parametrize(("case", "venue"), _cases(on_messages=True))
def test_captured(case: Case, venue: str) -> None:
    _declared(case, venue)
    assert case.on_messages is not None
    read = case.on_messages(Material(venue, "captured", captured.tapes(venue), _secrets()))
    assert (read == 0) == (venue in case.uncaptured), f"{read} captured messages were looked at"


@pytest.mark.parametrize(("case", "venue"), _cases(on_messages=True))
async def test_said_by_the_simulator(
    case: Case, venue: str, days: dict[str, list[Tape]], scenes: dict[str, Scene]
) -> None:
    _declared(case, venue)
    assert case.on_messages is not None
    assert case.on_messages(Material(venue, "simulator", days[venue], scenes[venue].secrets)) > 0


@pytest.mark.parametrize(("case", "venue"), _cases(on_messages=False))
async def test_done_at_the_simulator(case: Case, venue: str, scenes: dict[str, Scene]) -> None:
    _declared(case, venue)
    assert case.on_scene is not None
    await case.on_scene(scenes[venue])


@pytest.mark.parametrize(("name", "port"), [(name, port) for name, through in THROUGH.items() for port in through])
async def test_asked_through_ccxt(name: str, port: str, asked_by_ccxt: Mapping[str, Scene]) -> None:
    check = CASES[name].on_scene
    assert check is not None
    await check(asked_by_ccxt[port])


async def test_nothing_that_is_watched_falls_silent_in_a_calm_market() -> None:
    """A minute and a half in which nothing happens but a price that moves a little, as one of hundreds always does."""
    async with stage(CALM_SPEED) as scenes:
        for scene in scenes.values():
            scene.want(symbols(scene), ("USDT", "USDC", "BTC"))
        streams = [stream for scene in scenes.values() for stream in scene.streams]
        calm = next(iter(scenes.values()))
        for turn in range(9):
            passed = asyncio.Event()
            calm.clock.call_at(calm.clock.now_ms() + CALM_MS // 9, passed.set)
            await asyncio.wait_for(passed.wait(), 60)
            calm.now()
            calm.world.shift("BTC", CALM_MOVE if turn % 2 else -CALM_MOVE)
        for stream in streams:
            left = [e.state for e in stream.of(FeedStatus) if e.state in ("stale", "down")]
            assert not left, f"{stream.feed.name.id}: {left} {stream.supervisor.status().error}"
            assert (stream.feed.connections, stream.feed.refused) == (1, ()), stream.feed.name.id


def test_the_table_is_what_the_suite_shows() -> None:
    page = PAGE.read_text()
    assert page == written(page), "stale: run make conformance-table"
