"""What books must say of what the simulator did: each fill as its venue keys it, sums, and positions from open to close. Pure.

A plain count of its own, kept while the world goes on (it forgets its oldest): one pass over the fills of each position, which the
simulator names. Shares nothing with the gateway's own folding.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from exchanges.events import position_id
from exchanges.sim import books
from exchanges.sim.world import World

Row = Mapping[str, Any]
Place = tuple[str, str, str, str]  # account, symbol, leg, margin mode: one position
ZERO = Decimal(0)
AMOUNTS = ("realized_pnl", "fees", "funding")


@dataclass
class Cycle:
    """One position from open to close; amounts are effects on the balance.

    Attributes:
        opener: The id of the fill that opened it; None: it was there when the world began.
        size: The largest held. ``fees`` with what a liquidation cost beside its fill.
        alike: The other leg was as large when funding was paid for both.
    """

    place: Place
    venue: str
    side: str
    settle: str
    opener: str | None
    opened_at: int
    closed_at: int = 0
    size: Decimal = ZERO
    fills: int = 0
    realized_pnl: Decimal = ZERO
    fees: Decimal = ZERO
    funding: Decimal = ZERO
    alike: bool = False

    @property
    def name(self) -> str:
        """What to call it."""
        return f"{' '.join(self.place)} {self.side} closed {self.closed_at}"


@dataclass(frozen=True)
class Payment:
    """Funding of one position, and how much of it was held."""

    place: Place
    at: int
    amount: Decimal
    size: Decimal


@dataclass
class Sums:
    """What an account's dealings in one currency brought."""

    fills: int = 0
    realized_pnl: Decimal = ZERO
    fees: Decimal = ZERO
    funding: Decimal = ZERO


def fill_key(fill: Row) -> str:
    """Return the key that the client contract gives a fill."""
    account, trade, order = fill["account"], fill["trade_id"], fill["order_id"]
    match fill["venue"]:
        case "bybit":
            return position_id(account, trade)
        case "hyperliquid":
            return position_id(account, order, trade)
        case _:
            return position_id(account, fill["symbol"], trade, order)


@dataclass
class Books:
    """Everything that happened so far to some accounts: ``take`` often enough, then ``cycles`` and ``totals``."""

    accounts: Collection[str]
    fills: dict[str, Row] = field(default_factory=dict)  # in the order of their happening, within an account
    payments: dict[tuple[str, int], Payment] = field(default_factory=dict)
    settled: dict[tuple[Place, int], Decimal] = field(default_factory=dict)
    totals: dict[tuple[str, str], Sums] = field(default_factory=dict)
    settles: dict[tuple[str, str], str] = field(default_factory=dict)  # of an account's symbol

    def take(self, world: World) -> None:
        """Note what is new, and the sums as they stand."""
        told = books.books(world)
        for fill in (fill for fill in told["fills"] if fill["account"] in self.accounts):
            self.fills.setdefault(fill_key(fill), fill)
        for name in self.accounts:
            for paid in world.payments(name):
                place = name, paid.position.symbol, paid.position.leg, paid.position.mode
                self.payments[name, paid.id] = Payment(place, paid.at, paid.amount, paid.position.size)
            for change in world.settlements(name):
                before = change.before.settled if change.before else ZERO
                place = name, change.position.symbol, change.position.leg, change.position.mode
                self.settled[place, change.at] = change.position.settled - before
        self.totals = defaultdict(Sums)
        for row in (row for row in told["realized"] if row["account"] in self.accounts):
            self.settles[row["account"], row["symbol"]] = row["ccy"]
            sums = self.totals[row["account"], row["ccy"]]
            sums.fills += row["fills"]
            for name in AMOUNTS:
                setattr(sums, name, getattr(sums, name) + Decimal(row[name]))

    def lost(self) -> int:
        """Return how many fills the world forgot before they were taken."""
        return sum(sums.fills for sums in self.totals.values()) - len(self.fills)

    def paid(self) -> Counter[tuple[str, str, Decimal]]:
        """Return how often each amount of funding was paid, by account and symbol."""
        return Counter((*one.place[:2], one.amount) for one in self.payments.values())

    def cycles(self) -> list[Cycle]:
        """Return all positions that were closed."""
        over: list[Cycle] = []
        held: dict[Place, Cycle] = {}
        for key, fill in self.fills.items():
            place = fill["account"], fill["symbol"], fill["leg"], fill["margin_mode"]
            before, size = Decimal(fill["before"]), Decimal(fill["size"])
            signed = size if fill["side"] == "buy" else -size
            if (cycle := held.get(place)) is None:
                cycle = held[place] = self._begun(place, key, fill, before or signed)
            cycle.size = max(cycle.size, abs(before), abs(before + signed))
            cycle.fills += 1
            cycle.realized_pnl += Decimal(fill["realized_pnl"])
            cycle.fees += Decimal(fill["fee"])
            if not before + signed:
                cycle.closed_at = fill["at"]
                over.append(held.pop(place))
        self._money(over)
        return over

    def _begun(self, place: Place, key: str, fill: Row, signed: Decimal) -> Cycle:
        settle = self.settles[fill["account"], fill["symbol"]]
        opener = None if Decimal(fill["before"]) else key
        return Cycle(place, fill["venue"], "long" if signed > 0 else "short", settle, opener, fill["at"])

    def _money(self, over: Iterable[Cycle]) -> None:
        """Add what was booked without a fill while a position was held; one that was there from the beginning, since then."""
        of: dict[Place, list[Cycle]] = defaultdict(list)
        for cycle in over:
            of[cycle.place].append(cycle)
        alike = Counter((*one.place[:2], one.at, one.size) for one in self.payments.values())
        for one in self.payments.values():
            if (held := _holding(of[one.place], one.at)) is not None:
                held.funding += one.amount
                held.alike |= alike[(*one.place[:2], one.at, one.size)] > 1
        for (place, at), amount in self.settled.items():
            if (held := _holding(of[place], at)) is not None:
                held.realized_pnl += amount


def _holding(cycles: Iterable[Cycle], at: int) -> Cycle | None:
    return next((one for one in cycles if (one.opener is None or one.opened_at <= at) and at <= one.closed_at), None)
