"""One alert's way from ok to resolved: what fires, what is told, and that nothing is told twice, restarts or not."""

from __future__ import annotations

import math
from itertools import pairwise

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.core.alerts.machine import HARMLESS, UNKNOWN_MS, WORST, Reading, Status, acknowledge, advance, bounds
from gateway.core.alerts.records import AlertRecord, severity_of
from gateway.core.alerts.rules import Rule, Step

DISTANCE = Rule(
    name="liquidation", kind="liquidation_distance", clear=0.01, cooldown_ms=60_000,
    steps=(Step("warning", 0.2), Step("error", 0.1), Step("critical", 0.05)),
)  # fmt: skip
RATIO = Rule(
    name="ratio", kind="margin_ratio", clear=0.02, cooldown_ms=60_000,
    steps=(Step("warning", 0.5), Step("critical", 0.9)),
)  # fmt: skip
WAITING = msgspec.structs.replace(DISTANCE, for_ms=5_000)


class Alert:
    """An alert that is read again and again; what was told is kept with its time and step."""

    def __init__(self, rule: Rule = DISTANCE) -> None:
        self.rule, self.status, self.now = rule, Status(), 1_000
        self.told: list[tuple[int, str, int]] = []

    def see(self, value: float, after_ms: int = 1_000, *, silenced: bool = False, **reading: bool) -> str:
        self.now += after_ms
        before = self.status.step
        self.status, telling = advance(self.rule, self.status, Reading(value, **reading), self.now, silenced=silenced)
        if telling is not None:
            self.told.append((self.now, telling, self.status.step if telling == "firing" else before))
        return self.status.state

    @property
    def words(self) -> list[str]:
        return [word for _, word, _ in self.told]


def test_a_threshold_fires_once_and_resolves_behind_its_margin() -> None:
    alert = Alert()
    assert [alert.see(value) for value in (0.3, 0.2, 0.19, 0.205, 0.2101, 0.3)] == [
        "ok", "firing", "firing", "firing", "resolved", "resolved",
    ]  # fmt: skip
    assert alert.words == ["firing", "resolved"]


def test_what_has_to_last_fires_when_it_lasted() -> None:
    alert = Alert(WAITING)
    assert [alert.see(0.1), alert.see(0.1, 4_999), alert.see(0.1, 1)] == ["pending", "pending", "firing"]
    other = Alert(WAITING)
    assert [other.see(0.1), other.see(0.3), other.see(0.1, 4_999), other.see(0.1)] == [
        "pending",
        "ok",
        "pending",
        "pending",
    ]
    assert other.told == []


def test_a_worse_step_is_told_at_once_and_a_milder_one_lowers_the_severity_quietly() -> None:
    alert = Alert()
    steps = []
    for value in (0.15, 0.09, 0.04, 0.055, 0.07, 0.3):
        alert.see(value)
        steps.append(alert.status.step)
    assert steps == [0, 1, 2, 2, 1, -1], "0.055 is within the margin of the worst step"
    assert [step for _, word, step in alert.told if word == "firing"] == [0, 1, 2]


def test_within_the_cooldown_the_same_is_told_later_if_it_still_holds() -> None:
    alert = Alert()
    alert.see(0.15)
    assert alert.see(0.3) == "resolved"
    assert alert.see(0.15) == "firing"
    assert alert.words == ["firing", "resolved"]
    alert.see(0.15, 58_000)
    assert alert.words == ["firing", "resolved", "firing"], "the cooldown of the first telling is over"
    quiet = Alert()
    quiet.see(0.15)
    quiet.see(0.3)
    quiet.see(0.15)
    quiet.see(0.3)
    quiet.see(0.3, 120_000)
    assert quiet.words == ["firing", "resolved"], "nobody was told of the second, nor of its end"


def test_an_acknowledged_alert_is_quiet_until_it_resolves_or_is_worse_than_then() -> None:
    alert = Alert()
    alert.see(0.09)
    alert.status = acknowledge(alert.status, alert.now)
    alert.see(0.15)
    alert.see(0.09, 120_000)
    assert (alert.words, alert.status.acknowledged_step) == (["firing"], 1)
    alert.see(0.04)
    assert (alert.words, alert.status.acknowledged_at) == (["firing", "firing"], None)
    alert.status = acknowledge(alert.status, alert.now)
    alert.see(0.5)
    assert (alert.words, alert.status.acknowledged_at) == (["firing", "firing", "resolved"], None)


def test_silence_puts_off_and_loses_nothing() -> None:
    alert = Alert()
    assert alert.see(0.15, silenced=True) == "firing"
    assert alert.told == []
    alert.see(0.15)
    assert alert.words == ["firing"]
    assert alert.see(0.5, silenced=True) == "resolved"
    assert alert.words == ["firing"]
    alert.see(0.5)
    assert alert.words == ["firing", "resolved"], "whoever was told of it is told of its end"
    alert.see(0.5)
    assert alert.words == ["firing", "resolved"]


def test_what_began_and_ended_within_a_silence_is_told_to_nobody() -> None:
    alert = Alert()
    alert.see(0.15, silenced=True)
    alert.see(0.5, silenced=True)
    alert.see(0.5)
    assert alert.words == []


def test_what_ended_within_a_silence_and_fires_again_has_one_end() -> None:
    alert = Alert()
    alert.see(0.15)
    alert.see(0.5, silenced=True)
    alert.see(0.15, silenced=True)
    alert.see(0.15)
    assert alert.words == ["firing"], "it fires as it was told"
    alert.see(0.5)
    assert alert.words == ["firing", "resolved"]


def test_what_is_not_live_makes_worse_but_never_better() -> None:
    alert = Alert()
    alert.see(0.15)
    assert alert.see(0.9, live=False) == "firing"
    assert alert.see(0.04, live=False) == "firing"
    assert alert.status.step == 2
    alert.see(0.9, live=False)
    assert alert.status.step == 2
    assert alert.see(0.9) == "resolved"


def test_a_row_that_is_gone_ends_its_alert_even_where_nothing_is_live() -> None:
    alert = Alert()
    alert.see(0.15)
    assert alert.see(math.nan, live=False, gone=True) == "resolved"


def test_unknown_counts_as_the_nearest_once_it_lasts() -> None:
    alert = Alert()
    assert [alert.see(math.nan), alert.see(math.nan, UNKNOWN_MS - 1), alert.see(math.nan, 1)] == [
        "pending",
        "pending",
        "firing",
    ]
    assert alert.told[-1][2] == 2
    brief = Alert()
    brief.see(math.nan)
    assert brief.see(0.5) == "ok"
    near = Alert()
    near.see(math.nan)
    assert near.see(0.15) == "firing", "a known figure is not waited for"


def test_a_firing_alert_whose_figure_is_lost_stays_and_becomes_the_worst() -> None:
    alert = Alert()
    alert.see(0.15)
    alert.see(math.nan)
    assert alert.status.step == 0
    alert.see(math.nan, UNKNOWN_MS)
    assert alert.status.step == 2
    alert.see(0.15)
    assert (alert.status.step, alert.status.unknown_since) == (0, None)


def test_unknown_says_nothing_of_other_kinds_and_while_figures_are_not_live() -> None:
    ratio = Alert(RATIO)
    assert [ratio.see(math.nan, 60_000) for _ in range(3)] == ["ok"] * 3
    ratio.see(0.6)
    assert ratio.see(math.nan, 60_000) == "firing"
    blind = Alert()
    assert [blind.see(math.nan, 60_000, live=False) for _ in range(3)] == ["ok"] * 3


def test_none_is_the_farthest() -> None:
    alert = Alert()
    alert.see(0.15)
    assert alert.see(math.inf) == "resolved"


# --- Properties ----------------------------------------------------------------------------------------------------------

values = st.one_of(
    st.floats(min_value=-0.1, max_value=0.4),
    st.just(math.nan),
    st.just(math.inf),
    st.sampled_from([0.05, 0.1, 0.2, 0.21]),
)
looks = st.tuples(values, st.integers(0, 40_000), st.booleans(), st.booleans(), st.integers(0, 9))
rules = st.sampled_from([DISTANCE, WAITING, msgspec.structs.replace(DISTANCE, clear=0.0, cooldown_ms=0)])


def stored(rule: Rule, status: Status, under: Rule | None = None) -> Status:
    """Return a status as it comes back from storage, to a rule that may have other steps by then."""
    record = AlertRecord(
        id="r:s", rule=rule.name, subject="s", venue="okx", env="live", name="s", state=status.state,
        severity=severity_of(rule, max(status.step, 0)) or "info", told_severity=severity_of(rule, status.told_step),
        acknowledged_severity=severity_of(rule, status.acknowledged_step), status=status, at=1,
    )  # fmt: skip
    return msgspec.json.decode(msgspec.json.encode(record), type=AlertRecord).status_under(under or rule)


@given(rules, st.lists(looks, max_size=40))
@example(DISTANCE, [(0.15, 0, True, False, 1), (0.3, 0, True, False, 1), (0.15, 0, True, False, 1)])
def test_nothing_is_told_twice_whatever_happens_and_a_restart_changes_nothing(
    rule: Rule, seen: list[tuple[float, int, bool, bool, int]]
) -> None:
    alert, twin = Alert(rule), Alert(rule)
    for value, after, live, silenced, act in seen:
        for one in (alert, twin):
            one.see(value, after, live=live, silenced=silenced)
            if act == 0 and one.status.state == "firing":
                one.status = acknowledge(one.status, one.now)
        twin.status = stored(rule, twin.status)
    assert twin.told == alert.told
    fired = [(at, step) for at, word, step in alert.told if word == "firing"]
    for (earlier, before), (later, after_) in pairwise(fired):
        assert later - earlier >= rule.cooldown_ms or after_ > before, "told again within the cooldown, and not worse"
    for first, second in pairwise(alert.words):
        assert not first == second == "resolved"


@given(rules, st.lists(looks, max_size=20), values)
@example(
    DISTANCE, [(0.15, 0, True, False, 1), (math.nan, 0, True, False, 1), (math.nan, 10_000, False, False, 1)], math.nan
)
@example(DISTANCE, [(math.nan, 0, False, False, 0)], math.nan)
def test_within_its_bounds_a_value_changes_nothing(
    rule: Rule, seen: list[tuple[float, int, bool, bool, int]], value: float
) -> None:
    alert = Alert(rule)
    for one, after, live, silenced, _ in seen:
        alert.see(one, after, live=live, silenced=silenced)
    low, high = bounds(rule, alert.status)
    compared = min(max(WORST if math.isnan(value) else value, WORST), HARMLESS)
    if low < compared < high:
        step = alert.status.step
        state = alert.status.state
        alert.see(value, 0)
        assert (alert.status.step, alert.status.state if state != "pending" else "pending") == (step, state)


@given(rules, st.lists(looks, max_size=20), st.floats(min_value=-0.1, max_value=0.4))
def test_a_live_value_decides_alone_once_it_lasts(
    rule: Rule, seen: list[tuple[float, int, bool, bool, int]], value: float
) -> None:
    alert = Alert(rule)
    for one, after, live, silenced, _ in seen:
        alert.see(one, after, live=live, silenced=silenced)
    for _ in range(3):
        alert.see(value, 60_000)
    if value <= 0.2:
        assert alert.status.state == "firing"
        assert not alert.status.untold or alert.status.acknowledged_at is not None
    if value > 0.2 + rule.clear:
        assert alert.status.state in ("ok", "resolved")


@pytest.mark.parametrize(("rule", "bad"), [(DISTANCE, 0.01), (RATIO, 0.99)])
def test_both_directions_have_the_same_way(rule: Rule, bad: float) -> None:
    alert = Alert(rule)
    assert (alert.see(bad), alert.status.step) == ("firing", len(rule.steps) - 1)
    assert alert.see(1 - bad) == "resolved"


def test_a_stored_severity_that_the_rule_has_no_more_is_the_mildest() -> None:
    alert = Alert()
    alert.see(0.09)
    assert stored(DISTANCE, alert.status, under=RATIO).step == 0
