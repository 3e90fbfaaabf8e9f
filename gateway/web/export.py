"""Records as files: CSV or JSON Lines, by the ``Accept`` header, streamed.

Owns the two forms and how long a client may leave what is sent to it. A stream takes one chunk of records at a time, and asks for
the next one when the client has taken this one: a million rows need no more memory than ten. What breaks off is cut, so that no
part is taken for the whole.
"""

from __future__ import annotations

import asyncio
import csv
import io
import re
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any, Literal

import orjson
import structlog
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from gateway.core.protocol import Refusal

log = structlog.get_logger("perpwire")

Form = Literal["json", "csv", "ndjson"]
CSV, NDJSON = "text/csv", "application/x-ndjson"
_FORMS: dict[str, Form] = {
    "application/json": "json",
    CSV: "csv",
    NDJSON: "ndjson",
    "*/*": "json",
    "text/*": "csv",
    "application/*": "json",
}
# A client that takes nothing for so long is cut off.
STALLED_S = 30.0
# Where an ASGI server leaves what cuts a connection (gateway.web.server).
ABORT = "perpwire.abort"

_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
# Programs for tables take a text that begins so for a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def form_of(request: Request) -> Form:
    """Return the form that a request prefers; JSON where it does not say."""
    best, found = 0.0, "json"
    for part in request.headers.get("accept", "").split(","):
        media, *params = (one.strip().lower() for one in part.split(";"))
        weight = next((one[2:] for one in params if one.startswith("q=")), "1")
        share = float(weight) if re.fullmatch(r"[01](\.\d{0,3})?", weight) else 0.0
        if media in _FORMS and share > best:
            best, found = share, _FORMS[media]
    return found  # type: ignore[return-value]  # of the table above


def lines(rows: Iterable[Mapping[str, object]], columns: Sequence[str]) -> bytes:
    """Return rows as CSV (RFC 4180), without a head; what is unknown is empty."""
    file = io.StringIO()
    writer = csv.writer(file)
    for row in rows:
        writer.writerow([cell(row.get(name)) for name in columns])
    return file.getvalue().encode()


def cell(value: object) -> str:
    """Return a value as a cell: numbers as they are, lists and objects as JSON.

    A text that a program would take for a formula gets an apostrophe before it, as such programs mark texts themselves. Numbers
    never do, also those that are texts because their digits are exact.
    """
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, str):
        return str(value) if isinstance(value, int | float) else orjson.dumps(value).decode()
    return f"'{value}" if value.startswith(_FORMULA) and not _NUMBER.fullmatch(value) else value


class Export(Response):
    """Sends chunks of records in a form, as long as the client takes them."""

    def __init__(
        self, form: Literal["csv", "ndjson"], columns: Sequence[str], chunks: AsyncIterator[Sequence[str]], name: str
    ) -> None:
        """Args:
        columns: Of a CSV file. ``chunks``: records as JSON. ``name``: of the file, for browsers.
        """
        super().__init__(media_type=f"{CSV}; charset=utf-8; header=present" if form == "csv" else NDJSON)
        del self.headers["content-length"]
        self.headers["content-disposition"] = f'attachment; filename="{name}.{"csv" if form == "csv" else "jsonl"}"'
        self._form, self._columns, self._chunks = form, columns, chunks
        self.stalled_s = STALLED_S

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send (ASGI). Raises Refusal where not even the first chunk can be had."""
        first = await _next(self._chunks)
        gone = asyncio.create_task(_disconnected(receive))
        try:
            await self._send(scope, send, first, gone)
        finally:
            gone.cancel()
            if hasattr(self._chunks, "aclose"):
                await self._chunks.aclose()

    async def _send(self, scope: Scope, send: Send, chunk: Sequence[str], gone: asyncio.Task[None]) -> None:
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            body = (
                lines([dict(zip(self._columns, self._columns, strict=True))], self._columns)
                if self._form == "csv"
                else b""
            )
            while chunk and not gone.done():
                async with asyncio.timeout(self.stalled_s):
                    await send({"type": "http.response.body", "body": body + self._encode(chunk), "more_body": True})
                body = b""
                chunk = await _next(self._chunks)
            async with asyncio.timeout(self.stalled_s):
                await send({"type": "http.response.body", "body": body})
        except (TimeoutError, Refusal) as error:
            what = (
                f"the client took nothing for {self.stalled_s:g} s" if isinstance(error, TimeoutError) else str(error)
            )
            log.warning("an export was cut off", path=scope["path"], why=what)
            scope.get("state", {}).get(ABORT, lambda: None)()
            await asyncio.sleep(0)  # the connection's end is told before we return

    def _encode(self, chunk: Sequence[str]) -> bytes:
        if self._form == "csv":
            return lines(map(orjson.loads, chunk), self._columns)
        return "".join(f"{record}\n" for record in chunk).encode()


async def _next(chunks: AsyncIterator[Sequence[str]]) -> Sequence[str]:
    """Return the next chunk; nothing where there is none."""
    async for chunk in chunks:
        return chunk
    return ()


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def whole(rows: Iterable[Mapping[str, Any]]) -> AsyncIterator[list[str]]:
    """Yield rows that are at hand as one chunk."""
    found = [orjson.dumps(row).decode() for row in rows]
    if found:
        yield found
