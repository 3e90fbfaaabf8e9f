"""Questions to a venue over HTTP: within its limits, within a time, with errors that name who has to act.

Owns the budgets (per host, path and key), the pause, the circuit and the clock offset of one host. Never repeats a question
(the feed decides that) and never reads an answer (``Venue.check`` says whether it is one, the link what it means). Error texts hold
the host and the path: no query, header or body, where secrets are.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

import aiohttp
import msgspec
from yarl import URL

from exchanges.breaker import Breaker
from exchanges.clock import Clock, sleep_until
from exchanges.errors import ProtocolViolation, Rejected, Retryable, VenueError
from exchanges.venue import HttpRequest, Venue

_MAX_BODY_BYTES = 32 * 2**20
_CHUNK_BYTES = 64 * 2**10
_SPARE_PART = 4  # of a burst is what the patient leave to others
_LONGEST_SILENT_WAIT_MS = 1000  # a pause that is longer is told to whoever asks
_CLOCK_SAMPLES = 3
_MOST_PRECISE_MS = 50  # an offset below this, or below half the round trip, is not worth correcting

Sign = Callable[[HttpRequest], HttpRequest]


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """How much one host may be asked: at most ``weight`` in any window of ``period_s``, at most ``burst`` of it at once.

    ``paths``: how many questions of a path in any ``period_s``, of those that the venue counts each for itself.
    ``key_weight`` in any ``key_period_s`` for each key, where the venue counts by key too.
    """

    weight: int = 20
    period_s: float = 2.0
    burst: int = 10
    paths: Mapping[str, int] = {}
    key_weight: int | None = None
    key_period_s: float = 1.0
    timeout_s: float = 10.0


class Budget:
    """Never grants more than ``weight`` in any ``period_ms`` consecutive milliseconds, nor more than ``burst`` at once.

    A bucket of ``burst`` refills at the full rate, and what was granted within the window bounds the sum. A bucket alone would
    grant ``burst`` on top of the rate after a quiet spell; refilled slowly enough for that, those who ask all the time would get
    little more than ``weight - burst`` a period.
    The window is an eighth longer than the period: a question may take longer on its way than the one that follows it a period
    later.

    Raises:
        ValueError: Not 0 < burst <= weight, or no period.
    """

    def __init__(self, weight: int, period_ms: int, burst: int) -> None:
        if not 0 < burst <= weight or period_ms <= 0:
            raise ValueError(f"budget: need 0 < burst <= weight and a period, not {burst}, {weight}, {period_ms} ms")
        self.burst = burst
        self._weight, self._period_ms, self._window_ms = weight, period_ms, period_ms + period_ms // 8
        # One unit of weight is period_ms units of level, so that `weight` of these flow in each ms.
        self._full = self._level = burst * period_ms
        self._granted: deque[tuple[int, int]] = deque()  # when and how much, within the window
        self._spent = 0  # their sum
        self._at: int | None = None
        self._paused_until: int | None = None

    def wait_ms(self, weight: int, now: int, *, patient: bool = False) -> int:
        """Return how long a question of this weight has to wait from now; 0: it may be asked (then ``take``).

        The patient leave to others a part of the burst, and of the window whatever is beyond one burst: where much was asked at
        once, those who cannot wait would else find the window spent.
        """
        self._refill(now)
        spare = min(self.burst // _SPARE_PART, self.burst - weight) if patient else 0
        missing = (weight + spare) * self._period_ms - self._level
        filled = -(-missing // self._weight) if missing > 0 else 0
        return max(filled, self._room_ms(weight, self.burst if patient else self._weight, now), self.paused_ms(now))

    def take(self, weight: int, now: int) -> None:
        """Spend the weight of a question that is asked now; ``wait_ms`` has just said 0."""
        assert self.wait_ms(weight, now) == 0, "asked for more than the budget has"
        self._level -= weight * self._period_ms
        self._granted.append((now, weight))
        self._spent += weight

    def paused_ms(self, now: int) -> int:
        """Return how long the pause still lasts."""
        return 0 if self._paused_until is None else max(self._paused_until - now, 0)

    def pause(self, until: int) -> None:
        """Grant nothing before ``until``; a longer pause stays."""
        self._paused_until = until if self._paused_until is None else max(self._paused_until, until)

    def _refill(self, now: int) -> None:
        if self._at is not None:
            self._level = min(self._full, self._level + (now - self._at) * self._weight)
        self._at = now
        while self._granted and self._granted[0][0] + self._window_ms <= now:
            self._spent -= self._granted.popleft()[1]

    def _room_ms(self, weight: int, most: int, now: int) -> int:
        """Return how long it takes until so much of what was granted has left the window that ``most`` are in it at most."""
        wait_ms, excess = 0, self._spent + weight - most
        for at, granted in self._granted:
            if excess <= 0:
                break
            wait_ms, excess = at + self._window_ms - now, excess - granted
        return wait_ms


class Lane:
    """A budget and the queue before it: first come, first served, but the patient."""

    def __init__(self, budget: Budget, clock: Clock) -> None:
        self.budget = budget
        self._clock = clock
        self._turn = asyncio.Lock()

    async def admit(self, weight: int, *, patient: bool = False) -> None:
        """Return when this weight may be asked; it is spent then."""
        while patient and (wait_ms := self.budget.wait_ms(weight, now := self._clock.now_ms(), patient=True)):
            await sleep_until(self._clock, now + wait_ms)
        async with self._turn:
            while wait_ms := self.budget.wait_ms(weight, now := self._clock.now_ms()):
                await sleep_until(self._clock, now + wait_ms)
            self.budget.take(weight, now)


class RestClient:
    """Asks one host of one venue; shared by everyone who asks there, since limits count per host.

    Args:
        base_url: Scheme and host, without a trailing slash.
        venue: Says which answers are successes.
        session: The gateway's one session. It must keep no cookies.
        clock: Gives times and timers.
        limits: The venue's documented limits, with a margin.

    Attributes:
        clock_offset_ms: How far the venue's clock is ahead of ours, as ``measure_clock`` found; 0 while unknown.
    """

    def __init__(
        self, base_url: str, venue: Venue, session: aiohttp.ClientSession, clock: Clock, limits: Limits | None = None
    ) -> None:
        self._base_url, self._venue, self._session, self._clock = base_url, venue, session, clock
        self.host = urlsplit(base_url).netloc
        self.clock_offset_ms = 0
        self._limits = limits or Limits()
        period_ms = round(self._limits.period_s * 1000)
        self._lane = Lane(Budget(self._limits.weight, period_ms, self._limits.burst), clock)
        # Half of them at once: the other half of what a path may be asked flows in.
        self._paths = {
            path: Lane(Budget(most, period_ms, -(-most // 2)), clock) for path, most in self._limits.paths.items()
        }
        self._keys: dict[str, Lane] = {}
        self._breaker = Breaker(random.random)
        self._timeout = aiohttp.ClientTimeout(total=self._limits.timeout_s)

    @property
    def open_circuit(self) -> bool:
        """True while the host is left alone because it kept failing."""
        return self._breaker.is_open

    def for_key(self, name: str) -> KeyedRest:
        """Return the client as one key uses it; ``name`` tells keys apart and is never the key."""
        if self._limits.key_weight is None:
            return KeyedRest(self, None)
        lane = self._keys.get(name)
        if lane is None:
            weight = self._limits.key_weight
            budget = Budget(weight, round(self._limits.key_period_s * 1000), max(weight // 2, 1))
            lane = self._keys[name] = Lane(budget, self._clock)
        return KeyedRest(self, lane)

    async def fetch(self, request: HttpRequest, sign: Sign) -> bytes:
        """Ask, and return the body of a successful answer.

        Args:
            request: The question; its path is sent exactly as it is, since signatures cover it.
            sign: Adds authentication; called when the request leaves, after all waiting.

        Raises:
            Retryable: The venue or the network cannot answer now. A stated ``after_s`` has paused the whole host; who asks
                during a longer pause, or while the circuit is open, is told at once how long it lasts.
            Rejected | AuthFailed: As ``Venue.check`` decides; Rejected also where the weight can never be granted.
            ProtocolViolation: The answer is larger than any answer can be.
        """
        await self._admit(request)
        where = f"{self.host}{request.path.partition('?')[0]}"
        self._breaker.asked()
        try:
            status, headers, body = await self._exchange(sign(request), where)
            self._venue.check(request, status, headers, body)
        except Retryable as error:
            if error.after_s is None:
                self._breaker.failed(self._clock.now_ms())
            else:
                self._breaker.succeeded()  # it answers, and says when it wants to be asked again
                self._lane.budget.pause(self._clock.now_ms() + round(error.after_s * 1000))
            raise
        except VenueError:
            self._breaker.succeeded()
            raise
        except BaseException:  # given up by whoever asked: it says nothing of the host, and a trial must not stay open
            self._breaker.cancelled()
            raise
        self._breaker.succeeded()
        return body

    async def measure_clock(self) -> int | None:
        """Measure how far the venue's clock is ahead of ours (ms), and correct signatures by it from now on.

        The sample with the shortest round trip counts. Returns None where the venue has no clock to ask for.

        Raises:
            VenueError: It could not be asked.
        """
        request = self._venue.time_request()
        if request is None:
            return None
        samples: list[tuple[int, int]] = []
        for _ in range(_CLOCK_SAMPLES):
            left: list[int] = []

            def note(question: HttpRequest, left: list[int] = left) -> HttpRequest:
                left.append(self._clock.wall_ms())
                return question

            body = await self.fetch(request, note)
            took = self._clock.wall_ms() - left[0]
            samples.append((took, self._venue.read_time(body) - left[0] - took // 2))
        took, offset = min(samples)
        self.clock_offset_ms = offset if abs(offset) > max(_MOST_PRECISE_MS, took // 2) else 0
        return offset

    async def _admit(self, request: HttpRequest) -> None:
        """Wait for the turn and the weight of a question; a long pause is an answer of its own."""
        budget = self._lane.budget
        if request.weight > budget.burst:
            what = f"a question of weight {request.weight} never fits into a burst of {budget.burst}"
            raise Rejected(self.host, what, do="Raise the burst of this host's limits")
        now = self._clock.now_ms()
        paused, broken = budget.paused_ms(now), self._breaker.wait_ms(now)
        if paused > _LONGEST_SILENT_WAIT_MS:
            what = f"asked to wait: nothing is asked there for another {paused / 1000:.0f} s"
            raise Retryable(self.host, what, after_s=paused / 1000)
        if broken:
            what = f"kept failing: it is left alone for another {broken / 1000:.0f} s"
            raise Retryable(self.host, what, after_s=broken / 1000)
        lane = self._paths.get(request.path.partition("?")[0])
        if lane is not None:
            await lane.admit(1)
        await self._lane.admit(request.weight, patient=request.patient)

    async def _exchange(self, request: HttpRequest, where: str) -> tuple[int, Mapping[str, str], bytes]:
        headers = dict(request.headers)
        if request.body is not None and not any(name.lower() == "content-type" for name in headers):
            headers["Content-Type"] = "application/json"
        try:
            async with self._session.request(
                request.method,
                URL(
                    (request.host or self._base_url) + request.path, encoded=True
                ),  # encoded: not one byte of what was signed may change
                data=None if request.body is None else request.body.encode(),
                headers=headers,
                timeout=self._timeout,
                allow_redirects=False,  # a redirect would carry the signature to another host
            ) as response:
                return response.status, response.headers, await _bounded(response, where)
        except TimeoutError:
            raise Retryable(where, f"no answer within {self._timeout.total:g} s") from None
        except (aiohttp.ClientError, OSError) as error:
            raise Retryable(where, _cause(error)) from None


class KeyedRest:
    """A host's client as one key uses it."""

    def __init__(self, client: RestClient, lane: Lane | None) -> None:
        self._client, self._lane = client, lane

    @property
    def clock_offset_ms(self) -> int:
        """How far the venue's clock is ahead of ours."""
        return self._client.clock_offset_ms

    async def fetch(self, request: HttpRequest, sign: Sign) -> bytes:
        """Ask as ``RestClient.fetch`` does, within the key's limit too."""
        if self._lane is not None and request.signed:
            await self._lane.admit(min(request.weight, self._lane.budget.burst))
        return await self._client.fetch(request, sign)


async def _bounded(response: aiohttp.ClientResponse, where: str) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
        body += chunk
        if len(body) > _MAX_BODY_BYTES:
            raise ProtocolViolation(where, f"an answer of more than {_MAX_BODY_BYTES >> 20} MiB")
    return bytes(body)


def _cause(error: aiohttp.ClientError | OSError) -> str:
    """Name the cause by its kind: the library's own texts may hold the whole address with its query."""
    match error:
        case aiohttp.ClientConnectorDNSError():
            return "the host name cannot be resolved. Check the network and the name"
        case aiohttp.ClientConnectorCertificateError():
            return f"the certificate is not accepted: {error.certificate_error}"
        case aiohttp.ClientConnectorError():
            return f"cannot connect: {error.os_error.strerror or type(error.os_error).__name__}"
        case aiohttp.ServerDisconnectedError():
            return "the connection was closed before an answer came"
        case aiohttp.ClientPayloadError():
            return "the answer was cut off or garbled"
        case OSError():
            return f"the connection broke: {error.strerror or type(error).__name__}"
    return f"the exchange failed: {type(error).__name__}"
