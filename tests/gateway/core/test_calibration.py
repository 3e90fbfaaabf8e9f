"""Calibration: the venue's price is explained by one bounded number, or not believed."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.calibration import Bounds, Calibrated, Comparison, compare, drift, fitted, rounding
from gateway.core.margin.pool import Bracket, Maintenance
from gateway.core.margin.scalar import Leg, Snapshot, price_of, x_of
from gateway.core.positions import Book, Row

BOUNDS = Bounds()
TIERS = (Bracket(0.0, 0.005, 0.0), Bracket(50_000.0, 0.01, 250.0), Bracket(400_000.0, 0.025, 6_250.0))

rates = st.floats(0.002, 0.05)
marks = st.floats(1e-3, 1e5)


def flat(rate: float, **more: object) -> Maintenance:
    return Maintenance("m", rate=rate, rate_at_liquidation=rate)._replace(**more)  # type: ignore[arg-type]


def leg(quantity: float, mark: float, maintenance: Maintenance, *, inverse: bool = False, symbol: int = 0) -> Leg:
    x = x_of(mark, inverse=inverse)
    return Leg(symbol, quantity, -quantity * x, 1.0, x, inverse, maintenance)


@st.composite
def pools(draw: st.DrawFn) -> Snapshot:
    """Pools of one to five symbols, solvent, at most 20 times leveraged, linear, with flat rates or convex tiers."""
    legs = []
    for number in range(draw(st.integers(1, 5))):
        mark, notional = draw(marks), draw(st.floats(10.0, 1e6))
        side = draw(st.sampled_from((-1.0, 1.0)))
        model = flat(draw(rates)) if draw(st.booleans()) else Maintenance("m", brackets=TIERS)
        legs.append(leg(side * notional / mark, mark, model, symbol=number))
    gross = sum(one.notional for one in legs)
    return Snapshot(gross * draw(st.floats(0.05, 3.0)), 0.0, tuple(legs))


def text(price: float) -> str:
    return f"{price:.12f}"


@given(pools())
def test_at_the_root_nothing_is_left(pool: Snapshot) -> None:
    for one in pool.legs:
        root = pool.root(one)
        if not math.isnan(root):
            assert pool.surplus(one, root) == pytest.approx(
                0.0, abs=1e-9 * (pool.equity + one.notional + one.quantity**2 / abs(one.quantity) * root)
            )


@given(pools())
def test_the_root_is_the_nearest_change_of_sign(pool: Snapshot) -> None:
    one = pool.legs[0]
    root = pool.root(one)
    if pool.surplus(one, one.x) <= 0:
        return
    end = root if not math.isnan(root) else (0.0 if one.quantity > 0 else one.x * 1e3)
    for step in range(1, 20):
        x = one.x + (end - one.x) * step / 20.0
        assert x <= 0 or pool.surplus(one, x) > -1e-9 * pool.equity


def test_a_jump_of_the_rate_over_the_equity_is_a_root_at_the_jump() -> None:
    steps = (Bracket(0.0, 0.01, 0.0), Bracket(1_100.0, 0.2, 0.0))  # a flat rate per tier, no deduction
    short = leg(-10.0, 100.0, Maintenance("m", brackets=steps))
    assert Snapshot(150.0, 0.0, (short,)).root(short) == pytest.approx(110.0)


def test_both_legs_of_a_symbol_share_one_root_where_the_definition_moves_both() -> None:
    long, short = (leg(q, 100.0, flat(0.01, both_legs=True)) for q in (10.0, -4.0))
    pool = Snapshot(200.0, 0.0, (long, short))
    assert pool.root(long) == pytest.approx(pool.root(short))
    alone = Snapshot(200.0, 0.0, (long._replace(maintenance=flat(0.01)), short))
    assert alone.root(alone.legs[0]) > pool.root(long)


@given(st.floats(0.001, 0.05), marks, st.floats(1.2, 20.0), st.booleans())
def test_inverse_contracts_mirror_the_published_formula(rate: float, mark: float, leverage: float, short: bool) -> None:
    """OKX isolated inverse: price = Q * (side + r) / (margin + side * Q / entry)."""
    side = -1.0 if short else 1.0
    one = leg(side * 1000.0, mark, flat(rate), inverse=True)
    margin = 1000.0 / mark / leverage
    found = price_of(Snapshot(margin, 0.0, (one,)).root(one), inverse=True)
    wanted = 1000.0 * (side + rate) / (margin + side * 1000.0 / mark)
    assert found == pytest.approx(wanted, rel=1e-9) if wanted > 0 else math.isnan(found)


@given(pools(), st.floats(-0.009, 0.009))
def test_delta_reproduces_the_venues_price(pool: Snapshot, share: float) -> None:
    hidden = pool.equity * share  # what the venue knows and the model does not
    for one in pool.legs:
        root = pool.root(one, hidden)
        if math.isnan(root) or root < 1e-6:
            continue
        found = compare(pool, one, text(root), tick=0.0, apart=0.0, bounds=BOUNDS)
        assert found is not None
        assert found.delta == pytest.approx(hidden, abs=found.slack)
        assert pool.surplus(one, float(text(root))) + found.delta == pytest.approx(0.0, abs=1e-9 * pool.equity)


@given(pools())
def test_a_venue_that_agrees_needs_no_calibration(pool: Snapshot) -> None:
    found = {}
    for one in pool.legs:
        root = pool.root(one)
        stated = None if math.isnan(root) else text(root)
        if stated is not None and float(stated) == 0.0:
            continue
        comparison = compare(pool, one, stated, tick=0.0, apart=0.0, bounds=BOUNDS)
        if comparison is not None:
            found[str(one.symbol)] = comparison
    record = Calibrated()
    record.take(found, 1, 0)
    assert (record.verdict, record.delta) == ("model", 0.0)


@given(pools(), st.integers(-8, 2))
def test_rounding_of_the_venues_price_is_never_beyond_the_bounds(pool: Snapshot, digits: int) -> None:
    for one in pool.legs:
        root = pool.root(one)
        tick = 10.0**digits
        if math.isnan(root) or tick > one.mark / 50:
            continue
        stated = f"{max(tick, math.floor(root / tick) * tick):.{max(0, -digits)}f}"
        found = compare(pool, one, stated, tick=tick, apart=0.0, bounds=BOUNDS)
        assert found is None or not found.beyond


def world(seed: int) -> list[tuple[Snapshot, list[str | None]]]:
    """Pools as desks hold them: one to eight symbols, leverage 0.5 to 30, and the venue's prices with five or more digits."""
    rng = random.Random(seed)
    found = []
    for _ in range(1_000):
        legs = []
        for number in range(rng.choice((1, 1, 2, 3, 5, 8))):
            mark, notional = 10 ** rng.uniform(-2, 5), 10 ** rng.uniform(2, 6)
            rate = rng.choice((0.004, 0.01, 0.025))
            legs.append(leg(rng.choice((-1, 1)) * notional / mark, mark, flat(rate), symbol=number))
        gross = sum(one.notional for one in legs)
        pool = Snapshot(gross / 10 ** rng.uniform(-0.3, 1.48), 0.0, tuple(legs))
        roots = [pool.root(one) for one in legs]
        if pool.equity > pool.maintenance and not all(map(math.isnan, roots)):
            found.append((pool, [None if math.isnan(root) else f"{root:.6g}" for root in roots]))
    return found


def judged(pool: Snapshot, prices: list[str | None], factor: float, apart: float = 0.0) -> Calibrated:
    record = Calibrated()
    found = {}
    for one, price in zip(pool.legs, prices, strict=True):
        stated = None if price is None else f"{float(price) * factor:.6g}"
        comparison = compare(pool, one, stated, tick=0.0, apart=apart, bounds=BOUNDS)
        if comparison is not None and (comparison.beyond or not comparison.vague):
            found[str(one.symbol)] = comparison
    record.take(found, 1, 0)
    return record


@pytest.mark.parametrize("factor", [0.98, 1.02])
def test_two_percent_wrong_is_flagged(factor: float) -> None:
    cases = world(1)
    flagged = sum(judged(pool, prices, factor).verdict == "venue" for pool, prices in cases)
    print(f"\n{factor}: {flagged} of {len(cases)} pools flagged")
    assert len(cases) > 800
    assert flagged >= 0.99 * len(cases)


@pytest.mark.parametrize("factor", [0.98, 1.02])
@pytest.mark.parametrize("apart", [0.001, 0.005, 0.01, 0.02, 0.05, 0.2])
def test_however_fast_marks_move_two_percent_wrong_is_beyond_or_says_nothing_and_is_never_calibrated(
    factor: float, apart: float
) -> None:
    cases = world(3)
    found = [judged(pool, prices, factor, apart * pool.equity) for pool, prices in cases]
    assert not [record for record in found if record.verdict == "calibrated"]
    assert not [record for record in found if record.agreed]
    telling = sum(record.verdict == "venue" for record in found)
    print(f"\n{factor}, {apart} of the equity: {telling} of {len(cases)} flagged")
    assert telling >= 0.99 * len(cases) or apart > 0.001


def test_no_pool_is_flagged_for_six_digits() -> None:
    assert [judged(pool, prices, 1.0).verdict for pool, prices in world(2)].count("venue") == 0


def test_one_side_without_a_price_is_flagged() -> None:
    safe = leg(1.0, 100.0, flat(0.01))
    rich = Snapshot(500.0, 0.0, (safe,))
    found = compare(rich, safe, "40", tick=0.0, apart=0.0, bounds=BOUNDS)
    assert found is not None
    assert (found.one_sided, found.beyond, math.isnan(found.model)) == (True, True, True)
    poor = Snapshot(10.0, 0.0, (safe,))
    found = compare(poor, safe, None, tick=0.0, apart=0.0, bounds=BOUNDS)
    assert found is not None
    assert (found.one_sided, found.beyond) == (True, True)
    assert found.model == pytest.approx(90 / 0.99)


def test_a_price_next_to_nothing_and_none_are_the_same() -> None:
    safe = leg(1.0, 100.0, flat(0.01))
    barely = Snapshot(100.01, 0.0, (safe,))
    found = compare(barely, safe, "0.05", tick=0.0, apart=0.0, bounds=BOUNDS)
    assert found is not None
    assert not found.beyond


@pytest.mark.parametrize(
    ("cash", "stated", "agrees"),
    [
        (3_000.0, None, True),  # the root, 3069.3, is outside
        (3_000.0, "3069.3", True),  # the venue writes what it means for none
        (1_900.0, None, False),  # 1980.2 is inside
        (1_900.0, "1980.2", True),
        (1_918.5, None, True),  # 1998.5 is all but outside
        (1_922.0, "1998.5", True),  # 2002 is none, and the venue's all but none
        (1_922.0, "1900", False),
    ],
)
def test_a_price_outside_the_contracts_range_and_none_are_the_same(
    cash: float, stated: str | None, agrees: bool
) -> None:
    short = leg(-1.0, 100.0, flat(0.01, lowest=0.1, highest=2_000.0))
    found = compare(Snapshot(cash, 0.0, (short,)), short, stated, tick=0.0, apart=0.0, bounds=BOUNDS)
    assert found is not None
    assert (found.one_sided, found.beyond) == (not agrees, not agrees)
    assert math.isnan(found.model) == (cash > 1_920.0)


def test_what_is_unknown_or_spent_is_not_compared() -> None:
    one = leg(1.0, 100.0, flat(0.01))
    assert compare(Snapshot(math.nan, 0.0, (one,)), one, "90", tick=0.0, apart=0.0, bounds=BOUNDS) is None
    assert compare(Snapshot(-1.0, 0.0, (one,)), one, "90", tick=0.0, apart=0.0, bounds=BOUNDS) is None
    unknown = leg(1.0, 100.0, Maintenance("m"))
    assert compare(Snapshot(50.0, 0.0, (unknown,)), unknown, "90", tick=0.0, apart=0.0, bounds=BOUNDS) is None


def test_inputs_of_two_moments_are_given_what_they_may_have_moved() -> None:
    one, other = leg(1.0, 100.0, flat(0.01)), leg(50.0, 100.0, flat(0.01), symbol=1)
    pool = Snapshot(600.0, 0.0, (one, other))
    apart = drift(other.notional, 1_000)
    assert apart == pytest.approx(0.5)
    stated = text(pool.root(one, 0.4))  # the other's mark moved by 0.008 % meanwhile
    found = compare(pool, one, stated, tick=0.0, apart=apart, bounds=BOUNDS)
    assert found is not None
    record = Calibrated()
    record.take({"A": found}, 1, 1_000)
    assert (record.verdict, record.delta) == ("model", 0.0)


UNITS = [("40347.90", 0.1, 0.1), ("0.1234", 0.0, 1e-4), ("12.3457", 0.01, 1e-4), ("500", 0.0, 1.0)]


@pytest.mark.parametrize(("stated", "tick", "unit"), UNITS)
def test_the_unit_of_a_price_is_its_last_digit_or_the_tick(stated: str, tick: float, unit: float) -> None:
    assert rounding(stated, tick) == pytest.approx(unit)


def at(delta: float, slack: float, *, beyond: bool = False) -> Comparison:
    return Comparison(delta, slack, abs(delta), 0.0, 1.0, one_sided=False, beyond=beyond)


def test_the_present_delta_is_kept_while_it_explains_the_venue_and_the_sharpest_row_has_the_last_word() -> None:
    assert fitted(0.0, [at(0.5, 1.0)]) == 0.0
    assert fitted(5.0, [at(4.0, 1.0), at(6.0, 2.0)]) == 5.0
    assert fitted(0.0, [at(3.0, 0.1), at(9.0, 5.0)]) == pytest.approx(3.1)


def test_a_record_keeps_its_flag_over_a_drop_until_it_is_compared_again() -> None:
    record = Calibrated()
    record.take({"a": at(3.0, 0.1), "b": at(3.0, 0.1)}, 1, 0)
    assert (record.verdict, record.delta, record.since) == ("calibrated", 2.9, None)
    record.change(1)
    record.take({"a": at(50.0, 0.1, beyond=True)}, 2, 0)
    assert (record.verdict, record.delta, record.since) == ("venue", 0.0, 2)
    record.drop()
    record.take({"b": at(0.0, 0.1)}, 3, 0)
    assert (record.verdict, record.since) == ("venue", 2), "b agrees, a was not compared again"
    record.forget("a", 4)
    assert (record.verdict, record.since) == ("model", None)


def test_a_model_that_agreed_gives_way_to_what_lasts_longer_than_inputs_may_be_apart() -> None:
    record, wrong = Calibrated(lasting_ms=2_000), {"a": at(50.0, 0.1, beyond=True)}
    record.take({"a": at(3.0, 0.1), "b": at(3.0, 0.1)}, 1_000, 0)
    record.take(wrong, 2_000, 0)
    record.take(wrong, 4_000, 0)
    assert (record.verdict, record.delta, record.anchored_at) == ("calibrated", 2.9, 1_000), "two of one moment are one"
    record.take({"a": at(3.0, 0.1)}, 4_001, 0)
    record.take(wrong, 4_002, 0)
    assert record.verdict == "calibrated", "it agreed between"
    record.take(wrong | {"b": at(3.0, 0.1)}, 6_003, 0)
    assert (record.verdict, record.delta, record.since) == ("venue", 0.0, 6_003)


def test_a_model_that_did_not_agree_with_these_positions_gives_way_at_once() -> None:
    wrong = {"a": at(50.0, 0.1, beyond=True)}
    new, changed = Calibrated(), Calibrated()
    new.take(wrong, 1_000, 0)
    changed.take({"a": at(3.0, 0.1)}, 1_000, 0)
    changed.change(7)
    changed.take(wrong, 1_001, 0)
    nothing = Calibrated()
    nothing.take({"a": at(math.nan, math.inf)}, 1_000, 0)  # no price on both sides says little
    nothing.take(wrong, 1_001, 0)
    assert [one.verdict for one in (new, changed, nothing)] == ["venue"] * 3


MODELS = (
    flat(0.01),
    Maintenance("m", brackets=TIERS),
    flat(0.0085, shift=0.01),
    flat(0.005, replaces=False, plain=True)._replace(rate_at_liquidation=0.0),
    flat(0.005)._replace(rate_at_liquidation=0.0, constant_at_liquidation=7.0, floor_to=0.1),
)


@given(st.lists(st.tuples(st.integers(0, 4), st.booleans(), st.floats(0.1, 50.0), st.floats(0.5, 1.0)), min_size=1, max_size=4),
       st.floats(50.0, 5e4), st.floats(-5.0, 5.0), st.booleans())  # fmt: skip
def test_the_columns_and_the_scalar_equation_are_one(
    rows: list[tuple[int, bool, float, float]], cash: float, delta: float, legs_move_together: bool
) -> None:
    book = Book()
    pool = book.add_pool()
    book.cash[pool], book.delta[pool] = cash, delta
    handles = []
    for number, (kind, short, size, counts) in enumerate(rows):
        model = MODELS[kind if not legs_move_together else kind % 2]._replace(both_legs=legs_move_together)
        symbol = 0 if number and legs_move_together else book.symbols.add()
        book.symbols.set(symbol, 100.0 + symbol)
        quantity = -size if short else size
        handle = book.add(symbol, pool, number, book.bases.number(str(symbol)))
        book.put(handle, Row(quantity, 0.0, 101.0, False, 1.1, not short, math.nan, model, counts=counts))
        handles.append((handle, model))
    book.recompute()
    legs = tuple(book.leg(handle, model) for handle, model in handles)
    found = Snapshot(cash, 0.0, legs)
    assert found.equity == pytest.approx(float(book.equity[pool]), rel=1e-12)
    assert found.maintenance == pytest.approx(float(book.maintenance[pool]), rel=1e-12)
    for (handle, _), one in zip(handles, legs, strict=True):
        mine, columns = one.published(found.root(one, delta)), book.figures(handle).get("liq", math.nan)
        assert mine == pytest.approx(columns, rel=1e-9, abs=one.maintenance.floor_to + 1e-9, nan_ok=True)
