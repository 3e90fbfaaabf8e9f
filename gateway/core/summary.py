"""One summary per user: totals, shares and exposures over all accounts of one environment. Pure.

Slow figures: the engine publishes them at most once a second, and only when a rounded value changed. Demo and testnet
accounts never enter live totals: where a user has some they get a row of their own, ``user:env``. The same goes for paper
trading and backtests: ``user:paper``, ``user:backtest``.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping

from gateway.core.accounts import Account
from gateway.core.positions import Book
from gateway.core.rows import Held, Row, account_equity, initial_margin, liquidation_source, present, settle_of
from gateway.core.state import Position


def summary_id(account: Account) -> str:
    """Return the summary row that an account counts in."""
    info = account.info
    if info.execution != "live":
        return f"{info.user}:{info.execution}"
    return info.user if info.env == "live" else f"{info.user}:{info.env}"


def shares(positions: Iterable[Position], book: Book) -> dict[str, float]:
    """Return each position's share of its user's gross notional, rounded to four digits; unknown ones are left out."""
    gross: dict[str, float] = defaultdict(float)
    held = {}
    for position in positions:
        notional = book.notional(position.handle) * position.account.usd(settle_of(position))
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


class _Totals:
    """What one pass over a user's accounts adds up, US dollars."""

    def __init__(self, risk_distance: float) -> None:
        self.risk_distance = risk_distance
        self.equity: float | None = None
        self.unpriced: set[str] = set()
        self.upnl = self.margin = 0.0
        self.count = self.near = 0
        self.leverages: list[float] = []
        self.gross: dict[str, float] = defaultdict(float)
        self.net: dict[str, float] = defaultdict(float)
        self.venues: dict[str, float] = defaultdict(float)
        self.symbols: dict[str, float] = defaultdict(float)

    def add_account(self, account: Account, held: Held, book: Book) -> None:
        for ccy, amount in account_equity(account, held, book).items():
            price = account.usd(ccy)
            if math.isnan(price):
                self.unpriced.add(ccy)
            else:
                self.equity = (self.equity or 0.0) + amount * price
        for position, figures in held:
            self._add(position, figures, book)

    def _add(self, position: Position, figures: Mapping[str, float], book: Book) -> None:
        state, usd = position.state, position.account.usd(settle_of(position))
        notional = figures.get("notional", math.nan) * usd
        leverage = float(state.leverage) if state.leverage else math.nan
        base = position.instrument.base if position.instrument else state.symbol
        self.count += 1
        self.upnl += figures.get("upnl", math.nan) * usd
        self.margin += initial_margin(position, notional)
        self.leverages += [] if math.isnan(leverage) else [leverage]
        self.gross[base] += notional
        self.net[base] += notional if state.side == "long" else -notional
        self.venues[position.account.info.venue] += notional
        self.symbols[state.symbol] += notional
        source = liquidation_source(position, figures, book)
        near = source == "unknown" or figures.get("distance", math.inf) <= self.risk_distance
        self.near += near and source != "none"


def _summary(accounts: list[Account], positions: Mapping[str, Position], book: Book, risk_distance: float) -> Row:
    of = _Totals(risk_distance)
    for account in accounts:
        of.add_account(
            account, [(positions[i], book.figures(positions[i].handle)) for i in sorted(account.positions)], book
        )
    total = sum(of.gross.values())
    synced = [account.synced_at for account in accounts if account.synced_at is not None]
    return present(
        {
            "total_positions": of.count,
            "total_equity_usd": None if of.equity is None else _cents(of.equity),
            "total_unrealized_pnl_usd": _cents(of.upnl),
            "total_margin_usd": _cents(of.margin),
            "exchange_distribution": _shares(of.venues, total),
            "symbol_distribution": _shares(of.symbols, total),
            "net_exposure": _known(of.net),
            "gross_exposure": _known(of.gross),
            "gross_leverage": round(total / of.equity, 3) if of.equity is not None and of.equity > 0 else None,
            "avg_leverage": round(sum(of.leverages) / len(of.leverages), 3) if of.leverages else None,
            "max_leverage": max(of.leverages, default=None),
            "liquidation_risk_positions": of.near,
            # Herfindahl index of gross exposure by base: 1 = all in one coin
            "portfolio_concentration": round(sum((v / total) ** 2 for v in of.gross.values()), 4)
            if total > 0
            else None,
            "last_sync_at": max(synced, default=None),
            "stale_accounts": sorted(account.info.name for account in accounts if account.stale()) or None,
            "unpriced": sorted(of.unpriced) or None,
        }
    )


def _known(exposures: Mapping[str, float]) -> dict[str, float]:
    """Return the exposures by base that are known, in cents."""
    return {base: _cents(value) for base, value in exposures.items() if not math.isnan(value)}


def _cents(value: float) -> float:
    return round(value, 2)


def _shares(values: Mapping[str, float], total: float) -> dict[str, float] | None:
    """Return each value's share of the total, four digits; None where nothing is known."""
    if not total > 0:
        return None
    return {name: round(value / total, 4) for name, value in sorted(values.items())}
