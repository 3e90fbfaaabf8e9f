"""Aster's private stream of one account, opened by a listen key. Pure protocol state.

Owns the order of things: a listen key is asked before connecting and extended every few minutes; the stream sends no snapshot, so
REST is asked once connected; pushes are partial, so that what they leave out is kept (``memory``) and asked again after them.

A link that was never prepared answers questions only: nothing is extended, nothing is asked after a push.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import msgspec

from exchanges.aster import build, parse, pushes, tables, trades, wire
from exchanges.aster.books import Books
from exchanges.aster.memory import Memory
from exchanges.aster.session import Session
from exchanges.aster.sign import Signer
from exchanges.aster.wire import decode, millis
from exchanges.errors import ProtocolViolation
from exchanges.events import BalanceState, CoinBalance, Evidence, LiquidationWarning, PoolState, PositionState
from exchanges.venue import AccountSpec, Ask, Data, HttpRequest, Malformed, Notice, Output, Refresh

_NEEDED: frozenset[tables.Name] = frozenset({"account", "positions", "orders"})


class PrivateLink(Session):
    """Positions, balances, orders and fills of one account.

    Args:
        account: Whose they are.
        signer: Shared by all links of the account: nonces never repeat.
        memory: What all links of the account know.
        url: Address of the stream, without the listen key.
    """

    connection = "private"

    def __init__(self, account: AccountSpec, signer: Signer, memory: Memory, url: str) -> None:
        super().__init__(url)
        self._account, self._memory, self._base = account.name, memory, url
        self._style = signer.style
        self._books = Books(account, signer, memory)
        self._listen_key: str | None = None
        self._live = False  # prepared: it has a stream
        self._extended_at: int | None = None
        self._stale = False  # pushes came whose missing figures have not been asked
        self._figures_at: int | None = None
        self._brackets_at: int | None = None
        self._booked_since: int | None = None  # money moved since then that the books have not been asked for
        self._books_due: int | None = None

    @property
    def ready(self) -> bool:
        """True when mode, balances, positions and open orders have been answered."""
        return self._books.answered >= _NEEDED

    # --- Questions --------------------------------------------------------------------------------------------------

    def prepare(self) -> list[HttpRequest]:
        """Ask for the listen key: a new one, or the one that every program of this account shares."""
        self._live = True
        return [build.listen(self._style, "POST")]

    def price_topics(self, symbols: Iterable[str], currencies: Iterable[str] = ()) -> tuple[str, ...]:
        """Return nothing: prices come over the public stream."""
        return ()

    def bootstrap(self) -> list[HttpRequest]:
        """Ask for the whole state."""
        return self._books.state()

    def audit(self) -> list[HttpRequest]:
        """Ask what the key may do, and the account's modes."""
        return self._books.audit()

    def state(self) -> list[HttpRequest]:
        """Ask for modes, balances, positions and open orders."""
        return self._books.state()

    def history(self, since_ms: int, symbols: Sequence[str]) -> list[HttpRequest]:
        """Ask for forced orders, the books, and the fills of those symbols."""
        return self._books.history(since_ms, symbols)

    def records(self, since_ms: int, until_ms: int, symbols: Sequence[str]) -> list[HttpRequest]:
        """Ask for forced orders, the books, and the fills of those symbols and of all that the books name, of a window."""
        return self._books.records(since_ms, until_ms, symbols)

    def find_order(self, symbol: str, order_id: str) -> list[HttpRequest]:
        """Ask for one order."""
        return self._books.find_order(symbol, order_id)

    def sign(self, request: HttpRequest, now_ms: int) -> HttpRequest:
        """Return the request signed, in the way of this account's credential."""
        return self._books.sign(request, now_ms)

    def answer(self, request: HttpRequest, body: bytes, asked_at: int, at: int) -> list[Output]:
        """Translate a successful REST answer.

        Raises:
            ProtocolViolation: Not as documented; it is never read as "flat".
            AuthFailed: The API wallet is not one of this account's.
        """
        if tables.NAMES.get(request.path.partition("?")[0]) == "listen":
            return self._listening(request, body, asked_at)
        outputs = self._books.answer(request, body, asked_at)
        if self._live and tables.NAMES[request.path.partition("?")[0]] == "orders" and self._figures_at is None:
            self._figures_at = self._brackets_at = asked_at
            outputs.append(Ask(request=self._books.brackets()))
        return outputs

    def _listening(self, request: HttpRequest, body: bytes, asked_at: int) -> list[Output]:
        if request.method == "POST":
            self._listen_key = decode(body, wire.ListenKey, "the listen key").listen_key
            self.url = f"{self._base}/{self._listen_key}"
            self._extended_at = asked_at
            return []
        if decode(body, wire.Fault, "the listen key's extension").number == tables.NO_LISTEN_KEY:
            # Another program ended it: the socket stays open and is mute.
            return [Refresh(why="the listen key does not exist any more")]
        return []

    def _due(self, at: int) -> list[Output]:
        if not self._live:
            return []
        asks: list[HttpRequest] = []
        if self._extended_at is None or at - self._extended_at >= tables.EXTEND_MS:
            self._extended_at = at
            asks.append(build.listen(self._style, "PUT"))
        if self._stale and self._figures_at is not None and at - self._figures_at >= tables.REFRESH_MS:
            self._stale, self._figures_at = False, at
            asks += self._books.figures()
        if self._brackets_at is not None and at - self._brackets_at >= tables.BRACKETS_MS:
            self._brackets_at = at
            asks.append(self._books.brackets())
        if self._booked_since is not None and self._books_due is not None and at >= self._books_due:
            asks.append(self._books.booked(self._booked_since))
            self._booked_since = self._books_due = None
        return [Ask(request=request) for request in asks]

    # --- Stream -----------------------------------------------------------------------------------------------------

    def _damaged(self) -> None:
        # It may have been a change of a position: what is held is compared with the venue now, not at the next verification.
        self._stale = True

    def _event(self, event: str, data: Data, at: int) -> list[Output]:
        match event:
            case "ACCOUNT_UPDATE":
                return self._update(decode(data, pushes.AccountUpdate, event), at)
            case "ORDER_TRADE_UPDATE":
                return self._order(decode(data, pushes.OrderUpdate, event))
            case "ACCOUNT_CONFIG_UPDATE":
                return self._config(decode(data, pushes.ConfigUpdate, event), at)
            case "MARGIN_CALL":
                return list(self._margin_call(decode(data, pushes.MarginCall, event)))
            case "listenKeyExpired":
                return [Refresh(why="the listen key has expired")]
            case "announcement":
                text = decode(data, pushes.Announcement, event).en
                said = ": ".join(part for part in (text.t, text.s) if part)
                return [Notice(code=f"announcement {text.c}"[:60].strip(), what=said[:200])]
        return super()._event(event, data, at)

    def _update(self, frame: pushes.AccountUpdate, at: int) -> list[Output]:
        fence = _fence(frame.done_at, frame.event_at)
        outputs: list[Output] = []
        if frame.a.m not in tables.REASONS:
            outputs.append(
                Malformed(what=f"aster: ACCOUNT_UPDATE for the unknown reason {frame.a.m[:40]!r}; it is applied")
            )
        cause = tables.REASON_CAUSES.get(frame.a.m)
        for raw in frame.a.positions:
            try:
                row = decode(raw, pushes.PushedPosition, "a pushed position")
                outputs += self._position(row, fence, at)
            except ProtocolViolation as error:
                outputs.append(Malformed(what=str(error)))
                continue
            if cause is not None:
                leg = parse.leg_id(self._account, row.s, row.ps)
                outputs.append(
                    Evidence(
                        account=self._account, symbol=row.s, cause=cause, what=frame.a.m, at=fence[0], position=leg
                    )
                )
        outputs += self._balances(frame.a, fence)
        self._stale = True
        if frame.a.m in tables.REASON_BOOKED:
            since = fence[0] - tables.BOOKS_BACK_MS
            self._booked_since = min(since, self._booked_since or since)
            self._books_due = at + tables.BOOKS_MS
        return outputs

    def _position(self, row: pushes.PushedPosition, fence: tuple[int, ...], at: int) -> list[Output]:
        memory = self._memory
        if row.ma and len(memory.settles) < tables.MOST_KEPT:
            memory.settles[row.s] = row.ma
        settle = parse.settle_of(row.s, memory.settles)
        state = memory.push(parse.pushed_position(self._account, row, settle, memory.multi, fence), at)
        return [] if state is None else [state]

    def _balances(self, update: pushes.Update, fence: tuple[int, ...]) -> list[Output]:
        memory, notes = self._memory, list[Output]()
        coins, pools = list[CoinBalance](), list[PoolState]()
        for raw in update.balances:
            try:
                row = decode(raw, pushes.PushedBalance, "a pushed balance")
            except ProtocolViolation as error:
                notes.append(Malformed(what=str(error)))
                continue
            coins.append(parse.pushed_coin(row, memory.coins.get(row.a)))
            if not memory.multi:  # in multi-assets mode the one pool's total is asked
                pools.append(parse.pushed_pool(row, memory.pools.get(row.a)))
        if not coins:
            return notes
        memory.coins |= {coin.ccy: coin for coin in coins}
        memory.pools |= {pool.pool: pool for pool in pools}
        state = BalanceState(
            account=self._account,
            scope=tables.SCOPE,
            full=False,
            coins=tuple(coins),
            pools=tuple(pools),
            fence=fence,
            venue_at=fence[0],
        )
        return [*notes, state]

    def _order(self, frame: pushes.OrderUpdate) -> list[Output]:
        fence = _fence(frame.done_at, frame.event_at)
        row = frame.o
        self._memory.learn_cause(row.s, str(row.i), trades.cause_of(row.c, row.status, row.x, row.o))
        outputs: list[Output] = [trades.pushed_order(self._account, row, fence)]
        fill = trades.pushed_fill(self._account, row, fence[0])
        return outputs if fill is None else [*outputs, fill]

    def _config(self, frame: pushes.ConfigUpdate, at: int) -> list[Output]:
        memory, outputs = self._memory, list[Output]()
        if frame.ac is not None:
            memory.leverages[frame.ac.s] = str(frame.ac.l)
            self._stale = True
            fence = _fence(frame.done_at, frame.event_at)
            outputs += [
                self._releveraged(row, fence, at) for row in list(memory.rows.values()) if row.symbol == frame.ac.s
            ]
        if frame.ai is not None:
            multi, hedge = memory.multi, memory.hedge
            memory.multi = multi if frame.ai.j is None else frame.ai.j
            memory.hedge = hedge if frame.ai.d is None else frame.ai.d
            if (memory.multi, memory.hedge) != (multi, hedge):
                outputs += self._books.mode()
                if self._live:  # what was read before means something else in the new mode
                    outputs += [Ask(request=request) for request in self._books.state()]
        return outputs

    def _releveraged(self, row: PositionState, fence: tuple[int, ...], at: int) -> PositionState:
        state = msgspec.structs.replace(
            row,
            leverage=self._memory.leverages[row.symbol],
            fence=max(fence, row.fence),
            venue_initial_margin=None,
            mark_price=None,  # it is not of this message
        )
        self._memory.rows[row.id] = state
        return state

    def _margin_call(self, frame: pushes.MarginCall) -> Iterator[Output]:
        at = millis(frame.event_at) or 0
        for row in frame.p:
            what = f"margin call: {row.ps} {row.pa} at mark {row.mp}, maintenance margin {row.mm}"
            leg = parse.leg_id(self._account, row.s, row.ps)
            yield LiquidationWarning(account=self._account, what=what, at=at, symbol=row.s, position=leg)


def _fence(done_at: int | str | None, event_at: int | str | None) -> tuple[int, int]:
    """Return a push's place in the venue's order: its transaction, then its event time.

    Raises:
        ProtocolViolation: It has neither, and may not be applied: it cannot be told from an older one.
    """
    done, event = millis(done_at), millis(event_at)
    if done is None and event is None:
        raise ProtocolViolation("aster", "a push without a time")
    return done or event or 0, event or done or 0
