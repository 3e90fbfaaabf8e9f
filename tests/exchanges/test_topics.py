"""Bookkeeping of topics: what is asked, given back, asked again, and never again."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from exchanges.topics import Topics


def topics(*essential: str) -> Topics:
    made = Topics(confirm_ms=10, delay_ms=lambda attempt: 100 * 2**attempt)
    made.begin(essential)
    return made


def test_it_aims_at_essential_and_wanted_and_gives_back_the_rest() -> None:
    t = topics("a", "b")
    assert t.aim(["x", "a"], 0) == (["a", "b", "x"], [])
    t.confirm(["a", "b"])
    assert t.aim(["y"], 1) == (["y"], ["x"])
    assert t.aim([], 2) == ([], ["y"])
    assert t.confirmed == {"a", "b"}


def test_it_is_settled_by_the_essential_ones_alone() -> None:
    t = topics("a", "b")
    t.aim(["x"], 0)
    t.confirm(["a"])
    assert not t.settled
    assert t.refuse(["b"], "no", permanent=True, now=1) == []
    assert (t.settled, t.crippled) == (True, True)
    t.begin(["a"])
    assert not t.settled
    assert not t.crippled


def test_only_confirmed_essential_topics_can_be_lost() -> None:
    t = topics("a", "b")
    t.aim(["x"], 0)
    t.confirm(["a", "x"])
    assert t.refuse(["a", "b", "x", "unheard of"], "no", permanent=False, now=0) == ["a"]
    assert len(t.trouble()) == 3


def test_refused_for_now_waits_longer_each_time() -> None:
    t = topics("a")
    t.aim([], 0)
    t.refuse(["a"], "no", permanent=False, now=0)
    assert t.deadline() == 100
    assert (t.again(99), t.again(100), t.again(100)) == ([], ["a"], [])
    assert t.deadline() == 110
    t.refuse(["a"], "no", permanent=False, now=105)
    assert t.deadline() == 305
    assert t.trouble() == ["a: no"]
    assert t.again(305) == ["a"]
    t.confirm(["a"])
    assert (t.deadline(), t.trouble(), t.settled) == (None, [], True)


def test_what_is_not_confirmed_in_time_is_told_or_put_off() -> None:
    t = topics("a")
    t.aim(["x"], 0)
    assert t.overdue(9) == []
    assert t.overdue(10) == ["a"]
    assert t.trouble() == ["x: not confirmed within 0.01 s"]
    assert t.again(110) == ["x"]


def test_a_refusal_for_good_outlives_the_connection() -> None:
    t = topics("a")
    t.aim(["x"], 0)
    t.refuse(["x"], "unknown", permanent=True, now=0)
    t.begin(["a"])
    assert t.aim(["x", "y"], 0) == (["a", "y"], [])
    assert t.trouble() == ["x: unknown"]
    t.aim([], 1)
    assert t.trouble() == []


names = st.sampled_from("abxyz")
steps = st.lists(
    st.one_of(
        st.tuples(st.just("aim"), st.lists(names, max_size=4)),
        st.tuples(st.sampled_from(["confirm", "no", "never"]), st.lists(names, max_size=3)),
        st.tuples(st.just("wait"), st.integers(0, 300)),
    ),
    max_size=40,
)


@given(steps)
@example([("aim", ["x"]), ("no", ["x"]), ("confirm", ["x"]), ("aim", [])])
def test_the_venue_always_holds_what_is_wanted_or_will_be_asked(script: list[tuple[str, object]]) -> None:
    t, now = topics("a", "b"), 0
    asked: set[str] = set()  # what the venue was told to send, or says that it sends
    banned: set[str] = set()
    wanted: set[str] = set()
    for what, with_ in script:
        if what == "wait":
            assert isinstance(with_, int)
            now += with_
            t.overdue(now)
            asked |= set(t.again(now))
        elif what == "aim":
            assert isinstance(with_, list)
            wanted = set(with_)
            add, drop = t.aim(with_, now)
            assert not set(add) & (banned | t.confirmed)
            assert set(drop) <= asked
            asked = (asked | set(add)) - set(drop)
        else:
            assert isinstance(with_, list)
            concerned = set(with_) & (asked if what == "confirm" else {"a", "b"} | wanted)
            if what == "confirm":
                t.confirm(with_)
                asked |= t.confirmed  # also one that it had refused before: its last word counts
            else:
                before = {topic for topic in concerned if topic in asked}
                t.refuse(sorted(before), what, permanent=what == "never", now=now)
                asked -= before
                banned |= before if what == "never" else set()
        assert t.confirmed <= {"a", "b"} | wanted
        assert not t.confirmed & banned
    t.aim(wanted, now)
    missing = ({"a", "b"} | wanted) - t.confirmed - banned
    assert bool(missing) == (t.deadline() is not None)
