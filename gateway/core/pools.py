"""Pools of margin: who is in which, and the balance each starts from.

Owns membership and the mark-independent cash of every pool in the book. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from exchanges.events import BalanceState, PoolState
from gateway.core.accounts import Account, Pool
from gateway.core.anchor import paid_apart
from gateway.core.positions import Book
from gateway.core.rows import settle_of
from gateway.core.state import Position


class Pools:
    """All pools of all accounts. Methods that change who shares a pool return the positions that it concerns.

    Attributes:
        dirty: Pools whose cash has to be settled before the next recompute, by number.
    """

    def __init__(self, book: Book, positions: Mapping[str, Position]) -> None:
        self.dirty: dict[int, Pool] = {}
        self._book, self._positions = book, positions
        self._owners: dict[int, Account] = {}

    def owner(self, number: int) -> Account | None:
        """Return whose pool this is."""
        return self._owners.get(number)

    def get(self, account: Account, name: str) -> Pool:
        """Return an account's pool, made when missing."""
        pool = account.pools.get(name)
        if pool is None:
            pool = account.pools[name] = Pool(name, self._book.add_pool())
            self._owners[pool.number] = account
        return pool

    def join(self, pool: Pool, row_id: str) -> set[str]:
        """Add a position; whether one is alone in its pool decides which formula applies."""
        pool.members.add(row_id)
        self.dirty[pool.number] = pool
        return set(pool.members) if len(pool.members) <= 2 else set()

    def leave(self, account: Account, pool: Pool, row_id: str) -> set[str]:
        """Remove a position, and the pool with its last one."""
        pool.members.discard(row_id)
        self.dirty[pool.number] = pool
        left_alone = set(pool.members) if len(pool.members) == 1 else set()
        self._drop_if_empty(account, pool)
        return left_alone

    def report(self, account: Account, balance: BalanceState, seq: int) -> set[str]:
        """Take the pools of a balance report; a full one ends the pools of its scope that it does not name."""
        concerned: set[str] = set()
        for state in balance.pools:
            concerned |= self._take(account, balance, state, seq)
        named = {state.pool for state in balance.pools}
        for pool in list(account.pools.values()) if balance.full else ():
            if pool.scope == balance.scope and pool.name not in named:
                pool.state = pool.scope = None
                self.dirty[pool.number] = pool
                self._drop_if_empty(account, pool)
        return concerned

    def _take(self, account: Account, balance: BalanceState, state: PoolState, seq: int) -> set[str]:
        pool = self.get(account, state.pool)
        pool.state, pool.scope, pool.ccy = state, balance.scope, state.ccy
        pool.message = (balance.scope, seq)
        self.dirty[pool.number] = pool
        known, before = state.cash is not None, pool.cash_known
        pool.cash_known = known
        return set(pool.members) if known != before else set()

    def _drop_if_empty(self, account: Account, pool: Pool) -> None:
        if not pool.members and pool.state is None:
            del account.pools[pool.name], self._owners[pool.number]
            self.dirty.pop(pool.number, None)
            self._book.remove_pool(pool.number)

    def settle(self) -> None:
        """Set the mark-independent balance of every pool that changed; its rows' inputs are in the book already."""
        while self.dirty:
            self._settle(self.dirty.popitem()[1])

    def _settle(self, pool: Pool) -> None:
        """Set one pool's cash (pool currency).

        An isolated pool's cash is its position's. A cross pool's is the venue's balance; where the venue states none, it is
        what makes the present marks reproduce the venue's equity. Where equity and positions come from one message, what
        that message's equity holds beyond its rows is kept as a constant, and the same for maintenance.
        """
        cash, extra_mm = self._book.cash, self._book.extra_mm
        number, state = pool.number, pool.state
        cash[number], extra_mm[number] = math.nan, 0.0
        members = [self._positions[row_id] for row_id in sorted(pool.members)]
        if pool.isolated:
            stated = members[0].state.isolated_cash if members else None
            cash[number] = float(stated) if stated is not None else math.nan
            return
        if state is None or (state.cash is None and state.venue_equity is None):
            return
        at_anchor = state.cash is not None
        parts = [self._part(member, pool, at_anchor=at_anchor) for member in members]
        equity, maintenance = sum(part[0] for part in parts), sum(part[1] for part in parts)
        if state.cash is None:
            cash[number] = float(state.venue_equity or "nan") - equity
            return
        cash[number] = float(state.cash) + self._drift(pool, float(state.cash)) + self._options(members, state, parts)
        if state.venue_equity is None or any(member.message != pool.message for member in members):
            return
        gap = float(state.venue_equity) - float(state.cash) - equity
        cash[number] += _constant(gap, abs(float(state.cash)) + abs(equity))
        if state.venue_maintenance_margin is not None:
            extra_mm[number] = _constant(float(state.venue_maintenance_margin) - maintenance, maintenance)

    @staticmethod
    def _options(members: Sequence[Position], state: PoolState, parts: Sequence[tuple[float, float]]) -> float:
        """Return what options add to a pool beyond their rows' PnL, or take that PnL out where the venue leaves them out."""
        found = 0.0
        for member, (pnl, _) in zip(members, parts, strict=True):
            if member.state.kind == "option":
                settle = settle_of(member)
                weight = member.account.usd(settle) if state.ccy == "USD" and settle != "USD" else 1.0
                found += weight * paid_apart(member.state, member.instrument) if state.options_count else -pnl
        return found

    def _part(self, member: Position, pool: Pool, *, at_anchor: bool) -> tuple[float, float]:
        """Return what a position adds; at its anchor with the currency's price of that same message, else with the present."""
        settle = settle_of(member)
        stated = (
            member.account.stated_usd(settle)
            if at_anchor and pool.ccy == "USD" and settle not in (None, "USD")
            else None
        )
        return self._book.contribution(member.handle, stated, at_anchor=at_anchor)

    def _drift(self, pool: Pool, cash: float) -> float:
        """Return what a balance in dollars gained since its report because its coins' prices moved.

        0 where the coins that the report names do not make up the balance: then its composition is not known.
        """
        account = self._owners.get(pool.number)
        if pool.ccy != "USD" or account is None or pool.scope is None:
            return 0.0
        coins = [coin for coin in account.coins.get(pool.scope, {}).values() if coin.collateral is not False]
        if not coins or any(coin.cash is None or coin.usd_price is None for coin in coins):
            return 0.0
        plain = [(coin, float(coin.cash or 0), float(coin.usd_price or 0)) for coin in coins]
        cut = [(coin, amount * float(coin.discount or 1), price) for coin, amount, price in plain]
        for parts in (plain, cut):
            if abs(sum(amount * price for _, amount, price in parts) - cash) <= 1e-4 * abs(cash) + 0.01:
                return sum(amount * (account.usd(coin.ccy) - price) for coin, amount, price in parts if amount)
        return 0.0


def _constant(gap: float, scale: float) -> float:
    """Return what a venue's total holds beyond its rows; 0 where the gap is no more than rounding."""
    return gap if abs(gap) > 1e-5 + 1e-9 * abs(scale) else 0.0
