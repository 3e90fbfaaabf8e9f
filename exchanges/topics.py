"""What one connection has subscribed: asked, confirmed, refused for now, refused for good.

Owns the bookkeeping of topics. Never builds a frame and never reads a clock: the feed asks what to send and says what came.
Refusals for good outlive the connection, so that the same topic is never asked again.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence


@dataclasses.dataclass(slots=True)
class _Open:
    """A topic that is not settled: asked (``why`` None, to be confirmed by ``due``) or to be asked again at ``due``."""

    due: int
    attempt: int = 0
    why: str | None = None


class Topics:
    """The topics of one feed.

    Args:
        confirm_ms: How long a venue may take to confirm a topic.
        delay_ms: The back-off before a topic that was refused for now is asked again, by attempt.
    """

    def __init__(self, confirm_ms: int, delay_ms: Callable[[int], int]) -> None:
        self._confirm_ms, self._delay_ms = confirm_ms, delay_ms
        self._refused: dict[str, str] = {}
        self.begin(())

    def begin(self, essential: Iterable[str]) -> None:
        """Start over for a new connection, which always needs ``essential``."""
        self._essential = dict.fromkeys(essential)
        self._desired = self._essential
        self._confirmed: set[str] = set()
        self._open: dict[str, _Open] = {}

    @property
    def essential(self) -> frozenset[str]:
        """The topics that the connection always needs."""
        return frozenset(self._essential)

    @property
    def settled(self) -> bool:
        """True when every essential topic is confirmed or refused for good; wanted ones never hold a feed back."""
        return all(topic in self._confirmed or topic in self._refused for topic in self._essential)

    @property
    def crippled(self) -> bool:
        """True when an essential topic was refused for good."""
        return any(topic in self._refused for topic in self._essential)

    @property
    def confirmed(self) -> frozenset[str]:
        return frozenset(self._confirmed)

    def aim(self, wanted: Iterable[str], now: int) -> tuple[list[str], list[str]]:
        """Return what to subscribe (from now on awaited) and what to unsubscribe, to hold exactly essential and wanted."""
        desired = self._desired = dict.fromkeys((*self._essential, *wanted))
        add = [t for t in desired if t not in self._confirmed and t not in self._open and t not in self._refused]
        gone = [t for t in (*self._confirmed, *self._open) if t not in desired]
        # A topic that waits to be asked again is not subscribed at the venue: there is nothing to take back.
        drop = [t for t in gone if t in self._confirmed or self._open[t].why is None]
        for topic in gone:
            self._confirmed.discard(topic)
            self._open.pop(topic, None)
        self._open.update((topic, _Open(now + self._confirm_ms)) for topic in add)
        return add, sorted(drop)

    def confirm(self, topics: Sequence[str]) -> None:
        """Note a confirmation; one of a topic that was given up meanwhile counts for nothing."""
        for topic in topics:
            if self._open.pop(topic, None) is not None:
                self._confirmed.add(topic)

    def refuse(self, topics: Sequence[str], why: str, permanent: bool, now: int) -> list[str]:
        """Note a refusal and return the essential topics that had been confirmed: what they brought is now lost."""
        known = [t for t in topics if t in self._open or t in self._confirmed]
        lost = [t for t in known if t in self._confirmed and t in self._essential]
        for topic in known:
            self._confirmed.discard(topic)
            asked = self._open.pop(topic, None)
            if permanent:
                self._refused[topic] = why
            else:
                self._postpone(topic, asked.attempt if asked else 0, why, now)
        return lost

    def again(self, now: int) -> list[str]:
        """Return the topics whose time to be asked again has come; they are awaited from now on."""
        due = [t for t, topic in self._open.items() if topic.why is not None and topic.due <= now]
        for topic in due:
            self._open[topic] = _Open(now + self._confirm_ms, self._open[topic].attempt)
        return due

    def overdue(self, now: int) -> list[str]:
        """Return the essential topics that were not confirmed in time; wanted ones are put off to be asked again."""
        late = [(t, topic) for t, topic in self._open.items() if topic.why is None and topic.due <= now]
        for name, topic in late:
            if name not in self._essential:
                self._postpone(name, topic.attempt, f"not confirmed within {self._confirm_ms / 1000:g} s", now)
        return [name for name, _ in late if name in self._essential]

    def deadline(self) -> int | None:
        """Return the next moment at which ``again`` or ``overdue`` has something to say."""
        return min((topic.due for topic in self._open.values()), default=None)

    def trouble(self) -> list[str]:
        """Return, in words, every topic of this connection that the venue refuses, for now or for good."""
        for_now = [f"{t}: {topic.why}" for t, topic in self._open.items() if topic.why is not None]
        return for_now + [f"{t}: {why}" for t, why in self._refused.items() if t in self._desired]

    def _postpone(self, topic: str, attempt: int, why: str, now: int) -> None:
        self._open[topic] = _Open(now + self._delay_ms(attempt), attempt + 1, why)
