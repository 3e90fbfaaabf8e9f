"""One account as the venue reports it: balances, mode and pools of margin, merged by scope; and how far it is to be trusted.

Owns the merge rules (a full answer replaces its scope, a partial one merges by name), what was given to the account, and why
its figures are not live. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from typing import NamedTuple

import msgspec

from exchanges.events import AccountMode, BalanceState, CoinBalance, Execution, KeyInfo, MarginMode, PoolState
from gateway.core.calibration import Calibrated
from gateway.core.currencies import NO_INDEX, Currencies, Quote, Then
from gateway.core.evidence import Memory
from gateway.core.listening import Listening
from gateway.core.reconcile import is_older

# An account whose state could not be asked for this many intervals is out of reach.
_UNREACHABLE_INTERVALS = 3


class AccountInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What configuration says of an account.

    Attributes:
        allocated: What a strategy was given, per currency, exact decimals.
        execution: Positions of different executions never mix.
        verify_every_ms: How often its state is asked for verification.
    """

    name: str
    venue: str
    env: str
    user: str = "default"
    region: str | None = None
    strategy: str | None = None
    allocated: Mapping[str, str] | None = None
    execution: Execution = "live"
    verify_every_ms: int = 10_000


class Span(NamedTuple):
    """Of which moment balances are, ms: from the oldest of an account's scopes to the newest."""

    first: int
    last: int


def message_of(scope: str, asked_at: int | None, seq: int) -> tuple[str, int]:
    """Return what tells messages apart, and the change set that they came with: two questions of one round are two messages."""
    return scope if asked_at is None else f"{scope}, asked at {asked_at}", seq


class Pool:
    """What is liquidated together. ``number`` addresses its columns in the book.

    Attributes:
        state: The venue's own report; None for isolated pools and until one arrives.
        cash_known: The pool's equity is rebuilt from cash; else it is anchored on the venue's own equity, or unknown.
        backing_known: What of the account's coins counts is known, where these back it.
        members: Ids of its positions.
        derived: Of which message, and between which positions, its cash was derived from the venue's equity.
        message: Of the report (``message_of``): positions of one message with it carry the same.
        as_of: When the venue reported it.
        calibration: How its model agrees with the venue; None: it was never held against it.
    """

    __slots__ = (
        "as_of", "backing_known", "calibration", "cash_known", "ccy", "derived", "members",
        "message", "name", "number", "scope", "state",
    )  # fmt: skip

    def __init__(self, name: str, number: int) -> None:
        self.name, self.number = name, number
        self.ccy: str | None = None
        self.scope: str | None = None
        self.state: PoolState | None = None
        self.cash_known, self.backing_known = False, True
        self.members: set[str] = set()
        self.derived: tuple[tuple[str, int] | None, tuple[object, ...]] | None = None
        self.message: tuple[str, int] | None = None
        self.as_of: int | None = None
        self.calibration: Calibrated | None = None

    @property
    def isolated(self) -> bool:
        """Say whether it belongs to one isolated position."""
        return self.name.startswith("iso:")


class Account:
    """State of one account; the engine is its only writer.

    Attributes:
        private_down_since: Since when its stream is not live; None: it is, or nobody said.
        polled: It has no stream; its state is asked again and again.
        verified_at: When the state was last asked in whole, our clock.
        failing_since: Since when asking fails; ``unreachable`` once that is too long.
        refused: Why it is not read any more, where only the operator can help.
        mode_change: The last change of mode: (our clock, "from → to").
        was_restored: Something of it was loaded from storage: rows that are missing there were closed.
        stored_at: As of when that was stored, where it is known.
    """

    def __init__(self, info: AccountInfo, currencies: Currencies | None = None) -> None:
        self.info = info
        self.mode: AccountMode | None = None
        self.mode_change: tuple[int, str] | None = None
        self.coins: dict[str, dict[str, CoinBalance]] = {}  # scope → ccy → balance
        self.pools: dict[str, Pool] = {}
        self.positions: set[str] = set()
        self.available: str | None = None
        self.withdrawable: str | None = None
        self.balance_at: int | None = None
        self.private_down_since: int | None = None
        self.restored_since: int | None = None
        self.synced_at: int | None = None
        self.stored_at: int | None = None
        self.was_restored = self.polled = self.unreachable = False
        self.verified_at: int | None = None
        self.failing_since: int | None = None
        self.refused: str | None = None
        self.key: KeyInfo | None = None
        self.same_owner_as: tuple[str, ...] = ()
        self.warning: tuple[int, str] | None = None  # (at, the venue's words)
        self.listening = Listening()
        self.memory = Memory()
        self.short_of: frozenset[str] = frozenset()  # currencies whose shortfall was put on record
        self._currencies = currencies or Currencies()
        self._stated: dict[str, float] = {}  # US dollars, as the account's own messages state them
        self._then: dict[str, Then] = {}  # at the last message of a coin's scope, where anybody stated it
        self._fences: dict[str, tuple[tuple[int, ...], int]] = {}  # scope → (venue fence, applied at)
        self._as_of: dict[str, int] = {}  # scope → the moment of its last balance

    @property
    def computable(self) -> bool:
        """Say whether pools can be computed in its mode."""
        return self.mode is None or self.mode.computable

    @property
    def known(self) -> bool:
        """Say whether anything is known of it: it may be empty, but somebody said so."""
        return self.synced_at is not None or bool(self.positions or self.coins)

    def accepts(self, balance: BalanceState, now: int) -> bool:
        """Say whether a balance report is not older than the one applied last in its scope, and remember it."""
        fence, applied_at = self._fences.get(balance.scope, ((), 0))
        if is_older(balance.fence, fence):
            return False
        if balance.asked_at is not None and balance.asked_at < applied_at and not balance.fence > fence:
            return False
        self._fences[balance.scope] = (max(fence, balance.fence), now)
        # An answer shows whatever had happened when it was asked; who states no time at all speaks of the present.
        self._as_of[balance.scope] = max(
            (at for at in (balance.venue_at, balance.asked_at) if at is not None), default=now
        )
        return True

    @property
    def as_of(self) -> Span | None:
        """Of which moment its balances are; None: none was told."""
        return Span(min(self._as_of.values()), max(self._as_of.values())) if self._as_of else None

    def restart(self) -> None:
        """Forget the order of balance reports: every one of this life is newer than those of an earlier one."""
        self._fences.clear()

    def merge_coins(self, balance: BalanceState, now: int) -> bool:
        """Merge the coins of a report that has just come; return whether any currency's stated price changed."""
        scope = {} if balance.full else dict(self.coins.get(balance.scope, {}))
        scope.update({coin.ccy: coin for coin in balance.coins})
        self.coins[balance.scope] = scope
        if balance.full or balance.available is not None:
            self.available = balance.available if balance.available is not None else self.available
        if balance.withdrawable is not None:
            self.withdrawable = balance.withdrawable
        self.balance_at = balance.venue_at if balance.venue_at is not None else self.balance_at
        before = self._stated
        self._stated = {coin.ccy: float(coin.usd_price) for coin in self.all_coins() if coin.usd_price is not None}
        held = {coin.ccy for coin in self.all_coins()}
        self._then = {ccy: then for ccy, then in self._then.items() if ccy in held - scope.keys()}
        self._then |= self._at_its_moment(balance, scope, now)
        return before != self._stated

    def _at_its_moment(self, balance: BalanceState, scope: Iterable[str], now: int) -> dict[str, Then]:
        """Return what the coins of a report's scope were worth as it was written; not where that is anybody's guess."""
        place = self.info.venue, self.info.env
        found = {ccy: self._currencies.then(*place, ccy, self._stated.get(ccy), now) for ccy in scope}
        found = {ccy: then for ccy, then in found.items() if not (math.isnan(then.usd) or self.quote(ccy).assumed)}
        said = {coin.ccy: float(coin.usd_price) for coin in balance.coins if coin.usd_price is not None}
        kept = {ccy: Then(*prices) for ccy, prices in balance.prices.items()}
        return found | {ccy: Then(usd, usd, usd) for ccy, usd in said.items()} | kept

    def prices_apart(self, scope: str) -> dict[str, tuple[float, float, float]]:
        """Return ``BalanceState.prices`` of what is known of a scope: of coins of which it does not follow from what they state."""
        found = {}
        for coin in self.coins.get(scope, {}).values():
            then = self._then.get(coin.ccy)
            own = None if coin.usd_price is None else Then(*(float(coin.usd_price),) * 3)
            if then is not None and then != own:
                found[coin.ccy] = then.usd, then.low, then.high
        return found

    def change_mode(self, mode: AccountMode, now: int) -> bool:
        """Take the account's mode; return whether it is another one than before."""
        before, self.mode = self.mode, mode
        if before == mode:
            return False
        if before is not None and _differ(before, mode):
            self.mode_change = (now, f"{_words(before)} → {_words(mode)}")
        return True

    def all_coins(self) -> Iterator[CoinBalance]:
        """Yield every coin of every scope."""
        for scope in self.coins.values():
            yield from scope.values()

    def quote(self, ccy: str) -> Quote:
        """Return what a currency is worth to this account now (see ``Currencies``)."""
        return self._currencies.price(self.info.venue, self.info.env, ccy, self._stated.get(ccy), self.balance_at)

    def usd(self, ccy: str | None) -> float:
        """Return the price of a currency in US dollars, NaN where it is unknown."""
        return self.quote(ccy).usd if ccy else math.nan

    def worth_in(self, pool: Pool, settle: str | None) -> float:
        """Return what one of a settle currency is worth in a pool's own, NaN where that is unknown."""
        return self.usd(settle) if pool.ccy == "USD" and settle != "USD" else 1.0

    def index_of(self, ccy: str | None) -> int:
        """Return the number of the index that ``usd`` follows (``Currencies.number``)."""
        return self._currencies.number(self.info.venue, self.info.env, ccy, self._stated.get(ccy)) if ccy else NO_INDEX

    def usd_width(self, ccy: str, now: int) -> float:
        """Return how far that index went lately (``Currencies.width``)."""
        return self._currencies.width(self.info.venue, self.info.env, ccy, self._stated.get(ccy), now)

    def then(self, ccy: str) -> Then:
        """Return what a currency was worth at the moment of the account's last message (of the coin's scope), in US dollars.

        As the message states it; of a coin that it does not name, the price that was known as it came, and those of just
        before, since messages are of moments of their own. Where nobody stated any, the present one.
        """
        usd = self.usd(ccy)
        return self._then.get(ccy, Then(usd, usd, usd))

    def stated_usd(self, ccy: str) -> float:
        """Return the price that the account's last message used, or must have used (``then``)."""
        return self.then(ccy).usd

    def held_by_orders(self, pool: Pool) -> float:
        """Return what open orders hold of a pool's balance (its currency); NaN where the venue does not say, and there are any."""
        if pool.state is None or pool.state.held is not None:
            return float(pool.state.held or 0) if pool.state is not None else math.nan
        locked = [coin.locked for coin in self.coins.get(pool.scope or "", {}).values()]
        return 0.0 if locked and all(amount is not None and not float(amount) for amount in locked) else math.nan

    def stated_equity(self, pool: Pool) -> float:
        """Return the venue's own equity of a pool, less what orders hold of it; NaN where either is not known."""
        state = pool.state
        if state is None or state.venue_equity is None:
            return math.nan
        return float(state.venue_equity) - (0.0 if state.equity_after_held else self.held_by_orders(pool))

    # --- what it was given ---------------------------------------------------------------------------------------

    def unallocated(self) -> dict[str, Decimal] | None:
        """Return what it holds beyond what it was given, per currency given; negative: a shortfall. None: nothing is known."""
        if not self.info.allocated or not self.coins:
            return None
        totals: dict[str, Decimal] = {}
        for coin in self.all_coins():
            totals[coin.ccy] = totals.get(coin.ccy, Decimal(0)) + Decimal(coin.total)
        return {ccy: totals.get(ccy, Decimal(0)) - Decimal(given) for ccy, given in self.info.allocated.items()}

    def shortfalls(self) -> dict[str, tuple[str, str]]:
        """Return what it was given and what it holds, in currencies of which it holds less."""
        given = self.info.allocated or {}
        short = {ccy: beyond for ccy, beyond in (self.unallocated() or {}).items() if beyond < 0}
        return {ccy: (given[ccy], format(beyond + Decimal(given[ccy]), "f")) for ccy, beyond in sorted(short.items())}

    # --- how far it is to be trusted -------------------------------------------------------------------------------

    def age(self, now: int) -> bool:
        """Take the time; return whether the account came out of reach, or back into it."""
        bound = _UNREACHABLE_INTERVALS * self.info.verify_every_ms
        unreachable = (
            self.failing_since is not None and now - self.failing_since > bound and not self.listening.live
        )  # a live private stream vouches for the rows
        changed, self.unreachable = unreachable != self.unreachable, unreachable
        return changed

    def stale(self) -> dict[str, object] | None:
        """Return why the whole account's figures are not live, the gravest reason, and since the earliest; or None."""
        if self.restored_since is not None:
            reason = "restored"
        elif self.unreachable and self.refused is None:
            reason = "venue_unreachable"
        elif (
            self.private_down_since is not None or self.refused is not None
        ):  # of one refused the streams are about to end
            reason = "private_feed"
        elif self.polled and self.verified_at is not None:
            return {"since": self.verified_at, "reason": "polled"}
        else:
            return None
        failing = self.failing_since if self.unreachable or self.refused is not None else None
        reasons = (self.restored_since, failing, self.private_down_since)
        return {"since": min((since for since in reasons if since is not None), default=None), "reason": reason}


def _differ(one: AccountMode, other: AccountMode) -> bool:
    """Say whether these are two modes in the venue's eyes; a leg mode that one of them does not state is no difference."""
    return one.mode != other.mode or (None not in (one.hedge, other.hedge) and one.hedge != other.hedge)


def _words(mode: AccountMode) -> str:
    leg = {None: "", True: ", hedge", False: ", one-way"}[mode.hedge]
    return f"{mode.mode}{leg}"


def pool_name(margin_mode: MarginMode | None, pool: str, position: str) -> str:
    """Return the pool a position belongs to: its own when isolated, else the codec's name for it."""
    return f"iso:{position}" if margin_mode == "isolated" else pool
