"""Switches of mode, as each venue does them: in place where it can, else by closing everything and opening it again.

OKX and Aster refuse a switch of legs or of one symbol's margin while something is open, so the positions are closed before and
opened after it; Bybit's margin mode (and OKX's account level) is the whole account's and changes positions in place, and so
does Hyperliquid's leverage type of one coin.
"""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from exchanges.sim.bookings import Bookings
from exchanges.sim.catalog import Mode, Side
from exchanges.sim.changes import ModeChanged
from exchanges.sim.hands import MODES, Hands
from exchanges.sim.ledger import Deal, Ledger
from exchanges.sim.revalue import Position
from exchanges.sim.roster import Opening
from exchanges.sim.state import Account, Impossible, State

_BY_SWITCH = Deal(cause="mode")


class Modes:
    """Switches modes of a world's accounts; arguments as of ``hands.Hands``."""

    def __init__(
        self, state: State, ledger: Ledger, bookings: Bookings, hands: Hands, plans: dict[str, tuple[Opening, ...]]
    ) -> None:
        self._state = state
        self._ledger = ledger
        self._bookings = bookings
        self._hands = hands
        self._plans = plans

    def switch_legs(self, account: str, *, hedge: bool) -> list[Position]:
        """Switch an account between one-way and hedge mode; returns what was open. Options are left alone."""
        owner = self._state.account(account)
        if owner.venue == "hyperliquid":
            raise Impossible(f"{account}: Hyperliquid has no hedge mode")
        if owner.hedge == hedge:
            raise Impossible(f"{account} is in {'hedge' if hedge else 'one-way'} mode already")
        shut = self._close(owner, [p for p in self._state.positions(account) if not self._option(p)])
        self._begin(owner)
        owner.hedge = hedge
        self._tell(owner, _margin_mode(owner))
        self._reopen(owner, shut)
        return shut

    def switch_account(self, account: str, mode: str) -> list[Position]:
        """Switch an account's margin mode; positions go on in place. Returns what changed with it, as it was."""
        owner = self._state.account(account)
        if mode not in MODES[owner.venue] or mode == owner.mode:
            known = ", ".join(m for m in MODES[owner.venue] if m != owner.mode) or "no other"
            raise Impossible(f"{account} is {owner.mode}: {owner.venue} can switch it to {known}, not to {mode!r}")
        options = [p for p in self._state.positions(account) if self._option(p)]
        if owner.venue == "bybit" and mode == "isolated" and options:
            raise Impossible(f"{account} holds {options[0].symbol}: Bybit has no options in isolated margin mode")
        open_ = [p for p in self._state.positions(account) if p not in options]
        if owner.venue == "aster" and mode == "multi" and any(p.mode == "isolated" for p in open_):
            raise Impossible(f"{account} has isolated positions: multi-assets mode knows only cross ones")
        hit: list[Position] = []
        if owner.venue in {"okx", "bybit"}:
            self._begin(owner)
            hit = open_
        was = _margin_mode(owner)
        owner.mode = mode
        margin = _margin_mode(owner)
        for position in hit:
            self._bookings.remode(owner, position, margin or position.mode, self._state.now_ms)
        if margin is not None:
            self._replan(owner, None, margin)
        self._tell(owner, was)
        return hit

    def switch_symbol(self, account: str, symbol: str, margin: Mode) -> list[Position]:
        """Hold one symbol cross or isolated from now on; returns its positions as they were."""
        owner = self._state.account(account)
        if owner.venue == "bybit":
            raise Impossible(f"{account}: Bybit's margin mode is the whole account's: name mode, not margin")
        if owner.venue == "aster" and owner.mode == "multi":
            raise Impossible(f"{account} is in multi-assets mode: it knows only cross positions")
        hit = [position for position in self._hands.held(account, symbol) if position.mode != margin]
        if not hit or self._option(hit[0]):
            raise Impossible(f"{account} has no {symbol} to hold {margin}: it does already")
        self._replan(owner, symbol, margin)
        # An order of before would open a second position of the symbol, in the old mode.
        mine = [order for order in self._state.orders(account) if order.symbol == symbol]
        self._ledger.orders.cancel(mine, self._state.now_ms)
        if owner.venue == "hyperliquid":
            for position in hit:
                self._bookings.remode(owner, position, margin, self._state.now_ms)
            return hit
        self._close(owner, hit)
        for position in hit:
            opening = Opening(symbol, position.side, margin, position.size, position.leverage)
            self._ledger.increase(
                owner, self._state.key(owner, opening), opening, position.size, self._state.now_ms, _BY_SWITCH
            )
        return hit

    def _option(self, position: Position) -> bool:
        return self._state.contracts[position.venue, position.symbol].kind == "option"

    def _begin(self, owner: Account) -> None:
        self._ledger.orders.cancel(self._state.orders(owner.name), self._state.now_ms)
        owner.liquidated.clear()
        self._ledger.renumber(owner)

    def _tell(self, owner: Account, was: Mode | None) -> None:
        margins = (was, _margin_mode(owner))
        self._ledger.note(ModeChanged(self._state.now_ms, owner.name, owner.mode, owner.hedge, margins))

    def _close(self, owner: Account, positions: list[Position]) -> list[Position]:
        for position in positions:
            self._ledger.reduce(owner, position, position.size, self._state.now_ms, _BY_SWITCH)
        return positions

    def _reopen(self, owner: Account, shut: list[Position]) -> None:
        """Open again what was closed; in one-way mode the legs of a symbol become what they came to together."""
        net: dict[tuple[str, Mode, Side | None], tuple[Decimal, Position]] = {}
        for position in shut:
            where = (position.symbol, position.mode, position.side if owner.hedge else None)
            signed, _ = net.get(where, (Decimal(0), position))
            net[where] = (signed + position.sign * position.size, position)
        for signed, like in net.values():
            if signed:
                side: Side = "long" if signed > 0 else "short"
                opening = Opening(like.symbol, side, like.mode, abs(signed), like.leverage)
                key = self._state.key(owner, opening)
                self._ledger.increase(owner, key, opening, abs(signed), self._state.now_ms, _BY_SWITCH)

    def _replan(self, owner: Account, symbol: str | None, margin: Mode) -> None:
        self._plans[owner.name] = tuple(
            replace(o, mode=margin)
            if symbol in {None, o.symbol} and self._state.contracts[owner.venue, o.symbol].kind != "option"
            else o
            for o in self._plans[owner.name]
        )


def _margin_mode(account: Account) -> Mode | None:
    """Return the margin mode that an account's mode imposes on its positions (Bybit's does), or None."""
    if account.venue != "bybit":
        return None
    return "isolated" if account.mode == "isolated" else "cross"
