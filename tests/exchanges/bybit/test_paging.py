"""Cursor paging: complete only when the venue says so."""

from __future__ import annotations

import pytest
from msgspec import Raw

from exchanges.bybit import build, tables
from exchanges.bybit.paging import Listing, Listings, query_of
from exchanges.bybit.wire import Page
from exchanges.errors import ProtocolViolation
from exchanges.venue import HttpRequest

ROW = Raw(b"{}")
LIST = HttpRequest(path="/v5/position/list?limit=200")


def _next(listing: Listing[int], page: Page, request: HttpRequest, *, recorded: bool = False) -> str | None:
    further = listing.further(page, request, recorded)
    return further.request.path if further else None


def test_a_cursor_is_followed_even_after_a_short_page() -> None:
    listing: Listing[int] = Listing(1)
    assert _next(listing, Page([ROW], "next"), LIST) == "/v5/position/list?limit=200&cursor=next"
    assert _next(listing, Page([], "more"), build.page(LIST, "next")) is None


def test_the_next_page_takes_the_place_of_the_last_and_keeps_its_signature() -> None:
    second = build.page(build.page(build.account_info(), "one"), "two")
    assert (second.path, second.signed) == ("/v5/account/info&cursor=two", True)


@pytest.mark.parametrize("cursor", ["", None])
def test_no_cursor_ends_the_list(cursor: str | None) -> None:
    assert _next(Listing(1), Page([ROW], cursor), LIST) is None


def test_the_same_cursor_again_ends_the_list() -> None:
    assert _next(Listing(1), Page([ROW], "BTC%2C1"), build.page(LIST, "BTC%2C1")) is None


def test_in_a_recording_a_short_page_is_the_last() -> None:
    listing: Listing[int] = Listing(1)
    request = HttpRequest(path="/v5/position/list?category=option")
    assert _next(listing, Page([ROW], "next"), request, recorded=True) is None
    assert _next(listing, Page([ROW] * 20, "next"), request, recorded=True) is not None


def test_the_empty_page_behind_a_recorded_short_one_is_no_news() -> None:
    listings: Listings[int] = Listings()
    further = build.page(LIST, "c")
    assert listings.is_tail(further, Page([], "c"))
    assert not listings.is_tail(LIST, Page([], "")), "a first page: the list is empty"
    assert not listings.is_tail(further, Page([ROW], "c"))
    listings.of(LIST, 5)
    assert not listings.is_tail(further, Page([], "c")), "the last page of a list that goes on"


def test_a_list_without_end_is_a_violation() -> None:
    listing: Listing[int] = Listing(1)
    for number in range(tables.MAX_PAGES - 1):
        assert _next(listing, Page([ROW], f"c{number}"), LIST) == f"{LIST.path}&cursor=c{number}"
    with pytest.raises(ProtocolViolation, match="did not end"):
        _next(listing, Page([ROW], "again"), LIST)


def test_a_first_page_starts_anew_and_a_further_one_needs_a_first() -> None:
    listings: Listings[int] = Listings()
    further = build.page(LIST, "c")
    with pytest.raises(ProtocolViolation, match="without its first one"):
        listings.of(further, 5)
    first = listings.of(LIST, 5)
    assert listings.of(further, 9) is first
    assert first.asked_at == 5
    assert listings.of(LIST, 9) is not first
    listings.end(further)
    with pytest.raises(ProtocolViolation, match="without its first one"):
        listings.of(further, 9)


def test_the_query_of_a_request() -> None:
    assert query_of(build.page(LIST, "BTC%2C1")) == {"limit": "200", "cursor": "BTC,1"}
