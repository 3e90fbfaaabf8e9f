"""Fills and closed positions as the real venues sent them, read by the codecs and compared as stored ones are."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, NamedTuple

import msgspec

from exchanges.events import Fill
from exchanges.hyperliquid.records import closed_pnl, parse_fills
from gateway.core.chains import Evidence
from gateway.core.round_trips import Contract
from gateway.core.verify import Book, compare
from tests.recordings import recordings

VENUES = ("okx", "bybit", "hyperliquid", "aster")


class Captured(NamedTuple):
    """What could be compared of one venue: how many, by class ("" : equal to the last digit)."""

    n: int
    classes: Counter[str]


def compared() -> dict[str, Captured]:
    """Return by venue what its captured fills come to against its own figures; n = 0: nothing of it was captured."""
    found = {venue: Counter[str]() for venue in VENUES}
    for fills in _hyperliquid():
        for symbol, mine in fills.items():
            records = [one for one in (closed_pnl(fill, lambda _: "USDC") for fill in mine) if one is not None]
            first = min(fill.at for fill in mine)
            book = Book(
                "captured", symbol, Evidence(Contract("USDC", Decimal(1)), covered=first), mine, [], [], records, "trade"
            )  # fmt: skip
            found["hyperliquid"].update("" if unit.finding is None else unit.finding.cls for unit in compare(book))
    return {venue: Captured(sum(classes.values()), classes) for venue, classes in found.items()}


def _hyperliquid() -> Iterator[dict[str, list[Fill]]]:
    """Yield the fills of perpetuals of each captured message, by symbol: between two messages of an excerpt fills are missing.

    The recordings of 2023 are of other semantics.
    """
    for one in recordings("hyperliquid", status="captured"):
        if one.kind not in ("rest-userFills", "ws-sequence") or "python-sdk" in one.path.name:
            continue
        for rows in _fills(one.messages()):
            symbols: defaultdict[str, dict[str, Fill]] = defaultdict(dict)
            for fill in parse_fills("captured", "", [msgspec.Raw(msgspec.json.encode(row)) for row in rows]):
                if isinstance(fill, Fill) and fill.position is not None:
                    symbols[fill.symbol][fill.id] = fill
            yield {symbol: list(fills.values()) for symbol, fills in symbols.items()}


def _fills(messages: list[Any]) -> Iterator[list[Any]]:
    for message in messages:
        if isinstance(message, list):
            yield message
        elif isinstance(message, dict) and message.get("channel") == "userFills":
            yield message["data"]["fills"]
