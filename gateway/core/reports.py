"""What the venue reports of positions, and why they changed: which report counts, what it corrects, what is missing. Pure.

Owns the way of every position report and of every piece of evidence: ordering (``Fences``) → correction → row → closed cycle.
``wants_state`` and ``wants_history`` say what has to be asked, until it was.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from decimal import Decimal

from exchanges.events import (
    Evidence,
    Fill,
    FundingPayment,
    HistoryRead,
    OpenOrders,
    Order,
    PositionsSnapshot,
    PositionState,
)
from gateway.core import executions
from gateway.core.accounts import Account, message_of
from gateway.core.books import Books
from gateway.core.corrections import GRACE_MS, LONGEST_MS, ROUTINE_GRACE_MS, Corrections, by_hand
from gateway.core.cycles import Cycles
from gateway.core.evidence import Piece, piece_of
from gateway.core.executions import Executions
from gateway.core.feeds import Feeds
from gateway.core.histories import Histories
from gateway.core.holdings import Holdings
from gateway.core.orders import Orders
from gateway.core.publish import Changes
from gateway.core.reconcile import Fences
from gateway.core.records import Correction, Trigger
from gateway.core.state import PendingFill, Position

# What a restart missed began, at the earliest, this long before the last write, or before now where that is not known.
_WRITE_DELAY_MS = 60_000
_UNKNOWN_AWAY_MS = 86_400_000


class Reports:
    """Takes everything that is said of positions, orders and fills, of all accounts.

    Attributes:
        asked: Accounts whose history is being told in this turn: what it brings, the stream did not tell.
        triggers: Why an account's state is being asked, where it is not the timer.
    """

    def __init__(
        self, holdings: Holdings, feeds: Feeds, books: Books, changes: Changes, counters: Counter[str]
    ) -> None:
        self.asked: frozenset[str] = frozenset()
        self.triggers: dict[str, Trigger] = {}
        self._learned: list[tuple[Account, Piece]] = []  # in this turn
        self.fences = Fences()
        self.orders = Orders(changes)
        self.cycles = Cycles(changes)
        self.executions = Executions(changes, counters)
        self.corrections = Corrections(changes, counters, self._classified)
        self.deaf: set[str] = set()  # accounts whose live stream did not tell of something
        self._holdings, self._feeds, self._changes, self._counters = holdings, feeds, changes, counters
        self._books = books
        self.histories = Histories(holdings, books, self.cycles)
        self._repeats: set[tuple[str, str]] = set()  # (account, scope) told of by periodic full states
        self._waiting: dict[str, set[str]] = {}  # account → rows that do not show a fill yet
        self._opening: dict[tuple[str, str], PendingFill] = {}  # (account, symbol): a fill without a row

    def _classified(self, record: Correction) -> None:
        """Let the settled class of a correction count elsewhere."""
        self.cycles.reconciled(record)
        self._books.corrected(record)
        # What is found as a stream comes up was missed by the one before it.
        if record.cls == "missed_event" and record.trigger not in ("start", "reconnect"):
            self.deaf.add(record.account)

    # --- positions -----------------------------------------------------------------------------------------------

    def position(self, account: Account, state: PositionState, now: int) -> None:
        """Take what the stream says of one position."""
        self.corrections.said(state.id, state if _is_open(state) else None)
        if not self._apply(account, state, now, None, alone=True):
            self._counters["older_ignored"] += 1

    def snapshot(self, account: Account, full: PositionsSnapshot, now: int) -> None:
        """Take the full state of a scope; what it changes though nothing told of it is a correction."""
        covered = self.fences.covered(full.account, full.scope)
        if not self.fences.begin_snapshot(full, now):
            self._counters["older_ignored"] += 1
            return
        if full.repeats:
            self._repeats.add((full.account, full.scope))
        if full.routine:
            self.corrections.said_all(full.account, full.scope, [state for state in full.positions if _is_open(state)])
        check = _Check(self, account, full, covered, now)
        held = self._holdings.of_scope(account, full.scope)
        for row_id in self.fences.missing(full, {state.id for state in full.positions}, held):
            self._counters["closed_by_snapshot"] += 1
            since = self.since(self._holdings.open[row_id])
            self._close(held[row_id], full.fence, now, now)
            check(held[row_id], None, since)
        for state in full.positions:
            position = self._holdings.open.get(state.id)
            before, since = (position.state, self.since(position)) if position else (None, check.absent_since())
            if not self._apply(account, state, now, full.asked_at):
                self._counters["older_ignored"] += 1
            else:
                check(before, state if _is_open(state) else None, since)
        self._settle_openings(account.info.name, full.asked_at)
        account.synced_at = now
        if account.restored_since is not None:
            account.restored_since = None
            self._holdings.touch(account)

    def since(self, position: Position) -> int:
        """Return the moment up to which a row's state is explained (ms)."""
        at, stored_at = position.state.venue_at, position.account.stored_at
        if position.restored_at is not None and stored_at is not None:  # ``as_of`` is when it was loaded
            return max(at or 0, stored_at - _WRITE_DELAY_MS)
        return at if at is not None else position.as_of

    def forget(self, account: Account, reason: str, now: int) -> None:
        """Close every row of an account whose venue cannot be asked any more, on the operator's word."""
        for row_id in sorted(account.positions):
            state = self._holdings.open[row_id].state
            self._close(state, state.fence, now, now)
            self.corrections.put(account, by_hand(account.info.name, state, reason, now))
        self.orders.forget(account.info.name, now)

    def _apply(
        self, account: Account, state: PositionState, now: int, asked_at: int | None, *, alone: bool = False
    ) -> bool:
        """Apply a report unless an older one; return whether it was applied. ``alone``: the stream told of this one change."""
        if not self.fences.accepts(state, asked_at):
            return False
        if not _is_open(state):
            self._close(state, state.fence, state.venue_at if state.venue_at is not None else now, now)
            return True
        before = self._holdings.open.get(state.id)
        was = (before.state, self.since(before)) if before else None
        largest = state.size
        if before is not None and None not in (before.state.side, state.side) and before.state.side != state.side:
            ended = state.venue_at if state.venue_at is not None else now
            self.cycles.closed(account, before.state, before.largest, ended, self.since(before), now)
        elif before is not None:
            largest = max(before.largest, state.size, key=Decimal)
        self.fences.opened(state, now)
        live = before is None or self._feeds.marks_down_since(before.symbol) is None
        position = self._holdings.put(account, state, now, feed_is_live=live)
        position.largest = largest
        self.histories.report(account, state, now)
        self._books.held(position, was, now, told=alone)
        if asked_at is not None:  # what happened between question and answer is not in it
            position.as_of, position.message = asked_at, message_of(state.scope, asked_at, self._holdings.seq)
        if position.pending_fill is not None and executions.shows(position.pending_fill, state, asked_at):
            position.pending_fill = None
            self._waiting[state.account].discard(state.id)
        opening = self._opening.get((state.account, state.symbol))
        if opening is not None and executions.shows(opening, state, asked_at):
            del self._opening[state.account, state.symbol]
        return True

    def _close(self, state: PositionState, fence: tuple[int, ...], closed_at: int, now: int) -> None:
        position = self._holdings.open.get(state.id)
        if position is None:
            self.fences.closed(state, fence, now)
            return
        self.fences.closed(position.state, fence, now)
        account, since = position.account, self.since(position)
        self._waiting.get(account.info.name, set()).discard(state.id)
        self._opening.pop((account.info.name, state.symbol), None)
        self._holdings.remove(state.id)
        self.cycles.closed(account, position.state, position.largest, closed_at, since, now)

    # --- orders ----------------------------------------------------------------------------------------------------

    def order(self, account: Account, order: Order, now: int) -> None:
        """Take one order's report."""
        if not self.orders.put(account, order, now):
            self._counters["older_ignored"] += 1

    def open_orders(self, account: Account, full: OpenOrders, now: int) -> None:
        """Take a full list of open orders."""
        if not self.orders.replace(account, full, now):
            self._counters["older_ignored"] += 1

    # --- evidence ----------------------------------------------------------------------------------------------------

    def fill(self, account: Account, fill: Fill, now: int) -> None:
        """Take a fill: evidence, a link of a chain, perhaps a sign that a row is behind."""
        fill, named = self.executions.whole(fill), self.executions.names(fill)
        new, told = self.executions.put(account, fill), self._told(account, fill.at)
        paid = self._books.fill(account, fill, now, told=told)
        refined = not new and (paid or named)
        if refined:
            self.executions.refine(fill)
        if new or refined:
            self.histories.put(account, fill)
        self._learn(account, piece_of(fill, told=told))
        if new:
            self._check_rows(account, fill, now)

    def cause(self, account: Account, event: Evidence | FundingPayment, _now: int) -> None:
        """Take a notice, a bill or a funding payment."""
        if isinstance(event, FundingPayment):
            self._books.payment(account, event)
        new = self._learn(account, piece_of(event, told=self._told(account, event.at)))
        if new and isinstance(event, FundingPayment):
            self.histories.put(account, event)
            if self._changes.sink:
                self._changes.sink.put_funding(event)

    def rebased(self, row_ids: Iterable[str], symbol: str, now: int) -> None:
        """Take that the venue converted sizes and entries of a contract: public, so no account's stream tells of it."""
        for row_id in row_ids:
            account = self._holdings.open[row_id].account
            name = account.info.name
            event = Evidence(account=name, symbol=symbol, cause="adjustment", what="contract rebased", at=now)
            self._learn(account, piece_of(event, told=False))

    def history(self, account: Account, read: HistoryRead, now: int) -> None:
        """What was asked for has been told: what is not there, is not."""
        self.executions.link(now)
        self.judge()
        self.corrections.history(account, read.since, read.asked_at)
        self.cycles.history(account, read.since, read.asked_at)
        for at in self.executions.history(read.account, read.since, read.asked_at):
            self._books.lost(account, at, now)
        self._books.read(account, read, now)

    def restore_fill(self, account: Account, fill: Fill, now: int) -> None:
        """Take a fill of an earlier life back."""
        self.executions.put(account, fill)
        self._books.fill(account, fill, now, told=False)
        account.memory.add(piece_of(fill, told=False))

    def _told(self, account: Account, at: int) -> bool:
        """Say whether the live stream is what tells this, not a history or the backlog of a new connection."""
        since = account.listening.since
        return since is not None and at >= since and account.info.name not in self.asked

    def _learn(self, account: Account, piece: Piece) -> bool:
        if not account.memory.add(piece):
            return False
        self._learned.append((account, piece))
        return True

    def judge(self) -> None:
        """Let the evidence of this turn speak, all of it together: whichever came first would else be the only one heard."""
        learned, self._learned = self._learned, []
        for account, piece in learned:
            self.corrections.evidence(account, piece)
            self.cycles.evidence(account, piece)

    def _check_rows(self, account: Account, fill: Fill, now: int) -> None:
        """Mark the rows that do not show a fill yet; without a row, note that one may be missing."""
        rows = self._holdings.of_symbol(account, fill.symbol)
        named = [position for position in rows if position.state.id == fill.position]
        for position in named or rows:
            if executions.unseen(fill, position.state):
                executions.mark(position, fill, now)
                self._waiting.setdefault(account.info.name, set()).add(position.state.id)
                self._holdings.touch_row(position)
        if rows or account.synced_at is None or fill.at <= account.synced_at:
            return
        closed = self.cycles.last_of(account.info.name, fill.symbol)
        seen = closed is not None and fill.at <= closed.closed_at
        if not seen and self._holdings.is_contract(account, fill.symbol):
            self._opening.setdefault((account.info.name, fill.symbol), PendingFill(now, fill.at))

    def _settle_openings(self, account: str, asked_at: int | None) -> None:
        for key, pending in list(self._opening.items()):
            if key[0] == account and asked_at is not None and asked_at >= pending.since:
                del self._opening[key]

    # --- what has to be asked ------------------------------------------------------------------------------------------

    def age(self, now: int) -> None:
        """Take the time: what waited long enough."""
        self.corrections.age(now)
        self.corrections.tidy(now)
        self.cycles.age(now)
        self.executions.age(now)
        self.histories.link()

    def wants_state(self) -> set[str]:
        """Return the accounts of which a fill is known that no state shows yet."""
        return {account for account, rows in self._waiting.items() if rows} | {account for account, _ in self._opening}

    def wants_history(self, now: int) -> dict[str, tuple[int, frozenset[str]]]:
        """Return since when, and of which symbols, fills and causes have to be asked, per account."""
        wanted = [(one.account, one.since, one.symbol) for one in self.corrections.wanted()]
        wanted += [(one.account, one.since, one.symbol) for one in self.cycles.wanted(now)]
        wanted += [(one.account, one.since, one.symbol) for one in self.executions.wanted()]
        found: dict[str, tuple[int, frozenset[str]]] = {}
        for account, since, symbol in wanted:
            earliest, symbols = found.get(account, (since, frozenset()))
            found[account] = min(since, earliest), symbols | ({symbol} if symbol else set())
        return found


class _Check:
    """Compares one snapshot with the rows before it."""

    def __init__(
        self, reports: Reports, account: Account, full: PositionsSnapshot, covered: int | None, now: int
    ) -> None:
        self._reports, self._account, self._full, self._covered, self._now = reports, account, full, covered, now
        # The first state of an account that nothing was stored of is a beginning, and corrects nothing.
        self._baseline = covered is not None or account.was_restored
        self._grace_ms = ROUTINE_GRACE_MS if (full.account, full.scope) in reports._repeats else GRACE_MS

    def __call__(self, before: PositionState | None, after: PositionState | None, since: int) -> None:
        if self._full.routine or (before is None and not self._baseline):
            return
        self._reports.corrections.found(
            self._account, before, after, since=since, now=self._now, trigger=self._trigger(), grace_ms=self._grace_ms
        )

    def absent_since(self) -> int:
        """Return the moment at which a position that is not there was certainly not there."""
        if self._covered is not None:
            return max(self._covered - GRACE_MS, self._now - LONGEST_MS)
        stored_at = self._account.stored_at
        return self._now - _UNKNOWN_AWAY_MS if stored_at is None else stored_at - _WRITE_DELAY_MS

    def _trigger(self) -> Trigger:
        if self._covered is None:
            return "start"
        if self._account.private_down_since is not None:
            return "reconnect"
        if self._full.asked_at is None:
            return "stream"
        return self._reports.triggers.get(self._full.account, "timer")


def _is_open(state: PositionState) -> bool:
    return float(state.size) != 0.0
