"""Programs that run until they are stopped: the demo, the gateway, the simulated venues."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from exchanges.sim.quoted import LiquidationFields
from gateway import config as configuration
from gateway import demo as demonstration
from gateway.app import Gateway
from gateway.cli.options import CONFIG, ConfigFile
from gateway.cli.running import Stop, fail, run
from gateway.loading import ConfigError
from gateway.log import configure
from gateway.replay import Recorder


def demo(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the dashboard; 0: any free one.")] = 8080,
    seed: Annotated[int, typer.Option(help="Seed of the simulated world.")] = 1,
    data: Annotated[Path | None, typer.Option(help="Folder that keeps the database; default: a temporary one.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help='First line of stdout: {"url", "control"}.')] = False,
) -> None:
    """Run the whole thing on this machine: simulated venues, embedded Postgres, gateway and dashboard."""
    configure(configuration.LogSettings(level="warning"))

    def say(url: str, control: str) -> None:
        text = msgspec.json.encode({"url": url, "control": control}).decode()
        print(
            text if as_json else f"Perpwire demo: {url}  (simulator's control port: {control}; Ctrl-C stops)",
            flush=True,
        )

    run(lambda stop: demonstration.run(stop, port=port, seed=seed, data=data, say=say))


def serve(
    config: ConfigFile = CONFIG,
    record: Annotated[
        Path | None, typer.Option(help="Write every venue message to this file, as `replay` reads it.")
    ] = None,
) -> None:
    """Serve the accounts of a configuration file."""
    try:
        settings = configuration.load(config)
        specs = configuration.account_specs(settings)
        channels = configuration.alert_channels(settings)
    except ConfigError as error:
        fail(str(error))
    configure(settings.log)
    if not settings.accounts:
        fail(f"{config}: no accounts are configured: add one under `accounts:`, or try `perpwire demo`")

    async def main(stop: Stop) -> None:
        recorder = None
        if record is not None:
            try:
                recorder = Recorder(record.open("ab"))
            except OSError as error:
                raise ConfigError(f"--record {record}: cannot be written ({error.strerror})") from None
        gateway = Gateway(settings, specs, recorder=recorder, channels=channels)
        await gateway.run(stop, lambda: print(f"Perpwire: {gateway.url}", flush=True))

    run(main)


def sim(
    seed: Annotated[int, typer.Option(help="Seed of the world.")] = 1,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Control port; 0: any free one.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="One line: addresses and accounts.")] = False,
    faults: Annotated[Path | None, typer.Option(help="Plan of faults (YAML).")] = None,
    random_faults: Annotated[int | None, typer.Option(help="Seed of faults drawn at random.")] = None,
    liquidation_fields: Annotated[
        LiquidationFields, typer.Option(help="What the venues tell of liquidation: wrong is 2 % off.")
    ] = "sent",
) -> None:
    """Run the simulated venues alone."""
    from exchanges.sim.__main__ import planned
    from exchanges.sim.__main__ import run as simulate
    from exchanges.sim.plan import PlanError
    from exchanges.sim.server import PortTaken

    try:
        plan = planned(faults, random_faults)
        asyncio.run(simulate(seed, port, as_json=as_json, plan=plan, liquidation_fields=liquidation_fields))
    except (PortTaken, PlanError) as error:
        fail(str(error))
