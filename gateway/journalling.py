"""The life of one gateway as it is put down: the tape of what venues send, the turns of the engine, and what it puts on record.

Owns nothing but the way between them: the scribe decides what becomes an entry, the storage keeps it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Protocol, cast

import msgspec
import structlog

from exchanges import VENUES
from exchanges.actions import FeedName
from exchanges.events import Event
from exchanges.venue import Data
from gateway.core.accounts import AccountInfo
from gateway.core.alerts.records import AlertRecord
from gateway.core.beginning import bodies
from gateway.core.journal import DAY_MS, Entry, MarkSample, Places
from gateway.core.records import Correction, Order, Sink
from gateway.core.scribe import Group, Scribe
from gateway.engine import Engine

log = structlog.get_logger("perpwire")

_HEAD = 512  # of a frame, in which it says who it is


class Kept(Protocol):
    """Where entries go; every call returns at once and never raises."""

    def put_entry(self, entry: Entry) -> None: ...
    def put_sample(self, sample: MarkSample) -> None: ...


class _Watched:
    """A sink that shows the scribe what of it belongs to the turn."""

    def __init__(self, kept: Sink, journal: Journal) -> None:
        self._kept, self._journal = kept, journal

    def __getattr__(self, name: str) -> object:
        found: object = getattr(self._kept, name)
        setattr(self, name, found)  # what is handed on unseen costs nothing from now on
        return found

    def put_alert(self, alert: AlertRecord) -> None:
        self._journal.alert(alert)
        self._kept.put_alert(alert)

    def put_correction(self, correction: Correction) -> None:
        self._journal.correction(correction)
        self._kept.put_correction(correction)


class Journal:
    """One life. ``open`` once the engine is there and before it is told anything, ``close`` at a good end.

    Attributes:
        copying: The engine's state is being copied: a turn would have to copy the rest first, at once, and had better wait.
        failures: Bases that could not be put down: defects, and replays begin at the one before.

    Args:
        later: Calls what it is given in a moment, so that others have their turn; a base is put down in such steps.
    """

    def __init__(self, later: Callable[[Callable[[], None]], object] = lambda work: work()) -> None:
        self._scribe: Scribe | None = None
        self._later = later
        self.copying = False
        self.failures = 0
        self._begin: Callable[[int], Iterator[None]] = lambda _: iter(())
        self._rest: Iterator[None] = iter(())  # of the base that is being put down
        self._day = 0

    def watched(self, sink: Sink) -> Sink:
        """Return a sink that hands on, and shows what belongs to the turn."""
        return cast(Sink, _Watched(sink, self))  # whatever a sink has is there

    def open(
        self,
        engine: Engine,
        restored: Iterable[Event],
        conditions: bytes,
        accounts: Sequence[AccountInfo],
        now: int,
        stored_at: int | None,
        kept: Kept,
        places: Places,
    ) -> None:
        """Begin: what follows starts from ``restored``.

        Args:
            conditions: What of the configuration tables depend on (``rewind.conditions``).
            kept: Takes the entries.
            places: Gives out the places of all that is kept, behind those of earlier lives.
        """

        def begin(at: int) -> Iterator[None]:
            image, told = engine.image(), engine.told(at)
            self.copying = True
            try:
                yield from image.copy()
            except Exception:  # not where it is given up: then the next one is being copied
                self.copying = False
                raise
            self.copying = False
            yield from scribe.base(bodies(told, conditions, accounts, at, state=image.portions()), at)

        self._begin = begin
        self._day = now // DAY_MS
        scribe = Scribe(engine.tables.epoch, places, engine, kept.put_entry, kept.put_sample)
        for _ in scribe.base(bodies(restored, conditions, accounts, now, stored_at), now):
            pass
        self._scribe = scribe

    def record(self, name: FeedName, via: str, request: object, data: Data, at: int) -> int | None:
        """Put down what a venue sent of an account; return its place. What is public is not kept: prices are sampled."""
        if self._scribe is None or name.account is None:
            return None
        text = data if isinstance(data, str) else data.decode(errors="replace")
        request_id, venue_at = _stamp(name.venue, text) if via != "rest" else (None, None)
        return self._scribe.raw(
            "rest" if via == "rest" else "ws",
            name.account,
            name.venue,
            "rest" if via == "rest" else name.connection,
            text,
            at,
            request=_words(request),
            request_id=request_id,
            venue_at=venue_at,
        )

    def origin(self, kind: str, record_id: str, account: str | None) -> int | None:
        """Return the raw entry that a record of the present turn came by, where that is known."""
        return self._scribe.origin(kind, record_id, account) if self._scribe is not None else None

    def alert(self, alert: AlertRecord) -> None:
        """Take an alert's status for the entry of its turn."""
        if self._scribe is not None:
            self._scribe.alert(alert)

    def correction(self, correction: Correction) -> None:
        """Take a correction."""
        if self._scribe is not None:
            self._scribe.correction(correction)

    def turn(self, engine: Engine, groups: Sequence[Group], now: int) -> bool:
        """Let the engine take a turn, put down whatever becomes of it; return whether anything changed."""
        return self._take(
            engine,
            lambda scribe: scribe.begin(groups, now),
            lambda: engine.turn([event for _, events in groups for event in events], now),
        )

    def clock(self, engine: Engine, now: int, last_messages: Mapping[str, int]) -> bool:
        """Let the engine take the time; a day begins with a base of its own, so that the days before it can be dropped."""
        if now // DAY_MS > self._day:
            self.renew(now)
        if self.copying:
            return False  # the next one comes in a second
        return self._take(engine, lambda scribe: scribe.begin_clock(now), lambda: engine.clock(now, last_messages))

    def renew(self, now: int) -> None:
        """Let replays begin here, too: with a new day, or behind what could not be kept."""
        if self._scribe is not None:
            self._day, self.copying = now // DAY_MS, False
            self._rest = self._begin(now)
            self._go_on(self._rest)

    def _go_on(self, rest: Iterator[None]) -> None:
        """Put down a step of a base, unless another one was begun."""
        if rest is self._rest and self._step():
            self._later(lambda: self._go_on(rest))

    def _step(self) -> bool:
        """Put down a step of the base that is under way; return whether there may be more."""
        try:
            return next(self._rest, self) is not self
        except Exception:  # a defect costs this base alone, not the turns behind it: told and counted
            self.failures += 1
            log.exception("a base of the journal failed")
            return False

    def order(self, engine: Engine, order: Order, now: int) -> bool:
        """Let the engine do what somebody ordered."""
        return self._take(engine, lambda scribe: scribe.begin_order(order, now), lambda: engine.obey(order, now))

    def _take(self, engine: Engine, begin: Callable[[Scribe], None], change: Callable[[], bool]) -> bool:
        if self._scribe is None:
            return change()
        while self.copying and self._step():
            pass
        begin(self._scribe)
        try:
            return change()
        finally:
            self._scribe.end(engine.tables.seq)

    def close(self, engine: Engine, now: int) -> None:
        """End in good order: the newest prices, and alerts as they are shown."""
        if self._scribe is not None:
            while self._step():
                pass
            self._scribe.close(engine.alerts.board.records(now), now)
            self._scribe = None


def _stamp(venue: str, text: str) -> tuple[str | None, int | None]:
    """Return a frame's own id and the venue's time of it, where the venue writes them at its beginning."""
    found = VENUES.get(venue)
    keys = found.capabilities.frame_stamp if found is not None else None
    if keys is None:
        return None, None
    head = text[:_HEAD]
    name, at = (re.search(pattern, head) if pattern else None for pattern in keys)
    return name[1] if name else None, int(at[1]) if at else None


def _words(request: object) -> str | None:
    if request is None or isinstance(request, str):
        return request
    return msgspec.json.encode(request).decode()
