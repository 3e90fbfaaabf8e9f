"""What is accepted as a message, a figure, a time."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchanges.bybit import wire
from exchanges.bybit.wire import Frame, PositionRow, decode
from exchanges.errors import ProtocolViolation
from tests.exchanges.bybit.samples import position


@pytest.mark.parametrize("bad", [b"", b"pong", b"\xff\xfe", "\ud800", "[" * 100_000, b"[]", b"7", '{"op":7}'])
def test_what_is_no_frame_is_a_violation(bad: str | bytes) -> None:
    with pytest.raises(ProtocolViolation):
        decode(bad, Frame, "a frame")


def test_both_key_styles_are_read() -> None:
    snake = decode('{"success":true,"ret_msg":"pong","req_id":"1","op":"ping"}', Frame, "")
    camel = decode('{"retCode":0,"retMsg":"OK","reqId":"1","op":"auth","connId":"c"}', Frame, "")
    assert (snake.succeeded, snake.text, snake.id) == (True, "pong", "1")
    assert (camel.succeeded, camel.text, camel.id) == (True, "OK", "1")
    assert not decode('{"success":false,"retCode":0}', Frame, "").succeeded
    assert not decode("{}", Frame, "").succeeded


@pytest.mark.parametrize("size", ["", "1,5", "0x1", "NaN", "Infinity", "1e999", "１", " 1", "1\n", "9" * 65])
def test_impossible_figures_are_refused(size: str) -> None:
    with pytest.raises(ProtocolViolation):
        decode(json.dumps(position(size=size)), PositionRow, "a position")


def test_unknown_fields_are_ignored_and_known_ones_may_be_missing() -> None:
    row = decode('{"symbol":"BTCUSDT","positionIdx":0,"size":"1","side":"Buy","news":{"a":[]}}', PositionRow, "")
    assert (row.mark_price, row.seq, row.liq_price) == (None, None, None)


@given(st.decimals(allow_nan=False, allow_infinity=False, places=8, min_value=-(10**12), max_value=10**12))
def test_figures_keep_their_digits(value: object) -> None:
    row = decode(json.dumps(position(unrealisedPnl=f"{value:f}")), PositionRow, "")
    assert row.unrealised_pnl == f"{value:f}"


def test_times_and_sequences() -> None:
    assert [wire.millis(value) for value in ("", None, "0", 0, -1, "5", 7)] == [None, None, None, None, None, 5, 7]
    assert [wire.sequence(value) for value in ("", None, "-1", -1, "5", 7)] == [-1, -1, -1, -1, 5, 7]


def test_a_result_may_come_without_its_envelope() -> None:
    raw, time = wire.result(b'{"list":[],"nextPageCursor":""}')
    assert (bytes(raw), time) == (b'{"list":[],"nextPageCursor":""}', None)
    raw, time = wire.result(b'{"retCode":0,"result":{"list":[]},"time":5}')
    assert (bytes(raw), time) == (b'{"list":[]}', 5)
