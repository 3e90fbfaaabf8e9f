"""What is put on record of a life, as it happens: raw input, and the engine's turns with the prices that they saw. Pure.

Owns which of the engine's inputs become entries, and when prices become samples; places and time arrive as arguments. Prices are
sampled (``gateway.core.sampling``): the newest that the engine knows goes before whatever depends on it (a private turn of an
account that holds the symbol) and before every clock turn, so that a replay goes through the same states without every tick.
Nothing in here waits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Protocol

import msgspec

from exchanges.events import (
    BalanceState,
    CollateralTiers,
    CurrencyPrice,
    Event,
    FundingRate,
    Instrument,
    MarginTiers,
    PositionsSnapshot,
    Price,
)
from gateway.core.accounts import Account
from gateway.core.alerts.records import AlertRecord
from gateway.core.beginning import Body
from gateway.core.journal import Entry, Kind, MarkSample, Places, encode
from gateway.core.market import Market, SymbolKey
from gateway.core.records import Correction, Demanded, Forgotten, Order
from gateway.core.sampling import Sampler
from gateway.core.state import Position

Group = tuple[int | None, Sequence[Event]]  # the raw entry that events came by, and they
_SAMPLED = frozenset({Price, CurrencyPrice, FundingRate})
_OF_BOOKS = frozenset({"fills", "funding", "transfers", "pnl_records"})
_ANNOUNCED = frozenset({Instrument, MarginTiers, CollateralTiers})


class World(Protocol):
    """What is read of the engine between its turns."""

    @property
    def market(self) -> Market: ...
    @property
    def accounts(self) -> Mapping[str, Account]: ...
    @property
    def positions(self) -> Mapping[str, Position]: ...


class _Run:
    """Neighbours of one turn that become one entry: events of one account."""

    __slots__ = ("account", "causes", "events")

    def __init__(self, account: str | None) -> None:
        self.account = account
        self.causes: dict[int, None] = {}
        self.events: list[Event] = []


class Scribe:
    """Writes one life down: ``base`` first, then ``raw`` for every private input and, for every turn of the engine, ``begin``
    before it and ``end`` after it, whether it failed or not; ``close`` last.

    Args:
        put_entry, put_sample: Take what is written, in the order of places; must not fail.
    """

    def __init__(
        self,
        epoch: str,
        places: Places,
        world: World,
        put_entry: Callable[[Entry], None],
        put_sample: Callable[[MarkSample], None],
    ) -> None:
        self._epoch, self._places, self._world = epoch, places, world
        self._put_entry = put_entry
        self.turn = 0
        self._now = 0
        self._groups: Sequence[Group] = ()
        self._by_id: dict[tuple[str, str], int] | None = None  # (account, id of a record) → raw entry, of this turn
        self._by_account: dict[str, int] = {}  # account → the last raw entry that told of it, of this turn
        self._in_turn = False
        self._last_answer: dict[str, int] = {}  # account → the raw entry of the last answer
        self._rows: list[_Run | Price] | None = None  # of this turn; None: it is not put on record
        self._order: Order | None = None
        self._ticks = False
        self._samples = Sampler(epoch, places, world.market, put_sample)
        self._alerts: dict[str, AlertRecord] = {}  # put since the last entry
        self._corrections: list[Correction] = []

    # --- raw input -------------------------------------------------------------------------------------------------------

    def raw(
        self,
        kind: Kind,
        account: str,
        venue: str,
        source: str,
        data: str | bytes,
        at: int,
        *,
        request: str | None = None,
        request_id: str | None = None,
        venue_at: int | None = None,
    ) -> int:
        """Put down what an account's venue sent, as it came; return its place."""
        place = self._places.next(at)
        if kind == "rest":
            self._last_answer[account] = place
        text = data if isinstance(data, str) else data.decode(errors="replace")
        self._put_entry(
            Entry(
                id=place,
                at=at,
                kind=kind,
                epoch=self._epoch,
                user=self._user(account),
                account=account,
                venue=venue,
                source=source,
                request=request,
                request_id=request_id,
                venue_at=venue_at,
                body=text.replace("\0", "�") if "\0" in text else text,
            )
        )
        return place

    def origin(self, kind: str, id_: str, account: str | None) -> int | None:
        """Return the raw entry that a record came by, where one is known.

        In a turn: the one of that turn that told of what has its id, else the last one that told of its account. Between two turns
        nothing is told but what is read of an account's books: it came by the last answer.
        """
        if not self._in_turn:
            return self._last_answer.get(account or "") if kind in _OF_BOOKS else None
        if self._by_id is None:
            self._by_id = dict(_named(self._groups))
            self._by_account = dict(_told_of(self._groups))
        found = self._by_id.get((account or "", id_))
        return found if found is not None else self._by_account.get(account or "")

    # --- what the engine puts on record itself -----------------------------------------------------------------------------

    def alert(self, record: AlertRecord) -> None:
        """Take an alert's new status, for the entry of this turn."""
        self._alerts[record.id] = record

    def correction(self, record: Correction) -> None:
        """Take a correction, for an entry of its own."""
        self._corrections.append(record)

    # --- turns -------------------------------------------------------------------------------------------------------------

    def base(self, bodies: Sequence[Body], now: int) -> Iterator[None]:
        """Put down what a replay can start from, between two turns, an entry a step (``gateway.core.beginning``).

        The first step's place is before all that follows; turns may come between two steps.
        """
        self._open(now)
        turn, self._in_turn = self.turn, False

        def write() -> Iterator[None]:
            for body in bodies:
                self._entry("base", now, len(bodies), turn=turn, body=body())
                yield

        return write()

    def begin(self, groups: Sequence[Group], now: int) -> None:
        """Take the events of the turn that comes now; what the engine knows of prices before it is sampled, where that counts."""
        self._open(now)
        self._groups = groups
        told = [event for _, events in groups for event in events if self._is_told(event)]
        if not told:
            self._samples.note(event for _, events in groups for event in events)
            return
        near, samples = set[SymbolKey](), self._samples
        if samples.marks or samples.indices or any(type(event) is Price for _, events in groups for event in events):
            near = self._near(told)
            samples.of(near & samples.marks, near & samples.indices.keys())
        samples.of_currencies()
        self._collect(groups, near, told)

    def begin_clock(self, now: int) -> None:
        """A clock turn comes now: everything that is known is sampled before it."""
        self._open(now)
        self._ticks = True
        self._samples.everything()

    def begin_order(self, order: Order, now: int) -> None:
        """What somebody ordered is done now."""
        self._open(now)
        self._order = order
        self._samples.everything()

    def end(self, seq: int) -> None:
        """The turn is over: ``seq`` is the change set that it became, or the last one where nothing changed."""
        now, self._in_turn = self._now, False
        if self._order is not None:
            self._samples.of_currencies()
            account = self._order.account if isinstance(self._order, Forgotten | Demanded) else None
            self._entry("operator", now, seq, account=account, body=encode([self._order]))
        elif self._ticks:
            self._samples.currencies |= (
                self._world.market.currencies.indices()
            )  # one that counts in another moves with that
            self._samples.of_currencies()
            rates = self._samples.changed_rates()
            if rates:
                self._entry("turn", now, seq, body=encode(rates))
            self._entry("clock", now, seq)
        elif self._rows is not None:
            self._write(self._rows, seq)
            self._samples.of_currencies()
        else:
            return  # alerts that prices alone brought wait for the next entry
        self._tell(now, seq)
        self._rows, self._order, self._ticks = None, None, False

    def close(self, alerts: Iterable[AlertRecord], now: int) -> None:
        """The life ends in good order: the newest prices, and alerts as they are shown."""
        self._open(now)
        self._samples.everything()
        self._samples.of_currencies()
        rates = self._samples.changed_rates()
        if rates:
            self._entry("turn", now, 0, body=encode(rates))
        for record in alerts:
            self.alert(record)
        self._tell(now, 0)

    # --- inside --------------------------------------------------------------------------------------------------------------

    def _open(self, now: int) -> None:
        self.turn += 1
        self._samples.turn, self._samples.now = self.turn, now
        self._now, self._groups, self._by_id, self._in_turn = now, (), None, True
        self._rows, self._order, self._ticks = None, None, False

    def _is_told(self, event: Event) -> bool:
        """Say whether an event makes its turn one that is put on record: no price, and no repetition of what is known."""
        kind = type(event)
        if kind in _SAMPLED:
            return False
        return kind not in _ANNOUNCED or self._is_news(event)

    def _is_news(self, event: Event) -> bool:
        market = self._world.market
        match event:
            case Instrument():
                return market.instruments.get((event.venue, event.env, event.symbol)) != event
            case MarginTiers():
                known = market.tiers.get((event.venue, event.env, event.key), {})
                return known.get((event.margin_mode, event.account)) != event
            case CollateralTiers():
                return market.collateral.get((event.venue, event.env, event.ccy)) != event
        return True

    def _near(self, told: Iterable[Event]) -> set[SymbolKey]:
        """Return the symbols that a turn may depend on: what its accounts hold, and what is told of."""
        found: set[SymbolKey] = set()
        places: dict[str | None, tuple[str, str]] = {}
        positions = self._world.positions
        for event in told:
            name = getattr(event, "account", None)
            account = self._world.accounts.get(name) if name is not None else None
            if account is None:
                continue
            if name not in places:
                places[name] = account.info.venue, account.info.env
                found.update(positions[row_id].symbol.key for row_id in account.positions)
            for state in event.positions if isinstance(event, PositionsSnapshot) else (event,):
                symbol = getattr(state, "symbol", None)
                if symbol is not None:
                    found.add((*places[name], symbol))
        return found

    def _collect(self, groups: Sequence[Group], near: set[SymbolKey], told: Sequence[Event]) -> None:
        """Split the turn into what becomes entries, and the prices between them, in the order in which the engine takes them."""
        rows: list[_Run | Price] = []
        between: dict[tuple[SymbolKey, str], Price] = {}  # the newest since the last event that is no price
        run: _Run | None = None
        to_tell = iter(told)
        next_told = next(to_tell, None)
        for place, events in groups:
            for event in events:
                if event is not next_told:
                    if isinstance(event, Price) and (key := (event.venue, event.env, event.symbol)) in near:
                        between[key, event.kind] = event
                    else:
                        self._samples.note((event,))
                    continue
                next_told = next(to_tell, None)
                account = getattr(event, "account", None)
                if run is None or between or run.account != account:
                    rows += between.values()
                    between.clear()
                    run = _Run(account)
                    rows.append(run)
                run.events.append(event)
                if place is not None:
                    run.causes[place] = None
        self._rows = [*rows, *between.values()]

    def _write(self, rows: Iterable[_Run | Price], seq: int) -> None:
        for row in rows:
            if isinstance(row, Price):
                if row.kind != "spot":  # of no figure
                    key = row.venue, row.env, row.symbol
                    self._samples.put(key, row.kind, row.value, self._now, row.at)
            else:
                self._entry(
                    "turn",
                    self._now,
                    seq,
                    account=row.account,
                    causes=tuple(row.causes),
                    body=encode(map(self._as_taken, row.events)),
                )

    def _as_taken(self, event: Event) -> Event:
        """Return a balance with the prices that its coins were taken at: they came from ticks of which not every one is sampled."""
        account = self._world.accounts.get(event.account) if isinstance(event, BalanceState) else None
        if account is None or not isinstance(event, BalanceState):
            return event
        prices = account.prices_apart(event.scope)
        return msgspec.structs.replace(event, prices=prices) if prices else event

    def _tell(self, now: int, seq: int) -> None:
        """Put down what the engine put on record itself: alerts belong to the turn, corrections follow from it by themselves."""
        if self._alerts:
            records, self._alerts = self._alerts, {}
            self._entry("turn", now, seq, body=encode(records.values()))
        corrections, self._corrections = self._corrections, []
        for one in corrections:
            self._entry("correction", now, seq, account=one.account, body=encode([one]))

    def _entry(
        self,
        kind: Kind,
        now: int,
        seq: int,
        *,
        account: str | None = None,
        causes: tuple[int, ...] = (),
        turn: int | None = None,
        body: str = "",
    ) -> None:
        known = self._world.accounts.get(account) if account is not None else None
        self._put_entry(
            Entry(
                id=self._places.next(now),
                at=now,
                kind=kind,
                epoch=self._epoch,
                turn=self.turn if turn is None else turn,
                seq=seq,
                user=known.info.user if known else None,
                account=account,
                venue=known.info.venue if known else None,
                causes=causes,
                body=body,
            )
        )

    def _user(self, account: str) -> str | None:
        known = self._world.accounts.get(account)
        return known.info.user if known else None


def _told_of(groups: Sequence[Group]) -> Iterable[tuple[str, int]]:
    """Yield the accounts that each raw entry of a turn told of."""
    for place, events in groups:
        if place is not None:
            for event in events:
                yield getattr(event, "account", None) or "", place


def _named(groups: Sequence[Group]) -> Iterable[tuple[tuple[str, str], int]]:
    """Yield the raw entry of everything in a turn that has an id; of a snapshot, of the positions in it."""
    for place, events in groups:
        if place is None:
            continue
        for event in events:
            states: Sequence[Event] = event.positions if isinstance(event, PositionsSnapshot) else (event,)
            for one in states:
                id_ = getattr(one, "id", None)
                if id_ is not None:
                    yield (getattr(one, "account", ""), id_), place
