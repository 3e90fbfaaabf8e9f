"""A script of liquidations played through a real gateway: what its client was shown after every tick.

Owns the run: real codecs, real wire messages, a world that stands still but for its ticks, and a clock that leaps from one to the
next. Where the script says so no rest follows a tick, and the venues report in the middle of it. Judges nothing but false alarms,
which need the truth of their moment.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from exchanges.sim import server as simulation
from exchanges.sim.quoted import LiquidationFields
from exchanges.sim.server import Simulator
from exchanges.sim.state import State
from exchanges.sim.world import World
from exchanges.venue import AccountSpec
from gateway.config import Config, ModelSettings, VerifySettings
from gateway.core.margin.catalog import CATALOG
from tests.system.desk import Desk, desk, eventually, stored_at
from tests.system.episodes import BEGIN_MS, Script
from tests.system.leaping import LeapingClock
from tests.system.spent import Moves, nearest_between

TICK_MS = 1_000
FOLLOW_LIMIT_S = 20.0
# OKX repeats an account's state every 5 s, Hyperliquid every 4 to 5 s.
REPORTED_WITHIN_MS = 6_000
START_LIMIT_S = 30.0
# While the feeds come up under the venues' limits, time passes ten times as fast: each look of ``eventually`` leaps so far.
START_LEAP_MS = 100
PATIENCE_LOOKS = 15
RULE = "liquidation"  # the built-in rule of distances: 20, 10, 5 %
LAST_STEP, LAST_SEVERITY = 0.05, "critical"
# Marks are told rounded to the venue's step, coins and balances to their digits: of a distance this much may be rounding.
ROUNDING = 2e-4

Key = tuple[str, str, str, str]  # account, symbol, side, margin mode
Row = Mapping[str, Any]


@dataclass
class Watched:
    """What was shown of one position during a run."""

    rows: list[Row | None] = field(default_factory=list)  # by tick, as published after its marks
    fired: int | None = None  # the first tick with the alert firing
    last_step: bool = False  # the alert reached its last step
    flagged: bool = False  # by the residual: the model and the venue are too far apart
    flagged_in_motion: bool = False
    sources: dict[bool, Counter[str]] = field(
        default_factory=lambda: {False: Counter(), True: Counter()}
    )  # in motion, ticks
    calibrated: bool = False
    stated: bool = False  # the venue told a price


@dataclass(frozen=True)
class Tick:
    """One tick: its number, the world as it stood before, what moved, and the world now."""

    number: int
    before: State
    moves: Moves
    world: World
    in_motion: bool


@dataclass
class Played:
    """One script played with one setting of the venues' fields."""

    fields: LiquidationFields
    watched: dict[Key, Watched] = field(default_factory=dict)
    false_alarms: list[dict[str, Any]] = field(default_factory=list)
    still_open: list[str] = field(default_factory=list)
    seconds: float = 0.0


# --- Playing -----------------------------------------------------------------------------------------------------------


async def play(plot: Script, fields: LiquidationFields, dsn: str, data: Path) -> Played:
    """Play a script and return what was shown."""
    began = time.monotonic()
    clock = LeapingClock(BEGIN_MS)
    simulator = await simulation.start(plot.seed, clock=clock.now_ms, roster=plot.roster, liquidation_fields=fields)
    played = Played(fields)
    try:
        simulator.world.pause()
        tables = ("positions", "accounts", "feeds", "alerts")
        async with desk(
            simulator, data, changes=(stored_at(dsn), _as_an_operator), clock=clock, tables=tables
        ) as shown:
            await _begun(shown, clock)
            for tick, moves in enumerate(plot.path):
                before = simulator.world.scaled({})
                if plot.in_motion[tick]:
                    await _moved(shown, simulator, clock, moves)
                else:
                    await _answered(shown, clock)
                    clock.leap(TICK_MS)
                    simulator.world.move(moves)
                    await _followed(shown, simulator)
                    await _reported(shown, simulator, clock)
                _watch(played, shown, Tick(tick, before, moves, simulator.world, plot.in_motion[tick]))
                simulator.world.liquidate_due()
            played.still_open = await _closed(shown, simulator, clock)
    finally:
        await simulator.stop()
    played.seconds = time.monotonic() - began
    return played


def _as_an_operator(config: Config, specs: list[AccountSpec]) -> tuple[Config, list[AccountSpec]]:
    """Promote every model, and ask whole states seldom: the path is told by the streams."""
    changed = msgspec.structs.replace(
        config, models=ModelSettings(promoted=tuple(CATALOG)), verify=VerifySettings(every_s=60)
    )
    return changed, specs


def _open(world: World) -> dict[Key, float]:
    """Return the mark of every open position."""
    return {
        (name, p.symbol, p.side, p.mode): float(world.mark(p.venue, p.symbol))
        for name in world.accounts
        for p in world.positions(name)
    }


def key_of(row: Row) -> Key:
    return row["account"], row["symbol"], row["side"], row["margin_mode"]


async def _moved(shown: Desk, simulator: Simulator, clock: LeapingClock, moves: Moves) -> None:
    """Move in two steps without rest: what the venues report after the first meets marks of the second, and answers come late."""
    clock.leap(TICK_MS)
    for part in _halves(moves):
        simulator.world.move(part)
        await _beat(simulator, clock)
    await _followed(shown, simulator)


def _halves(moves: Moves) -> tuple[Moves, Moves]:
    """Return two moves that make the one."""
    return (
        {base: move / 2 for base, move in moves.items()},
        {base: (1 + move) / (1 + move / 2) - Decimal(1) for base, move in moves.items()},
    )


async def _reported(shown: Desk, simulator: Simulator, clock: LeapingClock) -> None:
    """Let the venues repeat at rest what they repeat every few seconds."""
    for _ in range(REPORTED_WITHIN_MS // TICK_MS):
        await _beat(simulator, clock)
    await _followed(shown, simulator)


async def _beat(simulator: Simulator, clock: LeapingClock) -> None:
    clock.leap(TICK_MS)
    moment = clock.now_ms()
    await eventually(lambda: simulator.world.now_ms >= moment, "the venues' next beat")


async def _followed(shown: Desk, simulator: Simulator) -> None:
    """Wait until the marks of this tick have reached the client, and prices of coins with the clock's turn after them."""
    marks = _open(simulator.world)

    def arrived() -> bool:
        rows = {key_of(row): row for row in shown.positions.values()}
        return all(key in rows and rows[key].get("mark_price") == mark for key, mark in marks.items())

    def missing() -> str:
        rows = {key_of(row): row for row in shown.positions.values()}
        late = [f"{key}: {rows.get(key, {}).get('mark_price')}, truly {mark}" for key, mark in marks.items()]
        return "; ".join(one for one in late if " None," in one or not arrived())[:500]

    await eventually(arrived, missing, FOLLOW_LIMIT_S)
    shown.gateway.turns.clock(shown.gateway.feeds.heard())

    def current() -> bool:
        tables = shown.gateway.engine.tables
        return all(
            shown.client.tables[name].get(id_) == version.row
            for name in ("positions", "alerts")
            for id_ in tables[name].ids()
            if (version := tables[name].get(id_)) is not None
        )

    await eventually(current, "the client has what is published", FOLLOW_LIMIT_S)


def _watch(played: Played, shown: Desk, tick: Tick) -> None:
    """Keep what is shown of every open position after a tick."""
    there = _open(tick.world)
    rows = {id_: row for id_, row in shown.positions.items() if key_of(row) in there}
    for id_, row in rows.items():
        seen = played.watched.setdefault(key_of(row), Watched())
        seen.rows += [None] * (tick.number - len(seen.rows)) + [dict(row)]
        seen.stated |= "venue_liquidation_price" in row
        seen.calibrated |= row.get("liquidation_source") == "calibrated"
        pool = shown.client.tables["accounts"][row["account"]]["pools"].get(row["pool"], {})
        flagged = id_ in pool.get("calibration", {}).get("flagged", {})
        seen.flagged |= flagged
        seen.flagged_in_motion |= flagged and tick.in_motion
        seen.sources[tick.in_motion][str(row.get("liquidation_source"))] += 1
    for alert in shown.client.tables["alerts"].values():
        told = rows.get(alert["subject"])
        if alert["state"] == "firing" and alert["rule"] == RULE and told is not None:
            _alerted(played, tick, told, alert)


def _alerted(played: Played, tick: Tick, row: Row, alert: Row) -> None:
    """Note the first firing of a position's alert; where its last step was reached too far away, that is a false alarm.

    The marks of a tick come one after the other: what was never so near in any order of them was told wrongly.
    """
    seen = played.watched[key_of(row)]
    if seen.fired is None:
        seen.fired = tick.number
    if alert["severity"] != LAST_SEVERITY or seen.last_step:
        return
    seen.last_step = True
    account = tick.world.account(row["account"])
    mine = tick.world.positions(account.name)
    position = next(p for p in mine if (account.name, p.symbol, p.side, p.mode) == key_of(row))
    true = nearest_between(tick.before, tick.moves, tick.world, account, position)
    if true is None or float(true) > LAST_STEP + ROUNDING:
        played.false_alarms.append(
            {"position": ":".join(key_of(row)), "tick": tick.number}
            | {"true": None if true is None else round(float(true), 6)}
            | {name: row.get(name) for name in ("liquidation_distance", "liquidation_source", "trigger_price")}
        )


async def _begun(shown: Desk, clock: LeapingClock) -> None:
    """Wait until all positions are shown as they are; time passes meanwhile, since the venues' limits delay the first questions."""
    loop = asyncio.get_running_loop()
    deadline, left = loop.time() + START_LIMIT_S, ["not every feed is live"]
    while left:
        assert loop.time() < deadline, f"not in {START_LIMIT_S} s:\n" + "\n".join(left[:20])
        clock.leap(START_LEAP_MS)
        await asyncio.sleep(0.01)
        if shown.all_live():
            left = [one for one in shown.differences(await shown.snapshot()) if ": equity " not in one]
    # The first answers are older than the first marks: asked once more, the venues' figures and ours are of one moment.
    asked = asyncio.ensure_future(shown.get("/v1/positions?max_age_ms=1"))
    while not asked.done():
        clock.leap(START_LEAP_MS)
        await asyncio.sleep(0.01)
    await asked


async def _answered(shown: Desk, clock: LeapingClock) -> None:
    """Let questions be answered before prices move by a percent, which they never do between the answers of one round.

    Not for ever: after a liquidation more and more is asked, as fast as the venue's limits allow.
    """
    for _ in range(PATIENCE_LOOKS):
        if shown.quiet():
            return
        clock.leap(START_LEAP_MS)
        await asyncio.sleep(0.01)


async def _closed(shown: Desk, simulator: Simulator, clock: LeapingClock) -> list[str]:
    """Let some time pass and return what is still shown of what was liquidated."""

    def ghosts() -> list[str]:
        true = _open(simulator.world)
        return [":".join(key_of(row)) for row in shown.positions.values() if key_of(row) not in true]

    for _ in range(20):
        if not ghosts():
            break
        clock.leap(TICK_MS)
        await asyncio.sleep(0.05)
    return ghosts()
