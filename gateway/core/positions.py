"""The columns that a mark tick recomputes: one row per position, sorted by pool, float64.

Owns the arrays and the vectorised arithmetic: unrealised PnL, notional, maintenance, pool equity, liquidation price and
distance of every row in one pass. Knows nothing of venues, events or tables. Pure: no clock, no I/O.

Coordinates: ``x`` is the mark for linear contracts and ``-1/mark`` for inverse ones, kept per symbol, so that one set of
formulas serves both (``pnl = quantity * (x - x0)``, ``notional = |quantity * x|``). NaN is "unknown" and spreads: a pool
with one unknown position has an unknown equity.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gateway.core.margin.pool import Maintenance, bounds_of, tiered_root

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_FAR = 1e15  # a root beyond this is no price (Hyperliquid's own bound for a null liquidation price)
# (n,) float64 each. Amounts are in settle currency; `weight` converts them to the pool's currency.
_INPUTS = (
    "quantity",  # signed, in contract_ccy
    "upnl0",  # unrealised PnL at x0: the anchor, or 0 at the entry
    "x0",
    "offset",  # equity contribution = offset + quantity * x: "upnl" basis upnl0 - quantity * x0, "value" basis 0
    "weight",  # settle currency in units of the pool's currency
    "rate",
    "constant",
    "replace",  # 1: maintenance at the solved price replaces the present one; 0: the present one is held
    "constant_liq",
    "denominator",  # weight in the solve * (quantity - rate_liq * |quantity| * orientation)
    "skew",  # (weight - weight in the solve) * offset: 0 unless the venue's formula does not convert
    "sign",  # +1 long, -1 short
    "model",  # 1: the liquidation price is solved; 0: `venue_liq` is shown
    "venue_liq",
    "shift",
    "floor_to",
    "tier_low",
    "tier_high",
)
_OUTPUTS = ("x", "mark", "value", "notional", "upnl", "mm", "liq", "distance", "seen_x", "seen_liq", "scratch", "taken")


class Row(NamedTuple):
    """Everything the arithmetic needs of one position (see the columns above for units)."""

    quantity: float
    upnl0: float
    x0: float
    value_basis: bool
    weight: float
    long: bool
    venue_liq: float
    maintenance: Maintenance


class Changed(NamedTuple):
    """What a recompute moved: table slots of rows, and pool numbers."""

    slots: Ints
    pools: Ints


class Symbols:
    """Marks per symbol number. ``x`` and ``mark``: (n_symbols,) float64; NaN until a price is known."""

    def __init__(self) -> None:
        self.x: Floats = np.full(64, np.nan)
        self.mark: Floats = np.full(64, np.nan)
        self.orientation: Floats = np.ones(64)  # +1 linear, -1 inverse
        self._count = 0

    def add(self) -> int:
        """Return the number of a new symbol; linear until ``orient`` says otherwise."""
        if self._count == len(self.x):
            self.x = np.concatenate([self.x, np.full(self._count, np.nan)])
            self.mark = np.concatenate([self.mark, np.full(self._count, np.nan)])
            self.orientation = np.concatenate([self.orientation, np.ones(self._count)])
        self._count += 1
        return self._count - 1

    def orient(self, number: int, *, inverse: bool) -> None:
        """Say whether the symbol's contracts are inverse."""
        self.orientation[number] = -1.0 if inverse else 1.0
        self.set(number, float(self.mark[number]))

    def set(self, number: int, mark: float) -> None:
        """Set a symbol's mark (quote currency)."""
        self.mark[number] = mark
        self.x[number] = mark if self.orientation[number] > 0 else -1.0 / mark


class Book:
    """All rows and pools. One writer: the engine.

    Rows are addressed by a handle (stable int) through ``row_of``; their physical order is by pool and changes when
    positions open and close.
    """

    # Views of one block each, bound by name in `_bind` (units: see _INPUTS and Row).
    _quantity: Floats
    _upnl0: Floats
    _x0: Floats
    _offset: Floats
    _weight: Floats
    _rate: Floats
    _constant: Floats
    _replace: Floats
    _constant_liq: Floats
    _denominator: Floats
    _skew: Floats
    _sign: Floats
    _model: Floats
    _venue_liq: Floats
    _shift: Floats
    _floor_to: Floats
    _tier_low: Floats
    _tier_high: Floats
    _x: Floats
    _mark: Floats
    _value: Floats
    _notional: Floats
    _upnl: Floats
    _mm: Floats
    _liq: Floats
    _distance: Floats
    _seen_x: Floats
    _seen_liq: Floats
    _scratch: Floats
    _taken: Floats

    def __init__(self) -> None:
        self.symbols = Symbols()
        self._capacity = 64
        self._columns = np.full((len(_INPUTS) + len(_OUTPUTS), self._capacity), np.nan)
        self._ints = np.zeros((4, self._capacity), dtype=np.int64)  # symbol, pool, table slot, handle
        self._n = 0
        self._brackets: dict[int, Maintenance] = {}  # handle → parameters, only for rows with several brackets
        self._rows: dict[int, int] = {}  # handle → physical row
        self._next_handle = 0
        self._sorted = True
        self._starts: Ints = np.zeros(0, dtype=np.int64)
        self._segment_pools: Ints = np.zeros(0, dtype=np.int64)
        self._tiered: Ints = np.zeros(0, dtype=np.int64)
        self._shifted: Ints = np.zeros(0, dtype=np.int64)
        self._inverse: Ints = np.zeros(0, dtype=np.int64)
        self._pool_free: list[int] = []
        self._pool_count = 0
        self._pools = np.zeros((6, 16))  # cash, extra_mm, equity, mm, seen equity, seen mm
        self._bind()

    # --- structure -----------------------------------------------------------------------------------------------

    def _bind(self) -> None:
        """Name the columns; called whenever the arrays are replaced."""
        for index, name in enumerate(_INPUTS + _OUTPUTS):
            setattr(self, "_" + name, self._columns[index])
        self._symbol, self._pool, self._slot, self._handle = self._ints
        self.cash, self.extra_mm, self.equity, self.maintenance, self._seen_equity, self._seen_mm = self._pools

    def __len__(self) -> int:
        return self._n

    def add_pool(self) -> int:
        """Return the number of a new, empty pool (cash unknown)."""
        if self._pool_free:
            number = self._pool_free.pop()
        else:
            if self._pool_count == self._pools.shape[1]:
                self._pools = np.concatenate([self._pools, np.zeros_like(self._pools)], axis=1)
                self._bind()
            number = self._pool_count
            self._pool_count += 1
        self._pools[:, number] = 0.0
        self.cash[number] = np.nan
        return number

    def remove_pool(self, number: int) -> None:
        """Free a pool that has no rows left."""
        self._pools[:, number] = 0.0
        self._pool_free.append(number)

    def add(self, symbol: int, pool: int, slot: int) -> int:
        """Append a row without figures; return its handle."""
        if self._n == self._capacity:
            self._capacity *= 2
            self._columns = np.concatenate([self._columns, np.full_like(self._columns, np.nan)], axis=1)
            self._ints = np.concatenate([self._ints, np.zeros_like(self._ints)], axis=1)
            self._bind()
        row, handle = self._n, self._next_handle
        self._next_handle += 1
        self._n += 1
        self._columns[:, row] = np.nan
        self._ints[:, row] = (symbol, pool, slot, handle)
        self._rows[handle] = row
        self._sorted = False
        return handle

    def remove(self, handle: int) -> None:
        """Drop a row; the last one takes its place until the next recompute sorts again."""
        row, last = self._rows.pop(handle), self._n - 1
        self._brackets.pop(handle, None)
        if row != last:
            self._columns[:, row] = self._columns[:, last]
            self._ints[:, row] = self._ints[:, last]
            self._rows[int(self._handle[row])] = row
        self._n -= 1
        self._sorted = False

    def move(self, handle: int, pool: int) -> None:
        """Put a row into another pool (its margin mode changed)."""
        row = self._rows[handle]
        if self._pool[row] != pool:
            self._pool[row] = pool
            self._sorted = False

    def put(self, handle: int, row: Row) -> None:
        """Write a row's inputs."""
        index = self._rows[handle]
        maintenance = row.maintenance
        orientation = self.symbols.orientation[self._symbol[index]]
        self._quantity[index] = row.quantity
        self._upnl0[index] = row.upnl0
        self._x0[index] = row.x0
        self._offset[index] = 0.0 if row.value_basis else row.upnl0 - row.quantity * row.x0
        self._weight[index] = row.weight
        self._sign[index] = 1.0 if row.long else -1.0
        self._venue_liq[index] = row.venue_liq
        self._model[index] = 0.0 if maintenance.model is None else 1.0
        self._shift[index] = maintenance.shift
        self._floor_to[index] = maintenance.floor_to
        if len(maintenance.brackets) > 1:
            self._brackets[handle] = maintenance
        else:
            self._brackets.pop(handle, None)
        x = self.symbols.x[self._symbol[index]]
        self._put_maintenance(index, maintenance, abs(row.quantity * x), orientation)
        self._sorted = False  # the sets of tiered, shifted and inverse rows may have changed

    def _put_maintenance(self, index: int, maintenance: Maintenance, notional: float, orientation: float) -> None:
        now = maintenance.at_notional(notional)
        quantity = self._quantity[index]
        self._rate[index] = now.rate
        self._constant[index] = now.constant
        self._replace[index] = 1.0 if now.replaces else 0.0
        self._constant_liq[index] = now.constant_at_liquidation
        weight = 1.0 if now.plain else self._weight[index]
        self._denominator[index] = weight * (quantity - now.rate_at_liquidation * abs(quantity) * orientation)
        self._skew[index] = (self._weight[index] - weight) * self._offset[index]
        self._tier_low[index], self._tier_high[index] = bounds_of(maintenance.brackets, notional)

    def _sort(self) -> None:
        """Order rows by pool and rebuild what depends on the order."""
        n = self._n
        order = np.argsort(self._pool[:n], kind="stable")
        if not np.array_equal(order, np.arange(n)):
            self._columns[:, :n] = self._columns[:, order]
            self._ints[:, :n] = self._ints[:, order]
            self._rows = {handle: row for row, handle in enumerate(self._handle[:n].tolist())}
        pools = self._pool[:n]
        self._starts = np.flatnonzero(np.diff(pools, prepend=-1))
        self._segment_pools = pools[self._starts]
        self._tiered = np.flatnonzero((self._tier_low[:n] > -np.inf) | (self._tier_high[:n] < np.inf))
        self._shifted = np.flatnonzero((self._shift[:n] != 0.0) | (self._floor_to[:n] > 0.0))
        self._inverse = np.flatnonzero(self.symbols.orientation[self._symbol[:n]] < 0)
        self._sorted = True

    # --- arithmetic ----------------------------------------------------------------------------------------------

    def recompute(self) -> Changed:
        """Bring every output column to the present marks and balances; return what moved since the last call."""
        if not self._sorted:
            self._sort()
        n = self._n
        x, value, notional, upnl, mm = self._x[:n], self._value[:n], self._notional[:n], self._upnl[:n], self._mm[:n]
        symbol, quantity = self._symbol[:n], self._quantity[:n]
        np.take(self.symbols.x, symbol, out=x, mode="clip")
        np.take(self.symbols.mark, symbol, out=self._mark[:n], mode="clip")
        np.multiply(quantity, x, out=value)
        np.abs(value, out=notional)
        np.subtract(x, self._x0[:n], out=upnl)
        np.multiply(upnl, quantity, out=upnl)
        np.add(upnl, self._upnl0[:n], out=upnl)
        self._follow_tiers(notional)
        np.multiply(notional, self._rate[:n], out=mm)
        np.add(mm, self._constant[:n], out=mm)
        self._pool_sums(n)
        self._solve(n)
        return self._moved(n)

    def _follow_tiers(self, notional: Floats) -> None:
        """Rows whose notional left its bracket get the new bracket's rate (rare: a scalar loop)."""
        rows = self._tiered
        if not len(rows):
            return
        held = notional[rows]
        for row in rows[(held < self._tier_low[rows]) | (held >= self._tier_high[rows])].tolist():
            maintenance = self._brackets[int(self._handle[row])]
            self._put_maintenance(row, maintenance, float(notional[row]), self.symbols.orientation[self._symbol[row]])

    def _pool_sums(self, n: int) -> None:
        """Pool equity = cash + sum of contributions; pool maintenance = extra + sum of the rows' (pool currency)."""
        scratch, weight = self._scratch[:n], self._weight[:n]
        np.copyto(self.equity, self.cash)
        np.copyto(self.maintenance, self.extra_mm)
        if n:
            np.add(self._offset[:n], self._value[:n], out=scratch)
            np.multiply(scratch, weight, out=scratch)
            self.equity[self._segment_pools] += np.add.reduceat(scratch, self._starts)
            np.multiply(self._mm[:n], weight, out=scratch)
            self.maintenance[self._segment_pools] += np.add.reduceat(scratch, self._starts)

    def _solve(self, n: int) -> None:
        """Liquidation price and distance of every row (see ``gateway.core.margin.pool`` for the equation).

        x' = (maintenance that stays - equity + weight * value) / (weight * (quantity - rate * |quantity| * orientation))
        """
        liq, distance, scratch, taken = self._liq[:n], self._distance[:n], self._scratch[:n], self._taken[:n]
        pool, weight, mark = self._pool[:n], self._weight[:n], self._mark[:n]
        with np.errstate(divide="ignore", invalid="ignore"):
            np.multiply(self._replace[:n], self._mm[:n], out=scratch)
            np.subtract(self._constant_liq[:n], scratch, out=scratch)
            np.add(scratch, self._value[:n], out=scratch)
            np.multiply(scratch, weight, out=scratch)
            np.add(scratch, self._skew[:n], out=scratch)
            np.take(self.maintenance - self.equity, pool, out=taken, mode="clip")
            np.add(scratch, taken, out=scratch)
            np.divide(scratch, self._denominator[:n], out=liq)
            rows = self._inverse
            if len(rows):
                liq[rows] = -1.0 / liq[rows]
            liq[(liq <= 0.0) | (liq > _FAR)] = np.nan
            self._resolve_tiers(n)
            np.copyto(liq, self._venue_liq[:n], where=self._model[:n] == 0.0)
            rows = self._shifted
            if len(rows):
                self._round(rows)
            np.divide(liq, mark, out=distance)
            np.subtract(1.0, distance, out=distance)
            np.multiply(distance, self._sign[:n], out=distance)

    def _resolve_tiers(self, n: int) -> None:
        """Solve again, tier by tier, the rows whose solution lies in another bracket than the present one.

        A row without a root (NaN) stays so: a falling long meets lower rates only, and a rising short always has a root.
        """
        rows = self._tiered
        if not len(rows):
            return
        size, price = np.abs(self._quantity[rows]), self._liq[rows]
        at = size * price
        outside = (at < self._tier_low[rows]) | (at >= self._tier_high[rows])
        for row in rows[outside].tolist():
            pool, weight = int(self._pool[row]), float(self._weight[row])
            slack = float(self.equity[pool] - self.maintenance[pool]) / weight
            self._liq[row] = tiered_root(
                self._brackets[int(self._handle[row])].brackets,
                float(self._quantity[row]),
                slack,
                float(self._mm[row]),
                float(self._mark[row]),
            )

    def _round(self, rows: Ints) -> None:
        """Apply the venues' published rounding to solved prices (a one-tick shift, or down to the tick)."""
        price, tick = self._liq[rows] + self._shift[rows] * self._model[rows], self._floor_to[rows] * self._model[rows]
        floored = tick > 0.0
        # 1e-9 of a tick: a price that is a whole number of ticks must not fall to the tick below through float noise
        price[floored] = np.floor(price[floored] / tick[floored] + 1e-9) * tick[floored]
        self._liq[rows] = price

    def _moved(self, n: int) -> Changed:
        """Compare bit patterns (NaN equals NaN) with what was seen last, and remember the present ones."""
        x, liq, seen_x, seen_liq = self._x[:n], self._liq[:n], self._seen_x[:n], self._seen_liq[:n]
        moved = x.view(np.int64) != seen_x.view(np.int64)
        moved |= liq.view(np.int64) != seen_liq.view(np.int64)
        np.copyto(seen_x, x)
        np.copyto(seen_liq, liq)
        pools = (self.equity.view(np.int64) != self._seen_equity.view(np.int64)) | (
            self.maintenance.view(np.int64) != self._seen_mm.view(np.int64)
        )
        np.copyto(self._seen_equity, self.equity)
        np.copyto(self._seen_mm, self.maintenance)
        return Changed(self._slot[:n][moved], np.flatnonzero(pools))

    # --- reading -------------------------------------------------------------------------------------------------

    def figures(self, handle: int) -> dict[str, float]:
        """Return one row's outputs; unknown ones are left out. Liquidation "none" and "unknown" both lack ``liq``."""
        row = self._rows[handle]
        found = {
            "mark": float(self._mark[row]),
            "value": float(self._value[row]),
            "notional": float(self._notional[row]),
            "upnl": float(self._upnl[row]),
            "mm": float(self._mm[row]),
            "liq": float(self._liq[row]),
            "distance": float(self._distance[row]),
        }
        return {name: value for name, value in found.items() if not math.isnan(value)}

    def totals(self) -> tuple[Ints, Floats, Floats]:
        """Return (slots, notional, upnl) of all rows: views in settle currency, valid until the next change."""
        n = self._n
        return self._slot[:n], self._notional[:n], self._upnl[:n]

    def contribution(self, handle: int, *, at_anchor: bool) -> tuple[float, float]:
        """Return what a row adds to its pool's equity and maintenance (pool currency), now or at its own anchor."""
        row = self._rows[handle]
        x = float(self._x0[row]) if at_anchor else float(self.symbols.x[self._symbol[row]])
        value = float(self._quantity[row]) * x
        weight = float(self._weight[row])
        return (float(self._offset[row]) + value) * weight, (
            abs(value) * float(self._rate[row]) + float(self._constant[row])
        ) * weight
