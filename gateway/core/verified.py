"""What a verification says: comparisons and balances as the rows that are stored and shown, one a symbol and UTC day. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import NamedTuple, get_args

from exchanges.events import ClosedPnl
from gateway.core.alerts.records import EquitySample
from gateway.core.balancing import Flows, balance, ends, left
from gateway.core.journal import DAY_MS
from gateway.core.realized import Settle, exact_sum
from gateway.core.records import Finding, Verification, VerificationClass
from gateway.core.round_trips import told
from gateway.core.verify import Book, Unit, compare, completed, money_step

BOOKS = "books"
_LINES, _IDS = 3, 4  # that are named in a message
_SHOWN = ("realized_pnl", "fees", "funding", "liquidation_fee", "realized_net")


class Material(NamedTuple):
    """What is stored of an account for a stretch of time.

    Attributes:
        books: By symbol, each from the opening of what is compared on.
        flows: All rows of the stretch and somewhat around it. ``samples``: of equity likewise.
        records: The venue's own of the stretch. ``settle``: returns what a symbol settles in.
    """

    account: str
    since: int
    until: int
    books: Sequence[Book]
    flows: Flows
    samples: Sequence[EquitySample]
    records: Sequence[ClosedPnl]
    settle: Settle


def verify(material: Material, at: int) -> list[Verification]:
    """Return what a verification of a stretch of time says: a row a symbol and day, then the balance of each day.

    Args:
        material: What is stored.
        at: The wall clock (ms).
    """
    rows = [row for book in material.books for row in _symbol(material, book, at)]
    findings = [finding for row in rows for finding in row.findings]
    step = money_step(material.flows.fills, material.flows.payments, material.records)
    told_of = {fill.id: fill for fill in completed(material.books)}
    fills = [told_of.get(fill.id, fill) for fill in material.flows.fills]
    material = material._replace(flows=material.flows._replace(fills=fills))
    return rows + [_day(material, day, findings, step, at) for day in _days(material)]


def worst(findings: Iterable[Finding]) -> VerificationClass | None:
    """Return the worst class of findings."""
    classes = get_args(VerificationClass)
    return max((finding.cls for finding in findings), key=classes.index, default=None)


def unexplained(rows: Iterable[Verification]) -> list[Finding]:
    """Return the lines that nothing explains, the balances that are not even among them."""
    return [finding for row in rows for finding in row.findings if finding.cls == "unexplained"]


def words(rows: Iterable[Verification]) -> str:
    """Return what nothing explains, for people: the first few lines."""
    found = lines(rows)
    more = f"; {len(found) - _LINES} more" if len(found) > _LINES else ""
    return "; ".join(found[:_LINES]) + more


def lines(rows: Iterable[Verification]) -> list[str]:
    """Return what nothing explains, a line each: day, amounts and ids."""
    return [_line(row, finding) for row in rows for finding in row.findings if finding.cls == "unexplained"]


def _line(row: Verification, finding: Finding) -> str:
    amounts = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in finding.differences.items())
    ids = [*finding.fills, *finding.payments, *finding.records]
    more = f" and {len(ids) - _IDS} more" if len(ids) > _IDS else ""
    named = f" ({', '.join(ids[:_IDS])}{more})" if ids else ""
    of = f"{row.symbol}: " if row.symbol else ""
    return f"{_date(row.day)} {of}{finding.what}: {amounts} {finding.ccy or ''}".rstrip() + named


def _days(material: Material) -> range:
    return range(material.since // DAY_MS * DAY_MS, material.until, DAY_MS)


def _symbol(material: Material, book: Book, at: int) -> Iterator[Verification]:
    days: defaultdict[int, list[Unit]] = defaultdict(list)
    for unit in compare(book):
        if material.since <= unit.at < material.until:
            days[unit.at // DAY_MS * DAY_MS].append(unit)
    for day, units in sorted(days.items()):
        findings = tuple(unit.finding for unit in units if unit.finding is not None)
        yield Verification(
            id=f"{book.account}:{book.symbol}:{_date(day)}", account=book.account, symbol=book.symbol, day=day, at=day,
            worked_at=at, cls=worst(findings), compared=len(units), equal=len(units) - len(findings),
            ours=_sums(unit.ours for unit in units), venue=_sums(unit.venue for unit in units), findings=findings,
            note="" if book.read else "the venue's records of this time were not read: none of them is missed",
        )  # fmt: skip


def _sums(of: Iterable[object]) -> dict[str, str]:
    found: dict[str, Decimal] = {}
    for one in of:
        assert isinstance(one, dict)
        for name, value in one.items():
            if name in _SHOWN:
                found[name] = exact_sum(found.get(name, Decimal(0)), value)
    return {name: told(value) or "0" for name, value in found.items()}


def _day(material: Material, day: int, findings: Sequence[Finding], step: Decimal, at: int) -> Verification:
    since, until = max(day, material.since), min(day + DAY_MS, material.until)
    flows = material.flows
    found = ends(material.samples, since, until, flows)
    row_id = f"{material.account}:{BOOKS}:{_date(day)}"
    if found is None:
        note = "no two samples of equity of this day that are apart from everything that happened"
        return Verification(id=row_id, account=material.account, day=day, at=day, worked_at=at, note=note)
    balances = balance(found, flows, material.settle, findings, step)
    lines = tuple(
        Finding(
            cls="unexplained", what=f"the balance of {one.ccy}: nothing that is stored explains this much", since=found.first.at,
            at=found.last.at, ccy=one.ccy, differences={"equity": one.unexplained}, effect=one.unexplained,
        )
        for one in left(balances)
    )  # fmt: skip
    return Verification(
        id=row_id, account=material.account, day=day, at=day, worked_at=at, cls=worst(lines), compared=len(balances),
        equal=len(balances) - len(lines), balance=balances, since=found.first.at, until=found.last.at, findings=lines,
        note=_between(found.first.at - since, until - found.last.at),
    )  # fmt: skip


def _between(before: int, after: int) -> str:
    """Return what lies between the samples and both ends of the day."""
    return f"the samples lie {_apart(before)} its beginning and {_apart(-after)} its end"


def _apart(ms: int) -> str:
    return f"{abs(ms) / 1000:.0f} s {'after' if ms >= 0 else 'before'}"


def _date(day: int) -> str:
    return datetime.fromtimestamp(day / 1000, UTC).date().isoformat()
