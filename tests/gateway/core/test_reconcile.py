"""Ordering: whatever order reports arrive in, the newest word of the venue wins and the dead stay dead."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from exchanges.events import PositionsSnapshot, PositionState
from gateway.core.reconcile import Fences, is_older
from tests.gateway.events_of import closed, engine, position


def at(version: int, size: int) -> PositionState:
    """Return the venue's word number ``version``: open with a size, or closed."""
    state = position(size=str(size or 1), fence=(version,))
    return state if size else closed(state, (version,))


@settings(max_examples=300, deadline=None)
@given(sizes=st.lists(st.integers(0, 3), min_size=1, max_size=8), data=st.data())
def test_any_order_of_pushes_ends_at_the_newest(sizes: list[int], data: st.DataObject) -> None:
    words = [at(version, size) for version, size in enumerate(sizes, 1)]
    order = data.draw(st.permutations(words))
    one = engine()
    for now, word in enumerate(order, 1):
        one.turn([word], now)
    shown = one.positions.get(position().id)
    assert (shown.state.size if shown else "0") == str(sizes[-1] or 0)


@settings(max_examples=300, deadline=None)
@given(sizes=st.lists(st.integers(0, 3), min_size=1, max_size=6), data=st.data())
def test_late_rest_answers_between_pushes_change_nothing_that_is_newer(sizes: list[int], data: st.DataObject) -> None:
    """Truth changes at times 10, 20, …; pushes arrive at once; each answer was asked at some moment and arrives later."""
    one = engine()
    asked = data.draw(st.lists(st.tuples(st.integers(1, 10 * len(sizes) + 9), st.integers(1, 40)), max_size=6))
    timeline: list[tuple[int, int, object]] = [(10 * i, 0, at(i, size)) for i, size in enumerate(sizes, 1)]
    for when, delay in asked:
        version = min(when // 10, len(sizes))
        rows = (at(version, sizes[version - 1]),) if version and sizes[version - 1] else ()
        answer = PositionsSnapshot(account="okx-main", scope="positions", positions=rows, asked_at=when)
        timeline.append((when + delay, 1, answer))
    for now, _, event in sorted(timeline, key=lambda entry: entry[:2]):
        one.turn([event], now)  # type: ignore[list-item]  # events of both kinds
    shown = one.positions.get(position().id)
    assert (shown.state.size if shown else "0") == str(sizes[-1] or 0)


def test_fences_compare_only_where_both_are_known() -> None:
    assert is_older((1,), (2,))
    assert not is_older((), (2,))
    assert not is_older((1,), ())


def test_closed_fences_are_bounded() -> None:
    fences = Fences(max_closed=2)
    for index in range(5):
        state = position(f"S{index}", fence=(5,))
        fences.opened(state, 1)
        fences.closed(state, (6,), 2)
    assert fences.accepts(position("S0", fence=(5,)), None), "forgotten"
    assert not fences.accepts(position("S4", fence=(5,)), None)
