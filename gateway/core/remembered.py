"""What an engine would have to be given to begin where it is: the base of a replay in the middle of a life. Pure.

As after any restart, what is not in here comes back as the venues say it again: open orders, the order of their messages, the lines
of today's results (the funding of open positions aside), and how models agree.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from exchanges.events import BalanceState, Event
from gateway.core.accounts import Account
from gateway.core.alerts.board import Board
from gateway.core.books import Books
from gateway.core.market import Market
from gateway.core.records import Covered
from gateway.core.reports import Reports
from gateway.core.state import Position


def remembered(
    market: Market,
    accounts: Mapping[str, Account],
    positions: Mapping[str, Position],
    reports: Reports,
    books: Books,
    board: Board,
    now: int,
) -> Iterator[Event]:
    """Yield it in the order in which an engine needs it: contracts first, positions after balances."""
    yield from market.instruments.values()
    for of_key in market.tiers.values():
        yield from of_key.values()
    yield from market.collateral.values()
    for account in accounts.values():
        if account.mode is not None:
            yield account.mode
        yield from _balances(account)
    yield from (position.state for position in positions.values())
    for name in accounts:
        yield from _oldest_first(reports.executions.table.of(name))
        yield from _oldest_first(reports.cycles.table.of(name))
    yield from reports.corrections.records.values()
    for name in accounts:
        ledger = books[name]
        for payments in ledger.payments.values():
            yield from payments.values()
        since, until = ledger.coverage.since, ledger.coverage.gap
        if since is not None:
            yield Covered(id=name, account=name, since=since, until=until, at=now)
    yield from reports.histories.states(now)
    yield from board.silences.values()
    yield from board.records(now)


def _balances(account: Account) -> Iterator[BalanceState]:
    scopes = dict.fromkeys([*account.coins, *(pool.scope for pool in account.pools.values() if pool.scope is not None)])
    for scope in scopes:
        yield BalanceState(
            account=account.info.name,
            scope=scope,
            full=True,
            coins=tuple(account.coins.get(scope, {}).values()),
            pools=tuple(
                pool.state for pool in account.pools.values() if pool.scope == scope and pool.state is not None
            ),
            available=account.available,
            withdrawable=account.withdrawable,
            venue_at=account.balance_at,
            prices=account.prices_apart(scope),
        )


def _oldest_first(records: Iterable[Event]) -> Iterator[Event]:
    return reversed(list(records))
