"""What positions brought and cost since they were opened, from the fills and payments as they come. Pure.

Owns the timelines of all accounts in memory. The stored history is folded by the same rules from the stored rows: this is what can
be said at once, also while storage is away. Amounts are shown where every fill since the beginning is known, and nowhere else.
"""

from __future__ import annotations

from collections import defaultdict
from decimal import Decimal

from exchanges.events import Fill, FundingPayment, PositionState, Transfer
from gateway.core.accounts import Account
from gateway.core.books import Books
from gateway.core.chains import Chain, Evidence, Item, Seen, decode, first_seen, running
from gateway.core.cycles import Cycles
from gateway.core.holdings import Holdings
from gateway.core.records import OpenCycle
from gateway.core.round_trips import Amounts, contract_of
from gateway.core.state import Position
from gateway.core.timelines import Timeline, tells

_Key = tuple[str, str]  # account, symbol
_TRANSFERS = 1_000  # ids that are remembered


class Histories:
    """The timelines of all accounts."""

    def __init__(self, holdings: Holdings, books: Books, cycles: Cycles) -> None:
        self._holdings, self._books, self._cycles = holdings, books, cycles
        self._timelines: dict[_Key, Timeline] = {}
        self._fresh: dict[_Key, list[Item]] = defaultdict(list)  # of this turn
        self._reported: set[_Key] = set()  # whose rows were reported in this turn
        self._transfers: dict[str, None] = {}
        self._spoken: set[str] = set()  # positions of which the venue said something
        self._accounts: dict[str, Account] = {}

    # --- records -------------------------------------------------------------------------------------------------------

    def put(self, account: Account, record: Fill | FundingPayment) -> None:
        """Take a fill or a payment that is new, or says more than before."""
        if record.position is not None or self._holdings.is_contract(account, record.symbol):
            self._add(account, record.symbol, record)

    def transfer(self, account: Account, transfer: Transfer) -> None:
        """Take money that moved without a trade, where it is a position's."""
        if transfer.symbol is None or not tells(transfer) or transfer.id in self._transfers:
            return
        self._transfers[transfer.id] = None
        if len(self._transfers) > _TRANSFERS:
            del self._transfers[next(iter(self._transfers))]
        self._add(account, transfer.symbol, transfer)

    def report(self, account: Account, state: PositionState, now: int) -> None:
        """Take a position's report; the first one says what was held before its fills."""
        key = self._key(account, state.symbol)
        self._reported.add(key)
        if state.id not in self._spoken:
            self._spoken.add(state.id)
            self._add(account, state.symbol, first_seen(state, now))

    def restore(self, account: Account, record: OpenCycle) -> None:
        """Take what an earlier life stored."""
        self._timelines[self._key(account, record.symbol)] = Timeline(decode(bytes(record.chain)))

    def begin(self) -> None:
        """Begin after a restart: what was restored is in the chains that were; what is held without a chain was held before."""
        for items in self._fresh.values():
            items[:] = [item for item in items if isinstance(item, Seen)]
        for key, timeline in self._timelines.items():
            for leg in timeline.chain.legs:
                if leg.past is not None:
                    self._cycles.worked_out(leg.past)
            self._reported.add(key)
        self._cycles.take_new()
        self.link()

    def states(self, at: int) -> list[OpenCycle]:
        """Return all chains as a start would be given them."""
        return [running(timeline.chain, at) for _, timeline in sorted(self._timelines.items())]

    def _key(self, account: Account, symbol: str) -> _Key:
        self._accounts[account.info.name] = account
        return account.info.name, symbol

    def _add(self, account: Account, symbol: str, item: Item) -> None:
        self._fresh[self._key(account, symbol)].append(item)

    # --- what follows ----------------------------------------------------------------------------------------------------

    def link(self) -> None:
        """Bring the chains on by the records of this turn: rows of open and of closed positions get their amounts."""
        for account, cycle in self._cycles.take_new():
            self._add(account, cycle.symbol, cycle)
        fresh, self._fresh = self._fresh, defaultdict(list)
        for key, items in fresh.items():
            timeline = self._timelines.setdefault(key, Timeline(Chain(account=key[0], symbol=key[1])))
            told = timeline.take(items, self._evidence(key))
            for past in told.cycles:
                self._cycles.worked_out(past)
            for past_id in told.gone:
                self._cycles.withdrawn(past_id)
        for key in fresh.keys() | self._reported:
            self._show(key)
        self._reported.clear()

    def _evidence(self, key: _Key) -> Evidence:
        account, symbol = self._accounts[key[0]], key[1]
        instrument = self._holdings.contract(account, symbol)
        coverage = self._books[key[0]].coverage
        opened = [(one.state.opened_at, one.state.id) for one in self._holdings.of_symbol(account, symbol)]
        opened += [(cycle.opened_at, cycle.position) for cycle in self._cycles.newest_of(*key)]
        evidence = Evidence(
            contract=contract_of(instrument) if instrument else None,
            covered=coverage.since,
            until=coverage.gap,
            hedge=account.mode.hedge if account.mode else None,
        )
        return evidence.of_opened((moment, position) for moment, position in opened if moment is not None)

    def _show(self, key: _Key) -> None:
        """Give rows their amounts; while a row does not show a fill yet they stay what they were."""
        timeline = self._timelines.get(key)
        if timeline is None:
            return
        for position in self._holdings.of_symbol(self._accounts[key[0]], key[1]):
            found = _amounts(timeline.chain, position)
            if found != position.amounts and not (found is None and position.pending_fill is not None):
                position.amounts, position.static = found, None
                self._holdings.touch_row(position)


def _amounts(chain: Chain, position: Position) -> Amounts | None:
    """Return what a position brought and cost; None where its fills do not come to what is held."""
    leg = chain.leg(position.state.id)
    trip = leg.trip if leg is not None else None
    state = position.state
    held = -Decimal(state.size) if state.side == "short" else Decimal(state.size)
    return trip.amounts() if trip is not None and trip.complete and trip.signed == held else None
