"""Accounts at exchanges that are read through ccxt: one adapter each, of which one a venue brings the marks.

Owns the adapters from making to closing, and who of them is to follow prices. Asks nothing itself: the rounds do.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping

import structlog

from exchanges.clock import Clock
from exchanges.errors import VenueError
from exchanges.generic import Generic
from exchanges.ports import connect
from exchanges.supervisor import Sink
from exchanges.venue import AccountSpec, Endpoints

log = structlog.get_logger("perpwire")


class Others:
    """Made by account; see ``exchanges.generic``."""

    def __init__(self, clock: Clock, take: Sink) -> None:
        self._clock, self._take = clock, take
        self._all: dict[str, Generic] = {}
        self._places: dict[str, tuple[str, str]] = {}  # account → venue, env; those that are read
        self._wanted: Mapping[tuple[str, str], Iterable[str]] = {}

    def add(self, spec: AccountSpec, hosts: Endpoints, news: Callable[[], None]) -> Generic:
        """Make an account's adapter. Raises Rejected where ccxt has no such exchange or environment."""
        made = Generic(spec, connect(spec, hosts), self._clock, news=news, sink=self._take, random=random.random)
        self._all[spec.name], self._places[spec.name] = made, (spec.venue, spec.env)
        return made

    def coroutines(self) -> Iterator[tuple[str, Coroutine[None, None, None]]]:
        """Yield what has to run, with names."""
        for account, one in self._all.items():
            yield f"{account}:ccxt", one.run()

    def want(self, symbols: Mapping[tuple[str, str], Iterable[str]]) -> None:
        """State the symbols whose marks are wanted, per (venue, env): one account of each place follows them for all."""
        self._wanted = symbols
        followed: set[tuple[str, str]] = set()
        for account, place in self._places.items():
            self._all[account].want(() if place in followed else symbols.get(place, ()))
            followed.add(place)

    def stop(self, account: str | None = None) -> None:
        """Let one account's watchers end, or everybody's; another account then follows the prices."""
        for name in [account] if account is not None else list(self._all):
            if name in self._all:
                self._all[name].stop()
                self._places.pop(name, None)
        self.want(self._wanted)

    async def close(self) -> None:
        """Release every connection; after all tasks have ended."""
        for account, one in self._all.items():
            try:
                await one.close()
            except VenueError as error:
                log.warning("an exchange could not be closed", account=account, error=str(error))
