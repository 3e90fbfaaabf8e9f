"""How long to wait before trying again: capped exponential back-off with full jitter, as a pure function.

Owns the delays, never a clock, a random source or a counter: the caller brings the attempt and a random fraction. Full
jitter (a uniform draw below the envelope) spreads the reconnects of many feeds best when a venue drops them all at once;
see "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
"""

from __future__ import annotations

import msgspec

# Beyond this many doublings every envelope of practical size is at its cap; it keeps 2.0 ** n away from overflow.
_MOST_DOUBLINGS = 64


class Backoff(msgspec.Struct, frozen=True):
    """A policy: ``base_s`` is the envelope of attempt 0, which doubles up to ``cap_s``; both in seconds and positive."""

    base_s: float = 0.5
    cap_s: float = 30.0

    def __post_init__(self) -> None:
        if not 0 < self.base_s <= self.cap_s:
            raise ValueError(f"back-off: base_s {self.base_s} must be positive and at most cap_s {self.cap_s}")

    def ceiling_s(self, attempt: int) -> float:
        """Return the longest delay before attempt ``attempt`` (0 is the first retry): monotone, at most ``cap_s``."""
        return min(self.cap_s, self.base_s * 2.0 ** min(max(attempt, 0), _MOST_DOUBLINGS))

    def delay_s(self, attempt: int, fraction: float) -> float:
        """Return the delay for a uniform random ``fraction`` in [0, 1): between 0 and ``ceiling_s(attempt)``."""
        return fraction * self.ceiling_s(attempt)
