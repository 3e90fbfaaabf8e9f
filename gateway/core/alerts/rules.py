"""Rules: what is watched, from where on it counts as bad, and for whom. Pure.

Owns the kinds that there are, the rules that hold without any configuration, and how configuration changes them. A threshold is
reached at equality. Every figure is in the unit of its kind.
"""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Collection, Mapping
from typing import Annotated, Literal, NamedTuple, get_args

import msgspec

from exchanges.events import Execution

Severity = Literal["info", "warning", "error", "critical"]
SEVERITIES: tuple[Severity, ...] = get_args(Severity)
Unit = Literal["fraction", "usd", "s", "days", "count", "flag"]
Of = Literal["position", "pool", "account", "feed", "gateway"]

DAY_MS = 86_400_000


class Kind(NamedTuple):
    """What a rule of this kind looks at.

    Attributes:
        of: What it has one alert per.
        below: Small values are the bad ones.
        unit: Of value, thresholds and ``clear``.
        what: The figure in words, for messages.
        unknown_is_worst: A value that could not be determined counts as the worst; else it leaves an alert as it is.
        by_clock: The figure is worked out by the clock alone.
        lasts_ms: It is not over before its time: a venue's warning is not repeated after a restart.
    """

    of: Of
    below: bool
    unit: Unit
    what: str
    unknown_is_worst: bool = False
    by_clock: bool = False
    lasts_ms: int = 0


KINDS: dict[str, Kind] = {
    "liquidation_distance": Kind("position", True, "fraction", "distance to liquidation", True),
    "margin_ratio": Kind("pool", False, "fraction", "margin ratio (100 % is liquidation)"),
    "liquidation_shock": Kind("account", True, "fraction", "move of everything to liquidation", by_clock=True),
    "risk_score": Kind("position", False, "fraction", "risk score", by_clock=True),
    "unrealized_pnl": Kind("position", True, "usd", "unrealised PnL"),
    "unrealized_pnl_share": Kind("account", True, "fraction", "unrealised PnL as a share of equity"),
    "drawdown": Kind("account", False, "fraction", "drawdown from the day's peak, net of transfers"),
    "concentration": Kind("position", False, "fraction", "share of the user's gross notional", by_clock=True),
    "funding_cost": Kind("position", False, "usd", "predicted next funding payment", by_clock=True),
    "funding_rate": Kind("position", False, "fraction", "predicted funding rate to be paid", by_clock=True),
    "adl": Kind("position", False, "count", "place in the queue of auto-deleveraging (5 is first)"),
    "correction": Kind("position", False, "count", "corrections by the venue's answer"),
    "allocation": Kind("account", False, "fraction", "share of the allocation that is missing"),
    "model_residual": Kind("pool", False, "fraction", "residual of the margin model against the venue"),
    "blind": Kind("feed", False, "s", "time without live figures"),
    "key_expiry": Kind("account", True, "days", "days until the key expires"),
    "venue_warning": Kind("position", False, "flag", "the venue warns of a liquidation", lasts_ms=600_000),
    # 1: what the database does not take can be spooled nowhere, and waits in memory; 2: the journal has lost entries.
    "storage": Kind("gateway", False, "count", "trouble with what is stored", by_clock=True),
    "verification": Kind(
        "account", False, "count", "differences from the venue's books that nothing explains", by_clock=True
    ),
}


class Scope(NamedTuple):
    """Whom and what a value is of; None: it is of no single one."""

    account: str | None
    user: str | None
    venue: str
    env: str
    execution: Execution
    symbol: str | None = None


_Some = msgspec.Meta(min_length=1)  # a rule for nobody would be no rule, silently
_Names = Annotated[tuple[str, ...], _Some]


class Select(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """For whom a rule holds; None: for all. ``dust``: positions worth next to nothing count too."""

    accounts: _Names | None = None
    venues: _Names | None = None
    symbols: _Names | None = None
    users: _Names | None = None
    envs: Annotated[tuple[Literal["live", "demo", "testnet"], ...], _Some] | None = None
    executions: Annotated[tuple[Execution, ...], _Some] = ("live",)
    dust: bool = False

    def matches(self, scope: Scope) -> bool:
        """Say whether the rule holds there."""
        return (
            scope.execution in self.executions
            and (self.accounts is None or scope.account in self.accounts)
            and (self.venues is None or scope.venue in self.venues)
            and (self.users is None or scope.user in self.users)
            and (self.envs is None or scope.env in self.envs)
            and (self.symbols is None or scope.symbol is None or scope.symbol in self.symbols)
        )


class Step(NamedTuple):
    """From ``at`` on (in the kind's direction) an alert is of this severity."""

    severity: Severity
    at: float


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """One rule, checked.

    Attributes:
        steps: At least one, from the mildest to the worst.
        clear: How far back behind a threshold the value has to be before the step counts as left.
        for_ms: How long a threshold has to be reached before the alert fires.
        cooldown_ms: Within this time after it was told, it is told again only when it is worse.
        notify: Channels; None: all.
    """

    name: str
    kind: str
    steps: tuple[Step, ...]
    clear: float = 0.0
    for_ms: int = 0
    cooldown_ms: int = 300_000
    select: Select = Select()
    notify: tuple[str, ...] | None = None

    @property
    def spec(self) -> Kind:
        """What it looks at."""
        return KINDS[self.kind]

    def step_at(self, value: float) -> int:
        """Return the worst step that a value reaches, -1: none."""
        if self.spec.below:
            return max((n for n, step in enumerate(self.steps) if value <= step.at), default=-1)
        return max((n for n, step in enumerate(self.steps) if value >= step.at), default=-1)

    def step_kept(self, value: float, step: int) -> int:
        """Return the worst step up to ``step`` that a value has not left by more than ``clear``, -1: none."""
        if self.spec.below:
            return max((n for n in range(step + 1) if value <= self.steps[n].at + self.clear), default=-1)
        return max((n for n in range(step + 1) if value >= self.steps[n].at - self.clear), default=-1)


# The longest wait and cooldown: alerts that were resolved longer ago are not remembered over a restart.
LONGEST_S = 86_400.0


class RuleSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One rule as configuration states it. What is left out stays as in the built-in rule of that name, else as below.

    ``steps``: threshold by severity. ``enabled`` false: the rule is off. ``notify``: names of channels; left out: all of them.
    """

    kind: str | None = None
    enabled: bool = True
    steps: dict[Severity, float] | None = None
    clear: Annotated[float, msgspec.Meta(ge=0)] | None = None
    for_s: Annotated[float, msgspec.Meta(ge=0)] | None = None
    cooldown_s: Annotated[float, msgspec.Meta(ge=0)] | None = None
    select: Select | None = None
    notify: tuple[str, ...] | None = None

    def over(self, base: RuleSettings) -> RuleSettings:
        """Return these settings, and what they leave out as ``base`` has it."""
        stated = {name: value for name, value in msgspec.structs.asdict(self).items() if value is not None}
        return msgspec.structs.replace(base, **stated)


# What holds without any configuration. The steps of `blind` are seconds: a connection that comes back at once is no news.
BUILTIN: dict[str, RuleSettings] = {
    "blind": RuleSettings("blind", steps={"warning": 10.0, "error": 60.0, "critical": 300.0}),
    "liquidation": RuleSettings(
        "liquidation_distance", steps={"warning": 0.2, "error": 0.1, "critical": 0.05}, clear=0.01
    ),
    "margin_ratio": RuleSettings("margin_ratio", steps={"warning": 0.5, "error": 0.7, "critical": 0.85}, clear=0.02),
    "venue_warning": RuleSettings("venue_warning", steps={"critical": 1.0}),
    "correction": RuleSettings("correction", steps={"warning": 1.0}),
    "allocation": RuleSettings("allocation", steps={"warning": 0.0}),
    "model_residual": RuleSettings("model_residual", steps={"warning": 0.0}, for_s=10.0),
    "key_expiry": RuleSettings("key_expiry", steps={"warning": 14.0, "error": 3.0, "critical": 0.0}),
    "storage": RuleSettings("storage", steps={"warning": 1.0, "critical": 2.0}),
    "verification": RuleSettings("verification", steps={"warning": 1.0}),
}


def rules(settings: Mapping[str, RuleSettings], *, builtin: bool = True, channels: Collection[str] = ()) -> list[Rule]:
    """Return the rules that hold: the built-in ones, changed by what configuration says of them, and its own.

    Raises:
        ValueError: A rule cannot be used, though it may be off; the message begins with its name.
    """
    names = dict.fromkeys((*(BUILTIN if builtin else ()), *settings))
    found = {name: _rule(name, settings.get(name, RuleSettings()), channels) for name in names}
    return [rule for name, rule in found.items() if name not in settings or settings[name].enabled]


def _rule(name: str, stated: RuleSettings, channels: Collection[str]) -> Rule:
    base = BUILTIN.get(name, RuleSettings())
    if stated.kind is not None and stated.kind != base.kind:
        base = RuleSettings()  # another kind's thresholds mean something else
    given = stated.over(base)
    kind = given.kind
    if kind is None:
        near = difflib.get_close_matches(name, BUILTIN, n=1, cutoff=0.0)[0]
        raise ValueError(
            f"{name}: `kind` is missing, and no built-in rule has this name; did you mean `{near}`? A rule of your own has one of "
            f"these: {', '.join(KINDS)}"
        )
    if kind not in KINDS:
        near = difflib.get_close_matches(kind, KINDS, n=1, cutoff=0.0)[0]
        raise ValueError(f"{name}: unknown kind `{kind}`; did you mean `{near}`? There are: {', '.join(KINDS)}")
    for channel in given.notify or ():
        if channel not in channels:
            there = ", ".join(channels) or "none"
            raise ValueError(
                f"{name}: notify names the channel `{channel}`, which is not under alerts.channels: {there}"
            )
    waits = {"for_s": given.for_s or 0.0, "cooldown_s": 300.0 if given.cooldown_s is None else given.cooldown_s}
    for key, value in waits.items():
        if value > LONGEST_S:
            raise ValueError(f"{name}: {key} is {value:g}; it must be {LONGEST_S:g} (a day) at most")
    rule = Rule(
        name=name,
        kind=kind,
        steps=_steps(name, kind, given.steps),
        clear=given.clear or 0.0,
        for_ms=round(1000 * waits["for_s"]),
        cooldown_ms=round(1000 * waits["cooldown_s"]),
        select=given.select or Select(),
        notify=given.notify,
    )
    if rule.select.symbols is not None and rule.spec.of in ("account", "pool", "gateway"):
        raise ValueError(f"{name}: select.symbols does not fit: `{kind}` is of a whole {rule.spec.of}. Select accounts")
    return rule


def _steps(name: str, kind: str, stated: Mapping[Severity, float] | None) -> tuple[Step, ...]:
    if not stated:
        raise ValueError(f"{name}: `steps` is missing: name at least one threshold, such as `steps: {{warning: 0.2}}`")
    steps = tuple(Step(severity, stated[severity]) for severity in SEVERITIES if severity in stated)
    below = KINDS[kind].below
    for mild, bad in itertools.pairwise(steps):
        if not (bad.at < mild.at if below else bad.at > mild.at):
            order = "smaller" if below else "larger"
            raise ValueError(f"{name}: steps.{bad.severity} must be {order} than steps.{mild.severity} ({mild.at:g})")
    return steps
