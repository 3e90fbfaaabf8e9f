"""Open → close cycles of positions, folded from fills and payments in the order of their happening. Pure.

Owns where a leg's history begins, what changes it, and what ends a cycle. The result is that of all records in one pass, however
they arrived: whoever is told of one that is ``late`` goes back to an earlier state of the chain and folds on from there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from decimal import Decimal
from itertools import groupby

import msgspec

from exchanges.events import Fill, FundingPayment, Side, Transfer
from gateway.core.attribution import Attribution, opens, side, stated
from gateway.core.chains import AFTERWARDS_MS, GRAVE, Chain, Ended, Evidence, Held, Item, Leg, Move, Paid, Seen, at_of
from gateway.core.evidence import SLACK_MS
from gateway.core.realized import exact_sum
from gateway.core.records import ClosedCycle, CloseReason, PastPosition
from gateway.core.round_trips import ZERO, Part, RoundTrip, parts, told


def fold(
    chain: Chain, items: Iterable[Item], evidence: Evidence, tell: Callable[[Move | Paid], None] | None = None
) -> Iterator[Ended]:
    """Bring a chain on by records that are all after it, whatever their order; yield the moments at which cycles ended.

    ``tell``: takes what each fill did, and of which leg each payment is, before the moment that it is of is yielded.
    """
    ordered = sorted(items, key=lambda item: (at_of(item), *_rank(item)))
    for at, group in groupby(ordered, key=at_of):
        step = _Step(chain, evidence, tell)
        step.take(list(group))
        chain.last_at = max(chain.last_at, at)
        if step.cycles:
            chain.number += 1
            yield Ended(list(step.cycles.values()), chain.number, chain.last_at, chain.encode())


def _rank(item: Item) -> tuple[int, int, str]:
    """Return the order of records of one moment: funding is of what was held before, and trade ids rise."""
    if isinstance(item, FundingPayment):
        return 0, 0, item.id
    if isinstance(item, Fill):
        trade = (item.trade_id or "").removeprefix("-")  # of a liquidation (OKX)
        return 1, int(trade) if trade.isdigit() else 0, item.id
    if isinstance(item, Transfer):
        return 2, 0, item.id
    return (3, 0, item.position) if isinstance(item, Seen) else (4, 0, item.id)


class _Step:
    """The records of one moment."""

    def __init__(self, chain: Chain, evidence: Evidence, tell: Callable[[Move | Paid], None] | None) -> None:
        self.cycles: dict[str, PastPosition] = {}
        self._tell = tell
        self._chain, self._evidence = chain, evidence
        self._contract = evidence.contract
        self._legs = Attribution(chain, evidence)

    def take(self, items: list[Item]) -> None:
        self._legs.share(
            [one for one in items if isinstance(one, FundingPayment) and one.position is None and not one.size]
        )
        while items:
            item = self._legs.next(items)
            items.remove(item)
            match item:
                case Fill():
                    self._fill(item)
                case FundingPayment():
                    self._payment(item)
                case Transfer():
                    self._legs.share_costs([item, *(one for one in items if isinstance(one, Transfer))])
                    self._transfer(item)
                case Seen():
                    self._seen(item)
                case ClosedCycle():
                    self._ended(item)

    # --- fills ---------------------------------------------------------------------------------------------------------

    def _fill(self, fill: Fill) -> None:
        leg = self._legs.of_fill(fill)
        leg.turn(fill.at)
        self._move(leg, fill)
        if leg.trip is not None and leg.hour and fill.at - leg.hour <= SLACK_MS:
            leg.held = [*leg.held, Held(leg.trip.opener, leg.trip.signed)]
        self._remember(leg, fill.at)

    def _move(self, leg: Leg, fill: Fill) -> None:
        leg.used_at = fill.at
        if fill.cause == "liquidation":
            leg.liquidated = exact_sum(leg.liquidated if leg.liquidated_at == fill.at else ZERO, Decimal(fill.size))
            leg.liquidated_at = fill.at
        start = stated(fill)
        if start is not None:
            self._align(leg, fill, start)
        else:
            self._doubt(leg, fill)
            if leg.trip is None and not leg.known:
                self._begin(leg, fill)
        trip, size = leg.trip, Decimal(fill.size)
        if trip is None:
            self._open(leg, Part(fill, size, _fee(fill)), begun=leg.first_at is None)
        elif trip.side == side(fill):
            self._enter(leg, trip, Part(fill, size, _fee(fill)))
        elif trip.size is None or size <= trip.size:
            if self._leave(leg, trip, Part(fill, size, _fee(fill))):
                self._close(leg, fill.at, trip.reason)
        else:
            closing, opening = parts(fill, trip.size)
            first_at = leg.first_at
            self._leave(leg, trip, closing)
            self._close(leg, fill.at, trip.reason)
            self._open(leg, opening, begun=leg.known or trip.begun)
            leg.first_at = first_at

    def _remember(self, leg: Leg, at: int) -> None:
        """Remember what is held, for the venue's first word of it: which may be a little older than it seems, or newer."""
        if leg.seen:
            return
        held = leg.trip.signed if leg.trip is not None else ZERO
        old = sum(moment < at - 2 * SLACK_MS for moment, _ in leg.sizes)
        leg.sizes = leg.sizes[max(old - 1, 0) :] + ([(at, held)] if held is not None else [])

    def _open(self, leg: Leg, part: Part, *, begun: bool) -> None:
        fill = part.fill
        leg.trip = RoundTrip(opener=fill.id, side=side(fill), opened_at=fill.at, settle=self._settle, begun=begun)
        if leg.early:  # of a position before it, of which nothing else is known
            self._unattributed(leg.early, self._settle or fill.fee_ccy or "")
            leg.early = ZERO
        self._enter(leg, leg.trip, part)

    def _enter(self, leg: Leg, trip: RoundTrip, part: Part) -> None:
        self._told(leg, trip, part, trip.size, None)
        trip.enter(part, self._contract)

    def _leave(self, leg: Leg, trip: RoundTrip, part: Part) -> bool:
        held, before = trip.size, trip.own
        over = trip.leave(part, self._contract)
        own = None if before is None or trip.own is None else exact_sum(trip.own, -before)
        self._told(leg, trip, part, held, own, closes=True)
        return over

    def _told(
        self, leg: Leg, trip: RoundTrip, part: Part, held: Decimal | None, own: Decimal | None, *, closes: bool = False
    ) -> None:
        if self._tell is not None:
            known = leg.position, trip.side, trip.opener, trip.opened_at
            self._tell(Move(*known, part, closes, held, own, trip.complete))

    def _doubt(self, leg: Leg, fill: Fill) -> None:
        """Let go of what is thought to be held where the venue's own profit of a fill says that it cannot be.

        A fill that realised something closes, one that realised nothing opens, unless it closes at the very price of the entry.
        Only a count that missed fills comes to anything else, and it would stay wrong for ever.
        """
        trip = leg.trip
        if fill.realized_pnl is None:
            return
        if opens(fill):
            if (
                trip is None
                or (trip.side == side(fill) and trip.size is not None)
                or not trip.gains(fill, self._contract)
            ):
                return
            leg.known = trip.size is None and trip.side != side(fill)  # the other way round: nothing was held any more
        else:
            if trip is not None and trip.side != side(fill):
                return
            leg.known = False
        if trip is not None:
            trip.whole = False
            self._close(leg, trip.last_at, trip.reason)

    def _begin(self, leg: Leg, fill: Fill) -> None:
        """Judge the first fill that is known of a leg: did it open the position?"""
        leg.first_at = fill.at
        if fill.realized_pnl is not None and not opens(fill):  # it closes what was held before
            self._hold(leg, "short" if fill.side == "buy" else "long", None, fill.at, f"before:{fill.id}")
            return
        opened = self._opened(leg)
        said = any(abs(moment - fill.at) <= SLACK_MS for moment in opened)
        before = any(moment < fill.at - SLACK_MS for moment in opened) and not leg.past
        if said or (self._evidence.covers(fill.at) and opens(fill) and not before):
            leg.first_at, leg.known = None, True

    def _opened(self, leg: Leg) -> list[int]:
        """Return the moments at which a leg may have been opened: the other ones say nothing of it."""
        others = (self._evidence.opened_of.get(one.position, ()) for one in self._chain.legs if one is not leg)
        apart = {moment for moments in others for moment in moments}
        return [moment for moment in self._evidence.opened if moment not in apart]

    def _align(self, leg: Leg, fill: Fill, start: Decimal) -> None:
        """Take the size that the venue says was held before a fill; where fills are missing, it is right."""
        trip = leg.trip
        held = ZERO if trip is None else trip.signed
        if start == held and trip is not None and leg.first_at is not None:
            trip.begun = True  # it is all that is known of it
        leg.known = leg.seen = True
        leg.first_at = None
        if start == held:
            return
        if trip is not None and (not start or (start > 0) != (trip.side == "long")):
            trip.whole = False
            self._close(leg, fill.at, "reconciled")
            trip = None
        if start and trip is not None:
            trip.adjust(abs(start))
        elif start:
            self._hold(leg, "long" if start > 0 else "short", abs(start), fill.at, f"before:{fill.id}")

    def _hold(self, leg: Leg, side: Side, size: Decimal | None, at: int, opener: str) -> RoundTrip:
        """Let a leg hold what no fill is known of."""
        leg.trip = RoundTrip(
            opener=opener, side=side, opened_at=at, settle=self._settle, size=size, begun=False, largest=size or ZERO,
            value=None, own=None, entries=None, funding=leg.early, last_at=at,
        )  # fmt: skip
        leg.early = ZERO
        return leg.trip

    def _close(self, leg: Leg, closed_at: int, reason: CloseReason) -> None:
        trip = leg.trip
        if trip is None:
            return
        leg.owed = trip.whole and not trip.begun and leg.first_at is not None
        leg.trip = leg.first_at = None
        leg.past = trip.past(self._chain.account, leg.position, self._chain.symbol, closed_at, self._contract, reason)
        self.cycles[leg.past.id] = leg.past
        if any(one.opener == trip.opener for one in leg.held):
            leg.over = [*leg.over, leg.past]

    @property
    def _settle(self) -> str | None:
        return self._contract.settle if self._contract else None

    # --- money without a trade -------------------------------------------------------------------------------------------

    def _payment(self, payment: FundingPayment) -> None:
        leg = self._legs.of_funding(payment)
        held = self._legs.holding(leg, payment) if leg is not None else None
        if leg is not None and self._tell is not None:
            self._tell(Paid(payment.id, leg.position))
        if leg is None:
            for one in self._chain.legs:
                self._lacks(one, payment)
        elif held is not None and self._pay(leg, held.opener, payment):
            return
        elif leg.trip is None and leg.past is not None and _afterwards(leg.past, payment):
            self._amend(leg, leg.past, "funding", Decimal(payment.amount), payment.ccy)
            return
        elif leg.trip is None and not leg.known and payment.ccy == (self._settle or payment.ccy):
            leg.early = exact_sum(leg.early, Decimal(payment.amount))
            return
        else:
            self._lacks(leg, payment)
        self._unattributed(Decimal(payment.amount), payment.ccy)

    def _pay(self, leg: Leg, opener: str, payment: FundingPayment) -> bool:
        """Let the round trip of an opener have a payment, be it over or not; return whether there is one."""
        if leg.trip is not None and leg.trip.opener == opener:
            leg.trip.pay(Decimal(payment.amount), payment.ccy)
            return True
        past = next((one for one in leg.over if one.id == f"{one.position}@{opener}"), None)
        if past is not None:
            self._amend(leg, past, "funding", Decimal(payment.amount), payment.ccy)
        return past is not None

    def _lacks(self, leg: Leg, payment: FundingPayment) -> None:
        """Take that a payment is of a leg's cycle of its moment, or of one that is not known: it or the last one is not whole."""
        openers = {one.opener for one in leg.due(payment.at)}
        if leg.trip is not None and (leg.trip.opener in openers or leg.past is None):
            leg.trip.whole = False
        ended = [one for one in leg.over if one.id.removeprefix(f"{one.position}@") in openers]
        if not openers and leg.past is not None:
            ended = [leg.past]
        for one in ended:
            if one.complete:
                self._amended(leg, msgspec.structs.replace(one, complete=False))
        leg.owed = leg.owed and leg.past not in ended

    def _unattributed(self, amount: Decimal, ccy: str) -> None:
        known = self._chain.unattributed
        self._chain.unattributed = known | {ccy: exact_sum(known.get(ccy, ZERO), amount)}

    def _transfer(self, transfer: Transfer) -> None:
        """Take profit that was settled, or what a liquidation cost beside its fill.

        A settlement that ends a position is told by its fill: here it counts while something is held alone.
        """
        leg = self._legs.of_cost(transfer) or self._legs.of_transfer(transfer.position)
        if leg is None:
            return
        amount, trip, past = Decimal(transfer.amount), leg.trip, leg.past
        cost = transfer.kind == "liquidation"
        if trip is None or (cost and past is not None and past.closed_at == leg.liquidated_at):
            if cost and past is not None and transfer.at - past.closed_at <= AFTERWARDS_MS:
                self._amend(leg, past, "liquidation_fee", amount, transfer.ccy)
        elif transfer.ccy != (trip.settle or transfer.ccy):
            trip.whole = False
        elif transfer.kind == "settlement":
            trip.settled(amount, self._contract)
        else:
            trip.liquidation_fee = exact_sum(trip.liquidation_fee, amount)

    def _amend(self, leg: Leg, past: PastPosition, name: str, amount: Decimal, ccy: str) -> None:
        """Add to a cycle that is over what was booked after it."""
        known, net = getattr(past, name), past.realized_net
        if known is None:
            return
        if ccy != past.settle:  # what it comes to cannot be told
            self._amended(leg, msgspec.structs.replace(past, **{name: None, "realized_net": None}))
            return
        more: dict[str, str | None] = {name: told(exact_sum(Decimal(known), amount))}
        if net is not None:
            more["realized_net"] = told(exact_sum(Decimal(net), amount))
        self._amended(leg, msgspec.structs.replace(past, **more))

    def _amended(self, leg: Leg, past: PastPosition) -> None:
        self.cycles[past.id] = past
        leg.over = [past if one.id == past.id else one for one in leg.over]
        if leg.past is None or leg.past.id == past.id:
            leg.past = past

    # --- what the venue says of positions ------------------------------------------------------------------------------------

    def _seen(self, seen: Seen) -> None:
        """Take what the venue said first of a leg: it was held before its fills, or follows from them."""
        if seen.hedged and self._chain.hedged_at is None:
            self._chain.hedged_at = at_of(seen)
        leg = self._legs.named(seen.position, "long" if seen.size > 0 else "short")
        if leg.seen:
            return
        fits = any(size == seen.size for _, size in leg.sizes)
        first_at, trip = leg.doubt, leg.trip
        if seen.opened_at is not None and first_at is not None:
            fits = fits and abs(seen.opened_at - first_at) <= SLACK_MS
        moved = sum((_after(leg.sizes, seen.at)), ZERO)
        leg.seen, leg.sizes = True, []
        if fits:
            leg.first_at, leg.known = None, True
            if leg.owed and leg.past is not None:
                leg.owed = False
                self._amended(leg, msgspec.structs.replace(leg.past, complete=True))
            if trip is not None:
                trip.begun = True
        elif trip is None and not leg.used_at and not leg.known:
            leg.known = True
            if seen.size:
                self._held(leg, seen)
        elif trip is not None:
            leg.first_at, leg.known = None, True
            self._adopt(leg, trip, seen.size + moved)

    def _adopt(self, leg: Leg, trip: RoundTrip, held: Decimal) -> None:
        """Take that another size is held than the fills come to: some are missing."""
        if held:
            trip.side = "long" if held > 0 else "short"
            trip.adjust(abs(held))
        else:
            trip.whole = False
            self._close(leg, trip.last_at, "reconciled")

    def _held(self, leg: Leg, seen: Seen) -> None:
        began = seen.opened_at if seen.opened_at is not None else seen.at
        size, side = abs(seen.size), "long" if seen.size > 0 else "short"
        trip = self._hold(leg, side, size, began, str(began))  # type: ignore[arg-type]
        if seen.entry_price and self._contract is not None and Decimal(seen.entry_price) > 0:
            trip.bring(size, Decimal(seen.entry_price), self._contract)

    def _ended(self, closed: ClosedCycle) -> None:
        """Take that a position was found closed: by its fills, for a graver reason than they say, or without any."""
        leg = self._legs.named(closed.position)
        trip, past = leg.trip, leg.past
        if trip is not None and _opened_since(trip, closed):
            return  # what was found closed had ended before
        if trip is not None:
            trip.whole = False
            leg.turn(closed.closed_at)
            self._close(leg, closed.closed_at, closed.reason or "reconciled")
        elif past is not None and past.closed_at >= min(closed.since, closed.closed_at) - SLACK_MS:
            if closed.reason in GRAVE and past.reason == "trade":
                status = "liquidated" if closed.reason == "liquidated" else "closed"
                self._amended(leg, msgspec.structs.replace(past, reason=closed.reason, status=status))
            return
        elif past is None or past.closed_at < closed.closed_at:
            leg.past = _without_fills(self._chain, closed, self._settle)
            self._amended(leg, leg.past)
        leg.known, leg.first_at = True, None


def _afterwards(past: PastPosition, payment: FundingPayment) -> bool:
    """Say whether a payment that finds nothing else was booked for a cycle that ended just before."""
    return payment.side in (None, past.side) and payment.at - past.closed_at <= AFTERWARDS_MS


def _opened_since(trip: RoundTrip, closed: ClosedCycle) -> bool:
    """Say whether a position is another one than that found closed: the other way round, or opened after its last word."""
    other = closed.side is not None and closed.side != trip.side
    return other or (trip.begun and trip.opened_at > closed.since) or trip.opened_at >= closed.closed_at - SLACK_MS


def _without_fills(chain: Chain, closed: ClosedCycle, settle: str | None) -> PastPosition:
    return PastPosition(
        id=closed.id, account=chain.account, position=closed.position, symbol=chain.symbol, side=closed.side or "long",
        settle=settle, size=closed.size, entry_price=closed.entry_price, status=closed.status,
        reason=closed.reason or "reconciled", opened_at=closed.opened_at or closed.since, closed_at=closed.closed_at,
        fills=0, complete=False,
    )  # fmt: skip


def _after(sizes: Sequence[tuple[int, Decimal]], at: int) -> Iterator[Decimal]:
    """Yield by how much what is held changed by each fill after a moment."""
    before = ZERO
    for moment, size in sizes:
        if moment > at:
            yield size - before
        before = size


def _fee(fill: Fill) -> Decimal | None:
    return None if fill.fee is None else Decimal(fill.fee)
