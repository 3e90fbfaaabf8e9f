"""Which of OKX's position rows can be used: their type is known, and they tell their side. Keeps no state.

Owns the words about those that cannot, and which types they damage: of such a type absence from a snapshot proves nothing.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from exchanges.errors import ProtocolViolation
from exchanges.okx import parse, tables, wire
from exchanges.okx.session import decode_all, decode_some
from exchanges.venue import Malformed, Output

_POSITION = msgspec.json.Decoder(wire.PositionRow)


class _TypeOnly(msgspec.Struct, rename="camel"):
    inst_type: str


_TYPE_ONLY = msgspec.json.Decoder(_TypeOnly)


def read_some(raw: Iterable[msgspec.Raw], where: str) -> tuple[list[wire.PositionRow], list[Output], set[str]]:
    """Decode position rows; return those that can be used, a note on each other, and the types that those damage."""
    rows, notes, bad = decode_some(raw, _POSITION, where)
    damaged: set[str] = set()
    for row in bad:
        try:
            damaged.add(_TYPE_ONLY.decode(row).inst_type)
        except (ValueError, RecursionError):  # not even its type can be read: it may be of any
            damaged.update(tables.KINDS)
    good = []
    for position in rows:
        if position.inst_type not in tables.KINDS:
            notes.append(_unknown_type(position))
        elif not parse.side_is_known(position):
            notes.append(Malformed(what=f"{tables.NAME} {where}: {_sideless(position)}"))
            damaged.add(position.inst_type)
        else:
            good.append(position)
    return good, notes, damaged


def read_all(raw: Iterable[msgspec.Raw], path: str) -> tuple[list[wire.PositionRow], list[Output]]:
    """Decode the rows of an answer; return those of a known type, and a note on each other.

    Raises:
        ProtocolViolation: A row cannot be read, or does not tell its side; ``path`` names the answer.
    """
    rows = decode_all(raw, _POSITION, path)
    notes: list[Output] = [_unknown_type(row) for row in rows if row.inst_type not in tables.KINDS]
    rows = [row for row in rows if row.inst_type in tables.KINDS]
    for row in rows:
        if not parse.side_is_known(row):
            raise ProtocolViolation(f"{tables.NAME} {path}", _sideless(row))
    return rows, notes


def _unknown_type(row: wire.PositionRow) -> Malformed:
    return Malformed(what=f"okx positions: {row.inst_id} is of the unknown instType {row.inst_type!r} and is left out")


def _sideless(row: wire.PositionRow) -> str:
    return f"{row.inst_id}: posCcy {row.pos_ccy!r} does not say whether it is long or short"
