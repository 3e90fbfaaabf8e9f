"""Aster's margin model: the documentation's own liquidation prices, the bracket at the solved price, and where it keeps still."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchanges.aster import parse
from exchanges.aster.wire import PositionRow
from exchanges.events import MarginTier, MarginTiers, PositionState
from gateway.core.margin import Inputs, Maintenance, parameters
from gateway.core.positions import Book, Row
from tests.recordings import needs_recordings, recordings

BRACKETS = (("0", "0.004", "0"), ("50000", "0.005", "50"), ("250000", "0.01", "1300"), ("1000000", "0.025", "16300"))


def tiers(*brackets: tuple[str, str, str]) -> MarginTiers:
    rows = tuple(MarginTier(lower=lower, rate=rate, deduction=cum) for lower, rate, cum in brackets)
    return MarginTiers(venue="aster", env="live", key="BTCUSDT", unit="notional", tiers=rows)


def position(**fields: Any) -> PositionState:
    row = {
        "symbol": "BTCUSDT", "positionAmt": "2", "entryPrice": "60000", "markPrice": "60000", "unRealizedProfit": "0",
        "liquidationPrice": "1", "marginType": "cross", "positionSide": "BOTH", "isolatedWallet": "0",
    }  # fmt: skip
    parsed = msgspec.convert({**row, **fields}, PositionRow)
    return parse.position("main", parsed, "USDT", False)


def found(
    state: PositionState, *, table: MarginTiers | None = None, computable: bool = True, **fields: bool
) -> Maintenance:
    size = float(state.size)
    inputs = Inputs(
        state=state,
        instrument=None,
        tiers=table or tiers(*BRACKETS),
        quantity=-size if state.side == "short" else size,
        notional0=size * float(state.mark_price or "nan"),
        notional_entry=size * float(state.entry_price or "nan"),
        alone=fields.pop("alone", True),
        inverse=False,
        **fields,
    )
    return parameters("aster", inputs, mode_computable=computable)


def solve(
    states: list[PositionState], cash: float, tables: list[MarginTiers] | MarginTiers | None = None
) -> list[float]:
    """Return the liquidation prices of positions of different symbols that share one pool."""
    book = Book()
    pool = book.add_pool()
    book.cash[pool] = cash
    handles = []
    for slot, state in enumerate(states):
        symbol = book.symbols.add()
        book.symbols.set(symbol, float(state.mark_price or "nan"))
        handle = book.add(symbol, pool, slot, book.bases.number(state.symbol))
        quantity = float(state.size) * (-1 if state.side == "short" else 1)
        upnl, mark = float(state.venue_unrealized_pnl or "nan"), float(state.mark_price or "nan")
        table = tables[slot] if isinstance(tables, list) else tables
        known = found(state, alone=len(states) == 1, table=table)
        book.put(handle, Row(quantity, upnl, mark, False, 1.0, quantity > 0, math.nan, known))
        handles.append(handle)
    book.recompute()
    return [book.figures(handle).get("liq", math.nan) for handle in handles]


def charged(notional: float) -> float:
    """Return the maintenance margin by the brackets: the largest that any of them gives, since they are convex."""
    return max(notional * float(rate) - float(cum) for _, rate, cum in BRACKETS)


@needs_recordings
def test_both_legs_of_the_documentations_hedge_sample() -> None:
    """The published 5930.78 and 7189.95, from size, mark, unrealised PnL and isolated wallet alone."""
    (recording,) = [
        each for each in recordings("aster", "rest-positionRisk") if each.path.stem.endswith("GetPositions")
    ]
    states = [
        parse.position("main", msgspec.convert(row, PositionRow), "USDT", False) for row in recording.messages()[0]
    ]
    assert [state.venue_liquidation_price for state in states] == ["5930.78", "7189.95"]
    prices = [solve([state], float(state.isolated_cash or "nan"), tiers(("0", "0.005", "50")))[0] for state in states]
    assert prices == [pytest.approx(5930.78355, abs=1e-5), pytest.approx(7189.95275, abs=1e-5)]


@needs_recordings
def test_a_recorded_cross_position_that_nothing_can_liquidate() -> None:
    (recording,) = recordings("binance", "rest-positionRisk")
    state = parse.position("main", msgspec.convert(recording.messages()[0][0], PositionRow), "USDT", False)
    assert state.liquidation_known == "none"
    assert math.isnan(solve([state], 14614.57417048, tiers(("0", "0.004", "0")))[0])


def test_the_models_have_names_and_the_venues_figure_is_kept_without_brackets() -> None:
    isolated = position(marginType="isolated", isolatedWallet="500")
    assert (found(position()).model, found(isolated).model) == ("aster_cross", "aster_isolated")
    assert found(position(), table=tiers()).model is None
    assert found(position(), computable=False).model is None, "a mode that cannot be computed"


def test_names_tell_the_mode() -> None:
    leg = position(positionSide="LONG")
    assert (found(leg).model, found(leg, hedged=True).model) == ("aster_cross", "aster_hedge")
    assert found(leg, hedged=True).rate == 0.005, "each leg is charged for itself"
    multi = msgspec.structs.replace(position(), pool="USD")
    assert found(multi).model == "aster_multi"
    assert found(multi, solvable=False).model is None, "the collateral is not known"
    isolated = position(positionSide="LONG", marginType="isolated", isolatedWallet="5")
    assert found(isolated, hedged=True, solvable=False).model == "aster_isolated", "it answers for itself"


@given(
    amount=st.integers(-3000, 3000).filter(bool).map(lambda n: f"{n / 100:.2f}"),
    entry=st.integers(1_000, 90_000),
    cash=st.integers(10, 500_000),
)
def test_at_the_root_equity_meets_the_maintenance_of_the_bracket_there(amount: str, entry: int, cash: int) -> None:
    (price,) = solve([position(positionAmt=amount, entryPrice=str(entry), markPrice=str(entry))], float(cash))
    quantity = float(amount)
    if math.isnan(price):
        assert quantity > 0, "a short always has one"
        assert cash - quantity * entry >= 0
        return
    equity = cash + quantity * (price - entry)
    assert equity == pytest.approx(charged(abs(quantity) * price), rel=1e-9, abs=1e-6)


def test_the_published_cross_formula_with_another_symbol_in_the_pool() -> None:
    one = position(positionAmt="1.5", entryPrice="60000", markPrice="61000", unRealizedProfit="1500")
    other = position(symbol="ETHUSDT", positionAmt="-10", entryPrice="3000", markPrice="3100", unRealizedProfit="-1000")
    wallet, (rate, cum) = 12_000.0, (0.005, 50.0)  # of the bracket that 1.5 * price falls in
    others = 31_000 * 0.004
    expected = (wallet - others - 1000 + cum - 1.5 * 60_000) / (1.5 * rate - 1.5)
    assert solve([one, other], wallet)[0] == pytest.approx(expected, rel=1e-12)
    assert 50_000 < 1.5 * expected < 250_000


def test_the_published_example_of_an_account_with_two_positions() -> None:
    """Binance FAQ, "How to Calculate Liquidation Price of USDⓈ-M Futures Contracts": 26,316.89 and 1,153.26.

    Its "other maintenance" and "other PnL" of one are the maintenance and PnL of the other, which fixes both marks.
    """
    wallet = 1_535_443.01
    btc_pnl, eth_pnl = -56_354.57136, -448_192.89
    btc = position(
        positionAmt="109.488", entryPrice="32481.980", unRealizedProfit=str(btc_pnl),
        markPrice=repr(32_481.980 + btc_pnl / 109.488),
    )  # fmt: skip
    eth = position(
        symbol="ETHUSDT", positionAmt="3683.979", entryPrice="1456.84", unRealizedProfit=str(eth_pnl),
        markPrice=repr(1_456.84 + eth_pnl / 3683.979),
    )  # fmt: skip
    tables = [tiers(("0", "0.025", "16300")), tiers(("0", "0.10", "135365"))]
    prices = solve([btc, eth], wallet, tables)
    assert prices == [pytest.approx(26_316.89, abs=5e-3), pytest.approx(1_153.26, abs=5e-3)]
