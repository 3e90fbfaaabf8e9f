"""What a margin model reads of one position. Pure."""

from __future__ import annotations

import math
from typing import NamedTuple

import msgspec

from exchanges.events import Instrument, MarginTiers, PositionState
from gateway.core.margin.pool import FAR, Maintenance


class Inputs(NamedTuple):
    """What a model may read.

    Attributes:
        state: With the forbidden fields blanked (``parameters`` does that).
        quantity: Signed size x contract size (contract currency).
        notional0: Notional at the mark of the venue's message (settle currency); NaN without a mark.
        notional_entry: Notional at the entry price.
        alone: No other cross position shares the pool.
        inverse: PnL is paid in the base coin.
        hedged: Another row of this symbol (the other leg of a hedge) shares the pool.
        solvable: All that moves the pool's equity and maintenance is known: its collateral with its haircuts, and no member (a
            written option, a margin position) has margin that no formula here gives.
        lone_collateral: Nothing but the settle currency backs the pool.
    """

    state: PositionState
    instrument: Instrument | None
    tiers: MarginTiers | None
    quantity: float
    notional0: float
    notional_entry: float
    alone: bool
    inverse: bool
    hedged: bool = False
    solvable: bool = True
    lone_collateral: bool = True

    @property
    def settle(self) -> str | None:
        """The currency that the position is settled in."""
        return self.instrument.settle if self.instrument else self.state.settle

    @property
    def notional(self) -> float:
        """The notional that decides the bracket: at the message's mark, else at the entry (settle currency)."""
        return self.notional0 if self.notional0 > 0 else self.notional_entry

    def stated_rate(self) -> float:
        """Return maintenance / notional of the venue's own message; NaN where it states none."""
        stated = self.state.venue_maintenance_margin
        if not stated or not self.notional0 > 0:
            return math.nan
        return float(stated) / self.notional0

    def tick(self) -> float:
        """Return the instrument's tick size; 0 where it is unknown (prices are then not rounded)."""
        return float(self.instrument.tick_size) if self.instrument and self.instrument.tick_size else 0.0

    def price_range(self) -> tuple[float, float]:
        """Return between which prices there is a liquidation price: the contract's, as far as they are known."""
        low, high = (self.instrument.min_price, self.instrument.max_price) if self.instrument else (None, None)
        return float(low or 0.0), min(float(high or FAR), FAR)


def is_bought_option(state: PositionState) -> bool:
    """Say whether a position is paid in full: it keeps no margin, and no price liquidates it."""
    return state.kind == "option" and state.side == "long"


def venue_only(inputs: Inputs) -> Maintenance:
    """Keep the venue's liquidation price; maintenance follows the rate that the venue's own message implies."""
    return Maintenance(rate=inputs.stated_rate())


def without_forbidden(state: PositionState) -> PositionState:
    """Return the state without the figures that no model may read."""
    return msgspec.structs.replace(
        state, venue_liquidation_price=None, venue_margin_ratio=None, liquidation_known="unknown"
    )
