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
from tests.gateway.events_of import balance, closed, engine, instrument, mark, position, row

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


def test_marks_move_an_equity_that_only_the_venue_states_and_repeated_messages_do_not() -> None:
    one, held = engine(), position()
    stated = balance(pools=(PoolState(pool="USDT", ccy="USDT", venue_equity="500"),))
    one.turn([stated, held], 1_000)
    one.turn([mark("115")], 2_000)
    assert pool(one)["equity"] == pytest.approx(510)
    one.turn([position(mark_price="115", fence=(2,))], 3_000)
    assert pool(one)["equity"] == pytest.approx(510), "no message of the pool came"
    one.turn([position(mark_price="116", fence=(3,)), mark("116", at=3_500)], 4_000)
    assert pool(one)["equity"] == pytest.approx(512), "a push that brings its mark loses nothing of it"
    one.turn([mark("115", at=4_500)], 4_500)
    one.turn([stated], 5_000)
    assert pool(one)["equity"] == pytest.approx(500), "the venue says it anew, at the present marks"


def test_what_is_opened_or_closed_between_two_statements_of_an_equity_changes_nothing_of_it() -> None:
    one, held = engine(), position()
    other = position("ETH-USDT-SWAP", mark_price="100")
    stated = balance(pools=(PoolState(pool="USDT", ccy="USDT", venue_equity="500"),))
    one.turn([stated], 1_000)
    one.turn([held], 1_100)
    assert pool(one)["equity"] == pytest.approx(500), "its profit was in that equity"
    one.turn([mark("115")], 2_000)
    one.turn([other], 3_000)
    assert pool(one)["equity"] == pytest.approx(510)
    one.turn([position(size="1", mark_price="115", fence=(2,))], 4_000)
    assert pool(one)["equity"] == pytest.approx(510), "half of the profit is realised now"
    one.turn([mark("120", at=5_000)], 5_000)
    assert pool(one)["equity"] == pytest.approx(515)
    one.turn([closed(held, (3,))], 6_000)
    assert pool(one)["equity"] == pytest.approx(515)
