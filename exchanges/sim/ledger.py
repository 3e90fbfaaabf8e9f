"""What a fill does to an account: size, average entry, isolated margin, fees, realised profit; and what a liquidation takes.

Owns trade ids and position ids. Writes accounts, and notes every change; decides nothing.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from decimal import ROUND_HALF_EVEN, Decimal

from exchanges.sim import revalue
from exchanges.sim.catalog import TAKER_FEE, Contract, VenueName
from exchanges.sim.changes import BalanceChanged, Cause, PositionChanged, Trade, WorldEvent
from exchanges.sim.revalue import Key, Pool, Position
from exchanges.sim.roster import Opening
from exchanges.sim.state import Account, State

_ENTRY_STEP = Decimal("0.00000001")
_CASH_STEP = Decimal("0.000000000001")


class Ledger:
    """The books of all accounts.

    Args:
        state: Whose accounts are written, and at whose marks everything is filled.
        whim: Where the first trade id of a symbol comes from.
        note: Takes every change, in order.
    """

    def __init__(self, state: State, whim: random.Random, note: Callable[[WorldEvent], None]) -> None:
        self._state = state
        self._whim = whim
        self._note = note
        self._trade_ids: dict[tuple[VenueName, str], int] = {}
        self._ids: dict[tuple[str, Key], int] = {}

    def _fill(self, account: Account, contract: Contract, buy: bool, size: Decimal, pnl: Decimal) -> Trade:
        key = (contract.venue, contract.symbol)
        self._trade_ids[key] = self._trade_ids.get(key, self._whim.randrange(10**5, 10**6)) + 1
        price = self._state.mark(*key)
        fee = -to_cash(revalue.notional(contract, size, price) * TAKER_FEE[account.venue])
        return Trade(self._trade_ids[key], buy, size, price, fee, pnl)

    def increase(self, account: Account, key: Key, plan: Opening, size: Decimal, at: int) -> None:
        """Buy or sell ``size`` more at the mark, opening the position where there is none."""
        contract = self._state.contracts[account.venue, key.symbol]
        before = account.positions.get(key)
        trade = self._fill(account, contract, plan.side == "long", size, Decimal(0))
        held = before or self._blank(account, key, plan, at)
        total = held.size + size
        added = revalue.notional(contract, size, trade.price) / held.leverage
        after = replace(
            held,
            size=total,
            entry_price=_average(contract, held, size, trade.price),
            margin=None if held.margin is None else to_cash(held.margin + added),
            fees=held.fees + trade.fee,
            updated_at=at,
            trade_id=trade.id,
        )
        account.positions[key] = after
        account.liquidated.pop(key, None)
        self._note(PositionChanged(at, after, "trade" if before else "opened", trade, held.size))
        self._book(account, contract.purse, trade.fee, at, "trade" if before else "opened")

    def reduce(self, account: Account, held: Position, size: Decimal, at: int) -> None:
        """Close ``size`` of a position at the mark; all of it closes the position."""
        contract = self._state.contracts[account.venue, held.symbol]
        part = replace(held, size=size)
        pnl = to_cash(revalue.unrealized_pnl(contract, part, self._state.mark(held.venue, held.symbol)))
        trade = self._fill(account, contract, held.side == "short", size, pnl)
        left = held.size - size
        after = replace(
            held,
            size=left,
            margin=None if held.margin is None else to_cash(held.margin * left / held.size),
            realized=held.realized + pnl,
            fees=held.fees + trade.fee,
            updated_at=at,
            trade_id=trade.id,
        )
        self._put(account, after)
        self._note(PositionChanged(at, after, "trade" if left else "closed", trade, held.size))
        self._book(account, contract.purse, pnl + trade.fee, at, "trade" if left else "closed")

    def _blank(self, account: Account, key: Key, plan: Opening, at: int) -> Position:
        number = self._ids.setdefault((account.name, key), 10**17 * 3 + len(self._ids) * 7_919 + 1)
        margin = Decimal(0) if key.mode == "isolated" else None
        return Position(
            id=number, account=account.name, venue=account.venue, symbol=key.symbol, leg=key.leg, mode=key.mode,
            side=plan.side, size=Decimal(0), entry_price=Decimal(0), leverage=plan.leverage, margin=margin,
            opened_at=at, updated_at=at, trade_id=0,
        )  # fmt: skip

    def _put(self, account: Account, position: Position) -> None:
        if position.size:
            account.positions[position.key] = position
        else:
            account.positions.pop(position.key, None)

    def _book(self, account: Account, purse: str, amount: Decimal, at: int, cause: Cause) -> None:
        account.cash[purse] = to_cash(account.cash[purse] + amount)
        account.cash_at[purse] = at
        self._note(BalanceChanged(at, account.name, purse, account.cash[purse], cause))

    def liquidate(self, account: Account, pool: Pool, at: int) -> None:
        """Take a pool's positions over at the mark; its maintenance is lost too, but never more than the pool has."""
        for held in pool.positions:
            contract = self._state.contracts[held.venue, held.symbol]
            pnl = to_cash(self._state.unrealized_pnl(held))
            penalty = to_cash(self._state.maintenance(held) + self._state.closing_fee(held))
            after = replace(
                held, size=Decimal(0), margin=None if held.margin is None else Decimal(0), updated_at=at,
                realized=held.realized + pnl, fees=held.fees - penalty, liquidated=True,
            )  # fmt: skip
            floor = -held.margin if held.margin is not None else -self._state.cross_cash(account, contract.purse)
            self._put(account, after)
            account.liquidated[held.key] = after
            self._note(PositionChanged(at, after, "liquidated", None, held.size))
            self._book(account, contract.purse, max(pnl - penalty, min(floor, Decimal(0))), at, "liquidated")


def to_cash(value: Decimal) -> Decimal:
    """Round an amount of money to what the books keep."""
    return value.quantize(_CASH_STEP, ROUND_HALF_EVEN)


def _average(contract: Contract, held: Position, size: Decimal, price: Decimal) -> Decimal:
    """Return the average entry after adding; inverse contracts average by coin value (harmonic)."""
    if not held.size:
        return price
    total = held.size + size
    if contract.inverse:
        mean = total / (held.size / held.entry_price + size / price)
    else:
        mean = (held.entry_price * held.size + price * size) / total
    return mean.quantize(_ENTRY_STEP, ROUND_HALF_EVEN)
