"""Back-off: bounds, cap, and an envelope that only grows."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchanges.backoff import Backoff

policies = st.builds(
    lambda base_s, factor: Backoff(base_s, base_s * factor), st.floats(0.001, 60), st.floats(1, 10_000)
)
attempts = st.integers(0, 10_000)
fractions = st.floats(0, 1, exclude_max=True)


@given(policies, attempts, fractions)
def test_a_delay_is_never_negative_and_never_above_its_ceiling_or_the_cap(
    policy: Backoff, attempt: int, fraction: float
) -> None:
    assert 0 <= policy.delay_s(attempt, fraction) <= policy.ceiling_s(attempt) <= policy.cap_s


@given(policies, attempts)
def test_the_envelope_is_monotone_and_at_most_doubles(policy: Backoff, attempt: int) -> None:
    now, then = policy.ceiling_s(attempt), policy.ceiling_s(attempt + 1)
    assert now <= then <= 2 * now


@given(policies, fractions, fractions)
def test_jitter_is_full_and_proportional(policy: Backoff, low: float, high: float) -> None:
    low, high = sorted((low, high))
    assert policy.delay_s(3, low) <= policy.delay_s(3, high)
    assert policy.delay_s(3, 0.0) == 0


@given(policies)
def test_it_begins_at_the_base_and_reaches_the_cap(policy: Backoff) -> None:
    assert policy.ceiling_s(0) == policy.base_s
    assert policy.ceiling_s(10_000) == policy.cap_s


def test_the_defaults_are_half_a_second_up_to_thirty() -> None:
    assert [Backoff().ceiling_s(n) for n in range(8)] == [0.5, 1, 2, 4, 8, 16, 30, 30]


@pytest.mark.parametrize(("base_s", "cap_s"), [(0, 1), (-1, 1), (2, 1)])
def test_a_policy_that_cannot_be_is_refused(base_s: float, cap_s: float) -> None:
    with pytest.raises(ValueError, match="base_s"):
        Backoff(base_s, cap_s)
