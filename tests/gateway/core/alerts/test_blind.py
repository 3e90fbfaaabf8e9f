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
