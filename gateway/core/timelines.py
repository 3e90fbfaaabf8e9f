"""One chain as far as memory reaches: what is told late is put into its place. Pure.

Owns the newest records of a chain, and the state before them. Storage, which has all records, does the same with its own.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from exchanges.events import Fill, Transfer
from gateway.core.chains import Chain, Evidence, Item, Seen, at_of, decode
from gateway.core.folding import fold
from gateway.core.records import PastPosition

KEEP = 500  # records of one chain


class Told(NamedTuple):
    """What records changed: cycles that ended or are other ones now, and ids of those that there never were."""

    cycles: list[PastPosition]
    gone: list[str]


class Timeline:
    """One chain, the newest records in it, and how it stood before them."""

    def __init__(self, chain: Chain, keep: int = KEEP) -> None:
        self.chain, self._keep = chain, keep
        self._base = chain.encode()
        self._items: dict[str, Item] = {}
        self._cycles: dict[str, PastPosition] = {}  # that follow from the items

    def take(self, items: Iterable[Item], evidence: Evidence) -> Told:
        """Take records, whichever of them are new, and in whatever order."""
        new = {key_of(item): item for item in items}
        new = {key: item for key, item in new.items() if self._items.get(key) != item}
        if all(self.chain.tells_nothing(item) for item in new.values()):
            self._items |= new
            return Told([], [])
        if not any(self.chain.late(item) for item in new.values()):
            self._items |= new
            return self._forget(self._go_on(self.chain, new.values(), evidence), evidence)
        base = decode(self._base)
        reached = {key: item for key, item in new.items() if not base.late(item)}
        if any(isinstance(item, Fill) for key, item in new.items() if key not in reached):
            # Farther back than memory: what is held now may lack it. Payments of then are told again and again.
            for leg in base.legs:
                if leg.trip is not None:
                    leg.trip.whole = False
            self._base = base.encode()
        self._items |= reached
        before, self._cycles, self.chain = self._cycles, {}, base
        told = self._go_on(base, self._items.values(), evidence)
        gone = [key for key in before if key not in self._cycles]
        changed = [one for one in told.cycles if before.get(one.id) != one]
        return self._forget(Told(changed, gone), evidence)

    def _go_on(self, chain: Chain, items: Iterable[Item], evidence: Evidence) -> Told:
        found = {one.id: one for ended in fold(chain, items, evidence) for one in ended.cycles}
        self._cycles |= found
        return Told(list(found.values()), [])

    def _forget(self, told: Told, evidence: Evidence) -> Told:
        """Let go of the older half of the records, where there are too many."""
        if len(self._items) <= self._keep:
            return told
        ordered = sorted(self._items.values(), key=at_of)
        cut = at_of(ordered[len(ordered) // 2])
        base = decode(self._base)
        over = [
            one
            for ended in fold(base, (item for item in ordered if at_of(item) < cut), evidence)
            for one in ended.cycles
        ]
        self._base = base.encode()
        self._items = {key_of(item): item for item in ordered if at_of(item) >= cut}
        for one in over:
            self._cycles.pop(one.id, None)
        return told


def key_of(item: Item) -> str:
    """Return what tells records apart."""
    kind = type(item).__name__
    return f"{kind} {item.position if isinstance(item, Seen) else item.id}"


def tells(transfer: Transfer) -> bool:
    """Say whether a transfer is money of a position."""
    return transfer.symbol is not None and transfer.kind in ("settlement", "liquidation")
