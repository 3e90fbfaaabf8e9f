"""OKX: isolated positions, cross per currency (futures mode) and cross of a whole account (multi-currency mode).

With r = maintenance rate + liquidation fee rate and Q = contracts * contract size:

    isolated linear   price = (side * entry * Q - margin) / (Q * (side - r)), then one tick: + for longs, - for shorts
    isolated inverse  price = Q * (side + r) / (margin + side * Q / entry), then the same tick
    cross             where the pool's equity = sum of r * notional over its positions, every other row held at its mark; no tick

A pool in futures mode is one currency: its balance, less what orders hold, plus unrealised PnL (settle currency). In
multi-currency mode it is the account in US dollars: the sum over currencies of (balance + unrealised PnL) * discount * price,
debts undiscounted, less what orders hold. Long and short legs are charged each for itself (gross).

The rate is flat within a tier (no deduction), and the tier follows from the size in contracts: it does not change on the way to
liquidation. The venue's message states maintenance without the fee.
Source: OKX help center, "Isolated margin mode", "Single-currency margin: cross margin trading" (maintenance margin ratio = equity /
(maintenance margin + liquidation fees)) and "Multi-currency margin mode: cross margin trading" (adjusted equity); the tick is
inferred from captured rows, not documented.
"""

from __future__ import annotations

import math

from gateway.core.margin.inputs import Inputs, venue_only
from gateway.core.margin.pool import Maintenance

LIQUIDATION_FEE_RATE = 0.0005  # taker rate in every captured row


def maintenance(inputs: Inputs) -> Maintenance:
    """Return the parameters of a position; where no formula applies the venue's figure is kept."""
    state = inputs.state
    rate = _rate(inputs) + LIQUIDATION_FEE_RATE
    if state.kind not in ("perp", "future") or math.isnan(rate):
        return venue_only(inputs)
    known = Maintenance(rate=rate, rate_at_liquidation=rate)
    if state.margin_mode == "isolated":
        return isolated(inputs, known)
    if state.margin_mode == "cross":
        return cross(inputs, known)
    return known


def isolated(inputs: Inputs, known: Maintenance) -> Maintenance:
    """An isolated position: its margin alone stands for it; the published price is one tick nearer to the mark."""
    tick = inputs.tick() if inputs.state.side == "long" else -inputs.tick()
    return known._replace(model="okx_isolated_inverse" if inputs.inverse else "okx_isolated", shift=tick)


def cross(inputs: Inputs, known: Maintenance) -> Maintenance:
    """A cross position: of its currency's pool in futures mode, of the account's in multi-currency mode."""
    if inputs.state.pool == "USD":
        return known._replace(model="okx_multi")
    return known._replace(model="okx_cross" if inputs.state.pool == inputs.settle else None)


def _rate(inputs: Inputs) -> float:
    """Return the flat maintenance rate: what the message implies, else that of the size's tier; NaN without both.

    In multi-currency mode a stated amount that is of no tier's rate is not believed: whether it is in the settle currency or in
    dollars is not documented.
    """
    stated, tier = inputs.stated_rate(), _tier_rate(inputs)
    if math.isnan(stated):
        return tier
    if inputs.state.margin_mode == "cross" and inputs.state.pool == "USD" and not math.isnan(tier):
        rates = [float(each.rate) for each in inputs.tiers.tiers] if inputs.tiers else []
        return stated if any(math.isclose(stated, rate, rel_tol=1e-3) for rate in rates) else tier
    return stated


def _tier_rate(inputs: Inputs) -> float:
    """Return the flat rate of the tier that the size (contracts) falls in; NaN without tiers."""
    rate = math.nan
    for tier in inputs.tiers.tiers if inputs.tiers else ():
        if float(inputs.state.size) >= float(tier.lower):
            rate = float(tier.rate)
    return rate
