"""Since when records are whole: gaps are asked for once, in their turn, and never claimed to be filled when they are not."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.core.coverage import DAY_MS, Coverage

DAY = 20_000 * DAY_MS
LIVE = DAY + 36_000_000  # ten o'clock
ASKED = LIVE + 5_000


def begun() -> Coverage:
    """Return the coverage of an account that was read in whole since the day began."""
    one = Coverage()
    one.hear(LIVE, LIVE)
    assert one.wanted(ASKED) == DAY
    one.read(DAY, ASKED, whole=True)
    assert (one.since, one.gap, one.whole) == (DAY, None, True)
    return one


def test_nothing_is_whole_until_the_day_was_asked_for_after_the_stream_became_live() -> None:
    one = Coverage()
    assert one.wanted(LIVE) is None  # nobody listens: what is asked now would be old at once
    one.hear(LIVE, LIVE)
    assert one.wanted(LIVE + 4_999) is None  # the state is asked first
    assert one.wanted(ASKED) == DAY
    assert one.wanted(ASKED + 59_999) is None  # asked already
    one.read(DAY, LIVE + 999, whole=True)  # what happened as the stream began may be in neither
    one.read(DAY + 1, ASKED, whole=True)  # not since then
    assert (one.since, one.whole) == (None, False)
    one.read(DAY, ASKED, whole=True)
    assert (one.since, one.whole) == (DAY, True)
    assert one.wanted(LIVE + DAY_MS) is None


def test_it_is_settled_once_the_first_question_is_over_in_vain_or_not() -> None:
    one = Coverage()
    assert one.settled  # nobody asks what a stream did not tell, where there is none
    one.hear(LIVE, LIVE)
    assert not one.settled
    assert one.wanted(ASKED) == DAY
    assert not one.settled
    one.failed(DAY, ASKED, ASKED + 1_000)
    assert one.settled
    since = one.wanted(ASKED + 61_000)
    assert since is not None
    assert not one.settled
    one.read(since, ASKED + 61_000, whole=True)
    assert one.settled
    assert begun().settled


def test_accounts_of_one_venue_are_asked_one_after_another() -> None:
    third = Coverage(2)
    third.hear(LIVE, LIVE)
    assert third.wanted(ASKED + 19_999) is None
    assert third.wanted(ASKED + 20_000) == DAY


def test_a_reconnect_leaves_a_gap_that_is_asked_for_with_an_overlap() -> None:
    one = begun()
    one.hear(None, LIVE + 600_000)
    assert (one.since, one.gap) == (DAY, LIVE + 480_000)
    one.read(DAY, LIVE + 605_000, whole=True)  # nobody listens afterwards
    assert not one.whole
    again = LIVE + 620_000
    one.hear(again, again)
    assert one.wanted(again + 5_000) == LIVE + 480_000
    one.read(LIVE + 480_000, again + 5_000, whole=True)
    assert (one.since, one.whole) == (DAY, True)


def test_a_connection_that_replaces_a_live_one_leaves_a_gap_too() -> None:
    one = begun()
    one.hear(LIVE + 50_000, LIVE + 50_000)
    assert one.gap == LIVE - 70_000


def test_any_answer_that_reaches_back_far_enough_fills_a_gap() -> None:
    one = begun()
    one.missed(LIVE + 100_000, LIVE + 110_000)
    one.read(LIVE + 100_001, LIVE + 111_000, whole=True)
    assert not one.whole
    one.read(LIVE + 99_000, LIVE + 109_000, whole=True)  # asked before it was known
    assert not one.whole
    one.read(LIVE + 99_000, LIVE + 111_000, whole=True)
    assert one.whole


def test_a_gap_that_nobody_answers_for_is_given_up_and_the_records_begin_where_the_stream_did() -> None:
    one = begun()
    one.hear(None, LIVE + 600_000)
    again = LIVE + 620_000
    one.hear(again, again)
    asked = []
    for now in range(again, again + 600_000, 1_000):
        since = one.wanted(now)
        if since is not None:
            asked.append(now)
            one.failed(since, now, now)
    assert asked == [again + 5_000, again + 65_000, again + 125_000]
    assert (one.since, one.whole) == (again, True)


def test_a_question_that_is_under_way_is_not_asked_again_however_long_it_takes() -> None:
    one = begun()
    one.hear(None, LIVE + 600_000)
    again = LIVE + 620_000
    one.hear(again, again)
    since = one.wanted(again + 5_000)
    assert since == LIVE + 480_000
    assert [one.wanted(now) for now in range(again + 6_000, again + 900_000, 1_000)] == [None] * 894
    assert (one.since, one.gap) == (DAY, since)
    one.read(since, again + 300_000, whole=True)
    assert (one.since, one.whole) == (DAY, True)


def test_a_question_that_took_long_and_failed_is_asked_again_after_a_pause() -> None:
    one = Coverage()
    one.hear(LIVE, LIVE)
    assert one.wanted(ASKED) == DAY
    one.failed(DAY, ASKED, ASKED + 300_000)
    assert one.wanted(ASKED + 359_999) is None
    assert one.wanted(ASKED + 360_000) is not None


def test_only_the_failure_of_the_question_that_is_under_way_counts() -> None:
    one = Coverage()
    one.failed(DAY, LIVE, LIVE)
    one.hear(LIVE, LIVE)
    one.failed(DAY, LIVE + 2_000, LIVE + 3_000)  # somebody else's: nothing was asked yet
    assert one.wanted(ASKED) == DAY
    one.failed(DAY, ASKED - 1, ASKED + 1_000)  # asked before ours
    one.failed(ASKED - 60_000, ASKED, ASKED + 1_000)  # not since then
    assert one.wanted(ASKED + 300_000) is None
    one.hear(None, ASKED + 310_000)
    one.hear(ASKED + 320_000, ASKED + 320_000)
    assert one.wanted(ASKED + 325_000) == DAY  # the stream is another one: what is under way will not say it
    one.failed(DAY, ASKED + 300_000, ASKED + 326_000)
    assert one.wanted(ASKED + 900_000) is None


def test_an_answer_with_something_missing_is_no_answer_for_the_gap() -> None:
    one = begun()
    one.hear(None, LIVE + 600_000)
    one.hear(LIVE + 700_000, LIVE + 700_000)
    since = one.wanted(LIVE + 705_000)
    assert since is not None
    one.read(since, LIVE + 705_000, whole=False)
    assert (one.since, one.whole) == (LIVE + 700_000, True)


def test_an_account_that_never_answers_in_whole_is_never_whole_and_is_asked_rarely() -> None:
    one = Coverage()
    one.hear(LIVE, LIVE)
    asked = []
    for now in range(LIVE, LIVE + 12_000_000, 1_000):
        since = one.wanted(now)
        if since is not None:
            asked.append((now - LIVE, since))
            one.read(since, now, whole=False)
    small = LIVE - 120_000  # less is asked where so much was not answered
    assert asked == [
        (5_000, DAY),
        (65_000, small),
        (125_000, small),
        (3_725_000, small),
        (7_325_000, small),
        (10_925_000, small),
    ]
    assert one.since is None


def test_what_is_lost_is_before_what_is_whole() -> None:
    one = begun()
    one.lost(LIVE)
    one.lost(DAY)
    assert one.since == LIVE + 1


def test_a_gap_of_days_is_not_asked_for() -> None:
    one = begun()
    one.restore(DAY, LIVE)
    later = LIVE + 4 * DAY_MS
    one.hear(later, later)
    today = later // DAY_MS * DAY_MS
    assert one.wanted(later + 5_000) == today
    one.read(today, later + 5_000, whole=True)
    assert one.since == today


steps = st.one_of(
    st.tuples(st.just("up"), st.none()),
    st.tuples(st.just("down"), st.none()),
    st.tuples(st.just("answer"), st.booleans()),
    st.tuples(st.just("failure"), st.none()),
    st.tuples(st.just("missed"), st.integers(0, 500)),
    st.tuples(st.just("wait"), st.integers(1, 200)),
)


@given(st.lists(steps, max_size=40))
def test_whole_says_that_every_moment_was_heard_or_asked_for(doings: list[tuple[str, int | bool | None]]) -> None:
    one, now = Coverage(), LIVE
    up: int | None = None
    tells: int | None = None  # from here on, what the stream tells counts
    told: list[tuple[int, int]] = []  # [from, to): by the stream or an answer
    asked: int | None = None
    for what, value in doings:
        now += 1_000
        if what == "up" and up is None:
            up = tells = now
        elif what == "down" and up is not None and tells is not None:
            told.append((tells, now))
            up = tells = None
        elif what == "wait":
            now += int(value or 0) * 1_000
        elif what == "missed" and tells is not None:
            at = now - int(value or 0) * 1_000
            told = [(start, min(end, at)) for start, end in [*told, (tells, now)] if start < at]
            tells = now
            one.missed(at, now)
        elif what == "answer" and asked is not None:
            one.read(asked, now, whole=bool(value))
            if value:
                told.append((asked, now))
            asked = None
        elif what == "failure" and asked is not None:
            one.failed(asked, now, now)
            asked = None
        one.hear(up, now)
        asked = one.wanted(now) if asked is None else asked
        if one.whole:
            assert one.since is not None
            reached = one.since
            for start, end in sorted([*told, *([(tells, now)] if tells is not None else [])]):
                if start <= reached:
                    reached = max(reached, end)
            assert reached >= now
