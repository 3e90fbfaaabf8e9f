"""What one Bybit account's pushes and REST answers mean, and which must wait for which. Pure protocol state.

Private topics send no snapshot, so pushes are held back until the REST answer that they complete, and then pass (newest per
leg by Bybit's own order, so that a close is never lost).

``use`` "replay" is a recording: nothing is awaited, pushes pass as they come, a page shorter than its limit is the last one.
Where ``/v5/account/info`` is missing, the margin mode is inferred from the wallet messages seen so far, if they betray it.
"questions": there is no stream, the same questions are asked again and again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, Literal, NamedTuple

from msgspec import Raw

from exchanges.bybit import build, contracts, history, identity, orders, parse, tables, wire
from exchanges.bybit.executions import parse_execution, unread
from exchanges.bybit.legs import Legs
from exchanges.bybit.paging import Listings, query_of
from exchanges.bybit.wire import ExecutionRow, OrderRow, Page, PositionRow, WalletRow, decode
from exchanges.errors import ProtocolViolation
from exchanges.events import AccountMode, FreeBalance, OpenOrders, Order, PositionsSnapshot, PositionState
from exchanges.venue import Ask, HttpRequest, Malformed, Output, Refresh

Reader = Callable[[Raw, str, int], list[Output]]  # row, category of the topic, when it was pushed
_NEEDED: Final = frozenset(tables.SCOPES)


class _Leg(NamedTuple):
    """A held-back push of one leg."""

    row: PositionRow
    category: str
    order: int


class Mode:
    """What all links of one account know of its margin mode: two that differ would report one position in two ways.

    ``margin``: as account/info told, in Bybit's words. ``inverse_apart``: inverse contracts have collateral of their own.
    """

    def __init__(self) -> None:
        self.margin: str | None = None
        self.inverse_apart = False


class Desk:
    """The state of the conversation about one account; ``mode`` is shared by all of them."""

    def __init__(self, account: str, mode: Mode | None = None) -> None:
        self.use: Literal["replay", "stream", "questions"] = "replay"
        self._account = account
        self._mode = mode or Mode()
        self._inferred: str | None = None
        self._mode_asked_at = 0
        self._mode_doubted = False
        self._positions: Listings[PositionState] = Listings()
        self._orders: Listings[Order] = Listings()
        self._listed: set[str] = set()
        self._wallet_known = False
        self._held: dict[str, _Leg] = {}
        self._wallets: list[tuple[WalletRow, int]] = []
        self._bounds: dict[str, parse.Bounds] = {}
        self._settles: dict[str, str] = {}  # by symbols whose names tell another coin than the list that holds them
        self._legs = Legs(account)
        # A history may reach back behind a switch of modes: it says which leg only where there is no mode to know.
        self._history = history.History(account, Legs(account))
        self.readers: Mapping[str, Reader] = {
            "position": self._position_push,
            "wallet": self._wallet_push,
            "execution": self._execution_push,
            "order": self._order_push,
        }

    @property
    def complete(self) -> bool:
        """True when mode, positions of every scope and wallet have been answered."""
        return self._mode.margin is not None and self._listed >= _NEEDED and self._wallet_known

    def mode_due(self, at: int) -> bool:
        """Say whether the margin mode has to be asked for: now and then, and at once when a message contradicts it."""
        wait = tables.MODE_DOUBT_MS if self._mode_doubted else tables.MODE_POLL_MS
        if self.use != "stream" or not self.complete or at - self._mode_asked_at < wait:
            return False
        self._mode_asked_at, self._mode_doubted = at, False
        return True

    # --- Pushes -----------------------------------------------------------------------------------------------------

    def _position_push(self, raw: Raw, category: str, pushed_at: int) -> list[Output]:
        try:
            row = decode(raw, PositionRow, "a position")
            leg = _Leg(row, row.category or category, pushed_at)
            state = self._state(leg)
        except ProtocolViolation as error:
            return unread(error)
        self._legs.saw(leg.category, row.symbol, row.position_idx)
        notes = parse.status_notes(row, state)
        if self._passes(state.scope):
            return [state, *notes]
        held = self._held.get(state.id)
        if held is None and len(self._held) >= tables.MAX_BUFFERED:
            return [Refresh(why="more position pushes than can be held back until REST answers")]
        if held is None or state.fence >= parse.fence_of(held.row, held.order):
            self._held[state.id] = leg
        return notes

    def _passes(self, scope: str) -> bool:
        """Say whether pushes of a scope need not wait (any more) for its list, or, unlisted ones, for the mode."""
        if self.use != "stream":
            return True
        return scope in self._listed if scope in _NEEDED else self._mode.margin is not None

    def _state(self, leg: _Leg) -> PositionState:
        origin = self._origin(leg.order, leg.order or None, leg.category)
        return parse.parse_position(leg.row, origin)

    def _wallet_push(self, raw: Raw, category: str, pushed_at: int) -> list[Output]:
        try:
            row = decode(raw, WalletRow, "a wallet")
        except ProtocolViolation as error:
            return unread(error)
        self._weigh(row)
        if self.use != "stream" or self._wallet_known:
            return [parse.parse_wallet(row, self._origin(pushed_at, pushed_at or None), full=False)]
        coins = {coin.coin for coin in row.coin}
        # A newer message makes an older one of the same coins (or fewer) superfluous.
        self._wallets = [held for held in self._wallets if not {coin.coin for coin in held[0].coin} <= coins]
        if len(self._wallets) >= tables.MAX_BUFFERED:
            return [Refresh(why="more wallet pushes than can be held back until REST answers")]
        self._wallets.append((row, pushed_at))
        return []

    def _execution_push(self, raw: Raw, category: str, pushed_at: int) -> list[Output]:
        try:
            return parse_execution(decode(raw, ExecutionRow, "an execution"), self._account, category, self._legs)
        except ProtocolViolation as error:
            return unread(error)

    def _order_push(self, raw: Raw, category: str, pushed_at: int) -> list[Output]:
        try:
            row = decode(raw, OrderRow, "an order")
            if (row.category or category) == tables.SPOT:
                return []
            origin = self._origin(pushed_at, pushed_at or None, category)
            order = orders.parse_order(row, origin)
            self._legs.saw(row.category or category, row.symbol, row.position_idx)
            return [order, *orders.warnings(row, origin)]
        except ProtocolViolation as error:
            return unread(error)

    def _weigh(self, row: WalletRow) -> None:
        """Infer the mode from a wallet, or hold the wallet against the mode that is known."""
        inferred = parse.inferred_mode(row)
        self._inferred = inferred or self._inferred
        looks_isolated = self._mode.margin == tables.CROSS and parse.lacks_account_figures(row)
        looks_cross = self._mode.margin in (tables.ISOLATED, tables.PORTFOLIO) and inferred == tables.CROSS
        self._mode_doubted = self._mode_doubted or looks_isolated or looks_cross

    def _origin(self, order: int, venue_at: int | None, category: str = "") -> parse.Origin:
        mode = self._mode.margin or self._inferred
        return parse.Origin(
            self._account, category, order, venue_at, mode, self._bounds, self._mode.inverse_apart, self._settles
        )

    # --- Answers ----------------------------------------------------------------------------------------------------

    def answer(self, request: HttpRequest, body: bytes, asked_at: int, at: int) -> list[Output]:
        """Translate a successful REST answer.

        Its place in Bybit's order is the moment it was asked, on Bybit's clock: the answer's ``time`` less the time that
        it took. Never later than that, so that no push which the answer may lack is taken for older.

        Raises:
            ProtocolViolation: Not as documented; it is never read as "flat".
        """
        path = request.path.partition("?")[0]
        raw, time = wire.result(body)
        order = max(time - max(at - asked_at, 0), 0) if time is not None else asked_at
        origin = self._origin(order, time, query_of(request).get("category", ""))
        match path:
            case tables.ACCOUNT_INFO:
                return self._account_info(raw, asked_at)
            case tables.KEY_INFO:
                return [identity.parse_key(decode(raw, wire.KeyRow, "key information"), self._account)]
            case tables.POSITION_LIST:
                return self._position_list(request, raw, asked_at, origin)
            case tables.OPEN_ORDERS | tables.ORDER_HISTORY:
                return self._order_list(request, raw, asked_at, origin)
            case tables.WALLET_BALANCE:
                return self._wallet(raw, asked_at, origin)
            case tables.TRANSFERABLE:
                return self._transferable(raw)
            case tables.EXECUTIONS | tables.TRANSACTIONS | tables.CLOSED_PNL:
                return self._history.answer(request, raw, asked_at, time, recorded=self.use == "replay")
            case tables.INSTRUMENTS_INFO:
                return self._learn_bounds(raw)
        raise ProtocolViolation("bybit", f"an answer to {path}, which this connection never asks")

    def _account_info(self, raw: Raw, asked_at: int) -> list[Output]:
        told = decode(raw, wire.AccountInfo, "account info")
        apart = told.unified_margin_status in tables.INVERSE_APART
        self._mode_asked_at = max(self._mode_asked_at, asked_at)
        changed = (told.margin_mode, apart) != (self._mode.margin, self._mode.inverse_apart)
        if not changed and self.use != "questions":
            return []
        mode = told.margin_mode
        self._mode.margin, self._mode.inverse_apart = mode, apart
        computable = mode in (tables.CROSS, tables.ISOLATED)
        output: list[Output] = [AccountMode(account=self._account, mode=mode, computable=computable)]
        if mode not in tables.MARGIN_MODES:
            output.append(Malformed(what=f"bybit: unknown margin mode {mode!r}: its positions are not computed"))
        if self._listed and self.use == "stream":
            # What was read before means something else in the new mode: read it again.
            output += [Ask(request=question) for question in build.present()]
        return output + self._released({})

    def _position_list(self, request: HttpRequest, raw: Raw, asked_at: int, origin: parse.Origin) -> list[Output]:
        page = decode(raw, Page, "a position list")
        origin = origin._replace(category=origin.category or page.category)
        rows = [decode(row, PositionRow, "a position") for row in page.rows]
        scope = _listed_scope(origin.category, query_of(request))
        self._learn_settles(scope, [row.symbol for row in rows])
        states = [parse.parse_position(row, origin) for row in rows]
        for row in rows:
            self._legs.saw(row.category or origin.category, row.symbol, row.position_idx)
        notes = [note for row, state in zip(rows, states, strict=True) for note in parse.status_notes(row, state)]
        if scope is None:
            return [*states, *notes]  # one symbol or one base coin: no full list of anything
        foreign = next((state for state in states if state.scope != scope), None)
        if foreign is not None:
            raise ProtocolViolation("bybit", f"{foreign.symbol} in the list of {scope}")
        recorded = self.use == "replay"
        if recorded and scope in self._listed and self._positions.is_tail(request, page):
            return notes
        listing = self._positions.of(request, asked_at)
        listing.rows += states
        if (further := listing.further(page, request, recorded)) is not None:
            return [*notes, further]
        self._positions.end(request)
        self._listed.add(scope)
        newest = _newest(listing.rows)
        snapshot = PositionsSnapshot(
            account=self._account,
            scope=scope,
            positions=tuple(state for state in newest.values() if state.side is not None),
            asked_at=listing.asked_at,
        )
        return [*notes, snapshot, *self._released(newest)]

    def _released(self, listed: Mapping[str, PositionState]) -> list[Output]:
        """Return the held-back pushes that need not wait any more, less those that the list knows newer."""
        output: list[Output] = []
        for row_id, leg in list(self._held.items()):
            state = self._state(leg)
            if self._passes(state.scope):
                del self._held[row_id]
                if row_id not in listed or state.fence > listed[row_id].fence:
                    output.append(state)
        return output

    def _order_list(self, request: HttpRequest, raw: Raw, asked_at: int, origin: parse.Origin) -> list[Output]:
        query = query_of(request)
        page = decode(raw, Page, "a list of orders")
        origin = origin._replace(category=origin.category or page.category)
        rows = [decode(row, OrderRow, "an order") for row in page.rows]
        scope = _listed_scope(origin.category, query)
        self._learn_settles(scope, [row.symbol for row in rows])
        found = [orders.parse_order(row, origin) for row in rows]
        if "orderId" in query:
            return self._one_order(request, query, found, origin)
        if scope is None or request.path.startswith(tables.ORDER_HISTORY):
            return [*found]
        recorded = self.use == "replay"
        if recorded and self._orders.is_tail(request, page):
            return []
        for row in rows:
            self._legs.saw(row.category or origin.category, row.symbol, row.position_idx)
        listing = self._orders.of(request, asked_at)
        listing.rows += found
        if (further := listing.further(page, request, recorded)) is not None:
            return [further]
        self._orders.end(request)
        newest = {order.id: order for order in sorted(listing.rows, key=lambda order: order.fence)}
        still_open = tuple(order for order in newest.values() if order.open)
        return [OpenOrders(account=self._account, scope=scope, orders=still_open, asked_at=listing.asked_at)]

    def _one_order(
        self, request: HttpRequest, query: Mapping[str, str], found: Sequence[Order], origin: parse.Origin
    ) -> list[Output]:
        """Return the order that was asked for; the newest ones are asked first, and lack those that ended long ago."""
        order_id = query["orderId"]
        wanted = [order for order in found if order.order_id == order_id]
        if wanted or request.path.startswith(tables.ORDER_HISTORY):
            return [*wanted[:1]]
        symbol = query.get("symbol", "")
        return [Ask(request=build.find_order(tables.ORDER_HISTORY, origin.category, symbol, order_id))]

    def _wallet(self, raw: Raw, asked_at: int, origin: parse.Origin) -> list[Output]:
        page = decode(raw, Page, "a wallet balance")
        if len(page.rows) != 1:
            raise ProtocolViolation("bybit", f"{len(page.rows)} accounts in a wallet balance, expected one")
        row = decode(page.rows[0], WalletRow, "a wallet")
        self._weigh(row)
        origin = origin._replace(mode=self._mode.margin or self._inferred)
        output: list[Output] = [parse.parse_wallet(row, origin, full=True, asked_at=asked_at)]
        for held, pushed_at in self._wallets:
            if pushed_at > origin.order:
                output.append(parse.parse_wallet(held, self._origin(pushed_at, pushed_at), full=False))
        self._wallets = []
        self._wallet_known = True
        return output

    def _transferable(self, raw: Raw) -> list[Output]:
        told = decode(raw, wire.Transferable, "what is transferable").available_withdrawal_map
        return [FreeBalance(account=self._account, ccy=ccy, amount=amount) for ccy, amount in told.items()]

    def _learn_settles(self, scope: str | None, symbols: Sequence[str]) -> None:
        """Note what a list of one settle coin holds: Bybit knows better than the names do."""
        category, _, settle = (scope or "").partition(":")
        for symbol in symbols if settle else ():
            if parse.contract_of(category, symbol)[2] != settle and len(self._settles) < tables.MAX_BUFFERED:
                self._settles[symbol] = settle

    def _learn_bounds(self, raw: Raw) -> list[Output]:
        """Note price ranges, where a caller shares the contract table: liquidation prices outside are sentinels."""
        self._bounds.update(contracts.bounds(decode(raw, Page, "a contract list")))
        return []


def _listed_scope(category: str, query: Mapping[str, str]) -> str | None:
    """Return the scope that a list covers completely; None where it was narrowed to a symbol or base coin."""
    if "symbol" in query or "baseCoin" in query:
        return None
    if category == "linear":
        return f"linear:{query['settleCoin']}" if query.get("settleCoin") else None
    return category


def _newest(states: Sequence[PositionState]) -> dict[str, PositionState]:
    # A leg can appear on two pages when the list shifts between the questions.
    newest: dict[str, PositionState] = {}
    for state in states:
        if state.id not in newest or state.fence >= newest[state.id].fence:
            newest[state.id] = state
    return newest
