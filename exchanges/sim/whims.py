"""What happens by itself besides the moving marks: accounts trade, place orders, move margin and money, trade with each other.

Decides and draws, from its own seeds only; acts through ``hands``. Everything it does is bounded: sizes are drawn back to an
account's plan, money to where it was.
"""

from __future__ import annotations

import random
from decimal import Decimal

from exchanges.sim import revalue
from exchanges.sim.changes import Order
from exchanges.sim.exact import round_to
from exchanges.sim.hands import Hands
from exchanges.sim.ledger import Deal, Ledger
from exchanges.sim.revalue import Position
from exchanges.sim.roster import Opening
from exchanges.sim.state import Account, State

MEAN_TRADE_MS = 3_000.0
MEAN_EVENT_MS = 2_500.0
MAX_ORDERS = 3
# A resting order stands this far from the mark, in basis points, so that the walk reaches most of them soon.
_ORDER_BPS = (2, 12)


class Whims:
    """The habits of all accounts. ``plans`` as of ``hands.Hands``; ``seed`` makes the draws, ``now_ms`` is when they begin."""

    def __init__(
        self, state: State, ledger: Ledger, hands: Hands, plans: dict[str, tuple[Opening, ...]], seed: int, now_ms: int
    ) -> None:
        self._state = state
        self._ledger = ledger
        self._hands = hands
        self._plans = plans
        self._trades = random.Random(f"{seed}:trades:own")
        self._events = random.Random(f"{seed}:events")
        self._trade_at = now_ms + self._pause(self._trades, MEAN_TRADE_MS)
        self._event_at = now_ms + self._pause(self._events, MEAN_EVENT_MS)
        # What each account has lent to or taken from the world, by account: paid back by the next transfer.
        self._moved: dict[str, tuple[str, Decimal]] = {}

    def skip(self, gone_ms: int) -> None:
        """Let that much time never have happened."""
        self._trade_at += gone_ms
        self._event_at += gone_ms

    def quantum(self, at: int) -> None:
        """Do what is due at ``at``, the world's time."""
        for account in self._state.accounts.values():
            for order in self._state.orders(account.name):
                self._reach(account, order)
        if at >= self._trade_at:
            self._trade_at = at + self._pause(self._trades, MEAN_TRADE_MS)
            self._somebody_trades(at)
        if at >= self._event_at:
            self._event_at = at + self._pause(self._events, MEAN_EVENT_MS)
            self._something_happens(at)

    @staticmethod
    def _pause(rng: random.Random, mean_ms: float) -> int:
        return int(rng.expovariate(1 / mean_ms))

    # --- Trading ---------------------------------------------------------------------------------------------------

    def _somebody_trades(self, at: int) -> None:
        """Pick an account and one of its plans; sizes are drawn back to the plan, so that nothing grows without end."""
        rng = self._trades
        account = rng.choice(list(self._state.accounts.values()))
        share = Decimal(rng.randrange(30, 100)) / 1000
        lean, coin, which = rng.random(), rng.random(), rng.random()
        opening = self._tradable(account, which)
        if opening is None:
            return
        contract = self._state.contracts[account.venue, opening.symbol]
        key = self._state.key(account, opening)
        standing = account.positions.get(key)
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

    def _tradable(self, account: Account, which: float) -> Opening | None:
        """Return one of an account's plans, by a draw of 0 to 1; options are only held."""
        contracts = self._state.contracts
        plans = [o for o in self._plans[account.name] if contracts[account.venue, o.symbol].kind != "option"]
        return plans[int(which * len(plans))] if plans else None

    # --- Orders ----------------------------------------------------------------------------------------------------

    def _reach(self, account: Account, order: Order) -> None:
        """Fill a resting order that the mark has reached: a half first where that can be, the rest at the next quantum."""
        mark = self._state.mark(account.venue, order.symbol)
        if (mark > order.price) if order.buy else (mark < order.price):
            return
        left = order.size - order.filled
        lot = self._state.contracts[account.venue, order.symbol].lot
        half = round_to(left / 2, lot)
        self._hands.fill_order(order, half if not order.filled and 0 < half < left else left)

    def _place(self, account: Account, rng: random.Random) -> None:
        bps, share, which, lean = rng.randint(*_ORDER_BPS), rng.randrange(20, 80), rng.random(), rng.random()
        opening = self._tradable(account, which)
        standing = None if opening is None else account.positions.get(self._state.key(account, opening))
        if opening is None or standing is None or standing.side != opening.side:
            return
        contract = self._state.contracts[account.venue, opening.symbol]
        size = max(contract.lot, round_to(opening.size * share / 1000, contract.lot))
        reduces = lean < float(standing.size / opening.size) - 0.5 and size < standing.size
        buy = (standing.side == "long") != reduces
        mark = self._state.mark(account.venue, opening.symbol)
        price = max(contract.tick, round_to(mark * (1 + Decimal(-bps if buy else bps) / 10_000), contract.tick))
        at = self._state.now_ms
        self._ledger.orders.place(account.name, standing.key, buy, price, size, at, reduce_only=reduces)

    # --- Everything else -------------------------------------------------------------------------------------------

    def _something_happens(self, at: int) -> None:
        rng = self._events
        account = rng.choice(list(self._state.accounts.values()))
        draw = rng.random()
        orders = self._state.orders(account.name)
        if draw < 0.55:
            if len(orders) < MAX_ORDERS:
                self._place(account, rng)
            else:
                self._ledger.orders.cancel(orders[:1], at)
        elif draw < 0.65:
            self._ledger.orders.cancel(orders[:1], at)
        elif draw < 0.8:
            self._two_trade(account, rng, at)
        elif draw < 0.92:
            self._move_margin(account, rng, at)
        else:
            self._move_money(account, rng)

    def _two_trade(self, account: Account, rng: random.Random, at: int) -> None:
        """Let two of our own accounts trade with each other where both stay near their plans."""
        share = Decimal(rng.randrange(20, 60)) / 1000
        pairs = [
            (mine, theirs, other, opening)
            for other in self._state.accounts_of(account.venue)
            if other is not account
            for opening in self._plans[account.name]
            for mine, theirs in self._both_hold(account, other, opening.symbol)
        ]
        if not pairs:
            return
        mine, theirs, other, opening = pairs[rng.randrange(len(pairs))]
        contract = self._state.contracts[account.venue, opening.symbol]
        size = max(contract.lot, round_to(min(mine.size, theirs.size) * share, contract.lot))
        for buy in (
            (mine.size > opening.size) == (mine.side == "short"),
            (mine.size > opening.size) != (mine.side == "short"),
        ):
            if self._fits(account, mine, size, buy=buy) and self._fits(other, theirs, size, buy=not buy):
                number = self._trade(account, mine, size, at, Deal(), buy=buy)
                self._trade(other, theirs, size, at, Deal(maker=True, trade_id=number), buy=not buy)
                return

    def _both_hold(self, one: Account, other: Account, symbol: str) -> list[tuple[Position, Position]]:
        held = [[p for p in self._state.positions(a.name) if p.symbol == symbol] for a in (one, other)]
        return [(held[0][0], held[1][0])] if held[0] and held[1] else []

    def _fits(self, account: Account, held: Position, size: Decimal, *, buy: bool) -> bool:
        """Say whether a position stays between half and one and a half times its plan."""
        planned = next((o for o in self._plans[account.name] if self._state.key(account, o) == held.key), None)
        after = held.size + size * (1 if buy == (held.side == "long") else -1)
        return planned is not None and planned.size / 2 < after < planned.size * 3 / 2

    def _trade(self, account: Account, held: Position, size: Decimal, at: int, deal: Deal, *, buy: bool) -> int:
        if buy != (held.side == "long"):
            return self._ledger.reduce(account, held, size, at, deal).id
        opening = next(o for o in self._plans[account.name] if self._state.key(account, o) == held.key)
        return self._ledger.increase(account, held.key, opening, size, at, deal).id

    def _move_margin(self, account: Account, rng: random.Random, at: int) -> None:
        """Bring an isolated position's margin to one to 1.2 times what its entry asks for."""
        aim, which = Decimal(rng.randrange(1_000, 1_200)) / 1_000, rng.random()
        isolated = [p for p in self._state.positions(account.name) if p.margin is not None]
        if not isolated:
            return
        held = isolated[int(which * len(isolated))]
        contract = self._state.contracts[held.venue, held.symbol]
        wanted = revalue.initial_margin(contract, held, held.entry_price) * aim
        amount = (wanted - (held.margin or 0)).quantize(Decimal("0.0001"))
        healthy = self._state.unrealized_pnl(held) > -wanted / 4
        if amount and healthy and amount < self._state.cross_cash(account, contract.purse) / 10:
            self._hands.margin(account.name, held.symbol, amount, held.side)

    def _move_money(self, account: Account, rng: random.Random) -> None:
        """Deposit or withdraw two percent of a purse; the next time the same comes back."""
        purse, sign = rng.choice(list(account.cash)), rng.choice((1, -1))
        if account.name in self._moved:
            purse, amount = self._moved.pop(account.name)
        else:
            amount = sign * round_to(self._state.cross_cash(account, purse) / 50, Decimal("0.0001"))
            self._moved[account.name] = (purse, -amount)
        if amount and self._state.cross_cash(account, purse) + amount > 0:
            self._hands.transfer(account.name, purse, "deposit" if amount > 0 else "withdrawal", amount)
