"""Questions: numbers that never repeat, answers in the order of the line."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from exchanges.errors import ProtocolViolation, Retryable
from exchanges.questions import Questions
from exchanges.venue import HttpRequest


def ask(questions: Questions, path: str, *, in_line: bool = True) -> int:
    return questions.ask(HttpRequest(path=path), in_line=in_line).number


def test_numbers_go_on_over_connections() -> None:
    questions = Questions(lambda attempt: 1.0)
    first = questions.ask(HttpRequest(path="/1"), in_line=True)
    questions.drop_all()
    assert not questions
    assert questions.current(first) is None
    assert ask(questions, "/1") != first.number


def test_a_stated_waiting_time_goes_before_the_back_off() -> None:
    questions = Questions(lambda attempt: 10.0 + attempt)
    fetch = questions.ask(HttpRequest(path="/1"), in_line=True)
    question = questions.current(fetch)
    assert question is not None
    assert questions.again(question, Retryable("h", "busy")).after_s == 10
    assert questions.again(question, Retryable("h", "busy", after_s=0.0)).after_s == 0
    assert questions.again(question, ProtocolViolation("h", "what")).after_s == 12
    assert questions.trouble() == ["h: what"]


@given(st.lists(st.booleans(), min_size=1, max_size=8), st.randoms(use_true_random=False))
def test_in_line_means_in_order_and_the_rest_at_once(in_line: list[bool], random: object) -> None:
    questions = Questions(lambda attempt: 1.0)
    fetches = [questions.ask(HttpRequest(path=str(n)), in_line=line) for n, line in enumerate(in_line)]
    arrival = list(fetches)
    random.shuffle(arrival)  # type: ignore[attr-defined]
    read: list[int] = []
    for fetch in arrival:
        question = questions.current(fetch)
        assert question is not None
        question.answer = (b"", 0, 0)
        came_out_of_line = not question.in_line
        while (ready := questions.readable()) is not None:
            questions.settle(ready)
            read.append(ready.number)
        if came_out_of_line:
            assert fetch.number in read
    assert len(read) == len(fetches)
    assert [n for n in read if in_line[n - 1]] == [n + 1 for n, line in enumerate(in_line) if line]
    assert not questions
