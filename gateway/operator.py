"""What somebody asks for at once: figures no older than so much, and the store held against the venues.

Owns nothing; asks through the accounts' rounds, so that the venues' limits and the order of answers hold.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection

import msgspec

from exchanges.errors import VenueError
from gateway.core.compare import compare
from gateway.core.records import Demanded, Forgotten, Order
from gateway.engine import Engine
from gateway.feeds import Feeds
from gateway.web.state import ReconcileRequest, Verification

# Does what somebody orders as a turn of its own; returns False where it failed.
Act = Callable[[Order, str], bool]


class Operator:
    """The gateway's answers to ``max_age_ms`` and to ``perpwire reconcile``."""

    def __init__(self, engine: Engine, feeds: Feeds, act: Act) -> None:
        self._engine, self._feeds, self._act = engine, feeds, act

    async def verify(
        self, accounts: Collection[str], max_age_ms: int, venues: Collection[str] | None = None
    ) -> Verification:
        """Ask the venues of those accounts where they were asked longer ago than that; all at once."""
        accounts = [name for name in accounts if venues is None or self._engine.accounts[name].info.venue in venues]
        failed: dict[str, str] = {}

        async def one(account: str) -> None:
            rounds = self._feeds.rounds[account]
            try:
                if not rounds.is_fresh(max_age_ms):
                    self._demand(account)
                await rounds.verified(max_age_ms)
            except VenueError as error:
                failed[account] = str(error)

        async with asyncio.TaskGroup() as group:
            for account in accounts:
                group.create_task(one(account))
        moments = {name: self._engine.accounts[name].verified_at for name in accounts}
        return Verification({name: at for name, at in moments.items() if at is not None}, failed)

    async def reconcile(self, asked: ReconcileRequest) -> dict[str, object]:
        """Compare the store with the venues; ``apply`` corrects it, ``force`` closes the rows of accounts out of reach."""
        names = sorted(asked.accounts or self._feeds.rounds)
        answers = await asyncio.gather(*(self._reconcile(name, asked) for name in names))
        return dict(zip(names, answers, strict=True))

    async def _reconcile(self, name: str, asked: ReconcileRequest) -> dict[str, object]:
        account = self._engine.accounts[name]
        rounds = self._feeds.rounds[name]
        rows = [self._engine.positions[row_id].state for row_id in sorted(account.positions)]
        try:
            found = await rounds.inquiry.state()
        except VenueError as error:
            if asked.mode != "force":
                return {"rows": len(rows), "error": str(error)}
            return {"rows": len(rows), "error": str(error), "closed": self._force(name, asked.reason or "")}
        answer: dict[str, object] = {
            "rows": len(rows),
            "differences": msgspec.to_builtins(compare(rows, found.events)),
            "asked_at": found.asked_at,
        }
        if found.flaws:
            answer["flaws"] = list(found.flaws)
        if asked.mode == "apply":
            self._demand(name)
            answer["verified_at"] = await rounds.verified(0)
        elif asked.mode == "force":
            answer["refused"] = "the venue answers: nothing has to be forced. Use --apply"
        return answer

    def _demand(self, account: str) -> None:
        self._act(Demanded(account=account), f"asking for {account}")

    def _force(self, name: str, reason: str) -> int:
        before = len(self._engine.accounts[name].positions)
        self._act(Forgotten(account=name, reason=reason), f"forcing {name}")
        return before - len(self._engine.accounts[name].positions)
