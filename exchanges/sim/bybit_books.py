"""What the simulated Bybit numbers by itself: the cross sequence of fills and positions, and the past that only it remembers.

Fed with the world's events in order, whether anybody listens or not; sends nothing.
"""

from __future__ import annotations

from collections import defaultdict, deque

from exchanges.sim import bybit_trades as trades
from exchanges.sim.bybit_trades import Executed
from exchanges.sim.changes import Order, PositionChanged
from exchanges.sim.revalue import Leg
from exchanges.sim.world import World

KEPT_ORDERS = 500
_KEPT = 20_000
_STEP = 7  # other people trade in between


class Books:
    """Sequences, done orders and corporate actions of one front.

    Args:
        world: Whose events are counted.
        first: Where the sequence begins: a venue's never starts again, a later run goes on above an earlier one.
    """

    def __init__(self, world: World, first: int) -> None:
        self._world = world
        self._seq = first
        self._positions: dict[tuple[str, str, Leg], int] = {}
        self._executions: dict[str, int] = {}
        self._done: defaultdict[str, deque[Order]] = defaultdict(lambda: deque(maxlen=KEPT_ORDERS))
        self._actions: defaultdict[str, deque[PositionChanged]] = defaultdict(lambda: deque(maxlen=KEPT_ORDERS))

    def next(self) -> int:
        """Return the next number."""
        self._seq += _STEP
        return self._seq

    def position_seq(self, account: str, symbol: str, leg: Leg) -> int:
        """Return the sequence at which a position last traded; -1 when it never did."""
        key = (account, symbol, leg)
        held = self._world.accounts[account].positions.values()
        if key not in self._positions and any((p.symbol, p.leg) == (symbol, leg) for p in held):
            self._positions[key] = self.next()  # it was open before this front began to count
        return self._positions.get(key, -1)

    def execute(self, event: Executed) -> int:
        """Give an execution and the position that it belongs to the next number."""
        seq = self.next()
        position = event.position
        self._positions[position.account, position.symbol, position.leg] = seq
        self._executions[trades.execution_id(self._world, event)] = seq
        if len(self._executions) > _KEPT:
            del self._executions[next(iter(self._executions))]
        if isinstance(event, PositionChanged):
            self._actions[position.account].append(event)
        return seq

    def finish(self, order: Order) -> None:
        """Remember an order that is done."""
        self._done[order.account].append(order)

    def done(self, account: str) -> list[Order]:
        """Return the orders that are done, oldest first, the newest 500."""
        return list(self._done[account])

    def executions(self, account: str) -> list[tuple[Executed, int]]:
        """Return everything that Get Trade History tells, with its sequence (-1: too long ago), newest first."""
        found: list[Executed] = [*self._world.fills(account), *self._world.payments(account), *self._actions[account]]
        told = [(event, trades.execution_id(self._world, event)) for event in found]
        told.sort(key=lambda pair: (pair[0].at, pair[1]), reverse=True)
        return [(event, self._executions.get(number, -1)) for event, number in told]
