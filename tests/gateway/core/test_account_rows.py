"""Rows of accounts: pools with their margins and ratios, through the engine, against figures by hand."""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any

import pytest

from exchanges.events import AccountMode, CoinBalance, MarginTier, MarginTiers, PoolState, PositionState
from gateway.core.account_rows import account_row
from gateway.core.accounts import AccountInfo
from gateway.core.margin import CATALOG
from gateway.engine import Engine
from tests.gateway.events_of import BYBIT, OKX, balance, closed, engine, instrument, mark, position, row

HL = AccountInfo(name="hl-main", venue="hyperliquid", env="live", user="ann")
ASTER = AccountInfo(name="aster-main", venue="aster", env="live", user="ann")


def coin(ccy: str, cash: str, usd: str | None = None, **fields: Any) -> CoinBalance:
    return CoinBalance(ccy=ccy, total=cash, cash=cash, usd_price=usd, **fields)


def account(one: Engine, name: str = "okx-main") -> Any:
    return row(one, "accounts", name)


def pool(one: Engine, name: str = "USDT", of: str = "okx-main") -> Any:
    return account(one, of)["pools"][name]


def test_margins_of_unlike_currencies_add_up_in_the_pools_own() -> None:
    one = engine()
    dollars = PoolState(pool="USD", ccy="USD", cash="70000", from_coins=True)
    coins = (coin("USDT", "10000", "1"), coin("BTC", "1", "60000"))
    inverse = position(
        "BTCUSD", "bybit-main", pool="USD", settle="BTC", size="60000", contract_type="inverse", mark_price="60000",
        entry_price="60000", venue_unrealized_pnl="0",
    )  # fmt: skip
    linear = position("ETHUSDT", "bybit-main", pool="USD")
    kinds = instrument("BTCUSD", "bybit", settle="BTC", contract_type="inverse", contract_ccy="USD")
    one.turn([kinds, balance(account="bybit-main", coins=coins, pools=(dollars,)), inverse, linear], 1_000)
    assert row(one, "positions", inverse.id)["initial_margin"] == pytest.approx(0.1), "its own is in its currency"
    assert pool(one, "USD", "bybit-main")["initial_margin"] == pytest.approx(6_000 + 22)


def work_of_a_row(positions: int) -> int:
    """Return how many functions are called for the row of an account of isolated positions."""
    one = engine()
    rows = (position(f"C{number}", margin_mode="isolated", isolated_cash="20") for number in range(positions))
    one.turn([balance(), *rows], 1_000)
    mine = one.accounts["okx-main"]
    held = [one.positions[row_id] for row_id in sorted(mine.positions)]
    calls = 0

    def called(_frame: FrameType, event: str, _arg: object) -> None:
        nonlocal calls
        calls += event == "call"

    sys.setprofile(called)
    try:
        found = account_row(mine, held, one.book)
    finally:
        sys.setprofile(None)
    assert found["positions"] == positions
    return calls


def test_the_work_of_a_row_grows_with_its_positions_and_no_faster() -> None:
    few, many = work_of_a_row(20), work_of_a_row(200)
    assert few < many <= 10 * few


def test_marks_move_an_equity_that_only_the_venue_states_and_repeated_messages_do_not() -> None:
    one, held = engine(), position()
    stated = balance(pools=(PoolState(pool="USDT", ccy="USDT", venue_equity="500"),))
    one.turn([stated, held], 1_000)
    one.turn([mark("115")], 2_000)
    assert pool(one)["equity"] == pytest.approx(510)
    one.turn([position(mark_price="115", fence=(2,))], 3_000)
    assert pool(one)["equity"] == pytest.approx(510), "no message of the pool came"
    one.turn([position(mark_price="116", fence=(3,)), mark("116", at=3_500)], 4_000)
    assert pool(one)["equity"] == pytest.approx(512), "a push that brings its mark loses nothing of it"
    one.turn([mark("115", at=4_500)], 4_500)
    one.turn([stated], 5_000)
    assert pool(one)["equity"] == pytest.approx(500), "the venue says it anew, at the present marks"


def test_what_is_opened_or_closed_between_two_statements_of_an_equity_changes_nothing_of_it() -> None:
    one, held = engine(), position()
    other = position("ETH-USDT-SWAP", mark_price="100")
    stated = balance(pools=(PoolState(pool="USDT", ccy="USDT", venue_equity="500"),))
    one.turn([stated], 1_000)
    one.turn([held], 1_100)
    assert pool(one)["equity"] == pytest.approx(500), "its profit was in that equity"
    one.turn([mark("115")], 2_000)
    one.turn([other], 3_000)
    assert pool(one)["equity"] == pytest.approx(510)
    one.turn([position(size="1", mark_price="115", fence=(2,))], 4_000)
    assert pool(one)["equity"] == pytest.approx(510), "half of the profit is realised now"
    one.turn([mark("120", at=5_000)], 5_000)
    assert pool(one)["equity"] == pytest.approx(515)
    one.turn([closed(held, (3,))], 6_000)
    assert pool(one)["equity"] == pytest.approx(515)


def solved(one: Engine, state: PositionState) -> tuple[str, float | None]:
    found = row(one, "positions", state.id)
    return found["liquidation_source"], found.get("liquidation_price")


def test_what_orders_hold_of_an_okx_account_is_in_its_equity_or_the_pool_is_not_solved() -> None:
    held = position(
        "ETH-USDT-SWAP", pool="USD", size="10", entry_price="3000", mark_price="3000", venue_liquidation_price="2324.4",
        liquidation_known="price", venue_maintenance_margin="300",
    )  # fmt: skip
    for holds, equity, price in ((None, 7_000, None), ("3000", 7_000, (30_000 - 7_000) / (10 * (1 - 0.0105)))):
        one = engine(promoted=CATALOG)
        dollars = PoolState(
            pool="USD", ccy="USD", from_coins=True, pnl_discounted=True, held=holds, equity_after_held=True,
            venue_equity="7000", order_margin="500",
        )  # fmt: skip
        coins = (coin("USDT", "10000", "1", discount="1"),)
        eth = instrument("ETH-USDT-SWAP", base="ETH", contract_ccy="ETH")
        one.turn([eth, balance(coins=coins, pools=(dollars,)), held], 1_000)
        one.clock(2_000)
        assert pool(one, "USD")["equity"] == pytest.approx(equity)
        assert pool(one, "USD")["ratio"] == pytest.approx(315 / equity)
        assert solved(one, held) == (("venue", 2_324.4) if price is None else ("model", pytest.approx(price)))
        assert ("liquidation_shock" in account(one)) == (price is not None)
        missing = ["order_holds", "liquidation_shock"] if price is None else []
        assert account(one).get("missing", []) == missing


def test_a_currency_of_which_orders_hold_an_unknown_part_has_no_ratio_of_ours() -> None:
    held = position("ETH-USDT-SWAP", size="10", entry_price="3000", mark_price="3000", venue_maintenance_margin="300")
    for holds, ratio in (("0", 315 / 4_000), ("3000", 315 / 1_000), (None, None)):
        one = engine()
        usdt = PoolState(pool="USDT", ccy="USDT", cash="4000", held=holds, order_margin="3000", venue_equity="4000")
        one.turn([balance("4000", pools=(usdt,)), held], 1_000)
        one.clock(2_000)
        assert pool(one).get("ratio") == (None if ratio is None else pytest.approx(ratio))
        assert ("not_covered" in account(one)) == (ratio is None)
        assert account(one)["equity"] == {"USDT": pytest.approx(4_000)}, (
            "what orders hold is the account's all the same"
        )


@pytest.mark.parametrize(("locked", "known"), [("0", True), ("25", False), (None, False)])
def test_a_bybit_wallet_without_a_free_balance_is_solved_where_no_order_locks_anything(
    locked: str | None, known: bool
) -> None:
    one, held = engine(), position("BTCUSDT", "bybit-main", pool="USD")
    dollars = PoolState(
        pool="USD", ccy="USD", cash="150", from_coins=True, held=None, venue_equity="170", available="0"
    )
    coins = (coin("USDT", "150", "1", locked=locked),)
    one.turn(
        [instrument("BTCUSDT", "bybit"), balance(account="bybit-main", coins=coins, pools=(dollars,)), held], 1_000
    )
    one.clock(2_000)
    assert (solved(one, held)[0] == "model") == known
    assert ("ratio" in pool(one, "USD", "bybit-main")) == known
    assert ("order_holds" in account(one, "bybit-main").get("missing", [])) != known


def portfolio_margin(venue_pool: PoolState, info: AccountInfo = OKX, **fields: Any) -> Engine:
    """An account whose mode no formula knows, with a position whose own margin says nothing of the pool's."""
    one = engine(info)
    held = position(
        account=info.name, pool=venue_pool.pool, size="1", entry_price="60000", mark_price="60000", **fields
    )
    mode = AccountMode(account=info.name, mode="portfolio margin", computable=False)
    one.turn([mode, balance("10000", info.name, pools=(venue_pool,), venue_at=900), held], 1_000)
    one.clock(2_000)
    return one


def test_portfolio_margin_keeps_the_venues_ratio_and_says_of_when() -> None:
    dollars = PoolState(
        pool="USD", ccy="USD", venue_equity="10000", venue_maintenance_margin="4000", venue_initial_margin="5000",
        venue_ratio="2.5", equity_after_held=True, held=None,
    )  # fmt: skip
    one = portfolio_margin(dollars)
    assert pool(one, "USD") == {
        "ccy": "USD", "equity": 10_000.0, "maintenance_margin": 4_000.0, "initial_margin": 5_000.0, "ratio": 0.4,
        "source": "venue", "anchor_at": 900,
    }  # fmt: skip
    assert (account(one)["margin_ratio"], account(one)["worst_pool"]) == (0.4, "USD")
    one.turn([mark("61000")], 3_000)
    assert (pool(one, "USD")["equity"], pool(one, "USD")["ratio"]) == (11_000.0, 0.4), (
        "marks move no figure of the venue's"
    )


@pytest.mark.parametrize(
    ("info", "said", "ratio"),
    [
        (OKX, {"venue_ratio": "2.5"}, 0.4),
        (OKX, {"venue_ratio": "0.0001"}, 1_000.0),
        (OKX, {"venue_ratio": "-1"}, 1_000.0),
        (BYBIT, {"venue_ratio": "0.9"}, 0.9),
        (HL, {"venue_ratio": "0.97", "liquidated_at": "0.95"}, 0.97 / 0.95),
        (ASTER, {"venue_equity": "1000", "venue_maintenance_margin": "250"}, 0.25),
        (ASTER, {"venue_equity": "1000"}, None),
    ],
)
def test_a_venues_ratio_is_turned_to_ours(info: AccountInfo, said: dict[str, str], ratio: float | None) -> None:
    one = portfolio_margin(PoolState(pool="P", ccy="USDC", **said), info, venue_maintenance_margin=None)  # type: ignore[arg-type]
    expected = None if ratio is None else pytest.approx(ratio)
    assert pool(one, "P", info.name).get("ratio") == expected
    assert account(one, info.name).get("margin_ratio") == expected


def test_with_a_written_option_a_pool_has_the_venues_ratio() -> None:
    one, held = engine(), position()
    usdt = PoolState(pool="USDT", ccy="USDT", cash="1000", venue_maintenance_margin="300", venue_ratio="3.2")
    one.turn([balance(pools=(usdt,), venue_at=900), held], 1_000)
    assert pool(one)["ratio"] == pytest.approx(1.21 / 1_020)
    assert "anchor_at" not in pool(one)
    one.turn([position("BTC-USD-261225-100000-C", kind="option", side="short", venue_value="-3")], 2_000)
    assert (pool(one)["ratio"], pool(one)["maintenance_margin"], pool(one)["anchor_at"]) == (1 / 3.2, 300.0, 900)


def test_an_isolated_position_without_tiers_has_the_ratio_that_its_own_message_states() -> None:
    one = engine()
    held = position(margin_mode="isolated", isolated_cash="20", venue_maintenance_margin=None, venue_margin_ratio="8")
    one.turn([balance(), held], 1_000)
    found = pool(one, f"iso:{held.id}")
    assert (found["ratio"], found["source"], found["anchor_at"]) == (0.125, "venue", 1_000)


def test_an_account_has_no_margin_ratio_while_a_pool_that_keeps_positions_has_none() -> None:
    one = engine(ASTER)
    known = position("BTCUSDT", ASTER.name, venue_maintenance_margin="1")
    vague = position("ETHUSDC", ASTER.name, pool="USDC", settle="USDC", venue_maintenance_margin=None)
    empty = PoolState(pool="BNB", ccy="BNB", venue_equity=None)
    pools = (PoolState(pool="USDT", ccy="USDT", cash="1000"), PoolState(pool="USDC", ccy="USDC", cash="100"), empty)
    brackets = MarginTiers(
        venue="aster", env="live", key="t", unit="notional",
        tiers=(MarginTier(lower="0", rate="0.005", deduction="0"),),
    )  # fmt: skip
    kinds = [instrument("BTCUSDT", "aster", tiers_key="t"), instrument("ETHUSDC", "aster", settle="USDC"), brackets]
    one.turn([*kinds, balance("1000", ASTER.name, pools=pools), known], 1_000)
    one.clock(2_000)
    found = account(one, ASTER.name)
    assert (found["margin_ratio"], found["worst_pool"]) == (pytest.approx(1.1 / 1_020), "USDT"), (
        "an empty pool is no matter"
    )
    assert "missing" not in found
    one.turn([vague], 3_000)
    one.clock(4_000)
    found = account(one, ASTER.name)
    assert found["pools"]["USDT"]["ratio"] == pytest.approx(1.1 / 1_020)
    assert found.keys().isdisjoint({"margin_ratio", "worst_pool"})
    assert found["missing"] == ["margin_ratio", "liquidation_shock"]
