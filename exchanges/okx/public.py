"""The public connection of OKX: marks, contracts and position tiers of one environment, for all its accounts.

Owns protocol state only. Pure: no I/O, no clock. Source: OKX v5 docs, mark-price channel and public data.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from urllib.parse import parse_qs, urlsplit

import msgspec

from exchanges.errors import ProtocolViolation
from exchanges.okx import build, contracts, tables, wire
from exchanges.okx.session import Session, decode_all, decode_some
from exchanges.venue import Ask, HttpRequest, Notice, Output

_INSTRUMENT = msgspec.json.Decoder(wire.InstrumentRow)
_TIER = msgspec.json.Decoder(wire.TierRow)
_MARK = msgspec.json.Decoder(wire.MarkRow)

_EXPIRY = re.compile(r"-[0-9]{6}$")


class PublicLink(Session):
    """Marks and contracts of one environment.

    Contracts come first by REST. A symbol that is not among them (listed later, renamed) has them asked again, once; the
    position tiers of a family are asked when a symbol of it is first wanted. Both as ``Ask`` out of the next ``receive``
    or ``answer``, of which the marks themselves bring several a second.
    """

    connection = "public"

    def __init__(self, url: str, env: str) -> None:
        super().__init__(url, demo=env == "demo")
        self._env = env
        self._loaded: set[str] = set()  # types whose contracts have arrived
        self._families: dict[str, tuple[str, str]] = {}  # symbol → type and family
        self._wanted: set[str] = set()
        self._unserved: set[str] = set()  # wanted symbols that may still need a question
        self._asked_again: set[str] = set()  # unknown symbols
        self._tiers_asked: set[tuple[str, str]] = set()

    @property
    def ready(self) -> bool:
        """True when the contracts of every modelled type have arrived."""
        return self._loaded.issuperset(tables.MODELLED)

    def topics(self) -> tuple[str, ...]:
        """Return one mark that is always wanted: the venue closes a connection without a subscription."""
        return (build.mark_topic(tables.ALWAYS_SYMBOL),)

    def price_topics(self, symbols: Iterable[str], currencies: Iterable[str] = ()) -> tuple[str, ...]:
        """Return one topic a symbol, and remember to ask for the tiers of those that are new."""
        named = tuple(symbols)
        self._unserved.update(set(named) - self._wanted)
        self._wanted.update(named)
        return tuple(build.mark_topic(symbol) for symbol in named)

    def unsubscribe(self, topics: Sequence[str]) -> list[str]:
        """Return the frames that unsubscribe those topics, but never the one that keeps the connection open."""
        self._wanted.difference_update(topic.partition(":")[2] for topic in topics)
        return super().unsubscribe([topic for topic in topics if topic not in self.topics()])

    def bootstrap(self) -> list[HttpRequest]:
        """Ask for the contracts of every modelled type."""
        return [build.instruments_request(inst_type) for inst_type in tables.MODELLED]

    def _data(self, arg: wire.Arg, frame: wire.Frame, rows: list[msgspec.Raw]) -> list[Output]:
        if arg.channel == build.MARK_PRICE:
            good, notes, _ = decode_some(rows, _MARK, "mark-price")
            return [*notes, *(contracts.parse_mark(row, self._env) for row in good)]
        if arg.channel == "instruments":
            instruments, notes, _ = decode_some(rows, _INSTRUMENT, "instruments")
            return notes + self._instruments(instruments)
        return super()._data(arg, frame, rows)

    def _answered(self, request: HttpRequest, rows: list[msgspec.Raw], asked_at: int) -> list[Output]:
        target = urlsplit(request.path)
        inst_type = parse_qs(target.query).get("instType", [""])[0]
        if target.path == tables.INSTRUMENTS_PATH:
            instruments, notes, _ = decode_some(rows, _INSTRUMENT, request.path)
            if rows and not instruments:
                raise ProtocolViolation(f"{tables.NAME} {request.path}", "no row can be read")
            self._loaded.add(inst_type)
            return notes + self._instruments(instruments)
        if target.path == tables.TIERS_PATH:
            return [*contracts.parse_tiers(decode_all(rows, _TIER, request.path), inst_type, self._env)]
        if target.path == tables.MARK_PRICE_PATH:
            return [contracts.parse_mark(row, self._env) for row in decode_all(rows, _MARK, request.path)]
        return super()._answered(request, rows, asked_at)

    def _instruments(self, rows: Iterable[wire.InstrumentRow]) -> list[Output]:
        out: list[Output] = []
        left: list[str] = []
        for row in rows:
            instrument = contracts.parse_instrument(row, self._env) if row.inst_type in tables.MODELLED else None
            if instrument is None:
                # Before its opening a market has no contract yet, and nobody a position in it.
                if row.state not in ("preopen", "test"):
                    left.append(row.inst_id)
                continue
            if instrument.tiers_key is not None:
                inst_type, _, family = instrument.tiers_key.partition(":")
                self._families[row.inst_id] = inst_type, family
            out.append(instrument)
        self._unserved.update(self._wanted)
        if left:
            named = ", ".join(left[:5])
            out.append(
                Notice(
                    code="instruments", what=f"{len(left)} without the size of a contract or of a type without: {named}"
                )
            )
        return out

    def _due(self) -> list[Output]:
        """Return the questions that wanted symbols still need; each is asked once a connection."""
        if not self._unserved or not self.ready:
            return []
        families: dict[str, list[str]] = {}
        again: set[str] = set()
        for symbol in sorted(self._unserved):
            known = self._families.get(symbol)
            if known is None:
                again.update(self._unknown(symbol))
            elif known not in self._tiers_asked:
                self._tiers_asked.add(known)
                families.setdefault(known[0], []).append(known[1])
        self._unserved.clear()
        requests = [build.instruments_request(inst_type) for inst_type in sorted(again)]
        for inst_type, of_type in families.items():
            requests += build.tiers_requests(inst_type, of_type)
        return [Ask(request=request) for request in requests]

    def _unknown(self, symbol: str) -> tuple[str, ...]:
        """Return the type whose contracts should hold a symbol, the first time it is missing among them."""
        if symbol in self._asked_again:
            return ()
        self._asked_again.add(symbol)
        if symbol.endswith("-SWAP"):
            return ("SWAP",)
        return ("FUTURES",) if _EXPIRY.search(symbol) else ()
