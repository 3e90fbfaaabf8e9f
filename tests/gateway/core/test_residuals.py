"""Statistics of residuals: bounded, deterministic, exact where they claim to be."""

from __future__ import annotations

import math
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.calibration import Comparison
from gateway.core.margin.catalog import CATALOG
from gateway.core.residuals import Agreement, Pnl, Residuals, Samples

values = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=200)


@given(values)
def test_median_and_worst_are_of_absolute_values(found: list[float]) -> None:
    samples = Samples()
    for value in found:
        samples.add(value)
    sizes = [abs(value) for value in found]
    assert (samples.n, samples.worst, samples.median) == (len(found), max(sizes), statistics.median(sizes))


def test_memory_is_bounded_and_the_worst_is_never_forgotten() -> None:
    samples = Samples()
    for value in [5.0, *[1.0] * 1_500, *[0.25] * 1_000]:
        samples.add(value)
    assert (samples.n, samples.worst, samples.median) == (2_501, 5.0, 0.25)


def test_an_unknown_residual_is_none() -> None:
    samples = Samples()
    samples.add(math.nan)
    assert samples.n == 0
    assert math.isnan(samples.median)
    assert math.isnan(samples.worst)


def test_accuracy_of_pnl_weighs_by_size() -> None:
    pnl = Pnl()
    assert math.isnan(pnl.accuracy)
    pnl.add(99.0, 100.0)
    pnl.add(-11.0, -10.0)
    assert pnl.accuracy == pytest.approx(1 - 2 / 110)


def comparison(share: float, *, one_sided: bool = False, beyond: bool = False) -> Comparison:
    distance = math.nan if one_sided else share / 10
    return Comparison(share * 100, 0.0, share, distance, 50.0, one_sided=one_sided, beyond=beyond)


def test_what_is_not_known_is_absent() -> None:
    assert Agreement().row() == {"anchors": 0, "one_sided": 0, "beyond": 0}
    one = Agreement()
    one.take(comparison(0.01))
    one.take(comparison(math.nan, one_sided=True, beyond=True))
    assert one.row() == {
        "anchors": 2,
        "one_sided": 1,
        "beyond": 1,
        "delta_share": {"n": 1, "median": 0.01, "worst": 0.01},
        "distance": {"n": 1, "median": 0.001, "worst": 0.001},
    }


def test_every_model_has_a_row_and_a_residual_counts_for_model_venue_and_account() -> None:
    residuals = Residuals(promoted=("aster_cross",))
    for one in residuals.of("aster_cross", "aster", "main"):
        one.take(comparison(0.001))
    for one in residuals.of(None, "aster", "main"):
        one.pnl.add(1.0, 1.0)
    rows = {row["name"]: row for row in residuals.rows({"aster_cross": 2})}
    assert rows.keys() == CATALOG.keys()
    assert rows["aster_cross"]["trusted"] is True
    assert rows["aster_hedge"]["trusted"] is False
    assert (rows["aster_cross"]["flagged"], rows["aster_cross"]["anchors"]) == (2, 1)
    assert "pnl_accuracy" not in rows["aster_cross"]
    assert residuals.venues["aster"].row()["pnl_accuracy"] == 1.0
    assert residuals.accounts["main"].row()["anchors"] == 1
