"""What the venues tell of liquidation: as they compute it, not at all, or wrong.

A switch of the whole simulator. Who repeats a venue's figure is told by it from who computes his own. Pure.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Literal, get_args

LiquidationFields = Literal["sent", "blank", "wrong"]
LIQUIDATION_FIELDS: tuple[LiquidationFields, ...] = get_args(LiquidationFields)
# Prices are this much of the true ones where they are to be wrong.
_WRONG = Decimal("1.02")


def quoted_price(fields: LiquidationFields, price: Decimal | None) -> Decimal | None:
    """Return the liquidation or bankruptcy price that is told; None: the venue's word for "none"."""
    if price is None or fields == "blank":
        return None
    return price * _WRONG if fields == "wrong" else price


def quoted_ratio(fields: LiquidationFields, ratio: str) -> str:
    """Return the text of a margin ratio that is told; ``""`` is "not applicable" on the venues that have one."""
    return "" if fields == "blank" else ratio
