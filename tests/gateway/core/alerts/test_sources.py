"""What each kind of rule sees: the figures that rows show, with their signs, and what nobody can say."""

from __future__ import annotations

import pytest

from exchanges.events import AccountMode, Event
from gateway.core.alerts.rules import RuleSettings
from gateway.engine import Engine
from tests.gateway.core.alerts.test_alerts import LIVE, T0, desk, states, ticks, told
from tests.gateway.events_of import balance, instrument, position, row

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
