"""How far back the fills of a Hyperliquid account can be asked for: the venue knows the newest 10,000, and never says so.

Owns the questions that find it out, and what they mean. Pure. Fills before a window mean that the window can be read whole; where
there are none, either there never were, or they are forgotten: then the fills from the window on are counted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from exchanges.hyperliquid import build, records, tables
from exchanges.venue import OUT_OF_REACH, Ask, HttpRequest, Notice, Output

_KIND = "userFillsByTime"
# Says what is so anyway, and so names our own questions among those for fills.
_OURS = "aggregateByTime"

# Makes an info request about the account.
Question = Callable[..., HttpRequest]


class Reach:
    """Of one account."""

    def __init__(self, question: Question) -> None:
        self._question = question
        self._whole_since: int | None = None  # fills from here on can all be had
        self._oldest: int | None = None  # what lies before this one is forgotten
        self._window = 0  # since when the one that is looked at is
        self._counted: set[bytes] = set()

    def questions(self, since_ms: int) -> list[HttpRequest]:
        """Return what has to be asked before a window that begins then is read; nothing where that is known."""
        if self._whole_since is not None and self._whole_since <= since_ms:
            return []
        self._window, self._counted = since_ms, set()
        return [self._question(_KIND, **{"startTime": 0, "endTime": since_ms - 1, _OURS: False})]

    def is_ours(self, asked: Mapping[str, Any]) -> bool:
        """Say whether a question is one of these."""
        return _OURS in asked

    def answer(self, asked: Mapping[str, Any], rows: Sequence[msgspec.Raw]) -> list[Output]:
        """Take an answer; return the next question, or what is out of reach. Its fills are of another window."""
        times = [at for row in rows if (at := records.time_of(row))]
        if "endTime" in asked:
            if times:
                self._whole_since = self._window
                return []
            if self._oldest is not None and self._window <= self._oldest:
                return [self._forgotten(self._oldest)]
            return [Ask(request=build.full(self._question(_KIND, **{"startTime": self._window, _OURS: False})))]
        if self._window == asked["startTime"] and times:
            self._oldest = min(times)
        self._counted |= {bytes(row) for row in rows}  # pages overlap
        page = build.next_page(asked, len(rows), max(times, default=0))
        if page is not None:
            return [Ask(request=page)]
        count, self._counted = len(self._counted), set()
        if count >= tables.FILLS_REACHABLE and self._oldest is not None:
            return [self._forgotten(self._oldest)]
        self._oldest, self._whole_since = None, self._window
        return []

    def _forgotten(self, oldest: int) -> Notice:
        since = datetime.fromtimestamp(oldest / 1000, UTC).isoformat(timespec="seconds")
        what = f"the venue tells of the newest {tables.FILLS_REACHABLE:,} fills alone: what was filled before {since} is unknown"
        return Notice(code=OUT_OF_REACH, what=what)
