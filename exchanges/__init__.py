"""Speak to venues, yield normalized events: a library on its own, which knows nothing of the gateway."""

from __future__ import annotations

from exchanges.hyperliquid import VENUE as HYPERLIQUID
from exchanges.venue import Venue

VENUES: dict[str, Venue] = {
    "hyperliquid": HYPERLIQUID,
}
