"""Rows of positions as clients see them: built from the engine's records only when somebody wants them.

Owns names and presence of fields, and whose liquidation price is shown. Exact venue figures stay strings, computed figures are
numbers, an unknown figure is absent. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import Decimal

from exchanges.events import LiquidationKnown
from gateway.core.anchor import computable, is_inverse, signed_quantity
from gateway.core.margin.inputs import is_bought_option
from gateway.core.positions import Book
from gateway.core.realized import exact_sum
from gateway.core.state import Position, Static

Row = dict[str, object]

_VENUE_SENT = (
    "margin_mode",
    "status",
    "size",
    "entry_price",
    "break_even_price",
    "leverage",
    "isolated_margin",
    "adl",
    "take_profit",
    "stop_loss",
    "funding",
    "venue_unrealized_pnl",
    "venue_liquidation_price",
    "opened_at",
    "venue_at",
)
_CONTRACT = (
    "unified_symbol",
    "base",
    "base_multiplier",
    "settle",
    "contract_type",
    "contract_size",
    "contract_ccy",
    "expires_at",
)


def present(row: Mapping[str, object]) -> Row:
    """Return the fields that are known: None and NaN are absent."""
    return {name: value for name, value in row.items() if value is not None and value == value}  # noqa: PLR0124  NaN only


def settle_of(position: Position) -> str | None:
    """Return the currency that a position is settled in."""
    return position.instrument.settle if position.instrument else position.state.settle


def static_row(position: Position) -> Row:
    """Return the part of a position's row that only a venue report or a contract change moves."""
    state, info, instrument = position.state, position.account.info, position.instrument
    row: Row = {
        "user": info.user,
        "account": info.name,
        "venue": info.venue,
        "env": info.env,
        "symbol": state.symbol,
        "execution": info.execution,
        "kind": state.kind,
        "side": state.side,
        "pool": position.pool.name,
        "settle": state.settle,
        "contract_type": state.contract_type,
        "contract_size": state.contract_size,
    }
    row.update({name: getattr(instrument, name) for name in _CONTRACT} if instrument else {})
    row.update({name: getattr(state, name) for name in _VENUE_SENT})
    quantity = signed_quantity(state, instrument)
    row |= _since_opened(position)
    row["quantity"] = format(quantity, "f") if quantity is not None else None
    row["anchor_at"] = position.anchored_at
    row["entry_price_exact"] = None if state.entry_exact else entry_of(position)
    return present(row)


def _since_opened(position: Position) -> Row:
    """Return what a position brought and cost since it was opened; the venue's own count of its funding goes before ours."""
    state, amounts = position.state, position.amounts
    funding = state.funding if state.funding is not None else position.accrued
    if amounts is None:
        return {"funding": funding}
    row = {name: getattr(amounts, name) for name in ("realized_pnl", "fees", "liquidation_fee")}
    row["funding"] = amounts.funding if funding is None else funding
    net: Decimal | None = Decimal(0)
    for amount in row.values():
        net = exact_sum(net, Decimal(amount)) if net is not None and amount is not None else None
    return row | {"realized_net": None if net is None else format(net, "f")}


def entry_of(position: Position) -> float:
    """Return the entry price; where the venue rounds it, the one that its anchor implies (linear contracts alone). NaN: unknown."""
    state, found = position.state, position.anchor
    if state.entry_exact:
        return float(state.entry_price) if state.entry_price else math.nan
    return found.mark0 - found.upnl0 / found.quantity if found.quantity else math.nan


def position_row(
    position: Position, book: Book, marks_down_since: int | None, dust_usd: float, slow: Row | None = None
) -> Row:
    """Return a position's whole row: its static part, the columns as they are now, and what is worked out once a second."""
    if position.static is None:
        position.static = Static(static_row(position), _at_stake(position))
    state, symbol = position.state, position.symbol
    figures = book.figures(position.handle)
    usd = position.account.usd(settle_of(position))
    mark, notional, upnl = (
        figures.get("mark", math.nan),
        figures.get("notional", math.nan),
        figures.get("upnl", math.nan),
    )
    initial = initial_margin(position, notional)
    moving = computable(state, position.instrument)
    row: Row = {
        "mark_price": mark,
        "mark_at": symbol.at,
        "mark_source": symbol.source,
        "base_quantity": _base_quantity(position, figures) if moving else None,
        "notional": notional if moving else None,
        "notional_usd": notional * usd if moving else None,
        "unrealized_pnl": upnl,
        "unrealized_pnl_usd": upnl * usd,
        "roe": upnl / position.static.at_stake,
        "initial_margin": initial,
        "maintenance_margin": figures.get("mm"),
        "margin": margin_of(position, book) if position.pool.isolated else initial,
        "venue_warning": warning_of(position.warning),
        "missing": missing(position, figures),
        "stale": stale(position, marks_down_since),
        "dust": True if moving and notional * usd < dust_usd else None,
    }
    row |= _liquidation(position, figures, book)
    return joined(position.static.row | present(row), slow or {})


def _liquidation(position: Position, figures: Mapping[str, float], book: Book) -> Row:
    """Return the fields of liquidation: whose price is shown, the price, where the pool is spent, and how far that is."""
    source = liquidation_source(position, figures, book)
    row: Row = {"liquidation_source": source}
    if source == "venue":
        row["liquidation_price"] = float(position.state.venue_liquidation_price or "nan")
    elif source in ("model", "calibrated"):
        price, trigger = figures.get("liq", math.nan), figures.get("trigger", math.nan)
        tick = float(position.instrument.tick_size or 0) if position.instrument else 0.0
        row["liquidation_price"] = price
        row["trigger_price"] = None if abs(trigger - price) <= max(tick, 1e-9 * price) else trigger
    if source not in ("none", "unknown"):
        row["liquidation_distance"] = figures.get("distance")
    if source == "calibrated" and position.pool.calibration is not None:
        row["anchor_at"] = position.pool.calibration.anchored_at
    return row


def joined(row: Row, slow: Row) -> Row:
    """Return a row with its slow fields; what both lack is named once."""
    found = row | slow
    if "missing" in row and "missing" in slow:
        found["missing"] = [*row["missing"], *slow["missing"]]  # type: ignore[misc]
    return found


def warning_of(warning: tuple[int, str] | None) -> Row | None:
    """Return what a venue warned of: its words, and when."""
    return {"what": warning[1], "at": warning[0]} if warning else None


def initial_margin(position: Position, notional: float) -> float:
    """Return what a position binds (settle currency): notional / leverage; nothing where it was paid in full."""
    if is_bought_option(position.state):
        return 0.0
    leverage = float(position.state.leverage) if position.state.leverage else 0.0
    return notional / leverage if leverage > 0 else math.nan


def _base_quantity(position: Position, figures: Mapping[str, float]) -> float:
    if is_inverse(position.state, position.instrument):
        return -figures.get("value", math.nan)
    return position.anchor.quantity


def margin_of(position: Position, book: Book) -> float:
    """Return the equity of an isolated position's own pool (settle currency)."""
    return float(book.equity[position.pool.number])


def _at_stake(position: Position) -> float:
    """Return entry notional / leverage; isolated on OKX: the margin. NaN where that is nothing, or not known."""
    state = position.state
    if position.account.info.venue == "okx" and position.pool.isolated:
        base = float(state.isolated_margin) if state.isolated_margin else math.nan
    else:
        entry = entry_of(position)
        leverage = float(state.leverage) if state.leverage else math.nan
        size = abs(position.anchor.quantity)
        value = size / entry if is_inverse(state, position.instrument) and entry else size * entry
        base = value / leverage if leverage else math.nan
    return base or math.nan


def speaks(position: Position) -> bool:
    """Say whether the model's figures are to be shown of a position, as far as that can be said before they are solved.

    A model that is not trusted, or that is too far from the venue, runs beside the venue's word. A trusted one that is too far
    away is shown all the same where the venue names no price: rather a warning too many (its alert fires). The columns are told,
    and what they make of it (``Book.heard``) decides for the row, its distance and its alerts alike.
    """
    record = position.pool.calibration
    beyond = record is not None and record.verdict == "venue"
    return position.trusted and not (beyond and position.state.liquidation_known == "price")


def liquidation_source(position: Position, figures: Mapping[str, float], book: Book) -> str:
    """Return where the shown liquidation price comes from: model, calibrated, venue, none (there is none) or unknown."""
    if is_bought_option(position.state):
        return "none"
    if not book.heard(position.handle):
        return {"price": "venue", "none": "none", "unknown": "unknown"}[venues_word(position)]
    if "liq" not in figures and "distance" not in figures:
        return "none"
    record = position.pool.calibration
    return "calibrated" if record is not None and record.verdict == "calibrated" else "model"


def venues_word(position: Position) -> LiquidationKnown:
    """Return what the venue says of a position's liquidation, as far as that is to be believed where no formula speaks.

    That there is no price is a word of safety. Nobody can check it where what backs the pool is not known, and a field left empty
    reads the same: then it says nothing.
    """
    known = position.state.liquidation_known
    return "unknown" if known == "none" and not position.pool.backing_known else known


def missing(position: Position, figures: Mapping[str, float]) -> list[str] | None:
    """Return what keeps figures from being computed, or None."""
    reasons = []
    if math.isnan(position.anchor.quantity):
        reasons.append("contract_size")
    if "mark" not in figures and computable(position.state, position.instrument):
        reasons.append("mark")
    if position.anchor.refused:
        reasons.append("anchor_refused")
    if "mm" not in figures:
        reasons.append("maintenance")
    modelled = position.account.computable and computable(position.state, position.instrument)
    if modelled and not position.pool.backing_known:
        reasons.append("collateral")
    return reasons or None


def stale(position: Position, marks_down_since: int | None) -> Row | None:
    """Return why a row's figures are not live, the gravest reason first, or None."""
    found = position.account.stale()
    if found is None and position.restored_at is not None:
        return {"since": position.restored_at, "reason": "restored"}
    if found is None and position.pending_fill is not None:
        return {"since": position.pending_fill.since, "reason": "fill_pending"}
    if found is None and marks_down_since is not None:
        return {"since": marks_down_since, "reason": "mark_feed"}
    return found
