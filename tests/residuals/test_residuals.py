"""The models against captured messages: within their aims, independent of the venue's own figures, and written down in the page."""

from __future__ import annotations

import json
import math
from collections import Counter
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from gateway.core.margin.catalog import CATALOG
from tests.recordings import needs_recordings
from tests.residuals import measure, published, recorded
from tests.residuals.measure import MAINTENANCE, PNL, PRICE, RATIO, Compared, Found, LeftOut, measured
from tests.residuals.recorded import VENUE_FIGURES, Case
from tests.residuals.table import BEGIN, END, PAGE, table, written

STATE = {
    "assetPositions": [
        {
            "type": "oneWay",
            "position": {
                "coin": "BTC", "szi": "0.5", "leverage": {"type": "cross", "value": 10}, "entryPx": "60000.0",
                "positionValue": "31000.0", "unrealizedPnl": "1000.0", "liquidationPx": "56000.0", "marginUsed": "3100.0",
                "maxLeverage": 40,
            },
        }
    ],
    "crossMarginSummary": {"accountValue": "4000.0", "totalRawUsd": "-27000.0", "totalMarginUsed": "3100.0"},
    "crossMaintenanceMarginUsed": "387.5",
    "withdrawable": "900.0",
    "time": 1_700_000_000_000,
}  # fmt: skip


@cache
def captured() -> tuple[Found, ...]:
    """Return what is measured on the captured messages."""
    return tuple(measured(recorded.cases()))


def compared(found: tuple[Found, ...], venue: str, mode: str, figure: str) -> list[Compared]:
    return [e for e in found if isinstance(e, Compared) and (e.venue, e.mode, e.figure) == (venue, mode, figure)]


def rules(found: list[Found] | tuple[Found, ...], figure: str) -> Counter[str]:
    return Counter(each.rule for each in found if isinstance(each, LeftOut) and each.figure == figure)


@needs_recordings
@pytest.mark.parametrize(
    ("venue", "mode", "aim", "least"),
    [
        ("hyperliquid", "cross", 2e-9, 28),
        ("hyperliquid", "isolated", 2e-9, 4),
        ("okx", "isolated", 1e-12, 2),  # far below one tick: the tick itself is part of the model
        ("bybit", "cross_single", 1e-6, 1),
    ],
)
def test_liquidation_prices_are_within_their_aim(venue: str, mode: str, aim: float, least: int) -> None:
    found = compared(captured(), venue, mode, PRICE)
    assert len(found) >= least
    assert max(each.residual for each in found) <= aim


@needs_recordings
def test_maintenance_and_ratio_follow_from_leverage_and_tiers() -> None:
    for venue, mode, least in (("hyperliquid", "cross", 5), ("okx", "isolated", 2)):
        for figure in (MAINTENANCE, RATIO):
            found = compared(captured(), venue, mode, figure)
            assert len(found) >= least
            assert max(each.residual for each in found) <= 1e-9
    (lone,) = compared(captured(), "bybit", "cross_single", RATIO)
    assert 0 <= lone.ours - lone.theirs < 1e-4, "the venue cuts its rate after four digits"


@needs_recordings
def test_what_is_left_out_is_counted_by_its_rule() -> None:
    prices = rules(captured(), PRICE)
    assert prices[measure.NO_MAX_LEVERAGE] >= 12
    assert prices[measure.NO_CROSS_MAINTENANCE] >= 1
    assert prices[measure.NONE_ON_BOTH] >= 5
    assert prices[measure.ONE_SIDED] == 0
    assert not [each for each in captured() if isinstance(each, LeftOut) and each.rule == measure.UNREADABLE]
    rows = sum(len(measure.replayed(case)[0].engine.positions) for case in distinct())
    of_rows = [each for each in captured() if each.figure == PRICE]
    assert len(of_rows) == rows, "every row is compared or left out by a rule"


@needs_recordings
def test_what_the_catalog_calls_measured_was_measured() -> None:
    for model in CATALOG.values():
        found = compared(captured(), model.venue, model.name.removeprefix(f"{model.venue}_"), PRICE)
        assert bool(found) == (model.evidence == "measured"), model.name


def distinct() -> list[Case]:
    """Return the cases without those that repeat another's lines."""
    found = {case.lines: case for case in chain(recorded.cases(), published.cases()) if case.evidence == "measured"}
    return list(found.values())


def own(case: Case) -> dict[str, Any]:
    """Return everything that the models say of a case: no figure of the venue's is among it."""
    replay, _ = measure.replayed(case)
    book, found = replay.engine.book, {}
    for row_id, position in replay.engine.positions.items():
        number = position.pool.number
        pool = (book.equity[number], book.maintenance[number])
        figures = book.figures(position.handle)
        found[row_id] = {
            "price": measure.own_price(replay, position),
            "trigger": figures.get("trigger") if position.maintenance.model else None,
            "maintenance": figures.get("mm"),
            "pool": tuple(None if math.isnan(each) else float(each) for each in pool),
        }
    return found


@needs_recordings
@pytest.mark.parametrize("factor", [None, "1.1"])
def test_the_models_figures_do_not_depend_on_the_venues(factor: str | None) -> None:
    checked = 0
    for case in chain(distinct(), published.cases()):
        honest, misled = own(case), own(case.rewritten(VENUE_FIGURES, factor))
        assert misled == honest, case.name
        checked += sum(row["price"] is not None for row in honest.values())
    assert checked >= 40


@needs_recordings
def test_a_venues_figure_that_is_ten_percent_off_moves_the_residual_by_exactly_that() -> None:
    moved = [case.rewritten(VENUE_FIGURES, "1.1") for case in recorded.cases()]
    prices = [each for each in captured() if isinstance(each, Compared) and each.figure == PRICE]
    others = [each for each in measured(iter(moved)) if isinstance(each, Compared) and each.figure == PRICE]
    assert len(prices) == len(others) >= 30
    for honest, misled in zip(prices, others, strict=True):
        shift = (misled.ours - misled.theirs) - (honest.ours - honest.theirs)
        assert shift == pytest.approx(-0.1 * honest.theirs, rel=1e-12), honest.case


@pytest.mark.parametrize(
    ("mode", "rule"),
    [("unifiedAccount", measure.UNIFIED), ("portfolioMargin", measure.NOT_COMPUTABLE)],
)
def test_an_account_whose_collateral_lies_elsewhere_is_detected(mode: str, rule: str) -> None:
    asked = {"type": "userAbstraction", "user": "0x" + "1" * 40}
    case = Case(
        "hyperliquid", "x", (recorded.line("hyperliquid", mode, request=asked), recorded.hyperliquid_state(STATE))
    )
    found = measure.measure(case)
    assert rules(found, PRICE) == {rule: 1}
    assert [each for each in found if isinstance(each, Compared)] != [], "its PnL is compared all the same"
    assert {each.figure for each in found if isinstance(each, Compared)} == {PNL}


def test_a_row_without_its_inputs_is_left_out_by_name() -> None:
    changed = json.loads(json.dumps(STATE))
    del changed["assetPositions"][0]["position"]["maxLeverage"]
    assert rules(measure.measure(Case("hyperliquid", "x", (recorded.hyperliquid_state(changed),))), PRICE) == {
        measure.NO_MAX_LEVERAGE: 1
    }
    changed = json.loads(json.dumps(STATE))
    del changed["crossMaintenanceMarginUsed"]
    assert rules(measure.measure(Case("hyperliquid", "x", (recorded.hyperliquid_state(changed),))), PRICE) == {
        measure.NO_CROSS_MAINTENANCE: 1
    }
    changed = json.loads(json.dumps(STATE))
    changed["assetPositions"][0]["position"]["liquidationPx"] = None
    assert rules(measure.measure(Case("hyperliquid", "x", (recorded.hyperliquid_state(changed),))), PRICE) == {
        measure.ONE_SIDED: 1
    }


def test_the_published_examples_come_out_within_their_rounding() -> None:
    found = [e for e in measured(published.cases()) if isinstance(e, Compared) and e.figure == PRICE]
    assert {(each.venue, each.mode) for each in found} == {
        ("okx", "isolated_inverse"), ("okx", "cross"), ("bybit", "isolated"), ("bybit", "isolated_inverse"),
        ("aster", "isolated"), ("aster", "cross"),
    }  # fmt: skip
    for each in found:
        assert each.ours == pytest.approx(each.theirs, rel=1e-12, abs=0.005), each.case
    shown = {f"{each.venue}_{each.mode}" for each in found}
    assert {model.name for model in CATALOG.values() if model.evidence == "published"} == shown


def test_a_folder_of_ones_own_recordings_is_measured(tmp_path: Path) -> None:
    (tmp_path / "mine.jsonl").write_bytes(recorded.hyperliquid_state(STATE) + b"\n")
    found = measured(recorded.cases(tmp_path))
    assert [each.figure for each in found if isinstance(each, Compared)] == [PNL, PRICE, MAINTENANCE, RATIO]
    assert "| hyperliquid | cross | liquidation price | 1 | 1 |" in table(found)


@needs_recordings
def test_the_page_holds_the_present_table() -> None:
    page = PAGE.read_text()
    assert BEGIN in page
    assert END in page
    found = [*captured(), *measured(published.cases())]
    assert written(page, found) == page, "stale: run `make residuals`"
