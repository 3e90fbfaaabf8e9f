"""``perpwire check`` over simulated venues: what it prints, writes and returns."""

from __future__ import annotations

import re
from decimal import Context, Decimal
from pathlib import Path

import msgspec
import pytest

from exchanges.okx import tables as okx
from exchanges.sim.haircuts import counted
from exchanges.sim.server import Simulator
from exchanges.sim.world import World
from exchanges.venue import AccountSpec, Credentials, Endpoints
from gateway.check import Found, inspect
from gateway.config import load
from gateway.demo import configure
from gateway.loading import ConfigError
from gateway.reporting import NOT_COUNTED, public, report
from tests.system.programs import ended
from tests.system.written import written


def told(one: Found) -> str:
    return public("\n".join(report([one])), [one])


def told_shares(text: str) -> dict[str, Decimal]:
    found = re.findall(r"collateral +(\w+) [0-9.]+, counts with ([0-9.]+) of its value", text)
    return {ccy: Decimal(share) for ccy, share in found}


def real_shares(world: World, account: str) -> dict[str, Decimal]:
    """Return how much of each currency's equity counts, isolated positions in it, to the digits that are told."""
    equity = dict(world.accounts[account].cash)
    for position in world.positions(account):
        equity[world.contract("okx", position.symbol).settle] += world.unrealized_pnl(position)
    return {ccy: Context(prec=12).divide(counted("okx", ccy, amount), amount) for ccy, amount in equity.items()}


async def test_every_account_is_read_and_nothing_is_kept_back(simulator: Simulator, folder: Path) -> None:
    simulator.control.pause()
    config, specs = configure(simulator.describe(), 0, folder)
    found = {one.spec.name: one for one in await inspect(load(written(config, specs, folder)), [], 20.0)}
    assert found.keys() == {spec.name for spec in specs}
    truth = simulator.control.truth()["positions"]
    for name, one in found.items():
        assert one.readable, told(one)
        assert len(one.holdings) == sum(position["account"] == name for position in truth)
        assert one.orders == len(simulator.world.orders(name))
        assert all(what in told(one) for what in NOT_COUNTED[one.spec.venue])
        assert simulator.urls[one.spec.venue] in told(one)
        sources = {holding.row["liquidation_source"] for holding in one.holdings}
        assert sources <= {"model", "calibrated", "venue", "none", "unknown"}
        assert all(holding.why for holding in one.holdings)
    main = told(found["okx-main"])
    assert "1 option" in main
    assert "a position of kind option is not computed here" in main
    assert re.search(r"in use +positions: 1 of 30 connections", main)
    assert "may do: nothing beyond reading" in main
    assert "futures mode" in main
    assert told_shares(told(found["okx-hedge"])) == real_shares(simulator.world, "okx-hedge")
    assert "3 perp of dex xyz" in told(found["hl-dex"])
    assert "expires 2099-01-01" in told(found["bybit-main"])
    assert re.search(r"model at [0-9.]+ \(hyperliquid_cross; the venue says", told(found["hl-single"]))


async def test_the_command_reports_the_readable_ones_beside_the_others(simulator: Simulator, folder: Path) -> None:
    simulator.control.fault({"kind": "expired_key", "account": "bybit-main"})
    config, specs = configure(simulator.describe(), 0, folder)
    path = written(config, specs, folder)
    (folder / "aster-hedge.json").unlink()  # credentials that are not there concern their account alone
    names = ("bybit-main", "bybit-hedge", "hl-single", "aster-hedge")
    chosen = [part for name in names for part in ("--account", name)]
    report_file = folder / "report.txt"
    result = await ended("check", "--config", path, "--report", report_file, *chosen)
    assert result.status == 1
    assert "Traceback" not in result.err
    assert report_file.read_text() == result.out
    assert "bybit-main: REFUSED" in result.out
    assert "33004" in result.out
    assert "aster-hedge: REFUSED" in result.out
    assert "bybit-hedge: can be read" in result.out
    assert "hl-single: can be read" in result.out
    assert result.out.endswith("2 of 4 accounts can be read; not: bybit-main, aster-hedge\n")
    for spec in specs:
        assert spec.address is None or spec.address not in result.out
        for secret in (spec.credentials.key, spec.credentials.secret) if spec.credentials else ():
            assert secret not in result.out + result.err
    assert (await ended("check", "--config", path, "--account", "hl-single")).status == 0


async def test_an_account_that_is_not_configured_is_named(simulator: Simulator, folder: Path) -> None:
    config, specs = configure(simulator.describe(), 0, folder)
    with pytest.raises(ConfigError, match="there is no account `okx-mian`"):
        await inspect(load(written(config, specs, folder)), ["okx-mian"], 1.0)


async def test_a_venue_that_does_not_answer_is_not_flat(simulator: Simulator, folder: Path) -> None:
    config, specs = configure(simulator.describe(), 0, folder)
    path = written(config, specs, folder)
    simulator.control.fault({"kind": "429", "venue": "bybit", "seconds": 60})
    found = {one.spec.name: one for one in await inspect(load(path), ["bybit-main", "okx-hedge"], 3.0)}
    assert not found["bybit-main"].readable
    assert found["bybit-main"].refused is None
    assert "CANNOT BE READ" in told(found["bybit-main"])
    assert "  positions  " not in told(found["bybit-main"]), "nothing is known of it"
    assert "  positions  " in told(found["okx-hedge"])
    assert found["okx-hedge"].readable


async def test_a_refused_key_is_tried_at_the_venues_other_sites(
    simulator: Simulator, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A demo key with ``env: live``: the hosts are the venue's own, so that its demo site may be asked about it."""
    socket = simulator.describe()["okx"]["ws_private"]
    hosts = Endpoints(simulator.urls["okx"], socket, socket)
    monkeypatch.setattr(okx, "HOSTS", {"global": {"live": hosts, "demo": hosts}})
    known = simulator.describe()["okx"]["accounts"][0]
    config, _ = configure(simulator.describe(), 0, folder)
    spec = AccountSpec(
        name="desk", venue="okx", credentials=Credentials(known["demo_key"], known["secret"], known["passphrase"])
    )
    path = written(msgspec.structs.replace(config, venues={}), [spec], folder)
    (one,) = await inspect(load(path), [], 20.0)
    assert one.refused is not None
    assert "50101" in one.refused
    assert one.belongs_to == (("demo", "global"),)
    assert "this key works with env: demo, region: global" in told(one)
