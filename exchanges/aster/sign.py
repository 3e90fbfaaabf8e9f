"""Aster's signatures: typed data (EIP-712) with an API wallet, or HMAC-SHA256 with an API key. Pure: the time is an argument.

Source: api-docs, futures API V3, "Authentication signature payload", and V1, "SIGNED Endpoint Security". Which one applies is
told by the form of the credential. Nonces are microseconds and must never repeat for one wallet: the links of an account share
one ``Signer``.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from types import ModuleType
from typing import Protocol

import msgspec

from exchanges.aster import tables
from exchanges.errors import AuthFailed
from exchanges.venue import AccountSpec, HttpRequest

_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}\Z")
_PRIVATE = re.compile(r"(0x)?[0-9a-fA-F]{64}\Z")
_FORM = ("Content-Type", "application/x-www-form-urlencoded")


class Signer(Protocol):
    """Signs the questions of one account; ``style`` says which paths they use."""

    style: tables.Style
    wallet: str | None  # the API wallet's address, lower case

    def sign(self, request: HttpRequest, now_ms: int) -> HttpRequest:
        """Return the request signed; unchanged where it is not ``signed``."""


def hmac_hex(secret: str, text: str) -> str:
    """Return the lower-case hex HMAC-SHA256 of a text."""
    return hmac.new(secret.encode(), text.encode(), hashlib.sha256).hexdigest()


def typed_data(message: str, chain_id: int) -> dict[str, object]:
    """Return the typed data whose hash an API wallet signs; ``message`` is the parameters exactly as they are sent."""
    fields = (("name", "string"), ("version", "string"), ("chainId", "uint256"), ("verifyingContract", "address"))
    return {
        "types": {
            "EIP712Domain": [{"name": name, "type": kind} for name, kind in fields],
            "Message": [{"name": "msg", "type": "string"}],
        },
        "primaryType": "Message",
        "domain": {
            "name": "AsterSignTransaction",
            "version": "1",
            "chainId": chain_id,
            "verifyingContract": "0x" + "0" * 40,
        },
        "message": {"msg": message},
    }


def sign_message(private_key: str, message: str, chain_id: int) -> str:
    """Return the 65-byte signature of a message, ``0x`` and hex."""
    account = _library("a signature is needed").Account
    signed = account.sign_typed_data(private_key, full_message=typed_data(message, chain_id))
    return "0x" + str(signed.signature.hex()).removeprefix("0x")


class Wallet:
    """An API wallet: signs for ``user``, the main wallet's address, on the network of ``chain_id``."""

    style: tables.Style = "v3"

    def __init__(self, user: str, wallet: str, private_key: str, chain_id: int) -> None:
        self.wallet: str | None = wallet.lower()
        self._user, self._signer, self._private_key, self._chain_id = user, wallet, private_key, chain_id
        self._last_nonce = 0

    def sign(self, request: HttpRequest, now_ms: int) -> HttpRequest:
        """Return the request with nonce, user, signer and signature: in the query, or in the body where it is not a GET."""
        if not request.signed:
            return request
        self._last_nonce = max(self._last_nonce + 1, now_ms * 1000)
        own = f"nonce={self._last_nonce}&user={self._user}&signer={self._signer}"
        path, _, query = request.path.partition("?")
        given = query if request.method == "GET" else request.body
        message = f"{given}&{own}" if given else own
        payload = f"{message}&signature={sign_message(self._private_key, message, self._chain_id)}"
        if request.method == "GET":
            return msgspec.structs.replace(request, path=f"{path}?{payload}")
        return msgspec.structs.replace(request, body=payload, headers=(*request.headers, _FORM))


class Key:
    """An API key of the older kind (no new ones are made since 2026-03-25)."""

    style: tables.Style = "v1"
    wallet: str | None = None

    def __init__(self, key: str, secret: str) -> None:
        self._key, self._secret = key, secret

    def sign(self, request: HttpRequest, now_ms: int) -> HttpRequest:
        """Return the request with the key, and, but for listen keys, with time and signature at the end of its query."""
        if not request.signed:
            return request
        headers = (*request.headers, ("X-MBX-APIKEY", self._key))
        path, _, query = request.path.partition("?")
        if path == tables.QUESTIONS["listen"].v1:
            return msgspec.structs.replace(request, headers=headers)
        own = f"recvWindow={tables.RECV_WINDOW_MS}&timestamp={now_ms}"
        message = f"{query}&{own}" if query else own
        signed = f"{path}?{message}&signature={hmac_hex(self._secret, message + (request.body or ''))}"
        return msgspec.structs.replace(request, path=signed, headers=headers)


def address_of(account: AccountSpec) -> str:
    """Return the main wallet's address. Raises AuthFailed where it is missing or malformed."""
    where = f"account {account.name} (aster)"
    if not account.address:
        raise AuthFailed(where, "the main wallet's address is missing", do="Set `address` to it")
    if _ADDRESS.match(account.address) is None:
        raise AuthFailed(where, "`address` is not an address", do="Set the main wallet's: 0x and 40 hexadecimal digits")
    return account.address


def signer_of(account: AccountSpec) -> Signer:
    """Return what signs for an account.

    Raises:
        AuthFailed: A part is missing or malformed, the private key is of another wallet, or it is the main wallet's own.
    """
    where = f"account {account.name} (aster)"
    found = account.credentials
    if found is None or not found.key or not found.secret:
        raise AuthFailed(where, "a key without a secret, or a secret without a key", do=tables.READ_ONLY)
    if _ADDRESS.match(found.key) is None:
        if not (found.key.isalnum() and found.key.isascii() and found.secret.isalnum() and found.secret.isascii()):
            raise AuthFailed(where, "the key or the secret contains characters that none has", do="Copy both again")
        return Key(found.key, found.secret)
    user = address_of(account)
    if _PRIVATE.match(found.secret) is None:
        raise AuthFailed(where, "the secret is not a private key", do="Set the API wallet's: 64 hexadecimal digits")
    try:
        owner = str(_library(where).Account.from_key(found.secret).address).lower()
    except ValueError:
        raise AuthFailed(
            where, "the secret is not a private key", do="Copy the API wallet's private key again"
        ) from None
    if owner == user.lower():
        what = "the secret is the private key of the main wallet itself, which can move everything"
        raise AuthFailed(where, what, do=tables.READ_ONLY)
    if owner != found.key.lower():
        what = f"the private key is not that of the API wallet {found.key}, but of another one"
        raise AuthFailed(
            where, what, do="Set `key` to the API wallet's address and `secret` to the private key shown with it"
        )
    return Wallet(user, found.key, found.secret, tables.CHAIN_IDS[account.env])


def _library(where: str) -> ModuleType:
    """Import eth-account only where it is needed: whoever has no Aster account need not have it."""
    try:
        import eth_account
    except ImportError:
        do = "Run: pip install perpwire[aster]"
        raise AuthFailed(where, "Aster's signatures need the eth-account package", do=do) from None
    return eth_account
