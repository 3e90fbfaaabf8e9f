"""What happens in the simulated world: frozen records of a fill, a changed position, a changed balance, a changed mark.

The world writes them into its log; the fronts read them and report what their venue would report.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from exchanges.sim.catalog import VenueName
from exchanges.sim.revalue import Position

Cause = Literal["opened", "trade", "closed", "liquidated", "fee"]


@dataclass(frozen=True)
class Trade:
    """The fill behind a change: ``size`` in the venue's unit, ``fee`` and ``pnl`` effects on the balance in settle currency."""

    id: int
    buy: bool
    size: Decimal
    price: Decimal
    fee: Decimal
    pnl: Decimal


@dataclass(frozen=True)
class PositionChanged:
    """A position changed; ``position`` is how it stands now (``size`` 0: closed), ``was`` its side and size before."""

    at: int
    position: Position
    cause: Cause
    trade: Trade | None
    was: Decimal

    @property
    def account(self) -> str:
        """The account it happened to."""
        return self.position.account


@dataclass(frozen=True)
class BalanceChanged:
    """The money of one purse changed; ``cash`` is what is there now."""

    at: int
    account: str
    purse: str
    cash: Decimal
    cause: Cause


@dataclass(frozen=True)
class MarkChanged:
    """A venue computed another mark."""

    at: int
    venue: VenueName
    symbol: str
    mark: Decimal


WorldEvent = PositionChanged | BalanceChanged | MarkChanged
