"""Who may see what: principals, and the resolution of what a client asks into the selection that it gets. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import msgspec

from gateway.core.protocol import Refusal
from gateway.core.tables import Selection, Tables


class Principal(msgspec.Struct, frozen=True):
    """Somebody whom requests are made for.

    Attributes:
        name: For logs and limits; never a secret.
        user: Whose summaries may be seen; None: everybody's.
        accounts: Which accounts may be seen; None: all.
    """

    name: str
    user: str | None = None
    accounts: frozenset[str] | None = None

    @property
    def sees_everything(self) -> bool:
        """True where nothing is withheld."""
        return self.user is None and self.accounts is None


# Whoever reaches a gateway that listens on loopback without auth: the operator's own machine.
LOCAL = Principal("local")


def resolve(
    tables: Tables,
    table: str,
    principal: Principal,
    known: Collection[str],
    *,
    accounts: Sequence[str] | None = None,
    symbols: Sequence[str] | None = None,
    min_interval_ms: int = 0,
) -> Selection:
    """Return what the principal gets when it asks for this: accounts asked ∩ allowed, symbols or all.

    Args:
        known: The names of all configured accounts.

    Raises:
        Refusal: unknown_table, bad_filter, or unknown_account (also for an account that may not be seen: which
            accounts exist is nobody else's business).
    """
    if table not in tables:
        raise Refusal("unknown_table", f"there is no table {table!r}; the tables are {', '.join(tables.names)}")
    filters = tables[table].filters
    for name, values in (("accounts", accounts), ("symbols", symbols)):
        if values is None:
            continue
        if name not in filters:
            raise Refusal("bad_filter", f"table {table!r} cannot be filtered by {name}; leave it out")
        if not values:
            raise Refusal("bad_filter", f"{name} is an empty list, which chooses nothing; leave it out to get all")
    return Selection(
        table,
        accounts=_allowed(accounts, principal, known),
        symbols=None if symbols is None else tuple(sorted(set(symbols))),
        users=None if principal.user is None else (principal.user,),
        min_interval_ms=min_interval_ms,
    )


def _allowed(asked: Sequence[str] | None, principal: Principal, known: Collection[str]) -> tuple[str, ...] | None:
    if asked is None:
        return None if principal.accounts is None else tuple(sorted(principal.accounts))
    for account in asked:
        if account not in known or (principal.accounts is not None and account not in principal.accounts):
            raise Refusal("unknown_account", f"there is no account {account!r} that you may see")
    return tuple(sorted(set(asked)))
