"""Aster, single-asset mode: isolated positions, and cross positions that share the wallet of one margin asset.

maintenance = notional * rate - cum, by the bracket that the notional falls in; liquidation where the pool's equity (wallet plus
unrealised PnL) meets the maintenance of all its positions, with the rate and cum of the bracket *at that price*, every other symbol
held at its mark:

    price = (wallet - other maintenance + other upnl + cum - side * size * entry) / (size * rate - side * size)

The long and the short leg of one symbol move together and share one liquidation price: a cross leg of hedge mode that is not alone
keeps the venue's. So does multi-assets mode, whose collateral values are not published.
Source: the published formula of Binance, whose margin system Aster's is; the isolated one reproduces both legs of Aster's own
documentation sample (5930.78 and 7189.95). No recorded cross sample was found.
"""

from __future__ import annotations

from gateway.core.margin.inputs import Inputs, venue_only
from gateway.core.margin.pool import Maintenance, bracket_of, from_tiers


def maintenance(inputs: Inputs) -> Maintenance:
    """Return the parameters of a position; without brackets the venue's figure is kept."""
    state = inputs.state
    brackets = from_tiers(inputs.tiers)
    if not brackets or state.kind != "perp" or inputs.inverse or state.margin_mode is None:
        return venue_only(inputs)
    notional = inputs.notional0 if inputs.notional0 > 0 else inputs.notional_entry
    bracket = bracket_of(brackets, notional)
    return Maintenance(
        model=f"aster_{state.margin_mode}" if _solvable(inputs) else None,
        rate=bracket.rate,
        constant=-bracket.deduction,
        rate_at_liquidation=bracket.rate,
        constant_at_liquidation=-bracket.deduction,
        brackets=brackets,
    )


def _solvable(inputs: Inputs) -> bool:
    # A position's id ends with its leg: the other leg of its symbol may be among those that share its pool.
    return inputs.state.margin_mode == "isolated" or inputs.alone or inputs.state.id.endswith(":BOTH")
