"""What each kind of rule looks at: values out of accounts, positions, feeds and columns. Pure; reads, never writes.

Two ways: whole columns, a value per position, pool or account in every turn (``COLUMNS``, ``ACCOUNT_COLUMNS``); and what
happens seldom, one account at a time (``SEEN``), where only what is there is yielded: what is not yielded is not so (any more).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple, Protocol
from urllib.parse import quote

import numpy as np

from gateway.core.accounts import Account
from gateway.core.alerts.rules import DAY_MS, Scope
from gateway.core.arrays import Floats, Ints
from gateway.core.records import Correction
from gateway.core.state import Position, Symbol

# A correction is news for so long.
CORRECTION_MS = 600_000
# The account is asked again and again, as it is meant to be: its figures are as live as they get.
_MEANT = "polled"


class Slots(Protocol):
    """Columns of every position, (n,) float64 each, in the order of ``Rows``; NaN: unknown."""

    @property
    def upnl_usd(self) -> Floats: ...
    @property
    def shares(self) -> Floats: ...
    @property
    def scores(self) -> Floats: ...
    @property
    def funding_usd(self) -> Floats: ...
    @property
    def funding_rate(self) -> Floats: ...


class Rows(NamedTuple):
    """Every position as it stands, (n,) in one order.

    Attributes:
        slot: Table slots.
        distance: To liquidation, fraction of the mark; inf: no price liquidates it, NaN: unknown.
        others: What is worked out where a rule asks for it.
    """

    slot: Ints
    distance: Floats
    others: Slots


class Worth(NamedTuple):
    """What accounts are worth, US dollars, (n,) by place in ``names``; NaN: unknown."""

    names: list[str]
    equity: Floats
    upnl: Floats


class Seen(NamedTuple):
    """One value of a kind that is looked at seldom.

    Attributes:
        subject: Its id, below the rule's name.
        note: What the message says beyond the value.
        symbol: The venue's, where it is of one.
        position: The row, where it is of one that is there.
    """

    subject: str
    value: float
    note: str = ""
    symbol: str | None = None
    position: Position | None = None


COLUMNS: dict[str, Callable[[Rows], Floats]] = {
    "liquidation_distance": lambda rows: rows.distance,
    "unrealized_pnl": lambda rows: rows.others.upnl_usd,
    "concentration": lambda rows: rows.others.shares,
    "risk_score": lambda rows: rows.others.scores,
    "funding_cost": lambda rows: rows.others.funding_usd,
    "funding_rate": lambda rows: rows.others.funding_rate,
}


def margin_ratios(equity: Floats, maintenance: Floats) -> Floats:
    """Return maintenance / equity by pool, 1 = liquidation; inf: nothing is left to keep them with. (n_pools,)"""
    with np.errstate(divide="ignore", invalid="ignore"):
        found = maintenance / equity
    found[(equity <= 0.0) & (maintenance > 0.0)] = np.inf
    found[(equity <= 0.0) & (maintenance == 0.0)] = 0.0
    return found


class Worths(Protocol):
    """What accounts are worth, what of the highest of their day is left, and that highest, (n,) US dollars; NaN: none yet."""

    @property
    def worth(self) -> Worth: ...
    @property
    def left(self) -> Floats: ...
    @property
    def peaks(self) -> Floats: ...


def pnl_shares(day: Worths) -> Floats:
    """Return unrealised PnL over equity, (n,); of no equity a loss is all of it and more, -inf."""
    upnl, equity = day.worth.upnl, day.worth.equity
    with np.errstate(invalid="ignore"):
        spent = np.where(upnl == 0.0, 0.0, upnl * np.inf)
    return np.where(equity <= 0.0, spent, _over(upnl, equity))


def drawdowns(day: Worths) -> Floats:
    """Return how much of the day's peak is lost, (n,)."""
    return 1.0 - _over(day.left, day.peaks)


def _over(part: Floats, whole: Floats) -> Floats:
    found = np.full(len(part), np.nan)
    np.divide(part, whole, out=found, where=whole > 0.0)
    return found


ACCOUNT_COLUMNS: dict[str, Callable[[Worths], Floats]] = {
    "unrealized_pnl_share": pnl_shares,
    "drawdown": drawdowns,
}


class Scene:
    """Where the seldom kinds look.

    Args:
        positions: Open positions by id.
        corrections: By id, in the order in which they were put on record.
        shock: Returns, by account, the move of everything that liquidates it, + up, and why that cannot be said
            (``Portfolio.shock``).
        residuals: Returns, per account, the pools whose model is beyond its bound: (pool, residual, words); NaN: not known yet.
        doubted: Returns the accounts that have such pools.
    """

    def __init__(
        self,
        accounts: Mapping[str, Account],
        positions: Mapping[str, Position],
        corrections: dict[str, Correction],
        shock: Callable[[str], tuple[float, str | None]],
        residuals: Callable[[Account], Iterable[tuple[str, float, str]]],
        doubted: Callable[[], Iterable[str]],
    ) -> None:
        self.accounts, self.positions, self.residuals, self.doubted = accounts, positions, residuals, doubted
        self.shock, self._corrections = shock, corrections
        self._recent: tuple[object, dict[str, list[Correction]]] | None = None  # of which moment and records

    def held(self, account: Account) -> Iterator[Position]:
        """Yield an account's positions."""
        return (self.positions[row_id] for row_id in account.positions)

    def blind(self) -> set[str]:
        """Return the accounts that are blind, or hold a position that is."""
        found = {name for name, account in self.accounts.items() if account.stale() is not None}
        for position in self.positions.values():
            if position.restored_at is not None or position.pending_fill is not None:
                found.add(position.account.info.name)
        return found

    def warned(self) -> set[str]:
        """Return the accounts that their venue warned, of themselves or of a position."""
        found = {name for name, account in self.accounts.items() if account.warning is not None}
        found.update(one.account.info.name for one in self.positions.values() if one.warning is not None)
        return found

    def recent(self, now: int) -> dict[str, list[Correction]]:
        """Return recent corrections by account, the newest first."""
        of = now, len(self._corrections), next(reversed(self._corrections), None)
        if self._recent is None or self._recent[0] != of:
            found: dict[str, list[Correction]] = {}
            for record in reversed(self._corrections.values()):
                if record.found_at <= now - CORRECTION_MS:
                    break
                found.setdefault(record.account, []).append(record)
            self._recent = of, found
        return self._recent[1]


def _blind(scene: Scene, account: Account, now: int) -> Iterator[Seen]:
    name, found = account.info.name, account.stale()
    if found is not None and found["reason"] != _MEANT:
        yield Seen(name, _age_s(found["since"], now), str(found["reason"]))
        return
    for position in scene.held(account):
        if position.restored_at is not None:
            yield Seen(
                position.state.id, _age_s(position.restored_at, now), "restored", position.state.symbol, position
            )
        elif position.pending_fill is not None:
            yield Seen(
                position.state.id,
                _age_s(position.pending_fill.since, now),
                "fill_pending",
                position.state.symbol,
                position,
            )


def _age_s(since: object, now: int) -> float:
    return max(now - since, 0) / 1000 if isinstance(since, int) else 0.0


def _correction(scene: Scene, account: Account, now: int) -> Iterator[Seen]:
    counts: dict[str, list[Correction]] = {}
    for record in scene.recent(now).get(account.info.name, ()):
        if record.cls != "allocation":  # has a kind of its own
            counts.setdefault(record.position or account.info.name, []).append(record)
    for subject, records in counts.items():
        newest = records[0]
        fields = sorted(newest.before.keys() | newest.after.keys())
        changes = ", ".join(f"{f} {newest.before.get(f, '-')} → {newest.after.get(f, '-')}" for f in fields)
        note = f"{newest.symbol or ''} {newest.cls or 'cause still asked'}: {changes}".strip()
        yield Seen(subject, float(len(records)), note, newest.symbol, scene.positions.get(subject))


def _allocation(_scene: Scene, account: Account, _now: int) -> Iterator[Seen]:
    short = account.shortfalls()
    if short:
        missing = max((float(given) - float(held)) / float(given) for given, held in short.values())
        what = ", ".join(f"{given} {ccy} are allocated and {held} are there" for ccy, (given, held) in short.items())
        yield Seen(account.info.name, missing, what)


def _key_expiry(_scene: Scene, account: Account, now: int) -> Iterator[Seen]:
    if account.key is None:
        yield Seen(account.info.name, math.nan)  # not asked yet
    elif account.key.expires_at:
        yield Seen(account.info.name, (account.key.expires_at - now) / DAY_MS)


def _venue_warning(scene: Scene, account: Account, _now: int) -> Iterator[Seen]:
    if account.warning is not None:
        yield Seen(account.info.name, 1.0, account.warning[1])
    for position in scene.held(account):
        if position.warning is not None:
            yield Seen(position.state.id, 1.0, position.warning[1], position.state.symbol, position)


def _adl(scene: Scene, account: Account, _now: int) -> Iterator[Seen]:
    for position in scene.held(account):
        if position.state.adl is not None:
            yield Seen(position.state.id, float(position.state.adl), "", position.state.symbol, position)


def _model_residual(scene: Scene, account: Account, _now: int) -> Iterator[Seen]:
    for pool, residual, words in scene.residuals(account):
        yield Seen(f"{account.info.name}:{pool}", residual, words)


def _liquidation_shock(scene: Scene, account: Account, _now: int) -> Iterator[Seen]:
    if account.positions:
        move, gap = scene.shock(account.info.name)
        yield Seen(account.info.name, abs(move), gap or (f"everything {100 * move:+.3g} %" if move < math.inf else ""))


# By kind.
SEEN: dict[str, Callable[[Scene, Account, int], Iterator[Seen]]] = {
    "blind": _blind,
    "correction": _correction,
    "allocation": _allocation,
    "key_expiry": _key_expiry,
    "venue_warning": _venue_warning,
    "adl": _adl,
    "model_residual": _model_residual,
    "liquidation_shock": _liquidation_shock,
}
# Where there is something of a kind by the clock: accounts, at a glance. A kind that is not here is looked for in all of them.
PLACES: dict[str, Callable[[Scene, int], Iterable[str]]] = {
    "blind": lambda scene, _now: scene.blind(),
    "correction": lambda scene, now: scene.recent(now),
    "allocation": lambda scene, _now: (name for name, one in scene.accounts.items() if one.info.allocated),
    "key_expiry": lambda scene, _now: (name for name, one in scene.accounts.items() if one.key and one.key.expires_at),
    "venue_warning": lambda scene, _now: scene.warned(),
    "model_residual": lambda scene, _now: scene.doubted(),
}


def blind_marks(
    symbols: Iterable[Symbol], connection_down_since: Callable[[Symbol], int | None], now: int
) -> Iterator[tuple[Symbol, Seen]]:
    """Yield what is blind because marks are: a venue's price connection, or one symbol whose marks stopped."""
    for symbol in symbols:
        down = connection_down_since(symbol)
        own, since = down is None, symbol.stale if down is None else down
        if since is None or not symbol.positions:
            continue
        of_venue, of_symbol = mark_places(symbol)
        subject, name = (of_symbol, symbol.key[2]) if own else (of_venue, None)
        yield symbol, Seen(subject, _age_s(since, now), "mark_feed", name)


def mark_places(symbol: Symbol) -> tuple[str, str]:
    """Return the ids of what is blind where marks are: all of a venue's, or one symbol's, percent-encoded as in positions' ids."""
    venue, env, name = symbol.key
    return f"{venue}@{env}", f"{venue}@{env}:{quote(name, safe='')}"  # no account's name has an @


def scope_of(account: Account, symbol: str | None = None) -> Scope:
    """Return whom a value of an account is of."""
    info = account.info
    return Scope(info.name, info.user, info.venue, info.env, info.execution, symbol)


# Why figures are not live, the gravest last: places here are what columns hold (0: they are live).
REASONS = (None, "mark_feed", "fill_pending", "restored", "private_feed", "venue_unreachable")
MARK_FEED, FILL_PENDING, RESTORED = 1, 2, 3


def code_of(position: Position, marks_down_since: int | None) -> int:
    """Return why a position's figures are not live, as a place in ``REASONS``."""
    return max(
        account_code(position.account),
        RESTORED if position.restored_at is not None else 0,
        FILL_PENDING if position.pending_fill is not None else 0,
        MARK_FEED if marks_down_since is not None else 0,
    )


def account_code(account: Account) -> int:
    """Return why a whole account's figures are not live, as a place in ``REASONS``."""
    found = account.stale()
    return 0 if found is None or found["reason"] == _MEANT else REASONS.index(str(found["reason"]))


def live_account(account: Account) -> str | None:
    """Return why a whole account's figures are not live, None: they are."""
    return REASONS[account_code(account)]
