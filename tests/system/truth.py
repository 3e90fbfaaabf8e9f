"""Compares what the gateway says with what the simulated world really is. Pure.

Tolerances: sizes and marks are exact. PnL is rounded by the venues to their own digits (a cent on some), and its anchor with it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

PNL_TOLERANCE = 1e-6  # of the PnL
Key = tuple[str, str, str, str]  # account, symbol, side, margin mode


def differences(truth: Mapping[str, Any], snapshot: Mapping[str, Any]) -> list[str]:
    """Return in words where ``GET /v1/snapshot`` (positions and accounts) differs from ``GET /truth``; stale rows count."""
    wanted = {_key(p): p for p in truth["positions"] if not p["liquidated"]}
    shown = {_key(row): row for row in snapshot["positions"].values()}
    found = [f"missing: {' '.join(key)}" for key in sorted(wanted.keys() - shown.keys())]
    found += [f"not there: {' '.join(key)}" for key in sorted(shown.keys() - wanted.keys())]
    if len(shown) != len(snapshot["positions"]):
        found.append("two rows say the same position")
    for key in sorted(wanted.keys() & shown.keys()):
        found += [f"{' '.join(key)}: {what}" for what in _position(wanted[key], shown[key])]
    return found + _balances(truth, snapshot["accounts"])


def _key(position: Mapping[str, Any]) -> Key:
    return position["account"], position["symbol"], position["side"], position["margin_mode"]


def _position(truth: Mapping[str, Any], row: Mapping[str, Any]) -> list[str]:
    found = []
    if Decimal(row["size"]) != Decimal(truth["size"]):
        found.append(f"size {row['size']}, truly {truth['size']}")
    if row.get("mark_price") != float(truth["mark_price"]):
        found.append(f"mark {row.get('mark_price')}, truly {truth['mark_price']}")
    pnl = float(truth["unrealized_pnl"])
    if not close(row.get("unrealized_pnl"), pnl, PNL_TOLERANCE):
        found.append(f"PnL {row.get('unrealized_pnl')}, truly {pnl}")
    if "stale" in row:
        found.append(f"stale: {row['stale']}")
    return found


def close(shown: float | None, true: float, relative: float) -> bool:
    """Say whether a figure is there and within a relative bound of the true one (below 1: an absolute one)."""
    return shown is not None and abs(shown - true) <= relative * max(abs(true), 1.0)


def _balances(truth: Mapping[str, Any], accounts: Mapping[str, Any]) -> list[str]:
    """Compare equity per account and currency over all its purses."""
    wanted: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for balance in truth["balances"]:
        wanted[balance["account"], balance["ccy"]] += Decimal(balance["equity"])
    return [
        f"{account}: equity {shown} {ccy}, truly {equity}"
        for (account, ccy), equity in sorted(wanted.items())
        if not close(shown := accounts[account].get("equity", {}).get(ccy), float(equity), PNL_TOLERANCE)
    ]
