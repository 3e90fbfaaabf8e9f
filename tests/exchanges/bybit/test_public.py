"""What all public connections share: which values are news, and how much one connection holds."""

from __future__ import annotations

import json

import pytest

from exchanges.bybit import tables
from exchanges.bybit.public import Pace
from exchanges.venue import SubscribeRefused
from tests.exchanges.bybit.samples import linear


def test_a_change_is_news_at_once_and_a_repetition_now_and_then() -> None:
    pace = Pace()
    told = [pace.is_news("A", value, at) for value, at in [("1", 0), ("1", 999), ("1", 1000), ("2", 1001), ("2", 1500)]]
    assert told == [True, False, True, True, False]
    assert pace.held("A") == ("2", 1500)
    assert pace.held("B") is None


def test_what_is_forgotten_is_news_again() -> None:
    pace = Pace()
    pace.is_news("A", "1", 0)
    pace.forget("A")
    pace.forget("never known")
    assert pace.held("A") is None
    assert pace.is_news("A", "1", 1)


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "MAX_BUFFERED", 2)
    pace = Pace()
    for symbol in "ABC":
        pace.is_news(symbol, "1", 0)
    assert [pace.held(symbol) is not None for symbol in "ABC"] == [False, True, True]


def test_topics_beyond_what_a_connection_holds_are_refused_with_the_next_frame() -> None:
    link = linear()
    topics = [f"tickers.SYMBOL{number:05}USDT" for number in range(1000)]
    asked = [topic for frame in link.subscribe(topics) for topic in json.loads(frame)["args"]]
    assert asked == topics[: len(asked)]
    assert sum(len(topic) + 3 for topic in asked) <= tables.MAX_ARGS_CHARS
    refused = [one for one in link.receive('{"op":"pong"}', 0) if isinstance(one, SubscribeRefused)]
    assert [one.topics[0] for one in refused] == topics[len(asked) :]
    assert all(one.permanent for one in refused)
