"""Executions and transactions since a moment: every category, every week, every page, oldest first."""

from __future__ import annotations

import json
from typing import Any

import pytest

from exchanges.bybit import build, tables
from exchanges.errors import ProtocolViolation
from exchanges.events import Evidence, Fill, FundingPayment, Transfer
from exchanges.venue import Ask, HttpRequest, Malformed, Output
from tests.exchanges.bybit.samples import answer, execution, private, push
from tests.recordings import needs_recordings, recordings

SINCE = 1_759_000_000_000
NOW = SINCE + tables.HISTORY_WINDOW_MS - 1
LINEAR = build.executions("linear", SINCE)
LOG = build.transactions(SINCE)


def _page(*rows: dict[str, Any], cursor: str = "", time: int | None = NOW) -> bytes:
    return answer({"list": list(rows), "nextPageCursor": cursor, "category": "linear"}, time)


def _transfer(at: int) -> dict[str, Any]:
    row = {"id": f"t-{at}", "type": "TRANSFER_IN", "transactionTime": str(at), "currency": "USDT", "change": "5"}
    return {**row, "symbol": "", "category": "", "cashFlow": "5", "funding": "", "fee": "0"}


def _asked(output: list[Output]) -> list[HttpRequest]:
    return [one.request for one in output if isinstance(one, Ask)]


def test_every_category_and_the_log_are_asked() -> None:
    asked = private().history(SINCE, ["BTCUSDT", "XRP-27MAR26-2-C-USDT"])
    options = [build.executions("option", SINCE, base) for base in ("BTC", "ETH", "SOL", "XRP")]
    assert asked == [LOG, LINEAR, build.executions("inverse", SINCE), *options]


def test_pages_are_gathered_and_emitted_oldest_first() -> None:
    link = private()
    link.history(SINCE, [])
    newest = _page(execution(execId="c", execTime="3"), execution(execId="b", execTime="2"), cursor="more")
    (ask,) = link.answer(LINEAR, newest, 0, 1)
    assert ask == Ask(request=build.page(LINEAR, "more"))
    fills = link.answer(ask.request, _page(execution(execId="a", execTime="1")), 2, 3)
    assert [(one.trade_id, one.at) for one in fills if isinstance(one, Fill)] == [("a", 1), ("b", 2), ("c", 3)]
    assert len(fills) == 3


def test_a_further_week_is_due_until_the_servers_present() -> None:
    link = private()
    link.history(SINCE, [])
    week = tables.HISTORY_WINDOW_MS
    for question, following in (
        (LINEAR, build.executions("linear", SINCE + week)),
        (build.executions("option", SINCE, "ETH"), build.executions("option", SINCE + week, "ETH")),
        (LOG, build.transactions(SINCE + week)),
    ):
        assert _asked(link.answer(question, _page(time=NOW + week), 0, 1)) == [following]
        assert link.answer(following, _page(time=NOW + week), 0, 1) == []


def test_the_same_round_can_be_asked_again_and_again() -> None:
    link = private()
    for _ in range(3):
        link.history(SINCE, [])
        (first,) = link.answer(LINEAR, _page(execution(), cursor="c"), 0, 1)
        assert isinstance(first, Ask)  # and then the round failed: its half is forgotten
        (fill,) = link.answer(LINEAR, _page(execution()), 0, 1)
        assert isinstance(fill, Fill)


def test_an_execution_is_the_same_in_stream_and_rest() -> None:
    link = private()
    row = execution()
    (live,) = link.receive(push("execution", [row]), 0)
    link.history(SINCE, [])
    (read,) = link.answer(LINEAR, _page({name: value for name, value in row.items() if name != "category"}), 0, 1)
    assert isinstance(live, Fill)
    assert live == read
    assert live.id == "main:exec-1"


def test_a_row_that_is_not_understood_leaves_its_neighbours() -> None:
    link = private()
    link.history(SINCE, [])
    output = link.answer(LINEAR, _page(execution(execType="Miracle"), {"no": 1}, execution()), 0, 1)
    assert [type(one) for one in output] == [Malformed, Malformed, Fill]
    output = link.answer(LOG, _page({"no": 1}, _transfer(SINCE)), 0, 1)
    assert [type(one) for one in output] == [Malformed, Transfer]


@pytest.mark.parametrize(
    "body", [b'{"retCode":0,"result":{}}', b'{"retCode":0,"result":{"list":null}}', b"[]", b"", _page(time=None)]
)
def test_an_answer_that_is_not_understood_is_never_read_as_nothing_happened(body: bytes) -> None:
    link = private()
    link.history(SINCE, [])
    with pytest.raises(ProtocolViolation):
        link.answer(LINEAR, body, 0, 1)


def test_what_a_fill_brought_stands_in_the_log_where_the_fill_does_not_say_it() -> None:
    link = private()
    link.history(SINCE, [])
    entry = {**_transfer(SINCE), "type": "TRADE", "symbol": "BTCUSDT", "category": "linear", "cashFlow": "-1.50"}
    # Of an option the cash flow has the premium in it.
    entries = [
        {**entry, "tradeId": "a"},
        {**entry, "tradeId": "other"},
        {**entry, "tradeId": "o", "category": "option"},
    ]
    assert link.answer(LOG, _page(*entries), 0, 1) == []
    rows = [execution(execId=name, closedSize="1", execPnl="") for name in ("a", "b", "o")]
    output = link.answer(LINEAR, _page(*rows, execution(execId="other", execPnl="7")), 0, 1)
    told = {one.trade_id: one.realized_pnl for one in output if isinstance(one, Fill)}
    assert told == {"a": "-1.50", "b": None, "o": None, "other": "7"}


def test_an_entry_of_a_fee_in_another_coin_says_nothing_of_what_the_fill_brought() -> None:
    link = private()
    link.history(SINCE, [])
    entry = {**_transfer(SINCE), "type": "TRADE", "symbol": "BTCUSDT", "category": "linear", "tradeId": "a"}
    fee = {**entry, "currency": "MNT", "cashFlow": "0", "fee": "0.7"}
    profit = {**entry, "currency": "USDT", "cashFlow": "-1.50"}
    for entries in ([profit, fee], [fee, profit]):
        assert link.answer(LOG, _page(*entries), 0, 1) == []
        output = link.answer(LINEAR, _page(execution(execId="a", closedSize="1", execPnl="")), 0, 1)
        assert [one.realized_pnl for one in output if isinstance(one, Fill)] == ["-1.50"]


def test_the_log_says_what_was_held_after_a_fill_and_so_before_it() -> None:
    link = private()
    link.history(SINCE, [])
    entry = {**_transfer(SINCE), "type": "TRADE", "symbol": "BTCUSDT", "category": "linear", "cashFlow": "0"}
    moves = [  # side, closed, size after, size before; each of 0.2
        ("Buy", "0", "0.2", "0"),
        ("Buy", "0", "0.50", "0.3"),
        ("Sell", "0.2", "0", "0.2"),
        ("Sell", "0.2", "0.1", "0.3"),
        ("Sell", "0.05", "-0.15", "0.05"),
        ("Buy", "0.2", "-1", "-1.2"),
        ("Sell", "", "-0.2", "0"),
        ("Sell", "0.2", "-0.2", None),  # what it closed was not of this size
        ("Buy", "0", "-1", None),
        ("Buy", "0", "", None),
    ]
    names = [str(number) for number in range(len(moves))]
    log = [{**entry, "tradeId": name, "size": after} for name, (_, _, after, _) in zip(names, moves, strict=True)]
    link.answer(LOG, _page(*log, {**log[0], "tradeId": "spot", "category": "spot"}), 0, 1)
    rows = [
        execution(execId=name, side=side, closedSize=gone)
        for name, (side, gone, _, _) in zip(names, moves, strict=True)
    ]
    output = link.answer(LINEAR, _page(*rows, execution(execId="unlogged"), execution(execId="spot")), 0, 1)
    told = {one.trade_id: one.held_before for one in output if isinstance(one, Fill)}
    before = dict(zip(names, (move[3] for move in moves), strict=True))
    assert told == {**before, "unlogged": None, "spot": None}


@needs_recordings
def test_recorded_answers() -> None:
    kinds = {}
    for kind, request in (("rest-execution-list", LINEAR), ("rest-transaction-log", LOG)):
        for recording in recordings("bybit", kind):
            (body,) = recording.messages()
            output = private().answer(request, json.dumps(body).encode(), 0, 1)
            kinds[recording.path.stem.rpartition("_")[2]] = [type(one) for one in output]
    # The log's sample holds two trades and a funding payment, which are the executions' to tell.
    assert kinds == {"GetUserTrades": [Fill], "executions": [Fill, Fill], "GetTransactionHistory": []}


def test_a_weeks_story_of_a_liquidation() -> None:
    link = private()
    link.history(SINCE, ["BTCUSDT"])
    liquidated = execution(execId="x", side="Sell", execType="BustTrade", closedSize="0.2", execTime=str(SINCE + 2))
    funded = execution(execId="f", execType="Funding", execFee="0.1", execTime=str(SINCE + 1))
    entry = {**_transfer(SINCE + 3), "type": "LIQUIDATION", "symbol": "BTCUSDT", "tradeId": "x"}
    output = link.answer(LOG, _page(entry), 0, 1) + link.answer(LINEAR, _page(liquidated, funded), 0, 1)
    evidence, payment, fill = output
    assert isinstance(payment, FundingPayment)
    assert isinstance(fill, Fill)
    assert isinstance(evidence, Evidence)
    assert (payment.amount, fill.cause, evidence.cause) == ("-0.1", "liquidation", "liquidation")
    assert "x" in evidence.ids
