"""Margin models: what they charge, what they may not read, and that their root is where the pool is spent."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchanges.events import MarginTier, MarginTiers, PositionState
from gateway.core import margin
from gateway.core.margin import CATALOG, MODELS, Inputs, parameters, trusted
from gateway.core.margin.inputs import without_forbidden
from gateway.core.positions import Book, Row
from tests.gateway.events_of import instrument, position

TIERS = MarginTiers(
    venue="hyperliquid",
    env="live",
    key="56",
    unit="notional",
    tiers=(MarginTier(lower="0", rate="0.0125"), MarginTier(lower="150000000", rate="0.025", deduction="1875000")),
)


def inputs(state: PositionState, **fields: Any) -> Inputs:
    quantity = float(state.size) * (-1 if state.side == "short" else 1)
    mark, entry = float(state.mark_price or "nan"), float(state.entry_price or "nan")
    inverse = bool(fields.get("inverse"))
    given_ = {
        "state": state, "instrument": None, "tiers": None, "quantity": quantity, "alone": True, "inverse": False,
        "notional0": abs(quantity) / mark if inverse else abs(quantity) * mark,
        "notional_entry": abs(quantity) / entry if inverse else abs(quantity) * entry,
    }  # fmt: skip
    return Inputs(**(given_ | fields))


def test_hyperliquid_takes_the_rows_own_maximum_leverage() -> None:
    own = position(max_leverage="50")
    market = instrument(venue="hyperliquid", max_leverage="5")
    found = parameters("hyperliquid", inputs(own, instrument=market, tiers=TIERS), mode_computable=True)
    assert (found.model, found.rate, found.brackets[1:]) == ("hyperliquid_cross", 0.01, ())
    tiered = parameters(
        "hyperliquid",
        inputs(position(max_leverage="40"), instrument=instrument(max_leverage="40"), tiers=TIERS),
        mode_computable=True,
    )
    assert [bracket.rate for bracket in tiered.brackets] == [0.0125, 0.025]


@pytest.mark.parametrize("venue", sorted(MODELS))
def test_modes_that_cannot_be_computed_keep_the_venues_figure(venue: str) -> None:
    found = parameters(venue, inputs(position(max_leverage="50")), mode_computable=False)
    assert found.model is None
    assert found.rate == pytest.approx(0.005)


@pytest.mark.parametrize("venue", sorted(MODELS))
@pytest.mark.parametrize("mode", ["cross", "isolated"])
def test_no_model_sees_what_it_is_compared_with(venue: str, mode: str) -> None:
    state = position(margin_mode=mode, isolated_cash="20", max_leverage="50", pool="USDT")
    told = msgspec.structs.replace(
        state, venue_liquidation_price="77", venue_margin_ratio="3", liquidation_known="price"
    )
    assert without_forbidden(told) == without_forbidden(state)
    assert parameters(venue, inputs(told), mode_computable=True) == parameters(
        venue, inputs(state), mode_computable=True
    )


def test_bybit_tells_deduction_and_fee_from_the_rate() -> None:
    tiers = msgspec.structs.replace(TIERS, venue="bybit", tiers=(MarginTier(lower="0", rate="0.004"),))
    found = parameters("bybit", inputs(position(pool="USD"), tiers=tiers), mode_computable=True)
    assert found.rate == 0.004
    assert found.rate * 220 + found.constant == pytest.approx(1.1), "what the venue's message states"
    assert (found.model, found.replaces, found.rate_at_liquidation) == ("bybit_cross_single", False, 0.0)


def test_bybits_documented_isolated_example() -> None:
    """1 BTC at 40,000 with 50x, 0.5 % and a fee of 0.055 %, 3,000 added: 36,380.25 (Bybit help center)."""
    state = position(
        "BTCUSDT", size="1", entry_price="40000", mark_price="40000", leverage="50", margin_mode="isolated",
        isolated_cash="3821.56", venue_maintenance_margin="221.56", trading_fee="21.56", venue_unrealized_pnl="0",
    )  # fmt: skip
    market = instrument("BTCUSDT", "bybit", tick_size="0.01")
    assert solve("bybit", state, cash=3821.56, market=market) == pytest.approx(36_380.25)
    # The same without the fee in the balance, as it is where the venue leaves its balance blank and nothing was added
    bare = msgspec.structs.replace(state, isolated_cash="800")
    full = msgspec.structs.replace(state, isolated_cash="821.56")
    assert (
        solve("bybit", bare, cash=800.0, market=market) == solve("bybit", full, cash=821.56, market=market) == 39_396.98
    )


def test_names_tell_venue_and_mode() -> None:
    """A pool's other members decide between formulas on Bybit, which one a name says; on OKX one covers them all."""
    usd, inverse = instrument("BTCUSDT", "bybit"), instrument("BTCUSD", "bybit", settle="BTC", contract_type="inverse")
    cases: list[tuple[str, PositionState, dict[str, Any], str | None]] = [
        ("okx", position(), {"alone": False}, "okx_cross"),
        ("okx", position(pool="BTC", settle="BTC"), {"inverse": True}, "okx_cross"),
        ("okx", position(pool="USD"), {}, "okx_multi"),
        ("okx", position(margin_mode="isolated", isolated_cash="5"), {"inverse": True}, "okx_isolated_inverse"),
        ("bybit", position(pool="USD"), {"instrument": usd}, "bybit_cross_single"),
        ("bybit", position(pool="USD"), {"instrument": usd, "alone": False}, "bybit_cross"),
        ("bybit", position(pool="USD"), {"instrument": usd, "lone_collateral": False}, "bybit_cross"),
        ("bybit", position(pool="USD"), {"instrument": inverse, "inverse": True}, "bybit_cross_inverse"),
        ("bybit", position(pool="inverse:BTC"), {"instrument": inverse, "inverse": True}, None),
        ("hyperliquid", position(pool="dex:", max_leverage="50"), {}, "hyperliquid_cross"),
        ("hyperliquid", position(pool="unified:USDC", max_leverage="50"), {}, "hyperliquid_unified"),
        ("hyperliquid", position(max_leverage=None), {}, None),
    ]  # fmt: skip
    for venue, state, given_, name in cases:
        assert parameters(venue, inputs(state, **given_), mode_computable=True).model == name, (venue, state.pool)
        if state.margin_mode == "cross":
            unknown = parameters(venue, inputs(state, **given_, solvable=False), mode_computable=True)
            assert unknown.model is None, "something moves the pool that is not known"
            assert not math.isnan(unknown.rate), "what it must keep is known all the same"


def test_every_model_that_is_named_is_in_the_catalogue() -> None:
    folder = Path(margin.__file__).parent
    named: set[str] = set()
    for venue in MODELS:
        named |= set(re.findall(rf'"({venue}_\w+)"', (folder / f"{venue}.py").read_text()))
    assert named == set(CATALOG)
    assert all(name.startswith(f"{model.venue}_") for name, model in CATALOG.items())


def test_a_model_is_trusted_where_it_is_measured_or_promoted() -> None:
    measured = {name for name in CATALOG if trusted(name)}
    assert measured == {"okx_isolated", "bybit_cross_single", "hyperliquid_cross", "hyperliquid_isolated"}
    assert trusted("okx_cross", ["okx_cross"])
    assert not trusted("okx_cross", ["okx_multi"])
    with pytest.raises(KeyError):
        trusted("okx_hope")


# --- Worked examples ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("side", "held", "fee", "price"),
    [("short", "0.0502475", "0.0002475", 66_333.33), ("long", "0.0503025", "0.0003025", 54_818.18)],
)
def test_bybits_documented_isolated_inverse_example(side: str, held: str, fee: str, price: float) -> None:
    """A short of 30,000 USD at 60,000 with 10x, 0.5 % and a fee of 0.055 %: 66,333.33 (Bybit help center), and its mirror."""
    state = position(
        "BTCUSD", side=side, size="30000", entry_price="60000", mark_price="60000", leverage="10", margin_mode="isolated",
        isolated_cash=held, venue_maintenance_margin=str(0.0025 + float(fee)), trading_fee=fee, venue_unrealized_pnl="0",
        settle="BTC",
    )  # fmt: skip
    market = instrument("BTCUSD", "bybit", settle="BTC", contract_type="inverse", tick_size="0.01")
    assert solve("bybit", state, cash=float(held), market=market) == pytest.approx(price)


def test_okxs_documented_isolated_inverse_sample() -> None:
    """One contract of 10 USD at 2566.31 (positions channel, OKX API documentation): 2352.8496681818233."""
    state = position(
        "ETH-USD-210430", kind="future", size="10", entry_price="2566.31", mark_price="2565.656", margin_mode="isolated",
        isolated_cash="0.0003896645377994", venue_maintenance_margin="0.0000311811092368", settle="ETH",
        venue_unrealized_pnl="-0.0000009932766034",
    )  # fmt: skip
    market = instrument(state.symbol, "okx", settle="ETH", contract_type="inverse", tick_size="0.01")
    price = solve("okx", state, cash=0.0003896645377994, market=market)
    assert price == pytest.approx(2352.8496681818233, rel=1e-9)


def solve(venue: str, state: PositionState, cash: float, market: Any = None) -> float:
    """Return the liquidation price of a position alone in its pool."""
    inverse = market is not None and market.contract_type == "inverse"
    found = parameters(venue, inputs(state, instrument=market, inverse=inverse), mode_computable=True)
    book = Book()
    symbol, pool = book.symbols.add(), book.add_pool()
    book.symbols.orient(symbol, inverse=inverse)
    book.symbols.set(symbol, float(state.mark_price or "nan"))
    book.cash[pool] = cash
    handle = book.add(symbol, pool, 0, book.bases.number("BTC"))
    quantity = float(state.size) * (-1 if state.side == "short" else 1)
    entry = float(state.entry_price or "nan")
    book.put(handle, Row(quantity, 0.0, -1 / entry if inverse else entry, False, 1.0, quantity > 0, math.nan, found))
    book.recompute()
    return book.figures(handle).get("liq", math.nan)


@given(
    venue=st.sampled_from(["okx", "hyperliquid"]),
    side=st.sampled_from(["long", "short"]),
    size=st.floats(0.1, 100.0).map(lambda x: f"{x:.3f}"),
    entry=st.floats(10.0, 1000.0).map(lambda x: f"{x:.2f}"),
    cash=st.floats(1.0, 50_000.0),
)
def test_at_the_root_equity_meets_maintenance(venue: str, side: str, size: str, entry: str, cash: float) -> None:
    state = position(
        side=side, size=size, entry_price=entry, mark_price=entry, venue_unrealized_pnl="0", max_leverage="40",
        venue_maintenance_margin=repr(float(size) * float(entry) * 0.0125),
    )  # fmt: skip
    price = solve(venue, state, cash)
    if math.isnan(price):
        return
    quantity = float(size) * (-1 if side == "short" else 1)
    rate = 0.0125 + (0.0005 if venue == "okx" else 0.0)
    equity = cash + quantity * (price - float(entry))
    assert equity == pytest.approx(float(size) * price * rate, rel=1e-9, abs=1e-9 * (cash + float(size) * float(entry)))


@given(cash=st.floats(1.0, 5_000.0), more=st.floats(0.0, 5_000.0), side=st.sampled_from(["long", "short"]))
def test_more_collateral_never_brings_liquidation_nearer(cash: float, more: float, side: str) -> None:
    state = position(
        side=side, size="2", entry_price="100", mark_price="100", venue_unrealized_pnl="0", max_leverage="40"
    )
    near, far = solve("hyperliquid", state, cash), solve("hyperliquid", state, cash + more)
    if math.isnan(near):
        assert math.isnan(far)
    elif not math.isnan(far):
        assert far <= near + 1e-9 if side == "long" else far >= near - 1e-9
