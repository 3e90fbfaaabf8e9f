"""What traders, venues and treasurers do all the time, at random moments from a seed: the load under which things break."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from exchanges.sim.server import Simulator, wall_clock_ms
from exchanges.sim.state import Impossible, UnknownName
from exchanges.sim.wanted import BadRequest
from tests.system.expected import Books

PAUSE_S = (0.02, 0.25)
# Venues book funding up to so long after the full hour whose positions it is of.
HOUR_MS, BOOKED_MS = 3_600_000, 300_000

Act = Mapping[str, Any]


class Burden:
    """Acts in a simulator's world; counts what happened in ``books``.

    Attributes:
        done: How often what was done.
    """

    def __init__(self, simulator: Simulator, seed: int, accounts: Sequence[str], books: Books) -> None:
        self._simulator, self._books = simulator, books
        self._chosen = random.Random(f"{seed}:burden")
        self._accounts = accounts
        self._kinds: list[Callable[[], Iterator[Act]]] = [
            self._open, self._open, self._add, self._add, self._reduce, self._reduce, self._reduce, self._close, self._close,
            self._flip, self._flip, self._fund, self._fund, self._transfer, self._liquidate, self._deleverage,
        ]  # fmt: skip
        self.done: Counter[str] = Counter()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Let the world go on and act in it meanwhile; it stands still afterwards."""
        self._simulator.control.resume()
        task = asyncio.create_task(self._run(), name="burden")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait({task})
            self._simulator.control.pause()
            self._books.take(self._simulator.world)
            if not task.cancelled():
                task.result()

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._chosen.uniform(*PAUSE_S))
            kind = self._chosen.choice(self._kinds)
            try:
                for act in kind():
                    self._simulator.control.fault(act)
            except (BadRequest, UnknownName, Impossible):  # what this account cannot do now
                self.done["refused"] += 1
            else:
                self.done[kind.__name__.strip("_")] += 1
            if sum(self.done.values()) % 100 == 0:
                self._books.take(self._simulator.world)

    # --- What is done ----------------------------------------------------------------------------------------------

    def _one(self) -> dict[str, Any]:
        return {"account": self._chosen.choice(self._accounts), "nth": self._chosen.randrange(20)}

    def _open(self) -> Iterator[Act]:
        yield {"kind": "open_position", "account": self._chosen.choice(self._accounts)}

    def _held(self) -> Any:
        account = self._chosen.choice(self._accounts)
        world = self._simulator.world
        mine = [p for p in world.positions(account) if world.contract(p.venue, p.symbol).kind != "option"]
        return self._chosen.choice(mine) if mine else None

    def _add(self) -> Iterator[Act]:
        position = self._held()
        if position is not None:
            lot = self._simulator.world.contract(position.venue, position.symbol).lot
            size = max(lot, position.size / 10 // lot * lot)
            yield self._opened(position, position.side, str(size))

    def _flip(self) -> Iterator[Act]:
        position = self._held()
        if position is not None:
            side = "short" if position.side == "long" else "long"
            yield {
                "kind": "close_position",
                "account": position.account,
                "symbol": position.symbol,
                "side": position.side,
            }
            yield self._opened(position, side, str(position.size))

    @staticmethod
    def _opened(position: Any, side: str, size: str) -> Act:
        return {
            "kind": "open_position",
            "account": position.account,
            "symbol": position.symbol,
            "side": side,
            "size": size,
        }

    def _reduce(self) -> Iterator[Act]:
        yield {"kind": "close_position", **self._one(), "share": "0.3"}

    def _close(self) -> Iterator[Act]:
        yield {"kind": "close_position", **self._one()}

    def _fund(self) -> Iterator[Act]:
        if wall_clock_ms() % HOUR_MS <= BOOKED_MS:
            return  # no venue pays then for what is held then
        yield {"kind": "pay_funding", **self._one(), "rate": self._chosen.choice(["0.0001", "-0.00005", "0.0003"])}

    def _transfer(self) -> Iterator[Act]:
        account, amount = self._chosen.choice(self._accounts), self._chosen.choice(["250", "120.5", "-80.25"])
        yield {"kind": "transfer", "account": account, "amount": amount}

    def _liquidate(self) -> Iterator[Act]:
        yield {"kind": "liquidate", **self._one(), "share": self._chosen.choice(["1", "0.5"])}

    def _deleverage(self) -> Iterator[Act]:
        yield {"kind": "adl", **self._one(), "share": self._chosen.choice(["1", "0.4"])}
