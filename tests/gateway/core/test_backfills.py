"""Which windows of the past are read, and what may be claimed of it."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core import backfills
from gateway.core.backfills import BadWindow
from gateway.core.records import Backfill, Covered

NOW = 1_790_000_000_000
DAY = 86_400_000


def asked(since: int = NOW - DAY, until: int = NOW, reach_ms: int | None = None) -> Backfill:
    return backfills.begin("main", since, until, NOW, reach_ms)


@given(
    length=st.integers(1, 50 * DAY),
    longest=st.integers(DAY // 10, 40 * DAY),
    bad=st.sets(st.integers(0, 30)),
)
def test_windows_follow_one_another_and_nothing_that_was_not_whole_is_claimed(
    length: int, longest: int, bad: set[int]
) -> None:
    reading, seen, number = asked(NOW - length), [], 0
    while (window := backfills.window(reading, longest)) is not None:
        seen.append(window)
        flaws = [f"flaw {number}"] if number in bad else []
        reading = backfills.after(reading, window[1], NOW, 2, flaws)
        number += 1
    assert seen[0][0] == NOW - length
    assert seen[-1][1] == reading.done == NOW
    assert all(before[1] == after[0] for before, after in pairwise(seen))
    assert all(0 < end - begin <= longest for begin, end in seen)
    assert reading.records == 2 * len(seen)
    last_bad = max((end for n, (_, end) in enumerate(seen) if n in bad), default=NOW - length)
    assert reading.since == last_bad
    assert (reading.error is None) == (not bad & set(range(len(seen))))


@pytest.mark.parametrize(
    ("since", "until", "why"),
    [
        (NOW, NOW, "does not lie after"),
        (NOW - 1, NOW - 2, "does not lie after"),
        (NOW - 1, NOW + 2 * DAY, "future"),
        (-5, NOW, "1970"),
        (NOW - 91 * DAY, NOW, "the last 90 days alone: the beginning may be"),
    ],
)
def test_a_stretch_that_cannot_be_read_is_refused_with_its_reason(since: int, until: int, why: str) -> None:
    with pytest.raises(BadWindow, match=why):
        asked(since, until, 90 * DAY)


def test_a_reading_goes_on_where_one_of_the_same_beginning_was_broken_off() -> None:
    broken = backfills.after(
        backfills.begin("main", NOW - 9 * DAY, NOW - DAY, NOW - DAY), NOW - 5 * DAY, NOW - DAY, 7, []
    )
    other = backfills.begin("main", NOW - 8 * DAY, NOW - DAY, NOW)
    again = backfills.resumed(asked(NOW - 9 * DAY), [other, broken])
    assert (again.id, again.done, again.until, again.records) == (broken.id, NOW - 5 * DAY, NOW, 7)
    assert backfills.resumed(asked(NOW - 9 * DAY), [backfills.broken(broken, NOW, "venue: away")]).error is None
    flawed = backfills.broken(backfills.after(broken, NOW - 4 * DAY, NOW, 0, ["forgotten"]), NOW, "venue: away")
    assert flawed.error == "forgotten; venue: away"
    kept = backfills.resumed(asked(NOW - 9 * DAY), [flawed])
    assert (kept.since, kept.error) == (NOW - 4 * DAY, "forgotten; venue: away")
    shorter = backfills.begin("main", NOW - 9 * DAY, NOW - 6 * DAY, NOW)
    assert backfills.resumed(shorter, [broken]) == shorter


def test_a_start_reads_from_where_records_were_whole_and_of_a_new_account_what_is_configured() -> None:
    closed = Covered(id="main", account="main", since=1, until=NOW - DAY, at=NOW)
    opened = Covered(id="main", account="main", since=1, at=NOW)
    assert backfills.whole_until(closed, NOW - 5) == NOW - DAY
    assert backfills.whole_until(opened, NOW - 60_000) == NOW - 60_000
    assert backfills.whole_until(None, NOW - 5) is None
    since, until = backfills.missing(NOW - DAY, None, NOW, 7, None) or (0, 0)
    assert (NOW - DAY - since, until) == (120_000, NOW)
    assert backfills.missing(None, None, NOW, 7, None) == (NOW - 7 * DAY, NOW)
    assert backfills.missing(None, None, NOW, 0, None) is None
    since, _ = backfills.missing(NOW - DAY, None, NOW, 7, DAY // 2) or (0, 0)
    assert NOW - DAY // 2 < since < NOW


def test_a_start_does_not_read_again_what_this_life_has_asked_for_itself() -> None:
    assert backfills.missing(NOW - DAY, NOW - 5 * DAY, NOW, 7, None) is None
    assert backfills.missing(NOW - DAY, NOW - 1_000, NOW, 7, None) == (NOW - DAY - 120_000, NOW - 1_000)
    assert backfills.missing(None, NOW - DAY, NOW, 7, None) == (NOW - 7 * DAY, NOW - DAY)


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("2026-11-01", 1_793_491_200_000),
        ("2026-11-01T12:30:00Z", 1_793_536_200_000),
        ("2026-11-01T12:30:00", 1_793_536_200_000),
        ("2026-11-01T13:30:00+01:00", 1_793_536_200_000),
        ("1793491200000", 1_793_491_200_000),
    ],
)
def test_moments_are_dates_times_or_milliseconds_in_utc(text: str, at: int) -> None:
    assert backfills.moment(text) == at


@pytest.mark.parametrize("text", ["yesterday", "", "2026-13-01", "12"])
def test_anything_else_is_no_moment(text: str) -> None:
    with pytest.raises(BadWindow, match="is no moment"):
        backfills.moment(text)
