"""What happened while nobody listened: the venue's word before and after, and all fills between, told late in any order."""

from __future__ import annotations

import random
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from exchanges.events import Fill
from gateway.core.chains import Chain, Item, Seen
from gateway.core.records import ClosedCycle, PastPosition
from gateway.core.timelines import Timeline
from tests.gateway.core.chain_worlds import ACCOUNT, POSITION, SYMBOL, TRADES, Trade, evidence, fills_of, whole

MOMENTS = st.integers(0, 24)


@given(TRADES, st.booleans(), MOMENTS, MOMENTS, st.integers(0, 5_000), st.integers(0, 2**32), st.integers(1, 9))
def test_what_a_reconciliation_closed_is_what_the_fills_say_once_they_are_told(
    trades: list[Trade], states_start: bool, left: int, found: int, after: int, seed: int, batches: int
) -> None:
    if not states_start:  # of one moment they could be in any order
        trades = [trade._replace(after=trade.after + 1) for trade in trades]
    fills = fills_of(trades, states_start=states_start, realized=states_start)
    left, found = min(left, len(fills) - 1), min(found, len(fills) - 1)
    words = _words(fills, fills[left].at, fills[max(left, found)].at + after)
    items: list[Item] = [*fills, *words]
    random.Random(seed).shuffle(items)
    timeline, kept = Timeline(Chain(account=ACCOUNT, symbol=SYMBOL)), dict[str, PastPosition]()
    for index in range(batches):
        told = timeline.take(items[index::batches], evidence())
        kept = {key: one for key, one in kept.items() if key not in told.gone} | {one.id: one for one in told.cycles}
    expected, _ = whole([*fills])
    assert sorted(kept.values(), key=lambda one: one.id) == sorted(expected, key=lambda one: one.id)
    assert all(one.complete and one.reason == "trade" for one in expected)


def _words(fills: list[Fill], left_at: int, found_at: int) -> list[Item]:
    """Return what the venue said last before, and that it was found over where nothing, or the other side, is held after."""
    before, now = _held(fills, left_at), _held(fills, found_at)
    if not before:
        return []
    seen = Seen(left_at, POSITION, Decimal(before))
    if now and (now > 0) == (before > 0):
        return [seen]
    over = ClosedCycle(
        account=ACCOUNT, id=f"{POSITION}@c{found_at}", position=POSITION, symbol=SYMBOL, size=str(abs(before)),
        side="long" if before > 0 else "short", closed_at=found_at, since=left_at, reason="reconciled",
    )  # fmt: skip
    return [seen, over]


def _held(fills: list[Fill], at: int) -> int:
    return sum(int(one.size) if one.side == "buy" else -int(one.size) for one in fills if one.at <= at)
