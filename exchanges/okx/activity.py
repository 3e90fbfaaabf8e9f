"""What happens in an OKX account: orders, executions, bills, warnings, over the stream and as answers of any number of pages.

Owns the pages of open orders that are being read, and which questions about money are under way. Pure: no I/O, no clock.
Source: OKX v5 docs, trade and account endpoints.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from urllib.parse import parse_qs, urlsplit

import msgspec

from exchanges.errors import ProtocolViolation
from exchanges.events import Fill, LiquidationWarning, OpenOrders, Order, position_id
from exchanges.okx import bills, brief, build, closed, orders, tables, wire
from exchanges.okx.placing import Placing
from exchanges.okx.session import decode_all, decode_some
from exchanges.venue import OUT_OF_REACH, Ask, HttpRequest, Notice, Output

_ORDER = msgspec.json.Decoder(wire.OrderRow)
_FILL = msgspec.json.Decoder(wire.FillRow)
_BILL = msgspec.json.Decoder(wire.BillRow)
_CLOSED = msgspec.json.Decoder(wire.ClosedRow)
_WARNING = msgspec.json.Decoder(wire.WarningRow)

# A bill may be written after the event that it belongs to was pushed: the next question reaches back to it.
_OVERLAP_MS = 600_000
_EXECUTIONS = "executions"

_FILLS = (tables.FILLS_PATH, tables.FILLS_HISTORY_PATH)
_BILLS = (tables.BILLS_PATH, tables.BILLS_ARCHIVE_PATH)
PATHS = frozenset({tables.OPEN_ORDERS_PATH, tables.ORDER_PATH, tables.POSITIONS_HISTORY_PATH, *_FILLS, *_BILLS})
CHANNELS = frozenset({build.ORDERS, build.WARNINGS})


class Activity:
    """The activity of one account, as one link sees it.

    Attributes:
        hedge: Whether legs are positions of their own; the link says so once the configuration does.
        now_ms: The wall clock, as the link last signed with it; None: not yet.
    """

    def __init__(self, account: str) -> None:
        self._account = account
        self.hedge: bool | None = None
        self.now_ms: int | None = None
        self._draft: list[Order] | None = None  # open orders, while their pages come
        self._draft_asked_at = 0
        self._under_way: dict[str, HttpRequest | None] = {}  # about money, by subject → the question that follows
        self._asks: list[HttpRequest] = []
        self._placing = Placing(account)

    def learn(self, rows: Iterable[wire.PositionRow | wire.BriefPosition]) -> list[Fill]:
        """Note the margin currencies of positions, which orders do not always say; return the executions that waited for one."""
        return self._placing.learn(rows)

    # --- what can be asked ---------------------------------------------------------------------------------------

    def history(self, since_ms: int) -> list[HttpRequest]:
        """Return the questions for executions and bills since then."""
        return self._window(since_ms, tables.LATEST_MS)

    def records(self, since_ms: int, until_ms: int) -> list[HttpRequest]:
        """Return the questions for executions, bills and closed positions of a window, its end not in it."""
        return [*self._window(since_ms, until_ms), build.positions_history_request(since_ms, until_ms - 1)]

    def _window(self, since_ms: int, until_ms: int) -> list[HttpRequest]:
        """Return the questions for bills and executions, each part of the window where the venue answers best.

        Bills come first: they say which positions the executions are of.
        """
        out: list[HttpRequest] = []
        cut = self._cut(since_ms, until_ms, tables.BILLS_REACH_MS)
        if since_ms < cut:
            out.append(build.bills_archive_request(since_ms, cut - 1))
        if cut < until_ms:
            out.append(build.bills_request(cut, end=until_ms - 1))
        cut = self._cut(since_ms, until_ms, tables.FILLS_REACH_MS)
        if since_ms < cut:
            out += [build.fills_history_request(of, since_ms, cut - 1) for of in tables.HISTORY_TYPES]
        if cut < until_ms:
            out.append(build.fills_request(cut, until_ms - 1))
        return out

    def _cut(self, since_ms: int, until_ms: int, reach_ms: int) -> int:
        """Return where the quick endpoint begins to answer for a window; without a clock the slow one answers for all."""
        if self.now_ms is None:
            return until_ms
        return min(max(self.now_ms - reach_ms, since_ms), until_ms)

    def seek(self, event_type: str, at: int) -> None:
        """Ask for the money or the executions behind an event that names neither."""
        begin = at - _OVERLAP_MS
        if event_type in brief.BILLS:
            bill_type = brief.BILLS[event_type]
            self._seek(bill_type, build.bills_request(begin, bill_type))
        if event_type in brief.EXECUTED:
            self._seek(_EXECUTIONS, build.fills_request(begin))

    def _seek(self, subject: str, request: HttpRequest) -> None:
        """Ask once at a time: what happens meanwhile (a funding of many positions) is asked about together, afterwards."""
        if subject not in self._under_way:
            self._under_way[subject] = None
            self._asks.append(request)
        elif self._under_way[subject] is None:
            self._under_way[subject] = request

    def due(self) -> list[Output]:
        """Return what has to be asked by now."""
        asks, self._asks = self._asks, []
        return [Ask(request=request) for request in asks]

    # --- stream --------------------------------------------------------------------------------------------------

    def frame(self, channel: str, rows: Sequence[msgspec.Raw]) -> list[Output]:
        """Translate data of one of ``CHANNELS``."""
        if channel == build.WARNINGS:
            warnings, out, _ = decode_some(rows, _WARNING, channel)
            return [*out, *(self._warning(row) for row in warnings)]
        found, out, _ = decode_some(rows, _ORDER, channel)
        for row in found:
            out += self._order(row)
        return out

    def _order(self, row: wire.OrderRow) -> list[Output]:
        out: list[Output] = self._told(row)
        if not orders.executed(row):
            return out
        position = self._placing.of_order(row)
        fill = orders.fill_of_order(row, self._account, position)
        if fill is not None:
            return [*out, self._placing.executed(row, fill)]
        if orders.cause(row) != "trade":
            out.append(orders.evidence_of_order(row, self._account, position))
        self._seek(row.ord_id, build.order_fills_request(row.inst_id, row.ord_id))
        return out

    def _told(self, row: wire.OrderRow) -> list[Output]:
        """Return an order, what is not documented in it, and the executions that waited for it."""
        order = orders.parse_order(row, self._account)
        return [*_notices(orders.unknown_words(row)), order, *self._placing.order(row)]

    def _warning(self, row: wire.WarningRow) -> LiquidationWarning:
        return LiquidationWarning(
            account=self._account,
            what=f"margin ratio {row.mgn_ratio or 'unknown'} (1 is liquidation) of {row.pos or 'unknown'} {row.mgn_mode} "
            f"at mark {row.mark_px or 'unknown'}",
            at=int(row.p_time),
            symbol=row.inst_id,
            position=position_id(self._account, row.inst_id, row.pos_side, row.mgn_mode, row.ccy),
        )

    # --- answers -------------------------------------------------------------------------------------------------

    def answer(self, request: HttpRequest, raw: Sequence[msgspec.Raw], asked_at: int) -> list[Output]:
        """Translate an answer of one of ``PATHS``. Raises ProtocolViolation."""
        path = urlsplit(request.path).path
        if path == tables.ORDER_PATH:
            rows = decode_all(raw, _ORDER, request.path)
            return [one for row in rows for one in self._told(row)]
        if path == tables.OPEN_ORDERS_PATH:
            return self._open_orders(request, decode_all(raw, _ORDER, request.path), asked_at)
        out: list[Output] = []
        if path in _FILLS:
            fills = decode_all(raw, _FILL, request.path)
            for fill in fills:
                out += [*_notices(orders.unknown_terms(fill)), self._placing.fill(fill)]
            return out + self._next(request, [row.bill_id for row in fills])
        if path == tables.POSITIONS_HISTORY_PATH:
            return self._closed(request, decode_all(raw, _CLOSED, request.path))
        found = decode_all(raw, _BILL, request.path)
        for row in found:
            out += [*_notices(bills.unknown_words(row)), *bills.parse_bill(row, self._account, self.hedge)]
            out += self._placing.bill(row)
        return out + self._next(request, [row.bill_id for row in found])

    def _closed(self, request: HttpRequest, rows: list[wire.ClosedRow]) -> list[Output]:
        """Translate a page of closed positions; all rows of a page's last millisecond are in it, so the next begins behind."""
        out = [one for row in rows for one in closed.parse_closed(row, self._account)]
        more = self._page_after(request, [row.u_time for row in rows])
        if more is not None:
            return [*out, Ask(request=more)]
        before = parse_qs(urlsplit(request.path).query).get("before")
        if before and self.now_ms is not None and int(before[0]) + 1 < self.now_ms - tables.RECORDS_REACH_MS:
            days = tables.RECORDS_REACH_MS // 86_400_000
            out.append(
                Notice(code=OUT_OF_REACH, what=f"the venue tells of the last {days} days: what was before is unknown")
            )
        return out

    def _open_orders(self, request: HttpRequest, rows: list[wire.OrderRow], asked_at: int) -> list[Output]:
        """Gather the pages: the list counts from the moment that its first page was asked, and only when it is whole."""
        if "after" not in parse_qs(urlsplit(request.path).query):
            self._draft, self._draft_asked_at = [], asked_at
        if self._draft is None:
            raise ProtocolViolation(f"{tables.NAME} {request.path}", "a page without the pages before it")
        told = [one for row in rows for one in self._told(row)]
        self._draft += [one for one in told if isinstance(one, Order)]
        out = [one for one in told if not isinstance(one, Order)]
        more = self._page_after(request, [row.ord_id for row in rows])
        if more is not None:
            return [*out, Ask(request=more)]
        found, self._draft = {order.id: order for order in self._draft}, None
        return [
            *out,
            OpenOrders(
                account=self._account, scope=orders.SCOPE, orders=tuple(found.values()), asked_at=self._draft_asked_at
            ),
        ]

    def _next(self, request: HttpRequest, cursors: list[str]) -> list[Output]:
        """Return the question for the page behind this one; where it was the last, the one that waits for this subject."""
        more = self._page_after(request, cursors)
        if more is not None:
            return [Ask(request=more)]
        query = parse_qs(urlsplit(request.path).query)
        subject = next((query[name][0] for name in ("type", "ordId") if name in query), _EXECUTIONS)
        waiting = self._under_way.pop(subject, None)
        if waiting is not None:
            self._seek(subject, waiting)
        return []

    def _page_after(self, request: HttpRequest, cursors: list[str]) -> HttpRequest | None:
        """Return the question for the next page; None where this one is not full."""
        query = parse_qs(urlsplit(request.path).query)
        if len(cursors) < int(query.get("limit", [str(tables.PAGE_ROWS)])[0]):
            return None
        after = query.get("after")
        if after == [cursors[-1]]:
            raise ProtocolViolation(f"{tables.NAME} {request.path}", "the page behind a row ends with that row again")
        return build.page_after(request, cursors[-1])


def _notices(words: str | None) -> list[Output]:
    return [Notice(code="orders", what=words)] if words else []
