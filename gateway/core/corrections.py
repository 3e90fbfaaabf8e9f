"""Corrections: what a venue's answer changed that nothing had told of, with its class and the evidence for it. Pure.

Owns the `reconciliations` table and a correction's way: found → held for a short grace while the stream lives (the answer may
merely run ahead of the stream's own event) → on record, pending while evidence is asked → classified. A difference that the
stream explains, by the same state or by fills, is no correction.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import NamedTuple

import msgspec

from exchanges.events import PositionState
from gateway.core.accounts import Account
from gateway.core.difference import change_of, difference, signed
from gateway.core.evidence import SLACK_MS, Piece, class_of, explaining, speaking, words_of
from gateway.core.publish import Changes, key_of
from gateway.core.records import Correction, CorrectionClass, Trigger
from gateway.core.rows import Row, present

GRACE_MS = 2_000
# A venue that tells by its whole state every 4-5 s is waited for until the next one (Hyperliquid).
ROUTINE_GRACE_MS = 8_000
KEEP = 1_000
# Evidence is looked for no further back: venues keep it a week, and every page costs their limits.
LONGEST_MS = 7 * 86_400_000
# One that stayed unknown may still be explained by what comes late.
_LATE_MS = 600_000


class _Held(NamedTuple):
    draft: Correction
    scope: str
    after: PositionState | None
    until: int


class Corrections:
    """All corrections. ``on_final`` hears of every one whose class is settled."""

    def __init__(self, changes: Changes, counters: Counter[str], on_final: Callable[[Correction], None]) -> None:
        self.records: dict[str, Correction] = {}
        self._changes, self._counters, self._on_final = changes, counters, on_final
        self._held: dict[str, _Held] = {}  # by position
        self._open: dict[str, set[str]] = {}  # account → ids of pending and of newly unknown ones
        self._owners: dict[str, Account] = {}
        self._count = 0

    # --- found ---------------------------------------------------------------------------------------------------

    def found(
        self,
        account: Account,
        before: PositionState | None,
        after: PositionState | None,
        *,
        since: int,
        now: int,
        trigger: Trigger,
        grace_ms: int,
    ) -> None:
        """Take what an answer changes of one position (None: there is none), before it is applied."""
        was, is_ = difference(before, after)
        state = after or before
        if state is None or not (was or is_):
            return
        mode = account.mode_change
        draft = Correction(
            id="", account=account.info.name, position=state.id, symbol=state.symbol, before=was, after=is_,
            found_at=now, since=max(since, now - LONGEST_MS), trigger=trigger,
            mode=mode[1] if mode is not None and mode[0] > since else None,
        )  # fmt: skip
        earlier = self._held.pop(state.id, None)
        if earlier is not None:
            self._record(account, earlier.draft)
        self._owners[account.info.name] = account
        if not account.listening.live:
            self._record(account, draft)
        elif not self._told(account, draft):
            self._held[state.id] = _Held(draft, state.scope, after, now + grace_ms)

    def put(self, account: Account, draft: Correction) -> None:
        """Put one on record whose class is known, or None (its evidence is then asked)."""
        self._owners[account.info.name] = account
        self._keep(account, self._named(draft))

    # --- what may explain it -----------------------------------------------------------------------------------------

    def said(self, position: str, state: PositionState | None) -> None:
        """The stream says the state of a position (None: closed): the same as the answer's makes it no correction."""
        held = self._held.get(position)
        if held is not None and difference(held.after, state) == ({}, {}):
            del self._held[position]
            self._counters["answers_ahead_of_stream"] += 1

    def said_all(self, account: str, scope: str, states: Iterable[PositionState]) -> None:
        """The stream says the whole state of a scope."""
        listed = {state.id: state for state in states}
        for position, held in list(self._held.items()):
            if (held.draft.account, held.scope) == (account, scope):
                self.said(position, listed.get(position))

    def evidence(self, account: Account, piece: Piece) -> None:
        """New evidence of an account came: some may be explained, some classified."""
        name = account.info.name
        for position, held in list(self._held.items()):
            concerned = held.draft.account == name and piece.concerns(position, held.draft.symbol)
            if concerned and self._told(account, held.draft):
                del self._held[position]
        for record_id in sorted(self._open.get(name, ())):
            known = self.records[record_id]
            if not piece.concerns(known.position, known.symbol):
                continue
            judged = self._judge(account, known, final=not known.pending)
            if judged is not None and judged.cls not in (known.cls, "unknown"):
                self._keep(account, judged)

    def history(self, account: Account, since: int, asked_at: int) -> None:
        """Everything since then was read: what is not there, is not."""
        for record_id in sorted(self._open.get(account.info.name, ())):
            known = self.records[record_id]
            if known.pending and since <= known.since and asked_at >= known.found_at:
                judged = self._judge(account, known, final=True)
                if judged is not None:
                    self._keep(account, judged)

    def age(self, now: int) -> None:
        """Put on record what the stream did not tell in time."""
        for position, held in list(self._held.items()):
            if held.until <= now:
                del self._held[position]
                self._record(self._owners[held.draft.account], held.draft)

    def tidy(self, now: int) -> None:
        """Let go of what stayed unknown for too long."""
        for ids in self._open.values():
            for known in [self.records[record_id] for record_id in ids]:
                if not known.pending and now - known.found_at > _LATE_MS:
                    ids.discard(known.id)

    def wanted(self) -> Iterable[Correction]:
        """Yield those whose evidence has to be asked."""
        for ids in self._open.values():
            yield from (self.records[record_id] for record_id in ids if self.records[record_id].pending)

    @property
    def held(self) -> int:
        """How many differences wait for the stream's own word."""
        return len(self._held)

    def restore(self, account: Account, correction: Correction) -> None:
        """Take one of an earlier life back; its evidence goes on being asked."""
        self._owners[account.info.name] = account
        if correction.pending:
            self._open.setdefault(correction.account, set()).add(correction.id)
        self._show(account, correction)

    def row(self, row_id: str) -> Row:
        """Return the row of the `reconciliations` table."""
        record = self.records[row_id]
        info = self._owners[record.account].info
        said = msgspec.structs.asdict(record)
        said["class"] = said.pop("cls")
        said |= {"evidence": list(record.evidence), "before": dict(record.before), "after": dict(record.after)}
        del said["id"]
        return present(
            {"user": info.user, "venue": info.venue, "env": info.env, "pending": record.pending or None} | said
        )

    # --- inside --------------------------------------------------------------------------------------------------------

    def _pieces(self, account: Account, draft: Correction) -> list[Piece]:
        if draft.position is None or draft.symbol is None:
            return []
        return account.memory.of(draft.position, draft.symbol, draft.since, draft.found_at + SLACK_MS)

    def _told(self, account: Account, draft: Correction) -> bool:
        """Say whether what the stream told explains the difference."""
        told = [piece for piece in self._pieces(account, draft) if piece.told]
        change = change_of(dict(draft.before), dict(draft.after))
        if change in ("entry", "margin"):
            explained = bool(speaking(told, change, signed(dict(draft.after))))
        else:
            after = signed(dict(draft.after))
            delta = after - signed(dict(draft.before))
            notices = [piece for piece in speaking(told, change, delta) if piece.signed is None]
            explained = bool(notices or explaining(told, delta, after))
        self._counters["told_by_stream"] += explained
        return explained

    def _judge(self, account: Account, draft: Correction, *, final: bool) -> Correction | None:
        """Return the correction with its class; None where more evidence may settle it."""
        change = change_of(dict(draft.before), dict(draft.after))
        after = signed(dict(draft.after))
        delta = after - signed(dict(draft.before))
        pieces = self._pieces(account, draft)
        use = speaking(pieces, change, delta)
        if change in ("gone", "new", "size"):
            exact = explaining(pieces, delta, after)
            if not exact and not final and all(piece.signed is not None for piece in use):
                return None
            if exact:
                use = exact + [piece for piece in use if piece.signed is None]
        elif not use and not final:
            return None
        cls = class_of(change, use, listening=bool(use) and account.listening.heard(max(piece.at for piece in use)))
        if cls == "unknown" and draft.mode is not None and change in ("gone", "new", "margin"):
            return msgspec.structs.replace(draft, cls="mode_leftover", evidence=(draft.mode,))
        return msgspec.structs.replace(draft, cls=cls, evidence=words_of(use))

    def _record(self, account: Account, draft: Correction) -> None:
        if self._told(account, draft):
            return
        named = self._named(draft)
        self._keep(account, self._judge(account, named, final=False) or named)

    def _named(self, draft: Correction) -> Correction:
        self._count += 1
        return msgspec.structs.replace(draft, id=f"{draft.account}:{draft.found_at}-{self._count}")

    def _keep(self, account: Account, record: Correction) -> None:
        self._counters["corrections"] += record.id not in self.records
        if self._changes.sink:
            self._changes.sink.put_correction(record)
        if record.pending or record.cls == "unknown":
            self._open.setdefault(record.account, set()).add(record.id)
        else:
            self._settled(record)
        if record.cls is not None:
            self._counters[f"corrections_{record.cls}"] += 1
            self._on_final(record)
        self._show(account, record)

    def _show(self, account: Account, record: Correction) -> None:
        self.records[record.id] = record
        self._changes.touch("reconciliations", record.id, key_of(account.info, record.symbol))
        if len(self.records) > KEEP:
            oldest = next(iter(self.records))
            self._settled(self.records.pop(oldest))
            self._changes.remove("reconciliations", oldest)

    def _settled(self, record: Correction) -> None:
        self._open.get(record.account, set()).discard(record.id)


def by_hand(account: str, state: PositionState, reason: str, now: int) -> Correction:
    """Return the correction of a row that the operator closes, because its venue cannot be asked any more."""
    was, is_ = difference(state, None)
    return Correction(
        id="", account=account, position=state.id, symbol=state.symbol, cls="unknown", before=was, after=is_,
        evidence=(f"forced: {reason}",), found_at=now, since=now, trigger="demand",
    )  # fmt: skip


def shortfall(account: str, ccy: str, given: str, held: str, now: int) -> Correction:
    """Return the record of an account that holds less than it was given."""
    cls: CorrectionClass = "allocation"
    return Correction(
        id="", account=account, cls=cls, before={"allocated": given, "ccy": ccy}, after={"available": held, "ccy": ccy},
        found_at=now, since=now, trigger="timer",
    )  # fmt: skip
