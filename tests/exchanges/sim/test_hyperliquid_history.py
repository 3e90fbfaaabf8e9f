"""What the simulated Hyperliquid tells of the past and of what happens: fills, slices, fundings, ledger, orders, roles."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import pytest

from exchanges.sim.hyperliquid_history import TWAP_ID
from exchanges.sim.hyperliquid_info import VAULT, sub_account_of
from exchanges.sim.server import start
from tests.exchanges.sim.raw import Peer, dial
from tests.exchanges.sim.test_hyperliquid import BEGIN, Venue, subscribe

MAIN, SINGLE = "hl-main", "hl-single"


@pytest.fixture
async def venue() -> AsyncIterator[Venue]:
    it = Venue()
    it.sim = await start(11, clock=it)
    it.sim.control.pause()
    yield it
    await it.sim.stop()


async def listen(peer: Peer, kind: str, user: str) -> Any:
    """Subscribe to a channel; return its snapshot, None where it has none."""
    await peer.say({"method": "subscribe", "subscription": {"type": kind, "user": user}})
    ack = await peer.next()
    assert ack["data"]["subscription"]["type"] == kind
    return None if kind in {"userEvents", "orderUpdates"} else await peer.next()


async def test_a_fill_on_every_channel_and_in_every_answer(venue: Venue) -> None:
    user = venue.address(SINGLE)
    async with dial(venue.socket()) as peer:
        for kind in ("orderUpdates", "userEvents", "userFills"):
            await listen(peer, kind, user)
        venue.sim.control.fault({"kind": "open_position", "account": SINGLE, "symbol": "HYPE", "size": "20"})
        orders, events, fills = [await peer.next() for _ in range(3)]
    assert [f["channel"] for f in (orders, events, fills)] == ["orderUpdates", "user", "userFills"]
    row = fills["data"]["fills"][0]
    assert events["data"] == {"fills": [row]}
    assert "user" not in events["data"]
    assert (orders["data"][0]["order"]["oid"], orders["data"][0]["status"]) == (row["oid"], "filled")
    assert (await venue.ask("userFills", user=user))[0] == row
    assert (await venue.ask("userFillsByTime", user=user, startTime=BEGIN - 1))[-1] == row
    told = await venue.ask("orderStatus", user=user, oid=row["oid"])
    assert (told["status"], told["order"]["status"], told["order"]["order"]["oid"]) == ("order", "filled", row["oid"])
    assert (await venue.ask("historicalOrders", user=user))[0]["order"]["oid"] == row["oid"]
    assert await venue.ask("orderStatus", user=user, oid=1) == {"status": "unknownOid"}


async def test_fills_form_a_chain_that_ends_at_the_position(venue: Venue) -> None:
    for size in ("20", "3.5"):
        venue.sim.control.fault({"kind": "open_position", "account": SINGLE, "symbol": "HYPE", "size": size})
    rows = await venue.ask("userFillsByTime", user=venue.address(SINGLE), startTime=BEGIN)
    signed = [Decimal(r["sz"]) * (1 if r["side"] == "B" else -1) for r in rows]
    assert Decimal(rows[0]["startPosition"]) + signed[0] == Decimal(rows[1]["startPosition"])
    held = (await venue.state(SINGLE))["assetPositions"][0]["position"]["szi"]
    assert Decimal(rows[1]["startPosition"]) + signed[1] == Decimal(held)


async def test_slices_of_a_twap_are_told_on_their_own_channel_alone(venue: Venue) -> None:
    user = venue.address(MAIN)
    async with dial(venue.socket()) as peer:
        for kind in ("userFills", "userTwapSliceFills"):
            await listen(peer, kind, user)
        venue.sim.control.fault({"kind": "open_position", "account": MAIN, "symbol": "SOL", "size": "1"})
        frame = await peer.next()
    row = frame["data"]["twapSliceFills"][0]
    assert (frame["channel"], row["twapId"], row["fill"]["coin"]) == ("userTwapSliceFills", TWAP_ID, "SOL")
    assert set(row["fill"]["hash"].removeprefix("0x")) == {"0"}
    assert row["fill"]["tid"] not in {r["tid"] for r in await venue.ask("userFills", user=user)}
    assert (await venue.ask("userTwapSliceFills", user=user))[0] == row
    assert (await venue.ask("userTwapSliceFillsByTime", user=user, startTime=BEGIN))[-1] == row


async def test_funding_has_opposite_signs_in_payments_and_in_the_state(venue: Venue) -> None:
    user = venue.address(SINGLE)
    async with dial(venue.socket()) as peer:
        assert (await listen(peer, "userFundings", user))["data"] == {"isSnapshot": True, "user": user, "fundings": []}
        venue.sim.control.fault({"kind": "pay_funding", "venue": "hyperliquid"})
        frame = await peer.next()
    (row,) = frame["data"]["fundings"]
    paid = Decimal(row["usdc"])
    assert paid != 0
    assert (paid > 0) == (Decimal(row["szi"]) * Decimal(row["fundingRate"]) < 0), "a long pays a positive rate"
    (answered,) = await venue.ask("userFunding", user=user, startTime=BEGIN)
    assert answered["delta"] == {"type": "funding", **{k: v for k, v in row.items() if k != "time"}}
    position = (await venue.state(SINGLE))["assetPositions"][0]["position"]
    assert Decimal(position["cumFunding"]["sinceOpen"]) == -paid


async def test_transfers_come_with_their_history(venue: Venue) -> None:
    user = venue.address(SINGLE)
    venue.sim.control.fault({"kind": "transfer", "account": SINGLE, "amount": "250.5"})
    async with dial(venue.socket()) as peer:
        first = await listen(peer, "userNonFundingLedgerUpdates", user)
        venue.sim.control.fault({"kind": "transfer", "account": SINGLE, "amount": "-50"})
        second = await peer.next()
    (deposit,), (withdrawal,) = (f["data"]["nonFundingLedgerUpdates"] for f in (first, second))
    assert (first["data"]["isSnapshot"], "isSnapshot" in second["data"]) == (True, False)
    assert deposit["delta"] == {"type": "deposit", "usdc": "250.5"}
    assert (withdrawal["delta"]["type"], withdrawal["delta"]["usdc"]) == ("withdraw", "50.0")
    assert await venue.ask("userNonFundingLedgerUpdates", user=user, startTime=BEGIN) == [deposit, withdrawal]


async def test_a_liquidation_names_its_user_everywhere(venue: Venue) -> None:
    user = venue.address(SINGLE)
    async with dial(venue.socket()) as peer:
        for kind in ("userEvents", "userFills", "userNonFundingLedgerUpdates"):
            await listen(peer, kind, user)
        venue.sim.control.fault({"kind": "shock", "underlying": "HYPE", "fraction": "0.9"})
        fill = (await peer.until(lambda f: f["channel"] == "userFills"))["data"]["fills"][0]
        event = await peer.until(lambda f: "liquidation" in f["data"])
        ledger = await peer.until(lambda f: f["channel"] == "userNonFundingLedgerUpdates")
    assert fill["liquidation"]["liquidatedUser"] == user
    assert event["data"]["liquidation"]["liquidated_user"] == user
    delta = ledger["data"]["nonFundingLedgerUpdates"][0]["delta"]
    assert (delta["type"], delta["liquidatedPositions"][0]["coin"]) == ("liquidation", "HYPE")


async def test_open_orders_of_a_dex(venue: Venue) -> None:
    user = venue.address(MAIN)
    venue.sim.control.fault(
        {"kind": "order", "account": MAIN, "symbol": "ETH", "side": "buy", "price": "2000", "size": "1"}
    )
    (short,) = await venue.ask("openOrders", user=user)
    (long,) = await venue.ask("frontendOpenOrders", user=user)
    assert {field: long[field] for field in short} == short
    assert (short["coin"], long["orderType"], long["isTrigger"]) == ("ETH", "Limit", False)
    assert await venue.ask("openOrders", user=user, dex="xyz") == []
    async with dial(venue.socket()) as peer:
        _, frame = await subscribe(peer, "openOrders", user=user)
    assert frame["data"] == {"dex": "", "user": user, "orders": [long]}


async def test_a_silent_change_is_shown_only_by_the_state(venue: Venue) -> None:
    user = venue.address(SINGLE)
    async with dial(venue.socket()) as peer:
        for kind in ("orderUpdates", "userEvents", "userFills", "clearinghouseState"):
            await listen(peer, kind, user)
        venue.sim.control.fault({"kind": "silent", "account": SINGLE, "symbol": "HYPE"})
        venue.now += 5_000
        frame = await peer.next()
    assert frame["channel"] == "clearinghouseState"
    assert frame["data"]["clearinghouseState"]["assetPositions"] == []


async def test_a_suppressed_account_hears_nothing_but_its_states(venue: Venue) -> None:
    user = venue.address(SINGLE)
    async with dial(venue.socket()) as peer:
        for kind in ("userFills", "clearinghouseState"):
            await listen(peer, kind, user)
        venue.sim.fronts["hyperliquid"].faults.suppressed.add(SINGLE)
        venue.sim.control.fault({"kind": "open_position", "account": SINGLE, "symbol": "HYPE", "size": "20"})
        venue.now += 5_000
        frame = await peer.next()
    assert frame["channel"] == "clearinghouseState"


async def test_what_an_address_is(venue: Venue) -> None:
    account = venue.sim.world.account(MAIN)
    sub = sub_account_of(account)
    assert await venue.ask("userRole", user=account.agent) == {"role": "agent", "data": {"user": account.address}}
    assert await venue.ask("userRole", user=sub) == {"role": "subAccount", "data": {"master": account.address}}
    assert await venue.ask("userRole", user=VAULT) == {"role": "vault"}
    (row,) = await venue.ask("subAccounts2", user=account.address)
    assert (row["subAccountUser"], [dex for dex, _ in row["dexToClearinghouseState"]]) == (sub, ["", "xyz"])
    assert await venue.ask("subAccounts2", user=sub) is None
    assert (await venue.ask("extraAgents", user=account.address))[0]["address"] == account.agent


async def test_the_minute_s_weight(venue: Venue) -> None:
    for _ in range(20):
        assert (await venue.post(json.dumps({"type": "userRole", "user": venue.address(MAIN)})))[0] == 200
    assert await venue.post('{"type":"exchangeStatus"}') == (429, "null")
    async with dial(venue.socket()) as peer:
        await peer.say({"method": "post", "id": 1, "request": {"type": "info", "payload": {"type": "meta"}}})
        assert (await peer.next())["data"]["response"] == {"type": "error", "payload": "429 Too Many Requests"}
    venue.now += 60_000
    assert (await venue.post('{"type":"exchangeStatus"}'))[0] == 200


async def test_a_clock_that_is_off(venue: Venue) -> None:
    venue.sim.fronts["hyperliquid"].faults.clock_skew_ms = 5_000
    assert (await venue.ask("exchangeStatus"))["time"] == BEGIN + 5_000
    assert (await venue.state(MAIN))["time"] == BEGIN + 5_000
