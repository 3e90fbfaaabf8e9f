"""Accounts that are about to be liquidated, made from a seed: who holds what, how prices walk, when and why each pool ends.

Owns the script of a run: roster, path and, by ``spent``, the truth. The path is played once without any gateway, and money is set
so that each cross pool is spent at a drawn tick of it, or never (a bystander). Pure.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal

from exchanges.sim import revalue
from exchanges.sim.catalog import COLLATERAL_RATE, UNDERLYINGS, Mode, Side, VenueName
from exchanges.sim.exact import round_to
from exchanges.sim.roster import AccountSpec, Opening
from exchanges.sim.world import World
from tests.system.spent import End, Moves, ends

BEGIN_MS = 1_763_683_200_000
TICKS_OUT, TICKS_BACK = 30, 50
BYSTANDERS = 5
_PLENTY = Decimal(10) ** 9


@dataclass(frozen=True)
class Script:
    """One run: a seed, who trades, how prices move tick by tick, and what must come of it."""

    seed: int
    roster: tuple[AccountSpec, ...]
    kinds: Mapping[str, str]
    path: tuple[Moves, ...]
    ends: tuple[End, ...] = ()

    def world(self) -> World:
        """Return the world at its beginning, standing still."""
        it = World(self.seed, BEGIN_MS, self.roster)
        it.pause()
        return it


def script(seed: int) -> Script:
    """Return the script of a seed: an account of every venue and kind, and some bystanders."""
    rng = random.Random(f"liquidations:{seed}")
    listed = World(seed, BEGIN_MS, ())
    path = tuple(_path(rng, (one.name for one in UNDERLYINGS)))
    specs: list[AccountSpec] = []
    kinds: dict[str, str] = {}
    for venue, kind in [*KINDS, *rng.sample(list(KINDS), BYSTANDERS)]:
        name = f"{venue}-{kind}" if f"{venue}-{kind}" not in kinds else f"{venue}-{kind}-safe"
        kinds[name] = kind
        drawn = _Draw(rng, listed, venue, path)
        specs.append(replace(KINDS[venue, kind](drawn), name=name))
    begun = Script(seed, tuple(specs), kinds, path)
    funded = replace(begun, roster=tuple(_funded(rng, begun)))
    return replace(funded, ends=tuple(ends(funded.world(), path)))


# --- The path ----------------------------------------------------------------------------------------------------------


def _path(rng: random.Random, bases: Iterable[str]) -> Iterator[Moves]:
    """Yield the moves of each tick: a noisy walk out to one extreme and back to the other, not every underlying each time."""
    market = rng.choice((-1, 1))
    reach = {base: market * rng.uniform(0.1, 0.22) * (1 if rng.random() < 0.85 else -1) for base in bases}
    return_ = {base: -out * rng.uniform(0.7, 1.2) for base, out in reach.items()}
    level = dict.fromkeys(reach, 0.0)
    for tick in range(1, TICKS_OUT + TICKS_BACK + 1):
        moves = {}
        for base, out in reach.items():
            if rng.random() < 0.6:
                done, back = min(1.0, tick / TICKS_OUT), max(0.0, (tick - TICKS_OUT) / TICKS_BACK)
                aim = out * done + (return_[base] - out) * back + rng.gauss(0.0, 0.002)
                moves[base] = Decimal(f"{math.exp(aim - level[base]) - 1:.7f}")
                level[base] = aim
        yield moves


# --- Who holds what ----------------------------------------------------------------------------------------------------


class _Draw:
    """Draws positions of one venue, sized in dollars at the prices of the beginning."""

    def __init__(self, rng: random.Random, listed: World, venue: VenueName, path: tuple[Moves, ...]) -> None:
        self.rng, self.world, self.venue, self.path = rng, listed, venue, path

    def symbols(self, settle: str, count: int, *, dex: str = "") -> list[str]:
        """Return some linear perpetuals."""
        found = [
            c.symbol
            for c in self.world.listed(self.venue)
            if c.kind == "perp" and not c.inverse and c.settle == settle and c.dex == dex
        ]
        return self.rng.sample(found, min(count, len(found)))

    def opening(
        self, symbol: str, mode: Mode = "cross", *, side: Side | None = None, usd: float | None = None, lever: int = 0
    ) -> Opening:
        """Return a position worth ``usd`` (drawn by default)."""
        contract = self.world.contract(self.venue, symbol)
        price = self.world.mark(self.venue, symbol)
        one = revalue.notional(contract, Decimal(1), price) * self.world.usd(contract.settle)
        worth = Decimal(f"{usd if usd is not None else self.rng.uniform(8_000, 60_000):.2f}")
        size = max(contract.lot, round_to(worth / one, contract.lot))
        tier = revalue.tier_of(contract, size, price)
        leverage = min(Decimal(lever or self.rng.choice((3, 5, 8, 10))), tier.max_leverage)
        return Opening(symbol, side or self.side(), mode, size, leverage)

    def side(self) -> Side:
        """Return long more often than short, as accounts lean."""
        return "long" if self.rng.random() < 0.65 else "short"

    def spec(self, mode: str, openings: Iterable[Opening], hedge: bool = False, **cash: str) -> AccountSpec:
        """Return an account, not named yet; purses of 0 are given money later."""
        money = {("" if purse == "main" else purse): Decimal(amount) for purse, amount in cash.items()}
        return AccountSpec("", self.venue, mode, hedge, money, tuple(openings), {})


_MODE = {"okx": "futures", "bybit": "cross", "hyperliquid": "standard", "aster": "single"}
_SETTLE = {"okx": "USDT", "bybit": "USDT", "hyperliquid": "USDC", "aster": "USDT"}


def _money(draw: _Draw, amount: str = "0") -> dict[str, str]:
    return {"main" if draw.venue == "hyperliquid" else _SETTLE[draw.venue]: amount}


def _cross(draw: _Draw) -> AccountSpec:
    """Five symbols or more, longs and shorts, one pool."""
    symbols = draw.symbols(_SETTLE[draw.venue], draw.rng.randint(5, 7))
    return draw.spec(_MODE[draw.venue], [draw.opening(symbol) for symbol in symbols], **_money(draw))


def _hedge(draw: _Draw) -> AccountSpec:
    """Both legs of one symbol or two, of unlike sizes, and one leg of another."""
    symbols = draw.symbols(_SETTLE[draw.venue], draw.rng.randint(2, 3))
    legs = [
        draw.opening(symbol, side=side, usd=draw.rng.uniform(*bounds))
        for symbol in symbols[:-1]
        for side, bounds in zip(
            draw.rng.sample(("long", "short"), 2), ((50_000, 90_000), (10_000, 30_000)), strict=True
        )
    ]
    return draw.spec(_MODE[draw.venue], [*legs, draw.opening(symbols[-1])], hedge=True, **_money(draw))


def _inverse(draw: _Draw) -> AccountSpec:
    """Inverse contracts of a coin, backed by that coin: at Bybit in the pool of dollars, at OKX in one of the coin."""
    side, usd = draw.side(), draw.rng.uniform(30_000, 120_000)
    if draw.venue == "okx":
        future = next(c.symbol for c in draw.world.listed("okx") if c.kind == "future" and c.inverse)
        openings = [draw.opening("BTC-USD-SWAP", side=side, usd=usd), draw.opening(future, usd=usd / 3)]
    else:
        openings = [draw.opening("BTCUSD", side=side, usd=usd), draw.opening("SOLUSDT", usd=usd / 4)]
    return draw.spec(_MODE[draw.venue], openings, BTC="0", **({} if draw.venue == "okx" else {"USDT": "500"}))


def _coin(draw: _Draw) -> AccountSpec:
    """Linear contracts backed by dollars and by a coin that is also the underlying of one of them."""
    coin = draw.rng.choice(("BTC", "ETH"))
    base = {c.base: c.symbol for c in draw.world.listed(draw.venue) if c.kind == "perp" and c.settle == "USDT"}
    other = draw.rng.choice([symbol for name, symbol in base.items() if name != coin])
    openings = [
        draw.opening(base[coin]),
        draw.opening(other),
        draw.opening(base["SOL" if base["SOL"] != other else "XRP"]),
    ]
    usd = sum(float(_value(draw.world, draw.venue, one)) for one in openings) * draw.rng.uniform(0.015, 0.05)
    amount = Decimal(usd) / draw.world.usd(coin)
    mode = "cross" if draw.venue == "bybit" else "multi"
    return draw.spec(mode, openings, USDT="0", **{coin: f"{amount:.4f}"})


def _tiers(draw: _Draw) -> AccountSpec:
    """One big position that crosses a tier where its price goes against it; at OKX tiers count contracts, which do not move."""
    contracts = [
        c
        for c in draw.world.listed(draw.venue)
        if c.kind == "perp" and c.settle == _SETTLE[draw.venue] and len(c.tiers) > 1 and not c.dex
    ]
    contract = draw.rng.choice(contracts)
    side = draw.side()
    edge = float(draw.rng.choice(contract.tiers[1:3]).lower * draw.world.usd(contract.settle))
    usd = edge * (1 + draw.rng.uniform(0.01, 0.03) * (1 if side == "long" else -1))
    openings = [draw.opening(contract.symbol, side=side, usd=usd)]
    second = next(symbol for symbol in draw.symbols(_SETTLE[draw.venue], 2) if symbol != contract.symbol)
    return draw.spec(_MODE[draw.venue], [*openings, draw.opening(second, usd=usd / 20)], **_money(draw))


def _isolated(draw: _Draw) -> AccountSpec:
    """Two positions with margin of their own."""
    mode = "isolated" if draw.venue == "bybit" else _MODE[draw.venue]
    levers = [draw.rng.choice((8, 10, 12, 15)) for _ in range(2)]
    symbols = draw.symbols(_SETTLE[draw.venue], 2)
    openings = [draw.opening(s, "isolated", lever=lever) for s, lever in zip(symbols, levers, strict=True)]
    return draw.spec(mode, openings, **_money(draw, "40000"))


def _dex(draw: _Draw) -> AccountSpec:
    """A pool of a builder's dex."""
    return replace(
        draw.spec("standard", [draw.opening(symbol) for symbol in draw.symbols("USDC", 3, dex="xyz")], main="1000"),
        cash={"": Decimal(1000), "xyz": Decimal(0)},
    )


KINDS: Mapping[tuple[VenueName, str], Callable[[_Draw], AccountSpec]] = {
    ("okx", "cross"): _cross,
    ("okx", "hedge"): _hedge,
    ("okx", "inverse"): _inverse,
    ("okx", "coin"): _coin,
    ("okx", "isolated"): _isolated,
    ("bybit", "cross"): _cross,
    ("bybit", "hedge"): _hedge,
    ("bybit", "inverse"): _inverse,
    ("bybit", "coin"): _coin,
    ("bybit", "tiers"): _tiers,
    ("bybit", "isolated"): _isolated,
    ("hyperliquid", "cross"): _cross,
    ("hyperliquid", "tiers"): _tiers,
    ("hyperliquid", "isolated"): _isolated,
    ("hyperliquid", "dex"): _dex,
    ("aster", "cross"): _cross,
    ("aster", "hedge"): _hedge,
    ("aster", "coin"): _coin,
    ("aster", "tiers"): _tiers,
    ("aster", "isolated"): _isolated,
}


def _value(world: World, venue: VenueName, opening: Opening) -> Decimal:
    contract = world.contract(venue, opening.symbol)
    price = world.mark(venue, opening.symbol)
    return revalue.notional(contract, opening.size, price) * world.usd(contract.settle)


# --- Money that is spent in time ---------------------------------------------------------------------------------------


def _funded(rng: random.Random, begun: Script) -> Iterator[AccountSpec]:
    """Yield the accounts with so much in the purse of their cross pool that it is spent at a drawn tick, or never."""
    purses = {spec.name: _purse(spec) for spec in begun.roster}
    rich = [
        replace(s, cash={**s.cash, purses[s.name]: _PLENTY}) if purses[s.name] is not None else s for s in begun.roster
    ]
    world = replace(begun, roster=tuple(rich)).world()
    spare = {spec.name: [_spare(world, spec.name, purses[spec.name])] for spec in rich}
    for moves in begun.path:
        world.move(moves)
        for name, seen in spare.items():
            seen.append(_spare(world, name, purses[name]))
    for spec in begun.roster:
        purse = purses[spec.name]
        if purse is None:
            yield spec
            continue
        needed = _PLENTY + _needed(rng, spare[spec.name], _gross(world, spec, purse), safe=spec.name.endswith("-safe"))
        yield replace(spec, cash={**spec.cash, purse: max(Decimal(0), needed.quantize(Decimal("0.000001")))})


def _purse(spec: AccountSpec) -> str | None:
    """Return the purse of an account that is given money: the empty one; None where its positions are isolated."""
    return next((purse for purse, amount in spec.cash.items() if not amount), None)


def _spare(world: World, name: str, purse: str | None) -> Decimal:
    """Return how much could be taken out of the purse before the cross pool is spent."""
    if purse is None:
        return Decimal(0)
    account = world.account(name)
    pool = next(p for p in world.pools(account) if p.name in {purse, "USD"})
    one = world.usd(purse) * COLLATERAL_RATE.get(purse, Decimal(1)) if pool.name == "USD" else Decimal(1)
    return (pool.equity - pool.requirement) / one


def _gross(world: World, spec: AccountSpec, purse: str) -> Decimal:
    """Return the gross notional of an account in the currency of a purse."""
    dollars = (
        world.notional(p) * world.usd(world.contract(p.venue, p.symbol).settle) for p in world.positions(spec.name)
    )
    return sum(dollars, Decimal(0)) / world.usd("USDC" if spec.venue == "hyperliquid" else purse)


def _needed(rng: random.Random, spare: list[Decimal], gross: Decimal, *, safe: bool) -> Decimal:
    """Return what to add so that the pool is first spent at a drawn new low or, where it is to be safe, only just never."""
    lows = [i for i in range(4, len(spare)) if spare[i] < min(spare[:i])]
    if safe or not lows:
        return -min(spare) + gross * Decimal(f"{rng.uniform(0.01, 0.1):.4f}")
    tick = lows[int(len(lows) * rng.random())]
    above = min(spare[:tick])
    return -(spare[tick] + (above - spare[tick]) * Decimal(f"{rng.uniform(0.05, 0.95):.4f}"))
