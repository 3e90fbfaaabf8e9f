"""One alert's way: ok → pending → firing → resolved. Pure: a status and a reading in, the next status and what is to be told out.

- A threshold that is reached for ``for_ms`` fires. A value back behind it by more than ``clear`` resolves.
- While it fires, a worse step is told at once, also within the cooldown; a milder one only lowers the severity.
- Within ``cooldown_ms`` of the last telling the same severity is not told again. It is put off, not lost: what still fires when the
  cooldown ends, and nobody was told of, is told then. The same holds for silence; so it does for the end of what was told.
- An acknowledged alert is quiet until it resolves or becomes worse than it was when it was acknowledged.
- A value that is not live never makes an alert better: its status is held until figures are live again.
- A value that could not be determined counts as the worst where the kind says so, once it lasted ``UNKNOWN_MS``; else it is held.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import msgspec

from gateway.core.alerts.rules import Rule

# After a start, and while a position's report and its account's arrive one after the other, figures are unknown for a moment.
UNKNOWN_MS = 10_000
# How a value that could not be determined, and one that there is none of, stand among numbers that are compared as columns.
WORST, HARMLESS = -1e308, 1e308
# The interval of a row whose value could not be determined: any number is news.
ANY_NUMBER = -math.inf, WORST / 10
# An interval with nothing in it: every look is news.
NOTHING = math.inf, -math.inf

State = Literal["ok", "pending", "firing", "resolved"]
Telling = Literal["firing", "resolved"]


class Reading(NamedTuple):
    """What a rule sees of a subject.

    Attributes:
        value: In the kind's unit; NaN: could not be determined; the kind's harmless infinity: there is none.
        live: False: it is of figures that are not live.
        gone: The subject is not there any more: nothing is held.
    """

    value: float
    live: bool = True
    gone: bool = False


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """Where an alert stands.

    Attributes:
        step: Of the rule's steps, -1 while ok or resolved.
        since: When this state began (ms).
        unknown_since: Since when its value could not be determined.
        untold: It fires, and the present severity was not told yet.
        told_at, told_step: When it was last told as firing, and how bad it was.
        known: Somebody was told that it fires, and of no end yet.
        acknowledged_at, acknowledged_step: By somebody, and how bad it was then.
    """

    state: State = "ok"
    step: int = -1
    since: int = 0
    unknown_since: int | None = None
    untold: bool = False
    told_at: int | None = None
    told_step: int = -1
    known: bool = False
    acknowledged_at: int | None = None
    acknowledged_step: int = -1

    @property
    def active(self) -> bool:
        """True while pending or firing."""
        return self.step >= 0


def advance(
    rule: Rule, was: Status, reading: Reading, now: int, *, silenced: bool = False
) -> tuple[Status, Telling | None]:
    """Return the status after a reading, and what is to be told."""
    unknown = math.isnan(reading.value) and not reading.gone
    since = (was.unknown_since if was.unknown_since is not None else now) if unknown else None
    if since != was.unknown_since:
        was = msgspec.structs.replace(was, unknown_since=since)
    step = _step(rule, was, reading, now)
    if was.state == "firing":
        status = _firing(was, step, now)
    elif step < 0:
        # One that was told of before goes back to where it came from: its cooldown goes on.
        status = was if not was.active else _become(was, "ok" if was.told_at is None else "resolved", -1, now)
    else:
        status = _reached(rule, was, step, now)
    if status.state == "firing":
        return _tell(rule, status, now, silenced=silenced)
    if status.state == "resolved" and status.known and not silenced:
        return msgspec.structs.replace(status, known=False), "resolved"
    return status, None


def acknowledge(status: Status, now: int) -> Status:
    """Return a firing alert's status after somebody took note of it."""
    return msgspec.structs.replace(status, acknowledged_at=now, acknowledged_step=status.step, untold=False)


def bounds(rule: Rule, status: Status) -> tuple[float, float]:
    """Return the open interval of values that leave a status as it is, whatever the time: (low, high)."""
    if status.unknown_since is not None:
        # What is not at its worst gets there with time, or once its figures are live again: it is looked at each time.
        worsens = rule.spec.unknown_is_worst and status.step + 1 < len(rule.steps)
        return NOTHING if worsens else ANY_NUMBER
    at = [step.at for step in rule.steps]
    worse = at[status.step + 1] if status.step + 1 < len(at) else None
    better = None
    if status.active:
        # A pending alert has to hold its threshold; a firing one to leave it by ``clear``.
        slack = rule.clear if status.state == "firing" else 0.0
        better = at[status.step] + (slack if rule.spec.below else -slack)
    if rule.spec.below:
        return -math.inf if worse is None else worse, math.inf if better is None else math.nextafter(better, math.inf)
    return -math.inf if better is None else math.nextafter(better, -math.inf), math.inf if worse is None else worse


def due(rule: Rule, status: Status, now: int) -> float:
    """Return when time alone may change a status (ms), inf: never. The end of a silence is told of apart."""
    moments: list[int] = []
    if status.state == "pending":
        moments.append(status.since + _wait(rule, status))
    elif status.state == "firing":
        if status.unknown_since is not None:
            moments.append(status.unknown_since + UNKNOWN_MS)
        if status.untold and status.told_at is not None:
            moments.append(status.told_at + rule.cooldown_ms)
    return min((moment for moment in moments if moment > now), default=math.inf)


def _wait(rule: Rule, status: Status) -> int:
    """Return how long a threshold has to be reached before the alert fires."""
    return rule.for_ms if status.unknown_since is None else max(rule.for_ms, UNKNOWN_MS)


def _step(rule: Rule, was: Status, reading: Reading, now: int) -> int:
    """Return the step that counts: reached, kept by ``clear``, or held."""
    if reading.gone:
        return -1
    if math.isnan(reading.value):
        if not (rule.spec.unknown_is_worst and reading.live):
            return was.step
        lasted = was.unknown_since is not None and now - was.unknown_since >= UNKNOWN_MS
        return was.step if was.state == "firing" and not lasted else len(rule.steps) - 1
    step = rule.step_at(reading.value)
    if was.state == "firing":
        step = max(step, rule.step_kept(reading.value, was.step))
    return step if reading.live else max(step, was.step)


def _reached(rule: Rule, was: Status, step: int, now: int) -> Status:
    """Return the status of an alert whose threshold is reached and that does not fire yet."""
    status = was if was.state == "pending" else _become(was, "pending", step, now)
    status = status if status.step == step else msgspec.structs.replace(status, step=step)
    if now - status.since < _wait(rule, status):
        return status
    return msgspec.structs.replace(_become(status, "firing", step, now), untold=True)


def _firing(was: Status, step: int, now: int) -> Status:
    if step < 0:
        over = _become(was, "resolved", -1, now)
        return msgspec.structs.replace(over, untold=False, acknowledged_at=None, acknowledged_step=-1)
    if step <= was.step:
        return was if step == was.step else msgspec.structs.replace(was, step=step)
    if step <= was.acknowledged_step:
        return msgspec.structs.replace(was, step=step)  # as bad as it was when somebody took note of it
    return msgspec.structs.replace(was, step=step, untold=True, acknowledged_at=None, acknowledged_step=-1)


def _tell(rule: Rule, status: Status, now: int, *, silenced: bool) -> tuple[Status, Telling | None]:
    if not status.untold or silenced:
        return status, None
    cooling = status.told_at is not None and now - status.told_at < rule.cooldown_ms
    if cooling and status.step <= status.told_step:
        return status, None
    return msgspec.structs.replace(status, untold=False, told_at=now, told_step=status.step, known=True), "firing"


def _become(was: Status, state: State, step: int, now: int) -> Status:
    return msgspec.structs.replace(was, state=state, step=step, since=now)
