"""Speak to venues, yield normalized events: a library on its own, which knows nothing of the gateway."""

from __future__ import annotations

from exchanges.aster import VENUE as ASTER
from exchanges.bybit import VENUE as BYBIT
from exchanges.hyperliquid import VENUE as HYPERLIQUID
from exchanges.okx import VENUE as OKX
from exchanges.venue import Venue

VENUES: dict[str, Venue] = {
    "okx": OKX,
    "bybit": BYBIT,
    "hyperliquid": HYPERLIQUID,
    "aster": ASTER,
}
