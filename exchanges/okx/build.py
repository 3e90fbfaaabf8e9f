"""What is sent to OKX: topics and their frames, and REST questions. Never parses and keeps no state.

A topic is a string of ours: the channel, or ``<channel>:<instId>``, or ``instruments:<instType>``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from urllib.parse import parse_qsl, quote, urlencode

import msgspec

from exchanges.events import MarginMode
from exchanges.okx import sign, tables
from exchanges.venue import Credentials, HttpRequest

POSITIONS = "positions"
ACCOUNT = "account"
BRIEF = "balance_and_position"
ORDERS = "orders"
WARNINGS = "liquidation-warning"
MARK_PRICE = "mark-price"
FUNDING_RATE = "funding-rate"
INDEX = "index-tickers"
INSTRUMENTS = "instruments"

# Channels that are subscribed for every type of instrument at once.
_OF_ANY_TYPE = (POSITIONS, ORDERS, WARNINGS)

PING = "ping"


def mark_topic(symbol: str) -> str:
    """Return the topic that brings the mark price of one instrument."""
    return f"{MARK_PRICE}:{symbol}"


def funding_topic(symbol: str) -> str:
    """Return the topic that brings the funding rate of one instrument."""
    return f"{FUNDING_RATE}:{symbol}"


def index_topic(pair: str) -> str:
    """Return the topic that brings one index."""
    return f"{INDEX}:{pair}"


def instruments_topic(inst_type: str) -> str:
    """Return the topic that brings changes of the contracts of one type."""
    return f"{INSTRUMENTS}:{inst_type}"


def topic_args(topic: str) -> dict[str, str]:
    """Return the subscription argument of a topic.

    ``positions`` and ``account`` come without ``extraParams``: then the venue repeats the whole state about every five
    seconds, and whatever an event lost is healed by itself.
    """
    channel, _, symbol = topic.partition(":")
    if channel in _OF_ANY_TYPE:
        return {"channel": channel, "instType": "ANY"}
    if channel == INSTRUMENTS:
        return {"channel": channel, "instType": symbol}
    return {"channel": channel, "instId": symbol} if symbol else {"channel": channel}


def batches(items: Iterable[str], size: int) -> Iterator[tuple[str, ...]]:
    """Yield the items in order, at most ``size`` at a time."""
    rest = iter(items)
    while batch := tuple(islice(rest, size)):
        yield batch


def operation(op: str, topics: Sequence[str], request_id: str) -> str:
    """Return a subscribe or unsubscribe frame. The id is always sent: error frames name nothing else."""
    frame = {"id": request_id, "op": op, "args": [topic_args(topic) for topic in topics]}
    return msgspec.json.encode(frame).decode()


def login(credentials: Credentials, now_ms: int) -> str:
    """Return a freshly signed login frame (a replayed one is refused with 60006)."""
    return msgspec.json.encode({"op": "login", "args": [sign.login_args(credentials, now_ms)]}).decode()


def config_request() -> HttpRequest:
    """Ask for the account's mode and the key's permissions (5 a 2 s per user)."""
    return HttpRequest(path=tables.CONFIG_PATH, signed=True, weight=2)


def positions_request(inst_type: str | None = None) -> HttpRequest:
    """Ask for all open positions, or those of one type (10 a 2 s per user). Zero positions are not in the answer."""
    return _signed(tables.POSITIONS_PATH, {"instType": inst_type} if inst_type else {})


def balance_request() -> HttpRequest:
    """Ask for all balances (10 a 2 s per user)."""
    return _signed(tables.BALANCE_PATH, {})


def open_orders_request() -> HttpRequest:
    """Ask for all open orders, newest first (60 a 2 s per user)."""
    return _signed(tables.OPEN_ORDERS_PATH, {"limit": tables.PAGE_ROWS})


def order_request(symbol: str, order_id: str) -> HttpRequest:
    """Ask for one order, open or done (60 a 2 s per user)."""
    return _signed(tables.ORDER_PATH, {"instId": symbol, "ordId": order_id})


def fills_request(begin: int, end: int = tables.LATEST_MS) -> HttpRequest:
    """Ask for executions of a window, newest first, of the last three days (60 a 2 s per user)."""
    return _signed(tables.FILLS_PATH, _window(begin, end))


def order_fills_request(symbol: str, order_id: str) -> HttpRequest:
    """Ask for the executions of one order of the last three days (60 a 2 s per user)."""
    return _signed(tables.FILLS_PATH, {"instId": symbol, "ordId": order_id, "limit": tables.PAGE_ROWS})


def fills_history_request(inst_type: str, begin: int, end: int = tables.LATEST_MS) -> HttpRequest:
    """Ask for executions of one type and window, newest first, of the last three months (10 a 2 s per user)."""
    return _signed(tables.FILLS_HISTORY_PATH, {"instType": inst_type} | _window(begin, end))


def bills_request(begin: int, bill_type: str | None = None, end: int = tables.LATEST_MS) -> HttpRequest:
    """Ask for changes of the balance in a window, newest first, of the last seven days (5 a second per user)."""
    query: dict[str, object] = {"type": bill_type} if bill_type else {}
    return _signed(tables.BILLS_PATH, query | _window(begin, end))


def bills_archive_request(begin: int, end: int = tables.LATEST_MS) -> HttpRequest:
    """Ask for changes of the balance in a window, newest first, of the last three months (5 a 2 s per user)."""
    return _signed(tables.BILLS_ARCHIVE_PATH, _window(begin, end), weight=2)


def positions_history_request(begin: int, end: int) -> HttpRequest:
    """Ask for positions whose latest close lies in a window, newest first, of the last three months (10 a 2 s per user).

    Here ``after`` and ``before`` are times, and neither is in the answer.
    """
    query = {"before": begin - 1, "limit": tables.PAGE_ROWS, "after": end + 1}
    return _signed(tables.POSITIONS_HISTORY_PATH, query)


def _window(begin: int, end: int) -> dict[str, object]:
    """Return a window, both ends in it. One without an end would bring the *oldest* page first, and pages go backwards."""
    return {"begin": begin, "end": end, "limit": tables.PAGE_ROWS}


def page_after(request: HttpRequest, cursor: str) -> HttpRequest:
    """Return the question for the page behind this one, which begins after the row named by the cursor."""
    path, _, query = request.path.partition("?")
    kept = [(name, value) for name, value in parse_qsl(query) if name != "after"]
    return msgspec.structs.replace(request, path=f"{path}?{urlencode([*kept, ('after', cursor)])}")


def _signed(path: str, query: Mapping[str, object], weight: int = 1) -> HttpRequest:
    return HttpRequest(path=path + (f"?{urlencode(query)}" if query else ""), signed=True, weight=weight)


def time_request() -> HttpRequest:
    """Ask for the venue's clock (10 a 2 s per address)."""
    return HttpRequest(path=tables.TIME_PATH)


def instruments_request(inst_type: str) -> HttpRequest:
    """Ask for every instrument of a type (20 a 2 s per address and type)."""
    path = f"{tables.INSTRUMENTS_PATH}?{urlencode({'instType': inst_type})}"
    return HttpRequest(path=path)


def index_request(pair: str) -> HttpRequest:
    """Ask for one index (20 a 2 s per address)."""
    return HttpRequest(path=f"{tables.INDEX_PATH}?{urlencode({'instId': pair})}")


def discounts_request() -> HttpRequest:
    """Ask how much of each currency counts as collateral (2 a 2 s per address)."""
    return HttpRequest(path=tables.DISCOUNTS_PATH)


def tiers_requests(inst_type: str, families: Iterable[str]) -> list[HttpRequest]:
    """Ask for the position tiers of instrument families, cross and isolated each for itself (``tdMode``).

    As many requests as the limit of families a request makes; 10 a 2 s per address.
    """
    modes: tuple[MarginMode, ...] = ("cross", "isolated")
    return [
        HttpRequest(
            path=f"{tables.TIERS_PATH}?instType={quote(inst_type)}&tdMode={mode}"
            f"&instFamily={','.join(quote(family) for family in batch)}",
        )
        for batch in batches(families, tables.FAMILIES_PER_REQUEST)
        for mode in modes
    ]
