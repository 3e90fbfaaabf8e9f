"""What a move of the market would do to every account: equity, margin ratio, who is liquidated, and in which order. Pure.

Owns the moves (every underlying by one shock, each by its beta) and the revaluation of whole accounts, with the same models and
tiers as the live figures. Positions and coins that back pools are revalued in the book; what backs nothing moves with its price.

What is said of a shock:

- **liquidated**: a pool of the account met equity = maintenance on the way from the present prices to the shocked ones. Its equity
  then counts nothing: it cannot lose more than it holds, and nothing of it is left to gain with. Nor does what haircuts leave out
  of the coins behind it.
- **equity** of an account is what is left with that; **margin ratio** its worst pool's, 1 where one is liquidated.
- **not covered**: an account of which that cannot be said, with the reason. It is in none of the other figures.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, NamedTuple

import msgspec
import numpy as np

from gateway.core.arrays import Flags, Floats, Ints
from gateway.core.columns import Bases, Shocked
from gateway.core.margin.solver import sums
from gateway.core.positions import LEAST, Book
from gateway.core.register import Register

NEVER = np.inf
_ROOT_STEPS = 24  # of a bracketed root that is a line but for a few edges: two or three are the rule
_CLOSE = 1e-10

Step = Annotated[float, msgspec.Meta(gt=-100, le=1_000)]
Beta = Annotated[float, msgspec.Meta(ge=-100, le=100)]


class StressSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The ladder that every summary shows.

    Attributes:
        steps: Moves in percent of the present prices.
        bases: The underlyings that move; None: all.
        betas: How much of the move each underlying makes; 1 unless said otherwise.
    """

    steps: tuple[Step, ...] = (-50, -40, -30, -20, -10, -5, 5, 10, 20, 30, 40, 50)
    bases: tuple[str, ...] | None = None
    betas: dict[str, Beta] = {}


def moves(bases: Bases, only: Iterable[str] | None = None, betas: Mapping[str, float] | None = None) -> Floats:
    """Return how much of a common move every underlying makes, (n_bases,): 1 or its beta, 0 for money and those left out."""
    found = np.where(bases.fixed, 0.0, 1.0)
    names = {name: number for number in range(len(bases)) for name in (bases.name(number),)}
    if only is not None:
        chosen = np.zeros(len(bases), dtype=np.bool_)
        chosen[[names[name] for name in only if name in names]] = True
        found[~chosen] = 0.0
    for name, beta in (betas or {}).items():
        if name in names and found[names[name]] != 0.0:
            found[names[name]] = beta
    return found


def factors(move: Floats) -> Floats:
    """Return what prices are multiplied by for moves (signed fractions), (n_bases,)."""
    return np.maximum(1.0 + move, LEAST)


class Outcome(NamedTuple):
    """All accounts at shocked prices.

    Attributes:
        equity: (n_accounts,) US dollars; currencies without a price are left out, as in the totals.
        ratio: (n_accounts,) of the worst pool, at most 1; NaN: no pool keeps positions.
        spent: (n_pools,) pools that are liquidated, or were on the way here.
        lack: (n_pools,) maintenance - equity.
    """

    equity: Floats
    ratio: Floats
    spent: Flags
    lack: Floats


class Ground:
    """A book and whose it is, as of now: where every move starts from.

    Attributes:
        reasons: Why an account is not covered, by its number.
    """

    def __init__(self, book: Book, register: Register, purses: Floats) -> None:
        """Take the present state.

        Args:
            purses: (n_purses,) what every purse holds now, positions included (``gateway.core.summary.purse_equity``).
        """
        self.book, self.register, self._purses = book, register, purses
        rows = book.rows()
        held = rows.slot >= 0
        self._rows: Ints = np.flatnonzero(held)
        count = len(book.cash)
        self.keeps: Flags = np.bincount(rows.pool[held], minlength=count) > 0  # pools that keep positions
        register.pools.reach(count - 1)
        balance = register.pools.ints[Register.BALANCE, rows.pool[held]]
        self._purse_of = np.where(balance > 0, balance, register.slots.ints[Register.PURSE, rows.slot[held]])
        self._cut = 1.0 - book.live.counts[held]  # by position: what of its profit a haircut takes
        cut = register.purses.floats[Register.CUT] + sums(self._purse_of, self._cut, register.purses.floats.shape[1])
        self._cut_purses = np.flatnonzero((register.purses.ints[Register.HELD] == 1) & (cut != 0.0))
        self.owner: Ints = register.pools.ints[Register.OWNER, :count]
        self._present = book.at(np.ones(len(book.bases)))
        self.reasons = dict(self._uncovered())
        self.covered: Flags = np.ones(len(register.accounts), dtype=np.bool_)
        self.covered[list(self.reasons)] = False

    def _uncovered(self) -> Iterable[tuple[int, str]]:
        register = self.register
        # The most telling reason comes last, and stays.
        price = register.purses.floats[Register.USD]
        money = (register.purses.ints[Register.HELD] == 1) & ~np.isnan(price) & np.isnan(self._purses)
        for purse in np.flatnonzero(money).tolist():
            yield int(register.purses.ints[Register.OWNER, purse]), f"its equity in {register.ccy(purse)} is not known"
        unknown = self.keeps & np.isnan(self.lack(self._present)) & (self.owner >= 0)
        for pool in np.flatnonzero(unknown).tolist():
            yield int(self.owner[pool]), f"equity or maintenance of its pool {register.pool_name(pool)} is not known"
        yield from register.gaps.items()
        for number, account in enumerate(register.accounts):
            if not account.known:
                yield number, "nothing is known of it yet"

    def lack(self, at: Shocked) -> Floats:
        """Return maintenance - equity as it is solved for, (n_pools,): a pool is liquidated from 0 on."""
        found: Floats = at.maintenance - at.equity - self.book.delta
        return found

    def outcome(self, move: Floats, before: Flags | None = None) -> Outcome:
        """Return all accounts after a move.

        Args:
            move: (n_bases,) signed fractions.
            before: Pools that were liquidated on the way.
        """
        register, factor = self.register, factors(move)
        at = self.book.at(factor)
        lack = self.lack(at)
        spent = self.keeps & (lack >= 0.0)
        if before is not None:
            spent |= before
        gained = at.upnl - self._present.upnl
        amount = self._purses.copy()
        if len(self._rows):
            amount += sums(self._purse_of, gained[self._rows], len(amount))
        usd = register.purses.floats[Register.USD] * factor[np.maximum(register.purses.ints[Register.MOVED_BY], 0)]
        counted = np.flatnonzero((register.purses.ints[Register.HELD] == 1) & ~np.isnan(usd))
        accounts = len(register.accounts)
        equity = sums(register.purses.ints[Register.OWNER, counted], amount[counted] * usd[counted], accounts)
        equity -= self._lost(at, spent, usd, accounts)
        return Outcome(equity, self._ratios(at, spent, accounts), spent, lack)

    def shocks(self) -> Floats:
        """Return, (n_accounts,), the uniform move of all underlyings nearest to 0 that liquidates a pool of the account.

        inf: none does; NaN: it cannot be said.
        """
        found = np.full(len(self.register.accounts), np.inf)
        move = self.book.shock()
        pools = np.flatnonzero(self.keeps & (self.owner >= 0))
        farthest_first = pools[np.argsort(-np.abs(move[pools]), kind="stable")]
        found[self.owner[farthest_first]] = move[farthest_first]  # the nearest is written last, and stays
        found[~self.covered] = np.nan
        return found

    def _lost(self, at: Shocked, spent: Flags, usd: Floats, accounts: int) -> Floats:
        """Return, by account in US dollars, the equity of liquidated pools: it counts nothing, also where it is below 0.

        Without haircuts, like the purses that it is taken out of.
        """
        pools = np.flatnonzero(spent & (self.owner >= 0))
        money = self.register.pools.ints[Register.MONEY, pools]
        worth = at.equity[pools] * np.where(money == 0, 1.0, usd[money])
        found = sums(self.owner[pools], np.nan_to_num(worth), accounts)
        purses = self._cut_purses
        if len(purses):
            ended = np.zeros(accounts, dtype=np.bool_)
            ended[self.owner[pools[money == 0]]] = True
            owner = self.register.purses.ints[Register.OWNER, purses]
            cut = self.register.purses.floats[Register.CUT]
            cut = cut + sums(self._purse_of, self._cut * at.upnl[self._rows], len(cut))
            found += sums(owner, np.nan_to_num(cut[purses] * usd[purses]) * ended[owner], accounts)
        return found

    def _ratios(self, at: Shocked, spent: Flags, accounts: int) -> Floats:
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.where(spent, 1.0, np.minimum(at.maintenance / at.equity, 1.0))
        pools = np.flatnonzero(self.keeps & (self.owner >= 0) & ~np.isnan(ratio))
        found = np.full(accounts, -np.inf)
        np.maximum.at(found, self.owner[pools], ratio[pools])
        return np.where(np.isinf(found), np.nan, found)


class Way(NamedTuple):
    """What happens on the way to a row of shocks of one sign, the nearest first.

    Attributes:
        outcomes: One per shock.
        crossed: (n_pools,) at which shock each pool is liquidated, solved; ``NEVER``: not within the last one.
    """

    outcomes: list[Outcome]
    crossed: Floats


def walk(ground: Ground, shocks: Iterable[float], move: Floats) -> Way:
    """Return what happens on the way from 0 through these shocks.

    Args:
        shocks: Signed fractions of one sign, away from 0.
        move: (n_bases,) how much of a shock each underlying makes.
    """
    pools = len(ground.book.cash)
    spent, crossed = np.zeros(pools, dtype=np.bool_), np.full(pools, NEVER)
    outcomes: list[Outcome] = []
    last, lack = 0.0, np.zeros(pools)
    for shock in (0.0, *shocks):
        found = ground.outcome(shock * move, spent)
        news = found.spent & ~spent
        if news.any():
            crossed[news] = _crossings(ground, (last, lack), (shock, found.lack), move, news)[news] if shock else 0.0
        outcomes.append(found)
        spent, last, lack = found.spent, shock, found.lack
    return Way(outcomes[1:], crossed)


def _crossings(
    ground: Ground, near: tuple[float, Floats], far: tuple[float, Floats], move: Floats, pools: Flags
) -> Floats:
    """Return where between two shocks these pools meet equity = maintenance, (n_pools,), by regula falsi (Illinois).

    Args:
        near, far: The shocks, and what every pool lacks there.
    """
    low, high = np.full(len(pools), near[0]), np.full(len(pools), far[0])
    at_low, at_high = near[1], far[1]
    enough = _CLOSE * (np.abs(at_low) + np.abs(at_high))
    side = np.zeros(len(pools))  # on which side of the root the last point was
    for _ in range(_ROOT_STEPS):
        with np.errstate(divide="ignore", invalid="ignore"):
            way = high - at_high * (high - low) / (at_high - at_low)
        way = np.where(np.isfinite(way), way, high)
        at = ground.lack(ground.book.along(way, move))
        beyond = at >= 0.0
        # An end that stays twice counts half, or it would stay for ever where the function bends.
        at_low = np.where(beyond, np.where(side > 0.0, at_low / 2.0, at_low), at)
        at_high = np.where(beyond, at, np.where(side < 0.0, at_high / 2.0, at_high))
        low, high = np.where(beyond, low, way), np.where(beyond, way, high)
        side = np.where(beyond, 1.0, -1.0)
        found = np.abs(at) <= enough
        high = np.where(found, way, high)
        if found[pools].all():
            break
    return high
