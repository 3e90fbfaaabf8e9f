"""Positions and balances: what each field becomes, closes, hedge legs, and the identities of balances."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchanges.events import BalanceState, PositionState
from exchanges.okx import parse, wire
from exchanges.okx.parse import Mode
from tests.exchanges.okx.samples import MULTI, T0, account, coin, position

FUTURES, MULTIPLE, PORTFOLIO = Mode("2"), Mode("3"), Mode("4")
DECODE = msgspec.json.Decoder(wire.PositionRow).decode


def row(*names: str, **changes: Any) -> wire.PositionRow:
    return DECODE(json.dumps(position(*names, **changes)))


def state(*names: str, mode: Mode = FUTURES, **changes: Any) -> PositionState:
    return parse.parse_position(row(*names, **changes), "main", mode)


def balance(*coins: dict[str, Any], mode: Mode = FUTURES, full: bool = True, **changes: Any) -> BalanceState:
    header = msgspec.convert(account(**changes) | {"details": []}, wire.AccountRow)
    rows = [msgspec.convert(each, wire.CoinRow) for each in coins]
    return parse.parse_balance(header, rows, "main", mode, full)


# --- positions ---------------------------------------------------------------------------------------------------------


def test_a_cross_position() -> None:
    assert state() == PositionState(
        account="main",
        id="main:BTC-USDT-SWAP:net:cross:USDT",
        scope="positions:SWAP",
        symbol="BTC-USDT-SWAP",
        kind="perp",
        side="long",
        size="10",
        margin_mode="cross",
        pool="USDT",
        fence=(T0, 7),
        venue_at=T0 + 10,
        settle="USDT",
        entry_price="60000",
        leverage="10",
        adl=1,
        opened_at=T0 - 1000,
        mark_price="60050",
        venue_unrealized_pnl="5",
        venue_initial_margin="600.5",
        venue_maintenance_margin="24.02",
        venue_margin_ratio="40.5",
        liquidation_known="none",
    )


@pytest.mark.parametrize(("sent", "funding"), [("-0.513", "-0.513"), ("0", "0"), ("", None)])
def test_funding_since_the_opening_is_an_effect_on_the_balance(sent: str, funding: str | None) -> None:
    assert state(fundingFee=sent).funding == funding


def test_an_isolated_position_is_a_pool_of_its_own() -> None:
    found = state(mgnMode="isolated", margin="60.25", imr="", liqPx="54321.1")
    assert found.pool == "iso:main:BTC-USDT-SWAP:net:isolated:USDT"
    assert (found.isolated_margin, found.isolated_cash, found.isolated_basis) == ("60.25", "60.25", "upnl")
    assert found.venue_initial_margin is None
    assert (found.venue_liquidation_price, found.liquidation_known) == ("54321.1", "price")


@pytest.mark.parametrize(
    ("pos", "pos_side", "side", "size"),
    [
        ("3", "net", "long", "3"),
        ("-3.50", "net", "short", "3.50"),
        ("3", "long", "long", "3"),
        ("3", "short", "short", "3"),
        ("0", "net", None, "0"),
        ("-0.0", "net", None, "0"),
        ("0", "long", "long", "0"),
        ("0", "short", "short", "0"),
    ],
)
def test_direction_and_size(pos: str, pos_side: str, side: str | None, size: str) -> None:
    found = state("BTC-USDT-SWAP", pos, posSide=pos_side)
    assert (found.side, found.size) == (side, size)


def test_a_closed_row_has_empty_figures() -> None:
    empty = dict.fromkeys(("avgPx", "lever", "liqPx", "markPx", "mgnRatio", "upl", "imr", "margin", "adl"), "")
    found = state("BTC-USDT-SWAP", "0", mmr="0", **empty)
    assert (found.size, found.side, found.liquidation_known) == ("0", None, "none")
    assert (found.entry_price, found.mark_price, found.leverage, found.adl) == (None, None, None, None)


def test_hedge_legs_and_modes_are_different_positions() -> None:
    ids = {
        state(posSide=side, mgnMode=mode, ccy=ccy).id
        for side in ("long", "short", "net")
        for mode in ("cross", "isolated")
        for ccy in ("USDT", "BTC")
    }
    assert len(ids) == 12


@pytest.mark.parametrize(
    ("price", "changes", "mode", "known"),
    [
        ("50000", {}, FUTURES, "price"),
        ("", {}, FUTURES, "none"),
        ("0", {}, FUTURES, "none"),
        ("-3", {}, FUTURES, "none"),
        (None, {}, FUTURES, "unknown"),
        ("", {}, MULTIPLE, "none"),
        ("", {}, PORTFOLIO, "unknown"),
        ("", {"instType": "OPTION"}, FUTURES, "unknown"),
        ("", {"instType": "MARGIN", "posCcy": "BTC"}, FUTURES, "unknown"),
    ],
)
def test_what_is_known_of_liquidation(price: str | None, changes: dict[str, str], mode: Mode, known: str) -> None:
    found = state(mode=mode, liqPx=price, **changes)
    assert found.liquidation_known == known
    assert (found.venue_liquidation_price is not None) == (known == "price")


def test_the_pool_follows_the_mode() -> None:
    assert state(mode=FUTURES, ccy="BTC").pool == "BTC"
    assert state(mode=MULTIPLE, ccy="BTC").pool == "USD"
    assert state(mode=PORTFOLIO).pool == "USD"


def test_margins_of_a_risk_unit_are_not_the_rows() -> None:
    found = state(mode=PORTFOLIO)
    assert (found.venue_initial_margin, found.venue_maintenance_margin) == (None, None)
    assert found.venue_margin_ratio == "40.5"


@pytest.mark.parametrize(("pos_ccy", "side"), [("BTC", "long"), ("USDT", "short")])
def test_margin_rows_tell_their_direction_by_currency(pos_ccy: str, side: str) -> None:
    found = state("BTC-USDT", "0.5", instType="MARGIN", posCcy=pos_ccy, margin="7", mgnMode="isolated")
    assert (found.kind, found.side, found.isolated_cash) == ("margin", side, None)


def test_a_margin_row_without_direction_is_told() -> None:
    assert not parse.side_is_known(row("BTC-USDT", "0.5", instType="MARGIN"))
    assert parse.side_is_known(row("BTC-USDT", "0", instType="MARGIN"))


@pytest.mark.parametrize(
    ("inst_type", "kind"),
    [("SWAP", "perp"), ("FUTURES", "future"), ("OPTION", "option"), ("EVENTS", "event")],
)
def test_kinds_keep_the_venues_figures(inst_type: str, kind: str) -> None:
    found = state(instType=inst_type)
    assert (found.kind, found.venue_unrealized_pnl, found.scope) == (kind, "5", f"positions:{inst_type}")


def test_daily_settlement_keeps_the_entry_that_users_know() -> None:
    found = state("BTC-USD-261225", instType="FUTURES", avgPx="61000", nonSettleAvgPx="60000")
    assert (found.entry_price, found.pnl_price) == ("60000", "61000")
    assert state(nonSettleAvgPx="60000").pnl_price is None
    assert state(nonSettleAvgPx="").entry_price == "60000"


def test_take_profit_and_stop_loss_where_there_is_one() -> None:
    pair = {"tpTriggerPx": "70000", "slTriggerPx": "50000"}
    found = state(closeOrderAlgo=[pair, pair])
    assert (found.take_profit, found.stop_loss) == ("70000", "50000")
    found = state(closeOrderAlgo=[pair, {"tpTriggerPx": "71000", "slTriggerPx": ""}])
    assert (found.take_profit, found.stop_loss) == (None, "50000")


@pytest.mark.parametrize("price", ["0", "0.00", "-1", ""])
def test_a_price_that_is_not_above_zero_is_none_and_the_position_stays(price: str) -> None:
    found = state("BTC-USDT-SWAP", "10", markPx=price, avgPx=price)
    assert (found.size, found.mark_price, found.entry_price, found.pnl_price) == ("10", None, None, None)
    found = state("BTC-USDT-SWAP", "10", avgPx="60000", nonSettleAvgPx=price)
    assert (found.entry_price, found.pnl_price) == ("60000", None)


def test_margin_without_a_position_is_no_plain_close() -> None:
    idle = {"mgnMode": "isolated", "margin": "25"}
    assert state("BTC-USDT-SWAP", "0", **idle).status == "margin_only"
    assert state("BTC-USDT-SWAP", "0", mgnMode="isolated", margin="").status == "open"
    assert state("BTC-USDT-SWAP", "1", **idle).status == "open"


def test_order_is_time_of_change_then_trade() -> None:
    before = state("BTC-USDT-SWAP", "10", tradeId="163")
    liquidated = state("BTC-USDT-SWAP", "6", tradeId="163", uTime=str(T0 + 5))
    repeated = state("BTC-USDT-SWAP", "10", tradeId="163", pTime=str(T0 + 5000), markPx="60100")
    assert before.fence < liquidated.fence
    assert repeated.fence == before.fence
    assert state(tradeId="").fence == (T0, 0)


def test_versions_inside_a_snapshot_are_ordered_by_push_too() -> None:
    assert parse.row_order(row(pTime=str(T0 + 1))) < parse.row_order(row(pTime=str(T0 + 2)))


def test_a_snapshot_is_as_old_as_its_earliest_row() -> None:
    rows = [row(pTime=str(T0 + 50)), row(pTime=str(T0 + 40))]
    assert parse.snapshot_fence(rows) == (T0 + 40,)
    assert parse.snapshot_fence([]) == ()
    assert parse.snapshot_fence([*rows, row(pTime="")]) == ()


def test_rest_rows_have_no_time_of_their_own() -> None:
    rest = position()
    del rest["pTime"]
    assert parse.parse_position(DECODE(json.dumps(rest)), "main", FUTURES).venue_at is None


# --- mode --------------------------------------------------------------------------------------------------------------


def test_modes_in_the_venues_words() -> None:
    assert parse.account_mode("main", FUTURES).mode == "futures mode (acctLv 2)"
    assert (
        parse.account_mode("main", Mode("3", inferred=True)).mode == "multi-currency margin mode (acctLv 3, inferred)"
    )
    assert [parse.account_mode("main", Mode(level)).computable for level in "1234"] == [True, True, True, False]


def test_inference() -> None:
    assert parse.infer_mode(msgspec.convert(account(), wire.AccountRow)).level == "2"
    assert parse.infer_mode(msgspec.convert(account(**MULTI), wire.AccountRow)).level == "3"


# --- balances ----------------------------------------------------------------------------------------------------------


def test_futures_mode_has_a_pool_a_currency() -> None:
    found = balance(coin("USDT", "1000", imr="50", mmr="4", mgnRatio="200", ordFrozen="3"), coin("BTC", "0.5"))
    assert found.fence == (T0,)
    assert [(pool.pool, pool.ccy, pool.cash) for pool in found.pools] == [
        ("USDT", "USDT", "1000"),
        ("BTC", "BTC", "0.5"),
    ]
    usdt = found.pools[0]
    assert (usdt.venue_initial_margin, usdt.venue_maintenance_margin, usdt.venue_ratio) == ("50", "4", "200")
    assert (usdt.order_margin, usdt.available) == ("3", "1000")
    assert [(each.ccy, each.total, each.usd_price) for each in found.coins] == [
        ("USDT", "1000", "0.9998"),
        ("BTC", "0.5", "0.9998"),
    ]


def test_multi_currency_is_one_pool_in_dollars() -> None:
    found = balance(coin(), coin("BTC", "0.5"), mode=MULTIPLE, **MULTI)
    (pool,) = found.pools
    assert (pool.pool, pool.ccy, pool.cash) == ("USD", "USD", None)
    assert (pool.venue_equity, pool.venue_maintenance_margin, pool.venue_ratio) == ("990.5", "10", "95.1")
    assert found.available == "800"
    assert (pool.from_coins, pool.pnl_discounted, pool.equity_after_held) == (True, True, True)
    assert balance(coin(), mode=MULTIPLE).pools == ()
    (portfolio,) = balance(coin(), mode=PORTFOLIO, **MULTI).pools
    assert not portfolio.from_coins, "its collateral is part of the stress tests"


@pytest.mark.parametrize(("frozen", "held"), [("0", "0"), ("0.0", "0"), ("", None), ("12.5", None)])
def test_what_orders_take_of_the_adjusted_equity_is_no_field(frozen: str, held: str | None) -> None:
    assert balance(coin(), mode=MULTIPLE, **MULTI | {"ordFroz": frozen}).pools[0].held == held


@pytest.mark.parametrize(
    ("figures", "held"),
    [
        ({"ordFrozen": "0"}, "0"),
        ({"ordFrozen": ""}, None),
        # Sell orders, options to buy, isolated positions to open, fees: what is left of the equity beside margin and free.
        ({"ordFrozen": "40", "imr": "100", "availEq": "880"}, "20"),
        # All of it margin of derivatives' orders.
        ({"ordFrozen": "40", "imr": "140", "availEq": "860"}, "0"),
        # Whatever else is in use (bots, interest) is no order's.
        ({"ordFrozen": "40", "imr": "100", "availEq": "800"}, "40"),
        ({"ordFrozen": "40", "imr": "100", "availEq": "0"}, None),
        ({"ordFrozen": "40", "imr": "", "availEq": "880"}, None),
    ],
)
def test_what_a_currency_holds_for_orders_backs_no_positions(figures: dict[str, str], held: str | None) -> None:
    (pool,) = balance(coin("USDT", "1000", **figures)).pools
    assert (pool.held, pool.equity_after_held) == (held, False)


def test_equity_of_bots_and_isolated_positions_is_not_the_pools() -> None:
    found = balance(coin("USDT", "1000", eq="1165.5", upl="-4.5", isoEq="20", stgyEq="150"))
    assert found.pools[0].venue_equity == "995.5"
    assert found.coins[0].equity == "1165.5"


def test_the_dollar_price_is_told_or_implied() -> None:
    assert balance(coin("BTC", "2", coinUsdPrice="", eqUsd="120000", eq="2")).coins[0].usd_price == "60000"
    assert balance(coin("BTC", "0", coinUsdPrice="", eqUsd="0", eq="0")).coins[0].usd_price is None
    assert balance(coin("BTC", "0", coinUsdPrice="", eqUsd="", eq="1")).coins[0].usd_price is None


@pytest.mark.parametrize(
    ("figures", "discount"),
    [
        ({"eqUsd": "1000", "disEq": "1000"}, "1"),
        # A row seen in 2023: margin of isolated positions counts with the currency's share, as its balance does.
        ({"eq": "366.6124115354678", "isoEq": "234.4597980154678", "eqUsd": "673.8336124021898",
          "disEq": "336.9168062010949"}, "0.5"),
        ({"eqUsd": "3", "disEq": "2"}, "0.666666666667"),
        ({"eqUsd": "1000", "disEq": ""}, None),
        # A debt counts whole, and nothing counts for anything: neither says what an amount would.
        ({"eqUsd": "-1000", "disEq": "-1000"}, None),
        ({"eqUsd": "0", "disEq": "0"}, None),
        # Switched off: what is told then is the equity of isolated positions, no haircut.
        ({"eqUsd": "100", "isoEq": "5", "disEq": "5", "collateralEnabled": False}, None),
    ],
)  # fmt: skip
def test_the_haircut_is_the_share_of_the_whole_equity(figures: dict[str, Any], discount: str | None) -> None:
    assert balance(coin(**figures), mode=MULTIPLE, **MULTI).coins[0].discount == discount
    assert balance(coin(**figures)).coins[0].discount is None, "in futures mode a currency backs its own positions"


@pytest.mark.parametrize(
    ("figures", "cash"),
    [
        ({}, "1000"),
        ({"interest": "0.5"}, "999.5"),
        # The balance went below zero by what was borrowed: the debt is in it already.
        ({"cashBal": "-100", "liab": "100", "interest": "1", "eq": "-101"}, "-101"),
        # The balance stands beside the debt.
        ({"cashBal": "0", "liab": "0.509575622217854", "interest": "0.0000297244184858", "eq": "-0.5096053466363398"},
         "-0.5096053466363398"),
        # A debt that is an unrealised loss: the loss counts once, with the positions.
        ({"cashBal": "50", "liab": "10", "upl": "-60", "eq": "-10"}, "50"),
    ],
)  # fmt: skip
def test_debts_count_once(figures: dict[str, str], cash: str) -> None:
    assert balance(coin(**figures)).coins[0].cash == cash


figures = st.decimals(-(10**12), 10**12, places=12).map(lambda number: format(number, "f"))


@given(figures, figures, figures)
def test_the_cross_equity_is_cash_and_unrealised_pnl_exactly(cash: str, upl: str, isolated: str) -> None:
    equity = format(Decimal(cash) + Decimal(upl) + Decimal(isolated), "f")
    found = balance(coin("USDT", cash, eq=equity, isoEq=isolated, upl=upl)).pools[0]
    assert Decimal(found.venue_equity or "nan") == Decimal(found.cash or "nan") + Decimal(upl)
