"""Bybit signatures: HMAC-SHA256, lower-case hex. Pure: the time comes as an argument.

Source: Bybit v5 documentation, "Integration Guidance" (REST) and "Connect" (WebSocket). RSA keys, whose secret is a PEM
private key, come later and are refused by name until then.
"""

from __future__ import annotations

import hashlib
import hmac

import msgspec

from exchanges.bybit import tables
from exchanges.errors import AuthFailed
from exchanges.venue import AccountSpec, Credentials, HttpRequest


def hmac_hex(secret: str, text: str) -> str:
    """Return the lower-case hex HMAC-SHA256 of a text."""
    return hmac.new(secret.encode(), text.encode(), hashlib.sha256).hexdigest()


def sign_request(credentials: Credentials, request: HttpRequest, now_ms: int) -> HttpRequest:
    """Return the request with its authentication headers; unchanged where it is not ``signed``.

    Signed text: timestamp + key + window + (query exactly as sent | body exactly as sent).
    """
    if not request.signed:
        return request
    window = str(tables.RECV_WINDOW_MS)
    payload = request.path.partition("?")[2] if request.body is None else request.body
    headers = (
        ("X-BAPI-API-KEY", credentials.key),
        ("X-BAPI-TIMESTAMP", str(now_ms)),
        ("X-BAPI-RECV-WINDOW", window),
        ("X-BAPI-SIGN", hmac_hex(credentials.secret, f"{now_ms}{credentials.key}{window}{payload}")),
    )
    content = () if request.body is None else (("Content-Type", "application/json"),)
    return msgspec.structs.replace(request, headers=(*request.headers, *headers, *content))


def login_args(credentials: Credentials, now_ms: int) -> tuple[str, int, str]:
    """Return the arguments of a stream login: key, expiry (ms), signature over ``GET/realtime{expiry}``."""
    expires = now_ms + tables.LOGIN_VALID_MS
    return credentials.key, expires, hmac_hex(credentials.secret, f"GET/realtime{expires}")


def credentials_of(account: AccountSpec) -> Credentials:
    """Return the account's credentials.

    Raises:
        AuthFailed: There are none, they are incomplete, or the secret is the private key of an RSA pair.
    """
    where = f"account {account.name} (bybit)"
    found = account.credentials
    if found is None or not found.key or not found.secret:
        raise AuthFailed(where, "API key and secret are needed", do="Configure both (a read-only key is enough)")
    if found.secret.lstrip().startswith("-----BEGIN"):
        raise AuthFailed(
            where,
            "the secret is a PEM private key: RSA keys are not supported yet",
            do="Make a system-generated (HMAC) key at Bybit",
        )
    if not (found.key.isascii() and found.key.isprintable() and found.secret.isascii()) or " " in found.key:
        raise AuthFailed(where, "key or secret contains characters that no Bybit key has", do="Copy both again")
    return found
