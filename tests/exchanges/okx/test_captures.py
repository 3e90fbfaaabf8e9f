"""Captured messages through the codec: every one parses or is told, and the figures agree with the venue's own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exchanges.errors import ProtocolViolation
from exchanges.events import (
    AccountMode,
    BalanceState,
    Event,
    Evidence,
    Fill,
    FundingRate,
    Instrument,
    KeyInfo,
    LiquidationWarning,
    MarginTiers,
    OpenOrders,
    Order,
    PositionsSnapshot,
    PositionState,
    Price,
)
from exchanges.okx import tables
from exchanges.venue import Ask, HttpRequest, Malformed, Output, Signal
from tests.exchanges.okx.samples import T0, only, private, public
from tests.recordings import Recording, needs_recordings, recordings

pytestmark = needs_recordings

QUESTIONS = {
    "rest-account-positions": tables.POSITIONS_PATH,
    "rest-account-balance": tables.BALANCE_PATH,
    "rest-account-config": tables.CONFIG_PATH,
    "rest-trade-fills": tables.FILLS_PATH,
    "rest-trade-order": tables.ORDER_PATH,
    "rest-trade-orders-pending": tables.OPEN_ORDERS_PATH,
    "rest-public-instruments": f"{tables.INSTRUMENTS_PATH}?instType=SWAP",
    "rest-public-position-tiers": f"{tables.TIERS_PATH}?instType=SWAP&tdMode=cross",
    "rest-public-mark-price": f"{tables.MARK_PRICE_PATH}?instType=SWAP",
}
# Demo trading has contract sizes of its own (recordings README, 3); the third is a live account.
CONTRACT_SIZE = {"LTC-USDT-SWAP": "0.001", "BTC-USDT-SWAP": "0.001", "ETH-USDT-SWAP": "0.1"}
# The capture's tick: the venue's liquidation price of an isolated position is one tick off the formula.
TICK = {"BTC-USDT-SWAP": "0.1", "ETH-USDT-SWAP": "0.01"}


def frames(kinds: str = "ws-") -> Iterator[str]:
    for recording in recordings("okx"):
        if recording.kind.startswith(kinds):
            for message in recording.messages():
                yield from (json.dumps(each) for each in (message if isinstance(message, list) else [message]))


def answered(recording: Recording) -> list[Output]:
    path = QUESTIONS[recording.kind]
    link = public() if "/public/" in path else private(None, subscribed=False)
    out: list[Output] = []
    for message in recording.messages():
        out += link.answer(HttpRequest(path=path), json.dumps(message).encode(), T0, T0)
    return out


def rest_positions() -> list[tuple[PositionState, dict[str, Any]]]:
    found = []
    for recording in recordings("okx", "rest-account-positions", "captured"):
        states = {state.id: state for each in only(PositionsSnapshot, answered(recording)) for state in each.positions}
        rows = [row for message in recording.messages() for row in message["data"]]
        assert len(states) == len(rows)
        found += list(zip(states.values(), rows, strict=True))
    return found


def test_every_frame_is_understood_or_told() -> None:
    count = 0
    for text in frames():
        for link in (private(), private(None, subscribed=False), public()):
            assert all(isinstance(each, (Event, Signal)) for each in link.receive(text, T0))
        count += 1
    assert count > 100


def test_frames_of_our_channels_give_their_events() -> None:
    marks = [each for text in frames() for each in only(Price, public().receive(text, T0))]
    assert len(marks) == 2
    held = [
        state
        for text in frames("ws-positions")
        for each in only(PositionsSnapshot, private().receive(text, T0))
        for state in each.positions
    ]
    (state,) = held
    assert (state.id, state.settle) == ("main:ETH-USD-210430:long:isolated:ETH", "ETH")
    assert (state.take_profit, state.stop_loss) == ("123", "123")


def test_nothing_of_our_channels_is_malformed() -> None:
    ours = [
        text
        for text in frames()
        if json.loads(text).get("arg", {}).get("channel") in ("positions", "account", "mark-price")
    ]
    assert ours
    for text in ours:
        link = public() if "mark-price" in text else private()
        assert only(Malformed, link.receive(text, T0)) == []


@pytest.mark.parametrize("kind", sorted(QUESTIONS))
def test_every_answer_gives_an_event_a_row(kind: str) -> None:
    expected: dict[str, type[Event]] = {
        "rest-account-balance": BalanceState,
        "rest-account-config": AccountMode,
        "rest-trade-fills": Fill,
        "rest-trade-order": Order,
        "rest-public-mark-price": Price,
    }
    seen = 0
    for recording in recordings("okx", kind):
        out = answered(recording)
        assert only(Malformed, out) == []
        rows = [row for message in recording.messages() for row in message["data"]]
        if kind in expected:
            assert len(only(expected[kind], out)) == len(rows)
        elif kind == "rest-public-instruments":
            contracts = [row for row in rows if row["instType"] in tables.MODELLED]
            assert len(only(Instrument, out)) == len(contracts)
        elif kind == "rest-trade-orders-pending":
            assert sum(len(each.orders) for each in only(OpenOrders, out)) == len(rows)
        elif kind == "rest-public-position-tiers":
            assert sum(len(each.tiers) for each in only(MarginTiers, out)) == len(rows)
        else:
            assert sum(len(each.positions) for each in only(PositionsSnapshot, out)) == len(rows)
        seen += len(rows)
    assert seen > 0


def test_answers_of_other_endpoints_are_a_violation_and_nothing_else() -> None:
    count = 0
    for recording in recordings("okx"):
        if not recording.kind.startswith("rest-") or recording.kind in QUESTIONS:
            continue
        for message in recording.messages():
            for link in (private(), public()):
                with pytest.raises(ProtocolViolation):
                    link.answer(HttpRequest(path="/api/v5/trade/other"), json.dumps(message).encode(), T0, T0)
            # A history row or a fill is never taken for an open position.
            with pytest.raises(ProtocolViolation):
                private().answer(HttpRequest(path=tables.POSITIONS_PATH), json.dumps(message).encode(), T0, T0)
            count += 1
    assert count > 10


def test_full_instrument_lists() -> None:
    for recording in recordings("okx", "rest-public-instruments", "captured"):
        for found in only(Instrument, answered(recording)):
            assert Decimal(found.contract_size) > 0
            assert found.contract_ccy == ("USD" if found.contract_type == "inverse" else found.symbol.split("-")[0])
            assert found.unified_symbol.startswith(f"{found.symbol.split('-')[0]}/")
            assert found.tiers_key is not None


# --- orders, executions and the rest of the channels ---------------------------------------------------------------------


def streamed(kind: str, name: str = "") -> list[Output]:
    link = public() if kind in ("ws-funding-rate", "ws-index-tickers") else private()
    out: list[Output] = []
    for recording in recordings("okx", kind):
        if name in recording.path.name:
            for message in recording.messages():
                for each in message if isinstance(message, list) else [message]:
                    out += link.receive(json.dumps(each), T0)
    return out


def test_executions_of_the_orders_channel() -> None:
    fills = {fill.trade_id: fill for fill in only(Fill, streamed("ws-orders"))}
    maker = fills["1518905529"]
    assert (maker.id, maker.position) == (
        "main:BTC-USDT-SWAP:1518905529:2497956918703120384",
        "main:BTC-USDT-SWAP:long:isolated:USDT",
    )
    assert (maker.size, maker.price, maker.fee, maker.role, maker.cause) == (
        "0.03",
        "103698.9",
        "-0.021776769",
        "maker",
        "trade",
    )
    assert fills["1518905531"].fee == "-0.1002"
    assert fills["1518905531"].position is None


def test_a_deleveraging_order_is_evidence() -> None:
    out = streamed("ws-orders", "ws_orders_adl")
    (evidence,) = only(Evidence, out)
    assert (evidence.cause, evidence.symbol, evidence.ids) == ("adl", "ETH-USDT-SWAP", ("2497956918703121000",))
    assert evidence.position == "main:ETH-USDT-SWAP:short:cross:USDT"
    assert only(Fill, out) == []
    (ask,) = only(Ask, out)
    assert ask.request.path.startswith(tables.FILLS_PATH)


def test_orders_of_a_real_account() -> None:
    """Captured: opened and closed by market orders; what was charged is negative here as there."""
    (captured,) = recordings("okx", "rest-trade-order", "captured")
    opened, closed = only(Order, answered(captured))
    assert (opened.open, opened.status, opened.side, opened.reduce_only) == (False, "filled", "buy", False)
    assert (closed.side, closed.reduce_only, closed.average_price) == ("sell", True, "59087.8")
    row = captured.messages()[0]["data"][0]
    (fill,) = only(
        Fill, private().receive(json.dumps({"arg": {"channel": "orders", "instType": "ANY"}, "data": [row]}), T0)
    )
    assert (fill.fee, fill.fee_ccy, fill.role, fill.size) == ("-0.03020655", "USDT", None, "1")


def test_warnings_rates_and_indices() -> None:
    (warning,) = only(LiquidationWarning, streamed("ws-liquidation-warning"))
    assert (warning.symbol, warning.position) == ("ETH-USD-210430", "main:ETH-USD-210430:long:isolated:ETH")
    rates = only(FundingRate, streamed("ws-funding-rate"))
    assert [(each.symbol, each.rate) for each in rates] == [
        ("BTC-USD-SWAP", "0.0001875391284828"),
        ("BTC-USDT-SWAP", "0.0001"),
    ]
    assert only(Malformed, streamed("ws-index-tickers")) == []


def test_a_key_that_may_trade_and_withdraw_is_told() -> None:
    keys = [key for each in recordings("okx", "rest-account-config") for key in only(KeyInfo, answered(each))]
    assert [(key.powers, key.owner, key.label, key.ip_bound) for key in keys] == [
        (("withdraw", "trade"), "44705892343619584", "V5 Test", True)
    ]


# --- figures -----------------------------------------------------------------------------------------------------------


def quantity(state: PositionState) -> Decimal:
    return Decimal(state.size) * Decimal(CONTRACT_SIZE[state.symbol])


def test_unrealised_pnl_is_the_venues() -> None:
    found = rest_positions()
    assert len(found) == 3
    for state, _ in found:
        assert state.mark_price is not None
        assert state.entry_price is not None
        sign = 1 if state.side == "long" else -1
        pnl = sign * quantity(state) * (Decimal(state.mark_price) - Decimal(state.entry_price))
        assert abs(pnl - Decimal(state.venue_unrealized_pnl or "nan")) < Decimal("3e-13")


def test_isolated_liquidation_prices_are_a_tick_off_the_formula() -> None:
    isolated = [state for state, _ in rest_positions() if state.margin_mode == "isolated"]
    assert len(isolated) == 2
    for state in isolated:
        assert state.side == "long"
        size, mark = quantity(state), Decimal(state.mark_price or "nan")
        rate = Decimal(state.venue_maintenance_margin or "nan") / (size * mark) + Decimal("0.0005")
        price = (Decimal(state.entry_price or "nan") * size - Decimal(state.isolated_cash or "nan")) / (
            size * (1 - rate)
        )
        assert abs(price + Decimal(TICK[state.symbol]) - Decimal(state.venue_liquidation_price or "nan")) < Decimal(
            "1e-9"
        )


def test_isolated_margin_ratios_are_equity_over_maintenance_and_fee() -> None:
    for state, _ in rest_positions():
        if state.margin_mode == "isolated":
            equity = Decimal(state.isolated_cash or "nan") + Decimal(state.venue_unrealized_pnl or "nan")
            fee = quantity(state) * Decimal(state.mark_price or "nan") * Decimal("0.0005")
            ratio = equity / (Decimal(state.venue_maintenance_margin or "nan") + fee)
            assert abs(ratio / Decimal(state.venue_margin_ratio or "nan") - 1) < Decimal("1e-12")


def test_a_cross_position_without_liquidation_price_has_none() -> None:
    (cross,) = [state for state, _ in rest_positions() if state.margin_mode == "cross"]
    assert (cross.venue_liquidation_price, cross.liquidation_known) == (None, "none")


def test_digits_are_the_venues_own() -> None:
    for state, row in rest_positions():
        assert (state.size, state.entry_price, state.mark_price) == (row["pos"], row["avgPx"], row["markPx"])
        assert state.venue_unrealized_pnl == row["upl"]


def test_the_balance_identity_holds_exactly() -> None:
    (captured,) = recordings("okx", "rest-account-balance", "captured")
    (balance,) = only(BalanceState, answered(captured))
    (usdt,) = balance.pools
    # No cross position: the pool's equity is its cash; the isolated margin has left it.
    assert Decimal(usdt.venue_equity or "nan") - Decimal(usdt.cash or "nan") == Decimal("0.000000000000013")
    assert (usdt.pool, usdt.cash) == ("USDT", "94.42612990333333")


def test_equity_of_isolated_positions_is_in_what_counts_of_a_currency() -> None:
    """The currency is switched off, so that its balance counts for nothing; the price is that of the same answer."""
    (captured,) = recordings("okx", "rest-account-balance", "captured")
    ((answer,),) = (message["data"] for message in captured.messages())
    (usdt,) = answer["details"]
    price = Decimal(usdt["eqUsd"]) / Decimal(usdt["eq"])
    assert usdt["collateralEnabled"] is False
    assert abs(Decimal(usdt["disEq"]) - Decimal(usdt["isoEq"]) * price) < Decimal("1e-12")


# --- damage ------------------------------------------------------------------------------------------------------------


@settings(max_examples=150)
@given(st.data())
def test_damaged_frames_never_raise(data: st.DataObject) -> None:
    text = data.draw(st.sampled_from(sorted(set(frames()))))
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 40)))
    damaged = text[:start] + data.draw(st.text(max_size=8)) + text[end:]
    for link in (private(), private(None, subscribed=False), public()):
        assert all(isinstance(each, (Event, Signal)) for each in link.receive(damaged, T0))
        assert all(
            isinstance(each, (Event, Signal)) for each in link.receive(damaged.encode(errors="surrogatepass"), T0)
        )


@settings(max_examples=80)
@given(st.data())
def test_damaged_answers_raise_only_violations(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(["rest-account-positions", "rest-account-balance", "rest-public-position-tiers"]))
    recording = data.draw(st.sampled_from(list(recordings("okx", kind))))
    body = json.dumps(recording.messages()[0]).encode()
    start = data.draw(st.integers(0, len(body)))
    end = data.draw(st.integers(start, min(len(body), start + 40)))
    damaged = body[:start] + data.draw(st.binary(max_size=8)) + body[end:]
    link = public() if kind.startswith("rest-public") else private()
    out: list[Output] = []
    with suppress(ProtocolViolation):  # the one error that the seam allows; any other fails the test
        out = link.answer(HttpRequest(path=QUESTIONS[kind]), damaged, T0, T0)
    assert all(isinstance(each, (Event, Signal)) for each in out)
