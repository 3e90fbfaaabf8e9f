"""What a replay begins with: the bodies of a ``base``, several entries of bounded size. Pure.

Owns the form of a base. At a start it is what the engine was given (``events``), in the middle of a life the state that it has
(``state``), beside what a following engine is told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import msgspec

from exchanges.events import Event
from gateway.core.accounts import AccountInfo
from gateway.core.image import Portion
from gateway.core.journal import encode

Body = Callable[[], str]  # makes the body of an entry, whenever it is called

# Events in one entry: what holds the loop up for some milliseconds, and what a database takes at once.
_PART = 500


class Base(msgspec.Struct, frozen=True, kw_only=True):
    """The body of a ``base`` entry. One base is several of them, which share a turn.

    Attributes:
        accounts, settings: The first entry's alone.
        settings: All of the configuration that figures and alerts depend on, as JSON.
        events: What ``Engine.restore`` was given (``journal.encode``), at ``at``, ``stored_at``; beside a state: alerts and
            silences, as they stood.
        state: A portion of the state at ``at`` (``Engine.image``); without any the life begins here.
    """

    at: int
    stored_at: int | None = None
    accounts: tuple[AccountInfo, ...] = ()
    settings: msgspec.Raw = msgspec.Raw(b"{}")
    events: msgspec.Raw = msgspec.Raw(b"[]")
    state: str | None = None


def bodies(
    events: Iterable[Event],
    settings: bytes,
    accounts: Iterable[AccountInfo],
    now: int,
    stored_at: int | None = None,
    state: Sequence[Portion] = (),
) -> list[Body]:
    """Return what makes the bodies of a base, one after the other; nothing is encoded before.

    Args:
        settings: JSON.
        stored_at: As of when the events were stored, at a start.
        state: In the middle of a life.
    """
    every, rest = list(events), Base(at=now, stored_at=stored_at)
    first = Base(at=now, stored_at=stored_at, accounts=tuple(accounts), settings=msgspec.Raw(settings))

    def of_events(place: int) -> str:
        told = encode(every[place : place + _PART]).encode()
        return _text(msgspec.structs.replace(rest if place else first, events=msgspec.Raw(told)))

    found: list[Body] = [lambda place=place: of_events(place) for place in range(0, max(1, len(every)), _PART)]  # type: ignore[misc]
    found += [lambda one=one: _text(msgspec.structs.replace(rest, state=one())) for one in state]  # type: ignore[misc]
    return found


def _text(base: Base) -> str:
    return msgspec.json.encode(base).decode()
