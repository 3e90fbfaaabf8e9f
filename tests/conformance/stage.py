"""A simulated venue behind the real shells: connections with their tapes and books, and questions outside any stream.

Owns starting, stopping and waiting; always for a condition, always bounded. Time runs faster than outside.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import aiohttp
import msgspec

from exchanges import VENUES
from exchanges.actions import FeedName
from exchanges.clock import Timer
from exchanges.errors import VenueError
from exchanges.events import Event
from exchanges.feed import Feed
from exchanges.inquiry import Findings, Inquirer
from exchanges.rest import Limits, RestClient
from exchanges.sim import hyperliquid
from exchanges.sim.hands import Hands
from exchanges.sim.server import Simulator, start
from exchanges.sim.world import World
from exchanges.supervisor import Fetcher, Supervisor
from exchanges.venue import AccountSpec, Credentials, Endpoints, HttpRequest, Link, LinkFactory, Venue
from gateway.demo import configure
from tests.conformance.book import Book
from tests.conformance.tape import Tape, Taped

SEED = 5
WAIT_S = 15.0
_UNLIMITED = Limits(weight=100_000, period_s=1.0, burst=100_000)


class Hurried:
    """A clock that runs ``speed`` times as fast as the machine's, for the simulator and for its clients alike."""

    def __init__(self, speed: int) -> None:
        self._speed = speed
        self._began_ns, self._monotonic_ns = time.time_ns(), time.monotonic_ns()

    def now_ms(self) -> int:
        return (self._began_ns + (time.monotonic_ns() - self._monotonic_ns) * self._speed) // 1_000_000

    def wall_ms(self) -> int:
        return self.now_ms()

    def __call__(self) -> int:
        return self.now_ms()

    def call_at(self, at_ms: int, callback: Callable[[], None]) -> Timer:
        return asyncio.get_running_loop().call_later(max(at_ms - self.now_ms(), 1) / 1000 / self._speed, callback)


class Stream:
    """One connection, supervised: its tapes (one a link), every output that reached the engine, and the book of it."""

    def __init__(
        self, name: str, factory: LinkFactory, rest: RestClient, clock: Hurried, spec: AccountSpec | None
    ) -> None:
        self.tapes: list[Tape] = []
        self.events: list[Event] = []
        self.book = Book()
        self.factory = factory
        self._name, self._clock, self._public = name, clock, spec is None
        venue, env = (spec.venue, spec.env) if spec else (name.partition(":")[0], "live")
        label = FeedName(id=name, venue=venue, env=env, connection=name, account=spec.name if spec else None)
        self.feed = Feed(self._made, label, random=lambda: 0.5)
        self.supervisor = Supervisor(self.feed, rest, self._take, clock)

    def _made(self) -> Any:
        self.tapes.append(Tape(self._name, self.factory, public=self._public))
        return Taped(self.factory(), self.tapes[-1])

    def _take(self, events: Sequence[Event]) -> None:
        self.events += events
        self.book.take(events, self._clock.now_ms())

    def of(self, kind: type[Any], since: int = 0) -> list[Any]:
        """Return the events of one kind that came, those after the first ``since`` of all."""
        return [event for event in self.events[since:] if isinstance(event, kind)]


class Held:
    """A REST client whose answers can be kept back: computed by the venue, not yet delivered.

    Attributes:
        hold_after: Answers after the first so many wait for ``release``; None: none does.
        asked, held: Questions beyond those that are under way or answered, and answers of them that have come.
    """

    def __init__(self, rest: Fetcher) -> None:
        self._rest = rest
        self.hold_after: int | None = None
        self.release = asyncio.Event()
        self.asked = self.held = 0

    @property
    def clock_offset_ms(self) -> int:
        return self._rest.clock_offset_ms

    async def fetch(self, request: HttpRequest, sign: Callable[[HttpRequest], HttpRequest]) -> bytes:
        if self.hold_after is None:
            return await self._rest.fetch(request, sign)
        if self.hold_after > 0:
            self.hold_after -= 1
            return await self._rest.fetch(request, sign)
        self.asked += 1
        try:
            body = await self._rest.fetch(request, sign)
        except BaseException:
            self.asked -= 1  # refused (a limit, say): it is asked again
            raise
        self.held += 1
        await self.release.wait()
        return body


class Asker:
    """Questions about one account, as ``Inquirer`` puts them, on tape."""

    def __init__(self, spec: AccountSpec, factory: LinkFactory, client: Fetcher, clock: Hurried) -> None:
        self.tape = Tape(f"{spec.name}:questions", factory)
        self.rest = rest = Held(client)
        self._link: Any = _Paged(Taped(factory(), self.tape))
        self._inquirer = Inquirer(self._link, rest, clock, lambda: 0.5)
        self.audit, self.state, self.history = self._inquirer.audit, self._inquirer.state, self._inquirer.history
        self.order = self._inquirer.order

    async def records(
        self, since_ms: int, until_ms: int, symbols: Sequence[str], rows: int | None = None
    ) -> list[Event]:
        """Ask for the books of a window, with so many rows a page where the venue lets one choose. Raises VenueError."""
        self._link.rows = rows
        found = [page async for page in self._inquirer.records(since_ms, until_ms, symbols)]
        assert not [flaw for page in found for flaw in page.flaws]
        return [event for page in found for event in page.events]


class _Paged:
    """A link whose questions for books ask for ``rows`` a page; None: for as many as it would."""

    def __init__(self, link: Taped) -> None:
        self._link = link
        self.rows: int | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._link, name)

    def records(self, since_ms: int, until_ms: int, symbols: Sequence[str]) -> list[HttpRequest]:
        asked: list[HttpRequest] = self._link.records(since_ms, until_ms, symbols)
        limit = "" if self.rows is None else f"limit={self.rows}"
        return [
            msgspec.structs.replace(one, path=re.sub(r"\blimit=\d+", limit, one.path)) if limit else one
            for one in asked
        ]


class Scene:
    """One simulated venue with all its accounts connected and its prices asked for."""

    def __init__(self, name: str, simulator: Simulator, session: aiohttp.ClientSession, clock: Hurried) -> None:
        self.venue: Venue = VENUES[name]
        self.simulator, self.clock = simulator, clock
        self.specs = {s.name: s for s in configure(simulator.describe(), 0, Path())[1] if s.venue == name}
        url = simulator.urls[name]
        sockets = "ws" + url.removeprefix("http")
        self.hosts = Endpoints(rest=url, ws_public=sockets, ws_private=sockets)
        self._session = session
        self.rest = self._client()
        self.private: dict[str, Stream] = {}
        self.public: dict[str, Stream] = {}
        self.askers = {spec.name: self.asker(spec) for spec in self.specs.values()}
        for spec in self.specs.values():
            self.private[spec.name] = self.stream(spec)
        for connection in self.venue.public_links("live", self.hosts):
            make = partial(self._public, connection)
            self.public[connection] = Stream(f"{name}:{connection}", make, self.rest, clock, None)

    @property
    def world(self) -> World:
        """What is true."""
        return self.simulator.world

    @property
    def streams(self) -> list[Stream]:
        """Every connection."""
        return [*self.private.values(), *self.public.values()]

    @property
    def tapes(self) -> list[Tape]:
        """Everything that was said so far, by connection and questions."""
        said = [tape for stream in self.streams for tape in stream.tapes]
        return [*said, *(asker.tape for asker in self.askers.values())]

    @property
    def secrets(self) -> list[str]:
        """Everything that no text may show."""
        found = [part for spec in self.specs.values() if spec.credentials for part in _parts(spec.credentials)]
        return [part for part in found if part]

    def bookkeeper(self, account: str) -> Asker:
        """Return one more who asks about an account, and stays inside the venue's limits."""
        can = self.venue.capabilities
        limits = Limits(
            weight=can.rest_weight,
            period_s=can.rest_period_s,
            burst=can.rest_burst,
            paths=can.path_limits,
            key_weight=can.key_weight,
            key_period_s=can.key_period_s,
        )
        spec = self.specs[account]
        client = RestClient(self.hosts.rest, self.venue, self._session, self.clock, limits)
        return Asker(spec, partial(self._private, spec), client.for_key(account), self.clock)

    def asker(self, spec: AccountSpec) -> Asker:
        """Return one more who asks, with other credentials perhaps. Raises what ``private_links`` raises."""
        self.venue.private_links(spec, self.hosts)
        return Asker(spec, partial(self._private, spec), self._client(), self.clock)

    def _private(self, spec: AccountSpec) -> Link:
        """Return a link that shares nothing with any other."""
        return next(iter(self.venue.private_links(spec, self.hosts).values()))()

    def _public(self, connection: str) -> Link:
        return self.venue.public_links("live", self.hosts)[connection]()

    def _client(self) -> RestClient:
        """Return a client of its own: the circuit of one that was made to fail is nobody else's."""
        return RestClient(self.hosts.rest, self.venue, self._session, self.clock, _UNLIMITED)

    def stream(self, spec: AccountSpec) -> Stream:
        """Return a connection of an account, not yet running."""
        return Stream(f"{spec.name}:private", partial(self._private, spec), self.rest, self.clock, spec)

    def truth(self, account: str) -> list[tuple[str, str, Any]]:
        """Return symbol, side and size of everything that an account really holds, sorted."""
        return sorted((p.symbol, p.side, p.size) for p in self.world.positions(account))

    def fault(self, kind: str, **fields: object) -> list[Any]:
        """Carry out one fault of the simulator and return what it affected."""
        affected: list[Any] = self.simulator.control.fault({"kind": kind, **fields})["affected"]
        return affected

    @property
    def hands(self) -> Hands:
        """Acts by hand, which happen now."""
        self.now()
        return self.world.hands

    def now(self) -> int:
        """Return the world's time, which is now: a millisecond in which nothing has happened yet."""
        while self.clock() <= self.world.now_ms:
            pass  # a fraction of a millisecond
        self.world.step(self.clock())
        return self.world.now_ms

    def want(self, symbols: Sequence[str], currencies: Sequence[str]) -> None:
        """State the prices that are wanted."""
        for stream in self.streams:
            stream.supervisor.want(symbols, currencies)

    async def ask(self, question: Callable[[], Any]) -> Findings | VenueError:
        """Return what an answer brought, or the error."""
        try:
            found: Findings = await question()
        except VenueError as error:
            return error
        return found

    async def eventually(self, condition: Callable[[], object], what: str | Callable[[], str]) -> None:
        """Return once the condition holds; fail with ``what`` where it does not in time."""
        deadline = time.monotonic() + WAIT_S
        while not condition():
            assert time.monotonic() < deadline, f"not in {WAIT_S} s: {what if isinstance(what, str) else what()}"
            await asyncio.sleep(0.005)

    async def agree(self, *accounts: str) -> None:
        """Wait until the books of these accounts (all) say what is true."""

        def differ() -> list[str]:
            pairs = [(a, set(self.private[a].book.held), set(self.truth(a))) for a in accounts or self.specs]
            return [f"{a}: shown {shown - true}, truly {true - shown}" for a, shown, true in pairs if shown != true]

        await self.eventually(lambda: not differ(), lambda: "; ".join(differ()))


def _parts(credentials: Credentials) -> tuple[str, ...]:
    key = "" if credentials.key.startswith("0x") else credentials.key  # an address is no secret
    return key, credentials.secret, credentials.passphrase or ""


@asynccontextmanager
async def stage(speed: int, names: Sequence[str] = tuple(VENUES)) -> AsyncIterator[dict[str, Scene]]:
    """Run a simulator that stands still, and every connection to it, until all are live and agree with the truth."""
    clock = Hurried(speed)
    # Its clients ask as fast as they can, many times faster than any may: limits are the subject of others.
    with mock.patch.object(hyperliquid, "WEIGHT_PER_MINUTE", _UNLIMITED.burst):
        simulator = await start(SEED, clock=clock)
    simulator.control.pause()
    connector = aiohttp.TCPConnector(limit=0)
    try:
        async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), connector=connector) as session:
            scenes = {name: Scene(name, simulator, session, clock) for name in names}
            tasks = [asyncio.create_task(s.supervisor.run()) for scene in scenes.values() for s in scene.streams]
            try:
                for scene in scenes.values():
                    await scene.eventually(
                        lambda scene=scene: all(s.feed.state == "live" for s in scene.streams),  # type: ignore[misc]
                        lambda scene=scene: "; ".join(
                            f"{s.feed.name.id} {s.supervisor.status().error}" for s in scene.streams
                        ),  # type: ignore[misc]
                    )
                    await scene.agree()
                yield scenes
            finally:
                for scene in scenes.values():
                    for stream in scene.streams:
                        stream.supervisor.stop()
                await asyncio.gather(*tasks)
    finally:
        await simulator.stop()
