"""What every account's positions brought and cost since the UTC day began, and since when that is whole. Pure.

Owns each account's lines (``Day``), its coverage, and the payments of open positions. Fed with every record, whichever channel
brought it; the venue's time decides what belongs to the day.
"""

from __future__ import annotations

from collections import Counter
from decimal import Decimal

from exchanges.events import Fill, FundingPayment, HistoryFailed, HistoryRead, PositionState, Transfer
from gateway.core.accounts import Account
from gateway.core.coverage import DAY_MS, Coverage
from gateway.core.holdings import Holdings
from gateway.core.market import Market
from gateway.core.publish import Changes
from gateway.core.realized import Day, exact_sum, line_of
from gateway.core.records import Correction, Covered
from gateway.core.rows import settle_of
from gateway.core.state import Position

# What was last written is as of this long before, at the earliest. Books that a push sends us to are asked within it, too.
_WRITE_DELAY_MS = 60_000


class Ledger:
    """The ledger of one account. ``version`` rises with every line."""

    def __init__(self, account: Account, turn: int) -> None:
        self.account, self.coverage, self.day, self.version = account, Coverage(turn), Day(), 0
        self.payments: dict[str, dict[str, FundingPayment]] = {}  # symbol → id → payment
        self.settled: dict[str, str] = {}  # position → the last price that its profit counted from after a settlement
        self.stored: tuple[int | None, int | None] = None, 0


class Books:
    """The books of all accounts.

    Attributes:
        begins: When the present UTC day began (ms).
        accruing: Accounts of which the funding of open positions has to be added up anew.
        wanted: Accounts whose venue has to be asked what happened, and since when (ms); emptied by whoever asks.
    """

    def __init__(self, holdings: Holdings, market: Market, changes: Changes) -> None:
        self.begins = 0
        self.accruing: set[str] = set()
        self.wanted: dict[str, int] = {}
        self._ledgers: dict[str, Ledger] = {}
        self._turns: Counter[str] = Counter()  # accounts by venue
        self._holdings, self._market, self._changes = holdings, market, changes

    def __getitem__(self, account: str) -> Ledger:
        return self._ledgers[account]

    def add(self, account: Account) -> None:
        """Open an account's books."""
        venue = account.info.venue
        self._ledgers[account.info.name] = Ledger(account, self._turns[venue])
        self._turns[venue] += 1

    # --- records -------------------------------------------------------------------------------------------------------

    def fill(self, account: Account, fill: Fill, now: int, *, told: bool) -> bool:
        """Take a fill; return whether it, or its money, is new. ``told``: by the live stream."""
        ledger = self._ledgers[account.info.name]
        line = line_of(fill)
        if line is None or not ledger.day.put(fill.id, line):
            return False
        ledger.version += 1
        if told and not line.known and self._holdings.is_contract(account, fill.symbol):
            ledger.coverage.missed(fill.at, now)
            self._note(ledger, now)
        return True

    def payment(self, account: Account, payment: FundingPayment) -> None:
        """Take a funding payment."""
        ledger = self._ledgers[account.info.name]
        self._put(ledger, payment)
        ledger.payments.setdefault(payment.symbol, {}).setdefault(payment.id, payment)
        self.accruing.add(account.info.name)

    def transfer(self, account: Account, transfer: Transfer) -> None:
        """Take money that moved without a trade, where positions brought or cost it."""
        self._put(self._ledgers[account.info.name], transfer)

    def _put(self, ledger: Ledger, event: FundingPayment | Transfer) -> None:
        line = line_of(event)
        if line is not None and ledger.day.put(event.id, line):
            ledger.version += 1

    def held(self, position: Position, was: tuple[PositionState, int] | None, now: int, *, told: bool) -> None:
        """Take a position's report: when it was opened, and whether the venue settled its profit meanwhile.

        Args:
            was: The report before it, and up to when that one explained the position; None: there was no row.
            told: The live stream told of this one change.
        """
        state, account = position.state, position.account
        ledger = self._ledgers[account.info.name]
        same = was is not None and was[0].side == state.side
        begun = state.opened_at
        if begun is None:  # a row that comes while everything is heard has just been opened
            begun = position.begun if same else state.venue_at if told and ledger.coverage.whole else None
        if was is None or begun != position.begun:
            position.begun, position.accrued = begun, None
            self.accruing.add(account.info.name)
        if state.pnl_price is not None and ledger.settled.get(state.id) != state.pnl_price:
            ledger.settled[state.id] = state.pnl_price
            # Only the price that profit is counted from is another one: the rest moved into the balance.
            if same and was is not None and (was[0].size, was[0].entry_price) == (state.size, state.entry_price):
                ledger.coverage.missed(was[1], now)
                self._note(ledger, now)

    # --- whether they are whole ----------------------------------------------------------------------------------------

    def hear(self, account: Account, now: int) -> None:
        """Take whether an account's stream is live."""
        self._ledgers[account.info.name].coverage.hear(account.listening.since, now)
        self._note(self._ledgers[account.info.name], now)

    def read(self, account: Account, read: HistoryRead, now: int) -> None:
        """Everything since a moment was asked."""
        ledger = self._ledgers[account.info.name]
        ledger.coverage.read(read.since, read.asked_at, whole=read.whole)
        self._note(ledger, now)

    def failed(self, account: Account, failed: HistoryFailed, now: int) -> None:
        """What was asked was not answered."""
        self._ledgers[account.info.name].coverage.failed(failed.since, failed.asked_at, now)

    def corrected(self, record: Correction) -> None:
        """A correction is settled: the stream missed something, or nobody says what happened."""
        ledger = self._ledgers[record.account]
        if record.cls == "missed_event":
            ledger.coverage.missed(record.since, record.found_at)
        elif record.cls == "unknown" and "size" in record.after:
            ledger.coverage.lost(record.found_at)
        self._note(ledger, record.found_at)

    def missed(self, account: Account, at: int, now: int) -> None:
        """Something happened then, or later, that the stream does not tell."""
        self._ledgers[account.info.name].coverage.missed(at, now)
        self._note(self._ledgers[account.info.name], now)

    def lost(self, account: Account, at: int, now: int) -> None:
        """Something up to this moment is missing for good."""
        self._ledgers[account.info.name].coverage.lost(at)
        self._note(self._ledgers[account.info.name], now)

    def restore(self, account: Account, covered: Covered, stored_at: int | None) -> None:
        """Take what an earlier life had on record, but for its last moments: what was told then may not have been asked for yet."""
        ends = [covered.until, None if stored_at is None else stored_at - _WRITE_DELAY_MS]
        until = min((end for end in ends if end is not None), default=None)
        if until is not None and until > covered.since:
            ledger = self._ledgers[account.info.name]
            ledger.coverage.restore(covered.since, until)
            ledger.stored = covered.since, covered.until  # what is narrower is put on record: this life may end, too

    def _note(self, ledger: Ledger, now: int) -> None:
        """Put on record since when the records are whole, where that changed."""
        coverage = ledger.coverage
        if ledger.stored == (coverage.since, coverage.gap):
            return
        ledger.stored = coverage.since, coverage.gap
        name = ledger.account.info.name
        self.accruing.add(name)
        if self._changes.sink and coverage.since is not None:
            self._changes.sink.put_covered(
                Covered(id=name, account=name, since=coverage.since, until=coverage.gap, at=now)
            )

    def settled(self, account: str) -> bool:
        """Say whether it is known where nothing is missing of an account's records (``Coverage.settled``)."""
        return self._ledgers[account].coverage.settled

    def whole_since(self, account: str) -> int | None:
        """Return since when nothing is missing up to now; None: something is."""
        coverage = self._ledgers[account].coverage
        return coverage.since if coverage.whole else None

    # --- what they say -------------------------------------------------------------------------------------------------

    def age(self, now: int) -> None:
        """Take the time: gaps that have to be asked for, and a new day, which begins with nothing."""
        for name, ledger in self._ledgers.items():
            since = ledger.coverage.wanted(now)
            self._note(ledger, now)
            if since is not None:
                self.wanted[name] = since
        begins = now // DAY_MS * DAY_MS
        if begins <= self.begins:
            return
        self.begins = begins
        for ledger in self._ledgers.values():
            ledger.day.begin(begins)
            ledger.version += 1
            self._prune(ledger)

    def since(self, account: str) -> int | None:
        """Return since when today's records of an account are whole, a gap that is being asked aside; None: nothing is."""
        ledger = self._ledgers[account]
        if ledger.coverage.since is None:
            return None
        unknown = ledger.day.unknown_until(lambda symbol: self.settle(ledger.account, symbol))
        return max(self.begins, ledger.coverage.since, 0 if unknown is None else unknown + 1)

    def settle(self, account: Account, symbol: str) -> str | None:
        """Return what a contract settles in; None where it is none that is known."""
        instrument = self._market.instruments.get((account.info.venue, account.info.env, symbol))
        return instrument.settle if instrument else None

    def total(self, account: str, since: int) -> dict[str, Decimal]:
        """Return what an account realised from a moment of today on, by currency."""
        ledger = self._ledgers[account]
        return ledger.day.total(since, lambda symbol: self.settle(ledger.account, symbol))

    def accrue(self) -> None:
        """Bring the funding of open positions to now, of those whose venue does not state it."""
        names, self.accruing = self.accruing, set()
        for name in names:
            ledger = self._ledgers[name]
            for row_id in ledger.account.positions:
                position = self._holdings.open[row_id]
                found = _accrued(ledger, position)
                if found != position.accrued:
                    position.accrued, position.static = found, None
                    self._holdings.touch_row(position)

    def _prune(self, ledger: Ledger) -> None:
        """Let go of payments that no open position can be asked about."""
        rows = [self._holdings.open[row_id] for row_id in ledger.account.positions]
        for symbol in list(ledger.payments):
            begun = [position.begun for position in rows if position.state.symbol == symbol]
            first = min((at for at in begun if at is not None), default=self.begins)
            ledger.payments[symbol] = {one.id: one for one in ledger.payments[symbol].values() if one.at >= first}


def _accrued(ledger: Ledger, position: Position) -> str | None:
    """Return a position's funding since it was opened (settle currency); None where it is stated, or records may be missing.

    A payment that does not say which leg it belongs to is the position's only where there are no legs.
    """
    begun, coverage = position.begun, ledger.coverage
    if position.state.funding is not None or begun is None or not coverage.whole or begun < (coverage.since or 0):
        return None
    mode, total = ledger.account.mode, Decimal(0)
    for payment in ledger.payments.get(position.state.symbol, {}).values():
        if payment.at < begun or payment.position not in (None, position.state.id):
            continue
        legs = payment.position is None and (mode is None or mode.hedge is not False)
        if legs or payment.ccy != settle_of(position):
            return None
        total = exact_sum(total, Decimal(payment.amount))
    return format(total, "f")
