"""Which leg a fill belongs to: only where it is certain."""

from __future__ import annotations

import json
from typing import Any

import pytest

from exchanges.bybit import tables
from exchanges.bybit.legs import Legs
from exchanges.bybit.wire import ExecutionRow, decode
from exchanges.events import Fill, FundingPayment
from tests.exchanges.bybit.samples import answer, execution, listed, order, position, private, push


def _of_fill(legs: Legs, category: str = "linear", **fields: Any) -> str | None:
    row = decode(json.dumps(execution(category=category, **fields)), ExecutionRow, "an execution")
    return legs.of_fill(category, row)


def test_a_symbol_that_was_never_seen_may_be_in_either_mode() -> None:
    legs = Legs("main")
    assert _of_fill(legs) is None
    assert legs.of_holding("linear", "BTCUSDT", "Buy") is None


def test_one_way_accounts_have_one_leg() -> None:
    legs = Legs("main")
    legs.saw("linear", "BTCUSDT", 0)
    assert _of_fill(legs, closedSize="") == "main:linear:BTCUSDT:0"
    assert legs.of_holding("linear", "BTCUSDT", "Sell") == "main:linear:BTCUSDT:0"


@pytest.mark.parametrize(
    ("side", "closed_size", "index"), [("Buy", "0", 1), ("Sell", "0.0", 2), ("Buy", "1", 2), ("Sell", "1", 1)]
)
def test_in_hedge_mode_side_and_closed_size_tell(side: str, closed_size: str, index: int) -> None:
    legs = Legs("main")
    legs.saw("linear", "BTCUSDT", 2)
    assert _of_fill(legs, side=side, closedSize=closed_size) == f"main:linear:BTCUSDT:{index}"


def test_in_hedge_mode_without_a_closed_size_nothing_tells() -> None:
    legs = Legs("main")
    legs.saw("linear", "BTCUSDT", 1)
    assert _of_fill(legs, closedSize="") is None


def test_the_newest_row_tells_the_mode() -> None:
    legs = Legs("main")
    legs.saw("linear", "BTCUSDT", 0)
    legs.saw("linear", "BTCUSDT", 1)
    assert legs.of_holding("linear", "BTCUSDT", "Sell") == "main:linear:BTCUSDT:2"


@pytest.mark.parametrize(
    ("category", "symbol"), [("linear", "BTCPERP"), ("linear", "BTC-26DEC25"), ("option", "BTC-27MAR26-70000-P")]
)
def test_contracts_that_know_no_hedge_mode(category: str, symbol: str) -> None:
    assert _of_fill(Legs("main"), category, symbol=symbol) == f"main:{category}:{symbol}:0"


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "MAX_BUFFERED", 1)
    legs = Legs("main")
    legs.saw("linear", "AUSDT", 0)
    legs.saw("linear", "BUSDT", 0)
    assert legs.of_holding("linear", "AUSDT", "Buy") is None
    assert legs.of_holding("linear", "BUSDT", "Buy") == "main:linear:BUSDT:0"


def test_orders_of_stream_and_rest_tell_the_link_too() -> None:
    link = private()
    *_, linear, _, _, _ = link.state()
    link.receive(push("order", [order("BTCUSDT", positionIdx=2)]), 0)
    link.answer(linear, answer({"list": [order("ETHUSDT")], "nextPageCursor": ""}), 0, 1)
    fills = link.receive(push("execution", [execution("BTCUSDT", closedSize="1"), execution("ETHUSDT")]), 0)
    assert [one.position for one in fills if isinstance(one, Fill)] == [
        "main:linear:BTCUSDT:2",
        "main:linear:ETHUSDT:0",
    ]


def test_positions_of_stream_and_rest_tell_the_link() -> None:
    link = private()
    link.state()
    fill = push("execution", [execution("BTCUSDT", closedSize="0"), execution("ETHUSDT", execType="Funding")])
    assert [one.position for one in link.receive(fill, 0) if isinstance(one, Fill | FundingPayment)] == [None, None]
    link.receive(push("position", [position("BTCUSDT", positionIdx=1)]), 0)
    link.answer(link.state()[1], listed(position("ETHUSDT", positionIdx=0)), 0, 1)
    assert [one.position for one in link.receive(fill, 0) if isinstance(one, Fill | FundingPayment)] == [
        "main:linear:BTCUSDT:1",
        "main:linear:ETHUSDT:0",
    ]
