"""An independent account of margin in plain Decimal: full revaluation at given prices, and where it comes to nothing, by bisection.

Written from the venues' pages alone; nothing of the gateway is read, no closed form is used. The rules, per venue:

    OKX          each leg keeps notional * (rate + liquidation fee rate), the rate by its size (no deduction), hedges gross;
                 futures mode: a currency's balance + unrealised PnL; multi-currency: sum of discounted equity * price
    Bybit        notional * rate - deduction + closing fee; coins at their collateral ratio + unrealised PnL, US dollars
    Hyperliquid  notional * rate - deduction by the tier of the notional; balance + unrealised PnL
    Aster        notional * rate - cum by the bracket of the leg's notional, hedges gross; wallet + unrealised PnL

A position is liquidated where equity no longer exceeds maintenance, with the maintenance at that very price.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal, localcontext
from typing import NamedTuple

D = Decimal
_PRECISION = 60
_STEPS = 120  # bisections: from a bracket of one power of ten to 1e-36 of it
_FAR = D(10) ** 12
_HAIR = D(10) ** -30
MONEY = {"USD", "USDT", "USDC"}


class Tier(NamedTuple):
    """Maintenance = notional * rate - deduction from ``lower`` on (of notional, or of size)."""

    lower: Decimal
    rate: Decimal
    deduction: Decimal = D(0)


class Leg(NamedTuple):
    """One position. ``size`` in contract currency, positive: coins (linear) or US dollars (inverse).

    Attributes:
        side: +1 long, -1 short.
        by_size: The tier follows from the size (OKX), else from the notional.
        fee_rate: Charged on the notional beyond maintenance (OKX's liquidation fee).
        fixed: Charged besides, settle currency (Bybit's estimated closing fee).
    """

    symbol: str
    base: str
    side: int
    size: Decimal
    entry: Decimal
    mark: Decimal
    tiers: tuple[Tier, ...]
    settle: str = "USDT"
    inverse: bool = False
    by_size: bool = False
    fee_rate: Decimal = D(0)
    fixed: Decimal = D(0)

    def notional(self, mark: Decimal) -> Decimal:
        """Return the notional in settle currency."""
        return self.size / mark if self.inverse else self.size * mark

    def pnl(self, mark: Decimal) -> Decimal:
        """Return the unrealised PnL in settle currency."""
        per_unit = 1 / self.entry - 1 / mark if self.inverse else mark - self.entry
        return self.side * self.size * per_unit

    def maintenance(self, mark: Decimal) -> Decimal:
        """Return what has to be kept at a mark, by the tier there."""
        notional = self.notional(mark)
        measure = self.size if self.by_size else notional
        tier = [tier for tier in self.tiers if tier.lower <= measure or not tier.lower][-1]
        return notional * (tier.rate + self.fee_rate) - tier.deduction + self.fixed


class Coin(NamedTuple):
    """A currency of a pool in US dollars: what is held of it (negative: owed), its price, and how much of it counts.

    ``haircuts``: (from this amount on, this fraction counts for the part above); nothing counts where ``enabled`` is off.
    """

    ccy: str
    amount: Decimal
    usd: Decimal
    haircuts: tuple[tuple[Decimal, Decimal], ...] = ((D(0), D(1)),)
    enabled: bool = True

    def counted(self, amount: Decimal) -> Decimal:
        """Return the amount that backs positions; a debt counts whole."""
        if amount <= 0:
            return amount
        if not self.enabled:
            return D(0)
        edges = [lower for lower, _ in self.haircuts[1:]] + [amount]
        return sum(
            (
                (min(edge, amount) - lower) * rate
                for (lower, rate), edge in zip(self.haircuts, edges, strict=True)
                if amount > lower
            ),
            D(0),
        )

    def tier(self, amount: Decimal) -> int:
        """Return which of its straight lines an amount is on; -1: a debt."""
        return -1 if amount < 0 else sum(lower <= amount for lower, _ in self.haircuts)


class Pool(NamedTuple):
    """What is liquidated together, in ``ccy``; a pool in US dollars is made of coins, another has its ``cash``.

    ``discounts_pnl``: the haircut is on a currency's whole equity, profit included (OKX); else on the balance alone.
    """

    ccy: str
    legs: tuple[Leg, ...]
    cash: Decimal = D(0)
    coins: tuple[Coin, ...] = ()
    discounts_pnl: bool = False

    def value(self, move: Mapping[str, Decimal]) -> tuple[Decimal, Decimal]:
        """Return equity and maintenance with prices multiplied: by symbol where it is named, else by base (coins too)."""
        marks = [leg.mark * move.get(leg.symbol, move.get(leg.base, D(1))) for leg in self.legs]
        price = {coin.ccy: coin.usd * move.get(coin.ccy, D(1)) for coin in self.coins} | {self.ccy: D(1)}
        pnl: dict[str, Decimal] = {}
        maintenance = D(0)
        for leg, mark in zip(self.legs, marks, strict=True):
            pnl[leg.settle] = pnl.get(leg.settle, D(0)) + leg.pnl(mark)
            maintenance += leg.maintenance(mark) * price[leg.settle]
        equity = self.cash
        for coin in self.coins:
            profit = pnl.pop(coin.ccy, D(0))
            held = coin.counted(coin.amount + profit) if self.discounts_pnl else coin.counted(coin.amount) + profit
            equity += held * price[coin.ccy]
        return equity + sum((amount * price[ccy] for ccy, amount in pnl.items()), D(0)), maintenance

    def bends(self, move: Mapping[str, Decimal]) -> bool:
        """Say whether a currency's equity, profit included, leaves its haircut tier on the way (where the haircut is on both)."""
        there = {leg.settle: D(0) for leg in self.legs}
        here = dict(there)
        for leg in self.legs:
            here[leg.settle] += leg.pnl(leg.mark)
            there[leg.settle] += leg.pnl(leg.mark * move.get(leg.symbol, move.get(leg.base, D(1))))
        return self.discounts_pnl and any(
            coin.tier(coin.amount + here.get(coin.ccy, D(0))) != coin.tier(coin.amount + there.get(coin.ccy, D(0)))
            for coin in self.coins
        )

    def surplus(self, move: Mapping[str, Decimal]) -> Decimal:
        """Return equity - maintenance."""
        equity, maintenance = self.value(move)
        return equity - maintenance

    def trigger(self, base: str) -> Decimal | None:
        """Return the factor nearest to 1, on everything of a base, at which the pool has nothing left; None: there is none."""
        return self._factor({base}, [leg for leg in self.legs if leg.base == base])

    def alone(self, symbol: str) -> Decimal | None:
        """Return the same with one symbol's price moving by itself: every leg of it, and no other."""
        return self._factor({symbol}, [leg for leg in self.legs if leg.symbol == symbol])

    def uniform(self) -> Decimal | None:
        """Return the same with all underlyings moving by one factor, coins among them; money stays."""
        return self._factor({leg.base for leg in self.legs} | {coin.ccy for coin in self.coins} - MONEY, self.legs)

    def _factor(self, what: Iterable[str], moving: Iterable[Leg]) -> Decimal | None:
        names, edges = tuple(what), {D(1)}
        with localcontext() as context:
            context.prec = _PRECISION  # an edge that is rounded to fewer digits lies on either side of itself
            for leg in moving:
                for tier in () if leg.by_size else leg.tiers[1:]:
                    at = leg.notional(leg.mark) / tier.lower if leg.inverse else tier.lower / leg.notional(leg.mark)
                    edges |= {at * (1 - _HAIR), at, at * (1 + _HAIR)}
        if (
            self.discounts_pnl
        ):  # how much counts changes with profit: no straight lines, so that the mesh has to be fine
            edges |= {D(10) ** (D(n) / 40) for n in range(-240, 241)}
        return nearest_zero(lambda factor: self.surplus(dict.fromkeys(names, factor)), edges)


def nearest_zero(surplus: Callable[[Decimal], Decimal], edges: set[Decimal]) -> Decimal | None:
    """Return where a function changes its sign, nearest to 1; between two edges it may do so once at most."""
    with localcontext() as context:
        context.prec = _PRECISION
        points = sorted({1 / _FAR, _FAR, *edges})
        values = [surplus(point) for point in points]
        found = []
        for low, high, at_low, at_high in zip(points, points[1:], values, values[1:], strict=False):
            if at_low == 0:
                found.append(low)
            if (at_low < 0) != (at_high < 0) and at_high != 0:
                found.append(_bisect(surplus, low, high, rising=at_low < 0))
        return min(found, key=lambda factor: abs(factor - 1), default=None)


def _bisect(surplus: Callable[[Decimal], Decimal], low: Decimal, high: Decimal, *, rising: bool) -> Decimal:
    while high / low > 10:
        middle = (low * high).sqrt()
        low, high = (low, middle) if (surplus(middle) >= 0) == rising else (middle, high)
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (low, middle) if (surplus(middle) >= 0) == rising else (middle, high)
    return high
