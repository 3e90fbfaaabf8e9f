"""What a venue announces to everybody: prices, contracts, margin tiers, haircuts, funding rates, and what follows for the rows.

Owns nothing but the way from such an event to the rows that it concerns; written by the engine alone, within its turns. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from exchanges.events import CollateralTiers, CurrencyPrice, Event, FundingRate, Instrument, MarginTiers, Price
from gateway.core.accounts import Account
from gateway.core.holdings import Holdings
from gateway.core.market import Market
from gateway.core.publish import Changes
from gateway.core.reports import Reports


class Announcements:
    """Attributes: ``handlers``: what takes an event of each class and the time of its turn."""

    def __init__(
        self, accounts: Mapping[str, Account], market: Market, holdings: Holdings, reports: Reports, changes: Changes
    ) -> None:
        self._accounts, self._market, self._holdings = accounts, market, holdings
        self._reports, self._changes = reports, changes
        self.handlers: dict[type[Event], Callable[..., None]] = {
            Price: self._price,
            Instrument: self._instrument,
            MarginTiers: self._tiers,
            CollateralTiers: self._collateral,
            FundingRate: lambda rate, _now: market.funding.put(rate),
            CurrencyPrice: market.currencies.put,
        }

    def _price(self, price: Price, now: int) -> None:
        recovered = self._market.put_price(price, now)
        if recovered is not None:
            self._holdings.touch_symbol(recovered)

    def _instrument(self, instrument: Instrument, now: int) -> None:
        before = self._market.instruments.get((instrument.venue, instrument.env, instrument.symbol))
        concerned = self._market.put_instrument(instrument)
        if concerned is None:
            return
        if instrument.rebased and before is not None and not before.rebased:
            self._reports.rebased(concerned, instrument.symbol, now)
        self._holdings.dirty |= concerned
        if self._changes.sink:
            self._changes.sink.put_instrument(instrument)

    def _tiers(self, tiers: MarginTiers, _now: int) -> None:
        concerned = self._market.put_tiers(tiers)
        if concerned is None:
            return
        self._holdings.dirty |= concerned
        if self._changes.sink:
            self._changes.sink.put_tiers(tiers)

    def _collateral(self, tiers: CollateralTiers, _now: int) -> None:
        if not self._market.put_collateral_tiers(tiers):
            return
        for account in self._accounts.values():
            if (account.info.venue, account.info.env) == (tiers.venue, tiers.env):
                self._holdings.reprice(account)
        if self._changes.sink:
            self._changes.sink.put_collateral(tiers)
