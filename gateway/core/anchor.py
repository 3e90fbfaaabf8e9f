"""Where a position's figures start from: its size in contract currency and its anchor, in exact decimals.

Owns the step from what a venue sent (strings) to the float64 inputs of the columns. Pure.

An anchor is a (unrealised PnL, mark) pair *of one venue message*. It is checked against the entry price within the rounding of
what was published and refused when it does not fit; then, or without a pair, PnL counts from the entry price where the venue
publishes it exactly, and is unknown elsewhere.
"""

from __future__ import annotations

import math
from decimal import Decimal
from typing import NamedTuple

from exchanges.events import Instrument, PositionState


class Anchor(NamedTuple):
    """Float64 inputs of one row.

    Attributes:
        quantity: Signed size x contract size, in contract currency; NaN where the contract size is unknown.
        upnl0, x0: Unrealised PnL (settle currency) at coordinate ``x0`` (mark, or -1/mark where inverse).
        mark0: The message's own mark, NaN without one.
        from_entry: PnL from the published entry at ``mark0``; NaN where either is missing. Explains, never shown as PnL.
        refused: Why the venue's pair was refused, else None.
    """

    quantity: float
    upnl0: float
    x0: float
    mark0: float
    from_entry: float
    refused: str | None = None


_NAN = math.nan
_REL = Decimal("1e-9")  # of notional: the venues' own float noise in an "exact" figure


def ulp(text: str) -> Decimal:
    """Return one unit in the last published digit of a decimal string."""
    exponent = Decimal(text).as_tuple().exponent
    return Decimal(1).scaleb(exponent if isinstance(exponent, int) else 0)


def computable(state: PositionState, instrument: Instrument | None) -> bool:
    """Say whether PnL follows a mark by the linear or inverse formula (options, margin positions do not)."""
    contract_type = instrument.contract_type if instrument else state.contract_type
    return state.kind in ("perp", "future") and contract_type != "quanto"


def signed_quantity(state: PositionState, instrument: Instrument | None) -> Decimal | None:
    """Return signed size x contract size in contract currency, or None where the contract size is unknown."""
    contract_size = instrument.contract_size if instrument else state.contract_size
    if contract_size is None:
        return None
    quantity = Decimal(state.size) * Decimal(contract_size)
    return -quantity if state.side == "short" else quantity


def is_inverse(state: PositionState, instrument: Instrument | None) -> bool:
    """Say whether PnL is paid in the base coin."""
    return (instrument.contract_type if instrument else state.contract_type) == "inverse"


def paid_apart(state: PositionState, instrument: Instrument | None) -> float:
    """Return what a position is worth beyond its unrealised PnL (settle currency).

    An option's premium, which left the balance when it was bought (+) or came when it was sold (-): the venue's own value
    less its PnL, or from the entry; NaN where neither is known. 0 for everything else.
    """
    if state.kind != "option":
        return 0.0
    if state.venue_value and state.venue_unrealized_pnl:
        return float(Decimal(state.venue_value) - Decimal(state.venue_unrealized_pnl))
    quantity = signed_quantity(state, instrument)
    return float(quantity * Decimal(state.entry_price)) if quantity is not None and state.entry_price else _NAN


def anchor(state: PositionState, instrument: Instrument | None) -> Anchor:
    """Return the row's float64 inputs.

    Linear: pnl = quantity * (mark - entry). Inverse: pnl = quantity * (1/entry - 1/mark), in the base coin.
    """
    upnl = Decimal(state.venue_unrealized_pnl) if state.venue_unrealized_pnl else None
    mark = _price(state.mark_price)
    quantity = signed_quantity(state, instrument)
    if not computable(state, instrument):
        # The venue's own figure, constant until the next message.
        return Anchor(0.0, float(upnl) if upnl is not None else _NAN, 0.0, float(mark) if mark else _NAN, _NAN)
    if quantity is None:
        return Anchor(_NAN, _NAN, _NAN, float(mark) if mark else _NAN, _NAN)
    inverse = is_inverse(state, instrument)
    published = state.pnl_price or state.entry_price
    entry = _price(published)
    x_mark = _coordinate(mark, inverse)
    x_entry = _coordinate(entry, inverse)
    from_entry = quantity * (x_mark - x_entry) if x_mark is not None and x_entry is not None else None
    mark0 = float(mark) if mark is not None else _NAN
    explained = float(from_entry) if from_entry is not None else _NAN
    refused = None
    if upnl is not None and x_mark is not None:
        refused = _refusal(state, quantity, upnl, from_entry, published, inverse)
        if refused is None:
            return Anchor(float(quantity), float(upnl), float(x_mark), mark0, explained)
    if x_entry is None or not state.entry_exact:
        return Anchor(float(quantity), _NAN, _NAN, mark0, explained, refused)
    return Anchor(float(quantity), 0.0, float(x_entry), mark0, explained, refused)


def _price(text: str | None) -> Decimal | None:
    """Return a price; what is not above zero is none."""
    price = Decimal(text) if text else None
    return price if price is not None and price > 0 else None


def _coordinate(price: Decimal | None, inverse: bool) -> Decimal | None:
    if price is None:
        return None
    return -1 / price if inverse else price


def _refusal(
    state: PositionState,
    quantity: Decimal,
    upnl: Decimal,
    from_entry: Decimal | None,
    published: str | None,
    inverse: bool,
) -> str | None:
    """Return why (upnl, mark) cannot belong together, or None. Tolerance: one unit of each published last digit."""
    if from_entry is None or published is None or state.mark_price is None or state.venue_unrealized_pnl is None:
        return None
    mark, size = Decimal(state.mark_price), abs(quantity)
    rounding = sum(size * ulp(text) / (Decimal(text) ** 2 if inverse else 1) for text in (published, state.mark_price))
    notional = size / mark if inverse else size * mark
    tolerance = rounding + ulp(state.venue_unrealized_pnl) + notional * _REL
    if abs(from_entry - upnl) <= tolerance:
        return None
    return f"unrealised PnL {upnl} does not follow from entry {published} and mark {mark} (expected about {from_entry:.8g})"
