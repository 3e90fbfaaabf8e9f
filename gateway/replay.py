"""Feed recordings through the same codecs and the same engine as the live path, and return the final tables.

Owns the recording's form, read and written: JSON Lines, one input a line,
``{"at": ms, "venue", "account", "via": "ws-private"|"ws-public"|"rest", "request", "data"}`` where ``data`` is the payload
exactly as the venue sent it. A line ``{"at": ms, "via": "settings", "data"}`` before them holds all of the gateway's configuration
that figures depend on; replay goes by the same, and by the defaults where there is none. Replay opens no socket and reads no clock:
time is what the lines say.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from typing import BinaryIO, Literal

import msgspec

from exchanges import VENUES
from exchanges.errors import AuthFailed, ProtocolViolation, VenueError
from exchanges.events import Event
from exchanges.venue import AccountSpec, Credentials, Data, HttpRequest, Link, Malformed, Venue
from gateway.config import Config, EngineSettings, ModelSettings
from gateway.core.accounts import AccountInfo
from gateway.core.explain import explain
from gateway.core.risk import RiskSettings
from gateway.core.stress import StressSettings
from gateway.engine import Engine

Via = Literal["ws-private", "ws-public", "rest"]
# A recording holds no secret: links are only read with, never logged in with.
_NOBODY = Credentials(key="replay", secret="replay", passphrase="replay")
_NOWHERE = "0x" + "0" * 40


class Line(msgspec.Struct):
    """One recorded input; ``data`` keeps its bytes, so that no digit changes."""

    at: int
    via: Via | Literal["settings"]
    data: msgspec.Raw
    venue: str = ""
    account: str | None = None
    request: msgspec.Raw = msgspec.Raw(b"null")


class Settings(msgspec.Struct, frozen=True):
    """All of the configuration that figures depend on, by its sections."""

    engine: EngineSettings = msgspec.field(default_factory=EngineSettings)
    models: ModelSettings = ModelSettings()
    risk: RiskSettings = RiskSettings()
    stress: StressSettings = StressSettings()


class Replay:
    """Reads lines and keeps the tables. ``failed``: how many lines could not be used."""

    def __init__(self, report: Callable[[str], None]) -> None:
        self._go_by(Settings())
        self.lines = self.failed = 0
        self._report = report
        self._links: dict[tuple[str, str | None], dict[str, Link]] = {}
        self._wanted: dict[str, int] = {}  # venue → the version of what is wanted that its public links know
        self._decoder = msgspec.json.Decoder(Line)

    def feed(self, lines: Iterable[bytes], name: str) -> None:
        """Read one recording; lines that cannot be parsed are reported with their number and reason, and skipped."""
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            self.lines += 1
            for problem in self._line(line):
                self.failed += 1
                self._report(f"{name}:{number}: {problem}")
                break  # a line counts once, with its first reason

    def _go_by(self, settings: Settings) -> None:
        self._settings = settings
        promoted, risk, stress = settings.models.promoted, settings.risk, settings.stress
        self.engine = Engine("replay", (), settings.engine, promoted=promoted, risk=risk, stress=stress)

    def _line(self, line: bytes) -> list[str]:
        try:
            found = self._decoder.decode(line)
            if found.via == "settings":
                return self._told(msgspec.json.decode(found.data, type=Settings))
        except msgspec.MsgspecError as bad:
            return [f"not a recorded input: {bad}"]
        venue = VENUES.get(found.venue)
        if venue is None:
            return [f"unknown venue {found.venue!r}; known: {', '.join(sorted(VENUES))}"]
        try:
            outputs = self._outputs(venue, found)
        except (VenueError, msgspec.MsgspecError) as bad:
            return [str(bad)]
        self.engine.turn([output for output in outputs if isinstance(output, Event)], found.at)
        return [output.what for output in outputs if isinstance(output, Malformed)]

    def _told(self, settings: Settings) -> list[str]:
        """Go by settings; what was replayed by others already cannot be changed any more."""
        if settings != self._settings:
            if self._links:
                return [
                    "recorded with other settings than what came before, which is gone by here too: replay it alone"
                ]
            self._go_by(settings)
        return []

    def _outputs(self, venue: Venue, line: Line) -> list[object]:
        data = bytes(line.data)
        if line.via != "rest":
            account = line.account or "main" if line.via == "ws-private" else None
            results: list[object] = []
            for link in self._connections(venue, account).values():
                results = list(link.receive(_frame(data), line.at))
                if not any(isinstance(result, Malformed) for result in results):
                    break  # the connection that understands it (a venue may have several public ones)
            return results
        request = _request(line.request)
        public = venue.is_public(request)
        answered: list[object] = []
        links = list(self._connections(venue, None if public else line.account or "main").values())
        if public:
            for link in links:
                answered += link.answer(request, data, line.at, line.at)
            return answered
        for link in links[:-1]:
            try:
                return list(link.answer(request, data, line.at, line.at))
            except ProtocolViolation:
                continue  # a venue may be read in two ways; the last one says what is wrong
        return list(links[-1].answer(request, data, line.at, line.at))

    def _connections(self, venue: Venue, account: str | None) -> dict[str, Link]:
        key = (venue.name, account)
        if key not in self._links:
            endpoints = venue.endpoints("live", None)
            if account is None:
                factories = venue.public_links("live", endpoints)
            else:
                factories = {}
                for way, spec in enumerate(_ways(venue, account)):
                    with contextlib.suppress(AuthFailed):  # a venue that is read by address alone
                        found = venue.private_links(spec, endpoints)
                        factories |= {f"{way}:{name}": factory for name, factory in found.items()}
                self.engine.add_account(AccountInfo(name=account, venue=venue.name, env="live"))
            self._links[key] = {name: factory() for name, factory in factories.items()}
        if account is None:
            self._want(venue.name, self._links[key].values())
        return self._links[key]

    def _want(self, venue: str, links: Iterable[Link]) -> None:
        """Say what is held and backs it: one stream can bring marks and prices of currencies, each only where it is wanted."""
        market = self.engine.market
        if self._wanted.get(venue) != market.version:
            self._wanted[venue] = market.version
            symbols, currencies = (
                found.get((venue, "live"), ()) for found in (market.wanted(), market.wanted_currencies())
            )
            for link in links:
                link.price_topics(symbols, currencies)

    def snapshot(self, *, with_explain: bool) -> dict[str, object]:
        """Return the final tables in the shape of ``GET /v1/snapshot``."""
        tables = self.engine.tables
        self.engine.clock(tables.at)
        found: dict[str, object] = {"epoch": tables.epoch, "seq": tables.seq, "at": tables.at}
        for table in tables:
            found[table.name] = {
                row_id: table.version(slot).row for row_id in table.ids() if (slot := table.slot(row_id)) is not None
            }
        return explained(self.engine, found) if with_explain else found


def explained(engine: Engine, tables: dict[str, object]) -> dict[str, object]:
    """Return tables in which each position says how its figures came about."""
    rows = {
        row_id: row | {"explain": explain(engine.positions[row_id], engine.book, engine.positions)}
        for row_id, row in dict(tables["positions"]).items()  # type: ignore[call-overload]  # rows by id
    }
    return tables | {"positions": rows}


def _ways(venue: Venue, account: str) -> list[AccountSpec]:
    """Return the ways in which an account may have been read: with a key, or by its address alone."""
    by_address = AccountSpec(name=account, venue=venue.name, address=_NOWHERE)
    keyed = msgspec.structs.replace(by_address, credentials=_NOBODY)
    return [keyed] if venue.capabilities.needs_credentials else [keyed, by_address]


def _frame(data: bytes) -> Data:
    """Return a WebSocket frame: bare text such as ``pong`` is recorded as a JSON string."""
    return msgspec.json.decode(data, type=str) if data.startswith(b'"') else data


def _request(request: msgspec.Raw) -> HttpRequest:
    """Return what was asked: a path with query, or a Hyperliquid body (an object, or its text)."""
    asked = msgspec.json.decode(request)
    if isinstance(asked, dict):
        return HttpRequest(method="POST", path="/info", body=bytes(request).decode())
    if not isinstance(asked, str):
        raise msgspec.ValidationError("a rest line needs `request`: a path with query, or a body")
    if asked.lstrip().startswith("{"):
        return HttpRequest(method="POST", path="/info", body=asked)
    return HttpRequest(path=asked)


class Recorder:
    """Writes inputs in the recording's form; one line each, flushed by the file's own buffer and at ``close``."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def settings(self, config: Config, at: int) -> None:
        """Note what of the configuration figures depend on; before anything else, at every start."""
        data = {name: getattr(config, name) for name in Settings.__struct_fields__}
        self._file.write(msgspec.json.encode({"at": at, "via": "settings", "data": data}) + b"\n")

    def write(self, venue: str, account: str | None, via: Via, request: object, data: Data, at: int) -> None:
        """Append one input.

        Args:
            request: What was asked by REST: a path with its query, or the decoded body; None for what a stream sent.
            at: Time of receipt, ms.
        """
        raw = data.encode() if isinstance(data, str) else data
        line = {
            "at": at,
            "venue": venue,
            "account": account,
            "via": via,
            "request": request,
            "data": msgspec.Raw(raw) if _is_json(raw) else raw.decode(errors="replace"),
        }
        self._file.write(msgspec.json.encode(line).replace(b"\n", b" ") + b"\n")

    def close(self) -> None:
        """Write what is buffered and close the file."""
        self._file.close()


def _is_json(raw: bytes) -> bool:
    try:
        msgspec.json.decode(raw, type=msgspec.Raw)
    except msgspec.MsgspecError:
        return False
    return True
