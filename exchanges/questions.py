"""The REST questions that one connection has under way, and the order in which their answers may be read.

Owns numbers, attempts and answers that wait for their turn (never more than there are questions). Never asks anything itself.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable

from exchanges.actions import Fetch
from exchanges.errors import Retryable, VenueError
from exchanges.venue import HttpRequest


@dataclasses.dataclass(slots=True)
class Question:
    """One question; ``in_line``: of the bootstrap, whose answers are read in the order of the questions.

    ``answer`` is (body, asked_at, at) once it came; ``trouble`` says why the last attempt failed.
    """

    number: int
    request: HttpRequest
    in_line: bool
    attempt: int = 0
    trouble: str | None = None
    answer: tuple[bytes, int, int] | None = None


class Questions:
    """The questions of a feed; ``delay_s`` is the back-off by attempt where a failure states no waiting time."""

    def __init__(self, delay_s: Callable[[int], float]) -> None:
        self._delay_s = delay_s
        self._numbers = itertools.count(1)
        self._open: dict[int, Question] = {}

    def __bool__(self) -> bool:
        return bool(self._open)

    def drop_all(self) -> None:
        """Forget every question: their connection has ended."""
        self._open.clear()

    def ask(self, request: HttpRequest, *, in_line: bool) -> Fetch:
        """Note a new question."""
        number = next(self._numbers)
        self._open[number] = Question(number, request, in_line)
        return Fetch(request, 0.0, number)

    def again(self, question: Question, error: VenueError) -> Fetch:
        """Note that a question has to be asked again, after the time that the venue states, else after a back-off."""
        stated = error.after_s if isinstance(error, Retryable) else None
        after_s = self._delay_s(question.attempt) if stated is None else stated
        question.attempt += 1
        question.answer, question.trouble = None, str(error)
        return Fetch(question.request, after_s, question.number)

    def settle(self, question: Question) -> None:
        """Note that a question is done with."""
        self._open.pop(question.number, None)

    def current(self, fetch: Fetch) -> Question | None:
        """Return the question of a fetch; None where it was of an ended connection, or settled."""
        return self._open.get(fetch.number)

    def readable(self) -> Question | None:
        """Return the next question whose answer may be read: in line only after everything before it in the line."""
        held_back = False
        for question in self._open.values():
            if question.answer is not None and not (question.in_line and held_back):
                return question
            held_back = held_back or question.in_line
        return None

    def trouble(self) -> list[str]:
        """Return why questions are being asked again."""
        return [question.trouble for question in self._open.values() if question.trouble is not None]
