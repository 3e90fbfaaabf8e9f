"""Positions and balances: what fields mean, on recorded answers and on the documentation's samples."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchanges.aster import parse
from exchanges.aster.pushes import PushedPosition
from exchanges.aster.wire import Account, AssetRow, PositionRow
from exchanges.errors import ProtocolViolation
from exchanges.events import PositionState
from tests.exchanges.aster.samples import account, flat, leg, row
from tests.recordings import needs_recordings, recordings


def position(multi: bool | None = False, **fields: Any) -> PositionState:
    parsed = msgspec.convert(row(**fields), PositionRow)
    return parse.position("main", parsed, parse.settle_of(parsed.symbol, {}), multi)


def pushed(multi: bool | None = False, **fields: Any) -> PositionState:
    return parse.pushed_position("main", msgspec.convert(leg(**fields), PushedPosition), "USDT", multi, (5, 6))


def recorded(venue: str) -> list[PositionRow]:
    return [
        msgspec.convert(each, PositionRow)
        for recording in recordings(venue, "rest-positionRisk")
        for each in recording.messages()[0]
    ]


def test_a_cross_long() -> None:
    state = position()
    assert (state.id, state.side, state.size, state.pool) == ("main:BTCUSDT:BOTH", "long", "0.500", "USDT")
    assert (state.margin_mode, state.settle, state.leverage) == ("cross", "USDT", "10")
    assert (state.mark_price, state.venue_unrealized_pnl) == ("60100.00000000", "50.00000000"), "an anchor"
    assert (state.venue_liquidation_price, state.liquidation_known) == ("31000.5", "price")
    assert (state.isolated_cash, state.fence) == (None, ())


def test_a_short_has_a_negative_amount_in_both_modes_and_a_positive_size() -> None:
    assert position(positionAmt="-0.500", notional="-30050").side == "short"
    hedged = position(positionAmt="-0.500", positionSide="SHORT", notional="-30050")
    assert (hedged.id, hedged.side, hedged.size, hedged.venue_notional) == (
        "main:BTCUSDT:SHORT",
        "short",
        "0.500",
        "30050",
    )


def test_one_pool_in_multi_assets_mode_one_an_asset_otherwise_and_one_each_when_isolated() -> None:
    assert position(multi=True).pool == "USD"
    assert position(symbol="BTCUSD1").pool == "USD1"
    assert position(marginType="isolated", isolatedWallet="12.5").pool == "iso:main:BTCUSDT:BOTH"


def test_isolated_collateral_excludes_unrealised_pnl() -> None:
    newer = position(marginType="isolated", isolatedMargin="650.5", isolatedWallet="600.5")
    older = position(marginType="isolated", isolatedMargin="650.5", isolatedWallet=None)
    assert newer.isolated_cash == "600.5"
    assert Decimal(older.isolated_cash or "") == Decimal("600.5")


def test_no_liquidation_price_is_told_from_an_unknown_one() -> None:
    assert position(liquidationPrice="0").liquidation_known == "none"
    assert position(liquidationPrice="").liquidation_known == "unknown"


def test_a_push_says_nothing_of_leverage_liquidation_or_mark() -> None:
    state = pushed()
    assert (state.id, state.side, state.size, state.fence) == ("main:BTCUSDT:BOTH", "long", "0.500", (5, 6))
    assert (state.leverage, state.mark_price, state.liquidation_known) == (None, None, "unknown")


def test_a_pushed_close_has_no_side_and_keeps_its_leg() -> None:
    state = pushed(pa="0", ep="0.00000000", ps="SHORT", mt="isolated", iw="0")
    assert (state.id, state.side, state.size, state.entry_price) == ("main:BTCUSDT:SHORT", None, "0", None)


@pytest.mark.parametrize("spelling", ["cross", "crossed", "CROSSED"])
def test_every_spelling_of_cross(spelling: str) -> None:
    assert pushed(mt=spelling).margin_mode == "cross"


@pytest.mark.parametrize(
    "fields", [{"ps": "BOTHE"}, {"mt": "portfolio"}, {"pa": "-1", "ps": "LONG"}, {"pa": "1", "ps": "SHORT"}]
)
def test_what_is_not_understood_is_refused(fields: Any) -> None:
    with pytest.raises(ProtocolViolation, match="BTCUSDT"):
        pushed(**fields)


def test_a_symbol_without_a_known_margin_asset_joins_no_pool_of_another() -> None:
    assert parse.settle_of("BTCEUR", {}) is None
    assert parse.settle_of("BTCEUR", {"BTCEUR": "EURC"}) == "EURC"
    assert parse.pool_of("id", "cross", None, multi=False) == "unknown"


def test_an_account_in_single_asset_mode_has_a_pool_per_asset_and_leaves_empty_ones_out() -> None:
    state = parse.balance("main", msgspec.convert(account(), Account), False, 7)
    assert [coin.ccy for coin in state.coins] == ["USDT"]
    assert (state.coins[0].total, state.coins[0].cash, state.coins[0].collateral) == ("1000.5", "1000.5", True)
    (pool,) = state.pools
    assert (pool.pool, pool.cash, pool.venue_equity, pool.venue_maintenance_margin) == (
        "USDT",
        "900.5",
        "950.5",
        "150.25",
    )
    assert (state.full, state.asked_at) == (True, 7)


def test_margins_of_an_asset_are_the_pools_only_without_isolated_positions() -> None:
    isolated = {"symbol": "BTCUSDT", "positionAmt": "1", "isolated": True, "maintMargin": "5"}
    (pool,) = parse.balance("main", msgspec.convert(account(isolated), Account), False, 7).pools
    assert (pool.cash, pool.venue_maintenance_margin, pool.venue_initial_margin) == ("900.5", None, None)


def test_an_account_in_multi_assets_mode_has_one_pool_in_dollars_that_follows_the_venues_equity() -> None:
    state = parse.balance("main", msgspec.convert(account(), Account), True, 7)
    (pool,) = state.pools
    assert (pool.pool, pool.ccy, pool.cash, pool.venue_equity) == ("USD", "USD", None, "1990")
    assert pool.from_coins
    assert all(coin.discount is None for coin in state.coins), "what counts of an asset is not told"
    assert (state.available, state.withdrawable) == ("1100", "1000")


AMOUNTS = st.decimals(min_value=-(10**12), max_value=10**12, places=8)


@given(AMOUNTS, AMOUNTS)
def test_sums_are_exact(left: Decimal, right: Decimal) -> None:
    assert Decimal(parse.total(f"{left:f}", f"{right:f}") or "nan") == left + right


@given(st.from_regex(r"\A-?[0-9]{1,9}(\.[0-9]{1,9})?\Z"))
def test_a_turned_sign_keeps_the_digits(figure: str) -> None:
    turned = parse.negated(figure)
    assert Decimal(turned) == -Decimal(figure)
    assert turned.lstrip("-") == figure.lstrip("-")


@needs_recordings
def test_recorded_rows_fit_and_their_figures_agree() -> None:
    rows = [*recorded("aster"), *recorded("binance")]
    states = [parse.position("main", each, "USDT", False) for each in rows]
    assert len(states) >= 6
    held = [(each, state) for each, state in zip(rows, states, strict=True) if state.side]
    for each, state in held:
        if state.entry_price:  # the documentation's short has none
            assert state.mark_price
            signed = Decimal(each.position_amt)
            moved = signed * (Decimal(state.mark_price) - Decimal(state.entry_price))
            assert abs(moved - Decimal(state.venue_unrealized_pnl or "nan")) < Decimal("1e-5")
    assert {state.isolated_cash for _, state in held if state.margin_mode == "isolated"} == {
        "13200.70726908",
        "6570.42511771",
    }


@needs_recordings
def test_a_recorded_flat_row_is_no_position() -> None:
    flats = [
        parse.position("main", each, "USDT", False) for each in recorded("aster") if not Decimal(each.position_amt)
    ]
    assert len(flats) == 2
    assert all(state.side is None and state.size == "0" and state.liquidation_known == "none" for state in flats)


@needs_recordings
def test_recorded_accounts() -> None:
    answers = [
        msgspec.convert(recording.messages()[0], Account)
        for venue in ("aster", "binance")
        for recording in recordings(venue, "rest-account")
    ]
    assert len(answers) == 3
    for answer in answers:
        for pool, asset in zip(
            parse.balance("main", answer, False, 1).pools, filter(parse.holds, answer.assets), strict=True
        ):
            assert Decimal(pool.venue_equity or "") == Decimal(asset.margin_balance or "")


@needs_recordings
def test_a_recorded_balance_shows_that_empty_assets_are_many() -> None:
    (recording,) = list(recordings("aster", "rest-balance", "captured"))
    rows = [
        AssetRow(asset=each["asset"], wallet_balance=each["balance"], cross_wallet_balance=each["crossWalletBalance"])
        for each in recording.messages()[0]
    ]
    assert len(rows) > 10
    assert [each.asset for each in rows if parse.holds(each)] == ["USDT"]


def test_a_flat_row_keeps_nothing_but_its_leverage() -> None:
    parsed = msgspec.convert(flat(leverage="20"), PositionRow)
    assert parse.position("main", parsed, "USDT", False).leverage == "20"
