"""The simulator's Aster arithmetic against the venue's own samples, and its answers against the world's truth."""

from __future__ import annotations

from collections.abc import AsyncIterator
from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchanges.sim.aster_figures import liquidation_price
from exchanges.sim.catalog import CONTRACTS, Tier
from exchanges.sim.server import start
from tests.exchanges.sim.aster_client import HEDGE, MAIN, MULTI, Venue

TIERS = next(c.tiers for c in CONTRACTS if (c.venue, c.symbol) == ("aster", "BTCUSDT"))
SAMPLE = (Tier(Decimal(0), Decimal("0.005"), Decimal(50), Decimal(100)),)


@pytest.fixture
async def venue() -> AsyncIterator[Venue]:
    it = Venue()
    it.sim = await start(5, clock=it)
    it.sim.control.pause()
    yield it
    await it.sim.stop()


@pytest.mark.parametrize(
    ("size", "entry", "wallet", "expected"),
    [("20", "6563.665", "13200.70726908", "5930.78"), ("-10", "6563.86", "6570.42511771", "7189.95")],
)
def test_liquidation_of_the_documented_sample(size: str, entry: str, wallet: str, expected: str) -> None:
    root = liquidation_price(SAMPLE, [(Decimal(size), Decimal(entry))], Decimal(wallet), Decimal(0))
    assert root is not None
    assert round(root, 2) == Decimal(expected)


@given(
    size=st.decimals("0.001", "50", places=3),
    short=st.booleans(),
    entry=st.decimals("60000", "110000", places=1),
    leverage=st.integers(2, 50),
    other=st.decimals("0", "5000", places=2),
)
def test_equity_meets_maintenance_at_the_liquidation_price(
    size: Decimal, short: bool, entry: Decimal, leverage: int, other: Decimal
) -> None:
    signed = -size if short else size
    wallet = size * entry / leverage + other
    root = liquidation_price(TIERS, [(signed, entry)], wallet, other)
    if root is None:
        return
    tier = [tier for tier in TIERS if tier.lower <= size * root][-1]
    maintenance = size * root * tier.rate - tier.deduction
    assert abs(wallet + signed * (root - entry) - other - maintenance) < Decimal("1e-12") * size * entry + Decimal(
        "1e-12"
    )


def test_brackets_meet_at_their_borders() -> None:
    for below, above in pairwise(TIERS):
        assert above.lower * below.rate - below.deduction == above.lower * above.rate - above.deduction


@pytest.mark.parametrize("name", [MAIN, HEDGE, MULTI])
async def test_positions_are_the_world_s(venue: Venue, name: str) -> None:
    rows = await venue.ask(name, "v2/positionRisk|positionRisk")
    symbols = {row["symbol"] for row in rows}
    assert len(rows) == len(symbols) * (2 if name == HEDGE else 1), "flat ones too"
    assert {row["positionSide"] for row in rows} == ({"LONG", "SHORT"} if name == HEDGE else {"BOTH"})
    shown = {(row["symbol"], Decimal(row["positionAmt"]) > 0): row for row in rows if Decimal(row["positionAmt"])}
    truth = {(p["symbol"], p["side"] == "long"): p for p in venue.truth(name)}
    assert shown.keys() == truth.keys()
    for key, row in shown.items():
        true = truth[key]
        size, mark, entry = (Decimal(row[field]) for field in ("positionAmt", "markPrice", "entryPrice"))
        assert (abs(size), mark, entry) == tuple(Decimal(true[f]) for f in ("size", "mark_price", "entry_price"))
        assert Decimal(row["unRealizedProfit"]) == size * (mark - entry) == Decimal(true["unrealized_pnl"])
        assert row["marginType"] == true["margin_mode"]
        if name != HEDGE:  # the older version has neither
            assert Decimal(row["notional"]) == size * mark
            if row["marginType"] == "isolated":
                assert Decimal(row["isolatedMargin"]) - Decimal(row["isolatedWallet"]) == Decimal(
                    row["unRealizedProfit"]
                )
        else:
            assert "notional" not in row
    flat = next(row for row in rows if not Decimal(row["positionAmt"]))
    assert (flat["liquidationPrice"], flat["updateTime"]) == ("0", 0)


async def test_cross_liquidation_by_the_documented_formula(venue: Venue) -> None:
    """Single-asset mode: ``LP = (WB − TMM1 + UPNL1 + cum − s·|B|·EP) / (|B|·MMR − s·|B|)``."""
    account = await venue.ask(MAIN, "accountWithJoinMargin")
    rows = [
        r for r in await venue.ask(MAIN, "positionRisk") if Decimal(r["positionAmt"]) and r["marginType"] == "cross"
    ]
    maintenance = {p["symbol"]: Decimal(p["maintMargin"]) for p in account["positions"]}
    for row in rows:
        tiers = next(c.tiers for c in CONTRACTS if (c.venue, c.symbol) == ("aster", row["symbol"]))
        size, entry = Decimal(row["positionAmt"]), Decimal(row["entryPrice"])
        others = [r for r in rows if r is not row]
        top = Decimal(account["totalCrossWalletBalance"]) - size * entry
        top += sum(Decimal(r["unRealizedProfit"]) - maintenance[r["symbol"]] for r in others)
        shown = Decimal(row["liquidationPrice"])
        tier = [t for t in tiers if t.lower <= abs(size) * shown][-1]
        expected = (top + tier.deduction) / (abs(size) * tier.rate - size)
        assert shown == round(expected, 8) if shown else expected <= 0


async def test_balances_add_up(venue: Venue) -> None:
    for name in (MAIN, HEDGE, MULTI):
        truth = {b["ccy"]: b for b in venue.sim.control.truth()["balances"] if b["account"] == name}
        account = await venue.ask(name, "v4/account|accountWithJoinMargin")
        rows = {row["asset"]: row for row in account["assets"]}
        assert len(rows) > len(truth), "assets that are not held are listed too"
        for ccy, balance in truth.items():
            assert Decimal(rows[ccy]["walletBalance"]) == Decimal(balance["total"])
            assert Decimal(rows[ccy]["marginBalance"]) == Decimal(balance["equity"])
        for row in await venue.ask(name, "v2/balance|balance"):
            assert row["balance"] == rows[row["asset"]]["walletBalance"]
            assert isinstance(row["updateTime"], str)


async def test_totals_of_the_multi_assets_mode_are_dollars_after_haircut(venue: Venue) -> None:
    account = await venue.ask(MULTI, "accountWithJoinMargin")
    world = venue.sim.world
    (pool,) = [pool for pool in world.pools(world.account(MULTI)) if pool.name == "USD"]
    assert abs(Decimal(account["totalMarginBalance"]) - pool.equity) < Decimal("1e-6")
    assert abs(Decimal(account["totalMaintMargin"]) - pool.requirement) < Decimal("1e-6")
    assert await venue.ask(MULTI, "multiAssetsMargin") == {"multiAssetsMargin": True}


async def test_brackets_of_one_symbol_are_an_object(venue: Venue) -> None:
    one = await venue.ask(MAIN, "leverageBracket", symbol="BTCUSDT")
    assert one in await venue.ask(MAIN, "leverageBracket")
    assert one["brackets"][1] == {
        "bracket": 2, "initialLeverage": 50, "notionalCap": 1200000, "notionalFloor": 300000, "maintMarginRatio": 0.005, "cum": 300,
    }  # fmt: skip


async def test_the_chain_tells_the_same_without_a_key(venue: Venue) -> None:
    async def call(method: str, *params: object) -> dict[str, object]:
        body = {"id": 1, "jsonrpc": "2.0", "method": method, "params": [*params, "latest"]}
        status, answer, _ = await venue.send("POST", "/info", json=body)
        assert (status, answer["id"]) == (200, 1)
        return dict(answer.get("result") or answer["error"])

    told = await call("aster_getBalance", venue.login(MAIN)["address"])
    (group,) = told["positions"]  # type: ignore[misc]
    shown = {row["symbol"]: Decimal(row["positionAmount"]) for row in group["positions"]}
    assert shown == {p["symbol"]: Decimal(p["size"]) * (1 if p["side"] == "long" else -1) for p in venue.truth(MAIN)}
    assert told["perpAssets"] == [{"asset": "USDT", "walletBalance": float(venue.sim.world.account(MAIN).cash["USDT"])}]
    hidden = await call("aster_getBalance", venue.login(MULTI)["address"])
    assert hidden == {"address": venue.login(MULTI)["address"], "accountPrivacy": "enabled"}
    assert (await call("aster_getBalance", "0x" + "a" * 40))["perpAssets"] == []
    assert (await call("aster_dance", "0x" + "a" * 40))["code"] == -32601
    venue.act("open_position", account=MAIN, symbol="BTCUSDT", size="0.1")
    fills = await call("aster_userFills", venue.login(MAIN)["address"], "", None, None)
    assert [(f["symbol"], f["qty"]) for f in fills["fills"]] == [("BTCUSDT", "0.1")]  # type: ignore[attr-defined]
