"""The chain of an account and symbol: its positions over time, between two records. Pure.

Owns the form of a chain, which can be stored as JSON, and what it can be told. ``gateway.core.folding`` brings it on.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import NamedTuple

import msgspec

from exchanges.events import Fill, FundingPayment, PositionState, Side, Transfer, position_id
from gateway.core.evidence import SLACK_MS
from gateway.core.records import ClosedCycle, CloseReason, OpenCycle, PastPosition
from gateway.core.round_trips import ZERO, Contract, Part, RoundTrip

# Funding is of what was held at a full hour, and booked up to so much later. Some venues (Hyperliquid) count with the first moments
# after the hour.
HOUR_MS, BOOKED_MS = 3_600_000, 300_000
# What is booked this soon after a position ended was part of it: funding, the fee of a liquidation.
AFTERWARDS_MS = 60_000
GRAVE: Collection[CloseReason] = ("liquidated", "adl", "settled")


class Seen(NamedTuple):
    """The first that the venue said of a position: its signed size, when it was opened, at which price.

    ``hedged``: that it is one of two legs of its symbol.
    """

    at: int
    position: str
    size: Decimal
    opened_at: int | None = None
    entry_price: str | None = None
    hedged: bool = False


Item = Fill | FundingPayment | Transfer | Seen | ClosedCycle


class Evidence(NamedTuple):
    """What is known besides the records of a chain.

    Attributes:
        contract: None: not known, so that only the venue's own figures count.
        opened: Moments at which the venue says that a position of this symbol was opened; ``opened_of``: those of each by its name.
        covered: Since when the account's fills are whole; None: nothing is known to be. ``until``: up to when; None: now.
        hedge: Whether legs are positions of their own; None: not known.
    """

    contract: Contract | None = None
    opened: Sequence[int] = ()
    opened_of: Mapping[str, Collection[int]] = {}
    covered: int | None = None
    until: int | None = None
    hedge: bool | None = None

    def of_opened(self, moments: Iterable[tuple[int, str | None]]) -> Evidence:
        """Return it with these moments, each with the name of its position, where that is known."""
        of: dict[str, set[int]] = {}
        every = set()
        for moment, position in moments:
            every.add(moment)
            if position is not None:
                of.setdefault(position, set()).add(moment)
        return self._replace(opened=sorted(every), opened_of=of)

    def covers(self, at: int) -> bool:
        """Say whether no fill of the account is missing at a moment."""
        return self.covered is not None and self.covered <= at and (self.until is None or at <= self.until)


class Held(NamedTuple):
    """What was held at a moment: the opener of its round trip, and its signed size; None: not known."""

    opener: str
    size: Decimal | None


class Leg(msgspec.Struct, kw_only=True, gc=False):
    """One position over time.

    Attributes:
        known: What is held is known: it followed from nothing, or the venue said it.
        seen: What the venue said of it first was taken into account.
        first_at: The first fill of those whose beginning is in doubt; None: there is no doubt.
        sizes: What was held after each of the newest fills, as long as the venue said nothing of it.
        early: Funding of a position that no fill is known of yet.
        liquidated_at: When something of it was liquidated last; 0: never. ``liquidated``: how much in that moment.
        past: The last cycle that ended. ``owed``: it lacks nothing but the word that its first fill opened it.
        hour: The full hour whose funding may be booked yet, where something changed since; 0: none. ``held``: what was held
            then, and after each fill of the first moments. ``over``: the cycles of those that ended since.
    """

    position: str
    known: bool = False
    seen: bool = False
    first_at: int | None = None
    used_at: int = 0
    sizes: list[tuple[int, Decimal]] = []
    early: Decimal = ZERO
    liquidated_at: int = 0
    liquidated: Decimal = ZERO
    trip: RoundTrip | None = None
    past: PastPosition | None = None
    owed: bool = False
    hour: int = 0
    held: list[Held] = []
    over: list[PastPosition] = []

    def turn(self, at: int) -> None:
        """Remember what is held at the full hour before a moment, at which it changes; forget what was at an earlier one."""
        hour = at - at % HOUR_MS
        if hour == self.hour:
            return
        self.hour, self.over, self.held = 0, [], []
        if at - hour <= BOOKED_MS:
            self.hour = hour
            if self.trip is not None:
                self.held = [Held(self.trip.opener, self.trip.signed)]

    def due(self, at: int) -> list[Held]:
        """Return what a payment that was booked at a moment can be of, the likeliest first."""
        moment = funded_at(at)
        if self.hour and self.hour == moment:
            return self.held
        trip = self.trip
        if trip is None or (trip.begun and trip.opened_at > moment + SLACK_MS):
            return []
        return [Held(trip.opener, trip.signed)]

    @property
    def doubt(self) -> int | None:
        """The moment from which on its beginning is in doubt; None: there is no doubt."""
        return self.past.opened_at if self.owed and self.past is not None else self.first_at


class Chain(msgspec.Struct, kw_only=True, gc=False):
    """All legs of one account and symbol.

    Attributes:
        last_at: Everything up to this moment is in it. ``number``: of the moments at which a cycle ended, or was amended.
        hedged_at: When the venue first named one of two legs; None: it did not.
        unattributed: Funding of which no cycle is known, by currency.
    """

    account: str
    symbol: str
    last_at: int = -1
    number: int = 0
    hedged_at: int | None = None
    legs: list[Leg] = []
    unattributed: dict[str, Decimal] = {}

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
            says_more = item.hedged and (self.hedged_at is None or at_of(item) < self.hedged_at)
            if not says_more and (leg is None or not (leg.used_at or leg.trip or leg.past)):
                return False
        return at_of(item) <= self.last_at

    def tells_nothing(self, item: Item) -> bool:
        """Say whether a record says of the end of a position what is known of it: most ends are told by fills, too."""
        leg = self.leg(item.position) if isinstance(item, ClosedCycle) else None
        if leg is None or leg.past is None or not isinstance(item, ClosedCycle):
            return False
        same = leg.past.fills > 0 and abs(leg.past.closed_at - item.closed_at) <= SLACK_MS
        return same and not (item.reason in GRAVE and leg.past.reason == "trade")

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


def funded_at(booked_at: int) -> int:
    """Return the moment that funding is of: the full hour shortly before it was booked, else that moment itself."""
    late = booked_at % HOUR_MS
    return booked_at - late if late <= BOOKED_MS else booked_at


def first_seen(state: PositionState, at: int) -> Seen:
    """Return what a position's report says. ``at``: when it was taken, where the report has no time of its own."""
    size = Decimal(state.size)
    signed = -size if state.side == "short" else size
    moment = state.venue_at if state.venue_at is not None else at
    return Seen(moment, state.id, signed, state.opened_at, state.entry_price, state.hedged)


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


class Paid(NamedTuple):
    """Of which leg a payment of funding is."""

    payment: str
    position: str


def running(chain: Chain, at: int) -> OpenCycle:
    """Return a chain as the record that a restart gives back."""
    return OpenCycle(id=chain.id, account=chain.account, symbol=chain.symbol, at=at, chain=msgspec.Raw(chain.encode()))
