"""Rows of accounts: pools with their margins and ratios, through the engine, against figures by hand."""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any

import pytest

from exchanges.events import CoinBalance, PoolState
from gateway.core.account_rows import account_row
from gateway.core.accounts import AccountInfo
from gateway.engine import Engine
from tests.gateway.events_of import balance, engine, instrument, position, row

HL = AccountInfo(name="hl-main", venue="hyperliquid", env="live", user="ann")
ASTER = AccountInfo(name="aster-main", venue="aster", env="live", user="ann")


def coin(ccy: str, cash: str, usd: str | None = None, **fields: Any) -> CoinBalance:
    return CoinBalance(ccy=ccy, total=cash, cash=cash, usd_price=usd, **fields)


def account(one: Engine, name: str = "okx-main") -> Any:
    return row(one, "accounts", name)


def pool(one: Engine, name: str = "USDT", of: str = "okx-main") -> Any:
    return account(one, of)["pools"][name]


def test_margins_of_unlike_currencies_add_up_in_the_pools_own() -> None:
    one = engine()
    dollars = PoolState(pool="USD", ccy="USD", cash="70000", from_coins=True)
    coins = (coin("USDT", "10000", "1"), coin("BTC", "1", "60000"))
    inverse = position(
        "BTCUSD", "bybit-main", pool="USD", settle="BTC", size="60000", contract_type="inverse", mark_price="60000",
        entry_price="60000", venue_unrealized_pnl="0",
    )  # fmt: skip
    linear = position("ETHUSDT", "bybit-main", pool="USD")
    kinds = instrument("BTCUSD", "bybit", settle="BTC", contract_type="inverse", contract_ccy="USD")
    one.turn([kinds, balance(account="bybit-main", coins=coins, pools=(dollars,)), inverse, linear], 1_000)
    assert row(one, "positions", inverse.id)["initial_margin"] == pytest.approx(0.1), "its own is in its currency"
    assert pool(one, "USD", "bybit-main")["initial_margin"] == pytest.approx(6_000 + 22)


def work_of_a_row(positions: int) -> int:
    """Return how many functions are called for the row of an account of isolated positions."""
    one = engine()
    rows = (position(f"C{number}", margin_mode="isolated", isolated_cash="20") for number in range(positions))
    one.turn([balance(), *rows], 1_000)
    mine = one.accounts["okx-main"]
    held = [one.positions[row_id] for row_id in sorted(mine.positions)]
    calls = 0

    def called(_frame: FrameType, event: str, _arg: object) -> None:
        nonlocal calls
        calls += event == "call"

    sys.setprofile(called)
    try:
        found = account_row(mine, held, one.book)
    finally:
        sys.setprofile(None)
    assert found["positions"] == positions
    return calls


def test_the_work_of_a_row_grows_with_its_positions_and_no_faster() -> None:
    few, many = work_of_a_row(20), work_of_a_row(200)
    assert few < many <= 10 * few
