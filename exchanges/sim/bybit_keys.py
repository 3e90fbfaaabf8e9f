"""Who may ask the simulated Bybit: keys with a shared secret or with an RSA key pair, signatures, what a key may do.

Owns the credentials of all accounts. Every account has its own key and one that is bound to another address; the first account
also has an RSA key whose public half is registered with the venue. Source: Bybit v5 docs, "Integration Guidance", "Error Codes".
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from exchanges.sim.front import Faults
from exchanges.sim.state import Account
from exchanges.sim.world import World

KeyKind = Literal["hmac", "rsa", "elsewhere"]
_EXPONENT = 65_537
# What the primes of the RSA key are stretched from, and how far behind it the first prime is: searched for once.
_PRIMES = (("perpwire-sim:rsa:p", 588), ("perpwire-sim:rsa:q", 1714))

MESSAGES = {
    10003: "API key is invalid. Check whether the key and domain are matched.",
    10004: "Error sign, please check your signature generation algorithm.",
    10005: "Permission denied, please check your API key permissions.",
    10010: "Unmatched IP, please check your API key's bound IP addresses.",
    33004: "Your api key has expired.",
}


@dataclass(frozen=True)
class Key:
    """One API key and whose it is."""

    account: Account
    kind: KeyKind


class Keyring:
    """The keys of all accounts, and what is wrong with them."""

    def __init__(self, world: World, faults: Faults) -> None:
        self._world = world
        self._faults = faults

    def find(self, text: str) -> Key | None:
        """Return what a key is, or None for one that the venue never gave out."""
        kinds: tuple[KeyKind, ...] = ("hmac", "rsa", "elsewhere")
        everyone = self._world.accounts_of("bybit")
        return next((Key(a, kind) for a in everyone for kind in kinds if key_of(self._world, a, kind) == text), None)

    def refusal(self, key: Key, text: str, signature: str, now_ms: int) -> int:
        """Return the code that refuses a signed text, or 0."""
        account = key.account
        over = account.expires_at is not None and now_ms >= account.expires_at
        if over or account.name in self._faults.expired_keys:
            return 33004
        if not self._signed(key, text, signature):
            return 10004
        return 10010 if key.kind == "elsewhere" else 0

    def _signed(self, key: Key, text: str, signature: str) -> bool:
        if key.kind == "rsa":
            return _verified(_pair().public_key(), text, signature)
        return hmac.compare_digest(sign(key.account, text).encode(), signature.encode())

    def may_read(self, account: Account) -> bool:
        """Say whether the key may ask at all; one without any power may only ask about itself."""
        return self._faults.key_powers.get(account.name) != ()

    def information(self, key: Key, text: str) -> dict[str, Any]:
        """Return the answer of Get API Key Information."""
        account = key.account
        powers = self._faults.key_powers.get(account.name, ("read", "trade") if account.can_trade else ("read",))
        trades = "trade" in powers
        return {
            "id": str(account.uid % 10**8),
            "note": account.name,
            "apiKey": text,
            "readOnly": 0 if trades or "withdraw" in powers else 1,
            "secret": "",
            "permissions": {
                "ContractTrade": ["Order", "Position"] if powers else [],
                "Spot": ["SpotTrade"] if trades else [],
                "Wallet": ["AccountTransfer", "SubMemberTransfer", "Withdraw"] if "withdraw" in powers else [],
                "Options": ["OptionsTrade"] if trades else [],
                "Derivatives": ["DerivativesTrade"] if powers else [],
                "Exchange": [],
                "Earn": [],
            },
            "ips": ["*"],
            "type": 1,
            "deadlineDay": 83,
            "expiredAt": "2099-01-01T00:00:00Z",
            "createdAt": "2024-01-01T00:00:00Z",
            "unified": 0,
            "uta": 1,
            "userID": account.uid % 10**9,
            "inviterID": 0,
            "vipLevel": "No VIP",
            "isMaster": True,
            "parentUid": "0",
        }

    def credentials(self) -> list[Mapping[str, Any]]:
        """Return what each account logs in with; of the first one the RSA key too."""
        found: list[Mapping[str, Any]] = []
        for account in self._world.accounts_of("bybit"):
            row = {"name": account.name, "key": account.key, "secret": account.secret}
            row["elsewhere_key"] = str(key_of(self._world, account, "elsewhere"))
            if _has_rsa(self._world, account):
                row["rsa_key"] = str(key_of(self._world, account, "rsa"))
                row["rsa_private_key"] = private_pem()
            found.append(row)
        return found


def sign(account: Account, text: str) -> str:
    """Return the lower-case hex HMAC-SHA256 with an account's secret."""
    return hmac.new(account.secret.encode(), text.encode(), hashlib.sha256).hexdigest()


def key_of(world: World, account: Account, kind: KeyKind) -> str | None:
    """Return an account's key of that kind; None where it has none."""
    if kind == "hmac":
        return account.key
    if kind == "rsa" and not _has_rsa(world, account):
        return None
    return hashlib.sha256(f"{account.key}:{kind}".encode()).hexdigest()[: len(account.key)]


def private_pem() -> str:
    """Return the private half of the RSA key, as PKCS#8 PEM."""
    return (
        _pair()
        .private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        .decode()
    )


def _has_rsa(world: World, account: Account) -> bool:
    return account is world.accounts_of("bybit")[0]


def _verified(public: rsa.RSAPublicKey, text: str, signature: str) -> bool:
    """Check a base64 RSASSA-PKCS1-v1_5 signature with SHA-256."""
    try:
        public.verify(base64.b64decode(signature, validate=True), text.encode(), padding.PKCS1v15(), hashes.SHA256())
    except (InvalidSignature, ValueError):
        return False
    return True


@cache
def _pair() -> rsa.RSAPrivateKey:
    """Return the 2048-bit key pair of every world: no library makes one from given randomness, and searching takes a second."""
    p, q = (_prime(name, distance) for name, distance in _PRIMES)
    private = pow(_EXPONENT, -1, (p - 1) * (q - 1))
    public = rsa.RSAPublicNumbers(_EXPONENT, p * q)
    numbers = rsa.RSAPrivateNumbers(
        p, q, private, rsa.rsa_crt_dmp1(private, p), rsa.rsa_crt_dmq1(private, q), rsa.rsa_crt_iqmp(p, q), public
    )
    return numbers.private_key()


def _prime(name: str, distance: int) -> int:
    """Return the prime that follows at that distance on what a name stretches to, with its two highest bits set."""
    begin = int.from_bytes(hashlib.shake_256(name.encode()).digest(128), "big") | 3 << 1022 | 1
    return begin + distance
