"""Restarts and crashes: what was not delivered is told again under its own key, and nothing is over that nobody looked at."""

from __future__ import annotations

import msgspec
import pytest

from exchanges.events import Event, PositionState
from gateway.config import EngineSettings
from gateway.core.alerts.board import KEEP_MS
from gateway.core.alerts.records import Notice
from gateway.core.alerts.rules import DAY_MS, RuleSettings, rules
from gateway.engine import Engine
from tests.gateway.core.alerts.test_alerts import LIVE, NEAR, SUBJECT, T0, Sink, desk, restarted, states, ticks
from tests.gateway.events_of import OKX, balance, feed, instrument, mark, position, row, snapshot

ALERT = f"liquidation:{SUBJECT}"


def notices(one: Engine, alert: str = ALERT) -> list[Notice]:
    """Take out what is to be told of an alert."""
    found = [notice for notice in one.alerts.board.outbox if notice.row["id"] == alert]
    one.alerts.board.outbox.clear()
    return found


def fired(sink: Sink | None = None, at: int = T0, price: str = "60") -> Engine:
    one = desk(sink=sink)
    one.turn([*LIVE, NEAR], at)
    ticks(one, price, at=at + 2_000)
    return one


# --- keys ---------------------------------------------------------------------------------------------------------------


def test_what_a_crash_forgot_is_told_again_under_the_same_key() -> None:
    (before,), (after,) = notices(fired()), notices(fired(at=T0 + 30_000))
    assert (before.key, before.severity) == (after.key, after.severity)
    (worse,) = notices(fired(at=T0 + 30_000, price="51"))
    assert worse.key != before.key, "that is other news"


@pytest.mark.parametrize(("price", "state"), [("52", "firing"), ("200", "resolved")])
def test_what_a_crash_forgot_of_a_stored_alert_has_the_same_key(price: str, state: str) -> None:
    def went_on(at: int) -> Notice:
        """Return what is told when the alert goes on from the same stored state."""
        sink = Sink()
        notices(fired(sink))
        other = restarted(sink, [NEAR], at)
        other.turn([feed("live"), feed("live", account=None), mark(price, at=at)], at)
        other.turn([snapshot(msgspec.structs.replace(NEAR, mark_price=price, fence=(2,)), asked_at=at)], at)
        (notice,) = notices(other)
        return notice

    one, other = went_on(T0 + 4_000), went_on(T0 + 9_000)
    assert (one.state, one.key) == (state, other.key)


def test_later_news_of_an_alert_has_another_key() -> None:
    one = fired()
    ticks(one, "100", at=T0 + 10_000)
    ticks(one, "60", at=T0 + 400_000)
    ticks(one, "100", at=T0 + 410_000)
    for at in range(T0 + 420_000, T0 + 411_000 + KEEP_MS + 60_000, 20_000):
        ticks(one, "100", at=at)
        one.clock(at)
    assert ALERT not in states(one), "it is forgotten"
    ticks(one, "60", at=T0 + 420_000 + KEEP_MS + 60_000)
    told = notices(one)
    assert [notice.state for notice in told] == ["firing", "resolved", "firing", "resolved", "firing"]
    assert len({notice.key for notice in told}) == 5


def test_a_threshold_that_is_only_touched_again_keeps_the_cooldown() -> None:
    one = desk(liquidation=RuleSettings(for_s=5.0))
    one.turn([*LIVE, NEAR], T0)
    ticks(one, "60")
    one.clock(T0 + 8_000)
    ticks(one, "100", at=T0 + 9_000)
    assert [notice.state for notice in notices(one)] == ["firing", "resolved"]
    ticks(one, "60", "100", at=T0 + 10_000)
    assert states(one)[ALERT] == "resolved"
    ticks(one, "60", at=T0 + 20_000)
    one.clock(T0 + 30_000)
    assert (states(one)[ALERT], notices(one)) == ("firing", []), "it was told half a minute ago"


# --- delivery -----------------------------------------------------------------------------------------------------------


def test_what_was_not_delivered_is_told_again_after_a_restart_where_it_was_not() -> None:
    sink = Sink()
    one = fired(sink)
    (notice,) = notices(one)
    one.alerts.board.owe(notice, ["desk", "night"], T0 + 3_000)
    one.alerts.board.settled(notice, "desk", T0 + 4_000)
    other = restarted(sink, [NEAR], T0 + 20_000)
    assert notices(other) == [notice._replace(channels=("night",))]
    other.alerts.board.settled(notice, "night", T0 + 21_000)
    assert notices(restarted(sink, [NEAR], T0 + 30_000)) == []


def test_a_notice_that_no_channel_wants_is_not_owed() -> None:
    sink = Sink()
    one = fired(sink)
    (notice,) = notices(one)
    one.alerts.board.owe(notice, ["desk"], T0 + 3_000)
    again = restarted(sink, [NEAR], T0 + 20_000)  # its channel is gone from the configuration
    again.alerts.board.owe(notices(again)[0], [], T0 + 20_000)
    assert notices(restarted(sink, [NEAR], T0 + 30_000)) == []
    test = Notice("test_1", "test", "critical", "a test", T0, {"rule": "liquidation"})
    one.alerts.board.owe(test, ["desk"], T0 + 4_000)
    one.alerts.board.settled(test, "desk", T0 + 4_000)
    assert [record.owed for record in sink.alerts.values()] == [()]


# --- what nobody looked at ----------------------------------------------------------------------------------------------


def trusting(sink: Sink) -> Engine:
    given = rules({"model-residual": RuleSettings("model_residual", steps={"warning": 0.0})}, builtin=False)
    return Engine("e", (OKX,), EngineSettings(), sink, ("okx_cross",), rules=given)  # type: ignore[arg-type]  # a sink of any kind


def wrong(factor: float, symbol: str = "BTC-USDT-SWAP", fence: int = 1, **fields: str) -> PositionState:
    """Return a long whose venue states the model's price times ``factor``."""
    stated = (2 * 100 - 100) / (2 * (1 - 0.0055)) * factor
    return position(
        symbol, venue_liquidation_price=f"{stated:.9f}", liquidation_known="price", fence=(fence,), **fields
    )


def test_a_model_that_was_not_compared_since_the_start_is_not_taken_for_one_that_agrees() -> None:
    sink, alert = Sink(), "model-residual:okx-main:USDT"
    one = trusting(sink)
    live: list[Event] = [feed("live"), feed("live", account=None)]
    one.turn([instrument(), balance("100"), *live], 1_000)
    one.turn([wrong(1.1)], 1_000)
    assert states(one) == {alert: "firing"}
    other = trusting(sink)
    other.restore([instrument(), balance("100"), wrong(1.1), *sink.events()], 5_000)
    other.turn(live, 6_000)
    # The venue says what the position is and not what it cannot know yet: nothing is compared, everything is live.
    other.turn([balance("100", fence=(2,)), snapshot(wrong(1.1, mark_price="110"), asked_at=1_000, fence=(2,))], 9_000)
    other.clock(9_500)
    assert other.positions[SUBJECT].restored_at is None
    assert states(other) == {alert: "firing"}
    assert "could not be determined" in row(other, "alerts", alert)["message"]
    other.turn([balance("100", fence=(3,)), wrong(1.0, fence=3, venue_at=10_000)], 10_000)  # type: ignore[arg-type]
    other.clock(10_500)
    assert states(other) == {alert: "resolved"}


def test_a_cooldown_is_no_longer_than_what_is_remembered() -> None:
    assert rules({"liquidation": RuleSettings(cooldown_s=DAY_MS / 1000)})
    with pytest.raises(ValueError, match=r"liquidation: cooldown_s is 86401; it must be 86400 \(a day\) at most"):
        rules({"liquidation": RuleSettings(cooldown_s=86_401.0)})
