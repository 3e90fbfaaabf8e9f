"""The journal's entries: what came in, raw, and the turns that the engine made of it, in one order over all lives. Pure.

Owns the form of entries and samples, their places, and events as text. A life is replayed from its entries alone: a ``base`` (what
a start began with, or the state of the engine later on), then the turns, in the order of their places; entries of one turn are one
call of the engine. Raw input is kept for whoever asks where a figure came from, and replayed by nobody.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec

from exchanges import events as vocabulary
from exchanges.events import Event
from gateway.core import records
from gateway.core.alerts import records as alert_records

PLACES = 1 << 20  # in one millisecond
DAY_MS = 86_400_000

# Raw: "ws", "rest". Of the engine: "base" (what a replay can begin with: at a start, at a day, behind a gap), "turn" (events),
# "clock" (time passed), "operator" (what somebody ordered), "correction" (what was put on record against a table), "lost" (what
# could not be kept: how many entries, from which place on).
Kind = Literal["ws", "rest", "base", "turn", "clock", "operator", "correction", "lost"]
SampleKind = Literal["mark", "index", "spot", "usd"]


class Entry(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One row of the table ``journal``.

    Attributes:
        id: Its place: see ``place``. Greater than that of every entry before it.
        at: When it came, our clock (ms).
        turn: The number of the engine's turn in its life, which entries of one turn share; 0: raw input.
        seq: The change set that the turn became; 0: raw input. Of a base, of how many entries it is.
        source: The connection, or "rest". ``request``: what was asked. ``request_id``: the venue's own.
        venue_at: The venue's own time of it (ms), where it says one.
        causes: The raw entries that a turn's events came from.
        body: Raw text as it came; of a turn its events (``encode``).
    """

    id: int
    at: int
    kind: Kind
    epoch: str
    turn: int = 0
    seq: int = 0
    user: str | None = None
    account: str | None = None
    venue: str | None = None
    source: str | None = None
    request: str | None = None
    request_id: str | None = None
    venue_at: int | None = None
    causes: tuple[int, ...] = ()
    body: str = ""


class MarkSample(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One row of the table ``mark_samples``: a price of a symbol, or of a currency in US dollars (``kind`` "usd").

    Its ``id`` is a place among the entries: the turn that it belongs to saw it before, or in, that turn.
    """

    id: int
    at: int
    epoch: str
    turn: int
    venue: str
    env: str
    symbol: str
    kind: SampleKind
    value: str
    venue_at: int | None = None


class Lost(msgspec.Struct, frozen=True, kw_only=True):
    """What could not be kept of the journal, as the body of an entry ``lost``.

    Attributes:
        since, until: The first and the last place that was given up.
        entries, samples: How many between them.
        file: Where what was in the spool lies now, unreadable: nobody knows how many that were.
    """

    since: int
    until: int
    entries: int = 0
    samples: int = 0
    file: str | None = None


def together(first: Lost | None, second: Lost | None) -> Lost | None:
    """Return two gaps as one."""
    if first is None or second is None:
        return first or second
    return Lost(
        since=min(first.since, second.since),
        until=max(first.until, second.until),
        entries=first.entries + second.entries,
        samples=first.samples + second.samples,
        file=first.file or second.file,
    )


def narrowed(gap: Lost, kept: int) -> Lost:
    """Return a gap without what is kept; ``kept``: the last place that is, before the entry that tells of it.

    What lay in an unreadable file began behind that, however little was known of it when it was written down. Where rows were given
    up besides, something between may be kept: the gap stays as it is.
    """
    if gap.file is None or gap.entries or gap.samples:
        return gap
    return msgspec.structs.replace(gap, since=max(gap.since, kept + 1))


class Places:
    """Gives out places: rising, whatever the clock does."""

    def __init__(self, after: int = 0) -> None:
        """Begin behind ``after``, the last place that is known of earlier lives."""
        self.last = after

    def reach(self, known: int) -> None:
        """Go on behind a place that is taken."""
        self.last = max(self.last, known)

    def next(self, at: int) -> int:
        """Return the place of what came at this moment (ms)."""
        self.last = max(self.last + 1, place(at))
        return self.last


def place(at: int) -> int:
    """Return the first place of a moment (ms)."""
    return at * PLACES


def moment(place_: int) -> int:
    """Return the moment (ms) of a place."""
    return place_ // PLACES


def day(place_: int) -> int:
    """Return the beginning (ms) of the UTC day that a place lies in: its partition."""
    return moment(place_) // DAY_MS * DAY_MS


def _kinds() -> dict[str, type[Event]]:
    found = {}
    for module in (vocabulary, records, alert_records):
        for name, one in vars(module).items():
            if isinstance(one, type) and issubclass(one, Event) and one.__module__ == module.__name__:
                found[name] = one
    return found


KINDS = _kinds()
_ENCODER = msgspec.json.Encoder()
_PAIRS = msgspec.json.Decoder(list[tuple[str, msgspec.Raw]])


def encode(events: Iterable[Event]) -> str:
    """Return events as a JSON list of [kind, event]; every figure keeps its digits."""
    return _ENCODER.encode([(type(event).__name__, event) for event in events]).decode()


def decode(body: str | bytes) -> Sequence[Event]:
    """Return the events of a body.

    Raises:
        msgspec.MsgspecError: It is not such a list, or of another version of this program.
    """
    found = []
    for kind, raw in _PAIRS.decode(body):
        known = KINDS.get(kind)
        if known is None:
            raise msgspec.ValidationError(f"unknown kind of event {kind!r}")
        found.append(msgspec.json.decode(raw, type=known))
    return found
