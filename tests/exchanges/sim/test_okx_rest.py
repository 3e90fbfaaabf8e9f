"""OKX's REST as a client meets it: keys that are refused, limits, orders, fills and bills by page."""

from __future__ import annotations

from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import pytest

from exchanges.sim.okx_rest import LIMITS
from exchanges.sim.server import Simulator, start
from tests.exchanges.sim.raw import Clock, ask, okx_headers, okx_login
from tests.exchanges.sim.raw import dial as connect

CONFIG = "/api/v5/account/config"


class Venue:
    """A running simulator, paused, with a clock that the test moves."""

    def __init__(self, sim: Simulator, clock: Clock) -> None:
        self.sim, self.clock = sim, clock
        self.url = sim.urls["okx"]

    def account(self, name: str = "okx-main") -> dict[str, str]:
        return next(a for a in self.sim.describe()["okx"]["accounts"] if a["name"] == name)

    async def private(
        self, path: str, name: str = "okx-main", late_ms: int = 0, header: str = "", **wrong: str
    ) -> tuple[int, str, list[Any]]:
        """Ask a signed question; return status, code and rows."""
        account = {**self.account(name), **wrong}
        headers = okx_headers(account, path, self.clock() - late_ms)
        if header:
            headers["x-simulated-trading"] = header
        status, answer = await ask(self.url + path, headers=headers)
        return status, answer["code"], answer["data"]

    async def rows(self, path: str, name: str = "okx-main") -> list[Any]:
        status, code, data = await self.private(path, name)
        assert (status, code) == (200, "0")
        return data

    async def public(self, path: str) -> tuple[str, list[Any]]:
        _, answer = await ask(self.url + path)
        return answer["code"], answer["data"]


@pytest.fixture
async def venue() -> AsyncIterator[Venue]:
    clock = Clock()
    sim = await start(11, clock=clock)
    sim.control.pause()
    yield Venue(sim, clock)
    await sim.stop()


# --- Keys --------------------------------------------------------------------------------------------------------------


async def test_keys_that_are_refused(venue: Venue) -> None:
    mine = venue.account()
    asked = {
        "right": await venue.private(CONFIG),
        "demo key": await venue.private(CONFIG, key=mine["demo_key"]),
        "live key in the demo": await venue.private(CONFIG, header="1"),
        "demo key in the demo": await venue.private(CONFIG, key=mine["demo_key"], header="1"),
        "live key named live": await venue.private(CONFIG, header="0"),
        "another address": await venue.private(CONFIG, key=mine["elsewhere_key"]),
        "passphrase": await venue.private(CONFIG, passphrase="open sesame"),
        "secret": await venue.private(CONFIG, secret="not this one"),
    }
    assert {name: answer[:2] for name, answer in asked.items()} == {
        "right": (200, "0"),
        "demo key": (401, "50101"),
        "live key in the demo": (401, "50101"),
        "demo key in the demo": (200, "0"),
        "live key named live": (200, "0"),
        "another address": (401, "50110"),
        "passphrase": (401, "50105"),
        "secret": (401, "50113"),
    }


@pytest.mark.parametrize(("kind", "code"), [("demo_key", "50101"), ("elsewhere_key", "50110"), ("key", "0")])
async def test_the_same_keys_on_a_connection(venue: Venue, kind: str, code: str) -> None:
    mine = venue.account()
    async with connect(venue.url.replace("http", "ws") + "/ws/v5/private") as peer:
        await peer.say(okx_login({**mine, "key": mine[kind]}, venue.clock()))
        assert (await peer.next())["code"] == code


async def test_an_expired_key(venue: Venue) -> None:
    venue.sim.fronts["okx"].faults.expired_keys.add("okx-main")
    assert (await venue.private(CONFIG))[:2] == (200, "50119")
    assert (await venue.private(CONFIG, "okx-hedge"))[:2] == (200, "0")
    async with connect(venue.url.replace("http", "ws") + "/ws/v5/private") as peer:
        await peer.say(okx_login(venue.account(), venue.clock()))
        assert (await peer.next())["code"] == "60032"


async def test_a_key_that_ends_at_a_time(venue: Venue) -> None:
    venue.sim.world.account("okx-main").expires_at = venue.clock() + 60_000
    assert (await venue.private(CONFIG))[1] == "0"
    venue.clock.skew_ms += 60_000
    assert (await venue.private(CONFIG))[1] == "50119"


@pytest.mark.parametrize(
    ("powers", "told"),
    [
        (None, "read_only"),
        (("read", "trade"), "read_only,trade"),
        (("trade", "withdraw"), "read_only,trade,withdraw"),
        (("read",), "read_only"),
    ],
)
async def test_what_a_key_may_do(venue: Venue, powers: tuple[str, ...] | None, told: str) -> None:
    if powers is not None:
        venue.sim.fronts["okx"].faults.key_powers["okx-main"] = powers
    (config,) = await venue.rows(CONFIG)
    assert config["perm"] == told


async def test_a_clock_that_is_off(venue: Venue) -> None:
    venue.sim.fronts["okx"].faults.clock_skew_ms = 40_000
    _, ((time),) = await venue.public("/api/v5/public/time")
    assert 39_000 < int(time["ts"]) - venue.clock() < 41_000
    assert (await venue.private(CONFIG))[:2] == (401, "50102")
    assert (await venue.private(CONFIG, late_ms=-40_000))[:2] == (200, "0")


# --- Limits ------------------------------------------------------------------------------------------------------------


async def test_a_users_limit_is_its_own_and_ends(venue: Venue) -> None:
    count, window_ms = LIMITS[CONFIG]
    answers = [(await venue.private(CONFIG))[:2] for _ in range(count + 1)]
    assert answers == [(200, "0")] * count + [(429, "50011")]
    assert (await venue.private(CONFIG, "okx-hedge"))[1] == "0"
    venue.clock.skew_ms += window_ms
    assert (await venue.private(CONFIG))[1] == "0"


async def test_an_addresss_limit_answers_with_200(venue: Venue) -> None:
    path = "/api/v5/public/discount-rate-interest-free-quota"
    codes = [(await venue.public(path))[0] for _ in range(3)]
    assert codes == ["0", "0", "50011"]


# --- Orders, fills, bills ----------------------------------------------------------------------------------------------


async def test_an_order_by_id_and_what_is_not_there(venue: Venue) -> None:
    world = venue.sim.world
    world.hands.place_order("okx-main", "SOL-USDT-SWAP", True, Decimal(90), Decimal(4))
    world.hands.place_order("okx-main", "SOL-USDT-SWAP", True, Decimal(91), Decimal(4))
    rows = await venue.rows("/api/v5/trade/orders-pending?instType=SWAP")
    assert [row["px"] for row in rows] == ["91", "90"]
    older = await venue.rows(f"/api/v5/trade/orders-pending?after={rows[0]['ordId']}")
    assert [row["px"] for row in older] == ["90"]
    where = f"/api/v5/trade/order?instId=SOL-USDT-SWAP&ordId={rows[0]['ordId']}"
    assert await venue.rows(where) == [rows[0]]
    world.hands.cancel_orders("okx-main")
    (ended,) = await venue.rows(where)
    assert ended["state"] == "canceled"
    assert await venue.rows("/api/v5/trade/orders-pending") == []
    missing = await venue.private("/api/v5/trade/order?instId=SOL-USDT-SWAP&ordId=77")
    assert missing == (200, "51603", [])
    assert (await venue.private(where, "okx-hedge"))[1] == "51603"
    assert (await venue.private("/api/v5/trade/order?instId=NOPE&ordId=77"))[1] == "51001"
    assert (await venue.private("/api/v5/trade/order?instId=SOL-USDT-SWAP"))[1] == "50014"


async def test_fills_by_page_and_window(venue: Venue) -> None:
    for _ in range(5):
        venue.sim.world.hands.open_position("okx-main", "SOL-USDT-SWAP", "long", Decimal(1))
    whole = await venue.rows("/api/v5/trade/fills-history?instType=SWAP")
    assert len(whole) == 5
    first = await venue.rows("/api/v5/trade/fills?limit=2")
    rest = await venue.rows(f"/api/v5/trade/fills?limit=100&after={first[-1]['billId']}")
    assert [*first, *rest] == whole
    assert await venue.rows("/api/v5/trade/fills?instType=FUTURES") == []
    assert await venue.rows(f"/api/v5/trade/fills?begin={venue.clock() + 1000}") == []
    assert (await venue.private("/api/v5/trade/fills-history"))[1] == "50014"
    assert (await venue.private("/api/v5/trade/fills?after=x"))[1] == "51000"


async def test_bills_of_one_kind(venue: Venue) -> None:
    venue.sim.world.hands.pay_funding("okx", "BTC-USDT-SWAP")
    venue.sim.world.hands.transfer("okx-main", "USDT", "deposit", Decimal(4))
    assert [row["type"] for row in await venue.rows("/api/v5/account/bills")] in (["1", "8"], ["8", "1"])
    assert [row["type"] for row in await venue.rows("/api/v5/account/bills?type=8")] == ["8"]
    assert [row["ccy"] for row in await venue.rows("/api/v5/account/bills-archive?ccy=BTC")] == []


# --- Markets -----------------------------------------------------------------------------------------------------------


async def test_every_kind_of_instrument(venue: Venue) -> None:
    found = {}
    for kind in ("SWAP", "FUTURES", "OPTION"):
        _, found[kind] = await venue.public(f"/api/v5/public/instruments?instType={kind}")
    assert {row["ctType"] for row in found["FUTURES"]} == {"linear", "inverse"}
    assert all(int(row["expTime"]) > venue.clock() for row in [*found["FUTURES"], *found["OPTION"]])
    (option,) = found["OPTION"]
    assert (option["optType"], option["settleCcy"], option["ctMult"], option["lever"]) == ("C", "BTC", "0.01", "")
    codes = [row["instIdCode"] for rows in found.values() for row in rows]
    assert len(set(codes)) == len(codes)
    _, marks = await venue.public("/api/v5/public/mark-price?instType=FUTURES")
    assert len(marks) == len(found["FUTURES"])
    _, tiers = await venue.public("/api/v5/public/position-tiers?instType=FUTURES&tdMode=cross&instFamily=BTC-USD")
    assert {row["instFamily"] for row in tiers} == {"BTC-USD"}


async def test_prices_of_collateral_and_funding(venue: Venue) -> None:
    _, rows = await venue.public("/api/v5/market/index-tickers?quoteCcy=USD")
    assert {"BTC-USD", "ETH-USD", "USDT-USD", "USDC-USD"} <= {row["instId"] for row in rows}
    assert (await venue.public("/api/v5/market/index-tickers?instId=NOPE-USD"))[0] == "51001"
    assert (await venue.public("/api/v5/market/index-tickers"))[0] == "50014"
    _, all_rates = await venue.public("/api/v5/public/funding-rate?instId=ANY")
    _, one = await venue.public("/api/v5/public/funding-rate?instId=BTC-USDT-SWAP")
    assert one[0]["fundingRate"] in {row["fundingRate"] for row in all_rates}
    assert (await venue.public("/api/v5/public/funding-rate?instId=NOPE"))[0] == "51001"
    _, haircuts = await venue.public("/api/v5/public/discount-rate-interest-free-quota?ccy=BTC")
    tiers = [(tier["minAmt"], tier["maxAmt"], tier["discountRate"]) for row in haircuts for tier in row["details"]]
    assert tiers == [("0", "0.1", "0.98"), ("0.1", "5", "0.95"), ("5", "100", "0.9")]
    assert [row["minDiscountRate"] for row in haircuts] == ["0"], "beyond the last tier nothing counts"


async def test_the_accounts_level(venue: Venue) -> None:
    (before,) = await venue.rows(CONFIG)
    venue.sim.world.modes.switch_account("okx-main", "multi")
    venue.sim.world.modes.switch_legs("okx-main", hedge=True)
    (after,) = await venue.rows(CONFIG)
    assert (before["acctLv"], before["posMode"]) == ("2", "net_mode")
    assert (after["acctLv"], after["posMode"]) == ("3", "long_short_mode")


# --- Pages by the documented rules -------------------------------------------------------------------------------------


async def test_a_window_is_read_from_its_end_and_one_without_an_end_from_its_beginning(venue: Venue) -> None:
    hands, world = venue.sim.world.hands, venue.sim.world
    begin = world.now_ms
    for at in range(4):
        world.step(begin + at)
        hands.transfer("okx-main", "USDT", "bonus", Decimal(at + 1))
        hands.open_position("okx-main", "BTC-USDT-SWAP", size=Decimal(1))
    venue.clock.skew_ms = 1_000
    bills, fills = "/api/v5/account/bills?type=1", "/api/v5/trade/fills?instId=BTC-USDT-SWAP"
    whole = await venue.rows(bills)
    assert [row["sz"] for row in whole] == ["4", "3", "2", "1"]
    ids = [row["billId"] for row in whole]

    async def found(query: str) -> list[str]:
        venue.clock.skew_ms += 1_000  # five a second
        return [row["sz"] for row in await venue.rows(bills + query)]

    assert await found(f"&begin={begin + 1}&end={begin + 2}") == ["3", "2"]  # both ends are in it
    assert await found(f"&begin={begin}&end={begin + 3}&limit=2") == ["4", "3"]
    assert await found(f"&begin={begin}&limit=2") == ["2", "1"]  # ... read from there
    assert await found(f"&before={ids[3]}&limit=2") == ["3", "2"]  # what lies next to it
    assert await found(f"&before={ids[3]}&after={ids[0]}") == ["3", "2"]  # neither of them
    assert await found(f"&before={ids[3]}&after={ids[0]}&limit=1") == ["3"]
    newest = await venue.rows(fills)
    assert await venue.rows(f"{fills}&begin={begin}&limit=2") == newest[:2]  # fills are always read from the end
