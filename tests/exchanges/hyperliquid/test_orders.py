"""Orders: full lists per dex, what a status means, one order by id."""

from __future__ import annotations

import json

import pytest

from exchanges.errors import ProtocolViolation
from exchanges.events import OpenOrders, Order
from exchanges.hyperliquid import build
from exchanges.venue import Heard, Malformed
from tests.exchanges.hyperliquid.samples import OTHER, USER, answer, frame, only, order, private
from tests.recordings import needs_recordings, recordings


def updated(status: str, **changes: object) -> object:
    row = {"order": order("BTC", 1, **changes), "status": status, "statusTimestamp": 77}
    (found,) = private().receive(frame("orderUpdates", [row]), 1)
    return found


def test_an_update() -> None:
    assert updated("open", cloid="0x9", reduceOnly=True) == Order(
        account="main",
        scope="orders:",
        symbol="BTC",
        order_id="1",
        open=True,
        side="buy",
        status="open",
        price="5.0",
        size="10.0",
        filled="4.0",
        reduce_only=True,
        client_id="0x9",
        created_at=1,
        updated_at=77,
        fence=(77,),
    )


@pytest.mark.parametrize(
    "status",
    ["filled", "canceled", "marginCanceled", "liquidatedCanceled", "scheduledCancel", "tickRejected", "rejected"],
)
def test_ends(status: str) -> None:
    found = updated(status)
    assert isinstance(found, Order)
    assert (found.open, found.status) == (False, status)


def test_a_cancelled_order_without_a_remainder_does_not_read_as_filled() -> None:
    cancelled, filled = updated("canceled", sz="0.0"), updated("filled", sz="0.0")
    assert isinstance(cancelled, Order)
    assert isinstance(filled, Order)
    assert (cancelled.filled, filled.filled) == (None, "10.0")


def test_a_triggered_order_is_open_and_an_unknown_status_changes_nothing() -> None:
    triggered = updated("triggered")
    assert isinstance(triggered, Order)
    assert triggered.open
    assert isinstance(updated("levitating"), Malformed)


def test_a_full_list_covers_its_dex_and_is_the_same_by_rest() -> None:
    rows = [
        order("xyz:GOLD", 1),
        order("xyz:GOLD", 2, isTrigger=True, triggerPx="4.5", orderType="Stop Market", tif=None),
    ]
    link = private(dexes=("xyz",))
    topic = build.topic("openOrders", user=USER, dex="xyz")
    listed, heard = link.receive(frame("openOrders", {"dex": "xyz", "user": USER, "orders": rows}), 1)
    assert heard == Heard(topics=(topic,))
    assert isinstance(listed, OpenOrders)
    (asked,) = answer(link, "frontendOpenOrders", rows, dex="xyz")
    assert isinstance(asked, OpenOrders)
    assert (listed.scope, listed.orders) == (asked.scope, asked.orders)
    assert (listed.asked_at, asked.asked_at) == (None, 49)
    assert [each.trigger_price for each in listed.orders] == [None, "4.5"]
    assert {each.scope for each in listed.orders} == {"orders:xyz"} == {listed.scope}


def test_a_list_with_a_row_that_cannot_be_read_is_no_list() -> None:
    (bad,) = private().receive(frame("openOrders", {"dex": "", "user": USER, "orders": [order("BTC", 1), {}]}), 1)
    assert isinstance(bad, Malformed)
    with pytest.raises(ProtocolViolation):
        answer(private(), "frontendOpenOrders", [{}], dex="")
    (foreign,) = private().receive(frame("openOrders", {"dex": "", "user": OTHER, "orders": []}), 1)
    assert isinstance(foreign, Malformed)


def test_one_order_is_found_or_does_not_exist_and_neither_is_an_error() -> None:
    link = private(stream=False)
    (by_id,), (by_client,) = link.find_order("BTC", "123"), link.find_order("BTC", "0xabc")
    assert json.loads(by_id.body or "") == {"type": "orderStatus", "user": USER, "oid": 123}
    assert json.loads(by_client.body or "")["oid"] == "0xabc"
    assert by_id.weight == 2
    found = {"status": "order", "order": {"order": order("BTC", 123), "status": "filled", "statusTimestamp": 9}}
    (done,) = answer(link, "orderStatus", found, oid=123)
    assert isinstance(done, Order)
    assert (done.id, done.open) == ("main:BTC:123", False)
    assert answer(link, "orderStatus", {"status": "unknownOid"}, oid=123) == []
    with pytest.raises(ProtocolViolation):
        answer(link, "orderStatus", {"status": "perhaps"}, oid=123)


@needs_recordings
def test_captured_lists_are_read_whole() -> None:
    for kind, least in (("rest-frontendOpenOrders", 3), ("rest-openOrders", 10)):
        for source in recordings("hyperliquid", kind, "captured"):
            (found,) = source.messages()
            (listed,) = only(OpenOrders, answer(private(), "frontendOpenOrders", found, dex=""))
            assert len(listed.orders) == len(found) >= least
            assert len({each.id for each in listed.orders}) == len(found)
