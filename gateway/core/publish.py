"""The open change set: which rows of which tables the present turn changes. Pure; one writer."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.core.accounts import AccountInfo
from gateway.core.records import Sink
from gateway.core.tables import RowKey, Slots, Table, Tables


class Changes:
    """Marks rows under the seq of the turn in progress.

    Attributes:
        tables: Set once they exist.
        sink: Where durable state goes; None: nowhere (it comes from there).
    """

    tables: Tables

    def __init__(self, sink: Sink | None) -> None:
        self.seq = 0
        self.sink = sink

    def begin(self) -> None:
        """Open a turn's change set; ``commit`` must follow."""
        self.seq = self.tables.begin()

    def commit(self, now: int) -> bool:
        """Publish it; return whether anything changed."""
        return self.tables.commit(now)

    def touch(self, table: str, row_id: str, key: RowKey | None = None) -> None:
        """Say that a row changed; one that is not there yet is added where its key is given."""
        target = self.tables[table]
        slot = target.slot(row_id)
        if slot is None:
            if key is None:
                return
            slot = target.add(row_id, key)
        target.touch([slot], self.seq)

    def touch_slots(self, table: Table, slots: Slots | Sequence[int]) -> None:
        """Say that the rows in these slots changed."""
        table.touch(slots, self.seq)

    def remove(self, table: str, row_id: str) -> None:
        """Say that a row is gone; one that is not there is ignored."""
        target = self.tables[table]
        if row_id in target:
            target.remove(row_id, self.seq)


def key_of(info: AccountInfo, symbol: str | None = None) -> RowKey:
    """Return whom a row of an account belongs to."""
    return RowKey(info.name, info.user, info.venue, symbol)
