"""When an account's private stream was live: what happened in such a time, the stream should have told. Pure."""

from __future__ import annotations

from collections import deque

# At the edges of a connection's life nobody can say whether a message was still, or already, sent.
_EDGE_MS = 1_000
_SPANS = 100


class Listening:
    """The spans of one account's stream, bounded."""

    def __init__(self) -> None:
        self._spans: deque[tuple[int, int]] = deque(maxlen=_SPANS)
        self.since: int | None = None  # None: not live

    @property
    def live(self) -> bool:
        """True while the stream is live."""
        return self.since is not None

    def note(self, live: bool, now: int) -> None:
        """Take whether the stream is live now."""
        if live and self.since is None:
            self.since = now
        elif not live and self.since is not None:
            self._spans.append((self.since, now))
            self.since = None

    def heard(self, at: int) -> bool:
        """Say whether the stream was certainly live at a moment."""
        if self.since is not None and at >= self.since + _EDGE_MS:
            return True
        return any(start + _EDGE_MS <= at <= end - _EDGE_MS for start, end in self._spans)
