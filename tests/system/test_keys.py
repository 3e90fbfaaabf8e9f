"""Keys and clocks that are wrong: what a trader is told, by the running gateway and by ``perpwire check``; the others go on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest
from structlog.testing import capture_logs

from exchanges.sim.server import Simulator
from exchanges.venue import AccountSpec, Credentials
from gateway.check import Found, inspect
from gateway.config import AccountSettings, Config, load
from gateway.demo import configure
from gateway.reporting import public, report
from tests.system.desk import Desk, Rows, desk, eventually, running_simulator
from tests.system.written import written

SEED = 7
READ = {"hl-single", "okx-isolated", "bybit-isolated", "aster-hedge"}  # nothing is wrong with these

# Account → what its message has to say: what is wrong, the venue's code where it gave one, and what to do.
REFUSED: Mapping[str, tuple[str, ...]] = {
    # A key that can do more than read.
    "okx-main": ("may do more than read: trade", "tick Read alone", "allow_trading_keys: true"),
    "bybit-main": ("may do more than read", "Withdraw", "choose Read-Only", "allow_trading_keys: true"),
    "aster-main": ("may do more than read: ", "perp trade", "switched off", "allow_trading_keys: true"),
    # An expired key. OKX deletes those that were not used: it does not know them any more.
    "okx-hedge": ("the key does not exist", "50119", "have expired", "Check the key"),
    "bybit-hedge": ("the API key has expired", "33004", "Make a new key"),
    "aster-multi": ("-2015", "expired", "Check"),
    # A wrong passphrase.
    "okx-passphrase": ("the passphrase is wrong", "50105", "not the account's password"),
    # A key of another environment.
    "okx-demo-key": ("the key belongs to another environment", "50101", "Set env to the one the key was created for"),
    "bybit-demo-key": ("the API key is not valid here", "10003", "its environment matches `env` and `region`"),
    # Hyperliquid: the address of an agent, whose own account is empty and valid.
    "hl-agent": ("is an agent (API wallet) of 0x", "shows an empty account", "Put the master's address"),
}


def spoilt(simulator: Simulator, data: Path) -> tuple[Config, list[AccountSpec]]:
    """Return a configuration of sound accounts and of all that are refused, and make the simulator refuse them."""
    config, sound = configure(simulator.describe(), 0, data)
    specs = {spec.name: spec for spec in sound}
    for name in ("okx-main", "bybit-main", "aster-main"):
        simulator.control.fault({"kind": "key_powers", "account": name, "powers": ["read", "trade", "withdraw"]})
    for name in ("okx-hedge", "bybit-hedge", "aster-multi"):
        simulator.control.fault({"kind": "expired_key", "account": name})
    okx, bybit = specs["okx-isolated"], specs["bybit-isolated"]
    assert okx.credentials is not None
    assert bybit.credentials is not None
    known = next(one for one in simulator.describe()["okx"]["accounts"] if one["name"] == "okx-isolated")
    agent = next(one for one in simulator.describe()["hyperliquid"]["accounts"] if one["name"] == "hl-main")["agent"]
    replace = msgspec.structs.replace
    made = (
        replace(okx, name="okx-passphrase", credentials=replace(okx.credentials, passphrase="of the account")),
        replace(okx, name="okx-demo-key", credentials=replace(okx.credentials, key=known["demo_key"])),
        replace(bybit, name="bybit-demo-key", credentials=Credentials("demoKey0123456789", bybit.credentials.secret)),
        AccountSpec(name="hl-agent", venue="hyperliquid", address=agent),
    )
    wanted = [spec for name, spec in specs.items() if name in REFUSED or name in READ] + list(made)
    accounts = {spec.name: AccountSettings(venue=spec.venue, user="ann") for spec in wanted}
    return replace(config, accounts=accounts), wanted


class Told(NamedTuple):
    """What a gateway over spoilt keys showed once all was settled, and what it logged."""

    feeds: Rows
    accounts: Rows
    positions: Rows
    log: list[dict[str, object]]
    shown_live: set[str]  # accounts of which something was live after their refusal


@pytest.fixture(scope="module")
async def told(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Told]:
    with capture_logs() as log:
        async with running_simulator(SEED) as simulator:
            config, specs = spoilt(simulator, tmp_path_factory.mktemp("keys"))
            async with desk(
                simulator, tmp_path_factory.mktemp("data"), changes=(lambda *_: (config, specs),)
            ) as running:
                accounts, shown_live = running.client.tables["accounts"], set[str]()

                def settled() -> bool:
                    for row in running.positions.values():
                        if "refused" in accounts[row["account"]] and "stale" not in row:
                            shown_live.add(row["account"])
                    return _settled(running)

                await eventually(settled, lambda: f"all is settled: {running.feeds}", 20.0)
                tables = running.client.tables
                yield Told(
                    dict(tables["feeds"]), dict(tables["accounts"]), dict(tables["positions"]), list(log), shown_live
                )


def _settled(running: Desk) -> bool:
    accounts, feeds = running.client.tables["accounts"], running.feeds
    bad = [row for row in feeds.values() if row.get("account") in REFUSED]
    good = [row for row in feeds.values() if row.get("account") in READ]
    return (
        all("refused" in accounts[name] for name in REFUSED)
        and all(row["state"] == "down" for row in bad)
        and all(accounts[row["account"]]["refused"] == row.get("last_error") for row in bad)
        and len(good) == len(READ)
        and all(row["state"] == "live" for row in good)
        and all("verified_at" in accounts[name] for name in READ)
    )


@pytest.mark.parametrize("account", REFUSED)
async def test_the_gateway_says_account_and_venue_what_is_wrong_and_what_to_do(told: Told, account: str) -> None:
    row = told.accounts[account]
    for part in (account, row["venue"], *REFUSED[account]):
        assert part in row["refused"], part
    feeds = [feed for feed in told.feeds.values() if feed.get("account") == account]
    assert feeds
    assert {(feed["state"], feed["last_error"]) for feed in feeds} == {("down", row["refused"])}
    logged = [line for line in told.log if line.get("account") == account and line["log_level"] == "error"]
    assert row["refused"] in [line["error"] for line in logged]


@pytest.mark.parametrize("account", REFUSED)
async def test_nothing_of_a_refused_account_is_shown_as_live(told: Told, account: str) -> None:
    assert account not in told.shown_live
    assert told.accounts[account]["stale"]["reason"] == "private_feed"
    mine = [row for row in told.positions.values() if row["account"] == account]
    assert all(row["stale"]["reason"] == "private_feed" for row in mine)


async def test_the_other_accounts_are_read(told: Told) -> None:
    held = {row["account"] for row in told.positions.values() if "stale" not in row}
    assert held == READ
    assert not [name for name in READ if "refused" in told.accounts[name]]


# --- perpwire check ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
async def found(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[dict[str, Found]]:
    async with running_simulator(SEED) as simulator:
        folder = tmp_path_factory.mktemp("keys")
        path = written(*spoilt(simulator, folder), folder)
        yield {one.spec.name: one for one in await inspect(load(path), [], 20.0)}


@pytest.mark.parametrize("account", REFUSED)
async def test_check_says_the_same(found: dict[str, Found], account: str) -> None:
    one = found[account]
    assert one.refused is not None
    assert not one.readable
    text = "\n".join(report([one]))
    for part in (f"{account}: REFUSED", one.spec.venue, *REFUSED[account]):
        assert part in text, part
    assert "agent" not in account or one.spec.address not in public(text, [one])


async def test_check_reads_the_others(found: dict[str, Found]) -> None:
    assert {name for name, one in found.items() if one.readable} == READ


# --- The clock --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("ms", "words"), [(5_000, "5.0 s behind"), (-5_000, "5.0 s ahead of")])
async def test_a_wrong_clock_is_corrected_and_said(simulator: Simulator, folder: Path, ms: int, words: str) -> None:
    simulator.control.fault({"kind": "clock_skew", "ms": ms})
    with capture_logs() as log:
        async with desk(simulator, folder) as running:
            await running.live()
            await running.client.wait_for(
                lambda client: all("verified_at" in row for row in client.tables["accounts"].values())
            )
            assert not [row for row in running.client.tables["accounts"].values() if "refused" in row]
            remarks = [line for line in log if words in str(line["event"])]
            assert {venue for line in remarks for venue in simulator.fronts if venue in str(line["event"])} == set(
                simulator.fronts
            )
            assert all("Set the clock (NTP)" in str(line["event"]) for line in remarks)
            assert {name for line in remarks for name in line["accounts"]} == set(running.gateway.config.accounts)
    config, specs = configure(simulator.describe(), 0, folder)
    for one in await inspect(load(written(config, specs, folder)), [], 20.0):
        assert one.readable
        text = "\n".join(report([one]))
        assert f"this machine's clock is {words}" in text
        assert f"that of {one.spec.venue}: signatures are corrected by it. Set the clock (NTP)" in text


@pytest.mark.parametrize(
    ("account", "code", "parts"),
    [
        ("okx-main", "60006", ("the login's timestamp has expired", "synchronise it (NTP)")),
        ("bybit-main", "10002", ("outside the server's time window", "Synchronise this machine's clock")),
    ],
)
async def test_a_login_that_is_refused_for_its_time_has_its_own_words(
    running: Desk, account: str, code: str, parts: tuple[str, ...]
) -> None:
    with capture_logs() as log:
        running.fault("wrong_login", venue=account.partition("-")[0], count=100, code=code)
        running.fault("drop", account=account)
        name = f"{account}:private"
        await running.client.wait_for(
            lambda client: "login refused" in client.tables["feeds"][name].get("last_error", "")
        )
    text = running.feeds[name]["last_error"]
    for part in (code, *parts):
        assert part in text
    assert [line["account"] for line in log if line["event"] == "a login was refused"] == [account]


# --- Not every refusal is the key's -------------------------------------------------------------------------------------


async def test_a_history_that_may_not_be_read_does_not_stop_the_account(
    running: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key without the permission for the records of what happened still reads the present state."""
    from exchanges.errors import AuthFailed

    rounds = running.gateway.feeds.rounds["bybit-main"]
    asked = asyncio.Event()

    async def refused(*_: object) -> None:
        asked.set()
        raise AuthFailed("bybit /v5/account/transaction-log", "the key lacks a permission", code="10005")

    monkeypatch.setattr(rounds.inquiry, "history", refused)
    with capture_logs() as log:
        rounds.want_history(0, ["BTCUSDT"])
        async with asyncio.timeout(10):
            await asked.wait()
            at = await rounds.verified(0)
    assert at
    assert rounds.refused is None
    assert "10005" in next(str(line["error"]) for line in log if line["event"] == "what happened could not be asked")
    assert running.feeds["bybit-main:private"]["state"] == "live"
    assert "refused" not in running.client.tables["accounts"]["bybit-main"]
