"""Twenty cuts of every connection in a row: no gap, and each time the tables equal the truth."""

from __future__ import annotations

from pathlib import Path

from tests.system.cuts import cuts
from tests.system.desk import PATIENCE


async def test_after_each_cut_the_tables_equal_the_truth(folder: Path) -> None:
    figures = await cuts(seed=11, count=20, data=folder, policy=PATIENCE, run_s=(0.02, 0.5))
    assert figures.failures == []
    assert (figures.cuts, len(figures.settled_s)) == (25, 25)
    assert figures.connections >= 20 * 12
    assert figures.deltas > 0
