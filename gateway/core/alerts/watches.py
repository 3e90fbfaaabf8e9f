"""Watches: which subjects a rule is held against, in a turn and by the clock. Pure.

One class per way of looking: columns of positions, pools and accounts, compared all at once; and what happens seldom, an account
at a time. Each keeps nothing but the intervals in which nothing changes; alerts are the board's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable
from typing import Protocol

import numpy as np

from gateway.core.accounts import Account, Pool
from gateway.core.alerts.board import Board
from gateway.core.alerts.bounds import Bounds
from gateway.core.alerts.entry import Entry, Subject
from gateway.core.alerts.look import Look
from gateway.core.alerts.machine import ANY_NUMBER, HARMLESS, WORST, Reading, bounds, due
from gateway.core.alerts.rules import Rule, Scope
from gateway.core.alerts.sources import (
    ACCOUNT_COLUMNS,
    COLUMNS,
    PLACES,
    REASONS,
    SEEN,
    Seen,
    blind_marks,
    live_account,
    mark_places,
    scope_of,
)
from gateway.core.arrays import Codes, Floats, Ints
from gateway.core.state import Position, Symbol


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
    """What the watches of columns share: candidates are judged, and what leaves each as it is is set anew."""

    def __init__(self, rule: Rule, board: Board) -> None:
        self.rule, self.board = rule, board
        self.bounds = Bounds(HARMLESS)
        self._silences = board.silences_changed
        self._subjects: dict[int, str] = {}  # of rows that were judged

    def comparable(self, values: Floats) -> Floats:
        """Return values that can be compared with intervals: what is unknown may be the worst of all. (n,)"""
        if self.rule.spec.unknown_is_worst:
            values = np.where(np.isnan(values), WORST, values)
        return np.clip(values, WORST, HARMLESS)

    def left(self, index: Ints, values: Floats, counted: Callable[[Floats], Floats]) -> list[int]:
        """Return the places whose value left its interval; ``counted`` makes values of what counts as harmless harmless. (n,)"""
        if not len(self.bounds.left(index, self.comparable(values))):
            return []
        found: list[int] = self.bounds.left(index, self.comparable(counted(values))).tolist()
        return found

    def stirred(self, index: Ints, values: Floats, held: Codes, now: int) -> list[int]:
        """Return the places that the clock has to judge; where nothing but the value moved, that is shown."""
        if self._silences != self.board.silences_changed:
            self._silences = self.board.silences_changed
            self.bounds.stir()
        due, moved = self.bounds.stirred(index, self.comparable(values), held, now)
        for row, value in zip(index[moved].tolist(), values[moved].tolist(), strict=True):
            self.board.refresh(self.rule, self._subjects[row], value)
        found: list[int] = due.tolist()
        return found

    def place(self, index: int, subject: str, *, selected: bool, now: int) -> None:
        """Begin to watch a row that is new."""
        entry = self.board.of(self.rule).get(subject)
        if not selected:
            self.bounds.forget(index)
            if entry is not None and entry.status.active:  # the rule selected it before a restart
                self.board.end(entry, now)
            return
        self.bounds.set(index, *bounds(self.rule, self.board.status(self.rule, subject)))
        if entry is not None and entry.status.active:
            self.bounds.follow(index)

    def judged(self, index: int, subject: Subject, value: float, now: int, *, held: int) -> None:
        """Judge one row, and keep what leaves it as it is."""
        rule = self.rule
        status = self.board.judge(rule, subject, Reading(value, live=held == 0), now, held=REASONS[held])
        unknown = math.isnan(value) and rule.spec.unknown_is_worst
        self.bounds.set(index, *(ANY_NUMBER if unknown else bounds(rule, status)))
        if status.active or unknown:
            self._subjects[index] = subject.id
            self.bounds.follow(index, value, held, due(rule, status, now))


class OfPositions(_OfColumn):
    """A rule over a column of all positions, by table slot."""

    def __init__(self, rule: Rule, board: Board) -> None:
        super().__init__(rule, board)
        self._placed: dict[int, Position] = {}
        self._structure = -1

    def turn(self, look: Look) -> None:
        self._begin(look)
        if look.moved and not self.rule.spec.by_clock:
            values = COLUMNS[self.rule.kind](look.rows)
            for place in self.left(look.rows.slot, values, lambda values: self._counted(values, look)):
                self._judge(place, float(values[place]), look)

    def clock(self, look: Look) -> None:
        self._begin(look)
        values = COLUMNS[self.rule.kind](look.rows)
        for place in self.stirred(look.rows.slot, self._counted(values, look), look.held, look.now):
            self._judge(place, float(values[place]), look)

    def _begin(self, look: Look) -> None:
        """Watch rows that are new, and end the alerts of those that are gone."""
        for slot in look.written:
            position = look.slots.get(slot)
            if position is not None and self._placed.get(slot) is not position:
                self._placed[slot] = position
                selected = self.rule.select.matches(scope_of(position.account, position.state.symbol))
                self.place(slot, position.state.id, selected=selected, now=look.now)
        if look.structure != self._structure:
            self._structure = look.structure
            for entry in [e for e in self.board.of(self.rule).values() if e.status.active]:
                if entry.subject.id not in look.scene.positions:
                    self.board.end(entry, look.now)

    def _counted(self, values: Floats, look: Look) -> Floats:
        return values if self.rule.select.dust else np.where(look.dust, self._harmless, values)

    @property
    def _harmless(self) -> float:
        return math.inf if self.rule.spec.below else -math.inf

    def _judge(self, place: int, value: float, look: Look) -> None:
        position = look.slots[int(look.rows.slot[place])]
        dust = not self.rule.select.dust and look.is_dust(position)
        value = self._harmless if dust else value
        self.judged(position.slot, subject_of(position), value, look.now, held=look.code_of(position))


class OfPools(_OfColumn):
    """A rule over margin ratios, by pool number."""

    def __init__(self, rule: Rule, board: Board) -> None:
        super().__init__(rule, board)
        self._placed: dict[int, Pool] = {}

    def turn(self, look: Look) -> None:
        self._begin(look)
        if look.moved:
            numbers = np.arange(len(look.ratios))
            for number in self.left(numbers, look.ratios, lambda values: self._counted(values, look)):
                self._judge(number, look)

    def clock(self, look: Look) -> None:
        self._begin(look)
        for entry in [e for e in self.board.of(self.rule).values() if e.status.active]:
            account = look.scene.accounts.get(entry.subject.scope.account or "")
            pool = account.pools.get(entry.subject.id.partition(":")[2]) if account is not None else None
            if pool is None or not pool.members:
                self.board.end(entry, look.now)
        values = self._counted(look.ratios, look)
        for number in self.stirred(np.arange(len(values)), values, look.held_by_pool, look.now):
            self._judge(number, look)

    def _begin(self, look: Look) -> None:
        """Watch pools that are new: whatever is in them was written into the columns."""
        for slot in look.written:
            position = look.slots.get(slot)
            if position is not None and self._placed.get(position.pool.number) is not position.pool:
                pool = self._placed[position.pool.number] = position.pool
                selected = self.rule.select.matches(scope_of(position.account))
                self.place(pool.number, _pool_id(position.account, pool), selected=selected, now=look.now)

    def _counted(self, values: Floats, look: Look) -> Floats:
        return values if self.rule.select.dust else np.where(look.dust_by_pool, 0.0, values)

    def _judge(self, number: int, look: Look) -> None:
        account = look.owner(number)
        pool = next((one for one in account.pools.values() if one.number == number), None) if account else None
        if account is None or pool is None or not pool.members:
            self.bounds.forget(number)  # its number is free
            self._placed.pop(number, None)
            return
        members = [look.scene.positions[row_id] for row_id in sorted(pool.members)]
        dust = not self.rule.select.dust and all(look.is_dust(member) for member in members)
        name = f"{account.info.name} pool {pool.name}"
        if pool.isolated:
            name = f"{subject_of(members[0]).name} isolated"
        subject = Subject(_pool_id(account, pool), scope_of(account), name)
        value, held = 0.0 if dust else float(look.ratios[number]), look.code_of_all(account, members)
        self.judged(number, subject, value, look.now, held=held)


def _pool_id(account: Account, pool: Pool) -> str:
    return f"{account.info.name}:{pool.name}"


class OfAccounts(_OfColumn):
    """A rule over what accounts are worth, by their place there."""

    def __init__(self, rule: Rule, board: Board) -> None:
        super().__init__(rule, board)
        self._known = 0

    def turn(self, look: Look) -> None:
        if look.moved:
            index, values = self._begin(look)
            for place in self.left(index, values, lambda values: values):
                self._judge(place, float(values[place]), look)

    def clock(self, look: Look) -> None:
        index, values = self._begin(look)
        for place in self.stirred(index, values, look.held_by_account, look.now):
            self._judge(place, float(values[place]), look)

    def _begin(self, look: Look) -> tuple[Ints, Floats]:
        """Watch accounts that are new; return all places and values."""
        names = look.worth.names
        for place in range(self._known, len(names)):
            selected = self.rule.select.matches(scope_of(look.scene.accounts[names[place]]))
            self.place(place, names[place], selected=selected, now=look.now)
        self._known = len(names)
        return np.arange(len(names)), ACCOUNT_COLUMNS[self.rule.kind](look)

    def _judge(self, place: int, value: float, look: Look) -> None:
        account = look.scene.accounts[look.worth.names[place]]
        subject = Subject(account.info.name, scope_of(account), account.info.name)
        held = look.code_of_all(account, look.scene.held(account))
        self.judged(place, subject, value, look.now, held=held)


class OfHappenings:
    """A rule over what happens seldom, an account at a time."""

    def __init__(self, rule: Rule, board: Board) -> None:
        self.rule, self.board = rule, board
        self._source = SEEN[rule.kind]
        self._selected: dict[str, bool] = {}  # accounts: what configuration says of them stands

    def turn(self, look: Look) -> None:
        if look.concerned and not self.rule.spec.by_clock:
            self._look_at((look.scene.accounts[name] for name in look.concerned), look)

    def clock(self, look: Look) -> None:
        accounts, places = look.scene.accounts, PLACES.get(self.rule.kind)
        if places is None:
            self._look_at(accounts.values(), look)
            return
        there = {*places(look.scene, look.now), *(e.subject.scope.account for e in self.board.of(self.rule).values())}
        self._look_at((accounts[name] for name in accounts if name in there), look)

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
        held = _held(self.rule, account)
        # Blindness is made better by its end alone, not by another count of its age: the start begins one.
        reading = Reading(one.value, live=held is None and self.rule.kind != "blind")
        self.board.judge(self.rule, subject, reading, look.now, note=one.note, held=held)
        return True

    def _end(self, entries: Iterable[Entry], seen: Collection[str], account: Account, look: Look) -> None:
        """End what is not so any more; what is not known to be over is held."""
        held = _held(self.rule, account)
        for entry in entries:
            if entry.subject.id in seen:
                continue
            position = entry.subject.position
            is_gone = position is not None and position not in look.scene.positions and self.rule.kind != "correction"
            lasts = look.now - entry.status.since < self.rule.spec.lasts_ms
            if not is_gone and (held is not None or lasts):
                unknown = Reading(entry.value, live=False)
                self.board.judge(self.rule, entry.subject, unknown, look.now, note=entry.note, held=held)
            else:
                self.board.end(entry, look.now)


def _held(rule: Rule, account: Account) -> str | None:
    """Return why nobody can say that something is over; blindness is, once anything is known of the account."""
    if rule.kind == "blind":
        return None if account.known else "restored"
    return live_account(account)


class OfMarks:
    """The other half of "blind": venues and symbols whose marks are not live, for as long as somebody holds them."""

    def __init__(self, rule: Rule, board: Board) -> None:
        self.rule, self.board = rule, board

    def turn(self, look: Look) -> None:
        """Nothing: how long it lasts is a matter of the clock."""

    def clock(self, look: Look) -> None:
        seen = set()
        for symbol, one in blind_marks(look.symbols, look.connection_down_since, look.now):
            if one.subject in seen or not self._is_watched(symbol, look):
                continue
            seen.add(one.subject)
            venue, env, _ = symbol.key
            subject = Subject(
                one.subject, Scope(None, None, venue, env, "live", one.symbol), f"{venue} {env} {one.symbol or 'marks'}"
            )
            self.board.judge(self.rule, subject, Reading(one.value, live=False), look.now, note=one.note)
        for entry in list(self.board.of(self.rule).values()):
            if entry.subject.scope.account is None and entry.status.active and entry.subject.id not in seen:
                self._end(entry, look)

    def _end(self, entry: Entry, look: Look) -> None:
        """End what is over: nobody holds it any more, or a mark came since the start."""
        covered = [s for s in look.symbols if entry.subject.id in mark_places(s) and self._is_watched(s, look)]
        if covered and not any(map(look.heard, covered)):
            unknown = Reading(entry.value, live=False)
            self.board.judge(self.rule, entry.subject, unknown, look.now, note=entry.note, held="restored")
        else:
            self.board.end(entry, look.now)

    def _is_watched(self, symbol: Symbol, look: Look) -> bool:
        held = (look.scene.positions[row_id] for row_id in symbol.positions)
        return any(self._counts(position, look) for position in held)

    def _counts(self, position: Position, look: Look) -> bool:
        select = self.rule.select
        scope = scope_of(position.account, position.state.symbol)
        return select.matches(scope) and (select.dust or not look.is_dust(position))


class OfStorage:
    """What is stored, or cannot be: one alert for the whole gateway."""

    def __init__(self, rule: Rule, board: Board) -> None:
        self.rule, self.board = rule, board
        self._subject = Subject("gateway", Scope(None, None, "", "", "live"), "storage")

    def turn(self, look: Look) -> None:
        """Nothing: the clock tells."""

    def clock(self, look: Look) -> None:
        value, words = look.storage
        self.board.judge(self.rule, self._subject, Reading(value), look.now, note=words)


class OfBooks:
    """What verifications found, an account at a time: known from what is stored, whether or not its figures are live."""

    def __init__(self, rule: Rule, board: Board) -> None:
        self.rule, self.board = rule, board

    def turn(self, look: Look) -> None:
        """Nothing: the clock tells."""

    def clock(self, look: Look) -> None:
        for account in look.scene.accounts.values():
            name, found = account.info.name, look.unexplained(account.info.name)
            if found is None or not self.rule.select.matches(scope_of(account)):
                continue  # after a restart an alert stands until its days were read again
            if found[0] or name in self.board.of(self.rule):
                subject = Subject(name, scope_of(account), name)
                self.board.judge(self.rule, subject, Reading(found[0]), look.now, note=found[1])


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
        elif rule.kind == "storage":
            found.append(OfStorage(rule, board))
        elif rule.kind == "verification":
            found.append(OfBooks(rule, board))
        else:
            found.append(OfPools(rule, board))
    return found
