"""Silence per subscription."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from exchanges.watchdog import Watchdog


def test_a_topic_that_is_silent_for_longer_than_it_can_be_is_found_and_only_that_one() -> None:
    dog = Watchdog()
    dog.expect({"positions": 20, "account": 20, "mark:BTC": 25})
    dog.begin(["positions", "account", "orders"], 0)
    for at in range(0, 40_000, 5_000):
        dog.heard(["account", "orders"], at)
    assert dog.silent(40_000) == {"positions": 20}
    dog.forget(["positions"])
    assert dog.due == 45_000
    assert dog.silent(45_000) == {}


def test_nothing_is_due_while_nothing_is_watched() -> None:
    dog = Watchdog()
    dog.begin(["positions"], 0)
    assert dog.due is None
    assert dog.silent(10**9) == {}


@given(st.lists(st.integers(1, 9_000), min_size=1, max_size=40), st.integers(10, 30))
def test_a_topic_that_speaks_within_its_bound_is_never_silent_and_one_that_stops_is_found_soon(
    gaps: list[int], bound_s: int
) -> None:
    dog, now = Watchdog(), 0
    dog.expect({"a": bound_s})
    dog.begin(["a"], now)
    for gap in gaps:
        now += gap
        assert dog.silent(now) == {}
        dog.heard(["a"], now)
    stopped = now
    while not dog.silent(now):
        assert dog.due is not None
        now = dog.due
    assert bound_s * 1000 < now - stopped <= bound_s * 1250 + 1
