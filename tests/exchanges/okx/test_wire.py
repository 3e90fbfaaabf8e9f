"""What decodes, what is refused, and that a refusal names the field."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from exchanges.okx import wire
from tests.exchanges.okx.samples import position

POSITION = msgspec.json.Decoder(wire.PositionRow)


def decode(row: dict[str, Any]) -> wire.PositionRow:
    return POSITION.decode(json.dumps(row))


def test_unknown_fields_are_ignored_and_null_is_unknown() -> None:
    row = decode(position(markPx=None, somethingNew=[1]))
    assert row.mark_px is None
    assert row.pos == "10"


@pytest.mark.parametrize("field", ["instType", "instId", "mgnMode", "posSide", "pos", "ccy", "uTime"])
def test_a_missing_field_is_named(field: str) -> None:
    row = position()
    del row[field]
    with pytest.raises(msgspec.ValidationError, match=field):
        decode(row)


@pytest.mark.parametrize(
    "text", ["NaN", "Infinity", "1,5", "0x1", "1\n", "\N{ARABIC-INDIC DIGIT ONE}", " 1", "--1", "1e999"]
)
def test_what_is_no_decimal_is_refused(text: str) -> None:
    with pytest.raises(msgspec.ValidationError, match="markPx"):
        decode(position(markPx=text))


@pytest.mark.parametrize("text", ["", "0", "-0.5", "1e-7", "0.0000000001"])
def test_decimals_pass_as_they_are(text: str) -> None:
    assert decode(position(markPx=text)).mark_px == text


@pytest.mark.parametrize(("field", "value"), [("pos", ""), ("posSide", "both"), ("mgnMode", "cash"), ("uTime", "soon")])
def test_unknown_values_never_pass(field: str, value: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=field):
        decode(position(**{field: value}))


def test_problem_is_short() -> None:
    assert len(wire.problem(ValueError("x" * 10_000))) == 200


def test_an_answer_needs_a_code() -> None:
    with pytest.raises(msgspec.ValidationError, match="code"):
        wire.decode_answer(b'{"data":[]}')
