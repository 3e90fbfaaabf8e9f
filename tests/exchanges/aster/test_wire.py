"""What is accepted as a figure, a time and an id."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import Raw, Struct

from exchanges.aster.wire import Fault, Figure, Id, Known, Millis, decode, millis, plain
from exchanges.errors import ProtocolViolation


class Sample(Struct):
    known: Known = "0"
    figure: Figure = None
    time: Millis = None
    id: Id = 0


@pytest.mark.parametrize("text", ["0", "-1.50", "0.00000000", "1e-8", "12345678901234567890.123"])
def test_figures_keep_their_digits(text: str) -> None:
    assert decode(f'{{"known":"{text}"}}', Sample, "a sample").known == text


@pytest.mark.parametrize(
    "text", ["NaN", "Infinity", "1e400", ".5", "5.", "+1", "0x1", "1 ", "１", "9" * 65, "", "1\\n"]
)
def test_what_is_no_figure_is_refused(text: str) -> None:
    with pytest.raises(ProtocolViolation, match="a sample"):
        decode(f'{{"known":"{text}"}}', Sample, "a sample")


def test_nothing_is_unknown_and_never_zero() -> None:
    assert decode('{"figure":""}', Sample, "a sample").figure == ""
    assert decode("{}", Sample, "a sample").figure is None


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("1776802344230", 1776802344230),
        ('"1776802344230"', 1776802344230),
        ("0", None),
        ('"0"', None),
        ('""', None),
        ("null", None),
    ],
)
def test_times_come_as_numbers_or_text_and_nought_is_none(given: str, read: int | None) -> None:
    assert millis(decode(f'{{"time":{given}}}', Sample, "a sample").time) == read


@pytest.mark.parametrize("given", ["-1", '"1.5"', "1e30", "true", '"soon"'])
def test_what_is_no_time_is_refused(given: str) -> None:
    with pytest.raises(ProtocolViolation):
        decode(f'{{"time":{given}}}', Sample, "a sample")


@pytest.mark.parametrize(
    ("code", "number"), [(-1121, -1121), ("-1121", -1121), (200, 200), ("200", 200), ("", 0), ("x", 0), ("9" * 20, 0)]
)
def test_codes_come_as_numbers_or_text(code: Any, number: int) -> None:
    assert Fault(code=code).number == number


def test_figures_that_are_json_numbers_keep_their_digits_too() -> None:
    assert plain(Raw(b"9049204461.84438644"), "a balance") == "9049204461.84438644"
    assert plain(Raw(b' "0.50" '), "a balance") == "0.50"
    with pytest.raises(ProtocolViolation, match="a balance"):
        plain(Raw(b"true"), "a balance")


@pytest.mark.parametrize("data", [b"", b"{", b"\xff", b"[" * 100_000])
def test_no_json_is_a_violation(data: bytes) -> None:
    with pytest.raises(ProtocolViolation, match="a sample"):
        decode(data, Sample, "a sample")
