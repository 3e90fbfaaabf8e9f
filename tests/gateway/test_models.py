"""Models by the running gateway and by recorded pairs: nothing of whose they are, and the same verdict as live."""

from __future__ import annotations

import asyncio
import io
import json
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from typer.testing import CliRunner

from exchanges.events import CollateralTier, CollateralTiers, MarginTier, MarginTiers, PositionState, Price
from gateway import models
from gateway.asking import NoAnswer, ask
from gateway.cli import app
from gateway.config import EngineSettings
from gateway.core.accounts import AccountInfo
from gateway.core.pairs import Pair, pairs
from gateway.engine import Engine
from gateway.metrics import Metrics
from gateway.model_desk import ModelDesk
from tests.gateway.events_of import balance, engine, instrument, position
from tests.gateway.web.serving import gateway

NAME = "somebodys-desk-77"
ASTER = AccountInfo(name=NAME, venue="aster", env="live", user="ann")
OKX = AccountInfo(name=NAME, venue="okx", env="live", user="ann")


def isolated(
    symbol: str = "BTCUSDT", size: str = "2", hidden: float = 0.0, factor: float = 1.0, **fields: Any
) -> PositionState:
    """Return a long from 100 on a margin of 100 whose venue counts with ``hidden`` more."""
    stated = (float(size) * 100 - 100 - hidden) / (float(size) * (1 - 0.005)) * factor
    given = {"isolated_cash": "100", "isolated_margin": "100", "venue_maintenance_margin": None, "opened_at": 123456789}
    told = {"venue_liquidation_price": f"{stated:.9f}", "liquidation_known": "price"}
    return position(symbol, NAME, size=size, margin_mode="isolated", **(given | told | fields))


def table(symbol: str) -> MarginTiers:
    tiers = (MarginTier(lower="0", rate="0.005"), MarginTier(lower="1000000", rate="0.01", deduction="5000"))
    return MarginTiers(venue="aster", env="live", key=symbol, unit="notional", tiers=tiers, account=NAME)


def on_aster(*states: PositionState, at: int = 1_000) -> Engine:
    one = engine(ASTER)
    contracts = [instrument(s.symbol, "aster", tiers_key=s.symbol) for s in states]
    one.turn([*contracts, *(table(s.symbol) for s in states), *states], at)
    return one


def on_okx() -> Engine:
    """Two cross positions told by two messages; the other one's mark came from a feed meanwhile, and stands still."""
    one = engine(OKX)
    eth = instrument("ETH-USDT-SWAP", base="ETH")
    tiers = CollateralTiers(venue="okx", env="live", ccy="USDT", tiers=(CollateralTier(lower="0", rate="1"),))
    first = position(account=NAME)
    second = position("ETH-USDT-SWAP", NAME, size="10", entry_price="50", mark_price="50", scope="other")
    one.turn([instrument(), eth, tiers, balance("100", NAME), first, second], 1_000)
    for at in (4_000, 8_500):
        one.turn([Price(venue="okx", env="live", symbol="BTC-USDT-SWAP", value="112", at=at)], at)
    rate = 0.005 + 0.0005
    left = 100.4 + 2 * 12 - 2 * 112 * rate - 10 * 50
    stated = f"{-left / (10 * (1 - rate)):.12f}"
    told = {"venue_liquidation_price": stated, "liquidation_known": "price", "fence": (2,), "venue_at": 9_000}
    one.turn([msgspec.structs.replace(second, **told)], 9_000)
    return one


def recorded(one: Engine) -> list[bytes]:
    found = list(pairs(one.accounts, one.positions, one.market))
    return [msgspec.json.encode(pair) for pair in found]


@pytest.mark.parametrize("make", [lambda: on_aster(isolated(hidden=0.3)), on_okx])
def test_a_pair_is_judged_like_the_account_it_is_from(make: Any) -> None:
    one = make()
    lines = recorded(one)
    assert len(lines) == 1
    (judged,) = models.judge(models.read(lines, "pairs"), EngineSettings())
    live = one.calibration.residuals.models[judged.name]
    assert judged.agreement.compared == live.compared == 1
    assert judged.agreement.share.worst == pytest.approx(live.share.worst, rel=1e-9)
    assert judged.agreement.distance.worst == pytest.approx(live.distance.worst, rel=1e-9)
    assert live.share.worst > 1e-4


@pytest.mark.parametrize("make", [lambda: on_aster(isolated(), isolated("ETHUSDT")), on_okx])
def test_nothing_in_a_pair_says_whose_it_is(make: Any) -> None:
    one = make()
    text = b"\n".join(recorded(one)).decode()
    assert text
    assert NAME not in text
    assert "ann" not in text
    assert "123456789" not in text
    for row_id in one.positions:
        assert row_id not in text


def test_what_was_not_compared_makes_no_pair() -> None:
    assert recorded(on_aster(isolated(liquidation_known="unknown"))) == []


def file_of(count: int, factor: float = 1.0) -> list[bytes]:
    symbols = [f"COIN{number}USDT" for number in range(5)]
    lines = []
    for number in range(count):
        lines += recorded(
            on_aster(isolated(symbols[number % 5], factor=factor, mark_price=str(110 + number)), at=1_000 + number)
        )
    return lines


def test_enough_pairs_that_agree_may_promote_a_model_and_one_that_does_not_ends_that() -> None:
    lines = file_of(models.ENOUGH_PAIRS)
    text = "\n".join(models.verdict(models.judge(models.read(lines, "x"), EngineSettings())))
    assert text.endswith("models:\n  promoted: [aster_isolated]")
    for worse in (lines[:-1], [*lines, *file_of(1, factor=1.02)]):
        text = "\n".join(models.verdict(models.judge(models.read(worse, "x"), EngineSettings())))
        assert "Nothing to promote" in text


def test_a_line_that_is_no_pair_is_named() -> None:
    with pytest.raises(ValueError, match="pairs:2: not a pair"):
        list(models.read([*file_of(1), b'{"venue": 7}'], "pairs"))


async def test_the_command_asks_the_running_gateway() -> None:
    desk = ModelDesk(on_aster(isolated(hidden=0.3), isolated("ETHUSDT", factor=1.1)))
    async with gateway(models=desk) as running:
        answer = await ask(running.http, "/v1/models")
        lines = list(models.table(answer))
        assert len(lines) == 1 + len(answer["models"]) + 1
        (found,) = (line.split() for line in lines if line.startswith("aster_isolated "))
        assert found[1:4] == ["published", "venue", "2"]
        assert found[-2] == "1"
        file = io.BytesIO()
        assert await models.record(running.http, file, 0.0, asyncio.Event()) == 2
        assert len([msgspec.json.decode(line, type=Pair) for line in file.getvalue().splitlines()]) == 2
    with pytest.raises(NoAnswer, match="no gateway answers"):
        await ask(running.http, "/v1/models")


async def test_rows_are_explained_over_rest_and_only_those_that_are_there() -> None:
    one = on_aster(isolated(hidden=0.3))
    (row_id,) = one.positions
    desk = ModelDesk(one)
    found: Any = desk.explain_position(row_id)
    assert found["calibration"]["delta"] == pytest.approx(0.3)
    assert found["calibration"]["trusted"] is False
    account: Any = desk.explain_account(NAME)
    assert account["residuals"]["anchors"] == 1
    json.dumps([found, account])
    async with gateway() as running, aiohttp.ClientSession() as session:
        for path, status in {
            "/v1/positions/main:A/explain": 200,
            "/v1/positions/nobody:A/explain": 404,
            "/v1/positions/main:A/explain?x=1": 400,
        }.items():
            async with session.get(running.http + path) as answer:
                assert answer.status == status, path


def test_residuals_are_metrics() -> None:
    metrics = Metrics()
    metrics.watch(ModelDesk(on_aster(isolated(hidden=0.3), isolated("ETHUSDT", factor=1.1))).figures)
    text = metrics.render().decode()
    assert 'perpwire_model_anchors_total{model="aster_isolated"} 2.0' in text
    assert 'perpwire_model_beyond_total{model="aster_isolated"} 1.0' in text
    assert 'perpwire_model_flagged{model="aster_isolated"} 1.0' in text
    assert 'perpwire_model_delta_share_worst{model="aster_isolated"}' in text
    assert 'perpwire_pnl_accuracy{venue="aster"} 1.0' in text


def test_the_command_judges_a_file(tmp_path: Path) -> None:
    file = tmp_path / "pairs.jsonl"
    file.write_bytes(b"\n".join(file_of(2)))
    done = CliRunner().invoke(app, ["models", "--judge", str(file)])
    assert done.exit_code == 0
    assert "aster_isolated" in done.output
    assert "Nothing to promote" in done.output
    assert CliRunner().invoke(app, ["models", "--judge", str(tmp_path / "none")]).exit_code == 1
    assert CliRunner().invoke(app, ["models", "--judge", str(file), "--record", str(file)]).exit_code == 1


def test_the_command_judges_by_the_bounds_of_the_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, config = tmp_path / "pairs.jsonl", tmp_path / "wide.yaml"
    file.write_bytes(b"\n".join(file_of(models.ENOUGH_PAIRS, factor=1.02)))
    config.write_text("engine: {calibration_bound: 0.5, calibration_distance: 0.5}\n")
    monkeypatch.chdir(tmp_path)

    def judged(*more: str) -> str:
        done = CliRunner().invoke(app, ["models", "--judge", str(file), *more])
        return f"{done.exit_code} {done.output}"

    assert judged().startswith("0 "), "without a configuration by the defaults"
    assert "Nothing to promote" in judged()
    assert "promoted: [aster_isolated]" in judged("--config", str(config))
    (tmp_path / "config.yaml").write_text(config.read_text())
    assert "promoted: [aster_isolated]" in judged()
    assert judged("--config", str(tmp_path / "none.yaml")).startswith("1 ")
