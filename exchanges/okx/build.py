"""What is sent to OKX: topics and their frames, and REST questions. Never parses and keeps no state.

A topic is a string of ours: the channel, or ``mark-price:<instId>``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from urllib.parse import quote, urlencode

import msgspec

from exchanges.okx import sign, tables
from exchanges.venue import Credentials, HttpRequest

POSITIONS = "positions"
ACCOUNT = "account"
MARK_PRICE = "mark-price"

PING = "ping"


def mark_topic(symbol: str) -> str:
    """Return the topic that brings the mark price of one instrument."""
    return f"{MARK_PRICE}:{symbol}"


def topic_args(topic: str) -> dict[str, str]:
    """Return the subscription argument of a topic.

    ``positions`` and ``account`` come without ``extraParams``: then the venue repeats the whole state about every five
    seconds, and whatever an event lost is healed by itself.
    """
    channel, _, symbol = topic.partition(":")
    if channel == POSITIONS:
        return {"channel": channel, "instType": "ANY"}
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
    """Ask for the account's mode (5 a 2 s per user)."""
    return HttpRequest(path=tables.CONFIG_PATH, signed=True)


def positions_request(inst_type: str | None = None) -> HttpRequest:
    """Ask for all open positions, or those of one type (10 a 2 s per user). Zero positions are not in the answer."""
    query = f"?{urlencode({'instType': inst_type})}" if inst_type else ""
    return HttpRequest(path=tables.POSITIONS_PATH + query, signed=True)


def balance_request() -> HttpRequest:
    """Ask for all balances (10 a 2 s per user)."""
    return HttpRequest(path=tables.BALANCE_PATH, signed=True)


def time_request() -> HttpRequest:
    """Ask for the venue's clock (10 a 2 s per address)."""
    return HttpRequest(path=tables.TIME_PATH)


def instruments_request(inst_type: str) -> HttpRequest:
    """Ask for every instrument of a type (20 a 2 s per address and type)."""
    return HttpRequest(path=f"{tables.INSTRUMENTS_PATH}?{urlencode({'instType': inst_type})}")


def tiers_requests(inst_type: str, families: Iterable[str]) -> list[HttpRequest]:
    """Ask for the position tiers of instrument families, as many requests as the limit of families a request makes."""
    return [
        HttpRequest(
            path=f"{tables.TIERS_PATH}?instType={quote(inst_type)}&tdMode=cross"
            f"&instFamily={','.join(quote(family) for family in batch)}"
        )
        for batch in batches(families, tables.FAMILIES_PER_REQUEST)
    ]
