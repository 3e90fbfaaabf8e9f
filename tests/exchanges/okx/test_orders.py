"""Orders and executions: what is open, what an execution is called, why it happened, which way its fee went."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from exchanges.events import Evidence, Fill, Order
from exchanges.okx import orders, wire
from exchanges.venue import Ask, Malformed, Notice, Output
from tests.exchanges.okx.samples import T0, fill_row, frame, only, order, position, positions, private


def row(**changes: Any) -> wire.OrderRow:
    return msgspec.convert(order(**changes), wire.OrderRow)


def pushed(*rows: dict[str, Any]) -> list[Output]:
    return private().receive(frame("orders", *rows, event=None, instType="ANY"), 0)


EXECUTED = {
    "state": "partially_filled",
    "tradeId": "123",
    "fillSz": "2",
    "fillPx": "60010.5",
    "fillTime": str(T0 + 3),
    "fillFee": "-0.6001",
    "fillFeeCcy": "USDT",
    "fillPnl": "0",
    "execType": "T",
    "accFillSz": "5",
    "avgPx": "60009",
}


def test_an_open_order() -> None:
    (found,) = pushed(order())
    assert found == Order(
        account="main",
        scope="orders",
        symbol="BTC-USDT-SWAP",
        order_id="900",
        open=True,
        side="buy",
        type="limit",
        status="live",
        category="normal",
        price="59000",
        size="10",
        filled="0",
        reduce_only=False,
        client_id="mine",
        created_at=T0 - 5,
        updated_at=T0,
        fence=(T0, 0),
    )
    assert isinstance(found, Order)
    assert found.id == "main:BTC-USDT-SWAP:900"


@pytest.mark.parametrize(
    ("state", "is_open"),
    [("live", True), ("partially_filled", True), ("filled", False), ("canceled", False), ("mmp_canceled", False)],
)
def test_states(state: str, is_open: bool) -> None:
    assert orders.parse_order(row(state=state), "main").open is is_open


def test_a_done_order_stays_done_at_the_same_moment() -> None:
    live, done = (orders.parse_order(row(state=state), "main") for state in ("live", "canceled"))
    assert live.fence < done.fence


def test_legs_and_words() -> None:
    found = orders.parse_order(row(posSide="short", px="", sz="", reduceOnly="true", clOrdId=""), "main")
    assert (found.position_side, found.price, found.size) == ("short", None, None)
    assert (found.reduce_only, found.client_id) == (True, None)
    assert orders.parse_order(row(reduceOnly=""), "main").reduce_only is None


def test_an_unknown_state_or_category_is_told_and_never_closes() -> None:
    out = pushed(order(state="pondering"))
    assert [each.open for each in only(Order, out)] == [True]
    (told,) = only(Notice, out)
    assert "pondering" in told.what
    (told,) = only(Notice, pushed(order(category="lottery")))
    assert "lottery" in told.what


def test_an_unreadable_order_is_told_and_the_rest_stands() -> None:
    out = pushed(order(side="sideways"), order())
    assert (len(only(Order, out)), len(only(Malformed, out))) == (1, 1)


def test_an_execution() -> None:
    (fill,) = only(Fill, pushed(order(**EXECUTED)))
    assert fill == Fill(
        account="main",
        id="main:BTC-USDT-SWAP:123:900",
        symbol="BTC-USDT-SWAP",
        order_id="900",
        side="buy",
        size="2",
        price="60010.5",
        at=T0 + 3,
        position="main:BTC-USDT-SWAP:net:cross:USDT",
        trade_id="123",
        fee="-0.6001",
        fee_ccy="USDT",
        role="taker",
        realized_pnl="0",
        cause="trade",
        category="normal",
    )


def test_the_same_execution_has_one_id_in_the_stream_and_in_details() -> None:
    (streamed,) = only(Fill, pushed(order(**EXECUTED)))
    detailed = orders.parse_fill(msgspec.convert(fill_row(), wire.FillRow), "main")
    assert (streamed.id, streamed.size, streamed.price, streamed.fee) == (
        detailed.id,
        detailed.size,
        detailed.price,
        detailed.fee,
    )


def test_a_message_without_an_execution_is_none() -> None:
    for changes in ({}, {"fillSz": "0", "tradeId": ""}, {"fillSz": "0", "tradeId": "123", "state": "canceled"}):
        out = pushed(order(**changes))
        assert (only(Fill, out), only(Ask, out)) == ([], [])


def test_an_older_message_says_the_fee_of_the_first_execution_alone() -> None:
    old = EXECUTED | {"fillFee": "", "fillPnl": "", "fee": "-1.5", "feeCcy": "USDT", "pnl": "7"}
    (later,) = only(Fill, pushed(order(**old)))
    assert (later.fee, later.realized_pnl) == (None, None)
    (first,) = only(
        Fill,
        pushed(
            order(
                **old,
            )
            | {"accFillSz": "2"}
        ),
    )
    assert (first.fee, first.fee_ccy, first.realized_pnl) == ("-1.5", "USDT", "7")


@pytest.mark.parametrize(
    ("category", "cause"),
    [
        ("normal", "trade"),
        ("twap", "trade"),
        ("ddh", "trade"),
        ("auto_conversion", "trade"),
        ("delivery", "settlement"),
    ],
)
def test_the_category_says_the_cause(category: str, cause: str) -> None:
    (fill,) = only(Fill, pushed(order(**EXECUTED, category=category)))
    assert (fill.cause, fill.category) == (cause, category)


@pytest.mark.parametrize(
    ("category", "cause"), [("full_liquidation", "liquidation"), ("partial_liquidation", "liquidation"), ("adl", "adl")]
)
@pytest.mark.parametrize("trade_id", ["0", "", "123"])
def test_a_system_order_is_evidence_and_its_executions_are_asked_for(category: str, cause: str, trade_id: str) -> None:
    """Details give these executions a negative trade id: under any other one they would count twice."""
    out = pushed(order(**EXECUTED | {"tradeId": trade_id}, category=category))
    assert only(Fill, out) == []
    (evidence,) = only(Evidence, out)
    assert (evidence.cause, evidence.ids) == (cause, ("900",))
    assert evidence.position == "main:BTC-USDT-SWAP:net:cross:USDT"
    (ask,) = only(Ask, out)
    assert ask.request.path == "/api/v5/trade/fills?instId=BTC-USDT-SWAP&ordId=900&limit=100"
    fill = fill_row(tradeId="-123", subType="104")
    answered = private().answer(ask.request, wire_answer(fill), T0, T0)
    assert [(each.id, each.cause) for each in only(Fill, answered)] == [("main:BTC-USDT-SWAP:-123:900", "liquidation")]


def wire_answer(*rows: dict[str, Any]) -> bytes:
    return msgspec.json.encode({"code": "0", "msg": "", "data": rows})


def test_a_system_order_with_the_trade_id_of_details_is_an_execution() -> None:
    (fill,) = only(Fill, pushed(order(**EXECUTED | {"tradeId": "-123"}, category="adl")))
    assert (fill.id, fill.cause) == ("main:BTC-USDT-SWAP:-123:900", "adl")


@pytest.mark.parametrize(
    "changes", [{"instType": "SPOT", "tdMode": "cash"}, {"instType": "MARGIN"}, {"ccy": ""}, {"posSide": ""}]
)
def test_a_position_is_named_only_without_doubt(changes: dict[str, str]) -> None:
    (fill,) = only(Fill, pushed(order(**EXECUTED | changes)))
    assert fill.position is None


def test_a_margin_currency_that_the_order_does_not_say_is_that_of_the_position() -> None:
    link = private()
    text = frame("orders", order(**EXECUTED | {"ccy": ""}), event=None, instType="ANY")
    assert [fill.position for fill in only(Fill, link.receive(text, 0))] == [None]
    link.receive(positions(position()), 0)
    assert [fill.position for fill in only(Fill, link.receive(text, 0))] == ["main:BTC-USDT-SWAP:net:cross:USDT"]
    link.receive(positions(position(ccy="BTC"), event="event_update"), 0)
    assert [fill.position for fill in only(Fill, link.receive(text, 0))] == [None]  # one of two


@pytest.mark.parametrize(
    ("code", "cause"),
    [
        ("1", "trade"),
        ("100", "liquidation"),
        ("107", "liquidation"),
        ("108", "trade"),
        ("112", "settlement"),
        ("128", "adl"),
        ("170", "settlement"),
        ("324", "trade"),
        ("", "trade"),
    ],
)
def test_details_say_the_cause_by_the_kind_of_their_bill(code: str, cause: str) -> None:
    found = orders.parse_fill(msgspec.convert(fill_row(subType=code), wire.FillRow), "main")
    assert (found.cause, found.category) == (cause, f"subType {code}" if code else "")
