"""Plans of faults: what is read, what is refused and where, and what a seed draws."""

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exchanges.sim.__main__ import planned
from exchanges.sim.plan import KINDS, LONGEST_S, PlanError, check, random_plan, read_plan
from exchanges.sim.roster import ACCOUNTS
from exchanges.sim.server import start
from tests.exchanges.sim.raw import Clock

NAMES = {spec.name: spec.venue for spec in ACCOUNTS}


def test_a_plan_is_a_list_of_faults_and_times() -> None:
    text = """
- {at: 5, kind: drop, venue: okx}
- at: 1.5
  kind: 429   # a number in YAML
  venue: bybit
- {at: 2, kind: close_position, account: hl-main, symbol: BTC, quiet: true}
"""
    first, second, third = read_plan(text, "plan.yaml")
    assert (first.at_s, first.wanted) == (5.0, {"kind": "drop", "venue": "okx"})
    assert (second.at_s, second.wanted) == (1.5, {"kind": "429", "venue": "bybit"})
    assert third.wanted["quiet"] is True


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("kind: drop", "plan.yaml: a plan is a list"),
        ("", "plan.yaml: a plan is a list"),
        ("- {at: 1", "plan.yaml: it is not YAML"),
        (
            "- {at: 1, kind: drop}\n- {at: 2, kind: dorp}",
            r"plan.yaml, line 2, entry 2: there is no fault 'dorp': .*stall",
        ),
        ("\n\n- {at: 1, kind: drop, venu: okx}", "plan.yaml, line 3, entry 1: drop has no field venu: it takes venue"),
        ("- {at: -1, kind: drop}", "line 1, entry 1: at is -1"),
        ("- {at: .inf, kind: drop}", "entry 1: at is inf"),
        ("- {kind: drop}", "entry 1: at is None"),
        ("- {at: 1}", "there is no fault 'None'"),
        ("- drop", "entry 1: 'drop' is no entry"),
    ],
)
def test_an_entry_that_cannot_be_is_refused_with_its_place(text: str, says: str) -> None:
    with pytest.raises(PlanError, match=says):
        read_plan(text, "plan.yaml")


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(), seconds=st.floats(1, 600))
def test_a_seed_draws_a_plan_that_can_be_carried_out_and_ends(seed: int, seconds: float) -> None:
    plan = random_plan(seed, seconds, NAMES)
    assert plan == random_plan(seed, seconds, NAMES)
    assert [fault.at_s for fault in plan] == sorted(fault.at_s for fault in plan)
    for fault in plan:
        check(fault.wanted)
        assert 0 <= fault.at_s < seconds
        assert 0 <= fault.wanted.get("seconds", 0) <= LONGEST_S
        assert ("seconds" in fault.wanted) or fault.wanted["kind"] not in {"stall", "gap", "late_rest"}


def test_a_long_plan_has_faults_of_every_kind_that_ends_by_itself_at_a_bounded_rate() -> None:
    plan = random_plan(1, 7_200, NAMES)
    drawn = Counter(fault.wanted["kind"] for fault in plan)
    kept_out = {"wrong_login", "key_powers", "expired_key", "lift", "order", "cancel", "trade", "settle", "fees"}
    assert set(drawn) == set(KINDS) - kept_out
    assert 7_200 / 8 < len(plan) < 7_200 / 2
    assert {fault.wanted["account"] for fault in plan if "account" in fault.wanted} == set(NAMES)
    assert any(fault.wanted.get("quiet") for fault in plan)
    assert random_plan(2, 7_200, NAMES) != plan


def test_file_and_seed_are_one_plan(tmp_path: Path) -> None:
    file = tmp_path / "plan.yaml"
    file.write_text("- {at: 3, kind: lift}")
    assert planned(None, None) == []
    assert [fault.wanted["kind"] for fault in planned(file, None)] == ["lift"]
    assert len(planned(file, 7)) == len(planned(None, 7)) + 1
    with pytest.raises(PlanError, match=r"none\.yaml cannot be read"):
        planned(tmp_path / "none.yaml", None)


async def test_a_plan_is_carried_out_in_time_and_goes_on_after_what_cannot_be_done() -> None:
    clock = Clock()
    plan = read_plan(
        """
- {at: 3000, kind: expired_key, account: okx-main}
- {at: 1000, kind: close_position, account: hl-single, symbol: NOPE}
- {at: 2000, kind: gap, account: okx-main}
""",
        "plan",
    )
    simulator = await start(1, clock=clock, plan=plan)
    try:
        began = clock()
        control = simulator.control
        assert control.done == []
        control.tick(began + 2_000_000)
        assert [entry["wanted"]["kind"] for entry in control.done] == ["close_position", "gap"]
        assert "refused" in control.done[0]
        assert control.done[1]["affected"] == ["okx-main"]
        control.tick(began + 3_000_000)
        assert simulator.fronts["okx"].faults.expired_keys == {"okx-main"}
    finally:
        await simulator.stop()


async def test_a_whole_random_plan_leaves_a_world_whose_books_are_right() -> None:
    """Every fault of an hour, each at its time, without the servers' clock: nothing breaks, everybody still trades."""
    clock = Clock()
    simulator = await start(3, clock=clock)
    try:
        refused = 0
        for fault in random_plan(11, 3_600, NAMES):
            clock.skew_ms += 1_000
            simulator.control.schedule([fault])
            simulator.control.tick(clock() + 4_000_000)
            refused += "refused" in simulator.control.done[-1]
        world = simulator.world
        assert refused < len(simulator.control.done) / 4
        assert len(world.truth()["positions"]) > 30
        for account in world.accounts.values():
            assert all(position.size > 0 for position in account.positions.values())
            assert min(account.cash.values()) >= 0
        causes = {change["cause"] for change in world.truth(0)["changes"]}
        assert causes >= {"trade", "closed", "opened", "liquidated", "adl", "settled", "expired", "funding", "margin"}
        assert causes >= {"split", "mode", "silent"}
    finally:
        await simulator.stop()
