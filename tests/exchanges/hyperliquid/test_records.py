"""Fills and funding: ids, causes, signs, order; on captured messages where there are any."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchanges.events import Evidence, Fill, FundingPayment
from exchanges.hyperliquid import records
from exchanges.venue import Malformed, Notice, Output
from tests.exchanges.hyperliquid.samples import OTHER, USER, answer, fill, frame, only, private
from tests.recordings import needs_recordings, recordings

ZERO_HASH = "0x" + "0" * 64


def parsed(*rows: object) -> list[Output]:
    return records.parse_fills("main", USER, [msgspec.Raw(json.dumps(row).encode()) for row in rows])


def one(row: dict[str, Any]) -> Fill:
    (found,) = only(Fill, parsed(row))
    return found


def captured(kind: str) -> list[Any]:
    return [found for source in recordings("hyperliquid", kind, "captured") for found in source.messages()]


def streamed_fills() -> list[dict[str, Any]]:
    frames = [*captured("ws-sequence"), *captured("ws-userFills")]
    data = [each["data"] for each in frames if each["channel"] in ("userFills", "user")]
    return [row for each in data for row in each["fills"]]


def test_a_fill() -> None:
    assert one(fill("BTC", "A", "0.50", "86006.0", startPosition="1.5", closedPnl="-2.6")) == Fill(
        account="main",
        id="main:5:7",
        symbol="BTC",
        order_id="5",
        side="sell",
        size="0.50",
        price="86006.0",
        at=1_790_000_000_000,
        position="main:BTC",
        trade_id="7",
        fee="-0.5",
        fee_ccy="USDC",
        role="taker",
        realized_pnl="-2.6",
        cause="trade",
        category="Open Short",
        start_position="1.5",
    )


def test_the_same_fill_is_the_same_in_every_channel_and_by_rest() -> None:
    row = fill("BTC", "B", "1.0", "5.0")
    link = private()
    found = [
        *link.receive(frame("userFills", {"isSnapshot": True, "user": USER, "fills": [row]}), 1),
        *link.receive(frame("userFills", {"user": USER, "fills": [row]}), 2),
        *link.receive(frame("userTwapSliceFills", {"user": USER, "twapSliceFills": [{"fill": row, "twapId": 1}]}), 3),
        *link.receive(frame("user", {"fills": [row]}), 4),
        *link.receive(frame("user", {"twapSliceFills": [{"fill": row, "twapId": 1}]}), 5),
        *answer(link, "userFillsByTime", [row], startTime=0),
        *answer(link, "userTwapSliceFillsByTime", [{"fill": row, "twapId": 1}], startTime=0),
    ]
    assert found == [one(row)] * 7


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({}, "trade"),
        ({"liquidation": {"liquidatedUser": USER.upper().replace("X", "x"), "method": "market"}}, "liquidation"),
        ({"liquidation": {"liquidatedUser": OTHER, "method": "market"}}, "trade"),
        ({"liquidation": {"liquidatedUser": OTHER, "method": "backstop"}, "dir": "Auto-Deleveraging"}, "adl"),
        ({"liquidation": {"liquidatedUser": OTHER, "method": "backstop"}, "dir": "Liquidated Cross Long"}, "trade"),
        ({"dir": "Liquidated Isolated Short"}, "liquidation"),
        ({"dir": "Auto-Deleveraging"}, "adl"),
        ({"dir": "Settlement"}, "settlement"),
    ],
)
def test_causes(changes: dict[str, Any], cause: str) -> None:
    outputs = parsed(fill("BTC", "A", "1.0", "5.0", **changes))
    (found,) = only(Fill, outputs)
    assert found.cause == cause
    assert not only(Notice, outputs)


def test_an_unknown_direction_is_kept_and_said_aloud() -> None:
    found, notice = parsed(fill("BTC", "A", "1.0", "5.0", dir="Teleported"))
    assert isinstance(found, Fill)
    assert (found.cause, found.category) == ("trade", "Teleported")
    assert isinstance(notice, Notice)
    assert "Teleported" in notice.what


def test_spot_fills_belong_to_no_position() -> None:
    found = one(fill("@107", "B", "0.5", "34.895", startPosition="0.01", dir="Buy", feeToken="HYPE"))
    assert (found.symbol, found.position, found.start_position, found.fee_ccy) == ("@107", None, None, "HYPE")


def test_one_bad_fill_costs_itself_alone() -> None:
    outputs = parsed(fill("BTC", "B", "1.0", "5.0"), {"coin": "BTC"}, fill("BTC", "B", "NaN", "5.0"))
    assert len(only(Fill, outputs)) == 1
    assert len(only(Malformed, outputs)) == 2


@given(st.lists(st.integers(1, 5), max_size=20), st.booleans())
def test_fills_come_oldest_first_and_those_of_a_moment_as_the_venue_lists_them(
    times: list[int], newest_first: bool
) -> None:
    rows = [fill("BTC", "B", "1.0", "5.0", time=time, tid=at) for at, time in enumerate(sorted(times))]
    sent = rows[::-1] if newest_first and len(set(times)) > 1 else rows
    assert [each.trade_id for each in only(Fill, parsed(*sent))] == [str(at) for at in range(len(rows))]


@needs_recordings
def test_captured_fills_state_the_size_before_them_as_a_chain() -> None:
    (snapshot,) = [
        each["data"] for each in captured("ws-sequence") if each.get("data") and "isSnapshot" in each["data"]
    ]
    outputs = records.parse_fills(
        "main", snapshot["user"], [msgspec.Raw(json.dumps(row).encode()) for row in snapshot["fills"]]
    )
    fills = only(Fill, outputs)
    assert len(fills) == len(snapshot["fills"]) == len(outputs) > 10
    starts = {each["tid"]: each["startPosition"] for each in snapshot["fills"]}
    assert all(each.start_position == starts[int(each.trade_id or 0)] for each in fills)
    assert len({each.id for each in fills}) == len(fills)


@needs_recordings
def test_captured_liquidation_of_somebody_else_was_merely_a_trade_of_ours() -> None:
    (row,) = captured("ws-userFills")[0]["data"]["fills"]
    assert one(row).cause == "trade"
    (victims,) = only(
        Fill, records.parse_fills("main", row["liquidation"]["liquidatedUser"], [msgspec.Raw(json.dumps(row).encode())])
    )
    assert victims.cause == "liquidation"


@needs_recordings
def test_captured_takers_pay_and_makers_are_rebated_longs_pay_and_shorts_receive() -> None:
    """The signs of this venue, on messages of its own: fee + is paid there, usdc + is received."""
    fills = [one(row) for row in streamed_fills()]
    paid = [each for each in fills if each.role == "taker"]
    rebated = [each for each in fills if each.role == "maker" and str(each.fee)[0] != "-"]
    assert paid
    assert all(str(each.fee).startswith("-") for each in paid)
    assert {"0.000536", "0.004264"} <= {str(each.fee) for each in rebated}

    signs = set()
    for found in captured("rest-userFunding"):
        for row, payment in zip(found, payments(found), strict=True):
            long = not row["delta"]["szi"].startswith("-")
            received = not payment.amount.startswith("-")
            rate_positive = not str(payment.rate).startswith("-")
            if float(payment.amount) and float(payment.rate or 0):
                assert received == (long != rate_positive), row
                signs.add((long, received))
    assert signs == {(True, False), (True, True), (False, True), (False, False)}


def payments(rows: Sequence[object]) -> list[FundingPayment]:
    outputs, waiting = records.parse_fundings(
        "main", lambda _: "USDC", [msgspec.Raw(json.dumps(row).encode()) for row in rows]
    )
    assert not waiting
    return only(FundingPayment, outputs)


def test_a_funding_payment_is_the_same_by_stream_event_and_rest() -> None:
    row = {
        "time": 1_784_394_000_035,
        "coin": "BTC",
        "usdc": "-0.179006",
        "szi": "0.22273",
        "fundingRate": "0.0000125",
        "nSamples": None,
    }
    by_rest = {
        "time": row["time"],
        "hash": ZERO_HASH,
        "delta": {"type": "funding", **{k: v for k, v in row.items() if k != "time"}},
    }
    link = private()
    found = [
        *link.receive(frame("userFundings", {"isSnapshot": True, "user": USER, "fundings": [row]}), 1),
        *link.receive(frame("user", {"funding": row}), 2),
        *answer(link, "userFunding", [by_rest], startTime=0),
    ]
    expected = FundingPayment(
        account="main",
        id="main:funding:BTC:1784394000035",
        symbol="BTC",
        amount="-0.179006",
        ccy="USDC",
        at=1_784_394_000_035,
        position="main:BTC",
        rate="0.0000125",
        size="0.22273",
        side="long",
    )
    assert found == [expected] * 3


def test_a_liquidation_event_is_evidence_only_if_it_was_ours() -> None:
    def event(user: str) -> str:
        return frame(
            "user",
            {"liquidation": {"lid": 123, "liquidator": OTHER, "liquidated_user": user, "liquidated_ntl_pos": "5"}},
        )

    assert private().receive(event(OTHER), 5) == []
    (found,) = private().receive(event(USER), 5)
    assert isinstance(found, Evidence)
    assert (found.cause, found.ids, found.symbol, found.at) == ("liquidation", ("123",), "", 5)
    assert private().receive(frame("user", {"nonUserCancel": [{"coin": "BTC", "oid": 5}]}), 5) == []
