"""The risk score by its definition, part by part."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.risk import RiskSettings, RiskWeights, scores, unknown_parts

PLAIN = RiskSettings()
NAN, NONE = math.nan, math.inf


def score(weight: float, leverage: float, distance: float, settings: RiskSettings = PLAIN) -> float:
    return float(scores(np.array([weight]), np.array([leverage]), np.array([distance]), settings)[0])


@pytest.mark.parametrize(
    ("weight", "leverage", "distance", "expected"),
    [
        (0.5, 5.0, 0.05, 0.4 * 0.5 + 0.3 * 0.5 + 0.3 * 0.5),
        (1.0, 100.0, -0.2, 1.0),  # leverage capped; through its liquidation price
        (0.0, 0.0, 0.1, 0.0),
        (0.2, 3.0, NONE, 0.4 * 0.2 + 0.3 * 0.3),  # nothing liquidates it
        (NAN, 5.0, 0.05, (0.3 * 0.5 + 0.3 * 0.5) / 0.6),
        (0.5, NAN, 0.0, (0.4 * 0.5 + 0.3) / 0.7),
        (0.1, 1.0, NAN, 0.5),  # what could not be determined is not safe
        (1.0, 10.0, NAN, 1.0),
        (NAN, NAN, NAN, 0.5),
        (NAN, NAN, 0.02, 0.8),
    ],
)
def test_the_definition(weight: float, leverage: float, distance: float, expected: float) -> None:
    assert score(weight, leverage, distance) == pytest.approx(expected, abs=5e-4)


def test_weights_and_scales_are_settings() -> None:
    mine = RiskSettings(weights=RiskWeights(0.0, 1.0, 1.0), full_leverage=20.0, calm_distance=0.5, unknown_floor=0.0)
    assert score(1.0, 5.0, 0.25, mine) == pytest.approx((0.25 + 0.5) / 2)
    assert score(1.0, 5.0, NAN, mine) == pytest.approx(0.25)
    assert math.isnan(score(1.0, NAN, NAN, mine)), "the only known part does not count"


def test_what_a_score_was_made_without_is_named() -> None:
    assert unknown_parts(0.1, 2.0, NONE) == []
    assert unknown_parts(NAN, NAN, NAN) == ["weight", "leverage", "liquidation_distance"]


parts = st.tuples(
    st.one_of(st.floats(0, 1), st.just(NAN)),
    st.one_of(st.floats(0, 200), st.just(NAN)),
    st.one_of(st.floats(-1, 100), st.just(NAN), st.just(NONE)),
)


@given(parts)
def test_a_score_is_from_0_to_1_and_at_least_the_floor_where_liquidation_is_unknown(row: tuple[float, ...]) -> None:
    found = score(*row)
    assert 0.0 <= found <= 1.0
    assert found >= 0.5 or not math.isnan(row[2])


@given(parts, st.floats(0, 1), st.floats(0, 100))
def test_nothing_gets_safer_by_coming_nearer_or_by_more_leverage(
    row: tuple[float, float, float], nearer: float, more: float
) -> None:
    weight, leverage, distance = row
    if not math.isnan(distance):
        assert score(weight, leverage, distance - nearer) >= score(*row)
    if not math.isnan(leverage):
        assert score(weight, leverage + more, distance) >= score(*row)


@given(st.lists(parts, min_size=1, max_size=8))
def test_rows_do_not_touch_each_other(rows: list[tuple[float, float, float]]) -> None:
    together = scores(*map(np.array, zip(*rows, strict=True)), PLAIN)
    assert [float(one) for one in together] == [score(*row) for row in rows]


@given(parts)
def test_a_missing_part_is_as_if_it_had_the_mean_of_the_others(row: tuple[float, float, float]) -> None:
    _, leverage, distance = row
    if math.isnan(leverage) or math.isnan(distance):
        return
    others = (0.3 * min(leverage / 10, 1) + 0.3 * min(max(1 - 10 * distance, 0), 1)) / 0.6
    assert score(NAN, leverage, distance) == pytest.approx(others, abs=6e-4)
