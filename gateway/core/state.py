"""The engine's mutable records: one position, one symbol, one feed. Pure data, written by the engine alone."""

from __future__ import annotations

import math
from typing import NamedTuple, get_args

from exchanges.events import FeedState, FeedStatus, Instrument, PositionState
from gateway.core.accounts import Account, Pool
from gateway.core.anchor import Anchor
from gateway.core.margin import Maintenance
from gateway.core.reach import Reach
from gateway.core.round_trips import Amounts

FEED_STATES: tuple[str, ...] = get_args(FeedState)


class Symbol:
    """One symbol's mark, and where it is from ("feed" or "position"). ``stale``: since when its mark is too old (ms), else None."""

    __slots__ = ("at", "feed_at", "key", "number", "positions", "reach", "received_at", "source", "stale", "value")

    def __init__(self, key: tuple[str, str, str], number: int, span_ms: int) -> None:
        self.key, self.number = key, number
        self.value: str | None = None
        self.at: int | None = None
        self.feed_at: int | None = None  # the venue's own time of the last feed price
        self.received_at: int | None = None
        self.source: str | None = None
        self.stale: int | None = None
        self.positions: set[str] = set()
        self.reach = Reach(span_ms)  # how far its mark went lately


class PendingFill(NamedTuple):
    """A fill that the position does not show yet: when it came (our clock), and when it happened (the venue's)."""

    since: int
    at: int


class Static(NamedTuple):
    """What only a report, or a change of its contract, moves of a position's row; ``at_stake``: what ``roe`` is relative to."""

    row: dict[str, object]
    at_stake: float


class Position:
    """One open position: the venue's last report, its inputs, and where its figures lie in the columns."""

    __slots__ = (
        "account",
        "accrued",
        "amounts",
        "anchor",
        "anchored_at",
        "as_of",
        "begun",
        "counted",
        "handle",
        "instrument",
        "largest",
        "maintenance",
        "message",
        "pending_fill",
        "pool",
        "restored_at",
        "slot",
        "state",
        "static",
        "symbol",
        "trusted",
        "warning",
    )

    def __init__(
        self, account: Account, symbol: Symbol, pool: Pool, handle: int, slot: int, state: PositionState
    ) -> None:
        self.account, self.symbol, self.pool, self.handle, self.slot, self.state = (
            account,
            symbol,
            pool,
            handle,
            slot,
            state,
        )
        self.anchor = Anchor(math.nan, math.nan, math.nan, math.nan, math.nan)
        self.anchored_at: int | None = None
        self.maintenance = Maintenance()
        self.trusted = False  # its model's figures may be shown; else the model runs beside the venue's
        self.instrument: Instrument | None = None
        self.message: tuple[str, int] | None = None  # of the report (``message_of``)
        self.restored_at: int | None = None  # when it was loaded from storage; None once the venue has spoken
        self.static: Static | None = None  # built once per report
        self.counted = False  # the slow figures in its slot are its own
        self.as_of = 0  # our clock: when the last report was asked, or came by itself
        self.largest = state.size  # held since it was opened, as far as this process saw
        self.pending_fill: PendingFill | None = None
        self.begun: int | None = None  # when it was opened (the venue's time), as far as that is known
        self.accrued: str | None = None  # funding since then, by the records
        self.amounts: Amounts | None = None  # what it brought and cost since then, where all of its fills are known
        self.warning: tuple[int, str] | None = None  # (at, the venue's words)


class Feed:
    """One connection as users see it."""

    def __init__(self, status: FeedStatus, now: int) -> None:
        self.venue, self.env, self.account, self.connection = (
            status.venue,
            status.env,
            status.account,
            status.connection,
        )
        self.state: str = status.state
        self.since = now
        self.reconnects = status.reconnects
        self.error = status.error
        self.polled = status.polled
        self.last_message_at = status.last_message_at
        self.lag_ms: int | None = None

    def update(self, status: FeedStatus, now: int) -> bool:
        """Take a newer status; return whether anything that users see changed."""
        before = (self.state, self.reconnects, self.error, self.polled)
        if status.state != self.state:
            self.state, self.since = status.state, now
        self.reconnects, self.error, self.polled = status.reconnects, status.error, status.polled
        return before != (self.state, self.reconnects, self.error, self.polled)

    def heard(self, at: int, lag_ms: int | None) -> bool:
        """Take the time of the last message in whole seconds, and the lag in tens of ms; return whether either changed."""
        rounded = (at // 1000 * 1000, None if lag_ms is None else round(lag_ms, -1))
        changed = rounded != (self.last_message_at, self.lag_ms)
        self.last_message_at, self.lag_ms = rounded
        return changed

    def row(self) -> dict[str, object]:
        """Return the row of the feeds table."""
        found: dict[str, object] = {
            "venue": self.venue,
            "env": self.env,
            "account": self.account,
            "connection": self.connection,
            "state": self.state,
            "since": self.since,
            "last_message_at": self.last_message_at,
            "lag_ms": self.lag_ms,
            "reconnects": self.reconnects,
            "last_error": self.error,
            "polled": self.polled or None,
        }
        return {name: value for name, value in found.items() if value is not None}
