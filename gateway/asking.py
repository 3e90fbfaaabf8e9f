"""Questions of the commands to the running gateway, over its REST."""

from __future__ import annotations

from typing import Any

import aiohttp
import msgspec


class NoAnswer(Exception):
    """The gateway refuses, in its own words; they say what to do."""


class NoGateway(NoAnswer):
    """No gateway answers at that address; the message says what to do."""


async def ask(url: str, path: str, *, timeout_s: float = 30.0, method: str = "GET", **given: Any) -> Any:
    """Return the gateway's answer, decoded.

    Args:
        url: The gateway's. ``given``: as aiohttp takes it: ``params``, ``json``.

    Raises:
        NoAnswer: It refuses, or nobody listens there (NoGateway).
    """
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=timeout_s)) as session,
            session.request(method, url + path, **given) as response,
        ):
            answer = msgspec.json.decode(await response.read())
    except (aiohttp.ClientError, OSError, TimeoutError, msgspec.DecodeError) as error:
        raise NoGateway(
            f"no gateway answers at {url} ({type(error).__name__}). Start it, or name it with --url"
        ) from None
    if response.status != 200:
        raise NoAnswer(str(answer.get("detail", answer)) if isinstance(answer, dict) else str(answer))
    return answer
