"""One account as the venue reports it: balances, mode and pools of margin, merged by scope.

Owns the merge rules (a full answer replaces its scope, a partial one merges by name) and the currencies' prices. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import msgspec

from exchanges.events import BalanceState, CoinBalance, MarginMode, PoolState
from gateway.core.reconcile import is_older

# Priced at one US dollar until their own price is subscribed (issue 3); a price that the venue states goes first.
DOLLARS = frozenset({"USD", "USDT", "USDC", "USDⓈ", "USDH", "USDE", "USDT0", "USD1", "FDUSD"})


class AccountInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What configuration says of an account."""

    name: str
    venue: str
    env: str
    user: str = "default"
    region: str | None = None
    strategy: str | None = None


class Pool:
    """What is liquidated together. ``number`` addresses its columns in the book.

    Attributes:
        state: The venue's own report; None for isolated pools and until one arrives.
        cash_known: The pool's equity is rebuilt from cash; else it is anchored on the venue's own equity, or unknown.
        members: Ids of its positions.
        message: (scope, seq) of the report: positions of one message with it carry the same.
    """

    __slots__ = ("cash_known", "ccy", "members", "message", "name", "number", "scope", "state")

    def __init__(self, name: str, number: int) -> None:
        self.name, self.number = name, number
        self.ccy: str | None = None
        self.scope: str | None = None
        self.state: PoolState | None = None
        self.cash_known = False
        self.members: set[str] = set()
        self.message: tuple[str, int] | None = None

    @property
    def isolated(self) -> bool:
        """Say whether it belongs to one isolated position."""
        return self.name.startswith("iso:")


class Account:
    """State of one account; the engine is its only writer."""

    def __init__(self, info: AccountInfo) -> None:
        self.info = info
        self.mode: str | None = None
        self.computable = True
        self.coins: dict[str, dict[str, CoinBalance]] = {}  # scope → ccy → balance
        self.pools: dict[str, Pool] = {}
        self.positions: set[str] = set()
        self.available: str | None = None
        self.withdrawable: str | None = None
        self.balance_at: int | None = None
        self.private_down_since: int | None = None
        self.restored_since: int | None = None
        self.synced_at: int | None = None
        self._prices: dict[str, float] = {}  # US dollars, as the venue states them
        self._fences: dict[str, tuple[tuple[int, ...], int]] = {}  # scope → (venue fence, applied at)

    def accepts(self, balance: BalanceState, now: int) -> bool:
        """Say whether a balance report is not older than the one applied last in its scope, and remember it."""
        fence, applied_at = self._fences.get(balance.scope, ((), 0))
        if is_older(balance.fence, fence):
            return False
        if balance.asked_at is not None and balance.asked_at < applied_at and not balance.fence > fence:
            return False
        self._fences[balance.scope] = (max(fence, balance.fence), now)
        return True

    def restart(self) -> None:
        """Forget the order of balance reports: every one of this life is newer than those of an earlier one."""
        self._fences.clear()

    def merge_coins(self, balance: BalanceState) -> bool:
        """Merge the coins of a report; return whether any currency's price changed."""
        scope = {} if balance.full else dict(self.coins.get(balance.scope, {}))
        scope.update({coin.ccy: coin for coin in balance.coins})
        self.coins[balance.scope] = scope
        if balance.full or balance.available is not None:
            self.available = balance.available if balance.available is not None else self.available
        if balance.withdrawable is not None:
            self.withdrawable = balance.withdrawable
        self.balance_at = balance.venue_at if balance.venue_at is not None else self.balance_at
        before = self._prices
        self._prices = {coin.ccy: float(coin.usd_price) for coin in self.all_coins() if coin.usd_price is not None}
        return before != self._prices

    def all_coins(self) -> Iterator[CoinBalance]:
        """Yield every coin of every scope."""
        for scope in self.coins.values():
            yield from scope.values()

    def usd(self, ccy: str | None) -> float:
        """Return the price of a currency in US dollars: the venue's own, 1 for dollar coins, else NaN."""
        return self._prices.get(ccy or "", 1.0 if ccy in DOLLARS else math.nan)

    def stale(self) -> dict[str, object] | None:
        """Return why the whole account's figures are not live, or None."""
        if self.restored_since is not None:
            return {"since": self.restored_since, "reason": "restored"}
        if self.private_down_since is not None:
            return {"since": self.private_down_since, "reason": "private_feed"}
        return None


def pool_name(margin_mode: MarginMode | None, pool: str, position: str) -> str:
    """Return the pool a position belongs to: its own when isolated, else the codec's name for it."""
    return f"iso:{position}" if margin_mode == "isolated" else pool
