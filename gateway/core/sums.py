"""What was realised and what accounts were worth, folded into the rows that clients see. Pure.

Amounts stay exact; only figures in US dollars are floats. Accounts of different environments and executions never share a row.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import NamedTuple

from gateway.core.currencies import DOLLARS
from gateway.core.lookup import Span
from gateway.core.realized import exact_sum

_AMOUNTS = ("realized_pnl", "fees", "funding", "liquidation_fee")
Row = dict[str, object]
# (venue, env, currency, moment) → its price then; NaN: not known
Priced = Callable[[str, str, str, int], "Rate"]


class Rate(NamedTuple):
    """A currency in US dollars; ``source``: whose price it is, "par", "assumed" (a dollar stablecoin without a price) or ""."""

    usd: float
    source: str
    at: int | None = None


class Sum(NamedTuple):
    """What was realised in one bucket, in one currency: ``amounts`` are realised by price, fees, funding, liquidation fee."""

    bucket: int
    account: str | None
    symbol: str | None
    venue: str
    env: str
    execution: str
    ccy: str
    amounts: tuple[Decimal, Decimal, Decimal, Decimal]
    records: int
    unknown: int


class Sample(NamedTuple):
    """What an account was worth at a moment."""

    account: str
    at: int
    usd: float
    by_ccy: Mapping[str, float]


class Flow(NamedTuple):
    """What came from outside (+) or went there (-)."""

    account: str
    at: int
    ccy: str
    amount: Decimal


def rate(found: Mapping[str, Rate], venue: str, ccy: str) -> Rate:
    """Return which of the venues' prices counts for an account: its own venue's, else that of the first by name."""
    if ccy == "USD":
        return Rate(1.0, "par")
    if venue in found:
        return found[venue]
    if found:
        return found[min(found)]
    return Rate(1.0, "assumed") if ccy in DOLLARS else Rate(math.nan, "")


def plain(amount: Decimal) -> str:
    """Return an exact amount as text, without zeros that say nothing."""
    text = format(amount, "f")
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text in ("", "-0") else text


# --- what was realised --------------------------------------------------------------------------------------------------


def realized_rows(sums: Iterable[Sum], span: Span, of: Callable[[Sum], Row], priced: Priced) -> list[Row]:
    """Return one row a bucket, group and currency, in the order in which they come.

    Args:
        of: Returns what a row is grouped by. ``priced``: asked for the end of the bucket.
    """
    groups: dict[tuple[object, ...], list[Sum]] = {}
    heads: dict[tuple[object, ...], Row] = {}
    for one in sums:
        head = {
            "at": span.edges[one.bucket],
            **of(one),
            "env": one.env,
            "execution": one.execution,
            "ccy": one.ccy or None,
        }
        key = tuple(head.values())
        groups.setdefault(key, []).append(one)
        heads[key] = head
    return [_realized_row(heads[key], groups[key], span, priced) for key in groups]


def _realized_row(head: Row, sums: Sequence[Sum], span: Span, priced: Priced) -> Row:
    amounts = [Decimal(0)] * 4
    usd, rates = 0.0, dict[str, Row]()
    for one in sums:
        amounts = [exact_sum(total, part) for total, part in zip(amounts, one.amounts, strict=True)]
        price = priced(one.venue, one.env, one.ccy, span.edges[one.bucket + 1])
        usd += float(_net(one.amounts)) * price.usd
        if not math.isnan(price.usd):
            rates[one.venue] = _present({"venue": one.venue, "usd": price.usd, "source": price.source, "at": price.at})
    row = dict(head) | {name: plain(amount) for name, amount in zip(_AMOUNTS, amounts, strict=True)}
    row |= {"realized_net": plain(_net(amounts)), "net_usd": usd, "rates": list(rates.values()) or None}
    row |= {"records": sum(one.records for one in sums), "unknown": sum(one.unknown for one in sums) or None}
    return _present(row)


def _net(amounts: Iterable[Decimal]) -> Decimal:
    total = Decimal(0)
    for amount in amounts:
        total = exact_sum(total, amount)
    return total


def _present(row: Mapping[str, object]) -> Row:
    return {name: value for name, value in row.items() if value is not None and value == value}  # noqa: PLR0124  NaN only


# --- what it was worth --------------------------------------------------------------------------------------------------


class _Moved:
    """What came from outside to one account and went there, added up as time goes on."""

    def __init__(self, since: int) -> None:
        """Begin with nothing: what came up to ``since`` is in the figure that the account begins with."""
        self._since, self._total = since, 0.0
        self._flows: deque[tuple[int, float]] = deque()

    def add(self, at: int, usd: float) -> None:
        """Take a flow that is not older than the one before."""
        if at > self._since:
            self._flows.append((at, usd))

    def until(self, at: int) -> float:
        """Return the sum up to a moment that is not before the one that was asked last."""
        while self._flows and self._flows[0][0] <= at:
            self._total += self._flows.popleft()[1]
        return self._total


class _Line:
    """One group of accounts over time."""

    def __init__(self, head: Row) -> None:
        self.head = head
        self.bases: dict[str, Sample] = {}
        self.last: dict[str, Sample] = {}
        self.flows: dict[str, _Moved] = {}
        self.moved: dict[str, float] = {}  # account → what came and went since its base, up to its last figure
        self.peak = -math.inf  # of what it would be worth without transfers
        self.net = math.nan


def equity_rows(
    span: Span,
    bases: Mapping[str, Sample],
    samples: Sequence[tuple[int, Sample]],
    flows: Sequence[tuple[Flow, float]],
    of: Callable[[str], Row],
) -> list[Row]:
    """Return one row a bucket and group: what it was worth at the bucket's last figure, beside the same net of transfers.

    An account counts gross from its first figure on; net it counts before that, too, with that figure, so that one that begins
    later does not look like profit. A bucket without a figure of an account has its last one (``carried``); one without any has
    no row.
    The drawdown is the fall from the highest net figure of the span so far, as a fraction of that peak moved by what came and went
    since, so that neither a deposit nor a withdrawal is one; by the buckets' last figures alone.

    Args:
        flows: With their worth in US dollars, oldest first; NaN: not known, from there on nothing is said net.
        of: Returns what an account's row is grouped by.
    """
    lines: dict[tuple[object, ...], _Line] = {}
    line_of: dict[str, _Line] = {}
    for name, base in bases.items():
        head = of(name)
        line = line_of[name] = lines.setdefault(tuple(head.values()), _Line(head))
        line.bases[name], line.flows[name] = base, _Moved(base.at)
    for flow, usd in flows:
        if flow.account in line_of:
            line_of[flow.account].flows[flow.account].add(flow.at, usd)
    by_bucket: dict[int, dict[_Line, dict[str, Sample]]] = {}
    for bucket, sample in samples:
        if sample.account in line_of:
            by_bucket.setdefault(bucket, {}).setdefault(line_of[sample.account], {})[sample.account] = sample
    for line in lines.values():
        line.last = {name: base for name, base in line.bases.items() if base.at < span.since}
        line.net = line.peak = sum(base.usd for base in line.bases.values())
    rows = []
    for bucket in sorted(by_bucket):
        fresh = by_bucket[bucket]
        rows += [_equity_row(line, span.edges[bucket], fresh[line]) for line in lines.values() if line in fresh]
    return rows


def _equity_row(line: _Line, at: int, fresh: Mapping[str, Sample]) -> Row:
    line.last |= fresh
    before = sum(line.moved.values())
    for name, sample in fresh.items():
        line.moved[name] = line.flows[name].until(sample.at)
    moved = sum(line.moved.values())
    gross = math.fsum(one.usd for one in line.last.values())
    net = gross - moved + math.fsum(base.usd for name, base in line.bases.items() if name not in line.last)
    pnl, line.net = net - line.net, net
    line.peak = math.nan if math.isnan(net) else max(line.peak, net)
    peak = line.peak + moved
    by_ccy: dict[str, float] = {}
    for one in line.last.values():
        for ccy, amount in one.by_ccy.items():
            by_ccy[ccy] = by_ccy.get(ccy, 0.0) + amount
    row = {"at": at, **line.head, "equity_usd": gross, "transfers_usd": moved - before, "net_usd": net, "pnl_usd": pnl}
    row |= {"peak_usd": peak, "drawdown": 1.0 - (net + moved) / peak if peak > 0.0 else None}
    row |= {"as_of": max(one.at for one in fresh.values()), "accounts": len(line.last)}
    row |= {"carried": len(line.last) - len(fresh) or None, "equity": by_ccy or None}
    return _present({name: round(value, 4) if isinstance(value, float) and name != "drawdown" else value
                     for name, value in row.items()})  # fmt: skip
