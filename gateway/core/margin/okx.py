"""OKX: isolated positions, and a cross position that is alone in its currency (futures mode).

With r = maintenance rate + liquidation fee rate and Q = contracts * contract size:

    isolated linear   price = (side * entry * Q - margin) / (Q * (side - r)), then one tick: + for longs, - for shorts
    isolated inverse  price = Q * (1 + side * r) / (margin + side * Q / entry), then the same tick
    cross, alone      the same with the currency's equity without unrealised PnL as margin, and no tick

The rate is flat within a tier (no deduction); the venue's message states maintenance without the fee.
Source: OKX help center, "Isolated margin mode" and "Single-currency margin"; the tick is inferred
from captured rows, not documented.
"""

from __future__ import annotations

import math

from gateway.core.margin.inputs import Inputs, venue_only
from gateway.core.margin.pool import Maintenance

LIQUIDATION_FEE_RATE = 0.0005  # taker rate in every captured row


def maintenance(inputs: Inputs) -> Maintenance:
    """Return the parameters of an isolated position or of a lone cross one; else the venue's figure is kept."""
    state = inputs.state
    rate = inputs.stated_rate()
    if math.isnan(rate):
        rate = _tier_rate(inputs)
    rate += LIQUIDATION_FEE_RATE
    settle = inputs.instrument.settle if inputs.instrument else state.settle
    known = Maintenance(rate=rate, rate_at_liquidation=rate)
    if state.kind not in ("perp", "future") or math.isnan(rate):
        return venue_only(inputs)
    if state.margin_mode == "isolated":
        tick = inputs.tick() if state.side == "long" else -inputs.tick()
        return known._replace(model="okx_isolated_inverse" if inputs.inverse else "okx_isolated", shift=tick)
    if state.margin_mode == "cross" and inputs.alone and not inputs.inverse and state.pool == settle:
        return known._replace(model="okx_cross_single")
    return known


def _tier_rate(inputs: Inputs) -> float:
    """Return the flat rate of the tier that the size (contracts) falls in; NaN without tiers."""
    rate = math.nan
    for tier in inputs.tiers.tiers if inputs.tiers else ():
        if float(inputs.state.size) >= float(tier.lower):
            rate = float(tier.rate)
    return rate
