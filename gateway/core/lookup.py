"""What can be asked of stored history: kinds of records, filters, places in a list, and buckets of time (UTC). Pure.

Owns the words of a question; never how it is answered. A list is ordered by (at, id): a cursor names the last record of a page, so
that what is stored meanwhile makes no page repeat or skip older records.
"""

from __future__ import annotations

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Literal, NamedTuple

import msgspec

from gateway.core.protocol import Refusal

HOUR_MS, DAY_MS = 3_600_000, 86_400_000
LATEST = 1 << 47  # ms: the year 6429, later than anything
DEFAULT_LIMIT, MAX_LIMIT = 500, 5_000
MOST_BUCKETS = 3_000

Bucket = Literal["hour", "day", "week", "month"]
BUCKETS: tuple[Bucket, ...] = ("hour", "day", "week", "month")
# Without `from` a question about buckets goes back by so many.
_BACK = {"hour": 48, "day": 30, "week": 26, "month": 12}
# A sum by the hour is made of single records: of so much time at most.
LONGEST_BY_HOUR_MS = 31 * DAY_MS


class Kind(NamedTuple):
    """One kind of stored records.

    Attributes:
        table: Where they are stored. ``columns``: of a CSV file, in this order; what a record has besides is in none of them.
        filters: What they can be filtered by besides account, venue, strategy and time.
        blank: Fields whose empty text says nothing.
    """

    table: str
    columns: tuple[str, ...]
    filters: frozenset[str] = frozenset({"symbol", "side"})
    blank: tuple[str, ...] = ()


_WHOSE = ("id", "account", "user", "venue", "env")
_AMOUNTS = ("realized_pnl", "fees", "funding", "liquidation_fee", "realized_net")

KINDS: dict[str, Kind] = {
    "history": Kind(
        "position_history",
        (*_WHOSE, "position", "symbol", "side", "status", "reason", "settle", "size", "entry_price", "exit_price", *_AMOUNTS,
         "own_pnl", "other_fees", "opened_at", "closed_at", "duration_ms", "fills", "partial_closes", "complete", "differs",
         "journal"),
    ),
    "pnl_records": Kind(
        "pnl_records",
        (*_WHOSE, "source", "symbol", "at", "position", "side", "ccy", "size", "entry_price", "exit_price", *_AMOUNTS,
         "opened_at", "order_id", "trade_id", "what", "journal"),
        blank=("what",),
    ),
    "fills": Kind(
        "fills",
        (*_WHOSE, "symbol", "order_id", "trade_id", "side", "size", "price", "at", "position", "fee", "fee_ccy", "role",
         "realized_pnl", "cause", "category", "start_position", "held_before", "journal"),
        blank=("category",),
    ),
    "funding": Kind(
        "funding",
        (*_WHOSE, "symbol", "at", "position", "amount", "ccy", "rate", "size", "journal"),
        frozenset({"symbol"}),
    ),
    "transfers": Kind(
        "transfers",
        (*_WHOSE, "kind", "at", "ccy", "amount", "what", "symbol", "position", "journal"),
        frozenset(),
        ("what",),
    ),
    "reconciliations": Kind(
        "reconciliations",
        (*_WHOSE, "position", "symbol", "class", "before", "after", "evidence", "found_at", "since", "trigger", "mode", "journal"),
        frozenset({"symbol", "class"}),
    ),
    "verifications": Kind(
        "verifications",
        (*_WHOSE, "symbol", "day", "class", "compared", "equal", "ours", "venue", "balance", "since", "until", "findings",
         "note", "worked_at"),
        frozenset({"symbol", "class"}),
        ("note",),
    ),
}  # fmt: skip


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """Which records are wanted.

    Attributes:
        accounts: None: of all.
        since, until: From this moment on, and before this one (ms).
        cursor: What comes after this record; None: from the beginning.
    """

    kind: str
    accounts: tuple[str, ...] | None = None
    symbols: tuple[str, ...] | None = None
    sides: tuple[str, ...] | None = None
    classes: tuple[str, ...] | None = None
    since: int = 0
    until: int = LATEST
    cursor: tuple[int, str] | None = None
    limit: int = DEFAULT_LIMIT


class Page(NamedTuple):
    """Records as JSON texts, with their ids, the newest first; ``next_cursor`` "": there are no more."""

    rows: Sequence[tuple[str, str]]
    next_cursor: str = ""


def cursor_of(kind: str, at: int, row_id: str) -> str:
    """Return the place behind a record, as clients carry it."""
    return urlsafe_b64encode(msgspec.json.encode((kind, at, row_id))).decode().rstrip("=")


def parse_cursor(kind: str, text: str) -> tuple[int, str]:
    """Return the moment and id that a cursor names.

    Raises:
        Refusal: bad_cursor: it is none, or of another list.
    """
    try:
        data = urlsafe_b64decode(text + "=" * (-len(text) % 4))
        of, at, row_id = msgspec.json.decode(data, type=tuple[str, int, str])
    except (ValueError, binascii.Error, msgspec.MsgspecError):
        of, at, row_id = "", -1, ""
    if of != kind or not 0 <= at <= LATEST or "\0" in row_id:
        raise Refusal(
            "bad_cursor",
            f"{text[:60]!r} is no cursor of this list; take next_cursor of the page before, or leave it out",
        )
    return at, row_id


class Span(NamedTuple):
    """Buckets of time: ``edges`` rise, each bucket from one to before the next. The first and the last may be cut short."""

    bucket: Bucket
    edges: tuple[int, ...]

    @property
    def since(self) -> int:
        """When the first begins."""
        return self.edges[0]

    @property
    def until(self) -> int:
        """When the last ends."""
        return self.edges[-1]


def span(bucket: Bucket, since: int | None, until: int | None, now: int) -> Span:
    """Return the buckets from a moment to before another one, both as they are; by UTC, weeks from Monday.

    Args:
        since: None: as many whole buckets back as a chart shows. ``until``: None: now.

    Raises:
        Refusal: bad_filter: too many buckets.
    """
    until = now + 1 if until is None else until
    if since is None:
        since = begin(bucket, max(until - 1, 0))
        for _ in range(_BACK[bucket] - 1):
            since = begin(bucket, max(since - 1, 0))
    if until <= since:
        return Span(bucket, (since, since))
    if bucket == "hour" and until - since > LONGEST_BY_HOUR_MS:
        days = LONGEST_BY_HOUR_MS // DAY_MS
        raise Refusal(
            "bad_filter", f"buckets of an hour go over {days} days at most; choose a shorter time, or bucket=day"
        )
    edges = [since]
    while edges[-1] < until:
        if len(edges) > MOST_BUCKETS:
            raise Refusal("bad_filter", f"more than {MOST_BUCKETS} buckets; choose wider ones, or a shorter time")
        edges.append(min(after(bucket, edges[-1]), until))
    return Span(bucket, tuple(edges))


def begin(bucket: Bucket, at: int) -> int:
    """Return when the bucket that a moment lies in begins (ms)."""
    if bucket == "hour":
        return at // HOUR_MS * HOUR_MS
    if bucket == "week":
        return (at // DAY_MS - _weekday(at)) * DAY_MS
    if bucket == "month":
        return _ms(_date(at).replace(day=1))
    return at // DAY_MS * DAY_MS


def after(bucket: Bucket, at: int) -> int:
    """Return when the next bucket begins (ms)."""
    if bucket == "month":
        return _ms((_date(at).replace(day=1) + timedelta(days=32)).replace(day=1))
    return begin(bucket, at) + {"hour": HOUR_MS, "day": DAY_MS, "week": 7 * DAY_MS}[bucket]


def _weekday(at: int) -> int:
    return (at // DAY_MS + 3) % 7  # 1970-01-01 was a Thursday


def _date(at: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=at // DAY_MS)


def _ms(date: datetime) -> int:
    return (date - datetime(1970, 1, 1, tzinfo=UTC)).days * DAY_MS
