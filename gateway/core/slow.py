"""Figures that are published at most once a second, and only when their rounded value changed. Pure."""

from __future__ import annotations

import math

from exchanges.events import FundingRate
from gateway.core.positions import Book
from gateway.core.state import NextFunding, Position


def next_funding(position: Position, rate: FundingRate | None, book: Book) -> NextFunding | None:
    """Return what the next funding brings: notional at the present mark x rate, + for the side that receives.

    Four significant digits: the mark moves until then.
    """
    if rate is None:
        return None
    notional = book.notional(position.handle)
    amount = notional * float(rate.rate) * (1.0 if position.state.side == "short" else -1.0)
    shown = None if math.isnan(amount) else float(f"{amount:.4g}") + 0.0
    return NextFunding(float(rate.rate), rate.next_at, shown)
