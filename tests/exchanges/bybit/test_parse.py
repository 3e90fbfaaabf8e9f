"""Positions and wallets: what fields mean, and Bybit's own arithmetic on captured rows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import ROUND_FLOOR, Decimal
from typing import Any, NamedTuple

import pytest

from exchanges.bybit import parse, tables
from exchanges.bybit.parse import Origin
from exchanges.bybit.wire import PositionRow, WalletRow, decode
from exchanges.errors import ProtocolViolation
from exchanges.events import BalanceState, CoinBalance, PoolState, PositionState
from tests.exchanges.bybit.samples import closed, coin, position, wallet
from tests.recordings import needs_recordings, recordings

ORIGIN = Origin("main", "linear", 1_700_000_000_100, 1_700_000_000_100, tables.CROSS)


def _parse(row: dict[str, Any], **origin: Any) -> PositionState:
    return parse.parse_position(decode(json.dumps(row), PositionRow, "a position"), ORIGIN._replace(**origin))


def _wallet(row: dict[str, Any], mode: str | None = tables.CROSS, full: bool = False) -> BalanceState:
    return parse.parse_wallet(decode(json.dumps(row), WalletRow, "a wallet"), ORIGIN._replace(mode=mode), full)


# --- Positions ------------------------------------------------------------------------------------------------------


def test_an_open_leg() -> None:
    assert _parse(position()) == PositionState(
        account="main",
        id="main:linear:BTCUSDT:0",
        scope="linear:USDT",
        symbol="BTCUSDT",
        side="long",
        size="0.5",
        margin_mode="cross",
        pool="USD",
        fence=(100, 1_700_000_000_000, 1_700_000_000_100),
        venue_at=1_700_000_000_100,
        settle="USDT",
        contract_size="1",
        contract_type="linear",
        entry_price="60000",
        leverage="10",
        adl=2,
        mark_price="60100",
        venue_unrealized_pnl="50",
        venue_initial_margin="3014.85",
        venue_maintenance_margin="165.1",
        venue_liquidation_price="31000.5",
        liquidation_known="price",
        trading_fee="14.85",
    )


@pytest.mark.parametrize("side", ["", "None", "Buy"])
def test_a_closed_leg_keeps_only_its_place_in_the_order(side: str) -> None:
    state = _parse(closed(side=side, size="0.000", positionIdx=2, seq=-1))
    assert (state.size, state.side, state.id) == ("0", None, "main:linear:BTCUSDT:2")
    assert state.fence == (-1, 1_700_000_000_000, 1_700_000_000_100)
    assert (state.entry_price, state.mark_price, state.venue_liquidation_price) == (None, None, None)


@pytest.mark.parametrize(("index", "hedged"), [(0, False), (1, True), (2, True)])
def test_a_leg_says_that_there_are_two(index: int, hedged: bool) -> None:
    assert _parse(position(positionIdx=index)).hedged == hedged


def test_rest_calls_the_entry_by_another_name() -> None:
    row = position()
    row["avgPrice"] = row.pop("entryPrice")
    assert _parse(row) == _parse(position())


@pytest.mark.parametrize("row", [position(side=""), position(side="None"), position(side="buy"), position(size="-1")])
def test_a_side_that_does_not_go_with_the_size_is_a_violation(row: dict[str, Any]) -> None:
    with pytest.raises(ProtocolViolation, match="side"):
        _parse(row)


@pytest.mark.parametrize(
    ("category", "symbol", "kind", "contract_type", "settle", "scope"),
    [
        ("linear", "BTCUSDT", "perp", "linear", "USDT", "linear:USDT"),
        ("linear", "BTCPERP", "perp", "linear", "USDC", "linear:USDC"),
        ("linear", "BTCUSDT-26DEC25", "future", "linear", "USDT", "linear:USDT"),
        ("linear", "BTC-26DEC25", "future", "linear", "USDC", "linear:USDC"),
        ("linear", "USDCUSDT", "perp", "linear", "USDT", "linear:USDT"),
        ("inverse", "BTCUSD", "perp", "inverse", "BTC", "inverse"),
        ("inverse", "BTCUSDH25", "future", "inverse", "BTC", "inverse"),
        ("option", "BTC-6JAN23-17500-C", "option", None, "USDC", "option"),
        ("option", "BTC-6JAN23-17500-C-USDT", "option", None, "USDT", "option"),
    ],
)
def test_names_tell_kind_and_settlement(
    category: str, symbol: str, kind: str, contract_type: str | None, settle: str, scope: str
) -> None:
    state = _parse(position(symbol, category=category))
    assert (state.kind, state.contract_type, state.settle, state.scope) == (kind, contract_type, settle, scope)


def test_an_unknown_category_is_a_violation() -> None:
    with pytest.raises(ProtocolViolation, match="category 'swap'"):
        _parse(position(category="swap"))


@pytest.mark.parametrize(
    ("mode", "margin_mode", "pool"),
    [
        (tables.CROSS, "cross", "USD"),
        (tables.PORTFOLIO, "cross", "USD"),
        (tables.ISOLATED, "isolated", "iso:main:linear:BTCUSDT:0"),
        (None, None, "USD"),
        ("NEW_MARGIN", None, "USD"),
    ],
)
def test_the_margin_mode_is_the_accounts(mode: str | None, margin_mode: str | None, pool: str) -> None:
    state = _parse(position(tradeMode=1), mode=mode)
    assert (state.margin_mode, state.pool) == (margin_mode, pool)


@pytest.mark.parametrize(
    ("fields", "mode", "told"),
    [
        ({}, tables.CROSS, ("31000.5", "price")),
        ({"liqPrice": ""}, tables.CROSS, (None, "none")),
        ({"liqPrice": "0"}, tables.CROSS, (None, "none")),
        ({"liqPrice": "0.00"}, tables.ISOLATED, (None, "none")),
        ({"liqPrice": "-5"}, tables.CROSS, (None, "none")),
        ({"liqPrice": "0.1"}, tables.CROSS, (None, "none")),
        ({"liqPrice": "999999.00"}, tables.CROSS, (None, "none")),
        ({"liqPrice": ""}, tables.PORTFOLIO, (None, "unknown")),
        ({"liqPrice": "31000.5"}, tables.PORTFOLIO, (None, "unknown")),
        ({"liqPrice": "", "leverage": ""}, None, (None, "unknown")),
        ({"liqPrice": None}, tables.CROSS, (None, "unknown")),
    ],
)
def test_liquidation_prices_and_their_sentinels(
    fields: dict[str, Any], mode: str, told: tuple[str | None, str]
) -> None:
    state = _parse(position(**fields), mode=mode, bounds={"BTCUSDT": (Decimal("0.1"), Decimal("999999"))})
    assert (state.venue_liquidation_price, state.liquidation_known) == told


@pytest.mark.parametrize(
    ("fields", "collateral"),
    [
        ({"positionBalance": "3100.25"}, "3100.25"),
        ({}, "3000"),
        ({"positionBalance": ""}, "3000"),
        ({"leverage": "0"}, None),
        ({"entryPrice": ""}, None),
        ({"symbol": "BTCUSD", "category": "inverse", "size": "30000"}, "0.05"),
    ],
)
def test_the_collateral_of_an_isolated_position(fields: dict[str, Any], collateral: str | None) -> None:
    state = _parse(position(**fields), mode=tables.ISOLATED)
    assert (state.isolated_cash, state.isolated_margin, state.isolated_basis) == (collateral, collateral, "upnl")


def test_a_cross_position_has_no_collateral_of_its_own() -> None:
    state = _parse(position(positionBalance="846.18"))
    assert (state.isolated_cash, state.isolated_margin) == (None, None)


def test_profit_counts_from_the_session_after_a_settlement() -> None:
    assert _parse(position("BTCPERP", sessionAvgPrice="60050")).pnl_price == "60050"
    assert _parse(position("BTCPERP", sessionAvgPrice="60000.0")).pnl_price is None
    assert _parse(position("BTCPERP", sessionAvgPrice="0")).pnl_price is None


@pytest.mark.parametrize(
    ("fields", "fee"),
    [
        ({"positionIMByMp": "3019.85"}, "14.85"),  # by mark: 0.5 * 60100 / 10 = 3005
        ({"positionIMByMp": ""}, "14.85"),
        ({"positionIM": "3000"}, None),
        ({"positionIM": "1"}, None),
        ({"positionIM": "9000"}, None),
        ({"positionIM": "", "positionMM": ""}, None),
        ({"leverage": ""}, None),
    ],
)
def test_the_closing_fee_inside_the_margin(fields: dict[str, Any], fee: str | None) -> None:
    assert _parse(position(**fields)).trading_fee == fee


def test_zeros_that_mean_unset() -> None:
    state = _parse(position(takeProfit="0.00", stopLoss="", breakEvenPrice="0", openTime=0, markPrice="0"))
    unset = (state.take_profit, state.stop_loss, state.break_even_price, state.opened_at, state.mark_price)
    assert unset == (None,) * 5
    state = _parse(position(takeProfit="70000", openTime=1_700_000_000_123, breakEvenPrice="60033"))
    assert (state.take_profit, state.opened_at, state.break_even_price) == ("70000", 1_700_000_000_123, "60033")


def test_bybits_order_of_a_leg() -> None:
    rows = [
        _parse(position(seq=99, updatedTime="1700000000900"), order=900),
        _parse(position(), order=0),
        _parse(position(), order=1),
        _parse(position(updatedTime="1700000000001"), order=0),
        _parse(position(seq=101, updatedTime="1"), order=0),
    ]
    fences = [row.fence for row in rows]
    assert fences == sorted(fences)
    assert _parse(position(seq="-1")).fence < _parse(position(seq=1)).fence


# --- Wallets --------------------------------------------------------------------------------------------------------


def test_a_wallet_in_cross_margin() -> None:
    assert _wallet(wallet()) == BalanceState(
        account="main",
        scope="unified",
        full=False,
        coins=(CoinBalance(ccy="USDT", total="1000", cash="1000", equity="1050", usd_price="1.0004"),),
        pools=(
            PoolState(
                pool="USD",
                ccy="USD",
                cash="1000.5",
                from_coins=True,
                held="50.5",
                options_count=False,
                venue_equity="1050.5",
                venue_maintenance_margin="20",
                venue_initial_margin="300",
                venue_ratio="0.0226",
                available="700",
            ),
        ),
        available="700",
        fence=(1_700_000_000_100,),
        venue_at=1_700_000_000_100,
    )


@pytest.mark.parametrize(
    ("free", "held"),
    [("750.5", "0"), ("750.49999996", "0"), ("740.25", "10.25"), ("760", None), ("0", None), ("", None)],
)
def test_the_haircut_of_spot_orders_backs_no_positions(free: str, held: str | None) -> None:
    assert _wallet(wallet(totalAvailableBalance=free)).pools[0].held == held


@pytest.mark.parametrize(
    ("stated", "locked"), [({}, None), ({"locked": ""}, None), ({"locked": "0"}, "0"), ({"locked": "2.5"}, "2.5")]
)
def test_what_spot_orders_lock_of_a_coin_is_told(stated: dict[str, str], locked: str | None) -> None:
    assert _wallet(wallet(coin(**stated))).coins[0].locked == locked


@pytest.mark.parametrize("zero", ["", "0"])
def test_in_isolated_mode_the_account_wide_figures_mean_nothing(zero: str) -> None:
    names = ("accountMMRate", "totalWalletBalance", "totalMarginBalance", "totalAvailableBalance")
    state = _wallet(wallet(**dict.fromkeys(names, zero)), tables.ISOLATED)
    assert (state.pools, state.available) == ((), None)
    assert state.coins[0].cash == "1000"


def test_portfolio_margin_is_not_computed() -> None:
    (pool,) = _wallet(wallet(), tables.PORTFOLIO).pools
    assert (pool.cash, pool.venue_equity) == (None, "1050.5")
    assert (pool.from_coins, pool.held) == (False, None)


def test_an_empty_cross_account_has_a_pool_of_zero() -> None:
    empty = wallet(totalWalletBalance="0", totalMarginBalance="0")
    assert _wallet(empty).pools[0].cash == "0"
    assert _wallet(empty, None).pools == ()


@pytest.mark.parametrize(
    ("fields", "cash", "price"),
    [
        ({}, "1000", "1.0004"),
        ({"spotBorrow": "0.06142", "walletBalance": "0", "equity": "0"}, "-0.06142", None),
        ({"spotBorrow": ""}, None, "1.0004"),
        ({"spotBorrow": None}, "1000", "1.0004"),
        ({"equity": "", "usdValue": "5"}, "1000", None),
        ({"usdValue": ""}, "1000", None),
        ({"equity": "-3", "usdValue": "-1"}, "1000", "0.33333333333333333333"),
        ({"equity": "3", "usdValue": "-1"}, "1000", None),
        ({"equity": "215.05", "usdValue": "0"}, "1000", "0"),
    ],
)
def test_cash_and_price_of_a_coin(fields: dict[str, Any], cash: str | None, price: str | None) -> None:
    (found,) = _wallet(wallet(coin(**fields))).coins
    assert (found.cash, found.usd_price) == (cash, price)


@pytest.mark.parametrize(
    ("row", "mode"),
    [
        (wallet(), tables.CROSS),
        (wallet(totalWalletBalance="", totalMarginBalance=""), None),
        (wallet(totalWalletBalance="0", totalMarginBalance="0.0"), None),
        (wallet(coin(totalPositionIM="")), None),
        (wallet(coin("BTC", totalPositionIM=""), coin()), tables.CROSS),
    ],
)
def test_the_mode_that_a_wallet_betrays(row: dict[str, Any], mode: str | None) -> None:
    assert parse.inferred_mode(decode(json.dumps(row), WalletRow, "")) == mode


# --- Captured rows: the venue's own arithmetic ----------------------------------------------------------------------


class Captured(NamedTuple):
    """A captured open leg with the wallet that the same file holds before it, if any."""

    file: str
    state: PositionState
    wallet: BalanceState | None


def _captured() -> Iterator[Captured]:
    kinds = ("ws-position", "ws-private-sequence", "rest-position-list")
    for recording in (found for kind in kinds for found in recordings("bybit", kind, "captured")):
        held: BalanceState | None = None
        for message in recording.messages():
            if message.get("topic") == "wallet":
                held = _wallet(message["data"][0])
            listed = message.get("result", message).get("list", [])
            for row in message["data"] if message.get("topic") == "position" else listed:
                state = _parse(row)
                if state.side is not None:
                    yield Captured(recording.path.name, state, held)


def _dec(figure: str | None) -> Decimal:
    return Decimal(figure if figure is not None else "sNaN")  # an absent figure fails whatever compares it


def _sign(state: PositionState) -> int:
    return 1 if state.side == "long" else -1


@needs_recordings
def test_pnl_of_captured_rows_is_exact_to_the_venues_rounding() -> None:
    checked = 0
    for file, state, _ in _captured():
        pnl = _sign(state) * _dec(state.size) * (_dec(state.mark_price) - _dec(state.entry_price))
        stated = _dec(state.venue_unrealized_pnl)
        # Published with 4 to 8 decimals, of which trailing zeros are cut: half a unit of the coarsest, 4.
        decimals = max(4, -int(stated.as_tuple().exponent))
        assert abs(pnl - stated) <= Decimal(10) ** -decimals / 2, (file, state.symbol, pnl, stated)
        checked += 1
    assert checked >= 10


@needs_recordings
def test_liquidation_of_a_lone_cross_position_holds_maintenance_at_its_present_value() -> None:
    checked = 0
    for file, state, held in _captured():
        if held is None or state.venue_liquidation_price is None:
            continue
        (pool,) = held.pools
        room = (_dec(pool.cash) - _dec(pool.venue_maintenance_margin)) / _dec(state.size)
        price = _dec(state.entry_price) - _sign(state) * room
        stated = _dec(state.venue_liquidation_price)
        assert abs(price / stated - 1) < Decimal("4e-8"), (file, price, stated)
        checked += 1
    assert checked >= 1


@needs_recordings
def test_the_closing_fee_of_captured_rows_follows_the_published_formula() -> None:
    """fee = size * entry * (1 - side / leverage) * taker rate; what is added to 0.055 % are local taxes."""
    checked = 0
    for file, state, _ in _captured():
        if state.trading_fee is None or file == "nautechsystems_nautilus_trader__ws_account_position.json":
            continue  # that fixture's mark and entry were shifted by one unit each
        base = _dec(state.size) * _dec(state.entry_price) * (1 - _sign(state) / _dec(state.leverage))
        rate = _dec(state.trading_fee) / base
        assert Decimal("0.000549") < rate < Decimal("0.00066"), (file, state.symbol, rate)
        checked += 1
    assert checked >= 4


def test_the_isolated_formula_on_the_venues_own_example() -> None:
    """No captured row is isolated: here the formula is checked on the documentation's example alone.

    price = entry * (1 - side / leverage + side * maintenance rate), rounded down to the tick: 1 BTC at 20,000, 50x, 0.5 %.
    """
    state = _parse(position(entryPrice="20000", size="1", leverage="50", liqPrice="19700"), mode=tables.ISOLATED)
    rate = Decimal("0.005")
    price = _dec(state.entry_price) * (1 - _sign(state) / _dec(state.leverage) + _sign(state) * rate)
    assert price.quantize(Decimal("0.1"), ROUND_FLOOR) == _dec(state.venue_liquidation_price)


@needs_recordings
def test_coins_of_captured_wallets_add_up() -> None:
    """equity = cash + unrealised PnL in every coin (none of these accounts holds options)."""
    checked = 0
    for kind in ("ws-wallet", "rest-wallet-balance", "ws-private-sequence"):
        for recording in recordings("bybit", kind, "captured"):
            for message in recording.messages():
                rows = message["data"] if message.get("topic") == "wallet" else message.get("list", [])
                for row in rows:
                    for sent, parsed in zip(row["coin"], _wallet(row).coins, strict=True):
                        rebuilt = _dec(parsed.cash) + Decimal(sent["unrealisedPnl"])
                        assert abs(rebuilt - Decimal(sent["equity"])) <= Decimal("1e-8"), (recording.path.name, sent)
                        checked += 1
    assert checked >= 7
