from __future__ import annotations

import asyncio
import csv
import io
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import aiohttp
import asyncpg
import msgspec
import pytest

from exchanges.events import FundingPayment, PositionState
from gateway.core.access import LOCAL, Principal
from gateway.core.journal import Entry, place
from gateway.core.lookup import cursor_of
from gateway.core.protocol import Limits, Refusal
from gateway.core.records import Balance, Correction, Finding, Verification, VerificationClass
from gateway.engine import Engine
from gateway.history_desk import HistoryDesk
from gateway.hub import Hub
from gateway.storage.queries import Reader
from gateway.web import export
from gateway.web.server import Server
from gateway.web.state import ServerState
from tests.gateway.events_of import balance, engine, instrument, mark, position
from tests.gateway.past_rows import (
    DAY,
    DEMO,
    EMPTY,
    HOUR,
    MAIN,
    OTHER,
    T0,
    change,
    cycle,
    equity,
    fill,
    sample,
    transfer,
    write,
)
from tests.gateway.web.serving import served, until

NOW = T0 + 10 * DAY
_PRINCIPALS = {
    "ann": Principal("ann", "ann", frozenset({"main", "demo"})),
    "bob": Principal("bob", "bob", frozenset({"other"})),
}


def principal(headers: Mapping[str, str]) -> Principal | None:
    return _PRINCIPALS.get(headers.get("x-test", ""), LOCAL)


class Api:
    """A gateway with a database behind it."""

    def __init__(self, engine: Engine, server: Server, session: aiohttp.ClientSession, sql: asyncpg.Connection) -> None:
        self.engine, self.server, self.sql, self._session = engine, server, sql, session

    async def get(self, path: str, status: int = 200, accept: str = "application/json", who: str = "") -> Any:
        headers = {"accept": accept, "x-test": who}
        async with self._session.get(f"http://127.0.0.1:{self.server.port}{path}", headers=headers) as answer:
            text = await answer.text()
            assert answer.status == status, text
            self.headers = answer.headers
            return (
                json.loads(text)
                if answer.content_type.endswith("json") and "ndjson" not in answer.content_type
                else text
            )

    async def ids(self, path: str, who: str = "") -> list[str]:
        return [row["id"] for row in (await self.get(path, who=who))["rows"]]

    async def put(self, *records: Any, **more: Any) -> None:
        await write(self.sql, *records, **more)


@pytest.fixture
async def api(dsn: str) -> AsyncIterator[Api]:
    sql = await asyncpg.connect(dsn)
    await sql.execute(EMPTY)
    await write(sql, accounts=(MAIN, OTHER, DEMO), contracts=(instrument(), instrument("ETH-USDT-SWAP")))
    one, reader = engine(MAIN, OTHER, DEMO), Reader(dsn)
    state = ServerState(
        hub=Hub.on(asyncio.get_running_loop(), one.tables, Limits()),
        version="9",
        accounts=one.accounts.keys,
        history=HistoryDesk(one, lambda: reader, lambda: NOW),
        now_ms=lambda: NOW,
        principal=principal,
    )
    async with served(state) as server, aiohttp.ClientSession() as session:
        yield Api(one, server, session, sql)
    await reader.close()
    await sql.close()


# --- lists ---------------------------------------------------------------------------------------------------------------


async def test_history_is_paged_the_newest_first(api: Api) -> None:
    await api.put(*(cycle(n, T0 + n) for n in range(5)))
    first = await api.get("/v1/positions/history?limit=2")
    assert [row["closed_at"] for row in first["rows"]] == [T0 + 4, T0 + 3]
    assert first["rows"][0]["entry_price"] == "100.10"
    await api.put(cycle(9, T0 + 9))
    second = await api.get(f"/v1/positions/history?limit=2&cursor={first['next_cursor']}")
    assert [row["closed_at"] for row in second["rows"]] == [T0 + 2, T0 + 1]
    last = await api.get(f"/v1/positions/history?limit=2&cursor={second['next_cursor']}")
    assert [row["closed_at"] for row in last["rows"]] == [T0]
    assert "next_cursor" not in last


async def test_filters_of_configuration_choose_accounts(api: Api) -> None:
    await api.put(cycle(1, T0), cycle(2, T0 + 1, "other"), cycle(3, T0 + 2, "demo"), cycle(4, T0 + 3, "removed"))

    async def accounts(query: str, who: str = "") -> list[str]:
        rows = (await api.get("/v1/positions/history" + query, who=who))["rows"]
        return [row["account"] for row in rows]

    assert await accounts("") == ["removed", "demo", "other", "main"]
    assert await accounts("?strategy=carry") == ["main"]
    assert await accounts("?venue=okx") == ["demo", "main"]
    assert await accounts("?venue=okx&strategy=basis") == []
    assert await accounts("?account=main,other&symbol=BTC-USDT-SWAP&side=long") == ["other", "main"]
    assert await accounts("", "ann") == ["demo", "main"]
    assert await accounts("?venue=bybit", "ann") == []


async def test_other_lists(api: Api) -> None:
    await api.put(
        fill(1, T0),
        FundingPayment(account="main", id="main:f", symbol="BTC-USDT-SWAP", amount="-0.2500", ccy="USDT", at=T0),
        transfer(1, T0, "1000.00"),
        Correction(id="c1", account="main", cls="missed_event", before={"size": "2"}, after={"size": "0"}, found_at=T0,
                   since=T0 - 1, trigger="timer", position="main:x", symbol="BTC-USDT-SWAP"),
    )  # fmt: skip
    (payment,) = (await api.get("/v1/funding"))["rows"]
    assert (payment["amount"], payment["venue"]) == ("-0.2500", "okx")
    (moved,) = (await api.get("/v1/transfers?account=main"))["rows"]
    assert (moved["amount"], "what" in moved) == ("1000.00", False)
    fills = await api.get(f"/v1/fills?from={T0}&to={T0 + 1}")
    assert fills["fills"]["main:000001"]["price"] == "100"
    assert fills["epoch"] == "epoch"
    assert (await api.get("/v1/fills"))["fills"] == {}  # the live table knows none of it
    assert (await api.get(f"/v1/reconciliations?from={T0}&class=unknown"))["reconciliations"] == {}
    assert set((await api.get(f"/v1/reconciliations?from={T0}&class=missed_event"))["reconciliations"]) == {"c1"}


@pytest.mark.parametrize(
    ("path", "code", "words"),
    [
        ("/v1/positions/history?cursor=x", "bad_cursor", "next_cursor of the page before"),
        (f"/v1/positions/history?cursor={cursor_of('funding', 1, 'a')}", "bad_cursor", "no cursor of this list"),
        ("/v1/positions/history?from=2&to=1", "bad_filter", "`from` (2) is after `to` (1)"),
        ("/v1/positions/history?account=nobody", "unknown_account", "nobody"),
        ("/v1/positions/history?limit=5001", "bad_filter", "from 1 to 5000"),
        ("/v1/positions/history?limit=0", "bad_filter", "from 1 to 5000"),
        ("/v1/positions/history?side=buy", "bad_filter", "long, short"),
        ("/v1/positions/history?strategy=none", "bad_filter", "there are: basis, carry"),
        ("/v1/funding?side=long", "bad_filter", "no parameter 'side'"),
        ("/v1/pnl?bucket=year", "bad_filter", "hour, day, week, month"),
        (f"/v1/pnl?bucket=hour&from=0&to={NOW}", "bad_filter", "bucket=day"),
        ("/v1/pnl?from=0&to=140000000000000", "bad_filter", "choose wider ones"),
        ("/v1/equity?by=symbol", "bad_filter", "account, strategy, venue"),
        ("/v1/pnl?from=5&to=4", "bad_filter", "exchange them"),
    ],
)
async def test_what_is_wrong_is_said(api: Api, path: str, code: str, words: str) -> None:
    problem = await api.get(path, status=400)
    assert problem["code"] == code
    assert words in problem["detail"]


async def test_accounts_of_others_do_not_exist(api: Api) -> None:
    await api.put(cycle(1, T0, "other"), change(position(account="other"), T0, position(account="other")))
    for path in (
        "/v1/positions/history?account=other",
        "/v1/pnl?account=other",
        "/v1/equity?account=other",
        "/v1/fills?from=0&account=other",
    ):
        assert (await api.get(path, status=400, who="ann"))["code"] == "unknown_account"
    id_ = position(account="other").id
    assert (await api.get(f"/v1/positions/{id_}/timeline", status=404, who="ann"))["code"] == "not_found"
    assert (await api.get(f"/v1/positions/{id_}/timeline", who="bob"))["rows"]
    await api.get("/internal/positions/bob", status=404, who="ann")
    assert (await api.get("/v1/positions/at", who="ann"))["positions"] == {}
    assert (await api.get("/profit/BTC-USDT-SWAP", who="ann"))["history"] == []


async def test_without_a_database_history_is_refused_and_live_rows_are_not(api: Api) -> None:
    reader = Reader("postgresql://nobody@127.0.0.1:1/none")
    state = ServerState(
        hub=Hub.on(asyncio.get_running_loop(), api.engine.tables, Limits()), version="9", accounts=api.engine.accounts.keys,
        history=HistoryDesk(api.engine, lambda: reader, lambda: NOW), now_ms=lambda: NOW,
    )  # fmt: skip
    async with served(state) as server, aiohttp.ClientSession() as session:
        away = Api(api.engine, server, session, api.sql)
        paths = (
            "/v1/positions/history",
            "/v1/pnl",
            "/v1/equity",
            "/v1/positions/at",
            "/v1/fills?from=1",
            "/v1/journal/1",
        )
        for accept in ("application/json", "text/csv"):
            for path in paths:
                problem = await away.get(path, status=503, accept=accept)
                assert (problem["code"], problem["retry"]) == ("storage_unreachable", True)
        assert (await away.get("/v1/positions"))["positions"] == {}
    await reader.close()


# --- sums ----------------------------------------------------------------------------------------------------------------


async def test_pnl_by_the_day_is_exact_and_says_by_which_price(api: Api) -> None:
    await api.put(
        fill(1, T0, realized_pnl="0.1", fee="-0.01"),
        fill(2, T0 + 1, realized_pnl="0.2", fee="-0.02"),
        fill(3, T0 + DAY, realized_pnl="100000000000000000000.3", fee="0"),
        fill(4, T0 + DAY, "demo", realized_pnl="7", fee="0"),
        samples=[sample("0.99", T0 + DAY - 5, "USDT", kind="usd")],
        contracts=(instrument(env="demo"),),
    )
    body = await api.get(f"/v1/pnl?from={T0}&to={T0 + 2 * DAY}")
    assert (body["bucket"], body["from"], body["to"]) == ("day", T0, T0 + 2 * DAY)
    first, second, demo = sorted(body["rows"], key=lambda row: (row["env"] == "demo", row["at"]))
    assert first == {
        "at": T0, "env": "live", "execution": "live", "ccy": "USDT", "realized_pnl": "0.3", "fees": "-0.03", "funding": "0",
        "liquidation_fee": "0", "realized_net": "0.27", "net_usd": pytest.approx(0.2673), "records": 2,
        "rates": [{"venue": "okx", "usd": 0.99, "source": "okx", "at": T0 + DAY - 5}],
    }  # fmt: skip
    assert second["realized_net"] == "100000000000000000000.3"
    assert (demo["env"], demo["at"], demo["rates"][0]["source"]) == ("demo", T0 + DAY, "assumed")


async def test_pnl_is_apart_by_what_is_asked(api: Api) -> None:
    await api.put(
        fill(1, T0), fill(2, T0, symbol="ETH-USDT-SWAP"), fill(3, T0 + HOUR), fill(4, T0, "other"),
        contracts=(instrument(venue="bybit"),),
    )  # fmt: skip

    async def rows(query: str, *names: str) -> list[tuple[Any, ...]]:
        body = await api.get(f"/v1/pnl?from={T0}&to={T0 + DAY}&{query}")
        return [(*(row.get(name) for name in names), row["realized_net"]) for row in body["rows"]]

    assert await rows("") == [("9.6",)]
    assert await rows("by=account", "account") == [("main", "7.2"), ("other", "2.4")]
    assert await rows("by=strategy", "strategy") == [("carry", "7.2"), ("basis", "2.4")]
    assert await rows("by=venue", "venue") == [("bybit", "2.4"), ("okx", "7.2")]
    assert await rows("by=symbol,account", "symbol", "account") == [
        ("BTC-USDT-SWAP", "main", "4.8"), ("ETH-USDT-SWAP", "main", "2.4"), ("BTC-USDT-SWAP", "other", "2.4"),
    ]  # fmt: skip
    assert await rows("bucket=hour&account=main&symbol=BTC-USDT-SWAP", "at") == [(T0, "2.4"), (T0 + HOUR, "2.4")]
    assert await rows("strategy=basis") == [("2.4",)]


async def test_a_coin_without_a_price_has_no_dollars(api: Api) -> None:
    await api.put(fill(1, T0, fee_ccy="BNB"))
    rows = {row["ccy"]: row for row in (await api.get(f"/v1/pnl?from={T0}&to={T0 + DAY}"))["rows"]}
    assert "net_usd" not in rows["BNB"]
    assert rows["USDT"]["net_usd"] == 2.5


async def test_deposits_do_not_look_like_profit(api: Api) -> None:
    await api.put(
        equity("main", T0 + HOUR, 1000.0, USDT=1000.0),
        equity("main", T0 + 20 * HOUR, 1100.0),  # earned
        equity("main", T0 + DAY + HOUR, 6100.0),  # deposited
        equity("main", T0 + 2 * DAY + HOUR, 5490.0),  # lost
        equity("main", T0 + 3 * DAY + HOUR, 490.0),  # withdrawn
        transfer(1, T0 + DAY, "5000"),
        transfer(2, T0 + 3 * DAY, "-5000", kind="withdrawal"),
        transfer(3, T0 + 2 * DAY, "-610", kind="interest"),  # that is a loss
    )
    rows = (await api.get(f"/v1/equity?from={T0}&to={T0 + 5 * DAY}"))["rows"]
    assert [row["at"] for row in rows] == [T0, T0 + DAY, T0 + 2 * DAY, T0 + 3 * DAY]
    assert [row["equity_usd"] for row in rows] == [1100.0, 6100.0, 5490.0, 490.0]
    assert [row["net_usd"] for row in rows] == [1100.0, 1100.0, 490.0, 490.0]
    assert [row["transfers_usd"] for row in rows] == [0.0, 5000.0, 0.0, -5000.0]
    assert [row["pnl_usd"] for row in rows] == [100.0, 0.0, -610.0, 0.0]
    assert [row["drawdown"] for row in rows] == [0.0, 0.0, pytest.approx(0.1), pytest.approx(610 / 1100)]
    assert [row["peak_usd"] for row in rows] == [1100.0, 6100.0, 6100.0, 1100.0]


async def test_accounts_add_up_and_one_that_begins_later_is_no_profit(api: Api) -> None:
    await api.put(
        equity("main", T0 + 1, 1000.0), equity("main", T0 + DAY, 1010.0), equity("main", T0 + 2 * DAY, 1020.0),
        equity("other", T0 + DAY, 500.0), equity("demo", T0, 1e6),
    )  # fmt: skip
    body = await api.get(f"/v1/equity?from={T0}&to={T0 + 3 * DAY}")
    live = [row for row in body["rows"] if row["env"] == "live"]
    assert [row["equity_usd"] for row in live] == [1000.0, 1510.0, 1520.0]
    assert [row["net_usd"] for row in live] == [1500.0, 1510.0, 1520.0]
    assert [row["accounts"] for row in live] == [1, 2, 2]
    assert [row.get("carried") for row in live] == [None, None, 1]
    apart = await api.get(f"/v1/equity?from={T0}&to={T0 + 3 * DAY}&by=account,strategy")
    assert {(row["account"], row.get("strategy")) for row in apart["rows"]} == {
        ("main", "carry"),
        ("other", "basis"),
        ("demo", None),
    }


async def test_without_a_price_of_what_came_nothing_is_said_net(api: Api) -> None:
    await api.put(
        equity("main", T0, 1000.0), equity("main", T0 + DAY, 3000.0), transfer(1, T0 + 1, "1", ccy="DOGE"),
    )  # fmt: skip
    first, second = (await api.get(f"/v1/equity?from={T0}&to={T0 + 2 * DAY}"))["rows"]
    assert first["net_usd"] == 1000.0
    assert not {"net_usd", "pnl_usd", "drawdown", "transfers_usd"} & second.keys()


# --- as it was -----------------------------------------------------------------------------------------------------------


def held(**fields: Any) -> PositionState:
    return position(account="main", **fields)


async def test_positions_stand_as_they_stood(api: Api) -> None:
    first, more = held(), held(size="4", entry_price="105", venue_liquidation_price="50", liquidation_known="price")
    eth = held(symbol="ETH-USDT-SWAP", margin_mode="isolated", isolated_cash="30", pool="iso:x")
    await api.put(
        change(first, T0 + 1_000, first, "size"), change(more, T0 + 60_000, first, "size", "entry_price"),
        change(None, T0 + DAY, first, "size"), change(eth, T0 + 60_000, eth, "size"),
        samples=[
            sample("111", T0 + 2_000), sample("120.50", T0 + 90_000, venue_at=T0 + 89_900), sample("130", T0 + DAY),
            sample("0.999", T0 + 80_000, "USDT", kind="usd"),
        ],
    )  # fmt: skip
    assert (await api.get(f"/v1/positions/at?at={T0}"))["positions"] == {}
    row = (await api.get(f"/v1/positions/at?at={T0 + 3_000}"))["positions"][first.id]
    assert (row["size"], row["mark_price"], row["mark_at"], row["unrealized_pnl"]) == ("2", 111.0, T0 + 2_000, 22.0)
    body = await api.get(f"/v1/positions/at?at={T0 + 100_000}")
    assert body["at"] == T0 + 100_000
    row = body["positions"][first.id]
    assert (row["size"], row["entry_price"], row["mark_price"], row["mark_at"]) == ("4", "105", 120.5, T0 + 89_900)
    assert row["unrealized_pnl"] == pytest.approx(4 * 15.5)
    assert row["unrealized_pnl_usd"] == pytest.approx(4 * 15.5 * 0.999)
    assert row["notional"] == pytest.approx(482.0)
    assert row["liquidation_source"] == "unknown"  # its pool is the account, whose balances are not known
    assert "liquidation_price" not in row
    assert row["venue_liquidation_price"] == "50"
    assert body["positions"][eth.id]["mark_source"] == "position"  # no mark was sampled
    assert set((await api.get(f"/v1/positions/at?at={T0 + DAY}"))["positions"]) == {eth.id}
    assert set((await api.get(f"/v1/positions/at?at={T0 + 100_000}&symbol=ETH-USDT-SWAP"))["positions"]) == {eth.id}
    assert (await api.get(f"/v1/positions/at?at={T0 + 100_000}&side=short"))["positions"] == {}


async def test_figures_of_the_past_are_those_that_the_live_engine_had(api: Api) -> None:
    state = held(contract_size=None, contract_type=None)
    api.engine.turn([instrument(), balance(account="main"), state], T0)
    api.engine.turn([mark("123.4", at=T0 + 500)], T0 + 600)
    version = api.engine.tables["positions"].get(state.id)
    assert version is not None
    live = version.row
    await api.put(change(state, T0, state, "size"), samples=[sample("123.4", T0 + 600, venue_at=T0 + 500)])
    past = (await api.get(f"/v1/positions/at?at={T0 + 700}"))["positions"][state.id]
    same = live.keys() - {
        "liquidation_source",
        "liquidation_price",
        "liquidation_distance",
        "trigger_price",
        "anchor_at",
    }
    assert {name: past.get(name) for name in same} == {name: live[name] for name in same}


async def test_a_timeline_says_what_and_why_and_by_which_entry(api: Api) -> None:
    first, more, margin = held(), held(size="4"), held(size="4", isolated_margin="7")
    at = T0 + 1_000
    await api.put(
        change(first, at, first, "size", "side", journal=place(at)),
        change(more, at + 2, first, "size", journal=place(at + 1)),
    )
    await api.put(change(margin, at + 3, first, "isolated_margin"), change(None, at + 9, first, "size"))
    await api.put(fill(1, at + 1, position=first.id), fill(2, at + 8, cause="liquidation"), journal=place(at + 1))
    await api.put(
        fill(3, at, symbol="ETH-USDT-SWAP"),
        fill(4, at, position="main:another:leg"),
        FundingPayment(account="main", id="main:f", symbol="BTC-USDT-SWAP", amount="-0.5", ccy="USDT", at=at + 4),
        transfer(1, at + 5, "100"),
        transfer(2, at + 5, "100", ccy="BTC"),  # another pool's
        Correction(id="c1", account="main", cls="missed_event", before={"size": "2"}, after={"size": "4"}, found_at=at + 6,
                   since=at, trigger="timer", position=first.id, symbol="BTC-USDT-SWAP"),
    )  # fmt: skip
    rows = (await api.get(f"/v1/positions/{first.id}/timeline"))["rows"]
    assert [(row["at"] - at, row["what"], row["why"]) for row in rows] == [
        (9, "change", "closed"), (8, "fill", "liquidation"), (6, "correction", "missed_event"), (5, "transfer", "deposit"),
        (4, "funding", "funding"), (3, "change", "margin"), (2, "change", "size"), (1, "fill", "trade"), (0, "change", "opened"),
    ]  # fmt: skip
    assert rows[6]["changed"] == {"size": {"from": "2", "to": "4"}}
    assert rows[6]["journal"] == rows[7]["journal"] == str(place(at + 1))
    assert rows[7]["id"] == "main:000001"
    found: list[Any] = []
    query = f"/v1/positions/{first.id}/timeline?limit=2"
    page = await api.get(query)
    while True:
        found += page["rows"]
        if "next_cursor" not in page:
            break
        page = await api.get(f"{query}&cursor={page['next_cursor']}")
    assert found == rows
    assert len((await api.get(f"/v1/positions/{first.id}/timeline?from={at + 3}&to={at + 6}"))["rows"]) == 3
    assert (await api.get("/v1/positions/main:none/timeline", status=404))["code"] == "not_found"


async def test_an_entry_of_the_journal_is_as_it_came_for_who_may_see_its_account(api: Api) -> None:
    of_main, of_none = place(T0) + 1, place(T0) + 2
    await api.put(
        entries=[
            Entry(
                id=of_main,
                at=T0,
                kind="ws",
                epoch="e",
                account="main",
                user="ann",
                venue="okx",
                source="private",
                body='{"a":  1}',
            ),
            Entry(id=of_none, at=T0, kind="turn", epoch="e", turn=4, seq=5, causes=(of_main,), body="[]"),
        ]
    )
    entry = await api.get(f"/v1/journal/{of_main}", who="ann")
    assert (entry["id"], entry["body"], entry["user"], entry["kind"]) == (str(of_main), '{"a":  1}', "ann", "ws")
    assert (await api.get(f"/v1/journal/{of_none}"))["causes"] == [str(of_main)]
    await api.get(f"/v1/journal/{of_none}", status=404, who="ann")
    await api.get(f"/v1/journal/{of_main}", status=404, who="bob")
    for wrong in ("1", "-1", "x", "9" * 19, "9" * 30):
        assert (await api.get(f"/v1/journal/{wrong}", status=404))["code"] == "not_found"
    await api.sql.execute("UPDATE journal SET body = '\\x7abb00000001ff' WHERE id = $1", of_main)
    refused = await api.get(f"/v1/journal/{of_main}", status=503)
    assert (
        f"entry {of_main} of the journal: its body cannot be read: it needs the dictionary 00000001"
        in refused["detail"]
    )


async def test_services_get_what_is_live_and_what_was(api: Api) -> None:
    state = held()
    api.engine.turn([instrument(), balance(account="main"), state, position("BTC-USDT-SWAP", "demo")], T0)
    api.engine.clock(T0 + 1)
    await api.put(cycle(1, T0), cycle(2, T0 + 1, "other"), fill(1, T0))
    body = await api.get("/internal/positions/ann")
    assert (body["user"], set(body["positions"])) == ("ann", {state.id, position("BTC-USDT-SWAP", "demo").id})
    assert set(body["accounts"]) == {"main", "demo"}
    assert set(body["summary"]) >= {"ann"}
    assert [row["account"] for row in body["history"]] == ["main"]
    assert (await api.get("/internal/positions/ann", who="ann"))["user"] == "ann"
    await api.get("/internal/positions/nobody", status=404)
    profit = await api.get("/profit/BTC-USDT-SWAP")
    assert [(one["env"], one["positions"], one["unrealized_pnl"]) for one in profit["unrealized"]] == [
        ("live", 1, 20.0),
        ("demo", 1, 20.0),
    ]
    assert [(one["ccy"], one["realized_net"]) for one in profit["realized"]] == [("USDT", "2.4")]
    assert [row["account"] for row in profit["history"]] == ["other", "main"]
    assert (await api.get("/profit/BTC-USDT-SWAP?account=other"))["positions"] == {}
    assert (await api.get("/profit/NONE"))["history"] == []


# --- files ---------------------------------------------------------------------------------------------------------------


async def test_files_have_all_of_it_the_oldest_first(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.storage.queries.CHUNK", 2)
    await api.put(*(cycle(n, T0 + n) for n in range(5)), cycle(9, T0 + 9, "other"))
    text = await api.get("/v1/positions/history?account=main", accept="text/csv")
    assert api.headers["content-type"].startswith("text/csv")
    assert "perpwire-history.csv" in api.headers["content-disposition"]
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["closed_at"] for row in rows] == [str(T0 + n) for n in range(5)]
    assert (rows[0]["entry_price"], rows[0]["fees"], rows[0]["complete"], rows[0]["differs"]) == (
        "100.10",
        "-0.30",
        "true",
        "{}",
    )
    text = await api.get("/v1/positions/history", accept="application/x-ndjson;q=0.9, text/csv;q=0.1")
    assert [json.loads(line)["closed_at"] for line in text.splitlines()] == [T0, T0 + 1, T0 + 2, T0 + 3, T0 + 4, T0 + 9]
    assert (await api.get("/v1/funding", accept="text/csv")).count("\n") == 1  # the head alone
    assert await api.get("/v1/funding", accept="application/x-ndjson") == ""
    assert (await api.get("/v1/fills", accept="text/csv")).startswith("id,account,")
    problem = await api.get("/v1/positions/history?limit=5", status=400, accept="text/csv")
    assert problem["code"] == "bad_filter"


@pytest.mark.parametrize("path", ["/v1/pnl", "/v1/equity", f"/v1/positions/at?at={T0 + 5}"])
async def test_sums_and_moments_are_files_too(api: Api, path: str) -> None:
    state = held()
    await api.put(fill(1, NOW - HOUR), equity("main", NOW - HOUR, 5.5), change(state, T0, state, "size"))
    rows = list(csv.DictReader(io.StringIO(await api.get(path, accept="text/csv"))))
    lines = [json.loads(line) for line in (await api.get(path, accept="application/x-ndjson")).splitlines()]
    assert len(rows) == len(lines) == 1
    for name, value in lines[0].items():
        assert rows[0][name] == export.cell(value)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("-0.5", "-0.5"), ("+1E-7", "+1E-7"), ("-.5", "-.5"), (-3, "-3"), (1.5, "1.5"), (None, ""), (True, "true"),
        ("=1+1", "'=1+1"), ("-1+1", "'-1+1"), ("@x", "'@x"), ("+cmd", "'+cmd"), ("\t=1", "'\t=1"), ("-", "'-"), ("plain", "plain"),
        (["=1"], '["=1"]'), ({"a": "1"}, '{"a":"1"}'), ("-Infinity", "'-Infinity"), ("-１", "'-１"),
    ],
)  # fmt: skip
def test_cells_are_numbers_or_texts_never_formulas(value: object, shown: str) -> None:
    assert export.cell(value) == shown


async def test_a_client_that_does_not_read_is_cut_off_and_holds_no_connection(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "STALLED_S", 0.2)
    await api.sql.execute(
        "INSERT INTO transfers (id, account, at, state) SELECT 'main:' || n, 'main', $1::bigint + n, "
        "jsonb_build_object('what', repeat('x', 2000)) FROM generate_series(1, 20000) AS n",
        T0,
    )
    reader, writer = await asyncio.open_connection("127.0.0.1", api.server.port, limit=2**12)
    writer.write(
        f"GET /v1/transfers HTTP/1.1\r\nHost: 127.0.0.1:{api.server.port}\r\nAccept: text/csv\r\n\r\n".encode()
    )
    assert b"200 OK" in await reader.readline()
    open_ = api.server._server.server_state.connections  # type: ignore[union-attr]  # it was started
    await until(lambda: not open_, timeout_s=15.0)
    busy = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'perpwire reads%' AND state <> 'idle'"
    assert await api.sql.fetchval(busy) == 0
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await reader.readexactly(20_000 * 2_000)
    writer.close()


async def test_what_breaks_off_is_cut_and_never_looks_whole(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.storage.queries.CHUNK", 2)
    await api.put(*(cycle(n, T0 + n) for n in range(5)))

    async def breaking(self: HistoryDesk, asked: Any) -> AsyncIterator[list[str]]:
        yield ["{}"]
        raise Refusal("storage_unreachable", "gone")

    monkeypatch.setattr(HistoryDesk, "chunks", breaking)
    with pytest.raises(aiohttp.ClientPayloadError):
        await api.get("/v1/positions/history", accept="text/csv")


async def test_encoding_of_records_keeps_digits(api: Api) -> None:
    digits = "0.123456789012345678901234567890"
    await api.put(cycle(1, T0, realized_pnl=digits))
    assert (await api.get("/v1/positions/history"))["rows"][0]["realized_pnl"] == digits
    assert digits in await api.get("/v1/positions/history", accept="text/csv")
    assert (
        msgspec.json.decode((await api.get("/v1/positions/history", accept="application/x-ndjson")).encode())[
            "realized_pnl"
        ]
        == digits
    )


# --- verifications -------------------------------------------------------------------------------------------------------


def verified(number: int, account: str = "main", cls: VerificationClass | None = None, **fields: Any) -> Verification:
    day = T0 + number * DAY
    lines = () if cls is None else (Finding(cls=cls, what="trade 7", since=day, at=day, fills=("f7",), effect="-1.50"),)
    return Verification(
        id=f"{account}:{fields.get('symbol') or 'books'}:{number}", account=account, day=day, at=day, worked_at=day,
        cls=cls, findings=lines, compared=3, equal=3 - len(lines), **fields,
    )  # fmt: skip


async def test_verifications_say_what_differs_and_what_moved_the_equity(api: Api) -> None:
    moved = Balance(
        ccy="USDT", equity="5.00", realized="3", unrealized="1", transfers="1", interest="0", revaluation="0", findings="0",
        unexplained="0", bound="0.01",
    )  # fmt: skip
    await api.put(verified(0, cls="unexplained", symbol="BTC-USDT-SWAP"), verified(1, balance=(moved,)))
    balance, difference = (await api.get("/v1/verifications"))["rows"]
    assert (balance["balance"], "symbol" in balance, "class" in balance) == ([msgspec.to_builtins(moved)], False, False)
    assert (difference["class"], difference["compared"], difference["equal"]) == ("unexplained", 3, 2)
    (line,) = difference["findings"]
    assert (line["class"], line["fills"], line["effect"]) == ("unexplained", ["f7"], "-1.50")
    assert (difference["user"], difference["venue"]) == ("ann", "okx")


async def test_verifications_are_filtered_and_paged(api: Api) -> None:
    await api.put(
        verified(0, cls="rounding", symbol="BTC-USDT-SWAP"), verified(1, cls="unexplained", symbol="ETH-USDT-SWAP"),
        verified(2, "other", "unexplained", symbol="BTC-USDT-SWAP"), verified(3),
    )  # fmt: skip

    async def numbers(query: str) -> str:
        return "".join(one[-1] for one in await api.ids(f"/v1/verifications?{query}"))

    assert await numbers("") == "3210"
    assert await numbers("class=unexplained") == "21"
    assert await numbers("class=unexplained&account=main") == "1"
    assert await numbers("symbol=BTC-USDT-SWAP") == "20"
    assert await numbers("venue=bybit") == "2"
    assert await numbers("strategy=carry") == "310"
    assert await numbers(f"from={T0 + DAY}&to={T0 + 3 * DAY}") == "21"
    first = await api.get("/v1/verifications?limit=3")
    assert len(first["rows"]) == 3
    last = await api.get(f"/v1/verifications?limit=3&cursor={first['next_cursor']}")
    assert [row["id"][-1] for row in last["rows"]] == ["0"]
    assert "next_cursor" not in last
    await api.get("/v1/verifications?class=wrong", status=400)


async def test_verifications_are_those_of_ones_own_accounts(api: Api) -> None:
    await api.put(verified(0), verified(1, "other"))
    assert await api.ids("/v1/verifications", who="ann") == ["main:books:0"]
    assert await api.ids("/v1/verifications", who="bob") == ["other:books:1"]
