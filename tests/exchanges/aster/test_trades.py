"""Orders, fills and books: signs, causes, and ids that are the same in the stream and in answers."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from exchanges.aster import trades
from exchanges.aster.pushes import OrderUpdate, PushedOrder
from exchanges.aster.wire import IncomeRow, OrderRow, TradeRow, decode
from exchanges.errors import ProtocolViolation
from exchanges.events import Evidence, Fill, FundingPayment, Order, Transfer
from tests.exchanges.aster.samples import NOW, income, order_push, order_row, trade
from tests.recordings import needs_recordings, recordings


def body(**fields: Any) -> PushedOrder:
    return decode(order_push(**fields), OrderUpdate, "an order").o


def order(**fields: Any) -> Order:
    return trades.pushed_order("main", body(**fields), (NOW, NOW + 1))


def fill(**fields: Any) -> Fill:
    found = trades.pushed_fill("main", body(**fields), NOW)
    assert found is not None
    return found


def read(cause: tuple[Any, str] = ("trade", ""), **fields: Any) -> Fill:
    return trades.fill("main", msgspec.convert(trade(**fields), TradeRow), cause)


def booked(kind: str = "FUNDING_FEE", value: str = "-0.375", hedge: bool | None = False, **fields: Any) -> list[Any]:
    return list(trades.income("main", msgspec.convert(income(kind, value, **fields), IncomeRow), hedge))


def test_the_same_fill_is_the_same_in_stream_and_answer() -> None:
    assert fill() == read()
    assert fill().id == "main:BTCUSDT:458032604:13351197194"


def test_a_taker_pays_and_a_maker_is_rebated_in_stream_and_answer() -> None:
    assert (fill().fee, fill().role) == ("-12.00000000", "taker")
    assert (fill(n="-3.5", m=True).fee, fill(n="-3.5", m=True).role) == ("3.5", "maker")
    assert (read().fee, read(commission="-3.5", maker=True).fee) == ("-12.00000000", "3.5")
    assert read(commission="3.5", maker=True).fee == "-3.5", "a maker may pay too"


def test_a_long_pays_and_a_short_receives_funding() -> None:
    """The books state the effect on the balance: at a positive rate a long's line is negative."""
    (paid,), (received,) = booked(value="-0.37500000"), booked(value="0.37500000")
    assert isinstance(paid, FundingPayment)
    assert (paid.amount, received.amount) == ("-0.37500000", "0.37500000")
    assert (paid.id, paid.position, paid.ccy, paid.at) == (
        "main:FUNDING_FEE:9689322392",
        "main:BTCUSDT:BOTH",
        "USDT",
        NOW,
    )


def test_in_hedge_mode_funding_does_not_say_its_leg() -> None:
    assert [booked(hedge=hedge)[0].position for hedge in (True, None)] == [None, None]


@pytest.mark.parametrize(
    ("fields", "cause", "category"),
    [
        ({"c": "autoclose-1596107620040000020", "x": "CALCULATED"}, "liquidation", "autoclose-"),
        ({"c": "autoclose-1596107620040000020", "o": "LIQUIDATION"}, "liquidation", "autoclose-"),
        ({"c": "adl_autoclose"}, "adl", "adl_autoclose"),
        ({"c": "settlement_autoclose-1"}, "settlement", "settlement_autoclose-"),
        ({"o": "LIQUIDATION"}, "liquidation", "LIQUIDATION"),
        ({"x": "CALCULATED"}, "liquidation", "CALCULATED"),
        ({"X": "NEW_ADL", "x": "CALCULATED"}, "adl", "NEW_ADL"),
        ({"X": "NEW_INSURANCE", "x": "CALCULATED"}, "liquidation", "NEW_INSURANCE"),
        ({}, "trade", ""),
        ({"c": "my autoclose-bot"}, "trade", ""),
    ],
)
def test_what_the_venue_closes_itself_is_told_from_a_trade(fields: Any, cause: str, category: str) -> None:
    assert (fill(**fields).cause, fill(**fields).category, order(**fields).category) == (cause, category, category)


def test_only_an_execution_is_a_fill() -> None:
    assert trades.pushed_fill("main", body(x="NEW", X="NEW", l="0", t=0), NOW) is None
    assert trades.pushed_fill("main", body(x="CALCULATED", X="NEW", l="0", t=0), NOW) is None
    assert trades.pushed_fill("main", body(x="CANCELED", X="CANCELED", l="0"), NOW) is None


@pytest.mark.parametrize(
    ("status", "filled", "open_"),
    [
        ("NEW", "0", True), ("PARTIALLY_FILLED", "0.1", True), ("FILLED", "0.5", False), ("CANCELED", "0", False),
        ("EXPIRED", "0", False), ("REJECTED", "0", False), ("NEW_INSURANCE", "0.1", True), ("NEW_ADL", "0.5", False),
    ],
)  # fmt: skip
def test_what_is_open(status: str, filled: str, open_: bool) -> None:
    assert order(X=status, z=filled).open is open_


@pytest.mark.parametrize("fields", [{"X": "FROZEN"}, {"x": "WHIM"}, {"S": "HOLD"}, {"ps": "NET"}])
def test_unknown_words_are_refused(fields: Any) -> None:
    with pytest.raises(ProtocolViolation, match="BTCUSDT"):
        order(**fields)


def test_an_execution_without_price_or_id_is_refused() -> None:
    with pytest.raises(ProtocolViolation, match="without price"):
        fill(L="0")
    with pytest.raises(ProtocolViolation, match="trade id"):
        fill(t=0)


def test_a_fill_without_commission_has_none_not_zero() -> None:
    pushed = body()
    bare = msgspec.structs.replace(pushed, n=None, fee_ccy=None)
    found = trades.pushed_fill("main", bare, NOW)
    assert found is not None
    assert (found.fee, found.fee_ccy) == (None, None)


def test_an_order_that_was_asked_is_the_streams_in_an_older_place() -> None:
    asked = trades.order("main", msgspec.convert(order_row(), OrderRow))
    assert (asked.id, asked.open, asked.side, asked.price, asked.size) == (
        "main:BTCUSDT:1917641",
        True,
        "buy",
        "59000",
        "0.40",
    )
    assert (asked.trigger_price, asked.average_price, asked.position_side) == (None, None, None)
    assert asked.fence < (NOW, NOW + 1), "what the stream said of the same moment stands"


def test_numbers_may_arrive_as_text() -> None:
    asked = trades.order("main", msgspec.convert(order_row(orderId="456722166", updateTime="1781083095176"), OrderRow))
    assert (asked.order_id, asked.updated_at) == ("456722166", 1781083095176)


def test_forced_orders_are_evidence() -> None:
    row = order_row(clientOrderId="adl_autoclose", status="FILLED", positionSide="SHORT", executedQty="0.40")
    found = trades.forced("main", msgspec.convert(row, OrderRow))
    assert (found.cause, found.ids, found.position) == ("adl", ("1917641",), "main:BTCUSDT:SHORT")
    with pytest.raises(ProtocolViolation, match="forced order"):
        trades.forced("main", msgspec.convert(order_row(), OrderRow))


@pytest.mark.parametrize(
    ("kind", "what"),
    [("TRANSFER", "transfer"), ("WELCOME_BONUS", "bonus"), ("AUTO_EXCHANGE", "conversion"), ("SOMETHING_NEW", "other"),
     ("MARKET_MERCHANT_RETURN_REWARD", "rebate")],
)  # fmt: skip
def test_money_that_came_or_went(kind: str, what: str) -> None:
    (transfer,) = booked(kind, "12.5", symbol="")
    assert isinstance(transfer, Transfer)
    assert (transfer.kind, transfer.amount, transfer.what, transfer.id) == (
        what,
        "12.5",
        kind,
        f"main:{kind}:9689322392",
    )


def test_what_fills_say_themselves_is_not_said_twice() -> None:
    assert booked("REALIZED_PNL") + booked("COMMISSION") == []


def test_the_insurance_fund_is_evidence_of_a_liquidation() -> None:
    transfer, evidence = booked("INSURANCE_CLEAR", "-3.25")
    assert (transfer.amount, transfer.kind) == ("-3.25", "liquidation")
    assert isinstance(evidence, Evidence)
    assert (evidence.cause, evidence.symbol, evidence.ids) == ("liquidation", "BTCUSDT", ("9689322392",))


@needs_recordings
def test_recorded_order_events() -> None:
    seen = {}
    for recording in recordings("binance", "ws-ORDER_TRADE_UPDATE"):
        row = decode(json.dumps(recording.messages()[0]), OrderUpdate, "an order").o
        name = recording.path.stem.partition("__")[2]
        seen[name] = (trades.pushed_order("main", row, (1, 1)).open, trades.pushed_fill("main", row, 1))
    assert seen["order_update_new"] == (True, None)
    assert seen["order_update_calculated_pending"] == (True, None)
    calculated, insured, traded = (
        seen[name][1] for name in ("order_update_calculated", "order_update_insurance", "order_update_trade")
    )
    assert calculated
    assert insured
    assert traded
    assert (calculated.cause, calculated.fee, calculated.realized_pnl) == ("liquidation", "-0.06937084", "-5.67")
    assert (insured.cause, seen["order_update_insurance"][0]) == ("liquidation", False)
    assert (traded.cause, traded.fee, traded.role) == ("trade", "-0.01000000", "maker")


@needs_recordings
def test_recorded_fills_orders_and_books() -> None:
    (found,) = [
        trades.fill("main", msgspec.convert(each, TradeRow), ("trade", ""))
        for recording in recordings("aster", "rest-userTrades")
        for each in recording.messages()[0]
    ]
    assert (found.fee, found.role, found.side, found.position) == ("-0.07819010", "taker", "sell", "main:BTCUSDT:SHORT")
    orders = [
        trades.order("main", msgspec.convert(recording.messages()[0], OrderRow))
        for recording in recordings("aster", "rest-order")
    ]
    assert [each.open for each in orders] == [True, True]
    (payment,) = [
        event
        for recording in recordings("aster", "rest-income")
        for each in recording.messages()[0]
        for event in trades.income("main", msgspec.convert(each, IncomeRow), None)
    ]
    assert isinstance(payment, FundingPayment)
    assert (payment.amount, payment.symbol, payment.at) == ("0.00134317", "ETHUSDT", 1621584000000)


def test_what_is_done_stays_done_within_one_millisecond() -> None:
    placed, partly = order(x="NEW", X="NEW", t=0, z="0"), order(X="PARTIALLY_FILLED", z="0.1")
    filled, cancelled = order(), order(x="CANCELED", X="CANCELED", t=0)
    assert placed.fence < partly.fence < filled.fence
    assert partly.fence < cancelled.fence
    assert (placed.open, partly.open, filled.open, cancelled.open) == (True, True, False, False)
