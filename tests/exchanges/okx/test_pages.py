"""Assembly of snapshots: whole or nothing, events in between, bounded."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from exchanges.okx.pages import Book

Row = tuple[str, int]  # key, order


def book(limit: int = 100) -> Book[Row]:
    return Book(lambda row: row[0], lambda row: (row[1],), limit)


def test_a_single_page_is_complete() -> None:
    pages = book()
    assert not pages.complete
    assert pages.snapshot(1, True, [("a", 1)]) == "complete"
    assert (pages.complete, pages.rows) == (True, (("a", 1),))


def test_nothing_changes_before_the_last_page() -> None:
    pages = book()
    pages.snapshot(1, True, [("a", 1)])
    assert pages.snapshot(1, False, [("b", 2)]) == "partial"
    assert pages.rows == (("a", 1),)
    assert pages.snapshot(2, True, [("c", 2)]) == "complete"
    assert pages.rows == (("b", 2), ("c", 2))


def test_a_missing_page_loses_the_snapshot_and_keeps_the_former() -> None:
    pages = book()
    pages.snapshot(1, True, [("a", 1)])
    pages.snapshot(1, False, [("b", 2)])
    assert pages.snapshot(3, True, [("d", 2)]) == "lost"
    assert pages.rows == (("a", 1),)
    assert pages.snapshot(4, True, [("e", 2)]) == "lost"


def test_a_later_page_without_the_first_is_lost() -> None:
    assert book().snapshot(2, True, []) == "lost"


def test_page_one_begins_again() -> None:
    pages = book()
    pages.snapshot(1, False, [("a", 1)])
    assert pages.snapshot(1, True, [("b", 1)]) == "complete"
    assert pages.rows == (("b", 1),)


def test_an_event_between_pages_enters_the_snapshot() -> None:
    pages = book()
    pages.snapshot(1, False, [("a", 1)])
    pages.update([("opened", 5), ("a", 6)])
    pages.snapshot(2, True, [("a", 2)])
    assert set(pages.rows) == {("a", 6), ("opened", 5)}


def test_an_older_version_never_replaces_a_newer_one() -> None:
    pages = book()
    pages.snapshot(1, True, [("a", 5)])
    pages.update([("a", 4)])
    assert pages.rows == (("a", 5),)


def test_damage_is_kept_until_the_next_snapshot() -> None:
    pages = book()
    pages.snapshot(1, False, [], {"SWAP"})
    pages.snapshot(2, True, [])
    assert pages.damaged == {"SWAP"}
    pages.snapshot(1, True, [])
    assert pages.damaged == frozenset()


def test_both_ways_in_are_bounded() -> None:
    pages = book(limit=2)
    assert pages.snapshot(1, True, [("a", 1), ("b", 1), ("c", 1)]) == "lost"
    assert pages.update([("a", 1), ("b", 1)])
    assert not pages.update([("c", 1)])
    assert (pages.rows, pages.complete) == ((), False)


@given(st.lists(st.tuples(st.sampled_from("abcde"), st.integers(0, 9)), max_size=30), st.integers(1, 6))
def test_any_split_into_pages_gives_the_same_rows(rows: list[Row], size: int) -> None:
    whole, split = book(), book()
    whole.snapshot(1, True, rows)
    parts = [rows[start : start + size] for start in range(0, len(rows), size)] or [[]]
    for number, part in enumerate(parts, start=1):
        progress = split.snapshot(number, number == len(parts), part)
    assert progress == "complete"
    assert split.rows == whole.rows
