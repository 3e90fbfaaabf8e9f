"""Webhooks: signed as documented, to public addresses alone, and nothing of an address or a secret in what is said."""

from __future__ import annotations

import base64
import hashlib
import hmac
import socket
from typing import Any

import orjson
import pytest
from aiohttp.abc import AbstractResolver, ResolveResult
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from gateway.core.alerts.records import Notice
from gateway.notify.addresses import PrivateAddress, PublicResolver, is_public
from gateway.notify.failure import DeliveryFailed
from gateway.notify.webhook import Webhook, sign
from tests.gateway.notify.receiver import Receiver, receiver

SECRET = "a-secret-of-the-desk"
NOTICE = Notice("alert_1", "firing", "critical", "near", 1_000, {"id": "liquidation:a:b", "value": 0.04})


def webhook(url: str, *, allow_private: bool = True, resolver: AbstractResolver | None = None) -> Webhook:
    return Webhook(
        URL(url), SECRET.encode(), allow_private=allow_private, wall_ms=lambda: 1_700_000_000_500, resolver=resolver
    )


def verified(secret: bytes, headers: dict[str, str], body: bytes) -> bool:
    """Check a signature as a receiver does, by the documentation alone."""
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    version, _, signature = headers["webhook-signature"].partition(",")
    expected = base64.b64encode(hmac.new(secret, signed, hashlib.sha256).digest()).decode()
    return version == "v1" and hmac.compare_digest(signature, expected)


async def sent(hook: Webhook) -> str:
    try:
        return await hook.send(NOTICE)
    finally:
        await hook.close()


async def test_a_receiver_can_verify_what_it_got() -> None:
    async with receiver() as running:
        assert await sent(webhook(running.url)) == "HTTP 200"
        ((headers, body),) = running.got
    assert verified(SECRET.encode(), headers, body)
    assert not verified(b"another", headers, body)
    assert not verified(SECRET.encode(), headers, body + b" ")
    assert (headers["webhook-id"], headers["idempotency-key"], headers["webhook-timestamp"]) == (
        "alert_1",
        "alert_1",
        "1700000000",
    )
    assert orjson.loads(body) == {
        "type": "alert.firing", "at": 1_000, "severity": "critical", "message": "near",
        "alert": {"id": "liquidation:a:b", "value": 0.04},
    }  # fmt: skip


def test_the_signature_is_that_of_the_specification() -> None:
    # The example of https://github.com/standard-webhooks/standard-webhooks (spec/standard-webhooks.md, "Signature scheme").
    body = b'{"event_type":"ping"}'
    key = b"key of 24 random bytes.."
    signed = b"msg_1.1674087231." + body
    expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    assert sign(key, "msg_1", 1_674_087_231, body) == f"v1,{expected}"


@pytest.mark.parametrize(
    ("status", "again"), [(400, False), (401, False), (404, False), (408, True), (429, True), (500, True), (503, True)]
)
async def test_a_refusal_says_whether_trying_again_can_help(status: int, again: bool) -> None:
    async with receiver() as running:
        running.answers.append((status, {"retry-after": "7"}))
        with pytest.raises(DeliveryFailed) as caught:
            await sent(webhook(running.url))
    assert (caught.value.reason, caught.value.again, caught.value.after_s) == (f"HTTP {status}", again, 7.0)


@pytest.mark.parametrize(
    ("said", "after_s"),
    [("300", 300.0), ("301", 300.0), ("9" * 400, 300.0), ("soon", None), ("-1", None), ("1.5", None)],
)
async def test_a_receiver_is_not_waited_for_longer_than_five_minutes(said: str, after_s: float | None) -> None:
    async with receiver() as running:
        running.answers.append((503, {"retry-after": said}))
        with pytest.raises(DeliveryFailed) as caught:
            await sent(webhook(running.url))
    assert caught.value.after_s == after_s


async def test_a_redirect_is_not_followed() -> None:
    async with receiver() as running:
        running.answers.append((302, {"location": running.url}))
        with pytest.raises(DeliveryFailed, match="redirects are not followed"):
            await sent(webhook(running.url))
        assert len(running.got) == 1


async def test_nobody_there_is_tried_again_and_the_address_is_not_said() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/hook/token-of-the-desk"
        with pytest.raises(DeliveryFailed) as caught:
            await sent(webhook(url))
    assert caught.value.again
    assert "127.0.0.1" not in caught.value.reason
    assert "token" not in caught.value.reason


# --- Addresses -----------------------------------------------------------------------------------------------------------

PRIVATE = (
    "127.0.0.1", "127.9.9.9", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1",
    "224.0.0.1", "255.255.255.255", "192.0.2.1", "::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "ff02::1",
    "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "not an address",
    "fec0::1", "fecf::1", "64:ff9b:1::7f00:1", "64:ff9b:1:ffff::808:808", "::127.0.0.1", "::7f00:1", "::8.8.8.8",
    "::ffff:0:127.0.0.1", "5f00::1", "4000::1",
)  # fmt: skip


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses_are_known(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "address", ["1.1.1.1", "8.8.8.8", "2606:4700:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]
)
def test_public_addresses_are_known(address: str) -> None:
    assert is_public(address)


@given(st.ip_addresses(v=4))
def test_an_address_is_as_public_inside_another_as_alone(address: object) -> None:
    assert is_public(f"::ffff:{address}") == is_public(str(address))


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "localhost", "2130706433", "0", "127.1", "[::ffff:127.0.0.1]"])
async def test_no_request_leaves_for_this_machine_unless_allowed(host: str) -> None:
    async with receiver() as running:
        url = running.url.replace("127.0.0.1", host)
        with pytest.raises(DeliveryFailed) as caught:
            await sent(webhook(url, allow_private=False))
        assert not running.got
    assert not caught.value.again
    assert "allow_private" in caught.value.reason or "not a valid one" in caught.value.reason


class Names(AbstractResolver):
    """Answers with the next addresses at each question; where there are none, as one does who finds a private one."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked = 0

    async def resolve(self, host: str, port: int = 0, family: Any = socket.AF_INET) -> list[ResolveResult]:
        self.asked += 1
        addresses = self.answers.pop(0)
        if not addresses:
            raise PrivateAddress
        return [
            ResolveResult(hostname=host, host=address, port=port, family=socket.AF_INET, proto=0, flags=0)
            for address in addresses
        ]

    async def close(self) -> None:
        pass


async def test_one_private_address_among_public_ones_is_enough_to_refuse() -> None:
    with pytest.raises(PrivateAddress):
        await PublicResolver(Names(["1.1.1.1", "10.0.0.1"])).resolve("hooks.example")
    assert await PublicResolver(Names(["1.1.1.1"])).resolve("hooks.example")


async def test_a_name_that_changes_its_answer_is_checked_each_time() -> None:
    async with receiver() as running:
        names = Names(["127.0.0.1"], ["1.1.1.1", "127.0.0.1"])
        hook = webhook(
            running.url.replace("127.0.0.1", "hooks.example"), allow_private=False, resolver=PublicResolver(names)
        )
        for _ in range(2):
            with pytest.raises(DeliveryFailed, match="private network"):
                await hook.send(NOTICE)
        await hook.close()
        assert (names.asked, running.got) == (2, [])


async def test_neither_an_earlier_answer_nor_an_earlier_connection_is_used_again() -> None:
    async with receiver() as running:
        names = Names(["127.0.0.1"], ["127.0.0.1"], [])
        hook = webhook(running.url.replace("127.0.0.1", "hooks.example"), allow_private=False, resolver=names)
        for asked in (1, 2):
            assert await hook.send(NOTICE) == "HTTP 200"
            assert names.asked == asked
        with pytest.raises(DeliveryFailed, match="private network"):
            await hook.send(NOTICE)
        await hook.close()
        assert len(running.got) == 2


async def test_a_receiver_of_the_tests_is_reached_by_name() -> None:
    running: Receiver
    async with receiver() as running:
        assert await sent(webhook(running.url.replace("127.0.0.1", "localhost"))) == "HTTP 200"
