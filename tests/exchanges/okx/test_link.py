"""The private connection: what is held until the mode is known, snapshots, events, closes, and replays."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exchanges.errors import ProtocolViolation
from exchanges.events import AccountMode, BalanceState, Event, PositionsSnapshot, PositionState
from exchanges.okx import build, tables
from exchanges.venue import Ask, HttpRequest, Malformed, Notice, Output, Refresh
from tests.exchanges.okx.samples import (
    MULTI,
    T0,
    account,
    coin,
    envelope,
    frame,
    only,
    position,
    positions,
    private,
    said,
)

LONG = position(posSide="long")
SHORT = position(posSide="short")


def config(level: str) -> tuple[HttpRequest, bytes, int, int]:
    return build.config_request(), envelope({"acctLv": level}), T0, T0


def listed(outputs: list[Output], scope: str = "positions:SWAP") -> list[str]:
    """Return the ids of the one snapshot of a scope."""
    (found,) = [each for each in only(PositionsSnapshot, outputs) if each.scope == scope]
    return [each.id for each in found.positions]


# --- order of things ---------------------------------------------------------------------------------------------------


def test_topics_and_bootstrap() -> None:
    link = private(None)
    assert link.topics() == ("positions", "account", "orders", "balance_and_position")
    assert [request.path for request in link.bootstrap()] == ["/api/v5/account/config"]
    # Wanted, not needed: a refusal of it holds nothing back.
    assert link.price_topics(["BTC-USDT-SWAP"]) == ("liquidation-warning",)


def test_ready_when_mode_and_both_snapshots_are_there() -> None:
    link = private(None)
    assert not link.ready
    link.receive(positions(LONG), 0)
    link.receive(frame("account", account(coin())), 0)
    assert not link.ready
    link.answer(*config("2"))
    assert link.ready


def test_what_comes_before_the_mode_is_said_right_after_it() -> None:
    link = private(None)
    assert said(link.receive(positions(LONG, SHORT), 0)) == []
    assert said(link.receive(frame("account", account(coin(), **MULTI)), 0)) == []
    closed = LONG | {"pos": "0", "uTime": str(T0 + 5)}
    opened = position("ETH-USDT-SWAP", uTime=str(T0 + 6))
    assert said(link.receive(positions(closed, opened, event="event_update"), 0)) == []
    out = link.answer(*config("3"))
    assert out[0] == AccountMode(account="main", mode="multi-currency margin mode (acctLv 3)")
    assert listed(out) == ["main:BTC-USDT-SWAP:short:cross:USDT", "main:ETH-USDT-SWAP:net:cross:USDT"]
    assert {state.pool for each in only(PositionsSnapshot, out) for state in each.positions} == {"USD"}
    (balance,) = only(BalanceState, out)
    assert (balance.full, [pool.pool for pool in balance.pools]) == (True, ["USD"])


# --- snapshots ---------------------------------------------------------------------------------------------------------


def test_a_snapshot_covers_every_type() -> None:
    out = private().receive(positions(LONG, position("BTC-USD-261225", instType="FUTURES", ccy="BTC")), 0)
    snapshots = only(PositionsSnapshot, out)
    assert {each.scope: len(each.positions) for each in snapshots} == {
        "positions:SWAP": 1,
        "positions:FUTURES": 1,
        "positions:OPTION": 0,
        "positions:MARGIN": 0,
        "positions:EVENTS": 0,
    }
    assert {each.asked_at for each in snapshots} == {None}
    assert {each.fence for each in snapshots} == {(T0 + 10,)}
    assert all(state.scope == each.scope for each in snapshots for state in each.positions)


def test_an_empty_account_is_a_complete_snapshot() -> None:
    for data in (positions(), positions(event=None)):
        link = private()
        assert listed(link.receive(data, 0)) == []


def test_old_frames_are_snapshots() -> None:
    assert listed(private().receive(positions(LONG, event=None), 0)) == ["main:BTC-USDT-SWAP:long:cross:USDT"]


def test_pages_are_one_snapshot() -> None:
    link = private()
    assert said(link.receive(positions(LONG, page=1, last=False), 0)) == []
    assert said(link.receive(positions(SHORT, page=2, last=False), 0)) == []
    assert len(listed(link.receive(positions(position("ETH-USDT-SWAP"), page=3, last=True), 0))) == 3


def test_a_lost_page_closes_nothing() -> None:
    link = private()
    link.receive(positions(LONG, page=1, last=False), 0)
    (output,) = said(link.receive(positions(SHORT, page=3, last=True), 0))
    assert isinstance(output, Refresh)


def test_a_position_opened_between_pages_is_in_the_snapshot() -> None:
    link = private()
    link.receive(positions(LONG, page=1, last=False), 0)
    (event,) = said(link.receive(positions(position("ETH-USDT-SWAP"), event="event_update"), 0))
    assert isinstance(event, PositionState)
    assert event.id in listed(link.receive(positions(SHORT, page=2, last=True), 0))


def test_an_unreadable_row_closes_nothing_of_its_type() -> None:
    link = private()
    broken = SHORT | {"pos": "many"}
    out = link.receive(positions(LONG, broken, position("BTC-USD-261225", instType="FUTURES")), 0)
    (told,) = only(Malformed, out)
    assert "pos" in told.what
    assert "positions:SWAP" not in {each.scope for each in only(PositionsSnapshot, out)}
    assert [each.id for each in only(PositionState, out)] == ["main:BTC-USDT-SWAP:long:cross:USDT"]
    assert listed(out, "positions:FUTURES") == ["main:BTC-USD-261225:net:cross:USDT"]


@pytest.mark.parametrize("row", [5, None, [], {}, {"instType": 5}])
def test_a_row_of_unknown_type_may_be_of_any(row: Any) -> None:
    out = private().receive(positions(LONG, row), 0)
    assert only(PositionsSnapshot, out) == []
    assert len(only(PositionState, out)) == 1


def test_a_new_type_is_told_and_the_rest_stands() -> None:
    out = private().receive(positions(LONG, position("X", instType="LOTTERY")), 0)
    (told,) = only(Malformed, out)
    assert "LOTTERY" in told.what
    assert len(listed(out)) == 1


def test_a_margin_row_without_direction_is_told() -> None:
    out = private().receive(positions(position("BTC-USDT", "1", instType="MARGIN")), 0)
    assert len(only(Malformed, out)) == 1
    assert "positions:MARGIN" not in {each.scope for each in only(PositionsSnapshot, out)}


def test_zero_rows_are_not_open() -> None:
    assert listed(private().receive(positions(LONG, SHORT | {"pos": "0"}), 0)) == ["main:BTC-USDT-SWAP:long:cross:USDT"]


def test_a_snapshot_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "MAX_ROWS", 1)
    (output,) = said(private().receive(positions(LONG, SHORT), 0))
    assert isinstance(output, Refresh)
    link = private()
    link.receive(positions(LONG, event="event_update"), 0)
    assert isinstance(said(link.receive(positions(SHORT, event="event_update"), 0))[-1], Refresh)
    assert isinstance(said(link.receive(frame("account", account(coin(), coin("BTC"))), 0))[-1], Refresh)


# --- events ------------------------------------------------------------------------------------------------------------


def test_each_row_of_an_event_is_one_state() -> None:
    link = private()
    link.receive(positions(LONG, SHORT), 0)
    closed = LONG | {"pos": "0", "uTime": str(T0 + 5), "avgPx": ""}
    out = link.receive(positions(closed, event="event_update"), 0)
    assert [(each.id, each.size) for each in only(PositionState, out)] == [("main:BTC-USDT-SWAP:long:cross:USDT", "0")]


def test_closing_a_leg_leaves_the_other() -> None:
    link = private()
    link.receive(positions(LONG, SHORT), 0)
    (state,) = said(link.receive(positions(LONG | {"pos": "0", "uTime": str(T0 + 5)}, event="event_update"), 0))
    assert isinstance(state, PositionState)
    assert state.id == "main:BTC-USDT-SWAP:long:cross:USDT"
    assert listed(link.receive(positions(SHORT), 0)) == ["main:BTC-USDT-SWAP:short:cross:USDT"]


def test_cross_and_isolated_of_one_instrument_coexist() -> None:
    isolated = position(mgnMode="isolated", margin="50", imr="")
    found = listed(private().receive(positions(position(), isolated), 0))
    assert found == ["main:BTC-USDT-SWAP:net:cross:USDT", "main:BTC-USDT-SWAP:net:isolated:USDT"]


# --- account -----------------------------------------------------------------------------------------------------------


def test_account_snapshots_replace_and_events_merge() -> None:
    link = private()
    (full,) = said(link.receive(frame("account", account(coin(), coin("BTC", "1"))), 0))
    (changed,) = said(link.receive(frame("account", account(coin("BTC", "2")), event="event_update"), 0))
    assert isinstance(full, BalanceState)
    assert isinstance(changed, BalanceState)
    assert (full.full, [each.ccy for each in full.coins]) == (True, ["USDT", "BTC"])
    assert (changed.full, [(each.ccy, each.total) for each in changed.coins]) == (False, [("BTC", "2")])


def test_account_pages_are_one_balance() -> None:
    link = private()
    assert said(link.receive(frame("account", account(coin()), page=1, last=False), 0)) == []
    (balance,) = said(link.receive(frame("account", account(coin("BTC", "1")), page=2), 0))
    assert isinstance(balance, BalanceState)
    assert [each.ccy for each in balance.coins] == ["USDT", "BTC"]
    link.receive(frame("account", account(coin()), page=1, last=False), 0)
    assert isinstance(link.receive(frame("account", account(coin()), page=3), 0)[0], Refresh)


def test_an_unreadable_currency_is_not_gone() -> None:
    out = private().receive(frame("account", account(coin(), coin("BTC", "much"))), 0)
    (told,) = only(Malformed, out)
    assert "cashBal" in told.what
    (balance,) = only(BalanceState, out)
    assert (balance.full, [each.ccy for each in balance.coins]) == (False, ["USDT"])


def test_an_unreadable_account_is_told() -> None:
    assert only(Malformed, private().receive(frame("account", {"uTime": "1"}), 0))
    assert only(Malformed, private().receive(frame("account", event=None), 0))


def test_an_account_without_a_row_is_an_empty_one() -> None:
    (balance,) = said(private().receive(frame("account"), 0))
    assert isinstance(balance, BalanceState)
    assert (balance.full, balance.coins) == (True, ())


def test_a_switch_of_mode_is_asked_about_once_and_said_again() -> None:
    link = private("2")
    link.receive(positions(LONG), 0)
    multi = frame("account", account(coin(), **MULTI))
    (ask,) = said(only(Ask, link.receive(multi, 0)))
    assert ask.request == build.config_request()
    assert only(Ask, link.receive(multi, 0)) == []
    out = link.answer(*config("3"))
    (found,) = [each for each in only(PositionsSnapshot, out) if each.positions]
    assert found.positions[0].pool == "USD"
    assert only(Ask, link.receive(multi, 0)) == []


def test_portfolio_margin_is_not_computable() -> None:
    (mode,) = only(AccountMode, private(None).answer(*config("4")))
    assert (mode.mode, mode.computable) == ("portfolio margin mode (acctLv 4)", False)


# --- REST --------------------------------------------------------------------------------------------------------------


def test_a_rest_answer_of_one_type_covers_that_type() -> None:
    rest = dict(LONG)
    del rest["pTime"]
    (found,) = private().answer(build.positions_request("SWAP"), envelope(rest), T0 + 100, T0 + 200)
    assert isinstance(found, PositionsSnapshot)
    assert (found.scope, found.asked_at, found.fence) == ("positions:SWAP", T0 + 100, ())
    assert found.positions[0].fence == (T0, 7)


def test_a_rest_answer_of_all_covers_all() -> None:
    out = private().answer(build.positions_request(), envelope(), T0, T0)
    assert {each.scope for each in only(PositionsSnapshot, out)} == {f"positions:{each}" for each in tables.KINDS}


@pytest.mark.parametrize("query", ["?instId=BTC-USDT-SWAP", "?instType=SWAP&instId=BTC-USDT-SWAP", "?posId=1"])
def test_a_narrow_rest_answer_closes_only_what_it_names(query: str) -> None:
    request = HttpRequest(path=tables.POSITIONS_PATH + query, signed=True)
    out = private().answer(request, envelope(LONG | {"pos": "0"}), T0, T0)
    assert [(each.size, each.id) for each in only(PositionState, out)] == [("0", "main:BTC-USDT-SWAP:long:cross:USDT")]
    assert only(PositionsSnapshot, out) == []


@pytest.mark.parametrize("row", [LONG | {"pos": "x"}, 5, position("BTC-USDT", "1", instType="MARGIN")])
def test_a_bad_rest_row_is_never_read_as_flat(row: Any) -> None:
    with pytest.raises(ProtocolViolation):
        private().answer(build.positions_request(), envelope(SHORT, row), T0, T0)


def test_balances_by_rest() -> None:
    (full,) = private().answer(build.balance_request(), envelope(account(coin())), T0 + 1, T0 + 2)
    assert isinstance(full, BalanceState)
    assert (full.full, full.asked_at) == (True, T0 + 1)
    request = HttpRequest(path=f"{tables.BALANCE_PATH}?ccy=USDT", signed=True)
    (part,) = private().answer(request, envelope(account(coin())), T0, T0)
    assert isinstance(part, BalanceState)
    assert not part.full
    with pytest.raises(ProtocolViolation):
        private().answer(build.balance_request(), envelope(), T0, T0)
    with pytest.raises(ProtocolViolation):
        private().answer(build.config_request(), envelope(), T0, T0)


# --- replay: a link that never subscribed ------------------------------------------------------------------------------


def test_without_a_subscription_nothing_is_awaited() -> None:
    link = private(None, subscribed=False)
    out = link.receive(positions(LONG), 0)
    assert out[0] == AccountMode(account="main", mode="futures mode (acctLv 2, inferred)")
    assert len(listed(out)) == 1
    assert only(AccountMode, link.receive(positions(LONG), 0)) == []


def test_an_inferred_mode_gives_way_to_evidence() -> None:
    link = private(None, subscribed=False)
    link.receive(positions(LONG), 0)
    out = link.receive(frame("account", account(coin(), **MULTI)), 0)
    assert out[0] == AccountMode(account="main", mode="multi-currency margin mode (acctLv 3, inferred)")
    assert [each.pool for found in only(PositionsSnapshot, out) for each in found.positions] == ["USD"]


def test_rest_answers_before_the_mode_are_said_again() -> None:
    link = private(None, subscribed=False)
    link.answer(build.positions_request("SWAP"), envelope(LONG), T0, T0)
    out = link.answer(build.balance_request(), envelope(account(coin(), **MULTI)), T0, T0)
    assert [each.pool for found in only(PositionsSnapshot, out) for each in found.positions] == ["USD"]
    (mode, *_, balance) = link.answer(*config("2"))
    assert isinstance(mode, AccountMode)
    assert isinstance(balance, BalanceState)
    assert [pool.pool for pool in balance.pools] == ["USDT"]


def test_confirming_an_inferred_mode_says_nothing_twice() -> None:
    link = private(None, subscribed=False)
    link.receive(positions(LONG), 0)
    out = link.answer(*config("2"))
    assert only(Event, out) == [AccountMode(account="main", mode="futures mode (acctLv 2)")]


def test_answers_that_disagree_come_to_rest() -> None:
    link = private(None, subscribed=False)
    link.answer(build.balance_request(), envelope(account(coin())), T0, T0)
    out = link.receive(frame("account", account(coin(), **MULTI)), 0)
    assert len(only(AccountMode, out)) == 1


def test_kept_answers_are_bounded() -> None:
    link = private(None, subscribed=False)
    for n in range(50):
        link.answer(HttpRequest(path=f"{tables.POSITIONS_PATH}?instId=C{n}"), envelope(), T0, T0)
    assert len(link._answers) <= 8


def test_a_subscription_to_one_type_covers_that_type() -> None:
    link = private(None, subscribed=False)
    out = link.receive(frame("positions", LONG, instType="SWAP"), 0)
    assert [each.scope for each in only(PositionsSnapshot, out)] == ["positions:SWAP"]
    out = link.receive(frame("positions", LONG, instType="SWAP", instId="BTC-USDT-SWAP"), 0)
    assert only(PositionsSnapshot, out) == []
    assert len(only(PositionState, out)) == 1


# --- any interleaving --------------------------------------------------------------------------------------------------

SYMBOLS = ("A-USDT-SWAP", "B-USDT-SWAP", "C-USDT-SWAP")


def truth_applied(outputs: list[Output], shown: dict[str, PositionState]) -> None:
    """Apply outputs as their contract says."""
    for each in outputs:
        if isinstance(each, PositionsSnapshot):
            for key in [key for key, state in shown.items() if state.scope == each.scope]:
                del shown[key]
            shown |= {state.id: state for state in each.positions}
        elif isinstance(each, PositionState):
            shown.pop(each.id, None)
            if each.size != "0":
                shown[each.id] = each


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.sampled_from(SYMBOLS), st.integers(-2, 2)), max_size=12),
    st.integers(0, 12),
    st.integers(0, 12),
    st.integers(1, 3),
)
def test_any_moment_of_the_config_and_of_snapshots_ends_at_the_truth(
    changes: list[tuple[str, int]], config_at: int, snapshot_at: int, page_size: int
) -> None:
    link = private(None)
    held: dict[str, dict[str, Any]] = {}
    shown: dict[str, PositionState] = {}

    def snapshot() -> None:
        rows = [row for row in held.values() if row["pos"] != "0"]
        parts = [rows[start : start + page_size] for start in range(0, len(rows), page_size)] or [[]]
        for number, part in enumerate(parts, start=1):
            truth_applied(link.receive(positions(*part, page=number, last=number == len(parts)), 0), shown)

    snapshot()
    for number, (symbol, size) in enumerate(changes):
        if number == config_at:
            truth_applied(link.answer(*config("2")), shown)
        held[symbol] = position(symbol, str(size), uTime=str(T0 + number))
        truth_applied(link.receive(positions(held[symbol], event="event_update"), 0), shown)
        if number == snapshot_at:
            snapshot()
    if config_at >= len(changes):
        truth_applied(link.answer(*config("2")), shown)
    signed = {each.symbol: int(each.size) * (1 if each.side == "long" else -1) for each in shown.values()}
    assert signed == {symbol: int(row["pos"]) for symbol, row in held.items() if row["pos"] != "0"}


@given(st.data())
def test_damaged_frames_never_raise_and_never_close(data: st.DataObject) -> None:
    whole = positions(LONG, SHORT)
    start = data.draw(st.integers(0, len(whole)))
    end = data.draw(st.integers(start, len(whole)))
    text = whole[:start] + data.draw(st.text(max_size=5)) + whole[end:]
    for each in only(PositionsSnapshot, private().receive(text, 0)):
        if each.scope == "positions:SWAP" and "eventType" in json.loads(text):
            named = json.loads(text)["data"]
            assert len(each.positions) == len([row for row in named if row["instType"] == "SWAP" and float(row["pos"])])


def test_an_unknown_position_mode_is_told() -> None:
    out = private(None).answer(build.config_request(), envelope({"acctLv": "2", "posMode": "new_mode"}), T0, T0)
    assert [each.hedge for each in only(AccountMode, out)] == [None]
    assert "new_mode" in only(Notice, out)[0].what
    assert not only(Notice, private(None).answer(build.config_request(), envelope({"acctLv": "2"}), T0, T0))


def test_positions_of_an_unknown_type_are_told_and_shown() -> None:
    link = private()
    out = link.receive(frame("positions", position(), instType="NEW", last=True), T0)
    assert "NEW" in only(Notice, out)[0].what
    assert only(PositionState, out)
    assert only(PositionsSnapshot, out) == []
