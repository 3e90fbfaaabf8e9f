"""What each fill did, what it cost, and how far rounding can carry a figure that follows from it. Pure, exact."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import NamedTuple

from exchanges.events import ClosedPnl, Fill, FundingPayment
from gateway.core.chains import Chain, Item, Move, Paid
from gateway.core.folding import fold
from gateway.core.realized import exact_sum
from gateway.core.round_trips import ZERO, Contract
from gateway.core.verify.book import MONEY, Book

_DOUBLE_DIGITS = 15  # so many significant digits: the venue computes in floating point
_DOUBLE = Decimal(2) ** -50  # of what was added up, a few operations


class Weighed(NamedTuple):
    """A move, with the fee of its part, and the share of what opening had cost that it takes along; both by currency.

    ``entries``, ``exits``: how many fills of the round trip opened and closed up to here.
    """

    move: Move
    fees: Mapping[str, Decimal]
    opening: Mapping[str, Decimal]
    entries: int
    exits: int

    @property
    def fill(self) -> Fill:
        """The fill that it is, or is a part, of."""
        return self.move.part.fill

    @property
    def own(self) -> Decimal | None:
        """What it realised by prices and sizes; by the venue's word where these do not tell, or fills are missing."""
        stated = self.fill.realized_pnl
        sure = self.move.own is not None and self.move.whole
        return self.move.own if sure or stated is None else Decimal(stated)

    @property
    def over(self) -> bool:
        """Say whether nothing is held after it."""
        return self.move.closes and self.move.held == self.move.part.size

    @property
    def said(self) -> Decimal:
        """What the venue says that it realised."""
        return Decimal(self.fill.realized_pnl or 0) if self.move.closes else ZERO

    def entry_error(self, step: Decimal, contract: Contract | None) -> Decimal:
        """Return what rounding the average entry at each of its changes may come to in what this brought."""
        if contract is None or contract.contract_size is None:
            return ZERO
        size = self.move.part.size * contract.contract_size * step * self.entries
        return size / (Decimal(self.fill.price) / 2) ** 2 if contract.inverse else size

    def value(self, contract: Contract | None) -> Decimal:
        """Return what changed hands."""
        if contract is None or contract.contract_size is None:
            return ZERO
        size, price = self.move.part.size * contract.contract_size, Decimal(self.fill.price)
        return size / price if contract.inverse else size * price


def weighed(
    book: Book, fills: Sequence[Fill], payments: Sequence[FundingPayment], records: Sequence[ClosedPnl]
) -> tuple[list[Weighed], dict[str, str]]:
    """Fold the fills, and note beside each what opening its position had cost; return with them the position of each payment."""
    opened = tuple(sorted({*book.evidence.opened, *(one.opened_at for one in records if one.opened_at is not None)}))
    told: list[Move | Paid] = []
    # Of a leg that was flat no word: nobody names what opens it (Bybit), and it takes the name of the first that closes it.
    words = (one for one in book.seen if one.size or not one.hedged)
    items: list[Item] = [*fills, *payments, *words]
    items += [one for one in book.transfers if one.kind in ("settlement", "liquidation")]
    chain = Chain(account=book.account, symbol=book.symbol)
    for _ in fold(chain, items, book.evidence._replace(opened=opened), told.append):
        pass
    costs: defaultdict[str, dict[str, Decimal]] = defaultdict(dict)
    entries, exits = Counter[str](), Counter[str]()
    found = []
    for move in told:
        if isinstance(move, Paid):
            continue
        cost, part = costs[move.opener], move.part
        fees = {} if part.fee is None else {fee_ccy(part.fill, book): part.fee}
        shares: dict[str, Decimal] = {}
        if move.closes:
            exits[move.opener] += 1
            rest = move.held is None or not move.held or move.held <= part.size
            shares = {ccy: one if rest or not move.held else one * part.size / move.held for ccy, one in cost.items()}
            cost.update({ccy: less(cost[ccy], share) for ccy, share in shares.items()})
        else:
            entries[move.opener] += 1
            cost.update({ccy: exact_sum(cost.get(ccy, ZERO), fee) for ccy, fee in fees.items()})
        found.append(Weighed(move, fees, shares, entries[move.opener], exits[move.opener] if move.closes else 0))
    return found, {one.payment: one.position for one in told if isinstance(one, Paid)}


def fee_ccy(fill: Fill, book: Book) -> str:
    """Return what a fee was paid in; "" stands for what the symbol settles in, where nobody knows that."""
    settle = book.settle or ""
    return settle if not settle or fill.fee_ccy is None else fill.fee_ccy


def bound(closings: Sequence[Weighed], money: Decimal, entry: Decimal, contract: Contract | None) -> Decimal:
    """Return what rounding may come to in what closings brought: of each amount, and of the entry that they count from.

    Args:
        money, entry: The last decimals that the venue sends of amounts, and of average entries.
    """
    error = total(move.entry_error(entry, contract) for move in closings)
    steps = money * (2 * len(closings) + 1)
    if money < Decimal(1).scaleb(-_DOUBLE_DIGITS):
        steps += _DOUBLE * total(abs(move.move.own or ZERO) + move.value(contract) for move in closings)
    return error + steps


def money_step(fills: Iterable[Fill], payments: Iterable[FundingPayment], records: Iterable[ClosedPnl]) -> Decimal:
    """Return the last decimal that a venue sends of an amount: zeros at the end may be left out, so that the longest one tells."""
    figures: list[str | None] = [figure for fill in fills for figure in (fill.fee, fill.realized_pnl)]
    figures += [payment.amount for payment in payments]
    figures += [getattr(record, name) for record in records for name in (*MONEY, "realized_net")]
    return last_decimal(figures)


def last_decimal(figures: Iterable[str | None]) -> Decimal:
    """Return the unit of the last decimal of the longest figure."""
    decimals = [-int(Decimal(figure).as_tuple().exponent) for figure in figures if figure]
    return Decimal(1).scaleb(-max(decimals)) if decimals else ZERO


def total(amounts: Iterable[Decimal | str | None]) -> Decimal:
    """Return the sum with all its digits; what is not known counts nothing."""
    found = ZERO
    for amount in amounts:
        found = exact_sum(found, Decimal(amount or 0))
    return found


def less(one: Decimal, other: Decimal) -> Decimal:
    """Return a difference with all its digits."""
    return exact_sum(one, -other)
