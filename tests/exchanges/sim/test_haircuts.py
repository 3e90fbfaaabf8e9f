"""What coins count as collateral: steps by amount, debts whole, what is switched off not at all; and whom it liquidates."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchanges.sim import bybit_figures, bybit_market, okx_figures
from exchanges.sim.catalog import VENUES, VenueName
from exchanges.sim.exact import plain
from exchanges.sim.haircuts import HAIRCUTS, amount_for, counted, steps_of
from exchanges.sim.revalue import Pool
from exchanges.sim.world import World

BEGIN = 1_790_000_000_000
COINS = [(venue, ccy) for venue in VENUES for ccy in (*HAIRCUTS[venue], "USDT", "SOL")]
AMOUNTS = st.decimals(min_value=0, max_value=3_000, places=6)


def dollar_pool(world: World, account: str) -> Pool:
    return next(pool for pool in world.pools(world.account(account)) if pool.name == "USD")


def test_each_step_counts_for_what_lies_in_it() -> None:
    assert counted("okx", "BTC", Decimal("0.1")) == Decimal("0.098")
    assert counted("okx", "BTC", Decimal("0.3")) == Decimal("0.098") + Decimal("0.2") * Decimal("0.95")
    assert counted("okx", "BTC", Decimal(1000)) == counted("okx", "BTC", Decimal(100)), "beyond the last nothing counts"
    assert counted("okx", "BTC", Decimal(-2)) == -2
    assert counted("bybit", "USDT", Decimal(7)) == 7


@given(st.sampled_from(COINS), AMOUNTS, AMOUNTS)
def test_more_counts_for_more_and_never_for_more_than_it_is(
    coin: tuple[VenueName, str], one: Decimal, other: Decimal
) -> None:
    less, more = sorted((one, other))
    assert counted(*coin, less) <= counted(*coin, more)
    assert counted(*coin, more) - counted(*coin, less) <= more - less


@given(st.sampled_from(COINS), AMOUNTS)
def test_the_amount_for_a_value_is_the_least_that_counts_so_much(coin: tuple[VenueName, str], amount: Decimal) -> None:
    found = amount_for(*coin, counted(*coin, amount))
    assert found <= amount + Decimal("1e-20")
    assert abs(counted(*coin, found) - counted(*coin, amount)) < Decimal("1e-20")


def test_no_amount_counts_for_more_than_the_last_step_gives() -> None:
    assert amount_for("okx", "BTC", counted("okx", "BTC", Decimal(100)) + 1) == Decimal("Infinity")
    assert amount_for("okx", "BTC", Decimal(-3)) == -3


@pytest.mark.parametrize("account", ["okx-hedge", "bybit-main", "aster-multi"])
def test_the_haircut_of_an_accounts_coin_is_part_of_its_pool(account: str) -> None:
    world = World(1, BEGIN)
    owner = world.account(account)
    before = dollar_pool(world, account).equity
    btc = owner.cash["BTC"]
    assert counted(owner.venue, "BTC", btc) < btc * steps_of(owner.venue, "BTC")[0][1] or owner.venue == "aster"
    owner.cash["BTC"] = btc + 1
    gained = dollar_pool(world, account).equity - before
    assert Decimal("0.8") < gained / world.usd("BTC") < Decimal("0.96")
    owner.cash["BTC"] = btc
    owner.idle.add("BTC")
    assert dollar_pool(world, account).equity < before


def test_okx_discounts_profit_in_a_coin_and_bybit_does_not() -> None:
    for account, symbol in (("okx-hedge", "BTC-USD-SWAP"), ("bybit-main", "BTCUSD")):
        world = World(1, BEGIN)
        owner = world.account(account)
        for position in world.positions(account):
            if position.symbol != "BTCUSD":
                owner.positions.pop(position.key)
        if account == "okx-hedge":
            world.hands.open_position(account, symbol, "long", Decimal(50))
        (position,) = world.positions(account)
        owner.cash["BTC"] = Decimal(2)
        pool = dollar_pool(world, account)
        upl, usd = world.unrealized_pnl(position), world.usd("BTC")
        rest = sum((cash * world.usd(ccy) for ccy, cash in owner.cash.items() if ccy != "BTC"), Decimal(0))
        coins = (pool.equity - rest) / usd
        if account == "okx-hedge":
            assert abs(coins - counted("okx", "BTC", 2 + upl)) < Decimal("1e-15")
        else:
            assert abs(coins - counted("bybit", "BTC", Decimal(2)) - upl) < Decimal("1e-15")


def test_a_haircut_liquidates() -> None:
    world = World(1, BEGIN)
    owner = world.account("bybit-main")
    owner.cash = {"USDT": Decimal(0), "USDC": Decimal(0), "BTC": Decimal(0)}
    needed = dollar_pool(world, "bybit-main")
    value = (needed.requirement - needed.equity) / world.usd("BTC")
    owner.cash["BTC"] = amount_for("bybit", "BTC", value) + Decimal("0.0001")
    world.liquidate_due()
    assert any(p.mode == "cross" for p in world.positions("bybit-main")), "there is just enough"
    owner.cash["BTC"] -= Decimal("0.0002")
    assert owner.cash["BTC"] > value, "and without a haircut there would be now"
    world.liquidate_due()
    assert not world.positions("bybit-main")


def test_bybits_wallet_balance_is_after_haircuts_and_its_equity_before() -> None:
    world = World(1, BEGIN)
    owner = world.account("bybit-main")
    row = bybit_figures.wallet_row(world, owner, list(owner.cash))
    counts = sum((counted("bybit", ccy, cash) * world.usd(ccy) for ccy, cash in owner.cash.items()), Decimal(0))
    whole = sum((cash * world.usd(ccy) for ccy, cash in owner.cash.items()), Decimal(0))
    assert abs(Decimal(row["totalWalletBalance"]) - counts) < Decimal("1e-7")
    assert Decimal(row["totalEquity"]) - Decimal(row["totalPerpUPL"]) >= whole - Decimal("1e-7")
    margin = Decimal(row["totalMarginBalance"])
    assert abs(margin - counts - Decimal(row["totalPerpUPL"])) < Decimal("1e-7")
    free = Decimal(row["totalAvailableBalance"]) + Decimal(row["totalInitialMargin"])
    assert abs(margin - free) < Decimal("1e-7"), "no spot orders, no haircut of theirs"
    owner.idle.add("BTC")
    told = {
        coin["coin"]: coin["collateralSwitch"]
        for coin in bybit_figures.wallet_row(world, owner, ["BTC", "USDT"])["coin"]
    }
    assert told == {"BTC": False, "USDT": True}


def okx_coin(world: World, account: str, ccy: str) -> dict[str, Any]:
    details = okx_figures.account_row(world, world.account(account))["details"]
    return next(coin for coin in details if coin["ccy"] == ccy)


def test_okx_tells_what_of_a_currency_counts() -> None:
    world = World(1, BEGIN)
    btc = okx_coin(world, "okx-hedge", "BTC")
    assert btc["collateralEnabled"] is True
    share = Decimal(btc["disEq"]) / Decimal(btc["eqUsd"])
    assert Decimal("0.95") < share < Decimal("0.98"), "its amount reaches into the second step"
    world.account("okx-hedge").idle.add("BTC")
    btc = okx_coin(world, "okx-hedge", "BTC")
    assert (btc["collateralEnabled"], btc["disEq"]) == (False, "0")


def test_what_counts_of_a_currency_at_okx_is_told_of_its_isolated_positions_too() -> None:
    """``disEq`` is a share of ``eqUsd``, and of ``isoEq`` where the currency is switched off: as captured answers have it."""
    world = World(1, BEGIN)
    usdt = okx_coin(world, "okx-hedge", "USDT")
    assert Decimal(usdt["isoEq"]) > 0
    assert usdt["disEq"] == usdt["eqUsd"], "USDT counts whole"
    world.account("okx-hedge").idle.add("USDT")
    usdt = okx_coin(world, "okx-hedge", "USDT")
    isolated = Decimal(usdt["isoEq"]) * Decimal(usdt["coinUsdPrice"])
    assert abs(Decimal(usdt["disEq"]) - isolated) < Decimal("1e-12")


@pytest.mark.parametrize("coin", ["BTC", "USDT"])
def test_bybits_table_is_the_one_it_reckons_with(coin: str) -> None:
    row = bybit_market.collateral_row(coin)
    tiers = row["collateralRatioList"]
    assert [(tier["minQty"], tier["collateralRatio"]) for tier in tiers] == [
        (plain(lower), plain(rate)) for lower, rate in steps_of("bybit", coin)
    ]
    assert [tier["maxQty"] for tier in tiers] == [*(tier["minQty"] for tier in tiers[1:]), ""]
