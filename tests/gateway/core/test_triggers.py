"""Triggers, revaluation and shocks of the book against one scalar loop, over pools of every kind."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from gateway.core.margin.pool import Maintenance
from gateway.core.margin.scalar import Snapshot
from gateway.core.positions import Book, Row
from tests.gateway.core.books import (
    BASES,
    CONVEX,
    FLAT,
    JUMPS,
    MARKS,
    Held,
    World,
    book_of,
    free,
    linear,
    reckon,
    worlds,
)

CLOSE = 1e-9
ALL = (FLAT, CONVEX, JUMPS)


def factors_of(changed: Mapping[str, float]) -> np.ndarray:
    return np.array([changed.get(base, 1.0) for base in BASES])


def uniform(factor: float) -> dict[str, float]:
    return dict.fromkeys(("BTC", "ETH", "SOL"), factor)


def sides(world: World, move: Mapping[str, float]) -> tuple[float, float]:
    """Return what is free a hair below and above a move, in units of what rounding may do."""
    scale = reckon(world, move).scale
    shaken = [{base: factor * (1.0 + hair) for base, factor in move.items()} for hair in (-CLOSE, CLOSE)]
    return free(world, shaken[0]) / scale, free(world, shaken[1]) / scale


def is_root(world: World, move: Mapping[str, float]) -> bool:
    """Say whether a pool is spent exactly there, or where a tier jumps there."""
    below, above = sides(world, move)
    return min(abs(below), abs(above)) <= 2.0 * CLOSE or below * above <= 0.0


def first_change(world: World, bases: tuple[str, ...], until: float) -> float:
    """Return the factor nearest to 1 between which and its neighbour, of a grid, the pool changes sides; NaN: none."""
    start = free(world, {})
    steps = np.linspace(0.0, abs(until - 1.0), 60)[1:-1]
    for step in map(float, steps):
        for factor in (1.0 + step, 1.0 - step):
            move = dict.fromkeys(bases, factor)
            if factor > 0.0 and free(world, move) * start < 0.0 and not is_root(world, move):
                return factor
    return math.nan


@settings(max_examples=100, deadline=None)
@given(world=worlds(tiers=ALL))
def test_at_the_trigger_the_pool_is_spent_and_never_before(world: World) -> None:
    book, (handles,) = book_of(world)
    for one, handle in zip(world.held, handles, strict=True):
        if one.symbol is None:
            continue
        found = book.figures(handle)
        if "trigger" not in found:
            assert math.isnan(first_change(world, (one.base,), 0.01))
            assert math.isnan(first_change(world, (one.base,), 30.0))
            continue
        factor = found["trigger"] / one.mark
        assert is_root(world, {one.base: factor})
        assert math.isnan(first_change(world, (one.base,), factor)), "the root nearest to the mark is the trigger"
        assert found["distance"] == pytest.approx(abs(1.0 - factor) * math.copysign(1.0, free(world, {})), abs=1e-12)


@settings(max_examples=100, deadline=None)
@given(world=worlds())
def test_the_book_revalued_at_a_trigger_has_equity_and_maintenance_equal(world: World) -> None:
    book, (handles,) = book_of(world)
    for one, handle in zip(world.held, handles, strict=True):
        trigger = book.figures(handle).get("trigger")
        if trigger is not None:
            there = book.at(factors_of({one.base: trigger / one.mark}))
            scale = reckon(world, {one.base: trigger / one.mark}).scale
            assert there.equity[0] + book.delta[0] == pytest.approx(there.maintenance[0], abs=CLOSE * scale)


@settings(max_examples=60, deadline=None)
@given(
    held=st.tuples(worlds(tiers=ALL), worlds(tiers=ALL)),
    moves=st.tuples(*[st.floats(0.05, 8.0)] * 3),
)
def test_revaluation_equals_the_scalar_loop_and_changes_nothing(
    held: tuple[World, World], moves: tuple[float, ...]
) -> None:
    book, handles = book_of(*held)
    before = [book.figures(handle) for pool in handles for handle in pool]
    move = dict(zip(BASES, moves, strict=False))
    there = book.at(factors_of(move))
    for pool, world in enumerate(held):
        wanted = reckon(world, move)
        assert there.equity[pool] == pytest.approx(wanted.equity, abs=CLOSE * wanted.scale)
        assert there.maintenance[pool] == pytest.approx(wanted.maintenance, abs=CLOSE * wanted.scale)
    assert [book.figures(handle) for pool in handles for handle in pool] == before
    now, present = book.at(factors_of({})), [reckon(world, {}) for world in held]
    assert now.equity[:2].tolist() == pytest.approx(book.equity[:2].tolist(), rel=1e-12, abs=1e-6)
    assert now.maintenance[:2].tolist() == pytest.approx(book.maintenance[:2].tolist(), rel=1e-12)
    assert book.equity[:2].tolist() == [pytest.approx(each.equity, abs=CLOSE * each.scale) for each in present]


@settings(max_examples=60, deadline=None)
@given(held=st.tuples(worlds(tiers=ALL), worlds(tiers=ALL)))
def test_the_shock_is_the_least_uniform_move_that_spends_a_pool(held: tuple[World, World]) -> None:
    book, _ = book_of(*held)
    for world, shock in zip(held, book.shock().tolist(), strict=False):
        if free(world, {}) <= 0.0:
            assert shock == 0.0
        elif math.isinf(shock):
            assert math.isnan(first_change(world, ("BTC", "ETH", "SOL"), 0.01))
            assert math.isnan(first_change(world, ("BTC", "ETH", "SOL"), 30.0))
        else:
            assert is_root(world, uniform(1.0 + shock))
            assert math.isnan(first_change(world, ("BTC", "ETH", "SOL"), 1.0 + shock))


@settings(max_examples=100, deadline=None)
@given(world=worlds(), data=st.data())
def test_neither_the_order_nor_a_flat_row_matters(world: World, data: st.DataObject) -> None:
    order = data.draw(st.permutations(range(len(world.held))))
    flat = data.draw(linear())._replace(size=0.0, pnl=0.0, beyond=0.0)
    if world.ccy != "USD":
        flat = flat._replace(base="BTC", symbol="inverse-swap")
    other = world._replace(held=(*(world.held[place] for place in order), flat))
    (book, (handles,)), (again, (moved,)) = book_of(world), book_of(other)
    scale = reckon(world, {}).scale
    for place, was in enumerate(order):
        one, two = book.figures(handles[was]), again.figures(moved[place])
        assert one.keys() == two.keys()
        for name, value in one.items():
            noise = CLOSE * scale if name in ("mm", "upnl", "value", "notional") else 1e-7 * abs(value) + 1e-9
            assert two[name] == pytest.approx(value, abs=noise)
    assert again.shock()[0] == pytest.approx(book.shock()[0], rel=1e-9, abs=1e-9)


@settings(max_examples=60, deadline=None)
@given(world=worlds(tiers=ALL))
def test_what_shares_an_underlying_shares_the_move(world: World) -> None:
    book, (handles,) = book_of(world)
    moves: dict[str, set[float]] = {}
    for one, handle in zip(world.held, handles, strict=True):
        if one.symbol is not None:
            moves.setdefault(one.base, set()).add(round(book.figures(handle).get("trigger", math.inf) / one.mark, 12))
    assert all(len(each) == 1 or max(each) - min(each) <= 1e-9 * max(each) for each in moves.values())


@settings(max_examples=100, deadline=None)
@given(world=worlds(tiers=ALL), others=worlds(tiers=ALL), factor=st.floats(0.5, 2.0))
def test_a_tick_of_a_lone_position_moves_no_other_pool(world: World, others: World, factor: float) -> None:
    one = Held("BTC", "alone", 0.5)
    book, handles = book_of(World((one,), 4_000.0), world, others)
    before = [book.figures(handle) for pool in handles[1:] for handle in pool]
    book.symbols.set(0, one.mark * factor)
    changed = book.recompute()
    assert [book.figures(handle) for pool in handles[1:] for handle in pool] == before
    assert changed.slots.tolist() == ([0] if factor != 1.0 else [])
    assert set(changed.pools.tolist()) <= {0}


@settings(max_examples=100, deadline=None)
@given(
    size=st.floats(0.2, 20.0),
    edge=st.sampled_from(CONVEX[1:]),
    side=st.sampled_from((-1.0, 1.0)),
    own=st.floats(0.06, 0.5),
)
def test_nothing_jumps_at_the_edge_of_a_tier_with_a_deduction(
    size: float, edge: object, side: float, own: float
) -> None:
    lower = edge[0]  # type: ignore[index]
    found = []
    for hair in (-1e-10, 1e-10):
        book, ((handle,),) = book_of(World((Held("BTC", "swap", side * size, CONVEX),), own * lower))
        book.symbols.set(0, lower / size * (1.0 + hair))
        book.recompute()
        found.append(book.figures(handle))
    assert found[0]["mm"] == pytest.approx(found[1]["mm"], rel=1e-8)
    for name in ("trigger", "liq"):
        assert found[0].get(name, math.nan) == pytest.approx(found[1].get(name, math.nan), rel=1e-8, nan_ok=True)


@settings(max_examples=60, deadline=None)
@given(
    legs=st.lists(linear(tiers=ALL), min_size=1, max_size=3),
    others=st.lists(linear(), max_size=2),
    cash=st.floats(2.5, 6.0),
)
def test_the_liquidation_price_moves_the_legs_of_one_symbol_and_nothing_else(
    legs: list[Held], others: list[Held], cash: float
) -> None:
    moved = tuple(
        one._replace(base="BTC", symbol="swap", size=one.size * MARKS[one.base] / MARKS["BTC"]) for one in legs
    )
    rest = tuple(one._replace(base="ETH") for one in others)
    world = World((*moved, *rest), 10**cash)
    book, (handles,) = book_of(world)
    prices = {book.figures(handle).get("liq") for handle in handles[: len(moved)]}
    assert len(prices) == 1
    (price,) = prices
    if price is None:
        assert math.isnan(first_change(world, ("BTC",), 30.0))
        assert math.isnan(first_change(world, ("BTC",), 0.01))
    else:
        assert is_root(world, {"BTC": price / MARKS["BTC"]})
        assert math.isnan(first_change(world, ("BTC",), price / MARKS["BTC"]))


# --- cases ---------------------------------------------------------------------------------------------------------------------


def test_a_dated_future_and_a_coin_move_with_the_swap() -> None:
    """Long 1 BTC of swap, short 1.5 dated, 0.2 BTC as collateral: net short 0.3 of price, and 2.5 % of maintenance."""
    world = World((Held("BTC", "swap", 1.0), Held("BTC", "dated", -1.5), Held("BTC", None, 0.2)), 20_000.0)
    book, ((swap, dated, coin),) = book_of(world)
    one, two = book.figures(swap), book.figures(dated)
    slope = 60_000.0 * (1.2 - 1.01 * 1.5) - 0.01 * 60_000.0 * (1.0 + 1.01 * 1.5)
    factor = 1.0 - (32_000.0 - 1_509.0) / slope
    assert one["trigger"] == pytest.approx(60_000.0 * factor)
    assert two["trigger"] == pytest.approx(60_600.0 * factor)
    assert one["distance"] == two["distance"] == pytest.approx(factor - 1.0), (
        "both are met rising, whichever side they are on"
    )
    assert "trigger" not in book.figures(coin)
    assert book.rows().slot.tolist().count(-1) == 1


def test_calibration_counts_in_prices_and_not_in_equity() -> None:
    world = World((Held("BTC", "swap", 1.0),), 10_000.0)
    (plain, ((one,),)), (book, ((other,),)) = book_of(world), book_of(world._replace(delta=500.0))
    assert plain.equity[0] == book.equity[0]
    for name in ("liq", "trigger"):
        assert plain.figures(one)[name] - book.figures(other)[name] == pytest.approx(500.0 / 0.99)
    assert book.at(factors_of({})).equity[0] == plain.equity[0]


def test_a_spent_pool_is_through_its_trigger_even_where_no_price_would_save_it() -> None:
    book, ((long,), (short,)) = book_of(
        World((Held("BTC", "swap", 1.0),), 100.0), World((Held("BTC", "swap", -1.0),), -99_000.0)
    )
    assert book.figures(long)["distance"] == pytest.approx(1.0 - book.figures(long)["trigger"] / 60_000.0)
    assert book.figures(long)["distance"] < 0.0
    assert "trigger" not in book.figures(short)
    assert book.figures(short)["distance"] == -1.0
    assert book.shock()[:2].tolist() == [0.0, 0.0]


def test_where_the_model_is_silent_distance_is_to_the_venues_price() -> None:
    """Both legs of a hedge that is short by half: the price that they share is met rising."""
    book, symbol, pool = Book(), 0, 0
    book.symbols.set(book.symbols.add(), 100.0)
    book.cash[book.add_pool()] = 1_000.0
    model = Maintenance("tested", rate=0.01, rate_at_liquidation=0.01)
    legs = []
    for slot, quantity in enumerate((1.0, -2.0)):
        legs.append(book.add(symbol, pool, slot, book.bases.number("BTC")))
        row = Row(quantity, 0.0, 100.0, False, 1.0, quantity > 0, 130.0, model, speaks=False, mark0=100.0)
        book.put(legs[slot], row)
    book.recompute()
    assert [book.figures(leg)["distance"] for leg in legs] == pytest.approx([0.3, 0.3])
    assert book.figures(legs[1])["liq"] == pytest.approx(1_199.0 / 2.02), "the model runs in the shadow"
    trigger = book.figures(legs[0])["trigger"]
    for leg, quantity in zip(legs, (1.0, -2.0), strict=True):
        book.put(leg, Row(quantity, 0.0, 100.0, False, 1.0, quantity > 0, 130.0, model, mark0=100.0))
    book.recompute()
    assert [book.figures(leg)["distance"] for leg in legs] == pytest.approx([trigger / 100.0 - 1.0] * 2)


def test_where_the_model_lacks_an_input_distance_is_to_the_venues_price_and_the_row_counts_as_moved() -> None:
    """Neither price nor trigger change with that: the model has none before, and none after."""
    book, handles = Book(), []
    for _ in range(2):
        book.symbols.set(book.symbols.add(), 100.0)
    book.cash[book.add_pool()] = 1_000.0
    model = Maintenance("tested", rate=0.01, rate_at_liquidation=0.01)
    for symbol, base in enumerate(("BTC", "ETH")):
        handles.append(book.add(symbol, 0, symbol, book.bases.number(base)))
        book.put(handles[-1], Row(1.0, 0.0, 100.0, False, 1.0, True, 40.0, model, mark0=100.0))
    one = handles[0]
    book.recompute()
    assert book.heard(one)
    assert "distance" not in book.figures(one)
    for price, shown in ((math.nan, 0.6), (100.0, None)):
        book.symbols.set(1, price)
        assert 0 in book.recompute().slots.tolist()
        assert book.heard(one) == (shown is None)
        assert book.figures(one).get("distance") == shown


@pytest.mark.parametrize(("cash", "price"), [(88.8, 11.0), (89.5, math.nan), (92.0, math.nan)])
def test_what_the_venue_rounds_to_the_end_of_the_range_is_no_price(cash: float, price: float) -> None:
    """Down to whole dollars, with prices above 10: 11.2 is 11, 10.5 is 10 and none, 8 is none."""
    book, model = Book(), Maintenance("tested", rate=0.0, rate_at_liquidation=0.0, floor_to=1.0, lowest=10.0)
    book.symbols.set(book.symbols.add(), 100.0)
    book.cash[book.add_pool()] = cash
    handle = book.add(0, 0, 0, book.bases.number("BTC"))
    book.put(handle, Row(1.0, 0.0, 100.0, False, 1.0, True, math.nan, model))
    book.recompute()
    assert book.figures(handle).get("liq", math.nan) == pytest.approx(price, nan_ok=True)
    leg = book.leg(handle, model)
    assert leg.published(Snapshot(cash, 0.0, (leg,)).root(leg)) == pytest.approx(price, nan_ok=True)
    assert book.shock()[0] == pytest.approx(-cash / 100.0)


def test_money_stays_as_it_is_in_a_shock_and_moves_where_it_is_named() -> None:
    world = World((Held("BTC", "swap", 1.0),), 10_000.0)
    book, _ = book_of(world)
    handle = book.add_coin(0, book.bases.number("USDT"))
    book.put_coin(handle, 5_000.0, 0.999)
    book.recompute()
    assert book.shock()[0] == pytest.approx(-(14_995.0 - 600.0) / (60_000.0 * 0.99))
    assert book.at(factors_of({"USDT": 0.5})).equity[0] == pytest.approx(10_000.0 + 2_497.5)


def test_an_unknown_mark_and_an_unknown_tier_spread_and_then_pass() -> None:
    world = World((Held("BTC", "swap", 2.0, CONVEX), Held("ETH", "swap", 1.0)), 50_000.0)
    book, ((one, other),) = book_of(world)
    wanted = book.figures(one)
    book.symbols.set(0, math.nan)
    book.recompute()
    assert not {"liq", "trigger", "distance"} & (book.figures(one).keys() | book.figures(other).keys())
    assert math.isnan(book.shock()[0])
    assert math.isnan(book.at(factors_of({})).equity[0])
    book.symbols.set(0, 60_000.0)
    book.recompute()
    assert book.figures(one) == wanted


def test_a_row_put_before_its_mark_is_known_finds_its_tier() -> None:
    book = Book()
    symbol, pool = book.symbols.add(), book.add_pool()
    book.cash[pool] = 50_000.0
    handle = book.add(symbol, pool, 0, book.bases.number("BTC"))
    book.put(handle, Row(2.0, 0.0, 60_000.0, False, 1.0, True, math.nan, Maintenance("tested", brackets=CONVEX)))
    book.recompute()
    book.symbols.set(symbol, 60_000.0)
    book.recompute()
    assert book.figures(handle)["mm"] == pytest.approx(120_000.0 * 0.02 - 500.0)


@settings(max_examples=100, deadline=None)
@given(world=worlds(tiers=ALL), walk=st.lists(st.floats(0.3, 3.0), max_size=4))
def test_a_book_has_no_memory_of_the_tiers_that_it_went_through(world: World, walk: list[float]) -> None:
    (book, (handles,)), (fresh, (others,)) = book_of(world), book_of(world)
    marks, priced = book.symbols.mark.copy(), set(book.live.symbol[book.live.slot >= 0].tolist())
    for factor in (*walk, 1.0):
        for symbol in priced:
            book.symbols.set(symbol, float(marks[symbol]) * factor)
        book.recompute()
        assert not len(book.recompute().slots), "nothing moved"
    for handle, other in zip(handles, others, strict=True):
        assert book.figures(handle) == pytest.approx(fresh.figures(other), rel=1e-9, abs=1e-9)


@settings(max_examples=60, deadline=None)
@given(world=worlds(), gone=st.integers(0, 5))
def test_a_row_that_comes_and_goes_leaves_no_trace(world: World, gone: int) -> None:
    assume(len(world.held) > 1)
    place = gone % len(world.held)
    book, (handles,) = book_of(world)
    book.remove(handles[place])
    book.recompute()
    rest = world._replace(held=tuple(one for number, one in enumerate(world.held) if number != place))
    fresh, (others,) = book_of(rest)
    kept = [handle for number, handle in enumerate(handles) if number != place]
    for handle, other in zip(kept, others, strict=True):
        assert book.figures(handle) == pytest.approx(fresh.figures(other), rel=1e-12)
