"""Which position an execution is of: whichever of order, bill and execution is told first."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import msgspec
import pytest

from exchanges.events import Fill
from exchanges.okx import build, placing, tables
from exchanges.okx.link import PrivateLink
from exchanges.okx.wire import BillRow, FillRow
from exchanges.venue import HttpRequest
from tests.exchanges.okx.samples import T0, bill, envelope, fill_row, frame, only, order, position, private
from tests.exchanges.okx.test_brief import brief, short_row
from tests.exchanges.okx.test_orders import EXECUTED

FILLS, BILLS = build.fills_request(0), build.bills_request(0)
CROSS, ISOLATED = (f"main:BTC-USDT-SWAP:net:{mode}:USDT" for mode in ("cross", "isolated"))


def trade(**changes: Any) -> dict[str, Any]:
    """Return the bill of an execution."""
    return bill(type="2", subType="1", ordId="900", tradeId="123", billId="700") | changes


def told(link: PrivateLink, request: HttpRequest, *rows: Any) -> list[tuple[str | None, str | None]]:
    """Return trade ids and positions of the fills in an answer."""
    fills = only(Fill, link.answer(request, envelope(*rows), T0, T0))
    return [(fill.trade_id, fill.position) for fill in fills]


def test_bills_are_asked_first_so_that_executions_are_of_the_position_that_they_name() -> None:
    link = private()
    link.sign(build.config_request(), T0)
    asked = [one.path.partition("?")[0] for one in link.history(T0 - 3_600_000, [])]
    assert asked == [tables.BILLS_PATH, tables.FILLS_PATH]
    both = trade(mgnMode="isolated"), trade(ordId="901", billId="701")
    assert told(link, BILLS, *both) == []
    fills = fill_row(), fill_row(tradeId="124", ordId="901", billId="701"), fill_row(tradeId="125", billId="702")
    assert told(link, FILLS, *fills) == [("123", ISOLATED), ("124", CROSS), ("125", ISOLATED)]


def test_an_execution_whose_bill_comes_later_is_told_again_once() -> None:
    link = private()
    assert told(link, FILLS, fill_row(), fill_row(tradeId="124")) == [("123", None), ("124", None)]
    assert told(link, BILLS, trade(mgnMode="isolated")) == [("123", ISOLATED), ("124", ISOLATED)]
    assert told(link, BILLS, trade(mgnMode="isolated")) == []


@pytest.mark.parametrize("sequence", list(permutations(("order", "fill", "position"))))
def test_an_order_says_it_too_once_its_margin_currency_is_known(sequence: tuple[str, ...]) -> None:
    link = private()
    found: list[str | None] = []
    for what in sequence:
        match what:
            case "order":
                text = frame("orders", order(tdMode="isolated", ccy=""), event=None, instType="ANY")
                found += [fill.position for fill in only(Fill, link.receive(text, 0))]
            case "position":
                text = frame("positions", position(mgnMode="isolated"), instType="ANY")
                found += [fill.position for fill in only(Fill, link.receive(text, 0))]
            case _:
                found += [place for _, place in told(link, FILLS, fill_row())]
    found += [place for _, place in told(link, BILLS, trade(mgnMode="isolated"))]
    assert found[-1] == ISOLATED


def pushed(link: PrivateLink, **changes: Any) -> list[str | None]:
    """Return the positions of the executions that a push of an order in isolated mode leads to."""
    text = frame("orders", order(**EXECUTED | {"tdMode": "isolated", "ccy": ""} | changes), event=None, instType="ANY")
    return [fill.position for fill in only(Fill, link.receive(text, 0))]


def test_the_first_execution_of_an_isolated_position_is_told_again_once_the_position_is_seen() -> None:
    link = private()
    assert pushed(link) == [None]
    for found in ([ISOLATED], []):
        text = frame("positions", position(mgnMode="isolated"), event="event_update", instType="ANY")
        assert [fill.position for fill in only(Fill, link.receive(text, 0))] == found
    assert pushed(link, tradeId="124") == [ISOLATED]


def test_a_position_that_came_and_went_is_seen_in_the_events_alone() -> None:
    link = private()
    assert pushed(link) == [None]
    event = brief("filled", short_row(position(mgnMode="isolated"), pos="0"))
    assert [fill.position for fill in only(Fill, link.receive(event, 0))] == [ISOLATED]


@pytest.mark.parametrize(
    ("fill", "said", "place"),
    [
        ({"posSide": "long"}, {}, "main:BTC-USDT-SWAP:long:cross:USDT"),
        ({"ordId": ""}, {"ordId": "", "type": "14"}, CROSS),  # a block trade: the bill is the same
        ({"ordId": ""}, {"ordId": "", "type": "14", "billId": "701"}, None),
        ({"tradeId": "-123", "subType": "104"}, {"type": "5", "subType": "104"}, CROSS),
        ({}, {"mgnMode": ""}, None),
        ({}, {"mgnMode": "cash"}, None),
        ({"posSide": ""}, {}, None),
        ({"instType": "SPOT"}, {}, None),
        (
            {"instId": "BTC-USD_UM-SWAP"},
            {"instId": "BTC-USD_UM-SWAP"},
            None,
        ),  # of several dollars it may be another one
    ],
)
def test_a_position_is_named_only_without_doubt(fill: dict[str, str], said: dict[str, str], place: str | None) -> None:
    link = private()
    told(link, BILLS, trade(**said))
    assert [found for _, found in told(link, FILLS, fill_row(**fill))] == [place]


def test_what_waits_is_bounded_by_executions_and_is_of_contracts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placing, "_MOST_WAITING", 3)
    one = placing.Placing("main")
    for number in range(10):  # no bill of it would ever name a position
        one.fill(msgspec.convert(fill_row(instType="SPOT", tradeId=str(number)), FillRow))
    assert one.waiting == 0
    for number in range(10):
        one.fill(msgspec.convert(fill_row(tradeId=str(number), ordId=str(number // 2)), FillRow))
        assert one.waiting <= 3
    placed = [fill for ord_id in range(5) for fill in one.bill(msgspec.convert(trade(ordId=str(ord_id)), BillRow))]
    assert [fill.trade_id for fill in placed] == ["8", "9"]
    assert one.waiting == 0
