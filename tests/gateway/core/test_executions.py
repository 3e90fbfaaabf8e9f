"""Fills: known once, never a size, and a chain without holes."""

from __future__ import annotations

from itertools import accumulate

from hypothesis import given, settings
from hypothesis import strategies as st

from exchanges.events import Fill, HistoryRead
from gateway.engine import Engine
from tests.gateway.events_of import closed, engine, feed, fill, instrument, position, row, rows, snapshot

BTC = position(venue_at=1_000)


def started() -> Engine:
    one = engine()
    one.turn([instrument(), snapshot(BTC), feed("live")], 2_000)
    return one


def test_a_fill_is_one_row_whichever_channel_brings_it() -> None:
    one = started()
    one.turn([fill(fee="-0.01", fee_ccy="USDT", role="taker")], 5_000)
    seq = one.tables.seq
    one.turn([fill(), HistoryRead(account="okx-main", since=0, asked_at=6_000)], 6_100)
    assert one.tables.seq == seq
    found = row(one, "fills", fill().id)
    assert (found["fee"], found["cause"], found["price"], found["user"]) == ("-0.01", "trade", "110", "ann")
    assert not {"id", "category", "realized_pnl"} & set(found)


def test_the_newest_five_hundred_are_shown_and_older_ones_are_remembered() -> None:
    one = started()
    many = [fill(at=3_000 + number) for number in range(510)]
    one.turn(many, 10_000)
    assert set(one.tables["fills"].ids()) == {one_.id for one_ in many[10:]}
    seq = one.tables.seq
    one.turn([many[0]], 11_000)
    assert one.tables.seq == seq, "a re-read is no news"
    one.turn([fill(at=1)], 12_000)
    assert len(one.tables["fills"]) == 500, "older than everything that is shown"


def test_a_fill_marks_the_row_until_a_newer_state_and_never_changes_its_size() -> None:
    one = started()
    one.turn([fill("buy", "1", 5_000)], 5_100)
    found = row(one, "positions", BTC.id)
    assert found["size"] == "2"
    assert found["stale"] == {"since": 5_100, "reason": "fill_pending"}
    assert one.wants_state == {"okx-main"}
    one.wants_state.clear()
    one.turn([position(size="3", fence=(2,), venue_at=5_001)], 5_200)
    assert "stale" not in row(one, "positions", BTC.id)
    one.clock(6_000)
    assert one.wants_state == set()


def test_an_answer_asked_after_the_fill_ends_the_wait_whatever_its_date() -> None:
    one = started()
    one.turn([fill("buy", "1", 5_000)], 5_100)
    one.turn([snapshot(BTC, asked_at=5_050)], 5_200)
    assert "stale" in row(one, "positions", BTC.id), "asked before the fill was known"
    one.turn([snapshot(BTC, asked_at=5_300)], 5_400)
    assert "stale" not in row(one, "positions", BTC.id)


def test_a_fill_that_the_state_shows_already_marks_nothing() -> None:
    one = started()
    one.turn([fill("buy", "1", 1_000), fill("buy", "1", 5_000, start_position="1")], 5_100)
    assert "stale" not in row(one, "positions", BTC.id), "older than the state; and one that ends at its size"
    one.turn([fill("sell", "1", 6_000, start_position="2")], 6_100)
    assert "stale" in row(one, "positions", BTC.id)


def test_a_fill_without_a_row_asks_for_the_state_unless_it_closed_one() -> None:
    one = started()
    one.turn([closed(BTC, (2,))], 5_000)
    one.turn([fill("sell", "2", 4_900)], 5_010)
    assert one.wants_state == set()
    one.turn([fill("buy", "1", 7_000)], 7_010)
    assert one.wants_state == {"okx-main"}
    one.wants_state.clear()
    one.turn([snapshot(asked_at=7_100)], 7_200)
    assert one.wants_state == set()


def test_a_fill_of_something_that_is_no_contract_asks_for_nothing() -> None:
    one = started()
    one.turn([fill(symbol="BTC-USDT", at=7_000)], 7_010)
    assert one.wants_state == set()


def chain(*moves: int, start: int = 0, at: int = 10_000) -> list[Fill]:
    """Return fills that follow one another, all of one millisecond where ``at`` says so."""
    ends = list(accumulate(moves, initial=start))
    return [
        fill("buy" if move > 0 else "sell", str(abs(move)), at + number, id=f"okx-main:c{number}:{at}",
             start_position=str(before))
        for number, (move, before) in enumerate(zip(moves, ends, strict=False))
    ]  # fmt: skip


moves = st.lists(st.integers(-5, 5).filter(bool), min_size=3, max_size=8)


@settings(max_examples=100, deadline=None)
@given(moves=moves, data=st.data())
def test_a_chain_that_is_whole_has_no_hole_in_whatever_order_it_comes(moves: list[int], data: st.DataObject) -> None:
    one = started()
    told = chain(*moves)
    cut = data.draw(st.integers(0, len(told)))
    one.turn(data.draw(st.permutations(told[:cut])), 20_000)
    one.turn(data.draw(st.permutations(told[cut:])), 20_100)
    one.clock(30_000)
    assert one.counters["fill_holes"] == 0


@settings(max_examples=100, deadline=None)
@given(moves=moves, data=st.data())
def test_a_fill_that_is_missing_is_found_asked_for_and_found_again(moves: list[int], data: st.DataObject) -> None:
    one = started()
    told = chain(*moves)
    missing = data.draw(st.integers(1, len(told) - 2))
    for event in told[:missing] + told[missing + 1 :]:
        one.turn([event], event.at)
    before = one.counters["fill_holes"]
    assert before == 0, "its slice may come a little later"
    one.clock(30_000)
    assert one.counters["fill_holes"] == 1
    assert one.wants_history["okx-main"] == (told[missing - 1].at, frozenset({BTC.symbol}))
    one.turn([told[missing], HistoryRead(account="okx-main", since=told[missing - 1].at, asked_at=30_100)], 30_200)
    one.clock(40_000)
    assert (one.counters["fill_holes"], one.counters["fill_holes_unfilled"]) == (1, 0)
    one.wants_history.clear()
    one.clock(60_000)
    assert one.wants_history == {}


def test_a_slice_that_comes_late_fills_its_hole_before_it_is_counted() -> None:
    one = started()
    first, late, last = chain(1, 2, 3)
    one.turn([first], 20_000)
    one.turn([last], 20_100)
    one.turn([late], 20_200)
    one.clock(30_000)
    assert one.counters["fill_holes"] == 0
    assert one.wants_history == {}


def test_fills_of_one_millisecond_have_no_order_but_their_own() -> None:
    one = started()
    told = [fill("buy", "1", 10_000, id=f"okx-main:{name}", start_position=start)
            for name, start in (("z", "0"), ("y", "1"), ("x", "2"))]  # fmt: skip
    one.turn(told, 20_000)
    one.turn(chain(-3, start=3, at=11_000), 20_100)
    one.clock(30_000)
    assert one.counters["fill_holes"] == 0


def test_after_a_restart_a_chain_goes_on_where_its_stored_fills_end() -> None:
    one = engine()
    stored = chain(1, 2, 3)
    one.restore([stored[0], stored[2], position()], 20_000)
    one.turn(chain(-1, start=6, at=11_000), 21_000)
    one.clock(30_000)
    assert one.counters["fill_holes"] == 0, "what was missing in the earlier life was asked for then"
    one.turn(chain(-1, start=3, at=12_000), 31_000)
    one.clock(40_000)
    assert one.counters["fill_holes"] == 1
    assert len(rows(one, "fills")) == 4
