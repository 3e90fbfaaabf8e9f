"""The columns against an independent Decimal calculation: every figure of every row, on the same inputs."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.margin.pool import Bracket, Maintenance, bracket_of
from gateway.core.positions import Book, Row


class Plain(NamedTuple):
    """One position in Decimal."""

    symbol: int
    pool: int
    quantity: Decimal
    upnl0: Decimal
    mark0: Decimal
    rate: Decimal


decimals = st.decimals(min_value="0.01", max_value="50000", places=2, allow_nan=False)
signed = st.tuples(st.sampled_from((-1, 1)), st.decimals(min_value="0.001", max_value="500", places=3)).map(
    lambda p: p[0] * p[1]
)
plain = st.builds(
    Plain,
    symbol=st.integers(0, 4),
    pool=st.integers(0, 2),
    quantity=signed,
    upnl0=st.decimals(min_value="-500", max_value="500", places=4),
    mark0=decimals,
    rate=st.sampled_from([Decimal("0.005"), Decimal("0.0125"), Decimal("0.05")]),
)


def make(rows: list[Plain], marks: list[Decimal], cash: list[Decimal]) -> tuple[Book, list[int]]:
    book = Book()
    symbols = [book.symbols.add() for _ in marks]
    for number, mark in zip(symbols, marks, strict=True):
        book.symbols.set(number, float(mark))
    pools = [book.add_pool() for _ in cash]
    for number, amount in zip(pools, cash, strict=True):
        book.cash[number] = float(amount)
    handles = []
    for slot, row in enumerate(rows):
        handle = book.add(symbols[row.symbol], pools[row.pool], slot, book.bases.number(str(row.symbol)))
        rate = float(row.rate)
        model = Maintenance("m", rate=rate, rate_at_liquidation=rate)
        book.put(
            handle,
            Row(float(row.quantity), float(row.upnl0), float(row.mark0), False, 1.0, row.quantity > 0, math.nan, model),
        )
        handles.append(handle)
    return book, handles


def expected(
    rows: list[Plain], marks: list[Decimal], cash: list[Decimal]
) -> list[tuple[Decimal, Decimal, Decimal | None]]:
    """Return (unrealised PnL, maintenance, liquidation price) per row, by the definition."""
    upnl = [row.upnl0 + row.quantity * (marks[row.symbol] - row.mark0) for row in rows]
    mm = [abs(row.quantity) * marks[row.symbol] * row.rate for row in rows]
    equity, need = list(cash), [Decimal(0)] * len(cash)
    for row, pnl, margin in zip(rows, upnl, mm, strict=True):
        equity[row.pool] += pnl
        need[row.pool] += margin
    found = []
    for row, pnl, margin in zip(rows, upnl, mm, strict=True):
        mark, size, side = marks[row.symbol], abs(row.quantity), 1 if row.quantity > 0 else -1
        price = mark - side * (equity[row.pool] - need[row.pool]) / size / (1 - row.rate * side)
        found.append((pnl, margin, price if price > 0 else None))
    return found


def near(found: float, wanted: Decimal, scale: float) -> bool:
    return math.isclose(found, float(wanted), rel_tol=1e-9, abs_tol=1e-9 * scale)


@settings(max_examples=150, deadline=None)
@given(
    rows=st.lists(plain, min_size=1, max_size=12),
    marks=st.lists(decimals, min_size=5, max_size=5),
    later=st.lists(decimals, min_size=5, max_size=5),
    cash=st.lists(st.decimals(min_value="100", max_value="100000", places=2), min_size=3, max_size=3),
)
def test_every_figure_equals_the_decimal_calculation(
    rows: list[Plain], marks: list[Decimal], later: list[Decimal], cash: list[Decimal]
) -> None:
    book, handles = make(rows, marks, cash)
    for present in (marks, later):
        for number, mark in enumerate(present):
            book.symbols.set(number, float(mark))
        book.recompute()
        scale = 1.0 + max(float(abs(row.quantity)) * 5e4 for row in rows)
        for handle, (upnl, mm, price) in zip(handles, expected(rows, present, cash), strict=True):
            found = book.figures(handle)
            assert near(found["upnl"], upnl, scale)
            assert near(found["mm"], mm, scale)
            if price is None or float(price) < 1e-6:
                assert found.get("liq", 0.0) < 1e-3
            else:
                assert math.isclose(found["liq"], float(price), rel_tol=1e-7, abs_tol=1e-6)


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(plain, min_size=2, max_size=12), data=st.data())
def test_closing_rows_leaves_the_others_as_they_are(rows: list[Plain], data: st.DataObject) -> None:
    marks, cash = [Decimal(100)] * 5, [Decimal(10_000)] * 3
    book, handles = make(rows, marks, cash)
    book.recompute()
    gone = data.draw(st.sets(st.integers(0, len(rows) - 1), max_size=len(rows) - 1))
    for index in gone:
        book.remove(handles[index])
    book.recompute()
    kept = [index for index in range(len(rows)) if index not in gone]
    fresh, fresh_handles = make([rows[index] for index in kept], marks, cash)
    fresh.recompute()
    assert len(book) == len(kept)
    for index, other in zip(kept, fresh_handles, strict=True):
        assert book.figures(handles[index]) == pytest.approx(fresh.figures(other), rel=1e-12)


def test_a_tick_reports_the_rows_and_pools_that_moved() -> None:
    rows = [
        Plain(0, 0, Decimal(1), Decimal(0), Decimal(100), Decimal("0.01")),
        Plain(1, 0, Decimal(1), Decimal(0), Decimal(100), Decimal("0.01")),
        Plain(2, 1, Decimal(1), Decimal(0), Decimal(100), Decimal("0.01")),
    ]
    book, _ = make(rows, [Decimal(100)] * 5, [Decimal(50)] * 3)
    book.recompute()
    assert not len(book.recompute().slots)
    book.symbols.set(0, 101.0)
    changed = book.recompute()
    assert sorted(changed.slots.tolist()) == [0, 1], (
        "the other cross position of the pool moves too; the third does not"
    )
    assert changed.pools.tolist() == [0]


@settings(max_examples=100, deadline=None)
@given(
    rows=st.lists(plain, min_size=1, max_size=8),
    plainly=st.booleans(),
    weights=st.lists(st.floats(0.5, 2.0) | st.just(math.nan), min_size=1, max_size=2).map(lambda seen: [*seen, 1.5]),
)
def test_a_row_whose_currency_moved_stands_as_if_it_had_been_put_anew(
    rows: list[Plain], plainly: bool, weights: list[float]
) -> None:
    marks, cash = [Decimal(100)] * 5, [Decimal(10_000)] * 3
    found = []
    for steps in (weights, weights[-1:]):
        book, handles = make(rows, marks, cash)
        for handle, row in zip(handles, rows, strict=True):
            rate = float(row.rate)
            model = Maintenance("m", rate=rate, rate_at_liquidation=rate, plain=plainly)
            given_ = Row(float(row.quantity), 5.0, float(row.mark0), False, steps[0], row.quantity > 0, math.nan, model)
            book.put(handle, given_)
            for weight in steps[1:]:
                book.reweigh(handle, weight)
        book.recompute()
        found.append([book.figures(handle) for handle in handles])
    for moved, anew in zip(*found, strict=True):
        assert moved == pytest.approx(anew, rel=1e-9, abs=1e-9)


def test_inverse_contracts_are_paid_in_coin() -> None:
    book = Book()
    number, pool = book.symbols.add(), book.add_pool()
    book.symbols.orient(number, inverse=True)
    book.symbols.set(number, 2565.656)
    book.cash[pool] = 0.0003896645377994
    # OKX's documented isolated inverse sample: 1 contract of 10 USD, entry 2566.31, maintenance rate 0.8 %, fee 0.05 %
    rate = 0.0000311811092368 / (10 / 2565.656) + 0.0005
    model = Maintenance("okx_isolated_inverse", rate=rate, rate_at_liquidation=rate, shift=0.01)
    handle = book.add(number, pool, 0, book.bases.number("BTC"))
    book.put(handle, Row(10.0, 0.0, -1 / 2566.31, False, 1.0, True, math.nan, model))
    book.recompute()
    found = book.figures(handle)
    assert found["upnl"] == pytest.approx(-9.932766034e-07, rel=1e-3)
    assert found["liq"] == pytest.approx(2352.8496681818233, rel=1e-6)


def test_an_unknown_mark_leaves_figures_unknown_not_zero() -> None:
    book, handles = make(
        [Plain(0, 0, Decimal(1), Decimal(0), Decimal(100), Decimal("0.01"))], [Decimal(100)] * 5, [Decimal(5)] * 3
    )
    book.symbols.set(0, math.nan)
    book.recompute()
    assert book.figures(handles[0]) == {}
    assert math.isnan(book.equity[0])


BRACKETS = (Bracket(0.0, 0.0125, 0.0), Bracket(150e6, 0.025, 1_875_000.0))


def test_brackets_are_half_open() -> None:
    assert bracket_of(BRACKETS, 149_999_999.0).rate == 0.0125
    assert bracket_of(BRACKETS, 150e6).rate == 0.025


def tiered_root(quantity: float, slack: float, own: float, mark: float) -> float:
    """Return one linear position's price in the bracket that it falls in itself, nearest to the mark: bracket by bracket.

    Args:
        slack: Pool equity - pool maintenance, now; ``own``: the position's maintenance in it.
    """
    best, size = math.nan, abs(quantity)
    for index, (lower, rate, deduction) in enumerate(BRACKETS):
        upper = BRACKETS[index + 1].lower if index + 1 < len(BRACKETS) else math.inf
        root = (-own - deduction - slack + quantity * mark) / (quantity - size * rate)
        inside = (index == 0 or size * root >= lower) and size * root < upper
        if root > 0 and inside and not abs(root - mark) >= abs(best - mark):
            best = root
    return best


@settings(max_examples=100, deadline=None)
@given(
    size=st.floats(500.0, 4000.0), short=st.booleans(), equity=st.floats(1e6, 1e8), mark=st.floats(30_000.0, 90_000.0)
)
def test_the_columns_solve_across_brackets(size: float, short: bool, equity: float, mark: float) -> None:
    book = Book()
    number, pool = book.symbols.add(), book.add_pool()
    book.symbols.set(number, mark)
    quantity = -size if short else size
    book.cash[pool] = equity
    handle = book.add(number, pool, 0, book.bases.number("BTC"))
    book.put(handle, Row(quantity, 0.0, mark, False, 1.0, not short, math.nan, Maintenance("m", brackets=BRACKETS)))
    book.recompute()
    found = book.figures(handle)
    now = bracket_of(BRACKETS, size * mark)
    own = size * mark * now.rate - now.deduction
    assert found["mm"] == pytest.approx(own)
    wanted = tiered_root(quantity, equity - own, own, mark)
    if "liq" in found:
        assert found["liq"] == pytest.approx(wanted, rel=1e-9)
    else:
        assert math.isnan(wanted)
