"""``python -m exchanges.sim``: run the simulator until SIGTERM, Ctrl-C or, if so asked, the end of standard input."""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from exchanges.sim.plan import PlanError, PlannedFault, random_plan, read_plan
from exchanges.sim.quoted import LIQUIDATION_FIELDS, LiquidationFields
from exchanges.sim.roster import ACCOUNTS
from exchanges.sim.server import PortTaken, start

RANDOM_FAULTS_S = 86_400


def main() -> int:
    """Parse the command line, run, return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m exchanges.sim", description="Simulated OKX, Bybit, Hyperliquid and Aster."
    )
    parser.add_argument("--seed", type=int, default=1, help="the whole world follows from it (default 1)")
    parser.add_argument("--port", type=int, default=0, help="of the control server; 0 lets the kernel choose (default)")
    parser.add_argument("--json", action="store_true", help="print addresses and accounts as one line of JSON")
    parser.add_argument(
        "--until-stdin-closes", action="store_true", help="stop as well when standard input ends: with whoever holds it"
    )
    parser.add_argument("--faults", type=Path, help="a plan of faults (YAML), times counted from the start")
    parser.add_argument("--random-faults", type=int, metavar="SEED", help="faults drawn from this seed, for a day")
    parser.add_argument(
        "--liquidation-fields", choices=LIQUIDATION_FIELDS, default="sent",
        help="liquidation prices and margin ratios that the venues tell: theirs (default), none, or prices 2 %% off",
    )  # fmt: skip
    options = parser.parse_args()
    try:
        plan = planned(options.faults, options.random_faults)
        asyncio.run(
            run(
                options.seed,
                options.port,
                as_json=options.json,
                watch_stdin=options.until_stdin_closes,
                plan=plan,
                liquidation_fields=options.liquidation_fields,
            )
        )
    except (PortTaken, PlanError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def planned(faults: Path | None, random_faults: int | None) -> list[PlannedFault]:
    """Return the faults of a plan file and those drawn from a seed, together.

    Raises:
        PlanError: The file cannot be read or used.
    """
    plan: list[PlannedFault] = []
    if faults is not None:
        try:
            plan += read_plan(faults.read_text(), str(faults))
        except (OSError, UnicodeDecodeError) as error:
            raise PlanError(f"{faults} cannot be read: {error}") from None
    if random_faults is not None:
        plan += random_plan(random_faults, RANDOM_FAULTS_S, {spec.name: spec.venue for spec in ACCOUNTS})
    return plan


class _Closing(asyncio.Protocol):
    """Sets an event when the pipe it reads ends; what arrives before is of no interest."""

    def __init__(self, closed: asyncio.Event) -> None:
        self._closed = closed

    def eof_received(self) -> None:
        self._closed.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._closed.set()


async def run(
    seed: int,
    port: int,
    *,
    as_json: bool,
    watch_stdin: bool = False,
    plan: Sequence[PlannedFault] = (),
    liquidation_fields: LiquidationFields = "sent",
) -> None:
    """Run the simulator until a signal, a fault of its own, or (``watch_stdin``) the end of standard input.

    ``plan`` is carried out meanwhile.

    Raises:
        PortTaken: The control port is in use.
    """
    stop = asyncio.Event()
    if watch_stdin:
        await asyncio.get_running_loop().connect_read_pipe(lambda: _Closing(stop), sys.stdin)
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    simulator = await start(seed, port, plan=plan, liquidation_fields=liquidation_fields)
    sys.stdout.write(json.dumps(simulator.describe()) + "\n" if as_json else _readable(simulator.describe()))
    sys.stdout.flush()
    stopped, failed = asyncio.create_task(stop.wait()), asyncio.create_task(simulator.failed())
    done, waiting = await asyncio.wait({stopped, failed}, return_when=asyncio.FIRST_COMPLETED)
    for task in waiting:
        task.cancel()
    await simulator.stop()
    if failed in done:
        failed.result()


def _readable(description: dict[str, Any]) -> str:
    lines = [f"control      {description['control']}   (seed {description['seed']})"]
    for name, venue in description.items():
        if isinstance(venue, dict):
            accounts = ", ".join(account["name"] for account in venue["accounts"])
            lines.append(f"{name:<12} {venue['rest']}   {venue['ws_private']}   accounts {accounts}")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
