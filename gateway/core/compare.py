"""What the tables and the venue say of an account, side by side: for a dry run, which changes nothing. Pure."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from exchanges.events import Event, PositionsSnapshot, PositionState
from gateway.core.difference import difference


class Disagreement(msgspec.Struct, frozen=True, kw_only=True):
    """One field of one position; None: that side does not have it."""

    position: str
    field: str
    store: str | None
    venue: str | None


def compare(rows: Iterable[PositionState], events: Iterable[Event]) -> list[Disagreement]:
    """Return every difference between an account's rows and the full answers among the events of an inquiry.

    Rows of scopes that were not answered are not compared: of those nothing is known.
    """
    held = list(rows)
    found = []
    for snapshot in events:
        if isinstance(snapshot, PositionsSnapshot):
            found += _of_scope({row.id: row for row in held if row.scope == snapshot.scope}, snapshot)
    return found


def _of_scope(rows: dict[str, PositionState], snapshot: PositionsSnapshot) -> list[Disagreement]:
    said = {state.id: state for state in snapshot.positions if float(state.size) != 0.0}
    found = []
    for row_id in sorted(rows.keys() | said.keys()):
        store, venue = difference(rows.get(row_id), said.get(row_id))
        found += [
            Disagreement(position=row_id, field=field, store=store.get(field), venue=venue.get(field))
            for field in dict.fromkeys((*store, *venue))
        ]
    return found
