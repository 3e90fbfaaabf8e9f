"""Whose liquidation figure a row shows: the same in the row, in its distance, in its account and in its alerts."""

from __future__ import annotations

import math
from typing import Any

import pytest

from exchanges.events import (
    CoinBalance,
    CollateralTier,
    CollateralTiers,
    MarginTier,
    MarginTiers,
    PoolState,
    PositionState,
)
from gateway.core.accounts import AccountInfo
from gateway.core.explain import explain
from gateway.engine import Engine
from tests.gateway.events_of import BYBIT, balance, engine, instrument, mark, position, row

HL = AccountInfo(name="hl-main", venue="hyperliquid", env="live", user="ann")
OKX = AccountInfo(name="okx-main", venue="okx", env="live", user="ann")
RATE = 0.005 + 0.0005  # of the reports below, and OKX's liquidation fee


def coin(symbol: str, stated: str | None, **fields: Any) -> PositionState:
    known: dict[str, Any] = {"venue_liquidation_price": stated, "liquidation_known": "price" if stated else "none"}
    given: dict[str, Any] = {"max_leverage": "40", "pool": "main", "settle": "USDC", "venue_maintenance_margin": None}
    return position(symbol, "hl-main", **(known | given | fields))


def dex(*positions: PositionState, cash: str = "-300") -> Engine:
    """A pool whose equity is cash + size * mark, without any alert's hysteresis in it."""
    one = engine(HL)
    contracts = [
        instrument(one.symbol, "hyperliquid", base=one.symbol, settle="USDC", max_leverage="40") for one in positions
    ]
    pool = PoolState(pool="main", ccy="USDC", cash=cash, basis="value")
    one.turn([*contracts, balance(cash, "hl-main", coins=(), pools=(pool,)), *positions], 1_000)
    one.clock(2_000)
    return one


def distances(one: Engine) -> dict[str, float]:
    """Return what alerts, scores and summaries count with, by position."""
    now = one.portfolio.standing()
    found = zip(now.slot.tolist(), now.distance.tolist(), strict=True)
    return {one.position_at(slot).state.id: distance for slot, distance in found}


def nearest(one: Engine, account: str = "hl-main") -> object:
    return row(one, "accounts", account).get("nearest_liquidation")


# --- an anchor is refused ---------------------------------------------------------------------------------------------------


def test_what_only_a_rounded_entry_could_give_is_not_shown_of_a_refused_pair() -> None:
    """6,000 would follow from the entry: of the venue's 5,000, the mark and the entry one is not of this moment."""
    said = {"size": "1", "entry_price": "60000", "mark_price": "66000", "entry_exact": False}
    held = coin("BTC", None, **said, venue_unrealized_pnl="5000")
    one = dex(held, cash="-50000")
    shown = row(one, "positions", held.id)
    assert shown["missing"] == ["anchor_refused"]
    assert not {"unrealized_pnl", "unrealized_pnl_usd", "roe", "entry_price_exact"} & shown.keys()
    assert (shown["notional"], shown["venue_unrealized_pnl"]) == (66_000.0, "5000")
    assert row(one, "accounts", "hl-main")["equity_usd"] == 16_000.0
    one.turn([coin("BTC", None, **said, venue_unrealized_pnl="5999.6", fence=(2,))], 3_000)
    shown = row(one, "positions", held.id)
    assert "missing" not in shown
    assert (shown["unrealized_pnl"], shown["entry_price_exact"]) == (5999.6, 60_000.4)
    assert shown["roe"] == pytest.approx(5999.6 / 60_000.4 * float(held.leverage or 0))


# --- an input is missing ----------------------------------------------------------------------------------------------------


def test_where_an_input_is_missing_price_and_distance_are_the_venues_everywhere() -> None:
    btc, eth = coin("BTC", "44"), coin("ETH", "55", mark_price=None)
    one = dex(btc, eth)
    assert one.positions[btc.id].trusted
    shown = row(one, "positions", btc.id)
    assert (shown["liquidation_source"], shown["liquidation_price"]) == ("venue", 44.0)
    assert shown["liquidation_distance"] == pytest.approx(0.6)
    assert "liquidation_distance" not in shown.get("missing", ())
    assert distances(one)[btc.id] == pytest.approx(0.6)
    assert math.isnan(distances(one)[eth.id]), "without a mark there is no distance to any price"
    assert row(one, "positions", eth.id)["liquidation_price"] == 55.0
    assert nearest(one) == {"id": eth.id}


def test_what_was_missing_comes_and_the_model_speaks() -> None:
    btc, eth = coin("BTC", "44"), coin("ETH", "55", mark_price=None)
    one = dex(btc, eth)
    one.turn([mark("110", "ETH", "hyperliquid")], 3_000)
    shown = row(one, "positions", btc.id)
    assert shown["liquidation_source"] == "model"
    assert distances(one)[btc.id] == shown["liquidation_distance"]
    assert nearest(one) == {"id": btc.id, "distance": pytest.approx(shown["liquidation_distance"])}


def test_where_an_input_is_missing_the_venues_word_counts() -> None:
    none, bare = coin("BTC", None), coin("ETH", None, mark_price=None, liquidation_known="unknown")
    one = dex(none, bare)
    assert row(one, "positions", none.id)["liquidation_source"] == "none"
    assert distances(one)[none.id] == math.inf
    assert row(one, "positions", bare.id)["liquidation_source"] == "unknown"
    assert math.isnan(distances(one)[bare.id])


def test_a_row_says_so_when_the_model_finds_that_nothing_liquidates_it() -> None:
    """The mark that was missing moves neither price nor trigger of the other row: it had none, and has none."""
    btc, eth = coin("BTC", "44", size="1"), coin("ETH", "55", size="1", mark_price=None)
    one = dex(btc, eth, cash="500")
    assert row(one, "positions", btc.id)["liquidation_source"] == "venue"
    one.turn([mark("110", "ETH", "hyperliquid")], 3_000)
    shown = row(one, "positions", btc.id)
    assert shown["liquidation_source"] == "none"
    assert not {"liquidation_price", "liquidation_distance"} & shown.keys()
    assert distances(one)[btc.id] == math.inf


@pytest.mark.parametrize(
    ("cash", "price", "distance"), [("8.5", 0.1, 0.84924623), ("9", 0.1, 0.89949749), ("9.5", None, None)]
)
def test_a_price_below_one_tick_is_none(cash: str, price: float | None, distance: float | None) -> None:
    """Ten coins at 1, and a tick of 0.1: 0.151, 0.1005 and 0.050 by the formula. Down to the tick the last one is no price."""
    held = position(
        "DOGEUSDT", "bybit-main", size="10", entry_price="1", mark_price="1", leverage="1", margin_mode="isolated",
        isolated_cash=cash, venue_maintenance_margin="0.05",
    )  # fmt: skip
    one = engine(BYBIT, promoted=("bybit_isolated",))
    one.turn([instrument("DOGEUSDT", "bybit", base="DOGE"), held], 1_000)
    shown = row(one, "positions", held.id)
    assert shown["liquidation_source"] == ("none" if price is None else "model")
    assert shown.get("liquidation_price") == price
    assert shown.get("liquidation_distance") == (distance and pytest.approx(distance))
    assert distances(one)[held.id] == pytest.approx(distance or math.inf)
    told = explain(one.positions[held.id], one.book)["liquidation_price"]
    assert isinstance(told, dict)
    assert told.get("model") == price


# --- a pool that is spent ---------------------------------------------------------------------------------------------------


def test_a_spent_pool_that_no_price_of_the_symbol_saves_is_through_its_liquidation() -> None:
    lost, other = position("ETH-USDT-SWAP", size="1", side="short"), position(size="100")
    one = engine(OKX, promoted=("okx_cross",))
    one.turn([instrument(), instrument("ETH-USDT-SWAP", base="ETH"), balance("1"), lost, other], 1_000)
    before = row(one, "positions", lost.id)
    assert before["liquidation_distance"] > 0
    one.turn([mark("80")], 2_000)
    shown = row(one, "positions", lost.id)
    assert shown["liquidation_source"] == "model"
    assert shown["liquidation_distance"] == -1.0 == distances(one)[lost.id]
    assert not {"liquidation_price", "trigger_price"} & shown.keys()
    assert nearest(one, "okx-main") == {"id": lost.id, "distance": -1.0}


def test_what_only_all_contracts_of_an_underlying_together_liquidate_has_a_trigger_and_no_price() -> None:
    """Each of two longs alone may fall to nothing; both together may not."""
    swap, dated = position(size="1"), position("BTC-USDT-261225", size="1")
    one = engine(OKX, promoted=("okx_cross",))
    one.turn([instrument(), instrument("BTC-USDT-261225"), balance("150"), swap, dated], 1_000)
    shown = row(one, "positions", swap.id)
    assert shown["liquidation_source"] == "model"
    assert "liquidation_price" not in shown
    assert shown["trigger_price"] == pytest.approx((200 - 150) / (2 * (1 - RATE)))
    assert shown["liquidation_distance"] == distances(one)[swap.id] == pytest.approx(1 - shown["trigger_price"] / 110)


def test_a_hedge_that_no_price_of_its_underlying_spends_is_farthest_and_not_unknown() -> None:
    """Net long by little: falling, its legs make up for each other; the published price lets one leg fall alone."""
    swap = position(size="1.2")
    dated = position("BTC-USDT-261225", size="1", side="short", venue_maintenance_margin="0.55")
    one = engine(OKX, promoted=("okx_cross",))
    one.turn([instrument(), instrument("BTC-USDT-261225"), balance("50"), swap, dated], 1_000)
    shown = row(one, "positions", swap.id)
    assert (shown["liquidation_source"], "liquidation_price" in shown) == ("model", True)
    assert not {"trigger_price", "liquidation_distance"} & shown.keys()
    assert distances(one)[swap.id] == math.inf
    assert nearest(one, "okx-main") is None


# --- what nobody can check --------------------------------------------------------------------------------------------------


def coins_behind(*, usdt_alone: bool = False) -> Engine:
    """Aster's multi-assets mode: dollars and, unless they are alone, a coin of which no answer says how much counts."""
    one = engine(AccountInfo(name="aster-main", venue="aster", env="live", user="ann"), promoted=("aster_multi",))
    coins = [CoinBalance(ccy="USDT", total="100", cash="100", usd_price="1")]
    if not usdt_alone:
        coins.append(CoinBalance(ccy="BTC", total="1", cash="1", usd_price="110"))
    told = PoolState(pool="USD", ccy="USD", from_coins=True, venue_equity="220")
    tiers = MarginTiers(
        venue="aster", env="live", key="BTCUSDT", unit="notional", tiers=(MarginTier(lower="0", rate="0.005"),)
    )
    held = position("BTCUSDT", "aster-main", pool="USD", side="short", size="4", liquidation_known="none")
    contract = instrument("BTCUSDT", "aster", tiers_key="BTCUSDT")
    one.turn([contract, tiers, balance(account="aster-main", coins=tuple(coins), pools=(told,)), held], 1_000)
    one.clock(2_000)
    return one


def test_no_price_is_no_word_of_safety_where_nobody_says_how_much_of_the_coins_counts() -> None:
    one = coins_behind()
    ((row_id, distance),) = distances(one).items()
    found = row(one, "positions", row_id)
    assert (found["liquidation_source"], found["missing"]) == ("unknown", ["collateral", "liquidation_distance"])
    assert not {"liquidation_price", "liquidation_distance"} & found.keys()
    assert math.isnan(distance)
    assert found["risk_score"] >= 0.5
    assert nearest(one, "aster-main") == {"id": row_id}, "what could not be determined is nearest of all"
    rate = CollateralTiers(venue="aster", env="live", ccy="BTC", tiers=(CollateralTier(lower="0", rate="0.9"),))
    one.turn([rate], 3_000)
    one.clock(4_000)
    now = row(one, "positions", row_id)
    assert (now["liquidation_source"], "missing" in now) == ("model", False)
    assert now["liquidation_price"] > 110


def test_the_venues_word_that_there_is_no_price_counts_where_the_pool_is_known() -> None:
    assert row(coins_behind(usdt_alone=True), "positions", "aster-main:BTCUSDT:short")["liquidation_source"] == "model"
    one = engine(HL)
    held = position("BTC", "hl-main", pool="main", settle="USDC", liquidation_known="none")
    one.turn([balance("50", "hl-main", pools=(PoolState(pool="main", ccy="USDC", cash="50"),)), held], 1_000)
    assert row(one, "positions", held.id)["liquidation_source"] == "none"
