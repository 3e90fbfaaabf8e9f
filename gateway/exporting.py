"""``perpwire export``: stored records as a file, from the running gateway, or from its database where none runs.

Owns the names of what can be exported and the file. Both ways go through the same routes, so that a file is the same: without a
gateway the application is asked in this process.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import BinaryIO, Protocol
from urllib.parse import urlencode

import aiohttp
import msgspec
from starlette.types import ASGIApp, Message

from gateway.asking import NoAnswer, NoGateway
from gateway.config import Config
from gateway.core.accounts import AccountInfo
from gateway.engine import Engine
from gateway.history_desk import HistoryDesk
from gateway.hub import Hub
from gateway.store import reading
from gateway.web.app import build_app
from gateway.web.state import ServerState

TABLES = {
    "history": "/v1/positions/history",
    "fills": "/v1/fills",
    "funding": "/v1/funding",
    "transfers": "/v1/transfers",
    "pnl": "/v1/pnl",
    "pnl_records": "/v1/pnl/records",
    "equity": "/v1/equity",
    "reconciliations": "/v1/reconciliations",
    "verifications": "/v1/verifications",
    "positions": "/v1/positions/at",
}
FORMS = {"csv": "text/csv", "jsonl": "application/x-ndjson"}
_LINE_S = 60.0  # the gateway may take so long for the next part


class Sent(Protocol):
    """Takes what is exported, part by part."""

    def __call__(self, data: bytes, /) -> object: ...


async def export(
    config: Config, url: str, table: str, form: str, query: Mapping[str, str], write: Sent, *, alone: bool
) -> None:
    """Write a table in a form, from the gateway at ``url``; ``alone``: from the database where nobody listens there.

    Raises:
        NoAnswer: The question is refused, or the answer broke off: what was written is a part.
        StorageError: No gateway answers, and the database cannot be used either.
    """
    path = TABLES[table] + (f"?{urlencode(query)}" if query else "")
    try:
        await _from_gateway(url + path, FORMS[form], write)
    except NoGateway:
        if not alone:
            raise
        async with _application(config) as app:
            await _from_application(app, path, FORMS[form], write)


async def _from_gateway(url: str, accept: str, write: Sent) -> None:
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=10.0, sock_read=_LINE_S)
    begun = False
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.get(url, headers={"accept": accept}) as answer,
        ):
            begun = True
            if answer.status != 200:
                raise NoAnswer(_detail(await answer.read()))
            async for part in answer.content.iter_any():
                write(part)
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        if begun:
            raise NoAnswer("the answer broke off; the gateway's log says why. Ask again") from None
        raise NoGateway(f"no gateway answers at {url} ({type(error).__name__})") from None


def _detail(body: bytes) -> str:
    try:
        return str(msgspec.json.decode(body, type=dict[str, object]).get("detail"))
    except msgspec.MsgspecError:
        return body[:200].decode(errors="replace")


@contextlib.asynccontextmanager
async def _application(config: Config) -> AsyncIterator[ASGIApp]:
    """Lend the gateway's application without its venues."""
    infos = [
        AccountInfo(name=name, venue=one.venue, env=one.env, user=one.user, strategy=one.strategy)
        for name, one in config.accounts.items()
    ]
    engine = Engine("export", infos, config.engine, promoted=config.models.promoted, rules=())
    async with reading(config.storage) as reader:
        state = ServerState(
            hub=Hub.on(asyncio.get_running_loop(), engine.tables, config.limits),
            version=version("perpwire"),
            accounts=engine.accounts.keys,
            history=HistoryDesk(engine, lambda: reader, _now_ms),
            now_ms=_now_ms,
        )
        yield build_app(state)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


async def _from_application(app: ASGIApp, path: str, accept: str, write: Sent) -> None:
    """Put one question to the application in this process, as a server would."""
    plain, _, query = path.partition("?")
    status, whole, refusal = 0, False, bytearray()

    async def receive() -> Message:
        if status:
            await asyncio.Event().wait()  # nobody goes away
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        nonlocal status, whole
        if message["type"] == "http.response.start":
            status = message["status"]
            return
        (write if status == 200 else refusal.extend)(message.get("body", b""))
        whole = not message.get("more_body", False)

    scope = {
        "type": "http", "http_version": "1.1", "method": "GET", "scheme": "http", "path": plain, "root_path": "", "state": {},
        "query_string": query.encode(), "headers": [(b"host", b"localhost"), (b"accept", accept.encode())],
    }  # fmt: skip
    await app(scope, receive, send)
    if status != 200:
        raise NoAnswer(_detail(bytes(refusal)))
    if not whole:
        raise NoAnswer("the answer broke off: the database did not answer to the end. Ask again")


@contextlib.contextmanager
def target(path: Path | None) -> Iterator[BinaryIO]:
    """Lend the file that is written; it has its name once it is whole. None: standard output.

    Raises:
        OSError: It cannot be written.
    """
    if path is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    part = path.with_name(path.name + ".part")
    try:
        with part.open("wb") as file:
            yield file
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
