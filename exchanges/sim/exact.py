"""Exact decimals: rounding to a step, and the plain text that venues put on the wire."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal


def round_to(value: Decimal, step: Decimal) -> Decimal:
    """Return ``value`` as a multiple of ``step``, with the decimals of ``step``."""
    return (value / step).quantize(Decimal(1), ROUND_HALF_EVEN) * step


def plain(value: Decimal) -> str:
    """Return a decimal as text without exponent and trailing zeros: ``151.2``, ``60000``, ``0.000000001``, ``0``."""
    text = format(value, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text in {"-0", ""} else text
