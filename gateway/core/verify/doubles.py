"""The same thing on record twice under two ids: fills, payments, the venue's own records. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from decimal import Decimal
from typing import NamedTuple, TypeVar

import msgspec

from exchanges.events import ClosedPnl, Fill, FundingPayment
from gateway.core.realized import exact_sum

Told = Fill | FundingPayment | ClosedPnl
One = TypeVar("One", Fill, FundingPayment, ClosedPnl)


class Doubled(NamedTuple):
    """One thing that is there more than once.

    Attributes:
        field, extra: What is counted too much, and how much of it.
    """

    what: str
    events: Sequence[Told]
    field: str
    extra: Decimal
    ccy: str | None


class Clean(NamedTuple):
    """Everything once, and what was there more than once."""

    fills: list[Fill]
    payments: list[FundingPayment]
    records: list[ClosedPnl]
    doubled: list[Doubled]


def doubled(fills: Iterable[Fill], payments: Iterable[FundingPayment], records: Iterable[ClosedPnl]) -> Clean:
    """Take out what tells again what another row tells already.

    A trade id of one order is one fill. A position is paid once in a moment: two legs of a symbol differ in their side, or pay
    opposite amounts. Two records that differ in nothing but their ids are one.
    """
    found: list[Doubled] = []

    def once(events: Iterable[One], key: Callable[[One], Hashable], told: Callable[[list[One]], Doubled]) -> list[One]:
        groups: defaultdict[Hashable, list[One]] = defaultdict(list)
        for event in events:
            groups[key(event)].append(event)
        found.extend(told(group) for group in groups.values() if len(group) > 1)
        return [group[0] for group in groups.values()]

    return Clean(
        once(fills, _of_fill, _fills),
        once(payments, _of_payment, _payments),
        once(records, _of_record, _records),
        found,
    )


def _of_fill(fill: Fill) -> Hashable:
    if fill.trade_id is None:
        return fill.id
    return fill.trade_id, fill.order_id, fill.at, fill.side, Decimal(fill.size), Decimal(fill.price)


def _of_payment(payment: FundingPayment) -> Hashable:
    return payment.symbol, payment.position, payment.side, payment.at, payment.ccy, Decimal(payment.amount)


def _of_record(record: ClosedPnl) -> Hashable:
    return msgspec.structs.astuple(msgspec.structs.replace(record, id=""))


def _fills(group: list[Fill]) -> Doubled:
    extra = _total(figure for fill in group[1:] for figure in (fill.realized_pnl, fill.fee))
    return Doubled(f"fill {group[0].trade_id} of order {group[0].order_id} is stored {_times(group)}", group, "realized_net", extra,
                   group[0].fee_ccy)  # fmt: skip


def _payments(group: list[FundingPayment]) -> Doubled:
    extra = _total(payment.amount for payment in group[1:])
    what = f"funding of {group[0].symbol} of one moment is stored {_times(group)}"
    return Doubled(what, group, "funding", extra, group[0].ccy)


def _records(group: list[ClosedPnl]) -> Doubled:
    first = group[0]
    net = first.realized_net if first.realized_net is not None else first.realized_pnl
    what = f"the venue's record ({first.source} {first.order_id or first.trade_id or ''}) is stored {_times(group)}"
    extra = Decimal(net or first.fees or 0) * (len(group) - 1)
    return Doubled(what, group, "realized_net", extra, first.ccy)


def _times(group: Sequence[Told]) -> str:
    return "twice" if len(group) == 2 else f"{len(group)} times"


def _total(figures: Iterable[str | None]) -> Decimal:
    found = Decimal(0)
    for figure in figures:
        found = exact_sum(found, Decimal(figure or 0))
    return found
