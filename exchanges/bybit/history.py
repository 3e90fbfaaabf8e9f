"""What happened to one Bybit account, since a moment or in a window: executions, the log, what closing brought. Pure.

Bybit answers for a week at most and by pages, newest first. A question for a whole week goes on with the next one until the
server's present (there is no clock here, so the answer's own time says it); one for less is all that was asked. Whether the ends
of a window are in it is not documented: a window is asked with both neighbours of its ends, which are left out again here. What
a week brought is emitted oldest first, when its last page is there; what a window brought page by page.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec
from msgspec import Raw

from exchanges.bybit import build, closed, tables
from exchanges.bybit.executions import before, oldest_first, parse_execution, parse_log, unread
from exchanges.bybit.legs import Legs
from exchanges.bybit.paging import Listings, following, query_of
from exchanges.bybit.parse import category_of, contract_of
from exchanges.bybit.wire import ClosedRow, ExecutionRow, LogRow, Page, decode, millis
from exchanges.errors import ProtocolViolation
from exchanges.events import Fill, known
from exchanges.venue import Ask, HttpRequest, Output


class _Read(NamedTuple):
    """What a row says. ``first``, ``last``: the times that the venue may know it by (ms); 0: it could not be understood."""

    first: int
    last: int
    outputs: list[Output]


class _Entry(NamedTuple):
    """What the log alone says of an execution: what it brought, and the signed size after it; None: not said."""

    cash_flow: str | None
    size: str | None


def questions(since_ms: int, symbols: Sequence[str]) -> list[HttpRequest]:
    """Return the first question of each list: executions of every category, and the log of everything else."""
    return _questions(since_ms, None, symbols)


def records(since_ms: int, until_ms: int, symbols: Sequence[str]) -> list[HttpRequest]:
    """Return the questions for the books of a window, at most ``tables.RECORDS_WINDOW_MS`` long; its end is not in it."""
    if until_ms - since_ms > tables.RECORDS_WINDOW_MS:
        raise ValueError(f"a window of {until_ms - since_ms} ms: at most {tables.RECORDS_WINDOW_MS}")
    brought = [build.closed_pnl(category, since_ms - 1, until_ms) for category in tables.CLOSED_CATEGORIES]
    return [*_questions(since_ms - 1, until_ms, symbols), *brought]


def _questions(start: int, end: int | None, symbols: Sequence[str]) -> list[HttpRequest]:
    options = [symbol for symbol in symbols if category_of(symbol) == "option"]
    bases = dict.fromkeys((*tables.OPTION_BASES, *(symbol.partition("-")[0] for symbol in options)))
    # The log first: it says what the executions brought.
    return [
        build.transactions(start, end),
        build.executions("linear", start, end=end),
        build.executions("inverse", start, end=end),
        *(build.executions("option", start, base, end) for base in bases),
    ]


class History:
    """Reads those lists for one account."""

    def __init__(self, account: str, legs: Legs) -> None:
        self._account, self._legs = account, legs
        self._listings: Listings[_Read] = Listings()
        self._entries: dict[str, _Entry] = {}  # by execId

    def answer(
        self, request: HttpRequest, raw: Raw, asked_at: int, time: int | None, *, recorded: bool
    ) -> list[Output]:
        """Translate a page. ``time``: the server's clock in the answer.

        Raises:
            ProtocolViolation: The page is not as documented, or carries no time where a further week may be due.
        """
        page = decode(raw, Page, "a history")
        query = query_of(request)
        category = page.category or query.get("category", "")
        if _is_window(query):
            rows = [self._read(request, raw, category) for raw in page.rows]
            further = following(page, request, recorded)
            return [*_emitted(row for row in rows if _is_in(row, query)), *([further] if further else [])]
        if recorded and self._listings.is_tail(request, page):
            return []
        listing = self._listings.of(request, asked_at)
        listing.rows += [self._read(request, raw, category) for raw in page.rows]
        if (further := listing.further(page, request, recorded)) is not None:
            return [further]
        self._listings.end(request)
        return [*_emitted(listing.rows), *([] if recorded else _next_week(request, time))]

    def _read(self, request: HttpRequest, raw: Raw, category: str) -> _Read:
        readers: dict[str, Callable[[Raw, str], _Read]] = {
            tables.EXECUTIONS: self._execution,
            tables.TRANSACTIONS: self._log,
            tables.CLOSED_PNL: self._closed,
        }
        try:
            return readers[request.path.partition("?")[0]](raw, category)
        except ProtocolViolation as error:
            return _Read(0, 0, unread(error))

    def _execution(self, raw: Raw, category: str) -> _Read:
        row = decode(raw, ExecutionRow, "an execution")
        entry = self._entries.pop(row.exec_id, None)
        outputs = parse_execution(row, self._account, category, self._legs)
        if entry is not None:
            outputs = [_completed(one, row, entry) for one in outputs]
        at = millis(row.exec_time) or 0
        return _Read(at, at, outputs)

    def _log(self, raw: Raw, category: str) -> _Read:
        row = decode(raw, LogRow, "a transaction")
        outputs = parse_log(row, self._account)
        if row.trade_id and row.category in tables.DERIVATIVES and _settles(row):
            priced = row.category in tables.CLOSED_CATEGORIES  # of an option the premium is in it
            self._entries[row.trade_id] = _Entry(known(row.cash_flow) if priced else None, known(row.size))
            while len(self._entries) > tables.MAX_TRADES:
                del self._entries[next(iter(self._entries))]
        at = millis(row.transaction_time) or 0
        return _Read(at, at, outputs)

    def _closed(self, raw: Raw, category: str) -> _Read:
        row = decode(raw, ClosedRow, "a closed PnL")
        return _Read(*closed.times(row), closed.parse_closed(row, self._account, category, self._legs))


def _emitted(rows: Iterable[_Read]) -> list[Output]:
    return oldest_first([(row.last, row.outputs) for row in rows])


def _completed(output: Output, row: ExecutionRow, entry: _Entry) -> Output:
    """Return a fill with what the log says of it: what it brought, where it does not say so itself, and what was held before."""
    if not isinstance(output, Fill):
        return output
    realized = entry.cash_flow if output.realized_pnl is None else output.realized_pnl
    held = None if entry.size is None else before(row, entry.size)
    return msgspec.structs.replace(output, realized_pnl=realized, held_before=held)


def _settles(row: LogRow) -> bool:
    """Say whether an entry is in what its contract settles in, and not of a fee that was taken of another coin."""
    return row.currency == contract_of(row.category, row.symbol)[2]


def _is_window(query: Mapping[str, str]) -> bool:
    """Say whether a question is for a window, rather than for a week that goes on."""
    return int(query["endTime"]) - int(query["startTime"]) < tables.HISTORY_WINDOW_MS


def _is_in(row: _Read, query: Mapping[str, str]) -> bool:
    """Say whether a row belongs to the window that was asked for, and not to its neighbours.

    Of rows that change (closed PnL) it is not documented which of their times counts: what either would leave out belongs to
    the neighbour, whichever the venue goes by.
    """
    return not row.last or (row.first < int(query["endTime"]) and row.last > int(query["startTime"]))


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
