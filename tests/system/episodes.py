"""Accounts that are about to be liquidated, made from a seed: who holds what, how prices walk, when and why each pool ends.

Owns the script of a run: roster, path and, by ``spent``, the truth. In some stretches of the path the venues report while prices
move, in the others at rest. The path is played once without any gateway, and money is set so that each cross pool is spent at a
drawn tick of it, or never (a bystander). Pure.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TypeVar

from exchanges.sim import revalue
from exchanges.sim.catalog import UNDERLYINGS, Mode, Side, VenueName
from exchanges.sim.exact import round_to
from exchanges.sim.roster import AccountSpec, Opening
from exchanges.sim.state import Account, State
from exchanges.sim.world import World
from tests.system.spent import End, Moves, ends

BEGIN_MS = 1_763_683_200_000
TICKS_OUT, TICKS_BACK = 30, 50
BYSTANDERS = 5
STRETCH, IN_MOTION = 8, 0.4  # ticks; share of the stretches
_EXACT = Decimal("1e-9")

Funded = TypeVar("Funded", AccountSpec, Account)


@dataclass(frozen=True)
class Script:
    """One run: a seed, who trades, how prices move tick by tick, and what must come of it.

    ``in_motion``: by tick, whether the venues report between two moves, and not at rest.
    """

    seed: int
    roster: tuple[AccountSpec, ...]
    kinds: Mapping[str, str]
    path: tuple[Moves, ...]
    in_motion: tuple[bool, ...]
    ends: tuple[End, ...] = ()

    def cut(self, count: int) -> Script:
        """Return the script up to its ``count``-th liquidation."""
        ended = self.ends[:count]
        return replace(self, ends=ended, path=self.path[: ended[-1].tick + 1]) if len(ended) < len(self.ends) else self

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
    begun = Script(seed, tuple(specs), kinds, path, tuple(_in_motion(seed, len(path))))
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


def _in_motion(seed: int, ticks: int) -> Iterator[bool]:
    """Yield of each tick whether the venues report while prices move; in the first stretch they do not."""
    rng = random.Random(f"in motion:{seed}")
    moving = [False, *(rng.random() < IN_MOTION for _ in range(ticks // STRETCH))]
    return (moving[tick // STRETCH] for tick in range(ticks))


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
        tier = revalue.tier_of(contract, size, price, mode)
        leverage = min(Decimal(lever or self.rng.choice((3, 5, 8, 10))), tier.max_leverage)
        return Opening(symbol, side or self.side(), mode, size, leverage)

    def side(self) -> Side:
        """Return long more often than short, as accounts lean."""
        return "long" if self.rng.random() < 0.65 else "short"

    def spec(
        self, mode: str, openings: Iterable[Opening], cash: Mapping[str, str], *, hedge: bool = False
    ) -> AccountSpec:
        """Return an account, not named yet; a purse of 0 is given money later."""
        money = {purse: Decimal(amount) for purse, amount in cash.items()}
        return AccountSpec("", self.venue, mode, hedge, money, tuple(openings), {})


_MODE = {"okx": "futures", "bybit": "cross", "hyperliquid": "standard", "aster": "single"}
_SETTLE = {"okx": "USDT", "bybit": "USDT", "hyperliquid": "USDC", "aster": "USDT"}


def _money(draw: _Draw, amount: str = "0") -> dict[str, str]:
    return {"" if draw.venue == "hyperliquid" else _SETTLE[draw.venue]: amount}


def _cross(draw: _Draw) -> AccountSpec:
    """Five symbols or more, longs and shorts, one pool."""
    symbols = draw.symbols(_SETTLE[draw.venue], draw.rng.randint(5, 7))
    return draw.spec(_MODE[draw.venue], [draw.opening(symbol) for symbol in symbols], _money(draw))


def _hedge(draw: _Draw) -> AccountSpec:
    """Both legs of one symbol or two, of unlike sizes, and one leg of another."""
    symbols = draw.symbols(_SETTLE[draw.venue], draw.rng.randint(2, 3))
    sides: tuple[Side, Side] = ("long", "short")
    legs = [
        draw.opening(symbol, side=side, usd=draw.rng.uniform(*bounds))
        for symbol in symbols[:-1]
        for side, bounds in zip(draw.rng.sample(sides, 2), ((50_000, 90_000), (10_000, 30_000)), strict=True)
    ]
    return draw.spec(_MODE[draw.venue], [*legs, draw.opening(symbols[-1])], _money(draw), hedge=True)


def _inverse(draw: _Draw) -> AccountSpec:
    """Inverse contracts of a coin, backed by that coin: at Bybit in the pool of dollars, at OKX in one of the coin."""
    side, usd = draw.side(), draw.rng.uniform(30_000, 120_000)
    if draw.venue == "okx":
        future = next(c.symbol for c in draw.world.listed("okx") if c.kind == "future" and c.inverse)
        openings = [draw.opening("BTC-USD-SWAP", side=side, usd=usd), draw.opening(future, usd=usd / 3)]
    else:
        openings = [draw.opening("BTCUSD", side=side, usd=usd), draw.opening("SOLUSDT", usd=usd / 4)]
    return draw.spec(_MODE[draw.venue], openings, {"BTC": "0"} if draw.venue == "okx" else {"BTC": "0", "USDT": "500"})


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
    return draw.spec(mode, openings, {"USDT": "0", coin: f"{amount:.4f}"})


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
    return draw.spec(_MODE[draw.venue], [*openings, draw.opening(second, usd=usd / 20)], _money(draw))


def _isolated(draw: _Draw) -> AccountSpec:
    """Two positions with margin of their own."""
    mode = "isolated" if draw.venue == "bybit" else _MODE[draw.venue]
    levers = [draw.rng.choice((8, 10, 12, 15)) for _ in range(2)]
    symbols = draw.symbols(_SETTLE[draw.venue], 2)
    openings = [draw.opening(s, "isolated", lever=lever) for s, lever in zip(symbols, levers, strict=True)]
    return draw.spec(mode, openings, _money(draw, "40000"))


def _dex(draw: _Draw) -> AccountSpec:
    """A pool of a builder's dex."""
    openings = [draw.opening(symbol) for symbol in draw.symbols("USDC", 3, dex="xyz")]
    return draw.spec("standard", openings, {"": "1000", "xyz": "0"})


def _unified(draw: _Draw) -> AccountSpec:
    """One spot balance behind the positions of two dexes."""
    symbols = [*draw.symbols("USDC", 3), *draw.symbols("USDC", 2, dex="xyz")]
    spec = draw.spec("unified", [draw.opening(symbol) for symbol in symbols], {"": "0", "xyz": "0"})
    return replace(spec, spot={"USDC": Decimal(0)})


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
    ("hyperliquid", "unified"): _unified,
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
    """Yield the accounts with so much money that their cross pool is spent at a drawn tick, or never."""
    world = begun.world()
    states = [world.scaled({})]
    for moves in begun.path:
        world.move(moves)
        states.append(world.scaled({}))
    for spec in begun.roster:
        account = world.account(spec.name)
        if any(opening.mode == "isolated" for opening in spec.openings):
            yield spec
            continue
        needed = [_needed(state, account) for state in states]
        yield _with(spec, _drawn(rng, needed, safe=spec.name.endswith("-safe")).quantize(Decimal("0.000001")))


def _with(one: Funded, amount: Decimal) -> Funded:
    """Return an account with more money in its first purse; in a unified one that is the spot balance."""
    if one.mode == "unified":
        return replace(one, spot={**one.spot, "USDC": one.spot["USDC"] + amount})
    purse = list(one.cash)[-1] if one.venue == "hyperliquid" else next(iter(one.cash))
    return replace(one, cash={**one.cash, purse: one.cash[purse] + amount})


def _needed(state: State, account: Account) -> Decimal:
    """Return with how much more money the cross pool would be just spent; 0 where it needs none. Halves the gap, regula falsi."""

    def spare(amount: Decimal) -> Decimal:
        pool = next(pool for pool in state.pools(_with(account, amount)) if pool.positions)
        return pool.equity - pool.requirement

    low, below = Decimal(0), spare(Decimal(0))
    if below >= 0:
        return low
    high, above = Decimal(1), spare(Decimal(1))
    while above < 0:
        low, below, high = high, above, high * 8
        above = spare(high)
    while high - low > high * _EXACT:
        middle = low - below * (high - low) / (above - below)
        found = spare(middle)
        if found < 0:
            low, below, above = middle, found, above / 2
        elif found > 0:
            high, above, below = middle, found, below / 2
        else:
            return middle
    return high


def _drawn(rng: random.Random, needed: list[Decimal], *, safe: bool) -> Decimal:
    """Return money with which the pool is first spent at a drawn new high of what it needs or, to be safe, only just never."""
    highs = [tick for tick in range(4, len(needed)) if needed[tick] > max(needed[:tick])]
    if safe or not highs:
        return max(needed) * Decimal(f"{rng.uniform(1.1, 2):.4f}")
    tick = highs[int(len(highs) * rng.random())]
    below = max(needed[:tick])
    return below + (needed[tick] - below) * Decimal(f"{rng.uniform(0.05, 0.95):.4f}")
