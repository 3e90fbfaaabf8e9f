"""One summary per user: totals, shares and exposures over all accounts of one environment. Pure.

Slow figures: the engine publishes them at most once a second, and only when a rounded value changed. Demo and testnet
accounts never enter live totals: where a user has some they get a row of their own, ``user:env``.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping

from gateway.core.accounts import Account
from gateway.core.positions import Book
from gateway.core.rows import Row, account_equity, liquidation_source, present, settle_of
from gateway.core.state import Position


def summary_id(account: Account) -> str:
    """Return the summary row that an account counts in."""
    info = account.info
    return info.user if info.env == "live" else f"{info.user}:{info.env}"


def shares(positions: Iterable[Position], book: Book) -> dict[str, float]:
    """Return each position's share of its user's gross notional, rounded to four digits; unknown ones are left out."""
    gross: dict[str, float] = defaultdict(float)
    held = {}
    for position in positions:
        notional = book.figures(position.handle).get("notional", math.nan) * position.account.usd(settle_of(position))
        if not math.isnan(notional):
            held[position.state.id] = (summary_id(position.account), notional)
            gross[held[position.state.id][0]] += notional
    return {row_id: round(n / gross[user], 4) for row_id, (user, n) in held.items() if gross[user]}


def summaries(
    accounts: Iterable[Account], positions: Mapping[str, Position], book: Book, risk_distance: float
) -> dict[str, Row]:
    """Return the summary rows by id."""
    grouped: dict[str, list[Account]] = defaultdict(list)
    for account in accounts:
        if account.synced_at is not None or account.positions or account.coins:
            grouped[summary_id(account)].append(
                account
            )  # before anything is known of an account there is nothing to add up
    return {row_id: _summary(group, positions, book, risk_distance) for row_id, group in grouped.items()}


def _summary(accounts: list[Account], positions: Mapping[str, Position], book: Book, risk_distance: float) -> Row:
    equity: float | None = None
    upnl = margin = 0.0
    gross: dict[str, float] = defaultdict(float)
    net: dict[str, float] = defaultdict(float)
    venues: dict[str, float] = defaultdict(float)
    symbols: dict[str, float] = defaultdict(float)
    leverages: list[float] = []
    unpriced: set[str] = set()
    near = count = 0
    for account in accounts:
        held = [(positions[i], book.figures(positions[i].handle)) for i in account.positions]
        amounts = account_equity(account, held, book)
        for ccy, amount in amounts.items():
            price = account.usd(ccy)
            if math.isnan(price):
                unpriced.add(ccy)
            else:
                equity = (equity or 0.0) + amount * price
        for position, figures in held:
            count += 1
            usd = account.usd(settle_of(position))
            notional = figures.get("notional", math.nan) * usd
            upnl += figures.get("upnl", math.nan) * usd
            leverage = float(position.state.leverage) if position.state.leverage else math.nan
            margin += notional / leverage if leverage else math.nan
            leverages.append(leverage)
            base = position.instrument.base if position.instrument else position.state.symbol
            gross[base] += notional
            net[base] += notional if position.state.side == "long" else -notional
            venues[account.info.venue] += notional
            symbols[position.state.symbol] += notional
            source = liquidation_source(position, figures, book)
            near += source == "unknown" or (source != "none" and figures.get("distance", math.inf) <= risk_distance)
    total = sum(gross.values())
    known = [value for value in leverages if not math.isnan(value)]
    synced = [account.synced_at for account in accounts if account.synced_at is not None]
    stale = sorted(account.info.name for account in accounts if account.stale())
    return present(
        {
            "total_positions": count,
            "total_equity_usd": None if equity is None else _cents(equity),
            "total_unrealized_pnl_usd": _cents(upnl),
            "total_margin_usd": _cents(margin),
            "exchange_distribution": _shares(venues, total),
            "symbol_distribution": _shares(symbols, total),
            "net_exposure": {base: _cents(value) for base, value in net.items() if not math.isnan(value)},
            "gross_exposure": {base: _cents(value) for base, value in gross.items() if not math.isnan(value)},
            "gross_leverage": round(total / equity, 3) if equity is not None and equity > 0 else None,
            "avg_leverage": round(sum(known) / len(known), 3) if known else None,
            "max_leverage": max(known) if known else None,
            "liquidation_risk_positions": near,
            # Herfindahl index of gross exposure by base: 1 = all in one coin
            "portfolio_concentration": round(sum((v / total) ** 2 for v in gross.values()), 4) if total > 0 else None,
            "last_sync_at": max(synced) if synced else None,
            "stale_accounts": stale or None,
            "unpriced": sorted(unpriced) or None,
        }
    )


def _cents(value: float) -> float:
    return round(value, 2)


def _shares(values: Mapping[str, float], total: float) -> dict[str, float] | None:
    """Return each value's share of the total, four digits; None where nothing is known."""
    if not total > 0:
        return None
    return {name: round(value / total, 4) for name, value in sorted(values.items())}
