"""Signs of life on one connection: when to ping, and when silence means that it is dead.

Pure: moments are integers in milliseconds of one monotone clock.
"""

from __future__ import annotations


class Pulse:
    """The pulse of one connection, beginning at ``now``.

    Args:
        ping_ms: A ping is due when the server has sent nothing, and we no ping, for this long.
        silent_ms: With nothing received for this long the connection is dead.
    """

    def __init__(self, ping_ms: int, silent_ms: int, now: int) -> None:
        self._ping_ms, self.silent_ms = ping_ms, silent_ms
        self._heard_at = self._pinged_at = now
        self._first_ping_at: int | None = None  # the first one since something was heard

    def heard(self, now: int) -> None:
        """Note that the server sent something, whatever it was."""
        self._heard_at, self._first_ping_at = now, None

    def pinged(self, now: int) -> None:
        """Note that we sent a ping."""
        self._pinged_at = now
        if self._first_ping_at is None:
            self._first_ping_at = now

    @property
    def ping_due(self) -> int:
        return max(self._heard_at, self._pinged_at) + self._ping_ms

    @property
    def dead_at(self) -> int:
        """When silence means death: counted from the last frame, but never before a ping had its time to be answered.

        After a pause of the whole process (stopped, machine asleep) frames may be waiting to be read: a clock that jumped past
        the limit must not kill a connection that was never asked.
        """
        dead_at = self._heard_at + self.silent_ms
        if self._first_ping_at is None:
            return dead_at
        return max(dead_at, self._first_ping_at + self.silent_ms - self._ping_ms)
