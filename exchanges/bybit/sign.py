"""Bybit signatures: HMAC-SHA256 in lower-case hex, or RSA-SHA256 (PKCS#1 v1.5) in base64. Pure: the time comes as an argument.

The secret decides: keys that Bybit generated have a secret word, self-generated ones a PEM private key whose public half Bybit
holds. Source: Bybit v5 documentation, "Integration Guidance" (REST) and "Connect" (WebSocket); that the login of the stream
is signed the same way with an RSA key: pybit, Bybit's own SDK.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable

import msgspec
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from exchanges.bybit import tables
from exchanges.errors import AuthFailed
from exchanges.venue import AccountSpec, Credentials, HttpRequest

_PEM = "-----BEGIN"


class Signer:
    """Signs with one key. Its repr shows no secret.

    Args:
        key: The API key, which is sent.
        sign: Returns the signature of a text.
    """

    def __init__(self, key: str, sign: Callable[[str], str]) -> None:
        self.key, self.sign = key, sign

    def __repr__(self) -> str:
        return f"Signer(key={self.key[:4]}…)"


def signer_of(account: AccountSpec) -> Signer:
    """Return the account's signer.

    Raises:
        AuthFailed: There is no key, it is incomplete, or its secret is neither a word nor an RSA private key.
    """
    where = f"account {account.name} (bybit)"
    found = account.credentials
    if found is None or not found.key or not found.secret:
        raise AuthFailed(where, "API key and secret are needed", do="Configure both (a read-only key is enough)")
    if not (found.key.isascii() and found.key.isprintable() and found.secret.isascii()) or " " in found.key:
        raise AuthFailed(where, "key or secret contains characters that no Bybit key has", do="Copy both again")
    if found.secret.lstrip().startswith(_PEM):
        private = _private_key(where, found)
        return Signer(found.key, lambda text: rsa_base64(private, text))
    secret = found.secret
    return Signer(found.key, lambda text: hmac_hex(secret, text))


def _private_key(where: str, credentials: Credentials) -> rsa.RSAPrivateKey:
    # Where a file's line ends do not survive (environment variables), they are often written as \n.
    pem = credentials.secret.strip().replace("\\n", "\n").encode()
    if b"PUBLIC KEY-----" in pem:
        do = "Configure the private key; the public one belongs to Bybit's page for the key"
        raise AuthFailed(where, "the secret is the public key of a pair", do=do)
    try:
        private = serialization.load_pem_private_key(pem, password=None)
    except TypeError:
        do = "Store it without a passphrase (openssl pkey -in … -out …) and let the secret store protect it"
        raise AuthFailed(where, "the PEM private key is encrypted", do=do) from None
    except ValueError:
        do = "Copy the whole file, from -----BEGIN to END-----, with its line ends"
        raise AuthFailed(where, "the PEM private key is damaged", do=do) from None
    if not isinstance(private, rsa.RSAPrivateKey):
        do = "Make an RSA pair for Bybit (other kinds are not accepted), or a system-generated key"
        raise AuthFailed(where, "the PEM private key is not an RSA key", do=do)
    return private


def hmac_hex(secret: str, text: str) -> str:
    """Return the lower-case hex HMAC-SHA256 of a text."""
    return hmac.new(secret.encode(), text.encode(), hashlib.sha256).hexdigest()


def rsa_base64(private: rsa.RSAPrivateKey, text: str) -> str:
    """Return the base64 RSASSA-PKCS1-v1_5 signature of a text with SHA-256."""
    return base64.b64encode(private.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256())).decode()


def sign_request(signer: Signer, request: HttpRequest, now_ms: int) -> HttpRequest:
    """Return the request with its authentication headers; unchanged where it is not ``signed``.

    Signed text: timestamp + key + window + (query exactly as sent | body exactly as sent).
    """
    if not request.signed:
        return request
    window = str(tables.RECV_WINDOW_MS)
    payload = request.path.partition("?")[2] if request.body is None else request.body
    headers = (
        ("X-BAPI-API-KEY", signer.key),
        ("X-BAPI-TIMESTAMP", str(now_ms)),
        ("X-BAPI-RECV-WINDOW", window),
        ("X-BAPI-SIGN", signer.sign(f"{now_ms}{signer.key}{window}{payload}")),
    )
    content = () if request.body is None else (("Content-Type", "application/json"),)
    return msgspec.structs.replace(request, headers=(*request.headers, *headers, *content))


def login_args(signer: Signer, now_ms: int) -> tuple[str, int, str]:
    """Return the arguments of a stream login: key, expiry (ms), signature over ``GET/realtime{expiry}``."""
    expires = now_ms + tables.LOGIN_VALID_MS
    return signer.key, expires, signer.sign(f"GET/realtime{expires}")
