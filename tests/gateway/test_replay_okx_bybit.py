"""Captured OKX and Bybit messages through `replay`: PnL to the venue's rounding, liquidation where a formula was measured."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from gateway.core.anchor import ulp
from gateway.replay import Replay
from tests.recordings import needs_recordings, recordings

AT = 1_700_000_000_000


def line(venue: str, data: Any, via: str = "rest", request: str | None = None, account: str | None = "main") -> bytes:
    recorded = {"at": AT, "venue": venue, "account": account, "via": via, "request": request, "data": data}
    return json.dumps(recorded).encode()


def replay(*lines: bytes, problems: list[str] | None = None) -> dict[str, Any]:
    said: list[str] = []
    run = Replay(said.append)
    run.feed(lines, "test")
    assert said == [] if problems is None else problems.extend(said) is None
    return json.loads(json.dumps(run.snapshot(with_explain=True)))


def okx_contract(inst_id: str) -> bytes:
    """The contract as of the environment that was captured: sizes of demo trading differ from live ones."""
    size, tick = {"ETH-USDT-SWAP": ("0.1", "0.01")}.get(inst_id, ("0.001", "0.1" if "BTC" in inst_id else "0.01"))
    base = inst_id.split("-", maxsplit=1)[0]
    row = {
        "instType": "SWAP", "instId": inst_id, "instFamily": f"{base}-USDT", "uly": f"{base}-USDT", "settleCcy": "USDT",
        "ctVal": size, "ctMult": "1", "ctValCcy": base, "ctType": "linear", "tickSz": tick, "lotSz": "1", "minSz": "1",
        "lever": "100", "state": "live", "expTime": "", "listTime": "", "ruleType": "normal", "baseCcy": "", "quoteCcy": "",
    }  # fmt: skip
    body = {"code": "0", "msg": "", "data": [row]}
    return line("okx", body, request="/api/v5/public/instruments?instType=SWAP", account=None)


def okx_rows(blank: Decimal | None = None) -> list[tuple[str, dict[str, Any]]]:
    """Return captured positions as replayed; ``blank`` multiplies the venue's liquidation price and margin ratio."""
    found = []
    for recording in recordings("okx", "rest-account-positions", "captured"):
        for message in recording.messages():
            for row in message["data"]:
                for name in ("liqPx", "mgnRatio") if blank is not None else ():
                    row[name] = str(Decimal(row[name]) * blank) if row[name] else ""
            contracts = [okx_contract(row["instId"]) for row in message["data"]]
            asked = line("okx", message, request="/api/v5/account/positions?instType=SWAP")
            found += [(recording.path.name, row) for row in replay(*contracts, asked)["positions"].values()]
    return found


@needs_recordings
def test_okx_pnl_is_exact_and_isolated_liquidation_is_the_venues() -> None:
    liquidations = 0
    rows = okx_rows()
    for name, row in rows:
        pnl, price = row["explain"]["unrealized_pnl"], row["explain"]["liquidation_price"]
        assert abs(pnl["residual"]) < 1e-12, name
        assert row["unrealized_pnl"] == pytest.approx(float(pnl["venue"]), abs=1e-12)
        if "venue" in price:
            assert price["name"] == "okx_isolated"
            assert price["model"] == pytest.approx(float(price["venue"]), rel=1e-12), name
            liquidations += 1
    print(f"\nOKX: PnL of {len(rows)} positions, liquidation price of {liquidations} isolated ones")
    assert len(rows) >= 3
    assert liquidations >= 2


@needs_recordings
def test_no_okx_model_reads_liquidation_price_or_margin_ratio() -> None:
    honest, misled = okx_rows(), okx_rows(Decimal("1.1"))
    figures = [
        (a["explain"]["liquidation_price"], b["explain"]["liquidation_price"])
        for (_, a), (_, b) in zip(honest, misled, strict=True)
    ]
    assert [one.get("model") for one, _ in figures] == [other.get("model") for _, other in figures]
    assert sum("model" in one and one["venue"] != other["venue"] for one, other in figures) >= 2


def bybit_messages(kind: str) -> list[tuple[str, list[bytes]]]:
    found = []
    for recording in recordings("bybit", kind, "captured"):
        lines = []
        for message in recording.messages():
            if kind.startswith("ws-"):
                lines.append(line("bybit", message, "ws-private"))
                continue
            body = message if "retCode" in message else {"retCode": 0, "retMsg": "OK", "result": message, "time": AT}
            lines.append(line("bybit", body, request="/v5/position/list?category=linear&settleCoin=USDT&limit=200"))
        found.append((recording.path.name, lines))
    return found


@needs_recordings
def test_bybit_pnl_is_exact_to_the_venues_rounding() -> None:
    checked = 0
    for kind in ("rest-position-list", "ws-position", "ws-private-sequence"):
        for name, lines in bybit_messages(kind):
            for row in replay(*lines, problems=[])["positions"].values():
                figure = row["explain"]["unrealized_pnl"]
                rounding = float(ulp(figure["venue"]) + Decimal(row["size"]) * ulp(row["entry_price"]))
                assert abs(figure["residual"]) <= rounding, f"{name} {row['symbol']}"
                checked += 1
    print(f"\nBybit: PnL of {checked} positions")
    assert checked >= 9


@needs_recordings
@pytest.mark.parametrize("factor", ["1", "1.1"])
def test_a_lone_bybit_cross_position_is_solved_by_the_published_formula(factor: str) -> None:
    checked = 0
    for name, lines in bybit_messages("ws-private-sequence"):
        messages = [json.loads(one) for one in lines]
        for message in messages:
            for row in (
                message["data"].get("data", ()) if message["data"].get("topic", "").startswith("position") else ()
            ):
                row["liqPrice"] = str(Decimal(row["liqPrice"]) * Decimal(factor)) if row["liqPrice"] else ""
        changed = [json.dumps(message).encode() for message in messages]
        for row in replay(*changed, problems=[])["positions"].values():
            figure = row["explain"]["liquidation_price"]
            if figure.get("name") == "bybit_cross_single":
                published = float(figure["venue"]) / float(factor)
                assert figure["model"] == pytest.approx(published, rel=1e-9), name
                checked += 1
    assert checked >= 1
