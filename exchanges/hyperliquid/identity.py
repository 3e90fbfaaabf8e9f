"""Who a Hyperliquid address is: a user, a vault, a sub-account, an agent, or nobody yet. Pure.

Owns what ``userRole`` answers. Everything is read by address, unsigned: there is no key whose powers could be asked for. Source:
Hyperliquid docs, info endpoint, "Query a user's role".
"""

from __future__ import annotations

from exchanges.errors import AuthFailed
from exchanges.events import KeyInfo
from exchanges.hyperliquid import tables, wire
from exchanges.venue import Notice, Output


class RoleData(wire.Wire):
    """Who stands behind an address: the owner of an agent."""

    user: str | None = None


class Role(wire.Wire):
    """Answer to ``userRole``."""

    role: str
    data: RoleData | None = None


def parse_role(role: Role, account: str, address: str) -> list[Output]:
    """Translate the role of an account's address.

    Raises:
        AuthFailed: The address is an agent's: its own state is empty and valid.
    """
    if role.role == "agent":
        raise _agent(role, account, address)
    key = KeyInfo(account=account, powers=(), owner=address, label=wire.clip(role.role, 60))
    if role.role == "missing":
        what = f"{address} was never seen on this chain: check the address and env of account {account}"
        return [key, Notice(code="missing", what=what)]
    if role.role not in tables.ROLES:
        what = f"{address} has the unknown role {role.role!r}"
        return [key, Notice(code="unknown_role", what=wire.clip(what))]
    return [key]


def _agent(role: Role, account: str, address: str) -> AuthFailed:
    master = role.data.user if role.data and role.data.user else "its master account"
    return AuthFailed(
        f"{tables.NAME} account {account}",
        f"{address} is an agent (API wallet) of {wire.clip(master, 60)}: an agent's own address shows an empty account",
        code="agent",
        do=f"Put the master's address: {wire.clip(master, 60)}",
    )
