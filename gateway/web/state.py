"""What the web layer is given: everything it needs to know of the gateway, and nothing more."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import msgspec

from gateway.core.access import Principal
from gateway.core.accounts import AccountInfo
from gateway.core.alerts.records import Silence
from gateway.core.lookup import Asked, Page, Span
from gateway.core.protocol import Limits
from gateway.core.scenario import Scenario
from gateway.core.tables import Tables
from gateway.hub import Hub
from gateway.metrics import Metrics, serving
from gateway.web.auth import local_principal


class Verification(NamedTuple):
    """When each account's venue was last asked (ms), and why it could not be asked now, for those where it failed."""

    verified_at: dict[str, int]
    failed: dict[str, str]


class ReconcileRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``accounts`` None: all. ``reason``: the operator's words, kept as evidence of what was forced."""

    mode: Literal["dry-run", "apply", "force"]
    accounts: tuple[str, ...] | None = None
    reason: str | None = None


class SilenceRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which alerts are to be quiet, None: all, and until when: ``until`` (ms), or ``for_s`` from now."""

    rules: tuple[str, ...] | None = None
    accounts: tuple[str, ...] | None = None
    venues: tuple[str, ...] | None = None
    symbols: tuple[str, ...] | None = None
    until: int | None = None
    for_s: float | None = None
    reason: str = ""


class BackfillRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"since": "from", "until": "to"}):
    """Which stretch of an account's past is to be read from its venue: UTC, ms; the end is not in it."""

    account: str
    since: int
    until: int


class BackfillDesk(Protocol):
    """What people ask of readings of the past."""

    def want(self, account: str, since: int, until: int) -> Any:
        """Begin a reading and return how it stands. Raises KeyError, BadWindow."""

    def statuses(self) -> Iterator[Any]:
        """Yield how all readings of this life stand."""


class NoBackfills:
    """The desk of a server without venues."""

    def want(self, account: str, since: int, until: int) -> Any:
        raise KeyError(account)

    def statuses(self) -> Iterator[Any]:
        return iter(())


class AlertTestRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The rule whose channels are to be tested."""

    rule: str


class AlertDesk(Protocol):
    """What people do with alerts."""

    def rules(self) -> Collection[str]:
        """Return the names of the rules that hold."""

    def venues(self) -> Collection[str]:
        """Return the venues that accounts are at."""

    async def acknowledge(self, alert: str) -> None:
        """Take note of a firing alert. Raises KeyError."""

    def silences(self) -> list[Silence]:
        """Return the silences that are not over."""

    async def silence(self, asked: SilenceRequest, until: int, by: str) -> Silence:
        """Keep alerts quiet."""

    async def unsilence(self, silence: str) -> Silence:
        """End a silence. Raises KeyError."""

    async def test(self, rule: str) -> Mapping[str, Mapping[str, object]]:
        """Send a test of a rule and return what each channel said."""


class NoAlerts:
    """The desk of a server without alerts."""

    def rules(self) -> Collection[str]:
        return ()

    def venues(self) -> Collection[str]:
        return ()

    async def acknowledge(self, alert: str) -> None:
        raise KeyError(alert)

    def silences(self) -> list[Silence]:
        return []

    async def silence(self, asked: SilenceRequest, until: int, by: str) -> Silence:
        raise KeyError(by)

    async def unsilence(self, silence: str) -> Silence:
        raise KeyError(silence)

    async def test(self, rule: str) -> Mapping[str, Mapping[str, object]]:
        return {}


class ModelDesk(Protocol):
    """What people ask of margin models. Ids are those of rows that are there."""

    def models(self) -> dict[str, object]:
        """Return every model with its residuals, and PnL accuracy by venue."""

    def explain_position(self, position: str) -> dict[str, object]:
        """Return how a position's figures came about."""

    def explain_account(self, account: str) -> dict[str, object]:
        """Return how an account's figures came about."""

    def pairs(self) -> list[Any]:
        """Return what models read and what the venues said of the same moment."""


class NoModels:
    """The desk of a server without an engine."""

    def models(self) -> dict[str, object]:
        return {"models": [], "venues": []}

    def explain_position(self, position: str) -> dict[str, object]:
        return {}

    def explain_account(self, account: str) -> dict[str, object]:
        return {}

    def pairs(self) -> list[Any]:
        return []


class HistoryDesk(Protocol):
    """What people ask of the past. Every answer but ``infos`` may be refused with ``storage_unreachable``."""

    def infos(self) -> Mapping[str, AccountInfo]:
        """Return what configuration says of each account."""

    async def page(self, asked: Asked) -> Page:
        """Return a page of records, the newest first."""

    def chunks(self, asked: Asked) -> AsyncIterator[list[str]]:
        """Yield all records as JSON, the oldest first, some at a time; nothing is held in between."""

    async def pnl(
        self, span: Span, accounts: Collection[str] | None, symbols: Collection[str] | None, by: Collection[str]
    ) -> list[dict[str, object]]:
        """Return what was realised, by bucket, ``by`` and currency."""

    async def equity(
        self, span: Span, accounts: Collection[str] | None, by: Collection[str]
    ) -> list[dict[str, object]]:
        """Return what accounts were worth, gross and net of transfers, by bucket and ``by``."""

    async def positions_at(self, accounts: Collection[str], at: int) -> dict[str, dict[str, object]]:
        """Return positions as they stood at a moment, by id."""

    async def timeline(self, account: str, position: str, asked: Asked) -> Page | None:
        """Return what changed a position, the newest first; None where it never was."""

    async def entry(self, place: int) -> dict[str, Any] | None:
        """Return an entry of the journal; None where none is kept of that place."""


class NoHistory:
    """The desk of a server without a database: nothing was."""

    def infos(self) -> Mapping[str, AccountInfo]:
        return {}

    async def page(self, asked: Asked) -> Page:
        return Page([])

    async def chunks(self, asked: Asked) -> AsyncIterator[list[str]]:
        for chunk in list[list[str]]():
            yield chunk

    async def pnl(
        self, span: Span, accounts: Collection[str] | None, symbols: Collection[str] | None, by: Collection[str]
    ) -> list[dict[str, object]]:
        return []

    async def equity(
        self, span: Span, accounts: Collection[str] | None, by: Collection[str]
    ) -> list[dict[str, object]]:
        return []

    async def positions_at(self, accounts: Collection[str], at: int) -> dict[str, dict[str, object]]:
        return {}

    async def timeline(self, account: str, position: str, asked: Asked) -> Page | None:
        return None

    async def entry(self, place: int) -> dict[str, Any] | None:
        return None


def _wall_clock_ms() -> int:
    return time.time_ns() // 1_000_000


async def _no_venues(accounts: Collection[str], max_age_ms: int, venues: Collection[str] | None) -> Verification:
    return Verification({}, dict.fromkeys(accounts, "there is no venue to ask"))


async def _nothing_held(scenario: Scenario, accounts: Collection[str]) -> dict[str, object]:
    return {}


async def _nothing(asked: ReconcileRequest) -> dict[str, object]:
    return {}


@dataclass(kw_only=True)
class ServerState:
    """Shared by all handlers of one server.

    Attributes:
        hub: Its tables and limits are the server's.
        version: Of Perpwire, for the hello and the API description.
        accounts: Returns the names of all configured accounts.
        ready: Returns whether every required feed is live, and each feed's state for humans.
        config_view: Returns the running configuration without secrets.
        instruments: Returns the contract table.
        verify: Asks the venues (all, or those named) of accounts where they were asked longer ago than so many milliseconds.
        stress: Returns what a scenario would do to these accounts. Raises Refusal where it cannot be computed.
        reconcile: Compares the store with the venues, and corrects it where asked to; per account for humans.
        alerts: What people do with alerts.
        models: What people ask of margin models.
        history: What people ask of the past.
        backfills: What people ask of readings of the past.
        now_ms: Wall clock.
        principal: Returns for whom a request is made, from its headers (names in lower case); None: not known, 401.
        allowed_hosts, allowed_origins: Further names than loopback's, and further whole origins.
        static: The dashboard's directory, served at ``/``.
    """

    hub: Hub
    version: str
    accounts: Callable[[], Collection[str]]
    ready: Callable[[], tuple[bool, dict[str, object]]] = lambda: (True, {})
    config_view: Callable[[], dict[str, object]] = dict
    instruments: Callable[[], list[dict[str, object]]] = list
    verify: Callable[[Collection[str], int, Collection[str] | None], Awaitable[Verification]] = _no_venues
    stress: Callable[[Scenario, Collection[str]], Awaitable[dict[str, object]]] = _nothing_held
    reconcile: Callable[[ReconcileRequest], Awaitable[dict[str, object]]] = _nothing
    alerts: AlertDesk = field(default_factory=NoAlerts)
    models: ModelDesk = field(default_factory=NoModels)
    history: HistoryDesk = field(default_factory=NoHistory)
    backfills: BackfillDesk = field(default_factory=NoBackfills)
    now_ms: Callable[[], int] = _wall_clock_ms
    principal: Callable[[Mapping[str, str]], Principal | None] = local_principal
    allowed_hosts: Collection[str] = ()
    allowed_origins: Collection[str] = ()
    static: Path | None = None
    metrics: Metrics = field(default_factory=Metrics)

    def __post_init__(self) -> None:
        self.metrics.watch(serving(self.hub))

    @property
    def tables(self) -> Tables:
        """What is served."""
        return self.hub.tables

    @property
    def limits(self) -> Limits:
        """What one client may use."""
        return self.hub.limits

    @property
    def server_name(self) -> str:
        """Name and version."""
        return f"perpwire/{self.version}"
