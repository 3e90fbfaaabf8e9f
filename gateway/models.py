"""``perpwire models``: how the margin models agree with the venues, pairs to judge them by, and which may be promoted.

Owns the questions to the running gateway, the file of pairs (JSON Lines) and the texts. A model is judged by the same engine that
runs it: every pair is played into a new one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, BinaryIO, NamedTuple

import msgspec

from exchanges.events import PositionState
from gateway.asking import ask
from gateway.config import EngineSettings
from gateway.core.accounts import AccountInfo
from gateway.core.margin.catalog import CATALOG
from gateway.core.pairs import ACCOUNT, Pair
from gateway.core.residuals import Agreement, Residuals
from gateway.engine import Engine

# A model may be promoted by so many comparisons of so many different positions, not one of them beyond the bounds.
ENOUGH_PAIRS, ENOUGH_POSITIONS = 20, 5


async def record(url: str, file: BinaryIO, seconds: float, stop: asyncio.Event) -> int:
    """Write the pairs that the gateway's accounts make within some seconds, each once; return how many. Raises NoAnswer."""
    written: set[bytes] = set()
    encoder = msgspec.json.Encoder(order="deterministic")
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    while True:
        for found in (await ask(url, "/internal/models/pairs"))["pairs"]:
            pair = msgspec.convert(found, Pair)
            said = encoder.encode((pair.venue, pair.at, pair.positions))  # prices of others go on moving
            if said not in written:
                written.add(said)
                file.write(encoder.encode(pair) + b"\n")
        left = until - loop.time()
        if left <= 0.0 or stop.is_set():
            return len(written)
        try:
            await asyncio.wait_for(stop.wait(), min(1.0, left))
        except TimeoutError:
            continue


def read(lines: Iterable[bytes], name: str) -> Iterator[Pair]:
    """Yield the pairs of a file. Raises ValueError, naming the line, where one is none."""
    decoder = msgspec.json.Decoder(Pair)
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                yield decoder.decode(line)
            except msgspec.MsgspecError as bad:
                raise ValueError(f"{name}:{number}: not a pair as --record writes them: {bad}") from None


class Judged(NamedTuple):
    """One model by its pairs; ``positions``: how many different ones."""

    name: str
    agreement: Agreement
    positions: int

    @property
    def may_be_promoted(self) -> bool:
        """Say whether that is enough, and all of it agrees."""
        it = self.agreement
        return it.beyond == 0 and it.share.n >= ENOUGH_PAIRS and self.positions >= ENOUGH_POSITIONS


def judge(pairs: Iterable[Pair], settings: EngineSettings) -> list[Judged]:
    """Hold the models against pairs, with the bounds of these settings."""
    residuals = Residuals()
    positions: dict[str, set[tuple[object, ...]]] = {}
    for pair in pairs:
        engine = _play(pair, settings, residuals)
        for one in engine.positions.values():
            compared = one.pool.calibration.rows if one.pool.calibration is not None else {}
            if one.state.id in compared and one.maintenance.model is not None:
                state = one.state
                positions.setdefault(one.maintenance.model, set()).add(
                    (state.symbol, state.side, state.size, state.entry_price)
                )
    found = sorted(residuals.models.items())
    return [Judged(name, it, len(positions.get(name, ()))) for name, it in found if it.compared]


def _play(pair: Pair, settings: EngineSettings, residuals: Residuals) -> Engine:
    """Bring a new engine to the moment of a pair: first all that stood already, without the venue's figures, then its message.

    How marks moved before is not part of a pair: they stand long enough that it is no matter.
    """
    engine = Engine("judge", [AccountInfo(name=ACCOUNT, venue=pair.venue, env=pair.env)], settings)
    engine.calibration.residuals = residuals
    mode = [pair.mode] if pair.mode is not None else []
    before = [*map(_untold, pair.others), *map(_untold, pair.positions)]
    stood = [*pair.instruments, *pair.tiers, *pair.collateral, *pair.currencies, *mode, *pair.balances, *before]
    begun = pair.at - 2 * settings.anchor_skew_ms
    engine.turn([*stood, *pair.prices], begun)
    engine.clock(begun)  # prices of currencies count from here on
    for price in pair.prices:
        engine.turn([price], price.at if price.at is not None else pair.at)
    engine.turn([*(pair.balances if pair.together else ()), *pair.positions], pair.at)
    return engine


def _untold(state: PositionState) -> PositionState:
    return msgspec.structs.replace(
        state, venue_liquidation_price=None, venue_margin_ratio=None, liquidation_known="unknown"
    )


# --- texts ------------------------------------------------------------------------------------------------------------------

_HEAD = (
    "model",
    "evidence",
    "shown",
    "anchors",
    "|δ|/equity",
    "worst",
    "distance",
    "worst",
    "one-sided",
    "flagged",
    "PnL",
)


def table(answer: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of ``GET /v1/models`` for humans."""
    rows = [_HEAD, *(_cells(model) for model in answer["models"])]
    rows += [
        (venue["name"], "", "", str(venue["anchors"]), "", "", "", "", "", "", _accuracy(venue))
        for venue in answer["venues"]
    ]
    yield from aligned(rows)


def _cells(model: Mapping[str, Any]) -> tuple[str, ...]:
    share, distance = model.get("delta_share", {}), model.get("distance", {})
    figures = (_number(kind.get(which)) for kind in (share, distance) for which in ("median", "worst"))
    return (
        model["name"],
        model["evidence"],
        "model" if model["trusted"] else "venue",
        str(model["anchors"]),
        *figures,
        str(model["one_sided"]),
        str(model["flagged"]),
        _accuracy(model),
    )


def _accuracy(row: Mapping[str, Any]) -> str:
    return f"{row['pnl_accuracy']:.9g}" if "pnl_accuracy" in row else "-"


def _number(value: float | None) -> str:
    return "-" if value is None or value != value else f"{value:.2g}"  # noqa: PLR0124  NaN only


def aligned(rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    """Yield rows of cells as lines of columns."""
    rows = list(rows)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def verdict(found: Iterable[Judged]) -> Iterator[str]:
    """Yield what pairs say of each model, and what to write into the configuration."""
    found = list(found)
    head = (
        "model",
        "evidence",
        "pairs",
        "positions",
        "|δ|/equity",
        "worst",
        "distance",
        "worst",
        "one-sided",
        "beyond",
    )
    rows = [head]
    for one in found:
        it = one.agreement
        rows.append(
            (
                one.name,
                CATALOG[one.name].evidence if one.name in CATALOG else "?",
                str(it.compared),
                str(one.positions),
                _number(it.share.median),
                _number(it.share.worst),
                _number(it.distance.median),
                _number(it.distance.worst),
                str(it.one_sided),
                str(it.beyond),
            )
        )
    yield from aligned(rows)
    promoted = [
        one.name
        for one in found
        if one.may_be_promoted and one.name in CATALOG and CATALOG[one.name].evidence != "measured"
    ]
    yield ""
    if not promoted:
        yield (
            f"Nothing to promote: a model that was not measured needs {ENOUGH_PAIRS} pairs of {ENOUGH_POSITIONS} different "
            "positions, none of them beyond the bounds."
        )
        return
    yield "These may be promoted; in config.yaml:"
    yield "models:"
    yield f"  promoted: [{', '.join(promoted)}]"
