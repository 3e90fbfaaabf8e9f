"""One case through the real codecs and the real engine: the model's own figures beside the venue's, and what is left out and why.

Unrealised PnL and liquidation price of a position, maintenance margin and margin ratio of its pool. Every row is compared or
left out by a named rule: nothing is dropped silently.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

from gateway.core.explain import explain
from gateway.core.margin.okx import LIQUIDATION_FEE_RATE
from gateway.core.state import Position
from gateway.replay import Replay
from tests.residuals.recorded import STATED_MAINTENANCE, Case, Evidence

FIGURES = ("unrealised PnL", "maintenance margin", "margin ratio", "liquidation price")
PNL, MAINTENANCE, RATIO, PRICE = FIGURES

UNIFIED = "unified account whose spot balance, which backs it, was not captured at the same moment"
NOT_COMPUTABLE = "account mode that cannot be computed locally"
NO_MAX_LEVERAGE = "row without `maxLeverage`"
NO_CROSS_MAINTENANCE = "message without `crossMaintenanceMarginUsed`"
NO_BALANCE = "no balance captured with the position"
NO_MODEL = "no model for this mode, or an input that it needs was not captured"
SAYS_NOTHING = "the venue states no price, and not that there is none"
ONE_SIDED = "only one side has a price"
NONE_ON_BOTH = "no price liquidates it, on both sides"
NO_PNL = "no mark or no unrealised PnL in the message"
NOT_STATED = "the venue states no such figure in the message"
PARTIAL = "the message's totals hold more than its rows"
NO_TIERS = "maintenance only as the venue states it: no tiers were captured with it"
UNREADABLE = "line that the codec refused"


class Compared(NamedTuple):
    """One figure of one position or pool. ``residual``: share of notional (PnL), difference (ratio), else relative."""

    venue: str
    mode: str
    figure: str
    case: str
    subject: str
    ours: float
    theirs: float
    residual: float
    evidence: Evidence


class LeftOut(NamedTuple):
    """One figure of one row that is not compared, and the rule that says so."""

    venue: str
    mode: str
    figure: str
    case: str
    subject: str
    rule: str


Found = Compared | LeftOut


def measure(case: Case) -> list[Found]:
    """Return every figure of every position of a case, and of every pool that has one."""
    replay, refused = replayed(case)
    found: list[Found] = [LeftOut(case.venue, "", "", case.name, reason, UNREADABLE) for reason in refused]
    pools: set[int] = set()
    unstated = _by_tiers(case)
    for position in replay.engine.positions.values():
        found.append(_pnl(case, replay, position))
        found.append(_price(case, replay, position))
        if position.pool.number in pools and not position.pool.isolated:
            continue
        pools.add(position.pool.number)
        found += [_maintenance(case, replay, position, unstated), _ratio(case, replay, position)]
    return found


def replayed(case: Case) -> tuple[Replay, list[str]]:
    """Return the case's final state, and why lines of it were refused."""
    refused: list[str] = []
    replay = Replay(refused.append)
    replay.feed(case.context, case.name)
    replay.feed(case.lines, case.name)
    replay.engine.book.delta[:] = 0.0  # what is compared is the model itself, not the model moved to where the venue is
    replay.engine.book.recompute()
    return replay, refused


def own_price(replay: Replay, position: Position) -> float | None:
    """Return the model's published price; None: no price, or no model."""
    price = replay.engine.book.figures(position.handle).get("liq")
    return price if position.maintenance.model is not None else None


def _by_tiers(case: Case) -> Replay:
    """Replay without the maintenance that the venue states per position: what the model makes of the tiers alone."""
    return replayed(case.rewritten(STATED_MAINTENANCE, None))[0]


def mode_of(position: Position) -> str:
    """Return the model's name without its venue, else the margin mode as the venue says it."""
    model = position.maintenance.model
    if model is not None:
        return model.removeprefix(f"{position.account.info.venue}_")
    return position.state.margin_mode or "mode not stated"


def _rule(position: Position) -> str | None:
    """Return why nothing of a position's margin can be compared, the most general reason first."""
    account, state = position.account, position.state
    if not account.computable:
        return NOT_COMPUTABLE
    if account.mode and account.mode.mode == "unifiedAccount" and not position.pool.cash_known:
        return UNIFIED
    if account.info.venue == "hyperliquid":
        if state.max_leverage is None:
            return NO_MAX_LEVERAGE
        pool = position.pool.state
        if state.margin_mode == "cross" and (pool is None or pool.venue_maintenance_margin is None):
            return NO_CROSS_MAINTENANCE
    if not position.pool.cash_known:
        return NO_BALANCE
    return NO_MODEL if position.maintenance.model is None else None


def _pnl(case: Case, replay: Replay, position: Position) -> Found:
    told = explain(position, replay.engine.book)["unrealized_pnl"]
    assert isinstance(told, dict)
    notional = replay.engine.book.notional(position.handle)
    subject = position.state.symbol
    if not {"venue", "model"} <= told.keys() or not notional > 0:
        return LeftOut(case.venue, mode_of(position), PNL, case.name, subject, NO_PNL)
    ours, theirs = float(told["model"]), float(told["venue"])
    return Compared(
        case.venue,
        mode_of(position),
        PNL,
        case.name,
        subject,
        ours,
        theirs,
        abs(ours - theirs) / notional,
        case.evidence,
    )


def _price(case: Case, replay: Replay, position: Position) -> Found:
    mode, subject = mode_of(position), position.state.symbol
    ours, theirs = own_price(replay, position), position.state.venue_liquidation_price
    rule = _rule(position)
    if rule is None and theirs is None and position.state.liquidation_known == "unknown":
        rule = SAYS_NOTHING
    if rule is None and ours is None and theirs is None:
        rule = NONE_ON_BOTH
    if rule is None and (ours is None or theirs is None):
        rule = ONE_SIDED
    if rule is not None or ours is None or theirs is None:
        return LeftOut(case.venue, mode, PRICE, case.name, subject, rule or ONE_SIDED)
    residual = abs(ours / float(theirs) - 1.0)
    return Compared(case.venue, mode, PRICE, case.name, subject, ours, float(theirs), residual, case.evidence)


def _maintenance(case: Case, replay: Replay, position: Position, unstated: Replay) -> Found:
    """Compare what the model makes of leverage or tiers with what the venue states, which the model does not read here."""
    mode, subject = mode_of(position), _subject(position)
    stated = _stated_maintenance(position)
    rule = None if position.pool.isolated or case.venue == "okx" else _rule(position)
    if rule is None and stated is None:
        rule = NOT_STATED
    if rule is None and _is_partial(replay, position):
        rule = PARTIAL
    other = unstated.engine.positions[position.state.id]
    ours = _own_maintenance(unstated, other)
    if rule is None and math.isnan(ours):
        rule = NO_TIERS
    if rule is not None or stated is None:
        return LeftOut(case.venue, mode, MAINTENANCE, case.name, subject, rule or NOT_STATED)
    return Compared(
        case.venue, mode, MAINTENANCE, case.name, subject, ours, stated, abs(ours / stated - 1.0), case.evidence
    )


def _stated_maintenance(position: Position) -> float | None:
    pool = position.pool.state
    stated = position.state.venue_maintenance_margin
    if pool is not None and pool.venue_maintenance_margin is not None:
        stated = pool.venue_maintenance_margin
    return float(stated) if stated is not None and float(stated) > 0 else None


def _own_maintenance(replay: Replay, position: Position) -> float:
    """Return what the model charges the pool's rows, without what the venue's totals hold beyond them."""
    book, pool = replay.engine.book, position.pool
    found = float(book.maintenance[pool.number] - book.extra_mm[pool.number])
    if position.account.info.venue == "okx":  # its ``mmr`` leaves out the liquidation fee, which its ratio counts
        found -= LIQUIDATION_FEE_RATE * book.notional(position.handle)
    return found


def _ratio(case: Case, replay: Replay, position: Position) -> Found:
    mode, subject = mode_of(position), _subject(position)
    theirs = _stated_ratio(position)
    rule = _rule(position)
    if rule is None and theirs is None:
        rule = NOT_STATED
    if rule is None and _is_partial(replay, position):
        rule = PARTIAL
    if rule is not None or theirs is None:
        return LeftOut(case.venue, mode, RATIO, case.name, subject, rule or NOT_STATED)
    book, number = replay.engine.book, position.pool.number
    ours = float(book.maintenance[number] / book.equity[number])
    return Compared(case.venue, mode, RATIO, case.name, subject, ours, theirs, abs(ours - theirs), case.evidence)


def _stated_ratio(position: Position) -> float | None:
    """Return the venue's ratio in the direction where 1 is liquidation; Hyperliquid defines it by two figures that it states."""
    pool, own = position.pool.state, position.state.venue_margin_ratio
    if position.account.info.venue == "okx":
        told = own or (pool.venue_ratio if pool else None)
        return 1.0 / float(told) if told else None
    if pool is None:
        return None
    if pool.venue_ratio is not None:
        return float(pool.venue_ratio)
    if pool.venue_maintenance_margin is None or not pool.venue_equity:
        return None
    return float(pool.venue_maintenance_margin) / float(pool.venue_equity)


def _is_partial(replay: Replay, position: Position) -> bool:
    """Say whether the venue's equity holds more than balance and rows of its message make up: rows were left out of the capture."""
    state, members = position.pool.state, position.pool.members
    if state is None or state.basis != "value" or state.cash is None or state.venue_equity is None:
        return False
    values = (replay.engine.book.figures(replay.engine.positions[each].handle)["value"] for each in members)
    gap = float(state.venue_equity) - float(state.cash) - sum(values)
    return abs(gap) > 1e-6 * abs(float(state.venue_equity))


def _subject(position: Position) -> str:
    return position.state.symbol if position.pool.isolated else f"pool {position.pool.name}"


def measured(cases: Iterator[Case]) -> list[Found]:
    """Measure every case once: the same message in two recordings counts once."""
    seen: set[tuple[bytes, ...]] = set()
    found: list[Found] = []
    for case in cases:
        if case.lines not in seen:
            seen.add(case.lines)
            found += measure(case)
    return found
