"""Fills of one moment that state the size before them: they are in the one order that they can have had, whatever their ids."""

from __future__ import annotations

from itertools import permutations

from tests.gateway.core.chain_worlds import T0, fill, whole

HOUR = 3_600_000


def test_closed_and_opened_again_within_a_moment_whatever_the_ids() -> None:
    at = T0 + HOUR
    moves = [  # size, price, start, realised: 0.01 of the difference of prices
        (-1, "200", "2", "1"),
        (-1, "200", "1", "1"),
        (1, "500", "0", "0"),
        (1, "500", "1", "0"),
    ]
    for ids in permutations(range(10, 14)):
        fills = [
            fill(number, size, price, at, start=start, realized=pnl)
            for number, (size, price, start, pnl) in zip(ids, moves, strict=True)
        ]
        cycles, chain = whole([fill(1, 2, "100", T0, start="0", realized="0"), *fills])
        trip = chain.legs[0].trip
        assert trip is not None
        assert [(one.own_pnl, one.complete) for one in cycles] == [("2", True)]
        assert (str(trip.signed), trip.complete, str(trip.own)) == ("2", True, "0")


def test_of_two_ways_the_one_of_the_venues_profit() -> None:
    """Either it was closed and opened again first, or made larger and smaller: what each brought tells."""
    at = T0 + HOUR
    moves = [
        (-1, "333.1", "1", "2.331"),
        (1, "900", "0", "0"),
        (1, "300", "1", "0"),
        (-1, "366.9", "2", "-2.331"),
    ]
    for ids in permutations(range(10, 14)):
        fills = [
            fill(number, size, price, at, start=start, realized=pnl)
            for number, (size, price, start, pnl) in zip(ids, moves, strict=True)
        ]
        cycles, chain = whole([fill(1, 1, "100", T0, start="0", realized="0"), *fills])
        trip = chain.legs[0].trip
        assert trip is not None
        assert [(one.own_pnl, one.fills) for one in cycles] == [("2.331", 2)]
        assert trip.own is not None
        assert str(trip.own.normalize()) == "-2.331"
