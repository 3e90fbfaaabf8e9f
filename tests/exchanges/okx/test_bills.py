"""Bills: which way money went, and why positions changed."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchanges.events import Event, Evidence, Fill, FundingPayment, Transfer
from exchanges.okx import bills, orders, wire
from tests.exchanges.okx.samples import T0, bill, fill_row


def parsed(hedge: bool | None = False, /, **changes: Any) -> list[Event]:
    return bills.parse_bill(msgspec.convert(bill(**changes), wire.BillRow), "main", hedge)


def funding(sub_type: str, pnl: str, hedge: bool | None = False) -> FundingPayment:
    (found,) = parsed(hedge, type="8", subType=sub_type, pnl=pnl, balChg=pnl)
    assert isinstance(found, FundingPayment)
    return found


def filled(**changes: Any) -> Fill:
    return orders.parse_fill(msgspec.convert(fill_row(**changes), wire.FillRow), "main")


def test_amounts_are_effects_on_the_balance() -> None:
    """A long pays funding and a short receives it at a positive rate; a taker pays and a maker is rebated."""
    long, short = funding("173", "-0.25"), funding("174", "0.25")
    assert (long.amount, short.amount) == ("-0.25", "0.25")
    taker, maker = filled(fee="-0.6001", execType="T"), filled(fee="0.12", execType="M")
    assert (taker.fee, taker.role) == ("-0.6001", "taker")
    assert (maker.fee, maker.role) == ("0.12", "maker")


def test_funding() -> None:
    assert funding("173", "-0.250") == FundingPayment(
        account="main",
        id="main:bill:500",
        symbol="BTC-USDT-SWAP",
        amount="-0.250",
        ccy="USDT",
        at=T0,
        position="main:BTC-USDT-SWAP:net:cross:USDT",
        size="10",
    )


@given(st.decimals(min_value=0, max_value=10**9, places=8, allow_nan=False), st.booleans(), st.booleans())
def test_the_kind_of_bill_says_which_way_funding_went(amount: Decimal, paid: bool, signed: bool) -> None:
    """``pnl`` is documented as "the total paid": its sign is not relied upon, its digits are kept."""
    digits = format(amount, "f")
    found = funding("173" if paid else "174", f"-{digits}" if signed and paid else digits)
    assert Decimal(found.amount) == (-amount if paid else amount)
    assert found.amount.removeprefix("-") == digits


def test_funding_of_an_isolated_position_is_not_in_the_accounts_balance() -> None:
    (found,) = parsed(type="8", subType="173", pnl="-3", balChg="0", mgnMode="isolated")
    assert isinstance(found, FundingPayment)
    assert (found.amount, found.position) == ("-3", "main:BTC-USDT-SWAP:net:isolated:USDT")


def test_of_two_legs_funding_names_none() -> None:
    assert funding("173", "-1", True).position is None
    assert funding("173", "-1", None).position is None


@pytest.mark.parametrize("bill_type", ["2", "13", "14", "24", "32"])
def test_trades_are_left_to_the_details(bill_type: str) -> None:
    assert parsed(type=bill_type, balChg="5") == []


@pytest.mark.parametrize(
    ("bill_type", "sub_type", "cause", "leg"),
    [
        ("5", "104", "liquidation", "long"),
        ("5", "101", "liquidation", "short"),
        ("9", "125", "adl", "long"),
        ("9", "126", "adl", "short"),
        ("3", "113", "settlement", "short"),
        ("6", "160", "margin", None),
    ],
)
def test_causes(bill_type: str, sub_type: str, cause: str, leg: str | None) -> None:
    (found,) = parsed(True, type=bill_type, subType=sub_type, balChg="-5", ordId="900")
    assert isinstance(found, Evidence)
    assert (found.cause, found.ids, found.at) == (cause, ("500", "900"), T0)
    assert found.position == (f"main:BTC-USDT-SWAP:{leg}:cross:USDT" if leg else None)
    (net,) = parsed(False, type=bill_type, subType=sub_type, ordId="")
    assert isinstance(net, Evidence)
    assert (net.position, net.ids) == ("main:BTC-USDT-SWAP:net:cross:USDT", ("500",))


def test_a_settlement_is_a_cause_and_moves_profit_into_the_balance() -> None:
    evidence, moved = parsed(type="34", subType="355", balChg="12.5", instType="FUTURES", instId="BTC-USDT-261225")
    assert isinstance(evidence, Evidence)
    assert isinstance(moved, Transfer)
    assert (evidence.cause, moved.kind, moved.amount) == ("settlement", "settlement", "12.5")


@pytest.mark.parametrize(
    ("bill_type", "sub_type", "kind"),
    [
        ("1", "11", "transfer"),
        ("7", "9", "interest"),
        ("10", "108", "other"),
        ("11", "118", "conversion"),
        ("12", "200", "transfer"),
        ("27", "318", "conversion"),
        ("381", "381", "interest"),
        ("999", "1", "other"),
    ],
)
def test_money_without_a_trade(bill_type: str, sub_type: str, kind: str) -> None:
    (found,) = parsed(type=bill_type, subType=sub_type, balChg="-100.0", instId="", instType="", mgnMode="")
    assert found == Transfer(
        account="main",
        id="main:bill:500",
        kind=kind,
        ccy="USDT",
        amount="-100.0",
        at=T0,
        what=f"bill type {bill_type} subType {sub_type}",
    )


def test_interest_of_an_isolated_position() -> None:
    (found,) = parsed(type="7", subType="9", balChg="0", posBalChg="-0.01")
    assert isinstance(found, Transfer)
    assert found.amount == "-0.01"


def test_a_bill_that_moves_nothing_says_nothing() -> None:
    assert parsed(type="1", balChg="0") == parsed(type="1", balChg="") == []


def test_coins_sold_in_a_liquidation_are_a_conversion_with_its_cause() -> None:
    evidence, moved = parsed(type="5", subType="111", balChg="-1", ccy="BTC")
    assert isinstance(evidence, Evidence)
    assert isinstance(moved, Transfer)
    assert (evidence.cause, moved.kind, moved.ccy) == ("liquidation", "conversion", "BTC")


def test_contracts_settled_in_several_dollars_name_no_position() -> None:
    (found,) = parsed(type="8", subType="173", pnl="-1", instId="BTC-USD_UM-SWAP", ccy="USDC")
    assert isinstance(found, FundingPayment)
    assert found.position is None
