"""Cursor paging: complete only when the venue says so."""

from __future__ import annotations

import pytest
from msgspec import Raw

from exchanges.bybit import tables
from exchanges.bybit.paging import Listing, is_tail, listing_for, query_of
from exchanges.bybit.wire import Page
from exchanges.errors import ProtocolViolation
from exchanges.venue import HttpRequest

ROW = Raw(b"{}")


def test_a_cursor_is_followed_even_after_a_short_page() -> None:
    listing: Listing[int] = Listing(1)
    assert listing.further(Page([ROW], "next"), {"limit": "200"}, recorded=False) == "next"
    assert listing.further(Page([], "more"), {"limit": "200", "cursor": "next"}, recorded=False) is None


@pytest.mark.parametrize("cursor", ["", None])
def test_no_cursor_ends_the_list(cursor: str | None) -> None:
    assert Listing[int](1).further(Page([ROW], cursor), {}, recorded=False) is None


def test_the_same_cursor_again_ends_the_list() -> None:
    query = query_of(HttpRequest(path="/v5/position/list?cursor=BTC%2C1"))
    assert Listing[int](1).further(Page([ROW], "BTC%2C1"), query, recorded=False) is None


def test_in_a_recording_a_short_page_is_the_last() -> None:
    listing: Listing[int] = Listing(1)
    assert listing.further(Page([ROW], "next"), {}, recorded=True) is None
    assert listing.further(Page([ROW] * 20, "next"), {}, recorded=True) == "next"


def test_the_empty_page_behind_a_recorded_short_one_is_no_news() -> None:
    listings: dict[str, Listing[int]] = {}
    assert is_tail(listings, "x", {"cursor": "c"}, Page([], "c"))
    assert not is_tail(listings, "x", {}, Page([], "")), "a first page: the list is empty"
    assert not is_tail(listings, "x", {"cursor": "c"}, Page([ROW], "c"))
    listing_for(listings, "x", {}, 5)
    assert not is_tail(listings, "x", {"cursor": "c"}, Page([], "c")), "the last page of a list that goes on"


def test_a_list_without_end_is_a_violation() -> None:
    listing: Listing[int] = Listing(1)
    for number in range(tables.MAX_PAGES - 1):
        assert listing.further(Page([ROW], f"c{number}"), {}, recorded=False) == f"c{number}"
    with pytest.raises(ProtocolViolation, match="did not end"):
        listing.further(Page([ROW], "again"), {}, recorded=False)


def test_a_first_page_starts_anew_and_a_further_one_needs_a_first() -> None:
    listings: dict[str, Listing[int]] = {}
    with pytest.raises(ProtocolViolation, match="without its first one"):
        listing_for(listings, "x", {"cursor": "c"}, 5)
    first = listing_for(listings, "x", {}, 5)
    assert listing_for(listings, "x", {"cursor": "c"}, 9) is first
    assert first.asked_at == 5
    assert listing_for(listings, "x", {}, 9) is not first
