"""What is known of one account besides what a single message says: what pushes leave out, and what answers may lag behind.

Owns the merge rules. Shared by every link of an account, one after the other and side by side: a push that one of them heard
protects a later answer that another one reads. Never parses, never translates. All moments are integers in milliseconds of one
monotone clock.
"""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple

import msgspec

from exchanges.aster import tables
from exchanges.aster.wire import Account, PositionRow, millis
from exchanges.events import Cause, CoinBalance, PoolState, PositionState


class Pushed(NamedTuple):
    """The newest push of a leg, and when it came."""

    state: PositionState
    at: int


class Margins(NamedTuple):
    """The margins of a leg that the account states, and the amount they belong to."""

    amount: str
    initial: str | None
    maintenance: str | None


class Memory:
    """What the links of one account know.

    Attributes:
        multi, hedge: The account's modes; None until told.
        settles: Margin assets of symbols, as the stream told them.
        leverages: Per symbol; flat ones have one too.
        rows: The newest state of each open leg.
        pushed: The newest push of each leg, closing ones included.
        coins, pools: The newest balances by asset.
        causes: Why orders exist that the venue itself made, by (symbol, order id).
    """

    def __init__(self) -> None:
        self.multi: bool | None = None
        self.multi_at: int | None = None  # when a round last asked it, by the clock of signatures
        self.hedge: bool | None = None
        self.settles: dict[str, str] = {}
        self.leverages: dict[str, str] = {}
        self.rows: dict[str, PositionState] = {}
        self.pushed: dict[str, Pushed] = {}
        self.margins: dict[tuple[str, str], Margins] = {}
        self.coins: dict[str, CoinBalance] = {}
        self.pools: dict[str, PoolState] = {}
        self.causes: dict[tuple[str, str], tuple[Cause, str]] = {}

    def learn_margins(self, answer: Account) -> None:
        """Note the margins of every open leg."""
        self.margins = {
            (row.symbol, row.position_side): Margins(row.position_amt, row.position_initial_margin, row.maint_margin)
            for row in answer.positions
            if row.position_amt and Decimal(row.position_amt)
        }

    def learn_cause(self, symbol: str, order_id: str, cause: tuple[Cause, str]) -> None:
        """Note why an order exists, unless it is an ordinary one."""
        if cause[0] == "trade":
            return
        self.causes[symbol, order_id] = cause
        if len(self.causes) > tables.MOST_KEPT:
            del self.causes[next(iter(self.causes))]

    def push(self, state: PositionState, at: int) -> PositionState | None:
        """Take a pushed leg; return it with what is known of it besides, None where something newer is known.

        Leverage is the symbol's. A liquidation price and margins are of one size, entry and collateral: where one of them
        changed they are not known until asked.
        """
        before = self.pushed.get(state.id)
        if before is not None and state.fence < before.state.fence:
            return None
        held = self.rows.get(state.id)
        if state.side is None:
            self.rows.pop(state.id, None)
        else:
            state = self._completed(state, held)
            self.rows[state.id] = state
        self.pushed.pop(state.id, None)
        self.pushed[state.id] = Pushed(state, at)
        if len(self.pushed) > tables.MOST_KEPT:
            del self.pushed[next(iter(self.pushed))]
        return state

    def _completed(self, state: PositionState, held: PositionState | None) -> PositionState:
        state = msgspec.structs.replace(state, leverage=self.leverages.get(state.symbol))
        if held is None or _essence(held) != _essence(state):
            return state
        return msgspec.structs.replace(
            state,
            venue_liquidation_price=held.venue_liquidation_price,
            liquidation_known=held.liquidation_known,
            venue_initial_margin=held.venue_initial_margin,
            venue_maintenance_margin=held.venue_maintenance_margin,
        )

    def answer(self, state: PositionState, row: PositionRow, asked_at: int) -> PositionState:
        """Take a leg of an answer; return what holds: the answer, or a push that it lags behind.

        The venue warns of the lag. Only for a short time after a push, only where the row itself is dated before it, and only
        where both differ, is the push taken for the newer: whatever is asked later is right.
        """
        if row.leverage and Decimal(row.leverage):
            self.leverages[row.symbol] = row.leverage
        pushed = self.pushed.get(state.id)
        dated = millis(row.update_time)
        if pushed and dated and dated < pushed.state.fence[0] and asked_at - pushed.at < tables.LAG_MS:
            same = (pushed.state.side, Decimal(pushed.state.size)) == (state.side, Decimal(state.size))
            if not same:
                return pushed.state
        if state.side is None:
            self.rows.pop(state.id, None)
            return state
        margins = self.margins.get((row.symbol, row.position_side))
        if margins and Decimal(margins.amount) == Decimal(row.position_amt):
            state = msgspec.structs.replace(
                state, venue_initial_margin=margins.initial, venue_maintenance_margin=margins.maintenance
            )
        self.rows[state.id] = state
        return state


def _essence(state: PositionState) -> tuple[object, ...]:
    """Return what a liquidation price belongs to."""
    figures = (state.size, state.entry_price, state.isolated_cash)
    return (state.side, state.margin_mode, *(figure and Decimal(figure) for figure in figures))
