"""Open → close cycles of positions, and why each ended, as far as evidence tells. Pure.

Owns the `closed` table. A reason is absent until something tells; amounts, until all fills are known that they follow from.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

import msgspec

from exchanges.events import PositionState, position_id
from gateway.core.accounts import Account
from gateway.core.difference import Fields, signed
from gateway.core.evidence import SLACK_MS, Piece, reason_of, speaking
from gateway.core.newest import Newest
from gateway.core.publish import Changes
from gateway.core.records import ClosedCycle, Correction, PastPosition
from gateway.core.rows import Row, present

KEEP = 200
# The fill that closed a position usually comes with it; only when it does not is the history asked.
_ASK_AFTER_MS = 3_000
_PASTS = 8  # cycles of a symbol that still may have to be joined with what was worked out of them
_OPEN_MS = 60_000  # how long a reason may still change


class Cycles:
    """All closed cycles, the newest 200 of each account."""

    def __init__(self, changes: Changes) -> None:
        self.table: Newest[ClosedCycle] = Newest(changes, "closed", KEEP)
        self._changes = changes
        self._owners: dict[str, Account] = {}
        self._open: dict[str, dict[str, int]] = {}  # account → cycle → found at (our clock): its reason may still come
        self._asked: set[str] = set()  # cycles whose history was read
        self._new: list[tuple[Account, ClosedCycle]] = []  # that ended, or got another reason, since they were taken
        self._pasts: dict[str, list[PastPosition]] = {}  # symbol → what was worked out of its newest cycles

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
        self._new.append((account, cycle))
        for past in self._pasts.get(state.symbol, ()):
            cycle = _with(cycle, past) if _is_of(past, cycle) else cycle
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

    def newest_of(self, account: str, symbol: str) -> list[ClosedCycle]:
        """Return the newest cycles of a symbol that are in the table, a few of them."""
        return list(islice((cycle for cycle in self.table.of(account) if cycle.symbol == symbol), _PASTS))

    # --- what they brought and cost --------------------------------------------------------------------------------------

    def take_new(self) -> list[tuple[Account, ClosedCycle]]:
        """Return those that ended, or got another reason, since the last call."""
        new, self._new = self._new, []
        return new

    def worked_out(self, past: PastPosition) -> None:
        """Take what a cycle's fills come to; its end may not be known yet."""
        pasts = [one for one in self._pasts.get(past.symbol, ()) if one.id != past.id]
        self._pasts[past.symbol] = [*pasts, past][-_PASTS:]
        for cycle in self.newest_of(past.account, past.symbol):
            if _is_of(past, cycle):
                filled = _with(cycle, past)
                if filled != cycle:
                    self._replace(filled)
                return

    def withdrawn(self, past_id: str) -> None:
        """Take that there never was such a cycle: a fill that came late made it another one."""
        for symbol, pasts in self._pasts.items():
            self._pasts[symbol] = [one for one in pasts if one.id != past_id]

    def row(self, row_id: str) -> Row:
        """Return the row of the `closed` table."""
        cycle = self.table[row_id]
        info = self._owners[cycle.account].info
        said = msgspec.structs.asdict(cycle)
        del said["id"], said["since"]
        said["duration_ms"] = None if cycle.opened_at is None else cycle.closed_at - cycle.opened_at
        return present({"user": info.user, "venue": info.venue, "env": info.env} | said)

    def _judged(self, account: Account, cycle: ClosedCycle) -> ClosedCycle:
        held: Fields = {"size": cycle.size, "side": cycle.side or "long"}
        # From one before on: fills of one millisecond may have been reported by two states.
        pieces = account.memory.of(cycle.position, cycle.symbol, cycle.since - 1, cycle.closed_at + SLACK_MS)
        reason = reason_of(speaking(pieces, "gone", -signed(held)))
        status = "liquidated" if reason == "liquidated" else "closed"
        return msgspec.structs.replace(cycle, reason=reason, status=status)

    def _replace(self, cycle: ClosedCycle) -> None:
        known = self.table.get(cycle.id)
        if known is not None and known.reason != cycle.reason:
            self._new.append((self._owners[cycle.account], cycle))
        self.table.patch(cycle.id, cycle)
        self._store(cycle)

    def _store(self, cycle: ClosedCycle) -> None:
        if self._changes.sink:
            self._changes.sink.put_closed(cycle)


def _is_of(past: PastPosition, cycle: ClosedCycle) -> bool:
    """Say whether both are one cycle: it ended when the venue says, or where that is not known, since it was last heard of."""
    if past.account != cycle.account or cycle.side not in (None, past.side):
        return False
    named = past.position == cycle.position or past.position == position_id(cycle.account, cycle.symbol)
    first = min(cycle.since, cycle.closed_at) - SLACK_MS
    return named and past.fills > 0 and first <= past.closed_at <= cycle.closed_at + SLACK_MS


def _with(cycle: ClosedCycle, past: PastPosition) -> ClosedCycle:
    """Return a cycle with its amounts; without, where not all of its fills are known."""
    whole = past.complete
    return msgspec.structs.replace(
        cycle,
        opened_at=cycle.opened_at if cycle.opened_at is not None or not whole else past.opened_at,
        exit_price=past.exit_price if whole else None,
        realized_pnl=past.realized_pnl if whole else None,
        fees=past.fees if whole else None,
        funding=past.funding if whole else None,
        liquidation_fee=past.liquidation_fee if whole else None,
        realized_net=past.realized_net if whole else None,
    )
