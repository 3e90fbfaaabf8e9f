"""Hyperliquid's info questions: what ``POST /info`` and the WebSocket's ``post`` answer, from the same tables.

Owns the switch over question types and who an address is. Unknown addresses are valid and empty, as at the venue.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from typing import Any

from exchanges.sim import hyperliquid_figures as figures
from exchanges.sim.front import Clock
from exchanges.sim.state import Account
from exchanges.sim.world import World

Row = dict[str, Any]

_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")


class Unreadable(Exception):
    """A question that the venue cannot deserialize."""


def address_of(user: object) -> str:
    """Return an address in lower case. Raises Unreadable for anything else."""
    if not isinstance(user, str) or not _ADDRESS.fullmatch(user):
        raise Unreadable
    return user.lower()


def agent_of(account: Account) -> str:
    """Return the address of an account's API wallet: asked for its own state it is valid and empty."""
    return "0x" + hashlib.sha256(f"agent:{account.address}".encode()).hexdigest()[:40]


class Info:
    """Answers over one world."""

    def __init__(self, world: World, clock: Clock) -> None:
        self._world, self._clock = world, clock
        self._accounts = {account.address: account for account in world.accounts_of("hyperliquid")}
        self._agents = {agent_of(account): account for account in self._accounts.values()}
        self._contracts = {contract.symbol: contract for contract in world.listed("hyperliquid")}
        self._questions: Mapping[str, Callable[[Row], Any]] = {
            "meta": lambda q: figures.meta(world, _dex(q)),
            "metaAndAssetCtxs": lambda q: [figures.meta(world, _dex(q)), self._contexts(_dex(q))],
            "allPerpMetas": lambda q: [figures.meta(world, dex) for dex in figures.DEXES],
            "perpDexs": lambda q: figures.perp_dexs(),
            "marginTable": self._margin_table,
            "spotMeta": lambda q: figures.spot_meta(),
            "allMids": lambda q: self.all_mids(_dex(q))["mids"],
            "clearinghouseState": lambda q: self.state(address_of(q.get("user")), _dex(q), clock()),
            "spotClearinghouseState": lambda q: self.spot(address_of(q.get("user"))),
            "userRole": lambda q: self._role(address_of(q.get("user"))),
            "userAbstraction": lambda q: self._abstraction(address_of(q.get("user"))),
            "exchangeStatus": lambda q: {"specialStatuses": None, "time": clock()},
        }

    def answer(self, question: object) -> Any:
        """Return the answer to a question. Raises Unreadable for an unknown type or bad arguments."""
        if not isinstance(question, dict) or question.get("type") not in self._questions:
            raise Unreadable
        return self._questions[question["type"]](question)

    def name_of(self, address: str) -> str | None:
        """Return the account's name, or None."""
        account = self._accounts.get(address)
        return account.name if account else None

    def lists(self, coin: object) -> bool:
        """Say whether a coin is listed on any dex."""
        return coin in self._contracts

    def state(self, user: str, dex: str, now_ms: int) -> Row:
        """Return a clearinghouse state."""
        return figures.clearinghouse_state(self._world, self._accounts.get(user), dex, now_ms)

    def spot(self, user: str) -> Row:
        """Return spot balances."""
        return figures.spot_state(self._accounts.get(user))

    def context(self, coin: str) -> Row:
        """Return a coin's context."""
        return figures.context(self._world, self._contracts[coin])

    def all_mids(self, dex: str) -> Row:
        """Return the mids of a dex; other dexes than the main one are named."""
        mids = {
            c.symbol: figures.shown(figures.mid_price(self._world, c)) for c in self._contracts.values() if c.dex == dex
        }
        return {"mids": mids, "dex": dex} if dex else {"mids": mids}

    def _contexts(self, dex: str) -> list[Row]:
        return [figures.context(self._world, c) for c in self._contracts.values() if c.dex == dex]

    def _margin_table(self, question: Row) -> Row:
        number = question.get("id")
        for symbol, table in figures.table_ids(self._contracts.values()).items():
            if table == number:
                return figures.margin_table(self._contracts[symbol].tiers)
        raise Unreadable

    def _role(self, user: str) -> Row:
        if user in self._agents:
            return {"role": "agent", "data": {"user": self._agents[user].address}}
        return {"role": "user" if user in self._accounts else "missing"}

    def _abstraction(self, user: str) -> str:
        return "disabled" if user in self._accounts else "default"


def _dex(question: Row) -> str:
    """Return the dex that is asked for; without one the main dex. Raises Unreadable for an unknown one."""
    dex = question.get("dex") or ""
    if dex not in figures.DEXES:
        raise Unreadable
    return str(dex)
