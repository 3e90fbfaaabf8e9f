"""One underlying, one name: what positions and coins of different venues have in common. Pure.

Multipliers are folded by the venues' codecs already (kPEPE and 1000PEPE are PEPE with ``base_multiplier`` 1000, quantities and
prices as the venue has them): here only names are.
"""

from __future__ import annotations

from collections.abc import Mapping

from exchanges.events import Instrument
from gateway.core.currencies import DOLLARS

# What a move of the market leaves as it is: money, and coins that are meant to be worth a fixed amount of it.
_MONEY = DOLLARS | frozenset(
    """USD EUR GBP JPY CHF CAD AUD SGD HKD KRW AED BRL TRY MXN PLN CZK UAH KZT GEL IDR
    DAI USDS USDY USDG USDD USDP TUSD BUSD PYUSD RLUSD USDB EURC EURI EURR""".split()  # noqa: SIM905  a word list
)


def fold(base: str, mapping: Mapping[str, str]) -> str:
    """Return the underlying's name that a base or coin counts as, e.g. XBT or WBTC as BTC (config ``engine.bases``)."""
    return mapping.get(base, base)


def base_of(instrument: Instrument | None, symbol: str, mapping: Mapping[str, str]) -> str:
    """Return the underlying of a contract; of one that is not known (yet) the symbol itself, an underlying of its own."""
    return fold(instrument.base, mapping) if instrument is not None else symbol


def is_money(ccy: str) -> bool:
    """Say whether a currency is money or meant to be worth a fixed amount of it: no underlying that a shock moves."""
    return ccy in _MONEY
