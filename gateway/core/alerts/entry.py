"""One alert as it is kept and shown: whom it is of, where it stands, and what is said of it. Pure."""

from __future__ import annotations

import math
from typing import NamedTuple

from gateway.core.alerts.machine import HARMLESS, Status
from gateway.core.alerts.records import AlertRecord, Notice, severity_of
from gateway.core.alerts.rules import Kind, Rule, Scope, Severity
from gateway.core.rows import Row, present
from gateway.core.tables import RowKey

_NOT_LIVE = {
    "restored": "nobody has confirmed what was stored",
    "private_feed": "the account's stream is down",
    "mark_feed": "marks are not live",
    "fill_pending": "a fill is not in the position yet",
    "venue_unreachable": "the venue cannot be asked",
}


class Subject(NamedTuple):
    """What an alert is of.

    Attributes:
        id: Unique under a rule: a position's id, an account, ``account:pool``, ``venue@env`` or ``venue@env:symbol``.
        name: As people say it.
        position: The row, where it is of one.
    """

    id: str
    scope: Scope
    name: str
    position: str | None = None


class Entry:
    """An alert that is not simply ok.

    Attributes:
        severity: The present one, the last one where it is resolved.
        threshold: The step's.
        held: Why figures are not live, where that keeps it as it is.
        owed: What was told and not delivered yet, by its key, with the channels that it has to reach.
        shown: What its row was made of when it was last shown.
    """

    __slots__ = (
        "held",
        "note",
        "owed",
        "rule",
        "severity",
        "shown",
        "silenced_until",
        "status",
        "subject",
        "threshold",
        "value",
    )

    def __init__(self, rule: Rule, subject: Subject, status: Status) -> None:
        self.rule, self.subject, self.status = rule, subject, status
        self.value = math.nan
        self.note = ""
        self.held: str | None = None
        self.silenced_until: int | None = None
        self.severity: Severity = rule.steps[0].severity
        self.threshold = rule.steps[0].at
        self.owed: dict[str, Notice] = {}
        self.shown: object = None
        self.place(status)

    @property
    def id(self) -> str:
        """The row's id."""
        return f"{self.rule.name}:{self.subject.id}"

    @property
    def key(self) -> RowKey:
        """Whom the row belongs to."""
        scope = self.subject.scope
        return RowKey(scope.account, scope.user, scope.venue, scope.symbol)

    def place(self, status: Status) -> None:
        """Take a newer status."""
        self.status = status
        if status.active:
            self.severity, self.threshold = self.rule.steps[status.step]

    def looks(self) -> tuple[object, ...]:
        """Return what its row is made of."""
        return self.status, self.subject, self.severity, _shown(self.value), self.note, self.held, self.silenced_until

    def row(self) -> Row:
        """Return the row of the alerts table."""
        status, scope = self.status, self.subject.scope
        return present(
            {
                "rule": self.rule.name,
                "kind": self.rule.kind,
                "subject": self.subject.id,
                "user": scope.user,
                "account": scope.account,
                "venue": scope.venue,
                "env": scope.env,
                "symbol": scope.symbol,
                "position": self.subject.position,
                "state": status.state,
                "severity": self.severity,
                "value": _shown(self.value),
                "unknown": True if status.unknown_since is not None else None,
                "threshold": self.threshold,
                "since": status.since,
                "message": words(self),
                "acknowledged": status.acknowledged_at is not None,
                "acknowledged_at": status.acknowledged_at,
                "silenced_until": self.silenced_until,
                "held": self.held,
            }
        )

    def record(self, now: int) -> AlertRecord:
        """Return what is stored of it."""
        status, scope = self.status, self.subject.scope
        return AlertRecord(
            id=self.id,
            rule=self.rule.name,
            subject=self.subject.id,
            account=scope.account,
            venue=scope.venue,
            env=scope.env,
            symbol=scope.symbol,
            position=self.subject.position,
            name=self.subject.name,
            state=status.state,
            severity=self.severity,
            told_severity=severity_of(self.rule, status.told_step),
            acknowledged_severity=severity_of(self.rule, status.acknowledged_step),
            value=self.value if abs(self.value) < HARMLESS else None,
            threshold=self.threshold,
            message=words(self),
            note=self.note,
            held=self.held,
            silenced_until=self.silenced_until,
            status=status,
            at=now,
            owed=tuple(self.owed.values()),
        )


def _shown(value: float) -> float | None:
    """Return a value to six significant digits; None: unknown, or there is none."""
    return float(f"{value:.6g}") if abs(value) < HARMLESS else None


def words(entry: Entry) -> str:
    """Return an alert in one sentence."""
    rule, status = entry.rule, entry.status
    spec = rule.spec
    if status.state == "resolved":
        back = "" if _shown(entry.value) is None or spec.unit == "flag" else f" ({figure(spec, entry.value)})"
        return f"{entry.subject.name}: over: {spec.what}{back}"
    said = [f"{entry.subject.name}: {_what(spec, entry)}"]
    if entry.note and entry.note not in _NOT_LIVE:
        said.append(entry.note)
    if entry.held is not None:
        said.append(f"held as it was: {_NOT_LIVE.get(entry.held, entry.held)}")
    return "; ".join(said)


def _what(spec: Kind, entry: Entry) -> str:
    if entry.status.unknown_since is not None:
        worst = ", which counts as the worst" if spec.unknown_is_worst else ""
        return f"{spec.what} could not be determined{worst}"
    if spec.unit == "flag":
        return spec.what
    why = f" ({_NOT_LIVE[entry.note]})" if entry.note in _NOT_LIVE else ""
    nothing = "none is left" if spec.of == "pool" or entry.value < 0 else "unknown"
    found = nothing if _shown(entry.value) is None else figure(spec, entry.value)
    return f"{spec.what}{why}: {found} ({entry.severity} from {figure(spec, entry.threshold)})"


def figure(spec: Kind, value: float) -> str:
    """Return a value with its unit."""
    match spec.unit:
        case "fraction":
            return f"{100 * value:.4g} %"
        case "usd":
            return f"{value:,.2f} USD"
        case "s":
            return f"{value:.0f} s"
        case "days":
            return f"{value:.1f} days"
    return f"{value:g}"
