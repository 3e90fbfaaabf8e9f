"""One consistent cut to write: its rows, in the column order of ``gateway.storage.tables``, and its form in the spool. Pure.

A batch has a name, (epoch, revision), that is never given to another one: by it a database and a spool are held against each
other, so that each batch is applied once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import msgspec

from exchanges.events import (
    AccountMode,
    BalanceState,
    ClosedPnl,
    CollateralTiers,
    Event,
    Execution,
    Fill,
    FundingPayment,
    Instrument,
    MarginTiers,
    PositionState,
    Transfer,
)
from gateway.core.alerts.records import AlertRecord, EquitySample, Silence
from gateway.core.journal import Kind, MarkSample
from gateway.core.records import Backfill, ClosedCycle, Correction, Covered, PositionChange, Verification

Record = (
    Fill
    | FundingPayment
    | Transfer
    | ClosedCycle
    | Correction
    | AlertRecord
    | Silence
    | EquitySample
    | Covered
    | PositionChange
    | ClosedPnl
    | Backfill
    | Verification
)
# Append-only tables of one form: table → what its ``state`` holds.
RECORDS: dict[str, type[Event]] = {
    "fills": Fill,
    "funding": FundingPayment,
    "transfers": Transfer,
    "closed_cycles": ClosedCycle,
    "reconciliations": Correction,
    "alerts": AlertRecord,
    "silences": Silence,
    "equity_samples": EquitySample,
    "coverage": Covered,
    "position_changes": PositionChange,
    "pnl_records": ClosedPnl,
    "backfills": Backfill,
    "verifications": Verification,
}
# Of these a venue tells the same fact in several places, with more of it in one than in another.
FACTS = frozenset({"fills", "funding", "transfers", "pnl_records"})
Written = tuple[str, int]  # epoch and revision: the name of one batch
Value = str | bytes | int | float | msgspec.Struct | tuple[Any, ...] | None  # one cell; records are written as JSON
Row = tuple[Any, ...]


class AccountRow(NamedTuple):
    """A row of ``accounts``."""

    name: str
    user_name: str
    venue: str
    env: str
    region: str | None
    execution: Execution
    mode: AccountMode | None
    updated_at: int


class ContractRow(NamedTuple):
    """A row of ``contracts``."""

    venue: str
    env: str
    symbol: str
    state: Instrument
    tiers: tuple[MarginTiers, ...] | None
    last_sync: int


class CollateralRow(NamedTuple):
    """A row of ``collateral``."""

    venue: str
    env: str
    ccy: str
    state: CollateralTiers
    last_sync: int


class PositionRow(NamedTuple):
    """A row of ``current_positions``."""

    id: str
    account: str
    venue: str | None
    env: str | None
    state: PositionState
    updated_seq: int
    updated_at: int
    user_name: str | None
    journal: int | None


class BalanceRow(NamedTuple):
    """A row of ``balances``."""

    account: str
    scope: str
    state: BalanceState
    updated_at: int
    user_name: str | None
    journal: int | None


class RecordRow(NamedTuple):
    """A row of an append-only table; ``state`` is a record of the kind that ``RECORDS`` names."""

    id: str
    account: str | None
    at: int
    state: Any
    user_name: str | None
    journal: int | None


class EntryRow(NamedTuple):
    """A row of ``journal``; ``body`` as ``gateway.storage.payloads`` packed it, ``causes`` as the text of an array."""

    id: int
    at: int
    kind: Kind
    epoch: str
    turn: int
    seq: int
    user_name: str | None
    account: str | None
    venue: str | None
    source: str | None
    request: str | None
    request_id: str | None
    venue_at: int | None
    causes: str | None
    body: bytes


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """One consistent cut to write, in one transaction.

    Attributes:
        epoch, revision: Its name: the life of the gateway, and its number in that life. ``revision`` 0: not named yet.
        seq: Of the newest change set in it. ``journal``: the last place that was given out so far.
        at: When it was taken (ms). ``clean``: the last one of an orderly stop.
        removed: Ids of positions that are gone.
        prune: Accounts of which every stored position is to be deleted that is not in ``keep``.
        records: Append-only rows by kind.
        entries, samples: Of the journal, by rising place.
    """

    epoch: str = ""
    revision: int = 0
    seq: int = 0
    at: int = 0
    clean: bool = False
    journal: int = 0
    accounts: Sequence[AccountRow] = ()
    contracts: Sequence[ContractRow] = ()
    collateral: Sequence[CollateralRow] = ()
    positions: Sequence[PositionRow] = ()
    balances: Sequence[BalanceRow] = ()
    removed: Sequence[str] = ()
    prune: Sequence[str] = ()
    keep: Sequence[str] = ()
    records: Mapping[str, Sequence[RecordRow]] = {}
    entries: Sequence[EntryRow] = ()
    samples: Sequence[MarkSample] = ()

    @property
    def name(self) -> Written:
        """Epoch and revision."""
        return self.epoch, self.revision


class RefusedRow(NamedTuple):
    """A row that cannot be stored."""

    table: str
    key: tuple[Value, ...]
    reason: str


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(Batch)
# A text with half a surrogate pair, a number beyond 64 bits: nothing that a database could hold either.
_UNENCODABLE = (UnicodeError, OverflowError)
_STATES = ("accounts", "contracts", "collateral", "positions", "balances")
_JOURNAL = ("entries", "samples")
_LISTS = (*_STATES, *_JOURNAL)
_TEXTS = ("removed", "prune", "keep")
_PIECE_ROWS = 500  # of a list: some milliseconds
_LENGTH_BYTES = 8  # before each piece
_Item = TypeVar("_Item")


class Part(NamedTuple):
    """Some of a batch for the spool, and the rows that had to be left out of it because no text can be made of them.

    ``journal``: entries and samples alone; all such parts come last.
    """

    body: bytes
    refused: list[RefusedRow]
    journal: bool


def encode(batch: Batch) -> Iterator[Part]:
    """Yield a batch for the spool in parts, so that whoever asks can do something else between them; joined they are one body.

    What comes before the first part of the journal is a batch too: the same without entries and samples.
    """
    for piece in _pieces(batch):
        data, refused = _encoded(piece)
        yield Part(len(data).to_bytes(_LENGTH_BYTES) + data, refused, bool(piece.entries or piece.samples))


def _pieces(batch: Batch) -> Iterator[Batch]:
    lists = [name for name in (*_STATES, *_TEXTS) if len(getattr(batch, name)) > _PIECE_ROWS]
    kinds = [kind for kind, rows in batch.records.items() if len(rows) > _PIECE_ROWS]
    small = {kind: rows for kind, rows in batch.records.items() if kind not in kinds}
    nothing = Batch()
    yield msgspec.structs.replace(batch, records=small, **dict.fromkeys((*lists, *_JOURNAL), ()))
    for name in lists:
        for some in _slices(getattr(batch, name)):
            yield msgspec.structs.replace(nothing, **{name: some})
    for kind in kinds:
        for some in _slices(batch.records[kind]):
            yield Batch(records={kind: some})
    for name in _JOURNAL:
        for some in _slices(getattr(batch, name)):
            yield msgspec.structs.replace(nothing, **{name: some})


def _slices(rows: Sequence[_Item]) -> Iterator[Sequence[_Item]]:
    for start in range(0, len(rows), _PIECE_ROWS):
        yield rows[start : start + _PIECE_ROWS]


def _encoded(batch: Batch) -> tuple[bytes, list[RefusedRow]]:
    refused: list[RefusedRow] = []
    try:
        return _ENCODER.encode(batch), refused
    except _UNENCODABLE:
        pass

    def good(table: str, items: Sequence[_Item], key: Callable[[_Item], tuple[Value, ...]]) -> list[_Item]:
        found = []
        for item in items:
            try:
                _ENCODER.encode(item)
            except _UNENCODABLE as error:
                refused.append(RefusedRow(table, key(item), str(error)))
            else:
                found.append(item)
        return found

    lists = {name: good(name, getattr(batch, name), _key) for name in _LISTS}
    records = {kind: good(kind, rows, _key) for kind, rows in batch.records.items()}
    texts = {name: good(name, getattr(batch, name), lambda text: (ascii(text),)) for name in _TEXTS}
    return _ENCODER.encode(msgspec.structs.replace(batch, records=records, **lists, **texts)), refused


def _key(row: object) -> tuple[Value, ...]:
    return (row.id,) if isinstance(row, EntryRow | MarkSample) else (ascii(row[0]),) if isinstance(row, tuple) else ()


def pieces(body: bytes) -> Iterator[Batch]:
    """Yield what a body of the spool was made of; ``joined`` they are the batch.

    Raises:
        msgspec.MsgspecError: It is none, or of a version of this program that had other records.
    """
    whole, start = memoryview(body), 0
    while start < len(whole) or not start:
        begin = start + _LENGTH_BYTES
        start = begin + int.from_bytes(whole[start:begin])
        if start > len(whole):
            raise msgspec.DecodeError("its end is missing")
        piece = _DECODER.decode(whole[begin:start])
        records = {
            kind: [row._replace(state=msgspec.convert(row.state, RECORDS[kind])) for row in rows]
            for kind, rows in piece.records.items()
            if kind in RECORDS
        }
        yield msgspec.structs.replace(piece, records=records)


def joined(found: Sequence[Batch]) -> Batch:
    """Return the batch that these are the pieces of."""
    lists = {name: [row for piece in found for row in getattr(piece, name)] for name in (*_LISTS, *_TEXTS)}
    records: dict[str, list[RecordRow]] = {}
    for piece in found:
        for kind, rows in piece.records.items():
            records.setdefault(kind, []).extend(rows)
    return msgspec.structs.replace(found[0], records=records, **lists)
