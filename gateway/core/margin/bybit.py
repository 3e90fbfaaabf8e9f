"""Bybit unified account: isolated positions, and cross positions in one pool of US dollars; linear and inverse contracts.

Published prices (Q = size, A = entry, side +1 long, -1 short, r and d = maintenance rate and deduction, f = taker fee rate):

    isolated linear   (A * Q - side * (A * Q / leverage + added / (1 - side * f) + d)) / (Q * (1 - side * r))
    isolated inverse  Q * (1 + side * r) / (Q / A + side * (Q / A / leverage + added / (1 + side * f) + d))
    cross linear      M - side * (margin balance - maintenance margin) / Q, M = mark
    cross inverse     1 / (1 / M + side * spare / Q), spare = (the same) / price of the coin

Isolated, rounded down to the tick: initial margin is counted from the entry, maintenance at the price itself, by the risk limit
tier there. It is where the position's margin meets maintenance and the fee of closing at the bankruptcy price, which margin
added by hand moves: hence the fee in it. Cross: maintenance is held at its *present* value (with maintenance at the solved
price it misses the venue's figure by 2e-3); linear contracts take the totals in US dollars as if they were the settle currency
(converted, it misses a captured row by 2e-4). The margin balance is the wallet balance after haircuts and the profit of all
contracts. Counted from the entry and the wallet balance, as the page words it, the captured row is missed in its sixth digit
after the point, from mark and margin balance in none.

The trigger follows the real maintenance at that price: mark notional * rate - deduction + estimated closing fee, by the risk limit
tier there, against what the collateral counts after its haircuts. The fee is kept as it was stated.
Source: Bybit help center, "Liquidation Price Calculation under Isolated Mode (Unified Trading Account)" (May 2026) and "Trading
Rules: Liquidation Process (Unified Trading Account)" (August 2026; 36,380.25 and 66,333.33), "The New Margin Calculation", "Key
Terms and Formulas in Unified Trading Account" (account maintenance margin rate); cross of one linear position measured on captured
rows (2e-9).
"""

from __future__ import annotations

import math

from gateway.core.margin.inputs import Inputs, venue_only
from gateway.core.margin.pool import Bracket, Maintenance, bracket_of, from_tiers

_ROUNDING = 1e-6  # of an amount that a message states


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
    """An isolated position: the published price counts maintenance at that price, and the closing fee at the bankruptcy price."""
    fee = _closing_fee(inputs, known)
    tier = _tier_there(inputs, known, fee)
    name = "bybit_isolated_inverse" if inputs.inverse else "bybit_isolated"
    return known._replace(
        model=name,
        rate_at_liquidation=tier.rate,
        constant_at_liquidation=fee - tier.deduction,
        floor_to=inputs.tick(),
    )


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
        return venue_only(inputs)._replace(rate=rate, constant=fee, beyond=fee, rate_at_liquidation=0.0)
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


def _closing_fee(inputs: Inputs, known: Maintenance) -> float:
    """Return the fee of closing at the bankruptcy price, less what of it the stated collateral lacks (settle currency).

    The stated fee, from entry and leverage, tells its rate. Margin added by hand moves the bankruptcy price, and so the fee. Where
    no rate follows it is what the message states beyond the tier.
    """
    state, notional, sense = inputs.state, inputs.notional_entry, _sense(inputs)
    if not (state.isolated_cash and state.leverage and state.trading_fee):
        return known.beyond
    margin, stated, balance = notional / float(state.leverage), float(state.trading_fee), float(state.isolated_cash)
    at_bankruptcy = notional - sense * margin
    if not at_bankruptcy > 0.0:
        return known.beyond
    rate = stated / at_bankruptcy
    # A balance that is entry notional / leverage to the digit is initial margin alone; the venue's holds the fee, too.
    lacking = stated if math.isclose(balance, margin, rel_tol=_ROUNDING) else 0.0
    return rate * (notional - sense * (balance + lacking)) / (1.0 - sense * rate) - lacking


def _tier_there(inputs: Inputs, known: Maintenance, fee: float) -> Bracket:
    """Return the tier that the published price falls in; without tiers a deduction is part of the stated rate.

    Deductions make maintenance the largest of the tiers' lines: of the prices by each tier, the one reached first is it.
    """
    brackets, sense = from_tiers(inputs.tiers), _sense(inputs)
    balance, notional = float(inputs.state.isolated_cash or math.nan), inputs.notional_entry
    if not brackets:
        return Bracket(0.0, known.rate, 0.0)
    if math.isnan(balance + notional):
        return bracket_of(brackets, inputs.notional)
    above = sense * notional + fee - balance
    return max(brackets, key=lambda tier: (above - tier.deduction) / (1.0 - sense * tier.rate))


def _sense(inputs: Inputs) -> float:
    """Return +1 where the position gains as its notional grows (a linear long, an inverse short), else -1."""
    return math.copysign(1.0, -inputs.quantity if inputs.inverse else inputs.quantity)
