"""What must come of a path of prices: when each pool is spent and how far each underlying was from it, fully revalued in Decimal.

Owns the truth that a run is compared with. Only the simulator's own tables and figures are used, no closed form of any price. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal

from exchanges.sim import revalue
from exchanges.sim.catalog import Tier, VenueName
from exchanges.sim.revalue import Key, Pool, Position
from exchanges.sim.state import Account, State
from exchanges.sim.world import World

Moves = Mapping[str, Decimal]

_FIRST_STEP, _GROWTH, _LOWEST, _HIGHEST = Decimal("0.002"), Decimal("1.6"), Decimal("0.4"), Decimal("1.7")
_SURE = Decimal("1e-12")


@dataclass(frozen=True)
class Held:
    """A position of a pool that ended.

    Attributes:
        before, after: The true distance of its underlying one tick before, and at the end (then at most 0); None: no price between
            0.4 and 1.7 times the present one ends the pool where this underlying moves alone.
        crossed: Whether it was in another margin tier when the path began.
    """

    position: Position
    before: Decimal | None
    after: Decimal | None
    crossed: bool


@dataclass(frozen=True)
class End:
    """A liquidation as it must come: with the marks of ``tick`` the pool's equity no longer meets what it requires."""

    account: str
    venue: VenueName
    pool: str
    tick: int
    equity: Decimal
    requirement: Decimal
    held: tuple[Held, ...]


def ends(world: World, path: Iterable[Moves]) -> Iterator[End]:
    """Play a path and yield every liquidation; the world is used up."""
    tiers: dict[tuple[str, Key], Tier] = {
        (name, position.key): _tier(world, position) for name in world.accounts for position in world.positions(name)
    }
    for tick, moves in enumerate(path):
        before = world.scaled({})
        world.move(moves)
        for account, pool in world.due():
            held = tuple(
                Held(
                    position,
                    distance(before, account, position),
                    distance(world, account, position),
                    tiers[account.name, position.key] != _tier(world, position),
                )
                for position in pool.positions
            )
            yield End(account.name, account.venue, pool.name, tick, pool.equity, pool.requirement, held)
        world.liquidate_due()


def distance(state: State, account: Account, position: Position) -> Decimal | None:
    """Return how far the underlying of a position may move, alone, until the position's pool is spent: a fraction of its price.

    Not above 0: it is spent, and the underlying would have to move so far for it not to be. The side on which the end is nearer
    counts. None: it is nowhere between 0.4 and 1.7 times the present price.
    """
    base = state.contracts[position.venue, position.symbol].base

    def spare(factor: Decimal) -> Decimal:
        pool = pool_of(state.scaled({base: factor}), account, position)
        return pool.equity - pool.requirement

    here = spare(Decimal(1))
    roots = [root for root in (_root(spare, here, up=up) for up in (False, True)) if root is not None]
    if not roots:
        return None
    nearest = min(abs(root - 1) for root in roots)
    return nearest if here > 0 else -nearest


def nearest_between(before: State, moves: Moves, after: State, account: Account, position: Position) -> Decimal | None:
    """Return the least true distance while the marks of a tick come one after the other, in whatever order.

    Between the two ends stands the worst of all orders: what harms the pool has come, what helps it has not.
    """
    here = pool_of(before, account, position)
    harm = {}
    for base, fraction in moves.items():
        moved = pool_of(before.scaled({base: 1 + fraction}), account, position)
        if moved.equity - moved.requirement < here.equity - here.requirement:
            harm[base] = 1 + fraction
    found = [distance(state, account, position) for state in (before, before.scaled(harm), after)]
    return min((one for one in found if one is not None), default=None)


def pool_of(state: State, account: Account, position: Position) -> Pool:
    """Return the pool that a position is liquidated with."""
    return next(pool for pool in state.pools(account) if position in pool.positions)


def _root(spare: Callable[[Decimal], Decimal], here: Decimal, *, up: bool) -> Decimal | None:
    """Return the nearest factor above (below) 1 at which ``spare`` changes its sign: widening steps, then halving."""
    near, step = Decimal(1), _FIRST_STEP
    while _LOWEST < near < _HIGHEST:
        far = near + step if up else near - step
        if (spare(far) > 0) != (here > 0):
            break
        near, step = far, step * _GROWTH
    else:
        return None
    while abs(far - near) > _SURE:
        middle = (near + far) / 2
        if (spare(middle) > 0) == (here > 0):
            near = middle
        else:
            far = middle
    return far


def _tier(state: State, position: Position) -> Tier:
    contract = state.contract(position.venue, position.symbol)
    return revalue.tier_of(contract, position.size, state.mark(position.venue, position.symbol), position.mode)
