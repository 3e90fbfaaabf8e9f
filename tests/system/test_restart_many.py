"""A restart over two hundred stored positions, of which twenty changed and ten vanished while nobody looked."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

from exchanges.sim.server import Simulator
from exchanges.sim.world import World
from gateway.client import Client
from tests.system.desk import Desk, desk, eventually, running_simulator, stored_at

STORED, CHANGED, VANISHED = 200, 20, 10
# One account a venue holds the many: (account, contract to copy, how a copy is called).
MANY = (
    ("okx-main", "BTC-USDT-SWAP", "B{n:03}-USDT-SWAP"),
    ("bybit-main", "BTCUSDT", "B{n:03}USDT"),
    ("hl-main", "BTC", "B{n:03}"),
    ("aster-main", "BTCUSDT", "B{n:03}USDT"),
)


def fill_up(world: World) -> list[tuple[str, str]]:
    """List copies of a contract and open small positions in them until the world holds ``STORED``; returns the new ones."""
    made = []
    missing = STORED - sum(len(account.positions) for account in world.accounts.values())
    for n in range(missing):
        account, model, name = MANY[n % len(MANY)]
        contract = world.contract(world.account(account).venue, model)
        symbol = name.format(n=n)
        world.enlist(replace(contract, symbol=symbol))
        world.open_position(account, symbol, "long", contract.lot)
        made.append((account, symbol))
    return made


class Watcher:
    """Every row that a client is shown must be marked as restored, or be the truth."""

    def __init__(self, simulator: Simulator) -> None:
        self.lies: set[str] = set()
        self.restored: set[str] = set()
        self.rows = 0
        self._simulator = simulator

    def look(self, client: Client) -> bool:
        truly = {
            (position["account"], position["symbol"], position["side"], position["margin_mode"]): position["size"]
            for position in self._simulator.control.truth()["positions"]
        }
        for row_id, row in client.tables["positions"].items():
            self.rows += 1
            if "stale" in row:
                if row["stale"]["reason"] == "restored":
                    self.restored.add(row_id)
                continue
            size = truly.get((row["account"], row["symbol"], row["side"], row["margin_mode"]))
            if size is None or Decimal(size) != Decimal(row["size"]):
                self.lies.add(f"{row_id}: shown as live with {row['size']}, truly {size}")
        return False


async def test_the_store_is_corrected_at_once_every_correction_is_on_record_and_nothing_restored_is_shown_as_live(
    dsn: str, folder: Path
) -> None:
    async with running_simulator(3) as simulator:
        world = simulator.world
        simulator.control.pause()
        many = fill_up(world)
        async with desk(simulator, folder, changes=(stored_at(dsn),)) as first:
            await first.live()
            await first.settled()
            assert len(first.positions) == STORED
            await eventually(lambda: _written(first), "everything is stored")
        was = {key: world.account(key[0]) for key in many}
        assert len(was) == len(many)
        changed, vanished = many[:CHANGED], many[CHANGED : CHANGED + VANISHED]
        for account, symbol in changed:
            lot = world.contract(world.account(account).venue, symbol).lot
            world.open_position(account, symbol, "long", lot)
        for account, symbol in vanished:
            world.close_position(account, symbol)

        tables = ("positions", "accounts", "feeds", "reconciliations")
        async with desk(simulator, folder, changes=(stored_at(dsn),), tables=tables) as second:
            watcher = Watcher(simulator)
            watcher.look(second.client)
            assert len(second.positions) == STORED
            assert {row["stale"]["reason"] for row in second.positions.values()} == {"restored"}
            await eventually(lambda: watcher.look(second.client) or second.all_live(), "live again", 20)
            await eventually(
                lambda: watcher.look(second.client) or len(second.positions) == STORED - VANISHED, "corrected", 5
            )
            await second.settled()
            watcher.look(second.client)
            assert watcher.lies == set()
            assert len(watcher.restored) == STORED
            await eventually(lambda: not _pending(second), "every correction is classified", 20)
            found = _corrections(second)
            told = Counter(row["class"] for row in found)
            assert len(found) == CHANGED + VANISHED, told
            assert told == {"size": CHANGED, "closed_on_venue": VANISHED}
            assert {row["trigger"] for row in found} == {"start"}
            assert all(row["evidence"] for row in found)
            shown = await second.get("/v1/reconciliations?class=closed_on_venue")
            assert len(shown["reconciliations"]) == VANISHED
            assert second.gaps() == []
            await eventually(lambda: _written(second), "corrections are stored")

        async with desk(simulator, folder, changes=(stored_at(dsn),), tables=tables) as third:
            await third.live()
            await third.settled()
            assert len(_corrections(third)) == CHANGED + VANISHED  # on record still, and none anew


def _written(running: Desk) -> bool:
    status = running.gateway.store.checkpoint.status
    return status.writes > 0 and status.waiting == 0


def _corrections(running: Desk) -> list[dict[str, Any]]:
    return list(running.client.tables["reconciliations"].values())


def _pending(running: Desk) -> bool:
    return any(row.get("pending") for row in _corrections(running))
