"""Orders: open or done, which leg, and what a cancellation warns of."""

from __future__ import annotations

import json
from typing import Any

import pytest

from exchanges.bybit import build, tables
from exchanges.bybit.orders import parse_order
from exchanges.bybit.parse import Origin
from exchanges.bybit.wire import OrderRow, decode
from exchanges.errors import ProtocolViolation
from exchanges.events import LiquidationWarning, OpenOrders, Order
from exchanges.venue import Ask, Malformed, Output
from tests.exchanges.bybit.samples import answer, order, private, push
from tests.recordings import needs_recordings, recordings

OPEN_USDT = build.open_orders("linear:USDT")


def _parse(**fields: Any) -> Order:
    return parse_order(decode(json.dumps(order(**fields)), OrderRow, "an order"), Origin("main", order=7))


def _orders(*rows: dict[str, Any], cursor: str = "") -> bytes:
    return answer({"list": list(rows), "nextPageCursor": cursor})


@needs_recordings
def test_a_captured_open_order() -> None:
    (recording,) = recordings("bybit", "rest-order-realtime", "captured")
    (body,) = recording.messages()
    (found,) = private().answer(OPEN_USDT, json.dumps(body).encode(), 1000, 1000)
    assert isinstance(found, OpenOrders)
    assert (found.account, found.scope, found.asked_at) == ("main", "linear:USDT", 1000)
    assert found.orders == (
        Order(
            account="main",
            scope="linear:USDT",
            symbol="BTCUSDT",
            order_id="85c50482-267b-4a42-b03b-e97e4d8fdf12",
            open=True,
            side="buy",
            type="Limit",
            status="New",
            category="CreateByUser",
            price="58895.2",
            size="0.001",
            filled="0",
            reduce_only=False,
            created_at=1719443133613,
            updated_at=1719443133614,
            fence=(1719443133614, 1719446356613),
        ),
    )


@needs_recordings
def test_recorded_pushes_and_lists() -> None:
    statuses = {}
    for recording in [*recordings("bybit", "ws-order"), *recordings("bybit", "ws-private-sequence")]:
        flat = [
            one for message in recording.messages() for one in (message if isinstance(message, list) else [message])
        ]
        output = [one for frame in flat for one in private().receive(json.dumps(frame), 0)]
        name = recording.path.stem.rpartition("__")[2]
        statuses[name] = [(one.symbol, one.status, one.open) for one in output if isinstance(one, Order)]
    assert statuses == {
        "Subscriptions_V5_Private_Order": [("ETH-30DEC22-1400-C", "Filled", False)],
        "ws_account_order": [("BTCUSDT", "Cancelled", False)],
        "ws_account_order_filled": [("BTCUSDT", "Filled", False)],
        "ws_account_order_partially_filled_rejected": [],  # of spot
        "SOLUSDT_open_UTA_cross": [("SOLUSDT", "Filled", False)],
    }
    for recording in recordings("bybit", "rest-order-realtime"):
        for message in recording.messages():
            (found,) = private().answer(OPEN_USDT, json.dumps(message).encode(), 0, 0)
            assert isinstance(found, OpenOrders)
            assert all(one.open for one in found.orders)


@pytest.mark.parametrize("status", tables.ORDER_STATUSES)
def test_every_status_is_open_or_not(status: str) -> None:
    done = {"Rejected", "PartiallyFilledCanceled", "Filled", "Cancelled", "Deactivated"}
    assert _parse(orderStatus=status).open is (status not in done)


@pytest.mark.parametrize(("index", "side"), [(0, None), (1, "long"), (2, "short")])
def test_the_leg_it_acts_on(index: int, side: str | None) -> None:
    assert _parse(positionIdx=index).position_side == side


@pytest.mark.parametrize(
    ("fields", "category"),
    [
        ({"createType": "CreateByLiq"}, "CreateByLiq"),
        ({"createType": "", "stopOrderType": "TakeProfit"}, "TakeProfit"),
        ({"createType": None, "stopOrderType": "UNKNOWN"}, ""),
    ],
)
def test_where_an_order_came_from(fields: dict[str, str | None], category: str) -> None:
    assert _parse(**fields).category == category


@pytest.mark.parametrize(
    ("fields", "scope"),
    [
        ({"symbol": "BTCPERP"}, "linear:USDC"),
        ({"symbol": "BTCUSD", "category": "inverse"}, "inverse"),
        ({"symbol": "BTC-27MAR26-70000-P", "category": "option"}, "option"),
    ],
)
def test_scopes_are_those_of_the_lists(fields: dict[str, str], scope: str) -> None:
    assert _parse(**fields).scope == scope
    assert scope in tables.SCOPES


@pytest.mark.parametrize(
    "fields", [{"orderStatus": "Dreaming"}, {"side": "None"}, {"positionIdx": 3}, {"category": "moon"}]
)
def test_what_is_not_known_is_no_guess(fields: dict[str, Any]) -> None:
    with pytest.raises(ProtocolViolation):
        _parse(**fields)
    malformed, neighbour = private().receive(push("order", [order(**fields), order()]), 0)
    assert isinstance(malformed, Malformed)
    assert isinstance(neighbour, Order)
    with pytest.raises(ProtocolViolation):
        private().answer(OPEN_USDT, _orders(order(**fields)), 0, 0)


@pytest.mark.parametrize("cancel", sorted(tables.LIQUIDATION_CANCELS))
def test_orders_that_are_taken_away_to_free_margin_warn(cancel: str) -> None:
    gone, warning = private().receive(push("order", [order(orderStatus="Cancelled", cancelType=cancel)]), 0)
    assert isinstance(gone, Order)
    assert not gone.open
    assert isinstance(warning, LiquidationWarning)
    assert (warning.symbol, warning.at) == ("BTCUSDT", 1719443133614)
    assert cancel in warning.what


# --- Lists and single orders ----------------------------------------------------------------------------------------


def _asked(output: list[Output]) -> list[str]:
    return [one.request.path for one in output if isinstance(one, Ask)]


def test_pages_make_one_list_in_which_an_order_counts_once() -> None:
    link = private()
    link.state()
    (ask,) = link.answer(OPEN_USDT, _orders(order(orderId="a"), order(orderId="b"), cursor="c"), 2000, 2001)
    assert isinstance(ask, Ask)
    assert ask.request == build.page(OPEN_USDT, "c")
    newer = order(orderId="b", orderStatus="PartiallyFilled", updatedTime="1719443133999")
    (found,) = link.answer(ask.request, _orders(newer, order(orderId="c", orderStatus="Filled")), 2010, 2011)
    assert isinstance(found, OpenOrders)
    assert [(one.order_id, one.status) for one in found.orders] == [("a", "New"), ("b", "PartiallyFilled")]
    assert found.asked_at == 2000


def test_one_order_is_looked_for_among_the_newest_and_then_among_all() -> None:
    link = private()
    (newest,) = link.find_order("BTCUSDT", "order-1")
    assert newest == build.find_order(tables.OPEN_ORDERS, "linear", "BTCUSDT", "order-1")
    (found,) = link.answer(newest, _orders(order(orderStatus="Filled")), 0, 1)
    assert isinstance(found, Order)
    (all_,) = link.answer(newest, _orders(), 0, 1)
    assert all_ == Ask(request=build.find_order(tables.ORDER_HISTORY, "linear", "BTCUSDT", "order-1"))
    (old,) = link.answer(all_.request, _orders(order(orderStatus="Cancelled"), cursor="x"), 0, 1)
    assert isinstance(old, Order)
    assert link.answer(all_.request, _orders(order(orderId="another")), 0, 1) == []


@pytest.mark.parametrize(
    ("symbol", "category"),
    [
        ("BTCUSDT", "linear"),
        ("BTCPERP", "linear"),
        ("BTCUSDT-26DEC25", "linear"),
        ("BTC-26DEC25", "linear"),
        ("BTCUSD", "inverse"),
        ("BTCUSDH25", "inverse"),
        ("BTC-27MAR26-70000-P-USDT", "option"),
        ("ETH-28FEB25-2800-C", "option"),
    ],
)
def test_the_category_is_told_by_the_symbol(symbol: str, category: str) -> None:
    (request,) = private().find_order(symbol, "x")
    assert f"category={category}&" in request.path
