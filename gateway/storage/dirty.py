"""What still has to be written: keys of rows, append-only records, and the journal. Pure.

Owns the set of keys that changed since they were last taken, and the records and entries that wait (the database alone holds them
afterwards). Bounded: a key that changes a thousand times waits once, and a removed one waits as its bare key until it was written.
Of append-only records of a kind the oldest beyond ``MOST_RECORDS`` are given up and counted, of the journal those beyond the bounds
of ``Queue``.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

from gateway.core.facts import completed
from gateway.storage.batch import FACTS, RECORDS, Record
from gateway.storage.queue import Queue

MOST_RECORDS = 100_000  # of a kind, that can be written nowhere: some 100 MB
_RECORD_BYTES = 50  # in a batch, at least

ContractKey = tuple[str, str, str]  # venue, env, symbol
CollateralKey = tuple[str, str, str]  # venue, env, ccy
BalanceKey = tuple[str, str]  # account, scope


class Kept(NamedTuple):
    """A record that waits, and the raw entry that it came by."""

    record: Record
    journal: int | None


class Dirty:
    """Keys whose rows differ from the database, and the accounts whose unknown rows are to be deleted there.

    Attributes:
        given_up: Records that nobody could write.
    """

    def __init__(self, queue: Queue) -> None:
        self.accounts: set[str] = set()
        self.contracts: set[ContractKey] = set()
        self.collateral: set[CollateralKey] = set()
        self.positions: set[str] = set()
        self.balances: set[BalanceKey] = set()
        self.prune: set[str] = set()
        # Ordered: the first of a plain dict is looked for behind all that were deleted before it.
        self.records: dict[str, OrderedDict[str, Kept]] = {kind: OrderedDict() for kind in RECORDS}
        self.queue = queue
        self.given_up = 0

    @property
    def least_bytes(self) -> int:
        """How many bytes a batch of it has at least."""
        return self.queue.body_bytes + _RECORD_BYTES * sum(map(len, self.records.values()))

    def __len__(self) -> int:
        marked = len(self.accounts) + len(self.contracts) + len(self.positions) + len(self.balances)
        records = sum(len(of) for of in self.records.values())
        return marked + len(self.collateral) + len(self.prune) + records + len(self.queue)

    def add(self, other: Dirty) -> None:
        """Take over all keys of ``other``."""
        self.accounts |= other.accounts
        self.contracts |= other.contracts
        self.collateral |= other.collateral
        self.positions |= other.positions
        self.balances |= other.balances
        self.prune |= other.prune
        for kind, of in other.records.items():
            newer, self.records[kind] = self.records[kind], of
            for kept in newer.values():
                self.wait(kind, *kept)
        self.queue.put_back(other.queue)

    def wait(self, kind: str, record: Record, origin: int | None) -> None:
        """Keep a record; one of the same id that waits is older. Beyond ``MOST_RECORDS`` the oldest is given up."""
        waiting = self.records[kind]
        former = waiting.pop(record.id, None)
        if former is not None:
            origin = former.journal if former.journal is not None else origin  # the entry that it first came by
            record = completed(former.record, record) if kind in FACTS else record
        waiting[record.id] = Kept(record, origin)
        if len(waiting) > MOST_RECORDS:
            waiting.popitem(last=False)
            self.given_up += 1
