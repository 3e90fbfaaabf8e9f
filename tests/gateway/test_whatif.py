"""What-if answers: changes that nobody made against the same account as the venue would report it after them."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exchanges.events import (
    AccountMode,
    CoinBalance,
    CurrencyPrice,
    MarginTier,
    MarginTiers,
    PoolState,
    PositionState,
    Side,
)
from gateway.core.accounts import AccountInfo
from gateway.core.protocol import Refusal
from gateway.core.scenario import parse
from gateway.engine import Engine
from gateway.trial import Trial
from gateway.whatif import answer, prepare
from tests.gateway.events_of import BYBIT, DEMO, OKX, balance, closed, engine, instrument, mark, position, row, rows

HL = AccountInfo(name="hl-main", venue="hyperliquid", env="live", user="ann")
BTC = position()
TIERS = MarginTiers(venue="okx", env="live", key="BTC", unit="contracts", tiers=(MarginTier(lower="0", rate="0.005"),))


def ask(one: Engine, *allowed: str, **scenario: Any) -> dict[str, Any]:
    found = answer(one, parse(msgspec.json.encode(scenario)), allowed or one.accounts.keys(), 9_000)
    return msgspec.json.decode(msgspec.json.encode(found))  # type: ignore[no-any-return]


def one_account(cash: str = "1000", **fields: Any) -> Engine:
    one = engine(OKX)
    one.turn([instrument(tiers_key="BTC"), TIERS, balance(cash), position(**fields)], 1_000)
    one.clock(2_000)
    return one


def test_without_changes_after_is_before_and_both_are_what_the_tables_say() -> None:
    one = one_account()
    found = ask(one)
    assert found["before"] == found["after"]
    account = row(one, "accounts", "okx-main")
    said = found["before"]["accounts"]["okx-main"]
    assert said == {
        "summary": "ann",
        "equity_usd": account["equity_usd"],
        "margin_ratio": pytest.approx(account["margin_ratio"], abs=1e-4),
        "liquidated": False,
    }


def test_an_answer_is_of_the_moment_in_which_it_was_asked_for() -> None:
    one = one_account("60")
    asked = {"account": "okx-main", "symbol": BTC.symbol, "side": "long", "distance": 0.2}
    changes = [{"close": BTC.id, "share": 0.5}, {"open": "okx-main", "symbol": BTC.symbol, "side": "long", "size": 3}]
    scenario = parse(msgspec.json.encode({"shocks": -0.1, "changes": changes, "question": {"max_size": asked}}))
    at_once = answer(one, scenario, {"okx-main"}, 9_000)
    finish = prepare(one, scenario, {"okx-main"}, 9_000)
    one.turn([mark("70"), balance("5000"), closed(BTC, (2,))], 9_500)
    assert finish() == at_once


def test_a_shock_moves_prices_profit_and_liquidation_prices() -> None:
    one = one_account("60")
    found = ask(one, shocks={"BTC": -0.2})["after"]
    assert found["summary"]["ann"]["equity_usd"] == 80 - 44
    there = found["positions"][BTC.id]
    assert there["mark_price"] == pytest.approx(88.0)
    assert there["liquidation_distance"] == pytest.approx(1 - there["trigger_price"] / 88)
    assert ask(one, shocks=-0.4)["after"]["summary"]["ann"]["liquidated"] == ["okx-main"]
    assert ask(one, shocks=-0.4)["after"]["accounts"]["okx-main"]["liquidated_pools"] == ["USDT"]
    assert ask(one, shocks=-0.2, betas={"BTC": 0.5})["after"]["summary"]["ann"]["equity_usd"] == 80 - 22


def test_closing_half_realises_half_of_the_profit_and_nothing_is_lost() -> None:
    one = one_account("60")
    before = {handle.handle: one.book.figures(handle.handle) for handle in one.positions.values()}
    found = ask(one, changes=[{"close": BTC.id, "share": 0.5}])
    assert found["after"]["summary"]["ann"]["equity_usd"] == found["before"]["summary"]["ann"]["equity_usd"] == 80.0
    assert found["after"]["accounts"]["okx-main"]["margin_ratio"] == pytest.approx(
        found["before"]["accounts"]["okx-main"]["margin_ratio"] / 2, abs=1e-4
    )
    near, far = (found[side]["positions"][BTC.id]["liquidation_distance"] for side in ("before", "after"))
    assert far > near
    assert {held.handle: one.book.figures(held.handle) for held in one.positions.values()} == before
    gone = ask(one, changes=[{"close": BTC.id}])["after"]
    assert gone["positions"] == {}
    assert gone["summary"]["ann"] == {"equity_usd": 80.0, "liquidated": [], "not_covered": {}}


def test_collateral_moves_the_trigger_away() -> None:
    one = one_account("60")
    found = ask(one, changes=[{"add_collateral": "okx-main", "ccy": "USDT", "amount": 100}])
    assert found["after"]["summary"]["ann"]["equity_usd"] == 180.0
    rate = 0.0055
    assert found["after"]["positions"][BTC.id]["trigger_price"] == pytest.approx((200 - 160) / (2 * (1 - rate)))
    other = ask(one, changes=[{"add_collateral": "okx-main", "ccy": "USDT", "amount": -30}])
    assert other["after"]["summary"]["ann"]["equity_usd"] == 50.0


def test_adding_to_a_position_is_as_if_the_venue_reported_the_larger_one() -> None:
    one = one_account("200")
    found = ask(one, changes=[{"open": "okx-main", "symbol": BTC.symbol, "side": "long", "size": 1}])["after"]
    there = engine(OKX)
    entry = str((200 + 110) / 3)
    there.turn([instrument(), balance("200"), position(size="3", entry_price=entry)], 1_000)
    there.clock(2_000)
    same = ask(there)["after"]
    assert found["accounts"] == same["accounts"]
    for figure, value in same["positions"][BTC.id].items():
        assert found["positions"][BTC.id][figure] == (pytest.approx(value) if figure != "model" else value)


def test_opening_against_a_position_closes_it_first() -> None:
    one = one_account("200")
    found = ask(one, changes=[{"open": "okx-main", "symbol": BTC.symbol, "side": "short", "size": 5}])["after"]
    (row_id,) = found["positions"]
    assert row_id != BTC.id
    assert found["summary"]["ann"]["equity_usd"] == 220.0
    assert found["positions"][row_id]["trigger_price"] > 110


def test_a_symbol_that_nobody_holds_needs_a_price() -> None:
    one = one_account()
    one.turn([instrument("ETH-USDT-SWAP", base="ETH")], 3_000)
    change: dict[str, Any] = {"open": "okx-main", "symbol": "ETH-USDT-SWAP", "side": "short", "size": 2}
    with pytest.raises(Refusal, match="no mark of ETH-USDT-SWAP is known"):
        ask(one, changes=[change])
    tiers = MarginTiers(
        venue="okx", env="live", key="ETH", unit="contracts", tiers=(MarginTier(lower="0", rate="0.01"),)
    )
    one.turn([instrument("ETH-USDT-SWAP", base="ETH", tiers_key="ETH"), tiers], 4_000)
    found = ask(one, shocks={"ETH": 0.1}, changes=[change | {"price": 50}])["after"]
    assert found["summary"]["ann"]["equity_usd"] == 1020 - 10


def test_an_isolated_position_is_added_to_with_margin_of_the_account() -> None:
    one = engine(OKX)
    coin = CoinBalance(ccy="USDT", total="1000", cash="1000", usd_price="1", isolated_apart=True)
    held = position(margin_mode="isolated", isolated_cash="20", isolated_margin="20")
    one.turn([instrument(), balance(coins=(coin,)), held], 1_000)
    one.clock(2_000)
    before = ask(one)["before"]
    assert before["summary"]["ann"]["equity_usd"] == 1040.0
    found = ask(one, changes=[{"open": "okx-main", "symbol": held.symbol, "side": "long", "size": 2, "leverage": 5}])
    assert found["after"]["summary"]["ann"]["equity_usd"] == 1040.0, "money only moved"
    assert found["after"]["accounts"]["okx-main"]["margin_ratio"] < before["accounts"]["okx-main"]["margin_ratio"]
    closed = ask(one, changes=[{"close": held.id, "share": 0.25}])["after"]
    assert closed["summary"]["ann"]["equity_usd"] == 1040.0
    assert closed["positions"][held.id]["trigger_price"] == pytest.approx(before["positions"][held.id]["trigger_price"])


def test_a_pool_that_keeps_signed_values_is_changed_as_well() -> None:
    one = engine(HL)
    pool = PoolState(pool="USDC", ccy="USDC", basis="value", cash="-100")
    held = position("BTC", "hl-main", pool="USDC", settle="USDC", entry_exact=False, max_leverage="20")
    one.turn(
        [instrument("BTC", "hyperliquid", settle="USDC"), balance(account="hl-main", coins=(), pools=(pool,)), held],
        1_000,
    )
    one.clock(2_000)
    found = ask(one, changes=[{"close": held.id, "share": 0.5}])
    assert found["before"]["summary"]["ann"]["equity_usd"] == 120.0
    assert found["after"]["summary"]["ann"]["equity_usd"] == 120.0
    richer = ask(one, changes=[{"add_collateral": "hl-main", "ccy": "USDC", "amount": 30}])
    assert richer["after"]["summary"]["ann"]["equity_usd"] == 150.0


def on_hyperliquid() -> Engine:
    """Return 10,000 of equity in a pool that paid 60,000 for a long of one BTC."""
    one = engine(HL)
    pool = PoolState(pool="main", ccy="USDC", basis="value", cash="-50000", venue_equity="10000")
    bought: dict[str, Any] = {"pool": "main", "settle": "USDC", "entry_exact": False, "max_leverage": "40"}
    bought |= {"size": "1", "entry_price": "60000", "mark_price": "60000"}
    listed = [instrument("BTC", "hyperliquid", settle="USDC", max_leverage="40")]
    listed.append(instrument("ETH", "hyperliquid", base="ETH", settle="USDC", max_leverage="25"))
    account = balance(account="hl-main", scope="dex:", coins=(), pools=(pool,))
    one.turn([*listed, account, position("BTC", "hl-main", scope="dex:", **bought)], 1_000)
    one.clock(2_000)
    return one


def test_what_is_opened_where_values_count_is_paid_out_of_the_pool() -> None:
    one = on_hyperliquid()
    more = {"open": "hl-main", "symbol": "BTC", "side": "long", "size": 0.5}
    assert ask(one, changes=[more])["after"]["accounts"]["hl-main"] == {
        "summary": "ann",
        "equity_usd": 10_000.0,
        "margin_ratio": 0.1125,  # 90,000 / 80 of 10,000
        "liquidated": False,
    }
    other = {"open": "hl-main", "symbol": "ETH", "side": "long", "size": 2, "price": 3_000}
    assert ask(one, changes=[other])["after"]["accounts"]["hl-main"]["margin_ratio"] == 0.087  # 750 and 6,000 / 50
    turned = ask(one, changes=[more | {"side": "short", "size": 2}])["after"]
    assert turned["accounts"]["hl-main"] == ask(one)["before"]["accounts"]["hl-main"], "one BTC short instead of long"
    # 10,000 - 0.1 n = 0.9 n / 80: n = 89,887.64
    found = ask(one, question={"max_size": {"account": "hl-main", "symbol": "BTC", "side": "long", "distance": 0.1}})
    assert found["max_size"] == {
        "size": pytest.approx(10_000 / (60_000 * (0.1 + 0.9 / 80)) - 1, rel=1e-6),
        "liquidation_distance": 0.1,
        "notional": 89_887.64,
    }


def test_isolated_margin_comes_from_and_goes_to_what_backs_the_cross_positions() -> None:
    """Aster's balance of a coin holds the margins of isolated positions, the cross wallet does not."""
    aster = AccountInfo(name="aster-main", venue="aster", env="live", user="ann")
    one = engine(aster)
    coin = CoinBalance(ccy="USDT", total="10000", cash="10000", usd_price="1")
    pool = PoolState(pool="USDT", ccy="USDT", cash="9700")
    cross = position("BTCUSDT", "aster-main", size="1", entry_price="60000", mark_price="60000")
    alone = position("ETHUSDT", "aster-main", size="1", entry_price="3000", mark_price="3000")
    alone = msgspec.structs.replace(alone, margin_mode="isolated", isolated_cash="300")
    listed = [instrument("BTCUSDT", "aster"), instrument("ETHUSDT", "aster", base="ETH")]
    one.turn([*listed, balance(account="aster-main", coins=(coin,), pools=(pool,)), cross, alone], 1_000)
    one.clock(2_000)
    trial = Trial(one, {"aster-main"}, 9_000)
    trial.open("aster-main", "ETHUSDT", "long", 20.0, None, None)
    assert equities(trial) == {"USDT": 3_700.0, f"iso:{alone.id}": 6_300.0}
    trial.close(alone.id, 0.5)
    assert equities(trial) == {"USDT": 6_850.0, f"iso:{alone.id}": 3_150.0}
    trial.close(alone.id, 1.0)
    assert equities(trial) == {"USDT": 10_000.0}
    change = {"open": "aster-main", "symbol": "ETHUSDT", "side": "long", "size": 20}
    assert ask(one, changes=[change])["after"]["summary"]["ann"]["equity_usd"] == 10_000.0


def equities(trial: Trial) -> dict[str, float]:
    """Return the equity of every pool of a trial of one account."""
    (account,) = trial.engine.accounts.values()
    return {name: round(float(trial.engine.book.equity[one.number]), 6) for name, one in account.pools.items()}


def test_the_closing_fee_in_the_stated_maintenance_goes_with_the_size() -> None:
    one = engine(BYBIT)
    rates = ("0", "0.005", "0"), ("100000", "0.01", "500")
    tiers = tuple(MarginTier(lower=lower, rate=rate, deduction=less) for lower, rate, less in rates)
    said: dict[str, Any] = {"pool": "USD", "size": "1", "entry_price": "60000", "mark_price": "60000"}
    said |= {"venue_maintenance_margin": "333", "trading_fee": "33"}
    pool = PoolState(pool="USD", ccy="USD", cash="10000", from_coins=True)
    coin = CoinBalance(ccy="USDT", total="10000", cash="10000", usd_price="1")
    one.turn([MarginTiers(venue="bybit", env="live", key="BTC", unit="notional", tiers=tiers)], 500)
    one.turn([instrument("BTCUSDT", "bybit", tiers_key="BTC")], 500)
    held = position("BTCUSDT", "bybit-main", **said)
    one.turn([balance(account="bybit-main", coins=(coin,), pools=(pool,)), held], 1_000)
    one.clock(2_000)

    def ratio(*changes: dict[str, Any]) -> float:
        found: float = ask(one, changes=changes)["after"]["accounts"]["bybit-main"]["margin_ratio"]
        return found

    more = {"open": "bybit-main", "symbol": "BTCUSDT", "side": "long", "size": 1}
    assert ratio() == 0.0333
    assert ratio(more | {"size": 0.0001}) == 0.0333
    assert ratio(more) == 0.0766  # 120,000 at 1 % less 500, and twice the fee
    assert ratio(more, {"close": held.id, "share": 0.5}) == 0.0333, "back in the tier before"


@settings(max_examples=10, deadline=None)
@given(st.floats(0.05, 0.6), st.integers(20, 2_000), st.booleans())
def test_the_largest_size_is_where_the_distance_is_what_was_asked(distance: float, cash: int, short: bool) -> None:
    one = one_account(str(cash))
    side = "short" if short else "long"
    asked = {"account": "okx-main", "symbol": BTC.symbol, "side": side, "distance": distance}
    found = ask(one, question={"max_size": asked})["max_size"]
    if found["size"]:
        change = {"open": "okx-main", "symbol": BTC.symbol, "side": side, "size": found["size"]}
        after = ask(one, changes=[change])["after"]["positions"]
        (reached,) = (figures["liquidation_distance"] for figures in after.values())
        assert reached == pytest.approx(distance, rel=1e-3)
    else:
        near = ask(one)["before"]["positions"][BTC.id]["liquidation_distance"]
        assert near <= distance + 1e-6
        assert found["why"] == "it is that near already"


def test_a_try_leaves_nothing_behind_for_the_next_one() -> None:
    """A short whose profit is paid in a coin that the account does not hold: closing it makes the coin."""
    one = engine(OKX)
    coin = CoinBalance(ccy="BTC", total="1", cash="1", usd_price="60000", discount="0.95")
    pool = PoolState(pool="USD", ccy="USD", from_coins=True, pnl_discounted=True)
    held = position(side="short", size="1", entry_price="60000", mark_price="55000", pool="USD")
    tiers = msgspec.structs.replace(TIERS, tiers=(MarginTier(lower="0", rate="0.01"),))
    one.turn([instrument(tiers_key="BTC"), tiers, balance(coins=(coin,), pools=(pool,)), held], 1_000)
    one.clock(2_000)
    trial = Trial(one, {"okx-main"}, 9_000)
    before, equity = trial.state_of("okx-main", held.symbol), equities(trial)
    for size in (2.0, 4.0):
        trial.open("okx-main", held.symbol, "long", size, None, None)
        trial.restore(before)
        assert equities(trial) == equity == {"USD": 62_000.0}
        assert [one.ccy for one in trial.engine.accounts["okx-main"].all_coins()] == ["BTC"]
    asked = {"account": "okx-main", "symbol": held.symbol, "side": "long", "distance": 0.1}
    found = ask(one, question={"max_size": asked})["max_size"]
    change = {"open": "okx-main", "symbol": held.symbol, "side": "long", "size": found["size"]}
    ((_, reached),) = ask(one, changes=[change])["after"]["positions"].items()
    assert reached["liquidation_distance"] == pytest.approx(0.1, abs=1e-6)
    assert found["size"] == pytest.approx(10.352548, abs=1e-5)


def test_the_largest_size_takes_few_tries_and_stops_before_a_jump(monkeypatch: pytest.MonkeyPatch) -> None:
    tries: list[float] = []
    opened = Trial.open

    def counted(self: Trial, *given: Any) -> str:
        tries.append(given[3])
        return opened(self, *given)

    monkeypatch.setattr(Trial, "open", counted)
    one = one_account("1000")
    asked = {"account": "okx-main", "symbol": BTC.symbol, "side": "long", "distance": 0.2}
    found = ask(one, question={"max_size": asked})["max_size"]
    # 1,020 - 0.2 n = 0.8 n 0.0055
    assert found["size"] == pytest.approx(1_020 / (0.2 + 0.8 * 0.0055) / 110 - 2, rel=1e-9)
    assert len(tries) <= 4
    steps = (MarginTier(lower="0", rate="0.005"), MarginTier(lower="30", rate="0.2"))
    one.turn([msgspec.structs.replace(TIERS, tiers=steps)], 3_000)
    tries.clear()
    # From 30 contracts on all of them keep a fifth: 1,020 is too little for that.
    assert ask(one, question={"max_size": asked})["max_size"]["size"] == pytest.approx(28, rel=1e-6)
    assert len(tries) <= 60
    other = position("ETH-USDT-SWAP", size="200")
    one.turn([instrument(other.symbol, base="ETH"), other, balance("-1950")], 4_000)  # 70 of equity for 122
    assert ask(one, question={"max_size": asked})["max_size"] == {"size": 0.0, "why": "it is that near already"}
    found = ask(one, question={"max_size": asked | {"side": "short"}})["max_size"]
    assert found == {"size": 2.0, "notional": 0.0}, "what only closes"


def test_where_no_model_speaks_no_size_is_called_safe() -> None:
    one = one_account()
    one.turn([AccountMode(account="okx-main", mode="portfolio", computable=False)], 3_000)
    asked = {"account": "okx-main", "symbol": BTC.symbol, "side": "long", "distance": 0.2}
    with pytest.raises(Refusal, match="no model tells how far BTC-USDT-SWAP in okx-main would be"):
        ask(one, question={"max_size": asked})


def test_changes_count_before_the_question() -> None:
    one = one_account("100")
    asked = {"max_size": {"account": "okx-main", "symbol": BTC.symbol, "side": "long", "distance": 0.2}}
    more = [{"add_collateral": "okx-main", "ccy": "USDT", "amount": 1000}]
    assert ask(one, question=asked, changes=more)["max_size"]["size"] > ask(one, question=asked)["max_size"]["size"]


def test_live_and_demo_are_summed_apart_and_others_accounts_are_not_there() -> None:
    one = engine(OKX, DEMO)
    one.turn([balance("70"), balance("30", account="okx-demo")], 1_000)
    one.clock(2_000)
    assert {name: total["equity_usd"] for name, total in ask(one)["before"]["summary"].items()} == {
        "ann": 70.0,
        "ann:demo": 30.0,
    }
    assert ask(one, "okx-demo")["before"]["accounts"].keys() == {"okx-demo"}


@pytest.mark.parametrize(
    ("scenario", "code", "said"),
    [
        ({"shocks": -1}, "bad_scenario", "Expected `float` > -1.0"),
        ({"shocks": {"DOGE": -0.1}}, "bad_scenario", "nothing that is held moves with 'DOGE'; there are BTC"),
        ({"shocks": {"BTC": 0.1}, "betas": {"BTC": 2}}, "bad_scenario", "betas are parts of one common shock"),
        ({"shock": 1}, "bad_scenario", "unknown field `shock`"),
        ({"changes": [{}]}, "bad_scenario", r"changes\[0\] must have exactly one of close, add_collateral, open"),
        ({"changes": [{"close": "x", "open": "y"}]}, "bad_scenario", "exactly one of"),
        ({"changes": [{"close": "x", "size": 1}]}, "bad_scenario", "close does not take size"),
        ({"changes": [{"open": "okx-main", "symbol": "S"}]}, "bad_scenario", "open needs side, size"),
        ({"changes": [{"close": "x"}]}, "bad_scenario", "there is no position 'x'"),
        ({"changes": [{"close": BTC.id}, {"close": BTC.id}]}, "bad_scenario", "there is no position .*any more"),
        ({"changes": [{"add_collateral": "okx", "ccy": "USDT", "amount": 1}]}, "unknown_account", "no account 'okx'"),
        (
            {"changes": [{"open": "okx-main", "symbol": "NO", "side": "long", "size": 1}]},
            "bad_scenario",
            "okx lists no NO that is known here",
        ),
        (
            {"question": {"max_size": {"account": "nobody", "symbol": "S", "side": "long", "distance": 0.2}}},
            "unknown_account",
            "nobody",
        ),
        ({"changes": [{"close": "x"}] * 51}, "bad_scenario", "length <= 50"),
    ],
)
def test_what_is_wrong_is_said(scenario: dict[str, Any], code: str, said: str) -> None:
    with pytest.raises(Refusal, match=said) as caught:
        ask(one_account(), **scenario)
    assert caught.value.code == code


COIN = {"contract_type": "inverse", "settle": "BTC", "contract_ccy": "USD"}
PLACES: dict[str, tuple[str, str, dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    # venue, currency, of the coin, of the pool, of the position
    "okx, a currency": ("okx", "USDT", {"isolated_apart": True}, {}, {}),
    "okx, the coin itself": ("okx", "BTC", {"isolated_apart": True}, {}, COIN),
    "okx, all currencies": ("okx", "USDT", {"isolated_apart": True}, {"from_coins": True, "pnl_discounted": True}, {}),
    "bybit": ("bybit", "USDT", {}, {"from_coins": True}, {}),
    "hyperliquid, a dex": ("hyperliquid", "USDC", {}, {"basis": "value"}, {"max_leverage": "20"}),
    "hyperliquid, unified": ("hyperliquid", "USDC", {}, {}, {"max_leverage": "20"}),
    "aster": ("aster", "USDT", {}, {}, {}),
}
STEPS = st.tuples(st.sampled_from(["close", "long", "short"]), st.floats(0.01, 1.0))


# An account of Bybit is isolated as a whole: there is no pool beside, which its margins would come from.
@pytest.mark.parametrize(
    ("place", "isolated"), [(one, no) for one in PLACES for no in (False, True) if one != "bybit" or not no]
)
@settings(max_examples=15, deadline=None)
@given(st.booleans(), st.integers(80, 140), st.integers(80, 140), st.lists(STEPS, min_size=1, max_size=4))
def test_no_change_of_size_makes_or_loses_money(
    place: str, isolated: bool, short: bool, entry: int, price: int, steps: list[tuple[str, float]]
) -> None:
    venue, ccy, coin, pool, fields = PLACES[place]
    account = AccountInfo(name="one", venue=venue, env="live", user="ann")
    one = engine(account)
    in_dollars, on_value = "from_coins" in pool, pool.get("basis") == "value"
    usd, inverse = 100.0 if ccy == "BTC" else 1.0, fields is COIN
    upnl = (1 / entry - 1 / price) * 500 if inverse else (price - entry) * 5.0
    upnl = -upnl if short else upnl
    state = position("BTC-P", "one", size="500" if inverse else "5", side="short" if short else "long", pool=ccy)
    state = msgspec.structs.replace(
        state,
        settle=ccy,
        pool="USD" if in_dollars else ccy,
        entry_price=str(entry),
        mark_price=str(price),
        venue_unrealized_pnl=repr(upnl),
        venue_maintenance_margin=None,
        contract_type="inverse" if inverse else "linear",
        max_leverage=fields.get("max_leverage"),
    )
    value = -5.0 * price if short else 5.0 * price
    if isolated:
        by_value = venue == "hyperliquid"
        cash = 120.0 - (value - upnl if by_value else 0.0)
        basis: Any = "value" if by_value else "upnl"
        state = msgspec.structs.replace(state, margin_mode="isolated", isolated_cash=repr(cash), isolated_basis=basis)
    held = repr(2_000.0 - (value - upnl if on_value and not isolated else 0.0))
    coins = () if on_value else (CoinBalance(ccy=ccy, total="2000", cash="2000", usd_price=repr(usd), **coin),)
    states = (PoolState(pool=state.pool, ccy=state.pool, cash=None if in_dollars else held, **pool),)
    tiers = msgspec.structs.replace(TIERS, venue=venue, unit="contracts" if venue == "okx" else "notional")
    one.turn([instrument("BTC-P", venue, **({"settle": ccy, "tiers_key": "BTC"} | fields)), tiers], 500)
    one.turn([balance(account="one", coins=coins, pools=states), state], 1_000)
    one.clock(2_000)
    trial = Trial(one, {"one"}, 9_000)
    worth, whole = sum(equities(trial).values()), row(one, "accounts", "one")["equity_usd"]
    for what, amount in steps:
        rows = sorted(trial.engine.positions)
        if what != "close":
            side: Side = "long" if what == "long" else "short"
            trial.open("one", "BTC-P", side, (1_000 if inverse else 10) * amount, None, price)
        elif rows:
            trial.close(rows[0], amount)
        assert sum(equities(trial).values()) == pytest.approx(worth, abs=1e-5)
    trial.engine.clock(9_500)
    assert row(trial.engine, "accounts", "one")["equity_usd"] == pytest.approx(whole, abs=0.011)


positions = st.lists(
    st.tuples(st.sampled_from(["BTC", "ETH", "SOL"]), st.booleans(), st.integers(1, 40), st.integers(80, 140)),
    min_size=1,
    max_size=5,
    unique_by=lambda leg: leg[:2],
)


@settings(max_examples=40, deadline=None)
@given(positions, st.integers(100, 5_000), st.sampled_from(["okx", "bybit"]))
def test_a_trial_without_changes_is_the_live_account(
    held: list[tuple[str, bool, int, int]], cash: int, venue: str
) -> None:
    name, pool = ("okx-main", "USDT") if venue == "okx" else ("bybit-main", "USD")
    one = engine(OKX, BYBIT)
    states: list[PositionState] = []
    for base, short, size, price in held:
        side = "short" if short else "long"
        states.append(position(f"{base}-{venue}", name, side=side, size=str(size), mark_price=str(price), pool=pool))
        one.turn([instrument(f"{base}-{venue}", venue, base=base)], 500)
    scope = "positions"
    equity = str(cash + sum(float(state.venue_unrealized_pnl or 0) for state in states) + 7.5)  # 7.5: a bonus
    said = balance(
        str(cash), name, scope=scope, pools=(PoolState(pool=pool, ccy=pool, cash=str(cash), venue_equity=equity),)
    )
    one.turn([said, *states], 1_000)
    one.turn([mark("104.5", f"{held[0][0]}-{venue}", venue)], 2_000)
    one.clock(3_000)
    trial = Trial(one, {name}, 4_000).engine
    number, other = one.accounts[name].pools[pool].number, trial.accounts[name].pools[pool].number
    assert trial.book.equity[other] == pytest.approx(one.book.equity[number], rel=1e-12)
    assert trial.book.maintenance[other] == pytest.approx(one.book.maintenance[number], rel=1e-12)
    for row_id, live in one.positions.items():
        figures = trial.book.figures(trial.positions[row_id].handle)
        for figure in ("trigger", "liq"):
            mine = one.book.figures(live.handle).get(figure)
            assert figures.get(figure) == (None if mine is None else pytest.approx(mine, rel=1e-9))
    assert len(rows(one, "positions")) == len(held)


@pytest.mark.parametrize("written", [61_000, 60_400], ids=["at rest", "moving"])
def test_a_wallet_of_which_a_push_named_one_coin_can_be_changed(written: int) -> None:
    """The coin that it did not name had another price then than when it was named, and has another one now."""
    one = engine(BYBIT, promoted=["bybit_cross"])

    def usd(price: str, at: int) -> None:
        one.turn([CurrencyPrice(venue="bybit", env="live", ccy="BTC", usd=price, at=at)], at)
        one.clock(at)

    def wallet(cash: str, total: str, *others: CoinBalance, at: int) -> None:
        usdt = CoinBalance(ccy="USDT", total=cash, cash=cash, usd_price="1")
        pool = PoolState(pool="USD", ccy="USD", cash=total, from_coins=True)
        said = balance(account="bybit-main", coins=(usdt, *others), pools=(pool,), full=bool(others))
        one.turn([said], at)

    usd("60000", 1_000)
    btc = CoinBalance(ccy="BTC", total="0.1", cash="0.1", usd_price="60000", discount="0.9")
    wallet("1000", "6400", btc, at=1_000)
    one.turn([instrument("BTCUSDT", "bybit", tiers_key="BTC")], 1_000)
    one.turn([position("BTCUSDT", "bybit-main", pool="USD", size="1", entry_price="100", mark_price="100")], 1_000)
    usd("61000", 20_000)
    wallet("900", str(900 + 0.09 * written), at=20_100)
    usd("61500", 40_000)
    trial = Trial(one, {"bybit-main"}, 41_000)
    assert equities(trial)["USD"] == pytest.approx(900 + 0.09 * 61_500)
    assert trial.engine.accounts["bybit-main"].pools["USD"].backing_known
    before = trial.state_of("bybit-main", "BTCUSDT")
    trial.add("bybit-main", "USDT", 50.0)
    assert equities(trial)["USD"] == pytest.approx(950 + 0.09 * 61_500)
    trial.add("bybit-main", "BTC", -0.05)
    assert equities(trial)["USD"] == pytest.approx(950 + 0.045 * 61_500)
    assert trial.engine.accounts["bybit-main"].pools["USD"].backing_known
    trial.restore(before)
    assert equities(trial)["USD"] == pytest.approx(900 + 0.09 * 61_500)
