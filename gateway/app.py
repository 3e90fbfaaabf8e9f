"""The gateway assembled: the only module that knows every part.

Owns the order in which parts start and stop, what is done between turns, and the errors that end the program. Decides nothing
about figures, venues or clients.
"""

from __future__ import annotations

import asyncio
import gc
import random
import secrets
from collections.abc import Callable, Collection, Coroutine, Iterable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec
import structlog
from prometheus_client.core import GaugeMetricFamily, Metric

from exchanges.actions import FeedName, Policy
from exchanges.clock import Clock, SystemClock
from exchanges.errors import Rejected
from exchanges.events import Event
from exchanges.venue import AccountSpec, Data
from gateway import backfilling
from gateway.alert_desk import AlertDesk
from gateway.config import Channel, Config, alert_rules, public_view, verify_every_s
from gateway.core.accounts import AccountInfo
from gateway.core.backfills import BadWindow
from gateway.core.rows import present
from gateway.core.scenario import Scenario
from gateway.core.scribe import Group
from gateway.engine import Engine
from gateway.feeds import Feeds
from gateway.history_desk import HistoryDesk
from gateway.hub import Hub
from gateway.journalling import Journal
from gateway.metrics import Metrics, counter, gauge, labelled
from gateway.model_desk import ModelDesk
from gateway.notify.notifier import Notifier
from gateway.operator import Operator
from gateway.replay import Recorder
from gateway.rewind import conditions
from gateway.store import Store
from gateway.turns import Turns
from gateway.verifying import Verifier
from gateway.web.auth import check_bind
from gateway.web.server import Server
from gateway.web.state import ServerState
from gateway.whatif import prepare

log = structlog.get_logger("perpwire")

_CLOCK_TURN_S = 1.0
# Between two steps of a base.
_STEP_S = 0.01
# A fill may come a moment before the position that it changed: the stream's own word is waited for so long.
_STREAM_FIRST_MS = 300
# What is being delivered at a stop is waited for so long.
_LAST_NOTICES_S = 0.5


class Gateway:
    """One gateway: construct, ``start``, wait, ``stop``.

    Args:
        config: Everything but secrets.
        specs: The accounts, with their secrets.
        recorder: Sees every raw input.
        policy: How patient the feeds are; None: their own default.
        channels: Where alerts are told, with their secrets.
    """

    def __init__(
        self,
        config: Config,
        specs: Sequence[AccountSpec],
        *,
        clock: Clock | None = None,
        recorder: Recorder | None = None,
        policy: Policy | None = None,
        channels: Sequence[Channel] = (),
    ) -> None:
        check_bind(config.server.host, auth_configured=False)
        self.config, self.specs = config, specs
        self.clock = clock or SystemClock()
        self.store = Store(config.storage, self.clock.wall_ms)
        self.metrics = Metrics()
        self.server = Server()
        self.journal = Journal(self._later)
        self.notifier = Notifier(channels, self.clock, random.random)
        self.feeds: Feeds
        self._recorder, self._policy = recorder, policy
        self._wanted_version = -1
        # Accounts that have to hold what they were given, until it is known for the first time.
        self._to_prove = {name for name, account in config.accounts.items() if account.require_allocation}
        self._tasks: list[asyncio.Task[None]] = []
        self._trying = asyncio.Lock()

    @property
    def url(self) -> str:
        """Where clients are served; after ``start``."""
        host = self.config.server.host
        return f"http://{f'[{host}]' if ':' in host else host}:{self.server.port}"

    def _later(self, work: Callable[[], None]) -> None:
        """Take the next step of a base once others had their turn."""
        asyncio.get_running_loop().call_later(0.0 if self.journal.copying else _STEP_S, work)

    async def start(self) -> None:
        """Bring everything up: storage, what it remembers, the port, then the venues. Returns when clients are served.

        Raises:
            BindRefused | CannotListen | StorageError | VenueError: The operator has to act; nothing is left running.
        """
        try:
            await self._start()
        except BaseException:  # also a cancelled start leaves nothing behind
            await self.stop()
            raise

    async def _start(self) -> None:
        self.feeds = Feeds(
            self.config,
            self.specs,
            self.clock,
            self._take,
            tape=self._keep,
            recorder=self._recorder,
            policy=self._policy,
        )
        epoch, accounts = secrets.token_hex(6), _infos(self.config)
        restored, stored_at = await self.store.start(epoch, accounts)
        self._revive(epoch, accounts, restored, stored_at)
        self._equip(restored, stored_at)
        await self.server.start(self.config.server.host, self.config.server.port, self._state())
        for name, work in self._coroutines():
            self._tasks.append(asyncio.create_task(work, name=name))
        self._after()
        log.info("serving", url=self.url, accounts=len(self.specs), restored=len(self.engine.positions))

    def _revive(
        self, epoch: str, accounts: Sequence[AccountInfo], restored: Sequence[Event], stored_at: int | None
    ) -> None:
        """Make the engine, open its journal, and give it what storage remembers, in this order."""
        checkpoint = self.store.checkpoint
        checkpoint.origin = self.journal.origin
        checkpoint.on_lost = lambda _lost: self.journal.renew(self.clock.now_ms())
        self.engine = Engine(
            epoch,
            accounts,
            self.config.engine,
            self.journal.watched(checkpoint),
            self.config.models.promoted,
            risk=self.config.risk,
            stress=self.config.stress,
            rules=alert_rules(self.config),
        )
        checkpoint.on_durable = self._durable
        now = self.clock.now_ms()
        if self._recorder is not None:
            self._recorder.settings(self.config, now)
        told = conditions(self.config)
        self.journal.open(self.engine, restored, told, accounts, now, stored_at, checkpoint, checkpoint.places)
        self.engine.restore(restored, now, stored_at)

    def _equip(self, restored: Sequence[Event], stored_at: int | None) -> None:
        """Make everything that works on the engine."""
        self.hub = Hub.on(asyncio.get_running_loop(), self.engine.tables, self.config.limits)
        self.turns = Turns(self.engine, self.hub, self.clock, self._after, self.journal)
        self.operator = Operator(self.engine, self.feeds, self.turns.order)
        self.alerts = AlertDesk(self.engine, self.notifier, self.clock, self.turns.order, self.store.stored)
        self.models = ModelDesk(self.engine)
        beginning = backfilling.Start(
            self.config, self.engine.accounts, self.engine.books, self.store, self.clock, restored, stored_at
        )
        self.backfills = backfilling.desk(self.config, self.specs, self.feeds, self.store, self.clock, beginning)
        self.verifier = Verifier(
            [spec.name for spec in self.specs],
            lambda: self.store.reader if self.store.whole else None,
            self.store.checkpoint,
            self._read_books,
            self.clock,
            stored=self.store.stored,
            tell=self.engine.alerts.verified,
        )
        self.metrics.watch(self._figures)
        self.metrics.watch(self.models.figures)

    def _coroutines(self) -> Iterator[tuple[str, Coroutine[Any, Any, None]]]:
        """Yield what has to run, with names."""
        yield "clock turns", self._clock_turns()
        yield from self.feeds.coroutines()
        yield from self.notifier.coroutines()
        yield from self.backfills.coroutines()
        if self.config.history.verify:
            yield from self.verifier.coroutines()
        yield "alerts", self.alerts.deliver()
        yield "checkpoint", self.store.run()

    async def stop(self) -> None:
        """Stop in order, within five seconds: venues, clients, then the last write. Harmless when repeated."""
        if hasattr(self, "feeds"):
            self.feeds.stop()
        feeds = [task for task in self._tasks if task.get_name().startswith("feed ")]
        if feeds:
            await asyncio.wait(feeds, timeout=0.8)
        await self.notifier.settle(_LAST_NOTICES_S)
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=0.3)
        self._tasks.clear()
        await self.notifier.close()
        await self.server.stop()
        try:
            self._end()
        except Exception:  # what was taken is written all the same
            log.exception("the life did not end in good order")
        await self.store.stop()
        if hasattr(self, "feeds"):
            await self.feeds.close()
        if self._recorder is not None:
            self._recorder.close()
            self._recorder = None

    def _end(self) -> None:
        """Take the last turn, and end the journal."""
        try:
            if hasattr(self, "turns"):
                self.turns.settle()
        finally:
            if hasattr(self, "engine"):
                self.journal.close(self.engine, self.clock.now_ms())

    async def run(self, stop: asyncio.Event, started: Callable[[], None]) -> None:
        """Start, call ``started``, serve until ``stop`` is set, stop. Raises what ``start`` raises, or a part's own error."""
        stopping = asyncio.create_task(stop.wait())
        if not await self._started_before(stopping):
            return
        broken = asyncio.create_task(self._failed())
        # What is there by now stays: else each full collection would go through it, and hold the loop up (55 ms).
        gc.collect()
        gc.freeze()
        try:
            started()
            await asyncio.wait((stopping, broken), return_when=asyncio.FIRST_COMPLETED)
            if broken.done():
                raise broken.result()
        finally:
            stopping.cancel()
            broken.cancel()
            await self.stop()

    async def _started_before(self, stopping: asyncio.Task[object]) -> bool:
        """Start; False where it was told to stop first (a database that does not answer holds a start up for seconds)."""
        starting = asyncio.create_task(self.start())
        try:
            await asyncio.wait((starting, stopping), return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                starting.result()
                return True
            return False
        finally:
            if not starting.done():
                starting.cancel()
                await asyncio.wait((starting,))
            if starting.cancelled() or starting.exception() is not None:
                stopping.cancel()

    async def _failed(self) -> BaseException:
        """Return the error of a part that ended by itself, when one does: the gateway cannot go on without it."""
        while True:
            done, _ = await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                self._tasks.remove(task)
                error = task.exception() if not task.cancelled() else None
                if error is not None:
                    return error

    # --- venues ------------------------------------------------------------------------------------------------------

    def _take(self, groups: Sequence[Group]) -> None:
        self.turns.take(groups)

    def _keep(self, name: FeedName, via: str, request: object, data: Data, at: int) -> int | None:
        return self.journal.record(name, via, request, data, at)

    def _after(self) -> None:
        """Do what the engine asks for after a turn: other prices, another look at an account, evidence."""
        engine = self.engine
        self.alerts.tell()
        if engine.market.version != self._wanted_version:
            self._wanted_version = engine.market.version
            self.feeds.want(engine.market.wanted(), engine.market.wanted_currencies())
        errands = engine.errands()
        for account in errands.state:
            self.feeds.rounds[account].soon(_STREAM_FIRST_MS)
        for account in errands.deaf:
            self.feeds.renew(account, "something happened that this stream did not tell of")
        for account, (since, symbols) in errands.history:
            self.feeds.rounds[account].want_history(since, sorted(symbols))
        for name in [name for name in self._to_prove if engine.accounts[name].verified_at is not None]:
            self._to_prove.remove(name)  # one that falls short later goes on being read: that is when it matters
            self._prove(name)

    def _prove(self, name: str) -> None:
        """Refuse an account that does not hold what it was given."""
        short = self.engine.accounts[name].shortfalls()
        if short:
            what = ", ".join(
                f"{given} {ccy} are allocated and {held} are there" for ccy, (given, held) in short.items()
            )
            do = "Transfer the rest, correct `allocated`, or leave out `require_allocation`"
            self.feeds.rounds[name].refuse(
                Rejected(f"account {name} ({self.config.accounts[name].venue})", what, do=do)
            )

    # --- time --------------------------------------------------------------------------------------------------------

    async def _clock_turns(self) -> None:
        while True:
            await asyncio.sleep(_CLOCK_TURN_S)
            self.engine.alerts.storage(*self.store.trouble())
            self.turns.clock(self.feeds.heard())
            if self.feeds.accounts_live():
                self.store.all_live(self.engine.positions, self.engine.accounts)

    async def _read_books(self, account: str, since: int, until: int) -> bool:
        """Read the venue's records of a stretch of time; return whether that got to its end."""
        try:
            return (await self.backfills.read(account, since, until)).state == "done"
        except BadWindow:  # beyond what the venue tells of: what is stored is verified without it
            return True

    def _durable(self, seq: int) -> None:
        self.engine.tables.durable_seq = seq

    # --- what the web layer is given -----------------------------------------------------------------------------------

    def _state(self) -> ServerState:
        return ServerState(
            hub=self.hub,
            version=version("perpwire"),
            accounts=self.engine.accounts.keys,
            ready=self._ready,
            config_view=lambda: public_view(self.config),
            instruments=lambda: [
                present(msgspec.structs.asdict(one)) for one in self.engine.market.instruments.values()
            ],
            verify=self.operator.verify,
            stress=self._stress,
            reconcile=self.operator.reconcile,
            alerts=self.alerts,
            models=self.models,
            history=HistoryDesk(self.engine, lambda: self.store.reader, self.clock.now_ms),
            backfills=self.backfills,
            now_ms=self.clock.now_ms,
            allowed_hosts=self.config.server.allowed_hosts,
            allowed_origins=self.config.server.allowed_origins,
            static=static_folder(),
            metrics=self.metrics,
        )

    async def _stress(self, scenario: Scenario, accounts: Collection[str]) -> dict[str, object]:
        """Answer a scenario beside the loop, so that ticks go on; one at a time, since each takes its share of the interpreter."""
        async with self._trying:
            return await asyncio.to_thread(prepare(self.engine, scenario, accounts, self.clock.now_ms()))

    def _ready(self) -> tuple[bool, dict[str, object]]:
        feeds: dict[str, object] = dict(self.feeds.states())
        # The database is shown beside them and never decides: the gateway serves without it.
        return all(state == "live" for state in feeds.values()), feeds | {"checkpoint": self.store.state}

    def _figures(self) -> Iterable[Metric]:
        for name, value in sorted(self.engine.counters.items()):
            yield counter(f"engine_{name}", f"Engine events: {name.replace('_', ' ')}", value)
        yield counter("engine_turn_failures", "Turns that raised", self.turns.failures)
        yield counter("journal_base_failures", "Bases that could not be put down", self.journal.failures)
        yield gauge("positions", "Open positions", len(self.engine.positions))
        firing = self.engine.alerts.board.firing().items()
        yield labelled(GaugeMetricFamily, "alerts_firing", "Alerts that fire", "severity", sorted(firing))
        yield from self.notifier.figures()
        yield from self.feeds.figures()
        yield from self.store.figures()
        yield from self.verifier.figures()


def static_folder() -> Path:
    """Return the dashboard's folder: inside the installed package, or beside it in a source tree."""
    here = Path(__file__).resolve().parent
    packaged = here / "static"
    return packaged if packaged.is_dir() else here.parent / "static"


def _infos(config: Config) -> list[AccountInfo]:
    return [
        AccountInfo(
            name=name,
            venue=account.venue,
            env=account.env,
            user=account.user,
            region=account.region,
            strategy=account.strategy,
            allocated=account.allocated,
            execution=account.execution,
            verify_every_ms=round(1000 * verify_every_s(config, account.venue)),
        )
        for name, account in config.accounts.items()
    ]
