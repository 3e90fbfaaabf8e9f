"""What happens in the simulated world: frozen records of fills, orders, funding, and of changed positions, balances and marks.

The world writes them into its log; the fronts read them and report what their venue would report.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from exchanges.sim.catalog import Mode, VenueName
from exchanges.sim.revalue import Leg, Position

# The real reason of every change, as ``GET /truth`` tells it. "silent": without any trace that a client could find.
Cause = Literal[
    "opened", "trade", "closed", "liquidated", "adl", "settled", "expired", "funding", "margin", "split", "mode", "transfer",
    "fee", "silent",
]  # fmt: skip
# What an order is for, beside ordinary trading: each venue has its own words.
OrderCategory = Literal["normal", "liquidation", "adl", "delivery", "twap"]
OrderStatus = Literal["open", "partially_filled", "filled", "cancelled"]
TransferKind = Literal["deposit", "withdrawal", "conversion", "interest", "rebate", "bonus"]


@dataclass(frozen=True)
class Order:
    """An order as it stands; ``id`` counts over the whole world, ``size`` and ``filled`` in the venue's unit."""

    id: int
    account: str
    symbol: str
    leg: Leg
    mode: Mode
    buy: bool
    price: Decimal
    size: Decimal
    filled: Decimal
    status: OrderStatus
    category: OrderCategory
    reduce_only: bool
    created_at: int
    updated_at: int


@dataclass(frozen=True)
class Trade:
    """The fill behind a change: ``size`` in the venue's unit, ``fee`` and ``pnl`` effects on the balance in settle currency.

    ``id`` counts per venue and symbol: both sides of a trade between two accounts of ours have the same one. ``before`` is the
    signed size of the position before it. ``maker``: its fee may be a rebate (positive). ``premium``: what an option costs
    (negative) or brings, beside ``pnl``. ``paid``: what was taken of another coin (``paid_in``) instead; ``fee`` is what that was
    worth. The id of a liquidation, ADL or delivery does not become the position's ``trade_id``.
    """

    id: int
    buy: bool
    size: Decimal
    price: Decimal
    fee: Decimal
    pnl: Decimal
    maker: bool = False
    order_id: int = 0
    category: OrderCategory = "normal"
    before: Decimal = Decimal(0)
    premium: Decimal = Decimal(0)
    paid: Decimal | None = None
    paid_in: str = ""

    @property
    def own_fee(self) -> Decimal:
        """The part of the fee that moved the balance in settle currency."""
        return self.fee if self.paid is None else Decimal(0)


@dataclass(frozen=True)
class Filled:
    """A fill, with the position it belongs to as it stands after it. The world keeps them: ``World.fills(account)``."""

    at: int
    account: str
    symbol: str
    position: Position
    trade: Trade


@dataclass(frozen=True)
class OrderChanged:
    """An order was placed, filled or cancelled."""

    at: int
    order: Order

    @property
    def account(self) -> str:
        """The account whose order it is."""
        return self.order.account


@dataclass(frozen=True)
class FundingPaid:
    """Funding of one position: ``amount`` is the effect on the balance, ``rate`` the fraction (+: longs pay)."""

    id: int
    at: int
    account: str
    position: Position
    rate: Decimal
    amount: Decimal


@dataclass(frozen=True)
class Transferred:
    """Money came or went without a trade: ``amount`` is the effect on the purse."""

    id: int
    at: int
    account: str
    purse: str
    kind: TransferKind
    amount: Decimal


@dataclass(frozen=True)
class ModeChanged:
    """An account's mode was switched (margin mode or legs); positions were closed or replaced before it.

    ``margins``: the margin mode that the account imposed on its positions before, and imposes now; None: each has its own.
    """

    at: int
    account: str
    mode: str
    hedge: bool
    margins: tuple[Mode | None, Mode | None] = (None, None)


@dataclass(frozen=True)
class PositionChanged:
    """A position changed; ``position`` is how it stands now (``size`` 0: closed).

    ``trade`` is the ordinary fill behind it: None for liquidation, ADL and settlement too, whose fill is in ``Filled``. ``was`` is
    the size before; ``before`` the whole of it, None for a position that was opened. Where a switch of mode replaced a position
    in place (``mode`` without a trade), ``before`` has the old mode and ``position`` the new one.
    """

    at: int
    position: Position
    cause: Cause
    trade: Trade | None
    was: Decimal
    before: Position | None = None

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


WorldEvent = (
    PositionChanged | BalanceChanged | MarkChanged | Filled | OrderChanged | FundingPaid | Transferred | ModeChanged
)
