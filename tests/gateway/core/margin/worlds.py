"""Pools of the reference as events for the real engine, and hypothesis strategies that draw them, per margin model.

Everything goes in by events, as the codecs would emit them: contracts, tiers, collateral tiers, balances, positions with marks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import NamedTuple

from hypothesis import strategies as st

from exchanges.events import (
    AccountMode,
    BalanceState,
    CoinBalance,
    CollateralTier,
    CollateralTiers,
    Event,
    Instrument,
    MarginMode,
    MarginTier,
    MarginTiers,
    PoolState,
    PositionsSnapshot,
    PositionState,
    Price,
)
from gateway.config import EngineSettings
from gateway.core.accounts import AccountInfo
from gateway.core.margin import CATALOG
from gateway.engine import Engine
from tests.gateway.core.margin.reference import Coin, Leg, Pool, Tier

D = Decimal
ACCOUNT = "a"
NOW = 1_700_000_000_000
LIQUIDATION_FEE = D("0.0005")  # OKX: the taker rate


class Mode(NamedTuple):
    """A margin model's circumstances.

    Attributes:
        pool: The codec's name of the pool; None: isolated.
        ccy: The pool's currency.
        linear, inverse: Which contracts are in it.
        hedges: Both legs of a symbol can be held.
        coins: The pool is made of coins.
    """

    model: str
    venue: str
    pool: str | None
    ccy: str
    linear: bool = True
    inverse: bool = False
    hedges: bool = False
    coins: bool = False

    @property
    def margin_mode(self) -> MarginMode:
        return "isolated" if self.pool is None else "cross"


MODES = (
    Mode("okx_cross", "okx", "USDT", "USDT", hedges=True),
    Mode("okx_cross", "okx", "BTC", "BTC", linear=False, inverse=True, hedges=True),
    Mode("okx_multi", "okx", "USD", "USD", inverse=True, hedges=True, coins=True),
    Mode("okx_isolated", "okx", None, "USDT"),
    Mode("okx_isolated_inverse", "okx", None, "BTC", linear=False, inverse=True),
    Mode("bybit_cross", "bybit", "USD", "USD", hedges=True, coins=True),
    Mode("bybit_cross_inverse", "bybit", "USD", "USD", linear=False, inverse=True, coins=True),
    Mode("bybit_isolated", "bybit", None, "USDT"),
    Mode("bybit_isolated_inverse", "bybit", None, "BTC", linear=False, inverse=True),
    Mode("hyperliquid_cross", "hyperliquid", "main", "USDC"),
    Mode("hyperliquid_unified", "hyperliquid", "unified:USDC", "USDC"),
    Mode("hyperliquid_isolated", "hyperliquid", None, "USDC"),
    Mode("aster_cross", "aster", "USDT", "USDT", hedges=True),
    Mode("aster_multi", "aster", "USD", "USD", hedges=True, coins=True),
    Mode("aster_isolated", "aster", None, "USDT"),
)


class Held:
    """A pool in a real engine that trusts every model; rows by the index of their leg."""

    def __init__(self, mode: Mode, pool: Pool, ranges: Mapping[str, tuple[Decimal, Decimal]] | None = None) -> None:
        self.mode, self.pool = mode, pool
        account = AccountInfo(name=ACCOUNT, venue=mode.venue, env="live")
        self.engine = Engine("test", (account,), EngineSettings(), promoted=CATALOG)
        self.engine.turn(_contracts(mode, pool, ranges or {}), NOW)
        self.report(pool, NOW)

    def report(self, pool: Pool, at: int) -> None:
        """Take the state of an account of the same contracts."""
        self.pool = pool
        self.engine.turn(_state(self.mode, pool, at), at)
        self.rows = [self.engine.positions[_id(index)] for index in range(len(pool.legs))]

    def figure(self, index: int, name: str) -> float:
        """Return a figure of a row, NaN where it has none."""
        return self.engine.book.figures(self.rows[index].handle).get(name, math.nan)

    def trigger(self, index: int) -> float:
        return self.figure(index, "trigger")

    def prices(self) -> list[float]:
        return [self.figure(index, "liq") for index in range(len(self.rows))]

    def triggers(self) -> list[float]:
        return [self.trigger(index) for index in range(len(self.rows))]

    @property
    def models(self) -> set[str | None]:
        return {row.maintenance.model for row in self.rows}

    @property
    def equity(self) -> float:
        return float(self.engine.book.equity[self.rows[0].pool.number])

    @property
    def maintenance(self) -> float:
        return float(self.engine.book.maintenance[self.rows[0].pool.number])

    def mark(self, symbol: str, value: Decimal) -> None:
        """Move one symbol's mark."""
        price = Price(venue=self.mode.venue, env="live", symbol=symbol, value=str(value), at=NOW + 1)
        self.engine.turn([price], NOW + 1)


def held(mode: Mode, *legs: Leg, cash: str = "0", coins: Sequence[Coin] = ()) -> Held:
    """Return a pool of these legs in an engine."""
    return Held(mode, Pool(mode.ccy, legs, D(cash), tuple(coins), discounts_pnl=mode.venue == "okx" and mode.coins))


def _id(index: int) -> str:
    return f"{ACCOUNT}:{index}"


def _contracts(mode: Mode, pool: Pool, ranges: Mapping[str, tuple[Decimal, Decimal]]) -> list[Event]:
    events: list[Event] = []
    for leg in {leg.symbol: leg for leg in pool.legs}.values():
        key = f"SWAP:{leg.symbol}"
        least, most = map(str, ranges[leg.symbol]) if leg.symbol in ranges else (None, None)
        events.append(
            Instrument(
                venue=mode.venue, env="live", symbol=leg.symbol, unified_symbol=leg.symbol, base=leg.base,
                quote="USD" if leg.inverse else leg.settle, settle=leg.settle, kind="perp",
                contract_type="inverse" if leg.inverse else "linear", contract_size="1",
                contract_ccy="USD" if leg.inverse else leg.base, tick_size=None, tiers_key=key,
                max_leverage=_leverage(leg.tiers[0]), min_price=least, max_price=most,
            )
        )  # fmt: skip
        tiers = tuple(
            MarginTier(lower=str(tier.lower), rate=str(tier.rate), deduction=str(tier.deduction)) for tier in leg.tiers
        )
        unit = "contracts" if leg.by_size else "notional"
        events.append(MarginTiers(venue=mode.venue, env="live", key=key, unit=unit, tiers=tiers))  # type: ignore[arg-type]
    for coin in pool.coins:
        steps = tuple(CollateralTier(lower=str(lower), rate=str(rate)) for lower, rate in coin.haircuts)
        events.append(CollateralTiers(venue=mode.venue, env="live", ccy=coin.ccy, tiers=steps))
    return events


def _leverage(tier: Tier) -> str:
    return str(1 / (2 * tier.rate))


def _state(mode: Mode, pool: Pool, at: int) -> list[Event]:
    events: list[Event] = []
    if mode.model == "hyperliquid_unified":
        events.append(AccountMode(account=ACCOUNT, mode="unifiedAccount", computable=True))
    if mode.pool is not None:
        events.append(_balance(mode, pool))
    rows = tuple(_position(mode, pool, index, leg) for index, leg in enumerate(pool.legs))
    events.append(PositionsSnapshot(account=ACCOUNT, scope="positions", positions=rows, asked_at=at))
    return events


def _balance(mode: Mode, pool: Pool) -> BalanceState:
    assert mode.pool is not None
    coins = tuple(
        CoinBalance(ccy=c.ccy, total=str(c.amount), cash=str(c.amount), usd_price=str(c.usd), collateral=c.enabled)
        for c in pool.coins
    )
    value_basis = mode.model == "hyperliquid_cross"
    cash = pool.cash - sum(leg.side * leg.size * leg.entry for leg in pool.legs) if value_basis else pool.cash
    state = PoolState(
        pool=mode.pool,
        ccy=mode.ccy,
        basis="value" if value_basis else "upnl",
        cash=None if mode.coins else str(cash),
        from_coins=mode.coins,
        options_count=mode.venue != "bybit",
        pnl_discounted=pool.discounts_pnl,
    )
    return BalanceState(account=ACCOUNT, scope="account", full=True, coins=coins, pools=(state,))


def _position(mode: Mode, pool: Pool, index: int, leg: Leg) -> PositionState:
    isolated, hyperliquid = mode.pool is None, mode.venue == "hyperliquid"
    cash = pool.cash - (leg.side * leg.size * leg.entry if hyperliquid else 0)
    return PositionState(
        account=ACCOUNT,
        id=_id(index),
        scope="positions",
        symbol=leg.symbol,
        side="long" if leg.side > 0 else "short",
        size=format(leg.size, "f"),
        margin_mode=mode.margin_mode,
        pool=f"iso:{_id(index)}" if mode.pool is None else mode.pool,
        fence=(1,),
        venue_at=NOW,
        settle=leg.settle,
        entry_price=str(leg.entry),
        entry_exact=not hyperliquid,
        leverage="10",
        max_leverage=_leverage(leg.tiers[0]) if hyperliquid else None,
        isolated_cash=str(cash) if isolated else None,
        isolated_basis="value" if hyperliquid else "upnl",
        mark_price=str(leg.mark),
        venue_unrealized_pnl=str(leg.pnl(leg.mark)) if hyperliquid else None,
        venue_maintenance_margin=str(leg.maintenance(leg.mark)) if leg.fixed else None,
        trading_fee=str(leg.fixed) if leg.fixed else None,
        liquidation_known="unknown",
    )


# --- what to draw --------------------------------------------------------------------------------------------------------


def tiers_of(venue: str, *, inverse: bool, deducted: bool = True) -> tuple[Tier, ...]:
    """Return a venue's kind of table: by size without deduction on OKX, else by notional and continuous."""
    if venue == "okx":
        lowers = ("0", "20000", "200000") if inverse else ("0", "2", "20")
        return tuple(Tier(D(lower), D(rate)) for lower, rate in zip(lowers, ("0.004", "0.0065", "0.02"), strict=True))
    rates = (D("0.0125"), D("0.025"), D("0.05"))  # half of 1/40, 1/20, 1/10: Hyperliquid's form fits the others
    edges = (D(0), D(2), D(8)) if inverse else (D(0), D(50_000), D(250_000))
    found, deduction = list[Tier](), D(0)
    for index, (edge, rate) in enumerate(zip(edges, rates, strict=True)):
        deduction += edge * (rate - rates[index - 1]) if index and deducted else 0
        found.append(Tier(edge, rate, deduction))
    return tuple(found)


_PRICES = {"BTC": D(60_000), "ETH": D(3_000), "SOL": D(150)}


@st.composite
def legs_of(draw: st.DrawFn, mode: Mode, most: int = 5) -> tuple[Leg, ...]:
    """Draw legs; those of one symbol share its mark, swap and dated contract of a base differ a little."""
    kinds = [kind for kind, has in ((False, mode.linear), (True, mode.inverse)) if has]
    names = ["BTC"] if mode.ccy == "BTC" else ["BTC", "ETH"] if mode.inverse and not mode.linear else list(_PRICES)
    count = 1 if mode.pool is None else draw(st.integers(1, most))
    found: dict[tuple[str, int], Leg] = {}
    marks: dict[str, Decimal] = {}
    for _ in range(count):
        inverse, base = draw(st.sampled_from(kinds)), draw(st.sampled_from(names))
        if mode.model == "okx_multi" and inverse:
            base = "BTC"
        dated = draw(st.booleans())
        settle = base if inverse else "USDT" if mode.ccy == "USD" else mode.ccy
        symbol = f"{base}-{'USD' if inverse else settle}{'-2612' if dated else ''}"
        mark = marks.setdefault(symbol, (_PRICES[base] * draw(st.integers(970, 1030)) / 1000).quantize(D("0.01")))
        side = draw(st.sampled_from((1, -1)))
        value = D(draw(st.integers(500, 400_000)))  # US dollars
        size = value.quantize(D(1)) if inverse else (value / _PRICES[base]).quantize(D("0.0001"))
        key = (symbol, side if mode.hedges else 0)
        found.setdefault(
            key,
            Leg(
                symbol, base, side, max(size, D("0.0001")), (mark * draw(st.integers(900, 1100)) / 1000).quantize(D("0.01")), mark,
                tiers_of(mode.venue, inverse=inverse), settle, inverse, mode.venue == "okx",
                LIQUIDATION_FEE if mode.venue == "okx" else D(0),
                (value * D("0.0005")).quantize(D("0.0001")) / (mark if inverse else 1) if mode.venue == "bybit" else D(0),
            ),
        )  # fmt: skip
    return tuple(found.values())


@st.composite
def pools_of(draw: st.DrawFn, mode: Mode, most: int = 5) -> Pool:
    """Draw a pool of a mode with more equity than maintenance."""
    legs = draw(legs_of(mode, most))
    part = D(draw(st.integers(2, 300))) / 100
    discounts = mode.venue == "okx" and mode.coins
    if not mode.coins:
        notional = sum((leg.notional(leg.mark) for leg in legs), D(0))
        pool = Pool(mode.ccy, legs, (part * notional).quantize(D("0.00000001")))
        short = -min(pool.surplus({}), D(0))
        return pool._replace(cash=pool.cash + (short * D("1.1")).quantize(D("0.00000001")))
    notional = sum((leg.notional(leg.mark) * (leg.mark if leg.inverse else 1) for leg in legs), D(0))
    coins = [Coin("USDT", (part * notional).quantize(D("0.01")), D("0.9998"))]
    for base in sorted({leg.base for leg in legs if leg.inverse} | ({"BTC"} if draw(st.booleans()) else set())):
        rate = D("0.95") if draw(st.booleans()) else D(1)
        amount = (notional * draw(st.integers(1, 100)) / 100 / _PRICES[base]).quantize(D("0.0001"))
        coins.append(Coin(base, amount + 1, _PRICES[base], ((D(0), rate),)))
    pool = Pool("USD", legs, D(0), tuple(coins), discounts)
    short = -min(pool.surplus({}), D(0))
    first = coins[0]._replace(amount=coins[0].amount + (short * D("1.1")).quantize(D("0.01")))
    return pool._replace(coins=(first, *coins[1:]))
