"""Assembly of a channel's snapshots from their pages, and the newest known state of that channel. Bounded; never parses.

OKX sends a full snapshot on subscription and about every five seconds, split into pages ``curPage`` 1..n of which only the
last says ``lastPage``; events about single rows come in between. Source: OKX v5 docs, positions and account channels.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import Generic, Literal, TypeVar

Row = TypeVar("Row")
Progress = Literal["partial", "complete", "lost"]


class Book(Generic[Row]):
    """The newest complete snapshot of a channel with the events since, by row key.

    Args:
        key: Names the row.
        order: The venue's own order of a row's versions; a smaller one never replaces a greater.
        limit: The most rows that are held.
    """

    def __init__(self, key: Callable[[Row], Hashable], order: Callable[[Row], tuple[int, ...]], limit: int) -> None:
        self._key, self._order, self._limit = key, order, limit
        self._rows: dict[Hashable, Row] = {}
        self._draft: dict[Hashable, Row] | None = None
        self._draft_damaged: set[str] = set()
        self._next_page = 1
        self.complete = False
        self.damaged: frozenset[str] = frozenset()

    @property
    def rows(self) -> tuple[Row, ...]:
        """The rows of the newest complete snapshot, with the events since."""
        return tuple(self._rows.values())

    def get(self, key: Hashable) -> Row | None:
        """Return the newest version of a row; None where it is not held."""
        return self._rows.get(key)

    def snapshot(self, page: int, last: bool, rows: Iterable[Row], damaged: Iterable[str] = ()) -> Progress:
        """Take one page.

        Args:
            page: Its number; 1 begins a new snapshot, whatever became of the one before.
            last: Whether it completes the snapshot.
            rows: Its rows.
            damaged: Scopes of which a row of this page could not be read: their absence of rows proves nothing.

        Returns:
            "complete" when the snapshot is whole now, "partial" when pages are missing still, "lost" when a page is
            missing for good (or there are too many rows): nothing may be concluded then, and the draft is dropped.
        """
        if page == 1:
            self._draft, self._draft_damaged, self._next_page = {}, set(), 1
        if self._draft is None or page != self._next_page:
            self._draft = None
            return "lost"
        self._merge(self._draft, rows)
        self._draft_damaged.update(damaged)
        self._next_page += 1
        if len(self._draft) > self._limit:
            self._draft = None
            return "lost"
        if not last:
            return "partial"
        self._rows, self._draft = self._draft, None
        self.damaged, self.complete = frozenset(self._draft_damaged), True
        return "complete"

    def update(self, rows: Iterable[Row]) -> bool:
        """Take the rows of an event; False when they are more than can be held (the book is emptied then).

        They also enter an unfinished snapshot: a row opened between its pages must not look closed at its end.
        """
        rows = tuple(rows)
        self._merge(self._rows, rows)
        if self._draft is not None:
            self._merge(self._draft, rows)
        if len(self._rows) <= self._limit:
            return True
        self._rows, self._draft, self.complete = {}, None, False
        return False

    def _merge(self, into: dict[Hashable, Row], rows: Iterable[Row]) -> None:
        for row in rows:
            key = self._key(row)
            held = into.get(key)
            if held is None or self._order(row) >= self._order(held):
                into[key] = row
