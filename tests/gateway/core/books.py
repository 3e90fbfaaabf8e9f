"""Books for tests, made from plain records, and the same arithmetic once more: one scalar loop, as the definitions stand."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from hypothesis import strategies as st

from gateway.core.margin.pool import Bracket, Maintenance
from gateway.core.positions import Book, Row

BASES = ("BTC", "ETH", "SOL", "USDT")
MARKS = {"BTC": 60_000.0, "ETH": 2_500.0, "SOL": 150.0}
FLAT = (Bracket(0.0, 0.01, 0.0),)
CONVEX = (
    Bracket(0.0, 0.01, 0.0),
    Bracket(50_000.0, 0.02, 500.0),
    Bracket(200_000.0, 0.05, 6_500.0),
    Bracket(1e6, 0.1, 56_500.0),
)
JUMPS = (Bracket(0.0, 0.01, 0.0), Bracket(50_000.0, 0.02, 0.0), Bracket(200_000.0, 0.05, 0.0))
IN_COIN = (Bracket(0.0, 0.01, 0.0), Bracket(2.0, 0.02, 0.02), Bracket(10.0, 0.05, 0.32))


class Held(NamedTuple):
    """A position, or a coin (``symbol`` None: ``size`` of it, at ``MARKS``). ``size``: signed, in base; inverse: in 100 dollars."""

    base: str
    symbol: str | None
    size: float
    tiers: tuple[Bracket, ...] = FLAT
    pnl: float = 0.0
    counts: float = 1.0
    beyond: float = 0.0

    @property
    def inverse(self) -> bool:
        return self.symbol is not None and self.symbol.startswith("inverse")

    @property
    def mark(self) -> float:
        return MARKS[self.base] * (1.01 if self.symbol and self.symbol.endswith("dated") else 1.0)

    @property
    def quantity(self) -> float:
        return self.size * 100.0 if self.inverse else self.size


class World(NamedTuple):
    """One pool: of dollars (``ccy`` "USD"), or of a coin that its inverse contracts are paid in."""

    held: tuple[Held, ...]
    cash: float
    ccy: str = "USD"
    delta: float = 0.0

    def weight(self, one: Held) -> float:
        return MARKS[one.base] if self.ccy == "USD" and (one.inverse or one.symbol is None) else 1.0


class Parts(NamedTuple):
    """A pool revalued: equity without calibration, maintenance, and the sum of all amounts that went in."""

    equity: float
    maintenance: float
    scale: float


def charged(tiers: Sequence[Bracket], notional: float) -> float:
    """Return the maintenance by the tier that a notional falls in."""
    within = [tier for tier in tiers if notional >= tier.lower] or [tiers[0]]
    return notional * within[-1].rate - within[-1].deduction


def reckon(world: World, factors: Mapping[str, float]) -> Parts:
    """Return the pool with underlyings' prices multiplied, by the definitions, one position after the other."""
    equity, maintenance, scale = world.cash, 0.0, abs(world.cash)
    for one in world.held:
        k = factors.get(one.base, 1.0)
        weight, mark = world.weight(one), one.mark * k
        if one.symbol is None:
            gained, kept, at_risk = one.size, 0.0, abs(one.size)
        elif one.inverse:
            gained = one.pnl + one.quantity * (1.0 / one.mark - 1.0 / mark)
            at_risk = abs(one.quantity) / mark
            kept = charged(one.tiers, at_risk) + one.beyond
        else:
            gained = one.pnl + one.quantity * (mark - one.mark)
            at_risk = abs(one.quantity) * mark
            kept = charged(one.tiers, at_risk) + one.beyond
        if weight != 1.0:
            weight *= k
        equity += gained * one.counts * weight
        maintenance += kept * weight
        scale += (
            abs(one.pnl) + abs(one.quantity) * (one.mark + mark) if not one.inverse else at_risk + abs(gained)
        ) * weight
    return Parts(equity, maintenance, scale)


def free(world: World, factors: Mapping[str, float]) -> float:
    """Return equity as it is solved for, less maintenance."""
    parts = reckon(world, factors)
    return parts.equity + world.delta - parts.maintenance


def maintenance_of(one: Held) -> Maintenance:
    """Return the parameters of a model that charges the tiers, and publishes the root of the same equation."""
    first = one.tiers[0]
    constant = one.beyond - first.deduction
    return Maintenance(
        "tested", first.rate, constant, first.rate, constant, brackets=one.tiers, beyond=one.beyond, both_legs=True
    )  # fmt: skip


def book_of(*worlds: World) -> tuple[Book, list[list[int]]]:
    """Return a recomputed book, and the handles of each pool's rows; pools, bases and slots are numbered in order."""
    book = Book()
    for base in BASES:
        book.bases.number(base, fixed=base == "USDT")
    numbers: dict[str, int] = {}
    handles = []
    for world in worlds:
        pool = book.add_pool()
        book.cash[pool], book.delta[pool] = world.cash, world.delta
        handles.append([put(book, numbers, world, pool, one) for one in world.held])
    book.recompute()
    return book, handles


def put(book: Book, numbers: dict[str, int], world: World, pool: int, one: Held) -> int:
    """Add one row; ``numbers``: of symbols by base and name."""
    base = book.bases.number(one.base)
    if one.symbol is None:
        handle = book.add_coin(pool, base)
        book.put_coin(handle, one.size, MARKS[one.base])
        return handle
    key = f"{one.base}-{one.symbol}"
    if key not in numbers:
        numbers[key] = book.symbols.add()
        book.symbols.orient(numbers[key], inverse=one.inverse)
        book.symbols.set(numbers[key], one.mark)
    x0 = -1.0 / one.mark if one.inverse else one.mark
    handle = book.add(numbers[key], pool, len(book), base)
    book.put(
        handle,
        Row(
            one.quantity, one.pnl, x0, False, world.weight(one), one.size >= 0.0, math.nan, maintenance_of(one),
            scales_offset=world.ccy == "USD" and one.inverse, counts=one.counts,
        ),
    )  # fmt: skip
    return handle


# --- for hypothesis ----------------------------------------------------------------------------------------------------------

_sign = st.sampled_from((-1.0, 1.0))
_bases = st.sampled_from(("BTC", "ETH", "SOL"))


def _sized(dollars: float, base: str, *, inverse: bool) -> float:
    return round(dollars / 100.0, 3) if inverse else float(f"{dollars / MARKS[base]:.4g}")


@st.composite
def linear(draw: st.DrawFn, tiers: tuple[tuple[Bracket, ...], ...] = (FLAT, CONVEX)) -> Held:
    """Positions of 1,000 to 2,000,000 dollars."""
    base = draw(_bases)
    dollars = draw(_sign) * 10 ** draw(st.floats(3.0, 6.3))
    return Held(
        base,
        draw(st.sampled_from(("swap", "dated"))),
        _sized(dollars, base, inverse=False),
        draw(st.sampled_from(tiers)),
        round(draw(st.floats(-0.05, 0.05)) * dollars, 2),
        beyond=draw(st.sampled_from((0.0, 0.37))),
    )


@st.composite
def inverse(draw: st.DrawFn, base: str | None = None) -> Held:
    """Inverse contracts of 1,000 to 2,000,000 dollars."""
    base = base or draw(_bases)
    dollars = draw(_sign) * 10 ** draw(st.floats(3.0, 6.3))
    pnl = round(draw(st.floats(-0.05, 0.05)) * dollars / MARKS[base], 6)
    symbol = draw(st.sampled_from(("inverse-swap", "inverse-dated")))
    return Held(base, symbol, _sized(dollars, base, inverse=True), draw(st.sampled_from((FLAT, IN_COIN))), pnl)


@st.composite
def coin(draw: st.DrawFn) -> Held:
    """Coins, or debts of them, of 1,000 to 300,000 dollars."""
    base = draw(_bases)
    return Held(base, None, _sized(draw(_sign) * 10 ** draw(st.floats(3.0, 5.5)), base, inverse=False))


@st.composite
def worlds(draw: st.DrawFn, tiers: tuple[tuple[Bracket, ...], ...] = (FLAT, CONVEX)) -> World:
    """Pools of dollars, or of one coin, of up to six rows; most hold what they need."""
    if draw(st.integers(0, 3)) == 0:
        held = draw(st.lists(inverse(base="BTC"), min_size=1, max_size=4))
        return World(tuple(held), draw(st.floats(0.01, 20.0)), "BTC", draw(st.sampled_from((0.0, 0.003))))
    row = st.one_of(linear(tiers=tiers), linear(tiers=tiers), inverse(), coin())
    held = draw(st.lists(row, min_size=1, max_size=6).filter(lambda rows: any(one.symbol for one in rows)))
    cut = [one._replace(counts=draw(st.sampled_from((1.0, 0.9)))) if one.inverse else one for one in held]
    return World(tuple(cut), 10 ** draw(st.floats(2.0, 6.0)), "USD", draw(st.sampled_from((0.0, -35.5))))
