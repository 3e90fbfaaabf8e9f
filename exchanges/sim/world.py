"""The simulated world: accounts, positions, balances and marks, moving by themselves, deterministic from a seed.

Owns what is true; the fronts only report it. Pure: time is an argument, randomness comes from the seed, nothing here does
I/O or waits. The same seed and the same moments give the same world, however finely ``step`` cuts time up.

A front reads three ways:
    - how things stand: everything of ``State`` (``accounts``, ``positions``, ``mark``, ``index``, ``usd``, ``pools`` …);
    - what changed: ``events_since(cursor)``, starting from ``cursor()``;
    - truth, as the control port shows it: ``truth``.
"""

from __future__ import annotations

import hashlib
import random
from collections import deque
from dataclasses import replace
from decimal import Decimal
from typing import Any

from exchanges.sim import revalue
from exchanges.sim.catalog import FUNDING_EVERY_MS, MAKER_FEE, MARK_EVERY_MS, Contract, Side, VenueName
from exchanges.sim.changes import BalanceChanged, Cause, MarkChanged, PositionChanged, Trade, WorldEvent
from exchanges.sim.dated import accounts
from exchanges.sim.exact import round_to
from exchanges.sim.ledger import Ledger, to_cash
from exchanges.sim.marks import Prices
from exchanges.sim.records import Records
from exchanges.sim.revalue import Key, Leg, Position
from exchanges.sim.roster import AccountSpec, Opening
from exchanges.sim.state import Account, Impossible, State, UnknownName
from exchanges.sim.truth import truth

__all__ = [
    "Account",
    "BalanceChanged",
    "Cause",
    "Impossible",
    "MarkChanged",
    "PositionChanged",
    "Trade",
    "UnknownName",
    "World",
    "WorldEvent",
]

QUANTUM_MS = 100
LIQUIDATION_EVERY_MS = 500
# A machine that slept does not get its hours back: older time is skipped.
CATCH_UP_MS = 10_000
# Events that a front has not read; fronts read every few milliseconds, so this is minutes.
LOG_SIZE = 100_000
MEAN_TRADE_MS = 3_000.0


class World(State):
    """Everything that is true. ``step`` moves time; ``open_position`` and ``close_position`` act by hand.

    Args:
        seed: Every price, trade and secret follows from it.
        now_ms: When the world begins, milliseconds since the Unix epoch.
    """

    def __init__(self, seed: int, now_ms: int) -> None:
        super().__init__(Prices(random.Random(f"{seed}:prices")), self._rate, now_ms)
        self.seed = seed
        self.paused = False
        self._began = now_ms
        self._next = now_ms + QUANTUM_MS
        self._whim = random.Random(f"{seed}:trades")
        self._log: deque[WorldEvent] = deque(maxlen=LOG_SIZE)
        self._logged = 0
        self._ledger = Ledger(self, self._whim, self._note)
        self._specs = {spec.name: spec for spec in accounts(now_ms)}
        for spec in self._specs.values():
            self._found(spec)
        self._trade_at = now_ms + self._pause_before_trade()
        self._log.clear()
        self._records = Records()

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
        return {"at": self.now_ms, "seed": self.seed, "paused": self.paused, **truth(self)}

    def _rate(self, contract: Contract, due: int) -> Decimal:
        """Return a funding rate that follows from the seed: at most 0.03 % in 8 hours, of either sign."""
        drawn = int(_derive(self.seed, contract.venue, contract.symbol, str(due))[:8], 16) % 6001 - 3000
        return Decimal(drawn) * FUNDING_EVERY_MS[contract.venue] / 28_800_000 / 10_000_000

    def _note(self, event: WorldEvent) -> None:
        self._records.take(event)
        self._log.append(event)
        self._logged += 1

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
        self._ledger.increase(owner, key, plan, wanted, self.now_ms)
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
            self._ledger.reduce(owner, position, position.size, self.now_ms)
        return hit

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
            maker_fee=MAKER_FEE[spec.venue] if spec.maker_fee is None else spec.maker_fee,
        )
        if spec.venue == "hyperliquid":
            account.agent = "0x" + hashlib.sha256(f"agent:{account.address}".encode()).hexdigest()[:40]
        if spec.venue == "aster":
            account.signer_key = _derive(self.seed, spec.name, "signer")
        self.accounts[spec.name] = account
        for opening in spec.openings:
            key = Key(opening.symbol, opening.side if spec.hedge else "net", opening.mode)
            self._ledger.increase(account, key, opening, opening.size, self.now_ms - self._whim.randrange(10**9))
            self._age(account, key)

    def _age(self, account: Account, key: Key) -> None:
        """Give a fresh position an entry as if it had been opened earlier, close enough not to be in danger."""
        position = account.positions[key]
        contract = self.contracts[position.venue, position.symbol]
        reach = min(0.03, 0.15 / float(position.leverage))
        entry = position.entry_price * Decimal(f"{1 + self._whim.uniform(-reach, reach):.6f}")
        aged = replace(position, entry_price=round_to(entry, contract.tick))
        if aged.margin is not None:
            aged = replace(aged, margin=to_cash(revalue.initial_margin(contract, aged, aged.entry_price)))
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
        mark = self._prices.mark(self.contracts[key], at)
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
                self._ledger.increase(account, key, opening, opening.size, at)
            return
        if standing.side != opening.side:  # opened by hand the other way round: leave it alone
            return
        if opening.comes_and_goes and coin < 0.4:
            self._ledger.reduce(account, standing, standing.size, at)
            return
        amount = max(contract.lot, round_to(opening.size * share, contract.lot))
        if lean < float(standing.size / opening.size) - 0.5 and amount < standing.size:
            self._ledger.reduce(account, standing, amount, at)
        else:
            self._ledger.increase(account, key, opening, amount, at)

    def _liquidate_all(self, at: int) -> None:
        for account in self.accounts.values():
            for pool in self.pools(account):
                if pool.positions and pool.equity <= pool.requirement:
                    self._ledger.liquidate(account, pool, at)


def _derive(seed: int, *parts: str) -> str:
    """Return 64 hex digits that follow from the seed: keys of a world that holds nothing real."""
    return hashlib.sha256(":".join(("perpwire-sim", str(seed), *parts)).encode()).hexdigest()
