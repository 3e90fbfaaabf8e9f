"""What alerts put on record: where each stands, silences, and equity by the minute. Records travel like events. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from exchanges.events import Event
from gateway.core.alerts.machine import State, Status
from gateway.core.alerts.rules import Rule, Scope, Severity


class Notice(NamedTuple):
    """What is to be told.

    Attributes:
        key: The same for every attempt, and after a crash: receivers know a repeated one by it.
        state: firing, resolved, or test.
        channels: Names; None: all.
        row: The alert as its table shows it.
    """

    key: str
    state: str
    severity: Severity
    message: str
    at: int
    row: Mapping[str, object]
    channels: tuple[str, ...] | None = None


class AlertRecord(Event, frozen=True, kw_only=True):
    """One alert as it stood when its status last changed; a restart goes on from it.

    Attributes:
        id: The rule's name, ":", and the subject.
        position: The row that it is of, where it is of one. ``name``: the subject as people say it.
        told_severity: The severity of ``status.told_step``: a rule's steps may change between two starts. The same for
            ``acknowledged_severity``.
        value: None: could not be determined, or there is none.
        held, silenced_until: As the table shows them.
        owed: What was not delivered yet, each to the channels that it names: a restart sends it again, under the same key.
    """

    id: str
    rule: str
    subject: str
    account: str | None = None
    venue: str
    env: str
    symbol: str | None = None
    position: str | None = None
    name: str
    state: State
    severity: Severity
    told_severity: Severity | None = None
    acknowledged_severity: Severity | None = None
    value: float | None = None
    threshold: float | None = None
    message: str = ""
    note: str = ""
    held: str | None = None
    silenced_until: int | None = None
    status: Status
    at: int
    owed: tuple[Notice, ...] = ()

    def status_under(self, rule: Rule) -> Status:
        """Return its status in terms of a rule's present steps."""
        status = self.status
        return Status(
            state=status.state,
            step=_step_of(rule, self.severity) if status.active else -1,
            since=status.since,
            unknown_since=status.unknown_since,
            untold=status.untold,
            told_at=status.told_at,
            told_step=_step_of(rule, self.told_severity),
            known=status.known,
            acknowledged_at=status.acknowledged_at,
            acknowledged_step=_step_of(rule, self.acknowledged_severity),
        )


def severity_of(rule: Rule, step: int) -> Severity | None:
    """Return the severity of a step, None of none."""
    return rule.steps[step].severity if step >= 0 else None


def _step_of(rule: Rule, severity: Severity | None) -> int:
    """Return the step of a severity; where the rule has it no more, the mildest one that it has."""
    if severity is None:
        return -1
    return next((n for n, step in enumerate(rule.steps) if step.severity == severity), 0)


class Silence(Event, frozen=True, kw_only=True):
    """Alerts that match are not told until ``until``; None matches everything. They go on being shown."""

    id: str
    at: int
    until: int
    by: str
    reason: str = ""
    rules: tuple[str, ...] | None = None
    accounts: tuple[str, ...] | None = None
    venues: tuple[str, ...] | None = None
    symbols: tuple[str, ...] | None = None

    @property
    def account(self) -> str | None:
        """It is of no single account."""
        return None

    def matches(self, rule: str, scope: Scope, now: int) -> bool:
        """Say whether an alert is silent now."""
        return (
            self.at <= now < self.until
            and (self.rules is None or rule in self.rules)
            and (self.accounts is None or scope.account in self.accounts)
            and (self.venues is None or scope.venue in self.venues)
            and (self.symbols is None or scope.symbol in self.symbols)
        )


class EquitySample(Event, frozen=True, kw_only=True):
    """What an account was worth in one minute (US dollars and by currency), by live figures.

    Attributes:
        at: When the minute's last figure was taken; ``high_usd``, ``high_at``: its highest, and of when the balances in it are.
        equity: By currency, unrealised PnL in it. ``unrealized``: that part; ``usd``: US dollars per unit, where they are known.
    """

    account: str
    at: int
    equity_usd: float
    high_usd: float
    high_at: int
    equity: Mapping[str, float]
    unrealized: Mapping[str, float] = {}
    usd: Mapping[str, float] = {}

    @property
    def id(self) -> str:
        """One a minute."""
        return f"{self.account}:{self.at // 60_000 * 60_000}"
