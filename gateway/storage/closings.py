"""Cycles beside the venue's own records of them: which figures differ. Owns the comparison and its statements.

OKX tells of each position that was closed (``positions-history``), all five amounts; Bybit of each closing order (``closed-pnl``),
net of fees and without funding. What differs by more than the venue's rounding is noted in the cycle: field → the venue's figure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal

import msgspec

from exchanges.events import ClosedPnl
from gateway.core.anchor import ulp
from gateway.core.evidence import SLACK_MS
from gateway.core.realized import exact_sum
from gateway.core.records import PastPosition
from gateway.core.round_trips import told
from gateway.storage.postgres import Connection

_WHOLE, _PARTS = "positions-history", "closed-pnl"
_FIELDS = ("entry_price", "exit_price", "realized_pnl", "fees", "funding", "liquidation_fee", "realized_net")
_REL = Decimal("1e-9")  # of the figure: a venue's own float noise

_CYCLES = (
    "SELECT state FROM position_history WHERE account = $1 AND symbol = $2 AND at >= $3 AND at <= $4 ORDER BY at, id"
)
_RECORDS = """
    SELECT state FROM pnl_records WHERE account = $1 AND symbol = $2 AND at >= $3 AND at <= $4 AND source = ANY($5::text[])
    ORDER BY at, id
"""
_MARK = """
    UPDATE position_history AS h SET state = jsonb_set(h.state, '{differs}', d.differs)
    FROM unnest($1::text[], $2::jsonb[]) AS d (id, differs) WHERE h.id = d.id
"""


async def compare(connection: Connection, key: tuple[str, str], moments: Sequence[int]) -> None:
    """Hold the cycles that ended about these moments against the venue's records, and note what differs."""
    if not moments:
        return
    first, last = min(moments) - SLACK_MS, max(moments) + SLACK_MS
    cycles = [
        msgspec.json.decode(row["state"], type=PastPosition)
        for row in await connection.fetch(_CYCLES, *key, first, last)
    ]
    if not cycles:
        return
    since = min(one.opened_at for one in cycles) - SLACK_MS
    rows = await connection.fetch(_RECORDS, *key, since, last, [_WHOLE, _PARTS])
    records = [msgspec.json.decode(row["state"], type=ClosedPnl) for row in rows]
    found = {one.id: differing(one, records) for one in cycles} if records else {}
    changed = {one.id: found[one.id] for one in cycles if one.id in found and found[one.id] != dict(one.differs)}
    if changed:
        await connection.execute(_MARK, list(changed), [msgspec.json.encode(one).decode() for one in changed.values()])


def differing(cycle: PastPosition, records: Sequence[ClosedPnl]) -> dict[str, str]:
    """Return what the venue's records of a cycle say otherwise: field → the venue's figure. Empty where it has none."""
    mine = [one for one in records if one.position in (None, cycle.position) and one.side in (None, cycle.side)]
    whole = [one for one in mine if one.source == _WHOLE and _is_of(one, cycle)]
    if whole:
        return _differing(cycle, {name: getattr(whole[-1], name) for name in _FIELDS}, cycle.fills)
    parts = [one for one in mine if one.source == _PARTS and cycle.opened_at < one.at <= cycle.closed_at + SLACK_MS]
    if not parts or cycle.realized_pnl is None or cycle.fees is None:
        return {}
    sums = [_sum(parts, name) for name in ("realized_pnl", "realized_net")]
    own = {
        "realized_pnl": cycle.realized_pnl,
        "realized_net": told(exact_sum(Decimal(cycle.realized_pnl), Decimal(cycle.fees))),
    }
    digits = max((ulp(one.realized_net) for one in parts if one.realized_net), default=Decimal(0))
    return {
        name: said
        for name, said in zip(own, sums, strict=True)
        if said is not None and not _agree(own[name], said, digits * (len(parts) + cycle.fills))
    }


def _is_of(record: ClosedPnl, cycle: PastPosition) -> bool:
    begun = record.opened_at is None or abs(record.opened_at - cycle.opened_at) <= SLACK_MS or not cycle.complete
    return begun and abs(record.at - cycle.closed_at) <= SLACK_MS


def _differing(cycle: PastPosition, said: Mapping[str, str | None], fills: int) -> dict[str, str]:
    return {
        name: value
        for name, value in said.items()
        if value is not None and not _agree(getattr(cycle, name), value, ulp(value) * max(fills, 1))
    }


def _agree(own: str | None, said: str, rounding: Decimal) -> bool:
    """Say whether a figure is the venue's within its rounding: one unit of its last digit for each fill."""
    return own is not None and abs(Decimal(own) - Decimal(said)) <= max(rounding, abs(Decimal(said)) * _REL)


def _sum(records: Sequence[ClosedPnl], name: str) -> str | None:
    total = Decimal(0)
    for record in records:
        amount = getattr(record, name)
        if amount is None:
            return None
        total = exact_sum(total, Decimal(amount))
    return told(total)
