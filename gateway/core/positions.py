"""The book: every position's figures, and every pool's, kept in columns that a mark tick recomputes.

Owns rows, pools and their order. The layout is ``gateway.core.columns``', the arithmetic ``gateway.core.solve``'s. Knows nothing of
venues, events or tables. Pure: no clock, no I/O.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping

import numpy as np

from gateway.core.arrays import Floats, Ints
from gateway.core.columns import (
    FIGURES,
    IDENTITY,
    INPUTS,
    OUTPUTS,
    Bases,
    Changed,
    Columns,
    Row,
    Rows,
    Shocked,
    Symbols,
    ranks,
)
from gateway.core.layout import Layout, layout_of
from gateway.core.margin.pool import Bracket, Maintenance
from gateway.core.margin.scalar import Leg
from gateway.core.margin.solver import Tables
from gateway.core.solve import (
    derive,
    liquidation_prices,
    pool_sums,
    revalue,
    revalued,
    triggers,
    uniform_moves,
)

__all__ = ["Bases", "Book", "Changed", "Row", "Rows", "Shocked", "Symbols"]

_COIN = -1  # the table slot of a coin
_ANYWHERE, _NOWHERE = (-math.inf, math.inf), (math.inf, -math.inf)  # [low, high) of prices
_POOL_INPUTS, _POOL_OUTPUTS = 4, 2

LEAST = 1e-6  # of a price is left by any move: no price is 0


class Book:
    """All rows and pools. One writer: the engine.

    Rows are addressed by a handle (stable int); their physical order is by pool, underlying and symbol and changes when
    positions open and close.

    Attributes:
        cash, extra_mm: (n_pools,) pool currency: equity and maintenance beyond the rows'.
        stated: (n_pools,) the venue's own margin ratio, 1 = liquidation, for where equity or maintenance is not known; NaN: none.
        delta: (n_pools,) calibration: added to equity where prices are solved, never to the equity that is shown.
        equity, maintenance: (n_pools,) as of the last recompute.
    """

    def __init__(self) -> None:
        self.symbols = Symbols()
        self.bases = Bases()
        self._tables = Tables()
        self._capacity = 64
        self._block = np.full((len(INPUTS) + len(OUTPUTS), self._capacity), np.nan)
        self._ints = np.zeros((len(IDENTITY), self._capacity), dtype=np.int64)
        self._n = 0
        self._rows: dict[int, int] = {}  # handle → physical row
        self._next_handle = 0
        self._coin_symbol: int | None = None  # a symbol whose price is 1
        self._ordered = self._laid = False
        self._pool_free: list[int] = []
        self._pool_count = 0
        self._pools = np.zeros((_POOL_INPUTS + 2 * _POOL_OUTPUTS, 16))
        self._bind()
        self._where: Layout = layout_of(self._live, np.zeros(0), self._tables)

    # --- structure -----------------------------------------------------------------------------------------------

    def _bind(self) -> None:
        """Name the columns; called whenever the arrays are replaced."""
        self._all = Columns(self._block, self._ints, self._capacity)
        self._live = Columns(self._block, self._ints, self._n)  # what is recomputed: renewed when rows come or go
        self._figures = self._block[len(INPUTS) : len(INPUTS) + len(FIGURES)]
        self.cash, self.extra_mm, self.stated, self.delta, self.equity, self.maintenance = self._pools[
            : _POOL_INPUTS + _POOL_OUTPUTS
        ]
        bits = self._pools.view(np.int64)[_POOL_INPUTS:]
        self._pool_bits, self._seen_pool_bits = bits[:_POOL_OUTPUTS], bits[_POOL_OUTPUTS:]

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
        self.cash[number] = self.stated[number] = np.nan
        return number

    def remove_pool(self, number: int) -> None:
        """Free a pool that has no rows left."""
        self._pools[:, number] = 0.0
        self._pool_free.append(number)

    def add(self, symbol: int, pool: int, slot: int, base: int) -> int:
        """Append a position's row without figures; return its handle."""
        if self._n == self._capacity:
            self._capacity *= 2
            self._block = np.concatenate([self._block, np.full_like(self._block, np.nan)], axis=1)
            self._ints = np.concatenate([self._ints, np.zeros_like(self._ints)], axis=1)
            self._bind()
        row, handle = self._n, self._next_handle
        self._next_handle += 1
        self._n += 1
        self._block[:, row] = np.nan
        self._ints[:, row] = (symbol, pool, slot, handle, base, -1, -1)
        self._rows[handle] = row
        self._ordered = self._laid = False
        return handle

    def add_coin(self, pool: int, base: int) -> int:
        """Append a coin that backs a pool kept in dollars; return its handle. It has no table slot."""
        if self._coin_symbol is None:
            self._coin_symbol = self.symbols.add()
            self.symbols.set(self._coin_symbol, 1.0)
        return self.add(self._coin_symbol, pool, _COIN, base)

    def remove(self, handle: int) -> None:
        """Drop a row; the last one takes its place until the next recompute sorts again."""
        row, last = self._rows.pop(handle), self._n - 1
        self._retable(row, ())
        if row != last:
            self._block[:, row] = self._block[:, last]
            self._ints[:, row] = self._ints[:, last]
            self._rows[int(self._all.handle[row])] = row
        self._n -= 1
        self._ordered = self._laid = False

    def move(self, handle: int, pool: int) -> None:
        """Put a row into another pool (its margin mode changed)."""
        self._place(self._all.pool, handle, pool)

    def rebase(self, handle: int, base: int) -> None:
        """Say what a row's underlying is, where that was learned after it came."""
        self._place(self._all.base, handle, base)

    def _place(self, column: Ints, handle: int, value: int) -> None:
        row = self._rows[handle]
        if column[row] != value:
            column[row] = value
            self._ordered = self._laid = False

    # --- inputs --------------------------------------------------------------------------------------------------

    def put(self, handle: int, row: Row) -> None:
        """Write a position's inputs."""
        index, c = self._rows[handle], self._all
        orientation = float(self.symbols.orientation[c.symbol[index]])
        c.orientation[index] = orientation
        c.quantity[index], c.upnl0[index], c.x0[index] = row.quantity, row.upnl0, row.x0
        c.offset[index] = 0.0 if row.value_basis else row.upnl0 - row.quantity * row.x0
        c.venue_liq[index], c.venue_side[index], c.speaks[index] = row.venue_liq, row.venue_side, row.speaks
        c.weight[index], c.counts[index], c.priced_by[index] = row.weight, row.counts, row.priced_by
        c.scale[index] = row.scales_offset and orientation < 0.0
        self._put_maintenance(index, row.maintenance)
        self._laid = False

    def _put_maintenance(self, index: int, maintenance: Maintenance) -> None:
        c, tiered = self._all, len(maintenance.brackets) > 1
        notional = abs(float(c.quantity[index] * self.symbols.x[c.symbol[index]]))
        now = maintenance.at_notional(0.0 if math.isnan(notional) else notional)
        c.rate[index] = c.rate_trigger[index] = now.rate
        c.constant[index] = c.constant_trigger[index] = now.constant
        c.rate_liq[index], c.constant_liq[index] = now.rate_at_liquidation, now.constant_at_liquidation
        c.model[index], c.beyond[index] = now.model is not None, now.beyond
        c.replace[index], c.plain[index] = now.replaces, now.plain
        c.follows[index], c.both_legs[index] = now.tiered, now.both_legs
        c.shift[index], c.floor_to[index] = now.shift, now.floor_to
        c.lowest[index], c.highest[index] = now.lowest, now.highest
        self._retable(index, maintenance.brackets if tiered else ())
        # No price is in a tier yet: the next recompute looks for those of the mark, the trigger and the published price.
        bounds = _NOWHERE if tiered else _ANYWHERE
        c.tier_low[index], c.tier_high[index] = c.trigger_low[index], c.trigger_high[index] = bounds
        c.liq_low[index], c.liq_high[index] = bounds if now.tiered else _ANYWHERE
        derive(c, index)

    def _retable(self, row: int, brackets: tuple[Bracket, ...]) -> None:
        """Hold another table of tiers for a row, and give back the one before."""
        before = int(self._all.table[row])
        self._all.table[row] = self._tables.hold(brackets) if brackets else -1
        if before >= 0:
            self._tables.release(before)

    def put_coin(self, handle: int, amount: float, usd: float, priced_by: int = -1) -> None:
        """Write a coin: what counts of it (after its haircut; negative: a debt), its price in US dollars and by which index."""
        kept_free = Maintenance(rate=0.0, rate_at_liquidation=0.0)
        self.put(handle, Row(amount, 0.0, 1.0, True, usd, amount >= 0.0, math.nan, kept_free, priced_by=priced_by))

    def reweigh(self, handle: int, weight: float, priced_by: int = -1) -> None:
        """Set what the settle currency is worth to the pool now, and by which index."""
        row = self._rows[handle]
        self._all.weight[row], self._all.priced_by[row] = weight, priced_by
        derive(self._all, row)

    def reprice(self, prices: Mapping[int, float]) -> None:
        """Let indices have moved: each is the weight of the rows that follow it."""
        c, n = self._all, self._n
        moved = [np.flatnonzero(c.priced_by[:n] == index) for index in prices]
        for rows, price in zip(moved, prices.values(), strict=True):
            c.weight[rows] = price
        derive(c, np.concatenate(moved))

    # --- arithmetic ----------------------------------------------------------------------------------------------

    def _arrange(self) -> None:
        """Order rows by pool, underlying and symbol, and rebuild what depends on the order."""
        n, c = self._n, self._all
        if not self._ordered:
            # By name, not by number: sums then have the same last digits whatever was known first, and whatever happened between.
            symbols, bases = ranks(self.symbols.names), ranks(self.bases.names)
            order = np.lexsort((c.handle[:n], symbols[c.symbol[:n]], bases[c.base[:n]], c.pool[:n]))
            if not np.array_equal(order, np.arange(n)):
                self._block[:, :n] = self._block[:, order]
                self._ints[:, :n] = self._ints[:, order]
                self._rows = {handle: row for row, handle in enumerate(c.handle[:n].tolist())}
            self._live = Columns(self._block, self._ints, n)
        if not self._laid:
            self._where = layout_of(self._live, self.symbols.x[c.symbol[:n]], self._tables)
        self._ordered = self._laid = True

    def recompute(self) -> Changed:
        """Bring every output column to the present marks and balances; return what moved since the last call."""
        self._arrange()
        c, where = self._live, self._where
        np.take(self.symbols.x, c.symbol, out=c.x, mode="clip")
        np.take(self.symbols.mark, c.symbol, out=c.mark, mode="clip")
        if len(where.inert):
            c.x[where.inert] = np.nan_to_num(c.x[where.inert])
        if where.mixed.parted(c):
            self._laid = False
            self._arrange()
            where = self._where
        with np.errstate(divide="ignore", invalid="ignore"):
            revalue(c, where, self._tables)
            np.copyto(self.equity, self.cash)
            np.copyto(self.maintenance, self.extra_mm)
            pool_sums(c, where, self.equity, self.maintenance)
            np.take(self._lack(), c.pool, out=c.lack, mode="clip")
            liquidation_prices(c, where, self._tables)
            triggers(c, where, self._tables)
        return self._moved()

    def _lack(self) -> Floats:
        """Return maintenance - equity of every pool as solved for, (n_pools,)."""
        lack: Floats = self.maintenance - self.equity - self.delta
        return lack

    def _moved(self) -> Changed:
        """Compare bit patterns (NaN equals NaN) with what was seen last, and remember the present ones."""
        c = self._live
        rows = (c.bits != c.seen_bits).any(axis=0)
        np.copyto(c.seen_bits, c.bits)
        pools = (self._pool_bits != self._seen_pool_bits).any(axis=0)
        np.copyto(self._seen_pool_bits, self._pool_bits)
        slots = c.slot[rows]
        return Changed(slots[slots != _COIN] if self._coin_symbol is not None else slots, np.flatnonzero(pools))

    def at(self, factors: Floats) -> Shocked:
        """Revalue every row and pool with each underlying's price multiplied by its factor; nothing is changed.

        Present prices and balances are those of the last recompute. Tiers are those of the shocked prices.

        Args:
            factors: (n_bases,), above 0.
        """
        self._arrange()
        return self._at(factors[self._live.base])

    def along(self, way: Floats, moves: Floats) -> Shocked:
        """Revalue like ``at``, each pool at its own point of a common way: prices x (1 + way x move), at least ``LEAST``.

        Args:
            way: (n_pools,); ``moves``: (n_bases,) signed fractions.
        """
        self._arrange()
        c = self._live
        return self._at(np.maximum(1.0 + way[c.pool] * moves[c.base], LEAST))

    def moved(self, factors: Floats) -> Book:
        """Return a book of its own in which every underlying's price is multiplied by its factor, with all figures.

        To be read only: rows have the handles that they have here.

        Args:
            factors: (n_bases,), above 0.
        """
        self._arrange()
        other = copy.copy(self)
        other._block, other._ints, other._pools = self._block.copy(), self._ints.copy(), self._pools.copy()
        other.symbols = self.symbols.copy()
        other._bind()
        c, factor = other._live, factors[self._live.base]
        priced = c.slot != _COIN
        by_symbol = np.ones(len(other.symbols.mark))
        by_symbol[c.symbol[priced]] = factor[priced]
        other.symbols.multiply(by_symbol)
        # What a row settles in, or the coin that it is, may be its own underlying.
        weighed = np.flatnonzero(~priced | (c.scale == 1.0))
        c.weight[weighed] *= factor[weighed]
        derive(c, weighed)
        other._laid = False
        other.recompute()
        return other

    def _at(self, factors: Floats) -> Shocked:
        c = self._live
        upnl, notional, equity, maintenance = revalued(c, self._where, self._tables, factors)
        count = len(self.cash)
        return Shocked(
            self.cash + np.bincount(c.pool, equity, count),
            self.extra_mm + np.bincount(c.pool, maintenance, count),
            upnl,
            notional,
        )

    def shock(self) -> Floats:
        """Return, (n_pools,), the uniform move of all underlyings (signed fraction, nearest 0) that brings a pool to M = E.

        0: it is there already; inf: no move above -1 does; NaN: unknown. As of the last recompute; money (``Bases.fixed``)
        stays as it is.
        """
        self._arrange()
        c = self._live
        return uniform_moves(c, self._where, self._tables, self._lack(), self.bases.fixed[c.base])

    # --- reading -------------------------------------------------------------------------------------------------

    @property
    def live(self) -> Columns:
        """The columns as of the last recompute, to be read and not kept: in the order of ``rows``, until rows come or go."""
        return self._live

    def rows(self) -> Rows:
        """Return who the rows are."""
        self._arrange()
        c = self._live
        return Rows(c.handle, c.pool, c.base, c.slot)

    def figures(self, handle: int) -> dict[str, float]:
        """Return one row's outputs; unknown ones are left out. Liquidation "none" and "unknown" both lack ``liq``.

        ``liq`` is the published definition's price, ``trigger`` where the pool is spent if the underlying moves alone.
        ``distance`` is to the trigger where the model is ``heard``, 0 or less where the pool is spent already, -1 where no price of
        the underlying saves it; else to the venue's price.
        """
        row = self._rows[handle]
        values = self._figures[:, row].tolist()
        return {name: value for name, value in zip(FIGURES, values, strict=True) if value == value}  # noqa: PLR0124  not NaN

    def heard(self, handle: int) -> bool:
        """Say whether the model's figures are shown of a row, else the venue's word (``Columns.heard``)."""
        return self._all.heard_of(self._rows[handle])

    def notional(self, handle: int) -> float:
        """Return one row's notional (settle currency), NaN where unknown."""
        return float(self._all.notional[self._rows[handle]])

    def leg(self, handle: int, maintenance: Maintenance) -> Leg:
        """Return a position's row at the present mark as the scalar equation takes it."""
        row, c = self._rows[handle], self._all
        symbol = int(c.symbol[row])
        return Leg(
            symbol=symbol,
            quantity=float(c.quantity[row]),
            offset=float(c.offset[row]),
            weight=float(c.weight[row]),
            x=float(self.symbols.x[symbol]),
            inverse=bool(self.symbols.orientation[symbol] < 0.0),
            maintenance=maintenance,
            counts=float(c.counts[row]),
        )

    def contribution(self, handle: int, weight: float | None = None, *, at_anchor: bool) -> tuple[float, float]:
        """Return what a row adds to its pool's equity and maintenance (pool currency), now or at its own anchor.

        Args:
            weight: The settle currency in the pool's, where it is not the present one.
        """
        row = self._rows[handle]
        x = float(self._all.x0[row]) if at_anchor else float(self.symbols.x[self._all.symbol[row]])
        quantity = float(self._all.quantity[row])
        value = quantity * x if quantity else 0.0
        weight = float(self._all.weight[row]) if weight is None else weight
        counts = float(self._all.counts[row])
        return (float(self._all.offset[row]) + value) * weight * counts, (
            abs(value) * float(self._all.rate[row]) + float(self._all.constant[row])
        ) * weight
