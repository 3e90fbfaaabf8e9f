from __future__ import annotations

import numpy as np
import orjson
import pytest

from gateway.core.tables import RowKey, Selection, Table, Tables
from tests.gateway.toy import Toy

ALL = Selection("positions")


def toy_with(*ids: str, max_tombstones: int = 10_000) -> Toy:
    toy = Toy(max_tombstones=max_tombstones)
    for id_ in ids:
        toy.put(id_, x=1)
    toy.commit()
    return toy


def ids(toy: Toy, selection: Selection, cursor: int) -> set[str]:
    return {toy.positions.id_of(slot) for slot in toy.positions.changed_since(selection, cursor)}


def test_the_counter_moves_one_step_per_change_set_and_not_without_one() -> None:
    toy = Toy()
    assert not toy.commit()
    toy.put("main:A", x=1)
    toy.put("main:B", x=1)
    assert toy.commit()
    assert not toy.commit()
    assert (toy.tables.seq, toy.tables.begin(), len(toy.positions)) == (1, 2, 2)


def test_an_empty_touch_changes_nothing() -> None:
    toy = toy_with("main:A")
    toy.positions.touch([], toy.tables.begin())
    assert not toy.commit()


def test_changed_since_is_by_selection() -> None:
    toy = toy_with("main:A", "main:B", "other:A")
    toy.put("main:A", x=2)
    toy.put("other:A", x=2)
    toy.commit()
    assert ids(toy, ALL, 1) == {"main:A", "other:A"}
    assert ids(toy, Selection("positions", accounts=("main",)), 1) == {"main:A"}
    assert ids(toy, Selection("positions", symbols=("B",)), 1) == set()
    assert ids(toy, Selection("positions", symbols=("B",)), 0) == {"main:B"}


def test_many_slots_are_touched_at_once() -> None:
    toy = toy_with(*(f"main:{number}" for number in range(200)))
    toy.positions.touch(np.arange(150, dtype=np.int64), toy.tables.begin())
    toy.commit()
    assert len(ids(toy, ALL, 1)) == 150


def test_public_rows_are_everybodys_and_a_users_rows_are_his() -> None:
    toy = Toy()
    toy.put_feed("okx:public", None, state="live")
    toy.put_feed("main:private", "main", state="live")
    toy.put_summary("joe", x=1)
    toy.put_summary("ann", x=1)
    toy.commit()
    mine = Selection("feeds", accounts=("other",), users=("joe",))
    assert [toy.feeds.id_of(slot) for slot in toy.feeds.members(mine)] == ["okx:public"]
    assert [toy.summary.id_of(slot) for slot in toy.summary.members(mine)] == ["joe"]


def test_a_version_is_made_only_when_wanted_and_once_per_change() -> None:
    reads: list[str] = []

    def read(slot: int, id_: str) -> dict[str, object]:
        reads.append(id_)
        return {"slot": slot}

    table = Table("t", read)
    tables = Tables("e", table)
    slot = table.add("a", RowKey())
    tables.commit(1)
    assert reads == []
    first = table.version(slot)
    assert table.version(slot) is first
    assert (first.seq, first.encoded, reads) == (1, b'{"slot":0}', ["a"])
    table.touch([slot], tables.begin())
    tables.commit(2)
    assert table.version(slot) is not first
    assert first.row == {"slot": 0}


def test_a_row_read_inside_an_open_change_set_is_not_remembered() -> None:
    toy = toy_with("main:A")
    toy.put("main:A", x=2)
    assert toy.positions.version(0).row == {"x": 2}
    toy.put("main:A", x=3)
    toy.commit()
    assert orjson.loads(toy.positions.version(0).encoded) == {"x": 3}


def test_removed_ids_are_remembered_until_they_come_back() -> None:
    toy = toy_with("main:A", "other:A")
    toy.drop("main:A")
    toy.commit()
    assert toy.positions.gone_since(ALL, 1) == ["main:A"]
    assert toy.positions.gone_since(ALL, 2) == []
    assert toy.positions.gone_since(Selection("positions", accounts=("other",)), 1) == []
    toy.put("main:A", x=9)
    toy.commit()
    slot = toy.positions.slot("main:A")
    assert slot is not None
    assert toy.positions.gone_since(ALL, 1) == []
    assert toy.positions.born(slot) == 3


def test_a_slot_that_is_used_again_shows_nothing_of_its_last_row() -> None:
    toy = toy_with("main:A")
    toy.positions.version(0)
    toy.drop("main:A")
    toy.put("other:B", x=5)
    toy.commit()
    assert toy.positions.slot("other:B") == 0
    assert toy.positions.version(0).row == {"x": 5}
    assert ids(toy, Selection("positions", accounts=("main",)), 0) == set()


def test_the_floor_rises_when_tombstones_are_forgotten_by_count() -> None:
    toy = toy_with("main:A", "main:B", "main:C", max_tombstones=2)
    for id_ in list(toy.rows):
        toy.drop(id_)
        toy.commit()
    assert toy.positions.floor == 2
    assert set(toy.positions.gone_since(ALL, 2)) == {"main:B", "main:C"}


def test_the_floor_rises_when_tombstones_are_forgotten_by_age() -> None:
    table = Table("t", lambda slot, id_: {})
    tables = Tables("e", table, tombstone_ttl_ms=600_000)
    for number in range(3):
        table.add(str(number), RowKey())
    tables.commit(0)
    for number in range(3):
        table.remove(str(number), tables.begin())
        tables.commit((number + 1) * 300_000)
    assert table.floor == 0
    table.add("late", RowKey())
    tables.commit(1_200_001)
    assert table.floor >= 3
    assert table.gone_since(Selection("t"), table.floor) == ["2"]


def test_misuse_is_told() -> None:
    toy = toy_with("main:A")
    with pytest.raises(ValueError, match="published already"):
        toy.positions.touch([0], 1)
    with pytest.raises(ValueError, match="exists already"):
        toy.positions.add("main:A", RowKey())
    with pytest.raises(KeyError):
        toy.positions.remove("main:Z", toy.tables.begin())
