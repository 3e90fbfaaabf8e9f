"""A short bad night; `make soak` runs a long one."""

from __future__ import annotations

import json
from pathlib import Path

from tests.system.soak import soak


async def test_a_bad_night_leaves_no_ghost_no_missed_close_and_no_wrong_row(folder: Path) -> None:
    figures = await soak(seed=1, seconds=60, data=folder)
    print(json.dumps(figures.summary()))
    assert figures.problems() == []
    assert figures.quiet_points >= 2
    assert sum(figures.faults.values()) >= 15
    assert figures.sync_ms
