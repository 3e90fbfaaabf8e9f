"""Bybit's private stream of one account. Pure protocol state.

Owns the order of things: private topics send no snapshot, so the link subscribes first, holds pushes back, and lets them pass
after the REST answer that they complete (newest per leg by Bybit's own order, so that a close is never lost).

A link on which neither ``subscribe`` nor ``bootstrap`` was called replays a recording: nothing is awaited, pushes pass as
they come, a page shorter than its limit is the last one. Where ``/v5/account/info`` is missing, the margin mode is inferred
from the wallet messages seen so far, if they betray it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from msgspec import Raw

from exchanges.bybit import build, contracts, parse, sign, tables, wire
from exchanges.bybit.acks import Requests
from exchanges.bybit.paging import Listing, is_tail, listing_for, query_of
from exchanges.bybit.wire import Frame, Page, PositionRow, WalletRow, decode
from exchanges.errors import ProtocolViolation
from exchanges.events import AccountMode, PositionsSnapshot, PositionState
from exchanges.venue import Ask, Credentials, Data, HttpRequest, LoginRefused, Malformed, Output, Refresh

_NEEDED = frozenset(f"linear:{coin}" for coin in tables.SETTLE_COINS)


class _Leg(NamedTuple):
    """A held-back push of one leg."""

    row: PositionRow
    category: str
    order: int


class PrivateLink:
    """Positions and wallet of one account; see ``exchanges.venue.Link`` for what is called when.

    Args:
        account: The account's name.
        credentials: Key and secret (HMAC).
        url: Address of the private stream.
    """

    connection = "private"
    needs_login = True
    ping_every_s = tables.PING_EVERY_S
    silent_after_s = tables.SILENT_AFTER_S

    def __init__(self, account: str, credentials: Credentials, url: str) -> None:
        self.url = url
        self._account = account
        self._credentials = credentials
        self._requests = Requests()
        self._recorded = True
        self._mode: str | None = None  # as told by account/info
        self._inferred: str | None = None
        self._mode_asked_at = 0
        self._listings: dict[str, Listing[PositionState]] = {}
        self._listed: set[str] = set()
        self._wallet_known = False
        self._legs: dict[str, _Leg] = {}
        self._wallets: list[tuple[WalletRow, int]] = []
        self._bounds: dict[str, parse.Bounds] = {}

    @property
    def ready(self) -> bool:
        """True when mode, positions of every settle coin and wallet have been answered."""
        return self._mode is not None and self._listed >= _NEEDED and self._wallet_known

    def login(self, now_ms: int) -> str:
        """Return a freshly signed login frame: it expires, so it is made when it is sent."""
        return build.login(self._credentials, now_ms, self._requests.next_id("auth"))

    def topics(self) -> tuple[str, ...]:
        """Return the topics that this connection always needs."""
        return tables.PRIVATE_TOPICS

    def price_topics(self, symbols: Iterable[str]) -> tuple[str, ...]:
        """Return nothing: marks come over the public stream."""
        return ()

    def subscribe(self, topics: Sequence[str]) -> list[str]:
        """Return the subscribe frames; from here on pushes are held back until REST has answered."""
        self._recorded = False
        return self._requests.subscribe(topics)

    def unsubscribe(self, topics: Sequence[str]) -> list[str]:
        """Return the unsubscribe frames."""
        return self._requests.unsubscribe(topics)

    def ping(self) -> str:
        """Return the heartbeat frame."""
        return self._requests.ping()

    def sign(self, request: HttpRequest, now_ms: int) -> HttpRequest:
        """Return the request with authentication headers."""
        return sign.sign_request(self._credentials, request, now_ms)

    def closed(self, code: int | None, reason: str) -> LoginRefused | None:
        """Return None: Bybit refuses in replies, never by close code."""
        return None

    def bootstrap(self) -> list[HttpRequest]:
        """Return the questions in order; the margin mode first, since every position's meaning depends on it."""
        self._recorded = False
        return [build.account_info(), *self._state_requests()]

    # --- Stream -----------------------------------------------------------------------------------------------------

    def receive(self, data: Data, at: int) -> list[Output]:
        """Translate one frame; a row that cannot be understood becomes ``Malformed``, its neighbours stand."""
        try:
            output = self._translate(decode(data, Frame, "a frame"))
        except ProtocolViolation as error:
            output = [Malformed(what=str(error))]
        if self.ready and not self._recorded and at - self._mode_asked_at >= tables.MODE_POLL_MS:
            self._mode_asked_at = at
            output.append(Ask(request=build.account_info()))
        return output

    def _translate(self, frame: Frame) -> list[Output]:
        head, _, category = frame.topic.partition(".")
        if head == "position":
            return [output for raw in self._rows(frame) for output in self._position(raw, category, frame)]
        if head == "wallet":
            return [output for raw in self._rows(frame) for output in self._wallet_push(raw, frame)]
        if head in tables.OTHER_TOPICS:
            return []
        if head:
            raise ProtocolViolation("bybit", f"unknown private topic {frame.topic!r}")
        return [*self._requests.reply(frame)]

    def _rows(self, frame: Frame) -> list[Raw]:
        return decode(frame.data, list[Raw], f"data of {frame.topic}")

    def _position(self, raw: Raw, category: str, frame: Frame) -> list[Output]:
        try:
            row = decode(raw, PositionRow, "a position")
            leg = _Leg(row, row.category or category, frame.creation_time or 0)
            state = self._state(leg)
        except ProtocolViolation as error:
            return [Malformed(what=str(error))]
        notes = _status_notes(row)
        if self._passes(state.scope):
            return [state, *notes]
        held = self._legs.get(state.id)
        if held is None and len(self._legs) >= tables.MAX_BUFFERED:
            return [Refresh(why="more position pushes than can be held back until REST answers")]
        if held is None or state.fence >= parse.fence_of(held.row, held.order):
            self._legs[state.id] = leg
        return [*notes]

    def _passes(self, scope: str) -> bool:
        """Say whether pushes of a scope need not wait (any more) for its list, or, unlisted ones, for the mode."""
        if self._recorded:
            return True
        return scope in self._listed if scope in _NEEDED else self._mode is not None

    def _state(self, leg: _Leg) -> PositionState:
        origin = self._origin(leg.order, leg.order or None, leg.category)
        return parse.parse_position(leg.row, origin)

    def _wallet_push(self, raw: Raw, frame: Frame) -> list[Output]:
        try:
            row = decode(raw, WalletRow, "a wallet")
        except ProtocolViolation as error:
            return [Malformed(what=str(error))]
        self._infer(row)
        order = frame.creation_time or 0
        if self._recorded or self._wallet_known:
            return [parse.parse_wallet(row, self._origin(order, order or None), full=False)]
        coins = {coin.coin for coin in row.coin}
        # A newer message makes an older one of the same coins (or fewer) superfluous.
        self._wallets = [held for held in self._wallets if not {coin.coin for coin in held[0].coin} <= coins]
        if len(self._wallets) >= tables.MAX_BUFFERED:
            return [Refresh(why="more wallet pushes than can be held back until REST answers")]
        self._wallets.append((row, order))
        return []

    def _infer(self, row: WalletRow) -> None:
        self._inferred = parse.inferred_mode(row) or self._inferred

    def _origin(self, order: int, venue_at: int | None, category: str = "") -> parse.Origin:
        mode = self._mode or self._inferred
        return parse.Origin(self._account, category, order, venue_at, mode, self._bounds)

    # --- REST -------------------------------------------------------------------------------------------------------

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
        if path == tables.ACCOUNT_INFO:
            return self._account_info(raw, asked_at)
        if path == tables.POSITION_LIST:
            return self._positions(request, raw, asked_at, self._origin(order, time))
        if path == tables.WALLET_BALANCE:
            return self._wallet(raw, asked_at, order, time)
        if path == tables.INSTRUMENTS_INFO:
            return self._learn_bounds(raw)
        raise ProtocolViolation("bybit", f"an answer to {path}, which this connection never asks")

    def _account_info(self, raw: Raw, asked_at: int) -> list[Output]:
        told = decode(raw, wire.AccountInfo, "account info").margin_mode
        self._mode_asked_at = max(self._mode_asked_at, asked_at)
        if told == self._mode:
            return []
        self._mode = told
        computable = told in (tables.CROSS, tables.ISOLATED)
        output: list[Output] = [AccountMode(account=self._account, mode=told, computable=computable)]
        if told not in tables.MARGIN_MODES:
            output.append(Malformed(what=f"bybit: unknown margin mode {told!r}: its positions are not computed"))
        if self._listed and not self._recorded:
            # What was read before means something else in the new mode: read it again.
            output += [Ask(request=question) for question in self._state_requests()]
        return output + self._released({})

    def _state_requests(self) -> list[HttpRequest]:
        return [*(build.position_list(coin) for coin in tables.SETTLE_COINS), build.wallet_balance()]

    def _positions(self, request: HttpRequest, raw: Raw, asked_at: int, origin: parse.Origin) -> list[Output]:
        query = query_of(request)
        page = decode(raw, Page, "a position list")
        category = query.get("category") or page.category
        rows = [decode(row, PositionRow, "a position") for row in page.rows]
        states = [parse.parse_position(row, origin._replace(category=category)) for row in rows]
        notes: list[Output] = [note for row in rows for note in _status_notes(row)]
        scope = _listed_scope(category, query)
        if scope is None:
            return [*states, *notes]  # one symbol or one base coin: no full list of anything
        foreign = next((state for state in states if state.scope != scope), None)
        if foreign is not None:
            raise ProtocolViolation("bybit", f"{foreign.symbol} in the list of {scope}")
        if self._recorded and scope in self._listed and is_tail(self._listings, scope, query, page):
            return notes
        listing = listing_for(self._listings, scope, query, asked_at)
        listing.rows += states
        cursor = listing.further(page, query, self._recorded)
        if cursor is not None:
            return [*notes, Ask(request=build.position_list(scope.partition(":")[2], cursor))]
        del self._listings[scope]
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
        for row_id, leg in list(self._legs.items()):
            state = self._state(leg)
            if self._passes(state.scope):
                del self._legs[row_id]
                if row_id not in listed or state.fence > listed[row_id].fence:
                    output.append(state)
        return output

    def _wallet(self, raw: Raw, asked_at: int, order: int, time: int | None) -> list[Output]:
        page = decode(raw, Page, "a wallet balance")
        if len(page.rows) != 1:
            raise ProtocolViolation("bybit", f"{len(page.rows)} accounts in a wallet balance, expected one")
        row = decode(page.rows[0], WalletRow, "a wallet")
        self._infer(row)
        output: list[Output] = [parse.parse_wallet(row, self._origin(order, time), full=True, asked_at=asked_at)]
        for held, pushed_at in self._wallets:
            if pushed_at > order:
                output.append(parse.parse_wallet(held, self._origin(pushed_at, pushed_at), full=False))
        self._wallets = []
        self._wallet_known = True
        return output

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


def _status_notes(row: PositionRow) -> list[Malformed]:
    if row.position_status in tables.POSITION_STATUSES:
        return []
    return [Malformed(what=f"bybit: {row.symbol}: unknown position status {row.position_status!r}; the row is kept")]
