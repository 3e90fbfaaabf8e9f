"""How much of each currency counts as collateral, as a public connection learns it: one table for all, asked now and then.

Owns when it is asked, and that it is told for currencies that somebody holds, not for the hundreds that a venue lists. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable

from exchanges.events import CollateralTiers
from exchanges.venue import Ask, HttpRequest, Output


class Haircuts:
    """The collateral tiers of one venue and environment.

    Args:
        request: The question for the whole table.
        every_ms: How old the table may become before it is asked again: venues change it every few weeks, by announcement.
    """

    def __init__(self, request: HttpRequest, every_ms: int) -> None:
        self._request, self._every_ms = request, every_ms
        self._asked_at: int | None = None
        self._wanted: frozenset[str] = frozenset()
        self._table: dict[str, CollateralTiers] = {}
        self._told: dict[str, CollateralTiers] = {}

    def want(self, currencies: Iterable[str]) -> None:
        """State which currencies are held."""
        self._wanted = frozenset(currencies)

    def take(self, table: Iterable[CollateralTiers]) -> None:
        """Take the whole table; ``due`` tells what of it is news."""
        self._table = {tiers.ccy: tiers for tiers in table}

    def due(self, at: int) -> list[Output]:
        """Return what is to be told by now, and the question for the table when it is missing or old.

        A currency that the table lacks is told nothing of: it may count or not, which is not known.
        """
        if not self._wanted:
            return []
        news = [
            self._table[ccy]
            for ccy in sorted(self._wanted)
            if ccy in self._table and self._table[ccy] != self._told.get(ccy)
        ]
        self._told |= {tiers.ccy: tiers for tiers in news}
        if self._asked_at is not None and at - self._asked_at < self._every_ms:
            return [*news]
        self._asked_at = at
        return [*news, Ask(request=self._request)]
