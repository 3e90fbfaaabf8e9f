"""Each fault of the crash matrix once: nothing is missing, nothing is there twice, and the journal leads to what is stored."""

from __future__ import annotations

from pathlib import Path

from tests.system.crash import FAULTS, KINDS, crash


async def test_whatever_is_killed_nothing_is_lost(folder: Path) -> None:
    figures = await crash(seed=1, rounds=len(FAULTS), outage_s=10, folder=folder)
    assert figures.failures == []
    assert figures.faults == dict.fromkeys(FAULTS, 1)
    assert min(figures.books["fills"], figures.books["cycles"]) > 0  # funding is not paid in all minutes of an hour
    assert figures.clean_stops == 2 * len(KINDS)
    assert sum(figures.replayed_rows) > 0
    assert figures.lost_entries > 0
