"""Cases of what positions are held to and backed by: tiers of a contract, collateral of a currency, pools of a unified account."""

from __future__ import annotations

from decimal import Decimal
from itertools import pairwise

from exchanges.events import (
    AccountMode,
    BalanceState,
    CoinBalance,
    CollateralTiers,
    Instrument,
    MarginTier,
    MarginTiers,
    PoolState,
)
from exchanges.sim import haircuts
from exchanges.sim.revalue import Pool, Position
from tests.conformance.acts import STABLE, found, main, of, symbols
from tests.conformance.case import scene
from tests.conformance.stage import Scene

CENT = Decimal("0.01")

# --- Tiers of a contract ---------------------------------------------------------------------------------------------


@scene("A position is held to what the tiers say that were told for its contract, its margin mode and its account")
async def tiers_say_what_a_position_is_held_to(at: Scene) -> None:
    at.want(symbols(at), STABLE)
    mine = [p for account in at.specs for p in at.world.positions(account) if not _option(at, p)]

    def untold() -> list[str]:
        return [f"{p.account} {p.symbol} {p.mode}" for p in mine if _tiers(at, p) is None]

    await at.eventually(lambda: not untold(), lambda: f"tiers of {untold()}")
    for position in mine:
        told = _tiers(at, position)
        assert told is not None
        notional = at.world.notional(position)
        tier = _reached(told.tiers, position.size if told.unit == "contracts" else notional)
        need = notional * Decimal(tier.rate) - Decimal(tier.deduction)
        real = at.world.maintenance(position)
        assert abs(need - real) <= real * Decimal("1e-6"), f"{position.account} {position.symbol}: {tier}"


def _option(at: Scene, position: Position) -> bool:
    return at.world.contract(position.venue, position.symbol).kind == "option"


def _tiers(at: Scene, position: Position) -> MarginTiers | None:
    streams = [*at.public.values(), at.private[position.account]]
    listed = [i for s in streams for i in s.of(Instrument) if i.symbol == position.symbol]
    if not listed:
        return None
    told = [
        tiers
        for stream in streams
        for tiers in stream.of(MarginTiers)
        if tiers.key == listed[-1].tiers_key
        and tiers.margin_mode in (None, position.mode)
        and tiers.account in (None, position.account)
    ]
    return told[-1] if told else None


def _reached(tiers: tuple[MarginTier, ...], amount: Decimal) -> MarginTier:
    return [tier for tier in tiers if Decimal(tier.lower) <= amount][-1]


# --- Collateral of a currency ----------------------------------------------------------------------------------------


@scene(
    "What the coins of an account count for, by the haircuts told, is the equity of its pool", needs="collateral_tiers"
)
async def coins_count_by_their_haircuts(at: Scene) -> None:
    pools = {
        account: pool
        for account in at.specs
        if at.world.account(account).mode in {"multi", "cross"}
        for pool in at.world.pools(at.world.account(account))
        if pool.ccy == "USD"
    }
    assert pools, "nobody backs positions by coins"
    at.want(symbols(at), [ccy for account in pools for ccy in at.world.account(account).cash])
    beyond: list[CoinBalance] = []
    for account, pool in pools.items():
        held = _balances(found(await at.ask(at.askers[account].state)).events)
        (told,) = [p for state in held for p in state.pools if p.from_coins]
        coins = [c for state in held for c in state.coins if c.cash is not None and Decimal(c.cash)]
        await at.eventually(lambda coins=coins: all(_haircuts(at, c.ccy) for c in coins), f"haircuts of {account}")  # type: ignore[misc]
        assert abs(sum(_worth(at, told, coin, pool) for coin in coins) - pool.equity) < CENT, account
        beyond += [c for c in coins if Decimal(c.cash or 0) > _second(at, c.ccy)]
    assert beyond, "no account reaches a second step"


def _balances(events: object) -> list[BalanceState]:
    assert isinstance(events, (list, tuple))
    return [event for event in events if isinstance(event, BalanceState)]


def _haircuts(at: Scene, ccy: str) -> list[CollateralTiers]:
    return [tiers for stream in at.public.values() for tiers in stream.of(CollateralTiers) if tiers.ccy == ccy]


def _second(at: Scene, ccy: str) -> Decimal:
    tiers = _haircuts(at, ccy)[-1].tiers
    return Decimal(tiers[1].lower) if len(tiers) > 1 else Decimal("Infinity")


def _worth(at: Scene, told: PoolState, coin: CoinBalance, pool: Pool) -> Decimal:
    """Return what a coin and the profit in it count for, in dollars: by what was told, at the world's prices."""
    tiers = _haircuts(at, coin.ccy)[-1]
    steps = [(Decimal(tier.lower), Decimal(tier.rate)) for tier in tiers.tiers]
    assert tuple(steps[: len(haircuts.steps_of(at.venue.name, coin.ccy))]) == haircuts.steps_of(at.venue.name, coin.ccy)  # type: ignore[arg-type]
    assert tiers.marginal
    settled = [p for p in pool.positions if at.world.contract(p.venue, p.symbol).settle == coin.ccy]
    counting = [p for p in settled if told.options_count or not _option(at, p)]
    profit = sum((at.world.worth(p) for p in counting), Decimal(0))
    amount = Decimal(coin.cash or 0) + (profit if told.pnl_discounted else 0)
    if coin.collateral is False:
        steps = [(Decimal(0), Decimal(0))]
    counts = amount if amount <= 0 else _marginal(steps, amount)
    return (counts + (0 if told.pnl_discounted else profit)) * at.world.usd(coin.ccy)


def _marginal(steps: list[tuple[Decimal, Decimal]], amount: Decimal) -> Decimal:
    ends = [*steps, (Decimal("Infinity"), Decimal(0))]
    return sum(
        ((min(amount, upper) - lower) * rate for (lower, rate), (upper, _) in pairwise(ends) if amount > lower),
        Decimal(0),
    )


# --- Unified accounts ------------------------------------------------------------------------------------------------


@scene("The pools of a unified account are one per collateral token, and can be rebuilt", needs="unified_accounts")
async def unified_accounts_are_pools_per_token(at: Scene) -> None:
    account = main(at)
    owner = at.world.account(account)
    before = owner.mode
    at.now()
    at.world.modes.switch_account(account, "unified")
    try:
        asked = found(await at.ask(at.asker(at.specs[account]).state))
        (mode,) = of(asked, AccountMode)[-1:]
        assert mode.computable
        told = {pool.pool: pool for state in _balances(asked.events) for pool in state.pools}
        real = [pool for pool in at.world.pools(owner) if pool.name.startswith("unified:")]
        assert real
        for pool in real:
            cash = told[pool.name].cash
            assert cash is not None, pool.name
            profit = sum((at.world.unrealized_pnl(p) for p in pool.positions), Decimal(0))
            assert abs(Decimal(cash) + profit - pool.equity) < CENT, pool.name
            assert told[pool.name].ccy == pool.ccy
        assert len([name for name in told if name.startswith("unified:")]) == len(real)
    finally:
        at.now()
        at.world.modes.switch_account(account, before)
