"""Bybit unified account: isolated positions, and cross positions in one pool of US dollars; linear and inverse contracts.

Published prices (Q = size, A = entry, side +1 long, -1 short):

    isolated linear   A - side * (initial margin - maintenance margin + margin added) / Q, rounded down to the tick
    isolated inverse  Q / (Q / A + side * (initial margin - maintenance margin + margin added)), rounded down to the tick
    cross linear      M - side * (margin balance - maintenance margin) / Q, M = mark
    cross inverse     1 / (1 / M + side * spare / Q), spare = (the same) / price of the coin

Isolated: both margins are counted from the entry (A * Q / leverage; A * Q * rate - deduction). Cross: maintenance is held at its
*present* value (with maintenance at the solved price it misses the venue's figure by 2e-3); linear contracts take the totals in US
dollars as if they were the settle currency (converted, it misses a captured row by 2e-4). The margin balance is the wallet balance
after haircuts and the profit of all contracts. Counted from the entry and the wallet balance, as the page words it, the captured
row is missed in its sixth digit after the point, from mark and margin balance in none.

The trigger follows the real maintenance at that price: mark notional * rate - deduction + estimated closing fee, by the risk limit
tier there, against what the collateral counts after its haircuts. The fee is kept as it was stated.
Source: Bybit help center, "Liquidation Price Calculation under Isolated Mode (UTA)" (19,700; 60,000 USD at 50,000), "The New Margin
Calculation", "Key Terms and Formulas in Unified Trading Account" (account maintenance margin rate); cross of one linear position
measured on captured rows (2e-9).
"""

from __future__ import annotations

import math

from gateway.core.margin.inputs import Inputs, venue_only
from gateway.core.margin.pool import Maintenance, bracket_of, from_tiers


def maintenance(inputs: Inputs) -> Maintenance:
    """Return the parameters of a position; where no formula applies the venue's figure is kept."""
    state = inputs.state
    known = _present(inputs)
    if state.kind not in ("perp", "future") or math.isnan(known.rate):
        return known
    if state.margin_mode == "isolated":
        return isolated(inputs, known)
    # Inverse contracts of an account of their own (unified 1.0) share no pool in dollars.
    if state.margin_mode == "cross" and not state.pool.startswith("inverse:"):
        return cross(inputs, known)
    return known


def isolated(inputs: Inputs, known: Maintenance) -> Maintenance:
    """An isolated position: the published price counts both margins from the entry."""
    rate, deduction = _bare(inputs, known)
    fixed = inputs.notional_entry * rate - deduction + _beyond_margin(inputs)
    name = "bybit_isolated_inverse" if inputs.inverse else "bybit_isolated"
    return known._replace(model=name, constant_at_liquidation=fixed, floor_to=inputs.tick())


def cross(inputs: Inputs, known: Maintenance) -> Maintenance:
    """A cross position: the published price holds maintenance; that of a linear contract leaves dollars unconverted."""
    if inputs.inverse:
        return known._replace(model="bybit_cross_inverse", replaces=False)
    lone = inputs.alone and inputs.lone_collateral
    return known._replace(model="bybit_cross_single" if lone else "bybit_cross", replaces=False, plain=True)


def _present(inputs: Inputs) -> Maintenance:
    """Return what must be kept at a mark: by the tier there, and what the message states beyond the tier (the closing fee)."""
    brackets, stated = from_tiers(inputs.tiers), inputs.stated_rate()
    if not brackets:
        fee = float(inputs.state.trading_fee) if inputs.state.trading_fee and inputs.notional0 > 0 else 0.0
        rate = stated - fee / inputs.notional0 if fee else stated
        return venue_only(inputs)._replace(rate=rate, constant=fee, rate_at_liquidation=0.0)
    tier = bracket_of(brackets, inputs.notional)
    beyond = 0.0 if math.isnan(stated) else (stated - tier.rate) * inputs.notional0 + tier.deduction
    return Maintenance(
        rate=tier.rate,
        constant=beyond - tier.deduction,
        rate_at_liquidation=0.0,
        brackets=brackets,
        tiered=False,
        beyond=beyond,
    )


def _bare(inputs: Inputs, known: Maintenance) -> tuple[float, float]:
    """Return (rate, deduction) without the closing fee; without tiers a deduction is part of the rate."""
    brackets = from_tiers(inputs.tiers)
    if not brackets:
        return known.rate, 0.0
    tier = bracket_of(brackets, inputs.notional)
    return tier.rate, tier.deduction


def _beyond_margin(inputs: Inputs) -> float:
    """Return what the stated collateral holds beyond entry notional / leverage and is not margin added by hand.

    The published price counts from entry notional / leverage; the balance of a position also holds the estimated closing fee.
    """
    state = inputs.state
    if not (state.isolated_cash and state.leverage and state.trading_fee):
        return 0.0
    beyond = float(state.isolated_cash) - inputs.notional_entry / float(state.leverage)
    return beyond if abs(beyond) <= 1.5 * float(state.trading_fee) else 0.0
