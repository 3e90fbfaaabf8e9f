"""What has to be asked comes back until it was answered, and not sooner than an answer can come."""

from __future__ import annotations

from gateway.core.wants import Wants

BTC, ETH = frozenset({"BTC"}), frozenset({"BTC", "ETH"})


def test_a_want_is_issued_once_and_again_when_no_answer_came() -> None:
    wants = Wants()
    wants.put((), {"a": (1_000, BTC)}, 10_000)
    assert wants.history.pop("a") == (1_000, BTC)
    wants.put((), {"a": (1_000, BTC)}, 14_999)
    assert wants.history == {}
    wants.put((), {"a": (1_000, BTC)}, 15_000)
    assert wants.history == {"a": (1_000, BTC)}


def test_a_want_that_grew_is_issued_at_once() -> None:
    wants = Wants()
    wants.put((), {"a": (1_000, BTC)}, 10_000)
    wants.history.clear()
    wants.put((), {"a": (1_000, ETH)}, 10_001)
    assert wants.history.pop("a") == (1_000, ETH)
    wants.put((), {"a": (900, ETH)}, 10_002)
    assert wants.history.pop("a") == (900, ETH)
    wants.put((), {"a": (950, BTC)}, 10_003)
    assert wants.history == {}, "less than what is asked already"


def test_an_answered_want_is_forgotten() -> None:
    wants = Wants()
    wants.put((), {"a": (1_000, BTC)}, 10_000)
    wants.history.clear()
    wants.put((), {}, 10_100)
    wants.put((), {"a": (1_000, BTC)}, 10_200)
    assert wants.history == {"a": (1_000, BTC)}


def test_states_are_asked_for_as_long_as_they_are_wanted() -> None:
    wants = Wants()
    wants.put({"a"}, {}, 1)
    assert wants.state.pop() == "a"
    wants.put({"a"}, {}, 2)
    assert wants.state == {"a"}
