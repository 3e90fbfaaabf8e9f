"""Rows of accounts as clients see them: balances as sent, equity rebuilt, pools with their ratios.

Owns names and presence of fields, like ``gateway.core.rows``. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal

from gateway.core.accounts import Account, Pool
from gateway.core.anchor import computable
from gateway.core.positions import Book
from gateway.core.purses import amounts, value_pools
from gateway.core.ratios import margin_ratio, stated
from gateway.core.rows import Row, initial_margin, liquidation_source, present, settle_of, warning_of
from gateway.core.state import Position

Held = Sequence[tuple[Position, Mapping[str, float]]]

_MINUTE_MS = 60_000


def account_row(account: Account, positions: Iterable[Position], book: Book) -> Row:
    """Return an account's row."""
    held = [(position, book.figures(position.handle)) for position in positions]
    return present(_said(account, held) | _worth(account, held, book) | _margins(account, held, book))


def _said(account: Account, held: Held) -> Row:
    """Return who the account is, and what was said of it."""
    info, beyond = account.info, account.unallocated()
    partly = [
        position.state.id
        for position, _ in held
        if not (account.computable and computable(position.state, position.instrument))
    ]
    return {
        "user": info.user,
        "venue": info.venue,
        "env": info.env,
        "region": info.region,
        "strategy": info.strategy,
        "execution": info.execution,
        "mode": account.mode.mode if account.mode else None,
        "balances": _balances(account) or None,
        "available": account.available,
        "withdrawable": account.withdrawable,
        "allocated": dict(info.allocated) if info.allocated else None,
        "unallocated": {ccy: format(amount, "f") for ccy, amount in beyond.items()} if beyond else None,
        "permissions": _permissions(account),
        "same_owner_as": list(account.same_owner_as) or None,
        "verified_at": account.verified_at,
        "refused": account.refused,
        "venue_warning": warning_of(account.warning),
        "partly_modelled": partly or None,
        "stale": account.stale(),
    }


def _worth(account: Account, held: Held, book: Book) -> Row:
    """Return equity and PnL, and what their currencies are worth."""
    equity = account_equity(account, held, book)
    usd = {ccy: account.usd(ccy) for ccy in equity}
    priced = [amount * usd[ccy] for ccy, amount in equity.items() if not math.isnan(usd[ccy])]
    equity_usd = sum(priced) if priced else math.nan
    gross = sum(figures.get("notional", math.nan) * account.usd(settle_of(position)) for position, figures in held)
    return {
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
        "gross_leverage": gross / equity_usd if equity_usd and equity_usd > 0 else None,
    }


def _margins(account: Account, held: Held, book: Book) -> Row:
    """Return the pools, and how near the account is to its liquidation."""
    members: dict[int, list[tuple[Position, Mapping[str, float]]]] = {}
    for one in held:
        members.setdefault(one[0].pool.number, []).append(one)
    pools = {pool.name: pool_row(account, pool, members.get(pool.number, ()), book) for pool in account.pools.values()}
    ratios = {name: float(str(row["ratio"])) for name, row in pools.items() if "ratio" in row}
    used = [pool for pool in account.pools.values() if pool.number in members]
    # A pool of which it is not known may be the worst of all.
    worst = max(ratios, key=ratios.__getitem__) if ratios and all(pool.name in ratios for pool in used) else None
    missing = ["margin_ratio"] if used and worst is None else []
    if account.computable and any(pool.state and math.isnan(account.held_by_orders(pool)) for pool in used):
        missing.append("order_holds")
    return {
        "pools": pools or None,
        "margin_ratio": ratios[worst] if worst else None,
        "worst_pool": worst,
        "nearest_liquidation": nearest_liquidation(held, book),
        "positions": len(held),
        "missing": missing or None,
    }


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


def _balances(account: Account) -> dict[str, str]:
    """Return what is held of each currency, as it was sent; of several purses the sum."""
    found: dict[str, str] = {}
    for coin in account.all_coins():
        before = found.get(coin.ccy)
        found[coin.ccy] = coin.total if before is None else format(Decimal(before) + Decimal(coin.total), "f")
    return found


def account_equity(account: Account, held: Held, book: Book) -> dict[str, float]:
    """Rebuild equity per currency: balances that no mark moves, and what positions add at present marks."""
    values = value_pools(account, (position for position, _ in held))
    equity = amounts(account, (position for position, _ in held), values, book)
    for pool in account.pools.values():
        if pool.number in values and pool.ccy:
            equity[pool.ccy] = equity.get(pool.ccy, 0.0) + float(book.equity[pool.number])
    for position, figures in held:
        settle = settle_of(position)
        if settle and position.pool.number not in values:
            equity[settle] += figures.get("upnl", math.nan)
    return equity


def pool_row(account: Account, pool: Pool, members: Held, book: Book) -> Row:
    """Return one pool: equity and maintenance in its currency; ratio 1 = liquidation. ``members``: its positions alone.

    What is not known is the venue's own figure, as of ``anchor_at``, where it states one.
    """
    equity, maintenance = float(book.equity[pool.number]), float(book.maintenance[pool.number])
    said, state = stated(account, pool, [position for position, _ in members]), pool.state
    initial, ratio = 0.0, margin_ratio(equity, maintenance)
    for position, figures in members:
        weight = account.worth_in(pool, settle_of(position))
        initial += weight * initial_margin(position, figures.get("notional", math.nan))
    if theirs := math.isnan(ratio) and not math.isnan(said.ratio):
        ratio = said.ratio
        equity, maintenance = _known(equity, said.equity), _known(maintenance, said.maintenance)
        initial = _known(said.initial, initial)
    return present(
        {
            "ccy": pool.ccy,
            "equity": equity,
            "maintenance_margin": maintenance,
            "initial_margin": initial,
            "order_margin": state.order_margin if state else None,
            "available": state.available if state else None,
            "ratio": ratio,
            "source": "venue" if theirs else _pool_source(pool, members),
            "anchor_at": said.at if theirs else None,
            "calibration": _calibration(pool),
        }
    )


def _known(first: float, second: float) -> float:
    return second if math.isnan(first) else first


def _pool_source(pool: Pool, members: Held) -> str:
    """Return whose figures a pool's are, as far as prices are solved in it."""
    if not pool.cash_known or (members and not any(position.trusted for position, _ in members)):
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


def nearest_liquidation(held: Held, book: Book) -> Row | None:
    """Return the position nearest to liquidation; one that could not be determined is nearest of all.

    Where the model has no distance, no price of the underlying spends the pool (farthest, like ``none``).
    """
    best: tuple[float, str] | None = None
    for position, figures in held:
        source = liquidation_source(position, figures, book)
        if source == "none" or ("distance" not in figures and source in ("model", "calibrated")):
            continue
        distance = figures.get("distance", -math.inf) if source != "unknown" else -math.inf
        if best is None or distance < best[0]:
            best = (distance, position.state.id)
    if best is None:
        return None
    return {"id": best[1]} if math.isinf(best[0]) else {"id": best[1], "distance": best[0]}
