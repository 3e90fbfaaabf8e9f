"""What the database should hold, and what of it still has to be written. Pure: no database, clock or loop.

Owns the newest record of every row, the set of keys that changed since they were last taken, and the append-only records that
wait to be written (the database alone holds them afterwards). Records are references to
frozen events, so a batch is a consistent cut however long its writing takes. Bounded by the number of rows: a key that
changes a thousand times waits once, and a removed one waits as its bare key until it was written. Of append-only records the
oldest beyond ``MOST_RECORDS`` are given up and counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import NamedTuple

import msgspec

from exchanges.events import (
    AccountMode,
    BalanceState,
    CollateralTiers,
    Execution,
    Fill,
    FundingPayment,
    Instrument,
    MarginMode,
    MarginTiers,
    PositionState,
    Transfer,
)
from gateway.core.alerts.records import AlertRecord, EquitySample, Silence
from gateway.core.records import ClosedCycle, Correction, Covered

MOST_RECORDS = 100_000  # that wait for a database that is away: some 100 MB
RECORD_KINDS = (
    "fills",
    "funding",
    "transfers",
    "closed_cycles",
    "reconciliations",
    "alerts",
    "silences",
    "equity_samples",
    "coverage",
)

Record = Fill | FundingPayment | Transfer | ClosedCycle | Correction | AlertRecord | Silence | EquitySample | Covered
RecordKey = tuple[str, str]  # kind, id
ContractKey = tuple[str, str, str]  # venue, env, symbol
TiersKey = tuple[str, str, str]  # venue, env, tiers_key
Whose = tuple[MarginMode | None, str | None]  # margin mode, account
CollateralKey = tuple[str, str, str]  # venue, env, ccy
BalanceKey = tuple[str, str]  # account, scope
Value = str | int | msgspec.Struct | tuple[msgspec.Struct, ...] | None  # one cell; records are written as JSON
Row = tuple[Value, ...]


class StoredAccount(msgspec.Struct, frozen=True, kw_only=True):
    """What is stored of a configured account: never a credential."""

    name: str
    venue: str
    env: str
    region: str | None = None
    user: str = "default"
    execution: Execution = "live"


class Dirty:
    """Keys whose rows differ from the database, and the accounts whose unknown rows are to be deleted there."""

    def __init__(self) -> None:
        self.accounts: set[str] = set()
        self.contracts: set[ContractKey] = set()
        self.collateral: set[CollateralKey] = set()
        self.positions: set[str] = set()
        self.balances: set[BalanceKey] = set()
        self.prune: set[str] = set()
        self.records: dict[RecordKey, Record] = {}

    def __len__(self) -> int:
        marked = len(self.accounts) + len(self.contracts) + len(self.positions) + len(self.balances)
        return marked + len(self.collateral) + len(self.prune) + len(self.records)

    def add(self, other: Dirty) -> None:
        """Take over all keys of ``other``."""
        self.accounts |= other.accounts
        self.contracts |= other.contracts
        self.collateral |= other.collateral
        self.positions |= other.positions
        self.balances |= other.balances
        self.prune |= other.prune
        self.records = {**other.records, **self.records}  # what was put again meanwhile is the newer one


class Batch(NamedTuple):
    """One consistent cut to write.

    Attributes:
        accounts, contracts, collateral, positions, balances: Whole rows, in the column order of ``gateway.storage.tables``.
        removed: Ids of positions that are gone.
        prune: Accounts of which every stored position is to be deleted that is not in ``keep``.
        records: Append-only rows by kind.
    """

    accounts: Sequence[Row]
    contracts: Sequence[Row]
    collateral: Sequence[Row]
    positions: Sequence[Row]
    balances: Sequence[Row]
    removed: Sequence[str]
    prune: Sequence[str]
    keep: Sequence[str]
    records: Mapping[str, Sequence[Row]]


class _Position(NamedTuple):
    state: PositionState
    seq: int
    at: int


class Mirror:
    """Newest records by key, and what changed."""

    def __init__(self) -> None:
        self.dirty = Dirty()
        self.seq = 0  # the highest that any change carried
        self.given_up = 0  # append-only records that nobody could write
        self.accounts: dict[str, tuple[StoredAccount, int]] = {}
        self.modes: dict[str, AccountMode] = {}
        self.contracts: dict[ContractKey, tuple[Instrument, int]] = {}
        self.tiers: dict[TiersKey, dict[Whose, MarginTiers]] = {}
        self.collateral: dict[CollateralKey, tuple[CollateralTiers, int]] = {}
        self.positions: dict[str, _Position] = {}
        self.balances: dict[BalanceKey, tuple[BalanceState, int]] = {}
        self.standing: dict[RecordKey, AlertRecord | Silence] = {}  # alerts that are not ok, silences
        self._tiers_users: dict[TiersKey, set[ContractKey]] = {}

    def put_account(self, account: StoredAccount, at: int) -> None:
        self.accounts[account.name] = account, at
        self.dirty.accounts.add(account.name)
        # Their venue and env columns come from here.
        self.dirty.positions.update(key for key, row in self.positions.items() if row.state.account == account.name)

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
        self.balances[key] = (balance if balance.full or old is None else merged(old[0], balance)), at
        self.dirty.balances.add(key)

    def put_position(self, state: PositionState, seq: int, at: int) -> None:
        """Keep a position's newest state; one of size zero is a removal."""
        if _is_zero(state.size):
            self.remove_position(state.id, seq)
            return
        self.positions[state.id] = _Position(state, seq, at)
        self.dirty.positions.add(state.id)
        self.seq = max(self.seq, seq)

    def remove_position(self, row_id: str, seq: int) -> None:
        self.positions.pop(row_id, None)
        self.dirty.positions.add(row_id)
        self.seq = max(self.seq, seq)

    def put_record(self, kind: str, record: Record) -> None:
        """Keep an append-only record until it is written; one that is put again replaces the former one."""
        waiting = self.dirty.records
        waiting.pop((kind, record.id), None)
        waiting[kind, record.id] = record
        if len(waiting) > MOST_RECORDS:
            del waiting[next(iter(waiting))]
            self.given_up += 1

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

    def prune(self, live_ids: Iterable[str], accounts: Iterable[str]) -> None:
        """Drop the positions of those accounts that are not in ``live_ids``, here and in the database."""
        live, of = set(live_ids), set(accounts)
        for row_id in [key for key, row in self.positions.items() if row.state.account in of and key not in live]:
            self.remove_position(row_id, self.seq)
        self.dirty.prune |= of

    def everything(self, prune: Iterable[str]) -> None:
        """Mark every row: the database is not the one that we wrote into."""
        self.dirty.accounts |= self.accounts.keys()
        self.dirty.contracts |= self.contracts.keys()
        self.dirty.collateral |= self.collateral.keys()
        self.dirty.positions |= self.positions.keys()
        self.dirty.balances |= self.balances.keys()
        self.dirty.prune |= set(prune)
        self.dirty.records = {**self.standing, **self.dirty.records}

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

    def take(self) -> tuple[Batch, Dirty]:
        """Return what has to be written, and the keys to ``give_back`` should that fail."""
        taken, self.dirty = self.dirty, Dirty()
        batch = Batch(
            accounts=[self._account_row(key) for key in sorted(taken.accounts)],
            contracts=[self._contract_row(key) for key in sorted(taken.contracts)],
            collateral=[(*key, *self.collateral[key]) for key in sorted(taken.collateral)],
            positions=[self._position_row(key) for key in sorted(taken.positions) if key in self.positions],
            balances=[(*key, *self.balances[key]) for key in sorted(taken.balances)],
            removed=[key for key in sorted(taken.positions) if key not in self.positions],
            prune=sorted(taken.prune),
            keep=[key for key, row in self.positions.items() if row.state.account in taken.prune],
            records={
                kind: [(key, one.account, _moment(one), one) for (of, key), one in taken.records.items() if of == kind]
                for kind in RECORD_KINDS
            },
        )
        return batch, taken

    def give_back(self, taken: Dirty) -> None:
        """Mark keys again whose rows were not written."""
        self.dirty.add(taken)

    def _use_tiers(self, instrument: Instrument, key: ContractKey) -> None:
        if tiers_key := _tiers_key(instrument):
            self._tiers_users.setdefault(tiers_key, set()).add(key)

    def _account_row(self, name: str) -> Row:
        account, at = self.accounts[name]
        place = (account.venue, account.env, account.region)
        return name, account.user, *place, account.execution, self.modes.get(name), at

    def _contract_row(self, key: ContractKey) -> Row:
        instrument, at = self.contracts[key]
        tiers_key = _tiers_key(instrument)
        known = self.tiers.get(tiers_key) if tiers_key else None
        tiers = tuple(known[whose] for whose in sorted(known, key=_whose)) if known else None
        return (*key, instrument, tiers, at)

    def _position_row(self, row_id: str) -> Row:
        row = self.positions[row_id]
        account = self.accounts.get(row.state.account)
        venue, env = (account[0].venue, account[0].env) if account else (None, None)
        return row_id, row.state.account, venue, env, row.state, row.seq, row.at


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
