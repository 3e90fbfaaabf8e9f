"""What closing leaves behind in the venues' books: one record a closing order, and one a position from open to close.

Fed with the world's events; never makes any. Bounded: the newest ``KEPT`` of each kind and account. What is gone without a trace
(``silent``, ``expired``) is in neither.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TypeVar

from exchanges.sim.catalog import CASH_STEPS
from exchanges.sim.changes import Filled, OrderCategory, PositionChanged, Trade, WorldEvent
from exchanges.sim.exact import round_to
from exchanges.sim.revalue import Key, Position

KEPT = 5_000
_ZERO = Decimal(0)
K = TypeVar("K")
V = TypeVar("V")


@dataclass(frozen=True)
class Closing:
    """What one order closed of a position, or one periodic settlement, which leaves it open.

    Attributes:
        order_id: 0: it was a settlement.
        position: As it stood afterwards.
        size: In the venue's unit.
        entry_value, exit_value: Sum of size x price. ``entry_coins``, ``exit_coins``: sum of size / price.
        pnl: Of the price alone. ``open_fee``: the share of what opening had cost. ``close_fee``. All effects on the balance.
    """

    order_id: int
    category: OrderCategory
    position: Position
    size: Decimal
    entry_value: Decimal
    exit_value: Decimal
    entry_coins: Decimal
    exit_coins: Decimal
    pnl: Decimal
    open_fee: Decimal
    close_fee: Decimal
    fills: int
    created_at: int
    updated_at: int


@dataclass(frozen=True)
class Cycle:
    """A position from its opening to its latest close.

    Attributes:
        position: As it stood after that close.
        trade: That close.
        largest: The most that it ever was.
        closed: How much was closed so far; ``exit_value``: sum of size x price, ``exit_coins``: sum of size / price.
        penalty: What liquidations took beside the loss; negative.
    """

    position: Position
    trade: Trade
    largest: Decimal
    closed: Decimal
    exit_value: Decimal
    exit_coins: Decimal
    penalty: Decimal
    at: int


class Closings:
    """The closings of all accounts, oldest first."""

    def __init__(self) -> None:
        self.orders: defaultdict[str, dict[tuple[int, Key, int], Closing]] = defaultdict(dict)
        self.cycles: defaultdict[str, dict[tuple[int, int], Cycle]] = defaultdict(dict)
        # What opening the part that is still open has cost, and how much was held at most.
        self._cost: dict[tuple[str, Key], Decimal] = {}
        self._largest: dict[tuple[str, Key], Decimal] = {}

    def take(self, event: WorldEvent) -> None:
        """Keep what an event closed, where it closed something."""
        match event:
            case Filled():
                self._fill(event)
            case PositionChanged():
                self._change(event)
            case _:
                pass

    def _fill(self, event: Filled) -> None:
        position, trade = event.position, event.trade
        key = event.account, position.key
        # All that a position of before the records has paid was for opening it.
        cost = self._cost.get(key, position.fees - trade.fee)
        if not trade.before or trade.buy == (trade.before > 0):
            self._cost[key] = cost + trade.fee
            return
        share = round_to(cost * trade.size / abs(trade.before), CASH_STEPS[position.venue]) if position.size else cost
        self._cost[key] = cost - share
        self._close_by_order(event, share)
        self._close(event, max(self._largest.get(key, _ZERO), abs(trade.before)))

    def _close_by_order(self, event: Filled, open_fee: Decimal) -> None:
        position, trade, mine = event.position, event.trade, self.orders[event.account]
        name = (trade.order_id, position.key, 0)
        entry, size = position.entry_price, trade.size
        now = Closing(
            trade.order_id, trade.category, position, size, size * entry, size * trade.price, size / entry,
            size / trade.price, trade.pnl, open_fee, trade.fee, 1, event.at, event.at,
        )  # fmt: skip
        before = mine.get(name)
        _keep(mine, name, now if before is None else _together(before, now))

    def _close(self, event: Filled, largest: Decimal) -> None:
        position, trade, mine = event.position, event.trade, self.cycles[event.account]
        name = (position.id, position.opened_at)
        before = mine.pop(name, None)
        blank = Cycle(position, trade, largest, _ZERO, _ZERO, _ZERO, _ZERO, event.at)
        old = before or blank
        now = replace(
            blank,
            closed=old.closed + trade.size,
            exit_value=old.exit_value + trade.size * trade.price,
            exit_coins=old.exit_coins + trade.size / trade.price,
            penalty=old.penalty + (trade.fee if trade.category == "liquidation" else _ZERO),
        )
        _keep(mine, name, now)

    def _change(self, event: PositionChanged) -> None:
        position, before = event.position, event.before
        key = event.account, position.key
        if before is not None and before.key != position.key:  # it goes on in another mode
            for kept in (self._cost, self._largest):
                moved = kept.pop((event.account, before.key), None)
                if moved is not None:
                    kept[key] = moved
        if not position.size:
            self._cost.pop(key, None)
            self._largest.pop(key, None)
            return
        self._largest[key] = max(self._largest.get(key, _ZERO), position.size, event.was)
        if event.cause == "settled" and before is not None:
            self._settle(position, before, event.at)

    def _settle(self, position: Position, before: Position, at: int) -> None:
        mine, size = self.orders[position.account], position.size
        entry, exit_ = before.entry_price, position.entry_price
        settled = Closing(
            0, "normal", position, size, size * entry, size * exit_, size / entry, size / exit_,
            position.settled - before.settled, _ZERO, _ZERO, 1, at, at,
        )  # fmt: skip
        _keep(mine, (0, position.key, at), settled)


def _together(before: Closing, now: Closing) -> Closing:
    return replace(
        now,
        size=before.size + now.size,
        entry_value=before.entry_value + now.entry_value,
        exit_value=before.exit_value + now.exit_value,
        entry_coins=before.entry_coins + now.entry_coins,
        exit_coins=before.exit_coins + now.exit_coins,
        pnl=before.pnl + now.pnl,
        open_fee=before.open_fee + now.open_fee,
        close_fee=before.close_fee + now.close_fee,
        fills=before.fills + 1,
        created_at=before.created_at,
    )


def _keep(kept: dict[K, V], name: K, value: V) -> None:
    kept[name] = value
    if len(kept) > KEPT:
        del kept[next(iter(kept))]
