"""Exchanges through ccxt against the simulator: its real ports, and a gateway over one that has no native venue.

What a port cannot do itself is declared here, with what is to be seen (more of it in ``test_sdk_ccxt``):

- Bybit's lists the linear contracts settled in USDT alone: the others are never read as "not there".
- Hyperliquid's lists the main dex alone.
- Aster's signs for the wallet of the private key: an agent's key is told whose agent it is where ccxt keeps what it has found out.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from exchanges.clock import SystemClock
from exchanges.errors import AuthFailed, VenueError
from exchanges.events import PositionsSnapshot
from exchanges.generic import Generic
from exchanges.portfolio import Portfolio
from exchanges.ports import connect
from exchanges.sim.server import Simulator
from exchanges.venue import AccountSpec, Credentials, Endpoints
from gateway.config import AccountSettings, Config, HostSettings, VerifySettings
from tests.system.desk import Change, desk, eventually, stored_at

Held = set[tuple[str, str, Decimal]]
# An exchange that is no native venue and speaks OKX's protocol, as ccxt's subclass of it does.
OTHER = "okxus"


def login(simulator: Simulator, account: str) -> dict[str, Any]:
    venue = simulator.world.account(account).venue
    return {**next(row for row in simulator.fronts[venue].credentials() if row["name"] == account)}


def spec_of(simulator: Simulator, account: str, venue: str | None = None, secret: str | None = None) -> AccountSpec:
    told, native = login(simulator, account), simulator.world.account(account).venue
    key = Credentials(told["key"], secret or told["secret"], told.get("passphrase")) if told.get("key") else None
    return AccountSpec(name=account, venue=venue or native, credentials=key, address=told.get("address"))


@asynccontextmanager
async def generic(simulator: Simulator, spec: AccountSpec) -> AsyncIterator[Generic]:
    rest = simulator.urls[simulator.world.account(spec.name).venue]
    stream = "ws" + rest.removeprefix("http")
    exchange = connect(spec, Endpoints(rest=rest, ws_public=stream, ws_private=stream))
    if spec.venue == "aster":
        told = login(simulator, spec.name)
        known = exchange.hash(exchange.encode(exchange.privateKey), "keccak", "hex")
        exchange.options |= {"builderFee": False, "signerAddress": told["key"]}
        exchange.options |= {"cachedWalletAddress": told["address"], "privateKeyHashForCachedWalletAddress": known}
    made = Generic(spec, exchange, SystemClock())
    try:
        yield made
    finally:
        await made.close()


def true(simulator: Simulator, account: str, listed: Any = lambda symbol: True) -> Held:
    mine = [p for p in simulator.control.truth()["positions"] if p["account"] == account and not p["liquidated"]]
    return {(p["symbol"], p["side"], Decimal(p["size"])) for p in mine if listed(p["symbol"])}


async def shown(account: Generic) -> Held:
    found = await account.state()
    (full,) = [event for event in found.events if isinstance(event, PositionsSnapshot)]
    # Hyperliquid's contracts have numbers for ids in ccxt: the name stands beside them.
    names = {str(one["id"]): one.get("baseName") or str(one["id"]) for one in account.exchange.markets.values()}
    plain = {"KPEPE": "kPEPE"}
    named = [(names[p.symbol], p) for p in full.positions]
    return {(plain.get(name, name), str(p.side), Decimal(p.size)) for name, p in named}


PORTS = [
    pytest.param("okx-main", "BTC-USDT-SWAP", lambda symbol: True, id="okx"),
    pytest.param("bybit-main", "BTCUSDT", lambda symbol: symbol.partition("-")[0].endswith("USDT"), id="bybit"),
    pytest.param("hl-main", "BTC", lambda symbol: ":" not in symbol, id="hyperliquid"),
    pytest.param("aster-main", "BTCUSDT", lambda symbol: True, id="aster"),
]


@pytest.mark.parametrize(("account", "symbol", "listed"), PORTS)
async def test_positions_appear_and_a_close_disappears(
    simulator: Simulator, account: str, symbol: str, listed: Any
) -> None:
    simulator.control.pause()
    async with generic(simulator, spec_of(simulator, account)) as asked:
        declared = await asked.audit()
        assert declared.events
        assert await shown(asked) == true(simulator, account, listed)
        simulator.control.fault({"kind": "close_position", "account": account, "symbol": symbol})
        held = true(simulator, account, listed)
        assert symbol not in {name for name, _, _ in held}
        assert await shown(asked) == held


async def test_what_a_port_does_not_list_is_never_read_as_nothing(simulator: Simulator) -> None:
    async with generic(simulator, spec_of(simulator, "bybit-main")) as asked:
        portfolio = Portfolio("bybit-main", asked, asked.position_scope)
        assert await portfolio.position("BTCUSDT") is not None
        assert await portfolio.position("DOGEUSDT") is None
        assert await portfolio.free("USDT") is not None
        with pytest.raises(VenueError, match="does not cover BTCUSD"):
            await portfolio.position("BTCUSD")


async def test_a_wrong_secret_is_the_operators_and_is_not_told(simulator: Simulator) -> None:
    async with generic(simulator, spec_of(simulator, "bybit-main", secret="not the secret")) as asked:
        with pytest.raises(AuthFailed) as refused:
            await asked.state()
    assert login(simulator, "bybit-main")["key"] not in str(refused.value)


# --- A gateway ----------------------------------------------------------------------------------------------------------


def through_ccxt(simulator: Simulator, account: str = "okx-main") -> Change:
    """Return the change that leaves one account, read as an exchange that has no native venue."""

    def change(config: Config, specs: list[AccountSpec]) -> tuple[Config, list[AccountSpec]]:
        url = simulator.urls["okx"]
        stream = "ws" + url.removeprefix("http")
        hosts = {OTHER: HostSettings(rest=url, ws_public=stream, ws_private=stream)}
        accounts = {account: AccountSettings(venue=OTHER)}
        verify = VerifySettings(every_s=1)
        config = msgspec.structs.replace(config, venues=hosts, accounts=accounts, verify=verify)
        return config, [msgspec.structs.replace(spec, venue=OTHER) for spec in specs if spec.name == account]

    return change


async def test_a_gateway_over_an_exchange_without_a_native_venue(simulator: Simulator, dsn: str, folder: Path) -> None:
    simulator.control.pause()
    async with desk(simulator, folder, changes=(through_ccxt(simulator), stored_at(dsn))) as running:

        def held() -> Held:
            return {(row["symbol"], row["side"], Decimal(row["size"])) for row in running.positions.values()}

        await eventually(lambda: held() == true(simulator, "okx-main"), lambda: f"the positions: {held()}", 20)
        feed = running.feeds["okx-main:ccxt"]
        assert (feed["state"], "polled" in feed) == ("live", False)
        row = next(row for row in running.positions.values() if row["symbol"] == "BTC-USDT-SWAP")
        assert row["liquidation_source"] == "venue"
        assert (row["venue"], row["unified_symbol"]) == (OTHER, "BTC/USDT:USDT")
        assert row["mark_price"] == float(simulator.control.truth()["marks"]["okx"]["BTC-USDT-SWAP"])

        running.fault("close_position", account="okx-main", symbol="BTC-USDT-SWAP")
        await eventually(lambda: held() == true(simulator, "okx-main"), "the close", 20)

        marked = true(simulator, "okx-main")
        simulator.fronts["okx"].faults.server_error = 10_000
        await eventually(lambda: running.feeds["okx-main:ccxt"]["state"] == "down", "the feed is down", 30)
        assert held() == marked  # what cannot be asked is not "flat"
        assert "error" not in running.feeds["okx-main:ccxt"] or "secret" not in running.feeds["okx-main:ccxt"]["error"]
