"""The layout of the columns: one row per position or coin, float64, and what rows, symbols and underlyings are.

Owns names, units and shapes; computes nothing (that is ``gateway.core.solve``). Knows nothing of venues, events or tables. Pure.

Coordinates: ``x`` is the mark for linear contracts and ``-1/mark`` for inverse ones, kept per symbol, so that one set of
formulas serves both (``pnl = quantity * (x - x0)``, ``notional = |quantity * x|``). NaN is "unknown" and spreads.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from gateway.core.arrays import Flags, Floats, Ints
from gateway.core.margin.pool import Maintenance

# (n,) float64 each. Amounts are in settle currency; `weight` converts them to the pool's currency. Flags are 1 or 0.
INPUTS = (
    "orientation",  # +1 linear, -1 inverse
    "quantity",  # signed, in contract_ccy
    "upnl0",  # unrealised PnL at x0: the anchor, or 0 at the entry
    "x0",
    "offset",  # equity contribution = offset + quantity * x: "upnl" basis upnl0 - quantity * x0, "value" basis 0
    "weight",  # settle currency in units of the pool's currency
    "counts",  # the fraction of profit that counts: where it is settled in a coin with a haircut; maintenance is never cut
    "backs",  # weight * counts: what one of its profit adds to the pool's equity
    "rate",  # of the present tier, as is the constant
    "constant",
    "rate_trigger",  # of the tier that the trigger was in last: solved in it, a trigger that is still there needs no second look
    "constant_trigger",
    "bend",  # weight * (rate_trigger - rate)
    "bend_constant",  # weight * (constant_trigger - constant)
    "beyond",  # the part of the constant that no tier changes
    "replace",  # flag: maintenance at the solved price replaces the present one, else the present one is held
    "follows",  # flag: the published price takes rate and constant of the tier that it falls in
    "plain",  # flag: the published price does not convert the settle currency
    "rate_liq",  # where it follows tiers, of the tier that the published price was in last
    "constant_liq",
    "denominator",  # (backs * quantity - weight * rate_liq * |quantity| * orientation), weights as in the solve
    "slope",  # backs * quantity - weight * rate_trigger * |quantity| * orientation: equity less maintenance, per x
    "model",  # flag: the liquidation price is solved, else `venue_liq` is shown
    "speaks",  # flag: the model's figures are to be shown (see ``heard``)
    "both_legs",  # flag: the published price moves every row of the symbol in the pool
    "scale",  # flag: weight moves with the row's own underlying (an inverse contract in a pool of dollars)
    "venue_liq",
    "venue_side",  # +1: the venue's price is met falling, -1: rising
    "shift",
    "floor_to",
    "lowest",  # a solved price is one between this
    "highest",  # and this
    "tier_low",  # the present tier holds for prices from here
    "tier_high",  # up to here
    "trigger_low",
    "trigger_high",
    "liq_low",
    "liq_high",
)
# What is shown of a row side by side: one look reads it all.
FIGURES = ("mark", "value", "notional", "upnl", "mm", "liq", "trigger", "distance")
# liq, trigger, distance and x side by side, and what was last seen of them: one comparison tells which rows moved
OUTPUTS = (
    *FIGURES,
    "x",
    "seen_liq",
    "seen_trigger",
    "seen_distance",
    "seen_x",
    "least",  # a solved price above it is one: the lowest of the range, or what float64 leaves of 0
    "lack",  # maintenance - equity of the row's pool, as solved for
    "scratch",
)
# int64; table: of tiers, priced_by: the index whose price is the row's weight; both -1 without
IDENTITY = ("symbol", "pool", "slot", "handle", "base", "table", "priced_by")
_SEEN = 4


class Columns:
    """The first ``n`` rows of every column by name: views of one block, (n,) each (units: see above and Row)."""

    orientation: Floats
    quantity: Floats
    upnl0: Floats
    x0: Floats
    offset: Floats
    weight: Floats
    counts: Floats
    backs: Floats
    rate: Floats
    constant: Floats
    rate_trigger: Floats
    constant_trigger: Floats
    bend: Floats
    bend_constant: Floats
    beyond: Floats
    replace: Floats
    follows: Floats
    plain: Floats
    rate_liq: Floats
    constant_liq: Floats
    denominator: Floats
    slope: Floats
    model: Floats
    speaks: Floats
    both_legs: Floats
    scale: Floats
    venue_liq: Floats
    venue_side: Floats
    shift: Floats
    floor_to: Floats
    lowest: Floats
    highest: Floats
    tier_low: Floats
    tier_high: Floats
    trigger_low: Floats
    trigger_high: Floats
    liq_low: Floats
    liq_high: Floats
    x: Floats
    liq: Floats
    trigger: Floats
    mark: Floats
    value: Floats
    notional: Floats
    upnl: Floats
    mm: Floats
    distance: Floats
    least: Floats
    lack: Floats
    scratch: Floats
    symbol: Ints
    pool: Ints
    slot: Ints
    handle: Ints
    base: Ints
    table: Ints
    priced_by: Ints

    def __init__(self, block: Floats, ints: Ints, n: int) -> None:
        names = INPUTS + OUTPUTS
        for index, name in enumerate(names):
            setattr(self, name, block[index, :n])
        for index, name in enumerate(IDENTITY):
            setattr(self, name, ints[index, :n])
        first = names.index("liq")
        bits = block.view(np.int64)
        self.bits, self.seen_bits = bits[first : first + _SEEN, :n], bits[first + _SEEN : first + 2 * _SEEN, :n]

    def __len__(self) -> int:
        return len(self.quantity)

    def heard(self, rows: slice | Ints) -> Flags:
        """Return of which rows the model's figures are shown, as of the last recompute: it is to speak, and lacks no input.

        Everywhere else the venue's word counts: its price, and the distance to that.
        """
        found: Flags = _heard(self.model[rows], self.speaks[rows], self.lack[rows])
        return found

    def heard_of(self, row: int) -> bool:
        """Return the same of one row, in plain floats."""
        return bool(_heard(self.model.item(row), self.speaks.item(row), self.lack.item(row)))


def _heard(model: Any, speaks: Any, lack: Any) -> Any:
    return (model == 1.0) & (speaks == 1.0) & (lack == lack)  # noqa: PLR0124  not NaN


class Row(NamedTuple):
    """Everything the arithmetic needs of one position (see the columns above for units).

    Attributes:
        scales_offset: An inverse contract in a pool of dollars: the price of its coin, which is its ``weight``, is its own
            underlying, so that what was settled moves with it too.
        speaks: The model's figures are shown, unless an input is missing, and distance is to the trigger; else distance is to the
            venue's price.
        counts: The fraction of profit that counts in the pool (a haircut of its settle coin); maintenance is not cut.
        priced_by: The number of the index that ``weight`` is the price of (``Book.reprice``); -1: of none.
        mark0: The mark of the venue's message, on whose one side the venue's price lay; NaN: a long's lies below.
    """

    quantity: float
    upnl0: float
    x0: float
    value_basis: bool
    weight: float
    long: bool
    venue_liq: float
    maintenance: Maintenance
    scales_offset: bool = False
    speaks: bool = True
    counts: float = 1.0
    mark0: float = math.nan
    priced_by: int = -1

    @property
    def venue_side(self) -> float:
        """Return +1 where the venue's price is met falling, -1 rising: a leg of a hedge may have it on either side."""
        if math.isnan(self.venue_liq) or math.isnan(self.mark0) or self.venue_liq == self.mark0:
            return 1.0 if self.long else -1.0
        return 1.0 if self.venue_liq < self.mark0 else -1.0


class Rows(NamedTuple):
    """Who the rows are, (n_rows,) int64 each; ``slot`` is -1 for a coin. Valid until rows come, change or go."""

    handle: Ints
    pool: Ints
    base: Ints
    slot: Ints


class Shocked(NamedTuple):
    """The book revalued: (n_pools,) in pool currency, (n_rows,) in settle currency in the order of ``Book.rows``."""

    equity: Floats
    maintenance: Floats
    upnl: Floats
    notional: Floats


class Changed(NamedTuple):
    """What a recompute moved: table slots of rows, and pool numbers."""

    slots: Ints
    pools: Ints


def ranks(names: Sequence[str]) -> Ints:
    """Return the place of each name among all of them in order; equal ones in the order of their numbers."""
    found = np.empty(len(names), dtype=np.int64)
    found[sorted(range(len(names)), key=names.__getitem__)] = np.arange(len(names))
    return found


class Symbols:
    """Marks per symbol number. ``x`` and ``mark``: (n_symbols,) float64; NaN until a price is known."""

    def __init__(self) -> None:
        self.x: Floats = np.full(64, np.nan)
        self.mark: Floats = np.full(64, np.nan)
        self.orientation: Floats = np.ones(64)  # +1 linear, -1 inverse
        self.names: list[str] = []
        self._count = 0

    def add(self, name: str = "") -> int:
        """Return the number of a new symbol, which rows are ordered by the name of; linear until ``orient`` says otherwise."""
        if self._count == len(self.x):
            self.x = np.concatenate([self.x, np.full(self._count, np.nan)])
            self.mark = np.concatenate([self.mark, np.full(self._count, np.nan)])
            self.orientation = np.concatenate([self.orientation, np.ones(self._count)])
        self._count += 1
        self.names.append(name)
        return self._count - 1

    def orient(self, number: int, *, inverse: bool) -> None:
        """Say whether the symbol's contracts are inverse."""
        self.orientation[number] = -1.0 if inverse else 1.0
        self.set(number, float(self.mark[number]))

    def set(self, number: int, mark: float) -> None:
        """Set a symbol's mark (quote currency); one that is not above zero is unknown."""
        mark = mark if mark > 0.0 else math.nan
        self.mark[number] = mark
        self.x[number] = mark if self.orientation[number] > 0 else -1.0 / mark

    def copy(self) -> Symbols:
        """Return symbols of its own with the same numbers and marks."""
        other = Symbols()
        other.x, other.mark, other.orientation = self.x.copy(), self.mark.copy(), self.orientation.copy()
        other._count, other.names = self._count, list(self.names)
        return other

    def multiply(self, factors: Floats) -> None:
        """Multiply every mark by its factor, (len(mark),), above 0."""
        self.mark *= factors
        self.x *= np.where(self.orientation > 0.0, factors, 1.0 / factors)


class Bases:
    """Numbers of underlyings. What moves together has one number: swaps, dated futures and a coin held as collateral.

    Attributes:
        fixed: (n_bases,) bool: money that a move of the market leaves as it is (dollars and coins pegged to them).
    """

    def __init__(self) -> None:
        self.fixed: Flags = np.zeros(0, dtype=np.bool_)
        self.names: list[str] = []
        self._numbers: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self.names)

    def number(self, name: str, *, fixed: bool = False) -> int:
        """Return the number of an underlying, new where the name is (``fixed`` counts then alone)."""
        found = self._numbers.get(name)
        if found is None:
            found = self._numbers[name] = len(self.names)
            self.names.append(name)
            self.fixed = np.append(self.fixed, fixed)
        return found

    def name(self, number: int) -> str:
        """Return an underlying's name."""
        return self.names[number]
