"""A private engine of a few accounts, made from what the live one knows, in which changes are tried that nobody made.

Changes go in as the reports that a venue would send after them, so that pools, models and tiers are the live ones. At the mark,
without fees and slippage. Never touches the live engine. Pure.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from decimal import Decimal
from functools import cached_property
from typing import Any

import msgspec

from exchanges.events import (
    BalanceState,
    CoinBalance,
    Event,
    Instrument,
    MarginTiers,
    PoolState,
    PositionState,
    Price,
    Side,
    position_id,
)
from gateway.core.accounts import Account, Pool
from gateway.core.anchor import is_inverse, paid_apart, signed_quantity
from gateway.core.collateral import counted
from gateway.core.pools import Pools
from gateway.core.protocol import Refusal
from gateway.core.rows import settle_of
from gateway.core.state import Position
from gateway.engine import Engine

_SCALED = ("venue_notional", "venue_value", "venue_initial_margin", "trading_fee")
_SCOPE = "trial"
_NO_WORD: dict[str, Any] = {"venue_liquidation_price": None, "venue_margin_ratio": None, "liquidation_known": "unknown"}


class Trial:
    """See the module.

    What is live is read as a trial is made, between turns and at once; the rest may go on elsewhere, while the live engine turns.

    Args:
        accounts: Names of known accounts.
        now: Our clock, ms.
    """

    def __init__(self, live: Engine, accounts: Collection[str], now: int) -> None:
        self._now, market = now, live.market
        held = [live.accounts[name] for name in sorted(accounts)]
        self._instruments, self._tiers_by = dict(market.instruments), dict(market.tiers)
        self._marks = {key: symbol.value for key, symbol in market.symbols.items() if symbol.value is not None}
        self._empty = live.alike(account.info for account in held)
        self._empty.market.currencies.take_over(market.currencies)
        self._delta: dict[tuple[str, str], float] = {}
        for account in held:
            for pool in account.pools.values():
                key = account.info.name, pool.name
                self._delta[key] = float(live.book.delta[pool.number])
                if pool.number in live.pools.beyond:
                    self._empty.pools.carried[key] = live.pools.beyond[pool.number]
        rows = [live.positions[row_id] for account in held for row_id in sorted(account.positions)]
        marks = {row.symbol.key for row in rows} & self._marks.keys()
        self._first: list[list[Event]] = [
            [*self._market(live, held), *(event for account in held for event in _reports(live.pools, account))],
            # Without the venue's order: what is tried is never older than what was.
            [msgspec.structs.replace(row.state, fence=()) for row in rows],
            [_price(key, self._marks[key]) for key in sorted(marks)],
        ]

    @cached_property
    def engine(self) -> Engine:
        """The private engine, with the accounts as they were."""
        for events in self._first:
            self._turn(self._empty, events)
        return self._empty

    # --- changes ---------------------------------------------------------------------------------------------------------

    def close(self, row_id: str, share: float) -> None:
        """Close a share of a position: its profit is realised, and what an isolated one held is free again."""
        position = self._position(row_id)
        left = Decimal(1) - Decimal(repr(share))
        state = self._present(position)
        upnl = Decimal(state.venue_unrealized_pnl or "nan") * left
        cash, margin = (_times(amount, left) for amount in (state.isolated_cash, state.isolated_margin))
        self._change(position, self._resized(position, left, upnl, isolated_cash=cash, isolated_margin=margin))

    def add(self, account: str, ccy: str, amount: float) -> None:
        """Put money into an account, or take it out."""
        given = Decimal(repr(amount))
        self._pay(self.engine.accounts[account], ccy, given, given)

    def open(
        self, account: str, symbol: str, side: Side, size: float, leverage: float | None, price: float | None
    ) -> str:
        """Open a position or add to one, at the mark; what stands against it is closed first. Return the position's id."""
        owner = self.engine.accounts[account]
        against = self._against(owner, symbol, side)
        if against is not None:
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

    def against(self, account: str, symbol: str, side: Side) -> float:
        """Return the size of what stands against a side: it is closed first; 0 where nothing does."""
        found = self._against(self.engine.accounts[account], symbol, side)
        return float(found.state.size) if found is not None else 0.0

    def state_of(self, account: str, symbol: str) -> list[Event]:
        """Return what brings an account's balances and its rows of a symbol back to where they are now."""
        owner = self.engine.accounts[account]
        rows = [self.engine.positions[row_id].state for row_id in sorted(owner.positions)]
        return [*_reports(self.engine.pools, owner), *(state for state in rows if state.symbol == symbol)]

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
        instrument = self._instruments.get(key)
        if instrument is None:
            raise Refusal("bad_scenario", f"{info.venue} lists no {symbol} that is known here")
        known = self.engine.market.symbols.get(key)
        mark = known.value if known is not None else self._marks.get(key)
        mark = repr(price) if mark is None and price is not None else mark
        if mark is None:
            raise Refusal("bad_scenario", f"no mark of {symbol} is known, since nobody holds it: add its price")
        pool = _pool_for(owner, instrument)
        state = PositionState(
            account=info.name, id=position_id(info.name, symbol, "trial", side), scope=_SCOPE, symbol=symbol,
            kind=instrument.kind, side=side, size=_text(size), margin_mode="cross", pool=pool.name,
            settle=instrument.settle, entry_price=mark, mark_price=mark, venue_unrealized_pnl="0",
            leverage=_text(leverage) if leverage is not None else None, max_leverage=instrument.max_leverage,
        )  # fmt: skip
        self._say([instrument, *self._tiers(instrument), state, _price(key, mark)])
        spent = self._worth(self._position(state.id), state)
        self._pay(owner, instrument.settle, -spent, -spent, pool)
        return state.id

    def _enlarge(self, position: Position, size: float, leverage: float | None) -> None:
        """Add to a position; margin of what is added moves into an isolated one."""
        state, more = self._present(position), Decimal(repr(size))
        held = Decimal(state.size)
        funds: dict[str, str | None] = {}
        if position.pool.isolated:
            value = self._value(position, state) * more / held
            lever = Decimal(repr(leverage)) if leverage is not None else Decimal(state.leverage or "nan")
            if lever.is_nan() or state.isolated_cash is None:
                raise Refusal("bad_scenario", f"{state.id} is isolated: say with which leverage it is added to")
            margin = abs(value) / lever
            funds["isolated_cash"] = _plain(
                Decimal(state.isolated_cash) + margin - (value if self._on_value(position) else 0)
            )
            if state.isolated_margin is not None:
                funds["isolated_margin"] = _plain(Decimal(state.isolated_margin) + margin)
        upnl = Decimal(state.venue_unrealized_pnl or "nan")
        self._change(position, self._resized(position, 1 + more / held, upnl, **funds))

    def _change(self, position: Position, after: PositionState) -> None:
        """Let a position be reported with another size, and pay for it: at the mark, equity stays as it was."""
        account, pool, settle = position.account, position.pool, settle_of(position) or ""
        before = self._present(position)
        freed = self._worth(position, before) - self._worth(position, after)
        backing = freed
        if pool.isolated and not (self._on_value(position) or self._apart(position)):
            # The margin is part of the coin's balance, not of what backs the cross positions.
            freed -= Decimal(before.isolated_cash or "nan") - Decimal(after.isolated_cash or 0)
        self._say([after])
        self._pay(account, settle, freed, backing, None if pool.isolated else pool, before.scope)

    def _worth(self, position: Position, state: PositionState) -> Decimal:
        """Return what a position adds to its account beside the balance of the pool, at its message's mark (settle currency)."""
        if not float(state.size):
            return Decimal(0)
        own = Decimal(state.isolated_cash or "nan") if position.pool.isolated else Decimal(0)
        if self._on_value(position):
            return own + self._value(position, state)
        paid = paid_apart(state, position.instrument)
        return own + Decimal(state.venue_unrealized_pnl or "nan") + Decimal(repr(paid))

    @staticmethod
    def _value(position: Position, state: PositionState) -> Decimal:
        """Return a position's signed value at its message's mark (settle currency)."""
        quantity, mark = signed_quantity(state, position.instrument), Decimal(state.mark_price or "nan")
        if quantity is None:
            raise Refusal("bad_scenario", f"the contract size of {state.symbol} is not known")
        return -quantity / mark if is_inverse(state, position.instrument) else quantity * mark

    def _present(self, position: Position) -> PositionState:
        """Return a position as the venue would report it now."""
        figures = self._figures(position)
        upnl, mark = (Decimal(repr(figures[name])) for name in ("upnl", "mark"))
        return msgspec.structs.replace(
            position.state, mark_price=_plain(mark), venue_unrealized_pnl=_plain(upnl), **_NO_WORD
        )

    def _resized(self, position: Position, factor: Decimal, upnl: Decimal, **funds: str | None) -> PositionState:
        """Return a position as the venue would report it now with another size and unrealised PnL.

        Args:
            funds: What an isolated one has then.
        """
        before = self._present(position)
        state = msgspec.structs.replace(before, size=_plain(Decimal(before.size) * factor))
        quantity = signed_quantity(state, position.instrument)
        if not quantity:
            return msgspec.structs.replace(state, **funds)
        mark = Decimal(before.mark_price or "nan")
        # What the profit counts from; an entry that the venue shows beside it changes only where something is added.
        per_unit = upnl / quantity
        start = 1 / (1 / mark + per_unit) if is_inverse(state, position.instrument) else mark - per_unit
        grown = {"entry_price": str(start), "pnl_price": None} if factor > 1 else {"pnl_price": str(start)}
        scaled = {name: _times(getattr(before, name), factor) for name in _SCALED}
        kept = {"venue_unrealized_pnl": _plain(upnl), "venue_maintenance_margin": self._kept(position, state, factor)}
        return msgspec.structs.replace(state, **grown, **scaled, **kept, **funds)

    def _kept(self, position: Position, after: PositionState, factor: Decimal) -> str | None:
        """Return the maintenance that the venue would state of a position with another size: by its tier then.

        What it states beyond the tiers (Bybit's closing fee) goes with the size.
        """
        said = position.state  # of the last message, and so of its mark
        if not said.venue_maintenance_margin:
            return None
        stated, mark = Decimal(said.venue_maintenance_margin), Decimal(after.mark_price or "nan")
        tiers = self._tiers_of(position)
        if tiers is None or not said.mark_price:
            return _plain(stated * factor * mark / Decimal(said.mark_price or mark))
        beyond = stated - self._due(position, said, tiers)
        return _plain(self._due(position, after, tiers) + beyond * factor)

    def _due(self, position: Position, state: PositionState, tiers: MarginTiers) -> Decimal:
        """Return the maintenance of a position by its tier (settle currency)."""
        notional = abs(self._value(position, state))
        amount = Decimal(state.size) if tiers.unit == "contracts" else notional
        tier = next((one for one in reversed(tiers.tiers) if amount >= Decimal(one.lower)), tiers.tiers[0])
        return notional * Decimal(tier.rate) - Decimal(tier.deduction)

    def _pay(
        self, account: Account, ccy: str, amount: Decimal, backing: Decimal, pool: Pool | None = None, scope: str = ""
    ) -> None:
        """Put money where it backs positions: a pool's own balance, or the coin that its pool is made of.

        Args:
            amount: What the account has more of a currency.
            backing: What a pool of that currency has more: isolated margin may leave a pool, and not the account.
            pool: None: the one for that currency, of this scope where it has several.
        """
        if amount.is_nan() or backing.is_nan():
            raise Refusal("bad_scenario", f"what a change brings to {account.info.name} is not known")
        if not amount and not backing:
            return
        shared = [one for one in account.pools.values() if not one.isolated and one.state is not None]
        shared.sort(key=lambda one: one.scope != scope)
        target = pool or next((one for one in shared if one.ccy == ccy), None)
        target = target or next((one for one in shared if one.ccy == "USD"), None)
        if target is not None and target.state is not None and target.state.basis == "value" and target.ccy == ccy:
            self._say([_balance(account, target.scope or "", (), (_richer(target.state, backing),))])
            return
        place = next((name for name, coins in account.coins.items() if ccy in coins), None)
        place = target.scope if target is not None and target.scope is not None else place
        if place is None:
            raise Refusal("bad_scenario", f"{account.info.name} has no balance that {ccy} could be added to")
        coin = account.coins.get(place, {}).get(ccy) or CoinBalance(ccy=ccy, total="0", cash="0")
        if coin.cash is None:
            raise Refusal("bad_scenario", f"the balance of {ccy} of {account.info.name} is not known")
        pools = tuple(
            _richer(one.state, backing if one.ccy == ccy else self._counts(account, coin, amount))
            for one in shared
            if one.state is not None and one.scope == place and one.ccy in (ccy, "USD")
        )
        richer = msgspec.structs.replace(
            coin, cash=_plain(Decimal(coin.cash) + amount), total=_plain(Decimal(coin.total) + amount), equity=None
        )
        # With all others at the prices of that balance: it is of no other moment.
        coins = account.coins.get(place, {}) | {ccy: richer}
        self._say([_balance(account, place, tuple(coins.values()), pools)])

    def _counts(self, account: Account, coin: CoinBalance, amount: Decimal) -> Decimal:
        """Return what more of a coin adds to a balance in US dollars, at the prices of that balance."""
        cash, info = float(coin.cash or 0), account.info
        tiers = self.engine.market.collateral_of(info.venue, info.env, coin.ccy)
        before, after = (counted(coin.ccy, one, coin, tiers) for one in (cash, cash + float(amount)))
        if before is None or after is None:
            raise Refusal("bad_scenario", f"how much of {coin.ccy} counts as collateral at {info.venue} is not known")
        return Decimal(repr((after[0] - before[0]) * account.stated_usd(coin.ccy)))

    def _say(self, events: Sequence[Event]) -> None:
        self._turn(self.engine, events)

    def _turn(self, engine: Engine, events: Sequence[Event]) -> None:
        engine.turn(events, self._now)
        book = engine.book
        before = book.delta.copy()
        for account in engine.accounts.values():
            for pool in account.pools.values():
                book.delta[pool.number] = self._delta.get((account.info.name, pool.name), 0.0)
        if (book.delta != before).any():
            book.recompute()

    def _market(self, live: Engine, held: list[Account]) -> list[Event]:
        market = live.market
        places = {(account.info.venue, account.info.env) for account in held}
        names = {live.positions[row_id].symbol.key for account in held for row_id in account.positions}
        instruments = [market.instruments[name] for name in sorted(names) if name in market.instruments]
        found: list[Event] = [tiers for key, tiers in market.collateral.items() if key[:2] in places]
        for instrument in instruments:
            found += [instrument, *self._tiers(instrument)]
        return found

    def _tiers(self, instrument: Instrument) -> list[Event]:
        if instrument.tiers_key is None:
            return []
        key = instrument.venue, instrument.env, instrument.tiers_key
        return list(self._tiers_by.get(key, {}).values())

    def _tiers_of(self, position: Position) -> MarginTiers | None:
        state = position.state
        found = self.engine.market.tiers_of(position.instrument, state.margin_mode, state.account)
        return found if found is not None and found.tiers else None

    def _position(self, row_id: str) -> Position:
        position = self.engine.positions.get(row_id)
        if position is None:
            raise Refusal("bad_scenario", f"there is no position {row_id!r} (any more)")
        return position

    def _against(self, owner: Account, symbol: str, side: Side) -> Position | None:
        hedge = owner.mode is not None and owner.mode.hedge
        return None if hedge else self._held(owner, symbol, "short" if side == "long" else "long")

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


def _reports(pools: Pools, account: Account) -> list[Event]:
    """Return what the venue last said of an account as a whole, as one answer a scope: every coin at its price of that moment."""
    found: list[Event] = [account.mode] if account.mode is not None else []
    scopes = {pool.scope for pool in account.pools.values() if pool.scope is not None} | account.coins.keys()
    for scope in sorted(scopes):
        states = tuple(
            msgspec.structs.replace(pool.state, cash=pools.balance(pool))
            for pool in account.pools.values()
            if pool.scope == scope and pool.state is not None
        )
        coins = tuple(_priced(account, coin) for coin in account.coins.get(scope, {}).values())
        found.append(_balance(account, scope, coins, states, full=True))
    return found


def _priced(account: Account, coin: CoinBalance) -> CoinBalance:
    if coin.usd_price is None:
        return coin
    return msgspec.structs.replace(coin, usd_price=repr(account.stated_usd(coin.ccy)))


def _balance(
    account: Account, scope: str, coins: tuple[CoinBalance, ...], pools: tuple[PoolState, ...], *, full: bool = False
) -> BalanceState:
    return BalanceState(account=account.info.name, scope=scope, full=full, coins=coins, pools=pools)


def _richer(state: PoolState, amount: Decimal) -> PoolState:
    cash = _plain(Decimal(state.cash) + amount) if state.cash is not None else None
    equity = _plain(Decimal(state.venue_equity) + amount) if state.venue_equity is not None else None
    return msgspec.structs.replace(state, cash=cash, venue_equity=equity, available=None)


def _pool_for(account: Account, instrument: Instrument) -> Pool:
    """Return the pool that a new cross position of a contract would be in."""
    cross = [pool for pool in account.pools.values() if not pool.isolated]
    for ccy in (instrument.settle, "USD"):
        for pool in cross:
            if pool.ccy == ccy:
                return pool
    raise Refusal(
        "bad_scenario",
        f"{account.info.name} has no pool of margin in {instrument.settle} that {instrument.symbol} could join",
    )


def _price(key: tuple[str, str, str], value: str) -> Price:
    return Price(venue=key[0], env=key[1], symbol=key[2], value=value)


def _text(value: float) -> str:
    return _plain(Decimal(repr(value)))


def _plain(value: Decimal) -> str:
    return format(value, "f")


def _times(amount: str | None, factor: Decimal) -> str | None:
    return _plain(Decimal(amount) * factor) if amount else None
