"""A comparison a position from its opening to its close, or to the latest one, as far as it is closed (OKX). Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal

from exchanges.events import ClosedPnl
from gateway.core.evidence import SLACK_MS
from gateway.core.round_trips import ZERO
from gateway.core.verify.book import MONEY
from gateway.core.verify.ledger import Case, Ledger, closed, size_of
from gateway.core.verify.weighing import Weighed, total

_Trips = defaultdict[str, list[Weighed]]


def cycles(ledger: Ledger) -> Iterator[Case]:
    """Yield a case a position that the venue has a record of, and one that it should have one of."""
    trips: _Trips = defaultdict(list)
    for move in ledger.moves:
        trips[move.move.opener].append(move)
    for record in sorted((one for one in ledger.records if one.opened_at is not None), key=lambda one: one.at):
        moves = [(opener, move) for opener in _trips_of(ledger, record, trips) for move in trips.pop(opener)]
        for opener, move in moves:
            if move.fill.at > record.at + SLACK_MS:  # where a fill is missing, the next one's are among them
                trips[opener].append(move)
        yield _cycle(ledger, record, [move for _, move in moves])
    if ledger.book.unit == "position":
        for left in trips.values():
            if left and left[-1].over and left[-1].move.whole and ledger.was_read(left[-1].fill.at):
                yield _unrecorded(ledger, left)


def _trips_of(ledger: Ledger, record: ClosedPnl, trips: Mapping[str, list[Weighed]]) -> list[str]:
    """Return the round trips that a record is of: the one that began with it, and what of others lies within it."""
    opened = record.opened_at or 0
    mine = {
        opener: abs(moves[0].move.opened_at - opened)
        for opener, moves in trips.items()
        if moves and record.side in (None, moves[0].move.side) and ledger.fits(record, moves[0].move.position)
        and moves[0].move.opened_at <= record.at and moves[-1].fill.at >= opened
    }  # fmt: skip
    nearest = min(mine, key=lambda opener: mine[opener], default=None)
    if nearest is None:
        return []
    others = (opener for opener in mine if opener != nearest)
    return [nearest, *(opener for opener in others if trips[opener][0].move.opened_at > opened + SLACK_MS)]


def _cycle(ledger: Ledger, record: ClosedPnl, moves: Sequence[Weighed]) -> Case:
    opened = record.opened_at or 0
    mine = [move for move in moves if move.fill.at <= record.at]
    later = [move for move in moves if move.fill.at <= record.at + SLACK_MS]
    if record.size is not None and size_of(mine) != Decimal(record.size) == size_of(later):
        mine = later
    closings = [move for move in mine if move.move.closes]
    ended = max((move.fill.at for move in mine), default=record.at)
    within = (one for one in ledger.payments if opened <= one.at <= max(record.at, ended))
    payments = [one for one in within if one.ccy == (record.ccy or one.ccy) and ledger.fits(record, ledger.pays(one))]
    booked = [
        one for one in ledger.book.transfers if opened <= one.at <= record.at and ledger.fits(record, one.position)
    ]
    fees, foreign = ledger.fees(mine, opening=False)
    ours = closed(closings)
    settled = total(one.amount for one in booked if one.kind == "settlement")
    ours |= {
        "realized_pnl": total((ours.get("realized_pnl"), settled)),
        "fees": fees,
        "funding": total(one.amount for one in payments),
        "liquidation_fee": total(one.amount for one in booked if one.kind == "liquidation"),
    }
    stated = {name: getattr(record, name) for name in ("size", *MONEY)}
    step = ledger.step
    bounds = {
        "realized_pnl": ledger.bound(closings) + step * len(booked), "fees": step * (len(mine) + 1),
        "funding": step * (len(payments) + 1), "liquidation_fee": step,
    }  # fmt: skip
    venue = {name: Decimal(figure) for name, figure in stated.items() if figure is not None}
    ours = {name: ours[name] for name in venue}
    text = f"position of {record.symbol} opened at {opened}"
    case = ledger.case(text, record.at, ours, venue, bounds, mine, [record])
    return case._replace(since=opened, cycle=True, payments=tuple(one.id for one in payments), foreign=foreign)


def _unrecorded(ledger: Ledger, moves: Sequence[Weighed]) -> Case:
    text = f"position opened at {moves[0].move.opened_at} is not among the venue's records"
    ours = closed([move for move in moves if move.move.closes]) | {"fees": ledger.fees(moves, opening=False)[0]}
    return ledger.case(text, moves[-1].fill.at, ours, dict.fromkeys(ours, ZERO), {}, moves, [])
