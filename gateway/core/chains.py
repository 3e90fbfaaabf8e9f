"""Open → close cycles of positions, folded from fills and payments in the order of their happening. Pure.

Owns which leg of a symbol a record belongs to, where a leg's history begins, and what ends a cycle. A ``Chain`` is all legs of one
account and symbol; it can be stored as JSON between two records. The result is that of all records in one pass, however they
arrived: whoever is told of one that is not ``after`` the chain goes back to an earlier state of it and folds on from there.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from decimal import Decimal
from itertools import groupby
from typing import NamedTuple

import msgspec

from exchanges.events import Fill, FundingPayment, PositionState, Side, Transfer, position_id
from gateway.core.evidence import SLACK_MS
from gateway.core.realized import exact_sum
from gateway.core.records import ClosedCycle, CloseReason, OpenCycle, PastPosition
from gateway.core.round_trips import ZERO, Contract, Part, RoundTrip, parts, told

# What is booked this soon after a position ended was part of it: funding, the fee of a liquidation.
AFTERWARDS_MS = 60_000
_ALIKE = Decimal("1e-4")  # payments of one moment for each contract, by rounding
_GRAVE: Collection[CloseReason] = ("liquidated", "adl", "settled")


class Seen(NamedTuple):
    """The first that the venue said of a position: its signed size, when it was opened, at which price."""

    at: int
    position: str
    size: Decimal
    opened_at: int | None = None
    entry_price: str | None = None


Item = Fill | FundingPayment | Transfer | Seen | ClosedCycle


class Evidence(NamedTuple):
    """What is known besides the records of a chain.

    Attributes:
        contract: None: not known, so that only the venue's own figures count.
        opened: Moments at which the venue says that a position of this symbol was opened.
        covered: Since when the account's fills are whole; None: nothing is known to be. ``until``: up to when; None: now.
        hedge: Whether legs are positions of their own; None: not known.
    """

    contract: Contract | None = None
    opened: Sequence[int] = ()
    covered: int | None = None
    until: int | None = None
    hedge: bool | None = None

    def covers(self, at: int) -> bool:
        """Say whether no fill of the account is missing at a moment."""
        return self.covered is not None and self.covered <= at and (self.until is None or at <= self.until)


class Leg(msgspec.Struct, kw_only=True, gc=False):
    """One position over time.

    Attributes:
        known: What is held is known: it followed from nothing, or the venue said it.
        seen: What the venue said of it first was taken into account.
        first_at: The first fill of those whose beginning is in doubt; None: there is no doubt.
        sizes: What was held after each of the newest fills, as long as the venue said nothing of it.
        early: Funding of a position that no fill is known of yet.
        past: The last cycle that ended. ``owed``: it lacks nothing but the word that its first fill opened it.
    """

    position: str
    known: bool = False
    seen: bool = False
    first_at: int | None = None
    used_at: int = 0
    sizes: list[tuple[int, Decimal]] = []
    early: Decimal = ZERO
    trip: RoundTrip | None = None
    past: PastPosition | None = None
    owed: bool = False

    @property
    def doubt(self) -> int | None:
        """The moment from which on its beginning is in doubt; None: there is no doubt."""
        return self.past.opened_at if self.owed and self.past is not None else self.first_at


class Chain(msgspec.Struct, kw_only=True, gc=False):
    """All legs of one account and symbol.

    Attributes:
        last_at: Everything up to this moment is in it. ``number``: of the moments at which a cycle ended, or was amended.
    """

    account: str
    symbol: str
    last_at: int = -1
    number: int = 0
    legs: list[Leg] = []

    @property
    def id(self) -> str:
        """Account and symbol."""
        return position_id(self.account, self.symbol)

    @property
    def doubt(self) -> int | None:
        """The moment from which on a beginning is in doubt; None: there is no doubt."""
        return min((leg.doubt for leg in self.legs if leg.doubt is not None), default=None)

    def leg(self, position: str) -> Leg | None:
        """Return the leg of a position; None where there is none of that name."""
        return next((leg for leg in self.legs if leg.position == position), None)

    def late(self, item: Item) -> bool:
        """Say whether a record belongs before something that is in it. The first word of a leg that is not used yet does not."""
        if isinstance(item, Seen):
            leg = self.leg(item.position)
            if leg is None or not (leg.used_at or leg.trip or leg.past):
                return False
        return at_of(item) <= self.last_at

    def tells_nothing(self, item: Item) -> bool:
        """Say whether a record says of the end of a position what is known of it: most ends are told by fills, too."""
        leg = self.leg(item.position) if isinstance(item, ClosedCycle) else None
        if leg is None or leg.past is None or not isinstance(item, ClosedCycle):
            return False
        same = leg.past.fills > 0 and abs(leg.past.closed_at - item.closed_at) <= SLACK_MS
        return same and not (item.reason in _GRAVE and leg.past.reason == "trade")

    def encode(self) -> bytes:
        """Return it as JSON."""
        return _ENCODER.encode(self)


_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(Chain)


def decode(text: str | bytes) -> Chain:
    """Return the chain that was encoded. Raises msgspec.MsgspecError where it is none of this version."""
    return _DECODER.decode(text)


def at_of(item: Item) -> int:
    """Return when a record takes effect: what the venue says of a position, once its fills had time to come."""
    if isinstance(item, ClosedCycle):
        return item.closed_at + SLACK_MS
    return item.at + SLACK_MS if isinstance(item, Seen) else item.at


def first_seen(state: PositionState, at: int) -> Seen:
    """Return what a position's report says. ``at``: when it was taken, where the report has no time of its own."""
    size = Decimal(state.size)
    signed = -size if state.side == "short" else size
    moment = state.venue_at if state.venue_at is not None else at
    return Seen(moment, state.id, signed, state.opened_at, state.entry_price)


class Ended(NamedTuple):
    """What one moment brought: cycles that ended or were amended, and the chain after it."""

    cycles: list[PastPosition]
    number: int
    last_at: int
    chain: bytes


class Move(NamedTuple):
    """What a fill, or its part, did to a leg.

    Attributes:
        opener: What opened the round trip that it is of.
        held: What was held before it; None: not known.
        own: What it realised by prices and sizes alone; None: not known, or it closed nothing (``closes``).
        whole: No fill of the round trip is missing up to here.
    """

    position: str
    side: Side
    opener: str
    opened_at: int
    part: Part
    closes: bool
    held: Decimal | None
    own: Decimal | None
    whole: bool


def fold(
    chain: Chain, items: Iterable[Item], evidence: Evidence, tell: Callable[[Move], None] | None = None
) -> Iterator[Ended]:
    """Bring a chain on by records that are all after it, whatever their order; yield the moments at which cycles ended.

    ``tell``: takes what each fill did, before the moment that it is of is yielded.
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

    def __init__(self, chain: Chain, evidence: Evidence, tell: Callable[[Move], None] | None) -> None:
        self.cycles: dict[str, PastPosition] = {}
        self._tell = tell
        self._chain, self._evidence = chain, evidence
        self._contract = evidence.contract
        self._shared: dict[str, Leg] = {}  # payments that nobody names, by id

    def take(self, items: list[Item]) -> None:
        self._share([one for one in items if isinstance(one, FundingPayment) and one.position is None and not one.size])
        while items:
            item = self._next(items)
            items.remove(item)
            match item:
                case Fill():
                    self._fill(item)
                case FundingPayment():
                    self._payment(item)
                case Transfer():
                    self._transfer(item)
                case Seen():
                    self._seen(item)
                case ClosedCycle():
                    self._ended(item)

    def _next(self, items: list[Item]) -> Item:
        """Return the next record: of fills that state the size before them the one that goes on from what is held."""
        first = items[0]
        if not isinstance(first, Fill):
            return first
        if first.start_position is None:
            return self._likely([one for one in items if isinstance(one, Fill)])
        chained = [one for one in items if isinstance(one, Fill) and one.start_position is not None]
        if len(chained) == 1:
            return first
        leg = self._chain.leg(first.position or self._chain.id)
        held = leg.trip.signed if leg is not None and leg.trip is not None else ZERO
        ends = {Decimal(one.start_position or 0) + _signed(one) for one in chained}
        going_on = (one for one in chained if Decimal(one.start_position or 0) == held)
        beginning = (one for one in chained if Decimal(one.start_position or 0) not in ends)
        return next(going_on, None) or next(beginning, first)

    def _likely(self, fills: list[Fill]) -> Fill:
        """Return the fill of a moment that comes next: one whose profit is that of what is held, then one that opens.

        Trade ids need not rise (Bybit), and a position may be closed and opened again within a millisecond.
        """
        for one in fills if len({fill.side for fill in fills}) > 1 else ():
            if not _opens(one) and any(trip.realizes(one, self._contract) for trip in self._closable(one)):
                return one
        for one in fills:
            if one.realized_pnl is None or (_opens(one) and not any(self._closable(one))):
                return one
        return fills[0]

    def _closable(self, fill: Fill) -> Iterator[RoundTrip]:
        """Yield what is held that a fill may close."""
        for leg in self._chain.legs:
            if fill.position in (None, leg.position) and leg.trip and leg.trip.side != _side(fill):
                yield leg.trip

    # --- legs ----------------------------------------------------------------------------------------------------------

    def _named(self, position: str) -> Leg:
        """Return the leg of a name; the one that had none yet takes the first that comes."""
        found, unnamed = self._chain.leg(position), self._chain.leg(self._chain.id)
        if found is None and unnamed is not None:
            unnamed.position = position
            return unnamed
        if found is None:
            found = Leg(position=position)
            self._chain.legs.append(found)
        return found

    def _leg(self, fill: Fill) -> Leg:
        """Return the leg of a fill. Where nobody names it: a fill that realised something closes, another one may open."""
        if fill.position is not None:
            return self._named(fill.position)
        legs = self._chain.legs
        split = self._evidence.hedge is True or len(legs) > 1
        if not split:
            return legs[0] if legs else self._named(self._chain.id)
        buys, closes = fill.side == "buy", bool(Decimal(fill.realized_pnl or 0))
        side: Side = "long" if buys != closes else "short"
        held = [leg for leg in legs if leg.trip is not None and leg.trip.side == side]
        if not held and len(legs) > 1 and self._evidence.hedge is not True:  # of one-way accounts: the one used last
            held = [leg for leg in legs if leg.trip is not None] or [max(legs, key=lambda leg: leg.used_at)]
        if not held:
            name = f"{self._chain.id}:{side}"
            held = [leg for leg in legs if leg.past is not None and leg.past.side == side] or [self._named(name)]
        if len(held) > 1:
            for leg in held:
                if leg.trip is not None:
                    leg.trip.whole = False
        return held[0]

    def _holder(self, position: str | None, size: str | None = None) -> Leg | None:
        """Return the leg that a payment is of; None where that cannot be told, which leaves those that are held incomplete."""
        if position is not None and (found := self._chain.leg(position)) is not None:
            return found
        legs = self._chain.legs
        if len(legs) <= 1:
            return legs[0] if legs else self._named(position or self._chain.id)
        held = [leg for leg in legs if leg.trip is not None]
        if len(held) > 1 and size is not None:
            held = [leg for leg in held if leg.trip and leg.trip.size == abs(Decimal(size))] or held
        if len(held) == 1 and position is None:
            return held[0]
        if position is None and not held:
            return max(legs, key=lambda leg: leg.past.closed_at if leg.past else 0)
        for leg in held if position is None else ():
            if leg.trip is not None:
                leg.trip.whole = False
        return None if position is None else self._named(position)

    # --- fills ---------------------------------------------------------------------------------------------------------

    def _fill(self, fill: Fill) -> None:
        leg = self._leg(fill)
        self._move(leg, fill)
        self._remember(leg, fill.at)

    def _move(self, leg: Leg, fill: Fill) -> None:
        leg.used_at = fill.at
        if fill.start_position is not None:
            self._align(leg, fill, Decimal(fill.start_position))
        else:
            self._doubt(leg, fill)
            if leg.trip is None and not leg.known:
                self._begin(leg, fill)
        trip, size = leg.trip, Decimal(fill.size)
        if trip is None:
            self._open(leg, Part(fill, size, _fee(fill)), begun=leg.first_at is None)
        elif trip.side == _side(fill):
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
        leg.trip = RoundTrip(opener=fill.id, side=_side(fill), opened_at=fill.at, settle=self._settle, begun=begun)
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
        if _opens(fill):
            if (
                trip is None
                or (trip.side == _side(fill) and trip.size is not None)
                or not trip.gains(fill, self._contract)
            ):
                return
            leg.known = trip.size is None and trip.side != _side(fill)  # the other way round: nothing was held any more
        else:
            if trip is not None and trip.side != _side(fill):
                return
            leg.known = False
        if trip is not None:
            trip.whole = False
            self._close(leg, trip.last_at, trip.reason)

    def _begin(self, leg: Leg, fill: Fill) -> None:
        """Judge the first fill that is known of a leg: did it open the position?"""
        leg.first_at = fill.at
        if fill.realized_pnl is not None and not _opens(fill):  # it closes what was held before
            self._hold(leg, "short" if fill.side == "buy" else "long", None, fill.at, f"before:{fill.id}")
            return
        said = any(abs(moment - fill.at) <= SLACK_MS for moment in self._evidence.opened)
        before = any(moment < fill.at - SLACK_MS for moment in self._evidence.opened) and not leg.past
        if said or (self._evidence.covers(fill.at) and _opens(fill) and not before):
            leg.first_at, leg.known = None, True

    def _align(self, leg: Leg, fill: Fill, start: Decimal) -> None:
        """Take the size that the venue says was held before a fill; where fills are missing, it is right."""
        trip = leg.trip
        leg.known = leg.seen = True
        leg.first_at = None
        held = ZERO if trip is None else trip.signed
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

    @property
    def _settle(self) -> str | None:
        return self._contract.settle if self._contract else None

    def _share(self, payments: list[FundingPayment]) -> None:
        """Tell the legs apart that payments of one moment are of, where the venue does not: they are as large as the legs."""
        held = sorted(
            (leg.trip.size, number) for number, leg in enumerate(self._chain.legs) if leg.trip and leg.trip.size
        )
        if len(held) < 2 or len(held) != len(payments) or len({size for size, _ in held}) < len(held):
            return
        paid = sorted(payments, key=lambda one: abs(Decimal(one.amount)))
        shares = [abs(Decimal(one.amount)) / size for one, (size, _) in zip(paid, held, strict=True)]
        if max(shares) - min(shares) <= max(shares) * _ALIKE:
            legs = (self._chain.legs[number] for _, number in held)
            self._shared = {one.id: leg for one, leg in zip(paid, legs, strict=True)}

    # --- money without a trade -------------------------------------------------------------------------------------------

    def _payment(self, payment: FundingPayment) -> None:
        leg = self._shared.get(payment.id) or self._holder(payment.position, payment.size)
        if leg is None:
            return
        amount = Decimal(payment.amount)
        if leg.trip is not None:
            leg.trip.pay(amount, payment.ccy)
        elif leg.past is not None and payment.at - leg.past.closed_at <= AFTERWARDS_MS:
            self._amend(leg, leg.past, "funding", amount, payment.ccy)
        elif not leg.known:
            leg.early = exact_sum(leg.early, amount)

    def _transfer(self, transfer: Transfer) -> None:
        """Take profit that was settled, or what a liquidation cost beside its fill.

        A settlement that ends a position is told by its fill: here it counts while something is held alone.
        """
        leg = self._liquidated(transfer) or self._holder(transfer.position)
        if leg is None:
            return
        amount, trip = Decimal(transfer.amount), leg.trip
        if trip is None:
            late = leg.past is not None and transfer.at - leg.past.closed_at <= AFTERWARDS_MS
            if leg.past is not None and late and transfer.kind == "liquidation":
                self._amend(leg, leg.past, "liquidation_fee", amount, transfer.ccy)
        elif transfer.ccy != (trip.settle or transfer.ccy):
            trip.whole = False
        elif transfer.kind == "settlement":
            trip.settled(amount, self._contract)
        else:
            trip.liquidation_fee = exact_sum(trip.liquidation_fee, amount)

    def _liquidated(self, transfer: Transfer) -> Leg | None:
        """Return the one leg of which something was liquidated just before, where nobody says of which a cost is."""
        if transfer.position is not None or transfer.kind != "liquidation":
            return None
        found = [leg for leg in self._chain.legs if leg.trip is not None and leg.trip.cause == "liquidation"]
        found += [
            leg
            for leg in self._chain.legs
            if leg.past is not None
            and leg.past.reason == "liquidated"
            and transfer.at - leg.past.closed_at <= AFTERWARDS_MS
            and leg not in found
        ]
        return found[0] if len(found) == 1 else None

    def _amend(self, leg: Leg, past: PastPosition, name: str, amount: Decimal, ccy: str) -> None:
        """Add to a cycle that is over what was booked after it."""
        known, net = getattr(past, name), past.realized_net
        if ccy != past.settle or known is None:
            return
        more: dict[str, str | None] = {name: told(exact_sum(Decimal(known), amount))}
        if net is not None:
            more["realized_net"] = told(exact_sum(Decimal(net), amount))
        self._amended(leg, msgspec.structs.replace(past, **more))

    def _amended(self, leg: Leg, past: PastPosition) -> None:
        leg.past = self.cycles[past.id] = past

    # --- what the venue says of positions ------------------------------------------------------------------------------------

    def _seen(self, seen: Seen) -> None:
        """Take what the venue said first of a leg: it was held before its fills, or follows from them."""
        leg = self._named(seen.position)
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
        leg = self._named(closed.position)
        trip, past = leg.trip, leg.past
        if trip is not None and trip.opened_at >= closed.closed_at - SLACK_MS:
            return  # opened again at once
        if trip is not None:
            trip.whole = False
            self._close(leg, closed.closed_at, closed.reason or "reconciled")
        elif past is not None and past.closed_at >= min(closed.since, closed.closed_at) - SLACK_MS:
            if closed.reason in _GRAVE and past.reason == "trade":
                status = "liquidated" if closed.reason == "liquidated" else "closed"
                self._amended(leg, msgspec.structs.replace(past, reason=closed.reason, status=status))
            return
        elif past is None or past.closed_at < closed.closed_at:
            self._amended(leg, _without_fills(self._chain, closed, self._settle))
        leg.known, leg.first_at = True, None


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


def running(chain: Chain, at: int) -> OpenCycle:
    """Return a chain as the record that a restart gives back."""
    return OpenCycle(id=chain.id, account=chain.account, symbol=chain.symbol, at=at, chain=msgspec.Raw(chain.encode()))


def _side(fill: Fill) -> Side:
    return "long" if fill.side == "buy" else "short"


def _signed(fill: Fill) -> Decimal:
    return Decimal(fill.size) if fill.side == "buy" else -Decimal(fill.size)


def _fee(fill: Fill) -> Decimal | None:
    return None if fill.fee is None else Decimal(fill.fee)


def _opens(fill: Fill) -> bool:
    """Say whether the venue says that a fill realised nothing."""
    return fill.realized_pnl is not None and not Decimal(fill.realized_pnl)
