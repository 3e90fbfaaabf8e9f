"""Plans of faults: read from YAML, or drawn from a seed. Pure; the control port carries them out.

A plan is a list of entries, each a fault as ``POST /faults`` takes it and ``at``, seconds from the start::

    - {at: 5, kind: drop, venue: okx}
    - {at: 12.5, kind: close_position, account: bybit-main, symbol: BTCUSDT, quiet: true}
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any

import yaml

from exchanges.sim import acts, disturb
from exchanges.sim.catalog import VenueName
from exchanges.sim.wanted import BadRequest

KINDS = {**disturb.KINDS, **acts.KINDS}
MEAN_PAUSE_S = 4.0
# No fault of a random plan lasts longer.
LONGEST_S = 8.0


class PlanError(ValueError):
    """A plan that cannot be used; the message says where and what is known."""


@dataclass(frozen=True)
class PlannedFault:
    """A fault and when: ``at_s`` seconds from the start, ``wanted`` as ``POST /faults`` takes it."""

    at_s: float
    wanted: Mapping[str, Any]


def check(wanted: Mapping[str, Any]) -> None:
    """Raise BadRequest, naming what is known, for a fault that does not exist or a field that it does not take."""
    name = str(wanted.get("kind"))
    kind = KINDS.get(name)
    if kind is None:
        raise BadRequest(f"there is no fault {name!r}: there are {', '.join(KINDS)}")
    strange = [str(field) for field in wanted if field not in {"kind", *kind.fields}]
    if strange:
        raise BadRequest(f"{name} has no field {', '.join(strange)}: it takes {', '.join(kind.fields)}")


def read_plan(text: str, name: str) -> list[PlannedFault]:
    """Return the plan that YAML text states, in its order.

    Args:
        text: The file's content.
        name: What the file is called in messages.

    Raises:
        PlanError: With line and entry, and what is known.
    """
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        entries = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise PlanError(f"{name}: it is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(node, yaml.SequenceNode):
        raise PlanError(f"{name}: a plan is a list of entries such as {{at: 5, kind: drop, venue: okx}}")
    plan: list[PlannedFault] = []
    for number, (part, entry) in enumerate(zip(node.value, entries, strict=True), 1):
        try:
            plan.append(_planned(entry))
        except BadRequest as error:
            raise PlanError(f"{name}, line {part.start_mark.line + 1}, entry {number}: {error}") from None
    return plan


def _planned(entry: object) -> PlannedFault:
    if not isinstance(entry, dict):
        raise BadRequest(f"{entry!r} is no entry: one is such as {{at: 5, kind: drop, venue: okx}}")
    at = entry.get("at")
    if isinstance(at, bool) or not isinstance(at, int | float) or not isfinite(at) or at < 0:
        raise BadRequest(f"at is {at!r}: it is the seconds from the start, 0 or more")
    wanted = {field: value for field, value in entry.items() if field != "at"}
    if "kind" in wanted:
        wanted["kind"] = str(wanted["kind"])  # 429 is a number in YAML
    check(wanted)
    return PlannedFault(float(at), wanted)


# --- At random -------------------------------------------------------------------------------------------------------

_Draw = Callable[[random.Random, str, VenueName], Iterator[tuple[float, dict[str, Any]]]]


def random_plan(
    seed: int, seconds: float, accounts: Mapping[str, VenueName], mean_pause_s: float = MEAN_PAUSE_S
) -> list[PlannedFault]:
    """Draw a plan: the same seed and accounts give the same one, in the order of time.

    Every fault ends by itself within ``LONGEST_S``; what takes a position away is followed by one that opens it again; modes
    are switched back. Faults of keys (``key_powers``, ``expired_key``, ``wrong_login``) are left out: they stop an account until
    somebody acts.

    Args:
        seed: What everything is drawn from.
        seconds: Nothing is planned later than this.
        accounts: Who may be hit: account name → venue.
        mean_pause_s: The mean time between two faults.
    """
    rng = random.Random(f"{seed}:plan")
    names = list(accounts)
    draws, weights = [draw for draw, _ in _DRAWS], [weight for _, weight in _DRAWS]
    plan: list[PlannedFault] = []
    at = rng.expovariate(1 / mean_pause_s)
    while at < seconds:
        account = rng.choice(names)
        (draw,) = rng.choices(draws, weights)
        plan += [PlannedFault(round(at + after, 3), wanted) for after, wanted in draw(rng, account, accounts[account])]
        at += rng.expovariate(1 / mean_pause_s)
    return sorted((fault for fault in plan if fault.at_s < seconds), key=lambda fault: fault.at_s)


def _sockets(rng: random.Random, account: str, venue: VenueName) -> Iterator[tuple[float, dict[str, Any]]]:
    target: dict[str, Any] = rng.choice(
        ({"account": account}, {"venue": venue, "connection": "public"}, {"venue": venue})
    )
    match rng.randrange(4):
        case 0:
            yield 0, {"kind": "drop", **target, "abort": rng.random() < 0.5}
        case 1:
            yield 0, {"kind": "stall", **target, "seconds": _lasting(rng)}
        case 2:
            yield 0, {"kind": "notice", **target, "seconds": _lasting(rng)}
        case _:
            yield 0, {"kind": "malformed", **target}


def _frames(rng: random.Random, account: str, venue: VenueName) -> Iterator[tuple[float, dict[str, Any]]]:
    kind = rng.choice(("duplicate", "reorder", "half_frame"))
    yield 0, {"kind": kind, "venue": venue, "count": 1 if kind == "half_frame" else rng.randint(1, 5)}


def _answers(rng: random.Random, account: str, venue: VenueName) -> Iterator[tuple[float, dict[str, Any]]]:
    match rng.randrange(4):
        case 0:
            yield 0, {"kind": "server_error", "venue": venue, "count": rng.randint(1, 3)}
        case 1:
            yield 0, {"kind": "429", "venue": venue, "count": rng.randint(1, 3)}
        case 2:
            yield 0, {"kind": "late_rest", "venue": venue, "ms": rng.randint(200, 3_000), "seconds": _lasting(rng)}
        case _:
            yield 0, {"kind": "clock_skew", "venue": venue, "ms": rng.choice((-900, 400, 800))}
            yield _lasting(rng), {"kind": "clock_skew", "venue": venue, "ms": 0}


def _gap(rng: random.Random, account: str, venue: VenueName) -> Iterator[tuple[float, dict[str, Any]]]:
    yield 0, {"kind": "gap", "account": account, "seconds": _lasting(rng)}


def _trades(rng: random.Random, account: str, venue: VenueName) -> Iterator[tuple[float, dict[str, Any]]]:
    share = {} if rng.random() < 0.4 else {"share": f"0.{rng.randint(1, 9)}"}
    yield 0, {"kind": "close_position", "account": account, "nth": rng.randrange(12), **share, **_quietly(rng)}
    yield _after(rng), {"kind": "open_position", "account": account, **_quietly(rng)}


def _takeovers(rng: random.Random, account: str, venue: VenueName) -> Iterator[tuple[float, dict[str, Any]]]:
    share = rng.choice(("0.2", "0.5", "1"))
    kind = rng.choice(("liquidate", "adl"))
    yield 0, {"kind": kind, "account": account, "nth": rng.randrange(12), "share": share, **_quietly(rng)}
    yield _after(rng), {"kind": "open_position", "account": account}


def _silences(rng: random.Random, account: str, venue: VenueName) -> Iterator[tuple[float, dict[str, Any]]]:
    share = rng.choice(({}, {"share": "0.5"}, {"share": "0.9"}))
    yield 0, {"kind": "silent", "account": account, "nth": rng.randrange(12), **share}
    yield _after(rng), {"kind": "open_position", "account": account}


def _money(rng: random.Random, account: str, venue: VenueName) -> Iterator[tuple[float, dict[str, Any]]]:
    match rng.randrange(3):
        case 0:
            yield 0, {"kind": "margin", "account": account, "nth": rng.randrange(12), **_quietly(rng)}
        case 1:
            yield 0, {"kind": "transfer", "account": account, "amount": "0.01", **_quietly(rng)}
        case _:
            yield 0, {"kind": "pay_funding", "account": account, "nth": rng.randrange(12), **_quietly(rng)}


def _modes(rng: random.Random, account: str, venue: VenueName) -> Iterator[tuple[float, dict[str, Any]]]:
    """Switch legs or the account's mode and back, or the margin of one symbol; a venue refuses what it does not have."""
    if venue == "hyperliquid" or (venue != "bybit" and rng.random() < 0.3):
        switch: dict[str, Any] = {"margin": "other", "nth": rng.randrange(12)}
    else:
        switch = rng.choice(({"hedge": "other"}, {"mode": "other"}))
    yield 0, {"kind": "mode", "account": account, **switch, **_quietly(rng)}
    yield _after(rng), {"kind": "mode", "account": account, **switch, **_quietly(rng)}


def _contracts(rng: random.Random, account: str, venue: VenueName) -> Iterator[tuple[float, dict[str, Any]]]:
    if rng.random() < 0.3 and venue in {"okx", "bybit"}:
        yield 0, {"kind": "expire", "venue": venue, **_quietly(rng)}
        return
    nth = rng.randrange(12)
    yield 0, {"kind": "split", "account": account, "nth": nth, "factor": "2", **_quietly(rng)}
    yield _after(rng), {"kind": "split", "account": account, "nth": nth, "factor": "0.5"}


def _shock(rng: random.Random, account: str, venue: VenueName) -> Iterator[tuple[float, dict[str, Any]]]:
    """Move a price by two percent, and back to within a few basis points."""
    underlying = rng.choice(("BTC", "ETH", "SOL", "DOGE"))
    up = rng.random() < 0.5
    yield 0, {"kind": "shock", "underlying": underlying, "fraction": "0.02" if up else "-0.02"}
    yield _after(rng), {"kind": "shock", "underlying": underlying, "fraction": "-0.0196" if up else "0.0204"}


_DRAWS: tuple[tuple[_Draw, int], ...] = (
    (_sockets, 6),
    (_frames, 4),
    (_answers, 5),
    (_gap, 3),
    (_trades, 5),
    (_takeovers, 4),
    (_silences, 2),
    (_money, 3),
    (_modes, 2),
    (_contracts, 1),
    (_shock, 1),
)


def _lasting(rng: random.Random) -> float:
    return round(rng.uniform(0.5, LONGEST_S), 1)


def _after(rng: random.Random) -> float:
    return rng.uniform(LONGEST_S, 2 * LONGEST_S)


def _quietly(rng: random.Random) -> dict[str, Any]:
    return {"quiet": True} if rng.random() < 0.3 else {}
