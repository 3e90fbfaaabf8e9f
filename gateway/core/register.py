"""Positions, accounts and currencies by number, so that what is added up once a second is a few passes over arrays.

Owns who counts where: a position in which account, currency, summary and exposure; an account's money in which purses. What
belongs to an account is read anew only where the account changed. Figures of the market stand in the columns. Pure.

A **purse** is what an account holds in one currency: balances without anything that marks move, to which its positions' unrealised
PnL is added (and the equity of pools that keep a balance of their own).
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Generic, TypeVar

import numpy as np

from gateway.core.accounts import Account
from gateway.core.anchor import computable
from gateway.core.arrays import Flags, Floats, Ints
from gateway.core.bases import base_of, fold, is_money
from gateway.core.margin.inputs import is_bought_option
from gateway.core.pools import Pools
from gateway.core.positions import Book
from gateway.core.purses import amounts, value_pools
from gateway.core.rows import settle_of, venues_word
from gateway.core.state import Position

Key = TypeVar("Key", bound=Hashable)

NOWHERE = -1


class Names(Generic[Key]):
    """Numbers of names, in the order in which they came."""

    def __init__(self) -> None:
        self.all: list[Key] = []
        self._numbers: dict[Key, int] = {}

    def __len__(self) -> int:
        return len(self.all)

    def number(self, name: Key) -> int:
        """Return a name's number, a new one where it is new."""
        found = self._numbers.get(name)
        if found is None:
            found = self._numbers[name] = len(self.all)
            self.all.append(name)
        return found

    def get(self, name: Key) -> int | None:
        """Return a name's number, None where it is new."""
        return self._numbers.get(name)


class Block:
    """Columns of one kind of thing by its number, grown as numbers come; a new thing's figures are NaN, its places ``NOWHERE``."""

    def __init__(self, floats: int, ints: int) -> None:
        self.floats: Floats = np.full((floats, 64), np.nan)
        self.ints: Ints = np.full((ints, 64), NOWHERE, dtype=np.int64)

    def reach(self, number: int) -> None:
        """Make room up to this number."""
        width = self.floats.shape[1]
        if number >= width:
            more = max(width, number + 1 - width)
            self.floats = np.pad(self.floats, ((0, 0), (0, more)), constant_values=np.nan)
            self.ints = np.pad(self.ints, ((0, 0), (0, more)), constant_values=NOWHERE)


def summary_id(account: Account) -> str:
    """Return the summary row that an account counts in: demo, testnet, paper and backtest never count as live."""
    info = account.info
    if info.execution != "live":
        return f"{info.user}:{info.execution}"
    return info.user if info.env == "live" else f"{info.user}:{info.env}"


class Register:
    """Written by ``refresh`` alone.

    Attributes:
        slots: By table slot. ints: account, purse it is settled in, summary, base, venue, symbol, 1 where nothing can liquidate
            it, 1 where the venue says so. floats: sign (+1 long), leverage as the venue says (0: nothing is borrowed), initial
            margin / notional.
        purses: By purse; 0 is nobody's, of unknown price. ints: account, what moves its price (a base of the book), 1 while the
            account holds it. floats: amount without positions, US dollars per unit, what of the amount backs a pool in dollars and
            does not count there (its haircut).
        pools: By pool. ints: account (``NOWHERE``: none any more), purse of its currency (0: US dollars, or not known), purse of a
            balance of its own (0: none).
        summaries, venues, symbols: Names behind the numbers; those of bases are the book's.
        gaps: Why what a move of the market would do to an account cannot be said, by account.
        placed: Slots of positions that are new since this was last emptied.
    """

    ACCOUNT, PURSE, SUMMARY, BASE, VENUE, SYMBOL, NEVER, SAID_NEVER = range(8)
    SIGN, LEVERAGE, INITIAL = range(3)
    OWNER, MOVED_BY, HELD = range(3)
    MONEY, BALANCE = 1, 2
    AMOUNT, USD, CUT = range(3)

    def __init__(self, book: Book, positions: Mapping[str, Position], pools: Pools, mapping: Mapping[str, str]) -> None:
        self.accounts: list[Account] = []
        self.summary_of: list[int] = []  # account → summary
        self.purses_of: list[list[int]] = []  # account → its purses, also those that hold nothing any more
        self.pools_of: list[list[int]] = []  # account → its pools
        self.summaries: Names[str] = Names()
        self.venues: Names[str] = Names()
        self.symbols: Names[str] = Names()
        self.slots, self.purses, self.pools = Block(3, 8), Block(3, 3), Block(0, 3)
        self._purses: Names[tuple[int, str]] = Names()
        self._purses.number((NOWHERE, ""))
        self.purses.floats[self.AMOUNT, 0] = 0.0
        self.gaps: dict[int, str] = {}
        self.placed: set[int] = set()
        self._pool_names: dict[int, str] = {}
        self._purses_in: dict[str, list[int]] = {}  # currency → purses
        self._numbers: dict[str, int] = {}
        self._book, self._positions, self._pools, self._mapping = book, positions, pools, mapping
        book.bases.number("", fixed=True)  # what moves the price of a purse that is not known: nothing

    def reprice(self, currencies: Iterable[str]) -> None:
        """Let the present prices of these currencies count."""
        for ccy in currencies:
            for purse in self._purses_in.get(ccy, ()):
                account = self.accounts[int(self.purses.ints[self.OWNER, purse])]
                self.purses.floats[self.USD, purse] = account.usd(ccy)

    def ccy(self, purse: int) -> str:
        """Return a purse's currency."""
        return self._purses.all[purse][1]

    def pool_name(self, pool: int) -> str:
        """Return a pool's name."""
        return self._pool_names[pool]

    def number(self, account: str) -> int | None:
        """Return an account's number, None where nothing of it was read yet."""
        return self._numbers.get(account)

    def read(self, account: Account) -> None:
        """Read an account that changed: positions, balances, pools, prices."""
        number = self._number(account)
        held = [self._positions[row_id] for row_id in sorted(account.positions)]
        values = value_pools(account, held)
        held_in, cuts = amounts(account, held, values, self._book), self._cuts(account)
        for position in held:
            self._place(position, number, settle_of(position))
        self._read_pools(account, number, values, held_in)
        gap = _gap(account, held, self._pools)
        if gap is None:
            self.gaps.pop(number, None)
        else:
            self.gaps[number] = gap
        for ccy in held_in:
            self._purse(number, ccy)
        for purse in self.purses_of[number]:
            ccy = self.ccy(purse)
            self.purses.ints[:, purse] = number, self._moved_by(ccy), ccy in held_in
            self.purses.floats[:, purse] = held_in.get(ccy, 0.0), account.usd(ccy), cuts.get(ccy, 0.0)

    def _number(self, account: Account) -> int:
        number = self._numbers.get(account.info.name)
        if number is None:
            number = self._numbers[account.info.name] = len(self.accounts)
            self.accounts.append(account)
            self.summary_of.append(self.summaries.number(summary_id(account)))
            self.purses_of.append([])
            self.pools_of.append([])
        return number

    def _place(self, position: Position, account: int, settle: str | None) -> None:
        state, slot = position.state, position.slot
        self.slots.reach(slot)
        bought = is_bought_option(state)  # paid in full
        if not position.counted:
            position.counted = True
            self.placed.add(slot)
        self.slots.ints[:, slot] = (
            account,
            self._purse(account, settle) if settle else 0,
            self.summary_of[account],
            self._book.bases.number(base_of(position.instrument, state.symbol, self._mapping)),
            self.venues.number(position.account.info.venue),
            self.symbols.number(state.symbol),
            bought,
            venues_word(position) == "none",
        )
        leverage = float(state.leverage) if state.leverage else math.nan
        self.slots.floats[:, slot] = (
            -1.0 if state.side == "short" else 1.0,
            0.0 if bought else leverage,
            0.0 if bought else 1.0 / leverage if leverage > 0 else math.nan,
        )

    def _read_pools(self, account: Account, number: int, values: set[int], held_in: dict[str, float]) -> None:
        for pool in self.pools_of[number]:
            if self.pools.ints[self.OWNER, pool] == number:
                self.pools.ints[self.OWNER, pool] = NOWHERE
        self.pools_of[number] = [pool.number for pool in account.pools.values()]
        for one in account.pools.values():
            self.pools.reach(one.number)
            money = 0 if one.ccy in (None, "USD") else self._purse(number, one.ccy or "")
            purse = 0
            if one.number in values and one.ccy is not None:
                held_in.setdefault(one.ccy, 0.0)
                purse = self._purse(number, one.ccy)
            self.pools.ints[:, one.number] = number, money, purse
            self._pool_names[one.number] = one.name

    def _cuts(self, account: Account) -> dict[str, float]:
        """Return what haircuts leave out of the coins that back an account's pool in dollars, by currency."""
        found: dict[str, float] = {}
        for pool in account.pools.values():
            held = account.coins.get(pool.scope or "", {})
            for ccy, dollars in self._pools.coins(pool):
                if dollars and ccy in held:
                    found[ccy] = float(held[ccy].cash or 0) - dollars / account.usd(ccy)
        return found

    def _purse(self, account: int, ccy: str) -> int:
        known = len(self._purses)
        purse = self._purses.number((account, ccy))
        if purse == known:
            self.purses.reach(purse)
            self.purses_of[account].append(purse)
            self._purses_in.setdefault(ccy, []).append(purse)
        return purse

    def _moved_by(self, ccy: str) -> int:
        name = fold(ccy, self._mapping)
        return self._book.bases.number(name, fixed=not ccy or is_money(name))


def differs(a: Floats, b: Floats) -> Flags:
    """Return where two arrays of one shape differ; NaN equals NaN."""
    same: Flags = (a == b) | (np.isnan(a) & np.isnan(b))
    return ~same


def _gap(account: Account, held: Sequence[Position], pools: Pools) -> str | None:
    """Return why an account cannot be revalued at other prices; None: nothing that is known beforehand keeps it from that."""
    if held and not account.computable:
        return f"its mode ({account.mode.mode if account.mode else 'unknown'}) cannot be computed"
    apart = [position.state.id for position in held if not computable(position.state, position.instrument)]
    if apart:
        return f"no formula revalues {', '.join(apart)}"
    used = {position.pool.name: position.pool for position in held}
    vague = [name for name, pool in sorted(used.items()) if not (pool.cash_known and pools.solvable(pool))]
    return f"what backs its pool {', '.join(vague)} is not known" if vague else None
