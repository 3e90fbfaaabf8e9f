"""What Aster pushes to an account's stream: the world's changes turned into frames, in the order in which they are sent.

Keeps, per account, what its stream has said so far, so that each frame is the state at that moment and not at the end of the
turn. For one fill the order's frame and the account's frame have the same ``T`` and come in either order, as the seed wills.
Changes without a trace ("silent") are taken over without a word. Sources: Aster docs "User Data Streams".
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from exchanges.sim.aster_figures import DEFAULT_LEVERAGE, amount, position_side
from exchanges.sim.aster_orders import order_event
from exchanges.sim.changes import (
    BalanceChanged,
    Cause,
    Filled,
    FundingPaid,
    ModeChanged,
    Order,
    OrderChanged,
    PositionChanged,
    TransferKind,
    Transferred,
    WorldEvent,
)
from exchanges.sim.exact import plain
from exchanges.sim.revalue import Key, Leg, Position
from exchanges.sim.state import Account
from exchanges.sim.world import World

Row = dict[str, Any]

_REASONS: dict[Cause, str] = {
    "funding": "FUNDING_FEE", "margin": "MARGIN_TRANSFER", "split": "ADJUSTMENT", "mode": "MARGIN_TYPE_CHANGE",
    "fee": "ADJUSTMENT", "expired": "OPTIONS_SETTLE_PROFIT",
}  # fmt: skip
_REASON_OF_TRANSFERS: dict[TransferKind, str] = {
    "deposit": "DEPOSIT", "withdrawal": "WITHDRAW", "conversion": "AUTO_EXCHANGE", "interest": "ADJUSTMENT",
    "rebate": "ADJUSTMENT", "bonus": "ADMIN_DEPOSIT",
}  # fmt: skip


@dataclass
class Told:
    """What an account's stream has said: money by asset, positions, leverage by symbol."""

    cash: dict[str, Decimal]
    positions: dict[Key, Position]
    leverage: dict[str, Decimal] = field(default_factory=dict)


class Events:
    """The turns of one world into frames.

    Args:
        world: Whose accounts; read for marks and for what an account is.
        whim: Decides the order of two frames of one fill, and how a liquidation is named.
    """

    def __init__(self, world: World, whim: random.Random) -> None:
        self._world, self._whim = world, whim
        self._accounts = {account.name: account for account in world.accounts_of("aster")}
        self._told = {
            name: Told(dict(a.cash), dict(a.positions), {p.symbol: p.leverage for p in a.positions.values()})
            for name, a in self._accounts.items()
        }

    def frames(self, events: Iterable[WorldEvent]) -> Iterator[tuple[str, Row]]:
        """Yield account and frame for everything that an account's stream says about these events."""
        by_account: dict[str, list[WorldEvent]] = {}
        for event in events:
            account = getattr(event, "account", None)
            if account in self._told:
                by_account.setdefault(account, []).append(event)
        for account, mine in by_account.items():
            for frame in self._of_account(self._accounts[account], mine):
                yield account, frame

    def _of_account(self, account: Account, events: Sequence[WorldEvent]) -> Iterator[Row]:
        """Go through one account's events; what belongs to one fill or booking ends with its balance."""
        order: Order | None = None
        fill: Filled | None = None
        change: PositionChanged | None = None
        transfer: Transferred | None = None
        for index, event in enumerate(events):
            if isinstance(event, OrderChanged):
                order = event.order
                if not _is_fill_of(order, events[index + 1 : index + 2]):
                    yield order_event(order, "CANCELED" if order.status == "cancelled" else "NEW", None, event.at)
            elif isinstance(event, Filled):
                fill = event
            elif isinstance(event, PositionChanged):
                change = event
                if event.cause in {"silent", "split"}:  # no balance follows
                    yield from self._account_update(account, event, None, None, None, None)
                    change = None
            elif isinstance(event, Transferred):
                transfer = event
            elif isinstance(event, BalanceChanged):
                yield from self._account_update(account, change, event, fill, transfer, order)
                order = fill = change = transfer = None
            elif isinstance(event, ModeChanged):
                told = {"j": event.mode == "multi", "f": False, "d": event.hedge}
                yield {"e": "ACCOUNT_CONFIG_UPDATE", "E": event.at, "T": event.at, "ai": told}
            else:
                assert isinstance(event, FundingPaid)  # told with its balance

    def _account_update(
        self, account: Account, change: PositionChanged | None, money: BalanceChanged | None, fill: Filled | None,
        transfer: Transferred | None, order: Order | None,
    ) -> Iterator[Row]:  # fmt: skip
        told = self._told[account.name]
        if change is not None:
            yield from self._leverage(told, change)
            self._remember(told, change)
        before = told.cash.get(money.purse, Decimal(0)) if money else Decimal(0)
        if money:
            told.cash[money.purse] = money.cash
        cause = money.cause if money else change.cause if change else "silent"
        if cause == "silent":
            return
        at = money.at if money else change.at if change else 0
        purse = money.purse if money else "USDT"
        reason = _REASON_OF_TRANSFERS[transfer.kind] if transfer else "ORDER" if fill else _REASONS.get(cause, "ORDER")
        rows = self._positions(account, told, change, cause) if change else []
        if fill is None or order is None:
            outside = money.cash - before if money and cause in {"funding", "transfer", "fee"} else Decimal(0)
            yield self._update(account, told, reason, purse, outside, rows, at)
            return
        lost = fill.trade.fee if fill.trade.category == "liquidation" else Decimal(0)
        told.cash[purse] -= lost
        pair = [*self._order_frames(order, fill)]
        told_of = self._update(account, told, reason, purse, Decimal(0), rows, at)
        told.cash[purse] += lost
        yield from pair[:-1]
        yield from (pair[-1], told_of) if self._whim.random() < 0.5 else (told_of, pair[-1])
        if lost:
            yield self._update(account, told, "INSURANCE_CLEAR", purse, lost, [], at)

    def _order_frames(self, order: Order, fill: Filled) -> Iterator[Row]:
        """Yield the frames of a fill's order; a takeover is announced first, and its execution has either name."""
        if fill.trade.category in {"liquidation", "adl"}:
            announced = order_event(order, "NEW", None, fill.at)
            # It stands as "NEW_ADL" or "NEW", nothing filled yet.
            announced["o"] |= {"X": "NEW_ADL" if fill.trade.category == "adl" else "NEW", "z": "0", "ap": "0"}
            yield announced
        named = fill.trade.category == "liquidation" and self._whim.random() < 0.5
        yield order_event(order, "CALCULATED" if named else "TRADE", fill, fill.at)

    def _leverage(self, told: Told, change: PositionChanged) -> Iterator[Row]:
        position = change.position
        if change.cause != "silent" and told.leverage.get(position.symbol, DEFAULT_LEVERAGE) != position.leverage:
            row = {"s": position.symbol, "l": int(position.leverage)}
            yield {"e": "ACCOUNT_CONFIG_UPDATE", "E": change.at, "T": change.at, "ac": row}
        told.leverage[position.symbol] = position.leverage

    def _remember(self, told: Told, change: PositionChanged) -> None:
        if change.before is not None:
            told.positions.pop(change.before.key, None)
        if change.position.size:
            told.positions[change.position.key] = change.position
        else:
            told.positions.pop(change.position.key, None)

    # --- Rows ------------------------------------------------------------------------------------------------------

    def _update(
        self, account: Account, told: Told, reason: str, purse: str, outside: Decimal, rows: list[Row], at: int
    ) -> Row:  # fmt: skip
        isolated = sum((p.margin for p in told.positions.values() if p.margin and self._settle(p) == purse), Decimal(0))
        wallet = told.cash.get(purse, Decimal(0))
        money = {"a": purse, "wb": amount(wallet), "cw": amount(wallet - isolated), "bc": plain(outside)}
        return {"e": "ACCOUNT_UPDATE", "T": at, "E": at + 1, "a": {"B": [money], "P": rows, "m": reason}}

    def _settle(self, position: Position) -> str:
        return self._world.contract("aster", position.symbol).settle

    def _positions(self, account: Account, told: Told, change: PositionChanged, cause: Cause) -> list[Row]:
        """Return the rows that a change is told with: the symbol's alone, all three legs in hedge mode."""
        position = change.position
        if cause == "funding" and position.margin is None:
            return []
        if not account.hedge or cause == "funding":
            return [self._row(position, position.leg, position.symbol, isolated=position.margin is not None)]
        legs: tuple[Leg, ...] = ("net", "long", "short")
        mine = {p.leg: p for p in told.positions.values() if p.symbol == position.symbol}
        mine = {position.leg: position, **mine}
        return [self._row(mine.get(leg), leg, position.symbol, isolated=position.margin is not None) for leg in legs]

    def _row(self, position: Position | None, leg: Leg, symbol: str, *, isolated: bool) -> Row:
        open_ = position is not None and bool(position.size)
        return {
            "s": symbol,
            "pa": plain(position.sign * position.size) if position and open_ else "0",
            "ep": amount(position.entry_price) if position and open_ else "0.00000000",
            "cr": plain(position.realized) if position else "0",
            "up": amount(self._world.unrealized_pnl(position)) if position and open_ else "0",
            "mt": "isolated" if isolated else "cross",
            "iw": plain(position.margin) if position and open_ and position.margin is not None else "0",
            "ps": position_side(leg),
            "ma": "USDT",
        }


def _is_fill_of(order: Order, following: Sequence[WorldEvent]) -> bool:
    """Say whether the next event is the fill that changed this order."""
    return any(isinstance(event, Filled) and event.trade.order_id == order.id for event in following)


def forced_order(order: Order, at: int) -> Row:
    """Return the public frame of a liquidation."""
    row = {
        "s": order.symbol, "S": "BUY" if order.buy else "SELL", "o": "LIMIT", "f": "IOC", "q": plain(order.size),
        "p": plain(order.price), "ap": plain(order.price), "X": "FILLED", "l": plain(order.filled),
        "z": plain(order.filled), "T": order.updated_at,
    }  # fmt: skip
    return {"e": "forceOrder", "E": at, "o": row}


def margin_call(world: World, account: Account, positions: Sequence[Position], at: int) -> Row:
    """Return the warning for positions whose pool nears liquidation; ``cw`` only where they are cross."""
    rows = [
        {
            "s": p.symbol,
            "ps": position_side(p.leg),
            "pa": plain(p.sign * p.size),
            "mt": "CROSSED" if p.margin is None else "ISOLATED",
            "iw": "0" if p.margin is None else plain(p.margin),
            "mp": plain(world.mark("aster", p.symbol)),
            "up": plain(world.unrealized_pnl(p)),
            "mm": plain(round(world.maintenance(p), 8)),
        }
        for p in positions
    ]
    row: Row = {"e": "MARGIN_CALL", "E": at, "p": rows}
    if any(p.margin is None for p in positions):
        row["cw"] = plain(world.cross_cash(account, "USDT"))
    return row


def announcement(number: int, at: int) -> Row:
    """Return a public announcement, which has neither event nor transaction time."""
    told = {
        language: {
            "i": number, "t": title, "s": "", "c": "NEW_LISTING", "d": at, "S": False,
            "j": "https://www.asterdex.com", "C": f"<p>{title}</p>",
        }
        for language, title in (("en", "New listing"), ("zh", "新币上线"))
    }  # fmt: skip
    return {"e": "announcement", **told}
