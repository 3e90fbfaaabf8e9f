"""Signatures against vectors that were computed with another implementation of the documented text."""

from __future__ import annotations

import base64

import msgspec
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from exchanges.bybit import sign
from exchanges.errors import AuthFailed
from exchanges.venue import AccountSpec, Credentials, HttpRequest
from tests.exchanges.bybit.samples import ACCOUNT

KEY = sign.signer_of(ACCOUNT)
SECRET = "XXXXXXXXXXSECRET"
PRIVATE = rsa.generate_private_key(public_exponent=65537, key_size=2048)


def _pem(private: PrivateKeyTypes, passphrase: str | None = None) -> str:
    lock = BestAvailableEncryption(passphrase.encode()) if passphrase else NoEncryption()
    return private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, lock).decode()


PEM = _pem(PRIVATE)
PUBLIC_PEM = PRIVATE.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def _account(secret: str) -> AccountSpec:
    return msgspec.structs.replace(ACCOUNT, credentials=Credentials(key="KEY", secret=secret))


def _verify(signature: str, text: str) -> None:
    PRIVATE.public_key().verify(base64.b64decode(signature), text.encode(), padding.PKCS1v15(), hashes.SHA256())


def _headers(request: HttpRequest, now_ms: int) -> dict[str, str]:
    return dict(sign.sign_request(KEY, request, now_ms).headers)


def test_a_get_signs_time_key_window_and_query() -> None:
    path = "/v5/order/realtime?category=option&symbol=BTC-29JUL22-25000-C"
    assert _headers(HttpRequest(path=path, signed=True), 1658384314791) == {
        "X-BAPI-API-KEY": "XXXXXXXXXX",
        "X-BAPI-TIMESTAMP": "1658384314791",
        "X-BAPI-RECV-WINDOW": "5000",
        "X-BAPI-SIGN": "6790ba6ed9575372f61d5357019f0b0024b7d1f17dd5dafaf0e76bee8b1dc41f",
    }


def test_a_post_signs_the_exact_body() -> None:
    request = HttpRequest(path="/v5/order/create", method="POST", body='{"category": "option"}', signed=True)
    headers = _headers(request, 1658385579423)
    assert headers["X-BAPI-SIGN"] == "12d28f99ed005ac27bcb504c7a26919d91dab3d9453107398d1d386e3b773b71"
    assert headers["Content-Type"] == "application/json"


def test_a_query_without_text_signs_as_empty() -> None:
    headers = _headers(HttpRequest(path="/v5/account/info", signed=True), 1)
    assert headers["X-BAPI-SIGN"] == sign.hmac_hex(SECRET, "1XXXXXXXXXX5000")


def test_market_data_is_left_alone() -> None:
    request = HttpRequest(path="/v5/market/time")
    assert sign.sign_request(KEY, request, 1) is request


def test_the_login_expires_ten_seconds_after_it_was_made() -> None:
    key, expires, signature = sign.login_args(KEY, 1662350390000)
    assert (key, expires) == ("XXXXXXXXXX", 1662350400000)
    assert signature == "5d1bec89fac9392e55cb99be3a4972660a78f4101758a6a68b89d4f46d76a4ae"


@pytest.mark.parametrize("pem", [PEM, f"  {PEM}", PEM.replace("\n", "\\n")])
def test_a_private_key_signs_requests_and_the_login_by_rsa(pem: str) -> None:
    signer = sign.signer_of(_account(pem))
    headers = dict(sign.sign_request(signer, HttpRequest(path="/v5/account/info?a=b", signed=True), 7).headers)
    assert headers["X-BAPI-API-KEY"] == "KEY"
    _verify(headers["X-BAPI-SIGN"], "7KEY5000a=b")
    _, expires, signature = sign.login_args(signer, 1000)
    _verify(signature, f"GET/realtime{expires}")


def test_a_signer_shows_no_secret() -> None:
    assert SECRET not in repr(KEY)
    assert repr(KEY) == "Signer(key=XXXX…)"


@pytest.mark.parametrize(
    ("credentials", "said"),
    [
        (None, "API key and secret are needed"),
        (Credentials(key="", secret="s"), "API key and secret are needed"),
        (Credentials(key="k", secret=""), "API key and secret are needed"),
        (Credentials(key="k", secret="-----BEGIN PRIVATE KEY-----\nMIIE"), "private key is damaged"),
        (Credentials(key="k", secret=PEM[:900]), "private key is damaged"),
        (Credentials(key="k", secret=_pem(PRIVATE, "open sesame")), "private key is encrypted"),
        (Credentials(key="k", secret=PUBLIC_PEM), "public key of a pair"),
        (Credentials(key="k", secret=_pem(ec.generate_private_key(ec.SECP256R1()))), "not an RSA key"),
        (Credentials(key="k\n", secret="s"), "characters that no Bybit key has"),
        (Credentials(key="k", secret="sécret"), "characters that no Bybit key has"),
    ],
)
def test_unusable_credentials_are_refused_and_never_shown(credentials: Credentials | None, said: str) -> None:
    account: AccountSpec = msgspec.structs.replace(ACCOUNT, credentials=credentials)
    with pytest.raises(AuthFailed, match=said) as caught:
        sign.signer_of(account)
    assert "account main" in str(caught.value)
    assert caught.value.do
    if credentials and len(credentials.secret) > 1:
        shown = str(caught.value)
        assert not any(part in shown for part in credentials.secret.split("\n") if len(part) > 5)
