"""What the clock judges again: nothing that is as it was, and everything that is not, as if every row were judged every time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exchanges.events import Event
from gateway.config import EngineSettings
from gateway.core.accounts import AccountInfo
from gateway.core.alerts.bounds import Bounds
from gateway.core.alerts.machine import HARMLESS, UNKNOWN_MS, WORST
from gateway.core.alerts.records import Silence
from gateway.core.alerts.rules import RuleSettings, Select, rules
from gateway.core.alerts.watches import OfAccounts, OfPools, OfPositions
from gateway.engine import Engine
from tests.gateway.events_of import OKX, balance, feed, fill, instrument, mark, position, row, snapshot

T0 = 1_763_683_200_000 // 86_400_000 * 86_400_000 + 3_600_000
OTHER = AccountInfo(name="okx-other", venue="okx", env="live", user="ann")
SYMBOLS = ("BTC-USDT-SWAP", "ETH-USDT-SWAP", "SOL-USDT-SWAP")
WAITING = RuleSettings(for_s=3.0, cooldown_s=5.0)
OWN = {
    "liquidation": WAITING,
    "loss": RuleSettings("unrealized_pnl", steps={"info": -10.0, "error": -40.0}, clear=5.0, cooldown_s=4.0),
    "share": RuleSettings("unrealized_pnl_share", steps={"warning": -0.02}, select=Select(dust=True)),
    "score": RuleSettings("risk_score", steps={"info": 0.3}),
}


def desk(given: dict[str, RuleSettings] | None = None) -> Engine:
    one = Engine("e", (OKX, OTHER), EngineSettings(), rules=rules(OWN if given is None else given))
    one.turn([*(instrument(symbol) for symbol in SYMBOLS), feed("live", account=None)], T0)
    for account in ("okx-main", "okx-other"):
        one.turn([balance("1000", account=account), feed("live", account=account)], T0)
    return one


def judgements(one: Engine, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the list in which every judgement of the board is noted from now on, by alert."""
    noted: list[str] = []
    judge: Callable[..., Any] = one.alerts.board.judge

    def noting(rule: Any, subject: Any, *rest: Any, **named: Any) -> Any:
        noted.append(f"{rule.name}:{subject.id}")
        return judge(rule, subject, *rest, **named)

    monkeypatch.setattr(one.alerts.board, "judge", noting)
    return noted


def unknown(symbol: str = SYMBOLS[0], **fields: Any) -> Event:
    return position(symbol, liquidation_known="unknown", **fields)


def test_what_is_as_it_was_is_not_judged_again(monkeypatch: pytest.MonkeyPatch) -> None:
    one = desk({})
    one.turn([unknown(), mark("110", at=T0)], T0)
    for after in range(1_000, UNKNOWN_MS + 2_000, 1_000):
        one.turn([mark(f"{110 + after % 7}", at=T0 + after)], T0 + after)
        one.clock(T0 + after)
    alert = f"liquidation:{position().id}"
    assert row(one, "alerts", alert)["state"] == "firing"
    noted = judgements(one, monkeypatch)
    for after in range(UNKNOWN_MS + 2_000, UNKNOWN_MS + 9_000, 1_000):
        one.turn([mark(f"{110 + after % 7}", at=T0 + after)], T0 + after)
        one.clock(T0 + after)
    assert alert not in noted
    one.turn([feed("down")], T0 + UNKNOWN_MS + 9_500)
    one.clock(T0 + UNKNOWN_MS + 9_600)
    one.clock(T0 + UNKNOWN_MS + 9_700)
    assert noted.count(alert) == 1, "once: it is not live any more"
    assert row(one, "alerts", alert)["held"] == "private_feed"


def test_an_unknown_row_of_a_dead_stream_is_judged_once_and_again_when_it_lives(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one = desk({})
    one.turn([feed("down")], T0)
    one.turn([unknown()], T0)
    noted, alert = judgements(one, monkeypatch), f"liquidation:{position().id}"
    for after in range(1_000, 5_000, 1_000):
        one.turn([mark(f"{110 + after % 7}", at=T0 + after)], T0 + after)
        one.clock(T0 + after)
    assert noted.count(alert) <= 1
    one.turn([feed("live")], T0 + 5_000)
    one.clock(T0 + 5_500)
    assert row(one, "alerts", alert)["state"] == "pending"
    one.clock(T0 + 5_500 + UNKNOWN_MS)
    assert row(one, "alerts", alert)["state"] == "firing"


def test_a_value_that_moves_within_its_interval_is_shown_by_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    one = desk({})
    one.turn([position(venue_liquidation_price="100", liquidation_known="price")], T0)
    alert = f"liquidation:{position().id}"
    one.clock(T0 + 500)
    noted = judgements(one, monkeypatch)
    one.turn([mark("109", at=T0 + 1_000)], T0 + 1_000)
    one.clock(T0 + 1_500)
    assert row(one, "alerts", alert)["value"] == pytest.approx(1 - 100 / 109, rel=1e-5)
    assert alert not in noted


def test_figures_of_a_polled_account_are_held_while_its_marks_are_dead() -> None:
    one = desk({})
    near = position(venue_liquidation_price="100", liquidation_known="price")
    one.turn([feed("live", polled=True)], T0)
    one.turn([snapshot(near, asked_at=T0)], T0 + 100)
    alert = f"liquidation:{near.id}"
    one.turn([feed("down", account=None)], T0 + 1_000)
    one.clock(T0 + 1_500)
    assert row(one, "alerts", alert)["held"] == "mark_feed"


# --- as if every row were judged every time ---------------------------------------------------------------------------------

accounts = st.sampled_from(["okx-main", "okx-other"])
prices = st.sampled_from(["80", "94", "99", "101", "104", "110", "130"])
known = st.sampled_from([("price", "92"), ("price", "98"), ("none", None), ("unknown", None)])
steps = st.one_of(
    st.tuples(st.just("mark"), st.sampled_from(SYMBOLS), prices),
    st.tuples(st.just("report"), accounts, st.sampled_from(SYMBOLS), known, st.sampled_from(["2", "0.001"])),
    st.tuples(st.just("gone"), accounts),
    st.tuples(st.just("feed"), st.sampled_from(["okx-main", "okx-other", None]), st.sampled_from(["live", "down"])),
    st.tuples(st.just("fill"), st.sampled_from(SYMBOLS)),
    st.tuples(st.just("balance"), accounts, st.sampled_from(["1000", "60"])),
    st.tuples(st.just("silence"), st.integers(1, 9)),
    st.tuples(st.just("clock"), st.sampled_from([1_000, 3_000, 11_000])),
)


def play(one: Engine, script: list[tuple[Any, ...]]) -> list[object]:
    """Return everything that was shown and told after each step."""
    now, fence, seen = T0 + 1_000, 1, list[object]()
    for kind, *of in script:
        now, fence = now + 100, fence + 1
        match kind, of:
            case "mark", [symbol, price]:
                one.turn([mark(price, symbol, at=now)], now)
            case "report", [account, symbol, (known_, price), size]:
                report = position(
                    symbol, account, size=size, liquidation_known=known_, venue_liquidation_price=price, fence=(fence,),
                    venue_at=now,
                )  # fmt: skip
                one.turn([report], now)
            case "gone", [account]:
                one.turn([snapshot(account=account, fence=(fence,), asked_at=now)], now)
            case "feed", [account, state]:
                one.turn([feed(state, account=account)], now)
            case "fill", [symbol]:
                one.turn([fill(at=now, symbol=symbol)], now)
            case "balance", [account, cash]:
                one.turn([balance(cash, account=account, fence=(fence,))], now)
            case "silence", [lasts]:
                one.silence(Silence(id=f"s{lasts}", at=now, until=now + 1_000 * lasts, by="ann"), now)
            case "clock", [after]:
                now += after
                one.clock(now)
        rows = {row_id: _of_note(row(one, "alerts", row_id)) for row_id in sorted(one.tables["alerts"].ids())}
        seen.append((kind, rows, [notice[:5] for notice in one.alerts.board.outbox]))
        one.alerts.board.outbox.clear()
    return seen


def _of_note(shown: dict[str, Any]) -> dict[str, Any]:
    """Return what has to be right of an alert's row: of one that is over, that it is over."""
    return shown if shown["state"] != "resolved" else {name: shown[name] for name in ("state", "since", "severity")}


def judging_every_row(one: Engine) -> Engine:
    """Return an engine whose clock judges all rows, whatever is known of them."""
    for watch in one.alerts._watches:
        if isinstance(watch, OfPositions | OfPools | OfAccounts):
            watch.bounds.stirred = lambda index, *_: (np.arange(len(index)), np.arange(0))  # type: ignore[method-assign]
    return one


@settings(max_examples=60)
@given(st.lists(steps, max_size=25))
def test_nothing_is_missed_by_judging_only_what_is_new(script: list[tuple[Any, ...]]) -> None:
    script = [("report", "okx-main", SYMBOLS[0], ("price", "98"), "2"), *script, ("clock", 1_000), ("clock", 11_000)]
    for new, whole in zip(play(desk(), script), play(judging_every_row(desk()), script), strict=True):
        assert new == whole


@settings(max_examples=60)
@given(st.lists(steps, max_size=25))
def test_the_columns_of_what_is_not_live_and_dust_say_what_each_row_says(script: list[tuple[Any, ...]]) -> None:
    one = desk()
    play(one, script)
    look = one.alerts._look(T0 + 10_000_000)
    for place, slot in enumerate(look.rows.slot.tolist()):
        held = look.slots[slot]
        assert look.held[place] == look.code_of(held)
        assert look.dust[place] == look.is_dust(held)
    for place, name in enumerate(look.worth.names):
        account = one.accounts[name]
        assert look.held_by_account[place] == look.code_of_all(account, look.scene.held(account))
        for pool in account.pools.values():
            members = [one.positions[row_id] for row_id in pool.members]
            assert look.dust_by_pool[pool.number] == all(map(look.is_dust, members))
            if members:
                assert look.held_by_pool[pool.number] == look.code_of_all(account, members)


# --- the intervals ------------------------------------------------------------------------------------------------------------


def stirred(bounds: Bounds, value: float, held: int = 0, now: int = 0) -> tuple[list[int], list[int]]:
    due, moved = bounds.stirred(
        np.array([100]), np.array([value], dtype=np.float64), np.array([held], dtype=np.int8), now
    )
    return due.tolist(), moved.tolist()


def test_a_followed_row_is_due_where_anything_but_its_value_is_new() -> None:
    bounds = Bounds(HARMLESS)
    assert stirred(bounds, 0.5) == ([], []), "nobody watches it"
    bounds.set(100, 0.1, 0.9)
    assert stirred(bounds, 0.5) == ([], []), "it is not followed"
    assert stirred(bounds, 0.9) == ([0], [])
    bounds.follow(100, 0.5, held=0, due=1_000.0)
    assert stirred(bounds, 0.5) == ([], [])
    assert stirred(bounds, 0.6) == ([], [0])
    assert stirred(bounds, 0.6) == ([], []), "that is known now"
    assert stirred(bounds, 0.6, held=1) == ([0], [])
    assert stirred(bounds, 0.6, now=1_000) == ([0], [])
    assert stirred(bounds, float("nan")) == ([0], [])
    bounds.set(100, -np.inf, np.inf)
    bounds.follow(100, float("nan"))
    bounds.follow(100, float("nan"), held=0, due=np.inf)
    assert (stirred(bounds, WORST), stirred(bounds, HARMLESS), stirred(bounds, 0.5)) == (([], []), ([], []), ([0], []))
    bounds.stir()
    assert stirred(bounds, WORST) == ([0], [])
    bounds.forget(100)
    assert stirred(bounds, 0.5) == ([], [])
