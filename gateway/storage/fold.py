"""Batches that follow one another, as the one that they would have been, taken together: what a start reads of a spool. Pure.

Owns what becomes of rows that several of them have. Entries and samples are left out, and so is which entry a row came by: what is
made here is looked at, and never stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from gateway.core.facts import completed
from gateway.storage.batch import FACTS, Batch, RecordRow

_KEYS = {"accounts": 1, "contracts": 3, "collateral": 3, "positions": 1, "balances": 2}  # columns of each key


class Fold:
    """One batch and those behind it."""

    def __init__(self, first: Batch) -> None:
        self._last = self._first = first
        self._rows: dict[str, dict[tuple[Any, ...], tuple[Any, ...]]] = {name: {} for name in _KEYS}
        self._removed: set[str] = set()
        self._records: dict[str, dict[str, RecordRow]] = {}
        self._told: dict[tuple[str, int | None], list[RecordRow]] = {}
        self._add(first)

    def take(self, batch: Batch) -> bool:
        """Add the next batch; False: it begins with deletions of what is unknown to it, which belong before all of its own."""
        if batch.prune:
            return False
        self._add(batch)
        return True

    def _add(self, batch: Batch) -> None:
        self._last = batch
        for name, columns in _KEYS.items():
            self._rows[name].update((row[:columns], row) for row in getattr(batch, name))
        for row_id in batch.removed:
            self._rows["positions"].pop((row_id,), None)
        self._removed.update(batch.removed)
        self._removed.difference_update(row.id for row in batch.positions)
        for kind, rows in batch.records.items():
            if kind == "position_changes":
                self._note(rows)
                continue
            known = self._records.setdefault(kind, {})
            for row in rows:
                former = known.get(row.id) if kind in FACTS else None
                known[row.id] = row._replace(state=completed(former.state, row.state)) if former else row

    def _note(self, changes: Sequence[RecordRow]) -> None:
        """Of what a venue said of a position, with one moment of opening: the first time and the last. Nothing else is asked of
        changes by what a start reads, and they are as many as messages."""
        for row in changes:
            if row.state.state is not None:
                told = self._told.setdefault((row.state.position, row.state.state.opened_at), [row, row])
                told[1] = row

    @property
    def batch(self) -> Batch:
        """All of them as one, by the name of the last."""
        records = {kind: list(of.values()) for kind, of in self._records.items()}
        records["position_changes"] = list({row.id: row for told in self._told.values() for row in told}.values())
        return msgspec.structs.replace(
            self._last,
            prune=self._first.prune,
            keep=self._first.keep,
            removed=sorted(self._removed),
            records=records,
            entries=(),
            samples=(),
            **{name: list(rows.values()) for name, rows in self._rows.items()},
        )
