"""The venue's own record of what closing brought, and the questions that bring the books of a window."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from exchanges.bybit import VENUE, build, tables
from exchanges.choice import keeps_records
from exchanges.events import ClosedPnl, Fill, Transfer
from exchanges.venue import Ask, Notice, Output
from tests.exchanges.bybit.samples import answer, execution, private
from tests.recordings import needs_recordings, recordings

SINCE = 1_759_000_000_000
UNTIL = SINCE + 3_600_000
QUESTION = build.closed_pnl("linear", SINCE - 1, UNTIL)


def closed(at: int = SINCE, **changes: Any) -> dict[str, Any]:
    """Return a row: 3 of a long, bought at 1000 and sold at 990, with fees of 1.8 and 1.782."""
    row = {
        "symbol": "ETHUSDT", "orderId": "o-1", "side": "Sell", "qty": "3", "orderPrice": "940", "orderType": "Market",
        "execType": "Trade", "closedSize": "3", "cumEntryValue": "3000", "avgEntryPrice": "1000", "cumExitValue": "2970",
        "avgExitPrice": "990", "closedPnl": "-33.582", "fillCount": "2", "leverage": "3", "openFee": "1.8",
        "closeFee": "1.782", "createdTime": str(at), "updatedTime": str(at + 5),
    }  # fmt: skip
    return row | changes


def page(*rows: dict[str, Any], cursor: str = "") -> bytes:
    return answer({"category": "linear", "list": list(rows), "nextPageCursor": cursor}, UNTIL + 10**10)


def told(*rows: dict[str, Any]) -> list[Output]:
    link = private()
    link.records(SINCE, UNTIL, [])
    return link.answer(QUESTION, page(*rows), 0, 1)


# --- rows --------------------------------------------------------------------------------------------------------------


def test_a_row_is_one_record_net_of_both_fees() -> None:
    assert told(closed()) == [
        ClosedPnl(
            account="main", id=f"main:closed-pnl:ETHUSDT:o-1:{SINCE}", source="closed-pnl", symbol="ETHUSDT",
            at=SINCE + 5, side="long", ccy="USDT", size="3", entry_price="1000", exit_price="990", realized_pnl="-30",
            fees="-3.582", realized_net="-33.582", order_id="o-1", what="Trade",
        )
    ]  # fmt: skip


def test_more_of_the_same_order_replaces_its_record() -> None:
    part, whole = told(closed(closedSize="1", fillCount="1"), closed(updatedTime=str(SINCE + 50)))
    assert isinstance(part, ClosedPnl)
    assert isinstance(whole, ClosedPnl)
    assert part.id == whole.id


def test_settlements_of_one_moment_are_told_apart_and_name_the_one_way_position_of_usdc_contracts() -> None:
    settled = {"orderId": "", "execType": "SessionSettlePnL", "openFee": "0", "closeFee": "0", "closedPnl": "7"}
    first, second = told(closed(symbol="BTCPERP", **settled), closed(symbol="ETHPERP", **settled))
    assert isinstance(first, ClosedPnl)
    assert isinstance(second, ClosedPnl)
    assert first.id != second.id
    assert (first.realized_pnl, first.fees, first.realized_net) == ("7", "0", "7")
    assert (first.ccy, first.position, first.order_id) == ("USDC", "main:linear:BTCPERP:0", None)


def test_of_fees_that_are_not_said_nothing_is_concluded() -> None:
    (found,) = told(closed(openFee="", closeFee=None))
    assert isinstance(found, ClosedPnl)
    assert (found.realized_pnl, found.fees, found.realized_net) == (None, None, "-33.582")


@pytest.mark.parametrize(
    "changes", [{"side": "None"}, {"side": "", "closedSize": "1"}, {"createdTime": "", "updatedTime": ""}]
)
def test_a_row_that_cannot_be_understood_leaves_its_neighbours(changes: dict[str, str]) -> None:
    output = told(closed(**changes), closed())
    assert sorted(type(one).__name__ for one in output) == ["ClosedPnl", "Malformed"]


def test_a_type_that_is_not_documented_is_told_beside_the_record() -> None:
    found, note = told(closed(execType="Miracle"))
    assert isinstance(found, ClosedPnl)
    assert isinstance(note, Notice)
    assert "Miracle" in note.what


@needs_recordings
def test_recorded_answers() -> None:
    """Nothing was captured of it (n = 0): the documentation's sample (n = 1) is net of fees of both sides, 0.06 % of each."""
    found = []
    for recording in recordings("bybit", "rest-closed-pnl"):
        (body,) = recording.messages()
        question = build.closed_pnl("linear", 1_672_214_000_000, 1_672_215_000_000)
        found += private().answer(question, json.dumps(body).encode(), 0, 1)
        (row,) = body["result"]["list"]
    (one,) = found
    assert isinstance(one, ClosedPnl)
    assert (one.symbol, one.side, one.ccy, one.at) == ("ETHPERP", "long", "USDC", 1672214887236)
    values = Decimal(row["cumExitValue"]), Decimal(row["cumEntryValue"])
    assert Decimal(one.realized_net or "NaN") == values[0] - values[1] - sum(values) * Decimal("0.0006")


# --- questions ---------------------------------------------------------------------------------------------------------


def test_every_list_is_asked_for_the_window_with_both_its_neighbours() -> None:
    asked = private().records(SINCE, UNTIL, ["XRP-27MAR26-2-C-USDT"])
    assert [urlsplit(each.path).path for each in asked] == [
        tables.TRANSACTIONS, *[tables.EXECUTIONS] * 6, *[tables.CLOSED_PNL] * 2,
    ]  # fmt: skip
    for each in asked:
        query = parse_qs(urlsplit(each.path).query)
        assert (query["startTime"], query["endTime"]) == ([str(SINCE - 1)], [str(UNTIL)])
        assert each.signed
    assert [parse_qs(urlsplit(each.path).query)["category"] for each in asked[-2:]] == [["linear"], ["inverse"]]
    with pytest.raises(ValueError, match="at most"):
        private().records(SINCE, SINCE + tables.RECORDS_WINDOW_MS + 1, [])
    longest = build.transactions(SINCE - 1, SINCE + tables.RECORDS_WINDOW_MS)
    query = parse_qs(urlsplit(longest.path).query)
    assert int(query["endTime"][0]) - int(query["startTime"][0]) < tables.HISTORY_WINDOW_MS
    capabilities = VENUE.capabilities
    assert capabilities.records_window_s * 1000 == tables.RECORDS_WINDOW_MS
    assert capabilities.records_reach_s == 729 * 86_400


def test_categories_that_are_not_asked_for_what_closing_brought_are_declared() -> None:
    assert VENUE.capabilities.unrecorded == set(tables.DERIVATIVES) - set(tables.CLOSED_CATEGORIES)
    asked = ("BTCUSDT", "BTCPERP", "BTCUSD", "BTCUSDH26", "BTCUSDT-25DEC26", "BTC-25DEC26")
    assert [symbol for symbol in asked if not keeps_records("bybit", symbol)] == []
    assert not keeps_records("bybit", "BTC-25DEC26-100000-C-USDT")
    assert not keeps_records("bybit", "BTC-25DEC26-100000-P")
    assert keeps_records("okx", "BTC-USD-261225-100000-C")  # positions-history has options
    assert keeps_records("kraken", "anything")


@pytest.mark.parametrize("at", [SINCE - 1, SINCE, SINCE + 7, UNTIL - 1, UNTIL])
def test_what_belongs_to_a_neighbour_is_left_to_it_and_no_further_week_is_due(at: int) -> None:
    link = private()
    log, fills = link.records(SINCE, UNTIL, [])[:2]
    entry = {"id": "t", "type": "TRANSFER_IN", "transactionTime": str(at), "currency": "USDT", "change": "5"}
    found = link.answer(fills, page(execution(execTime=str(at))), 0, 1)
    found += link.answer(log, page({**entry, "cashFlow": "5"}), 0, 1)
    found += link.answer(QUESTION, page(closed(at, updatedTime=str(at))), 0, 1)
    assert [type(one) for one in found] == ([Fill, Transfer, ClosedPnl] if SINCE <= at < UNTIL else [])


@pytest.mark.parametrize("known_by", ["createdTime", "updatedTime"])
def test_a_row_across_a_border_is_in_one_window_whichever_of_its_times_the_venue_goes_by(known_by: str) -> None:
    middle = SINCE + 1_000
    row = closed(middle - 3, updatedTime=str(middle + 2))
    link, found = private(), []
    for since, until in ((SINCE, middle), (middle, UNTIL)):
        question = link.records(since, until, [])[-2]
        rows = [row] if since - 1 <= int(row[known_by]) <= until else []
        found += link.answer(question, page(*rows), 0, 1)
    assert [type(one) for one in found] == [ClosedPnl]


def test_pages_of_a_window_are_emitted_as_they_come_however_many_there_are() -> None:
    link = private()
    link.records(SINCE, UNTIL, [])
    question = QUESTION
    for number in range(tables.MAX_PAGES + 1):
        rows = page(closed(SINCE + 9, orderId="b"), closed(orderId="a"), cursor=f"more-{number}")
        first, second, ask = link.answer(question, rows, 0, 1)
        assert [one.order_id for one in (first, second) if isinstance(one, ClosedPnl)] == ["a", "b"]
        assert ask == Ask(request=build.page(QUESTION, f"more-{number}"))
        question = ask.request
    assert link.answer(question, page(cursor="more-x"), 0, 1) == []
