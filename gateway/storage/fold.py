"""Batches as a start looks at them: without what no start and no fold of chains reads. Pure.

Batches stay apart: what a chain becomes rests on what is known when it is folded, which is what the batches up to then said. Of a
row that is told again and again that is seldom more than the first telling. The newest one is what a start reads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import msgspec

from gateway.storage.batch import AccountRow, Batch, ContractRow, PositionRow, RecordRow


class _Kind(NamedTuple):
    """Rows that are replaced: how many columns are their key, and what chains are told by them."""

    keys: int
    said: Callable[[Any], object]


def _of_account(row: AccountRow) -> object:
    return row.user_name, row.venue, row.env, row.mode


def _of_contract(row: ContractRow) -> object:
    return row.state


def _of_position(row: PositionRow) -> object:
    return row.account, row.state.symbol, row.state.opened_at


_KINDS = {
    "accounts": _Kind(1, _of_account),
    "contracts": _Kind(3, _of_contract),
    "collateral": _Kind(3, lambda _: None),
    "positions": _Kind(1, _of_position),
    "balances": _Kind(2, lambda _: None),
}


class Thinned:
    """Batches in their order, each as it is to be looked at. ``take`` each, then ``end``."""

    def __init__(self) -> None:
        self.batches: list[Batch] = []
        self._said: dict[str, dict[tuple[Any, ...], object]] = {name: {} for name in _KINDS}
        self._newer: dict[str, dict[tuple[Any, ...], Any]] = {name: {} for name in _KINDS}  # and not in a batch yet

    def take(self, batch: Batch) -> None:
        """Add the next batch."""
        if batch.prune:  # it deletes what is unknown to it
            self.end()
            self._said["positions"].clear()
        for row_id in batch.removed:
            self._said["positions"].pop((row_id,), None)
            self._newer["positions"].pop((row_id,), None)
        rows = {name: self._rows(name, getattr(batch, name)) for name in _KINDS}
        records = {kind: _told(of) if kind == "position_changes" else of for kind, of in batch.records.items()}
        self.batches.append(msgspec.structs.replace(batch, records=records, entries=(), samples=(), **rows))

    def end(self) -> None:
        """Let the last batch have the newest rows."""
        if self.batches:
            last = self.batches[-1]
            rows = {name: [*getattr(last, name), *newer.values()] for name, newer in self._newer.items()}
            self.batches[-1] = msgspec.structs.replace(last, **rows)
        for newer in self._newer.values():
            newer.clear()

    def _rows(self, name: str, rows: Iterable[Any]) -> list[Any]:
        """Return the rows that tell chains something; the others are told at the end."""
        kind, said, newer, found = _KINDS[name], self._said[name], self._newer[name], []
        for row in rows:
            key = row[: kind.keys]
            if key in said and said[key] == kind.said(row):
                newer[key] = row
            else:
                newer.pop(key, None)
                said[key] = kind.said(row)
                found.append(row)
        return found


def _told(changes: Sequence[RecordRow]) -> list[RecordRow]:
    """Return the first and the last changes of each position, by the moment of its opening: chains ask for nothing between."""
    spans: dict[tuple[str, object], tuple[int, int]] = {}
    for row in changes:
        first, last = spans.get(_opening(row), (row.state.at, row.state.at))
        spans[_opening(row)] = min(first, row.state.at), max(last, row.state.at)
    return [row for row in changes if row.state.at in spans[_opening(row)]]


def _opening(row: RecordRow) -> tuple[str, object]:
    state = row.state.state
    return row.state.position, ("over" if state is None else state.opened_at)
