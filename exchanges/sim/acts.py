"""Acts in the world, as the control port orders them: positions opened, closed, liquidated …, also behind a client's back.

``quiet: true`` on any of them swallows the private pushes of the accounts that it concerns for a while (``seconds``). Where a
symbol may be named, ``nth`` may stand instead: the nth of what the account holds (counted round), and nothing happens where
there is none; a plan that was made beforehand names no symbol that has gone meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, get_args

from exchanges.sim.catalog import VENUES, VenueName
from exchanges.sim.changes import TransferKind
from exchanges.sim.disturb import Disturbances, Kind
from exchanges.sim.exact import plain, round_to
from exchanges.sim.hands import MODES
from exchanges.sim.revalue import Position
from exchanges.sim.wanted import BadRequest, Wanted, decimal, flag, number, one_of, text
from exchanges.sim.world import World

QUIET_S = 1.0
_SIDES = ("long", "short")
_MARGINS = ("cross", "isolated")
_QUIET = ("quiet", "seconds")
_POSITION = ("account", "symbol", "nth", "side", *_QUIET)
_CONTRACT = ("venue", "account", "symbol", "nth", *_QUIET)
# Bybit takes its token for them (help center, "Paying Trading Fees with MNT": of linear contracts, no liquidations; closed PnL has
# what it was worth), Aster whatever ``commissionAsset`` says. Here it is any coin that the account holds.
_FEES_OF_ANOTHER_COIN = ("bybit", "aster")
# A share of the margin that ``margin`` adds where no amount is named.
_MORE_MARGIN = Decimal("0.1")


class Acts:
    """Acts in a world; what is to be quiet goes through the disturbances."""

    def __init__(self, world: World, disturbances: Disturbances) -> None:
        self._world = world
        self._disturbances = disturbances

    def run(self, kind: Kind, wanted: Wanted) -> list[Any]:
        """Carry out an act and hush the accounts that it concerned, if so asked."""
        quiet, seconds = flag(wanted, "quiet"), number(wanted, "seconds", QUIET_S)
        affected = kind.act(self, wanted)
        if quiet:  # fronts push when they tick: nothing of the act has gone out yet
            for account in sorted({row["account"] for row in affected if "account" in row}):
                self._disturbances.hush(account, seconds)
        return affected

    # --- Trading ---------------------------------------------------------------------------------------------------

    def open_position(self, wanted: Wanted) -> list[Any]:
        """Open or add; without symbol the first of the account's plans that it does not hold."""
        account, side = text(wanted, "account"), one_of(wanted, "side", _SIDES)
        size = decimal(wanted, "size") if "size" in wanted else None
        if "symbol" in wanted:
            return _shown(self._world.open_position(account, text(wanted, "symbol"), side, size))
        missing = self._world.hands.not_held(account)
        if not missing:
            return []
        return _shown(self._world.open_position(account, missing[0].symbol, side or missing[0].side, size))

    def close_position(self, wanted: Wanted) -> list[Any]:
        """Close, all or a share."""
        return self._each(wanted, lambda p, size: self._world.hands.close_position(p.account, p.symbol, p.side, size))

    def order(self, wanted: Wanted) -> list[Any]:
        """Place a resting order."""
        account, symbol, side = text(wanted, "account"), text(wanted, "symbol"), one_of(wanted, "side", ("buy", "sell"))
        price, size = decimal(wanted, "price"), decimal(wanted, "size")
        placed = self._world.hands.place_order(account, symbol, side != "sell", price, size)
        return [{"account": account, "symbol": symbol, "order": str(placed.id)}]

    def cancel(self, wanted: Wanted) -> list[Any]:
        """Cancel an account's orders."""
        orders = self._world.hands.cancel_orders(text(wanted, "account"), wanted.get("symbol"))
        return [{"account": o.account, "symbol": o.symbol, "order": str(o.id)} for o in orders]

    def trade(self, wanted: Wanted) -> list[Any]:
        """Let two accounts trade with each other."""
        buyer, seller = text(wanted, "buyer"), text(wanted, "seller")
        return _shown(self._world.hands.trade_between(buyer, seller, text(wanted, "symbol"), decimal(wanted, "size")))

    # --- What the venue does ---------------------------------------------------------------------------------------

    def liquidate(self, wanted: Wanted) -> list[Any]:
        """Liquidate, all or a share."""
        share = decimal(wanted, "share", "1")
        return self._each(wanted, lambda p, _: self._world.hands.liquidate(p.account, p.symbol, p.side, share))

    def adl(self, wanted: Wanted) -> list[Any]:
        """Deleverage, all or a share."""
        share = decimal(wanted, "share", "1")
        return self._each(wanted, lambda p, _: self._world.hands.deleverage(p.account, p.symbol, p.side, share))

    def pay_funding(self, wanted: Wanted) -> list[Any]:
        """Pay funding of one symbol, or of every perpetual of a venue."""
        rate = decimal(wanted, "rate") if "rate" in wanted else None
        venue, symbols = self._symbols(
            wanted, lambda venue: [c.symbol for c in self._world.listed(venue) if c.kind == "perp"]
        )
        return _shown([p for name in symbols for p in self._world.hands.pay_funding(venue, name, rate)])

    def settle(self, wanted: Wanted) -> list[Any]:
        """Settle profit into balances: of one symbol, or of everything that the venue settles meanwhile."""
        kinds = {"okx": ("future", None), "bybit": ("perp", "USDC")}

        def settling(venue: VenueName) -> list[str]:
            kind, settle = kinds.get(venue, (None, None))
            live = [c for c in self._world.listed(venue) if c.kind == kind and not self._world.expired(c)]
            return [contract.symbol for contract in live if settle in {None, contract.settle}]

        venue, symbols = self._symbols(wanted, settling)
        return _shown([p for symbol in symbols for p in self._world.hands.settle(venue, symbol)])

    def expire(self, wanted: Wanted) -> list[Any]:
        """Let a dated contract settle: the one that is named, or the venue's first that has not."""
        venue, symbols = self._symbols(wanted, self._first_to_expire)
        return _shown([p for symbol in symbols for p in self._world.hands.expire(venue, symbol)])

    def _first_to_expire(self, venue: VenueName) -> list[str]:
        dated = (c for c in self._world.listed(venue) if c.expires_at is not None and not self._world.expired(c))
        return [contract.symbol for contract in dated][:1]

    def split(self, wanted: Wanted) -> list[Any]:
        """Split a symbol."""
        factor = decimal(wanted, "factor")
        venue, symbols = self._symbols(wanted, lambda _: [text(wanted, "symbol")])
        return _shown([p for symbol in symbols for p in self._world.hands.split(venue, symbol, factor)])

    def silent(self, wanted: Wanted) -> list[Any]:
        """Change a position (to ``size``, or to a ``share`` of it; absent: it is gone) without a trace."""
        return self._each(
            wanted, lambda p, size: self._world.hands.silent(p.account, p.symbol, p.side, size or Decimal(0))
        )

    def shock(self, wanted: Wanted) -> list[Any]:
        """Move an underlying for good."""
        name = text(wanted, "underlying")
        self._world.shift(name, decimal(wanted, "fraction"))
        return [name]

    # --- Money and modes -------------------------------------------------------------------------------------------

    def margin(self, wanted: Wanted) -> list[Any]:
        """Add margin to an isolated position, or (negative amount) take some away."""

        def add(position: Position, _: Decimal | None) -> list[Position]:
            more = round_to((position.margin or Decimal(0)) * _MORE_MARGIN, Decimal("0.0001"))
            amount = decimal(wanted, "amount") if "amount" in wanted else more
            return self._world.hands.margin(position.account, position.symbol, amount, position.side)

        return self._each(wanted, add, isolated="nth" in wanted)

    def transfer(self, wanted: Wanted) -> list[Any]:
        """Let money come or go; without a purse the account's first."""
        owner, amount = self._world.account(text(wanted, "account")), decimal(wanted, "amount")
        named: TransferKind | None = one_of(wanted, "what", get_args(TransferKind))
        what: TransferKind = named or ("deposit" if amount > 0 else "withdrawal")
        purse = text(wanted, "purse") if "purse" in wanted else next(iter(owner.cash))
        self._world.hands.transfer(owner.name, purse, what, amount)
        return [{"account": owner.name, "purse": purse, "amount": plain(amount)}]

    def fees(self, wanted: Wanted) -> list[Any]:
        """Let fees be taken of one coin of an account (``ccy``; absent: of what each contract settles in)."""
        account = self._world.account(text(wanted, "account"))
        if account.venue not in _FEES_OF_ANOTHER_COIN:
            raise BadRequest(f"{account.venue} takes fees of what a contract settles in")
        account.fee_ccy = one_of(wanted, "ccy", tuple(account.cash))
        return [{"account": account.name}]

    def mode(self, wanted: Wanted) -> list[Any]:
        """Switch legs (``hedge``), the account's ``mode``, or one symbol's ``margin``; ``other``: to what it is not."""
        account = self._world.account(text(wanted, "account"))
        modes = self._world.modes
        if sum(name in wanted for name in ("hedge", "mode", "margin")) != 1:
            raise BadRequest(
                "mode needs one of hedge (true, false, other), mode (text), margin (cross, isolated, other)"
            )
        if "hedge" in wanted:
            other = wanted["hedge"] == "other"
            hit = modes.switch_legs(account.name, hedge=not account.hedge if other else bool(flag(wanted, "hedge")))
        elif "margin" in wanted:
            margin, mine = one_of(wanted, "margin", (*_MARGINS, "other")), self._position(wanted)
            if mine is not None and margin == "other":
                margin = "isolated" if mine.mode == "cross" else "cross"
            hit = [] if mine is None else modes.switch_symbol(account.name, mine.symbol, margin)
        else:
            named = text(wanted, "mode")
            rest = [mode for mode in MODES[account.venue] if mode != account.mode]
            hit = modes.switch_account(account.name, rest[0] if named == "other" and rest else named)
        return _shown(hit) or [{"account": account.name}]

    # --- Who is meant ----------------------------------------------------------------------------------------------

    def _each(
        self, wanted: Wanted, act: Callable[[Position, Decimal | None], list[Position]], *, isolated: bool = False
    ) -> list[Any]:
        """Act on the positions that are meant, with the size that is meant for each (None: all of it)."""
        hit: list[Position] = []
        for position in self._positions(wanted, isolated=isolated):
            if position.key not in self._world.account(position.account).positions:
                continue  # went together with one before it
            hit += [p for p in act(position, self._size(wanted, position)) if p not in hit]
        return _shown(hit)

    def _size(self, wanted: Wanted, position: Position) -> Decimal | None:
        if "size" in wanted:
            return decimal(wanted, "size")
        if "share" not in wanted:
            return None
        lot = self._world.contract(position.venue, position.symbol).lot
        return min(position.size, max(lot, round_to(position.size * decimal(wanted, "share"), lot)))

    def _positions(self, wanted: Wanted, *, isolated: bool = False) -> list[Position]:
        """Return the positions that are meant, one per side."""
        account, side = text(wanted, "account"), one_of(wanted, "side", _SIDES)
        if "nth" not in wanted:
            named = self._world.hands.held(account, text(wanted, "symbol"), side)
            return list({position.side: position for position in named}.values())
        one = self._position(wanted, isolated=isolated)
        return [] if one is None else [one]

    def _position(self, wanted: Wanted, *, isolated: bool = False) -> Position | None:
        """Return the one position that is meant; of several in a symbol the oldest; None where ``nth`` finds nothing."""
        account = self._world.account(text(wanted, "account")).name
        if "nth" not in wanted:
            return self._world.hands.held(account, text(wanted, "symbol"))[0]
        mine = [
            p
            for p in self._world.positions(account)
            if self._world.contract(p.venue, p.symbol).kind != "option" and (not isolated or p.margin is not None)
        ]
        return mine[int(number(wanted, "nth", 0)) % len(mine)] if mine else None

    def _symbols(self, wanted: Wanted, otherwise: Callable[[VenueName], list[str]]) -> tuple[VenueName, list[str]]:
        """Return the venue and the symbols that are meant; where neither a symbol nor ``nth`` is given, ``otherwise``."""
        venue: VenueName = one_of(wanted, "venue", VENUES) or self._world.account(text(wanted, "account")).venue
        if "symbol" in wanted:
            return venue, [text(wanted, "symbol")]
        if "nth" in wanted:
            one = self._position(wanted)
            return venue, [] if one is None else [one.symbol]
        return venue, otherwise(venue)


def _shown(positions: list[Position]) -> list[Any]:
    return [{"account": p.account, "symbol": p.symbol, "side": p.side, "size": plain(p.size)} for p in positions]


KINDS: Mapping[str, Kind] = {
    "close_position": Kind((*_POSITION, "size", "share"), Acts.close_position),
    "open_position": Kind(("account", "symbol", "side", "size", *_QUIET), Acts.open_position),
    "order": Kind(("account", "symbol", "side", "price", "size", *_QUIET), Acts.order),
    "cancel": Kind(("account", "symbol", *_QUIET), Acts.cancel),
    "trade": Kind(("buyer", "seller", "symbol", "size", *_QUIET), Acts.trade),
    "liquidate": Kind((*_POSITION, "share"), Acts.liquidate),
    "adl": Kind((*_POSITION, "share"), Acts.adl),
    "pay_funding": Kind((*_CONTRACT, "rate"), Acts.pay_funding),
    "settle": Kind(_CONTRACT, Acts.settle),
    "expire": Kind(_CONTRACT, Acts.expire),
    "split": Kind((*_CONTRACT, "factor"), Acts.split),
    "silent": Kind((*_POSITION, "size", "share"), Acts.silent),
    "shock": Kind(("underlying", "fraction"), Acts.shock),
    "margin": Kind((*_POSITION, "amount"), Acts.margin),
    "transfer": Kind(("account", "purse", "amount", "what", *_QUIET), Acts.transfer),
    "fees": Kind(("account", "ccy"), Acts.fees),
    "mode": Kind(("account", "hedge", "mode", "margin", "symbol", "nth", *_QUIET), Acts.mode),
}
