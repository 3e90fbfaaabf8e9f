"""OKX's positions history: a row a position from its opening to its latest close, all amounts summed up since the opening.

Pure. Source: OKX v5 docs, "Get positions history": ``realizedPnl = pnl + fee + fundingFee + liqPenalty + settledPnl``.
"""

from __future__ import annotations

from exchanges.sim import revalue
from exchanges.sim.closings import Cycle
from exchanges.sim.exact import plain
from exchanges.sim.okx_market import Row, family, figure, inst_type
from exchanges.sim.world import Account, World

PARTIAL, FULL, LIQUIDATED, LIQUIDATED_PARTLY, DELEVERAGED_PARTLY, DELEVERAGED = "1", "2", "3", "4", "5", "6"
_OF_THE_MARK = (LIQUIDATED, LIQUIDATED_PARTLY, DELEVERAGED_PARTLY)


def history_rows(world: World, account: Account) -> list[Row]:
    """Return every position that was closed at least in part, the newest change first."""
    rows = [_row(world, account, cycle) for cycle in world.cycles(account.name)]
    return sorted(rows, key=lambda row: int(row["uTime"]), reverse=True)


def _row(world: World, account: Account, cycle: Cycle) -> Row:
    contract, position = world.contract("okx", cycle.position.symbol), cycle.position
    kind = _kind(cycle)
    exit_ = cycle.closed / cycle.exit_coins if contract.inverse else cycle.exit_value / cycle.closed
    first = position.first_entry or position.entry_price
    realized = position.realized + position.fees + position.funding
    backing = revalue.notional(contract, cycle.largest, first) / position.leverage
    settles = contract.kind == "future" and position.mode == "cross"
    return {
        "cTime": str(position.opened_at),
        "ccy": contract.settle,
        "closeAvgPx": figure(exit_),
        "closeTotalPos": plain(cycle.closed),
        "direction": position.side,
        "fee": figure(position.fees - cycle.penalty),
        "fundingFee": figure(position.funding),
        "instId": position.symbol,
        "instType": inst_type(contract),
        "lever": f"{position.leverage:.1f}",
        "liqPenalty": figure(cycle.penalty),
        "mgnMode": position.mode,
        "nonSettleAvgPx": plain(first) if settles else "",
        "openAvgPx": plain(position.entry_price),
        "openMaxPos": plain(cycle.largest),
        "pnl": figure(position.realized - position.settled),
        "pnlRatio": figure(realized / backing),
        "posId": str(position.id),
        "posSide": position.leg if account.hedge else "net",
        "realizedPnl": figure(realized),
        "settledPnl": figure(position.settled) if settles else "",
        "triggerPx": plain(cycle.trade.price) if kind in _OF_THE_MARK else "",
        "type": kind,
        "uTime": str(cycle.at),
        "uly": family(contract),
    }


def _kind(cycle: Cycle) -> str:
    """Return the type of the latest close."""
    left = bool(cycle.position.size)
    match cycle.trade.category:
        case "liquidation":
            return LIQUIDATED_PARTLY if left else LIQUIDATED
        case "adl":
            return DELEVERAGED_PARTLY if left else DELEVERAGED
        case _:
            return PARTIAL if left else FULL
