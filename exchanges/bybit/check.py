"""Whether a Bybit REST answer is a success, and if not, who has to act. Pure.

Business errors come with HTTP 200 and a ``retCode``; HTTP errors come from the edge in front of the API.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Never

from exchanges.bybit import tables
from exchanges.bybit.wire import Answer, decode
from exchanges.errors import AuthFailed, NotFound, ProtocolViolation, Rejected, Retryable
from exchanges.venue import HttpRequest

_CLOCK = re.compile(r"req_timestamp\[(\d{1,15})\].*?server_timestamp\[(\d{1,15})\](?:.*?recv_window\[(\d{1,15})\])?")
_SIGNED_TEXT = re.compile(r"origin_string\[[^\]]*(\]|\Z)")
_RESET_HEADER = "x-bapi-limit-reset-timestamp"
_LONGEST_WAIT_S = 60.0


def check(request: HttpRequest, status: int, headers: Mapping[str, str], body: bytes) -> None:
    """Return when the answer is a success.

    Raises:
        Retryable: Limits and failures of the venue, with the waiting time it states.
        AuthFailed: Key, secret, clock, address or account: the operator has to act.
        NotFound: What was asked for does not exist.
        Rejected: The question is wrong.
    """
    where = f"bybit {request.path.partition('?')[0]}"
    lowered = {name.lower(): value for name, value in headers.items()}
    if status != 200:
        _http_error(where, status, lowered, body)
    try:
        answer = decode(body, Answer, "the answer")
    except ProtocolViolation:
        raise Retryable(where, "the answer is not Bybit's JSON (an error page of the network?)") from None
    if answer.ret_code == 0:
        return
    if answer.ret_code is None:
        raise Retryable(where, "the answer has no retCode")
    _business_error(where, answer, lowered)


def _http_error(where: str, status: int, headers: Mapping[str, str], body: bytes) -> Never:
    text = body[:300].decode(errors="replace").strip()
    code = f"HTTP {status}"
    if status == 403 and "too frequent" in text.lower():
        what = "too many requests from this IP address (600 in 5 s are allowed)"
        raise Retryable(where, what, code=code, do="All requests stop for 10 minutes", after_s=tables.IP_BAN_S)
    if status == 403:
        do = "Bybit refuses this address (US, mainland China, or a ban): connect from elsewhere or set `region`"
        raise AuthFailed(where, f"forbidden: {text or 'no reason given'}", code=code, do=do)
    if status == 401:
        raise AuthFailed(where, "the authentication is malformed or wrong", code=code, do=tables.KEY_DO)
    if status == 429:
        raise Retryable(
            where, "system protection: too many requests", code=code, after_s=_seconds(headers, "retry-after")
        )
    if status >= 500 or status == 408:
        raise Retryable(where, "the server failed", code=code, after_s=_seconds(headers, "retry-after"))
    hint = "Check that the account is a unified one and that its site offers this product" if status == 404 else None
    raise Rejected(where, f"the question was refused: {text or 'no reason given'}", code=code, do=hint)


def _business_error(where: str, answer: Answer, headers: Mapping[str, str]) -> Never:
    code = answer.ret_code or 0
    refusal = tables.RETCODES.get(code, tables.Refusal("rejected", "refused"))
    said = public_part(answer.ret_msg)
    what = f"{refusal.what}: {said}" if said else refusal.what
    if code == 10002:
        what, late = clock_text(answer.ret_msg) or (what, False)
        if late:
            # A slow network makes a request late too: only time ahead of the server's proves that the clock is wrong.
            raise Retryable(where, what, code=str(code), do=refusal.do)
    if refusal.fault == "auth":
        raise AuthFailed(where, what, code=str(code), do=refusal.do)
    if refusal.fault == "absent":
        raise NotFound(where, what, code=str(code), do=refusal.do)
    if refusal.fault == "retry":
        after_s = _until_reset(answer, headers) if code == 10006 else refusal.after_s
        raise Retryable(where, what, code=str(code), do=refusal.do, after_s=after_s or refusal.after_s)
    raise Rejected(where, what, code=str(code), do=refusal.do)


def public_part(message: str) -> str:
    """Return Bybit's message without the text that was signed, which it repeats and which holds the key."""
    return _SIGNED_TEXT.sub("", message).strip()


def clock_text(message: str) -> tuple[str, bool] | None:
    """Return what error 10002 says of both clocks, and whether ours was the late one; None without times in its text."""
    found = _CLOCK.search(message)
    if found is None:
        return None
    sent, server = int(found[1]), int(found[2])
    window = found[3] or str(tables.RECV_WINDOW_MS)
    ahead = sent - server
    direction = f"{ahead} ms ahead of" if ahead > 0 else f"{-ahead} ms behind"
    text = (
        f"the request's time {sent} is {direction} the server's {server} "
        f"(allowed: up to {window} ms behind, less than 1000 ms ahead)"
    )
    return text, ahead < 0


def _until_reset(answer: Answer, headers: Mapping[str, str]) -> float | None:
    """Return the seconds until the limit resets, both times being the server's own."""
    reset = headers.get(_RESET_HEADER, "")
    if not (reset.isascii() and reset.isdigit()) or answer.time is None:
        return None
    return min(max((int(reset) - answer.time) / 1000, 0.0), _LONGEST_WAIT_S)


def _seconds(headers: Mapping[str, str], name: str) -> float | None:
    value = headers.get(name, "")
    return min(float(value), tables.IP_BAN_S) if value.isascii() and value.isdigit() else None
