"""What people ask of the past: the gateway's answers to the routes of stored history, by the read pool and a fresh engine.

Owns which price of a currency counts for whom, and how a question that cannot be answered is refused. Arithmetic that takes its
time runs beside the loop.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator, Mapping
from typing import Any

from exchanges.events import Instrument, MarginTiers
from gateway.core import sums as folding
from gateway.core.accounts import AccountInfo
from gateway.core.lookup import Asked, Page, Span
from gateway.core.protocol import Refusal
from gateway.core.sums import Rate, Row, Sum
from gateway.engine import Engine
from gateway.past import rows as as_they_stood
from gateway.storage import past, sums
from gateway.storage.errors import StorageError
from gateway.storage.postgres import Connection
from gateway.storage.queries import Reader

# Prices of moments that are over do not change: as many are kept.
_RATES_KEPT = 20_000
_OVER_MS = 60_000

RateKey = tuple[str, str, int]  # env, currency, moment


class HistoryDesk:
    """Answers by what is stored. ``reader``: returns the pool; None: there is no database yet."""

    def __init__(self, engine: Engine, reader: Callable[[], Reader | None], now_ms: Callable[[], int]) -> None:
        self._engine, self._reader, self._now_ms = engine, reader, now_ms
        self._rates: dict[RateKey, dict[str, Rate]] = {}

    def infos(self) -> Mapping[str, AccountInfo]:
        """Return what configuration says of each account."""
        return {name: account.info for name, account in self._engine.accounts.items()}

    async def page(self, asked: Asked) -> Page:
        """Return a page of records, the newest first. Raises Refusal."""
        with _refusals():
            return await self._pool().page(asked)

    async def chunks(self, asked: Asked) -> AsyncIterator[list[str]]:
        """Yield all records, the oldest first. Raises Refusal."""
        with _refusals():
            async for chunk in self._pool().chunks(asked):
                yield chunk

    async def pnl(
        self, span: Span, accounts: Collection[str] | None, symbols: Collection[str] | None, by: Collection[str]
    ) -> list[Row]:
        """Return what was realised, by bucket, ``by`` and currency. Raises Refusal."""
        infos = self.infos()
        apart = bool({"account", "strategy"} & set(by))
        with _refusals():
            async with self._pool().connection() as connection:
                owners = await sums.owners(connection)
                chosen = sorted(owners if accounts is None else set(accounts) & owners.keys())
                found = await sums.realized(
                    connection, span, chosen, symbols, self._now_ms(), by_account=apart, by_symbol="symbol" in by
                )
                if len(found) > sums.MOST_SUMS:
                    raise Refusal(
                        "bad_filter",
                        f"more than {sums.MOST_SUMS} sums; choose wider buckets, a shorter time, or fewer groups",
                    )
                wanted = {(one.env, one.ccy, span.edges[one.bucket + 1]) for one in found if one.ccy}
                priced = await self._prices(connection, wanted, owners)

        def head(one: Sum) -> Row:
            info = infos.get(one.account or "")
            given: Row = {
                "account": one.account,
                "strategy": info.strategy if info else None,
                "venue": one.venue or None,
                "symbol": one.symbol or None,
            }
            return {name: given[name] for name in by}

        return await asyncio.to_thread(folding.realized_rows, found, span, head, priced)

    async def equity(self, span: Span, accounts: Collection[str] | None, by: Collection[str]) -> list[Row]:
        """Return what accounts were worth, gross and net of transfers, by bucket and ``by``. Raises Refusal."""
        infos = self.infos()
        with _refusals():
            async with self._pool().connection() as connection:
                owners = await sums.owners(connection)
                chosen = sorted(owners if accounts is None else set(accounts) & owners.keys())
                bases, samples = await sums.samples(connection, span, chosen)
                flows = await sums.flows(connection, span.since - sums.RATE_AGE_MS, span.until, chosen)
                # The price of a minute serves all that came and went in it.
                moments = [-(-flow.at // 60_000) * 60_000 for flow in flows]
                wanted = {(owners[flow.account].env, flow.ccy, at) for flow, at in zip(flows, moments, strict=True)}
                priced = await self._prices(connection, wanted, owners)

        def head(name: str) -> Row:
            owner, info = owners[name], infos.get(name)
            given: Row = {"account": name, "strategy": info.strategy if info else None, "venue": owner.venue}
            return {one: given[one] for one in by} | {"env": owner.env, "execution": owner.execution}

        def folded() -> list[Row]:
            worth = [
                (
                    flow,
                    float(flow.amount) * priced(owners[flow.account].venue, owners[flow.account].env, flow.ccy, at).usd,
                )
                for flow, at in zip(flows, moments, strict=True)
            ]
            return folding.equity_rows(span, bases, samples, worth, head)

        return await asyncio.to_thread(folded)

    async def positions_at(self, accounts: Collection[str], at: int) -> dict[str, Row]:
        """Return positions as they stood at a moment, by id. Raises Refusal."""
        infos = self.infos()
        with _refusals():
            async with self._pool().connection() as connection:
                owners = await sums.owners(connection)
                stood = await past.stood(connection, [name for name in accounts if name in owners], at)
                settles = {(one.venue, one.env, one.settle) for one in stood.instruments}
                settles |= {
                    (infos[state.account].venue, infos[state.account].env, state.settle)
                    for state, _ in stood.states
                    if state.settle
                }
                priced = await self._prices(connection, {(env, ccy, at + 1) for _, env, ccy in settles}, owners)
        rates = {(venue, env, ccy): priced(venue, env, ccy, at + 1) for venue, env, ccy in settles}
        marks = {
            key: (mark.value, mark.venue_at if mark.venue_at is not None else mark.at)
            for key, mark in stood.marks.items()
        }
        engine = self._engine.alike(infos[name] for name in sorted(accounts))
        contracts: list[Instrument | MarginTiers] = [*stood.instruments, *stood.tiers]
        return await asyncio.to_thread(as_they_stood, engine, stood.states, contracts, marks, rates, at)

    async def timeline(self, account: str, position: str, asked: Asked) -> Page | None:
        """Return what changed a position, the newest first; None where it never was. Raises Refusal."""
        with _refusals():
            async with self._pool().connection() as connection:
                found = await past.which(connection, account, position)
                if found is None:
                    return None
                return await past.timeline(connection, account, position, found, asked)

    async def entry(self, place: int) -> dict[str, Any] | None:
        """Return an entry of the journal; None where none is kept of that place. Raises Refusal."""
        with _refusals():
            async with self._pool().connection() as connection:
                return await past.entry(connection, place)

    # --- inside ----------------------------------------------------------------------------------------------------------

    def _pool(self) -> Reader:
        reader = self._reader()
        if reader is None:
            raise Refusal("storage_unreachable", "the database is not up yet; ask again in a moment")
        return reader

    async def _prices(
        self, connection: Connection, wanted: Iterable[RateKey], owners: Mapping[str, sums.Owner]
    ) -> folding.Priced:
        """Return what tells the prices of currencies at some moments."""
        keys = set(wanted)
        known = {key: self._rates[key] for key in keys & self._rates.keys()}
        found = await sums.rates(connection, keys - known.keys(), {owner.venue for owner in owners.values()})
        over = self._now_ms() - _OVER_MS
        if len(self._rates) > _RATES_KEPT:
            self._rates.clear()
        self._rates |= {key: by_venue for key, by_venue in found.items() if key[2] < over}
        found |= known
        return lambda venue, env, ccy, at: folding.rate(found.get((env, ccy, at), {}), venue, ccy)


@contextlib.contextmanager
def _refusals() -> Iterator[None]:
    """Refuse what the database cannot answer, in its own words."""
    try:
        yield
    except StorageError as error:
        raise Refusal("storage_unreachable", f"{error}. What is live is served without it") from error
