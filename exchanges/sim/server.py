"""Runs the simulator: one HTTP server per venue, one for control, and the task that lets time pass.

Owns sockets, the clock and start and stop; what is true is ``world``, what a venue says of it are the fronts.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from exchanges.sim.aster import AsterFront
from exchanges.sim.bybit import BybitFront
from exchanges.sim.catalog import VENUES
from exchanges.sim.control import Control
from exchanges.sim.front import Clock, Faults, Front
from exchanges.sim.hyperliquid import HyperliquidFront
from exchanges.sim.okx import OkxFront
from exchanges.sim.plan import PlannedFault
from exchanges.sim.quoted import LiquidationFields
from exchanges.sim.roster import ACCOUNTS, AccountSpec
from exchanges.sim.world import World

# Finer than the shortest window of any venue (OKX batches events for 50 ms).
TICK_S = 0.02
# Every venue's dialect: a further one is added here.
FRONTS: tuple[Callable[[World, Clock], Front], ...] = (OkxFront, BybitFront, HyperliquidFront, AsterFront)
_STOP_S = 0.3


class PortTaken(OSError):
    """A port that was asked for cannot be bound; the message says which and what to do."""


def wall_clock_ms() -> int:
    """Return the time of day in milliseconds since the Unix epoch."""
    return time.time_ns() // 1_000_000


@dataclass
class Simulator:
    """A running simulator. ``stop`` it; ``failed`` ends only when something broke inside.

    Attributes:
        world: What is true; tests may look at it and act on it directly.
        fronts: By venue.
        control: What the control port does.
        urls: Base addresses: ``okx``, ``bybit``, ``hyperliquid`` and ``control``, as ``http://host:port``.
    """

    seed: int
    world: World
    fronts: Mapping[str, Front]
    control: Control
    urls: Mapping[str, str]
    _runners: list[web.AppRunner]
    _ticker: asyncio.Task[None]

    def describe(self) -> dict[str, Any]:
        """Return the addresses and accounts, secrets included, as ``perpwire sim --json`` prints them."""
        venues = {
            name: {
                "rest": self.urls[name],
                "ws_public": _websocket(self.urls[name]),
                "ws_private": _websocket(self.urls[name]),
                "accounts": [dict(account) for account in front.credentials()],
            }
            for name, front in self.fronts.items()
        }
        return {**venues, "control": self.urls["control"], "seed": self.seed}

    async def failed(self) -> None:
        """Wait until the simulator breaks and raise why; cancel it when it is no longer of interest."""
        await asyncio.shield(self._ticker)

    async def stop(self) -> None:
        """Close every connection and server, within a second."""
        self._ticker.cancel()
        for front in self.fronts.values():
            for socket in front.sockets:
                socket.unstall()
                socket.close(1001, "the simulator stops")
        await asyncio.wait({self._ticker}, timeout=_STOP_S)
        await asyncio.gather(*(runner.cleanup() for runner in self._runners))


async def start(
    seed: int,
    port: int = 0,
    host: str = "127.0.0.1",
    *,
    ports: Mapping[str, int] | None = None,
    clock: Clock = wall_clock_ms,
    plan: Iterable[PlannedFault] = (),
    roster: Iterable[AccountSpec] = ACCOUNTS,
    liquidation_fields: LiquidationFields = "sent",
) -> Simulator:
    """Start a simulator.

    Args:
        seed: The whole world follows from it, secrets included.
        port: Of the control server; 0 lets the kernel choose.
        host: Where all servers listen.
        ports: Venue ports by name; the kernel chooses the others.
        clock: Time of day, in milliseconds; also what login and request times are checked against.
        plan: Faults, carried out by themselves, their times counted from now.
        roster: Who trades there.
        liquidation_fields: What the venues tell of liquidation prices and margin ratios.

    Raises:
        PortTaken: A port is in use.
    """
    world = World(seed, clock(), roster)
    world.liquidation_fields = liquidation_fields
    fronts: list[Front] = [make(world, clock) for make in FRONTS]
    for front in fronts:
        front.sockets.faults = front.faults
    control = Control(world, fronts, clock)
    runners: list[web.AppRunner] = []
    urls: dict[str, str] = {}
    try:
        urls["control"] = await _serve(runners, control.routes(), host, port, "control")
        for front in fronts:
            wanted = (ports or {}).get(front.name, 0)
            urls[front.name] = await _serve(runners, front.routes(), host, wanted, front.name, front.faults)
    except PortTaken:
        await asyncio.gather(*(runner.cleanup() for runner in runners))
        raise
    control.schedule(plan)
    ticker = asyncio.create_task(_tick(world, fronts, control, clock), name="sim-ticker")
    by_name = {front.name: front for front in fronts}
    return Simulator(
        seed, world, {name: by_name[name] for name in VENUES if name in by_name}, control, urls, runners, ticker
    )


async def _tick(world: World, fronts: Iterable[Front], control: Control, clock: Clock) -> None:
    while True:
        now = clock()
        world.step(now)
        control.tick(now)
        for front in fronts:
            front.tick(now)
        await asyncio.sleep(TICK_S)


async def _serve(
    runners: list[web.AppRunner],
    routes: Iterable[web.RouteDef],
    host: str,
    port: int,
    name: str,
    faults: Faults | None = None,
) -> str:
    """Start one server and return its base address; ``faults`` spoil its answers."""
    application = web.Application(middlewares=[_spoiled(faults)] if faults else [])
    application.add_routes(routes)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=_STOP_S)
    await runner.setup()
    runners.append(runner)
    try:
        await web.TCPSite(runner, host, port).start()
    except OSError as error:
        raise PortTaken(
            f"{name} cannot listen on {host}:{port} ({error.strerror}): choose another port or 0"
        ) from error
    return f"http://{host}:{runner.addresses[0][1]}"


def _spoiled(faults: Faults) -> Middleware:
    """Return the middleware that answers REST requests with a gateway's page, or late, where the faults say so."""

    @web.middleware
    async def spoil(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return await handler(request)
        status = faults.take_server_error()
        if status:
            page = f"<html><head><title>{status}</title></head><body><center><h1>{status}</h1></center></body></html>"
            return web.Response(status=status, text=page, content_type="text/html")
        response = await handler(request)
        if faults.late_rest_ms:  # computed before, delivered after what is pushed meanwhile
            await asyncio.sleep(faults.late_rest_ms / 1000)
        return response

    return spoil


def _websocket(url: str) -> str:
    return "ws" + url.removeprefix("http")
