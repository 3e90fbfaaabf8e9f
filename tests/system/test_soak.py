"""A short bad night; `make soak` runs a long one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from exchanges.sim.changes import ModeChanged
from tests.system.desk import desk, eventually, running_simulator
from tests.system.soak import Figures, Judge, corrections, reworded, soak


async def test_a_bad_night_leaves_no_ghost_no_missed_close_and_no_wrong_row(folder: Path) -> None:
    figures = await soak(seed=1, seconds=60, data=folder)
    print(json.dumps(figures.summary()))
    assert figures.problems() == []
    assert figures.quiet_points >= 2
    assert sum(figures.faults.values()) >= 15
    assert figures.sync_ms


async def test_what_opens_right_after_a_switch_of_the_account_is_told_in_the_words_of_before_and_judged_so(
    folder: Path,
) -> None:
    async with (
        running_simulator(1) as simulator,
        desk(simulator, folder, tables=("positions", "accounts", "feeds", "reconciliations")) as running,
    ):
        await running.live(30)
        simulator.control.pause()
        running.fault("close_position", account="bybit-isolated", symbol="LINKUSDT")
        await running.settled()
        figures = Figures(1)
        judge = Judge(running, figures)
        await eventually(lambda: running.quiet("bybit"), "nobody asks Bybit")
        # In one turn, so that nobody can ask in between: no push names the mode.
        running.fault("mode", account="bybit-isolated", mode="cross")
        running.fault("open_position", account="bybit-isolated", symbol="LINKUSDT")

        def classified() -> list[dict[str, str]]:
            rows = corrections(running).values()
            return [row for row in rows if row["symbol"] == "LINKUSDT" and "class" in row]

        await eventually(classified, "a correction of LINKUSDT", 20)
        (found,) = classified()
        margin_modes = found["before"]["margin_mode"], found["after"]["margin_mode"]
        assert (found["class"], *margin_modes) == ("mode_leftover", "isolated", "cross")
        judge.look()
        assert figures.wrong_class == []
        assert figures.matrix["mode_leftover", "switch"] == 1


SWITCH = ModeChanged(1_000, "bybit-isolated", "cross", hedge=False, margins=("isolated", "cross"))
ROW = {"account": "bybit-isolated", "before": {"margin_mode": "isolated"}, "after": {"margin_mode": "cross"}}


@pytest.mark.parametrize(
    ("changed", "opened", "expected"),
    [
        ({}, [1_500], True),
        ({}, [900], False),  # the switch itself changed it, and its truth says so
        ({}, [], False),
        ({"account": "bybit-main"}, [1_500], False),
        ({"before": {"margin_mode": "cross"}, "after": {"margin_mode": "isolated"}}, [1_500], False),
        ({"before": {"margin_mode": "isolated", "size": "1"}, "after": {"margin_mode": "cross", "size": "2"}}, [1_500], False),
        ({"before": {"leverage": "5"}, "after": {"leverage": "10"}}, [1_500], False),
    ],
)  # fmt: skip
def test_a_switch_explains_the_mode_of_what_it_came_before_and_nothing_else(
    changed: dict[str, object], opened: list[int], expected: bool
) -> None:
    assert reworded({**ROW, **changed}, SWITCH, opened) is expected
