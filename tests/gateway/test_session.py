from __future__ import annotations

import pytest

from gateway.core.access import Principal
from gateway.core.protocol import Close
from gateway.session import Bucket
from tests.gateway.toy import HandTurnedClock, Pipe, Toy, make_hub


def open_pipe(**limits: int) -> tuple[Toy, HandTurnedClock, Pipe]:
    toy, clock = Toy(), HandTurnedClock()
    toy.put("main:A", x=1)
    toy.put("other:A", x=1)
    toy.commit()
    return toy, clock, Pipe(make_hub(toy, clock, **limits))


def test_the_first_frame_is_the_hello() -> None:
    _, _, pipe = open_pipe(heartbeat_ms=9_000)
    assert pipe.take() == [
        {
            "type": "hello", "protocol": 1, "server": "perpwire/test", "epoch": "e1", "seq": 1, "durable_seq": 0,
            "heartbeat_ms": 9_000,
        }
    ]  # fmt: skip


def test_a_ping_is_answered_with_its_id() -> None:
    _, _, pipe = open_pipe()
    pipe.take()
    assert pipe.ask(op="ping", id=3) == [{"type": "pong", "id": 3}]
    assert pipe.ask(op="ping") == [{"type": "pong"}]


@pytest.mark.parametrize(
    ("code", "command"),
    [
        ("bad_command", {"op": "trade"}),
        ("bad_command", {"op": "subscribe"}),
        ("unknown_table", {"op": "subscribe", "table": "nonsense"}),
        ("unknown_account", {"op": "subscribe", "table": "positions", "accounts": ["nobody"]}),
        ("bad_filter", {"op": "subscribe", "table": "summary", "symbols": ["A"]}),
        ("bad_interval", {"op": "subscribe", "table": "positions", "min_interval_ms": 15_000}),
        ("bad_interval", {"op": "subscribe", "table": "positions", "min_interval_ms": -1}),
        ("unknown_sub", {"op": "unsubscribe", "sub": "nonsense"}),
        ("auth_off", {"op": "auth", "token": "hush"}),
    ],
)
def test_a_wrong_command_is_answered_and_the_stream_goes_on(code: str, command: dict[str, object]) -> None:
    _, _, pipe = open_pipe()
    pipe.take()
    (error,) = pipe.ask(id=1, **command)
    assert (error["type"], error["id"], error["code"], error["retry"]) == ("error", 1, code, False)
    assert error["message"]
    assert pipe.ask(op="ping", id=2) == [{"type": "pong", "id": 2}]


def test_what_is_no_command_closes_the_stream() -> None:
    _, _, pipe = open_pipe()
    pipe.session.receive(b"GET / HTTP/1.1")
    assert pipe.closed is Close.MALFORMED
    assert len(pipe.session._hub) == 0


def test_a_principal_gets_only_its_accounts() -> None:
    toy, clock, _ = open_pipe()
    pipe = Pipe(make_hub(toy, clock), Principal("joe", user="joe", accounts=frozenset({"other"})))
    pipe.take()
    _, snapshot = pipe.ask(op="subscribe", table="positions")
    assert set(snapshot["rows"]) == {"other:A"}
    (error,) = pipe.ask(op="subscribe", table="positions", accounts=["main"])
    assert error["code"] == "unknown_account"


def test_subscriptions_are_limited() -> None:
    _, _, pipe = open_pipe(max_subscriptions=1)
    pipe.take()
    pipe.ask(op="subscribe", table="positions")
    assert pipe.ask(op="subscribe", table="summary")[0]["code"] == "too_many_subscriptions"
    assert pipe.ask(op="subscribe", table="positions")[0]["type"] == "subscribed"


def test_commands_are_limited_first_told_then_closed() -> None:
    _, clock, pipe = open_pipe(commands_per_s=10)
    pipe.take()
    for _ in range(20):
        assert pipe.ask(op="ping")[0]["type"] == "pong"
    (error,) = pipe.ask(op="ping")
    assert (error["code"], error["retry"]) == ("too_many_commands", True)
    clock.advance(1)
    assert pipe.ask(op="ping")[0]["type"] == "pong"
    for _ in range(30):
        pipe.session.receive(b'{"op":"ping"}')
    assert pipe.closed is Close.LIMITS


def test_a_client_that_never_drains_is_closed() -> None:
    _, clock, pipe = open_pipe(drain_ms=5_000)
    pipe.high = 0
    pipe.send(op="ping")
    assert pipe.session.paused
    clock.advance(4.9)
    assert pipe.closed is None
    clock.advance(0.2)
    assert pipe.closed is Close.NOT_DRAINED
    assert pipe.session._hub.closed == {"not drained": 1}


def test_a_client_that_drains_slowly_is_kept() -> None:
    _, clock, pipe = open_pipe(drain_ms=5_000)
    pipe.chunks.append(b"x" * 100)
    pipe.high = 0
    pipe.send(op="ping")
    for _ in range(3):
        clock.advance(4)
        pipe.chunks[0] = pipe.chunks[0][:-1]
        clock.advance(1.1)
        assert pipe.closed is None
    clock.advance(5.1)
    assert pipe.closed is Close.NOT_DRAINED


def test_a_client_of_whom_nothing_comes_is_dead() -> None:
    _, clock, pipe = open_pipe(heartbeat_ms=1_000, dead_after_ms=3_000)
    pipe.session._hub.start()
    for _ in range(8):
        clock.advance(1)
        pipe.session.heard()
    assert pipe.closed is None
    clock.advance(5.1)
    assert pipe.closed is Close.DEAD


def test_after_the_end_nothing_is_written() -> None:
    toy, _, pipe = open_pipe()
    pipe.ask(op="subscribe", table="positions")
    pipe.session.close(Close.GOING_AWAY)
    toy.put("main:A", x=2)
    toy.commit()
    pipe.session._hub.flush()
    pipe.send(op="ping")
    assert pipe.take() == []


def test_a_bucket_refills_with_time() -> None:
    bucket = Bucket(rate=2, size=2, now=0)
    assert [bucket.take(0), bucket.take(0), bucket.take(0)] == [True, True, False]
    assert [bucket.take(0.5), bucket.take(0.5)] == [True, False]
    assert [bucket.take(99), bucket.take(99), bucket.take(99)] == [True, True, False]
