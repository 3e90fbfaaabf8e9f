"""One selection as all its subscribers see it: its rows as of the last flush, and the frames that lead there. Pure.

Row versions are immutable, so the view of a flush is a dictionary of references; every frame is encoded once, whatever
the number of clients. Never knows who subscribes.
"""

from __future__ import annotations

import orjson

from gateway.core.patch import diff
from gateway.core.protocol import (
    delta_payloads,
    gone_member,
    joined,
    patch_member,
    row_member,
    snapshot_payloads,
    sub_of,
)
from gateway.core.tables import Row, Selection, Tables, Version

# Catch-up frames remembered per flush: a storm of resumes from the same cursor shares bytes.
_MAX_CATCH_UPS = 32


def encoded_diff(old: Row, new: Row) -> bytes | None:
    """Return the merge patch between two rows as JSON, ``b"{}"`` where they are equal, None where none can say it."""
    patch = diff(old, new)
    return None if patch is None else orjson.dumps(patch)


class Group:
    """The subscribers' common state. All frames are complete WebSocket frames, ready to be written.

    Attributes:
        base: The seq that ``view`` shows: what joins or catches up is brought exactly there, never past it.
        sent: The seq of the last frame made for those in sync. Their replicas stand at it or later, though not always at
            ``base``, which moves without a frame where nothing of the selection changed.
    """

    def __init__(self, selection: Selection, tables: Tables) -> None:
        self.selection, self.sub = selection, sub_of(selection)
        self._tables, self._table = tables, tables[selection.table]
        self.base = self.sent = tables.seq
        self._at = tables.at
        members = self._table.members(selection).tolist()
        self.view: dict[str, Version] = {version.id: version for version in map(self._table.version, members)}
        self._catch_ups: dict[int | None, bytes] = {}

    @property
    def touched(self) -> bool:
        """True when the table changed after ``base``, perhaps in rows of others."""
        return self._table.changed_seq > self.base

    def settle(self) -> bool:
        """Say whether the view is as of now; ``base`` then is now, too."""
        if self.touched and (len(self._table.changed_since(self.selection, self.base)) or self._vanished(self.base)):
            return False
        self.base = self._tables.seq
        return True

    def flush(self, *, encode: bool = True) -> bytes | None:
        """Bring the view to now and return the frame that brings those in sync there.

        Args:
            encode: False when nobody is in sync: the view moves and no frame is made.

        Returns:
            None when nothing of the selection changed.
        """
        if not self.touched:
            self.base = self._tables.seq
            return None
        before, self.base, self._at = self.base, self._tables.seq, self._tables.at
        self._catch_ups.clear()
        rows, patch = self._advance(before, encode)
        if not encode:
            self.sent = self.base  # nobody waits for a frame from before
        if not (rows or patch):
            return None
        prev, self.sent = self.sent, self.base
        return joined(
            delta_payloads(self.sub, self.selection.table, prev, self.base, self._at, map(row_member, rows), patch)
        )

    def _advance(self, before: int, encode: bool) -> tuple[list[Version], list[bytes]]:
        table, view = self._table, self.view
        rows: list[Version] = []
        patch: list[bytes] = []
        for id_ in self._vanished(before):
            del view[id_]
            patch.append(gone_member(id_))
        for slot in table.changed_since(self.selection, before).tolist():
            new = table.version(slot)
            old = view.get(new.id)
            view[new.id] = new
            if not encode:
                continue
            # One that vanished and came back since is another row: whole, although its id was there.
            change = None if old is None or table.born(slot) > before else new.patch_from(old, encoded_diff)
            if change is None:
                rows.append(new)
            elif change != b"{}":
                patch.append(patch_member(new.id, change))
        return rows, patch if encode else []

    def _vanished(self, before: int) -> list[str]:
        table, view = self._table, self.view
        if table.structure_seq <= before:
            return []
        suspects = table.removed_since(self.selection, before) if before >= table.floor else list(view)
        return [id_ for id_ in suspects if id_ in view and not table.holds(id_, self.selection)]

    def reaches(self, cursor: int) -> bool:
        """Say whether one frame can lead from this cursor to ``base``; if not, it takes a snapshot."""
        return cursor == self.base or self._table.floor <= cursor < self.base

    def catch_up(self, cursor: int | None) -> bytes:
        """Return the frames that bring a replica as of ``cursor`` to ``base``: whole rows and nulls, else a snapshot.

        Args:
            cursor: A seq that ``reaches`` accepts, or None for a snapshot.
        """
        # Remembered until a row changes: if ``base`` moved without that, the frames end a little earlier, just as complete.
        frames = self._catch_ups.get(cursor)
        if frames is None:
            if len(self._catch_ups) >= _MAX_CATCH_UPS:
                self._catch_ups.clear()
            frames = self._catch_ups[cursor] = joined(self._snapshot() if cursor is None else self._since(cursor))
        return frames

    def _snapshot(self) -> list[bytes]:
        rows = map(row_member, self.view.values())
        return snapshot_payloads(self.sub, self.selection.table, self._tables.epoch, self.base, self._at, rows)

    def _since(self, cursor: int) -> list[bytes]:
        rows = [row_member(version) for version in self.view.values() if version.seq > cursor]
        removed = self._table.removed_since(self.selection, cursor, until=self.base)
        gone = [gone_member(id_) for id_ in removed if id_ not in self.view]
        return delta_payloads(self.sub, self.selection.table, cursor, self.base, self._at, rows, gone)
