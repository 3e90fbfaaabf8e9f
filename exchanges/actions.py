"""The plain data between a feed and its shell: whose connection it is, how patient it is, what the shell has to do.

Actions are given out by ``exchanges.feed`` and obeyed by ``exchanges.supervisor``, in the order given; no logic lives here.
"""

from __future__ import annotations

import msgspec

from exchanges.backoff import Backoff
from exchanges.events import Event
from exchanges.venue import HttpRequest


class Action(msgspec.Struct, frozen=True):
    """Base of all actions; never given out itself."""


class Open(Action, frozen=True):
    """Connect to ``Feed.url`` now; everything that the address needs is known."""


class Succeed(Action, frozen=True):
    """The venue will end this connection: let another take its place before that."""

    why: str


class Send(Action, frozen=True):
    """Send this text frame."""

    text: str


class Fetch(Action, frozen=True):
    """After ``after_s`` seconds ask by REST, then call ``Feed.answered`` or ``Feed.ask_failed`` with this action.

    ``number`` names the question over the whole life of a feed: an answer to an ended connection's question is recognised by
    it and ignored. A question that is asked again keeps its number.
    """

    request: HttpRequest
    after_s: float
    number: int


class Emit(Action, frozen=True):
    """Hand this event to the engine."""

    event: Event


class Disconnect(Action, frozen=True):
    """Close the socket if it is still open and call ``Feed.closed``.

    Connect again after ``retry_in_s`` seconds; None: only when somebody asks for it, since only the operator can help.
    """

    why: str
    retry_in_s: float | None


class FeedName(msgspec.Struct, frozen=True, kw_only=True):
    """Whose connection it is: the constant part of every ``FeedStatus``."""

    id: str
    venue: str
    env: str
    connection: str
    account: str | None = None


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """How patient a feed is; seconds.

    Attributes:
        backoff: Delays of reconnects, of topics refused for now, and of questions that failed without a waiting time.
        login_s, subscribe_s: How long the venue may take to answer a login, to confirm a topic.
        ready_s: How long initial states may be missing when everything is confirmed and nothing is being asked.
        stable_s: A connection that was live for this long clears the count of failed attempts.
    """

    backoff: Backoff = Backoff()
    login_s: float = 10
    subscribe_s: float = 10
    ready_s: float = 30
    stable_s: float = 60


class Statistics(msgspec.Struct, frozen=True, kw_only=True):
    """Counts over the life of a feed, all its connections together."""

    received: int
    malformed: int
    reconnects: int
    last_malformed: str | None
