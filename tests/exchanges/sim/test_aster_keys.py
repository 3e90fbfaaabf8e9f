"""Who may ask the simulated Aster: both kinds of signature, nonces, clocks, keys that end; published vectors."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import AsyncIterator
from typing import Any

import pytest
from eth_account import Account
from eth_account.messages import encode_typed_data

from exchanges.sim.aster_keys import typed_message
from exchanges.sim.server import start
from tests.exchanges.sim.aster_client import HEDGE, MAIN, MULTI, Venue, sign

AGENT = "0x4fd0a42218f3eae43a6ce26d22544e986139a01e5b34a62db53757ffca81bae1"
USER, SIGNER = "0x63DD5aCC6b1aa0f563956C0e534DD30B6dcF7C4e", "0x21cF8Ae13Bb72632562c6Fff438652Ba1a151bb0"
PUBLISHED = f"nonce=1748310859508867&user={USER}&signer={SIGNER}"


@pytest.fixture
async def venue() -> AsyncIterator[Venue]:
    it = Venue()
    it.sim = await start(5, clock=it)
    it.sim.control.pause()
    yield it
    await it.sim.stop()


async def code_of(venue: Venue, query: str, headers: dict[str, str] | None = None, path: str = "v3/balance") -> Any:
    """Ask and return HTTP status and error code (None: answered)."""
    status, answer, _ = await venue.send("GET", f"/fapi/{path}?{query}", headers=headers or {})
    return status, answer["code"] if isinstance(answer, dict) and "code" in answer else None


def test_published_signature() -> None:
    wanted = "0x79f8910c6a2d14796480f5bc09492b9cf00e247bc53b2cc9b47e3b59dfe698b9"  # r
    wanted += "2e9e9a6853c210ae67ffa351b09d84a14a0585122f2fba2c90b2998e3e96e3b81b"  # s, v
    assert sign(PUBLISHED, AGENT) == wanted
    recovered = Account.recover_message(encode_typed_data(full_message=typed_message(PUBLISHED)), signature=wanted)
    assert recovered == SIGNER


async def test_who_logs_in_how(venue: Venue) -> None:
    assert {name: venue.login(name)["version"] for name in (MAIN, HEDGE, MULTI)} == {
        MAIN: "v3",
        HEDGE: "v1",
        MULTI: "v3",
    }
    assert Account.from_key(venue.login(MAIN)["secret"]).address == venue.login(MAIN)["key"]
    assert venue.login(MAIN)["address"] == venue.sim.world.account(MAIN).address


async def test_an_agent_signs_for_its_wallet(venue: Venue) -> None:
    assert await code_of(venue, venue.v3(MAIN)) == (200, None)
    login = venue.login(MAIN)
    without_user = f"nonce={venue.now * 1000 + 77}&signer={login['key']}"
    assert await code_of(venue, f"{without_user}&signature={sign(without_user, login['secret'])}") == (200, None)
    bare = f"nonce={venue.now * 1000 + 78}&signer={login['key']}"
    assert await code_of(venue, f"{bare}&signature={sign(bare, login['secret']).removeprefix('0x')}") == (200, None)


async def test_wrong_signatures(venue: Venue) -> None:
    stranger = "0x" + "7" * 64
    assert await code_of(venue, venue.v3(MAIN, key=stranger)) == (400, -1022)
    assert await code_of(venue, venue.v3(MAIN, user=venue.login(MULTI)["address"])) == (401, -2015)
    assert await code_of(venue, venue.v3(MAIN, signer="0x" + "1" * 40)) == (401, -2015)
    assert await code_of(venue, venue.v3(MAIN)[:-4] + "zzzz") == (400, -1022)
    message = f"nonce={venue.now * 1000 + 5}&signer={venue.login(MAIN)['key']}"
    testnet = sign(message, venue.login(MAIN)["secret"], chain=714)
    assert await code_of(venue, f"{message}&signature={testnet}") == (400, -1022)
    assert await code_of(venue, "nonce=1") == (400, -1102)


async def test_nonces_are_microseconds_used_once(venue: Venue) -> None:
    query = venue.v3(MAIN)
    assert await code_of(venue, query) == (200, None)
    assert await code_of(venue, query) == (400, -4225)
    assert await code_of(venue, venue.v3(MAIN, nonce=str(venue.now))) == (400, -4225), "milliseconds"
    assert await code_of(venue, venue.v3(MAIN, nonce=str((venue.now - 60_001) * 1000))) == (400, -4225)
    assert await code_of(venue, venue.v3(MAIN, nonce=str((venue.now - 60_000) * 1000))) == (200, None)
    assert await code_of(venue, venue.v3(MAIN, nonce=str((venue.now + 61_000) * 1000))) == (400, -1021)


async def test_only_the_last_hundred_nonces_are_remembered(venue: Venue) -> None:
    base = venue.now * 1000
    for number in range(100):
        assert (await code_of(venue, venue.v3(MAIN, nonce=str(base + 10 + number)), path="v3/leverageBracket"))[
            1
        ] is None
    assert await code_of(venue, venue.v3(MAIN, nonce=str(base + 1))) == (400, -4225)
    assert await code_of(venue, venue.v3(MULTI, nonce=str(base + 1))) == (200, None), "of another signer"


async def test_hmac_covers_query_and_body(venue: Venue) -> None:
    login = venue.login(HEDGE)
    headers = {"X-MBX-APIKEY": login["key"]}
    assert await code_of(venue, venue.v1(HEDGE), headers, "v2/balance") == (200, None)
    assert await code_of(venue, venue.v1(HEDGE) + "0", headers, "v2/balance") == (400, -1022)
    assert await code_of(venue, venue.v1(HEDGE), {"X-MBX-APIKEY": "0" * 32}, "v2/balance") == (401, -2015)
    assert await code_of(venue, venue.v1(HEDGE), {"X-MBX-APIKEY": "no key"}, "v2/balance") == (401, -2014)
    assert await code_of(venue, venue.v1(HEDGE), {}, "v2/balance") == (401, -2014)
    assert await code_of(venue, "recvWindow=1", headers, "v2/balance") == (400, -1102)


def test_published_hmac() -> None:
    secret = "2b5eb11e18796d12d88f13dc27dbbd02c2cc51ff7059765ed9821957d82bb4d9"
    payload = "symbol=BTCUSDT&side=BUY&type=LIMIT&quantity=1&price=9000&timeInForce=GTC&recvWindow=5000&timestamp=1591702613943"
    wanted = "3c661234138461fcc7a7d8746c6558c9842d4e10870d2ecbedf7777cad694af9"
    assert hmac.new(secret.encode(), payload.encode(), hashlib.sha256).hexdigest() == wanted


@pytest.mark.parametrize(("off", "code"), [(0, None), (999, None), (1_000, -1021), (-5_000, None), (-5_001, -1021)])
async def test_timestamps_of_v1(venue: Venue, off: int, code: int | None) -> None:
    headers = {"X-MBX-APIKEY": venue.login(HEDGE)["key"]}
    told = await code_of(venue, venue.v1(HEDGE, timestamp=str(venue.now + off)), headers, "v2/balance")
    assert told[1] == code


async def test_a_venue_whose_clock_is_off(venue: Venue) -> None:
    venue.sim.fronts["aster"].faults.clock_skew_ms = 70_000
    assert await code_of(venue, venue.v3(MAIN)) == (400, -4225)
    assert (await venue.public("/fapi/v3/time"))["serverTime"] == venue.now + 70_000


async def test_keys_that_ended(venue: Venue) -> None:
    venue.act("expired_key", account=MAIN)
    assert await code_of(venue, venue.v3(MAIN)) == (401, -2015)
    assert await code_of(venue, venue.v3(MULTI)) == (200, None)
    (agent,) = await venue.ask(MULTI, "agent")
    venue.now = agent["expired"]
    assert await code_of(venue, venue.v3(MULTI)) == (401, -2015)


async def test_a_right_login_refused(venue: Venue) -> None:
    venue.act("wrong_login", venue="aster", count=1, code="-1022")
    assert await code_of(venue, venue.v3(MAIN)) == (400, -1022)
    assert await code_of(venue, venue.v3(MAIN)) == (200, None)


async def test_a_wallet_that_never_deposited(venue: Venue) -> None:
    front: Any = venue.sim.fronts["aster"]
    front.keys.undeposited.add(MAIN)
    assert await code_of(venue, venue.v3(MAIN)) == (400, -5050)


@pytest.mark.parametrize("powers", [(), ("trade",), ("trade", "withdraw")])
async def test_what_a_key_may_do(venue: Venue, powers: tuple[str, ...]) -> None:
    if powers:
        venue.sim.fronts["aster"].faults.key_powers[MAIN] = ("read", *powers)
    (agent,) = await venue.ask(MAIN, "agent")
    account = await venue.ask(MAIN, "accountWithJoinMargin")
    assert (agent["canPerpTrade"], agent["canWithdraw"]) == ("trade" in powers, "withdraw" in powers)
    assert (account["canTrade"], account["canWithdraw"]) == ("trade" in powers, "withdraw" in powers)
