"""Fills: what they prove, which rows do not show them yet, and where one is missing. Pure.

Owns the `fills` table and the chains of fills that state the position before them. A fill never changes a size: it marks the row
until a newer state of the venue has come.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from typing import NamedTuple

import msgspec

from exchanges.events import Fill, PositionState
from gateway.core.accounts import Account
from gateway.core.facts import completed
from gateway.core.newest import Newest
from gateway.core.publish import Changes
from gateway.core.rows import Row, present
from gateway.core.state import PendingFill, Position

KEEP = 500
# The slices of an order may come by another channel, a little later.
_HOLE_GRACE_MS = 2_000


class _End(NamedTuple):
    """Where a chain stands: the signed size after its last fill."""

    size: Decimal
    at: int


class Hole(NamedTuple):
    """A stretch of a chain of which no fill came: the size where it begins and ends, and in which time (the venue's)."""

    account: str
    symbol: str
    start: Decimal
    end: Decimal
    since: int
    until: int
    found_at: int
    counted: bool = False


class Executions:
    """All fills of all accounts."""

    def __init__(self, changes: Changes, counters: Counter[str]) -> None:
        self.table: Newest[Fill] = Newest(changes, "fills", KEEP)
        self._changes, self._counters = changes, counters
        self._owners: dict[str, Account] = {}
        self._ends: dict[tuple[str, str], _End] = {}
        self._fresh: dict[tuple[str, str], list[Fill]] = {}  # of this turn: within a message their order means nothing
        self._holes: dict[tuple[str, str], Hole] = {}

    def put(self, account: Account, fill: Fill) -> bool:
        """Take a fill, whichever channel brought it; return False where it is known."""
        self._owners[fill.account] = account
        if not self.table.add(account.info, fill.id, fill.symbol, fill.at, fill):
            return False
        if fill.start_position is not None:
            self._fresh.setdefault((fill.account, fill.symbol), []).append(fill)
        if self._changes.sink:
            self._changes.sink.put_fill(fill)
        return True

    def whole(self, fill: Fill) -> Fill:
        """Return a fill with what was known of it, where that is in the table."""
        known = self.table.get(fill.id)
        return fill if known is None else completed(known, fill)

    def names(self, fill: Fill) -> bool:
        """Say whether a fill in the table is of a position that nobody named before."""
        known = self.table.get(fill.id)
        return known is not None and known.position is None and fill.position is not None

    def refine(self, fill: Fill) -> None:
        """Take what a known fill brought and cost, or of which position it is, which was not said when it was told first."""
        self.table.patch(fill.id, fill)
        if self._changes.sink:
            self._changes.sink.put_fill(fill)

    def row(self, row_id: str) -> Row:
        """Return the row of the `fills` table."""
        fill = self.table[row_id]
        info = self._owners[fill.account].info
        said = {name: value for name, value in msgspec.structs.asdict(fill).items() if value != "" and name != "id"}
        return present({"user": info.user, "venue": info.venue, "env": info.env} | said)

    # --- chains --------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Let chains begin where the fills of an earlier life end; what was missing then was asked then."""
        for key, fills in self._fresh.items():
            last = _in_order(fills, None)[-1]
            self._ends[key] = _End(_end(last), last.at)
        self._fresh.clear()

    def link(self, now: int) -> None:
        """Join the fills of this turn to their chains; a gap becomes a hole."""
        for key, fills in self._fresh.items():
            for fill in _in_order(fills, self._ends.get(key)):
                self._join(key, fill, now)
        self._fresh.clear()

    def _join(self, key: tuple[str, str], fill: Fill, now: int) -> None:
        start = Decimal(fill.start_position or 0)
        after = start + (Decimal(fill.size) if fill.side == "buy" else -Decimal(fill.size))
        end, hole = self._ends.get(key), self._holes.get(key)
        if hole is not None and hole.since <= fill.at <= hole.until and start == hole.start:
            if after == hole.end:
                del self._holes[key]
            else:
                self._holes[key] = hole._replace(start=after)
        if end is not None and fill.at < end.at:
            return  # an older one, read later
        if end is not None and start != end.size and hole is None:
            self._holes[key] = Hole(*key, end.size, start, end.at, fill.at, now)
        self._ends[key] = _End(after, fill.at)

    def age(self, now: int) -> None:
        """Count the holes that nothing filled in time: their fills have to be asked."""
        for key, hole in self._holes.items():
            if not hole.counted and now - hole.found_at >= _HOLE_GRACE_MS:
                self._holes[key] = hole._replace(counted=True)
                self._counters["fill_holes"] += 1

    def history(self, account: str, since: int, asked_at: int) -> list[int]:
        """Everything since then was read: a hole that is still there will not be filled by asking again. Return their ends."""
        lost = []
        for key, hole in list(self._holes.items()):
            if hole.account == account and since <= hole.since and asked_at >= hole.found_at:
                del self._holes[key]
                self._counters["fill_holes_unfilled"] += hole.counted
                lost.append(hole.until)
        return lost

    def wanted(self) -> Iterator[Hole]:
        """Yield the holes whose fills have to be asked."""
        yield from (hole for hole in self._holes.values() if hole.counted)


def _in_order(fills: list[Fill], end: _End | None) -> list[Fill]:
    """Return fills by time; those of one millisecond as each begins where another ends."""
    left, ordered = sorted(fills, key=lambda fill: (fill.at, fill.id)), []
    size = end.size if end else None
    while left:
        same = [fill for fill in left if fill.at == left[0].at]
        ends = {_end(fill) for fill in same}
        first = next((fill for fill in same if Decimal(fill.start_position or 0) == size), None)
        first = first or next((fill for fill in same if Decimal(fill.start_position or 0) not in ends), same[0])
        left.remove(first)
        ordered.append(first)
        size = _end(first)
    return ordered


def _end(fill: Fill) -> Decimal:
    signed = Decimal(fill.size) if fill.side == "buy" else -Decimal(fill.size)
    return Decimal(fill.start_position or 0) + signed


# --- rows that do not show a fill yet -------------------------------------------------------------------------------------


def unseen(fill: Fill, state: PositionState) -> bool:
    """Say whether a position's last state does not show a fill yet: it is dated later, and the sizes do not agree."""
    if state.venue_at is not None and fill.at <= state.venue_at:
        return False
    if fill.start_position is None:
        return state.venue_at is not None
    size = Decimal(state.size)
    return _end(fill) != (-size if state.side == "short" else size)


def mark(position: Position, fill: Fill, now: int) -> None:
    """Note that a row does not show a fill."""
    known = position.pending_fill
    position.pending_fill = PendingFill(known.since if known else now, max(fill.at, known.at if known else 0))


def shows(pending: PendingFill, state: PositionState, asked_at: int | None) -> bool:
    """Say whether a newer state ends the wait: asked after the fill came, or dated after it happened."""
    if asked_at is not None and asked_at >= pending.since:
        return True
    return state.venue_at is not None and state.venue_at >= pending.at
