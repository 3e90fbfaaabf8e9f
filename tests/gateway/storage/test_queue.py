"""What waits for the journal: in order, with one gap at most, and that before all of it."""

from __future__ import annotations

import msgspec
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.core.journal import Entry, Lost
from gateway.storage.queue import Queue


def _entry(number: int, size: int) -> Entry:
    return Entry(id=number, at=number, kind="turn", epoch="e", body="x" * size)


_STEPS = st.lists(st.one_of(st.integers(0, 900), st.sampled_from(["take", "written", "back"])), max_size=60)


@example(steps=[0, "take", 900, 900, 900, 100, "back"])  # room for what is older than a gap
@given(steps=_STEPS)
def test_there_is_one_gap_and_it_is_before_all_that_wait(steps: list[int | str]) -> None:
    """Whatever is taken, given back, and put meanwhile."""
    queue, taken, number = Queue(6, 4_000), Queue(6, 4_000), 0
    under_way, told, written = False, 0, set[int]()

    def write(rows: Queue) -> None:
        nonlocal told
        entries = rows.entries()
        assert [one.id for one in entries] == sorted(one.id for one in entries)
        if rows.lost is not None:
            gap = msgspec.json.decode(entries[0].body, type=Lost)
            assert (entries[0].kind, entries[0].id, gap) == ("lost", gap.until, rows.lost)
            told += gap.entries
        kept = [one.id for one in entries if one.kind == "turn"]
        if kept and not rows.lost:
            assert kept[0] == max(written, default=0) + 1, "a hole that nobody speaks of"
        assert kept == list(range(kept[0], kept[0] + len(kept))) if kept else True
        written.update([*kept, *([rows.lost.until] if rows.lost else [])])

    for step in steps:
        if isinstance(step, int):
            number += 1
            queue.put(_entry(number, step))
        elif step == "take" and not under_way:
            under_way, taken, queue = True, queue, Queue(6, 4_000)
            queue.given_up = taken.given_up
        elif under_way and step != "take":
            under_way = False
            if step == "written":
                write(taken)
            else:
                queue.put_back(taken)
    if under_way:
        queue.put_back(taken)
    write(queue)
    assert told == queue.given_up
    assert max(written, default=0) == number


def test_a_gap_older_than_what_is_put_back_takes_nothing_with_it() -> None:
    """What lay in the spool was older than the batch under way."""
    queue, taken = Queue(), Queue()
    for number in (4, 5):
        taken.put(_entry(number, 0))
    queue.put(_entry(6, 0))
    queue.lost = Lost(since=1, until=3, file="spool.sqlite.unreadable-7")
    queue.put_back(taken)
    assert [(one.kind, one.id) for one in queue.entries()] == [("lost", 3), ("turn", 4), ("turn", 5), ("turn", 6)]
    assert queue.given_up == 0


def test_a_gap_that_reaches_into_what_is_put_back_takes_all_of_it() -> None:
    queue, taken = Queue(), Queue()
    for number in (4, 5):
        taken.put(_entry(number, 0))
    queue.lost = Lost(since=1, until=4, file="spool.sqlite.unreadable-7")
    queue.put_back(taken)
    assert queue.lost == Lost(since=1, until=5, entries=2, file="spool.sqlite.unreadable-7")
    assert [(one.kind, one.id) for one in queue.entries()] == [("lost", 5)]
