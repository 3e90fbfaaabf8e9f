"""``perpwire reconcile``: what the store and the venues say, side by side, through the running gateway.

Owns the question to the gateway and the text of its answer. Only where no gateway runs may ``force`` write into the database
itself, under the writer lock that a running gateway would hold.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from gateway import asking
from gateway.config import Config
from gateway.store import forget_rows

_TIMEOUT_S = 60.0


async def ask(url: str, mode: str, accounts: Sequence[str], reason: str | None) -> dict[str, Any]:
    """Return the gateway's answer, per account. Raises NoAnswer."""
    body = {"mode": mode, "accounts": list(accounts) or None, "reason": reason}
    answer = await asking.ask(url, "/internal/reconcile", timeout_s=_TIMEOUT_S, method="POST", json=body)
    found: dict[str, Any] = answer["accounts"]
    return found


async def force_offline(config: Config, accounts: Sequence[str], reason: str) -> dict[str, Any]:
    """Close the stored rows of accounts while no gateway runs. Raises StorageError (a running one holds the lock)."""
    return {
        name: {"rows": count, "closed": count}
        for name, count in (await forget_rows(config.storage, accounts, reason)).items()
    }


def report(answer: dict[str, Any]) -> Iterator[str]:
    """Yield the lines of an answer for humans."""
    for account, found in answer.items():
        yield f"{account}: {found['rows']} rows"
        if "error" in found:
            yield f"  the venue could not be asked: {found['error']}"
        if "refused" in found:
            yield f"  {found['refused']}"
        if "closed" in found:
            yield f"  closed {found['closed']} rows"
        for one in found.get("differences", ()):
            yield f"  {one['position']} {one['field']}: store {one['store'] or '-'} | venue {one['venue'] or '-'}"
        for flaw in found.get("flaws", ()):
            yield f"  not understood: {flaw}"
        if "differences" in found and not found["differences"]:
            yield "  store and venue agree"
        if "verified_at" in found:
            yield "  the store was corrected"
