"""How a position's figures came about: the venue's figure, the model's own, and what the model read. Pure."""

from __future__ import annotations

import math

from gateway.core.anchor import is_inverse
from gateway.core.positions import Book
from gateway.core.rows import Row, present, settle_of
from gateway.core.state import Position


def explain(position: Position, book: Book) -> Row:
    """Return ``{"unrealized_pnl": …, "liquidation_price": …}`` with venue, model, residual, name and inputs each.

    ``venue`` is the venue's figure at the anchor, digits unchanged; ``model`` is computed at the present marks. Where no formula
    applies, ``model`` is absent; where no price liquidates the position, both are.
    """
    return {"unrealized_pnl": _pnl(position, book), "liquidation_price": _liquidation(position, book)}


def _entry(venue: str | None, model: float, name: str | None, inputs: Row) -> Row:
    residual = model - float(venue) if venue is not None else math.nan
    return present({"venue": venue, "model": model, "residual": residual, "name": name, "inputs": present(inputs)})


def _pnl(position: Position, book: Book) -> Row:
    """The model's own PnL counts from the published entry alone, so that it can be held against the venue's."""
    state, found = position.state, position.anchor
    inverse = is_inverse(state, position.instrument)
    mark = book.figures(position.handle).get("mark", math.nan)
    entry = float(state.pnl_price or state.entry_price or "nan")
    model = found.quantity * ((1 / entry - 1 / mark) if inverse and entry and mark else mark - entry)
    inputs: Row = {
        "quantity": found.quantity,
        "entry_price": state.pnl_price or state.entry_price,
        "mark_price": mark,
        "anchor_upnl": found.upnl0,
        "anchor_mark": found.mark0,
        "anchor_refused": found.refused,
    }
    return _entry(state.venue_unrealized_pnl, model, "inverse" if inverse else "linear", inputs)


def _liquidation(position: Position, book: Book) -> Row:
    state, maintenance, pool = position.state, position.maintenance, position.pool
    figures = book.figures(position.handle)
    model = figures.get("liq", math.nan) if maintenance.model else math.nan
    inputs: Row = {
        "pool": pool.name,
        "ccy": pool.ccy or settle_of(position),
        "pool_cash": float(book.cash[pool.number]),
        "pool_equity": float(book.equity[pool.number]),
        "pool_maintenance_margin": float(book.maintenance[pool.number]),
        "beyond_rows_maintenance": float(book.extra_mm[pool.number]) or None,
        "quantity": position.anchor.quantity,
        "mark_price": figures.get("mark"),
        "maintenance_rate": maintenance.at_notional(figures.get("notional", math.nan)).rate,
        "max_leverage": state.max_leverage,
        "leverage": state.leverage,
        "mode": position.account.mode.mode if position.account.mode else None,
    }
    return _entry(state.venue_liquidation_price, model, maintenance.model, inputs)
