"""What is compared, and what comes out: the stored rows of an account and symbol, and one unit a comparison. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Literal, NamedTuple

from exchanges.events import ClosedPnl, Fill, FundingPayment, Transfer
from gateway.core.chains import Evidence, Seen
from gateway.core.records import Finding

MONEY = ("realized_pnl", "fees", "funding", "liquidation_fee")
RecordUnit = Literal["trade", "order", "position"]
UNITS: dict[str, RecordUnit] = {
    "fills": "trade",
    "income": "trade",
    "closed-pnl": "order",
    "positions-history": "position",
}
# Returns the lowest and the highest that one unit of a currency was worth in another between two moments (ms); None: not known.
Prices = Callable[[str, str, int, int], tuple[Decimal, Decimal] | None]


class Book(NamedTuple):
    """What is stored of one account and symbol, from the opening of what is compared on.

    Attributes:
        evidence: ``covered``: since when fills are whole. Nothing before that moment is missed.
        transfers: Settlements, liquidations and rebates of this symbol.
        unit: What the account's records are of; None: no record of it was ever told.
        seen: What the venue said first of each position. ``entries``: average entries as it states them, where it does exactly.
        read: From when to when the venue's records were read (ms); None: they never were, or name nothing that is closed of this
            symbol, so that none is missed.
        prices: Of currencies in which fees were paid.
    """

    account: str
    symbol: str
    evidence: Evidence
    fills: Sequence[Fill]
    payments: Sequence[FundingPayment]
    transfers: Sequence[Transfer]
    records: Sequence[ClosedPnl]
    unit: RecordUnit | None = None
    read: tuple[int, int] | None = None
    seen: Sequence[Seen] = ()
    entries: Sequence[str] = ()
    prices: Prices | None = None

    @property
    def settle(self) -> str | None:
        """What the symbol settles in."""
        return None if self.evidence.contract is None else self.evidence.contract.settle


class Unit(NamedTuple):
    """One comparison. ``ours``, ``venue``: by field. ``finding``: None where both are equal to the last digit."""

    at: int
    ours: Mapping[str, Decimal]
    venue: Mapping[str, Decimal]
    finding: Finding | None
