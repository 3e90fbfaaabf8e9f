"""Open positions: rows that come, change, move between pools and go, and their inputs in the columns. Pure.

Owns the `positions` table's membership. Never decides whether a report may be applied (``Fences``) nor what it proves.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping

from exchanges.events import Instrument, PositionState
from gateway.core.accounts import Account, Pool, pool_name
from gateway.core.anchor import anchor, computable, is_inverse
from gateway.core.bases import base_of
from gateway.core.currencies import NO_INDEX
from gateway.core.margin import Inputs, Maintenance, parameters, trusted
from gateway.core.market import Market
from gateway.core.pools import Pools
from gateway.core.positions import Book, Row
from gateway.core.publish import Changes, key_of
from gateway.core.rows import settle_of, speaks
from gateway.core.state import Position, Symbol
from gateway.core.tables import Table


class Holdings:
    """All open positions of all accounts.

    Attributes:
        dirty: Positions whose inputs have to be written into the columns.
        written: Table slots of positions that were written into the columns, since this was last emptied.
        fresh: Accounts of which positions came, changed or went, or balances were told, since this was last emptied.
        settled: Pools, by number, of which the same is true: what they agree with the venue on has to be found out anew.
    """

    def __init__(
        self,
        book: Book,
        market: Market,
        changes: Changes,
        counters: Counter[str],
        promoted: Collection[str] = (),
        bases: Mapping[str, str] | None = None,
    ) -> None:
        """Make empty holdings.

        Args:
            promoted: Models that the operator trusts though they are not measured.
            bases: Underlyings that count as another one (config ``engine.bases``).
        """
        self.open: dict[str, Position] = {}
        self.slots: dict[int, Position] = {}
        self.dirty: set[str] = set()
        self.fresh: set[str] = set()
        self.written: set[int] = set()
        self.settled: dict[int, Pool] = {}
        self._promoted, self._bases = frozenset(promoted), bases or {}
        self.pools = Pools(book, self.open, market, self._bases)
        self._book, self._market, self._changes, self._counters = book, market, changes, counters
        self._gone = False

    @property
    def seq(self) -> int:
        """The change set in progress."""
        return self._changes.seq

    @property
    def _table(self) -> Table:
        return self._changes.tables["positions"]

    def of_scope(self, account: Account, scope: str) -> dict[str, PositionState]:
        """Return the last reports of an account's rows in a scope."""
        states = (self.open[row_id].state for row_id in sorted(account.positions))
        return {state.id: state for state in states if state.scope == scope}

    def of_symbol(self, account: Account, symbol: str) -> list[Position]:
        """Return an account's rows of a symbol (the legs of a hedge are two)."""
        known = self._market.symbols.get((account.info.venue, account.info.env, symbol))
        return [self.open[row_id] for row_id in sorted(known.positions & account.positions)] if known else []

    def is_contract(self, account: Account, symbol: str) -> bool:
        """Say whether a symbol is a contract that is known, rather than, say, a spot pair."""
        return self.contract(account, symbol) is not None

    def contract(self, account: Account, symbol: str) -> Instrument | None:
        """Return the contract of a symbol; None where none is known."""
        return self._market.instruments.get((account.info.venue, account.info.env, symbol))

    def put(self, account: Account, state: PositionState, now: int, *, feed_is_live: bool) -> Position:
        """Apply an accepted report of an open position."""
        position = self.open.get(state.id)
        if position is None:
            position = self._new(account, state)
        position.restored_at = None
        self._join_pool(position, account, state)
        position.state, position.message, position.as_of = state, (state.scope, self._changes.seq), now
        position.anchored_at = state.venue_at if state.venue_at is not None else now
        if state.mark_price is not None:
            recovered = self._market.put_position_mark(
                position.symbol, state.mark_price, position.anchored_at, now, feed_is_live=feed_is_live
            )
            if recovered is not None:
                self.touch_symbol(recovered)
        self.dirty.add(state.id)
        if self._changes.sink:
            self._changes.sink.put_position(state, self._changes.seq)
        return position

    def remove(self, row_id: str) -> Position | None:
        """Take a closed position out; return it, None where there was none."""
        position = self.open.pop(row_id, None)
        if position is None:
            return None
        account = position.account
        self.dirty.discard(row_id)
        del self.slots[position.slot]
        self._table.remove(row_id, self._changes.seq)
        self._book.remove(position.handle)
        account.positions.discard(row_id)
        self.fresh.add(account.info.name)
        self._market.release(position.symbol, row_id)
        self.dirty |= self.pools.leave(account, position.pool, position)
        self._changes.touch("accounts", account.info.name)
        self._gone = True
        if self._changes.sink:
            self._changes.sink.remove_position(row_id, self._changes.seq)
        return position

    def settle(self) -> None:
        """Bring rows and pools that changed into the columns, recompute once, and mark what moved."""
        touched = []
        self.dirty |= self.pools.weigh()
        # In a fixed order, which numbers of underlyings and coins follow from, and so the last digits of sums.
        for row_id in sorted(self.dirty):
            self.dirty.discard(row_id)  # taken one by one: a row that fails does not come again
            position = self.open[row_id]
            self._put(position)
            touched.append(position.slot)
            self.written.add(position.slot)
            self.pools.dirty[position.pool.number] = position.pool
            self._changes.touch("accounts", position.account.info.name)
        if not (self.pools.dirty or self._market.moved or self._gone):
            return
        self.settled |= self.pools.dirty
        self.pools.settle()
        self._market.moved = self._gone = False
        changed = self._book.recompute()
        self._table.touch(changed.slots, self._changes.seq)
        self._table.touch(touched, self._changes.seq)
        for number in changed.pools.tolist():
            owner = self.pools.owner(number)
            if owner is not None:  # None: the pool went away in this turn
                self._changes.touch("accounts", owner.info.name)

    def reprice(self, account: Account) -> None:
        """Let the present prices of currencies count in an account's pools."""
        for row_id in account.positions:
            position = self.open[row_id]
            self._book.reweigh(position.handle, *self._weight(position))
        self.pools.reprice(account)

    def tick(self, prices: Mapping[int, float]) -> None:
        """Let prices of currencies count that have just moved, by the number of their index, as marks do.

        What follows from them slowly (haircuts, constants of a message) waits for ``reprice``.
        """
        if prices:
            self._book.reprice(prices)
            self._market.moved = True

    def touch(self, account: Account) -> None:
        """Say that all rows of an account changed, and the account's own."""
        self._table.touch([self.open[row_id].slot for row_id in account.positions], self._changes.seq)
        self._changes.touch("accounts", account.info.name)

    def touch_row(self, position: Position) -> None:
        """Say that one row changed."""
        self._table.touch([position.slot], self._changes.seq)

    def touch_symbol(self, symbol: Symbol) -> None:
        """Say that all rows of a symbol changed."""
        self._table.touch([self.open[row_id].slot for row_id in symbol.positions], self._changes.seq)

    # --- inside --------------------------------------------------------------------------------------------------------

    def _new(self, account: Account, state: PositionState) -> Position:
        info = account.info
        key = (info.venue, info.env, state.symbol)
        symbol = self._market.hold(key, state.id, inverse=is_inverse(state, self._market.instruments.get(key)))
        account.positions.add(state.id)
        slot = self._table.add(state.id, key_of(info, state.symbol))
        pool = self.pools.get(account, pool_name(state.margin_mode, state.pool, state.id))
        base = base_of(self._market.instruments.get(key), state.symbol, self._bases)
        handle = self._book.add(symbol.number, pool.number, slot, self._book.bases.number(base))
        position = Position(account, symbol, pool, handle, slot, state)
        self.open[state.id] = self.slots[slot] = position
        self.dirty |= self.pools.join(pool, position)
        return position

    def _join_pool(self, position: Position, account: Account, state: PositionState) -> None:
        """Move a position whose margin mode changed into its new pool."""
        name = pool_name(state.margin_mode, state.pool, state.id)
        if position.pool.name != name:
            left, position.pool = position.pool, self.pools.get(account, name)
            self._book.move(position.handle, position.pool.number)
            self.dirty |= self.pools.join(position.pool, position) | self.pools.leave(account, left, position)

    def _put(self, position: Position) -> None:
        """Write one position's inputs into the columns."""
        state, pool = position.state, position.pool
        self.fresh.add(position.account.info.name)
        instrument = self._market.instruments.get(position.symbol.key)
        found = anchor(state, instrument)
        if found.refused and position.anchor.refused != found.refused:
            self._counters["anchor_refused"] += 1
        position.anchor, position.instrument, position.static = found, instrument, None
        if pool.isolated:
            pool.ccy = settle_of(position)
            pool.cash_known = state.isolated_cash is not None
        position.maintenance = self._maintenance(position, found.quantity)
        name = position.maintenance.model
        position.trusted = name is not None and trusted(name, self._promoted)
        base = base_of(instrument, state.symbol, self._bases)
        self._book.rebase(position.handle, self._book.bases.number(base))
        value_basis = (
            state.isolated_basis == "value" if pool.isolated else bool(pool.state and pool.state.basis == "value")
        )
        weight, priced_by = self._weight(position)
        self._book.put(
            position.handle,
            Row(
                quantity=found.quantity,
                upnl0=found.upnl0,
                x0=found.x0,
                value_basis=value_basis,
                weight=weight,
                priced_by=priced_by,
                long=state.side != "short",
                venue_liq=float(state.venue_liquidation_price) if state.venue_liquidation_price else math.nan,
                maintenance=position.maintenance,
                scales_offset=pool.ccy == "USD" and is_inverse(state, instrument),
                speaks=speaks(position),
                counts=self.pools.counts(position),
                mark0=found.mark0,
            ),
        )

    @staticmethod
    def _weight(position: Position) -> tuple[float, int]:
        """Return the settle currency in units of the pool's currency, and the index that this is the price of."""
        settle, account = settle_of(position), position.account
        converted = position.pool.ccy == "USD" and settle != "USD"
        return account.worth_in(position.pool, settle), account.index_of(settle) if converted else NO_INDEX

    def _maintenance(self, position: Position, quantity: float) -> Maintenance:
        state, instrument = position.state, position.instrument
        inverse = is_inverse(state, instrument)
        entry = float(state.entry_price or math.nan) or math.nan  # a price of 0 is none
        mark0, pool = position.anchor.mark0, position.pool
        inputs = Inputs(
            state=state,
            instrument=instrument,
            tiers=self._market.tiers_of(instrument, state.margin_mode, state.account),
            quantity=quantity,
            notional0=abs(quantity) / mark0 if inverse else abs(quantity) * mark0,
            notional_entry=abs(quantity) / entry if inverse else abs(quantity) * entry,
            alone=len(pool.members) == 1,
            inverse=inverse,
            hedged=self.pools.hedged(position),
            solvable=self.pools.solvable(pool),
            lone_collateral=self.pools.lone_collateral(position),
        )
        found = parameters(position.account.info.venue, inputs, mode_computable=position.account.computable)
        # Without the pool's cash or a contract size no formula can speak: the venue's own figure is shown.
        unknown = not pool.cash_known or math.isnan(quantity) or not computable(state, instrument)
        return found._replace(model=None) if unknown else found
