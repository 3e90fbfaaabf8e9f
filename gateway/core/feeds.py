"""Connections as users see them, and what their state means for marks and accounts. Pure.

Owns the `feeds` table, since when marks of a venue are blind, and when an account's private stream is live.
"""

from __future__ import annotations

from collections.abc import Mapping

from exchanges.events import FeedStatus
from gateway.core.accounts import Account
from gateway.core.market import Market
from gateway.core.publish import Changes
from gateway.core.state import Feed, Symbol
from gateway.core.tables import RowKey


class Feeds:
    """All connections of all venues and accounts."""

    def __init__(self, market: Market, changes: Changes) -> None:
        self.all: dict[str, Feed] = {}
        self._market, self._changes = market, changes
        self._marks_down: dict[tuple[str, str], int] = {}  # (venue, env) → since when a price connection is not live

    def put(self, status: FeedStatus, account: Account | None, now: int) -> bool:
        """Take a connection's status; return whether rows of its account, or of its venue's symbols, look different now."""
        feed = self.all.get(status.id)
        if feed is None:
            feed = self.all[status.id] = Feed(status, now)
        elif not feed.update(status, now):
            return False
        self._changes.touch("feeds", status.id, RowKey(status.account, None, status.venue, None))
        if status.account is None:
            self._note_marks(status.venue, status.env)
            return True
        return account is not None and self._note_account(account, now)

    def marks_down_since(self, symbol: Symbol) -> int | None:
        """Return since when a symbol's marks are not live: its own age, or a price connection that is down; else None."""
        down = self.connection_down_since(symbol)
        return symbol.stale if down is None else down

    def connection_down_since(self, symbol: Symbol) -> int | None:
        """Return since when a price connection of a symbol's venue is not live; None: all are."""
        return self._marks_down.get(symbol.key[:2])

    def hear(self, last_messages: Mapping[str, int]) -> None:
        """Take when each connection was last heard of (slow figures)."""
        for feed_id, at in last_messages.items():
            feed = self.all.get(feed_id)
            if feed and feed.heard(at, self._lag_ms(feed)):
                self._changes.touch("feeds", feed_id)

    def _note_account(self, account: Account, now: int) -> bool:
        before = account.private_down_since is None, account.polled
        private = [feed for feed in self.all.values() if feed.account == account.info.name]
        down = [feed.since for feed in private if feed.state != "live"]
        earlier = (
            account.private_down_since
        )  # every attempt to connect is another state: what counts is when it was live last
        account.private_down_since = (min(down) if earlier is None else earlier) if down else None
        account.polled = any(feed.polled for feed in private)
        account.listening.note(not down and not account.polled, now)
        return before != (account.private_down_since is None, account.polled)

    def _note_marks(self, venue: str, env: str) -> None:
        public = [f for f in self.all.values() if f.account is None and (f.venue, f.env) == (venue, env)]
        down = [feed.since for feed in public if feed.state != "live"]
        if down:
            self._marks_down.setdefault((venue, env), min(down))
        else:
            self._marks_down.pop((venue, env), None)

    def _lag_ms(self, feed: Feed) -> int | None:
        """Return how late a price connection's marks arrive; only those carry a venue time with every message."""
        return self._market.lag_ms.get((feed.venue, feed.env)) if feed.account is None else None
