"""One look at everything: what a turn's rules read, worked out once a turn and only where a rule asks for it. Pure."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from functools import cached_property

import numpy as np

from gateway.core.accounts import Account, Span
from gateway.core.alerts.money import Days, Purses
from gateway.core.alerts.moves import Moves
from gateway.core.alerts.sources import (
    FILL_PENDING,
    MARK_FEED,
    RESTORED,
    Rows,
    Scene,
    Worth,
    account_code,
    code_of,
    margin_ratios,
)
from gateway.core.arrays import Codes, Flags, Floats
from gateway.core.books import Books
from gateway.core.feeds import Feeds
from gateway.core.holdings import Holdings
from gateway.core.margin.solver import sums
from gateway.core.market import Market
from gateway.core.portfolio import Portfolio
from gateway.core.positions import Book
from gateway.core.register import Register
from gateway.core.rows import settle_of
from gateway.core.slow import Now
from gateway.core.state import Position, Symbol
from gateway.core.summary import purse_equity


class Surroundings:
    """What looks are taken at; made once.

    Args:
        dust_usd: Positions worth less are dust.

    Attributes:
        moves: Money that moved though nobody has said why yet.
        storage: Trouble with what is stored, in the unit of the kind ``storage``, and in words.
        unexplained: Of accounts that were verified: lines that nothing explains, and words.
        restored_at: When alerts of an earlier life were taken over; None: there were none.
    """

    def __init__(
        self,
        scene: Scene,
        book: Book,
        holdings: Holdings,
        market: Market,
        feeds: Feeds,
        portfolio: Portfolio,
        days: Days,
        books: Books,
        dust_usd: float,
    ) -> None:
        self.scene, self.book, self.holdings, self.market = scene, book, holdings, market
        self.feeds, self.portfolio, self.days, self.dust_usd = feeds, portfolio, days, dust_usd
        self.moves = Moves(portfolio.register, books)
        self.storage: tuple[float, str] = (0.0, "")
        self.unexplained: dict[str, tuple[float, str]] = {}
        self.restored_at: int | None = None


class Look:
    """Everything as it is at the end of one turn.

    Args:
        written: Table slots of positions that were reported anew.
        concerned: Accounts that the turn's events were of.
        moved: Figures of positions may have moved. ``structure``: another number wherever positions came or went.
    """

    def __init__(
        self,
        of: Surroundings,
        now: int,
        *,
        written: Collection[int] = (),
        concerned: Collection[str] = (),
        moved: bool = True,
        structure: int,
    ) -> None:
        self._of, self.now = of, now
        self.written, self.concerned, self.moved, self.structure = written, concerned, moved, structure

    @property
    def scene(self) -> Scene:
        """Where the seldom kinds look."""
        return self._of.scene

    @property
    def slots(self) -> Mapping[int, Position]:
        """Positions by table slot."""
        return self._of.holdings.slots

    @property
    def symbols(self) -> Iterable[Symbol]:
        """All symbols that were ever held."""
        return self._of.market.symbols.values()

    @property
    def storage(self) -> tuple[float, str]:
        """Trouble with what is stored, and its words."""
        return self._of.storage

    def unexplained(self, account: str) -> tuple[float, str] | None:
        """Return how many lines of an account's verifications nothing explains, and words; None: nobody has said yet."""
        return self._of.unexplained.get(account)

    def owner(self, pool: int) -> Account | None:
        """Return whose pool a number is."""
        return self._of.holdings.pools.owner(pool)

    def down_since(self, symbol: Symbol) -> int | None:
        """Return since when a symbol's marks are not live."""
        return self._of.feeds.marks_down_since(symbol)

    def connection_down_since(self, symbol: Symbol) -> int | None:
        """Return since when a price connection of a symbol's venue is not live."""
        return self._of.feeds.connection_down_since(symbol)

    def heard(self, symbol: Symbol) -> bool:
        """Say whether a mark of a symbol came since the start: what was stored is none."""
        restored_at = self._of.restored_at
        return symbol.received_at is not None and (restored_at is None or symbol.received_at > restored_at)

    def code_of(self, position: Position) -> int:
        """Return why a position's figures are not live, as a place in ``REASONS``."""
        return code_of(position, self.down_since(position.symbol))

    def code_of_all(self, account: Account, members: Iterable[Position]) -> int:
        """Return the gravest reason of an account and of these positions."""
        return max(map(self.code_of, members), default=account_code(account))

    def is_dust(self, position: Position) -> bool:
        """Say whether a position is worth next to nothing; one of unknown worth is not."""
        usd = self._of.book.notional(position.handle) * position.account.usd(settle_of(position))
        return usd < self._of.dust_usd

    @cached_property
    def held(self) -> Codes:
        """Why positions' figures are not live, places in ``REASONS``: ``code_of`` for all at once. (n,)"""
        now, slots = self._now, self._of.portfolio.register.slots
        marks = np.zeros(len(self._of.book.symbols.x), dtype=np.int8)
        for symbol in self.symbols:
            marks[symbol.number] = 0 if self.down_since(symbol) is None else MARK_FEED
        own = np.zeros(slots.ints.shape[1], dtype=np.int8)
        for position in self.slots.values():  # hardly ever: no column holds these
            if position.pending_fill is not None or position.restored_at is not None:
                own[position.slot] = FILL_PENDING if position.restored_at is None else RESTORED
        of_accounts = self._account_codes[slots.ints[Register.ACCOUNT, now.slot]]
        found: Codes = np.maximum(np.maximum(marks[now.symbol], own[now.slot]), of_accounts)
        return found

    @cached_property
    def _account_codes(self) -> Codes:
        """The same of accounts alone, by their number."""
        return np.array([account_code(account) for account in self._of.portfolio.register.accounts], dtype=np.int8)

    @cached_property
    def held_by_account(self) -> Codes:
        """The gravest reason of accounts and their positions, in the order of ``worth``."""
        found = self._account_codes.copy()
        np.maximum.at(found, self._of.portfolio.register.slots.ints[Register.ACCOUNT, self._now.slot], self.held)
        return found

    @cached_property
    def held_by_pool(self) -> Codes:
        """The gravest reason of the positions of every pool, by number."""
        found = np.zeros(len(self._of.book.equity), dtype=np.int8)
        np.maximum.at(found, self._now.pool, self.held)
        return found

    @cached_property
    def dust(self) -> Flags:
        """Whether positions are worth next to nothing: ``is_dust`` for all at once. (n,)"""
        found: Flags = self._now.notional * self._usd() < self._of.dust_usd
        return found

    @cached_property
    def dust_by_pool(self) -> Flags:
        """Whether all positions of a pool are dust, by number."""
        some = np.zeros(len(self._of.book.equity), dtype=np.bool_)
        some[self._now.pool[~self.dust]] = True
        return ~some

    @cached_property
    def ratios(self) -> Floats:
        """Margin ratios by pool number, 1 = liquidation."""
        book = self._of.book
        ours = margin_ratios(book.equity, book.maintenance)
        return np.where(np.isnan(ours), book.stated, ours)

    @cached_property
    def _now(self) -> Now:
        """The columns of all positions."""
        self.refresh()
        return self._of.portfolio.standing()

    def refresh(self) -> None:
        """Read accounts that changed: what is kept of them by number has to be of what is there now."""
        if self._of.holdings.fresh:
            self._of.portfolio.refresh(self.scene.accounts.values())

    @cached_property
    def rows(self) -> Rows:
        """Every position's figures."""
        return Rows(self._now.slot, self._now.distance, self)

    def _usd(self) -> Floats:
        """Return what settle currencies are worth, (n,)."""
        register = self._of.portfolio.register
        found: Floats = register.purses.floats[Register.USD, register.slots.ints[Register.PURSE, self._now.slot]]
        return found

    @cached_property
    def upnl_usd(self) -> Floats:
        """Unrealised PnL of every position, US dollars."""
        return self._now.upnl * self._usd()

    @cached_property
    def funding_usd(self) -> Floats:
        """What the next funding costs every position, US dollars, + paid."""
        return -self._of.portfolio.slow.funding[self._now.slot] * self._usd()

    @cached_property
    def funding_rate(self) -> Floats:
        """The same as a fraction of the notional."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return -self._of.portfolio.slow.funding[self._now.slot] / self._now.notional

    @property
    def shares(self) -> Floats:
        """Every position's share of its user's gross notional."""
        return self._of.portfolio.slow.shares[self._now.slot]

    @property
    def scores(self) -> Floats:
        """Every position's risk score."""
        return self._of.portfolio.slow.scores[self._now.slot]

    @cached_property
    def worth(self) -> Worth:
        """What accounts are worth; unknown while they hold anything of which nobody knows the price, unlike in their rows."""
        now, register = self._now, self._of.portfolio.register
        count = len(register.accounts)
        price, owner = register.purses.floats[Register.USD], register.purses.ints[Register.OWNER]
        equity = self._purses * price
        counts = (owner >= 0) & ~(np.isnan(price) & (self._purses == 0.0))
        usd = np.bincount(owner[counts], weights=equity[counts], minlength=count)
        known = np.bincount(owner[counts], minlength=count) > 0
        account = register.slots.ints[Register.ACCOUNT, now.slot]
        upnl: Floats = np.zeros(count)
        upnl += np.bincount(account, weights=self.upnl_usd, minlength=count)
        return Worth([one.info.name for one in register.accounts], np.where(known, usd, np.nan), upnl)

    @cached_property
    def _purses(self) -> Floats:
        """What every purse holds, positions included, in its currency."""
        return purse_equity(self._of.portfolio.register, self._now, self._of.book.equity)

    def purses(self) -> dict[str, Purses]:
        """Return what accounts hold by currency, as far as it is known."""
        register = self._of.portfolio.register
        purse_of = register.slots.ints[Register.PURSE, self._now.slot]
        upnl = sums(purse_of, self._now.upnl, len(self._purses))
        columns = self._purses, upnl, register.purses.floats[Register.USD]
        found: dict[str, Purses] = {}
        for number, account in enumerate(register.accounts):
            mine = register.purses_of[number]
            found[account.info.name] = Purses(
                *({register.ccy(p): float(of[p]) for p in mine if not math.isnan(of[p])} for of in columns)
            )
        return found

    @cached_property
    def peaks(self) -> Floats:
        """The highest equity of the day by account, in the order of ``worth``; NaN where money moved and nobody says why."""
        return self._of.days.peaks(self.worth.names, self.now, self._of.moves.doubted)

    @property
    def left(self) -> Floats:
        """What accounts are worth as it compares with ``peaks``, in the order of ``worth``."""
        return self._of.days.left(self.worth.names, self.worth.equity, self.span, self.now)

    def span(self, account: str) -> Span:
        """Return of which moments an account's balances are."""
        return self.scene.accounts[account].as_of or Span(self.now, self.now)
