"""A private engine of a few accounts, made from what the live one knows, in which changes are tried that nobody made.

Changes go in as the reports that a venue would send after them, so that pools, models and tiers are the live ones. At the mark,
without fees and slippage. Never touches the live engine. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from decimal import Decimal
from typing import Any

import msgspec

from exchanges.events import (
    BalanceState,
    CoinBalance,
    Event,
    Instrument,
    PoolState,
    PositionState,
    Price,
    Side,
    position_id,
)
from gateway.core.accounts import Account, Pool
from gateway.core.anchor import is_inverse, signed_quantity
from gateway.core.collateral import counted
from gateway.core.protocol import Refusal
from gateway.core.rows import settle_of
from gateway.core.state import Position
from gateway.engine import Engine

_SCALED = (
    "venue_unrealized_pnl",
    "venue_notional",
    "venue_value",
    "venue_initial_margin",
    "venue_maintenance_margin",
    "isolated_margin",
    "isolated_cash",
    "trading_fee",
)
_SCOPE = "trial"
_NO_WORD: dict[str, Any] = {"venue_liquidation_price": None, "venue_margin_ratio": None, "liquidation_known": "unknown"}


class Trial:
    """See the module.

    Args:
        live: Read between turns, at once.
        accounts: Names of known accounts.
        now: Our clock, ms.
    """

    def __init__(self, live: Engine, accounts: Collection[str], now: int) -> None:
        self._live, self._now = live, now
        held = [live.accounts[name] for name in sorted(accounts)]
        self.engine = live.alike(account.info for account in held)
        self.engine.market.currencies.take_over(live.market.currencies)
        self._delta: dict[tuple[str, str], float] = {}
        for account in held:
            for pool in account.pools.values():
                key = account.info.name, pool.name
                self._delta[key] = float(live.book.delta[pool.number])
                if pool.number in live.pools.beyond:
                    self.engine.pools.carried[key] = live.pools.beyond[pool.number]
        self._say([*self._market(held), *(event for account in held for event in _reports(account))])
        rows = [live.positions[row_id] for account in held for row_id in sorted(account.positions)]
        # Without the venue's order: what is tried is never older than what was.
        self._say([msgspec.structs.replace(row.state, fence=()) for row in rows])
        marks = {row.symbol for row in rows}
        self._say([_price(symbol.key, symbol.value) for symbol in marks if symbol.value is not None])

    # --- changes ---------------------------------------------------------------------------------------------------------

    def close(self, row_id: str, share: float) -> None:
        """Close a share of a position: its profit is realised, and what an isolated one held is free again."""
        position = self._position(row_id)
        figures = self._figures(position)
        state, left = position.state, Decimal(1) - Decimal(repr(share))
        upnl, value = figures["upnl"], figures["value"]
        margin = float(state.isolated_cash or "nan") if position.pool.isolated else 0.0
        on_value = self._on_value(position)
        gain = share * ((margin + value) if position.pool.isolated else value) if on_value else share * upnl
        if position.pool.isolated and not on_value and self._apart(position):
            gain += share * margin
        scaled = {
            name: format(Decimal(found) * left, "f") for name in _SCALED if (found := getattr(state, name)) is not None
        }
        size = format(Decimal(state.size) * left, "f") if left else "0"
        self._say([msgspec.structs.replace(state, size=size, **scaled, **_NO_WORD)])
        self._pay(position.account, settle_of(position) or "", gain, None if position.pool.isolated else position.pool)

    def add(self, account: str, ccy: str, amount: float) -> None:
        """Put money into an account, or take it out."""
        self._pay(self.engine.accounts[account], ccy, amount, None)

    def open(
        self, account: str, symbol: str, side: Side, size: float, leverage: float | None, price: float | None
    ) -> str:
        """Open a position or add to one, at the mark; what stands against it is closed first. Return the position's id."""
        owner = self.engine.accounts[account]
        against = self._held(owner, symbol, "short" if side == "long" else "long")
        if against is not None and not (owner.mode is not None and owner.mode.hedge):
            there = float(against.state.size)
            self.close(against.state.id, min(1.0, size / there))
            if size <= there:
                return against.state.id
            size -= there
        held = self._held(owner, symbol, side)
        if held is None:
            return self._open(owner, symbol, side, size, leverage, price)
        self._enlarge(held, size, leverage)
        return held.state.id

    def state_of(self, account: str, symbol: str) -> list[Event]:
        """Return what brings an account's balances and its rows of a symbol back to where they are now."""
        owner = self.engine.accounts[account]
        rows = [self.engine.positions[row_id].state for row_id in sorted(owner.positions)]
        return [*_reports(owner), *(state for state in rows if state.symbol == symbol)]

    def restore(self, before: list[Event]) -> None:
        """Go back to where ``state_of`` was taken; rows of its symbol that came since then go."""
        kept = {event.id for event in before if isinstance(event, PositionState)}
        gone = [
            msgspec.structs.replace(position.state, size="0")
            for row_id, position in self.engine.positions.items()
            if position.state.scope == _SCOPE and row_id not in kept
        ]
        self._say([*gone, *before])

    # --- inside ----------------------------------------------------------------------------------------------------------

    def _open(
        self, owner: Account, symbol: str, side: Side, size: float, leverage: float | None, price: float | None
    ) -> str:
        info = owner.info
        key = info.venue, info.env, symbol
        instrument = self._live.market.instruments.get(key)
        if instrument is None:
            raise Refusal("bad_scenario", f"{info.venue} lists no {symbol} that is known here")
        known = self._live.market.symbols.get(key)
        mark = repr(price) if price is not None else known.value if known is not None else None
        if mark is None:
            raise Refusal("bad_scenario", f"no mark of {symbol} is known, since nobody holds it: add its price")
        state = PositionState(
            account=info.name, id=position_id(info.name, symbol, "trial", side), scope=_SCOPE, symbol=symbol,
            kind=instrument.kind, side=side, size=_text(size), margin_mode="cross", pool=_pool_for(owner, instrument),
            settle=instrument.settle, entry_price=mark, mark_price=mark, venue_unrealized_pnl="0",
            leverage=_text(leverage) if leverage is not None else None, max_leverage=instrument.max_leverage,
        )  # fmt: skip
        self._say([instrument, *self._tiers(instrument), state, _price(key, mark)])
        return state.id

    def _enlarge(self, position: Position, size: float, leverage: float | None) -> None:
        state, figures = position.state, self._figures(position)
        mark = Decimal(repr(figures["mark"]))
        more = Decimal(repr(size))
        total = Decimal(state.size) + more
        changed = msgspec.structs.replace(state, size=format(total, "f"))
        quantity = signed_quantity(changed, position.instrument) or Decimal("nan")
        upnl = Decimal(repr(figures["upnl"]))
        inverse = is_inverse(state, position.instrument)
        entry = 1 / (1 / mark + upnl / quantity) if inverse else mark - upnl / quantity
        scale = total / Decimal(state.size) * mark / Decimal(state.mark_price or repr(float(mark)))
        rated = state.venue_maintenance_margin if not self._tiered(position) else None
        fields: dict[str, object] = {
            "entry_price": str(entry),
            "pnl_price": None,
            "mark_price": str(mark),
            "venue_unrealized_pnl": str(upnl),
            "venue_maintenance_margin": str(Decimal(rated) * scale) if rated else None,
            "trading_fee": None,
            "venue_notional": None,
            **_NO_WORD,
        }
        if position.pool.isolated:
            fields |= self._fund(position, more, float(mark), leverage)
        self._say([msgspec.structs.replace(changed, **fields)])

    def _fund(self, position: Position, more: Decimal, mark: float, leverage: float | None) -> dict[str, object]:
        """Move the margin of what is added into an isolated position."""
        state = position.state
        lever = leverage if leverage is not None else float(state.leverage or "nan")
        added = msgspec.structs.replace(state, size=format(more, "f"))
        quantity = float(signed_quantity(added, position.instrument) or "nan")
        value = -quantity / mark if is_inverse(state, position.instrument) else quantity * mark
        margin = abs(value) / lever
        if math.isnan(margin) or state.isolated_cash is None:
            raise Refusal("bad_scenario", f"{state.id} is isolated: say with which leverage it is added to")
        on_value = self._on_value(position)
        if on_value or self._apart(position):
            self._pay(position.account, settle_of(position) or "", -margin, None)
        cash = float(state.isolated_cash) + margin - (value if on_value else 0.0)
        return {
            "isolated_cash": _text(cash),
            "isolated_margin": _text(float(state.isolated_margin) + margin) if state.isolated_margin else None,
        }

    def _pay(self, account: Account, ccy: str, amount: float, pool: Pool | None) -> None:
        """Put money where it backs positions: a pool's own balance, or the coin that its pool is made of."""
        if math.isnan(amount):
            raise Refusal("bad_scenario", f"what a change brings to {account.info.name} is not known")
        shared = [one for one in account.pools.values() if not one.isolated and one.state is not None]
        target = pool or next((one for one in shared if one.ccy == ccy), None)
        target = target or next((one for one in shared if one.ccy == "USD"), None)
        scope = next((name for name, coins in account.coins.items() if ccy in coins), None)
        if target is not None and target.state is not None and target.state.basis == "value" and target.ccy == ccy:
            self._say([_balance(account, target.scope or "", (), (_richer(target.state, amount),))])
            return
        scope = target.scope if target is not None and target.scope is not None else scope
        if scope is None:
            raise Refusal("bad_scenario", f"{account.info.name} has no balance that {ccy} could be added to")
        coin = account.coins.get(scope, {}).get(ccy) or CoinBalance(ccy=ccy, total="0", cash="0")
        if coin.cash is None:
            raise Refusal("bad_scenario", f"the balance of {ccy} of {account.info.name} is not known")
        pools = tuple(
            _richer(one.state, amount if one.ccy == ccy else self._counts(account, coin, amount))
            for one in shared
            if one.state is not None and one.scope == scope and one.ccy in (ccy, "USD")
        )
        richer = msgspec.structs.replace(
            coin, cash=_text(float(coin.cash) + amount), total=_text(float(coin.total) + amount), equity=None
        )
        self._say([_balance(account, scope, (richer,), pools)])

    def _counts(self, account: Account, coin: CoinBalance, amount: float) -> float:
        """Return what more of a coin adds to a balance in US dollars, at the prices of that balance."""
        cash, info = float(coin.cash or 0), account.info
        tiers = self.engine.market.collateral_of(info.venue, info.env, coin.ccy)
        before, after = (counted(coin.ccy, one, coin, tiers) for one in (cash, cash + amount))
        if before is None or after is None:
            raise Refusal("bad_scenario", f"how much of {coin.ccy} counts as collateral at {info.venue} is not known")
        return (after[0] - before[0]) * account.stated_usd(coin.ccy)

    def _say(self, events: Sequence[Event]) -> None:
        self.engine.turn(events, self._now)
        book = self.engine.book
        for account in self.engine.accounts.values():
            for pool in account.pools.values():
                book.delta[pool.number] = self._delta.get((account.info.name, pool.name), 0.0)
        book.recompute()

    def _market(self, held: list[Account]) -> list[Event]:
        market = self._live.market
        places = {(account.info.venue, account.info.env) for account in held}
        names = {self._live.positions[row_id].symbol.key for account in held for row_id in account.positions}
        instruments = [market.instruments[name] for name in sorted(names) if name in market.instruments]
        found: list[Event] = [tiers for key, tiers in market.collateral.items() if key[:2] in places]
        for instrument in instruments:
            found += [instrument, *self._tiers(instrument)]
        return found

    def _tiers(self, instrument: Instrument) -> list[Event]:
        if instrument.tiers_key is None:
            return []
        key = instrument.venue, instrument.env, instrument.tiers_key
        return list(self._live.market.tiers.get(key, {}).values())

    def _tiered(self, position: Position) -> bool:
        info = position.account.info
        found = self.engine.market.tiers_of(position.instrument, position.state.margin_mode, info.name)
        return found is not None

    def _position(self, row_id: str) -> Position:
        position = self.engine.positions.get(row_id)
        if position is None:
            raise Refusal("bad_scenario", f"there is no position {row_id!r} (any more)")
        return position

    def _held(self, account: Account, symbol: str, side: Side) -> Position | None:
        rows = (self.engine.positions[row_id] for row_id in sorted(account.positions))
        return next((row for row in rows if (row.state.symbol, row.state.side) == (symbol, side)), None)

    def _figures(self, position: Position) -> dict[str, float]:
        figures = self.engine.book.figures(position.handle)
        if not {"mark", "upnl", "value"} <= figures.keys():
            raise Refusal("bad_scenario", f"mark or profit of {position.state.id} is not known")
        return figures

    @staticmethod
    def _on_value(position: Position) -> bool:
        pool = position.pool
        return (position.state.isolated_basis if pool.state is None else pool.state.basis) == "value"

    @staticmethod
    def _apart(position: Position) -> bool:
        settle = settle_of(position)
        return any(coin.isolated_apart for coin in position.account.all_coins() if coin.ccy == settle)


def _reports(account: Account) -> list[Event]:
    """Return what the venue last said of an account as a whole, as one answer a scope."""
    found: list[Event] = [account.mode] if account.mode is not None else []
    scopes = {pool.scope for pool in account.pools.values() if pool.scope is not None} | account.coins.keys()
    for scope in sorted(scopes):
        pools = tuple(pool.state for pool in account.pools.values() if pool.scope == scope and pool.state is not None)
        found.append(_balance(account, scope, tuple(account.coins.get(scope, {}).values()), pools))
    return found


def _balance(
    account: Account, scope: str, coins: tuple[CoinBalance, ...], pools: tuple[PoolState, ...]
) -> BalanceState:
    return BalanceState(account=account.info.name, scope=scope, full=False, coins=coins, pools=pools)


def _richer(state: PoolState, amount: float) -> PoolState:
    cash = _text(float(state.cash) + amount) if state.cash is not None else None
    equity = _text(float(state.venue_equity) + amount) if state.venue_equity is not None else None
    return msgspec.structs.replace(state, cash=cash, venue_equity=equity, available=None)


def _pool_for(account: Account, instrument: Instrument) -> str:
    """Return the pool that a new cross position of a contract would be in."""
    cross = [pool for pool in account.pools.values() if not pool.isolated]
    for ccy in (instrument.settle, "USD"):
        for pool in cross:
            if pool.ccy == ccy:
                return pool.name
    raise Refusal(
        "bad_scenario",
        f"{account.info.name} has no pool of margin in {instrument.settle} that {instrument.symbol} could join",
    )


def _price(key: tuple[str, str, str], value: str) -> Price:
    return Price(venue=key[0], env=key[1], symbol=key[2], value=value)


def _text(value: float) -> str:
    return format(Decimal(repr(value)), "f")
