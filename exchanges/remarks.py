"""What is said of one connection: short, at a bounded pace, and no longer than it is true.

Owns remarks that stand beside the reasons that the feed derives. Pure: moments are integers in milliseconds of one monotone clock.
"""

from __future__ import annotations

from collections.abc import Iterable

from exchanges.venue import ConnectionCount

_MOST_TEXT = 300  # characters of one reason
_MOST_REASONS = 4
_REMARK_EVERY_MS = 1000  # a venue that sends nothing but rubbish changes the shown remark at most this often


def clip(text: str) -> str:
    """Return a text cut to what one reason may be."""
    return text if len(text) <= _MOST_TEXT else text[: _MOST_TEXT - 1] + "…"


class Remarks:
    """The remarks of one connection, beginning at ``now``."""

    def __init__(self, now: int) -> None:
        self._newest: str | None = None
        self._noted_at = now - _REMARK_EVERY_MS
        self._counts: dict[str, ConnectionCount] = {}  # by channel

    @property
    def in_use(self) -> tuple[ConnectionCount, ...]:
        """How many connections of the account hold a channel, as far as the venue told."""
        return tuple(self._counts.values())

    def note(self, text: str, now: int) -> None:
        """Keep a remark, at a bounded pace."""
        if now - self._noted_at >= _REMARK_EVERY_MS:
            self._newest, self._noted_at = clip(text), now

    def count(self, count: ConnectionCount) -> None:
        """Keep how many connections hold a channel."""
        self._counts[count.channel] = count

    def told(self, reasons: Iterable[str | None]) -> str | None:
        """Return everything that is wrong now in one text: the reasons, counts close to a limit, the newest remark."""
        # A number of connections is worth telling where it comes close to the venue's limit.
        crowded = [_crowded(count) for count in self._counts.values() if count.count * 2 > count.limit]
        all_ = list(dict.fromkeys(clip(reason) for reason in (*reasons, *crowded, self._newest) if reason))
        more = [f"and {len(all_) - _MOST_REASONS} more"] if len(all_) > _MOST_REASONS else []
        return "; ".join(all_[:_MOST_REASONS] + more) or None


def _crowded(count: ConnectionCount) -> str:
    return f"{count.channel}: {count.count} of at most {count.limit} connections in use"
