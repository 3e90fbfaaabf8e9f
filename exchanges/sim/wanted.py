"""Reading what is asked of the control port: fields of a fault, and refusals that name what is known. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

Wanted = Mapping[str, Any]


class BadRequest(ValueError):
    """A control request that cannot be understood; the message names what is known."""


def text(wanted: Wanted, field: str) -> str:
    """Return a field that must be there, as text."""
    if not isinstance(wanted.get(field), str):
        raise BadRequest(f"{wanted['kind']} needs {field} as text")
    return str(wanted[field])


def one_of(wanted: Wanted, field: str, known: Iterable[str]) -> Any:
    """Return a field that may be absent (None) or one of some words."""
    value, names = wanted.get(field), tuple(known)
    if value is not None and value not in names:
        raise BadRequest(f"{field} is {value!r}: it may be {', '.join(names)} or absent")
    return value


def flag(wanted: Wanted, field: str) -> bool | None:
    """Return a field that may be absent (None), true or false."""
    value = wanted.get(field)
    if value is not None and not isinstance(value, bool):
        raise BadRequest(f"{field} is {value!r}: it may be true, false or absent")
    return value


def number(wanted: Wanted, field: str, default: float, *, least: float = 0) -> float:
    """Return a number that is at least ``least``."""
    value = wanted.get(field, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or value < least:
        raise BadRequest(f"{field} is {value!r}: it is a number, {least:g} or more")
    return value


def decimal(wanted: Wanted, field: str, default: str | None = None) -> Decimal:
    """Return a finite decimal that is there, or stands for one that is not."""
    try:
        value = Decimal(str(wanted[field] if default is None else wanted.get(field, default)))
    except (KeyError, InvalidOperation):
        raise BadRequest(f"{wanted['kind']} needs {field} as a decimal such as '0.1'") from None
    if not value.is_finite():
        raise BadRequest(f"{field} is {value}: it is a finite decimal")
    return value
