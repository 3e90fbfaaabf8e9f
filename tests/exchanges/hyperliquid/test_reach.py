"""How far back fills can be had: found out by what lies before a window, and by counting where nothing does."""

from __future__ import annotations

import json
from collections.abc import Sequence

import msgspec
import pytest

from exchanges.hyperliquid import build, tables
from exchanges.hyperliquid.reach import Reach
from exchanges.venue import OUT_OF_REACH, Ask, HttpRequest, Notice

PAGE = tables.FULL["userFillsByTime"]


class Venue:
    """Fills one a second, of which the newest so many are known; answers as the venue pages."""

    def __init__(self, times: Sequence[int], reachable: int = tables.FILLS_REACHABLE) -> None:
        self.times = list(times)[-reachable:]
        self.asked = 0

    def answer(self, request: HttpRequest) -> list[msgspec.Raw]:
        asked = build.question(request)
        self.asked += 1
        last = asked.get("endTime", 10**15)
        found = [at for at in self.times if asked["startTime"] <= at <= last][:PAGE]
        return [msgspec.Raw(json.dumps({"time": at, "tid": at}).encode()) for at in found]


def outcome(reach: Reach, venue: Venue, since: int) -> list[Notice]:
    """Return what is said of a window that begins then."""
    waiting, said = reach.questions(since), []
    while waiting:
        request = waiting.pop(0)
        asked = build.question(request)
        assert reach.is_ours(asked)
        for output in reach.answer(asked, venue.answer(request)):
            if isinstance(output, Ask):
                waiting.append(output.request)
            else:
                assert isinstance(output, Notice)
                said.append(output)
    return said


def reach() -> Reach:
    return Reach(lambda kind, **params: build.info(kind, user="0xaa", **params))


def test_fills_before_a_window_settle_it_at_once_and_for_later_windows_too() -> None:
    venue, here = Venue(range(1_000, 50_000)), reach()
    assert outcome(here, venue, 45_000) == []
    assert venue.asked == 1
    assert here.questions(46_000) == []
    assert here.questions(44_999) != []


@pytest.mark.parametrize("count", [0, 1, PAGE, tables.FILLS_REACHABLE - 1])
def test_an_account_with_fewer_fills_has_forgotten_none(count: int) -> None:
    venue, here = Venue(range(1_000, 1_000 + count)), reach()
    assert outcome(here, venue, 500) == []
    assert here.questions(500) == []


def test_what_the_venue_forgot_is_said_until_a_window_is_reached() -> None:
    venue, here = Venue(range(1_000, 1_000 + 2 * tables.FILLS_REACHABLE)), reach()
    oldest = venue.times[0]
    (notice,) = outcome(here, venue, 500)
    assert notice.code == OUT_OF_REACH
    assert "10,000" in notice.what
    counted = venue.asked
    assert len(outcome(here, venue, oldest)) == 1  # others of that very moment may be forgotten
    assert venue.asked == counted + 1
    assert outcome(here, venue, oldest + 1) == []
    assert here.questions(oldest + 2) == []
