"""Silence per subscription: which confirmed topics have brought nothing for longer than they can be quiet.

A socket that is alive says nothing of a subscription that the venue has lost. Pure: moments are integers in milliseconds of one
monotone clock. All topics are looked at together, a few times within the shortest bound, so that a frame costs one entry.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

_LOOKS = 4  # within the shortest bound


class Watchdog:
    """The topics of one connection that are never quiet for long.

    Attributes:
        due: When ``silent`` has to be called next; None while nothing is watched.
    """

    def __init__(self) -> None:
        self._bounds_ms: Mapping[str, int] = {}
        self._heard_at: dict[str, int] = {}
        self.due: int | None = None

    def expect(self, bounds_s: Mapping[str, float]) -> None:
        """State how long each topic may be silent, in seconds; topics that are not named may be silent for ever."""
        self._bounds_ms = {topic: round(bound * 1000) for topic, bound in bounds_s.items()}

    def begin(self, topics: Iterable[str], now: int) -> None:
        """Watch these topics from now on, as far as they have a bound."""
        for topic in topics:
            if topic in self._bounds_ms:
                self._heard_at.setdefault(topic, now)
        if self.due is None and self._heard_at:
            self.due = now + self._pace_ms()

    def heard(self, topics: Iterable[str], now: int) -> None:
        """Note that watched topics brought something."""
        for topic in topics:
            if topic in self._heard_at:
                self._heard_at[topic] = now

    def forget(self, topics: Iterable[str]) -> None:
        """Watch these no more."""
        for topic in topics:
            self._heard_at.pop(topic, None)

    def silent(self, now: int) -> dict[str, float]:
        """Return the topics that were silent for too long, with their bounds in seconds; empty before ``due``."""
        if self.due is None or now < self.due:
            return {}
        self.due = now + self._pace_ms() if self._heard_at else None
        return {
            topic: self._bounds_ms[topic] / 1000
            for topic, at in self._heard_at.items()
            if now - at > self._bounds_ms.get(topic, now)
        }

    def _pace_ms(self) -> int:
        return max(min(self._bounds_ms.values()) // _LOOKS, 1)
