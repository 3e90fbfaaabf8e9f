"""What changes positions and money without a fill: funding, margin, transfers, splits, expiry of options, switches of mode.

Writes accounts through the ledger and notes every change; decides nothing.
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from decimal import Decimal

from exchanges.sim import revalue
from exchanges.sim.catalog import Mode
from exchanges.sim.changes import BalanceChanged, Cause, FundingPaid, PositionChanged, TransferKind, Transferred
from exchanges.sim.ledger import Ledger, to_cash, to_entry
from exchanges.sim.revalue import Position
from exchanges.sim.state import Account, State

_FIRST_ID = 500_000_001
# Where funding of an isolated position is paid from its margin, not from what the account has free.
_MARGIN_PAYS = ("hyperliquid", "aster")


class Bookings:
    """Changes without a fill, over the same books as the ledger's."""

    def __init__(self, state: State, ledger: Ledger) -> None:
        self._state = state
        self._ledger = ledger
        self._ids = itertools.count(_FIRST_ID)

    def funding(self, account: Account, held: Position, rate: Decimal, at: int) -> None:
        """Let a position pay (or receive) funding on its value: at the index on Hyperliquid, at the mark elsewhere."""
        contract = self._state.contracts[held.venue, held.symbol]
        oracle = held.venue == "hyperliquid"
        price = self._state.index(held.venue, held.symbol) if oracle else self._state.mark(held.venue, held.symbol)
        amount = to_cash(account.venue, -held.sign * revalue.notional(contract, held.size, price) * rate)
        after = replace(held, funding=held.funding + amount, updated_at=at)
        if held.margin is not None and held.venue in _MARGIN_PAYS:
            after = replace(after, margin=held.margin + amount)
        self._ledger.put(account, after)
        self._ledger.note(FundingPaid(next(self._ids), at, account.name, after, rate, amount))
        self._ledger.note(PositionChanged(at, after, "funding", None, held.size, held))
        self._ledger.book(account, contract.purse, amount, at, "funding")

    def margin(self, account: Account, held: Position, amount: Decimal, at: int) -> None:
        """Add margin to an isolated position (negative: take some away); the account's cash stays, what it has free changes."""
        assert held.margin is not None
        contract = self._state.contracts[held.venue, held.symbol]
        after = replace(held, margin=to_cash(account.venue, held.margin + amount), updated_at=at)
        self.restate(account, held, after, "margin", at)
        self._ledger.note(BalanceChanged(at, account.name, contract.purse, account.cash[contract.purse], "margin"))

    def transfer(self, account: Account, purse: str, kind: TransferKind, amount: Decimal, at: int) -> None:
        """Let money come or go."""
        self._ledger.note(Transferred(next(self._ids), at, account.name, purse, kind, amount))
        self._ledger.book(account, purse, amount, at, "transfer")

    def split(self, account: Account, held: Position, factor: Decimal, at: int) -> None:
        """Multiply a position's size and divide its entry: its value stays."""
        contract = self._state.contracts[held.venue, held.symbol]
        first = held.first_entry and to_entry(contract, held.first_entry / factor)
        after = replace(
            held,
            size=held.size * factor,
            entry_price=to_entry(contract, held.entry_price / factor),
            first_entry=first,
        )
        self.restate(account, held, replace(after, updated_at=at), "split", at)

    def settle(self, account: Account, held: Position, at: int) -> None:
        """Move a position's profit into the balance: from now on it is counted from the mark."""
        contract = self._state.contracts[held.venue, held.symbol]
        profit = to_cash(account.venue, self._state.unrealized_pnl(held))
        after = replace(
            held, entry_price=self._state.mark(held.venue, held.symbol), first_entry=held.first_entry or held.entry_price,
            settled=held.settled + profit, realized=held.realized + profit, updated_at=at,
        )  # fmt: skip
        self.restate(account, held, after, "settled", at)
        self._ledger.book(account, contract.purse, profit, at, "settled")

    def expire(self, account: Account, held: Position, at: int) -> None:
        """Let an option end: it is gone, and only where it was worth something is there money."""
        contract = self._state.contracts[held.venue, held.symbol]
        assert contract.strike is not None
        price = self._state.index(held.venue, held.symbol)
        each = max(Decimal(0), price - contract.strike if contract.call else contract.strike - price)
        payoff = to_cash(
            account.venue,
            held.size * contract.contract_size * (each / price if contract.settle == contract.base else each),
        )
        self.restate(account, held, replace(held, size=Decimal(0), updated_at=at), "expired", at)
        if payoff:
            self._ledger.book(account, contract.purse, payoff, at, "expired")

    def remode(self, account: Account, held: Position, mode: Mode, at: int) -> None:
        """Let a position go on in another margin mode under the account's present numbers, without a fill."""
        contract = self._state.contracts[held.venue, held.symbol]
        margin = held.margin
        if mode != held.mode:
            needed = to_cash(account.venue, revalue.initial_margin(contract, held, held.entry_price))
            margin = None if mode == "cross" else needed
        after = replace(held, mode=mode, margin=margin, updated_at=at)
        after = replace(after, id=self._ledger.position_id(account, after.key))
        account.positions.pop(held.key)
        self.restate(account, held, after, "mode", at)
        self._ledger.note(BalanceChanged(at, account.name, contract.purse, account.cash[contract.purse], "mode"))

    def restate(self, account: Account, before: Position | None, after: Position, cause: Cause, at: int) -> None:
        """Let a position stand as ``after``, with no other record than that it changed."""
        self._ledger.put(account, after)
        self._ledger.note(PositionChanged(at, after, cause, None, before.size if before else Decimal(0), before))
        if not after.size and cause != "silent":
            self._ledger.cancel_reducing(account, after.key, at)
