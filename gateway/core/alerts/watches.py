"""Watches: which subjects a rule is held against, in a turn and by the clock. Pure.

One class per way of looking: columns of positions, pools and accounts, compared all at once; and what happens seldom, an account
at a time. Each keeps nothing but the intervals in which nothing changes; alerts are the board's.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from typing import Protocol

import numpy as np

from gateway.core.accounts import Account
from gateway.core.alerts.board import Board
from gateway.core.alerts.bounds import Bounds, Floats, Ints
from gateway.core.alerts.entry import Entry, Subject
from gateway.core.alerts.look import Look
from gateway.core.alerts.machine import HARMLESS, WORST, Reading, bounds
from gateway.core.alerts.rules import Rule, Scope
from gateway.core.alerts.sources import (
    ACCOUNT_COLUMNS,
    BY_CLOCK,
    COLUMNS,
    SEEN,
    Seen,
    blind_marks,
    live_account,
    scope_of,
)
from gateway.core.state import Position

# What the venue warned of is not repeated after a restart: it is not over before its time.
_LASTING_MS = {"venue_warning": 600_000}


class Watch(Protocol):
    """One rule held against what it is of."""

    def turn(self, look: Look) -> None:
        """Judge what this turn changed."""

    def clock(self, look: Look) -> None:
        """Judge what time changes: how long it lasted, what is not live, what is over."""


def subject_of(position: Position) -> Subject:
    """Return a position as the subject of an alert."""
    state = position.state
    name = " ".join(part for part in (state.account, state.symbol, state.side) if part)
    return Subject(state.id, scope_of(position.account, state.symbol), name, state.id)


class _OfColumn:
    """What the watches of columns share: candidates are judged, and their intervals set anew."""

    def __init__(self, rule: Rule, board: Board) -> None:
        self.rule, self.board = rule, board
        self.bounds = Bounds()

    def comparable(self, values: Floats) -> Floats:
        """Return values that can be compared with intervals: what is unknown may be the worst of all. (n,)"""
        if not self.rule.spec.unknown_is_worst:
            return values
        return np.clip(np.where(np.isnan(values), WORST, values), WORST, HARMLESS)

    def due(self, index: Ints, values: Floats) -> list[int]:
        """Return the places whose value left its interval."""
        found: list[int] = self.bounds.left(index, self.comparable(values)).tolist()
        return found

    def judged(self, index: int, subject: Subject, value: float, now: int, *, held: str | None, note: str = "") -> None:
        """Judge one row and set its interval."""
        reading = Reading(value, live=held is None)
        status = self.board.judge(self.rule, subject, reading, now, note=note, held=held)
        self.bounds.set(index, *bounds(self.rule, status))


class OfPositions(_OfColumn):
    """A rule over a column of all positions, by table slot."""

    def turn(self, look: Look) -> None:
        self._begin(look)
        if look.moved and self.rule.kind not in BY_CLOCK:
            self._compare(look)

    def clock(self, look: Look) -> None:
        self._begin(look)
        self._compare(look)
        active = [entry for entry in self.board.of(self.rule).values() if entry.status.active]
        if not active:
            return
        values, places = COLUMNS[self.rule.kind](look.rows), look.places
        for entry in active:
            position = look.scene.positions.get(entry.subject.id)
            if position is None or not self.rule.select.matches(entry.subject.scope):
                self.board.end(entry, look.now)
            elif (place := places.get(position.slot)) is not None:
                self._judge(position, float(values[place]), look)

    def _begin(self, look: Look) -> None:
        for slot in look.written:
            self._place(slot, look)
        if look.restructured:
            self._sweep(look)

    def _compare(self, look: Look) -> None:
        values = COLUMNS[self.rule.kind](look.rows)
        for place in self.due(look.rows.slot, values):
            self._judge(look.slots[int(look.rows.slot[place])], float(values[place]), look)

    def _place(self, slot: int, look: Look) -> None:
        """Begin to watch a row that is new or was reported anew."""
        position = look.slots.get(slot)
        if position is not None and self.rule.select.matches(scope_of(position.account, position.state.symbol)):
            self.bounds.set(slot, *bounds(self.rule, self.board.status(self.rule, position.state.id)))
        else:
            self.bounds.forget(slot)

    def _judge(self, position: Position, value: float, look: Look) -> None:
        dust = not self.rule.select.dust and look.is_dust(position)
        harmless = math.inf if self.rule.spec.below else -math.inf
        held = look.not_live(position)
        self.judged(position.slot, subject_of(position), harmless if dust else value, look.now, held=held)

    def _sweep(self, look: Look) -> None:
        """End the alerts of rows that are gone."""
        for entry in [e for e in self.board.of(self.rule).values() if e.status.active]:
            if entry.subject.id not in look.scene.positions:
                self.board.end(entry, look.now)


class OfPools(_OfColumn):
    """A rule over margin ratios, by pool number."""

    def turn(self, look: Look) -> None:
        for slot in look.written:
            position = look.slots.get(slot)
            if position is not None:
                self._place(position)
        if not look.moved:
            return
        ratios = look.ratios
        for number in self.due(np.arange(len(ratios)), ratios):
            self._judge(number, float(ratios[number]), look)

    def clock(self, look: Look) -> None:
        self.turn(look)
        for entry in [e for e in self.board.of(self.rule).values() if e.status.active]:
            account = look.scene.accounts.get(entry.subject.scope.account or "")
            pool = account.pools.get(entry.subject.id.partition(":")[2]) if account is not None else None
            if pool is None:
                self.board.end(entry, look.now)
            else:
                self._judge(pool.number, float(look.ratios[pool.number]), look)

    def _place(self, position: Position) -> None:
        pool = position.pool
        if self.rule.select.matches(scope_of(position.account)):
            status = self.board.status(self.rule, f"{position.account.info.name}:{pool.name}")
            self.bounds.set(pool.number, *bounds(self.rule, status))
        else:
            self.bounds.forget(pool.number)

    def _judge(self, number: int, value: float, look: Look) -> None:
        account = look.owner(number)
        pool = next((one for one in account.pools.values() if one.number == number), None) if account else None
        if account is None or pool is None:
            self.bounds.forget(number)  # its number is free
            return
        members = [look.scene.positions[row_id] for row_id in sorted(pool.members)]
        if not self.rule.select.dust and all(look.is_dust(member) for member in members):
            value = 0.0
        held = live_account(account) or next(filter(None, map(look.not_live, members)), None)
        name = f"{account.info.name} pool {pool.name}"
        if pool.isolated and members:
            name = f"{subject_of(members[0]).name} isolated"
        subject = Subject(f"{account.info.name}:{pool.name}", scope_of(account), name)
        self.judged(number, subject, value, look.now, held=held)


class OfAccounts(_OfColumn):
    """A rule over what accounts are worth, by their place there."""

    def __init__(self, rule: Rule, board: Board) -> None:
        super().__init__(rule, board)
        self._known = 0

    def turn(self, look: Look) -> None:
        if not look.moved:
            return
        names = look.worth.names
        for place in range(self._known, len(names)):
            if self.rule.select.matches(scope_of(look.scene.accounts[names[place]])):
                self.bounds.set(place, *bounds(self.rule, self.board.status(self.rule, names[place])))
        self._known = len(names)
        values = self._values(look)
        for place in self.due(np.arange(len(values)), values):
            self._judge(place, float(values[place]), look)

    def clock(self, look: Look) -> None:
        self.turn(look)
        values = self._values(look)
        places = {name: place for place, name in enumerate(look.worth.names)}
        for entry in [e for e in self.board.of(self.rule).values() if e.status.active]:
            place = places.get(entry.subject.id)
            if place is not None:
                self._judge(place, float(values[place]), look)

    def _values(self, look: Look) -> Floats:
        return ACCOUNT_COLUMNS[self.rule.kind](look)

    def _judge(self, place: int, value: float, look: Look) -> None:
        account = look.scene.accounts[look.worth.names[place]]
        name = account.info.name
        held = live_account(account) or next(filter(None, map(look.not_live, look.scene.held(account))), None)
        self.judged(place, Subject(name, scope_of(account), name), value, look.now, held=held)


class OfHappenings:
    """A rule over what happens seldom, an account at a time."""

    def __init__(self, rule: Rule, board: Board) -> None:
        self.rule, self.board = rule, board
        self._source = SEEN[rule.kind]
        self._selected: dict[str, bool] = {}  # accounts: what configuration says of them stands

    def turn(self, look: Look) -> None:
        if self.rule.kind not in BY_CLOCK:
            self._look_at((look.scene.accounts[name] for name in look.concerned), look)

    def clock(self, look: Look) -> None:
        self._look_at(look.scene.accounts.values(), look)

    def _look_at(self, accounts: Iterable[Account], look: Look) -> None:
        active: dict[str | None, list[Entry]] = {}
        for entry in self.board.of(self.rule).values():
            if entry.status.active:
                active.setdefault(entry.subject.scope.account, []).append(entry)
        for account in accounts:
            if self._selects(account):
                seen = {
                    one.subject
                    for one in self._source(look.scene, account, look.now)
                    if self._judge(one, account, look)
                }
                self._end(active.get(account.info.name, ()), seen, account, look)
            else:
                self._end(active.get(account.info.name, ()), (), account, look)

    def _selects(self, account: Account) -> bool:
        found = self._selected.get(account.info.name)
        if found is None:
            found = self._selected[account.info.name] = self.rule.select.matches(scope_of(account))
        return found

    def _judge(self, one: Seen, account: Account, look: Look) -> bool:
        """Judge one value; False where the rule leaves it out."""
        if one.subject not in self.board.of(self.rule) and self.rule.step_at(one.value) < 0:
            return True  # nothing, as most of the time; unknown is nothing for these kinds, too
        if one.position is not None:
            subject = subject_of(one.position)._replace(id=one.subject)
            left_out = not self.rule.select.dust and look.is_dust(one.position)
            if left_out or not self.rule.select.matches(subject.scope):
                return False
        else:
            subject = Subject(one.subject, scope_of(account, one.symbol), one.subject.replace(":", " ", 1))
            if not self.rule.select.matches(subject.scope):
                return False
        held = None if self.rule.kind == "blind" else live_account(account)
        reading = Reading(one.value, live=held is None)
        self.board.judge(self.rule, subject, reading, look.now, note=one.note, held=held)
        return True

    def _end(self, entries: Iterable[Entry], seen: Collection[str], account: Account, look: Look) -> None:
        """End what is not so any more; what is not known to be over is held."""
        held = None if self.rule.kind == "blind" else live_account(account)
        for entry in entries:
            if entry.subject.id in seen:
                continue
            position = entry.subject.position
            is_gone = position is not None and position not in look.scene.positions and self.rule.kind != "correction"
            lasts = look.now - entry.status.since < _LASTING_MS.get(self.rule.kind, 0)
            if not is_gone and (held is not None or lasts):
                unknown = Reading(entry.value, live=False)
                self.board.judge(self.rule, entry.subject, unknown, look.now, note=entry.note, held=held)
            else:
                self.board.end(entry, look.now)


class OfMarks:
    """The other half of "blind": venues and symbols whose marks are not live, for as long as somebody holds them."""

    def __init__(self, rule: Rule, board: Board) -> None:
        self.rule, self.board = rule, board

    def turn(self, look: Look) -> None:
        """Nothing: how long it lasts is a matter of the clock."""

    def clock(self, look: Look) -> None:
        seen = set()
        for symbol, one in blind_marks(look.symbols, look.down_since, look.now):
            held = (look.scene.positions[row_id] for row_id in symbol.positions)
            if one.subject in seen or not any(self._is_watched(position, look) for position in held):
                continue
            seen.add(one.subject)
            venue, env, _ = symbol.key
            subject = Subject(
                one.subject, Scope(None, None, venue, env, "live", one.symbol), f"{venue} {env} {one.symbol or 'marks'}"
            )
            self.board.judge(self.rule, subject, Reading(one.value), look.now, note=one.note)
        for entry in list(self.board.of(self.rule).values()):
            if entry.subject.scope.account is None and entry.status.active and entry.subject.id not in seen:
                self.board.end(entry, look.now)

    def _is_watched(self, position: Position, look: Look) -> bool:
        select = self.rule.select
        scope = scope_of(position.account, position.state.symbol)
        return select.matches(scope) and (select.dust or not look.is_dust(position))


def watches(rules: Iterable[Rule], board: Board) -> list[Watch]:
    """Return what watches these rules."""
    found: list[Watch] = []
    for rule in rules:
        if rule.kind in COLUMNS:
            found.append(OfPositions(rule, board))
        elif rule.kind in ACCOUNT_COLUMNS:
            found.append(OfAccounts(rule, board))
        elif rule.kind in SEEN:
            found.append(OfHappenings(rule, board))
            if rule.kind == "blind":
                found.append(OfMarks(rule, board))
        else:
            found.append(OfPools(rule, board))
    return found
