"""The documentation against the code: what is undocumented, or documented and not there, fails."""

from __future__ import annotations

import ast
import asyncio
import fnmatch
import importlib
import re
import time
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, get_args

import msgspec
import orjson
import pytest
import typer
from starlette.types import Message

from exchanges.aster import tables as aster
from exchanges.bybit import tables as bybit
from exchanges.events import (
    AccountMode,
    CoinBalance,
    Event,
    FeedState,
    FeedStatus,
    Fill,
    FundingRate,
    HistoryRead,
    KeyInfo,
    LiquidationWarning,
    Order,
    PoolState,
    PositionsSnapshot,
    VerificationFailed,
    Verified,
)
from exchanges.hyperliquid import tables as hyperliquid
from exchanges.okx import tables as okx
from exchanges.sim.plan import KINDS, read_plan
from gateway import config, model_desk
from gateway.cli import app as command_line
from gateway.core.accounts import AccountInfo
from gateway.core.alerts.machine import State as AlertState
from gateway.core.alerts.records import Silence
from gateway.core.alerts.rules import BUILTIN, Severity
from gateway.core.alerts.rules import KINDS as ALERT_KINDS
from gateway.core.margin import CATALOG
from gateway.core.protocol import ERRORS, Close, Limits, may_return
from gateway.core.records import ClosedCycle, CloseReason, Correction, CorrectionClass, Trigger
from gateway.core.scenario import Change, MaxSize, Scenario
from gateway.core.scenario import parse as parse_scenario
from gateway.core.stress import StressSettings
from gateway.engine import Engine
from gateway.hub import Hub
from gateway.loading import read_yaml, signing_key
from gateway.notify.webhook import sign
from gateway.web.app import build_app
from gateway.web.state import ServerState
from tests.gateway.events_of import balance, engine, instrument, mark, position, snapshot
from tests.gateway.events_of import feed as feed_of

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
SOURCES = sorted([*(ROOT / "gateway").rglob("*.py"), *(ROOT / "exchanges").rglob("*.py")])


@cache
def read(name: str) -> str:
    return (ROOT / name).read_text()


def section(name: str, heading: str) -> str:
    """Return what stands below a heading, up to the next one of its level or above."""
    level = heading.index(" ")
    found = re.search(
        rf"^{re.escape(heading)}$\n(.*?)(?=^#{{1,{level}}} |\Z)", read(name), flags=re.MULTILINE | re.DOTALL
    )
    assert found, f"{name} has no heading {heading!r}"
    return found[1]


def rows(text: str) -> list[list[str]]:
    """Return the cells of all table rows in a text, without heads and rules."""
    lines = text.splitlines()
    found = []
    for number, line in enumerate(lines):
        ruled = number + 1 < len(lines) and lines[number + 1].startswith("| ---")
        if line.startswith("|") and not line.startswith("| ---") and not ruled:
            found.append([cell.strip() for cell in line.strip("|").split(" | ")])
    return found


def first_cells(text: str) -> list[str]:
    return [cells[0].strip("`") for cells in rows(text)]


def fields(text: str) -> list[str]:
    """Return the names in the first cells; one cell may hold several."""
    return [name for cells in rows(text) for name in re.findall(r"`(\w+)`", cells[0])]


# --- The protocol ------------------------------------------------------------------------------------------------------


def test_close_codes_are_documented() -> None:
    documented = [cells[:3] for cells in rows(section("docs/protocol.md", "### Close codes"))]
    assert documented == [[str(c.code), c.reason, "yes" if may_return(c.code) else "no"] for c in Close]


def test_error_codes_are_documented() -> None:
    documented = [cells[:3] for cells in rows(section("docs/protocol.md", "### Error codes"))]
    assert documented == [[f"`{code}`", str(e.status), "yes" if e.retry else "no"] for code, e in ERRORS.items()]


def state() -> ServerState:
    """Return a server's state; to be called inside a running loop."""
    hub = Hub.on(asyncio.get_running_loop(), engine().tables, Limits())
    return ServerState(hub=hub, version="0", accounts=tuple)


async def described() -> dict[str, Any]:
    """Return the paths of /openapi.json, as the application answers them."""
    body = bytearray()

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        body.extend(message.get("body", b""))

    scope = {
        "type": "http", "http_version": "1.1", "method": "GET", "scheme": "http", "path": "/openapi.json",
        "root_path": "", "query_string": b"", "headers": [(b"host", b"127.0.0.1")],
    }  # fmt: skip
    await build_app(state())(scope, receive, send)
    paths: dict[str, Any] = orjson.loads(body)["paths"]
    return paths


async def test_routes_and_their_parameters_are_documented() -> None:
    documented = {
        cells[0].strip("`"): re.findall(r"`(\w+)`", cells[1])
        for cells in rows(section("docs/protocol.md", "## REST"))
        if cells[0].startswith(("`GET ", "`POST ", "`DELETE "))
    }
    assert documented == {
        f"{method.upper()} {path}": [parameter["name"] for parameter in operation["parameters"]]
        for path, methods in (await described()).items()
        for method, operation in methods.items()
    }


def test_the_scenario_that_is_shown_is_one_and_its_words_are_all_there() -> None:
    text = section("docs/protocol.md", "### What if: `POST /v1/stress`")
    (example,) = re.findall(r"```json\n(.*?)```", text, re.DOTALL)
    assert len(parse_scenario(example.encode()).changes) == 3
    named = set(re.findall(r"`(\w+)`", text)) | set(re.findall(r'"(\w+)":', example))
    assert {name for kind in (Scenario, Change, MaxSize) for name in kind.__struct_fields__} <= named


# --- Rows --------------------------------------------------------------------------------------------------------------


def feed(account: str | None) -> FeedStatus:
    return FeedStatus(
        id=f"{account or 'okx'}:c", venue="okx", env="live", account=account, connection="c", state="down", at=1,
        reconnects=1, error="away",
    )  # fmt: skip


def records() -> list[Event]:
    """Return a closed cycle and two corrections with every field that theirs can have."""
    of = {"account": "okx-main", "position": "okx-main:X:net", "symbol": "X"}
    found = {"before": {"size": "2", "side": "long"}, "after": {"size": "0"}, "found_at": 9, "since": 1}
    return [
        ClosedCycle(id="okx-main:X:net@1", **of, side="long", size="2", reason="adl", entry_price="1", opened_at=1,
                    closed_at=8, since=1, exit_price="1", realized_pnl="0", fees="0", funding="0", liquidation_fee="0",
                    realized_net="0"),  # type: ignore[arg-type]  # fields by name
        Correction(id="okx-main:9-1", **of, **found, trigger="timer"),  # type: ignore[arg-type]  # the same
        Correction(id="okx-main:9-2", **of, **found, trigger="timer", cls="mode_leftover", evidence=("a → b",),
                   mode="a → b"),  # type: ignore[arg-type]  # the same
    ]  # fmt: skip


def happenings() -> list[Event]:
    """Return an order and a fill with every field, and what the venue says of an account as a whole."""
    return [
        Order(
            account="okx-main", scope="orders", symbol="X", order_id="1", open=True, side="buy", position_side="long",
            type="limit", status="live", category="normal", price="1", trigger_price="1", size="2", filled="1",
            average_price="1", reduce_only=False, client_id="c", created_at=1, updated_at=2,
        ),
        Fill(
            account="okx-main", id="okx-main:X:7:1", symbol="X", order_id="1", side="buy", size="1", price="1", at=2,
            position="okx-main:X:net", trade_id="7", fee="-0.1", fee_ccy="USDT", role="taker", realized_pnl="0",
            category="normal", start_position="0", held_before="0",
        ),
        FundingRate(venue="okx", env="live", symbol="BTC-USDT-SWAP", rate="0.0001", next_at=9_000),
        KeyInfo(account="okx-main", powers=("trade",), owner="7", label="desk", expires_at=9, ip_bound=True),
        KeyInfo(account="twin", powers=(), owner="7"),
        LiquidationWarning(account="okx-main", what="close", at=1),
        LiquidationWarning(account="okx-main", what="close", at=1, symbol="BTC-USDT-SWAP"),
        Verified(account="okx-main", asked_at=900),
        VerificationFailed(account="other", at=900, error="its key may trade", refused=True),
    ]  # fmt: skip


def scenario() -> Engine:
    """Return an engine in which, over all rows of a table together, every field that can be sent is there."""
    main = AccountInfo(
        name="okx-main", venue="okx", env="live", user="ann", region="eea", strategy="carry", allocated={"USDT": "500"}
    )
    twin = AccountInfo(name="twin", venue="okx", env="live", user="ann")
    whale = AccountInfo(name="whale", venue="hyperliquid", env="live", user="ann")
    other = AccountInfo(name="other", venue="bybit", env="live", user="bob")
    one = engine(main, twin, whale, other)
    one.restore(records(), 10)
    everything = position(
        break_even_price="101", adl=1, take_profit="200", stop_loss="90", opened_at=1, venue_liquidation_price="50",
        liquidation_known="price", funding="-1",
    )  # fmt: skip
    isolated = position("ETH-USDT-SWAP", margin_mode="isolated", isolated_margin="20", isolated_cash="20", size="0.001")
    option = position("BTC-USD-251226-90000-C", kind="option", pool="USD", contract_size=None, venue_value="30")
    rounded = position("BTC", "whale", entry_exact=False, contract_size="1", pool="main", scope="dex:")
    unknown = position("SOLUSDT", "other", contract_size=None, mark_price=None)
    pool = PoolState(pool="USDT", ccy="USDT", cash="100", order_margin="1", available="2")
    coins = (CoinBalance(ccy="USDT", total="1000", cash="1000"), CoinBalance(ccy="DOGE", total="5", cash="5"))
    one.turn(
        [
            instrument(kind="future", expires_at=9_000, tiers_key="x"),
            AccountMode(account="okx-main", mode="futures mode"),
            balance(coins=coins, pools=(pool,), available="1", withdrawable="1"),
            balance("1000", "whale", pools=(PoolState(pool="main", ccy="USDC", cash="1000", basis="value"),)),
            balance("1000", "other", pools=(PoolState(pool="USDT", ccy="USDT", venue_ratio="0.5"),)),
            PositionsSnapshot(account="okx-main", scope="positions", positions=(everything, isolated, option)),
            PositionsSnapshot(account="whale", scope="dex:", positions=(rounded,)),
            feed("okx-main"),
            feed(None),
            msgspec.structs.replace(feed("whale"), polled=True),
            *happenings(),
            Fill(account="whale", id="whale:1:1", symbol="BTC", order_id="1", side="buy", size="2", price="1", at=2,
                 position=rounded.id, fee="-0.1", fee_ccy="USDT", realized_pnl="0", start_position="0"),
        ],
        1_000,
    )  # fmt: skip
    one.turn([mark("120"), unknown], 2_000)
    one.clock(3_000, {"okx-main:c": 2_900, "okx:c": 2_900})
    return one


def alarming() -> Engine:
    """Return an engine with a pool beyond the bounds of its model, one that is calibrated, and every field of an alert."""
    one = engine(
        AccountInfo(name="okx-main", venue="okx", env="live", user="ann"),
        AccountInfo(name="okx-two", venue="okx", env="live", user="ann"),
        AccountInfo(name="okx-three", venue="okx", env="live", user="ann"),
        promoted=CATALOG,
        stress=StressSettings(bases=("BTC", "BCT")),
    )
    live = [instrument(), feed_of("live"), feed_of("live", account=None), feed_of("live", "okx-two")]
    off = position(venue_liquidation_price="60", liquidation_known="price", size="10")
    near = position(account="okx-two", venue_liquidation_price="50.4", liquidation_known="price", size="10")
    one.turn([*live, balance("500"), snapshot(off)], 1_000)
    one.turn([balance("500", "okx-two"), snapshot(near, account="okx-two")], 1_001)
    dated = instrument("BTC-USDT-261225", kind="future")  # of the same underlying: both move together
    both = [position(account="okx-three"), position("BTC-USDT-261225", account="okx-three")]
    one.turn([dated, balance("100", "okx-three"), snapshot(*both, account="okx-three")], 1_002)
    one.turn([mark("61", at=2_000)], 2_000)
    for row_id in [row_id for row_id in one.tables["alerts"].ids() if one.alerts.board.fires(row_id)]:
        one.acknowledge(row_id, 3_000)
    one.silence(Silence(id="s", at=3_000, until=90_000, by="ann"), 3_000)
    without = msgspec.structs.replace(off, mark_price=None, venue_unrealized_pnl=None, contract_size=None, fence=(2,))
    one.turn([msgspec.structs.replace(without, id="okx-main:X:long", symbol="X")], 4_000)
    one.clock(7_000)  # the day is asked for
    one.turn([HistoryRead(account="okx-main", since=0, asked_at=7_000)], 7_100)
    one.clock(15_000, {"okx-main:private": 15_000, "okx:public": 15_000})
    return one


@cache
def everything() -> tuple[Engine, ...]:
    """Return the engines in which, together, every field that can be sent is there."""
    return scenario(), alarming()


def rows_of(one: Engine, table: str) -> Iterator[dict[str, Any]]:
    for row_id in one.tables[table].ids():
        version = one.tables[table].get(row_id)
        assert version is not None
        yield dict(version.row)


def sent(table: str) -> dict[str, set[str]]:
    """Return the fields of a table's rows, and of the pools in them, as they are sent."""
    found: dict[str, set[str]] = {"": set()}
    for row in (row for one in everything() for row in rows_of(one, table)):
        found[""] |= row.keys()
        for pool in row.get("pools", {}).values():
            found.setdefault("pool", set()).update(pool)
    return found


@pytest.mark.parametrize("table", engine().tables.names)
def test_every_field_that_is_sent_is_documented_and_no_other(table: str) -> None:
    text = section("docs/protocol.md", f"## Table `{table}`")
    of_rows, _, of_pools = text.partition("| field of a pool |")
    found = sent(table)
    assert sorted(fields(of_rows)) == sorted(found[""])
    if of_pools:
        assert sorted(fields("| field of a pool |" + of_pools)) == sorted(found["pool"])


def test_the_documented_tables_are_those_that_exist() -> None:
    assert tuple(re.findall(r"^## Table `(\w+)`$", read("docs/protocol.md"), re.MULTILINE)) == engine().tables.names


def test_what_is_absent_for_now_is_absent() -> None:
    text = section("docs/protocol.md", "## Absent for now")
    for table in engine().tables.names:
        line = re.search(rf"^- {table}: (.*?)[;.]$", text, re.MULTILINE | re.DOTALL)
        if line:
            names = set(re.findall(r"`(\w+)`", line[1].partition(";")[0]))
            assert names
            assert not names & sent(table)[""]


def inner(table: str) -> dict[str, set[str]]:
    """Return the names within the objects of a table's rows, by field."""
    found: dict[str, set[str]] = {}
    for row in (row for one in everything() for row in rows_of(one, table)):
        for pool in row.get("pools", {}).values():
            found.setdefault("calibration", set()).update(pool.get("calibration", {}))
        for name in ("rates", "stress"):
            for entry in row.get(name, {}).values():
                found.setdefault(name, set()).update(entry)
    return found


@pytest.mark.parametrize(
    ("table", "field"), [("accounts", "calibration"), ("accounts", "rates"), ("summary", "stress")]
)
def test_every_name_within_an_object_is_documented(table: str, field: str) -> None:
    (row,) = [cells for cells in rows(section("docs/protocol.md", f"## Table `{table}`")) if cells[0] == f"`{field}`"]
    assert inner(table)[field] <= set(re.findall(r"`(\w+)`", row[2]))


@pytest.mark.parametrize(
    ("table", "field", "words"),
    [
        ("feeds", "state", FeedState),
        ("closed", "reason", CloseReason),
        ("reconciliations", "trigger", Trigger),
        ("alerts", "severity", Severity),
    ],
)
def test_every_word_of_a_field_is_documented(table: str, field: str, words: Any) -> None:
    (row,) = [cells for cells in rows(section("docs/protocol.md", f"## Table `{table}`")) if cells[0] == f"`{field}`"]
    assert re.findall(r"`(\w+)`", row[2]) == list(get_args(words))


def test_every_state_of_an_alert_that_is_shown_is_documented() -> None:
    (row,) = [cells for cells in rows(section("docs/protocol.md", "## Table `alerts`")) if cells[0] == "`state`"]
    assert set(get_args(AlertState)) - {"ok"} == set(re.findall(r"`(\w+)`", row[2])) - {"for_s"}


def test_every_source_of_a_liquidation_price_is_documented() -> None:
    listed = first_cells(section("docs/margin.md", "## What `liquidation_source` says"))
    (row,) = [
        cells
        for cells in rows(section("docs/protocol.md", "## Table `positions`"))
        if cells[0] == "`liquidation_source`"
    ]
    assert listed == re.findall(r"`(\w+)`", row[2])
    shown = {str(row["liquidation_source"]) for one in everything() for row in rows_of(one, "positions")}
    assert {"model", "calibrated", "venue"} <= shown <= set(listed)


def test_every_class_of_a_correction_is_documented() -> None:
    assert first_cells(section("docs/protocol.md", "## Classes of corrections")) == list(get_args(CorrectionClass))


def test_every_reason_to_be_stale_is_documented_and_the_dashboard_has_words_for_it() -> None:
    said = {reason for path in SOURCES for reason in re.findall(r'\breason(?:":| =) "(\w+)"', path.read_text())}
    listed = first_cells(section("docs/protocol.md", "## Stale reasons"))
    worded = re.findall(r"^  (\w+):", read("static/columns.js").partition("REASONS = {")[2].partition("}")[0], re.M)
    assert said
    assert sorted(listed) == sorted(said) == sorted(worded)


# --- Metrics, commands, configuration ----------------------------------------------------------------------------------


def calls(path: Path) -> Iterator[ast.Call]:
    return (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call))


def metrics() -> set[str]:
    """Return the name of every metric that the code makes."""
    counted = {f"corrections_{cls}" for cls in get_args(CorrectionClass)}  # the one f-string
    for path in (ROOT / "gateway").rglob("*.py"):
        counted |= set(re.findall(r'self\._?counters\["(\w+)"\]', path.read_text()))
    computed: dict[str, Iterable[str]] = {
        "f'engine_{name}'": counted,
        "f'model_{name}'": model_desk._COUNTS,
        "f'model_{name}_median'": model_desk._KINDS,
        "f'model_{name}_worst'": model_desk._KINDS,
    }
    found = set()
    for call in (call for path in SOURCES for call in calls(path)):
        maker = call.func.id if isinstance(call.func, ast.Name) else ""
        if maker not in ("gauge", "counter", "labelled"):
            continue
        name = call.args[1] if maker == "labelled" else call.args[0]
        suffix = "_total" if maker == "counter" or "Counter" in ast.unparse(call.args[0]) else ""
        if isinstance(name, ast.Constant):
            found.add(f"perpwire_{name.value}{suffix}")
        else:
            text = ast.unparse(name)
            assert text in computed, f"a metric whose name cannot be told: {text}"
            found |= {f"perpwire_{text[2:-1].format(name=one)}{suffix}" for one in computed[text]}
    return found


async def test_every_metric_is_documented() -> None:
    documented = [name for name in first_cells(section("docs/operations.md", "## Watching")) if name.startswith("perp")]
    assert sorted(documented) == sorted(metrics())
    rendered = re.findall(r"^# TYPE (\w+)", state().metrics.render().decode(), re.MULTILINE)
    assert set(rendered) <= set(documented)


def test_every_command_and_option_is_documented() -> None:
    root = typer.main.get_command(command_line)
    commands: dict[str, Any] = root.commands  # type: ignore[attr-defined]  # the command line is a group
    documented = {cells[0].strip("`").split()[1]: cells[1] for cells in rows(section("README.md", "## Run it"))}
    assert documented.keys() == commands.keys()
    operations = section("docs/operations.md", "## Start")
    for name, command in commands.items():
        parts = getattr(command, "commands", {})  # of a group
        assert all(f"perpwire {name} {part}" in read("README.md") for part in parts)
        params = [param for each in (command, *parts.values()) for param in each.params]
        options = {param.opts[0] for param in params if param.opts[0].startswith("--")}
        assert set(re.findall(r"--[\w-]+", documented[name])) == options, f"README, {name}"
        (listed,) = re.findall(rf"`perpwire {name}` \(([^)]*)\)", operations)
        assert set(re.findall(r"--[\w-]+", listed)) == options, f"operations.md, {name}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_configuration_keys_that_are_named_exist(page: Path) -> None:
    known = config.Config()
    for part, key in re.findall(
        r"`(server|limits|storage|engine|models|risk|stress|alerts|verify|log)\.(\w+)(?:[.:][^`]*)?`", page.read_text()
    ):
        assert hasattr(getattr(known, part), key), f"{page.name}: {part}.{key}"


def test_the_examples_of_the_readme_are_right() -> None:
    (example,) = re.findall(r"```yaml\n(.*?)```", read("README.md"), re.DOTALL)
    accounts = config.parse(read_yaml(example), "README.md").accounts
    assert {account.venue for account in accounts.values()} == {"okx", "bybit", "hyperliquid", "aster"}
    (program,) = re.findall(r"```python\n(.*?)```", read("README.md"), re.DOTALL)
    compile(program, "README.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    for imported in (node for node in ast.parse(program).body if isinstance(node, ast.ImportFrom)):
        module = importlib.import_module(str(imported.module))
        assert all(hasattr(module, alias.name) for alias in imported.names)


def test_the_rules_of_alerts_that_are_shown_are_ones_and_every_kind_is_documented() -> None:
    text = section("docs/operations.md", "## Alerts")
    (example,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    shown = config.parse(read_yaml("accounts: {okx-main: {venue: okx}}\n" + example), "operations.md")
    assert {rule.name for rule in config.alert_rules(shown)} == {*BUILTIN, "big-loss"}
    words = {name: name for name in ("position", "pool", "account", "gateway")}
    words["feed"] = "account, position, venue or symbol"
    special = {"venue_warning": "position or account"}
    listed = {cells[0].strip("`"): (cells[1], cells[3]) for cells in rows(text)}
    assert listed == {
        name: (special.get(name, words[kind.of]), "small" if kind.below else "large")
        for name, kind in ALERT_KINDS.items()
    }
    builtin = text.partition("switches them off):")[2].partition("An entry of")[0]
    assert set(re.findall(r"`(\w+)`", builtin)) == BUILTIN.keys()


def test_the_check_of_a_webhooks_signature_that_is_shown_works() -> None:
    (program,) = re.findall(r"```python\n(.*?)```", section("docs/operations.md", "## Alerts"), re.DOTALL)
    shown: dict[str, Any] = {}
    exec(compile(program, "operations.md", "exec"), shown)
    now, body = int(time.time()), b'{"type":"alert.test"}'
    for secret in ("any words", "whsec_c2VjcmV0"):
        key = signing_key(secret, "here")
        headers = {"webhook-id": "k", "webhook-timestamp": str(now), "webhook-signature": sign(key, "k", now, body)}
        assert shown["genuine"](headers, body, secret)
        assert not shown["genuine"](headers, body + b" ", secret)
        assert not shown["genuine"](headers, body, "whsec_b3RoZXI=")
        assert not shown["genuine"](headers | {"webhook-timestamp": str(now - 600)}, body, secret)


def test_the_plan_of_faults_that_is_shown_is_one() -> None:
    text = section("docs/operations.md", "## The simulator, faults and soaking")
    (plan,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    assert len(read_plan(plan, "operations.md")) == len(plan.splitlines())
    paragraph = text.partition("Kinds of connections")[2].partition("`quiet` keeps")[0]
    assert set(re.findall(r"`(\w+)`", paragraph)) == KINDS.keys()


# --- Venues and models -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("venue", "traps"), [("OKX", 17), ("Bybit", 16), ("Hyperliquid", 16), ("Aster", 14)])
def test_every_trap_is_handled_or_open(venue: str, traps: int) -> None:
    listed = [cells for cells in rows(section("docs/venues.md", f"## {venue}")) if cells[0].isdecimal()]
    assert [int(cells[0]) for cells in listed] == list(range(1, traps + 1))
    for number, _, said in listed:
        assert said.startswith(("handled", "open:")), f"{venue} trap {number} is neither"


def test_every_environment_and_region_is_documented() -> None:
    hosts = {cells[0].strip("`"): cells[1:] for cells in rows(read("docs/venues.md"))}
    for env in {env for of in okx.HOSTS.values() for env in of}:
        assert env in hosts["env"][0]
    for region in okx.HOSTS:
        assert region in hosts["region"][0]
    for env, known in bybit.HOSTS:
        assert env in hosts["env"][1]
        assert known is None or re.search(rf"\b{known}\b", hosts["region"][1]), f"Bybit {env} {known}"
    for place, of in ((2, hyperliquid.HOSTS), (3, aster.HOSTS)):
        assert hosts["env"][place].split(", ") == list(of)


def test_every_margin_model_is_documented() -> None:
    """With its evidence, and nothing else; that every name in the code is in the catalogue is tested with the models."""
    listed = {cells[0].strip("`"): cells[3] for cells in rows(section("docs/margin.md", "## The models now"))}
    assert {name: said.split()[0] for name, said in listed.items()} == {
        name: model.evidence for name, model in CATALOG.items()
    }


def test_every_stored_table_is_documented() -> None:
    made = re.findall(r"^CREATE TABLE (\w+)", "".join(
        path.read_text() for path in (ROOT / "gateway" / "storage" / "migrations").glob("*.sql")
    ), re.MULTILINE)  # fmt: skip
    listed = [
        name for cell in first_cells(section("docs/operations.md", "## Storage")) for name in re.findall(r"\w+", cell)
    ]
    assert set(made) <= set(listed)


# --- Names of the code, links, the map ---------------------------------------------------------------------------------


@cache
def members() -> dict[str, set[str]]:
    """Return the names of every class's methods, fields and attributes, by class name."""
    found: dict[str, set[str]] = {}
    for node in (node for path in SOURCES for node in ast.walk(ast.parse(path.read_text()))):
        if isinstance(node, ast.ClassDef):
            names = found.setdefault(node.name, set())
            for inner in ast.walk(node):
                if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef):
                    names.add(inner.name)
                elif isinstance(inner, ast.Attribute) and ast.unparse(inner.value) == "self":
                    names.add(inner.attr)
                elif isinstance(inner, ast.AnnAssign):
                    names.add(ast.unparse(inner.target))
    return found


def resolves(name: str) -> bool:
    """Say whether a dotted name leads to a module, or to something in one."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        rest = parts[length:]
        if len(rest) == 2 and rest[0] in vars(found):
            return rest[1] in members()[rest[0]]
        return not rest or (len(rest) == 1 and hasattr(found, rest[0]))
    return False


def wrong(page: Path, pattern: str, right: Callable[[str], bool]) -> list[str]:
    return [name for name in re.findall(pattern, page.read_text()) if not right(name)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_names_of_the_code_exist(page: Path) -> None:
    assert not wrong(page, r"`((?:gateway|exchanges)(?:\.\w+)+)`", resolves)
    assert not wrong(
        page,
        r"`([A-Z][a-z]\w*\.\w+)`",
        lambda name: name.partition(".")[2] in members().get(name.partition(".")[0], set()),
    )
    assert not wrong(
        page, r"`((?:gateway|exchanges|static|tests|docs|locks)/[\w./-]*)`", lambda name: (ROOT / name).exists()
    )


def slug(heading: str) -> str:
    """Return the anchor that a heading gets."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    shown = re.sub(r"<!--.*?-->", "", page.read_text(), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", shown):
        if re.match(r"https?://", target):
            continue
        path, _, anchor = target.partition("#")
        found = page if not path else page.parent / path
        assert found.exists(), f"{page.name}: {target}"
        if anchor:
            assert anchor in [slug(head) for head in re.findall(r"^#+ (.*)$", found.read_text(), re.MULTILINE)], target


def ignored(name: str) -> bool:
    patterns: Iterable[str] = (line.strip("/") for line in read(".gitignore").split())
    return name.startswith(".") or any(fnmatch.fnmatch(name, pattern) for pattern in patterns)


def test_the_map_names_every_folder_and_only_what_exists() -> None:
    text = section("README.md", "## Map of the files")
    named = [name for cells in rows(text) for name in re.findall(r"`([\w.][\w./-]*)`", cells[0])]
    assert named
    assert not [name for name in named if not (ROOT / name).exists()]
    folders = {path.name for path in ROOT.iterdir() if path.is_dir() and not ignored(path.name)}
    assert folders <= {name.partition("/")[0] for name in named}


def test_the_readme_is_short() -> None:
    assert len(read("README.md").splitlines()) <= 150
