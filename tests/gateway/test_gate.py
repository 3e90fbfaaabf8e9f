"""An empty snapshot counts only once it is known whose account it is."""

from __future__ import annotations

from exchanges.events import BalanceState, PositionsSnapshot
from gateway.gate import Gate
from tests.gateway.events_of import position


def empty(scope: str, asked_at: int | None = None) -> PositionsSnapshot:
    return PositionsSnapshot(account="main", scope=scope, positions=(), asked_at=asked_at)


def test_empty_snapshots_wait_for_the_audit_and_everything_else_does_not() -> None:
    gate, balance = Gate(), BalanceState(account="main", scope="all", full=True)
    one = position()
    full = PositionsSnapshot(account="main", scope="c", positions=(one,))
    assert gate.pass_([empty("a"), balance, full]) == [balance, full]
    assert gate.pass_([empty("a", 5), empty("b")]) == []
    assert gate.open() == [empty("a", 5), empty("b")]
    assert gate.open() == []
    assert gate.pass_([empty("a")]) == [empty("a")]


def test_what_came_later_and_says_more_is_not_undone_by_what_was_held_back() -> None:
    gate, one = Gate(), position()
    gate.pass_([empty(one.scope), empty("other")])
    assert gate.pass_([one]) == [one]
    assert gate.open() == [empty("other")]
