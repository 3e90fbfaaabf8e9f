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
    PositionsSnapshot,
    PositionState,
    Price,
)
from gateway.core.accounts import Account, AccountInfo, pool_name
from gateway.core.anchor import anchor, computable, is_inverse
from gateway.core.margin import Inputs, Maintenance, parameters
from gateway.core.market import Market
from gateway.core.pools import Pools
from gateway.core.positions import Book, Row
from gateway.core.reconcile import Fences
from gateway.core.rows import account_row, position_row
from gateway.core.state import Feed, Position, Symbol
from gateway.core.summary import shares, summaries
from gateway.core.tables import RowKey, Table, Tables


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
    """See the module. Makes its own tables: positions, accounts, summary, feeds."""

    def __init__(
        self, epoch: str, accounts: Iterable[AccountInfo], settings: Settings, sink: Sink | None = None
    ) -> None:
        self.book = Book()
        self.settings = settings
        self.counters: Counter[str] = Counter()
        self.accounts: dict[str, Account] = {}
        self.positions: dict[str, Position] = {}
        self.feeds: dict[str, Feed] = {}
        self.market = Market(self.book.symbols)
        self._sink = sink
        self._fences = Fences()
        self._pools = Pools(self.book, self.positions)
        self._slots: dict[int, Position] = {}
        self._dirty: set[str] = set()  # positions whose inputs have to be written into the columns
        self._closed = False
        self._marks_down: dict[tuple[str, str], int] = {}  # (venue, env) → since when a price connection is not live
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
            handler = self._handlers.get(type(event))
            if handler is None:
                self.counters["not_kept"] += 1
            else:
                handler(event, now)
        self._settle()
        return self.tables.commit(now)

    def clock(self, now: int, last_messages: Mapping[str, int] | None = None) -> bool:
        """Apply a clock turn (about once a second): ages of marks and feeds, shares and summaries."""
        self._seq = self.tables.begin()
        for symbol in self.market.age(now, self.settings.mark_max_age_ms):
            self._touch_symbol(symbol)
        for feed_id, at in (last_messages or {}).items():
            feed = self.feeds.get(feed_id)
            if feed and feed.heard(at, self._lag_ms(feed)):
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
            self._handlers[type(event)](event, now)
        for position in self.positions.values():
            position.restored_at = now
        # What the venue says from now on is newer, also where its own order began anew meanwhile.
        self._fences.restart()
        for account in self.accounts.values():
            account.restart()
        self._sink = sink
        self._settle()
        return self.tables.commit(now)

    # --- prices and contracts ------------------------------------------------------------------------------------

    def _on_price(self, price: Price, now: int) -> None:
        recovered = self.market.put_price(price, now)
        if recovered is not None:
            self._touch_symbol(recovered)

    def _on_instrument(self, instrument: Instrument, _now: int) -> None:
        concerned = self.market.put_instrument(instrument)
        if concerned is not None:
            self._dirty |= concerned
            if self._sink:
                self._sink.put_instrument(instrument)

    def _on_tiers(self, tiers: MarginTiers, _now: int) -> None:
        concerned = self.market.put_tiers(tiers)
        if concerned is not None:
            self._dirty |= concerned
            if self._sink:
                self._sink.put_tiers(tiers)

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
        position.restored_at = None
        self._join_pool(position, account, state)
        position.state, position.message = state, (state.scope, self._seq)
        position.anchored_at = state.venue_at if state.venue_at is not None else now
        if state.mark_price is not None:
            live = self.marks_down_since(position.symbol) is None
            self.market.put_position_mark(
                position.symbol, state.mark_price, position.anchored_at, now, feed_is_live=live
            )
        self._dirty.add(state.id)
        if self._sink:
            self._sink.put_position(state, self._seq)

    def _new_position(self, account: Account, state: PositionState) -> Position:
        info = account.info
        key = (info.venue, info.env, state.symbol)
        symbol = self.market.hold(key, state.id, inverse=is_inverse(state, self.market.instruments.get(key)))
        account.positions.add(state.id)
        slot = self._positions_table.add(state.id, RowKey(info.name, info.user, info.venue, state.symbol))
        pool = self._pools.get(account, pool_name(state.margin_mode, state.pool, state.id))
        handle = self.book.add(symbol.number, pool.number, slot)
        position = Position(account, symbol, pool, handle, slot, state)
        self.positions[state.id] = self._slots[slot] = position
        self._dirty |= self._pools.join(pool, state.id)
        return position

    def _join_pool(self, position: Position, account: Account, state: PositionState) -> None:
        """Move a position whose margin mode changed into its new pool."""
        name = pool_name(state.margin_mode, state.pool, state.id)
        if position.pool.name != name:
            left, position.pool = position.pool, self._pools.get(account, name)
            self.book.move(position.handle, position.pool.number)
            self._dirty |= self._pools.join(position.pool, state.id) | self._pools.leave(account, left, state.id)

    def _close(self, state: PositionState, fence: tuple[int, ...], now: int) -> None:
        position = self.positions.pop(state.id, None)
        if position is None:
            self._fences.closed(state, fence, now)
            return
        self._fences.closed(position.state, fence, now)
        account = position.account
        self._dirty.discard(state.id)
        del self._slots[position.slot]
        self._positions_table.remove(state.id, self._seq)
        self.book.remove(position.handle)
        account.positions.discard(state.id)
        self.market.release(position.symbol, state.id)
        self._dirty |= self._pools.leave(account, position.pool, state.id)
        self._touch_row("accounts", account.info.name)
        self._closed = True
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
        self._dirty |= self._pools.report(account, balance, self._seq)
        self._touch_row("accounts", account.info.name)
        if self._sink:
            self._sink.put_balance(balance)

    # --- settling a turn -----------------------------------------------------------------------------------------

    def _settle(self) -> None:
        """Bring rows and pools that changed into the columns, recompute once, and mark what moved."""
        touched = []
        while self._dirty:  # taken one by one: a row that fails does not come again
            position = self.positions[self._dirty.pop()]
            self._put(position)
            touched.append(position.slot)
            self._pools.dirty[position.pool.number] = position.pool
            self._touch_row("accounts", position.account.info.name)
        if not (self._pools.dirty or self.market.moved or self._closed):
            return
        self._pools.settle()
        self.market.moved = self._closed = False
        changed = self.book.recompute()
        self._positions_table.touch(changed.slots, self._seq)
        self._positions_table.touch(touched, self._seq)
        for number in changed.pools.tolist():
            owner = self._pools.owner(number)
            if owner is not None:  # None: the pool went away in this turn
                self._touch_row("accounts", owner.info.name)

    def _put(self, position: Position) -> None:
        """Write one position's inputs into the columns."""
        state, account = position.state, position.account
        instrument = self.market.instruments.get(position.symbol.key)
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
        inputs = Inputs(
            state=state,
            instrument=instrument,
            tiers=self.market.tiers_of(instrument),
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
            self._note_marks(status.venue, status.env)
            for symbol in self.market.symbols.values():
                if symbol.key[:2] == (status.venue, status.env):
                    self._touch_symbol(symbol)
            return
        account = self.accounts.get(status.account)
        if account is not None and (account.private_down_since is None) != (down_since is None):
            account.private_down_since = down_since
            self._touch_account(account)

    def _lag_ms(self, feed: Feed) -> int | None:
        """Return how late a price connection's marks arrive; only those carry a venue time with every message."""
        return self.market.lag_ms.get((feed.venue, feed.env)) if feed.account is None else None

    def marks_down_since(self, symbol: Symbol) -> int | None:
        """Return since when a symbol's marks are not live: its own age, or a price connection that is down; else None."""
        return self._marks_down.get(symbol.key[:2], symbol.stale)

    def _note_marks(self, venue: str, env: str) -> None:
        public = [f for f in self.feeds.values() if f.account is None and (f.venue, f.env) == (venue, env)]
        down = [feed.since for feed in public if feed.state != "live"]
        if down:
            self._marks_down[venue, env] = min(down)
        else:
            self._marks_down.pop((venue, env), None)

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
        # In a fixed order, so that sums have the same last digits in every process.
        return account_row(account, [self.positions[i] for i in sorted(account.positions)], self.book)

    def _summarize(self) -> dict[str, dict[str, object]]:
        return summaries(self.accounts.values(), self.positions, self.book, self.settings.liquidation_risk_distance)
