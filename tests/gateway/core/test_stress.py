"""What a move of the market does to accounts, against sums made by hand and against the book step by step."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exchanges.events import AccountMode, CoinBalance, CollateralTier, CollateralTiers, CurrencyPrice, PoolState
from gateway.core.columns import Bases
from gateway.core.stress import StressSettings, factors, moves, walk
from gateway.engine import Engine
from tests.gateway.events_of import BYBIT, DEMO, OKX, balance, engine, instrument, mark, position, row


def ladder(one: Engine, summary: str = "ann") -> dict[str, Any]:
    one.clock(9_000)
    found: dict[str, Any] = row(one, "summary", summary)["stress"]
    return found


def test_every_underlying_moves_by_its_beta_and_money_does_not() -> None:
    bases = Bases()
    for name, fixed in (("BTC", False), ("USDT", True), ("DOGE", False)):
        bases.number(name, fixed=fixed)
    assert moves(bases).tolist() == [1.0, 0.0, 1.0]
    assert moves(bases, betas={"DOGE": 1.5, "USDT": 2.0, "NONE": 3.0}).tolist() == [1.0, 0.0, 1.5]
    assert moves(bases, only=["BTC", "NONE"], betas={"DOGE": 1.5}).tolist() == [1.0, 0.0, 0.0]
    assert factors(-0.8 * moves(bases, betas={"DOGE": 1.5})).tolist() == pytest.approx([0.2, 1.0, 1e-6]), (
        "no price is 0"
    )


def test_equity_and_ratio_follow_the_move_until_a_pool_is_spent() -> None:
    """A long of 2 coins from 100, at 110, with 60 of cash: equity 80, maintenance 0.55 % of the notional."""
    one = engine(OKX)
    one.turn([instrument(), balance("60"), position()], 1_000)
    found = ladder(one)
    assert list(found) == ["-50", "-40", "-30", "-20", "-10", "-5", "0", "5", "10", "20", "30", "40", "50"]
    assert found["0"] == {
        "equity_usd": 80.0,
        "margin_ratio": pytest.approx(1.21 / 80, abs=1e-4),
        "liquidated": [],
        "not_covered": [],
    }
    assert found["-30"]["equity_usd"] == 80 - 66
    assert found["-30"]["margin_ratio"] == pytest.approx(0.7 * 1.21 / 14, abs=1e-4)
    assert found["50"]["equity_usd"] == 80 + 110
    # 220 k - 140 = 1.21 k: k = 0.6399
    assert found["-40"] == {"equity_usd": 0.0, "margin_ratio": 1.0, "liquidated": ["okx-main"], "not_covered": []}
    assert found["-50"] == found["-40"], "what is liquidated cannot lose more"
    assert row(one, "accounts", "okx-main")["liquidation_shock"] == pytest.approx(140 / (220 - 1.21) - 1, abs=1e-4)


def test_a_hedge_across_venues_is_none_once_one_leg_is_liquidated() -> None:
    one = engine(OKX, BYBIT)
    short = position("BTCUSDT", "bybit-main", side="short", entry_price="110", pool="USDT")
    one.turn(
        [
            instrument(),
            instrument("BTCUSDT", "bybit"),
            balance("1000"),
            balance("50", account="bybit-main"),
            position(entry_price="110"),
            short,
        ],
        1_000,
    )
    found = ladder(one)
    assert row(one, "summary", "ann")["net_exposure"] == {"BTC": 0.0}
    assert row(one, "summary", "ann")["gross_exposure"] == {"BTC": 440.0}
    assert {found[step]["equity_usd"] for step in ("-50", "-10", "0", "20")} == {1050.0}, "hedged"
    assert found["30"]["liquidated"] == ["bybit-main"]
    assert found["30"]["equity_usd"] == 1000 + 66, "the long's profit alone"


def test_accounts_are_liquidated_in_the_order_in_which_they_are_met() -> None:
    one = engine(BYBIT, OKX)
    near = position("BTCUSDT", "bybit-main", entry_price="110", pool="USDT")
    one.turn(
        [instrument(), instrument("BTCUSDT", "bybit"), balance("29"), balance("27", account="bybit-main"), near], 1_000
    )
    one.turn([position(entry_price="110")], 1_000)
    found = ladder(one)
    # both between -10 % and -20 %
    assert found["-10"]["liquidated"] == []
    assert found["-20"]["liquidated"] == ["bybit-main", "okx-main"]
    one.turn([balance("25")], 9_500)
    assert ladder(one)["-20"]["liquidated"] == ["okx-main", "bybit-main"]


def test_coins_that_back_nothing_move_with_their_price_and_money_stays() -> None:
    one = engine(OKX)
    coins = (
        CoinBalance(ccy="USDT", total="100", cash="100", usd_price="1"),
        CoinBalance(ccy="ETH", total="0.1", cash="0.1", usd_price="2000"),
    )
    one.turn([balance(coins=coins)], 1_000)
    found = ladder(one)
    assert found["-50"]["equity_usd"] == 200.0
    assert found["10"]["equity_usd"] == 320.0
    assert "margin_ratio" not in found["0"], "nothing is held that could be liquidated"
    assert "liquidation_shock" not in row(one, "accounts", "okx-main")
    assert "missing" not in row(one, "accounts", "okx-main")


@pytest.mark.parametrize(
    ("events", "why"),
    [
        (
            [AccountMode(account="okx-main", mode="portfolio", computable=False)],
            "its mode (portfolio) cannot be computed",
        ),
        ([position("BTC-OPT", kind="option", side="short")], "no formula revalues okx-main:BTC-OPT:short"),
        ([position("ETH-USDT-SWAP", mark_price=None)], "equity or maintenance of its pool USDT is not known"),
        (
            [balance(pools=(PoolState(pool="USDT", ccy="USDT", venue_equity="1000"),))],
            "what backs its pool USDT is not known",
        ),
    ],
)
def test_what_cannot_be_said_is_not_covered_and_never_survives(events: list[Any], why: str) -> None:
    one = engine(OKX, BYBIT)
    other = position("BTCUSDT", "bybit-main", pool="USDT")
    one.turn(
        [instrument(), balance(), position(), instrument("BTCUSDT", "bybit"), balance(account="bybit-main"), other],
        1_000,
    )
    one.turn(events, 2_000)
    found = ladder(one)
    assert {step["equity_usd"] for step in (found["0"],)} == {1020.0}, "the other account alone"
    assert all(step["not_covered"] == ["okx-main"] and "okx-main" not in step["liquidated"] for step in found.values())
    account = row(one, "accounts", "okx-main")
    assert account["not_covered"] == why
    assert "liquidation_shock" in account["missing"]
    assert ("margin_ratio" in account) != ("margin_ratio" in account["missing"])


def backed_by_a_coin(*haircut: CollateralTiers) -> Engine:
    """Return an account that holds a bitcoin at 60,000, of which 0.8 count, and 40 ETH long at 3,000; maintenance 0.5 %."""
    one = engine(BYBIT)
    coin = CoinBalance(ccy="BTC", total="1", cash="1", usd_price="60000")
    pool = PoolState(pool="USD", ccy="USD", cash="48000", from_coins=True)
    held = position("ETHUSDT", "bybit-main", size="40", entry_price="3000", mark_price="3000", pool="USD")
    bitcoin = instrument("BTCUSDT", "bybit")
    one.turn([instrument("ETHUSDT", "bybit", base="ETH"), bitcoin, *haircut], 500)
    one.turn([balance(account="bybit-main", coins=(coin,), pools=(pool,)), held], 1_000)
    one.clock(2_000)
    return one


COUNTS = CollateralTiers(venue="bybit", env="live", ccy="BTC", tiers=(CollateralTier(lower="0", rate="0.8"),))


def test_an_account_whose_collateral_is_not_known_does_not_survive_with_it_standing_still() -> None:
    one = backed_by_a_coin()
    found = ladder(one)
    assert {tuple(step["not_covered"]) for step in found.values()} == {("bybit-main",)}
    assert not any("equity_usd" in step or step["liquidated"] for step in found.values())
    account = row(one, "accounts", "bybit-main")
    assert account["not_covered"] == "what backs its pool USD is not known"
    assert "liquidation_shock" not in account
    one.turn([COUNTS], 10_000)  # now it is known how much counts
    assert ladder(one)["-30"]["liquidated"] == ["bybit-main"]
    # 48,000 k + 120,000 (k - 1) = 600 k
    assert row(one, "accounts", "bybit-main")["liquidation_shock"] == pytest.approx(120_000 / 167_400 - 1, abs=1e-4)


def test_of_a_liquidated_pool_the_haircuts_are_not_left_either() -> None:
    one = backed_by_a_coin(COUNTS)
    one.turn([balance("70", "bybit-main", scope="other", pools=())], 3_000)  # backs nothing: it stays
    found = ladder(one)
    assert found["-20"] == {"equity_usd": 24_070.0, "margin_ratio": 0.0333, "liquidated": [], "not_covered": []}
    assert [found[step]["equity_usd"] for step in ("-30", "-40", "-50")] == [70.0, 70.0, 70.0]
    assert found["-30"]["liquidated"] == ["bybit-main"]


@settings(max_examples=40)
@given(st.integers(1, 100), st.integers(-30, 90), st.integers(1, 60), st.booleans(), st.booleans())
def test_what_is_liquidated_whole_is_worth_nothing(rate: int, profit: int, eth: int, okx: bool, rising: bool) -> None:
    """Collateral with a haircut, profit in it that is cut with it or not, and a position that is large enough to end it."""
    venue, info = ("okx", OKX) if okx else ("bybit", BYBIT)
    coin = CoinBalance(ccy="BTC", total="1", cash="1", usd_price="60000", discount=str(rate / 100))
    pool = PoolState(pool="USD", ccy="USD", from_coins=True, pnl_discounted=okx)
    inverse: dict[str, Any] = {"contract_type": "inverse", "settle": "BTC"}
    one = engine(info)
    one.turn(
        [instrument("BTCUSD", venue, contract_ccy="USD", **inverse), instrument("ETHUSDT", venue, base="ETH")], 500
    )
    gain, place = profit / 100, {"account": info.name, "pool": "USD"}
    inverse |= {"entry_price": str(60_000 / (1 + gain)), "mark_price": "60000", "venue_unrealized_pnl": str(gain)}
    held = [position("BTCUSD", size="60000", venue_maintenance_margin="0.005", **place, **inverse)]
    side = "short" if rising else "long"
    held.append(position("ETHUSDT", size=str(30 + eth), entry_price="6000", mark_price="6000", side=side, **place))
    one.turn([balance(account=info.name, coins=(coin,), pools=(pool,)), *held], 1_000)
    one.clock(2_000)
    ground = one.portfolio.ground()
    assert ground.covered.all()
    move = moves(one.book.bases, only=["ETH"])
    way = walk(ground, [9.0] if rising else [-0.999], move)
    account = one.portfolio.register.number(info.name)
    assert account is not None
    assert way.outcomes[0].spent.any()
    assert way.outcomes[0].equity[account] == pytest.approx(0.0, abs=1e-5)


def test_an_account_of_which_nothing_is_known_is_not_covered() -> None:
    one = engine(OKX, BYBIT)
    one.turn([balance()], 1_000)
    assert ladder(one)["-50"] == {"equity_usd": 1000.0, "liquidated": [], "not_covered": ["bybit-main"]}


def test_demo_has_a_ladder_of_its_own() -> None:
    from tests.gateway.events_of import DEMO

    one = engine(OKX, DEMO)
    one.turn([balance("70"), balance("30", account="okx-demo")], 1_000)
    assert ladder(one)["0"]["equity_usd"] == 70.0
    assert ladder(one, "ann:demo")["0"]["equity_usd"] == 30.0


def test_a_ladder_is_published_only_when_what_it_shows_changed() -> None:
    one = engine(OKX)
    one.turn([instrument(), balance("60"), position()], 1_000)
    ladder(one)
    assert not one.clock(10_000)
    one.turn([mark("111")], 10_500)
    assert one.clock(11_000)


def test_the_ladder_is_a_setting() -> None:
    one = engine(OKX, stress=StressSettings((-10, 2.5), ("ETH",), {"ETH": 2.0}))
    eth = position("ETH-USDT-SWAP")
    one.turn([instrument(), instrument("ETH-USDT-SWAP", base="ETH"), balance(), position(), eth], 1_000)
    found = ladder(one)
    assert list(found) == ["-10", "0", "2.5"]
    assert found["-10"]["equity_usd"] == 1040 - 44
    assert found["2.5"]["equity_usd"] == 1040 + 11


def test_what_no_step_moves_though_it_was_named_is_said() -> None:
    one = engine(OKX, DEMO, stress=StressSettings((-10,), ("BTC", "BCT", "WBTC", "USDT", "ETH")))
    coins = (CoinBalance(ccy="USDT", total="1000", cash="1000", usd_price="1"),)
    one.turn([instrument(), balance("1000", coins=coins), position()], 1_000)
    one.clock(2_000)
    assert row(one, "summary", "ann")["stress_unmoved"] == ["BCT", "ETH", "USDT", "WBTC"]
    eth = [instrument("ETH-USDT-SWAP", base="ETH", env="demo"), position("ETH-USDT-SWAP", "okx-demo")]
    one.turn([balance("30", account="okx-demo"), *eth], 3_000)
    one.clock(4_000)
    assert row(one, "summary", "ann")["stress_unmoved"] == ["BCT", "USDT", "WBTC"], "held by anybody"
    everything = engine(OKX)
    everything.turn([instrument(), balance("1000"), position()], 1_000)
    everything.clock(2_000)
    assert "stress_unmoved" not in row(everything, "summary", "ann")


legs = st.tuples(st.sampled_from(["BTC", "ETH", "SOL"]), st.booleans(), st.integers(1, 50))


@settings(max_examples=60)
@given(st.lists(legs, min_size=1, max_size=5, unique_by=lambda leg: leg[:2]), st.integers(20, 900), st.booleans())
def test_where_a_pool_is_crossed_its_equity_meets_its_maintenance(
    held: list[tuple[str, bool, int]], cash: int, falls: bool
) -> None:
    one = engine(OKX)
    events: list[Any] = [balance(str(cash))]
    for base, short, size in held:
        symbol = f"{base}-USDT-SWAP"
        events += [instrument(symbol, base=base), position(symbol, side="short" if short else "long", size=str(size))]
    one.turn(events, 1_000)
    one.clock(2_000)
    ground = one._portfolio.ground()
    move = moves(one.book.bases)
    way = walk(ground, [-0.3, -0.6, -0.9] if falls else [0.3, 0.6, 0.9], move)
    pool = one.accounts["okx-main"].pools["USDT"].number
    lack_at = lambda shock: float(ground.lack(one.book.at(factors(shock * move)))[pool])  # noqa: E731
    crossed = float(way.crossed[pool])
    scale = sum(size * 110 for _, _, size in held)
    if math.isinf(crossed):
        assert all(lack_at(shock) < 0 for shock in np.linspace(0, -0.9 if falls else 0.9, 19))
    elif crossed == 0.0:
        assert lack_at(0.0) >= 0.0
    else:
        assert abs(lack_at(crossed)) <= 1e-7 * scale
        assert all(lack_at(crossed * part) < 1e-9 * scale for part in (0.0, 0.5, 0.99))


@settings(max_examples=40)
@given(st.lists(legs, min_size=1, max_size=5, unique_by=lambda leg: leg[:2]), st.floats(0.3, 2.0), st.floats(0.3, 2.0))
def test_a_book_of_its_own_at_other_prices_agrees_with_the_revaluation(
    held: list[tuple[str, bool, int]], btc: float, eth: float
) -> None:
    one = engine(BYBIT)
    coins = (
        CoinBalance(ccy="USDT", total="500", cash="500", usd_price="1"),
        CoinBalance(ccy="ETH", total="2", cash="2", usd_price="110", discount="0.9"),
    )
    events: list[Any] = [
        balance(account="bybit-main", coins=coins, pools=(PoolState(pool="USD", ccy="USD", from_coins=True),))
    ]
    for base, short, size in held:
        symbol, side = f"{base}USDT", "short" if short else "long"
        events += [
            instrument(symbol, "bybit", base=base),
            position(symbol, "bybit-main", side=side, size=str(size), pool="USD"),
        ]
    events += [
        instrument("BTCUSD", "bybit", contract_type="inverse", settle="BTC", contract_ccy="USD"),
        position(
            "BTCUSD",
            "bybit-main",
            pool="USD",
            size="300",
            settle="BTC",
            contract_type="inverse",
            venue_unrealized_pnl="0.2727272727",
        ),
        CurrencyPrice(venue="bybit", env="live", ccy="BTC", usd="110"),
    ]
    one.turn(events, 1_000)
    one.clock(2_000)
    book = one.book
    factor = np.ones(len(book.bases))
    factor[[book.bases.number("BTC"), book.bases.number("ETH")]] = btc, eth
    before = {row.handle: book.figures(row.handle) for row in one.positions.values()}
    there, revalued = book.moved(factor), book.at(factor)
    pool = one.accounts["bybit-main"].pools["USD"].number
    assert there.equity[pool] == pytest.approx(revalued.equity[pool], rel=1e-9)
    assert there.maintenance[pool] == pytest.approx(revalued.maintenance[pool], rel=1e-9)
    assert {handle: book.figures(handle) for handle in before} == before, "the live one is not touched"
    for held_row in one.positions.values():
        mine, shocked = before[held_row.handle], there.figures(held_row.handle)
        by = btc if held_row.symbol.key[2].startswith("BTC") else eth if "ETH" in held_row.symbol.key[2] else 1.0
        assert shocked["mark"] == pytest.approx(mine["mark"] * by)
