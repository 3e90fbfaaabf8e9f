"""The simulated world: accounts, positions, balances and marks, moving by themselves, deterministic from a seed.

Owns what is true; the fronts only report it. Pure: time is an argument, randomness comes from the seed, nothing here does
I/O or waits. The same seed and the same moments give the same world, however finely ``step`` cuts time up.

A front reads three ways:
    - state: ``accounts``, ``positions``, ``mark``, ``index``, ``usd``, ``pools``;
    - what changed: ``events_since(cursor)``, starting from ``cursor()``;
    - truth, as the control port shows it: ``truth``.
"""

from __future__ import annotations

import hashlib
import random
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any, Literal

from exchanges.sim import revalue
from exchanges.sim.catalog import (
    ACCOUNTS,
    COLLATERAL_RATE,
    CONTRACTS,
    MARK_EVERY_MS,
    TAKER_FEE,
    AccountSpec,
    Contract,
    Opening,
    Side,
    VenueName,
)
from exchanges.sim.exact import plain, round_to
from exchanges.sim.marks import Prices
from exchanges.sim.revalue import Key, Leg, Pool, Position

QUANTUM_MS = 100
LIQUIDATION_EVERY_MS = 500
# A machine that slept does not get its hours back: older time is skipped.
CATCH_UP_MS = 10_000
# Events that a front has not read; fronts read every few milliseconds, so this is minutes.
LOG_SIZE = 100_000
MEAN_TRADE_MS = 3_000.0
_ENTRY_STEP = Decimal("0.00000001")
_CASH_STEP = Decimal("0.000000000001")

Cause = Literal["opened", "trade", "closed", "liquidated", "fee"]


@dataclass(frozen=True)
class Trade:
    """The fill behind a change: ``size`` in the venue's unit, ``fee`` and ``pnl`` effects on the balance in settle currency."""

    id: int
    buy: bool
    size: Decimal
    price: Decimal
    fee: Decimal
    pnl: Decimal


@dataclass(frozen=True)
class PositionChanged:
    """A position changed; ``position`` is how it stands now (``size`` 0: closed), ``was`` its side and size before."""

    at: int
    position: Position
    cause: Cause
    trade: Trade | None
    was: Decimal

    @property
    def account(self) -> str:
        """The account it happened to."""
        return self.position.account


@dataclass(frozen=True)
class BalanceChanged:
    """The money of one purse changed; ``cash`` is what is there now."""

    at: int
    account: str
    purse: str
    cash: Decimal
    cause: Cause


@dataclass(frozen=True)
class MarkChanged:
    """A venue computed another mark."""

    at: int
    venue: VenueName
    symbol: str
    mark: Decimal


WorldEvent = PositionChanged | BalanceChanged | MarkChanged


@dataclass
class Account:
    """One account: who it is, what it may log in with, and what it holds.

    Attributes:
        mode, hedge: See ``catalog.AccountSpec``.
        uid: The venue's number for the user.
        key, secret, passphrase: Made from the seed (Bybit uses no passphrase; Hyperliquid none of them).
        address: Hyperliquid's 0x address, lower-case.
        cash: Mark-independent money by purse (currency; dex on Hyperliquid), isolated margins included.
        spot: Hyperliquid's separate spot balances; nothing changes them.
        positions: Open ones by key. Only the world writes.
        liquidated: The last state of positions that were liquidated and not opened again.
        cash_at: When each purse last changed.
    """

    name: str
    venue: VenueName
    mode: str
    hedge: bool
    uid: int
    key: str
    secret: str
    passphrase: str
    address: str
    cash: dict[str, Decimal]
    spot: dict[str, Decimal]
    positions: dict[Key, Position]
    liquidated: dict[Key, Position]
    cash_at: dict[str, int]

    def __repr__(self) -> str:
        return f"Account({self.name!r}, {self.venue!r}, positions={len(self.positions)})"

    def isolated_margin(self, symbols: set[str]) -> Decimal:
        """Return what isolated positions in those symbols have locked up."""
        return sum((p.margin for p in self.positions.values() if p.margin and p.symbol in symbols), Decimal(0))


class UnknownName(LookupError):
    """A request named something that the world does not have; the message lists what it has."""


class Impossible(ValueError):
    """A request names known things but cannot be done; the message says why."""


class World:
    """Everything that is true. ``step`` moves time; ``open_position`` and ``close_position`` act by hand.

    Args:
        seed: Every price, trade and secret follows from it.
        now_ms: When the world begins, milliseconds since the Unix epoch.
    """

    def __init__(self, seed: int, now_ms: int) -> None:
        self.seed = seed
        self.now_ms = now_ms
        self.paused = False
        self.contracts: dict[tuple[VenueName, str], Contract] = {(c.venue, c.symbol): c for c in CONTRACTS}
        self.accounts: dict[str, Account] = {}
        self._began = now_ms
        self._next = now_ms + QUANTUM_MS
        self._walk = random.Random(f"{seed}:prices")
        self._whim = random.Random(f"{seed}:trades")
        self._prices = Prices(self._walk)
        self._marks = {key: self._prices.mark(contract) for key, contract in self.contracts.items()}
        self._mark_at = dict.fromkeys(self.contracts, now_ms)
        self._trade_ids: dict[tuple[VenueName, str], int] = {}
        self._ids: dict[tuple[str, Key], int] = {}
        self._log: deque[WorldEvent] = deque(maxlen=LOG_SIZE)
        self._logged = 0
        self._specs = {spec.name: spec for spec in ACCOUNTS}
        for spec in ACCOUNTS:
            self._found(spec)
        self._trade_at = now_ms + self._pause_before_trade()
        self._log.clear()

    # --- State -----------------------------------------------------------------------------------------------------

    def contract(self, venue: VenueName, symbol: str) -> Contract:
        """Return a listed contract. Raises UnknownName, listing the venue's symbols."""
        try:
            return self.contracts[venue, symbol]
        except KeyError:
            known = ", ".join(c.symbol for c in self.listed(venue))
            raise UnknownName(f"{venue} lists no {symbol!r}: it has {known}") from None

    def listed(self, venue: VenueName) -> list[Contract]:
        """Return the venue's contracts, in the order they were listed."""
        return [contract for (name, _), contract in self.contracts.items() if name == venue]

    def account(self, name: str) -> Account:
        """Return an account by name. Raises UnknownName, listing all."""
        try:
            return self.accounts[name]
        except KeyError:
            raise UnknownName(f"there is no account {name!r}: there are {', '.join(self.accounts)}") from None

    def accounts_of(self, venue: VenueName) -> list[Account]:
        """Return the venue's accounts."""
        return [account for account in self.accounts.values() if account.venue == venue]

    def positions(self, account: str) -> list[Position]:
        """Return the open positions of an account, oldest first."""
        return sorted(self.accounts[account].positions.values(), key=lambda position: position.id)

    def mark(self, venue: VenueName, symbol: str) -> Decimal:
        """Return the venue's mark as it stands."""
        return self._marks[venue, symbol]

    def mark_at(self, venue: VenueName, symbol: str) -> int:
        """Return when the venue's mark last changed."""
        return self._mark_at[venue, symbol]

    def index(self, venue: VenueName, symbol: str) -> Decimal:
        """Return the index price; it moves with the underlying, without the venue's cadence (still while paused)."""
        return self._prices.index(self.contracts[venue, symbol])

    def usd(self, ccy: str) -> Decimal:
        """Return the dollar price of a coin (BTC, USDT …). Raises KeyError for an unknown one."""
        return self._prices.usd(ccy)

    def unrealized_pnl(self, position: Position) -> Decimal:
        """Return a position's unrealised PnL at the venue's mark, in settle currency."""
        contract = self.contracts[position.venue, position.symbol]
        return revalue.unrealized_pnl(contract, position, self.mark(position.venue, position.symbol))

    def maintenance(self, position: Position) -> Decimal:
        """Return a position's maintenance margin at the mark, without closing fee, in settle currency."""
        contract = self.contracts[position.venue, position.symbol]
        return revalue.maintenance(contract, position, self.mark(position.venue, position.symbol))

    def closing_fee(self, position: Position) -> Decimal:
        """Return what the venue counts for closing a position, in settle currency."""
        contract = self.contracts[position.venue, position.symbol]
        return revalue.closing_fee(contract, position, self.mark(position.venue, position.symbol))

    def notional(self, position: Position) -> Decimal:
        """Return a position's value at the mark, in settle currency."""
        contract = self.contracts[position.venue, position.symbol]
        return revalue.notional(contract, position.size, self.mark(position.venue, position.symbol))

    def cross_cash(self, account: Account, purse: str) -> Decimal:
        """Return what of a purse backs cross positions: its cash without isolated margins."""
        held = {c.symbol for c in self.listed(account.venue) if c.purse == purse}
        return account.cash.get(purse, Decimal(0)) - account.isolated_margin(held)

    def pools(self, account: Account) -> list[Pool]:
        """Return what is liquidated together, fully revalued: each isolated position, then the cross pools."""
        open_ = self.positions(account.name)
        pools = [self._isolated_pool(p) for p in open_ if p.mode == "isolated"]
        cross = [p for p in open_ if p.mode == "cross"]
        if account.mode in {"multi", "cross"}:
            return [*pools, self._dollar_pool(account, cross)]
        for purse in account.cash:
            mine = [p for p in cross if self.contracts[p.venue, p.symbol].purse == purse]
            pools.append(self._purse_pool(account, purse, mine))
        return pools

    # --- What changed ----------------------------------------------------------------------------------------------

    def cursor(self) -> int:
        """Return the place from which ``events_since`` shows what happens from now on."""
        return self._logged

    def events_since(self, cursor: int) -> tuple[list[WorldEvent], int]:
        """Return what happened since ``cursor``, in order, and the next cursor.

        Raises:
            LookupError: The cursor is older than the log remembers (``LOG_SIZE`` events).
        """
        count = self._logged - cursor
        if count > len(self._log):
            raise LookupError(f"cursor {cursor} is {count} events old; the log keeps {len(self._log)}: start anew")
        return [self._log[i] for i in range(len(self._log) - count, len(self._log))], self._logged

    def truth(self) -> dict[str, Any]:
        """Return all of it as JSON-ready data with decimals as strings: the answer of ``GET /truth``."""
        marks: dict[str, dict[str, str]] = {}
        for (venue, symbol), mark in self._marks.items():
            marks.setdefault(venue, {})[symbol] = plain(mark)
        return {
            "at": self.now_ms,
            "seed": self.seed,
            "paused": self.paused,
            "positions": [self._true_position(p) for account in self.accounts.values() for p in self._told(account)],
            "balances": [row for account in self.accounts.values() for row in self._true_balances(account)],
            "marks": marks,
        }

    # --- Time ------------------------------------------------------------------------------------------------------

    def step(self, now_ms: int) -> None:
        """Let time pass until ``now_ms``: marks move, somebody trades, whoever is out of margin is liquidated."""
        self.now_ms = max(self.now_ms, now_ms)
        if self.paused or self.now_ms - self._next > CATCH_UP_MS:
            self._skip()
        while self._next <= self.now_ms:
            self._quantum(self._next)
            self._next += QUANTUM_MS

    def pause(self) -> None:
        """Stand still: no mark moves and nobody trades until ``resume``; hands still act."""
        self.paused = True

    def resume(self) -> None:
        """Go on from here; the time in between never happened."""
        if self.paused:
            self._skip()
            self.paused = False

    def shift(self, base: str, fraction: Decimal) -> None:
        """Move an underlying for good, at once on every venue. Raises UnknownName."""
        if base not in self._prices.names:
            raise UnknownName(f"there is no underlying {base!r}: there are {', '.join(self._prices.names)}")
        if fraction <= -1:
            raise Impossible(f"a price cannot move by {fraction}: at most -0.99")
        self._prices.shift(base, fraction)
        for key in self.contracts:
            self._remark(key, self.now_ms)
        self._liquidate_all(self.now_ms)

    # --- By hand, and by whim --------------------------------------------------------------------------------------

    def open_position(
        self, account: str, symbol: str, side: Side | None = None, size: Decimal | None = None
    ) -> list[Position]:
        """Open or add to a position at the mark; side, size, mode and leverage default to the account's plan for the symbol.

        Raises:
            UnknownName: No such account or symbol.
            Impossible: The size is not a positive multiple of the lot, or the account has no money in that currency.
        """
        owner = self.account(account)
        contract = self.contract(owner.venue, symbol)
        plan = self._plan(owner, contract, side)
        wanted = plan.size if size is None else size
        if wanted <= 0 or wanted % contract.lot:
            raise Impossible(f"{symbol} trades in positive multiples of {contract.lot}, not {wanted}")
        if contract.purse not in owner.cash:
            raise Impossible(f"{account} holds no {contract.settle} to back {symbol}")
        key = Key(symbol, plan.side if owner.hedge else "net", plan.mode)
        standing = owner.positions.get(key)
        if standing is not None and standing.side != plan.side:
            raise Impossible(f"{account} is {standing.side} {symbol}: close it first, then open {plan.side}")
        self._increase(owner, key, plan, wanted, self.now_ms)
        return [owner.positions[key]]

    def close_position(self, account: str, symbol: str, leg: Leg | None = None) -> list[Position]:
        """Close every position of an account in a symbol (one leg of it) at the mark; returns them as they were.

        Raises:
            UnknownName: No such account, or it has no open position there (the message lists what is open).
        """
        owner = self.account(account)
        hit = [p for p in self.positions(account) if p.symbol == symbol and leg in {None, p.leg, p.side}]
        if not hit:
            known = ", ".join(sorted({p.symbol for p in owner.positions.values()})) or "none"
            raise UnknownName(f"{account} has no open position {symbol!r}: open are {known}")
        for position in hit:
            self._reduce(owner, position, position.size, self.now_ms)
        return hit

    # --- Founding --------------------------------------------------------------------------------------------------

    def _found(self, spec: AccountSpec) -> None:
        secret = _derive(self.seed, spec.name, "secret")
        account = Account(
            name=spec.name,
            venue=spec.venue,
            mode=spec.mode,
            hedge=spec.hedge,
            uid=10**17 + int(_derive(self.seed, spec.name, "uid")[:12], 16),
            key=_derive(self.seed, spec.name, "key")[: 18 if spec.venue == "bybit" else 32],
            secret=secret[:36].upper(),
            passphrase=_derive(self.seed, spec.name, "passphrase")[:12],
            address="0x" + _derive(self.seed, spec.name, "address")[:40],
            cash=dict(spec.cash),
            spot=dict(spec.spot),
            positions={},
            liquidated={},
            cash_at=dict.fromkeys(spec.cash, self.now_ms),
        )
        self.accounts[spec.name] = account
        for opening in spec.openings:
            key = Key(opening.symbol, opening.side if spec.hedge else "net", opening.mode)
            self._increase(account, key, opening, opening.size, self.now_ms - self._whim.randrange(10**9))
            self._age(account, key)

    def _age(self, account: Account, key: Key) -> None:
        """Give a fresh position an entry as if it had been opened earlier, close enough not to be in danger."""
        position = account.positions[key]
        contract = self.contracts[position.venue, position.symbol]
        reach = min(0.03, 0.15 / float(position.leverage))
        entry = position.entry_price * Decimal(f"{1 + self._whim.uniform(-reach, reach):.6f}")
        aged = replace(position, entry_price=round_to(entry, contract.tick))
        if aged.margin is not None:
            aged = replace(aged, margin=_cash(revalue.initial_margin(contract, aged, aged.entry_price)))
        account.positions[key] = aged

    # --- One quantum of time ---------------------------------------------------------------------------------------

    def _skip(self) -> None:
        """Continue at the next whole quantum after now, as if the time before it had not passed."""
        gone = max(0, self.now_ms - self._next) // QUANTUM_MS + 1
        if self._next <= self.now_ms:
            self._next += gone * QUANTUM_MS
            self._trade_at += gone * QUANTUM_MS

    def _quantum(self, at: int) -> None:
        self._prices.walk(QUANTUM_MS)
        elapsed = at - self._began
        for key in self.contracts:
            if elapsed % MARK_EVERY_MS[key[0]] == 0:
                self._remark(key, at)
        if at >= self._trade_at:
            self._somebody_trades(at)
            self._trade_at = at + self._pause_before_trade()
        if elapsed % LIQUIDATION_EVERY_MS == 0:
            self._liquidate_all(at)

    def _remark(self, key: tuple[VenueName, str], at: int) -> None:
        mark = self._prices.mark(self.contracts[key])
        if mark != self._marks[key]:
            self._marks[key] = mark
            self._mark_at[key] = at
            self._note(MarkChanged(at, *key, mark))

    def _pause_before_trade(self) -> int:
        return int(self._whim.expovariate(1 / MEAN_TRADE_MS))

    def _somebody_trades(self, at: int) -> None:
        """Pick an account and one of its plans; sizes are drawn back to the plan, so that nothing grows without end."""
        account = self._whim.choice(list(self.accounts.values()))
        opening = self._whim.choice(self._specs[account.name].openings)
        contract = self.contracts[account.venue, opening.symbol]
        key = Key(opening.symbol, opening.side if account.hedge else "net", opening.mode)
        standing = account.positions.get(key)
        share = Decimal(self._whim.randrange(30, 100)) / 1000
        lean, coin = self._whim.random(), self._whim.random()
        if standing is None:
            if opening.comes_and_goes and key not in account.liquidated:
                self._increase(account, key, opening, opening.size, at)
            return
        if standing.side != opening.side:  # opened by hand the other way round: leave it alone
            return
        if opening.comes_and_goes and coin < 0.4:
            self._reduce(account, standing, standing.size, at)
            return
        amount = max(contract.lot, round_to(opening.size * share, contract.lot))
        if lean < float(standing.size / opening.size) - 0.5 and amount < standing.size:
            self._reduce(account, standing, amount, at)
        else:
            self._increase(account, key, opening, amount, at)

    # --- Fills -----------------------------------------------------------------------------------------------------

    def _plan(self, account: Account, contract: Contract, side: Side | None) -> Opening:
        """Return how this account would hold a symbol: as planned, else cross (isolated where the account is) at 5x."""
        for opening in self._specs[account.name].openings:
            if opening.symbol == contract.symbol and side in {None, opening.side}:
                return opening
        like = next((o for o in self._specs[account.name].openings if o.symbol == contract.symbol), None)
        mode = like.mode if like else ("isolated" if account.mode == "isolated" else "cross")
        price = self.mark(contract.venue, contract.symbol)
        one = contract.contract_size / price if contract.inverse else contract.contract_size * price
        purse_usd = self.usd(contract.settle)
        size = max(contract.lot, round_to(Decimal(1000) / (one * purse_usd), contract.lot))
        return Opening(contract.symbol, side or "long", mode, size, min(Decimal(5), contract.max_leverage))

    def _fill(self, account: Account, contract: Contract, buy: bool, size: Decimal, pnl: Decimal) -> Trade:
        key = (contract.venue, contract.symbol)
        self._trade_ids[key] = self._trade_ids.get(key, self._whim.randrange(10**5, 10**6)) + 1
        price = self._marks[key]
        fee = -_cash(revalue.notional(contract, size, price) * TAKER_FEE[account.venue])
        return Trade(self._trade_ids[key], buy, size, price, fee, pnl)

    def _increase(self, account: Account, key: Key, plan: Opening, size: Decimal, at: int) -> None:
        contract = self.contracts[account.venue, key.symbol]
        before = account.positions.get(key)
        trade = self._fill(account, contract, plan.side == "long", size, Decimal(0))
        held = before or self._blank(account, key, plan, at)
        total = held.size + size
        added = revalue.notional(contract, size, trade.price) / held.leverage
        after = replace(
            held,
            size=total,
            entry_price=_average(contract, held, size, trade.price),
            margin=None if held.margin is None else _cash(held.margin + added),
            fees=held.fees + trade.fee,
            updated_at=at,
            trade_id=trade.id,
        )
        account.positions[key] = after
        account.liquidated.pop(key, None)
        self._note(PositionChanged(at, after, "trade" if before else "opened", trade, held.size))
        self._book(account, contract.purse, trade.fee, at, "trade" if before else "opened")

    def _reduce(self, account: Account, held: Position, size: Decimal, at: int) -> None:
        contract = self.contracts[account.venue, held.symbol]
        part = replace(held, size=size)
        pnl = _cash(revalue.unrealized_pnl(contract, part, self.mark(held.venue, held.symbol)))
        trade = self._fill(account, contract, held.side == "short", size, pnl)
        left = held.size - size
        after = replace(
            held,
            size=left,
            margin=None if held.margin is None else _cash(held.margin * left / held.size),
            realized=held.realized + pnl,
            fees=held.fees + trade.fee,
            updated_at=at,
            trade_id=trade.id,
        )
        self._put(account, after)
        self._note(PositionChanged(at, after, "trade" if left else "closed", trade, held.size))
        self._book(account, contract.purse, pnl + trade.fee, at, "trade" if left else "closed")

    def _blank(self, account: Account, key: Key, plan: Opening, at: int) -> Position:
        number = self._ids.setdefault((account.name, key), 10**17 * 3 + len(self._ids) * 7_919 + 1)
        margin = Decimal(0) if key.mode == "isolated" else None
        return Position(
            id=number, account=account.name, venue=account.venue, symbol=key.symbol, leg=key.leg, mode=key.mode,
            side=plan.side, size=Decimal(0), entry_price=Decimal(0), leverage=plan.leverage, margin=margin,
            opened_at=at, updated_at=at, trade_id=0,
        )  # fmt: skip

    def _put(self, account: Account, position: Position) -> None:
        if position.size:
            account.positions[position.key] = position
        else:
            account.positions.pop(position.key, None)

    def _book(self, account: Account, purse: str, amount: Decimal, at: int, cause: Cause) -> None:
        account.cash[purse] = _cash(account.cash[purse] + amount)
        account.cash_at[purse] = at
        self._note(BalanceChanged(at, account.name, purse, account.cash[purse], cause))

    def _note(self, event: WorldEvent) -> None:
        self._log.append(event)
        self._logged += 1

    # --- Pools and liquidation -------------------------------------------------------------------------------------

    def _isolated_pool(self, position: Position) -> Pool:
        contract = self.contracts[position.venue, position.symbol]
        assert position.margin is not None
        # Bybit counts the closing fee in the margin and in the requirement: it cancels out.
        fee = Decimal(0) if position.venue == "bybit" else self.closing_fee(position)
        equity = position.margin + self.unrealized_pnl(position)
        return Pool(f"iso:{position.id}", contract.settle, equity, self.maintenance(position) + fee, (position,))

    def _purse_pool(self, account: Account, purse: str, cross: list[Position]) -> Pool:
        equity = self.cross_cash(account, purse) + sum((self.unrealized_pnl(p) for p in cross), Decimal(0))
        need = sum((self.maintenance(p) + self.closing_fee(p) for p in cross), Decimal(0))
        ccy = "USDC" if account.venue == "hyperliquid" else purse
        return Pool(purse, ccy, equity, need, tuple(cross))

    def _dollar_pool(self, account: Account, cross: list[Position]) -> Pool:
        equity, need = Decimal(0), Decimal(0)
        for ccy in account.cash:
            mine = [p for p in cross if self.contracts[p.venue, p.symbol].settle == ccy]
            coins = self.cross_cash(account, ccy) + sum((self.unrealized_pnl(p) for p in mine), Decimal(0))
            rate = COLLATERAL_RATE.get(ccy, Decimal(1)) if coins > 0 else Decimal(1)
            equity += coins * rate * self.usd(ccy)
            need += sum((self.maintenance(p) + self.closing_fee(p) for p in mine), Decimal(0)) * self.usd(ccy)
        return Pool("USD", "USD", equity, need, tuple(cross))

    def _liquidate_all(self, at: int) -> None:
        for account in self.accounts.values():
            for pool in self.pools(account):
                if pool.positions and pool.equity <= pool.requirement:
                    self._liquidate(account, pool, at)

    def _liquidate(self, account: Account, pool: Pool, at: int) -> None:
        """Take a pool's positions over at the mark; its maintenance is lost too, but never more than the pool has."""
        for held in pool.positions:
            contract = self.contracts[held.venue, held.symbol]
            pnl, penalty = _cash(self.unrealized_pnl(held)), _cash(self.maintenance(held) + self.closing_fee(held))
            effect = pnl - penalty
            after = replace(
                held, size=Decimal(0), margin=None if held.margin is None else Decimal(0), updated_at=at,
                realized=held.realized + pnl, fees=held.fees - penalty, liquidated=True,
            )  # fmt: skip
            floor = -held.margin if held.margin is not None else -self.cross_cash(account, contract.purse)
            self._put(account, after)
            account.liquidated[held.key] = after
            self._note(PositionChanged(at, after, "liquidated", None, held.size))
            self._book(account, contract.purse, max(effect, min(floor, Decimal(0))), at, "liquidated")

    # --- Truth -----------------------------------------------------------------------------------------------------

    def _told(self, account: Account) -> Iterator[Position]:
        yield from self.positions(account.name)
        yield from account.liquidated.values()

    def _true_position(self, position: Position) -> dict[str, Any]:
        return {
            "account": position.account,
            "venue": position.venue,
            "symbol": position.symbol,
            "side": position.side,
            "margin_mode": position.mode,
            "size": plain(position.size),
            "entry_price": plain(position.entry_price),
            "mark_price": plain(self.mark(position.venue, position.symbol)),
            "unrealized_pnl": plain(self.unrealized_pnl(position)),
            "liquidated": position.liquidated,
        }

    def _true_balances(self, account: Account) -> Iterator[dict[str, str]]:
        for purse, cash in account.cash.items():
            mine = [p for p in account.positions.values() if self.contracts[p.venue, p.symbol].purse == purse]
            equity = cash + sum((self.unrealized_pnl(p) for p in mine), Decimal(0))
            perps = account.venue == "hyperliquid"
            # What OKX calls the balance of a currency has left out isolated margins; the others count them in.
            total = self.cross_cash(account, purse) if account.venue == "okx" else cash
            yield {
                "account": account.name, "venue": account.venue, "ccy": "USDC" if perps else purse,
                "purse": f"perp:{purse}" if perps else purse, "total": plain(total), "equity": plain(equity),
            }  # fmt: skip
        for ccy, total in account.spot.items():
            yield {
                "account": account.name, "venue": account.venue, "ccy": ccy, "purse": "spot", "total": plain(total),
                "equity": plain(total),
            }  # fmt: skip


def _derive(seed: int, *parts: str) -> str:
    """Return 64 hex digits that follow from the seed: keys of a world that holds nothing real."""
    return hashlib.sha256(":".join(("perpwire-sim", str(seed), *parts)).encode()).hexdigest()


def _cash(value: Decimal) -> Decimal:
    return value.quantize(_CASH_STEP, ROUND_HALF_EVEN)


def _average(contract: Contract, held: Position, size: Decimal, price: Decimal) -> Decimal:
    """Return the average entry after adding; inverse contracts average by coin value (harmonic)."""
    if not held.size:
        return price
    total = held.size + size
    if contract.inverse:
        mean = total / (held.size / held.entry_price + size / price)
    else:
        mean = (held.entry_price * held.size + price * size) / total
    return mean.quantize(_ENTRY_STEP, ROUND_HALF_EVEN)
