"""What the cases do and look for: who acts, with which position, and what a question brought."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from exchanges.inquiry import Findings
from exchanges.sim.revalue import Position
from tests.conformance.stage import Scene

STABLE = ("USDT", "USDC")


def main(at: Scene) -> str:
    """Return the account of most cases: the venue's first."""
    return next(iter(at.specs))


def held(at: Scene, account: str, kind: str = "perp", **fields: object) -> Position:
    """Return a position of that account, kind and fields: the smallest by value, which moves the account least."""
    found = [
        p
        for p in at.world.positions(account)
        if at.world.contract(p.venue, p.symbol).kind == kind and all(getattr(p, f) == v for f, v in fields.items())
    ]
    legs = [p.symbol for p in at.world.positions(account)]
    alone = [p for p in found if legs.count(p.symbol) == 1] or found
    assert alone, f"{account} holds no {kind} {fields}"
    return min(alone, key=lambda p: at.world.notional(p) * at.world.usd(at.world.contract(p.venue, p.symbol).settle))


def lots(at: Scene, position: Position, count: int = 1) -> Decimal:
    """Return some lots of a position's contract."""
    return at.world.contract(position.venue, position.symbol).lot * count


def reopen(at: Scene, position: Position) -> None:
    """Open again what was closed."""
    at.hands.open_position(position.account, position.symbol, position.side, position.size)


def found(result: object) -> Findings:
    """Return what a question brought; fail with the error where it was none."""
    assert isinstance(result, Findings), f"not answered: {result!r}"
    assert not result.flaws, result.flaws
    return result


def of(findings: Findings, kind: type[Any]) -> list[Any]:
    """Return the events of one kind."""
    return [event for event in findings.events if isinstance(event, kind)]


def symbols(at: Scene) -> list[str]:
    """Return everything that somebody holds at the venue."""
    return sorted({p.symbol for account in at.specs for p in at.world.positions(account)})
