"""How figures came about: the venue's figure, the model's own, what the model read, and how far it is from the venue. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from gateway.core.account_rows import account_equity
from gateway.core.accounts import Account, Pool
from gateway.core.anchor import computable, is_inverse
from gateway.core.margin.catalog import CATALOG
from gateway.core.margin.scalar import Snapshot, x_of
from gateway.core.positions import Book
from gateway.core.residuals import Agreement
from gateway.core.rows import Row, present, settle_of
from gateway.core.state import Position

_NO_POSITIONS: Mapping[str, Position] = {}


def explain(position: Position, book: Book, positions: Mapping[str, Position] = _NO_POSITIONS) -> Row:
    """Return ``{"unrealized_pnl": …, "liquidation_price": …, "calibration": …}``: venue, model, residual, name and inputs each.

    ``venue`` is the venue's figure at the anchor, digits unchanged; ``model`` is computed at the present marks, uncalibrated. Where
    no formula applies, ``model`` is absent; where no price liquidates the position, both are. ``calibration`` holds the model
    against the venue at the marks of the venue's own message; it is absent where that was never done.

    Args:
        positions: Open positions by id: the other leg of a hedge is looked up there.
    """
    found = {
        "unrealized_pnl": _pnl(position, book),
        "liquidation_price": _liquidation(position, book, positions),
        "calibration": _calibration(position),
    }
    return present(found)


def explain_account(account: Account, members: Sequence[Position], book: Book, agreement: Agreement | None) -> Row:
    """Return an account's equity per currency and its pools against the venue's figures, and how all comparisons went so far.

    Args:
        members: Its open positions.
        agreement: What was compared since the start; None: nothing.
    """
    held = [(position, book.figures(position.handle)) for position in members]
    venues = {coin.ccy: coin.equity for coin in account.all_coins()}
    equity = {
        ccy: _entry(venues.get(ccy), ours, "balance and unrealised PnL", {})
        for ccy, ours in account_equity(account, held, book).items()
    }
    pools = {name: _pool(pool, book) for name, pool in account.pools.items()}
    return {"equity": equity, "pools": pools, "residuals": agreement.row() if agreement is not None else {}}


def _pool(pool: Pool, book: Book) -> Row:
    state, record = pool.state, pool.calibration
    figures = {
        "equity": (state.venue_equity if state else None, float(book.equity[pool.number])),
        "maintenance_margin": (state.venue_maintenance_margin if state else None, float(book.maintenance[pool.number])),
    }
    row: Row = {name: _entry(venue, ours, None, {}) for name, (venue, ours) in figures.items()}
    row["ccy"] = pool.ccy
    row["cash"] = float(book.cash[pool.number])
    if record is not None:
        row["calibration"] = present(
            {
                "verdict": record.verdict,
                "delta": record.delta,
                "delta_share": record.share,
                "distance": record.distance,
                "anchor_at": record.anchored_at,
                "anchor_skew_ms": record.skew_ms,
                "flagged_since": record.since,
                "flagged": {row_id: why for row_id, (_, why) in record.beyond.items()} or None,
            }
        )
    return present(row)


def _calibration(position: Position) -> Row | None:
    """Return the last comparison of a position with its venue, and what its pool made of it."""
    record, model = position.pool.calibration, position.maintenance.model
    if record is None or model is None:
        return None
    one = record.rows.get(position.state.id)
    row: Row = {
        "verdict": record.verdict,
        "trusted": position.trusted,
        "evidence": CATALOG[model].evidence if model in CATALOG else None,
        "pool_delta": record.delta,
        "anchor_at": record.anchored_at,
        "anchor_skew_ms": record.skew_ms,
        "flagged": record.beyond[position.state.id][1] if position.state.id in record.beyond else None,
    }
    if one is not None:
        row |= {
            "model_at_anchor": one.model,
            "delta": one.delta,
            "explained_by_rounding": one.slack if math.isfinite(one.slack) else None,
            "delta_share": one.share,
            "distance": one.distance,
            "one_sided": one.one_sided,
        }
    return present(row)


def _own_price(position: Position, book: Book, positions: Mapping[str, Position]) -> float:
    """Return the model's liquidation price at the present marks, without calibration."""
    number = position.pool.number
    others = [positions[row_id] for row_id in sorted(position.pool.members) if row_id in positions]
    siblings = [one for one in others if one is not position and one.symbol is position.symbol]
    legs = tuple(book.leg(one.handle, one.maintenance) for one in (position, *siblings))
    equity, kept = sum(leg.equity for leg in legs), sum(leg.kept for leg in legs)
    pool = Snapshot(float(book.equity[number]) - equity, float(book.maintenance[number]) - kept, legs)
    return legs[0].published(pool.root(legs[0]))


def _entry(venue: str | None, model: float, name: str | None, inputs: Row) -> Row:
    residual = model - float(venue) if venue is not None else math.nan
    return present({"venue": venue, "model": model, "residual": residual, "name": name, "inputs": present(inputs)})


def _pnl(position: Position, book: Book) -> Row:
    """The model's own PnL counts from the published entry alone, so that it can be held against the venue's."""
    state, found = position.state, position.anchor
    inverse, modelled = is_inverse(state, position.instrument), computable(state, position.instrument)
    mark = book.figures(position.handle).get("mark", math.nan)
    entry = float(state.pnl_price or state.entry_price or "nan")
    model = math.nan
    if modelled and entry > 0.0 and mark > 0.0:
        model = found.quantity * (x_of(mark, inverse=inverse) - x_of(entry, inverse=inverse))
    inputs: Row = {
        "quantity": found.quantity,
        "entry_price": state.pnl_price or state.entry_price,
        "mark_price": mark,
        "anchor_upnl": found.upnl0,
        "anchor_mark": found.mark0,
        "anchor_refused": found.refused,
    }
    return _entry(state.venue_unrealized_pnl, model, ("inverse" if inverse else "linear") if modelled else None, inputs)


def _liquidation(position: Position, book: Book, positions: Mapping[str, Position]) -> Row:
    state, maintenance, pool = position.state, position.maintenance, position.pool
    figures = book.figures(position.handle)
    model = _own_price(position, book, positions) if maintenance.model else math.nan
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
