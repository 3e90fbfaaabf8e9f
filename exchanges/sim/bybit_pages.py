"""How Bybit's questions are cut into pages and windows of time, and how a wrong one is refused.

Pure. A cursor is the place of the last row that was given, percent-encoded. Sources: Bybit v5 docs, the endpoints by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar
from urllib.parse import quote, unquote

from exchanges.sim.bybit_market import CATEGORIES

Row = dict[str, Any]
Query = Mapping[str, str]
T = TypeVar("T")

DAY_MS = 86_400_000
LONGEST_WINDOW_MS = 7 * DAY_MS
OLDEST_MS = 730 * DAY_MS


class Refused(Exception):
    """A question that Bybit answers with an error code."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(code, message)
        self.code, self.message = code, message


def category(query: Query) -> str:
    """Return the category. Raises Refused for a missing or unknown one."""
    text = query.get("category", "")
    if text not in CATEGORIES:
        raise Refused(10001, "params error: category only support linear, inverse, option or spot")
    return text


def limit(query: Query, default: int, highest: int) -> int:
    """Return how many rows are wanted. Raises Refused outside 1 … ``highest``."""
    text = query.get("limit", str(default))
    if not text.isdigit() or not 1 <= int(text) <= highest:
        raise Refused(10001, f"params error: limit must be 1 to {highest}")
    return int(text)


def cursor(query: Query) -> str:
    """Return where to go on; clients send the cursor as it was given (percent-encoded) or encoded once more."""
    return unquote(query.get("cursor", ""))


def encoded(place: str) -> str:
    """Return a place as a cursor."""
    return quote(place, safe="")


def onward(rows: list[T], place: Callable[[T], str], after: str, most: int) -> tuple[list[T], str]:
    """Return the next rows (ordered by ``place``) behind ``after``, and the cursor where more follow."""
    left = [row for row in rows if place(row) > after]
    page = left[:most]
    return page, encoded(place(page[-1])) if len(left) > most else ""


def backward(rows: list[T], place: Callable[[T], str], before: str, most: int) -> tuple[list[T], str]:
    """Return the next rows (newest first, falling ``place``) older than ``before``, and the cursor where more follow."""
    left = [row for row in rows if not before or place(row) < before]
    page = left[:most]
    return page, encoded(place(page[-1])) if len(left) > most else ""


def place_in_time(at: int | str, number: str) -> str:
    """Return a place among rows that are ordered by time."""
    return f"{int(at):015d}:{number}"


def window(query: Query, now_ms: int, default_ms: int) -> tuple[int, int]:
    """Return start and end (ms); one that is not given lies ``default_ms`` from the other.

    Raises:
        Refused: More than seven days, or more than two years ago (seen live of the closed PnL; assumed of the others).
    """
    given = [query.get(name) for name in ("startTime", "endTime")]
    if any(text and not text.isdigit() for text in given):
        raise Refused(10001, "params error: startTime and endTime are milliseconds")
    start, end = (int(text) if text else None for text in given)
    if start is None:
        end = now_ms if end is None else end
        return end - default_ms, end
    if start < now_ms - OLDEST_MS:
        raise Refused(10001, "Can't query order earlier than 2 years, please check your params: startTime or endTime!")
    end = start + default_ms if end is None else end
    if end < start or end - start > LONGEST_WINDOW_MS:
        raise Refused(10001, "The time range between startTime and endTime cannot exceed 7 days")
    return start, end
