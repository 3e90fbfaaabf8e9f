"""Acts by hand: whatever can happen to an account, made to happen now.

The control port, tests and the world's own whims act through here. Checks what is asked, then lets the ledger write it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal

from exchanges.sim.bookings import Bookings
from exchanges.sim.catalog import Contract, Mode, Side, VenueName
from exchanges.sim.changes import Order, TransferKind
from exchanges.sim.exact import round_to
from exchanges.sim.ledger import Deal, Ledger
from exchanges.sim.revalue import Key, Leg, Pool, Position
from exchanges.sim.roster import Opening
from exchanges.sim.state import Account, Impossible, State, UnknownName

# The modes an account of a venue can be switched to by itself.
MODES: dict[VenueName, tuple[str, ...]] = {
    "okx": ("futures", "multi", "portfolio"),
    "bybit": ("cross", "isolated", "portfolio"),
    "hyperliquid": ("standard", "unified"),
    "aster": ("single", "multi"),
}


class Hands:
    """Acts on the accounts of a world.

    Args:
        state: The world as it stands.
        ledger, bookings: Its books.
        plans: What each account means to hold, by account; kept in step with splits, switches and expiry.
        remark: Computes the mark of a contract anew.
    """

    def __init__(
        self,
        state: State,
        ledger: Ledger,
        bookings: Bookings,
        plans: dict[str, tuple[Opening, ...]],
        remark: Callable[[tuple[VenueName, str], int], None],
    ) -> None:
        self._state = state
        self._ledger = ledger
        self._bookings = bookings
        self._plans = plans
        self._remark = remark

    # --- Trading ---------------------------------------------------------------------------------------------------

    def open_position(
        self, account: str, symbol: str, side: Side | None = None, size: Decimal | None = None, deal: Deal | None = None
    ) -> list[Position]:
        """Open or add to a position at the mark; side, size, mode and leverage default to the account's plan for the symbol.

        Raises:
            UnknownName: No such account or symbol.
            Impossible: The size is not a positive multiple of the lot, the account has no money in that currency, the contract
                has expired, or it is an option, which can only be bought, and not in Bybit's isolated margin mode.
        """
        owner = self._state.account(account)
        contract = self._state.contract(owner.venue, symbol)
        plan = self.plan(owner, contract, side)
        wanted = self._sized(contract, plan.size if size is None else size)
        if contract.purse not in owner.cash:
            raise Impossible(f"{account} holds no {contract.settle} to back {symbol}")
        if self._state.expired(contract):
            raise Impossible(f"{symbol} has expired")
        if contract.kind == "option" and plan.side == "short":
            raise Impossible(f"{symbol} is an option: it can only be bought here")
        if contract.kind == "option" and owner.mode == "isolated":
            raise Impossible(f"{account} is in isolated margin mode, where Bybit has no options: {symbol}")
        key = self._state.key(owner, plan)
        standing = owner.positions.get(key)
        if standing is not None and standing.side != plan.side:
            raise Impossible(f"{account} is {standing.side} {symbol}: close it first, then open {plan.side}")
        self._ledger.increase(owner, key, plan, wanted, self._state.now_ms, deal or Deal())
        return [owner.positions[key]]

    def close_position(
        self, account: str, symbol: str, leg: Leg | None = None, size: Decimal | None = None
    ) -> list[Position]:
        """Close an account's positions in a symbol (one leg), or ``size`` of them, at the mark; returns them as they were.

        Raises:
            UnknownName: No such account, or it has no open position there (the message lists what is open).
            Impossible: The size is not a positive multiple of the lot.
        """
        owner = self._state.account(account)
        hit = self.held(account, symbol, leg)
        for position in hit:
            wanted = position.size if size is None else self._sized(self._contract(position), size)
            self._ledger.reduce(owner, position, min(wanted, position.size), self._state.now_ms)
        return hit

    def place_order(self, account: str, symbol: str, buy: bool, price: Decimal, size: Decimal) -> Order:
        """Put a limit order into the book; it fills, as a maker, once the mark is there."""
        owner = self._state.account(account)
        contract = self._state.contract(owner.venue, symbol)
        if self._state.expired(contract):
            raise Impossible(f"{symbol} has expired")
        plan = self.plan(owner, contract, None if owner.hedge else "long" if buy else "short")
        key = self._state.key(owner, plan)
        standing = owner.positions.get(key)
        reduces = (plan.side if standing is None else standing.side) == ("short" if buy else "long")
        return self._ledger.orders.place(
            account, key, buy, max(contract.tick, round_to(price, contract.tick)), self._sized(contract, size),
            self._state.now_ms, reduce_only=reduces,
        )  # fmt: skip

    def cancel_orders(self, account: str, symbol: str | None = None) -> list[Order]:
        """Cancel the open orders of an account (in a symbol) and return them as they were."""
        orders = [o for o in self._state.orders(self._state.account(account).name) if symbol in {None, o.symbol}]
        self._ledger.orders.cancel(orders, self._state.now_ms)
        return orders

    def fill_order(self, order: Order, size: Decimal) -> None:
        """Fill a resting order at its price; one whose position has turned or gone is cancelled instead."""
        owner, now = self._state.account(order.account), self._state.now_ms
        contract = self._state.contract(owner.venue, order.symbol)
        key = Key(order.symbol, order.leg, order.mode)
        held = owner.positions.get(key)
        side: Side = "long" if order.buy else "short"
        deal = Deal(price=order.price, order=order)
        if held is not None and held.side != side and held.size >= size:
            self._ledger.reduce(owner, held, size, now, deal)
        elif not order.reduce_only and (held is None or held.side == side):
            plan = self.plan(owner, contract, side)
            self._ledger.increase(owner, key, plan, size, now, deal)
        else:
            self._ledger.orders.cancel([order], now)

    def trade_between(self, buyer: str, seller: str, symbol: str, size: Decimal) -> list[Position]:
        """Let two accounts of one venue trade with each other at the mark: one trade id, the seller is the maker.

        Raises:
            Impossible: They are of different venues, the same account, or one of them would turn its position round.
        """
        first, second = self._state.account(buyer), self._state.account(seller)
        if first.venue != second.venue or first is second:
            raise Impossible(f"{buyer} and {seller} cannot trade with each other: name two accounts of one venue")
        contract = self._state.contract(first.venue, symbol)
        wanted = self._sized(contract, size)
        for owner, buy in ((first, True), (second, False)):
            self._may_trade(owner, contract, wanted, buy=buy)
        number = self._one_side(first, contract, wanted, Deal(), buy=True)
        self._one_side(second, contract, wanted, Deal(maker=True, trade_id=number), buy=False)
        return [p for owner in (first, second) for p in owner.positions.values() if p.symbol == symbol]

    def _may_trade(self, owner: Account, contract: Contract, size: Decimal, *, buy: bool) -> None:
        held = self._against(owner, contract, buy=buy)
        if contract.purse not in owner.cash:
            raise Impossible(f"{owner.name} holds no {contract.settle} to back {contract.symbol}")
        if contract.kind == "option" or self._state.expired(contract):
            raise Impossible(f"{contract.symbol} is not traded between accounts: name a perpetual or a future")
        if held is not None and not owner.hedge and held.size < size:
            raise Impossible(f"{owner.name} is {held.side} only {held.size} {contract.symbol}: it would turn round")

    def _one_side(self, owner: Account, contract: Contract, size: Decimal, deal: Deal, *, buy: bool) -> int:
        """Trade one side and return the trade id: what is held the other way is reduced, else the own way is increased."""
        held = self._against(owner, contract, buy=buy)
        if held is not None and held.size >= size:
            return self._ledger.reduce(owner, held, size, self._state.now_ms, deal).id
        plan = self.plan(owner, contract, "long" if buy else "short")
        return self._ledger.increase(owner, self._state.key(owner, plan), plan, size, self._state.now_ms, deal).id

    def _against(self, owner: Account, contract: Contract, *, buy: bool) -> Position | None:
        side = "short" if buy else "long"
        mine = [p for p in self._state.positions(owner.name) if p.symbol == contract.symbol and p.side == side]
        return mine[0] if mine else None

    # --- What the venue does ---------------------------------------------------------------------------------------

    def liquidate(
        self, account: str, symbol: str, leg: Leg | None = None, share: Decimal = Decimal(1)
    ) -> list[Position]:
        """Let the venue take over a share of an account's positions in a symbol; returns them as they were."""
        owner = self._state.account(account)
        hit = self.held(account, symbol, leg)
        self._ledger.liquidate(
            owner, Pool("hand", "", Decimal(0), Decimal(0), tuple(hit)), self._state.now_ms, _share(share)
        )
        return hit

    def deleverage(
        self, account: str, symbol: str, leg: Leg | None = None, share: Decimal = Decimal(1)
    ) -> list[Position]:
        """Let the venue close a share of an account's positions in a symbol against somebody's bankruptcy (ADL)."""
        owner = self._state.account(account)
        hit = self.held(account, symbol, leg)
        for position in hit:
            size = self._ledger.part(position, _share(share))
            self._ledger.take_over(owner, position, size, self._state.now_ms, "adl")
        return hit

    def pay_funding(self, venue: VenueName, symbol: str, rate: Decimal | None = None) -> list[Position]:
        """Let everybody who holds a perpetual pay or receive funding now; returns them as they were."""
        contract = self._state.contract(venue, symbol)
        if contract.kind != "perp":
            raise Impossible(f"{symbol} pays no funding: it is no perpetual")
        due = self._state.funding(venue, symbol)[0] if rate is None else rate
        hit = self._holders(venue, symbol)
        for owner, position in hit:
            self._bookings.funding(owner, position, due, self._state.now_ms)
        return [position for _, position in hit]

    def settle(self, venue: VenueName, symbol: str) -> list[Position]:
        """Let the profit of cross positions move into the balances, as OKX does daily with futures and Bybit thrice with USDC.

        Raises:
            Impossible: The venue settles only at the end of this contract.
        """
        contract = self._state.contract(venue, symbol)
        if (venue, contract.kind) != ("okx", "future") and (venue, contract.settle, contract.kind) != (
            "bybit",
            "USDC",
            "perp",
        ):
            raise Impossible(f"{symbol} is not settled meanwhile: OKX's futures are, and Bybit's perpetuals in USDC")
        hit = [(owner, position) for owner, position in self._holders(venue, symbol) if position.mode == "cross"]
        for owner, position in hit:
            self._bookings.settle(owner, position, self._state.now_ms)
        return [position for _, position in hit]

    def expire(self, venue: VenueName, symbol: str) -> list[Position]:
        """Let a dated contract settle now: futures are delivered, options end without a trace; returns what was open."""
        contract = self._state.contract(venue, symbol)
        if contract.expires_at is None:
            raise Impossible(f"{symbol} never expires: name a dated future or an option")
        now = self._state.now_ms
        hit = self._holders(venue, symbol)
        for owner in self._state.accounts_of(venue):
            self._ledger.orders.cancel([o for o in self._state.orders(owner.name) if o.symbol == symbol], now)
            self._plans[owner.name] = tuple(o for o in self._plans[owner.name] if o.symbol != symbol)
        for owner, position in hit:
            if contract.kind == "option":
                self._bookings.expire(owner, position, now)
            else:
                self._ledger.take_over(owner, position, position.size, now, "delivery")
        self._state.contracts[venue, symbol] = replace(contract, expires_at=min(now, contract.expires_at))
        return [position for _, position in hit]

    def split(self, venue: VenueName, symbol: str, factor: Decimal) -> list[Position]:
        """Let one of a symbol become ``factor``: sizes times it, entries and price divided by it; returns what was open.

        Raises:
            Impossible: The factor is not positive, or a position would not be whole lots.
        """
        contract = self._state.contract(venue, symbol)
        hit = self._holders(venue, symbol)
        if factor <= 0 or contract.kind != "perp" or contract.inverse:
            raise Impossible(
                f"{symbol} cannot be split by {factor}: a factor is positive, and only linear perpetuals split"
            )
        if any(position.size * factor % contract.lot for _, position in hit):
            raise Impossible(
                f"{symbol} cannot be split by {factor}: positions would not be multiples of {contract.lot}"
            )
        now = self._state.now_ms
        self._state.contracts[venue, symbol] = replace(contract, multiplier=contract.multiplier / factor)
        for owner in self._state.accounts_of(venue):
            self._ledger.orders.cancel([o for o in self._state.orders(owner.name) if o.symbol == symbol], now)
            self._plans[owner.name] = tuple(
                replace(o, size=o.size * factor) if o.symbol == symbol else o for o in self._plans[owner.name]
            )
        for owner, position in hit:
            self._bookings.split(owner, position, factor, now)
        self._remark((venue, symbol), now)
        return [position for _, position in hit]

    def silent(self, account: str, symbol: str, leg: Leg | None = None, size: Decimal = Decimal(0)) -> list[Position]:
        """Let positions have another size (0: be gone) without any trace, no fill, order or money; returns what was open."""
        owner = self._state.account(account)
        hit = self.held(account, symbol, leg)
        for position in hit:
            wanted = self._sized(self._contract(position), size) if size else size
            after = replace(position, size=wanted, updated_at=self._state.now_ms)
            self._bookings.restate(owner, position, after, "silent", self._state.now_ms)
        return hit

    # --- Money and modes -------------------------------------------------------------------------------------------

    def margin(self, account: str, symbol: str, amount: Decimal, leg: Leg | None = None) -> list[Position]:
        """Add margin to an account's isolated positions in a symbol, or take some away; returns them as they were."""
        owner = self._state.account(account)
        hit = [position for position in self.held(account, symbol, leg) if position.margin is not None]
        if not hit:
            raise Impossible(f"{account} holds {symbol} cross: only isolated positions have margin of their own")
        for position in hit:
            free = self._state.cross_cash(owner, self._contract(position).purse)
            if not -(position.margin or 0) < amount < free:
                raise Impossible(f"{account} cannot move {amount}: {position.margin} is in {symbol}, {free} is free")
            self._bookings.margin(owner, position, amount, self._state.now_ms)
        return hit

    def transfer(self, account: str, purse: str, kind: TransferKind, amount: Decimal) -> Account:
        """Let money come (positive) or go; the account never has less than nothing."""
        owner = self._state.account(account)
        if purse not in owner.cash:
            raise UnknownName(f"{account} has no purse {purse!r}: it has {', '.join(map(repr, owner.cash))}")
        if self._state.cross_cash(owner, purse) + amount < 0:
            raise Impossible(f"{account} has only {self._state.cross_cash(owner, purse)} to take from")
        self._bookings.transfer(owner, purse, kind, amount, self._state.now_ms)
        return owner

    # --- Who is meant ----------------------------------------------------------------------------------------------

    def held(self, account: str, symbol: str, leg: Leg | None = None) -> list[Position]:
        """Return an account's open positions in a symbol (one leg or side of it). Raises UnknownName, listing what is open."""
        owner = self._state.account(account)
        hit = [p for p in self._state.positions(account) if p.symbol == symbol and leg in {None, p.leg, p.side}]
        if not hit:
            known = ", ".join(sorted({p.symbol for p in owner.positions.values()})) or "none"
            raise UnknownName(f"{account} has no open position {symbol!r}: open are {known}")
        return hit

    def not_held(self, account: str) -> list[Opening]:
        """Return what an account plans to hold and does not, without options; the first may be opened again."""
        owner = self._state.account(account)
        contracts = self._state.contracts
        return [
            opening
            for opening in self._plans[account]
            if contracts[owner.venue, opening.symbol].kind != "option"
            and self._state.key(owner, opening) not in owner.positions
        ]

    def plan(self, account: Account, contract: Contract, side: Side | None) -> Opening:
        """Return how this account would hold a symbol: as planned, else cross (isolated where the account is) at 5x."""
        planned = [opening for opening in self._plans[account.name] if opening.symbol == contract.symbol]
        for opening in planned:
            if side in {None, opening.side}:
                return opening
        mode: Mode = planned[0].mode if planned else ("isolated" if account.mode == "isolated" else "cross")
        price = self._state.mark(contract.venue, contract.symbol)
        one = contract.contract_size / price if contract.inverse else contract.contract_size * price
        purse_usd = self._state.usd(contract.settle)
        size = max(contract.lot, round_to(Decimal(1000) / (one * purse_usd), contract.lot))
        return Opening(contract.symbol, side or "long", mode, size, min(Decimal(5), contract.max_leverage))

    def _holders(self, venue: VenueName, symbol: str) -> list[tuple[Account, Position]]:
        return [
            (owner, position)
            for owner in self._state.accounts_of(venue)
            for position in self._state.positions(owner.name)
            if position.symbol == symbol
        ]

    def _contract(self, position: Position) -> Contract:
        return self._state.contracts[position.venue, position.symbol]

    def _sized(self, contract: Contract, size: Decimal) -> Decimal:
        if size <= 0 or size % contract.lot:
            raise Impossible(f"{contract.symbol} trades in positive multiples of {contract.lot}, not {size}")
        return size


def _share(share: Decimal) -> Decimal:
    if not 0 < share <= 1:
        raise Impossible(f"a share is more than 0 and at most 1, not {share}")
    return share
