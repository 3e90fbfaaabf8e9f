"""What the database should hold. Pure: no database, clock or loop.

Owns the newest record of every row, and makes a batch of those that wait (``Dirty``). Records are references to frozen events, so a
batch is a consistent cut however long its writing takes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from decimal import Decimal, InvalidOperation
from typing import NamedTuple

import msgspec

from exchanges.events import (
    AccountMode,
    BalanceState,
    CollateralTiers,
    Execution,
    Instrument,
    MarginMode,
    MarginTiers,
    PositionState,
)
from gateway.core.alerts.records import AlertRecord, Silence
from gateway.core.journal import Entry, MarkSample, Places
from gateway.core.records import ClosedCycle, Correction, PositionChange
from gateway.storage.batch import (
    AccountRow,
    BalanceRow,
    Batch,
    CollateralRow,
    ContractRow,
    PositionRow,
    Record,
    RecordRow,
)
from gateway.storage.dirty import BalanceKey, CollateralKey, ContractKey, Dirty, Kept
from gateway.storage.queue import Queue

RecordKey = tuple[str, str]  # kind, id
TiersKey = tuple[str, str, str]  # venue, env, tiers_key
Whose = tuple[MarginMode | None, str | None]  # margin mode, account
# Returns the place of the raw entry that a record came by: of which kind (its table), which id, which account.
Origin = Callable[[str, str, str | None], int | None]
# What a repeated message changes though it says nothing new.
_NO_CHANGE = frozenset({"fence", "venue_at"})
_FIELDS = tuple(name for name in PositionState.__struct_fields__ if name not in _NO_CHANGE)


class StoredAccount(msgspec.Struct, frozen=True, kw_only=True):
    """What is stored of a configured account: never a credential."""

    name: str
    venue: str
    env: str
    region: str | None = None
    user: str = "default"
    execution: Execution = "live"


class _Position(NamedTuple):
    state: PositionState
    seq: int
    at: int
    journal: int | None = None


class _Balance(NamedTuple):
    state: BalanceState
    at: int
    journal: int | None = None


def _nowhere(_kind: str, _record_id: str, _account: str | None) -> None:
    return None


class Mirror:
    """Newest records by key, and what changed.

    Args:
        origin: Returns the place of the raw entry that a record came by, where it is known.
        queue: Makes the bounded queue of what waits for the journal.
    """

    def __init__(self, origin: Origin = _nowhere, queue: Callable[[], Queue] = Queue) -> None:
        self._origin, self._queue = origin, queue
        self.dirty = Dirty(queue())
        self.seq = 0  # the highest that any change carried
        self.places = Places()
        self.accounts: dict[str, tuple[StoredAccount, int]] = {}
        self.modes: dict[str, AccountMode] = {}
        self.contracts: dict[ContractKey, tuple[Instrument, int]] = {}
        self.tiers: dict[TiersKey, dict[Whose, MarginTiers]] = {}
        self.collateral: dict[CollateralKey, tuple[CollateralTiers, int]] = {}
        self.positions: dict[str, _Position] = {}
        self.balances: dict[BalanceKey, _Balance] = {}
        self.standing: dict[RecordKey, AlertRecord | Silence] = {}  # alerts that are not ok, silences
        self._tiers_users: dict[TiersKey, set[ContractKey]] = {}

    @property
    def given_up(self) -> int:
        """Append-only records that nobody could write."""
        return self.dirty.given_up

    def put_account(self, account: StoredAccount, at: int) -> None:
        self.accounts[account.name] = account, at
        self.dirty.accounts.add(account.name)
        # Their columns venue, env and user_name come from here.
        self.dirty.positions.update(key for key, row in self.positions.items() if row.state.account == account.name)
        self.dirty.balances.update(key for key in self.balances if key[0] == account.name)

    def put_mode(self, mode: AccountMode) -> None:
        self.modes[mode.account] = mode
        if mode.account in self.accounts:  # otherwise it is written along with the account
            self.dirty.accounts.add(mode.account)

    def put_instrument(self, instrument: Instrument, at: int) -> None:
        key = (instrument.venue, instrument.env, instrument.symbol)
        self.contracts[key] = instrument, at
        self._use_tiers(instrument, key)
        self.dirty.contracts.add(key)

    def put_tiers(self, tiers: MarginTiers) -> None:
        key = (tiers.venue, tiers.env, tiers.key)
        self.tiers.setdefault(key, {})[tiers.margin_mode, tiers.account] = tiers
        self.dirty.contracts |= self._tiers_users.get(key, set())

    def put_collateral(self, tiers: CollateralTiers, at: int) -> None:
        key = (tiers.venue, tiers.env, tiers.ccy)
        self.collateral[key] = tiers, at
        self.dirty.collateral.add(key)

    def put_balance(self, balance: BalanceState, at: int) -> None:
        key = (balance.account, balance.scope)
        old = self.balances.get(key)
        state = balance if balance.full or old is None else merged(old.state, balance)
        self.balances[key] = _Balance(state, at, self._origin("balances", balance.scope, balance.account))
        self.dirty.balances.add(key)

    def put_position(self, state: PositionState, seq: int, at: int) -> None:
        """Keep a position's newest state; one of size zero is a removal."""
        if _is_zero(state.size):
            self.remove_position(state.id, seq, at)
            return
        origin = self._origin("current_positions", state.id, state.account)
        old = self.positions.get(state.id)
        self.positions[state.id] = _Position(state, seq, at, origin)
        self.dirty.positions.add(state.id)
        self.seq = max(self.seq, seq)
        changed = [name for name in _FIELDS if old is None or getattr(old.state, name) != getattr(state, name)]
        if changed:
            self._changed(state, state, changed, origin, at)

    def remove_position(self, row_id: str, seq: int, at: int) -> None:
        """Forget a position: it is gone, as far as anybody knew of it."""
        old = self.positions.get(row_id)
        origin = self._origin("current_positions", row_id, old.state.account) if old is not None else None
        self._remove(row_id, seq, at, origin)

    def _remove(self, row_id: str, seq: int, at: int, origin: int | None) -> None:
        old = self.positions.pop(row_id, None)
        self.dirty.positions.add(row_id)
        self.seq = max(self.seq, seq)
        if old is not None:
            self._changed(old.state, None, ["size"], origin, at)

    def _changed(
        self, known: PositionState, state: PositionState | None, names: list[str], origin: int | None, at: int
    ) -> None:
        change = PositionChange(
            id=f"{self.places.next(at)}:{known.id}",
            account=known.account,
            position=known.id,
            symbol=known.symbol,
            at=at,
            changed=tuple(names),
            state=state,
            journal=origin,
        )
        self.dirty.wait("position_changes", change, origin)

    def put_entry(self, entry: Entry) -> None:
        """Keep an entry of the journal until it is written; its place is behind all others."""
        self.dirty.queue.put(entry)
        self.seq = max(self.seq, entry.seq)
        self.places.reach(entry.id)

    def put_sample(self, sample: MarkSample) -> None:
        """Keep a sample until it is written; its place is behind all others."""
        self.dirty.queue.put(sample)
        self.places.reach(sample.id)

    def put_record(self, kind: str, record: Record) -> None:
        """Keep an append-only record until it is written; one that is put again replaces the former one."""
        self.dirty.wait(kind, record, self._origin(kind, record.id, record.account))

    def put_alert(self, alert: AlertRecord) -> None:
        """Keep an alert's newest status; one that is ok again is remembered no longer than it waits."""
        self._stand("alerts", alert, over=alert.state == "ok")

    def put_silence(self, silence: Silence, at: int) -> None:
        """Keep a silence, for as long as it lasts."""
        self._stand("silences", silence, over=silence.until <= at)

    def _stand(self, kind: str, record: AlertRecord | Silence, *, over: bool) -> None:
        self.put_record(kind, record)
        if over:
            self.standing.pop((kind, record.id), None)
        else:
            self.standing[kind, record.id] = record

    def prune(self, live_ids: Iterable[str], accounts: Iterable[str], at: int) -> None:
        """Drop the positions of those accounts that are not in ``live_ids``, here and in the database."""
        live, of = set(live_ids), set(accounts)
        for row_id in [key for key, row in self.positions.items() if row.state.account in of and key not in live]:
            self._remove(row_id, self.seq, at, None)  # nobody said so
        self.dirty.prune |= of

    def everything(self, prune: Iterable[str]) -> None:
        """Mark every row: the database is not the one that we wrote into."""
        self.dirty.accounts |= self.accounts.keys()
        self.dirty.contracts |= self.contracts.keys()
        self.dirty.collateral |= self.collateral.keys()
        self.dirty.positions |= self.positions.keys()
        self.dirty.balances |= self.balances.keys()
        self.dirty.prune |= set(prune)
        for (kind, record_id), record in self.standing.items():
            self.dirty.records[kind].setdefault(record_id, Kept(record, None))

    def learn_instrument(self, instrument: Instrument, at: int) -> None:
        """Note what the database holds, unless something newer is known."""
        key = (instrument.venue, instrument.env, instrument.symbol)
        if key not in self.contracts:
            self.contracts[key] = instrument, at
            self._use_tiers(instrument, key)

    def learn_tiers(self, tiers: MarginTiers) -> None:
        """Note what the database holds, unless something newer is known."""
        known = self.tiers.setdefault((tiers.venue, tiers.env, tiers.key), {})
        known.setdefault((tiers.margin_mode, tiers.account), tiers)

    def learn_position(self, state: PositionState, seq: int, at: int) -> None:
        """Note what the database holds, unless something newer is known (a removal is known as a dirty key)."""
        if state.id not in self.positions and state.id not in self.dirty.positions:
            self.positions[state.id] = _Position(state, seq, at)

    def learn_balance(self, balance: BalanceState, at: int) -> None:
        """Note what the database holds, unless something newer is known."""
        self.balances.setdefault((balance.account, balance.scope), _Balance(balance, at))

    def take(self) -> tuple[Batch, Dirty]:
        """Return what has to be written, but for the entries of the queue, and the keys to ``give_back`` should that fail."""
        taken, self.dirty = self.dirty, Dirty(self._queue())
        self.dirty.given_up, self.dirty.queue.given_up = taken.given_up, taken.queue.given_up
        batch = Batch(
            seq=self.seq,
            journal=self.places.last,
            accounts=[self._account_row(key) for key in sorted(taken.accounts)],
            contracts=[self._contract_row(key) for key in sorted(taken.contracts)],
            collateral=[CollateralRow(*key, *self.collateral[key]) for key in sorted(taken.collateral)],
            positions=[self._position_row(key) for key in sorted(taken.positions) if key in self.positions],
            balances=[self._balance_row(key) for key in sorted(taken.balances)],
            removed=[key for key in sorted(taken.positions) if key not in self.positions],
            prune=sorted(taken.prune),
            keep=[key for key, row in self.positions.items() if row.state.account in taken.prune],
            records=self._record_rows(taken),
            samples=taken.queue.samples(),
        )
        return batch, taken

    def give_back(self, taken: Dirty) -> None:
        """Mark keys again whose rows were not written."""
        self.dirty.add(taken)

    def _use_tiers(self, instrument: Instrument, key: ContractKey) -> None:
        if tiers_key := _tiers_key(instrument):
            self._tiers_users.setdefault(tiers_key, set()).add(key)

    def _user(self, account: str | None) -> str | None:
        known = self.accounts.get(account) if account is not None else None
        return known[0].user if known else None

    def _account_row(self, name: str) -> AccountRow:
        account, at = self.accounts[name]
        place = (account.venue, account.env, account.region)
        return AccountRow(name, account.user, *place, account.execution, self.modes.get(name), at)

    def _contract_row(self, key: ContractKey) -> ContractRow:
        instrument, at = self.contracts[key]
        tiers_key = _tiers_key(instrument)
        known = self.tiers.get(tiers_key) if tiers_key else None
        tiers = tuple(known[whose] for whose in sorted(known, key=_whose)) if known else None
        return ContractRow(*key, instrument, tiers, at)

    def _position_row(self, row_id: str) -> PositionRow:
        row = self.positions[row_id]
        account = self.accounts.get(row.state.account)
        venue, env = (account[0].venue, account[0].env) if account else (None, None)
        user = self._user(row.state.account)
        return PositionRow(row_id, row.state.account, venue, env, row.state, row.seq, row.at, user, row.journal)

    def _balance_row(self, key: BalanceKey) -> BalanceRow:
        row = self.balances[key]
        return BalanceRow(*key, row.state, row.at, self._user(key[0]), row.journal)

    def _record_rows(self, taken: Dirty) -> dict[str, list[RecordRow]]:
        return {kind: [self._record_row(*one) for one in of.values()] for kind, of in taken.records.items() if of}

    def _record_row(self, record: Record, journal: int | None) -> RecordRow:
        account = record.account
        return RecordRow(record.id, account, _moment(record), record, self._user(account), journal)


def merged(old: BalanceState, new: BalanceState) -> BalanceState:
    """Lay a partial state over an older one: coins and pools by name, single figures where the new state has them."""
    coins = {coin.ccy: coin for coin in (*old.coins, *new.coins)}
    pools = {pool.pool: pool for pool in (*old.pools, *new.pools)}
    return msgspec.structs.replace(
        old,
        coins=tuple(coins.values()),
        pools=tuple(pools.values()),
        available=new.available if new.available is not None else old.available,
        withdrawable=new.withdrawable if new.withdrawable is not None else old.withdrawable,
        fence=new.fence or old.fence,
        venue_at=new.venue_at if new.venue_at is not None else old.venue_at,
        asked_at=new.asked_at,
        prices=new.prices,
    )


def _moment(record: Record) -> int:
    match record:
        case ClosedCycle():
            return record.closed_at
        case Correction():
            return record.found_at
    return record.at


def _tiers_key(instrument: Instrument) -> TiersKey | None:
    return (instrument.venue, instrument.env, instrument.tiers_key) if instrument.tiers_key else None


def _whose(key: Whose) -> tuple[str, str]:
    return key[0] or "", key[1] or ""


def _is_zero(size: str) -> bool:
    try:
        return Decimal(size) == 0
    except InvalidOperation:  # not ours to judge: it is stored as it came
        return False
