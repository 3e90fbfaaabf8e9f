"""All comparisons of an account and symbol. Pure, exact.

A record is of a trade (``trade_id``), of a closing order (``order_id``), of a settlement, or of a position from opening to close
(``opened_at``); each is compared in its own unit.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal

from exchanges.events import ClosedPnl, Fill, FundingPayment
from gateway.core.records import Finding
from gateway.core.round_trips import ZERO, told
from gateway.core.verify.book import Book, Unit
from gateway.core.verify.cycles import cycles
from gateway.core.verify.doubles import Doubled
from gateway.core.verify.judge import Judge
from gateway.core.verify.ledger import Ledger
from gateway.core.verify.orders import orders, settlements
from gateway.core.verify.trades import trades
from gateway.core.verify.weighing import less

_MISSING = {"size", "fills", "realized_pnl"}  # what differs where fills are missing


def compare(book: Book) -> list[Unit]:
    """Return all comparisons of an account and symbol, by time."""
    ledger = Ledger(book)
    judge = Judge(ledger)
    judge.units += [_told_twice(one, book.symbol) for one in ledger.doubled]
    cases = [*trades(ledger), *orders(ledger), *settlements(ledger), *cycles(ledger)]
    # Of one moment what is missing first: what follows from it is no fault of its own.
    for case in sorted(cases, key=lambda case: (case.at, bool(case.fills))):
        judge.judge(case)
    return sorted((*judge.units, *_gaps(ledger, judge.units)), key=lambda unit: unit.at)


def _gaps(ledger: Ledger, found: Sequence[Unit]) -> Iterator[Unit]:
    """Yield where the size that the venue says was held before a fill is not what the fills before it left."""
    held: dict[str, Decimal] = {}
    for moves in ledger.by_fill.values():  # in the order of their folding; a flip is two moves of one fill
        position, fill = moves[0].move.position, moves[0].fill
        if fill.start_position is None:
            continue
        before, start, size = held.get(position), Decimal(fill.start_position), Decimal(fill.size)
        held[position] = start + (size if fill.side == "buy" else -size)
        if before is not None and before != start and not _explained(found, fill.at):
            what = (
                f"{told(before)} was held after the fill before, and {told(start)} before this one: fills are missing"
            )
            finding = Finding(
                cls="unexplained", what=what, symbol=ledger.book.symbol, position=position, since=fill.at, at=fill.at,
                ccy=ledger.book.settle, differences={"size": told(less(start, before)) or "0"}, fills=(fill.id,),
            )  # fmt: skip
            yield Unit(fill.at, {"size": before}, {"size": start}, finding)


def _explained(found: Iterable[Unit], at: int) -> bool:
    """Say whether an earlier line is of fills that are missing: nothing else makes sizes differ."""
    lines = (one.finding for one in found if one.finding is not None and one.finding.cls == "unexplained")
    return any(one.at <= at and not _MISSING.isdisjoint(one.differences) for one in lines)


def _told_twice(one: Doubled, symbol: str) -> Unit:
    first, ids = one.events[0], tuple(event.id for event in one.events)
    finding = Finding(
        cls="unexplained", what=one.what, symbol=symbol, position=first.position, since=first.at, at=first.at, ccy=one.ccy,
        differences={one.field: told(-one.extra) or "0"}, effect=told(ZERO if isinstance(first, ClosedPnl) else -one.extra) or "0",
        fills=ids if isinstance(first, Fill) else (), payments=ids if isinstance(first, FundingPayment) else (),
        records=ids if isinstance(first, ClosedPnl) else (),
    )  # fmt: skip
    return Unit(first.at, {one.field: one.extra}, {one.field: ZERO}, finding)
