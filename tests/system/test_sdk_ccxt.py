"""``ccxt.pro``, unmodified, against the simulator: only the hosts of its addresses differ from what a user would write.

What these ports cannot do themselves is declared here, each with what is to be seen:

- Aster's ``watch_balance`` always raises ``ArgumentsRequired``: it never reads the market type that it is given.
- Aster's account updates need ``exchange.balance["swap"]`` to exist, which nothing creates: without it every update dies with a
  ``KeyError`` in a callback, and ``watch_positions`` never returns again after its snapshot.
- Aster tells its two markets apart by ``fstream`` standing in the socket's address: here as the user part of it.
- Aster signs for the wallet of the private key; an agent's key needs three options (``CACHED``).
- OKX and Bybit ask for currencies of the funding account first, which is not simulated: ``fetchCurrencies`` is switched off.
- Hyperliquid's ``watch_positions`` keeps a position that is closed in its cache: the venue leaves it out of its states.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import ccxt
import ccxt.pro
import pytest

from exchanges.sim.server import Simulator, start
from tests.exchanges.sim.raw import Clock

Held = set[tuple[str, Decimal]]
WAIT_S = 10.0
NO_CURRENCIES = {"fetchCurrencies": False}


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def simulator(clock: Clock) -> AsyncIterator[Simulator]:
    running = await start(3, clock=clock)
    running.control.pause()  # pushes then come from what the test does alone
    yield running
    await running.stop()


def credentials(simulator: Simulator, account: str) -> dict[str, Any]:
    venue = simulator.world.account(account).venue
    return {**next(row for row in simulator.fronts[venue].credentials() if row["name"] == account)}


def redirected(urls: Any, url: str, user: str = "") -> Any:
    """Return ccxt's addresses with every host replaced by the simulator's, so that none is left that could be reached."""
    if isinstance(urls, dict):
        return {name: redirected(value, url, user) for name, value in urls.items()}
    host = url.removeprefix("http://")
    urls = re.sub(r"^https?://[^/]+", url, urls)
    return re.sub(r"^wss?://[^/]+", f"ws://{user}{host}", urls)


@asynccontextmanager
async def exchange(
    simulator: Simulator, name: str, config: dict[str, Any], *, user: str = ""
) -> AsyncIterator[ccxt.pro.Exchange]:
    made = getattr(ccxt.pro, name)({"timeout": 10_000, "enableRateLimit": False, **config})
    made.urls["api"] = redirected(made.urls["api"], simulator.urls[name], user)
    try:
        yield made
    finally:
        await made.close()


def okx(simulator: Simulator) -> Any:
    login = credentials(simulator, "okx-main")
    keys = {"apiKey": login["key"], "secret": login["secret"], "password": login["passphrase"]}
    options = {"defaultType": "swap", "fetchMarkets": {"types": ["swap"]}}
    return exchange(simulator, "okx", {**keys, "has": NO_CURRENCIES, "options": options})


def bybit(simulator: Simulator) -> Any:
    login = credentials(simulator, "bybit-main")
    options = {"defaultType": "swap", "fetchMarkets": {"types": ["linear", "inverse"]}}
    config = {"apiKey": login["key"], "secret": login["secret"], "has": NO_CURRENCIES, "options": options}
    return exchange(simulator, "bybit", config)


def hyperliquid(simulator: Simulator) -> Any:
    return exchange(simulator, "hyperliquid", {"walletAddress": credentials(simulator, "hl-main")["address"]})


@asynccontextmanager
async def aster(simulator: Simulator) -> AsyncIterator[ccxt.pro.Exchange]:
    login = credentials(simulator, "aster-main")
    options = {"defaultType": "swap", "builderFee": False, "signerAddress": login["key"]}
    config = {"privateKey": login["secret"], "options": options}
    async with exchange(simulator, "aster", config, user="fstream@") as made:
        # ccxt would take the agent for the wallet: it is told whose agent it is where it keeps what it has found out.
        made.options["cachedWalletAddress"] = login["address"]
        made.options["privateKeyHashForCachedWalletAddress"] = made.hash(made.encode(made.privateKey), "keccak", "hex")
        made.balance["swap"] = {}
        yield made


Make = Callable[[Simulator], Any]
VENUES: list[Any] = [
    pytest.param(okx, "okx-main", "BTC-USDT-SWAP", "BTC/USDT:USDT", "1", id="okx"),
    pytest.param(bybit, "bybit-main", "BTCUSDT", "BTC/USDT:USDT", "0.1", id="bybit"),
    pytest.param(hyperliquid, "hl-main", "BTC", "BTC/USDC:USDC", "0.1", id="hyperliquid"),
    pytest.param(aster, "aster-main", "BTCUSDT", "BTC/USDT:USDT", "0.1", id="aster"),
]


def true(simulator: Simulator, account: str, symbol: str) -> Held:
    """Return side and size of what is held of a symbol."""
    mine = [p for p in simulator.control.truth()["positions"] if (p["account"], p["symbol"]) == (account, symbol)]
    return {(p["side"], Decimal(p["size"])) for p in mine if not p["liquidated"]}


def shown(positions: list[Any], unified: str) -> Held:
    """Return what ccxt says of the same symbol."""
    return {(row["side"], Decimal(str(row["contracts"]))) for row in positions if row["symbol"] == unified}


@pytest.mark.parametrize(("make", "account", "symbol", "unified", "size"), VENUES)
async def test_reads_and_watches(
    simulator: Simulator, clock: Clock, make: Make, account: str, symbol: str, unified: str, size: str
) -> None:
    async with make(simulator) as client:
        await client.load_markets()
        assert unified in client.markets
        assert shown(await client.fetch_positions(), unified) == true(simulator, account, symbol)
        balance = await client.fetch_balance()
        assert balance["USDC" if make is hyperliquid else "USDT"]["total"] > 0
        assert shown(await client.watch_positions(), unified) == true(simulator, account, symbol)
        async with asyncio.timeout(WAIT_S):
            await watched(client, unified, lambda: change(simulator, clock, account, symbol, size))


def change(simulator: Simulator, clock: Clock, account: str, symbol: str, size: str) -> Held:
    """Add to a position and return what is held then; let Hyperliquid's next state be due."""
    simulator.control.fault({"kind": "open_position", "account": account, "symbol": symbol, "size": size})
    if account == "hl-main":
        clock.skew_ms += 5_000
    return true(simulator, account, symbol)


async def watched(client: Any, unified: str, act: Callable[[], Held]) -> None:
    """Return when a watcher has told what an act led to; acts again, since nobody tells when it has begun to listen."""
    watching = asyncio.create_task(client.watch_positions())
    while True:
        wanted = act()
        while (await asyncio.wait({watching}, timeout=1.0))[0]:
            if shown(watching.result(), unified) == wanted:
                return
            watching = asyncio.create_task(client.watch_positions())


async def test_a_wrong_signature_is_an_authentication_error(simulator: Simulator) -> None:
    async with aster(simulator) as client:
        client.options["signerAddress"] = credentials(simulator, "aster-multi")["key"]
        with pytest.raises(ccxt.AuthenticationError):
            await client.fetch_balance()


async def test_what_ccxt_itself_cannot_do_on_aster(simulator: Simulator) -> None:
    async with aster(simulator) as client:
        assert client.has["watchBalance"] is True
        with pytest.raises(ccxt.ArgumentsRequired, match="requires a market type"):
            await client.watch_balance({"type": "swap"})


async def test_what_ccxt_itself_cannot_do_on_hyperliquid(simulator: Simulator, clock: Clock) -> None:
    async with hyperliquid(simulator) as client:
        await client.load_markets()
        assert len(await client.watch_positions()) == 6
        simulator.control.fault({"kind": "close_position", "account": "hl-main", "symbol": "BTC"})
        clock.skew_ms += 5_000
        assert len(await client.watch_positions()) == 5
        assert len(client.positions) == 6, "a ghost"
