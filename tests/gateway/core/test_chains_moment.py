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


def test_a_flip_of_what_was_held_before_closes_first_whatever_the_ids() -> None:
    """Nothing is known of what was held: what goes on from nothing does not come first where another one leads to nothing."""
    at = T0 + HOUR
    for ids in permutations((10, 11, 12)):
        closing = fill(ids[0], -2, "200", at, start="2", realized="1")
        opening = [
            fill(ids[1], -3, "200", at, start="0", realized="0"),
            fill(ids[2], -1, "200", at, start="-3", realized="0"),
        ]
        back = fill(20, 4, "100", at + HOUR, start="-4", realized="4")
        cycles, _ = whole([closing, *opening, back])
        assert [(one.side, one.reason, one.fills, one.complete) for one in cycles] == [
            ("long", "trade", 1, False),
            ("short", "trade", 3, True),
        ]


def test_a_count_that_is_wrong_does_not_tear_a_moment_apart() -> None:
    """Fills are missing, so that more is thought to be held than is, or the other way round: what follows from what is said."""
    at = T0 + HOUR
    moves = [(-2, "2"), (-3, "0"), (1, "-3")]
    for before in (-3, 0, 2, 5):
        for ids in permutations((10, 11, 12)):
            fills = [
                fill(number, size, "200", at, start=start) for number, (size, start) in zip(ids, moves, strict=True)
            ]
            begun = [fill(1, before, "100", T0, start="0")] if before else []
            cycles, chain = whole([*begun, *fills])
            trip = chain.legs[0].trip
            assert trip is not None
            assert (str(trip.signed), trip.complete, trip.fills) == ("-2", True, 2)
            assert [one.reason for one in cycles] == (["reconciled", "trade"] if before < 0 else ["trade"])
