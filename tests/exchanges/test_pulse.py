"""Signs of life: cadence of pings, and that death is never declared before somebody was asked."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from exchanges.pulse import Pulse


def test_a_ping_is_due_after_silence_of_both_sides() -> None:
    pulse = Pulse(20, 30, now=100)
    assert (pulse.ping_due, pulse.dead_at) == (120, 130)
    pulse.pinged(120)
    assert (pulse.ping_due, pulse.dead_at) == (140, 130)
    pulse.heard(125)
    assert (pulse.ping_due, pulse.dead_at) == (145, 155)


def test_a_late_ping_still_gets_its_time() -> None:
    pulse = Pulse(20, 30, now=0)
    pulse.pinged(1000)
    assert pulse.dead_at == 1010
    pulse.pinged(1020)  # a further one moves nothing
    assert pulse.dead_at == 1010
    pulse.heard(1025)
    assert pulse.dead_at == 1055


@given(
    st.integers(1, 50),
    st.integers(0, 100),
    st.lists(st.tuples(st.sampled_from(["heard", "pinged"]), st.integers(0, 99))),
)
def test_death_is_bounded_from_both_sides(ping: int, more: int, script: list[tuple[str, int]]) -> None:
    silent, now, heard, first_ping = ping + more, 0, 0, None
    pulse = Pulse(ping, silent, 0)
    for what, later in script:
        now += later
        if what == "heard":
            heard, first_ping = now, None
            pulse.heard(now)
        else:
            first_ping = now if first_ping is None else first_ping
            pulse.pinged(now)
        assert pulse.dead_at >= heard + silent
        assert pulse.dead_at <= max(heard, first_ping or 0) + silent
        if first_ping is not None:
            assert pulse.dead_at >= first_ping + silent - ping
