"""A life gone through again from its entries: the same engine, the same turns, no venue, no clock.

Owns how entries and samples become turns. Rows are given in the order of their places; of several lives the last one stands.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import msgspec

from exchanges.events import CurrencyPrice, Event, Price
from gateway.config import Config
from gateway.core.alerts.records import Silence
from gateway.core.alerts.rules import RuleSettings, rules
from gateway.core.beginning import Base
from gateway.core.journal import Entry, Lost, MarkSample, decode, moment, narrowed, together
from gateway.core.records import Acknowledged, Demanded, Forgotten
from gateway.engine import Engine
from gateway.replay import Settings

Row = Entry | MarkSample
_RAW = frozenset({"ws", "rest", "correction"})  # for whoever asks where a figure came from


class NothingKept(Exception):
    """No life is on record there; the message says what to do."""


class GapInJournal(NothingKept):
    """Between the base and the end there is a gap: how everything stood there nobody can say.

    Attributes:
        gap: What is missing, all gaps since the base as one.
        until: The last moment (ms) of which it can be said; None: there is no base before the gap.
    """

    def __init__(self, gap: Lost, until: int | None) -> None:
        self.gap, self.until = gap, until
        what = f"{gap.entries} entries and {gap.samples} samples"
        if gap.file is not None:
            what += f", and what lies in {gap.file}"
        earlier = "no earlier moment either" if until is None else f"until {_written(until)} (--until {until})"
        super().__init__(
            f"the journal has a gap from {_written(moment(gap.since))} to {_written(moment(gap.until))}: {what} could not be "
            "kept, and no whole base follows before the end of the replay. How everything stood can be said of "
            f"{earlier}, and again from the next base on"
        )


def _written(at: int) -> str:
    return datetime.fromtimestamp(at / 1000, UTC).isoformat(timespec="milliseconds")


class Conditions(Settings, frozen=True):
    """Everything of the configuration that tables depend on."""

    builtin: bool = True
    rules: dict[str, RuleSettings] = msgspec.field(default_factory=dict)
    channels: tuple[str, ...] = ()


def conditions(config: Config) -> bytes:
    """Return what a replay has to know of a configuration, as JSON; no secret is in it."""
    alerts = config.alerts
    return msgspec.json.encode(
        Conditions(
            engine=config.engine,
            models=config.models,
            risk=config.risk,
            stress=config.stress,
            builtin=alerts.builtin,
            rules=alerts.rules,
            channels=tuple(alerts.channels),
        )
    )


class Rewind:
    """Takes rows in the order of their places; ``finish`` after the last.

    Attributes:
        engine: Of the last life that was begun; None: no base came yet.
        at: The moment (ms) of the last row. ``last``: its place.
        failures: Turns that raised, as they did when they were lived, by the error's class.
    """

    def __init__(self) -> None:
        self.engine: Engine | None = None
        self.at = self.last = 0
        self.failures: Counter[str] = Counter()
        self._life: tuple[str, int] = "", 0  # epoch and turn of the rows that wait
        self._rows: list[Row] = []
        self._gap: Lost | None = None  # since the last base; there is no engine then
        self._known: int | None = None  # the last moment before it
        self._parts: list[Entry] = []  # of a base that is not there in whole yet
        self._held: list[Row] = []  # what came since it began

    def feed(self, row: Row) -> None:
        """Take the next row.

        Raises:
            msgspec.MsgspecError: It is of another version of this program, or damaged.
        """
        before, self.last = self.last, row.id
        if isinstance(row, Entry):
            if row.kind in _RAW:
                return
            if row.kind == "lost":
                self._torn(narrowed(msgspec.json.decode(row.body, type=Lost), before))
                return
            if row.kind == "base":
                self._base(row)
                return
        if self._parts:
            self._held.append(row)
        else:
            self._live(row)

    def _live(self, row: Row) -> None:
        life = row.epoch, row.turn
        if life != self._life:
            self._turn()
            self._life = life
        self._rows.append(row)

    def finish(self) -> Engine:
        """Return the engine as it stands after the last row.

        Raises:
            NothingKept: There was no base.
            GapInJournal: There was none behind a gap.
        """
        self._let_go()
        self._turn()
        if self._gap is not None:
            raise GapInJournal(self._gap, self._known)
        if self.engine is None:
            raise NothingKept("no entry of that time is kept: choose a later moment")
        self._do(lambda engine: engine.turn((), self.at))  # what was heard last becomes figures
        return self.engine

    # --- inside ------------------------------------------------------------------------------------------------------------

    def _turn(self) -> None:
        """Go through the turn whose rows are there."""
        rows, self._rows = self._rows, []
        own = next((row for row in rows if isinstance(row, Entry) and row.kind in ("clock", "operator")), None)
        if own is None:
            self._events(rows)
            return
        place = rows.index(own)
        self._hear(rows[:place])
        self.at = max(self.at, own.at)
        if own.kind == "clock":
            self._do(lambda engine: engine.clock(own.at))
        else:
            for order in decode(own.body):
                assert isinstance(order, Acknowledged | Silence | Forgotten | Demanded), (
                    "what the scribe puts down as an order"
                )
                self._do(lambda engine, order=order: engine.obey(order, own.at))  # type: ignore[misc]  # bound now
        self._hear(rows[place + 1 :])

    def _events(self, rows: Sequence[Row]) -> None:
        """Give the events of a turn to the engine; prices before the first of them count from their own moments on."""
        first = next((place for place, row in enumerate(rows) if isinstance(row, Entry)), len(rows))
        self._hear(rows[:first])
        told = [event for row in rows[first:] for event in _events(row)]
        if told:
            now = self.at = max(self.at, rows[first].at)
            self._do(lambda engine: engine.turn(told, now))

    def _hear(self, rows: Sequence[Row]) -> None:
        told = [(event, row.at) for row in rows for event in _events(row)]
        if told and self.engine is not None:
            self.engine.hear(told)

    def _torn(self, gap: Lost) -> None:
        """Go on with nothing behind a gap: neither with what stood before it, nor with a base that it goes through."""
        if self.engine is not None:
            self._known = moment(gap.since) - 1
        self._gap = together(self._gap, gap)
        self.engine = None
        self._rows, self._parts, self._held = [], [], []

    def _base(self, entry: Entry) -> None:
        """Take an entry of a base; once all are there a life begins, and what came meanwhile is gone through.

        One that goes on needs no other beginning.
        """
        if self._parts and (entry.epoch, entry.turn) != (self._parts[0].epoch, self._parts[0].turn):
            self._let_go()  # that one was broken off
        self._turn()
        if self.engine is not None and self.engine.tables.epoch == entry.epoch:
            return
        self._parts.append(entry)
        if len(self._parts) == entry.seq:
            self._begin(self._parts)
            self._let_go()

    def _let_go(self) -> None:
        """Go through what waited for a base."""
        held, self._parts, self._held = self._held, [], []
        for row in held:
            self._live(row)

    def _begin(self, entries: Sequence[Entry]) -> None:
        """Begin a life."""
        bases = [msgspec.json.decode(entry.body, type=Base) for entry in entries]
        entry, base = entries[0], bases[0]
        self.at = max(self.at, entry.at)
        by = msgspec.json.decode(base.settings, type=Conditions)
        self.engine = Engine(
            entry.epoch,
            base.accounts,
            by.engine,
            promoted=by.models.promoted,
            risk=by.risk,
            stress=by.stress,
            rules=rules(by.rules, builtin=by.builtin, channels=by.channels),
            follows=True,
        )
        self._gap = self._known = None
        told = [event for one in bases for event in decode(bytes(one.events))]
        state = [one.state for one in bases if one.state is not None]
        if state:
            self.engine.take_over(state)
            self.engine.hear((event, base.at) for event in told)
        else:
            self._do(lambda engine: engine.restore(told, base.at, base.stored_at))

    def _do(self, change: Callable[[Engine], object]) -> None:
        """Go through a change again; one that failed when it was lived fails again, and leaves the same behind."""
        if self.engine is None:
            return
        try:
            change(self.engine)
        except Exception as error:  # noqa: BLE001  # counted: a defect of that time is part of that time
            self.failures[type(error).__name__] += 1
        self.engine.errands()


def _events(row: Row) -> Sequence[Event]:
    if isinstance(row, Entry):
        return decode(row.body)
    if row.kind == "usd":
        return (CurrencyPrice(venue=row.venue, env=row.env, ccy=row.symbol, usd=row.value, at=row.venue_at),)
    return (
        Price(venue=row.venue, env=row.env, symbol=row.symbol, value=row.value, kind=row.kind, at=row.venue_at),
    )  # fmt: skip


def tables(engine: Engine, account: str | None = None) -> dict[str, object]:
    """Return the tables in the shape of ``GET /v1/snapshot``; ``account``: of its rows, its user's and public ones alone."""
    user = engine.accounts[account].info.user if account is not None else None
    found: dict[str, object] = {"epoch": engine.tables.epoch, "seq": engine.tables.seq, "at": engine.tables.at}
    for table in engine.tables:
        rows = {}
        for row_id in sorted(table.ids()):
            slot = table.slot(row_id)
            assert slot is not None, "its id was just there"
            key = table.key_of(slot)
            if account is None or key.account == account or (key.account is None and key.user in (None, user)):
                rows[row_id] = table.version(slot).row
        found[table.name] = rows
    return found
