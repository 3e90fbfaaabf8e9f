"""Keyed tables with versions: the one answer to "what do I send?" (the rows changed since a cursor, and the ids gone since).

Owns which ids exist, to whom a row belongs, and the ``seq`` at which it last changed. Never owns the figures: a row is
read from its owner, as a dictionary, only when somebody wants it. Used by one writer (``begin``, ``add``, ``touch``,
``remove``, ``commit``, all within one turn) and by readers between turns.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence

import msgspec
import numpy as np
import orjson
from numpy.typing import NDArray

Row = dict[str, object]
Slots = NDArray[np.int64]

_FIRST_CAPACITY = 64
_MAX_CACHED_SELECTIONS = 4_096
# Tombstones age out in steps of this length: a mark of (time, seq) is kept per step, not a time per tombstone.
_AGE_STEP_MS = 60_000


class RowKey(msgspec.Struct, frozen=True):
    """Whom a row belongs to: an account, else a user, else (public feeds) a venue; and what filters may ask for."""

    account: str | None = None
    user: str | None = None
    venue: str | None = None
    symbol: str | None = None


class Selection(msgspec.Struct, frozen=True):
    """Which rows of a table somebody may see and wants, after resolution. None: no restriction.

    ``accounts`` and ``symbols`` are sorted. Rows of an account are chosen by ``accounts``, rows of a user by ``users``;
    rows of neither are public and always chosen.
    """

    table: str
    accounts: tuple[str, ...] | None = None
    symbols: tuple[str, ...] | None = None
    users: tuple[str, ...] | None = None
    min_interval_ms: int = 0

    @property
    def everything(self) -> bool:
        """True when every row of the table is chosen."""
        return self.accounts is None and self.symbols is None and self.users is None

    def matches(self, key: RowKey) -> bool:
        """Say whether a row with this key is chosen."""
        if self.symbols is not None and key.symbol not in self.symbols:
            return False
        if key.account is not None:
            return self.accounts is None or key.account in self.accounts
        return key.user is None or self.users is None or key.user in self.users


class Version:
    """One row as it was at ``seq``. Immutable: ``row`` is never changed after it was made. Encoded at most once."""

    __slots__ = ("_encoded", "_patch", "_patch_base", "id", "row", "seq")

    def __init__(self, id_: str, seq: int, row: Row) -> None:
        self.id, self.seq, self.row = id_, seq, row
        self._encoded: bytes | None = None
        self._patch_base: Version | None = None
        self._patch: bytes | None = None

    @property
    def encoded(self) -> bytes:
        """The whole row as JSON."""
        if self._encoded is None:
            self._encoded = orjson.dumps(self.row)
        return self._encoded

    def patch_from(self, old: Version, make: Callable[[Row, Row], bytes | None]) -> bytes | None:
        """Return ``make(old.row, self.row)``, remembered for the latest ``old``: selections flushed together share it."""
        if self._patch_base is not old:
            # Only the last base is kept, and no chain of bases: the old version must be free to go.
            old._patch_base = old._patch = None
            self._patch_base, self._patch = old, make(old.row, self.row)
        return self._patch


class Removal(msgspec.Struct, frozen=True, gc=False):
    """A tombstone: the id went away at ``seq``."""

    seq: int
    id: str
    key: RowKey


class Table:
    """The rows of one kind. A row lives in a slot, a small integer that stays the same until the row is removed.

    Args:
        name: As clients ask for it.
        read: Builds the row in that slot, as a new dictionary without NaN; called between turns, only for wanted rows.
        filters: What clients may filter by: "accounts", "symbols".
        max_tombstones: Removals remembered; when older ones are forgotten ``floor`` rises.
    """

    def __init__(
        self,
        name: str,
        read: Callable[[int, str], Row],
        filters: Iterable[str] = (),
        max_tombstones: int = 10_000,
    ) -> None:
        self.name, self.read, self.filters, self.max_tombstones = name, read, frozenset(filters), max_tombstones
        self.seqs: Slots = np.zeros(_FIRST_CAPACITY, np.int64)  # (capacity,) seq of the last change, 0 where no row
        self.floor = 0  # cursors below it cannot be served with a delta
        self.published = 0  # seq of the last commit of all tables
        self.changed_seq = 0  # seq of this table's last change
        self.structure_seq = 0  # seq of its last addition or removal
        self._slots: dict[str, int] = {}
        self._ids: list[str | None] = []
        self._keys: list[RowKey] = []
        self._born: list[int] = []
        self._versions: list[Version | None] = []
        self._free: list[int] = []
        self._owned: dict[str | None, set[int]] = {}
        self._removals: deque[Removal] = deque()
        self._members: dict[tuple[object, ...], Slots] = {}

    def __len__(self) -> int:
        return len(self._slots)

    def __contains__(self, id_: str) -> bool:
        return id_ in self._slots

    def ids(self) -> Iterable[str]:
        """Return the ids of all rows."""
        return self._slots.keys()

    def slot(self, id_: str) -> int | None:
        """Return the slot of a row, None where there is none."""
        return self._slots.get(id_)

    def id_of(self, slot: int) -> str:
        """Return the id of the row in a slot. Raises KeyError where there is none."""
        id_ = self._ids[slot]
        if id_ is None:
            raise KeyError(slot)
        return id_

    def key_of(self, slot: int) -> RowKey:
        """Return whom the row in a slot belongs to."""
        return self._keys[slot]

    # --- The writer's side ------------------------------------------------------------------------------------------

    def add(self, id_: str, key: RowKey) -> int:
        """Add a row in the open change set and return its slot.

        Raises:
            ValueError: The id exists already.
        """
        if id_ in self._slots:
            raise ValueError(f"table {self.name}: row {id_!r} exists already; touch it instead")
        slot = self._free.pop() if self._free else self._grow()
        seq = self.published + 1
        self._slots[id_], self._ids[slot], self._keys[slot], self._born[slot] = slot, id_, key, seq
        self._versions[slot] = None
        self._owned.setdefault(key.account, set()).add(slot)
        self.seqs[slot] = seq
        self._restructured(seq)
        return slot

    def touch(self, slots: Slots | Sequence[int], seq: int) -> None:
        """Say that the rows in these slots changed in the change set ``seq`` (from ``Tables.begin``)."""
        if len(slots):
            self._check(seq)
            self.seqs[slots] = seq
            self.changed_seq = seq

    def remove(self, id_: str, seq: int) -> None:
        """Remove a row in the change set ``seq`` and remember that it went away. Raises KeyError for an unknown id."""
        self._check(seq)
        slot = self._slots.pop(id_)
        key = self._keys[slot]
        self._owned[key.account].discard(slot)
        self._ids[slot], self._versions[slot], self.seqs[slot] = None, None, 0
        self._free.append(slot)
        self._removals.append(Removal(seq, id_, key))
        while len(self._removals) > self.max_tombstones:
            self.floor = self._removals.popleft().seq
        self._restructured(seq)

    def forget(self, seq: int) -> None:
        """Forget the removals up to and including ``seq``: they are old enough."""
        while self._removals and self._removals[0].seq <= seq:
            self.floor = self._removals.popleft().seq

    def _grow(self) -> int:
        slot = len(self._ids)
        self._ids.append(None)
        self._keys.append(RowKey())
        self._born.append(0)
        self._versions.append(None)
        if slot >= len(self.seqs):
            self.seqs = np.concatenate([self.seqs, np.zeros(len(self.seqs), np.int64)])
        return slot

    def _restructured(self, seq: int) -> None:
        self._members.clear()
        self.changed_seq = self.structure_seq = seq

    def _check(self, seq: int) -> None:
        if seq <= self.published:
            raise ValueError(
                f"table {self.name}: change set {seq} is published already (now {self.published}); call begin()"
            )

    # --- The readers' side ------------------------------------------------------------------------------------------

    def version(self, slot: int) -> Version:
        """Return the row in a slot as it is now; the same object until the row changes again."""
        seq = int(self.seqs[slot])
        cached = self._versions[slot]
        if cached is not None and cached.seq == seq:
            return cached
        id_ = self.id_of(slot)
        version = Version(id_, seq, self.read(slot, id_))
        if seq <= self.published:  # inside an open change set the row may change again under the same seq
            self._versions[slot] = version
        return version

    def get(self, id_: str) -> Version | None:
        """Return the row with this id as it is now, None where there is none."""
        slot = self._slots.get(id_)
        return None if slot is None else self.version(slot)

    def born(self, slot: int) -> int:
        """Return the seq at which the row in a slot came (back) into being: older bases do not have *this* row."""
        return self._born[slot]

    def members(self, selection: Selection) -> Slots:
        """Return the slots that a selection chooses, ascending; the array must not be changed."""
        key = (selection.accounts, selection.symbols, selection.users)
        found = self._members.get(key)
        if found is None:
            if len(self._members) >= _MAX_CACHED_SELECTIONS:
                self._members.clear()
            found = np.array(sorted(self._choose(selection)), np.int64)
            self._members[key] = found
        return found

    def _choose(self, selection: Selection) -> Iterable[int]:
        if selection.everything:
            return self._slots.values()
        return self._chosen(selection)

    def _chosen(self, selection: Selection) -> Iterator[int]:
        owners = self._owned.keys() if selection.accounts is None else (*selection.accounts, None)
        for owner in owners:
            for slot in self._owned.get(owner, ()):
                if selection.matches(self._keys[slot]):
                    yield slot

    def holds(self, id_: str, selection: Selection) -> bool:
        """Say whether the row exists and the selection chooses it."""
        slot = self._slots.get(id_)
        return slot is not None and selection.matches(self._keys[slot])

    def changed_since(self, selection: Selection, cursor: int) -> Slots:
        """Return the slots of the chosen rows that changed after ``cursor``."""
        members = self.members(selection)
        changed: Slots = members[self.seqs[members] > cursor]
        return changed

    def removed_since(self, selection: Selection, cursor: int, until: int | None = None) -> list[str]:
        """Return the ids of chosen rows that were removed after ``cursor`` (up to ``until``), though some came back.

        Complete only for ``cursor >= floor``.
        """
        ids: dict[str, None] = {}
        for removal in reversed(self._removals):
            if removal.seq <= cursor:
                break
            if (until is None or removal.seq <= until) and selection.matches(removal.key):
                ids[removal.id] = None
        return list(ids)

    def gone_since(self, selection: Selection, cursor: int) -> list[str]:
        """Return the ids of chosen rows that went away after ``cursor`` and are not there now. See ``removed_since``."""
        return [id_ for id_ in self.removed_since(selection, cursor) if not self.holds(id_, selection)]


class Tables:
    """All tables and their one counter: ``seq`` moves one step per published change set, within one ``epoch``."""

    def __init__(self, epoch: str, *tables: Table, tombstone_ttl_ms: int = 3_600_000) -> None:
        self.epoch = epoch
        self.seq = 0
        self.at = 0  # when the last change set was committed
        self.durable_seq = 0  # the change set up to which everything survives a kill of gateway and database
        self._tables = {table.name: table for table in tables}
        self._ttl_ms = tombstone_ttl_ms
        self._ages: deque[tuple[int, int]] = deque()  # (at, seq), one per step of time with a commit

    def __getitem__(self, name: str) -> Table:
        return self._tables[name]

    def __contains__(self, name: object) -> bool:
        return name in self._tables

    def __iter__(self) -> Iterator[Table]:
        return iter(self._tables.values())

    @property
    def names(self) -> tuple[str, ...]:
        """The tables' names in the order given."""
        return tuple(self._tables)

    def begin(self) -> int:
        """Return the seq that the changes of this turn belong to; ``commit`` must follow in the same turn."""
        return self.seq + 1

    def commit(self, at: int) -> bool:
        """Publish the changes made since the last commit, at ``at`` (ms). Returns False, and moves nothing, without any."""
        seq = self.seq + 1
        if not any(table.changed_seq == seq for table in self._tables.values()):
            return False
        self.seq, self.at = seq, at
        for table in self._tables.values():
            table.published = seq
        self._forget(at)
        return True

    def _forget(self, at: int) -> None:
        if not self._ages or at - self._ages[-1][0] >= _AGE_STEP_MS:
            self._ages.append((at, self.seq))
        while self._ages and at - self._ages[0][0] > self._ttl_ms:
            seq = self._ages.popleft()[1]
            for table in self._tables.values():
                table.forget(seq)
