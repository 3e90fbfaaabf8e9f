"""What an account's mode makes of its money on Hyperliquid: which pool a position belongs to, and what a pool's figures mean.

Owns the pools. Pure. In the standard modes each dex holds its own collateral and is a pool that can be computed. In a unified
account "individual perp dex user states are not meaningful" and the spot balance of a collateral token backs every dex of
that token; in portfolio margin one ratio of the venue's says it all; in the legacy dexAbstraction mode, in an unknown one and
before the mode is known, nothing is said of equity. Source: Hyperliquid docs, account abstraction modes and unified account ratio.

A unified account's spot balance holds the perps' equity, unrealised PnL included: the venue's ratio divides by "spot total less
``marginUsed`` of isolated positions", which contains theirs, and clients that added the perps' equity counted it twice
(sushi-labs/sushiswap#2184). So the mark-independent cash of a token is that balance less the isolated margins and the unrealised
PnL of its cross positions, all of one moment. No captured account was at hand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from decimal import Decimal
from itertools import combinations
from typing import NamedTuple

import msgspec

from exchanges.events import BalanceState, CoinBalance, PoolState, PositionState
from exchanges.hyperliquid import parse, tables
from exchanges.hyperliquid.wire import DIGITS, computed, shown

SCOPE = "shared"  # of the pools that span dexes
# Marks may have moved between two states of one moment: of so many reckonings the newest that another agrees with is believed.
_RECKONINGS = 5
_AGREED = Decimal("1e-6")
_PORTFOLIO = "portfolio"
# "The account becomes liquidatable when portfolio_margin_ratio > 0.95." Source: Hyperliquid docs, "Portfolio margin".
_PORTFOLIO_LIMIT = "0.95"


class Reckoned(NamedTuple):
    """The cash of a token as it was reckoned.

    Attributes:
        held: With what: the token's positions without what marks move.
        lately: The last reckonings, newest first.
        agreed: The newest on which two agreed.
    """

    held: tuple[tuple[str, ...], ...]
    lately: tuple[Decimal, ...] = ()
    agreed: Decimal | None = None

    @property
    def believed(self) -> Decimal:
        """The newest that two agreed on, however long ago, else the newest: what marks moved meanwhile is in no two alike.

        While marks move between the states of every round none agree; the positions are the same, and so is the cash.
        """
        return self.lately[0] if self.agreed is None else self.agreed

    def and_now(self, cash: Decimal) -> Reckoned:
        """Return it with another reckoning."""
        lately = (cash, *self.lately)[:_RECKONINGS]
        found = (one for one, other in combinations(lately, 2) if abs(one - other) <= _AGREED)
        return self._replace(lately=lately, agreed=next(found, self.agreed))


Settled = dict[str, Reckoned]  # by token


def pool(mode: str | None, dex: str, settle: str) -> str:
    """Return the pool of a dex's cross positions."""
    if mode == "unifiedAccount":
        return f"unified:{settle}"
    return _PORTFOLIO if mode == "portfolioMargin" else parse.pool_of(dex)


def money(mode: str | None, balance: BalanceState) -> BalanceState:
    """Return a dex's balance as it may be shown in this mode.

    Outside the standard modes its account value, cash and withdrawable are near 0 and mean nothing. The margins stay where the dex
    is a pool of its own: they are sums over positions.
    """
    if mode in tables.STANDARD_MODES:
        return balance
    shared = mode in tables.SHARED_MODES
    pools = (
        () if shared else tuple(msgspec.structs.replace(each, cash=None, venue_equity=None) for each in balance.pools)
    )
    return msgspec.structs.replace(balance, pools=pools, withdrawable=None)


def moved(state: parse.DexState, name: str) -> parse.DexState:
    """Return a state with its cross positions in another pool: said again now, not as the answer to an earlier question."""
    positions = tuple(
        each if each.margin_mode != "cross" else msgspec.structs.replace(each, pool=name)
        for each in state.snapshot.positions
    )
    snapshot = msgspec.structs.replace(state.snapshot, positions=positions, asked_at=None, routine=True)
    return msgspec.structs.replace(state, snapshot=snapshot)


def shared(
    account: str,
    mode: str | None,
    states: Mapping[str, parse.DexState],
    settle: Callable[[str], str],
    spot: parse.SpotState | None,
    settled: Settled,
    *,
    together: bool,
) -> BalanceState | None:
    """Return the pools that span dexes; None where the mode has none, or while the balances that back them are not known.

    Args:
        account: The configured account.
        mode: The account's mode.
        states: The last state of each dex.
        settle: Returns the collateral token of a dex.
        spot: The last spot state.
        settled: The cash of each token as it was reckoned lately; written here.
        together: The spot state and those of the dexes are of one moment.
    """
    if spot is None or mode not in tables.SHARED_MODES:
        return None
    coins: list[CoinBalance] = []
    if mode == "portfolioMargin":
        ratio = shown(spot.portfolio_margin_ratio)
        pools = [PoolState(pool=_PORTFOLIO, ccy=tables.DOLLAR, venue_ratio=ratio, liquidated_at=_PORTFOLIO_LIMIT)]
    else:
        totals = {row.coin: row.total for row in spot.balances}
        tokens = dict.fromkeys(settle(dex) for dex, state in states.items() if state.snapshot.positions)
        pools = [
            _unified(
                token,
                totals.get(token),
                [each for dex, each in states.items() if settle(dex) == token],
                settled,
                together=together,
            )
            for token in tokens
        ]
        coins = [_beyond_cash(pool, totals.get(pool.ccy)) for pool in pools]
    return BalanceState(account=account, scope=SCOPE, full=True, coins=tuple(coins), pools=tuple(pools))


def _beyond_cash(pool: PoolState, total: Decimal | None) -> CoinBalance:
    """Take what the spot balance holds of the perps' equity out of the token's cash: positions add it at present marks."""
    known = pool.cash is not None and total is not None
    beyond = computed(DIGITS.subtract(Decimal(pool.cash or 0), total or Decimal(0))) if known else None
    return CoinBalance(ccy=pool.ccy, total="0", cash=beyond)


def _unified(
    token: str, total: Decimal | None, states: list[parse.DexState], settled: Settled, *, together: bool
) -> PoolState:
    """One collateral token: ratio = sum of the dexes' cross maintenance / (spot total - margins of isolated positions).

    Figures of different moments give no equity; the cash of an earlier one holds as long as the positions are the same.
    """
    crosses = [each for state in states for each in state.balance.pools]
    maintenance = _total(each.venue_maintenance_margin for each in crosses)
    initial = _total(each.venue_initial_margin for each in crosses)
    isolated = _isolated(states)
    equity = None if total is None or isolated is None else DIGITS.subtract(total, isolated)
    pnl = _total(each.venue_unrealized_pnl for each in _rows(states) if each.margin_mode == "cross")
    held = tuple(sorted((each.id, each.side or "", each.size, each.isolated_cash or "") for each in _rows(states)))
    if together and equity is not None and pnl is not None:
        same = token in settled and settled[token].held == held
        settled[token] = (settled[token] if same else Reckoned(held)).and_now(DIGITS.subtract(equity, pnl))
    cash = computed(settled[token].believed) if token in settled and settled[token].held == held else None
    if cash is not None and not together:
        equity = None
    ratio = None if equity is None or maintenance is None or equity <= 0 else DIGITS.divide(maintenance, equity)
    return PoolState(
        pool=f"unified:{token}",
        ccy=token,
        cash=cash,
        venue_equity=None if equity is None else computed(equity),
        venue_maintenance_margin=None if maintenance is None else computed(maintenance),
        venue_initial_margin=None if initial is None else computed(initial),
        venue_ratio=None if ratio is None else computed(ratio),
    )


def _isolated(states: Iterable[parse.DexState]) -> Decimal | None:
    return _total(each.isolated_margin for each in _rows(states) if each.margin_mode == "isolated")


def _rows(states: Iterable[parse.DexState]) -> Iterator[PositionState]:
    return (each for state in states for each in state.snapshot.positions)


def _total(figures: Iterable[str | None]) -> Decimal | None:
    """Return the sum; None where any figure is not known."""
    total = Decimal(0)
    for figure in figures:
        if figure is None:
            return None
        total = DIGITS.add(total, Decimal(figure))
    return total
