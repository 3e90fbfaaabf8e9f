"""What the accounts of each summary realised today, in US dollars, and since when that is whole. Pure.

Worked out once a second; sums are made anew only where lines came. A currency counts at its price of that second.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from decimal import Decimal
from typing import NamedTuple

from gateway.core.books import Books
from gateway.core.market import Market
from gateway.core.register import Register
from gateway.core.rows import Row, present

_CENTS = 2


class _Account(NamedTuple):
    """What was found out of an account, and of which state of its books."""

    of: tuple[int, int, int | None]  # lines, contracts, coverage
    since: int | None
    begin: int | None = None  # of the sums
    sums: dict[str, Decimal] = {}  # noqa: RUF012  never written into


class Figures(NamedTuple):
    """Of one summary, as shown.

    Attributes:
        usd, since: None: of none of its accounts is anything whole.
        incomplete: Accounts whose records are not whole, now or ever.
        unpriced: Currencies that the total leaves out.
    """

    usd: float | None = None
    since: int | None = None
    incomplete: tuple[str, ...] = ()
    unpriced: tuple[str, ...] = ()


class RealizedTotals:
    """Of all summaries."""

    def __init__(self, register: Register, books: Books, market: Market) -> None:
        self._register, self._books, self._market = register, books, market
        self._accounts: dict[str, _Account] = {}
        self._figures: dict[int, Figures] = {}

    def turn(self) -> set[int]:
        """Bring all to now; return the numbers of the summaries of which something that is shown changed."""
        members: dict[int, list[int]] = {}
        for number, summary in enumerate(self._register.summary_of):
            members.setdefault(summary, []).append(number)
        found = {summary: self._add(numbers) for summary, numbers in members.items()}
        changed = {summary for summary, figures in found.items() if self._figures.get(summary) != figures}
        self._figures = found
        return changed

    def row(self, summary: int) -> Row:
        """Return a summary's fields."""
        figures = self._figures.get(summary, Figures())
        return present(
            {
                "total_realized_pnl_usd": figures.usd,
                "realized_since": figures.since,
                "realized_incomplete": list(figures.incomplete) or None,
            }
        )

    def unpriced(self, summary: int) -> tuple[str, ...]:
        """Return the currencies that a summary's total leaves out."""
        return self._figures.get(summary, Figures()).unpriced

    def _add(self, numbers: Iterable[int]) -> Figures:
        """Add up accounts from the moment on since when all of them are whole that are so at all."""
        accounts = [self._register.accounts[number] for number in numbers]
        looked = {account.info.name: self._look(account.info.name) for account in accounts}
        covered = [one.since for one in looked.values() if one.since is not None]
        incomplete = tuple(sorted(name for name in looked if not self._books[name].coverage.whole))
        if not covered:
            return Figures(incomplete=incomplete)
        since, usd, unpriced = max(covered), 0.0, set[str]()
        for account in accounts:
            if looked[account.info.name].since is None:
                continue
            for ccy, amount in self._sums(account.info.name, since).items():
                price = account.usd(ccy)
                if math.isnan(price):
                    unpriced.add(ccy)
                else:
                    usd += float(amount) * price
        return Figures(round(usd, _CENTS) + 0.0, since, incomplete, tuple(sorted(unpriced)))

    def _look(self, name: str) -> _Account:
        ledger = self._books[name]
        of = ledger.version, len(self._market.instruments), ledger.coverage.since
        known = self._accounts.get(name)
        if known is None or known.of != of:
            known = self._accounts[name] = _Account(of, self._books.since(name))
        return known

    def _sums(self, name: str, since: int) -> dict[str, Decimal]:
        known = self._accounts[name]
        if known.begin != since:
            known = self._accounts[name] = known._replace(begin=since, sums=self._books.total(name, since))
        return known.sums
