"""A life of an engine that is put down while it is lived, and gone through again, for the tests of both."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

import orjson

from exchanges.events import Event
from gateway.config import Config
from gateway.core.accounts import AccountInfo
from gateway.core.alerts.records import AlertRecord
from gateway.core.beginning import bodies
from gateway.core.journal import Entry, MarkSample, Places
from gateway.core.records import Correction, Order
from gateway.core.scribe import Group, Scribe
from gateway.engine import Engine
from gateway.rewind import Rewind, conditions
from tests.gateway.events_of import BYBIT, OKX

Row = Entry | MarkSample
APART = frozenset({"feeds"})  # tables that no replay is held to
APART_FIELDS = frozenset({"mark_at"})


class Sink:
    """Tells the scribe what the engine puts on record, and keeps the newest state of each position."""

    scribe: Scribe | None = None

    def __init__(self) -> None:
        self.corrections: list[Correction] = []

    def put_alert(self, alert: AlertRecord) -> None:
        if self.scribe:
            self.scribe.alert(alert)

    def put_correction(self, correction: Correction) -> None:
        self.corrections.append(correction)
        if self.scribe:
            self.scribe.correction(correction)

    def __getattr__(self, name: str) -> Any:
        return lambda *_: None


class Life:
    """An engine, and what was put down of it (``rows``)."""

    def __init__(
        self,
        *accounts: AccountInfo,
        restored: Sequence[Event] = (),
        at: int = 1_000,
        stored_at: int | None = None,
        config: Config | None = None,
        places: Places | None = None,
        epoch: str = "lived",
    ) -> None:
        self.rows: list[Row] = []
        config, accounts, sink = config or Config(), accounts or (OKX, BYBIT), Sink()
        self.sink = sink
        self.engine = Engine(epoch, accounts, config.engine, sink, config.models.promoted)
        self.scribe = sink.scribe = Scribe(epoch, places or Places(), self.engine, self.rows.append, self.rows.append)
        self._conditions, self._accounts = conditions(config), accounts
        for _ in self.scribe.base(bodies(restored, self._conditions, accounts, at, stored_at), at):
            pass
        self.engine.restore(restored, at, stored_at)
        self.engine.errands()
        self.at = at

    def turn(self, *events: Event, at: int | None = None) -> None:
        """Give events to the engine as one turn."""
        self.groups([(None, events)], at)

    def groups(self, groups: Sequence[Group], at: int | None = None) -> None:
        """Give events to the engine as one turn, each group with the raw entry that it came by."""
        self.at = self.at if at is None else at
        self.scribe.begin(groups, self.at)
        try:
            self.engine.turn([event for _, events in groups for event in events], self.at)
        finally:
            self.scribe.end(self.engine.tables.seq)
            self.engine.errands()

    def clock(self, at: int | None = None) -> None:
        """Let the engine take the time."""
        self.at = self.at + 1_000 if at is None else at
        self.scribe.begin_clock(self.at)
        self.engine.clock(self.at)
        self.scribe.end(self.engine.tables.seq)
        self.engine.errands()

    def order(self, order: Order, at: int | None = None) -> None:
        """Do what somebody orders."""
        self.at = self.at if at is None else at
        self.scribe.begin_order(order, self.at)
        self.engine.obey(order, self.at)
        self.scribe.end(self.engine.tables.seq)
        self.engine.errands()

    def base(self, at: int | None = None) -> Iterator[None]:
        """Begin a base in the middle of the life; each step puts an entry of it down."""
        self.at = self.at if at is None else at
        image, told = self.engine.image(), self.engine.told(self.at)
        for _ in image.copy():
            pass
        made = bodies(told, self._conditions, self._accounts, self.at, state=image.portions())
        return self.scribe.base(made, self.at)

    def close(self) -> None:
        """End in good order."""
        self.scribe.close(self.engine.alerts.board.records(self.at), self.at)

    def entries(self, *kinds: str) -> list[Entry]:
        """Return what was put down of these kinds."""
        return [row for row in self.rows if isinstance(row, Entry) and row.kind in kinds]

    def samples(self) -> list[MarkSample]:
        """Return the prices that were put down."""
        return [row for row in self.rows if isinstance(row, MarkSample)]


def again(rows: Iterable[Row]) -> Engine:
    """Go through a life again."""
    rewind = Rewind()
    for row in rows:
        rewind.feed(row)
    found = rewind.finish()
    assert not rewind.failures, rewind.failures
    return found


def whole(engine: Engine, apart: Collection[str] = APART) -> dict[str, dict[str, Any]]:
    """Return all tables as clients get them, but for what depends on when something arrived."""
    found: dict[str, dict[str, Any]] = {}
    for table in engine.tables:
        if table.name in apart:
            continue
        rows = {}
        for row_id in sorted(table.ids()):
            version = table.get(row_id)
            assert version is not None
            row = orjson.loads(orjson.dumps(version.row))
            rows[row_id] = {name: value for name, value in row.items() if name not in APART_FIELDS}
        found[table.name] = rows
    return found


def venue_sent(engine: Engine) -> dict[str, Any]:
    """Return what the venues said of every position, balance and mode."""
    return {
        "positions": {row_id: position.state for row_id, position in engine.positions.items()},
        "coins": {name: sorted(account.all_coins(), key=lambda c: c.ccy) for name, account in engine.accounts.items()},
        "modes": {name: account.mode for name, account in engine.accounts.items()},
        "pools": {
            name: {pool.name: pool.state for pool in account.pools.values()}
            for name, account in engine.accounts.items()
        },
    }
