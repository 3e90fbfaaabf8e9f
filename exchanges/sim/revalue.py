"""Full revaluation in Decimal: what a position is worth and what it must keep, from size, entry, mark and tier table.

Pure functions over the catalog. Shared by the world (who is liquidated) and the fronts (which figures a venue reports).
Formulas: OKX "Introduction to isolated/cross margin mode", Bybit "The New Margin Calculation" (September 2025),
Hyperliquid docs "Margin tiers" and "Liquidations".
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from exchanges.sim.catalog import TAKER_FEE, Contract, Mode, Side, Tier, VenueName

Leg = Literal["net", "long", "short"]


@dataclass(frozen=True)
class Key:
    """What tells the positions of one account apart: ``leg`` is ``net`` unless the account is in hedge mode."""

    symbol: str
    leg: Leg
    mode: Mode


@dataclass(frozen=True)
class Position:
    """One position as it stands; replaced, never mutated.

    Attributes:
        id: Stable for its key, also across close and reopen.
        size: In the venue's own unit, positive; 0 once closed.
        entry_price: Average entry, which profit is counted from, rounded (8 decimals, or one beyond those of prices), so that
            what a venue publishes is exact.
        margin: Isolated margin without unrealised PnL, in settle currency; None in cross.
        realized, fees, funding: Since it was opened, in settle currency; what was paid is negative.
        opened_at, updated_at: Milliseconds since the Unix epoch.
        trade_id: Of its last ordinary fill: counts per venue and symbol.
        first_entry: The average entry as if nothing had been settled meanwhile; None: nothing was.
        settled: What periodic settlements moved to the balance, in settle currency.
        liquidated: True in the state that a liquidation left behind.
    """

    id: int
    account: str
    venue: VenueName
    symbol: str
    leg: Leg
    mode: Mode
    side: Side
    size: Decimal
    entry_price: Decimal
    leverage: Decimal
    margin: Decimal | None
    opened_at: int
    updated_at: int
    trade_id: int
    realized: Decimal = Decimal(0)
    fees: Decimal = Decimal(0)
    funding: Decimal = Decimal(0)
    first_entry: Decimal | None = None
    settled: Decimal = Decimal(0)
    liquidated: bool = False

    @property
    def key(self) -> Key:
        return Key(self.symbol, self.leg, self.mode)

    @property
    def sign(self) -> int:
        """1 for long, -1 for short."""
        return 1 if self.side == "long" else -1


def notional(contract: Contract, size: Decimal, price: Decimal) -> Decimal:
    """Return the value of ``size`` at ``price`` in settle currency."""
    units = size * contract.contract_size
    return units / price if contract.inverse else units * price


def unrealized_pnl(contract: Contract, position: Position, mark: Decimal) -> Decimal:
    """Return unrealised PnL in settle currency: linear ``s·q·(M - A)``, inverse ``s·q·(1/A - 1/M)``."""
    if not position.size:
        return Decimal(0)
    units = position.sign * position.size * contract.contract_size
    if contract.inverse:
        return units * (1 / position.entry_price - 1 / mark)
    return units * (mark - position.entry_price)


def tiers_for(contract: Contract, mode: Mode) -> tuple[Tier, ...]:
    """Return the brackets of a contract's cross or isolated positions."""
    return (contract.isolated_tiers if mode == "isolated" else ()) or contract.tiers


def tier_of(contract: Contract, size: Decimal, price: Decimal, mode: Mode = "cross") -> Tier:
    """Return the bracket of ``size`` at ``price``: OKX counts contracts, the others notional."""
    measure = size if contract.venue == "okx" else notional(contract, size, price)
    return [tier for tier in tiers_for(contract, mode) if tier.lower <= measure][-1]


def maintenance(contract: Contract, position: Position, mark: Decimal) -> Decimal:
    """Return maintenance margin in settle currency, without the fee of closing: ``notional·rate - deduction``."""
    tier = tier_of(contract, position.size, mark, position.mode)
    return notional(contract, position.size, mark) * tier.rate - tier.deduction


def closing_fee(contract: Contract, position: Position, mark: Decimal) -> Decimal:
    """Return what the venue adds to maintenance for closing: OKX at mark, Bybit at the bankruptcy price, others none."""
    fee = TAKER_FEE[contract.venue]
    if contract.kind == "option":
        return Decimal(0)
    if contract.venue == "okx":
        return notional(contract, position.size, mark) * fee
    if contract.venue == "bybit":
        # At the bankruptcy price the value of an inverse long is more than at its entry, of a linear one less.
        towards = -position.sign if contract.inverse else position.sign
        return notional(contract, position.size, position.entry_price) * (1 - towards / position.leverage) * fee
    return Decimal(0)


def initial_margin(contract: Contract, position: Position, price: Decimal) -> Decimal:
    """Return notional at ``price`` divided by leverage, in settle currency."""
    return notional(contract, position.size, price) / position.leverage


@dataclass(frozen=True)
class Pool:
    """What is liquidated together, in ``ccy``: liquidation when ``equity <= requirement`` (maintenance and closing fees)."""

    name: str
    ccy: str
    equity: Decimal
    requirement: Decimal
    positions: tuple[Position, ...]
