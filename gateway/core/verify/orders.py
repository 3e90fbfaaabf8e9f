"""A comparison a closing order (Bybit), and a record of profit that was moved into the balance while a position stayed. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from decimal import Decimal

from exchanges.events import ClosedPnl
from gateway.core.evidence import SLACK_MS
from gateway.core.realized import exact_sum
from gateway.core.round_trips import ZERO
from gateway.core.verify.ledger import Case, Ledger, closed
from gateway.core.verify.weighing import Weighed, total


def orders(ledger: Ledger) -> Iterator[Case]:
    """Yield a case a closing order."""
    if ledger.book.unit != "order":
        return
    records: defaultdict[tuple[str, str | None], list[ClosedPnl]] = defaultdict(list)
    closings: defaultdict[tuple[str, str | None], list[Weighed]] = defaultdict(list)
    for record in ledger.records:
        if record.trade_id is None and record.order_id is not None:
            records[record.order_id, record.side].append(record)
    for move in ledger.moves:
        if move.move.closes:
            closings[move.fill.order_id, move.move.side].append(move)
    for name in dict.fromkeys((*closings, *records)):
        mine, theirs = closings[name], records[name]
        at = max(one.at for one in theirs) if theirs else max(move.fill.at for move in mine)
        if theirs or (ledger.was_read(at) and all(move.move.whole for move in mine)):
            yield _order(ledger, name[0], at, mine, theirs)


def _order(ledger: Ledger, name: str, at: int, moves: list[Weighed], records: list[ClosedPnl]) -> Case:
    text = f"closing order {name}" + ("" if records else " is not among the venue's records")
    ours, venue = closed(moves), {"size": total(record.size for record in records)}
    fees, foreign = ledger.fees(moves, opening=True)
    bounds = {
        "fees": ledger.step * total(Decimal(move.exits + 1) for move in moves),
        "realized_pnl": ledger.bound(moves),
    }
    if records and all(record.realized_pnl is not None for record in records):
        venue["realized_pnl"] = total(record.realized_pnl for record in records)
        venue["fees"], ours["fees"] = total(record.fees for record in records), fees
    else:
        venue["realized_net"] = total(record.realized_net for record in records)
        ours["realized_net"] = exact_sum(ours.pop("realized_pnl", ZERO), fees)
        bounds["realized_net"] = bounds["realized_pnl"] + bounds["fees"]
    case = ledger.case(text, at, ours, venue, bounds, moves, records)._replace(foreign=foreign)
    missing = venue["size"] - ours["size"]
    if missing > 0 and case.said is not None:  # what opening had cost is in the record, and in what is stored
        return case._replace(said=total((case.said, ledger.opening(records[0], missing))))
    return case


def settlements(ledger: Ledger) -> Iterator[Case]:
    """Yield a case a record of profit that was moved into the balance while the position stayed."""
    settled = [one for one in ledger.book.transfers if one.kind == "settlement"]
    for record in ledger.records:
        if record.trade_id is None and record.order_id is None and record.opened_at is None:
            mine = [one for one in settled if abs(one.at - record.at) <= SLACK_MS]
            net = record.realized_pnl if record.realized_pnl is not None else record.realized_net
            ours, venue = {"realized_pnl": total(one.amount for one in mine)}, {"realized_pnl": Decimal(net or 0)}
            text = f"settlement of {record.symbol}" + ("" if mine else ": no payment of it is stored")
            case = ledger.case(text, record.at, ours, venue, {"realized_pnl": ledger.step}, [], [record])
            yield case._replace(payments=tuple(one.id for one in mine))
