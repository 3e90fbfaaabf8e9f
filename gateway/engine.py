"""The single writer: turns of events go in, versions of table rows come out.

Owns all live state: accounts, positions, symbols, the columns and the tables. A turn is the normalized events of one pass of
the event loop, with the time it was taken at; clock turns bring staleness and slow figures. Nothing in here reads a clock, a
socket or a file, so that a recording, a restart and the live path are one mechanism.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

from exchanges.events import (
    AccountMode,
    BalanceState,
    Event,
    Evidence,
    FeedStatus,
    Fill,
    FundingPayment,
    HistoryFailed,
    HistoryRead,
    KeyInfo,
    LiquidationWarning,
    OpenOrders,
    Order,
    PositionsSnapshot,
    PositionState,
    Transfer,
    VerificationFailed,
    Verified,
)
from gateway.core.account_rows import account_row
from gateway.core.accounts import Account, AccountInfo
from gateway.core.alerts.alerts import Alerts
from gateway.core.alerts.look import Surroundings
from gateway.core.alerts.money import Days
from gateway.core.alerts.records import AlertRecord, EquitySample, Silence
from gateway.core.alerts.rules import Rule
from gateway.core.alerts.rules import rules as builtin_rules
from gateway.core.alerts.sources import Scene
from gateway.core.announcements import Announcements
from gateway.core.books import Books
from gateway.core.calibrating import Calibration
from gateway.core.calibration import Bounds
from gateway.core.feeds import Feeds
from gateway.core.holdings import Holdings
from gateway.core.image import Image, take_over
from gateway.core.market import Market
from gateway.core.pools import Pools
from gateway.core.portfolio import Portfolio
from gateway.core.positions import Book
from gateway.core.publish import Changes, key_of
from gateway.core.records import (
    Acknowledged,
    ClosedCycle,
    Correction,
    Covered,
    Demanded,
    Forgotten,
    OpenCycle,
    Sink,
    Trigger,
)
from gateway.core.records import Order as Ordered
from gateway.core.reports import Reports
from gateway.core.residuals import Residuals
from gateway.core.risk import RiskSettings
from gateway.core.rows import joined, position_row
from gateway.core.standing import Standing
from gateway.core.state import Feed, Position, Symbol
from gateway.core.stress import StressSettings
from gateway.core.tables import RowKey, Table, Tables
from gateway.core.wants import Want, Wants

__all__ = ["Engine", "Settings", "Sink"]

Handlers = dict[type[Event], Callable[..., None]]  # (account, event, now), or (event, now) where it is of no account


class Settings(Protocol):
    """What the engine needs of the configuration."""

    @property
    def mark_max_age_ms(self) -> Mapping[str, int]: ...
    @property
    def dust_usd(self) -> float: ...
    @property
    def liquidation_risk_distance(self) -> float: ...
    @property
    def bases(self) -> Mapping[str, str]: ...
    @property
    def calibration_bound(self) -> float: ...
    @property
    def calibration_distance(self) -> float: ...
    @property
    def anchor_skew_ms(self) -> int: ...


class Errands(NamedTuple):
    """What the venues have to be asked after a turn.

    Attributes:
        state: Accounts whose state is to be asked.
        deaf: Accounts whose connections are to be made anew: they did not tell of something.
        history: Account → since when (ms) what happened is to be asked, to which symbols; without any: to all.
    """

    state: Sequence[str]
    deaf: Sequence[str]
    history: Sequence[tuple[str, Want]]


class Engine:
    """See the module. Makes its own tables, in the order that clients see."""

    def __init__(
        self,
        epoch: str,
        accounts: Iterable[AccountInfo],
        settings: Settings,
        sink: Sink | None = None,
        promoted: Collection[str] = (),
        risk: RiskSettings | None = None,
        stress: StressSettings | None = None,
        rules: Sequence[Rule] | None = None,
        follows: bool = False,
    ) -> None:
        """Make an engine without state.

        Args:
            promoted: Margin models that the operator trusts though they are not measured (``gateway.core.margin.CATALOG``).
            risk: Scales of the risk score.
            stress: The ladder of the summaries.
            rules: Of alerts; None: those that are built in.
            follows: It goes through another engine's turns again: alerts, and which prices of currencies count, are what it is
                told that they were. Both follow from every single price, and it is told of samples.
        """
        self._follows = follows
        self.book = Book()
        self.settings, self._promoted = settings, promoted
        self.counters: Counter[str] = Counter()
        self.accounts: dict[str, Account] = {}
        self.market = Market(self.book.symbols, settings.anchor_skew_ms, every_price=follows)
        self._changes = Changes(sink)
        self._holdings = Holdings(
            self.book, self.market, self._changes, self.counters, promoted=promoted, bases=settings.bases
        )
        bounds = Bounds(settings.calibration_bound, settings.calibration_distance, settings.anchor_skew_ms)
        self.calibration = Calibration(self.book, self._holdings, Residuals(promoted), bounds, self.counters)
        self._feeds = Feeds(self.market, self._changes)
        self.books = Books(self._holdings, self.market, self._changes)
        self._reports = Reports(self._holdings, self._feeds, self.books, self._changes, self.counters)
        self._standing = Standing(
            self.accounts, self._holdings, self.market, self._reports.corrections, self._changes, self.counters
        )
        self._portfolio = Portfolio(
            self.book, self._holdings, self.market, self.books, settings, risk or RiskSettings(), stress or StressSettings()
        )  # fmt: skip
        self.alerts = self._alerts(builtin_rules({}) if rules is None else rules)
        self._wants = Wants()
        self._announcements = Announcements(self.accounts, self.market, self._holdings, self._reports, self._changes)
        self._public = self._public_handlers()
        self._of_account, self._restorers = self._account_handlers(), self._restore_handlers()
        self.tables = self._changes.tables = self._make_tables(epoch)
        self._positions_table = self.tables["positions"]
        for info in accounts:
            self.add_account(info)

    def _public_handlers(self) -> Handlers:
        return self._announcements.handlers | {
            FeedStatus: self._on_feed,
            AlertRecord: self._follow_alert if self._follows else self._restore_alert,
            Silence: lambda silence, _now: self.alerts.restore_silence(silence),
            EquitySample: self.alerts.restore_equity,
        }

    def _account_handlers(self) -> Handlers:
        reports, standing = self._reports, self._standing
        return {
            PositionState: reports.position,
            PositionsSnapshot: reports.snapshot,
            Order: reports.order,
            OpenOrders: reports.open_orders,
            Fill: reports.fill,
            FundingPayment: reports.cause,
            Evidence: reports.cause,
            HistoryRead: reports.history,
            HistoryFailed: self.books.failed,
            Transfer: self._on_transfer,
            BalanceState: standing.balance,
            AccountMode: standing.mode,
            KeyInfo: lambda account, key, _now: standing.key(account, key),
            Verified: self._on_verified,
            VerificationFailed: standing.failed,
            LiquidationWarning: lambda account, warning, _now: standing.warn(account, warning),
        }

    def _restore_handlers(self) -> Handlers:
        reports = self._reports
        return {
            Fill: reports.restore_fill,
            Covered: lambda account, covered, _now: self.books.restore(account, covered, account.stored_at),
            Correction: lambda account, record, _now: reports.corrections.restore(account, record),
            ClosedCycle: lambda account, cycle, _now: reports.cycles.restore(account, cycle),
            OpenCycle: lambda account, record, _now: reports.histories.restore(account, record),
        }

    def _make_tables(self, epoch: str) -> Tables:
        reports, both, own = self._reports, frozenset({"accounts", "symbols"}), frozenset({"accounts"})
        return Tables(
            epoch,
            Table("positions", self._read_position, both),
            Table("accounts", self._read_account, own),
            Table("summary", lambda _, row_id: self._portfolio.summary(row_id), frozenset()),
            Table("feeds", lambda _, row_id: self._feeds.all[row_id].row(), own),
            Table("orders", lambda _, row_id: reports.orders.row(row_id), both),
            Table("fills", lambda _, row_id: reports.executions.row(row_id), both),
            Table("closed", lambda _, row_id: reports.cycles.row(row_id), both),
            Table("reconciliations", lambda _, row_id: reports.corrections.row(row_id), both),
            Table("alerts", lambda _, row_id: self.alerts.board.row(row_id), both),
        )

    def _alerts(self, rules: Sequence[Rule]) -> Alerts:
        holdings, corrections = self._holdings, self._reports.corrections
        flagged, doubted = self.calibration.flagged, self.calibration.doubted
        scene = Scene(self.accounts, holdings.open, corrections.records, self._portfolio.shock, flagged, doubted)
        surroundings = Surroundings(
            scene,
            self.book,
            holdings,
            self.market,
            self._feeds,
            self._portfolio,
            Days(),
            self.books,
            self.settings.dust_usd,
        )
        return Alerts(rules, surroundings, self._changes, self.counters, judge=not self._follows)

    def add_account(self, info: AccountInfo) -> None:
        """Make an account known; events of unknown accounts are counted and ignored."""
        self._changes.begin()
        self.accounts[info.name] = Account(info, self.market.currencies)
        self.books.add(self.accounts[info.name])
        self._changes.touch("accounts", info.name, key_of(info))
        self._changes.commit(self.tables.at)

    def alike(self, accounts: Iterable[AccountInfo]) -> Engine:
        """Return an engine of these accounts without state: what is tried in it touches nothing here."""
        return Engine("trial", accounts, self.settings, promoted=self._promoted, rules=())

    # --- what others read ------------------------------------------------------------------------------------------

    @property
    def portfolio(self) -> Portfolio:
        """What is worked out once a second over all accounts."""
        return self._portfolio

    def position_at(self, slot: int) -> Position:
        """Return the position in a table slot. Raises KeyError where there is none."""
        return self._holdings.slots[slot]

    @property
    def pools(self) -> Pools:
        """All pools of margin."""
        return self._holdings.pools

    @property
    def positions(self) -> dict[str, Position]:
        """The open positions by id."""
        return self._holdings.open

    @property
    def feeds(self) -> dict[str, Feed]:
        """The connections by id."""
        return self._feeds.all

    def chains(self, at: int) -> list[OpenCycle]:
        """Return the cycles under way, of all accounts and symbols, as ``restore`` takes them back."""
        return self._reports.histories.states(at)

    @property
    def wants_state(self) -> set[str]:
        """Accounts of which a fill is known that no state shows yet: take them out, and ask for their state."""
        return self._wants.state

    @property
    def wants_books(self) -> dict[str, int]:
        """Accounts whose records have a gap: take them out, and ask for what happened since then (ms), whatever the symbol."""
        return self.books.wanted

    @property
    def deaf(self) -> set[str]:
        """Accounts whose live stream did not tell of something: a new connection is due; to be emptied by whoever makes it."""
        return self._reports.deaf

    @property
    def wants_history(self) -> dict[str, Want]:
        """Accounts whose fills and causes are missing: take them out, and ask since then (ms), of those symbols."""
        return self._wants.history

    def marks_down_since(self, symbol: Symbol) -> int | None:
        """Return since when a symbol's marks are not live; None: they are."""
        return self._feeds.marks_down_since(symbol)

    def errands(self) -> Errands:
        """Take out what has to be asked; to be called after every turn, since why something is asked is part of the state."""
        wanted, deaf, history, books = self._wants, self._reports.deaf, self._wants.history, self.books.wanted
        found = Errands(
            sorted(wanted.state),
            sorted(deaf),
            [*history.items(), *((account, (since, frozenset[str]())) for account, since in books.items())],
        )
        for account in found.state:
            self.ask_because(account, "stream")
        for taken in (wanted.state, deaf, history, books):
            taken.clear()
        return found

    def ask_because(self, account: str, trigger: Trigger) -> None:
        """Say why an account's state is about to be asked, where it is not the timer; it counts until ``Verified``."""
        self._reports.triggers[account] = trigger

    # --- turns -----------------------------------------------------------------------------------------------------

    def hear(self, told: Iterable[tuple[Event, int]]) -> None:
        """Take public events, each at its own moment (ms), for the turn that comes next: that publishes them."""
        self._changes.begin()
        for event, now in told:
            self._public[type(event)](event, now)
        self._holdings.tick(self.market.currencies.ticked())

    def turn(self, events: Sequence[Event], now: int) -> bool:
        """Apply the events of one turn, recompute once, publish one change set; return whether anything changed."""
        self._changes.begin()
        self._reports.asked = frozenset(event.account for event in events if isinstance(event, HistoryRead))
        concerned: set[str] = set()  # accounts
        for event in events:
            handler = self._public.get(type(event))
            if handler is not None:
                handler(event, now)
            else:
                concerned.add(self._apply(event, self._of_account, now))
        self._holdings.tick(self.market.currencies.ticked())
        self._holdings.settle()
        concerned &= self.accounts.keys()
        if concerned:
            self._reports.executions.link(now)
            self._reports.judge()
            self._reports.corrections.age(now)
            self._reports.histories.link()
            self._want(concerned, now)

        def judge() -> None:
            self._calibrate(self.calibration.turn(now))
            self.alerts.turn(concerned, now)

        return self._commit(judge, now)

    def clock(self, now: int, last_messages: Mapping[str, int] | None = None) -> bool:
        """Apply a clock turn (about once a second): ages of marks, feeds and accounts, prices of currencies, slow figures."""
        self._changes.begin()
        for symbol in self.market.age(now, self.settings.mark_max_age_ms):
            self._holdings.touch_symbol(symbol)
        self._feeds.hear(last_messages or {})
        self.books.age(now)
        self._reports.age(now)
        self._standing.age(now)
        self._standing.reprice()
        self._holdings.settle()
        self._want(self.accounts.keys(), now)

        def judge() -> None:
            self._calibrate(self.calibration.clock(now))
            self._slow_figures()
            self.alerts.clock(now)

        return self._commit(judge, now)

    def _commit(self, judge: Callable[[], None], now: int) -> bool:
        """Judge what changed and publish it. A defect in a judgement is raised, but the figures are published all the same."""
        try:
            judge()
        except Exception:  # raised again: what was worked out before the judgement is published first
            self._changes.commit(now)
            raise
        return self._changes.commit(now)

    def image(self) -> Image:
        """Return what copies the whole state, but alerts (``told``), between two turns."""
        return Image(self, self.alike(()))

    def told(self, now: int) -> list[Event]:
        """Return alerts and silences as an engine that follows is told of them."""
        return [*self.alerts.board.silences.values(), *self.alerts.board.records(now)]

    def take_over(self, state: Iterable[str]) -> None:
        """Go on from the state of another engine (``image``); this one has none, and follows.

        Raises:
            msgspec.ValidationError: It is damaged, or of another version of this program.
        """
        take_over(self, state)
        self.market.currencies.follow()
        self.alerts = self._alerts(tuple(self.alerts.board.rules.values()))

    def restore(self, events: Sequence[Event], now: int, stored_at: int | None = None) -> bool:
        """Load the last stored state: shown at once, marked ``restored`` until the venue speaks.

        Args:
            stored_at: When it was last written: what is missing happened about then, or later.
        """
        self._changes.begin()
        sink, self._changes.sink = self._changes.sink, None  # what came from storage is not written back
        handlers, public = self._of_account | self._restorers, self._public | {AlertRecord: self._restore_alert}
        for event in events:
            if type(event) in public:
                public[type(event)](event, now)
                continue
            account = self.accounts.get(getattr(event, "account", ""))
            if account is None:
                continue  # an account that is no longer configured: its rows stay in storage, unshown
            if isinstance(event, PositionState | BalanceState | AccountMode):
                account.restored_since, account.was_restored, account.stored_at = now, True, stored_at
            self._apply(event, handlers, now)
        for position in self.positions.values():
            position.restored_at = now
        # What the venue says from now on is newer, also where its own order began anew meanwhile.
        self._reports.fences.restart()
        for account in self.accounts.values():
            account.restart()
        self.calibration.restart()
        self._changes.sink = sink
        self._reports.executions.begin()
        self._reports.judge()
        self._reports.histories.begin()
        self._holdings.settle()
        self.alerts.turn((), now)
        return self._changes.commit(now)

    def obey(self, order: Ordered, now: int) -> bool:
        """Do what somebody ordered; return whether anything changed. Raises KeyError where that is not there."""
        match order:
            case Acknowledged():
                return self.acknowledge(order.alert, now)
            case Silence():
                return self.silence(order, now)
            case Forgotten():
                return self.forget_account_rows(order.account, order.reason, now)
            case Demanded():
                self.ask_because(order.account, "demand")
                return False

    def acknowledge(self, alert: str, now: int) -> bool:
        """Take note of an alert that fires. Raises KeyError where there is none of this id."""
        self._changes.begin()
        self.alerts.board.acknowledge(alert, now)
        return self._changes.commit(now)

    def silence(self, silence: Silence, now: int) -> bool:
        """Keep matching alerts quiet until it is over; one that is over already ends the one of its id."""
        self._changes.begin()
        self.alerts.board.silence(silence)
        self.alerts.clock(now)
        return self._changes.commit(now)

    def forget_account_rows(self, account: str, reason: str, now: int) -> bool:
        """Close the rows of an account whose venue cannot be asked any more, on the operator's word.

        Raises:
            KeyError: There is no such account.
        """
        self._changes.begin()
        self._reports.forget(self.accounts[account], reason, now)
        self._holdings.settle()
        self.alerts.turn((account,), now)
        return self._changes.commit(now)

    def _apply(self, event: Event, handlers: Mapping[type[Event], Callable[..., None]], now: int) -> str:
        name: str = getattr(event, "account", "")
        account = self.accounts.get(name)
        if account is None:
            self.counters["unknown_account"] += 1
        else:
            handlers[type(event)](account, event, now)
        return name

    def _calibrate(self, concerned: set[str]) -> None:
        """Show other figures of rows whose pool agrees with its venue otherwise than before."""
        if concerned:
            self._holdings.dirty |= concerned
            self._holdings.settle()

    def _want(self, accounts: Iterable[str], now: int) -> None:
        """State what has to be asked: prices of currencies, states behind fills, causes of corrections."""
        for name in accounts:
            self._standing.want_currencies(self.accounts[name])
        self._wants.put(self._reports.wants_state(), self._reports.wants_history(now), now)

    # --- events that concern more than one part ---------------------------------------------

    def _on_feed(self, status: FeedStatus, now: int) -> None:
        account = self.accounts.get(status.account) if status.account is not None else None
        changed = self._feeds.put(status, account, now)
        if account is not None:
            self.books.hear(account, now)
        if not changed:
            return
        if account is not None:
            self._holdings.touch(account)
            return
        for symbol in self.market.symbols.values():
            if symbol.key[:2] == (status.venue, status.env):
                self._holdings.touch_symbol(symbol)

    def _restore_alert(self, record: AlertRecord, now: int) -> None:
        self.alerts.restore(record, self.accounts, now)

    def _follow_alert(self, record: AlertRecord, _now: int) -> None:
        self.alerts.board.follow(record, self.accounts)

    def _on_transfer(self, account: Account, transfer: Transfer, now: int) -> None:
        self.alerts.transfer(account, transfer, now)
        self.calibration.transfer(account)
        self.books.transfer(account, transfer)
        self._reports.histories.transfer(account, transfer)
        if self._changes.sink:
            self._changes.sink.put_transfer(transfer)

    def _on_verified(self, account: Account, verified: Verified, now: int) -> None:
        self._standing.verified(account, verified, now)
        self._reports.triggers.pop(verified.account, None)

    # --- tables ----------------------------------------------------------------------------------------------------

    def _slow_figures(self) -> None:
        """Publish shares, scores, funding and summaries where their rounded values changed."""
        self.books.accrue()
        moved = self._portfolio.turn(self.accounts.values())
        self._positions_table.touch(moved.positions, self._changes.seq)
        for name in moved.accounts:
            self._changes.touch("accounts", name)
        for row_id in moved.summaries:
            self._changes.touch("summary", row_id, RowKey(None, row_id, None, None))
        for row_id in moved.gone:
            self._changes.remove("summary", row_id)

    def _read_position(self, slot: int, _row_id: str) -> dict[str, object]:
        position = self._holdings.slots[slot]
        slow = self._portfolio.position(position)
        return position_row(position, self.book, self.marks_down_since(position.symbol), self.settings.dust_usd, slow)

    def _read_account(self, _slot: int, row_id: str) -> dict[str, object]:
        account = self.accounts[row_id]
        # In a fixed order, so that sums have the same last digits in every process.
        held = [self.positions[i] for i in sorted(account.positions)]
        return joined(account_row(account, held, self.book), self._portfolio.account(row_id))
