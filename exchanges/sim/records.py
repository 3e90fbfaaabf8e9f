"""What every account has behind it: its fills, funding, transfers and orders, as a venue keeps them for questions about the past.

Fed with the world's events; never makes any. Bounded: the newest ``KEPT`` of each kind and account.
"""

from __future__ import annotations

from collections import defaultdict, deque
from typing import Any

from exchanges.sim.changes import Filled, FundingPaid, Order, OrderChanged, PositionChanged, Transferred, WorldEvent

KEPT = 5_000


def _kept() -> deque[Any]:
    return deque(maxlen=KEPT)


class Records:
    """The past of all accounts, oldest first."""

    def __init__(self) -> None:
        self.fills: defaultdict[str, deque[Filled]] = defaultdict(_kept)
        self.payments: defaultdict[str, deque[FundingPaid]] = defaultdict(_kept)
        self.transfers: defaultdict[str, deque[Transferred]] = defaultdict(_kept)
        self.settlements: defaultdict[str, deque[PositionChanged]] = defaultdict(_kept)
        self.margins: defaultdict[str, deque[PositionChanged]] = defaultdict(_kept)
        self.open: defaultdict[str, dict[int, Order]] = defaultdict(dict)
        self.done: defaultdict[str, dict[int, Order]] = defaultdict(dict)

    def take(self, event: WorldEvent) -> None:
        """Keep what an event says, where it says something to keep."""
        match event:
            case Filled():
                self.fills[event.account].append(event)
            case FundingPaid():
                self.payments[event.account].append(event)
            case Transferred():
                self.transfers[event.account].append(event)
            case PositionChanged(cause="settled") if event.position.size:
                self.settlements[event.account].append(event)
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
