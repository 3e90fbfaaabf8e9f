"""``perpwire check``: what a configuration really reaches, found by the real connections and an engine in memory.

Owns how long to look, and where else a refused key belongs. Serves nobody, stores nothing. ``gateway.reporting`` puts the findings
into words.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import aiohttp
import msgspec

from exchanges import VENUES
from exchanges.clock import Clock, SystemClock
from exchanges.errors import AuthFailed, KeyTooPowerful, VenueError
from exchanges.events import CoinBalance
from exchanges.inquiry import Inquirer
from exchanges.ports import connect
from exchanges.rest import RestClient
from exchanges.venue import AccountSpec, ConnectionCount, Endpoints
from gateway.config import Config, account_specs, endpoints, verify_every_s
from gateway.core.accounts import AccountInfo
from gateway.core.anchor import computable
from gateway.core.positions import Book
from gateway.core.rows import missing, speaks
from gateway.core.state import Position
from gateway.engine import Engine
from gateway.feeds import Feeds, Group, private_links
from gateway.loading import ConfigError
from gateway.rounds import refusal

_FIGURES_S = 5.0  # how long figures may still be completed (marks, tiers) once every account is read
_STOP_S = 1.0
_PROBE_S = 10.0

Row = Mapping[str, object]
Env = Literal["live", "demo", "testnet"]


class Holding(msgspec.Struct, frozen=True, kw_only=True):
    """One position: its row as clients would see it, and why its liquidation price is what it is."""

    row: Row
    why: str


class Connection(msgspec.Struct, frozen=True, kw_only=True):
    """One stream, or the questions in its place."""

    id: str
    state: str
    error: str | None
    refused: tuple[str, ...]
    in_use: tuple[ConnectionCount, ...]


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one account.

    Attributes:
        refused: Why it cannot be read, where only the operator can help.
        belongs_to: Other (env, region) that accept its key.
        failed: Why it could not be read this time.
        hosts: None where the configuration names no possible ones.
        clock_offset_ms: How far the venue's clock is ahead of ours.
        row: As in the table ``accounts``.
        unaudited: Why the venue could not be asked what the key may do.
    """

    spec: AccountSpec
    hosts: Endpoints | None = None
    refused: str | None = None
    belongs_to: tuple[tuple[str, str | None], ...] = ()
    failed: str | None = None
    clock_offset_ms: int | None = None
    row: Row = {}
    holdings: tuple[Holding, ...] = ()
    orders: int = 0
    coins: tuple[CoinBalance, ...] = ()
    connections: tuple[Connection, ...] = ()
    unaudited: str | None = None

    @property
    def readable(self) -> bool:
        """Say whether the account can be read."""
        return self.refused is None and self.failed is None


async def inspect(config: Config, accounts: Sequence[str], seconds: float, clock: Clock | None = None) -> list[Found]:
    """Look at accounts until each is live and verified or refused, ``seconds`` at most.

    Raises:
        ConfigError: An account is not configured.
    """
    clock = clock or SystemClock()
    found: dict[str, Found] = {}
    specs: list[AccountSpec] = []
    for name in accounts or config.accounts:
        spec = _unkeyed(config, name)
        try:
            spec = _complete(config, name)
        except (ConfigError, VenueError) as error:
            why = refusal(name, spec.venue, error) if isinstance(error, VenueError) else str(error)
            found[name] = Found(spec=spec, refused=why)
        else:
            specs.append(spec)
    if specs:
        look = _Look(config, specs, clock)
        found |= {one.spec.name: one for one in await look.run(seconds)}
    return [found[name] for name in accounts or config.accounts]


def _unkeyed(config: Config, name: str) -> AccountSpec:
    account = config.accounts.get(name)
    if account is None:
        raise ConfigError(f"there is no account `{name}`. Configured: {', '.join(config.accounts)}")
    return AccountSpec(name=name, venue=account.venue, env=account.env, region=account.region, address=account.address)


def _complete(config: Config, name: str) -> AccountSpec:
    """Return an account with its secrets, if connections can be made of it at all. Raises ConfigError or VenueError."""
    (spec,) = account_specs(msgspec.structs.replace(config, accounts={name: config.accounts[name]}))
    hosts = endpoints(config, spec.venue, spec.env, spec.region)
    if spec.venue in VENUES:
        private_links(spec, hosts)
    else:
        connect(spec, hosts)
    return spec


class _Look:
    """One run over the accounts whose configuration is complete."""

    def __init__(self, config: Config, specs: Sequence[AccountSpec], clock: Clock) -> None:
        self._config, self._specs, self._clock = config, specs, clock
        self._news = asyncio.Event()
        self._wanted_version = -1
        infos = (_info(config, spec) for spec in specs)
        self._engine = Engine("check", infos, config.engine, promoted=config.models.promoted)
        self._feeds = Feeds(config, specs, clock, self._take)

    async def run(self, seconds: float) -> list[Found]:
        """Look, and return what was found."""
        tasks = [asyncio.create_task(work, name=name) for name, work in self._feeds.coroutines()]
        looking = (asyncio.create_task(self._complete()), asyncio.create_task(_failed(tasks)))
        try:
            await asyncio.wait(looking, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                if task.done():
                    task.result()  # a defect: nothing that was found could be trusted
            found = self._found()
        finally:
            self._feeds.stop()
            streams = [task for task in tasks if task.get_name().startswith("feed ")]
            if streams:  # whatever else runs ends with its cancellation alone
                await asyncio.wait(streams, timeout=_STOP_S)
            for task in (*looking, *tasks):
                task.cancel()
            await asyncio.wait((*looking, *tasks))
            await self._feeds.close()
        return [await self._placed(one) for one in found]

    # --- Looking -------------------------------------------------------------------------------------------------------

    def _take(self, groups: Sequence[Group]) -> None:
        engine = self._engine
        engine.turn([event for _, events in groups for event in events], self._clock.now_ms())
        engine.wants_history.clear()  # what happened before is not asked: nothing is recorded here
        if engine.market.version != self._wanted_version:
            self._wanted_version = engine.market.version
            self._feeds.want(engine.market.wanted(), engine.market.wanted_currencies())
        while engine.wants_state:
            self._feeds.rounds[engine.wants_state.pop()].soon()
        self._news.set()

    async def _complete(self) -> None:
        """Return when every account is read or refused, and figures are complete or will not be."""
        while not all(self._settled(spec.name) for spec in self._specs):
            await self._hear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_FIGURES_S):
                while not self._figured():
                    await self._hear()

    async def _hear(self) -> None:
        self._news.clear()
        await self._news.wait()

    def _settled(self, name: str) -> bool:
        return self._feeds.rounds[name].refused is not None or self._trouble(name) is None

    def _trouble(self, name: str) -> str | None:
        """Return why an account is not read, None where it is: its streams are live and its state was asked."""
        streams = [one for one in self._engine.feeds.items() if one[1].account == name]
        down = [
            f"{id_} is {feed.state}: {feed.error or 'no answer yet'}" for id_, feed in streams if feed.state != "live"
        ]
        failed = self._feeds.rounds[name].failed
        if failed is not None:
            return str(failed)
        if down or not streams:
            return "; ".join(down) or "nothing was heard of it"
        return None if self._engine.accounts[name].verified_at is not None else "its state was not answered in time"

    def _figured(self) -> bool:
        book, held = self._engine.book, self._engine.positions.values()
        return not any(missing(one, book.figures(one.handle)) for one in held if computable(one.state, one.instrument))

    # --- What was found --------------------------------------------------------------------------------------------------

    def _found(self) -> list[Found]:
        self._engine.clock(self._clock.now_ms(), self._feeds.heard())
        return [self._of(spec) for spec in self._specs]

    def _of(self, spec: AccountSpec) -> Found:
        rounds, account = self._feeds.rounds[spec.name], self._engine.accounts[spec.name]
        refused = self._feeds.refusals.get(spec.name)
        return Found(
            spec=spec,
            hosts=endpoints(self._config, spec.venue, spec.env, spec.region),
            refused=refused,
            failed=self._trouble(spec.name) if refused is None else None,
            clock_offset_ms=self._feeds.clock_offset_ms(spec.name),
            row=self._row("accounts", spec.name),
            holdings=tuple(
                Holding(row=row, why=why(self._engine.positions[id_], row, self._engine.book))
                for id_ in sorted(account.positions)
                for row in (self._row("positions", id_),)
            ),
            orders=sum(1 for _ in self._orders(spec.name)),
            coins=tuple(account.all_coins()),
            connections=tuple(self._connections(spec)),
            unaudited=str(rounds.unaudited) if rounds.unaudited else None,
        )

    def _row(self, table: str, row_id: str) -> Row:
        found = self._engine.tables[table].get(row_id)
        return found.row if found is not None else {}

    def _orders(self, account: str) -> Iterator[str]:
        for row_id in self._engine.tables["orders"].ids():
            if self._row("orders", row_id).get("account") == account:
                yield row_id

    def _connections(self, spec: AccountSpec) -> Iterator[Connection]:
        """Yield the account's own connections, then those of its venue's prices."""
        mine = [(id_, feed) for id_, feed in self._engine.feeds.items() if feed.account == spec.name]
        prices = [
            (id_, feed)
            for id_, feed in self._engine.feeds.items()
            if feed.account is None and (feed.venue, feed.env) == (spec.venue, spec.env)
        ]
        for id_, feed in (*mine, *prices):
            stream = self._feeds.supervisors.get(id_)
            yield Connection(
                id=id_,
                state="polled" if feed.polled and feed.state == "live" else feed.state,
                error=feed.error,
                refused=stream.feed.refused if stream else (),
                in_use=stream.feed.in_use if stream else (),
            )

    # --- Where a refused key belongs ---------------------------------------------------------------------------------------

    async def _placed(self, one: Found) -> Found:
        error = self._feeds.rounds[one.spec.name].refused
        if not _may_belong_elsewhere(self._config, one.spec, error):
            return one
        return msgspec.structs.replace(one, belongs_to=await _sites(one.spec, self._clock))


def why(position: Position, row: Row, book: Book) -> str:
    """Say why a position's liquidation price is the model's, the venue's, or not known."""
    model, source = position.maintenance.model, row.get("liquidation_source")
    if source in ("model", "calibrated"):
        venue = position.state.venue_liquidation_price
        return f"{model}; the venue says {venue}" if venue else f"{model}"
    if source == "none" and book.heard(position.handle):
        return f"{model}: no price above zero liquidates it"
    said = {"none": "the venue says that there is none; ", "unknown": "the venue states none; "}.get(str(source), "")
    return said + (_no_model(position) if model is None else _silent(position, model, row))


def _no_model(position: Position) -> str:
    state, account = position.state, position.account
    if not account.computable:
        return f"accounts in {account.mode.mode if account.mode else 'this mode'} are not computed here"
    if not computable(state, position.instrument):
        return f"a position of kind {state.kind} is not computed here"
    return f"no model for a {state.margin_mode or ''} position that shares pool {position.pool.name}"


def _silent(position: Position, model: str, row: Row) -> str:
    """Say why a model that there is does not speak."""
    if not position.trusted:
        return f"{model} was not measured, and `models.promoted` does not name it"
    if not speaks(position):
        return f"{model} is too far from the venue's price"
    lacks = row.get("missing")
    reasons = ", ".join(map(str, lacks)) if isinstance(lacks, list) else "the pool's equity"
    return f"{model} needs what is not known: {reasons}"


async def _failed(tasks: Sequence[asyncio.Task[None]]) -> None:
    """Return when one of them fails; that a refused account's tasks end is no failure."""
    waiting = set(tasks)
    while waiting:
        done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        if any(not task.cancelled() and task.exception() for task in done):
            return


def _info(config: Config, spec: AccountSpec) -> AccountInfo:
    return AccountInfo(
        name=spec.name,
        venue=spec.venue,
        env=spec.env,
        region=spec.region,
        allocated=config.accounts[spec.name].allocated,
        verify_every_ms=round(1000 * verify_every_s(config, spec.venue)),
    )


def _may_belong_elsewhere(config: Config, spec: AccountSpec, error: VenueError | None) -> bool:
    """Say whether the venue's other sites may be asked: it refused the key, and its own hosts are the ones in use."""
    if not isinstance(error, AuthFailed) or isinstance(error, KeyTooPowerful) or error.code is None:
        return False
    hosts = config.venues.get(spec.venue)
    overridden = hosts is not None and any((hosts.rest, hosts.ws_public, hosts.ws_private))
    return spec.credentials is not None and spec.venue in VENUES and not overridden


async def _sites(spec: AccountSpec, clock: Clock) -> tuple[tuple[str, str | None], ...]:
    """Return the other sites of the venue that accept a key, each asked once."""
    venue = VENUES[spec.venue]
    own = (spec.env, venue.endpoints(spec.env, spec.region))
    others = [site for site in venue.sites() if (site[0], venue.endpoints(*site)) != own]
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
        answers = await asyncio.gather(*(_accepts(spec, *site, session, clock) for site in others))
    return tuple(site for site, accepted in zip(others, answers, strict=True) if accepted)


async def _accepts(
    spec: AccountSpec, env: str, region: str | None, session: aiohttp.ClientSession, clock: Clock
) -> bool:
    venue = VENUES[spec.venue]
    there = msgspec.structs.replace(spec, env=msgspec.convert(env, Env), region=region)
    hosts = venue.endpoints(env, region)
    client = RestClient(hosts.rest, venue, session, clock)
    try:
        async with asyncio.timeout(_PROBE_S):
            await client.measure_clock()
            link = next(iter(private_links(there, hosts).values()))()
            await Inquirer(link, client.for_key(spec.name), clock, random.random).audit()
    except (VenueError, TimeoutError):
        return False
    return True
