"""Account states: the shapes, the exact digits, and the identities that captured states obey."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchanges.errors import ProtocolViolation
from exchanges.events import PositionState, position_id
from exchanges.hyperliquid import parse, wire
from tests.exchanges.hyperliquid.samples import Captured, captured_states, row, state
from tests.recordings import needs_recordings


def parsed(found: dict[str, Any], dex: str = "", asked_at: int | None = None) -> parse.DexState:
    return parse.parse_state("main", dex, "USDC", json.dumps(found), asked_at)


def one(found: dict[str, Any], dex: str = "") -> PositionState:
    (position,) = parsed(found, dex).snapshot.positions
    return position


def test_a_short_cross_row() -> None:
    short = one(state(row("kPEPE", "-1500.0", "0.0081", liquidationPx="0.02")))
    assert (short.side, short.size, short.margin_mode, short.pool, short.scope) == (
        "short", "1500.0", "cross", "main", "dex:",
    )  # fmt: skip
    assert (short.mark_price, short.venue_notional, short.venue_unrealized_pnl) == ("0.0081", "12.15000", "1.0")
    assert (short.max_leverage, short.leverage, short.settle, short.symbol) == ("20", "10", "USDC", "kPEPE")
    assert (short.venue_initial_margin, short.isolated_cash, short.entry_exact) == ("1.21500", None, False)
    assert (short.liquidation_known, short.venue_liquidation_price) == ("price", "0.02")
    assert (short.fence, short.venue_at) == ((1_790_000_000_000,), 1_790_000_000_000)


@pytest.mark.parametrize(
    ("paid", "funding"), [("81.316830", "-81.316830"), ("-0.5", "0.5"), ("0.0", "0.0"), ("-0.0", "0.0")]
)
def test_funding_that_was_paid_is_turned_into_an_effect_on_the_balance(paid: str, funding: str) -> None:
    of = {"allTime": "7.0", "sinceOpen": paid, "sinceChange": "9.0"}
    assert one(state(row("BTC", "1.0", "10.0", cumFunding=of))).funding == funding
    assert one(state(row("BTC", "1.0", "10.0", cumFunding=None))).funding is None


def test_an_isolated_row_has_a_pool_of_its_own_and_its_dollar_leg() -> None:
    long = one(state(row("xyz:XYZ100", "2.0", "100.0", cross=False)), "xyz")
    assert long.id == position_id("main", "xyz:XYZ100")
    assert (long.pool, long.scope, long.side) == (f"iso:{long.id}", "dex:xyz", "long")
    assert (long.isolated_cash, long.isolated_basis, long.isolated_margin) == ("-180.00", "value", "20.00")
    assert long.venue_initial_margin is None


def test_the_pool_of_a_dex_is_named_after_it() -> None:
    balance = parsed(state(row("xyz:GOLD", "1.0", "10.0"), cash="-5.5"), "xyz", asked_at=7).balance
    (pool,) = balance.pools
    assert (pool.pool, pool.ccy, pool.basis, pool.cash, pool.venue_equity) == ("xyz", "USDC", "value", "-5.5", "4.50")
    assert (pool.venue_maintenance_margin, pool.venue_initial_margin) == ("2.5", "5.0")
    assert (balance.scope, balance.full, balance.withdrawable, balance.asked_at) == ("dex:xyz", True, "900.0", 7)


def test_rows_of_size_zero_are_dropped() -> None:
    snapshot = parsed(state(row("BTC", "0.0", "1.0"), row("ETH", "-0.0", "1.0"), row("SOL", "1.0", "2.0"))).snapshot
    assert [position.symbol for position in snapshot.positions] == ["SOL"]


@pytest.mark.parametrize(
    ("price", "known", "shown"),
    [(None, "none", None), ("0.0", "none", None), ("-3", "none", None), ("16881583.41", "price", "16881583.41")],
)
def test_a_null_liquidation_price_says_that_there_is_none(price: str | None, known: str, shown: str | None) -> None:
    found = one(state(row("BTC", "1.0", "2.0", liquidationPx=price)))
    assert (found.liquidation_known, found.venue_liquidation_price) == (known, shown)


def test_a_missing_liquidation_price_says_nothing() -> None:
    found = state(row("BTC", "1.0", "2.0"))
    del found["assetPositions"][0]["position"]["liquidationPx"]
    assert one(found).liquidation_known == "unknown"


def test_old_states_without_time_or_maximum_leverage_are_read() -> None:
    found = state(row("BTC", "1.0", "2.0"), time=None)
    del found["assetPositions"][0]["position"]["maxLeverage"]
    del found["crossMaintenanceMarginUsed"]
    old = parsed(found)
    assert (old.snapshot.fence, old.balance.venue_at) == ((), None)
    assert old.snapshot.positions[0].max_leverage is None
    assert old.balance.pools[0].venue_maintenance_margin is None


def test_an_unknown_margin_mode_keeps_the_row_and_says_so() -> None:
    found = parsed(state(row("BTC", "1.0", "2.0", leverage={"type": "shared", "value": 3})))
    assert (found.snapshot.positions[0].margin_mode, found.snapshot.positions[0].pool) == (None, "iso:main:BTC")
    assert "shared" in found.notices[0].what


@pytest.mark.parametrize(
    "rows",
    [
        [row("BTC", "1.0", "2.0"), row("BTC", "-1.0", "2.0")],
        [row("BTC", "1.0", "2.0") | {"type": "hedge"}],
        [row("BTC", "1.0", "2.0", szi="NaN")],
        [row("BTC", "1.0", "2.0", szi="1e999999")],
        [row("BTC", "1.0", "2.0", unrealizedPnl="Infinity")],
        [row("BTC", "1.0", "2.0", szi="")],
        [row("", "1.0", "2.0")],
        [row("ETH", "1.0", "2.0"), {"type": "oneWay"}],
    ],
)
def test_a_state_with_one_bad_row_is_refused_whole(rows: list[dict[str, Any]]) -> None:
    # Without that row the snapshot would say that its position is closed.
    good = state()
    with pytest.raises(ProtocolViolation):
        parsed(good | {"assetPositions": rows})


DIGITS = st.from_regex(r"[1-9][0-9]{0,11}\.[0-9]{1,10}", fullmatch=True)


@given(DIGITS, st.booleans())
def test_digits_are_kept_whether_quoted_or_not(digits: str, quoted: bool) -> None:
    number = f'"{digits}"' if quoted else digits
    text = json.dumps(state(row("BTC", "1.0", "2.0", entryPx="@", szi="@"))).replace('"@"', number)
    position = parse.parse_state("main", "", "USDC", text).snapshot.positions[0]
    assert (position.entry_price, position.size) == (digits, digits)


@pytest.mark.parametrize("digits", ["0.00000010", "1790000000.0000000001", "3155203.7660619998", "2.50"])
def test_awkward_digits_are_kept(digits: str) -> None:
    assert one(state(row("BTC", digits, "1"))).size == digits


def test_quoted_integers_are_read() -> None:
    found = state(row("BTC", "1.0", "2.0", maxLeverage="50", leverage={"type": "cross", "value": "20"}))
    found["time"] = "1709652410317"
    position = one(found)
    assert (position.max_leverage, position.leverage, position.fence) == ("50", "20", (1709652410317,))


def test_spot_balances() -> None:
    found = wire.decode(
        parse.SpotState,
        json.dumps(
            {
                "balances": [
                    {"coin": "USDC", "token": 0, "total": "100.50", "hold": "0.25", "entryNtl": "1.0"},
                    {"coin": "+12", "total": "3.0"},
                    {"coin": "HYPE", "token": 150, "total": "5.0", "hold": "0.0", "borrowed": "2.0"},
                ]
            }
        ),
        "spot",
    )
    usdc, outcome, hype = parse.parse_spot("main", found, 5).coins
    assert (usdc.ccy, usdc.total, usdc.cash, usdc.available) == ("USDC", "100.50", "100.50", "100.25")
    assert (outcome.ccy, outcome.total, outcome.available) == ("+12", "3.0", None)
    assert (hype.total, hype.cash) == ("5.0", None)


# --- What captured states prove -----------------------------------------------------------------------------------------


def captured() -> list[tuple[Captured, parse.DexState]]:
    found = [(source, parsed(source.state, source.dex)) for source in captured_states()]
    assert len(found) >= 10
    return found


@needs_recordings
def test_every_captured_row_becomes_a_position_with_its_own_figures() -> None:
    rows = 0
    for source, found in captured():
        raw = [each["position"] for each in source.state["assetPositions"]]
        assert [position.symbol for position in found.snapshot.positions] == [each["coin"] for each in raw]
        for position, each in zip(found.snapshot.positions, raw, strict=True):
            sign = "-" if position.side == "short" else ""
            assert sign + position.size == each["szi"]
            assert position.entry_price == each["entryPx"]
            assert position.venue_unrealized_pnl == each["unrealizedPnl"]
            assert position.venue_notional == each["positionValue"]
            assert position.venue_liquidation_price == each["liquidationPx"]
            assert position.max_leverage == (str(each["maxLeverage"]) if "maxLeverage" in each else None)
            assert position.isolated_cash == each["leverage"].get("rawUsd")
            rows += 1
    print(f"{rows} captured rows")
    assert rows >= 60


@needs_recordings
def test_captured_marks_multiply_back_to_the_position_value() -> None:
    rows = [position for _, found in captured() for position in found.snapshot.positions]
    assert rows
    for each in rows:
        assert each.mark_price is not None
        assert each.venue_notional is not None
        assert abs(Decimal(each.mark_price) * Decimal(each.size) - Decimal(each.venue_notional)) < Decimal("1e-18")


@needs_recordings
def test_captured_account_values_are_cash_and_signed_value() -> None:
    checked = 0
    for source, found in captured():
        (pool,) = found.balance.pools
        if not source.complete or pool.cash is None or pool.venue_equity is None:
            continue
        cross = [position for position in found.snapshot.positions if position.margin_mode == "cross"]
        value = sum((signed(each) * Decimal(str(each.mark_price)) for each in cross), Decimal(pool.cash))
        assert abs(value - Decimal(pool.venue_equity)) < Decimal("1e-6"), source.name
        checked += 1
    print(f"{checked} complete captured accounts")
    assert checked >= 5


@needs_recordings
def test_captured_profit_agrees_with_the_rounded_entry() -> None:
    rows = [position for _, found in captured() for position in found.snapshot.positions]
    assert rows
    for each in rows:
        entry = Decimal(str(each.entry_price))
        rounding = Decimal(1).scaleb(int(entry.as_tuple().exponent))
        miss = Decimal(str(each.venue_unrealized_pnl)) - signed(each) * (Decimal(str(each.mark_price)) - entry)
        assert abs(miss) <= Decimal(each.size) * rounding, each.id


@needs_recordings
def test_captured_liquidation_prices_follow_the_published_formula() -> None:
    """liq = mark - side * available / |szi| / (1 - l * side), l = 1 / (2 * the row's own maxLeverage); null where it is <= 0."""
    prices = none = 0
    for _, found in captured():
        (pool,) = found.balance.pools
        for each in found.snapshot.positions:
            available = available_margin(each, pool.venue_equity, pool.venue_maintenance_margin)
            if available is None:
                continue
            side = 1 if each.side == "long" else -1
            mark, rate = Decimal(str(each.mark_price)), maintenance_rate(each)
            price = mark - side * available / Decimal(each.size) / (1 - rate * side)
            if each.liquidation_known == "none":
                assert price <= 0, each.id
                none += 1
            else:
                assert abs(price / Decimal(str(each.venue_liquidation_price)) - 1) < Decimal("2e-9"), each.id
                prices += 1
    print(f"{prices} captured liquidation prices, {none} captured nulls")
    assert prices >= 30
    assert none >= 10


def signed(position: PositionState) -> Decimal:
    return Decimal(position.size) * (1 if position.side == "long" else -1)


def maintenance_rate(position: PositionState) -> Decimal:
    return 1 / (2 * Decimal(str(position.max_leverage)))


def available_margin(position: PositionState, equity: str | None, maintenance: str | None) -> Decimal | None:
    """Return what may be lost before liquidation, or None where the capture lacks a figure."""
    if position.max_leverage is None:
        return None
    if position.margin_mode == "isolated":
        own = maintenance_rate(position) * Decimal(str(position.venue_notional))
        return Decimal(str(position.isolated_margin)) - own
    return None if equity is None or maintenance is None else Decimal(equity) - Decimal(maintenance)
