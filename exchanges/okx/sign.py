"""Signatures of OKX v5: HMAC-SHA256 over a text, in base64. Never keeps a secret and never reads a clock.

Source: OKX v5 docs, "REST authentication" and "WebSocket login".
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from datetime import UTC, datetime

import msgspec

from exchanges.okx import tables
from exchanges.venue import Credentials, HttpRequest

LOGIN_TARGET = "GET/users/self/verify"


def signature(secret: str, text: str) -> str:
    """Return base64(HMAC-SHA256(secret, text))."""
    return base64.b64encode(hmac.new(secret.encode(), text.encode(), hashlib.sha256).digest()).decode()


def timestamp(now_ms: int) -> str:
    """Return the REST form of a time: ISO 8601 in UTC with milliseconds, ``2020-12-08T09:08:57.715Z``."""
    seconds, millis = divmod(now_ms, 1000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{millis:03d}Z"


def rest_headers(credentials: Credentials, request: HttpRequest, now_ms: int) -> tuple[tuple[str, str], ...]:
    """Return the authentication headers of a request; the path is signed with its query exactly as it is sent."""
    stamp = timestamp(now_ms)
    text = f"{stamp}{request.method}{request.path}{request.body or ''}"
    return (
        ("OK-ACCESS-KEY", credentials.key),
        ("OK-ACCESS-SIGN", signature(credentials.secret, text)),
        ("OK-ACCESS-TIMESTAMP", stamp),
        ("OK-ACCESS-PASSPHRASE", credentials.passphrase or ""),
        ("Content-Type", "application/json"),
    )


def sign_request(request: HttpRequest, now_ms: int, credentials: Credentials | None, demo: bool) -> HttpRequest:
    """Return the request with the headers it needs: authentication where ``signed``, the demo site's header on demo."""
    headers = list(request.headers)
    if request.signed and credentials is not None:
        headers += rest_headers(credentials, request, now_ms)
    if demo:
        headers.append(tables.DEMO_HEADER)
    return msgspec.structs.replace(request, headers=tuple(headers))


def login_args(credentials: Credentials, now_ms: int) -> dict[str, str]:
    """Return the argument of a login frame; its timestamp counts seconds and expires after 30."""
    stamp = str(now_ms // 1000)
    return {
        "apiKey": credentials.key,
        "passphrase": credentials.passphrase or "",
        "timestamp": stamp,
        "sign": signature(credentials.secret, stamp + LOGIN_TARGET),
    }
