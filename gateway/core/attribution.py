"""Which leg of a symbol a record belongs to, and which of the records of one moment comes first, where no venue says so. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal

import msgspec

from exchanges.events import Fill, FundingPayment, Side, Transfer
from gateway.core.chains import AFTERWARDS_MS, Chain, Evidence, Held, Item, Leg
from gateway.core.moments import Move, foremost
from gateway.core.round_trips import ZERO, RoundTrip

_ALIKE = Decimal("1e-4")  # payments of one moment for each contract, by rounding


class Attribution:
    """Finds the legs of one chain."""

    def __init__(self, chain: Chain, evidence: Evidence) -> None:
        self._chain, self._evidence = chain, evidence
        self._shared: dict[str, Leg] = {}  # payments that nobody names, by id
        self._moves: dict[str, Move] = {}  # of fills that state what was held before them, by id

    def next(self, items: list[Item]) -> Item:
        """Return the next record: funding before fills, unless it is of what only these bring about (see ``_next_fill``).

        A settlement is behind the fills of its moment, unless a profit of theirs counts from it.
        """
        fills = [one for one in items if isinstance(one, Fill)]
        paid = next((one for one in items if isinstance(one, FundingPayment) and self._is_there(one)), None)
        if paid is not None or not fills:
            return paid or items[0]
        fill, contract = self._next_fill(fills), self._evidence.contract
        settlements = [one for one in items if isinstance(one, Transfer) and one.kind == "settlement"]
        if not settlements or any(trip.realizes(fill, contract) for trip in self._closable(fill)):
            return fill
        return next((one for one in settlements if self._counts_from(one, fills)), fill)

    def _counts_from(self, settlement: Transfer, fills: list[Fill]) -> bool:
        """Say whether a profit of fills is what closing brings only once a settlement is taken."""
        named = self._chain.leg(settlement.position) if settlement.position is not None else None
        legs = [named] if named is not None else [leg for leg in self._chain.legs if leg.trip is not None]
        trip = legs[0].trip if len(legs) == 1 else None
        if trip is None or settlement.ccy != (trip.settle or settlement.ccy):
            return False
        contract, after = self._evidence.contract, msgspec.structs.replace(trip)
        after.settled(Decimal(settlement.amount), contract)
        closing = (one for one in fills if any(held is trip for held in self._closable(one)))
        return any(after.realizes(one, contract) and not trip.realizes(one, contract) for one in closing)

    def _is_there(self, payment: FundingPayment) -> bool:
        """Say whether anything is held, or was at the hour, that is what the venue says of a payment."""
        if payment.size is None and payment.side is None:
            return True
        named = self._chain.leg(payment.position) if payment.position is not None else None
        legs = [named] if named is not None else self._chain.legs
        return any(_as_large(_towards([*leg.due(payment.at), *_now(leg)], payment), payment) for leg in legs)

    def _next_fill(self, fills: list[Fill]) -> Fill:
        """Return the fill that comes next: of those that state the size before them the one that goes on from what is held."""
        if len(fills) == 1:
            return fills[0]
        rows: dict[str, list[Fill]] = {}  # of each leg
        hedged = self._hedged
        for one in fills:
            if states(one):
                rows.setdefault(one.position or (_of_side(one) if hedged else ""), []).append(one)
        for row in rows.values():
            found = self._going_on(row)
            if found is not None:
                return found
        others = [one for one in fills if not states(one)]
        if others:
            return self._likely(others)
        row = next(iter(rows.values()))
        ends = {self._move(one)[1] for one in row}
        return next((one for one in row if self._move(one)[0] not in ends), row[0])

    def _going_on(self, row: list[Fill]) -> Fill | None:
        """Return which of a leg's fills goes on from what is held of it and may come first; None: none does."""
        trip = self._held(row[0])
        held = trip.signed if trip is not None else ZERO
        moves: dict[Move, list[Fill]] = {}
        for one in row:
            moves.setdefault(self._move(one), []).append(one)
        following = {move for move in moves if move[0] == held}
        if len(following) > 1 or (following and any(end == held for _, end in moves)):
            following &= foremost(moves)
        if not following:
            return None
        if len(following) == 1:
            return self._first(moves[following.pop()], trip)
        return self._first([one for one in row if self._move(one) in following], trip)

    def _held(self, fill: Fill) -> RoundTrip | None:
        """Return what is held of the leg of a fill that states it."""
        legs = self._chain.legs
        if fill.position is not None:
            leg = self._chain.leg(fill.position) or self._chain.leg(self._chain.id)
            return leg.trip if leg is not None else None
        if len(legs) <= 1 and not self._hedged:
            return legs[0].trip if legs else None
        return next((leg.trip for leg in legs if leg.trip is not None and leg.trip.side == _of_side(fill)), None)

    def _move(self, fill: Fill) -> Move:
        """Return from which size to which a fill leads that states it."""
        move = self._moves.get(fill.id)
        if move is None:
            start = stated(fill) or ZERO
            move = self._moves[fill.id] = start, start + signed(fill)
        return move

    def _first(self, going_on: list[Fill], trip: RoundTrip | None) -> Fill:
        """Return the fill that comes first of several that go on from the same size: closed and opened again within a moment.

        One that closes does so now if its profit says so.
        """
        if trip is None or len(going_on) == 1:
            return going_on[0]
        closing = [one for one in going_on if side(one) != trip.side and one.realized_pnl is not None]
        fitting = (one for one in closing if trip.realizes(one, self._evidence.contract))
        entering = (one for one in going_on if closing and side(one) == trip.side)
        return next(fitting, None) or next(entering, going_on[0])

    def _likely(self, fills: list[Fill]) -> Fill:
        """Return the fill of a moment that comes next: one whose profit is that of what is held, then one that opens.

        Trade ids need not rise (Bybit), and a position may be closed and opened again within a millisecond.
        """
        for one in fills if len(fills) > 1 else ():
            if not opens(one) and any(trip.realizes(one, self._evidence.contract) for trip in self._closable(one)):
                return one
        for one in fills:
            if one.realized_pnl is None or (opens(one) and not any(self._closable(one))):
                return one
        return fills[0]

    def _closable(self, fill: Fill) -> Iterator[RoundTrip]:
        """Yield what is held that a fill may close."""
        for leg in self._chain.legs:
            if fill.position in (None, leg.position) and leg.trip and leg.trip.side != side(fill):
                yield leg.trip

    def named(self, position: str, side: Side | None = None) -> Leg:
        """Return the leg of a name; one that had none yet takes the first that comes, of its ``side`` where it had that."""
        found = self._chain.leg(position)
        unnamed = self._chain.leg(self._chain.id) or (self._chain.leg(self._unnamed(side)) if side else None)
        if found is None and unnamed is not None:
            unnamed.position = position
            return unnamed
        if found is None:
            found = Leg(position=position)
            self._chain.legs.append(found)
        return found

    def _unnamed(self, side: Side) -> str:
        return f"{self._chain.id}:{side}"

    @property
    def _hedged(self) -> bool:
        return self._evidence.hedge is True or self._chain.hedged_at is not None

    def of_fill(self, fill: Fill) -> Leg:
        """Return the leg of a fill. Where nobody names it: a fill that realised something closes, another one may open."""
        legs, side = self._chain.legs, _of_side(fill)
        if fill.position is not None:
            return self.named(fill.position, side if self._hedged else None)
        if not self._hedged and self._is_of_another(fill):
            self._chain.hedged_at = fill.at
        if not self._hedged and len(legs) <= 1:
            return legs[0] if legs else self.named(self._chain.id)
        held = [leg for leg in legs if leg.trip is not None and leg.trip.side == side]
        if not held and len(legs) > 1 and not self._hedged:  # of one-way accounts: the one used last
            held = [leg for leg in legs if leg.trip is not None] or [max(legs, key=lambda leg: leg.used_at)]
        if not held:
            held = [leg for leg in legs if leg.trip is None and leg.past is not None and leg.past.side == side]
            held = held or [self.named(self._unnamed(side))]
        if len(held) > 1:
            for leg in held:
                if leg.trip is not None:
                    leg.trip.whole = False
        return held[0]

    def _is_of_another(self, fill: Fill) -> bool:
        """Say whether a fill is of a second leg, which tells that there are two: while one side is held it states the other.

        Where fills may be missing the first side may be held no more. Each symbol has a mode of its own (Bybit).
        """
        only = self._chain.legs[0] if len(self._chain.legs) == 1 else None
        if only is None or only.trip is None or only.position != self._chain.id:
            return False
        if fill.held_before is None or self._evidence.hedge is not None or not self._evidence.covers(fill.at):
            return False
        if only.trip.size is None or only.trip.side == _of_side(fill):
            return False
        only.position = self._unnamed(only.trip.side)
        return True

    def of_funding(self, payment: FundingPayment) -> Leg | None:
        """Return the leg that a payment is of, by what was held at its moment; None where that cannot be told."""
        if payment.id in self._shared:
            return self._shared[payment.id]
        legs, position = self._chain.legs, payment.position
        if position is not None and (found := self._chain.leg(position)) is not None:
            return found
        if len(legs) <= 1:
            return legs[0] if legs else self.named(position or self._chain.id)
        if position is not None:
            return self.named(position)
        due = [(leg, _towards(leg.due(payment.at), payment)) for leg in legs]
        now = [(leg, _towards(_now(leg), payment)) for leg in legs]
        as_large = ([(leg, _as_large(held, payment)) for leg, held in told] for told in (due, now))
        for told in (*as_large, due, now):
            holding = [leg for leg, held in told if held]
            if holding:
                return holding[0] if len(holding) == 1 else None
        return max(legs, key=lambda leg: leg.past.closed_at if leg.past and _is_side(leg.past.side, payment) else 0)

    def holding(self, leg: Leg, payment: FundingPayment) -> Held | None:
        """Return what a payment to a leg is of: what is as large as the venue says, else what was held at the very hour.

        Where nothing was, it is what is held when it is booked: not every moment of funding is an hour. It is of no other side
        than the venue says.
        """
        due = _towards([*leg.due(payment.at), *_now(leg)], payment)
        due = _as_large(due, payment) or due
        return due[0] if due else None

    def of_transfer(self, position: str | None) -> Leg | None:
        """Return the leg that money is of; None where that cannot be told, which leaves those that are held incomplete."""
        if position is not None and (found := self._chain.leg(position)) is not None:
            return found
        legs = self._chain.legs
        if len(legs) <= 1:
            return legs[0] if legs else self.named(position or self._chain.id)
        if position is not None:
            return self.named(position)
        held = [leg for leg in legs if leg.trip is not None]
        if not held:
            return max(legs, key=lambda leg: leg.past.closed_at if leg.past else 0)
        if len(held) == 1:
            return held[0]
        for leg in held:
            if leg.trip is not None:
                leg.trip.whole = False
        return None

    def share(self, payments: list[FundingPayment]) -> None:
        """Tell the legs apart that payments of one moment are of, where the venue does not: they are as large as the legs."""
        due = [(leg.due(payments[0].at), leg) for leg in self._chain.legs] if payments else []
        held = [(abs(one[0].size), leg) for one, leg in due if one and one[0].size]
        if len({size for size, _ in held}) == len(held):
            self._shared = _shared(payments, held)

    def share_costs(self, transfers: list[Transfer]) -> None:
        """Tell the legs apart that were liquidated in one moment: what each cost is as large as what was liquidated of it."""
        costs = [one for one in transfers if _is_cost(one)]
        if costs and costs[0].id not in self._shared:
            self._shared |= _shared(costs, [(leg.liquidated, leg) for leg in self._liquidated(costs[0].at)])

    def _liquidated(self, at: int) -> list[Leg]:
        """Return the legs of which something was liquidated last, just before a moment: several only in one moment."""
        last = max((leg.liquidated_at for leg in self._chain.legs), default=0)
        return [leg for leg in self._chain.legs if leg.liquidated_at == last and 0 <= at - last <= AFTERWARDS_MS]

    def of_cost(self, transfer: Transfer) -> Leg | None:
        """Return the one leg of which something was liquidated last, just before, where nobody says of which a cost is."""
        if not _is_cost(transfer):
            return None
        if transfer.id in self._shared:
            return self._shared[transfer.id]
        found = self._liquidated(transfer.at)
        return found[0] if len(found) == 1 else None


def _is_cost(transfer: Transfer) -> bool:
    return transfer.position is None and transfer.kind == "liquidation"


def _shared(told: Sequence[FundingPayment | Transfer], held: list[tuple[Decimal, Leg]]) -> dict[str, Leg]:
    """Return which leg each amount of one moment is of, where they are as large as the legs; nothing where they are not."""
    if len(held) < 2 or len(held) != len(told) or not all(size for size, _ in held):
        return {}
    ordered, legs = sorted(told, key=lambda one: abs(Decimal(one.amount))), sorted(held, key=lambda one: one[0])
    shares = [abs(Decimal(one.amount)) / size for one, (size, _) in zip(ordered, legs, strict=True)]
    if max(shares) - min(shares) > max(shares) * _ALIKE:
        return {}
    return {one.id: leg for one, (_, leg) in zip(ordered, legs, strict=True)}


def states(fill: Fill) -> bool:
    """Say whether a fill says what was held before it."""
    return fill.start_position is not None or fill.held_before is not None


def stated(fill: Fill) -> Decimal | None:
    """Return the signed size that a fill says was held before it; None: it does not say."""
    text = fill.held_before if fill.start_position is None else fill.start_position
    return None if text is None else Decimal(text)


def _of_side(fill: Fill) -> Side:
    """Return which side a fill is of, of two: what it states, else one that realised something closes, another one may open."""
    held = stated(fill)
    if held is not None:
        return "long" if (held or signed(fill)) > 0 else "short"
    closes = bool(Decimal(fill.realized_pnl or 0))
    return "long" if (fill.side == "buy") != closes else "short"


def _now(leg: Leg) -> list[Held]:
    return [] if leg.trip is None else [Held(leg.trip.opener, leg.trip.signed)]


def _towards(held: list[Held], payment: FundingPayment) -> list[Held]:
    """Return what a payment can be of by the side that the venue says."""
    return [one for one in held if one.size is None or _is_side("long" if one.size > 0 else "short", payment)]


def _is_side(held: Side, payment: FundingPayment) -> bool:
    return payment.side in (None, held)


def _as_large(held: list[Held], payment: FundingPayment) -> list[Held]:
    """Return what a payment can be of by the size that the venue says, where it says one."""
    if payment.size is None:
        return held
    size = abs(Decimal(payment.size))
    return [one for one in held if one.size is not None and abs(one.size) == size]


def side(fill: Fill) -> Side:
    """Return the side that a fill moves a position to."""
    return "long" if fill.side == "buy" else "short"


def signed(fill: Fill) -> Decimal:
    """Return a fill's signed size."""
    return Decimal(fill.size) if fill.side == "buy" else -Decimal(fill.size)


def opens(fill: Fill) -> bool:
    """Say whether the venue says that a fill realised nothing."""
    return fill.realized_pnl is not None and not Decimal(fill.realized_pnl)
