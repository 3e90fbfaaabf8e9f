"""Executions and the transaction log: signs, causes, money; on captured messages and on the documentation's samples."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchanges.bybit import executions
from exchanges.bybit.legs import Legs
from exchanges.bybit.wire import ExecutionRow, LogRow, decode
from exchanges.errors import ProtocolViolation
from exchanges.events import Evidence, Fill, FundingPayment, Transfer
from exchanges.venue import Malformed, Output
from tests.exchanges.bybit.samples import execution, private, push
from tests.recordings import needs_recordings, recordings


def _read(row: dict[str, Any], legs: Legs | None = None, category: str = "") -> list[Output]:
    parsed = decode(json.dumps(row), ExecutionRow, "an execution")
    return executions.parse_execution(parsed, "main", category, legs or Legs("main"))


def _fill(**fields: Any) -> Fill:
    (fill,) = _read(execution(**fields))
    assert isinstance(fill, Fill)
    return fill


def _funding(**fields: Any) -> FundingPayment:
    (payment,) = _read(execution(execType="Funding", orderType="UNKNOWN", **fields))
    assert isinstance(payment, FundingPayment)
    return payment


# --- Signs ----------------------------------------------------------------------------------------------------------


def test_who_pays_and_who_receives() -> None:
    """A long pays funding and a short receives it, a taker pays and a maker is rebated: + is what the balance gains."""
    # Rows as Bybit's answers hold them: a long of 0.008 BTC at a rate of 0.000002, a short of 0.69 ETH at 0.0001.
    long = _funding(symbol="BTCUSDT", side="Buy", execFee="0.00196873", feeRate="0.000002", execQty="0.008")
    short = _funding(symbol="ETHUSDT", side="Sell", execFee="-0.08720013", feeRate="-0.0001", execQty="0.69")
    assert (long.amount, long.ccy, long.rate, long.size) == ("-0.00196873", "USDT", "0.000002", "0.008")
    assert (short.amount, short.ccy, short.rate, short.size) == ("0.08720013", "USDT", "0.0001", "0.69")
    taker = _fill(execFee="0.0256322", isMaker=False)
    maker = _fill(execFee="-0.0093208", isMaker=True)
    assert (taker.fee, taker.role) == ("-0.0256322", "taker")
    assert (maker.fee, maker.role) == ("0.0093208", "maker")


def test_the_log_states_what_the_balance_gains_while_executions_state_what_is_paid() -> None:
    """The documentation's own entry: a long of XRPUSDT pays; its balance changes by just that."""
    row = decode(json.dumps(FUNDING_ENTRY), LogRow, "a transaction")
    payment = _funding(symbol="XRPUSDT", side="Buy", execFee="0.003676", feeRate="0.0001", execQty="100")
    assert payment.amount == row.funding == row.change == "-0.003676"


@given(st.decimals(-(10**12), 10**12, places=8))
def test_turning_a_sign_keeps_the_digits(value: Decimal) -> None:
    amount = f"{value:f}"
    turned = executions.turned(amount)
    assert Decimal(turned) == value.copy_negate()
    assert turned.lstrip("-") == amount.lstrip("-")
    assert value or not turned.startswith("-")


# --- Fills ----------------------------------------------------------------------------------------------------------


@needs_recordings
def test_the_captured_fill_of_a_session() -> None:
    (recording,) = recordings("bybit", "ws-private-sequence")
    frames = [json.dumps(message) for message in recording.messages()]
    link = private()
    (fill,) = [one for frame in frames for one in link.receive(frame, 0) if isinstance(one, Fill)]
    assert fill == Fill(
        account="main",
        id="main:3fb94d67-8482-58a5-91a4-154777511c1c",
        symbol="SOLUSDT",
        order_id="373b6927-71ff-4bde-a8a6-c3de21838f20",
        side="buy",
        size="0.2",
        price="233.02",
        at=1759432560940,
        trade_id="3fb94d67-8482-58a5-91a4-154777511c1c",
        fee="-0.030245996",
        fee_ccy="USDT",
        role="taker",
        realized_pnl="0",
        category="Trade",
    )
    (position,) = recording.messages()[-1]["data"]
    # The position's own account of what it cost so far agrees, to its eight decimals: taxes are part of the fee.
    assert abs(Decimal(fill.fee or "") - Decimal(position["curRealisedPnl"])) < Decimal("1e-8")


@needs_recordings
def test_recorded_executions_are_read_or_refused_with_a_reason() -> None:
    found = {}
    for recording in recordings("bybit", "ws-execution"):
        frames = [json.dumps(one) for one in _flat(recording.messages())]
        link = private()
        output = [one for frame in frames for one in link.receive(frame, 0)]
        assert not [one for one in output if isinstance(one, Malformed)]
        found[recording.path.stem.rpartition("__")[2]] = [
            (one.symbol, one.side, one.cause, one.fee) for one in output if isinstance(one, Fill)
        ]
    assert found == {
        "Subscriptions_V5_Private_UserTrades": [("XRPUSDT", "sell", "trade", "-0.005061")],
        "ws_account_execution_adl": [("BTCUSDT", "sell", "adl", "0")],
        "ws_account_execution_fast": [],  # a topic that is not subscribed: it lacks the fee
        "ws_account_execution_fast_envelope_id": [],
    }


def _flat(messages: list[Any]) -> list[Any]:
    return [one for message in messages for one in (message if isinstance(message, list) else [message])]


@pytest.mark.parametrize(
    ("exec_type", "create_type", "cause", "category"),
    [
        ("Trade", "CreateByUser", "trade", "Trade"),
        ("Trade", None, "trade", "Trade"),
        ("BlockTrade", "", "trade", "BlockTrade"),
        ("Trade", "CreateByLiq", "liquidation", "Trade CreateByLiq"),
        ("BustTrade", "CreateByTakeOver_PassThrough", "liquidation", "BustTrade"),
        ("AdlTrade", "CreateByAdl_PassThrough", "adl", "AdlTrade"),
        ("Delivery", "CreateBySettle", "settlement", "Delivery"),
        ("Settle", "", "settlement", "Settle"),
        ("SessionSettlePnL", "", "settlement", "SessionSettlePnL"),
        ("CorporateAction", "", "adjustment", "CorporateAction"),
    ],
)
def test_causes_in_the_venues_own_words(exec_type: str, create_type: str | None, cause: str, category: str) -> None:
    fill = _fill(execType=exec_type, createType=create_type)
    assert (fill.cause, fill.category) == (cause, category)


def test_a_split_without_a_price_is_evidence_and_no_fill() -> None:
    (evidence,) = _read(execution(execType="CorporateAction", execPrice="0"))
    assert isinstance(evidence, Evidence)
    assert (evidence.cause, evidence.ids) == ("adjustment", ("exec-1",))


@pytest.mark.parametrize(
    ("fields", "realized"),
    [
        ({"execPnl": "-3.5", "closedSize": "1"}, "-3.5"),
        ({"execPnl": "", "closedSize": "0"}, "0"),
        ({"closedSize": "0.000"}, "0"),
        ({"closedSize": "1"}, None),
        ({"closedSize": ""}, None),
    ],
)
def test_realised_profit_is_the_venues_or_none(fields: dict[str, str], realized: str | None) -> None:
    row = {name: value for name, value in execution().items() if name not in ("execPnl", "closedSize")}
    (fill,) = _read({**row, **fields})
    assert isinstance(fill, Fill)
    assert fill.realized_pnl == realized


@pytest.mark.parametrize(
    ("category", "symbol", "ccy"),
    [
        ("linear", "BTCUSDT", "USDT"),
        ("linear", "BTCPERP", "USDC"),
        ("inverse", "BTCUSD", "BTC"),
        ("option", "BTC-27MAR26-70000-P-USDT", "USDT"),
    ],
)
def test_a_fee_without_a_currency_is_in_the_settle_coin(category: str, symbol: str, ccy: str) -> None:
    assert _fill(category=category, symbol=symbol, feeCurrency="").fee_ccy == ccy
    assert _fill(category=category, symbol=symbol, feeCurrency="MNT").fee_ccy == "MNT"


def test_taxes_are_part_of_the_fee_where_they_are_in_its_coin() -> None:
    tax = {"feeCoin": "USDT", "feeType": "GST", "feeRate": "0.1", "fee": "0.05"}
    assert _fill(execFee="0.5", extraFees=[tax]).fee == "-0.55"
    assert _fill(execFee="0.5", extraFees="").fee == "-0.5"
    assert _fill(execFee="").fee is None
    with pytest.raises(ProtocolViolation, match="more than one coin"):
        _read(execution(execFee="0.5", extraFees=[{**tax, "feeCoin": "INR"}]))


def test_spot_moves_no_position() -> None:
    assert _read(execution(category="spot")) == []


@pytest.mark.parametrize(
    "fields",
    [
        {"execType": "Miracle"},
        {"execType": "UNKNOWN"},
        {"execType": ""},
        {"side": "None"},
        {"execTime": ""},
        {"execQty": ""},
        {"execPrice": ""},
        {"category": "moon"},
        {"execType": "Funding", "execFee": ""},
    ],
)
def test_what_is_not_known_is_no_guess(fields: dict[str, str]) -> None:
    with pytest.raises(ProtocolViolation):
        _read(execution(**fields))
    (malformed, fill) = private().receive(push("execution", [execution(**fields), execution()]), 0)
    assert isinstance(malformed, Malformed)
    assert isinstance(fill, Fill)


def test_a_categorised_topic_names_the_category() -> None:
    row = execution()
    del row["category"]
    (fill,) = private().receive(push("execution.linear", [row]), 0)
    assert isinstance(fill, Fill)


# --- Transaction log ------------------------------------------------------------------------------------------------

FUNDING_ENTRY = {
    "id": "592324_XRPUSDT_161440249321", "symbol": "XRPUSDT", "side": "Buy", "funding": "-0.003676", "orderLinkId": "",
    "orderId": "1672128000-8-592324-1-2", "fee": "0.00000000", "change": "-0.003676", "cashFlow": "0",
    "transactionTime": "1672128000000", "type": "SETTLEMENT", "feeRate": "0.0001", "bonusChange": "", "size": "100",
    "qty": "100", "cashBalance": "5086.55825002", "currency": "USDT", "category": "linear", "tradePrice": "0.3676",
    "tradeId": "534c0003-4bf7-486f-aa02-78cee36825e4",
}  # fmt: skip


def _entry(**fields: Any) -> list[Output]:
    row = {**FUNDING_ENTRY, "symbol": "", "category": "", "tradeId": "", "funding": "", **fields}
    return executions.parse_log(decode(json.dumps(row), LogRow, "a transaction"), "main")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("TRANSFER_IN", "transfer"),
        ("TRANSFER_OUT", "transfer"),
        ("INTEREST", "interest"),
        ("BONUS", "bonus"),
        ("BONUS_RECOLLECT", "bonus"),
        ("AIRDROP", "bonus"),
        ("FEE_REFUND", "rebate"),
        ("CURRENCY_BUY", "conversion"),
        ("CONVERT", "conversion"),
        ("AUTO_DEDUCTION", "other"),
        ("SOMETHING_OF_NEXT_YEAR", "other"),
    ],
)
def test_transfers_keep_amount_sign_and_the_venues_word(name: str, kind: str) -> None:
    (transfer,) = _entry(type=name, change="-12.50", cashFlow="-12.50", currency="USDC")
    assert isinstance(transfer, Transfer)
    assert (transfer.kind, transfer.what, transfer.amount, transfer.ccy) == (kind, name, "-12.50", "USDC")


def test_entries_of_one_id_are_told_apart() -> None:
    """The documentation's sample has one id three times."""
    ids = {
        event.id
        for fields in ({"type": "INTEREST"}, {"type": "BONUS"}, {"type": "BONUS", "transactionTime": "1672128000001"})
        for event in _entry(**fields)
        if isinstance(event, Transfer)
    }
    assert len(ids) == 3


def test_a_session_settlement_is_money_and_evidence_and_its_funding_is_left_to_the_executions() -> None:
    transfer, evidence = _entry(symbol="BTCPERP", type="SETTLEMENT", cashFlow="7.25", funding="-0.5", change="6.75")
    assert isinstance(transfer, Transfer)
    assert (transfer.kind, transfer.amount) == ("settlement", "7.25")
    assert isinstance(evidence, Evidence)
    assert (evidence.cause, evidence.symbol) == ("settlement", "BTCPERP")
    assert _entry(symbol="BTCUSDT", type="SETTLEMENT", cashFlow="0", funding="-0.5", change="-0.5") == []


@pytest.mark.parametrize(
    ("name", "cause"), [("LIQUIDATION", "liquidation"), ("ADL", "adl"), ("DELIVERY", "settlement")]
)
def test_entries_that_name_a_cause(name: str, cause: str) -> None:
    (evidence,) = _entry(symbol="BTCUSDT", type=name, tradeId="t-1", orderId="o-1")
    assert isinstance(evidence, Evidence)
    assert (evidence.cause, evidence.symbol, evidence.ids) == (
        cause,
        "BTCUSDT",
        ("592324_XRPUSDT_161440249321", "t-1", "o-1"),
    )
    assert evidence.what == f"transaction log: {name}"


def test_trades_come_as_executions_but_on_spot_they_are_conversions() -> None:
    assert _entry(type="TRADE", category="linear", symbol="BTCUSDT") == []
    (bought,) = _entry(type="TRADE", category="spot", symbol="BTCUSDT", currency="BTC", change="0.1")
    assert isinstance(bought, Transfer)
    assert (bought.kind, bought.ccy, bought.amount) == ("conversion", "BTC", "0.1")


def test_an_entry_that_moved_nothing_is_nothing_and_one_without_a_time_is_a_violation() -> None:
    assert _entry(type="TRANSFER_IN", change="0") == []
    assert _entry(type="TRANSFER_IN", change="") == []
    with pytest.raises(ProtocolViolation, match="without a time"):
        _entry(type="TRANSFER_IN", transactionTime="")
