"""Blindness: since when, through every attempt to connect and every reason; never told as over before it is."""

from __future__ import annotations

import pytest

from exchanges.events import Event, FeedState, VerificationFailed, Verified
from gateway.engine import Engine
from tests.gateway.core.alerts.test_alerts import LIVE, T0, Sink, desk, restarted, states, ticks, told
from tests.gateway.events_of import feed, mark, position, row, snapshot

ACCOUNT, MARKS = "blind:okx-main", "blind:okx@live"
ATTEMPT: tuple[FeedState, ...] = ("connecting", "authenticating", "subscribing", "down")


def watched(*, sink: Sink | None = None) -> Engine:
    """Return an engine to which everything is live, with a position whose marks come."""
    one = desk(sink=sink)
    one.turn([*LIVE, position()], T0)
    ticks(one, "110", at=T0)
    return one


def blind(one: Engine) -> list[tuple[str, str]]:
    """Take out what is to be told of blindness: (state, severity) without what it is of."""
    return [notice[1:] for notice in told(one, of="blind")]


# --- attempts to connect --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("account", "alert"), [("okx-main", ACCOUNT), (None, MARKS)])
def test_attempts_to_connect_are_one_blindness(account: str | None, alert: str) -> None:
    one = watched()
    one.turn([feed("down", account=account)], T0)
    for second in range(1, 301):
        if second % 7 == 0:
            one.turn([feed(ATTEMPT[second // 7 % 4], account=account)], T0 + 1_000 * second)
        if account is not None:
            one.turn([mark("110", at=T0 + 1_000 * second)], T0 + 1_000 * second)
        one.clock(T0 + 1_000 * second)
    assert blind(one) == [("firing", "warning"), ("firing", "error"), ("firing", "critical")]
    assert row(one, "alerts", alert)["value"] == 300
    assert row(one, "positions", position().id)["stale"]["since"] == T0
    one.turn([feed("live", account=account), mark("110", at=T0 + 301_000)], T0 + 301_000)
    one.clock(T0 + 301_500)
    assert blind(one) == [("resolved", "critical")]


def test_another_connection_that_goes_down_too_is_the_same_blindness() -> None:
    one = watched()
    one.turn([feed("down")], T0)
    one.turn([feed("down", id="okx-main:orders", connection="orders")], T0 + 20_000)
    one.turn([feed("live")], T0 + 30_000)
    assert row(one, "accounts", "okx-main")["stale"] == {"since": T0, "reason": "private_feed"}
    one.turn([feed("live", id="okx-main:orders", connection="orders")], T0 + 40_000)
    one.turn([feed("down")], T0 + 50_000)
    assert row(one, "accounts", "okx-main")["stale"] == {"since": T0 + 50_000, "reason": "private_feed"}


def test_another_reason_of_the_same_blindness_keeps_its_age() -> None:
    one = watched()
    one.turn([Verified(account="okx-main", asked_at=T0)], T0)
    one.turn([feed("down")], T0)
    for second in range(1, 71):
        now = T0 + 1_000 * second
        if second >= 20:
            one.turn([VerificationFailed(account="okx-main", at=now, error="away")], now)
        one.turn([mark("110", at=now)], now)
        one.clock(now)
    assert row(one, "accounts", "okx-main")["stale"] == {"since": T0, "reason": "venue_unreachable"}
    one.turn([Verified(account="okx-main", asked_at=T0 + 71_000)], T0 + 71_000)
    one.clock(T0 + 71_500)
    assert row(one, "accounts", "okx-main")["stale"] == {"since": T0, "reason": "private_feed"}
    assert blind(one) == [("firing", "warning"), ("firing", "error")]


# --- restarts -------------------------------------------------------------------------------------------------------------


def went_on(sink: Sink, *stored: Event) -> Engine:
    """Return an engine that was started again ten seconds after five minutes of blindness."""
    return restarted(sink, list(stored), T0 + 310_000)


def back(at: int) -> list[Event]:
    """Return what the venue says of an account once its stream is live, without marks."""
    return [feed("live"), snapshot(position(fence=(2,), mark_price=None), asked_at=at)]


def test_a_restart_within_an_outage_does_not_end_it() -> None:
    sink = Sink()
    one = watched(sink=sink)
    one.turn([feed("down")], T0)
    for second in range(1, 301):
        one.turn([mark("110", at=T0 + 1_000 * second)], T0 + 1_000 * second)
        one.clock(T0 + 1_000 * second)
    assert blind(one)[-1] == ("firing", "critical")
    other = went_on(sink, position())
    other.clock(T0 + 311_000)
    assert row(other, "alerts", ACCOUNT)["state"] == "firing"
    other.turn([feed("connecting")], T0 + 311_500)
    # Its venue answers, its stream is down still.
    other.turn([snapshot(position(fence=(2,)), asked_at=T0 + 312_000)], T0 + 312_500)
    other.clock(T0 + 313_000)
    other.clock(T0 + 400_000)
    assert (told(other, of=ACCOUNT), states(other)[ACCOUNT]) == ([], "firing")
    other.turn(back(T0 + 401_000), T0 + 401_000)
    other.clock(T0 + 401_500)
    assert ("resolved", "critical") in blind(other)


def test_a_restart_of_an_account_of_which_nothing_was_ever_said_does_not_end_its_blindness() -> None:
    sink = Sink()
    one = desk(sink=sink)
    one.turn([feed("down")], T0)
    for second in range(1, 301):
        one.clock(T0 + 1_000 * second)
    other = desk()
    other.restore(sink.events(), T0 + 310_000)
    other.clock(T0 + 311_000)
    assert states(other)[ACCOUNT] == "firing"
    other.turn([feed("live"), snapshot()], T0 + 312_000)
    other.clock(T0 + 312_500)
    assert states(other)[ACCOUNT] == "resolved"


@pytest.mark.parametrize("alert", [MARKS, f"{MARKS}:BTC-USDT-SWAP"])
def test_a_restart_while_marks_are_dead_does_not_end_it(alert: str) -> None:
    sink = Sink()
    one = watched(sink=sink)
    if alert == MARKS:
        one.turn([feed("down", account=None)], T0)
    for second in range(1, 301):
        one.clock(T0 + 1_000 * second)
    assert states(one)[alert] == "firing"
    other = went_on(sink, position())
    other.clock(T0 + 311_000)
    other.turn([feed("connecting", account=None)], T0 + 311_500)
    other.clock(T0 + 312_000)
    other.turn([*back(T0 + 312_500), feed("live", account=None)], T0 + 312_500)
    other.turn([feed("connecting", account=None)], T0 + 313_000)
    other.clock(T0 + 313_500)
    assert (states(other)[alert], row(other, "alerts", alert)["severity"]) == ("firing", "critical")
    other.turn([feed("live", account=None), mark("110", at=T0 + 314_000)], T0 + 314_000)
    other.clock(T0 + 314_500)
    assert states(other)[alert] == "resolved"


def test_blindness_of_what_came_from_storage_alone_is_told_of_like_any_other() -> None:
    other = went_on(Sink(), position())
    other.clock(T0 + 321_000)
    assert ("firing", "warning") in blind(other)
    assert "nobody has confirmed what was stored" in row(other, "alerts", ACCOUNT)["message"]
    assert "held" not in row(other, "alerts", ACCOUNT)
