"""Reads the stored state back as the very events that were stored: every figure the string that the venue sent.

Owns the shape of what a start gets. A record that this version cannot read (written by another one) is counted and left
out: the venue will tell it again.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec

from exchanges.events import (
    AccountMode,
    BalanceState,
    CollateralTiers,
    Event,
    Fill,
    FundingPayment,
    Instrument,
    MarginTiers,
    PositionState,
    Transfer,
)
from gateway.core.alerts.records import AlertRecord, EquitySample, Silence
from gateway.core.chains import Chain
from gateway.core.records import ClosedCycle, Correction, Covered, OpenCycle
from gateway.storage.mirror import Mirror, StoredAccount
from gateway.storage.postgres import Connection
from gateway.storage.tables import LastCheckpoint, read_checkpoint

_Record = TypeVar("_Record", bound=msgspec.Struct)

# What the tables of a restarted gateway begin with; per account.
NEWEST_FILLS = 500
NEWEST_CLOSED = 200
NEWEST_CORRECTIONS = 200
# Alerts that were resolved longer ago than any cooldown are history.
ALERTS_MS = 86_400_000
_DAY_MS = 86_400_000


class Restored(msgspec.Struct, frozen=True, kw_only=True):
    """The state as it was last written.

    Attributes:
        checkpoint: By whom and when; None: nobody ever wrote into this database.
        unreadable: Number of records that were left out.
    """

    checkpoint: LastCheckpoint | None
    accounts: tuple[StoredAccount, ...] = ()
    modes: tuple[AccountMode, ...] = ()
    instruments: tuple[Instrument, ...] = ()
    tiers: tuple[MarginTiers, ...] = ()
    collateral: tuple[CollateralTiers, ...] = ()
    balances: tuple[BalanceState, ...] = ()
    positions: tuple[PositionState, ...] = ()
    fills: tuple[Fill, ...] = ()
    closed: tuple[ClosedCycle, ...] = ()
    corrections: tuple[Correction, ...] = ()
    transfers: tuple[Transfer, ...] = ()
    funding: tuple[FundingPayment, ...] = ()
    covered: tuple[Covered, ...] = ()
    cycles: tuple[OpenCycle, ...] = ()
    equity: tuple[EquitySample, ...] = ()
    silences: tuple[Silence, ...] = ()
    alerts: tuple[AlertRecord, ...] = ()
    unreadable: int = 0

    def events(self) -> list[Event]:
        """Return everything in the order in which an engine needs it: contracts first, positions last."""
        tables = (*self.instruments, *self.tiers, *self.collateral)
        states = (*tables, *self.modes, *self.balances, *self.positions)
        of_today = (*self.transfers, *self.funding, *self.equity, *self.covered, *self.cycles)
        return [*states, *self.fills, *self.closed, *self.corrections, *of_today, *self.silences, *self.alerts]


async def read(connection: Connection, mirror: Mirror, now: int) -> Restored:
    """Read everything in one snapshot, and let ``mirror`` know what the database holds (nothing becomes dirty by it).

    What the mirror already knows is newer and stays. ``now``: of money that moved and equity that of its UTC day is read (ms), and
    of open positions the funding since they were opened.
    """
    reader = _Reader()
    today = now // _DAY_MS * _DAY_MS
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        accounts = await reader.accounts(connection, mirror)
        contracts = await reader.contracts(connection, mirror)
        return Restored(
            checkpoint=await read_checkpoint(connection),
            accounts=accounts,
            modes=tuple(mirror.modes.values()),
            instruments=contracts,
            tiers=tuple(tiers for of_key in mirror.tiers.values() for tiers in of_key.values()),
            collateral=await reader.collateral(connection, mirror),
            balances=await reader.balances(connection, mirror),
            positions=await reader.positions(connection, mirror),
            fills=await reader.fills(connection, today),
            closed=await reader.newest(connection, "closed_cycles", ClosedCycle, NEWEST_CLOSED),
            corrections=await reader.newest(connection, "reconciliations", Correction, NEWEST_CORRECTIONS),
            transfers=await reader.since(connection, "transfers", Transfer, today),
            funding=await reader.funding(connection, today),
            covered=await reader.since(connection, "coverage", Covered, 0),
            cycles=await reader.cycles(connection),
            equity=await reader.since(connection, "equity_samples", EquitySample, today),
            silences=await reader.silences(connection, mirror, now),
            alerts=await reader.alerts(connection, mirror, now),
            unreadable=reader.unreadable,
        )


class _Reader:
    """One reading: counts what it could not decode."""

    def __init__(self) -> None:
        self.unreadable = 0

    def _decode(self, text: str, kind: type[_Record]) -> _Record | None:
        try:
            return msgspec.json.decode(text, type=kind)
        except msgspec.ValidationError:
            self.unreadable += 1
            return None

    def _tiers(self, text: str) -> tuple[MarginTiers, ...]:
        try:
            return msgspec.json.decode(text, type=tuple[MarginTiers, ...])
        except msgspec.ValidationError:
            self.unreadable += 1
            return ()

    async def accounts(self, connection: Connection, mirror: Mirror) -> tuple[StoredAccount, ...]:
        found = []
        for row in await connection.fetch("SELECT * FROM accounts ORDER BY name"):
            account = StoredAccount(
                name=row["name"],
                venue=row["venue"],
                env=row["env"],
                region=row["region"],
                user=row["user_name"],
                execution=row["execution"],
            )
            found.append(account)
            mirror.accounts.setdefault(account.name, (account, row["updated_at"]))
            if row["mode"] is not None and (mode := self._decode(row["mode"], AccountMode)):
                mirror.modes.setdefault(mode.account, mode)
        return tuple(found)

    async def contracts(self, connection: Connection, mirror: Mirror) -> tuple[Instrument, ...]:
        found = []
        for row in await connection.fetch("SELECT state, tiers, last_sync FROM contracts ORDER BY venue, env, symbol"):
            if row["tiers"] is not None:
                for tiers in self._tiers(row["tiers"]):
                    mirror.learn_tiers(tiers)
            if instrument := self._decode(row["state"], Instrument):
                found.append(instrument)
                mirror.learn_instrument(instrument, row["last_sync"])
        return tuple(found)

    async def collateral(self, connection: Connection, mirror: Mirror) -> tuple[CollateralTiers, ...]:
        for row in await connection.fetch("SELECT state, last_sync FROM collateral ORDER BY venue, env, ccy"):
            if tiers := self._decode(row["state"], CollateralTiers):
                mirror.collateral.setdefault((tiers.venue, tiers.env, tiers.ccy), (tiers, row["last_sync"]))
        return tuple(tiers for tiers, _ in mirror.collateral.values())

    async def balances(self, connection: Connection, mirror: Mirror) -> tuple[BalanceState, ...]:
        found = []
        for row in await connection.fetch("SELECT state, updated_at FROM balances ORDER BY account, scope"):
            if balance := self._decode(row["state"], BalanceState):
                found.append(balance)
                mirror.learn_balance(balance, row["updated_at"])
        return tuple(found)

    async def positions(self, connection: Connection, mirror: Mirror) -> tuple[PositionState, ...]:
        found = []
        rows = await connection.fetch("SELECT state, updated_seq, updated_at FROM current_positions ORDER BY id")
        for row in rows:
            if state := self._decode(row["state"], PositionState):
                found.append(state)
                mirror.learn_position(state, row["updated_seq"], row["updated_at"])
        return tuple(found)

    async def newest(self, connection: Connection, table: str, kind: type[_Record], count: int) -> tuple[_Record, ...]:
        """Return the newest records of each account, oldest first."""
        rows = await connection.fetch(
            f"SELECT r.state FROM accounts AS a CROSS JOIN LATERAL "
            f"(SELECT state, at, id FROM {table} WHERE account = a.name ORDER BY at DESC, id DESC LIMIT $1) AS r "
            "ORDER BY r.at, r.id",
            count,
        )
        return tuple(record for row in rows if (record := self._decode(row["state"], kind)))

    async def since(self, connection: Connection, table: str, kind: type[_Record], at: int) -> tuple[_Record, ...]:
        """Return the records from a moment on, oldest first."""
        rows = await connection.fetch(f"SELECT state FROM {table} WHERE at >= $1 ORDER BY at, id", at)
        return tuple(record for row in rows if (record := self._decode(row["state"], kind)))

    async def fills(self, connection: Connection, today: int) -> tuple[Fill, ...]:
        """Return the newest of each account and all of today, oldest first."""
        found = {one.id: one for one in await self.newest(connection, "fills", Fill, NEWEST_FILLS)}
        found |= {one.id: one for one in await self.since(connection, "fills", Fill, today)}
        return tuple(sorted(found.values(), key=lambda one: (one.at, one.id)))

    async def funding(self, connection: Connection, today: int) -> tuple[FundingPayment, ...]:
        """Return today's payments, and those of open positions since they were opened, oldest first."""
        rows = await connection.fetch(
            "SELECT state FROM funding AS f WHERE at >= $1 OR EXISTS (SELECT FROM current_positions AS p "
            "WHERE p.account = f.account AND p.symbol = f.symbol AND f.at >= p.opened_at AND p.state ->> 'funding' IS NULL) "
            "ORDER BY at, id",
            today,
        )
        return tuple(record for row in rows if (record := self._decode(row["state"], FundingPayment)))

    async def cycles(self, connection: Connection) -> tuple[OpenCycle, ...]:
        """Return the cycles that are under way, of symbols in which every stored record is worked out."""
        rows = await connection.fetch(
            "SELECT id, account, symbol, at, state FROM open_cycles WHERE late IS NULL AND NOT behind ORDER BY id"
        )
        found = []
        for row in rows:
            if self._decode(row["state"], Chain) is not None:
                chain = msgspec.Raw(row["state"].encode())
                found.append(
                    OpenCycle(id=row["id"], account=row["account"], symbol=row["symbol"], at=row["at"], chain=chain)
                )
        return tuple(found)

    async def silences(self, connection: Connection, mirror: Mirror, now: int) -> tuple[Silence, ...]:
        rows = await connection.fetch("SELECT state FROM silences WHERE until > $1 ORDER BY id", now)
        found = tuple(silence for row in rows if (silence := self._decode(row["state"], Silence)))
        mirror.standing.update({("silences", one.id): one for one in found})
        return found

    async def alerts(self, connection: Connection, mirror: Mirror, now: int) -> tuple[AlertRecord, ...]:
        rows = await connection.fetch(
            "SELECT state FROM alerts WHERE standing IN ('pending', 'firing') OR (standing = 'resolved' AND at > $1) "
            "ORDER BY id",
            now - ALERTS_MS,
        )
        found = tuple(alert for row in rows if (alert := self._decode(row["state"], AlertRecord)))
        mirror.standing.update({("alerts", one.id): one for one in found})
        return found
