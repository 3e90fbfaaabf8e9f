"""What fills realised of which the venue does not say so, as far as it follows from what opened their positions. Pure, exact."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from exchanges.events import Fill
from gateway.core.round_trips import ZERO, told
from gateway.core.verify.book import Book
from gateway.core.verify.ledger import Ledger
from gateway.core.verify.weighing import total


def completed(books: Iterable[Book]) -> Iterator[Fill]:
    """Yield the fills that say nothing of what they realised, with what that was; none of which it cannot be told."""
    for book in books:
        if any(fill.realized_pnl is None for fill in book.fills):
            yield from _completed(Ledger(book))


def _completed(ledger: Ledger) -> Iterator[Fill]:
    for moves in ledger.by_fill.values():  # a flip is two moves of one fill
        fill = moves[0].fill
        own = [move.move.own if move.move.closes else ZERO for move in moves]
        if fill.realized_pnl is None and None not in own and all(move.move.whole for move in moves):
            yield msgspec.structs.replace(fill, realized_pnl=told(total(own)))
