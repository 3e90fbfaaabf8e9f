"""When a host is left alone."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from exchanges.backoff import Backoff
from exchanges.breaker import Breaker


def test_it_opens_after_failures_in_a_row_and_one_trial_decides() -> None:
    breaker = Breaker(lambda: 0.0, failures=3, backoff=Backoff(base_s=2, cap_s=8))
    for _ in range(2):
        breaker.failed(0)
    breaker.succeeded()
    for _ in range(2):
        breaker.failed(0)
    assert breaker.wait_ms(0) == 0
    breaker.failed(0)
    assert breaker.wait_ms(0) == 1000
    assert breaker.wait_ms(1000) == 0
    breaker.asked()
    assert breaker.wait_ms(1000) > 0  # one trial at a time
    breaker.failed(1000)
    assert breaker.wait_ms(1000) == 2000  # for longer
    breaker.asked()
    breaker.cancelled()
    assert breaker.wait_ms(3000) == 0  # a trial that was given up decides nothing
    breaker.asked()
    breaker.succeeded()
    assert not breaker.is_open
    assert breaker.wait_ms(3000) == 0


@given(st.lists(st.tuples(st.sampled_from(["ok", "bad", "gone"]), st.integers(0, 5_000)), max_size=80), st.randoms())
def test_it_never_stays_shut_for_longer_than_its_cap_and_never_shuts_out_a_host_that_answers(
    script: list[tuple[str, int]], random: Random
) -> None:
    breaker, now, row = Breaker(random.random, failures=5, backoff=Backoff(base_s=1, cap_s=10)), 0, 0
    for outcome, later in script:
        now += later
        wait = breaker.wait_ms(now)
        assert wait <= 10_000
        assert wait == 0 or row >= 5
        now += wait
        breaker.asked()
        if outcome == "ok":
            breaker.succeeded()
            row = 0
            assert breaker.wait_ms(now) == 0
        elif outcome == "bad":
            breaker.failed(now)
            row += 1
        else:
            breaker.cancelled()
