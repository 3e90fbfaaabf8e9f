"""What Perpwire says to Bybit: stream frames and REST questions, as plain data. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from urllib.parse import quote

import msgspec

from exchanges.bybit import sign, tables
from exchanges.venue import HttpRequest

# --- Frames ---------------------------------------------------------------------------------------------------------


def _frame(message: dict[str, object]) -> str:
    return msgspec.json.encode(message).decode()


def login(signer: sign.Signer, now_ms: int, req_id: str) -> str:
    """Return the login frame of the private stream."""
    return _frame({"req_id": req_id, "op": "auth", "args": sign.login_args(signer, now_ms)})


def ping(req_id: str) -> str:
    """Return the heartbeat frame; the protocol's own WebSocket ping is no substitute at Bybit."""
    return _frame({"req_id": req_id, "op": "ping"})


def subscribe(topics: Sequence[str], req_id: str) -> str:
    """Return one subscribe request."""
    return _frame({"req_id": req_id, "op": "subscribe", "args": topics})


def unsubscribe(topics: Sequence[str], req_id: str) -> str:
    """Return one unsubscribe request."""
    return _frame({"req_id": req_id, "op": "unsubscribe", "args": topics})


def batches(topics: Sequence[str], per_frame: int = tables.TOPICS_PER_FRAME) -> Iterator[list[str]]:
    """Split topics into requests: an all-in-one topic (``position``) never beside a categorised one (``position.linear``)."""
    for categorised in (False, True):
        alike = [topic for topic in topics if ("." in topic) is categorised]
        for start in range(0, len(alike), per_frame):
            yield alike[start : start + per_frame]


def args_chars(topics: Sequence[str]) -> int:
    """Return what topics cost of a connection's ``MAX_ARGS_CHARS``: as JSON, quotes and commas included."""
    return sum(len(topic) + 3 for topic in topics)


# --- Questions about an account -------------------------------------------------------------------------------------


def key_info() -> HttpRequest:
    """Ask what the key may do."""
    return HttpRequest(path=tables.KEY_INFO, signed=True)


def account_info() -> HttpRequest:
    """Ask for the account's margin mode."""
    return HttpRequest(path=tables.ACCOUNT_INFO, signed=True)


def wallet_balance() -> HttpRequest:
    """Ask for every non-zero coin and the account-wide figures."""
    return HttpRequest(path=f"{tables.WALLET_BALANCE}?accountType=UNIFIED", signed=True)


def transferable(ccy: str) -> HttpRequest:
    """Ask how much of a coin could leave the unified wallet, whose rows say it of the account as a whole alone."""
    return HttpRequest(path=f"{tables.TRANSFERABLE}?coinName={quote(ccy, safe='')}", signed=True)


def position_list(scope: str) -> HttpRequest:
    """Ask for the open positions of a scope."""
    return HttpRequest(path=f"{tables.POSITION_LIST}?{_listed(scope)}&limit={tables.POSITIONS_PAGE}", signed=True)


def present() -> list[HttpRequest]:
    """Ask for the positions of every scope and the wallet."""
    return [*(position_list(scope) for scope in tables.SCOPES), wallet_balance()]


def open_orders(scope: str) -> HttpRequest:
    """Ask for the open orders of a scope."""
    return HttpRequest(path=f"{tables.OPEN_ORDERS}?{_listed(scope)}&limit={tables.ORDERS_PAGE}", signed=True)


def find_order(path: str, category: str, symbol: str, order_id: str) -> HttpRequest:
    """Ask for one order: among the open and newest ones (``OPEN_ORDERS``) or among all that ended (``ORDER_HISTORY``)."""
    query = f"category={category}&symbol={quote(symbol, safe='')}&orderId={quote(order_id, safe='')}"
    return HttpRequest(path=f"{path}?{query}", signed=True)


def executions(category: str, start: int, base: str | None = None, end: int | None = None) -> HttpRequest:
    """Ask for the executions of one window from ``start`` (ms), of options: those of one base coin; a week without ``end``."""
    query = f"category={category}" + (f"&baseCoin={quote(base, safe='')}" if base else "")
    return _windowed(tables.EXECUTIONS, query, start, end, tables.EXECUTIONS_PAGE)


def transactions(start: int, end: int | None = None) -> HttpRequest:
    """Ask for the transaction log of one window from ``start`` (ms), every category and currency; a week without ``end``."""
    return _windowed(tables.TRANSACTIONS, "accountType=UNIFIED", start, end, tables.TRANSACTIONS_PAGE)


def closed_pnl(category: str, start: int, end: int) -> HttpRequest:
    """Ask what closing brought in one window (ms)."""
    return _windowed(tables.CLOSED_PNL, f"category={category}", start, end, tables.CLOSED_PAGE)


def _listed(scope: str) -> str:
    category, _, settle = scope.partition(":")
    return f"category={category}" + (f"&settleCoin={settle}" if settle else "")


def _windowed(path: str, query: str, start: int, end: int | None, limit: int) -> HttpRequest:
    # Without an end Bybit takes a day for one list and a week for the others.
    end = start + tables.HISTORY_WINDOW_MS if end is None else end
    return HttpRequest(path=f"{path}?{query}&startTime={start}&endTime={end}&limit={limit}", signed=True)


# --- Questions about the market -------------------------------------------------------------------------------------


def server_time() -> HttpRequest:
    """Ask for Bybit's clock."""
    return HttpRequest(path=tables.SERVER_TIME)


def instruments_info(category: str, symbol: str | None = None) -> HttpRequest:
    """Ask for the contracts (or pairs) of a category, or for one of them."""
    path = f"{tables.INSTRUMENTS_INFO}?category={category}"
    if symbol is not None:
        return HttpRequest(path=f"{path}&symbol={quote(symbol, safe='')}")
    return HttpRequest(path=f"{path}&limit={tables.INSTRUMENTS_PAGE}")


def risk_limit(category: str, symbol: str) -> HttpRequest:
    """Ask for the margin tiers of one contract (all of them would be one page per 15 symbols)."""
    return HttpRequest(path=f"{tables.RISK_LIMIT}?category={category}&symbol={quote(symbol, safe='')}")


def collateral_ratios() -> HttpRequest:
    """Ask how much of each coin counts as collateral, all of them."""
    return HttpRequest(path=tables.COLLATERAL_RATIOS)


# --- Pages ----------------------------------------------------------------------------------------------------------

_CURSOR = "&cursor="


def first_page(request: HttpRequest) -> str:
    """Return the path of a list's first page: the list's name among the pages that are under way."""
    return request.path.partition(_CURSOR)[0]


def page(request: HttpRequest, cursor: str) -> HttpRequest:
    """Return the question for the page at ``cursor`` of the same list."""
    # Bybit hands cursors out percent-encoded and wants them back as they are.
    path = first_page(request) + _CURSOR + quote(cursor, safe="%,:=+/|")
    return msgspec.structs.replace(request, path=path)
