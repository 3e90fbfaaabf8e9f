"""The questions of ``POST /v1/stress``: moves of the market, changes that nobody made, and what would still be safe. Pure data.

Owns their form and what is refused of it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Annotated

import msgspec

from exchanges.events import Side
from gateway.core.protocol import Refusal

Share = Annotated[float, msgspec.Meta(gt=0, le=1)]
Positive = Annotated[float, msgspec.Meta(gt=0)]
Shock = Annotated[float, msgspec.Meta(gt=-1, le=10)]

MOST_CHANGES = 50


class Change(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One change: exactly one of ``close``, ``add_collateral`` and ``open``, with what belongs to it. At the mark, without fees.

    Attributes:
        close: Id of a position, of which ``share`` is closed (1: all of it).
        add_collateral: Account that gets ``amount`` of ``ccy`` (negative: it goes).
        open: Account that opens or adds to a position: ``symbol`` (the venue's own), ``side``, ``size`` (the venue's unit),
            ``leverage`` where it differs from the position's, ``price`` where nobody holds it, so that its mark is not known.
    """

    close: str | None = None
    share: Share | None = None
    add_collateral: str | None = None
    ccy: str | None = None
    amount: float | None = None
    open: str | None = None
    symbol: str | None = None
    side: Side | None = None
    size: Positive | None = None
    leverage: Positive | None = None
    price: Positive | None = None


class MaxSize(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How much of ``symbol`` an account can add on ``side`` until that position's distance to liquidation is ``distance``."""

    account: str
    symbol: str
    side: Side
    distance: Annotated[float, msgspec.Meta(gt=0, lt=1)]
    leverage: Positive | None = None
    price: Positive | None = None


class Question(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is asked beside the figures: answered with the changes, before the shocks."""

    max_size: MaxSize


class Scenario(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A whole request.

    Attributes:
        shocks: A signed fraction by which every underlying moves, or one for each that moves: {"BTC": -0.2}.
        betas: How much of a common shock each underlying makes; 1 where it is not named.
    """

    shocks: Shock | dict[str, Shock] = 0.0
    betas: dict[str, float] = {}
    changes: Annotated[tuple[Change, ...], msgspec.Meta(max_length=MOST_CHANGES)] = ()
    question: Question | None = None


_FIELDS = {
    "close": ({"close"}, {"share"}),
    "add_collateral": ({"add_collateral", "ccy", "amount"}, set[str]()),
    "open": ({"open", "symbol", "side", "size"}, {"leverage", "price"}),
}


def parse(body: bytes) -> Scenario:
    """Return the scenario in a request's body.

    Raises:
        Refusal: bad_scenario: it is none; the message says where and why.
    """
    try:
        found = msgspec.json.decode(body, type=Scenario)
    except msgspec.MsgspecError as bad:
        raise Refusal("bad_scenario", f"the body is no scenario: {bad}") from None
    if isinstance(found.shocks, dict) and found.betas:
        raise Refusal("bad_scenario", "betas are parts of one common shock: make shocks a number, or leave betas out")
    for name, beta in found.betas.items():
        if not math.isfinite(beta):
            raise Refusal("bad_scenario", f"betas.{name} is no number")
    for number, change in enumerate(found.changes):
        _check(change, f"changes[{number}]")
    return found


def _check(change: Change, where: str) -> None:
    given = {name for name in change.__struct_fields__ if getattr(change, name) is not None}
    kinds = given & _FIELDS.keys()
    if len(kinds) != 1:
        raise Refusal("bad_scenario", f"{where} must have exactly one of {', '.join(_FIELDS)}")
    kind = kinds.pop()
    needed, allowed = _FIELDS[kind]
    if needed - given:
        raise Refusal("bad_scenario", f"{where}: {kind} needs {', '.join(sorted(needed - given))}")
    if given - needed - allowed:
        raise Refusal("bad_scenario", f"{where}: {kind} does not take {', '.join(sorted(given - needed - allowed))}")


def accounts_of(scenario: Scenario) -> Iterable[str]:
    """Yield the accounts that are named, besides those of positions that are closed."""
    for change in scenario.changes:
        yield from (name for name in (change.add_collateral, change.open) if name is not None)
    if scenario.question is not None:
        yield scenario.question.max_size.account
