"""Which differences are faults, and which only follow from one: a fault is one line, whatever else is off by it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

import msgspec

from gateway.core.records import Finding
from gateway.core.round_trips import ZERO, told
from gateway.core.verify.book import MONEY, Unit
from gateway.core.verify.ledger import Case, Ledger
from gateway.core.verify.reasons import Reason, reason
from gateway.core.verify.weighing import less, total

_STRUCTURAL = {"fills", "size", "realized_pnl", "own_pnl"}


class Judge:
    """Cases in the order of time.

    Attributes:
        units: One a case, in the order in which they were judged.
    """

    def __init__(self, ledger: Ledger) -> None:
        self.units: list[Unit] = []
        self._ledger = ledger
        self._faults: list[_Fault] = []

    def judge(self, case: Case) -> None:
        """Take one case."""
        differences = {name: less(value, case.ours.get(name, ZERO)) for name, value in case.venue.items()}
        off = {name: value for name, value in differences.items() if abs(value) > case.bounds.get(name, ZERO)}
        if case.direct and len(off) > 1:  # what follows from other fills is no fault of this one
            off.pop("own_pnl", None)
        if not off:
            rounded = self._finding(Reason("rounding"), case, differences) if any(differences.values()) else None
            self.units.append(Unit(case.at, case.ours, case.venue, rounded))
            self._settle(case)
            return
        why = reason(self._ledger, case, off)
        finding = self._finding(why, case, off)
        if why.cls == "unexplained":
            self._fault(case, off, finding)
            return
        self.units.append(Unit(case.at, case.ours, case.venue, finding))
        if not off.keys() & _STRUCTURAL:
            self._settle(case)

    def _settle(self, case: Case) -> None:
        """Let go of faults that cannot make anything differ any more, where cases prove that sizes of their legs are right."""
        if case.proves and case.whole:
            legs = self._ledger.legs(case.openers)
            self._faults = [fault for fault in self._faults if fault.goes_on(case, legs)]

    def _fault(self, case: Case, off: Mapping[str, Decimal], finding: Finding) -> None:
        structural = bool(off.keys() & _STRUCTURAL)
        by_id = case.direct and off.keys() != {"own_pnl"}
        fault = None if by_id else next((one for one in self._faults if one.explains(case, structural)), None)
        if fault is None:
            fault = _Fault(len(self.units), finding, structural, by_id, self._ledger.legs(case.openers or None))
            self._faults.append(fault)
            self.units.append(Unit(case.at, case.ours, case.venue, finding))
        else:
            fault.structural |= structural
            fault.finding = _together(fault.finding, finding, sure=case.direct or not fault.structural)
            self.units[fault.place] = self.units[fault.place]._replace(finding=fault.finding)
            self.units.append(Unit(case.at, case.ours, case.venue, None))
        fault.last_at, fault.proven = case.at, set()
        fault.openers |= case.openers
        fault.fills |= set(case.fills)

    def _finding(self, why: Reason, case: Case, off: Mapping[str, Decimal]) -> Finding:
        effect, fills = "0", case.fills
        if why.cls == "unexplained":
            effect = self._effect(case, off)
            if not case.direct or "own_pnl" in off:  # it follows from what opened the position, too
                fills = _once(fills, self._ledger.entered(case))
        return Finding(
            cls=why.cls, what=case.what, symbol=self._ledger.book.symbol, position=case.position, since=case.since, at=case.at,
            ccy=case.ccy, differences={name: told(value) or "0" for name, value in off.items() if value}, effect=effect,
            fills=why.fills or fills, payments=why.payments or case.payments, records=case.records,
        )  # fmt: skip

    def _effect(self, case: Case, off: Mapping[str, Decimal]) -> str:
        """Return what the stored rows would have to bring besides; "" where nobody knows.

        Where sizes are off nobody knows the share of a fee that each of the two positions has whose flip a fill seems, or may, be.
        """
        flips = off.get("size", ZERO) < 0 or any(len(self._ledger.by_fill[name]) > 1 for name in case.fills)
        if not case.direct and off.keys() & _STRUCTURAL and flips:
            return ""
        if case.said is None:
            return told(total(value for name, value in off.items() if name in (*MONEY, "realized_net"))) or "0"
        stated = (case.venue.get(name) for name in ("realized_pnl", "fees", "realized_net"))
        return told(less(total((*stated, off.get("funding"), off.get("liquidation_fee"))), case.said)) or "0"


class _Fault:
    """One fault, and what else is off by it.

    Attributes:
        place: Of its unit. ``by_id``: nothing but a missing fill of it makes others differ.
        structural: Sizes are off, so that what comes later is too, until something proves that they are right again.
        legs: Positions that it may be of. ``proven``: those whose sizes are right since.
    """

    def __init__(self, place: int, finding: Finding, structural: bool, by_id: bool, legs: set[str]) -> None:
        self.place, self.finding, self.structural, self.by_id, self.legs = place, finding, structural, by_id, legs
        self.proven: set[str] = set()
        self.openers: set[str] = set()
        self.fills: set[str] = set()
        self.last_at = finding.at

    def explains(self, case: Case, structural: bool) -> bool:
        """Say whether a difference is of this fault: it is of the same position or fill, or comes after sizes went wrong."""
        if self.structural and (structural or not case.whole):
            return True
        theirs = case.openers | set(case.fills)  # a flip is of two positions
        return not self.by_id and not theirs.isdisjoint(self.openers | self.fills)

    def goes_on(self, case: Case, legs: set[str]) -> bool:
        """Say whether it can still make others differ after a case in which everything is right."""
        if case.since > self.last_at and self.openers.isdisjoint(case.openers):
            self.proven |= legs
        return not self.legs <= self.proven


def _together(one: Finding, other: Finding, *, sure: bool) -> Finding:
    """Return one line of two. ``sure``: both say what they come to; where sizes are off nobody knows which fills are of which."""
    effect = (told(total((one.effect, other.effect))) or "0") if sure else ""
    return msgspec.structs.replace(
        one, effect=effect, fills=_once(one.fills, other.fills), records=_once(one.records, other.records)
    )


def _once(one: tuple[str, ...], other: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*one, *other)))
