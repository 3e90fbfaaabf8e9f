"""What was realised and what accounts were worth, by buckets of time: the statements, and their rows.

Amounts are added by NUMERIC and leave exact. Whole days are added up from ``pnl_days``, which the database keeps beside the
records; what lies before the first and after the last whole day, and buckets of an hour, from the records themselves.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from decimal import Decimal
from typing import NamedTuple

import asyncpg
import msgspec

from gateway.core.journal import place
from gateway.core.lookup import DAY_MS, Span
from gateway.core.sums import Flow, Rate, Sample, Sum
from gateway.storage.postgres import Connection

# A price counts as known for so long.
RATE_AGE_MS = 2 * DAY_MS
# What came from outside, or went there (as gateway.core.alerts.money has it); all else is gain or loss.
_FLOWS = ("deposit", "withdrawal", "transfer", "bonus")
MOST_SUMS = 50_000

_COLUMNS = "account, symbol, ccy, realized_pnl, fees, funding, settled, liquidation_fee, records, unknown"
# Of every symbol apart: whole days from pnl_days. What names no symbol has them from pnl_totals, where currencies are settled.
_DAYS = f"SELECT day AS at, {_COLUMNS} FROM pnl_days WHERE account = ANY($1) AND day >= $3 AND day < $4 {{symbols}} UNION ALL"
_TOTALS = """
    UNION ALL
    SELECT width_bucket(t.day, $9::bigint[]), {account}, NULL::text, a.venue, a.env, a.execution,
           t.ccy, t.realized_pnl, t.fees, t.funding, t.liquidation_fee, t.records, t.unknown
    FROM pnl_totals AS t LEFT JOIN accounts AS a ON a.name = t.account WHERE t.account = ANY($1) AND t.day >= $3 AND t.day < $4
"""
_SUMS = """
    WITH lines AS (
        {days}
        SELECT at, {columns} FROM pnl_lines WHERE account = ANY($1) AND at >= $5 AND at < $6 {symbols}
        UNION ALL
        SELECT at, {columns} FROM pnl_lines WHERE account = ANY($1) AND at >= $7 AND at < $8 {symbols}
    ), sums AS (
        SELECT width_bucket(at, $9::bigint[]) AS bucket, {account} AS account, symbol, ccy, a.venue, a.env, a.execution,
               sum(realized_pnl) AS price, sum(fees) AS fees, sum(funding) AS funding, sum(settled) AS settled,
               sum(liquidation_fee) AS liquidation_fee, sum(records) AS records, sum(unknown) AS unknown
        FROM lines LEFT JOIN accounts AS a ON a.name = account GROUP BY 1, 2, 3, 4, 5, 6, 7
    ), money AS (
        SELECT s.bucket, s.account, s.symbol, s.venue, s.env, s.execution, part.*
        FROM sums AS s LEFT JOIN contracts AS c ON c.venue = s.venue AND c.env = s.env AND c.symbol = s.symbol
        CROSS JOIN LATERAL (VALUES
            (coalesce(c.settle, ''), s.price, 0, 0, 0, 0, CASE WHEN c.settle IS NULL THEN 0 ELSE s.unknown END),
            (s.ccy, s.settled, s.fees, s.funding, s.liquidation_fee, s.records - s.unknown, 0)
        ) AS part (ccy, price, fees, funding, liquidation_fee, records, unknown)
        {totals}
    )
    SELECT bucket - 1 AS bucket, account, {symbol} AS symbol, venue, env, execution, ccy, sum(price) AS price,
           sum(fees) AS fees, sum(funding) AS funding, sum(liquidation_fee) AS liquidation_fee,
           sum(records)::bigint AS records, sum(unknown)::bigint AS unknown
    FROM money GROUP BY 1, 2, 3, 4, 5, 6, 7
    HAVING sum(records) <> 0 OR sum(unknown) <> 0 OR sum(price) <> 0 ORDER BY 1, 2, 3, 4, 5, 6, 7 LIMIT $10
"""

# $5 and $6: the outermost places, by which the planner leaves out the partitions of other days.
RATES = """
    SELECT w.n, own.venue, s.value, s.at FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[])
         WITH ORDINALITY AS w (env, ccy, since, until, n)
    CROSS JOIN unnest($7::text[]) AS own (venue)
    CROSS JOIN LATERAL (
        SELECT value, at FROM mark_samples
        WHERE venue = own.venue AND env = w.env AND symbol = w.ccy AND kind = 'usd' AND id >= w.since AND id < w.until
              AND id >= $5 AND id < $6
        ORDER BY id DESC LIMIT 1
    ) AS s
"""

_SAMPLES = """
    SELECT b.n - 1 AS bucket, w.name AS account, s.at, s.equity_usd, s.equity::text
    FROM unnest($1::text[]) AS w (name)
    CROSS JOIN unnest($2::bigint[], $3::bigint[]) WITH ORDINALITY AS b (since, until, n)
    CROSS JOIN LATERAL (
        SELECT at, equity_usd, equity FROM equity_samples WHERE account = w.name AND at >= b.since AND at < b.until
        ORDER BY at DESC LIMIT 1
    ) AS s
    ORDER BY 1, 2
"""

_BASES = """
    SELECT w.name AS account, s.at, s.equity_usd, s.equity::text FROM unnest($1::text[]) AS w (name)
    CROSS JOIN LATERAL (
        (SELECT at, equity_usd, equity FROM equity_samples WHERE account = w.name AND at >= $2::bigint - $4::bigint AND at < $2
         ORDER BY at DESC LIMIT 1)
        UNION ALL
        (SELECT at, equity_usd, equity FROM equity_samples WHERE account = w.name AND at >= $2 AND at < $3 ORDER BY at LIMIT 1)
        LIMIT 1
    ) AS s
"""


class Owner(NamedTuple):
    """An account as it is stored."""

    venue: str
    env: str
    execution: str
    user: str


async def owners(connection: Connection) -> dict[str, Owner]:
    """Return every account that is stored."""
    rows = await connection.fetch("SELECT name, venue, env, execution, user_name FROM accounts ORDER BY name")
    return {row["name"]: Owner(row["venue"], row["env"], row["execution"], row["user_name"]) for row in rows}


async def realized(
    connection: Connection,
    span: Span,
    accounts: Collection[str],
    symbols: Collection[str] | None,
    now: int,
    *,
    by_account: bool,
    by_symbol: bool,
) -> list[Sum]:
    """Return what was realised in each bucket, per venue, environment, execution and currency, and further apart where asked.

    At most ``MOST_SUMS`` + 1 of them: more are too many.
    """
    days = _whole_days(span, now)
    sql = _sums(by_account=by_account, by_symbol=by_symbol, symbols=symbols is not None)
    rows = await connection.fetch(
        sql, list(accounts), None if symbols is None else list(symbols), *days, span.since, days[0], days[1], span.until,
        span.edges[:-1], MOST_SUMS + 1,
    )  # fmt: skip
    return [
        Sum(
            row["bucket"], row["account"], row["symbol"], row["venue"] or "", row["env"] or "", row["execution"] or "live",
            row["ccy"], (row["price"], row["fees"], row["funding"], row["liquidation_fee"]), row["records"], row["unknown"],
        )
        for row in rows
    ]  # fmt: skip


def _sums(*, by_account: bool, by_symbol: bool, symbols: bool) -> str:
    apart = by_symbol or symbols
    only = "AND symbol = ANY($2)" if symbols else "AND $2::text[] IS NULL"
    account = "account" if by_account else "NULL::text"
    return _SUMS.format(
        columns=_COLUMNS,
        symbols=only,
        account=account,
        symbol="symbol" if by_symbol else "NULL::text",
        days=_DAYS.format(symbols=only) if apart else "",
        totals="" if apart else _TOTALS.format(account=account),
    )


def _whole_days(span: Span, now: int) -> tuple[int, int]:
    """Return the first whole day of a span and the end of the last one; where there is none, twice the end of the span.

    Today is whole as far as it went.
    """
    first, last = -(-span.since // DAY_MS) * DAY_MS, span.until // DAY_MS * DAY_MS
    if span.until > now:
        last = min(span.until, (now // DAY_MS + 1) * DAY_MS)
    return (first, last) if span.bucket != "hour" and first < last else (span.until, span.until)


async def rates(connection: Connection, wanted: Collection[tuple[str, str, int]], venues: Collection[str]) -> dict[
    tuple[str, str, int], dict[str, Rate]
]:  # fmt: skip
    """Return what currencies were worth: (env, currency, moment) → venue → its last price before that moment."""
    keys = sorted(set(wanted))
    if not keys:
        return {}
    found: dict[tuple[str, str, int], dict[str, Rate]] = {}
    for row in await connection.fetch(RATES, *moments(keys), sorted(venues)):
        usd = float(row["value"])
        found.setdefault(keys[row["n"] - 1], {})[row["venue"]] = Rate(usd, row["venue"], row["at"])
    return found


def moments(keys: Sequence[tuple[str, str, int]]) -> tuple[object, ...]:
    """Return $1 to $6 of ``RATES``, for some (environment, currency, moment)."""
    env, ccy, at = zip(*keys, strict=True)
    since, until = [place(max(0, one - RATE_AGE_MS)) for one in at], [place(one) for one in at]
    return env, ccy, since, until, min(since), max(until)


async def samples(
    connection: Connection, span: Span, accounts: Collection[str]
) -> tuple[dict[str, Sample], list[tuple[int, Sample]]]:
    """Return what each account was worth when the span began (or first within it), and the last figure of each bucket."""
    names = sorted(accounts)
    bases = await connection.fetch(_BASES, names, span.since, span.until, RATE_AGE_MS)
    rows = await connection.fetch(_SAMPLES, names, span.edges[:-1], span.edges[1:])
    return (
        {row["account"]: _sample(row) for row in bases},
        [(row["bucket"], _sample(row)) for row in rows],
    )


def _sample(row: asyncpg.Record) -> Sample:
    by_ccy = msgspec.json.decode(row["equity"], type=dict[str, float]) if row["equity"] else {}
    return Sample(row["account"], row["at"], row["equity_usd"], by_ccy)


async def flows(connection: Connection, since: int, until: int, accounts: Sequence[str]) -> list[Flow]:
    """Return what came from outside and went there, oldest first."""
    rows = await connection.fetch(
        "SELECT account, at, ccy, amount FROM transfers "
        "WHERE account = ANY($1) AND at >= $2 AND at < $3 AND kind = ANY($4) ORDER BY at, id",
        list(accounts), since, until, _FLOWS,
    )  # fmt: skip
    return [Flow(row["account"], row["at"], row["ccy"] or "", row["amount"] or Decimal(0)) for row in rows]
