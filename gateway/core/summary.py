"""One summary per user: totals, shares and exposures over all accounts of one environment. Pure.

Slow figures: added up once a second for everybody in a few passes, published only where a rounded value changed, and made into
a row only when somebody wants it. Demo and testnet accounts never enter live totals: where a user has some they get a row of their
own, ``user:env``. The same goes for paper trading and backtests: ``user:paper``, ``user:backtest``.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import numpy as np

from gateway.core.accounts import Account
from gateway.core.arrays import Flags, Floats, Ints
from gateway.core.margin.solver import sums
from gateway.core.register import Register, differs
from gateway.core.risk import RiskSettings
from gateway.core.rows import Row, present
from gateway.core.slow import Now, Slow

_CENTS, _SHARE, _TIMES = 2, 4, 3  # decimals


class Bounds(NamedTuple):
    """What is counted as near, high and worth counting: distance (fraction of the mark), score, US dollars of notional."""

    liquidation_risk_distance: float
    dust_usd: float
    risk: RiskSettings


class Spread:
    """Sums by summary and name, e.g. notional by base: (m,) each, sorted by summary. NaN: unknown."""

    def __init__(self, summary: Ints, name: Ints, names: int, values: Floats) -> None:
        keys, self._places = np.unique(summary * max(names, 1) + name, return_inverse=True)
        self.summary, self.name = np.divmod(keys, max(names, 1))
        self.values = sums(self._places, values, len(keys))

    def other(self, values: Floats) -> Spread:
        """Return sums of other values of the same things."""
        found = copy.copy(self)
        found.values = sums(self._places, values, len(self.name))
        return found

    def of(self, summary: int) -> Iterable[tuple[int, float]]:
        """Yield one summary's names and sums."""
        first, last = np.searchsorted(self.summary, (summary, summary + 1))
        return zip(self.name[first:last].tolist(), self.values[first:last].tolist(), strict=True)

    def moved(self, before: Spread) -> Ints:
        """Return the summaries in which a sum, as it is shown, is another one than before."""
        if not (np.array_equal(self.summary, before.summary) and np.array_equal(self.name, before.name)):
            return np.unique(np.concatenate((self.summary, before.summary)))
        return np.unique(self.summary[differs(np.round(self.values, _CENTS), np.round(before.values, _CENTS))])


class _Sums(NamedTuple):
    """Per summary, (n_summaries,) float64 each, rounded as published; NaN: unknown or nothing to tell."""

    positions: Floats
    equity: Floats
    upnl: Floats
    margin: Floats
    gross_leverage: Floats
    avg_leverage: Floats
    max_leverage: Floats
    max_score: Floats
    avg_score: Floats
    high: Floats
    near: Floats
    concentration: Floats
    last_sync: Floats


class _Seen(NamedTuple):
    """What of a summary's accounts no array holds."""

    stale: tuple[str, ...]
    unpriced: tuple[str, ...]


class Summaries:
    """All summary rows."""

    def __init__(self, register: Register, book_equity: Callable[[], Floats], bounds: Bounds) -> None:
        self._register, self._book_equity, self._bounds = register, book_equity, bounds
        self._sums = _Sums(*(np.zeros(0) for _ in _Sums._fields))
        nothing = Spread(np.zeros(0, np.int64), np.zeros(0, np.int64), 0, np.zeros(0))
        self._spreads = dict.fromkeys(("gross", "net", "venues", "symbols"), nothing)
        self._seen: dict[int, _Seen] = {}
        self._known: set[int] = set()
        self.gone: set[int] = set()  # since the turn before: nothing is known of their accounts any more
        self.equity: Floats = np.zeros(0)  # by purse, in its currency, positions included

    def turn(self, now: Now, slow: Slow, bases: int) -> set[int]:
        """Bring all summaries to now; return the numbers of those that changed as they are shown."""
        register = self._register
        places = register.slots.ints[:, now.slot]
        usd = now.notional * register.purses.floats[Register.USD, places[Register.PURSE]]
        self.equity = purse_equity(register, now, self._book_equity())
        gross = Spread(places[Register.SUMMARY], places[Register.BASE], bases, usd)
        spreads = {
            "gross": gross,
            "net": gross.other(usd * register.slots.floats[Register.SIGN, now.slot]),
            "venues": Spread(places[Register.SUMMARY], places[Register.VENUE], len(register.venues), usd),
            "symbols": Spread(places[Register.SUMMARY], places[Register.SYMBOL], len(register.symbols), usd),
        }
        seen, sync = self._look(register.accounts)
        found = self._add(now, slow, usd, spreads["gross"], sync)
        changed = self._changed(found, spreads) | {
            number for number in seen.keys() | self._seen.keys() if seen.get(number) != self._seen.get(number)
        }
        self.gone = self._known - seen.keys()
        self._sums, self._spreads, self._seen, self._known = found, spreads, seen, set(seen)
        return changed & self._known

    def __contains__(self, number: int) -> bool:
        return number in self._known

    def row(self, number: int, base_name: Callable[[int], str]) -> Row:
        """Return one summary's row."""
        of = {name: float(column[number]) for name, column in zip(_Sums._fields, self._sums, strict=True)}
        gross = dict(self._spreads["gross"].of(number))
        total = sum(gross.values())
        seen = self._seen[number]
        return present(
            {
                "total_positions": int(of["positions"]),
                "total_equity_usd": of["equity"],
                "total_unrealized_pnl_usd": of["upnl"],
                "total_margin_usd": of["margin"],
                "exchange_distribution": self._shares("venues", number, self._register.venues.all.__getitem__, total),
                "symbol_distribution": self._shares("symbols", number, self._register.symbols.all.__getitem__, total),
                "net_exposure": self._exposure("net", number, base_name),
                "gross_exposure": self._exposure("gross", number, base_name),
                "gross_leverage": of["gross_leverage"],
                "avg_leverage": of["avg_leverage"],
                "max_leverage": of["max_leverage"],
                "max_risk_score": of["max_score"],
                "avg_risk_score": of["avg_score"],
                "high_risk_positions": int(of["high"]),
                "liquidation_risk_positions": int(of["near"]),
                "portfolio_concentration": of["concentration"],
                "last_sync_at": None if np.isnan(of["last_sync"]) else int(of["last_sync"]),
                "stale_accounts": list(seen.stale) or None,
                "unpriced": list(seen.unpriced) or None,
            }
        )

    # --- inside --------------------------------------------------------------------------------------------------------

    def _look(self, accounts: Iterable[Account]) -> tuple[dict[int, _Seen], Floats]:
        """Return which accounts are stale and which currencies have no price, by summary, and when each was last synchronised.

        Before anything is known of an account there is nothing to add up: a summary of such accounts alone is not there.
        """
        register, stale = self._register, dict[int, list[str]]()
        sync = np.full(len(register.summaries), np.nan)
        for number, account in enumerate(accounts):
            summary = register.summary_of[number]
            if not account.known:
                continue
            names = stale.setdefault(summary, [])
            if account.stale():
                names.append(account.info.name)
            if account.synced_at is not None:
                sync[summary] = np.fmax(sync[summary], account.synced_at)
        unpriced: dict[int, set[str]] = {}
        owners, held = register.purses.ints[Register.OWNER], register.purses.ints[Register.HELD] == 1
        for purse in np.flatnonzero(held & np.isnan(register.purses.floats[Register.USD])).tolist():
            unpriced.setdefault(register.summary_of[int(owners[purse])], set()).add(register.ccy(purse))
        seen = {one: _Seen(tuple(sorted(names)), tuple(sorted(unpriced.get(one, ())))) for one, names in stale.items()}
        return seen, sync

    def _add(self, now: Now, slow: Slow, usd: Floats, gross: Spread, sync: Floats) -> _Sums:
        register, bounds = self._register, self._bounds
        count = len(register.summaries)
        summary = register.slots.ints[Register.SUMMARY, now.slot]
        price = register.purses.floats[Register.USD, register.slots.ints[Register.PURSE, now.slot]]
        leverage, initial = register.slots.floats[(Register.LEVERAGE, Register.INITIAL), :][:, now.slot]
        score = slow.scores[now.slot]
        counts = ~(usd < bounds.dust_usd)  # dust is kept and not counted as a risk

        def total(values: Floats, where: Flags | slice = slice(None)) -> Floats:
            return sums(summary[where], values[where], count)

        levered, scored = leverage > 0.0, counts & ~np.isnan(score)
        held, all_gross = total(np.ones(len(summary))), total(usd)
        equity = self._equity_usd(count)
        with np.errstate(divide="ignore", invalid="ignore"):
            shares = gross.values / all_gross[gross.summary]
            return _Sums(
                positions=held,
                equity=np.round(equity, _CENTS),
                upnl=np.round(total(now.upnl * price), _CENTS),
                margin=np.round(total(np.where(initial == 0.0, 0.0, usd * initial)), _CENTS),
                gross_leverage=np.round(_where(equity > 0.0, all_gross / equity), _TIMES),
                avg_leverage=np.round(total(leverage, levered) / total(np.ones(len(summary)), levered), _TIMES),
                max_leverage=_most(summary[levered], leverage[levered], count),
                max_score=_most(summary[scored], score[scored], count),
                avg_score=np.round(total(score, scored) / total(np.ones(len(summary)), scored), _TIMES),
                high=total((score >= bounds.risk.high).astype(np.float64), counts),
                near=total((~(now.distance > bounds.liquidation_risk_distance)).astype(np.float64), counts),
                # Herfindahl index of gross exposure by base: 1 = all in one coin
                concentration=np.round(
                    _where(all_gross > 0.0, sums(gross.summary, shares**2, count)),
                    _SHARE,
                ),
                last_sync=sync,
            )

    def _equity_usd(self, count: int) -> Floats:
        """Return equity by summary; currencies without a price are left out (``unpriced``), NaN: nothing is known."""
        register = self._register
        owner, usd = register.purses.ints[Register.OWNER], register.purses.floats[Register.USD]
        owned = np.flatnonzero((register.purses.ints[Register.HELD] == 1) & ~np.isnan(usd))
        where = np.array(register.summary_of, dtype=np.int64)[owner[owned]]
        found = sums(where, self.equity[owned] * usd[owned], count)
        found[np.bincount(where, minlength=count) == 0] = np.nan
        return found

    def _changed(self, found: _Sums, spreads: Mapping[str, Spread]) -> set[int]:
        if len(found.positions) != len(self._sums.positions):
            return set(range(len(found.positions)))
        sums_moved = np.logical_or.reduce([differs(a, b) for a, b in zip(found, self._sums, strict=True)])
        moved = [np.flatnonzero(sums_moved), *(spreads[name].moved(self._spreads[name]) for name in spreads)]
        return {int(number) for numbers in moved for number in numbers}

    def _shares(self, what: str, number: int, name: Callable[[int], str], total: float) -> dict[str, float] | None:
        """Return each name's share of the total, four digits; None where nothing is known."""
        if not total > 0:
            return None
        found = {name(one): round(value / total, _SHARE) for one, value in self._spreads[what].of(number)}
        return dict(sorted(found.items()))

    def _exposure(self, what: str, number: int, name: Callable[[int], str]) -> dict[str, float]:
        """Return the exposures by base that are known, in cents."""
        known = {name(one): round(value, _CENTS) for one, value in self._spreads[what].of(number) if value == value}  # noqa: PLR0124  not NaN
        return dict(sorted(known.items()))


def purse_equity(register: Register, now: Now, pool_equity: Floats) -> Floats:
    """Return what every purse holds now, positions included, (n_purses,) in its currency."""
    found: Floats = register.purses.floats[Register.AMOUNT].copy()
    owner, balance = register.pools.ints[Register.OWNER], register.pools.ints[Register.BALANCE]
    apart = np.flatnonzero(
        (owner >= 0) & (balance > 0)
    )  # pools that keep a balance of their own: their positions are in it
    if len(now.slot):
        plain = balance[now.pool] == 0
        purse = register.slots.ints[Register.PURSE, now.slot]
        found += sums(purse[plain], now.upnl[plain], len(found))
    np.add.at(found, balance[apart], pool_equity[apart])
    return found


def _where(known: Flags, values: Floats) -> Floats:
    found: Floats = np.where(known, values, np.nan)
    return found


def _most(summary: Ints, values: Floats, count: int) -> Floats:
    found = np.full(count, -np.inf)
    np.maximum.at(found, summary, values)
    return np.where(np.isinf(found), np.nan, found)
