"""What every account has behind it: its fills, funding, transfers and orders, as a venue keeps them for questions about the past.

Fed with the world's events; never makes any. Bounded: the newest ``KEPT`` of each kind and account.
"""

from __future__ import annotations

from collections import defaultdict, deque
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from exchanges.sim.changes import Filled, FundingPaid, Order, OrderChanged, PositionChanged, Transferred, WorldEvent
from exchanges.sim.closings import Closings

KEPT = 5_000


def _kept() -> deque[Any]:
    return deque(maxlen=KEPT)


@dataclass
class Total:
    """What an account's dealings in one symbol brought so far, as effects on the balance; however many there were."""

    fills: int = 0
    pnl: Decimal = Decimal(0)
    fees: Decimal = Decimal(0)
    funding: Decimal = Decimal(0)
    settled: Decimal = Decimal(0)
    premium: Decimal = Decimal(0)


class Records:
    """The past of all accounts, oldest first."""

    def __init__(self) -> None:
        self.fills: defaultdict[str, deque[Filled]] = defaultdict(_kept)
        self.payments: defaultdict[str, deque[FundingPaid]] = defaultdict(_kept)
        self.transfers: defaultdict[str, deque[Transferred]] = defaultdict(_kept)
        self.settlements: defaultdict[str, deque[PositionChanged]] = defaultdict(_kept)
        self.margins: defaultdict[str, deque[PositionChanged]] = defaultdict(_kept)
        self.open: defaultdict[str, dict[int, Order]] = defaultdict(dict)
        self.closings = Closings()
        self.totals: defaultdict[tuple[str, str], Total] = defaultdict(Total)
        self.done: defaultdict[str, dict[int, Order]] = defaultdict(dict)

    def take(self, event: WorldEvent) -> None:
        """Keep what an event says, where it says something to keep."""
        self.closings.take(event)
        match event:
            case Filled():
                self.fills[event.account].append(event)
                self._count(event)
            case FundingPaid():
                self.payments[event.account].append(event)
                self.totals[event.account, event.position.symbol].funding += event.amount
            case Transferred():
                self.transfers[event.account].append(event)
            case PositionChanged(cause="settled") if event.position.size:
                self.settlements[event.account].append(event)
                before = event.before.settled if event.before else Decimal(0)
                self.totals[event.account, event.position.symbol].settled += event.position.settled - before
            case PositionChanged(cause="margin"):
                self.margins[event.account].append(event)
            case OrderChanged(order=order) if order.status in {"open", "partially_filled"}:
                self.open[order.account][order.id] = order
            case OrderChanged(order=order):
                self.open[order.account].pop(order.id, None)
                done = self.done[order.account]
                done[order.id] = order
                if len(done) > KEPT:
                    del done[next(iter(done))]
            case _:
                pass

    def _count(self, event: Filled) -> None:
        total, trade = self.totals[event.account, event.symbol], event.trade
        total.fills += 1
        total.pnl += trade.pnl
        total.fees += trade.own_fee
        total.premium += trade.premium
