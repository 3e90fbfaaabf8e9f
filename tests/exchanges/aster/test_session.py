"""What the connections share: replies, heartbeats, ages."""

from __future__ import annotations

import json

import pytest

from exchanges.aster import tables
from exchanges.aster.session import Session
from exchanges.errors import ProtocolViolation
from exchanges.venue import Malformed, Notice, Pong, Subscribed


class Bare(Session):
    connection = "bare"


def reply(frame: str, **fields: object) -> str:
    return json.dumps({"result": None, "id": json.loads(frame)["id"], **fields})


def test_every_request_has_a_number_of_its_own_and_replies_find_theirs() -> None:
    link = Bare("wss://x/ws")
    first, second = link.subscribe(["a"]), link.subscribe(["b", "c"])
    given_back = link.unsubscribe(["a"])
    assert link.receive(reply(second[0]), 1) == [Subscribed(topics=("b", "c"))]
    assert link.receive(reply(first[0]), 1) == [Subscribed(topics=("a",))]
    assert link.receive(reply(first[0]), 1) == [], "once"
    assert link.receive(reply(given_back[0]), 1) == []


def test_numbers_may_come_back_as_text() -> None:
    link = Bare("wss://x/ws")
    (frame,) = link.subscribe(["a"])
    assert link.receive(reply(frame, id=str(json.loads(frame)["id"])), 1) == [Subscribed(topics=("a",))]


def test_only_the_answer_to_the_last_heartbeat_is_one() -> None:
    link = Bare("wss://x/ws")
    first, second = link.ping(), link.ping()
    assert link.receive(reply(first, result=False), 1) == []
    assert link.receive(reply(second, result=False), 1) == [Pong()]


def test_pings_are_well_within_what_the_venue_takes_and_several_fit_into_the_silence() -> None:
    assert Bare.silent_after_s >= 2 * Bare.ping_every_s >= 2


def test_an_error_without_a_question_is_told() -> None:
    (output,) = Bare("wss://x/ws").receive('{"code":2,"msg":"Invalid request: too many parameters"}', 1)
    assert output == Notice(code="2", what="bare: Invalid request: too many parameters")


def test_a_connection_near_its_end_asks_for_another_once() -> None:
    link = Bare("wss://x/ws")
    frame = '{"e":"x"}'
    assert [type(output) for output in link.receive(frame, 10)] == [Malformed]
    kinds = [[type(output) for output in link.receive(frame, 10 + tables.LIVES_MS)] for _ in range(2)]
    assert kinds == [[Malformed, Notice], [Malformed]]


def test_there_is_no_login() -> None:
    link = Bare("wss://x/ws")
    assert (link.needs_login, link.polled, link.prepare(), link.closed(1001, "")) == (False, False, [], None)
    with pytest.raises(ProtocolViolation):
        link.login(1)


def test_a_streams_name_stands_in_no_text_since_it_may_be_a_listen_key() -> None:
    for data in ("{}", '{"e":"NEWS"}', '{"e":1}'):
        outputs = Bare("wss://x/ws").receive(f'{{"stream":"hush-hush","data":{data}}}', 1)
        assert "hush" not in repr(outputs)
