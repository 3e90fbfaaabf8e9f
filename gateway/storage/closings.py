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
_PRICES = ("entry_price", "exit_price")
_REL = Decimal("1e-9")  # of the figure: a venue's own float noise
_MONEY = Decimal("1e-6")  # no venue rounds money more than this; trailing zeros may be left out

# A record may be of a part of a cycle that ended later: of a few legs the next one.
_CYCLES = """
    (SELECT state FROM position_history WHERE account = $1 AND symbol = $2 AND at >= $3 AND at <= $4)
    UNION ALL
    (SELECT state FROM position_history WHERE account = $1 AND symbol = $2 AND at > $4 ORDER BY at LIMIT 4)
"""
_RECORDS = """
    SELECT state FROM pnl_records WHERE account = $1 AND symbol = $2 AND at >= $3 AND at <= $4 AND source = ANY($5::text[])
    ORDER BY at, id
"""
_MARK = """
    UPDATE position_history AS h SET state = jsonb_set(h.state, '{differs}', d.differs)
    FROM unnest($1::text[], $2::jsonb[]) AS d (id, differs) WHERE h.id = d.id
"""


async def compare(connection: Connection, key: tuple[str, str], moments: Sequence[int]) -> None:
    """Hold the cycles that ended about these moments, or went on, against the venue's records, and note what differs."""
    if not moments:
        return
    first, last = min(moments) - SLACK_MS, max(moments) + SLACK_MS
    cycles = [
        msgspec.json.decode(row["state"], type=PastPosition)
        for row in await connection.fetch(_CYCLES, *key, first, last)
    ]
    if not cycles:
        return
    since, until = min(one.opened_at for one in cycles) - SLACK_MS, max(one.closed_at for one in cycles) + SLACK_MS
    rows = await connection.fetch(_RECORDS, *key, since, until, [_WHOLE, _PARTS])
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
        own = {name: getattr(cycle, name) for name in _FIELDS}
        return _differing(own, {name: getattr(whole[-1], name) for name in _FIELDS}, cycle.fills)
    parts = [one for one in mine if one.source == _PARTS and cycle.opened_at < one.at <= cycle.closed_at + SLACK_MS]
    if not parts or cycle.realized_pnl is None or cycle.fees is None:
        return {}
    sums = [_sum(parts, name) for name in ("realized_pnl", "realized_net")]
    own = {
        "realized_pnl": cycle.realized_pnl,
        "realized_net": told(exact_sum(Decimal(cycle.realized_pnl), Decimal(cycle.fees))),
    }
    return _differing(own, dict(zip(own, sums, strict=True)), len(parts) + cycle.fills)


def _is_of(record: ClosedPnl, cycle: PastPosition) -> bool:
    begun = record.opened_at is None or abs(record.opened_at - cycle.opened_at) <= SLACK_MS or not cycle.complete
    return begun and abs(record.at - cycle.closed_at) <= SLACK_MS


def _differing(own: Mapping[str, str | None], said: Mapping[str, str | None], roundings: int) -> dict[str, str]:
    """Return what is not the same within the venue's rounding: of a price its last digit, of money that of each fill."""
    found = {}
    for name, value in said.items():
        if value is None:
            continue
        bound = ulp(value) if name in _PRICES else min(ulp(value), _MONEY) * max(roundings, 1)
        mine, bound = own[name], max(bound, abs(Decimal(value)) * _REL)
        if mine is None or abs(Decimal(mine) - Decimal(value)) >= bound:
            found[name] = value
    return found


def _sum(records: Sequence[ClosedPnl], name: str) -> str | None:
    total = Decimal(0)
    for record in records:
        amount = getattr(record, name)
        if amount is None:
            return None
        total = exact_sum(total, Decimal(amount))
    return told(total)
