from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exchanges.events import FundingPayment
from gateway.core.lookup import KINDS, LATEST, Asked, parse_cursor, span
from gateway.storage import sums
from gateway.storage.errors import PostgresAway, ReadRefused
from gateway.storage.partitions import partition
from gateway.storage.queries import Reader, statement
from tests.gateway.events_of import instrument
from tests.gateway.past_rows import DAY, DEMO, EMPTY, HOUR, MAIN, OTHER, T0, cycle, fill, sample, transfer, write


@pytest.fixture
async def db(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(dsn)
    await connection.execute(EMPTY)
    await write(connection, accounts=(MAIN, OTHER, DEMO))
    yield connection
    await connection.close()


@pytest.fixture
async def reader(dsn: str) -> AsyncIterator[Reader]:
    one = Reader(dsn)
    yield one
    await one.close()


async def ids(reader: Reader, asked: Asked) -> list[str]:
    return [row_id for row_id, _ in (await reader.page(asked)).rows]


# --- lists -------------------------------------------------------------------------------------------------------------


async def test_a_record_comes_as_it_was_stored(db: asyncpg.Connection, reader: Reader) -> None:
    await write(db, cycle(), journal=1 << 60)
    ((_, record),) = (await reader.page(Asked(kind="history"))).rows
    row = json.loads(record)
    assert row == {
        "id": "main:BTC-USDT-SWAP:net@000001", "account": "main", "user": "ann", "venue": "okx", "env": "live",
        "position": "main:BTC-USDT-SWAP:net", "symbol": "BTC-USDT-SWAP", "side": "long", "status": "closed", "reason": "trade",
        "settle": "USDT", "size": "1.50", "entry_price": "100.10", "exit_price": "110.00000000000000000001",
        "realized_pnl": "14.85", "fees": "-0.30", "funding": "0.0", "liquidation_fee": "0", "realized_net": "14.55",
        "opened_at": T0 - HOUR, "closed_at": T0, "duration_ms": HOUR, "fills": 2, "partial_closes": 0, "complete": True,
        "other_fees": {}, "differs": {}, "journal": str(1 << 60),
    }  # fmt: skip
    assert row.keys() <= set(KINDS["history"].columns)


async def test_filters(db: asyncpg.Connection, reader: Reader) -> None:
    await write(
        db,
        cycle(1, T0),
        cycle(2, T0 + 1, side="short"),
        cycle(3, T0 + 2, symbol="ETH-USDT-SWAP"),
        cycle(4, T0 + 3, "other"),
    )

    async def numbers(**asked: Any) -> str:
        return "".join(one[-1] for one in await ids(reader, Asked(kind="history", **asked)))

    assert await numbers() == "4321"
    assert await numbers(accounts=("main",)) == "321"
    assert await numbers(accounts=("main", "other")) == "4321"
    assert await numbers(accounts=()) == ""
    assert await numbers(symbols=("BTC-USDT-SWAP",)) == "421"
    assert await numbers(accounts=("main",), symbols=("ETH-USDT-SWAP", "BTC-USDT-SWAP")) == "321"
    assert await numbers(sides=("short",)) == "2"
    assert await numbers(accounts=("main",), sides=("long",)) == "31"
    assert await numbers(since=T0 + 1, until=T0 + 3) == "32"


_KEYS = st.lists(st.tuples(st.integers(0, 6), st.sampled_from("mo")), max_size=12)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(first=_KEYS, between=st.lists(_KEYS, max_size=4), limit=st.integers(1, 4), some=st.booleans())
async def test_pages_neither_repeat_nor_skip_whatever_is_stored_meanwhile(
    db: asyncpg.Connection, reader: Reader, first: list[Any], between: list[Any], limit: int, some: bool
) -> None:
    """Many records share a moment; what comes between two pages may lie before or behind the place that was reached."""
    await db.execute(EMPTY)
    await write(db, accounts=(MAIN, OTHER))
    numbers = iter(range(1_000))

    def made(keys: list[Any]) -> list[Any]:
        return [cycle(next(numbers) * 7919 % 1_000, T0 + at, "main" if whose == "m" else "other") for at, whose in keys]

    there = made(first)
    await write(db, *there)
    asked = Asked(kind="history", accounts=("main", "other") if some else None, limit=limit)
    seen: list[tuple[int, str]] = []
    while True:
        page = await reader.page(asked)
        assert len(page.rows) <= limit
        seen += [(json.loads(record)["closed_at"], row_id) for row_id, record in page.rows]
        if not page.next_cursor:
            break
        await write(db, *made(between.pop() if between else []))
        place = parse_cursor("history", page.next_cursor)
        assert place == seen[-1]
        asked = Asked(kind="history", accounts=asked.accounts, limit=limit, cursor=place)
    assert seen == sorted(set(seen), reverse=True)
    assert {(one.at, one.id) for one in there} <= set(seen)


async def test_a_file_has_everything_once_the_oldest_first(
    db: asyncpg.Connection, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.storage.queries.CHUNK", 3)
    await write(db, *(cycle(n, T0 + n // 2, "main" if n % 3 else "other") for n in range(10)))
    for accounts in (None, ("main", "other")):
        chunks = [chunk async for chunk in reader.chunks(Asked(kind="history", accounts=accounts))]
        assert list(map(len, chunks)) == [3, 3, 3, 1]
        assert Counter(json.loads(one)["id"][-1] for chunk in chunks for one in chunk) == Counter("0123456789")
        assert [json.loads(one)["closed_at"] for chunk in chunks for one in chunk] == [T0 + n // 2 for n in range(10)]


@pytest.mark.parametrize("kind", KINDS)
async def test_every_list_goes_along_an_index(db: asyncpg.Connection, kind: str) -> None:
    """No list is read whole or sorted whole: with many rows a plan that is one would take seconds."""
    await db.execute("SET enable_seqscan = off; SET enable_bitmapscan = off; SET enable_sort = off")
    filters: list[dict[str, Any]] = [{}, {"accounts": ("main",)}]
    if "symbol" in KINDS[kind].filters:
        filters.append({"accounts": ("main",), "symbols": ("X",)})
    for given_ in filters:
        asked = Asked(kind=kind, **given_)
        plan = await db.fetch(
            "EXPLAIN " + statement(asked, newest_first=True),
            asked.accounts,
            asked.symbols,
            None,
            0,
            LATEST,
            LATEST,
            "",
            500,
        )
        text = "\n".join(row[0] for row in plan)
        table = KINDS[kind].table
        assert f"Seq Scan on {table}" not in text, text
        assert f"using {table}_" in text, text
        assert "Presorted Key: " in text or f"Backward using {table}_" in text, text


# --- sums --------------------------------------------------------------------------------------------------------------


async def of_day(db: asyncpg.Connection) -> list[tuple[Any, ...]]:
    columns = "account, day, symbol, ccy, realized_pnl, fees, funding, settled, liquidation_fee, records, unknown"
    rows = await db.fetch(f"SELECT {columns} FROM pnl_days WHERE records <> 0 ORDER BY 1, 2, 3, 4")
    return [tuple(row) for row in rows]


async def recount(db: asyncpg.Connection) -> list[tuple[Any, ...]]:
    rows = await db.fetch(
        f"SELECT account, at / {DAY} * {DAY}, symbol, ccy, sum(realized_pnl), sum(fees), sum(funding), sum(settled), "
        "sum(liquidation_fee), sum(records), sum(unknown) FROM pnl_lines GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4"
    )
    return [tuple(row) for row in rows]


_AMOUNT = st.decimals(-1000, 1000, places=9).map(str)
_FILLS = st.builds(
    lambda number, at, pnl, fee, ccy: fill(number, T0 + at, realized_pnl=pnl, fee=fee, fee_ccy=ccy),
    st.integers(0, 8), st.sampled_from((0, 1, DAY - 1, DAY, 5 * DAY)), st.none() | _AMOUNT, st.none() | _AMOUNT,
    st.sampled_from(("USDT", "BNB", None)),
)  # fmt: skip
_OTHERWISE = st.sampled_from(("fills", "funding", "transfers", "contract", "another"))
_MONEY = st.builds(
    lambda number, at, amount, kind: transfer(number, T0 + at, amount, kind=kind),
    st.integers(0, 4), st.integers(0, 2 * DAY), _AMOUNT, st.sampled_from(("deposit", "settlement", "liquidation")),
)  # fmt: skip
_PAYMENTS = st.builds(
    lambda number, at, amount: FundingPayment(
        account="main", id=f"f{number}", symbol="BTC-USDT-SWAP", amount=amount, ccy="USDT", at=T0 + at
    ),
    st.integers(0, 4), st.integers(0, 2 * DAY), _AMOUNT,
)  # fmt: skip


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.one_of(_FILLS, _MONEY, _PAYMENTS, _OTHERWISE), max_size=20))
async def test_the_sums_of_days_are_those_of_a_recount(db: asyncpg.Connection, acts: list[Any]) -> None:
    """Whatever is stored, told again otherwise, or deleted, and whenever it becomes known what a contract settles in."""
    await db.execute(EMPTY)
    await write(db, accounts=(MAIN,))
    for act in acts:
        if act == "contract":
            await write(db, contracts=(instrument(settle="USDC"),))
        elif act == "another":
            await write(db, contracts=(instrument(settle="USDT"),))
        elif isinstance(act, str):
            await db.execute(f"DELETE FROM {act} WHERE id = (SELECT max(id) FROM {act})")
        else:
            await write(db, act)
    assert await of_day(db) == await recount(db)
    kept = await db.fetch("SELECT * FROM pnl_totals ORDER BY account, day, ccy")
    await db.execute("TRUNCATE pnl_totals; SELECT pnl_totals_recount(array_agg(account), array_agg(day)) FROM pnl_days")
    assert kept == await db.fetch("SELECT * FROM pnl_totals ORDER BY account, day, ccy")


async def realized(reader: Reader, bucket: Any, since: int, until: int, **asked: Any) -> list[sums.Sum]:
    known: dict[str, Any] = {"by_account": False, "by_symbol": False}
    async with reader.connection() as connection:
        return await sums.realized(
            connection,
            span(bucket, since, until, 0),
            ("main", "other", "demo"),
            asked.pop("symbols", None),
            asked.pop("now", LATEST),
            **(known | asked),
        )


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    fills=st.lists(st.tuples(st.integers(0, 9 * DAY), _AMOUNT, _AMOUNT), max_size=15),
    bucket=st.sampled_from(("hour", "day", "week", "month")),
    edges=st.tuples(st.integers(0, 9 * DAY), st.integers(0, 9 * DAY)),
)
async def test_what_was_realised_is_the_exact_sum_of_the_records_in_each_bucket(
    db: asyncpg.Connection, reader: Reader, fills: list[tuple[int, str, str]], bucket: Any, edges: tuple[int, int]
) -> None:
    await db.execute(EMPTY)
    records = [fill(n, T0 + at, realized_pnl=pnl, fee=fee) for n, (at, pnl, fee) in enumerate(fills)]
    await write(db, *records, accounts=(MAIN,), contracts=(instrument(),))
    since, until = T0 + min(edges), T0 + max(edges)
    buckets = span(bucket, since, until, 0)
    expected: dict[int, Decimal] = {}
    for one in records:
        if since <= one.at < until:
            number = max(n for n, edge in enumerate(buckets.edges[:-1]) if edge <= one.at)
            expected[number] = expected.get(number, Decimal(0)) + Decimal(one.realized_pnl or 0) + Decimal(one.fee or 0)
    now = until - 1 if records and max(one.at for one in records) < until else LATEST  # nothing lies ahead
    found = await realized(reader, bucket, since, until, now=now)
    by_symbol = await realized(reader, bucket, since, until, symbols=("BTC-USDT-SWAP",))
    assert [(one.bucket, one.ccy, one.amounts, one.records) for one in by_symbol] == [
        (one.bucket, one.ccy, one.amounts, one.records) for one in found
    ]
    assert {one.bucket: sum(one.amounts, Decimal(0)) for one in found} == expected


async def test_each_amount_is_in_its_own_currency_and_what_is_not_known_counts_nowhere(
    db: asyncpg.Connection, reader: Reader
) -> None:
    await write(
        db,
        fill(1, T0, fee_ccy="BNB"),
        fill(2, T0, realized_pnl=None),
        fill(3, T0, symbol="GONE"),
        FundingPayment(account="main", id="f", symbol="BTC-USDT-SWAP", amount="-0.25", ccy="USDT", at=T0),
        transfer(1, T0, "-3", kind="liquidation"),
        transfer(2, T0, "1.5", kind="settlement"),
        transfer(3, T0, "1000"),
        contracts=(instrument(),),
    )
    found = {one.ccy: (tuple(map(str, map(Decimal.normalize, one.amounts))), one.records, one.unknown)
             for one in await realized(reader, "day", T0, T0 + DAY)}  # fmt: skip
    assert found == {
        "BNB": (("0", "-0.1", "0", "0"), 1, 0),
        "USDT": (("4", "-0.1", "-0.25", "-3"), 4, 1),
        "": (("2.5", "0", "0", "0"), 0, 0),  # what GONE settles in is not known
    }


async def test_sums_are_apart_by_account_symbol_and_environment(db: asyncpg.Connection, reader: Reader) -> None:
    eth = instrument("ETH-USDT-SWAP")
    await write(
        db, fill(1, T0), fill(2, T0, symbol="ETH-USDT-SWAP"), fill(3, T0, "demo"), contracts=(instrument(), eth)
    )
    found = await realized(reader, "day", T0, T0 + DAY, by_account=True, by_symbol=True, symbols=("BTC-USDT-SWAP",))
    assert [(one.account, one.symbol, one.env, one.ccy) for one in found] == [
        ("demo", "BTC-USDT-SWAP", "demo", ""),  # the demo contract is not known
        ("demo", "BTC-USDT-SWAP", "demo", "USDT"),
        ("main", "BTC-USDT-SWAP", "live", "USDT"),
    ]


async def test_prices_of_currencies_are_the_last_before_a_moment_and_not_too_old(
    db: asyncpg.Connection, reader: Reader
) -> None:
    usd = {"kind": "usd", "symbol": "BTC"}
    await write(
        db,
        samples=[
            sample("100", T0, **usd),
            sample("110", T0 + HOUR, **usd),
            sample("90", T0, venue="bybit", number=1, **usd),
        ],
    )
    wanted = [("live", "BTC", at) for at in (T0, T0 + 1, T0 + HOUR + 1, T0 + 3 * DAY)]
    async with reader.connection() as connection:
        found = await sums.rates(connection, wanted, ("okx", "bybit"))
    assert {at: {venue: rate.usd for venue, rate in by.items()} for (_, _, at), by in found.items()} == {
        T0 + 1: {"okx": 100.0, "bybit": 90.0},
        T0 + HOUR + 1: {"okx": 110.0, "bybit": 90.0},
    }


async def test_prices_are_looked_for_on_the_days_that_are_asked_alone(db: asyncpg.Connection, reader: Reader) -> None:
    """A year has hundreds of partitions: to open each of them costs more than to read the few that can have the price."""
    await write(db, samples=[sample("100", T0 + n * DAY, kind="usd", symbol="BTC") for n in range(-9, 10)])
    async with reader.connection() as connection:
        wanted = sums.moments([("live", "BTC", T0 + 1), ("live", "BTC", T0 + DAY)])
        plan = await connection.fetch("EXPLAIN " + sums.RATES, *wanted, ["okx"])
    days = {T0 + n * DAY for n in (-2, -1, 0)}
    assert set(re.findall(r"on (mark_samples_\d+)", str(plan))) == {partition("mark_samples", of) for of in days}


# --- the sessions --------------------------------------------------------------------------------------------------------


async def test_sessions_can_only_read_and_are_few(reader: Reader) -> None:
    async with reader.connection() as connection:
        with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
            await connection.execute("DELETE FROM fills")
        assert await connection.fetchval("SHOW statement_timeout") == "10s"


async def test_a_session_comes_back_as_it_was_lent_and_in_no_transaction(dsn: str) -> None:
    reader = Reader(dsn, pool_size=1)
    try:
        for _ in range(3):
            async with reader.connection() as lent:
                assert not lent.is_in_transaction()
                assert await lent.fetchval("SHOW plan_cache_mode") == "force_custom_plan"
                await lent.execute("BEGIN")
                assert lent.is_in_transaction()
    finally:
        await reader.close()


async def test_a_question_that_takes_too_long_is_refused(reader: Reader) -> None:
    async def long() -> None:
        async with reader.connection() as connection:
            await connection.execute("SET statement_timeout = 20")
            await connection.execute("SELECT pg_sleep(5)")

    with pytest.raises(ReadRefused, match="Ask for a shorter time"):
        await long()


async def test_a_database_without_the_tables_says_so(empty_dsn: str) -> None:
    reader = Reader(empty_dsn)
    try:
        with pytest.raises(ReadRefused, match="perpwire migrate"):
            await reader.page(Asked(kind="history"))
    finally:
        await reader.close()


async def test_a_database_that_is_away_says_so() -> None:
    reader = Reader("postgresql://nobody@127.0.0.1:1/none")
    try:
        with pytest.raises(PostgresAway):
            await reader.page(Asked(kind="history"))
    finally:
        await reader.close()
