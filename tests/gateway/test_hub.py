from __future__ import annotations

from tests.gateway.toy import HandTurnedClock, Pipe, Toy, make_hub


def serving(**limits: int) -> tuple[Toy, HandTurnedClock, Pipe]:
    toy, clock = Toy(), HandTurnedClock()
    toy.put("main:A", x=1)
    toy.put("main:B", x=1)
    toy.put("other:A", x=1)
    toy.commit()
    pipe = Pipe(make_hub(toy, clock, **limits))
    pipe.take()
    return toy, clock, pipe


def turn(toy: Toy, pipe: Pipe) -> None:
    toy.commit()
    pipe.session._hub.flush()


def test_a_subscription_starts_with_its_snapshot() -> None:
    _, _, pipe = serving()
    subscribed, snapshot = pipe.ask(op="subscribe", id=1, table="positions", accounts=["main"])
    assert (subscribed["type"], subscribed["id"], subscribed["recovered"]) == ("subscribed", 1, False)
    assert snapshot["sub"] == subscribed["sub"]
    assert (snapshot["epoch"], snapshot["seq"], snapshot["rows"]) == ("e1", 1, {"main:A": {"x": 1}, "main:B": {"x": 1}})


def test_those_in_sync_get_patches_nulls_and_new_rows() -> None:
    toy, _, pipe = serving()
    pipe.ask(op="subscribe", table="positions")
    toy.put("main:A", x=1, y="new")
    toy.drop("main:B")
    toy.put("main:C", x=7)
    turn(toy, pipe)
    (delta,) = pipe.take()
    assert (delta["type"], delta["prev"], delta["seq"], delta["at"]) == ("delta", 1, 2, toy.at)
    assert delta["rows"] == {"main:C": {"x": 7}}
    assert delta["patch"] == {"main:A": {"y": "new"}, "main:B": None}


def test_an_id_that_vanished_and_came_back_is_sent_whole() -> None:
    toy, _, pipe = serving()
    pipe.ask(op="subscribe", table="positions")
    toy.drop("main:A")
    toy.put("main:A", x=1, y=2)
    turn(toy, pipe)
    (delta,) = pipe.take()
    assert (delta["rows"], "patch" in delta) == ({"main:A": {"x": 1, "y": 2}}, False)


def test_what_did_not_change_is_not_sent() -> None:
    toy, _, pipe = serving()
    pipe.ask(op="subscribe", table="positions", accounts=["main"])
    toy.put("other:A", x=2)
    turn(toy, pipe)
    toy.put("main:A", x=1)
    turn(toy, pipe)
    assert pipe.take() == []
    toy.put("main:A", x=2)
    turn(toy, pipe)
    (delta,) = pipe.take()
    assert (delta["prev"], delta["seq"]) == (1, 4)


def test_equal_selections_share_the_same_bytes() -> None:
    toy, _, pipe = serving()
    other = Pipe(pipe.session._hub)
    other.take()
    subs = {
        p.ask(op="subscribe", table="positions", symbols=s)[0]["sub"]
        for p, s in ((pipe, ["A", "B"]), (other, ["B", "A"]))
    }
    assert len(subs) == 1
    toy.put("main:A", x=2)
    turn(toy, pipe)
    assert pipe.chunks[0] is other.chunks[0]


def test_a_row_is_read_and_encoded_only_when_somebody_wants_it() -> None:
    toy, _, pipe = serving()
    reads: list[str] = []
    toy.positions.read = lambda _, id_: reads.append(id_) or {"x": len(reads)}  # type: ignore[func-returns-value]
    toy.put("main:A")
    turn(toy, pipe)
    assert reads == []
    pipe.ask(op="subscribe", table="positions", symbols=["A"], accounts=["main"])
    toy.put("main:A")
    toy.put("main:B")
    turn(toy, pipe)
    assert reads == ["main:A", "main:A"]


def test_a_resume_gets_whole_rows_and_nulls_since_its_cursor() -> None:
    toy, _, pipe = serving()
    (subscribed, _) = pipe.ask(op="subscribe", table="positions")
    pipe.session.lost()
    toy.put("main:A", x=2)
    toy.drop("main:B")
    turn(toy, pipe)
    back = Pipe(pipe.session._hub)
    back.take()
    since = {"epoch": "e1", "seq": 1, "sub": subscribed["sub"]}
    again, delta = back.ask(op="subscribe", table="positions", since=since)
    assert again["recovered"] is True
    assert (delta["type"], delta["prev"], delta["seq"]) == ("delta", 1, 2)
    assert (delta["rows"], delta["patch"]) == ({"main:A": {"x": 2}}, {"main:B": None})


def test_a_resume_from_another_life_or_selection_gets_a_snapshot() -> None:
    toy, _, pipe = serving()
    sub = pipe.ask(op="subscribe", table="positions")[0]["sub"]
    turn(toy, pipe)
    for since in (
        {"epoch": "e0", "seq": 1, "sub": sub},
        {"epoch": "e1", "seq": 1, "sub": "another"},
        {"epoch": "e1", "seq": 99, "sub": sub},
        {"epoch": "e1", "seq": -1, "sub": sub},
    ):
        subscribed, frame = pipe.ask(op="subscribe", table="positions", since=since)
        assert (subscribed["recovered"], frame["type"]) == (False, "snapshot")


def test_subscribing_twice_gives_frames_once() -> None:
    toy, _, pipe = serving()
    first, second = (pipe.ask(op="subscribe", table="positions")[0]["sub"] for _ in range(2))
    assert first == second
    toy.put("main:A", x=2)
    turn(toy, pipe)
    assert len(pipe.take()) == 1
    assert pipe.ask(op="unsubscribe", id=9, sub=first) == [{"type": "unsubscribed", "id": 9, "sub": first}]
    toy.put("main:A", x=3)
    turn(toy, pipe)
    assert pipe.take() == []
    assert pipe.session._hub.statistics().groups == 0


def test_a_slow_client_costs_a_number_and_then_gets_the_newest_state_once() -> None:
    toy, _, pipe = serving()
    quick = Pipe(pipe.session._hub)
    quick.take()
    for p in (pipe, quick):
        p.ask(op="subscribe", table="positions")
    pipe.high = 0
    for x in range(2, 50):
        toy.put("main:A", x=x)
        turn(toy, pipe)
    assert len(pipe.chunks) == 1
    assert pipe.reading_held
    assert pipe.session._hub.statistics().lagging == 1
    pipe.high = 1 << 20
    first, newest = pipe.take()
    assert first["patch"] == {"main:A": {"x": 2}}
    assert (newest["prev"], newest["seq"], newest["rows"]) == (first["seq"], 49, {"main:A": {"x": 49}})
    assert len(quick.take()) == 48
    toy.put("main:A", x=50)
    turn(toy, pipe)
    assert pipe.chunks[0] is quick.chunks[0], "in sync again"


def test_frames_of_an_interval_keep_their_distance_and_bring_the_newest() -> None:
    toy, clock, pipe = serving()
    pipe.ask(op="subscribe", table="positions", min_interval_ms=250)
    for x in range(2, 12):
        toy.put("main:A", x=x)
        turn(toy, pipe)
        clock.advance(0.0625)
    assert [(frame["prev"], frame["patch"]["main:A"]["x"]) for frame in pipe.take()] == [(1, 2), (2, 5), (5, 9)]
    clock.advance(0.25)
    assert pipe.take()[0]["patch"] == {"main:A": {"x": 11}}


def test_a_heartbeat_tells_up_to_where_all_is_complete() -> None:
    toy, _, pipe = serving(heartbeat_ms=1_000)
    sub = pipe.ask(op="subscribe", table="positions", accounts=["other"])[0]["sub"]
    toy.put("main:A", x=5)
    turn(toy, pipe)
    pipe.session._hub.beat([pipe.session])
    assert pipe.take() == [{"type": "heartbeat", "seq": 2}]
    assert pipe.pings == 1
    subscribed, frame = pipe.ask(
        op="subscribe", table="positions", accounts=["other"], since={"epoch": "e1", "seq": 2, "sub": sub}
    )
    assert subscribed["recovered"] is True
    assert (frame["prev"], frame["seq"], "rows" in frame) == (2, 2, False)


def test_no_heartbeat_runs_ahead_of_what_waits() -> None:
    toy, clock, pipe = serving()
    pipe.ask(op="subscribe", table="positions", min_interval_ms=10_000)
    for x in (2, 3):
        toy.put("main:A", x=x)
        turn(toy, pipe)
    assert len(pipe.take()) == 1
    pipe.session._hub.beat([pipe.session])
    assert (pipe.take(), pipe.pings) == ([], 1)
    clock.advance(10)
    assert [frame["seq"] for frame in pipe.take()] == [3]
    pipe.session._hub.beat([pipe.session])
    assert pipe.take() == [{"type": "heartbeat", "seq": 3}]


def test_heartbeats_come_by_themselves() -> None:
    _, clock, pipe = serving(heartbeat_ms=1_000)
    pipe.session._hub.start()
    clock.advance(3.05)
    assert [frame["type"] for frame in pipe.take()] == ["heartbeat"] * 3
    pipe.session._hub.stop()
    clock.advance(10)
    assert pipe.take() == []
