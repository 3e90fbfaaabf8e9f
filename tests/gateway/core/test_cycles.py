"""Closed cycles: one row per open → close, with a reason as soon as something tells it, and never a guess."""

from __future__ import annotations

import pytest

from exchanges.events import Cause, Evidence, HistoryRead
from gateway.engine import Engine
from tests.gateway.events_of import closed, engine, feed, fill, position, row, rows, snapshot

BTC = position(venue_at=1_000, opened_at=500)


def started() -> Engine:
    one = engine()
    one.turn([snapshot(BTC), feed("live")], 2_000)
    return one


def test_a_cycle_keeps_the_largest_size_and_both_ends() -> None:
    one = started()
    one.turn([position(size="7", fence=(2,), venue_at=3_000, opened_at=500)], 3_000)
    one.turn([position(size="1", fence=(3,), venue_at=4_000, opened_at=500)], 4_000)
    one.turn([closed(BTC, (4,))], 5_000)
    found = row(one, "closed", f"{BTC.id}@500")
    assert (found["size"], found["side"], found["entry_price"]) == ("7", "long", "100")
    assert (found["opened_at"], found["closed_at"], found["status"]) == (500, 5_000, "closed")
    assert not {"reason", "since", "id"} & set(found), "nothing has told why"


@pytest.mark.parametrize(
    ("cause", "reason", "status"),
    [("trade", "trade", "closed"), ("liquidation", "liquidated", "liquidated"), ("adl", "adl", "closed"),
     ("settlement", "settled", "closed")],
)  # fmt: skip
@pytest.mark.parametrize("first", [True, False], ids=["fill first", "close first"])
def test_the_closing_fill_tells_why_before_or_after(cause: Cause, reason: str, status: str, first: bool) -> None:
    one = started()
    events = [fill(at=4_990, cause=cause), closed(BTC, (2,))]
    for event in events if first else events[::-1]:
        one.turn([event], 5_000)
    found = row(one, "closed", f"{BTC.id}@500")
    assert (found["reason"], found["status"]) == (reason, status)


def test_a_notice_that_comes_after_the_trade_names_the_graver_cause() -> None:
    one = started()
    one.turn([fill(at=4_990), closed(BTC, (2,))], 5_000)
    assert rows(one, "closed")[0]["reason"] == "trade"
    one.turn([Evidence(account="okx-main", symbol=BTC.symbol, cause="adl", what="adl", at=5_000)], 5_500)
    assert rows(one, "closed")[0]["reason"] == "adl"


def test_a_fill_of_another_direction_or_time_tells_nothing() -> None:
    one = started()
    one.turn([fill("buy", at=4_990), fill(at=900), closed(BTC, (2,))], 5_000)
    assert "reason" not in rows(one, "closed")[0]


def test_a_flip_ends_one_cycle_and_begins_another() -> None:
    one = started()
    one.turn([position(side="short", id=BTC.id, size="3", fence=(2,), venue_at=5_000, opened_at=5_000)], 5_000)
    assert [(cycle["side"], cycle["size"]) for cycle in rows(one, "closed")] == [("long", "2")]
    one.turn([closed(BTC, (3,))], 6_000)
    assert row(one, "closed", f"{BTC.id}@5000")["size"] == "3"


def test_without_an_opening_time_cycles_of_one_position_are_told_apart() -> None:
    one = engine()
    for number in range(3):
        one.turn([position(fence=(2 * number + 1,))], 1_000 * (2 * number + 1))
        one.turn([closed(BTC, (2 * number + 2,))], 1_000 * (2 * number + 2))
    assert list(one.tables["closed"].ids()) == [f"{BTC.id}@c{at}" for at in (2_000, 4_000, 6_000)]


def test_a_reason_that_nothing_told_is_asked_for_once() -> None:
    one = started()
    one.turn([closed(BTC, (2,))], 5_000)
    one.clock(7_000)
    assert one.wants_history == {}, "its fill may be under way"
    one.clock(8_000)
    since, symbols = one.wants_history.pop("okx-main")
    assert (since, symbols) == (1_000, frozenset({BTC.symbol}))
    one.clock(9_000)
    assert one.wants_history == {}, "it was asked"
    one.clock(13_000)
    assert one.wants_history.pop("okx-main"), "and no answer came"
    one.turn([HistoryRead(account="okx-main", since=since, asked_at=13_100)], 13_200)
    one.clock(30_000)
    assert one.wants_history == {}
    assert "reason" not in rows(one, "closed")[0], (
        "the stream told of the close: it is not reconciled, and nobody knows why"
    )


def test_the_newest_two_hundred_are_shown() -> None:
    one = engine()
    for number in range(205):
        held = position(f"S{number}", opened_at=number)
        one.turn([held], 1_000 + number)
        one.turn([closed(held, (2,))], 1_000 + number)
    assert len(one.tables["closed"]) == 200
    one.clock(1_000_000)
    assert f"{position('S204').id}@204" in one.tables["closed"]
