"""Three questions that a service asks before it trades: one position, the free balance of a currency, one order.

"Not there" is None; "could not ask" is an error. The two are never confused: None is only said where the venue's full and readable
answer covers what was asked for. Works over whatever answers an account's questions, at every venue.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Protocol

from exchanges.errors import NotFound, ProtocolViolation
from exchanges.events import BalanceState, FreeBalance, Order, PositionsSnapshot, PositionState
from exchanges.inquiry import Findings


class Inquiry(Protocol):
    """What is needed of ``exchanges.inquiry.Inquirer`` and ``exchanges.generic.Generic``; each raises VenueError."""

    async def state(self) -> Findings: ...
    async def order(self, symbol: str, order_id: str) -> Findings: ...
    async def free(self, ccy: str) -> Findings: ...


class Portfolio:
    """One account.

    Args:
        account: Its name, for errors.
        inquiry: Answers its questions.
        scope_of: Returns the scope whose full list would hold a position of a symbol (``Venue.position_scope``,
            ``Generic.position_scope``); raises VenueError where there can be none.
    """

    def __init__(self, account: str, inquiry: Inquiry, scope_of: Callable[[str], str]) -> None:
        self.inquiry = inquiry
        self._where, self._scope_of = f"account {account}", scope_of

    async def position(self, symbol: str) -> tuple[PositionState, ...] | None:
        """Return what is open in a symbol, each leg and margin mode of its own; None: nothing is.

        Raises:
            VenueError: The venue could not be asked, or its answer does not settle it.
        """
        found = await self.inquiry.state()
        scope = self._scope_of(symbol)
        lists = [event for event in found.events if isinstance(event, PositionsSnapshot) and event.scope == scope]
        if not lists:
            raise self._unsettled(f"what was asked does not cover {symbol}", found)
        held = tuple(one for one in lists[-1].positions if one.symbol == symbol and float(one.size) != 0)
        if not held and found.flaws:
            raise self._unsettled(f"{symbol} is not in an answer that could not be read whole", found)
        return held or None

    async def free(self, ccy: str) -> str | None:
        """Return how much of a currency is free, all purses of the account together; None: it does not hold it.

        The venue's digits where one purse holds it, else their exact sum. Where balances do not say it (Bybit) it is asked for
        by itself: what could leave the account.

        Raises:
            VenueError: The venue could not be asked, or its answer does not settle it.
        """
        found = await self.inquiry.state()
        balances = [event for event in found.events if isinstance(event, BalanceState)]
        purses = [purse for balance in balances for purse in _purses(balance, ccy)]
        if None in purses:
            return await self._told_free(ccy)
        if not purses and (found.flaws or not balances or not all(balance.full for balance in balances)):
            raise self._unsettled(f"{ccy} is not in an answer that could not be read whole", found)
        filled = [purse for purse in purses if purse and float(purse)] or purses[:1]
        return str(sum(Decimal(purse or 0) for purse in filled)) if len(filled) > 1 else next(iter(filled), None)

    async def _told_free(self, ccy: str) -> str:
        """Ask for what is free of a currency that is held."""
        found = await self.inquiry.free(ccy)
        for event in found.events:
            if isinstance(event, FreeBalance) and event.ccy == ccy:
                return event.amount
        raise self._unsettled(f"{ccy} is held, but the venue does not say what is free of it alone", found)

    async def order(self, symbol: str, order_id: str) -> Order | None:
        """Return an order, open or done; None: the venue says that there is none.

        Raises:
            VenueError: The venue could not be asked, or its answer does not settle it.
        """
        try:
            found = await self.inquiry.order(symbol, order_id)
        except NotFound:
            return None
        orders = [event for event in found.events if isinstance(event, Order) and event.order_id == order_id]
        if orders:
            return orders[-1]
        if found.flaws:
            raise self._unsettled(f"order {order_id} is not in an answer that could not be read whole", found)
        return None

    def _unsettled(self, what: str, found: Findings) -> ProtocolViolation:
        return ProtocolViolation(self._where, "; ".join((what, *found.flaws)), do="Ask again; it is not known")


def _purses(balance: BalanceState, ccy: str) -> Iterator[str | None]:
    """Yield what is free of a currency in each purse that holds it; None where that is not said."""
    yield from (coin.available for coin in balance.coins if coin.ccy == ccy)
    if not balance.coins:  # a purse that is told of as its pool alone (Hyperliquid's, one for each dex)
        yield from (pool.available or balance.withdrawable for pool in balance.pools if pool.ccy == ccy)
