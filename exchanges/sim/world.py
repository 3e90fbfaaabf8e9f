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
from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from decimal import Decimal
from typing import Any

from exchanges.sim import revalue
from exchanges.sim.bookings import Bookings
from exchanges.sim.catalog import FUNDING_EVERY_MS, MAKER_FEE, MARK_EVERY_MS, Contract, Side, VenueName
from exchanges.sim.changes import BalanceChanged, Cause, MarkChanged, ModeChanged, PositionChanged, Trade, WorldEvent
from exchanges.sim.dated import accounts
from exchanges.sim.exact import round_to
from exchanges.sim.hands import Hands
from exchanges.sim.ledger import Ledger, to_cash
from exchanges.sim.marks import Prices
from exchanges.sim.modes import Modes
from exchanges.sim.records import Records
from exchanges.sim.revalue import Key, Leg, Pool, Position
from exchanges.sim.roster import ACCOUNTS, AccountSpec
from exchanges.sim.state import Account, Impossible, State, UnknownName
from exchanges.sim.truth import Chronicle, truth
from exchanges.sim.whims import Whims

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


class World(State):
    """Everything that is true. ``step`` moves time; ``hands`` and ``modes`` act by hand.

    Args:
        seed: Every price, trade and secret follows from it.
        now_ms: When the world begins, milliseconds since the Unix epoch.
        roster: Who trades there.
    """

    def __init__(self, seed: int, now_ms: int, roster: Iterable[AccountSpec] = ACCOUNTS) -> None:
        super().__init__(Prices(random.Random(f"{seed}:prices")), self._rate, now_ms)
        self.seed = seed
        self.paused = False
        self._began = now_ms
        self._next = now_ms + QUANTUM_MS
        self._whim = random.Random(f"{seed}:trades")
        self._chronicle = Chronicle()
        self._log: deque[WorldEvent] = deque(maxlen=LOG_SIZE)
        self._logged = 0
        self._ledger = Ledger(self, self._whim, self._note)
        specs = accounts(roster, now_ms)
        plans = {spec.name: spec.openings for spec in specs}
        bookings = Bookings(self, self._ledger)
        self.hands = Hands(self, self._ledger, bookings, plans, self._remark)
        self.modes = Modes(self, self._ledger, bookings, self.hands, plans)
        self._whims = Whims(self, self._ledger, self.hands, plans, seed, now_ms)
        for spec in specs:
            self._found(spec)
        self._log.clear()
        self._records = Records()
        self._chronicle = Chronicle()

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

    def changes(self, since: int | None = None) -> list[dict[str, Any]]:
        """Return the changes of positions after a number, with their real causes; None: the newest few."""
        return self._chronicle.since(since)

    def switches(self) -> list[ModeChanged]:
        """Return the newest switches of accounts' modes, oldest first: each is the cause of how later states are told."""
        return list(self._chronicle.switches)

    def truth(self, since: int | None = None) -> dict[str, Any]:
        """Return all of it as JSON-ready data with decimals as strings: the answer of ``GET /truth``.

        Args:
            since: Give the changes after this number (``changes[-1]["n"]`` of the answer before), instead of the newest few.
        """
        told = {"changes": self.changes(since), "switches": [asdict(switch) for switch in self.switches()]}
        return {"at": self.now_ms, "seed": self.seed, "paused": self.paused, **truth(self), **told}

    def _rate(self, contract: Contract, due: int) -> Decimal:
        """Return a funding rate that follows from the seed: at most 0.03 % in 8 hours, of either sign."""
        drawn = int(_derive(self.seed, contract.venue, contract.symbol, str(due))[:8], 16) % 6001 - 3000
        return Decimal(drawn) * FUNDING_EVERY_MS[contract.venue] / 28_800_000 / 10_000_000

    def _note(self, event: WorldEvent) -> None:
        self._records.take(event)
        self._chronicle.take(event)
        self._log.append(event)
        self._logged += 1

    # --- Time ------------------------------------------------------------------------------------------------------

    def step(self, now_ms: int) -> None:
        """Let time pass until ``now_ms``: marks move, somebody trades, whoever is out of margin is liquidated."""
        end = max(self.now_ms, now_ms)
        if self.paused or end - self._next > CATCH_UP_MS:
            self._skip(end)
        while self._next <= end:
            self.now_ms = self._next
            self._quantum(self._next)
            self._next += QUANTUM_MS
        self.now_ms = end

    def pause(self) -> None:
        """Stand still: no mark moves and nobody trades until ``resume``; hands still act."""
        self.paused = True

    def resume(self) -> None:
        """Go on from here; the time in between never happened."""
        if self.paused:
            self._skip(self.now_ms)
            self.paused = False

    def shift(self, base: str, fraction: Decimal) -> None:
        """Move an underlying for good, at once on every venue, and liquidate who is out of margin. Raises UnknownName."""
        self.move({base: fraction})
        self.liquidate_due()

    def move(self, fractions: Mapping[str, Decimal]) -> None:
        """Move underlyings for good, at once on every venue: marks alone. Raises UnknownName."""
        for base, fraction in fractions.items():
            if base not in self._prices.names:
                raise UnknownName(f"there is no underlying {base!r}: there are {', '.join(self._prices.names)}")
            if fraction <= -1:
                raise Impossible(f"a price cannot move by {fraction}: at most -0.99")
        for base, fraction in fractions.items():
            self._prices.shift(base, fraction)
        for key in self.contracts:
            self._remark(key, self.now_ms)

    def due(self) -> list[tuple[Account, Pool]]:
        """Return every pool that is out of margin, fully revalued."""
        return [
            (account, pool)
            for account in self.accounts.values()
            for pool in self.pools(account)
            if pool.positions and pool.equity <= pool.requirement
        ]

    def liquidate_due(self) -> None:
        """Liquidate every pool that is out of margin."""
        for account, pool in self.due():
            self._ledger.liquidate(account, pool, self.now_ms)

    # --- By hand ---------------------------------------------------------------------------------------------------

    def open_position(
        self, account: str, symbol: str, side: Side | None = None, size: Decimal | None = None
    ) -> list[Position]:
        """Open or add to a position at the mark: see ``Hands.open_position``."""
        return self.hands.open_position(account, symbol, side, size)

    def close_position(self, account: str, symbol: str, leg: Leg | None = None) -> list[Position]:
        """Close every position of an account in a symbol (one leg of it): see ``Hands.close_position``."""
        return self.hands.close_position(account, symbol, leg)

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
            key = self.key(account, opening)
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
            aged = replace(
                aged, margin=to_cash(account.venue, revalue.initial_margin(contract, aged, aged.entry_price))
            )
        account.positions[key] = aged

    # --- One quantum of time ---------------------------------------------------------------------------------------

    def _skip(self, end: int) -> None:
        """Continue at the next whole quantum after ``end``, as if the time before it had not passed."""
        gone = max(0, end - self._next) // QUANTUM_MS + 1
        if self._next <= end:
            self._next += gone * QUANTUM_MS
            self._whims.skip(gone * QUANTUM_MS)

    def _quantum(self, at: int) -> None:
        self._prices.walk(QUANTUM_MS)
        elapsed = at - self._began
        for key in self.contracts:
            if elapsed % MARK_EVERY_MS[key[0]] == 0:
                self._remark(key, at)
        self._whims.quantum(at)
        self._come_due(at)
        if elapsed % LIQUIDATION_EVERY_MS == 0:
            self.liquidate_due()

    def _come_due(self, at: int) -> None:
        """Pay funding where its time has come, and let expire what ends."""
        for (venue, symbol), contract in list(self.contracts.items()):
            if contract.kind == "perp" and at // (every := FUNDING_EVERY_MS[venue]) > (at - QUANTUM_MS) // every:
                self.hands.pay_funding(venue, symbol, self._rate(contract, at // every * every))
            elif contract.expires_at is not None and at - QUANTUM_MS < contract.expires_at <= at:
                self.hands.expire(venue, symbol)

    def _remark(self, key: tuple[VenueName, str], at: int) -> None:
        if self.expired(self.contracts[key]):
            return
        mark = self._prices.mark(self.contracts[key], at)
        if mark != self._marks[key]:
            self._marks[key] = mark
            self._mark_at[key] = at
            self._note(MarkChanged(at, *key, mark))


def _derive(seed: int, *parts: str) -> str:
    """Return 64 hex digits that follow from the seed: keys of a world that holds nothing real."""
    return hashlib.sha256(":".join(("perpwire-sim", str(seed), *parts)).encode()).hexdigest()
