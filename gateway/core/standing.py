"""What the venue says of an account as a whole: mode, balances, its key, and whether it could be asked. Pure.

Owns the fields of `accounts` that no position moves.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import msgspec

from exchanges.events import AccountMode, BalanceState, KeyInfo, LiquidationWarning, VerificationFailed, Verified
from gateway.core.accounts import Account
from gateway.core.corrections import Corrections, shortfall
from gateway.core.holdings import Holdings
from gateway.core.market import Market
from gateway.core.publish import Changes
from gateway.core.rows import settle_of

_WARNING_MS = 600_000


class Standing:
    """Takes the account-wide events of all accounts."""

    def __init__(
        self,
        accounts: Mapping[str, Account],
        holdings: Holdings,
        market: Market,
        corrections: Corrections,
        changes: Changes,
        counters: Counter[str],
    ) -> None:
        self._accounts, self._holdings, self._market = accounts, holdings, market
        self._corrections, self._changes, self._counters = corrections, changes, counters

    def mode(self, account: Account, mode: AccountMode, now: int) -> None:
        """Take the account's mode."""
        if not account.change_mode(mode, now):
            return
        self._holdings.dirty |= account.positions
        self._changes.touch("accounts", account.info.name)
        if self._changes.sink:
            self._changes.sink.put_mode(mode)

    def balance(self, account: Account, balance: BalanceState, now: int) -> None:
        """Take balances and pools."""
        if not account.accepts(balance, now):
            return
        if account.merge_coins(balance, now):
            self._holdings.dirty |= account.positions
        self._holdings.pools.report(account, balance, self._changes.seq, now)
        self._holdings.fresh.add(account.info.name)
        self._changes.touch("accounts", account.info.name)
        self._check_allocation(account, now)
        if self._changes.sink:
            prices = account.prices_apart(balance.scope)
            self._changes.sink.put_balance(msgspec.structs.replace(balance, prices=prices) if prices else balance)

    def key(self, account: Account, key: KeyInfo) -> None:
        """Take what its key may do; two configured accounts of one owner are one account."""
        if account.key == key:
            return
        account.key = key
        place = account.info.venue, account.info.env
        same = [other for other in self._accounts.values() if (other.info.venue, other.info.env) == place]
        for one in same:
            owner = one.key.owner if one.key else None
            alike = tuple(
                other.info.name
                for other in same
                if other is not one and owner is not None and other.key is not None and other.key.owner == owner
            )
            if alike != one.same_owner_as or one is account:
                one.same_owner_as = alike
                self._changes.touch("accounts", one.info.name)

    def verified(self, account: Account, verified: Verified, now: int) -> None:
        """Its whole state was asked."""
        account.verified_at = max(verified.asked_at, account.verified_at or 0)
        account.failing_since = account.refused = None
        if account.age(now) or account.polled:
            self._holdings.touch(account)
        self._changes.touch("accounts", account.info.name)

    def failed(self, account: Account, failed: VerificationFailed, now: int) -> None:
        """Its state could not be asked: nothing is known of it, and it is not flat."""
        self._counters["verification_failed"] += 1
        account.failing_since = account.failing_since if account.failing_since is not None else failed.at
        news = failed.refused and account.refused != failed.error
        if failed.refused:
            account.refused = failed.error
        if account.age(now) or news:
            self._holdings.touch(account)

    def warn(self, account: Account, warning: LiquidationWarning) -> None:
        """The venue warns of a liquidation."""
        found = warning.at, warning.what
        rows = [
            self._holdings.open[row_id]
            for row_id in account.positions
            if warning.position == row_id
            or (warning.position is None and warning.symbol == self._holdings.open[row_id].state.symbol)
        ]
        for position in rows:
            position.warning = found
            self._holdings.touch_row(position)
        if not rows:
            account.warning = found
            self._changes.touch("accounts", account.info.name)

    def age(self, now: int) -> None:
        """Take the time: accounts out of reach, warnings that are over, and which currencies need a price."""
        for account in self._accounts.values():
            if account.age(now):
                self._holdings.touch(account)
            if account.warning is not None and now - account.warning[0] > _WARNING_MS:
                account.warning = None
                self._changes.touch("accounts", account.info.name)
        for position in self._holdings.open.values():
            if position.warning is not None and now - position.warning[0] > _WARNING_MS:
                position.warning = None
                self._holdings.touch_row(position)

    def want_currencies(self, account: Account) -> None:
        """State which currencies an account needs prices of: what it holds or settles in."""
        held = {coin.ccy for coin in account.all_coins() if float(coin.total) != 0.0}
        settled = {settle_of(self._holdings.open[row_id]) for row_id in account.positions}
        wanted = held | {ccy for ccy in settled if ccy is not None}
        self._market.currencies.want(account.info.name, (account.info.venue, account.info.env), wanted)

    def reprice(self) -> None:
        """Let the newest prices of currencies count in whatever is worked out from them, and profit in haircuts of it."""
        moved = self._market.currencies.moved()
        for account in self._accounts.values():
            if any(pool.state is not None and pool.state.pnl_discounted for pool in account.pools.values()):
                self._holdings.pools.reprice(account)
            if not moved:
                continue
            settled = {settle_of(self._holdings.open[row_id]) for row_id in account.positions}
            if moved & (settled | {coin.ccy for coin in account.all_coins()}):
                self._holdings.reprice(account)
                self._holdings.touch(account)

    def _check_allocation(self, account: Account, now: int) -> None:
        short = account.shortfalls()
        for ccy, (given, held) in short.items():
            if ccy not in account.short_of:
                self._corrections.put(account, shortfall(account.info.name, ccy, given, held, now))
        account.short_of = frozenset(short)
