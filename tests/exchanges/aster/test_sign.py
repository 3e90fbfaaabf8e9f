"""Signatures: the documentation's vectors, nonces that never repeat, and credentials that are refused with the reason."""

from __future__ import annotations

import builtins
from typing import Any

import msgspec
import pytest

from exchanges.aster import build, sign
from exchanges.aster.sign import Key, Wallet, hmac_hex, sign_message, signer_of
from exchanges.errors import AuthFailed
from exchanges.venue import AccountSpec, Credentials, HttpRequest
from tests.exchanges.aster.samples import LEGACY, PRIVATE_KEY, SPEC, USER, WALLET

MESSAGE = f"nonce=1748310859508867&user={USER}&signer={WALLET}"


VECTORS = {
    (1666, MESSAGE): (
        "0x79f8910c6a2d14796480f5bc09492b9cf00e247bc53b2cc9b47e3b59dfe698b9"
        "2e9e9a6853c210ae67ffa351b09d84a14a0585122f2fba2c90b2998e3e96e3b81b"
    ),
    (714, MESSAGE): (
        "0xd085b7104b474be9b87fc06bf155eff586165f3c6f48475546a615cc84087bba"
        "5e5ec4a34174ce7313067b75f516fd7a607514d6396ef96b01ae977f7c80d6b41b"
    ),
    (1666, f"symbol=BTCUSDT&{MESSAGE}"): (
        "0xe4ce1abcc9a2a79ab5bc0073fa288904c9aab8456297b446de4ffb3869e9bfbb"
        "02419eccf8c803831bedd8e95f3158e3f185df0b84d1d8e292845ca9ef709bf51c"
    ),
}


@pytest.mark.parametrize(("chain", "message"), VECTORS)
def test_typed_data_is_signed_as_documented(chain: int, message: str) -> None:
    assert sign_message(PRIVATE_KEY, message, chain) == VECTORS[chain, message]


def test_hmac_is_as_documented() -> None:
    payload = "symbol=BTCUSDT&side=BUY&type=LIMIT&quantity=1&price=9000&timeInForce=GTC&recvWindow=5000&timestamp=1591702613943"
    secret = "2b5eb11e18796d12d88f13dc27dbbd02c2cc51ff7059765ed9821957d82bb4d9"
    assert hmac_hex(secret, payload) == "3c661234138461fcc7a7d8746c6558c9842d4e10870d2ecbedf7777cad694af9"


def test_a_question_of_a_wallet_is_signed_over_its_query_exactly_as_it_is_sent() -> None:
    wallet = Wallet(USER, WALLET, PRIVATE_KEY, 1666)
    wallet._last_nonce = 1748310859508866
    signed = wallet.sign(build.question("v3", "positions", symbol="BTCUSDT"), 0)
    path, _, query = signed.path.partition("?")
    message, _, signature = query.partition("&signature=")
    assert path == "/fapi/v3/positionRisk"
    assert message == f"symbol=BTCUSDT&{MESSAGE}"
    assert signature == sign_message(PRIVATE_KEY, message, 1666)
    assert (signed.body, signed.headers) == (None, ())


@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_what_is_no_get_is_signed_in_its_body(method: Any) -> None:
    signed = signer_of(SPEC).sign(build.listen("v3", method), 1_748_310_859_508)
    assert signed.path == "/fapi/v3/listenKey"
    assert signed.body is not None
    assert signed.body.startswith(f"nonce=1748310859508000&user={USER}&signer={WALLET}&signature=0x")
    assert ("Content-Type", "application/x-www-form-urlencoded") in signed.headers


def test_nonces_are_microseconds_and_never_repeat_nor_go_back() -> None:
    wallet = Wallet(USER, WALLET, PRIVATE_KEY, 1666)
    paths = [wallet.sign(build.question("v3", "positions"), now).path for now in (1000, 1000, 999, 1001)]
    assert [path.partition("nonce=")[2].partition("&")[0] for path in paths] == [
        "1000000",
        "1000001",
        "1000002",
        "1001000",
    ]


def test_a_key_signs_its_query_last_and_names_itself_in_a_header() -> None:
    signed = signer_of(LEGACY).sign(build.question("v1", "trades", symbol="BTCUSDT"), 1591702613943)
    message = "symbol=BTCUSDT&recvWindow=5000&timestamp=1591702613943"
    assert signed.path == f"/fapi/v1/userTrades?{message}&signature={hmac_hex('s' * 64, message)}"
    assert signed.headers == (("X-MBX-APIKEY", "k" * 64),)


def test_a_listen_key_needs_the_key_alone() -> None:
    signed = signer_of(LEGACY).sign(build.listen("v1", "POST"), 1)
    assert (signed.path, signed.headers) == ("/fapi/v1/listenKey", (("X-MBX-APIKEY", "k" * 64),))


@pytest.mark.parametrize("spec", [SPEC, LEGACY])
def test_public_questions_are_left_as_they_are(spec: AccountSpec) -> None:
    request = HttpRequest(path="/fapi/v3/time")
    assert signer_of(spec).sign(request, 1) is request


def test_the_form_of_the_credential_says_which_signature_it_makes() -> None:
    assert isinstance(signer_of(SPEC), Wallet)
    assert isinstance(signer_of(LEGACY), Key)
    assert (signer_of(SPEC).wallet, signer_of(LEGACY).wallet) == (WALLET.lower(), None)


@pytest.mark.parametrize(
    ("key", "secret", "address", "said"),
    [
        (WALLET, PRIVATE_KEY, None, "address is missing"),
        (WALLET, PRIVATE_KEY, "0x12", "is not an address"),
        (WALLET, "abc", USER, "not a private key"),
        (WALLET, "0x" + "0" * 64, USER, "not a private key"),
        (USER, PRIVATE_KEY, USER, "not that of the API wallet"),
        (WALLET, PRIVATE_KEY, WALLET, "main wallet itself"),
        (WALLET, "", USER, "without a secret"),
        ("key with blanks", "hush7", None, "characters that none has"),
    ],
)
def test_credentials_that_cannot_work_are_refused_with_the_reason(
    key: str, secret: str, address: str | None, said: str
) -> None:
    spec = msgspec.structs.replace(SPEC, credentials=Credentials(key, secret), address=address)
    with pytest.raises(AuthFailed, match=said) as refused:
        signer_of(spec)
    assert not secret or secret not in str(refused.value), "a secret stands in no text"


def test_without_the_library_the_message_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    imported = builtins.__import__

    def without(name: str, *given: Any, **named: Any) -> Any:
        if name == "eth_account":
            raise ImportError(name)
        return imported(name, *given, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(AuthFailed, match=r"pip install perpwire\[aster\]"):
        sign.signer_of(SPEC)
    signer_of(LEGACY)  # which needs none
