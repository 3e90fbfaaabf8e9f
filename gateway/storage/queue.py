"""Entries and samples of the journal on their way to the disk: in order, bounded, and honest about what was given up. Pure.

An entry that was made ready to be stored once stays so, should it have to wait on: nothing is compressed twice, and more fits in.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import msgspec

from gateway.core.journal import Entry, Lost, MarkSample, moment, together
from gateway.storage.batch import EntryRow

MOST_ROWS = 200_000
MOST_BYTES = 128 << 20
_ROW_BYTES = 400  # of an entry or a sample beside its body, about

Waiting = Entry | EntryRow | MarkSample


class Queue:
    """Rows by rising place. Beyond either bound the oldest are given up, and ``lost`` says so until it is written.

    Attributes:
        lost: The gap before the first row; an entry of its own when the rows are written.
        given_up: Rows given up since the object was made.
        bytes: Of all rows in memory, about. ``body_bytes``: of the bodies that are ready to be stored.
    """

    def __init__(self, most_rows: int = MOST_ROWS, most_bytes: int = MOST_BYTES) -> None:
        self.most_rows, self.most_bytes = most_rows, most_bytes
        self.lost: Lost | None = None
        self.given_up = 0
        self.bytes = self.body_bytes = 0
        self._rows: deque[Waiting] = deque()

    def __len__(self) -> int:
        return len(self._rows) + (self.lost is not None)

    def put(self, row: Entry | MarkSample) -> None:
        """Take a row; its place is behind all that wait."""
        self._rows.append(row)
        self.bytes += _size(row)
        self._bound()

    def put_back(self, taken: Queue) -> None:
        """Take rows again that were not written: they are older than all that wait.

        Where something among or behind them was given up, they are too: there is one gap, before the first row.
        """
        given_up = taken.given_up
        if self.lost is not None and taken._rows and self.lost.until >= taken._rows[0].id:
            while taken._rows:
                taken._give_up()
        taken._rows.extend(self._rows)
        self._rows = taken._rows
        self.bytes += taken.bytes
        self.body_bytes += taken.body_bytes
        self.lost = together(taken.lost, self.lost)
        self.given_up += taken.given_up - given_up
        self._bound()

    def entries(self) -> list[Entry | EntryRow]:
        """Return the entries, and first of all the one that says what was given up before them.

        It has the place of the last row that it speaks of: should that row be stored after all (nobody could tell), this entry
        is the one that is dropped, and rightly.
        """
        found = [row for row in self._rows if not isinstance(row, MarkSample)]
        if self.lost is not None:
            first = self._rows[0] if self._rows else None
            at, epoch = (first.at, first.epoch) if first is not None else (moment(self.lost.until), "")
            body = msgspec.json.encode(self.lost).decode()
            found.insert(0, Entry(id=self.lost.until, at=at, kind="lost", epoch=epoch, body=body))
        return found

    def ready(self, entries: Sequence[EntryRow]) -> None:
        """Keep entries as they are to be stored: all that ``entries`` returned."""
        given = iter(entries[self.lost is not None :])
        self._rows = deque(row if isinstance(row, MarkSample) else next(given) for row in self._rows)
        self.bytes = sum(map(_size, self._rows))
        self.body_bytes = sum(map(_stored, self._rows))

    def samples(self) -> list[MarkSample]:
        """Return the samples."""
        return [row for row in self._rows if isinstance(row, MarkSample)]

    def _bound(self) -> None:
        while len(self._rows) > self.most_rows or (self.bytes > self.most_bytes and len(self._rows) > 1):
            self._give_up()

    def _give_up(self) -> None:
        """Let go of the oldest row."""
        row = self._rows.popleft()
        self.bytes -= _size(row)
        self.body_bytes -= _stored(row)
        self.given_up += 1
        entry = not isinstance(row, MarkSample)
        gap = Lost(since=row.id, until=row.id, entries=int(entry), samples=int(not entry))
        self.lost = together(self.lost, gap)


def _size(row: Waiting) -> int:
    return _ROW_BYTES + (0 if isinstance(row, MarkSample) else len(row.body))


def _stored(row: Waiting) -> int:
    return len(row.body) if isinstance(row, EntryRow) else 0
