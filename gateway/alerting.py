"""``perpwire alerts``: what fires, and whether the channels work, through the running gateway.

Owns the questions to the gateway and the text of its answers.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import aiohttp
import msgspec

_TIMEOUT_S = 90.0  # apprise is waited for a minute


class NoGateway(Exception):
    """No gateway answers at that address; the message says what to do."""


async def listed(url: str) -> list[dict[str, Any]]:
    """Return all alerts, the worst first.

    Raises:
        NoGateway: Nobody listens there.
        ValueError: The gateway refuses; the message is its own.
    """
    rows: list[dict[str, Any]] = []
    cursor = ""
    while True:
        answer = await _ask(
            "GET", f"{url}/v1/alerts", params={"limit": "5000"} | ({"cursor": cursor} if cursor else {})
        )
        rows += [{"id": id_, **row} for id_, row in answer["alerts"].items()]
        cursor = answer.get("next_cursor", "")
        if not cursor:
            return sorted(rows, key=_rank)


async def tested(url: str, rule: str) -> dict[str, Any]:
    """Send a test of a rule and return what each channel answered. Raises as ``listed``."""
    answer = await _ask("POST", f"{url}/internal/alerts/test", json={"rule": rule})
    found: dict[str, Any] = answer["channels"]
    return found


async def _ask(method: str, url: str, **given: Any) -> dict[str, Any]:
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_TIMEOUT_S)) as session,
            session.request(method, url, **given) as response,
        ):
            answer: dict[str, Any] = msgspec.json.decode(await response.read())
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        raise NoGateway(
            f"no gateway answers at {url} ({type(error).__name__}). Start it, or name it with --url"
        ) from None
    if response.status != 200:
        raise ValueError(str(answer.get("detail", answer)))
    return answer


_STATES = ("firing", "pending", "resolved")
_SEVERITIES = ("critical", "error", "warning", "info")


def _rank(row: dict[str, Any]) -> tuple[int, int, str]:
    return _STATES.index(row["state"]), _SEVERITIES.index(row["severity"]), row["id"]


def report(rows: list[dict[str, Any]]) -> Iterator[str]:
    """Yield the lines of a list for humans."""
    for row in rows:
        marks = [mark for mark in ("acknowledged", "silenced_until") if row.get(mark)]
        noted = f" [{', '.join(mark.removesuffix('_until') for mark in marks)}]" if marks else ""
        yield f"{row['state']} {row['severity']}{noted}  {row['id']}: {row['message']}"
    if not rows:
        yield "no alerts"


def answers(channels: dict[str, Any]) -> Iterator[str]:
    """Yield what each channel answered for humans."""
    for name, answer in channels.items():
        yield f"{name}: {'delivered' if answer['ok'] else 'failed'}: {answer['answer']}"
    if not channels:
        yield "no channel is told of this rule: add one under `alerts.channels`, or see its `notify`"
