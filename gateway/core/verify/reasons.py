"""What explains a difference: a class, and the ids of the stored rows that are the reason. Pure.

A reason is a stored fact whose amount is the difference, never that something of the kind is there.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import NamedTuple

from exchanges.events import TransferKind
from gateway.core.evidence import SLACK_MS
from gateway.core.records import VerificationClass
from gateway.core.verify.book import MONEY
from gateway.core.verify.ledger import Case, Ledger
from gateway.core.verify.weighing import total

# What the venue books apart may be missing from, or be in, these figures of its records.
_APART: tuple[tuple[TransferKind, VerificationClass, tuple[str, ...]], ...] = (
    ("settlement", "settlement", ("realized_pnl", "realized_net")),
    ("liquidation", "liquidation_fee", ("realized_pnl", "fees", "liquidation_fee", "realized_net")),
    ("rebate", "rebate", ("fees", "realized_net")),
)
# A currency's price is known once a minute, and moves meanwhile.
_MOVES = Decimal("0.02")


class Reason(NamedTuple):
    """A class, and the ids of what explains the difference."""

    cls: VerificationClass
    fills: tuple[str, ...] = ()
    payments: tuple[str, ...] = ()


UNEXPLAINED = Reason("unexplained")


def reason(ledger: Ledger, case: Case, off: Mapping[str, Decimal]) -> Reason:
    """Return what explains the differences of a case that are beyond rounding."""
    if _began_before(ledger, case, off):
        return Reason("before_history")
    if not off.keys() <= {*MONEY, "realized_net"}:
        return _delivered(ledger, case, off) or UNEXPLAINED
    rest, bound = total(off.values()), total(case.bounds.get(name) for name in off)
    return (
        _shown_apart(ledger, case, off, rest, bound)
        or _foreign_fees(ledger, case, off, rest, bound)
        or _booked_apart(ledger, case, off, rest, bound)
        or UNEXPLAINED
    )


def _began_before(ledger: Ledger, case: Case, off: Mapping[str, Decimal]) -> bool:
    """Say whether a difference is of what began before the stored history does. What is known by id is of its own moment."""
    covered = ledger.book.evidence.covered
    since = case.at if case.direct and "own_pnl" not in off else case.since
    if covered is None or since < covered:
        return True
    if case.whole or case.cycle or (case.direct and "own_pnl" not in off):
        return False
    held = [one for one in ledger.book.seen if one.size]
    first = min((fill.at for fill in ledger.fills), default=case.at)
    before = any((one.opened_at or one.at) <= covered + SLACK_MS for one in held)
    return case.since <= first and (before or not ledger.book.seen)


def _delivered(ledger: Ledger, case: Case, off: Mapping[str, Decimal]) -> Reason | None:
    """Return the payment by which all of a position ended at its expiry, without a fill, and with the record's profit."""
    paid = [one.id for one in ledger.book.transfers if one.kind == "settlement" and abs(one.at - case.at) <= SLACK_MS]
    held = total(
        -move.move.part.size if move.move.closes else move.move.part.size
        for move in ledger.moves if move.move.opener in case.openers and move.fill.at <= case.at + SLACK_MS
    )  # fmt: skip
    whole = off.keys() == {"size"} and off["size"] == held and "realized_pnl" in case.venue
    return Reason("settlement", payments=tuple(paid)) if paid and whole else None


def _shown_apart(
    ledger: Ledger, case: Case, off: Mapping[str, Decimal], rest: Decimal, bound: Decimal
) -> Reason | None:
    """Return the fills of a liquidation whose fee has in it what the venue shows apart."""
    if off.keys() != {"fees", "liquidation_fee"} or abs(rest) > bound:
        return None
    taken = tuple(name for name in case.fills if ledger.by_fill[name][0].fill.cause == "liquidation")
    fees = total(ledger.by_fill[name][0].fill.fee for name in taken)
    return Reason("liquidation_fee", taken) if taken and abs(off["liquidation_fee"]) <= abs(fees) + bound else None


def _foreign_fees(
    ledger: Ledger, case: Case, off: Mapping[str, Decimal], rest: Decimal, bound: Decimal
) -> Reason | None:
    """Return the fills whose fees were paid in another currency, where these were worth the difference."""
    known = ledger.book.prices
    if not case.foreign or not off.keys() <= {"fees", "realized_net"} or case.ccy is None or known is None:
        return None
    lowest = highest = Decimal(0)
    for ccy, fee in case.foreign.items():
        prices = known(ccy, case.ccy, case.since, case.at)
        if prices is None:
            return None
        worth = sorted(
            (fee * prices[0] * (1 - _MOVES), fee * prices[1] * (1 + _MOVES), fee * prices[0], fee * prices[1])
        )
        lowest, highest = lowest + worth[0], highest + worth[-1]
    if not lowest - bound <= rest <= highest + bound:
        return None
    names = ledger.entered(case)
    return Reason("fee_currency", tuple(n for n in names if ledger.by_fill[n][0].fees.keys() & case.foreign.keys()))


def _booked_apart(
    ledger: Ledger, case: Case, off: Mapping[str, Decimal], rest: Decimal, bound: Decimal
) -> Reason | None:
    """Return the payments that are the difference, one way or the other: the venue's figure has them in it, or leaves them out."""
    near = [one for one in ledger.book.transfers if case.since - SLACK_MS <= one.at <= case.at + SLACK_MS]
    for kind, cls, fields in _APART:
        mine = [one for one in near if one.kind == kind and one.position in (None, case.position or one.position)]
        amount = total(one.amount for one in mine)
        if amount and off.keys() <= set(fields) and min(abs(rest - amount), abs(rest + amount)) <= bound:
            return Reason(cls, payments=tuple(one.id for one in mine))
    return None
