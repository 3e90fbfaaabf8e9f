"""Why a position changed: a bounded memory of what the venue said of causes, matched to changes and judged. Pure.

Owns which fills, bills and notices speak of a change, and what they prove. Never guesses: without evidence there is no cause.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import NamedTuple

from exchanges.events import Cause, Evidence, Fill, FundingPayment
from gateway.core.difference import Change
from gateway.core.records import CloseReason, CorrectionClass

# Evidence and change carry times of different clocks of a venue, and found_at is ours.
SLACK_MS = 2_000
_MAX_PIECES = 2_000  # per account
# A notice belongs to the fill that it explains when it is not further from it than this.
_NOTICE_MS = 1_000

_CLASS: dict[Cause, CorrectionClass] = {
    "liquidation": "liquidated",
    "adl": "adl",
    "settlement": "settled",
    "adjustment": "adjusted",
}
_PLAIN: dict[Change, CorrectionClass] = {
    "gone": "closed_on_venue",
    "new": "opened_on_venue",
    "size": "size",
    "entry": "entry",
    "margin": "margin",
}
REASONS: dict[Cause, CloseReason] = {
    "trade": "trade",
    "liquidation": "liquidated",
    "adl": "adl",
    "settlement": "settled",
    "adjustment": "settled",
}
_GRAVITY: dict[Cause, int] = {
    "liquidation": 6, "adl": 5, "settlement": 4, "adjustment": 3, "trade": 2, "margin": 1, "funding": 0,
}  # fmt: skip


class Piece(NamedTuple):
    """One thing that the venue said.

    Attributes:
        signed: Of fills: the signed size in the venue's unit; None: not a fill.
        end: The signed position after the fill, where the venue states the one before.
        words: Its id and the venue's words for the cause.
        told: The private stream brought it while it was live.
    """

    at: int
    id: str
    symbol: str
    position: str | None
    cause: Cause
    words: tuple[str, ...]
    told: bool
    signed: Decimal | None = None
    end: Decimal | None = None

    def concerns(self, position: str | None, symbol: str | None) -> bool:
        """Say whether it speaks of a position: by its id, else by its symbol."""
        return self.position == position if self.position is not None else self.symbol == symbol


def piece_of(event: Fill | Evidence | FundingPayment, *, told: bool) -> Piece:
    """Return what an event proves."""
    if isinstance(event, Fill):
        signed = Decimal(event.size) if event.side == "buy" else -Decimal(event.size)
        end = Decimal(event.start_position) + signed if event.start_position is not None else None
        words = (event.id, event.category) if event.category else (event.id,)
        return Piece(event.at, event.id, event.symbol, event.position, event.cause, words, told, signed, end)
    if isinstance(event, FundingPayment):
        return Piece(event.at, event.id, event.symbol, event.position, "funding", (event.id, "funding"), told)
    name = f"{event.what}/{event.symbol}/{event.at}/{','.join(event.ids)}"
    return Piece(event.at, name, event.symbol, event.position, event.cause, (*event.ids, event.what), told)


class Memory:
    """The newest pieces of one account, in the order of their times."""

    def __init__(self, max_pieces: int = _MAX_PIECES) -> None:
        self._pieces: list[Piece] = []
        self._by_id: dict[str, Piece] = {}
        self._max = max_pieces

    def __len__(self) -> int:
        return len(self._pieces)

    def add(self, piece: Piece) -> bool:
        """Keep a piece; return False where it is known. One that the stream brings, too, becomes told."""
        known = self._by_id.get(piece.id)
        if known is not None:
            if known.told or not piece.told:
                return False
            self._pieces.remove(known)
        insort(self._pieces, piece, key=lambda one: (one.at, one.id))
        self._by_id[piece.id] = piece
        if len(self._pieces) > self._max:
            del self._by_id[self._pieces.pop(0).id]
        return True

    def of(self, position: str, symbol: str, after: int, until: int) -> list[Piece]:
        """Return what speaks of a position in (after, until]: by its id, else by its symbol, oldest first."""
        start = bisect_left(self._pieces, after + 1, key=lambda one: one.at)
        found = []
        for piece in self._pieces[start:]:
            if piece.at > until:
                break
            if piece.concerns(position, symbol):
                found.append(piece)
        return found


def explaining(pieces: Sequence[Piece], delta: Decimal, final: Decimal) -> list[Piece]:
    """Return the newest fills that together make exactly this change of signed size; none where nothing does.

    The legs of a hedge share a symbol: fills of the direction of the change alone are tried, too. A fill that states the
    position before it proves where it ends.
    """
    fills = [piece for piece in pieces if piece.signed is not None]
    if fills and fills[-1].end is not None and fills[-1].end == final:
        return _suffix(fills, delta) or fills[-1:]
    towards = [piece for piece in fills if piece.signed is not None and (piece.signed > 0) == (delta > 0)]
    return _suffix(fills, delta) or _suffix(towards, delta)


def _suffix(fills: Sequence[Piece], delta: Decimal) -> list[Piece]:
    total = Decimal(0)
    for index in range(len(fills) - 1, -1, -1):
        total += fills[index].signed or 0
        if total == delta:
            return list(fills[index:])
    return []


def speaking(pieces: Sequence[Piece], change: Change, delta: Decimal) -> list[Piece]:
    """Return the pieces that can be the cause of a change of this kind and direction, the exact ones where there are some."""
    if change == "margin":
        return [piece for piece in pieces if piece.cause in ("margin", "funding", "adjustment", "settlement")]
    notices = [
        piece for piece in pieces if piece.signed is None and piece.cause not in ("margin", "funding")
    ]  # fmt: skip
    if change == "entry":
        return [piece for piece in pieces if piece.signed is not None or piece in notices]
    towards = [piece for piece in pieces if piece.signed is not None and (piece.signed > 0) == (delta > 0)]
    return sorted([*towards, *notices])


def cause_of(pieces: Iterable[Piece]) -> Cause | None:
    """Return the cause of a change by what speaks of it: that of the last fill, unless a notice beside it names a graver one."""
    ordered = sorted(pieces, key=lambda piece: (piece.at, _GRAVITY[piece.cause]))
    if not ordered:
        return None
    fills = [piece for piece in ordered if piece.signed is not None]
    if not fills:
        return max(ordered, key=lambda piece: _GRAVITY[piece.cause]).cause
    notices = [piece.cause for piece in ordered if piece.signed is None and piece.at >= fills[-1].at - _NOTICE_MS]
    return max([fills[-1].cause, *notices], key=_GRAVITY.__getitem__)


def class_of(change: Change, pieces: Sequence[Piece], *, listening: bool) -> CorrectionClass:
    """Return the class of a correction by its evidence.

    Args:
        listening: The private stream was live when the newest piece happened: it should have told.
    """
    cause = cause_of(pieces)
    if cause is None:
        return "unknown"
    if cause in _CLASS:
        return _CLASS[cause]
    return "missed_event" if listening else _PLAIN[change]


def reason_of(pieces: Iterable[Piece]) -> CloseReason | None:
    """Return why a position closed; None without evidence."""
    cause = cause_of(piece for piece in pieces if piece.cause in REASONS)
    return REASONS[cause] if cause else None


def words_of(pieces: Iterable[Piece], most: int = 20) -> tuple[str, ...]:
    """Return ids and words of evidence, each once, the newest ``most`` pieces."""
    return tuple(dict.fromkeys(word for piece in sorted(pieces)[-most:] for word in piece.words))
