"""Chains on fills of real accounts: sums are the venue's, and our own profit is what the venue says that it was.

Hyperliquid: 1,062 fills of four coins in 40 minutes of 2023 (``userFills``, before fills had trade ids or fees), 20 of one position
of 2026 (``userFills`` frame). OKX, Bybit, Aster: no captured fill of an account whose other fills are captured too.
"""

from __future__ import annotations

import random
from collections import defaultdict
from decimal import Decimal
from typing import Any

import msgspec

from exchanges.events import Fill
from exchanges.hyperliquid.records import parse_fills
from gateway.core.chains import Chain, Evidence, Seen
from gateway.core.folding import fold
from gateway.core.round_trips import Contract
from tests.recordings import needs_recordings, recordings

pytestmark = needs_recordings
USDC = Evidence(Contract("USDC", Decimal(1)))


def parsed(rows: list[dict[str, Any]]) -> dict[str, list[Fill]]:
    found = defaultdict(list)
    outputs = parse_fills("hl", "", [msgspec.Raw(msgspec.json.encode(row)) for row in rows])
    for one in outputs:
        assert isinstance(one, Fill)
        found[one.symbol].append(one)
    return found


def test_what_cycles_and_open_positions_realised_is_what_the_fills_did() -> None:
    """Both sides of a trade of the account with itself state one size before them: chains have holes, and no sum changes."""
    (rows,) = (
        messages[0]
        for source in recordings("hyperliquid", "rest-userFills", "captured")
        if len((messages := source.messages())[0]) == 1062
    )
    fills = parsed([row | {"tid": number} for number, row in enumerate(reversed(rows))])
    assert {symbol: len(found) for symbol, found in fills.items()} == {
        "MATIC": 270,
        "ETH": 277,
        "BTC": 282,
        "ATOM": 233,
    }
    for symbol, found in fills.items():
        random.Random(symbol).shuffle(found)
        chain = Chain(account="hl", symbol=symbol)
        cycles = {one.id: one for ended in fold(chain, found, USDC) for one in ended.cycles}
        (leg,) = chain.legs
        held = leg.trip.realized if leg.trip is not None else Decimal(0)
        assert held is not None
        realized = sum((Decimal(one.realized_pnl or 0) for one in cycles.values()), held)
        assert realized == sum(Decimal(one.realized_pnl or 0) for one in found)
        assert sum(one.fills for one in cycles.values()) + (leg.trip.fills if leg.trip else 0) >= len(found)


def test_our_own_profit_is_the_venues() -> None:
    """A position of 0.16255 was enlarged by four fills at 80,067 and made smaller by sixteen: 19 figures with five decimals."""
    (rows,) = (
        message["data"]["fills"]
        for source in recordings("hyperliquid", "ws-sequence")
        for message in source.messages()
        if message.get("channel") == "userFills" and len(message["data"]["fills"]) == 20
    )
    fills = parsed(rows)["BTC"]
    before = Seen(fills[0].at - 3_600_000, "hl:BTC", Decimal("0.16255"), None, "80067")
    chain = Chain(account="hl", symbol="BTC")
    for number in range(len(fills)):
        list(fold(chain, [before, *fills[: number + 1]] if number == 0 else [fills[number]], USDC))
        trip = chain.legs[0].trip
        assert trip is not None
        assert trip.own == trip.realized == sum(Decimal(one.realized_pnl or 0) for one in fills[: number + 1])
    assert trip.realized == Decimal("-0.86099")
    assert (trip.size, trip.whole, trip.fills) == (Decimal("0.12269"), True, 20)


def test_a_captured_fill_that_is_taken_out_shows() -> None:
    (rows,) = (
        message["data"]["fills"]
        for source in recordings("hyperliquid", "ws-sequence")
        for message in source.messages()
        if message.get("channel") == "userFills" and len(message["data"]["fills"]) == 20
    )
    fills = parsed(rows)["BTC"]
    for number in range(1, len(fills) - 1):
        chain = Chain(account="hl", symbol="BTC")
        list(fold(chain, [*fills[:number], *fills[number + 1 :]], USDC))
        trip = chain.legs[0].trip
        assert trip is not None
        assert not trip.whole
