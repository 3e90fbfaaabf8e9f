"""The single writer: turns of events go in, versions of table rows come out.

Owns all live state: accounts, positions, symbols, the columns and the tables. A turn is the normalized events of one pass of
the event loop, with the time it was taken at; clock turns bring staleness and slow figures. Nothing in here reads a clock, a
socket or a file, so that a recording, a restart and the live path are one mechanism.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

from exchanges.events import (
    AccountMode,
    BalanceState,
    Event,
    FeedStatus,
    Instrument,
    MarginTiers,
    PoolState,
    PositionsSnapshot,
    PositionState,
    Price,
)
from gateway.core.accounts import Account, AccountInfo, Pool, pool_name
from gateway.core.anchor import anchor, computable, is_inverse
from gateway.core.margin import Inputs, Maintenance, parameters
from gateway.core.positions import Book, Row
from gateway.core.reconcile import Fences
from gateway.core.rows import account_row, position_row
from gateway.core.state import Feed, Position, Symbol
from gateway.core.summary import shares, summaries
from gateway.core.tables import RowKey, Table, Tables

SymbolKey = tuple[str, str, str]  # venue, env, symbol


class Sink(Protocol):
    """Where durable state goes; every call returns at once and never raises."""

    def put_position(self, state: PositionState, seq: int) -> None: ...
    def remove_position(self, row_id: str, seq: int) -> None: ...
    def put_instrument(self, instrument: Instrument) -> None: ...
    def put_tiers(self, tiers: MarginTiers) -> None: ...
    def put_balance(self, balance: BalanceState) -> None: ...
    def put_mode(self, mode: AccountMode) -> None: ...


class Settings(Protocol):
    """What the engine needs of the configuration."""

    @property
    def mark_max_age_ms(self) -> Mapping[str, int]: ...
    @property
    def dust_usd(self) -> float: ...
    @property
    def liquidation_risk_distance(self) -> float: ...


class Engine:
    """See the module. ``tables`` must hold positions, accounts, summary and feeds, made by ``make_tables``."""

    def __init__(
        self, epoch: str, accounts: Iterable[AccountInfo], settings: Settings, sink: Sink | None = None
    ) -> None:
        self.book = Book()
        self.settings = settings
        self.counters: Counter[str] = Counter()
        self.accounts: dict[str, Account] = {}
        self.positions: dict[str, Position] = {}
        self.symbols: dict[SymbolKey, Symbol] = {}
        self.instruments: dict[SymbolKey, Instrument] = {}
        self.tiers: dict[tuple[str, str, str], MarginTiers] = {}
        self.feeds: dict[str, Feed] = {}
        self.wanted_version = 0  # rises when the set of symbols that need marks changes
        self._sink = sink
        self._fences = Fences()
        self._slots: dict[int, Position] = {}
        self._pool_owner: dict[int, Account] = {}
        self._dirty: set[str] = set()
        self._dirty_pools: dict[int, Pool] = {}
        self._recompute = False
        self._handlers: dict[type[Event], Callable[..., None]] = {
            Price: self._on_price,
            PositionState: self._on_position,
            PositionsSnapshot: self._on_snapshot,
            BalanceState: self._on_balance,
            AccountMode: self._on_mode,
            Instrument: self._on_instrument,
            MarginTiers: self._on_tiers,
            FeedStatus: self._on_feed,
        }
        both = frozenset({"accounts", "symbols"})
        self.tables = Tables(
            epoch,
            Table("positions", self._read_position, both),
            Table("accounts", self._read_account, frozenset({"accounts"})),
            Table("summary", lambda _, row_id: self._summaries[row_id], frozenset()),
            Table("feeds", lambda _, row_id: self.feeds[row_id].row(), frozenset({"accounts"})),
        )
        self._summaries: dict[str, dict[str, object]] = {}
        self._positions_table = self.tables["positions"]
        for info in accounts:
            self.add_account(info)

    def add_account(self, info: AccountInfo) -> None:
        """Make an account known; events of unknown accounts are counted and ignored."""
        self._seq = self.tables.begin()
        self.accounts[info.name] = Account(info)
        self._touch_row("accounts", info.name, RowKey(info.name, info.user, info.venue, None))
        self.tables.commit(self.tables.at)

    # --- turns ---------------------------------------------------------------------------------------------------

    def turn(self, events: Sequence[Event], now: int) -> bool:
        """Apply the events of one turn, recompute once, publish one change set; return whether anything changed."""
        self._seq = self.tables.begin()
        for event in events:
            self._handlers[type(event)](event, now)
        self._settle()
        return self.tables.commit(now)

    def clock(self, now: int, last_messages: Mapping[str, int] | None = None) -> bool:
        """Apply a clock turn (about once a second): ages of marks and feeds, shares and summaries."""
        self._seq = self.tables.begin()
        for symbol in self.symbols.values():
            self._age(symbol, now)
        for feed_id, at in (last_messages or {}).items():
            feed = self.feeds.get(feed_id)
            if feed and feed.heard(at):
                self._touch_row("feeds", feed_id)
        self._settle()
        self._share()
        for user_row, summary in self._summarize().items():
            if self._summaries.get(user_row) != summary:
                self._summaries[user_row] = summary
                self._touch_row("summary", user_row, RowKey(None, user_row, None, None))
        return self.tables.commit(now)

    def restore(self, events: Sequence[Event], now: int) -> bool:
        """Load the last stored state: shown at once, marked ``restored`` until the venue speaks."""
        self._seq = self.tables.begin()
        sink, self._sink = self._sink, None  # what came from storage is not written back
        for event in events:
            if isinstance(event, PositionState | BalanceState | AccountMode):
                account = self.accounts.get(event.account)
                if account is None:
                    continue  # an account that is no longer configured: its rows stay in storage, unshown
                account.restored_since = now
                event_at = 0  # older than anything that a venue will say
            else:
                event_at = now
            self._handlers[type(event)](event, event_at)
        for position in self.positions.values():
            position.restored = True
        self._sink = sink
        self._settle()
        return self.tables.commit(now)

    def wanted(self) -> dict[tuple[str, str], set[str]]:
        """Return the symbols whose marks are needed, per (venue, env)."""
        found: dict[tuple[str, str], set[str]] = {}
        for (venue, env, name), symbol in self.symbols.items():
            if symbol.positions:
                found.setdefault((venue, env), set()).add(name)
        return found

    # --- prices and contracts ------------------------------------------------------------------------------------

    def _on_price(self, price: Price, now: int) -> None:
        """Take a newer mark of a price feed. One without a venue time is ordered by its connection alone."""
        symbol = self.symbols.get((price.venue, price.env, price.symbol)) if price.kind == "mark" else None
        if symbol is None or (price.at is not None and symbol.feed_at is not None and price.at < symbol.feed_at):
            return
        symbol.feed_at = price.at
        if symbol.stale:
            symbol.stale = None
            self._touch_symbol(symbol)
        self._set_mark(symbol, price.value, price.at if price.at is not None else now, now, "feed")

    def _position_mark(self, symbol: Symbol, value: str, at: int, now: int) -> None:
        """Take the mark of a position message where no live feed has one; it never moves a mark backwards."""
        if (symbol.source == "feed" and self.marks_down_since(symbol) is None) or (
            symbol.at is not None and at < symbol.at
        ):
            return
        self._set_mark(symbol, value, at, now, "position")

    def _set_mark(self, symbol: Symbol, value: str, at: int, now: int, source: str) -> None:
        symbol.at, symbol.received_at, symbol.source = at, now, source
        if symbol.value != value:
            symbol.value = value
            self.book.symbols.set(symbol.number, float(value))
            self._recompute = True

    def _on_instrument(self, instrument: Instrument, _now: int) -> None:
        key = (instrument.venue, instrument.env, instrument.symbol)
        if self.instruments.get(key) == instrument:
            return
        self.instruments[key] = instrument
        if self._sink:
            self._sink.put_instrument(instrument)
        symbol = self.symbols.get(key)
        if symbol is not None:
            self.book.symbols.orient(symbol.number, inverse=instrument.contract_type == "inverse")
            self._dirty |= symbol.positions

    def _on_tiers(self, tiers: MarginTiers, _now: int) -> None:
        key = (tiers.venue, tiers.env, tiers.key)
        if self.tiers.get(key) == tiers:
            return
        self.tiers[key] = tiers
        if self._sink:
            self._sink.put_tiers(tiers)
        for symbol in self.symbols.values():
            instrument = self.instruments.get(symbol.key)
            if instrument and (instrument.venue, instrument.env, instrument.tiers_key) == key:
                self._dirty |= symbol.positions

    def _symbol(self, account: Account, name: str, *, inverse: bool) -> Symbol:
        key = (account.info.venue, account.info.env, name)
        symbol = self.symbols.get(key)
        if symbol is None:
            symbol = self.symbols[key] = Symbol(key, self.book.symbols.add())
            self.book.symbols.orient(symbol.number, inverse=inverse)
        return symbol

    # --- positions -----------------------------------------------------------------------------------------------

    def _account(self, name: str) -> Account | None:
        account = self.accounts.get(name)
        if account is None:
            self.counters["unknown_account"] += 1
        return account

    def _on_position(self, state: PositionState, now: int, asked_at: int | None = None) -> None:
        account = self._account(state.account)
        if account is None:
            return
        if not self._fences.accepts(state, asked_at):
            self.counters["older_ignored"] += 1
            return
        if float(state.size) == 0.0:
            self._close(state, state.fence, now)
        else:
            self._open(account, state, now)

    def _open(self, account: Account, state: PositionState, now: int) -> None:
        position = self.positions.get(state.id)
        if position is None:
            position = self._new_position(account, state)
        self._fences.opened(state, now)
        position.restored = False
        self._join_pool(position, account, state)
        position.state, position.message = state, (state.scope, self._seq)
        position.anchored_at = state.venue_at if state.venue_at is not None else now
        if state.mark_price is not None:
            self._position_mark(position.symbol, state.mark_price, position.anchored_at, now)
        self._dirty.add(state.id)
        if self._sink:
            self._sink.put_position(state, self._seq)

    def _new_position(self, account: Account, state: PositionState) -> Position:
        key = (account.info.venue, account.info.env, state.symbol)
        symbol = self._symbol(account, state.symbol, inverse=is_inverse(state, self.instruments.get(key)))
        if not symbol.positions:
            self.wanted_version += 1
        symbol.positions.add(state.id)
        account.positions.add(state.id)
        slot = self._positions_table.add(
            state.id, RowKey(account.info.name, account.info.user, account.info.venue, state.symbol)
        )
        pool = self._pool(account, pool_name(state.margin_mode, state.pool, state.id))
        handle = self.book.add(symbol.number, pool.number, slot)
        position = Position(account, symbol, pool, handle, slot, state)
        self.positions[state.id] = self._slots[slot] = position
        self._joined(pool, state.id)
        return position

    def _join_pool(self, position: Position, account: Account, state: PositionState) -> None:
        """Move a position whose margin mode changed into its new pool."""
        name = pool_name(state.margin_mode, state.pool, state.id)
        if position.pool.name != name:
            left, position.pool = position.pool, self._pool(account, name)
            self.book.move(position.handle, position.pool.number)
            self._joined(position.pool, state.id)
            self._left(account, left, state.id)

    def _close(self, state: PositionState, fence: tuple[int, ...], now: int) -> None:
        position = self.positions.pop(state.id, None)
        if position is None:
            self._fences.closed(state, fence, now)
            return
        self._fences.closed(position.state, fence, now)
        account, symbol = position.account, position.symbol
        self._dirty.discard(state.id)
        del self._slots[position.slot]
        self._positions_table.remove(state.id, self._seq)
        self.book.remove(position.handle)
        account.positions.discard(state.id)
        symbol.positions.discard(state.id)
        if not symbol.positions:
            self.wanted_version += 1
        self._left(account, position.pool, state.id)
        self._touch_row("accounts", account.info.name)
        self._recompute = True
        if self._sink:
            self._sink.remove_position(state.id, self._seq)

    def _on_snapshot(self, snapshot: PositionsSnapshot, now: int) -> None:
        account = self._account(snapshot.account)
        if account is None:
            return
        if not self._fences.begin_snapshot(snapshot, now):
            self.counters["older_ignored"] += 1
            return
        held = {
            row_id: self.positions[row_id].state
            for row_id in account.positions
            if self.positions[row_id].state.scope == snapshot.scope
        }
        for row_id in self._fences.missing(snapshot, held):
            self.counters["closed_by_snapshot"] += 1
            self._close(held[row_id], snapshot.fence, now)
        for state in snapshot.positions:
            self._on_position(state, now, snapshot.asked_at)
        account.synced_at = now
        if account.restored_since is not None:
            account.restored_since = None
            self._touch_account(account)

    # --- balances and pools --------------------------------------------------------------------------------------

    def _on_mode(self, mode: AccountMode, _now: int) -> None:
        account = self._account(mode.account)
        if account is None or (account.mode, account.computable) == (mode.mode, mode.computable):
            return
        account.mode, account.computable = mode.mode, mode.computable
        self._dirty |= account.positions
        self._touch_row("accounts", account.info.name)
        if self._sink:
            self._sink.put_mode(mode)

    def _on_balance(self, balance: BalanceState, now: int) -> None:
        account = self._account(balance.account)
        if account is None or not account.accepts(balance, now):
            return
        if account.merge_coins(balance):
            self._dirty |= account.positions
        named = {state.pool for state in balance.pools}
        for state in balance.pools:
            self._pool_state(account, balance, state)
        for pool in list(account.pools.values()) if balance.full else ():
            if pool.scope == balance.scope and pool.name not in named:
                pool.state = pool.scope = None
                self._drop_if_empty(account, pool)
        self._touch_row("accounts", account.info.name)
        if self._sink:
            self._sink.put_balance(balance)

    def _pool_state(self, account: Account, balance: BalanceState, state: PoolState) -> None:
        pool = self._pool(account, state.pool)
        pool.state, pool.scope, pool.ccy = state, balance.scope, state.ccy
        pool.message = (balance.scope, self._seq)
        known = state.cash is not None
        if known != pool.cash_known:
            pool.cash_known = known
            self._dirty |= pool.members
        self._dirty_pools[pool.number] = pool

    def _pool(self, account: Account, name: str) -> Pool:
        pool = account.pools.get(name)
        if pool is None:
            pool = account.pools[name] = Pool(name, self.book.add_pool())
            self._pool_owner[pool.number] = account
        return pool

    def _joined(self, pool: Pool, row_id: str) -> None:
        pool.members.add(row_id)
        self._dirty_pools[pool.number] = pool
        if len(pool.members) <= 2:  # "alone" decides which formula applies
            self._dirty |= pool.members

    def _left(self, account: Account, pool: Pool, row_id: str) -> None:
        pool.members.discard(row_id)
        self._dirty_pools[pool.number] = pool
        if len(pool.members) == 1:
            self._dirty |= pool.members
        self._drop_if_empty(account, pool)

    def _drop_if_empty(self, account: Account, pool: Pool) -> None:
        if not pool.members and pool.state is None:
            del account.pools[pool.name], self._pool_owner[pool.number]
            self._dirty_pools.pop(pool.number, None)
            self.book.remove_pool(pool.number)

    # --- settling a turn -----------------------------------------------------------------------------------------

    def _settle(self) -> None:
        """Bring rows and pools that changed into the columns, recompute once, and mark what moved."""
        touched = []
        for row_id in self._dirty:
            position = self.positions[row_id]
            self._put(position)
            touched.append(position.slot)
            self._dirty_pools[position.pool.number] = position.pool
            self._touch_row("accounts", position.account.info.name)
        for pool in self._dirty_pools.values():
            self._settle_pool(pool)
        if not (self._dirty or self._dirty_pools or self._recompute):
            return
        self._dirty.clear()
        self._dirty_pools.clear()
        self._recompute = False
        changed = self.book.recompute()
        self._positions_table.touch(changed.slots, self._seq)
        self._positions_table.touch(touched, self._seq)
        owners = {self._pool_owner[number].info.name for number in changed.pools.tolist() if number in self._pool_owner}
        for name in owners:
            self._touch_row("accounts", name)

    def _put(self, position: Position) -> None:
        """Write one position's inputs into the columns."""
        state, account = position.state, position.account
        instrument = self.instruments.get(position.symbol.key)
        found = anchor(state, instrument)
        if found.refused and position.anchor.refused != found.refused:
            self.counters["anchor_refused"] += 1
        settle = instrument.settle if instrument else state.settle
        pool = position.pool
        if pool.isolated:
            pool.ccy = settle
            pool.cash_known = state.isolated_cash is not None
        weight = account.usd(settle) if pool.ccy == "USD" and settle != "USD" else 1.0
        position.anchor, position.instrument, position.static = found, instrument, None
        position.maintenance = self._maintenance(position, found.quantity)
        value_basis = (
            state.isolated_basis == "value" if pool.isolated else bool(pool.state and pool.state.basis == "value")
        )
        self.book.put(
            position.handle,
            Row(
                quantity=found.quantity,
                upnl0=found.upnl0,
                x0=found.x0,
                value_basis=value_basis,
                weight=weight,
                long=state.side != "short",
                venue_liq=float(state.venue_liquidation_price) if state.venue_liquidation_price else math.nan,
                maintenance=position.maintenance,
            ),
        )

    def _maintenance(self, position: Position, quantity: float) -> Maintenance:
        state, instrument = position.state, position.instrument
        inverse = is_inverse(state, instrument)
        entry = float(state.entry_price) if state.entry_price else math.nan
        mark0 = position.anchor.mark0
        tiers_key = instrument.tiers_key if instrument else None
        inputs = Inputs(
            state=state,
            instrument=instrument,
            tiers=self.tiers.get((*position.symbol.key[:2], tiers_key)) if tiers_key else None,
            quantity=quantity,
            notional0=abs(quantity) / mark0 if inverse else abs(quantity) * mark0,
            notional_entry=abs(quantity) / entry if inverse else abs(quantity) * entry,
            alone=len(position.pool.members) == 1,
            inverse=inverse,
        )
        found = parameters(position.account.info.venue, inputs, mode_computable=position.account.computable)
        # Without the pool's cash or a contract size no formula can speak: the venue's own figure is shown.
        unknown = not position.pool.cash_known or math.isnan(quantity) or not computable(state, instrument)
        return found._replace(model=None) if unknown else found

    def _settle_pool(self, pool: Pool) -> None:
        """Set a pool's mark-independent balance (pool currency).

        An isolated pool's cash is its position's. A cross pool's is the venue's balance; where the venue states none, it is
        what makes the present marks reproduce the venue's equity. Where equity and positions come from one message, what
        that message's equity holds beyond its rows is kept as a constant, and the same for maintenance.
        """
        number = pool.number
        self.book.extra_mm[number] = 0.0
        if pool.isolated:
            states = [self.positions[row_id].state for row_id in pool.members]
            stated = states[0].isolated_cash if states else None
            self.book.cash[number] = float(stated) if stated is not None else math.nan
            return
        state = pool.state
        if state is None or (state.cash is None and state.venue_equity is None):
            self.book.cash[number] = math.nan
            return
        same_message = all(self.positions[m].message == pool.message for m in pool.members)
        anchored = state.cash is not None
        parts = [self.book.contribution(self.positions[m].handle, at_anchor=anchored) for m in pool.members]
        equity, maintenance = sum(p[0] for p in parts), sum(p[1] for p in parts)
        if state.cash is None:
            self.book.cash[number] = float(state.venue_equity or "nan") - equity
            return
        cash = float(state.cash)
        if same_message and state.venue_equity is not None:
            cash += _constant(float(state.venue_equity) - cash - equity, abs(cash) + abs(equity))
            if state.venue_maintenance_margin is not None:
                self.book.extra_mm[number] = _constant(float(state.venue_maintenance_margin) - maintenance, maintenance)
        self.book.cash[number] = cash

    # --- staleness -----------------------------------------------------------------------------------------------

    def _on_feed(self, status: FeedStatus, now: int) -> None:
        feed = self.feeds.get(status.id)
        if feed is None:
            feed = self.feeds[status.id] = Feed(status, now)
        elif not feed.update(status, now):
            return
        self._touch_row("feeds", status.id, RowKey(status.account, None, status.venue, None))
        down_since = None if status.state == "live" else feed.since
        if status.account is None:
            for symbol in self.symbols.values():
                if symbol.key[:2] == (status.venue, status.env):
                    self._touch_symbol(symbol)
            return
        account = self.accounts.get(status.account)
        if account is not None and (account.private_down_since is None) != (down_since is None):
            account.private_down_since = down_since
            self._touch_account(account)

    def marks_down_since(self, symbol: Symbol) -> int | None:
        """Return since when a symbol's marks are not live: its own age, or a price connection that is down; else None."""
        down = [
            feed.since
            for feed in self.feeds.values()
            if feed.account is None and (feed.venue, feed.env) == symbol.key[:2] and feed.state != "live"
        ]
        return min(down) if down else symbol.stale

    def _age(self, symbol: Symbol, now: int) -> None:
        """A mark older than its venue's bound is stale, even where its connection is alive (a delisted symbol stops)."""
        bound = self.settings.mark_max_age_ms.get(symbol.key[0])
        if bound is None or symbol.stale or symbol.received_at is None or not symbol.positions:
            return
        if symbol.source == "feed" and now - symbol.received_at > bound:
            symbol.stale = symbol.received_at
            self._touch_symbol(symbol)

    def _share(self) -> None:
        """Publish each position's share of its user's gross notional where its rounded value changed."""
        for row_id, share in shares(self.positions.values(), self.book).items():
            position = self.positions[row_id]
            if position.weight != share:
                position.weight = share
                self._positions_table.touch([position.slot], self._seq)

    # --- tables --------------------------------------------------------------------------------------------------

    def _touch_row(self, table: str, row_id: str, key: RowKey | None = None) -> None:
        target = self.tables[table]
        slot = target.slot(row_id)
        if slot is None:
            if key is None:
                return
            slot = target.add(row_id, key)
        target.touch([slot], self._seq)

    def _touch_symbol(self, symbol: Symbol) -> None:
        self._positions_table.touch([self.positions[row_id].slot for row_id in symbol.positions], self._seq)

    def _touch_account(self, account: Account) -> None:
        self._positions_table.touch([self.positions[row_id].slot for row_id in account.positions], self._seq)
        self._touch_row("accounts", account.info.name)

    def _read_position(self, slot: int, _row_id: str) -> dict[str, object]:
        position = self._slots[slot]
        return position_row(position, self.book, self.marks_down_since(position.symbol), self.settings.dust_usd)

    def _read_account(self, _slot: int, row_id: str) -> dict[str, object]:
        account = self.accounts[row_id]
        return account_row(account, [self.positions[i] for i in account.positions], self.book)

    def _summarize(self) -> dict[str, dict[str, object]]:
        return summaries(self.accounts.values(), self.positions, self.book, self.settings.liquidation_risk_distance)


def _constant(gap: float, scale: float) -> float:
    """Return what a venue's total holds beyond its rows; 0 where the gap is no more than rounding."""
    return gap if abs(gap) > 1e-5 + 1e-9 * abs(scale) else 0.0
