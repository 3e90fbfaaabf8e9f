"""What the venues tell of liquidation: theirs, nothing, or something wrong; and nothing else of theirs changes."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from exchanges.sim import aster_figures, bybit_figures, hyperliquid_figures, okx_figures
from exchanges.sim.quoted import LIQUIDATION_FIELDS, LiquidationFields
from exchanges.sim.world import World

BEGIN = 1_763_683_200_000
PRICES = {"liqPx", "liqPrice", "liquidationPx", "liquidationPrice"}
RATIOS = {"mgnRatio", "accountMMRate", "accountMMRateByMp"}
BLANK = {"liqPx": "", "liqPrice": "", "liquidationPx": None, "liquidationPrice": "0"}


def rows(fields: LiquidationFields) -> dict[str, dict[str, Any]]:
    """Return every row that a venue tells of an account, by account and position."""
    world = World(1, BEGIN)
    world.liquidation_fields = fields
    found: dict[str, dict[str, Any]] = {}
    for account in world.accounts.values():
        mine = world.positions(account.name)
        if account.venue == "okx":
            found |= {f"{account.name}:{p.id}": okx_figures.position_row(world, account, p, BEGIN) for p in mine}
            told = okx_figures.account_row(world, account)
            found |= {f"{account.name}:{row['ccy']}": row for row in told.pop("details")}
            found[account.name] = told
        elif account.venue == "bybit":
            found |= {f"{account.name}:{p.id}": bybit_figures.position_row(world, account, p, 1) for p in mine}
            found[account.name] = bybit_figures.wallet_row(world, account, [])
        elif account.venue == "hyperliquid":
            for dex in account.cash:
                state = hyperliquid_figures.clearinghouse_state(world, account, dex, BEGIN)
                found |= {f"{account.name}:{p['position']['coin']}": p["position"] for p in state["assetPositions"]}
        else:
            risk = aster_figures.position_risk(world, account, world.listed("aster"), newer=True)
            found |= {f"{account.name}:{row['symbol']}:{row['positionSide']}": row for row in risk}
    return found


@pytest.mark.parametrize("fields", LIQUIDATION_FIELDS)
def test_only_the_fields_of_liquidation_differ(fields: LiquidationFields) -> None:
    true, told = rows("sent"), rows(fields)
    assert true.keys() == told.keys()
    prices = ratios = 0
    for name, row in told.items():
        for key, value in row.items():
            stated = true[name][key]
            if key in PRICES and stated not in {"", None, "0"}:
                prices += 1
                if fields == "blank":
                    assert value == BLANK[key], name
                elif value != "":  # of Bybit within the price limits
                    times = Decimal("1.02") if fields == "wrong" else Decimal(1)
                    assert float(value) == pytest.approx(float(Decimal(stated) * times), rel=1e-6), name
            elif key in RATIOS and stated:
                ratios += 1
                assert value == ("" if fields == "blank" else stated), name
            else:
                assert value == stated, (name, key)
    assert prices >= 25
    assert ratios >= 10
