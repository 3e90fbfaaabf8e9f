"""Hyperliquid, standard mode: cross per dex and isolated, with margin tiers.

maintenance = notional * rate - deduction, rate = 1 / (2 * maxLeverage) of the position's *own* row, which can differ from the
market's; liquidation where equity = maintenance with the rate of the tier at that price:

    price = mark - side * (equity - maintenance) / size / (1 - rate * side)

Equity of a pool: totalRawUsd + sum of signed size * mark (cross), rawUsd + size * mark (isolated); USDC.
Source: Hyperliquid docs, "Liquidations" and "Margin tiers"; measured on captured states (worst 1.3e-9 relative).
"""

from __future__ import annotations

from gateway.core.margin.inputs import Inputs, venue_only
from gateway.core.margin.pool import Bracket, Maintenance, from_tiers


def maintenance(inputs: Inputs) -> Maintenance:
    """Return the parameters of a cross or isolated position."""
    state, instrument = inputs.state, inputs.instrument
    if not state.max_leverage or state.margin_mode is None:
        return venue_only(inputs)
    brackets: tuple[Bracket, ...] = ()
    if instrument and instrument.max_leverage and float(instrument.max_leverage) == float(state.max_leverage):
        brackets = from_tiers(inputs.tiers)
    if not brackets:
        brackets = (Bracket(0.0, 1.0 / (2.0 * float(state.max_leverage)), 0.0),)
    first = brackets[0]
    return Maintenance(
        model=f"hyperliquid_{state.margin_mode}",
        rate=first.rate,
        constant=-first.deduction,
        rate_at_liquidation=first.rate,
        constant_at_liquidation=-first.deduction,
        brackets=brackets,
    )
