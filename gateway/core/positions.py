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
# x and liq side by side, and what was last seen of both: one comparison tells which rows moved
_OUTPUTS = ("x", "liq", "seen_x", "seen_liq", "mark", "value", "notional", "upnl", "mm", "distance", "scratch", "taken")


class _Columns:
    """The first ``n`` rows of every column by name: views of one block, (n,) float64 each (units: see above and Row)."""

    quantity: Floats
    upnl0: Floats
    x0: Floats
    offset: Floats
    weight: Floats
    rate: Floats
    constant: Floats
    replace: Floats
    constant_liq: Floats
    denominator: Floats
    skew: Floats
    sign: Floats
    model: Floats
    venue_liq: Floats
    shift: Floats
    floor_to: Floats
    tier_low: Floats
    tier_high: Floats
    x: Floats
    liq: Floats
    mark: Floats
    value: Floats
    notional: Floats
    upnl: Floats
    mm: Floats
    distance: Floats
    scratch: Floats
    taken: Floats

    def __init__(self, block: Floats, ints: Ints, n: int) -> None:
        names = _INPUTS + _OUTPUTS
        for index, name in enumerate(names):
            setattr(self, name, block[index, :n])
        self.symbol, self.pool, self.slot, self.handle = ints[:, :n]
        first = names.index("x")
        bits = block.view(np.int64)
        self.bits, self.seen_bits = bits[first : first + 2, :n], bits[first + 2 : first + 4, :n]


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
    scales_offset: bool = False  # an inverse row in a pool of dollars: its coin's price moves what is settled, too
    speaks: bool = True  # the model's figures are shown: the distance is to the trigger, else to the venue's price


class Bases:
    """Numbers of underlyings. What moves together has one number: swaps, dated futures and a coin held as collateral.

    Attributes:
        fixed: (n_bases,) bool: money that a move of the market leaves as it is (dollars and coins pegged to them).
    """

    def __init__(self) -> None:
        self.fixed: NDArray[np.bool_] = np.zeros(0, dtype=np.bool_)
        self._numbers: dict[str, int] = {}
        self._names: list[str] = []

    def __len__(self) -> int:
        return len(self._names)

    def number(self, name: str, *, fixed: bool = False) -> int:
        """Return the number of an underlying, new where the name is."""
        found = self._numbers.get(name)
        if found is None:
            found = self._numbers[name] = len(self._names)
            self._names.append(name)
            self.fixed = np.append(self.fixed, fixed)
        return found

    def name(self, number: int) -> str:
        """Return an underlying's name."""
        return self._names[number]


class Shocked(NamedTuple):
    """The book revalued: (n_pools,) in pool currency, (n_rows,) in settle currency in the order of ``Book.rows``."""

    equity: Floats
    maintenance: Floats
    upnl: Floats
    notional: Floats


class Rows(NamedTuple):
    """Who the rows are, (n_rows,) int64 each; ``slot`` is -1 for a coin. Valid until rows come or go."""

    handle: Ints
    pool: Ints
    base: Ints
    slot: Ints


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

    def __init__(self) -> None:
        self.symbols = Symbols()
        self.bases = Bases()
        self.delta: Floats = np.zeros(16)  # calibration, pool currency: added to equity in solves and triggers only
        self._capacity = 64
        self._block = np.full((len(_INPUTS) + len(_OUTPUTS), self._capacity), np.nan)
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
        self._unmodelled: NDArray[np.bool_] = np.zeros(0, dtype=np.bool_)
        self._pool_free: list[int] = []
        self._pool_count = 0
        self._pools = np.zeros((6, 16))  # cash, extra_mm, equity, mm, seen equity, seen mm
        self._bind()

    # --- structure -----------------------------------------------------------------------------------------------

    def _bind(self) -> None:
        """Name the columns; called whenever the arrays are replaced."""
        self._all = _Columns(self._block, self._ints, self._capacity)
        self._live = _Columns(self._block, self._ints, self._n)  # what is recomputed: renewed when rows come or go
        self.cash, self.extra_mm, self.equity, self.maintenance = self._pools[:4]
        bits = self._pools.view(np.int64)
        self._pool_bits, self._seen_pool_bits = bits[2:4], bits[4:6]

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

    def add(self, symbol: int, pool: int, slot: int, base: int) -> int:
        """Append a row without figures; return its handle."""
        if self._n == self._capacity:
            self._capacity *= 2
            self._block = np.concatenate([self._block, np.full_like(self._block, np.nan)], axis=1)
            self._ints = np.concatenate([self._ints, np.zeros_like(self._ints)], axis=1)
            self._bind()
        row, handle = self._n, self._next_handle
        self._next_handle += 1
        self._n += 1
        self._block[:, row] = np.nan
        self._ints[:, row] = (symbol, pool, slot, handle)
        self._rows[handle] = row
        self._sorted = False
        return handle

    def remove(self, handle: int) -> None:
        """Drop a row; the last one takes its place until the next recompute sorts again."""
        row, last = self._rows.pop(handle), self._n - 1
        self._brackets.pop(handle, None)
        if row != last:
            self._block[:, row] = self._block[:, last]
            self._ints[:, row] = self._ints[:, last]
            self._rows[int(self._all.handle[row])] = row
        self._n -= 1
        self._sorted = False

    def move(self, handle: int, pool: int) -> None:
        """Put a row into another pool (its margin mode changed)."""
        row = self._rows[handle]
        if self._all.pool[row] != pool:
            self._all.pool[row] = pool
            self._sorted = False

    def put(self, handle: int, row: Row) -> None:
        """Write a row's inputs."""
        index = self._rows[handle]
        maintenance = row.maintenance
        orientation = self.symbols.orientation[self._all.symbol[index]]
        self._all.quantity[index] = row.quantity
        self._all.upnl0[index] = row.upnl0
        self._all.x0[index] = row.x0
        self._all.offset[index] = 0.0 if row.value_basis else row.upnl0 - row.quantity * row.x0
        self._all.weight[index] = row.weight
        self._all.sign[index] = 1.0 if row.long else -1.0
        self._all.venue_liq[index] = row.venue_liq
        self._all.model[index] = 0.0 if maintenance.model is None else 1.0
        self._all.shift[index] = maintenance.shift
        self._all.floor_to[index] = maintenance.floor_to
        if len(maintenance.brackets) > 1:
            self._brackets[handle] = maintenance
        else:
            self._brackets.pop(handle, None)
        x = self.symbols.x[self._all.symbol[index]]
        self._put_maintenance(index, maintenance, abs(row.quantity * x), orientation)
        self._sorted = False  # the sets of tiered, shifted and inverse rows may have changed

    def rebase(self, handle: int, base: int) -> None:
        """Say what the row's underlying is, where that was learned later."""

    def speak(self, handle: int, *, model: bool) -> None:
        """Say whose figure is shown: the model's, or the venue's (then the model runs in the shadow)."""

    def add_coin(self, pool: int, base: int) -> int:
        """Append a coin that backs a pool of dollars; return its handle. It has no table slot."""
        raise NotImplementedError

    def put_coin(self, handle: int, amount: float, usd: float) -> None:
        """Write a coin: the amount that counts (after its haircut; negative: a debt), and its price in US dollars."""
        raise NotImplementedError

    def at(self, factors: Floats) -> Shocked:
        """Revalue every row with each underlying's price multiplied by its factor, (n_bases,); nothing is changed."""
        raise NotImplementedError

    def shock(self) -> Floats:
        """Return, (n_pools,), the uniform move of all underlyings (signed fraction, nearest 0) that brings a pool to M = E.

        0: it is there already; inf: no move above -1 does; NaN: unknown.
        """
        raise NotImplementedError

    def rows(self) -> Rows:
        """Return who the rows are."""
        raise NotImplementedError

    def reweigh(self, handle: int, weight: float, *, plain: bool) -> bool:
        """Set what the settle currency is worth to the pool now; False where it was unknown: the row has to be put anew."""
        row = self._rows[handle]
        before = float(self._all.weight[row])
        if math.isnan(before) or math.isnan(weight):
            return False
        self._all.weight[row] = weight
        if plain:
            self._all.skew[row] = (weight - 1.0) * self._all.offset[row]
        else:
            self._all.denominator[row] *= weight / before
        return True

    def _put_maintenance(self, index: int, maintenance: Maintenance, notional: float, orientation: float) -> None:
        now = maintenance.at_notional(notional)
        quantity = self._all.quantity[index]
        self._all.rate[index] = now.rate
        self._all.constant[index] = now.constant
        self._all.replace[index] = 1.0 if now.replaces else 0.0
        self._all.constant_liq[index] = now.constant_at_liquidation
        weight = 1.0 if now.plain else self._all.weight[index]
        self._all.denominator[index] = weight * (quantity - now.rate_at_liquidation * abs(quantity) * orientation)
        self._all.skew[index] = (self._all.weight[index] - weight) * self._all.offset[index]
        self._all.tier_low[index], self._all.tier_high[index] = bounds_of(maintenance.brackets, notional)

    def _sort(self) -> None:
        """Order rows by pool and rebuild what depends on the order."""
        n = self._n
        order = np.argsort(self._all.pool[:n], kind="stable")
        if not np.array_equal(order, np.arange(n)):
            self._block[:, :n] = self._block[:, order]
            self._ints[:, :n] = self._ints[:, order]
            self._rows = {handle: row for row, handle in enumerate(self._all.handle[:n].tolist())}
        c = self._live = _Columns(self._block, self._ints, n)
        self._starts = np.flatnonzero(np.diff(c.pool, prepend=-1))
        self._segment_pools = c.pool[self._starts]
        self._tiered = np.flatnonzero((c.tier_low > -np.inf) | (c.tier_high < np.inf))
        self._shifted = np.flatnonzero((c.shift != 0.0) | (c.floor_to > 0.0))
        self._inverse = np.flatnonzero(self.symbols.orientation[c.symbol] < 0)
        self._unmodelled = c.model == 0.0
        self._sorted = True

    # --- arithmetic ----------------------------------------------------------------------------------------------

    def recompute(self) -> Changed:
        """Bring every output column to the present marks and balances; return what moved since the last call."""
        if not self._sorted:
            self._sort()
        c = self._live
        np.take(self.symbols.x, c.symbol, out=c.x, mode="clip")
        np.take(self.symbols.mark, c.symbol, out=c.mark, mode="clip")
        np.multiply(c.quantity, c.x, out=c.value)
        np.abs(c.value, out=c.notional)
        np.subtract(c.x, c.x0, out=c.upnl)
        np.multiply(c.upnl, c.quantity, out=c.upnl)
        np.add(c.upnl, c.upnl0, out=c.upnl)
        self._follow_tiers(c)
        np.multiply(c.notional, c.rate, out=c.mm)
        np.add(c.mm, c.constant, out=c.mm)
        self._pool_sums(c)
        with np.errstate(divide="ignore", invalid="ignore"):
            self._solve(c)
        return self._moved(c)

    def _follow_tiers(self, c: _Columns) -> None:
        """Rows whose notional left its bracket get the new bracket's rate (rare: a scalar loop)."""
        rows = self._tiered
        if not len(rows):
            return
        held = c.notional[rows]
        for row in rows[(held < c.tier_low[rows]) | (held >= c.tier_high[rows])].tolist():
            maintenance = self._brackets[int(c.handle[row])]
            self._put_maintenance(row, maintenance, float(c.notional[row]), self.symbols.orientation[c.symbol[row]])

    def _pool_sums(self, c: _Columns) -> None:
        """Pool equity = cash + sum of contributions; pool maintenance = extra + sum of the rows' (pool currency)."""
        np.copyto(self._pools[2:4], self._pools[0:2])
        if self._n:
            np.add(c.offset, c.value, out=c.scratch)
            np.multiply(c.scratch, c.weight, out=c.scratch)
            self.equity[self._segment_pools] += np.add.reduceat(c.scratch, self._starts)
            np.multiply(c.mm, c.weight, out=c.scratch)
            self.maintenance[self._segment_pools] += np.add.reduceat(c.scratch, self._starts)

    def _solve(self, c: _Columns) -> None:
        """Liquidation price and distance of every row (see ``gateway.core.margin.pool`` for the equation).

        x' = (maintenance that stays - equity + weight * value) / (weight * (quantity - rate * |quantity| * orientation))
        """
        scratch, liq = c.scratch, c.liq
        np.multiply(c.replace, c.mm, out=scratch)
        np.subtract(c.constant_liq, scratch, out=scratch)
        np.add(scratch, c.value, out=scratch)
        np.multiply(scratch, c.weight, out=scratch)
        np.add(scratch, c.skew, out=scratch)
        np.take(self.maintenance - self.equity, c.pool, out=c.taken, mode="clip")
        np.add(scratch, c.taken, out=scratch)
        np.divide(scratch, c.denominator, out=liq)
        if len(self._inverse):
            liq[self._inverse] = -1.0 / liq[self._inverse]
        liq[(liq <= 0.0) | (liq > _FAR)] = np.nan
        self._resolve_tiers(c)
        np.copyto(liq, c.venue_liq, where=self._unmodelled)
        if len(self._shifted):
            self._round(c, self._shifted)
        np.divide(liq, c.mark, out=c.distance)
        np.subtract(1.0, c.distance, out=c.distance)
        np.multiply(c.distance, c.sign, out=c.distance)

    def _resolve_tiers(self, c: _Columns) -> None:
        """Solve again, tier by tier, the rows whose solution lies in another bracket than the present one.

        A row without a root (NaN) stays so: a falling long meets lower rates only, and a rising short always has a root.
        """
        rows = self._tiered
        if not len(rows):
            return
        at = np.abs(c.quantity[rows]) * c.liq[rows]
        outside = (at < c.tier_low[rows]) | (at >= c.tier_high[rows])
        for row in rows[outside].tolist():
            pool, weight = int(c.pool[row]), float(c.weight[row])
            slack = float(self.equity[pool] - self.maintenance[pool]) / weight
            brackets = self._brackets[int(c.handle[row])].brackets
            own, mark = float(c.mm[row]), float(c.mark[row])
            c.liq[row] = tiered_root(brackets, float(c.quantity[row]), slack, own, mark)

    @staticmethod
    def _round(c: _Columns, rows: Ints) -> None:
        """Apply the venues' published rounding to solved prices (a one-tick shift, or down to the tick)."""
        price, tick = c.liq[rows] + c.shift[rows] * c.model[rows], c.floor_to[rows] * c.model[rows]
        floored = tick > 0.0
        # 1e-9 of a tick: a price that is a whole number of ticks must not fall to the tick below through float noise
        price[floored] = np.floor(price[floored] / tick[floored] + 1e-9) * tick[floored]
        c.liq[rows] = price

    def _moved(self, c: _Columns) -> Changed:
        """Compare bit patterns (NaN equals NaN) with what was seen last, and remember the present ones."""
        rows = (c.bits != c.seen_bits).any(axis=0)
        np.copyto(c.seen_bits, c.bits)
        pools = (self._pool_bits != self._seen_pool_bits).any(axis=0)
        np.copyto(self._seen_pool_bits, self._pool_bits)
        return Changed(c.slot[rows], np.flatnonzero(pools))

    # --- reading -------------------------------------------------------------------------------------------------

    def figures(self, handle: int) -> dict[str, float]:
        """Return one row's outputs; unknown ones are left out. Liquidation "none" and "unknown" both lack ``liq``."""
        row = self._rows[handle]
        found = {
            "mark": float(self._all.mark[row]),
            "value": float(self._all.value[row]),
            "notional": float(self._all.notional[row]),
            "upnl": float(self._all.upnl[row]),
            "mm": float(self._all.mm[row]),
            "liq": float(self._all.liq[row]),
            "distance": float(self._all.distance[row]),
        }
        return {name: value for name, value in found.items() if not math.isnan(value)}

    def notional(self, handle: int) -> float:
        """Return one row's notional (settle currency), NaN where unknown."""
        return float(self._all.notional[self._rows[handle]])

    def contribution(self, handle: int, weight: float | None = None, *, at_anchor: bool) -> tuple[float, float]:
        """Return what a row adds to its pool's equity and maintenance (pool currency), now or at its own anchor.

        Args:
            weight: The settle currency in the pool's, where it is not the present one.
        """
        row = self._rows[handle]
        x = float(self._all.x0[row]) if at_anchor else float(self.symbols.x[self._all.symbol[row]])
        value = float(self._all.quantity[row]) * x
        weight = float(self._all.weight[row]) if weight is None else weight
        return (float(self._all.offset[row]) + value) * weight, (
            abs(value) * float(self._all.rate[row]) + float(self._all.constant[row])
        ) * weight
