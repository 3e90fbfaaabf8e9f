"""Which report of a position (or an order) is the newer one: ordering fences, and what a full snapshot closes.

Owns the rules under "The venue is right": order is the venue's own (sequence or times), never arrival; a REST answer counts
from the moment it was asked; the fence of a closed position outlives the row until a snapshot that was asked after the close.
Pure; times come as arguments (ms of one monotone clock).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple, Protocol

Fence = tuple[int, ...]


class Report(Protocol):
    """One report of a position or an order."""

    @property
    def id(self) -> str: ...
    @property
    def account(self) -> str: ...
    @property
    def scope(self) -> str: ...
    @property
    def fence(self) -> Fence: ...


class Full(Protocol):
    """A full replacement of one scope of an account."""

    @property
    def account(self) -> str: ...
    @property
    def scope(self) -> str: ...
    @property
    def fence(self) -> Fence: ...
    @property
    def asked_at(self) -> int | None: ...


class Held(NamedTuple):
    """What is known of an open position: its venue fence, and when (our clock) it was applied."""

    fence: Fence
    applied_at: int


class Closed(NamedTuple):
    """What is remembered of a closed one."""

    fence: Fence
    closed_at: int
    account: str
    scope: str


def is_older(fence: Fence, than: Fence) -> bool:
    """Say whether a venue fence is certainly older; without both fences nothing is certain."""
    return bool(fence and than) and fence < than


class Fences:
    """Ordering fences of open and closed positions, bounded: the oldest closed ones beyond ``max_closed`` are forgotten."""

    def __init__(self, max_closed: int = 100_000) -> None:
        self._open: dict[str, Held] = {}
        self._closed: dict[str, Closed] = {}
        self._asked: dict[tuple[str, str], int] = {}  # (account, scope) → when the newest applied snapshot was asked
        self._max_closed = max_closed

    def accepts(self, state: Report, asked_at: int | None) -> bool:
        """Say whether a report may be applied: it is not older than what is known of that position."""
        if asked_at is not None and asked_at < self._asked.get((state.account, state.scope), asked_at):
            return False
        held = self._open.get(state.id)
        if held is not None:
            if is_older(state.fence, held.fence):
                return False
            # Without a newer fence a REST answer speaks of the moment it was asked.
            newer = bool(held.fence) and state.fence > held.fence
            return newer or asked_at is None or asked_at >= held.applied_at
        closed = self._closed.get(state.id)
        if closed is None:
            return True
        if state.fence and closed.fence:
            return state.fence > closed.fence
        return asked_at is None or asked_at > closed.closed_at

    def opened(self, state: Report, now: int) -> None:
        """Remember an applied report of an open position."""
        held = self._open.get(state.id)
        fence = max(state.fence, held.fence) if held else state.fence
        self._open[state.id] = Held(fence, now)
        self._closed.pop(state.id, None)

    def closed(self, state: Report, fence: Fence, now: int) -> None:
        """Remember a close: ``state`` is the row that went away, ``fence`` the venue order of the closing report."""
        held = self._open.pop(state.id, None)
        highest = max(fence, held.fence if held else (), state.fence)
        self._closed.pop(state.id, None)
        self._closed[state.id] = Closed(highest, now, state.account, state.scope)
        if len(self._closed) > self._max_closed:
            del self._closed[next(iter(self._closed))]

    def covered(self, account: str, scope: str) -> int | None:
        """Return when the newest full report of that scope was asked (our clock); None: there was none in this life."""
        return self._asked.get((account, scope))

    def restart(self) -> None:
        """Forget all order: what is open was restored from an earlier life, and every word of the venue is newer than that."""
        self._open = {row_id: Held((), 0) for row_id in self._open}

    def missing(self, snapshot: Full, present: Collection[str], rows: Mapping[str, Report]) -> list[str]:
        """Return the ids of ``rows`` (the account's rows of that scope) that the snapshot, which holds ``present``, closes.

        A row that changed after the snapshot was asked, or that the venue itself dates later, stays.
        """
        gone = []
        for row_id in sorted(rows.keys() - set(present)):
            held = self._open[row_id]
            changed_since = snapshot.asked_at is not None and held.applied_at > snapshot.asked_at
            if not changed_since and not is_older(snapshot.fence, held.fence):
                gone.append(row_id)
        return gone

    def begin_snapshot(self, snapshot: Full, now: int) -> bool:
        """Note a snapshot that is about to be applied; False: one asked later was applied already, so it says nothing new.

        Fences of positions that closed before it was asked are dropped: it speaks of them itself, and answers asked
        earlier are refused from now on.
        """
        asked_at = snapshot.asked_at if snapshot.asked_at is not None else now
        scope = (snapshot.account, snapshot.scope)
        if asked_at < self._asked.get(scope, asked_at):
            return False
        self._asked[scope] = asked_at
        done = [
            row_id
            for row_id, closed in self._closed.items()
            if (closed.account, closed.scope) == scope
            and asked_at > closed.closed_at
            and not (snapshot.fence and closed.fence and snapshot.fence <= closed.fence)
        ]
        for row_id in done:
            del self._closed[row_id]
        return True
