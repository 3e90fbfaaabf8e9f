"""Bybit unified account: isolated positions, and a cross position that is alone; linear contracts.

    isolated  price = entry * (1 - side / leverage + side * maintenance rate), rounded down to the tick
    cross     price = entry - side * (wallet balance - maintenance margin) / size

The published cross definition holds maintenance at its *present* value (with maintenance at the solved price it misses the
venue's figure by 2e-3), and takes both totals in US dollars as if they were the settle currency (converted, it misses a
captured row by 2e-4). Maintenance now = mark notional * rate - deduction + estimated closing fee.
Source: Bybit help center, "Liquidation Price Calculation under Isolated Mode (UTA)", and "The New Margin Calculation";
cross measured on captured rows (4e-8).
"""

from __future__ import annotations

import math

from gateway.core.margin.inputs import Inputs, venue_only
from gateway.core.margin.pool import Maintenance, bracket_of, from_tiers


def maintenance(inputs: Inputs) -> Maintenance:
    """Return the parameters of an isolated position or of a lone cross one; else the venue's figure is kept."""
    state = inputs.state
    rate, constant = _present(inputs)
    known = Maintenance(rate=rate, constant=constant, rate_at_liquidation=0.0)
    if math.isnan(rate) or inputs.inverse or state.kind not in ("perp", "future"):
        return known if not math.isnan(rate) else venue_only(inputs)
    if state.margin_mode == "isolated":
        fixed = inputs.notional_entry * _isolated_rate(inputs, rate) + _beyond_margin(inputs)
        return known._replace(model="bybit_isolated", constant_at_liquidation=fixed, floor_to=inputs.tick())
    if state.margin_mode == "cross" and inputs.alone:
        return known._replace(model="bybit_cross_single", replaces=False, plain=True)
    return known


def _present(inputs: Inputs) -> tuple[float, float]:
    """Return (rate, constant) with notional * rate + constant = the maintenance that the venue's message states."""
    stated = inputs.stated_rate()
    brackets = from_tiers(inputs.tiers)
    if not brackets:
        return stated, 0.0
    notional = inputs.notional0 if inputs.notional0 > 0 else inputs.notional_entry
    tier = bracket_of(brackets, notional)
    if math.isnan(stated):
        return tier.rate, -tier.deduction
    return tier.rate, (stated - tier.rate) * inputs.notional0  # deduction and closing fee, as the venue charges them


def _isolated_rate(inputs: Inputs, rate: float) -> float:
    """Return the bare maintenance rate: a tier's, or the stated amount without the closing fee it contains."""
    if from_tiers(inputs.tiers) or not inputs.state.trading_fee:
        return rate
    return rate - float(inputs.state.trading_fee) / inputs.notional0


def _beyond_margin(inputs: Inputs) -> float:
    """Return what the stated collateral holds beyond entry notional / leverage and is not margin added by hand.

    The published price counts from entry notional / leverage; the balance of a position also holds the estimated closing fee.
    """
    state = inputs.state
    if not (state.isolated_cash and state.leverage and state.trading_fee):
        return 0.0
    beyond = float(state.isolated_cash) - inputs.notional_entry / float(state.leverage)
    return beyond if abs(beyond) <= 1.5 * float(state.trading_fee) else 0.0
