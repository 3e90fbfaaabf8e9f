"""What one OKX connection says and when: frames and times handed in, no socket, no clock."""

import json
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest

from exchanges.sim.okx_push import Subscription
from tests.exchanges.sim.okx_talk import BEGIN, Talk


def positions(**more: Any) -> dict[str, Any]:
    return {"id": "7", "op": "subscribe", "args": [{"channel": "positions", "instType": "ANY", **more}]}


MARK = {"op": "subscribe", "args": [{"channel": "mark-price", "instId": "BTC-USDT-SWAP"}]}


def test_ack_then_count_then_the_snapshot_in_pages() -> None:
    talk = Talk(account="okx-main")
    ack, count, first, second = talk.say(positions(extraParams='{"updateInterval": "0"}'))
    identity = {"connId": talk.session.id}
    assert ack == {"id": "7", "event": "subscribe", "arg": {"channel": "positions", "instType": "ANY"}, **identity}
    assert count == {"event": "channel-conn-count", "channel": "positions", "connCount": "1", **identity}
    assert [(f["eventType"], f["curPage"], f["lastPage"], len(f["data"])) for f in (first, second)] == [
        ("snapshot", 1, False, 6),
        ("snapshot", 2, True, 5),
    ]
    assert first["arg"] == {"channel": "positions", "instType": "ANY", "uid": str(talk.world.account("okx-main").uid)}


def test_nothing_held_is_one_empty_page() -> None:
    talk = Talk(account="okx-hedge")
    for symbol in ("BTC-USDT-SWAP", "SOL-USDT-SWAP"):
        talk.world.close_position("okx-hedge", symbol)
    frame = talk.say(positions())[-1]
    assert (frame["data"], frame["curPage"], frame["lastPage"]) == ([], 1, True)


@pytest.mark.parametrize(("asked", "every"), [(None, 5_000), ("2000", 2_000), ("4000", 4_000), ("77", 5_000)])
def test_the_whole_state_is_repeated_as_often_as_asked(asked: str | None, every: int) -> None:
    talk = Talk(account="okx-isolated")
    talk.say(positions(**({"extraParams": json.dumps({"updateInterval": asked})} if asked else {})))
    assert [at for at, frame in talk.wait(10_000) if frame["eventType"] == "snapshot"] == list(
        range(every, 10_001, every)
    )


def test_interval_zero_brings_events_only() -> None:
    talk = Talk(account="okx-isolated")
    talk.say(positions(extraParams='{"updateInterval": "0"}'))
    assert talk.wait(12_000) == []
    talk.world.close_position("okx-isolated", "LTC-USDT-SWAP")
    assert len(talk.wait(1_000)) == 1


def test_events_are_batched_for_fifty_milliseconds_and_name_the_closed() -> None:
    talk = Talk(account="okx-isolated")
    talk.say(positions())
    talk.world.close_position("okx-isolated", "LTC-USDT-SWAP")
    talk.world.open_position("okx-isolated", "ETH-USDT-SWAP", "short", Decimal(3))
    ((at, frame),) = talk.wait(1_000)
    assert 50 <= at <= 70
    assert frame["eventType"] == "event_update"
    assert "curPage" not in frame
    rows = {row["instId"]: row for row in frame["data"]}
    assert (rows["LTC-USDT-SWAP"]["pos"], rows["LTC-USDT-SWAP"]["avgPx"], rows["LTC-USDT-SWAP"]["mmr"]) == (
        "0",
        "",
        "0",
    )
    assert rows["ETH-USDT-SWAP"]["pos"] == "-45"
    later = [frame for _, frame in talk.wait(5_000)]
    assert [frame["eventType"] for frame in later] == ["snapshot"]
    assert "LTC-USDT-SWAP" not in {row["instId"] for row in later[0]["data"]}


def test_an_event_that_coincides_with_a_repetition_comes_first() -> None:
    talk = Talk(account="okx-isolated")
    talk.say(positions())
    talk.wait(4_980)
    talk.world.close_position("okx-isolated", "LTC-USDT-SWAP")
    assert [frame["eventType"] for _, frame in talk.wait(30)] == ["event_update", "snapshot"]


def test_a_liquidation_keeps_the_trade_id_and_moves_the_time() -> None:
    talk = Talk(account="okx-isolated")
    before = {row["instId"]: row for row in talk.say(positions())[-1]["data"]}["LTC-USDT-SWAP"]
    talk.wait(100)
    talk.world.shift("LTC", Decimal("-0.2"))
    ((_, frame),) = talk.wait(100)
    (row,) = frame["data"]
    assert (row["pos"], row["tradeId"]) == ("0", before["tradeId"])
    assert int(row["uTime"]) > int(before["uTime"])


def test_account_events_hold_the_changed_currency_only() -> None:
    talk = Talk(account="okx-main")
    snapshot = talk.say({"op": "subscribe", "args": [{"channel": "account"}]})[-1]
    assert {row["ccy"] for row in snapshot["data"][0]["details"]} == {"USDT", "USDC", "BTC"}
    talk.world.open_position("okx-main", "BTC-USD-SWAP", "long", Decimal(5))
    ((_, event),) = talk.wait(100)
    assert event["eventType"] == "event_update"
    assert [row["ccy"] for row in event["data"][0]["details"]] == ["BTC"]


def test_balance_and_position_tells_once_and_then_changes_only() -> None:
    talk = Talk(account="okx-isolated")
    frame = talk.say({"op": "subscribe", "args": [{"channel": "balance_and_position"}]})[-1]
    assert frame["data"][0]["eventType"] == "snapshot"
    assert len(frame["data"][0]["posData"]) == 5
    assert talk.wait(6_000) == []
    talk.world.shift("LTC", Decimal("-0.2"))
    ((_, event),) = talk.wait(100)
    assert event["data"][0]["eventType"] == "liquidation"
    assert [row["pos"] for row in event["data"][0]["posData"]] == ["0"]


def test_marks_come_every_200_ms_when_changed_and_every_10_s_when_not() -> None:
    talk = Talk("public")
    assert [frame["data"][0]["instId"] for frame in talk.say(MARK)[1:]] == ["BTC-USDT-SWAP"]
    assert [at for at, _ in talk.wait(20_500)] == [10_000, 20_000]
    talk.world.resume()
    times = [at for at, _ in talk.wait(2_000)]
    assert len(times) >= 8
    assert all(after - before >= 200 for before, after in pairwise(times))


def test_the_last_mark_of_a_world_that_stops_is_still_pushed() -> None:
    talk = Talk("public")
    talk.say(MARK)
    talk.world.resume()
    frames = talk.wait(1_050)
    talk.world.pause()
    frames += talk.wait(400)
    assert frames[-1][1]["data"][0]["markPx"] == talk.world.truth()["marks"]["okx"]["BTC-USDT-SWAP"]


def test_a_ping_is_answered_and_keeps_a_quiet_connection() -> None:
    talk = Talk(account="okx-main")
    talk.say(positions(extraParams='{"updateInterval": "0"}'))
    talk.wait(20_000, 100)
    assert talk.say("ping") == ["pong"]
    talk.wait(29_900, 100)
    assert talk.wire.ended is None
    talk.wait(200, 100)
    assert talk.wire.ended == (4004, "No data received in 30s")


def test_a_connection_that_subscribes_nothing_is_closed_though_it_pings() -> None:
    talk = Talk("public")
    talk.wait(20_000, 100)
    talk.say("ping")
    talk.wait(9_900, 100)
    assert talk.wire.ended is None
    talk.wait(200, 100)
    assert talk.wire.ended == (4004, "No data received in 30s")


def test_a_notice_comes_before_the_end() -> None:
    talk = Talk(account="okx-main")
    talk.session.announce(60_000)
    (frame,) = talk.take()
    assert (frame["event"], frame["code"]) == ("notice", "64008")
    talk.say(positions())
    talk.wait(59_000, 100)
    assert talk.wire.ended is None
    talk.wait(1_100, 100)
    assert talk.wire.ended == (1001, "service upgrade")


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"sign": "bm8="}, "60007"),
        ({"apiKey": "nobody"}, "60005"),
        ({"passphrase": "open sesame"}, "60024"),
        ({"timestamp": str(BEGIN // 1000 - 31)}, "60006"),
        ({"timestamp": "noon"}, "60004"),
    ],
)
def test_a_wrong_login_is_refused_with_its_code_and_the_connection_ends(wrong: dict[str, str], code: str) -> None:
    talk = Talk()
    (frame,) = talk.say(talk.login("okx-main", **wrong))
    assert (frame["event"], frame["code"]) == ("error", code)
    assert talk.wire.ended == (4001, "Login Failed")
    assert talk.session.account is None


@pytest.mark.parametrize("asked", ["60006", ""])
def test_a_right_login_is_refused_when_told_to(asked: str) -> None:
    talk = Talk()
    talk.session.faults.wrong_logins, talk.session.faults.wrong_code = 1, asked
    (frame,) = talk.say(talk.login("okx-main"))
    assert frame["code"] == (asked or "60009")


def test_the_login_gate() -> None:
    talk = Talk()
    (frame,) = talk.say(positions())
    assert (frame["id"], frame["code"]) == ("7", "60011")
    (frame,) = talk.say(talk.login("okx-main"))
    assert frame == {"event": "login", "code": "0", "msg": "", "connId": talk.session.id}
    (frame,) = talk.say(talk.login("okx-main"))
    assert frame["code"] == "60031"


@pytest.mark.parametrize(
    ("connection", "frame", "code"),
    [
        ("public", "{", "60012"),
        ("public", "[]", "60012"),
        ("public", {"op": "subscribe", "argss": []}, "60012"),
        ("public", {"op": "subscribe", "args": ["positions"]}, "60012"),
        ("public", {"op": "dance", "args": []}, "60019"),
        ("public", {"op": "subscribe", "args": [{"channel": "mark-price", "instId": "NOPE-USDT-SWAP"}]}, "60018"),
        ("public", {"op": "subscribe", "args": [{"channel": "mark-price", "instType": "SWAP"}]}, "60018"),
        ("public", {"op": "subscribe", "args": [{"channel": "positions", "instType": "ANY"}]}, "60018"),
        ("private", {"op": "subscribe", "args": [{"channel": "mark-price", "instId": "BTC-USDT-SWAP"}]}, "60018"),
        ("private", {"op": "subscribe", "args": [{"channel": "positions"}]}, "60012"),
    ],
)
def test_what_cannot_be_subscribed_is_an_error_and_the_connection_lives(connection: str, frame: Any, code: str) -> None:
    talk = Talk(connection, "okx-main" if connection == "private" else None)
    (answer,) = talk.say(frame)
    assert (answer["event"], answer["code"]) == ("error", code)
    assert "arg" not in answer
    assert talk.wire.ended is None


def test_the_other_arguments_of_a_request_are_subscribed_all_the_same() -> None:
    talk = Talk("public")
    args = [{"channel": "mark-price", "instId": s} for s in ("NOPE", "ETH-USDT-SWAP")]
    answers = talk.say({"id": "a1", "op": "subscribe", "args": args})
    assert [(a.get("event"), a.get("code")) for a in answers] == [("error", "60018"), ("subscribe", None), (None, None)]


def test_unsubscribing_ends_the_pushes() -> None:
    talk = Talk("public")
    talk.say(MARK)
    talk.say({**MARK, "op": "unsubscribe"})
    talk.world.resume()
    assert talk.wait(1_000) == []


def test_more_than_480_operations_an_hour_are_too_many() -> None:
    talk = Talk("public")
    codes = [talk.say({"op": "unsubscribe", "args": []}) for _ in range(480)]
    assert codes == [[]] * 480
    (frame,) = talk.say(MARK)
    assert frame["code"] == "60014"


def test_the_31st_connection_of_a_channel_is_dead_though_acknowledged() -> None:
    talk = Talk(account="okx-main")
    for _ in range(30):
        other = Talk(account="okx-main").session
        other._pushes.account = talk.session.account
        other.subscriptions["positions", "ANY"] = Subscription({"channel": "positions", "instType": "ANY"}, 0, 0)
        talk.peers.append(other)
    ack, count = talk.say(positions())
    assert ack["event"] == "subscribe"
    assert (count["event"], count["connCount"]) == ("channel-conn-count-error", "30")
    assert talk.wait(6_000) == []
