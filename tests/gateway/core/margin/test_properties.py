"""Every margin model through the real engine against the plain Decimal reference, and what must hold of any of them."""

from __future__ import annotations

import math
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.explain import explain
from tests.gateway.core.margin.reference import D, Leg, Pool
from tests.gateway.core.margin.worlds import MODES, NOW, Held, Mode, pools_of, tiers_of

BY_MODE = pytest.mark.parametrize("mode", MODES, ids=lambda mode: f"{mode.model}-{mode.ccy}")
SHARED = tuple(mode for mode in MODES if mode.pool is not None)
BY_SHARED = pytest.mark.parametrize("mode", SHARED, ids=lambda mode: f"{mode.model}-{mode.ccy}")
# Each example is an engine with pools in it: 15 where others draw 100, and many where the profile looks for new ones
FEW = settings(max_examples=settings.default.max_examples * 15 // 100)
_FAR = D(10) ** 9


def scale_of(pool: Pool) -> float:
    """Return how much is at stake in pool currency: what float64 can be wrong about."""
    usd = {coin.ccy: coin.usd for coin in pool.coins}
    legs = sum((leg.notional(leg.mark) + abs(leg.pnl(leg.mark))) * usd.get(leg.settle, D(1)) for leg in pool.legs)
    return float(legs + abs(pool.cash) + sum((abs(coin.amount) * coin.usd for coin in pool.coins), D(0)))


def assert_same(ours: float, theirs: Decimal | None, mark: Decimal, why: str = "") -> None:
    """Compare a price with the reference's; None: no price."""
    if theirs is None or theirs > _FAR * mark:
        assert math.isnan(ours) or ours > float(_FAR * mark) / 2, why
    else:
        assert ours == pytest.approx(float(theirs), rel=1e-9), why


def assert_triggers(held: Held, pool: Pool) -> None:
    """Compare every row's trigger, and how far it is, with where full revaluation of the pool finds it."""
    spent = pool.surplus({}) < 0
    roots = {leg.base: pool.trigger(leg.base) for leg in pool.legs}
    for index, leg in enumerate(pool.legs):
        factor = roots[leg.base]
        if factor is not None and pool.bends({leg.base: factor}):
            continue  # a haircut is followed along its present tier: see the test of that limit
        assert_same(held.trigger(index), None if factor is None else factor * leg.mark, leg.mark, f"{index} of {pool}")
        if factor is not None and factor < _FAR:
            away = float(abs(factor - 1)) * (-1 if spent else 1)
            assert held.figure(index, "distance") == pytest.approx(away, rel=1e-9, abs=1e-9), f"{index} of {pool}"
        elif factor is None:
            found = held.figure(index, "distance")
            assert found == -1.0 if spent else math.isnan(found) or found > float(_FAR) / 2, f"{index} of {pool}"


@BY_MODE
@FEW
@given(data=st.data())
def test_equity_and_maintenance_are_the_references(mode: Mode, data: st.DataObject) -> None:
    pool = data.draw(pools_of(mode))
    held = Held(mode, pool)
    equity, maintenance = pool.value({})
    assert held.equity == pytest.approx(float(equity), rel=1e-9, abs=1e-12 * scale_of(pool))
    assert held.maintenance == pytest.approx(float(maintenance), rel=1e-9)


@BY_MODE
@FEW
@given(data=st.data())
def test_the_trigger_is_where_full_revaluation_finds_it(mode: Mode, data: st.DataObject) -> None:
    pool = data.draw(pools_of(mode))
    held = Held(mode, pool)
    assert None not in held.models
    assert_triggers(held, pool)


@BY_MODE
@FEW
@given(data=st.data())
def test_at_the_trigger_equity_meets_maintenance(mode: Mode, data: st.DataObject) -> None:
    pool = data.draw(pools_of(mode))
    held = Held(mode, pool)
    for index, leg in enumerate(pool.legs):
        trigger = held.trigger(index)
        move = {leg.base: D(1) if math.isnan(trigger) else D(trigger) / leg.mark}
        if not (math.isnan(trigger) or pool.bends(move)):
            equity, maintenance = pool.value(move)
            there = float(leg.notional(leg.mark * move[leg.base])) * (
                trigger if leg.inverse and mode.ccy == "USD" else 1
            )
            assert float(equity - maintenance) == pytest.approx(0.0, abs=1e-9 * (scale_of(pool) + there)), pool


@BY_MODE
@FEW
@given(data=st.data(), factor=st.sampled_from([D("0.001"), D(7), D(1000)]))
def test_amounts_in_another_unit_change_no_price(mode: Mode, data: st.DataObject, factor: Decimal) -> None:
    pool = data.draw(pools_of(mode))
    other = Held(mode, scaled(pool, factor))
    held = Held(mode, pool)
    assert other.triggers() == pytest.approx(held.triggers(), rel=1e-9, nan_ok=True)
    assert other.prices() == pytest.approx(held.prices(), rel=1e-9, nan_ok=True)


def scaled(pool: Pool, factor: Decimal) -> Pool:
    """Return the pool with every amount, tiers included, multiplied."""
    legs = tuple(
        leg._replace(
            size=leg.size * factor,
            fixed=leg.fixed * factor,
            tiers=tuple(t._replace(lower=t.lower * factor, deduction=t.deduction * factor) for t in leg.tiers),
        )
        for leg in pool.legs
    )
    coins = tuple(
        coin._replace(
            amount=coin.amount * factor, haircuts=tuple((lower * factor, rate) for lower, rate in coin.haircuts)
        )
        for coin in pool.coins
    )
    return pool._replace(legs=legs, cash=pool.cash * factor, coins=coins)


@pytest.mark.parametrize(
    "mode", [mode for mode in MODES if mode.linear and not mode.coins], ids=lambda mode: mode.model
)
@FEW
@given(value=st.integers(100, 40_000), part=st.integers(3, 50))
def test_long_and_short_lose_the_same_surplus_on_the_way(mode: Mode, value: int, part: int) -> None:
    """(mark - trigger) (1 - rate) of a long = (trigger - mark) (1 + rate) of a short, of the same size from the same price."""
    tiers = tiers_of(mode.venue, inverse=False)[:1]
    size, cash = D(value) / 1000, D(value) * part
    triggers, rate = [], tiers[0].rate
    for side in (1, -1):
        leg = Leg("S", "BTC", side, size, D(1000), D(1000), tiers, mode.ccy, by_size=mode.venue == "okx")
        if mode.venue == "okx":
            leg = leg._replace(fee_rate=D("0.0005"))
        triggers.append(Held(mode, Pool(mode.ccy, (leg,), cash / 100)).trigger(0))
        rate = leg.tiers[0].rate + leg.fee_rate
    down, up = (1000 - triggers[0]) * float(1 - rate), (triggers[1] - 1000) * float(1 + rate)
    assert down == pytest.approx(up, rel=1e-9)


@FEW
@given(data=st.data())
def test_an_inverse_contract_is_a_linear_one_of_the_reciprocal_price(data: st.DataObject) -> None:
    linear = data.draw(pools_of(MODES[0], most=1))
    (leg,) = linear.legs
    mirrored = leg._replace(
        symbol="BTC-USD", base="BTC", side=-leg.side, entry=1 / leg.entry, mark=1 / leg.mark, settle="BTC", inverse=True
    )
    straight = Held(MODES[0], linear).trigger(0)
    mirror = Held(MODES[1], Pool("BTC", (mirrored,), linear.cash)).trigger(0)
    assert mirror == pytest.approx(1 / straight, rel=1e-9, nan_ok=True)


@BY_SHARED
@FEW
@given(data=st.data())
def test_the_order_of_the_rows_does_not_matter(mode: Mode, data: st.DataObject) -> None:
    pool = data.draw(pools_of(mode))
    order = data.draw(st.permutations(range(len(pool.legs))))
    held = Held(mode, pool)
    other = Held(mode, pool._replace(legs=tuple(pool.legs[index] for index in order)))
    assert other.triggers() == pytest.approx([held.trigger(index) for index in order], rel=1e-12, nan_ok=True)
    assert other.prices() == pytest.approx([held.prices()[index] for index in order], rel=1e-12, nan_ok=True)


@BY_SHARED
@FEW
@given(data=st.data(), part=st.sampled_from([D("0.25"), D("0.5"), D("0.875")]))
def test_a_position_in_two_rows_is_the_same_position(mode: Mode, data: st.DataObject, part: Decimal) -> None:
    """With one rate: where the tier follows from each row's own notional, two halves are not one whole."""
    pool = data.draw(pools_of(mode))
    pool = pool._replace(legs=tuple(leg._replace(tiers=leg.tiers[:1]) for leg in pool.legs))
    first, *rest = pool.legs
    halves = [first._replace(size=first.size * each, fixed=first.fixed * each) for each in (part, 1 - part)]
    held, other = Held(mode, pool), Held(mode, pool._replace(legs=(*halves, *rest)))
    assert other.trigger(0) == pytest.approx(other.trigger(1), rel=1e-12, nan_ok=True)
    assert other.triggers()[1:] == pytest.approx(held.triggers(), rel=1e-9, nan_ok=True)


@BY_SHARED
@FEW
@given(data=st.data())
def test_more_collateral_never_brings_the_trigger_nearer(mode: Mode, data: st.DataObject) -> None:
    pool = data.draw(pools_of(mode))
    part = D(data.draw(st.integers(1, 200))) / 100
    if mode.coins:
        more = pool.coins[0]._replace(amount=pool.coins[0].amount * (1 + part))
        richer = pool._replace(coins=(more, *pool.coins[1:]))
    else:
        richer = pool._replace(cash=pool.cash + part * sum((leg.notional(leg.mark) for leg in pool.legs), D(0)))
    near, far = Held(mode, pool), Held(mode, richer)
    for index, leg in enumerate(pool.legs):
        before, after = abs(near.trigger(index) - float(leg.mark)), abs(far.trigger(index) - float(leg.mark))
        assert math.isnan(after) or after >= before * (1 - 1e-9), f"{index} of {pool}"


@BY_SHARED
@FEW
@given(data=st.data())
def test_all_of_one_underlying_shows_one_root(mode: Mode, data: st.DataObject) -> None:
    """Both legs of a hedge, swap and dated contract: the same price, or the same move where their marks differ."""
    pool = data.draw(pools_of(mode))
    held = Held(mode, pool)
    moves: dict[str, list[float]] = {}
    for index, leg in enumerate(pool.legs):
        moves.setdefault(leg.base, []).append(held.trigger(index) / float(leg.mark))
    for found in moves.values():
        assert found == pytest.approx([found[0]] * len(found), rel=1e-12, nan_ok=True)


@BY_SHARED
@FEW
@given(data=st.data())
def test_a_uniform_shock_is_where_full_revaluation_finds_it(mode: Mode, data: st.DataObject) -> None:
    pool = data.draw(pools_of(mode))
    held = Held(mode, pool)
    root = pool.uniform()
    if root is not None and pool.bends(dict.fromkeys((leg.base for leg in pool.legs), root)):
        return
    ours = float(held.engine.book.shock()[held.rows[0].pool.number])
    if root is None or root > _FAR:
        assert math.isinf(ours), pool
    else:
        assert ours == pytest.approx(float(root) - 1, rel=1e-9, abs=1e-12), pool


@BY_SHARED
@FEW
@given(data=st.data(), percent=st.sampled_from([-50, -20, -3, 4, 35]))
def test_the_book_revalued_is_the_reference_revalued(mode: Mode, data: st.DataObject, percent: int) -> None:
    pool = data.draw(pools_of(mode))
    held = Held(mode, pool)
    book = held.engine.book
    base = data.draw(st.sampled_from(sorted({leg.base for leg in pool.legs})))
    factor = 1 + D(percent) / 100
    factors = [float(factor) if book.bases.name(number) == base else 1.0 for number in range(len(book.bases))]
    before = book.equity.copy(), book.maintenance.copy()
    if pool.bends({base: factor}):
        return
    found = book.at(np.array(factors))
    equity, maintenance = pool.value({base: factor})
    number = held.rows[0].pool.number
    scale = scale_of(pool) * 2
    assert found.equity[number] == pytest.approx(float(equity), rel=1e-9, abs=1e-12 * scale)
    assert found.maintenance[number] == pytest.approx(float(maintenance), rel=1e-9)
    assert (book.equity == before[0]).all()
    assert (book.maintenance == before[1]).all()


@BY_MODE
@FEW
@given(data=st.data())
def test_marks_that_move_lead_where_a_fresh_start_does(mode: Mode, data: st.DataObject) -> None:
    """Tick after tick, across tier edges and back, against the reference at the marks of the end."""
    pool = data.draw(pools_of(mode))
    held = Held(mode, pool)
    symbols = sorted({leg.symbol for leg in pool.legs})
    for _ in range(data.draw(st.integers(1, 4))):
        symbol = data.draw(st.sampled_from(symbols))
        step = D(data.draw(st.integers(700, 1400))) / 1000
        mark = next(leg.mark for leg in pool.legs if leg.symbol == symbol) * step
        pool = pool._replace(legs=tuple(leg._replace(mark=mark) if leg.symbol == symbol else leg for leg in pool.legs))
        held.mark(symbol, mark)
    held.engine.clock(NOW + 2)
    assert_triggers(held, pool)
    for index, leg in enumerate(pool.legs):
        assert held.figure(index, "upnl") == pytest.approx(
            float(leg.pnl(leg.mark)), rel=1e-9, abs=1e-12 * scale_of(pool)
        )


@pytest.mark.parametrize(
    "mode", [m for m in MODES if m.venue in ("bybit", "aster")], ids=lambda m: f"{m.model}-{m.ccy}"
)
@FEW
@given(data=st.data())
def test_tables_that_jump_are_solved_at_the_jump_or_beside_it(mode: Mode, data: st.DataObject) -> None:
    """Without deductions: several roots, and a jump over zero is one."""
    pool = data.draw(pools_of(mode))
    legs = (leg._replace(tiers=tiers_of(mode.venue, inverse=leg.inverse, deducted=False)) for leg in pool.legs)
    pool = pool._replace(legs=tuple(legs))
    assert_triggers(Held(mode, pool), pool)


@pytest.mark.parametrize("mode", [m for m in SHARED if m.venue != "bybit"], ids=lambda m: f"{m.model}-{m.ccy}")
@FEW  # Bybit's definition holds maintenance at its present value: no revaluation has it so
@given(data=st.data())
def test_the_published_price_moves_the_symbol_alone(mode: Mode, data: st.DataObject) -> None:
    """Its row alone, or both legs of a hedge where the venue's formula has both (Aster)."""
    pool = data.draw(pools_of(mode))
    held = Held(mode, pool)
    for index, leg in enumerate(pool.legs):
        legs = list(pool.legs)
        if mode.venue != "aster":
            legs[index] = leg._replace(symbol="alone")
        moving, symbol = pool._replace(legs=tuple(legs)), legs[index].symbol
        factor = moving.alone(symbol)
        if factor is not None and moving.bends({symbol: factor}):
            continue
        assert_same(
            held.figure(index, "liq"), None if factor is None else factor * leg.mark, leg.mark, f"{index} of {pool}"
        )


@BY_MODE
@FEW
@given(data=st.data())
def test_what_is_explained_is_what_the_columns_solved(mode: Mode, data: st.DataObject) -> None:
    """The scalar equation of one moment, which explanations and calibration use, against the vectorised one."""
    held = Held(mode, data.draw(pools_of(mode)))
    engine = held.engine
    for index, row in enumerate(held.rows):
        told = explain(row, engine.book, engine.positions)["liquidation_price"]
        assert isinstance(told, dict)
        assert told.get("model", math.nan) == pytest.approx(held.figure(index, "liq"), rel=1e-9, nan_ok=True), held.pool


@BY_MODE
@FEW
@given(data=st.data())
def test_a_price_outside_the_contracts_range_is_none_and_the_pool_is_as_it_was(mode: Mode, data: st.DataObject) -> None:
    """The columns and the scalar equation, and what is not a price of one contract: equity, maintenance, a move of everything."""
    pool = data.draw(pools_of(mode))
    ranges = {
        leg.symbol: (
            leg.mark * data.draw(st.integers(0, 999)) / 1000,
            leg.mark * data.draw(st.integers(1001, 4000)) / 1000,
        )
        for leg in pool.legs
    }
    free, held = Held(mode, pool), Held(mode, pool, ranges)
    for index, leg in enumerate(pool.legs):
        least, most = ranges[leg.symbol]
        for name in ("liq", "trigger"):
            price = free.figure(index, name)
            wanted = price if float(least) < price < float(most) else math.nan
            assert held.figure(index, name) == pytest.approx(wanted, rel=1e-12, nan_ok=True), f"{index} of {pool}"
        assert ("distance" in held.engine.book.figures(held.rows[index].handle)) != math.isnan(held.trigger(index))
        told = explain(held.rows[index], held.engine.book, held.engine.positions)["liquidation_price"]
        assert isinstance(told, dict)
        assert told.get("model", math.nan) == pytest.approx(held.figure(index, "liq"), rel=1e-9, nan_ok=True), pool
    assert (held.equity, held.maintenance) == (free.equity, free.maintenance)
    number = held.rows[0].pool.number
    assert held.engine.book.shock()[number] == free.engine.book.shock()[number]
