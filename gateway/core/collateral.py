"""What backs a pool in US dollars: the account's coins, each at its price less its haircut. Pure.

Owns which amount of a coin counts, and whether the coins that a report names make up the balance that it states. A coin that backs
positions has a price of its own, moves with it, and is a row of the book beside them.

A report may name some coins only, and state the balance of all. Those that it names count at its own prices, the others at the
prices of its moment, as far as they are known here: venue and index speak of moments of their own, a little apart, so that such a
coin may have been at any price that its index really had just before. Coins that make up the balance at such prices make it up;
no tolerance is widened for that, and in a market at rest there is one price alone. Prices of earlier reports prove nothing: by them
coins that are all there disagree as soon as a price moved, and coins that are not could agree.

What counts of an amount ``a`` of a coin, ``f(a)``, is piecewise linear: a debt counts whole, an amount by the venue's tiers, a coin
that is switched off not at all. Where the venue takes the haircut of balance and unrealised PnL together (OKX), around the present

    f(balance + pnl) = counts * pnl + amount        counts = f'(a), amount = f(a) - counts * pnl at the present pnl

so that the coin's row holds ``amount``, and profit settled in the coin weighs ``counts``; elsewhere amount is f(balance), counts 1.
Source: OKX help center, "Multi-currency margin mode: cross margin trading" (adjusted equity: the sum of equity * discount * price);
Bybit help center, "Understanding Collateral Value Ratios in Unified Trading Account" (total wallet balance: after ratios; debts at
100 %), and a captured wallet, whose balance has the ratios in it and whose profit has none.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from exchanges.events import CoinBalance, CollateralTiers
from gateway.core.currencies import DOLLARS, Then

# Coins make up a stated balance where they agree with it to this: venues round each coin's dollar value.
_REL, _ABS = 1e-4, 0.01
# What differs by less is rounding alone, whichever way the prices went just before.
_ROUNDED = 1e-6


class Part(NamedTuple):
    """One coin of a pool: the amount that counts beside profit settled in it, and the fraction of such profit that counts."""

    amount: float
    counts: float


class Backing(NamedTuple):
    """What backs a pool.

    Attributes:
        parts: By currency.
        beside: What the stated balance holds beyond the coins at the prices of the message's moment (US dollars); all of it
            where the coins do not make it up.
        shift: By how much more than stated the balance is at the prices that ``then`` gives, where it is of prices just before.
        known: The coins make up the balance, and how much of each counts is known.
        held: The currencies that there is any of.
    """

    parts: Mapping[str, Part] = {}
    beside: float = 0.0
    shift: float = 0.0
    known: bool = False
    held: frozenset[str | None] = frozenset()


def backing(
    coins: Iterable[CoinBalance],
    pnl: Mapping[str, float] | None,
    tiers_of: Callable[[str], CollateralTiers | None],
    usd: Callable[[str], float],
    then: Callable[[str], Then],
    stated: float | None,
) -> Backing:
    """Return what backs a pool in dollars.

    Args:
        coins: The account's coins in the pool's scope.
        pnl: Unrealised PnL of the pool's positions by settle currency (each in it), where haircuts are taken of it too; else None.
        tiers_of: How much of a currency counts, where the venue's tiers are known.
        usd: What a currency is worth now, in US dollars; NaN where unknown.
        then: What it was worth in the message, or between which prices at its moment. Neither is asked of coins of which
            nothing counts.
        stated: The balance that the message states in dollars, after haircuts; None: the coins alone make it.
    """
    cut, pnl = pnl is not None, pnl or {}
    held = {coin.ccy: coin for coin in coins if float(coin.cash or coin.total) or coin.ccy in pnl}
    if any(coin.cash is None for coin in held.values()):
        return Backing(beside=stated or 0.0)
    cash = dict.fromkeys(pnl, 0.0) | {ccy: float(coin.cash or 0) for ccy, coin in held.items()}
    equity = {ccy: amount + pnl.get(ccy, 0.0) for ccy, amount in cash.items()}
    found = {ccy: counted(ccy, amount, held.get(ccy), tiers_of(ccy)) for ccy, amount in equity.items()}
    sure = all(found.values())
    rates = {ccy: one or (equity[ccy], 1.0) for ccy, one in found.items()}
    parts = {
        ccy: Part(value - counts * (equity[ccy] - cash[ccy]), counts if cut else 1.0)
        for ccy, (value, counts) in rates.items()
    }
    counting = {ccy: part.amount for ccy, part in parts.items() if part.amount}
    if any(math.isnan(usd(ccy)) for ccy in counting.keys() | pnl.keys()):
        return Backing(beside=stated or 0.0)
    whole = Backing(parts, known=sure, held=frozenset(ccy for ccy, amount in cash.items() if amount))
    if stated is None:
        return whole
    prices = {ccy: then(ccy) for ccy in counting}
    at_then = sum(amount * prices[ccy].usd for ccy, amount in counting.items())
    if abs(stated - at_then) <= _ROUNDED * (abs(stated) + 1.0):
        return whole._replace(beside=stated - at_then)
    least = sum(amount * (prices[ccy].low if amount > 0 else prices[ccy].high) for ccy, amount in counting.items())
    most = sum(amount * (prices[ccy].high if amount > 0 else prices[ccy].low) for ccy, amount in counting.items())
    made = min(max(stated, least), most)
    if abs(stated - made) > _REL * abs(stated) + _ABS:
        return Backing(beside=stated)
    return whole._replace(beside=stated - made, shift=at_then - made)


def counted(
    ccy: str, amount: float, coin: CoinBalance | None, tiers: CollateralTiers | None
) -> tuple[float, float] | None:
    """Return how much of an amount counts, and how much of one more does; None where that is not known.

    Debts count whole. Dollars and what is pegged to them count whole where nobody says otherwise.
    """
    if amount < 0:
        return amount, 1.0
    if coin is not None and coin.collateral is False:
        return 0.0, 0.0
    if tiers is not None:
        return _by_tiers(amount, tiers)
    if coin is not None and coin.discount is not None:
        return amount * float(coin.discount), float(coin.discount)
    if not amount or ccy == "USD" or ccy in DOLLARS:
        return amount, 1.0
    return None


def _by_tiers(amount: float, tiers: CollateralTiers) -> tuple[float, float]:
    steps = [(float(tier.lower), float(tier.rate)) for tier in tiers.tiers]
    value, rate = 0.0, 0.0
    for index, (lower, each) in enumerate(steps):
        if amount < lower:
            break
        upper = steps[index + 1][0] if index + 1 < len(steps) else math.inf
        value, rate = value + (min(amount, upper) - lower) * each, each
    return (value, rate) if tiers.marginal else (amount * rate, rate)
