"""Bybit's keys: RSA beside HMAC, and the keys and clocks that are refused, by REST and on the stream."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from tests.exchanges.sim.bybit_venue import Venue, running
from tests.exchanges.sim.raw import dial

INFO = "/v5/account/info"


@pytest.fixture
async def venue() -> AsyncIterator[Venue]:
    async with running() as it:
        yield it


def credentials(venue: Venue, name: str = "bybit-main") -> dict[str, str]:
    return next(a for a in venue.sim.describe()["bybit"]["accounts"] if a["name"] == name)


def rsa_sign(pem: str, text: str) -> str:
    private = serialization.load_pem_private_key(pem.encode(), None)
    assert isinstance(private, rsa.RSAPrivateKey)
    return base64.b64encode(private.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256())).decode()


async def asked_by_rsa(venue: Venue, path: str, signed_with: str = "") -> dict[str, Any]:
    mine = credentials(venue)
    key = mine["rsa_key"]
    text = f"{venue.now}{key}5000{path.partition('?')[2]}"
    sign = rsa_sign(signed_with or mine["rsa_private_key"], text)
    return (await venue.ask(path, key=key, **{"X-BAPI-SIGN": sign}))[1]


async def test_an_rsa_key_is_as_good_as_a_secret(venue: Venue) -> None:
    body = await asked_by_rsa(venue, "/v5/position/list?category=linear&settleCoin=USDT")
    assert body["retCode"] == 0
    assert body["result"] == await venue.result("/v5/position/list?category=linear&settleCoin=USDT")
    mine = credentials(venue)
    assert (await asked_by_rsa(venue, "/v5/user/query-api"))["result"]["apiKey"] == mine["rsa_key"]
    expires = venue.now + 5_000
    async with dial(venue.socket("/v5/private")) as peer:
        signature = rsa_sign(mine["rsa_private_key"], f"GET/realtime{expires}")
        await peer.say({"op": "auth", "args": [mine["rsa_key"], expires, signature]})
        assert (await peer.next())["success"] is True


async def test_another_rsa_key_is_refused(venue: Venue) -> None:
    pem = (
        rsa.generate_private_key(65537, 2048)
        .private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        .decode()
    )
    assert (await asked_by_rsa(venue, INFO, pem))["retCode"] == 10004
    key = credentials(venue)["rsa_key"]
    assert (await venue.ask(INFO, key=key))[1]["retCode"] == 10004  # signed with the secret


async def test_only_the_first_account_has_one(venue: Venue) -> None:
    assert "rsa_key" in credentials(venue)
    assert "rsa_key" not in credentials(venue, "bybit-hedge")


async def refused_on_the_stream(venue: Venue, **wrong: Any) -> dict[str, Any]:
    async with dial(venue.socket("/v5/private")) as peer:
        await peer.say(venue.login("bybit-main", **wrong))
        answer: dict[str, Any] = await peer.next()
        return answer


async def test_an_expired_key(venue: Venue) -> None:
    venue.sim.fronts["bybit"].faults.expired_keys.add("bybit-main")
    assert (await venue.ask(INFO))[1]["retCode"] == 33004
    assert (await venue.ask(INFO, "bybit-hedge"))[1]["retCode"] == 0
    answer = await refused_on_the_stream(venue)
    assert answer["success"] is False
    assert "expired" in answer.get("retMsg", answer.get("ret_msg"))


async def test_a_key_of_another_address(venue: Venue) -> None:
    key = credentials(venue)["elsewhere_key"]
    assert (await venue.ask(INFO, key=key))[1]["retCode"] == 10010
    assert (await refused_on_the_stream(venue, key=key))["success"] is False


async def test_a_key_that_may_do_nothing_can_only_ask_about_itself(venue: Venue) -> None:
    venue.sim.fronts["bybit"].faults.key_powers["bybit-main"] = ()
    assert (await venue.ask(INFO))[1]["retCode"] == 10005
    assert (await venue.result("/v5/user/query-api"))["permissions"]["Derivatives"] == []


@pytest.mark.parametrize(
    ("powers", "read_only", "wallet"),
    [(("read",), 1, False), (("read", "trade"), 0, False), (("read", "withdraw"), 0, True)],
)
async def test_what_a_key_may_do(venue: Venue, powers: tuple[str, ...], read_only: int, wallet: bool) -> None:
    venue.sim.fronts["bybit"].faults.key_powers["bybit-main"] = powers
    found = await venue.result("/v5/user/query-api")
    assert found["readOnly"] == read_only
    assert ("Withdraw" in found["permissions"]["Wallet"]) == wallet


async def test_a_clock_that_is_off(venue: Venue) -> None:
    venue.sim.fronts["bybit"].faults.clock_skew_ms = 6_000
    status, body, _ = await venue.ask(INFO)
    assert (status, body["retCode"], body["time"]) == (200, 10002, venue.now + 6_000)
    assert (await venue.ask(INFO, late_ms=-6_000))[1]["retCode"] == 0
    time = (await venue.ask("/v5/market/time"))[1]["result"]
    assert time["timeSecond"] == str((venue.now + 6_000) // 1000)
    assert (await refused_on_the_stream(venue))["ret_msg"] == "Params Error"
