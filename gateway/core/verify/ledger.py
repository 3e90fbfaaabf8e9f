"""The figures of one account and symbol, everything once, and the cases that are made of them. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from decimal import Decimal
from typing import NamedTuple, Protocol

from exchanges.events import ClosedPnl, FundingPayment
from gateway.core.round_trips import ZERO
from gateway.core.verify.book import Book
from gateway.core.verify.doubles import doubled
from gateway.core.verify.weighing import Weighed, bound, last_decimal, money_step, total, weighed


class Case(NamedTuple):
    """One comparison before it is judged.

    Attributes:
        since, at: What it spans. ``openers``: the round trips that it is of.
        bounds: What rounding may come to, by field. ``whole``: all fills are known that it follows from.
        fills, payments, records: Ids of what it compares.
        foreign: Fees that ``ours`` leaves out, being paid in another currency than ``ccy``.
        flat: Nothing is held after it, as far as we know. ``cycle``: the venue says when it began.
        direct: All but ``own_pnl`` is known by id: it follows from no other fill.
        said: What the stored rows themselves say that it brought; None: they do not say.
    """

    what: str
    since: int
    at: int
    ccy: str | None
    ours: dict[str, Decimal]
    venue: dict[str, Decimal]
    bounds: dict[str, Decimal]
    whole: bool = True
    openers: frozenset[str] = frozenset()
    fills: tuple[str, ...] = ()
    payments: tuple[str, ...] = ()
    records: tuple[str, ...] = ()
    position: str | None = None
    foreign: Mapping[str, Decimal] = {}
    flat: bool = False
    cycle: bool = False
    direct: bool = False
    said: Decimal | None = None

    @property
    def proves(self) -> bool:
        """Say whether nothing is held after it, as far as we know, and what it brought is compared: then sizes are right."""
        return self.flat and ("own_pnl" if self.direct else "size") in self.venue


class _Named(Protocol):
    @property
    def position(self) -> str | None: ...


class Ledger:
    """A book with everything once, and its fills folded.

    Attributes:
        doubled: What was there more than once. ``moves``: what the fills did, in order; ``by_fill``: by the fill's id.
        step: The last decimal that the venue sends of an amount.
    """

    def __init__(self, book: Book) -> None:
        self.book = book
        self.fills, self.payments, self.records, self.doubled = doubled(book.fills, book.payments, book.records)
        self.moves, self._paid = weighed(book, self.fills, self.payments, self.records)
        self.by_fill: defaultdict[str, list[Weighed]] = defaultdict(list)
        for move in self.moves:
            self.by_fill[move.fill.id].append(move)
        self.step = money_step(self.fills, self.payments, self.records)
        self._entry_step = last_decimal((*book.entries, *(record.entry_price for record in self.records)))
        named: list[Sequence[_Named]] = [book.fills, book.payments, book.transfers, book.records]
        self._named = {one.position for rows in named for one in rows} - {None}

    def fits(self, record: ClosedPnl, position: str | None) -> bool:
        """Say whether a record may be of a position; a leg that nobody named is of any."""
        return position in (None, record.position) or record.position is None or position not in self._named

    def pays(self, payment: FundingPayment) -> str | None:
        """Return the position that a payment is of; the venue names it, or it follows from what was held."""
        return payment.position or self._paid.get(payment.id)

    def was_read(self, at: int) -> bool:
        """Say whether the venue's records of a moment were read."""
        read = self.book.read
        return read is not None and read[0] <= at < read[1]

    def bound(self, closings: Sequence[Weighed]) -> Decimal:
        """Return what rounding may come to in what closings brought."""
        return bound(closings, self.step, self._entry_step, self.book.evidence.contract)

    def fees(self, moves: Sequence[Weighed], *, opening: bool) -> tuple[Decimal, dict[str, Decimal]]:
        """Return what moves cost (``opening``: with their share of what opening had cost): in settle currency, and in others."""
        by_ccy: defaultdict[str, Decimal] = defaultdict(lambda: ZERO)
        for move in moves:
            for fees in (move.fees, move.opening if opening else {}):
                for ccy, fee in fees.items():
                    by_ccy[ccy] = total((by_ccy[ccy], fee))
        own = by_ccy.pop(self.book.settle or "", ZERO)
        return own, {ccy: fee for ccy, fee in by_ccy.items() if fee}

    def opening(self, record: ClosedPnl, size: Decimal) -> Decimal:
        """Return what opening so much had cost of what was held at a record and is closed by no fill that is stored."""
        before = [
            move for move in self.moves
            if move.fill.at <= record.at and move.move.side == record.side and self.fits(record, move.move.position)
        ]  # fmt: skip
        mine = [move for move in before if move.move.opener == before[-1].move.opener]
        sizes = ((1 if not move.move.closes else -1) * move.move.part.size for move in mine)
        held, settle = total(sizes), self.book.settle or ""
        costs = ((move.fees if not move.move.closes else {settle: -move.opening.get(settle, ZERO)}) for move in mine)
        cost = total(one.get(settle) for one in costs)
        return cost * min(size, held) / held if held > 0 else ZERO

    def legs(self, openers: Collection[str] | None) -> set[str]:
        """Return the positions of round trips; None: all that there are."""
        return {move.move.position for move in self.moves if openers is None or move.move.opener in openers}

    def entered(self, case: Case) -> tuple[str, ...]:
        """Return the ids of the fills that opened the positions of a case, and of what was closed of them, up to it."""
        mine = (move.fill for move in self.moves if move.move.opener in case.openers)
        return tuple(dict.fromkeys(fill.id for fill in mine if fill.at <= case.at))

    def case(
        self, what: str, at: int, ours: dict[str, Decimal], venue: dict[str, Decimal], bounds: dict[str, Decimal],
        moves: Sequence[Weighed], records: Sequence[ClosedPnl],
    ) -> Case:  # fmt: skip
        """Return the case of moves that are held against records."""
        said = None
        if all(move.fill.realized_pnl is not None for move in moves):
            closes = all(move.move.closes for move in moves)
            said = total((self.fees(moves, opening=closes)[0], *(move.said for move in moves)))
        return Case(
            what, min((move.move.opened_at for move in moves), default=at), at,
            next((record.ccy for record in records if record.ccy), None) or self.book.settle, ours, venue, bounds,
            all(move.move.whole for move in moves), frozenset(move.move.opener for move in moves),
            tuple(dict.fromkeys(move.fill.id for move in moves)), (), tuple(record.id for record in records),
            next((move.move.position for move in moves), None), flat=any(move.over for move in moves), said=said,
        )  # fmt: skip


def closed(moves: Sequence[Weighed]) -> dict[str, Decimal]:
    """Return size and profit of closings; profit is missing where it does not follow from the fills."""
    own = [move.own for move in moves]
    found = {"size": size_of(moves)}
    if None not in own:
        found["realized_pnl"] = total(own)
    return found


def size_of(moves: Sequence[Weighed]) -> Decimal:
    """Return how much moves closed."""
    return total(move.move.part.size for move in moves if move.move.closes)
