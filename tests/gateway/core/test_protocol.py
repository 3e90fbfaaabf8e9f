from __future__ import annotations

import orjson
import pytest
from websockets.frames import Frame, Opcode

from gateway.core import protocol
from gateway.core.patch import merge
from gateway.core.protocol import BadCommand, Close, Malformed, Refusal, Subscribe, Unsubscribe, parse_command
from gateway.core.tables import Selection


@pytest.mark.parametrize("size", [0, 125, 126, 65_535, 65_536])
def test_a_pre_built_frame_is_what_a_library_would_build(size: int) -> None:
    payload = b"x" * size
    assert protocol.text_frame(payload) == Frame(Opcode.TEXT, payload).serialize(mask=False)


def test_the_pre_built_ping_is_what_a_library_would_build() -> None:
    assert Frame(Opcode.PING, b"").serialize(mask=False) == protocol.PING_FRAME


def test_commands_are_typed() -> None:
    text = b'{"op":"subscribe","id":1,"table":"positions","accounts":["a"],"since":{"epoch":"e","seq":8,"sub":"k"},"new":0}'
    command = parse_command(text)
    assert command == Subscribe("positions", 1, ["a"], None, protocol.Since("e", 8, "k"))
    assert parse_command(b'{"op":"unsubscribe","sub":"k"}') == Unsubscribe("k")


@pytest.mark.parametrize(
    ("text", "id_"),
    [
        (b'{"op":"trade","id":7}', 7),
        (b'{"id":"x"}', "x"),
        (b'{"op":"subscribe","id":1}', 1),
        (b'{"op":"subscribe","id":1,"table":5}', 1),
        (b'{"op":"subscribe","id":[1],"table":"positions"}', None),
        (b'{"op":"subscribe","table":"positions","since":{"seq":1}}', None),
        (b"{}", None),
    ],
)
def test_a_wrong_command_is_answered_with_its_id(text: bytes, id_: object) -> None:
    with pytest.raises(BadCommand) as caught:
        parse_command(text)
    assert caught.value.id == id_


@pytest.mark.parametrize(
    "text", [b"", b"hello", b"[1]", b"1", b'"x"', b"null", b'{"op":', b'{"op":"ping","id":"\xff"}']
)
def test_what_is_no_command_at_all_is_malformed(text: bytes) -> None:
    with pytest.raises(Malformed):
        parse_command(text)


def test_the_name_of_a_selection_is_stable() -> None:
    selection = Selection("positions", accounts=("main",), symbols=None, min_interval_ms=250)
    # Written down: a client that comes back to a newer gateway, or another process, must find the same name.
    assert protocol.sub_of(selection) == "osa4yil2oydezjdn"
    others = [Selection("positions"), Selection("feeds"), Selection("positions", symbols=("main",))]
    assert len({protocol.sub_of(other) for other in [selection, *others]}) == 4


def pieces(frames: list[bytes]) -> list[dict[str, object]]:
    return [orjson.loads(frame) for frame in frames]


def test_a_small_snapshot_is_one_frame() -> None:
    (frame,) = pieces(protocol.snapshot_payloads("k", "positions", "e", 7, 5, [b'"a":{"x":1}', b'"b":{}']))
    assert frame == {
        "type": "snapshot",
        "sub": "k",
        "table": "positions",
        "epoch": "e",
        "seq": 7,
        "at": 5,
        "rows": {"a": {"x": 1}, "b": {}},
    }


def test_a_large_snapshot_is_split_as_the_contract_says() -> None:
    rows = [b'"%d":{"x":"%b"}' % (number, b"y" * 100_000) for number in range(12)]
    first, *rest = pieces(protocol.snapshot_payloads("k", "positions", "e", 7, 5, rows))
    assert (first["type"], first["more"]) == ("snapshot", True)
    assert [frame.get("more", False) for frame in rest] == [True] * (len(rest) - 1) + [False]
    assert all((frame["type"], frame["prev"], frame["seq"]) == ("delta", 7, 7) for frame in rest)
    together = merge({}, first["rows"])
    for frame in rest:
        together = merge(together, frame["rows"])
    assert isinstance(together, dict)
    assert len(together) == 12
    assert all(len(frame) < 600_000 for frame in protocol.snapshot_payloads("k", "positions", "e", 7, 5, rows))


def test_a_large_delta_moves_the_cursor_with_its_last_piece() -> None:
    members = [b'"%d":{"x":"%b"}' % (number, b"y" * 100_000) for number in range(12)]
    frames = pieces(protocol.delta_payloads("k", "positions", 3, 9, 5, members[:6], members[6:]))
    assert len(frames) > 1
    assert [frame["seq"] for frame in frames] == [3] * (len(frames) - 1) + [9]
    assert [frame.get("more", False) for frame in frames] == [True] * (len(frames) - 1) + [False]
    assert {frame["prev"] for frame in frames} == {3}


def test_a_delta_has_only_the_members_that_it_needs() -> None:
    (both,) = pieces(protocol.delta_payloads("k", "positions", 3, 9, 5, [b'"a":{}'], [b'"b":null']))
    (empty,) = pieces(protocol.delta_payloads("k", "positions", 9, 9, 5, [], []))
    assert (both["rows"], both["patch"]) == ({"a": {}}, {"b": None})
    assert "rows" not in empty
    assert "patch" not in empty


def test_close_codes_say_whether_to_come_back() -> None:
    assert [protocol.may_return(close.code) for close in Close] == [True] * 3 + [False] * 5
    assert protocol.may_return(None)
    assert protocol.may_return(1006)


def test_a_token_is_never_shown() -> None:
    command = parse_command(b'{"op":"auth","token":"hush"}')
    assert "hush" not in repr(command)


def test_a_refusal_is_one_of_the_table() -> None:
    with pytest.raises(KeyError):
        Refusal("no_such_code", "")
