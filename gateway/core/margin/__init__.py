"""Margin models: how much margin a position must keep, per venue and mode, and how its pool is liquidated.

``parameters`` picks the model; ``CATALOG`` names them all and says on what evidence each rests. A model reads size, entry or
unrealised PnL, marks, balances, tiers, mode and the maintenance amount that the venue states. It may never read the venue's
liquidation price, margin ratio or bankruptcy price, nor anything solved from them: those are what it is compared with. Pure.
"""

from __future__ import annotations

from collections.abc import Callable

from gateway.core.margin import aster, bybit, hyperliquid, okx
from gateway.core.margin.catalog import CATALOG, Model, trusted
from gateway.core.margin.inputs import Inputs, is_bought_option, venue_only, without_forbidden
from gateway.core.margin.pool import Maintenance

__all__ = ["CATALOG", "Inputs", "Maintenance", "Model", "parameters", "trusted"]

MODELS: dict[str, Callable[[Inputs], Maintenance]] = {
    "okx": okx.maintenance,
    "bybit": bybit.maintenance,
    "hyperliquid": hyperliquid.maintenance,
    "aster": aster.maintenance,
}


def parameters(venue: str, inputs: Inputs, *, mode_computable: bool) -> Maintenance:
    """Return the maintenance parameters of a position by its venue's model.

    Args:
        mode_computable: False for account modes that cannot be computed locally (portfolio margin).
    """
    if is_bought_option(inputs.state):
        return Maintenance(rate=0.0)
    model = MODELS.get(venue, venue_only) if mode_computable else venue_only
    found = model(inputs._replace(state=without_forbidden(inputs.state)))
    lowest, highest = inputs.price_range()
    found = found._replace(lowest=lowest, highest=highest)
    # An isolated position answers for itself, whatever else the account holds.
    shared = inputs.state.margin_mode != "isolated"
    return found._replace(model=None) if shared and not inputs.solvable else found
