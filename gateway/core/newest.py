"""The newest records of each account in a table, and the ids of many more: append-only, bounded. Pure."""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterator
from typing import Generic, TypeVar

from exchanges.events import Event
from gateway.core.accounts import AccountInfo
from gateway.core.publish import Changes, key_of

Record = TypeVar("Record", bound=Event)

_REMEMBERED = 20_000  # ids per account: a re-read of what is no longer in the table is no news


class Newest(Generic[Record]):
    """One append-only table, ``keep`` records an account, ordered by their times."""

    def __init__(self, changes: Changes, table: str, keep: int) -> None:
        self._changes, self._table, self._keep = changes, table, keep
        self._records: dict[str, Record] = {}
        self._order: dict[str, list[tuple[int, str]]] = {}  # account → (at, id), oldest first
        self._seen: dict[str, dict[str, None]] = {}

    def __getitem__(self, record_id: str) -> Record:
        return self._records[record_id]

    def get(self, record_id: str) -> Record | None:
        """Return a record that is still in the table."""
        return self._records.get(record_id)

    def knows(self, account: str, record_id: str) -> bool:
        """Say whether a record came before, though it may be in the table no more."""
        return record_id in self._seen.get(account, ())

    def of(self, account: str) -> Iterator[Record]:
        """Yield an account's records in the table, the newest first."""
        for _, record_id in reversed(self._order.get(account, [])):
            yield self._records[record_id]

    def add(self, info: AccountInfo, record_id: str, symbol: str | None, at: int, record: Record) -> bool:
        """Take a record; return False where it came before."""
        if self.knows(info.name, record_id):
            return False
        seen = self._seen.setdefault(info.name, {})
        seen[record_id] = None
        if len(seen) > _REMEMBERED:
            del seen[next(iter(seen))]
        order = self._order.setdefault(info.name, [])
        if len(order) >= self._keep and (at, record_id) < order[0]:
            return True  # older than everything in the table
        insort(order, (at, record_id))
        self._records[record_id] = record
        self._changes.touch(self._table, record_id, key_of(info, symbol))
        if len(order) > self._keep:
            _, oldest = order.pop(0)
            del self._records[oldest]
            self._changes.remove(self._table, oldest)
        return True

    def patch(self, record_id: str, record: Record) -> None:
        """Replace a record that is in the table; ignored where it is there no more."""
        if record_id in self._records:
            self._records[record_id] = record
            self._changes.touch(self._table, record_id)
