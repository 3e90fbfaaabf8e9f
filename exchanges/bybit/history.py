"""What happened to one Bybit account since a moment: executions and the transaction log, week by week. Pure protocol state.

Bybit answers for a week at most and by pages, newest first; there is no clock here, so the answer's own time says whether a
further week is due. What a week brought is emitted oldest first, when its last page is there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec
from msgspec import Raw

from exchanges.bybit import build, tables
from exchanges.bybit.executions import oldest_first, parse_execution, parse_log, unread
from exchanges.bybit.legs import Legs
from exchanges.bybit.paging import Listings, query_of
from exchanges.bybit.parse import category_of
from exchanges.bybit.wire import ExecutionRow, LogRow, Page, decode, millis
from exchanges.errors import ProtocolViolation
from exchanges.events import Fill
from exchanges.venue import Ask, HttpRequest, Output

PATHS = (tables.EXECUTIONS, tables.TRANSACTIONS)


def questions(since_ms: int, symbols: Sequence[str]) -> list[HttpRequest]:
    """Return the first question of each list: executions of every category, and the log of everything else."""
    options = [symbol for symbol in symbols if category_of(symbol) == "option"]
    bases = dict.fromkeys((*tables.OPTION_BASES, *(symbol.partition("-")[0] for symbol in options)))
    return [
        build.executions("linear", since_ms),
        build.executions("inverse", since_ms),
        *(build.executions("option", since_ms, base) for base in bases),
        build.transactions(since_ms),
    ]


class History:
    """Reads those lists for one account."""

    def __init__(self, account: str, legs: Legs) -> None:
        self._account, self._legs = account, legs
        self._listings: Listings[tuple[int, list[Output]]] = Listings()
        self._unpriced: dict[str, Fill] = {}  # by execId: what they brought stands in the log alone

    def answer(
        self, request: HttpRequest, raw: Raw, asked_at: int, time: int | None, *, recorded: bool
    ) -> list[Output]:
        """Translate a page. ``time``: the server's clock in the answer.

        Raises:
            ProtocolViolation: The page is not as documented, or carries no time where a further week may be due.
        """
        page = decode(raw, Page, "a history")
        if recorded and self._listings.is_tail(request, page):
            return []
        listing = self._listings.of(request, asked_at)
        read = self._log if request.path.startswith(tables.TRANSACTIONS) else self._execution
        listing.rows += [read(row, page.category or query_of(request).get("category", "")) for row in page.rows]
        if (further := listing.further(page, request, recorded)) is not None:
            return [further]
        self._listings.end(request)
        return [*oldest_first(listing.rows), *([] if recorded else _next_week(request, time))]

    def _execution(self, raw: Raw, category: str) -> tuple[int, list[Output]]:
        def read() -> tuple[int, list[Output]]:
            row = decode(raw, ExecutionRow, "an execution")
            outputs = parse_execution(row, self._account, category, self._legs)
            self._unpriced.update(
                (row.exec_id, one) for one in outputs if isinstance(one, Fill) and one.realized_pnl is None
            )
            while len(self._unpriced) > tables.MAX_BUFFERED:
                del self._unpriced[next(iter(self._unpriced))]
            return millis(row.exec_time) or 0, outputs

        return _guarded(read)

    def _log(self, raw: Raw, category: str) -> tuple[int, list[Output]]:
        def read() -> tuple[int, list[Output]]:
            row = decode(raw, LogRow, "a transaction")
            outputs = parse_log(row, self._account)
            fill = self._unpriced.pop(row.trade_id or "", None)
            if fill is not None and row.category != "option":  # whose cash flow has the premium in it
                outputs.append(msgspec.structs.replace(fill, realized_pnl=row.cash_flow))
            return millis(row.transaction_time) or 0, outputs

        return _guarded(read)


def _guarded(read: Callable[[], tuple[int, list[Output]]]) -> tuple[int, list[Output]]:
    try:
        return read()
    except ProtocolViolation as error:
        return 0, unread(error)


def _next_week(request: HttpRequest, time: int | None) -> list[Output]:
    """Return the question for the following week, unless this one reached the server's present."""
    query = query_of(request)
    if time is None:
        raise ProtocolViolation("bybit", f"an answer without a time to {request.path.partition('?')[0]}")
    end = int(query["endTime"])
    if end >= time:
        return []
    if request.path.startswith(tables.TRANSACTIONS):
        return [Ask(request=build.transactions(end))]
    return [Ask(request=build.executions(query["category"], end, query.get("baseCoin")))]
