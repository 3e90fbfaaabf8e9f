"""How Hyperliquid writes: envelopes, numbers as strings, names of coins.

Owns decoding and the exact forms of numbers. Pure. Raises only ``ProtocolViolation``.
"""

from __future__ import annotations

import re
from decimal import Context, Decimal
from typing import Annotated, TypeVar

import msgspec

from exchanges.errors import ProtocolViolation
from exchanges.hyperliquid import tables
from exchanges.venue import Data

T = TypeVar("T")

# Quotients keep 28 digits: far below what any sum of the venue's 6 to 10 decimals can show.
DIGITS = Context(prec=28)
# A longer or more extreme number is no amount of anything; its plain text could fill the memory.
_MAX_DIGITS, _MAX_EXPONENT = 60, 40

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
TimeMs = Annotated[int, msgspec.Meta(ge=0, lt=1 << 53)]


class Wire(msgspec.Struct, rename="camel"):
    """Base of wire shapes, named in camel case by the venue; every number is finite and of a believable size once decoded."""

    def __post_init__(self) -> None:
        """Refuse what is no amount; msgspec turns the ValueError into its ValidationError, with the path."""
        for value in msgspec.structs.astuple(self):
            if isinstance(value, Decimal) and not _believable(value):
                raise ValueError(f"{str(value)[:40]} is no amount")


def _believable(value: Decimal) -> bool:
    return value.is_finite() and len(value.as_tuple().digits) <= _MAX_DIGITS and abs(value.adjusted()) <= _MAX_EXPONENT


class Envelope(Wire):
    """Every WebSocket frame of the venue."""

    channel: str
    data: msgspec.Raw = msgspec.Raw(b"null")


def decode(shape: type[T], data: Data | msgspec.Raw, what: str) -> T:
    """Decode JSON into a wire shape. Numbers may be strings or JSON numbers: both are read exactly.

    Raises:
        ProtocolViolation: The text is no JSON or not of that shape; ``what`` names it.
    """
    try:
        # strict=False: some sources quote integers ("time": "1709652410317").
        return msgspec.json.decode(data, type=shape, strict=False)
    except (msgspec.MsgspecError, ValueError, RecursionError) as bad:
        raise violation(f"{what} cannot be read: {bad}") from None


def violation(what: str) -> ProtocolViolation:
    """Return the error for a message that the venue's documentation does not allow."""
    return ProtocolViolation(tables.NAME, clip(what))


def clip(text: str, limit: int = 300) -> str:
    """Return text short enough for a log line or a label."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def exact(value: Decimal) -> str:
    """Return the number's own digits, never in exponent form."""
    return format(value, "f")


def shown(value: Decimal | None) -> str | None:
    """Return ``exact(value)``, or None where the venue said nothing."""
    return None if value is None else exact(value)


def computed(value: Decimal) -> str:
    """Return a figure that was calculated here, without trailing zeros."""
    return format(value.normalize(DIGITS), "f")


def negated(value: Decimal) -> str:
    """Return the number with its sign turned, digits unchanged; zero has no sign."""
    return exact(value.copy_abs() if value == 0 else value.copy_negate())


# Perpetuals are NAME or dex:NAME; PURR/USDC, @107 (spot), #5 and +5 (outcome markets) are no perpetuals.
_NOT_PERP = re.compile(r"[@#+/]")


def is_perp(coin: str) -> bool:
    """Say whether a coin's name is that of a perpetual."""
    return _NOT_PERP.search(coin) is None


def dex_of(coin: str) -> str:
    """Return the dex that a coin's name carries; "" is the main dex, with which spot coins are listed too."""
    return coin.partition(":")[0] if ":" in coin else ""
