"""How far a price went: never less than it did within the span, and bounded in memory."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.reach import Reach

SPAN = 2_000


def test_what_was_longer_ago_than_two_spans_is_forgotten() -> None:
    one = Reach(SPAN)
    assert one.width(0) == 0.0
    assert all(map(math.isnan, one.extremes(0)))
    one.put(100.0, 1_000)
    assert one.width(1_000) == 0.0
    one.put(110.0, 1_500)
    assert one.width(2_999) == pytest.approx(0.1)
    assert one.extremes(2_999) == (100.0, 110.0)
    assert one.width(5_000) == 0.0
    assert one.extremes(5_000) == (110.0, 110.0)
    one.put(121.0, 9_000)
    assert one.width(9_000) == pytest.approx(0.1), "it stood at 110 until now"


@given(
    st.lists(st.tuples(st.integers(1, 1_500), st.floats(50.0, 200.0)), min_size=1, max_size=40), st.integers(0, 3_000)
)
def test_it_covers_the_last_span_and_at_most_two(steps: list[tuple[int, float]], later: int) -> None:
    one, now, told = Reach(SPAN), 0, list[tuple[int, float]]()
    for passed, price in steps:
        now += passed
        one.put(price, now)
        told.append((now, price))
    now += later

    def stood(since: int) -> list[float]:
        """Return the prices that stood at some moment since then."""
        within = [price for at, price in told if at > since]
        before = [price for at, price in told if at <= since]
        return within + before[-1:]

    def width(prices: list[float]) -> float:
        return max(prices) / min(prices) - 1.0

    assert width(stood(now - SPAN)) <= one.width(now) + 1e-12
    assert one.width(now) <= width(stood(now - 2 * SPAN)) + 1e-12
