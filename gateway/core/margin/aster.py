"""Aster: isolated positions, cross positions that share one margin asset, hedges, and multi-assets mode.

maintenance = notional * rate - cum, by the bracket that the leg's notional falls in; liquidation where the pool's equity (wallet
plus unrealised PnL) meets the maintenance of all its positions, with the rate and cum of the bracket *at that price*, every other
symbol held at its mark:

    price = (wallet - other maintenance + other upnl + cum - side * size * entry) / (size * rate - side * size)

The long leg L and the short leg S of one symbol move together, each charged for itself (gross), and share one price (no example):

    price = (wallet - other maintenance + other upnl + cum_L + cum_S - L * entry_L + S * entry_S)
            / (L * rate_L + S * rate_S - L + S)

Isolated: wallet is the position's own, and nothing else counts. Multi-assets mode: the pool is the account in US dollars, wallet
the sum of asset * price * collateral value ratio.
Source: the published formula of Binance ("How to Calculate Liquidation Price of USDⓈ-M Futures Contracts"; its examples 26,316.89
and 1,153.26), whose margin system Aster's is; the isolated one reproduces both legs of Aster's own documentation sample (5930.78
and 7189.95); multi-assets: Aster docs, "Single-asset mode and multi-asset mode", no example. No recorded cross sample was found.
"""

from __future__ import annotations

from gateway.core.margin.inputs import Inputs, venue_only
from gateway.core.margin.pool import Maintenance, from_tiers


def maintenance(inputs: Inputs) -> Maintenance:
    """Return the parameters of a position; without brackets the venue's figure is kept."""
    state = inputs.state
    brackets = from_tiers(inputs.tiers)
    if not brackets or state.kind != "perp" or inputs.inverse or state.margin_mode is None:
        return venue_only(inputs)
    return Maintenance.of_brackets(_name(inputs), brackets, inputs.notional, both_legs=state.margin_mode == "cross")


def _name(inputs: Inputs) -> str | None:
    state = inputs.state
    if state.margin_mode == "isolated":
        return "aster_isolated"
    if state.pool == "USD":
        return "aster_multi"
    if state.pool != inputs.settle:
        return None
    return "aster_hedge" if inputs.hedged else "aster_cross"
