"""How two reports of one position differ in what only the venue decides: size, side, entry, margin. Pure.

Marks and what follows from them are no difference; a figure that one of the two does not state is none either.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

from exchanges.events import PositionState

Change = Literal["gone", "new", "size", "entry", "margin"]
Fields = dict[str, str]

_HELD = ("side", "size", "entry_price", "margin_mode", "leverage", "isolated_margin")


def difference(before: PositionState | None, after: PositionState | None) -> tuple[Fields, Fields]:
    """Return the differing fields of both, digits unchanged; two empty dictionaries where they agree.

    None: there is no such position. Then all that is known of the other one is returned, and size "0" here.
    """
    if before is None or after is None:
        return (_all(before), _all(after)) if before is not after else ({}, {})
    names = [
        name for name in ("size", "entry_price", "leverage", *_margin(before, after)) if _moved(before, after, name)
    ]
    names += [name for name in ("side", "margin_mode") if _other(before, after, name)]
    if "size" in names or "side" in names:
        names = list(dict.fromkeys(("side", "size", *names)))
    return _fields(before, names), _fields(after, names)


def change_of(before: Fields, after: Fields) -> Change:
    """Return what kind of difference this is, the gravest first."""
    if after.get("size") == "0":
        return "gone"
    if before.get("size") == "0":
        return "new"
    if "size" in after:
        return "size"
    return "entry" if "entry_price" in after else "margin"


def signed(fields: Fields) -> Decimal:
    """Return the signed size that these fields state; 0 where they state none."""
    size = Decimal(fields.get("size", "0"))
    return -size if fields.get("side") == "short" else size


def _margin(before: PositionState, after: PositionState) -> tuple[str, ...]:
    """Return the field that holds an isolated position's collateral: the mark-independent one where both state it."""
    if "isolated" not in (before.margin_mode, after.margin_mode):
        return ()
    both = before.isolated_cash is not None and after.isolated_cash is not None
    return ("isolated_cash",) if both else ("isolated_margin",)


def _moved(before: PositionState, after: PositionState, name: str) -> bool:
    one, other = getattr(before, name), getattr(after, name)
    return one is not None and other is not None and one != other and Decimal(one) != Decimal(other)


def _other(before: PositionState, after: PositionState, name: str) -> bool:
    one, other = getattr(before, name), getattr(after, name)
    return one is not None and other is not None and one != other


def _all(state: PositionState | None) -> Fields:
    return {"size": "0"} if state is None else _fields(state, _HELD)


def _fields(state: PositionState, names: list[str] | tuple[str, ...]) -> Fields:
    return {name: value for name in names if (value := getattr(state, name)) is not None}
