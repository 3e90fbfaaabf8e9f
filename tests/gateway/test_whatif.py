"""What-if answers: changes that nobody made against the same account as the venue would report it after them."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exchanges.events import CoinBalance, MarginTier, MarginTiers, PoolState, PositionState
from gateway.core.accounts import AccountInfo
from gateway.core.protocol import Refusal
from gateway.core.scenario import parse
from gateway.engine import Engine
from gateway.trial import Trial
from gateway.whatif import answer
from tests.gateway.events_of import BYBIT, DEMO, OKX, balance, engine, instrument, mark, position, row, rows

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
