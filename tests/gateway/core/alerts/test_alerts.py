"""Alerts through the engine: in the very change set of the turn, held while blind, never silently resolved, and restored."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from exchanges.events import (
    AccountMode,
    CoinBalance,
    Event,
    KeyInfo,
    LiquidationWarning,
    PoolState,
    VerificationFailed,
    Verified,
)
from gateway.config import EngineSettings
from gateway.core.accounts import AccountInfo
from gateway.core.alerts.board import KEEP_MS
from gateway.core.alerts.machine import UNKNOWN_MS
from gateway.core.alerts.records import AlertRecord, EquitySample, Notice, Silence
from gateway.core.alerts.rules import DAY_MS, RuleSettings, Select, rules
from gateway.engine import Engine
from tests.gateway.events_of import BYBIT, DEMO, OKX, balance, feed, fill, instrument, mark, position, row, snapshot

NEAR = position(venue_liquidation_price="50", liquidation_known="price")
SUBJECT = NEAR.id
LIVE: list[Event] = [instrument(), balance("1000"), feed("live"), feed("live", account=None)]
T0 = 1_763_683_200_000 // DAY_MS * DAY_MS + 3_600_000  # an hour into a UTC day


class Sink:
    """Keeps what is stored of alerts; everything else goes nowhere."""

    def __init__(self) -> None:
        self.alerts: dict[str, AlertRecord] = {}
        self.silences: dict[str, Silence] = {}
        self.equity: dict[str, EquitySample] = {}

    def put_alert(self, alert: AlertRecord) -> None:
        self.alerts[alert.id] = alert

    def put_silence(self, silence: Silence) -> None:
        self.silences[silence.id] = silence

    def put_equity(self, sample: EquitySample) -> None:
        self.equity[sample.id] = sample

    def __getattr__(self, name: str) -> Any:
        return lambda *_: None

    def events(self) -> list[Event]:
        """Return what a restart reads."""
        decode, encode = msgspec.json.decode, msgspec.json.encode
        return [
            decode(encode(one), type=type(one))
            for one in (*self.equity.values(), *self.silences.values(), *self.alerts.values())
        ]


def desk(*accounts: AccountInfo, sink: Sink | None = None, builtin: bool = True, **settings: RuleSettings) -> Engine:
    """Return an engine with these rules beside the built-in ones."""
    given = {name.replace("_", "-"): one for name, one in settings.items()}
    return Engine("e", accounts or (OKX, BYBIT), EngineSettings(), sink, rules=rules(given, builtin=builtin))  # type: ignore[arg-type]  # a sink of any kind


def told(one: Engine, *, of: str = "") -> list[tuple[str, str, str]]:
    """Take out what is to be told: (alert, state, severity); ``of``: leave out what is not of this alert."""
    found = [(str(notice.row["id"]), notice.state, notice.severity) for notice in one.alerts.board.outbox]
    one.alerts.board.outbox.clear()
    return [notice for notice in found if notice[0].startswith(of)]


def states(one: Engine) -> dict[str, str]:
    return {row_id: row(one, "alerts", row_id)["state"] for row_id in one.tables["alerts"].ids()}


def ticks(one: Engine, *values: str, at: int = T0 + 2_000) -> None:
    for number, value in enumerate(values):
        one.turn([mark(value, at=at + number)], at + number)


# --- Columns -----------------------------------------------------------------------------------------------------------


def test_a_threshold_crossed_by_a_tick_is_in_that_ticks_change_set() -> None:
    one = desk()
    one.turn([*LIVE, NEAR], T0)
    assert states(one) == {}
    seq = one.tables.seq
    ticks(one, "60")
    alert = f"liquidation:{SUBJECT}"
    found = one.tables["alerts"].get(alert)
    assert found is not None
    assert (found.seq, one.tables.seq) == (seq + 1, seq + 1)
    assert (found.row["state"], found.row["severity"], found.row["threshold"]) == ("firing", "warning", 0.2)
    assert found.row["value"] == pytest.approx(1 - 50 / 60, rel=1e-5)
    assert found.row["message"] == "okx-main BTC-USDT-SWAP long: distance to liquidation: 16.67 % (warning from 20 %)"
    assert told(one) == [(alert, "firing", "warning")]


def test_severity_rises_with_the_steps_and_falls_quietly() -> None:
    one = desk()
    one.turn([*LIVE, NEAR], T0)
    ticks(one, "60", "55", "52", "60", "80")
    alert = f"liquidation:{SUBJECT}"
    assert told(one) == [
        (alert, "firing", "warning"), (alert, "firing", "error"), (alert, "firing", "critical"), (alert, "resolved", "critical"),
    ]  # fmt: skip
    assert states(one) == {alert: "resolved"}


def test_while_figures_are_not_live_an_alert_is_held_and_says_so() -> None:
    one = desk()
    one.turn([*LIVE, NEAR], T0)
    ticks(one, "60")
    alert = f"liquidation:{SUBJECT}"
    one.turn([feed("down")], T0 + 3_000)
    one.turn([mark("100", at=T0 + 4_000)], T0 + 4_000)
    assert states(one)[alert] == "firing"
    one.clock(T0 + 5_000)
    assert row(one, "alerts", alert)["held"] == "private_feed"
    assert "held as it was: the account's stream is down" in row(one, "alerts", alert)["message"]
    one.turn([feed("live")], T0 + 6_000)
    one.clock(T0 + 7_000)
    assert states(one)[alert] == "resolved"
    assert "held" not in row(one, "alerts", alert)


def test_a_closed_position_ends_its_alerts() -> None:
    one = desk()
    one.turn([*LIVE, NEAR], T0)
    ticks(one, "60")
    one.turn([snapshot(fence=(9,))], T0 + 3_000)
    assert not one.positions
    assert states(one)[f"liquidation:{SUBJECT}"] == "resolved"


def test_a_slot_that_is_used_again_is_another_row() -> None:
    one = desk()
    one.turn([*LIVE, NEAR], T0)
    ticks(one, "60")
    one.turn([snapshot(fence=(9,))], T0 + 3_000)
    told(one)
    other = position(
        "ETH-USDT-SWAP", venue_liquidation_price="105", liquidation_known="price", fence=(10,), venue_at=T0 + 4_000
    )
    one.turn([instrument("ETH-USDT-SWAP"), other], T0 + 4_000)
    assert told(one) == [(f"liquidation:{other.id}", "firing", "critical")]


def test_unknown_is_the_nearest_once_it_lasts_and_none_the_farthest() -> None:
    one = desk()
    unknown = position(liquidation_known="unknown")
    none = position("ETH-USDT-SWAP", liquidation_known="none")
    one.turn([*LIVE, unknown, none], T0)
    assert states(one) == {f"liquidation:{unknown.id}": "pending"}
    one.clock(T0 + UNKNOWN_MS)
    assert told(one) == [(f"liquidation:{unknown.id}", "firing", "critical")]
    assert row(one, "alerts", f"liquidation:{unknown.id}")["unknown"] is True
    known = position(venue_liquidation_price="50", liquidation_known="price", fence=(2,), venue_at=T0 + UNKNOWN_MS + 1)
    one.turn([known], T0 + UNKNOWN_MS + 1)
    assert told(one) == [(f"liquidation:{unknown.id}", "resolved", "critical")]


def test_a_figure_that_was_unknown_and_is_bad_fires_in_its_own_turn() -> None:
    one = desk()
    one.turn([*LIVE, position(liquidation_known="unknown")], T0)
    one.turn(
        [position(venue_liquidation_price="95", liquidation_known="price", fence=(2,), venue_at=T0 + 500)], T0 + 500
    )
    assert told(one) == [(f"liquidation:{SUBJECT}", "firing", "warning")]


def test_dust_and_paper_are_left_out_unless_asked_for() -> None:
    paper = AccountInfo(name="paper", venue="okx", env="live", user="ann", execution="paper")
    near = {"venue_liquidation_price": "105", "liquidation_known": "price"}
    dust = position("ETH-USDT-SWAP", size="0.001", **near)
    on_paper = position("SOL-USDT-SWAP", "paper", **near)
    asked = RuleSettings(
        "liquidation_distance", steps={"info": 0.2}, select=Select(executions=("live", "paper"), dust=True)
    )
    one = desk(OKX, paper, all_of_it=asked)
    one.turn([*LIVE, dust, on_paper], T0)
    assert states(one) == {f"all-of-it:{dust.id}": "firing", f"all-of-it:{on_paper.id}": "firing"}


def test_a_rule_holds_where_it_selects() -> None:
    eth = position("ETH-USDT-SWAP", venue_liquidation_price="105", liquidation_known="price")
    demo = position("BTC-USDT-SWAP", "okx-demo", venue_liquidation_price="105", liquidation_known="price")
    one = desk(
        OKX, DEMO, liquidation=RuleSettings(select=Select(symbols=("ETH-USDT-SWAP",))),
        demos=RuleSettings("liquidation_distance", steps={"info": 0.3}, select=Select(envs=("demo",))),
    )  # fmt: skip
    one.turn([*LIVE, NEAR, eth, demo], T0)
    ticks(one, "55")
    assert states(one) == {f"liquidation:{eth.id}": "firing", f"demos:{demo.id}": "firing"}


def test_a_rule_can_be_off() -> None:
    one = desk(liquidation=RuleSettings(enabled=False))
    one.turn([*LIVE, NEAR], T0)
    ticks(one, "51")
    assert states(one) == {}


def test_the_margin_ratio_of_a_pool_fires_in_its_turn() -> None:
    one = desk(builtin=False, ratio=RuleSettings("margin_ratio", steps={"warning": 0.05}))
    one.turn([*LIVE, balance("100"), position()], T0)
    assert states(one) == {}
    ticks(one, "65")  # equity 30, maintenance about 0.65
    assert states(one) == {}
    ticks(one, "52", at=T0 + 3_000)  # equity 4, maintenance 0.52
    assert told(one) == [("ratio:okx-main:USDT", "firing", "warning")]
    ticks(one, "49", at=T0 + 4_000)
    one.clock(T0 + 5_000)
    assert "none is left" in row(one, "alerts", "ratio:okx-main:USDT")["message"]


def test_a_margin_ratio_that_the_venue_alone_states_fires() -> None:
    one = desk(builtin=False, ratio=RuleSettings("margin_ratio", steps={"warning": 0.5}))
    mode = AccountMode(account="okx-main", mode="portfolio margin", computable=False)
    calm = PoolState(pool="USDT", ccy="USDT", venue_equity="100", venue_ratio="2.5")
    one.turn([*LIVE, mode, balance("100", pools=(calm,)), position()], T0)
    ticks(one, "111")
    assert states(one) == {}
    near = msgspec.structs.replace(calm, venue_ratio="1.25")
    one.turn([balance("100", pools=(near,)), mark("112", at=T0 + 3_000)], T0 + 3_000)
    assert told(one) == [("ratio:okx-main:USDT", "firing", "warning")]
    assert row(one, "alerts", "ratio:okx-main:USDT")["value"] == pytest.approx(0.8)


def test_unrealised_loss_of_a_position_and_of_an_account() -> None:
    one = desk(
        builtin=False, loss=RuleSettings("unrealized_pnl", steps={"warning": -20.0}),
        share=RuleSettings("unrealized_pnl_share", steps={"warning": -0.05}),
    )  # fmt: skip
    one.turn([*LIVE, position()], T0)
    one.clock(T0 + 1_000)
    ticks(one, "85")  # -30 of 970
    assert told(one) == [(f"loss:{SUBJECT}", "firing", "warning")]
    ticks(one, "70", at=T0 + 3_000)  # -60 of 940
    assert told(one) == [("share:okx-main", "firing", "warning")]


def test_share_score_and_funding_fire_by_the_clock() -> None:
    one = desk(
        builtin=False, much=RuleSettings("concentration", steps={"info": 0.9}),
        risky=RuleSettings("risk_score", steps={"info": 0.4}),
    )  # fmt: skip
    one.turn([*LIVE, position()], T0)
    one.clock(T0 + 1_000)
    assert set(states(one)) == {f"much:{SUBJECT}", f"risky:{SUBJECT}"}


# --- What happens seldom -------------------------------------------------------------------------------------------------


def test_a_blind_account_is_told_of_the_worse_the_longer_it_lasts() -> None:
    one = desk()
    one.turn([*LIVE, position()], T0)
    one.turn([feed("down")], T0)
    for after in (9_000, 10_000, 60_000, 300_000):
        one.clock(T0 + after)
    assert [severity for alert, _, severity in told(one) if alert == "blind:okx-main"] == [
        "warning",
        "error",
        "critical",
    ]
    assert "the account's stream is down" in row(one, "alerts", "blind:okx-main")["message"]
    one.turn([feed("live")], T0 + 301_000)
    one.clock(T0 + 301_500)
    assert ("blind:okx-main", "resolved", "critical") in told(one)


def test_marks_that_stop_are_blindness_of_the_venue_or_the_symbol_while_somebody_holds_it() -> None:
    one = desk()
    one.turn([*LIVE, position()], T0)
    ticks(one, "110", at=T0)
    one.turn([feed("down", account=None)], T0 + 1_000)
    one.clock(T0 + 11_000)
    assert states(one)["blind:okx@live"] == "firing"
    one.turn([feed("live", account=None)], T0 + 12_000)
    one.clock(T0 + 12_500)
    assert states(one)["blind:okx@live"] == "resolved"
    one.clock(T0 + 100_000)
    assert states(one)["blind:okx@live:BTC-USDT-SWAP"] == "firing"
    one.turn([snapshot(fence=(9,))], T0 + 101_000)
    one.clock(T0 + 102_000)
    assert states(one)["blind:okx@live:BTC-USDT-SWAP"] == "resolved", "nobody holds it"


def test_a_venue_out_of_reach_is_blindness_without_a_stream() -> None:
    one = desk()
    one.turn([balance("1000"), position(), Verified(account="okx-main", asked_at=T0)], T0)
    one.turn([VerificationFailed(account="okx-main", at=T0 + 1_000, error="away")], T0 + 1_000)
    one.clock(T0 + 60_000)
    assert "the venue cannot be asked" in row(one, "alerts", "blind:okx-main")["message"]


def test_a_correction_fires_at_once_and_is_over_after_a_while() -> None:
    one = desk()
    one.turn([instrument(), balance("1000"), position()], T0)
    told(one)
    one.turn([snapshot(position(size="1", fence=(5,)), asked_at=T0 + 5_000)], T0 + 5_000)
    alert = f"correction:{SUBJECT}"
    assert (alert, "firing", "warning") in told(one)
    assert "size 2 → 1" in row(one, "alerts", alert)["message"]
    one.clock(T0 + 5_000 + 600_000)
    assert (alert, "resolved", "warning") in told(one)


def test_a_shortfall_an_expiring_key_a_warning_and_a_place_in_the_queue() -> None:
    given = msgspec.structs.replace(OKX, allocated={"USDT": "5000"})
    one = desk(given, adl=RuleSettings("adl", steps={"warning": 4.0}))
    coins = (CoinBalance(ccy="USDT", total="4500", cash="4500", usd_price="1"),)
    one.turn(
        [
            *LIVE, balance("4500", coins=coins), position(adl=5),
            KeyInfo(account="okx-main", powers=(), expires_at=T0 + 2 * DAY_MS),
            LiquidationWarning(account="okx-main", what="close", at=T0, symbol="BTC-USDT-SWAP"),
        ],
        T0,
    )  # fmt: skip
    found = {row_id: severity for row_id, state, severity in told(one) if state == "firing"}
    assert found == {
        "allocation:okx-main": "warning",
        "key_expiry:okx-main": "error",
        f"venue_warning:{SUBJECT}": "critical",
        f"adl:{SUBJECT}": "warning",
    }
    assert "5000 USDT are allocated and 4500 are there" in row(one, "alerts", "allocation:okx-main")["message"]
    one.clock(T0 + 601_000)
    assert states(one)[f"venue_warning:{SUBJECT}"] == "resolved"


def test_trouble_of_the_storage_is_one_alert_that_worsens_and_ends() -> None:
    one = desk()
    one.turn([*LIVE, position()], T0)
    one.clock(T0 + 1_000)
    assert "storage:gateway" not in states(one)
    one.alerts.storage(1.0, "the spool cannot be used (disk full)")
    one.clock(T0 + 2_000)
    assert row(one, "alerts", "storage:gateway")["severity"] == "warning"
    one.alerts.storage(2.0, "120 entries of the journal were given up so far")
    one.clock(T0 + 3_000)
    assert row(one, "alerts", "storage:gateway")["severity"] == "critical"
    assert "120 entries" in row(one, "alerts", "storage:gateway")["message"]
    one.alerts.storage(0.0, "")
    one.clock(T0 + 4_000)
    assert states(one)["storage:gateway"] == "resolved"


def test_what_a_verification_cannot_explain_is_an_alert_of_its_account_until_a_later_one_does() -> None:
    one = desk()
    one.turn([*LIVE, position()], T0)
    one.clock(T0 + 1_000)
    assert "verification:okx-main" not in states(one)
    words = "2025-11-20 BTC-USDT-SWAP: trade 7: fees -1.50 USDT (fill-7)"
    one.alerts.verified("okx-main", 1, words)
    one.clock(T0 + 2_000)
    alert = row(one, "alerts", "verification:okx-main")
    assert (alert["state"], alert["severity"], alert["account"], alert["value"]) == (
        "firing",
        "warning",
        "okx-main",
        1.0,
    )
    assert words in alert["message"]
    one.alerts.verified("okx-main", 0, "")
    one.clock(T0 + 3_000)
    assert states(one)["verification:okx-main"] == "resolved"


def test_an_unexplained_difference_outlives_a_restart_until_its_days_were_read_again() -> None:
    sink = Sink()
    one = desk(sink=sink)
    one.turn([*LIVE, position()], T0)
    one.alerts.verified("okx-main", 2, "two lines")
    one.clock(T0 + 1_000)
    other = restarted(sink, [position()], T0 + 20_000)
    other.clock(T0 + 21_000)
    assert states(other)["verification:okx-main"] == "firing"
    other.alerts.verified("okx-main", 0, "")
    other.clock(T0 + 22_000)
    assert states(other)["verification:okx-main"] == "resolved"


# --- People ------------------------------------------------------------------------------------------------------------


def test_acknowledged_and_silenced_alerts_are_shown_and_not_told() -> None:
    one = desk()
    one.turn([*LIVE, NEAR], T0)
    ticks(one, "60")
    alert = f"liquidation:{SUBJECT}"
    told(one)
    assert one.acknowledge(alert, T0 + 3_000)
    assert row(one, "alerts", alert)["acknowledged"] is True
    one.clock(T0 + 400_000)
    assert told(one, of=alert) == []
    one.silence(Silence(id="s", at=T0 + 400_000, until=T0 + 500_000, by="ann", rules=("liquidation",)), T0 + 400_000)
    one.turn([mark("52", at=T0 + 401_000)], T0 + 401_000)
    assert row(one, "alerts", alert)["silenced_until"] == T0 + 500_000
    assert (row(one, "alerts", alert)["acknowledged"], told(one, of=alert)) == (False, [])
    one.clock(T0 + 500_000)
    assert told(one, of=alert) == [(alert, "firing", "critical")]
    assert "silenced_until" not in row(one, "alerts", alert)
    with pytest.raises(KeyError):
        one.acknowledge("liquidation:nobody", T0)


def test_the_end_of_an_alert_within_a_silence_is_told_when_the_silence_is_over() -> None:
    sink, alert = Sink(), f"liquidation:{SUBJECT}"
    one = desk(sink=sink)
    one.turn([*LIVE, NEAR], T0)
    ticks(one, "60")
    assert told(one, of=alert) == [(alert, "firing", "warning")]
    lasts = 3 * KEEP_MS
    one.silence(Silence(id="s", at=T0 + 3_000, until=T0 + lasts, by="ann"), T0 + 3_000)
    ticks(one, "100", at=T0 + 4_000)
    one.clock(T0 + 5_000 + 2 * KEEP_MS)
    assert (states(one)[alert], told(one, of=alert)) == ("resolved", [])
    other = restarted(sink, [msgspec.structs.replace(NEAR, mark_price="100")], T0 + 6_000 + 2 * KEEP_MS)
    for one_ in (one, other):
        one_.clock(T0 + lasts - 1_000)
        assert told(one_, of=alert) == []
        one_.clock(T0 + lasts)
        assert told(one_, of=alert) == [(alert, "resolved", "warning")]
        one_.clock(T0 + lasts + 1_000)
        assert (told(one_, of=alert), alert in states(one_)) == ([], False)


# --- Restarts ------------------------------------------------------------------------------------------------------------


def restarted(sink: Sink, positions: list[Event], at: int) -> Engine:
    """Return an engine that goes on from what was stored."""
    one = desk(sink=sink)
    one.restore([*LIVE[:2], *positions, *sink.events()], at)
    return one


@pytest.mark.parametrize("acknowledged", [False, True])
def test_an_alert_survives_a_restart_without_being_told_twice(acknowledged: bool) -> None:
    sink = Sink()
    one = desk(sink=sink)
    one.turn([*LIVE, NEAR], T0)
    ticks(one, "60")
    alert = f"liquidation:{SUBJECT}"
    if acknowledged:
        one.acknowledge(alert, T0 + 3_000)
    since = row(one, "alerts", alert)["since"]
    other = restarted(sink, [msgspec.structs.replace(NEAR, mark_price="60")], T0 + 20_000)
    assert states(other)[alert] == "firing"
    for after in (21_000, 22_000, 400_000):
        other.clock(T0 + after)
    other.turn([feed("live"), feed("live", account=None), mark("60", at=T0 + 401_000)], T0 + 401_000)
    other.turn(
        [snapshot(msgspec.structs.replace(NEAR, mark_price="60", fence=(2,)), asked_at=T0 + 401_500)], T0 + 401_500
    )
    other.clock(T0 + 402_000)
    assert [one for one in told(other) if one[0] == alert] == []
    assert (row(other, "alerts", alert)["since"], row(other, "alerts", alert)["acknowledged"]) == (since, acknowledged)
    other.turn([mark("52", at=T0 + 403_000)], T0 + 403_000)
    assert (alert, "firing", "critical") in told(other)
    other.turn([mark("100", at=T0 + 404_000)], T0 + 404_000)
    assert (alert, "resolved", "critical") in told(other)


def test_a_position_that_went_away_meanwhile_ends_its_alert() -> None:
    sink = Sink()
    one = desk(sink=sink)
    one.turn([*LIVE, NEAR], T0)
    ticks(one, "60")
    other = restarted(sink, [], T0 + 20_000)
    other.clock(T0 + 21_000)
    assert (f"liquidation:{SUBJECT}", "resolved", "warning") in told(other)


def test_an_alert_of_a_rule_or_account_that_is_gone_is_ended_in_storage() -> None:
    sink = Sink()
    one = desk(sink=sink, mine=RuleSettings("liquidation_distance", steps={"info": 0.3}))
    one.turn([*LIVE, NEAR], T0)
    ticks(one, "60")
    assert sink.alerts[f"mine:{SUBJECT}"].state == "firing"
    other = restarted(sink, [NEAR], T0 + 20_000)
    other.clock(T0 + 21_000)
    assert sink.alerts[f"mine:{SUBJECT}"].state == "ok"
    assert f"mine:{SUBJECT}" not in states(other)


def test_silences_and_the_days_peak_survive_a_restart() -> None:
    sink = Sink()
    one = desk(sink=sink)
    one.turn([*LIVE, NEAR], T0)
    for second in range(0, 121_000, 1_000):
        one.clock(T0 + second)
    ticks(one, "300", at=T0 + 122_000)
    for second in range(122_000, 182_000, 1_000):
        one.clock(T0 + second)
    one.silence(Silence(id="s", at=T0, until=T0 + 10 * DAY_MS, by="ann"), T0 + 182_000)
    samples = [(sample.at, sample.equity_usd, sample.high_usd) for sample in sink.equity.values()]
    assert len(samples) == 4
    assert samples[-1][1:] == (1_400.0, 1_400.0)
    other = Engine(
        "e2",
        (OKX,),
        EngineSettings(),
        rules=rules({"down": RuleSettings("drawdown", steps={"info": 0.2})}, builtin=False),
    )
    other.restore(sink.events(), T0 + 200_000)
    other.turn([*LIVE, NEAR], T0 + 201_000)
    other.clock(T0 + 202_000)
    assert (states(other), told(other)) == ({"down:okx-main": "firing"}, []), "1,020 of 1,400; silenced"


def test_what_was_silenced_is_shown_so_from_the_first_moment_of_a_restart() -> None:
    sink, always = Sink(), rules({"always": RuleSettings("unrealized_pnl", steps={"info": 1e9})}, builtin=False)
    one = Engine("e1", (OKX,), EngineSettings(), sink=sink, rules=always)
    one.turn([*LIVE, NEAR], T0)
    one.silence(Silence(id="s", at=T0, until=T0 + 500_000, by="ann"), T0 + 3_000)
    other = Engine("e2", (OKX,), EngineSettings(), rules=always)
    other.restore([NEAR, *sink.events()], T0 + 200_000)
    assert row(other, "alerts", f"always:{SUBJECT}")["silenced_until"] == T0 + 500_000


def test_a_resolved_alert_is_shown_for_a_while() -> None:
    sink = Sink()
    one = desk(sink=sink)
    one.turn([*LIVE, NEAR], T0)
    ticks(one, "60", "100")
    one.clock(T0 + 3_000_000)
    assert states(one)[f"liquidation:{SUBJECT}"] == "resolved"
    one.clock(T0 + 3_700_000)
    assert f"liquidation:{SUBJECT}" not in states(one)
    assert sink.alerts[f"liquidation:{SUBJECT}"].state == "ok"


def test_every_notice_has_a_key_of_its_own() -> None:
    one = desk()
    one.turn([*LIVE, NEAR], T0)
    ticks(one, "60", "55", "80")
    keys = [notice.key for notice in one.alerts.board.outbox]
    assert len(set(keys)) == len(keys) == 3
    assert all(isinstance(notice, Notice) for notice in one.alerts.board.outbox)


def test_fills_that_no_state_shows_make_a_row_blind() -> None:
    one = desk()
    one.turn([*LIVE, position()], T0)
    one.turn([fill(at=T0 + 1_000)], T0 + 1_000)
    one.clock(T0 + 12_000)
    assert f"blind:{SUBJECT}" in states(one)
