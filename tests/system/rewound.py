"""What is stored against what the journal says: a replay up to the last stored place, and a computation from the rows alone."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import asyncpg
import msgspec
import orjson

from exchanges.events import CurrencyPrice, Event, FundingRate, Price
from gateway.core.alerts.rules import rules
from gateway.core.beginning import Base
from gateway.core.journal import Entry, MarkSample, decode
from gateway.engine import Engine
from gateway.rewind import Conditions, GapInJournal, NothingKept, Rewind
from gateway.rewind import tables as whole
from gateway.storage import entries, restore
from gateway.storage.mirror import Mirror
from gateway.storage.restore import Restored

Row = Entry | MarkSample
Json = Any
TOLERANCE = 1e-9
# How far a model was from the venue at the moment of its last word: nothing that a later mark could bring back.
_OF_A_MOMENT = "/calibration/"
_PUBLISHED_LATER = re.compile(r"/calibration|/rates/[^/]+/at:")
# What no replay is held to: when something was heard, and what connections do.
APART = frozenset({"feeds"})
APART_FIELDS = frozenset({"mark_at", "seq"})


@dataclass(frozen=True)
class Kept:
    """All that a database holds of a life, read in one snapshot: the journal up to its last place, and the rows stored there."""

    epoch: str
    until: int
    clean: bool
    rows: tuple[Row, ...]
    stored: Restored

    @property
    def last_at(self) -> int:
        """The moment of the last entry (ms)."""
        return max((row.at for row in self.rows[-200:]), default=0)


async def read(connection: asyncpg.Connection[Any]) -> Kept | None:
    """Read it; None: nothing was ever written."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        checkpoint = await connection.fetchrow("SELECT epoch, journal, clean FROM checkpoint")
        if checkpoint is None:
            return None
        until = checkpoint["journal"]
        found = tuple([row async for row in entries.life(connection, until + 1)])
        at = max((row.at for row in found[-200:]), default=0)
        stored = await restore.read(connection, Mirror(), at)
    return Kept(checkpoint["epoch"], until, checkpoint["clean"], found, stored)


def differences(kept: Kept | None) -> list[str]:
    """Return in words where the replay differs from the stored rows, and its figures from a fresh computation."""
    if kept is None or not kept.stored.positions:
        return ["replay: nothing is stored"]
    replayed = _replay(kept)
    if isinstance(replayed, str):
        return [replayed]
    fresh = _fresh(kept, _told_by_positions(replayed))
    found = [f"replay: {one}" for one in _unequal(_sent(replayed), _sent(fresh))]
    for engine in (replayed, fresh):
        engine.clock(kept.last_at)  # slow figures are those of the last clock turn
    return found + [f"fresh figures: {one}" for one in _far(_figures(replayed), _figures(fresh))]


def unlike_live(kept: Kept | None, lived: Engine) -> list[str]:
    """Return where the replay of a life that ended in good order differs from the engine that lived it, whole."""
    return _unlike(kept, whole(lived), None)


def unlike_snapshot(kept: Kept | None, last: Mapping[str, Json]) -> list[str]:
    """Return where a replay up to the last snapshot differs from that.

    What the journal has as it stands at the end, or at clock turns, is the business of ``unlike_live``: figures of alerts, how far
    models were from the venue, of when the prices of currencies are.
    """
    tables = {name: rows for name, rows in last.items() if isinstance(rows, dict) and name != "alerts"}
    found = _unlike(kept, {**tables, "epoch": last["epoch"]}, last["seq"])
    return [one for one in found if not _PUBLISHED_LATER.search(one)]


def _unlike(kept: Kept | None, live: Mapping[str, Json], seq: int | None) -> list[str]:
    if kept is None or not kept.clean:
        return ["the checkpoint does not say that the stop was clean"]
    if kept.epoch != live["epoch"]:
        return [
            f"the database's last batch is of epoch {kept.epoch}, the gateway was {live['epoch']}: its own lie in the spool"
        ]
    replayed = _replay(kept if seq is None else _until(kept, seq))
    if isinstance(replayed, str):
        return [replayed]
    ours, theirs = (orjson.loads(orjson.dumps(tables)) for tables in (whole(replayed), live))
    if ours["epoch"] != theirs["epoch"]:
        return [f"the replay is of epoch {ours['epoch']}, the gateway was {theirs['epoch']}"]
    names = [name for name, rows in theirs.items() if isinstance(rows, dict) and name not in APART]
    pairs = [(name, *(_plain(tables[name]) for tables in (ours, theirs))) for name in names]
    return [f"{name} {one}" for name, replay, true in pairs for one in _unequal(replay, true)]


def _until(kept: Kept, seq: int) -> Kept:
    """Leave out the turns that changed something after a change set: the connections that a stop ends."""
    after = min((row.turn for row in kept.rows if isinstance(row, Entry) and row.seq > seq), default=None)
    if after is None:
        return kept
    rows = [row for row in kept.rows if row.turn < after]
    return replace(kept, rows=tuple(rows))


def _plain(rows: Mapping[str, Json]) -> dict[str, Json]:
    return {id_: {name: value for name, value in row.items() if name not in APART_FIELDS} for id_, row in rows.items()}


# --- Engines ------------------------------------------------------------------------------------------------------------


def _replay(kept: Kept) -> Engine | str:
    """Return the engine after the last stored place, or why there is none."""
    rewind = Rewind()
    for row in kept.rows:
        rewind.feed(row)
    try:
        found = rewind.finish()
    except NothingKept as error:
        return f"replay: {error}"
    if rewind.failures:
        return f"replay: turns failed: {dict(rewind.failures)}"
    return found


def _told_by_positions(engine: Engine) -> Iterator[tuple[Event, int]]:
    """Yield the marks that no feed told, but a position's message: the row that is stored may be of a later one without."""
    for (venue, env, name), symbol in engine.market.symbols.items():
        if symbol.source == "position" and symbol.value is not None and symbol.received_at is not None:
            yield (
                Price(venue=venue, env=env, symbol=name, value=symbol.value, kind="mark", at=symbol.at),
                symbol.received_at,
            )


def _fresh(kept: Kept, beside: Iterable[tuple[Event, int]]) -> Engine:
    """Return an engine that knows the stored rows and the last prices of the journal alone, those within a base among them.

    ``beside``: further marks.
    """
    base = msgspec.json.decode(_bases(kept.rows)[-1].body, type=Base)
    by = msgspec.json.decode(base.settings, type=Conditions)
    engine = Engine(
        "fresh",
        base.accounts,
        by.engine,
        promoted=by.models.promoted,
        risk=by.risk,
        stress=by.stress,
        rules=rules(by.rules, builtin=by.builtin, channels=by.channels),
    )
    stored_at = kept.stored.checkpoint.at if kept.stored.checkpoint else None
    engine.restore(kept.stored.events(), kept.last_at, stored_at)
    engine.hear([*newest(kept.rows).values(), *beside])
    engine.turn((), kept.last_at)
    return engine


def newest(rows: Sequence[Row]) -> dict[tuple[str, ...], tuple[Event, int]]:
    """Return the last prices and rates that rows hold, the bases among them too, each with its moment (ms)."""
    found: dict[tuple[str, ...], tuple[Event, int]] = {}
    begins = {one.id for one in _bases(rows)}
    for row in rows:
        if isinstance(row, MarkSample):
            told = [(_price(row), row.at)]
        elif row.kind == "turn":
            told = [(event, row.at) for event in decode(row.body)]
        else:
            told = list(_within(rows, row)) if row.id in begins else []
        for event, at in told:
            match event:
                case Price():
                    found[event.venue, event.env, event.symbol, event.kind] = event, at
                case CurrencyPrice():
                    found[event.venue, event.env, event.ccy, "usd"] = event, at
                case FundingRate():
                    found[event.venue, event.env, event.symbol, "rate"] = event, at
                case _:
                    pass
    return found


def _bases(rows: Sequence[Row]) -> list[Entry]:
    """Return the first entry of each base that is there in whole, with nothing missing between its entries."""
    found, parts = list[Entry](), list[Entry]()
    for row in rows:
        if isinstance(row, Entry) and row.kind == "lost":
            parts = []
        elif isinstance(row, Entry) and row.kind == "base":
            parts = [one for one in parts if (one.epoch, one.turn) == (row.epoch, row.turn)] + [row]
            found += [parts[0]] * (len(parts) == row.seq)
    return found


def _within(rows: Sequence[Row], first: Entry) -> Iterator[tuple[Event, int]]:
    """Yield the prices and rates of the whole base that begins with an entry."""
    rewind = Rewind()
    for row in rows:
        if isinstance(row, Entry) and row.kind == "base" and (row.epoch, row.turn) == (first.epoch, first.turn):
            rewind.feed(row)
    assert rewind.engine is not None, "its base is whole"
    market = rewind.engine.market
    for (venue, env, name), symbol in market.symbols.items():
        of = {"venue": venue, "env": env, "symbol": name}
        if symbol.source == "feed" and symbol.value is not None and symbol.received_at is not None:
            yield Price(**of, value=symbol.value, kind="mark", at=symbol.feed_at), symbol.received_at
        index = float(market.funding.index[symbol.number])
        if not math.isnan(index):
            yield Price(**of, value=repr(index), kind="index", at=None), first.at
    for rate in market.funding._newest.values():
        yield rate, first.at
    for venue, env, ccy in market.currencies.indices():
        counting = market.currencies.counting((venue, env, ccy))
        if counting is not None:
            yield CurrencyPrice(venue=venue, env=env, ccy=ccy, usd=repr(counting[0]), at=counting[1]), first.at


def gap(kept: Kept) -> int | None:
    """Return the last place of a gap behind which no whole base is; None: a replay is possible."""
    ends = [row.id for row in kept.rows if isinstance(row, Entry) and row.kind == "lost"]
    last = max(ends, default=0)
    return last if ends and not [one for one in _bases(kept.rows) if one.id > last] else None


def unsaid(kept: Kept, until: int) -> list[str]:
    """Return where a replay up to a place behind a gap (which ends at ``until``) says anything but that it cannot be."""
    rewind = Rewind()
    for row in kept.rows:
        rewind.feed(row)
    try:
        rewind.finish()
    except GapInJournal as error:
        if error.gap.until != until:
            return [f"replay: the gap ends at {until}, it is said to end at {error.gap.until}"]
        before = _replay(replace(kept, rows=tuple(row for row in kept.rows if row.id < error.gap.since)))
        return [f"up to the gap: {before}"] if isinstance(before, str) and error.until is not None else []
    return [f"replay: it went across the gap that ends at {until}"]


def _price(row: MarkSample) -> Event:
    if row.kind == "usd":
        return CurrencyPrice(venue=row.venue, env=row.env, ccy=row.symbol, usd=row.value, at=row.venue_at)
    return Price(venue=row.venue, env=row.env, symbol=row.symbol, value=row.value, kind=row.kind, at=row.venue_at)


# --- What is compared ---------------------------------------------------------------------------------------------------


def _sent(engine: Engine) -> dict[str, Json]:
    """Return every field that the venues sent, of positions, money and modes."""
    positions = {id_: _fields(position.state) for id_, position in engine.positions.items()}
    accounts = {
        name: {
            "coins": {coin.ccy: _fields(coin) for coin in account.all_coins()},
            "pools": {pool.name: _fields(pool.state) for pool in account.pools.values() if pool.state is not None},
            "mode": None if account.mode is None else _fields(account.mode),
        }
        for name, account in engine.accounts.items()
    }
    return {"positions": positions, "accounts": accounts}


def _fields(event: Any) -> Json:
    return {name: value for name, value in msgspec.to_builtins(event).items() if name != "fence"}


def _figures(engine: Engine) -> dict[str, float]:
    """Return every computed figure of positions and accounts by its path."""
    tables = whole(engine)
    rows = orjson.loads(orjson.dumps({name: tables[name] for name in ("positions", "accounts")}))
    return dict(_numbers("", rows))


def _numbers(path: str, value: Json) -> Iterator[tuple[str, float]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _numbers(f"{path}/{name}", inner)
    elif isinstance(value, float):
        yield path, value


def _far(replayed: Mapping[str, float], fresh: Mapping[str, float]) -> Iterator[str]:
    for path in sorted(path for path in replayed.keys() | fresh.keys() if _OF_A_MOMENT not in path):
        one, other = replayed.get(path), fresh.get(path)
        if one is None or other is None or abs(one - other) > TOLERANCE * max(1.0, abs(one)):
            yield f"{path} {one} replayed, {other} computed"


def _unequal(ours: Json, theirs: Json, path: str = "") -> Iterator[str]:
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for name in sorted(ours.keys() | theirs.keys()):
            yield from _unequal(ours.get(name), theirs.get(name), f"{path}/{name}")
    elif ours != theirs:
        yield f"{path}: {str(ours)[:200]} replayed, {str(theirs)[:200]} stored"
