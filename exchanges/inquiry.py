"""Questions to a venue about one account, outside any stream: verification, history, one order, who the key is.

Owns a link that has no connection, and the order in which its questions are asked and read: the first alone, since it settles what
the others mean, the rest together, further pages of an answer before the next answer; what is asked patiently one by one. A failure
is an error, never an empty answer; what the venue and the network may still answer is asked again, a bounded number of times.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager

import msgspec

from exchanges.backoff import Backoff
from exchanges.clock import Clock, sleep_until
from exchanges.errors import Rejected, Retryable, VenueError
from exchanges.events import Event
from exchanges.supervisor import Fetcher, Record, asked
from exchanges.venue import OUT_OF_REACH, Ask, HttpRequest, Link, Malformed, Notice, Output

Answer = tuple[bytes, int, int, int | None]  # the body, when it was asked, when it came, under which name it is kept
Found = list[tuple[Output, int | None]]  # what answers mean, each with the name of its answer

_ATTEMPTS = 3
_LONGEST_WAIT_S = 5.0  # a venue that wants more is told to the caller instead
_MOST_PAGES = 200  # of one round: more can only be a circle


class Findings(msgspec.Struct, frozen=True, kw_only=True):
    """What a round brought.

    ``asked_at``: our clock at the first question. ``flaws``: rows that could not be understood; everything else stands.
    ``whole``: there was something to ask, every row was understood, and nothing of it lay beyond the venue's reach.
    ``origins``: of each event, under which name the answer is kept that it came by; empty: nobody keeps them.
    """

    events: tuple[Event, ...]
    asked_at: int
    flaws: tuple[str, ...] = ()
    whole: bool = True
    origins: tuple[int | None, ...] = ()


class Inquirer:
    """Asks for one account; rounds follow one another, so that answers of two never mix. A history has its own, beside them.

    Args:
        link: Made for this alone: nobody connects it.
        random: Returns uniform fractions in [0, 1), for jitter.
        patient: Whatever is asked leaves the venue's limits to others, and goes one by one.
    """

    def __init__(
        self,
        link: Link,
        rest: Fetcher,
        clock: Clock,
        random: Callable[[], float],
        record: Record | None = None,
        *,
        patient: bool = False,
    ) -> None:
        self.link, self._patient = link, patient
        self._rest, self._clock, self._random, self._record = rest, clock, random, record
        self._turn = asyncio.Lock()
        self._rounds = 0  # under way, or waiting for their turn
        self._backoff = Backoff(base_s=0.25, cap_s=2.0)

    @property
    def busy(self) -> bool:
        """True while a round is under way, what is asked patiently aside."""
        return self._rounds > 0

    async def audit(self) -> Findings:
        """Ask who the account is and what its key may do. Never recorded: such an answer may repeat the key (Bybit)."""
        return await self.ask(self.link.audit, secret=True)

    async def state(self) -> Findings:
        """Ask for the whole present state."""
        return await self.ask(self.link.state)

    async def history(self, since_ms: int, symbols: Sequence[str]) -> Findings:
        """Ask for fills, payments and causes since then, beside the other rounds.

        Where no symbol is named nothing that is shown hangs on it: a day of records can cost a minute of the venue's weight, so
        one question follows the other, and each leaves the venue's limits to whoever cannot wait.
        """
        asked_at, outputs = self._clock.now_ms(), Found()
        requests = list(self.link.history(since_ms, symbols))
        if symbols:
            with self._under_way():
                await self._round(requests, outputs)
        else:
            await self._one_by_one(requests, outputs)
        return _findings(asked_at, requests, outputs)

    async def records(self, since_ms: int, until_ms: int, symbols: Sequence[str]) -> AsyncIterator[Findings]:
        """Ask for the books of one window, ``since_ms`` ≤ time < ``until_ms``, and yield what each page brought.

        Patiently, one question after the other, beside the other rounds; with a link that nobody else asks. What the venue
        refuses to tell (of a symbol that it does not list any more) is a flaw, and all else stands.

        Raises:
            Rejected: This account cannot be asked for its past, or the venue refuses every question.
            VenueError: A question has no answer: the window is to be asked again.
        """
        waiting = list(self.link.records(since_ms, until_ms, symbols))
        if not waiting:
            raise Rejected("its books", "this account cannot be asked for its past", do="Configure a key that can read")
        asked: set[HttpRequest] = set()
        refused: Rejected | None = None
        answered = False
        while waiting:
            question = msgspec.structs.replace(waiting.pop(0), patient=True)
            if question in asked:
                raise Retryable(question.path.partition("?")[0], "a page is followed by one that was read already")
            asked.add(question)
            asked_at = self._clock.now_ms()
            try:
                body, asked_at, at, name = await self._fetch(question)
            except Rejected as error:
                refused = error
                yield Findings(events=(), asked_at=asked_at, flaws=(str(error),), whole=False)
                continue
            outputs = [(output, name) for output in self.link.answer(question, body, asked_at, at)]
            waiting = [output.request for output, _ in outputs if isinstance(output, Ask)] + waiting
            answered = True
            yield _findings(asked_at, [question], outputs)
        if refused is not None and not answered:
            raise refused

    async def order(self, symbol: str, order_id: str) -> Findings:
        """Ask for one order.

        Raises:
            NotFound: The venue says that there is none.
            Rejected: This account has no question for one order (one that is read by address).
        """
        questions = self.link.find_order(symbol, order_id)
        if not questions:
            raise Rejected(f"order {order_id} of {symbol}", "this account cannot be asked for one order")
        return await self.ask(lambda: questions)

    async def free(self, ccy: str) -> Findings:
        """Ask what is free of a currency; nothing is asked, and found, where the balances of ``state`` say it."""
        return await self.ask(lambda: self.link.free(ccy))

    async def ask(self, questions: Callable[[], Sequence[HttpRequest]], *, secret: bool = False) -> Findings:
        """Ask a round, which is recorded unless it is ``secret``. Raises VenueError where any question has no answer."""
        with self._under_way():
            async with self._turn:
                asked_at, outputs = self._clock.now_ms(), Found()
                requests = list(questions())
                await self._round(requests, outputs, secret)
        return _findings(asked_at, requests, outputs)

    async def _round(self, requests: Sequence[HttpRequest], outputs: Found, secret: bool = False) -> None:
        """Ask the first alone and the rest together, and read the answers in the order of the questions."""
        if not requests:
            return
        if self._patient:
            await self._one_by_one(requests, outputs, secret)
            return
        await self._read(requests[0], await self._fetch(requests[0], secret), outputs, secret)
        answers = await _together([self._fetch(request, secret) for request in requests[1:]])
        for request, answer in zip(requests[1:], answers, strict=True):
            await self._read(request, answer, outputs, secret)

    async def _one_by_one(self, requests: Sequence[HttpRequest], outputs: Found, secret: bool = False) -> None:
        """Ask patiently, one after the other."""
        for request in (msgspec.structs.replace(one, patient=True) for one in requests):
            await self._read(request, await self._fetch(request, secret), outputs, secret)

    @contextmanager
    def _under_way(self) -> Iterator[None]:
        self._rounds += 1
        try:
            yield
        finally:
            self._rounds -= 1

    async def _read(self, request: HttpRequest, answer: Answer, outputs: Found, secret: bool = False) -> None:
        """Add what an answer means, its further pages included."""
        waiting = [(request, answer)]
        pages = 0
        while waiting:
            question, (body, asked_at, at, name) = waiting.pop(0)
            more: list[HttpRequest] = []
            for output in self.link.answer(question, body, asked_at, at):
                if isinstance(output, Ask):
                    more.append(output.request)
                else:
                    outputs.append((output, name))
            pages += len(more)
            if pages > _MOST_PAGES:
                raise Retryable(request.path.partition("?")[0], f"more than {_MOST_PAGES} pages", do="Ask for less")
            pages_asked = [msgspec.structs.replace(page, patient=request.patient) for page in more]
            waiting = [(page, await self._fetch(page, secret)) for page in pages_asked] + waiting

    async def _fetch(self, request: HttpRequest, secret: bool = False) -> Answer:
        """Return the body, when it was asked, and when it came."""
        for attempt in range(_ATTEMPTS):
            try:
                return await self._once(request, secret)
            except Retryable as error:
                wait_s = self._backoff.delay_s(attempt, self._random()) if error.after_s is None else error.after_s
                if attempt + 1 == _ATTEMPTS or wait_s > _LONGEST_WAIT_S:
                    raise
            await sleep_until(self._clock, self._clock.now_ms() + round(wait_s * 1000))
        raise AssertionError("the last attempt returns or raises")

    async def _once(self, request: HttpRequest, secret: bool) -> Answer:
        asked_at = self._clock.now_ms()

        def sign(question: HttpRequest) -> HttpRequest:
            nonlocal asked_at
            asked_at = self._clock.now_ms()
            return self.link.sign(question, self._clock.wall_ms() + self._rest.clock_offset_ms)

        body = await self._rest.fetch(request, sign)
        at = self._clock.now_ms()
        name = None
        if self._record is not None and not secret:
            name = self._record("rest", asked(request), body, at)
        return body, asked_at, at, name


async def _together(fetches: Sequence[Coroutine[None, None, Answer]]) -> list[Answer]:
    """Return all answers; the first error ends the others and is raised as it is."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(fetch) for fetch in fetches]
    except* VenueError as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]


def _findings(asked_at: int, requests: Sequence[HttpRequest], found: Found) -> Findings:
    outputs = [output for output, _ in found]
    return Findings(
        events=tuple(output for output in outputs if isinstance(output, Event)),
        asked_at=asked_at,
        flaws=tuple(_flaws(outputs)),
        whole=bool(requests) and not any(_missing(output) for output in outputs),
        origins=tuple(name for output, name in found if isinstance(output, Event)),
    )


def _missing(output: Output) -> bool:
    return isinstance(output, Malformed) or (isinstance(output, Notice) and output.code == OUT_OF_REACH)


def _flaws(outputs: Sequence[Output]) -> Iterator[str]:
    for output in outputs:
        match output:
            case Malformed():
                yield output.what
            case Notice():
                yield f"{output.what} ({output.code})"
