"""Liquidations as they come: what was shown last, who was told before, and what happens where the venue is silent or wrong.

``python -m tests.system.liquidations --seed 1 --count 200``: plays scripts of ``episodes`` until that many liquidations came, each
three times: the venues' liquidation fields sent, blanked, and 2 % wrong. Real gateway, real codecs, real wire messages; the world
stands still but for its ticks, and time leaps from one to the next. Ends with one line of JSON; exits with 1 where a last distance
was not within one tick's move of zero, nobody was told, or a wrong price was believed.

Models that nobody measured are promoted by configuration (``models: {promoted: [...]}``), as an operator does after recording
pairs of his own.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import msgspec

from exchanges.clock import Timer
from exchanges.sim import server as simulation
from exchanges.sim.quoted import LIQUIDATION_FIELDS, LiquidationFields
from exchanges.sim.server import Simulator
from exchanges.sim.world import World
from exchanges.venue import AccountSpec
from gateway.config import Config, LogSettings, ModelSettings, VerifySettings
from gateway.core.margin.catalog import CATALOG
from gateway.log import configure
from gateway.storage.embedded import EmbeddedPostgres
from gateway.storage.migrate import upgrade
from tests.system.desk import Desk, desk, eventually, stored_at
from tests.system.episodes import BEGIN_MS, Script, script
from tests.system.spent import End, Held, distance

TICK_MS = 1_000
FOLLOW_LIMIT_S = 20.0
START_LIMIT_S = 60.0
RULE = "liquidation"  # the built-in rule of distances: 20, 10, 5 %
LAST_STEP, LAST_SEVERITY = 0.05, "critical"
# Marks are told rounded to the venue's step, coins and balances to their digits: of a distance this much may be rounding.
ROUNDING = 2e-4
ENOUGH_FLAGGED = 0.95

Key = tuple[str, str, str, str]  # account, symbol, side, margin mode
Row = Mapping[str, Any]


class LeapingClock:
    """The machine's clocks from a moment of one's own, which can be made to leap; timers leap with them. A ``Clock``."""

    def __init__(self, begins_ms: int) -> None:
        self._zero_ms = begins_ms - time.monotonic_ns() // 1_000_000
        self._waiting: dict[_Waiting, asyncio.TimerHandle] = {}

    def now_ms(self) -> int:
        return self._zero_ms + time.monotonic_ns() // 1_000_000

    def wall_ms(self) -> int:
        return self.now_ms()

    def call_at(self, at_ms: int, callback: Callable[[], None]) -> Timer:
        waiting = _Waiting(self, at_ms, callback)
        self._arm(waiting)
        return waiting

    def leap(self, ms: int) -> None:
        """Let so much time have passed."""
        self._zero_ms += ms
        for waiting in list(self._waiting):
            self.forget(waiting)
            self._arm(waiting)

    def forget(self, waiting: _Waiting) -> None:
        handle = self._waiting.pop(waiting, None)
        if handle is not None:
            handle.cancel()

    def _arm(self, waiting: _Waiting) -> None:
        delay_s = max(waiting.at_ms - self.now_ms(), 1) / 1000
        self._waiting[waiting] = asyncio.get_running_loop().call_later(delay_s, self._fire, waiting)

    def _fire(self, waiting: _Waiting) -> None:
        del self._waiting[waiting]
        waiting.callback()


@dataclass(frozen=True, eq=False)
class _Waiting:
    clock: LeapingClock
    at_ms: int
    callback: Callable[[], None]

    def cancel(self) -> None:
        self.clock.forget(self)


@dataclass
class Watched:
    """What was shown of one position during a run."""

    rows: list[Row | None] = field(default_factory=list)  # by tick, as published after its marks
    fired: int | None = None  # the first tick with the alert firing
    flagged: bool = False  # the model was refused: the row says the venue's price, or the residual's alert fired
    calibrated: bool = False
    stated: bool = False  # the venue told a price


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
            await _leaping(clock, shown.all_live)
            await _leaping(clock, shown.quiet)
            await shown.settled()
            for tick, moves in enumerate(plot.path):
                clock.leap(TICK_MS)
                simulator.world.move(moves)
                await _followed(shown, simulator)
                _watch(played, shown, simulator.world, tick)
                simulator.world.liquidate_due()
            played.still_open = await _closed(shown, simulator, clock)
    finally:
        await simulator.stop()
    played.seconds = time.monotonic() - began
    return played


def _as_an_operator(config: Config, specs: list[AccountSpec]) -> tuple[Config, list[AccountSpec]]:
    """Promote every model, and ask whole states seldom: the path is told by the streams."""
    changed = msgspec.structs.replace(
        config, models=ModelSettings(promoted=tuple(CATALOG)), verify=VerifySettings(every_s=20)
    )
    return changed, specs


def _open(world: World) -> dict[Key, float]:
    """Return the mark of every open position."""
    return {
        (name, p.symbol, p.side, p.mode): float(world.mark(p.venue, p.symbol))
        for name in world.accounts
        for p in world.positions(name)
    }


def _key(row: Row) -> Key:
    return row["account"], row["symbol"], row["side"], row["margin_mode"]


async def _followed(shown: Desk, simulator: Simulator) -> None:
    """Wait until the marks of this tick have reached the client, and prices of coins with the clock's turn after them."""
    marks = _open(simulator.world)

    def arrived() -> bool:
        rows = {_key(row): row for row in shown.positions.values()}
        return all(key in rows and rows[key].get("mark_price") == mark for key, mark in marks.items())

    def missing() -> str:
        rows = {_key(row): row for row in shown.positions.values()}
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


def _watch(played: Played, shown: Desk, world: World, tick: int) -> None:
    rows = {id_: row for id_, row in shown.positions.items() if _key(row) in _open(world)}
    for row in rows.values():
        seen = played.watched.setdefault(_key(row), Watched())
        seen.rows += [None] * (tick - len(seen.rows)) + [dict(row)]
        seen.stated |= "venue_liquidation_price" in row
        seen.calibrated |= row.get("liquidation_source") == "calibrated"
        seen.flagged |= row.get("liquidation_source") == "venue"
    for alert in shown.client.tables["alerts"].values():
        if alert["state"] != "firing":
            continue
        if alert["rule"] == "model_residual":
            for row in rows.values():
                if alert["subject"] == f"{row['account']}:{row['pool']}" or alert["subject"] == row["pool"]:
                    played.watched[_key(row)].flagged = True
        if alert["rule"] == RULE and (row := rows.get(alert["subject"])) is not None:
            _alerted(played, world, tick, row, alert)


def _alerted(played: Played, world: World, tick: int, row: Row, alert: Row) -> None:
    """Note the first firing of a position's alert; where its last step was reached too far away, that is a false alarm."""
    seen = played.watched[_key(row)]
    if seen.fired is None:
        seen.fired = tick
    if alert["severity"] != LAST_SEVERITY or _was_critical(seen):
        return
    seen.rows[-1] = {**(seen.rows[-1] or {}), "critical": True}
    account = world.account(row["account"])
    position = next(p for p in world.positions(account.name) if (account.name, p.symbol, p.side, p.mode) == _key(row))
    true = distance(world, account, position)
    if true is None or float(true) > LAST_STEP + ROUNDING:
        played.false_alarms.append(
            {"position": ":".join(_key(row)), "tick": tick, "true": None if true is None else round(float(true), 6)}
            | {name: row.get(name) for name in ("liquidation_distance", "liquidation_source", "trigger_price")}
        )


def _was_critical(seen: Watched) -> bool:
    return any(row is not None and "critical" in row for row in seen.rows)


async def _leaping(clock: LeapingClock, condition: Callable[[], bool]) -> None:
    """Wait for what the venues' limits delay: time passes six times as fast."""

    def leapt() -> bool:
        if not condition():
            clock.leap(TICK_MS // 20)
            return False
        return True

    await eventually(leapt, "the feeds are live and no question is under way", START_LIMIT_S)


async def _closed(shown: Desk, simulator: Simulator, clock: LeapingClock) -> list[str]:
    """Let some time pass and return what is still shown of what was liquidated."""

    def ghosts() -> list[str]:
        true = _open(simulator.world)
        return [":".join(_key(row)) for row in shown.positions.values() if _key(row) not in true]

    for _ in range(20):
        if not ghosts():
            break
        clock.leap(TICK_MS)
        await asyncio.sleep(0.05)
    return ghosts()


# --- Judging -----------------------------------------------------------------------------------------------------------


@dataclass
class Verdict:
    """What is to be said of all that was played with one setting of the fields."""

    fields: LiquidationFields
    liquidations: int = 0
    by_kind: dict[str, int] = field(default_factory=dict)
    by_source: dict[str, int] = field(default_factory=dict)
    rows: int = 0
    crossed_tiers: int = 0
    worst: float = 0.0  # share of one tick's move
    error: list[float] = field(default_factory=list)  # published less true distance, fraction of the mark
    misses: list[dict[str, Any]] = field(default_factory=list)
    not_told: list[dict[str, Any]] = field(default_factory=list)
    told_ticks_before: list[int] = field(default_factory=list)
    false_alarms: list[dict[str, Any]] = field(default_factory=list)
    ghosts: list[str] = field(default_factory=list)
    stated: int = 0
    flagged: int = 0
    unflagged: list[str] = field(default_factory=list)
    calibrated: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def take(self, plot: Script, ends: Sequence[End], played: Played) -> None:
        """Judge one script that was played."""
        self.seconds += played.seconds
        self.ghosts += played.still_open
        self.false_alarms += [{"seed": plot.seed, **alarm} for alarm in played.false_alarms]
        for end in ends:
            self.liquidations += 1
            kind = f"{end.venue} {plot.kinds[end.account]}"
            self.by_kind[kind] = self.by_kind.get(kind, 0) + 1
            self.crossed_tiers += any(held.crossed for held in end.held)
            self._told(plot, end, played)
            for held in end.held:
                self._row(plot, end, held, played)
        for key, seen in played.watched.items():
            if seen.stated:
                self.stated += 1
                self.flagged += seen.flagged
                name = f"{plot.seed} {':'.join(key)}"
                self.unflagged += [] if seen.flagged else [name]
                self.calibrated += [name] if seen.calibrated else []

    def _row(self, plot: Script, end: End, held: Held, played: Played) -> None:
        """Compare the last published row of a position with zero, and with the true distance."""
        if held.before is None or held.after is None:
            return  # its underlying alone was not going to end the pool
        self.rows += 1
        row = _row_at(played, end, held, end.tick)
        source = str((row or {}).get("liquidation_source"))
        self.by_source[source] = self.by_source.get(source, 0) + 1
        move = float(held.before - held.after)
        shown = (row or {}).get("liquidation_distance")
        before = (_row_at(played, end, held, end.tick - 1) or {}).get("liquidation_distance")
        if shown is not None:
            self.worst = max(self.worst, abs(shown) / move)
            self.error.append(abs(shown - float(held.after)))
        within = shown is not None and abs(shown) <= move + ROUNDING
        if not within or shown > ROUNDING or (before is not None and before < -ROUNDING):
            self.misses.append(_told_of(plot, end, held, row) | {"shown_before": before})

    def _told(self, plot: Script, end: End, played: Played) -> None:
        """Note how long before its end a pool's first alert fired, or that none did."""
        keys = [_key_of(end, held) for held in end.held]
        fired = [seen.fired for key in keys if (seen := played.watched.get(key)) and seen.fired is not None]
        if fired and min(fired) <= end.tick:
            self.told_ticks_before.append(end.tick - min(fired))
        else:
            self.not_told.append(_told_of(plot, end, end.held[0], _row_at(played, end, end.held[0], end.tick)))

    def failed(self) -> bool:
        """Say whether this is not as it must be."""
        if self.fields == "wrong":
            return bool(self.calibrated) or self.flagged < ENOUGH_FLAGGED * self.stated
        return bool(self.misses or self.not_told)

    def summary(self) -> dict[str, Any]:
        """Return the figures for JSON."""
        error, told = sorted(self.error), sorted(self.told_ticks_before)
        return {
            "liquidations": self.liquidations,
            "by_kind": dict(sorted(self.by_kind.items())),
            "crossed_a_tier": self.crossed_tiers,
            "rows": self.rows,
            "last_source": self.by_source,
            "worst_share_of_a_tick": round(self.worst, 4),
            "distance_error": {"median": error[len(error) // 2], "worst": error[-1]} if error else None,
            "misses": len(self.misses),
            "first_misses": self.misses[:10],
            "not_told": len(self.not_told),
            "first_not_told": self.not_told[:10],
            "told_ticks_before": {"least": told[0], "median": told[len(told) // 2]} if told else None,
            "false_alarms": len(self.false_alarms),
            "first_false_alarms": self.false_alarms[:20],
            "ghosts": self.ghosts,
            "venue_prices": self.stated,
            "flagged": self.flagged,
            "flagged_share": round(self.flagged / self.stated, 4) if self.stated else None,
            "first_unflagged": self.unflagged[:20] if self.fields == "wrong" else [],
            "shown_as_calibrated": len(self.calibrated),
            "seconds": round(self.seconds, 1),
            "ok": not self.failed(),
        }


def _key_of(end: End, held: Held) -> Key:
    return end.account, held.position.symbol, held.position.side, held.position.mode


def _row_at(played: Played, end: End, held: Held, tick: int) -> Row | None:
    seen = played.watched.get(_key_of(end, held))
    return seen.rows[tick] if seen is not None and 0 <= tick < len(seen.rows) else None


def _told_of(plot: Script, end: End, held: Held, row: Row | None) -> dict[str, Any]:
    """Return a counterexample: how to get it again, its inputs, what was shown."""
    shown = (
        "mark_price",
        "liquidation_price",
        "trigger_price",
        "liquidation_distance",
        "liquidation_source",
        "missing",
    )
    return {
        "seed": plot.seed, "tick": end.tick, "position": ":".join(_key_of(end, held)), "kind": plot.kinds[end.account],
        "size": str(held.position.size), "entry": str(held.position.entry_price), "pool": end.pool,
        "true_before": None if held.before is None else round(float(held.before), 7),
        "true_after": None if held.after is None else round(float(held.after), 7),
        "equity": str(round(end.equity, 8)), "requirement": str(round(end.requirement, 8)),
        "shown": {name: row[name] for name in shown if name in row} if row else None,
    }  # fmt: skip


# --- All of it ---------------------------------------------------------------------------------------------------------


async def liquidations(
    seed: int,
    count: int,
    dsn: Callable[[], Any],
    data: Path,
    *,
    settings: Sequence[LiquidationFields] = LIQUIDATION_FIELDS,
    say: Callable[[str], None] = lambda line: None,
) -> dict[LiquidationFields, Verdict]:
    """Play scripts until ``count`` liquidations came, with each setting; ``dsn`` yields an empty, migrated database each time."""
    verdicts = {fields: Verdict(fields) for fields in settings}
    left, number = count, 0
    while left > 0:
        plot = script(1_000 * seed + number)
        ends = plot.ends[:left]
        left, number = left - len(ends), number + 1
        for fields, verdict in verdicts.items():
            async with dsn() as database:
                played = await play(plot, fields, database, data)
            verdict.take(plot, ends, played)
            say(
                f"script {plot.seed}, fields {fields}: {verdict.liquidations} liquidations, {len(verdict.misses)} misses, "
                f"{len(verdict.not_told)} not told, {len(verdict.false_alarms)} false alarms, {played.seconds:.0f} s"
            )
    return verdicts


@asynccontextmanager
async def databases(folder: Path):  # type: ignore[no-untyped-def]
    """Yield what makes a fresh, migrated database each time, on one embedded server."""
    server = EmbeddedPostgres(folder / "cluster")
    base = await server.start()
    made = 0

    async def execute(sql: str) -> None:
        connection = await asyncpg.connect(base)
        try:
            await connection.execute(sql)
        finally:
            await connection.close()

    def at(name: str) -> str:
        return base.replace("postgresql:///postgres?", f"postgresql:///{name}?")

    @asynccontextmanager
    async def fresh():  # type: ignore[no-untyped-def]
        nonlocal made
        made += 1
        await execute(f"CREATE DATABASE liquidations_{made} TEMPLATE pristine")
        yield at(f"liquidations_{made}")
        await execute(f"DROP DATABASE liquidations_{made} WITH (FORCE)")

    try:
        await execute("CREATE DATABASE pristine")
        await upgrade(at("pristine"))
        yield fresh
    finally:
        await server.stop()


async def _main(seed: int, count: int, settings: Sequence[LiquidationFields]) -> int:
    with tempfile.TemporaryDirectory(prefix="perpwire-liquidations-") as folder:
        async with databases(Path(folder)) as fresh:
            verdicts = await liquidations(seed, count, fresh, Path(folder), settings=settings, say=_say)
    measured = [name for name, model in CATALOG.items() if model.evidence == "measured"]
    told = {
        "seed": seed, "count": count, "measured_models": measured,
        "promoted_for_this_run": sorted(CATALOG.keys() - set(measured)),
        **{fields: verdict.summary() for fields, verdict in verdicts.items()},
        "ok": not any(verdict.failed() for verdict in verdicts.values()),
    }  # fmt: skip
    print(json.dumps(told))
    return 0 if told["ok"] else 1


def _say(line: str) -> None:
    print(line, flush=True)


def main() -> int:
    """Parse the command line, play, return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.system.liquidations", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--fields", choices=LIQUIDATION_FIELDS, action="append")
    options = parser.parse_args()
    configure(LogSettings(level="error"))
    return asyncio.run(_main(options.seed, options.count, options.fields or LIQUIDATION_FIELDS))


if __name__ == "__main__":
    sys.exit(main())
