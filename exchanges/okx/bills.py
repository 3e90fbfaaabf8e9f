"""From OKX's bills to events: funding, transfers and the causes of changes. Keeps no state.

A bill is one change of a balance. Of trades nothing is read here: transaction details say more of them, all but the margin mode
(``placing``). Source: OKX v5 docs, bills details and bill types.
"""

from __future__ import annotations

from decimal import Decimal

from exchanges.events import Cause, Event, Evidence, FundingPayment, Transfer, TransferKind, known, position_id
from exchanges.okx.tables import INSTRUMENT_TYPES
from exchanges.okx.wire import BillRow

FUNDING = "8"
_SETTLEMENT = "34"
_FUNDING_PAID, _FUNDING_RECEIVED = "173", "174"

# Bills of executions: trade, ddh, block trade, spread trading, move position.
TRADES = frozenset({"2", "13", "14", "24", "32"})
# Bills that say why a position changed; the execution itself is among the transaction details.
_CAUSES: dict[str, Cause] = {
    "3": "settlement",
    "5": "liquidation",
    "6": "margin",
    "9": "adl",
    _SETTLEMENT: "settlement",
}
_KINDS: dict[str, TransferKind] = {
    "1": "transfer",
    "4": "conversion",  # forced repayment
    "7": "interest",
    "11": "conversion",
    "12": "transfer",  # to and from a strategy
    "27": "conversion",
    "28": "conversion",
    "29": "conversion",  # one-click repay
    "30": "conversion",  # simple trade
    _SETTLEMENT: "settlement",
    "381": "interest",  # earned
}
# Coins that a liquidation sells for others.
_LIQUIDATION_TRANSFERS = frozenset({"110", "111"})

# The leg that a bill is about, in accounts where each leg is a position of its own.
_LONG = frozenset({"100", "104", "112", "125"})
_SHORT = frozenset({"101", "105", "113", "126"})


def parse_bill(row: BillRow, account: str, hedge: bool | None) -> list[Event]:
    """Translate one bill.

    Args:
        row: The bill.
        account: Our name of the account.
        hedge: Whether legs are positions of their own, which decides what position a bill is about.
    """
    if row.type in TRADES:
        return []
    if row.type == FUNDING:
        return [_funding(row, account, hedge)]
    out: list[Event] = []
    cause = _CAUSES.get(row.type)
    if cause is not None and row.inst_id:
        out.append(_evidence(row, account, cause, hedge))
    moved = _moved(row)
    if moved is not None and (cause is None or row.type == _SETTLEMENT or row.sub_type in _LIQUIDATION_TRANSFERS):
        out.append(_transfer(row, account, moved, hedge))
    return out


def _funding(row: BillRow, account: str, hedge: bool | None) -> FundingPayment:
    """Translate a funding bill. ``pnl`` has the amount, in isolated positions too; ``subType`` says which way it went."""
    amount = known(row.pnl) or known(row.bal_chg) or "0"
    digits = amount.removeprefix("-")
    if row.sub_type == _FUNDING_PAID:
        amount = f"-{digits}" if Decimal(digits) else digits
    elif row.sub_type == _FUNDING_RECEIVED:
        amount = digits
    return FundingPayment(
        account=account,
        id=bill_id(row, account),
        symbol=row.inst_id or "",
        amount=amount,
        ccy=row.ccy,
        at=int(row.ts),
        position=_position(row, account, hedge),
        size=known(row.sz),
    )


def _evidence(row: BillRow, account: str, cause: Cause, hedge: bool | None) -> Evidence:
    return Evidence(
        account=account,
        symbol=row.inst_id or "",
        cause=cause,
        what=_words(row),
        at=int(row.ts),
        ids=(row.bill_id, row.ord_id) if row.ord_id else (row.bill_id,),
        position=_position(row, account, hedge),
    )


def _transfer(row: BillRow, account: str, amount: str, hedge: bool | None) -> Transfer:
    kind: TransferKind = "conversion" if row.sub_type in _LIQUIDATION_TRANSFERS else _KINDS.get(row.type, "other")
    return Transfer(
        account=account,
        id=bill_id(row, account),
        kind=kind,
        ccy=row.ccy,
        amount=amount,
        at=int(row.ts),
        what=_words(row),
        symbol=row.inst_id or None,
        position=_position(row, account, hedge),
    )


def unknown_words(row: BillRow) -> str | None:
    """Return what in a bill is not documented; None where everything is."""
    if (row.inst_type or "") in INSTRUMENT_TYPES:
        return None
    return f"bill {row.bill_id} is of the unknown type of instrument {row.inst_type!r}"


def bill_id(row: BillRow, account: str) -> str:
    """Return the id of what a bill tells."""
    return position_id(account, "bill", row.bill_id)


def _words(row: BillRow) -> str:
    return f"bill type {row.type} subType {row.sub_type}"


def _moved(row: BillRow) -> str | None:
    """Return what was added to the account's money, or to that of an isolated position; None where nothing was."""
    return next((sum_ for sum_ in (row.bal_chg, row.pos_bal_chg) if sum_ and Decimal(sum_)), None)


def _position(row: BillRow, account: str, hedge: bool | None) -> str | None:
    """Return the position that a bill of a contract is about, where the bill says so without doubt."""
    if row.inst_type not in ("SWAP", "FUTURES", "OPTION") or not row.inst_id or not row.mgn_mode:
        return None
    if (
        hedge is None or "_UM-" in row.inst_id
    ):  # margined in one of several dollars: its bills need not name the same one
        return None
    side = "net" if not hedge else "long" if row.sub_type in _LONG else "short" if row.sub_type in _SHORT else None
    return position_id(account, row.inst_id, side, row.mgn_mode, row.ccy) if side else None
