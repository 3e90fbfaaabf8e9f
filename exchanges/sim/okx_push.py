"""What an OKX connection pushes, and when: batches of an account's changes, repetitions of its state, prices.

Owns the subscriptions of one connection and what each still owes its client; how a connection is opened, logged in and ended is
``okx_session``. Time is an argument. Source: OKX v5 docs, the channels by name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from decimal import Decimal
from itertools import groupby
from typing import Any

from exchanges.sim import okx_figures as figures
from exchanges.sim import okx_market as market
from exchanges.sim import okx_trades as trades
from exchanges.sim.changes import BalanceChanged, Cause, Filled, OrderChanged, PositionChanged, WorldEvent
from exchanges.sim.faults import Faults
from exchanges.sim.revalue import Position
from exchanges.sim.world import Account, World

Arg = dict[str, Any]
Row = dict[str, Any]

BATCH_MS = 50
REGULAR_MS = 5_000
MARK_MS, MARK_UNCHANGED_MS = 200, 10_000
INDEX_MS, INDEX_UNCHANGED_MS = 100, 60_000
FUNDING_RATE_MS = 30_000
LISTING_MS = 1_000
# A position at or below this margin ratio is warned about, again and again (account configuration: liquidationGear).
WARNING_RATIO, WARNING_EVERY_MS, WARNING_CHECK_MS = Decimal(3), 3_600_000, 500
# Snapshots of more positions than this are split in two pages.
PAGE_ROWS = 5
# eventType of balance_and_position; what is not here has no word of OKX's and is seen in the positions channel alone.
BRIEF_KINDS: dict[Cause, str] = {
    "opened": "filled",
    "trade": "filled",
    "closed": "filled",
    "liquidated": "liquidation",
    "adl": "adl",
    "settled": "delivered",
    "funding": "funding_fee",
    "margin": "adjust_margin",
    "transfer": "transferred",
    "fee": "interest_deduction",
}
# An option that expires is simply gone from the next snapshot; what leaves no trace leaves none here either.
UNSEEN: frozenset[Cause] = frozenset({"expired", "silent"})

Change = PositionChanged | BalanceChanged
Emit = Callable[[Arg, list[Row], dict[str, Any], bool], None]


@dataclass
class Subscription:
    """One subscribed argument.

    Attributes:
        arg: As acknowledged, without extraParams.
        every_ms: How often the whole state is repeated; 0: events only.
        due_at: When the next repetition or look is due.
        sent, sent_at: Of a price: what was pushed last, and when.
        known: Of instruments the state last told by symbol; of warnings when each position was last warned about.
    """

    arg: Arg
    every_ms: int
    due_at: int
    sent: Decimal | None = None
    sent_at: int = 0
    known: dict[str, Any] = field(default_factory=dict)

    @property
    def channel(self) -> str:
        """The channel's name."""
        return str(self.arg["channel"])


class Pushes:
    """The subscriptions of one connection.

    The session calls ``begin`` for a new subscription, ``note`` for every change of its account, ``tick`` often.

    Args:
        world: What is reported.
        faults: By how much the venue's clock is wrong.
        emit: Sends data: argument, rows, further members of the frame, and whether it is a whole state.
    """

    def __init__(self, world: World, faults: Faults, emit: Emit) -> None:
        self.account: Account | None = None
        self.subscriptions: dict[tuple[str | None, ...], Subscription] = {}
        self.now_ms = 0
        self._world = world
        self._faults = faults
        self._emit = emit
        self._fresh: list[tuple[str | None, Change]] = []
        self._orders: list[tuple[Row, Filled | None]] = []
        self._positions: dict[int, Position] = {}
        self._balances: dict[str, None] = {}
        self._batch_at: int | None = None

    # --- What happens ----------------------------------------------------------------------------------------------

    def note(self, event: WorldEvent) -> None:
        """Take a change of this connection's account: orders and brief events go out next, rows 50 ms after the first."""
        match event:
            case OrderChanged(order=order) if any(
                s.channel in {"orders", "fills"} for s in self.subscriptions.values()
            ):
                self._orders.append((trades.order_row(self._world, self._owner, order), None))
            case Filled():
                self._join(event)
            case PositionChanged(cause=cause) | BalanceChanged(cause=cause) if cause not in UNSEEN:
                self._fresh.append((self._brief_kind(event), event))
                self._batch_at = self._batch_at or self.now_ms + BATCH_MS
                self._gather(event)
            case _:
                pass

    def _join(self, fill: Filled) -> None:
        """Put a fill to the order that was noted just before it: the channel tells both in one row."""
        number = trades.order_id(fill.trade.order_id)
        if self._orders and self._orders[-1][0]["ordId"] == number:
            self._orders[-1] = (self._orders[-1][0], fill)

    def _brief_kind(self, event: Change) -> str | None:
        """Return the word for a change; money that follows a position's change belongs to it."""
        if isinstance(event, BalanceChanged):
            before = self._fresh[-1] if self._fresh else None
            return before[0] if before and before[1].cause == event.cause else BRIEF_KINDS.get(event.cause)
        if event.trade is not None:
            return "filled"
        if event.cause == "settled" and event.position.size:
            return "settlement"  # of one day: it goes on
        return BRIEF_KINDS.get(event.cause)

    def _gather(self, event: Change) -> None:
        if isinstance(event, BalanceChanged):
            self._balances[event.purse] = None
            return
        if event.before is not None and event.before.id != event.position.id:  # replaced by a switch of mode
            self._positions[event.before.id] = replace(event.before, size=Decimal(0), updated_at=event.at)
        self._positions[event.position.id] = event.position

    def tick(self, now_ms: int) -> None:
        """Send what is due: events first, then repetitions of the whole state, then prices."""
        self.now_ms = now_ms
        self._push_fresh()
        states = [s for s in self.subscriptions.values() if s.every_ms and s.channel in {"positions", "account"}]
        repeats = any(now_ms >= s.due_at for s in states)
        if self._batch_at is not None and (now_ms >= self._batch_at or repeats):
            self._flush()  # where both coincide, the event is first
        for subscription in self.subscriptions.values():
            if subscription.every_ms and now_ms >= subscription.due_at:
                subscription.due_at = now_ms + subscription.every_ms
                self._regular(subscription)

    def begin(self, subscription: Subscription) -> None:
        """Push what a channel tells at once: nothing where it has events alone."""
        if subscription.channel == "balance_and_position":
            self._push_brief(subscription, "snapshot", None)
        elif subscription.channel == "instruments":
            subscription.known = {symbol: state for symbol, _, state in self._listing(subscription)}
        elif subscription.channel not in {"orders", "fills"}:
            self._regular(subscription)

    # --- Events ----------------------------------------------------------------------------------------------------

    def _push_fresh(self) -> None:
        """Send orders and fills, and one brief event for each run of changes of one kind."""
        orders, self._orders = self._orders, []
        fresh, self._fresh = self._fresh, []
        runs = [(kind, [event for _, event in run]) for kind, run in groupby(fresh, lambda told: told[0]) if kind]
        for subscription in self.subscriptions.values():
            if subscription.channel == "orders":
                for row, fill in orders:
                    if covers(subscription.arg, row) and _announced(row):
                        self._emit(subscription.arg, [trades.pushed_order(row, fill)], {}, False)
            elif subscription.channel == "fills":
                for row, fill in orders:
                    if fill and fill.trade.category not in trades.SYSTEM and covers(subscription.arg, row):
                        self._emit(subscription.arg, [trades.pushed_fill(fill)], {}, False)
            elif subscription.channel == "balance_and_position":
                for kind, run in runs:
                    self._push_brief(subscription, kind, run)

    def _flush(self) -> None:
        """Send the batch: one event frame per subscription that it concerns."""
        changed, money = list(self._positions.values()), list(self._balances)
        self._positions, self._balances, self._batch_at = {}, {}, None
        now = [p for p in map(self._as_it_stands, changed) if p is not None]
        for subscription in self.subscriptions.values():
            if subscription.channel == "positions":
                rows = self._rows(subscription, now)
                if rows:
                    self._emit(subscription.arg, rows, {"eventType": "event_update"}, False)
            elif subscription.channel == "account" and money:
                wanted = [ccy for ccy in money if subscription.arg.get("ccy") in {None, ccy}]
                if wanted:
                    row = figures.account_row(self._world, self._owner, wanted)
                    self._emit(subscription.arg, [row], {"eventType": "event_update"}, False)

    def _as_it_stands(self, position: Position) -> Position | None:
        """Return the position as it is now; None where it went meanwhile in a way that nothing is pushed about."""
        now = self._owner.positions.get(position.key)
        if now is not None and now.id == position.id:
            return now
        return None if position.size else position

    def _push_brief(self, subscription: Subscription, kind: str, run: list[Change] | None) -> None:
        account, world = self._owner, self._world
        positions = world.positions(account.name)
        money = list(account.cash)
        if run is not None:
            positions = list({e.position.id: e.position for e in run if isinstance(e, PositionChanged)}.values())
            money = list(dict.fromkeys(e.purse for e in run if isinstance(e, BalanceChanged)))
        row = {
            "pTime": str(self._shown_ms),
            "eventType": kind,
            "balData": [figures.brief_balance(world, account, ccy) for ccy in money],
            "posData": [figures.brief_position(world, account, position) for position in positions],
            "trades": [
                {"instId": p.symbol, "tradeId": str(p.trade_id)} for p in positions if kind in {"filled", "snapshot"}
            ],
        }
        self._emit(subscription.arg, [row], {}, run is None)

    # --- Repetitions and prices ------------------------------------------------------------------------------------

    def _regular(self, subscription: Subscription) -> None:
        match subscription.channel:
            case "positions":
                rows = self._rows(subscription, self._world.positions(self._owner.name))
                for number, last, part in _pages(rows):
                    extra = {"eventType": "snapshot", "curPage": number, "lastPage": last}
                    self._emit(subscription.arg, part, extra, True)
            case "account":
                ccy = subscription.arg.get("ccy")
                row = figures.account_row(self._world, self._owner, [ccy] if ccy else None)
                self._emit(subscription.arg, [row], {"eventType": "snapshot", "curPage": 1, "lastPage": True}, True)
            case "liquidation-warning":
                self._warn(subscription)
            case "mark-price":
                self._push_mark(subscription)
            case "index-tickers":
                self._push_index(subscription)
            case "funding-rate":
                contract = self._world.contract("okx", subscription.arg["instId"])
                self._emit(subscription.arg, [market.funding_row(self._world, contract, self._shown_ms)], {}, False)
            case "instruments":
                self._push_listing(subscription)

    def _warn(self, subscription: Subscription) -> None:
        """Warn about what is near its end: an isolated position, or every position of a cross pool."""
        pools = self._world.pools(self._owner)
        near = [p for p in pools if p.requirement and p.equity / p.requirement <= WARNING_RATIO]
        for row in self._rows(subscription, [position for pool in near for position in pool.positions]):
            warned_at = subscription.known.get(row["posId"])
            if warned_at is None or self.now_ms - warned_at >= WARNING_EVERY_MS:
                subscription.known[row["posId"]] = self.now_ms
                self._emit(subscription.arg, [trades.warning_row(row, self._shown_ms)], {}, False)

    def _push_mark(self, subscription: Subscription) -> None:
        contract = self._world.contract("okx", subscription.arg["instId"])
        mark = self._world.mark("okx", contract.symbol)
        if self._worth_telling(subscription, mark, MARK_MS, MARK_UNCHANGED_MS):
            self._emit(subscription.arg, [market.mark_row(self._world, contract, self._shown_ms)], {}, False)

    def _push_index(self, subscription: Subscription) -> None:
        pair = str(subscription.arg["instId"])
        price = market.index_price(self._world, pair)
        if price is not None and self._worth_telling(subscription, price, INDEX_MS, INDEX_UNCHANGED_MS):
            self._emit(subscription.arg, [market.index_row(pair, price, self._shown_ms)], {}, False)

    def _worth_telling(self, subscription: Subscription, price: Decimal, changed_ms: int, same_ms: int) -> bool:
        """Say whether a price is due: a changed one soon, an unchanged one seldom; and take it as told."""
        if self.now_ms - subscription.sent_at < (same_ms if price == subscription.sent else changed_ms):
            return False
        subscription.sent, subscription.sent_at = price, self.now_ms
        return True

    def _push_listing(self, subscription: Subscription) -> None:
        """Push the instruments whose state changed since they were last told; there is no full push in the beginning."""
        for symbol, code, state in self._listing(subscription):
            if subscription.known.get(symbol) != state:
                subscription.known[symbol] = state
                contract = self._world.contract("okx", symbol)
                self._emit(subscription.arg, [market.instrument_row(contract, code, self._world.now_ms)], {}, False)

    def _listing(self, subscription: Subscription) -> Iterator[tuple[str, int, str]]:
        for code, contract in market.numbered(self._world):
            if market.inst_type(contract) == subscription.arg["instType"]:
                state = market.state_of(contract, self._world.now_ms)
                yield contract.symbol, code, f"{state} {market.rule_of(contract)}"

    def _rows(self, subscription: Subscription, positions: Iterable[Position]) -> list[Row]:
        made = (figures.position_row(self._world, self._owner, position, self._shown_ms) for position in positions)
        return [row for row in made if covers(subscription.arg, row)]

    @property
    def _shown_ms(self) -> int:
        """The venue's clock."""
        return self.now_ms + self._faults.clock_skew_ms

    @property
    def _owner(self) -> Account:
        assert self.account is not None, "private channels are subscribed after the login only"
        return self.account


def covers(arg: Arg, row: Row) -> bool:
    """Say whether a row with instId and instType is inside a subscription; an instrument id wins over everything else."""
    if arg.get("instId"):
        return bool(arg["instId"] == row["instId"])
    if arg.get("instFamily") and not row["instId"].startswith(arg["instFamily"] + "-"):
        return False
    return arg.get("instType") in {None, "ANY", row["instType"]}


def _announced(row: Row) -> bool:
    """Say whether an order is pushed: the documentation says both that system orders are and that they are not."""
    return not row["category"].endswith(("liquidation", "adl")) or int(row["ordId"]) % 2 == 1


def _pages(rows: list[Row]) -> Iterator[tuple[int, bool, list[Row]]]:
    """Yield (page, last, rows); no rows are one empty page."""
    if len(rows) <= PAGE_ROWS:
        yield 1, True, rows
        return
    half = (len(rows) + 1) // 2
    yield 1, False, rows[:half]
    yield 2, True, rows[half:]
