"""Liquidations as they come: what was shown last, who was told before, and what happens where the venue is silent or wrong.

``python -m tests.system.liquidations --seed 1 --count 200``: plays scripts of ``episodes`` until that many liquidations came, each
three times: the venues' liquidation fields sent, blanked, and 2 % wrong. Ends with one line of JSON; exits with 1 where a last
distance was not within one tick's move of zero, nobody was told, or a wrong price was believed.

``in_motion`` tells apart what came of the ticks in which the venues reported while prices moved.

Models that nobody measured are promoted by configuration (``models: {promoted: [...]}``), as an operator does after recording
pairs of his own.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg

from exchanges.sim.quoted import LIQUIDATION_FIELDS, LiquidationFields
from gateway.config import LogSettings
from gateway.core.margin.catalog import CATALOG
from gateway.log import configure
from gateway.storage.embedded import EmbeddedPostgres
from gateway.storage.migrate import upgrade
from tests.system.episodes import Script, script
from tests.system.playing import ROUNDING, Key, Played, Row, play
from tests.system.spent import End, Held

ENOUGH_FLAGGED = 0.95
# Aster tells no haircuts of the coins that back multi-assets mode: such a pool cannot be computed, and the venue's figure is shown.
NOT_COMPUTED = frozenset({("aster", "coin")})
COMPUTED = frozenset({"model", "calibrated"})

Databases = Callable[[], AbstractAsyncContextManager[str]]


@dataclass
class Motion:
    """What came of ticks in which the venues reported while prices moved."""

    liquidations: int = 0
    rows: int = 0
    misses: int = 0
    not_told: int = 0
    false_alarms: int = 0
    flagged: int = 0  # positions
    shown: dict[bool, Counter[str]] = field(default_factory=lambda: {False: Counter(), True: Counter()})

    def summary(self) -> dict[str, Any]:
        """Return the figures for JSON; ``shown``: rows by whose figure they showed after a tick, beside the same at rest."""
        return {
            "liquidations": self.liquidations,
            "rows": self.rows,
            "misses": self.misses,
            "not_told": self.not_told,
            "false_alarms": self.false_alarms,
            "flagged": self.flagged,
            "shown": dict(self.shown[True]),
            "shown_at_rest": dict(self.shown[False]),
        }


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
    not_computed: list[dict[str, Any]] = field(default_factory=list)
    not_told: list[dict[str, Any]] = field(default_factory=list)
    told_ticks_before: list[int] = field(default_factory=list)
    false_alarms: list[dict[str, Any]] = field(default_factory=list)
    ghosts: list[str] = field(default_factory=list)
    stated: int = 0
    flagged: int = 0
    unflagged: list[str] = field(default_factory=list)
    calibrated: list[str] = field(default_factory=list)
    in_motion: Motion = field(default_factory=Motion)
    seconds: float = 0.0

    def take(self, plot: Script, played: Played) -> None:
        """Judge one script that was played."""
        self.seconds += played.seconds
        self.ghosts += played.still_open
        self.false_alarms += [{"seed": plot.seed, **alarm} for alarm in played.false_alarms]
        self.in_motion.false_alarms += sum(plot.in_motion[alarm["tick"]] for alarm in played.false_alarms)
        for end in plot.ends:
            self.liquidations += 1
            self.in_motion.liquidations += plot.in_motion[end.tick]
            kind = f"{end.venue} {plot.kinds[end.account]}"
            self.by_kind[kind] = self.by_kind.get(kind, 0) + 1
            self.crossed_tiers += any(held.crossed for held in end.held)
            self._told(plot, end, played)
            for held in end.held:
                self._row(plot, end, held, played)
        venues = {spec.name: spec.venue for spec in plot.roster}
        for key, seen in played.watched.items():
            if (venues[key[0]], plot.kinds[key[0]]) in NOT_COMPUTED:
                continue
            for in_motion, sources in seen.sources.items():
                self.in_motion.shown[in_motion] += sources
            self.in_motion.flagged += seen.flagged_in_motion
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
        self.in_motion.rows += plot.in_motion[end.tick]
        row = _row_at(played, end, held, end.tick)
        source = str((row or {}).get("liquidation_source"))
        self.by_source[source] = self.by_source.get(source, 0) + 1
        if source not in COMPUTED and (end.venue, plot.kinds[end.account]) in NOT_COMPUTED:
            self.not_computed.append(_told_of(plot, end, held, row))
            return
        move = float(held.before - held.after)
        shown = (row or {}).get("liquidation_distance")
        before = (_row_at(played, end, held, end.tick - 1) or {}).get("liquidation_distance")
        if shown is not None:
            self.worst = max(self.worst, abs(shown) / move)
            self.error.append(abs(shown - float(held.after)))
        through = shown is not None and -move - ROUNDING <= shown <= ROUNDING
        if not through or (before is not None and before < -ROUNDING):
            self.misses.append(_told_of(plot, end, held, row) | {"shown_before": before})
            self.in_motion.misses += plot.in_motion[end.tick]

    def _told(self, plot: Script, end: End, played: Played) -> None:
        """Note how long before its end a pool's first alert fired, or that none did."""
        keys = [_key_of(end, held) for held in end.held]
        fired = [seen.fired for key in keys if (seen := played.watched.get(key)) and seen.fired is not None]
        if fired and min(fired) <= end.tick:
            self.told_ticks_before.append(end.tick - min(fired))
        else:
            excused = (end.venue, plot.kinds[end.account]) in NOT_COMPUTED
            self.in_motion.not_told += plot.in_motion[end.tick] and not excused
            found = self.not_computed if excused else self.not_told
            found.append(_told_of(plot, end, end.held[0], _row_at(played, end, end.held[0], end.tick)))

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
            "not_computed": len(self.not_computed),
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
            "in_motion": self.in_motion.summary(),
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
        "seed": plot.seed, "tick": end.tick, "in_motion": plot.in_motion[end.tick],
        "position": ":".join(_key_of(end, held)), "kind": plot.kinds[end.account],
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
    fresh: Databases,
    data: Path,
    *,
    settings: Sequence[LiquidationFields] = LIQUIDATION_FIELDS,
    say: Callable[[str], None] = lambda line: None,
) -> dict[LiquidationFields, Verdict]:
    """Play scripts until ``count`` liquidations came, with each setting; ``fresh`` makes an empty, migrated database each time."""
    verdicts = {fields: Verdict(fields) for fields in settings}
    left, number = count, 0
    while left > 0:
        plot = script(1_000 * seed + number).cut(left)
        left, number = left - len(plot.ends), number + 1
        for fields, verdict in verdicts.items():
            async with fresh() as dsn:
                played = await play(plot, fields, dsn, data)
            verdict.take(plot, played)
            say(
                f"script {plot.seed}, fields {fields}: {verdict.liquidations} liquidations, {len(verdict.misses)} misses, "
                f"{len(verdict.not_told)} not told, {len(verdict.false_alarms)} false alarms, {played.seconds:.0f} s"
            )
    return verdicts


@asynccontextmanager
async def databases(folder: Path) -> AsyncIterator[Databases]:
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
    async def fresh() -> AsyncIterator[str]:
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
    told: dict[str, Any] = {
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
