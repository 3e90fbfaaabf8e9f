"""What a fill does to an account: size, average entry, isolated margin, fees, realised profit; and what a takeover takes.

Owns trade, payment and position ids. Writes accounts, and notes every change; decides nothing. What changes positions and
money without a fill is ``bookings``.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import ROUND_HALF_EVEN, Decimal
from typing import TypedDict

from exchanges.sim import revalue
from exchanges.sim.catalog import CASH_STEPS, TAKER_FEE, Contract, VenueName
from exchanges.sim.changes import (
    BalanceChanged,
    Cause,
    Filled,
    Order,
    OrderCategory,
    PositionChanged,
    Trade,
    WorldEvent,
)
from exchanges.sim.exact import round_to
from exchanges.sim.orders import Orders
from exchanges.sim.revalue import Key, Pool, Position
from exchanges.sim.roster import Opening
from exchanges.sim.state import Account, State

_ENTRY_STEP = Decimal("0.00000001")
# Hyperliquid keeps what was paid, not an average: what it says a trade realised follows from the fills without rounding between.
_ENTRY_STEPS: dict[VenueName, Decimal] = {"hyperliquid": Decimal("1E-20")}
_FIRST_POSITION_ID = 3 * 10**17


@dataclass(frozen=True)
class Deal:
    """How a fill comes about; by default a market order of its own takes at the mark.

    Attributes:
        price: Instead of the mark.
        order: The resting order that is filled; its side is the maker.
        maker: The order of this side was there first.
        trade_id: Of the other side, where that is an account of ours too.
        cause: Instead of ``opened``, ``trade`` or ``closed``.
    """

    price: Decimal | None = None
    order: Order | None = None
    maker: bool = False
    trade_id: int | None = None
    cause: Cause | None = None


_MARKET = Deal()


class _Paid(TypedDict, total=False):
    paid: Decimal
    paid_in: str


class Ledger:
    """The books of all accounts.

    Args:
        state: Whose accounts are written, and at whose marks everything is filled.
        whim: Where the first trade id of a symbol comes from.
        note: Takes every change, in order.
    """

    def __init__(self, state: State, whim: random.Random, note: Callable[[WorldEvent], None]) -> None:
        self._state = state
        self._whim = whim
        self.note = note
        self.orders = Orders(note)
        self._trade_ids: dict[tuple[VenueName, str], int] = {}
        self._position_ids: dict[tuple[str, Key], int] = {}
        self._last_position_id = _FIRST_POSITION_ID

    # --- Fills -----------------------------------------------------------------------------------------------------

    def increase(
        self, account: Account, key: Key, plan: Opening, size: Decimal, at: int, deal: Deal = _MARKET
    ) -> Trade:
        """Buy or sell ``size`` more, opening the position where there is none."""
        contract = self._state.contracts[account.venue, key.symbol]
        before = account.positions.get(key)
        held = before or self._blank(account, key, plan, at)
        trade = self._fill(account, contract, held, held.side == "long", size, Decimal(0), at, deal, reduce_only=False)
        added = revalue.notional(contract, size, trade.price) / held.leverage
        after = replace(
            held,
            size=held.size + size,
            entry_price=_average(contract, held.size, held.entry_price, size, trade.price),
            first_entry=held.first_entry and _average(contract, held.size, held.first_entry, size, trade.price),
            margin=None if held.margin is None else to_cash(account.venue, held.margin + added),
            fees=held.fees + trade.fee,
            updated_at=at,
            trade_id=trade.id,
        )
        account.liquidated.pop(key, None)
        self._tell(account, before, after, trade, deal.cause or ("trade" if before else "opened"), at)
        return trade

    def reduce(self, account: Account, held: Position, size: Decimal, at: int, deal: Deal = _MARKET) -> Trade:
        """Close ``size`` of a position; all of it closes the position and cancels what could only reduce it."""
        contract = self._state.contracts[account.venue, held.symbol]
        price = self._price(contract, deal)
        pnl = to_cash(account.venue, revalue.unrealized_pnl(contract, replace(held, size=size), price))
        trade = self._fill(account, contract, held, held.side == "short", size, pnl, at, deal, reduce_only=True)
        left = held.size - size
        after = replace(
            held,
            size=left,
            margin=_margin_of(held, left),
            realized=held.realized + pnl,
            fees=held.fees + trade.fee,
            updated_at=at,
            trade_id=trade.id,
        )
        self._tell(account, held, after, trade, deal.cause or ("trade" if left else "closed"), at)
        return trade

    def _fill(
        self, account: Account, contract: Contract, held: Position, buy: bool, size: Decimal, pnl: Decimal, at: int,
        deal: Deal, *, reduce_only: bool,
    ) -> Trade:  # fmt: skip
        price = self._price(contract, deal)
        maker = deal.maker or deal.order is not None
        rate = account.maker_fee if maker else TAKER_FEE[account.venue]
        if deal.order is not None:
            order = self.orders.fill(deal.order, size, at)
        else:
            order = self.orders.at_once(account.name, held.key, buy, price, size, at, "normal", reduce_only=reduce_only)
        premium = _premium(contract, size, held.entry_price if reduce_only else -price)
        fee = -to_cash(account.venue, revalue.notional(contract, size, price) * rate)
        return Trade(
            id=self._next_trade(contract) if deal.trade_id is None else deal.trade_id, buy=buy, size=size, price=price,
            fee=fee, pnl=pnl, maker=maker, order_id=order.id,
            before=held.sign * held.size, premium=premium, **self._of_another_coin(account, contract, fee),
        )  # fmt: skip

    def _of_another_coin(self, account: Account, contract: Contract, fee: Decimal) -> _Paid:
        """Return what is taken of the coin that fees are paid in, at its price of now; nothing where it is too little."""
        coin = account.fee_ccy
        if coin is None or coin == contract.purse or contract.inverse or contract.kind == "option" or fee >= 0:
            return {}
        paid = to_cash(account.venue, fee * self._state.usd(contract.settle) / self._state.usd(coin))
        return {"paid": paid, "paid_in": coin} if account.cash[coin] + paid >= 0 else {}

    def _price(self, contract: Contract, deal: Deal) -> Decimal:
        mark = self._state.mark(contract.venue, contract.symbol)
        return deal.price or max(contract.tick, round_to(mark, contract.tick))

    def _next_trade(self, contract: Contract) -> int:
        key = (contract.venue, contract.symbol)
        self._trade_ids[key] = self._trade_ids.get(key, self._whim.randrange(10**5, 10**6)) + 1
        return self._trade_ids[key]

    def _blank(self, account: Account, key: Key, plan: Opening, at: int) -> Position:
        margin = Decimal(0) if key.mode == "isolated" else None
        account.leverages[key.symbol] = plan.leverage
        return Position(
            id=self.position_id(account, key), account=account.name, venue=account.venue, symbol=key.symbol, leg=key.leg,
            mode=key.mode, side=plan.side, size=Decimal(0), entry_price=Decimal(0), leverage=plan.leverage, margin=margin,
            opened_at=at, updated_at=at, trade_id=0,
        )  # fmt: skip

    def _tell(
        self, account: Account, before: Position | None, after: Position, trade: Trade, cause: Cause, at: int
    ) -> None:
        contract = self._state.contracts[account.venue, after.symbol]
        was = before.size if before else Decimal(0)
        self.put(account, after)
        self.note(Filled(at, account.name, after.symbol, after, trade))
        told = trade if trade.category == "normal" else None
        self.note(PositionChanged(at, after, cause, told, was, before))
        self.book(account, contract.purse, trade.pnl + trade.own_fee + trade.premium, at, cause)
        if trade.paid is not None:
            self.book(account, trade.paid_in, trade.paid, at, cause)
        if not after.size:
            self.cancel_reducing(account, after.key, at)

    # --- Takeovers -------------------------------------------------------------------------------------------------

    def liquidate(self, account: Account, pool: Pool, at: int, share: Decimal = Decimal(1)) -> None:
        """Take a pool's positions over at the mark; maintenance is lost too, but never more than the pool has.

        ``share`` of each, rounded up to the lot: what is left of a smaller one is not marked as liquidated. All open orders
        of the account are cancelled first.
        """
        self.orders.cancel(self._state.orders(account.name), at)
        for held in pool.positions:
            contract = self._state.contracts[held.venue, held.symbol]
            size = self.part(held, share)
            lost = to_cash(
                account.venue, (self._state.maintenance(held) + self._state.closing_fee(held)) * size / held.size
            )
            floor = -held.margin if held.margin is not None else -self._state.cross_cash(account, contract.purse)
            self.take_over(account, held, size, at, "liquidation", lost, min(floor, Decimal(0)))

    def take_over(
        self, account: Account, held: Position, size: Decimal, at: int, category: OrderCategory,
        lost: Decimal = Decimal(0), floor: Decimal | None = None,
    ) -> None:  # fmt: skip
        """Close ``size`` of a position at the mark without its owner: liquidation, ADL or delivery.

        Args:
            lost: What is taken beside the loss, in settle currency.
            floor: The least that the balance may change by.
        """
        contract = self._state.contracts[held.venue, held.symbol]
        price, left, buy = self._state.mark(held.venue, held.symbol), held.size - size, held.side == "short"
        pnl = to_cash(account.venue, revalue.unrealized_pnl(contract, replace(held, size=size), price))
        effect = pnl - lost if floor is None else max(pnl - lost, floor)
        order = self.orders.at_once(account.name, held.key, buy, price, size, at, category, reduce_only=True)
        trade = Trade(
            id=self._next_trade(contract), buy=buy, size=size, price=price, fee=effect - pnl, pnl=pnl, order_id=order.id,
            category=category, before=held.sign * held.size, premium=_premium(contract, size, held.entry_price),
        )  # fmt: skip
        gone = category == "liquidation" and not left
        after = replace(
            held, size=left, margin=_margin_of(held, left), updated_at=at,
            realized=held.realized + pnl, fees=held.fees + trade.fee, liquidated=gone,
        )  # fmt: skip
        if gone:
            account.liquidated[held.key] = after
        causes: dict[OrderCategory, Cause] = {"liquidation": "liquidated", "adl": "adl", "delivery": "settled"}
        self._tell(account, held, after, trade, causes[category], at)

    # --- The books -------------------------------------------------------------------------------------------------

    def part(self, held: Position, share: Decimal) -> Decimal:
        """Return a share of a position in whole lots, at least one, at most all of it."""
        lot = self._state.contracts[held.venue, held.symbol].lot
        return min(held.size, max(lot, round_to(held.size * share, lot)))

    def put(self, account: Account, position: Position) -> None:
        """Let a position stand as it is from now on."""
        if position.size:
            account.positions[position.key] = position
        else:
            account.positions.pop(position.key, None)

    def book(self, account: Account, purse: str, amount: Decimal, at: int, cause: Cause) -> None:
        """Add an amount to a purse and tell what is there now."""
        account.cash[purse] = to_cash(account.venue, account.cash[purse] + amount)
        account.cash_at[purse] = at
        self.note(BalanceChanged(at, account.name, purse, account.cash[purse], cause))

    def cancel_reducing(self, account: Account, key: Key, at: int) -> None:
        """Cancel the orders that could only reduce a position that is gone."""
        mine = [o for o in self._state.orders(account.name) if Key(o.symbol, o.leg, o.mode) == key]
        self.orders.cancel([order for order in mine if order.reduce_only], at)

    def position_id(self, account: Account, key: Key) -> int:
        """Return the id of an account's position by its key: the same after close and reopen, another after ``renumber``."""
        if (account.name, key) not in self._position_ids:
            self._last_position_id += 7_919
            self._position_ids[account.name, key] = self._last_position_id
        return self._position_ids[account.name, key]

    def renumber(self, account: Account) -> None:
        """Give the account's positions other ids from now on, as venues do when the mode of an account is switched."""
        for name, key in list(self._position_ids):
            if name == account.name:
                del self._position_ids[name, key]


def to_cash(venue: VenueName, value: Decimal) -> Decimal:
    """Round an amount of money to what the venue's books keep."""
    return value.quantize(CASH_STEPS[venue], ROUND_HALF_EVEN)


def _premium(contract: Contract, size: Decimal, price: Decimal) -> Decimal:
    """Return what an option brings beside its profit: what was paid for it; a negative price pays. Nothing for other contracts."""
    return to_cash(contract.venue, revalue.notional(contract, size, price)) if contract.kind == "option" else Decimal(0)


def _margin_of(held: Position, left: Decimal) -> Decimal | None:
    """Return the isolated margin of what is left of a position."""
    return None if held.margin is None else to_cash(held.venue, held.margin * left / held.size)


def to_entry(contract: Contract, value: Decimal) -> Decimal:
    """Round an average entry to what the books keep: always finer than the prices that it is of."""
    step = min(_ENTRY_STEPS.get(contract.venue, _ENTRY_STEP), contract.tick / 10)
    return value.quantize(step, ROUND_HALF_EVEN)


def _average(contract: Contract, held: Decimal, entry: Decimal, size: Decimal, price: Decimal) -> Decimal:
    """Return the average entry of ``held`` after adding ``size``; inverse contracts average by coin value (harmonic)."""
    if not held:
        return price
    if contract.inverse:
        return to_entry(contract, (held + size) / (held / entry + size / price))
    return to_entry(contract, (entry * held + price * size) / (held + size))
