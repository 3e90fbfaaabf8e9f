"""The solvers of tiered maintenance on segments that are known by hand, and the tables of tiers."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest

from gateway.core.margin.solver import Problem, Tables, Walk, concave_roots, stepped_root
from tests.gateway.core.books import CONVEX, FLAT, JUMPS


def problem(level: list[float], slope: list[float], owner: list[int], *, inverse: bool = False) -> Problem:
    """Return segments less max(0, 10 * (y - 2)) for each row: up to y = 2 nothing, from there 10 steeper."""
    rows, one = len(owner), np.ones(len(level), dtype=np.bool_)
    alpha, beta = np.array([[0.0, -20.0]] * rows), np.array([[0.0, 10.0]] * rows)
    return Problem(np.array(level), np.array(slope), np.array(owner), alpha, beta, np.array(slope) > 0.0, one & inverse)


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    with np.errstate(divide="ignore", invalid="ignore"):
        yield


def tent(level: float, slope: float, *, inverse: bool = False) -> float:
    """Solve level + slope * y - max(0, 10 * (y - 2))."""
    return float(concave_roots(problem([level], [slope], [0], inverse=inverse), both_ways=True)[0])


def test_of_two_roots_the_nearer_is_found() -> None:
    assert tent(-3.0, 6.0) == pytest.approx(0.5), "0.5 and 17/4"
    assert tent(-0.1, 1.0) == pytest.approx(0.1), "0.1 and 19.9/9 are 0.9 and 1.21 away"
    assert tent(-0.05, 0.6) == pytest.approx(1.0 / 12.0)
    assert tent(0.5, 1.0) == pytest.approx(20.5 / 9.0), "only the far side has one"


def test_a_price_that_is_the_inverse_of_y_is_compared_as_a_price() -> None:
    assert tent(-3.0, 6.0, inverse=True) == pytest.approx(4.0 / 17.0), (
        "y = 0.5 is twice the price, y = 4.25 less than a quarter"
    )


def test_no_root_above_zero_is_none() -> None:
    assert math.isnan(tent(-30.0, 6.0)), "the top of the tent is below zero"
    assert math.isnan(tent(-3.0, -1.0))
    assert math.isnan(tent(math.nan, 1.0))


def test_segments_do_not_touch_each_other() -> None:
    found = concave_roots(problem([-3.0, math.nan, 5.0], [6.0, 1.0, -4.0], [0, 1, 2, 2]), both_ways=True)
    assert found.tolist() == pytest.approx([0.5, math.nan, 1.25], nan_ok=True)


@pytest.mark.parametrize("slope", [-4.0, -1.0, 12.0, 40.0])
@pytest.mark.parametrize("level", [-90.0, -3.0, 5.0, 90.0])
def test_where_there_is_one_root_every_way_finds_it(level: float, slope: float) -> None:
    one, two = problem([level], [slope], [0]), problem([level, level], [slope, slope + 10.0], [0, 1, 1])
    wanted = concave_roots(one, both_ways=True)[0]
    assert concave_roots(one, both_ways=False)[0] == pytest.approx(wanted, nan_ok=True)
    assert concave_roots(two, both_ways=False)[0] == pytest.approx(wanted, nan_ok=True), "by Newton's steps"


def walk(level: float, slope: float, *, lower: float = 2.0) -> float:
    """Solve level + slope * y - (y if below ``lower``, else 3 * y): a jump by 2 * ``lower`` there."""
    rates = np.array([[1.0, 3.0]])
    return stepped_root(
        Walk(
            level, slope, np.array([[0.0, lower]]), np.zeros((1, 2)), rates, np.zeros(1, dtype=np.bool_), inverse=False
        )
    )


def test_a_jump_over_zero_is_a_root() -> None:
    assert walk(1.0, 2.0) == pytest.approx(2.0), "1 + y up to 2, from there 1 - y"
    assert walk(-1.0, 1.5) == pytest.approx(2.0)
    assert walk(-0.3, 1.5) == pytest.approx(0.6), "and not where the jump is farther"
    assert walk(10.0, 2.0) == pytest.approx(10.0), "beyond the jump: 10 - y"
    assert math.isnan(walk(1.0, 4.0))


def test_tables_are_shared_counted_and_forgotten() -> None:
    tables = Tables()
    one, two, three = tables.hold(CONVEX), tables.hold(JUMPS), tables.hold(CONVEX)
    assert one == three != two
    assert (tables.stepped[one], tables.stepped[two]) == (False, True)
    tables.release(one)
    assert tables.hold(CONVEX) == one, "somebody still held it"
    tables.release(one)
    tables.release(one)
    other = tables.hold((*CONVEX, *CONVEX))
    assert tables.lower.shape[1] == 2 * len(CONVEX)
    numbers = {
        tables.hold((*FLAT, bracket._replace(lower=7.0 + place))) for place in range(20) for bracket in CONVEX[1:2]
    }
    assert len(numbers) == 20
    assert not numbers & {other, two}
    assert tables.tier(np.array([two, two, two]), np.array([0.0, 50_000.0, math.nan])).tolist() == [0, 1, 0]
    assert [edge.tolist() for edge in tables.bounds(np.array([two, two]), np.array([0, 2]))] == [
        [0.0, 2e5],
        [5e4, math.inf],
    ]
