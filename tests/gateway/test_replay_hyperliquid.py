"""Captured Hyperliquid states through `replay`: the model's own figures against the venue's, and against plain Decimal."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from gateway.replay import Replay
from tests.recordings import needs_recordings, recordings

USER = "0x" + "1" * 40
REQUEST = {"type": "clearinghouseState", "user": USER, "dex": ""}


def line(data: Any, via: str = "rest", request: Any = None, at: int = 1_700_000_000_000) -> bytes:
    """Return one recorded input."""
    account = None if via == "ws-public" else "main"
    recorded = {"at": at, "venue": "hyperliquid", "account": account, "via": via, "request": request, "data": data}
    return json.dumps(recorded).encode()


def replay(*lines: bytes) -> dict[str, Any]:
    """Return the final tables; no line may fail."""
    problems: list[str] = []
    run = Replay(problems.append)
    run.feed(lines, "test")
    assert problems == []
    return json.loads(json.dumps(run.snapshot(with_explain=True)))


def states() -> Iterator[tuple[str, Any]]:
    """Yield captured states that carry what the standard-mode formula needs."""
    for kind in ("rest-clearinghouseState", "ws-clearinghouseState"):
        for recording in recordings("hyperliquid", kind, "captured"):
            for message in recording.messages():
                state = message["data"]["clearinghouseState"] if "channel" in message else message
                rows = [row["position"] for row in state["assetPositions"]]
                if "crossMaintenanceMarginUsed" in state and all("maxLeverage" in row for row in rows):
                    yield recording.path.name, state


@needs_recordings
def test_the_models_liquidation_prices_are_the_venues() -> None:
    checked = nulls = 0
    worst = 0.0
    for name, state in states():
        for row in replay(line(state, request=REQUEST))["positions"].values():
            figure = row["explain"]["liquidation_price"]
            if "venue" not in figure:
                assert "model" not in figure, f"{name} {row['symbol']}: the venue says that nothing liquidates it"
                assert row["liquidation_source"] == "none"
                assert "liquidation_price" not in row
                nulls += 1
                continue
            relative = abs(figure["model"] / float(figure["venue"]) - 1)
            worst = max(worst, relative)
            assert relative < 1e-6, f"{name} {row['symbol']}"
            assert row["liquidation_source"] == "model"
            checked += 1
    print(
        f"\nHyperliquid liquidation prices checked: {checked}, worst relative {worst:.1e}; null on both sides: {nulls}"
    )
    assert checked >= 25
    assert nulls >= 5


@needs_recordings
def test_pnl_from_the_published_entry_is_within_its_rounding() -> None:
    checked = 0
    for name, state in states():
        for row in replay(line(state, request=REQUEST))["positions"].values():
            figure = row["explain"]["unrealized_pnl"]
            digits = Decimal(row["entry_price"]).as_tuple().exponent
            assert isinstance(digits, int)
            bound = float(row["size"]) * 10.0**digits
            assert abs(figure["residual"]) <= bound + 1e-6, f"{name} {row['symbol']}"
            assert row["unrealized_pnl"] == pytest.approx(float(figure["venue"]), rel=1e-12, abs=1e-9)
            checked += 1
    print(f"\nHyperliquid PnL figures checked: {checked}")
    assert checked >= 30


def by_decimal(state: Any, moved: str, mark: Decimal) -> tuple[Decimal, dict[str, tuple[Decimal, Decimal | None]]]:
    """Return cross equity and {coin: (unrealised PnL, liquidation price)} after one coin's mark moved, by the definition."""
    rows = [row["position"] for row in state["assetPositions"] if row["position"]["leverage"]["type"] == "cross"]
    size = {row["coin"]: Decimal(str(row["szi"])) for row in rows}
    old = {row["coin"]: Decimal(str(row["positionValue"])) / abs(size[row["coin"]]) for row in rows}
    new = old | {moved: mark}
    rate = {row["coin"]: 1 / (2 * Decimal(str(row["maxLeverage"]))) for row in rows}
    equity = Decimal(str(state["crossMarginSummary"]["accountValue"]))
    equity += sum(size[c] * (new[c] - old[c]) for c in size)
    need = Decimal(str(state["crossMaintenanceMarginUsed"])) + sum(
        abs(size[c]) * (new[c] - old[c]) * rate[c] for c in size
    )
    found = {}
    for row in rows:
        coin = row["coin"]
        side = 1 if size[coin] > 0 else -1
        price = new[coin] - side * (equity - need) / abs(size[coin]) / (1 - rate[coin] * side)
        upnl = Decimal(str(row["unrealizedPnl"])) + size[coin] * (new[coin] - old[coin])
        found[coin] = (upnl, price if price > 0 else None)
    return equity, found


@needs_recordings
@pytest.mark.parametrize("factor", ["0.93", "1.04"])
def test_a_mark_of_one_coin_moves_every_other_cross_position(factor: str) -> None:
    checked = 0
    for name, state in states():
        cross = [row["position"] for row in state["assetPositions"] if row["position"]["leverage"]["type"] == "cross"]
        if len(cross) < 2:
            continue
        coin = cross[0]["coin"]
        mark = Decimal(str(cross[0]["positionValue"])) / abs(Decimal(str(cross[0]["szi"]))) * Decimal(factor)
        tick = {
            "channel": "activeAssetCtx",
            "data": {"coin": coin, "ctx": {"markPx": f"{mark:.10f}", "funding": "0", "oraclePx": "1"}},
        }
        tables = replay(line(state, request=REQUEST), line(tick, "ws-public", at=1_700_000_001_000))
        equity, wanted = by_decimal(state, coin, Decimal(f"{mark:.10f}"))
        assert tables["accounts"]["main"]["pools"]["main"]["equity"] == pytest.approx(float(equity), rel=1e-9), name
        for row in tables["positions"].values():
            if row["margin_mode"] != "cross":
                continue
            upnl, price = wanted[row["symbol"]]
            assert row["unrealized_pnl"] == pytest.approx(float(upnl), rel=1e-9, abs=1e-6), f"{name} {row['symbol']}"
            if price is None:
                assert row["liquidation_source"] == "none", f"{name} {row['symbol']}"
            else:
                assert row["liquidation_price"] == pytest.approx(float(price), rel=1e-9), f"{name} {row['symbol']}"
            checked += row["symbol"] != coin
    assert checked >= 30


@needs_recordings
def test_no_model_reads_the_venues_liquidation_price() -> None:
    checked = 0
    for _, state in states():
        changed = copy.deepcopy(state)
        for row in changed["assetPositions"]:
            price = row["position"]["liquidationPx"]
            row["position"]["liquidationPx"] = None if price is None else str(Decimal(str(price)) * Decimal("1.1"))
        honest, misled = replay(line(state, request=REQUEST)), replay(line(changed, request=REQUEST))
        for row_id, row in honest["positions"].items():
            figure, other = (
                row["explain"]["liquidation_price"],
                misled["positions"][row_id]["explain"]["liquidation_price"],
            )
            assert figure.get("model") == other.get("model")
            if "model" in figure and "venue" in figure:
                assert not math.isclose(figure["residual"], other["residual"])
                checked += 1
    assert checked >= 25


def test_a_line_that_cannot_be_parsed_is_reported_counted_and_skipped() -> None:
    problems: list[str] = []
    run = Replay(problems.append)
    state = {"assetPositions": [], "crossMarginSummary": {}, "time": 1}
    run.feed(
        [b"{", line(state, request=REQUEST), line({"assetPositions": 7}, request=REQUEST), b"", line({}, "ws-private")],
        "x",
    )
    assert run.lines == 4
    assert run.failed == 3
    assert [problem.split(":")[1] for problem in problems] == ["1", "3", "5"]
    assert "main" in run.snapshot(with_explain=False)["accounts"]  # type: ignore[operator]
