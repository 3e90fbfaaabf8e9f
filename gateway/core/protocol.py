"""The client contract as types and bytes: commands in, frames out, codes and limits. Pure.

Owns the words of the protocol, each in one table. Never decides who gets what (access, hub) and never does I/O.
"""

from __future__ import annotations

import enum
import hashlib
from base64 import b32encode
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec
import orjson

from gateway.core.tables import Selection, Version

PROTOCOL = 1
# A frame's rows are cut into pieces of about this many bytes (common clients refuse messages over 1 MiB).
PIECE_BYTES = 512 * 1024

CommandId = int | str | None


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What one client may use, and how long it may be silent.

    Attributes:
        heartbeat_ms: Pings and heartbeats are sent this often.
        dead_after_ms: A client of whom nothing came (pong, command, progress in draining) for this long is closed, 4002.
        drain_ms: A client whose full socket made no progress for this long is closed, 4001.
        close_ms: A closing handshake may take this long; then the connection is cut.
        max_message_bytes: Size of a message from a client, and of the body of a request.
        max_subscriptions: Subscriptions of one connection.
        max_connections: Connections in all, 503 beyond; ``max_connections_per_principal``: of one principal, 4103 beyond.
        commands_per_s: Sustained rate of commands of one connection, with bursts of twice that.
        send_buffer_bytes: The kernel's send buffer of a connection (SO_SNDBUF): what is in it can no longer be conflated.
        write_buffer_bytes: Bytes waiting in our own memory above which a client counts as slow.
    """

    heartbeat_ms: int = 15_000
    dead_after_ms: int = 90_000
    drain_ms: int = 30_000
    close_ms: int = 3_000
    max_message_bytes: int = 64 * 1024
    max_subscriptions: int = 64
    max_connections: int = 10_000
    max_connections_per_principal: int = 10_000
    commands_per_s: int = 50
    send_buffer_bytes: int = 128 * 1024
    write_buffer_bytes: int = 64 * 1024


class Close(enum.Enum):
    """Why the server closes a stream: (code, reason). 4000-4099: come back, with ``since``; 4100-4199: do not."""

    GOING_AWAY = (4000, "going away")
    NOT_DRAINED = (4001, "not drained")
    DEAD = (4002, "dead")
    BAD_TOKEN = (4100, "bad token")
    EXPIRED = (4101, "expired")
    MALFORMED = (4102, "malformed")
    LIMITS = (4103, "limits")
    FORBIDDEN_ORIGIN = (4104, "forbidden origin")

    @property
    def code(self) -> int:
        """The close code on the wire."""
        return self.value[0]

    @property
    def reason(self) -> str:
        """The close reason on the wire."""
        return self.value[1]


def may_return(close_code: int | None) -> bool:
    """Say whether a client that was closed with this code should connect again. None: the connection broke."""
    return close_code is None or not 4100 <= close_code <= 4199


class ErrorKind(NamedTuple):
    """One kind of refusal: whether asking again later can help, its HTTP status, and its title."""

    retry: bool
    status: int
    title: str


ERRORS: dict[str, ErrorKind] = {
    "bad_command": ErrorKind(False, 400, "The command is not understood"),
    "bad_filter": ErrorKind(False, 400, "The filter does not fit"),
    "bad_cursor": ErrorKind(False, 400, "The cursor does not fit"),
    "bad_scenario": ErrorKind(False, 400, "The scenario cannot be computed"),
    "bad_interval": ErrorKind(False, 400, "The interval does not fit"),
    "unknown_account": ErrorKind(False, 400, "The account is not known"),
    "unknown_table": ErrorKind(False, 400, "The table is not known"),
    "unknown_sub": ErrorKind(False, 400, "The subscription is not known"),
    "auth_off": ErrorKind(False, 400, "Authentication is not in use"),
    "unauthorized": ErrorKind(False, 401, "Who is asking is not known"),
    "forbidden_host": ErrorKind(False, 403, "The Host header names another server"),
    "forbidden_origin": ErrorKind(False, 403, "The page that asks belongs to another site"),
    "not_found": ErrorKind(False, 404, "There is nothing here"),
    "method_not_allowed": ErrorKind(False, 405, "The method is not allowed here"),
    "upgrade_required": ErrorKind(False, 426, "This is a WebSocket"),
    "too_many_subscriptions": ErrorKind(False, 429, "Too many subscriptions"),
    "too_many_commands": ErrorKind(True, 429, "Too many commands"),
    "internal": ErrorKind(True, 500, "The gateway failed"),
    "too_many_connections": ErrorKind(True, 503, "Too many connections"),
    "not_ready": ErrorKind(True, 503, "Not ready"),
    "venue_unreachable": ErrorKind(True, 503, "The venue cannot be asked"),
    "storage_unreachable": ErrorKind(True, 503, "What is stored cannot be asked"),
}


class Refusal(Exception):
    """A client's request that is refused: ``code`` is a key of ``ERRORS``, ``message`` says what, where and what to do."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code, message)
        self.code, self.message, self.kind = code, message, ERRORS[code]

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


class Malformed(Exception):
    """What came is no command at all: the peer does not speak this protocol."""


# --- Commands ---------------------------------------------------------------------------------------------------------


class Since(msgspec.Struct, frozen=True):
    """Where a client stands: its cursor in a selection of an epoch."""

    epoch: str
    seq: int
    sub: str


class Subscribe(msgspec.Struct, frozen=True, tag_field="op", tag="subscribe"):
    """Ask for a selection of a table."""

    table: str
    id: CommandId = None
    accounts: list[str] | None = None
    symbols: list[str] | None = None
    since: Since | None = None
    min_interval_ms: int = 0


class Unsubscribe(msgspec.Struct, frozen=True, tag_field="op", tag="unsubscribe"):
    """Give up a subscription."""

    sub: str
    id: CommandId = None


class Ping(msgspec.Struct, frozen=True, tag_field="op", tag="ping"):
    """Ask for a pong."""

    id: CommandId = None


class Auth(msgspec.Struct, frozen=True, tag_field="op", tag="auth"):
    """Say who one is. Its repr shows no token."""

    token: str
    id: CommandId = None

    def __repr__(self) -> str:
        return f"Auth(token=…, id={self.id!r})"


Command = Subscribe | Unsubscribe | Ping | Auth

_commands: msgspec.json.Decoder[Command] = msgspec.json.Decoder(Command)


class _Identified(msgspec.Struct):
    id: CommandId = None


_identified = msgspec.json.Decoder(_Identified)


class BadCommand(Refusal):
    """A JSON object that is no valid command; ``id`` is the one it carried, where it had one."""

    def __init__(self, message: str, id_: CommandId) -> None:
        super().__init__("bad_command", message)
        self.id = id_


def parse_command(text: bytes) -> Command:
    """Return the command in a message.

    Raises:
        BadCommand: A JSON object, but no command (unknown ``op``, missing or mistyped field).
        Malformed: Not even a JSON object.
    """
    try:
        return _commands.decode(text)
    except msgspec.ValidationError as error:
        raise BadCommand(str(error), _id_of(text)) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Malformed(str(error)) from None


def _id_of(text: bytes) -> CommandId:
    try:
        return _identified.decode(text).id
    except msgspec.ValidationError:
        if not text.lstrip().startswith(b"{"):
            raise Malformed("a command is a JSON object") from None
        return None


# --- Selections -------------------------------------------------------------------------------------------------------


def sub_of(*selections: Selection) -> str:
    """Return the stable hash that names a selection (or several asked together): the same in every process."""
    return b32encode(hashlib.blake2b(msgspec.json.encode(selections), digest_size=10).digest()).decode().lower()


# --- Frames -----------------------------------------------------------------------------------------------------------


def text_frame(payload: bytes) -> bytes:
    """Return a payload as one unmasked WebSocket text frame (RFC 6455, section 5.2): every client gets the same bytes."""
    size = len(payload)
    if size < 126:
        return bytes((0x81, size)) + payload
    if size < 65_536:
        return b"\x81\x7e" + size.to_bytes(2, "big") + payload
    return b"\x81\x7f" + size.to_bytes(8, "big") + payload


# An empty ping (RFC 6455, section 5.5.2).
PING_FRAME = b"\x89\x00"


def row_member(version: Version) -> bytes:
    """Return ``"id":{whole row}``."""
    return orjson.dumps(version.id) + b":" + version.encoded


def patch_member(id_: str, patch: bytes) -> bytes:
    """Return ``"id":{patch}``."""
    return orjson.dumps(id_) + b":" + patch


def gone_member(id_: str) -> bytes:
    """Return ``"id":null``."""
    return orjson.dumps(id_) + b":null"


def snapshot_payloads(sub: str, table: str, epoch: str, seq: int, at: int, rows: Iterable[bytes]) -> list[bytes]:
    """Return a snapshot; where it is over ``PIECE_BYTES``, as a first frame and deltas of rows, all but the last ``more``."""
    pieces = _pieces(rows)
    head = _head("snapshot", sub, table) + b',"epoch":%b,"seq":%d,"at":%d' % (orjson.dumps(epoch), seq, at)
    first = head + _more(len(pieces) > 1) + b',"rows":{' + pieces[0] + b"}}"
    rest = [
        _delta(sub, table, seq, seq, at, piece, b"", more=number < len(pieces))
        for number, piece in enumerate(pieces[1:], start=2)
    ]
    return [first, *rest]


def delta_payloads(
    sub: str, table: str, prev: int, seq: int, at: int, rows: Iterable[bytes], patch: Iterable[bytes]
) -> list[bytes]:
    """Return a delta; where it is over ``PIECE_BYTES``, in pieces that only the last of moves the cursor from ``prev``.

    A client that is cut off between two pieces resumes from ``prev`` and gets whole rows: what it has is never ahead of
    what its cursor makes the server send again.
    """
    parts = [(piece, b"") for piece in _pieces(rows)] + [(b"", piece) for piece in _pieces(patch)]
    parts = [part for part in parts if part != (b"", b"")]
    if len(parts) == 2 and sum(map(len, parts[0] + parts[1])) <= PIECE_BYTES:
        parts = [(parts[0][0] or parts[1][0], parts[0][1] or parts[1][1])]
    if not parts:
        parts = [(b"", b"")]
    last = len(parts) - 1
    return [
        _delta(sub, table, prev, seq if number == last else prev, at, rows_, patch_, more=number < last)
        for number, (rows_, patch_) in enumerate(parts)
    ]


def _delta(sub: str, table: str, prev: int, seq: int, at: int, rows: bytes, patch: bytes, *, more: bool) -> bytes:
    return b"".join(
        (
            _head("delta", sub, table),
            b',"prev":%d,"seq":%d,"at":%d' % (prev, seq, at),
            _more(more),
            b',"rows":{' + rows + b"}" if rows else b"",
            b',"patch":{' + patch + b"}" if patch else b"",
            b"}",
        )
    )


def _head(kind: str, sub: str, table: str) -> bytes:
    return b'{"type":"%b","sub":"%b","table":%b' % (kind.encode(), sub.encode(), orjson.dumps(table))


def _more(more: bool) -> bytes:
    return b',"more":true' if more else b""


def _pieces(members: Iterable[bytes]) -> list[bytes]:
    """Join members to pieces of at most ``PIECE_BYTES`` (one larger member alone is a piece); at least one piece."""
    pieces: list[bytes] = []
    piece: list[bytes] = []
    size = 0
    for member in members:
        if piece and size + len(member) > PIECE_BYTES:
            pieces.append(b",".join(piece))
            piece, size = [], 0
        piece.append(member)
        size += len(member) + 1
    return [*pieces, b",".join(piece)]


def hello(server: str, epoch: str, seq: int, durable_seq: int, heartbeat_ms: int) -> bytes:
    """Return the first frame of every connection."""
    return _control(
        {
            "type": "hello",
            "protocol": PROTOCOL,
            "server": server,
            "epoch": epoch,
            "seq": seq,
            "durable_seq": durable_seq,
            "heartbeat_ms": heartbeat_ms,
        }
    )


def subscribed(id_: CommandId, sub: str, *, recovered: bool) -> bytes:
    """Return the answer to a subscribe; it precedes every frame of its ``sub``."""
    return _control({"type": "subscribed", **_echo(id_), "sub": sub, "recovered": recovered})


def unsubscribed(id_: CommandId, sub: str) -> bytes:
    """Return the answer to an unsubscribe; no frame of its ``sub`` follows."""
    return _control({"type": "unsubscribed", **_echo(id_), "sub": sub})


def heartbeat(seq: int) -> bytes:
    """Return "complete up to ``seq``"."""
    return _control({"type": "heartbeat", "seq": seq})


def pong(id_: CommandId) -> bytes:
    """Return the answer to a ping."""
    return _control({"type": "pong", **_echo(id_)})


def error(id_: CommandId, refusal: Refusal) -> bytes:
    """Return a refusal."""
    body = {"code": refusal.code, "message": refusal.message, "retry": refusal.kind.retry}
    return _control({"type": "error", **_echo(id_), **body})


def _echo(id_: CommandId) -> dict[str, object]:
    return {} if id_ is None else {"id": id_}


def _control(frame: dict[str, object]) -> bytes:
    return orjson.dumps(frame)


def joined(payloads: Sequence[bytes]) -> bytes:
    """Return payloads as consecutive WebSocket frames in one piece of bytes, to be written at once."""
    return b"".join(map(text_frame, payloads))
