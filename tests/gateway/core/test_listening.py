"""When a stream was live: its edges belong to nobody."""

from __future__ import annotations

from gateway.core.listening import Listening


def test_only_what_lies_well_inside_a_span_was_heard() -> None:
    one = Listening()
    assert (one.live, one.heard(5_000)) == (False, False)
    one.note(True, 10_000)
    one.note(True, 12_000)
    assert one.since == 10_000
    assert [one.heard(at) for at in (9_000, 10_500, 11_000, 99_000)] == [False, False, True, True]
    one.note(False, 20_000)
    assert [one.heard(at) for at in (15_000, 19_000, 19_500, 21_000)] == [True, True, False, False]
    one.note(True, 30_000)
    assert [one.heard(at) for at in (15_000, 25_000, 31_000)] == [True, False, True]


def test_spans_are_bounded() -> None:
    one = Listening()
    for number in range(500):
        one.note(True, number * 10_000)
        one.note(False, number * 10_000 + 5_000)
    assert not one.heard(2_000)
    assert one.heard(499 * 10_000 + 2_000)
