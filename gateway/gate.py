"""What an account's first words may do before it is known whose account it is.

An agent's address, or a key of another account, shows a valid account without positions: believed, it would close every row that
was restored. So an empty snapshot waits until the audit has said that the account is the one that was meant. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence

from exchanges.events import Event, PositionsSnapshot, PositionState


class Gate:
    """Holds back an account's empty snapshots, the newest of each scope, until it is opened."""

    def __init__(self) -> None:
        self._open = False
        self._held: dict[str, PositionsSnapshot] = {}

    def open(self) -> list[Event]:
        """Let everything pass from now on; return what was held back."""
        held, self._held, self._open = list(self._held.values()), {}, True
        return list(held)

    def pass_(self, events: Sequence[Event]) -> Sequence[Event]:
        """Return what may go on now."""
        if self._open:
            return events
        passed: list[Event] = []
        for event in events:
            if isinstance(event, PositionsSnapshot) and not event.positions:
                self._held[event.scope] = event
                continue
            if isinstance(event, PositionsSnapshot | PositionState):
                self._held.pop(event.scope, None)  # it says more, and is newer
            passed.append(event)
        return passed
