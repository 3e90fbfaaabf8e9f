"""Answers ``POST /v1/stress``: figures before and after moves of the market and changes that nobody made. Pure.

The figures before are the live book's, and those after a move alone, too: a revaluation changes nothing. Changes are tried in a
private engine of the accounts that they concern (``gateway.trial``).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable
from typing import NamedTuple

import numpy as np

from gateway.core.arrays import Floats
from gateway.core.ladder import first_crossings
from gateway.core.positions import Book
from gateway.core.protocol import Refusal
from gateway.core.rows import Row, present
from gateway.core.scenario import Change, MaxSize, Scenario, accounts_of
from gateway.core.solve import spent_distance
from gateway.core.state import Position
from gateway.core.stress import NEVER, factors, moves, walk
from gateway.engine import Engine
from gateway.trial import Trial

_MOST = 1e15  # contracts
_LEAST = 1e-9  # contracts, or of what stands against: as good as nothing
_CLOSE = 1e-9  # of the pool's equity, and of a size
_STEPS = 90


def answer(engine: Engine, scenario: Scenario, allowed: Collection[str], now: int) -> Row:
    """Return the figures before and after, and what was asked beside them: ``prepare``, at once."""
    return prepare(engine, scenario, allowed, now)()


def prepare(engine: Engine, scenario: Scenario, allowed: Collection[str], now: int) -> Callable[[], Row]:
    """Read what a scenario needs of the live engine; return what works out the answer, elsewhere while that one turns.

    Args:
        engine: The live one, between turns.
        allowed: Accounts that may be seen; others do not exist here.
        now: Our clock, ms.

    Raises:
        Refusal: bad_scenario or unknown_account: something is named that is not there, or cannot be computed. The answer, too.
    """
    _check_names(engine, scenario, allowed)
    changes = [(_account_of(engine, change), change) for change in scenario.changes]
    changed = {name for name, _ in changes}
    before, after = _Side(), _Side()
    before.look(engine, allowed, None)
    after.look(engine, set(allowed) - changed, scenario)
    asked = scenario.question.max_size if scenario.question is not None else None
    trial = Trial(engine, changed, now) if changed else None
    other = Trial(engine, {asked.account}, now) if asked is not None else None

    def finish() -> Row:
        if trial is not None:
            _make_all(trial, changes, changed)
            after.look(trial.engine, changed, scenario)
        found: Row = {"before": before.row(), "after": after.row()}
        if asked is not None and other is not None:
            _make_all(other, changes, {asked.account})
            found["max_size"] = _max_size(other, asked)
        return found

    return finish


def _make_all(trial: Trial, changes: Iterable[tuple[str, Change]], accounts: Collection[str]) -> None:
    """Make the changes of some accounts."""
    for name, change in changes:
        if name in accounts:
            _make(trial, change)


def _make(trial: Trial, change: Change) -> None:
    if change.close is not None:
        trial.close(change.close, change.share if change.share is not None else 1.0)
    elif change.add_collateral is not None:
        trial.add(change.add_collateral, change.ccy or "", change.amount or 0.0)
    elif change.open is not None and change.side is not None:
        trial.open(change.open, change.symbol or "", change.side, change.size or 0.0, change.leverage, change.price)


def _check_names(engine: Engine, scenario: Scenario, allowed: Collection[str]) -> None:
    for name in accounts_of(scenario):
        if name not in allowed:
            raise Refusal("unknown_account", f"there is no account {name!r} that you may see")
    for change in scenario.changes:
        if change.close is not None:
            position = engine.positions.get(change.close)
            if position is None or position.account.info.name not in allowed:
                raise Refusal("bad_scenario", f"there is no position {change.close!r} that you may see")
    bases = engine.book.bases
    known = {bases.name(number) for number in range(len(bases)) if not bases.fixed[number]}
    opened = {change.symbol for change in scenario.changes}
    known |= {one.base for one in engine.market.instruments.values() if one.symbol in opened}
    for name in scenario.shocks if isinstance(scenario.shocks, dict) else scenario.betas:
        if name not in known:
            raise Refusal(
                "bad_scenario", f"nothing that is held moves with {name!r}; there are {', '.join(sorted(known))}"
            )


def _account_of(engine: Engine, change: Change) -> str:
    if change.close is not None:
        return engine.positions[change.close].account.info.name
    return change.add_collateral or change.open or ""


def _moves(book: Book, scenario: Scenario | None) -> Floats:
    """Return the move of every underlying of a book, (n_bases,): a private one numbers them otherwise."""
    bases = book.bases
    if scenario is None:
        return np.zeros(len(bases))
    if isinstance(scenario.shocks, dict):
        return np.array([scenario.shocks.get(bases.name(number), 0.0) for number in range(len(bases))])
    return scenario.shocks * moves(bases, betas=scenario.betas)


# --- one side of the answer ------------------------------------------------------------------------------------------------


class _Side:
    """Figures before or after, gathered from one engine or several."""

    def __init__(self) -> None:
        self._accounts: dict[str, Row] = {}
        self._positions: dict[str, Row] = {}
        self._crossed: dict[str, float] = {}

    def look(self, engine: Engine, accounts: Collection[str], scenario: Scenario | None) -> None:
        """Add what becomes of some accounts."""
        engine.portfolio.refresh(engine.accounts.values())
        ground = engine.portfolio.ground()
        move = _moves(engine.book, scenario)
        way = walk(ground, [1.0], move)
        outcome, crossed, register = way.outcomes[0], first_crossings(ground, way), ground.register
        for number, account in enumerate(register.accounts):
            name = account.info.name
            if name not in accounts:
                continue
            row: Row = {"summary": register.summaries.all[register.summary_of[number]]}
            if number in ground.reasons:
                row["not_covered"] = ground.reasons[number]
            else:
                row["equity_usd"] = round(float(outcome.equity[number]), 2)
                row["margin_ratio"] = round(float(outcome.ratio[number]), 4)
                row["liquidated"] = bool(crossed[number] < NEVER)
                spent = [pool for pool in register.pools_of[number] if way.crossed[pool] < NEVER]
                spent.sort(key=lambda pool: abs(way.crossed[pool]))
                row["liquidated_pools"] = [register.pool_name(pool) for pool in spent] or None
                self._crossed[name] = float(crossed[number])
            self._accounts[name] = present(row)
        book = engine.book.moved(factors(move)) if move.any() else engine.book
        self._positions |= _prices(engine, book, accounts)

    def row(self) -> Row:
        """Return the whole: by summary, since demo and live never mix, by account, and by position."""
        members: dict[str, list[str]] = {}
        for name in sorted(self._accounts, key=lambda name: (abs(self._crossed.get(name, NEVER)), name)):
            members.setdefault(str(self._accounts[name]["summary"]), []).append(name)
        totals = {summary: self._total(names) for summary, names in sorted(members.items())}
        return {"summary": totals, "accounts": dict(sorted(self._accounts.items())), "positions": self._positions}

    def _total(self, names: list[str]) -> Row:
        rows = {name: self._accounts[name] for name in names}
        covered = [row for row in rows.values() if "not_covered" not in row]
        ratios = [float(str(row["margin_ratio"])) for row in covered if "margin_ratio" in row]
        return present(
            {
                "equity_usd": round(sum(float(str(row["equity_usd"])) for row in covered), 2) if covered else None,
                "margin_ratio": max(ratios, default=None),
                "liquidated": [name for name, row in rows.items() if row.get("liquidated")],
                "not_covered": {name: row["not_covered"] for name, row in rows.items() if "not_covered" in row},
            }
        )


def _prices(engine: Engine, book: Book, accounts: Collection[str]) -> dict[str, Row]:
    """Return positions' prices by their own models, trusted or not; without a model they have none."""
    c, found = book.live, dict[str, Row]()
    figures = c.mark.tolist(), c.liq.tolist(), c.trigger.tolist(), _distances(book).tolist()
    for slot, mark, price, trigger, distance in zip(c.slot.tolist(), *figures, strict=True):
        if slot < 0:  # a coin
            continue
        position = engine.position_at(slot)
        if position.account.info.name not in accounts:
            continue
        row: Row = {} if math.isnan(mark) else {"mark_price": mark}
        model = position.maintenance.model
        if model is not None:
            row["model"] = model
            prices = ("liquidation_price", price), ("trigger_price", trigger), ("liquidation_distance", distance)
            row |= {name: value for name, value in prices if math.isfinite(value)}
        found[position.state.id] = row
    return found


def _distances(book: Book) -> Floats:
    """Return every row's distance to its model's own trigger, (n_rows,); inf: no price liquidates it, NaN: unknown."""
    c = book.live
    away = np.abs(1.0 - c.trigger / c.mark)
    found = np.where(np.isnan(c.trigger), np.inf, away)
    found = np.where(c.lack > 0.0, spent_distance(c.trigger, away), found)
    return np.where(np.isnan(c.lack + c.mark), np.nan, found)


# --- questions -----------------------------------------------------------------------------------------------------------


class _Tried(NamedTuple):
    """What became of one size that was added.

    Attributes:
        lack: Maintenance - equity of the pool (its currency) where the underlying has moved by the distance that was asked for,
            the worse way: from 0 on it is nearer than that. A line over the size, but for the edges of tiers.
        equity: Of the pool, as it is solved for.
        unit: Notional of one contract (settle currency).
    """

    lack: float
    equity: float
    unit: float
    distance: float
    notional: float


def _max_size(trial: Trial, asked: MaxSize) -> Row:
    """Return the largest size that can be added before the position's distance falls below what is asked."""
    before = trial.state_of(asked.account, asked.symbol)
    free = trial.against(asked.account, asked.symbol, asked.side)

    def tried(size: float) -> _Tried:
        row_id = trial.open(asked.account, asked.symbol, asked.side, free + size, asked.leverage, asked.price)
        found = _look(trial, row_id, asked)
        trial.restore(before)
        return found

    near = tried(_LEAST * max(free, 1.0))
    if near.lack >= 0.0:
        return {"size": free, "notional": 0.0} if free else {"size": 0.0, "why": "it is that near already"}
    low, high = 0.0, _LEAST + 2.0 * near.equity / (asked.distance * near.unit)
    while (far := tried(high)).lack < 0.0:
        low, high, near = high, 10.0 * high, far
        if high > _MOST:
            return {"size": None, "why": "no size brings it that near"}
    size, found = _between((low, near), (high, far), tried)
    reached = {"liquidation_distance": round(found.distance, 6), "notional": round(found.notional, 2)}
    return {"size": free + size, **{name: value for name, value in reached.items() if math.isfinite(value)}}


def _between(
    near: tuple[float, _Tried], far: tuple[float, _Tried], tried: Callable[[float], _Tried]
) -> tuple[float, _Tried]:
    """Return the largest size between two that is far enough: a line but for the edges of tiers, where it may jump."""
    (low, best), high = near, far[0]
    at_low, at_high = best.lack, far[1].lack
    for step in range(_STEPS):
        middle = (low + high) / 2.0
        size = high - at_high * (high - low) / (at_high - at_low)
        if step % 3 == 2 or not low < size < high:  # a jump: halves come to it, secants do not
            size = middle
        found = tried(size)
        if abs(found.lack) <= _CLOSE * abs(found.equity):
            return size, found
        if found.lack < 0.0:
            low, at_low, best = size, found.lack, found
        else:
            high, at_high = size, found.lack
        if high - low <= _CLOSE * high:
            break
    return low, best


def _look(trial: Trial, row_id: str, asked: MaxSize) -> _Tried:
    """Return how a position that was just added to stands."""
    book, position = trial.engine.book, trial.engine.positions[row_id]
    move = np.zeros(len(book.bases))
    move[book.live.base[_row(book, position)]] = asked.distance
    number = position.pool.number
    lacks = [at.maintenance - at.equity - book.delta for at in (book.at(factors(move)), book.at(factors(-move)))]
    lack = max(float(one[number]) for one in lacks)
    if math.isnan(lack) or position.maintenance.model is None:
        raise Refusal(
            "bad_scenario", f"no model tells how far {asked.symbol} in {asked.account} would be from liquidation"
        )
    notional = book.notional(position.handle)
    distance = float(_distances(book)[_row(book, position)])
    equity = float(book.equity[number] + book.delta[number])
    return _Tried(lack, equity, notional / float(position.state.size), distance, notional)


def _row(book: Book, position: Position) -> int:
    return int(np.flatnonzero(book.live.handle == position.handle)[0])
