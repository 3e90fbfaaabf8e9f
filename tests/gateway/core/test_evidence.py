"""Evidence: what explains a change does so exactly, whatever else was said; and what is outside its time never does."""

from __future__ import annotations

from decimal import Decimal
from typing import get_args

from hypothesis import given, settings
from hypothesis import strategies as st

from exchanges.events import Cause, Evidence
from gateway.core.difference import Change
from gateway.core.evidence import Memory, Piece, cause_of, class_of, explaining, piece_of, reason_of, speaking, words_of
from tests.gateway.events_of import fill

sizes = st.decimals("0.001", "50", places=3).flatmap(lambda size: st.sampled_from([size, -size]))
causes = st.sampled_from(get_args(Cause))


def trade(number: int, signed: Decimal, at: int | None = None, cause: Cause = "trade") -> Piece:
    return Piece(number if at is None else at, f"f{number}", "BTC", None, cause, (f"f{number}",), True, signed)


pieces = st.lists(
    st.builds(
        lambda number, at, signed, cause, notice: Piece(
            at, f"p{number}", "BTC", None, cause, (f"p{number}",), False, None if notice else signed
        ),
        st.integers(0, 60), st.integers(0, 100), sizes, causes, st.booleans(),
    ),
    unique_by=lambda piece: piece.id, max_size=30,
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(earlier=st.lists(sizes, max_size=5), own=st.lists(sizes, min_size=1, max_size=5))
def test_the_newest_fills_that_make_the_change_explain_it(earlier: list[Decimal], own: list[Decimal]) -> None:
    delta = sum(own, Decimal(0))
    told = [trade(number, signed) for number, signed in enumerate([*earlier, *own])]
    found = explaining(told, delta, Decimal(1_000_000))
    if delta:
        assert found, "the fills are all there"
    assert sum((piece.signed or Decimal(0) for piece in found), Decimal(0)) == delta or not found


@settings(max_examples=200, deadline=None)
@given(told=st.lists(sizes, max_size=6), delta=sizes)
def test_fills_never_explain_another_change(told: list[Decimal], delta: Decimal) -> None:
    found = explaining([trade(number, signed) for number, signed in enumerate(told)], delta, Decimal(1_000_000))
    assert not found or sum((piece.signed or Decimal(0) for piece in found), Decimal(0)) == delta


def test_a_fill_that_states_the_position_before_it_proves_where_it_ends() -> None:
    last = piece_of(fill("sell", "1", start_position="4"), told=True)
    assert explaining([last], Decimal(-7), Decimal(3)) == [last], "the others came before we listened"
    assert explaining([last], Decimal(-7), Decimal(2)) == []


def test_a_leg_of_a_hedge_is_explained_by_the_fills_of_its_direction() -> None:
    both = [trade(1, Decimal(2)), trade(2, Decimal(-1))]
    assert explaining(both, Decimal(2), Decimal(5)) == both[:1]


@settings(max_examples=200, deadline=None)
@given(said=pieces, after=st.integers(0, 100), length=st.integers(0, 100), data=st.data())
def test_memory_answers_by_time_and_name_in_any_order_of_arrival(
    said: list[Piece], after: int, length: int, data: st.DataObject
) -> None:
    memory = Memory()
    for piece in data.draw(st.permutations(said)):
        memory.add(piece)
    found = memory.of("row", "BTC", after, after + length)
    assert found == sorted(
        (piece for piece in said if after < piece.at <= after + length), key=lambda one: (one.at, one.id)
    )
    assert memory.of("row", "ETH", 0, 1_000) == []


def test_a_piece_that_names_a_position_speaks_of_no_other() -> None:
    memory = Memory()
    memory.add(piece_of(fill(position="a"), told=False))
    assert len(memory.of("a", "BTC-USDT-SWAP", 0, 9_000)) == 1
    assert memory.of("b", "BTC-USDT-SWAP", 0, 9_000) == []


@given(said=pieces)
def test_memory_is_bounded_and_forgets_the_oldest(said: list[Piece]) -> None:
    memory = Memory(max_pieces=5)
    for piece in said:
        memory.add(piece)
    assert len(memory) == min(5, len(said))


def test_what_is_read_again_is_no_news_unless_the_stream_tells_it_too() -> None:
    memory = Memory()
    assert memory.add(piece_of(fill(), told=False))
    assert not memory.add(piece_of(fill(), told=False))
    assert memory.add(piece_of(fill(), told=True))
    assert not memory.add(piece_of(fill(), told=False))
    assert [piece.told for piece in memory.of("x", "BTC-USDT-SWAP", 0, 9_000)] == [True]


@settings(max_examples=200, deadline=None)
@given(said=pieces, change=st.sampled_from(get_args(Change)), delta=sizes, listening=st.booleans())
def test_there_is_a_class_exactly_where_something_speaks(
    said: list[Piece], change: Change, delta: Decimal, listening: bool
) -> None:
    use = speaking(said, change, delta)
    cls = class_of(change, use, listening=listening)
    assert (cls == "unknown") == (not use)
    assert all(piece.signed is None or change == "entry" or (piece.signed > 0) == (delta > 0) for piece in use) or (
        change == "margin"
    )
    if cls == "missed_event":
        assert listening


def test_the_last_fill_decides_unless_a_notice_beside_it_names_a_graver_cause() -> None:
    liquidated = trade(1, Decimal(-1), at=1_000, cause="liquidation")
    sold = trade(2, Decimal(-1), at=9_000)
    notice = piece_of(Evidence(account="a", symbol="BTC", cause="adl", what="ADL", at=9_500, ids=("7",)), told=True)
    assert cause_of([liquidated, sold]) == "trade", "a partial liquidation, and then a trade that closed the rest"
    assert cause_of([liquidated, sold, notice]) == "adl"
    assert cause_of([liquidated]) == "liquidation"
    assert cause_of([]) is None
    assert reason_of([sold, notice]) == "adl"
    assert words_of([sold, notice]) == ("f2", "7", "ADL")


def test_funding_is_no_reason_for_a_close() -> None:
    assert reason_of([Piece(1, "x", "BTC", None, "funding", ("x",), True)]) is None
