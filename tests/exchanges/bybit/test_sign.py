"""Signatures against vectors that were computed with another implementation of the documented text."""

from __future__ import annotations

import msgspec
import pytest

from exchanges.bybit import sign
from exchanges.errors import AuthFailed
from exchanges.venue import AccountSpec, Credentials, HttpRequest
from tests.exchanges.bybit.samples import ACCOUNT

KEY = Credentials(key="XXXXXXXXXX", secret="XXXXXXXXXXSECRET")


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
    assert headers["X-BAPI-SIGN"] == sign.hmac_hex(KEY.secret, "1XXXXXXXXXX5000")


def test_market_data_is_left_alone() -> None:
    request = HttpRequest(path="/v5/market/time")
    assert sign.sign_request(KEY, request, 1) is request


def test_the_login_expires_ten_seconds_after_it_was_made() -> None:
    key, expires, signature = sign.login_args(KEY, 1662350390000)
    assert (key, expires) == ("XXXXXXXXXX", 1662350400000)
    assert signature == "5d1bec89fac9392e55cb99be3a4972660a78f4101758a6a68b89d4f46d76a4ae"


@pytest.mark.parametrize(
    ("credentials", "said"),
    [
        (None, "API key and secret are needed"),
        (Credentials(key="", secret="s"), "API key and secret are needed"),
        (Credentials(key="k", secret=""), "API key and secret are needed"),
        (Credentials(key="k", secret="-----BEGIN PRIVATE KEY-----\nMIIE"), "RSA keys are not supported yet"),
        (Credentials(key="k\n", secret="s"), "characters that no Bybit key has"),
        (Credentials(key="k", secret="sécret"), "characters that no Bybit key has"),
    ],
)
def test_unusable_credentials_are_refused_and_never_shown(credentials: Credentials | None, said: str) -> None:
    account: AccountSpec = msgspec.structs.replace(ACCOUNT, credentials=credentials)
    with pytest.raises(AuthFailed, match=said) as caught:
        sign.credentials_of(account)
    assert "account main" in str(caught.value)
    assert caught.value.do
    if credentials and len(credentials.secret) > 1:
        assert credentials.secret not in str(caught.value)
