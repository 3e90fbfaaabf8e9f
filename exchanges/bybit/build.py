"""What Perpwire says to Bybit: stream frames and REST questions, as plain data. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from urllib.parse import quote

import msgspec

from exchanges.bybit import sign, tables
from exchanges.venue import Credentials, HttpRequest


def _frame(message: dict[str, object]) -> str:
    return msgspec.json.encode(message).decode()


def login(credentials: Credentials, now_ms: int, req_id: str) -> str:
    """Return the login frame of the private stream."""
    return _frame({"req_id": req_id, "op": "auth", "args": sign.login_args(credentials, now_ms)})


def ping(req_id: str) -> str:
    """Return the heartbeat frame; the protocol's own WebSocket ping is no substitute at Bybit."""
    return _frame({"req_id": req_id, "op": "ping"})


def subscribe(topics: Sequence[str], req_id: str) -> str:
    """Return one subscribe request."""
    return _frame({"req_id": req_id, "op": "subscribe", "args": topics})


def unsubscribe(topics: Sequence[str], req_id: str) -> str:
    """Return one unsubscribe request."""
    return _frame({"req_id": req_id, "op": "unsubscribe", "args": topics})


def batches(topics: Sequence[str]) -> Iterator[list[str]]:
    """Split topics into requests: an all-in-one topic (``position``) never beside a categorised one (``position.linear``)."""
    for categorised in (False, True):
        alike = [topic for topic in topics if ("." in topic) is categorised]
        for start in range(0, len(alike), tables.TOPICS_PER_FRAME):
            yield alike[start : start + tables.TOPICS_PER_FRAME]


def args_chars(topics: Sequence[str]) -> int:
    """Return what topics cost of a connection's ``MAX_ARGS_CHARS``: as JSON, quotes and commas included."""
    return sum(len(topic) + 3 for topic in topics)


def account_info() -> HttpRequest:
    """Ask for the account's margin mode."""
    return HttpRequest(path=tables.ACCOUNT_INFO, signed=True)


def wallet_balance() -> HttpRequest:
    """Ask for every non-zero coin and the account-wide figures."""
    return HttpRequest(path=f"{tables.WALLET_BALANCE}?accountType=UNIFIED", signed=True)


def position_list(settle: str, cursor: str | None = None) -> HttpRequest:
    """Ask for a page of the open linear positions that settle in one coin."""
    path = f"{tables.POSITION_LIST}?category=linear&settleCoin={settle}&limit={tables.POSITIONS_PAGE}"
    return HttpRequest(path=path + _cursor(cursor), signed=True)


def instruments_info(cursor: str | None = None) -> HttpRequest:
    """Ask for a page of the linear contracts."""
    path = f"{tables.INSTRUMENTS_INFO}?category=linear&limit={tables.INSTRUMENTS_PAGE}"
    return HttpRequest(path=path + _cursor(cursor))


def risk_limit(symbol: str, cursor: str | None = None) -> HttpRequest:
    """Ask for the margin tiers of one linear contract (all of them would be one page per 15 symbols)."""
    path = f"{tables.RISK_LIMIT}?category=linear&symbol={quote(symbol, safe='')}"
    return HttpRequest(path=path + _cursor(cursor))


def _cursor(cursor: str | None) -> str:
    # Bybit hands cursors out percent-encoded and wants them back as they are.
    return f"&cursor={quote(cursor, safe='%,:=+/|')}" if cursor else ""
