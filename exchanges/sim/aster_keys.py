"""Who may ask the simulated Aster: V1's HMAC, V3's EIP-712 signatures and their nonces.

Owns which account logs in how, and the nonces each signer has used. Sources: Aster docs "Authentication signature payload",
"V3 Nonce Mechanism", V1 (legacy) "SIGNED Endpoint security"; the window of 60 s and the deposit rule as announced in 2026.

A world without ``eth-account`` has V1 keys alone.
"""

from __future__ import annotations

import bisect
import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any
from urllib.parse import parse_qs

from exchanges.sim.front import Faults
from exchanges.sim.world import World

CHAIN_ID = 1666
DEFAULT_RECV_WINDOW_MS, MAX_RECV_WINDOW_MS = 5_000, 60_000
AHEAD_MS = 1_000  # a V1 timestamp this far in the future is refused
NONCE_WINDOW_MS = 60_000
NONCES_KEPT = 100  # per signer
# An account of the time when V1 keys could still be made.
LEGACY = frozenset({"aster-hedge"})
AGENT_MS = 180 * 86_400_000  # how long an agent is good for

_KEY_FORM = re.compile(r"[0-9A-Za-z]{16,128}")
_SIGNATURE = re.compile(r"&?signature=([^&]*)")
_TYPES = {
    "EIP712Domain": [
        {"name": "name", "type": "string"},
        {"name": "version", "type": "string"},
        {"name": "chainId", "type": "uint256"},
        {"name": "verifyingContract", "type": "address"},
    ],
    "Message": [{"name": "msg", "type": "string"}],
}


class Refused(Exception):
    """A question that Aster answers with an error code."""

    def __init__(self, code: int, message: str, status: int = 400) -> None:
        super().__init__(code, message)
        self.code, self.message, self.status = code, message, status


_BAD_SIGNATURE = (-1022, "Signature for this request is not valid.")
_BAD_KEY = (-2015, "Invalid API-key, IP, or permissions for action.", 401)
_NONCE_EXPIRED = (-4225, "Nonce Expired")


@dataclass(frozen=True)
class Login:
    """How an account logs in.

    Attributes:
        address: Of the main wallet, lower-case.
        key, secret: V1: API key and HMAC secret. V3: address and private key of the agent.
        legacy: V1 (HMAC) instead of V3.
        expires_at: When the key or the agent ends, milliseconds since the Unix epoch.
    """

    account: str
    address: str
    key: str
    secret: str
    legacy: bool
    expires_at: int

    def __repr__(self) -> str:
        return f"Login({self.account!r}, legacy={self.legacy})"


def logins(world: World) -> list[Login]:
    """Return how each account logs in: the agent of its main wallet, or a V1 key."""
    found = []
    for account in world.accounts_of("aster"):
        if account.name in LEGACY or find_spec("eth_account") is None:
            key, secret, legacy = account.key, account.secret, True
        else:
            secret, legacy = "0x" + account.signer_key, False
            key = _address(secret)
        expires_at = account.expires_at or world.now_ms + AGENT_MS
        found.append(Login(account.name, account.address, key, secret, legacy, expires_at))
    return found


class Keys:
    """Checks requests of all accounts.

    Args:
        faults: Whose keys have expired, and which logins are to be refused although they are right.
    """

    def __init__(self, logins: Sequence[Login], faults: Faults) -> None:
        self._faults = faults
        self._by_key = {login.key: login for login in logins if login.legacy}
        self._by_address = {login.address: login for login in logins}
        self._by_signer = {login.key.lower(): login for login in logins if not login.legacy}
        self._nonces: dict[str, list[int]] = {}
        # Accounts whose main wallet never deposited: every V3 question is refused.
        self.undeposited: set[str] = set()

    def by_address(self, address: object) -> Login | None:
        """Return whose main wallet that is."""
        return self._by_address.get(str(address).lower())

    def by_api_key(self, headers: Mapping[str, str], now_ms: int) -> Login:
        """Return who a V1 question is from, by its key alone. Raises Refused."""
        key = headers.get("X-MBX-APIKEY")
        if key is None or not _KEY_FORM.fullmatch(key):
            raise Refused(-2014, "API-key format invalid.", 401)
        login = self._by_key.get(key)
        if login is None:
            raise Refused(*_BAD_KEY)
        self._spoil(login, now_ms)
        return login

    def by_hmac(self, headers: Mapping[str, str], query: str, body: str, now_ms: int) -> Login:
        """Return who signed a V1 question just now. Raises Refused."""
        login = self.by_api_key(headers, now_ms)
        given, (query, body) = _unsigned(query, body)
        params = _params(query + "&" + body)
        stamp, window = params.get("timestamp", ""), params.get("recvWindow", str(DEFAULT_RECV_WINDOW_MS))
        if not stamp.isdigit():
            raise Refused(-1102, "Mandatory parameter 'timestamp' was not sent, was empty/null, or malformed.")
        if not given:
            raise Refused(-1102, "Mandatory parameter 'signature' was not sent, was empty/null, or malformed.")
        if not window.isdigit() or int(window) > MAX_RECV_WINDOW_MS:
            raise Refused(-1131, "recvWindow must be less than 60000")
        if int(stamp) >= now_ms + AHEAD_MS:
            raise Refused(-1021, "Timestamp for this request was 1000ms ahead of the server's time.")
        if now_ms - int(stamp) > int(window):
            raise Refused(-1021, "Timestamp for this request is outside of the recvWindow.")
        right = hmac.new(login.secret.encode(), (query + body).encode(), hashlib.sha256).hexdigest()
        if not hmac.compare_digest(right, given.lower()):
            raise Refused(*_BAD_SIGNATURE)
        return login

    def by_wallet(self, query: str, body: str, now_ms: int) -> Login:
        """Return for whose main wallet an agent signed a V3 question just now. Raises Refused."""
        given, (query, body) = _unsigned(query, body)
        message = query or body
        params = _params(message)
        for name in ("nonce", "signer"):
            if not params.get(name):
                raise Refused(-1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed.")
        if not given:
            raise Refused(-1102, "Mandatory parameter 'signature' was not sent, was empty/null, or malformed.")
        signer = params["signer"].lower()
        login = self._by_signer.get(signer)
        if login is None or params.get("user", login.address).lower() != login.address:
            raise Refused(*_BAD_KEY)
        self._spoil(login, now_ms)
        if _signer_of(message, given).lower() != signer:
            raise Refused(*_BAD_SIGNATURE)
        self._use_nonce(signer, params["nonce"], now_ms)
        if login.account in self.undeposited:
            raise Refused(-5050, "This function can only be used after deposit")
        return login

    def _spoil(self, login: Login, now_ms: int) -> None:
        """Raise Refused where the key has ended, or a fault says so."""
        if now_ms >= login.expires_at or login.account in self._faults.expired_keys:
            raise Refused(*_BAD_KEY)
        code = self._faults.take_wrong_login()
        if code is not None:
            known = {_BAD_SIGNATURE[0]: _BAD_SIGNATURE, _NONCE_EXPIRED[0]: _NONCE_EXPIRED}
            raise Refused(*known.get(int(code or -2015), _BAD_KEY))

    def _use_nonce(self, signer: str, nonce: str, now_ms: int) -> None:
        """Take a nonce (microseconds) once, if it is near the venue's time and not older than the last hundred."""
        if not nonce.isdigit() or int(nonce) // 1000 < now_ms - NONCE_WINDOW_MS:
            raise Refused(*_NONCE_EXPIRED)
        if int(nonce) // 1000 > now_ms + NONCE_WINDOW_MS:
            raise Refused(-1021, "Timestamp for this request was 1000ms ahead of the server's time.")
        used = self._nonces.setdefault(signer, [])
        if int(nonce) in used or (len(used) == NONCES_KEPT and int(nonce) < used[0]):
            raise Refused(*_NONCE_EXPIRED)
        bisect.insort(used, int(nonce))
        del used[:-NONCES_KEPT]


def _params(text: str) -> dict[str, str]:
    return {name: values[-1] for name, values in parse_qs(text, keep_blank_values=True).items()}


def _unsigned(query: str, body: str) -> tuple[str, tuple[str, str]]:
    """Return the signature, and query and body without it: what was signed is exactly what was sent."""
    for match in (_SIGNATURE.search(query), _SIGNATURE.search(body)):
        if match:
            return match[1], (_SIGNATURE.sub("", query), _SIGNATURE.sub("", body))
    return "", (query, body)


def typed_message(message: str) -> dict[str, Any]:
    """Return the EIP-712 structure that a V3 signature signs."""
    return {
        "types": _TYPES,
        "primaryType": "Message",
        "domain": {
            "name": "AsterSignTransaction",
            "version": "1",
            "chainId": CHAIN_ID,
            "verifyingContract": "0x" + "0" * 40,
        },
        "message": {"msg": message},
    }


def _address(key: str) -> str:
    # Imported where it is needed: it takes most of a second, and a world without it has V1 keys alone.
    from eth_account import Account

    return str(Account.from_key(key).address)


def _signer_of(message: str, signature: str) -> str:
    """Return the address that made this signature, ``""`` where it is none."""
    from eth_account import Account
    from eth_account.messages import encode_typed_data
    from eth_keys.exceptions import BadSignature
    from eth_utils.exceptions import ValidationError

    try:
        raw = bytes.fromhex(signature.removeprefix("0x"))
        return str(Account.recover_message(encode_typed_data(full_message=typed_message(message)), signature=raw))
    except (ValueError, BadSignature, ValidationError):
        return ""
