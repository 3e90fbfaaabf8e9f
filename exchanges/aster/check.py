"""Whether an Aster REST answer is a success, and if not, who has to act. Pure.

Errors are ``{"code": -1121, "msg": …}``, mostly with a status of 4xx, but the body decides also under 200; what stands before the
API answers in HTML.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Never

import msgspec

from exchanges.aster import tables
from exchanges.aster.wire import Fault
from exchanges.errors import AuthFailed, NotFound, Rejected, Retryable
from exchanges.venue import HttpRequest

_SUCCESS = (0, 200)
_UNTIL = re.compile(r"banned until ([0-9]{13})")


def check(request: HttpRequest, status: int, headers: Mapping[str, str], body: bytes) -> None:
    """Return when the answer is a success.

    An ended listen key is no failure: the link gets a new one.

    Raises:
        Retryable: Limits and failures of the venue, with the waiting time that it states.
        AuthFailed: Key, wallet, clock, address or permission: the operator has to act.
        NotFound: The order does not exist.
        Rejected: The question is wrong.
    """
    path = request.path.partition("?")[0]
    where = f"{tables.NAME} {path}"
    fault = _fault(body)
    if tables.NAMES.get(path) == "listen" and request.method == "PUT" and fault.number == tables.NO_LISTEN_KEY:
        return
    if status in (403, 418, 429):
        _barred(where, status, headers, fault)
    if fault.number not in _SUCCESS:
        _refused(where, fault, headers)
    if status >= 500 or status == 408:
        raise Retryable(where, "the server failed", code=f"HTTP {status}", after_s=_after_s(headers))
    if status == 401:
        raise AuthFailed(where, "not authorised", code="HTTP 401", do=tables.WALLET_DO)
    if status >= 300:
        raise Rejected(where, "the question was refused without a reason", code=f"HTTP {status}")
    if body.lstrip()[:1] not in (b"{", b"["):
        raise Retryable(where, "the answer is not JSON (an error page of the network?)")


def _fault(body: bytes) -> Fault:
    """Return what a body says of an error; code 0 where it says nothing of the kind."""
    if body.lstrip()[:1] != b"{":
        return Fault()
    try:
        return msgspec.json.decode(body, type=Fault)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return Fault()


def _barred(where: str, status: int, headers: Mapping[str, str], fault: Fault) -> Never:
    code = f"HTTP {status}"
    if status == 403:
        what = "refused by the venue's firewall (too many requests, or a place that is not served)"
        raise Retryable(where, what, code=code, do="Ask less, or from another address", after_s=tables.BAN_S)
    banned = status == 418
    what = (
        "this IP address is banned for a time" if banned else "too many requests (2,400 weight a minute and IP address)"
    )
    usual = tables.BAN_S if banned else tables.LIMITED_S
    raise Retryable(where, what, code=code, do=_until(fault.msg), after_s=_after_s(headers) or usual)


def _refused(where: str, fault: Fault, headers: Mapping[str, str]) -> Never:
    number, text = fault.number, fault.msg[:200]
    refusal = tables.CODES.get(number, tables.Refusal("rejected", "refused"))
    if number in (-1000, -1022) or number not in tables.CODES:
        refusal = next((found for words, found in tables.TEXTS if words in text.lower()), refusal)
    what, code = f"{refusal.what}: {text}" if text else refusal.what, str(number)
    if number == tables.OUT_OF_TIME and "ahead" not in text:
        # A slow network makes a request late too: only a time ahead of the server's proves that the clock is wrong.
        raise Retryable(where, what, code=code, do=refusal.do)
    if refusal.fault == "auth":
        raise AuthFailed(where, what, code=code, do=refusal.do)
    if refusal.fault == "missing":
        raise NotFound(where, what, code=code, do=refusal.do)
    if refusal.fault == "rejected":
        raise Rejected(where, what, code=code, do=refusal.do)
    after_s = _after_s(headers)
    if number == tables.TOO_MANY:
        usual = tables.BAN_S if "banned" in text else tables.LIMITED_S
        raise Retryable(where, what, code=code, do=_until(text), after_s=after_s or usual)
    raise Retryable(where, what, code=code, do=refusal.do, after_s=after_s)


def _until(text: str) -> str | None:
    found = _UNTIL.search(text)
    return f"The venue says: until {found[1]} (ms since 1970)" if found else None


def _after_s(headers: Mapping[str, str]) -> float | None:
    """Return Retry-After in seconds, bounded by the longest ban."""
    value = next((value for name, value in headers.items() if name.lower() == "retry-after"), "").strip()
    return min(float(value), tables.LONGEST_S) if value.isascii() and value.isdigit() and len(value) < 8 else None
