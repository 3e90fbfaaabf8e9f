"""What a margin model read and what the venue said of the same moment, fit to be handed on: no account, address, id or secret.

Owns the form of a pair, and which fields of a report may be in it. A pair is one pool at the moment of one message, as the events
that lead an engine there, so that any later version of a model can be judged by it. It does tell sizes, prices and balances. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from exchanges.events import (
    AccountMode,
    BalanceState,
    CollateralTiers,
    CurrencyPrice,
    Instrument,
    MarginTiers,
    PositionState,
    Price,
)
from gateway.core.accounts import Account, Pool, pool_name
from gateway.core.market import Market
from gateway.core.rows import settle_of
from gateway.core.state import Position

ACCOUNT = "0"  # what every account is called in a pair


class Pair(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One pool at one message.

    Attributes:
        at: When the message came, or was asked for (ms).
        positions: Its rows, with the venue's figures that are to be explained.
        others: Further rows of the pool, as last reported.
        prices: The present marks of those; ``at``: when each came.
        balances: What backs the pool; ``together``: it came in the same message.
    """

    venue: str
    env: str
    at: int
    positions: tuple[PositionState, ...]
    others: tuple[PositionState, ...] = ()
    prices: tuple[Price, ...] = ()
    balances: tuple[BalanceState, ...] = ()
    together: bool = False
    mode: AccountMode | None = None
    instruments: tuple[Instrument, ...] = ()
    tiers: tuple[MarginTiers, ...] = ()
    collateral: tuple[CollateralTiers, ...] = ()
    currencies: tuple[CurrencyPrice, ...] = ()


def pairs(accounts: Mapping[str, Account], positions: Mapping[str, Position], market: Market) -> Iterator[Pair]:
    """Yield a pair for every pool whose last comparison with its venue counted."""
    for account in accounts.values():
        for pool in account.pools.values():
            if pool.calibration is not None and pool.calibration.rows:
                members = [positions[row_id] for row_id in sorted(pool.members)]
                yield _pair(account, pool, members, market)


def _pair(account: Account, pool: Pool, members: list[Position], market: Market) -> Pair:
    compared = pool.calibration.rows if pool.calibration is not None else {}
    message = max(
        (one.message for one in members if one.state.id in compared and one.message is not None), key=lambda m: m[1]
    )
    rows = [one for one in members if one.message == message]
    others = [one for one in members if one.message != message]
    info = account.info
    instruments = {one.instrument.symbol: one.instrument for one in members if one.instrument is not None}
    found = (market.tiers_of(one.instrument, one.state.margin_mode, info.name) for one in members)
    tiers = {each.key: _of_nobody(each) for each in found if each is not None}
    coins = tuple(account.coins.get(pool.scope or "", {}).values()) if not pool.isolated else ()
    known = {coin.ccy for coin in coins} | {settle for one in members if (settle := settle_of(one)) is not None}
    collateral = (market.collateral_of(info.venue, info.env, ccy) for ccy in sorted(known))
    balances: tuple[BalanceState, ...] = ()
    if pool.state is not None and pool.scope is not None and not pool.isolated:
        balances = (BalanceState(account=ACCOUNT, scope=pool.scope, full=True, coins=coins, pools=(pool.state,)),)
    return Pair(
        venue=info.venue,
        env=info.env,
        at=max(one.as_of for one in rows),
        positions=tuple(_anonymous(one.state) for one in rows),
        others=tuple(_anonymous(one.state) for one in others),
        prices=tuple(_price(one) for one in others if one.symbol.value is not None),
        balances=balances,
        together=pool.message == message,
        mode=msgspec.structs.replace(account.mode, account=ACCOUNT) if account.mode is not None else None,
        instruments=tuple(instruments.values()),
        tiers=tuple(tiers.values()),
        collateral=tuple(each for each in collateral if each is not None),
        currencies=tuple(
            CurrencyPrice(venue=info.venue, env=info.env, ccy=ccy, usd=repr(usd))
            for ccy in sorted(known)
            if (usd := account.usd(ccy)) > 0.0
        ),
    )


def _anonymous(state: PositionState) -> PositionState:
    """Return a report without whose it is, and without what no model reads."""
    row_id = ":".join((ACCOUNT, *state.id.split(":")[1:]))
    pool = state.pool if not state.pool.startswith("iso:") else pool_name("isolated", "", row_id)
    return msgspec.structs.replace(
        state, account=ACCOUNT, id=row_id, pool=pool, fence=(), venue_at=None, opened_at=None, take_profit=None, stop_loss=None,
        break_even_price=None, adl=None,
    )  # fmt: skip


def _of_nobody(tiers: MarginTiers) -> MarginTiers:
    return msgspec.structs.replace(tiers, account=ACCOUNT) if tiers.account is not None else tiers


def _price(one: Position) -> Price:
    venue, env, symbol = one.symbol.key
    return Price(venue=venue, env=env, symbol=symbol, value=one.symbol.value or "", at=one.symbol.received_at)
