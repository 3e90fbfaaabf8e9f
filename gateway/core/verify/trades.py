"""A comparison a trade: venues whose records are of single trades (Hyperliquid, Aster). Pure.

What a fill says and what the record says is known by the trade's id, and equal to the last digit; what the trade brought is worked
out from the fills before it besides.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from decimal import Decimal

from exchanges.events import ClosedPnl, Fill
from gateway.core.verify.ledger import Case, Ledger
from gateway.core.verify.weighing import fee_ccy, total

_NEVER = 1 << 62


def trades(ledger: Ledger) -> Iterator[Case]:
    """Yield a case a trade that the venue has records of, or should have some of, and one for each fee in another currency."""
    if ledger.book.unit != "trade":
        return
    fills: defaultdict[str, list[Fill]] = defaultdict(list)
    records: defaultdict[str, list[ClosedPnl]] = defaultdict(list)
    for fill in ledger.fills:
        fills[fill.trade_id or fill.id].append(fill)
    for record in ledger.records:
        if record.trade_id is not None:
            records[record.trade_id].append(record)
    for name in dict.fromkeys((*fills, *records)):
        at = min(*(fill.at for fill in fills[name]), *(record.at for record in records[name]), _NEVER)
        if records[name] or ledger.was_read(at):
            yield from _trade(ledger, name, at, fills[name], records[name])


def _trade(ledger: Ledger, name: str, at: int, fills: list[Fill], records: list[ClosedPnl]) -> Iterator[Case]:
    settle = ledger.book.settle or ""
    moves = [move for fill in fills for move in ledger.by_fill[fill.id]]
    theirs = {record.ccy or settle for record in records if record.fees is not None}
    ours = {fee_ccy(fill, ledger.book) for fill in fills if fill.fee is not None}
    text = f"trade {name}" if fills else f"trade {name} is among the venue's records, and no fill of it is stored"
    text = text if records else f"trade {name} is not among the venue's records"
    case = Case(
        text, min((move.move.opened_at for move in moves), default=at), at, ledger.book.settle, {}, {}, {},
        all(move.move.whole for move in moves), frozenset(move.move.opener for move in moves),
        tuple(fill.id for fill in fills), (), tuple(record.id for record in records),
        next((fill.position for fill in fills), None), flat=any(move.over for move in moves), direct=True,
    )  # fmt: skip
    for ccy in sorted({settle, *theirs, *ours}, key=lambda one: (one != settle, one)):
        fees = {
            "ours": total(fill.fee for fill in fills if fee_ccy(fill, ledger.book) == ccy),
            "venue": total(record.fees for record in records if (record.ccy or settle) == ccy),
        }
        if ccy == settle:
            found = _in_settle(ledger, case, fills, records, fees["ours"], fees["venue"])
            if found is not None:
                yield found
        else:
            yield case._replace(
                what=f"fee of {text} in {ccy}", ccy=ccy, ours={"fees": fees["ours"]}, venue={"fees": fees["venue"]},
                bounds={}, flat=False, said=fees["ours"],
            )  # fmt: skip


def _in_settle(
    ledger: Ledger, case: Case, fills: list[Fill], records: list[ClosedPnl], our_fees: Decimal, their_fees: Decimal
) -> Case | None:
    ours = {
        "fills": Decimal(len(fills)),
        "realized_pnl": total(fill.realized_pnl for fill in fills),
        "fees": our_fees,
    }
    venue = {
        "fills": Decimal(max(len(fills), 1)),
        "realized_pnl": total(record.realized_pnl for record in records),
        "fees": their_fees,
    }
    if not records and not ours["realized_pnl"] and not ours["fees"]:
        return None
    bounds: dict[str, Decimal] = {}
    closings = [move for fill in fills for move in ledger.by_fill[fill.id] if move.move.closes]
    own = [move.move.own for move in closings if move.move.whole]
    if records and closings and len(own) == len(closings) and None not in own:
        ours["own_pnl"], venue["own_pnl"] = total(own), venue["realized_pnl"]
        bounds["own_pnl"] = ledger.bound(closings)
    return case._replace(ours=ours, venue=venue, bounds=bounds, said=total((ours["realized_pnl"], our_fees)))
