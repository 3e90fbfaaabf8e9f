"""Who may ask the simulated OKX: signatures, and the keys that the venue refuses with a code of their own.

Owns the judgement of REST headers and of a WebSocket login, in the order in which the venue checks. Source: OKX v5 docs, "REST
authentication", "Login" and "Error code". Every account has three keys with one secret and passphrase: its own, one of the
demo environment, and one that is bound to another address.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from exchanges.sim.front import Faults
from exchanges.sim.world import Account, World

REQUEST_WINDOW_MS = 30_000
LOGIN_WINDOW_MS = 30_000
LOGIN_ERRORS = {
    "60004": "Invalid timestamp",
    "60005": "Invalid apiKey",
    "60006": "Timestamp request expired",
    "60007": "Invalid sign",
    "60009": "Login failed.",
    "60024": "Wrong passphrase",
    "60032": "API key doesn't exist.",
    "50101": "APIKey does not match current environment.",
    "50110": "Invalid IP.",  # assumed on the WebSocket: the docs list it for REST
    "63999": "Login failed due to internal error. Please try again later.",
}
_HEADERS = {
    "OK-ACCESS-KEY": "50103",
    "OK-ACCESS-PASSPHRASE": "50104",
    "OK-ACCESS-SIGN": "50106",
    "OK-ACCESS-TIMESTAMP": "50107",
}
KeyKind = Literal["live", "demo", "elsewhere"]


@dataclass
class Refused(Exception):
    """A REST request that is answered with one of OKX's codes."""

    code: str
    message: str
    status: int = 200


def sign(secret: str, text: str) -> str:
    """Return OKX's signature: base64 of HMAC-SHA256."""
    return base64.b64encode(hmac.new(secret.encode(), text.encode(), hashlib.sha256).digest()).decode()


def key_of(account: Account, kind: KeyKind) -> str:
    """Return an account's key of that kind."""
    if kind == "live":
        return account.key
    return hashlib.sha256(f"{account.key}:{kind}".encode()).hexdigest()[: len(account.key)]


def powers(account: Account, faults: Faults) -> str:
    """Return ``perm`` of Get account configuration: what the key may do."""
    told = faults.key_powers.get(account.name, ("trade",) if account.can_trade else ())
    return ",".join(["read_only", *(power for power in told if power not in {"read", "read_only"})])


class Doorman:
    """Judges who asks.

    Args:
        world: Whose accounts may ask.
        faults: Which keys have expired.
    """

    def __init__(self, world: World, faults: Faults) -> None:
        self._world = world
        self._faults = faults

    def admit(self, headers: Mapping[str, str], method: str, path: str, body: str, now_ms: int) -> Account:
        """Return the account that signed a REST request. Raises Refused with the code for what is wrong."""
        given = {name: headers.get(name, "") for name in _HEADERS}
        for name, code in _HEADERS.items():
            if not given[name]:
                raise Refused(code, f'Request header "{name}" cannot be empty', 401)
        key, phrase, signature, stamp = given.values()
        at = _milliseconds(stamp)
        if at is None:
            raise Refused("50112", "Invalid OK-ACCESS-TIMESTAMP", 401)
        if abs(now_ms - at) > REQUEST_WINDOW_MS:
            raise Refused("50102", "Timestamp request expired", 401)
        found = self._find(key)
        if found is None:
            raise Refused("50111", "Invalid OK-ACCESS-KEY", 401)
        account, kind = found
        if (headers.get("x-simulated-trading") == "1") != (kind == "demo"):
            raise Refused("50101", "APIKey does not match current environment.", 401)
        if self._expired(account, now_ms):
            raise Refused("50119", "API key doesn't exist")
        if phrase != account.passphrase:
            raise Refused("50105", "Request header OK-ACCESS-PASSPHRASE incorrect", 401)
        if not _same(sign(account.secret, f"{stamp}{method}{path}{body}"), signature):
            raise Refused("50113", "Invalid Sign", 401)
        if kind == "elsewhere":
            raise Refused("50110", "Your IP 127.0.0.1 is not included in your API key's IP whitelist.", 401)
        return account

    def log_in(self, arg: Mapping[str, Any], demo: bool, now_ms: int) -> Account | str:
        """Return the account of a WebSocket login, or the code that refuses it; ``demo``: this is the demo's address."""
        try:
            at_s = int(arg["timestamp"])
        except (KeyError, ValueError, TypeError):
            return "60004"
        found = self._find(str(arg.get("apiKey")))
        if found is None:
            return "60005"
        account, kind = found
        if demo != (kind == "demo"):
            return "50101"
        if self._expired(account, now_ms):
            return "60032"
        if abs(now_ms - at_s * 1000) > LOGIN_WINDOW_MS:
            return "60006"
        if arg.get("passphrase") != account.passphrase:
            return "60024"
        if not _same(sign(account.secret, f"{arg['timestamp']}GET/users/self/verify"), str(arg.get("sign"))):
            return "60007"
        return "50110" if kind == "elsewhere" else account

    def _find(self, key: str) -> tuple[Account, KeyKind] | None:
        kinds: tuple[KeyKind, ...] = ("live", "demo", "elsewhere")
        everyone = self._world.accounts_of("okx")
        return next(((a, kind) for a in everyone for kind in kinds if key_of(a, kind) == key), None)

    def _expired(self, account: Account, now_ms: int) -> bool:
        """Say whether the key is gone: OKX deletes keys that were not used for 14 days."""
        over = account.expires_at is not None and now_ms >= account.expires_at
        return over or account.name in self._faults.expired_keys


def _same(left: str, right: str) -> bool:
    return hmac.compare_digest(left.encode(), right.encode())


def _milliseconds(stamp: str) -> int | None:
    """Return the time of an ISO-8601 stamp in UTC with milliseconds, or None."""
    try:
        return round(datetime.fromisoformat(stamp).timestamp() * 1000) if stamp.endswith("Z") else None
    except ValueError:
        return None
