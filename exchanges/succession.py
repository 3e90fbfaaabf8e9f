"""A feed whose connection is replaced before the venue ends it: the successor comes up beside it, then takes its place.

Owns which of at most two supervisors speaks for the feed. Both hand on what the venue says (the same news twice is one, by the
venue's own order); only the one in place tells the feed's state, so that an announced upgrade shows as nothing at all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence

from exchanges.actions import Statistics
from exchanges.events import Event, FeedStatus
from exchanges.feed import Feed
from exchanges.supervisor import Sink, Supervisor

# Makes one connection's supervisor: how many connections there were before, where its events go, what to call for a successor.
MakeSupervisor = Callable[[int, Sink, Callable[[str], None]], Supervisor]


class Succession:
    """Runs one feed until it is stopped; the same wishes as a supervisor's."""

    def __init__(self, make: MakeSupervisor, sink: Sink) -> None:
        self._make, self._sink = make, sink
        self._wanted: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())
        self._group: asyncio.TaskGroup | None = None
        self._stopping = False
        self._before = Statistics(received=0, malformed=0, reconnects=0, last_malformed=None)
        self._next: Supervisor | None = None
        self._lost = False  # the predecessor's connection ended before the successor was live
        self._current = self._new(0)

    @property
    def feed(self) -> Feed:
        """The feed of the connection in place."""
        return self._current.feed

    def want(self, symbols: Iterable[str], currencies: Iterable[str] = ()) -> None:
        """State the symbols and currencies whose prices are wanted from now on."""
        self._wanted = (tuple(symbols), tuple(currencies))
        for supervisor in self._both():
            supervisor.want(*self._wanted)

    def reconnect(self, why: str) -> None:
        """Leave the present connection and connect at once."""
        self._current.reconnect(why)

    def stop(self, why: str = "stopped") -> None:
        """Ask ``run`` to close what is open and return; it does within a second. The last status says why."""
        self._stopping = True
        for supervisor in self._both():
            supervisor.stop(why)

    def status(self) -> FeedStatus:
        """Return the feed's status as it is now."""
        return self._current.status()

    def statistics(self) -> Statistics:
        """Return the counts over the life of the feed, all its connections together."""
        found = self._current.statistics()
        return Statistics(
            received=self._before.received + found.received,
            malformed=self._before.malformed + found.malformed,
            reconnects=found.reconnects,  # counted on from connection to connection
            last_malformed=found.last_malformed or self._before.last_malformed,
        )

    async def run(self) -> None:
        """Keep the feed connected until ``stop`` or cancellation. Raises what the sink raised, in an ``ExceptionGroup``."""
        async with asyncio.TaskGroup() as self._group:
            self._group.create_task(self._current.run())

    # --- Succeeding --------------------------------------------------------------------------------------------------

    def _both(self) -> list[Supervisor]:
        return [self._current, self._next] if self._next is not None else [self._current]

    def _new(self, connections: int) -> Supervisor:
        made: list[Supervisor] = []  # the sink is needed before its supervisor exists
        made.append(self._make(connections, lambda events: self._take(made[0], events), self._succeed))
        return made[0]

    def _succeed(self, _why: str) -> None:
        if self._next is not None or self._stopping or self._group is None:
            return
        self._lost = False
        self._next = self._new(self._current.feed.connections)
        self._next.want(*self._wanted)
        self._group.create_task(self._next.run())

    def _take(self, supervisor: Supervisor, events: Sequence[Event]) -> None:
        for event in events:
            if isinstance(event, FeedStatus) and self._next is not None:
                self._heed(supervisor, event)
        told = [event for event in events if supervisor is self._current or not isinstance(event, FeedStatus)]
        if told:
            self._sink(told)

    def _heed(self, supervisor: Supervisor, status: FeedStatus) -> None:
        """Decide which one stays: the successor once it is live, unless the predecessor was lost and came back first."""
        if status.state != "live":
            self._lost = self._lost or supervisor is self._current
        elif supervisor is self._next or self._lost:
            self._settle(supervisor)

    def _settle(self, live: Supervisor) -> None:
        """End the other one."""
        assert self._next is not None
        if live is self._next:
            self._before = self.statistics()
        ended = self._current if live is self._next else self._next
        self._current, self._next = live, None
        ended.stop()
