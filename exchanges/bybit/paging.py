"""Bybit's cursor paging: pages of one list, complete only when the venue says so. Pure."""

from __future__ import annotations

from typing import Generic, TypeVar
from urllib.parse import parse_qsl

from exchanges.bybit import build, tables
from exchanges.bybit.wire import Page
from exchanges.errors import ProtocolViolation
from exchanges.venue import Ask, HttpRequest

R = TypeVar("R")
_DEFAULT_LIMIT = 20


def query_of(request: HttpRequest) -> dict[str, str]:
    """Return the query of a request."""
    return dict(parse_qsl(request.path.partition("?")[2], keep_blank_values=True))


def following(page: Page, request: HttpRequest, recorded: bool) -> Ask | None:
    """Return the question for the next page; None: the list is complete.

    Bybit gives a cursor with short and last pages too (seen live), so it is followed until a page brings nothing new.
    In a recording nobody follows it: there a page shorter than its limit is the last.
    """
    query = query_of(request)
    cursor = page.next_page_cursor or None
    limit = query.get("limit", "")
    if recorded and len(page.rows) < (int(limit) if limit.isdecimal() else _DEFAULT_LIMIT):
        return None
    if cursor is None or not page.rows or dict(parse_qsl(f"c={cursor}")).get("c") == query.get("cursor"):
        return None
    return Ask(request=build.page(request, cursor))


class Listing(Generic[R]):
    """The pages of one list seen so far. ``asked_at``: when the first page was asked, the moment that the list speaks of."""

    def __init__(self, asked_at: int) -> None:
        self.asked_at = asked_at
        self.rows: list[R] = []
        self._pages = 0

    def further(self, page: Page, request: HttpRequest, recorded: bool) -> Ask | None:
        """Count a page and return the question for the next one; None: the list is complete.

        Raises:
            ProtocolViolation: The list does not end.
        """
        self._pages += 1
        ask = following(page, request, recorded)
        if ask is not None and self._pages >= tables.MAX_PAGES:
            raise ProtocolViolation("bybit", f"a list did not end after {self._pages} pages")
        return ask


class Listings(Generic[R]):
    """The lists whose pages are under way, by their first page."""

    def __init__(self) -> None:
        self._open: dict[str, Listing[R]] = {}

    def is_tail(self, request: HttpRequest, page: Page) -> bool:
        """Say whether a page is the empty one behind a short one, which in a recording has ended the list already."""
        return "cursor" in query_of(request) and build.first_page(request) not in self._open and not page.rows

    def of(self, request: HttpRequest, asked_at: int) -> Listing[R]:
        """Return the listing that an answer continues: a new one for a first page.

        Raises:
            ProtocolViolation: A further page of a list whose first page was not seen.
        """
        name = build.first_page(request)
        if name == request.path:
            self._open[name] = Listing(asked_at)
        elif name not in self._open:
            raise ProtocolViolation("bybit", f"a further page of {name} without its first one")
        return self._open[name]

    def end(self, request: HttpRequest) -> None:
        """Forget a list that is complete."""
        self._open.pop(build.first_page(request), None)
