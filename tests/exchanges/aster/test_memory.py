"""What is kept beside messages: what pushes leave out, and which of a push and an answer is the newer."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from exchanges.aster import parse, tables
from exchanges.aster.memory import Memory
from exchanges.aster.pushes import PushedPosition
from exchanges.aster.wire import Account, PositionRow
from exchanges.events import PositionState
from tests.exchanges.aster.samples import NOW, account, flat, leg, row


def push(memory: Memory, at: int, fence: tuple[int, int] = (NOW, NOW), **fields: Any) -> PositionState | None:
    pushed = msgspec.convert(leg(**fields), PushedPosition)
    return memory.push(parse.pushed_position("main", pushed, "USDT", False, fence), at)


def answer(memory: Memory, asked_at: int, raw: dict[str, Any] | None = None) -> PositionState:
    parsed = msgspec.convert(raw or row(), PositionRow)
    return memory.answer(parse.position("main", parsed, "USDT", False), parsed, asked_at)


def test_a_push_of_the_same_position_keeps_what_it_does_not_say() -> None:
    memory = Memory()
    memory.learn_margins(
        msgspec.convert(account({"symbol": "BTCUSDT", "positionAmt": "0.5", "maintMargin": "150.25"}), Account)
    )
    answer(memory, 1)
    state = push(memory, 2)
    assert state is not None
    assert (state.leverage, state.venue_liquidation_price, state.venue_maintenance_margin) == (
        "10",
        "31000.5",
        "150.25",
    )


def test_a_push_of_another_size_keeps_leverage_alone() -> None:
    memory = Memory()
    answer(memory, 1)
    state = push(memory, 2, pa="0.600")
    assert state is not None
    assert (state.leverage, state.venue_liquidation_price, state.liquidation_known) == ("10", None, "unknown")


def test_changed_collateral_makes_the_liquidation_price_unknown() -> None:
    memory = Memory()
    answer(memory, 1, row(marginType="isolated", isolatedWallet="600"))
    same, other = (push(memory, 2, (NOW + n, NOW), mt="isolated", iw=iw) for n, iw in enumerate(("600.00", "700")))
    assert same
    assert other
    assert (same.liquidation_known, other.liquidation_known) == ("price", "unknown")


def test_an_older_push_says_nothing() -> None:
    memory = Memory()
    assert push(memory, 1, (NOW, NOW), pa="0") is not None
    assert push(memory, 2, (NOW - 1, NOW + 9)) is None
    assert push(memory, 3, (NOW, NOW), pa="0") is not None, "the same again is no harm"


def test_leverage_of_a_flat_symbol_is_there_when_it_opens() -> None:
    memory = Memory()
    answer(memory, 1, flat(leverage="25"))
    state = push(memory, 2)
    assert state
    assert state.leverage == "25"


def test_an_answer_that_lags_behind_a_push_is_not_believed_for_a_short_time() -> None:
    memory = Memory()
    push(memory, 1000, pa="0")
    assert answer(memory, 1200, row(updateTime=NOW - 5000)).side is None, "closed, whatever the answer still shows"
    assert answer(memory, 1000 + tables.LAG_MS, row(updateTime=NOW - 5000)).side == "long", "the venue is right"


def test_an_answer_that_says_the_same_or_is_dated_later_is_believed_at_once() -> None:
    memory = Memory()
    push(memory, 1000)
    told = answer(memory, 1200, row(updateTime=NOW - 5000))
    assert (told.venue_liquidation_price, told.mark_price) == ("31000.5", "60100.00000000")
    assert answer(memory, 1200, row(updateTime=NOW + 1, positionAmt="0.7")).size == "0.7"


def test_an_answer_without_a_date_is_believed() -> None:
    memory = Memory()
    push(memory, 1000)
    assert answer(memory, 1200, flat(updateTime=0)).side is None


def test_margins_are_those_of_the_same_amount_alone() -> None:
    memory = Memory()
    margins = account({"symbol": "BTCUSDT", "positionAmt": "0.4", "maintMargin": "150.25"})
    memory.learn_margins(msgspec.convert(margins, Account))
    assert answer(memory, 1).venue_maintenance_margin is None


def test_causes_are_kept_of_what_is_no_trade_and_bounded() -> None:
    memory = Memory()
    memory.learn_cause("BTCUSDT", "1", ("trade", ""))
    for number in range(tables.MOST_KEPT + 5):
        memory.learn_cause("BTCUSDT", str(number), ("adl", "adl_autoclose"))
    assert len(memory.causes) == tables.MOST_KEPT
    assert ("BTCUSDT", "0") not in memory.causes


PUSHES = st.lists(st.tuples(st.integers(1, 6), st.sampled_from(["0", "0.5", "0.7"])), min_size=1, max_size=12)


@given(PUSHES)
def test_whatever_the_order_of_pushes_the_newest_stands(pushes: list[tuple[int, str]]) -> None:
    memory = Memory()
    newest = 0
    held = ""
    for at, (time, amount) in enumerate(pushes):
        push(memory, at, (NOW + time, NOW), pa=amount)
        if time >= newest:
            newest, held = time, amount
    (pushed,) = memory.pushed.values()
    assert (pushed.state.fence[0], pushed.state.size) == (NOW + newest, held)
    assert bool(memory.rows) == (held != "0")
