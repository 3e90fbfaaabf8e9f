"""Table rows as clients see them (PROTOCOL.md "Tables"): built from the engine's records only when somebody wants them.

Owns names and presence of fields: exact venue figures stay strings, computed figures are numbers, an unknown figure is
absent. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from gateway.core.accounts import Account, Pool
from gateway.core.anchor import computable, is_inverse, paid_apart, signed_quantity
from gateway.core.margin.inputs import is_bought_option
from gateway.core.positions import Book
from gateway.core.state import Position

Row = dict[str, object]

_MINUTE_MS = 60_000
# A ratio is at most this: the pool's equity is gone.
_WORST_RATIO = 1_000.0

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
    row["quantity"] = format(quantity, "f") if quantity is not None else None
    row["anchor_at"] = position.anchored_at
    found = position.anchor
    if not state.entry_exact and found.quantity and not math.isnan(found.mark0):
        row["entry_price_exact"] = found.mark0 - found.upnl0 / found.quantity
    return present(row)


def position_row(
    position: Position, book: Book, marks_down_since: int | None, dust_usd: float, slow: Row | None = None
) -> Row:
    """Return a position's whole row: its static part, the columns as they are now, and what is worked out once a second."""
    if position.static is None:
        position.static = static_row(position)
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
        "roe": _roe(position, upnl),
        "initial_margin": initial,
        "maintenance_margin": figures.get("mm"),
        "margin": margin_of(position, book) if position.pool.isolated else initial,
        "venue_warning": _warning(position.warning),
        "missing": missing(position, figures),
        "stale": stale(position, marks_down_since),
        "dust": True if moving and notional * usd < dust_usd else None,
    }
    row |= _liquidation(position, figures, book)
    return _joined(position.static | present(row), slow or {})


def _liquidation(position: Position, figures: Mapping[str, float], book: Book) -> Row:
    """Return the fields of liquidation: whose price is shown, the price, where the pool is spent, and how far that is."""
    state, source = position.state, liquidation_source(position, figures, book)
    row: Row = {"liquidation_source": source}
    if source == "venue":
        price, mark = float(state.venue_liquidation_price or "nan"), figures.get("mark", math.nan)
        row["liquidation_price"] = price
        # The book knows on which side of the mark the price is met: legs of a hedge share one.
        own = (1.0 - price / mark) * (-1.0 if state.side == "short" else 1.0)
        row["liquidation_distance"] = figures.get("distance", own)
    elif source in ("model", "calibrated"):
        price, trigger = figures["liq"], figures.get("trigger", math.nan)
        tick = float(position.instrument.tick_size or 0) if position.instrument else 0.0
        row["liquidation_price"], row["liquidation_distance"] = price, figures.get("distance")
        row["trigger_price"] = trigger if abs(trigger - price) > max(tick, 1e-9 * price) else None
    if source == "calibrated" and position.pool.calibration is not None:
        row["anchor_at"] = position.pool.calibration.anchored_at
    return row


def _joined(row: Row, slow: Row) -> Row:
    """Return a row with its slow fields; what both lack is named once."""
    reasons = [reason for part in (row, slow) for reason in part.get("missing", ())]  # type: ignore[attr-defined]
    return row | slow | ({"missing": reasons} if reasons else {})


def _warning(warning: tuple[int, str] | None) -> Row | None:
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


def _roe(position: Position, upnl: float) -> float:
    """Return unrealised PnL over entry notional / leverage; isolated on OKX: over the margin."""
    state = position.state
    if position.account.info.venue == "okx" and position.pool.isolated:
        base = float(state.isolated_margin) if state.isolated_margin else math.nan
    else:
        found = position.anchor
        entry = float(state.entry_price) if state.entry_price else math.nan
        if not state.entry_exact and found.quantity:
            entry = found.mark0 - found.upnl0 / found.quantity
        leverage = float(state.leverage) if state.leverage else math.nan
        size = abs(found.quantity)
        value = size / entry if is_inverse(state, position.instrument) and entry else size * entry
        base = value / leverage if leverage else math.nan
    return upnl / base if base else math.nan


def speaker(position: Position) -> str:
    """Return whose figure is to be shown: the model's (``calibrated``: moved onto the venue's), else the venue's word.

    A model that is not trusted, or that is too far from the venue, runs beside the venue's word. A trusted one that is too far
    away is shown all the same where the venue names no price: rather a warning too many (its alert fires).
    """
    told = {"price": "venue", "none": "none", "unknown": "unknown"}[position.state.liquidation_known]
    if not position.trusted:
        return told
    record = position.pool.calibration
    verdict = record.verdict if record is not None else "model"
    return "model" if verdict == "venue" and told != "venue" else verdict


def liquidation_source(position: Position, figures: Mapping[str, float], book: Book) -> str:
    """Return where the shown liquidation price comes from: model, calibrated, venue, none (there is none) or unknown."""
    if is_bought_option(position.state):
        return "none"
    source = speaker(position)
    if source not in ("model", "calibrated") or "liq" in figures:
        return source
    solvable = not math.isnan(float(book.equity[position.pool.number])) and "mm" in figures
    if solvable:
        return "none"
    return "venue" if position.state.liquidation_known == "price" else "unknown"


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


# --- accounts ----------------------------------------------------------------------------------------------------------


def account_row(account: Account, positions: Iterable[Position], book: Book) -> Row:
    """Return an account's row: balances as sent, equity rebuilt, pools with their ratios."""
    held = [(position, book.figures(position.handle)) for position in positions]
    equity = account_equity(account, held, book)
    usd = {ccy: account.usd(ccy) for ccy in equity}
    priced = [amount * usd[ccy] for ccy, amount in equity.items() if not math.isnan(usd[ccy])]
    equity_usd = sum(priced) if priced else math.nan
    gross = sum(figures.get("notional", math.nan) * account.usd(settle_of(position)) for position, figures in held)
    pools = {pool.name: pool_row(pool, held, book) for pool in account.pools.values()}
    ratios = {name: float(str(row["ratio"])) for name, row in pools.items() if "ratio" in row}
    worst = max(ratios, key=ratios.__getitem__) if ratios else None
    partly = [
        position.state.id
        for position, _ in held
        if not (account.computable and computable(position.state, position.instrument))
    ]
    info, beyond = account.info, account.unallocated()
    return present(
        {
            "user": info.user,
            "venue": info.venue,
            "env": info.env,
            "region": info.region,
            "strategy": info.strategy,
            "execution": info.execution,
            "mode": account.mode.mode if account.mode else None,
            "balances": {coin.ccy: coin.total for coin in account.all_coins()} or None,
            "available": account.available,
            "withdrawable": account.withdrawable,
            "allocated": dict(info.allocated) if info.allocated else None,
            "unallocated": {ccy: format(amount, "f") for ccy, amount in beyond.items()} if beyond else None,
            "permissions": _permissions(account),
            "same_owner_as": list(account.same_owner_as) or None,
            "verified_at": account.verified_at,
            "refused": account.refused,
            "venue_warning": _warning(account.warning),
            "partly_modelled": partly or None,
            "stale": account.stale(),
            "equity_usd": equity_usd,
            # What equity_usd does not count: currencies whose price is not known (spot coins without a price feed yet).
            "unpriced": sorted(ccy for ccy, price in usd.items() if math.isnan(price)) or None,
            # Priced at one dollar because nobody states their price.
            "assumed_dollars": sorted(ccy for ccy in usd if account.quote(ccy).assumed) or None,
            "rates": _rates(account, equity) or None,
            "equity": present(equity) or None,
            "unrealized_pnl_usd": sum(
                figures.get("upnl", math.nan) * account.usd(settle_of(position)) for position, figures in held
            ),
            "pools": pools or None,
            "margin_ratio": ratios[worst] if worst else None,
            "worst_pool": worst,
            "gross_leverage": gross / equity_usd if equity_usd and equity_usd > 0 else None,
            "nearest_liquidation": nearest_liquidation(held, book),
            "positions": len(held),
        }
    )


def _rates(account: Account, ccys: Iterable[str]) -> dict[str, Row]:
    """Return what currencies are worth: the price, whose it is, and of when, to the minute (it is confirmed all the time)."""
    quotes = {ccy: account.quote(ccy) for ccy in ccys if ccy != "USD"}
    return {
        ccy: present({"usd": quote.usd, "source": quote.source, "at": quote.at and quote.at // _MINUTE_MS * _MINUTE_MS})
        for ccy, quote in quotes.items()
        if quote.source
    }


def _permissions(account: Account) -> Row | None:
    key = account.key
    if key is None:
        return None
    return present(
        {
            "powers": list(key.powers),
            "expires_at": key.expires_at,
            "ip_bound": key.ip_bound,
            "label": key.label,
            "owner": key.owner,
        }
    )


Held = Sequence[tuple[Position, Mapping[str, float]]]


def account_equity(account: Account, held: Held, book: Book) -> dict[str, float]:
    """Rebuild equity per currency: mark-independent balances plus what positions add at present marks.

    A position whose pool is on the "upnl" basis draws on its currency's balance; a pool on the "value" basis (Hyperliquid)
    holds a balance of its own.
    """
    equity: dict[str, float] = {}
    apart = {coin.ccy for coin in account.all_coins() if coin.isolated_apart}
    for coin in account.all_coins():
        cash = coin.cash if coin.cash is not None else coin.equity
        equity[coin.ccy] = equity.get(coin.ccy, 0.0) + (float(cash) if cash is not None else math.nan)
    for pool in account.pools.values():
        if is_value_basis(pool, held) and pool.ccy:
            equity[pool.ccy] = equity.get(pool.ccy, 0.0) + float(book.equity[pool.number])
    for position, figures in held:
        settle = settle_of(position)
        if settle and not is_value_basis(position.pool, held):
            margin = float(book.cash[position.pool.number]) if position.pool.isolated and settle in apart else 0.0
            apart_paid = paid_apart(position.state, position.instrument)
            equity[settle] = equity.get(settle, 0.0) + figures.get("upnl", math.nan) + margin + apart_paid
    return equity


def is_value_basis(pool: Pool, held: Held) -> bool:
    """Say whether a pool's equity is cash + signed value rather than cash + unrealised PnL."""
    if pool.state is not None:
        return pool.state.basis == "value"
    return any(position.pool is pool and position.state.isolated_basis == "value" for position, _ in held)


def pool_row(pool: Pool, held: Held, book: Book) -> Row:
    """Return one pool: equity and maintenance in its currency; ratio 1 = liquidation."""
    equity, maintenance = float(book.equity[pool.number]), float(book.maintenance[pool.number])
    state = pool.state
    initial = 0.0
    for position, figures in held:
        if position.pool is pool:
            initial += initial_margin(position, figures.get("notional", math.nan))
    return present(
        {
            "ccy": pool.ccy,
            "equity": equity,
            "maintenance_margin": maintenance,
            "initial_margin": initial,
            "order_margin": state.order_margin if state else None,
            "available": state.available if state else None,
            "ratio": margin_ratio(equity, maintenance),
            "source": _pool_source(pool, held),
            "calibration": _calibration(pool),
        }
    )


def _pool_source(pool: Pool, held: Held) -> str:
    """Return whose figures a pool's are, as far as prices are solved in it."""
    members = [position for position, _ in held if position.pool is pool]
    if not pool.cash_known or (members and not any(position.trusted for position in members)):
        return "venue"
    return pool.calibration.verdict if pool.calibration is not None else "model"


def _calibration(pool: Pool) -> Row | None:
    """Return how a pool's model agrees with the venue, rounded: its last digits move with every message."""
    record = pool.calibration
    if record is None or not (record.beyond or record.anchored_at is not None):
        return None
    return present(
        {
            "delta": record.delta or None,
            "residual": float(f"{record.share:.3g}"),
            "distance_residual": float(f"{record.distance:.3g}"),
            "anchor_at": record.anchored_at,
            "anchor_skew_ms": record.skew_ms,
            "flagged_since": record.since,
            "flagged": {row_id: why for row_id, (_, why) in record.beyond.items()} or None,
        }
    )


def margin_ratio(equity: float, maintenance: float) -> float:
    """Return maintenance / equity: from 1 on a pool is liquidated; at most 1,000, also where its equity is gone. NaN: unknown."""
    if maintenance > 0.0 and equity <= maintenance / _WORST_RATIO:
        return _WORST_RATIO
    return maintenance / equity if equity > 0.0 else math.nan


def nearest_liquidation(held: Held, book: Book) -> Row | None:
    """Return the position nearest to liquidation; one that could not be determined is nearest of all."""
    best: tuple[float, str] | None = None
    for position, figures in held:
        source = liquidation_source(position, figures, book)
        if source == "none":
            continue
        distance = figures.get("distance", -math.inf) if source != "unknown" else -math.inf
        if best is None or distance < best[0]:
            best = (distance, position.state.id)
    if best is None:
        return None
    return {"id": best[1]} if math.isinf(best[0]) else {"id": best[1], "distance": best[0]}
