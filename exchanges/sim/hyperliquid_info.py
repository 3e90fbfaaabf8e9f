"""Hyperliquid's info questions: what ``POST /info`` and the WebSocket's ``post`` answer, from the same tables, and their weights.

Owns the switch over question types, who an address is, and which orders are done. Unknown addresses are valid and empty, as at
the venue.
"""

from __future__ import annotations

import hashlib
import re
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from exchanges.sim import hyperliquid_figures as figures
from exchanges.sim import hyperliquid_history as history
from exchanges.sim import hyperliquid_market as market
from exchanges.sim.catalog import Contract
from exchanges.sim.changes import Filled, Order
from exchanges.sim.front import Clock
from exchanges.sim.state import Account
from exchanges.sim.world import World

Row = dict[str, Any]

FILLS_PER_ANSWER, FUNDINGS_PER_ANSWER, ORDERS_PER_ANSWER = 2_000, 500, 2_000
FILLS_REACHABLE, SLICES_REACHABLE = 10_000, 2_000  # the newest of an account; older ones are forgotten
ORDERS_KEPT = 2_000
# A vault of the venue's own: valid, public, and empty here.
VAULT = "0x010461c14e146ac35fe42271bdc1134ee31c703a"
_LIGHT = frozenset(
    {"l2Book", "allMids", "clearinghouseState", "orderStatus", "spotClearinghouseState", "exchangeStatus"}
)
_COUNTED = frozenset({"userFills", "userFillsByTime", "userFunding", "userNonFundingLedgerUpdates", "historicalOrders",
                      "userTwapSliceFills", "userTwapSliceFillsByTime", "fundingHistory"})  # fmt: skip

_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")


class Unreadable(Exception):
    """A question that the venue cannot deserialize."""


def address_of(user: object) -> str:
    """Return an address in lower case. Raises Unreadable for anything else."""
    if not isinstance(user, str) or not _ADDRESS.fullmatch(user):
        raise Unreadable
    return user.lower()


def sub_account_of(account: Account) -> str:
    """Return the address of an account's sub-account, which holds nothing."""
    return "0x" + hashlib.sha256(f"sub-account:{account.address}".encode()).hexdigest()[:40]


def weight_of(question: object, answer: Any = None) -> int:
    """Return what a question costs of the minute's 1,200: its type, and one for every 20 rows of some answers."""
    kind = question.get("type") if isinstance(question, dict) else None
    if kind == "userRole":
        return 60
    if kind in _LIGHT:
        return 2
    return 20 + (len(answer) // 20 if kind in _COUNTED and isinstance(answer, list) else 0)


class Info:
    """Answers over one world."""

    def __init__(self, world: World, clock: Clock) -> None:
        self._world, self._clock = world, clock
        accounts = world.accounts_of("hyperliquid")
        self._accounts = {account.address: account for account in accounts}
        self._agents = {account.agent: account for account in accounts}
        self._sub_accounts = {sub_account_of(account): account for account in accounts}
        self._orders: dict[str, deque[int]] = {account.name: deque(maxlen=ORDERS_KEPT) for account in accounts}
        self._questions: Mapping[str, Callable[[Row], Any]] = {
            "meta": lambda q: market.meta(world, _dex(q)),
            "metaAndAssetCtxs": lambda q: [market.meta(world, _dex(q)), self._contexts(_dex(q))],
            "allPerpMetas": lambda q: [market.meta(world, dex) for dex in figures.DEXES],
            "perpDexs": lambda q: market.perp_dexs(),
            "marginTable": self._margin_table,
            "spotMeta": lambda q: market.spot_meta(),
            "spotMetaAndAssetCtxs": lambda q: market.spot_meta_and_contexts(world),
            "allMids": lambda q: self.all_mids(_dex(q))["mids"],
            "clearinghouseState": lambda q: self.state(_user(q), _dex(q), clock()),
            "spotClearinghouseState": lambda q: self.spot(_user(q)),
            "openOrders": lambda q: self.open_orders(_user(q), _dex(q), long=False),
            "frontendOpenOrders": lambda q: self.open_orders(_user(q), _dex(q), long=True),
            "orderStatus": self._order_status,
            "historicalOrders": lambda q: self._historical(_user(q)),
            "userFills": lambda q: self.recent_fills(_user(q), FILLS_PER_ANSWER),
            "userFillsByTime": lambda q: self._between(q, self._fills(_user(q)), FILLS_PER_ANSWER),
            "userTwapSliceFills": lambda q: self.recent_slices(_user(q), FILLS_PER_ANSWER),
            "userTwapSliceFillsByTime": lambda q: self._between(q, self._slices(_user(q)), FILLS_PER_ANSWER),
            "userFunding": lambda q: self._between(
                q, [history.funding_answer(p) for p in self._payments(_user(q))], FUNDINGS_PER_ANSWER
            ),
            "userNonFundingLedgerUpdates": lambda q: self._between(q, self.ledger(_user(q)), FUNDINGS_PER_ANSWER),
            "subAccounts": lambda q: self._subs(_user(q), every_dex=False),
            "subAccounts2": lambda q: self._subs(_user(q), every_dex=True),
            "extraAgents": lambda q: self._extra_agents(_user(q)),
            "userRole": lambda q: self._role(_user(q)),
            "userAbstraction": lambda q: self._abstraction(_user(q)),
            "exchangeStatus": lambda q: {"specialStatuses": None, "time": clock()},
        }

    @property
    def _contracts(self) -> dict[str, Contract]:
        """What is listed now, by coin."""
        return {contract.symbol: contract for contract in self._world.listed("hyperliquid")}

    def answer(self, question: object) -> Any:
        """Return the answer to a question. Raises Unreadable for an unknown type or bad arguments."""
        if not isinstance(question, dict) or question.get("type") not in self._questions:
            raise Unreadable
        return self._questions[question["type"]](question)

    def note(self, order: Order) -> None:
        """Remember that an order exists; what became of it the world knows."""
        known = self._orders[order.account]
        if order.id not in known:
            known.append(order.id)

    def name_of(self, address: str) -> str | None:
        """Return the account's name, or None."""
        account = self._accounts.get(address)
        return account.name if account else None

    def mode_of(self, address: str) -> str:
        """Return the account's abstraction mode, ``standard`` for one that never chose."""
        account = self._accounts.get(address)
        return account.mode if account else "standard"

    def lists(self, coin: object) -> bool:
        """Say whether a coin is listed on any dex, or is the spot pair."""
        return coin in self._contracts or coin == market.SPOT_PAIR

    # --- States ----------------------------------------------------------------------------------------------------

    def state(self, user: str, dex: str, now_ms: int) -> Row:
        """Return a clearinghouse state."""
        return figures.clearinghouse_state(self._world, self._accounts.get(user), dex, now_ms)

    def spot(self, user: str) -> Row:
        """Return spot balances."""
        return figures.spot_state(self._world, self._accounts.get(user))

    def open_orders(self, user: str, dex: str, *, long: bool) -> list[Row]:
        """Return what is open on one dex, newest first."""
        account = self._accounts.get(user)
        row = history.frontend_row if long else history.order_row
        mine = self._world.orders(account.name) if account else []
        return [row(order) for order in reversed(mine) if self._contracts[order.symbol].dex == dex]

    def context(self, coin: str) -> Row:
        """Return a coin's context."""
        if coin == market.SPOT_PAIR:
            return market.spot_context(self._world)
        return market.context(self._world, self._contracts[coin])

    def all_mids(self, dex: str) -> Row:
        """Return the mids of a dex; other dexes than the main one are named."""
        mids = {
            c.symbol: figures.shown(market.mid_price(self._world, c)) for c in self._contracts.values() if c.dex == dex
        }
        return {"mids": mids, "dex": dex} if dex else {"mids": mids}

    def _contexts(self, dex: str) -> list[Row]:
        return [market.context(self._world, c) for c in self._contracts.values() if c.dex == dex]

    def _margin_table(self, question: Row) -> Row:
        number = question.get("id")
        for symbol, table in market.table_ids(self._contracts.values()).items():
            if table == number:
                return market.margin_table(self._contracts[symbol].tiers)
        raise Unreadable

    # --- History ---------------------------------------------------------------------------------------------------

    def recent_fills(self, user: str, most: int) -> list[Row]:
        """Return the newest fills that are no slices of a TWAP, newest first."""
        return self._fills(user)[::-1][:most]

    def recent_slices(self, user: str, most: int) -> list[Row]:
        """Return the newest slices of TWAPs, newest first."""
        return self._slices(user)[::-1][:most]

    def fundings(self, user: str, most: int) -> list[Row]:
        """Return the newest payments of funding as the stream has them, oldest first."""
        return [history.funding_row(payment) for payment in self._payments(user)[-most:]]

    def ledger(self, user: str) -> list[Row]:
        """Return transfers and liquidations, oldest first."""
        account = self._accounts.get(user)
        if account is None:
            return []
        found = [history.ledger_row(transfer) for transfer in self._world.transfers(account.name)]
        forced = (fill for fill in self._world.fills(account.name) if fill.trade.category == "liquidation")
        found += [history.liquidation_row(self._world, fill) for fill in forced]
        return sorted(found, key=lambda row: row["time"])

    def _known_fills(self, user: str, *, slices: bool) -> list[Filled]:
        account = self._accounts.get(user)
        mine = self._world.fills(account.name) if account else []
        return [fill for fill in mine if history.is_slice(fill) == slices]

    def _fills(self, user: str) -> list[Row]:
        known = self._known_fills(user, slices=False)[-FILLS_REACHABLE:]
        return [history.fill_row(self._world, fill) for fill in known]

    def _slices(self, user: str) -> list[Row]:
        known = self._known_fills(user, slices=True)[-SLICES_REACHABLE:]
        return [history.slice_row(self._world, fill) for fill in known]

    def _payments(self, user: str) -> list[Any]:
        account = self._accounts.get(user)
        return self._world.payments(account.name) if account else []

    def _between(self, question: Row, rows: Iterable[Row], most: int) -> list[Row]:
        """Return the first rows of a window, both ends inclusive, oldest first. Raises Unreadable: no start."""
        begin, end = question.get("startTime"), question.get("endTime")
        if not isinstance(begin, int) or not isinstance(end, int | None):
            raise Unreadable
        last = self._clock() if end is None else end
        return [row for row in rows if begin <= row.get("fill", row)["time"] <= last][:most]

    def _order_status(self, question: Row) -> Row:
        account, number = self._accounts.get(_user(question)), question.get("oid")
        order = self._world.order(account.name, number) if account and isinstance(number, int) else None
        if order is None:
            return {"status": "unknownOid"}
        return {"status": "order", "order": history.status_row(order, long=True)}

    def _historical(self, user: str) -> list[Row]:
        account = self._accounts.get(user)
        if account is None:
            return []
        found = (self._world.order(account.name, number) for number in reversed(self._orders[account.name]))
        return [history.status_row(order, long=True) for order in found if order is not None][:ORDERS_PER_ANSWER]

    # --- Who an address is -----------------------------------------------------------------------------------------

    def _role(self, user: str) -> Row:
        if user in self._agents:
            return {"role": "agent", "data": {"user": self._agents[user].address}}
        if user in self._sub_accounts:
            return {"role": "subAccount", "data": {"master": self._sub_accounts[user].address}}
        if user == VAULT:
            return {"role": "vault"}
        return {"role": "user" if user in self._accounts else "missing"}

    def _abstraction(self, user: str) -> str:
        if user not in self._accounts:
            return "default"
        return figures.MODES[self.mode_of(user)]

    def _subs(self, user: str, *, every_dex: bool) -> list[Row] | None:
        account = self._accounts.get(user)
        if account is None:
            return None
        address, now_ms = sub_account_of(account), self._clock()
        row: Row = {"name": "spare", "subAccountUser": address, "master": account.address}
        if every_dex:
            row["dexToClearinghouseState"] = [[dex, self.state(address, dex, now_ms)] for dex in figures.DEXES]
        else:
            row["clearinghouseState"] = self.state(address, "", now_ms)
        return [{**row, "spotState": self.spot(address)}]

    def _extra_agents(self, user: str) -> list[Row]:
        account = self._accounts.get(user)
        until = account.expires_at if account and account.expires_at else 4_102_444_800_000
        return [{"name": "perpwire", "address": account.agent, "validUntil": until}] if account else []


def _user(question: Row) -> str:
    return address_of(question.get("user"))


def _dex(question: Row) -> str:
    """Return the dex that is asked for; without one the main dex. Raises Unreadable for an unknown one."""
    dex = question.get("dex") or ""
    if dex not in figures.DEXES:
        raise Unreadable
    return str(dex)
