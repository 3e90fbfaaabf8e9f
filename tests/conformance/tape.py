"""Everything that one connection was told, in order, to be told again: to a fresh link, and with something changed.

Owns recording and playing. A captured message of a real venue becomes a tape too, so that one check serves both.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import msgspec

from exchanges.errors import VenueError
from exchanges.events import Event
from exchanges.venue import Data, Heard, HttpRequest, Link, LinkFactory, Output

_NOTED = frozenset({"prepare", "login", "subscribe", "unsubscribe", "bootstrap", "price_topics", "receive", "answer"})
_NOTED |= {"audit", "state", "history", "records", "find_order"}
_BROUGHT = frozenset({"receive", "answer"})


class Call(NamedTuple):
    """One call of a link's method; ``receive`` and ``answer`` bring something from the venue."""

    name: str
    args: tuple[Any, ...]

    @property
    def brought(self) -> bool:
        """Whether it brings something from the venue."""
        return self.name in _BROUGHT

    @property
    def data(self) -> Data:
        """What the venue sent."""
        found: Data = self.args[0] if self.name == "receive" else self.args[1]
        return found

    @property
    def text(self) -> str:
        """What the venue sent, as text."""
        return self.data if isinstance(self.data, str) else self.data.decode(errors="replace")

    def saying(self, text: str) -> Call:
        """Return the call with something else sent."""
        if self.name == "receive":
            return Call(self.name, (text, *self.args[1:]))
        return Call(self.name, (self.args[0], text.encode(), *self.args[2:]))


class Tape:
    """The calls of one link, and how to make another like it.

    Attributes:
        name: What is heard on it, for messages of failed checks.
        public: Whether it is of a connection that no account owns.
        before: What the link was told already, as text.
    """

    def __init__(
        self, name: str, make: LinkFactory, calls: Sequence[Call] = (), *, public: bool = False, before: str = ""
    ) -> None:
        self.name, self.make, self.calls, self.public, self.before = name, make, list(calls), public, before

    def copied(self) -> Tape:
        """Return the tape as it is now."""
        return Tape(self.name, self.make, self.calls, public=self.public, before=self.before)


class Taped:
    """A link that notes what it is told before it is."""

    def __init__(self, link: Link, tape: Tape) -> None:
        self._link, self._tape = link, tape

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._link, name)
        if name not in _NOTED:
            return found

        def noted(*args: Any) -> Any:
            # What is iterated once must be there again when the tape is played.
            kept = tuple(tuple(arg) if isinstance(arg, Iterator) else arg for arg in args)
            self._tape.calls.append(Call(name, kept))
            return found(*kept)

        return noted


class Told(NamedTuple):
    """What a link made of something: its words without the watchdog's, or how it refused it."""

    outputs: tuple[Output, ...] = ()
    refused: VenueError | None = None

    @property
    def events(self) -> tuple[Event, ...]:
        """What would reach the engine."""
        return tuple(output for output in self.outputs if isinstance(output, Event))


def tell(link: Link, call: Call) -> Told:
    """Tell a link something. Only an answer may be refused; whatever else a link raises is raised."""
    may_refuse: tuple[type[VenueError], ...] = (VenueError,) if call.name == "answer" else ()
    try:
        outputs = getattr(link, call.name)(*call.args)
    except may_refuse as error:
        return Told(refused=error)
    if not call.brought:
        return Told()
    return Told(tuple(output for output in outputs if not isinstance(output, Heard)))


def play(tape: Tape) -> Iterator[tuple[Call, Told]]:
    """Tell a fresh link everything once more; yield what it makes of what the venue sent."""
    link = tape.make()
    for call in list(tape.calls):
        told = tell(link, call)
        if call.brought:
            yield call, told


def moments(tape: Tape, *, kinds: int = 1) -> Iterator[tuple[Call, Told, Callable[[Call], Told]]]:
    """Play a tape; at the first ``kinds`` messages of each shape give a way to try another message in that one's place.

    Two messages have one shape when they give the same kinds of output and are of one channel or question.
    """
    link = tape.make()
    seen: dict[object, int] = {}
    for call in list(tape.calls):
        if not call.brought:
            tell(link, call)
            continue
        before = copy.deepcopy(link)
        told = tell(link, call)
        shape = (call.name, _subject(call), frozenset(type(output) for output in told.outputs))
        seen[shape] = seen.get(shape, 0) + 1
        if seen[shape] <= kinds:
            yield call, told, lambda other, before=before: tell(copy.deepcopy(before), other)  # type: ignore[misc]


def _subject(call: Call) -> str:
    if call.name == "answer":
        request: HttpRequest = call.args[0]
        question = msgspec.json.decode(request.body).get("type") if request.body else ""
        return f"{request.path.partition('?')[0]} {question}"
    try:
        frame = msgspec.json.decode(call.data)
    except msgspec.DecodeError:
        return "text"
    if not isinstance(frame, dict):
        return "list"
    named = [frame.get(key) for key in ("e", "channel", "op", "event")]
    return f"{named} {str(frame.get('topic')).partition('.')[0]} {str(frame.get('arg'))[:40]}"
