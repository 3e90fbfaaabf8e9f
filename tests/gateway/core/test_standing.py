"""Accounts as a whole: keys, what was given to them, whether they can be asked, warnings, and prices of currencies."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchanges.events import (
    AccountMode,
    CoinBalance,
    CurrencyPrice,
    FundingRate,
    KeyInfo,
    LiquidationWarning,
    PoolState,
    VerificationFailed,
    Verified,
)
from gateway.core.accounts import AccountInfo
from gateway.core.currencies import Currencies
from tests.gateway.events_of import BYBIT, OKX, balance, engine, feed, instrument, mark, position, row, rows, snapshot

BTC = position()


def usd(ccy: str, price: str, venue: str = "okx", env: str = "live") -> CurrencyPrice:
    return CurrencyPrice(venue=venue, env=env, ccy=ccy, usd=price)


# --- keys ----------------------------------------------------------------------------------------------------------------


def test_what_a_key_may_do_is_shown_and_two_accounts_of_one_owner_say_so() -> None:
    other = AccountInfo(name="okx-two", venue="okx", env="live")
    one = engine(OKX, BYBIT, other)
    one.turn([KeyInfo(account="okx-main", powers=(), owner="77", label="desk", expires_at=9_000, ip_bound=True)], 1_000)
    one.turn([KeyInfo(account="bybit-main", powers=(), owner="77")], 1_000)
    found = row(one, "accounts", "okx-main")
    assert found["permissions"] == {"powers": [], "expires_at": 9_000, "ip_bound": True, "label": "desk", "owner": "77"}
    assert "same_owner_as" not in found, "another venue"
    one.turn([KeyInfo(account="okx-two", powers=("trade",), owner="77")], 2_000)
    assert row(one, "accounts", "okx-main")["same_owner_as"] == ["okx-two"]
    assert row(one, "accounts", "okx-two")["same_owner_as"] == ["okx-main"]
    one.turn([KeyInfo(account="okx-two", powers=(), owner="78")], 3_000)
    assert "same_owner_as" not in row(one, "accounts", "okx-main")
    assert "same_owner_as" not in row(one, "accounts", "bybit-main")


# --- what was given ------------------------------------------------------------------------------------------------------


def test_what_the_account_holds_beyond_what_it_was_given_and_a_shortfall_once_per_occurrence() -> None:
    one = engine(AccountInfo(name="okx-main", venue="okx", env="live", allocated={"USDT": "5000.10"}))
    assert "unallocated" not in row(one, "accounts", "okx-main"), "nothing is known yet"
    one.turn([balance("6000.30")], 1_000)
    assert row(one, "accounts", "okx-main")["unallocated"] == {"USDT": "1000.20"}
    one.turn([balance("4999.10")], 2_000)
    one.turn([balance("4998.10")], 3_000)
    assert row(one, "accounts", "okx-main")["unallocated"] == {"USDT": "-2.00"}
    found = rows(one, "reconciliations")
    assert [(record["class"], record["before"], record["after"]) for record in found] == [
        ("allocation", {"allocated": "5000.10", "ccy": "USDT"}, {"available": "4999.10", "ccy": "USDT"})
    ]
    one.turn([balance("5000.10")], 4_000)
    one.turn([balance("1")], 5_000)
    assert len(rows(one, "reconciliations")) == 2


@given(given_=st.decimals("0", "1e9", places=6), held=st.decimals("0", "1e9", places=6))
def test_allocation_is_exact(given_: Decimal, held: Decimal) -> None:
    one = engine(AccountInfo(name="okx-main", venue="okx", env="live", allocated={"USDT": str(given_)}))
    one.turn([balance(str(held))], 1_000)
    assert Decimal(row(one, "accounts", "okx-main")["unallocated"]["USDT"]) == held - given_
    assert len(rows(one, "reconciliations")) == (held < given_)


# --- executions ------------------------------------------------------------------------------------------------------------


def test_executions_never_mix() -> None:
    paper = AccountInfo(name="paper", venue="okx", env="live", user="ann", execution="paper")
    one = engine(OKX, paper)
    one.turn([BTC, balance(), position(account="paper", size="50"), balance(account="paper")], 1_000)
    one.clock(2_000)
    assert row(one, "summary", "ann")["total_positions"] == 1
    assert row(one, "summary", "ann:paper")["total_positions"] == 1
    assert row(one, "positions", BTC.id)["weight"] == 1.0
    assert row(one, "accounts", "paper")["execution"] == "paper"
    assert row(one, "positions", position(account="paper").id)["execution"] == "paper"


def test_what_no_model_computes_is_named() -> None:
    one = engine()
    event = position("POLY-YES", kind="event")
    one.turn([BTC, event], 1_000)
    assert row(one, "accounts", "okx-main")["partly_modelled"] == [event.id]
    one.turn([AccountMode(account="okx-main", mode="portfolio margin", computable=False)], 2_000)
    assert row(one, "accounts", "okx-main")["partly_modelled"] == sorted([BTC.id, event.id])


# --- verification ------------------------------------------------------------------------------------------------------------


def test_an_account_out_of_reach_says_so_unless_its_stream_vouches() -> None:
    one = engine()
    one.turn([BTC, mark("110"), Verified(account="okx-main", asked_at=1_000)], 1_100)
    assert row(one, "accounts", "okx-main")["verified_at"] == 1_000
    one.turn([VerificationFailed(account="okx-main", at=10_000, error="503")], 10_000)
    one.turn([VerificationFailed(account="okx-main", at=20_000, error="503")], 20_000)
    one.turn([mark("110")], 40_000)
    one.clock(40_000)
    assert "stale" not in row(one, "positions", BTC.id)
    one.clock(40_001)
    assert row(one, "positions", BTC.id)["stale"] == {"since": 10_000, "reason": "venue_unreachable"}
    assert row(one, "accounts", "okx-main")["stale"]["reason"] == "venue_unreachable"
    one.turn([feed("live")], 41_000)
    one.clock(42_000)
    assert "stale" not in row(one, "positions", BTC.id)
    one.turn([feed("down")], 43_000)
    one.clock(44_000)
    assert row(one, "positions", BTC.id)["stale"]["reason"] == "venue_unreachable"
    one.turn([Verified(account="okx-main", asked_at=45_000), feed("live")], 45_100)
    assert "stale" not in row(one, "positions", BTC.id)
    assert one.counters["verification_failed"] == 2


def test_a_polled_account_says_how_old_its_figures_are() -> None:
    one = engine()
    one.turn(
        [feed("live", polled=True), snapshot(BTC, asked_at=1_000), Verified(account="okx-main", asked_at=1_000)], 1_100
    )
    assert row(one, "feeds", "okx-main:private")["polled"] is True
    assert row(one, "positions", BTC.id)["stale"] == {"since": 1_000, "reason": "polled"}
    one.turn([snapshot(BTC, asked_at=9_000), Verified(account="okx-main", asked_at=9_000)], 9_100)
    assert row(one, "positions", BTC.id)["stale"] == {"since": 9_000, "reason": "polled"}
    one.turn([snapshot(asked_at=19_000), Verified(account="okx-main", asked_at=19_000)], 19_100)
    assert [record["trigger"] for record in rows(one, "reconciliations")] == ["timer"], "no stream to wait for"


def test_one_of_two_private_connections_that_is_down_makes_the_account_blind() -> None:
    one = engine()
    second = feed("down", connection="business", id="okx-main:business")
    one.turn([BTC, feed("live"), second], 1_000)
    assert row(one, "positions", BTC.id)["stale"] == {"since": 1_000, "reason": "private_feed"}
    one.turn([feed("live"), feed("live", connection="business", id="okx-main:business")], 2_000)
    assert "stale" not in row(one, "positions", BTC.id)


# --- warnings and funding ------------------------------------------------------------------------------------------------------


def test_a_liquidation_warning_stays_for_ten_minutes() -> None:
    one = engine()
    other = position("ETH-USDT-SWAP")
    one.turn(
        [BTC, other, LiquidationWarning(account="okx-main", what="mgnRatio 1.1", at=5_000, symbol=BTC.symbol)], 5_100
    )
    assert row(one, "positions", BTC.id)["venue_warning"] == {"what": "mgnRatio 1.1", "at": 5_000}
    assert "venue_warning" not in row(one, "positions", other.id)
    one.turn([LiquidationWarning(account="okx-main", what="account", at=6_000)], 6_100)
    assert row(one, "accounts", "okx-main")["venue_warning"] == {"what": "account", "at": 6_000}
    one.clock(605_000)
    assert "venue_warning" in row(one, "positions", BTC.id)
    one.clock(606_001)
    assert "venue_warning" not in row(one, "positions", BTC.id)
    assert "venue_warning" not in row(one, "accounts", "okx-main")


@pytest.mark.parametrize(("side", "amount"), [("long", -0.022), ("short", 0.022)])
def test_the_next_funding_is_paid_by_longs_and_received_by_shorts(side: str, amount: float) -> None:
    one = engine()
    held = position(side=side)
    one.turn(
        [instrument(), held, FundingRate(venue="okx", env="live", symbol=held.symbol, rate="0.0001", next_at=9_000)],
        1_000,
    )
    assert "funding_rate" not in row(one, "positions", held.id), "slow figures come with the clock"
    one.clock(2_000)
    found = row(one, "positions", held.id)
    assert (found["funding_rate"], found["next_funding_at"]) == (0.0001, 9_000)
    assert found["next_funding"] == pytest.approx(amount)
    one.clock(3_000)
    seq = one.tables.seq
    assert not one.clock(4_000)
    assert one.tables.seq == seq


# --- currencies ------------------------------------------------------------------------------------------------------------------


def test_which_price_of_a_currency_goes_first() -> None:
    prices = Currencies()
    assert prices.price("okx", "live", "USDT", None) == (1.0, "assumed", None)
    assert prices.price("okx", "live", "USD", None) == (1.0, "par", None)
    assert prices.price("okx", "live", "BTC", None)[0] != prices.price("okx", "live", "BTC", None)[0], "unknown"
    prices.put(usd("USDT", "0.999", "bybit"), 1_500)
    assert prices.price("okx", "live", "USDT", None) == (1.0, "assumed", None), "it counts from the next clock on"
    assert prices.moved() == {"USDT"}
    assert prices.price("okx", "live", "USDT", None) == (0.999, "bybit", 1_500)
    assert prices.price("okx", "demo", "USDT", None) == (1.0, "assumed", None), "environments never mix"
    assert prices.price("okx", "live", "USDT", 0.998, 7) == (0.998, "account", 7)
    prices.put(usd("USDT", "0.997"), 1_500)
    prices.moved()
    assert prices.price("okx", "live", "USDT", 0.998) == (0.997, "index", 1_500)
    prices.put(usd("USDT", "0.9970000001"))
    assert prices.moved() == set(), "a hair"


def test_an_account_says_what_its_currencies_are_worth_by_whom_and_of_when() -> None:
    one = engine()
    coins = tuple(CoinBalance(ccy=ccy, total="1", cash="1") for ccy in ("USD", "USDT", "USDC", "SHIB"))
    stated = CoinBalance(ccy="ETH", total="1", cash="1", usd_price="1800")
    one.turn([balance(coins=(*coins, stated), venue_at=70_000), usd("USDT", "0.999")], 130_000)
    one.clock(131_000)
    assert row(one, "accounts", "okx-main")["rates"] == {
        "USDT": {"usd": 0.999, "source": "index", "at": 120_000},
        "USDC": {"usd": 1.0, "source": "assumed"},
        "ETH": {"usd": 1800.0, "source": "account", "at": 60_000},
    }


def test_a_pool_whose_equity_is_gone_is_the_worst() -> None:
    one = engine()
    isolated = position("ETH-USDT-SWAP", margin_mode="isolated", isolated_cash="100")
    one.turn([balance("-30"), position(), isolated], 1_000)
    account = row(one, "accounts", "okx-main")
    assert account["pools"]["USDT"]["equity"] == -10.0
    assert (account["worst_pool"], account["margin_ratio"]) == ("USDT", 1000.0)


def test_equity_moves_with_the_price_of_its_coins() -> None:
    one = engine()
    coins = (CoinBalance(ccy="USDT", total="1000", cash="1000"), CoinBalance(ccy="ETH", total="2", cash="2"))
    one.turn([balance(coins=coins, pools=())], 1_000)
    found = row(one, "accounts", "okx-main")
    assert (found["equity_usd"], found["assumed_dollars"], found["unpriced"]) == (1000.0, ["USDT"], ["ETH"])
    assert one.market.wanted_currencies() == {("okx", "live"): {"ETH", "USDT"}}
    one.turn([usd("USDT", "0.99"), usd("ETH", "2000")], 2_000)
    one.clock(3_000)
    found = row(one, "accounts", "okx-main")
    assert found["equity_usd"] == pytest.approx(4990.0)
    assert not {"assumed_dollars", "unpriced"} & set(found)
    one.turn([BTC], 4_000)
    assert row(one, "positions", BTC.id)["unrealized_pnl_usd"] == pytest.approx(20 * 0.99)
    one.turn([usd("USDT", "1.01")], 5_000)
    one.clock(6_000)
    assert row(one, "positions", BTC.id)["unrealized_pnl_usd"] == pytest.approx(20 * 1.01)


def bybit_pool(cash: str) -> tuple[PoolState, ...]:
    return (PoolState(pool="USD", ccy="USD", cash=cash),)


def test_a_pool_in_dollars_moves_with_its_coins_where_they_make_it_up() -> None:
    one = engine(promoted=["bybit_cross"])
    held = position("BTCUSDT", "bybit-main", pool="USD", size="50")
    coins = (
        CoinBalance(ccy="USDT", total="1000", cash="1000", usd_price="1"),
        CoinBalance(ccy="ETH", total="1", cash="1", usd_price="2000", discount="1"),
        CoinBalance(ccy="SHIB", total="9", cash="9", usd_price="50", collateral=False),
    )
    said = balance(account="bybit-main", coins=coins, pools=bybit_pool("3000"))
    one.turn([instrument("BTCUSDT", "bybit"), said, held], 1_000)
    pool = row(one, "accounts", "bybit-main")["pools"]["USD"]
    assert pool["equity"] == pytest.approx(3500.0)
    one.turn([usd("ETH", "1900", "bybit"), usd("USDT", "0.9", "bybit")], 2_000)
    one.clock(3_000)
    pool = row(one, "accounts", "bybit-main")["pools"]["USD"]
    assert pool["equity"] == pytest.approx(900 + 1900 + 500 * 0.9)
    fresh = engine(promoted=["bybit_cross"])
    fresh.turn([usd("ETH", "1900", "bybit"), usd("USDT", "0.9", "bybit")], 500)
    fresh.clock(600)
    fresh.turn([instrument("BTCUSDT", "bybit"), said, held], 1_000)
    fresh.clock(3_000)
    assert row(fresh, "accounts", "bybit-main") == row(one, "accounts", "bybit-main"), "whichever came first"
    for figure in ("liquidation_price", "liquidation_distance", "maintenance_margin"):
        assert row(fresh, "positions", held.id)[figure] == pytest.approx(row(one, "positions", held.id)[figure])


def test_a_coins_price_counts_in_the_turn_that_it_arrives_in_wherever_it_backs_or_settles() -> None:
    one = engine(promoted=["bybit_cross"])
    held = position("BTCUSDT", "bybit-main", pool="USD", size="1", entry_price="100", mark_price="100")
    inverse = position(
        "BTCUSD", "bybit-main", pool="USD", settle="BTC", contract_type="inverse", size="200", entry_price="100",
        mark_price="125", venue_unrealized_pnl="0.4",
    )  # fmt: skip
    coins = (
        CoinBalance(ccy="USDT", total="100", cash="100", usd_price="1"),
        CoinBalance(ccy="BTC", total="2", cash="2", usd_price="100", discount="1"),
    )
    said = balance(account="bybit-main", coins=coins, pools=bybit_pool("300"))
    contracts = [
        instrument("BTCUSDT", "bybit"),
        instrument("BTCUSD", "bybit", settle="BTC", contract_type="inverse", contract_ccy="USD"),
    ]
    one.turn([*contracts, usd("BTC", "100", "bybit"), said, held, inverse], 1_000)
    one.clock(1_500)

    def equity() -> float:
        return float(row(one, "accounts", "bybit-main")["pools"]["USD"]["equity"])

    assert equity() == pytest.approx(100 + 2 * 100 + 0.4 * 100)
    one.turn([usd("BTC", "125", "bybit"), mark("125", "BTCUSDT", "bybit")], 2_000)
    assert equity() == pytest.approx(100 + 2 * 125 + 25 + 0.4 * 125)
    shown = row(one, "positions", held.id), row(one, "positions", inverse.id)
    one.clock(2_500)
    now = row(one, "positions", held.id), row(one, "positions", inverse.id)
    for figure in ("liquidation_price", "liquidation_distance"):
        assert [it.get(figure) for it in shown] == [it.get(figure) for it in now], "the clock finds nothing else"


def test_a_pool_in_dollars_whose_composition_is_not_known_keeps_the_venues_balance() -> None:
    one = engine()
    coins = (CoinBalance(ccy="ETH", total="1", cash="1", usd_price="2000"),)
    one.turn([balance(account="bybit-main", coins=coins, pools=bybit_pool("2500"))], 1_000)
    one.turn([usd("ETH", "1000", "bybit")], 2_000)
    one.clock(3_000)
    assert row(one, "accounts", "bybit-main")["pools"]["USD"]["equity"] == pytest.approx(2500.0)


def test_marks_and_prices_move_together() -> None:
    one = engine()
    held = position("BTCUSDT", "bybit-main", pool="USD")
    said = balance(account="bybit-main", pools=bybit_pool("1000"))
    one.turn([instrument("BTCUSDT", "bybit"), said, held, usd("USDT", "0.5", "bybit")], 1_000)
    one.clock(2_000)
    one.turn([mark("120", "BTCUSDT", "bybit")], 3_000)
    assert row(one, "accounts", "bybit-main")["pools"]["USD"]["equity"] == pytest.approx(500 + 40 * 0.5)
