"""What Hyperliquid pushes because something happened: the world's changes turned into (user, channel, data).

Pure. Frames of ``userEvents`` and ``orderUpdates`` name no user, as at the venue. States are not among these: they come again
on their own, seconds later. Changes without a trace ("silent") say nothing here. Source: Hyperliquid docs "Subscriptions".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from exchanges.sim import hyperliquid_history as history
from exchanges.sim.changes import Filled, FundingPaid, OrderChanged, Transferred, WorldEvent
from exchanges.sim.hyperliquid_figures import shown
from exchanges.sim.state import Account
from exchanges.sim.world import World

Row = dict[str, Any]
Push = tuple[str, str, Any]  # account, subscription type, data
LIQUIDATOR = "0x" + "9" * 40


def pushes(world: World, events: Iterable[WorldEvent]) -> Iterator[Push]:
    """Yield everything that the event channels say about these events, in their order."""
    accounts = {account.name: account for account in world.accounts_of("hyperliquid")}
    for event in events:
        account = accounts.get(getattr(event, "account", ""))
        if account is None:
            continue
        if isinstance(event, OrderChanged):
            yield account.name, "orderUpdates", [history.status_row(event.order, long=False)]
            if history.order_status(event.order) == "reduceOnlyCanceled":
                gone = {"coin": event.order.symbol, "oid": event.order.id}
                yield account.name, "userEvents", {"nonUserCancel": [gone]}
        elif isinstance(event, Filled):
            yield from _of_fill(world, account, event)
        elif isinstance(event, FundingPaid):
            row = history.funding_row(event)
            yield account.name, "userEvents", {"funding": row}
            yield account.name, "userFundings", {"user": account.address, "fundings": [row]}
        elif isinstance(event, Transferred):
            yield account.name, "userNonFundingLedgerUpdates", _ledger(account, history.ledger_row(event))


def _of_fill(world: World, account: Account, fill: Filled) -> Iterator[Push]:
    name, user = account.name, account.address
    if history.is_slice(fill):
        rows = [history.slice_row(world, fill)]
        yield name, "userEvents", {"twapSliceFills": rows}
        yield name, "userTwapSliceFills", {"user": user, "twapSliceFills": rows}
        return
    rows = [history.fill_row(world, fill)]
    yield name, "userEvents", {"fills": rows}
    yield name, "userFills", {"user": user, "fills": rows}
    if fill.trade.category == "liquidation":
        yield name, "userEvents", {"liquidation": _liquidation(user, fill)}
        yield name, "userNonFundingLedgerUpdates", _ledger(account, history.liquidation_row(world, fill))


def _ledger(account: Account, row: Row) -> Row:
    return {"user": account.address, "nonFundingLedgerUpdates": [row]}


def _liquidation(user: str, fill: Filled) -> Row:
    """Return the one structure of this venue that is written with underscores."""
    return {
        "lid": fill.trade.id,
        "liquidator": LIQUIDATOR,
        "liquidated_user": user,
        "liquidated_ntl_pos": shown(fill.trade.size * fill.trade.price),
        "liquidated_account_value": "0.0",
    }
