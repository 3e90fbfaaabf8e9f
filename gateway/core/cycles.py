"""Open → close cycles of positions, and why each ended, as far as evidence tells. Pure.

Owns the `closed` table. A reason is absent until something tells; their money belongs to the history.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from exchanges.events import PositionState
from gateway.core.accounts import Account
from gateway.core.difference import Fields, signed
from gateway.core.evidence import SLACK_MS, Piece, reason_of, speaking
from gateway.core.newest import Newest
from gateway.core.publish import Changes
from gateway.core.records import ClosedCycle, Correction
from gateway.core.rows import Row, present

KEEP = 200
# The fill that closed a position usually comes with it; only when it does not is the history asked.
_ASK_AFTER_MS = 3_000
_OPEN_MS = 60_000  # how long a reason may still change


class Cycles:
    """All closed cycles, the newest 200 of each account."""

    def __init__(self, changes: Changes) -> None:
        self.table: Newest[ClosedCycle] = Newest(changes, "closed", KEEP)
        self._changes = changes
        self._owners: dict[str, Account] = {}
        self._open: dict[str, dict[str, int]] = {}  # account → cycle → found at (our clock): its reason may still come
        self._asked: set[str] = set()  # cycles whose history was read

    def closed(
        self, account: Account, state: PositionState, largest: str, closed_at: int, since: int, now: int
    ) -> None:
        """Note that a position ended; ``state`` is its last report that was open."""
        ordinal = state.opened_at if state.opened_at is not None else f"c{closed_at}"
        cycle = ClosedCycle(
            id=f"{state.id}@{ordinal}", account=state.account, position=state.id, symbol=state.symbol, side=state.side,
            size=largest, entry_price=state.entry_price, opened_at=state.opened_at, closed_at=closed_at, since=since,
        )  # fmt: skip
        self._owners[state.account] = account
        cycle = self._judged(account, cycle)
        if self.table.add(account.info, cycle.id, state.symbol, closed_at, cycle):
            self._open.setdefault(state.account, {})[cycle.id] = now
            self._store(cycle)

    def restore(self, account: Account, cycle: ClosedCycle) -> None:
        """Take one of an earlier life back."""
        self._owners[account.info.name] = account
        self.table.add(account.info, cycle.id, cycle.symbol, cycle.closed_at, cycle)

    def evidence(self, account: Account, piece: Piece) -> None:
        """New evidence of an account came."""
        for cycle_id in list(self._open.get(account.info.name, ())):
            known = self.table.get(cycle_id)
            if known is not None and piece.concerns(known.position, known.symbol):
                judged = self._judged(account, known)
                if judged.reason is not None and judged != known:
                    self._replace(judged)

    def history(self, account: Account, since: int, asked_at: int) -> None:
        """Everything since then was read: nothing more will be asked."""
        for cycle_id, found_at in self._open.get(account.info.name, {}).items():
            cycle = self.table.get(cycle_id)
            if cycle is not None and asked_at >= found_at and since <= cycle.since:
                self._asked.add(cycle_id)

    def reconciled(self, correction: Correction) -> None:
        """A position's end was found by asking, and nothing says why."""
        if correction.after.get("size") != "0" or correction.cls not in ("unknown", "mode_leftover"):
            return
        for cycle in self.table.of(correction.account):
            if cycle.position == correction.position and cycle.reason is None:
                self._replace(msgspec.structs.replace(cycle, reason="reconciled"))
                return

    def age(self, now: int) -> None:
        """Let go of cycles whose reason is not waited for any more."""
        for cycles in self._open.values():
            for cycle_id in [one for one, found_at in cycles.items() if now - found_at > _OPEN_MS]:
                del cycles[cycle_id]
                self._asked.discard(cycle_id)

    def wanted(self, now: int) -> Iterable[ClosedCycle]:
        """Yield those whose reason has to be asked."""
        for cycles in self._open.values():
            for cycle_id, found_at in cycles.items():
                cycle = self.table.get(cycle_id)
                waited = now - found_at >= _ASK_AFTER_MS and cycle_id not in self._asked
                if cycle is not None and cycle.reason is None and waited:
                    yield cycle

    def last_of(self, account: str, symbol: str) -> ClosedCycle | None:
        """Return the newest cycle of a symbol that is in the table."""
        return next((cycle for cycle in self.table.of(account) if cycle.symbol == symbol), None)

    def row(self, row_id: str) -> Row:
        """Return the row of the `closed` table."""
        cycle = self.table[row_id]
        info = self._owners[cycle.account].info
        said = msgspec.structs.asdict(cycle)
        del said["id"], said["since"]
        return present({"user": info.user, "venue": info.venue, "env": info.env} | said)

    def _judged(self, account: Account, cycle: ClosedCycle) -> ClosedCycle:
        held: Fields = {"size": cycle.size, "side": cycle.side or "long"}
        # From one before on: fills of one millisecond may have been reported by two states.
        pieces = account.memory.of(cycle.position, cycle.symbol, cycle.since - 1, cycle.closed_at + SLACK_MS)
        reason = reason_of(speaking(pieces, "gone", -signed(held)))
        status = "liquidated" if reason == "liquidated" else "closed"
        return msgspec.structs.replace(cycle, reason=reason, status=status)

    def _replace(self, cycle: ClosedCycle) -> None:
        self.table.patch(cycle.id, cycle)
        self._store(cycle)

    def _store(self, cycle: ClosedCycle) -> None:
        if self._changes.sink:
            self._changes.sink.put_closed(cycle)
