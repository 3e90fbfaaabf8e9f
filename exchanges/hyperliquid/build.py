"""What Perpwire says to Hyperliquid: topics, frames and info requests as plain text.

Owns the outgoing half of the dialect. Never parses market or account data. Nothing is signed: everything that is read
here is public by address, and no key that could sign is ever held.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from exchanges.errors import AuthFailed, KeyTooPowerful, Rejected
from exchanges.hyperliquid import tables
from exchanges.venue import AccountSpec, HttpRequest

_ADDRESS = re.compile(r"0[xX][0-9a-fA-F]{40}")


def topic(kind: str, **params: str) -> str:
    """Return the canonical text of a subscription: it is both the topic's name and what is sent."""
    return json.dumps({"type": kind, **params}, sort_keys=True, separators=(",", ":"))


def subscribe(text: str) -> str:
    """Return the frame that subscribes one topic (the venue takes one a frame)."""
    return f'{{"method":"subscribe","subscription":{text}}}'


def unsubscribe(text: str) -> str:
    """Return the frame that unsubscribes one topic."""
    return f'{{"method":"unsubscribe","subscription":{text}}}'


def ping() -> str:
    """Return the heartbeat frame; the venue answers ``{"channel":"pong"}``."""
    return '{"method":"ping"}'


def echoes(text: str, echo: Mapping[str, Any]) -> bool:
    """Say whether an echoed subscription is this topic.

    The venue normalises what it echoes: it adds defaults, drops keys it does not know and lower-cases addresses. So each of
    our values must be there, an empty one (``"dex":""``) may also be null or left out, and more may be there.
    """
    ours: dict[str, str] = json.loads(text)
    return all(str(echo.get(key) or "").lower() == value.lower() for key, value in ours.items())


def info(kind: str, **params: str | int) -> HttpRequest:
    """Return one info request, with its weight against the venue's limit."""
    body = json.dumps({"type": kind, **params}, separators=(",", ":"))
    weight = tables.WEIGHTS.get(kind, tables.DEFAULT_WEIGHT)
    return HttpRequest(path=tables.INFO_PATH, method="POST", body=body, weight=weight)


def next_page(asked: Mapping[str, Any], count: int, latest: int) -> HttpRequest | None:
    """Return the question for what follows a page of ``count`` records, the latest of that moment; None where nothing does.

    Start times are inclusive, so that the last moment of a page is read again: others of that moment may have been cut off.
    """
    start = max(latest, int(asked["startTime"]) + 1)
    if count < tables.PAGE or start > int(asked.get("endTime", start)):
        return None
    return full(info(str(asked["type"]), **{**_parameters(asked), "startTime": start}))


def full(request: HttpRequest) -> HttpRequest:
    """Return a question for records at the weight of a full page: 20, and one for 20 of them."""
    rows = tables.FULL.get(question(request)["type"], tables.PAGE)
    return msgspec.structs.replace(request, weight=tables.DEFAULT_WEIGHT + rows // 20)


def crowded(asked: Mapping[str, Any], count: int, latest: int) -> bool:
    """Say whether a page was cut off within one millisecond, behind which nothing else of that millisecond can be asked for."""
    return count >= tables.FULL.get(str(asked["type"]), tables.PAGE) and latest <= int(asked["startTime"])


def _parameters(asked: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in asked.items() if name != "type"}


def question(request: HttpRequest) -> dict[str, Any]:
    """Return what a request asks, from its body, or from its path where a recording kept the body there.

    Raises:
        Rejected: It is not an info request: a JSON object with a ``type``.
    """
    text = request.body if request.body is not None else request.path
    try:
        asked = json.loads(text)
    except (ValueError, RecursionError):
        asked = None
    if isinstance(asked, dict) and isinstance(asked.get("type"), str):
        return asked
    raise Rejected(
        f"{tables.NAME} info request",
        f"{text[:80]!r} is no JSON object with a type",
        do='Ask in the venue\'s form, such as {"type":"meta","dex":""}',
    )


def address(account: AccountSpec) -> str:
    """Return the account's address in lower case, the form in which the venue echoes it.

    Raises:
        AuthFailed: It is missing or not 0x and 40 hexadecimal digits.
        KeyTooPowerful: A key is configured: a Hyperliquid key can do nothing but trade, and none is needed to read.
    """
    where = f"{tables.NAME} account {account.name}"
    if account.credentials is not None and (account.credentials.key or account.credentials.secret):
        raise KeyTooPowerful(where, "has a key, and a Hyperliquid key can trade", do="Remove it: the address is enough")
    if not account.address:
        raise AuthFailed(where, "has no address", do="Set address: 0x… (40 hexadecimal digits) of the master account")
    if not _ADDRESS.fullmatch(account.address):
        # The value itself is never shown: it could be a private key, pasted into the wrong field.
        raise AuthFailed(
            where,
            f"its address is not 0x and 40 hexadecimal digits ({len(account.address)} characters were given)",
            do="Copy the public address of the master account, sub-account or vault; never a private key",
        )
    return account.address.lower()
