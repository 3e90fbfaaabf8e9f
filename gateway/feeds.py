"""Everything that speaks to venues: one connection set per account, one price connection set per venue and environment.

Owns which accounts are streamed and which are polled, the hosts' clients, the rounds of verification, and the venues' clocks.
Decides nothing about figures. Events go to ``take``, in the order they came.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import sys
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from operator import itemgetter

import aiohttp
import msgspec
import structlog
from prometheus_client.core import GaugeMetricFamily, Metric

from exchanges import VENUES
from exchanges.actions import FeedName, Policy
from exchanges.choice import resolve
from exchanges.clock import Clock
from exchanges.errors import VenueError
from exchanges.events import Event, FeedState, FeedStatus
from exchanges.feed import Feed
from exchanges.generic import Generic
from exchanges.inquiry import Findings, Inquirer
from exchanges.rest import Limits, RestClient
from exchanges.succession import Succession
from exchanges.supervisor import Fetcher, Record, Sink, Supervisor
from exchanges.venue import AccountSpec, Data, Endpoints, LinkFactory
from gateway.config import Config, endpoints, verify_every_s
from gateway.gate import Gate
from gateway.metrics import labelled
from gateway.others import Others
from gateway.replay import Recorder, Via
from gateway.rounds import Rounds, refusal

log = structlog.get_logger("perpwire")

CLOCK_EVERY_S = 600.0
RENEW_EVERY_MS = 60_000
_CLOCK_WARNING_MS = 1_000
_CLOCK_WAIT_S = 3.0  # how long the first signature of an account waits for its venue's clock

Wanted = Mapping[tuple[str, str], Iterable[str]]
# Events in their order, each group with the name under which the message is kept that they came by.
Group = tuple[int | None, Sequence[Event]]
Take = Callable[[Sequence[Group]], None]
# Keeps a message of a feed: via, what was asked, the payload, time of receipt; returns its name.
Tape = Callable[[FeedName, str, object, Data, int], int | None]


class _Origins:
    """From which message events came: a stream tells of one right after it was kept, a round of many together."""

    def __init__(self) -> None:
        self._last: int | None = None
        self._of_events: dict[int, int | None] = {}  # by identity, from a round's end to its delivery

    def kept(self, name: int | None) -> None:
        """Note the message that was just kept."""
        self._last = name

    def came(self, found: Findings) -> None:
        """Note the answers that the events of a round came by."""
        self._of_events = dict(zip(map(id, found.events), found.origins, strict=False))

    def groups(self, events: Sequence[Event]) -> list[Group]:
        """Return events with what they came by; a connection's own status came by nothing."""
        of_events, self._of_events = self._of_events, {}
        if of_events:
            named = [(of_events.get(id(event)), event) for event in events]
        else:
            named = [(None if isinstance(event, FeedStatus) else self._last, event) for event in events]
        return [(name, [event for _, event in some]) for name, some in groupby(named, key=itemgetter(0))]


def clock_remark(venue: str, ahead_ms: int) -> str | None:
    """Return what to do about a venue's clock that is ``ahead_ms`` ahead of ours; None where they agree."""
    if abs(ahead_ms) < _CLOCK_WARNING_MS:
        return None
    off = f"{abs(ahead_ms) / 1000:.1f} s {'behind' if ahead_ms > 0 else 'ahead of'} that of {venue}"
    return f"this machine's clock is {off}: signatures are corrected by it. Set the clock (NTP)"


def private_links(spec: AccountSpec, hosts: Endpoints) -> Mapping[str, LinkFactory]:
    """Return a native venue's connections of an account. Raises AuthFailed where a credential is missing or malformed.

    The library of Aster's signatures lets Python recurse a hundred thousand deep when it is first imported; JSON that is nested
    so deep would then overrun the stack, where a codec expects RecursionError.
    """
    depth = sys.getrecursionlimit()
    try:
        return VENUES[spec.venue].private_links(spec, hosts)
    finally:
        sys.setrecursionlimit(depth)


class Feeds:
    """All connections and rounds of one gateway.

    Args:
        take: Takes events on the loop; may call ``want`` and ``refuse``.
        tape: Keeps what is private, before it is read.
        policy: How patient the feeds are; None: their own default.
    """

    def __init__(
        self,
        config: Config,
        specs: Sequence[AccountSpec],
        clock: Clock,
        take: Take,
        *,
        tape: Tape | None = None,
        recorder: Recorder | None = None,
        policy: Policy | None = None,
    ) -> None:
        self._config, self._clock, self._take, self._recorder, self._policy = config, clock, take, recorder, policy
        self.supervisors: dict[str, Succession] = {}
        self.rounds: dict[str, Rounds] = {}
        self.pasts: dict[str, Inquirer | Generic] = {}  # who is asked for an account's past
        self._renewed_at: dict[str, int] = {}  # by account
        self._begun: set[str] = set()  # accounts whose stream was live before
        self._polled: dict[str, FeedStatus] = {}  # of accounts whose rounds tell of it: they have no stream of ours
        self._tape = tape
        self._others = Others(clock, lambda events: take([(None, events)]))
        self._public: dict[tuple[str, str], list[Succession]] = {}
        self.refusals: dict[str, str] = {}  # account → why it is not read any more
        self._gates = {spec.name: Gate() for spec in specs}
        self._rest: dict[str, RestClient] = {}
        self._asked_at: dict[str, RestClient] = {}  # by account
        self._venues: dict[str, str] = {}  # by host
        self._offsets: dict[str, int] = {}  # host → how far its clock is ahead of ours, ms
        self._clock_read: dict[str, asyncio.Event] = {}  # host → its clock was asked once, in vain or not
        # What an operator has to mend is found before anything is open that would have to be closed.
        native = [
            (spec, endpoints(config, spec.venue, spec.env, spec.region)) for spec in specs if spec.venue in VENUES
        ]
        links = [private_links(spec, hosts) for spec, hosts in native]
        for spec in specs:
            if spec.venue not in VENUES:
                self._make_other(spec, endpoints(config, spec.venue, spec.env, spec.region))
        self._session = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar())
        streamed: Counter[tuple[str, str]] = Counter()
        for (spec, hosts), own in zip(native, links, strict=True):
            self._make_account(spec, hosts, own, streamed)
        for venue, env in sorted({(spec.venue, spec.env) for spec in specs if spec.venue in VENUES}):
            region = next(spec.region for spec in specs if (spec.venue, spec.env) == (venue, env))
            self._make_public(venue, env, endpoints(config, venue, env, region))

    def coroutines(self) -> Iterator[tuple[str, Coroutine[None, None, None]]]:
        """Yield what has to run, with names."""
        for name, supervisor in self.supervisors.items():
            yield f"feed {name}", self._stream(supervisor)
        for name, watching in self._others.coroutines():
            yield f"feed {name}", watching
        for name, rounds in self.rounds.items():
            yield f"rounds {name}", self._ask(rounds)
        yield "clocks", self._measure_clocks()

    def stop(self) -> None:
        """Ask every connection to close; their tasks end within a second."""
        for supervisor in self.supervisors.values():
            supervisor.stop()
        self._others.stop()

    async def close(self) -> None:
        """Release the connections of questions; after all tasks have ended."""
        await self._others.close()
        await self._session.close()

    # --- What the gateway asks for --------------------------------------------------------------------------------------

    def want(self, symbols: Wanted, currencies: Wanted) -> None:
        """State the symbols and currencies whose prices are wanted from now on, per (venue, env)."""
        for key, supervisors in self._public.items():
            for supervisor in supervisors:
                supervisor.want(sorted(symbols.get(key, ())), sorted(currencies.get(key, ())))
        self._others.want(symbols)

    def renew(self, account: str, why: str) -> None:
        """Make an account's connections anew, at most once in ``RENEW_EVERY_MS``."""
        now = self._clock.now_ms()
        if now - self._renewed_at.get(account, -RENEW_EVERY_MS) < RENEW_EVERY_MS:
            return
        self._renewed_at[account] = now
        for supervisor in self.supervisors.values():
            if supervisor.feed.name.account == account:
                supervisor.reconnect(why)

    def refuse(self, account: str, why: str) -> None:
        """End an account's connections for good, saying why."""
        log.error("an account is not read any more", account=account, error=why)
        self.refusals[account] = why
        for supervisor in self.supervisors.values():
            if supervisor.feed.name.account == account:
                supervisor.stop(why)
        self._others.stop(account)

    def states(self) -> dict[str, FeedState]:
        """Return each feed's state by its name."""
        polled = {status.id: status.state for status in self._polled.values()}
        streamed = {name: supervisor.feed.state for name, supervisor in self.supervisors.items()}
        return streamed | polled

    def accounts_live(self) -> bool:
        """Say whether every account is being read."""
        streams = all(
            one.feed.state == "live" for one in self.supervisors.values() if one.feed.name.account is not None
        )
        return streams and all(status.state == "live" for status in self._polled.values())

    def heard(self) -> dict[str, int]:
        """Return when each feed last received anything."""
        found = {name: supervisor.status().last_message_at for name, supervisor in self.supervisors.items()}
        return {name: at for name, at in found.items() if at is not None}

    def clock_offset_ms(self, account: str) -> int | None:
        """Return how far the clock of an account's venue is ahead of ours; None where it could not be read."""
        client = self._asked_at.get(account)
        return self._offsets.get(client.host) if client is not None else None

    def figures(self) -> Iterable[Metric]:
        """Yield the metrics of connections and hosts."""
        yield labelled(
            GaugeMetricFamily,
            "venue_clock_offset_ms",
            "How far a venue's clock is ahead of this machine's",
            "host",
            self._offsets.items(),
        )
        yield labelled(
            GaugeMetricFamily,
            "venue_circuit_open",
            "1 while a host is left alone because it kept failing",
            "host",
            [(client.host, float(client.open_circuit)) for client in self._rest.values()],
        )

    # --- Making ---------------------------------------------------------------------------------------------------------

    def _make_account(
        self,
        spec: AccountSpec,
        hosts: Endpoints,
        links: Mapping[str, LinkFactory],
        streamed: Counter[tuple[str, str]],
    ) -> None:
        venue = VENUES[spec.venue]
        link = next(iter(links.values()))()  # of the questions: it is never connected
        name = FeedName(id=f"{spec.name}:poll", venue=spec.venue, env=spec.env, connection="poll", account=spec.name)
        rest = self._client(spec.venue, hosts)
        settings, host = self._config.accounts.get(spec.name), self._config.venues.get(spec.venue)
        most = (host.stream_users if host else None) or venue.capabilities.stream_users
        polled = link.polled or bool(settings and settings.poll)
        if most is not None and streamed[spec.venue, hosts.ws_private] >= most:
            log.warning("polled: the venue streams no more accounts to one address", account=spec.name, limit=most)
            polled = True
        if not polled:
            streamed[spec.venue, hosts.ws_private] += 1
            for connection, factory in links.items():
                own = msgspec.structs.replace(name, id=f"{spec.name}:{connection}", connection=connection)
                self._supervise(own, factory, rest.for_key(spec.name))
        self._asked_at[spec.name] = rest
        # A link and a lock of its own: months of the past hold nobody up.
        past = next(iter(links.values()))()
        self.pasts[spec.name] = Inquirer(
            past, rest.for_key(spec.name), self._clock, random.random, self._kept(name), patient=True
        )
        origins = _Origins()
        self.rounds[spec.name] = Rounds(
            spec.name,
            spec.venue,
            Inquirer(link, rest.for_key(spec.name), self._clock, random.random, self._record(name)),
            deliver=self._taker(spec.name, origins),
            audited=lambda: self._take([(None, self._gates[spec.name].open())]),
            came=origins.came,
            refuse=lambda error: self.refuse(spec.name, refusal(spec.name, spec.venue, error)),
            clock=self._clock,
            random=random.random,
            every_ms=round(1000 * verify_every_s(self._config, spec.venue)),
            help=venue.read_only_help,
            may_trade=bool(settings and settings.allow_trading_keys),
            polled=FeedStatus(**msgspec.structs.asdict(name), state="connecting", at=0, polled=True)
            if polled
            else None,
        )

    def _make_other(self, spec: AccountSpec, hosts: Endpoints) -> None:
        """Make an account that is read through ccxt; nothing limits what its key may do, since ccxt does not say."""

        def news() -> None:
            self.rounds[spec.name].soon()

        asked = self.pasts[spec.name] = self._others.add(spec, hosts, news)
        status = self._polled[spec.name] = FeedStatus(
            id=f"{spec.name}:ccxt",
            venue=spec.venue,
            env=spec.env,
            account=spec.name,
            connection="ccxt",
            state="connecting",
            at=0,
            polled=not asked.has("watchPositions"),
        )
        self.rounds[spec.name] = Rounds(
            spec.name,
            spec.venue,
            asked,
            deliver=self._taker(spec.name),
            audited=lambda: self._take([(None, self._gates[spec.name].open())]),
            refuse=lambda error: self.refuse(spec.name, refusal(spec.name, spec.venue, error)),
            clock=self._clock,
            random=random.random,
            every_ms=round(1000 * verify_every_s(self._config, spec.venue)),
            help=resolve(spec.venue).read_only_help,
            polled=status,
        )

    def _make_public(self, venue: str, env: str, hosts: Endpoints) -> None:
        label = venue if env == "live" else f"{venue}-{env}"
        for connection, factory in VENUES[venue].public_links(env, hosts).items():
            name = FeedName(id=f"{label}:{connection}", venue=venue, env=env, connection=connection)
            made = self._supervise(name, factory, self._client(venue, hosts))
            self._public.setdefault((venue, env), []).append(made)

    def _supervise(self, name: FeedName, factory: LinkFactory, rest: Fetcher) -> Succession:
        origins = _Origins()

        def make(connections: int, sink: Sink, succeed: Callable[[str], None]) -> Supervisor:
            feed = Feed(
                factory, name, random=random.random, policy=self._policy, succeeds=True, connections=connections
            )
            return Supervisor(feed, rest, sink, self._clock, self._record(name, origins), succeed)

        made = self.supervisors[name.id] = Succession(make, self._taker(name.account, origins))
        return made

    def _client(self, venue: str, hosts: Endpoints) -> RestClient:
        """Return the client of a host: one per host, since limits are counted there."""
        if hosts.rest not in self._rest:
            can = VENUES[venue].capabilities
            limits = Limits(
                weight=can.rest_weight,
                period_s=can.rest_period_s,
                burst=can.rest_burst,
                paths=can.path_limits,
                key_weight=can.key_weight,
                key_period_s=can.key_period_s,
            )
            client = RestClient(hosts.rest, VENUES[venue], self._session, self._clock, limits)
            self._rest[hosts.rest], self._venues[client.host] = client, venue
            self._clock_read[client.host] = asyncio.Event()
        return self._rest[hosts.rest]

    def _taker(self, account: str | None, origins: _Origins | None = None) -> Sink:
        """Return where events go: an account's stream that has just become live is verified at once."""

        gate = self._gates[account] if account is not None else None

        def take(events: Sequence[Event]) -> None:
            for event in events:
                if isinstance(event, FeedStatus) and event.account is not None:
                    if event.id not in self.supervisors:
                        self._polled[event.account] = event
                    elif event.state == "live":
                        self._verify(event.account, event.venue)
                    elif event.state == "down" and (event.error or "").startswith("login refused"):
                        log.error("a login was refused", account=event.account, venue=event.venue, error=event.error)
            passed = events if gate is None else gate.pass_(events)
            self._take([(None, passed)] if gate is None or origins is None else origins.groups(passed))

        return take

    def _verify(self, account: str, venue: str) -> None:
        """Ask for the state of an account whose stream is live, unless that has just asked it all itself, to become live again."""
        asks_itself = not VENUES[venue].capabilities.position_snapshot_on_subscribe
        if not (asks_itself and account in self._begun):
            self.rounds[account].soon()
        self._begun.add(account)

    def _kept(self, name: FeedName) -> Record | None:
        """Return who keeps answers about the past. A recording lacks them: it is of what the engine was told."""
        tape = self._tape
        if tape is None:
            return None
        return lambda via, request, data, at: tape(name, via, request, data, at)

    def _record(self, name: FeedName, origins: _Origins | None = None) -> Record | None:
        recorder, tape = self._recorder, self._tape if name.account is not None else None
        if recorder is None and tape is None:
            return None

        def record(via: str, request: object, data: Data, at: int) -> int | None:
            if recorder is not None:
                recorder.write(name.venue, name.account, msgspec.convert(via, Via), request, data, at)
            kept = tape(name, via, request, data, at) if tape is not None else None
            if origins is not None:
                origins.kept(kept)
            return kept

        return record

    # --- Running --------------------------------------------------------------------------------------------------------

    async def _stream(self, supervisor: Succession) -> None:
        """Run a connection; of one that was refused the last word is why."""
        account = supervisor.feed.name.account
        if account is not None:
            await self._clock_known(account)
        await supervisor.run()
        if account in self.refusals:
            last = msgspec.structs.replace(supervisor.status(), state="down", error=self.refusals[account])
            self._taker(account)([last])

    async def _ask(self, rounds: Rounds) -> None:
        await self._clock_known(rounds.account)
        await rounds.run()

    async def _clock_known(self, account: str) -> None:
        """Return once the venue's clock was asked for, so that the first signature is right already; bounded."""
        client = self._asked_at.get(account)
        if client is None:
            return  # ccxt has a clock of its own
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CLOCK_WAIT_S):
                await self._clock_read[client.host].wait()

    async def _measure_clocks(self) -> None:
        while True:
            await self.measure_clocks()
            await asyncio.sleep(CLOCK_EVERY_S)

    async def measure_clocks(self) -> None:
        """Ask every host for its clock, once."""
        await asyncio.gather(*(self._measure_clock(client) for client in self._rest.values()))

    async def _measure_clock(self, client: RestClient) -> None:
        try:
            offset = await client.measure_clock()
        except VenueError as error:
            log.warning("a venue's clock could not be read", host=client.host, error=str(error))
            return
        finally:
            self._clock_read[client.host].set()
        if offset is None:
            return
        self._offsets[client.host] = offset
        remark = clock_remark(self._venues[client.host], offset)
        if remark:
            accounts = [name for name, rest in self._asked_at.items() if rest is client]
            log.warning(remark, host=client.host, accounts=accounts, ahead_ms=offset)
