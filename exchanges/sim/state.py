"""How the simulated world stands: accounts, positions, balances, marks, and what they are worth, fully revalued.

The read side of ``World``: everything here may be called by fronts and changes nothing.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from exchanges.sim import haircuts, revalue
from exchanges.sim.catalog import FUNDING_EVERY_MS, Contract, VenueName
from exchanges.sim.changes import Filled, FundingPaid, Order, PositionChanged, Transferred
from exchanges.sim.closings import Closing, Cycle
from exchanges.sim.dated import contracts
from exchanges.sim.marks import Prices
from exchanges.sim.quoted import LiquidationFields
from exchanges.sim.records import Records, Total
from exchanges.sim.revalue import Key, Pool, Position
from exchanges.sim.roster import Opening

Rates = Callable[[Contract, int], Decimal]


@dataclass
class Account:
    """One account: who it is, what it may log in with, and what it holds.

    Attributes:
        mode, hedge: See ``roster.AccountSpec``.
        uid: The venue's number for the user.
        key, secret, passphrase: Made from the seed (Bybit uses no passphrase; Hyperliquid none of them).
        address: Hyperliquid's 0x address, lower-case.
        cash: Mark-independent money by purse (currency; dex on Hyperliquid), isolated margins included.
        spot: Hyperliquid's separate spot balances; nothing changes them. In a unified account they back the perps, too.
        idle: Coins that the user has switched off as collateral.
        positions: Open ones by key. Only the world writes.
        liquidated: The last state of positions that were liquidated and not opened again.
        cash_at: When each purse last changed.
        maker_fee: The fraction a maker pays; negative: a rebate.
        fee_ccy: The coin of ``cash`` that fees of linear contracts are taken of, while it lasts; None: of what each settles in.
        leverages: What was last set for a symbol; it stays when the position goes.
        can_trade: Whether the key may trade, unless a fault gives it other powers (``Faults.key_powers``).
        expires_at: When the key ends, milliseconds since the Unix epoch; None: never.
        agent: Hyperliquid: the address of the account's API wallet, which holds nothing itself.
        signer_key: Aster: the private key of the account's API wallet, 64 hex digits.
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
    maker_fee: Decimal = Decimal(0)
    leverages: dict[str, Decimal] = field(default_factory=dict)
    can_trade: bool = False
    expires_at: int | None = None
    agent: str = ""
    signer_key: str = ""
    idle: set[str] = field(default_factory=set)
    fee_ccy: str | None = None

    def __repr__(self) -> str:
        return f"Account({self.name!r}, {self.venue!r}, positions={len(self.positions)})"

    def isolated_margin(self, symbols: set[str]) -> Decimal:
        """Return what isolated positions in those symbols have locked up."""
        return sum((p.margin for p in self.positions.values() if p.margin and p.symbol in symbols), Decimal(0))


class UnknownName(LookupError):
    """A request named something that the world does not have; the message lists what it has."""


class Impossible(ValueError):
    """A request names known things but cannot be done; the message says why."""


class State:
    """What is true at this moment.

    Args:
        prices: The common prices that the venues' marks are derived from.
        rates: Funding rate of (venue, symbol) in the period that ends at a time.
        now_ms: Milliseconds since the Unix epoch.

    Attributes:
        liquidation_fields: What the venues tell of liquidation prices and margin ratios.
    """

    def __init__(self, prices: Prices, rates: Rates, now_ms: int) -> None:
        self.now_ms = now_ms
        self.liquidation_fields: LiquidationFields = "sent"
        self.contracts: dict[tuple[VenueName, str], Contract] = {(c.venue, c.symbol): c for c in contracts(now_ms)}
        self.accounts: dict[str, Account] = {}
        self._prices = prices
        self._rates = rates
        self._records = Records()
        self._marks = {key: prices.mark(contract, now_ms) for key, contract in self.contracts.items()}
        self._mark_at = dict.fromkeys(self.contracts, now_ms)

    def enlist(self, contract: Contract) -> None:
        """List a further contract, as a venue does from time to time."""
        key = (contract.venue, contract.symbol)
        self.contracts[key] = contract
        self._marks[key] = self._prices.mark(contract, self.now_ms)
        self._mark_at[key] = self.now_ms

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

    def key(self, account: Account, opening: Opening) -> Key:
        """Return the key under which an account holds what it plans; options have no legs."""
        legs = account.hedge and self.contracts[account.venue, opening.symbol].kind != "option"
        return Key(opening.symbol, opening.side if legs else "net", opening.mode)

    def positions(self, account: str) -> list[Position]:
        """Return the open positions of an account, oldest first."""
        return sorted(self.accounts[account].positions.values(), key=lambda position: position.id)

    # --- What an account has behind it -----------------------------------------------------------------------------

    def fills(self, account: str) -> list[Filled]:
        """Return the fills of an account, oldest first (the newest 5,000)."""
        return list(self._records.fills[account])

    def payments(self, account: str) -> list[FundingPaid]:
        """Return the funding of an account, oldest first (the newest 5,000)."""
        return list(self._records.payments[account])

    def transfers(self, account: str) -> list[Transferred]:
        """Return the transfers of an account, oldest first (the newest 5,000)."""
        return list(self._records.transfers[account])

    def margins(self, account: str) -> list[PositionChanged]:
        """Return the changes of margin by hand that an account's isolated positions had, oldest first."""
        return list(self._records.margins[account])

    def settlements(self, account: str) -> list[PositionChanged]:
        """Return when positions were settled and went on, oldest first (the newest 5,000)."""
        return list(self._records.settlements[account])

    def closings(self, account: str) -> list[Closing]:
        """Return what orders and periodic settlements closed of an account's positions, oldest first (the newest 5,000)."""
        return list(self._records.closings.orders[account].values())

    def cycles(self, account: str) -> list[Cycle]:
        """Return the positions of an account that were closed at least in part, by their latest close (the newest 5,000)."""
        return list(self._records.closings.cycles[account].values())

    def totals(self) -> dict[tuple[str, str], Total]:
        """Return what each account's dealings in each symbol brought since the world began."""
        return dict(self._records.totals)

    def orders(self, account: str) -> list[Order]:
        """Return the open orders of an account, oldest first."""
        return list(self._records.open[account].values())

    def order(self, account: str, order_id: int) -> Order | None:
        """Return an order, also one that is done (the newest 5,000), or None."""
        return self._records.open[account].get(order_id) or self._records.done[account].get(order_id)

    # --- Prices and figures ----------------------------------------------------------------------------------------

    def funding(self, venue: VenueName, symbol: str) -> tuple[Decimal, int]:
        """Return the rate that will be paid next (+: longs pay) and when (ms); (0, 0) for what pays no funding."""
        contract = self.contract(venue, symbol)
        if contract.kind != "perp":
            return Decimal(0), 0
        every = FUNDING_EVERY_MS[venue]
        due = (self.now_ms // every + 1) * every
        return self._rates(contract, due), due

    def expired(self, contract: Contract) -> bool:
        """Say whether a contract has settled; it stays listed, but nobody holds or trades it."""
        return contract.expires_at is not None and contract.expires_at <= self.now_ms

    def mark(self, venue: VenueName, symbol: str) -> Decimal:
        """Return the venue's mark as it stands."""
        return self._marks[venue, symbol]

    def marks(self) -> dict[tuple[VenueName, str], Decimal]:
        """Return every mark as it stands."""
        return dict(self._marks)

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

    def worth(self, position: Position) -> Decimal:
        """Return what a position adds to cash in equity: its unrealised PnL; an option, whose premium is paid, its whole value."""
        contract = self.contracts[position.venue, position.symbol]
        return self.notional(position) if contract.kind == "option" else self.unrealized_pnl(position)

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

    def scaled(self, factors: Mapping[str, Decimal]) -> State:
        """Return how it would stand with some underlyings at a multiple of their price; options stay as they are."""
        view = copy.copy(self)
        view._prices = self._prices.scaled(factors)
        view._marks = {
            key: mark if contract.kind == "option" else mark * factors.get(contract.base, Decimal(1))
            for key, contract in self.contracts.items()
            for mark in (self._marks[key],)
        }
        return view

    def cross_cash(self, account: Account, purse: str) -> Decimal:
        """Return what backs the cross positions of a purse: its cash without isolated margins.

        In a unified account of Hyperliquid that is one amount for all purses of a token: theirs and the spot balance.
        """
        listed = self.listed(account.venue)
        if account.mode == "unified":
            token = next((c.settle for c in listed if c.purse == purse), "USDC")
            purses = {purse, *(c.purse for c in listed if c.settle == token)}
            cash = account.spot.get(token, Decimal(0))
        else:
            purses, cash = {purse}, Decimal(0)
        held = {c.symbol for c in listed if c.purse in purses}
        return cash + sum((account.cash.get(one, Decimal(0)) for one in purses), -account.isolated_margin(held))

    def counted(self, account: Account, ccy: str, amount: Decimal) -> Decimal:
        """Return what of an amount of a coin counts as an account's collateral, in the coin; debts count whole."""
        if amount > 0 and ccy in account.idle:
            return Decimal(0)
        return haircuts.counted(account.venue, ccy, amount)

    def pools(self, account: Account) -> list[Pool]:
        """Return what is liquidated together, fully revalued: each isolated position, then the cross pools."""
        open_ = self.positions(account.name)
        pools = [self._isolated_pool(p) for p in open_ if p.mode == "isolated"]
        cross = [p for p in open_ if p.mode == "cross"]
        if account.mode in {"multi", "cross", "portfolio"}:
            return [*pools, self._dollar_pool(account, cross)]
        if account.mode == "unified":
            return [*pools, *self._token_pools(account, cross)]
        for purse in account.cash:
            mine = [p for p in cross if self.contracts[p.venue, p.symbol].purse == purse]
            pools.append(self._purse_pool(account, purse, mine))
        return pools

    def _isolated_pool(self, position: Position) -> Pool:
        contract = self.contracts[position.venue, position.symbol]
        assert position.margin is not None
        # Bybit counts the closing fee in the margin and in the requirement: it cancels out.
        fee = Decimal(0) if position.venue == "bybit" else self.closing_fee(position)
        equity = position.margin + self.unrealized_pnl(position)
        return Pool(f"iso:{position.id}", contract.settle, equity, self.maintenance(position) + fee, (position,))

    def _purse_pool(self, account: Account, purse: str, cross: list[Position]) -> Pool:
        equity = self.cross_cash(account, purse) + sum((self.worth(p) for p in cross), Decimal(0))
        need = sum((self.maintenance(p) + self.closing_fee(p) for p in cross), Decimal(0))
        ccy = "USDC" if account.venue == "hyperliquid" else purse
        return Pool(purse, ccy, equity, need, tuple(cross))

    def _token_pools(self, account: Account, cross: list[Position]) -> list[Pool]:
        """Return the pools of a unified account, one per collateral token: the dexes of one token share its balance."""
        pools = []
        for token in sorted({c.settle for c in self.listed(account.venue) if c.purse in account.cash}):
            mine = [p for p in cross if self.contracts[p.venue, p.symbol].settle == token]
            purse = next(c.purse for c in self.listed(account.venue) if c.settle == token)
            equity = self.cross_cash(account, purse) + sum((self.unrealized_pnl(p) for p in mine), Decimal(0))
            need = sum((self.maintenance(p) for p in mine), Decimal(0))
            pools.append(Pool(f"unified:{token}", token, equity, need, tuple(mine)))
        return pools

    def _dollar_pool(self, account: Account, cross: list[Position]) -> Pool:
        """Return the one pool in dollars of an account whose coins back all its positions.

        OKX and Aster take the haircut of a coin's balance and the profit in it together, Bybit of the balance alone, and there the
        value of options backs nothing outside of portfolio margin.
        """
        equity, need = Decimal(0), Decimal(0)
        for ccy in account.cash:
            mine = [p for p in cross if self.contracts[p.venue, p.symbol].settle == ccy]
            cash, profit = self.cross_cash(account, ccy), sum((self._profit(account, p) for p in mine), Decimal(0))
            if account.venue == "bybit":
                equity += (self.counted(account, ccy, cash) + profit) * self.usd(ccy)
            else:
                equity += self.counted(account, ccy, cash + profit) * self.usd(ccy)
            need += sum((self.maintenance(p) + self.closing_fee(p) for p in mine), Decimal(0)) * self.usd(ccy)
        return Pool("USD", "USD", equity, need, tuple(cross))

    def _profit(self, account: Account, position: Position) -> Decimal:
        option = self.contracts[position.venue, position.symbol].kind == "option"
        return Decimal(0) if option and account.venue == "bybit" and account.mode == "cross" else self.worth(position)
