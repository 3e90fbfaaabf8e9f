"""How a feed stands, as it is told to others: its status, its counts, and everything that is wrong now.

Owns what is counted over all connections of a feed and what was shown last; decides nothing of its life. Pure: moments are
integers in milliseconds of one monotone clock.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from exchanges.actions import FeedName, Statistics
from exchanges.events import FeedState, FeedStatus
from exchanges.remarks import Remarks, clip
from exchanges.venue import LoginRefused


class Standing:
    """The standing of one feed.

    Args:
        name: The constant part of the feed's status.
        connections: How many connections this feed had before, in the life of a predecessor.

    Attributes:
        connections: How many connections there were, the present one included.
        remarks: What is said of the present connection beside the reasons that the feed derives.
    """

    def __init__(self, name: FeedName, connections: int) -> None:
        self._name, self.connections = name, connections
        self.remarks = Remarks(0)
        self._received = self._malformed = 0
        self._last_malformed: str | None = None
        self._last_message_at: int | None = None
        self._shown: str | None = None  # the error text of the last status

    def begin(self, now: int) -> None:
        """Start over for a new connection; what is counted goes on."""
        self.connections += 1
        self.remarks = Remarks(now)

    def received(self, now: int) -> None:
        """Count a frame."""
        self._received += 1
        self._last_message_at = now

    def malformed(self, what: str, now: int) -> None:
        """Count what could not be understood, and remark it."""
        self._malformed += 1
        self._last_malformed = clip(what)
        self.remarks.note(f"malformed: {what}", now)

    def statistics(self) -> Statistics:
        """Return the counts."""
        return Statistics(
            received=self._received,
            malformed=self._malformed,
            reconnects=max(self.connections - 1, 0),
            last_malformed=self._last_malformed,
        )

    def status(self, state: FeedState, reasons: Sequence[str | None], now: int) -> FeedStatus:
        """Return the status as it is now; ``reasons``: what the feed knows to be wrong, most important first."""
        return FeedStatus(
            **msgspec.structs.asdict(self._name),
            state=state,
            at=now,
            reconnects=max(self.connections - 1, 0),
            last_message_at=self._last_message_at,
            error=self.remarks.told(reasons),
        )

    def show(self, state: FeedState, reasons: Sequence[str | None], now: int) -> FeedStatus:
        """Return the status that is given out now."""
        status = self.status(state, reasons, now)
        self._shown = status.error
        return status

    def is_shown(self, reasons: Sequence[str | None]) -> bool:
        """Say whether the last status that was given out says all that is wrong now, and no more."""
        return self.remarks.told(reasons) == self._shown


def login_refused(refusal: LoginRefused) -> str:
    """Return the words for a refused login."""
    return f"login refused: {refusal.what} ({refusal.code}). {refusal.do}"


def closing(code: int | None, reason: str) -> str:
    """Return the words for the end of a connection; ``code`` is None where the venue sent no close frame."""
    if code is None or code == 1006:  # RFC 6455, 7.1.5: no close frame was received
        return reason or "connection lost without a close frame"
    return f"connection closed with code {code}" + (f": {reason}" if reason else "")
