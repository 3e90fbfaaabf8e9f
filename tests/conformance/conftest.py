"""The simulated venues of the suite: started once, with all connections, and a day behind them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

import pytest

from tests.conformance.day import a_day
from tests.conformance.stage import Scene, stage
from tests.conformance.tape import Tape
from tests.conformance.through_ccxt import through_ccxt

SPEED = 6  # Hyperliquid's states come every 4 to 5 s


@pytest.fixture(scope="session")
async def scenes() -> AsyncIterator[dict[str, Scene]]:
    """Every simulated venue, standing still but for what a case makes happen."""
    async with stage(SPEED) as running:
        yield running


@pytest.fixture(scope="session")
async def days(scenes: dict[str, Scene]) -> dict[str, list[Tape]]:
    """Everything that each venue said on a day on which everything happened once."""
    said = {}
    for name, scene in scenes.items():
        await a_day(scene)
        said[name] = [tape.copied() for tape in scene.tapes]
    return said


@pytest.fixture(scope="session")
async def asked_by_ccxt() -> AsyncIterator[Mapping[str, Scene]]:
    """Simulated venues whose questions go through ccxt."""
    async with through_ccxt() as running:
        yield running
