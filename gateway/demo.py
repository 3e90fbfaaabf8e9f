"""The demo: simulated venues in a process of their own, and a gateway configured for them.

Owns the simulator's process; it dies with this one, however this one dies.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from exchanges.venue import AccountSpec, Credentials
from gateway.app import Gateway
from gateway.config import (
    AccountSettings,
    Config,
    HistorySettings,
    HostSettings,
    ModelSettings,
    ServerSettings,
    StorageSettings,
)
from gateway.core.margin.catalog import CATALOG

_FIRST_LINE_S = 20.0


class SimulatorFailed(Exception):
    """The simulator did not start."""


@asynccontextmanager
async def simulator(seed: int) -> AsyncIterator[dict[str, Any]]:
    """Run the simulator as a child and yield what it says of itself (``perpwire sim --json``).

    Its standard input is a pipe that only we hold: when this process ends, in whatever way, the child reads its end and stops.

    Raises:
        SimulatorFailed: It ended, or said nothing in time.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "exchanges.sim", "--seed", str(seed), "--json", "--until-stdin-closes",
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is ours: the venues must not vanish before the gateway has stopped
    )  # fmt: skip
    try:
        assert process.stdout is not None
        line = await asyncio.wait_for(process.stdout.readline(), _FIRST_LINE_S)
        if not line:
            raise SimulatorFailed(f"the simulator ended with status {await process.wait()} before it listened")
        yield msgspec.json.decode(line)
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


def configure(described: dict[str, Any], port: int, data: Path) -> tuple[Config, list[AccountSpec]]:
    """Return the configuration and accounts for a simulator."""
    venues = {name: part for name, part in described.items() if isinstance(part, dict) and "accounts" in part}
    config = Config(
        server=ServerSettings(port=port),
        storage=StorageSettings(data_dir=str(data)),
        # The simulated venues liquidate by the published formulas: here every model may be shown, and calibration judges each.
        models=ModelSettings(promoted=tuple(CATALOG)),
        history=HistorySettings(backfill_days=0),  # the world begins now
        venues={
            name: HostSettings(rest=part["rest"], ws_public=part["ws_public"], ws_private=part["ws_private"])
            for name, part in venues.items()
        },
        accounts={
            account["name"]: AccountSettings(venue=name, user="demo", address=account.get("address"))
            for name, part in venues.items()
            for account in part["accounts"]
        },
    )
    specs = [_spec(name, account) for name, part in venues.items() for account in part["accounts"]]
    return config, specs


def _spec(venue: str, account: dict[str, Any]) -> AccountSpec:
    credentials = None
    if "key" in account:
        credentials = Credentials(account["key"], account["secret"], account.get("passphrase"))
    return AccountSpec(name=account["name"], venue=venue, credentials=credentials, address=account.get("address"))


async def run(stop: asyncio.Event, *, port: int, seed: int, data: Path | None, say: Callable[[str, str], None]) -> None:
    """Run simulator and gateway until ``stop`` is set; ``say`` is told both addresses once clients are served."""
    with tempfile.TemporaryDirectory(prefix="perpwire-") as temporary:
        async with simulator(seed) as described:
            config, specs = configure(described, port, data or Path(temporary))
            gateway = Gateway(config, specs)
            await gateway.run(stop, lambda: say(gateway.url, str(described["control"])))
