"""Pools of margin: who is in which, what backs each, and the balance it starts from.

Owns membership, the mark-independent cash of every pool in the book, and the coins that back pools in dollars as rows of their own.
Pure.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from exchanges.events import BalanceState, PoolState
from gateway.core.accounts import Account, Pool, message_of
from gateway.core.anchor import computable, paid_apart
from gateway.core.bases import fold, is_money
from gateway.core.collateral import Backing, backing
from gateway.core.margin.inputs import is_bought_option
from gateway.core.market import Market
from gateway.core.positions import Book
from gateway.core.ratios import stated
from gateway.core.rows import settle_of
from gateway.core.state import Position


class Pools:
    """All pools of all accounts. Methods that change who shares a pool return the positions that it concerns.

    Attributes:
        dirty: Pools whose cash has to be settled before the next recompute, by number.
        beyond: What a pool holds beyond its balance and rows, equity and maintenance, by number: constants of one message.
        carried: The same, by account and pool, where it comes from elsewhere and not from messages.
    """

    def __init__(self, book: Book, positions: Mapping[str, Position], market: Market, bases: Mapping[str, str]) -> None:
        self.dirty: dict[int, Pool] = {}
        self._book, self._positions, self._market, self._bases = book, positions, market, bases
        self.beyond: dict[int, tuple[float, float]] = {}
        self.carried: dict[tuple[str, str], tuple[float, float]] = {}
        self._owners: dict[int, Account] = {}
        self._backing: dict[int, Backing] = {}  # of pools in dollars
        self._solvable: dict[int, bool] = {}
        self._coins: dict[int, dict[str, int]] = {}  # pool → currency → handle of its row

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

    def join(self, pool: Pool, position: Position) -> set[str]:
        """Add a position; who else is in its pool decides which formula applies."""
        pool.members.add(position.state.id)
        self.dirty[pool.number] = pool
        return self._beside(pool, position)

    def leave(self, account: Account, pool: Pool, position: Position) -> set[str]:
        """Remove a position, and the pool with its last one."""
        pool.members.discard(position.state.id)
        self.dirty[pool.number] = pool
        self._drop_if_empty(account, pool)
        return self._beside(pool, position)

    @staticmethod
    def _beside(pool: Pool, position: Position) -> set[str]:
        """Return whose formula depends on whether a position is there: one that is alone else, and the legs of its symbol."""
        return set(pool.members) if len(pool.members) <= 2 else pool.members & position.symbol.positions

    def report(self, account: Account, balance: BalanceState, seq: int, now: int) -> None:
        """Take the pools of a balance report; a full one ends the pools of its scope that it does not name."""
        for state in balance.pools:
            self._take(account, balance, state, seq, now)
        named = {state.pool for state in balance.pools}
        for pool in list(account.pools.values()):
            if pool.scope != balance.scope:
                continue
            if balance.full and pool.name not in named:
                pool.state = pool.scope = None
            self.dirty[pool.number] = pool  # its coins may have changed, though it was not named
            self._drop_if_empty(account, pool)

    def _take(self, account: Account, balance: BalanceState, state: PoolState, seq: int, now: int) -> None:
        pool = self.get(account, state.pool)
        pool.state, pool.scope, pool.ccy = state, balance.scope, state.ccy
        pool.message = message_of(balance.scope, balance.asked_at, seq)
        told = (balance.venue_at, balance.asked_at, now)
        pool.as_of = next(at for at in told if at is not None)
        self.dirty[pool.number] = pool

    def _drop_if_empty(self, account: Account, pool: Pool) -> None:
        if not pool.members and pool.state is None:
            for handle in self._coins.pop(pool.number, {}).values():
                self._book.remove(handle)
            del account.pools[pool.name], self._owners[pool.number]
            self.dirty.pop(pool.number, None)
            self._backing.pop(pool.number, None)
            self._solvable.pop(pool.number, None)
            self._book.remove_pool(pool.number)

    # --- what backs a pool -----------------------------------------------------------------------------------------

    def reprice(self, account: Account) -> None:
        """Let the present prices of currencies count in an account's pools in dollars."""
        for pool in account.pools.values():
            if pool.ccy == "USD":
                self.dirty[pool.number] = pool

    def weigh(self) -> set[str]:
        """Find out what is known of the pools that changed; return the positions whose formula or weight that changes."""
        concerned: set[str] = set()
        for pool in self.dirty.values():
            concerned |= self._weigh(self._owners[pool.number], pool)
        return concerned

    def _weigh(self, account: Account, pool: Pool) -> set[str]:
        number, state, found = pool.number, pool.state, None
        before = self._known(pool), self._backing.get(number, Backing())
        if state is not None and pool.ccy == "USD" and (state.cash is not None or state.from_coins):
            found = self._back(account, pool, state)
            self._backing[number] = found
        else:
            self._backing.pop(number, None)
        if not pool.isolated:
            known = state is not None and (state.cash is not None or (found is not None and found.known))
            pool.cash_known = known and not math.isnan(account.held_by_orders(pool))
            pool.backing_known = pool.ccy != "USD" or (found is not None and found.known)
            self._solvable[number] = self._can_be_solved(pool)
        now = self._known(pool), found or Backing()
        same = before[0] == now[0] and before[1].held == now[1].held and _fractions(before[1]) == _fractions(now[1])
        return set() if same else set(pool.members)

    def _known(self, pool: Pool) -> tuple[bool | None, ...]:
        return pool.cash_known, pool.backing_known, self._solvable.get(pool.number)

    def _back(self, account: Account, pool: Pool, state: PoolState) -> Backing:
        info, pnl = account.info, dict[str, float]()
        for member in self._members(pool) if state.pnl_discounted else ():
            settle = settle_of(member)
            if settle is not None and settle != "USD" and computable(member.state, member.instrument):
                last = float(member.state.venue_unrealized_pnl or 0)
                pnl[settle] = pnl.get(settle, 0.0) + self._book.figures(member.handle).get("upnl", last)
        return backing(
            account.coins.get(pool.scope or "", {}).values(),
            pnl if state.pnl_discounted else None,
            lambda ccy: self._market.collateral_of(info.venue, info.env, ccy),
            account.usd,
            account.then,
            float(state.cash) if state.cash is not None else None,
        )

    def balance(self, pool: Pool) -> str | None:
        """Return the balance that a pool's report states (``PoolState.cash``), at the account's prices of that moment.

        Coins that the report did not name may have been at other prices as the venue wrote it (``Backing.shift``).
        """
        stated = pool.state.cash if pool.state is not None else None
        shift = self._backing.get(pool.number, Backing()).shift
        return repr(float(stated) + shift) if stated is not None and shift else stated

    def fractions(self, pool: Pool) -> dict[str, float]:
        """Return what fraction of profit in a currency counts in a pool, by currency (``Backing``)."""
        return _fractions(self._backing.get(pool.number, Backing()))

    def coins(self, pool: Pool) -> Iterator[tuple[str, float]]:
        """Yield the coins that back a pool in dollars, where anything of them counts: (currency, what counts of it, US dollars)."""
        account, found = self._owners[pool.number], self._backing.get(pool.number, Backing())
        if found.known:
            yield from ((ccy, part.amount * account.usd(ccy)) for ccy, part in found.parts.items() if part.amount)

    def counts(self, position: Position) -> float:
        """Return the fraction of a position's profit that counts in its pool: profit in a coin is cut like the coin."""
        found = self._backing.get(position.pool.number)
        part = found.parts.get(settle_of(position) or "") if found is not None else None
        return part.counts if part is not None else 1.0

    def lone_collateral(self, position: Position) -> bool:
        """Say whether nothing but a position's settle currency backs its pool."""
        found = self._backing.get(position.pool.number)
        return found is not None and found.held <= {settle_of(position)}

    def hedged(self, position: Position) -> bool:
        """Say whether another row of its symbol shares a position's pool."""
        return any(other != position.state.id for other in position.symbol.positions & position.pool.members)

    def solvable(self, pool: Pool) -> bool:
        """Say whether all that moves a pool's equity and maintenance is known.

        Not where the coins behind a pool in dollars, or what counts of them, are not known; nor with a member whose margin no
        formula here gives: a written option, a margin or event position.
        """
        return self._solvable.get(pool.number, True)

    def _can_be_solved(self, pool: Pool) -> bool:
        return pool.backing_known and all(map(_is_modelled, self._members(pool)))

    def _members(self, pool: Pool) -> Iterator[Position]:
        return (self._positions[row_id] for row_id in sorted(pool.members))

    def _place_coins(self, pool: Pool) -> None:
        """Bring the rows of a pool's coins to what backs it now, at the present prices."""
        account, held = self._owners.get(pool.number), self._coins.setdefault(pool.number, {})
        found = self._backing.get(pool.number)
        parts = found.parts if found is not None and pool.cash_known and account is not None else {}
        wanted = {ccy: part.amount for ccy, part in parts.items() if part.amount}
        for ccy in held.keys() - wanted.keys():
            self._book.remove(held.pop(ccy))
        for ccy, amount in wanted.items():
            if ccy not in held:
                base = self._book.bases.number(fold(ccy, self._bases), fixed=is_money(ccy))
                held[ccy] = self._book.add_coin(pool.number, base)
            if account is not None:
                self._book.put_coin(held[ccy], amount, account.usd(ccy), account.index_of(ccy))

    # --- what a pool starts from -----------------------------------------------------------------------------------

    def settle(self) -> None:
        """Set the mark-independent balance of every pool that changed; its rows' inputs are in the book already."""
        for number in sorted(self.dirty):  # coins become rows in a fixed order
            self._settle(self.dirty.pop(number))

    def _settle(self, pool: Pool) -> None:
        """Set one pool's cash (pool currency).

        An isolated pool's cash is its position's. A cross pool's is the venue's balance, less what orders hold of it, or, in
        dollars, what that balance holds beside its coins; where the venue states none and the coins are not known, it is derived
        from the venue's equity (``_derive``). Where equity and positions come from one message, what that message's equity holds
        beyond its rows is kept as a constant, and the same for maintenance.
        """
        cash, extra_mm = self._book.cash, self._book.extra_mm
        number, state, before = pool.number, pool.state, float(cash[pool.number])
        cash[number], extra_mm[number] = math.nan, 0.0
        members = [self._positions[row_id] for row_id in sorted(pool.members)]
        said = stated(self._owners[number], pool, members).ratio
        self._book.stated[number] = said
        if pool.isolated:
            own = members[0].state.isolated_cash if members else None
            cash[number] = float(own) if own is not None else math.nan
            return
        self._place_coins(pool)
        if not math.isnan(said) and not (self._owners[number].computable and all(map(_is_modelled, members))):
            extra_mm[number] = math.nan  # no formula gives what the pool has to keep: the venue's own ratio counts
        if state is None or not (pool.cash_known or state.venue_equity is not None):
            return
        parts = [self._part(member, pool, at_anchor=pool.cash_known) for member in members]
        equity, maintenance = sum(part[0] for part in parts), sum(part[1] for part in parts)
        if not pool.cash_known:
            cash[number] = self._derive(pool, members, before, equity)
            return
        pool.derived = None
        found, held = self._backing.get(number), self._owners[number].held_by_orders(pool)
        start = found.beside if found is not None else float(state.cash or 0)
        cash[number] = start - held + self._options(members, state, parts)
        beyond = self.carried.get((self._owners[number].info.name, pool.name))
        if beyond is None and all(member.message == pool.message for member in members):
            beyond = _beyond(state, held, equity, maintenance)
        self.beyond[number] = beyond or (0.0, 0.0)
        cash[number] += self.beyond[number][0]
        extra_mm[number] += self.beyond[number][1]

    def _derive(self, pool: Pool, members: Sequence[Position], cash: float, adds: float) -> float:
        """Return the cash with which the present marks reproduce the venue's equity, of a pool of which nothing else is known.

        It is found once a message of the pool, and from there on marks move the equity, whatever else is repeated. What is
        opened, closed or resized before the venue states its equity again neither gains nor loses by that.

        Args:
            cash: As it was.
            adds: What the positions add at the present marks.
        """
        sizes = tuple((member.state.id, member.state.side, member.state.size) for member in members)
        before, pool.derived = pool.derived, (pool.message, sizes)
        if before == pool.derived and not math.isnan(cash):
            return cash
        fresh = math.isnan(cash) or before is None or before[0] != pool.message
        stated = self._owners[pool.number].stated_equity(pool)
        return (stated if fresh else float(self._book.equity[pool.number])) - adds

    @staticmethod
    def _options(members: Sequence[Position], state: PoolState, parts: Sequence[tuple[float, float]]) -> float:
        """Return what options add to a pool beyond their rows' PnL, or take that PnL out where the venue leaves them out."""
        found = 0.0
        for member, (pnl, _) in zip(members, parts, strict=True):
            if member.state.kind == "option":
                weight = member.account.worth_in(member.pool, settle_of(member))
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


def _is_modelled(member: Position) -> bool:
    """Say whether a formula gives what a position has to keep, in modes that have one."""
    return computable(member.state, member.instrument) or is_bought_option(member.state)


def _fractions(found: Backing) -> dict[str, float]:
    return {ccy: part.counts for ccy, part in found.parts.items()}


def _beyond(state: PoolState, held: float, equity: float, maintenance: float) -> tuple[float, float]:
    """Return what a message's equity and maintenance hold beyond the balance and the rows of that same message."""
    if state.cash is None or state.venue_equity is None:
        return 0.0, 0.0
    whole = float(state.venue_equity) + (held if state.equity_after_held else 0.0)
    gap = _constant(whole - float(state.cash) - equity, abs(float(state.cash)) + abs(equity))
    if state.venue_maintenance_margin is None:
        return gap, 0.0
    return gap, _constant(float(state.venue_maintenance_margin) - maintenance, maintenance)


def _constant(gap: float, scale: float) -> float:
    """Return what a venue's total holds beyond its rows; 0 where the gap is no more than rounding."""
    return gap if abs(gap) > 1e-5 + 1e-9 * abs(scale) else 0.0
