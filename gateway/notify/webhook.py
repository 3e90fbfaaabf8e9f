"""Signed webhooks, by the Standard Webhooks specification (https://www.standardwebhooks.com).

A request carries

    webhook-id         the notice's key, the same for every attempt: receivers know a repeated one by it (also as idempotency-key)
    webhook-timestamp  when this attempt was made, seconds
    webhook-signature  v1,BASE64(HMAC-SHA256(key, "{webhook-id}.{webhook-timestamp}.{body}"))

A receiver computes the same over the bytes it got, compares in constant time, and refuses timestamps more than five minutes off.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable

import aiohttp
import orjson
from aiohttp.abc import AbstractResolver
from yarl import URL

from gateway.core.alerts.records import Notice
from gateway.notify.addresses import PrivateAddress, PublicResolver, is_address, is_public
from gateway.notify.failure import DeliveryFailed

_TIMEOUT = aiohttp.ClientTimeout(total=10, connect=5)
_PRIVATE = "its address is of this machine or a private network. If it is meant: `allow_private: true` at this channel"
# What a later attempt may be answered otherwise; every other 3xx and 4xx stays what it is.
_AGAIN = frozenset({408, 425, 429})
_LONGEST_AFTER_S = 300.0


def sign(key: bytes, notice_id: str, timestamp_s: int, body: bytes) -> str:
    """Return the value of webhook-signature."""
    signed = b"%b.%d.%b" % (notice_id.encode(), timestamp_s, body)
    return "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()


def body_of(notice: Notice) -> bytes:
    """Return what is sent of a notice, JSON."""
    return orjson.dumps(
        {
            "type": f"alert.{notice.state}",
            "at": notice.at,
            "severity": notice.severity,
            "message": notice.message,
            "alert": dict(notice.row),
        }
    )


class Webhook:
    """One receiver.

    Args:
        url, key: Where it is, and what it is signed with; never shown.
        allow_private: It may be on this machine or in this network.
        wall_ms: True wall-clock time, for the timestamp.
        resolver: Of names, checked; None: the system's.
    """

    def __init__(
        self,
        url: URL,
        key: bytes,
        *,
        allow_private: bool,
        wall_ms: Callable[[], int],
        resolver: AbstractResolver | None = None,
    ) -> None:
        self._url, self._key, self._allow_private, self._wall_ms = url, key, allow_private, wall_ms
        self._resolver = resolver
        self._session: aiohttp.ClientSession | None = None

    async def send(self, notice: Notice) -> str:
        """Deliver a notice once; return what the receiver answered, in words.

        Raises:
            DeliveryFailed: It was not taken.
        """
        host = self._url.host or ""
        if not self._allow_private and is_address(host) and not is_public(host):
            raise DeliveryFailed(_PRIVATE, again=False)
        body, now_s = body_of(notice), self._wall_ms() // 1000
        headers = {
            "content-type": "application/json",
            "webhook-id": notice.key,
            "idempotency-key": notice.key,
            "webhook-timestamp": str(now_s),
            "webhook-signature": sign(self._key, notice.key, now_s, body),
        }
        try:
            # A redirect could lead anywhere: it is not followed.
            async with self._open().post(self._url, data=body, headers=headers, allow_redirects=False) as answer:
                return _judged(answer.status, answer.headers.get("retry-after"))
        except aiohttp.ClientConnectorDNSError as error:
            if isinstance(error.os_error, PrivateAddress):
                raise DeliveryFailed(_PRIVATE, again=False) from None
            raise DeliveryFailed("its host is not found", again=True) from None
        except aiohttp.InvalidURL:
            raise DeliveryFailed("its address is not a valid one", again=False) from None
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            # Only the kind of the error: its text may hold the address.
            raise DeliveryFailed(f"it cannot be reached ({type(error).__name__})", again=True) from None

    async def close(self) -> None:
        """Let go of the connection."""
        if self._session is not None:
            await self._session.close()

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            resolver = None if self._allow_private else self._resolver or PublicResolver()
            # No cache and no reuse: every request goes to addresses that were checked for it.
            connector = aiohttp.TCPConnector(resolver=resolver, use_dns_cache=False, force_close=True)
            self._session = aiohttp.ClientSession(
                connector=connector, timeout=_TIMEOUT, cookie_jar=aiohttp.DummyCookieJar()
            )
        return self._session


def _judged(status: int, retry_after: str | None) -> str:
    if 200 <= status < 300:
        return f"HTTP {status}"
    again = status in _AGAIN or status >= 500
    after_s = (
        float(retry_after) if retry_after is not None and retry_after.isascii() and retry_after.isdigit() else None
    )
    redirect = ": redirects are not followed" if 300 <= status < 400 else ""
    after_s = min(after_s, _LONGEST_AFTER_S) if after_s is not None else None
    raise DeliveryFailed(f"HTTP {status}{redirect}", again=again, after_s=after_s)
