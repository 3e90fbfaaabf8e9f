"""balance_and_position: why a position changed, and its new size before the positions channel says so, never twice."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchanges.events import Event, Evidence, PositionsSnapshot, PositionState
from exchanges.okx import build, tables
from exchanges.okx.link import PrivateLink
from exchanges.venue import Ask, Malformed, Notice, Output
from tests.exchanges.okx.samples import T0, bill, envelope, frame, only, position, positions, private

HELD = position()
ID = "main:BTC-USDT-SWAP:net:cross:USDT"


def short_row(row: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """Return what balance_and_position says of a position."""
    names = ("instType", "instId", "mgnMode", "posSide", "pos", "ccy", "posCcy", "avgPx", "uTime", "tradeId")
    return {name: row[name] for name in names} | {"posId": "77", "nonSettleAvgPx": "", "settledPnl": ""} | changes


def brief(event_type: str, *rows: dict[str, Any], at: int = T0 + 50, trades: list[dict[str, str]] | None = None) -> str:
    row = {"pTime": str(at), "eventType": event_type, "balData": [], "posData": list(rows), "trades": trades or []}
    return frame("balance_and_position", row, event=None)


def holding(*rows: dict[str, Any]) -> PrivateLink:
    link = private()
    link.receive(positions(*rows), 0)
    return link


CHANGED = short_row(HELD, pos="4", uTime=str(T0 + 40), tradeId="9")


@pytest.mark.parametrize(
    ("event_type", "cause"),
    [
        ("liquidation", "liquidation"),
        ("adl", "adl"),
        ("delivered", "settlement"),
        ("exercised", "settlement"),
        ("settlement", "settlement"),
        ("funding_fee", "funding"),
        ("adjust_margin", "margin"),
        ("set_leverage", "margin"),
        ("transferred", "margin"),
    ],
)
def test_an_event_names_the_cause_of_each_position(event_type: str, cause: str) -> None:
    out = holding(HELD).receive(brief(event_type, CHANGED, trades=[{"instId": "BTC-USDT-SWAP", "tradeId": "9"}]), 0)
    assert only(Evidence, out) == [
        Evidence(
            account="main",
            symbol="BTC-USDT-SWAP",
            cause=cause,
            what=f"balance_and_position {event_type}",
            at=T0 + 50,
            ids=("9",),
            position=ID,
        )
    ]


def test_without_a_trade_the_position_is_the_evidence() -> None:
    (found,) = only(Evidence, holding(HELD).receive(brief("liquidation", CHANGED), 0))
    assert found.ids == ("77",)


@pytest.mark.parametrize("event_type", ["snapshot", "filled", "claw_back"])
def test_some_events_name_no_cause(event_type: str) -> None:
    out = holding(HELD).receive(brief(event_type, CHANGED), 0)
    assert (only(Evidence, out), only(Notice, out)) == ([], [])


def test_an_unknown_event_is_told() -> None:
    out = holding(HELD).receive(brief("teleported", CHANGED), 0)
    (told,) = only(Notice, out)
    assert "teleported" in told.what
    assert only(Evidence, out) == []
    assert [state.size for state in only(PositionState, out)] == ["4"]


def test_a_change_is_told_at_once_without_figures_that_no_longer_hold() -> None:
    (state,) = only(PositionState, holding(HELD).receive(brief("filled", CHANGED), 0))
    assert (state.id, state.size, state.fence, state.leverage) == (ID, "4", (T0 + 40, 9), "10")
    assert state.venue_unrealized_pnl is state.mark_price is state.venue_maintenance_margin is None
    assert (state.venue_liquidation_price, state.liquidation_known) == (None, "unknown")


def test_the_positions_channel_then_says_it_whole_at_the_same_place() -> None:
    link = holding(HELD)
    link.receive(brief("filled", CHANGED), 0)
    whole = HELD | {"pos": "4", "uTime": str(T0 + 40), "tradeId": "9", "pTime": str(T0 + 90), "upl": "2"}
    (state,) = only(PositionState, link.receive(positions(whole, event="event_update"), 0))
    assert (state.size, state.fence, state.venue_unrealized_pnl) == ("4", (T0 + 40, 9), "2")
    assert only(PositionState, link.receive(brief("filled", CHANGED), 0)) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"uTime": str(T0 - 1), "pos": "4"},
        {"uTime": str(T0), "pos": "4"},
        {"uTime": str(T0 + 40)},
    ],
)
def test_what_is_older_or_no_change_is_no_news(changes: dict[str, str]) -> None:
    assert only(PositionState, holding(HELD).receive(brief("filled", short_row(HELD, **changes)), 0)) == []


def test_a_new_position_and_a_close() -> None:
    link = holding(HELD)
    new = position("ETH-USDT-SWAP", "3", uTime=str(T0 + 30))
    gone = short_row(HELD, pos="0", avgPx="", uTime=str(T0 + 30), tradeId="8")
    out = only(PositionState, link.receive(brief("filled", short_row(new), gone), 0))
    assert [(state.symbol, state.size) for state in out] == [("ETH-USDT-SWAP", "3"), ("BTC-USDT-SWAP", "0")]
    assert only(PositionState, link.receive(brief("filled", short_row(position("X-USDT-SWAP", "0"))), 0)) == []


def test_a_flip_is_one_row() -> None:
    (state,) = only(
        PositionState, holding(HELD).receive(brief("filled", short_row(HELD, pos="-4", uTime=str(T0 + 1))), 0)
    )
    assert (state.id, state.side, state.size) == (ID, "short", "4")


def test_before_the_first_snapshot_nothing_is_told() -> None:
    assert only(PositionState, private().receive(brief("filled", CHANGED), 0)) == []


def test_while_the_mode_is_awaited_it_is_kept() -> None:
    link = private(None)
    link.receive(positions(HELD), 0)
    assert only(PositionState, link.receive(brief("filled", CHANGED), 0)) == []
    out = link.answer(build.config_request(), envelope({"acctLv": "2"}), T0, T0)
    assert [state.size for each in only(PositionsSnapshot, out) for state in each.positions] == ["4"]


def test_what_cannot_be_read_is_told() -> None:
    out = holding(HELD).receive(brief("liquidation", {"instId": 5}, CHANGED), 0)
    assert (len(only(Malformed, out)), len(only(Evidence, out))) == (1, 1)
    assert only(Malformed, private().receive(frame("balance_and_position", {"pTime": "x"}, event=None), 0))


# --- the money behind an event -----------------------------------------------------------------------------------------


def asked(outputs: list[Output]) -> list[str]:
    return [each.request.path for each in only(Ask, outputs)]


def test_the_bills_of_an_event_are_asked_for_together() -> None:
    link = holding(HELD)
    first = asked(link.receive(brief("funding_fee", CHANGED), 0))
    begin = T0 + 50 - 600_000
    assert first == [f"/api/v5/account/bills?type=8&begin={begin}&end={tables.LATEST_MS}&limit=100"]
    # Meanwhile two more positions pay: one further question, when the first is answered.
    assert asked(link.receive(brief("funding_fee", CHANGED, at=T0 + 60), 0)) == []
    assert asked(link.receive(brief("funding_fee", CHANGED, at=T0 + 70), 0)) == []
    out = link.answer(
        only(Ask, holding(HELD).receive(brief("funding_fee", CHANGED), 0))[0].request, envelope(bill()), 0, 0
    )
    assert asked(out) == [f"/api/v5/account/bills?type=8&begin={begin + 10}&end={tables.LATEST_MS}&limit=100"]
    assert [each.id for each in only(Event, out) if hasattr(each, "id")] == ["main:bill:500"]


@pytest.mark.parametrize(
    ("event_type", "paths"),
    [
        ("transferred", ["/api/v5/account/bills?type=1&"]),
        ("interest_deduction", ["/api/v5/account/bills?type=7&"]),
        ("settlement", ["/api/v5/account/bills?type=34&"]),
        ("exercised", ["/api/v5/account/bills?type=3&"]),
        ("claw_back", ["/api/v5/account/bills?type=10&"]),
        ("liquidation", ["/api/v5/account/bills?type=5&", "/api/v5/trade/fills?begin="]),
        ("adl", ["/api/v5/account/bills?type=9&", "/api/v5/trade/fills?begin="]),
        ("delivered", ["/api/v5/account/bills?type=3&", "/api/v5/trade/fills?begin="]),
    ],
)
def test_each_event_has_its_questions(event_type: str, paths: list[str]) -> None:
    questions = asked(holding(HELD).receive(brief(event_type, CHANGED), 0))
    assert [question[: len(path)] for question, path in zip(questions, paths, strict=True)] == paths


@pytest.mark.parametrize("event_type", ["filled", "set_leverage", "adjust_margin", "snapshot"])
def test_events_without_money_ask_nothing(event_type: str) -> None:
    assert asked(holding(HELD).receive(brief(event_type, CHANGED), 0)) == []


# --- any order ---------------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.integers(-3, 3), st.booleans(), st.booleans()), max_size=10), st.randoms())
def test_any_interleaving_of_both_channels_ends_at_the_newest(
    changes: list[tuple[int, bool, bool]], random: Any
) -> None:
    """Each change comes over both channels, over one, late or twice: what is applied by its fence is the newest that came."""
    link = holding(HELD)
    frames = []
    for number, (size, both, twice) in enumerate(changes, start=1):
        row = HELD | {
            "pos": str(size),
            "uTime": str(T0 + number),
            "tradeId": str(7 + number),
            "pTime": str(T0 + number),
        }
        told = [positions(row, event="event_update"), brief("filled", short_row(row), at=T0 + number)]
        chosen = told if both else [random.choice(told)]
        frames += [(number, text) for text in chosen * (2 if twice else 1)]
    random.shuffle(frames)
    newest = HELD["pos"], T0
    for _, text in frames:
        for state in only(PositionState, link.receive(text, 0)):
            if state.fence[0] >= newest[1]:
                newest = f"{'-' if state.side == 'short' else ''}{state.size}", state.fence[0]
    if changes:
        # A change that leaves size and entry as they were is no news over the brief channel.
        assert newest[0] == str(changes[-1][0])
