"""Figures of positions that are published at most once a second, and only when their rounded value changed. Pure.

Owns shares of gross notional, risk scores and predicted funding, by table slot. Funding is a prediction of one payment and is never
part of equity.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from gateway.core.arrays import Floats, Ints
from gateway.core.funding import Funding
from gateway.core.margin.solver import sums
from gateway.core.register import Register
from gateway.core.risk import RiskSettings, scores, unknown_parts
from gateway.core.rows import Row, present

_SHARE_DECIMALS = 4
_FUNDING_DIGITS = 4  # significant: the mark moves until it is paid


class Now(NamedTuple):
    """Every position as it stands, in one order, (n,) each; amounts in settle currency, NaN: unknown.

    Attributes:
        slot, symbol, pool: Table slot, symbol and pool numbers.
        distance: To liquidation, fraction of the mark; inf: no price liquidates it.
    """

    slot: Ints
    symbol: Ints
    pool: Ints
    mark: Floats
    notional: Floats
    upnl: Floats
    distance: Floats


class Slow:
    """All positions' slow figures, (slots,) each."""

    _SHARE, _SCORE, _FUNDING, _RATE, _DUE, _LEVERAGE, _DISTANCE = range(7)
    _SHOWN = 5  # the figures from here on are only known or not, as far as is shown

    def __init__(self, register: Register, funding: Funding, settings: RiskSettings) -> None:
        self._figures: Floats = np.full((7, 64), np.nan)
        self._register, self._rates, self._settings = register, funding, settings

    @property
    def shares(self) -> Floats:
        """Shares of the user's gross notional by table slot, NaN: unknown."""
        found: Floats = self._figures[self._SHARE]
        return found

    @property
    def scores(self) -> Floats:
        """Risk scores by table slot, NaN: unknown."""
        found: Floats = self._figures[self._SCORE]
        return found

    @property
    def funding(self) -> Floats:
        """What the next funding brings by table slot, settle currency (+ received), NaN: unknown."""
        found: Floats = self._figures[self._FUNDING]
        return found

    def turn(self, now: Now) -> Ints:
        """Bring everything to now; return the slots of which something that is shown changed."""
        self._reach(self._register.slots.ints.shape[1])
        self._figures[:, list(self._register.placed)] = np.nan
        self._register.placed.clear()
        found = np.empty((7, len(now.slot)))
        found[self._SHARE] = self._shares_of(now)
        found[self._LEVERAGE] = self._register.slots.floats[Register.LEVERAGE, now.slot]
        found[self._DISTANCE] = now.distance
        found[self._SCORE] = scores(found[self._SHARE], found[self._LEVERAGE], now.distance, self._settings)
        self._fund(now, found)
        before = self._figures[:, now.slot]
        same = np.isnan(found) == np.isnan(before)
        same[: self._SHOWN] &= (found == before)[: self._SHOWN] | np.isnan(found)[: self._SHOWN]
        self._figures[:, now.slot] = found
        changed: Ints = now.slot[~same.all(axis=0)]
        return changed

    def row(self, slot: int, symbol: int) -> Row:
        """Return the fields of a position's row; ``missing`` names what its score and its funding were made without."""
        share, score, funding, rate, due, leverage, distance = self._figures[:, slot].tolist()
        missing = unknown_parts(share, leverage, distance)
        if self._rates.lacks_index(symbol):
            missing.append("index_price")
        return present(
            {
                "weight": share,
                "risk_score": score,
                "funding_rate": rate,
                "next_funding": funding,
                "next_funding_at": int(due) if due == due else None,  # noqa: PLR0124  not NaN
                "missing": missing or None,
            }
        )

    def _reach(self, slots: int) -> None:
        width = self._figures.shape[1]
        if slots > width:
            self._figures = np.pad(self._figures, ((0, 0), (0, slots - width)), constant_values=np.nan)

    def _shares_of(self, now: Now) -> Floats:
        """Return shares of the user's gross notional; what is unknown has none, and is not in the total."""
        places = self._register.slots.ints[:, now.slot]
        usd = now.notional * self._register.purses.floats[Register.USD, places[Register.PURSE]]
        known = ~np.isnan(usd)
        summary = places[Register.SUMMARY]
        gross = sums(summary[known], usd[known], len(self._register.summaries))
        with np.errstate(invalid="ignore"):
            found: Floats = np.round(usd / gross[summary], _SHARE_DECIMALS)
        return found

    def _fund(self, now: Now, found: Floats) -> None:
        """Predict -side x notional x rate, with the notional at the price that the venue's funding counts."""
        rates = self._rates
        found[self._RATE], found[self._DUE] = rates.rate[now.symbol], rates.due[now.symbol]
        side = self._register.slots.floats[Register.SIGN, now.slot]
        notional = now.notional * np.where(rates.on_index[now.symbol], rates.index[now.symbol] / now.mark, 1.0)
        found[self._FUNDING] = significant(-side * notional * rates.rate[now.symbol], _FUNDING_DIGITS)


def significant(values: Floats, digits: int) -> Floats:
    """Return values rounded to so many significant digits; 0 is 0, never -0."""
    with np.errstate(divide="ignore"):
        exponent = np.where(values == 0.0, 0.0, digits - 1 - np.floor(np.log10(np.abs(values))))
    # A division by a whole power of ten gives the float that is written so; a product with a fraction would not.
    up, down = 10.0 ** np.clip(exponent, 0, None), 10.0 ** np.clip(-exponent, 0, None)
    found: Floats = np.round(values * up / down) / up * down + 0.0
    return found
