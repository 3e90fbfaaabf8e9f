"""The alerts that there are: judged one by one, shown in the `alerts` table, stored, told, silenced and acknowledged. Pure.

Owns the table's membership. What is to be told waits in ``outbox`` for whoever delivers it.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter, deque
from collections.abc import Collection, Iterable, Mapping

from gateway.core.accounts import Account
from gateway.core.alerts.entry import Entry, Subject, words
from gateway.core.alerts.machine import Reading, Status, Telling, acknowledge, advance
from gateway.core.alerts.records import AlertRecord, Notice, Silence, severity_of
from gateway.core.alerts.rules import Rule, Scope
from gateway.core.alerts.sources import scope_of
from gateway.core.publish import Changes
from gateway.core.rows import Row

# A resolved alert is shown for so long.
KEEP_MS = 3_600_000
_MOST_WAITING = 10_000
_OK = Status()


class Board:
    """Written by the engine alone, within its open change set.

    Attributes:
        outbox: What is to be told, the oldest first; to be emptied by whoever tells it.
        silences: By id. ``silences_changed``: another number wherever one came, changed or went.
    """

    def __init__(self, rules: Iterable[Rule], changes: Changes, counters: Counter[str]) -> None:
        self.rules = {rule.name: rule for rule in rules}
        self.outbox: deque[Notice] = deque(maxlen=_MOST_WAITING)
        self.silences: dict[str, Silence] = {}
        self.silences_changed = 0
        self._entries: dict[str, dict[str, Entry]] = {name: {} for name in self.rules}  # rule → subject → alert
        self._orphans: list[AlertRecord] = []
        self._changes, self._counters = changes, counters

    # --- looking ----------------------------------------------------------------------------------------------------

    def of(self, rule: Rule) -> dict[str, Entry]:
        """Return a rule's alerts by subject."""
        return self._entries[rule.name]

    def status(self, rule: Rule, subject: str) -> Status:
        """Return where an alert stands; ok where there is none."""
        entry = self._entries[rule.name].get(subject)
        return entry.status if entry is not None else _OK

    def row(self, row_id: str) -> Row:
        """Return a row of the table. Raises KeyError."""
        return self._entry(row_id).row()

    def fires(self, row_id: str) -> bool:
        """Say whether an alert of this id fires."""
        entry = self._find(row_id)
        return entry is not None and entry.status.state == "firing"

    def firing(self) -> Counter[str]:
        """Return how many alerts fire, by severity."""
        return Counter(
            entry.severity for of in self._entries.values() for entry in of.values() if entry.status.state == "firing"
        )

    def _find(self, row_id: str) -> Entry | None:
        rule, _, subject = row_id.partition(":")
        return self._entries.get(rule, {}).get(subject)

    def _entry(self, row_id: str) -> Entry:
        rule, _, subject = row_id.partition(":")
        return self._entries[rule][subject]

    # --- judging ----------------------------------------------------------------------------------------------------

    def judge(
        self, rule: Rule, subject: Subject, reading: Reading, now: int, *, note: str = "", held: str | None = None
    ) -> Status:
        """Take what a rule sees of a subject; return where the alert stands then."""
        entries = self._entries[rule.name]
        entry = entries.get(subject.id)
        if entry is None:
            if not _matters(rule, reading):
                return _OK
            entry = Entry(rule, subject, _OK)
        silenced = self._silence(rule, subject.scope, now)
        status, telling = advance(rule, entry.status, reading, now, silenced=silenced is not None)
        if status.state == "ok":
            if entries.pop(subject.id, None) is not None:
                self._remove(entry, status, now)
            return status
        entries[subject.id] = entry
        before, entry.subject = entry.status, subject
        entry.place(status)
        if not reading.gone:
            entry.value, entry.note = reading.value, note
        entry.held = held if status.active else None
        entry.silenced_until = silenced
        self._show(entry)
        if status != before:
            self._store(entry, now)
        if telling is not None:
            self._tell(entry, telling, before.told_at, now)
        return status

    def refresh(self, rule: Rule, subject: str, value: float) -> None:
        """Show an alert's present value, which changes nothing else about it."""
        entry = self._entries[rule.name].get(subject)
        if entry is not None:
            entry.value = value
            self._show(entry)

    def end(self, entry: Entry, now: int) -> None:
        """Resolve an alert whose subject is not there any more."""
        self.judge(entry.rule, entry.subject, Reading(math.nan, gone=True), now)

    def _silence(self, rule: Rule, scope: Scope, now: int) -> int | None:
        return max((one.until for one in self.silences.values() if one.matches(rule.name, scope, now)), default=None)

    def _show(self, entry: Entry) -> None:
        looks = entry.looks()
        if looks != entry.shown:
            entry.shown = looks
            self._changes.touch("alerts", entry.id, entry.key)

    def _remove(self, entry: Entry, status: Status, now: int) -> None:
        entry.place(status)
        self._changes.remove("alerts", entry.id)
        self._store(entry, now)

    def _store(self, entry: Entry, now: int) -> None:
        if self._changes.sink:
            self._changes.sink.put_alert(entry.record(now))

    def _tell(self, entry: Entry, telling: Telling, before: int | None, now: int) -> None:
        if telling == "firing":
            self._counters["alerts_told"] += 1
        else:
            self._counters["alerts_resolved"] += 1
        # The end is told to whoever was told of the worst, though it is milder by now.
        severity = severity_of(entry.rule, entry.status.told_step) or entry.severity
        # When it was told of before makes the key, not when it is now: it is the same again after a crash that forgot this telling,
        # which only happens while it could not be stored.
        # An alert is forgotten no sooner than KEEP_MS after it was told, so another first telling is in another span.
        told = f"{entry.id} {telling} {severity} {f'first {now // KEEP_MS}' if before is None else before}"
        self.outbox.append(
            Notice(
                key=f"alert_{hashlib.sha256(told.encode()).hexdigest()[:32]}",
                state=telling,
                severity=severity,
                message=words(entry),
                at=now,
                row={"id": entry.id, **entry.row()},
                channels=entry.rule.notify,
            )
        )

    def owe(self, notice: Notice, channels: Collection[str], now: int) -> None:
        """Note which channels a notice has yet to reach: what is owed is stored, and told again by a restart."""
        entry = self._find(str(notice.row.get("id")))
        if entry is None or (not channels and notice.key not in entry.owed):
            return
        if channels:
            entry.owed[notice.key] = notice._replace(channels=tuple(channels))
        else:
            del entry.owed[notice.key]
        self._store(entry, now)

    def settled(self, notice: Notice, channel: str, now: int) -> None:
        """Note that a channel took a notice, or that it was given up there."""
        entry = self._find(str(notice.row.get("id")))
        owed = entry.owed.get(notice.key) if entry is not None else None
        if owed is not None:
            self.owe(owed, [name for name in owed.channels or () if name != channel], now)

    # --- people -----------------------------------------------------------------------------------------------------

    def acknowledge(self, row_id: str, now: int) -> None:
        """Take note of an alert that ``fires``: it is quiet until it resolves or becomes worse. Raises KeyError."""
        entry = self._entry(row_id)
        if entry.status.acknowledged_at is None:
            entry.place(acknowledge(entry.status, now))
            self._show(entry)
            self._store(entry, now)

    def silence(self, silence: Silence) -> None:
        """Keep alerts quiet for a time; one of the same id replaces the former."""
        self.restore_silence(silence)
        if self._changes.sink:
            self._changes.sink.put_silence(silence)

    # --- time and restarts ------------------------------------------------------------------------------------------

    def tidy(self, now: int) -> None:
        """Let go of what is over: silences, and alerts that were resolved long ago."""
        for silence in [one for one in self.silences.values() if one.until <= now]:
            del self.silences[silence.id]
            self.silences_changed += 1
        for entries in self._entries.values():
            for entry in [e for e in entries.values() if e.status.state == "resolved" and e.status.known]:
                self.end(entry, now)  # once no silence keeps its end from being told
            old = [e for e in entries.values() if e.status.state == "resolved" and _is_over(e.rule, e.status, now)]
            for entry in old:
                del entries[entry.subject.id]
                self._remove(entry, _OK, now)
        for record in self._orphans if self._changes.sink else ():
            assert self._changes.sink is not None
            self._changes.sink.put_alert(record)
        self._orphans.clear()

    def restore_silence(self, silence: Silence) -> None:
        """Go on with a stored silence."""
        self.silences[silence.id] = silence
        self.silences_changed += 1

    def restore(self, record: AlertRecord, accounts: Mapping[str, Account], now: int) -> None:
        """Go on with a stored alert; one whose rule or account is no longer there is ended."""
        rule = self.rules.get(record.rule)
        account = accounts.get(record.account) if record.account is not None else None
        if rule is None or (record.account is not None and account is None):
            self._orphans.append(ended(record, now))
            return
        entry = _entry_of(record, rule, account)
        if entry.status.state == "ok" or (entry.status.state == "resolved" and _is_over(rule, entry.status, now)):
            return
        entry.held, entry.silenced_until = None, self._silence(rule, entry.subject.scope, now)
        entry.owed = {notice.key: notice for notice in record.owed}
        self.outbox.extend(record.owed)
        self._entries[rule.name][record.subject] = entry
        self._show(entry)

    def follow(self, record: AlertRecord, accounts: Mapping[str, Account]) -> None:
        """Let an alert stand as it is told, whatever figures say."""
        rule = self.rules.get(record.rule)
        if rule is None:
            return
        entry = _entry_of(record, rule, accounts.get(record.account) if record.account is not None else None)
        if entry.status.state == "ok":
            if self._entries[rule.name].pop(record.subject, None) is not None:
                self._changes.remove("alerts", record.id)
            return
        self._entries[rule.name][record.subject] = entry
        self._show(entry)

    def records(self, now: int) -> list[AlertRecord]:
        """Return every alert as it is shown."""
        return [entry.record(now) for entries in self._entries.values() for entry in entries.values()]


def _entry_of(record: AlertRecord, rule: Rule, account: Account | None) -> Entry:
    """Return an alert as it was put on record."""
    scope = (
        scope_of(account, record.symbol)
        if account is not None
        else Scope(None, None, record.venue, record.env, "live", record.symbol)
    )
    status = record.status_under(rule)
    entry = Entry(rule, Subject(record.subject, scope, record.name, record.position), status)
    entry.value = record.value if record.value is not None else math.nan
    entry.note, entry.held, entry.silenced_until = record.note, record.held, record.silenced_until
    if status.state == "resolved":
        entry.severity = record.severity
        if record.threshold is not None:
            entry.threshold = record.threshold
    return entry


def ended(record: AlertRecord, now: int) -> AlertRecord:
    """Return the record of an alert that nobody watches any more."""
    return AlertRecord(
        id=record.id, rule=record.rule, subject=record.subject, account=record.account, venue=record.venue,
        env=record.env, symbol=record.symbol, position=record.position, name=record.name, state="ok",
        severity=record.severity, message="nobody watches it any more", status=_OK, at=now,
    )  # fmt: skip


def _matters(rule: Rule, reading: Reading) -> bool:
    """Say whether a reading of what is ok is more than nothing."""
    if reading.gone:
        return False
    if math.isnan(reading.value):
        return rule.spec.unknown_is_worst and reading.live
    return rule.step_at(reading.value) >= 0


def _is_over(rule: Rule, status: Status, now: int) -> bool:
    """Say whether a resolved alert, and the memory of its cooldown with it, may go."""
    return not status.known and now - status.since > max(KEEP_MS, rule.cooldown_ms)
