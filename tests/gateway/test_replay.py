"""What a recording says of the gateway that made it, and what a replay does without it."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable

from gateway.config import Config, EngineSettings, ModelSettings
from gateway.core.risk import RiskSettings
from gateway.replay import Recorder, Replay, Settings

PROMOTED = ("okx_cross", "aster_cross")


def told(**sections: object) -> bytes:
    """Return the line by which a gateway with these sections begins a recording."""
    file = io.BytesIO()
    Recorder(file).settings(Config(**sections), 7)  # type: ignore[arg-type]  # sections by name
    return file.getvalue()


def pushed(text: str = "pong") -> bytes:
    line = {"at": 8, "venue": "okx", "account": "main", "via": "ws-private", "request": None, "data": text}
    return json.dumps(line).encode()


def replayed(lines: Iterable[bytes]) -> tuple[Replay, list[str]]:
    said: list[str] = []
    run = Replay(said.append)
    run.feed(lines, "x")
    return run, said


def test_a_recording_is_replayed_by_the_settings_that_it_was_made_with() -> None:
    engine = EngineSettings(dust_usd=5.0, bases={"WBTC": "BTC"}, calibration_bound=0.5)
    line = told(engine=engine, models=ModelSettings(promoted=PROMOTED), risk=RiskSettings(full_leverage=3.0))
    run, said = replayed([line, pushed(), line, pushed()])  # a gateway that was started again says it again
    assert (said, run.failed, run.lines) == ([], 0, 4)
    assert run.engine.settings == engine
    assert run.engine.calibration.residuals.promoted == PROMOTED
    assert list(run.engine.accounts) == ["main"]


def test_the_settings_hold_nothing_but_what_figures_depend_on() -> None:
    line = json.loads(told(models=ModelSettings(promoted=PROMOTED)))
    assert line.keys() == {"at", "via", "data"}
    assert line["data"].keys() == set(Settings.__struct_fields__)


def test_without_settings_the_defaults_hold() -> None:
    run, said = replayed([pushed()])
    assert said == []
    assert run.engine.settings == EngineSettings()
    assert run.engine.calibration.residuals.promoted == ()


def test_other_settings_than_those_gone_by_already_are_told_and_the_first_ones_stay() -> None:
    run, said = replayed([told(), pushed(), told(models=ModelSettings(promoted=PROMOTED)), pushed()])
    assert (len(said), run.failed) == (1, 1)
    assert said[0].startswith("x:3: recorded with other settings than what came before")
    assert run.engine.calibration.residuals.promoted == ()
    assert list(run.engine.accounts) == ["main"]


def test_settings_that_are_none_are_told() -> None:
    bad = json.dumps({"at": 7, "via": "settings", "data": {"engine": {"dust_usd": "much"}}}).encode()
    run, said = replayed([bad, pushed()])
    assert said == ["x:1: not a recorded input: Expected `float`, got `str` - at `$.engine.dust_usd`"]
    assert run.engine.settings == EngineSettings()
