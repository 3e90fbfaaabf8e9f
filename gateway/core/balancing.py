"""What moved an account's equity from one sample to another, and what is left that nothing explains. Pure.

Owns which two samples stand for a day. Each is of one moment (equity, unrealised PnL and prices of the same turn), so that what is
left does not depend on marks. Amounts of the stored rows are exact; equity is float64, of which ``bound`` knows.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import NamedTuple

import msgspec

from exchanges.events import Fill, FundingPayment, Transfer
from gateway.core.alerts.records import EquitySample
from gateway.core.realized import Day, Settle, exact_sum, line_of
from gateway.core.records import Balance, Finding
from gateway.core.round_trips import told

ZERO = Decimal(0)
# A venue tells of a fill and of the balance after it in two messages: near a fill nobody knows which of them a sample has seen.
QUIET_MS = 5_000
_SAMPLED_MS = 60_000  # a minute, and so are new samples apart
_OF_POSITIONS = ("settlement", "liquidation")  # they are realised
_FLOAT = Decimal("1e-11")  # of what was added up
USD = "USD"


class Ends(NamedTuple):
    """The samples that stand for the two ends of a day."""

    first: EquitySample
    last: EquitySample


class Flows(NamedTuple):
    """The stored rows of an account."""

    fills: Sequence[Fill]
    payments: Sequence[FundingPayment]
    transfers: Sequence[Transfer]

    def moments(self) -> list[int]:
        """Return when something happened, rising."""
        return sorted(one.at for rows in self for one in rows)

    def between(self, since: int, until: int) -> Flows:
        """Return what happened after one moment and up to the other."""
        return Flows(*([one for one in rows if since < one.at <= until] for rows in self))  # type: ignore[arg-type]


def ends(samples: Sequence[EquitySample], since: int, until: int, flows: Flows) -> Ends | None:
    """Return the samples that are nearest to both ends of a day and near nothing that happened; None: there are no two."""
    moments = flows.moments()
    quiet = [one for one in samples if one.usd and not _near(moments, one.at)]
    if len(quiet) < 2:
        return None
    first = min(quiet, key=lambda one: abs(one.at - since))
    last = min(quiet, key=lambda one: abs(one.at - until))
    return Ends(first, last) if first.at < last.at else None


def _near(moments: Sequence[int], at: int) -> bool:
    place = bisect_left(moments, at - QUIET_MS)
    return place < len(moments) and moments[place] <= at + QUIET_MS


def balance(of: Ends, flows: Flows, settle: Settle, findings: Iterable[Finding], step: Decimal) -> tuple[Balance, ...]:
    """Return what moved the equity between two samples, by currency and in US dollars.

    Args:
        flows: All rows; those between the samples are taken.
        settle: Returns what a symbol settles in, None where it is no contract.
        findings: What is known to be wrong in the rows.
        step: The last decimal that the venue sends of an amount.
    """
    first, last = of
    mine = flows.between(first.at, last.at)
    day = Day()
    events: list[Fill | FundingPayment | Transfer] = [*mine.fills, *mine.payments, *mine.transfers]
    for event in events:
        line = line_of(event)
        if line is not None:
            day.put(f"{type(event).__name__} {event.id}", line)
    realized = day.total(0, settle)
    interest = _by_ccy(one for one in mine.transfers if one.kind == "interest")
    transfers = _by_ccy(one for one in mine.transfers if one.kind not in (*_OF_POSITIONS, "interest"))
    wrong = [one for one in findings if one.cls == "unexplained" and one.at > first.at and one.since <= last.at]
    lines = len(mine.fills) + len(mine.payments) + len(mine.transfers)
    found = []
    for ccy in sorted({*first.equity, *last.equity, *realized, *transfers, *interest}):
        equity, unrealized = _change(first.equity, last.equity, ccy), _change(first.unrealized, last.unrealized, ccy)
        size = sum(
            abs(Decimal(of.get(ccy, 0.0))) for of in (first.equity, last.equity, first.unrealized, last.unrealized)
        )
        parts = {
            "realized": realized.get(ccy, ZERO), "unrealized": unrealized, "transfers": transfers.get(ccy, ZERO),
            "interest": interest.get(ccy, ZERO), "revaluation": ZERO,
        }  # fmt: skip
        bound = step * (lines + 2) + _FLOAT * size
        here = [one for one in wrong if one.ccy == ccy] + _paid_in(ccy, wrong, flows.fills)
        parts["findings"] = _explained(_less(equity, parts.values()), here, bound)
        found.append(_of(ccy, equity, parts, bound))
    return (*found, _dollars(of, found)) if found else ()


def price_range(
    samples: Sequence[EquitySample], ccy: str, of: str, since: int, until: int
) -> tuple[Decimal, Decimal] | None:
    """Return the lowest and the highest that one unit of a currency was worth in another between two moments (ms).

    It counts what the samples between them say, and the nearest one on each side: old ones are thinned out. Where there is none on
    one side, that on the other is one of the same minute, or none. None: no such sample knows both prices. Of an account that
    holds neither nobody samples them.

    Args:
        samples: In the order of time.
    """
    first, end = bisect_left(samples, since, key=_at), bisect_right(samples, until, key=_at)
    known = [ratio for one in samples[first:end] if (ratio := _ratio(one, ccy, of)) is not None]
    earlier = next((one for one in map(samples.__getitem__, range(first - 1, -1, -1)) if _ratio(one, ccy, of)), None)
    later = next((one for one in map(samples.__getitem__, range(end, len(samples))) if _ratio(one, ccy, of)), None)
    sides = [one for one in (earlier, later) if one is not None]
    if len(sides) == 1:
        sides = [one for one in sides if since - _SAMPLED_MS <= one.at <= until + _SAMPLED_MS]
    known += [ratio for one in sides if (ratio := _ratio(one, ccy, of)) is not None]
    return (min(known), max(known)) if known else None


def _at(sample: EquitySample) -> int:
    return sample.at


def _ratio(sample: EquitySample, ccy: str, of: str) -> Decimal | None:
    price, other = sample.usd.get(ccy), sample.usd.get(of)
    return Decimal(price) / Decimal(other) if price and other else None


def left(balances: Iterable[Balance]) -> list[Balance]:
    """Return the currencies in which something is left that nothing explains."""
    return [one for one in balances if one.ccy != USD and abs(Decimal(one.unexplained)) > Decimal(one.bound)]


def _explained(rest: Decimal, wrong: Sequence[Finding], bound: Decimal) -> Decimal:
    """Return how much of a rest is of what is known to be wrong in the rows.

    Where fills and the venue's records differ only the balance tells which of them are right: either all records are, or all but
    one, or none. One of which nobody knows what it comes to comes to what is left.
    """
    known = [Decimal(one.effect) for one in wrong if one.effect]
    every = _less(ZERO, (-effect for effect in known))
    likely = (every, *(exact_sum(every, -effect) for effect in known), ZERO)
    fitting = next((one for one in likely if abs(exact_sum(rest, -one)) <= bound), None)
    if fitting is not None:
        return fitting
    return every if len(known) == len(wrong) else rest


def _paid_in(ccy: str, wrong: Iterable[Finding], fills: Iterable[Fill]) -> list[Finding]:
    """Return what is wrong with fills of symbols whose fees are taken of another coin, in that coin.

    Records have such a fee in what the contract settles in (Bybit), or in a line of its own: what is wrong of it nobody knows.
    """
    symbols = {fill.symbol for fill in fills if fill.fee_ccy == ccy}
    of_fills = (
        one for one in wrong if one.ccy != ccy and one.symbol in symbols and one.differences.keys() - {"funding"}
    )
    return [msgspec.structs.replace(one, effect="") for one in of_fills]


def _less(amount: Decimal, parts: Iterable[Decimal]) -> Decimal:
    for part in parts:
        amount = exact_sum(amount, -part)
    return amount


def _of(ccy: str, equity: Decimal, parts: Mapping[str, Decimal], bound: Decimal) -> Balance:
    rest = _less(equity, parts.values())
    texts = {name: told(value) or "0" for name, value in parts.items()}
    return Balance(
        ccy=ccy, equity=told(equity) or "0", unexplained=told(rest) or "0", bound=told(bound) or "0", **texts
    )


def _dollars(of: Ends, found: Sequence[Balance]) -> Balance:
    """Return the whole account in US dollars: changes at the last prices, and what was there at what its price moved by."""
    equity, bound = ZERO, ZERO
    parts = dict.fromkeys(("realized", "unrealized", "transfers", "interest", "revaluation", "findings"), ZERO)
    for one in found:
        before, after = (Decimal(sample.usd.get(one.ccy, 0.0)) for sample in of)
        held = Decimal(of.first.equity.get(one.ccy, 0.0))
        moved = held * (after - before)
        for name in parts:
            parts[name] += moved if name == "revaluation" else Decimal(getattr(one, name)) * after
        equity += Decimal(one.equity) * after + moved
        bound += Decimal(one.bound) * after
    return _of(USD, equity, parts, bound)


def _by_ccy(transfers: Iterable[Transfer]) -> dict[str, Decimal]:
    found: dict[str, Decimal] = {}
    for one in transfers:
        found[one.ccy] = exact_sum(found.get(one.ccy, ZERO), Decimal(one.amount))
    return found


def _change(first: Mapping[str, float], last: Mapping[str, float], ccy: str) -> Decimal:
    return Decimal(last.get(ccy, 0.0)) - Decimal(first.get(ccy, 0.0))
