"""What each kind of rule sees: the figures that rows show, with their signs, and what nobody can say."""

from __future__ import annotations

import pytest

from exchanges.events import AccountMode, Event, FundingRate, LiquidationWarning
from gateway.core.alerts.records import Silence
from gateway.core.alerts.rules import RuleSettings, Select
from gateway.engine import Engine
from tests.gateway.core.alerts.test_alerts import LIVE, SUBJECT, T0, Sink, desk, restarted, states, ticks, told
from tests.gateway.events_of import balance, feed, instrument, position, row, snapshot

ALERT = "r:okx-main"


def held(rule: RuleSettings, *events: Event) -> Engine:
    """Return an engine with this rule alone, and a long of 2 from 100 in an account of 50."""
    one = desk(builtin=False, r=rule)
    one.turn([LIVE[0], balance("50"), *LIVE[2:], position(), *events], T0)
    ticks(one, "110")
    one.clock(T0 + 3_000)
    return one


# --- the move of everything ------------------------------------------------------------------------------------------------


def test_the_shock_of_an_alert_is_its_rows_and_says_which_way() -> None:
    one = held(RuleSettings("liquidation_shock", steps={"warning": 0.9}))
    shown = row(one, "accounts", "okx-main")["liquidation_shock"]
    assert shown < 0
    assert (states(one), row(one, "alerts", ALERT)["value"]) == ({ALERT: "firing"}, -shown)
    assert f"everything {100 * shown:+.3g} %" in row(one, "alerts", ALERT)["message"]


def test_the_shock_of_an_alert_is_that_of_the_nearest_pool_up_or_down() -> None:
    steps = {"warning": 0.9}
    short = position("ETH-USDT-SWAP", side="short", size="3", margin_mode="isolated", isolated_cash="40")
    one = held(RuleSettings("liquidation_shock", steps=steps), instrument("ETH-USDT-SWAP"), short)
    shown = row(one, "accounts", "okx-main")["liquidation_shock"]
    assert shown > 0, "the short is nearer"
    assert row(one, "alerts", ALERT)["value"] == shown


def test_of_an_account_that_cannot_be_computed_an_alert_states_no_shock() -> None:
    one = held(RuleSettings("liquidation_shock", steps={"warning": 0.9}))
    assert told(one) == [(ALERT, "firing", "warning")]
    one.turn([AccountMode(account="okx-main", mode="portfolio margin", computable=False)], T0 + 4_000)
    one.clock(T0 + 5_000)
    assert "liquidation_shock" not in row(one, "accounts", "okx-main")
    found = row(one, "alerts", ALERT)
    assert (found["state"], found["unknown"], "value" in found) == ("firing", True, False)
    assert "could not be determined; its mode (portfolio margin) cannot be computed" in found["message"]


# --- loss as a share of equity ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("price", ["75", "70"])  # equity of 0, and of -10
def test_a_gap_through_all_equity_is_the_worst_loss(price: str) -> None:
    one = held(RuleSettings("unrealized_pnl_share", steps={"warning": -0.2, "critical": -0.9}))
    ticks(one, price, at=T0 + 4_000)
    assert told(one) == [(ALERT, "firing", "critical")]
    assert "value" not in row(one, "alerts", ALERT)
    assert "none is left" in row(one, "alerts", ALERT)["message"]


def test_an_account_without_equity_and_without_loss_has_no_share_of_it() -> None:
    one = desk(builtin=False, r=RuleSettings("unrealized_pnl_share", steps={"warning": -0.2}))
    one.turn([LIVE[0], balance("0"), *LIVE[2:]], T0)
    one.clock(T0 + 1_000)
    one.turn([balance("-10", fence=(2,))], T0 + 2_000)
    one.clock(T0 + 3_000)
    assert states(one) == {}


# --- funding ---------------------------------------------------------------------------------------------------------------


def rate(value: str) -> FundingRate:
    return FundingRate(venue="okx", env="live", symbol="BTC-USDT-SWAP", rate=value, next_at=T0 + 3_600_000, at=T0)


@pytest.mark.parametrize(
    ("side", "market", "pays"), [("long", "0.01", True), ("long", "-0.01", False), ("short", "-0.01", True)]
)
def test_funding_is_a_cost_to_whom_it_is_taken_from(side: str, market: str, pays: bool) -> None:
    rules = {
        "cost": RuleSettings("funding_cost", steps={"warning": 2.0}),
        "rate": RuleSettings("funding_rate", steps={"warning": 0.009}),
    }
    one = desk(builtin=False, **rules)
    one.turn([*LIVE, position(side=side), rate(market)], T0)
    one.clock(T0 + 1_000)
    row_id = position(side=side).id
    assert float(row(one, "positions", row_id)["next_funding"]) == (-2.2 if pays else 2.2)
    found = {alert: row(one, "alerts", alert)["value"] for alert in states(one)}
    assert found == ({f"cost:{row_id}": 2.2, f"rate:{row_id}": 0.01} if pays else {})


# --- warnings of the venue ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("symbol", ["BTC-USDT-SWAP", None])
def test_a_warning_lasts_ten_minutes_also_over_a_restart(symbol: str | None) -> None:
    sink, minutes = Sink(), 60_000
    warned = LiquidationWarning(account="okx-main", what="close", at=T0, symbol=symbol)
    one = desk(sink=sink)
    one.turn([*LIVE, position(), warned], T0)
    alert = f"venue_warning:{SUBJECT if symbol else 'okx-main'}"
    assert told(one, of=alert) == [(alert, "firing", "critical")]
    other = restarted(sink, [position()], T0 + 2 * minutes)
    other.turn([feed("live"), snapshot(position(fence=(2,)), asked_at=T0 + 2 * minutes)], T0 + 2 * minutes)
    for at in (one, other):
        at.clock(T0 + 10 * minutes - 1_000)
        assert states(at)[alert] == "firing"
        at.clock(T0 + 10 * minutes + 1_000)
        assert (states(at)[alert], told(at, of=alert)) == ("resolved", [(alert, "resolved", "critical")])


# --- dust, and whom rules are for ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "dust", "fires"), [("2", False, True), ("0.001", False, False), ("0.001", True, True)]
)
def test_the_margin_ratio_of_a_pool_of_dust_counts_where_dust_is_asked_for(size: str, dust: bool, fires: bool) -> None:
    rule = RuleSettings("margin_ratio", steps={"warning": 1e-9}, select=Select(dust=dust))
    one = desk(builtin=False, r=rule)
    one.turn([*LIVE, position(size=size)], T0)
    ticks(one, "109", "111")
    one.clock(T0 + 3_000)
    assert states(one) == ({"r:okx-main:USDT": "firing"} if fires else {})


def test_a_pool_that_becomes_dust_is_over() -> None:
    one = desk(builtin=False, r=RuleSettings("margin_ratio", steps={"warning": 1e-9}))
    one.turn([*LIVE, position()], T0)
    assert states(one) == {"r:okx-main:USDT": "firing"}
    one.turn([position(size="0.001", fence=(2,))], T0 + 1_000)
    one.clock(T0 + 2_000)
    assert states(one) == {"r:okx-main:USDT": "resolved"}


@pytest.mark.parametrize(
    ("size", "dust", "fires"), [("2", False, True), ("0.001", False, False), ("0.001", True, True)]
)
def test_marks_of_dust_are_blind_where_dust_is_asked_for(size: str, dust: bool, fires: bool) -> None:
    one = desk(blind=RuleSettings(select=Select(dust=dust)))
    one.turn([*LIVE, position(size=size)], T0)
    one.turn([feed("down", account=None)], T0 + 1_000)
    one.clock(T0 + 12_000)
    assert ("blind:okx@live" in states(one)) == fires


@pytest.mark.parametrize(
    ("select", "fires"),
    [
        (Select(accounts=("okx-main",)), True),
        (Select(accounts=("bybit-main",)), False),
        (Select(symbols=("BTC-USDT-SWAP",)), True),
        (Select(symbols=("ETH-USDT-SWAP",)), False),
        (Select(users=("ann",)), True),
        (Select(users=("bob",)), False),
        (Select(venues=("bybit",)), False),
        (Select(envs=("demo",)), False),
        (Select(executions=("paper",)), False),
    ],
)
def test_marks_are_blind_to_those_who_hold_them(select: Select, fires: bool) -> None:
    one = desk(blind=RuleSettings(select=select))
    one.turn([*LIVE, position()], T0)
    one.turn([feed("down", account=None)], T0 + 1_000)
    one.clock(T0 + 12_000)
    assert ("blind:okx@live" in states(one)) == fires


# --- silences -------------------------------------------------------------------------------------------------------------


def test_a_silence_that_has_not_begun_keeps_nothing_quiet() -> None:
    one = desk(builtin=False, r=RuleSettings("unrealized_pnl", steps={"warning": -10.0}, cooldown_s=0))
    one.turn([*LIVE, position()], T0)
    one.silence(Silence(id="s", at=T0 + 60_000, until=T0 + 120_000, by="ann"), T0 + 1_000)
    ticks(one, "90", "110", at=T0 + 2_000)
    assert [state for _, state, _ in told(one)] == ["firing", "resolved"]
    ticks(one, "90", at=T0 + 61_000)
    assert told(one) == []
    assert row(one, "alerts", f"r:{SUBJECT}")["silenced_until"] == T0 + 120_000
