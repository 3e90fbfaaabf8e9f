"""Hyperliquid: cross per dex and isolated (standard modes), cross per collateral token (unified accounts), with margin tiers.

maintenance = notional * rate - deduction, rate = 1 / (2 * maxLeverage) of the position's *own* row, which can differ from the
market's; liquidation where equity = maintenance with the rate of the tier at that price:

    price = mark - side * (equity - maintenance) / size / (1 - rate * side)

Equity of a pool: totalRawUsd + sum of signed size * mark (cross), rawUsd + size * mark (isolated); USDC. In a unified account the
pool is a collateral token with every dex of that token: its spot total less the margins of isolated positions, moved by the PnL
of the cross positions, against the sum of the dexes' cross maintenance.
Source: Hyperliquid docs, "Liquidations", "Margin tiers" and, for the unified account's ratio, "Account abstraction modes"; cross
and isolated measured on captured states (worst 1.3e-9 relative), unified not measured.
"""

from __future__ import annotations

from gateway.core.margin.inputs import Inputs, venue_only
from gateway.core.margin.pool import Bracket, Maintenance, from_tiers


def maintenance(inputs: Inputs) -> Maintenance:
    """Return the parameters of a position; without its own ``maxLeverage`` the venue's figure is kept."""
    state, instrument = inputs.state, inputs.instrument
    if not state.max_leverage or state.margin_mode is None:
        return venue_only(inputs)
    brackets: tuple[Bracket, ...] = ()
    if instrument and instrument.max_leverage and float(instrument.max_leverage) == float(state.max_leverage):
        brackets = from_tiers(inputs.tiers)
    if not brackets:
        brackets = (Bracket(0.0, 1.0 / (2.0 * float(state.max_leverage)), 0.0),)
    return Maintenance.of_brackets(_name(inputs), brackets, inputs.notional)


def _name(inputs: Inputs) -> str:
    if inputs.state.margin_mode == "isolated":
        return "hyperliquid_isolated"
    return "hyperliquid_unified" if inputs.state.pool.startswith("unified:") else "hyperliquid_cross"
