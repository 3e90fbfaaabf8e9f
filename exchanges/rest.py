"""Questions to a venue over HTTP: within its limits, within a time, with errors that name who has to act.

Owns the weight budget and the pause of one host. Never repeats a question (the feed decides that) and never reads an answer
(``Venue.check`` says whether it is one, the link what it means). Error texts hold the host and the path: no query, header or
body, where secrets are.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

import aiohttp
import msgspec
from yarl import URL

from exchanges.clock import Clock, sleep_until
from exchanges.errors import ProtocolViolation, Rejected, Retryable
from exchanges.venue import HttpRequest, Venue

_MAX_BODY_BYTES = 32 * 2**20
_CHUNK_BYTES = 64 * 2**10

Sign = Callable[[HttpRequest], HttpRequest]


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """How much one host may be asked: at most ``weight`` in any window of ``period_s``, at most ``burst`` of it at once."""

    weight: int = 20
    period_s: float = 2.0
    burst: int = 10
    timeout_s: float = 10.0


class Budget:
    """A token bucket in integers: never grants more than ``weight`` in any ``period_ms`` consecutive milliseconds.

    The bucket holds ``burst`` and refills at ``weight - burst + 1`` a period. A full bucket and what flows in between the first
    and the last grant of a window are less than ``weight + 1`` together; whole weights then add up to ``weight`` at most. A
    bucket of the full weight that refills at the full rate would grant twice the limit after a quiet spell.

    Raises:
        ValueError: Not 0 < burst <= weight, or no period.
    """

    def __init__(self, weight: int, period_ms: int, burst: int) -> None:
        if not 0 < burst <= weight or period_ms <= 0:
            raise ValueError(f"budget: need 0 < burst <= weight and a period, not {burst}, {weight}, {period_ms} ms")
        self.burst = burst
        self._rate = weight - burst + 1  # level units per ms: one unit of weight is period_ms units of level
        self._period_ms = period_ms
        self._full = self._level = burst * period_ms
        self._at: int | None = None
        self._paused_until: int | None = None

    def wait_ms(self, weight: int, now: int) -> int:
        """Return how long a question of this weight has to wait from now; 0: it may be asked (then ``take``)."""
        self._refill(now)
        missing = weight * self._period_ms - self._level
        filled = -(-missing // self._rate) if missing > 0 else 0
        paused = 0 if self._paused_until is None else self._paused_until - now
        return max(filled, paused, 0)

    def take(self, weight: int, now: int) -> None:
        """Spend the weight of a question that is asked now; ``wait_ms`` has just said 0."""
        assert self.wait_ms(weight, now) == 0, "asked for more than the budget has"
        self._level -= weight * self._period_ms

    def pause(self, until: int) -> None:
        """Grant nothing before ``until``; a longer pause stays."""
        self._paused_until = until if self._paused_until is None else max(self._paused_until, until)

    def _refill(self, now: int) -> None:
        if self._at is not None:
            self._level = min(self._full, self._level + (now - self._at) * self._rate)
        self._at = now


class RestClient:
    """Asks one host of one venue; shared by everyone who asks there, since limits count per host.

    Args:
        base_url: Scheme and host, without a trailing slash.
        venue: Says which answers are successes.
        session: The gateway's one session. It must keep no cookies.
        clock: Gives times and timers.
        limits: The venue's documented limits, with a margin.
    """

    def __init__(
        self, base_url: str, venue: Venue, session: aiohttp.ClientSession, clock: Clock, limits: Limits | None = None
    ) -> None:
        self._base_url, self._venue, self._session, self._clock = base_url, venue, session, clock
        self._host = urlsplit(base_url).netloc
        limits = limits or Limits()
        self._budget = Budget(limits.weight, round(limits.period_s * 1000), limits.burst)
        self._timeout = aiohttp.ClientTimeout(total=limits.timeout_s)
        self._turn = asyncio.Lock()

    async def fetch(self, request: HttpRequest, sign: Sign) -> bytes:
        """Ask, and return the body of a successful answer.

        Args:
            request: The question; its path is sent exactly as it is, since signatures cover it.
            sign: Adds authentication; called when the request leaves, after all waiting.

        Raises:
            Retryable: The venue or the network cannot answer now. A stated ``after_s`` has paused the whole host.
            Rejected | AuthFailed: As ``Venue.check`` decides; Rejected also where the weight can never be granted.
            ProtocolViolation: The answer is larger than any answer can be.
        """
        await self._admit(request)
        where = f"{self._host}{request.path.partition('?')[0]}"
        try:
            status, headers, body = await self._exchange(sign(request), where)
            self._venue.check(request, status, headers, body)
        except Retryable as error:
            if error.after_s is not None:
                self._budget.pause(self._clock.now_ms() + round(error.after_s * 1000))
            raise
        return body

    async def _admit(self, request: HttpRequest) -> None:
        """Wait for the turn and the weight of a question; first come, first served."""
        if request.weight > self._budget.burst:
            what = f"a question of weight {request.weight} never fits into a burst of {self._budget.burst}"
            raise Rejected(self._host, what, do="Raise the burst of this host's limits")
        async with self._turn:
            while wait_ms := self._budget.wait_ms(request.weight, now := self._clock.now_ms()):
                await sleep_until(self._clock, now + wait_ms)
            self._budget.take(request.weight, now)

    async def _exchange(self, request: HttpRequest, where: str) -> tuple[int, Mapping[str, str], bytes]:
        headers = dict(request.headers)
        if request.body is not None and not any(name.lower() == "content-type" for name in headers):
            headers["Content-Type"] = "application/json"
        try:
            async with self._session.request(
                request.method,
                URL(self._base_url + request.path, encoded=True),  # encoded: not one byte of what was signed may change
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
