"""A batch as a start looks at it: without what no start and no fold of chains reads. Pure.

Batches stay apart: what a chain becomes rests on what is known when it is folded, which is what the batches up to then said.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from gateway.storage.batch import Batch, RecordRow


def thinned(batch: Batch) -> Batch:
    """Return a batch without entries and samples, and with few changes of positions: those that say what all of them say."""
    records = {kind: _told(rows) if kind == "position_changes" else rows for kind, rows in batch.records.items()}
    return msgspec.structs.replace(batch, records=records, entries=(), samples=())


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
